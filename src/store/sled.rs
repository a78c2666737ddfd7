//! The embedded engine: sled 0.34.7, used in the few ways that were measured to be safe. No type of
//! the engine leaves this file and its folder. What its manual says about durability must not be relied upon:
//!
//! - `flush` is durable only through the barrier in [`crate::os`]; proved at every opening, and
//!   watched at every commit.
//! - After an error the engine goes on serving from memory what is not on the disk: the store is
//!   fenced, and all handles are dropped, at the first error.
//! - It may panic over a damaged file: every call is caught.
//! - It puts large leaves into `blobs/`, which it never syncs: bounded values prevent it, and one
//!   file there fences the store for good.
//! - It opens an emptied file without a word: [`Store::is_empty`](super::Store::is_empty)
//!   and the high-water mark.
//! - It takes a snapshot that it was still generating when the process died for a finished one, and
//!   then does not open at all (its issue 1527): such files are removed before it looks.
//! - It relies on a new snapshot without making its name durable, and a power cut may take the name
//!   back: while it opens, a renaming is durable when it returns ([`crate::os::durable_names`]).
//! - After a failed write its `flush` may sleep for ever: a watch wakes it (`guard`).
//!
//! What it shares with the other engine is in [`super::embedded`].
//!
//! One tree; rows are put one by one, thousands at a time, and one `flush` behind them: that they
//! come together or not at all is the journal's part. No batches (they block readers), no flusher
//! thread, no `flush_async`, no compression. The engine's `mode` has no effect in this version and is left alone.

mod guard;
mod opening;

use self::guard::{Watch, ours};
use self::opening::{no_blobs, open_engine};
use super::embedded::at_once::read_all;
use super::embedded::{Embedded, Engine, EngineOptions};
use super::{EngineKind, Key, Row, StoreError};
use crate::os;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store in a directory, with sled as its engine.
pub type SledStore = Embedded<Sled>;

/// sled, open. The database goes first when this is dropped, then the watch over it.
pub struct Sled {
    database: ::sled::Db,
    directory: PathBuf,
    watch: Arc<Watch>,
}

impl Engine for Sled {
    const KIND: EngineKind = EngineKind::Sled;

    fn make(directory: &Path, options: &EngineOptions) -> Result<(), StoreError> {
        let watch = Watch::start()?;
        let database = opening::config(directory, options).open().map_err(ours)?;
        watch.over(&database, || database.flush()).map_err(ours)?;
        Ok(())
    }

    fn open(directory: &Path, options: &EngineOptions) -> Result<Sled, StoreError> {
        let watch = Watch::start()?;
        Ok(Sled {
            database: open_engine(directory, options, &watch)?,
            directory: directory.to_path_buf(),
            watch,
        })
    }

    fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        read_all(keys, |key| {
            let value = self.database.get(key).map_err(ours)?;
            Ok(value.map(|value| value.to_vec()))
        })
    }

    fn last(&self, low: &[u8], high: Bound<&[u8]>) -> Result<Option<Row>, StoreError> {
        let range = (Bound::Included(low), high);
        let row = self.database.range::<&[u8], _>(range).next_back();
        let row = row.transpose().map_err(ours)?;
        Ok(row.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn first(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.database
            .range(from..to)
            .take(limit)
            .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())))
            .collect::<Result<_, _>>()
            .map_err(ours)
    }

    fn take_in<'a>(
        &self,
        rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), StoreError> {
        let calls = os::barrier_calls();
        for (key, value) in rows {
            match value {
                Some(value) => self.database.insert(key, value).map_err(ours)?,
                None => self.database.remove(key).map_err(ours)?,
            };
        }
        // Rows that are there already are not written again, and then nothing is flushed.
        self.database
            .insert(opening::PROBE_KEY, &crate::ids::random::<16>())
            .map_err(ours)?;
        self.watch
            .over(&self.database, || self.database.flush())
            .map_err(ours)?;
        if os::barrier_calls() == calls {
            return Err(StoreError::NotSynced);
        }
        no_blobs(&self.directory)
    }
}

#[cfg(test)]
mod tests;
