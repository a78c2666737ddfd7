//! What can go wrong with a run.

use payvault::cli::CliError;
use std::path::Path;
use tonic::Status;

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The command line asks for what can't be.
    #[error("{0}")]
    Usage(String),
    /// A server did not start, or ended by itself.
    #[error("{0}")]
    Server(String),
    /// No connection, or no TLS.
    #[error("can't connect: {0}")]
    Connect(String),
    /// A call that the run can't do without was refused.
    #[error("{what}: {code:?}: {message}", code = status.code(), message = status.message())]
    Refused {
        /// Which call.
        what: &'static str,
        /// What the server said.
        status: Box<Status>,
    },
    /// The operating system refused something.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: String,
        /// What it says.
        cause: std::io::Error,
    },
    /// What payvault's own client says.
    #[error(transparent)]
    Client(#[from] CliError),
    /// Calls were answered with errors, which the report counts.
    #[error("{0} calls were not answered with success; --allow-errors permits that")]
    Errors(u64),
    /// Stopped by Ctrl-C.
    #[error("stopped")]
    Stopped,
}

/// How a run ends of which `failed` calls were not answered with success.
///
/// # Errors
/// When there were some, and they aren't allowed.
pub fn end(failed: u64, allowed: bool) -> Result<(), LoadError> {
    if failed == 0 || allowed {
        return Ok(());
    }
    Err(LoadError::Errors(failed))
}

impl LoadError {
    /// For `map_err` on what the operating system does with a file.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> LoadError {
        let what = path.display().to_string();
        move |cause| LoadError::System { what, cause }
    }

    /// For `map_err` on anything else that the operating system does.
    pub fn system(what: &str) -> impl FnOnce(std::io::Error) -> LoadError {
        let what = what.to_owned();
        move |cause| LoadError::System { what, cause }
    }

    /// For `map_err` on a call.
    pub fn refused(what: &'static str) -> impl FnOnce(Status) -> LoadError {
        move |status| LoadError::Refused {
            what,
            status: Box::new(status),
        }
    }
}
