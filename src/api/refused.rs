//! What the vault answered instead of doing what it was asked, as its caller reads it: off the status
//! and its details. `status.rs` is where it was written.

use std::fmt;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A refusal. The vault's messages never repeat a value, so this may be shown and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The gRPC code.
    pub code: Code,
    /// The stable reason (`docs/errors.md`); empty when the answer isn't the vault's own.
    pub reason: String,
    /// The vault's words.
    pub message: String,
    /// Fields that were wrong, and what was wrong with each.
    pub violations: Vec<(String, String)>,
    /// How long to wait before another try.
    pub retry_after: Option<Duration>,
    /// Whether it isn't known what became of the call: this answer doesn't say, or one before it
    /// didn't. Sending the very same again is how to find out.
    pub unknown: bool,
}

impl std::error::Error for Refused {}

impl From<&Status> for Refused {
    fn from(status: &Status) -> Refused {
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .map(|info| info.reason.clone())
            .unwrap_or_default();
        Refused {
            code: status.code(),
            unknown: leaves_unknown(status.code(), &reason),
            reason,
            message: status.message().to_owned(),
            violations: details
                .bad_request()
                .map(|bad| {
                    bad.field_violations
                        .iter()
                        .map(|v| (v.field.clone(), v.description.clone()))
                        .collect()
                })
                .unwrap_or_default(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}

impl Refused {
    /// Nobody answered in time.
    pub(super) fn unanswered() -> Refused {
        Refused {
            code: Code::DeadlineExceeded,
            reason: String::new(),
            message: "no answer in time".to_owned(),
            violations: Vec::new(),
            retry_after: None,
            unknown: true,
        }
    }

    /// The same answer to a later try, when one before it left unknown what became of the call. A
    /// refusal doesn't tell then: the earlier try may have been done, and its answer lost.
    pub(super) fn after(mut self, unknown: bool) -> Refused {
        self.unknown |= unknown;
        self
    }

    /// Whether it isn't known what became of the call: of some try there is no answer of the vault's
    /// own, or one that says that time ran out or that a write failed. Sending the very same again is
    /// how to find out.
    pub fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// Whether the very same, sent again soon, may be answered otherwise: the outcome is unknown, or
    /// the vault couldn't just then and says how long to wait. What it judged and refused never is.
    pub fn may_be_sent_again(&self) -> bool {
        match self.code {
            // A sealed vault stays sealed until somebody comes.
            Code::Unavailable => self.reason != "SEALED",
            Code::ResourceExhausted => self.retry_after.is_some(),
            _ => leaves_unknown(self.code, &self.reason),
        }
    }

    /// Whether the same may be well a while later, with nobody having done anything: no answer of
    /// the vault's own, a vault that stops or is sealed, or a bound on what is under way at once.
    pub fn passes(&self) -> bool {
        match self.code {
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => true,
            _ => leaves_unknown(self.code, &self.reason),
        }
    }
}

/// Whether an answer by itself doesn't tell if the call was done.
fn leaves_unknown(code: Code, reason: &str) -> bool {
    match code {
        Code::DeadlineExceeded => true,
        // A write that failed may have reached the disk all the same.
        Code::Unavailable if reason == "LEDGER_UNAVAILABLE" => true,
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled => reason.is_empty(),
        _ => false,
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.reason.is_empty() {
            code_name(self.code)
        } else {
            &self.reason
        };
        write!(f, "refused: {name}: {}", self.message)?;
        for (field, problem) in &self.violations {
            write!(f, "\n  {field}: {problem}")?;
        }
        if let Some(delay) = self.retry_after {
            write!(f, "\n  try again after {} ms", delay.as_millis())?;
        }
        if self.unknown {
            write!(f, "\n  it isn't known whether it was done")?;
        }
        Ok(())
    }
}

/// The code's name as gRPC spells it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
