//! The card security code: in memory, once, for one purpose, for a short time, and in no value
//! that is ever stored.

use crate::house::*;
use payvault::clock::DAY_MS;
use payvault::ids::TransactionId;
use payvault::keys::{KeyName, Kind, Place, Sealed};
use payvault::payment::{SecurityCode, Token};
use payvault::policy::{Denial, Field, Purpose};
use payvault::store::memory::{Fault, Faults, MemoryStore};
use payvault::store::{
    CommitError, Key, Limits, Reader, Round, RoundId, Settled, Store, StoreError, WriteSet,
};
use payvault::vault::command::{CodeStatus, Redeemed, Refusal, RequestId, Work, WorkResult};
use std::sync::{Arc, Mutex};

const CODE: &str = "7319";
const WITH_CODE: [Field; 2] = [Field::Number, Field::SecurityCode];

fn card_with_code(home: &Home) -> (TransactionId, Token) {
    let transaction = home.open();
    let (token, _) = home
        .tokenize_with(transaction, visa(), Some(CODE))
        .expect("a token");
    (transaction, token)
}

fn with_code(
    home: &Home,
    request: RequestId,
    transaction: TransactionId,
    token: &Token,
) -> Result<Box<Redeemed>, Refusal> {
    home.redeem_as(
        request,
        "acme",
        transaction,
        token,
        Purpose::Authorize,
        &WITH_CODE,
    )
}

/// The code and what is said of it.
fn code_of(got: &Redeemed) -> (Option<&str>, CodeStatus) {
    assert_eq!(got.code.is_some(), got.fields.contains(Field::SecurityCode));
    (got.code.as_ref().map(SecurityCode::expose), got.code_status)
}

#[test]
fn the_code_goes_out_once_and_to_authorize_only() {
    let home = Home::new();
    let (transaction, token) = card_with_code(&home);
    // Whoever does not ask for it does not get it, and it is still there.
    let got = home.authorize(transaction, &token).expect("released");
    assert_eq!(code_of(&got), (None, CodeStatus::NotAsked));
    let capture = home.redeem("acme", transaction, &token, Purpose::Capture, &WITH_CODE);
    assert_eq!(denial(capture), Denial::FieldNotGranted);
    let got = with_code(&home, request(1_000), transaction, &token).expect("released");
    assert_eq!(code_of(&got), (Some(CODE), CodeStatus::Released));

    let (transaction, token) = card_with_code(&home);
    let got = with_code(&home, request(1_001), transaction, &token).expect("released");
    assert_eq!(code_of(&got), (Some(CODE), CodeStatus::Released));
    let got = with_code(&home, request(1_002), transaction, &token).expect("released");
    assert_eq!(code_of(&got), (None, CodeStatus::AlreadyReleased));
    assert_eq!(number_of(&got.details), VISA, "the rest is given");

    let (transaction, token) = home.card();
    let got = with_code(&home, request(1_003), transaction, &token).expect("released");
    assert_eq!(code_of(&got), (None, CodeStatus::NotProvided));
}

#[test]
fn terms_cant_grant_the_code_for_another_purpose() {
    let home = Home::new();
    let mut terms = home.terms();
    for party in &mut terms.parties {
        for grant in &mut party.grants {
            grant.fields = grant.fields.with(Field::SecurityCode);
        }
    }
    let Ok(transaction) = home.open_with("shop", terms) else {
        return;
    };
    let (token, _) = home
        .tokenize_with(transaction, visa(), Some(CODE))
        .expect("a token");
    for (name, purpose) in [("acme", Purpose::Capture), ("bolt", Purpose::Payout)] {
        let answer = home.redeem(name, transaction, &token, purpose, &WITH_CODE);
        assert_eq!(denial(answer), Denial::FieldNotGranted);
    }
}

#[test]
fn a_lost_reply_is_repeated_for_60_seconds_to_the_same_caller_and_request() {
    let home = Home::new();
    let (transaction, token) = card_with_code(&home);
    with_code(&home, request(2_000), transaction, &token).expect("released");
    home.clock.pass_ms(59_999);
    home.vault().tick();
    let from = home.size();
    for _ in 0..2 {
        let got = with_code(&home, request(2_000), transaction, &token).expect("released");
        assert_eq!(code_of(&got), (Some(CODE), CodeStatus::Released));
        assert!(got.replayed);
    }
    let got = with_code(&home, request(2_001), transaction, &token).expect("released");
    assert_eq!(code_of(&got), (None, CodeStatus::AlreadyReleased));
    let lines = home.ledger();
    let told: Vec<_> = lines[from as usize..]
        .iter()
        .map(|l| (l.brief(), l.detail("security_code")))
        .collect();
    let line = |event: &str, code: &str| (event.to_owned(), code.to_owned());
    assert_eq!(
        told,
        [
            line("redeem_replayed", "released"),
            line("redeem_replayed", "released"),
            line("redeemed", "already released"),
        ],
        "each delivery is an entry"
    );
    home.clock.pass_ms(1);
    let got = with_code(&home, request(2_000), transaction, &token).expect("released");
    assert_eq!(code_of(&got), (None, CodeStatus::AlreadyReleased));
}

