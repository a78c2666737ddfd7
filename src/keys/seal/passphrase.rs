//! The seal that a passphrase opens: Argon2id makes the key that wraps the root key.

use super::super::argon::{self, Argon2Cost, SALT_BYTES};
use super::super::error::KeyError;
use super::{JsonUnsealer, ROOT_BYTES, RootKey, base64_array, fail, unwrap_root, wrap_root};
use crate::ids::{VaultId, random};
use crate::limits::PASSPHRASE_BYTES;
use crate::secret::SecretText;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What the file keeps of it.
#[derive(Debug)]
pub(super) struct PassphraseSeal {
    cost: Argon2Cost,
    salt: [u8; SALT_BYTES],
    root: [u8; ROOT_BYTES],
}

impl PassphraseSeal {
    /// Seals a root key: KEK = Argon2id(passphrase, salt), root = AES-256-GCM under it, bound to
    /// vault and cost.
    pub(super) fn close(
        root: &RootKey,
        vault: VaultId,
        passphrase: &SecretText,
        cost: Argon2Cost,
    ) -> Result<PassphraseSeal, KeyError> {
        if !PASSPHRASE_BYTES.contains(&passphrase.len()) {
            return Err(KeyError::PassphraseLength);
        }
        check_cost(cost)?;
        let salt = random();
        let kek = argon::argon2id(passphrase.expose().as_bytes(), &salt, cost)
            .map_err(|_| KeyError::OutOfMemory)?;
        let root = wrap_root(kek.expose(), &aad(vault, cost), &random(), root);
        Ok(PassphraseSeal { cost, salt, root })
    }

    /// Opens it.
    pub(super) fn open(
        &self,
        vault: VaultId,
        passphrase: &SecretText,
    ) -> Result<RootKey, KeyError> {
        if !PASSPHRASE_BYTES.contains(&passphrase.len()) {
            // None such can have been set; nothing is computed with a megabyte of it.
            return Err(KeyError::WrongPassphrase);
        }
        check_cost(self.cost)?;
        let kek = argon::argon2id(passphrase.expose().as_bytes(), &self.salt, self.cost)
            .map_err(|_| KeyError::OutOfMemory)?;
        unwrap_root(kek.expose(), &aad(vault, self.cost), &self.root)
            .map(|root| RootKey::opened(root, String::new()))
            .ok_or(KeyError::WrongPassphrase)
    }

    pub(super) fn root(&self) -> &[u8; ROOT_BYTES] {
        &self.root
    }

    pub(super) fn to_json(&self) -> JsonArgon2id {
        JsonArgon2id::new(self.cost, &self.salt)
    }

    pub(super) fn from_json(json: &JsonArgon2id, root: &str) -> Result<PassphraseSeal, KeyError> {
        let cost = json.cost();
        check_cost(cost)?;
        Ok(PassphraseSeal {
            cost,
            salt: base64_array(&json.salt).ok_or_else(|| fail("salt is not 16 bytes"))?,
            root: base64_array(root).ok_or_else(|| fail("root is not 60 bytes"))?,
        })
    }
}

pub(super) fn check_cost(cost: Argon2Cost) -> Result<(), KeyError> {
    cost.accepted().then_some(()).ok_or(KeyError::CostRefused)
}

/// "payvault root v1" ‖ vault id ‖ m ‖ t ‖ p: a lowered cost is noticed, not obeyed.
fn aad(vault: VaultId, cost: Argon2Cost) -> [u8; 44] {
    let mut aad = [0u8; 44];
    aad[..16].copy_from_slice(b"payvault root v1");
    aad[16..32].copy_from_slice(&vault.0);
    aad[32..36].copy_from_slice(&cost.m_kib.to_be_bytes());
    aad[36..40].copy_from_slice(&cost.t.to_be_bytes());
    aad[40..].copy_from_slice(&cost.p.to_be_bytes());
    aad
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Json {
    pub(super) argon2id: JsonArgon2id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) check: Option<String>,
    pub(super) kind: String,
    pub(super) root: String,
    pub(super) unsealers: Vec<JsonUnsealer>,
    pub(super) v: u32,
    pub(super) vault: String,
}

/// Cost and salt, here and in a share's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonArgon2id {
    m_kib: u32,
    p: u32,
    pub(super) salt: String,
    t: u32,
}

impl JsonArgon2id {
    pub(super) fn new(cost: Argon2Cost, salt: &[u8; SALT_BYTES]) -> JsonArgon2id {
        JsonArgon2id {
            m_kib: cost.m_kib,
            p: cost.p,
            salt: STANDARD.encode(salt),
            t: cost.t,
        }
    }

    pub(super) fn cost(&self) -> Argon2Cost {
        Argon2Cost {
            m_kib: self.m_kib,
            t: self.t,
            p: self.p,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cost that is accepted as well is another one, and the root key is bound to its own.
    #[test]
    fn the_cost_is_bound() {
        const VAULT: VaultId = VaultId([7; 16]);
        let kek = [1; 32];
        let root = RootKey::of([2; 32]);
        let strong = aad(VAULT, Argon2Cost::STRONG);
        let wrapped = wrap_root(&kek, &strong, &[3; 12], &root);
        assert!(unwrap_root(&kek, &strong, &wrapped).is_some());
        assert!(unwrap_root(&kek, &aad(VAULT, Argon2Cost::DEFAULT), &wrapped).is_none());
        let other = VaultId([8; 16]);
        assert!(unwrap_root(&kek, &aad(other, Argon2Cost::STRONG), &wrapped).is_none());
        for at in 0..ROOT_BYTES {
            let mut changed = wrapped;
            changed[at] ^= 1;
            assert!(unwrap_root(&kek, &strong, &changed).is_none());
        }
    }
}
