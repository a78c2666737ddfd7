//! Checkpoints (C2SP tlog-checkpoint; `docs/format.md` §7.2): the ledger's size and root as a
//! signed note. Whoever holds an earlier one notices a rewritten ledger.
//!
//! Only a durable head may be signed. The signature is a function of origin, size and root, so a
//! lost note is made again and a second one never differs.

use super::error::NoteFault;
use super::hash::{Hash, from_base64, to_base64};
use super::key::{VerifierKey, hex};
use super::note::{self, Note};
use super::recorded::decimal;
use crate::ids::VaultId;
use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};

/// A statement of the ledger's size and root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose ledger: `payvault/<vault id>/<epoch>`.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The Merkle root over them.
    pub root: Hash,
}

/// The origin of a vault's ledger in an epoch: the first line of its checkpoints, and the name of
/// the key that signs them.
pub fn origin(vault: VaultId, epoch: u32) -> String {
    format!("payvault/{vault}/{epoch}")
}

/// A log's name in the paths of a witness (C2SP tlog-witness): SHA-256 of its origin, in lower-case
/// hexadecimal.
pub fn hex_of_origin(origin: &str) -> String {
    hex(&Sha256::digest(origin.as_bytes()))
}

/// Reads [`origin`]'s text.
pub(super) fn origin_parts(origin: &str) -> Option<(VaultId, u32)> {
    let (vault, epoch) = origin.strip_prefix("payvault/")?.split_once('/')?;
    let epoch = u32::try_from(decimal(epoch)?).ok()?;
    Some((VaultId::parse(vault).ok()?, epoch))
}

impl Checkpoint {
    /// The checkpoint of a vault's ledger.
    pub fn new(vault: VaultId, epoch: u32, size: u64, root: Hash) -> Checkpoint {
        Checkpoint {
            origin: origin(vault, epoch),
            size,
            root,
        }
    }

    /// The note's text: what is signed.
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            to_base64(&self.root)
        )
    }

    /// The signed note; the key's name is the origin.
    ///
    /// # Errors
    /// When the origin cannot name a key; never for one made by [`Checkpoint::new`].
    pub fn sign(&self, key: &SigningKey) -> Result<String, NoteFault> {
        note::sign(&self.text(), &self.origin, key)
    }

    /// Verifies a note with the keys that the caller trusts, and reads it. The key that signed is
    /// one whose name is the checkpoint's origin.
    ///
    /// # Errors
    /// When the note is malformed, not signed by a given key of that origin, or no checkpoint.
    pub fn open<'k>(
        note: &str,
        keys: &'k [VerifierKey],
    ) -> Result<(Checkpoint, &'k VerifierKey), NoteFault> {
        let (text, key) = Note::parse(note)?.verify(keys)?;
        let checkpoint = Checkpoint::parse(text).ok_or(NoteFault::Malformed(
            "it is not a checkpoint of three lines",
        ))?;
        // A witness's key that was given too vouches for nothing alone.
        if key.name() == checkpoint.origin {
            return Ok((checkpoint, key));
        }
        let own: Vec<&VerifierKey> = keys
            .iter()
            .filter(|key| key.name() == checkpoint.origin)
            .collect();
        for key in own {
            if Note::parse(note)?.verify(std::slice::from_ref(key)).is_ok() {
                return Ok((checkpoint, key));
            }
        }
        Err(NoteFault::NoKnownSignature)
    }

    /// As [`Checkpoint::open`], of any log: its note may have lines that say nothing of the tree.
    ///
    /// # Errors
    /// As there.
    pub fn of_any_log(note: &str, keys: &[VerifierKey]) -> Result<Checkpoint, NoteFault> {
        let note = Note::parse(note)?;
        let origin = note.unverified_text().split('\n').next();
        let own: Vec<VerifierKey> = keys
            .iter()
            .filter(|key| Some(key.name()) == origin)
            .cloned()
            .collect();
        let (text, _) = note.verify(&own)?;
        Checkpoint::parse_extended(text).ok_or(NoteFault::Malformed("it is not a checkpoint"))
    }

    /// Reads a note's text. Extension lines are refused: a payvault ledger writes none.
    fn parse(text: &str) -> Option<Checkpoint> {
        Checkpoint::parse_extended(text).filter(|_| text.split('\n').count() == 4)
    }

    /// Reads a note's text, of any log: lines may follow that say nothing of the tree.
    pub(super) fn parse_extended(text: &str) -> Option<Checkpoint> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        if origin.is_empty() || lines.any(str::is_empty) {
            return None;
        }
        Some(Checkpoint {
            origin: origin.to_owned(),
            size: decimal(size)?,
            root: from_base64(root)?,
        })
    }
}
