//! Sealed details as text: `pvc1.<suite>.<key id>.<site>.<enc>.<ciphertext>` (`docs/format.md` §10.3).

use super::suite::{CollectKeyId, Suite};
use crate::codec::Malformed;
use crate::ids::{Site, TransactionId, VaultId};
use crate::limits::{SEALED_DETAILS_CHARS_MAX, SEALED_PLAINTEXT_BYTES_MAX};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Bytes that AES-GCM adds.
pub(super) const TAG_BYTES: usize = 16;

/// What sealed details are bound to. They open for exactly this.
#[derive(Clone, Copy)]
pub struct Bound {
    /// The vault.
    pub vault: VaultId,
    /// The transaction's site.
    pub site: Site,
    /// The transaction.
    pub transaction: TransactionId,
}

impl Bound {
    /// HPKE's `info`.
    pub(super) fn info(&self, key: CollectKeyId, suite: Suite) -> String {
        format!(
            "payvault collect v1\n{}\n{}\n{}\n{key}\n{}\n",
            self.vault,
            self.site,
            self.transaction,
            suite.name()
        )
    }
}

/// What a use of sealed details is known by, so that there is no second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encapsulation(pub [u8; 16]);

/// Sealed details, taken apart and not opened.
pub struct SealedDetails<'a> {
    /// The suite.
    pub suite: Suite,
    /// The key that they are sealed to.
    pub key: CollectKeyId,
    /// The site that they say.
    pub site: Site,
    pub(super) aad: &'a str,
    pub(super) enc: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
}

impl<'a> SealedDetails<'a> {
    /// Takes a text apart.
    ///
    /// # Errors
    /// When it has another shape. There is one spelling.
    pub fn parse(text: &'a str) -> Result<SealedDetails<'a>, Malformed> {
        const WRONG: Malformed = Malformed::new("not sealed details");
        if text.len() > SEALED_DETAILS_CHARS_MAX {
            return Err(WRONG);
        }
        let (rest, ciphertext) = text.rsplit_once('.').ok_or(WRONG)?;
        let (aad, enc) = rest.rsplit_once('.').ok_or(WRONG)?;
        let mut fields = aad.split('.');
        let mut next = || fields.next().ok_or(WRONG);
        if next()? != "pvc1" {
            return Err(WRONG);
        }
        let suite = Suite::of_name(next()?).ok_or(WRONG)?;
        let key = CollectKeyId::parse(next()?)?;
        let site = Site::parse(next()?)?;
        if fields.next().is_some() {
            return Err(WRONG);
        }
        // The engine refuses unused bits that aren't zero.
        let decode = |text| URL_SAFE_NO_PAD.decode(text).map_err(|_| WRONG);
        let (enc, ciphertext) = (decode(enc)?, decode(ciphertext)?);
        let longest = SEALED_PLAINTEXT_BYTES_MAX + TAG_BYTES;
        if enc.len() != suite.encapsulation_bytes()
            || !(TAG_BYTES..=longest).contains(&ciphertext.len())
        {
            return Err(WRONG);
        }
        Ok(SealedDetails {
            suite,
            key,
            site,
            aad,
            enc,
            ciphertext,
        })
    }

    /// What their use is known by: it is part of HPKE's key schedule, so no other bytes open.
    pub fn encapsulation(&self) -> Encapsulation {
        let mut hash = Sha256::new();
        hash.update(b"payvault collect enc v1");
        hash.update(&self.enc);
        let digest: [u8; 32] = hash.finalize().into();
        let (half, _) = digest.split_at(16);
        Encapsulation(half.try_into().expect("half of 32 bytes"))
    }
}

/// The text before the encapsulation: HPKE's additional data.
pub(super) fn aad(suite: Suite, key: CollectKeyId, site: Site) -> String {
    format!("pvc1.{}.{key}.{site}", suite.name())
}

/// The whole text.
pub(super) fn text(aad: &str, enc: &[u8], ciphertext: &[u8]) -> String {
    let mut text =
        String::with_capacity(aad.len() + 2 + (enc.len() + ciphertext.len()) * 4 / 3 + 4);
    text.push_str(aad);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(enc, &mut text);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(ciphertext, &mut text);
    text
}
