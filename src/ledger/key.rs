//! The public key of a ledger, in the form in which people pass it on: a C2SP verifier key,
//! `<name>+<hex key id>+<base64(0x01 ‖ public key)>`. The name is the ledger's origin.

use super::error::NoteFault;
use super::hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Signature type of Ed25519 in C2SP signed-note.
pub(super) const ED25519: u8 = 1;
/// Bytes of a verifier key in text that are looked at.
const TEXT_BYTES_MAX: usize = 512;

/// A key that somebody was given and trusts. Never made from what is to be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl VerifierKey {
    /// Names a public key.
    ///
    /// # Errors
    /// When the name is empty, or holds white space or a plus (C2SP signed-note).
    pub fn new(name: &str, key: VerifyingKey) -> Result<VerifierKey, NoteFault> {
        if !is_name(name) {
            return Err(NoteFault::Key("its name is empty or has a space or plus"));
        }
        Ok(VerifierKey {
            name: name.to_owned(),
            id: key_id(ED25519, name, &key),
            key,
        })
    }

    /// Reads `<name>+<hex key id>+<base64>`.
    ///
    /// # Errors
    /// When the form, the signature type or the key id is wrong: a mistyped key is noticed.
    pub fn parse(text: &str) -> Result<VerifierKey, NoteFault> {
        let (name, key) = parts(ED25519, "it is not an Ed25519 key (type 1)", text)?;
        VerifierKey::new(name, key)
    }

    /// Its name: the origin of the ledger that it signs for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id: a hint in signatures, no proof of anything.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Whether `signature` over `message` was made with this key. Strict (RFC 8032 with the checks
    /// that make a signature's bytes unique).
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, ED25519, &self.name, &self.key)
    }
}

/// Reads `<name>+<hex key id>+<base64(type ‖ public key)>` of a key of this type.
pub(super) fn parts<'a>(
    kind: u8,
    other_kind: &'static str,
    text: &'a str,
) -> Result<(&'a str, VerifyingKey), NoteFault> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(NoteFault::Key("it is too long"));
    }
    // Base64 may hold a plus too: the first two divide.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteFault::Key("it has not three parts divided by a plus"));
    };
    let [own_kind, key @ ..] =
        hash::decode::<33>(key).ok_or(NoteFault::Key("its last part is not base64 of 33 bytes"))?;
    if own_kind != kind {
        return Err(NoteFault::Key(other_kind));
    }
    let key = VerifyingKey::from_bytes(&key)
        .map_err(|_| NoteFault::Key("its bytes are not an Ed25519 public key"))?;
    if hex(&key_id(kind, name, &key)) != id {
        return Err(NoteFault::Key(
            "its id does not belong to its name and bytes",
        ));
    }
    Ok((name, key))
}

/// Writes what [`parts`] reads.
pub(super) fn write(
    f: &mut fmt::Formatter<'_>,
    kind: u8,
    name: &str,
    key: &VerifyingKey,
) -> fmt::Result {
    let mut bytes = [kind; 33];
    bytes[1..].copy_from_slice(key.as_bytes());
    write!(
        f,
        "{name}+{}+{}",
        hex(&key_id(kind, name, key)),
        STANDARD.encode(bytes)
    )
}

/// Whether a note's signature line may carry this name.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c == '+' || c.is_whitespace() || c.is_control())
}

/// The first 4 bytes of SHA-256(name ‖ 0x0A ‖ type ‖ public key).
pub(super) fn key_id(kind: u8, name: &str, key: &VerifyingKey) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([b'\n', kind]);
    hash.update(key.as_bytes());
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
    [a, b, c, d]
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
