//! Signed notes and checkpoints: the reference note, our frozen checkpoint, and what is refused.

use super::*;
use crate::ids::VaultId;
use crate::ledger::note::sign;
use crate::ledger::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;

fn peter() -> (SigningKey, VerifierKey) {
    let v = json("signed_note.json");
    // The seed's base64 holds a plus too, so the known beginning is cut off.
    let encoded = text(&v["peter"]["signing_key"])
        .strip_prefix("PRIVATE+KEY+PeterNeumann+c74f20a3+")
        .unwrap();
    let seed: [u8; 33] = STANDARD.decode(encoded).unwrap().try_into().unwrap();
    assert_eq!(seed[0], 1);
    let verifier = VerifierKey::parse(text(&v["peter"]["verifier_key"])).unwrap();
    (
        SigningKey::from_bytes(seed[1..].try_into().unwrap()),
        verifier,
    )
}

#[test]
fn the_reference_note_is_made_and_verified() {
    let v = json("signed_note.json");
    let (signing, verifier) = peter();
    let body = text(&v["text"]);
    let note = format!("{body}\n{}", text(&v["peter"]["signature"]));
    assert_eq!(sign(body, "PeterNeumann", &signing).unwrap(), note);
    assert_eq!(verifier.to_string(), text(&v["peter"]["verifier_key"]));
    let own = VerifierKey::new("PeterNeumann", signing.verifying_key()).unwrap();
    assert_eq!(own, verifier);
    let keys = [verifier];
    let (signed, by) = Note::parse(&note).unwrap().verify(&keys).unwrap();
    assert_eq!((signed, by), (body, &keys[0]));
}

#[test]
fn signatures_by_unknown_keys_are_ignored_and_those_by_known_ones_must_hold() {
    let v = json("signed_note.json");
    let (_, peter) = peter();
    let enoch = VerifierKey::parse(text(&v["enoch"]["verifier_key"])).unwrap();
    let body = text(&v["text"]);
    let lines = (
        text(&v["peter"]["signature"]),
        text(&v["enoch"]["signature"]),
    );
    let verify = |note: &str, keys: &[VerifierKey]| {
        let by = Note::parse(note).unwrap().verify(keys)?.1.name().to_owned();
        Ok::<String, NoteFault>(by)
    };
    let both = format!("{body}\n{}{}", lines.0, lines.1);
    assert_eq!(
        verify(&both, std::slice::from_ref(&peter)).unwrap(),
        "PeterNeumann"
    );
    assert_eq!(
        verify(&both, std::slice::from_ref(&enoch)).unwrap(),
        "EnochRoot"
    );
    let keys = [enoch.clone(), peter.clone(), enoch.clone()];
    assert_eq!(verify(&both, &keys).unwrap(), "PeterNeumann");
    assert_eq!(verify(&both, &[]), Err(NoteFault::NoKnownSignature));
    let one = format!("{body}\n{}", lines.0);
    let enoch_alone = std::slice::from_ref(&enoch);
    assert_eq!(verify(&one, enoch_alone), Err(NoteFault::NoKnownSignature));
    // A known key's bad signature spoils the note, also beside a good one.
    let bad = text(&v["bad_signature"]);
    let note = format!("{body}\n{bad}");
    let keys = [peter, enoch.clone()];
    assert_eq!(verify(&note, &keys), Err(NoteFault::BadSignature));
    let note = format!("{body}\n{}{bad}", lines.1);
    assert_eq!(verify(&note, &keys), Err(NoteFault::BadSignature));
    assert_eq!(verify(&note, enoch_alone).unwrap(), "EnochRoot");
    let other_text = both.replace("problem is", "problem IS");
    assert_eq!(verify(&other_text, &keys), Err(NoteFault::BadSignature));
}

