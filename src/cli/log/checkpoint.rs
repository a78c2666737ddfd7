//! `payvault log checkpoint`.

use super::cosigned::{self, WitnessArgs};
use crate::api::proto;
use crate::cli::connection::ConnectionArgs;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::ledger::{Checkpoint, NoteFault, VerifierKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;

/// Fetches the newest checkpoint.
#[derive(Args, Debug)]
pub struct CheckpointArgs {
    /// Check its signature against the key that you were given
    #[arg(long, value_name = "KEY")]
    ledger_key: Option<String>,
    #[command(flatten)]
    witness: WitnessArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Fetches and shows it.
///
/// # Errors
/// What the vault says; exit code 6 when the given key didn't sign it.
pub async fn run(args: CheckpointArgs, output: Output) -> Result<(), CliError> {
    let given = args
        .ledger_key
        .map(|text| VerifierKey::parse(text.trim()))
        .transpose()
        .map_err(|error| CliError::Usage(format!("--ledger-key: {error}")))?;
    let quorum = args.witness.read()?;
    if quorum.is_some() && given.is_none() {
        let problem = "--witness needs --ledger-key: a cosignature vouches for nothing alone";
        return Err(CliError::Usage(problem.to_owned()));
    }
    let mut client = args.connection.read()?.open_as_known().await?;
    let answer = client
        .ledger
        .get_checkpoint(proto::GetCheckpointRequest {})
        .await;
    client.logout().await;
    let answer = answer?.into_inner();
    let checkpoint = answer.checkpoint.unwrap_or_default();
    let cosigned = answer.cosigned.filter(|c| c.note != checkpoint.note);
    let mut witnessed = Vec::new();
    if let Some(key) = &given {
        let refused = |error: NoteFault| CliError::Verification {
            line: None,
            problem: error.to_string(),
        };
        for note in [Some(&checkpoint), cosigned.as_ref()].into_iter().flatten() {
            Checkpoint::open(&note.note, std::slice::from_ref(key)).map_err(refused)?;
        }
        if let Some(quorum) = &quorum {
            let note = cosigned.as_ref().unwrap_or(&checkpoint);
            witnessed = quorum.verify(&note.note)?;
        }
    }
    let document = json!({
        "note": checkpoint.note,
        "size": checkpoint.size,
        "root": STANDARD.encode(&checkpoint.root),
        "verifier_key": answer.verifier_key,
        "signature_checked": given.is_some(),
        "cosigned": cosigned.as_ref().map(|c| json!({
            "note": c.note, "size": c.size, "root": STANDARD.encode(&c.root),
        })),
        "witnesses": cosigned::document(&witnessed),
    });
    output.result(&document, |out| {
        write!(out, "{}", checkpoint.note)?;
        writeln!(out, "\nsigned by {}", answer.verifier_key)?;
        if given.is_some() {
            writeln!(out, "which is the key that you gave")?;
        }
        if let Some(cosigned) = &cosigned {
            writeln!(out, "\nthe newest one that witnesses cosigned:\n")?;
            write!(out, "{}", cosigned.note)?;
        }
        cosigned::words(&witnessed, out)
    })
}
