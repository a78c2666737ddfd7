//! `payvault describe`: what stands behind a token, masked.

use super::connection::ConnectionArgs;
use super::error::CliError;
use super::output::Output;
use super::token::TokenArgs;
use super::{details, moment, words};
use crate::api::proto;
use clap::Args;
use serde_json::json;

/// Shows what stands behind a token, masked (its portal, or a party).
#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// The transaction (txn_…)
    #[arg(value_name = "TRANSACTION")]
    transaction: String,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Describes.
///
/// # Errors
/// What the vault says.
pub async fn run(args: DescribeArgs, output: Output) -> Result<(), CliError> {
    let connection = args.connection.read()?;
    let request = proto::DescribeTokenRequest {
        transaction: args.transaction,
        token: args.token.read()?.expose().to_owned(),
    };
    let mut client = connection.open().await?;
    let answer = client.vault.describe_token(request).await?.into_inner();
    let masked = answer.details.clone().unwrap_or_default();
    let until = moment::text(answer.release_until.as_ref());
    let left: Vec<_> = answer
        .uses_remaining
        .iter()
        .map(|uses| (words::purpose_name(uses.purpose), uses.count))
        .collect();
    let mut document = json!({
        "reference": answer.reference,
        "details": details::masked_json(&masked),
        "revoked": answer.revoked,
        "state": words::state_name(answer.state),
        "release_until": until,
        "uses_remaining": left
            .iter()
            .map(|(purpose, count)| json!({"purpose": purpose, "count": count}))
            .collect::<Vec<_>>(),
    });
    if let Some(fingerprint) = &answer.fingerprint {
        document["fingerprint"] = details::fingerprint_json(fingerprint);
    }
    output.result(&document, |out| {
        let revoked = if answer.revoked { " (revoked)" } else { "" };
        writeln!(
            out,
            "{} {}{revoked}",
            answer.reference,
            details::masked_words(&masked)
        )?;
        writeln!(
            out,
            "transaction {}, redeemable until {until}",
            words::state_name(answer.state)
        )?;
        for (purpose, count) in &left {
            writeln!(out, "{purpose}: {count} left")?;
        }
        if let Some(fingerprint) = &answer.fingerprint {
            writeln!(
                out,
                "fingerprint {} (key generation {})",
                fingerprint.value, fingerprint.generation
            )?;
        }
        Ok(())
    })
}
