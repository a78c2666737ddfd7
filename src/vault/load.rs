//! Reading the vault's state back from its store: at opening, and after the store was reopened.

use super::head::Head;
use super::hold::Hold;
use super::redo::{self, After};
use super::registry::{Pending, Registry};
use super::rows::{Row, page_key, tile_key};
use crate::codec::Malformed;
use crate::ids::{ActionId, HoldId, PrincipalId, Site};
use crate::keys::{Keyring, Sealed};
use crate::ledger::{LedgerError, Page, TileSource, Tree};
use crate::policy::{Allowance, AllowanceKey, Principal};
use crate::secret::SecretBuffer;
use crate::store::{ROUND_KEY, Reader, RoundId, Store, StoreError, StoredValue, WriteSet, space};

/// Rows of one scan.
const SCAN_ROWS: usize = 512;

/// What the store holds.
pub struct Loaded {
    /// The head.
    pub head: Head,
    /// The tree, its right edge rebuilt and its root checked.
    pub tree: Tree,
    /// Who is enrolled.
    pub registry: Registry,
}

/// Why the store's content can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no head row: the database is empty.
    #[error("the database is empty")]
    Empty,
    /// The engine failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row does not open or is not what it should be.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// Which row.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The tree does not hash to what the head says.
    #[error("the ledger's tree does not match its head: {0}")]
    Tree(LedgerError),
}

impl LoadError {
    pub(super) fn damaged(what: &'static str, why: impl ToString) -> LoadError {
        LoadError::Damaged {
            what,
            why: why.to_string(),
        }
    }
}

/// Half tiles of an epoch, out of the store.
pub struct Tiles<'a>(pub &'a dyn Reader, pub u32);

impl TileSource for Tiles<'_> {
    fn half(&self, level: u8, tile: u64, half: u8) -> Result<Option<Vec<u8>>, LedgerError> {
        let rows = self
            .0
            .get_many(&[tile_key(self.1, level, tile, half)])
            .map_err(|error| LedgerError::Source(error.to_string()))?;
        Ok(rows.into_iter().next().flatten())
    }
}

/// Reads head, tree and registry.
///
/// # Errors
/// [`LoadError`]; nothing is served then.
pub fn load(reader: &dyn Reader, ring: &Keyring) -> Result<Loaded, LoadError> {
    let head = read_head(reader, ring)?;
    let recent = leaves(reader, head.epoch, Tree::recent_from(head.size), head.size)?;
    let tiles = Tiles(reader, head.epoch);
    let tree =
        Tree::load(head.size, head.peaks.clone(), &tiles, &recent).map_err(LoadError::Tree)?;
    if tree.root() != head.root {
        return Err(LoadError::Tree(LedgerError::Diverged { size: head.size }));
    }
    let registry = read_registry(reader, ring)?;
    // A row that was put back, or taken away, opens as well as the others.
    if registry.digest() != head.registry {
        return Err(LoadError::damaged(
            "the register of principals, allowances and pending actions",
            "it is not the one that the last round left: a row was put back, added or taken away",
        ));
    }
    Ok(Loaded {
        head,
        tree,
        registry,
    })
}

/// Reads the head alone.
///
/// # Errors
/// [`LoadError::Empty`] when there is none; `Damaged` when it is not what was stored.
pub fn read_head(reader: &dyn Reader, ring: &Keyring) -> Result<Head, LoadError> {
    let keys = [Row::head([0; 16]).key, ROUND_KEY.to_vec()];
    let mut rows = reader.get_many(&keys)?.into_iter();
    let (head, round) = (rows.next().flatten(), rows.next().flatten());
    let bytes = head.ok_or(LoadError::Empty)?;
    let round_id = round
        .and_then(|id| <[u8; 16]>::try_from(id).ok())
        .ok_or(LoadError::damaged("the head", "its round id is missing"))?;
    let plaintext = open(ring, &Row::head(round_id), bytes, "the head")?;
    let head = Head::decode(&plaintext).map_err(|e| LoadError::damaged("the head", e))?;
    if head.round_id != round_id {
        return Err(LoadError::damaged(
            "the head",
            "it belongs to another round",
        ));
    }
    Ok(head)
}

