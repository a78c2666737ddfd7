//! The line between the committer and its engine. It can hold a round at its beginning, so that a
//! test decides which calls share a round; fail like the fault store over any engine; be cut, as
//! when the process dies; and make the mistakes that a careless committer would.

use super::ops::Engine;
use payvault::keys::Sealed;
use payvault::store::memory::{Fault, Faults, MemoryDisk};
use payvault::store::{
    CommitError, Key, Limits, Reader, Round, RoundId, Settled, Store, StoreError, StoredValue,
    WriteSet,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A bug planted on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    None,
    /// Callers are answered first; the round is written before the next one begins.
    EntryAfterTheReply,
    /// A commit says that it is durable when it is only in memory.
    FlushSkipped,
    /// Of two rounds that wait together the second one sees what the first one saw.
    UsesOutsideTheCommit,
}

/// The test's end of the line.
#[derive(Default)]
pub struct Desk {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// The vault has opened: from now on a planted bug shows.
    open: bool,
    held: bool,
    waiting: bool,
    /// The next round waited behind the one before it; the running one did.
    next_waited: bool,
    waited: bool,
    cut: bool,
    fenced: bool,
    commits: u64,
    faults: BTreeMap<u64, Fault>,
    reopenings: u32,
    /// Reads until one fails.
    reads: Option<u64>,
    /// Commits that failed by order, by kind.
    failed: BTreeMap<&'static str, u64>,
    rounds: u64,
}

pub const fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::WriteBefore => "before the write",
        Fault::WriteAfter => "after the write",
        Fault::FlushBefore => "before the flush",
        Fault::FlushAfter => "after the flush",
        Fault::Both => "write, flush and reopening",
        Fault::Full => "full",
        Fault::Conflict => "conflict",
        Fault::Fatal => "fatal",
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next round waits at its beginning.
    pub fn hold(&self) {
        let mut state = self.lock();
        state.held = true;
        state.waiting = false;
    }

    /// Whether a round waits; looks for a moment.
    pub fn somebody_waits(&self) -> bool {
        let state = self.lock();
        let (state, _) = self
            .wake
            .wait_timeout_while(state, Duration::from_millis(2), |s| !s.waiting)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting
    }

    pub fn let_go(&self) {
        self.lock().held = false;
        self.wake.notify_all();
    }

    /// The `after`-th commit from now fails; replaces what was ordered before.
    pub fn order(&self, after: u64, fault: Fault, reopenings: u32) {
        let mut state = self.lock();
        let at = state.commits + after;
        state.faults = BTreeMap::from([(at, fault)]);
        state.reopenings = reopenings;
    }

    /// The `after`-th read from now fails.
    pub fn order_read(&self, after: u64) {
        self.lock().reads = Some(after);
    }

    pub fn calm(&self) {
        let mut state = self.lock();
        state.reads = None;
        state.faults.clear();
        state.reopenings = 0;
    }

    /// The process is dead: nothing passes any more.
    pub fn cut(&self) {
        let mut state = self.lock();
        state.cut = true;
        state.held = false;
        self.wake.notify_all();
    }

    /// A new process.
    pub fn mend(&self) {
        let mut state = self.lock();
        state.open = false;
        state.cut = false;
        state.fenced = false;
        state.next_waited = false;
    }

    /// The vault has opened.
    pub fn open(&self) {
        self.lock().open = true;
    }

    /// Rounds that were committed or failed, and failures by kind.
    pub fn figures(&self) -> (u64, BTreeMap<&'static str, u64>) {
        let state = self.lock();
        (state.rounds, state.failed.clone())
    }
}

pub struct Line {
    inner: Box<dyn Store>,
    desk: Arc<Desk>,
    bug: Bug,
    engine: Engine,
    /// The disk below the store in memory.
    disk: MemoryDisk,
    owed: Option<(RoundId, WriteSet)>,
    earlier: HashMap<Key, Option<Vec<u8>>>,
}

impl Line {
    pub fn new(
        inner: Box<dyn Store>,
        engine: Engine,
        desk: &Arc<Desk>,
        bug: Bug,
        disk: &MemoryDisk,
    ) -> Line {
        Line {
            inner,
            engine,
            desk: Arc::clone(desk),
            bug,
            disk: disk.clone(),
            owed: None,
            earlier: HashMap::new(),
        }
    }

    fn closed() -> StoreError {
        StoreError::Closed("ordered".to_owned())
    }

    fn pay(&mut self) {
        let Some((id, writes)) = self.owed.take() else {
            return;
        };
        // The bug: nobody looks at what became of it.
        let paid = self
            .inner
            .begin()
            .map(|round| round.commit(id, &writes).is_ok());
        if paid != Ok(true) {
            let _ = self.inner.reopen();
        }
    }
}

