//! Receipts and proofs: read from pages and tiles, off the committer's thread, against the newest
//! published checkpoint.

use super::Vault;
use super::command::Refusal;
use super::epochs::{closed_epochs, tree_of};
use super::keeper::EndedAt;
use super::load::{LoadError, Tiles, page_of};
use super::publish::Published;
use super::rows::Row;
use crate::ids::PrincipalId;
use crate::keys::{KeyId, KeyName, KeyState, Keyring, Sealed};
use crate::ledger::{
    Checkpoint, Hash, Leaf, LedgerError, Opened, Outcome, Page, PageEntry, Recorded, Tree,
    leaf_hash,
};
use crate::policy::Denial;
use crate::secret::SecretBuffer;
use crate::store::StoreError;
use std::sync::{Arc, PoisonError};

/// A receipt on its way to the caller whose act it proves.
pub struct IssuedReceipt {
    /// Index of the entry.
    pub index: u64,
    /// The open line.
    pub entry: String,
    /// Inclusion path, from the leaf upward.
    pub path: Vec<Hash>,
    /// The checkpoint that it leads to.
    pub published: Published,
}

/// An entry that was read back.
pub(super) struct ReadEntry {
    /// Bucket id in text.
    pub bucket: String,
    /// Sealed content, opened: seed and JSON.
    pub content: SecretBuffer,
}

/// What became of an entry's content.
pub(super) enum Content {
    /// It opens.
    Open(ReadEntry),
    /// Its bucket's key was destroyed; the bucket's id in text.
    Erased(String),
}

impl Vault {
    /// The receipt of entry `index`. With `of`, only when the entry names that principal.
    ///
    /// # Errors
    /// [`Denial::NotOwnEntry`] when it is not there or another's; `Unavailable` when the vault
    /// closes before a checkpoint covers it.
    pub async fn receipt(
        self: &Arc<Self>,
        index: u64,
        of: Option<PrincipalId>,
    ) -> Result<IssuedReceipt, Refusal> {
        if index >= self.head().size {
            return Err(Refusal::Denied(Denial::NotOwnEntry));
        }
        let published = self
            .publisher
            .reaches(index + 1)
            .await
            .ok_or(Refusal::Sealed)?;
        let vault = Arc::clone(self);
        blocking(move || {
            vault
                .issue(index, of, published)
                .map_err(|refusal| vault.unless_closed(refusal))
        })
        .await
    }

    /// The receipt of a key's destruction. Without a generation the last key of its name is meant.
    ///
    /// # Errors
    /// [`Denial::UnknownKey`], [`Denial::NotErased`], or `Unavailable` while the entry isn't written.
    pub async fn erasure_receipt(
        self: &Arc<Self>,
        name: KeyName,
        generation: Option<u32>,
    ) -> Result<IssuedReceipt, Refusal> {
        let vault = Arc::clone(self);
        let (id, at) = blocking(move || vault.end_of(name, generation)).await?;
        if at.epoch == self.head().epoch {
            return self.receipt(at.index, None).await;
        }
        let vault = Arc::clone(self);
        blocking(move || {
            vault
                .issue_closed(at)
                .map_err(|refusal| vault.unless_closed(refusal))
        })
        .await
        .inspect_err(|_| tracing::debug!(key = %id, "no receipt of an earlier epoch"))
    }

    /// Where the entry of a key's destruction stands.
    fn end_of(&self, name: KeyName, generation: Option<u32>) -> Result<(KeyId, EndedAt), Refusal> {
        let ring = self.ring();
        let key = ring
            .list()
            .filter(|key| key.name() == name)
            .filter(|key| generation.is_none_or(|own| own == key.generation()))
            .last()
            .ok_or(Refusal::Denied(Denial::UnknownKey))?;
        if key.state() != KeyState::Destroyed {
            return Err(Refusal::Denied(Denial::NotErased));
        }
        let row = Row::key_end(key.id());
        let rows = self.reader.get_many(std::slice::from_ref(&row.key));
        let value = rows
            .map_err(|error| unread(LoadError::Store(error)))?
            .pop()
            .flatten()
            .ok_or(Refusal::Unavailable(
                "the destruction has no entry of which a receipt could be made",
            ))?;
        let opened = super::load::open(&ring, &row, value, "a key's end").map_err(unread)?;
        let at = EndedAt::decode(&opened).map_err(unreadable)?;
        Ok((key.id(), at))
    }

