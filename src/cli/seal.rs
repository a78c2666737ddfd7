//! `payvault seal` and `payvault unseal`.

use super::connection::ConnectionArgs;
use super::error::CliError;
use super::input;
use super::output::Output;
use crate::api::proto;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Seals the vault: its keys leave memory, every call but unsealing is refused.
#[derive(Args, Debug)]
pub struct SealArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Opens a sealed vault with its passphrase.
#[derive(Args, Debug)]
pub struct UnsealArgs {
    /// File with the passphrase; asked for at a terminal when it isn't given
    #[arg(long, value_name = "FILE", env = "PAYVAULT_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Seals.
///
/// # Errors
/// What the vault says.
pub async fn seal(args: SealArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    client.admin.seal(proto::SealRequest {}).await?;
    output.result(&json!({"sealed": true}), |out| writeln!(out, "sealed"))
}

/// Unseals.
///
/// # Errors
/// What the vault says.
pub async fn unseal(args: UnsealArgs, output: Output) -> Result<(), CliError> {
    let connection = args.connection.read()?;
    let passphrase = input::secret(
        args.passphrase_file.as_deref(),
        "the passphrase",
        "--passphrase-file",
    )?;
    let mut client = connection.open().await?;
    let request = proto::UnsealRequest {
        passphrase: passphrase.expose().to_owned(),
    };
    client.admin.unseal(request).await?;
    output.result(&json!({"sealed": false}), |out| writeln!(out, "open"))
}
