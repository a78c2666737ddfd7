//! The configuration file, and variables.

use super::meter::bounded;
use super::text::{planted, silent_error, text};
use payvault::api::config::{Config, ConfigError, Settings};
use payvault::limits;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

static LOCK: Mutex<()> = Mutex::new(());

static DIRECTORY: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a directory"));

/// First byte: a file, or variables, one `NAME=value` a line.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let Some(given) = text(rest) else { return };
    let read = match kind % 2 {
        0 => file,
        _ => variables,
    };
    bounded(data.len() + 64, || read(given));
    bounded(data.len() + 64, || read(&planted(given)));
}

fn file(content: &str) {
    let path = DIRECTORY.path().join("payvault.toml");
    // One file for all of a process.
    let _own = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    std::fs::write(&path, content).expect("written");
    judged(Config::load(Some(&path), [], Settings::default()));
}

fn variables(lines: &str) {
    let variables: Vec<(String, String)> = lines
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    judged(Config::load(None, variables, Settings::default()));
}

fn judged(read: Result<Config, ConfigError>) {
    let config = match read {
        Ok(config) => config,
        Err(error) => return silent_error(&error),
    };
    let apart = |one: &PathBuf, other: &PathBuf| !one.starts_with(other);
    assert!(apart(&config.keys_dir, &config.data_dir) && apart(&config.data_dir, &config.keys_dir));
    assert!(!config.tls.client_ca.is_empty());
    assert!((1..=1_000_000).contains(&config.calls_per_second));
    assert!(config.health_listen.is_none_or(|at| at.ip().is_loopback()));
    for rules in config.sites.values() {
        assert!((1..=12).contains(&rules.log.financial_year_end_month));
        assert!((1..=30).contains(&rules.log.years));
        assert!((1..=limits::REASON_CHARS_MAX).contains(&rules.log.source.len()));
    }
}
