//! The committer against the raw engine: `cargo bench -p load --bench rounds`.
//!
//! Commands go through the vault's one door, a wave of so many at once, over the store in memory
//! and over sled. What its rounds wrote is recorded, and the same batches are then given to sled
//! itself, with a flush each. So three figures stand beside each other: what a vault does without a
//! disk, what it does with one, and what the engine alone takes for those bytes.

mod support;

use payvault::ids::TransactionId;
use payvault::payment::{CardInput, Details, Token, card};
use payvault::policy::Purpose;
use payvault::secret::SecretText;
use payvault::store::memory::{MemoryDisk, MemoryStore};
use payvault::store::sled::SledStore;
use payvault::store::{
    CommitError, EngineOptions, Key, Limits, Reader, Round, RoundId, Settled, Store, StoreError,
    WriteSet,
};
use payvault::vault::command::{Caller, Done, Note, RequestId, Work};
use payvault::vault::{Vault, open_in};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use support::{Cast, cast, fields, found, house, terms};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Calls of each measurement.
const CALLS: usize = 2_048;
/// Waves of each size.
const WAVES: [usize; 4] = [1, 16, 64, 256];

/// One round's rows, as the engine gets them.
type Batch = Vec<(Key, Option<Vec<u8>>)>;

/// What was written since it was last emptied.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<Batch>>>);

impl Tape {
    fn take(&self) -> Vec<Batch> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A store that also writes down what it is given.
struct Recording {
    inner: Box<dyn Store>,
    tape: Tape,
}

struct RecordingRound<'a> {
    inner: Box<dyn Round + 'a>,
    tape: Tape,
}

impl Store for Recording {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn begin(&mut self) -> Result<Box<dyn Round + '_>, StoreError> {
        Ok(Box::new(RecordingRound {
            inner: self.inner.begin()?,
            tape: self.tape.clone(),
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

impl Round for RecordingRound<'_> {
    fn read_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.inner.read_many(keys)
    }
    fn commit(self: Box<Self>, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        let mut batch: Batch = writes
            .iter()
            .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
            .collect();
        batch.push((payvault::store::ROUND_KEY.to_vec(), Some(id.0.to_vec())));
        self.tape
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(batch);
        self.inner.commit(id, writes)
    }
}

/// An open vault and what calls need.
struct Subject {
    vault: Vault,
    tape: Tape,
    cast: Cast,
}

impl Subject {
    fn new(dir: &Path, open: impl Fn() -> Box<dyn Store>) -> Subject {
        let house = house(dir);
        let cast = cast(house.clock.now());
        let root = found(&house, &cast, || Ok(open()));
        let tape = Tape::default();
        let recording = Box::new(Recording {
            inner: open(),
            tape: tape.clone(),
        });
        Subject {
            vault: open_in(&house, &root, recording).expect("an open vault"),
            tape,
            cast,
        }
    }

    async fn ask(&self, by_portal: bool, work: Work) -> Done {
        let principal = match by_portal {
            true => &self.cast.portal,
            false => &self.cast.processor,
        };
        let caller = Caller {
            principal: Some(Arc::clone(principal)),
            origin: Arc::from("192.0.2.7:40312"),
        };
        match self.vault.ask(caller, work, u64::MAX).await {
            Ok(done) => done,
            Err(refusal) => panic!("refused: {refusal:?}"),
        }
    }

    fn open(&self) -> Work {
        Work::Open {
            request: request(),
            terms: Box::new(terms(&self.cast, self.vault.clock().now())),
        }
    }

    fn tokenize(&self, transaction: TransactionId) -> Work {
        let input = CardInput {
            number: SecretText::copy_from("4242424242424242"),
            expiry_month: 11,
            expiry_year: 2030,
            holder: SecretText::copy_from("Saskia de Vries"),
            security_code: SecretText::copy_from(""),
            postal_code: SecretText::copy_from(""),
            address_line: SecretText::copy_from(""),
        };
        let Ok((card, code)) = card(input, self.vault.clock().now()) else {
            panic!("a card")
        };
        Work::Tokenize {
            request: request(),
            transaction,
            details: Box::new(Details::Card(card)),
            code,
            replaces: None,
        }
    }

    /// `CALLS` transactions.
    async fn transactions(&self) -> Vec<TransactionId> {
        let works = (0..CALLS).map(|_| self.open()).collect();
        let mut made = Vec::new();
        for done in self.waves(true, works, 256).await.2 {
            match done {
                Done::Opened { transaction, .. } => made.push(transaction),
                _ => panic!("another answer"),
            }
        }
        made
    }

    /// Does `works` in waves and gives the time a call took, and what was written.
    async fn waves(
        &self,
        by_portal: bool,
        works: Vec<Work>,
        wave: usize,
    ) -> (Duration, Vec<Batch>, Vec<Done>) {
        self.tape.take();
        let count = works.len() as u32;
        let mut works = works.into_iter();
        let mut took = Duration::ZERO;
        let mut answers = Vec::new();
        loop {
            let asks: Vec<_> = works
                .by_ref()
                .take(wave)
                .map(|work| self.ask(by_portal, work))
                .collect();
            if asks.is_empty() {
                return (took / count, self.tape.take(), answers);
            }
            let begin = Instant::now();
            let done = all(asks).await;
            took += begin.elapsed();
            answers.extend(done);
        }
    }
}

/// Runs them all at once, on this task.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|cx| {
        let mut left = false;
        for (future, output) in waiting.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(cx) {
                std::task::Poll::Ready(done) => *output = Some(done),
                std::task::Poll::Pending => left = true,
            }
        }
        match left {
            true => std::task::Poll::Pending,
            false => std::task::Poll::Ready(()),
        }
    })
    .await;
    waiting
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

