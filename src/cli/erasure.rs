//! `payvault erase`, and erasure receipts: `payvault keys receipt` and `payvault keys verify`.

use super::connection::ConnectionArgs;
use super::error::CliError;
use super::log::verify::VerifyArgs;
use super::output::Output;
use super::{input, moment, receipt};
use crate::api::proto;
use crate::ledger::{self, DETAIL_KEY, Event, Outcome, Recorded};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

pub(super) const ERASE_HELP: &str = "Examples:
  payvault erase txn_… --reference DSR-17
  payvault erase txn_… --site nl --month 2026-11      # years later, as the first answer said

Redemption ends at once. Account data ends with its release bucket, the masked entries with the
legal period: the answer says when, and by which rule. `payvault keys receipt KEY` proves it then.";

/// Asks for a transaction's erasure.
#[derive(Args, Debug)]
pub struct EraseArgs {
    /// The transaction
    transaction: String,
    /// Whose request it is, such as a case number; it goes into the ledger
    #[arg(long, value_name = "TEXT", default_value = "")]
    reference: String,
    /// The transaction's site, once its account data is gone
    #[arg(long, value_name = "SITE", requires = "month")]
    site: Option<String>,
    /// The month (UTC) of its last entries, as 2026-11
    #[arg(long, value_name = "YYYY-MM", requires = "site")]
    month: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Asks for a transaction's erasure, and says how it stands.
///
/// # Errors
/// What the vault says.
pub async fn erase(args: EraseArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    let request = proto::EraseTransactionRequest {
        transaction: args.transaction.clone(),
        reference: args.reference,
        site: args.site.unwrap_or_default(),
        month: args.month.unwrap_or_default(),
    };
    let answer = client.admin.erase_transaction(request).await;
    client.logout().await;
    let erasure = answer?.into_inner();
    let when = |time: &Option<_>| moment::text(time.as_ref());
    let document = json!({
        "transaction": args.transaction,
        "erased": erasure.erased,
        "rule": erasure.rule,
        "redemption_ended_at": when(&erasure.redemption_ended_at),
        "details_until": erasure.details_until.as_ref().map(|at| moment::text(Some(at))),
        "details_key": erasure.details_key,
        "entries_until": erasure.entries_until.as_ref().map(|at| moment::text(Some(at))),
        "entries_key": erasure.entries_key,
        "entry_index": erasure.entry_index,
        "held_for": erasure.held_for,
    });
    output.result(&document, |out| {
        match erasure.erased {
            true => writeln!(out, "erased: nothing of it can be read any more")?,
            false => writeln!(out, "not erased yet; nothing is redeemed from now on")?,
        }
        if !erasure.held_for.is_empty() {
            writeln!(out, "held for       {}", erasure.held_for.join(", "))?;
        }
        match &erasure.details_until {
            None if !erasure.held_for.is_empty() => {
                writeln!(out, "account data   while it is held")?
            }
            Some(_) => writeln!(
                out,
                "account data   until {} ({})",
                when(&erasure.details_until),
                erasure.details_key
            )?,
            None => writeln!(out, "account data   none")?,
        }
        if erasure.entries_until.is_some() {
            writeln!(
                out,
                "masked entries until {} {}",
                when(&erasure.entries_until),
                erasure.entries_key
            )?;
        }
        match erasure.rule.as_str() {
            "" => Ok(()),
            rule => writeln!(out, "by the rule    {rule}"),
        }
    })
}

/// Fetches a destroyed key's receipt.
#[derive(Args, Debug)]
pub struct KeyReceiptArgs {
    /// The key's name, as `payvault keys list` has it: release/nl/20780, log/nl/2026-11
    #[arg(value_name = "KEY")]
    name: String,
    /// Which key of that name [default: the last one]
    #[arg(long, value_name = "N", default_value_t = 0)]
    generation: u32,
    /// The file that it goes to [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Fetches a destroyed key's receipt.
///
/// # Errors
/// What the vault says, or why the file can't be written.
pub async fn fetch(args: KeyReceiptArgs, output: Output) -> Result<(), CliError> {
    if let Some(path) = args.out.as_ref().filter(|path| path.exists()) {
        return Err(CliError::Usage(format!("{} exists", path.display())));
    }
    let mut client = args.connection.read()?.open_as_person().await?;
    let request = proto::GetErasureReceiptRequest {
        key: args.name.clone(),
        generation: args.generation,
    };
    let answer = client.admin.get_erasure_receipt(request).await;
    client.logout().await;
    let receipt = answer?
        .into_inner()
        .receipt
        .as_ref()
        .and_then(receipt::from_proto)
        .ok_or_else(|| CliError::Failed("no usable receipt came".into()))?
        .to_json();
    let Some(path) = &args.out else {
        return Ok(std::io::stdout().write_all(receipt.as_bytes())?);
    };
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(receipt.as_bytes()))
        .map_err(CliError::file(path))?;
    output.result(&json!({"key": args.name, "file": path}), |out| {
        writeln!(
            out,
            "wrote {}; check it with: payvault keys verify {} --key K",
            path.display(),
            path.display()
        )
    })
}

/// Verifies an erasure receipt, offline.
///
/// # Errors
/// Exit code 6 and what is wrong.
pub fn verify(args: &VerifyArgs, output: Output) -> Result<(), CliError> {
    let keys = super::log::verify::keys_of(args)?;
    let bytes = input::read_bytes(args.file(), crate::limits::RECEIPT_BYTES_MAX)?;
    let report = ledger::verify_receipt(&bytes, &keys).map_err(super::log::verify::refused)?;
    let entry = Recorded::parse(&report.body)
        .ok()
        .filter(|entry| entry.event == Event::KeyDestroyed && entry.outcome == Outcome::Ok);
    let Some((entry, key)) = entry
        .as_ref()
        .and_then(|entry| Some((entry, entry.detail(DETAIL_KEY)?)))
    else {
        return Err(CliError::Verification {
            line: None,
            problem: "it is a sound receipt, but of no key's destruction".into(),
        });
    };
    let fact = |name| entry.detail(name).unwrap_or_default();
    let document = json!({
        "verified": true,
        "key": key,
        "generation": entry.detail("generation").unwrap_or("1"),
        "destroyed_at": entry.at.to_string(),
        "records": entry.detail("records"),
        "commitment": entry.detail("commitment"),
        "rests_on": entry.detail("rests_on"),
        "copies_until": entry.detail("copies_until"),
        "index": report.index,
        "checkpoint": super::log::verify::checkpoint(&report.checkpoint),
        "ledger_key": report.key,
    });
    output.result(&document, |out| {
        writeln!(out, "verified")?;
        writeln!(out, "destroyed   {key} at {}", entry.at)?;
        if entry.detail("records").is_some() {
            writeln!(out, "records     {}", fact("records"))?;
        }
        writeln!(out, "commitment  {}", fact("commitment"))?;
        match entry.detail("copies_until") {
            Some(until) => writeln!(
                out,
                "rests on    the seal {}: copies of the keys directory from before could open it until {until}, when the last has to be gone",
                fact("rests_on")
            ),
            None => writeln!(
                out,
                "rests on    the seal {}: no copy of the keys directory opens it",
                fact("rests_on")
            ),
        }
    })
}
