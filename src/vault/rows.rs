//! Where each row lies and what its seal is bound to (`docs/format.md` §2 and §5). Keys and places
//! are made here only, so that reader and writer can't differ.

use crate::ids::{ActionId, HoldId, PrincipalId, Site, TransactionId};
use crate::keys::{KeyId, Kind, Place};
use crate::policy::AllowanceKey;
use crate::store::space;

/// A row's key and what its seal is bound to.
pub struct Row {
    /// The key in the store.
    pub key: Vec<u8>,
    site: Site,
    transaction: Option<TransactionId>,
    kind: Kind,
    scope: Vec<u8>,
}

impl Row {
    /// The place, for the envelope.
    pub fn place(&self) -> Place<'_> {
        Place {
            site: self.site,
            transaction: self.transaction,
            kind: self.kind,
            scope: &self.scope,
            row_key: &self.key,
        }
    }

    /// The head, as written by the round with this id: the id lies beside it, in the store's own
    /// row, so a reader knows it before it opens the head.
    pub fn head(round_id: [u8; 16]) -> Row {
        Row {
            key: vec![space::HEAD],
            site: Site::VAULT,
            transaction: None,
            kind: Kind::Head,
            scope: round_id.to_vec(),
        }
    }

    /// A transaction. `site` comes from the name of the key that seals it.
    pub fn transaction(site: Site, id: TransactionId) -> Row {
        Row {
            key: transaction_key(id),
            site,
            transaction: Some(id),
            kind: Kind::Transaction,
            scope: id.0.to_vec(),
        }
    }

    /// A ledger entry. Its key is not a row of the store: entries lie in pages.
    pub fn entry(site: Site, epoch: u32, index: u64) -> Row {
        Row {
            key: page_key(epoch, index),
            site,
            transaction: None,
            kind: Kind::Entry,
            scope: era(index),
        }
    }

    /// A part of the redo record, as written by round `round`.
    pub fn redo(round: u64, part: u16) -> Row {
        let mut key = vec![space::REDO];
        key.extend_from_slice(&part.to_be_bytes());
        Row {
            key,
            site: Site::VAULT,
            transaction: None,
            kind: Kind::Redo,
            scope: era(round),
        }
    }

    /// A principal.
    pub fn principal(id: PrincipalId) -> Row {
        let mut key = vec![space::PRINCIPALS];
        key.extend_from_slice(&id.0);
        Row::own(key, Site::VAULT, Kind::Principal)
    }

    /// A row of the allow-list.
    pub fn allowance(of: &AllowanceKey) -> Row {
        let mut key = vec![space::ALLOWANCES];
        key.extend_from_slice(of.site.as_bytes());
        key.extend_from_slice(&of.portal.0);
        key.extend_from_slice(&of.processor.0);
        Row::own(key, of.site, Kind::Allowance)
    }

    /// A pending action.
    pub fn pending(id: ActionId) -> Row {
        let mut key = vec![space::ACTIONS];
        key.extend_from_slice(&id.0);
        Row::own(key, Site::VAULT, Kind::PendingAction)
    }

    /// Where the ledger of an earlier epoch ended.
    pub fn closed_epoch(epoch: u32) -> Row {
        let mut key = vec![space::EPOCHS];
        key.extend_from_slice(&epoch.to_be_bytes());
        Row::own(key, Site::VAULT, Kind::ClosedEpoch)
    }

    /// Where the entry of a key's destruction stands.
    pub fn key_end(key: KeyId) -> Row {
        let mut row_key = vec![space::KEY_ENDS];
        row_key.extend_from_slice(&key.0.to_be_bytes());
        Row::own(row_key, Site::VAULT, Kind::KeyEnd)
    }

    /// A legal hold.
    pub fn hold(id: HoldId) -> Row {
        let mut key = vec![space::HOLDS];
        key.extend_from_slice(&id.0);
        Row::own(key, Site::VAULT, Kind::Hold)
    }

    /// The vault's own row with this key, if it is one that lies there until it is changed:
    /// principals, allowances, pending actions, closed epochs, ends of keys, holds.
    pub fn own_of_key(key: &[u8]) -> Option<Row> {
        let rest = key.get(1..)?;
        let (kind, length) = match *key.first()? {
            space::PRINCIPALS => (Kind::Principal, 16),
            space::ALLOWANCES => (Kind::Allowance, 48),
            space::ACTIONS => (Kind::PendingAction, 16),
            space::EPOCHS => (Kind::ClosedEpoch, 4),
            space::KEY_ENDS => (Kind::KeyEnd, 4),
            space::HOLDS => (Kind::Hold, 16),
            _ => return None,
        };
        let site = match kind {
            Kind::Allowance => Site::from_bytes(*rest.first_chunk()?).ok()?,
            _ => Site::VAULT,
        };
        (rest.len() == length).then(|| Row::own(key.to_vec(), site, kind))
    }

    /// A row whose derived key is its own.
    fn own(key: Vec<u8>, site: Site, kind: Kind) -> Row {
        Row {
            scope: key.clone(),
            key,
            site,
            transaction: None,
            kind,
        }
    }
}

/// The key of a transaction's row.
pub fn transaction_key(id: TransactionId) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.push(space::TRANSACTIONS);
    key.extend_from_slice(&id.0);
    key.push(b's');
    key
}

/// The key of the page that starts with entry `first`. The epoch stands before it: a restored vault
/// begins a new tree, and must not write over the old one's.
pub fn page_key(epoch: u32, first: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(13);
    key.push(space::ENTRIES);
    key.extend_from_slice(&epoch.to_be_bytes());
    key.extend_from_slice(&first.to_be_bytes());
    key
}

/// The key of half a tile.
pub fn tile_key(epoch: u32, level: u8, tile: u64, half: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(15);
    key.push(space::TILES);
    key.extend_from_slice(&epoch.to_be_bytes());
    key.push(level);
    key.extend_from_slice(&tile.to_be_bytes());
    key.push(half);
    key
}

/// Scope that changes every 2^20 writes, so that no derived key nears its bound of seals.
fn era(number: u64) -> Vec<u8> {
    (number >> 20).to_be_bytes().to_vec()
}
