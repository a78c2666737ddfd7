//! The seal that custodians open: the key that wraps the root key is split among them (PCI DSS
//! 3.7.6), and it takes so many of them. The file names who has a share, and holds none.

use super::super::argon::Argon2Cost;
use super::super::cipher;
use super::super::error::KeyError;
use super::share::{AgeRecipient, DealtShare, Share};
use super::{
    JsonUnsealer, ROOT_BYTES, RootKey, Unsealer, base64_array, fail, hex, split, unhex,
    unwrap_root, uri_fits, wrap_root,
};
use crate::ids::{VaultId, random};
use crate::limits::{CUSTODIANS_MAX, CUSTODIANS_THRESHOLD_MIN, NAME_CHARS_MAX};
use crate::secret::SecretBytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// How a custodian gets a share.
pub enum Delivery {
    /// Encrypted to an age recipient.
    Age(AgeRecipient),
    /// Under a passphrase that is made for it, at this cost.
    Passphrase(Argon2Cost),
}

/// Somebody who is to have a share.
pub struct NewCustodian {
    /// Name.
    pub name: String,
    /// The certificate that brings the share.
    pub certificate: Unsealer,
    /// How the share gets there.
    pub delivery: Delivery,
}

/// Somebody who has a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custodian {
    /// Name.
    pub name: String,
    /// The certificate that brings the share.
    pub certificate: Unsealer,
    place: u8,
    commitment: [u8; 32],
}

impl Custodian {
    /// Which share is this custodian's; from 1 on.
    pub fn place(&self) -> u8 {
        self.place
    }
}

/// What the file keeps of it.
#[derive(Debug)]
pub(super) struct CustodianSeal {
    threshold: u8,
    set: [u8; 16],
    custodians: Vec<Custodian>,
    root: [u8; ROOT_BYTES],
}

impl CustodianSeal {
    /// Seals a root key, and deals the shares.
    pub(super) fn close(
        root: &RootKey,
        vault: VaultId,
        threshold: u8,
        new: &[NewCustodian],
    ) -> Result<(CustodianSeal, Vec<DealtShare>), KeyError> {
        let named: Vec<(&str, &Unsealer)> = new
            .iter()
            .map(|custodian| (custodian.name.as_str(), &custodian.certificate))
            .collect();
        check(threshold, &named)?;
        let (secret, set) = (SecretBytes::random(), random());
        // `check` bounds how many there are.
        let count = new.len() as u8;
        let mut custodians = Vec::new();
        let mut dealt = Vec::new();
        let values = split::split(&secret, threshold, count);
        check_split(&secret, threshold, &values)?;
        for (custodian, (place, value)) in new.iter().zip(values) {
            let share = Share {
                vault,
                set,
                place,
                value,
            };
            custodians.push(Custodian {
                name: custodian.name.clone(),
                certificate: custodian.certificate.clone(),
                place,
                commitment: share.commitment(),
            });
            dealt.push(DealtShare::deal(
                &share,
                &custodian.name,
                &custodian.delivery,
            )?);
        }
        let kek = cipher::hkdf(secret.expose(), &[LABEL_KEK]);
        let aad = aad(vault, set, threshold, count);
        let root = wrap_root(&kek, &aad, &random(), root);
        let seal = CustodianSeal {
            threshold,
            set,
            custodians,
            root,
        };
        Ok((seal, dealt))
    }

    pub(super) fn judge(&self, vault: VaultId, share: &Share) -> Result<&Custodian, KeyError> {
        if share.vault != vault {
            return Err(KeyError::ShareForeign);
        }
        if share.set != self.set {
            return Err(KeyError::ShareOutdated);
        }
        let custodian = self.custodians.iter().find(|c| c.place == share.place);
        custodian
            .filter(|c| share.commitment().ct_eq(&c.commitment).into())
            .ok_or(KeyError::ShareDamaged)
    }

    /// Opens it.
    pub(super) fn open(&self, vault: VaultId, shares: &[Share]) -> Result<RootKey, KeyError> {
        let mut by: Vec<&Custodian> = Vec::new();
        for share in shares {
            let custodian = self.judge(vault, share)?;
            if by.iter().any(|other| other.place == custodian.place) {
                return Err(KeyError::ShareRepeated);
            }
            by.push(custodian);
        }
        if by.len() < usize::from(self.threshold) {
            return Err(KeyError::SharesMissing {
                have: by.len() as u8,
                need: self.threshold,
            });
        }
        let values: Vec<(u8, &SecretBytes<32>)> =
            shares.iter().map(|s| (s.place, &s.value)).collect();
        let secret = split::join(self.threshold, &values).ok_or(KeyError::SealTampered)?;
        let kek = cipher::hkdf(secret.expose(), &[LABEL_KEK]);
        let aad = aad(vault, self.set, self.threshold, self.custodians.len() as u8);
        // Each share is the one that was dealt, so what doesn't fit is the file.
        let root = unwrap_root(&kek, &aad, &self.root).ok_or(KeyError::SealTampered)?;
        let names: Vec<&str> = by.iter().map(|custodian| custodian.name.as_str()).collect();
        Ok(RootKey::opened(root, names.join(" ")))
    }

