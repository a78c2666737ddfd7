//! `payvault backup`: online by an operator, into the vault's own backup_dir; or offline, by whoever
//! has directories and passphrase of a vault that is stopped.

use super::check::{root_of, seal_of};
use super::connection::ConnectionArgs;
use super::error::CliError;
use super::output::{self, Output};
use super::progress::Progress;
use super::runtime;
use super::settings::{SettingsArgs, house};
use crate::api::proto;
use crate::clock::Clock;
use crate::vault::backup::BackupError;
use crate::vault::backup::take::{Step, Taken};
use crate::vault::command::{Caller, Note};
use crate::vault::{self};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

pub(super) const HELP: &str = "Examples:
  payvault backup                                   # the serving vault writes into its backup_dir
  payvault backup --offline --config payvault.toml --out /mnt/backups

Seal and keyring are not in a backup: without them nobody opens it. Back the keys directory up
apart; docs/operations.md says how.";

/// Takes a backup.
#[derive(Args, Debug)]
pub struct BackupArgs {
    /// Take it of a vault that doesn't run; needs its configuration and its passphrase
    #[arg(long)]
    offline: bool,
    /// Directory that it goes into [default: backup_dir]; a serving vault writes into its
    /// backup_dir only
    #[arg(long, value_name = "DIR", requires = "offline")]
    out: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl BackupArgs {
    /// Whether no serving vault is asked.
    pub fn is_offline(&self) -> bool {
        self.offline
    }
}

/// Asks a serving vault for a backup.
///
/// # Errors
/// What the vault says.
pub async fn online(args: BackupArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    let asked = async {
        let request = proto::TakeBackupRequest {};
        let mut steps = client.admin.take_backup(request).await?.into_inner();
        let progress = Progress::new();
        while let Some(step) = steps.message().await? {
            if let Some(backup) = step.backup {
                progress.done();
                return Ok((backup, step.records, step.bytes));
            }
            progress.is_at(step.records, step.bytes, None);
        }
        Err(CliError::Failed(
            "the vault said no last word: whether there is a backup, its ledger and its backup_dir say"
                .to_owned(),
        ))
    }
    .await;
    client.logout().await;
    let (backup, records, bytes) = asked?;
    say(&backup, records, bytes, output)
}

/// Takes one of a vault that doesn't run. It is opened for that, with its entries, as ever.
///
/// # Errors
/// When the vault can't be opened or the backup not be written.
pub fn offline(args: BackupArgs, output: Output) -> Result<(), CliError> {
    let mut settings = args.settings;
    if args.out.is_some() {
        // Judged as backup_dir is: apart from the vault's own directories.
        settings.backup_dir = args.out;
    }
    let config = settings.load()?;
    let directory = config.backup_dir.clone().ok_or_else(|| {
        CliError::Usage("where to? Give --out DIR, or set backup_dir in the configuration".into())
    })?;
    let house = house(&config, Clock::system());
    let seal = seal_of(&house)?;
    let root = root_of(&seal, &config)?;
    let runtime = runtime()?;
    let vault = Arc::new(vault::open(&house, &root).map_err(CliError::Start)?);
    let taken = runtime.block_on(async {
        let mut steps = vault
            .backup(Caller::vault(), &directory, u64::MAX)
            .await
            .map_err(BackupError::Refused)?;
        let progress = Progress::new();
        let mut last = Err(BackupError::Refused(vault::command::Refusal::Sealed));
        while let Some(step) = steps.recv().await {
            match step {
                Step::Progress(at) => progress.is_at(at.records, at.bytes, at.of_bytes),
                Step::Done(taken) => last = Ok(taken),
                Step::Failed(error) => last = Err(error),
            }
        }
        progress.done();
        last
    });
    vault.close(Note::Stopped, Caller::vault());
    let taken: Box<Taken> = taken?;
    let backup = proto::Backup {
        file: taken.file.display().to_string(),
        id: taken.header.id_text(),
        ledger_size: taken.trailer.size,
        checkpoint: taken.trailer.note.clone(),
        keyring_generation: taken.trailer.keyring_generation,
        keys_dir: house.keys_dir.display().to_string(),
    };
    say(&backup, taken.trailer.records, taken.bytes, output)
}

fn say(backup: &proto::Backup, records: u64, bytes: u64, output: Output) -> Result<(), CliError> {
    output.result(&document(backup, records, bytes), |out| {
        writeln!(out, "backup      {}", backup.file)?;
        writeln!(out, "id          {}", backup.id)?;
        writeln!(
            out,
            "records     {records} in {bytes} bytes, read back and verified"
        )?;
        writeln!(out, "ledger      {} entries", backup.ledger_size)?;
        writeln!(out, "\ncheckpoint:\n{}", backup.checkpoint.trim_end())
    })?;
    if !output.json {
        output::note(format_args!(
            "Seal and keyring (generation {}) are not in it. They lie in {} on the vault's machine: back them up apart.",
            backup.keyring_generation, backup.keys_dir
        ));
    }
    Ok(())
}

fn document(backup: &proto::Backup, records: u64, bytes: u64) -> Value {
    json!({
        "file": backup.file,
        "id": backup.id,
        "records": records,
        "bytes": bytes,
        "ledger_size": backup.ledger_size,
        "checkpoint": backup.checkpoint,
        "keyring_generation": backup.keyring_generation,
        "keys_dir": backup.keys_dir,
    })
}
