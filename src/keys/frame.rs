//! The shape that every sealed value has (`docs/format.md` §2):
//! `"PV" ‖ format ‖ suite ‖ key id ‖ nonce ‖ ciphertext ‖ tag`, and the additional data beside it.

use super::cipher::{self, NONCE_BYTES, TAG_BYTES, TagMismatch};
use crate::codec::{Malformed, Reader};
use crate::limits;
use crate::secret::SecretBuffer;
use zeroize::Zeroizing;

/// Format version of every sealed value.
pub(super) const FORMAT: u8 = 1;
/// Suite 1: AES-256-GCM under a key derived by HKDF-SHA-256.
pub(super) const SUITE: u8 = 1;

const MAGIC: &[u8; 2] = b"PV";
/// Magic, format, suite and key id.
const HEADER_BYTES: usize = 8;
/// What sealing adds to a plaintext.
pub(super) const OVERHEAD_BYTES: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

/// A sealed value, taken apart. Shape only: nothing is authenticated yet.
pub(super) struct Frame<'a> {
    pub(super) key_id: u32,
    nonce: &'a [u8; NONCE_BYTES],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_BYTES],
}

impl<'a> Frame<'a> {
    /// Checks magic, format, suite and length.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, Malformed> {
        if bytes.len() > limits::VALUE_BYTES_MAX {
            return Err(Malformed::new("sealed value is too long"));
        }
        let mut r = Reader::new(bytes);
        if r.array()? != *MAGIC {
            return Err(Malformed::new("not a sealed value"));
        }
        if r.u8()? != FORMAT {
            return Err(Malformed::new("sealed value of an unknown format"));
        }
        if r.u8()? != SUITE {
            return Err(Malformed::new("sealed value of an unknown suite"));
        }
        let key_id = r.u32()?;
        let rest = r.raw(r.remaining())?;
        let ends_early = Malformed::new("value ends early");
        let (nonce, rest) = rest.split_first_chunk().ok_or(ends_early)?;
        let (ciphertext, tag) = rest.split_last_chunk().ok_or(ends_early)?;
        Ok(Frame {
            key_id,
            nonce,
            ciphertext,
            tag,
        })
    }

    /// Nonce and tag, one behind the other.
    pub(super) fn name(&self) -> [u8; NONCE_BYTES + TAG_BYTES] {
        let mut name = [0; NONCE_BYTES + TAG_BYTES];
        name[..NONCE_BYTES].copy_from_slice(self.nonce);
        name[NONCE_BYTES..].copy_from_slice(self.tag);
        name
    }

    /// Opens the value into a buffer that is wiped on drop.
    pub(super) fn open(&self, key: &[u8; 32], aad: &[u8]) -> Result<SecretBuffer, TagMismatch> {
        let mut plaintext = Zeroizing::new(vec![0u8; self.ciphertext.len()]);
        cipher::open(
            key,
            self.nonce,
            aad,
            self.ciphertext,
            self.tag,
            &mut plaintext,
        )?;
        Ok(plaintext)
    }
}

/// Seals a value; `None` when it would be longer than a stored value may be. One allocation, and
/// the plaintext is never copied.
pub(super) fn seal(
    key: &[u8; 32],
    key_id: u32,
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    plaintext: &[u8],
) -> Option<Vec<u8>> {
    let length = plaintext.len().checked_add(OVERHEAD_BYTES)?;
    if length > limits::VALUE_BYTES_MAX {
        return None;
    }
    let mut value = vec![0u8; length];
    let (header, rest) = value.split_at_mut(HEADER_BYTES);
    header[..2].copy_from_slice(MAGIC);
    header[2] = FORMAT;
    header[3] = SUITE;
    header[4..].copy_from_slice(&key_id.to_be_bytes());
    let (own_nonce, rest) = rest.split_at_mut(NONCE_BYTES);
    own_nonce.copy_from_slice(nonce);
    let (ciphertext, tag) = rest.split_at_mut(plaintext.len());
    tag.copy_from_slice(&cipher::seal(key, nonce, aad, plaintext, ciphertext));
    Some(value)
}

/// Additional data, built on the stack: it is made for each value, and it is small.
pub(super) struct Aad {
    bytes: [u8; AAD_BYTES_MAX],
    length: usize,
}

/// The outer layer's longest: label, format, suite, key id, vault, site, transaction, kind, length
/// and row key. The inner layer's is shorter.
const AAD_BYTES_MAX: usize = 17 + 2 + 4 + 3 * 16 + 1 + 4 + limits::ROW_KEY_BYTES_MAX;

impl Aad {
    /// Label, format and suite, with which each of them begins.
    pub(super) fn new(label: &[u8]) -> Aad {
        let aad = Aad {
            bytes: [0; AAD_BYTES_MAX],
            length: 0,
        };
        aad.with(label).with(&[FORMAT, SUITE])
    }

    /// Appends a field.
    ///
    /// # Panics
    /// Past the longest additional data; callers check the row key, the only part that varies.
    pub(super) fn with(mut self, field: &[u8]) -> Aad {
        self.bytes[self.length..][..field.len()].copy_from_slice(field);
        self.length += field.len();
        self
    }

    /// The bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
