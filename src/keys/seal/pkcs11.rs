//! The seal that a security module opens: the root key is encrypted under a key that was made in one
//! of its tokens and can't leave it. A PIN lets the vault ask for that.

use super::super::anchor::HsmAnchor;
use super::super::error::KeyError;
use super::super::hsm::{Hsm, ObjectId};
use super::{JsonUnsealer, ROOT_BYTES, RootKey, base64_array, fail};
use crate::ids::VaultId;
use crate::limits::HSM_LABEL_BYTES_MAX;
use crate::secret::{SecretBytes, SecretText};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// What the file keeps of it. Where the module lies is configuration: a file that anybody could have
/// changed must not say which code is loaded.
#[derive(Debug)]
pub(super) struct Pkcs11Seal {
    token: String,
    key_label: String,
    key_id: ObjectId,
    root: [u8; ROOT_BYTES],
}

impl Pkcs11Seal {
    /// Makes a key in the token, and seals a root key under it: bound to the vault. Gives the root
    /// key what its wrapping keys rest on.
    ///
    /// # Errors
    /// What [`Hsm`] says; [`KeyError::HsmLabelRefused`]; [`KeyError::HsmKeyExists`] when the token
    /// has a key of that label.
    pub(super) fn close(
        root: &mut RootKey,
        vault: VaultId,
        module: &Path,
        token: &str,
        key_label: &str,
        pin: &SecretText,
    ) -> Result<Pkcs11Seal, KeyError> {
        if !label_fits(token) || !label_fits(key_label) {
            return Err(KeyError::HsmLabelRefused);
        }
        let hsm = Hsm::new(module, token, pin);
        if hsm.has_label(key_label)? {
            // It may be another vault's, and two of one name are easily taken for each other.
            return Err(KeyError::HsmKeyExists(key_label.to_owned()));
        }
        let key_id = hsm.make_key(key_label)?;
        let sealed = hsm
            .encrypt(key_label, &key_id, &aad(vault), root.expose())
            .and_then(|sealed| {
                sealed.try_into().map_err(|_| KeyError::Hsm {
                    doing: "sealing the root key",
                    what: "ciphertext of an unexpected length".to_owned(),
                })
            });
        let sealed = sealed.inspect_err(|_| {
            // Nobody will ever ask for it.
            let _ = hsm.destroy(key_label, &key_id);
        })?;
        root.anchor = Some(Arc::new(HsmAnchor::new(hsm, vault)));
        Ok(Pkcs11Seal {
            token: token.to_owned(),
            key_label: key_label.to_owned(),
            key_id,
            root: sealed,
        })
    }

    /// Opens it.
    ///
    /// # Errors
    /// What [`Hsm`] says; [`KeyError::HsmKeyMissing`]; [`KeyError::HsmKeyForeign`] when the token has
    /// another key of that label, or the file was changed.
    pub(super) fn open(
        &self,
        vault: VaultId,
        module: &Path,
        pin: &SecretText,
    ) -> Result<RootKey, KeyError> {
        let hsm = Hsm::new(module, &self.token, pin);
        let opened = hsm.decrypt(&self.key_label, &self.key_id, &aad(vault), &self.root);
        let opened = match opened {
            Err(KeyError::HsmKeyMissing) if hsm.has_label(&self.key_label)? => {
                return Err(KeyError::HsmKeyForeign);
            }
            opened => opened?,
        };
        let bytes = SecretBytes::copy_from(&opened).ok_or(KeyError::HsmKeyForeign)?;
        let mut root = RootKey::opened(bytes, String::new());
        root.anchor = Some(Arc::new(HsmAnchor::new(hsm, vault)));
        Ok(root)
    }

    pub(super) fn root(&self) -> &[u8; ROOT_BYTES] {
        &self.root
    }

    pub(super) fn to_json(&self) -> JsonPkcs11 {
        JsonPkcs11 {
            key_id: STANDARD.encode(self.key_id),
            key_label: self.key_label.clone(),
            token: self.token.clone(),
        }
    }

    pub(super) fn from_json(json: JsonPkcs11, root: &str) -> Result<Pkcs11Seal, KeyError> {
        if !label_fits(&json.token) || !label_fits(&json.key_label) {
            return Err(fail("a label is empty, too long or not printable ASCII"));
        }
        Ok(Pkcs11Seal {
            key_id: base64_array(&json.key_id).ok_or_else(|| fail("key_id is not 16 bytes"))?,
            root: base64_array(root).ok_or_else(|| fail("root is not 60 bytes"))?,
            token: json.token,
            key_label: json.key_label,
        })
    }
}

/// PKCS#11 pads a token's label with spaces to 32 bytes, so it ends in none.
fn label_fits(label: &str) -> bool {
    (1..=HSM_LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|b| (0x20..0x7f).contains(&b))
        && !label.ends_with(' ')
        && !label.contains(['"', '\\'])
}

/// "payvault root pkcs11 v1" ‖ vault id.
fn aad(vault: VaultId) -> Vec<u8> {
    [&b"payvault root pkcs11 v1"[..], &vault.0].concat()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Json {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) check: Option<String>,
    pub(super) kind: String,
    pub(super) pkcs11: JsonPkcs11,
    pub(super) root: String,
    pub(super) unsealers: Vec<JsonUnsealer>,
    pub(super) v: u32,
    pub(super) vault: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonPkcs11 {
    key_id: String,
    key_label: String,
    token: String,
}
