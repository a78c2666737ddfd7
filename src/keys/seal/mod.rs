//! The seal: how the root key lies on disk (`seal.json`, `docs/format.md` §8). There are several
//! kinds, one file each in this room. The file is in clear, since whoever may unseal must be known
//! before anything can be opened, and it is authenticated once the root key is there.

mod custodians;
mod kms;
mod passphrase;
mod pkcs11;
mod share;
mod split;

pub use custodians::{Custodian, Delivery, NewCustodian};
pub use share::{AgeIdentity, AgeRecipient, DealtShare, Share, ShareFile};

use super::anchor::Anchor;
use super::argon::Argon2Cost;
use super::cipher::{self, NONCE_BYTES, TAG_BYTES};
use super::error::KeyError;
use super::file;
use crate::codec::Malformed;
use crate::ids::VaultId;
use crate::limits::{CERTIFICATE_URI_BYTES_MAX, SEAL_FILE_BYTES_MAX, UNSEALERS_MAX};
use crate::secret::{SecretBytes, SecretText};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use custodians::CustodianSeal;
use kms::KmsSeal;
use passphrase::PassphraseSeal;
use pkcs11::Pkcs11Seal;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The file's name.
pub(super) const FILE: &str = "seal.json";
/// Nonce, the wrapped root key, tag.
const ROOT_BYTES: usize = NONCE_BYTES + 32 + TAG_BYTES;

/// The root key: 256 bits in memory, from which the keyring is opened. Never stored in clear.
pub struct RootKey {
    bytes: SecretBytes<32>,
    opened_by: String,
    /// What wrapping keys rest on beside it.
    anchor: Option<Arc<dyn Anchor>>,
}

impl RootKey {
    /// A new one.
    fn random() -> RootKey {
        RootKey::opened(SecretBytes::random(), String::new())
    }

    fn opened(bytes: SecretBytes<32>, opened_by: String) -> RootKey {
        RootKey {
            bytes,
            opened_by,
            anchor: None,
        }
    }

    pub(super) fn anchor(&self) -> Option<Arc<dyn Anchor>> {
        self.anchor.clone()
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        self.bytes.expose()
    }

    /// Whose shares opened the seal, by name, separated by spaces; empty for a kind of seal that
    /// knows nobody.
    pub fn opened_by(&self) -> &str {
        &self.opened_by
    }

    #[cfg(test)]
    pub(crate) fn of(bytes: [u8; 32]) -> RootKey {
        RootKey::opened(SecretBytes::build(|own| *own = bytes), String::new())
    }

    #[cfg(test)]
    pub(super) fn anchored(bytes: [u8; 32], anchor: Arc<dyn Anchor>) -> RootKey {
        RootKey {
            anchor: Some(anchor),
            ..RootKey::of(bytes)
        }
    }
}

/// The kinds of seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealKind {
    /// A passphrase, by Argon2id.
    Passphrase,
    /// Shares of custodians, so many of so many.
    Custodians,
    /// A security module, by PKCS#11.
    Pkcs11,
    /// Amazon's key service.
    AwsKms,
}

impl SealKind {
    /// All of them.
    pub const ALL: [SealKind; 4] = [
        SealKind::Passphrase,
        SealKind::Custodians,
        SealKind::Pkcs11,
        SealKind::AwsKms,
    ];

    /// Its name in the file, in entries and in output for machines.
    pub const fn as_str(self) -> &'static str {
        match self {
            SealKind::Passphrase => "passphrase",
            SealKind::Custodians => "custodians",
            SealKind::Pkcs11 => "pkcs11",
            SealKind::AwsKms => "aws-kms",
        }
    }

    /// How the root key is wrapped, for the inventory.
    pub const fn algorithm(self) -> &'static str {
        match self {
            SealKind::Passphrase => "AES-256-GCM under Argon2id",
            SealKind::Custodians => "AES-256-GCM under a key split by Shamir's scheme over GF(256)",
            SealKind::Pkcs11 => "AES-256-GCM by a key in a security module",
            SealKind::AwsKms => "by a key in AWS KMS",
        }
    }
}