#[test]
fn the_code_is_gone_after_15_minutes() {
    let home = Home::new();
    let (transaction, token) = card_with_code(&home);
    let (other, other_token) = card_with_code(&home);
    home.clock.pass_ms(15 * MINUTE_MS - 1);
    home.vault().tick();
    let got = with_code(&home, request(3_000), transaction, &token).expect("released");
    assert_eq!(code_of(&got), (Some(CODE), CodeStatus::Released));
    home.clock.pass_ms(1);
    let got = with_code(&home, request(3_001), other, &other_token).expect("released");
    assert_eq!(code_of(&got), (None, CodeStatus::Expired));
    // Setting the clock back doesn't bring it back.
    let before = home.house.clock.now().0 - 4 * MINUTE_MS;
    home.clock.step_to(payvault::clock::Timestamp(before));
    let got = with_code(&home, request(3_002), other, &other_token).expect("released");
    assert!(got.code.is_none());
}

#[test]
fn the_code_is_gone_after_a_success_was_reported_and_not_after_a_failure() {
    let home = Home::new();
    for (result, gone) in [
        (WorkResult::Failed, false),
        (WorkResult::Declined, false),
        (WorkResult::Succeeded, true),
    ] {
        let (transaction, token) = card_with_code(&home);
        let work = Work::Report {
            request: home.request(),
            transaction,
            token: again(&token),
            result,
            reference: String::new(),
        };
        home.ask("acme", work).expect("reported");
        let got = with_code(&home, home.request(), transaction, &token).expect("released");
        let wanted = if gone {
            (None, CodeStatus::NotOnThisNode)
        } else {
            (Some(CODE), CodeStatus::Released)
        };
        assert_eq!(code_of(&got), wanted, "{result:?}");
    }
}

#[test]
fn the_code_does_not_outlive_its_process() {
    let mut home = Home::new();
    let (transaction, token) = card_with_code(&home);
    home.restart();
    let got = with_code(&home, request(4_000), transaction, &token).expect("released");
    assert_eq!(code_of(&got), (None, CodeStatus::NotOnThisNode));
    // A code that was given out before the restart is not on this node either, and says so.
    let (transaction, token) = card_with_code(&home);
    with_code(&home, request(4_001), transaction, &token).expect("released");
    home.restart();
    let got = with_code(&home, request(4_001), transaction, &token).expect("released");
    assert_eq!(code_of(&got), (None, CodeStatus::AlreadyReleased));
    home.clock.pass_ms(DAY_MS / 2);
}

#[test]
fn a_replaced_tokens_code_goes_with_it() {
    let home = Home::new();
    let (transaction, old) = card_with_code(&home);
    let work = Work::Tokenize {
        request: home.request(),
        transaction,
        details: Box::new(visa()),
        code: None,
        replaces: Some(again(&old)),
    };
    let Ok(payvault::vault::command::Done::Tokenized { token, .. }) = home.ask("shop", work) else {
        panic!("a token");
    };
    let got = with_code(&home, home.request(), transaction, &token).expect("released");
    assert_eq!(code_of(&got), (None, CodeStatus::NotProvided));
}

