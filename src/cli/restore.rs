//! `payvault restore`, its confirmation, and `payvault drill`.

use super::check::{root_of, seal_alone};
use super::connection::ConnectionArgs;
use super::error::CliError;
use super::output::{self, Output};
use super::principal::pending;
use super::progress::Progress;
use super::settings::{SettingsArgs, house};
use crate::api::proto;
use crate::clock::Clock;
use crate::vault::backup::restore::{Accepted, Loss, RestoredVault, Verified, drill, restore};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;

pub(super) const HELP: &str = "Examples:
  payvault restore --from vlt_….pvbackup --config payvault.toml
  payvault restore --from vlt_….pvbackup --config payvault.toml --accept-loss 17
  payvault restore confirm          # later, at the serving vault; a second operator approves

The data directory must be empty, and seal and keyring in place. Nothing is written to its final
place before everything was verified. The vault then begins a new epoch; tokens from before are not
redeemed until two operators confirm.";

/// Restores a backup, or confirms a restore.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct RestoreArgs {
    #[command(subcommand)]
    command: Option<RestoreCommand>,
    /// The backup
    #[arg(long, value_name = "FILE", required = true)]
    from: Option<PathBuf>,
    /// How many entries are lost, as the refusal without it says: a number, or `unknown`
    #[arg(long, value_name = "N", value_parser = loss)]
    accept_loss: Option<Loss>,
    /// How many findings of the check are accepted, as the refusal without it says
    #[arg(long, value_name = "N")]
    accept_findings: Option<u64>,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// A number of entries, or that nobody knows it.
fn loss(text: &str) -> Result<Loss, String> {
    match text {
        "unknown" => Ok(Loss::Unknown),
        number => number
            .parse()
            .map(Loss::Entries)
            .map_err(|_| "neither a number nor `unknown`".to_owned()),
    }
}

/// What is done about a restore afterwards.
#[derive(Subcommand, Debug)]
pub enum RestoreCommand {
    /// Let tokens from before the restore be redeemed again; a second operator approves
    Confirm(ConfirmArgs),
}

/// Confirms a restore.
#[derive(Args, Debug)]
pub struct ConfirmArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl RestoreArgs {
    /// Whether no serving vault is asked.
    pub fn is_offline(&self) -> bool {
        self.command.is_none()
    }
}

/// Restores the newest backup to a temporary place, verifies it, and removes it.
#[derive(Args, Debug)]
pub struct DrillArgs {
    /// Directory under which it is restored meanwhile [default: the system's temporary one]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) const DRILL_HELP: &str = "Example:
  payvault drill --config payvault.toml --backup-dir /mnt/backups

Can be run beside a serving vault: it changes nothing. Ends with 6 when the backup is damaged, with 7
when what it holds is not sound.";

/// Restores.
///
/// # Errors
/// Why nothing was restored; nothing is left then.
pub fn run(args: RestoreArgs, output: Output) -> Result<(), CliError> {
    let config = args.settings.load()?;
    let from = args
        .from
        .ok_or_else(|| CliError::Usage("which backup? Give --from FILE".into()))?;
    let house = house(&config, Clock::system());
    let root = root_of(&seal_alone(&house)?, &config)?;
    let accepted = Accepted {
        loss: args.accept_loss,
        findings: args.accept_findings,
    };
    let progress = Progress::new();
    let restored = restore(&house, &root, &from, accepted, &mut |at| {
        progress.is_at(at.records, at.bytes, at.of_bytes);
    });
    progress.done();
    let restored = restored?;
    output.result(&restored_document(&restored), |out| {
        let missing = restored.missing.map(|count| count.to_string());
        let begun_at = restored.verified.header.begun_at;
        writeln!(out, "restored    {} as of {begun_at}", restored.vault)?;
        writeln!(
            out,
            "ledger      {} entries of epoch {}, verified",
            restored.verified.trailer.size, restored.verified.trailer.epoch
        )?;
        writeln!(
            out,
            "missing     {}",
            missing
                .as_deref()
                .unwrap_or("unknown: no high-water mark says")
        )?;
        writeln!(out, "new epoch   {}", restored.epoch)?;
        writeln!(out, "new key     {}", restored.verifier)
    })?;
    if let Some(why) = &restored.mark_late {
        output::note(format_args!(
            "The database is restored, but its high-water mark could not be written: {why}. Leave the old mark where it is; it is written anew at the next start."
        ));
    }
    if !output.json {
        output::note(
            "Give the new key to the auditors. Start the vault where only operators reach it (listen on 127.0.0.1). Principals, secrets and allowances are the backup's: before you let callers in, disable again who was disabled since. Tokens from before are not redeemed until two operators confirm: payvault restore confirm",
        );
    }
    Ok(())
}

fn restored_document(restored: &RestoredVault) -> Value {
    let mut json = verified_document(&restored.verified);
    json["vault"] = json!(restored.vault.to_string());
    json["new_epoch"] = json!(restored.epoch);
    json["missing"] = json!(restored.missing);
    json["ledger_key"] = json!(restored.verifier);
    json["mark_late"] = json!(restored.mark_late);
    json
}

fn verified_document(verified: &Verified) -> Value {
    json!({
        "file": verified.file,
        "id": verified.header.id_text(),
        "begun_at": verified.header.begun_at.to_string(),
        "made_by": verified.header.version,
        "records": verified.trailer.records,
        "epoch": verified.trailer.epoch,
        "ledger_size": verified.trailer.size,
        "check": super::check::document(&verified.checked),
    })
}

/// Asks for the confirmation.
///
/// # Errors
/// What the vault says.
pub async fn confirm(args: RestoreArgs, output: Output) -> Result<(), CliError> {
    let Some(RestoreCommand::Confirm(args)) = args.command else {
        return Ok(());
    };
    let mut client = args.connection.read()?.open_as_person().await?;
    let request = proto::ConfirmRestoreRequest {};
    let answer = client.admin.confirm_restore(request).await;
    client.logout().await;
    let action = answer?.into_inner().pending_action;
    if !action.is_empty() {
        return pending(output, &action);
    }
    output.result(&json!({"done": true}), |out| {
        writeln!(
            out,
            "done: tokens from before the restore are redeemed again"
        )
    })
}

/// Restores the newest backup somewhere, and says how it is in one line.
///
/// # Errors
/// What is wrong with it.
pub fn run_drill(args: DrillArgs, output: Output) -> Result<(), CliError> {
    let config = args.settings.load()?;
    let directory = config.backup_dir.clone().ok_or_else(|| {
        CliError::Usage("which directory? Give --backup-dir, or set it in the configuration".into())
    })?;
    let house = house(&config, Clock::system());
    let root = root_of(&seal_alone(&house)?, &config)?;
    let work = args.work_dir.unwrap_or_else(std::env::temp_dir);
    let progress = Progress::new();
    let drilled = drill(&house, &root, &directory, &work, &mut |at| {
        progress.is_at(at.records, at.bytes, at.of_bytes);
    });
    progress.done();
    let verified = drilled?;
    let checked = &verified.checked;
    if checked.findings_count > 0 {
        return Err(CliError::Findings(Box::new(verified.checked)));
    }
    output.result(&verified_document(&verified), |out| {
        writeln!(
            out,
            "sound: {}, of {}: {} records, {} entries ({} erased), {} transactions",
            verified.file.display(),
            verified.header.begun_at,
            verified.trailer.records,
            checked.entries + checked.erased,
            checked.erased,
            checked.transactions
        )
    })
}
