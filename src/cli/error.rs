//! The floor's one error, and the exit codes of `docs/operations.md`.

use super::refused::Refused;
use crate::api::client::ConnectError;
use crate::api::config::ConfigError;
use crate::api::server::ServeError;
use crate::api::tls::TlsError;
use crate::api::uk_modulus::ModulusFilesError;
use crate::keys::{BadTry, KeyError, PinTries};
use crate::store::copy::CopyError;
use crate::vault::backup::BackupError;
use crate::vault::{Checked, GateError, OpenError, ResealError};
use std::path::PathBuf;

/// Why a command did not do what it was asked. No variant carries a card number, a token, a secret
/// or a passphrase.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Flags or arguments that don't fit together, or input that can't be read.
    #[error("{0}")]
    Usage(String),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificates, keys, CAs.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The modulus tables for British accounts.
    #[error("uk_modulus: {0}")]
    Tables(#[from] ModulusFilesError),
    /// A file can't be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// The terminal, or what stdout leads to.
    #[error("can't write the result or read the answer: {0}")]
    Terminal(#[from] std::io::Error),
    /// No connection to the vault.
    #[error("{}; is it running, and is this the right address?", with_causes(.0))]
    Connect(#[from] ConnectError),
    /// What the vault answered instead.
    #[error("{}", .0.in_words())]
    Refused(Refused),
    /// Alive, or ready, it is not.
    #[error("not healthy: {0}")]
    Unhealthy(&'static str),
    /// Wrong passphrase.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// A PIN that the security module refuses.
    #[error("{0}")]
    Pin(KeyError),
    /// A share that isn't one, isn't of this seal, or isn't enough.
    #[error("{0}")]
    Share(KeyError),
    /// The seal was not changed, or it isn't known whether it was.
    #[error("{0}")]
    Reseal(ResealError),
    /// A vault can't be made.
    #[error("can't make the vault: {0}")]
    Make(OpenError),
    /// The vault refuses to start.
    #[error(
        "the vault refuses to start: {0}\nDon't delete anything; docs/operations.md says what to do."
    )]
    Start(OpenError),
    /// A database was not copied.
    #[error("nothing was copied: {0}")]
    Copy(CopyError),
    /// An offline check found something.
    #[error(
        "the vault isn't sound: {} found\nDon't delete anything; docs/operations.md says what to do.",
        .0.findings_count
    )]
    Findings(Box<Checked>),
    /// A backup was not taken, not read, or not restored.
    #[error("{0}")]
    Backup(BackupError),
    /// The server stopped by itself.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A file isn't what was signed.
    #[error("{}", describe_verification(*line, problem))]
    Verification {
        /// The first line that is wrong, from 1, when it is a line.
        line: Option<u64>,
        /// What is wrong with it.
        problem: String,
    },
    /// The demonstration saw something else than was promised.
    #[error("the demonstration failed: {0}")]
    Deviation(String),
    /// Anything else that ended the command.
    #[error("{0}")]
    Failed(String),
}

/// An error and what caused it: transport errors say nothing by themselves.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

fn describe_verification(line: Option<u64>, problem: &str) -> String {
    match line {
        Some(line) => format!("verification failed at line {line}: {problem}"),
        None => format!("verification failed: {problem}"),
    }
}

impl CliError {
    /// The code that the process ends with (`docs/operations.md`).
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Usage(_) | CliError::Config(_) | CliError::Tls(_) | CliError::Tables(_) => 2,
            CliError::Connect(ConnectError::Address(_) | ConnectError::ServerName(_)) => 2,
            CliError::Refused(refused) => refused.exit_code(),
            CliError::WrongPassphrase | CliError::Pin(_) | CliError::Share(_) => 4,
            CliError::Connect(ConnectError::Transport(_)) | CliError::Unhealthy(_) => 5,
            CliError::Verification { .. } => 6,
            CliError::Start(_) | CliError::Findings(_) => 7,
            CliError::Copy(
                CopyError::NoSource(_)
                | CopyError::Empty(_)
                | CopyError::Source(_)
                | CopyError::Row(_)
                | CopyError::Differs,
            ) => 7,
            CliError::Backup(error) => backup_exit_code(error),
            CliError::File { .. }
            | CliError::Terminal(_)
            | CliError::Make(_)
            | CliError::Copy(_)
            | CliError::Serve(_)
            | CliError::Reseal(_)
            | CliError::Deviation(_)
            | CliError::Failed(_) => 1,
        }
    }

    /// What a program reads from stdout under `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        let mut error = serde_json::json!({
            "exit_code": self.exit_code(),
            "message": self.to_string(),
        });
        match self {
            CliError::Refused(refused) => error["refused"] = refused.to_json(),
            CliError::Findings(checked) => {
                let mut document = super::check::document(checked);
                document["error"] = error;
                return document;
            }
            CliError::Backup(BackupError::Loss { epoch, known, lost }) => {
                error["loss"] = serde_json::json!({"epoch": epoch, "known": known, "lost": lost});
            }
            CliError::Backup(BackupError::LossUnknown { begun_at, .. }) => {
                error["loss"] = serde_json::json!({
                    "lost": "unknown", "begun_at": begun_at.to_string(),
                });
            }
            CliError::Backup(BackupError::NotSound {
                count, findings, ..
            }) => {
                error["findings_count"] = serde_json::json!(count);
                error["findings"] = serde_json::json!(findings);
            }
            CliError::Verification { line, problem } => {
                return serde_json::json!({
                    "verified": false, "line": line, "problem": problem, "error": error,
                });
            }
            _ => {}
        }
        serde_json::json!({ "error": error })
    }

    /// A file that can't be read or written.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> CliError {
        let path = path.into();
        move |cause| CliError::File { path, cause }
    }
}

