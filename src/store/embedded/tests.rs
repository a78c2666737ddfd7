//! What holds for every embedded engine, and the faults that make one fail.

use super::*;
use crate::store::conformance::{self, Bench, FailAt, page};
use crate::store::journal::FILES;
use crate::store::redb::Redb;
use crate::store::sled::Sled;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum Effect {
    Error,
    Panic,
}

/// A failure to come, once.
#[derive(Default)]
pub struct Faults(Mutex<Option<(Point, Effect)>>);

impl Faults {
    /// Fails here, if a test ordered it.
    pub fn at(&self, point: Point) -> Result<(), StoreError> {
        let effect = {
            let mut fault = self.0.lock().unwrap();
            match *fault {
                Some((at, effect)) if at == point => {
                    *fault = None;
                    effect
                }
                _ => return Ok(()),
            }
        };
        match effect {
            Effect::Error => Err(StoreError::Io("ordered fault".to_owned())),
            Effect::Panic => panic!("ordered fault"),
        }
    }
}

impl<E: Engine> Embedded<E> {
    fn order(&self, point: Point, effect: Effect) {
        *self.shared.faults.0.lock().unwrap() = Some((point, effect));
    }

    pub(in crate::store) fn engine<T>(&self, look: impl FnOnce(&E) -> T) -> T {
        look(self.shared.read_slot().open().unwrap())
    }
}

/// A directory for one engine's store.
pub(in crate::store) struct Home<E> {
    directory: tempfile::TempDir,
    effect: Effect,
    options: EngineOptions,
    engine: std::marker::PhantomData<fn() -> E>,
}

impl<E: Engine> Home<E> {
    pub(in crate::store) fn new() -> Home<E> {
        Home::failing_with(Effect::Error)
    }

    fn failing_with(effect: Effect) -> Home<E> {
        Home {
            directory: tempfile::tempdir().unwrap(),
            effect,
            options: EngineOptions::default(),
            engine: std::marker::PhantomData,
        }
    }

    /// With a journal whose files take turns after so many bytes; after 1, at every round.
    pub(in crate::store) fn with_journal_of(mut self, bytes: u64) -> Home<E> {
        self.options.journal_bytes = bytes;
        self
    }

    pub(in crate::store) fn path(&self) -> PathBuf {
        self.directory.path().join("data").join("db")
    }

    pub(in crate::store) fn try_open(&self) -> Result<Embedded<E>, StoreError> {
        Embedded::open(&self.path(), self.options.clone())
    }
}

impl<E: Engine> Bench for Home<E> {
    type Store = Embedded<E>;

    fn open(&self) -> Embedded<E> {
        self.try_open().unwrap()
    }

    fn fail_next_commit(&self, store: &Embedded<E>, at: FailAt) {
        let point = match at {
            FailAt::Nothing => Point::BeforeWrite,
            FailAt::Applied => Point::BeforeSync,
            FailAt::Durable => Point::AfterSync,
        };
        store.order(point, self.effect);
    }
}

/// Makes each function a test of each engine.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        mod sled {
            $(#[test] fn $test() { super::$test::<super::Sled>(); })*
        }
        mod redb {
            $(#[test] fn $test() { super::$test::<super::Redb>(); })*
        }
    };
}

on_each_engine!(
    rounds_are_read_from_the_journals_rows_and_the_engines_alike,
    a_failure_on_the_way_into_the_engine_fences_the_store_and_loses_nothing,
    a_store_without_a_journal_gets_one_and_keeps_its_rows,
    engine_and_journal_that_dont_belong_together_are_refused,
    it_keeps_the_contract_when_it_fails_with_errors,
    it_keeps_the_contract_when_it_panics,
    a_failed_read_fences_committer_and_readers_until_reopened,
    a_second_opening_finds_it_locked,
    below_the_reserve_commits_are_refused_and_come_back_by_themselves,
    the_real_free_space_is_asked_for,
    a_half_made_store_is_made_again,
    a_store_that_is_dropped_is_closed_for_its_readers,
    a_store_that_another_user_could_read_is_not_made,
);

fn it_keeps_the_contract_when_it_fails_with_errors<E: Engine>() {
    conformance::check(|| Home::<E>::failing_with(Effect::Error));
    for bytes in [1, 20_000] {
        conformance::check(|| Home::<E>::failing_with(Effect::Error).with_journal_of(bytes));
    }
}

fn it_keeps_the_contract_when_it_panics<E: Engine>() {
    conformance::check(|| Home::<E>::failing_with(Effect::Panic));
}

