//! What only this engine does, and the faults that make it fail.

use super::*;
use crate::store::conformance::{self, Bench, FailAt, page};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Error,
    Panic,
}

impl Shared {
    /// Fails here, once, if a test ordered it.
    pub(super) fn fault_at(&self, point: Point) -> ::sled::Result<()> {
        let effect = {
            let mut fault = self.fault.lock().unwrap();
            match *fault {
                Some((at, effect)) if at == point => {
                    *fault = None;
                    effect
                }
                _ => return Ok(()),
            }
        };
        match effect {
            Effect::Error => Err(::sled::Error::Io(io::Error::other("ordered fault"))),
            Effect::Panic => panic!("ordered fault"),
        }
    }
}

impl SledStore {
    fn order(&self, point: Point, effect: Effect) {
        *self.shared.fault.lock().unwrap() = Some((point, effect));
    }
}

struct SledBench {
    directory: tempfile::TempDir,
    effect: Effect,
}

impl SledBench {
    fn new(effect: Effect) -> SledBench {
        SledBench {
            directory: tempfile::tempdir().unwrap(),
            effect,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("data").join("db")
    }
}

impl Bench for SledBench {
    type Store = SledStore;

    fn open(&self) -> SledStore {
        SledStore::open(&self.path(), SledOptions::default()).unwrap()
    }

    fn fail_next_commit(&self, store: &SledStore, at: FailAt) {
        let point = match at {
            FailAt::Nothing => Point::BeforeApply,
            FailAt::Applied => Point::BeforeFlush,
            FailAt::Durable => Point::AfterFlush,
        };
        store.order(point, self.effect);
    }
}

#[test]
fn sled_keeps_the_contract_when_it_fails_with_errors() {
    conformance::check(|| SledBench::new(Effect::Error));
}

#[test]
fn sled_keeps_the_contract_when_it_panics() {
    conformance::check(|| SledBench::new(Effect::Panic));
}

#[test]
fn a_failed_read_fences_committer_and_readers_until_reopened() {
    for effect in [Effect::Error, Effect::Panic] {
        let bench = SledBench::new(effect);
        let mut store = bench.open();
        let reader = store.reader();
        conformance::commit(&mut store, 1, &[(b"E1", 1)]).unwrap();
        store.order(Point::Read, effect);
        let expected = match effect {
            Effect::Error => StoreError::Io("ordered fault".to_owned()),
            Effect::Panic => StoreError::Damaged("the engine panicked: ordered fault".to_owned()),
        };
        let keys = [b"E1".to_vec()];
        assert_eq!(reader.get_many(&keys), Err(expected));
        assert!(matches!(reader.get_many(&keys), Err(StoreError::Closed(_))));
        assert!(matches!(store.begin().err(), Some(StoreError::Closed(_))));
        store.reopen().unwrap();
        assert_eq!(reader.get_many(&keys), Ok(vec![Some(page(1))]));
    }
}

#[test]
fn an_engine_that_does_not_hit_the_barrier_is_refused() {
    use super::opening::prove_barrier;
    let bench = SledBench::new(Effect::Error);
    let store = bench.open();
    let slot = store.shared.read_slot();
    let prove = |count| prove_barrier(slot.open().unwrap(), &store.shared.watch, count);
    assert_eq!(prove(|| 7), Err(StoreError::NotSynced));
    assert_eq!(prove(os::barrier_calls), Ok(()));
}

#[test]
fn a_second_opening_finds_it_locked() {
    let bench = SledBench::new(Effect::Error);
    let store = bench.open();
    let second = SledStore::open(&bench.path(), SledOptions::default());
    assert_eq!(second.err(), Some(StoreError::Locked));
    drop(store);
    drop(bench.open());
}

#[test]
fn below_the_reserve_commits_are_refused_and_come_back_by_themselves() {
    static FREE: AtomicU64 = AtomicU64::new(0);
    let bench = SledBench::new(Effect::Error);
    let mut store = bench.open();
    let shared = Arc::get_mut(&mut store.shared).unwrap();
    shared.free_bytes = |_| Ok(FREE.load(Ordering::SeqCst));
    let reserve = shared.options.space_reserve_bytes;

    FREE.store(reserve - 1, Ordering::SeqCst);
    let refused = conformance::commit(&mut store, 1, &[(b"E1", 1)]);
    assert_eq!(refused, Err(CommitError::Full));
    let keys = [b"E1".to_vec()];
    assert_eq!(store.reader().get_many(&keys), Ok(vec![None]));

    FREE.store(reserve, Ordering::SeqCst);
    conformance::commit(&mut store, 2, &[(b"E1", 1)]).unwrap();
    assert_eq!(store.reader().get_many(&keys), Ok(vec![Some(page(1))]));
}

#[test]
fn the_real_free_space_is_asked_for() {
    let bench = SledBench::new(Effect::Error);
    drop(bench.open());
    let options = SledOptions {
        space_reserve_bytes: u64::MAX,
        ..SledOptions::default()
    };
    let mut store = SledStore::open(&bench.path(), options).unwrap();
    let refused = conformance::commit(&mut store, 1, &[(b"E1", 1)]);
    assert_eq!(refused, Err(CommitError::Full));
}

#[test]
fn a_blob_file_fences_the_store_and_it_does_not_open_again() {
    let bench = SledBench::new(Effect::Error);
    let mut store = bench.open();
    fs::write(bench.path().join("blobs").join("17"), b"row").unwrap();
    let refused = conformance::commit(&mut store, 1, &[(b"E1", 1)]);
    assert!(matches!(refused, Err(CommitError::Fatal(_))), "{refused:?}");
    assert!(matches!(store.begin().err(), Some(StoreError::Closed(_))));
    assert!(matches!(store.reopen(), Err(StoreError::Damaged(_))));
    drop(store);
    let opened = SledStore::open(&bench.path(), SledOptions::default());
    assert!(matches!(opened.err(), Some(StoreError::Damaged(_))));
}

#[test]
fn the_largest_values_make_no_blobs() {
    let bench = SledBench::new(Effect::Error);
    let mut store = bench.open();
    // Neighbouring keys, written over and over: leaves as full as they get.
    for round in 0..60u64 {
        let mut writes = WriteSet::new();
        for row in 0..64u64 {
            let key = [b"E".as_slice(), &(row + 8 * round).to_be_bytes()].concat();
            let value = vec![round as u8; crate::limits::VALUE_BYTES_MAX];
            writes
                .put(key, crate::store::StoredValue::Public(value))
                .unwrap();
        }
        let round = store.begin().unwrap();
        round.commit(RoundId::random(), &writes).unwrap();
    }
    no_blobs(&bench.path()).unwrap();
}

#[test]
fn an_emptied_file_opens_as_an_empty_store() {
    let bench = SledBench::new(Effect::Error);
    let mut store = bench.open();
    conformance::commit(&mut store, 1, &[(b"H", 1)]).unwrap();
    assert_eq!(store.is_empty(), Ok(false));
    drop(store);
    // As after a power cut without the barrier: names are there, content is not.
    let path = bench.path();
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap().path();
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if name == "db" {
            File::options()
                .write(true)
                .open(&entry)
                .unwrap()
                .set_len(0)
                .unwrap();
        } else if name.starts_with("snap.") {
            fs::remove_file(&entry).unwrap();
        }
    }
    assert_eq!(bench.open().is_empty(), Ok(true));
}

