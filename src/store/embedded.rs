//! What the embedded engines have in common: fencing, the lock against other processes, the reserve
//! of space, and making a store so that a power cut leaves a whole one or none. An engine has only
//! to read, to commit, and to open what is on the disk.

pub(super) mod guarded;
pub(super) mod opening;

use self::guarded::guarded;
use self::opening::create;
pub(crate) use self::opening::lock;
use super::{
    CommitError, EngineKind, Key, Limits, ROUND_KEY, Reader, Round, RoundId, Row, Settled, Store,
    StoreError, WriteSet,
};
use crate::limits::{SCAN_ROWS_MAX, SPACE_RESERVE_BYTES};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What may be chosen about an embedded store.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Bytes of the engine's page cache. With sled about three times as much becomes resident.
    pub cache_bytes: u64,
    /// Free bytes below which a commit is [`CommitError::Full`].
    pub space_reserve_bytes: u64,
    /// Whether opening reads the whole file and verifies the checksum of every page. Only redb
    /// has them, and does it by itself after a stop without a goodbye.
    pub verify: bool,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            // With ten million rows beside sled's cache (33 bytes each) this stays below a GiB.
            cache_bytes: 64 << 20,
            space_reserve_bytes: SPACE_RESERVE_BYTES,
            verify: false,
        }
    }
}

/// An embedded engine, open. Its calls may panic: [`Embedded`] catches that and fences the store,
/// so nothing that a panic left half done is looked at again.
pub trait Engine: Send + Sync + Sized + 'static {
    /// Which one it is.
    const KIND: EngineKind;

    /// Makes an empty store in `directory`, which is empty.
    ///
    /// # Errors
    /// As [`open`](Engine::open).
    fn make(directory: &Path, options: &EngineOptions) -> Result<(), StoreError>;

    /// Opens what is on the disk in `directory`, and nothing that the kernel or an earlier opening
    /// remembers.
    ///
    /// # Errors
    /// `Damaged`, `Io`, `Full`, or `NotSynced` when the engine's flush is none.
    fn open(directory: &Path, options: &EngineOptions) -> Result<Self, StoreError>;

    /// The values under `keys`.
    ///
    /// # Errors
    /// `Damaged` or `Io`.
    fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// The last row with `low <= key <= high`.
    ///
    /// # Errors
    /// `Damaged` or `Io`.
    fn last(&self, low: &[u8], high: &[u8]) -> Result<Option<Row>, StoreError>;

    /// The first `limit` rows with `from <= key < to`, where `from < to`.
    ///
    /// # Errors
    /// `Damaged` or `Io`.
    fn first(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Writes `writes`, and `id` under [`ROUND_KEY`], durably. Passes each point of `faults` on
    /// its way.
    ///
    /// # Errors
    /// `Unknown` when it failed, `Fatal` when what was written can't be relied upon.
    fn commit(&self, id: RoundId, writes: &WriteSet, faults: &Faults) -> Result<(), CommitError>;
}

/// A store in a directory, with an embedded engine. Dropping it closes the store for its readers
/// too.
pub struct Embedded<E: Engine> {
    shared: Arc<Shared<E>>,
    /// Keeps other processes out, also while the engine is being reopened.
    _lock: File,
}

impl<E: Engine> Embedded<E> {
    /// Opens the store in `directory`; makes an empty one when the directory is missing or empty.
    /// Everything that it shows afterwards is on stable storage, even if an earlier process died
    /// before its last sync; sled also proves that a flush reaches the disk barrier.
    ///
    /// A new store is made in `<directory>.new` and moved into place when it is durable: a power
    /// cut leaves either no store or a whole one.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::OtherEngine`] when
    /// it is another engine's, [`StoreError::NotSynced`] when the barrier was not hit,
    /// [`StoreError::Damaged`] when the files are not right, `Io` and `Full` when the system
    /// refuses.
    pub fn open(directory: &Path, options: EngineOptions) -> Result<Embedded<E>, StoreError> {
        E::KIND.require(directory)?;
        create::<E>(directory, &options)?;
        let lock = lock(directory)?;
        let engine = guarded(|| E::open(directory, &options))?;
        Ok(Embedded {
            _lock: lock,
            shared: Arc::new(Shared {
                directory: directory.to_path_buf(),
                options,
                slot: RwLock::new(Slot {
                    engine: Ok(engine),
                    openings: 1,
                }),
                free_bytes,
                faults: Faults::default(),
            }),
        })
    }
}

impl<E: Engine> Drop for Embedded<E> {
    fn drop(&mut self) {
        self.shared.write_slot().close("the store was shut down");
    }
}

impl<E: Engine> Store for Embedded<E> {
    fn name(&self) -> &'static str {
        E::KIND.name()
    }

    fn limits(&self) -> Limits {
        Limits::EMBEDDED
    }

    fn begin(&mut self) -> Result<Box<dyn Round + '_>, StoreError> {
        self.shared.read_slot().open()?;
        Ok(Box::new(EmbeddedRound {
            shared: &self.shared,
        }))
    }

    fn settle(&mut self, id: RoundId) -> Result<Settled, StoreError> {
        if self.shared.read_slot().open().is_err() {
            self.reopen()?;
        }
        let last = self.shared.get_many(&[ROUND_KEY.to_vec()])?.pop().flatten();
        Ok(if last.as_deref() == Some(&id.0[..]) {
            Settled::Committed
        } else {
            Settled::Absent
        })
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared.write_slot().close("the store is being reopened");
        // Without the lock: readers are told that the store is closed instead of waiting.
        match guarded(|| E::open(&shared.directory, &shared.options)) {
            Ok(engine) => {
                let mut slot = shared.write_slot();
                slot.engine = Ok(engine);
                slot.openings += 1;
                Ok(())
            }
            Err(error) => {
                shared.write_slot().close(&error.to_string());
                Err(error)
            }
        }
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.shared.clone()
    }
}

