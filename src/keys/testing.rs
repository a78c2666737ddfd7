//! For this room's tests: a keyring in a temporary directory.

use super::anchor::Anchor;
use super::cipher;
use super::error::KeyError;
use super::hsm::ObjectId;
use super::{KeyId, KeyName, Keyring, RootKey};
use crate::clock::Timestamp;
use crate::ids::{Site, TransactionId, VaultId, random};
use crate::secret::SecretBuffer;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// 2026-11-23T18:44:15.007Z, in the day 20780.
pub(super) const NOW: Timestamp = Timestamp(1_795_459_455_007);
/// The day of [`NOW`].
pub(super) const DAY: u32 = 20_780;
pub(super) const VAULT: VaultId = VaultId([7; 16]);
pub(super) const TXN: TransactionId = TransactionId([9; 16]);

pub(super) fn nl() -> Site {
    Site::parse("nl").unwrap()
}

pub(super) fn release() -> KeyName {
    KeyName::Release {
        site: nl(),
        day: DAY,
    }
}

pub(super) fn log() -> KeyName {
    KeyName::Log {
        site: nl(),
        year: 2026,
        month: 11,
    }
}

pub(super) fn replay() -> KeyName {
    KeyName::Replay { day: DAY }
}

/// A security module in memory: its objects, and whether it is reachable.
#[derive(Default)]
pub(super) struct FakeHsm {
    pub(super) objects: Mutex<BTreeSet<ObjectId>>,
    pub(super) unplugged: AtomicBool,
    /// Whether it refuses to destroy.
    pub(super) keeps_all: AtomicBool,
}

impl FakeHsm {
    fn asked(&self, id: &ObjectId) -> Result<(), KeyError> {
        self.reached()?;
        let has = self.objects.lock().unwrap().contains(id);
        has.then_some(()).ok_or(KeyError::HsmKeyMissing)
    }

    fn reached(&self) -> Result<(), KeyError> {
        match self.unplugged.load(Ordering::SeqCst) {
            true => Err(KeyError::HsmTokenMissing("unplugged".to_owned())),
            false => Ok(()),
        }
    }
}

impl Anchor for FakeHsm {
    fn make(&self) -> Result<ObjectId, KeyError> {
        self.reached()?;
        let id = random();
        self.objects.lock().unwrap().insert(id);
        Ok(id)
    }

    fn encrypt(&self, id: &ObjectId, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.asked(id)?;
        let key = [id[0]; 32];
        let mut sealed = vec![0; plain.len()];
        let tag = cipher::seal(&key, &[id[1]; 12], aad, plain, &mut sealed);
        Ok([&[id[1]; 12][..], &sealed, &tag].concat())
    }

    fn decrypt(&self, id: &ObjectId, aad: &[u8], sealed: &[u8]) -> Result<SecretBuffer, KeyError> {
        self.asked(id)?;
        let (nonce, rest) = sealed.split_first_chunk().unwrap();
        let (sealed, tag) = rest.split_last_chunk().unwrap();
        let mut plain = Zeroizing::new(vec![0; sealed.len()]);
        cipher::open(&[id[0]; 32], nonce, aad, sealed, tag, &mut plain)
            .map_err(|_| KeyError::HsmKeyForeign)?;
        Ok(plain)
    }

    fn destroy(&self, id: &ObjectId) -> Result<(), KeyError> {
        self.reached()?;
        if self.keeps_all.load(Ordering::SeqCst) {
            return Err(KeyError::HsmTokenMissing("it keeps all".to_owned()));
        }
        self.objects.lock().unwrap().remove(id);
        Ok(())
    }
}

pub(super) fn root() -> RootKey {
    RootKey::of([1; 32])
}

/// A keyring and its directory, with a release, a log and a replay key.
pub(super) fn keyring() -> (TempDir, Keyring) {
    let dir = tempfile::tempdir().unwrap();
    let mut keyring = Keyring::create(dir.path(), VAULT, &root(), NOW).unwrap();
    keyring.ensure(&[release(), log(), replay()], NOW).unwrap();
    (dir, keyring)
}

pub(super) fn reload(dir: &Path) -> Keyring {
    Keyring::load(dir, VAULT, &root()).unwrap()
}

pub(super) fn id(keyring: &Keyring, name: &KeyName) -> KeyId {
    keyring.find(name, NOW).unwrap()
}

pub(super) fn unhex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0, "hexadecimal digits come in pairs");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
