//! The road that every payment takes.

use crate::house::*;
use payvault::payment::{DetailsKind, Token};
use payvault::policy::{Denial, Field, Purpose};
use payvault::vault::command::{CodeStatus, Done, Work, WorkResult};

#[test]
fn what_was_entered_is_what_the_party_gets() {
    let home = Home::new();
    let transaction = home.open();
    for (details, wanted) in [
        (visa(), visa()),
        (dutch_iban(), dutch_iban()),
        (checking_account(), checking_account()),
    ] {
        let token = home.tokenize(transaction, details);
        let got = home
            .redeem(
                "acme",
                transaction,
                &token,
                Purpose::Authorize,
                &[Field::Number, Field::Holder],
            )
            .expect("released");
        assert_eq!(*got.details.encode(), *wanted.encode());
        assert_eq!(got.uses_left, 1);
        assert!(!got.replayed);
        assert_eq!(got.code_status, CodeStatus::NotAsked);
        let fields: Vec<Field> = got.fields.iter().collect();
        assert_eq!(fields, [Field::Number, Field::Holder]);
    }
}

#[test]
fn the_same_card_twice_gives_two_tokens_without_a_link() {
    let home = Home::new();
    let (one, first) = home.card();
    let (two, second) = home.card();
    assert_ne!(one, two);
    assert!(first.selector() != second.selector());
    assert!(home.authorize(one, &first).is_ok());
    assert!(denial(home.authorize(two, &first)).is_not_tied());
    assert!(denial(home.authorize(one, &second)).is_not_tied());
}

#[test]
fn a_description_is_masked_and_changes_nothing() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let describe = || {
        let work = Work::Describe {
            transaction,
            token: again(&token),
        };
        home.ask("acme", work)
    };
    for _ in 0..2 {
        let Ok(Done::Described(seen)) = describe() else {
            panic!("described");
        };
        assert_eq!(seen.summary.masked.kind, DetailsKind::Card);
        assert!(!seen.summary.masked.number.contains("11111111111"));
        assert!(seen.summary.masked.number.ends_with("1111"));
        assert!(!seen.summary.revoked && !seen.closed);
        assert_eq!(
            seen.uses_left,
            [(Purpose::Authorize, 2), (Purpose::Capture, 3)]
        );
    }
    assert!(home.authorize(transaction, &token).is_ok());
    let Ok(Done::Described(seen)) = describe() else {
        panic!("described");
    };
    assert_eq!(seen.uses_left[0], (Purpose::Authorize, 1));
}

#[test]
fn each_step_has_its_entry_in_order_and_linked_to_the_one_before() {
    let home = Home::new();
    let from = home.size();
    let (transaction, token) = home.card();
    home.authorize(transaction, &token).expect("released");
    report(&home, transaction, &token, WorkResult::Succeeded).expect("reported");
    let work = Work::Describe {
        transaction,
        token: again(&token),
    };
    home.ask("shop", work).expect("described");
    home.ask("shop", Work::Get { transaction }).expect("read");
    let work = Work::Revoke {
        transaction,
        token: again(&token),
    };
    home.ask("shop", work).expect("revoked");
    home.ask("shop", Work::Close { transaction })
        .expect("closed");
    let lines = home.ledger();
    let own: Vec<_> = lines[from as usize..]
        .iter()
        .filter(|l| l.get("transaction") == transaction.to_string())
        .collect();
    let briefs: Vec<String> = own.iter().map(|l| l.brief()).collect();
    assert_eq!(
        briefs,
        [
            "transaction_opened",
            "tokenized",
            "redeemed",
            "outcome_reported",
            "token_described",
            "transaction_read",
            "token_revoked",
            "transaction_closed"
        ]
    );
    let redeemed = own[2];
    assert_eq!(redeemed.get("actor"), home.id("acme").to_string());
    assert_eq!(redeemed.get("origin"), "192.0.2.1:1");
    assert_eq!(redeemed.get("site"), "nl");
    assert_eq!(redeemed.get("purpose"), "authorize");
    assert_eq!(
        redeemed.get("token"),
        token.selector().reference().to_string()
    );
    assert!(!redeemed.json.contains(VISA), "a number in the ledger");
    // Each change names the change before it.
    for (number, before) in [(1, 0), (2, 1), (3, 2), (6, 3), (7, 6)] {
        assert_eq!(own[number].get("prev"), own[before].index.to_string());
    }
}

