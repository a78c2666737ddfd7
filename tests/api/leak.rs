//! A thousand canaries go through a vault on a real disk: cards and accounts, holders, tokens,
//! request ids, security codes. Then everything that it left is searched for them.

use crate::house::{Serving, Storing, passphrase, request_id, with_session};
use crate::road::{grant, terms};
use crate::search::{Search, Wanted, stands_alone};
use crate::wire::{all_of, reason};
use payvault::api::{details_json, proto as pb};
use payvault::ids::random;
use payvault::keys::{self, Suite, watch};
use payvault::payment::Token;
use payvault::store::EngineOptions;
use payvault::store::sled::SledStore;
use payvault::store::{
    CommitError, Key, Limits, Reader, Round, RoundId, Settled, Store, StoreError, WriteSet,
};
use pb::payment_details::Kind;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tonic::{Code, Status};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const CANARIES: usize = 1_000;
/// A code that is met by chance is met by chance again this seldom.
const TRIES: usize = 5;

/// Bytes that came by.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn push(&self, bytes: &[u8]) {
        let mut all = self.0.lock().expect("no panic");
        all.extend_from_slice(bytes);
        all.push(b'\n');
    }

    /// How much there is.
    fn mark(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    /// Shows all that came.
    fn look(&self, at: impl FnOnce(&[u8])) {
        at(&self.0.lock().expect("no panic"));
    }

    /// What came since a mark.
    fn since(&self, mark: usize) -> Vec<u8> {
        self.0.lock().expect("no panic")[mark..].to_vec()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

static LOGGING: AtomicBool = AtomicBool::new(false);

/// The engine speaks from what it puts off, and that may run while a thread's locals are being
/// destroyed; the formatter's buffer is one of them, and its absence ends the process. What is said
/// there is a number of the log. The vault itself hears nothing of the engine below warnings.
const SPEAKS_AT_THE_END: &str = "sled::pagecache::iobuf";

/// Records what every crate of this process logs, at the most verbose level.
fn record_logs() -> Sink {
    let sink = Sink::default();
    let own = sink.clone();
    let text = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_span_events(FmtSpan::FULL)
        .with_writer(move || own.clone())
        .with_filter(dynamic_filter_fn(|said, _| {
            said.target() != SPEAKS_AT_THE_END && LOGGING.load(Ordering::SeqCst)
        }));
    tracing_subscriber::registry()
        .with(text)
        .try_init()
        .expect("the only subscriber of this binary");
    LOGGING.store(true, Ordering::SeqCst);
    sink
}

/// A store that records every key and value that it is handed.
struct Recording {
    store: SledStore,
    sink: Sink,
}

struct RecordingRound<'a> {
    round: Box<dyn Round + 'a>,
    sink: Sink,
}

impl Store for Recording {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn limits(&self) -> Limits {
        self.store.limits()
    }

    fn begin(&mut self) -> Result<Box<dyn Round + '_>, StoreError> {
        let sink = self.sink.clone();
        let round = self.store.begin()?;
        Ok(Box::new(RecordingRound { round, sink }))
    }

    fn settle(&mut self, id: RoundId) -> Result<Settled, StoreError> {
        self.store.settle(id)
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.store.reopen()
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.store.reader()
    }
}

impl Round for RecordingRound<'_> {
    fn read_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.round.read_many(keys)
    }

    fn commit(self: Box<Self>, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        for (key, value) in writes.iter() {
            self.sink.push(key);
            self.sink.push(value.unwrap_or_default());
        }
        self.round.commit(id, writes)
    }
}

/// Details that nobody has, and all that goes with them.
struct Canary {
    kind: Kind,
    holder: String,
    number: String,
    code: String,
    ids: [Vec<u8>; 3],
}

/// A canary that went through: its token, and the fingerprint that the portal got.
struct Walked {
    token: String,
    fingerprint: String,
}

