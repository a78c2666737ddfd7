//! From one engine to the other: every row of a store that nobody serves, copied into a new store
//! and compared there. Rows are opaque; no key is needed.

use super::embedded::guarded::refused;
use super::embedded::opening::{is_vacant, lock, put_in_place};
use super::{
    CommitError, EngineKind, EngineOptions, HEAD_KEY, Limits, ROUND_KEY, Reader, RoundId, Row,
    Store, StoreError, StoredValue, WriteRefused, WriteSet, space,
};
use crate::keys::Sealed;
use crate::limits::SCAN_ROWS_MAX;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The engine it was copied from.
    pub from: EngineKind,
    /// Rows, the head and the last round's id among them.
    pub rows: u64,
    /// Bytes of keys and values together.
    pub bytes: u64,
    /// SHA-256 over every row in order: length of key u32 ‖ key ‖ length of value u32 ‖ value.
    pub digest: [u8; 32],
}

/// How far a copy is.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Looking at the source; so many rows were counted.
    Counted(u64),
    /// So many rows were written.
    Written(u64),
    /// So many rows were compared.
    Compared(u64),
}

/// Why a store was not copied. The source is as it was, and there is no store at the target.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// No engine's files lie in the source.
    #[error("there is no store in {0}")]
    NoSource(PathBuf),
    /// The source has no head: no vault was ever made in it, or it was lost.
    #[error("the store in {0} is empty: nothing to copy")]
    Empty(PathBuf),
    /// Something lies at the target.
    #[error("{0} is not empty: a store is copied into a new place only")]
    Exists(PathBuf),
    /// The source can't be opened or read.
    #[error("the source: {0}")]
    Source(StoreError),
    /// The target can't be made, written or read.
    #[error("the target: {0}")]
    Target(StoreError),
    /// A round of the target failed.
    #[error("the target can't be written: {0}")]
    Commit(CommitError),
    /// A row of the source is none that a vault writes.
    #[error("a row of the source was not written by a vault: {0}")]
    Row(&'static str),
    /// The copy does not read back as what was copied: the disk or an engine is at fault.
    #[error("the copy is not equal to its source: keep the source, and check the drive")]
    Differs,
}

/// Copies the store in `from` into a new one of `engine` in `to`, compares the two row by row, and
/// gives the copy its name last: until then it lies in `<to>.copy`, which the next try removes.
/// The rows that the source's engine keeps for itself are left out. `from` is locked meanwhile, and
/// opening it recovers it as opening always does.
///
/// # Errors
/// See [`CopyError`]; [`StoreError::Locked`] in it when a vault runs on the source or another copy
/// is being made.
pub fn copy(
    from: &Path,
    to: &Path,
    engine: EngineKind,
    mut progress: impl FnMut(Step),
) -> Result<Copied, CopyError> {
    let found = EngineKind::found_in(from).ok_or_else(|| CopyError::NoSource(from.into()))?;
    if !is_vacant(to).map_err(CopyError::Target)? {
        return Err(CopyError::Exists(to.into()));
    }
    let verify = EngineOptions {
        verify: true,
        ..EngineOptions::default()
    };
    let source = found.open(from, verify).map_err(CopyError::Source)?;
    if source.is_empty().map_err(CopyError::Source)? {
        return Err(CopyError::Empty(from.into()));
    }
    let rows = walk(source.as_ref(), CopyError::Source, |seen| {
        progress(Step::Counted(seen))
    })?;

    let mut aside = to.as_os_str().to_owned();
    aside.push(".copy");
    let aside = PathBuf::from(aside);
    remove(&aside).map_err(CopyError::Target)?;
    let open = || engine.open(&aside, EngineOptions::default());
    let mut target = open().map_err(CopyError::Target)?;
    write(source.as_ref(), target.as_mut(), &mut progress)?;
    // Compared as a later process will find it, not as this one remembers it.
    drop(target);
    let target = open().map_err(CopyError::Target)?;
    let copied = walk(target.as_ref(), CopyError::Target, |seen| {
        progress(Step::Compared(seen))
    })?;
    let head = |store: &dyn Store| store.reader().get_many(&[HEAD_KEY.to_vec()]);
    let heads_equal = head(source.as_ref()).map_err(CopyError::Source)?
        == head(target.as_ref()).map_err(CopyError::Target)?;
    drop(target);
    if copied != rows || !heads_equal {
        return Err(CopyError::Differs);
    }
    put_in_place(&aside, to).map_err(CopyError::Target)?;
    Ok(Copied {
        from: found,
        rows: rows.rows,
        bytes: rows.bytes,
        digest: rows.digest,
    })
}

/// Removes what an earlier try left, unless a process is still at it.
fn remove(aside: &Path) -> Result<(), StoreError> {
    if !aside.exists() {
        return Ok(());
    }
    let _lock = lock(aside)?;
    fs::remove_dir_all(aside).map_err(refused)
}

