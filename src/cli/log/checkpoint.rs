//! `payvault log checkpoint`.

use crate::api::proto;
use crate::cli::connection::ConnectionArgs;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::ledger::{Checkpoint, VerifierKey};
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
    let mut client = args.connection.read()?.open_as_known().await?;
    let answer = client
        .ledger
        .get_checkpoint(proto::GetCheckpointRequest {})
        .await;
    client.logout().await;
    let answer = answer?.into_inner();
    let checkpoint = answer.checkpoint.unwrap_or_default();
    if let Some(key) = &given {
        Checkpoint::open(&checkpoint.note, std::slice::from_ref(key)).map_err(|error| {
            CliError::Verification {
                line: None,
                problem: error.to_string(),
            }
        })?;
    }
    let document = json!({
        "note": checkpoint.note,
        "size": checkpoint.size,
        "root": STANDARD.encode(&checkpoint.root),
        "verifier_key": answer.verifier_key,
        "signature_checked": given.is_some(),
    });
    output.result(&document, |out| {
        write!(out, "{}", checkpoint.note)?;
        writeln!(out, "\nsigned by {}", answer.verifier_key)?;
        match given {
            Some(_) => writeln!(out, "which is the key that you gave"),
            None => Ok(()),
        }
    })
}
