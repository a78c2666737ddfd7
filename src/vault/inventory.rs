//! What an assessor may know of the keys: everything but their bytes.

use super::Vault;
use crate::clock::Timestamp;
use crate::keys::{KeyId, KeyName, KeyRecord, KeyState};

/// A key, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its number.
    pub id: KeyId,
    /// Its name: purpose and period.
    pub name: KeyName,
    /// Which key of its name it is.
    pub generation: u32,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it seals and signs nothing.
    pub not_after_encrypt: Timestamp,
    /// From then on it is due for destruction.
    pub not_after_decrypt: Timestamp,
    /// Somebody else may have it.
    pub compromised: bool,
    /// No live row lies under it.
    pub clear: bool,
    /// Seals that it may have made.
    pub seals_reserved: u64,
}

impl KeyFacts {
    fn of(key: &KeyRecord) -> KeyFacts {
        KeyFacts {
            id: key.id(),
            name: key.name(),
            generation: key.generation(),
            state: key.state(),
            created_at: key.created_at(),
            not_after_encrypt: key.not_after_encrypt(),
            not_after_decrypt: key.not_after_decrypt(),
            compromised: key.is_compromised(),
            clear: key.is_clear(),
            seals_reserved: key.seals_reserved(),
        }
    }
}

impl Vault {
    /// The keyring's generation, and every key, destroyed ones included, in the order in which they
    /// were made.
    pub fn keys(&self) -> (u64, Vec<KeyFacts>) {
        let ring = self.ring();
        (ring.generation(), ring.list().map(KeyFacts::of).collect())
    }
}
