//! Looking at everything that is stored: every entry against its leaf, the leaves against the
//! root, and every transaction's row against the ledger, so that a row that was put back to an
//! older version, or taken away, is found. What the tags can't tell, since an older row is a
//! genuine one, its last entry tells.

use super::Vault;
use super::batch::open_row;
use super::load::{LoadError, page_of, scan};
use super::rows::{Row, transaction_key};
use super::state::TransactionState;
use crate::clock::Timestamp;
use crate::ids::TransactionId;
use crate::keys::{KeyName, KeyState, Keyring};
use crate::ledger::{Event, Leaf, Opened, Outcome, Page, PageEntry, Recorded, Tree};
use crate::store::{Reader, space};
use std::collections::HashMap;

/// What was looked at, and what was found.
pub struct Checked {
    /// Entries of the ledger.
    pub entries: u64,
    /// Transactions.
    pub transactions: u64,
    /// What is not as it should be; empty when all is well.
    pub findings: Vec<Finding>,
}

/// Something stored that is not what was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// An entry does not open, or is not the one that its leaf stands for.
    Entry(u64),
    /// The entries do not hash to the head's root.
    Root,
    /// A transaction's row does not open.
    Broken(TransactionId),
    /// A transaction's row is an older version: the ledger knows a later change.
    RolledBack(TransactionId),
    /// A transaction's row names an entry that is not its last change.
    Unfounded(TransactionId),
    /// A transaction's row is missing, though its key is not destroyed.
    Missing(TransactionId),
}

/// The last change of a transaction that the ledger knows.
#[derive(Clone, Copy)]
struct Change {
    index: u64,
    leaf: [u8; 32],
    release: Option<KeyName>,
}

impl Vault {
    /// Checks everything. The vault goes on meanwhile. Takes a time in proportion to the ledger,
    /// and memory in proportion to the transactions.
    ///
    /// # Errors
    /// When the store can't be read, or a page of the ledger is missing or malformed.
    pub fn check(&self) -> Result<Checked, LoadError> {
        let reader = self.reader.as_ref();
        let mut rows = HashMap::new();
        scan(reader, space::TRANSACTIONS, |key, _| {
            let id = key.get(1..17).and_then(|id| id.try_into().ok());
            if let Some(id) = id.map(TransactionId) {
                rows.insert(id, ());
            }
            Ok(())
        })?;
        // The head after the rows: what a row names is in the ledger that is read.
        let head = self.head();
        let mut findings = Vec::new();
        let mut changes: HashMap<TransactionId, Change> = HashMap::new();
        let tree = Tree::empty();
        let mut staged = tree.stage();
        let mut next = 0;
        while next < head.size {
            let bytes = page_of(reader, next)?;
            let page = Page::parse(&bytes).map_err(|e| LoadError::damaged("a page", e))?;
            let from = next;
            for entry in &page.entries {
                if entry.index < from || entry.index >= head.size {
                    continue;
                }
                staged.append(entry.leaf);
                next = entry.index + 1;
                if !self.note_change(entry, &mut changes) {
                    findings.push(Finding::Entry(entry.index));
                }
            }
            if next == from {
                return Err(LoadError::damaged("a page", "an entry is missing"));
            }
        }
        if staged.root() != head.root {
            findings.push(Finding::Root);
        }
        for (id, change) in &changes {
            rows.remove(id);
            findings.extend(self.check_row(reader, *id, change)?);
        }
        // Rows of which the ledger knows nothing: made up, or copied from another transaction.
        for id in rows.keys() {
            let made_meanwhile = self.head().size > head.size;
            if !made_meanwhile {
                findings.push(Finding::Unfounded(*id));
            }
        }
        Ok(Checked {
            entries: head.size,
            transactions: changes.len() as u64,
            findings,
        })
    }

    /// Checks an entry, and remembers it when it changed a transaction.
    fn note_change(
        &self,
        entry: &PageEntry<'_>,
        changes: &mut HashMap<TransactionId, Change>,
    ) -> bool {
        let ring = self.ring();
        let Ok(sealed) = crate::keys::Sealed::from_stored(entry.sealed.to_vec()) else {
            return false;
        };
        let site = match ring.key(sealed.key_id()).map(|key| key.name()) {
            Ok(KeyName::Log { site, .. }) => site,
            // Erased: its leaf stays, and says nothing.
            Err(crate::keys::KeyError::Destroyed(_)) => return true,
            _ => return false,
        };
        let row = Row::entry(site, entry.index);
        let Ok(content) = ring.open(&row.place(), &sealed) else {
            return false;
        };
        let Ok(opened) = Opened::parse(&content) else {
            return false;
        };
        let Ok(recorded) = Recorded::parse(opened.json) else {
            return false;
        };
        let leaf = Leaf::of(
            recorded.epoch,
            &recorded.bucket_text(),
            recorded.site,
            recorded.event,
            opened.json,
            opened.seed,
        );
        let changes_a_row = matches!(
            recorded.event,
            Event::TransactionOpened
                | Event::Tokenized
                | Event::Redeemed
                | Event::OutcomeReported
                | Event::TokenRevoked
                | Event::TransactionClosed
        );
        if let Some(id) = recorded.transaction
            && changes_a_row
            && recorded.outcome == Outcome::Ok
        {
            let release = recorded
                .detail("release_until")
                .and_then(Timestamp::parse)
                .map(|until| KeyName::Release {
                    site: recorded.site,
                    day: until.day(),
                });
            let earlier = changes.get(&id).and_then(|change| change.release);
            let change = Change {
                index: entry.index,
                leaf: entry.leaf,
                release: release.or(earlier),
            };
            changes.insert(id, change);
        }
        leaf.hash == entry.leaf && recorded.index == entry.index
    }

    fn check_row(
        &self,
        reader: &dyn Reader,
        id: TransactionId,
        change: &Change,
    ) -> Result<Option<Finding>, LoadError> {
        let rows = reader.get_many(&[transaction_key(id)])?;
        let ring = self.ring();
        let Some(bytes) = rows.into_iter().next().flatten() else {
            let destroyed = change.release.is_none_or(|name| is_destroyed(&ring, &name));
            return Ok((!destroyed).then_some(Finding::Missing(id)));
        };
        let state: TransactionState = match open_row(&ring, id, bytes) {
            Ok(Some(state)) => state,
            Ok(None) => return Ok(None),
            Err(_) => return Ok(Some(Finding::Broken(id))),
        };
        Ok(if state.last_entry < change.index {
            Some(Finding::RolledBack(id))
        } else if state.last_entry == change.index && state.last_leaf != change.leaf {
            Some(Finding::Unfounded(id))
        } else {
            // A later one came while the check ran.
            None
        })
    }
}

fn is_destroyed(ring: &Keyring, name: &KeyName) -> bool {
    ring.list()
        .filter(|key| key.name() == *name)
        .all(|key| key.state() == KeyState::Destroyed)
}