impl Store for Line {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn begin(&mut self) -> Result<Box<dyn Round + '_>, StoreError> {
        {
            let desk = Arc::clone(&self.desk);
            let mut state = desk.lock();
            if state.held {
                state.waiting = true;
                desk.wake.notify_all();
                state = desk
                    .wake
                    .wait_while(state, |s| s.held && !s.cut)
                    .unwrap_or_else(PoisonError::into_inner);
                state.waiting = false;
                state.waited = false;
                state.next_waited = true;
            } else {
                state.waited = std::mem::take(&mut state.next_waited);
            }
            if state.cut || state.fenced {
                return Err(Line::closed());
            }
        }
        self.pay();
        Ok(Box::new(LineRound {
            inner: self.inner.begin()?,
            desk: &self.desk,
            bug: match self.desk.lock().open {
                true => self.bug,
                false => Bug::None,
            },
            engine: self.engine,
            disk: &self.disk,
            owed: &mut self.owed,
            earlier: &mut self.earlier,
        }))
    }

    fn settle(&mut self, id: RoundId) -> Result<Settled, StoreError> {
        if self.desk.lock().fenced {
            self.reopen()?;
        }
        if self.desk.lock().cut {
            return Err(Line::closed());
        }
        self.inner.settle(id)
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        {
            let mut state = self.desk.lock();
            if state.cut {
                return Err(Line::closed());
            }
            if state.reopenings > 0 {
                state.reopenings -= 1;
                state.fenced = true;
                *state.failed.entry("reopening").or_default() += 1;
                return Err(StoreError::Io("ordered fault on reopening".to_owned()));
            }
            state.fenced = false;
        }
        self.inner.reopen()
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.inner.reader()
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        self.inner.is_empty()
    }
}

struct LineRound<'a> {
    inner: Box<dyn Round + 'a>,
    desk: &'a Desk,
    bug: Bug,
    engine: Engine,
    disk: &'a MemoryDisk,
    owed: &'a mut Option<(RoundId, WriteSet)>,
    earlier: &'a mut HashMap<Key, Option<Vec<u8>>>,
}

impl Round for LineRound<'_> {
    fn read_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        {
            let mut state = self.desk.lock();
            state.reads = state.reads.map(|left| left.saturating_sub(1));
            if state.reads == Some(0) {
                state.reads = None;
                state.fenced = true;
                *state.failed.entry("read").or_default() += 1;
                return Err(StoreError::Io("ordered fault on read".to_owned()));
            }
        }
        let mut rows = self.inner.read_many(keys)?;
        if self.bug == Bug::UsesOutsideTheCommit && self.desk.lock().waited {
            for (key, row) in keys.iter().zip(&mut rows) {
                if let Some(earlier) = self.earlier.get(key) {
                    row.clone_from(earlier);
                }
            }
        }
        Ok(rows)
    }

    fn commit(mut self: Box<Self>, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        let fault = {
            let mut state = self.desk.lock();
            state.commits += 1;
            state.rounds += 1;
            let at = state.commits;
            let fault = state.faults.remove(&at);
            if let Some(fault) = fault {
                *state.failed.entry(name(fault)).or_default() += 1;
                state.fenced = !matches!(fault, Fault::Full | Fault::Conflict);
            }
            if fault == Some(Fault::Both) {
                state.reopenings = state.reopenings.max(1);
            }
            fault
        };
        if let Some(fault) = fault {
            return (*self).fail(fault, id, writes);
        }
        let transactions: Vec<Key> = writes
            .iter()
            .filter(|(key, _)| key.first() == Some(&b'X'))
            .map(|(key, _)| key.to_vec())
            .collect();
        if self.bug == Bug::UsesOutsideTheCommit {
            let rows = self.inner.read_many(&transactions).unwrap_or_default();
            self.earlier.clear();
            self.earlier.extend(transactions.into_iter().zip(rows));
        }
        match self.bug {
            Bug::EntryAfterTheReply => {
                *self.owed = Some((id, copy(writes.iter())));
                Ok(())
            }
            Bug::FlushSkipped => {
                let before = self.disk.durable();
                self.inner.commit(id, writes)?;
                self.disk.tamper(|rows| *rows = before);
                Ok(())
            }
            Bug::None | Bug::UsesOutsideTheCommit => self.inner.commit(id, writes),
        }
    }
}

impl LineRound<'_> {
    /// Fails as ordered: the store in memory does it itself, around any other it is done here.
    fn fail(self, fault: Fault, id: RoundId, writes: &WriteSet) -> Result<(), CommitError> {
        if self.engine == Engine::Memory {
            let next = self.disk.commits() + 1;
            self.disk.order(Faults::none().and(next, fault));
            return self.inner.commit(id, writes);
        }
        let what = name(fault).to_owned();
        match fault {
            Fault::Full => Err(CommitError::Full),
            Fault::Conflict => Err(CommitError::Conflict),
            Fault::Fatal => Err(CommitError::Fatal(what)),
            // What the engine has in memory and not on the disk is gone when it is reopened: as if
            // it had never been written.
            Fault::WriteBefore | Fault::WriteAfter | Fault::FlushBefore | Fault::Both => {
                Err(CommitError::Unknown(what))
            }
            Fault::FlushAfter => {
                self.inner.commit(id, writes)?;
                Err(CommitError::Unknown(what))
            }
        }
    }
}

/// The same rows once more: a set can't be cloned.
pub fn copy<'a>(rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> WriteSet {
    let mut set = WriteSet::new();
    for (key, value) in rows {
        let put = match value {
            None => set.delete(key.to_vec()),
            Some(bytes) => set.put(
                key.to_vec(),
                match key.first() {
                    Some(b'E' | b'T') => StoredValue::Public(bytes.to_vec()),
                    _ => StoredValue::Sealed(Sealed::from_stored(bytes.to_vec()).expect("sealed")),
                },
            ),
        };
        put.expect("it was taken before");
    }
    set
}
