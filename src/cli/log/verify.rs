//! `payvault log verify` and `verify-receipt`: offline, with keys that the caller was given. A key
//! is never taken from the file.

use super::cosigned::{self, WitnessArgs, Witnessed};
use super::wrapping;
use crate::cli::error::CliError;
use crate::cli::input;
use crate::cli::output::Output;
use crate::ledger::{self, VerifierKey, VerifyError, to_base64};
use clap::Args;
use serde_json::{Value, json};
use std::io::BufRead;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "Example:
  payvault log verify audit.jsonl --key payvault/vlt_.../1+0a1b2c3d+AY...
  payvault log verify audit.jsonl --key KEY --witness auditor.example/w1+... --witness w2.example+... \\
    --witness-quorum 1

KEY is what `payvault init` printed when the vault was made. Take it from there or from whoever
got it then, never from the file or from whoever sent the file.";

/// A file and the keys to verify it with.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The file; - is stdin
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The ledger's public key, as you were given it; more than once when it changed
    #[arg(long = "key", value_name = "KEY", required = true)]
    keys: Vec<String>,
}

/// Verifies an export.
#[derive(Args, Debug)]
pub struct VerifyExportArgs {
    #[command(flatten)]
    pub(super) verify: VerifyArgs,
    #[command(flatten)]
    pub(super) witness: WitnessArgs,
    /// A note of the export's own checkpoint that witnesses cosigned, beside the one in the export
    #[arg(long = "cosigned", value_name = "FILE", requires = "witnesses")]
    pub(super) cosigned: Option<PathBuf>,
    /// The age identity that opens an encrypted one
    #[arg(long = "identity", value_name = "FILE")]
    pub(super) identity_file: Option<PathBuf>,
}

impl VerifyArgs {
    /// The file.
    pub(crate) fn file(&self) -> &std::path::Path {
        &self.file
    }
}

impl VerifyExportArgs {
    /// Opens the export, whatever it is wrapped in, and reads the keys.
    pub(super) fn open(&self) -> Result<(Box<dyn BufRead>, Vec<VerifierKey>), CliError> {
        let keys = keys(&self.verify.keys)?;
        // A key that is mistyped is told before a long file is read.
        self.witness.read()?;
        let reader = wrapping::open(&self.verify.file, self.identity_file.as_deref())?;
        Ok((reader, keys))
    }

    /// Which of the named witnesses cosigned the checkpoint of an export that verified.
    pub(super) fn witnessed(
        &self,
        report: &ledger::Report,
        keys: &[VerifierKey],
    ) -> Result<Vec<Witnessed>, CliError> {
        match self.witness.read()? {
            Some(quorum) => quorum.verify(&self.cosigned_note(report, keys)?),
            None => Ok(Vec::new()),
        }
    }

    /// The note in which the cosignatures are looked for: the export's own, or the one beside it, which
    /// must be of the same checkpoint.
    fn cosigned_note(
        &self,
        report: &ledger::Report,
        keys: &[VerifierKey],
    ) -> Result<String, CliError> {
        let Some(file) = &self.cosigned else {
            return Ok(report.note.clone());
        };
        let refused = |problem| CliError::Verification {
            line: None,
            problem,
        };
        let note = input::read_bytes(file, crate::limits::NOTE_BYTES_MAX)?;
        let note = String::from_utf8(note)
            .map_err(|_| refused("the cosigned note is not text".to_owned()))?;
        let (checkpoint, _) = ledger::Checkpoint::open(&note, keys)
            .map_err(|error| refused(format!("the cosigned note: {error}")))?;
        if checkpoint != report.checkpoint {
            return Err(refused(format!(
                "the cosigned note is of {} entries of {}, and the export's checkpoint of {} of {}: \
                 it has to be of the same",
                checkpoint.size,
                checkpoint.origin,
                report.checkpoint.size,
                report.checkpoint.origin
            )));
        }
        Ok(note)
    }
}

