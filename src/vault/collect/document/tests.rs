use super::*;
use crate::clock::DAY_MS;
use crate::keys::{KeyName, Keyring, RootKey, SealedDetails};
use std::path::Path;

const NOW: Timestamp = Timestamp(1_795_459_455_007);

fn ring(dir: &Path) -> Keyring {
    let vault = VaultId([7; 16]);
    let mut ring = Keyring::create(dir, vault, &RootKey::of([3; 32]), NOW).expect("a keyring");
    let name = KeyName::Collect { day: NOW.day() };
    ring.ensure(&[name], NOW).expect("made");
    ring
}

struct Made {
    _dir: tempfile::TempDir,
    ring: Keyring,
    key: CollectKey,
    note: String,
    verifier: VerifierKey,
}

fn made() -> Made {
    let dir = tempfile::tempdir().expect("a directory");
    let ring = ring(&dir.path().join("keys"));
    let key = ring.collect_keys().remove(0);
    let identity = ring.identity().expect("an identity");
    let name = identity_name(ring.vault());
    Made {
        note: sign(ring.vault(), &key, &identity).expect("signed"),
        verifier: VerifierKey::new(&name, identity.verifying_key()).expect("a key"),
        _dir: dir,
        key,
        ring,
    }
}

#[test]
fn a_document_is_read_by_whoever_has_the_key_and_seals() {
    let made = made();
    assert!(made.note.len() <= limits::COLLECT_DOCUMENT_BYTES_MAX);
    let document = CollectDocument::open(&made.note, &made.verifier, NOW).expect("it is good");
    assert_eq!(document.vault(), made.ring.vault());
    assert_eq!(document.key(), made.key.id());
    assert_eq!(document.not_after(), made.key.not_after());
    let site = Site::parse("nl").expect("a site");
    let transaction = TransactionId([9; 16]);
    for suite in Suite::ALL {
        let text = document
            .seal(suite, site, transaction, b"{}", NOW)
            .expect("sealed");
        let bound = Bound {
            vault: made.ring.vault(),
            site,
            transaction,
        };
        let sealed = SealedDetails::parse(&text).expect("a text");
        assert_eq!(
            made.key.open(&sealed, &bound).expect("opens")[..],
            b"{}"[..]
        );
    }
    let late = document.seal(
        Suite::X25519,
        site,
        transaction,
        b"{}",
        made.key.not_after(),
    );
    assert!(matches!(late, Err(DocumentError::NotInTime { .. })));
}

/// Member for member what the page says.
#[test]
fn its_text_is_the_formats() {
    let made = made();
    let public = |suite| STANDARD.encode(made.key.public(suite));
    let expected = format!(
        "{{\"key\":\"{}\",\"not_after\":\"2026-11-25T00:00:00.000Z\",\
         \"not_before\":\"2026-11-23T00:00:00.000Z\",\"suites\":[\
         {{\"aead\":2,\"kdf\":1,\"kem\":32,\"public\":\"{}\",\"suite\":\"x25519\"}},\
         {{\"aead\":2,\"kdf\":1,\"kem\":25722,\"public\":\"{}\",\"suite\":\"x-wing\"}}],\
         \"type\":\"payvault collect key\",\"v\":1,\"vault\":\"{}\"}}\n\n— payvault/{}/identity ",
        made.key.id(),
        public(Suite::X25519),
        public(Suite::XWing),
        made.ring.vault(),
        made.ring.vault(),
    );
    assert!(made.note.starts_with(&expected), "{}", made.note);
}

#[test]
fn a_document_that_is_not_this_vaults_today_is_refused() {
    let (own, other) = (made(), made());
    let open = |note: &str, now| CollectDocument::open(note, &own.verifier, now).err();
    assert_eq!(open(&own.note, NOW), None);
    assert_eq!(
        open(&other.note, NOW),
        Some(DocumentError::Note(NoteFault::NoKnownSignature))
    );
    let over = own.key.not_after();
    let not_in_time = |now| matches!(open(&own.note, now), Some(DocumentError::NotInTime { .. }));
    assert!(!not_in_time(Timestamp(over.0 - 1)) && not_in_time(over));
    let begin = own.key.not_before();
    let early = |ms: u64| not_in_time(Timestamp(begin.0 - ms));
    assert!(!early(limits::COLLECT_CLOCK_SLACK_MS) && early(limits::COLLECT_CLOCK_SLACK_MS + 1));
    assert!(early(DAY_MS));
    // Every byte of the signed text.
    let signed = own.note.find("\n\n").expect("a note") + 1;
    for at in 0..signed {
        let mut bytes = own.note.clone().into_bytes();
        bytes[at] ^= 1;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        assert!(open(&text, NOW).is_some(), "byte {at}");
    }
    assert!(open(&"a".repeat(4_097), NOW).is_some());
}

/// Signed rightly, and still none: what a later version might say.
#[test]
fn another_type_version_or_vault_is_refused_and_an_unknown_suite_passed_over() {
    let own = made();
    let identity = own.ring.identity().expect("an identity");
    let (text, _) = own.note.split_once("\n\n").expect("a note");
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let text = format!("{}\n", text.replacen(from, to, 1));
        let note = sign_note(&text, own.verifier.name(), &identity).expect("signed");
        CollectDocument::open(&note, &own.verifier, NOW)
    };
    let vault = own.ring.vault().to_string();
    let other = VaultId([8; 16]).to_string();
    for (from, to) in [
        ("payvault collect key", "payvault collect keys"),
        ("\"v\":1", "\"v\":2"),
        (vault.as_str(), other.as_str()),
        ("\"not_after\":\"2026", "\"not_after\":\"x026"),
        ("\"key\":\"", "\"key\":\"x"),
        ("{", "["),
    ] {
        let refused = with(from, to).err();
        assert!(
            matches!(refused, Some(DocumentError::Unknown(_))),
            "{from}: {refused:?}"
        );
    }
    let site = Site::parse("nl").expect("a site");
    let sealed = |document: &CollectDocument, suite| {
        document.seal(suite, site, TransactionId([9; 16]), b"{}", NOW)
    };
    for (from, to) in [
        ("\"suite\":\"x25519\"", "\"suite\":\"x448\""),
        ("\"kem\":32", "\"kem\":33"),
        ("\"aead\":2", "\"aead\":3"),
        ("\"kdf\":1", "\"kdf\":2"),
        ("\"public\":\"", "\"public\":\"A"),
    ] {
        let document = with(from, to).expect("the rest is good");
        assert_eq!(
            sealed(&document, Suite::X25519),
            Err(DocumentError::NoSuite("x25519")),
            "{from}"
        );
        assert!(sealed(&document, Suite::XWing).is_ok());
    }
    // Entries of another shape say nothing of those beside them.
    for unknown in [
        "null",
        "7",
        "[]",
        "{}",
        "{\"suite\":\"x-wing-2\",\"publics\":[\"\"]}",
        "{\"aead\":\"2\",\"kdf\":1,\"kem\":70000,\"public\":\"\",\"suite\":\"x25519\"}",
    ] {
        let entries = format!("\"suites\":[{unknown},");
        let document = with("\"suites\":[", &entries).expect("the rest is good");
        for suite in Suite::ALL {
            assert!(sealed(&document, suite).is_ok(), "{unknown}");
        }
    }
    assert!(with("\"suites\":[", "\"suites\":7,\"more\":[").is_err());
}