/// A model beside the store: puts and deletions over few keys, read back in every way while rounds
/// lie in the journal only, on their way, and in the engine.
fn rounds_are_read_from_the_journals_rows_and_the_engines_alike<E: Engine>() {
    let home = Home::<E>::new().with_journal_of(30_000);
    let mut store = home.open();
    let reader = store.reader();
    let mut model = std::collections::BTreeMap::<Key, Vec<u8>>::new();
    let mut seed = u64::from_be_bytes(crate::ids::random());
    println!("seed {seed}");
    let mut below = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % bound
    };
    let key = |n: u64| [b"E".as_slice(), &n.to_be_bytes()].concat();
    for round in 0..120u64 {
        let mut writes = WriteSet::new();
        for _ in 0..below(6) {
            let key = key(below(40));
            if below(3) == 0 {
                writes.delete(key.clone()).unwrap();
                model.remove(&key);
            } else {
                let value = vec![round as u8; 1 + below(1_500) as usize];
                let stored = crate::store::StoredValue::Public(value.clone());
                writes.put(key.clone(), stored).unwrap();
                model.insert(key, value);
            }
        }
        store
            .begin()
            .unwrap()
            .commit(RoundId::random(), &writes)
            .unwrap();
        if round % 50 == 49 {
            store.reopen().unwrap();
        }
        let keys: Vec<Key> = (0..41).map(key).collect();
        let expected: Vec<_> = keys.iter().map(|key| model.get(key).cloned()).collect();
        assert_eq!(reader.get_many(&keys).unwrap(), expected, "round {round}");
        let (from, to) = (below(42), below(42));
        let limit = 1 + below(12) as usize;
        let expected: Vec<Row> = match from < to {
            true => {
                let rows = model.range(key(from)..key(to)).take(limit);
                rows.map(|(key, value)| (key.clone(), value.clone()))
                    .collect()
            }
            false => Vec::new(),
        };
        assert_eq!(reader.scan(&key(from), &key(to), limit).unwrap(), expected);
        let at = key(below(42));
        let expected = model.range(..=at.clone()).next_back();
        let expected = expected.map(|(key, value)| (key.clone(), value.clone()));
        assert_eq!(reader.floor(b'E', &at[1..]).unwrap(), expected);
    }
}

fn a_failure_on_the_way_into_the_engine_fences_the_store_and_loses_nothing<E: Engine>() {
    for (point, effect) in [
        (Point::BeforeMove, Effect::Error),
        (Point::BeforeMove, Effect::Panic),
        (Point::AfterMove, Effect::Error),
        (Point::AfterMove, Effect::Panic),
    ] {
        let home = Home::<E>::new().with_journal_of(1);
        let mut store = home.open();
        let reader = store.reader();
        conformance::commit(&mut store, 1, &[(b"E1", 1)]).unwrap();
        store.order(point, effect);
        // The round that sets it moving is durable whatever becomes of it.
        let mut acknowledged = 1;
        for n in 2..=100 {
            match conformance::commit(&mut store, n, &[(b"E1", n)]) {
                Ok(()) => acknowledged = n,
                Err(_) => break,
            }
        }
        assert!(acknowledged < 100, "a failure is noticed");
        store.reopen().unwrap();
        let seen = reader.get_many(&[b"E1".to_vec()]).unwrap().remove(0);
        // The one that was told of no outcome may be there.
        assert!(
            [acknowledged, acknowledged + 1]
                .map(|n| Some(page(n)))
                .contains(&seen),
            "{acknowledged}: {seen:?}"
        );
    }
}

fn a_store_without_a_journal_gets_one_and_keeps_its_rows<E: Engine>() {
    let home = Home::<E>::new();
    fs::create_dir_all(home.path()).unwrap();
    // As an earlier version left it.
    E::make(&home.path(), &home.options).unwrap();
    let engine = E::open(&home.path(), &home.options).unwrap();
    let old = page(7);
    engine
        .take_in([(b"E1".as_slice(), Some(&old[..]))].into_iter())
        .unwrap();
    drop(engine);
    for n in 2..4 {
        let mut store = home.open();
        let keys = [b"E1".to_vec()];
        assert_eq!(store.reader().get_many(&keys), Ok(vec![Some(page(7))]));
        conformance::commit(&mut store, n, &[(b"E2", n)]).unwrap();
    }
    let keys = [b"E1".to_vec(), b"E2".to_vec()];
    let rows = home.open().reader().get_many(&keys);
    assert_eq!(rows, Ok(vec![Some(page(7)), Some(page(3))]));
}

