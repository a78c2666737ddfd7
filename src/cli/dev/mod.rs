//! `payvault dev`: a running vault to play with. Its certificates, secrets and passphrase lie in
//! files beside it, so nothing real may rest on it.

pub mod file;
mod guide;
pub mod stage;

use super::error::CliError;
use super::output::Output;
use super::settings::{engine, log_level};
use super::{logging, runtime, serve};
use crate::api::config::{Log, LogFormat, LogLevel};
use crate::clock::Clock;
use crate::limits;
use crate::store::EngineKind;
use clap::Args;
use serde_json::json;
use stage::{Stage, StageSettings};
use std::path::PathBuf;

/// Runs a vault to play with, until it is stopped.
#[derive(Args, Debug)]
pub struct DevArgs {
    /// Where everything lies; the same directory goes on with the same vault [default: a temporary
    /// one, gone at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Calls a second that each caller may make
    #[arg(long, value_name = "COUNT", default_value_t = limits::CALLS_PER_SECOND_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls_per_second: u32,
    /// Memory for the store's cache, in MiB
    #[arg(long, value_name = "MIB", default_value_t = StageSettings::default().cache_mb,
          value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    cache_mb: u32,
    /// What the store is kept with; the same from run to run
    #[arg(long, value_name = "ENGINE", default_value = "sled", env = "PAYVAULT_ENGINE", value_parser = engine())]
    engine: EngineKind,
    /// How much is logged
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = log_level())]
    log_level: LogLevel,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the vault can't be made or opened, or the server ended by itself.
pub fn run(args: DevArgs, output: Output) -> Result<(), CliError> {
    logging::start(Log {
        format: LogFormat::Text,
        level: args.log_level,
    });
    serve::enough_descriptors()?;
    // Gone when this function ends.
    let (dir, _temporary) = match args.dir {
        Some(dir) => (dir, None),
        None => {
            let made = tempfile::Builder::new().prefix("payvault-dev-").tempdir()?;
            (made.path().to_owned(), Some(made))
        }
    };
    let settings = StageSettings {
        calls_per_second: args.calls_per_second,
        cache_mb: args.cache_mb,
        engine: args.engine,
    };
    let stage = Stage::set(&dir, Clock::system(), settings)?;
    runtime()?.block_on(async {
        let stop = serve::stop_signal()?;
        let running = stage.serve(args.port).await?;
        let document = json!({
            "dev_json": running.path,
            "endpoint": running.file.endpoint,
            "ledger_key": running.file.ledger_key,
            "identity_key": running.file.identity_key,
            "continued": running.continued,
        });
        output.result(&document, |out| {
            write!(
                out,
                "{}",
                guide::text(&running.file, &running.path, running.continued)
            )
        })?;
        serve::say_how(running.until(stop).await?);
        Ok(())
    })
}
