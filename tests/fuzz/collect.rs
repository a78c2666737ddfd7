//! What browsers seal: the text, what is inside, and the document that they seal it with.

use super::meter::bounded;
use super::text::{planted, silent, silent_error, text};
use ed25519_dalek::SigningKey;
use payvault::api::{convert, details_json, violations::Violations};
use payvault::clock::Timestamp;
use payvault::ids::{Site, TransactionId, VaultId};
use payvault::keys::{
    Argon2Cost, Bound, CollectKey, KeyName, Keyring, SealFile, SealedDetails, Suite, seal_details,
};
use payvault::ledger::{VerifierKey, sign_note};
use payvault::limits;
use payvault::payment::ModulusTables;
use payvault::secret::SecretText;
use payvault::vault::{CollectDocument, DocumentError, identity_name};
use std::sync::LazyLock;

/// 2026-11-23.
const NOW: Timestamp = Timestamp(1_795_392_000_000);
const VAULT: VaultId = VaultId([7; 16]);

struct Fixed {
    key: CollectKey,
    identity: SigningKey,
    verifier: VerifierKey,
    bound: Bound,
}

static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let passphrase = SecretText::copy_from("a passphrase of the fuzzers");
    let cost = Argon2Cost::for_tests();
    let root = SealFile::create(dir.path(), VAULT, &passphrase, cost, Vec::new()).expect("a seal");
    let mut ring = Keyring::create(dir.path(), VAULT, &root, NOW).expect("a keyring");
    let collect = KeyName::Collect { day: NOW.day() };
    ring.ensure(&[collect], NOW).expect("made");
    let identity = SigningKey::from_bytes(&[9; 32]);
    let name = identity_name(VAULT);
    Fixed {
        key: ring.collect_keys().remove(0),
        verifier: VerifierKey::new(&name, identity.verifying_key()).expect("a name"),
        identity,
        bound: Bound {
            vault: VAULT,
            site: Site::parse("nl").expect("a site"),
            transaction: TransactionId([5; 16]),
        },
    }
});

/// First byte: what it is.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind % 4 {
        0 => {
            if let Some(rest) = text(rest) {
                sealed(rest);
                sealed(&planted(rest));
            }
        }
        1 => inside(rest),
        2 => {
            if let Some(rest) = text(rest) {
                document(rest);
                document(&planted(rest));
            }
        }
        _ => {
            if let Some(note) = text(rest) {
                let opened = CollectDocument::open(note, &FIXED.verifier, NOW);
                assert!(opened.is_err(), "nothing unsigned is believed");
            }
        }
    }
}

fn sealed(given: &str) {
    let parsed = bounded(3 * given.len() + 256, || SealedDetails::parse(given));
    match parsed {
        Ok(sealed) => {
            assert!(given.len() <= limits::SEALED_DETAILS_CHARS_MAX);
            let (suite, key, site) = (sealed.suite.name(), sealed.key, sealed.site);
            assert!(given.starts_with(&format!("pvc1.{suite}.{key}.{site}.")));
            assert!(FIXED.key.open(&sealed, &FIXED.bound).is_none());
        }
        Err(error) => silent_error(&error),
    }
}

/// Whatever is sealed comes out, and is details or a refusal that repeats nothing.
fn inside(given: &[u8]) {
    let (key, bound) = (&FIXED.key, &FIXED.bound);
    let suite = Suite::ALL[given.len() % 2];
    let made = seal_details(suite, key.id(), key.public(suite), bound, given);
    assert_eq!(
        made.is_ok(),
        given.len() < limits::SEALED_PLAINTEXT_BYTES_MAX
    );
    let Ok(made) = made else { return };
    let parsed = SealedDetails::parse(&made).expect("our own");
    let opened = key.open(&parsed, bound).expect("it opens");
    assert!(opened[..] == *given);
    match details_json::parse(&opened) {
        Ok(details) => {
            let mut violations = Violations::new();
            let tables = ModulusTables::default();
            let read = convert::details("x", Some(details), NOW, &tables, &mut violations);
            assert_eq!(read.is_some(), violations.is_empty());
            for (field, what) in violations {
                silent(&field);
                silent(what);
            }
        }
        Err(error) => assert!(error.line <= given.len() + 1),
    }
}

/// Signed rightly, whatever it says.
fn document(given: &str) {
    let Ok(note) = sign_note(
        &format!("{given}\n"),
        FIXED.verifier.name(),
        &FIXED.identity,
    ) else {
        return;
    };
    match CollectDocument::open(&note, &FIXED.verifier, NOW) {
        Ok(document) => {
            assert_eq!(document.vault(), VAULT);
            assert!(NOW < document.not_after());
            for suite in Suite::ALL {
                let Bound {
                    site, transaction, ..
                } = FIXED.bound;
                match document.seal(suite, site, transaction, b"{}", NOW) {
                    Ok(text) => assert!(SealedDetails::parse(&text).is_ok()),
                    Err(error) => assert!(matches!(
                        error,
                        DocumentError::NoSuite(_) | DocumentError::Seal(_)
                    )),
                }
            }
        }
        Err(error) => silent_error(&error),
    }
}
