//! For fuzzers and tests only: what the files of this room hold under their seal, read and written
//! again.

use super::envelope::Sealed;
use super::error::KeyError;
use super::seal::SealFile;
use super::tries::Tries;
use super::{inner, keyring};
use crate::codec::Malformed;
use crate::secret::SecretBuffer;

/// The content of a keyring's file.
///
/// # Errors
/// When it does not have the shape of `docs/format.md` §8.
pub fn keyring(content: &[u8]) -> Result<SecretBuffer, Malformed> {
    keyring::reread(content)
}

/// Every secret of a vault's keys directory, with its root key: what must not be found in a process
/// that has sealed itself.
pub fn secrets(ring: &super::Keyring, root: &super::RootKey) -> Vec<[u8; 32]> {
    let mut all = keyring::secrets(ring);
    all.push(*root.expose());
    all
}

/// `seal.json`, as it would be written.
///
/// # Errors
/// As [`SealFile::read`].
pub fn seal_file(json: &[u8]) -> Result<String, KeyError> {
    SealFile::reread(json)
}

/// The journal of failed tries to unseal, as it would be written.
///
/// # Errors
/// As [`Tries::read`].
pub fn tries(json: &[u8]) -> Result<String, KeyError> {
    Tries::reread(json)
}

/// An inner record's plaintext without its padding, and padded again.
///
/// # Errors
/// When the padding is not what sealing makes.
pub fn record(padded: SecretBuffer) -> Result<(SecretBuffer, SecretBuffer), Malformed> {
    inner::reread(padded)
}

/// The bytes of a sealed value that has the shape of one.
pub fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    Sealed::from_stored(bytes.to_vec())
        .ok()
        .map(Sealed::into_bytes)
}

/// A person's secret, hashed at the least cost: for measuring what stands around Argon2.
pub fn cheap_hash(secret: &crate::secret::SecretText) -> String {
    super::password::hash_at(secret, super::Argon2Cost::for_tests())
}