/// What a walk over all rows gives.
#[derive(PartialEq, Eq)]
struct Sum {
    rows: u64,
    bytes: u64,
    digest: [u8; 32],
}

fn walk(
    store: &dyn Store,
    unread: fn(StoreError) -> CopyError,
    mut seen: impl FnMut(u64),
) -> Result<Sum, CopyError> {
    let reader = store.reader();
    let (mut rows, mut bytes, mut hash) = (0, 0, Sha256::new());
    each_page(reader.as_ref(), unread, |page| {
        for (key, value) in &page {
            for part in [key, value] {
                // Far below 4 GiB: rounds bound both.
                hash.update((part.len() as u32).to_be_bytes());
                hash.update(part);
                bytes += part.len() as u64;
            }
            rows += 1;
        }
        seen(rows);
        Ok(())
    })?;
    Ok(Sum {
        rows,
        bytes,
        digest: hash.finalize().into(),
    })
}

/// Writes the source's rows, with the id of its last round as each round's: the copy answers as the
/// source does when it is asked what became of that round.
fn write(
    source: &dyn Store,
    target: &mut dyn Store,
    progress: &mut impl FnMut(Step),
) -> Result<(), CopyError> {
    let reader = source.reader();
    let id = reader
        .get_many(&[ROUND_KEY.to_vec()])
        .map_err(CopyError::Source)?
        .pop()
        .flatten()
        .and_then(|id| id.try_into().ok())
        .map(RoundId)
        .ok_or(CopyError::Row("there is no id of a last round"))?;
    let (mut writes, mut written) = (WriteSet::new(), 0);
    each_page(reader.as_ref(), CopyError::Source, |page| {
        for (key, value) in page {
            if key == ROUND_KEY {
                continue;
            }
            let row_bytes = key.len() + value.len();
            if writes.len() == Limits::EMBEDDED.rows_max
                || writes.bytes() + row_bytes > Limits::EMBEDDED.bytes_max
            {
                commit(target, id, &std::mem::take(&mut writes))?;
            }
            let value = match key.first() {
                Some(&(space::ENTRIES | space::TILES)) => StoredValue::Public(value),
                _ => StoredValue::Sealed(
                    Sealed::from_stored(value)
                        .map_err(|_| CopyError::Row("a value is not sealed"))?,
                ),
            };
            writes.put(key, value).map_err(unwritable)?;
            written += 1;
        }
        progress(Step::Written(written));
        Ok(())
    })?;
    commit(target, id, &writes)
}

fn unwritable(refused: WriteRefused) -> CopyError {
    CopyError::Row(match refused {
        WriteRefused::UnknownSpace => "its key lies in no known space",
        WriteRefused::KeyTooLong => "its key is too long",
        WriteRefused::ValueTooLong => "its value is too long",
        WriteRefused::NotSealed => "its value is not sealed",
    })
}

fn commit(target: &mut dyn Store, id: RoundId, writes: &WriteSet) -> Result<(), CopyError> {
    let round = target.begin().map_err(CopyError::Target)?;
    round.commit(id, writes).map_err(CopyError::Commit)
}