/// A seal that is to be made. No `Debug`: it may hold a passphrase.
pub enum NewSeal {
    /// Under a passphrase. It is taken byte by byte as it is given; no Unicode form is chosen for
    /// it.
    Passphrase {
        /// The passphrase.
        passphrase: SecretText,
        /// What a try costs.
        cost: Argon2Cost,
    },
    /// Under a key that is split among custodians.
    Custodians {
        /// How many of them it takes.
        threshold: u8,
        /// They; each may unseal.
        custodians: Vec<NewCustodian>,
    },
    /// Under a new key in a security module's token.
    Pkcs11 {
        /// The module: a shared library.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// The new key's label.
        key_label: String,
        /// The PIN of the token's user.
        pin: SecretText,
    },
    /// Under a key of Amazon's key service, which must be there.
    AwsKms {
        /// Its id, ARN or alias.
        key: String,
    },
}

impl NewSeal {
    /// Which kind it will be.
    pub fn kind(&self) -> SealKind {
        match self {
            NewSeal::Passphrase { .. } => SealKind::Passphrase,
            NewSeal::Custodians { .. } => SealKind::Custodians,
            NewSeal::Pkcs11 { .. } => SealKind::Pkcs11,
            NewSeal::AwsKms { .. } => SealKind::AwsKms,
        }
    }
}

/// What one person, or the vault by itself, opens a seal with. Shares are gathered instead:
/// [`SealFile::combine`]. No `Debug`: it holds secrets.
pub enum Opening {
    /// The passphrase.
    Passphrase(SecretText),
    /// The PIN of a security module's token, and where the module is, if that is configured.
    Pin {
        /// The PIN.
        pin: SecretText,
        /// The module.
        module: Option<PathBuf>,
    },
    /// Nothing: the key service judges the machine that asks.
    Service,
}

/// Hands the custodians what they get. An error keeps the seal from being made.
pub type Deliver<'a> = dyn FnMut(&[DealtShare]) -> Result<(), String> + Send + 'a;

/// A certificate that may unseal: operators and custodians, named before the vault can read who its
/// principals are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsealer {
    /// The certificate's URI SAN; printable ASCII.
    pub uri: String,
    /// SHA-256 of the issuer's public key.
    pub issuer: [u8; 32],
}

/// `seal.json`, read. Its clear part is only to be believed once it was opened.
#[derive(Debug)]
pub struct SealFile {
    vault: VaultId,
    closing: Closing,
    unsealers: Vec<Unsealer>,
    check: [u8; 32],
}

/// What each kind keeps.
#[derive(Debug)]
enum Closing {
    Passphrase(PassphraseSeal),
    Custodians(CustodianSeal),
    Pkcs11(Pkcs11Seal),
    AwsKms(KmsSeal),
}

impl SealFile {
    /// Makes a root key and seals it under a passphrase: KEK = Argon2id(passphrase, salt), root =
    /// AES-256-GCM under it, bound to vault and cost. Writes the file durably and returns the root
    /// key.
    ///
    /// # Errors
    /// As [`create_as`](SealFile::create_as).
    pub fn create(
        keys_dir: &Path,
        vault: VaultId,
        passphrase: &SecretText,
        cost: Argon2Cost,
        unsealers: Vec<Unsealer>,
    ) -> Result<RootKey, KeyError> {
        let passphrase = passphrase.duplicate();
        let new = NewSeal::Passphrase { passphrase, cost };
        SealFile::create_as(keys_dir, vault, &new, unsealers, &mut |_| Ok(()))
    }

    /// Makes a root key and seals it; `deliver` hands the custodians what they get, which is nowhere
    /// else. Then writes the file durably and returns the root key.
    ///
    /// # Errors
    /// [`KeyError::Exists`], [`KeyError::PassphraseLength`], [`KeyError::CostRefused`],
    /// [`KeyError::CustodiansRefused`], [`KeyError::UnsealerRefused`], [`KeyError::Undelivered`],
    /// what a security module or key service says, or the file could not be written.
    pub fn create_as(
        keys_dir: &Path,
        vault: VaultId,
        new: &NewSeal,
        unsealers: Vec<Unsealer>,
        deliver: &mut Deliver<'_>,
    ) -> Result<RootKey, KeyError> {
        if keys_dir.join(FILE).exists() {
            return Err(KeyError::Exists { file: FILE });
        }
        let (seal, root) = SealFile::prepare(vault, new, unsealers, deliver)?;
        file::make_dir(keys_dir)?;
        seal.write(keys_dir)?;
        Ok(root)
    }

