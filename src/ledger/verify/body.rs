//! The lines between header and end: each one proven, held to the filter, and put into the tree.

use super::header::Header;
use super::seen::{Seen, SeenAs};
use super::{check_open, line_type};
use crate::ledger::bucket::{Bucket, site_from_text};
use crate::ledger::event::Event;
use crate::ledger::export::destroyed_bucket;
use crate::ledger::fault::{Fault, VerifyError};
use crate::ledger::hash::Hash;
use crate::ledger::leaf::{Facet, commitment, facets_digest, leaf_hash};
use crate::ledger::lines::{self, ClosedLine, EntryLine, ErasedLine};
use crate::ledger::recorded::decimal;
use crate::ledger::report::Report;
use crate::ledger::tree::Frontier;
use crate::ledger::window::Window;
use crate::limits::EXPORT_BUCKETS_MAX;
use std::collections::HashMap;

/// The lines between header and end.
pub(super) struct Body<'a> {
    header: &'a Header,
    /// The tree up to here.
    pub frontier: Frontier,
    window: Window<'a>,
    report: Report,
    buckets: HashMap<String, Erasure>,
}

/// What is known of a bucket that has erased lines, or whose key was destroyed.
enum Erasure {
    /// Not attested so far; its first erased line.
    Claimed(u64),
    /// An entry of the range destroyed its key.
    Attested,
}