/// Every row but the ones that an engine keeps for itself, in order.
fn each_page(
    reader: &dyn Reader,
    unread: fn(StoreError) -> CopyError,
    mut page: impl FnMut(Vec<Row>) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let mut from = Vec::new();
    loop {
        // Keys are far shorter than this bound, so it lies above all of them.
        let mut rows = reader
            .scan(&from, &[0xff; 256], SCAN_ROWS_MAX)
            .map_err(unread)?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        let full = rows.len() == SCAN_ROWS_MAX;
        from = [last.as_slice(), &[0]].concat();
        rows.retain(|(key, _)| key.first() != Some(&space::STORE) || key == ROUND_KEY);
        page(rows)?;
        if !full {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// A store of `engine` with more rows than one scan or one round holds.
    fn filled(path: &Path, engine: EngineKind) {
        let mut store = engine.open(path, EngineOptions::default()).unwrap();
        let mut writes = WriteSet::new();
        writes
            .put(HEAD_KEY.to_vec(), conformance::sealed(1))
            .unwrap();
        for n in 0..6_000u32 {
            let key = [b"E".as_slice(), &n.to_be_bytes()].concat();
            let value = vec![n as u8; 1 + n as usize % 1_900];
            writes.put(key, StoredValue::Public(value)).unwrap();
            writes
                .put(
                    [b"X".as_slice(), &n.to_be_bytes()].concat(),
                    conformance::sealed(n as u8),
                )
                .unwrap();
            if writes.len() > 1_000 {
                let round = store.begin().unwrap();
                let done = std::mem::take(&mut writes);
                round.commit(RoundId([7; 16]), &done).unwrap();
            }
        }
        let round = store.begin().unwrap();
        round.commit(RoundId([9; 16]), &writes).unwrap();
    }

    fn rows(path: &Path, engine: EngineKind) -> Vec<Row> {
        let store = engine.open(path, EngineOptions::default()).unwrap();
        let mut all = Vec::new();
        each_page(store.reader().as_ref(), CopyError::Source, |page| {
            all.extend(page);
            Ok(())
        })
        .unwrap();
        all
    }

    #[test]
    fn there_and_back_again_every_row_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        filled(&at("a"), EngineKind::Sled);
        let mut steps = [0; 3];
        let there = copy(&at("a"), &at("b"), EngineKind::Redb, |step| match step {
            Step::Counted(rows) => steps[0] = rows,
            Step::Written(rows) => steps[1] = rows,
            Step::Compared(rows) => steps[2] = rows,
        })
        .unwrap();
        assert_eq!(there.rows, 12_002);
        assert_eq!(steps, [12_002, 12_001, 12_002]);
        let back = copy(&at("b"), &at("c"), EngineKind::Sled, |_| {}).unwrap();
        assert_eq!(
            (there.from, back.from),
            (EngineKind::Sled, EngineKind::Redb)
        );
        assert_eq!((there.rows, there.bytes), (back.rows, back.bytes));
        assert_eq!(there.digest, back.digest);
        let same = copy(&at("c"), &at("d"), EngineKind::Sled, |_| {}).unwrap();
        assert_eq!(same.digest, back.digest);
        let first = rows(&at("a"), EngineKind::Sled);
        assert_eq!(first, rows(&at("b"), EngineKind::Redb));
        assert_eq!(first, rows(&at("c"), EngineKind::Sled));
        assert_eq!(names(dir.path()), ["a", "b", "c", "d"]);
        let mut store = EngineKind::Redb
            .open(&at("b"), EngineOptions::default())
            .unwrap();
        let settled = store.settle(RoundId([9; 16]));
        assert_eq!(settled, Ok(super::super::Settled::Committed));
    }

    #[test]
    fn a_store_in_use_a_full_target_and_no_source_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let copy = |from: &str, to: &str| copy(&at(from), &at(to), EngineKind::Redb, |_| {});
        assert!(matches!(copy("a", "b"), Err(CopyError::NoSource(_))));
        let options = EngineOptions::default;
        let serving = EngineKind::Sled.open(&at("a"), options()).unwrap();
        assert!(matches!(
            copy("a", "b"),
            Err(CopyError::Source(StoreError::Locked))
        ));
        drop(serving);
        assert!(matches!(copy("a", "b"), Err(CopyError::Empty(_))));
        fs::remove_dir_all(at("a")).unwrap();
        filled(&at("a"), EngineKind::Sled);
        fs::create_dir(at("b")).unwrap();
        fs::write(at("b").join("note"), b"mine").unwrap();
        assert!(matches!(copy("a", "b"), Err(CopyError::Exists(_))));
        assert!(matches!(copy("a", "a"), Err(CopyError::Exists(_))));
        assert_eq!(names(dir.path()), ["a", "b"]);
        assert_eq!(names(&at("b")), ["note"]);
    }

    #[test]
    fn an_interrupted_copy_leaves_no_store_and_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        filled(&at("a"), EngineKind::Sled);
        let stopped = std::panic::catch_unwind(|| {
            copy(&at("a"), &at("b"), EngineKind::Redb, |step| {
                if matches!(step, Step::Compared(_)) {
                    panic!("stopped here");
                }
            })
        });
        assert!(stopped.is_err());
        assert!(!at("b").exists());
        assert_eq!(names(dir.path()), ["a", "b.copy"]);
        // Somebody is still at it.
        let busy = lock(&at("b.copy")).unwrap();
        let refused = copy(&at("a"), &at("b"), EngineKind::Redb, |_| {});
        assert!(matches!(
            refused,
            Err(CopyError::Target(StoreError::Locked))
        ));
        drop(busy);
        copy(&at("a"), &at("b"), EngineKind::Redb, |_| {}).unwrap();
        assert_eq!(names(dir.path()), ["a", "b"]);
    }

    #[test]
    fn a_row_that_no_vault_writes_is_not_copied() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        filled(&at("a"), EngineKind::Sled);
        let engine = ::sled::open(at("a")).unwrap();
        engine.insert(b"X1s", b"in clear").unwrap();
        engine.flush().unwrap();
        drop(engine);
        let refused = copy(&at("a"), &at("b"), EngineKind::Redb, |_| {});
        assert!(matches!(refused, Err(CopyError::Row(_))), "{refused:?}");
        assert!(!at("b").exists());
    }
}
