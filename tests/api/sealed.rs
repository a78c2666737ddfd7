//! Details that were sealed before they left the browser: what opens, for what, how often and how
//! long; and the one answer to everything else.

use crate::house::{Serving, Storing, request_id, site};
use crate::road::{in_days, party, terms};
use crate::wire::{Seen, all_of, reason};
use payvault::api::proto as pb;
use payvault::clock::{DAY_MS, Timestamp};
use payvault::ids::TransactionId;
use payvault::keys::Suite;
use payvault::ledger::VerifierKey;
use payvault::vault::CollectDocument;
use pb::payment_details::Kind;
use tonic::{Code, Status};

const HOUR_MS: u64 = 3_600_000;
const CARD: &str = r#"{"card":{"number":"4242 4242 4242 4242","expiry_month":12,"expiry_year":2030,"holder":"A. de Vries","security_code":"123"}}"#;
const IBAN: &str = r#"{"iban":{"iban":"NL91ABNA0417164300","holder":"A. de Vries"}}"#;

fn now(serving: &Serving) -> Timestamp {
    serving.gate.house().clock.now()
}

/// Goes on to the next midnight of the vault's clock, and `ms` further.
fn to_midnight(serving: &Serving, ms: u64) {
    let rest = DAY_MS - now(serving).0 % DAY_MS;
    serving.clock.pass_ms(rest + ms);
}

/// A transaction of a portal's that takes details for days.
async fn open_by(serving: &Serving, portal: &str, at: &str) -> String {
    let terms = pb::Terms {
        site: at.to_owned(),
        expires_at: in_days(6),
        ..terms(vec![party(serving, "processor-a", 9)])
    };
    let opened = serving
        .vault(portal)
        .open_transaction(pb::OpenTransactionRequest {
            request_id: request_id(),
            terms: Some(terms),
            want_receipt: false,
        })
        .await;
    opened.expect("opened").into_inner().transaction
}

async fn open(serving: &Serving) -> String {
    open_by(serving, "portal", "nl").await
}

/// The document, as a portal gets it and a page verifies it.
pub async fn document(serving: &Serving) -> CollectDocument {
    let given = serving
        .vault("portal")
        .get_collect_key(pb::GetCollectKeyRequest {})
        .await
        .expect("a document")
        .into_inner();
    let identity = VerifierKey::parse(&given.verifier_key).expect("a key");
    CollectDocument::open(&given.document, &identity, now(serving)).expect("it verifies")
}

pub fn sealed_for(
    serving: &Serving,
    document: &CollectDocument,
    suite: Suite,
    transaction: &str,
    json: &str,
) -> String {
    let of = TransactionId::parse(transaction).expect("an id");
    document
        .seal(suite, site("nl"), of, json.as_bytes(), now(serving))
        .expect("sealed")
}

fn request(transaction: &str, sealed: &str) -> pb::TokenizeRequest {
    pb::TokenizeRequest {
        request_id: request_id(),
        transaction: transaction.to_owned(),
        sealed_details: sealed.to_owned(),
        ..Default::default()
    }
}

async fn hand_in(
    serving: &Serving,
    who: &str,
    request: pb::TokenizeRequest,
) -> Result<pb::TokenizeResponse, Status> {
    let answer = serving.vault(who).tokenize(request).await?;
    Ok(answer.into_inner())
}

async fn redeem(serving: &Serving, transaction: &str, token: &str) -> pb::RedeemResponse {
    let fields = [
        pb::Field::Number,
        pb::Field::Expiry,
        pb::Field::Holder,
        pb::Field::SecurityCode,
    ];
    let request = pb::RedeemRequest {
        request_id: request_id(),
        transaction: transaction.to_owned(),
        token: token.to_owned(),
        purpose: pb::Purpose::Authorize.into(),
        fields: fields.into_iter().map(Into::into).collect(),
        want_receipt: false,
    };
    let released = serving.vault("processor-a").redeem(request).await;
    released.expect("redeemed").into_inner()
}

