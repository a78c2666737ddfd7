//! Whoever is not tied gets one answer, whatever is true; a named party gets the true reason; the
//! ledger has it always.

use crate::house::*;
use payvault::clock::DAY_MS;
use payvault::ids::TransactionId;
use payvault::payment::Token;
use payvault::policy::{Denial, Field, Purpose};
use payvault::vault::command::{Refusal, Work, WorkResult};

/// A token with the right selector and another secret.
fn with_another_secret(token: &Token) -> Token {
    let mut parts = *token.parts();
    parts[31] ^= 1;
    Token::from_parts(&parts)
}

/// The calls of a processor on a token.
fn calls(home: &Home, transaction: TransactionId, token: &Token) -> [Work; 3] {
    [
        redemption(
            home.request(),
            transaction,
            token,
            Purpose::Authorize,
            &[Field::Number],
        ),
        Work::Describe {
            transaction,
            token: again(token),
        },
        Work::Report {
            request: home.request(),
            transaction,
            token: again(token),
            result: WorkResult::Succeeded,
            reference: String::new(),
        },
    ]
}

#[test]
fn one_answer_for_whoever_is_not_tied_and_the_true_reason_in_the_ledger() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let (foreign, foreign_token) = home.card();
    let unknown = TransactionId::random();
    let cases = [
        ("crux", transaction, again(&token), "NOT_A_PARTY"),
        ("crux", transaction, Token::random(), "NOT_A_PARTY"),
        (
            "crux",
            transaction,
            with_another_secret(&token),
            "NOT_A_PARTY",
        ),
        ("crux", unknown, again(&token), "UNKNOWN_TRANSACTION"),
        ("acme", unknown, again(&token), "UNKNOWN_TRANSACTION"),
        ("acme", transaction, Token::random(), "UNKNOWN_TOKEN"),
        ("acme", transaction, again(&foreign_token), "UNKNOWN_TOKEN"),
        ("acme", foreign, again(&token), "UNKNOWN_TOKEN"),
        (
            "acme",
            transaction,
            with_another_secret(&token),
            "WRONG_SECRET",
        ),
    ];
    for (name, transaction, token, reason) in cases {
        for work in calls(&home, transaction, &token) {
            let from = home.size();
            let denied = denial(home.ask(name, work));
            assert!(denied.is_not_tied(), "{name} learns {denied}");
            let lines = home.ledger();
            assert_eq!(lines.len() as u64, from + 1, "one entry");
            let line = &lines[from as usize];
            assert_eq!(line.get("reason"), reason);
            assert_eq!(line.get("outcome"), "denied");
            assert_eq!(line.get("actor_name"), name);
            assert_eq!(line.get("transaction"), transaction.to_string());
        }
    }
    // All of it changed nothing.
    let got = home.authorize(transaction, &token).expect("released");
    assert_eq!(got.uses_left, 1);
}

#[test]
fn another_portal_is_a_stranger() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let works = || {
        [
            Work::Get { transaction },
            Work::Close { transaction },
            Work::Revoke {
                transaction,
                token: again(&token),
            },
            Work::Describe {
                transaction,
                token: again(&token),
            },
            Work::Tokenize {
                request: home.request(),
                transaction,
                details: Box::new(visa()),
                code: None,
                replaces: None,
            },
        ]
    };
    for work in works() {
        let from = home.size();
        assert!(denial(home.ask("other", work)).is_not_tied());
        assert_eq!(home.ledger()[from as usize].get("reason"), "NOT_OWNER");
    }
    assert!(home.authorize(transaction, &token).is_ok());
    let [read, _, _, describe, _] = works();
    assert!(home.ask("shop", read).is_ok());
    assert!(home.ask("shop", describe).is_ok());
}

#[test]
fn roles_that_are_party_to_nothing_are_refused_by_role() {
    let home = Home::new();
    let (transaction, token) = home.card();
    for name in ["shop", "other", "auditor", "ann"] {
        let answer = home.redeem(
            name,
            transaction,
            &token,
            Purpose::Authorize,
            &[Field::Number],
        );
        assert_eq!(denial(answer), Denial::RoleNotAllowed, "{name}");
    }
    assert_eq!(
        denial(home.open_with("acme", home.terms())),
        Denial::RoleNotAllowed
    );
}

