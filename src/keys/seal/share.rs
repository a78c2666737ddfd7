//! A custodian's share: as text, and as what the custodian is given, encrypted to him. Nothing here
//! keeps one.

use super::super::argon::{self, Argon2Cost, SALT_BYTES};
use super::super::cipher::{self, NONCE_BYTES, TAG_BYTES};
use super::super::error::KeyError;
use super::super::password;
use super::passphrase::{JsonArgon2id, check_cost};
use super::{Delivery, base64_array};
use crate::codec::Malformed;
use crate::ids::{VaultId, from_letters, letters, random};
use crate::limits::{SHARE_FILE_BYTES_MAX, SHARE_TEXT_BYTES_MAX};
use crate::secret::{SecretBytes, SecretText};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize, Zeroizing};

/// What a share's text begins with; the last letter is its version.
const PREFIX: &str = "pvs_a";
/// Vault id, set, place and value.
const BODY_BYTES: usize = 16 + 16 + 1 + 32;
const CHECKSUM_BYTES: usize = 4;
const SHARE_BYTES: usize = BODY_BYTES + CHECKSUM_BYTES;
/// Nonce, ciphertext and tag of a share under a passphrase.
const SEALED_BYTES: usize = NONCE_BYTES + SHARE_BYTES + TAG_BYTES;

/// One custodian's share of one seal. No `Debug`, no `Clone`: it is a part of a key.
pub struct Share {
    pub(super) vault: VaultId,
    /// Which splitting it is of: random, made anew with every seal.
    pub(super) set: [u8; 16],
    /// Where it lies; from 1 on.
    pub(super) place: u8,
    pub(super) value: SecretBytes<32>,
}

impl Share {
    /// Reads its text: `pvs_a` ‖ letters(vault id ‖ set ‖ place ‖ value ‖ checksum).
    ///
    /// # Errors
    /// [`KeyError::ShareDamaged`].
    pub fn parse(text: &SecretText) -> Result<Share, KeyError> {
        if text.len() > SHARE_TEXT_BYTES_MAX {
            return Err(KeyError::ShareDamaged);
        }
        let bytes = text
            .expose()
            .trim()
            .strip_prefix(PREFIX)
            .and_then(|letters| from_letters::<SHARE_BYTES>(letters.as_bytes()))
            .map(Zeroizing::new)
            .ok_or(KeyError::ShareDamaged)?;
        Share::from_bytes(&bytes)
    }

    /// Its text, for its custodian.
    pub fn to_text(&self) -> SecretText {
        let mut letters = letters(&self.to_bytes()[..]);
        let mut text = String::with_capacity(PREFIX.len() + letters.len());
        text.push_str(PREFIX);
        text.push_str(&letters);
        letters.zeroize();
        SecretText::new(text)
    }

    /// What the seal's file keeps, so that a share can be judged by itself:
    /// H("payvault share commitment v1" ‖ vault id ‖ set ‖ place ‖ value). The value is 256 random
    /// bits, so it says nothing.
    pub(super) fn commitment(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"payvault share commitment v1");
        hash.update(self.vault.0);
        hash.update(self.set);
        hash.update([self.place]);
        hash.update(self.value.expose());
        hash.finalize().into()
    }

    fn to_bytes(&self) -> Zeroizing<[u8; SHARE_BYTES]> {
        let mut bytes = Zeroizing::new([0u8; SHARE_BYTES]);
        bytes[..16].copy_from_slice(&self.vault.0);
        bytes[16..32].copy_from_slice(&self.set);
        bytes[32] = self.place;
        bytes[33..BODY_BYTES].copy_from_slice(self.value.expose());
        let checksum = checksum(&bytes[..BODY_BYTES]);
        bytes[BODY_BYTES..].copy_from_slice(&checksum);
        bytes
    }

    fn from_bytes(bytes: &[u8; SHARE_BYTES]) -> Result<Share, KeyError> {
        let (body, sum) = bytes.split_at(BODY_BYTES);
        let value = SecretBytes::copy_from(&body[33..]);
        match (value, checksum(body) == sum) {
            (Some(value), true) => Ok(Share {
                vault: VaultId(std::array::from_fn(|at| body[at])),
                set: std::array::from_fn(|at| body[16 + at]),
                place: body[32],
                value,
            }),
            _ => Err(KeyError::ShareDamaged),
        }
    }
}

