//! A store in memory, for tests: a volatile and a durable map, and faults to order. It must behave
//! as the trait says to the letter, fencing included, so that what passes on it passes on a disk.
//! It keeps nothing when the process ends.

use super::{
    CommitError, HEAD_KEY, Key, Limits, ROUND_KEY, Reader, Round, RoundId, Row, Settled, Store,
    StoreError, WriteSet,
};
use crate::limits::SCAN_ROWS_MAX;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store in memory.
pub struct MemoryStore {
    disk: MemoryDisk,
    /// Handles of a process that "crashed" are dead until reopened.
    life: Arc<Mutex<u64>>,
}

impl MemoryStore {
    /// An empty store without faults.
    pub fn new() -> MemoryStore {
        MemoryStore::on(&MemoryDisk::default())
    }

    /// An empty store that fails as ordered.
    pub fn with_faults(faults: Faults) -> MemoryStore {
        let store = MemoryStore::new();
        store.disk.order(faults);
        store
    }

    /// Opens what is durable on `disk`, as a new process would: older handles on it are dead until
    /// they are reopened.
    pub fn on(disk: &MemoryDisk) -> MemoryStore {
        let mut state = disk.lock();
        state.load();
        MemoryStore {
            disk: disk.clone(),
            life: Arc::new(Mutex::new(state.life)),
        }
    }

    /// The disk below, which outlives the store: to order faults, to crash, and to open again.
    pub fn disk(&self) -> MemoryDisk {
        self.disk.clone()
    }

    fn alive(&self) -> Result<MutexGuard<'_, Disk>, StoreError> {
        alive(&self.disk, &self.life)
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

/// What lies below a [`MemoryStore`]; a handle, cheap to clone.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<Disk>>,
}

impl MemoryDisk {
    /// The power goes: what isn't durable is gone, and every store on this disk is fenced until it
    /// is reopened.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.volatile = None;
        state.life += 1;
        state.why = "the process crashed".to_owned();
    }

    /// Replaces the faults that are still to come; commits count on from where they are.
    pub fn order(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Commits that were tried so far; the next is this plus one.
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// What a power cut now would leave.
    pub fn durable(&self) -> BTreeMap<Key, Vec<u8>> {
        self.lock().durable.clone()
    }

    /// Changes the durable rows behind the store's back, as damage or an old copy put in its place
    /// would. Seen after the next reopening.
    pub fn tamper(&self, change: impl FnOnce(&mut BTreeMap<Key, Vec<u8>>)) {
        change(&mut self.lock().durable);
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Faults to come.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    commits: BTreeMap<u64, Fault>,
    reopenings: u32,
}

impl Faults {
    /// None.
    pub fn none() -> Faults {
        Faults::default()
    }

    /// Also fails the `commit`-th commit (from 1, counted over the disk's life) with `fault`.
    pub fn and(mut self, commit: u64, fault: Fault) -> Faults {
        self.commits.insert(commit, fault);
        self
    }

    /// Also fails the next `count` reopenings.
    pub fn and_reopenings(mut self, count: u32) -> Faults {
        self.reopenings = count;
        self
    }
}

/// How a commit fails. The first five end as [`CommitError::Unknown`] and fence the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The write fails before anything was applied: the round is absent.
    WriteBefore,
    /// The write is applied in memory and then fails: the round is absent after reopening.
    WriteAfter,
    /// The flush fails before it made the round durable: absent.
    FlushBefore,
    /// The flush makes the round durable and then fails: committed.
    FlushAfter,
    /// The write and then the flush on the way out fail, and so does the first reopening: absent.
    Both,
    /// [`CommitError::Full`]; nothing written, not fenced.
    Full,
    /// [`CommitError::Conflict`]; nothing written, not fenced.
    Conflict,
    /// [`CommitError::Fatal`]; nothing written, fenced.
    Fatal,
}

impl Fault {
    /// Every one, for tests that go through them.
    pub const ALL: [Fault; 8] = [
        Fault::WriteBefore,
        Fault::WriteAfter,
        Fault::FlushBefore,
        Fault::FlushAfter,
        Fault::Both,
        Fault::Full,
        Fault::Conflict,
        Fault::Fatal,
    ];
}

