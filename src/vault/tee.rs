//! What a backup under way hears of the committer: the rows of every round that became durable
//! since it began to read. The committer hands them on after its commit and never waits: what a
//! backup does not take away in time ends the backup.

use super::head::Head;
use crate::limits::BACKUP_WAITING_BYTES_MAX;
use crate::store::{Key, WriteSet};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long the end of a backup waits for a commit that was under way: longer than a round may take
/// before the process ends.
const COMMIT_WAIT: Duration = Duration::from_secs(60);

/// A row as a round left it: its value, or none when it was deleted.
pub(super) type Change = (Key, Option<Vec<u8>>);

/// The ear of at most one backup at a time.
#[derive(Default)]
pub struct Tee {
    /// Read without the lock, so that a round without a backup costs nothing. A backup sets it
    /// before it reads its first row: a round that finds it unset was durable before that.
    on: AtomicBool,
    ear: Mutex<Ear>,
    /// A commit's outcome was heard.
    over: Condvar,
}

#[derive(Default)]
struct Ear {
    /// A backup has its place from its first word until its file has a name, longer than it hears.
    taken: bool,
    heard: Option<Heard>,
}

#[derive(Default)]
struct Heard {
    changes: VecDeque<Change>,
    bytes: usize,
    head: Option<Head>,
    broken: Option<Deaf>,
    /// Commits that were begun, and those whose outcome was heard. A commit's rows can be read
    /// before it is told here that they are durable: whoever read meanwhile waits for that.
    begun: u64,
    ended: u64,
}

/// Why a backup can't be finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Deaf {
    /// More was committed than could be written.
    #[error(
        "more was committed meanwhile than could be written: the backup's disk is slower than the vault's; try when there is less to do, or another disk"
    )]
    Overflow,
    /// The store failed and was reopened: nobody knows whether a round was missed.
    #[error("the store failed meanwhile; try again")]
    StoreFailed,
    /// A commit was begun, and nobody said how it ended.
    #[error("the vault's store does not answer; look at its disk")]
    NoAnswer,
    /// Nobody listens.
    #[error("the backup was ended")]
    Ended,
}

impl Tee {
    /// Begins to listen; `None` when another backup does.
    pub(super) fn listen(self: &Arc<Tee>) -> Option<Listener> {
        let mut ear = self.lock();
        if ear.taken {
            return None;
        }
        ear.taken = true;
        ear.heard = Some(Heard::default());
        self.on.store(true, Ordering::SeqCst);
        Some(Listener {
            tee: Arc::clone(self),
        })
    }

    /// A round is about to be committed. Called by the committer before the first moment at which
    /// a reader could see its rows; [`durable`](Tee::durable), [`absent`](Tee::absent) or
    /// [`failed`](Tee::failed) follows.
    pub(super) fn committing(&self) {
        if !self.on.load(Ordering::SeqCst) {
            return;
        }
        if let Some(heard) = self.lock().heard.as_mut() {
            heard.begun += 1;
        }
    }

    /// The round's commit came to nothing, and nobody can have read its rows.
    pub(super) fn absent(&self) {
        if !self.on.load(Ordering::SeqCst) {
            return;
        }
        self.end_commit(&mut self.lock());
    }

    fn end_commit(&self, ear: &mut Ear) {
        if let Some(heard) = ear.heard.as_mut() {
            // A commit that was begun before anybody listened has no begin here.
            heard.ended = heard.begun;
        }
        self.over.notify_all();
    }

    /// A round became durable. Called by the committer, between this round and the next.
    pub(super) fn durable(&self, writes: &WriteSet, head: &Head) {
        if !self.on.load(Ordering::SeqCst) {
            return;
        }
        let mut ear = self.lock();
        self.end_commit(&mut ear);
        let Some(heard) = ear.heard.as_mut().filter(|heard| heard.broken.is_none()) else {
            return;
        };
        if heard.bytes + writes.bytes() > BACKUP_WAITING_BYTES_MAX {
            heard.break_off(Deaf::Overflow);
            return;
        }
        let rows = writes
            .iter()
            .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
        heard.changes.extend(rows);
        heard.bytes += writes.bytes();
        heard.head = Some(head.clone());
    }

