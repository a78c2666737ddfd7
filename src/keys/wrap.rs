//! The file `wrap`: the key that the keyring is sealed under, wrapped by the root key
//! (`docs/format.md` §8). It has two slots, each a block of its own, of which one is in use; the
//! other is zero except during a destruction.
//!
//! Destruction rests on this file: the new wrapping key goes into the free slot, the keyring is
//! replaced by one under the new key, and the old slot is overwritten in place. At each moment of
//! that, the keyring that lies on the disk has its key in one of the slots. A single slot could not
//! do it: between its overwriting and the keyring's replacement, in either order, a power cut
//! would cost the vault.
//!
//! Overwriting in place is best effort: a copy-on-write file system or a flash drive's controller
//! may keep the old block. Erasure receipts say so. Where the root key comes with an
//! [anchor](super::anchor), the key is also encrypted under an object of the anchor's, one for each
//! wrapping key, and the object is destroyed before the slot is overwritten: then no copy of the
//! slot opens, wherever it lies.

use super::anchor::{Anchor, RestsOn};
use super::cipher::{self, NONCE_BYTES, TAG_BYTES};
use super::error::KeyError;
use super::file;
use super::hsm::ObjectId;
use super::seal::RootKey;
use crate::codec::{Malformed, Reader};
use crate::ids::{VaultId, random};
use crate::secret::{LockedBytes, SecretBytes};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The file's name.
pub(super) const FILE: &str = "wrap";
/// Bytes of a slot: a block of its own, so that a torn write of one leaves the other whole.
pub(super) const SLOT_BYTES: usize = 4096;
/// Magic, format, suite and generation.
const HEADER_BYTES: usize = 12;
/// The wrapped key: nonce, ciphertext, tag.
const WRAPPED_BYTES: usize = NONCE_BYTES + 32 + TAG_BYTES;
/// What a used slot holds at its begin; the rest is zero.
const USED_BYTES: usize = HEADER_BYTES + WRAPPED_BYTES;
/// The same with an anchor: its object's id, and the wrapped key encrypted once more.
const ANCHORED_BYTES: usize = HEADER_BYTES + 16 + NONCE_BYTES + WRAPPED_BYTES + TAG_BYTES;
/// How a slot begins: "PW", format 1, suite 1.
const PLAIN: &[u8; 4] = b"PW\x01\x01";
/// With an anchor: suite 2.
const ANCHORED: &[u8; 4] = b"PW\x01\x02";

/// Which of the two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The first block.
    A,
    /// The second block.
    B,
}

impl Slot {
    /// The other one.
    pub(super) fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    fn offset(self) -> usize {
        match self {
            Slot::A => 0,
            Slot::B => SLOT_BYTES,
        }
    }
}

/// A wrapping key as it was found in its slot.
pub(super) struct Found {
    pub(super) slot: Slot,
    /// The generation of the first keyring that was sealed under it.
    pub(super) generation: u64,
    pub(super) key: SecretBytes<32>,
    /// The anchor's object, when it rests on one.
    pub(super) object: Option<ObjectId>,
}

/// What the file holds.
pub(super) struct Slots {
    /// The slots that open under this root key.
    pub(super) found: Vec<Found>,
    /// Whether a slot did not open because its object is gone.
    pub(super) object_gone: bool,
    bytes: Vec<u8>,
}

impl Slots {
    /// Whether a slot holds nothing at all.
    pub(super) fn is_empty(&self, slot: Slot) -> bool {
        self.block(slot).iter().all(|b| *b == 0)
    }

    /// The object that a slot names, whether it opens or not.
    pub(super) fn object(&self, slot: Slot) -> Option<ObjectId> {
        object_of(self.block(slot))
    }

    fn block(&self, slot: Slot) -> &[u8] {
        &self.bytes[slot.offset()..][..SLOT_BYTES]
    }
}

/// What wraps a vault's wrapping keys: a key from its root key, and the root key's anchor.
pub(super) struct Wrapper {
    /// HKDF(root, "payvault keyring wrap v1").
    kek: LockedBytes<32>,
    vault: VaultId,
    anchor: Option<Arc<dyn Anchor>>,
}

impl Wrapper {
    /// A root key's.
    pub(super) fn new(root: &RootKey, vault: VaultId) -> Wrapper {
        let derived = cipher::hkdf(root.expose(), &[b"payvault keyring wrap v1"]);
        Wrapper {
            kek: LockedBytes::new(SecretBytes::build(|own| own.copy_from_slice(&derived[..]))),
            vault,
            anchor: root.anchor(),
        }
    }

