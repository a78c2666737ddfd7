//! Backups: the whole store at one checkpoint, in one sealed file, taken while the vault serves;
//! and the way back, which ends in a new epoch (`docs/format.md` §9).
//!
//! | file | what |
//! |---|---|
//! | [`mod@file`] | the file: header, chunks, records, trailer; written once, read in order |
//! | [`take`] | taking one: rows beside the committer, rounds from its tee, read back before it has its name |
//! | [`restore`] | reading one into a store, holding it against its checkpoint, and the new epoch |

pub mod file;
pub mod restore;
pub mod take;

use super::command::Refusal;
use super::load::LoadError;
use super::open::OpenError;
use super::tee::Deaf;
use crate::clock::Timestamp;
use crate::keys::{EnvelopeError, KeyError};
use crate::store::{CommitError, MarkError, StoreError};
use std::path::{Path, PathBuf};

/// How far a backup or restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Rows written or read so far.
    pub records: u64,
    /// Bytes of the file so far.
    pub bytes: u64,
    /// Bytes of the whole file, when known.
    pub of_bytes: Option<u64>,
}

/// Why a backup was not taken, not read, or not restored. Each message names the way out.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or directory can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Too little space is left where the backup goes.
    #[error(
        "less space is left in {} than the vault's reserve: make space, or use another disk",
        .0.display()
    )]
    NoSpace(PathBuf),
    /// What was committed meanwhile could not be had.
    #[error(transparent)]
    Deaf(#[from] Deaf),
    /// The file as it was read back is not what was written.
    #[error("what was read back from {} is not what was written: {why}; look at the disk", path.display())]
    NotAsWritten {
        /// The file, which is removed.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The vault refused its entry, or is closing.
    #[error("{0}")]
    Refused(Refusal),
    /// There is no backup here.
    #[error("there is no backup of this vault in {}", .0.display())]
    NoBackup(PathBuf),
    /// There may be a newer one among the files that were not looked at.
    #[error("{} holds more than {max} files: move some away", .0.display(), max = crate::limits::BACKUP_FILES_MAX)]
    TooManyFiles(PathBuf),
    /// Not a backup, or of a format that this version doesn't know.
    #[error("this is no backup that this version can read: {0}")]
    NotABackup(&'static str),
    /// The backup is another vault's.
    #[error("the backup belongs to another vault: {found}, but the keys are those of {wanted}")]
    OtherVault {
        /// Whose backup it is.
        found: String,
        /// Whose keys are there.
        wanted: String,
    },
    /// The keyring is older than the backup.
    #[error(
        "the keyring is at generation {found}, the backup needs {least} or a later one: put the newer keyring back"
    )]
    KeyringOlder {
        /// The keyring's generation.
        found: u64,
        /// The least that can open everything.
        least: u64,
    },
    /// The key that the backup is sealed under is not in the keyring, or was destroyed.
    #[error("the keyring can't open the backup: {0}")]
    Sealed(EnvelopeError),
    /// The file ends before its last chunk.
    #[error("the backup is incomplete: it ends in chunk {chunk}, and that is not its last one")]
    Incomplete {
        /// Where it ends.
        chunk: u64,
    },
    /// A chunk was changed, moved, or is another backup's; or something follows the last one.
    #[error("the backup is damaged in chunk {chunk}: {why}")]
    Damaged {
        /// Which chunk, from 0.
        chunk: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Everything opens, and the store that comes out is not the one that the trailer names.
    #[error("the backup does not hold the state that it names: {0}")]
    NotTheState(String),
    /// The check of the restored store found something.
    #[error(
        "the backup is whole, but what it holds is not sound: {count} found, first: {first}; use an older backup, or, having read every finding, give --accept-findings {count}"
    )]
    NotSound {
        /// How many findings.
        count: u64,
        /// The first.
        first: String,
        /// Those that are listed.
        findings: Vec<String>,
    },
    /// The data directory holds something.
    #[error("{} is not empty: a backup is restored into an empty directory only", .0.display())]
    NotEmpty(PathBuf),
    /// The mark belongs to another vault.
    #[error("the high-water mark belongs to another vault: wrong mark_dir?")]
    MarkForeign,
    /// Entries would be lost.
    #[error(
        "the high-water mark knows {known} entries of epoch {epoch}; with this backup {lost} entries are lost. Look for a newer backup or the database itself; otherwise give --accept-loss {lost}"
    )]
    Loss {
        /// Epoch of the mark.
        epoch: u32,
        /// Entries that the mark knows.
        known: u64,
        /// Entries that the backup has not.
        lost: u64,
    },
    /// Entries may be lost, and nobody can say how many.
    #[error(
        "{why}, so nobody knows what is missing after this backup, which was begun at {begun_at}. Look for the mark and for newer backups; otherwise give --accept-loss unknown"
    )]
    LossUnknown {
        /// Why nobody knows.
        why: &'static str,
        /// When the backup was begun.
        begun_at: Timestamp,
    },
    /// The mark knows another history than the backup's.
    #[error(
        "the ledger's first {size} entries in the backup are not the ones that were published: keep everything as it is, and compare with the checkpoints that were handed out"
    )]
    Rewritten {
        /// Entries that the mark knows.
        size: u64,
    },
    /// Seal or keyring.
    #[error("keys: {0}")]
    Key(#[from] KeyError),
    /// The high-water mark's files.
    #[error("high-water mark: {0}")]
    Mark(#[from] MarkError),
    /// The engine.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The restored rows can't be written.
    #[error("store: {0}")]
    Commit(#[from] CommitError),
    /// The store's content.
    #[error("store: {0}")]
    Load(#[from] LoadError),
    /// The clock or a directory.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl BackupError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
        let path = path.to_path_buf();
        move |source| BackupError::Io { path, source }
    }
}
