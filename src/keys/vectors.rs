//! Frozen vectors (`tests/vectors/keys/`): the ciphers against Wycheproof and the RFCs, and our
//! own formats against an independent reading of `docs/format.md`.

use super::cipher::{self, TagMismatch};
use super::envelope::{Kind, Place, Sealed};
use super::testing::unhex;
use super::{
    KeyId, KeyName, KeyState, Keyring, RootKey, SealFile, Share, ShareFile, inner, keyring, wrap,
};
use crate::ids::{PrincipalId, Site, TransactionId, VaultId};
use crate::secret::{SecretBytes, SecretText};
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

fn load(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn formats() -> Value {
    load(include_str!("../../tests/vectors/keys/formats.json"))
}

fn bytes(value: &Value) -> Vec<u8> {
    unhex(value.as_str().unwrap())
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn secret<const N: usize>(value: &Value) -> SecretBytes<N> {
    SecretBytes::copy_from(&bytes(value)).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn vault(v: &Value) -> VaultId {
    VaultId(array(&v["vault"]))
}

fn transaction(v: &Value) -> TransactionId {
    TransactionId(array(&v["transaction"]))
}

/// The frozen keyring, loaded from the frozen files.
fn frozen(v: &Value) -> (TempDir, Keyring) {
    let dir = tempfile::tempdir().unwrap();
    let mut slots = bytes(&v["wrap"]["slot"]);
    slots.resize(2 * wrap::SLOT_BYTES, 0);
    fs::write(dir.path().join(wrap::FILE), slots).unwrap();
    fs::write(dir.path().join(keyring::FILE), bytes(&v["keyring"]["file"])).unwrap();
    let root = RootKey::of(array(&v["root"]));
    let keyring = Keyring::load(dir.path(), vault(v), &root).unwrap();
    (dir, keyring)
}

#[test]
fn aes_gcm_agrees_with_wycheproof() {
    let v = load(include_str!("../../tests/vectors/keys/aes_gcm_test.json"));
    let mut ran = 0;
    for group in v["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let name = &test["tcId"];
            let (key, nonce) = (array(&test["key"]), array(&test["iv"]));
            let (aad, message) = (bytes(&test["aad"]), bytes(&test["msg"]));
            let (ciphertext, tag) = (bytes(&test["ct"]), array(&test["tag"]));
            let mut opened = vec![0u8; ciphertext.len()];
            let result = cipher::open(&key, &nonce, &aad, &ciphertext, &tag, &mut opened);
            let mut sealed = vec![0u8; message.len()];
            let own_tag = cipher::seal(&key, &nonce, &aad, &message, &mut sealed);
            if test["result"] == "valid" {
                assert_eq!(result, Ok(()), "{name}");
                assert_eq!(opened, message, "{name}");
                assert_eq!((sealed, own_tag), (ciphertext, tag), "{name}");
            } else {
                assert_eq!(result, Err(TagMismatch), "{name}");
                assert!(opened.iter().all(|b| *b == 0), "{name}: nothing came out");
                assert!((sealed, own_tag) != (ciphertext, tag), "{name}");
            }
            ran += 1;
        }
    }
    assert_eq!(ran, 66);
}

/// RFC 5869 appendix A.1 to A.3. Ours is the construction of A.3 (no salt) and 32 bytes long.
#[test]
fn hkdf_agrees_with_rfc_5869() {
    let count = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
    let cases = [
        (
            vec![0x0b; 22],
            count(0x00, 0x0c),
            count(0xf0, 0xf9),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            count(0x00, 0x4f),
            count(0x60, 0xaf),
            count(0xb0, 0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb\
             41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            vec![],
            vec![],
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (key, salt, info, okm) in cases {
        let okm = unhex(okm);
        let mut out = vec![0u8; okm.len()];
        hkdf::Hkdf::<sha2::Sha256>::new(Some(&salt), &key)
            .expand(&info, &mut out)
            .unwrap();
        assert_eq!(out, okm);
        if salt.is_empty() {
            assert_eq!(cipher::hkdf(&key, &[&info])[..], okm[..32]);
        }
    }
    // The parts of an info are joined.
    assert_eq!(
        cipher::hkdf(b"key", &[b"ab", b"", b"c"])[..],
        cipher::hkdf(b"key", &[b"abc"])[..]
    );
}

/// RFC 9106 section 5.3, which also has a secret and associated data; ours has neither.
#[test]
fn argon2id_agrees_with_rfc_9106() {
    let params = argon2::ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(argon2::AssociatedData::new(&[4; 12]).unwrap())
        .output_len(32)
        .build()
        .unwrap();
    let (algorithm, version) = (argon2::Algorithm::Argon2id, argon2::Version::V0x13);
    let secret = [3; 8];
    let argon2 = argon2::Argon2::new_with_secret(&secret, algorithm, version, params).unwrap();
    let mut out = [0u8; 32];
    argon2
        .hash_password_into(&[1; 32], &[2; 16], &mut out)
        .unwrap();
    let tag = unhex("0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
    assert_eq!(out[..], tag[..]);
}

#[test]
fn the_wrap_slot_is_frozen() {
    let v = formats();
    let w = &v["wrap"];
    let root: [u8; 32] = array(&v["root"]);
    let kek = cipher::hkdf(&root, &[b"payvault keyring wrap v1"]);
    let kek = SecretBytes::copy_from(&kek[..]).unwrap();
    let nonce = array(&w["nonce"]);
    let block = wrap::block(
        &kek,
        vault(&v),
        number(&w["generation"]),
        &nonce,
        &secret(&w["key"]),
    );
    let (used, rest) = block.split_at(72);
    assert_eq!(used, bytes(&w["slot"]));
    assert!(rest.iter().all(|b| *b == 0));
}

#[test]
fn the_keyring_is_frozen() {
    let v = formats();
    let (_dir, keyring) = frozen(&v);
    let k = &v["keyring"];
    assert_eq!(keyring.generation(), number(&k["generation"]));
    let content = keyring.content();
    assert_eq!(content[..], bytes(&k["content"]));
    let file = keyring::seal_keyring(
        &secret(&v["wrap"]["key"]),
        vault(&v),
        number(&k["generation"]),
        &array(&k["nonce"]),
        &content,
    );
    assert_eq!(file, bytes(&k["file"]));

    let states: Vec<(u32, String, KeyState)> = keyring
        .list()
        .map(|key| (key.id().0, key.label(), key.state()))
        .collect();
    assert_eq!(states.len(), 10);
    assert_eq!(
        states[5],
        (6, "log/nl/2026-11#2".to_owned(), KeyState::Active)
    );
    assert_eq!(
        states[7],
        (8, "release/us/20779".to_owned(), KeyState::Destroyed)
    );
    let newest = keyring.newest(&KeyName::parse("log/nl/2026-11").unwrap());
    assert_eq!(newest.unwrap().id(), KeyId(6));
}

#[test]
fn rows_are_frozen() {
    let v = formats();
    let (_dir, keyring) = frozen(&v);
    for row in v["rows"].as_array().unwrap() {
        let site = match row["site"].as_str().unwrap() {
            "-" => Site::VAULT,
            site => Site::parse(site).unwrap(),
        };
        let kinds = [Kind::Head, Kind::Transaction, Kind::Entry, Kind::Allowance];
        let kind = kinds
            .into_iter()
            .find(|kind| *kind as u64 == number(&row["kind"]));
        let (scope, row_key) = (bytes(&row["scope"]), bytes(&row["row_key"]));
        let with_transaction = row["transaction"].as_bool().unwrap();
        let place = Place {
            site,
            transaction: with_transaction.then(|| transaction(&v)),
            kind: kind.unwrap(),
            scope: &scope,
            row_key: &row_key,
        };
        let key = KeyId(number(&row["key"]) as u32);
        let plaintext = bytes(&row["plaintext"]);
        let nonce = array(&row["nonce"]);
        let sealed = keyring
            .seal_with_nonce(key, &place, &plaintext, &nonce)
            .unwrap();
        assert_eq!(sealed.as_bytes(), bytes(&row["sealed"]), "{:?}", place.kind);
        assert_eq!(keyring.open(&place, &sealed).unwrap()[..], plaintext);
    }
}

#[test]
fn inner_records_are_frozen() {
    let v = formats();
    let i = &v["inner"];
    let (selector, terms) = (array(&i["selector"]), array(&i["terms_digest"]));
    let token_secret = secret(&i["secret"]);
    let site = Site::parse("nl").unwrap();
    let aad = inner::aad(vault(&v), site, transaction(&v), &selector, &terms);
    for record in i["records"].as_array().unwrap() {
        let details = bytes(&record["details"]);
        let nonce = array(&record["nonce"]);
        let sealed =
            inner::seal_with_nonce(&aad, &selector, &token_secret, &details, &nonce).unwrap();
        assert_eq!(sealed, bytes(&record["sealed"]), "{}", details.len());
        let opened = inner::open_record(
            vault(&v),
            site,
            transaction(&v),
            &selector,
            &terms,
            &token_secret,
            &sealed,
        );
        assert_eq!(opened.unwrap()[..], details);
    }
}

#[test]
fn requests_are_frozen() {
    let v = formats();
    let (_dir, keyring) = frozen(&v);
    let r = &v["request"];
    let (day, rpc) = (number(&r["day"]) as u32, number(&r["rpc"]) as u8);
    let principal = PrincipalId(array(&v["principal"]));
    let request_id = bytes(&r["request_id"]);
    let site = Site::parse("nl").unwrap();

    let id = keyring.transaction_id(day, principal, &request_id).unwrap();
    assert_eq!(id.0[..], bytes(&r["transaction_id"]));
    let tag = keyring
        .request_tag(day, principal, rpc, &request_id)
        .unwrap();
    assert_eq!(tag.stored()[..], bytes(&r["stored"]));
    let (answer, nonce) = (bytes(&r["answer"]), array(&r["nonce"]));
    let sealed = keyring
        .seal_answer_with_nonce(day, &tag, site, transaction(&v), &answer, &nonce)
        .unwrap();
    assert_eq!(sealed.as_bytes(), bytes(&r["sealed"]));
    let stored = Sealed::from_stored(bytes(&r["sealed"])).unwrap();
    let opened = keyring.open_answer(day, &tag, site, transaction(&v), &stored);
    assert_eq!(opened.unwrap()[..], answer);
}

#[test]
fn the_seal_is_frozen() {
    let v = formats();
    let dir = tempfile::tempdir().unwrap();
    let file = v["seal"]["file"].as_str().unwrap();
    fs::write(dir.path().join(super::seal::FILE), file).unwrap();
    let seal = SealFile::read(dir.path()).unwrap();
    assert_eq!(seal.vault(), vault(&v));
    let passphrase = SecretText::copy_from(v["seal"]["passphrase"].as_str().unwrap());
    let root = seal.open(&passphrase).unwrap();
    assert_eq!(root.expose()[..], bytes(&v["root"]));
    // Written again, it is the same text.
    SealFile::set_unsealers(dir.path(), &root, seal.unsealers().to_vec()).unwrap();
    let again = fs::read_to_string(dir.path().join(super::seal::FILE)).unwrap();
    assert_eq!(again, file);
}

#[test]
fn the_custodians_seal_and_its_shares_are_frozen() {
    let v = formats();
    let c = &v["custodians"];
    let dir = tempfile::tempdir().unwrap();
    let file = c["file"].as_str().unwrap();
    fs::write(dir.path().join(super::seal::FILE), file).unwrap();
    let seal = SealFile::read(dir.path()).unwrap();
    let text = |n: usize| SecretText::copy_from(c["shares"][n].as_str().unwrap());
    let share = |n: usize| Share::parse(&text(n)).unwrap();
    for (first, second, by) in [(0, 1, "ann bob"), (0, 2, "ann cem"), (2, 1, "cem bob")] {
        let root = seal.combine(&[share(first), share(second)]).unwrap();
        assert_eq!(root.expose()[..], bytes(&v["root"]));
        assert_eq!(root.opened_by(), by);
        // Written again, it is the same text.
        SealFile::set_unsealers(dir.path(), &root, seal.unsealers().to_vec()).unwrap();
    }
    let again = fs::read_to_string(dir.path().join(super::seal::FILE)).unwrap();
    assert_eq!(again, file);
    assert_eq!(share(2).to_text().expose(), text(2).expose());
    let sealed = SecretText::copy_from(c["share_file"].as_str().unwrap());
    let Ok(ShareFile::Passphrase(sealed)) = ShareFile::parse(&sealed) else {
        panic!("another kind");
    };
    let passphrase = SecretText::copy_from(c["share_passphrase"].as_str().unwrap());
    let opened = sealed.open(&passphrase).unwrap();
    assert_eq!(opened.to_text().expose(), text(0).expose());
}
