//! A retry is safe: it repeats a success, burns nothing, and is told from another request.

use crate::house::*;
use payvault::clock::{DAY_MS, Timestamp};
use payvault::ids::TransactionId;
use payvault::keys::Encapsulation;
use payvault::payment::{Details, Token};
use payvault::policy::{Denial, Field, Purpose, Terms};
use payvault::vault::Amiss;
use payvault::vault::command::{Done, OpenedIn, Refusal, RequestId, SealedIn, Work, WorkResult};

fn open(home: &Home, request: RequestId, terms: &Terms) -> Result<(TransactionId, u64), Refusal> {
    let work = Work::Open {
        request,
        terms: Box::new(terms.clone()),
    };
    match home.ask("shop", work)? {
        Done::Opened { transaction, entry } => Ok((transaction, entry)),
        _ => panic!("another answer"),
    }
}

struct Made {
    token: Token,
    entry: u64,
    replayed: bool,
}

fn tokenize(
    home: &Home,
    request: RequestId,
    transaction: TransactionId,
    details: Details,
    code: Option<&str>,
) -> Result<Made, Refusal> {
    let work = Work::Tokenize {
        request,
        transaction,
        details: Box::new(details),
        code: code.map(security_code),
        replaces: None,
    };
    match home.ask("shop", work)? {
        Done::Tokenized {
            token,
            entry,
            replayed,
            ..
        } => Ok(Made {
            token,
            entry,
            replayed,
        }),
        _ => panic!("another answer"),
    }
}

fn capture(
    home: &Home,
    request: RequestId,
    transaction: TransactionId,
    token: &Token,
) -> Result<Box<payvault::vault::command::Redeemed>, Refusal> {
    home.redeem_as(
        request,
        "acme",
        transaction,
        token,
        Purpose::Capture,
        &[Field::Number],
    )
}

#[test]
fn opening_again_finds_the_same_transaction_and_other_terms_are_refused() {
    let home = Home::new();
    let terms = home.terms();
    let first = open(&home, request(1_000), &terms).expect("opened");
    let size = home.size();
    assert_eq!(open(&home, request(1_000), &terms), Ok(first));
    assert_eq!(home.size(), size, "a repeated success is no entry");
    let other = Terms {
        reference: "order 8".to_owned(),
        ..terms.clone()
    };
    assert_eq!(
        denial(open(&home, request(1_000), &other)),
        Denial::RequestIdReused
    );
    let second = open(&home, request(1_001), &terms).expect("opened");
    assert_ne!(second.0, first.0);
    // A request id is scoped to its principal.
    let theirs = home
        .open_with("other", home.terms_of("other"))
        .expect("opened");
    let work = Work::Open {
        request: request(1_000),
        terms: Box::new(home.terms_of("other")),
    };
    let Ok(Done::Opened { transaction, .. }) = home.ask("other", work) else {
        panic!("opened");
    };
    assert!(transaction != first.0 && transaction != theirs);
}

#[test]
fn a_tokenization_repeated_gives_the_same_token() {
    let mut home = Home::new();
    let transaction = home.open();
    let first = tokenize(&home, request(2_000), transaction, visa(), Some("123")).expect("a token");
    assert!(!first.replayed);
    let size = home.size();
    // The security code is no part of what is compared.
    for code in [Some("123"), Some("999"), None] {
        let second = tokenize(&home, request(2_000), transaction, visa(), code).expect("a token");
        assert!(second.replayed);
        assert_eq!(*second.token.parts(), *first.token.parts());
        assert_eq!(second.entry, first.entry);
    }
    assert_eq!(home.size(), size);
    assert_eq!(
        denial(tokenize(
            &home,
            request(2_000),
            transaction,
            dutch_iban(),
            None
        )),
        Denial::RequestIdReused
    );
    home.kill();
    home.reopen().expect("opens");
    let third = tokenize(&home, request(2_000), transaction, visa(), None).expect("a token");
    assert!(third.replayed);
    assert_eq!(*third.token.parts(), *first.token.parts());
    let Ok(Done::Got(standing)) = home.ask("shop", Work::Get { transaction }) else {
        panic!("read");
    };
    assert_eq!(standing.tokens.len(), 1, "one token was made");
}

