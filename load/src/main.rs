//! Drives load at a vault, and at a bare echo that shows what the same calls cost without one.
//! `docs/performance.md` says how its figures are made and read.

mod caller;
mod children;
mod dice;
mod drive;
mod echo;
mod exporting;
mod failure;
mod fill;
mod lane;
mod machine;
mod mix;
mod prepare;
mod report;
mod requests;
mod run;
mod soak;
mod stock;
mod wire;

use clap::{Parser, Subcommand};
use failure::LoadError;
use std::path::PathBuf;
use std::process::ExitCode;

// The vault's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Drives load at a vault and at a bare echo, and compares them.
#[derive(Parser, Debug)]
#[command(name = "load", about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(Box<run::RunArgs>),
    Fill(Box<fill::FillArgs>),
    Soak(Box<soak::SoakArgs>),
    /// Serves the echo; `run` starts it by itself
    #[command(hide = true)]
    EchoServer {
        /// Its certificates
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> Result<(), LoadError> {
    if let Command::EchoServer { dir } = command {
        // The vault's runtime.
        return payvault::cli::runtime()?.block_on(echo::serve(&dir));
    }
    // One thread, since it has one core.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LoadError::system("runtime"))?;
    runtime.block_on(async {
        tokio::select! {
            done = drive_it(command) => done,
            _ = tokio::signal::ctrl_c() => Err(LoadError::Stopped),
        }
    })
}

async fn drive_it(command: Command) -> Result<(), LoadError> {
    match command {
        Command::Run(args) => run::run(*args).await,
        Command::Fill(args) => fill::fill(*args).await,
        Command::Soak(args) => soak::soak(*args).await,
        Command::EchoServer { .. } => Ok(()),
    }
}
