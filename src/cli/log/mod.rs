//! `payvault log …`: the ledger, and its verification without a vault.

mod checkpoint;
mod cosigned;
mod csv;
mod ecs;
mod export;
mod progress;
mod report;
mod resume;
mod tail;
mod tiles;
pub(super) mod verify;
mod witness;
mod wrapping;

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
    Verify(verify::VerifyExportArgs),
    /// Verify a receipt, offline: the entry is in the ledger
    VerifyReceipt(verify::VerifyArgs),
    /// Make a table (CSV) of an export, offline, once it verified
    Csv(csv::CsvArgs),
    /// Make a page (HTML) of an export to read and print, offline, once it verified
    #[command(after_help = report::EXAMPLES)]
    Report(report::ReportArgs),
    /// Make or grow a directory of the tree's tiles (C2SP tlog-tiles) from an export, offline
    #[command(after_help = tiles::EXAMPLES)]
    Tiles(tiles::TilesArgs),
    /// Show entries as they come, for a person or a SIEM
    #[command(after_help = tail::EXAMPLES)]
    Tail(tail::TailArgs),
    /// Run a witness (C2SP tlog-witness): it cosigns checkpoints of ledgers that only grow
    #[command(after_help = witness::EXAMPLES)]
    Witness(witness::WitnessArgs),
    /// Fetch the newest checkpoint; keep it outside of the vault
    Checkpoint(checkpoint::CheckpointArgs),
}

impl LogCommand {
    /// Whether the vault isn't asked.
    pub fn is_offline(&self) -> bool {
        !matches!(
            self,
            LogCommand::Export(_) | LogCommand::Tail(_) | LogCommand::Checkpoint(_)
        )
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
        LogCommand::Csv(args) => csv::run(args, output),
        LogCommand::Report(args) => report::run(args, output),
        LogCommand::Tiles(args) => tiles::run(args, output),
        LogCommand::Witness(args) => witness::run(args, output),
        LogCommand::Export(_) | LogCommand::Tail(_) | LogCommand::Checkpoint(_) => Ok(()),
    }
}

/// Runs what asks the vault.
///
/// # Errors
/// What the vault says.
pub async fn run(command: LogCommand, output: Output) -> Result<(), CliError> {
    match command {
        LogCommand::Export(args) => export::run(args, output).await,
        LogCommand::Tail(args) => tail::run(args).await,
        LogCommand::Checkpoint(args) => checkpoint::run(args, output).await,
        offline => run_offline(offline, output),
    }
}