#[test]
fn malformed_notes_and_keys_are_refused() {
    let v = json("signed_note.json");
    for (name, note) in v["bad_notes"].as_object().unwrap() {
        assert!(Note::parse(text(note)).is_err(), "{name}");
    }
    let key = text(&v["peter"]["verifier_key"]);
    for from in 0..key.len() {
        for to in from + 1..=key.len() {
            let whole = from == 0 && to == key.len();
            assert_eq!(VerifierKey::parse(&key[from..to]).is_ok(), whole);
        }
    }
    for place in 0..key.len() {
        let mut other = key.as_bytes().to_vec();
        other[place] += 1;
        assert!(VerifierKey::parse(std::str::from_utf8(&other).unwrap()).is_err());
    }
    for key in v["bad_keys"].as_array().unwrap() {
        assert!(VerifierKey::parse(text(key)).is_err());
    }
    assert!(VerifierKey::parse(&format!("{}{key}", "a".repeat(999))).is_err());
    let body = text(&v["text"]);
    let padding = "a".repeat(crate::limits::NOTE_BYTES_MAX);
    assert!(Note::parse(&format!("{padding}\n\n{}", text(&v["peter"]["signature"]))).is_err());
    for name in ["", "a b", "a+b", "a\u{2003}b", "a\nb"] {
        let (signing, _) = peter();
        assert!(sign(body, name, &signing).is_err());
        assert!(VerifierKey::new(name, signing.verifying_key()).is_err());
    }
    let (signing, _) = peter();
    assert!(sign("no newline", "a", &signing).is_err());
    assert!(sign("a\tb\n", "a", &signing).is_err());
}

#[test]
fn the_frozen_checkpoint_is_made_and_read() {
    let v = json("checkpoint.json");
    let signing = SigningKey::from_bytes(&bytes(&v["signing_key"]));
    let vault = VaultId::parse(text(&v["vault"])).unwrap();
    let size = text(&v["size"]).parse().unwrap();
    let checkpoint = Checkpoint::new(vault, 1, size, bytes(&v["root"]));
    assert_eq!(checkpoint.origin, text(&v["origin"]));
    let note = checkpoint.sign(&signing).unwrap();
    assert_eq!(note, text(&v["note"]));
    let own = VerifierKey::new(&checkpoint.origin, signing.verifying_key()).unwrap();
    assert_eq!(own, ledger_key());
    assert_eq!(own.to_string(), text(&v["verifier_key"]));
    let keys = [own];
    let (read, by) = Checkpoint::open(&note, &keys).unwrap();
    assert_eq!((read, by), (checkpoint, &keys[0]));
    for place in 0..note.len() {
        let mut other = note.clone().into_bytes();
        other[place] ^= 1;
        if let Ok(other) = String::from_utf8(other) {
            assert!(Checkpoint::open(&other, &keys).is_err(), "byte {place}");
        }
        if note.is_char_boundary(place) {
            assert!(Checkpoint::open(&note[..place], &keys).is_err());
        }
    }
}

#[test]
fn a_note_that_is_no_checkpoint_of_the_signer_is_refused() {
    let signing = SigningKey::from_bytes(&[0x42; 32]);
    let key = ledger_key();
    let origin = key.name().to_owned();
    let root = to_base64(&[9; 32]);
    let good = format!("{origin}\n5\n{root}\n");
    let open = |text: &str, name: &str, keys: &[VerifierKey]| {
        Checkpoint::open(&sign(text, name, &signing).unwrap(), keys).map(|(c, _)| c.size)
    };
    let keys = std::slice::from_ref(&key);
    assert_eq!(open(&good, &origin, keys), Ok(5));
    for text in [
        format!("{origin}\n05\n{root}\n"),
        format!("{origin}\n-5\n{root}\n"),
        format!("{origin}\n\n{root}\n"),
        format!("{origin}\n18446744073709551616\n{root}\n"),
        format!("{origin}\n5\n{}\n", &root[1..]),
        format!("{origin}\n5\n"),
        format!("{origin}\n5\n{root}\nextension\n"),
        format!("{origin}\n5\n{root}\n\n"),
        format!("\n5\n{root}\n"),
        // Another ledger's, though the key is known.
        format!("payvault/other/1\n5\n{root}\n"),
    ] {
        assert!(open(&text, &origin, keys).is_err(), "{text}");
    }
    // A key that was given for another name says nothing about this ledger.
    let witness = VerifierKey::new("witness.example", signing.verifying_key()).unwrap();
    let both = [witness, key];
    let refused = open(&good, "witness.example", &both);
    assert_eq!(refused, Err(NoteFault::NoKnownSignature));
}
