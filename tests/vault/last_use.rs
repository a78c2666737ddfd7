//! Many at once: one winner, and every loser knows why.

use crate::house::*;
use payvault::policy::{Denial, Field, Purpose};
use payvault::vault::command::{Done, Refusal};
use std::sync::Arc;

#[test]
fn of_64_last_uses_at_once_one_wins_each_time() {
    const CALLERS: usize = 64;
    const ROUNDS: usize = 50;
    let home = Home::with(|house| house.settings.denials_per_minute = 1_000_000);
    for round in 0..ROUNDS {
        let (transaction, token) = home.card();
        home.authorize(transaction, &token).expect("the first use");
        let from = home.size();
        let barrier = Arc::new(tokio::sync::Barrier::new(CALLERS));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let vault = Arc::clone(home.vault());
                let barrier = Arc::clone(&barrier);
                let caller = home.caller("acme");
                let work = redemption(
                    home.request(),
                    transaction,
                    &token,
                    Purpose::Authorize,
                    &[Field::Number],
                );
                RUNTIME.spawn(async move {
                    barrier.wait().await;
                    vault.ask(caller, work, u64::MAX).await
                })
            })
            .collect();
        let mut won = 0;
        for caller in callers {
            match RUNTIME.block_on(caller).expect("no panic") {
                Ok(Done::Redeemed(got)) => {
                    assert_eq!(got.uses_left, 0);
                    won += 1;
                }
                Err(Refusal::Denied(denied)) => assert_eq!(denied, Denial::UsedUp),
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("another answer"),
            }
        }
        assert_eq!(won, 1, "round {round}");
        let mut briefs = home.brief(from);
        briefs.sort();
        assert_eq!(briefs.len(), CALLERS);
        assert_eq!(briefs[0], "redeemed");
        assert!(briefs[1..].iter().all(|b| b == "redeemed denied USED_UP"));
    }
}

#[test]
fn of_64_tries_of_one_request_at_once_one_use_is_burned() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let vault = Arc::clone(home.vault());
            let caller = home.caller("acme");
            let work = redemption(
                request(9_000),
                transaction,
                &token,
                Purpose::Capture,
                &[Field::Number],
            );
            RUNTIME.spawn(async move { vault.ask(caller, work, u64::MAX).await })
        })
        .collect();
    let mut first = 0;
    for caller in callers {
        let Ok(Done::Redeemed(got)) = RUNTIME.block_on(caller).expect("no panic") else {
            panic!("refused");
        };
        assert_eq!(got.uses_left, 2);
        first += usize::from(!got.replayed);
    }
    assert_eq!(first, 1);
}

#[test]
fn one_commands_refusal_harms_no_other() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let wanted = [
        ("acme", Purpose::Capture, true),
        ("acme", Purpose::Refund, false),
        ("crux", Purpose::Capture, false),
        ("bolt", Purpose::Payout, true),
        ("shop", Purpose::Capture, false),
        ("acme", Purpose::Authorize, true),
    ];
    let asked: Vec<_> = wanted
        .iter()
        .map(|(name, purpose, _)| {
            let vault = Arc::clone(home.vault());
            let caller = home.caller(name);
            let work = redemption(
                home.request(),
                transaction,
                &token,
                *purpose,
                &[Field::Number],
            );
            RUNTIME.spawn(async move { vault.ask(caller, work, u64::MAX).await.is_ok() })
        })
        .collect();
    for (asked, (name, _, good)) in asked.into_iter().zip(wanted) {
        assert_eq!(RUNTIME.block_on(asked).expect("no panic"), good, "{name}");
    }
    home.ledger();
}