    /// Makes a root key and seals it; writes nothing, but has the shares delivered. Custodians may
    /// unseal, whether `unsealers` names them or not.
    pub(super) fn prepare(
        vault: VaultId,
        new: &NewSeal,
        mut unsealers: Vec<Unsealer>,
        deliver: &mut Deliver<'_>,
    ) -> Result<(SealFile, RootKey), KeyError> {
        let mut root = RootKey::random();
        let mut shares = Vec::new();
        let closing = match new {
            NewSeal::Passphrase { passphrase, cost } => {
                Closing::Passphrase(PassphraseSeal::close(&root, vault, passphrase, *cost)?)
            }
            NewSeal::Custodians {
                threshold,
                custodians,
            } => {
                for custodian in custodians {
                    if !unsealers.contains(&custodian.certificate) {
                        unsealers.push(custodian.certificate.clone());
                    }
                }
                let (seal, dealt) = CustodianSeal::close(&root, vault, *threshold, custodians)?;
                shares = dealt;
                Closing::Custodians(seal)
            }
            NewSeal::Pkcs11 {
                module,
                token,
                key_label,
                pin,
            } => Closing::Pkcs11(Pkcs11Seal::close(
                &mut root, vault, module, token, key_label, pin,
            )?),
            NewSeal::AwsKms { key } => Closing::AwsKms(KmsSeal::close(&root, vault, key)?),
        };
        check_unsealers(&unsealers)?;
        let mut seal = SealFile {
            vault,
            closing,
            unsealers,
            check: [0; 32],
        };
        seal.check = seal.compute_check(&root);
        if !shares.is_empty() {
            // Before the seal is the vault's: one whose shares nobody has would be lost.
            deliver(&shares).map_err(KeyError::Undelivered)?;
        }
        Ok((seal, root))
    }

    /// Reads the file. Parameters that are weaker than they must be are refused here, before
    /// anything is computed with them.
    ///
    /// # Errors
    /// [`KeyError::Io`], [`KeyError::Malformed`] or [`KeyError::CostRefused`].
    pub fn read(keys_dir: &Path) -> Result<SealFile, KeyError> {
        let bytes = file::read(keys_dir, FILE, SEAL_FILE_BYTES_MAX)?;
        SealFile::from_json(&bytes)
    }

    /// Which vault it seals.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// Which kind it is.
    pub fn kind(&self) -> SealKind {
        match self.closing {
            Closing::Passphrase(_) => SealKind::Passphrase,
            Closing::Custodians(_) => SealKind::Custodians,
            Closing::Pkcs11(_) => SealKind::Pkcs11,
            Closing::AwsKms(_) => SealKind::AwsKms,
        }
    }

    /// How many shares open it; 0 when it has none.
    pub fn threshold(&self) -> u8 {
        match &self.closing {
            Closing::Custodians(seal) => seal.threshold(),
            _ => 0,
        }
    }

    /// Who has a share; nobody when it has none.
    pub fn custodians(&self) -> &[Custodian] {
        match &self.closing {
            Closing::Custodians(seal) => seal.custodians(),
            _ => &[],
        }
    }

    /// Who may unseal, as the file says.
    pub fn unsealers(&self) -> &[Unsealer] {
        &self.unsealers
    }

    /// Opens a passphrase's seal.
    ///
    /// # Errors
    /// [`KeyError::WrongPassphrase`]; a changed salt, cost, vault id or wrapped key looks the same.
    /// [`KeyError::SealTampered`] when the passphrase is right and the rest was changed.
    /// [`KeyError::OtherKind`] when it takes no passphrase.
    pub fn open(&self, passphrase: &SecretText) -> Result<RootKey, KeyError> {
        let Closing::Passphrase(seal) = &self.closing else {
            return Err(KeyError::OtherKind(self.kind()));
        };
        self.checked(seal.open(self.vault, passphrase)?)
    }

