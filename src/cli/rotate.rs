//! `payvault keys rotate|rewrap|compromise`: new keys for old ones.

use super::client::Client;
use super::connection::ConnectionArgs;
use super::error::CliError;
use super::output::Output;
use super::principal::pending;
use super::progress::Progress;
use crate::api::proto;
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;

/// How often it is asked how far a re-wrap is.
const LOOK: Duration = Duration::from_millis(500);

/// Begins the next generation.
#[derive(Args, Debug)]
pub struct RotateArgs {
    /// Its name, as `keys list` shows it [default: every active key under which rows lie]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Seals rows anew.
#[derive(Args, Debug)]
pub struct RewrapArgs {
    /// Don't wait for its end: `payvault status` shows how far it is
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Declares a key compromised.
#[derive(Args, Debug)]
pub struct CompromiseArgs {
    /// Its name and generation, for example release/nl/20780#1; without a generation the newest
    #[arg(value_name = "KEY")]
    which: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Rotates.
///
/// # Errors
/// What the vault says.
pub async fn rotate(args: RotateArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    let name = args.name.unwrap_or_default();
    let answer = client
        .admin
        .rotate_key(proto::RotateKeyRequest { name })
        .await;
    client.logout().await;
    let rotated = answer?.into_inner();
    let document = json!({"keys": rotated.keys, "entry_index": rotated.entry_index});
    output.result(&document, |out| {
        for key in &rotated.keys {
            writeln!(out, "{key}")?;
        }
        match rotated.keys.len() {
            0 => writeln!(out, "no key was there to rotate"),
            count => writeln!(
                out,
                "{count} new. What lies under the earlier ones still opens; `payvault keys rewrap` seals it anew."
            ),
        }
    })
}

/// Asks for a re-wrap, and follows it.
///
/// # Errors
/// What the vault says, and rows that can't be sealed anew.
pub async fn rewrap(args: RewrapArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    let done = async {
        let asked = client.admin.rewrap_keys(proto::RewrapKeysRequest {}).await;
        let keys = asked?.into_inner().keys;
        let last = match args.no_wait {
            true => proto::Rewrap::default(),
            false => follow(&mut client).await?,
        };
        Ok::<_, CliError>((keys, last))
    }
    .await;
    client.logout().await;
    let (keys, last) = done?;
    if last.failed > 0 {
        return Err(CliError::Failed(format!(
            "{} rows can't be sealed anew since they don't open; stop the vault and run `payvault check`",
            last.failed
        )));
    }
    let document = json!({"keys": keys, "rows": last.rows, "done": !args.no_wait});
    output.result(&document, |out| {
        if keys.is_empty() {
            return writeln!(out, "nothing lies under an earlier key");
        }
        match args.no_wait {
            true => writeln!(out, "begun for {} keys: `payvault status`", keys.len()),
            false => writeln!(
                out,
                "done: nothing lies under {} earlier keys any more",
                keys.len()
            ),
        }
    })
}

/// Shows how far it is until it is done; gives what it was last.
async fn follow(client: &mut Client) -> Result<proto::Rewrap, CliError> {
    let progress = Progress::new();
    let mut last = proto::Rewrap::default();
    loop {
        let status = client.admin.get_status(proto::GetStatusRequest {}).await?;
        let Some(rewrap) = status.into_inner().rewrap else {
            break;
        };
        let failed = rewrap.failed > 0 && rewrap.permille == 1_000;
        progress.is_through(rewrap.permille.into(), format!("{} rows", rewrap.rows));
        last = rewrap;
        if failed {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    progress.done();
    Ok(last)
}

/// Declares a key compromised, or asks for it.
///
/// # Errors
/// What the vault says.
pub async fn compromise(args: CompromiseArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    let key = args.which;
    let request = proto::CompromiseKeyRequest { key };
    let answer = client.admin.compromise_key(request).await;
    client.logout().await;
    let action = answer?.into_inner().pending_action;
    if !action.is_empty() {
        return pending(output, &action);
    }
    output.result(&json!({"done": true}), |out| {
        writeln!(
            out,
            "done: it seals nothing any more, what lies under it is sealed anew now (`payvault status`),\n\
             and then it is destroyed. Take a backup after that: earlier ones can't be restored in full."
        )
    })
}

/// How far a re-wrap is, for machines.
pub(super) fn rewrap_document(rewrap: &proto::Rewrap) -> Value {
    json!({
        "keys": rewrap.keys,
        "permille": rewrap.permille,
        "rows": rewrap.rows,
        "failed": rewrap.failed,
    })
}

/// How far a re-wrap is, in words.
pub(super) fn in_words(rewrap: &proto::Rewrap) -> String {
    let percent = rewrap.permille / 10;
    let keys = rewrap.keys.join(" ");
    format!("{percent} %, {} rows; under {keys}", rewrap.rows)
}
