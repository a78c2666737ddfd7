//! `payvault log …`: the ledger, and its verification without a vault.

mod checkpoint;
mod export;
mod progress;
mod verify;

pub use export::fetch;

use super::error::CliError;
use super::output::Output;
use clap::Subcommand;

/// The ledger.
#[derive(Subcommand, Debug)]
pub enum LogCommand {
    /// Export entries, for an auditor (JSON Lines)
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Verify an export, offline: nothing was added, dropped or changed
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::VerifyArgs),
    /// Verify a receipt, offline: the entry is in the ledger
    VerifyReceipt(verify::VerifyArgs),
    /// Fetch the newest checkpoint; keep it outside of the vault
    Checkpoint(checkpoint::CheckpointArgs),
}

impl LogCommand {
    /// Whether the vault isn't asked.
    pub fn is_offline(&self) -> bool {
        matches!(self, LogCommand::Verify(_) | LogCommand::VerifyReceipt(_))
    }
}

/// Runs what needs no vault.
///
/// # Errors
/// When the file isn't what was signed; exit code 6.
pub fn run_offline(command: LogCommand, output: Output) -> Result<(), CliError> {
    match command {
        LogCommand::Verify(args) => verify::export(args, output),
        LogCommand::VerifyReceipt(args) => verify::receipt(args, output),
        LogCommand::Export(_) | LogCommand::Checkpoint(_) => Ok(()),
    }
}

/// Runs what asks the vault.
///
/// # Errors
/// What the vault says.
pub async fn run(command: LogCommand, output: Output) -> Result<(), CliError> {
    match command {
        LogCommand::Export(args) => export::run(args, output).await,
        LogCommand::Checkpoint(args) => checkpoint::run(args, output).await,
        offline => run_offline(offline, output),
    }
}
