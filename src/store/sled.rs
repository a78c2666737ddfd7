//! The embedded engine: sled 0.34.7, used in the few ways that were measured to be safe. No type of
//! the engine leaves this file and its folder. What its manual says about durability must not be relied upon:
//!
//! - `flush` is durable only through the barrier in [`crate::os`]; proved at every opening, and
//!   watched at every commit.
//! - After an error the engine goes on serving from memory what is not on the disk: the store is
//!   fenced, and all handles are dropped, at the first error.
//! - It may panic over a damaged file: every call is caught.
//! - It puts large leaves into `blobs/`, which it never syncs: bounded values prevent it, and one
//!   file there fences the store for good.
//! - It opens an emptied file without a word: [`Store::is_empty`] and the high-water mark.
//! - It takes a snapshot that it was still generating when the process died for a finished one, and
//!   then does not open at all (its issue 1527): such files are removed before it looks.
//! - After a failed write its `flush` may sleep for ever: a watch wakes it (`guard`).
//!
//! One tree; `apply_batch` and one `flush` a round; no flusher thread, no `flush_async`, no
//! compression. The engine's `mode` has no effect in this version and is left alone.

mod guard;
mod opening;

use self::guard::{Watch, guarded};
use self::opening::{create, lock, no_blobs, open_engine};
use super::{
    CommitError, Key, Limits, ROUND_KEY, Reader, Round, RoundId, Row, Settled, Store, StoreError,
    WriteSet,
};
use crate::limits::{SCAN_ROWS_MAX, SPACE_RESERVE_BYTES};
use crate::os;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A store in a directory, with sled as its engine. Dropping it closes the store for its readers
/// too.
pub struct SledStore {
    shared: Arc<Shared>,
    /// Keeps other processes out, also while the engine is being reopened.
    _lock: File,
}

/// What may be chosen about a [`SledStore`].
#[derive(Clone, Debug)]
pub struct SledOptions {
    /// Bytes of the engine's page cache; about three times as much becomes resident.
    pub cache_bytes: u64,
    /// Free bytes below which a commit is [`CommitError::Full`].
    pub space_reserve_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> SledOptions {
        SledOptions {
            // With ten million rows beside the cache (33 bytes each) this stays below a GiB.
            cache_bytes: 64 << 20,
            space_reserve_bytes: SPACE_RESERVE_BYTES,
        }
    }
}

impl SledStore {
    /// Opens the store in `directory`; makes an empty one when the directory is missing or empty.
    /// It proves that a flush reaches the disk barrier, and everything that it shows afterwards is
    /// on stable storage, even if an earlier process died before its last sync.
    ///
    /// A new store is made in `<directory>.new` and moved into place when it is durable: a power
    /// cut leaves either no store or a whole one.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::NotSynced`] when the
    /// barrier was not hit, [`StoreError::Damaged`] when the files are not right, `Io` and `Full`
    /// when the system refuses.
    pub fn open(directory: &Path, options: SledOptions) -> Result<SledStore, StoreError> {
        let watch = Watch::start()?;
        create(directory, &options, &watch)?;
        let lock = lock(directory)?;
        let engine = open_engine(directory, &options, &watch)?;
        Ok(SledStore {
            _lock: lock,
            shared: Arc::new(Shared {
                directory: directory.to_path_buf(),
                options,
                slot: RwLock::new(Slot {
                    engine: Ok(engine),
                    openings: 1,
                }),
                free_bytes,
                watch,
                #[cfg(test)]
                fault: std::sync::Mutex::new(None),
            }),
        })
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.shared.write_slot().close("the store was shut down");
    }
}

impl Store for SledStore {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn limits(&self) -> Limits {
        Limits::EMBEDDED
    }

    fn begin(&mut self) -> Result<Box<dyn Round + '_>, StoreError> {
        self.shared.read_slot().open()?;
        Ok(Box::new(SledRound {
            shared: &self.shared,
        }))
    }

    fn settle(&mut self, id: RoundId) -> Result<Settled, StoreError> {
        if self.shared.read_slot().open().is_err() {
            self.reopen()?;
        }
        let last = self
            .shared
            .read(|engine| Ok(engine.get(ROUND_KEY)?.map(|value| value.to_vec())))?;
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
        match open_engine(&shared.directory, &shared.options, &shared.watch) {
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

struct SledRound<'a> {
    shared: &'a Shared,
}

impl Round for SledRound<'_> {
    fn read_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.shared.get_many(keys)
    }

    fn commit(self: Box<Self>, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        writes.check(&Limits::EMBEDDED)?;
        let mut batch = ::sled::Batch::default();
        for (key, value) in writes.iter() {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch.insert(ROUND_KEY, &id.0);
        self.shared.commit(batch)
    }
}