#[test]
fn a_named_party_gets_the_true_reason() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let redeem =
        |name, purpose, fields: &[Field]| home.redeem(name, transaction, &token, purpose, fields);
    use Denial::{FieldNotGranted, PurposeNotGranted, UsedUp};
    use Field::{Billing, Expiry, Holder, Number, SecurityCode};
    let cases: [(_, _, &[Field], _); 7] = [
        ("acme", Purpose::Refund, &[Number], PurposeNotGranted),
        ("bolt", Purpose::Authorize, &[Number], PurposeNotGranted),
        ("acme", Purpose::Capture, &[Holder], FieldNotGranted),
        (
            "acme",
            Purpose::Capture,
            &[Number, Billing],
            FieldNotGranted,
        ),
        ("acme", Purpose::Capture, &[SecurityCode], FieldNotGranted),
        ("acme", Purpose::Capture, &[], FieldNotGranted),
        ("bolt", Purpose::Payout, &[Expiry], FieldNotGranted),
    ];
    for (name, purpose, fields, reason) in cases {
        assert_eq!(denial(redeem(name, purpose, fields)), reason);
    }
    // What is granted is given, as often as it was granted, and no more.
    let got = redeem("acme", Purpose::Capture, &[Number, Expiry]).expect("released");
    assert_eq!(got.uses_left, 2);
    assert_eq!(
        redeem("bolt", Purpose::Payout, &[Number])
            .expect("released")
            .uses_left,
        0
    );
    assert_eq!(denial(redeem("bolt", Purpose::Payout, &[Number])), UsedUp);
    // Another party's uses are its own.
    assert!(redeem("acme", Purpose::Authorize, &[Number]).is_ok());
}

#[test]
fn details_end_at_expires_at_and_release_at_release_until_to_the_millisecond() {
    let home = Home::new();
    let (transaction, token) = home.card();
    home.clock.pass_ms(HOUR_MS - 1);
    home.tokenize(transaction, visa());
    home.clock.pass_ms(1);
    assert_eq!(
        denial(home.tokenize_with(transaction, visa(), None)),
        Denial::Expired
    );
    assert!(home.authorize(transaction, &token).is_ok());
    home.clock.pass_ms(7 * DAY_MS - HOUR_MS - 1);
    assert!(home.authorize(transaction, &token).is_ok());
    home.clock.pass_ms(1);
    assert_eq!(denial(home.authorize(transaction, &token)), Denial::Expired);
}

#[test]
fn a_transaction_whose_bucket_was_destroyed_is_unknown() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let end = home.terms().release_until.day();
    let destroyed_at = payvault::clock::Timestamp((u64::from(end) + 4) * DAY_MS);
    home.clock
        .pass_ms(destroyed_at.since_ms(home.house.clock.now()) - 1);
    let close = || home.ask("shop", Work::Close { transaction });
    assert!(close().is_ok(), "while the end is pending it can be closed");
    home.clock.pass_ms(HOUR_MS);
    assert_eq!(denial(close()), Denial::UnknownTransaction);
    assert!(denial(home.authorize(transaction, &token)).is_not_tied());
    let lines = home.ledger();
    let gone: Vec<_> = lines
        .iter()
        .filter(|l| l.get("event") == "key_destroyed")
        .map(|l| l.detail("key"))
        .collect();
    assert!(gone.contains(&format!("release/nl/{end}")), "{gone:?}");
    // What others keep is untouched.
    let (next, token) = home.card();
    assert!(home.authorize(next, &token).is_ok());
}

#[test]
fn a_processor_past_its_hourly_rate_is_refused_until_the_next_hour() {
    let home = Home::new();
    let terms = home.terms_of("other");
    let mut tokens = Vec::new();
    for _ in 0..5 {
        let transaction = home.open_with("other", terms.clone()).expect("opened");
        let work = Work::Tokenize {
            request: home.request(),
            transaction,
            details: Box::new(visa()),
            code: None,
            replaces: None,
        };
        let Ok(payvault::vault::command::Done::Tokenized { token, .. }) = home.ask("other", work)
        else {
            panic!("a token");
        };
        tokens.push((transaction, token));
    }
    let pay = |n: usize| {
        let (transaction, token) = &tokens[n];
        home.redeem(
            "bolt",
            *transaction,
            token,
            Purpose::Payout,
            &[Field::Number],
        )
    };
    for n in 0..3 {
        pay(n).expect("released");
    }
    assert_eq!(denial(pay(3)), Denial::RateLimited);
    // The other processor has its own rate.
    let (transaction, token) = &tokens[3];
    assert!(home.authorize(*transaction, token).is_ok());
    home.clock.pass_ms(HOUR_MS);
    pay(3).expect("released in the next hour");
}

#[test]
fn a_command_whose_deadline_has_passed_does_nothing() {
    let home = Home::new();
    let (transaction, token) = home.card();
    home.clock.pass_ms(10);
    let from = home.size();
    let work = redemption(
        home.request(),
        transaction,
        &token,
        Purpose::Authorize,
        &[Field::Number],
    );
    let answer = RUNTIME.block_on(home.vault().ask(home.caller("acme"), work, 9));
    assert_eq!(refusal(answer), Refusal::TimedOut);
    assert_eq!(home.size(), from);
    assert_eq!(
        home.authorize(transaction, &token)
            .expect("released")
            .uses_left,
        1
    );
}
