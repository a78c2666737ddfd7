//! A wall clock that is set while the real binary serves: releases freeze and thaw, and the time of
//! entries never falls.

use crate::dev::Dev;
use crate::orders::{Order, Orders};
use crate::size::Rounds;
use crate::{Told, check, redeem, step};
use payvault::clock::Timestamp;
use payvault::ledger::{Event, Outcome, Recorded};
use payvault::limits::CLOCK_STEP_MS;
use std::sync::{Arc, Mutex};
use tonic_types::StatusExt;

/// Room for the time that passes in the test itself.
const MARGIN_MS: u64 = 60_000;
/// The certificates of `payvault dev` hold for 30 days.
const STEP_MS_MAX: u64 = 20 * 24 * 3_600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_clock_that_is_set_freezes_releases_and_time_never_falls() {
    let mut rounds = Rounds::of("clock", 12);
    let place = tempfile::tempdir().expect("a directory");
    let home = place.path().join("home");
    std::fs::create_dir(&home).expect("made");
    let Some(orders) = Orders::none(place.path().join("orders"), &home) else {
        return;
    };
    let set = |off_ms: i64| orders.set(Order::ClockOffMs, off_ms as u64);
    let dev = Dev::start_with(&home, &orders.environment())
        .await
        .expect("the vault starts");
    let clients = dev.clone_clients();
    let told = Arc::new(Mutex::new(Told::default()));
    let mut checked = 0;
    // How far off the clock was when the vault last believed it.
    let (mut believed, mut freezes) = (0i64, 0);
    while let Some(round) = rounds.next() {
        step(&clients, &told, 2 * round as usize)
            .await
            .expect("all is well");
        let frozen = round.is_multiple_of(2);
        let by = match frozen {
            true => rounds.chance(CLOCK_STEP_MS + MARGIN_MS, STEP_MS_MAX),
            false => rounds.chance(0, CLOCK_STEP_MS - MARGIN_MS),
        } as i64;
        // What is believed must not wander off.
        let back = match frozen {
            true => rounds.chance(0, 1) == 0,
            false => believed > 0,
        };
        let by = if back { -by } else { by };
        set(believed + by);
        let done = step(&clients, &told, 2 * round as usize + 1).await;
        println!(
            "round {round}: {by} ms, {}",
            if frozen { "frozen" } else { "let pass" }
        );
        if !frozen {
            done.expect("five minutes are let pass");
            believed += by;
            continue;
        }
        // Opened and tokenized, and not redeemed.
        assert!(done.is_none());
        let (transaction, token, card) = {
            let told = told.lock().expect("told");
            told.tokens.last().expect("a token").clone()
        };
        let refused = redeem(&clients, &transaction, &token)
            .await
            .expect_err("nothing is released");
        let code = refused.get_details_error_info().map(|info| info.reason);
        assert_eq!(code.as_deref(), Some("CLOCK_SUSPECT"), "{refused}");
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        assert_eq!(clients.serves().await.ok(), Some(true));
        freezes += 1;
        set(believed);
        let redeemed = redeem(&clients, &transaction, &token).await;
        assert_eq!(redeemed.expect("set right, it thaws").0, card);
    }
    // People's agreements of `payvault dev` begin when it is made: not before the clock says so.
    set(0);
    step(&clients, &told, 0).await.expect("all is well");
    check(&dev, &told, &mut checked).await;
    let export = dev.export().await;
    let (mut last, mut failed, mut ok) = (Timestamp(0), 0, 0);
    for line in export.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        let line: serde_json::Value = serde_json::from_slice(line).expect("JSON");
        let Some(body) = line["body"].as_str() else {
            continue;
        };
        let entry = Recorded::parse(body).expect("an entry");
        assert!(entry.at >= last, "time fell at {}", entry.index);
        last = entry.at;
        if entry.event == Event::ClockStep {
            match entry.outcome {
                Outcome::Failed => failed += 1,
                _ => ok += 1,
            }
        }
    }
    assert_eq!((failed, ok), (freezes, freezes), "each is an entry");
    dev.stop().await;
}
