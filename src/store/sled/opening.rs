//! Opening: making a new store, taking the locks, and showing the engine only what is truly on the
//! disk. Nothing here may trust what the engine or the kernel remembers of an earlier life.

use super::SledOptions;
use super::guard::{Watch, guarded, refused};
use crate::os;
use crate::store::durable::{create_directory, parent, sync_directory, sync_tree};
use crate::store::{StoreError, space};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The row that is written at each opening, to see the barrier hit.
const PROBE_KEY: &[u8] = &[space::STORE, b'P'];

/// How long opening waits for the engine's threads of an earlier opening in this process to let go
/// of the file: they hold it while they finish what was under way. Other processes are kept out by
/// our own lock, without a wait.
const RELEASE_WAIT: Duration = Duration::from_secs(5);

/// Makes an empty store where there is none.
pub(super) fn create(
    directory: &Path,
    options: &SledOptions,
    watch: &Watch,
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
    guarded(|| {
        let engine = config(&aside, options).open()?;
        watch.over(&engine, || engine.flush())?;
        drop(engine);
        Ok(())
    })?;
    sync_tree(&aside).map_err(refused)?;
    fs::rename(&aside, directory).map_err(refused)?;
    sync_directory(&above).map_err(refused)
}

/// Holds `directory` for this process until the file is dropped.
pub(super) fn lock(directory: &Path) -> Result<File, StoreError> {
    use rustix::fs::FlockOperation::NonBlockingLockExclusive;
    let lock = File::open(directory).map_err(refused)?;
    match rustix::fs::flock(&lock, NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked),
        Err(e) => Err(refused(e.into())),
    }
}

/// Whether nothing is there yet.
fn is_vacant(directory: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(refused(e)),
    }
}

/// Opens the engine over what is truly on the disk, and proves the barrier.
pub(super) fn open_engine(
    directory: &Path,
    options: &SledOptions,
    watch: &Watch,
) -> Result<::sled::Db, StoreError> {
    no_blobs(directory)?;
    remove_unfinished_snapshots(directory).map_err(refused)?;
    show_the_disk(&directory.join("db")).map_err(refused)?;
    let clock = crate::clock::Clock::system();
    let engine = loop {
        match guarded(|| config(directory, options).open()) {
            Err(StoreError::Locked)
                if Duration::from_millis(clock.monotonic_ms()) < RELEASE_WAIT =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => break opened?,
        }
    };
    // Recovery may have renamed a snapshot into place.
    sync_directory(directory).map_err(refused)?;
    prove_barrier(&engine, watch, os::barrier_calls)?;
    no_blobs(directory)?;
    Ok(engine)
}

fn config(directory: &Path, options: &SledOptions) -> ::sled::Config {
    ::sled::Config::new()
        .path(directory)
        .cache_capacity(options.cache_bytes)
        // Only commits write: a flusher thread would race them to no end.
        .flush_every_ms(None)
}

/// Removes snapshots that the engine was generating when it died. None was in use: it renames one
/// when it is finished, and only then may anything depend on it.
fn remove_unfinished_snapshots(directory: &Path) -> io::Result<()> {
    let mut removed = false;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
            removed = true;
        }
    }
    if removed {
        sync_directory(directory)?;
    }
    Ok(())
}

/// Makes the kernel forget what it remembers of `file` and did not write: after a failed sync it
/// keeps such pages and calls them clean, so the engine would recover rounds from memory that no
/// power cut would leave. What an earlier process wrote and did not sync becomes durable here.
fn show_the_disk(file: &Path) -> io::Result<()> {
    let file = match File::open(file) {
        // The engine will make it anew, empty, which the owner of the mark will notice.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    file.sync_all()?;
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// Writes and flushes a row and counts the barrier around both: a flush alone may find its write
/// already done.
pub(super) fn prove_barrier(
    engine: &::sled::Db,
    watch: &Watch,
    count: fn() -> u64,
) -> Result<(), StoreError> {
    let value = crate::ids::random::<16>();
    let calls = count();
    guarded(|| {
        engine.insert(PROBE_KEY, &value)?;
        watch.over(engine, || engine.flush())
    })?;
    if count() == calls {
        return Err(StoreError::NotSynced);
    }
    Ok(())
}

/// Refuses a store of which a part lies in files that the engine never syncs.
pub(super) fn no_blobs(directory: &Path) -> Result<(), StoreError> {
    match fs::read_dir(directory.join("blobs")) {
        Ok(mut blobs) => match blobs.next() {
            None => Ok(()),
            Some(_) => Err(StoreError::Damaged(
                "the engine keeps rows in blobs/, which it never syncs".to_owned(),
            )),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(refused(e)),
    }
}