fn digits(count: usize) -> String {
    let bytes = random::<32>();
    bytes[..count]
        .iter()
        .map(|b| char::from(b'0' + b % 10))
        .collect()
}

/// Four digits that are no year, no port and no index of an entry of these tests.
fn code() -> String {
    let number = u32::from_be_bytes(random::<4>());
    (6_000 + number % 4_000).to_string()
}

fn with_luhn(mut number: String) -> String {
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let value = u32::from(digit - b'0');
            match at % 2 {
                0 if value > 4 => value * 2 - 9,
                0 => value * 2,
                _ => value,
            }
        })
        .sum();
    number.push(char::from(b'0' + ((10 - sum % 10) % 10) as u8));
    number
}

fn iban() -> String {
    let account = digits(10);
    // N = 23, L = 21, A = 10, B = 11: "ABNA", the account, "NL00".
    let text = format!("10112310{account}232100");
    let rest = text.bytes().fold(0u32, |rest, digit| {
        (rest * 10 + u32::from(digit - b'0')) % 97
    });
    format!("NL{:02}ABNA{account}", 98 - rest)
}

impl Canary {
    fn new(number: usize) -> Canary {
        let holder = format!("Zq{} canary", payvault::ids::letters(&random::<8>()));
        let code = code();
        let (kind, own) = match number % 8 {
            2 => {
                let iban = iban();
                let kind = Kind::Iban(pb::IbanAccount {
                    iban: iban.clone(),
                    holder: holder.clone(),
                    bic: "ABNANL2A".to_owned(),
                });
                (kind, iban)
            }
            3 => {
                let account = digits(17);
                let kind = Kind::UsAccount(pb::UsAccount {
                    routing_number: "021000021".to_owned(),
                    account_number: account.clone(),
                    holder: holder.clone(),
                    account_type: 1,
                });
                (kind, account)
            }
            6 => {
                // No rule knows this clearing number, and none has so many digits.
                let account = format!("9{}", digits(10));
                let kind = Kind::SeAccount(pb::SeAccount {
                    clearing_number: "9955".to_owned(),
                    account_number: account.clone(),
                    holder: holder.clone(),
                });
                (kind, account)
            }
            7 => {
                let account = format!("9{}", digits(9));
                let kind = Kind::DkAccount(pb::DkAccount {
                    reg_number: "0040".to_owned(),
                    account_number: account.clone(),
                    holder: holder.clone(),
                });
                (kind, account)
            }
            _ => {
                let pan = with_luhn(format!("400000{}", digits(9)));
                let kind = Kind::Card(pb::Card {
                    number: pan.clone(),
                    expiry_month: 12,
                    expiry_year: 2030,
                    holder: holder.clone(),
                    security_code: code.clone(),
                    billing: None,
                });
                (kind, pan)
            }
        };
        Canary {
            kind,
            holder,
            number: own,
            code,
            ids: [request_id(), request_id(), request_id()],
        }
    }

    fn is_card(&self) -> bool {
        matches!(self.kind, Kind::Card(_))
    }

    fn details(&self) -> Option<pb::PaymentDetails> {
        Some(pb::PaymentDetails {
            kind: Some(self.kind.clone()),
        })
    }
}

/// Everything that is recorded.
struct Sinks {
    logs: Sink,
    stored: Sink,
    sealed: Sink,
    said: Sink,
}

impl Sinks {
    fn marks(&self) -> [usize; 4] {
        [
            self.logs.mark(),
            self.stored.mark(),
            self.sealed.mark(),
            self.said.mark(),
        ]
    }

    /// Where a security code stands alone since the marks.
    fn with_code(&self, marks: [usize; 4], code: &str) -> Vec<&'static str> {
        let sinks = [&self.logs, &self.stored, &self.sealed, &self.said];
        let names = ["the log", "storage", "sealing", "an error"];
        let all = sinks.into_iter().zip(marks).zip(names);
        all.filter(|((sink, mark), _)| stands_alone(&sink.since(*mark), code.as_bytes()))
            .map(|(_, name)| name)
            .collect()
    }

    fn refused(&self, status: &Status) {
        self.said.push(&all_of(status));
    }
}