#[test]
fn a_redemption_repeated_burns_no_use_and_is_an_entry_of_its_own() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let first = capture(&home, request(3_000), transaction, &token).expect("released");
    assert_eq!((first.uses_left, first.replayed), (2, false));
    for round in 0..2 {
        let from = home.size();
        let second = capture(&home, request(3_000), transaction, &token).expect("released");
        assert!(second.replayed);
        assert_eq!(second.uses_left, 2);
        assert_eq!(number_of(&second.details), VISA);
        let line = &home.ledger()[from as usize];
        assert_eq!(line.brief(), "redeem_replayed");
        assert_eq!(line.detail("replays"), first.entry.to_string());
        assert_eq!(second.entry, from);
        if round == 0 {
            home.restart();
        }
    }
    for number in 3_001..3_003 {
        capture(&home, request(number), transaction, &token).expect("released");
    }
    // Used up: the earlier success is still repeated, and nothing else is given.
    let repeated = capture(&home, request(3_000), transaction, &token).expect("released");
    assert!(repeated.replayed);
    assert_eq!(repeated.uses_left, 0);
    assert_eq!(
        denial(capture(&home, request(3_003), transaction, &token)),
        Denial::UsedUp
    );
}

#[test]
fn a_redemption_repeated_with_another_body_is_refused() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let sibling = home.tokenize(transaction, dutch_iban());
    capture(&home, request(3_100), transaction, &token).expect("released");
    let other = |token: &Token, purpose, fields: &[Field]| {
        home.redeem_as(request(3_100), "acme", transaction, token, purpose, fields)
    };
    let reused = Denial::RequestIdReused;
    let n = Field::Number;
    assert_eq!(denial(other(&sibling, Purpose::Capture, &[n])), reused);
    assert_eq!(denial(other(&token, Purpose::Authorize, &[n])), reused);
    assert_eq!(
        denial(other(&token, Purpose::Capture, &[n, Field::Expiry])),
        reused
    );
    // Another principal's request with the same id is another request.
    let theirs = home.redeem_as(
        request(3_100),
        "bolt",
        transaction,
        &token,
        Purpose::Payout,
        &[n],
    );
    assert!(!theirs.expect("released").replayed);
}

#[test]
fn a_refusal_is_not_remembered() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let ask = |purpose| {
        home.redeem_as(
            request(3_200),
            "acme",
            transaction,
            &token,
            purpose,
            &[Field::Number],
        )
    };
    assert_eq!(denial(ask(Purpose::Refund)), Denial::PurposeNotGranted);
    assert!(!ask(Purpose::Capture).expect("released").replayed);
}

#[test]
fn a_repetition_is_judged_again_but_for_its_use() {
    let home = Home::new();
    let (transaction, token) = home.card();
    capture(&home, request(3_300), transaction, &token).expect("released");
    let work = Work::Revoke {
        transaction,
        token: again(&token),
    };
    home.ask("shop", work).expect("revoked");
    assert_eq!(
        denial(capture(&home, request(3_300), transaction, &token)),
        Denial::Revoked
    );
    home.ask("shop", Work::Close { transaction })
        .expect("closed");
    assert_eq!(
        denial(capture(&home, request(3_300), transaction, &token)),
        Denial::Closed
    );
}

#[test]
fn a_report_repeated_is_recorded_once() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let report = |result| {
        let work = Work::Report {
            request: request(3_400),
            transaction,
            token: again(&token),
            result,
            reference: "auth 9".to_owned(),
        };
        match home.ask("acme", work)? {
            Done::Reported { entry, replayed } => Ok((entry, replayed)),
            _ => panic!("another answer"),
        }
    };
    let (entry, replayed) = report(WorkResult::Succeeded).expect("reported");
    assert!(!replayed);
    let size = home.size();
    assert_eq!(report(WorkResult::Succeeded), Ok((entry, true)));
    assert_eq!(home.size(), size);
    assert_eq!(
        denial(report(WorkResult::Declined)),
        Denial::RequestIdReused
    );
}

