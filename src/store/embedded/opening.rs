//! Opening: making a new store, keeping other processes out, and showing an engine only what is
//! truly on the disk. Nothing here may trust what the kernel remembers of an earlier life.

use super::guarded::{guarded, refused};
use super::{Engine, EngineOptions};
use crate::store::StoreError;
use crate::store::durable::{create_directory, parent, sync_directory, sync_tree};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Makes an empty store where there is none.
pub(super) fn create<E: Engine>(
    directory: &Path,
    options: &EngineOptions,
) -> Result<(), StoreError> {
    if !is_vacant(directory)? {
        return Ok(());
    }
    let above = parent(directory);
    create_directory(&above).map_err(refused)?;
    // Two that make the same store at once would pull it from under each other.
    let _lock = lock(&above)?;
    if !is_vacant(directory)? {
        return Ok(());
    }
    let mut aside = directory.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    if aside.exists() {
        // An earlier attempt that a power cut ended; it was never in use.
        fs::remove_dir_all(&aside).map_err(refused)?;
    }
    create_directory(&aside).map_err(refused)?;
    guarded(|| E::make(&aside, options))?;
    put_in_place(&aside, directory)
}

/// Moves a finished store to its name, durably.
pub(in crate::store) fn put_in_place(aside: &Path, directory: &Path) -> Result<(), StoreError> {
    sync_tree(aside).map_err(refused)?;
    fs::rename(aside, directory).map_err(refused)?;
    sync_directory(&parent(directory)).map_err(refused)
}

/// Holds `directory` for this process until the file is dropped.
pub(crate) fn lock(directory: &Path) -> Result<File, StoreError> {
    use rustix::fs::FlockOperation::NonBlockingLockExclusive;
    let lock = File::open(directory).map_err(refused)?;
    match rustix::fs::flock(&lock, NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked),
        Err(e) => Err(refused(e.into())),
    }
}

/// Whether nothing is there yet.
pub(in crate::store) fn is_vacant(directory: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(refused(e)),
    }
}

/// Makes the kernel forget what it remembers of `file` and did not write: after a failed sync it
/// keeps such pages and calls them clean, so an engine would recover rounds from memory that no
/// power cut would leave. What an earlier process wrote and did not sync becomes durable here.
pub(in crate::store) fn show_the_disk(file: &Path) -> io::Result<()> {
    let file = match File::open(file) {
        // What that means is the engine's to say.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    file.sync_all()?;
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}
