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
//! may keep the old block. Erasure receipts say so.

use super::cipher::{self, NONCE_BYTES, TAG_BYTES};
use super::error::KeyError;
use super::file;
use crate::codec::{Malformed, Reader};
use crate::ids::{VaultId, random};
use crate::secret::SecretBytes;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file's name.
pub(super) const FILE: &str = "wrap";
/// Bytes of a slot: a block of its own, so that a torn write of one leaves the other whole.
pub(super) const SLOT_BYTES: usize = 4096;
/// Magic, format, suite and generation.
const HEADER_BYTES: usize = 12;
/// What a used slot holds at its begin; the rest is zero.
const USED_BYTES: usize = HEADER_BYTES + NONCE_BYTES + 32 + TAG_BYTES;

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
}

/// What the file holds.
pub(super) struct Slots {
    /// The slots that open under this root key.
    pub(super) found: Vec<Found>,
    bytes: Vec<u8>,
}

impl Slots {
    /// Whether a slot holds nothing at all.
    pub(super) fn is_empty(&self, slot: Slot) -> bool {
        self.bytes[slot.offset()..][..SLOT_BYTES]
            .iter()
            .all(|b| *b == 0)
    }
}

/// The block of a used slot: "PW" ‖ format ‖ suite ‖ generation ‖ nonce ‖ ciphertext ‖ tag, then
/// zeros. `kek` is HKDF(root, "payvault keyring wrap v1").
pub(super) fn block(
    kek: &SecretBytes<32>,
    vault: VaultId,
    generation: u64,
    nonce: &[u8; NONCE_BYTES],
    key: &SecretBytes<32>,
) -> Vec<u8> {
    let mut block = vec![0u8; SLOT_BYTES];
    let (header, rest) = block.split_at_mut(HEADER_BYTES);
    header[..4].copy_from_slice(b"PW\x01\x01");
    header[4..].copy_from_slice(&generation.to_be_bytes());
    let (own_nonce, rest) = rest.split_at_mut(NONCE_BYTES);
    own_nonce.copy_from_slice(nonce);
    let (ciphertext, rest) = rest.split_at_mut(32);
    let tag = cipher::seal(
        kek.expose(),
        nonce,
        &aad(header, vault),
        key.expose(),
        ciphertext,
    );
    rest[..TAG_BYTES].copy_from_slice(&tag);
    block
}

/// The file of a new keyring: `key` in the first slot. Replaces whatever was there.
pub(super) fn create(
    dir: &Path,
    kek: &SecretBytes<32>,
    vault: VaultId,
    key: &SecretBytes<32>,
) -> Result<Slot, KeyError> {
    let mut bytes = block(kek, vault, 1, &random(), key);
    bytes.resize(2 * SLOT_BYTES, 0);
    file::replace(dir, FILE, &bytes)?;
    Ok(Slot::A)
}

/// Reads both slots. One that does not open is left out: a write into it may have been cut short.
pub(super) fn read(dir: &Path, kek: &SecretBytes<32>, vault: VaultId) -> Result<Slots, KeyError> {
    let bytes = file::read(dir, FILE, 2 * SLOT_BYTES)?;
    if bytes.len() != 2 * SLOT_BYTES {
        let what = Malformed::new("file is not two slots long");
        return Err(KeyError::Malformed { file: FILE, what });
    }
    let found = [Slot::A, Slot::B]
        .into_iter()
        .filter_map(|slot| open(kek, vault, slot, &bytes[slot.offset()..][..SLOT_BYTES]))
        .collect();
    Ok(Slots { found, bytes })
}

/// Writes `key` into a slot, in place, durably.
pub(super) fn write(
    dir: &Path,
    slot: Slot,
    kek: &SecretBytes<32>,
    vault: VaultId,
    generation: u64,
    key: &SecretBytes<32>,
) -> io::Result<()> {
    overwrite(dir, slot, &block(kek, vault, generation, &random(), key))
}

/// Overwrites a slot with zeros, in place, durably.
pub(super) fn erase(dir: &Path, slot: Slot) -> io::Result<()> {
    overwrite(dir, slot, &[0u8; SLOT_BYTES])
}

fn overwrite(dir: &Path, slot: Slot, block: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    file::cut::write()?;
    let file: File = OpenOptions::new().write(true).open(dir.join(FILE))?;
    file.write_all_at(block, slot.offset() as u64)?;
    file.sync_all()
}

fn open(kek: &SecretBytes<32>, vault: VaultId, slot: Slot, block: &[u8]) -> Option<Found> {
    let (used, rest) = block.split_at_checked(USED_BYTES)?;
    if rest.iter().any(|b| *b != 0) {
        return None;
    }
    let mut r = Reader::new(used);
    let header = r.raw(HEADER_BYTES).ok()?;
    let generation = u64::from_be_bytes(*header.last_chunk()?);
    if &header[..4] != b"PW\x01\x01" {
        return None;
    }
    let nonce = r.array().ok()?;
    let ciphertext = r.raw(32).ok()?;
    let tag = r.array().ok()?;
    let mut opened = Ok(());
    let key = SecretBytes::build(|out| {
        opened = cipher::open(
            kek.expose(),
            &nonce,
            &aad(header, vault),
            ciphertext,
            &tag,
            out,
        );
    });
    opened.ok().map(|()| Found {
        slot,
        generation,
        key,
    })
}

fn aad(header: &[u8], vault: VaultId) -> [u8; HEADER_BYTES + 16] {
    let mut aad = [0u8; HEADER_BYTES + 16];
    aad[..HEADER_BYTES].copy_from_slice(header);
    aad[HEADER_BYTES..].copy_from_slice(&vault.0);
    aad
}