/// What an entry's detail says of sealed details, and its reason, of the last entry about a token.
fn last_word(serving: &Serving) -> (String, String) {
    let entries = serving.entries();
    let entry = entries.iter().rfind(|e| e.get("event") == "tokenized");
    let entry = entry.expect("an entry");
    let sealed = entry.json["detail"]["sealed"].as_str().unwrap_or_default();
    (entry.get("reason").to_owned(), sealed.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_is_what_is_redeemed() {
    let mut serving = Serving::start().await;
    let document = document(&serving).await;
    for suite in Suite::ALL {
        let transaction = open(&serving).await;
        let text = sealed_for(&serving, &document, suite, &transaction, CARD);
        let made = hand_in(&serving, "portal", request(&transaction, &text)).await;
        let made = made.expect("a token");
        // The same answer as for details in clear.
        let masked = made.details.expect("masked");
        assert_eq!(masked.masked_number, "424242******4242");
        assert_eq!(masked.brand, "visa");
        assert_eq!(last_word(&serving), (String::new(), "opened".to_owned()));
        let released = redeem(&serving, &transaction, &made.token).await;
        let Some(Kind::Card(card)) = released.details.and_then(|d| d.kind) else {
            panic!("not a card");
        };
        assert_eq!(card.number, "4242424242424242");
        assert_eq!((card.expiry_month, card.expiry_year), (12, 2030));
        assert_eq!(card.holder, "A. de Vries");
        assert_eq!(card.security_code, "123");

        let text = sealed_for(&serving, &document, suite, &transaction, IBAN);
        let made = hand_in(&serving, "portal", request(&transaction, &text)).await;
        let released = redeem(&serving, &transaction, &made.expect("a token").token).await;
        let Some(Kind::Iban(account)) = released.details.and_then(|d| d.kind) else {
            panic!("not an account");
        };
        assert_eq!(account.iban, "NL91ABNA0417164300");
        assert_eq!(account.holder, "A. de Vries");
    }
    // Whoever is enrolled may have the document; it is the same all day, over a restart too.
    serving.restart().await;
    let again = self::document(&serving).await;
    assert_eq!(again.key(), document.key());
    let asked = pb::GetCollectKeyRequest {};
    let given = serving.vault("operator").get_collect_key(asked).await;
    assert!(given.is_ok());
    // And the key was made once, in an entry of its own.
    let made = |entry: &crate::entries::Entry| {
        entry.get("event") == "key_created"
            && entry.json["detail"]["key"]
                .as_str()
                .is_some_and(|key| key.starts_with("collect/"))
    };
    let entries = serving.entries();
    assert_eq!(entries.iter().filter(|entry| made(entry)).count(), 1);
    serving.stop().await;
}

/// One answer, whatever is amiss; the entry says what.
#[tokio::test(flavor = "multi_thread")]
async fn sealed_details_open_once_for_their_own_transaction_and_in_their_time() {
    let mut serving = Serving::start().await;
    to_midnight(&serving, HOUR_MS);
    let document = document(&serving).await;
    let (own, other) = (open(&serving).await, open(&serving).await);
    let text = sealed_for(&serving, &document, Suite::X25519, &own, CARD);
    let first = request(&own, &text);
    let made = hand_in(&serving, "portal", first.clone()).await;
    let made = made.expect("a token");

    let answer_to = async |of: &str, text: &str| {
        let answer = hand_in(&serving, "portal", request(of, text)).await;
        let status = answer.expect_err("refused");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason(&status), "SEALED_DETAILS_REFUSED");
        Seen::of(&status)
    };
    let refused = async |of: &str, text: &str| {
        let seen = answer_to(of, text).await;
        let (reason, why) = last_word(&serving);
        assert_eq!(reason, "SEALED_DETAILS_REFUSED");
        (seen, why)
    };
    let (answer, why) = refused(&own, &text).await;
    assert_eq!(why, "used before");
    let same = |(status, why): (Seen, String), expected: &str| {
        assert_eq!(why, expected);
        assert!(status == answer, "one answer: {expected}");
    };
    same(refused(&other, &text).await, "does not open");

    // Revoking the token frees nothing.
    let revoke = pb::RevokeTokenRequest {
        transaction: own.clone(),
        token: made.token.clone(),
    };
    let revoked = serving.vault("portal").revoke_token(revoke).await;
    revoked.expect("revoked");
    same(refused(&own, &text).await, "used before");

    // Another key's id, another suite's name, another site.
    let fresh = sealed_for(&serving, &document, Suite::X25519, &own, CARD);
    let key = document.key().to_string();
    let swapped = fresh.replace(&key, &"bc".repeat(16));
    same(refused(&own, &swapped).await, "unknown key");
    let suite = fresh.replace("pvc1.x25519.", "pvc1.x-wing.");
    same(refused(&own, &suite).await, "malformed");
    let moved = fresh.replace(".nl.", ".us.");
    same(refused(&own, &moved).await, "does not open");
    // Sealed for another site than the transaction's: it opens, and is still not this one's.
    let of = TransactionId::parse(&own).expect("an id");
    let elsewhere = document.seal(
        Suite::X25519,
        site("us"),
        of,
        CARD.as_bytes(),
        now(&serving),
    );
    same(
        refused(&own, &elsewhere.expect("sealed")).await,
        "does not open",
    );
    same(refused(&own, "pvc1").await, "malformed");

    // Cut at any place, and a bit flipped at every byte; each has its entry.
    let denied = || {
        let entries = serving.entries();
        let of = |entry: &&crate::entries::Entry| entry.get("reason") == "SEALED_DETAILS_REFUSED";
        entries.iter().filter(of).count()
    };
    let (before, mut bent) = (denied(), 0);
    for suite in Suite::ALL {
        let fresh = sealed_for(&serving, &document, suite, &own, CARD);
        let step = if suite == Suite::X25519 { 1 } else { 41 };
        for at in (0..fresh.len()).step_by(step) {
            let mut bytes = fresh.clone().into_bytes();
            bytes[at] ^= 1 << (at % 7);
            let flipped = String::from_utf8(bytes).expect("seven bits stay ASCII");
            assert_eq!(answer_to(&own, &flipped).await, answer, "flipped at {at}");
            bent += 1;
            if at > 0 && at % 29 == 0 {
                assert_eq!(answer_to(&own, &fresh[..at]).await, answer, "cut at {at}");
                bent += 1;
            }
        }
        // The control: what was bent opens as it was.
        let made = hand_in(&serving, "portal", request(&own, &fresh)).await;
        assert!(made.is_ok());
    }

    assert_eq!(denied() - before, bent);

    // In its time, to the millisecond.
    let last = sealed_for(&serving, &document, Suite::XWing, &other, CARD);
    serving
        .clock
        .pass_ms(document.not_after().0 - now(&serving).0);
    same(refused(&other, &last).await, "over");
    // And once the key is destroyed.
    serving.clock.pass_ms(2 * HOUR_MS);
    let fresh = self::document(&serving).await;
    assert!(fresh.key() != document.key());
    same(refused(&other, &last).await, "unknown key");
    let text = sealed_for(&serving, &fresh, Suite::XWing, &other, CARD);
    let made = hand_in(&serving, "portal", request(&other, &text)).await;
    assert!(made.is_ok());
    serving.stop().await;
}

/// Time is the ledger's: a wall clock that was set gives nothing back, and takes nothing away.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_prolongs_nothing() {
    let mut serving = Serving::start().await;
    to_midnight(&serving, HOUR_MS);
    let document = document(&serving).await;
    let transaction = open(&serving).await;
    let seal = || sealed_for(&serving, &document, Suite::X25519, &transaction, CARD);
    let (over, early) = (seal(), seal());
    let refused = async |text: &str| {
        let status = hand_in(&serving, "portal", request(&transaction, text)).await;
        assert_eq!(
            reason(&status.expect_err("refused")),
            "SEALED_DETAILS_REFUSED"
        );
        last_word(&serving).1
    };
    // Ahead by three days, which is suspect: what was in its time is so still, and the document that
    // is handed out is the day's of the ledger.
    let asked = now(&serving);
    serving.clock.step_to(asked.plus_ms(3 * DAY_MS));
    let made = hand_in(&serving, "portal", request(&transaction, &early)).await;
    made.expect("a token");
    let given = serving.vault("portal");
    let given = { given }.get_collect_key(pb::GetCollectKeyRequest {}).await;
    let given = given.expect("a document").into_inner();
    assert!(given.document.contains(&document.key().to_string()));
    serving.clock.step_to(asked);
    // Past its end, and the clock put back by two minutes, which nobody suspects.
    let half_an_hour_before = |end: Timestamp| end.0 - now(&serving).0 - HOUR_MS / 2;
    let look = async || {
        let asked = pb::GetTransactionRequest {
            transaction: transaction.clone(),
        };
        let seen = serving.vault("portal").get_transaction(asked).await;
        seen.expect("it is there");
    };
    serving
        .clock
        .pass_ms(half_an_hour_before(document.not_after()));
    // Whatever is done once an hour is done now, and not when the time is over.
    look().await;
    serving.clock.pass_ms(HOUR_MS / 2 + 60_000);
    assert_eq!(refused(&over).await, "over");
    serving.clock.step_to(Timestamp(now(&serving).0 - 120_000));
    assert_eq!(refused(&over).await, "over");
    // By a day, which is suspect: keys are not destroyed meanwhile, and still open nothing.
    serving.clock.pass_ms(2 * HOUR_MS);
    let next = self::document(&serving).await;
    let suspect = sealed_for(&serving, &next, Suite::X25519, &transaction, CARD);
    serving.clock.pass_ms(half_an_hour_before(next.not_after()));
    look().await;
    serving.clock.step_to(Timestamp(now(&serving).0 - DAY_MS));
    serving.clock.pass_ms(20 * HOUR_MS);
    assert_eq!(refused(&suspect).await, "over");
    serving.stop().await;
}

