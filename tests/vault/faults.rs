//! A store that fails, in every way and at every step: nothing is given that isn't on disk, and
//! what was acknowledged is there afterwards.

use crate::house::*;
use payvault::ids::TransactionId;
use payvault::payment::Token;
use payvault::policy::{Denial, Field, Purpose};
use payvault::store::memory::{Fault, Faults};
use payvault::vault::command::{Done, Refusal, Work, WorkResult};

/// A road of five commits; each step is asked again, with the same request id, until it is done.
struct Road {
    transaction: Option<TransactionId>,
    token: Option<Token>,
    refusals: Vec<(usize, Refusal)>,
}

const STEPS: usize = 6;

fn work(home: &Home, road: &Road, step: usize) -> (&'static str, Work) {
    let id = request(7_000 + step as u64);
    let transaction = road.transaction.unwrap_or(TransactionId([0; 16]));
    let token = || again(road.token.as_ref().expect("a token"));
    match step {
        0 => (
            "shop",
            Work::Open {
                request: id,
                terms: Box::new(home.terms()),
            },
        ),
        1 => (
            "shop",
            Work::Tokenize {
                request: id,
                transaction,
                details: Box::new(visa()),
                code: Some(security_code("7123")),
                replaces: None,
            },
        ),
        2 => (
            "acme",
            redemption(
                id,
                transaction,
                &token(),
                Purpose::Authorize,
                &[Field::Number, Field::SecurityCode],
            ),
        ),
        3 => (
            "acme",
            Work::Report {
                request: id,
                transaction,
                token: token(),
                result: WorkResult::Succeeded,
                reference: "auth 1".to_owned(),
            },
        ),
        4 => (
            "shop",
            Work::Revoke {
                transaction,
                token: token(),
            },
        ),
        _ => ("shop", Work::Close { transaction }),
    }
}

fn walk(home: &Home) -> Road {
    let mut road = Road {
        transaction: None,
        token: None,
        refusals: Vec::new(),
    };
    for step in 0..STEPS {
        let mut tries = 0;
        loop {
            let (name, work) = work(home, &road, step);
            match home.ask(name, work) {
                Ok(done) => {
                    let entry = match done {
                        Done::Opened { transaction, entry } => {
                            road.transaction = Some(transaction);
                            entry
                        }
                        Done::Tokenized { token, entry, .. } => {
                            road.token = Some(token);
                            entry
                        }
                        Done::Redeemed(got) => {
                            assert_eq!(number_of(&got.details), VISA);
                            assert_eq!(got.uses_left, 1, "one use was burned, whatever failed");
                            got.entry
                        }
                        Done::Reported { entry, .. }
                        | Done::Noted { entry }
                        | Done::Closed { entry, .. } => entry,
                        _ => panic!("another answer"),
                    };
                    // What was answered is on the disk, now.
                    let lines = home.ledger();
                    assert!(
                        (entry as usize) < lines.len(),
                        "answered before it was durable"
                    );
                    assert_eq!(lines[entry as usize].get("outcome"), "ok");
                    break;
                }
                Err(refusal) => road.refusals.push((step, refusal)),
            }
            tries += 1;
            assert!(tries < 4, "the vault does not come back");
        }
    }
    road
}