/// The fields that every grant has.
const FIELDS: [pb::Field; 4] = [
    pb::Field::Number,
    pb::Field::Holder,
    pb::Field::LastFour,
    pb::Field::SecurityCode,
];

async fn open(serving: &Serving, id: &[u8]) -> String {
    let party = pb::Party {
        principal: serving.id("processor-a"),
        grants: vec![grant(pb::Purpose::Authorize, &FIELDS, 2)],
    };
    let opened = serving
        .vault("portal")
        .open_transaction(pb::OpenTransactionRequest {
            request_id: id.to_vec(),
            terms: Some(terms(vec![party])),
            want_receipt: false,
        })
        .await;
    opened.expect("opened").into_inner().transaction
}

/// Walks the road with one canary, `wandering` with refusals on the way. Gives its token.
async fn walk(
    serving: &Serving,
    transaction: &str,
    canary: &Canary,
    (wandering, sealed): (bool, bool),
    sinks: &Sinks,
) -> Walked {
    let mut portal = serving.vault("portal");
    let mut processor = serving.vault("processor-a");
    let mut handing_in = pb::TokenizeRequest {
        request_id: canary.ids[1].clone(),
        transaction: transaction.to_owned(),
        details: canary.details(),
        ..Default::default()
    };
    // Every third one as a browser would.
    if sealed {
        let details = handing_in.details.take().expect("details");
        let json = details_json::write(&details).expect("a kind");
        let text = std::str::from_utf8(&json).expect("JSON");
        let document = crate::sealed::document(serving).await;
        let suite = Suite::ALL[usize::from(canary.ids[1][0]) % 2];
        handing_in.sealed_details =
            crate::sealed::sealed_for(serving, &document, suite, transaction, text);
    }
    let made = portal
        .tokenize(handing_in.clone())
        .await
        .expect("a token")
        .into_inner();
    let token = made.token.clone();
    let fingerprint = made.fingerprint.expect("the site has them on").value;
    let described = portal
        .describe_token(pb::DescribeTokenRequest {
            transaction: transaction.to_owned(),
            token: token.clone(),
        })
        .await
        .expect("described")
        .into_inner();
    let again = described.fingerprint.expect("as above").value;
    assert_eq!(again, fingerprint);
    let walked = Walked { token, fingerprint };
    let token = walked.token.clone();
    let redemption = pb::RedeemRequest {
        request_id: canary.ids[2].clone(),
        transaction: transaction.to_owned(),
        token: token.clone(),
        purpose: pb::Purpose::Authorize.into(),
        fields: FIELDS
            .iter()
            .filter(|f| canary.is_card() || **f != pb::Field::SecurityCode)
            .map(|f| (*f).into())
            .collect(),
        want_receipt: false,
    };
    let released = processor
        .redeem(redemption.clone())
        .await
        .expect("released")
        .into_inner();
    if canary.is_card() {
        let Some(Kind::Card(card)) = released.details.and_then(|d| d.kind) else {
            panic!("not a card");
        };
        assert_eq!(card.security_code, canary.code);
        assert_eq!(card.number, canary.number);
    }

    if !wandering {
        return walked;
    }
    // Refusals with the canary in hand.
    let mut other = redemption.clone();
    other.fields = vec![pb::Field::Expiry.into()];
    sinks.refused(&processor.redeem(other).await.expect_err("another body"));
    let mut stranger = redemption.clone();
    stranger.request_id = canary.ids[2].clone();
    let refused = serving.vault("processor-b").redeem(stranger).await;
    sinks.refused(&refused.expect_err("a stranger"));
    let mut bad = handing_in;
    spoil(&mut bad);
    sinks.refused(&portal.tokenize(bad).await.expect_err("a bad check digit"));
    let report = pb::ReportOutcomeRequest {
        request_id: canary.ids[2].clone(),
        transaction: transaction.to_owned(),
        token: token.clone(),
        outcome: pb::Outcome::Declined.into(),
        processor_reference: canary.holder.clone() + &canary.number + "\u{7}",
    };
    let refused = processor.report_outcome(report).await;
    sinks.refused(&refused.expect_err("a control character"));
    let mut mistaken = redemption;
    mistaken.token = canary.number.clone();
    mistaken.transaction = token.clone();
    sinks.refused(
        &processor
            .redeem(mistaken)
            .await
            .expect_err("a PAN for a token"),
    );
    walked
}