    /// Opens a seal that one person opens, or the vault by itself. Blocks: for a derivation, or for
    /// what a security module or key service takes.
    ///
    /// # Errors
    /// As [`open`](SealFile::open); what a security module says ([`KeyError::WrongPin`] and its
    /// neighbours) or a key service ([`KeyError::KmsKeyRefused`] and its neighbours);
    /// [`KeyError::OtherKind`].
    pub fn open_by(&self, opening: &Opening) -> Result<RootKey, KeyError> {
        let root = match (&self.closing, opening) {
            (Closing::Passphrase(seal), Opening::Passphrase(passphrase)) => {
                seal.open(self.vault, passphrase)?
            }
            (Closing::Pkcs11(seal), Opening::Pin { pin, module }) => {
                let module = module.as_deref().ok_or(KeyError::HsmModuleUnknown)?;
                seal.open(self.vault, module, pin)?
            }
            (Closing::AwsKms(seal), Opening::Service) => seal.open(self.vault)?,
            _ => return Err(KeyError::OtherKind(self.kind())),
        };
        self.checked(root)
    }

    /// Judges a share by itself: whether it is whole, of this vault and of this seal. Gives its
    /// custodian.
    ///
    /// # Errors
    /// [`KeyError::ShareForeign`], [`KeyError::ShareOutdated`] or [`KeyError::ShareDamaged`];
    /// [`KeyError::OtherKind`] when it takes no shares.
    pub fn judge(&self, share: &Share) -> Result<&Custodian, KeyError> {
        let Closing::Custodians(seal) = &self.closing else {
            return Err(KeyError::OtherKind(self.kind()));
        };
        seal.judge(self.vault, share)
    }

    /// Opens a custodians' seal with shares of so many of them as it takes.
    ///
    /// # Errors
    /// As [`judge`](SealFile::judge); [`KeyError::ShareRepeated`]; [`KeyError::SharesMissing`];
    /// [`KeyError::SealTampered`].
    pub fn combine(&self, shares: &[Share]) -> Result<RootKey, KeyError> {
        let Closing::Custodians(seal) = &self.closing else {
            return Err(KeyError::OtherKind(self.kind()));
        };
        self.checked(seal.open(self.vault, shares)?)
    }

    /// Replaces the list of who may unseal, durably.
    ///
    /// # Errors
    /// [`KeyError::SealTampered`] when the file was changed or is not this root key's,
    /// [`KeyError::UnsealerRefused`], or the file could not be read or written.
    pub fn set_unsealers(
        keys_dir: &Path,
        root: &RootKey,
        unsealers: Vec<Unsealer>,
    ) -> Result<(), KeyError> {
        check_unsealers(&unsealers)?;
        let mut seal = SealFile::read(keys_dir)?;
        seal.verify_check(root)?;
        seal.unsealers = unsealers;
        seal.check = seal.compute_check(root);
        seal.write(keys_dir)
    }

    /// The file's content, read and written again.
    #[cfg(feature = "fault-injection")]
    pub(super) fn reread(json: &[u8]) -> Result<String, KeyError> {
        SealFile::from_json(json).map(|seal| seal.to_json(Some(&seal.check)))
    }

    pub(super) fn write(&self, keys_dir: &Path) -> Result<(), KeyError> {
        file::replace(keys_dir, FILE, self.to_json(Some(&self.check)).as_bytes())
    }

    fn checked(&self, root: RootKey) -> Result<RootKey, KeyError> {
        self.verify_check(&root)?;
        Ok(root)
    }

    fn verify_check(&self, root: &RootKey) -> Result<(), KeyError> {
        let right: bool = self.compute_check(root).ct_eq(&self.check).into();
        right.then_some(()).ok_or(KeyError::SealTampered)
    }

    /// HMAC(HKDF(root, "payvault seal file v1"), canonical JSON without `check`).
    fn compute_check(&self, root: &RootKey) -> [u8; 32] {
        let key = cipher::hkdf(root.expose(), &[b"payvault seal file v1"]);
        let mut check = [0u8; 32];
        cipher::hmac(&key, &[self.to_json(None).as_bytes()], &mut check);
        check
    }

