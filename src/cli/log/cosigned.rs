//! What `--witness` asks for: that enough of the named witnesses cosigned a checkpoint, checked
//! offline. The checkpoint's own signature is checked elsewhere, and first.

use crate::cli::error::CliError;
use crate::clock::Timestamp;
use crate::ledger::WitnessKey;
use crate::limits;
use clap::Args;
use serde_json::{Value, json};
use std::io::{self, Write};

/// The witnesses, and how many of them are enough.
#[derive(Args, Debug, Default)]
pub(super) struct WitnessArgs {
    /// A witness's public key, as you were given it; more than once for more of them
    #[arg(long = "witness", value_name = "KEY")]
    witnesses: Vec<String>,
    /// How many of them must have cosigned [default: all that are named]
    #[arg(long = "witness-quorum", value_name = "N", requires = "witnesses")]
    quorum: Option<usize>,
}

/// Witnesses and a number.
pub(super) struct Quorum {
    keys: Vec<WitnessKey>,
    needed: usize,
}

/// One that cosigned.
pub(super) struct Witnessed {
    witness: String,
    at: Timestamp,
}

impl WitnessArgs {
    /// Reads the keys; none when no witness was named.
    pub(super) fn read(&self) -> Result<Option<Quorum>, CliError> {
        if self.witnesses.len() > limits::WITNESSES_MAX {
            return Err(CliError::Usage(format!(
                "--witness: at most {} times",
                limits::WITNESSES_MAX
            )));
        }
        let mut keys: Vec<WitnessKey> = Vec::new();
        for text in &self.witnesses {
            let key = WitnessKey::parse(text.trim())
                .map_err(|error| CliError::Usage(format!("--witness: {error}")))?;
            // One that is named twice would count twice.
            if keys.iter().any(|other| other.is_the_same_as(&key)) {
                return Err(CliError::Usage("--witness: one is named twice".to_owned()));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Ok(None);
        }
        let needed = self.quorum.unwrap_or(keys.len());
        if needed == 0 || needed > keys.len() {
            return Err(CliError::Usage(format!(
                "--witness-quorum: must be 1 to {}, since so many are named",
                keys.len()
            )));
        }
        Ok(Some(Quorum { keys, needed }))
    }
}

impl Quorum {
    /// Which of them cosigned the note: enough.
    ///
    /// # Errors
    /// Exit code 6 when too few did, or a line that names one isn't its.
    pub(super) fn verify(&self, note: &str) -> Result<Vec<Witnessed>, CliError> {
        let refused = |problem| CliError::Verification {
            line: None,
            problem,
        };
        let mut witnessed = Vec::new();
        let mut absent = Vec::new();
        for key in &self.keys {
            let at = key
                .cosigned(note)
                .map_err(|error| refused(format!("the cosignature of {}: {error}", key.name())))?;
            match at {
                Some(seconds) => witnessed.push(Witnessed {
                    witness: key.name().to_owned(),
                    at: Timestamp(seconds.saturating_mul(1_000)),
                }),
                None => absent.push(key.name()),
            }
        }
        if witnessed.len() < self.needed {
            return Err(refused(format!(
                "{} of the {} witnesses that are needed cosigned the checkpoint; not by {}. Export \
                 again once they answer (`payvault status` says which don't), or give the cosigned \
                 note of the same size",
                witnessed.len(),
                self.needed,
                absent.join(", ")
            )));
        }
        Ok(witnessed)
    }
}

/// Who cosigned, for machines.
pub(super) fn document(witnessed: &[Witnessed]) -> Value {
    let each = |w: &Witnessed| json!({"witness": w.witness, "at": w.at.to_string()});
    witnessed.iter().map(each).collect()
}

/// Who cosigned, for people.
pub(super) fn words(witnessed: &[Witnessed], out: &mut dyn Write) -> io::Result<()> {
    for Witnessed { witness, at } in witnessed {
        writeln!(
            out,
            "Cosigned by the witness {witness} at {at}: by then it had seen no larger tree of this \
             ledger, and this one goes on from all that it had seen."
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Checkpoint, Cosigner};

    fn args(keys: &[&WitnessKey], quorum: Option<usize>) -> WitnessArgs {
        WitnessArgs {
            witnesses: keys.iter().map(|key| key.to_string()).collect(),
            quorum,
        }
    }

    #[test]
    fn as_many_as_are_needed_must_have_cosigned() {
        let cosigner = |seed: u8| Cosigner::of_seed(&format!("w{seed}"), &[seed; 32]).unwrap();
        let [a, b, c] = [1, 2, 3].map(cosigner);
        let [ka, kb, kc] = [a.verifier(), b.verifier(), c.verifier()];
        let checkpoint = Checkpoint {
            origin: "log.example".to_owned(),
            size: 3,
            root: [7; 32],
        };
        let log = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        let mut note = checkpoint.sign(&log).unwrap();
        for by in [&a, &b] {
            note.push_str(&by.cosign(&checkpoint.text(), 1_700_000_000).unwrap());
        }
        let verify = |keys: &[&WitnessKey], quorum| {
            let quorum = args(keys, quorum).read()?.expect("some are named");
            quorum.verify(&note).map(|witnessed| witnessed.len())
        };
        assert_eq!(verify(&[&ka], None).unwrap(), 1);
        assert_eq!(verify(&[&ka, &kb], None).unwrap(), 2);
        assert_eq!(verify(&[&ka, &kb, &kc], Some(2)).unwrap(), 2);
        for (keys, quorum) in [(vec![&kc], None), (vec![&ka, &kb, &kc], None)] {
            let error = verify(&keys, quorum).unwrap_err();
            assert_eq!(error.exit_code(), 6, "{error}");
            assert!(error.to_string().contains("w3"), "{error}");
        }
        for (keys, quorum) in [
            (vec![&ka, &ka], None),
            (vec![&ka], Some(0)),
            (vec![&ka], Some(2)),
        ] {
            assert_eq!(verify(&keys, quorum).unwrap_err().exit_code(), 2);
        }
        // One key under two names is one witness.
        let renamed = Cosigner::of_seed("another", &[1; 32]).unwrap().verifier();
        assert_eq!(verify(&[&ka, &renamed], None).unwrap_err().exit_code(), 2);
        assert!(WitnessArgs::default().read().unwrap().is_none());
    }
}
