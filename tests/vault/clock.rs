//! A clock that is set, floods of refusals, and what both do to the ledger.

use crate::house::*;
use payvault::clock::{DAY_MS, Timestamp};
use payvault::policy::{Denial, Field, Purpose};
use payvault::vault::command::Work;

/// Time of the newest entry.
fn last_at(home: &Home) -> Timestamp {
    let lines = home.ledger();
    let last = lines.last().expect("an entry");
    Timestamp::parse(&last.get("at")).expect("a time")
}

#[test]
fn a_step_of_more_than_five_minutes_freezes_releases_until_the_clock_is_right_again() {
    let five = 5 * MINUTE_MS;
    for (step, frozen) in [
        (five as i64, false),
        (five as i64 + 1, true),
        (-(five as i64), false),
        (-(five as i64) - 1, true),
        (400 * DAY_MS as i64, true),
        (-(400 * DAY_MS as i64), true),
    ] {
        let home = Home::new();
        let (transaction, token) = home.card();
        let right = home.house.clock.now();
        let terms = home.terms();
        let from = home.size();
        home.clock
            .step_to(Timestamp(right.0.saturating_add_signed(step)));
        let answer = home.authorize(transaction, &token);
        if !frozen {
            assert!(answer.is_ok(), "{step}");
            assert_eq!(home.brief(from), ["redeemed"], "{step}");
            continue;
        }
        assert_eq!(denial(answer), Denial::ClockSuspect, "{step}");
        // Everything else goes on.
        let other = home.open_with("shop", terms).expect("opened");
        let other_token = home.tokenize(other, visa());
        let line = &home.ledger()[from as usize];
        assert_eq!(line.get("event"), "clock_step");
        assert_eq!(line.get("outcome"), "failed");
        assert_eq!(line.detail("off_ms"), step.unsigned_abs().to_string());
        // Said once, not with each round.
        let steps = |home: &Home| {
            let lines = home.ledger();
            lines
                .iter()
                .filter(|l| l.get("event") == "clock_step")
                .count()
        };
        assert_eq!(steps(&home), 1);
        // Time goes on as it was.
        home.clock.pass_ms(1_000);
        home.ask("shop", Work::Get { transaction }).expect("read");
        assert_eq!(last_at(&home), right.plus_ms(1_000), "{step}");
        // Set right: all is as before, and nothing was expired or destroyed.
        home.clock.step_to(right.plus_ms(1_000));
        assert_eq!(
            home.authorize(transaction, &token)
                .expect("released")
                .uses_left,
            1
        );
        assert!(home.authorize(other, &other_token).is_ok());
        assert_eq!(steps(&home), 2);
        home.clock.pass_ms(2 * HOUR_MS);
        home.ask("shop", Work::Get { transaction }).expect("read");
        assert_eq!(
            last_at(&home),
            right.plus_ms(1_000 + 2 * HOUR_MS),
            "{step}: time does not stay where the wrong clock was"
        );
        assert!(
            !home
                .ledger()
                .iter()
                .any(|l| l.get("event") == "key_destroyed")
        );
    }
}

#[test]
fn time_never_falls_even_over_a_restart() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    home.clock.pass_ms(HOUR_MS);
    home.ask("shop", Work::Get { transaction }).expect("read");
    let last = last_at(&home);
    home.close();
    home.clock.step_to(start());
    home.reopen().expect("opens");
    home.ask("shop", Work::Get { transaction }).expect("read");
    assert!(last_at(&home) >= last);
    // An hour behind its own ledger: the clock is not to be believed.
    assert_eq!(
        denial(home.authorize(transaction, &token)),
        Denial::ClockSuspect
    );
    home.clock.step_to(last.plus_ms(1_000));
    assert!(home.authorize(transaction, &token).is_ok());
    let lines = home.ledger();
    let times: Vec<String> = lines.iter().map(|l| l.get("at")).collect();
    assert!(times.is_sorted());
}

