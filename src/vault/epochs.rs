//! Earlier epochs of the ledger: where each ended, and how its entries are still read
//! (`docs/format.md` §5.5). A restored vault never continues an old tree; its pages and tiles stay.

use super::load::{LoadError, Tiles, leaves, open, scan};
use super::rows::Row;
use crate::codec::{Malformed, Reader, Writer};
use crate::keys::Keyring;
use crate::ledger::{LedgerError, Tree};
use crate::limits;
use crate::secret::SecretBuffer;
use crate::store::{self, space};

/// Where the ledger of an epoch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedEpoch {
    /// The epoch.
    pub epoch: u32,
    /// Entries that it has.
    pub size: u64,
    /// Root over them.
    pub root: [u8; 32],
    /// The checkpoint of that size, signed.
    pub note: String,
    /// The tree's frontier, largest subtree first.
    pub peaks: Vec<[u8; 32]>,
}

impl ClosedEpoch {
    /// The row's plaintext.
    pub fn encode(&self) -> SecretBuffer {
        let mut w = Writer::with_capacity(128 + self.note.len() + 32 * self.peaks.len());
        w.u8(1)
            .u32(self.epoch)
            .u64(self.size)
            .raw(&self.root)
            .str(&self.note);
        w.u8(u8::try_from(self.peaks.len()).expect("at most 64 peaks"));
        for peak in &self.peaks {
            w.raw(peak);
        }
        w.finish()
    }

    /// Reads the row's plaintext.
    ///
    /// # Errors
    /// When it does not have the shape of §5.5.
    pub fn decode(bytes: &[u8]) -> Result<ClosedEpoch, Malformed> {
        let mut r = Reader::new(bytes);
        if r.u8()? != 1 {
            return Err(Malformed::new("closed epoch: unknown version"));
        }
        let (epoch, size, root, note) = (r.u32()?, r.u64()?, r.array()?, r.str()?);
        if note.len() > limits::NOTE_BYTES_MAX {
            return Err(Malformed::new("closed epoch: note is too long"));
        }
        let mut closed = ClosedEpoch {
            epoch,
            size,
            root,
            note: note.to_owned(),
            peaks: Vec::new(),
        };
        for _ in 0..r.u8()? {
            closed.peaks.push(r.array()?);
        }
        r.end()?;
        Ok(closed)
    }
}

/// Every closed epoch, the oldest first.
///
/// # Errors
/// When the store fails or a row is not what was stored.
pub fn closed_epochs(
    reader: &dyn store::Reader,
    ring: &Keyring,
) -> Result<Vec<ClosedEpoch>, LoadError> {
    const WHAT: &str = "a closed epoch";
    let mut epochs = Vec::new();
    scan(reader, space::EPOCHS, |key, value| {
        let number = key
            .get(1..)
            .and_then(|rest| rest.try_into().ok())
            .map(u32::from_be_bytes)
            .ok_or(LoadError::damaged(WHAT, "wrong length"))?;
        let plaintext = open(ring, &Row::closed_epoch(number), value, WHAT)?;
        let closed = ClosedEpoch::decode(&plaintext).map_err(|e| LoadError::damaged(WHAT, e))?;
        if closed.epoch != number {
            return Err(LoadError::damaged(WHAT, "it is another epoch's"));
        }
        epochs.push(closed);
        Ok(())
    })?;
    Ok(epochs)
}

/// The tree of a closed epoch, its root checked.
///
/// # Errors
/// When the store fails, or what it holds does not hash to the root.
pub fn tree_of(reader: &dyn store::Reader, closed: &ClosedEpoch) -> Result<Tree, LoadError> {
    let size = closed.size;
    let recent = leaves(reader, closed.epoch, Tree::recent_from(size), size)?;
    let tiles = Tiles(reader, closed.epoch);
    let tree = Tree::load(size, closed.peaks.clone(), &tiles, &recent).map_err(LoadError::Tree)?;
    if tree.root() != closed.root {
        return Err(LoadError::Tree(LedgerError::Diverged { size }));
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_epoch_is_read_back_and_nothing_else_is() {
        let closed = ClosedEpoch {
            epoch: 3,
            size: 5,
            root: [1; 32],
            note: "a note".to_owned(),
            peaks: vec![[2; 32], [3; 32]],
        };
        let bytes = closed.encode();
        assert_eq!(ClosedEpoch::decode(&bytes), Ok(closed));
        for end in 0..bytes.len() {
            assert!(ClosedEpoch::decode(&bytes[..end]).is_err());
        }
    }
}
