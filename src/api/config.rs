//! The configuration: one TOML file, over which the environment (`PAYVAULT_…`) goes, over which
//! flags go. Everything is read and judged before a port opens. Secrets are named by file only,
//! never given here.

use super::sites::{
    self, RELEASE_DAYS_DEFAULT, RELEASE_DAYS_MAX, Retention, RetentionStart, SiteRules,
};
use super::tls::TlsFiles;
use super::uk_modulus::ModulusFiles;
use crate::ids::Site;
use crate::ledger::WitnessKey;
use crate::limits;
use crate::store::EngineKind;
use crate::vault::{WitnessAt, Witnesses};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

/// A configuration that was found to be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the store lies.
    pub data_dir: PathBuf,
    /// Where seal file and keyring lie: never in or around `data_dir`, so that no backup of one
    /// takes the other along.
    pub keys_dir: PathBuf,
    /// Where the high-water mark lies, ideally on another volume; `data_dir` unless given.
    pub mark_dir: PathBuf,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where probes ask for health without a certificate: a loopback address.
    pub health_listen: Option<SocketAddr>,
    /// Certificates and client CAs.
    pub tls: TlsFiles,
    /// A file with the passphrase, for unsealing at start without a person.
    pub passphrase_file: Option<PathBuf>,
    /// The security module's PKCS#11 module (a shared library), for a vault whose seal needs it.
    pub pkcs11_module: Option<PathBuf>,
    /// A file with the PIN, for unsealing at start without a person.
    pub pkcs11_pin_file: Option<PathBuf>,
    /// The sites and their rules.
    pub sites: BTreeMap<Site, SiteRules>,
    /// The British modulus tables; without them such accounts are presumed valid.
    pub uk_modulus: Option<ModulusFiles>,
    /// Calls a second and principal.
    pub calls_per_second: u32,
    /// Whether the services describe themselves.
    pub reflection: bool,
    /// How the log looks.
    pub log: Log,
    /// The store's engine.
    pub engine: EngineKind,
    /// Memory for the store's cache.
    pub cache_mb: u32,
    /// A file outside the vault that each checkpoint goes to as it is made.
    pub checkpoint_sink: Option<PathBuf>,
    /// A program that gets each checkpoint on its stdin.
    pub checkpoint_command: Option<PathBuf>,
    /// Who is asked to cosign each checkpoint.
    pub witnesses: Witnesses,
    /// Where backups go that operators ask for; none are taken without it.
    pub backup_dir: Option<PathBuf>,
    /// How long copies of the keys directory are kept, in days.
    pub key_backup_days: u32,
}

/// How the log (not the ledger) is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Its shape.
    pub format: LogFormat,
    /// The least urgent lines that are written.
    pub level: LogLevel,
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// How urgent a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// Its name, as `tracing` filters take it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Why a configuration is refused. Names the key, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration file {path}: {cause}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// The file isn't TOML, has a key that doesn't exist, or a value of the wrong type. The line
    /// itself is not repeated: it may hold a secret that doesn't belong there.
    #[error("{path}, line {line}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A key without a default is given nowhere.
    #[error("{key} is missing: set it in the file, as {variable}, or by its flag")]
    Missing {
        /// The key, as in the file.
        key: &'static str,
        /// The variable that would set it.
        variable: &'static str,
    },
    /// A value can't be.
    #[error("{key}: {problem}")]
    Invalid {
        /// The key or variable.
        key: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// What one source (file, environment, flags) says. A flag parser fills one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // the names are Config's
pub struct Settings {
    pub data_dir: Option<PathBuf>,
    pub keys_dir: Option<PathBuf>,
    pub mark_dir: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub health_listen: Option<SocketAddr>,
    pub tls: TlsSettings,
    pub passphrase_file: Option<PathBuf>,
    pub pkcs11: Pkcs11Settings,
    pub sites: BTreeMap<String, SiteSettings>,
    pub uk_modulus: ModulusSettings,
    pub limits: LimitSettings,
    pub reflection: Option<bool>,
    pub log: LogSettings,
    pub engine: Option<EngineKind>,
    pub cache_mb: Option<u32>,
    pub checkpoint_sink: Option<PathBuf>,
    /// A program that gets each checkpoint on its stdin.
    pub checkpoint_command: Option<PathBuf>,
    pub backup_dir: Option<PathBuf>,
    pub key_backup_days: Option<u32>,
    /// Each a table `[[witness]]`.
    pub witness: Vec<WitnessSettings>,
    pub witness_silent_minutes: Option<u32>,
}

/// A table `witness`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct WitnessSettings {
    pub url: String,
    pub key: String,
}

