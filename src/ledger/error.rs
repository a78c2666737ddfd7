//! What can go wrong with the ledger inside the vault. What a verifier says to an auditor is in
//! `verify.rs`.

use crate::codec::Malformed;

/// Why the ledger could not be read, grown or proven. None of these carries an entry's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A stored value has not the shape that `docs/format.md` gives it.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// An entry is too long for a page of its own.
    #[error("a ledger entry of {bytes} sealed bytes does not fit a row")]
    EntryTooLong {
        /// Length of the sealed entry.
        bytes: usize,
    },
    /// A half tile that the tree's size calls for is not in the store.
    #[error("half {half} of tile {tile} at level {level} is missing from the store")]
    TileMissing {
        /// Level of the tile; 0 holds leaf hashes.
        level: u8,
        /// Which tile of that level.
        tile: u64,
        /// 0 for the left half, 1 for the right.
        half: u8,
    },
    /// What the store holds does not hash to the peaks that the head names.
    #[error("pages and tiles do not hash to the head's peaks at size {size}")]
    Diverged {
        /// The head's size.
        size: u64,
    },
    /// A proof was asked for that this tree cannot give.
    #[error("index or size out of range: the tree has {size} entries")]
    OutOfRange {
        /// How many entries there are.
        size: u64,
    },
    /// A complete subtree was put where its kind cannot stand.
    #[error("a subtree does not start at a multiple of its width")]
    Unaligned,
    /// New leaves were staged on another state of the tree than the one they are applied to.
    #[error("leaves were staged on another state of the tree")]
    StagedElsewhere,
    /// An opened entry does not hash to the leaf that the ledger holds for it.
    #[error("entry {index} does not hash to its leaf")]
    LeafMismatch {
        /// Index of the entry.
        index: u64,
    },
    /// An export was given its entries in another order than ascending and gapless.
    #[error("export expected entry {expected}")]
    OutOfOrder {
        /// The index that had to come.
        expected: u64,
    },
    /// A signed note was refused.
    #[error(transparent)]
    Note(#[from] NoteFault),
    /// The store could not be read; its own words.
    #[error("the store could not be read: {0}")]
    Source(String),
}

/// Why a signed note is refused (C2SP signed-note, tlog-checkpoint).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteFault {
    /// It has not the shape of a signed note or of a checkpoint.
    #[error("the note is malformed: {0}")]
    Malformed(&'static str),
    /// A verifier key has not the form `<name>+<hex id>+<base64 key>`.
    #[error("not a verifier key: {0}")]
    Key(&'static str),
    /// No signature is by a key that was given.
    #[error("the note is not signed by any key that was given")]
    NoKnownSignature,
    /// A signature names a given key and was not made by it.
    #[error("a signature that names a given key is not that key's")]
    BadSignature,
}

/// A Merkle proof that does not lead to the root: the data, the path or the root is not the
/// log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead to the root")]
pub struct ProofRefused;