    /// Canonical JSON (RFC 8785): the fields stand in the order of their names, numbers are small
    /// integers, and strings are printable ASCII.
    fn to_json(&self, check: Option<&[u8; 32]>) -> String {
        let check = check.map(|check| STANDARD.encode(check));
        let kind = self.kind().as_str().to_owned();
        let unsealers = self.unsealers.iter().map(JsonUnsealer::from).collect();
        let vault = self.vault.to_string();
        let json = match &self.closing {
            Closing::Passphrase(seal) => serde_json::to_string(&passphrase::Json {
                argon2id: seal.to_json(),
                check,
                kind,
                root: STANDARD.encode(seal.root()),
                unsealers,
                v: 1,
                vault,
            }),
            Closing::Custodians(seal) => serde_json::to_string(&custodians::Json {
                check,
                custodians: seal.to_json(),
                kind,
                root: STANDARD.encode(seal.root()),
                set: STANDARD.encode(seal.set()),
                threshold: seal.threshold(),
                unsealers,
                v: 1,
                vault,
            }),
            Closing::Pkcs11(seal) => serde_json::to_string(&pkcs11::Json {
                check,
                kind,
                pkcs11: seal.to_json(),
                root: STANDARD.encode(seal.root()),
                unsealers,
                v: 1,
                vault,
            }),
            Closing::AwsKms(seal) => serde_json::to_string(&kms::Json {
                check,
                key: seal.key().to_owned(),
                kind,
                root: STANDARD.encode(seal.root()),
                unsealers,
                v: 1,
                vault,
            }),
        };
        json.expect("strings and numbers always become JSON")
    }

    fn from_json(bytes: &[u8]) -> Result<SealFile, KeyError> {
        let head: JsonHead = read_json(bytes)?;
        if head.v != 1 {
            return Err(fail("unknown version or kind of seal"));
        }
        let (closing, rest) = match head.kind.as_str() {
            "passphrase" => {
                let json: passphrase::Json = read_json(bytes)?;
                let seal = PassphraseSeal::from_json(&json.argon2id, &json.root)?;
                let rest = (json.check, json.unsealers, json.vault);
                (Closing::Passphrase(seal), rest)
            }
            "custodians" => {
                let json: custodians::Json = read_json(bytes)?;
                let seal = CustodianSeal::from_json(&json)?;
                let rest = (json.check, json.unsealers, json.vault);
                (Closing::Custodians(seal), rest)
            }
            "pkcs11" => {
                let json: pkcs11::Json = read_json(bytes)?;
                let seal = Pkcs11Seal::from_json(json.pkcs11, &json.root)?;
                (
                    Closing::Pkcs11(seal),
                    (json.check, json.unsealers, json.vault),
                )
            }
            "aws-kms" => {
                let json: kms::Json = read_json(bytes)?;
                let seal = KmsSeal::from_json(&json)?;
                (
                    Closing::AwsKms(seal),
                    (json.check, json.unsealers, json.vault),
                )
            }
            _ => return Err(fail("unknown version or kind of seal")),
        };
        let (check, unsealers, vault) = rest;
        let check = check.ok_or_else(|| fail("no check"))?;
        let unsealers: Option<Vec<Unsealer>> =
            unsealers.into_iter().map(JsonUnsealer::into).collect();
        let unsealers = unsealers.ok_or_else(|| fail("an issuer is not 64 hexadecimal digits"))?;
        check_unsealers(&unsealers)?;
        let malformed = |what| KeyError::Malformed { file: FILE, what };
        Ok(SealFile {
            vault: VaultId::parse(&vault).map_err(malformed)?,
            closing,
            unsealers,
            check: base64_array(&check).ok_or_else(|| fail("check is not 32 bytes"))?,
        })
    }
}

fn fail(what: &'static str) -> KeyError {
    let what = Malformed::new(what);
    KeyError::Malformed { file: FILE, what }
}

fn read_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, KeyError> {
    serde_json::from_slice(bytes).map_err(|_| fail("not the JSON that it should be"))
}

fn check_unsealers(unsealers: &[Unsealer]) -> Result<(), KeyError> {
    if unsealers.len() > UNSEALERS_MAX {
        let what = "more than may be";
        return Err(KeyError::UnsealerRefused { what });
    }
    if !unsealers.iter().all(|unsealer| uri_fits(&unsealer.uri)) {
        let what = "a URI is empty, too long or not printable ASCII";
        return Err(KeyError::UnsealerRefused { what });
    }
    Ok(())
}

fn uri_fits(uri: &str) -> bool {
    (1..=CERTIFICATE_URI_BYTES_MAX).contains(&uri.len())
        && uri.bytes().all(|b| b.is_ascii_graphic())
}