#[test]
fn whatever_fails_at_whichever_step_the_road_is_walked_to_its_end() {
    for fault in Fault::ALL {
        for at in 1..=STEPS as u64 {
            let mut home = Home::new();
            let base = home.disk.commits();
            home.disk.order(Faults::none().and(base + at, fault));
            let road = walk(&home);
            let what = format!("{fault:?} at commit {at}");
            match fault {
                Fault::Conflict | Fault::FlushAfter => {
                    assert_eq!(road.refusals, [], "{what}: nobody notices");
                }
                Fault::Full => {
                    assert_eq!(
                        road.refusals,
                        [(at as usize - 1, Refusal::StorageFull)],
                        "{what}"
                    );
                }
                _ => {
                    assert_eq!(road.refusals.len(), 1, "{what}");
                    assert!(
                        matches!(road.refusals[0].1, Refusal::Unavailable(_)),
                        "{what}"
                    );
                }
            }
            let (transaction, token) = (
                road.transaction.expect("opened"),
                road.token.expect("a token"),
            );
            for again in [false, true] {
                if again {
                    home.kill();
                    home.reopen().expect("opens");
                }
                let Ok(Done::Got(standing)) = home.ask("shop", Work::Get { transaction }) else {
                    panic!("read");
                };
                assert!(standing.closed, "{what}");
                assert_eq!(standing.tokens.len(), 1, "{what}");
                assert!(standing.tokens[0].revoked, "{what}");
                assert_eq!(denial(home.authorize(transaction, &token)), Denial::Closed);
                let own = home
                    .ledger()
                    .iter()
                    .filter(|l| l.get("event") == "redeemed" && l.get("outcome") == "ok")
                    .count();
                assert_eq!(own, 1, "{what}: one release");
            }
        }
    }
}

#[test]
fn a_store_that_cant_be_reopened_stops_the_vault_until_it_can() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let base = home.disk.commits();
    home.disk.order(
        Faults::none()
            .and(base + 1, Fault::FlushAfter)
            .and_reopenings(3),
    );
    for _ in 0..3 {
        let answer = home.redeem_as(
            request(7_100),
            "acme",
            transaction,
            &token,
            Purpose::Capture,
            &[Field::Number],
        );
        assert!(matches!(refusal(answer), Refusal::Unavailable(_)));
    }
    // The round was durable after all: its use is burned, and the retry finds it.
    let got = home
        .redeem_as(
            request(7_100),
            "acme",
            transaction,
            &token,
            Purpose::Capture,
            &[Field::Number],
        )
        .expect("released");
    assert!(got.replayed);
    assert_eq!(got.uses_left, 2);
    home.ledger();
}

#[test]
fn a_store_that_comes_back_older_is_not_served_from() {
    let home = Home::new();
    let before = home.disk.durable();
    let (transaction, token) = home.card();
    let base = home.disk.commits();
    home.disk.order(Faults::none().and(base + 1, Fault::Fatal));
    // When the store is reopened, what was acknowledged is gone.
    home.disk.tamper(|rows| rows.clone_from(&before));
    for _ in 0..3 {
        let answer = home.authorize(transaction, &token);
        assert!(matches!(refusal(answer), Refusal::Unavailable(_)));
    }
}

#[test]
fn a_store_that_loses_acknowledged_rounds_while_it_settles_one_is_not_served_from() {
    for fault in [Fault::WriteBefore, Fault::WriteAfter, Fault::FlushBefore] {
        let home = Home::new();
        let before = home.disk.durable();
        let (transaction, token) = home.card();
        let base = home.disk.commits();
        home.disk.order(Faults::none().and(base + 1, fault));
        home.disk.tamper(|rows| rows.clone_from(&before));
        for round in 0..3 {
            let answer = home.authorize(transaction, &token);
            assert!(
                matches!(refusal(answer), Refusal::Unavailable(_)),
                "{fault:?}, {round}: served from an older store"
            );
        }
    }
}