#[derive(Default)]
struct Disk {
    /// `None` when fenced.
    volatile: Option<BTreeMap<Key, Vec<u8>>>,
    durable: BTreeMap<Key, Vec<u8>>,
    why: String,
    life: u64,
    commits: u64,
    faults: Faults,
}

impl Disk {
    /// A new life: the volatile map is what the disk holds.
    fn load(&mut self) {
        self.life += 1;
        self.volatile = Some(self.durable.clone());
    }

    fn fence(&mut self, why: &str) {
        self.volatile = None;
        self.why = why.to_owned();
    }

    fn commit(&mut self, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        self.commits += 1;
        let fault = self.faults.commits.remove(&self.commits);
        match fault {
            Some(Fault::Full) => return Err(CommitError::Full),
            Some(Fault::Conflict) => return Err(CommitError::Conflict),
            Some(Fault::Fatal) => {
                self.fence("ordered fault");
                return Err(CommitError::Fatal("ordered fault".to_owned()));
            }
            Some(Fault::WriteBefore) => return Err(self.unknown("write")),
            Some(Fault::Both) => {
                self.faults.reopenings = self.faults.reopenings.max(1);
                return Err(self.unknown("write and flush"));
            }
            Some(Fault::WriteAfter | Fault::FlushBefore | Fault::FlushAfter) | None => {}
        }
        let Some(volatile) = &mut self.volatile else {
            return Err(CommitError::Unknown(self.why.clone()));
        };
        for (key, value) in writes.iter() {
            match value {
                Some(value) => volatile.insert(key.to_vec(), value.to_vec()),
                None => volatile.remove(key),
            };
        }
        volatile.insert(ROUND_KEY.to_vec(), id.0.to_vec());
        if let Some(fault @ (Fault::WriteAfter | Fault::FlushBefore)) = fault {
            let what = if fault == Fault::WriteAfter {
                "write"
            } else {
                "flush"
            };
            return Err(self.unknown(what));
        }
        self.durable = volatile.clone();
        if fault == Some(Fault::FlushAfter) {
            return Err(self.unknown("flush"));
        }
        Ok(())
    }

    fn unknown(&mut self, what: &str) -> CommitError {
        let why = format!("ordered fault on {what}");
        self.fence(&why);
        CommitError::Unknown(why)
    }
}

impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn limits(&self) -> Limits {
        Limits::EMBEDDED
    }

    fn begin(&mut self) -> Result<Box<dyn Round + '_>, StoreError> {
        drop(self.alive()?);
        Ok(Box::new(MemoryRound { store: self }))
    }

    fn settle(&mut self, id: RoundId) -> Result<Settled, StoreError> {
        if self.alive().is_err() {
            self.reopen()?;
        }
        let disk = self.alive()?;
        let last = disk.durable.get(ROUND_KEY).map(Vec::as_slice);
        Ok(if last == Some(&id.0[..]) {
            Settled::Committed
        } else {
            Settled::Absent
        })
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let mut disk = self.disk.lock();
        disk.fence("reopening");
        if disk.faults.reopenings > 0 {
            disk.faults.reopenings -= 1;
            disk.fence("ordered fault on reopening");
            return Err(StoreError::Io("ordered fault on reopening".to_owned()));
        }
        disk.load();
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = disk.life;
        Ok(())
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(MemoryReader {
            disk: self.disk.clone(),
            life: self.life.clone(),
        })
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(!rows(&*self.alive()?)?.contains_key(HEAD_KEY))
    }
}

struct MemoryRound<'a> {
    store: &'a mut MemoryStore,
}

impl Round for MemoryRound<'_> {
    fn read_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let disk = self.store.alive()?;
        let rows = rows(&disk)?;
        Ok(keys.iter().map(|key| rows.get(key).cloned()).collect())
    }

    fn commit(self: Box<Self>, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        writes.check(&self.store.limits())?;
        let mut disk = self
            .store
            .alive()
            .map_err(|closed| CommitError::Unknown(closed.to_string()))?;
        disk.commit(id, writes)
    }
}

struct MemoryReader {
    disk: MemoryDisk,
    life: Arc<Mutex<u64>>,
}

