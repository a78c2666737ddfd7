//! What a round writes. Everything that can be wrong with a single row is refused here, as it is
//! put, so that a commit has little left to refuse.

use super::{CommitError, Key, Limits, space};
use crate::keys::Sealed;
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use std::collections::BTreeMap;

/// The rows of a round, each put or deleted; the last word on a key counts.
#[derive(Default)]
pub struct WriteSet {
    rows: BTreeMap<Key, Option<StoredValue>>,
    bytes: usize,
}

/// A value that may be stored.
pub enum StoredValue {
    /// A sealed row: the rule.
    Sealed(Sealed),
    /// Pages of entries and tiles of hashes, which are made of sealed parts and public hashes.
    /// [`WriteSet::put`] takes it in those two spaces only.
    Public(Vec<u8>),
}

impl StoredValue {
    /// The bytes as they are stored.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            StoredValue::Sealed(sealed) => sealed.as_bytes(),
            StoredValue::Public(bytes) => bytes,
        }
    }
}

impl WriteSet {
    /// An empty one.
    pub fn new() -> WriteSet {
        WriteSet::default()
    }

    /// Writes `value` under `key`, whatever was there.
    ///
    /// # Errors
    /// When the row breaks a rule of [`WriteRefused`]; the set is then as it was.
    pub fn put(&mut self, key: Key, value: StoredValue) -> Result<(), WriteRefused> {
        let space = check_key(&key)?;
        if value.as_bytes().len() > VALUE_BYTES_MAX {
            return Err(WriteRefused::ValueTooLong);
        }
        let public_space = matches!(space, space::ENTRIES | space::TILES);
        if matches!(value, StoredValue::Public(_)) && !public_space {
            return Err(WriteRefused::NotSealed);
        }
        self.set(key, Some(value));
        Ok(())
    }

    /// Removes the row under `key`, if there is one.
    ///
    /// # Errors
    /// When the key breaks a rule of [`WriteRefused`]; the set is then as it was.
    pub fn delete(&mut self, key: Key) -> Result<(), WriteRefused> {
        check_key(&key)?;
        self.set(key, None);
        Ok(())
    }

    /// What this set says about `key`: nothing, a deletion (`Some(None)`), or a value.
    pub fn pending(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.rows
            .get(key)
            .map(|row| row.as_ref().map(StoredValue::as_bytes))
    }

    /// The rows in the order of their keys; `None` is a deletion.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.rows
            .iter()
            .map(|(key, row)| (key.as_slice(), row.as_ref().map(StoredValue::as_bytes)))
    }

    /// Rows written or deleted.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was put or deleted.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of keys and values together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a round may hold this; every store asks before it writes.
    ///
    /// # Errors
    /// [`CommitError::Fatal`], naming the limit.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), CommitError> {
        let past = if self.len() > limits.rows_max {
            "rows"
        } else if self.bytes > limits.bytes_max {
            "bytes"
        } else if self
            .iter()
            .any(|(_, value)| value.is_some_and(|v| v.len() > limits.value_bytes_max))
        {
            "bytes of a value"
        } else {
            return Ok(());
        };
        Err(CommitError::Fatal(format!("a round has too many {past}")))
    }

    fn set(&mut self, key: Key, row: Option<StoredValue>) {
        let key_bytes = key.len();
        self.bytes += key_bytes + value_bytes(&row);
        if let Some(earlier) = self.rows.insert(key, row) {
            self.bytes -= key_bytes + value_bytes(&earlier);
        }
    }
}

/// Why a row was not taken. All of these are faults of the caller's code, not of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteRefused {
    /// The first byte of the key is no space that may be written, or there is none.
    #[error("the key lies in no space that may be written")]
    UnknownSpace,
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("the key is longer than {KEY_BYTES_MAX} bytes")]
    KeyTooLong,
    /// The value is longer than [`VALUE_BYTES_MAX`]: the engine would keep it in a file that it
    /// never syncs.
    #[error("the value is longer than {VALUE_BYTES_MAX} bytes")]
    ValueTooLong,
    /// A value that is not sealed, in a space where every value must be.
    #[error("a value in this space must be sealed")]
    NotSealed,
}

fn check_key(key: &[u8]) -> Result<u8, WriteRefused> {
    if key.len() > KEY_BYTES_MAX {
        return Err(WriteRefused::KeyTooLong);
    }
    match key.first() {
        Some(space) if space::WRITABLE.contains(space) => Ok(*space),
        _ => Err(WriteRefused::UnknownSpace),
    }
}

fn value_bytes(row: &Option<StoredValue>) -> usize {
    row.as_ref().map_or(0, |value| value.as_bytes().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(bytes: usize) -> StoredValue {
        StoredValue::Public(vec![1; bytes])
    }

    #[test]
    fn a_public_value_is_taken_for_pages_and_tiles_only() {
        let mut writes = WriteSet::new();
        for space in 0..=255u8 {
            let expected = match space {
                b'E' | b'T' => Ok(()),
                b'H' | b'R' | b'X' | b'P' | b'A' | b'W' | b'O' | b'K' | b'L' => {
                    Err(WriteRefused::NotSealed)
                }
                _ => Err(WriteRefused::UnknownSpace),
            };
            assert_eq!(writes.put(vec![space, 1], public(10)), expected, "{space}");
        }
        assert_eq!(writes.len(), 2);
    }

    #[test]
    fn the_stores_own_space_and_no_key_at_all_are_refused() {
        let mut writes = WriteSet::new();
        assert_eq!(
            writes.delete(b"I".to_vec()),
            Err(WriteRefused::UnknownSpace)
        );
        assert_eq!(writes.delete(vec![]), Err(WriteRefused::UnknownSpace));
        assert!(writes.is_empty());
    }

    #[test]
    fn a_value_or_key_past_its_bound_is_refused() {
        let mut writes = WriteSet::new();
        assert_eq!(writes.put(b"E1".to_vec(), public(VALUE_BYTES_MAX)), Ok(()));
        assert_eq!(
            writes.put(b"E1".to_vec(), public(VALUE_BYTES_MAX + 1)),
            Err(WriteRefused::ValueTooLong)
        );
        assert_eq!(
            writes.put(vec![b'E'; KEY_BYTES_MAX + 1], public(1)),
            Err(WriteRefused::KeyTooLong)
        );
        assert_eq!(writes.bytes(), 2 + VALUE_BYTES_MAX);
    }

    #[test]
    fn bytes_follow_the_last_word_on_each_key() {
        let mut writes = WriteSet::new();
        writes.put(b"E1".to_vec(), public(100)).unwrap();
        writes.put(b"E1".to_vec(), public(10)).unwrap();
        assert_eq!(writes.bytes(), 12);
        writes.delete(b"E1".to_vec()).unwrap();
        assert_eq!((writes.bytes(), writes.len()), (2, 1));
        assert_eq!(writes.pending(b"E1"), Some(None));
        assert_eq!(writes.pending(b"E2"), None);
    }
}