#[test]
fn a_request_is_remembered_for_24_hours_across_midnight_and_not_longer() {
    // Twice: with a restart in between, and without one.
    for restart in [false, true] {
        let mut home = Home::new();
        let mut terms = home.terms();
        terms.expires_at = terms.release_until;
        let (transaction, _) = open(&home, request(4_000), &terms).expect("opened");
        // One millisecond before midnight.
        let midnight = Timestamp(u64::from(start().day() + 1) * DAY_MS);
        home.clock.pass_ms(midnight.since_ms(start()) - 1);
        let first = tokenize(&home, request(4_001), transaction, visa(), None).expect("a token");
        capture(&home, request(4_002), transaction, &first.token).expect("released");
        home.clock.pass_ms(DAY_MS - 1);
        if restart {
            home.restart();
        }
        let second = tokenize(&home, request(4_001), transaction, visa(), None).expect("a token");
        assert!(second.replayed);
        assert_eq!(*second.token.parts(), *first.token.parts());
        assert!(
            capture(&home, request(4_002), transaction, &first.token)
                .expect("released")
                .replayed
        );
        home.clock.pass_ms(1);
        let third = tokenize(&home, request(4_001), transaction, visa(), None).expect("a token");
        assert!(!third.replayed, "after 24 hours it is a new request");
        assert_ne!(*third.token.parts(), *first.token.parts());
        let got = capture(&home, request(4_002), transaction, &first.token).expect("released");
        assert_eq!((got.replayed, got.uses_left), (false, 1));
    }
}

#[test]
fn an_opening_is_remembered_past_midnight_and_not_for_ever() {
    let home = Home::new();
    let mut terms = home.terms();
    terms.expires_at = terms.release_until;
    let first = open(&home, request(4_100), &terms).expect("opened");
    home.clock.pass_ms(DAY_MS - 1);
    assert_eq!(open(&home, request(4_100), &terms), Ok(first));
    home.clock.pass_ms(1);
    let second = open(&home, request(4_100), &terms).expect("opened");
    assert_ne!(second.0, first.0, "after 24 hours it is a new request");
}

#[test]
fn a_transaction_remembers_24_successes_and_says_when_it_is_full() {
    let home = Home::new();
    let mut terms = home.terms();
    for party in &mut terms.parties {
        for grant in &mut party.grants {
            grant.uses_max = 100;
        }
    }
    let transaction = home.open_with("shop", terms).expect("opened");
    let token = home.tokenize(transaction, visa());
    // The tokenization is the first of the 24; three are kept for the portal, four for the other
    // party, and nobody can take those.
    for number in 0..16 {
        capture(&home, request(5_000 + number), transaction, &token).expect("released");
    }
    assert_eq!(
        denial(capture(&home, request(5_100), transaction, &token)),
        Denial::TransactionFull
    );
    for number in 0..3 {
        tokenize(&home, request(5_200 + number), transaction, visa(), None).expect("a token");
    }
    assert_eq!(
        denial(capture(&home, request(5_101), transaction, &token)),
        Denial::TransactionFull
    );
    for number in 0..5 {
        let answer = home.redeem_as(
            request(5_300 + number),
            "bolt",
            transaction,
            &token,
            Purpose::Payout,
            &[Field::Number],
        );
        if number < 4 {
            answer.expect("its own places are there");
        } else {
            assert_eq!(denial(answer), Denial::TransactionFull, "24 in all");
        }
    }
    assert!(
        capture(&home, request(5_007), transaction, &token)
            .expect("released")
            .replayed,
        "what is remembered is still repeated"
    );
    home.clock.pass_ms(DAY_MS);
    let got = capture(&home, request(5_100), transaction, &token).expect("released");
    assert_eq!(got.uses_left, 100 - 17);
}

