//! The whole ledger held against the whole store, offline: every entry opens and hashes to its
//! leaf, the leaves to the root, and every transaction's row is the one that its last entry left.
//!
//! The last part is what opening and daily use can't see: a row that somebody put back to an older
//! version is sealed rightly, and only a later entry tells.

use super::batch::open_row;
use super::epochs::{ClosedEpoch, closed_epochs};
use super::head::Head;
use super::load::{LoadError, Loaded, Tiles, load, page_of};
use super::open::{House, OpenError};
use super::proofs::{Content, open_entry};
use crate::clock::Timestamp;
use crate::ids::TransactionId;
use crate::keys::{KeyName, Keyring, RootKey, SealFile};
use crate::ledger::{Event, Frontier, Hash, Leaf, Opened, Outcome, Page, Recorded};
use crate::store::{Mark, MarkFile, Reader, space};
use std::collections::HashMap;

/// Findings that are listed; past that only their number counts.
const FINDINGS_MAX: usize = 1_000;
/// Rows of one scan.
const SCAN_ROWS: usize = 512;

/// What was looked at, and what is wrong.
#[derive(Debug, Default)]
pub struct Checked {
    /// Entries that open and hash to their leaf.
    pub entries: u64,
    /// Entries whose key was destroyed; their leaf was held against the root.
    pub erased: u64,
    /// Transactions whose row is the one that their last entry left.
    pub transactions: u64,
    /// What is wrong, one sentence each.
    pub findings: Vec<String>,
    /// How many findings there are, listed or not.
    pub findings_count: u64,
}

impl Checked {
    fn find(&mut self, what: String) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }
}

/// Where a transaction was changed last, and under which bucket it lies.
struct Changed {
    index: u64,
    leaf: Hash,
    bucket: Option<KeyName>,
}

type Last = HashMap<TransactionId, Changed>;

/// Checks a vault that nobody serves, and changes no key file. Memory grows with the number of live
/// transactions.
///
/// # Errors
/// When the store or the keys can't be opened at all; everything else is a finding.
pub fn check(house: &House, root: &RootKey) -> Result<Checked, OpenError> {
    let vault = SealFile::read(&house.keys_dir)?.vault();
    // The store's lock first, and a look only: a loading ends a destruction that was cut short, and
    // one that a serving vault is in the middle of looks just like it.
    let store = house.open_store(true)?;
    let ring = Keyring::look(&house.keys_dir, vault, root)?;
    let reader = store.reader();
    let loaded = load(reader.as_ref(), &ring)?;
    let mut checked = walk(reader.as_ref(), &ring, &loaded.head)?;
    let marks = MarkFile::open(&house.mark_dir)?;
    check_mark(reader.as_ref(), &ring, &loaded, marks.read(), &mut checked)?;
    Ok(checked)
}

/// Holds the store against the high-water mark, as opening does: what is sound in itself may still
/// be an older copy.
fn check_mark(
    reader: &dyn Reader,
    ring: &Keyring,
    loaded: &Loaded,
    mark: Option<&Mark>,
    checked: &mut Checked,
) -> Result<(), LoadError> {
    let head = &loaded.head;
    let Some(mark) = mark else {
        checked.find("there is no high-water mark: the vault will refuse to start".to_owned());
        return Ok(());
    };
    if mark.vault != ring.vault() || mark.epoch != head.epoch {
        checked.find("the high-water mark belongs to another vault or epoch".to_owned());
    } else if head.size < mark.size {
        checked.find(format!(
            "the database ends at {} entries, but {} were published: it is an older copy",
            head.size, mark.size
        ));
    } else {
        let tiles = Tiles(reader, head.epoch);
        let root = loaded
            .tree
            .root_at(mark.size, &tiles)
            .map_err(LoadError::Tree)?;
        if root != mark.root {
            checked.find("the ledger is not the one that was published".to_owned());
        }
    }
    if ring.generation() < mark.keyring_generation.max(head.keyring_generation) {
        checked.find("the keyring is older than the one that was in use".to_owned());
    }
    Ok(())
}

/// [`check`] over a store and keyring of the caller's.
///
/// # Errors
/// As [`check`].
pub fn check_in(reader: &dyn Reader, ring: &Keyring) -> Result<Checked, LoadError> {
    walk(reader, ring, &load(reader, ring)?.head)
}

pub(super) fn walk(reader: &dyn Reader, ring: &Keyring, head: &Head) -> Result<Checked, LoadError> {
    let mut checked = Checked::default();
    let mut last = Last::new();
    let closed = closed_epochs(reader, ring)?;
    // Transactions outlive the epoch that they were opened in.
    for epoch in &closed {
        let span = Span::of_closed(epoch);
        walk_entries(reader, ring, &span, &closed, &mut last, &mut checked)?;
    }
    let span = Span {
        epoch: head.epoch,
        size: head.size,
        root: head.root,
    };
    walk_entries(reader, ring, &span, &closed, &mut last, &mut checked)?;
    walk_rows(reader, ring, last, &mut checked)?;
    Ok(checked)
}

/// The ledger of one epoch.
struct Span {
    epoch: u32,
    size: u64,
    root: Hash,
}

impl Span {
    fn of_closed(closed: &ClosedEpoch) -> Span {
        Span {
            epoch: closed.epoch,
            size: closed.size,
            root: closed.root,
        }
    }
}