/// nonce ‖ ciphertext ‖ tag.
fn wrap_root(
    kek: &[u8; 32],
    aad: &[u8],
    nonce: &[u8; NONCE_BYTES],
    root: &RootKey,
) -> [u8; ROOT_BYTES] {
    let mut wrapped = [0u8; ROOT_BYTES];
    let (own_nonce, rest) = wrapped.split_at_mut(NONCE_BYTES);
    own_nonce.copy_from_slice(nonce);
    let (ciphertext, tag) = rest.split_at_mut(32);
    tag.copy_from_slice(&cipher::seal(kek, nonce, aad, root.expose(), ciphertext));
    wrapped
}

fn unwrap_root(kek: &[u8; 32], aad: &[u8], wrapped: &[u8; ROOT_BYTES]) -> Option<SecretBytes<32>> {
    let (nonce, rest) = wrapped.split_first_chunk::<NONCE_BYTES>()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
    let mut opened = Ok(());
    let root = SecretBytes::build(|out| {
        opened = cipher::open(kek, nonce, aad, ciphertext, tag, out);
    });
    opened.ok().map(|()| root)
}

fn base64_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

// Field order is that of RFC 8785, by name. Nothing else may be added without a new version.

/// What says how to read the rest.
#[derive(Deserialize)]
struct JsonHead {
    kind: String,
    v: u32,
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0u8; 32];
    let lower = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 64 || !text.bytes().all(lower) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonUnsealer {
    issuer: String,
    uri: String,
}

impl JsonUnsealer {
    fn from(unsealer: &Unsealer) -> JsonUnsealer {
        JsonUnsealer {
            issuer: hex(&unsealer.issuer),
            uri: unsealer.uri.clone(),
        }
    }