#[test]
fn a_failed_round_counts_no_release_against_the_rate() {
    let home = Home::new();
    let terms = home.terms_of("other");
    let mut tokens = Vec::new();
    for _ in 0..4 {
        let transaction = home.open_with("other", terms.clone()).expect("opened");
        let work = Work::Tokenize {
            request: home.request(),
            transaction,
            details: Box::new(visa()),
            code: None,
            replaces: None,
        };
        let Ok(Done::Tokenized { token, .. }) = home.ask("other", work) else {
            panic!("a token");
        };
        tokens.push((transaction, token));
    }
    let base = home.disk.commits();
    let mut faults = Faults::none();
    for (at, fault) in [
        Fault::Conflict,
        Fault::Conflict,
        Fault::Full,
        Fault::WriteBefore,
    ]
    .into_iter()
    .enumerate()
    {
        faults = faults.and(base + 1 + at as u64, fault);
    }
    home.disk.order(faults);
    let mut released = 0;
    let mut unavailable = 0;
    for (transaction, token) in &tokens {
        loop {
            let answer = home.redeem(
                "bolt",
                *transaction,
                token,
                Purpose::Payout,
                &[Field::Number],
            );
            match answer {
                Ok(_) => released += 1,
                Err(Refusal::Denied(denied)) => assert_eq!(denied, Denial::RateLimited),
                Err(_) => {
                    unavailable += 1;
                    assert!(unavailable < 10, "the vault does not come back");
                    continue;
                }
            }
            break;
        }
    }
    assert_eq!((released, unavailable), (3, 2), "three releases an hour");
}

#[test]
fn refusals_that_were_summed_are_not_lost_when_the_round_that_says_so_fails() {
    let home = Home::with(|house| house.settings.denials_per_minute = 2);
    let (transaction, token) = home.card();
    for _ in 0..10 {
        let answer = home.redeem(
            "crux",
            transaction,
            &token,
            Purpose::Payout,
            &[Field::Number],
        );
        assert!(denial(answer).is_not_tied());
    }
    home.clock.pass_ms(MINUTE_MS);
    let base = home.disk.commits();
    let faults = Faults::none()
        .and(base + 1, Fault::WriteBefore)
        .and(base + 2, Fault::Full);
    home.disk.order(faults);
    for _ in 0..6 {
        home.vault().tick();
        // Answered after the tick before it; the round of either one may fail.
        let _ = home.ask("shop", Work::Get { transaction });
    }
    let lines = home.ledger();
    let sums: Vec<_> = lines
        .iter()
        .filter(|l| l.get("event") == "denials_summed")
        .map(|l| (l.get("actor_name"), l.detail("count")))
        .collect();
    assert_eq!(sums, [("crux".to_owned(), "8".to_owned())]);
}

#[test]
fn writes_that_failed_are_an_entry_once_it_can_be_written() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let base = home.disk.commits();
    let full = Faults::none()
        .and(base + 1, Fault::Full)
        .and(base + 2, Fault::Full);
    home.disk.order(full);
    for _ in 0..2 {
        let refused = refusal(home.authorize(transaction, &token));
        assert_eq!(refused, Refusal::StorageFull);
    }
    assert!(home.authorize(transaction, &token).is_ok());
    home.vault().tick();
    for _ in 0..2 {
        home.ask("shop", Work::Get { transaction }).expect("read");
    }
    let lines = home.ledger();
    let alarms: Vec<_> = lines
        .iter()
        .filter(|l| l.get("event") == "alarm_raised")
        .map(|l| (l.detail("alarm"), l.detail("count"), l.get("outcome")))
        .collect();
    let said = |text: &str| text.to_owned();
    assert_eq!(alarms, [(said("writes_failed"), said("2"), said("failed"))]);
}

#[test]
fn marks_that_cant_be_written_stop_the_vault_until_they_can() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let aside = home.house.mark_dir.with_extension("aside");
    std::fs::rename(&home.house.mark_dir, &aside).expect("moved away");
    // The first failure is noted some milliseconds after the round; ten seconds later it counts.
    assert!(home.authorize(transaction, &token).is_ok());
    std::thread::sleep(std::time::Duration::from_millis(300));
    home.clock.pass_ms(10_000);
    let until = |wanted| {
        (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            home.vault().marks_are_failing() == wanted
        })
    };
    assert!(until(true), "the marks fail");
    let size = home.size();
    assert!(matches!(
        refusal(home.authorize(transaction, &token)),
        Refusal::Unavailable(_)
    ));
    assert_eq!(home.size(), size);
    std::fs::rename(&aside, &home.house.mark_dir).expect("moved back");
    assert!(until(false), "the marks are written again");
    assert!(home.authorize(transaction, &token).is_ok());
}
