//! Sealing details to a vault: what a browser does, for servers and apps.

use super::padding::pad;
use super::sealed::{self, Bound};
use super::suite::{CollectKeyId, Suite};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable, Kem, OpModeS, Serializable};

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The details are longer than any that the vault takes.
    #[error("the details are too long")]
    TooLong,
    /// The public key is none of its suite.
    #[error("the collect document's public key is none")]
    BadKey,
}

/// Seals details, as JSON, to a public key of `key`. Every call makes another text.
///
/// # Errors
/// [`SealError`].
pub fn seal_details(
    suite: Suite,
    key: CollectKeyId,
    public: &[u8],
    bound: &Bound,
    json: &[u8],
) -> Result<String, SealError> {
    let aad = sealed::aad(suite, key, bound.site);
    let info = bound.info(key, suite);
    let padded = pad(json).ok_or(SealError::TooLong)?;
    let (enc, ciphertext) = match suite {
        Suite::X25519 => seal::<X25519HkdfSha256>(public, &info, &aad, &padded),
        Suite::XWing => seal::<XWing>(public, &info, &aad, &padded),
    }
    .ok_or(SealError::BadKey)?;
    Ok(sealed::text(&aad, &enc, &ciphertext))
}

fn seal<K: Kem>(public: &[u8], info: &str, aad: &str, padded: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let public = K::PublicKey::from_bytes(public).ok()?;
    let (enc, ciphertext) = hpke::single_shot_seal::<AesGcm256, HkdfSha256, K>(
        &OpModeS::Base,
        &public,
        info.as_bytes(),
        padded,
        aad.as_bytes(),
    )
    .ok()?;
    Some((enc.to_bytes().to_vec(), ciphertext))
}
