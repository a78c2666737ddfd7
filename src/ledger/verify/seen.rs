//! What a verifier sees on its way through an export.

use crate::ledger::hash::Hash;
use crate::ledger::recorded::Recorded;

/// One entry's line, which holds by itself. Whether the whole does is known at the end only.
pub struct Seen<'a> {
    /// Index in the ledger.
    pub index: u64,
    /// Its leaf hash, which the line hashes to.
    pub leaf: Hash,
    /// The id of the bucket in which it lies.
    pub bucket: &'a str,
    /// What the line shows of it.
    pub shown: SeenAs<'a>,
}

/// What a line shows of its entry.
pub enum SeenAs<'a> {
    /// All of it.
    Open(&'a Recorded<'a>),
    /// That it misses the filter.
    Closed,
    /// That its bucket's key was destroyed.
    Erased,
}

impl<'a> Seen<'a> {
    pub(super) fn new(index: u64, leaf: Hash, bucket: &'a str, shown: SeenAs<'a>) -> Seen<'a> {
        Seen {
            index,
            leaf,
            bucket,
            shown,
        }
    }
}
