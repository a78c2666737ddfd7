//! What a verifier says when it is content: what was checked, in words, so that nobody reads more
//! into it.

use super::checkpoint::Checkpoint;
use super::filter::Filter;
use super::hash::to_base64;
use crate::clock::Timestamp;
use crate::ids::PrincipalId;
use std::fmt;

/// An export that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// First index.
    pub from: u64,
    /// End of the range, exclusive.
    pub to: u64,
    /// Entries shown.
    pub open: u64,
    /// Entries that the filter leaves out.
    pub closed: u64,
    /// Entries whose key was destroyed.
    pub erased: u64,
    /// Of the closed ones, how many are closed by time alone: a part that no facet proves.
    pub closed_by_time: u64,
    /// What was asked for.
    pub filter: Filter,
    /// Who asked.
    pub requested_by: PrincipalId,
    /// Its name.
    pub requested_by_name: String,
    /// Why.
    pub reason: String,
    /// Ticket or case number.
    pub ticket: String,
    /// When.
    pub at: Timestamp,
    /// The signed statement that the lines lead to.
    pub checkpoint: Checkpoint,
    /// Its whole note, as the export holds it.
    pub note: String,
    /// The key that signed it, one of those that were given.
    pub key: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and reasons were signed by the vault, but came from people: nothing in them may
        // steer a terminal.
        writeln!(
            f,
            "Nothing was added, dropped or changed: entries {} up to {} of {}.",
            self.from, self.to, self.checkpoint.origin
        )?;
        writeln!(
            f,
            "{} open, {} closed by the filter, {} erased with the record of it.",
            self.open, self.closed, self.erased
        )?;
        writeln!(
            f,
            "Checkpoint: {} entries, root {}, signed by {}.",
            self.checkpoint.size,
            to_base64(&self.checkpoint.root),
            self.key
        )?;
        writeln!(
            f,
            "Asked for by {} ({}) at {}: {}; ticket {}.",
            self.requested_by_name.escape_debug(),
            self.requested_by,
            self.at,
            self.reason.escape_debug(),
            self.ticket.escape_debug()
        )?;
        if self.closed_by_time > 0 {
            writeln!(
                f,
                "{} entries are closed by time alone: that they lie outside of the window is the \
                 vault's word, but none lies between two entries that are shown inside of it.",
                self.closed_by_time
            )?;
        }
        Ok(())
    }
}

/// A receipt that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptReport {
    /// The entry's index.
    pub index: u64,
    /// The entry's canonical JSON; [`Recorded::parse`](super::Recorded::parse) reads it.
    pub body: String,
    /// The signed statement that the path leads to.
    pub checkpoint: Checkpoint,
    /// The key that signed it, one of those that were given.
    pub key: String,
}

impl fmt::Display for ReceiptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Entry {} is in the ledger {} of {} entries, root {}, signed by {}.",
            self.index,
            self.checkpoint.origin,
            self.checkpoint.size,
            to_base64(&self.checkpoint.root),
            self.key
        )
    }
}
