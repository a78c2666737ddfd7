//! The log (not the ledger): lines on stderr, for people or for programs.

use crate::api::config::{Log, LogFormat, LogLevel};
use std::io;
use tracing_subscriber::EnvFilter;

/// Starts it. A second start changes nothing.
///
/// The engine and the transport say more than helps below warnings, and at their most verbose
/// level they could show what passes through them: they never log below `warn`.
pub fn start(log: Log) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(log.level))
        .with_writer(io::stderr)
        .with_ansi(false);
    // It fails when a log is there already: then that one stays.
    let _ = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// What is let through at a level: the vault's own lines, and of the libraries warnings at most.
/// Everything else is off.
fn filter(level: LogLevel) -> EnvFilter {
    let level = level.as_str();
    EnvFilter::new(format!("off,payvault={level},{}", quiet(level)))
}

/// Directives for the libraries beneath. A directive holds for every target that begins with it.
fn quiet(level: &str) -> String {
    let level = if level == "error" { "error" } else { "warn" };
    ["tonic", "h2", "hyper", "rustls", "sled", "tower"]
        .map(|library| format!("{library}={level}"))
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// What comes out when every library says something at every level.
    fn logged(level: LogLevel) -> String {
        let lines = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(level))
            .with_writer(Arc::new(lines.reopen().unwrap()))
            .with_ansi(false)
            .finish();
        macro_rules! say {
            ($($target:literal)*) => {$(
                tracing::trace!(target: $target, "row bytes");
                tracing::debug!(target: $target, "row bytes");
                tracing::info!(target: $target, "row bytes");
                tracing::warn!(target: $target, "it complains");
                let span = tracing::trace_span!(target: $target, "span", sent = "row bytes");
                span.in_scope(|| tracing::warn!(target: $target, "it complains"));
            )*};
        }
        tracing::subscriber::with_default(subscriber, || {
            say!("sled" "sled::pagecache" "h2" "h2::codec::framed_read" "hyper" "hyper_util::client"
                 "rustls" "rustls::server::hs" "tower" "tower_http::trace" "tonic"
                 "tonic::transport" "some_other_library");
            tracing::trace!(target: "payvault::vault", "the vault's own");
        });
        std::fs::read_to_string(lines.path()).unwrap()
    }

    #[test]
    fn at_the_loudest_level_libraries_only_warn() {
        let lines = logged(LogLevel::Trace);
        assert!(!lines.contains("row bytes"), "{lines}");
        for library in ["sled", "h2", "hyper", "rustls", "tower", "tonic"] {
            assert!(lines.contains(&format!("WARN {library}: it complains")));
        }
        assert!(!lines.contains("some_other_library"));
        assert!(lines.contains("the vault's own"));
        assert!(logged(LogLevel::Error).is_empty());
    }

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
