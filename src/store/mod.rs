//! The store: an ordered map of bytes to bytes that survives a power cut. This room knows rows and
//! rounds, and nothing of what they mean; it must never see plaintext, and no engine's type leaves
//! its engine's file.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the contract: [`Store`], [`Round`], [`Reader`] and what can go wrong |
//! | [`writes`] | what a round writes, checked as it is gathered |
//! | [`embedded`] | what the embedded engines have in common |
//! | `journal`, `recent` | where a round becomes durable, and its rows until the engine has them |
//! | [`mod@sled`], [`mod@redb`] | the embedded engines |
//! | [`engine`] | which of them a directory is of |
//! | [`copy`] | from one engine to the other |
//! | [`memory`] | a store for tests, with faults to order |
//! | [`mark`] | the high-water mark, outside the database |

pub(crate) mod durable;

pub mod copy;
pub mod embedded;
pub mod engine;
mod journal;
pub mod mark;
pub mod memory;
mod recent;
pub mod redb;
pub mod sled;
pub mod writes;

#[cfg(test)]
mod conformance;

pub use embedded::EngineOptions;
pub(crate) use embedded::lock as lock_directory;
pub use engine::EngineKind;
#[cfg(feature = "fault-injection")]
pub use journal::{Piece as JournalPiece, reread as reread_journal};
pub use mark::{Mark, MarkError, MarkFile};
pub use writes::{StoredValue, WriteRefused, WriteSet};

use crate::limits;
use std::sync::Arc;

/// A row's key. Its first byte is the key's [`space`].
pub type Key = Vec<u8>;

/// The first byte of every key: which space it lies in (docs/format.md §5).
pub mod space {
    /// The head.
    pub const HEAD: u8 = b'H';
    /// Pages of entries.
    pub const ENTRIES: u8 = b'E';
    /// The redo record of the last round.
    pub const REDO: u8 = b'R';
    /// Halves of tiles.
    pub const TILES: u8 = b'T';
    /// Transactions.
    pub const TRANSACTIONS: u8 = b'X';
    /// Principals.
    pub const PRINCIPALS: u8 = b'P';
    /// The allow-list.
    pub const ALLOWANCES: u8 = b'A';
    /// Actions that wait for a second operator.
    pub const ACTIONS: u8 = b'W';
    /// Where the ledger of earlier epochs ended.
    pub const EPOCHS: u8 = b'O';
    /// Where the entries of keys' destructions stand.
    pub const KEY_ENDS: u8 = b'K';
    /// Legal holds.
    pub const HOLDS: u8 = b'L';
    /// The store's own rows: the id of the last committed round, and the row that proves the
    /// barrier. Nobody else may write here.
    pub const STORE: u8 = b'I';

    /// The spaces that a [`WriteSet`](super::WriteSet) may write.
    pub const WRITABLE: [u8; 11] = [
        HEAD,
        ENTRIES,
        REDO,
        TILES,
        TRANSACTIONS,
        PRINCIPALS,
        ALLOWANCES,
        ACTIONS,
        EPOCHS,
        KEY_ENDS,
        HOLDS,
    ];
}

/// The key of the head row. A store without it is [empty](Store::is_empty).
pub const HEAD_KEY: &[u8] = b"H";
/// The key of the row in which `commit` keeps the id of the last committed round: 16 bytes, public.
pub const ROUND_KEY: &[u8] = b"I";

/// Names a round: 16 random bytes, made anew for each attempt to commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoundId(pub [u8; 16]);

impl RoundId {
    /// A new random one.
    pub fn random() -> RoundId {
        RoundId(crate::ids::random())
    }
}

/// What a round may hold. A round past one of these is refused before anything is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Rows written or deleted.
    pub rows_max: usize,
    /// Bytes of keys and values together.
    pub bytes_max: usize,
    /// Bytes of one value.
    pub value_bytes_max: usize,
}

impl Limits {
    /// The limits of an embedded store (`limits.rs`).
    pub const EMBEDDED: Limits = Limits {
        rows_max: limits::ROUND_ROWS_MAX,
        bytes_max: limits::ROUND_BYTES_MAX,
        value_bytes_max: limits::VALUE_BYTES_MAX,
    };
}

/// What became of a round whose commit gave no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// It is durable, and it is the last one.
    Committed,
    /// It is not there, and it MUST NOT appear later.
    Absent,
}

/// A store. One committer owns it; everyone else reads through a [`Reader`].
///
/// # Fencing
/// After any failure of the engine the store is *fenced*: it MUST neither read nor write, for the
/// committer or for a reader, until [`reopen`](Store::reopen) has dropped all that the engine held
/// in memory and read the state from the disk again. What the engine shows after a failure may not
/// be on the disk. A fenced store answers [`StoreError::Closed`].
pub trait Store: Send {
    /// The engine's name, for status and log.
    fn name(&self) -> &'static str;

    /// What a round may hold.
    fn limits(&self) -> Limits;

    /// Begins a round. There is one at a time.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when fenced; `Io` or `Damaged` when the engine fails now.
    fn begin(&mut self) -> Result<Box<dyn Round + '_>, StoreError>;

