//! The second embedded engine: redb 4. No type of the engine leaves this file.
//!
//! - One table; what it takes in is one write transaction of [`Durability::Immediate`].
//! - It commits in one phase with checksums: everything and the new root are written, then one
//!   `fdatasync`. After a stop without a goodbye it verifies the checksum of every page under the
//!   newer root and falls back to the older root, which no page of the newer one overwrote. So a
//!   power cut may lose or tear any write since the last `fdatasync`, in any order; what must hold
//!   is that `fdatasync` empties the drive's cache and that the 320 bytes of the header, in the
//!   file's first sector, are written as one. An attack on its checksum needs chosen values; ours
//!   are sealed.
//! - Its two-phase commit would spend a second `fdatasync` a round on the same promise, and
//!   `quick_repair`, which needs it, would also write the state of the allocator each time. What
//!   they save is the walk over the whole file after such a stop.
//! - After an error it refuses to go on by itself; the store is fenced all the same.
//! - It may panic over a file that was changed: every call is caught.
//! - An emptied or missing file is damage; it makes a new one in an empty directory only.

use super::embedded::at_once::read_all;
use super::embedded::guarded::{guarded, refused};
use super::embedded::opening::show_the_disk;
use super::embedded::{Embedded, Engine, EngineOptions};
use super::{EngineKind, Key, Row, StoreError};
use ::redb::{
    Builder, Database, Durability, Error, ReadOnlyTable, ReadableDatabase, TableDefinition,
};
use std::io;
use std::ops::Bound;
use std::path::Path;

/// The database's file.
pub(super) const FILE: &str = "store.redb";

/// Every row.
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// A store in a directory, with redb as its engine.
pub type RedbStore = Embedded<Redb>;

/// redb, open.
pub struct Redb {
    database: Closing,
}

/// The database; closing it may panic, after an earlier panic left its locks poisoned.
struct Closing(Option<Database>);

impl std::ops::Deref for Closing {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("it is taken out only to be closed")
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let database = self.0.take();
        let closed = guarded(|| {
            drop(database);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "the engine could not be closed in order");
        }
    }
}

impl Redb {
    fn rows(&self) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, StoreError> {
        let moment = self.database.begin_read().map_err(ours)?;
        moment.open_table(ROWS).map_err(ours)
    }
}

impl Engine for Redb {
    const KIND: EngineKind = EngineKind::Redb;

    fn make(directory: &Path, options: &EngineOptions) -> Result<(), StoreError> {
        let database = builder(options)
            .create(directory.join(FILE))
            .map_err(ours)?;
        let round = database.begin_write().map_err(ours)?;
        round.open_table(ROWS).map_err(ours)?;
        round.commit().map_err(ours)
    }

    fn open(directory: &Path, options: &EngineOptions) -> Result<Redb, StoreError> {
        let file = directory.join(FILE);
        show_the_disk(&file).map_err(refused)?;
        let database = match builder(options).open(&file).map_err(Error::from) {
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Damaged(format!("{FILE} is missing")));
            }
            opened => opened.map_err(ours)?,
        };
        let redb = Redb {
            database: Closing(Some(database)),
        };
        redb.rows()?;
        Ok(redb)
    }

    fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let rows = self.rows()?;
        read_all(keys, |key| {
            let value = rows.get(key.as_slice()).map_err(ours)?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }

    fn last(&self, low: &[u8], high: Bound<&[u8]>) -> Result<Option<Row>, StoreError> {
        let rows = self.rows()?;
        let range = (Bound::Included(low), high);
        let mut range = rows.range::<&[u8]>(range).map_err(ours)?;
        let row = range.next_back().transpose().map_err(ours)?;
        Ok(row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
    }

    fn first(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let rows = self.rows()?;
        rows.range(from..to)
            .map_err(ours)?
            .take(limit)
            .map(|row| {
                let (key, value) = row.map_err(ours)?;
                Ok((key.value().to_vec(), value.value().to_vec()))
            })
            .collect()
    }

    fn take_in<'a>(
        &self,
        rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), StoreError> {
        let mut write = self.database.begin_write().map_err(ours)?;
        write.set_durability(Durability::Immediate).map_err(ours)?;
        {
            let mut table = write.open_table(ROWS).map_err(ours)?;
            for (key, value) in rows {
                match value {
                    Some(value) => table.insert(key, value).map_err(ours)?,
                    None => table.remove(key).map_err(ours)?,
                };
            }
        }
        write.commit().map_err(ours)
    }
}

fn builder(options: &EngineOptions) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(usize::try_from(options.cache_bytes).unwrap_or(usize::MAX));
    builder.set_check_integrity_on_open(options.verify);
    builder
}

/// An error of the engine, as ours.
fn ours(error: impl Into<Error>) -> StoreError {
    match error.into() {
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => StoreError::Locked,
        // Its words for a file that is none of its own, or ends too early.
        Error::Io(e)
            if matches!(
                e.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::Damaged(e.to_string())
        }
        Error::Io(e) => refused(e),
        Error::PreviousIo => StoreError::Io("an earlier read or write failed".to_owned()),
        other => StoreError::Damaged(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
