//! Published vectors, round trips, and what does not open.

use super::key::open;
use super::sealed;
use super::*;
use crate::clock::{DAY_MS, Timestamp};
use crate::ids::{Site, TransactionId};
use crate::keys::name::KeyName;
use crate::keys::testing::{self, DAY, NOW, TXN, VAULT, nl, unhex};
use crate::secret::SecretBytes;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable, Kem, Serializable};
use serde_json::Value;

fn vectors(of: &str) -> Vec<Value> {
    let text = include_str!("../../../tests/vectors/keys/hpke.json");
    let all: Value = serde_json::from_str(text).unwrap();
    all[of].as_array().unwrap().clone()
}

fn hex(vector: &Value, member: &str) -> Vec<u8> {
    unhex(vector[member].as_str().unwrap())
}

/// RFC 9180's own vectors for DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
#[test]
fn the_suite_opens_the_rfcs_vectors() {
    let all = vectors("rfc9180");
    assert_eq!(all.len(), 1);
    for v in &all {
        let (private, public) = X25519HkdfSha256::derive_keypair(&hex(v, "ikmR"));
        // The library keeps it clamped (RFC 7748 §5), which names the same key.
        let mut expected = hex(v, "skRm");
        expected[0] &= 248;
        expected[31] = expected[31] & 127 | 64;
        assert_eq!(private.to_bytes()[..], expected[..]);
        assert_eq!(public.to_bytes()[..], hex(v, "pkRm")[..]);
        let aad = String::from_utf8(hex(v, "aad")).unwrap();
        let info = String::from_utf8(hex(v, "info")).unwrap();
        let details = SealedDetails {
            suite: Suite::X25519,
            key: CollectKeyId([0; 16]),
            site: nl(),
            aad: &aad,
            enc: hex(v, "enc"),
            ciphertext: hex(v, "ct"),
        };
        let secret = SecretBytes::copy_from(&private.to_bytes()).unwrap();
        let opened = open::<X25519HkdfSha256>(&secret, &info, &details).unwrap();
        assert_eq!(opened[..], hex(v, "pt")[..]);
    }
}

/// X-Wing's own vectors, and those of its key derivation in HPKE.
#[test]
fn x_wing_is_the_published_one() {
    let all = vectors("xwing");
    assert_eq!(all.len(), 3);
    for v in &all {
        let private = <XWing as Kem>::PrivateKey::from_bytes(&hex(v, "sk")).unwrap();
        assert_eq!(XWing::sk_to_pk(&private).to_bytes()[..], hex(v, "pk")[..]);
        let enc = <XWing as Kem>::EncappedKey::from_bytes(&hex(v, "ct")).unwrap();
        let shared = XWing::decap(&private, None, &enc).unwrap();
        assert_eq!(shared.0[..], hex(v, "ss")[..]);
    }
    for v in &vectors("hpke_pq") {
        let (private, public) = XWing::derive_keypair(&hex(v, "ikmR"));
        assert_eq!(private.to_bytes()[..], hex(v, "skRm")[..]);
        assert_eq!(public.to_bytes()[..], hex(v, "pkRm")[..]);
        let enc = <XWing as Kem>::EncappedKey::from_bytes(&hex(v, "enc")).unwrap();
        let shared = XWing::decap(&private, None, &enc).unwrap();
        assert_eq!(shared.0[..], hex(v, "shared_secret")[..]);
    }
}

fn bound() -> Bound {
    Bound {
        vault: VAULT,
        site: nl(),
        transaction: TXN,
    }
}

fn key() -> CollectKey {
    let (_dir, mut ring) = testing::keyring();
    ring.ensure(&[KeyName::Collect { day: DAY }], NOW).unwrap();
    ring.collect_keys().remove(0)
}

fn sealed(key: &CollectKey, suite: Suite, json: &[u8]) -> String {
    seal_details(suite, key.id(), key.public(suite), &bound(), json).unwrap()
}

#[test]
fn what_is_sealed_opens_for_its_own_transaction_only() {
    let key = key();
    for suite in Suite::ALL {
        let text = sealed(&key, suite, b"{}");
        let parsed = SealedDetails::parse(&text).unwrap();
        assert_eq!(key.open(&parsed, &bound()).unwrap()[..], b"{}"[..]);
        let others = [
            Bound {
                transaction: TransactionId([8; 16]),
                ..bound()
            },
            Bound {
                vault: crate::ids::VaultId([9; 16]),
                ..bound()
            },
            Bound {
                site: Site::parse("us").unwrap(),
                ..bound()
            },
        ];
        for other in others {
            assert!(key.open(&parsed, &other).is_none());
        }
        // Nor under another key, whatever it calls itself.
        let other = self::key();
        assert!(other.open(&parsed, &bound()).is_none());
        let renamed = text.replace(&key.id().to_string(), &other.id().to_string());
        let renamed = SealedDetails::parse(&renamed).unwrap();
        assert!(other.open(&renamed, &bound()).is_none());
        let moved = text.replace(".nl.", ".us.");
        let moved = SealedDetails::parse(&moved).unwrap();
        let at = Bound {
            site: Site::parse("us").unwrap(),
            ..bound()
        };
        assert!(key.open(&moved, &at).is_none());
    }
}