    /// The store failed: rows may be there of which nobody heard.
    pub(super) fn failed(&self) {
        let mut ear = self.lock();
        if let Some(heard) = ear.heard.as_mut() {
            heard.break_off(Deaf::StoreFailed);
        }
        self.over.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ear> {
        self.ear.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn break_off(&mut self, why: Deaf) {
        *self = Heard {
            broken: Some(why),
            begun: self.begun,
            ended: self.ended,
            ..Heard::default()
        };
    }
}

/// Listens until its end, and keeps its backup the only one until it is dropped.
pub(super) struct Listener {
    tee: Arc<Tee>,
}

impl Listener {
    /// What was heard since the last call, whole rounds in their order.
    ///
    /// # Errors
    /// [`Deaf`]: the backup can't be finished.
    pub(super) fn take(&self) -> Result<VecDeque<Change>, Deaf> {
        let mut ear = self.tee.lock();
        let heard = ear.heard.as_mut().ok_or(Deaf::Ended)?;
        if let Some(why) = heard.broken {
            return Err(why);
        }
        heard.bytes = 0;
        Ok(std::mem::take(&mut heard.changes))
    }

    /// What is left, and the head of the last round that was heard; a commit under way is waited
    /// for, because its rows may have been read. Later rounds are none of the backup's. Nothing is
    /// heard after it, but no other backup begins before this listener is dropped.
    ///
    /// # Errors
    /// [`Deaf`], also when no round was heard at all.
    pub(super) fn end(&self) -> Result<(VecDeque<Change>, Head), Deaf> {
        let ear = self.tee.lock();
        let begun = ear.heard.as_ref().ok_or(Deaf::Ended)?.begun;
        let under_way = |ear: &mut Ear| {
            let heard = ear.heard.as_ref();
            heard.is_some_and(|heard| heard.broken.is_none() && heard.ended < begun)
        };
        let waited = self
            .tee
            .over
            .wait_timeout_while(ear, COMMIT_WAIT, under_way);
        let (mut ear, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        self.tee.on.store(false, Ordering::SeqCst);
        let heard = ear.heard.take().ok_or(Deaf::Ended)?;
        match (heard.broken, heard.head) {
            (Some(why), _) => Err(why),
            _ if waited.timed_out() => Err(Deaf::NoAnswer),
            (None, Some(head)) => Ok((heard.changes, head)),
            (None, None) => Err(Deaf::Ended),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut ear = self.tee.lock();
        self.tee.on.store(false, Ordering::SeqCst);
        *ear = Ear::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoredValue;

    fn round(number: u64, bytes: usize) -> (WriteSet, Head) {
        let mut writes = WriteSet::new();
        let value = vec![number as u8; bytes];
        writes
            .put(vec![b'E', number as u8], StoredValue::Public(value))
            .unwrap();
        writes.delete(vec![b'X', number as u8]).unwrap();
        let head = Head {
            epoch: 1,
            round: number,
            round_id: [0; 16],
            size: number,
            root: [0; 32],
            last_time: crate::clock::Timestamp(0),
            keyring_generation: 1,
            single_operator: false,
            registry: [0; 32],
            peaks: Vec::new(),
            restored: None,
        };
        (writes, head)
    }

    fn heard(tee: &Tee, number: u64, bytes: usize) {
        let (writes, head) = round(number, bytes);
        tee.durable(&writes, &head);
    }

    #[test]
    fn one_listens_and_hears_whole_rounds_in_order() {
        let tee = Arc::new(Tee::default());
        heard(&tee, 1, 10);
        let listener = tee.listen().unwrap();
        assert!(tee.listen().is_none());
        heard(&tee, 2, 10);
        heard(&tee, 3, 10);
        let taken: Vec<u8> = listener.take().unwrap().iter().map(|c| c.0[1]).collect();
        assert_eq!(taken, [2, 2, 3, 3]);
        heard(&tee, 4, 10);
        let (changes, head) = listener.end().unwrap();
        assert_eq!((changes.len(), head.size), (2, 4));
        assert_eq!(changes[1], (vec![b'X', 4], None));
        heard(&tee, 5, 10);
        // Its file has no name yet: another one would take it for a leftover.
        assert!(tee.listen().is_none());
        assert!(listener.end().is_err());
        drop(listener);
        // One that is dropped makes room, too.
        drop(tee.listen().unwrap());
        assert!(tee.listen().unwrap().end().is_err(), "nothing was heard");
    }

    #[test]
    fn what_waits_is_bounded_and_a_failure_of_the_store_is_told() {
        let tee = Arc::new(Tee::default());
        let listener = tee.listen().unwrap();
        let rounds = (BACKUP_WAITING_BYTES_MAX / 7_000) as u64;
        for number in 0..rounds - 10 {
            heard(&tee, number, 6_990);
        }
        assert!(!listener.take().unwrap().is_empty());
        for number in 0..rounds + 10 {
            heard(&tee, number, 6_990);
        }
        assert_eq!(listener.take(), Err(Deaf::Overflow));
        heard(&tee, 1, 1);
        assert_eq!(listener.end().err(), Some(Deaf::Overflow));
        drop(listener);

        let listener = tee.listen().unwrap();
        heard(&tee, 1, 1);
        tee.failed();
        heard(&tee, 2, 1);
        assert_eq!(listener.end().err(), Some(Deaf::StoreFailed));
    }

    /// Rows can be read between a commit and the word that it is durable: a backup that read them
    /// ends at that round or later.
    #[test]
    fn the_end_waits_for_a_commit_under_way() {
        let tee = Arc::new(Tee::default());
        tee.committing();
        let listener = tee.listen().unwrap();
        // Begun before anybody listened.
        heard(&tee, 1, 10);
        tee.committing();
        tee.absent();
        tee.committing();
        let begin = Arc::new(std::sync::Barrier::new(2));
        let (other, meet) = (Arc::clone(&tee), Arc::clone(&begin));
        let committer = std::thread::spawn(move || {
            meet.wait();
            for _ in 0..2_000 {
                std::thread::yield_now();
            }
            heard(&other, 2, 10);
        });
        begin.wait();
        let (changes, head) = listener.end().unwrap();
        assert_eq!((changes.len(), head.size), (4, 2));
        committer.join().unwrap();
        drop(listener);

        // One of unknown outcome, and one that came to nothing, hold nobody up.
        let listener = tee.listen().unwrap();
        heard(&tee, 3, 10);
        tee.committing();
        tee.absent();
        assert_eq!(listener.end().unwrap().1.size, 3);
        drop(listener);
        let listener = tee.listen().unwrap();
        heard(&tee, 4, 10);
        tee.committing();
        tee.failed();
        assert_eq!(listener.end().err(), Some(Deaf::StoreFailed));
    }
}