    /// Forgets everything: what is left wraps and opens nothing of the vault.
    pub(super) fn wipe(&mut self) {
        self.kek = LockedBytes::new(SecretBytes::build(|_| ()));
        self.anchor = None;
    }

    #[cfg(feature = "fault-injection")]
    pub(super) fn kek(&self) -> &SecretBytes<32> {
        &self.kek
    }

    /// What the keys that it wraps rest on.
    pub(super) fn rests_on(&self) -> RestsOn {
        match self.anchor {
            Some(_) => RestsOn::HsmObject,
            None => RestsOn::Slot,
        }
    }

    /// The file of a new keyring: `key` in the first slot. Replaces whatever was there.
    pub(super) fn create(
        &self,
        dir: &Path,
        key: &SecretBytes<32>,
    ) -> Result<(Slot, Option<ObjectId>), KeyError> {
        let (mut bytes, object) = self.wrap(1, key)?;
        bytes.resize(2 * SLOT_BYTES, 0);
        file::replace(dir, FILE, &bytes).inspect_err(|_| self.discard(object))?;
        Ok((Slot::A, object))
    }

    /// Reads both slots. One that does not open is left out: a write into it may have been cut
    /// short, or it is another root key's.
    ///
    /// # Errors
    /// The file can't be read, or the anchor can't be asked.
    pub(super) fn read(&self, dir: &Path) -> Result<Slots, KeyError> {
        let bytes = file::read(dir, FILE, 2 * SLOT_BYTES)?;
        if bytes.len() != 2 * SLOT_BYTES {
            let what = Malformed::new("file is not two slots long");
            return Err(KeyError::Malformed { file: FILE, what });
        }
        let mut slots = Slots {
            found: Vec::new(),
            object_gone: false,
            bytes,
        };
        for slot in [Slot::A, Slot::B] {
            match self.open(slot, slots.block(slot)) {
                Ok(found) => slots.found.extend(found),
                Err(KeyError::HsmKeyMissing) => slots.object_gone = true,
                Err(error) => return Err(error),
            }
        }
        Ok(slots)
    }

    /// Writes `key` into a slot, in place, durably. Gives the object that was made for it.
    ///
    /// # Errors
    /// [`KeyError::Io`], or what the anchor says. The slot is free as before, or torn.
    pub(super) fn write(
        &self,
        dir: &Path,
        slot: Slot,
        generation: u64,
        key: &SecretBytes<32>,
    ) -> Result<Option<ObjectId>, KeyError> {
        let doing = "writing the wrapping key";
        let (block, object) = self.wrap(generation, key)?;
        overwrite(dir, slot, &block)
            .map_err(|source| KeyError::Io { doing, source })
            .inspect_err(|_| self.discard(object))?;
        Ok(object)
    }

    /// Ends what a slot held, durably: first its object, then the slot. As long as the object may be
    /// there, the slot names it.
    ///
    /// # Errors
    /// What the disk says, or the anchor.
    pub(super) fn free(&self, dir: &Path, slot: Slot, object: Option<ObjectId>) -> io::Result<()> {
        match (object, &self.anchor) {
            (Some(object), Some(anchor)) => anchor
                .destroy(&object)
                .map_err(|error| io::Error::other(error.to_string()))?,
            (Some(object), None) => {
                let id: String = object.iter().map(|b| format!("{b:02x}")).collect();
                tracing::warn!(
                    alarm = "wrapping-key",
                    %id,
                    "the security module may still have an object of an earlier seal: remove it there"
                );
            }
            (None, _) => {}
        }
        overwrite(dir, slot, &[0u8; SLOT_BYTES])
    }

    /// An object that no slot names is of no use, and does no harm.
    pub(super) fn discard(&self, object: Option<ObjectId>) {
        if let (Some(object), Some(anchor)) = (object, &self.anchor) {
            let _ = anchor.destroy(&object);
        }
    }

    /// The block of a used slot, and the object that was made for it.
    fn wrap(
        &self,
        generation: u64,
        key: &SecretBytes<32>,
    ) -> Result<(Vec<u8>, Option<ObjectId>), KeyError> {
        let Some(anchor) = &self.anchor else {
            let block = block(&self.kek, self.vault, generation, &random(), key);
            return Ok((block, None));
        };
        let object = anchor.make()?;
        let aad = aad(&header(ANCHORED, generation), self.vault, Some(&object));
        let inner = wrap_key(&self.kek, &aad, &random(), key);
        let outer = anchor
            .encrypt(&object, &aad, &inner)
            .inspect_err(|_| self.discard(Some(object)))?;
        let mut block = [&header(ANCHORED, generation)[..], &object, &outer].concat();
        block.resize(SLOT_BYTES, 0);
        Ok((block, Some(object)))
    }

