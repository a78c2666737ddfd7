//! What the embedded engines have in common: the journal in which a round becomes durable, the rows
//! of the last rounds in memory, fencing, the lock against other processes, the reserve of space,
//! and making a store so that a power cut leaves a whole one or none. An engine has only to read, to
//! take in rows by the thousand, and to open what is on the disk.
//!
//! ```text
//! commit ->  journal (durable)  ->  recent rows, in memory  ->  engine, on a thread beside
//!                                   readers look here first     once the journal's file is full
//! ```

mod ahead;
pub(super) mod at_once;
pub(super) mod guarded;
pub(super) mod opening;

use self::ahead::Ahead;
use self::guarded::guarded;
use self::opening::create;
pub(crate) use self::opening::lock;
use super::journal::{Journal, JournalId, Recorded};
use super::recent::{Entry, Hiding, Recent, Rows};
use super::{
    CommitError, EngineKind, Key, Limits, ROUND_KEY, Reader, Round, RoundId, Row, Settled, Store,
    StoreError, WriteSet, space,
};
use crate::limits::{JOURNAL_BYTES_MAX, ROUND_MS_MAX, SCAN_ROWS_MAX, SPACE_RESERVE_BYTES};
use crate::os;
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

/// The engine's row that says what it has of the journal: the journal's id 16 ‖ number of the last
/// round that is durable in the engine u64.
const JOURNAL_KEY: &[u8] = &[space::STORE, b'J'];

/// How often the end of a move is looked for.
const MOVING_LOOK: std::time::Duration = std::time::Duration::from_millis(1);

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
    /// Bytes of one of the journal's two files, past which it is the other one's turn.
    pub journal_bytes: u64,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            // With ten million rows beside sled's cache (33 bytes each) this stays below a GiB.
            cache_bytes: 64 << 20,
            space_reserve_bytes: SPACE_RESERVE_BYTES,
            verify: false,
            journal_bytes: journal_bytes(),
        }
    }
}

/// How large the journal's files grow; tests make them small (`PAYVAULT_TEST_JOURNAL_BYTES`), so
/// that rounds reach the engine while they watch.
#[cfg(any(debug_assertions, feature = "fault-injection"))]
fn journal_bytes() -> u64 {
    let set = std::env::var("PAYVAULT_TEST_JOURNAL_BYTES").ok();
    set.and_then(|bytes| bytes.parse().ok())
        .map_or(JOURNAL_BYTES_MAX, |bytes: u64| bytes.min(JOURNAL_BYTES_MAX))
}

/// In a release there is no switch.
#[cfg(not(any(debug_assertions, feature = "fault-injection")))]
fn journal_bytes() -> u64 {
    JOURNAL_BYTES_MAX
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

    /// The values under `keys`, several read at once where they come from the disk (`at_once`).
    ///
    /// # Errors
    /// `Damaged` or `Io`.
    fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// The last row from `low` on and within `high`.
    ///
    /// # Errors
    /// `Damaged` or `Io`.
    fn last(&self, low: &[u8], high: Bound<&[u8]>) -> Result<Option<Row>, StoreError>;

    /// The first `limit` rows with `from <= key < to`, where `from < to`.
    ///
    /// # Errors
    /// `Damaged` or `Io`.
    fn first(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Puts rows, or deletes those without a value; all are durable when it returns. It need not be
    /// atomic: until it has returned, the rows are in the journal too, and come again.
    ///
    /// # Errors
    /// `Damaged`, `Io` or `Full` when it failed, `NotSynced` when the engine's flush is none.
    fn take_in<'a>(
        &self,
        rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), StoreError>;
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
        let (engine, journal) = open::<E>(directory, &options)?;
        Ok(Embedded {
            _lock: lock,
            shared: Arc::new(Shared {
                directory: directory.to_path_buf(),
                options,
                slot: RwLock::new(Slot {
                    engine: Ok(Arc::new(engine)),
                    recent: Recent::default(),
                    openings: 1,
                }),
                journal: Mutex::new(Some(journal)),
                moving: Mutex::new(None),
                free_bytes,
                faults: Faults::default(),
            }),
        })
    }
}

