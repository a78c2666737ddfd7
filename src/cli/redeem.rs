//! `payvault redeem`: the plaintext fields that a purpose needs.

use super::client::{patiently, request_id};
use super::connection::ConnectionArgs;
use super::details;
use super::error::CliError;
use super::output::Output;
use super::receipt::ReceiptArgs;
use super::token::TokenArgs;
use super::words;
use crate::api::proto;
use crate::policy::{Field, Purpose};
use clap::Args;
use serde_json::json;

/// Examples for help.
pub const EXAMPLES: &str = "Example:
  payvault redeem txn_… --token-file token --purpose authorize --fields number,expiry,holder

What is released goes to stdout: that is what this command is for. Mind where stdout leads.";

/// Gets back the fields that a purpose needs (a processor that the terms name).
#[derive(Args, Debug)]
pub struct RedeemArgs {
    /// The transaction (txn_…)
    #[arg(value_name = "TRANSACTION")]
    transaction: String,
    /// Why
    #[arg(long, value_name = "PURPOSE", value_parser = words::purpose_parser())]
    purpose: Purpose,
    /// Which fields; more than once, or divided by commas
    #[arg(long, value_name = "FIELD", value_delimiter = ',', required = true,
          value_parser = words::field_parser())]
    fields: Vec<Field>,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    receipt: ReceiptArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Redeems.
///
/// # Errors
/// What the vault says.
pub async fn run(args: RedeemArgs, output: Output) -> Result<(), CliError> {
    let want_receipt = args.receipt.wanted()?;
    let connection = args.connection.read()?;
    let request = proto::RedeemRequest {
        request_id: request_id(),
        transaction: args.transaction,
        token: args.token.read()?.expose().to_owned(),
        purpose: args.purpose as i32,
        fields: args.fields.iter().map(|field| *field as i32).collect(),
        want_receipt,
    };
    let client = connection.open().await?;
    let answer = patiently(request, |request| {
        let mut vault = client.vault.clone();
        async move { vault.redeem(request).await }
    })
    .await?;
    args.receipt.keep(answer.receipt.as_ref())?;
    let released = answer.details.clone().unwrap_or_default();
    let code = words::code_status_name(answer.security_code_status);
    let document = json!({
        "details": details::released_json(&released),
        "last_four": answer.last_four,
        "security_code_status": code,
        "uses_remaining": answer.uses_remaining,
        "entry_index": answer.entry_index,
        "replayed": answer.replayed,
    });
    output.result(&document, |out| {
        for (name, value) in details::released(&released) {
            writeln!(out, "{name:<14} {}", value.as_str())?;
        }
        if !answer.last_four.is_empty() {
            writeln!(out, "{:<14} {}", "last_four", answer.last_four)?;
        }
        if let Some(code) = code {
            writeln!(out, "{:<14} {code}", "security code:")?;
        }
        writeln!(out, "{:<14} {}", "uses left:", answer.uses_remaining)?;
        writeln!(out, "{:<14} {}", "ledger entry:", answer.entry_index)
    })
}
