//! Parses the command line and turns errors into exit codes; everything else is `payvault::cli`.

use clap::Parser;
use payvault::cli::{self, Cli, CliError, Output};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: payvault::os::WipingAllocator = payvault::os::WipingAllocator;

fn main() -> ExitCode {
    // Before the first secret is read.
    let hardened = payvault::os::no_core_dumps();
    let cli = Cli::parse();
    let output = Output { json: cli.json };
    let done = hardened
        .map_err(CliError::from)
        .and_then(|()| cli::run(cli));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