/// A retry comes first: before the use is looked at, and after the key is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_answered_whatever_became_of_the_key() {
    let mut serving = Serving::start().await;
    to_midnight(&serving, HOUR_MS);
    let document = document(&serving).await;
    let transaction = open(&serving).await;
    // A page that was open for almost two days.
    serving.clock.pass_ms(46 * HOUR_MS);
    let text = sealed_for(&serving, &document, Suite::XWing, &transaction, CARD);
    let asked = request(&transaction, &text);
    let made = hand_in(&serving, "portal", asked.clone()).await;
    let made = made.expect("a token");
    assert!(!made.replayed);
    let again = hand_in(&serving, "portal", asked.clone()).await;
    let again = again.expect("the same token");
    assert!(again.replayed && again.token == made.token && again.details == made.details);
    serving.clock.pass_ms(3 * HOUR_MS);
    let later = hand_in(&serving, "portal", asked.clone()).await;
    let later = later.expect("the same token");
    assert!(later.replayed && later.token == made.token);
    // Another text under the same id is another request.
    let fresh = self::document(&serving).await;
    let other = pb::TokenizeRequest {
        sealed_details: sealed_for(&serving, &fresh, Suite::XWing, &transaction, CARD),
        ..asked.clone()
    };
    let status = hand_in(&serving, "portal", other)
        .await
        .expect_err("refused");
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
    // A day after the success it is forgotten, and then it is a use of what is over.
    serving.clock.pass_ms(22 * HOUR_MS);
    let status = hand_in(&serving, "portal", asked).await;
    let status = status.expect_err("refused");
    assert_eq!(reason(&status), "SEALED_DETAILS_REFUSED");
    serving.stop().await;
}