    pub(super) fn threshold(&self) -> u8 {
        self.threshold
    }

    pub(super) fn custodians(&self) -> &[Custodian] {
        &self.custodians
    }

    pub(super) fn root(&self) -> &[u8; ROOT_BYTES] {
        &self.root
    }

    pub(super) fn set(&self) -> &[u8; 16] {
        &self.set
    }

    pub(super) fn to_json(&self) -> Vec<JsonCustodian> {
        let custodians = self.custodians.iter();
        custodians
            .map(|custodian| JsonCustodian {
                commitment: STANDARD.encode(custodian.commitment),
                issuer: hex(&custodian.certificate.issuer),
                name: custodian.name.clone(),
                place: custodian.place,
                uri: custodian.certificate.uri.clone(),
            })
            .collect()
    }

    pub(super) fn from_json(json: &Json) -> Result<CustodianSeal, KeyError> {
        let mut custodians = Vec::new();
        for (at, custodian) in json.custodians.iter().enumerate() {
            if usize::from(custodian.place) != at + 1 {
                return Err(fail("a custodian is not in its place"));
            }
            let issuer = unhex(&custodian.issuer);
            let commitment = base64_array(&custodian.commitment);
            custodians.push(Custodian {
                name: custodian.name.clone(),
                certificate: Unsealer {
                    uri: custodian.uri.clone(),
                    issuer: issuer.ok_or_else(|| fail("an issuer is not 64 hexadecimal digits"))?,
                },
                place: custodian.place,
                commitment: commitment.ok_or_else(|| fail("a commitment is not 32 bytes"))?,
            });
        }
        let named: Vec<(&str, &Unsealer)> = custodians
            .iter()
            .map(|custodian| (custodian.name.as_str(), &custodian.certificate))
            .collect();
        check(json.threshold, &named)?;
        Ok(CustodianSeal {
            threshold: json.threshold,
            set: base64_array(&json.set).ok_or_else(|| fail("set is not 16 bytes"))?,
            custodians,
            root: base64_array(&json.root).ok_or_else(|| fail("root is not 60 bytes"))?,
        })
    }
}

const LABEL_KEK: &[u8] = b"payvault custodians kek v1";

/// "payvault custodians root v1" ‖ vault id ‖ set ‖ threshold ‖ count.
fn aad(vault: VaultId, set: [u8; 16], threshold: u8, count: u8) -> Vec<u8> {
    let mut aad = b"payvault custodians root v1".to_vec();
    aad.extend_from_slice(&vault.0);
    aad.extend_from_slice(&set);
    aad.extend_from_slice(&[threshold, count]);
    aad
}

/// Whether the shares give the secret back: found out now, and not when it is needed.
fn check_split(
    secret: &SecretBytes<32>,
    threshold: u8,
    values: &[(u8, SecretBytes<32>)],
) -> Result<(), KeyError> {
    let needed = usize::from(threshold);
    for some in [&values[..needed], &values[values.len() - needed..]] {
        let some: Vec<(u8, &SecretBytes<32>)> = some.iter().map(|(at, v)| (*at, v)).collect();
        let joined = split::join(threshold, &some);
        let whole = joined.is_some_and(|joined| joined.ct_eq(secret).into());
        if !whole {
            let what = "the shares don't give the key back: a defect";
            return Err(KeyError::CustodiansRefused { what });
        }
    }
    Ok(())
}

/// Whether these can be custodians together: two at least must come, and nobody is two of them.
fn check(threshold: u8, custodians: &[(&str, &Unsealer)]) -> Result<(), KeyError> {
    let refused = |what| Err(KeyError::CustodiansRefused { what });
    if custodians.len() > CUSTODIANS_MAX {
        return refused("more than may be");
    }
    if threshold < CUSTODIANS_THRESHOLD_MIN {
        return refused("fewer than two would open it: that is no split knowledge");
    }
    if usize::from(threshold) > custodians.len() {
        return refused("more are needed than there are");
    }
    for (at, (name, certificate)) in custodians.iter().enumerate() {
        let name_fits = (1..=NAME_CHARS_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b));
        if !name_fits {
            return refused("a name has 1 to 64 of a-z 0-9 . - _");
        }
        if !uri_fits(&certificate.uri) {
            return refused("a URI is empty, too long or not printable ASCII");
        }
        let twice = |(other, its): &(&str, &Unsealer)| other == name || its == certificate;
        if custodians[..at].iter().any(twice) {
            return refused("two have the same name or the same certificate");
        }
    }
    Ok(())
}