    fn into(self) -> Option<Unsealer> {
        Some(Unsealer {
            uri: self.uri,
            issuer: unhex(&self.issuer)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    const VAULT: VaultId = VaultId([7; 16]);
    const CHEAP: Argon2Cost = Argon2Cost::for_tests();

    fn text(text: &str) -> SecretText {
        SecretText::copy_from(text)
    }

    fn unsealer(name: &str) -> Unsealer {
        Unsealer {
            uri: format!("spiffe://payvault.example/operator/{name}"),
            issuer: [0xab; 32],
        }
    }

    fn sealed() -> (TempDir, RootKey) {
        let dir = tempfile::tempdir().unwrap();
        let passphrase = text("a passphrase");
        let root =
            SealFile::create(dir.path(), VAULT, &passphrase, CHEAP, vec![unsealer("ann")]).unwrap();
        (dir, root)
    }

    fn open(dir: &TempDir, passphrase: &str) -> Result<RootKey, KeyError> {
        SealFile::read(dir.path())?.open(&text(passphrase))
    }

    /// Changes the file's text, and says what opening it gives.
    fn changed(from: &str, to: &str) -> KeyError {
        let (dir, _) = sealed();
        let path = dir.path().join(FILE);
        let before = fs::read_to_string(&path).unwrap();
        assert!(before.contains(from), "{from}");
        fs::write(&path, before.replacen(from, to, 1)).unwrap();
        open(&dir, "a passphrase").err().unwrap()
    }

    #[test]
    fn the_passphrase_opens_the_seal() {
        let (dir, root) = sealed();
        assert!(open(&dir, "a passphrase").unwrap().expose() == root.expose());
        let seal = SealFile::read(dir.path()).unwrap();
        assert_eq!(seal.vault(), VAULT);
        assert_eq!(seal.unsealers(), [unsealer("ann")]);
        let again = SealFile::create(dir.path(), VAULT, &text("a passphrase"), CHEAP, vec![]);
        assert!(matches!(again, Err(KeyError::Exists { .. })));
    }

    #[test]
    fn a_wrong_passphrase_is_refused() {
        let (dir, _) = sealed();
        let long = "a".repeat(1025);
        for wrong in ["A passphrase", "a passphrase ", "short", "", &long] {
            let opened = open(&dir, wrong);
            assert!(matches!(opened, Err(KeyError::WrongPassphrase)), "{wrong}");
        }
    }

    #[test]
    fn a_short_or_long_passphrase_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        for length in [0, 11, 1025] {
            let passphrase = text(&"a".repeat(length));
            let made = SealFile::create(dir.path(), VAULT, &passphrase, CHEAP, vec![]);
            assert!(matches!(made, Err(KeyError::PassphraseLength)), "{length}");
        }
        for length in [12, 1024] {
            let dir = tempfile::tempdir().unwrap();
            let passphrase = text(&"a".repeat(length));
            assert!(SealFile::create(dir.path(), VAULT, &passphrase, CHEAP, vec![]).is_ok());
        }
    }

    #[test]
    fn weaker_parameters_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let weak = Argon2Cost {
            m_kib: 65_535,
            ..Argon2Cost::DEFAULT
        };
        let made = SealFile::create(dir.path(), VAULT, &text("a passphrase"), weak, vec![]);
        assert!(matches!(made, Err(KeyError::CostRefused)));
        assert!(!dir.path().join(FILE).exists());
        // In a file, too.
        let refused = changed("\"m_kib\":64", "\"m_kib\":65535");
        assert!(matches!(refused, KeyError::CostRefused));
        let refused = changed("\"m_kib\":64", "\"m_kib\":4294967295");
        assert!(matches!(refused, KeyError::CostRefused));
    }

    #[test]
    fn changed_unsealers_are_noticed() {
        assert!(matches!(changed("/ann", "/eve"), KeyError::SealTampered));
        assert!(matches!(changed("abab", "abac"), KeyError::SealTampered));
        let (dir, _) = sealed();
        let path = dir.path().join(FILE);
        let mut json: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for list in [serde_json::json!([]), {
            let one = json["unsealers"][0].clone();
            serde_json::json!([one, one])
        }] {
            json["unsealers"] = list;
            fs::write(&path, json.to_string()).unwrap();
            let opened = open(&dir, "a passphrase");
            assert!(matches!(opened, Err(KeyError::SealTampered)));
        }
    }

    #[test]
    fn everything_else_that_is_changed_opens_nothing() {
        let other = VaultId([8; 16]).to_string();
        assert!(matches!(
            changed(&VAULT.to_string(), &other),
            KeyError::WrongPassphrase
        ));
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("\"kind\":\"passphrase\"", "\"kind\":\"none\""),
            ("\"v\":1", "\"v\":1,\"w\":1"),
            ("{", "["),
            ("vlt_", "prn_"),
            ("\"salt\":\"", "\"salt\":\"AAAA"),
            ("\"root\":\"", "\"root\":\"AAAA"),
            ("\"check\":\"", "\"check\":\"AAAA"),
            ("\"issuer\":\"ab", "\"issuer\":\"AB"),
            ("\"issuer\":\"ab", "\"issuer\":\"+b"),
            ("\"issuer\":\"ab", "\"issuer\":\""),
        ] {
            let error = changed(from, to);
            assert!(matches!(error, KeyError::Malformed { .. }), "{to}");
        }
    }

    #[test]
    fn unsealers_are_replaced_by_who_has_the_root_key() {
        let (dir, root) = sealed();
        let both = vec![unsealer("bob"), unsealer("cem")];
        let other = RootKey::of([9; 32]);
        let refused = SealFile::set_unsealers(dir.path(), &other, both.clone());
        assert!(matches!(refused, Err(KeyError::SealTampered)));
        SealFile::set_unsealers(dir.path(), &root, both.clone()).unwrap();
        assert_eq!(SealFile::read(dir.path()).unwrap().unsealers(), both);
        assert!(open(&dir, "a passphrase").is_ok());
    }

    #[test]
    fn unsealers_that_are_none_are_refused() {
        let (dir, root) = sealed();
        let odd = |uri: &str| {
            let uri = uri.to_owned();
            vec![Unsealer {
                uri,
                issuer: [0; 32],
            }]
        };
        for list in [
            odd(""),
            odd("a b"),
            odd("ü"),
            odd("a\nb"),
            odd(&"a".repeat(CERTIFICATE_URI_BYTES_MAX + 1)),
            vec![unsealer("ann"); UNSEALERS_MAX + 1],
        ] {
            let refused = SealFile::set_unsealers(dir.path(), &root, list);
            assert!(matches!(refused, Err(KeyError::UnsealerRefused { .. })));
        }
    }
}
