//! `payvault check`: holds the whole ledger against the whole store, offline.

use super::error::CliError;
use super::output::Output;
use super::settings::{SettingsArgs, house};
use super::{input, share};
use crate::api::config::Config;
use crate::clock::Clock;
use crate::keys::{KeyError, Opening, RootKey, SealFile, SealKind};
use crate::secret::SecretText;
use crate::vault::{self, Checked, House, OpenError};
use clap::Args;
use std::io::{self, Write};

/// Checks a vault that doesn't run.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

const HELP: &str = "Stop the vault first: the store is one process's at a time. Give the \
configuration that `serve` gets. Ends with 7 when anything is wrong.";

/// Checks.
///
/// # Errors
/// When the vault can't be opened, or the check found something.
pub fn run(args: CheckArgs, output: Output) -> Result<(), CliError> {
    let config = args.settings.load()?;
    let house = house(&config, Clock::system());
    // What isn't there is found out before anybody types a passphrase.
    let seal = seal_of(&house)?;
    let root = root_of(&seal, &config)?;
    let checked = vault::check(&house, &root).map_err(CliError::Start)?;
    if checked.findings_count > 0 {
        if !output.json {
            words(&checked, &mut io::stdout().lock())?;
        }
        return Err(CliError::Findings(Box::new(checked)));
    }
    output.result(&document(&checked), |out| words(&checked, out))
}

/// The seal of a vault whose store is there.
///
/// # Errors
/// When there is no vault, or its seal can't be read.
pub fn seal_of(house: &House) -> Result<SealFile, CliError> {
    let seal = seal_alone(house)?;
    // Opening a store that isn't there would make one.
    if !house.db_dir().exists() {
        let missing = OpenError::NotInitialised(house.data_dir.clone());
        return Err(CliError::Start(missing));
    }
    Ok(seal)
}

/// The seal, whether there is a store or not.
///
/// # Errors
/// When there is none, or it can't be read.
pub fn seal_alone(house: &House) -> Result<SealFile, CliError> {
    if !house.keys_dir.join("seal.json").exists() {
        let missing = OpenError::NotInitialised(house.keys_dir.clone());
        return Err(CliError::Start(missing));
    }
    SealFile::read(&house.keys_dir).map_err(|error| CliError::Start(OpenError::Key(error)))
}

/// The root key: by the passphrase or PIN from its file or from a person, by a key service, or by
/// shares of custodians.
///
/// # Errors
/// When there is none, or it is wrong.
pub fn root_of(seal: &SealFile, config: &Config) -> Result<RootKey, CliError> {
    let opening = match seal.kind() {
        SealKind::Custodians => return share::gather(seal),
        SealKind::Passphrase => Opening::Passphrase(input::secret(
            config.passphrase_file.as_deref(),
            "the passphrase",
            "--passphrase-file",
        )?),
        SealKind::Pkcs11 => Opening::Pin {
            pin: pin(config)?,
            module: config.pkcs11_module.clone(),
        },
        SealKind::AwsKms => Opening::Service,
    };
    seal.open_by(&opening).map_err(|error| match error {
        KeyError::WrongPassphrase | KeyError::PassphraseLength => CliError::WrongPassphrase,
        KeyError::WrongPin(_) | KeyError::PinLocked => CliError::Pin(error),
        error => CliError::Start(OpenError::Key(error)),
    })
}

/// The PIN of the security module's token: from its file, or typed.
///
/// # Errors
/// When there is none.
pub fn pin(config: &Config) -> Result<SecretText, CliError> {
    let file = config.pkcs11_pin_file.as_deref();
    input::secret(file, "the security module's PIN", "--pin-file")
}

/// What programs read.
pub fn document(checked: &Checked) -> serde_json::Value {
    serde_json::json!({
        "sound": checked.findings_count == 0,
        "entries": checked.entries,
        "erased": checked.erased,
        "transactions": checked.transactions,
        "findings_count": checked.findings_count,
        "findings": checked.findings,
    })
}

fn words(checked: &Checked, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "entries       {}", checked.entries)?;
    writeln!(out, "erased        {}", checked.erased)?;
    writeln!(out, "transactions  {}", checked.transactions)?;
    writeln!(out, "findings      {}", checked.findings_count)?;
    for finding in &checked.findings {
        writeln!(out, "  {finding}")?;
    }
    let unlisted = checked.findings_count - checked.findings.len() as u64;
    if unlisted > 0 {
        writeln!(out, "  and {unlisted} more")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::keys::Argon2Cost;
    use crate::vault::Founding;
    use clap::Parser;
    use std::path::{Path, PathBuf};

    #[test]
    fn it_takes_a_configuration_and_a_passphrase_file() {
        let line = "payvault check --config c.toml --passphrase-file p --json";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        assert!(cli.json);
        let Command::Check(args) = cli.command else {
            panic!("another command");
        };
        assert_eq!(args.settings.config, Some(PathBuf::from("c.toml")));
        assert_eq!(args.settings.passphrase_file, Some(PathBuf::from("p")));
        assert!(Cli::try_parse_from(["payvault", "check", "txn_x"]).is_err());
    }

    #[test]
    fn findings_are_counted_and_listed_and_end_with_seven() {
        let checked = Checked {
            entries: 9,
            findings: vec!["entry 3 does not open".to_owned()],
            findings_count: 4,
            ..Checked::default()
        };
        let mut out = Vec::new();
        words(&checked, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("  entry 3 does not open\n  and 3 more\n"),
            "{text}"
        );
        let error = CliError::Findings(Box::new(checked));
        assert_eq!(error.exit_code(), 7);
        let json = error.to_json();
        assert_eq!(json["sound"], false);
        assert_eq!(json["entries"], 9);
        assert_eq!(json["findings"][0], "entry 3 does not open");
        assert_eq!(json["error"]["exit_code"], 7);
    }

    fn args(dir: &Path, passphrase: &str) -> CheckArgs {
        let file = dir.join("passphrase");
        std::fs::write(&file, passphrase).unwrap();
        let path = |name: &str| Some(dir.join(name));
        CheckArgs {
            settings: SettingsArgs {
                data_dir: path("data"),
                keys_dir: path("keys"),
                tls_cert: path("c"),
                tls_key: path("k"),
                tls_client_ca: vec![dir.join("a")],
                passphrase_file: Some(file),
                ..SettingsArgs::default()
            },
        }
    }

    #[test]
    fn a_vault_as_it_was_made_is_sound_and_none_is_no_vault() {
        const PASSPHRASE: &str = "correct horse battery";
        let output = Output { json: true };
        let dir = tempfile::tempdir().unwrap();
        let none = run(args(dir.path(), PASSPHRASE), output).unwrap_err();
        assert_eq!(none.exit_code(), 7, "{none}");
        assert!(!dir.path().join("data").exists());

        let config = args(dir.path(), PASSPHRASE).settings.load().unwrap();
        let house = house(&config, Clock::system());
        let founding = Founding {
            principals: Vec::new(),
            allowances: Vec::new(),
            unsealers: Vec::new(),
        };
        let passphrase = SecretText::copy_from(PASSPHRASE);
        vault::create(&house, &passphrase, Argon2Cost::DEFAULT, founding).unwrap();
        run(args(dir.path(), PASSPHRASE), output).unwrap();
        let wrong = run(args(dir.path(), "wrong horse battery"), output).unwrap_err();
        assert_eq!(wrong.exit_code(), 4, "{wrong}");
    }
}
