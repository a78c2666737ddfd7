//! The rows of the last rounds, in memory: they are in the journal already and not yet in the
//! engine. What lies here hides what the engine has under the same key.

use super::{Key, ROUND_KEY, RoundId, WriteSet};
use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

/// Rows by key; `None` stands for a deleted one.
pub(super) type Rows = BTreeMap<Key, Option<Vec<u8>>>;

/// What is not in the engine yet.
#[derive(Default)]
pub(super) struct Recent {
    /// Of the journal's file that is being written.
    newer: Rows,
    /// Of its other file: on their way into the engine.
    older: Option<Arc<Rows>>,
}

impl Recent {
    /// Takes in a round.
    pub(super) fn absorb(&mut self, id: RoundId, writes: &WriteSet) {
        for (key, value) in writes.iter() {
            self.newer.insert(key.to_vec(), value.map(<[u8]>::to_vec));
        }
        self.newer.insert(ROUND_KEY.to_vec(), Some(id.0.to_vec()));
    }

    /// What is to go into the engine next; the rounds from now on are kept apart from it. The
    /// earlier ones MUST be there already.
    pub(super) fn hand_over(&mut self) -> Arc<Rows> {
        let rows = Arc::new(std::mem::take(&mut self.newer));
        self.older = Some(Arc::clone(&rows));
        rows
    }

    /// What was handed over is in the engine.
    pub(super) fn arrived(&mut self) {
        self.older = None;
    }

    /// What it says about `key`: nothing, a deletion (`Some(None)`), or a value.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let older = || self.older.as_ref().and_then(|rows| rows.get(key));
        let row = self.newer.get(key).or_else(older)?;
        Some(row.as_deref())
    }

    /// The last row with a key from `low` on and below `high`.
    pub(super) fn last(&self, low: &[u8], high: Bound<&[u8]>) -> Option<(&[u8], Option<&[u8]>)> {
        let last = |rows: &'_ Rows| {
            let mut range = rows.range::<[u8], _>((Bound::Included(low), high));
            range.next_back().map(|(key, _)| key.clone())
        };
        let newer = last(&self.newer);
        let older = self.older.as_ref().and_then(|rows| last(rows));
        let key = newer.max(older)?;
        let (key, row) = match self.newer.get_key_value(&key) {
            Some(found) => found,
            None => self.older.as_ref()?.get_key_value(&key)?,
        };
        Some((key, row.as_deref()))
    }

    /// The rows with `from <= key < to`, ascending, deleted ones included.
    pub(super) fn range<'a>(&'a self, from: &'a [u8], to: &'a [u8]) -> Merged<'a> {
        static NONE: Rows = Rows::new();
        let older = self.older.as_deref().unwrap_or(&NONE);
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        Merged {
            newer: self.newer.range::<[u8], _>(bounds).peekable(),
            older: older.range::<[u8], _>(bounds).peekable(),
        }
    }
}

/// Two ascending ranges as one; the newer row counts.
pub(super) struct Merged<'a> {
    newer: Peekable<Range<'a, Key, Option<Vec<u8>>>>,
    older: Peekable<Range<'a, Key, Option<Vec<u8>>>>,
}

impl<'a> Iterator for Merged<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let from_newer = match (self.newer.peek(), self.older.peek()) {
            (Some((newer, _)), Some((older, _))) => {
                if newer == older {
                    self.older.next();
                }
                // After an equal one was passed over, the newer one is still the smaller.
                self.older.peek().is_none_or(|(older, _)| newer < older)
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
        let next = match from_newer {
            true => self.newer.next(),
            false => self.older.next(),
        };
        next.map(|(key, row)| (key.as_slice(), row.as_deref()))
    }
}