/// Verifies an export.
///
/// # Errors
/// Exit code 6 and the first line that is wrong.
pub fn export(args: VerifyExportArgs, output: Output) -> Result<(), CliError> {
    let (reader, keys) = args.open()?;
    let report = ledger::verify_export(reader, &keys).map_err(refused)?;
    let witnessed = args.witnessed(&report, &keys)?;
    let document = json!({
        "verified": true,
        "witnesses": cosigned::document(&witnessed),
        "from": report.from,
        "to": report.to,
        "open": report.open,
        "closed": report.closed,
        "closed_by_time": report.closed_by_time,
        "erased": report.erased,
        "requested_by": report.requested_by.to_string(),
        "requested_by_name": report.requested_by_name,
        "reason": report.reason,
        "ticket": report.ticket,
        "at": report.at.to_string(),
        "checkpoint": checkpoint(&report.checkpoint),
        "key": report.key,
    });
    output.result(&document, |out| {
        writeln!(out, "verified")?;
        write!(out, "{report}")?;
        cosigned::words(&witnessed, out)
    })
}

/// Verifies a receipt.
///
/// # Errors
/// Exit code 6 and what is wrong.
pub fn receipt(args: VerifyArgs, output: Output) -> Result<(), CliError> {
    let keys = keys(&args.keys)?;
    let receipt = input::read_bytes(&args.file, crate::limits::RECEIPT_BYTES_MAX)?;
    let report = ledger::verify_receipt(&receipt, &keys).map_err(refused)?;
    let entry: Value = serde_json::from_str(&report.body).unwrap_or(Value::Null);
    let document = json!({
        "verified": true,
        "index": report.index,
        "entry": entry,
        "checkpoint": checkpoint(&report.checkpoint),
        "key": report.key,
    });
    output.result(&document, |out| {
        writeln!(out, "verified")?;
        write!(out, "{report}")?;
        writeln!(out, "{}", report.body)
    })
}

pub(crate) fn checkpoint(checkpoint: &ledger::Checkpoint) -> Value {
    json!({
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": to_base64(&checkpoint.root),
    })
}

/// The keys that were given beside a file.
///
/// # Errors
/// When one is none.
pub(crate) fn keys_of(args: &VerifyArgs) -> Result<Vec<VerifierKey>, CliError> {
    keys(&args.keys)
}

fn keys(texts: &[String]) -> Result<Vec<VerifierKey>, CliError> {
    texts
        .iter()
        .map(|text| {
            VerifierKey::parse(text.trim())
                .map_err(|error| CliError::Usage(format!("--key: {error}")))
        })
        .collect()
}

/// A refusal as the floor's error.
pub(crate) fn refused(error: VerifyError) -> CliError {
    CliError::Verification {
        line: Some(error.line),
        problem: format!("{}. {}", error.fault, error.fault.remedy()),
    }
}

#[cfg(test)]
impl VerifyArgs {
    pub(super) fn of(file: PathBuf, key: &str) -> VerifyArgs {
        let keys = vec![key.to_owned()];
        VerifyArgs { file, keys }
    }
}

#[cfg(test)]
impl VerifyExportArgs {
    pub(super) fn of(verify: VerifyArgs) -> VerifyExportArgs {
        VerifyExportArgs {
            verify,
            witness: WitnessArgs::default(),
            cosigned: None,
            identity_file: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_is_a_usage_error_and_a_foreign_file_is_not_verified() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.jsonl");
        std::fs::write(&file, "{}\n").unwrap();
        let verify = |key: &str| {
            let args = VerifyExportArgs::of(VerifyArgs::of(file.clone(), key));
            export(args, Output { json: true }).unwrap_err()
        };
        assert_eq!(verify("nonsense").exit_code(), 2);
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
        let key = VerifierKey::new("payvault/x/1", key).unwrap().to_string();
        let error = verify(&key);
        assert_eq!(error.exit_code(), 6);
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