    /// A receipt of an earlier epoch's ledger, against the checkpoint that it ended with.
    fn issue_closed(&self, at: EndedAt) -> Result<IssuedReceipt, Refusal> {
        let reader = self.reader.as_ref();
        let closed = closed_epochs(reader, &self.ring()).map_err(unread)?;
        let closed = closed
            .into_iter()
            .find(|closed| closed.epoch == at.epoch)
            .ok_or(Refusal::Denied(Denial::NotErased))?;
        let tree = tree_of(reader, &closed).map_err(unread)?;
        let published = Published {
            checkpoint: Checkpoint {
                origin: crate::ledger::origin(self.id, closed.epoch),
                size: closed.size,
                root: closed.root,
            },
            note: Arc::from(closed.note),
        };
        self.issue_in(at.epoch, &tree, at.index, None, published)
    }

    fn issue(
        &self,
        index: u64,
        of: Option<PrincipalId>,
        published: Published,
    ) -> Result<IssuedReceipt, Refusal> {
        self.issue_in(self.head().epoch, &self.tree(), index, of, published)
    }

    fn issue_in(
        &self,
        epoch: u32,
        tree: &Tree,
        index: u64,
        of: Option<PrincipalId>,
        published: Published,
    ) -> Result<IssuedReceipt, Refusal> {
        let row = page_of(self.reader.as_ref(), epoch, index).map_err(unread)?;
        let page = Page::parse(&row).map_err(unreadable)?;
        let stored = page
            .entry(index)
            .ok_or(Refusal::Denied(Denial::NotOwnEntry))?;
        let read = match open_entry(&self.ring(), epoch, stored)? {
            Content::Open(read) => read,
            Content::Erased(_) => return Err(Refusal::Denied(Denial::NotOwnEntry)),
        };
        let opened = Opened::parse(&read.content).map_err(unreadable)?;
        let recorded = Recorded::parse(opened.json).map_err(unreadable)?;
        // A refusal's entry holds the true reason, which its caller may not be told.
        let foreign = recorded.actor != of || recorded.outcome != Outcome::Ok;
        if of.is_some() && foreign {
            return Err(Refusal::Denied(Denial::NotOwnEntry));
        }
        let leaf = Leaf::of(
            recorded.epoch,
            &read.bucket,
            recorded.site,
            recorded.event,
            opened.json,
            opened.seed,
        );
        let path = tree
            .inclusion(
                index,
                published.checkpoint.size,
                &Tiles(self.reader.as_ref(), epoch),
            )
            .map_err(unproven)?;
        Ok(IssuedReceipt {
            index,
            entry: crate::ledger::open_line(index, &read.bucket, &leaf, opened.json),
            path,
            published,
        })
    }

    /// Proof that the ledger at `from` entries is a prefix of the ledger at `to`.
    ///
    /// # Errors
    /// When the sizes are not in order or past the ledger, or a tile can't be read.
    pub async fn consistency(self: &Arc<Self>, from: u64, to: u64) -> Result<Vec<Hash>, Refusal> {
        let vault = Arc::clone(self);
        blocking(move || {
            vault
                .tree()
                .consistency(from, to, &Tiles(vault.reader.as_ref(), vault.head().epoch))
                .map_err(unproven)
        })
        .await
    }

    /// A copy of the tree's edge: proofs read tiles, and no lock is held over that.
    pub(super) fn tree(&self) -> Tree {
        self.shared
            .tree
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Runs `work` where blocking is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(Refusal::Unavailable("a reader ended with a panic")))
}