fn spoil(request: &mut pb::TokenizeRequest) {
    match request.details.as_mut().and_then(|d| d.kind.as_mut()) {
        Some(Kind::Card(card)) => card.number.push('0'),
        Some(Kind::Iban(account)) => account.iban.push('0'),
        Some(Kind::UsAccount(account)) => account.account_number.push_str("0000"),
        Some(Kind::SeAccount(account)) => account.account_number.push_str("0000"),
        Some(Kind::DkAccount(account)) => account.account_number.push_str("0000"),
        _ => panic!("no such details"),
    }
}

fn files(directory: &Path, each: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, each);
        } else {
            each(&path, &std::fs::read(&path).expect("a file"));
        }
    }
}

/// The fingerprints that the portal got, as text and as bytes.
fn fingerprints_of(canaries: &[(Canary, Walked)]) -> Search {
    let mut wanted = Wanted::default();
    for (number, (_, walked)) in canaries.iter().enumerate() {
        let letters = &walked.fingerprint["fpr_".len()..];
        wanted.text(&format!("fingerprint {number}"), letters);
        let raw = payvault::ids::from_letters::<32>(letters.as_bytes()).expect("letters");
        wanted.bytes(&format!("fingerprint's bytes {number}"), &raw);
    }
    wanted.build()
}

