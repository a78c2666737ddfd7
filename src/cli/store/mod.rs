//! `payvault store`: what is done to the database itself, while no vault runs on it.

mod copy;
mod progress;

pub use copy::{CopyArgs, document};

use super::error::CliError;
use super::output::Output;
use clap::Subcommand;

/// Works on a database.
#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Copy a database into a new one, of another engine or the same
    #[command(after_help = copy::HELP)]
    Copy(CopyArgs),
}

/// Does it.
///
/// # Errors
/// When nothing was copied: see [`CopyError`](crate::store::copy::CopyError).
pub fn run(command: StoreCommand, output: Output) -> Result<(), CliError> {
    match command {
        StoreCommand::Copy(args) => copy::run(args, output),
    }
}
