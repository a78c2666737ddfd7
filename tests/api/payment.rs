//! Every kind of payment instrument over the wire: handed in, shown masked, given back whole to a
//! tied party; and what a mask shows, and a fingerprint says, in every place where one appears.

use crate::house::{Serving, request_id};
use crate::road::{grant, terms};
use payvault::api::proto as pb;
use payvault::clock::Clock;
use payvault::payment::luhn;
use pb::payment_details::Kind;
use prost::Message;
use std::sync::Arc;

/// A transaction at a site, with one party that may have number and holder.
async fn open_at(serving: &Serving, site: &str) -> String {
    let fields = [pb::Field::Number, pb::Field::Holder, pb::Field::LastFour];
    let party = pb::Party {
        principal: serving.id("processor-a"),
        grants: vec![grant(pb::Purpose::Payout, &fields, 5)],
    };
    let terms = pb::Terms {
        site: site.to_owned(),
        ..terms(vec![party])
    };
    let opened = serving
        .vault("portal")
        .open_transaction(pb::OpenTransactionRequest {
            request_id: request_id(),
            terms: Some(terms),
            want_receipt: false,
        })
        .await;
    opened.expect("opened").into_inner().transaction
}

fn handing_in(transaction: &str, kind: Kind) -> pb::TokenizeRequest {
    pb::TokenizeRequest {
        request_id: request_id(),
        transaction: transaction.to_owned(),
        details: Some(pb::PaymentDetails { kind: Some(kind) }),
        replaces: String::new(),
        want_receipt: false,
        sealed_details: String::new(),
    }
}

async fn tokenize(serving: &Serving, transaction: &str, kind: Kind) -> pb::TokenizeResponse {
    let made = serving
        .vault("portal")
        .tokenize(handing_in(transaction, kind))
        .await;
    made.expect("a token").into_inner()
}

async fn describe(
    serving: &Serving,
    who: &str,
    transaction: &str,
    token: &str,
) -> pb::DescribeTokenResponse {
    let request = pb::DescribeTokenRequest {
        transaction: transaction.to_owned(),
        token: token.to_owned(),
    };
    let described = serving.vault(who).describe_token(request).await;
    described.expect("described").into_inner()
}

fn card(number: &str) -> Kind {
    card_until(number, 2031, 12)
}

fn card_until(number: &str, year: i32, month: i32) -> Kind {
    let mut card = pb::Card::default();
    card.number = number.to_owned();
    (card.expiry_year, card.expiry_month) = (year, month);
    Kind::Card(card)
}

