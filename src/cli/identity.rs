//! `payvault keys identity`.

use super::connection::ConnectionArgs;
use super::error::CliError;
use super::output::Output;
use crate::api::proto;
use clap::Args;
use serde_json::json;

/// Shows what collect documents are verified with.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  payvault keys identity

Whoever seals details before they leave a browser, an app or a server holds the vault's collect document
against this key. Take it from here, over a connection whose server you checked, and build it into the
page or the program: what comes beside a document proves nothing about it. The key does not rotate: it is
good for as long as the vault is.")]
pub struct IdentityArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Fetches and shows it.
///
/// # Errors
/// What the vault says.
pub async fn run(args: IdentityArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_known().await?;
    let answer = client
        .vault
        .get_collect_key(proto::GetCollectKeyRequest {})
        .await;
    client.logout().await;
    let key = answer?.into_inner().verifier_key;
    let document = json!({ "identity_key": key });
    output.result(&document, |out| writeln!(out, "{key}"))
}