/// The table `tls`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct TlsSettings {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub client_ca: Option<Vec<PathBuf>>,
    pub crl: Option<Vec<PathBuf>>,
}

/// The table `pkcs11`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Pkcs11Settings {
    pub module: Option<PathBuf>,
    pub pin_file: Option<PathBuf>,
}

/// A table `sites.<name>`. What it leaves out stays as the site's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct SiteSettings {
    pub release_days_max: Option<u32>,
    pub log_years: Option<u8>,
    pub log_from: Option<RetentionStart>,
    pub financial_year_end_month: Option<u8>,
    pub log_source: Option<String>,
    pub time_zone: Option<String>,
    pub fingerprint: Option<bool>,
    pub sealed_only: Option<bool>,
}

/// The table `uk_modulus`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct ModulusSettings {
    pub weights: Option<PathBuf>,
    pub substitutions: Option<PathBuf>,
}

/// The table `limits`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct LimitSettings {
    pub calls_per_second: Option<u32>,
}

/// The table `log`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct LogSettings {
    pub format: Option<LogFormat>,
    pub level: Option<LogLevel>,
}

impl Config {
    /// Reads the file (when there is one), lays `variables` (the environment) and `flags` over
    /// it, and judges the whole. Relative paths in the file are relative to it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: Settings,
    ) -> Result<Config, ConfigError> {
        let mut settings = match file {
            Some(path) => Settings::from_file(path)?,
            None => Settings::default(),
        };
        settings.lay_over(Settings::from_variables(variables)?);
        settings.lay_over(flags);
        settings.judge()
    }
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, isn't TOML, or has a key that doesn't exist.
    pub fn from_file(path: &Path) -> Result<Settings, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
            path: path.to_owned(),
            cause,
        })?;
        let mut settings: Settings = toml::from_str(&text).map_err(|error| ConfigError::File {
            path: path.to_owned(),
            line: line_of(&text, error.span().map_or(0, |span| span.start)),
            problem: without_input(error.message()),
        })?;
        if let Some(folder) = path.parent() {
            for inner in settings.paths() {
                *inner = folder.join(&*inner);
            }
        }
        Ok(settings)
    }

    /// Reads variables. Ones that don't exist are passed over, since an orchestrator sets
    /// `PAYVAULT_PORT` and the like by itself for a service of that name.
    ///
    /// # Errors
    /// When a value can't be read.
    pub fn from_variables(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        for (name, value) in variables {
            let Some(key) = name.strip_prefix("PAYVAULT_") else {
                continue;
            };
            let path = || Some(PathBuf::from(&value));
            let paths = || Some(std::env::split_paths(&value).collect());
            match key {
                "DATA_DIR" => settings.data_dir = path(),
                "KEYS_DIR" => settings.keys_dir = path(),
                "MARK_DIR" => settings.mark_dir = path(),
                "LISTEN" => settings.listen = Some(parse(&name, &value)?),
                "HEALTH_LISTEN" => settings.health_listen = Some(parse(&name, &value)?),
                "TLS_CERT" => settings.tls.cert = path(),
                "TLS_KEY" => settings.tls.key = path(),
                "TLS_CLIENT_CA" => settings.tls.client_ca = paths(),
                "TLS_CRL" => settings.tls.crl = paths(),
                "PASSPHRASE_FILE" => settings.passphrase_file = path(),
                "PKCS11_MODULE" => settings.pkcs11.module = path(),
                "PKCS11_PIN_FILE" => settings.pkcs11.pin_file = path(),
                "UK_MODULUS_WEIGHTS" => settings.uk_modulus.weights = path(),
                "UK_MODULUS_SUBSTITUTIONS" => settings.uk_modulus.substitutions = path(),
                "LIMITS_CALLS_PER_SECOND" => {
                    settings.limits.calls_per_second = Some(parse(&name, &value)?);
                }
                "REFLECTION" => settings.reflection = Some(parse(&name, &value)?),
                "LOG_FORMAT" => settings.log.format = Some(word(&name, &value)?),
                "LOG_LEVEL" => settings.log.level = Some(word(&name, &value)?),
                "ENGINE" => settings.engine = Some(word(&name, &value)?),
                "CACHE_MB" => settings.cache_mb = Some(parse(&name, &value)?),
                "CHECKPOINT_SINK" => settings.checkpoint_sink = path(),
                "CHECKPOINT_COMMAND" => settings.checkpoint_command = path(),
                "BACKUP_DIR" => settings.backup_dir = path(),
                "WITNESS_SILENT_MINUTES" => {
                    settings.witness_silent_minutes = Some(parse(&name, &value)?);
                }
                "KEY_BACKUP_DAYS" => settings.key_backup_days = Some(parse(&name, &value)?),
                _ => {}
            }
        }
        Ok(settings)
    }

    /// Takes over whatever `upper` says.
    pub fn lay_over(&mut self, upper: Settings) {
        fn lay<T>(lower: &mut Option<T>, upper: Option<T>) {
            if upper.is_some() {
                *lower = upper;
            }
        }
        lay(&mut self.data_dir, upper.data_dir);
        lay(&mut self.keys_dir, upper.keys_dir);
        lay(&mut self.mark_dir, upper.mark_dir);
        lay(&mut self.listen, upper.listen);
        lay(&mut self.health_listen, upper.health_listen);
        lay(&mut self.tls.cert, upper.tls.cert);
        lay(&mut self.tls.key, upper.tls.key);
        lay(&mut self.tls.client_ca, upper.tls.client_ca);
        lay(&mut self.tls.crl, upper.tls.crl);
        lay(&mut self.passphrase_file, upper.passphrase_file);
        lay(&mut self.pkcs11.module, upper.pkcs11.module);
        lay(&mut self.pkcs11.pin_file, upper.pkcs11.pin_file);
        self.sites.extend(upper.sites);
        lay(&mut self.uk_modulus.weights, upper.uk_modulus.weights);
        lay(
            &mut self.uk_modulus.substitutions,
            upper.uk_modulus.substitutions,
        );
        lay(
            &mut self.limits.calls_per_second,
            upper.limits.calls_per_second,
        );
        lay(&mut self.reflection, upper.reflection);
        lay(&mut self.log.format, upper.log.format);
        lay(&mut self.log.level, upper.log.level);
        lay(&mut self.engine, upper.engine);
        lay(&mut self.cache_mb, upper.cache_mb);
        lay(&mut self.checkpoint_sink, upper.checkpoint_sink);
        lay(&mut self.checkpoint_command, upper.checkpoint_command);
        lay(&mut self.backup_dir, upper.backup_dir);
        lay(&mut self.key_backup_days, upper.key_backup_days);
        self.witness.extend(upper.witness);
        lay(
            &mut self.witness_silent_minutes,
            upper.witness_silent_minutes,
        );
    }

    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let single = [
            &mut self.data_dir,
            &mut self.keys_dir,
            &mut self.mark_dir,
            &mut self.tls.cert,
            &mut self.tls.key,
            &mut self.passphrase_file,
            &mut self.pkcs11.module,
            &mut self.pkcs11.pin_file,
            &mut self.uk_modulus.weights,
            &mut self.uk_modulus.substitutions,
            &mut self.checkpoint_sink,
            &mut self.checkpoint_command,
            &mut self.backup_dir,
        ];
        let lists = [&mut self.tls.client_ca, &mut self.tls.crl];
        single
            .into_iter()
            .flatten()
            .chain(lists.into_iter().flatten().flatten())
    }

    fn judge(self) -> Result<Config, ConfigError> {
        let data_dir = given(self.data_dir, "data_dir", "PAYVAULT_DATA_DIR")?;
        let keys_dir = given(self.keys_dir, "keys_dir", "PAYVAULT_KEYS_DIR")?;
        if within(&keys_dir, &data_dir) || within(&data_dir, &keys_dir) {
            return Err(invalid(
                "keys_dir",
                "lies in data_dir or around it; a backup of one would take the other along: \
                 choose folders apart",
            ));
        }
        let client_ca = given(
            self.tls.client_ca,
            "tls.client_ca",
            "PAYVAULT_TLS_CLIENT_CA",
        )?;
        if client_ca.is_empty() {
            return Err(invalid(
                "tls.client_ca",
                "is empty: name at least one CA file",
            ));
        }
        let tls = TlsFiles {
            cert: given(self.tls.cert, "tls.cert", "PAYVAULT_TLS_CERT")?,
            key: given(self.tls.key, "tls.key", "PAYVAULT_TLS_KEY")?,
            client_ca,
            crl: self.tls.crl.unwrap_or_default(),
        };
        if let Some(address) = self.health_listen
            && !address.ip().is_loopback()
        {
            return Err(invalid(
                "health_listen",
                "answers without a certificate: it must be a loopback address such as 127.0.0.1:8081",
            ));
        }
        if let Some(sink) = &self.checkpoint_sink
            && within(sink, &data_dir)
        {
            return Err(invalid(
                "checkpoint_sink",
                "lies in data_dir; checkpoints prove nothing unless they lie outside of the vault",
            ));
        }
        if let Some(backups) = &self.backup_dir {
            for (name, dir) in [("data_dir", &data_dir), ("keys_dir", &keys_dir)] {
                if within(backups, dir) || within(dir, backups) {
                    return Err(invalid(
                        "backup_dir",
                        format!(
                            "lies in {name} or around it: what takes the one takes the other; choose a folder apart, best on another disk"
                        ),
                    ));
                }
            }
        }
        Ok(Config {
            mark_dir: self.mark_dir.unwrap_or_else(|| data_dir.clone()),
            data_dir,
            keys_dir,
            listen: self
                .listen
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8443))),
            health_listen: self.health_listen,
            tls,
            passphrase_file: self.passphrase_file,
            pkcs11_module: self.pkcs11.module,
            pkcs11_pin_file: self.pkcs11.pin_file,
            sites: judge_sites(self.sites)?,
            uk_modulus: judge_tables(self.uk_modulus)?,
            calls_per_second: bounded(
                "limits.calls_per_second",
                self.limits
                    .calls_per_second
                    .unwrap_or(limits::CALLS_PER_SECOND_DEFAULT),
                1..=1_000_000,
            )?,
            reflection: self.reflection.unwrap_or(false),
            log: Log {
                format: self.log.format.unwrap_or_default(),
                level: self.log.level.unwrap_or_default(),
            },
            engine: self.engine.unwrap_or_default(),
            cache_mb: bounded("cache_mb", self.cache_mb.unwrap_or(128), 16..=1_048_576)?,
            checkpoint_sink: self.checkpoint_sink,
            checkpoint_command: self.checkpoint_command,
            witnesses: judge_witnesses(self.witness, self.witness_silent_minutes)?,
            backup_dir: self.backup_dir,
            key_backup_days: bounded(
                "key_backup_days",
                self.key_backup_days
                    .unwrap_or(limits::KEY_BACKUP_DAYS_DEFAULT),
                0..=limits::KEY_BACKUP_DAYS_MAX,
            )?,
        })
    }
}