    fn open(&self, slot: Slot, block: &[u8]) -> Result<Option<Found>, KeyError> {
        let object = object_of(block);
        let used_bytes = match object {
            Some(_) => ANCHORED_BYTES,
            None => USED_BYTES,
        };
        let Some((used, rest)) = block.split_at_checked(used_bytes) else {
            return Ok(None);
        };
        let Some((header, wrapped)) = used.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        if rest.iter().any(|b| *b != 0) || (object.is_none() && !header.starts_with(PLAIN)) {
            return Ok(None);
        }
        let aad = aad(header, self.vault, object.as_ref());
        let key = match (&object, &self.anchor) {
            (None, _) => unwrap_key(&self.kek, &aad, wrapped),
            // Another seal's.
            (Some(_), None) => return Ok(None),
            (Some(object), Some(anchor)) => {
                match anchor.decrypt(object, &aad, &wrapped[object.len()..]) {
                    Ok(inner) => unwrap_key(&self.kek, &aad, &inner),
                    Err(KeyError::HsmKeyForeign) => None,
                    Err(error) => return Err(error),
                }
            }
        };
        Ok(key.map(|key| Found {
            slot,
            generation: generation_of(header),
            key,
            object,
        }))
    }
}

/// The block of a used slot without an anchor: "PW" ‖ format ‖ suite ‖ generation ‖ nonce ‖
/// ciphertext ‖ tag, then zeros.
pub(super) fn block(
    kek: &SecretBytes<32>,
    vault: VaultId,
    generation: u64,
    nonce: &[u8; NONCE_BYTES],
    key: &SecretBytes<32>,
) -> Vec<u8> {
    let header = header(PLAIN, generation);
    let wrapped = wrap_key(kek, &aad(&header, vault, None), nonce, key);
    let mut block = [&header[..], &wrapped].concat();
    block.resize(SLOT_BYTES, 0);
    block
}

fn overwrite(dir: &Path, slot: Slot, block: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    file::cut::write()?;
    let file: File = OpenOptions::new().write(true).open(dir.join(FILE))?;
    file.write_all_at(block, slot.offset() as u64)?;
    file.sync_all()
}

fn header(begin: &[u8; 4], generation: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0u8; HEADER_BYTES];
    header[..4].copy_from_slice(begin);
    header[4..].copy_from_slice(&generation.to_be_bytes());
    header
}

fn generation_of(header: &[u8; HEADER_BYTES]) -> u64 {
    header
        .last_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn object_of(block: &[u8]) -> Option<ObjectId> {
    let named = block.starts_with(ANCHORED);
    named.then(|| block[HEADER_BYTES..].first_chunk().copied())?
}

/// nonce ‖ ciphertext ‖ tag.
fn wrap_key(
    kek: &SecretBytes<32>,
    aad: &[u8],
    nonce: &[u8; NONCE_BYTES],
    key: &SecretBytes<32>,
) -> [u8; WRAPPED_BYTES] {
    let mut wrapped = [0u8; WRAPPED_BYTES];
    let (own_nonce, rest) = wrapped.split_at_mut(NONCE_BYTES);
    own_nonce.copy_from_slice(nonce);
    let (ciphertext, own_tag) = rest.split_at_mut(32);
    let tag = cipher::seal(kek.expose(), nonce, aad, key.expose(), ciphertext);
    own_tag.copy_from_slice(&tag);
    wrapped
}

fn unwrap_key(kek: &SecretBytes<32>, aad: &[u8], wrapped: &[u8]) -> Option<SecretBytes<32>> {
    let mut r = Reader::new(wrapped);
    let nonce = r.array().ok()?;
    let ciphertext = r.raw(32).ok()?;
    let tag = r.array().ok()?;
    r.end().ok()?;
    let mut opened = Ok(());
    let key = SecretBytes::build(|out| {
        opened = cipher::open(kek.expose(), &nonce, aad, ciphertext, &tag, out);
    });
    opened.ok().map(|()| key)
}

/// header ‖ object id, with an anchor ‖ vault id.
fn aad(header: &[u8; HEADER_BYTES], vault: VaultId, object: Option<&ObjectId>) -> Vec<u8> {
    let object = object.map_or(&[][..], |object| &object[..]);
    [&header[..], object, &vault.0].concat()
}