fn search_for(canaries: &[(Canary, Walked)], sessions: &[String]) -> Search {
    let mut wanted = Wanted::default();
    for (number, (canary, walked)) in canaries.iter().enumerate() {
        let Walked { token, fingerprint } = walked;
        wanted.text(&format!("number {number}"), &canary.number);
        // What shows a part that the mask hides: fewer digits turn up by chance.
        wanted.text(&format!("start of number {number}"), &canary.number[..10]);
        let last = canary.number.len() - 10;
        wanted.text(&format!("end of number {number}"), &canary.number[last..]);
        wanted.text(
            &format!("fingerprint {number}"),
            &fingerprint["fpr_".len()..],
        );
        let raw = payvault::ids::from_letters::<32>(&fingerprint.as_bytes()["fpr_".len()..]);
        wanted.bytes(
            &format!("fingerprint's bytes {number}"),
            &raw.expect("letters"),
        );
        wanted.text(&format!("holder {number}"), &canary.holder);
        wanted.text(&format!("token {number}"), &token["pvt_a".len()..]);
        let raw = Token::parse(token).expect("a token").parts();
        wanted.bytes(&format!("selector {number}"), &raw[..16]);
        wanted.bytes(&format!("secret {number}"), &raw[16..]);
        for id in &canary.ids {
            wanted.bytes(&format!("request id {number}"), id);
        }
    }
    wanted.text("the passphrase", passphrase().expose());
    for session in sessions {
        wanted.text("a session", session);
    }
    wanted.build()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_canaries_leave_no_trace() {
    let sinks = Sinks {
        logs: record_logs(),
        stored: Sink::default(),
        sealed: Sink::default(),
        said: Sink::default(),
    };
    let sealed = sinks.sealed.clone();
    watch::watch(Some(Arc::new(move |plaintext| sealed.push(plaintext))));
    let stored = sinks.stored.clone();
    let make = move |house: &payvault::vault::House| -> Box<dyn Store> {
        let options = EngineOptions {
            cache_bytes: house.cache_bytes,
            ..EngineOptions::default()
        };
        Box::new(Recording {
            store: SledStore::open(&house.db_dir(), options).expect("a store"),
            sink: stored.clone(),
        })
    };
    let on = |settings: &mut payvault::vault::Settings| {
        settings.fingerprints.insert(crate::house::site("nl"));
    };
    let mut serving = Serving::start_in(Storing::Made(Box::new(make)), |_| {}, on).await;

    let mut walked = Vec::new();
    let mut transaction = String::new();
    let mut tokens = 0;
    for number in 0..CANARIES {
        // Four digits turn up by chance: only a code that turns up every time is a leak.
        for attempt in 1..=TRIES {
            let canary = Canary::new(number);
            // A transaction has four tokens.
            if tokens % 4 == 0 {
                transaction = open(&serving, &canary.ids[0]).await;
            }
            tokens += 1;
            let marks = sinks.marks();
            let wandering = number % 5 == 0;
            let how = (wandering, !wandering && number % 3 == 0);
            let through = walk(&serving, &transaction, &canary, how, &sinks).await;
            let found = match canary.is_card() {
                true => sinks.with_code(marks, &canary.code),
                false => Vec::new(),
            };
            walked.push((canary, through));
            if found.is_empty() {
                break;
            }
            assert!(attempt < TRIES, "a security code stands in {found:?}");
        }
    }

    // What else is said about the last one.
    let token = walked.last().expect("one").1.token.clone();
    let session = serving.login("operator").await.expect("a session");
    let audit = serving.login("auditor").await.expect("a session");
    let described = serving
        .vault("processor-a")
        .describe_token(pb::DescribeTokenRequest {
            transaction: transaction.clone(),
            token: token.clone(),
        })
        .await
        .expect("described")
        .into_inner();
    let said = |message: &dyn Fn() -> Vec<u8>| sinks.said.push(&message());
    said(&|| prost::Message::encode_to_vec(&described));
    let got = serving
        .vault("portal")
        .get_transaction(pb::GetTransactionRequest { transaction })
        .await
        .expect("got")
        .into_inner();
    said(&|| prost::Message::encode_to_vec(&got));
    let status = serving
        .admin("operator")
        .get_status(with_session(pb::GetStatusRequest {}, &session))
        .await
        .expect("a status")
        .into_inner();
    said(&|| prost::Message::encode_to_vec(&status));
    let listed = serving
        .admin("operator")
        .list_principals(with_session(pb::ListPrincipalsRequest {}, &session))
        .await
        .expect("a list")
        .into_inner();
    said(&|| prost::Message::encode_to_vec(&listed));
    let wrong = serving
        .admin("operator")
        .unseal(pb::UnsealRequest {
            passphrase: format!("{token} is not the passphrase"),
            ..Default::default()
        })
        .await
        .expect_err("a wrong passphrase");
    assert_eq!(wrong.code(), Code::Unauthenticated, "{wrong}");
    assert_eq!(reason(&wrong), "BAD_SECRET");
    sinks.refused(&wrong);
    let mark = sinks.sealed.mark();
    let backup = serving.backup(&session).await.expect("a backup");
    let backed_up = sinks.sealed.since(mark);
    assert!(
        backed_up.len() > CANARIES * 1_000,
        "what went into the backup was seen"
    );
    said(&|| prost::Message::encode_to_vec(&backup));
    let export = serving.export().await;
    assert!(export.len() > CANARIES * 500, "an export of all of it");
    serving.stop().await;
    LOGGING.store(false, Ordering::SeqCst);
    watch::watch(None);

    let mut sessions = vec![session, audit];
    for person in serving.people.values() {
        sessions.extend(person.secret.map(|secret| secret.expose().to_owned()));
    }
    let search = search_for(&walked, &sessions);
    sinks.logs.look(|logs| {
        search.assert_absent("the log", logs);
        let mut levels = Wanted::default();
        let crates = [
            "TRACE sled::",
            "TRACE payvault::",
            "TRACE h2::",
            "DEBUG h2::",
        ];
        for name in crates {
            levels.text(name, name);
        }
        let levels = levels.build();
        let found = levels.find(logs);
        for name in ["TRACE sled::", "DEBUG h2::"] {
            let name = format!("{name} as itself");
            assert!(found.contains(&name.as_str()), "the log has no {name}");
        }
    });
    search.assert_absent("an error or a reply", &sinks.said.since(0));
    search.assert_absent("the export", &export);
    search.assert_absent("storage", &sinks.stored.since(0));
    // The file as it lies there, and what is in it once it was opened with the vault's own key.
    search.assert_absent("what is in the backup", &backed_up);
    let file = std::fs::read(&backup.file).expect("the backup");
    assert!(file.len() > CANARIES * 1_000, "a backup of all of it");
    search.assert_absent("the backup", &file);
    let house = serving.gate.house();
    let mut searched = 0;
    for directory in [&house.data_dir, &house.keys_dir, &house.mark_dir] {
        files(directory, &mut |path, bytes| {
            searched += bytes.len();
            search.assert_absent(&path.display().to_string(), bytes);
        });
    }
    assert!(searched > CANARIES * 1_000, "the data directory is there");

    // Records hold numbers, sealed. A fingerprint is in nothing that is sealed either.
    fingerprints_of(&walked).assert_absent("what is sealed", &sinks.sealed.since(0));

    // The searches find what is there: numbers in what is sealed, and a planted leak in the log.
    assert!(!search.find(&sinks.sealed.since(0)).is_empty());
    LOGGING.store(true, Ordering::SeqCst);
    let mark = sinks.logs.mark();
    tracing::trace!(target: "somewhere::deep", number = ?Some(&walked[0].0.number), "planted");
    LOGGING.store(false, Ordering::SeqCst);
    let planted = sinks.logs.since(mark);
    assert!(
        !search.find(&planted).is_empty(),
        "a planted leak is not found"
    );
    planted_codes_are_found(&sinks);
}

/// A code that is sealed, stored or logged is seen.
fn planted_codes_are_found(sinks: &Sinks) {
    let sealed = sinks.sealed.clone();
    watch::watch(Some(Arc::new(move |plaintext| sealed.push(plaintext))));
    let marks = sinks.marks();
    let vault = payvault::ids::VaultId::random();
    let transaction = payvault::ids::TransactionId::random();
    let token = Token::random();
    let record = keys::seal_record(
        vault,
        crate::house::site("nl"),
        transaction,
        &token.selector().0,
        &[0; 32],
        token.secret(),
        b"\x00\x00\x00\x047351\x00",
    );
    watch::watch(None);
    assert!(record.is_ok());
    assert_eq!(sinks.with_code(marks, "7351"), ["sealing"]);

    let marks = sinks.marks();
    LOGGING.store(true, Ordering::SeqCst);
    tracing::trace!(security_code = "7352", "planted");
    LOGGING.store(false, Ordering::SeqCst);
    assert!(sinks.with_code(marks, "7352").contains(&"the log"));

    let marks = sinks.marks();
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = Recording {
        store: SledStore::open(&dir.path().join("db"), EngineOptions::default()).expect("a store"),
        sink: sinks.stored.clone(),
    };
    let mut writes = WriteSet::new();
    let page = payvault::store::StoredValue::Public(b"code 7353.".to_vec());
    writes.put(b"E0".to_vec(), page).expect("a row");
    let round = store.begin().expect("a round");
    round.commit(RoundId::random(), &writes).expect("committed");
    assert_eq!(sinks.with_code(marks, "7353"), ["storage"]);
}