fn judge_witnesses(
    settings: Vec<WitnessSettings>,
    silent_minutes: Option<u32>,
) -> Result<Witnesses, ConfigError> {
    if settings.len() > limits::WITNESSES_MAX {
        return Err(invalid(
            "witness",
            format!("may be there at most {} times", limits::WITNESSES_MAX),
        ));
    }
    let silent_minutes = bounded(
        "witness_silent_minutes",
        silent_minutes.unwrap_or(limits::WITNESS_SILENT_MINUTES_DEFAULT),
        limits::WITNESS_SILENT_MINUTES,
    )?;
    let mut list: Vec<WitnessAt> = Vec::new();
    for one in settings {
        let url = witness_url(&one.url).map_err(|what| invalid("witness.url", what))?;
        let key = WitnessKey::parse(one.key.trim())
            .map_err(|error| invalid("witness.key", error.to_string()))?;
        if list.iter().any(|other| other.key.is_the_same_as(&key)) {
            return Err(invalid("witness.key", "is there twice"));
        }
        list.push(WitnessAt { url, key });
    }
    Ok(Witnesses {
        list,
        silent_ms: u64::from(silent_minutes) * 60_000,
    })
}

/// Plain HTTP, to where nobody but the house itself can listen: hashes and signatures are all that
/// goes over it, but whoever stands between could keep a witness silent.
fn witness_url(text: &str) -> Result<String, &'static str> {
    if text.len() > limits::WITNESS_URL_BYTES_MAX {
        return Err("is too long");
    }
    let url: http::Uri = text.parse().map_err(|_| "is no URL")?;
    match url.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(
                "https is not spoken here: put a proxy that does beside the vault, and name its \
                 address on this machine with http",
            );
        }
        _ => return Err("must begin with http://"),
    }
    if url.query().is_some() || text.contains(['#', '@']) {
        return Err("must be a host, a port and perhaps a path, and nothing else");
    }
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    let near = match address {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => host == "localhost",
    };
    if !near {
        return Err(
            "must be localhost or an address of this machine or of a private network (10/8, \
             172.16/12, 192.168/16, fc00::/7): for a witness elsewhere put a proxy that speaks \
             https beside the vault",
        );
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The tables belong together: weights without substitutions would refuse good accounts.
fn judge_tables(tables: ModulusSettings) -> Result<Option<ModulusFiles>, ConfigError> {
    let missing = |key| invalid(key, "is missing beside the other table: set both, or none");
    match (tables.weights, tables.substitutions) {
        (None, None) => Ok(None),
        (Some(weights), Some(substitutions)) => Ok(Some(ModulusFiles {
            weights,
            substitutions,
        })),
        (None, Some(_)) => Err(missing("uk_modulus.weights")),
        (Some(_), None) => Err(missing("uk_modulus.substitutions")),
    }
}

fn judge_sites(
    settings: BTreeMap<String, SiteSettings>,
) -> Result<BTreeMap<Site, SiteRules>, ConfigError> {
    let mut sites = sites::defaults();
    for (name, own) in settings {
        let key = |rest: &str| format!("sites.{name}{rest}");
        // What is no site's name may be anything, so it isn't repeated.
        let site = Site::parse(&name).map_err(|error| invalid("sites", error.what))?;
        let known = sites.get(&site);
        // A new site has no defaults for what the law of its country says.
        let new = |rest: &str| invalid(key(rest), "a site of your own needs this key: set it");
        let log = Retention {
            years: own
                .log_years
                .or(known.map(|site| site.log.years))
                .ok_or_else(|| new(".log_years"))?,
            from: own
                .log_from
                .or(known.map(|site| site.log.from))
                .ok_or_else(|| new(".log_from"))?,
            financial_year_end_month: own
                .financial_year_end_month
                .or(known.map(|site| site.log.financial_year_end_month))
                .unwrap_or(12),
            source: own
                .log_source
                .or(known.map(|site| site.log.source.clone()))
                .ok_or_else(|| new(".log_source"))?,
            zone: match &own.time_zone {
                Some(text) => sites::zone_of(text).ok_or_else(|| {
                    invalid(
                        key(".time_zone"),
                        "is no rule for a time zone: write one as \"CET-1CEST,M3.5.0,M10.5.0/3\"",
                    )
                })?,
                // Of a site of one's own UTC, unless it is said.
                None => known.map_or(jiff::tz::TimeZone::UTC, |site| site.log.zone.clone()),
            },
        };
        let release_days_max = own
            .release_days_max
            .or(known.map(|site| site.release_days_max))
            .unwrap_or(RELEASE_DAYS_DEFAULT);
        let fingerprint = own
            .fingerprint
            .unwrap_or(known.is_some_and(|site| site.fingerprint));
        let sealed_only = own
            .sealed_only
            .unwrap_or(known.is_some_and(|site| site.sealed_only));
        bounded(
            &key(".release_days_max"),
            release_days_max,
            1..=RELEASE_DAYS_MAX,
        )?;
        // PCI DSS 10.5.1: twelve months at least.
        bounded(&key(".log_years"), log.years, 1..=30)?;
        bounded(
            &key(".financial_year_end_month"),
            log.financial_year_end_month,
            1..=12,
        )?;
        if log.source.is_empty() || log.source.len() > limits::REASON_CHARS_MAX {
            return Err(invalid(
                key(".log_source"),
                "cite the rule in 1 to 200 characters",
            ));
        }
        sites.insert(
            site,
            SiteRules {
                release_days_max,
                fingerprint,
                sealed_only,
                log,
            },
        );
    }
    Ok(sites)
}

fn given<T>(value: Option<T>, key: &'static str, variable: &'static str) -> Result<T, ConfigError> {
    value.ok_or(ConfigError::Missing { key, variable })
}

fn bounded<T: PartialOrd + std::fmt::Display>(
    key: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<T, ConfigError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (least, most) = range.into_inner();
    Err(invalid(
        key,
        format!("must be {least} to {most}, not {value}"),
    ))
}

fn parse<T: std::str::FromStr>(variable: &str, value: &str) -> Result<T, ConfigError>
where
    T::Err: std::fmt::Display,
{
    value
        .parse()
        .map_err(|error: T::Err| invalid(variable, error.to_string()))
}

/// One word of an enum, spelled as in the file.
fn word<'a, T: Deserialize<'a>>(variable: &str, value: &'a str) -> Result<T, ConfigError> {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};
    let text: StrDeserializer<'a, Error> = value.into_deserializer();
    T::deserialize(text).map_err(|error| invalid(variable, without_input(&error.to_string())))
}

/// A reader's message without what it quotes of the input, which may be a secret in the wrong
/// place; what it expected instead stays.
fn without_input(message: &str) -> String {
    let (said, expected) = match message.rfind(", expected ") {
        Some(at) => message.split_at(at),
        None => (message, ""),
    };
    let mut parts = said.split(['"', '`']);
    let what = parts.next().unwrap_or_default().trim_end();
    match parts.next() {
        Some(name) if what == "unknown field" && looks_like_a_key(name) => {
            format!("{what} `{name}`{expected}")
        }
        _ => format!("{what}{expected}"),
    }
}

/// Whether a name that isn't known is one that somebody misspelt, and no secret: secrets that are
/// worth the name have more than these letters.
fn looks_like_a_key(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn invalid(key: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::Invalid {
        key: key.into(),
        problem: problem.into(),
    }
}

/// Whether `inner` is `outer` or lies in it, by name: neither needs to exist yet.
fn within(inner: &Path, outer: &Path) -> bool {
    plain(inner).starts_with(plain(outer))
}

/// Absolute, without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
data_dir = "data"
keys_dir = "/keys"
[tls]
cert = "server.pem"
key = "server.key.pem"
client_ca = ["ca.pem"]
"#;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("payvault.toml");
        std::fs::write(&file, text).unwrap();
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&file), variables, Settings::default())
    }

    fn refused(text: &str, variables: &[(&str, &str)]) -> String {
        load(text, variables).unwrap_err().to_string()
    }

    #[test]
    fn witnesses_are_near_and_each_is_there_once() {
        let key = |seed: u8| {
            let cosigner = crate::ledger::Cosigner::of_seed(&format!("w{seed}"), &[seed; 32]);
            cosigner.unwrap().verifier().to_string()
        };
        let one = |url: &str, key: &str| format!("[[witness]]\nurl = \"{url}\"\nkey = \"{key}\"\n");
        let with = |tables: &str| load(&format!("{LEAST}{tables}"), &[]);
        assert_eq!(with("").unwrap().witnesses.list, []);
        for url in [
            "http://127.0.0.1:8090",
            "http://localhost:8090/",
            "http://10.1.2.3/w",
            "http://[::1]:8090",
            "http://[fd00::1]:8090",
        ] {
            let config = with(&one(url, &key(1))).unwrap();
            assert_eq!(config.witnesses.list[0].url, url.trim_end_matches('/'));
            assert_eq!(config.witnesses.silent_ms, 600_000);
        }
        for (url, what) in [
            ("https://127.0.0.1:8090", "https is not spoken"),
            ("http://witness.example", "private network"),
            ("http://8.8.8.8", "private network"),
            ("http://[2001:db8::1]", "private network"),
            ("http://me@127.0.0.1", "nothing else"),
            ("http://127.0.0.1/?a", "nothing else"),
            ("127.0.0.1:8090", "http://"),
            ("ftp://127.0.0.1", "http://"),
        ] {
            let said = with(&one(url, &key(1))).unwrap_err().to_string();
            assert!(said.contains(what), "{url}: {said}");
        }
        let long = format!(
            "http://127.0.0.1/{}",
            "a".repeat(limits::WITNESS_URL_BYTES_MAX)
        );
        assert!(with(&one(&long, &key(1))).is_err());
        let url = "http://127.0.0.1:1";
        assert!(with(&one(url, "w1+00000000+AAAA")).is_err());
        let twice = one(url, &key(1)) + &one("http://127.0.0.1:2", &key(1));
        assert!(with(&twice).unwrap_err().to_string().contains("twice"));
        let many: String = (0..=limits::WITNESSES_MAX as u8)
            .map(|n| one(url, &key(n)))
            .collect();
        assert!(with(&many).unwrap_err().to_string().contains("at most 8"));
        for minutes in ["0", "10081"] {
            let variables = [("PAYVAULT_WITNESS_SILENT_MINUTES", minutes)];
            assert!(load(LEAST, &variables).is_err(), "{minutes}");
        }
    }

    #[test]
    fn the_least_file_gets_every_default() {
        let config = load(LEAST, &[]).unwrap();
        assert!(config.data_dir.is_absolute() && config.data_dir.ends_with("data"));
        assert_eq!(config.mark_dir, config.data_dir);
        assert_eq!(config.keys_dir, Path::new("/keys"));
        assert_eq!(config.listen.to_string(), "127.0.0.1:8443");
        assert_eq!(config.calls_per_second, limits::CALLS_PER_SECOND_DEFAULT);
        let names: Vec<_> = config.sites.keys().map(Site::as_str).collect();
        assert_eq!(names, ["dk", "nl", "se", "uk", "us"]);
        assert!(!config.reflection);
        assert_eq!(config.engine, EngineKind::Sled);
    }

    #[test]
    fn flags_go_over_variables_and_variables_over_the_file() {
        let variables = [
            ("PAYVAULT_LISTEN", "127.0.0.1:1"),
            ("PAYVAULT_LOG_LEVEL", "debug"),
            ("PAYVAULT_CACHE_MB", "64"),
            ("PAYVAULT_ENGINE", "redb"),
            ("PAYVAULT_TLS_CLIENT_CA", "/a.pem:/b.pem"),
            ("PAYVAULT_PORT", "tcp://10.0.0.1:8443"),
            ("HOME", "/root"),
        ];
        let text = format!("cache_mb = 32\nengine = \"sled\"\n{LEAST}");
        let config = load(&text, &variables).unwrap();
        assert_eq!(config.engine, EngineKind::Redb);
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.log.level, LogLevel::Debug);
        assert_eq!(config.cache_mb, 64);
        assert_eq!(config.tls.client_ca.len(), 2);

        let mut settings = Settings {
            cache_mb: Some(64),
            ..Settings::default()
        };
        settings.lay_over(Settings {
            cache_mb: Some(99),
            ..Settings::default()
        });
        settings.lay_over(Settings::default());
        assert_eq!(settings.cache_mb, Some(99));
    }

    #[test]
    fn a_key_that_does_not_exist_is_refused_by_name_and_line_without_its_value() {
        for (text, key, line) in [
            (
                format!("passphrase = \"hunter2\"\n{LEAST}"),
                "passphrase",
                1,
            ),
            (
                format!("{LEAST}passphrase = \"hunter2\"\n"),
                "passphrase",
                8,
            ),
            (format!("{LEAST}[log]\nlevle = \"hunter2\"\n"), "levle", 9),
            (
                format!("{LEAST}[sites.us]\nsealed = \"hunter2\"\n"),
                "sealed",
                9,
            ),
        ] {
            let message = refused(&text, &[]);
            assert!(message.contains(key), "{message}");
            assert!(message.contains(&format!("line {line}:")), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_missing_key_is_named_with_its_variable() {
        let message = refused(&LEAST.replace("keys_dir", "mark_dir"), &[]);
        assert!(message.contains("keys_dir") && message.contains("PAYVAULT_KEYS_DIR"));
        let message = refused(&LEAST.replace("client_ca", "crl"), &[]);
        assert!(message.contains("tls.client_ca"), "{message}");
    }

    #[test]
    fn no_value_is_repeated_and_no_key_that_could_be_one() {
        for line in [
            "cache_mb = \"Hunter2\"",
            "cache_mb = \"Hunter2, expected Hunter2\"",
            "listen = \"Hunter2\"",
            "log = { level = \"Hunter2\" }",
            "reflection = \"Hunter2\"",
            "tls = \"Hunter2\"",
            "Hunter2 = 1",
            "\"a, expected Hunter2\" = 1",
            "sites = { Hunter2 = {} }",
            "Hunter2",
            "x = Hunter2",
        ] {
            let message = refused(&format!("{line}\n{LEAST}"), &[]);
            assert!(!message.contains("Hunter2"), "{message}");
        }
        for name in [
            "LISTEN",
            "CACHE_MB",
            "REFLECTION",
            "LOG_FORMAT",
            "LOG_LEVEL",
        ] {
            let message = refused(LEAST, &[(&format!("PAYVAULT_{name}"), "Hunter2")]);
            assert!(!message.contains("Hunter2"), "{message}");
        }
        let message = refused(&format!("cache_mb = \"Hunter2\"\n{LEAST}"), &[]);
        assert!(
            message.ends_with("invalid type: string, expected u32"),
            "{message}"
        );
    }

    #[test]
    fn values_that_can_not_be_are_refused_by_key() {
        for (extra, key) in [
            ("health_listen = \"0.0.0.0:8081\"", "health_listen"),
            ("cache_mb = 1", "cache_mb"),
            ("backup_dir = \"data/backups\"", "backup_dir"),
            ("backup_dir = \".\"", "backup_dir"),
            (
                "checkpoint_sink = \"data/../data/notes\"",
                "checkpoint_sink",
            ),
            (
                "limits = { calls_per_second = 0 }",
                "limits.calls_per_second",
            ),
            (
                "sites = { us = { release_days_max = 401 } }",
                "sites.us.release_days_max",
            ),
            ("sites = { us = { log_years = 0 } }", "sites.us.log_years"),
            (
                "sites = { us = { financial_year_end_month = 13 } }",
                "sites.us.financial_year_end_month",
            ),
            ("sites = { US = {} }", "sites"),
            (
                "uk_modulus = { weights = \"w\" }",
                "uk_modulus.substitutions",
            ),
            (
                "uk_modulus = { substitutions = \"s\" }",
                "uk_modulus.weights",
            ),
            ("sites = { no = { log_years = 5 } }", "sites.no.log_from"),
        ] {
            let message = refused(&format!("{extra}\n{LEAST}"), &[]);
            assert!(message.starts_with(&format!("{key}: ")), "{message}");
        }
        for (name, value) in [
            ("PAYVAULT_LISTEN", "localhost"),
            ("PAYVAULT_REFLECTION", "yes"),
            ("PAYVAULT_LOG_FORMAT", "xml"),
            ("PAYVAULT_ENGINE", "rocksdb"),
        ] {
            let message = refused(LEAST, &[(name, value)]);
            assert!(message.starts_with(name), "{message}");
        }
    }

    #[test]
    fn keys_lie_apart_from_the_data() {
        for keys in ["data", "data/keys", ".", "x/../data/keys"] {
            let message = refused(&LEAST.replace("/keys", keys), &[]);
            assert!(message.starts_with("keys_dir: "), "{keys}: {message}");
        }
        assert!(load(&LEAST.replace("/keys", "data-keys"), &[]).is_ok());
    }

    #[test]
    fn a_site_of_ones_own_says_how_long_its_log_is_kept() {
        let text = "[sites.no]\nlog_years = 5\nlog_from = \"financial_year\"\n\
                    log_source = \"bokføringsloven § 13\"\n[sites.us]\nrelease_days_max = 30\n";
        let config = load(&format!("{LEAST}{text}"), &[]).unwrap();
        let site = |name: &str| &config.sites[&Site::parse(name).unwrap()];
        assert_eq!(site("no").log.years, 5);
        assert_eq!(site("no").release_days_max, RELEASE_DAYS_DEFAULT);
        assert_eq!(site("us").release_days_max, 30);
        assert_eq!(site("us").log.years, 7);
    }

    #[test]
    fn fingerprints_are_off_unless_a_site_turns_them_on() {
        let config = load(LEAST, &[]).unwrap();
        assert!(config.sites.values().all(|site| !site.fingerprint));
        let config = load(&format!("{LEAST}[sites.nl]\nfingerprint = true\n"), &[]).unwrap();
        let on: Vec<&str> = config
            .sites
            .iter()
            .filter(|(_, site)| site.fingerprint)
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(on, ["nl"]);
    }

    #[test]
    fn modulus_tables_are_paths_of_files() {
        assert_eq!(load(LEAST, &[]).unwrap().uk_modulus, None);
        let text = "uk_modulus = { weights = \"w\", substitutions = \"s\" }\n";
        let variables = [("PAYVAULT_UK_MODULUS_WEIGHTS", "/w")];
        let config = load(&format!("{text}{LEAST}"), &variables).unwrap();
        let files = config.uk_modulus.unwrap();
        assert_eq!(files.weights, PathBuf::from("/w"));
        assert!(files.substitutions.ends_with("s"));
    }
}