// In the order of their names (RFC 8785).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Json {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) check: Option<String>,
    pub(super) custodians: Vec<JsonCustodian>,
    pub(super) kind: String,
    pub(super) root: String,
    pub(super) set: String,
    pub(super) threshold: u8,
    pub(super) unsealers: Vec<JsonUnsealer>,
    pub(super) v: u32,
    pub(super) vault: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonCustodian {
    commitment: String,
    issuer: String,
    name: String,
    place: u8,
    uri: String,
}

#[cfg(test)]
mod tests {
    use super::super::{NewSeal, SealFile, SealKind, ShareFile};
    use super::*;
    use crate::secret::SecretText;
    use std::fs;
    use std::path::Path;
    use tempfile::TempDir;

    const VAULT: VaultId = VaultId([7; 16]);

    fn certificate(name: &str) -> Unsealer {
        Unsealer {
            uri: format!("spiffe://payvault.example/custodian/{name}"),
            issuer: [0xcd; 32],
        }
    }

    fn custodians(names: &[&str]) -> Vec<NewCustodian> {
        let named = names.iter();
        named
            .map(|name| NewCustodian {
                name: (*name).to_owned(),
                certificate: certificate(name),
                delivery: Delivery::Passphrase(Argon2Cost::for_tests()),
            })
            .collect()
    }

    fn new(threshold: u8, names: &[&str]) -> NewSeal {
        NewSeal::Custodians {
            threshold,
            custodians: custodians(names),
        }
    }

    fn open_share(dealt: &DealtShare) -> Share {
        let file = SecretText::copy_from(&dealt.file);
        match ShareFile::parse(&file).unwrap() {
            ShareFile::Passphrase(sealed) => {
                sealed.open(dealt.passphrase.as_ref().unwrap()).unwrap()
            }
            _ => panic!("another kind"),
        }
    }

    fn made(dir: &Path, vault: VaultId) -> (RootKey, Vec<Share>) {
        let operator = Unsealer {
            uri: "spiffe://payvault.example/operator/olga".to_owned(),
            issuer: [1; 32],
        };
        let seal = new(2, &["ann", "bob", "cem"]);
        let mut shares = Vec::new();
        let mut deliver = |dealt: &[DealtShare]| {
            shares = dealt.iter().map(open_share).collect();
            Ok(())
        };
        let root = SealFile::create_as(dir, vault, &seal, vec![operator], &mut deliver).unwrap();
        (root, shares)
    }

    fn sealed() -> (TempDir, RootKey, Vec<Share>) {
        let dir = tempfile::tempdir().unwrap();
        let (root, shares) = made(dir.path(), VAULT);
        (dir, root, shares)
    }

    fn again(share: &Share) -> Share {
        Share::parse(&share.to_text()).unwrap()
    }

    #[test]
    fn any_two_of_three_open_it_and_are_named() {
        let (dir, root, shares) = sealed();
        let seal = SealFile::read(dir.path()).unwrap();
        assert_eq!(seal.kind(), SealKind::Custodians);
        assert_eq!((seal.threshold(), seal.custodians().len()), (2, 3));
        assert_eq!(seal.unsealers().len(), 4, "custodians may unseal");
        for (first, second, by) in [(0, 1, "ann bob"), (2, 0, "cem ann"), (1, 2, "bob cem")] {
            let chosen = [again(&shares[first]), again(&shares[second])];
            let opened = seal.combine(&chosen).unwrap();
            assert!(opened.expose() == root.expose());
            assert_eq!(opened.opened_by(), by);
        }
        let all: Vec<Share> = shares.iter().map(again).collect();
        assert!(seal.combine(&all).unwrap().expose() == root.expose());
        let passphrase = SecretText::copy_from("a passphrase");
        let refused = seal.open(&passphrase);
        assert!(matches!(
            refused,
            Err(KeyError::OtherKind(SealKind::Custodians))
        ));
    }

