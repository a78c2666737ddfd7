//! The log (not the ledger): lines on stderr, for people or for programs.

use crate::api::config::{Log, LogFormat};
use std::io;
use tracing_subscriber::EnvFilter;

/// Starts it. A second start changes nothing.
///
/// The engine and the transport say more than helps below warnings, and at their most verbose
/// level they could show what passes through them: they never log below `warn`.
pub fn start(log: Log) {
    let level = log.level.as_str();
    let filter = EnvFilter::new(format!("off,payvault={level},{}", quiet(level)));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false);
    // It fails when a log is there already: then that one stays.
    let _ = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Directives for the libraries beneath.
fn quiet(level: &str) -> String {
    let level = if level == "error" { "error" } else { "warn" };
    ["tonic", "h2", "hyper", "rustls", "sled", "tower"]
        .map(|library| format!("{library}={level}"))
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_never_log_below_warnings() {
        for level in ["warn", "info", "trace"] {
            assert!(quiet(level).split(',').all(|d| d.ends_with("=warn")));
        }
        assert!(quiet("error").split(',').all(|d| d.ends_with("=error")));
        assert!(
            EnvFilter::builder()
                .parse(format!("off,{}", quiet("info")))
                .is_ok()
        );
    }
}
