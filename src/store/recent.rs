//! The rows of the last rounds, in memory: they are in the journal already and not yet in the
//! engine. What lies here hides what the engine has under the same key.

use super::{Key, ROUND_KEY, RoundId, WriteSet};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
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

    /// The last row with a key from `low` on and within `high`.
    pub(super) fn last(&self, low: &[u8], high: Bound<&[u8]>) -> Option<(&[u8], Option<&[u8]>)> {
        let bounds = (Bound::Included(low), high);
        let newer = self.newer.range::<[u8], _>(bounds).next_back();
        let older = self
            .older
            .as_ref()
            .and_then(|rows| rows.range::<[u8], _>(bounds).next_back());
        // Of one key the newer row counts: it comes last of two that are equal.
        let last = older.into_iter().chain(newer).max_by_key(|(key, _)| *key);
        last.map(|(key, row)| (key.as_slice(), row.as_deref()))
    }

    /// The rows with `from <= key < to`, ascending, deleted ones included.
    pub(super) fn range<'a>(
        &'a self,
        from: &'a [u8],
        to: &'a [u8],
    ) -> impl Iterator<Item = Entry<'a>> {
        static NONE: Rows = Rows::new();
        let older = self.older.as_deref().unwrap_or(&NONE);
        let within = |rows: &'a Rows| {
            let range = rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
            range.map(|(key, row)| {
                let row = row.as_deref().map(Cow::Borrowed);
                (Cow::Borrowed(key.as_slice()), row)
            })
        };
        Hiding::new(within(&self.newer), within(older))
    }
}

/// A key and its row; `None` for a deleted one.
pub(super) type Entry<'a> = (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);

/// Two ascending sources as one: what lies above hides what has the same key below.
pub(super) struct Hiding<A: Iterator, B: Iterator> {
    above: Peekable<A>,
    below: Peekable<B>,
}

impl<'a, A, B> Hiding<A, B>
where
    A: Iterator<Item = Entry<'a>>,
    B: Iterator<Item = Entry<'a>>,
{
    /// `above` over `below`.
    pub(super) fn new(above: A, below: B) -> Hiding<A, B> {
        Hiding {
            above: above.peekable(),
            below: below.peekable(),
        }
    }
}

impl<'a, A, B> Iterator for Hiding<A, B>
where
    A: Iterator<Item = Entry<'a>>,
    B: Iterator<Item = Entry<'a>>,
{
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let order = match (self.above.peek(), self.below.peek()) {
            (Some((above, _)), Some((below, _))) => above.cmp(below),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        if order == Ordering::Equal {
            self.below.next();
        }
        match order {
            Ordering::Less | Ordering::Equal => self.above.next(),
            Ordering::Greater => self.below.next(),
        }
    }
}
