//! The configuration's keys as flags, for `serve`, `init` and `check`. Flags go over the environment, the
//! environment over the file.

use super::error::CliError;
use crate::api::config::{
    Config, LimitSettings, LogFormat, LogLevel, LogSettings, ModulusSettings, Pkcs11Settings,
    Settings, TlsSettings,
};
use crate::clock::{Clock, DAY_MS};
use crate::limits;
use crate::store::EngineKind;
use crate::vault::{self, House};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags for every key of the configuration but `sites`, which only the file has.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Configuration")]
pub struct SettingsArgs {
    /// The configuration (TOML); relative paths in it are relative to it
    #[arg(long, value_name = "FILE", env = "PAYVAULT_CONFIG")]
    pub config: Option<PathBuf>,
    /// data_dir: where the store lies
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// keys_dir: where seal and keyring lie, apart from the data
    #[arg(long, value_name = "DIR")]
    pub keys_dir: Option<PathBuf>,
    /// mark_dir: where the high-water mark lies, best on a third volume [default: data_dir]
    #[arg(long, value_name = "DIR")]
    pub mark_dir: Option<PathBuf>,
    /// listen: where clients connect [default: 127.0.0.1:8443]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// health_listen: where probes ask for health without a certificate; loopback only
    #[arg(long, value_name = "IP:PORT")]
    pub health_listen: Option<SocketAddr>,
    /// tls.cert: the server's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// tls.key: its private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// tls.client_ca: CAs of clients (PEM); may be given more than once
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Vec<PathBuf>,
    /// tls.crl: revocation lists of these CAs (PEM); may be given more than once
    #[arg(long, value_name = "FILE")]
    pub tls_crl: Vec<PathBuf>,
    /// passphrase_file: to unseal at start without a person
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// pkcs11.module: the security module's PKCS#11 library, for a seal of that kind
    #[arg(long, visible_alias = "module", value_name = "FILE")]
    pub pkcs11_module: Option<PathBuf>,
    /// pkcs11.pin_file: to unseal at start without a person
    #[arg(long, visible_alias = "pin-file", value_name = "FILE")]
    pub pkcs11_pin_file: Option<PathBuf>,
    /// uk_modulus.weights: the weight table for British accounts (valacdos.txt)
    #[arg(long, value_name = "FILE")]
    pub uk_modulus_weights: Option<PathBuf>,
    /// uk_modulus.substitutions: the table of substitutions beside it (scsubtab.txt)
    #[arg(long, value_name = "FILE")]
    pub uk_modulus_substitutions: Option<PathBuf>,
    /// limits.calls_per_second: of one principal
    #[arg(long, value_name = "N")]
    pub calls_per_second: Option<u32>,
    /// reflection: whether the services describe themselves
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub reflection: Option<bool>,
    /// log.format
    #[arg(long, value_name = "FORMAT", value_parser = log_format())]
    pub log_format: Option<LogFormat>,
    /// log.level
    #[arg(long, value_name = "LEVEL", value_parser = log_level())]
    pub log_level: Option<LogLevel>,
    /// engine: what the store is kept with [default: sled]
    #[arg(long, value_name = "ENGINE", value_parser = engine())]
    pub engine: Option<EngineKind>,
    /// cache_mb: memory for the store's cache
    #[arg(long, value_name = "MB")]
    pub cache_mb: Option<u32>,
    /// checkpoint_sink: a file outside of the vault that each checkpoint goes to
    #[arg(long, value_name = "FILE")]
    pub checkpoint_sink: Option<PathBuf>,
    /// checkpoint_command: a program that gets each checkpoint on its stdin
    #[arg(long, value_name = "PROGRAM")]
    pub checkpoint_command: Option<PathBuf>,
    /// backup_dir: where backups lie, apart from data and keys, best on another disk
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// witness_silent_minutes: how long a witness may not cosign before it is an alarm
    #[arg(long, value_name = "MINUTES")]
    pub witness_silent_minutes: Option<u32>,
    /// key_backup_days: how long copies of keys_dir are kept; erasure receipts say it
    #[arg(long, value_name = "N")]
    pub key_backup_days: Option<u32>,
}

