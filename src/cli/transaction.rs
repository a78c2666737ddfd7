//! `payvault transaction …`: opening, showing, closing.

use super::client::{patiently, request_id};
use super::connection::{Connection, ConnectionArgs};
use super::details::{masked_json, masked_words};
use super::error::CliError;
use super::output::Output;
use super::receipt::ReceiptArgs;
use super::{moment, words};
use crate::api::proto;
use crate::clock::{Clock, DAY_MS};
use crate::policy::{Field, Purpose};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Transactions.
#[derive(Subcommand, Debug)]
pub enum TransactionCommand {
    /// Open a transaction under terms that nobody can change afterwards (portal)
    #[command(after_help = OPEN_EXAMPLE)]
    Open(OpenArgs),
    /// Show terms and tokens, masked (its portal, or a party)
    Show(OneArgs),
    /// End a transaction: nothing is released any more (its portal)
    Close(OneArgs),
}

const OPEN_EXAMPLE: &str = "Example:
  payvault transaction open --site nl --expires 1h --release 30d --amount 1999/EUR \\
      --grant acme:authorize:number,expiry,holder,security_code:1 \\
      --grant acme:refund:number:3 --reference order-2041";

/// Opens a transaction.
#[derive(Args, Debug)]
pub struct OpenArgs {
    /// Site of the portal
    #[arg(long, value_name = "SITE")]
    site: String,
    /// What a party gets: processor (id, or name with --dev), purpose, fields divided by commas,
    /// and how often; one purpose each, more than once
    #[arg(long = "grant", value_name = "PARTY:PURPOSE:FIELDS:USES", required = true,
          value_parser = grant)]
    grants: Vec<GrantArg>,
    /// Details can be handed in for this long
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = moment::parse_span)]
    expires: u64,
    /// Tokens can be redeemed for this long [default: 7d, and not less than --expires]
    #[arg(long, value_name = "SPAN", value_parser = moment::parse_span)]
    release: Option<u64>,
    /// What is to be paid: minor units and currency, such as 1999/EUR
    #[arg(long, value_name = "UNITS/CURRENCY", value_parser = amount)]
    amount: Option<proto::Amount>,
    /// Merchant id
    #[arg(long, value_name = "TEXT")]
    merchant: Option<String>,
    /// Your own reference
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
    #[command(flatten)]
    receipt: ReceiptArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// One transaction.
#[derive(Args, Debug)]
pub struct OneArgs {
    /// The transaction (txn_…)
    #[arg(value_name = "TRANSACTION")]
    transaction: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What a party gets for a purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantArg {
    party: String,
    purpose: Purpose,
    fields: Vec<Field>,
    uses: u32,
}

/// Reads `PARTY:PURPOSE:FIELDS:USES`.
///
/// # Errors
/// What is wrong with it.
pub fn grant(text: &str) -> Result<GrantArg, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let [party, purpose, fields, uses] = parts[..] else {
        return Err("give PARTY:PURPOSE:FIELDS:USES, such as acme:refund:number:3".to_owned());
    };
    Ok(GrantArg {
        party: party.to_owned(),
        purpose: words::purpose(purpose).map_err(|error| format!("purpose: {error}"))?,
        fields: fields
            .split(',')
            .map(|field| words::field(field).map_err(|error| format!("fields: {error}")))
            .collect::<Result<_, _>>()?,
        uses: uses
            .parse()
            .map_err(|_| "uses: give a number of 1 to 100".to_owned())?,
    })
}

fn amount(text: &str) -> Result<proto::Amount, String> {
    let refused = || "give minor units and currency, such as 1999/EUR".to_owned();
    let (units, currency) = text.split_once('/').ok_or_else(refused)?;
    Ok(proto::Amount {
        minor_units: units.parse().map_err(|_| refused())?,
        currency: currency.to_owned(),
    })
}

/// Runs one of them.
///
/// # Errors
/// What the vault says.
pub async fn run(command: TransactionCommand, output: Output) -> Result<(), CliError> {
    match command {
        TransactionCommand::Open(args) => open(args, output).await,
        TransactionCommand::Show(args) => show(args, output).await,
        TransactionCommand::Close(args) => close(args, output).await,
    }
}

async fn open(args: OpenArgs, output: Output) -> Result<(), CliError> {
    let want_receipt = args.receipt.wanted()?;
    let connection = args.connection.read()?;
    let request = proto::OpenTransactionRequest {
        request_id: request_id(),
        terms: Some(terms(&args, &connection)?),
        want_receipt,
    };
    let client = connection.open().await?;
    let answer = patiently(request, |request| {
        let mut vault = client.vault.clone();
        async move { vault.open_transaction(request).await }
    })
    .await?;
    args.receipt.keep(answer.receipt.as_ref())?;
    let document = json!({
        "transaction": answer.transaction,
        "entry_index": answer.entry_index,
    });
    output.result(&document, |out| writeln!(out, "{}", answer.transaction))
}

/// The parties that get them.
///
/// # Errors
/// When one isn't known.
pub fn parties(
    grants: &[GrantArg],
    connection: &Connection,
) -> Result<Vec<proto::Party>, CliError> {
    let mut parties: Vec<proto::Party> = Vec::new();
    for grant in grants {
        let principal = connection.principal_id(&grant.party)?;
        let granted = proto::Grant {
            purpose: grant.purpose as i32,
            fields: grant.fields.iter().map(|field| *field as i32).collect(),
            uses_max: grant.uses,
        };
        match parties.iter_mut().find(|p| p.principal == principal) {
            Some(party) => party.grants.push(granted),
            None => parties.push(proto::Party {
                principal,
                grants: vec![granted],
            }),
        }
    }
    Ok(parties)
}

