//! What a verifier says when it refuses: which line, what is wrong, and what to do. The words name
//! indexes and buckets, never an entry's content.

use super::error::NoteFault;
use super::leaf::Facet;
use crate::limits::EXPORT_LINE_BYTES_MAX;
use std::fmt;

/// A refusal, at a line counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyError {
    /// The line that is wrong, or at which the file stops. A receipt is one line.
    pub line: u64,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VerifyError { line, fault } = self;
        write!(f, "line {line}: {fault}. {}", fault.remedy())
    }
}

impl std::error::Error for VerifyError {}

/// Why an export or a receipt is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Reading failed.
    #[error("the file could not be read: {0}")]
    Unreadable(String),
    /// The file ends where more has to come.
    #[error("the file stops here, before its end line is complete")]
    Stops,
    /// A line is longer than any that a vault writes.
    #[error("the line is longer than {EXPORT_LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// A line is not the one spelling of a known line.
    #[error("the line is not a known line in canonical JSON")]
    NotCanonical,
    /// The first line is no header.
    #[error("the file does not begin with an export's header")]
    NoHeader,
    /// A later version's header or receipt.
    #[error("the version is not 1")]
    Version,
    /// A member of the header says something impossible.
    #[error("the header is malformed: {0}")]
    Header(&'static str),
    /// The checkpoint is refused.
    #[error("the checkpoint is refused: {0}")]
    Checkpoint(NoteFault),
    /// Nobody whose key was given signed the header.
    #[error("the header's signature is not by a given key of this ledger")]
    HeaderSignature,
    /// Not the entry that has to come.
    #[error("entry {expected} has to come here")]
    NotNext {
        /// The index that has to come.
        expected: u64,
    },
    /// The end comes before the range is complete.
    #[error("the export ends here, and entry {expected} has to come")]
    EndsEarly {
        /// The index that has to come.
        expected: u64,
    },
    /// A bucket's id is none, or not the one of the entry's site and month.
    #[error("the bucket is not the one in which such an entry lies")]
    Bucket,
    /// The body is no entry.
    #[error("the body is refused: {0}")]
    Body(&'static str),
    /// The body says that it stands elsewhere.
    #[error("the body belongs to another index or epoch")]
    BodyElsewhere,
    /// A shown facet is not what the commitment is to.
    #[error("the {} shown does not open its commitment", .0.as_str())]
    Commitment(Facet),
    /// The leaf hash is not that of the line.
    #[error("the line does not hash to its leaf")]
    Leaf,
    /// An entry that matches the filter was left out.
    #[error("the entry matches the filter and came closed")]
    Withheld,
    /// An entry was left out by a part of the filter that is not set.
    #[error("the entry came closed for no reason that the filter gives")]
    ClosedWithoutReason,
    /// An entry in the midst of the time window was left out.
    #[error("entries inside the time window came closed before this one")]
    HiddenByTime,
    /// An entry that the filter leaves out is shown.
    #[error("the entry is outside of the filter and came open")]
    Disclosed,
    /// Time or month falls from one line to the next.
    #[error("the entry is older than the one before it")]
    TimeRunsBack,
    /// An erased entry without the entry that destroyed its bucket's key.
    #[error("the erasure is unattested: no entry of this export destroyed the key of {bucket}")]
    UnattestedErasure {
        /// The bucket.
        bucket: String,
    },
    /// An erased entry that is younger than the destruction of its bucket's key.
    #[error("the entry is younger than the destruction of its bucket's key, and can't be erased")]
    ErasedAfterDestruction,
    /// More buckets were erased than any ledger has.
    #[error("the export names more erased buckets than a verifier keeps in mind")]
    TooManyBuckets,
    /// The range is complete and something else than the end comes.
    #[error("the end line has to come here")]
    NoEnd,
    /// The end line miscounts.
    #[error("the end line does not count the lines before it")]
    EndCount,
    /// The whole does not hash to the signed root.
    #[error("the lines do not hash to the checkpoint's root")]
    Root,
    /// Something follows the end line.
    #[error("something follows the end line")]
    AfterEnd,
    /// A receipt's path does not lead to the signed root.
    #[error("the path does not lead to the checkpoint's root")]
    Path,
    /// A receipt is none.
    #[error("{0}")]
    Receipt(&'static str),
}

impl Fault {
    /// What whoever got the file should do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Fault::Unreadable(_) => "Check the file and the disk, and verify again.",
            Fault::Stops => "The file is incomplete: fetch it again, from the vault.",
            Fault::Version => "Use the payvault that belongs to the vault, or a newer one.",
            Fault::Checkpoint(NoteFault::NoKnownSignature) | Fault::HeaderSignature => {
                "Give the verifier key of this vault and epoch, as you got it when the vault was \
                 set up; never take one from the file."
            }
            Fault::UnattestedErasure { .. } => {
                "Ask for an export whose range reaches the entry that destroyed the key. If there \
                 is none, entries were made unreadable without a record: report it."
            }
            Fault::Body(_) => {
                "If the vault is newer than this program, use its payvault. Otherwise the file was \
                 changed: fetch it again, from the vault."
            }
            Fault::Disclosed => {
                "The file shows more than was asked for: report it, and ask for a new export."
            }
            Fault::Withheld
            | Fault::ClosedWithoutReason
            | Fault::HiddenByTime
            | Fault::TimeRunsBack
            | Fault::ErasedAfterDestruction
            | Fault::Root => {
                "Do not rely on this file. Fetch it again, from the vault; if the same comes back, \
                 keep both and report it."
            }
            _ => "The file was changed or damaged: fetch it again, from the vault.",
        }
    }
}