struct EmbeddedRound<'a, E: Engine> {
    shared: &'a Shared<E>,
}

impl<E: Engine> Round for EmbeddedRound<'_, E> {
    fn read_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.shared.get_many(keys)
    }

    fn commit(self: Box<Self>, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        writes.check(&Limits::EMBEDDED)?;
        self.shared.commit(id, writes)
    }
}

/// What the committer and the readers share.
struct Shared<E> {
    directory: PathBuf,
    options: EngineOptions,
    /// Held for reading by every read, for writing by a commit from its first write until it is
    /// durable: sled shows a batch as soon as it is applied, and nobody may act upon one that a
    /// power cut can still undo.
    slot: RwLock<Slot<E>>,
    /// How much space is left; tests put another one here.
    free_bytes: fn(&Path) -> io::Result<u64>,
    faults: Faults,
}

struct Slot<E> {
    /// The engine, or why it was closed.
    engine: Result<E, String>,
    /// How often it was opened: a late failure of an earlier opening must not close a later one.
    openings: u64,
}

impl<E> Slot<E> {
    fn open(&self) -> Result<&E, StoreError> {
        self.engine
            .as_ref()
            .map_err(|why| StoreError::Closed(why.clone()))
    }

    /// Fences the store: drops the only handle. The engine flushes as it goes and may panic over
    /// it; that changes nothing, since reopening looks at what is on the disk.
    fn close(&mut self, why: &str) {
        let engine = std::mem::replace(&mut self.engine, Err(why.to_owned()));
        let dropped = guarded(|| {
            drop(engine);
            Ok(())
        });
        if let Err(error) = dropped {
            self.engine = Err(format!("{why}; then closing failed: {error}"));
        }
    }
}

impl<E: Engine> Shared<E> {
    fn read_slot(&self) -> RwLockReadGuard<'_, Slot<E>> {
        // A poisoned lock means a panic outside the engine's calls, which leaves the slot whole.
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_slot(&self) -> RwLockWriteGuard<'_, Slot<E>> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the engine; a failure fences the store for everyone.
    fn read<T>(&self, read: impl FnOnce(&E) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let slot = self.read_slot();
        let openings = slot.openings;
        let engine = slot.open()?;
        let result = guarded(|| {
            self.faults.at(Point::Read)?;
            read(engine)
        });
        if let Err(error) = &result {
            drop(slot);
            let mut slot = self.write_slot();
            if slot.openings == openings {
                slot.close(&error.to_string());
            }
        }
        result
    }

    fn commit(&self, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        let mut slot = self.write_slot();
        let engine = slot
            .open()
            .map_err(|closed| CommitError::Unknown(closed.to_string()))?;
        let free = (self.free_bytes)(&self.directory)
            .map_err(|e| CommitError::Fatal(format!("the space left can't be told: {e}")))?;
        if free < self.options.space_reserve_bytes {
            return Err(CommitError::Full);
        }
        let committed = guarded(|| Ok(engine.commit(id, writes, &self.faults)))
            .unwrap_or_else(|panicked| Err(CommitError::Unknown(panicked.to_string())));
        committed.inspect_err(|error| slot.close(&error.to_string()))
    }
}

impl<E: Engine> Reader for Shared<E> {
    fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.read(|engine| engine.get_many(keys))
    }

    fn floor(&self, space: u8, key: &[u8]) -> Result<Option<Row>, StoreError> {
        let low = [space];
        let high = [&low, key].concat();
        self.read(|engine| {
            let row = engine.last(&low, &high)?;
            let keys = row.as_ref().map(|(key, _)| key.as_slice());
            in_order(keys.into_iter(), |key| {
                key >= low.as_slice() && key <= high.as_slice()
            })?;
            Ok(row)
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            // The engines panic over such a range; still tell a fenced store from an empty range.
            return self.read_slot().open().map(|_| Vec::new());
        }
        self.read(|engine| {
            let rows = engine.first(from, to, limit.min(SCAN_ROWS_MAX))?;
            let keys = rows.iter().map(|(key, _)| key.as_slice());
            in_order(keys, |key| key >= from && key < to)?;
            Ok(rows)
        })
    }
}

/// Refuses keys that a damaged tree gave: whoever goes on from the last one would go on for ever.
fn in_order<'a>(
    keys: impl Iterator<Item = &'a [u8]> + Clone,
    within: impl Fn(&[u8]) -> bool,
) -> Result<(), StoreError> {
    if keys.clone().all(within) && keys.is_sorted_by(|one, next| one < next) {
        return Ok(());
    }
    Err(StoreError::Damaged("the rows are out of order".to_owned()))
}

fn free_bytes(directory: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(directory)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Where a test can make an engine fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// At any read.
    Read,
    /// Before a commit's first write.
    BeforeApply,
    /// After its writes, before what makes them durable.
    BeforeFlush,
    /// Once they are.
    AfterFlush,
}

/// Failures that tests order; none in a shipped binary.
#[cfg(not(test))]
#[derive(Default)]
pub struct Faults(());

#[cfg(not(test))]
impl Faults {
    /// Goes on.
    ///
    /// # Errors
    /// Never.
    #[inline(always)]
    pub fn at(&self, _point: Point) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
pub use tests::Faults;

#[cfg(test)]
pub(super) mod tests;
