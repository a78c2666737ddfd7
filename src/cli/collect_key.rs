//! `payvault collect-key`: the document that browsers, apps and servers seal to.

use super::client::patiently;
use super::connection::ConnectionArgs;
use super::error::CliError;
use super::output::{Output, note};
use crate::api::proto;
use crate::clock::Clock;
use crate::ledger::VerifierKey;
use crate::vault::CollectDocument;
use clap::Args;
use serde_json::json;

/// What help says after the flags.
pub const HELP: &str = "The document goes to stdout as the vault signed it: hand it on as it is. It is signed by
the vault's identity key, which `payvault keys identity` prints. Have that key from the vault's operators:
what comes beside a document proves nothing about it.

Example:
  payvault collect-key --identity 'payvault/vlt_…/identity+…' > collect.note";

/// Fetches today's collect document (a portal), and verifies it when the vault's key is given.
#[derive(Args, Debug)]
pub struct CollectKeyArgs {
    /// Key of the vault's identity, to verify the document with
    #[arg(long, value_name = "KEY", env = "PAYVAULT_IDENTITY")]
    identity: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Fetches the document.
///
/// # Errors
/// What the vault says, or that the document isn't what was signed, or not of today.
pub async fn run(args: CollectKeyArgs, output: Output) -> Result<(), CliError> {
    let identity = match &args.identity {
        Some(text) => Some(
            VerifierKey::parse(text.trim())
                .map_err(|fault| CliError::Usage(format!("--identity: {fault}")))?,
        ),
        None => None,
    };
    let client = args.connection.read()?.open().await?;
    let answer = patiently(proto::GetCollectKeyRequest {}, |request| {
        let mut vault = client.vault.clone();
        async move { vault.get_collect_key(request).await }
    })
    .await?;
    let mut document = json!({
        "document": answer.document,
        "verified": identity.is_some(),
    });
    match &identity {
        Some(identity) => {
            let now = Clock::system().now();
            let read = CollectDocument::open(&answer.document, identity, now);
            let read = read.map_err(|error| CliError::Verification {
                line: None,
                problem: error.to_string(),
            })?;
            document["key"] = json!(read.key().to_string());
            document["vault"] = json!(read.vault().to_string());
            document["not_before"] = json!(read.not_before().to_string());
            document["not_after"] = json!(read.not_after().to_string());
        }
        None => note("not verified: give the vault's key with --identity"),
    }
    output.result(&document, |out| write!(out, "{}", answer.document))
}
