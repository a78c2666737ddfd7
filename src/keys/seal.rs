//! The seal: how the root key lies on disk (`seal.json`, `docs/format.md` §8). This one is a
//! passphrase; the file is in clear, since whoever may unseal must be known before anything can be
//! opened, and it is authenticated once the root key is there.

use super::argon::{self, Argon2Cost, SALT_BYTES};
use super::cipher::{self, NONCE_BYTES, TAG_BYTES};
use super::error::KeyError;
use super::file;
use crate::codec::Malformed;
use crate::ids::{VaultId, random};
use crate::limits::{
    CERTIFICATE_URI_BYTES_MAX, PASSPHRASE_BYTES, SEAL_FILE_BYTES_MAX, UNSEALERS_MAX,
};
use crate::secret::{SecretBytes, SecretText};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::path::Path;
use subtle::ConstantTimeEq;

/// The file's name.
pub(super) const FILE: &str = "seal.json";
/// The only kind of seal that this format version knows.
const KIND: &str = "passphrase";
/// Nonce, the wrapped root key, tag.
const ROOT_BYTES: usize = NONCE_BYTES + 32 + TAG_BYTES;

/// The root key: 256 bits in memory, from which the keyring is opened. Never stored in clear.
pub struct RootKey(SecretBytes<32>);

impl RootKey {
    pub(super) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    #[cfg(test)]
    pub(super) fn of(bytes: [u8; 32]) -> RootKey {
        RootKey(SecretBytes::build(|own| *own = bytes))
    }
}

/// A certificate that may unseal: operators and custodians, named before the vault can read who its
/// principals are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsealer {
    /// The certificate's URI SAN; printable ASCII.
    pub uri: String,
    /// SHA-256 of the issuer's public key.
    pub issuer: [u8; 32],
}

/// `seal.json`, read. Its clear part is only to be believed once [`open`](SealFile::open)
/// succeeded.
#[derive(Debug)]
pub struct SealFile {
    vault: VaultId,
    cost: Argon2Cost,
    salt: [u8; SALT_BYTES],
    root: [u8; ROOT_BYTES],
    unsealers: Vec<Unsealer>,
    check: [u8; 32],
}