impl SettingsArgs {
    /// Reads file, environment and flags, and judges the whole.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(self) -> Result<Config, CliError> {
        // A variable that isn't text can't be one of ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let file = self.config.clone();
        Ok(Config::load(
            file.as_deref(),
            variables,
            self.into_settings(),
        )?)
    }

    fn into_settings(self) -> Settings {
        let some = |list: Vec<PathBuf>| (!list.is_empty()).then_some(list);
        Settings {
            data_dir: self.data_dir,
            keys_dir: self.keys_dir,
            mark_dir: self.mark_dir,
            listen: self.listen,
            health_listen: self.health_listen,
            tls: TlsSettings {
                cert: self.tls_cert,
                key: self.tls_key,
                client_ca: some(self.tls_client_ca),
                crl: some(self.tls_crl),
            },
            passphrase_file: self.passphrase_file,
            pkcs11: Pkcs11Settings {
                module: self.pkcs11_module,
                pin_file: self.pkcs11_pin_file,
            },
            uk_modulus: ModulusSettings {
                weights: self.uk_modulus_weights,
                substitutions: self.uk_modulus_substitutions,
            },
            limits: LimitSettings {
                calls_per_second: self.calls_per_second,
            },
            reflection: self.reflection,
            log: LogSettings {
                format: self.log_format,
                level: self.log_level,
            },
            engine: self.engine,
            cache_mb: self.cache_mb,
            checkpoint_sink: self.checkpoint_sink,
            checkpoint_command: self.checkpoint_command,
            backup_dir: self.backup_dir,
            witness_silent_minutes: self.witness_silent_minutes,
            key_backup_days: self.key_backup_days,
            ..Settings::default()
        }
    }
}

/// Where and how the vault of a configuration lives.
pub fn house(config: &Config, clock: Clock) -> House {
    House {
        data_dir: config.data_dir.clone(),
        keys_dir: config.keys_dir.clone(),
        mark_dir: config.mark_dir.clone(),
        checkpoint_sink: config.checkpoint_sink.clone(),
        checkpoint_command: config.checkpoint_command.clone(),
        witnesses: config.witnesses.clone(),
        settings: vault::Settings {
            sites: config
                .sites
                .iter()
                .map(|(site, rules)| (*site, u64::from(rules.release_days_max) * DAY_MS))
                .collect(),
            fingerprints: config
                .sites
                .iter()
                .filter(|(_, rules)| rules.fingerprint)
                .map(|(site, _)| *site)
                .collect(),
            sealed_only: config
                .sites
                .iter()
                .filter(|(_, rules)| rules.sealed_only)
                .map(|(site, _)| *site)
                .collect(),
            denials_per_minute: limits::DENIALS_PER_MINUTE,
            retention: config
                .sites
                .iter()
                .map(|(site, rules)| (*site, rules.log.clone()))
                .collect(),
            key_backup_days: config.key_backup_days,
        },
        engine: config.engine,
        cache_bytes: u64::from(config.cache_mb) << 20,
        clock,
    }
}

/// Reads how the log looks.
pub fn log_format() -> impl TypedValueParser<Value = LogFormat> {
    PossibleValuesParser::new(["text", "json"]).map(|word| match word.as_str() {
        "json" => LogFormat::Json,
        _ => LogFormat::Text,
    })
}

/// Reads an engine's name.
pub fn engine() -> impl TypedValueParser<Value = EngineKind> {
    PossibleValuesParser::new(EngineKind::ALL.map(EngineKind::name)).map(|word| {
        EngineKind::ALL
            .into_iter()
            .find(|engine| engine.name() == word)
            .unwrap_or_default()
    })
}

/// Reads how much is logged.
pub fn log_level() -> impl TypedValueParser<Value = LogLevel> {
    const LEVELS: [LogLevel; 5] = [
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ];
    PossibleValuesParser::new(LEVELS.map(LogLevel::as_str)).map(|word| {
        LEVELS
            .into_iter()
            .find(|level| level.as_str() == word)
            .unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: SettingsArgs,
    }

    #[test]
    fn each_flag_sets_its_key() {
        let line = "x --data-dir d --keys-dir k --mark-dir m --listen 127.0.0.1:1 \
                    --health-listen 127.0.0.1:2 --tls-cert c --tls-key y --tls-client-ca a \
                    --tls-client-ca b --tls-crl r --passphrase-file p --uk-modulus-weights w \
                    --module m --pin-file n \
                    --uk-modulus-substitutions u --calls-per-second 9 \
                    --reflection --log-format json --log-level trace --cache-mb 17 \
                    --engine redb --checkpoint-sink s --checkpoint-command p --backup-dir b \
                    --key-backup-days 5 --witness-silent-minutes 6";
        let settings = Line::try_parse_from(line.split_whitespace())
            .unwrap()
            .settings
            .into_settings();
        // Every key is set, and each by its own value.
        let text = format!("{settings:?}");
        assert!(!text.contains("None"), "{text}");
        assert_eq!(settings.tls.client_ca.map(|list| list.len()), Some(2));
        assert_eq!(settings.reflection, Some(true));
        assert_eq!(settings.log.level, Some(LogLevel::Trace));
        assert_eq!(settings.log.format, Some(LogFormat::Json));
        assert_eq!(settings.engine, Some(EngineKind::Redb));
        assert_eq!(settings.limits.calls_per_second, Some(9));
    }

    #[test]
    fn no_flag_sets_no_key() {
        let line = Line::try_parse_from(["x"]).unwrap();
        assert_eq!(line.settings.into_settings(), Settings::default());
        for refused in [["x", "--log-level", "loud"], ["x", "--engine", "rocksdb"]] {
            assert!(Line::try_parse_from(refused).is_err());
        }
    }
}
