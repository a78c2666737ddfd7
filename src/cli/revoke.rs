//! `payvault revoke`: ends one token.

use super::client::patiently;
use super::connection::ConnectionArgs;
use super::error::CliError;
use super::output::Output;
use super::token::TokenArgs;
use crate::api::proto;
use clap::Args;
use serde_json::json;

/// Ends one token: nothing is released by it any more (its portal).
#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// The transaction (txn_…)
    #[arg(value_name = "TRANSACTION")]
    transaction: String,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Revokes.
///
/// # Errors
/// What the vault says.
pub async fn run(args: RevokeArgs, output: Output) -> Result<(), CliError> {
    let connection = args.connection.read()?;
    let request = proto::RevokeTokenRequest {
        transaction: args.transaction,
        token: args.token.read()?.expose().to_owned(),
    };
    let client = connection.open().await?;
    let answer = patiently(request, |request| {
        let mut vault = client.vault.clone();
        async move { vault.revoke_token(request).await }
    })
    .await?;
    let document = json!({"revoked": true, "entry_index": answer.entry_index});
    output.result(&document, |out| {
        writeln!(out, "revoked (entry {})", answer.entry_index)
    })
}