fn terms(args: &OpenArgs, connection: &Connection) -> Result<proto::Terms, CliError> {
    let parties = parties(&args.grants, connection)?;
    let now = Clock::system().now();
    let release = args.release.unwrap_or_else(|| args.expires.max(7 * DAY_MS));
    Ok(proto::Terms {
        site: args.site.clone(),
        parties,
        expires_at: Some(moment::to_proto(now.plus_ms(args.expires))),
        release_until: Some(moment::to_proto(now.plus_ms(release))),
        amount: args.amount.clone(),
        merchant: args.merchant.clone().unwrap_or_default(),
        reference: args.reference.clone().unwrap_or_default(),
    })
}

async fn show(args: OneArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open().await?;
    let request = proto::GetTransactionRequest {
        transaction: args.transaction,
    };
    let answer = client.vault.get_transaction(request).await?.into_inner();
    output.result(&document(&answer), |out| describe(&answer, out))
}

fn document(answer: &proto::GetTransactionResponse) -> Value {
    let terms = answer.terms.clone().unwrap_or_default();
    let parties: Vec<_> = terms
        .parties
        .iter()
        .map(|party| {
            let grants: Vec<_> = party
                .grants
                .iter()
                .map(|grant| {
                    json!({
                        "purpose": words::purpose_name(grant.purpose),
                        "fields": field_names(grant),
                        "uses_max": grant.uses_max,
                    })
                })
                .collect();
            json!({"principal": party.principal, "grants": grants})
        })
        .collect();
    let tokens: Vec<_> = answer
        .tokens
        .iter()
        .map(|token| {
            json!({
                "reference": token.reference,
                "details": token.details.as_ref().map(masked_json),
                "revoked": token.revoked,
                "created_at": moment::text(token.created_at.as_ref()),
            })
        })
        .collect();
    json!({
        "state": words::state_name(answer.state),
        "site": terms.site,
        "expires_at": moment::text(terms.expires_at.as_ref()),
        "release_until": moment::text(terms.release_until.as_ref()),
        "amount": terms.amount.as_ref().map(|a| json!({
            "minor_units": a.minor_units.to_string(), "currency": a.currency,
        })),
        "merchant": terms.merchant,
        "reference": terms.reference,
        "parties": parties,
        "tokens": tokens,
    })
}

fn field_names(grant: &proto::Grant) -> Vec<&'static str> {
    grant
        .fields
        .iter()
        .map(|code| words::field_name(*code))
        .collect()
}

fn describe(answer: &proto::GetTransactionResponse, out: &mut dyn Write) -> io::Result<()> {
    let terms = answer.terms.clone().unwrap_or_default();
    writeln!(out, "state    {}", words::state_name(answer.state))?;
    writeln!(out, "site     {}", terms.site)?;
    writeln!(out, "expires  {}", moment::text(terms.expires_at.as_ref()))?;
    writeln!(
        out,
        "release  until {}",
        moment::text(terms.release_until.as_ref())
    )?;
    for party in &terms.parties {
        for grant in &party.grants {
            writeln!(
                out,
                "party    {} may {} {} time(s): {}",
                party.principal,
                words::purpose_name(grant.purpose),
                grant.uses_max,
                field_names(grant).join(", ")
            )?;
        }
    }
    for token in &answer.tokens {
        let details = token.details.as_ref().map(masked_words).unwrap_or_default();
        let revoked = if token.revoked { " (revoked)" } else { "" };
        writeln!(out, "token    {} {details}{revoked}", token.reference)?;
    }
    Ok(())
}

async fn close(args: OneArgs, output: Output) -> Result<(), CliError> {
    let client = args.connection.read()?.open().await?;
    let request = proto::CloseTransactionRequest {
        transaction: args.transaction,
    };
    let answer = patiently(request, |request| {
        let mut vault = client.vault.clone();
        async move { vault.close_transaction(request).await }
    })
    .await?;
    let until = moment::text(answer.unreadable_after.as_ref());
    let document = json!({
        "closed": true,
        "entry_index": answer.entry_index,
        "unreadable_after": until,
    });
    output.result(&document, |out| {
        writeln!(
            out,
            "closed (entry {}); unreadable for ever after {until}",
            answer.entry_index
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_names_party_purpose_fields_and_uses() {
        assert_eq!(
            grant("acme:refund:number,last-four:3"),
            Ok(GrantArg {
                party: "acme".into(),
                purpose: Purpose::Refund,
                fields: vec![Field::Number, Field::LastFour],
                uses: 3,
            })
        );
        for bad in [
            "acme",
            "acme:refund:number",
            "acme:steal:number:1",
            "a:refund:pan:1",
            "a:refund:number:x",
        ] {
            assert!(grant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_amount_is_exact() {
        let read = amount("1999/EUR").unwrap();
        assert_eq!((read.minor_units, read.currency.as_str()), (1999, "EUR"));
        for bad in ["19.99/EUR", "1999", "/EUR"] {
            assert!(amount(bad).is_err(), "{bad}");
        }
    }
}