/// Opens a page's entry.
///
/// # Errors
/// [`Refusal::Integrity`] when it is not what was stored.
pub(super) fn open_entry(
    ring: &Keyring,
    epoch: u32,
    stored: &PageEntry<'_>,
) -> Result<Content, Refusal> {
    if let Some(id) = stored.pruned {
        return bucket_of_erased(ring, epoch, stored, KeyId(id))
            .map(Content::Erased)
            .map_err(unreadable);
    }
    let sealed = Sealed::from_stored(stored.sealed.to_vec()).map_err(unreadable)?;
    let (name, destroyed) = name_of(ring, sealed.key_id()).ok_or(Refusal::Integrity)?;
    let KeyName::Log { site, .. } = name else {
        return Err(unreadable(
            "an entry is sealed under a key of another purpose",
        ));
    };
    if destroyed {
        return bucket_of_erased(ring, epoch, stored, sealed.key_id())
            .map(Content::Erased)
            .map_err(unreadable);
    }
    let row = Row::entry(site, epoch, stored.index);
    let content = ring.open(&row.place(), &sealed).map_err(unreadable)?;
    Ok(Content::Open(ReadEntry {
        bucket: name.to_string(),
        content,
    }))
}

/// The bucket of an entry that is erased under key `id`: the key was destroyed, none followed it, and
/// the entry's leaf proves that it lay there. Otherwise it is no erased entry, but one that was
/// tampered with: nobody may pass a live one off as erased, or as pruned.
///
/// # Errors
/// What speaks against it.
pub(super) fn bucket_of_erased(
    ring: &Keyring,
    epoch: u32,
    stored: &PageEntry<'_>,
    id: KeyId,
) -> Result<String, &'static str> {
    let (name, destroyed) =
        name_of(ring, id).ok_or("an entry names a key that the keyring never had")?;
    if !matches!(name, KeyName::Log { .. }) {
        return Err("an entry is sealed under a key of another purpose");
    }
    if !destroyed {
        return Err("an entry's ciphertext is gone though its key lives");
    }
    if !ring.is_gone(&name) {
        return Err("an entry lies under a key that others followed");
    }
    let bucket = name.to_string();
    match leaf_hash(epoch, &bucket, &stored.facets) == stored.leaf {
        true => Ok(bucket),
        false => Err("an erased entry's leaf is of another bucket than its key"),
    }
}

fn name_of(ring: &Keyring, id: KeyId) -> Option<(KeyName, bool)> {
    match ring.key(id) {
        Ok(record) => Some((record.name(), false)),
        Err(crate::keys::KeyError::Destroyed(_)) => ring
            .list()
            .find(|record| record.id() == id)
            .map(|record| (record.name(), true)),
        Err(_) => None,
    }
}

/// Something stored can't be read: said in the log, with no more than that to the caller.
pub(super) fn unreadable(error: impl ToString) -> Refusal {
    let what = error.to_string();
    tracing::error!(alarm = "integrity", what, "the ledger can't be read");
    Refusal::Integrity
}

/// A row that the store did not give: while the store is closed that is no damage.
pub(super) fn unread(error: LoadError) -> Refusal {
    match error {
        LoadError::Store(StoreError::Damaged(_)) => unreadable(error),
        LoadError::Store(error) => unavailable(&error),
        LoadError::Empty | LoadError::Damaged { .. } | LoadError::Tree(_) => unreadable(error),
    }
}

/// A proof that could not be made: while the store is closed that is no damage.
pub(super) fn unproven(error: LedgerError) -> Refusal {
    match error {
        LedgerError::Source(_) => unavailable(&error),
        error => unreadable(error),
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> Refusal {
    tracing::warn!(%error, "the ledger can't be read now");
    Refusal::Unavailable("the ledger can't be read now")
}
