//! Backups: taken while everything goes on, and the way back. The store's reader is one that works
//! the vault between two scans, so that rounds fall between rows wherever they can, every time.

use crate::house::*;
use payvault::clock::Timestamp;
use payvault::keys::{KeyName, Keyring};
use payvault::ledger::{VerifierKey, verify_export};
use payvault::policy::{Denial, Field, Purpose};
use payvault::store::EngineOptions;
use payvault::store::memory::{Fault, Faults, MemoryDisk, MemoryStore};
use payvault::store::sled::SledStore;
use payvault::store::{
    CommitError, Key, Limits, Reader, Round, RoundId, Row, Settled, Store, StoreError, WriteSet,
    space,
};
use payvault::vault::ExportRequest;
use payvault::vault::backup::file::{BackupReader, Header};
use payvault::vault::backup::restore::{Accepted, Loss, RestoredVault, drill, restore};
use payvault::vault::backup::take::{Step, Taken};
use payvault::vault::backup::{BackupError, Progress};
use payvault::vault::command::{Admin, Caller, CodeStatus, Done, Refusal, Work};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

type Meddle = Box<dyn FnMut() + Send>;

/// What is done at each scan, once it was read.
#[derive(Clone, Default)]
struct Between(Arc<Mutex<Option<Meddle>>>);

impl Between {
    fn set(&self, meddle: Option<Meddle>) {
        *self.0.lock().expect("no panic") = meddle;
    }

    fn run(&self) {
        // Taken out meanwhile: what is done may scan, too.
        let meddle = self.0.lock().expect("no panic").take();
        if let Some(mut meddle) = meddle {
            meddle();
            self.set(Some(meddle));
        }
    }
}

/// A store in memory, at whose scans something is done.
struct Meddled {
    store: MemoryStore,
    between: Between,
    committed: Committed,
}

/// What is done when a round's rows can be read, and its committer doesn't know it yet.
#[derive(Clone, Default)]
struct Committed {
    hook: Between,
    /// Whether the last scan of a backup was.
    read: Arc<AtomicBool>,
}

struct MeddledRound<'a> {
    round: Box<dyn Round + 'a>,
    hook: Between,
}

struct MeddledReader {
    reader: Arc<dyn Reader>,
    between: Between,
    committed: Committed,
}

impl Round for MeddledRound<'_> {
    fn read_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.round.read_many(keys)
    }
    fn commit(self: Box<Self>, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        self.round.commit(id, writes)?;
        self.hook.run();
        Ok(())
    }
}

impl Store for Meddled {
    fn name(&self) -> &'static str {
        "meddled"
    }
    fn limits(&self) -> Limits {
        self.store.limits()
    }
    fn begin(&mut self) -> Result<Box<dyn Round + '_>, StoreError> {
        Ok(Box::new(MeddledRound {
            round: self.store.begin()?,
            hook: self.committed.hook.clone(),
        }))
    }
    fn settle(&mut self, id: RoundId) -> Result<Settled, StoreError> {
        self.store.settle(id)
    }
    fn reopen(&mut self) -> Result<(), StoreError> {
        self.store.reopen()
    }
    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(MeddledReader {
            reader: self.store.reader(),
            between: self.between.clone(),
            committed: self.committed.clone(),
        })
    }
}

impl Reader for MeddledReader {
    fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.reader.get_many(keys)
    }
    fn floor(&self, space: u8, key: &[u8]) -> Result<Option<Row>, StoreError> {
        self.reader.floor(space, key)
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        // Small bites: more moments for rounds to fall between.
        let rows = self.reader.scan(from, to, limit.min(40))?;
        self.between.run();
        if rows.is_empty() && to == [u8::MAX] {
            self.committed.read.store(true, Ordering::SeqCst);
        }
        Ok(rows)
    }
}

/// A home over such a store.
fn meddled() -> (Home, Between) {
    let (home, between, _) = meddled_twice();
    (home, between)
}

fn meddled_twice() -> (Home, Between, Committed) {
    let mut home = Home::closed();
    let between = Between::default();
    let committed = Committed::default();
    let store = Meddled {
        store: MemoryStore::on(&home.disk),
        between: between.clone(),
        committed: committed.clone(),
    };
    home.reopen_over(Box::new(store)).expect("it opens");
    (home, between, committed)
}

fn directory(home: &Home) -> PathBuf {
    home.house.data_dir.with_file_name("backups")
}

/// Takes a backup to its end.
pub fn take_as(home: &Home, caller: Caller) -> Result<Box<Taken>, BackupError> {
    RUNTIME.block_on(async {
        let directory = directory(home);
        let mut steps = home
            .vault()
            .backup(caller, &directory, u64::MAX)
            .await
            .map_err(BackupError::Refused)?;
        loop {
            match steps.recv().await.expect("a last word") {
                Step::Progress(_) => {}
                Step::Done(taken) => return Ok(taken),
                Step::Failed(error) => return Err(error),
            }
        }
    })
}