#[test]
fn a_code_of_a_round_that_failed_is_neither_kept_nor_given() {
    for fault in [Fault::WriteBefore, Fault::FlushBefore, Fault::Full] {
        let home = Home::new();
        let transaction = home.open();
        let base = home.disk.commits();
        home.disk.order(Faults::none().and(base + 1, fault));
        let work = |code: Option<&str>| Work::Tokenize {
            request: request(5_000),
            transaction,
            details: Box::new(visa()),
            code: code.map(security_code),
            replaces: None,
        };
        assert!(home.ask("shop", work(Some(CODE))).is_err());
        // The retry leaves the code out: nothing may be left of the failed try.
        let Ok(payvault::vault::command::Done::Tokenized { token, .. }) =
            home.ask("shop", work(None))
        else {
            panic!("a token");
        };
        let got = with_code(&home, home.request(), transaction, &token).expect("released");
        assert_eq!(code_of(&got), (None, CodeStatus::NotProvided), "{fault:?}");
    }
    // A release that failed gives the code to the next try.
    for fault in [Fault::WriteBefore, Fault::FlushBefore, Fault::Full] {
        let home = Home::new();
        let (transaction, token) = card_with_code(&home);
        let base = home.disk.commits();
        home.disk.order(Faults::none().and(base + 1, fault));
        assert!(with_code(&home, request(5_100), transaction, &token).is_err());
        let got = with_code(&home, request(5_101), transaction, &token).expect("released");
        assert_eq!(code_of(&got), (Some(CODE), CodeStatus::Released));
    }
    // One that may have come about does not.
    let home = Home::new();
    let (transaction, token) = card_with_code(&home);
    let base = home.disk.commits();
    home.disk.order(
        Faults::none()
            .and(base + 1, Fault::FlushAfter)
            .and_reopenings(1),
    );
    assert!(with_code(&home, request(5_200), transaction, &token).is_err());
    let got = with_code(&home, request(5_200), transaction, &token).expect("released");
    assert!(got.replayed);
    assert_eq!(code_of(&got), (None, CodeStatus::AlreadyReleased));
}

/// Every row that was handed to the store.
type Seen = Arc<Mutex<Vec<(Key, Vec<u8>)>>>;

/// A store that remembers every value that it was ever given.
struct Tap {
    inner: MemoryStore,
    seen: Seen,
}

struct TapRound<'a> {
    inner: Box<dyn Round + 'a>,
    seen: Seen,
}

impl Store for Tap {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn begin(&mut self) -> Result<Box<dyn Round + '_>, StoreError> {
        Ok(Box::new(TapRound {
            seen: Arc::clone(&self.seen),
            inner: self.inner.begin()?,
        }))
    }
    fn settle(&mut self, id: RoundId) -> Result<Settled, StoreError> {
        self.inner.settle(id)
    }
    fn reopen(&mut self) -> Result<(), StoreError> {
        self.inner.reopen()
    }
    fn reader(&self) -> Arc<dyn Reader> {
        self.inner.reader()
    }
}

impl Round for TapRound<'_> {
    fn read_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.inner.read_many(keys)
    }
    fn commit(self: Box<Self>, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        let mut seen = self.seen.lock().expect("the list");
        for (key, value) in writes.iter() {
            seen.push((key.to_vec(), value.unwrap_or_default().to_vec()));
        }
        self.inner.commit(id, writes)
    }
}

/// Every way in which four digits may be written down.
fn spellings(code: &str) -> Vec<Vec<u8>> {
    let hex: String = code.bytes().map(|b| format!("{b:02x}")).collect();
    let number: u16 = code.parse().expect("digits");
    let mut all = vec![
        code.as_bytes().to_vec(),
        code.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        code.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        u32::from(number).to_be_bytes().to_vec(),
        code.bytes().map(|b| b - b'0').collect(),
    ];
    all.dedup();
    all
}

fn holds(haystack: &[u8], code: &str) -> bool {
    spellings(code)
        .iter()
        .any(|s| haystack.windows(s.len()).any(|w| w == &s[..]))
}

/// The same for a row's plaintext, in which a random byte before a small number looks like the
/// digits as numbers: a code counts in characters and their spellings.
fn row_holds(row: &[u8], code: &str) -> bool {
    let characters = |s: &&Vec<u8>| s.len() > code.len() || **s == code.as_bytes();
    spellings(code)
        .iter()
        .filter(characters)
        .any(|s| row.windows(s.len()).any(|w| w == &s[..]))
}