fn engine_and_journal_that_dont_belong_together_are_refused<E: Engine>() {
    let home = Home::<E>::new().with_journal_of(1);
    let journals = || FILES.map(|name| fs::read(home.path().join(name)).unwrap());
    let put = |files: &[Vec<u8>; 2]| {
        for (name, bytes) in FILES.iter().zip(files) {
            fs::write(home.path().join(name), bytes).unwrap();
        }
    };
    let refused = |what: &str| {
        let found = home.try_open().err();
        assert!(
            matches!(&found, Some(StoreError::Damaged(why)) if why.contains(what)),
            "{what}: {found:?}"
        );
    };
    let mut store = home.open();
    for n in 1..=3 {
        conformance::commit(&mut store, n, &[(b"E1", n)]).unwrap();
    }
    drop(store);
    let early = journals();
    let mut store = home.open();
    for n in 4..=9 {
        conformance::commit(&mut store, n, &[(b"E1", n)]).unwrap();
    }
    drop(store);
    drop(home.open());
    let whole = journals();

    let other = Home::<E>::new();
    let mut foreign = other.open();
    conformance::commit(&mut foreign, 1, &[(b"E1", 1)]).unwrap();
    drop(foreign);
    put(&FILES.map(|name| fs::read(other.path().join(name)).unwrap()));
    refused("another store");
    put(&early);
    refused("older than the engine");
    put(&[Vec::new(), Vec::new()]);
    refused("its rounds are gone");
    put(&[whole[0].clone(), early[1].clone()]);
    let mixed = home.try_open().err();
    assert!(matches!(mixed, Some(StoreError::Damaged(_))), "{mixed:?}");
    for name in FILES {
        fs::remove_file(home.path().join(name)).unwrap();
    }
    refused("missing");
    put(&whole);
    let rows = home.open().reader().get_many(&[b"E1".to_vec()]);
    assert_eq!(rows, Ok(vec![Some(page(9))]));
}

fn a_failed_read_fences_committer_and_readers_until_reopened<E: Engine>() {
    for effect in [Effect::Error, Effect::Panic] {
        let home = Home::<E>::new();
        let mut store = home.open();
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

fn a_second_opening_finds_it_locked<E: Engine>() {
    let home = Home::<E>::new();
    let store = home.open();
    assert_eq!(home.try_open().err(), Some(StoreError::Locked));
    drop(store);
    drop(home.open());
}

fn below_the_reserve_commits_are_refused_and_come_back_by_themselves<E: Engine>() {
    // One for both engines would be set by their tests at the same time.
    static FREE: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    let free = &FREE[usize::from(E::KIND == EngineKind::Redb)];
    let home = Home::<E>::new();
    let mut store = home.open();
    let shared = Arc::get_mut(&mut store.shared).unwrap();
    shared.free_bytes = match E::KIND {
        EngineKind::Sled => |_| Ok(FREE[0].load(Ordering::SeqCst)),
        EngineKind::Redb => |_| Ok(FREE[1].load(Ordering::SeqCst)),
    };
    let reserve = shared.options.space_reserve_bytes;

    free.store(reserve - 1, Ordering::SeqCst);
    let refused = conformance::commit(&mut store, 1, &[(b"E1", 1)]);
    assert_eq!(refused, Err(CommitError::Full));
    let keys = [b"E1".to_vec()];
    assert_eq!(store.reader().get_many(&keys), Ok(vec![None]));

    free.store(reserve, Ordering::SeqCst);
    conformance::commit(&mut store, 2, &[(b"E1", 1)]).unwrap();
    assert_eq!(store.reader().get_many(&keys), Ok(vec![Some(page(1))]));
}

fn the_real_free_space_is_asked_for<E: Engine>() {
    let home = Home::<E>::new();
    drop(home.open());
    let options = EngineOptions {
        space_reserve_bytes: u64::MAX,
        ..EngineOptions::default()
    };
    let mut store = Embedded::<E>::open(&home.path(), options).unwrap();
    let refused = conformance::commit(&mut store, 1, &[(b"E1", 1)]);
    assert_eq!(refused, Err(CommitError::Full));
}

fn a_half_made_store_is_made_again<E: Engine>() {
    let home = Home::<E>::new();
    let aside = home.directory.path().join("data").join("db.new");
    fs::create_dir_all(&aside).unwrap();
    fs::write(aside.join("conf"), b"").unwrap();
    let store = home.open();
    assert_eq!(store.is_empty(), Ok(true));
    assert!(!aside.exists());
}

fn a_store_that_is_dropped_is_closed_for_its_readers<E: Engine>() {
    let home = Home::<E>::new();
    let store = home.open();
    let reader = store.reader();
    drop(store);
    assert!(matches!(
        reader.get_many(&[b"E1".to_vec()]),
        Err(StoreError::Closed(_))
    ));
    drop(home.open());
}

fn a_store_that_another_user_could_read_is_not_made<E: Engine>() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::<E>::new();
    drop(home.open());
    let mode = fs::metadata(home.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}