#[test]
fn the_largest_transaction_has_room_for_all_that_it_is_promised() {
    let home = Home::new();
    let mut terms = home.terms();
    terms.merchant = "m".repeat(64);
    terms.reference = "r".repeat(64);
    for party in &mut terms.parties {
        party.grants = Purpose::ALL
            .map(|p| grant(p, &[Field::Number], 100))
            .to_vec();
    }
    let transaction = home.open_with("shop", terms).expect("opened");
    let text = payvault::secret::SecretText::copy_from;
    let long = || {
        let input = payvault::payment::CardInput {
            number: text("4111111111111111"),
            expiry_month: 12,
            expiry_year: 2031,
            holder: text(&"ë".repeat(60)),
            security_code: text(""),
            postal_code: text(&"Q".repeat(16)),
            address_line: text(&"ø".repeat(80)),
        };
        match payvault::payment::card(input, start()) {
            Ok((card, _)) => Details::Card(card),
            Err(problems) => panic!("{problems:?}"),
        }
    };
    let tokens = [(); 4].map(|()| home.tokenize(transaction, long()));
    for day in 0..3 {
        for number in 0..20 {
            let purpose = Purpose::ALL[number % 6];
            let got = home.redeem(
                ["acme", "bolt"][number / 6 % 2],
                transaction,
                &tokens[number % 4],
                purpose,
                &[Field::Number],
            );
            assert!(got.is_ok(), "day {day}, {number}: {}", refusal(got));
        }
        home.clock.pass_ms(DAY_MS);
    }
}

/// Sealed details are recognised by their text: what was inside, and whether it still opens, is looked
/// at only when they are new.
#[test]
fn a_retry_of_sealed_details_is_one_whatever_became_of_them() {
    let home = Home::new();
    let transaction = home.open();
    let now = home.house.clock.now();
    let opened = |details: Option<Details>, not_after: Timestamp| {
        SealedIn::Opened(OpenedIn {
            text: [3; 32],
            site: site("nl"),
            encapsulation: Encapsulation([4; 16]),
            not_after,
            details: details.map(|details| (details, None)),
        })
    };
    let request = home.request();
    let hand_in = |request: &RequestId, sealed: SealedIn| {
        let work = Work::TokenizeSealed {
            request: request.clone(),
            transaction,
            sealed: Box::new(sealed),
            replaces: None,
        };
        match home.ask("shop", work)? {
            Done::Tokenized {
                token, replayed, ..
            } => Ok((token.to_text().expose().to_owned(), replayed)),
            _ => panic!("another answer"),
        }
    };
    let later = now.plus_ms(DAY_MS);
    let (made, replayed) = hand_in(&request, opened(Some(visa()), later)).expect("a token");
    assert!(!replayed);
    let amiss = |why| SealedIn::Amiss { text: [3; 32], why };
    for again in [
        opened(Some(visa()), later),
        opened(Some(visa()), now),
        opened(None, later),
        amiss(Amiss::UnknownKey),
    ] {
        let (token, replayed) = hand_in(&request, again).expect("the same token");
        assert!(replayed && token == made);
    }
    // Under another request id each is what it is.
    for (again, expected) in [
        (opened(Some(visa()), later), Denial::SealedDetailsRefused),
        (opened(Some(visa()), now), Denial::SealedDetailsRefused),
        (amiss(Amiss::UnknownKey), Denial::SealedDetailsRefused),
    ] {
        assert_eq!(denial(hand_in(&home.request(), again)), expected);
    }
    let fresh = SealedIn::Opened(OpenedIn {
        text: [5; 32],
        site: site("nl"),
        encapsulation: Encapsulation([6; 16]),
        not_after: later,
        details: None,
    });
    let invalid = hand_in(&home.request(), fresh);
    assert_eq!(denial(invalid), Denial::InvalidRequest);
}
