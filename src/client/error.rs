//! Why a call of the client did not do what it was asked.

use crate::api::client::ConnectError;
use crate::api::refused::Refused;
use crate::api::tls::TlsError;
use crate::vault::DocumentError;
use std::time::Duration;

/// Why not. No variant repeats a card number, a token or any other value that was sent.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Certificate, key or CA are unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address is none, or nobody answers there whom the CA vouches for.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A request id has fewer than 16 bytes or more than 32.
    #[error("a request id has 16 to 32 bytes")]
    RequestId,
    /// The vault refused. Sending the same again changes nothing, unless
    /// [`retry_after`](ClientError::retry_after) says so.
    #[error(transparent)]
    Refused(Refused),
    /// It isn't known whether it was done: a try had no answer, or one that doesn't tell, and none
    /// after it succeeded. That holds even when the last one was refused, and
    /// [`reason`](ClientError::reason) says why. Send the same again with the same request id, soon
    /// or in an hour: what was done isn't done again.
    #[error("it isn't known whether it was done: {}", .0.message)]
    Unanswered(Refused),
    /// Collect documents can't be verified: the configuration doesn't say whose they should be.
    #[error("the vault's identity key is not configured")]
    NoIdentity,
    /// The collect document isn't the vault's or not of today, or nothing was sealed with it.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The vault's answer isn't what its contract says. Client and vault may differ in version.
    #[error("the answer can't be used: {0}")]
    Answer(&'static str),
}

impl ClientError {
    /// The stable reason of a refusal, such as `NOT_TIED` (`docs/errors.md` has them all): what a
    /// program decides by. `None` when it wasn't the vault that refused.
    pub fn reason(&self) -> Option<&str> {
        match self {
            ClientError::Refused(refused) | ClientError::Unanswered(refused) => {
                Some(refused.reason.as_str()).filter(|reason| !reason.is_empty())
            }
            _ => None,
        }
    }

    /// Whether the vault just could not be asked.
    pub(super) fn passes(&self) -> bool {
        match self {
            ClientError::Refused(refused) | ClientError::Unanswered(refused) => refused.passes(),
            _ => false,
        }
    }

    /// How long the vault asks to wait before the same is sent again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ClientError::Refused(refused) | ClientError::Unanswered(refused) => refused.retry_after,
            _ => None,
        }
    }
}

impl From<Refused> for ClientError {
    fn from(refused: Refused) -> ClientError {
        if refused.is_unknown() {
            ClientError::Unanswered(refused)
        } else {
            ClientError::Refused(refused)
        }
    }
}