/// The first 4 bytes of H("payvault share checksum v1" ‖ body): a slip of the pen is told from an
/// attack.
fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Sha256::new();
    hash.update(b"payvault share checksum v1");
    hash.update(body);
    let digest: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|at| digest[at])
}

/// Whom a share is encrypted to with age (an X25519 recipient, "age1…").
pub struct AgeRecipient(age::x25519::Recipient);

impl FromStr for AgeRecipient {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<AgeRecipient, KeyError> {
        let what = "an age recipient is not one (\"age1…\")";
        age::x25519::Recipient::from_str(text)
            .map(AgeRecipient)
            .map_err(|_| KeyError::CustodiansRefused { what })
    }
}

impl fmt::Display for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What opens a share that age encrypted. No `Debug`: it is a private key.
pub struct AgeIdentity(age::x25519::Identity);

impl AgeIdentity {
    /// Reads the first identity of a file as `age-keygen` writes it; `None` when there is none.
    pub fn parse(file: &SecretText) -> Option<AgeIdentity> {
        file.expose()
            .lines()
            .find_map(|line| age::x25519::Identity::from_str(line.trim()).ok())
            .map(AgeIdentity)
    }

    /// Opens a share that was encrypted to it.
    ///
    /// # Errors
    /// [`KeyError::ShareUnopened`], or [`KeyError::ShareDamaged`] when something else was in it.
    pub fn open(&self, file: &str) -> Result<Share, KeyError> {
        let text = age::decrypt(&self.0, file.as_bytes()).map_err(|_| KeyError::ShareUnopened)?;
        let text = String::from_utf8(text).map_err(|error| {
            error.into_bytes().zeroize();
            KeyError::ShareDamaged
        })?;
        Share::parse(&SecretText::new(text))
    }

    /// A new one, and its recipient.
    #[cfg(any(test, feature = "fault-injection"))]
    pub fn generate() -> (AgeIdentity, AgeRecipient) {
        let identity = age::x25519::Identity::generate();
        let recipient = AgeRecipient(identity.to_public());
        (AgeIdentity(identity), recipient)
    }
}

/// What a custodian is given, once. Whoever has the file alone has nothing.
pub struct DealtShare {
    /// The custodian's name.
    pub custodian: String,
    /// The encrypted share.
    pub file: String,
    /// What opens it, when it isn't the custodian's own age identity.
    pub passphrase: Option<SecretText>,
}

impl DealtShare {
    /// Encrypts a share to its custodian.
    pub(super) fn deal(
        share: &Share,
        custodian: &str,
        delivery: &Delivery,
    ) -> Result<DealtShare, KeyError> {
        let (file, passphrase) = match delivery {
            Delivery::Age(recipient) => {
                let text = share.to_text();
                let file = age::encrypt_and_armor(&recipient.0, text.expose().as_bytes());
                let what = "a share could not be encrypted to its age recipient";
                (
                    file.map_err(|_| KeyError::CustodiansRefused { what })?,
                    None,
                )
            }
            Delivery::Passphrase(cost) => {
                let passphrase = password::generate();
                let file = seal_share(share, custodian, &passphrase, *cost)?;
                (file, Some(passphrase))
            }
        };
        Ok(DealtShare {
            custodian: custodian.to_owned(),
            file,
            passphrase,
        })
    }
}

/// A share as its custodian has it.
pub enum ShareFile {
    /// In clear.
    Plain(Share),
    /// Encrypted with age.
    Age(String),
    /// Under a passphrase.
    Passphrase(SealedShare),
}