fn report(
    home: &Home,
    transaction: payvault::ids::TransactionId,
    token: &Token,
    result: WorkResult,
) -> Result<Done, payvault::vault::command::Refusal> {
    let work = Work::Report {
        request: home.request(),
        transaction,
        token: again(token),
        result,
        reference: "auth 77".to_owned(),
    };
    home.ask("acme", work)
}

#[test]
fn a_revoked_token_is_refused_and_a_sibling_is_not() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let sibling = home.tokenize(transaction, dutch_iban());
    let revoke = || Work::Revoke {
        transaction,
        token: again(&token),
    };
    home.ask("shop", revoke()).expect("revoked");
    assert_eq!(denial(home.authorize(transaction, &token)), Denial::Revoked);
    assert!(home.authorize(transaction, &sibling).is_ok());
    home.ask("shop", revoke()).expect("twice is a success");
}

#[test]
fn a_closed_transaction_gives_nothing_and_still_takes_results() {
    let home = Home::new();
    let (transaction, token) = home.card();
    home.authorize(transaction, &token).expect("released");
    let Ok(Done::Closed {
        unreadable_after, ..
    }) = home.ask("shop", Work::Close { transaction })
    else {
        panic!("closed");
    };
    // The day after release ends, and three days of pending destruction.
    assert_eq!(unreadable_after.to_string(), "2026-12-04T00:00:00.000Z");
    assert_eq!(denial(home.authorize(transaction, &token)), Denial::Closed);
    assert_eq!(
        denial(home.tokenize_with(transaction, visa(), None)),
        Denial::Closed
    );
    report(&home, transaction, &token, WorkResult::Declined).expect("reported");
    home.ask("shop", Work::Close { transaction })
        .expect("twice is a success");
}

#[test]
fn a_replacement_ends_the_token_that_it_replaces() {
    let home = Home::new();
    let (transaction, old) = home.card();
    let replace = |old: &Token| {
        let work = Work::Tokenize {
            request: home.request(),
            transaction,
            details: Box::new(dutch_iban()),
            code: None,
            replaces: Some(again(old)),
        };
        home.ask("shop", work)
    };
    let Ok(Done::Tokenized { token, .. }) = replace(&old) else {
        panic!("a token");
    };
    assert_eq!(denial(home.authorize(transaction, &old)), Denial::Revoked);
    let got = home.authorize(transaction, &token).expect("released");
    assert_eq!(number_of(&got.details), "NL91ABNA0417164300");
    assert_eq!(denial(replace(&old)), Denial::Revoked);
}

#[test]
fn a_party_sees_its_own_grants_only_and_the_owner_sees_all() {
    let home = Home::new();
    let (transaction, _) = home.card();
    let parties = |name| match home.ask(name, Work::Get { transaction }) {
        Ok(Done::Got(standing)) => {
            assert_eq!(standing.tokens.len(), 1);
            standing.terms.parties
        }
        _ => panic!("read"),
    };
    assert_eq!(parties("shop").len(), 2);
    let own = parties("bolt");
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].principal, home.id("bolt"));
    assert!(denial(home.ask("crux", Work::Get { transaction })).is_not_tied());
}

#[test]
fn a_transaction_has_four_tokens_and_no_fifth() {
    let home = Home::new();
    let transaction = home.open();
    for _ in 0..4 {
        home.tokenize(transaction, visa());
    }
    assert_eq!(
        denial(home.tokenize_with(transaction, visa(), None)),
        Denial::TooManyTokens
    );
}

#[test]
fn a_restart_keeps_all_of_it() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    home.authorize(transaction, &token).expect("released");
    home.restart();
    let got = home.authorize(transaction, &token).expect("released");
    assert_eq!((number_of(&got.details).as_str(), got.uses_left), (VISA, 0));
    home.kill();
    home.reopen().expect("opens");
    assert_eq!(denial(home.authorize(transaction, &token)), Denial::UsedUp);
    home.ledger();
}

#[test]
fn a_long_ledger_is_read_back_at_every_opening() {
    let mut home = Home::new();
    for _ in 0..6 {
        for _ in 0..40 {
            let (transaction, token) = home.card();
            home.authorize(transaction, &token).expect("released");
        }
        home.restart();
        home.ledger();
    }
    assert!(home.size() > 700);
}