impl Reader for MemoryReader {
    fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let disk = alive(&self.disk, &self.life)?;
        let rows = rows(&disk)?;
        Ok(keys.iter().map(|key| rows.get(key).cloned()).collect())
    }

    fn floor(&self, space: u8, key: &[u8]) -> Result<Option<Row>, StoreError> {
        let disk = alive(&self.disk, &self.life)?;
        let low = vec![space];
        let high = [&[space], key].concat();
        Ok(rows(&disk)?
            .range(low..=high)
            .next_back()
            .map(|(key, value)| (key.clone(), value.clone())))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let disk = alive(&self.disk, &self.life)?;
        let rows = rows(&disk)?;
        if from >= to {
            return Ok(Vec::new());
        }
        Ok(rows
            .range(from.to_vec()..to.to_vec())
            .take(limit.min(SCAN_ROWS_MAX))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

/// The disk, if the handle belongs to its present life.
fn alive<'a>(disk: &'a MemoryDisk, life: &Mutex<u64>) -> Result<MutexGuard<'a, Disk>, StoreError> {
    let state = disk.lock();
    let own = *life.lock().unwrap_or_else(PoisonError::into_inner);
    if state.volatile.is_none() || own != state.life {
        return Err(StoreError::Closed(state.why.clone()));
    }
    Ok(state)
}

fn rows(disk: &Disk) -> Result<&BTreeMap<Key, Vec<u8>>, StoreError> {
    disk.volatile
        .as_ref()
        .ok_or_else(|| StoreError::Closed(disk.why.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{self, Bench, FailAt, commit};

    #[derive(Default)]
    struct MemoryBench {
        disk: MemoryDisk,
    }

    impl Bench for MemoryBench {
        type Store = MemoryStore;

        fn open(&self) -> MemoryStore {
            MemoryStore::on(&self.disk)
        }

        fn fail_next_commit(&self, _store: &MemoryStore, at: FailAt) {
            let fault = match at {
                FailAt::Nothing => Fault::WriteBefore,
                FailAt::Applied => Fault::FlushBefore,
                FailAt::Durable => Fault::FlushAfter,
            };
            let next = self.disk.commits() + 1;
            self.disk.order(Faults::none().and(next, fault));
        }
    }

    #[test]
    fn memory_keeps_the_contract() {
        conformance::check(MemoryBench::default);
    }

    #[test]
    fn each_fault_leaves_what_it_says() {
        for fault in Fault::ALL {
            let mut store = MemoryStore::with_faults(Faults::none().and(2, fault));
            commit(&mut store, 1, &[(b"E1", 1)]).unwrap();
            let error = commit(&mut store, 2, &[(b"E1", 2)]).unwrap_err();
            let fenced = store.begin().is_err();
            match fault {
                Fault::Full => assert_eq!((error, fenced), (CommitError::Full, false)),
                Fault::Conflict => assert_eq!((error, fenced), (CommitError::Conflict, false)),
                Fault::Fatal => {
                    assert!(matches!(error, CommitError::Fatal(_)) && fenced);
                }
                _ => assert!(matches!(error, CommitError::Unknown(_)) && fenced),
            }
            if fault == Fault::Both {
                store.settle(RoundId([2; 16])).unwrap_err();
            }
            let expected = if fault == Fault::FlushAfter {
                Settled::Committed
            } else {
                Settled::Absent
            };
            assert_eq!(store.settle(RoundId([2; 16])), Ok(expected), "{fault:?}");
            // The fault came once.
            commit(&mut store, 3, &[(b"E1", 3)]).unwrap();
        }
    }

    #[test]
    fn a_crash_leaves_what_was_acknowledged_and_kills_old_handles() {
        let mut store = MemoryStore::new();
        let disk = store.disk();
        commit(&mut store, 1, &[(b"E1", 1)]).unwrap();
        disk.crash();
        assert!(store.begin().is_err());
        let mut next = MemoryStore::on(&disk);
        commit(&mut next, 2, &[(b"E2", 2)]).unwrap();
        assert!(store.begin().is_err(), "an old handle came back to life");
        assert_eq!(disk.durable().len(), 3);
    }

    #[test]
    fn a_reopening_can_be_made_to_fail() {
        let mut store = MemoryStore::with_faults(Faults::none().and_reopenings(2));
        store.reopen().unwrap_err();
        assert!(store.begin().is_err());
        store.reopen().unwrap_err();
        store.reopen().unwrap();
        commit(&mut store, 1, &[(b"E1", 1)]).unwrap();
    }
}
