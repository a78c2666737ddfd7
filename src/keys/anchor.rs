//! What the keyring-wrapping key rests on beside the root key, and so what a key's destruction
//! rests on: see [`RestsOn`].

use super::error::KeyError;
use super::hsm::{Hsm, ObjectId};
use crate::ids::VaultId;
use crate::secret::SecretBuffer;

/// What makes a wrapping key's end real. An erasure receipt says which it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestsOn {
    /// Its slot of the wrap file was overwritten in place: best effort. Whoever has a copy of the
    /// keys directory from before, and what opened the seal then, opens that copy.
    Slot,
    /// An object in a security module was destroyed that each opening needs: no earlier copy of the
    /// keys directory opens, whatever else somebody has.
    HsmObject,
}

impl RestsOn {
    /// Its name in entries, receipts and output for machines.
    pub const fn as_str(self) -> &'static str {
        match self {
            RestsOn::Slot => "slot",
            RestsOn::HsmObject => "hsm-object",
        }
    }
}

/// Keeps one object for each wrapping key, without which the key can't be opened.
pub(super) trait Anchor: Send + Sync {
    /// Makes an object.
    ///
    /// # Errors
    /// What the keeper says; there is no new object then.
    fn make(&self) -> Result<ObjectId, KeyError>;

    /// Encrypts under an object, with additional data.
    ///
    /// # Errors
    /// [`KeyError::HsmKeyMissing`], or what else the keeper says.
    fn encrypt(&self, id: &ObjectId, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError>;

    /// Opens what was encrypted under an object.
    ///
    /// # Errors
    /// [`KeyError::HsmKeyMissing`] once it was destroyed, [`KeyError::HsmKeyForeign`] when anything
    /// is not as it was, or what else the keeper says.
    fn decrypt(&self, id: &ObjectId, aad: &[u8], sealed: &[u8]) -> Result<SecretBuffer, KeyError>;

    /// Destroys an object; that it is not there is no error.
    ///
    /// # Errors
    /// What the keeper says; the object may be there still.
    fn destroy(&self, id: &ObjectId) -> Result<(), KeyError>;
}

/// Objects in a security module's token.
pub(super) struct HsmAnchor {
    hsm: Hsm,
    label: String,
}

impl HsmAnchor {
    /// A vault's objects in the token.
    pub(super) fn new(hsm: Hsm, vault: VaultId) -> HsmAnchor {
        let label = format!("payvault keyring {vault}");
        HsmAnchor { hsm, label }
    }
}

impl Anchor for HsmAnchor {
    fn make(&self) -> Result<ObjectId, KeyError> {
        self.hsm.make_key(&self.label)
    }

    fn encrypt(&self, id: &ObjectId, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.hsm.encrypt(&self.label, id, aad, plain)
    }

    fn decrypt(&self, id: &ObjectId, aad: &[u8], sealed: &[u8]) -> Result<SecretBuffer, KeyError> {
        self.hsm.decrypt(&self.label, id, aad, sealed)
    }

    fn destroy(&self, id: &ObjectId) -> Result<(), KeyError> {
        self.hsm.destroy(&self.label, id)
    }
}
