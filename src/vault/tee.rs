//! What a backup under way hears of the committer: the rows of every round that became durable
//! since it began to read. The committer hands them on after its commit and never waits: what a
//! backup does not take away in time ends the backup.

use super::head::Head;
use crate::limits::BACKUP_WAITING_BYTES_MAX;
use crate::store::{Key, WriteSet};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A row as a round left it: its value, or none when it was deleted.
pub(super) type Change = (Key, Option<Vec<u8>>);

/// The ear of at most one backup at a time.
#[derive(Default)]
pub struct Tee {
    /// Read without the lock, so that a round without a backup costs nothing. A backup sets it
    /// before it reads its first row: a round that finds it unset was durable before that.
    on: AtomicBool,
    heard: Mutex<Option<Heard>>,
}

#[derive(Default)]
struct Heard {
    changes: VecDeque<Change>,
    bytes: usize,
    head: Option<Head>,
    broken: Option<Deaf>,
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
    /// Nobody listens.
    #[error("the backup was ended")]
    Ended,
}

impl Tee {
    /// Begins to listen; `None` when another backup does.
    pub(super) fn listen(self: &Arc<Tee>) -> Option<Listener> {
        let mut heard = self.lock();
        if heard.is_some() {
            return None;
        }
        *heard = Some(Heard::default());
        self.on.store(true, Ordering::SeqCst);
        Some(Listener {
            tee: Arc::clone(self),
            ended: false,
        })
    }

    /// A round became durable. Called by the committer, between this round and the next.
    pub(super) fn durable(&self, writes: &WriteSet, head: &Head) {
        if !self.on.load(Ordering::SeqCst) {
            return;
        }
        let mut heard = self.lock();
        let Some(heard) = heard.as_mut().filter(|heard| heard.broken.is_none()) else {
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
        if let Some(heard) = self.lock().as_mut() {
            heard.break_off(Deaf::StoreFailed);
        }
    }

    fn close(&self) -> Option<Heard> {
        let mut heard = self.lock();
        self.on.store(false, Ordering::SeqCst);
        heard.take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn break_off(&mut self, why: Deaf) {
        *self = Heard {
            broken: Some(why),
            ..Heard::default()
        };
    }
}

/// Listens until it is dropped.
pub(super) struct Listener {
    tee: Arc<Tee>,
    /// Another one may listen by now: it alone has something to lose.
    ended: bool,
}

impl Listener {
    /// What was heard since the last call, whole rounds in their order.
    ///
    /// # Errors
    /// [`Deaf`]: the backup can't be finished.
    pub(super) fn take(&self) -> Result<VecDeque<Change>, Deaf> {
        let mut heard = self.tee.lock();
        let heard = heard.as_mut().ok_or(Deaf::Ended)?;
        if let Some(why) = heard.broken {
            return Err(why);
        }
        heard.bytes = 0;
        Ok(std::mem::take(&mut heard.changes))
    }

    /// What is left, and the head of the last round that was heard. Later rounds are none of the
    /// backup's.
    ///
    /// # Errors
    /// [`Deaf`], also when no round was heard at all.
    pub(super) fn end(mut self) -> Result<(VecDeque<Change>, Head), Deaf> {
        self.ended = true;
        let heard = self.tee.close().ok_or(Deaf::Ended)?;
        match (heard.broken, heard.head) {
            (Some(why), _) => Err(why),
            (None, Some(head)) => Ok((heard.changes, head)),
            (None, None) => Err(Deaf::Ended),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.ended {
            self.tee.close();
        }
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

        let listener = tee.listen().unwrap();
        heard(&tee, 1, 1);
        tee.failed();
        heard(&tee, 2, 1);
        assert_eq!(listener.end().err(), Some(Deaf::StoreFailed));
    }
}
