//! `payvault log witness`: a small witness (C2SP tlog-witness), for an auditor to run beside a vault
//! and for tests. It cosigns checkpoints that go on from what it cosigned before, and nothing else.

mod http;
mod records;

use crate::api::config::{Log, LogFormat, LogLevel};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::{logging, runtime, serve};
use crate::clock::Clock;
use crate::ledger::VerifierKey;
use crate::limits;
use clap::Args;
use records::Records;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) const EXAMPLES: &str = "Examples:
  payvault log witness --dir /var/lib/witness --name auditor.example/w1 --ledger KEY
  payvault log witness --dir /var/lib/witness --ledger KEY --ledger KEY_OF_THE_NEXT_EPOCH

KEY is what `payvault init` printed when the vault was made. The first start makes the witness's key
and prints its public part, which goes into the vault's configuration:

  [[witness]]
  url = \"http://127.0.0.1:8090\"
  key = \"auditor.example/w1+...\"

and to whoever verifies: payvault log verify audit.jsonl --key KEY --witness auditor.example/w1+...

The directory is the witness's memory. It must be neither shared nor put back to an older copy, and
is best on another machine than the vault.";

/// Runs a witness until SIGTERM or SIGINT.
#[derive(Args, Debug)]
pub struct WitnessArgs {
    /// Its key, and what it cosigned last of each ledger; made when it is missing
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Its name, at the first start: a host and path that are yours, without http://
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The public key of a ledger that it cosigns; more than once for more of them
    #[arg(long = "ledger", value_name = "KEY", required = true)]
    ledgers: Vec<String>,
    /// Where vaults ask it, in plain HTTP
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
}

/// Serves.
///
/// # Errors
/// When the directory is another process's or damaged, a key is none, or the address is taken.
pub fn run(args: WitnessArgs, output: Output) -> Result<(), CliError> {
    if args.ledgers.len() > limits::WITNESS_LEDGERS_MAX {
        return Err(CliError::Usage("too many ledgers".to_owned()));
    }
    let ledgers = args
        .ledgers
        .iter()
        .map(|text| {
            VerifierKey::parse(text.trim())
                .map_err(|error| CliError::Usage(format!("--ledger: {error}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    logging::start(Log {
        format: LogFormat::default(),
        level: LogLevel::default(),
    });
    let clock = Clock::system();
    let records = Records::open(&args.dir, args.name.as_deref(), ledgers, clock)?;
    let records = Arc::new(records);
    runtime()?.block_on(async {
        let stop = serve::stop_signal()?;
        let listener = serve::bind(args.listen).await?;
        let address = listener.local_addr()?;
        let key = records.verifier().to_string();
        let document = json!({"witness": records.verifier().name(), "key": key,
            "url": format!("http://{address}")});
        output.result(&document, |out| {
            writeln!(out, "cosigns as {key}")?;
            writeln!(out, "at http://{address}")
        })?;
        http::serve(listener, records, stop).await;
        Ok(())
    })
}