impl ShareFile {
    /// Reads what a custodian was given, or the text of the share itself.
    ///
    /// # Errors
    /// [`KeyError::ShareDamaged`] or [`KeyError::CostRefused`].
    pub fn parse(text: &SecretText) -> Result<ShareFile, KeyError> {
        if text.len() > SHARE_FILE_BYTES_MAX {
            return Err(KeyError::ShareDamaged);
        }
        let start = text.expose().trim_start();
        if start.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
            return Ok(ShareFile::Age(start.to_owned()));
        }
        if start.starts_with('{') {
            return SealedShare::parse(start.trim_end()).map(ShareFile::Passphrase);
        }
        Share::parse(text).map(ShareFile::Plain)
    }
}

/// A share under a passphrase, as canonical JSON.
pub struct SealedShare {
    cost: Argon2Cost,
    salt: [u8; SALT_BYTES],
    custodian: String,
    sealed: [u8; SEALED_BYTES],
}

impl SealedShare {
    fn parse(text: &str) -> Result<SealedShare, KeyError> {
        let json: Json = serde_json::from_str(text).map_err(|_| KeyError::ShareDamaged)?;
        if json.kind != TYPE || json.v != 1 {
            return Err(KeyError::ShareDamaged);
        }
        let cost = json.argon2id.cost();
        check_cost(cost)?;
        Ok(SealedShare {
            cost,
            salt: base64_array(&json.argon2id.salt).ok_or(KeyError::ShareDamaged)?,
            sealed: base64_array(&json.share).ok_or(KeyError::ShareDamaged)?,
            custodian: json.custodian,
        })
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`KeyError::ShareUnopened`]; a changed file looks the same.
    pub fn open(&self, passphrase: &SecretText) -> Result<Share, KeyError> {
        let kek = argon::argon2id(passphrase.expose().as_bytes(), &self.salt, self.cost)
            .map_err(|_| KeyError::OutOfMemory)?;
        let (nonce, rest) = self
            .sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(KeyError::ShareDamaged)?;
        let (ciphertext, tag) = rest
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(KeyError::ShareDamaged)?;
        let mut bytes = Zeroizing::new([0u8; SHARE_BYTES]);
        let aad = aad(self.cost, &self.custodian);
        cipher::open(kek.expose(), nonce, &aad, ciphertext, tag, &mut bytes[..])
            .map_err(|_| KeyError::ShareUnopened)?;
        Share::from_bytes(&bytes)
    }
}