/// Leaf hashes of `from..to`, from pages.
pub(super) fn leaves(
    reader: &dyn Reader,
    epoch: u32,
    from: u64,
    to: u64,
) -> Result<Vec<[u8; 32]>, LoadError> {
    let mut hashes = Vec::new();
    let mut next = from;
    while next < to {
        let row = page_of(reader, epoch, next)?;
        let page = Page::parse(&row).map_err(|e| LoadError::damaged("a page", e))?;
        let before = next;
        while let Some(entry) = page.entry(next).filter(|_| next < to) {
            hashes.push(entry.leaf);
            next += 1;
        }
        if next == before {
            return Err(LoadError::damaged("a page", "an entry is missing"));
        }
    }
    Ok(hashes)
}

/// The page in which entry `index` lies.
///
/// # Errors
/// When the store fails or has no such page.
pub fn page_of(reader: &dyn Reader, epoch: u32, index: u64) -> Result<Vec<u8>, LoadError> {
    let wanted = page_key(epoch, index);
    let row = reader.floor(space::ENTRIES, &wanted[1..])?;
    let (_, bytes) = row
        .filter(|(key, _)| key[..5] == wanted[..5])
        .ok_or(LoadError::damaged("the ledger", "a page is missing"))?;
    Ok(bytes)
}

fn read_registry(reader: &dyn Reader, ring: &Keyring) -> Result<Registry, LoadError> {
    let mut registry = Registry::default();
    scan(reader, space::PRINCIPALS, |key, value| {
        let id = PrincipalId(tail(key)?);
        let plaintext = open(ring, &Row::principal(id), value, "a principal")?;
        let principal =
            Principal::decode(&plaintext).map_err(|e| LoadError::damaged("a principal", e))?;
        registry.put(principal);
        Ok(())
    })?;
    scan(reader, space::ALLOWANCES, |key, value| {
        let of = allowance_key(key).map_err(|e| LoadError::damaged("an allowance", e))?;
        let plaintext = open(ring, &Row::allowance(&of), value, "an allowance")?;
        let allowance =
            Allowance::decode(&plaintext).map_err(|e| LoadError::damaged("an allowance", e))?;
        registry.allow(of, Some(allowance));
        Ok(())
    })?;
    scan(reader, space::ACTIONS, |key, value| {
        let id = ActionId(tail(key)?);
        let plaintext = open(ring, &Row::pending(id), value, "a pending action")?;
        let pending =
            Pending::decode(&plaintext).map_err(|e| LoadError::damaged("a pending action", e))?;
        registry.defer(id, pending);
        Ok(())
    })?;
    scan(reader, space::HOLDS, |key, value| {
        let id = HoldId(tail(key)?);
        let plaintext = open(ring, &Row::hold(id), value, "a hold")?;
        let hold = Hold::decode(&plaintext).map_err(|e| LoadError::damaged("a hold", e))?;
        registry.place(id, hold);
        Ok(())
    })?;
    Ok(registry)
}

fn allowance_key(key: &[u8]) -> Result<AllowanceKey, Malformed> {
    let mut r = crate::codec::Reader::new(key);
    r.u8()?;
    let of = AllowanceKey {
        site: Site::from_bytes(r.array()?)?,
        portal: PrincipalId(r.array()?),
        processor: PrincipalId(r.array()?),
    };
    r.end()?;
    Ok(of)
}

fn tail(key: &[u8]) -> Result<[u8; 16], LoadError> {
    key.get(1..)
        .and_then(|rest| rest.try_into().ok())
        .ok_or(LoadError::damaged("a key", "wrong length"))
}

pub(super) fn open(
    ring: &Keyring,
    row: &Row,
    value: Vec<u8>,
    what: &'static str,
) -> Result<SecretBuffer, LoadError> {
    Sealed::from_stored(value)
        .and_then(|sealed| ring.open(&row.place(), &sealed))
        .map_err(|e| LoadError::damaged(what, e))
}