/// The same for a line of text that also names random identifiers, in which any four digits come up
/// by chance: a code in plain digits counts where it stands alone.
fn line_holds(line: &str, code: &str) -> bool {
    let alone = |at: usize| {
        let before = line[..at].chars().next_back();
        let after = line[at + code.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    };
    line.match_indices(code).any(|(at, _)| alone(at))
        || spellings(code)
            .iter()
            .filter(|s| s.len() > code.len())
            .any(|s| line.as_bytes().windows(s.len()).any(|w| w == &s[..]))
}

/// Opens every version of a transaction's row that was ever stored, and what lies within it.
fn opened_rows(
    ring: &payvault::keys::Keyring,
    versions: &[&Vec<u8>],
    transaction: TransactionId,
    token: &Token,
) -> Vec<Vec<u8>> {
    let key = [b"X", &transaction.0[..], b"s"].concat();
    let mut plain = Vec::new();
    for value in versions {
        let sealed = Sealed::from_stored(value.to_vec()).expect("sealed");
        let Ok(KeyName::Release { site, .. }) = ring.key(sealed.key_id()).map(|k| k.name()) else {
            panic!("another key");
        };
        let place = Place {
            site,
            transaction: Some(transaction),
            kind: Kind::Transaction,
            scope: &transaction.0,
            row_key: &key,
        };
        let row = ring.open(&place, &sealed).expect("opens");
        if let Some(own) = crate::tamper::Row::parse(&row).tokens.first() {
            let record = payvault::keys::open_record(
                ring.vault(),
                site,
                transaction,
                &own.selector,
                &crate::tamper::Row::parse(&row).terms.digest(),
                token.secret(),
                &own.record,
            )
            .expect("the record opens");
            plain.push(record.to_vec());
        }
        plain.push(row.to_vec());
    }
    plain
}

#[test]
fn no_code_is_in_any_value_that_is_stored_logged_or_entered() {
    let logged = crate::logs::capture();
    let mut home = Home::closed();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tap = Tap {
        inner: MemoryStore::on(&home.disk),
        seen: Arc::clone(&seen),
    };
    home.reopen_over(Box::new(tap)).expect("opens");
    let mut codes = Vec::new();
    for number in 7_000..8_000 {
        let code = number.to_string();
        let transaction = home.open();
        let (token, _) = home
            .tokenize_with(transaction, visa(), Some(&code))
            .expect("a token");
        if number % 2 == 0 {
            let got = with_code(&home, home.request(), transaction, &token).expect("released");
            assert_eq!(code_of(&got).0, Some(&code[..]));
        }
        if number % 3 == 0 {
            let work = Work::Close { transaction };
            home.ask("shop", work).expect("closed");
        }
        codes.push((code, transaction, token));
    }
    let seen = seen.lock().expect("the list").clone();
    let lines = home.ledger();
    let log = logged.text();
    let mut by_transaction = std::collections::HashMap::<String, Vec<&str>>::new();
    for line in &lines {
        by_transaction
            .entry(line.get("transaction"))
            .or_default()
            .push(&line.json);
    }
    let mut versions = std::collections::HashMap::<&[u8], Vec<&Vec<u8>>>::new();
    for (key, value) in seen.iter() {
        versions.entry(key).or_default().push(value);
    }
    let mut log_lines = std::collections::HashMap::<&str, Vec<&str>>::new();
    for line in log.lines() {
        if let Some(at) = line.find("txn_") {
            log_lines
                .entry(line.get(at..at + 36).unwrap_or_default())
                .or_default()
                .push(line);
        }
    }
    let ring = home.ring();
    for (code, transaction, token) in &codes {
        let key = [b"X", &transaction.0[..], b"s"].concat();
        let plain = opened_rows(&ring, &versions[&key[..]], *transaction, token);
        assert!(plain.len() >= 3, "every version was looked at");
        for bytes in &plain {
            assert!(!row_holds(bytes, code), "a code in a stored value");
        }
        for json in &by_transaction[&transaction.to_string()] {
            assert!(!line_holds(json, code), "a code in an entry");
        }
        let own = log_lines.get(&transaction.to_string()[..]);
        for line in own.into_iter().flatten() {
            assert!(!line_holds(line, code), "a code in the log");
        }
    }
}

#[test]
fn the_search_for_codes_finds_a_planted_one() {
    assert!(holds(b"..7319..", CODE));
    assert!(holds(b"7\x003\x001\x009\x00", CODE));
    assert!(holds(b"x37333139", CODE));
    assert!(holds(&[1, 7, 3, 1, 9], CODE));
    assert!(!holds(b"7 3 1 9 and 731 and 319", CODE));
    assert!(row_holds(b"..7319..", CODE) && row_holds(b"x37333139", CODE));
    assert!(!row_holds(&[9, 7, 3, 1, 9, 0, 0, 0x1c, 0x97], CODE));
    for line in ["code=7319", "\"7319\"", "7319", "a 7319.", "0x37333139ff"] {
        assert!(line_holds(line, CODE), "{line}");
    }
    assert!(!line_holds("txn_0a7319bc at 17319 and 73190", CODE));
}
