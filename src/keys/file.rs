//! Files of the keys directory: read with a bound, replaced durably. Files are 0600, the directory
//! 0700.
//!
//! What is assumed of the file system: a rename within a directory is atomic, and after `fsync` of
//! a file and of its directory both the content and the name are on stable storage.

use super::error::KeyError;
use crate::codec::Malformed;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Mode of every file: the owner's only.
const FILE_MODE: u32 = 0o600;
/// Mode of the directory.
const DIR_MODE: u32 = 0o700;

/// Makes the keys directory, or takes it away from group and others when it is there.
pub(super) fn make_dir(dir: &Path) -> Result<(), KeyError> {
    let doing = "making the keys directory";
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(dir)
        .and_then(|()| fs::set_permissions(dir, Permissions::from_mode(DIR_MODE)))
        .map_err(|source| KeyError::Io { doing, source })
}

/// Reads a whole file of at most `max` bytes.
pub(super) fn read(dir: &Path, file: &'static str, max: usize) -> Result<Vec<u8>, KeyError> {
    let mut bytes = Vec::new();
    File::open(dir.join(file))
        .and_then(|opened| opened.take(max as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| KeyError::Io {
            doing: reading(file),
            source,
        })?;
    if bytes.len() > max {
        let what = Malformed::new("file is larger than its bound");
        return Err(KeyError::Malformed { file, what });
    }
    Ok(bytes)
}

/// Puts `bytes` in the place of a file, durably: written beside it, fsynced, renamed over it, and
/// the directory fsynced.
///
/// # Errors
/// [`KeyError::Io`] when the old file still stands, [`KeyError::Uncertain`] when a power cut would
/// decide which of the two does.
pub(super) fn replace(dir: &Path, file: &'static str, bytes: &[u8]) -> Result<(), KeyError> {
    let doing = writing(file);
    let temporary = temporary(dir, file);
    #[cfg(test)]
    cut::write().map_err(|source| KeyError::Io { doing, source })?;
    let written = write_new(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, dir.join(file)))
        .map_err(|source| KeyError::Io { doing, source });
    if written.is_err() {
        // Best effort; the next write makes room for itself.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_dir(dir).map_err(|source| KeyError::Uncertain { doing, source })
}

/// Makes the names in the directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Takes a file away, durably; that it isn't there is no error.
pub(super) fn remove(dir: &Path, file: &'static str) -> Result<(), KeyError> {
    let removed = match fs::remove_file(dir.join(file)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_dir(dir),
    };
    removed.map_err(|source| KeyError::Io {
        doing: writing(file),
        source,
    })
}

/// Removes what a write that was cut short left behind.
pub(super) fn remove_temporary(dir: &Path, file: &str) {
    // Usually there is none; whatever it is, the next write replaces it.
    let _ = fs::remove_file(temporary(dir, file));
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // create_new: never through somebody's symbolic link.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn temporary(dir: &Path, file: &str) -> PathBuf {
    dir.join(format!("{file}.tmp"))
}

fn reading(file: &'static str) -> &'static str {
    match file {
        super::seal::FILE => "reading seal.json",
        super::wrap::FILE => "reading the wrapping key",
        super::tries::FILE => "reading the journal of failed tries",
        _ => "reading the keyring",
    }
}

fn writing(file: &'static str) -> &'static str {
    match file {
        super::seal::FILE => "writing seal.json",
        super::wrap::FILE => "writing the wrapping key",
        super::tries::FILE => "writing the journal of failed tries",
        _ => "writing the keyring",
    }
}

/// For this room's tests: the power goes before a write, and from then on nothing is written.
#[cfg(test)]
pub(super) mod cut {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static WRITES_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Lets so many writes through; all of them when `None`.
    pub(in super::super) fn after(writes: Option<u32>) {
        WRITES_LEFT.set(writes);
    }

    /// Before a write.
    pub(in super::super) fn write() -> io::Result<()> {
        match WRITES_LEFT.get() {
            Some(0) => Err(io::Error::other("no power")),
            left => {
                WRITES_LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}
