//! Opening: clearing what the engine would trip over, waiting for its own lock, and proving the
//! barrier. Nothing here may trust what the engine remembers of an earlier life.

use super::guard::{Watch, ours};
use crate::os;
use crate::store::durable::sync_directory;
use crate::store::embedded::EngineOptions;
use crate::store::embedded::guarded::{guarded, refused};
use crate::store::embedded::opening::show_the_disk;
use crate::store::{StoreError, space};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The row that is written at each opening, and behind the rows that are taken in, to see the barrier
/// hit.
pub(super) const PROBE_KEY: &[u8] = &[space::STORE, b'P'];

/// How long opening waits for the engine's threads of an earlier opening in this process to let go
/// of the file: they hold it while they finish what was under way. Other processes are kept out by
/// our own lock, without a wait.
const RELEASE_WAIT: Duration = Duration::from_secs(5);

/// Opens the engine over what is truly on the disk, and proves the barrier.
pub(super) fn open_engine(
    directory: &Path,
    options: &EngineOptions,
    watch: &Watch,
) -> Result<::sled::Db, StoreError> {
    no_blobs(directory)?;
    remove_unfinished_snapshots(directory).map_err(refused)?;
    show_the_disk(&directory.join("db")).map_err(refused)?;
    let (had, renames) = (snapshots(directory)?, os::durable_renames());
    let clock = crate::clock::Clock::system();
    let engine = loop {
        let open = || os::durable_names(|| config(directory, options).open());
        match guarded(|| open().map_err(ours)) {
            Err(StoreError::Locked)
                if Duration::from_millis(clock.monotonic_ms()) < RELEASE_WAIT =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => break opened?,
        }
    };
    // Recovery relies on a new snapshot from the moment of its renaming on.
    if !snapshots(directory)?.is_subset(&had) && os::durable_renames() == renames {
        return Err(StoreError::NotSynced);
    }
    sync_directory(directory).map_err(refused)?;
    prove_barrier(&engine, watch, os::barrier_calls)?;
    no_blobs(directory)?;
    Ok(engine)
}

pub(super) fn config(directory: &Path, options: &EngineOptions) -> ::sled::Config {
    ::sled::Config::new()
        .path(directory)
        .cache_capacity(options.cache_bytes)
        // Only commits write: a flusher thread would race them to no end.
        .flush_every_ms(None)
}

/// The names of the engine's snapshots.
fn snapshots(directory: &Path) -> Result<BTreeSet<OsString>, StoreError> {
    let entries = fs::read_dir(directory).map_err(refused)?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()).map_err(refused));
    let is_snapshot = |name: &OsString| name.as_encoded_bytes().starts_with(b"snap.");
    let names: Result<Vec<OsString>, StoreError> = names.collect();
    Ok(names?.into_iter().filter(is_snapshot).collect())
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
        engine.insert(PROBE_KEY, &value).map_err(ours)?;
        watch.over(engine, || engine.flush()).map_err(ours)
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