/// What is handed in, what comes back, and what is shown of it: masked number, country, bank, check.
struct Case {
    given: Kind,
    kept: Kind,
    shown: [&'static str; 3],
    check: pb::CheckState,
    last_four: &'static str,
}

fn cases() -> Vec<Case> {
    use pb::CheckState::{Checked, NotChecked, PresumedValid};
    let case = |given: Kind, kept: Kind, shown, check, last_four| Case {
        given,
        kept,
        shown,
        check,
        last_four,
    };
    let iban = |iban: &str, bic: &str| {
        Kind::Iban(pb::IbanAccount {
            iban: iban.to_owned(),
            holder: "A. de Vries".to_owned(),
            bic: bic.to_owned(),
        })
    };
    let uk = |sort_code: &str, account_number: &str| {
        Kind::UkAccount(pb::UkAccount {
            sort_code: sort_code.to_owned(),
            account_number: account_number.to_owned(),
            holder: "A. Smith".to_owned(),
        })
    };
    let se = |clearing_number: &str, account_number: &str| {
        Kind::SeAccount(pb::SeAccount {
            clearing_number: clearing_number.to_owned(),
            account_number: account_number.to_owned(),
            holder: "A. Ek".to_owned(),
        })
    };
    let bankgiro = |number: &str| {
        Kind::Bankgiro(pb::Bankgiro {
            number: number.to_owned(),
            holder: "A. Ek".to_owned(),
        })
    };
    let plusgiro = |number: &str| {
        Kind::Plusgiro(pb::Plusgiro {
            number: number.to_owned(),
            holder: "A. Ek".to_owned(),
        })
    };
    let dk = |reg_number: &str, account_number: &str| {
        Kind::DkAccount(pb::DkAccount {
            reg_number: reg_number.to_owned(),
            account_number: account_number.to_owned(),
            holder: "A. Lund".to_owned(),
        })
    };
    let us = |routing_number: &str, account_number: &str| {
        Kind::UsAccount(pb::UsAccount {
            routing_number: routing_number.to_owned(),
            account_number: account_number.to_owned(),
            holder: "Pat Doe".to_owned(),
            account_type: 2,
        })
    };
    vec![
        case(
            iban("nl91 abna 0417 1643 00", "abnanl2a"),
            iban("NL91ABNA0417164300", "ABNANL2A"),
            ["NL91 **** **** **43 00", "NL", "ABNA"],
            Checked,
            "4300",
        ),
        // It fails the Dutch 11-test, which accounts needn't pass since 2020.
        case(
            iban("NL65ABNA2000000001", ""),
            iban("NL65ABNA2000000001", ""),
            ["NL65 **** **** **00 01", "NL", "ABNA"],
            Checked,
            "0001",
        ),
        case(
            us("0210-0002-1", "0001 2345 6789"),
            us("021000021", "000123456789"),
            ["021000021 ****6789", "US", "021000021"],
            Checked,
            "6789",
        ),
        case(
            uk("99-01-01", "2002 9772"),
            uk("990101", "20029772"),
            ["990101 ****9772", "GB", "990101"],
            Checked,
            "9772",
        ),
        case(
            uk("990100", "123456"),
            uk("990100", "00123456"),
            ["990100 ****56", "GB", "990100"],
            PresumedValid,
            "56",
        ),
        case(
            se("5839", "825 746 6"),
            se("5839", "8257466"),
            ["5839 ****66", "SE", "5839"],
            Checked,
            "66",
        ),
        case(
            se("9955", "12345678"),
            se("9955", "12345678"),
            ["9955 ****5678", "SE", "9955"],
            NotChecked,
            "5678",
        ),
        case(
            bankgiro("5050-1055"),
            bankgiro("50501055"),
            ["****1055", "SE", ""],
            Checked,
            "1055",
        ),
        case(
            plusgiro("28 65 43-4"),
            plusgiro("2865434"),
            ["****34", "SE", ""],
            Checked,
            "34",
        ),
        case(
            dk("0040", "440-116-243"),
            dk("0040", "0440116243"),
            ["0040 ****6243", "DK", "0040"],
            NotChecked,
            "6243",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_account_is_shown_masked_and_given_back_whole() {
    let mut serving = Serving::start().await;
    for Case {
        given,
        kept,
        shown,
        check,
        last_four,
    } in cases()
    {
        let transaction = open_at(&serving, "uk").await;
        let made = tokenize(&serving, &transaction, given).await;
        assert!(made.fingerprint.is_none(), "off by default");
        for who in ["portal", "processor-a"] {
            let described = describe(&serving, who, &transaction, &made.token).await;
            let masked = described.details.expect("masked details");
            let [number, country, bank] = shown;
            assert_eq!(masked.masked_number, number);
            assert_eq!(masked.country, country, "{number}");
            assert_eq!(masked.bank, bank, "{number}");
            assert!(masked.check() == check, "{number}");
            assert!(masked.expiry_state() == pb::ExpiryState::Unspecified);
            assert!(masked.brand.is_empty() && !masked.expired);
            assert!(made.details == Some(masked), "Tokenize says the same");
            assert!(described.fingerprint.is_none());
        }
        let redeemed = serving
            .vault("processor-a")
            .redeem(pb::RedeemRequest {
                request_id: request_id(),
                transaction: transaction.clone(),
                token: made.token.clone(),
                purpose: pb::Purpose::Payout.into(),
                fields: vec![
                    pb::Field::Number.into(),
                    pb::Field::Holder.into(),
                    pb::Field::LastFour.into(),
                ],
                want_receipt: false,
            })
            .await
            .expect("released")
            .into_inner();
        let number = shown[0];
        let details = redeemed.details.clone().and_then(|details| details.kind);
        assert!(details == Some(kept), "{number} comes back as another");
        assert_eq!(redeemed.last_four, last_four, "{number}");
    }
    let entries = serving.entries();
    for (case, masked) in cases().iter().zip(
        entries
            .iter()
            .filter(|entry| entry.get("event") == "tokenized")
            .map(|entry| entry.get("masked")),
    ) {
        assert_eq!(masked, case.shown[0]);
    }
    serving.stop().await;
}

/// The same details with their holder and nothing else.
fn holder_of(kept: &Kind) -> Kind {
    let mut only = kept.clone();
    match &mut only {
        Kind::Card(_) => panic!("no account"),
        Kind::Iban(account) => {
            account.iban.clear();
            account.bic.clear();
        }
        Kind::UsAccount(account) => {
            account.routing_number.clear();
            account.account_number.clear();
            account.account_type = 0;
        }
        Kind::UkAccount(account) => {
            account.sort_code.clear();
            account.account_number.clear();
        }
        Kind::SeAccount(account) => {
            account.clearing_number.clear();
            account.account_number.clear();
        }
        Kind::Bankgiro(giro) => giro.number.clear(),
        Kind::Plusgiro(giro) => giro.number.clear(),
        Kind::DkAccount(account) => {
            account.reg_number.clear();
            account.account_number.clear();
        }
    }
    only
}

/// What a set of fields leaves out stays in.
#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_asks_for_the_holder_gets_nothing_of_the_number() {
    let mut serving = Serving::start().await;
    for case in cases() {
        let transaction = open_at(&serving, "se").await;
        let made = tokenize(&serving, &transaction, case.given).await;
        let redeemed = serving
            .vault("processor-a")
            .redeem(pb::RedeemRequest {
                request_id: request_id(),
                transaction,
                token: made.token,
                purpose: pb::Purpose::Payout.into(),
                fields: vec![pb::Field::Holder.into()],
                want_receipt: false,
            })
            .await
            .expect("released")
            .into_inner();
        let details = redeemed.details.and_then(|details| details.kind);
        assert!(details == Some(holder_of(&case.kept)), "{}", case.shown[0]);
        assert!(redeemed.last_four.is_empty());
    }
    serving.stop().await;
}

/// A number of each length that a brand has, that passes Luhn.
fn numbers() -> Vec<String> {
    let starts = [
        "2131", "2221", "3400", "3700", "3055", "3600", "3528", "4000", "5018", "5100", "5555",
        "6011", "6200", "6440", "6759", "8100", "9999",
    ];
    let mut numbers = Vec::new();
    // Neighbours have different starts: what is shown of one says nothing about the next.
    for length in 12..=19 {
        for (at, start) in starts.iter().enumerate() {
            // Digits that stand nowhere else: neither in a time nor in another number.
            let middle: String = (0..length - 5)
                .map(|place| char::from(b'0' + ((at * 7 + place * 3 + length * 5 + 1) % 10) as u8))
                .collect();
            let number = (0..10)
                .map(|last| format!("{start}{middle}{last}"))
                .find(|number| luhn::passes(number.as_bytes()));
            numbers.push(number.expect("one of ten passes"));
        }
    }
    numbers
}

/// How many digits of a card number may be shown at its start.
fn first_shown(number: &str) -> usize {
    6.min(number.len() - 8)
}

/// Whether `text` holds more of `number` than its first six and last four digits.
fn shows_too_much(text: &[u8], number: &str) -> bool {
    let first = &number.as_bytes()[..first_shown(number) + 1];
    let last = &number.as_bytes()[number.len() - 5..];
    let more = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
    more(first) || more(last)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_place_shows_more_of_a_card_than_bin_and_last_four() {
    let mut serving = Serving::start().await;
    let numbers = numbers();
    let mut said = Vec::new();
    for four in numbers.chunks(4) {
        let transaction = open_at(&serving, "nl").await;
        for number in four {
            let made = tokenize(&serving, &transaction, card(number)).await;
            let shown = &made.details.as_ref().expect("masked details").masked_number;
            let hidden = shown.matches('*').count();
            assert!(hidden >= 4, "{shown}");
            assert_eq!(shown.len(), number.len());
            assert!(number.len() - hidden <= 10, "{shown}");
            for who in ["portal", "processor-a"] {
                let described = describe(&serving, who, &transaction, &made.token).await;
                said.push((number, described.encode_to_vec()));
            }
            said.push((number, made.encode_to_vec()));
        }
        let got = serving
            .vault("portal")
            .get_transaction(pb::GetTransactionRequest { transaction })
            .await
            .expect("got")
            .into_inner()
            .encode_to_vec();
        said.extend(four.iter().map(|number| (number, got.clone())));
    }
    for (number, reply) in &said {
        assert!(!shows_too_much(reply, number), "a reply shows {number}");
    }
    let export = serving.export().await;
    let entries: Vec<String> = serving
        .entries()
        .iter()
        .filter(|entry| !entry.get("masked").is_empty())
        .map(|entry| entry.get("masked").to_owned())
        .collect();
    assert!(entries.len() >= numbers.len() * 3);
    for masked in &entries {
        let (first, last) = (masked.find('*'), masked.rfind('*'));
        let (first, last) = (first.expect("a star"), last.expect("a star"));
        assert!(first <= 6 && masked.len() - last - 1 <= 4, "{masked}");
        assert!(masked.matches('*').count() >= 4, "{masked}");
    }
    for number in &numbers {
        let own = &number[..first_shown(number)];
        assert!(entries.iter().any(|masked| masked.starts_with(own)));
        // The export is long and has hashes and sizes in it: a longer part than two digits more.
        let (first, last) = (
            &number[..10.min(number.len() - 2)],
            &number[number.len() - 8..],
        );
        for part in [first, last] {
            let found = export.windows(part.len()).any(|w| w == part.as_bytes());
            assert!(!found, "the export shows {part}");
        }
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_says_where_it_stands_in_its_time() {
    let mut serving = Serving::start().await;
    let transaction = open_at(&serving, "nl").await;
    let (year, month) = Clock::Manual(Arc::clone(&serving.clock)).now().year_month();
    let this_month = card_until("4242424242424242", year.into(), month.into());
    let state = |masked: Option<pb::MaskedDetails>| {
        let masked = masked.expect("masked details");
        assert!(masked.check() == pb::CheckState::Checked);
        assert_eq!(masked.brand, "visa");
        (masked.expiry_state(), masked.expired)
    };
    let made = tokenize(&serving, &transaction, this_month).await;
    let expected = (pb::ExpiryState::ThisMonth, false);
    assert!(state(made.details) == expected);
    let later = tokenize(&serving, &transaction, card("4242424242424242")).await;
    assert!(state(later.details) == (pb::ExpiryState::Valid, false));
    serving.stop().await;
}

fn value(fingerprint: Option<pb::Fingerprint>) -> Option<String> {
    fingerprint.map(|fingerprint| {
        assert_eq!(fingerprint.generation, 1);
        assert!(fingerprint.value.starts_with("fpr_") && fingerprint.value.len() == 68);
        fingerprint.value
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fingerprint_is_for_the_portal_and_where_the_site_has_it_on() {
    let mut serving = Serving::start_with_fingerprints(&["nl", "us"]).await;
    let first = open_at(&serving, "nl").await;
    let second = open_at(&serving, "nl").await;
    let request = handing_in(&first, card("4242 4242 4242 4242"));
    let mut portal = serving.vault("portal");
    let made = portal
        .tokenize(request.clone())
        .await
        .expect("a token")
        .into_inner();
    let own = value(made.fingerprint.clone()).expect("a fingerprint");
    assert!(!made.replayed);

    // The same number has the same, in another transaction and as another card of it.
    let again = tokenize(&serving, &second, card("4242424242424242")).await;
    assert_eq!(value(again.fingerprint).as_deref(), Some(own.as_str()));
    assert_ne!(again.token, made.token);
    let other = tokenize(&serving, &second, card("5555555555554444")).await;
    assert_ne!(value(other.fingerprint), Some(own.clone()));
    // A repeated request gives it again; so does the token.
    let repeated = portal.tokenize(request).await.expect("again").into_inner();
    assert!(repeated.replayed);
    assert_eq!(value(repeated.fingerprint), Some(own.clone()));
    let described = describe(&serving, "portal", &first, &made.token).await;
    assert_eq!(value(described.fingerprint), Some(own.clone()));

    // Another site has another key, and a site without has none.
    let elsewhere = open_at(&serving, "us").await;
    let there = tokenize(&serving, &elsewhere, card("4242424242424242")).await;
    assert_ne!(value(there.fingerprint).expect("a fingerprint"), own);
    let without = open_at(&serving, "dk").await;
    let none = tokenize(&serving, &without, card("4242424242424242")).await;
    assert!(none.fingerprint.is_none());
    let described = describe(&serving, "portal", &without, &none.token).await;
    assert!(described.fingerprint.is_none());

    // A party gets none.
    let described = describe(&serving, "processor-a", &first, &made.token).await;
    assert!(described.fingerprint.is_none());

    // What gives nothing any more gives no fingerprint: revoked, closed.
    let revoke = pb::RevokeTokenRequest {
        transaction: first.clone(),
        token: made.token.clone(),
    };
    portal.revoke_token(revoke).await.expect("revoked");
    let described = describe(&serving, "portal", &first, &made.token).await;
    assert!(described.revoked && described.fingerprint.is_none());
    let close = pb::CloseTransactionRequest {
        transaction: second.clone(),
    };
    let described = describe(&serving, "portal", &second, &again.token).await;
    assert!(described.fingerprint.is_some(), "the control");
    portal.close_transaction(close).await.expect("closed");
    let described = describe(&serving, "portal", &second, &again.token).await;
    assert!(described.fingerprint.is_none());

    // The ledger says when one was given, and not which.
    let given: Vec<String> = serving
        .entries()
        .iter()
        .filter(|entry| entry.json["detail"]["fingerprint"] == "given")
        .map(|entry| entry.brief())
        .collect();
    let expected = [
        "tokenized",
        "tokenized",
        "tokenized",
        "token_described",
        "tokenized",
        "token_described",
    ];
    assert_eq!(given, expected);
    let export = serving.export().await;
    let letters = &own.as_bytes()[4..];
    assert!(!export.windows(letters.len()).any(|part| part == letters));
    serving.stop().await;
}