fn request() -> RequestId {
    RequestId::new(payvault::ids::random::<16>().to_vec())
}

/// Gives the same batches to sled itself: the time of all.
fn raw_sled(batches: &[Batch]) -> Duration {
    let dir = tempfile::tempdir().expect("a directory");
    let db = sled::Config::new()
        .path(dir.path().join("db"))
        .cache_capacity(64 << 20)
        .flush_every_ms(None)
        .open()
        .expect("an engine");
    let begin = Instant::now();
    for rows in batches {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(&key[..], &value[..]),
                None => batch.remove(&key[..]),
            }
        }
        db.apply_batch(batch).expect("a batch");
        db.flush().expect("a flush");
    }
    begin.elapsed()
}

fn main() {
    // `cargo test --benches` and the like only want to see that it starts.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    // Closing blocks, which nothing in a runtime may.
    let dir = tempfile::tempdir().expect("a directory");
    for subject in runtime.block_on(measure(dir.path())) {
        subject.vault.close(Note::Stopped, Caller::vault());
    }
}

async fn measure(dir: &Path) -> [Subject; 2] {
    let disk = MemoryDisk::default();
    let memory = Subject::new(&dir.join("memory"), || Box::new(MemoryStore::on(&disk)));
    let place = dir.join("sled/data/db");
    let on_disk = Subject::new(&dir.join("sled"), || {
        Box::new(SledStore::open(&place, EngineOptions::default()).expect("a store"))
    });
    println!(
        "{:<9} {:>5} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>7}",
        "call",
        "wave",
        "calls/round",
        "rows/round",
        "bytes/call",
        "memory µs",
        "vault µs",
        "raw sled µs",
        "ratio"
    );
    let (mut in_memory, mut of_disk) = (Vec::new(), Vec::new());
    for wave in WAVES {
        for (subject, kept) in [(&memory, &mut in_memory), (&on_disk, &mut of_disk)] {
            let transactions = subject.transactions().await;
            let works = transactions.iter().map(|t| subject.tokenize(*t)).collect();
            let (took, batches, answers) = subject.waves(true, works, wave).await;
            let tokens: Vec<Token> = answers
                .into_iter()
                .map(|done| match done {
                    Done::Tokenized { token, .. } => token,
                    _ => panic!("another answer"),
                })
                .collect();
            let works = transactions
                .into_iter()
                .zip(tokens)
                .map(|(transaction, token)| Work::Redeem {
                    request: request(),
                    transaction,
                    token,
                    purpose: Purpose::Authorize,
                    fields: fields(),
                })
                .collect();
            let (redeem_took, redeem_batches, _) = subject.waves(false, works, wave).await;
            kept.push([(took, batches), (redeem_took, redeem_batches)]);
        }
    }
    for (at, wave) in WAVES.into_iter().enumerate() {
        for (call, name) in ["tokenize", "redeem"].into_iter().enumerate() {
            let (memory_took, _) = &in_memory[at][call];
            let (took, batches) = &of_disk[at][call];
            let raw = raw_sled(batches) / CALLS as u32;
            let rounds = batches.len().max(1) as f64;
            let rows: usize = batches.iter().map(Vec::len).sum();
            let bytes: usize = batches
                .iter()
                .flatten()
                .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
                .sum();
            println!(
                "{name:<9} {wave:>5} {:>12.1} {:>12.1} {:>12} {:>12.1} {:>12.1} {:>12.1} {:>7.2}",
                CALLS as f64 / rounds,
                rows as f64 / rounds,
                bytes / CALLS,
                micros(*memory_took),
                micros(*took),
                micros(raw),
                raw.as_secs_f64() / took.as_secs_f64()
            );
        }
    }
    [memory, on_disk]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