#[test]
fn damage_is_reported_and_does_not_end_the_process() {
    let bench = SledBench::new(Effect::Error);
    drop(bench.open());
    fs::write(bench.path().join("conf"), b"neither key nor value").unwrap();
    let opened = SledStore::open(&bench.path(), SledOptions::default());
    assert!(
        matches!(opened.as_ref().err(), Some(StoreError::Damaged(_))),
        "{:?}",
        opened.err()
    );
}

#[test]
fn a_half_made_store_is_made_again() {
    let bench = SledBench::new(Effect::Error);
    let aside = bench.directory.path().join("data").join("db.new");
    fs::create_dir_all(&aside).unwrap();
    fs::write(aside.join("conf"), b"").unwrap();
    let store = bench.open();
    assert_eq!(store.is_empty(), Ok(true));
    assert!(!aside.exists());
}

#[test]
fn an_unfinished_snapshot_does_not_bar_the_store() {
    let bench = SledBench::new(Effect::Error);
    let mut store = bench.open();
    conformance::commit(&mut store, 1, &[(b"E1", 1)]).unwrap();
    drop(store);
    // Sorts above every real one, as the one under way does.
    let unfinished = bench.path().join("snap.00000000FFFFFFFF.generating");
    fs::write(&unfinished, b"half").unwrap();
    let store = bench.open();
    assert!(!unfinished.exists());
    assert_eq!(
        store.reader().get_many(&[b"E1".to_vec()]),
        Ok(vec![Some(page(1))])
    );
}

#[test]
fn a_store_that_is_dropped_is_closed_for_its_readers() {
    let bench = SledBench::new(Effect::Error);
    let store = bench.open();
    let reader = store.reader();
    drop(store);
    assert!(matches!(
        reader.get_many(&[b"E1".to_vec()]),
        Err(StoreError::Closed(_))
    ));
    drop(bench.open());
}

#[test]
fn a_store_that_another_user_could_read_is_not_made() {
    use std::os::unix::fs::PermissionsExt;
    let bench = SledBench::new(Effect::Error);
    drop(bench.open());
    let mode = fs::metadata(bench.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}
