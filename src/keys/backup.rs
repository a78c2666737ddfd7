//! The chunks of a backup (`docs/format.md` §9): sealed under a key of their own for each backup,
//! and bound to its header, to their place in it and to whether they are the last.

use super::cipher::{self, DerivedKey, NONCE_BYTES, TAG_BYTES};
use super::envelope::EnvelopeError;
use super::keyring::Keyring;
use super::name::{KeyId, KeyName};
use super::record::{KeyRecord, KeyState};
use crate::codec::Malformed;
use crate::ids::random;
use crate::secret::SecretBuffer;
use zeroize::Zeroizing;

/// What seals or opens one backup's chunks. No `Debug`, no `Clone`: it holds a key.
pub struct BackupKey {
    key: DerivedKey,
    /// H(header).
    header: [u8; 32],
}

impl BackupKey {
    /// What sealing adds to a chunk's content: nonce and tag.
    pub const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

    /// Seals the content of chunk `number`: nonce ‖ ciphertext ‖ tag. `last` says that none
    /// follows.
    pub fn seal(&self, number: u64, last: bool, content: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = random();
        let mut chunk = vec![0u8; content.len() + BackupKey::OVERHEAD_BYTES];
        let (own_nonce, rest) = chunk.split_at_mut(NONCE_BYTES);
        own_nonce.copy_from_slice(&nonce);
        let (ciphertext, tag) = rest.split_at_mut(content.len());
        let aad = self.aad(number, last);
        tag.copy_from_slice(&cipher::seal(&self.key, &nonce, &aad, content, ciphertext));
        chunk
    }

    /// Opens what [`seal`](BackupKey::seal) made of chunk `number`.
    ///
    /// # Errors
    /// [`EnvelopeError::Shape`] when it is too short; [`EnvelopeError::Tampered`] when it was
    /// changed, or is another chunk or another backup's.
    pub fn open(
        &self,
        number: u64,
        last: bool,
        chunk: &[u8],
    ) -> Result<SecretBuffer, EnvelopeError> {
        let short = Malformed::new("chunk ends early");
        let (nonce, rest) = chunk.split_first_chunk().ok_or(short)?;
        let (ciphertext, tag) = rest.split_last_chunk().ok_or(short)?;
        let mut content = Zeroizing::new(vec![0u8; ciphertext.len()]);
        let aad = self.aad(number, last);
        cipher::open(&self.key, nonce, &aad, ciphertext, tag, &mut content)
            .map_err(|_| EnvelopeError::Tampered)?;
        Ok(content)
    }

    /// "payvault backup chunk v1" ‖ H(header) ‖ number ‖ last.
    fn aad(&self, number: u64, last: bool) -> Vec<u8> {
        let mut aad = Vec::with_capacity(65);
        aad.extend_from_slice(b"payvault backup chunk v1");
        aad.extend_from_slice(&self.header);
        aad.extend_from_slice(&number.to_be_bytes());
        aad.push(u8::from(last));
        aad
    }
}

impl Keyring {
    /// The key of a new backup, under `key`, which [`find`](Keyring::find) gave for
    /// [`KeyName::Backup`]. `header` is the digest of its header.
    ///
    /// # Errors
    /// [`EnvelopeError::NotActive`], and as [`opens_backup`](Keyring::opens_backup).
    pub fn seals_backup(
        &self,
        key: KeyId,
        backup: &[u8; 16],
        header: [u8; 32],
    ) -> Result<BackupKey, EnvelopeError> {
        if self.live(key)?.state() != KeyState::Active {
            return Err(EnvelopeError::NotActive(key));
        }
        self.opens_backup(key, backup, header)
    }

    /// The key of a backup that was made under `key`.
    ///
    /// # Errors
    /// [`EnvelopeError::UnknownKey`], [`DestroyedKey`](EnvelopeError::DestroyedKey) or
    /// [`WrongPurpose`](EnvelopeError::WrongPurpose).
    pub fn opens_backup(
        &self,
        key: KeyId,
        backup: &[u8; 16],
        header: [u8; 32],
    ) -> Result<BackupKey, EnvelopeError> {
        let record: &KeyRecord = self.live(key)?;
        if record.name() != KeyName::Backup {
            return Err(EnvelopeError::WrongPurpose(key));
        }
        let deriver = record.deriver().ok_or(EnvelopeError::DestroyedKey(key))?;
        let key = deriver.derive(&[b"payvault backup v1", backup]);
        Ok(BackupKey { key, header })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, NOW, id};
    use super::*;

    #[test]
    fn a_chunk_opens_in_its_place_of_its_backup_only() {
        let (_dir, mut keyring) = testing::keyring();
        keyring.ensure(&[KeyName::Backup], NOW).unwrap();
        let under = id(&keyring, &KeyName::Backup);
        let own = keyring.seals_backup(under, &[1; 16], [2; 32]).unwrap();
        for length in [0, 1, 100_000] {
            let content = vec![7; length];
            let chunk = own.seal(3, false, &content);
            assert_eq!(chunk.len(), length + BackupKey::OVERHEAD_BYTES);
            assert_eq!(own.open(3, false, &chunk).unwrap()[..], content);
            let refused = |key: &BackupKey, number, last| {
                let opened = key.open(number, last, &chunk).map(|_| ());
                assert_eq!(opened, Err(EnvelopeError::Tampered));
            };
            refused(&own, 4, false);
            refused(&own, 3, true);
            let backup = |id, header| keyring.opens_backup(under, id, header).unwrap();
            refused(&backup(&[9; 16], [2; 32]), 3, false);
            refused(&backup(&[1; 16], [9; 32]), 3, false);
        }
        assert!(own.open(0, false, &[0; 27]).is_err());
    }

    #[test]
    fn another_purpose_s_key_and_a_retired_one_seal_no_backup() {
        let (_dir, mut keyring) = testing::keyring();
        keyring.ensure(&[KeyName::Backup], NOW).unwrap();
        let vault = id(&keyring, &KeyName::Vault);
        let wrong = keyring.seals_backup(vault, &[1; 16], [2; 32]).err();
        assert_eq!(wrong, Some(EnvelopeError::WrongPurpose(vault)));
        let under = id(&keyring, &KeyName::Backup);
        keyring
            .change_state(&[under], KeyState::DecryptOnly, NOW)
            .unwrap();
        let retired = keyring.seals_backup(under, &[1; 16], [2; 32]).err();
        assert_eq!(retired, Some(EnvelopeError::NotActive(under)));
        assert!(keyring.opens_backup(under, &[1; 16], [2; 32]).is_ok());
    }
}