/// What is inside is judged as in clear, and told to who opened the transaction only.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_inside_is_told_to_the_owner_without_a_value() {
    let mut serving = Serving::start().await;
    let document = document(&serving).await;
    let transaction = open(&serving).await;
    let unknown = TransactionId([9; 16]).to_string();
    let not_tied = {
        let text = sealed_for(&serving, &document, Suite::X25519, &unknown, CARD);
        let status = hand_in(&serving, "portal", request(&unknown, &text)).await;
        status.expect_err("unknown")
    };
    assert_eq!(reason(&not_tied), "NOT_TIED");
    for (json, field, what) in [
        (
            CARD.replace("4242 4242 4242 4242", "4242 4242 4242 4241"),
            "sealed_details.card.number",
            "4242 4242 4242 4241",
        ),
        (
            CARD.replace("2030", "2020"),
            "sealed_details.card.expiry_year",
            "2020",
        ),
        (
            CARD.replace("\"123\"", "\"12\""),
            "sealed_details.card.security_code",
            "\"12\"",
        ),
        (
            IBAN.replace("4300", "4301"),
            "sealed_details.iban.iban",
            "NL91ABNA0417164301",
        ),
        ("{}".to_owned(), "sealed_details", "{}"),
        (
            CARD.replace("holder", "owner"),
            "sealed_details",
            "A. de Vries",
        ),
        (format!("{CARD} "), "", ""),
        (format!("{CARD}x"), "sealed_details", "4242"),
    ] {
        let text = sealed_for(&serving, &document, Suite::X25519, &transaction, &json);
        let own = hand_in(&serving, "portal", request(&transaction, &text)).await;
        if field.is_empty() {
            own.expect("white space is none of anybody's business");
            continue;
        }
        let status = own.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{field}");
        let said = all_of(&status);
        let says = |text: &str| said.windows(text.len()).any(|at| at == text.as_bytes());
        assert!(says(field) && !says(what), "{field}");
        // Somebody else's: nothing, not even that it opens.
        let foreign = hand_in(&serving, "portal-2", request(&transaction, &text)).await;
        let foreign = foreign.expect_err("refused");
        assert_eq!(Seen::of(&foreign), Seen::of(&not_tied), "{field}");
    }
    let text = sealed_for(&serving, &document, Suite::X25519, &transaction, CARD);
    let foreign = hand_in(&serving, "portal-2", request(&transaction, &text)).await;
    let foreign = foreign.expect_err("refused");
    assert_eq!(Seen::of(&foreign), Seen::of(&not_tied));
    // Nothing of that counted as a use.
    let own = hand_in(&serving, "portal", request(&transaction, &text)).await;
    own.expect("a token");

    let both = pb::TokenizeRequest {
        details: Some(crate::road::card()),
        ..request(&transaction, &text)
    };
    let long = request(&transaction, &"p".repeat(8_193));
    for asked in [both, long] {
        let status = hand_in(&serving, "portal", asked)
            .await
            .expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    serving.stop().await;
}