fn take(home: &Home) -> Box<Taken> {
    take_as(home, home.caller("ann")).expect("a backup")
}

/// Restores into the home's own data directory, which is empty: its rows were in memory.
pub fn bring_back(
    home: &Home,
    from: &Path,
    accepted: Accepted,
) -> Result<RestoredVault, BackupError> {
    restore(&home.house, shared_root(), from, accepted, &mut quiet)
}

fn quiet(_: Progress) {}

pub const NOTHING: Accepted = Accepted {
    loss: None,
    findings: None,
};

const UNKNOWN: Accepted = Accepted {
    loss: Some(Loss::Unknown),
    findings: None,
};

pub fn losing(entries: u64) -> Accepted {
    Accepted {
        loss: Some(Loss::Entries(entries)),
        findings: None,
    }
}

pub fn on_disk(home: &Home) -> SledStore {
    SledStore::open(&home.house.db_dir(), EngineOptions::default()).expect("a store")
}

/// Opens what was restored.
pub fn reopen(home: &mut Home) {
    let store = on_disk(home);
    home.reopen_over(Box::new(store)).expect("it opens");
}

pub fn rows_of(store: &dyn Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let reader = store.reader();
    let mut rows = BTreeMap::new();
    let mut from = vec![0];
    loop {
        let some = reader.scan(&from, &[255], 500).expect("rows");
        let Some((last, _)) = some.last() else {
            return rows;
        };
        from = [&last[..], &[0]].concat();
        rows.extend(some);
    }
}

