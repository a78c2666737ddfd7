//! For this room's tests: a keyring in a temporary directory.

use super::{KeyId, KeyName, Keyring, RootKey};
use crate::clock::Timestamp;
use crate::ids::{Site, TransactionId, VaultId};
use std::path::Path;
use tempfile::TempDir;

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
