//! Writes exports (`docs/format.md` §7.3): one line an entry, so memory stays flat for any size.
//!
//! What the filter leaves out comes closed: its leaf, and the facet that misses the filter. The
//! exporter decides that in one place and never shows more; the entries that destroyed a bucket's
//! key are always shown, since erased lines rest on them.

use super::bucket::Bucket;
use super::entry::Outcome;
use super::error::LedgerError;
use super::event::{DETAIL_KEY, Event};
use super::filter::{Filter, Miss};
use super::hash::{B64, Hash};
use super::leaf::{Facet, Leaf, Opened, leaf_hash};
use super::lines::{self, ClosedLine, EndLine, EntryLine, ErasedLine, HeaderLine};
use super::page::PageEntry;
use super::recorded::Recorded;
use super::tree::Boundaries;
use crate::clock::Timestamp;
use crate::ids::{PrincipalId, VaultId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use std::borrow::Cow;

/// Goes before the header in what its signature covers: no checkpoint begins so.
pub(super) const HEADER_LABEL: &[u8] = b"payvault export header v1\n";

/// The first line: what was asked, by whom and why, and what completes the range to the root.
#[derive(Clone)]
pub struct ExportHeader {
    /// The vault.
    pub vault: VaultId,
    /// The epoch of its ledger.
    pub epoch: u32,
    /// First index.
    pub from: u64,
    /// End of the range, exclusive; not above the checkpoint's size.
    pub to: u64,
    /// Which entries are shown.
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
    /// The signed note of a checkpoint that covers the range.
    pub checkpoint: String,
    /// What completes the range to that checkpoint's root
    /// ([`Tree::boundaries`](super::Tree::boundaries)).
    pub boundaries: Boundaries,
}

impl ExportHeader {
    fn line(&self, key: &SigningKey) -> String {
        let hashes = |hashes: &[Hash]| hashes.iter().copied().map(B64).collect::<Vec<_>>().into();
        let mut line = HeaderLine {
            at: self.at.to_string().into(),
            checkpoint: Cow::Borrowed(&self.checkpoint),
            epoch: self.epoch.to_string().into(),
            filter: self.filter.members(),
            from: self.from.to_string().into(),
            left: hashes(&self.boundaries.left),
            reason: Cow::Borrowed(&self.reason),
            requested_by: self.requested_by.to_string().into(),
            requested_by_name: Cow::Borrowed(&self.requested_by_name),
            right: hashes(&self.boundaries.right),
            signature: None,
            ticket: Cow::Borrowed(&self.ticket),
            to: self.to.to_string().into(),
            kind: lines::HEADER.into(),
            unproven: self.filter.unproven().into_iter().map(Cow::from).collect(),
            v: lines::VERSION,
            vault: self.vault.to_string().into(),
        };
        let signature = key.sign(&signed_bytes(&mut line));
        line.signature = Some(STANDARD.encode(signature.to_bytes()).into());
        lines::text(&line)
    }
}

/// What the header's signature covers; takes the signature out of `line`.
pub(super) fn signed_bytes(line: &mut HeaderLine<'_>) -> Vec<u8> {
    line.signature = None;
    let mut bytes = HEADER_LABEL.to_vec();
    lines::write(line, &mut bytes);
    bytes
}

/// An entry's open line, as exports and receipts have it, without its newline.
pub fn open_line(index: u64, bucket: &str, leaf: &Leaf, json: &str) -> String {
    lines::text(&entry_line(index, bucket, leaf, json))
}

fn entry_line<'a>(index: u64, bucket: &'a str, leaf: &Leaf, json: &'a str) -> EntryLine<'a> {
    EntryLine {
        body: Cow::Borrowed(json),
        bucket: Cow::Borrowed(bucket),
        index: index.to_string().into(),
        leaf: B64(leaf.hash),
        salts: leaf.salts.map(B64),
        kind: lines::ENTRY.into(),
    }
}

/// The bucket whose destruction `entry` attests: a destroyed key that sealed ledger entries.
pub(super) fn destroyed_bucket<'a>(entry: &'a Recorded<'_>) -> Option<Bucket<'a>> {
    if entry.event != Event::KeyDestroyed || entry.outcome != Outcome::Ok {
        return None;
    }
    Bucket::parse(entry.detail(DETAIL_KEY)?).ok()
}

/// An export under way. Each call appends whole lines, newline included, to `out`, which the caller
/// sends on and empties as it likes.
pub struct Exporter {
    epoch: u32,
    filter: Filter,
    next: u64,
    to: u64,
    lines: u64,
}

/// How an entry came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Whole.
    Open,
    /// Closed.
    Closed(Miss),
}