    /// PCI DSS 3.7.6: k−1 shares fail, and one custodian's share twice.
    #[test]
    fn each_way_to_be_wrong_is_told_apart() {
        let (dir, _, shares) = sealed();
        let seal = SealFile::read(dir.path()).unwrap();
        let one = seal.combine(&[again(&shares[0])]);
        assert!(matches!(
            one,
            Err(KeyError::SharesMissing { have: 1, need: 2 })
        ));
        assert!(matches!(
            seal.combine(&[]),
            Err(KeyError::SharesMissing { .. })
        ));
        let twice = seal.combine(&[again(&shares[0]), again(&shares[0])]);
        assert!(matches!(twice, Err(KeyError::ShareRepeated)));

        let elsewhere = tempfile::tempdir().unwrap();
        let (_, foreign) = made(elsewhere.path(), VaultId([8; 16]));
        assert!(matches!(
            seal.judge(&foreign[1]),
            Err(KeyError::ShareForeign)
        ));
        let elsewhere = tempfile::tempdir().unwrap();
        let (_, earlier) = made(elsewhere.path(), VAULT);
        assert!(matches!(
            seal.judge(&earlier[1]),
            Err(KeyError::ShareOutdated)
        ));

        // A share with another value or place, and a checksum that fits.
        let mut forged = again(&shares[1]);
        forged.value = SecretBytes::random();
        assert!(matches!(seal.judge(&forged), Err(KeyError::ShareDamaged)));
        let mut moved = again(&shares[1]);
        moved.place = 1;
        assert!(matches!(seal.judge(&moved), Err(KeyError::ShareDamaged)));
        moved.place = 9;
        assert!(matches!(seal.judge(&moved), Err(KeyError::ShareDamaged)));
        let with_forged = seal.combine(&[again(&shares[0]), forged]);
        assert!(matches!(with_forged, Err(KeyError::ShareDamaged)));
        assert_eq!(seal.judge(&shares[1]).unwrap().name, "bob");
    }

    #[test]
    fn what_is_changed_in_the_file_is_noticed() {
        let (dir, _, shares) = sealed();
        let path = dir.path().join(super::super::FILE);
        let whole = fs::read_to_string(&path).unwrap();
        let changed = |from: &str, to: &str| {
            assert!(whole.contains(from), "{from}");
            fs::write(&path, whole.replacen(from, to, 1)).unwrap();
            let seal = SealFile::read(dir.path())?;
            seal.combine(&[again(&shares[0]), again(&shares[1])])
        };
        for (from, to) in [
            ("custodian/ann", "custodian/eve"),
            ("\"name\":\"cem\"", "\"name\":\"eve\""),
            ("cdcd", "cdce"),
            ("\"threshold\":2", "\"threshold\":3"),
        ] {
            let refused = changed(from, to).err();
            let expected = matches!(
                refused,
                Some(KeyError::SealTampered | KeyError::SharesMissing { .. })
            );
            assert!(expected, "{to}: {refused:?}");
        }
        for (from, to) in [
            ("\"place\":2", "\"place\":3"),
            ("\"v\":1", "\"v\":2"),
            ("\"set\":\"", "\"set\":\"AAAA"),
            ("\"root\":\"", "\"root\":\"AAAA"),
            ("\"commitment\":\"", "\"commitment\":\"AAAA"),
            ("{", "{\"a\":1,"),
        ] {
            let refused = changed(from, to).err();
            assert!(matches!(refused, Some(KeyError::Malformed { .. })), "{to}");
        }
        for (from, to) in [
            ("\"threshold\":2", "\"threshold\":1"),
            ("\"cem\"", "\"ann\""),
        ] {
            let refused = changed(from, to).err();
            assert!(
                matches!(refused, Some(KeyError::CustodiansRefused { .. })),
                "{to}"
            );
        }
        assert!(changed("{", "{").is_ok());
    }

    #[test]
    fn custodians_that_are_none_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let many: Vec<String> = (0..=CUSTODIANS_MAX).map(|n| format!("c{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for seal in [
            new(1, &["ann", "bob"]),
            new(0, &["ann", "bob"]),
            new(3, &["ann", "bob"]),
            new(2, &["ann", "ann"]),
            new(2, &["ann", "Bob"]),
            new(2, &["ann", ""]),
            new(2, &many),
        ] {
            let refused =
                SealFile::create_as(dir.path(), VAULT, &seal, vec![], &mut |_| Ok(())).err();
            assert!(matches!(refused, Some(KeyError::CustodiansRefused { .. })));
        }
        assert!(!dir.path().join(super::super::FILE).exists());
        // Shares that can't be handed out make no seal.
        let whole = new(16, &many[..CUSTODIANS_MAX]);
        let mut undelivered = |_: &[DealtShare]| Err("no room".to_owned());
        let refused = SealFile::create_as(dir.path(), VAULT, &whole, vec![], &mut undelivered);
        assert!(matches!(refused.err(), Some(KeyError::Undelivered(_))));
        assert!(!dir.path().join(super::super::FILE).exists());
        let made = SealFile::create_as(dir.path(), VAULT, &whole, vec![], &mut |_| Ok(()));
        assert!(made.is_ok());
    }
}