/// Everything in a directory, names and contents.
fn listing(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(directory) else {
        return found;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(listing(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
    found
}

fn put_back(files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in files {
        std::fs::write(path, bytes).expect("put back");
    }
}

/// What must be as it was when a restore is refused.
fn around(home: &Home) -> [BTreeMap<PathBuf, Vec<u8>>; 3] {
    let house = &home.house;
    [&house.data_dir, &house.mark_dir, &house.keys_dir].map(|dir| listing(dir))
}

/// Where each chunk begins, and where the last one ends.
fn boundaries(file: &[u8]) -> Vec<usize> {
    let version = u32::from_be_bytes(file[66..70].try_into().expect("four bytes"));
    let mut at = 70 + version as usize;
    let mut found = vec![at];
    while at < file.len() {
        let length = u32::from_be_bytes(file[at + 1..at + 5].try_into().expect("four bytes"));
        at += 5 + length as usize;
        found.push(at);
    }
    assert_eq!(at, file.len());
    found
}

fn confirm(home: &Home, name: &str) -> Result<Done, Refusal> {
    home.ask(name, Work::Admin(Box::new(Admin::ConfirmRestore)))
}

fn confirm_by_two(home: &Home) {
    let Done::Pending(action) = confirm(home, "ann").expect("asked for") else {
        panic!("one operator was enough");
    };
    let approve = |name| home.ask(name, Work::Admin(Box::new(Admin::Approve(action))));
    assert_eq!(denial(approve("ann")), Denial::SameOperator);
    approve("ben").expect("approved");
}

fn export(home: &Home, epoch: Option<u32>) -> Result<Vec<u8>, Refusal> {
    RUNTIME.block_on(async {
        let auditor = home.principal("auditor");
        let request = ExportRequest {
            epoch,
            from: 0,
            to: None,
            from_time: None,
            to_time: None,
            site: None,
            kinds: Vec::new(),
            reason: "a test".to_owned(),
            ticket: "T-1".to_owned(),
        };
        let mut pieces = home
            .vault()
            .export(caller(Arc::clone(&auditor)), &auditor, request, u64::MAX)
            .await?;
        let mut lines = Vec::new();
        while let Some(piece) = pieces.recv().await {
            lines.extend(piece?);
        }
        Ok(lines)
    })
}

/// Work of every kind, at each scan: the rows that were read already and those that are to come
/// change, grow and go.
#[test]
fn rounds_that_fall_between_the_rows_are_in_it_and_the_state_is_that_of_its_checkpoint() {
    let (mut home, between) = meddled();
    let mut cards: Vec<_> = (0..60).map(|_| home.card()).collect();
    let early = home.vault().published().expect("a checkpoint").checkpoint;
    let old_key = home.vault().verifier().clone();
    let (before, ledger_before) = (cards.len(), home.size());

    // The hook lives beside the home: it asks as the tests do.
    let last: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>> = Arc::default();
    let (vault, disk, seen) = (Arc::clone(home.vault()), home.disk.clone(), last.clone());
    let (acme, shop, ann) = (home.caller("acme"), home.caller("shop"), home.caller("ann"));
    let terms = home.terms();
    let work: Vec<_> = cards.iter().map(|(t, token)| (*t, again(token))).collect();
    let mut scans = 0usize;
    let hook = move || {
        let ask =
            |caller: &Caller, work| RUNTIME.block_on(vault.ask(caller.clone(), work, u64::MAX));
        // Keys are random, so of these some lie before what was read and some behind.
        for step in 0..3 {
            let (transaction, token) = &work[(scans * 3 + step) % work.len()];
            let id = request(1_000_000 + (scans * 3 + step) as u64);
            let fields = [Field::Number];
            let redeem = redemption(id, *transaction, token, Purpose::Authorize, &fields);
            let _ = ask(&acme, redeem);
        }
        let opened = ask(
            &shop,
            Work::Open {
                request: request(2_000_000 + scans as u64),
                terms: Box::new(terms.clone()),
            },
        );
        assert!(opened.is_ok());
        if scans.is_multiple_of(5) {
            let (transaction, _) = &work[scans % work.len()];
            let close = Work::Close {
                transaction: *transaction,
            };
            assert!(ask(&shop, close).is_ok());
            // A row that comes.
            let key = payvault::policy::AllowanceKey {
                site: site("us"),
                portal: shop.id().expect("known"),
                processor: acme.id().expect("known"),
            };
            let set = Admin::SetAllowance(key, None);
            assert!(ask(&ann, Work::Admin(Box::new(set))).is_ok());
        }
        scans += 1;
        *seen.lock().expect("no panic") = disk.durable();
    };
    between.set(Some(Box::new(hook)));
    let taken = take(&home);
    between.set(None);
    let expected = std::mem::take(&mut *last.lock().expect("no panic"));
    assert!(
        taken.trailer.size > ledger_before + 10,
        "work went on meanwhile"
    );
    assert_eq!(taken.trailer.epoch, 1);
    assert!(taken.trailer.note.contains("payvault/vlt_"));

    // What comes after it is lost, and its number must be said.
    let after = home.card();
    home.close();
    let known = home.disk.durable();
    assert_ne!(known, expected);
    let refused = bring_back(&home, &taken.file, NOTHING);
    let Err(BackupError::Loss { lost, .. }) = refused else {
        panic!("it was restored, or refused otherwise");
    };
    assert!(lost >= 3, "{lost}");
    for wrong in [lost - 1, lost + 1, 0] {
        let refused = bring_back(&home, &taken.file, losing(wrong));
        assert!(matches!(refused, Err(BackupError::Loss { .. })));
    }
    let old_marks = listing(&home.house.mark_dir);
    let restored = bring_back(&home, &taken.file, losing(lost)).expect("it is restored");
    assert_eq!((restored.epoch, restored.missing), (2, Some(lost)));
    assert_eq!(restored.verified.checked.findings, Vec::<String>::new());

    // Every row but those of the new epoch is what it was at the checkpoint.
    let store = on_disk(&home);
    let rows = rows_of(&store);
    drop(store);
    let new = |key: &[u8]| match key[0] {
        b'H' | b'I' | b'R' | b'O' => true,
        b'E' | b'T' => key[1..5] == 2u32.to_be_bytes(),
        _ => false,
    };
    let kept = |rows: &BTreeMap<Vec<u8>, Vec<u8>>| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let kept = rows.iter().filter(|(key, _)| !new(key));
        kept.map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    assert!(kept(&expected).len() > before);
    assert!(
        kept(&rows) == kept(&expected),
        "the rows are not those of the checkpoint"
    );

    // A power cut between the database and its mark: the old mark still lies there.
    let new_marks = listing(&home.house.mark_dir);
    assert_ne!(old_marks, new_marks);
    for (path, bytes) in &old_marks {
        std::fs::write(path, bytes).expect("put back");
    }
    reopen(&mut home);
    home.close();
    // Another old mark is none of that.
    for (path, bytes) in old_marks.iter().filter(|(p, _)| p.ends_with("mark.0")) {
        std::fs::write(path, &bytes[..bytes.len() - 1]).expect("put back");
    }
    reopen(&mut home);

    // The old ledger: exportable, verified under its own key, and it extends what was published.
    let lines = export(&home, Some(1)).expect("the old epoch's export");
    let keys = [old_key.clone()];
    let report = verify_export(&lines[..], &keys).expect("it verifies");
    assert_eq!(report.to, taken.trailer.size);
    assert_eq!(report.checkpoint.root, taken.trailer.root);
    assert_eq!(report.checkpoint.origin, early.origin);
    let new_key = VerifierKey::parse(&restored.verifier).expect("a key");
    assert_ne!(new_key.name(), old_key.name());
    assert!(verify_export(&lines[..], std::slice::from_ref(&new_key)).is_err());
    let lines = export(&home, None).expect("the new epoch's export");
    verify_export(&lines[..], &[new_key]).expect("it verifies");
    let text = String::from_utf8(lines).expect("text");
    let first = text.lines().nth(1).expect("a first entry");
    assert!(first.contains("epoch_opened"), "{first}");
    let size = taken.trailer.size;
    assert!(
        first.contains(&format!("old_size\\\":\\\"{size}\\\"")),
        "{first}"
    );
    assert!(
        first.contains(&format!("missing\\\":\\\"{lost}\\\"")),
        "{first}"
    );
    // And the last checkpoint that was known: the mark's.
    let known = size + lost;
    assert!(
        first.contains(&format!("known_size\\\":\\\"{known}\\\"")),
        "{first}"
    );
    assert!(first.contains("known_epoch\\\":\\\"1\\\""), "{first}");
    assert!(first.contains("known_root"), "{first}");
    assert_eq!(denial(export(&home, Some(9))), Denial::InvalidRequest);

    // What was lost is unknown; what was kept waits for two.
    let lost_card = home.authorize(after.0, &after.1);
    assert_eq!(denial(lost_card), Denial::UnknownTransaction);
    let (transaction, token) = cards.swap_remove(31);
    let capture = |home: &Home| {
        let fields = [Field::Number];
        home.redeem("acme", transaction, &token, Purpose::Capture, &fields)
    };
    assert_eq!(denial(capture(&home)), Denial::RestoreUnconfirmed);
    // To whoever isn't tied, the same as ever.
    let stranger = home.redeem(
        "crux",
        transaction,
        &token,
        Purpose::Capture,
        &[Field::Number],
    );
    assert!(denial(stranger).is_not_tied());
    // New ones work at once, in old transactions too.
    let (new, new_token) = home.card();
    home.authorize(new, &new_token).expect("a new token");
    confirm_by_two(&home);
    let given = capture(&home).expect("confirmed");
    assert_eq!(number_of(&given.details), VISA);
    assert_eq!(given.code_status, CodeStatus::NotAsked);
    assert_eq!(denial(confirm(&home, "ann")), Denial::NotPending);
    home.restart_on_disk();
    capture(&home).expect("still confirmed");

    // And the whole is sound: changes in both epochs follow each other.
    home.close();
    let checked = payvault::vault::check(&home.house, shared_root()).expect("it opens");
    assert_eq!(checked.findings, Vec::<String>::new());
    assert!(checked.entries > size);
}

/// A round whose rows were read, and of which nobody said yet that it is durable: the backup waits
/// for that word, and holds that round's head.
#[test]
fn what_was_read_before_its_round_was_heard_of_is_covered_by_the_head() {
    let (home, between, committed) = meddled_twice();
    for _ in 0..40 {
        home.card();
    }
    let visible = Arc::new(AtomicBool::new(false));
    let until = |flag: &AtomicBool| {
        let begun = Instant::now();
        while !flag.load(Ordering::SeqCst) && begun.elapsed().as_secs() < 120 {
            std::thread::yield_now();
        }
    };
    let (vault, shop, terms) = (Arc::clone(home.vault()), home.caller("shop"), home.terms());
    let (hook, read, seen) = (committed.hook, committed.read, visible.clone());
    let asked: Arc<Mutex<Option<std::thread::JoinHandle<()>>>> = Arc::default();
    let asking = Arc::clone(&asked);
    between.set(Some(Box::new(move || {
        let mut asking = asking.lock().expect("no panic");
        if asking.is_some() {
            return;
        }
        let (told, done) = (visible.clone(), Arc::clone(&read));
        hook.set(Some(Box::new(move || {
            told.store(true, Ordering::SeqCst);
            until(&done);
            // Time for a backup that doesn't wait to end.
            for _ in 0..2_000 {
                std::thread::yield_now();
            }
        })));
        let (vault, shop) = (Arc::clone(&vault), shop.clone());
        let work = Work::Open {
            request: request(78),
            terms: Box::new(terms.clone()),
        };
        *asking = Some(std::thread::spawn(move || {
            let opened = RUNTIME.block_on(vault.ask(shop, work, u64::MAX));
            assert!(opened.is_ok());
        }));
        until(&seen);
    })));
    let from = home.size();
    let taken = take(&home);
    between.set(None);
    let asked = asked.lock().expect("no panic").take().expect("asked");
    asked.join().expect("opened");
    let opened = home
        .ledger()
        .into_iter()
        .find(|entry| entry.index > from && entry.get("event") == "transaction_opened");
    let opened = opened.expect("it is in the ledger").index;
    assert!(taken.trailer.size > opened, "its head is an older one");
    let work = tempfile::tempdir().expect("a directory");
    let directory = directory(&home);
    let root = shared_root();
    let verified = drill(&home.house, root, &directory, work.path(), &mut quiet);
    assert_eq!(verified.expect("sound").checked.findings_count, 0);
}

/// Who took it, when, and how it ended: before the first byte, and after the last.
#[test]
fn a_backup_is_in_the_ledger_and_one_is_taken_at_a_time() {
    let (home, between) = meddled();
    let (vault, ann) = (Arc::clone(home.vault()), home.caller("ann"));
    let second: Arc<Mutex<Option<Denial>>> = Arc::default();
    let (told, directory_of) = (second.clone(), directory(&home));
    between.set(Some(Box::new(move || {
        let again = RUNTIME.block_on(vault.backup(ann.clone(), &directory_of, u64::MAX));
        *told.lock().expect("no panic") = Some(denial(again));
    })));
    let from = home.size();
    let taken = take(&home);
    between.set(None);
    assert_eq!(*second.lock().expect("no panic"), Some(Denial::TooMany));
    let brief = home.brief(from);
    assert_eq!(brief[0], "key_created", "the key of backups");
    assert_eq!(brief[1], "backup_begun");
    assert!(
        brief.contains(&"backup_begun denied TOO_MANY".to_owned()),
        "{brief:?}"
    );
    assert_eq!(brief.last().expect("entries"), "backup_ended");
    let lines = home.ledger();
    let begun = &lines[from as usize + 1];
    assert_eq!(begun.get("actor_name"), "ann");
    let name = taken.file.file_name().expect("a name").to_string_lossy();
    assert_eq!(begun.detail("file"), name);
    assert_eq!(begun.detail("backup"), taken.header.id_text());
    let ended = lines.last().expect("entries");
    assert_eq!(ended.detail("ledger_size"), taken.trailer.size.to_string());
    assert!(taken.trailer.size > begun.index, "its own entry is in it");
    for name in ["shop", "acme", "auditor"] {
        let refused = take_as(&home, home.caller(name));
        let Err(BackupError::Refused(Refusal::Denied(denial))) = refused else {
            panic!("{name} took one");
        };
        assert_eq!(denial, Denial::RoleNotAllowed);
    }
    // A refused one leaves room for the next.
    home.clock.pass_ms(1);
    take(&home);
    assert_eq!(Header::read(&taken.file).expect("a header"), taken.header);
    // A vault that is sealed while it is read back: the reading ends, and says why.
    let reader = BackupReader::open(&taken.file, &home.ring()).expect("a backup");
    reader
        .read_back(&taken.trailer, || Ok(()))
        .expect("as written");
    let sealed = || Err(BackupError::Refused(Refusal::Sealed));
    let stopped = reader.read_back(&taken.trailer, sealed);
    assert!(matches!(
        stopped,
        Err(BackupError::Refused(Refusal::Sealed))
    ));
}

/// A caller who leaves before the answer: what was begun is ended, in the ledger too, and the place
/// is free for the next.
#[test]
fn a_caller_who_leaves_early_leaves_no_begin_without_an_end() {
    let home = Home::new();
    home.card();
    let (caller, directory) = (home.caller("ann"), directory(&home));
    let from = home.size();
    RUNTIME.block_on(async {
        let mut asked = Box::pin(home.vault().backup(caller, &directory, u64::MAX));
        std::future::poll_fn(|context| {
            // Asked, and not awaited.
            let _ = asked.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    });
    let begun = Instant::now();
    // The key of backups, the begin, and the end.
    while home.size() < from + 3 {
        assert!(begun.elapsed().as_secs() < 120, "{:?}", home.brief(from));
        std::thread::yield_now();
    }
    assert_eq!(home.brief(from).last().expect("entries"), "backup_ended");
    home.clock.pass_ms(1);
    take(&home);
}

#[test]
fn a_backup_during_which_the_store_failed_leaves_no_file() {
    let (mut home, between) = meddled();
    home.card();
    let disk: MemoryDisk = home.disk.clone();
    let (vault, shop, terms) = (Arc::clone(home.vault()), home.caller("shop"), home.terms());
    let mut times = 0;
    between.set(Some(Box::new(move || {
        times += 1;
        if times > 1 {
            return;
        }
        // The commit is durable, and its answer is lost: the vault looks, and goes on.
        disk.order(Faults::none().and(disk.commits() + 1, Fault::FlushAfter));
        let work = Work::Open {
            request: request(77),
            terms: Box::new(terms.clone()),
        };
        let _ = RUNTIME.block_on(vault.ask(shop.clone(), work, u64::MAX));
    })));
    let failed = take_as(&home, home.caller("ann"));
    between.set(None);
    assert!(matches!(
        failed,
        Err(BackupError::Deaf(_) | BackupError::Store(_))
    ));
    assert!(listing(&directory(&home)).is_empty());
    // The vault itself goes on, and so does the next backup.
    home.card();
    assert!(
        home.brief(0)
            .iter()
            .any(|line| line.starts_with("backup_ended failed"))
    );
    home.clock.pass_ms(1);
    take(&home);
    home.close();
}

#[test]
fn a_damaged_or_incomplete_file_is_refused_and_nothing_is_left() {
    let mut home = Home::new();
    for _ in 0..120 {
        home.card();
    }
    let taken = take(&home);
    home.close();
    let lost = home_loss(&home, &taken);
    let whole = std::fs::read(&taken.file).expect("a file");
    let ends = boundaries(&whole);
    assert!(ends.len() >= 4, "{} chunks", ends.len() - 1);
    let before = around(&home);
    let file = directory(&home).join("bad");
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&file, bytes).expect("written");
        let error = match bring_back(&home, &file, losing(lost)) {
            Err(error) => error,
            Ok(_) => panic!("{what}: it was restored"),
        };
        assert_eq!(around(&home), before, "{what}: something was left");
        error
    };
    // Cut at every boundary, and in the midst of things.
    for (chunk, end) in ends[..ends.len() - 1].iter().enumerate() {
        let error = refused(&whole[..*end], "cut at a boundary");
        let BackupError::Incomplete { chunk: told } = error else {
            panic!("cut before chunk {chunk}: {error}");
        };
        assert_eq!(told, chunk as u64);
        refused(&whole[..end + 3], "cut in a length");
        refused(&whole[..end + 40], "cut in a chunk");
    }
    for length in [0, 1, 8, 69, ends[0] - 1] {
        let error = refused(&whole[..length], "cut in the header");
        assert!(matches!(error, BackupError::NotABackup(_)), "{error}");
    }
    // One bit, in the header, in lengths, in the seals and between.
    let mut positions: Vec<usize> = (0..ends[0]).collect();
    for pair in ends.windows(2) {
        positions.extend([pair[0], pair[0] + 1, pair[0] + 4, pair[0] + 5, pair[0] + 20]);
        positions.extend([(pair[0] + pair[1]) / 2, pair[1] - 17, pair[1] - 1]);
    }
    for position in positions {
        for bit in [1, 128] {
            let mut bad = whole.clone();
            bad[position] ^= bit;
            refused(&bad, &format!("byte {position}"));
        }
    }
    // Chunks exchanged, left out, doubled; something behind the end.
    let chunk = |n: usize| &whole[ends[n]..ends[n + 1]];
    let head = &whole[..ends[0]];
    let rest = &whole[ends[2]..];
    refused(&[head, chunk(1), chunk(0), rest].concat(), "exchanged");
    refused(&[head, chunk(1), rest].concat(), "left out");
    refused(
        &[head, chunk(0), chunk(0), chunk(1), rest].concat(),
        "doubled",
    );
    refused(&[&whole[..], b"x"].concat(), "more behind the end");
    refused(&[&whole[..], chunk(0)].concat(), "a chunk behind the end");

    // Two backups of one vault, spliced: each chunk is right, in its own file.
    home.reopen().expect("it opens");
    home.clock.pass_ms(5);
    let second = take(&home);
    home.close();
    let other = std::fs::read(&second.file).expect("a file");
    let others = boundaries(&other);
    let before = around(&home);
    for (bytes, what) in [
        (
            [&whole[..ends[1]], &other[others[1]..]].concat(),
            "second's end",
        ),
        (
            [&other[..others[0]], &whole[ends[0]..]].concat(),
            "second's header",
        ),
    ] {
        std::fs::write(&file, bytes).expect("written");
        let refused = bring_back(&home, &file, losing(0));
        assert!(
            matches!(refused, Err(BackupError::Damaged { .. })),
            "{what}"
        );
        assert_eq!(around(&home), before);
    }
}

/// What the mark knows beyond a backup.
fn home_loss(home: &Home, taken: &Taken) -> u64 {
    let marks = payvault::store::MarkFile::open(&home.house.mark_dir).expect("marks");
    marks.read().expect("a mark").size - taken.trailer.size
}

#[test]
fn wrong_keys_and_places_are_refused() {
    let mut home = Home::new();
    home.card();
    let keys_before = listing(&home.house.keys_dir);
    let taken = take(&home);
    home.close();
    let lost = home_loss(&home, &taken);

    // Something is there already.
    let stray = home.house.data_dir.join("db");
    std::fs::create_dir(&stray).expect("a directory");
    let refused = bring_back(&home, &taken.file, losing(lost));
    assert!(matches!(refused, Err(BackupError::NotEmpty(_))));
    std::fs::remove_dir(&stray).expect("removed");

    // The keyring of before: it has no key for backups, and the mark knows a newer one.
    let keys_after = listing(&home.house.keys_dir);
    let put = |files: &BTreeMap<PathBuf, Vec<u8>>| {
        for (path, bytes) in files {
            std::fs::write(path, bytes).expect("put back");
        }
    };
    put(&keys_before);
    let before = around(&home);
    let refused = bring_back(&home, &taken.file, losing(lost));
    assert!(
        matches!(refused, Err(BackupError::Key(_))),
        "{:?}",
        refused.err()
    );
    let marks = listing(&home.house.mark_dir);
    for path in marks.keys() {
        std::fs::remove_file(path).expect("removed");
    }
    let refused = bring_back(&home, &taken.file, UNKNOWN);
    assert!(matches!(refused, Err(BackupError::KeyringOlder { .. })));
    put(&marks);
    assert_eq!(around(&home), before);
    put(&keys_after);

    // Another vault's backup, and another vault's mark.
    let other = other_vault();
    let taken_there = take_as(&other, Caller::vault()).expect("a backup");
    let refused = bring_back(&home, &taken_there.file, losing(lost));
    assert!(matches!(refused, Err(BackupError::OtherVault { .. })));
    let mut house = home.house.clone();
    house.mark_dir = other.house.mark_dir.clone();
    let refused = restore(&house, shared_root(), &taken.file, NOTHING, &mut quiet);
    assert!(matches!(refused, Err(BackupError::MarkForeign)));

    // Another history under the same mark's number.
    assert_eq!(listing(&home.house.data_dir), BTreeMap::new());

    // Without a mark nobody knows what is missing: it says so.
    for path in marks.keys() {
        std::fs::remove_file(path).expect("removed");
    }
    let begun = taken.header.begun_at;
    for known in [NOTHING, losing(0), losing(lost)] {
        let refused = bring_back(&home, &taken.file, known).err();
        let Some(BackupError::LossUnknown { begun_at, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(begun_at, begun);
    }
    // No directory is no mark, and no way around it.
    let mut house = home.house.clone();
    house.mark_dir = house.mark_dir.join("elsewhere");
    let refused = restore(&house, shared_root(), &taken.file, NOTHING, &mut quiet);
    assert!(matches!(refused, Err(BackupError::LossUnknown { .. })));
    let restored = bring_back(&home, &taken.file, UNKNOWN).expect("restored");
    assert_eq!((restored.missing, restored.mark_late), (None, None));
    reopen(&mut home);
    let text = String::from_utf8(export(&home, None).expect("an export")).expect("text");
    assert!(text.contains("missing\\\":\\\"unknown"), "{text}");
    assert!(!text.contains("known_size"), "{text}");
}

/// A vault of other keys.
fn other_vault() -> Home {
    let mut home = Home::closed();
    for dir in [&home.house.keys_dir, &home.house.mark_dir] {
        std::fs::remove_dir_all(dir).expect("removed");
    }
    let (founding, ..) = founding();
    let disk = MemoryDisk::default();
    payvault::vault::create_in(
        &home.house,
        &passphrase(),
        payvault::keys::Argon2Cost::for_tests(),
        founding,
        || Ok(Box::new(MemoryStore::on(&disk))),
    )
    .expect("a vault");
    home.disk.tamper(|rows| rows.clone_from(&disk.durable()));
    let vault = payvault::vault::open_in(
        &home.house,
        &root_key(&home.house),
        Box::new(MemoryStore::on(&home.disk)),
    )
    .expect("it opens");
    home.adopt(vault);
    home
}

/// Twice: the second new epoch is above every number that a tree ever had, and an action that the
/// backup brought along confirms nothing.
#[test]
fn restored_twice_no_epoch_is_used_again_and_no_old_action_confirms() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let first = take(&home);
    home.close();
    let marks_of_1 = listing(&home.house.mark_dir);
    let lost = home_loss(&home, &first);
    bring_back(&home, &first.file, losing(lost)).expect("restored");
    reopen(&mut home);
    let Done::Pending(action) = confirm(&home, "ann").expect("asked for") else {
        panic!("one operator was enough");
    };
    home.clock.pass_ms(1);
    let second = take(&home);
    assert_eq!(second.trailer.epoch, 2);
    home.close();
    std::fs::remove_dir_all(home.house.db_dir()).expect("lost");
    let lost = home_loss(&home, &second);
    // A mark of the first epoch says nothing of the second one's entries.
    let marks_of_2 = listing(&home.house.mark_dir);
    put_back(&marks_of_1);
    for known in [NOTHING, losing(0)] {
        let refused = bring_back(&home, &second.file, known);
        assert!(matches!(refused, Err(BackupError::LossUnknown { .. })));
    }
    put_back(&marks_of_2);
    let restored = bring_back(&home, &second.file, losing(lost)).expect("restored");
    assert_eq!(restored.epoch, 3);
    reopen(&mut home);
    let approved = home.ask("ben", Work::Admin(Box::new(Admin::Approve(action))));
    assert_eq!(denial(approved), Denial::NotPending);
    assert_eq!(
        denial(home.authorize(transaction, &token)),
        Denial::RestoreUnconfirmed
    );
    confirm_by_two(&home);
    home.authorize(transaction, &token).expect("confirmed");
    home.close();

    // The first backup once more: its epoch is two below the mark's.
    std::fs::remove_dir_all(home.house.db_dir()).expect("lost");
    let refused = bring_back(&home, &first.file, NOTHING);
    let Err(BackupError::Loss { epoch: 3, lost, .. }) = refused else {
        panic!("it was restored, or refused otherwise");
    };
    let restored = bring_back(&home, &first.file, losing(lost)).expect("restored");
    assert_eq!(restored.epoch, 4);
    reopen(&mut home);
    home.close();
    let checked = payvault::vault::check(&home.house, shared_root()).expect("it opens");
    assert_eq!(checked.findings, Vec::<String>::new());
}

/// The rows that come back don't know what was used since: so nothing that was sealed before opens.
#[test]
fn what_was_sealed_before_a_restore_is_not_used_again_after_it() {
    let mut home = Home::new();
    let document = |home: &Home| {
        let given = RUNTIME.block_on(home.vault().collect_document(u64::MAX));
        given.expect("a document").0
    };
    let before = document(&home);
    let taken = take(&home);
    home.close();
    let lost = home_loss(&home, &taken);
    bring_back(&home, &taken.file, losing(lost)).expect("restored");
    assert!(home.ring().collect_keys().is_empty());
    reopen(&mut home);
    assert!(home.vault().collecting().is_none());
    assert_ne!(document(&home), before, "another key on the same day");
    assert_eq!(home.ring().collect_keys().len(), 1);
}

/// Keys that ended since stay ended: what lay under them doesn't come back with the rows.
#[test]
fn what_was_erased_since_stays_erased() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let taken = take(&home);
    home.close();
    let ring = home.ring();
    let release = ring
        .list()
        .find(|key| matches!(key.name(), KeyName::Release { .. }))
        .expect("a bucket")
        .id();
    drop(ring);
    let root = shared_root();
    let vault = payvault::keys::SealFile::read(&home.house.keys_dir)
        .expect("a seal")
        .vault();
    let mut ring = Keyring::load(&home.house.keys_dir, vault, root).expect("a keyring");
    let now: Timestamp = home.house.clock.now();
    let pending = payvault::keys::KeyState::PendingDestruction;
    ring.change_state(&[release], pending, now)
        .expect("pending");
    ring.destroy(&[release], now).expect("destroyed");
    drop(ring);
    let lost = home_loss(&home, &taken);
    bring_back(&home, &taken.file, losing(lost)).expect("restored");
    reopen(&mut home);
    confirm_by_two(&home);
    let gone = home.authorize(transaction, &token);
    assert_eq!(denial(gone), Denial::UnknownTransaction);
}

#[test]
fn a_drill_verifies_the_newest_and_leaves_nothing_even_beside_a_serving_vault() {
    let home = Home::new();
    home.card();
    let work = tempfile::tempdir().expect("a directory");
    let root = shared_root();
    let run = || {
        drill(
            &home.house,
            root,
            &directory(&home),
            work.path(),
            &mut quiet,
        )
    };
    assert!(matches!(run(), Err(BackupError::Io { .. })));
    let older = take(&home);
    home.card();
    home.clock.pass_ms(1_000);
    let newest = take(&home);
    let before = (listing(&home.house.keys_dir), listing(&directory(&home)));
    let verified = run().expect("sound");
    assert_eq!(verified.file, newest.file);
    assert_eq!(verified.checked.transactions, 2);
    assert_eq!(verified.checked.findings_count, 0);
    assert_eq!(verified.trailer.size, verified.checked.entries);
    assert!(listing(work.path()).is_empty());
    assert!(before == (listing(&home.house.keys_dir), listing(&directory(&home))));
    // The vault goes on as before.
    home.card();

    // An older one under a newer name is still the older one.
    let vault = newest.header.vault;
    let posing = directory(&home).join(format!("{vault}-99991231T235959999Z.pvbackup"));
    std::fs::copy(&older.file, &posing).expect("copied");
    assert_eq!(run().expect("sound").file, newest.file);
    // One from the future is none, and one that can't be read could be the newest.
    let mut bytes = std::fs::read(&newest.file).expect("a file");
    bytes[50] ^= 1;
    std::fs::write(&posing, &bytes).expect("written");
    let future = Header::read(&posing).expect("a header");
    assert!(future.begun_at > home.house.clock.now());
    assert_eq!(run().expect("sound").file, newest.file);
    std::fs::write(&posing, &bytes[..60]).expect("written");
    assert!(matches!(run(), Err(BackupError::NotABackup(_))));
    std::fs::remove_file(&posing).expect("removed");

    let mut bytes = std::fs::read(&newest.file).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest.file, bytes).expect("written");
    assert!(matches!(run(), Err(BackupError::Damaged { .. })));
    assert!(listing(work.path()).is_empty());
}

/// A row that was put back to an older version is carried along faithfully: found by the drill, and
/// by a restore, which then wants the findings' number.
#[test]
fn what_was_unsound_before_is_found_and_accepted_by_number_only() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let key = [b"X".as_slice(), &transaction.0, b"s"].concat();
    let older = home.disk.durable()[&key].clone();
    home.authorize(transaction, &token).expect("it redeems");
    home.close();
    home.disk.tamper(|rows| {
        rows.insert(key, older);
    });
    // The redo record would repair it at once: another round comes first.
    let space_of_redo = space::REDO;
    home.disk.tamper(|rows| {
        assert!(rows.keys().any(|key| key[0] == space_of_redo));
    });
    home.reopen().expect("opening can't see it");
    let taken = take(&home);
    home.close();
    let lost = home_loss(&home, &taken);
    let before = around(&home);
    let refused = bring_back(&home, &taken.file, losing(lost));
    let Err(BackupError::NotSound { count: 1, .. }) = refused else {
        panic!("{:?}", refused.err());
    };
    assert_eq!(around(&home), before);
    let accepted = Accepted {
        findings: Some(1),
        ..losing(lost)
    };
    let restored = bring_back(&home, &taken.file, accepted).expect("accepted");
    assert_eq!(restored.verified.checked.findings_count, 1);
}