fn seal_share(
    share: &Share,
    custodian: &str,
    passphrase: &SecretText,
    cost: Argon2Cost,
) -> Result<String, KeyError> {
    check_cost(cost)?;
    let salt = random();
    let kek = argon::argon2id(passphrase.expose().as_bytes(), &salt, cost)
        .map_err(|_| KeyError::OutOfMemory)?;
    let nonce = random::<NONCE_BYTES>();
    let mut sealed = [0u8; SEALED_BYTES];
    let (own_nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
    own_nonce.copy_from_slice(&nonce);
    let (ciphertext, tag) = rest.split_at_mut(SHARE_BYTES);
    let (aad, bytes) = (aad(cost, custodian), share.to_bytes());
    tag.copy_from_slice(&cipher::seal(
        kek.expose(),
        &nonce,
        &aad,
        &bytes[..],
        ciphertext,
    ));
    let json = Json {
        argon2id: JsonArgon2id::new(cost, &salt),
        custodian: custodian.to_owned(),
        share: STANDARD.encode(sealed),
        kind: TYPE.to_owned(),
        v: 1,
    };
    let what = Malformed::new("a share could not be written");
    serde_json::to_string(&json).map_err(|_| KeyError::Malformed {
        file: "share",
        what,
    })
}

/// "payvault share v1" ‖ m ‖ t ‖ p ‖ custodian's name.
fn aad(cost: Argon2Cost, custodian: &str) -> Vec<u8> {
    let mut aad = b"payvault share v1".to_vec();
    for part in [cost.m_kib, cost.t, cost.p] {
        aad.extend_from_slice(&part.to_be_bytes());
    }
    aad.extend_from_slice(custodian.as_bytes());
    aad
}

const TYPE: &str = "payvault share";

// In the order of their names (RFC 8785).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    argon2id: JsonArgon2id,
    custodian: String,
    share: String,
    #[serde(rename = "type")]
    kind: String,
    v: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share() -> Share {
        Share {
            vault: VaultId([7; 16]),
            set: [8; 16],
            place: 3,
            value: SecretBytes::build(|own| *own = [9; 32]),
        }
    }

    fn text(text: &str) -> SecretText {
        SecretText::copy_from(text)
    }

    #[test]
    fn its_text_comes_back_and_every_letter_counts() {
        let whole = share().to_text();
        let back = Share::parse(&whole).unwrap();
        assert_eq!(
            (back.vault, back.set, back.place),
            (VaultId([7; 16]), [8; 16], 3)
        );
        assert!(back.value.expose() == &[9; 32]);
        assert!(Share::parse(&text(&format!(" {}\n", whole.expose()))).is_ok());
        assert!(!whole.expose().bytes().any(|b| b.is_ascii_digit()));
        for at in 0..whole.len() {
            let mut changed = whole.expose().as_bytes().to_vec();
            changed[at] = if changed[at] == b'b' { b'c' } else { b'b' };
            let changed = text(std::str::from_utf8(&changed).unwrap());
            let refused = Share::parse(&changed).err();
            assert!(matches!(refused, Some(KeyError::ShareDamaged)), "{at}");
        }
        for odd in [
            "",
            "pvs_a",
            "pvt_abc",
            &whole.expose()[..20],
            &"b".repeat(10_000),
        ] {
            assert!(Share::parse(&text(odd)).is_err());
        }
    }

    #[test]
    fn a_share_under_a_passphrase_opens_with_it_alone() {
        let delivery = Delivery::Passphrase(Argon2Cost::for_tests());
        let dealt = DealtShare::deal(&share(), "ann", &delivery).unwrap();
        let passphrase = dealt.passphrase.unwrap();
        let parse = |file: &str| match ShareFile::parse(&text(file)) {
            Ok(ShareFile::Passphrase(sealed)) => Ok(sealed),
            Ok(_) => panic!("another kind"),
            Err(error) => Err(error),
        };
        let sealed = parse(&dealt.file).unwrap();
        assert!(sealed.open(&passphrase).unwrap().value.expose() == &[9; 32]);
        let wrong = sealed.open(&text("another passphrase")).err();
        assert!(matches!(wrong, Some(KeyError::ShareUnopened)));
        // What it says of itself is bound.
        for (from, to) in [("\"ann\"", "\"bob\""), ("\"share\":\"", "\"share\":\"A")] {
            let changed = dealt.file.replacen(from, to, 1);
            assert_ne!(changed, dealt.file);
            assert!(
                parse(&changed).and_then(|s| s.open(&passphrase)).is_err(),
                "{to}"
            );
        }
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("payvault share", "payvault"),
            ("{", "{\"a\":1,"),
        ] {
            let changed = dealt.file.replacen(from, to, 1);
            assert!(
                matches!(parse(&changed), Err(KeyError::ShareDamaged)),
                "{to}"
            );
        }
        let weak = dealt.file.replacen("\"m_kib\":64", "\"m_kib\":63", 1);
        assert!(matches!(parse(&weak), Err(KeyError::CostRefused)));
    }

    #[test]
    fn a_share_for_an_age_recipient_opens_with_his_identity_alone() {
        let (identity, recipient) = AgeIdentity::generate();
        let dealt = DealtShare::deal(&share(), "ann", &Delivery::Age(recipient)).unwrap();
        assert!(dealt.passphrase.is_none());
        let Ok(ShareFile::Age(file)) = ShareFile::parse(&text(&dealt.file)) else {
            panic!("another kind");
        };
        assert!(identity.open(&file).unwrap().value.expose() == &[9; 32]);
        let (other, _) = AgeIdentity::generate();
        assert!(matches!(other.open(&file), Err(KeyError::ShareUnopened)));
        assert!("age1xyz".parse::<AgeRecipient>().is_err());
        assert!(AgeIdentity::parse(&text("# a comment\nnothing")).is_none());
    }
}
