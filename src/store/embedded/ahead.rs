//! Rows on their way into an engine. Before it puts a row it reads the place, and while that comes
//! from the disk, one after the other, the journal fills faster than it is emptied and rounds wait.
//! So as soon as one had to wait, the places of the next rows are read ahead, several at once.

use super::Engine;

/// Rows that are read ahead at a time. Their places fit into an engine's cache many times over.
const AHEAD_ROWS: usize = 32;

/// An iterator's rows, unchanged.
pub(super) struct Ahead<'a, E, I: Iterator, W> {
    engine: &'a E,
    rows: I,
    next: std::vec::IntoIter<I::Item>,
    /// How much of the disk this thread waited for until now, and when the rows before were given
    /// out.
    waited: W,
    waited_before: u64,
}

impl<'a, E, I: Iterator, W: Fn() -> u64> Ahead<'a, E, I, W> {
    /// `rows`, on their way into `engine`; `waited` is [`blocks_read`](crate::os::blocks_read).
    pub(super) fn of(engine: &'a E, rows: I, waited: W) -> Self {
        Ahead {
            engine,
            rows,
            next: Vec::new().into_iter(),
            waited_before: waited(),
            waited,
        }
    }
}

impl<'a, E, I, W> Iterator for Ahead<'_, E, I, W>
where
    E: Engine,
    W: Fn() -> u64,
    I: Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
{
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if let Some(row) = self.next.next() {
            return Some(row);
        }
        let waited = (self.waited)();
        let slow = waited > self.waited_before;
        self.waited_before = waited;
        let rows: Vec<I::Item> = self.rows.by_ref().take(AHEAD_ROWS).collect();
        if slow && !rows.is_empty() {
            let keys: Vec<_> = rows.iter().map(|(key, _)| key.to_vec()).collect();
            // What fails here fails again as the row is put, and is told there.
            let _ = self.engine.get_many(&keys);
        }
        self.next = rows.into_iter();
        self.next.next()
    }
}

#[cfg(test)]
mod tests {
    use super::super::EngineOptions;
    use super::*;
    use crate::store::{EngineKind, Key, Row, StoreError};
    use std::ops::Bound;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// An engine that waits for so many blocks for each row, and notes what it was asked for.
    struct Waiting {
        waited: AtomicU64,
        row_blocks: u64,
        taken: Mutex<Vec<Key>>,
        read: Mutex<Vec<(usize, Vec<Key>)>>,
    }

    impl Engine for Waiting {
        const KIND: EngineKind = EngineKind::Sled;

        fn make(_: &Path, _: &EngineOptions) -> Result<(), StoreError> {
            unreachable!("it is made by its test")
        }

        fn open(_: &Path, _: &EngineOptions) -> Result<Waiting, StoreError> {
            unreachable!("it is made by its test")
        }

        fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
            let taken = self.taken.lock().unwrap().len();
            self.read.lock().unwrap().push((taken, keys.to_vec()));
            Err(StoreError::Io(
                "what is read ahead is not missed".to_owned(),
            ))
        }

        fn last(&self, _: &[u8], _: Bound<&[u8]>) -> Result<Option<Row>, StoreError> {
            unreachable!("nothing is looked for")
        }

        fn first(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<Row>, StoreError> {
            unreachable!("nothing is looked for")
        }

        fn take_in<'a>(
            &self,
            rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        ) -> Result<(), StoreError> {
            for (key, _) in rows {
                self.taken.lock().unwrap().push(key.to_vec());
                self.waited.fetch_add(self.row_blocks, Ordering::Relaxed);
            }
            Ok(())
        }
    }

    fn brought(count: u64, row_blocks: u64) -> Waiting {
        let engine = Waiting {
            waited: AtomicU64::new(7),
            row_blocks,
            taken: Mutex::default(),
            read: Mutex::default(),
        };
        let keys: Vec<Key> = (0..count).map(|n| n.to_be_bytes().to_vec()).collect();
        let rows = keys.iter().map(|key| (key.as_slice(), None));
        let waited = || engine.waited.load(Ordering::Relaxed);
        engine.take_in(Ahead::of(&engine, rows, waited)).unwrap();
        assert_eq!(*engine.taken.lock().unwrap(), keys);
        engine
    }

    #[test]
    fn an_engine_that_waited_is_asked_for_the_next_rows_before_it_takes_them() {
        let engine = brought(100, 1);
        let read = engine.read.lock().unwrap();
        let taken = engine.taken.lock().unwrap();
        let places: Vec<usize> = read.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [32, 64, 96]);
        for (place, keys) in read.iter() {
            let end = taken.len().min(place + AHEAD_ROWS);
            assert_eq!(keys, &taken[*place..end]);
        }
    }

    #[test]
    fn an_engine_that_did_not_wait_is_not_asked() {
        assert!(brought(100, 0).read.lock().unwrap().is_empty());
    }
}
