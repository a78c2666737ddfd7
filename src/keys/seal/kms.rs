//! The seal that Amazon's key service opens: the root key is encrypted by a key that never leaves it.
//! Who may ask is the service's to say: the vault's machine has a role there, and no person gives
//! anything.

use super::super::error::KeyError;
use super::{JsonUnsealer, RootKey, fail};
use crate::ids::VaultId;
use crate::limits::{KMS_BLOB_BYTES_MAX, KMS_KEY_BYTES_MAX};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What the file keeps of it. Region, endpoint and credentials are the environment's.
#[derive(Debug)]
pub(super) struct KmsSeal {
    /// The key's ARN, as the service told it.
    key: String,
    root: Vec<u8>,
}

impl KmsSeal {
    /// Has a root key encrypted, bound to the vault by the encryption context. Blocks for the calls.
    ///
    /// # Errors
    /// [`KeyError::KmsKeyRefused`], [`KeyError::KmsUnreachable`], [`KeyError::KmsNotBuilt`].
    pub(super) fn close(root: &RootKey, vault: VaultId, key: &str) -> Result<KmsSeal, KeyError> {
        if !key_fits(key) {
            let what = "an id, ARN or alias has 1 to 2048 printable characters".to_owned();
            return Err(KeyError::KmsKeyRefused { what });
        }
        let (key, root) = service::encrypt(key, vault, root.expose())?;
        if !key_fits(&key) || root.len() > KMS_BLOB_BYTES_MAX {
            let what = "its answer is larger than it may be".to_owned();
            return Err(KeyError::KmsUnreachable { what });
        }
        Ok(KmsSeal { key, root })
    }

    /// Opens it. Blocks for the call.
    ///
    /// # Errors
    /// As [`close`](KmsSeal::close), and [`KeyError::KmsKeyForeign`] when the key is another one than
    /// the one that sealed it, or the file was changed.
    pub(super) fn open(&self, vault: VaultId) -> Result<RootKey, KeyError> {
        let bytes = service::decrypt(&self.key, vault, &self.root)?;
        Ok(RootKey::opened(bytes, String::new()))
    }

    pub(super) fn root(&self) -> &[u8] {
        &self.root
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn from_json(json: &Json) -> Result<KmsSeal, KeyError> {
        if !key_fits(&json.key) {
            return Err(fail("key is empty, too long or not printable ASCII"));
        }
        let root = STANDARD.decode(&json.root).ok();
        let root = root.filter(|root| (1..=KMS_BLOB_BYTES_MAX).contains(&root.len()));
        Ok(KmsSeal {
            key: json.key.clone(),
            root: root.ok_or_else(|| fail("root is not 1 to 6144 bytes"))?,
        })
    }
}

fn key_fits(key: &str) -> bool {
    (1..=KMS_KEY_BYTES_MAX).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_graphic())
        && !key.contains(['"', '\\'])
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Json {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) check: Option<String>,
    pub(super) key: String,
    pub(super) kind: String,
    pub(super) root: String,
    pub(super) unsealers: Vec<JsonUnsealer>,
    pub(super) v: u32,
    pub(super) vault: String,
}

#[cfg(not(feature = "aws-kms"))]
mod service {
    //! In a binary without the SDK.

    use super::KeyError;
    use crate::ids::VaultId;
    use crate::secret::SecretBytes;

    pub(super) fn encrypt(
        _key: &str,
        _vault: VaultId,
        _root: &[u8; 32],
    ) -> Result<(String, Vec<u8>), KeyError> {
        Err(KeyError::KmsNotBuilt)
    }

    pub(super) fn decrypt(
        _key: &str,
        _vault: VaultId,
        _blob: &[u8],
    ) -> Result<SecretBytes<32>, KeyError> {
        Err(KeyError::KmsNotBuilt)
    }
}

#[cfg(feature = "aws-kms")]
mod service {
    //! The calls. Each runs on a thread and a runtime of its own: the seal is opened by blocking
    //! code, which must not depend on whether, and on which, runtime it was called.

    use super::KeyError;
    use crate::ids::VaultId;
    use crate::limits::KMS_CALL_MS;
    use crate::secret::SecretBytes;
    use aws_config::BehaviorVersion;
    use aws_config::timeout::TimeoutConfig;
    use aws_sdk_kms::Client;
    use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
    use aws_sdk_kms::primitives::Blob;
    use std::time::Duration;

    /// The encryption context's one key; its value is the vault's id.
    const CONTEXT: &str = "payvault:vault";

    pub(super) fn encrypt(
        key: &str,
        vault: VaultId,
        root: &[u8; 32],
    ) -> Result<(String, Vec<u8>), KeyError> {
        let answer = call(async |client| {
            client
                .encrypt()
                .key_id(key)
                .encryption_context(CONTEXT, vault.to_string())
                .plaintext(Blob::new(root.to_vec()))
                .send()
                .await
                .map_err(|error| refused(&error))
        })?;
        let missing = |what: &str| KeyError::KmsUnreachable {
            what: format!("its answer has no {what}"),
        };
        let key = answer.key_id.ok_or_else(|| missing("key"))?;
        let blob = answer
            .ciphertext_blob
            .ok_or_else(|| missing("ciphertext"))?;
        Ok((key, blob.into_inner()))
    }

    pub(super) fn decrypt(
        key: &str,
        vault: VaultId,
        blob: &[u8],
    ) -> Result<SecretBytes<32>, KeyError> {
        let answer = call(async |client| {
            client
                .decrypt()
                .key_id(key)
                .encryption_context(CONTEXT, vault.to_string())
                .ciphertext_blob(Blob::new(blob.to_vec()))
                .send()
                .await
                .map_err(|error| refused(&error))
        })?;
        let plain = answer.plaintext.ok_or(KeyError::KmsKeyForeign)?;
        let plain = zeroize::Zeroizing::new(plain.into_inner());
        SecretBytes::copy_from(&plain).ok_or(KeyError::KmsKeyForeign)
    }

    fn call<T: Send>(
        work: impl AsyncFnOnce(Client) -> Result<T, KeyError> + Send,
    ) -> Result<T, KeyError> {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| KeyError::KmsUnreachable {
                    what: error.to_string(),
                })?;
            runtime.block_on(async {
                let timeouts = TimeoutConfig::builder()
                    .operation_timeout(Duration::from_millis(KMS_CALL_MS))
                    .build();
                let config = aws_config::defaults(BehaviorVersion::latest())
                    .timeout_config(timeouts)
                    .load()
                    .await;
                work(Client::new(&config)).await
            })
        };
        let joined = std::thread::scope(|scope| scope.spawn(run).join());
        joined.unwrap_or_else(|_| {
            Err(KeyError::KmsUnreachable {
                what: "the call ended with a panic".to_owned(),
            })
        })
    }

    /// What the service says, sorted by what an operator can do about it.
    fn refused<E, R>(error: &SdkError<E, R>) -> KeyError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        let Some(code) = error.code() else {
            let what = DisplayErrorContext(error).to_string();
            return KeyError::KmsUnreachable { what };
        };
        let what = match error.message() {
            Some(message) => format!("{code}: {message}"),
            None => code.to_owned(),
        };
        match code {
            "InvalidCiphertextException" | "IncorrectKeyException" => KeyError::KmsKeyForeign,
            "ThrottlingException" | "DependencyTimeoutException" | "KMSInternalException" => {
                KeyError::KmsUnreachable { what }
            }
            _ => KeyError::KmsKeyRefused { what },
        }
    }
}