/// Whether the epoch that a first entry names is kept as it ended.
fn check_closed(entry: &Recorded<'_>, closed: &[ClosedEpoch], checked: &mut Checked) {
    let kept = closed.iter().any(|old| {
        entry.detail("old_epoch") == Some(old.epoch.to_string().as_str())
            && entry.detail("old_size") == Some(old.size.to_string().as_str())
            && entry.detail("old_root") == Some(crate::ledger::to_base64(&old.root).as_str())
    });
    if !kept {
        checked.find(format!(
            "epoch {} begins with an entry that names an earlier one, which is not kept as it ended",
            entry.epoch
        ));
    }
}

fn walk_entries(
    reader: &dyn Reader,
    ring: &Keyring,
    head: &Span,
    closed: &[ClosedEpoch],
    last: &mut Last,
    checked: &mut Checked,
) -> Result<(), LoadError> {
    let mut frontier = Frontier::empty();
    let mut next = 0;
    while next < head.size {
        let row = page_of(reader, head.epoch, next)?;
        let page = Page::parse(&row).map_err(|e| LoadError::Damaged {
            what: "a page",
            why: e.to_string(),
        })?;
        let before = next;
        while let Some(stored) = page.entry(next).filter(|_| next < head.size) {
            frontier.push(stored.leaf);
            match open_entry(ring, head.epoch, stored) {
                Ok(Content::Open(read)) => {
                    let opened = Opened::parse(&read.content).ok();
                    let entry = opened.as_ref().and_then(|o| Recorded::parse(o.json).ok());
                    match (opened, entry) {
                        (Some(opened), Some(entry)) => {
                            let leaf = Leaf::of(
                                entry.epoch,
                                &read.bucket,
                                entry.site,
                                entry.event,
                                opened.json,
                                opened.seed,
                            );
                            if leaf.hash != stored.leaf || entry.index != next {
                                checked.find(format!("entry {next} is not what its leaf says"));
                            }
                            checked.entries += 1;
                            if entry.event == Event::EpochOpened {
                                check_closed(&entry, closed, checked);
                            }
                            if let Some(id) = entry.transaction.filter(|_| is_change(&entry)) {
                                note_change(id, &entry, stored.leaf, last, checked);
                            }
                        }
                        _ => checked.find(format!("entry {next} is malformed")),
                    }
                }
                Ok(Content::Erased(_)) => checked.erased += 1,
                Err(_) => checked.find(format!("entry {next} does not open")),
            }
            next += 1;
        }
        if next == before {
            return Err(LoadError::Damaged {
                what: "a page",
                why: format!("entry {next} is missing"),
            });
        }
    }
    if frontier.root() != head.root {
        checked.find(format!(
            "the entries' leaves of epoch {} do not hash to its root",
            head.epoch
        ));
    }
    Ok(())
}

/// Notes a change. Each names the one before it: where it names an earlier one, the row had been
/// put back before it was used.
fn note_change(
    id: TransactionId,
    entry: &Recorded<'_>,
    leaf: Hash,
    last: &mut Last,
    checked: &mut Checked,
) {
    let before = last.get(&id);
    if entry.prev != before.map(|b| b.index) {
        checked.find(format!(
            "{id}: entry {} does not follow its last change: the row had been put back",
            entry.index
        ));
    }
    let bucket = match entry.event {
        Event::TransactionOpened => entry
            .detail("release_until")
            .and_then(Timestamp::parse)
            .map(|until| KeyName::Release {
                site: entry.site,
                day: until.day(),
            }),
        _ => before.and_then(|b| b.bucket),
    };
    let changed = Changed {
        index: entry.index,
        leaf,
        bucket,
    };
    last.insert(id, changed);
}

/// Whether an entry goes with a write of its transaction's row.
fn is_change(entry: &Recorded<'_>) -> bool {
    entry.outcome == Outcome::Ok
        && matches!(
            entry.event,
            Event::TransactionOpened
                | Event::Tokenized
                | Event::Redeemed
                | Event::OutcomeReported
                | Event::TokenRevoked
                | Event::TransactionClosed
                | Event::ErasureRequested
        )
}

fn walk_rows(
    reader: &dyn Reader,
    ring: &Keyring,
    mut last: Last,
    checked: &mut Checked,
) -> Result<(), LoadError> {
    let mut from = vec![space::TRANSACTIONS];
    let to = [space::TRANSACTIONS + 1];
    loop {
        let rows = reader.scan(&from, &to, SCAN_ROWS)?;
        let Some((end, _)) = rows.last() else { break };
        from.clone_from(end);
        from.push(0);
        for (key, value) in rows {
            let id = key.get(1..17).and_then(|id| id.try_into().ok());
            let Some(id) = id.map(TransactionId) else {
                checked.find("a transaction's key is malformed".to_owned());
                continue;
            };
            let known = last.remove(&id);
            match open_row(ring, id, value) {
                Ok(Some(state)) => match known {
                    Some(known)
                        if known.index == state.last_entry && known.leaf == state.last_leaf =>
                    {
                        checked.transactions += 1;
                    }
                    Some(known) => checked.find(format!(
                        "{id}: the row is as of entry {}, but entry {} changed it later: it was put back",
                        state.last_entry, known.index
                    )),
                    // Its entries may be erased; its row must go with its own bucket.
                    None => checked.transactions += 1,
                },
                Ok(None) => {}
                Err(what) => checked.find(format!("{id}: {what}")),
            }
        }
    }
    // A transaction without a row: taken away, unless its bucket was destroyed and it was swept.
    let destroyed = |name: KeyName| ring.is_gone(&name);
    for (id, known) in last {
        if !known.bucket.is_some_and(destroyed) {
            checked.find(format!(
                "{id}: entry {} speaks of it, but its row is gone",
                known.index
            ));
        }
    }
    Ok(())
}
