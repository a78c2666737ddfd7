//! The two primitives under every format of this room: AES-256-GCM (NIST SP 800-38D, 96-bit nonce,
//! 128-bit tag) and HKDF-SHA-256 (RFC 5869, empty salt, 32 bytes out). Nothing else in the crate
//! calls a cipher, so the vectors that run through this file speak for all of it.
//!
//! Nonces come in as an argument: random ones are drawn where a value is sealed, and tests that
//! compare with frozen vectors bring their own.

use crate::os::{self, Locked};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use hmac::digest::FixedOutput;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 12;
/// Bytes of a tag.
pub(super) const TAG_BYTES: usize = 16;

/// A key for one derivation's use, wiped on drop.
pub(super) type DerivedKey = Zeroizing<[u8; 32]>;

/// The tag does not fit: wrong key, wrong additional data, or a changed value. Which of them can't
/// be told, and mustn't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TagMismatch;

/// What HKDF-Extract leaves of a key, kept ready so that a derivation costs one HMAC.
pub(super) struct Deriver {
    // Boxed: moving the owner must not leave copies of the state on the stack.
    hkdf: Box<Hkdf<Sha256>>,
    _locked: Option<Locked>,
}

impl Deriver {
    /// HKDF-Extract with an empty salt.
    pub(super) fn new(key: &[u8]) -> Deriver {
        let (mut prk, hkdf) = Hkdf::<Sha256>::extract(None, key);
        zeroize::Zeroize::zeroize(&mut prk[..]);
        Deriver {
            hkdf: Box::new(hkdf),
            _locked: None,
        }
    }

    /// Kept out of the swap, as well as the system allows: for one that stays.
    pub(super) fn locked(self) -> Deriver {
        let locked = os::lock_value(&*self.hkdf);
        Deriver {
            _locked: Some(locked),
            ..self
        }
    }

    /// HKDF-Expand: `info` is the parts joined. Each use starts with its own label, and at most the
    /// last part has a varying length, so two uses never share an info.
    pub(super) fn derive(&self, info: &[&[u8]]) -> DerivedKey {
        let mut key = Zeroizing::new([0u8; 32]);
        self.hkdf
            .expand_multi_info(info, &mut key[..])
            .expect("32 bytes are far below HKDF's 255 blocks");
        key
    }
}

/// `HKDF(key, info)` in one go.
pub(super) fn hkdf(key: &[u8], info: &[&[u8]]) -> DerivedKey {
    Deriver::new(key).derive(info)
}

/// Seals `plaintext` into `out`, which is as long, and returns the tag. The plaintext is never
/// copied into `out`: each block arrives there enciphered.
///
/// # Panics
/// When the lengths differ, or at more than the cipher's 64 GiB: callers bound their values.
pub(super) fn seal(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    plaintext: &[u8],
    out: &mut [u8],
) -> [u8; TAG_BYTES] {
    #[cfg(feature = "fault-injection")]
    super::watch::sealing(plaintext);
    let buffer = InOutBuf::new(plaintext, out).expect("the output is as long as the plaintext");
    Aes256Gcm::new(key.into())
        .encrypt_inout_detached(nonce.into(), aad, buffer)
        .expect("values are bounded far below the cipher's 64 GiB")
        .into()
}

/// Opens `ciphertext` into `out`, which is as long. The tag is checked first; when it does not
/// fit, `out` stays as it was.
///
/// # Panics
/// When the lengths differ.
pub(super) fn open(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    ciphertext: &[u8],
    tag: &[u8; TAG_BYTES],
    out: &mut [u8],
) -> Result<(), TagMismatch> {
    let buffer = InOutBuf::new(ciphertext, out).expect("the output is as long as the ciphertext");
    Aes256Gcm::new(key.into())
        .decrypt_inout_detached(nonce.into(), aad, buffer, tag.into())
        .map_err(|_| TagMismatch)
}

/// HMAC-SHA-256 of the joined parts, written into `out`.
pub(super) fn hmac(key: &[u8; 32], parts: &[&[u8]], out: &mut [u8; 32]) {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize_into(out.into());
}