#[test]
fn a_little_step_back_leaves_time_standing() {
    let home = Home::new();
    let (transaction, _) = home.card();
    home.clock.pass_ms(10_000);
    home.ask("shop", Work::Get { transaction }).expect("read");
    let last = last_at(&home);
    home.clock.step_to(start());
    home.ask("shop", Work::Get { transaction }).expect("read");
    assert_eq!(last_at(&home), last);
}

#[test]
fn past_the_rate_denials_are_summed_in_one_entry_a_minute() {
    let mut home = Home::with(|house| house.settings.denials_per_minute = 5);
    let (transaction, token) = home.card();
    let pester = |home: &Home, name: &str, times: usize| {
        for _ in 0..times {
            let answer = home.redeem(
                name,
                transaction,
                &token,
                Purpose::Dispute,
                &[Field::Number],
            );
            assert!(answer.is_err());
        }
    };
    let tick = |home: &Home| {
        home.vault().tick();
        // The tick runs after what waits with it; one more round lets it pass.
        for _ in 0..2 {
            home.ask("shop", Work::Get { transaction }).expect("read");
        }
    };
    let from = home.size();
    pester(&home, "crux", 25);
    assert_eq!(home.size(), from + 6, "five entries and an alarm");
    // Another one's refusals have a rate of their own.
    pester(&home, "bolt", 3);
    assert_eq!(home.size(), from + 10);
    let alarms: Vec<_> = home
        .ledger()
        .iter()
        .filter(|l| l.get("event") == "alarm_raised")
        .map(|l| {
            assert_eq!(
                (l.get("actor"), l.get("outcome")),
                ("-".into(), "denied".into())
            );
            assert_eq!(l.detail("alarm"), "repeated_denials");
            l.detail("principal")
        })
        .collect();
    assert_eq!(alarms, ["crux", "bolt"]);
    // While the flood goes on it is told once a minute.
    for _ in 0..3 {
        home.clock.pass_ms(MINUTE_MS);
        pester(&home, "crux", 7);
        tick(&home);
    }
    let sums = |home: &Home| -> Vec<(String, String)> {
        home.ledger()
            .iter()
            .filter(|l| l.get("event") == "denials_summed")
            .map(|l| (l.get("actor_name"), l.detail("count")))
            .collect()
    };
    let crux = |count: &str| ("crux".to_owned(), count.to_owned());
    assert_eq!(sums(&home), [crux("20"), crux("2"), crux("2")]);
    // An orderly stop tells the rest.
    home.close();
    assert_eq!(sums(&home), [crux("20"), crux("2"), crux("2"), crux("2")]);
    home.reopen().expect("opens");
    // One that is refused often is still served when it is right.
    pester(&home, "acme", 50);
    assert!(home.authorize(transaction, &token).is_ok());
}

#[test]
fn keys_come_with_each_new_day_and_month_and_are_announced() {
    let home = Home::new();
    for _ in 0..10 {
        home.clock.pass_ms(DAY_MS);
        let (transaction, token) = home.card();
        assert!(home.authorize(transaction, &token).is_ok());
    }
    let lines = home.ledger();
    let made: Vec<String> = lines
        .iter()
        .filter(|l| l.get("event") == "key_created")
        .map(|l| l.detail("key"))
        .collect();
    assert!(made.contains(&"log/nl/2026-12".to_owned()), "{made:?}");
    let destroyed: Vec<String> = lines
        .iter()
        .filter(|l| l.get("event") == "key_destroyed")
        .map(|l| l.detail("key"))
        .collect();
    let first = start().day();
    assert!(destroyed.contains(&format!("replay/{first}")));
    assert!(!destroyed.iter().any(|k| k.starts_with("log/")));
    // In the middle of the year's end too.
    home.clock.pass_ms(32 * DAY_MS);
    home.card();
    home.ledger();
}