impl<'a> Body<'a> {
    pub fn new(header: &'a Header) -> Result<Body<'a>, Fault> {
        let frontier = Frontier::from_peaks(header.from, header.left.clone())
            .map_err(|_| Fault::Header("left does not complete the range"))?;
        Ok(Body {
            header,
            frontier,
            window: Window::new(&header.filter),
            report: header.report.clone(),
            buckets: HashMap::new(),
        })
    }

    pub fn line(
        &mut self,
        text: &str,
        number: u64,
        see: &mut impl FnMut(&Seen<'_>),
    ) -> Result<(), Fault> {
        let leaf = match line_type(text).as_deref() {
            Some(lines::ENTRY) => self.open(text, see)?,
            Some(lines::CLOSED) => self.closed(text, see)?,
            Some(lines::ERASED) => self.erased(text, number, see)?,
            Some(lines::END) => {
                let expected = self.frontier.size();
                return Err(Fault::EndsEarly { expected });
            }
            Some(lines::HEADER) => {
                let expected = self.frontier.size();
                return Err(Fault::NotNext { expected });
            }
            _ => return Err(Fault::NotCanonical),
        };
        self.frontier.push(leaf);
        Ok(())
    }

    fn expect(&self, index: &str) -> Result<u64, Fault> {
        let expected = self.frontier.size();
        match decimal(index) {
            Some(index) if index == expected => Ok(index),
            _ => Err(Fault::NotNext { expected }),
        }
    }

    fn open(&mut self, text: &str, see: &mut impl FnMut(&Seen<'_>)) -> Result<Hash, Fault> {
        let line: EntryLine<'_> = lines::read(text).ok_or(Fault::NotCanonical)?;
        let index = self.expect(&line.index)?;
        let (entry, bucket) = check_open(&line, index, self.header.epoch)?;
        self.window.month(bucket.month)?;
        self.window.time(entry.at)?;
        let filter = &self.header.filter;
        let destroyed = destroyed_bucket(&entry);
        match filter.miss(entry.site, entry.event, entry.at) {
            None => self.window.shown()?,
            // Erased lines rest on it, so it is shown whatever the filter.
            Some(_) if destroyed.is_some() => {}
            Some(_) => return Err(Fault::Disclosed),
        }
        if let Some(bucket) = destroyed {
            self.remember(bucket.text, Erasure::Attested)?;
        }
        self.report.open += 1;
        let (leaf, bucket) = (line.leaf.0, &*line.bucket);
        see(&Seen::new(index, leaf, bucket, SeenAs::Open(&entry)));
        Ok(leaf)
    }

    fn closed(&mut self, text: &str, see: &mut impl FnMut(&Seen<'_>)) -> Result<Hash, Fault> {
        let line: ClosedLine<'_> = lines::read(text).ok_or(Fault::NotCanonical)?;
        let index = self.expect(&line.index)?;
        let bucket = Bucket::parse(&line.bucket).map_err(|_| Fault::Bucket)?;
        let commitments = line.c.map(|commitment| commitment.0);
        let digest = facets_digest(&commitments);
        if leaf_hash(self.header.epoch, &line.bucket, &digest) != line.leaf.0 {
            return Err(Fault::Leaf);
        }
        self.window.month(bucket.month)?;
        let filter = &self.header.filter;
        match (line.facet.as_deref(), &line.salt, line.value.as_deref()) {
            (None, None, None) => {
                self.window.closed(bucket.month)?;
                self.report.closed_by_time += 1;
            }
            (Some(name), Some(salt), Some(value)) => {
                let facet = [Facet::Site, Facet::Kind]
                    .into_iter()
                    .find(|facet| facet.as_str() == name)
                    .ok_or(Fault::NotCanonical)?;
                if commitment(facet, &salt.0, value.as_bytes()) != commitments[facet.place()] {
                    return Err(Fault::Commitment(facet));
                }
                if facet == Facet::Site && value != bucket.site.as_str() {
                    return Err(Fault::Bucket);
                }
                let matches = match facet {
                    Facet::Site => filter.has_site(site_from_text(value).ok_or(Fault::Bucket)?),
                    // An event unknown to this version is in no filter that it could read.
                    _ => {
                        Event::parse(value).map_or(filter.kinds.is_empty(), |e| filter.has_kind(e))
                    }
                };
                if matches {
                    return Err(Fault::Withheld);
                }
            }
            _ => return Err(Fault::NotCanonical),
        }
        self.report.closed += 1;
        let (leaf, bucket) = (line.leaf.0, &*line.bucket);
        see(&Seen::new(index, leaf, bucket, SeenAs::Closed));
        Ok(leaf)
    }

    fn erased(
        &mut self,
        text: &str,
        number: u64,
        see: &mut impl FnMut(&Seen<'_>),
    ) -> Result<Hash, Fault> {
        let line: ErasedLine<'_> = lines::read(text).ok_or(Fault::NotCanonical)?;
        let index = self.expect(&line.index)?;
        let bucket = Bucket::parse(&line.bucket).map_err(|_| Fault::Bucket)?;
        if leaf_hash(self.header.epoch, &line.bucket, &line.facets.0) != line.leaf.0 {
            return Err(Fault::Leaf);
        }
        self.window.month(bucket.month)?;
        match self.buckets.get(bucket.text) {
            Some(Erasure::Attested) => return Err(Fault::ErasedAfterDestruction),
            Some(Erasure::Claimed(_)) => {}
            None => self.remember(bucket.text, Erasure::Claimed(number))?,
        }
        self.report.erased += 1;
        let (leaf, bucket) = (line.leaf.0, &*line.bucket);
        see(&Seen::new(index, leaf, bucket, SeenAs::Erased));
        Ok(leaf)
    }

    fn remember(&mut self, bucket: &str, erasure: Erasure) -> Result<(), Fault> {
        if self.buckets.len() >= EXPORT_BUCKETS_MAX && !self.buckets.contains_key(bucket) {
            return Err(Fault::TooManyBuckets);
        }
        self.buckets.insert(bucket.to_owned(), erasure);
        Ok(())
    }

    /// Every bucket with erased lines was attested; else the first such line is named.
    pub fn check_erasures(&self) -> Result<(), VerifyError> {
        let unattested = self
            .buckets
            .iter()
            .filter_map(|(bucket, erasure)| match erasure {
                Erasure::Claimed(line) => Some((*line, bucket)),
                Erasure::Attested => None,
            })
            .min();
        match unattested {
            None => Ok(()),
            Some((line, bucket)) => Err(VerifyError {
                line,
                fault: Fault::UnattestedErasure {
                    bucket: bucket.clone(),
                },
            }),
        }
    }

    pub fn report(self) -> Report {
        self.report
    }
}