impl Exporter {
    /// Writes the header, signed with the ledger's key.
    ///
    /// # Errors
    /// [`LedgerError::OutOfRange`] when the range is none.
    pub fn begin(
        header: &ExportHeader,
        key: &SigningKey,
        out: &mut Vec<u8>,
    ) -> Result<Exporter, LedgerError> {
        if header.from > header.to {
            return Err(LedgerError::OutOfRange { size: header.to });
        }
        out.extend_from_slice(header.line(key).as_bytes());
        out.push(b'\n');
        Ok(Exporter {
            epoch: header.epoch,
            filter: header.filter.clone(),
            next: header.from,
            to: header.to,
            lines: 1,
        })
    }

    /// Index of the entry that has to come next; `None` when only the end is left.
    pub fn next(&self) -> Option<u64> {
        (self.next < self.to).then_some(self.next)
    }

    /// Writes the next entry: open when it matches the filter or attests an erasure, else closed.
    ///
    /// # Errors
    /// [`LedgerError::OutOfOrder`] when another has to come; [`LedgerError::Malformed`] and
    /// [`LedgerError::LeafMismatch`] when the opened content is not what the tree holds, which the
    /// vault has to treat as an integrity failure. Nothing is written then.
    pub fn entry(
        &mut self,
        stored: &PageEntry<'_>,
        bucket: &str,
        opened: &Opened<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Shown, LedgerError> {
        self.expect(stored.index)?;
        let entry = Recorded::parse(opened.json)?;
        let leaf = Leaf::of(
            self.epoch,
            bucket,
            entry.site,
            entry.event,
            opened.json,
            opened.seed,
        );
        let itself = entry.index == stored.index && entry.epoch == self.epoch;
        if leaf.hash != stored.leaf || !itself {
            let index = stored.index;
            return Err(LedgerError::LeafMismatch { index });
        }
        let miss = self.filter.miss(entry.site, entry.event, entry.at);
        let shown = match miss.filter(|_| destroyed_bucket(&entry).is_none()) {
            None => {
                lines::write(&entry_line(stored.index, bucket, &leaf, opened.json), out);
                Shown::Open
            }
            Some(miss) => {
                lines::write(&closed_line(stored.index, bucket, &leaf, miss, &entry), out);
                Shown::Closed(miss)
            }
        };
        self.written(out);
        Ok(shown)
    }

    /// Writes the next entry when its bucket's key was destroyed. The range has to hold the entry
    /// that destroyed it, or no verifier accepts the export.
    ///
    /// # Errors
    /// [`LedgerError::OutOfOrder`] and [`LedgerError::LeafMismatch`] as for an entry.
    pub fn erased(
        &mut self,
        stored: &PageEntry<'_>,
        bucket: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), LedgerError> {
        self.expect(stored.index)?;
        if leaf_hash(self.epoch, bucket, &stored.facets) != stored.leaf {
            let index = stored.index;
            return Err(LedgerError::LeafMismatch { index });
        }
        let line = ErasedLine {
            bucket: Cow::Borrowed(bucket),
            facets: B64(stored.facets),
            index: stored.index.to_string().into(),
            leaf: B64(stored.leaf),
            kind: lines::ERASED.into(),
        };
        lines::write(&line, out);
        self.written(out);
        Ok(())
    }

    /// Writes the end line.
    ///
    /// # Errors
    /// [`LedgerError::OutOfOrder`] when entries are still to come.
    pub fn end(self, out: &mut Vec<u8>) -> Result<(), LedgerError> {
        if let Some(expected) = self.next() {
            return Err(LedgerError::OutOfOrder { expected });
        }
        let line = EndLine {
            lines: self.lines.to_string().into(),
            kind: lines::END.into(),
        };
        lines::write(&line, out);
        out.push(b'\n');
        Ok(())
    }

    fn expect(&self, index: u64) -> Result<(), LedgerError> {
        if self.next() == Some(index) {
            Ok(())
        } else {
            let expected = self.next;
            Err(LedgerError::OutOfOrder { expected })
        }
    }

    fn written(&mut self, out: &mut Vec<u8>) {
        out.push(b'\n');
        self.next += 1;
        self.lines += 1;
    }
}

fn closed_line<'a>(
    index: u64,
    bucket: &'a str,
    leaf: &Leaf,
    miss: Miss,
    entry: &'a Recorded<'_>,
) -> ClosedLine<'a> {
    let facet = match miss {
        Miss::Site => Some((Facet::Site, entry.site.as_str())),
        Miss::Kind => Some((Facet::Kind, entry.event.as_str())),
        // Showing the time would mean showing the body.
        Miss::Time => None,
    };
    ClosedLine {
        bucket: Cow::Borrowed(bucket),
        c: leaf.commitments.map(B64),
        facet: facet.map(|(facet, _)| facet.as_str().into()),
        index: index.to_string().into(),
        leaf: B64(leaf.hash),
        salt: facet.map(|(facet, _)| B64(leaf.salts[facet.place()])),
        kind: lines::CLOSED.into(),
        value: facet.map(|(_, value)| value.into()),
    }
}