fn in_clear(transaction: &str, number: &str) -> pb::TokenizeRequest {
    let mut details = crate::road::card();
    if let Some(Kind::Card(card)) = &mut details.kind {
        card.number = number.to_owned();
    }
    pb::TokenizeRequest {
        sealed_details: String::new(),
        details: Some(details),
        ..request(transaction, "")
    }
}

/// A portal all of whose sites take sealed details only, and one that has others too.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_takes_sealed_details_only_does_not_read_others() {
    for only in [&["nl"][..], &["us", "uk", "nl", "se", "dk"]] {
        let mut serving = Serving::start_in(
            Storing::Memory,
            |_| {},
            |settings| {
                settings.sealed_only = only.iter().map(|name| site(name)).collect();
            },
        )
        .await;
        nothing_in_clear_is_read_at(&serving).await;
        if only.len() == 1 {
            elsewhere_both_are_taken(&serving).await;
        }
        serving.stop().await;
    }
}

async fn nothing_in_clear_is_read_at(serving: &Serving) {
    let document = document(serving).await;
    let transaction = open(serving).await;
    // Not read: what is wrong with it isn't noticed.
    for number in ["4242424242424242", "4242424242424241", "x"] {
        let asked = in_clear(&transaction, number);
        let status = hand_in(serving, "portal", asked).await;
        let status = status.expect_err("refused");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason(&status), "SEALED_ONLY", "{number}");
        let expected = ("SEALED_ONLY".to_owned(), String::new());
        assert_eq!(last_word(serving), expected);
    }
    let nothing = pb::TokenizeRequest {
        details: None,
        ..in_clear(&transaction, "")
    };
    let status = hand_in(serving, "portal", nothing).await;
    assert_eq!(reason(&status.expect_err("refused")), "SEALED_ONLY");
    let text = sealed_for(serving, &document, Suite::X25519, &transaction, CARD);
    let made = hand_in(serving, "portal", request(&transaction, &text)).await;
    made.expect("a token");
    // To whoever isn't tied: as ever, whatever it hands in, and whatever the site takes.
    let unknown = TransactionId([9; 16]).to_string();
    let other = open_by(serving, "portal", "us").await;
    let mut answers = Vec::new();
    for of in [&transaction, &other, &unknown] {
        for number in ["4242424242424242", "x", ""] {
            let mut asked = in_clear(of, number);
            asked.details = asked.details.filter(|_| !number.is_empty());
            let status = hand_in(serving, "portal-2", asked).await;
            answers.push(Seen::of(&status.expect_err("refused")));
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

async fn elsewhere_both_are_taken(serving: &Serving) {
    let document = document(serving).await;
    let transaction = open_by(serving, "portal", "us").await;
    let asked = in_clear(&transaction, "4242424242424242");
    let made = hand_in(serving, "portal", asked.clone()).await;
    let made = made.expect("a token");
    let again = hand_in(serving, "portal", asked).await.expect("a retry");
    assert!(again.replayed && again.token == made.token);
    let wrong = hand_in(serving, "portal", in_clear(&transaction, "x")).await;
    let said = all_of(&wrong.expect_err("refused"));
    let field = b"details.card.number";
    assert!(said.windows(field.len()).any(|at| at == field));
    let of = TransactionId::parse(&transaction).expect("an id");
    let sealed = document.seal(Suite::X25519, site("us"), of, CARD.as_bytes(), now(serving));
    let asked = request(&transaction, &sealed.expect("sealed"));
    hand_in(serving, "portal", asked).await.expect("a token");
}

/// Pages hold yesterday's document: nothing of theirs fails inside of the overlap, and afterwards
/// they are told.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_were_open_at_midnight_go_on_for_a_day() {
    let mut serving = Serving::start().await;
    to_midnight(&serving, 23 * HOUR_MS);
    let old = document(&serving).await;
    let mut refused = 0;
    for hour in 0..27 {
        let today = document(&serving).await;
        assert_eq!(today.key() == old.key(), hour < 1, "hour {hour}");
        for (which, held) in [("old", &old), ("today's", &today)] {
            let transaction = open(&serving).await;
            let of = TransactionId::parse(&transaction).expect("an id");
            let sealed = held.seal(
                Suite::X25519,
                site("nl"),
                of,
                CARD.as_bytes(),
                // The page's clock stands still: the vault judges.
                Timestamp(held.not_after().min(now(&serving)).0 - 1),
            );
            let asked = request(&transaction, &sealed.expect("sealed"));
            let answer = hand_in(&serving, "portal", asked).await;
            let over = now(&serving) >= held.not_after();
            match answer {
                Ok(_) => assert!(!over, "hour {hour}, {which}"),
                Err(status) => {
                    assert!(over, "hour {hour}, {which}: {status}");
                    assert_eq!(reason(&status), "SEALED_DETAILS_REFUSED");
                    refused += 1;
                }
            }
        }
        serving.clock.pass_ms(HOUR_MS);
    }
    assert_eq!(refused, 2, "the last two hours");
    serving.stop().await;
}

/// A stream's items are judged as the calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_takes_sealed_details_item_by_item() {
    let mut serving = Serving::start().await;
    let document = document(&serving).await;
    let transaction = open(&serving).await;
    let text = |json: &str| sealed_for(&serving, &document, Suite::XWing, &transaction, json);
    let good = text(CARD);
    let items = vec![
        request(&transaction, &good),
        request(&transaction, &good),
        request(&transaction, &text("{}")),
        request(&transaction, "pvc1.x"),
        request(&transaction, &text(IBAN)),
    ];
    let message = pb::TokenizeStreamRequest { items };
    let mut answers = serving
        .vault("portal")
        .tokenize_stream(tokio_stream::iter([message]))
        .await
        .expect("a stream")
        .into_inner();
    let answer = answers.message().await.expect("an answer").expect("one");
    let codes: Vec<i32> = answer
        .results
        .iter()
        .map(
            |result| match result.outcome.as_ref().expect("an outcome") {
                pb::tokenize_result::Outcome::Tokenized(_) => 0,
                pb::tokenize_result::Outcome::Error(error) => error.code,
            },
        )
        .collect();
    let (used, invalid) = (
        Code::FailedPrecondition as i32,
        Code::InvalidArgument as i32,
    );
    assert_eq!(codes, [0, used, invalid, used, 0]);
    serving.stop().await;
}
