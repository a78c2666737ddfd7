//! Cosignatures and how a witness judges: a real checkpoint that real witnesses cosigned, and each
//! refusal of C2SP tlog-witness.

use super::*;
use crate::ledger::*;
use ed25519_dalek::SigningKey;

#[test]
fn what_public_witnesses_cosigned_verifies() {
    let v = json("cosigned_checkpoint.json");
    let note = text(&v["note"]);
    let at = v["at"].as_u64();
    assert!(at.is_some());
    for vkey in v["witnesses"].as_array().unwrap() {
        let key = WitnessKey::parse(text(vkey)).unwrap();
        assert_eq!(key.to_string(), text(vkey));
        assert_eq!(key.cosigned(note), Ok(at), "{key}");
        let other = note.replacen("1432088532", "1432088533", 1);
        assert_eq!(key.cosigned(&other), Err(NoteFault::BadSignature));
    }
    let absent = WitnessKey::parse(text(&v["another_witness"])).unwrap();
    assert_eq!(absent.cosigned(note), Ok(None));
    // The log's own key is of another type, and a witness's key is no log's.
    assert!(WitnessKey::parse(text(&v["ledger"])).is_err());
    assert!(VerifierKey::parse(text(&v["witnesses"][0])).is_err());
    let ledger = VerifierKey::parse(text(&v["ledger"])).unwrap();
    assert_eq!(
        Checkpoint::open(note, &[ledger]).unwrap().0.size,
        1_432_088_532
    );
}

fn witness(seed: u8) -> Cosigner {
    Cosigner::of_seed("witness.example/w1", &[seed; 32]).unwrap()
}

#[test]
fn a_cosignature_is_of_its_text_time_and_key() {
    let (own, key) = (witness(7), witness(7).verifier());
    let log = Log::new("log.example/a", 9);
    let note = log.note(5);
    let body = log.checkpoint(5).text();
    let line = own.cosign(&body, 1_700_000_000).unwrap();
    let cosigned = format!("{note}{line}");
    assert_eq!(key.cosigned(&cosigned), Ok(Some(1_700_000_000)));
    assert_eq!(key.cosigned(&note), Ok(None));
    // The log's signature still counts beside it.
    assert_eq!(Checkpoint::open(&cosigned, &[log.key()]).unwrap().0.size, 5);
    for at in [0, u64::MAX] {
        assert!(own.cosign(&body, at).is_err());
    }
    // Another key has another id, so the line is nobody's.
    let forged = witness(8).cosign(&body, 1).unwrap();
    assert_eq!(key.cosigned(&format!("{note}{forged}")), Ok(None));
    let of_another = own.cosign(&log.checkpoint(4).text(), 1).unwrap();
    let refused = key.cosigned(&format!("{note}{of_another}"));
    assert_eq!(refused, Err(NoteFault::BadSignature));
}

#[test]
fn a_private_key_is_read_as_it_was_written_and_no_other_way() {
    let own = Cosigner::generate("witness.example/w1").unwrap();
    let text = own.to_text();
    let again = Cosigner::parse(&text).unwrap();
    assert_eq!(again.verifier(), own.verifier());
    assert_eq!(
        WitnessKey::parse(&own.verifier().to_string()).unwrap(),
        own.verifier()
    );
    for bad in [
        text.replacen("PRIVATE", "PUBLIC", 1),
        text.replacen("/w1", "/w2", 1),
        text[..text.len() - 4].to_owned(),
        own.verifier().to_string(),
        String::new(),
    ] {
        assert!(Cosigner::parse(&bad).is_err());
    }
    for name in ["", "a b", "a+b"] {
        assert!(Cosigner::generate(name).is_err());
    }
}

struct Log {
    origin: String,
    signing: SigningKey,
    leaves: Vec<Hash>,
}

struct Of<'a>(&'a [Hash]);

impl Hashes for Of<'_> {
    fn subtree(&mut self, level: u8, index: u64) -> Result<Hash, LedgerError> {
        let width = 1usize << level;
        let from = index as usize * width;
        Ok(naive_root(&self.0[from..from + width]))
    }
}

impl Log {
    fn new(origin: &str, leaves: u64) -> Log {
        Log {
            origin: origin.to_owned(),
            signing: SigningKey::from_bytes(&[9; 32]),
            leaves: (0..leaves).map(leaf).collect(),
        }
    }

    fn key(&self) -> VerifierKey {
        VerifierKey::new(&self.origin, self.signing.verifying_key()).unwrap()
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint {
            origin: self.origin.clone(),
            size,
            root: naive_root(&self.leaves[..size as usize]),
        }
    }

    fn note(&self, size: u64) -> String {
        self.checkpoint(size).sign(&self.signing).unwrap()
    }

    fn submission(&self, old: u64, size: u64) -> Submission {
        let proof = match old == 0 || old == size {
            true => Vec::new(),
            false => consistency_path(&mut Of(&self.leaves), old, size).unwrap(),
        };
        Submission {
            old,
            proof,
            note: self.note(size),
        }
    }
}

