//! `payvault report`: ties a processor's result to the transaction.

use super::client::{patiently, request_id};
use super::connection::ConnectionArgs;
use super::error::CliError;
use super::output::Output;
use super::token::TokenArgs;
use crate::api::proto;
use clap::{Args, ValueEnum};
use serde_json::json;

/// Reports how the work with a token ended (a party).
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The transaction (txn_…)
    #[arg(value_name = "TRANSACTION")]
    transaction: String,
    /// How it ended
    #[arg(long, value_enum, value_name = "OUTCOME")]
    outcome: OutcomeArg,
    /// Your own reference: 1 to 64 printable ASCII characters, no card number
    #[arg(long, value_name = "TEXT")]
    reference: String,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// How it ended.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeArg {
    /// Done
    Succeeded,
    /// Refused by issuer or bank
    Declined,
    /// Failed for a technical reason
    Failed,
}

impl From<OutcomeArg> for proto::Outcome {
    fn from(outcome: OutcomeArg) -> proto::Outcome {
        match outcome {
            OutcomeArg::Succeeded => proto::Outcome::Succeeded,
            OutcomeArg::Declined => proto::Outcome::Declined,
            OutcomeArg::Failed => proto::Outcome::Failed,
        }
    }
}

/// Reports.
///
/// # Errors
/// What the vault says.
pub async fn run(args: ReportArgs, output: Output) -> Result<(), CliError> {
    let connection = args.connection.read()?;
    let request = proto::ReportOutcomeRequest {
        request_id: request_id(),
        transaction: args.transaction,
        token: args.token.read()?.expose().to_owned(),
        outcome: proto::Outcome::from(args.outcome).into(),
        processor_reference: args.reference,
    };
    let client = connection.open().await?;
    let answer = patiently(request, |request| {
        let mut vault = client.vault.clone();
        async move { vault.report_outcome(request).await }
    })
    .await?;
    let document = json!({"entry_index": answer.entry_index, "replayed": answer.replayed});
    output.result(&document, |out| {
        writeln!(out, "recorded (entry {})", answer.entry_index)
    })
}