    /// Finds out what became of round `id` after [`CommitError::Unknown`]; reopens the store first
    /// when it is fenced. `Ok` is given only once the round can no longer commit behind our back,
    /// and `Committed` only when the round is on stable storage. Only the last round that was
    /// tried can be asked for: an older one, even a committed one, is `Absent`.
    ///
    /// # Errors
    /// As [`reopen`](Store::reopen). The outcome is then still unknown; nothing may be answered.
    fn settle(&mut self, id: RoundId) -> Result<Settled, StoreError>;

    /// Drops everything that the engine holds in memory and opens it again from the disk. Lifts
    /// the fence when it succeeds; the store stays fenced when it does not, and may be reopened
    /// again. The caller MUST compare the head with the one that it knows before it goes on.
    ///
    /// # Errors
    /// As opening.
    fn reopen(&mut self) -> Result<(), StoreError>;

    /// A reader, usable from any thread, for as long as it likes; it is fenced with the store and
    /// comes back with it.
    fn reader(&self) -> Arc<dyn Reader>;

    /// Whether there is no head row. An engine whose file was emptied opens without a complaint:
    /// a vault that has a high-water mark and finds its store empty MUST refuse to serve.
    ///
    /// # Errors
    /// As a read.
    fn is_empty(&self) -> Result<bool, StoreError> {
        let rows = self.reader().get_many(&[HEAD_KEY.to_vec()])?;
        Ok(rows.iter().all(Option::is_none))
    }
}

/// One round: reads, then one atomic commit. Dropped without a commit, it has changed nothing.
pub trait Round {
    /// The values under `keys`, in their order; `None` where there is no row. Sees every committed
    /// round and nothing else. Duplicates are allowed.
    ///
    /// # Errors
    /// As a read; the store is fenced then.
    fn read_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// Writes all of `writes`, and `id` as the last round's, or nothing. When this returns `Ok` the
    /// round MUST be on stable storage: a power cut after it can't undo it.
    ///
    /// # Errors
    /// See [`CommitError`] for what each says about the round and the store.
    fn commit(self: Box<Self>, id: RoundId, writes: &WriteSet) -> Result<(), CommitError>;
}

/// Reads beside the committer. Blocking: for the blocking pool, never for an async worker.
///
/// Each call sees the store between two rounds: the whole of every durable round up to one moment,
/// and nothing of a round that is not durable yet. Two calls may see different moments.
pub trait Reader: Send + Sync {
    /// The values under `keys`, in their order; `None` where there is no row.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when fenced; `Io` or `Damaged` when the engine fails now, which
    /// fences the store.
    fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// The row with the greatest key that is not above `space ‖ key`, within that space.
    ///
    /// # Errors
    /// As [`get_many`](Reader::get_many).
    fn floor(&self, space: u8, key: &[u8]) -> Result<Option<Row>, StoreError>;

    /// The rows with `from <= key < to`, ascending, at most `limit` of them and at most
    /// [`limits::SCAN_ROWS_MAX`]. Fewer than the smaller of the two means that there are no more;
    /// otherwise go on from the last key with a zero byte appended. A scan holds up commits, hence
    /// the bound. A range that is empty or reversed has no rows.
    ///
    /// # Errors
    /// As [`get_many`](Reader::get_many).
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError>;
}

/// A key and its value.
pub type Row = (Key, Vec<u8>);

/// Why a commit did not succeed, and what it says about the round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another node committed first. Nothing was written; begin again. An embedded store never
    /// says this.
    #[error("another round was committed first")]
    Conflict,
    /// There is less free space than the reserve. Nothing was written, the store is not fenced,
    /// and commits succeed again by themselves when there is space.
    #[error("less space is left than the reserve")]
    Full,
    /// The engine failed on the way. The round may be durable or not; the store is fenced. Settle
    /// it before anything is answered.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// A rule of this room was broken: a round past the limits (nothing was written), or an engine
    /// that keeps data where it is not synced (fenced). Trying again can't help; stop serving.
    #[error("the store can't go on: {0}")]
    Fatal(String),
}

/// Why a store could not be opened or read.
///
/// The texts are for the operator: they name files and engine errors, never a row's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The files are not what the engine wrote, or the engine panicked over them. Restore from a
    /// backup; opening again won't help.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The system refused a read or write.
    #[error("the store can't be read or written: {0}")]
    Io(String),
    /// A write and its flush did not reach the barrier in [`crate::os`]: what this binary would
    /// call durable is not. A fault of the build, never of the data.
    #[error("a flush did not reach the disk barrier; this build must not serve")]
    NotSynced,
    /// Another process has the store open.
    #[error("another process has the store open")]
    Locked,
    /// The directory holds the store of another engine than the one that was asked for.
    #[error(
        "it is a {found} store, and {asked} was asked for: set engine = \"{found}\" (PAYVAULT_ENGINE, --engine), or copy it over with `payvault store copy`"
    )]
    OtherEngine {
        /// Whose files lie there.
        found: EngineKind,
        /// What was asked for.
        asked: EngineKind,
    },
    /// There is no space to open the store in.
    #[error("no space is left on the device")]
    Full,
    /// The store is fenced after an earlier failure; see [`Store`].
    #[error("the store is closed after a failure: {0}")]
    Closed(String),
}