#[test]
fn a_witness_goes_on_from_what_it_cosigned_and_refuses_everything_else() {
    let log = Log::new("log.example/a", 70);
    let keys = [log.key()];
    let judge = |submission: &Submission, known: Option<&Checkpoint>| {
        let read = Submission::parse(&submission.to_text()).unwrap();
        assert_eq!(read, *submission);
        read.judge(&keys, known).map(|accepted| accepted.checkpoint)
    };
    let mut known: Option<Checkpoint> = None;
    for (old, size) in [(0, 0), (0, 1), (1, 1), (1, 7), (7, 64), (64, 70)] {
        let submission = log.submission(old, size);
        let accepted = judge(&submission, known.as_ref()).unwrap();
        assert_eq!(accepted, log.checkpoint(size));
        known = Some(accepted);
    }
    let known = Some(&log.checkpoint(64)).cloned();
    let known = known.as_ref();
    for old in [0, 7, 63, 65] {
        let refused = judge(&log.submission(old, 70), known).unwrap_err();
        assert_eq!(refused, Refused::Conflict { size: 64 }, "{old}");
    }
    // The whole is signed, and yet another tree: of one size, of a larger one.
    let mut fork = Log::new("log.example/a", 70);
    fork.leaves[3] = leaf(1_000);
    for (size, why) in [
        (64, Refused::Conflict { size: 64 }),
        (70, Refused::Inconsistent),
    ] {
        let refused = judge(&fork.submission(64, size), known).unwrap_err();
        assert_eq!(refused, why, "{size}");
    }
    for change in [0, 1, 2] {
        let mut bad = log.submission(64, 70);
        match change {
            0 => bad.proof[0][0] ^= 1,
            1 => drop(bad.proof.pop()),
            _ => bad.proof.push([0; 32]),
        }
        assert_eq!(judge(&bad, known), Err(Refused::Inconsistent), "{change}");
    }
    let mut proof_from_nothing = log.submission(0, 70);
    proof_from_nothing.proof.push([0; 32]);
    assert_eq!(judge(&proof_from_nothing, None), Err(Refused::Inconsistent));
    let mut past = log.submission(0, 7);
    past.old = 8;
    assert!(matches!(judge(&past, known), Err(Refused::Malformed(_))));
    let elsewhere = Log::new("log.example/b", 3).submission(0, 3);
    assert_eq!(judge(&elsewhere, None), Err(Refused::UnknownOrigin));
    let mut unsigned = log.submission(64, 70);
    unsigned.note = unsigned.note.replacen("\n70\n", "\n69\n", 1);
    assert_eq!(judge(&unsigned, known), Err(Refused::NotSigned));
    let mut stranger = Log::new("log.example/a", 70);
    stranger.signing = SigningKey::from_bytes(&[1; 32]);
    let refused = judge(&stranger.submission(64, 70), known);
    assert_eq!(refused, Err(Refused::NotSigned));
    // An empty tree has one root only.
    let mut empty = log.submission(0, 0);
    let other = Checkpoint {
        root: leaf(1),
        ..log.checkpoint(0)
    };
    empty.note = other.sign(&log.signing).unwrap();
    assert_eq!(judge(&empty, None), Err(Refused::Conflict { size: 0 }));
}

#[test]
fn requests_of_another_shape_are_refused() {
    let good = Log::new("log.example/a", 3).submission(1, 3).to_text();
    assert!(Submission::parse(&good).is_ok());
    let note = good.split_once("\n\n").unwrap().1;
    let hash = to_base64(&leaf(0));
    let long = format!("{hash}\n").repeat(64);
    for bad in [
        String::new(),
        note.to_owned(),
        good.replacen("old 1", "old 01", 1),
        good.replacen("old 1", "old -1", 1),
        good.replacen("old 1", "old  1", 1),
        good.replacen("old 1", "Old 1", 1),
        good.replacen("old 1", "old 99999999999999999999", 1),
        good.replacen("old 1\n", "old 1\nabc\n", 1),
        good.replace('\n', "\r\n"),
        format!("old 1\n{long}\n{note}"),
    ] {
        assert!(Submission::parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn extension_lines_are_cosigned_with_the_rest_and_foreign_signatures_are_not_kept() {
    let log = Log::new("log.example/a", 3);
    let text = log.checkpoint(3).text() + "one more\n";
    let signed = crate::ledger::note::sign(&text, &log.origin, &log.signing).unwrap();
    let more = witness(3).cosign(&text, 5).unwrap();
    let submission = Submission {
        old: 0,
        proof: Vec::new(),
        note: format!("{signed}{more}"),
    };
    let accepted = submission.judge(&[log.key()], None).unwrap();
    assert_eq!((accepted.text, accepted.signed), (text, signed));
    // A payvault ledger has none, and a verifier of ours refuses them.
    assert!(Checkpoint::open(&submission.note, &[log.key()]).is_err());
}