impl SealFile {
    /// Makes a root key and seals it: KEK = Argon2id(passphrase, salt), root = AES-256-GCM under
    /// it, bound to vault and cost. Writes the file durably and returns the root key.
    ///
    /// The passphrase is taken byte by byte as it is given; no Unicode form is chosen for it.
    ///
    /// # Errors
    /// [`KeyError::Exists`], [`KeyError::PassphraseLength`], [`KeyError::CostRefused`],
    /// [`KeyError::UnsealerRefused`], or the file could not be written.
    pub fn create(
        keys_dir: &Path,
        vault: VaultId,
        passphrase: &SecretText,
        cost: Argon2Cost,
        unsealers: Vec<Unsealer>,
    ) -> Result<RootKey, KeyError> {
        if !PASSPHRASE_BYTES.contains(&passphrase.len()) {
            return Err(KeyError::PassphraseLength);
        }
        check_cost(cost)?;
        check_unsealers(&unsealers)?;
        file::make_dir(keys_dir)?;
        if keys_dir.join(FILE).exists() {
            return Err(KeyError::Exists { file: FILE });
        }
        let root = RootKey(SecretBytes::random());
        let salt = random();
        let kek = argon::argon2id(passphrase.expose().as_bytes(), &salt, cost)
            .map_err(|_| KeyError::OutOfMemory)?;
        let mut seal = SealFile {
            vault,
            cost,
            salt,
            root: wrap_root(&kek, vault, cost, &random(), &root),
            unsealers,
            check: [0; 32],
        };
        seal.check = seal.compute_check(&root);
        seal.write(keys_dir)?;
        Ok(root)
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

    /// What a try costs.
    pub fn cost(&self) -> Argon2Cost {
        self.cost
    }

    /// Who may unseal, as the file says.
    pub fn unsealers(&self) -> &[Unsealer] {
        &self.unsealers
    }

    /// Opens the seal.
    ///
    /// # Errors
    /// [`KeyError::WrongPassphrase`]; a changed salt, cost, vault id or wrapped key looks the same.
    /// [`KeyError::SealTampered`] when the passphrase is right and the rest was changed.
    pub fn open(&self, passphrase: &SecretText) -> Result<RootKey, KeyError> {
        if !PASSPHRASE_BYTES.contains(&passphrase.len()) {
            // None such can have been set; nothing is computed with a megabyte of it.
            return Err(KeyError::WrongPassphrase);
        }
        check_cost(self.cost)?;
        let kek = argon::argon2id(passphrase.expose().as_bytes(), &self.salt, self.cost)
            .map_err(|_| KeyError::OutOfMemory)?;
        let root = unwrap_root(&kek, self.vault, self.cost, &self.root)
            .ok_or(KeyError::WrongPassphrase)?;
        self.verify_check(&root)?;
        Ok(root)
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

    fn write(&self, keys_dir: &Path) -> Result<(), KeyError> {
        file::replace(keys_dir, FILE, self.to_json(Some(&self.check)).as_bytes())
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

    /// Canonical JSON (RFC 8785): the fields of [`Json`] stand in the order of their names, numbers
    /// are small integers, and strings are printable ASCII.
    fn to_json(&self, check: Option<&[u8; 32]>) -> String {
        let json = Json {
            argon2id: JsonArgon2id {
                m_kib: self.cost.m_kib,
                p: self.cost.p,
                salt: STANDARD.encode(self.salt),
                t: self.cost.t,
            },
            check: check.map(|check| STANDARD.encode(check)),
            kind: KIND.to_owned(),
            root: STANDARD.encode(self.root),
            unsealers: self.unsealers.iter().map(JsonUnsealer::from).collect(),
            v: 1,
            vault: self.vault.to_string(),
        };
        serde_json::to_string(&json).expect("strings and numbers always become JSON")
    }

    fn from_json(bytes: &[u8]) -> Result<SealFile, KeyError> {
        let malformed = |what| KeyError::Malformed { file: FILE, what };
        let fail = |what| malformed(Malformed::new(what));
        let json: Json =
            serde_json::from_slice(bytes).map_err(|_| fail("not the JSON that it should be"))?;
        if json.v != 1 || json.kind != KIND {
            return Err(fail("unknown version or kind of seal"));
        }
        let cost = Argon2Cost {
            m_kib: json.argon2id.m_kib,
            t: json.argon2id.t,
            p: json.argon2id.p,
        };
        check_cost(cost)?;
        let check = json.check.ok_or(fail("no check"))?;
        let unsealers: Option<Vec<Unsealer>> =
            json.unsealers.into_iter().map(JsonUnsealer::into).collect();
        let unsealers = unsealers.ok_or(fail("an issuer is not 64 hexadecimal digits"))?;
        check_unsealers(&unsealers)?;
        Ok(SealFile {
            vault: VaultId::parse(&json.vault).map_err(malformed)?,
            cost,
            salt: base64_array(&json.argon2id.salt).ok_or(fail("salt is not 16 bytes"))?,
            root: base64_array(&json.root).ok_or(fail("root is not 60 bytes"))?,
            unsealers,
            check: base64_array(&check).ok_or(fail("check is not 32 bytes"))?,
        })
    }
}

fn check_cost(cost: Argon2Cost) -> Result<(), KeyError> {
    cost.accepted().then_some(()).ok_or(KeyError::CostRefused)
}

fn check_unsealers(unsealers: &[Unsealer]) -> Result<(), KeyError> {
    if unsealers.len() > UNSEALERS_MAX {
        let what = "more than may be";
        return Err(KeyError::UnsealerRefused { what });
    }
    let fits = |uri: &str| {
        (1..=CERTIFICATE_URI_BYTES_MAX).contains(&uri.len())
            && uri.bytes().all(|b| b.is_ascii_graphic())
    };
    if !unsealers.iter().all(|unsealer| fits(&unsealer.uri)) {
        let what = "a URI is empty, too long or not printable ASCII";
        return Err(KeyError::UnsealerRefused { what });
    }
    Ok(())
}

/// "payvault root v1" ‖ vault id ‖ m ‖ t ‖ p: a lowered cost is noticed, not obeyed.
fn root_aad(vault: VaultId, cost: Argon2Cost) -> [u8; 44] {
    let mut aad = [0u8; 44];
    aad[..16].copy_from_slice(b"payvault root v1");
    aad[16..32].copy_from_slice(&vault.0);
    aad[32..36].copy_from_slice(&cost.m_kib.to_be_bytes());
    aad[36..40].copy_from_slice(&cost.t.to_be_bytes());
    aad[40..].copy_from_slice(&cost.p.to_be_bytes());
    aad
}

/// nonce ‖ ciphertext ‖ tag.
pub(super) fn wrap_root(
    kek: &SecretBytes<32>,
    vault: VaultId,
    cost: Argon2Cost,
    nonce: &[u8; NONCE_BYTES],
    root: &RootKey,
) -> [u8; ROOT_BYTES] {
    let mut wrapped = [0u8; ROOT_BYTES];
    let (own_nonce, rest) = wrapped.split_at_mut(NONCE_BYTES);
    own_nonce.copy_from_slice(nonce);
    let (ciphertext, tag) = rest.split_at_mut(32);
    tag.copy_from_slice(&cipher::seal(
        kek.expose(),
        nonce,
        &root_aad(vault, cost),
        root.expose(),
        ciphertext,
    ));
    wrapped
}

fn unwrap_root(
    kek: &SecretBytes<32>,
    vault: VaultId,
    cost: Argon2Cost,
    wrapped: &[u8; ROOT_BYTES],
) -> Option<RootKey> {
    let (nonce, rest) = wrapped.split_first_chunk::<NONCE_BYTES>()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
    let mut opened = Ok(());
    let aad = root_aad(vault, cost);
    let root = SecretBytes::build(|out| {
        opened = cipher::open(kek.expose(), nonce, &aad, ciphertext, tag, out);
    });
    opened.ok().map(|()| RootKey(root))
}

fn base64_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

// Field order is that of RFC 8785, by name. Nothing else may be added without a new version.

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    argon2id: JsonArgon2id,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<String>,
    kind: String,
    root: String,
    unsealers: Vec<JsonUnsealer>,
    v: u32,
    vault: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonArgon2id {
    m_kib: u32,
    p: u32,
    salt: String,
    t: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonUnsealer {
    issuer: String,
    uri: String,
}

impl JsonUnsealer {
    fn from(unsealer: &Unsealer) -> JsonUnsealer {
        let issuer = unsealer.issuer.iter().map(|b| format!("{b:02x}")).collect();
        JsonUnsealer {
            issuer,
            uri: unsealer.uri.clone(),
        }
    }

    fn into(self) -> Option<Unsealer> {
        let mut issuer = [0u8; 32];
        let digits = self.issuer.as_bytes();
        let lower = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 64 || !digits.iter().all(lower) {
            return None;
        }
        for (at, byte) in issuer.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&self.issuer[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Unsealer {
            uri: self.uri,
            issuer,
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

    /// A cost that is accepted as well is another one, and the root key is bound to its own.
    #[test]
    fn the_cost_is_bound() {
        let kek = SecretBytes::build(|own| *own = [1; 32]);
        let root = RootKey::of([2; 32]);
        let wrapped = wrap_root(&kek, VAULT, Argon2Cost::STRONG, &[3; 12], &root);
        assert!(unwrap_root(&kek, VAULT, Argon2Cost::STRONG, &wrapped).is_some());
        assert!(unwrap_root(&kek, VAULT, Argon2Cost::DEFAULT, &wrapped).is_none());
        assert!(unwrap_root(&kek, VaultId([8; 16]), Argon2Cost::STRONG, &wrapped).is_none());
        for at in 0..ROOT_BYTES {
            let mut changed = wrapped;
            changed[at] ^= 1;
            assert!(unwrap_root(&kek, VAULT, Argon2Cost::STRONG, &changed).is_none());
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