/// Goes through the rows of a space.
pub(super) fn scan(
    reader: &dyn Reader,
    space: u8,
    mut each: impl FnMut(&[u8], Vec<u8>) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let mut from = vec![space];
    let to = vec![space + 1];
    loop {
        let rows = reader.scan(&from, &to, SCAN_ROWS)?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        from.clone_from(last);
        from.push(0);
        for (key, value) in rows {
            each(&key, value)?;
        }
    }
}

/// Rows of the last round that are not what its redo record says: it was torn, or one was put back.
/// Each comes with what it should be.
///
/// # Errors
/// When the record can't be read.
pub(super) fn torn_rows(
    reader: &dyn Reader,
    ring: &Keyring,
    head: &Head,
) -> Result<Vec<redo::Image>, LoadError> {
    let damaged = |e: Malformed| LoadError::damaged("the redo record", e);
    // Every round writes at least one part, so none, or another round's, is damage too.
    let first = redo_part(reader, ring, head.round, 0)?
        .ok_or(LoadError::damaged("the redo record", "it is missing"))?;
    let count = redo::parts(&head.round_id, &first)
        .map_err(damaged)?
        .ok_or(LoadError::damaged(
            "the redo record",
            "it is another round's",
        ))?;
    let mut parts = vec![first];
    for part in 1..count {
        let next = redo_part(reader, ring, head.round, part)?
            .ok_or(LoadError::damaged("the redo record", "a part is missing"))?;
        parts.push(next);
    }
    let images = redo::decode(&head.round_id, &parts).map_err(damaged)?;
    let keys: Vec<Vec<u8>> = images.iter().map(|(key, _)| key.clone()).collect();
    let rows = reader.get_many(&keys)?;
    Ok(images
        .into_iter()
        .zip(rows)
        .filter(|((_, after), row)| !after.is(row.as_deref()))
        .map(|(image, _)| image)
        .collect())
}

/// Sees that the last round is whole. Where its redo record holds whole rows, those that are not what
/// it says are written again. Returns how many there were. Comes before anything else is read, since
/// what was torn may be what is read.
///
/// # Errors
/// When the record can't be read, a row that it only names is another one, or the rows can't be
/// written.
pub fn make_whole(
    store: &mut dyn Store,
    reader: &dyn Reader,
    ring: &Keyring,
    head: &Head,
) -> Result<usize, LoadError> {
    let torn = torn_rows(reader, ring, head)?;
    let rows = torn.len();
    if rows > 0 {
        tracing::error!(alarm = "torn", rows, "the last round was torn; repaired");
        repair(store, RoundId(head.round_id), torn)?;
    }
    Ok(rows)
}

/// Writes the rows of a torn round again, from its redo record. `id` is that round's own: the
/// head is bound to it.
///
/// # Errors
/// When they can't be written.
fn repair(store: &mut dyn Store, id: RoundId, images: Vec<redo::Image>) -> Result<(), LoadError> {
    let failed = |why: &dyn std::fmt::Display| LoadError::damaged("the last round", why);
    let mut writes = WriteSet::new();
    for (key, after) in images {
        match after {
            After::Named(_) => return Err(failed(&"a row is not the one that it left")),
            After::Whole(value) => {
                let sealed = Sealed::from_stored(value).map_err(|e| failed(&e))?;
                writes
                    .put(key, StoredValue::Sealed(sealed))
                    .map_err(|e| failed(&e))?;
            }
            After::Deleted => writes.delete(key).map_err(|e| failed(&e))?,
        }
    }
    let round = store.begin()?;
    round.commit(id, &writes).map_err(|e| failed(&e))
}

fn redo_part(
    reader: &dyn Reader,
    ring: &Keyring,
    round: u64,
    part: u16,
) -> Result<Option<SecretBuffer>, LoadError> {
    let row = Row::redo(round, part);
    let value = reader.get_many(std::slice::from_ref(&row.key))?;
    match value.into_iter().next().flatten() {
        None => Ok(None),
        Some(value) => open(ring, &row, value, "the redo record").map(Some),
    }
}
