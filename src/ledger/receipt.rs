//! Receipts (`docs/format.md` §7.4): the caller's own entry, opened, with the proof that the ledger
//! holds it. `verify.rs` checks them.

use super::hash::{B64, Hash};
use super::lines::{self, ReceiptLine};
use crate::codec::Malformed;
use crate::limits::RECEIPT_BYTES_MAX;
use std::borrow::Cow;

/// Longest inclusion path: a tree of 2^64 leaves.
const PATH_HASHES_MAX: usize = 64;

/// A receipt whose claims were not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's open line ([`open_line`](super::open_line)).
    pub entry: String,
    /// Its inclusion path in the checkpoint's tree.
    pub path: Vec<Hash>,
    /// The checkpoint's signed note.
    pub checkpoint: String,
}

impl Receipt {
    /// The receipt as canonical JSON.
    pub fn to_json(&self) -> String {
        lines::text(&ReceiptLine {
            checkpoint: Cow::Borrowed(&self.checkpoint),
            entry: Cow::Borrowed(&self.entry),
            path: self.path.iter().copied().map(B64).collect(),
            kind: lines::RECEIPT.into(),
            v: lines::VERSION,
        })
    }

    /// Reads [`Receipt::to_json`]'s text.
    ///
    /// # Errors
    /// When it is longer than [`RECEIPT_BYTES_MAX`], or not exactly a receipt in canonical JSON.
    pub fn parse(json: &str) -> Result<Receipt, Malformed> {
        if json.len() > RECEIPT_BYTES_MAX {
            return Err(Malformed::new("receipt is too long"));
        }
        let line: ReceiptLine<'_> =
            lines::read(json).ok_or(Malformed::new("not a receipt in canonical JSON"))?;
        if line.kind != lines::RECEIPT || line.v != lines::VERSION {
            return Err(Malformed::new("not a receipt of a known version"));
        }
        if line.path.len() > PATH_HASHES_MAX {
            return Err(Malformed::new("receipt's path is too long"));
        }
        Ok(Receipt {
            entry: line.entry.into_owned(),
            path: line.path.iter().map(|hash| hash.0).collect(),
            checkpoint: line.checkpoint.into_owned(),
        })
    }
}
