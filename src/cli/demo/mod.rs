//! `payvault demo`: the whole road on a temporary vault, over real mTLS gRPC on loopback. It shows
//! what went over the wire, with numbers masked and tokens shortened, and fails when anything
//! deviates from what is promised.

mod audit;
mod callers;
mod instruments;
mod narrator;
mod refusals;
mod road;

use super::dev::file::DevFile;
use super::dev::stage::{Stage, StageSettings};
use super::error::CliError;
use super::output::Output;
use super::runtime;
use crate::api::server::Ended;
use crate::clock::Clock;
use callers::Callers;
use clap::Args;
use narrator::Narrator;
use serde_json::json;
use std::path::Path;

/// Walks the whole road, explains it, and ends.
#[derive(Args, Debug)]
pub struct DemoArgs {}

/// Walks.
///
/// # Errors
/// At the first deviation from what is promised.
pub fn run(_: DemoArgs, output: Output) -> Result<(), CliError> {
    let narrator = Narrator::new(output.json);
    let temporary = tempfile::Builder::new()
        .prefix("payvault-demo-")
        .tempdir()?;
    narrator.chapter("A vault is made: keys behind a passphrase, a ledger, five callers");
    let stage = Stage::set(temporary.path(), Clock::system(), StageSettings::default())?;
    let counts = runtime()?.block_on(async {
        let running = stage.serve(0).await?;
        let file = running.file.clone();
        let (over, ended) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(running.until(async {
            let _ = ended.await;
        }));
        let walked = walk(&file, temporary.path(), &narrator).await;
        drop(over);
        let ended = serving
            .await
            .map_err(|_| CliError::Deviation("the server ended with a panic".into()))?;
        let counts = walked?;
        check(ended? == Ended::Drained, "the vault did not drain")?;
        Ok::<_, CliError>(counts)
    })?;
    narrator.chapter("The vault drained, wrote its last entry, and stopped. All as promised.");
    if output.json {
        output.result(&json!({"passed": true, "counts": counts}), |_| Ok(()))?;
    }
    Ok(())
}

async fn walk(
    file: &DevFile,
    dir: &Path,
    narrator: &Narrator,
) -> Result<serde_json::Value, CliError> {
    narrator.line(&format!(
        "it serves {}: TLS 1.3, client certificates required",
        file.endpoint
    ));
    narrator.line(&format!(
        "ledger key, for the auditors: {}",
        file.ledger_key
    ));
    let mut callers = Callers::connect(file).await?;
    narrator.line(&format!(
        "connected over mTLS: {}",
        callers.names().join(", ")
    ));

    let road = road::walk(&mut callers, narrator).await?;
    callers.log_in(file).await?;
    let refusals = refusals::walk(&mut callers, &road, narrator).await?;
    let entries = audit::walk(&mut callers, file, dir, &road, narrator).await?;
    callers.log_out().await;
    Ok(json!({
        "transactions": road.transactions.len(),
        "tokens": road.tokens.len(),
        "redemptions": road.tokens.len(),
        "refusals": refusals,
        "entries_verified": entries,
        "bent_copies_refused": 3,
    }))
}

/// A promise: when it doesn't hold, the demonstration fails.
fn check(holds: bool, otherwise: impl Into<String>) -> Result<(), CliError> {
    if holds {
        return Ok(());
    }
    Err(CliError::Deviation(otherwise.into()))
}