/// What the committer and the readers share.
struct Shared {
    directory: PathBuf,
    options: SledOptions,
    /// Held for reading by every read, for writing by a commit from its first write until it is
    /// durable: the engine shows a batch as soon as it is applied, and nobody may act upon one that
    /// a power cut can still undo.
    slot: RwLock<Slot>,
    /// How much space is left; tests put another one here.
    free_bytes: fn(&Path) -> io::Result<u64>,
    watch: Arc<Watch>,
    #[cfg(test)]
    fault: std::sync::Mutex<Option<(Point, tests::Effect)>>,
}

struct Slot {
    /// The engine, or why it was closed.
    engine: Result<::sled::Db, String>,
    /// How often it was opened: a late failure of an earlier opening must not close a later one.
    openings: u64,
}

impl Slot {
    fn open(&self) -> Result<&::sled::Db, StoreError> {
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

impl Shared {
    fn read_slot(&self) -> RwLockReadGuard<'_, Slot> {
        // A poisoned lock means a panic outside the engine's calls, which leaves the slot whole.
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_slot(&self) -> RwLockWriteGuard<'_, Slot> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the engine; a failure fences the store for everyone.
    fn read<T>(&self, read: impl Fn(&::sled::Db) -> ::sled::Result<T>) -> Result<T, StoreError> {
        let slot = self.read_slot();
        let openings = slot.openings;
        let engine = slot.open()?;
        let result = guarded(|| {
            self.fault_at(Point::Read)?;
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

    fn commit(&self, batch: ::sled::Batch) -> Result<(), CommitError> {
        let mut slot = self.write_slot();
        let engine = slot
            .open()
            .map_err(|closed| CommitError::Unknown(closed.to_string()))?;
        let free = (self.free_bytes)(&self.directory)
            .map_err(|e| CommitError::Fatal(format!("the space left can't be told: {e}")))?;
        if free < self.options.space_reserve_bytes {
            return Err(CommitError::Full);
        }
        let calls = os::barrier_calls();
        let written = guarded(|| {
            self.fault_at(Point::BeforeApply)?;
            engine.apply_batch(batch)?;
            self.fault_at(Point::BeforeFlush)?;
            self.watch.over(engine, || engine.flush())?;
            self.fault_at(Point::AfterFlush)
        });
        if let Err(error) = written {
            slot.close(&error.to_string());
            return Err(CommitError::Unknown(error.to_string()));
        }
        let kept = if os::barrier_calls() == calls {
            Err(StoreError::NotSynced)
        } else {
            no_blobs(&self.directory)
        };
        kept.map_err(|error| {
            slot.close(&error.to_string());
            CommitError::Fatal(error.to_string())
        })
    }
}

impl Reader for Shared {
    fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.read(|engine| {
            keys.iter()
                .map(|key| Ok(engine.get(key)?.map(|value| value.to_vec())))
                .collect()
        })
    }

    fn floor(&self, space: u8, key: &[u8]) -> Result<Option<Row>, StoreError> {
        let low = [space];
        let high = [&low, key].concat();
        self.read(|engine| {
            let row = engine.range(&low[..]..=&high[..]).next_back().transpose()?;
            Ok(row.map(|(key, value)| (key.to_vec(), value.to_vec())))
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            // The engine panics over such a range; still tell a fenced store from an empty range.
            return self.read_slot().open().map(|_| Vec::new());
        }
        self.read(|engine| {
            engine
                .range(from..to)
                .take(limit.min(SCAN_ROWS_MAX))
                .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())))
                .collect()
        })
    }
}

fn free_bytes(directory: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(directory)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Where a test can make the engine fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Point {
    Read,
    BeforeApply,
    BeforeFlush,
    AfterFlush,
}

#[cfg(not(test))]
impl Shared {
    #[inline(always)]
    fn fault_at(&self, _point: Point) -> ::sled::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