impl<E: Engine> Drop for Embedded<E> {
    fn drop(&mut self) {
        // One that hangs ends with the process; what it has not done is in the journal.
        let _ = self.shared.moved();
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
        // Nobody else may hold the engine when it is opened again.
        if !shared.moved() {
            tracing::error!(
                alarm = "hang",
                "the engine takes too long; the process ends"
            );
            std::process::abort();
        }
        *shared.lock_journal() = None;
        // Without the lock: readers are told that the store is closed instead of waiting.
        match open::<E>(&shared.directory, &shared.options) {
            Ok((engine, journal)) => {
                *shared.lock_journal() = Some(journal);
                let mut slot = shared.write_slot();
                slot.engine = Ok(Arc::new(engine));
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

/// Opens engine and journal, and brings every round of the journal into the engine: what is shown
/// afterwards is durable in the engine alone.
fn open<E: Engine>(directory: &Path, options: &EngineOptions) -> Result<(E, Journal), StoreError> {
    let engine = guarded(|| E::open(directory, options))?;
    let (id, applied) = guarded(|| joined(&engine, directory))?;
    let (journal, rounds) = Journal::open(directory, id, applied, options.journal_bytes)?;
    if !rounds.is_empty() {
        let mut rows = Rows::new();
        for Recorded { rows: own, .. } in rounds {
            rows.extend(own);
        }
        guarded(|| take_in(&engine, &rows, id, journal.last()))?;
    }
    Ok((engine, journal))
}

/// The journal that belongs to the engine, and what the engine has of it; makes one for an engine
/// that has none yet.
fn joined<E: Engine>(engine: &E, directory: &Path) -> Result<(JournalId, u64), StoreError> {
    let row = engine.get_many(&[JOURNAL_KEY.to_vec()])?.pop().flatten();
    if let Some(row) = row {
        let mut r = crate::codec::Reader::new(&row);
        let read = (r.array().map(JournalId), r.u64(), r.end());
        let (Ok(id), Ok(applied), Ok(())) = read else {
            return Err(damaged("the row that names the journal has another shape"));
        };
        if !Journal::lies_in(directory) {
            return Err(damaged("the journal is missing"));
        }
        return Ok((id, applied));
    }
    // The row is durable before anything is journalled, so an engine without it was emptied.
    if Journal::holds_rounds(directory).map_err(guarded::refused)? {
        return Err(damaged(
            "the journal has rounds of which the engine knows nothing",
        ));
    }
    Journal::make(directory).map_err(guarded::refused)?;
    let id = JournalId(crate::ids::random());
    take_in(engine, &Rows::new(), id, 0)?;
    Ok((id, 0))
}

/// Brings rows into the engine, and with them how far it is.
fn take_in<E: Engine>(engine: &E, rows: &Rows, id: JournalId, last: u64) -> Result<(), StoreError> {
    let own = [&id.0[..], &last.to_be_bytes()].concat();
    let rows = Ahead::of(
        engine,
        rows.iter()
            .map(|(key, row)| (key.as_slice(), row.as_deref())),
        os::blocks_read,
    );
    engine.take_in(rows.chain(std::iter::once((JOURNAL_KEY, Some(&own[..])))))
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}

struct EmbeddedRound<'a, E: Engine> {
    shared: &'a Arc<Shared<E>>,
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
    /// Held for reading by every read, for writing when a round that is durable becomes visible.
    slot: RwLock<Slot<E>>,
    /// The committer's own; none while the store is being reopened.
    journal: Mutex<Option<Journal>>,
    /// The thread that brings the rounds of the journal's other file into the engine.
    moving: Mutex<Option<JoinHandle<()>>>,
    /// How much space is left; tests put another one here.
    free_bytes: fn(&Path) -> io::Result<u64>,
    faults: Faults,
}

struct Slot<E> {
    /// The engine, or why it was closed.
    engine: Result<Arc<E>, String>,
    /// Rows that it doesn't have yet.
    recent: Recent,
    /// How often it was opened: a late failure of an earlier opening must not close a later one.
    openings: u64,
}

impl<E> Slot<E> {
    fn open(&self) -> Result<&Arc<E>, StoreError> {
        self.engine
            .as_ref()
            .map_err(|why| StoreError::Closed(why.clone()))
    }

    /// Fences the store: drops the handle, and what is in memory. The engine flushes as it goes and
    /// may panic over it; that changes nothing, since reopening looks at what is on the disk.
    fn close(&mut self, why: &str) {
        self.recent = Recent::default();
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

    fn lock_journal(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the thread that moves rounds into the engine, if there is one. False when it hangs:
    /// an engine's flush may wait for ever, and then the engine must not be opened again.
    fn moved(&self) -> bool {
        let mut moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = moving.take() else {
            return true;
        };
        let clock = crate::clock::Clock::system();
        while !thread.is_finished() {
            if clock.monotonic_ms() > ROUND_MS_MAX {
                *moving = Some(thread);
                return false;
            }
            std::thread::sleep(MOVING_LOOK);
        }
        // It catches its own panics, and fences the store when it fails.
        let _ = thread.join();
        true
    }

    /// Reads; a failure fences the store for everyone.
    fn read<T>(
        &self,
        read: impl FnOnce(&E, &Recent) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let slot = self.read_slot();
        let openings = slot.openings;
        let engine = slot.open()?;
        let result = guarded(|| {
            self.faults.at(Point::Read)?;
            read(engine, &slot.recent)
        });
        if let Err(error) = &result {
            drop(slot);
            self.fence(openings, error);
        }
        result
    }

    /// Closes the store after a failure, unless it was opened again meanwhile.
    fn fence(&self, openings: u64, error: &StoreError) {
        let mut slot = self.write_slot();
        if slot.openings == openings {
            slot.close(&error.to_string());
        }
    }
}

impl<E: Engine> Shared<E> {
    /// Makes a round durable, and then visible.
    fn commit(self: &Arc<Self>, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        self.read_slot()
            .open()
            .map_err(|closed| CommitError::Unknown(closed.to_string()))?;
        let free = (self.free_bytes)(&self.directory)
            .map_err(|e| CommitError::Fatal(format!("the space left can't be told: {e}")))?;
        if free < self.options.space_reserve_bytes {
            return Err(CommitError::Full);
        }
        let mut journal = self.lock_journal();
        let journal = journal
            .as_mut()
            .ok_or_else(|| CommitError::Unknown("the journal is closed".to_owned()))?;
        let written = guarded(|| {
            journal.prepare(id, writes);
            if !journal.fits() {
                self.take_turns(journal)?;
            }
            self.faults.at(Point::BeforeWrite)?;
            journal.write().map_err(guarded::refused)?;
            self.faults.at(Point::BeforeSync)?;
            journal.sync().map_err(guarded::refused)?;
            self.faults.at(Point::AfterSync)
        });
        let mut slot = self.write_slot();
        match written {
            // Closed meanwhile, by a reader or the thread: it comes back with the next opening.
            Ok(()) if slot.engine.is_err() => {
                Err(CommitError::Unknown("the store was closed".to_owned()))
            }
            Ok(()) => {
                slot.recent.absorb(id, writes);
                Ok(())
            }
            Err(error) => {
                slot.close(&error.to_string());
                Err(CommitError::Unknown(error.to_string()))
            }
        }
    }

    /// Gives the journal's turn to its other file. The rounds of that one are in the engine by then;
    /// those of the one that was written are on their way.
    fn take_turns(self: &Arc<Self>, journal: &mut Journal) -> Result<(), StoreError> {
        if !self.moved() {
            return Err(StoreError::Io("the engine takes too long".to_owned()));
        }
        let (engine, rows, openings) = {
            let mut slot = self.write_slot();
            let engine = Arc::clone(slot.open()?);
            (engine, slot.recent.hand_over(), slot.openings)
        };
        let (id, last) = (journal.id(), journal.last());
        journal.take_turns();
        let shared = Arc::clone(self);
        let work = move || shared.bring(engine, &rows, id, last, openings);
        let thread = std::thread::Builder::new()
            .name("store-moving".to_owned())
            .spawn(work)
            .map_err(guarded::refused)?;
        *self.moving.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Brings the rounds that were handed over into the engine.
    fn bring(&self, engine: Arc<E>, rows: &Rows, id: JournalId, last: u64, openings: u64) {
        let brought = guarded(|| {
            self.faults.at(Point::BeforeMove)?;
            take_in(&*engine, rows, id, last)?;
            self.faults.at(Point::AfterMove)
        });
        // Before anybody may open it again; a panic on the way changes nothing.
        let dropped = guarded(|| {
            drop(engine);
            Ok(())
        });
        match brought.and(dropped) {
            Ok(()) => {
                let mut slot = self.write_slot();
                if slot.openings == openings {
                    slot.recent.arrived();
                }
            }
            Err(error) => {
                tracing::error!(alarm = "store", %error, "rounds can't be moved into the engine");
                self.fence(openings, &error);
            }
        }
    }
}

impl<E: Engine> Reader for Shared<E> {
    fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.read(|engine, recent| {
            let mut missing = Vec::new();
            let mut values: Vec<_> = (0..)
                .zip(keys)
                .map(|(place, key)| match recent.get(key) {
                    Some(row) => row.map(<[u8]>::to_vec),
                    None => {
                        missing.push((place, key.clone()));
                        None
                    }
                })
                .collect();
            let (places, missing): (Vec<usize>, Vec<Key>) = missing.into_iter().unzip();
            if !missing.is_empty() {
                for (place, value) in places.into_iter().zip(engine.get_many(&missing)?) {
                    values[place] = value;
                }
            }
            Ok(values)
        })
    }

    fn floor(&self, space: u8, key: &[u8]) -> Result<Option<Row>, StoreError> {
        let low = [space];
        let high = [&low, key].concat();
        self.read(|engine, recent| {
            let mut below = Bound::Included(high.as_slice());
            loop {
                let row = engine.last(&low, below)?;
                let keys = row.as_ref().map(|(key, _)| key.as_slice());
                in_order(keys.into_iter(), |key| {
                    key >= low.as_slice() && key <= high.as_slice()
                })?;
                match recent.last(&low, below) {
                    Some((own, value)) if row.as_ref().is_none_or(|(key, _)| &key[..] <= own) => {
                        match value {
                            Some(value) => return Ok(Some((own.to_vec(), value.to_vec()))),
                            // Deleted, whatever the engine says: look further down.
                            None => below = Bound::Excluded(own),
                        }
                    }
                    _ => return Ok(row),
                }
            }
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            // The engines panic over such a range; still tell a fenced store from an empty range.
            return self.read_slot().open().map(|_| Vec::new());
        }
        let limit = limit.min(SCAN_ROWS_MAX);
        self.read(|engine, recent| {
            let mut rows = Vec::new();
            let mut from = from.to_vec();
            // More than once only where rows were deleted and the engine doesn't know yet.
            while rows.len() < limit && from.as_slice() < to {
                let wanted = limit - rows.len();
                let below = engine.first(&from, to, wanted)?;
                let keys = below.iter().map(|(key, _)| key.as_slice());
                in_order(keys, |key| key >= from.as_slice() && key < to)?;
                let until = match below.last() {
                    // There may be more behind its last one.
                    Some((last, _)) if below.len() == wanted => [last.as_slice(), &[0]].concat(),
                    _ => to.to_vec(),
                };
                let below = below.into_iter().map(|(key, value)| {
                    let row: Entry<'_> = (Cow::Owned(key), Some(Cow::Owned(value)));
                    row
                });
                let merged = Hiding::new(recent.range(&from, &until), below);
                let there =
                    merged.filter_map(|(key, row)| Some((key.into_owned(), row?.into_owned())));
                rows.extend(there.take(wanted));
                from = until;
            }
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
    /// Before a commit's write.
    BeforeWrite,
    /// After it, before what makes it durable.
    BeforeSync,
    /// Once it is.
    AfterSync,
    /// Before rounds are brought into the engine.
    BeforeMove,
    /// Once they are durable there.
    AfterMove,
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