/// Every character, every bit of it: what is still a text of that shape does not open.
#[test]
fn no_flipped_bit_and_no_cut_opens() {
    let key = key();
    for suite in Suite::ALL {
        let text = sealed(&key, suite, b"{\"a\":\"b\"}");
        let refused = |bytes: &[u8]| {
            std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| SealedDetails::parse(text).ok())
                .is_none_or(|parsed| key.open(&parsed, &bound()).is_none())
        };
        assert!(!refused(text.as_bytes()));
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                assert!(refused(&bytes), "bit {bit} of {at}");
            }
            assert!(refused(&text.as_bytes()[..at]), "cut at {at}");
        }
    }
}

#[test]
fn two_uses_differ_and_the_length_says_nothing() {
    let key = key();
    for suite in Suite::ALL {
        let (short, long) = (
            sealed(&key, suite, b"{}"),
            sealed(&key, suite, &[b'a'; 511]),
        );
        assert_eq!(short.len(), long.len());
        let of = |text: &str| SealedDetails::parse(text).unwrap().encapsulation();
        assert!(of(&short) != of(&long) && of(&short) == of(&short));
        assert!(long.len() <= crate::limits::SEALED_DETAILS_CHARS_MAX);
        let longest = sealed(&key, suite, &[b'a'; 2_047]);
        assert!(longest.len() <= crate::limits::SEALED_DETAILS_CHARS_MAX);
        let past = seal_details(suite, key.id(), key.public(suite), &bound(), &[b'a'; 2_048]);
        assert_eq!(past, Err(SealError::TooLong));
        let bad = seal_details(suite, key.id(), &[0; 31], &bound(), b"{}");
        assert_eq!(bad, Err(SealError::BadKey));
    }
}

#[test]
fn a_text_of_another_shape_is_none() {
    let key = key();
    let text = sealed(&key, Suite::X25519, b"{}");
    let fields: Vec<&str> = text.split('.').collect();
    let with = |at: usize, field: &str| {
        let mut fields = fields.clone();
        fields[at] = field;
        fields.join(".")
    };
    assert!(SealedDetails::parse(&with(5, fields[5])).is_ok());
    for wrong in [
        String::new(),
        ".....".to_owned(),
        with(0, "pvc2"),
        with(1, "x-wing"),
        with(1, "x448"),
        with(2, "bcdf"),
        with(3, "-"),
        with(3, "nl.x"),
        with(4, ""),
        with(5, ""),
        with(5, &"A".repeat(3_000)),
        format!("{text}="),
        format!("{text}\n"),
        format!(" {text}"),
        "a".repeat(9_000),
    ] {
        assert!(SealedDetails::parse(&wrong).is_err(), "{wrong:.60}");
    }
}

/// The format's own words, made by hand from the page.
#[test]
fn info_and_aad_are_what_the_format_says() {
    let id = CollectKeyId([0x01; 16]);
    let letters = "bc".repeat(16);
    assert_eq!(
        bound().info(id, Suite::XWing),
        format!("payvault collect v1\n{VAULT}\nnl\n{TXN}\n{letters}\nx-wing\n")
    );
    assert_eq!(
        sealed::aad(Suite::X25519, id, nl()),
        format!("pvc1.x25519.{letters}.nl")
    );
}

#[test]
fn a_key_opens_in_its_time_and_is_the_same_when_it_is_loaded_again() {
    let (dir, mut ring) = testing::keyring();
    assert!(ring.collect_keys().is_empty());
    ring.ensure(&[KeyName::Collect { day: DAY }], NOW).unwrap();
    let key = ring.collect_keys().remove(0);
    let begin = Timestamp(u64::from(DAY) * DAY_MS);
    assert_eq!((key.day(), key.not_before()), (DAY, begin));
    assert_eq!(key.not_after(), begin.plus_ms(2 * DAY_MS));
    let text = sealed(&key, Suite::XWing, b"{}");
    let again = testing::reload(dir.path()).collect_keys().remove(0);
    assert_eq!(again.id(), key.id());
    let parsed = SealedDetails::parse(&text).unwrap();
    assert!(again.open(&parsed, &bound()).is_some());
    let next = NOW.plus_ms(DAY_MS);
    ring.ensure(&[KeyName::Collect { day: DAY + 1 }], next)
        .unwrap();
    let days: Vec<u32> = ring.collect_keys().iter().map(CollectKey::day).collect();
    assert_eq!(days, [DAY + 1, DAY]);
    // At a restore all of them end, and the day's next one is another.
    let today = ring.collect_keys()[0].id();
    ring.end_collecting(next).unwrap();
    assert!(ring.collect_keys().is_empty());
    ring.end_collecting(next).unwrap();
    ring.ensure(&[KeyName::Collect { day: DAY + 1 }], next)
        .unwrap();
    assert_ne!(ring.collect_keys()[0].id(), today);
}
