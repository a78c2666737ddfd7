//! What holds for every embedded engine, and the faults that make one fail.

use super::*;
use crate::store::conformance::{self, Bench, FailAt, page};
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
            engine: std::marker::PhantomData,
        }
    }

    pub(in crate::store) fn path(&self) -> PathBuf {
        self.directory.path().join("data").join("db")
    }

    pub(in crate::store) fn try_open(&self) -> Result<Embedded<E>, StoreError> {
        Embedded::open(&self.path(), EngineOptions::default())
    }
}

impl<E: Engine> Bench for Home<E> {
    type Store = Embedded<E>;

    fn open(&self) -> Embedded<E> {
        self.try_open().unwrap()
    }

    fn fail_next_commit(&self, store: &Embedded<E>, at: FailAt) {
        let point = match at {
            FailAt::Nothing => Point::BeforeApply,
            FailAt::Applied => Point::BeforeFlush,
            FailAt::Durable => Point::AfterFlush,
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
}

fn it_keeps_the_contract_when_it_panics<E: Engine>() {
    conformance::check(|| Home::<E>::failing_with(Effect::Panic));
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