/// 6 when the file isn't what was written, 7 when what is around it doesn't fit or is not sound.
fn backup_exit_code(error: &BackupError) -> u8 {
    match error {
        BackupError::NotAsWritten { .. }
        | BackupError::NotABackup(_)
        | BackupError::OtherVault { .. }
        | BackupError::Sealed(_)
        | BackupError::Incomplete { .. }
        | BackupError::Damaged { .. }
        | BackupError::NotTheState(_)
        | BackupError::Load(_) => 6,
        BackupError::KeyringOlder { .. }
        | BackupError::NotSound { .. }
        | BackupError::MarkForeign
        | BackupError::Loss { .. }
        | BackupError::LossUnknown { .. }
        | BackupError::Rewritten { .. }
        | BackupError::Key(_)
        | BackupError::Mark(_)
        | BackupError::Open(_) => 7,
        BackupError::NotEmpty(_) | BackupError::NoBackup(_) => 2,
        BackupError::Io { .. }
        | BackupError::NoSpace(_)
        | BackupError::TooManyFiles(_)
        | BackupError::Deaf(_)
        | BackupError::Refused(_)
        | BackupError::Store(_)
        | BackupError::Commit(_) => 1,
    }
}

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> CliError {
        CliError::Backup(error)
    }
}

impl From<GateError> for CliError {
    fn from(error: GateError) -> CliError {
        match error {
            GateError::Open(error) => CliError::Start(error),
            GateError::Refused(BadTry::WrongPassphrase) => CliError::WrongPassphrase,
            GateError::Refused(BadTry::WrongPin) => {
                CliError::Pin(KeyError::WrongPin(PinTries::Unknown))
            }
            GateError::Refused(BadTry::PinLocked) => CliError::Pin(KeyError::PinLocked),
            GateError::Refused(_) | GateError::OtherKind(_) | GateError::Locked => {
                CliError::Failed(error.to_string())
            }
        }
    }
}

impl From<Refused> for CliError {
    fn from(refused: Refused) -> CliError {
        CliError::Refused(refused)
    }
}

impl From<tonic::Status> for CliError {
    fn from(status: tonic::Status) -> CliError {
        Refused::from(&status).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn each_way_to_fail_has_the_documented_code() {
        let transport = |code| CliError::from(tonic::Status::new(code, "no"));
        for (error, code) in [
            (CliError::Failed("x".into()), 1),
            (CliError::Deviation("x".into()), 1),
            (CliError::Usage("x".into()), 2),
            (transport(tonic::Code::FailedPrecondition), 3),
            (transport(tonic::Code::NotFound), 3),
            (transport(tonic::Code::Unauthenticated), 4),
            (CliError::WrongPassphrase, 4),
            (CliError::Share(KeyError::ShareForeign), 4),
            (transport(tonic::Code::Unavailable), 5),
            (CliError::Unhealthy("sealed"), 5),
            (
                CliError::Verification {
                    line: Some(7),
                    problem: "x".into(),
                },
                6,
            ),
            (CliError::Copy(CopyError::Exists("x".into())), 1),
            (CliError::Copy(CopyError::Source(StoreError::Locked)), 7),
            (CliError::Copy(CopyError::Differs), 7),
            (CliError::Start(OpenError::MarkAbsent { size: 1 }), 7),
            (BackupError::Incomplete { chunk: 3 }.into(), 6),
            (BackupError::MarkForeign.into(), 7),
            (BackupError::NotEmpty("x".into()).into(), 2),
            (BackupError::NoSpace("x".into()).into(), 1),
        ] {
            assert_eq!(error.exit_code(), code, "{error}");
        }
    }

    #[test]
    fn a_failed_verification_names_its_line_to_people_and_programs() {
        let error = CliError::Verification {
            line: Some(7),
            problem: "the leaf hash differs".into(),
        };
        assert!(error.to_string().contains("line 7"));
        let json = error.to_json();
        assert_eq!(json["verified"], false);
        assert_eq!(json["line"], 7);
        assert_eq!(json["error"]["exit_code"], 6);
    }
}
