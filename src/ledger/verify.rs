//! Checks exports and receipts offline, with keys that the auditor brings. Nothing in a file is
//! believed before it is proven, and no key is taken from it. Memory stays flat for any size.

use super::bucket::{Bucket, site_from_text};
use super::checkpoint::{Checkpoint, origin_parts};
use super::entry::{Recorded, decimal, time_from_text};
use super::event::Event;
use super::export::{destroyed_bucket, signed_bytes};
use super::fault::{Fault, VerifyError};
use super::filter::Filter;
use super::hash::{B64, Hash, decode};
use super::key::VerifierKey;
use super::leaf::{Facet, commitment, facets_digest, leaf_hash};
use super::line_reader::LineReader;
use super::lines::{self, ClosedLine, EndLine, EntryLine, ErasedLine, HeaderLine, TypeOnly};
use super::receipt::Receipt;
use super::report::{ReceiptReport, Report};
use super::tree::{Frontier, root_from_boundaries, verify_inclusion};
use super::window::Window;
use crate::ids::{PrincipalId, VaultId};
use crate::limits::EXPORT_BUCKETS_MAX;
use std::collections::HashMap;
use std::io::BufRead;

/// Verifies an export (`docs/format.md` §7.3) against keys that the caller trusts: that its lines
/// are exactly the entries of its range, none added, dropped or changed; that what is closed misses
/// the filter; that what is erased was erased by an entry of the range; and that the whole leads to
/// a checkpoint signed by one of `keys`.
///
/// # Errors
/// The first line that is wrong, with what is wrong. The two faults that only the whole shows are
/// named last: [`Fault::Root`] at the end line, [`Fault::UnattestedErasure`] at the first erased
/// line of the bucket.
pub fn verify_export(reader: impl BufRead, keys: &[VerifierKey]) -> Result<Report, VerifyError> {
    let mut lines = LineReader::new(reader);
    let header = match lines.next().map(|line| Header::verify(line, keys)) {
        Ok(Ok(header)) => header,
        Ok(Err(fault)) => return Err(lines.refuse(fault)),
        Err(error) => return Err(error),
    };
    let mut body = Body::new(&header).map_err(|fault| lines.refuse(fault))?;
    while body.frontier.size() < header.to {
        let number = lines.number() + 1;
        let fault = body.line(lines.next()?, number).err();
        if let Some(fault) = fault {
            return Err(lines.refuse(fault));
        }
    }
    let before = lines.number();
    let line = lines.next()?;
    let fault = check_end(line, before)
        .and_then(|()| check_root(&body.frontier, &header))
        .err();
    if let Some(fault) = fault {
        return Err(lines.refuse(fault));
    }
    lines.end()?;
    body.check_erasures()?;
    Ok(body.report())
}

/// Verifies a receipt (`docs/format.md` §7.4), with or without a newline at its end, against keys
/// that the caller trusts.
///
/// # Errors
/// What is wrong, at line 1: a receipt is one line.
pub fn verify_receipt(receipt: &[u8], keys: &[VerifierKey]) -> Result<ReceiptReport, VerifyError> {
    check_receipt(receipt, keys).map_err(|fault| VerifyError { line: 1, fault })
}

fn check_receipt(receipt: &[u8], keys: &[VerifierKey]) -> Result<ReceiptReport, Fault> {
    let text = receipt.strip_suffix(b"\n").unwrap_or(receipt);
    let text = std::str::from_utf8(text).map_err(|_| Fault::NotCanonical)?;
    let receipt = Receipt::parse(text).map_err(|malformed| Fault::Receipt(malformed.what))?;
    let (checkpoint, key) =
        Checkpoint::open(&receipt.checkpoint, keys).map_err(Fault::Checkpoint)?;
    let (_, epoch) = origin_parts(&checkpoint.origin)
        .ok_or(Fault::Receipt("its checkpoint is not a payvault ledger's"))?;
    let line: EntryLine<'_> = lines::read(&receipt.entry)
        .filter(|line: &EntryLine<'_>| line.kind == lines::ENTRY)
        .ok_or(Fault::NotCanonical)?;
    let index = decimal(&line.index).ok_or(Fault::NotCanonical)?;
    check_open(&line, index, epoch)?;
    verify_inclusion(
        &line.leaf.0,
        index,
        checkpoint.size,
        &receipt.path,
        &checkpoint.root,
    )
    .map_err(|_| Fault::Path)?;
    Ok(ReceiptReport {
        index,
        body: line.body.into_owned(),
        key: key.to_string(),
        checkpoint,
    })
}

/// Checks an open line: the body is an entry, belongs here, and hashes to the leaf.
fn check_open<'a>(
    line: &'a EntryLine<'_>,
    index: u64,
    epoch: u32,
) -> Result<(Recorded<'a>, Bucket<'a>), Fault> {
    let entry = Recorded::parse(&line.body).map_err(|malformed| Fault::Body(malformed.what))?;
    let bucket = Bucket::parse(&line.bucket).map_err(|_| Fault::Bucket)?;
    if entry.index != index || entry.epoch != epoch {
        return Err(Fault::BodyElsewhere);
    }
    if bucket.site != entry.site || bucket.month != entry.at.year_month() {
        return Err(Fault::Bucket);
    }
    // The commitments are computed from what is shown: a wrong salt shows in the leaf.
    let values = [entry.site.as_str(), entry.event.as_str(), &line.body];
    let commitments = Facet::ALL.map(|facet| {
        let place = facet.place();
        commitment(facet, &line.salts[place].0, values[place].as_bytes())
    });
    if leaf_hash(epoch, &line.bucket, &facets_digest(&commitments)) != line.leaf.0 {
        return Err(Fault::Leaf);
    }
    Ok((entry, bucket))
}

/// A header whose signatures verified.
struct Header {
    epoch: u32,
    from: u64,
    to: u64,
    filter: Filter,
    left: Vec<Hash>,
    right: Vec<Hash>,
    checkpoint: Checkpoint,
    report: Report,
}

impl Header {
    fn verify(text: &str, keys: &[VerifierKey]) -> Result<Header, Fault> {
        if line_type(text).is_none_or(|kind| kind != lines::HEADER) {
            return Err(Fault::NoHeader);
        }
        let mut line: HeaderLine<'_> = lines::read(text).ok_or(Fault::NotCanonical)?;
        if line.v != lines::VERSION {
            return Err(Fault::Version);
        }
        let (checkpoint, key) =
            Checkpoint::open(&line.checkpoint, keys).map_err(Fault::Checkpoint)?;
        let signature = line
            .signature
            .as_deref()
            .and_then(decode::<64>)
            .ok_or(Fault::Header("no signature"))?;
        let signed = signed_bytes(&mut line);
        // A key that the caller gave, of this very ledger; the note's signer need not be the only.
        let signed_by_ledger = keys
            .iter()
            .any(|key| key.name() == checkpoint.origin && key.verifies(&signed, &signature));
        if !signed_by_ledger {
            return Err(Fault::HeaderSignature);
        }
        Header::parse(&line, checkpoint, key.to_string())
    }

    /// Reads the members; their spelling was checked, and they were signed.
    fn parse(line: &HeaderLine<'_>, checkpoint: Checkpoint, key: String) -> Result<Header, Fault> {
        let header = Fault::Header;
        let vault = VaultId::parse(&line.vault).map_err(|_| header("vault"))?;
        let epoch = decimal(&line.epoch)
            .and_then(|epoch| u32::try_from(epoch).ok())
            .ok_or(header("epoch"))?;
        if origin_parts(&checkpoint.origin) != Some((vault, epoch)) {
            return Err(header("the checkpoint is another ledger's"));
        }
        let from = decimal(&line.from).ok_or(header("from"))?;
        let to = decimal(&line.to).ok_or(header("to"))?;
        if from > to || to > checkpoint.size {
            return Err(header("the range is none, or past the checkpoint"));
        }
        let filter = Filter::parse(&line.filter).ok_or(header("filter"))?;
        if filter.unproven() != line.unproven {
            return Err(header("unproven does not name the filter's parts"));
        }
        let hashes = |hashes: &[B64]| hashes.iter().map(|hash| hash.0).collect::<Vec<Hash>>();
        let at = time_from_text(&line.at).ok_or(header("at"))?;
        let requested_by =
            PrincipalId::parse(&line.requested_by).map_err(|_| header("requested_by"))?;
        Ok(Header {
            epoch,
            from,
            to,
            left: hashes(&line.left),
            right: hashes(&line.right),
            report: Report {
                from,
                to,
                open: 0,
                closed: 0,
                erased: 0,
                closed_by_time: 0,
                filter: filter.clone(),
                requested_by,
                requested_by_name: line.requested_by_name.clone().into_owned(),
                reason: line.reason.clone().into_owned(),
                ticket: line.ticket.clone().into_owned(),
                at,
                checkpoint: checkpoint.clone(),
                key,
            },
            filter,
            checkpoint,
        })
    }
}

fn line_type(line: &str) -> Option<std::borrow::Cow<'_, str>> {
    serde_json::from_str(line)
        .ok()
        .map(|line: TypeOnly<'_>| line.kind)
}

/// The lines between header and end.
struct Body<'a> {
    header: &'a Header,
    frontier: Frontier,
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
    fn new(header: &'a Header) -> Result<Body<'a>, Fault> {
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

    fn line(&mut self, text: &str, number: u64) -> Result<(), Fault> {
        let leaf = match line_type(text).as_deref() {
            Some(lines::ENTRY) => self.open(text)?,
            Some(lines::CLOSED) => self.closed(text)?,
            Some(lines::ERASED) => self.erased(text, number)?,
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

    fn open(&mut self, text: &str) -> Result<Hash, Fault> {
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
        Ok(line.leaf.0)
    }

    fn closed(&mut self, text: &str) -> Result<Hash, Fault> {
        let line: ClosedLine<'_> = lines::read(text).ok_or(Fault::NotCanonical)?;
        self.expect(&line.index)?;
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
        Ok(line.leaf.0)
    }

    fn erased(&mut self, text: &str, number: u64) -> Result<Hash, Fault> {
        let line: ErasedLine<'_> = lines::read(text).ok_or(Fault::NotCanonical)?;
        self.expect(&line.index)?;
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
        Ok(line.leaf.0)
    }

    fn remember(&mut self, bucket: &str, erasure: Erasure) -> Result<(), Fault> {
        if self.buckets.len() >= EXPORT_BUCKETS_MAX && !self.buckets.contains_key(bucket) {
            return Err(Fault::TooManyBuckets);
        }
        self.buckets.insert(bucket.to_owned(), erasure);
        Ok(())
    }

    /// Every bucket with erased lines was attested; else the first such line is named.
    fn check_erasures(&self) -> Result<(), VerifyError> {
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

    fn report(self) -> Report {
        self.report
    }
}

fn check_end(text: &str, before: u64) -> Result<(), Fault> {
    if line_type(text).is_some_and(|kind| kind != lines::END) {
        return Err(Fault::NoEnd);
    }
    let line: EndLine<'_> = lines::read(text).ok_or(Fault::NotCanonical)?;
    if decimal(&line.lines) == Some(before) {
        Ok(())
    } else {
        Err(Fault::EndCount)
    }
}

fn check_root(frontier: &Frontier, header: &Header) -> Result<(), Fault> {
    let Checkpoint { size, root, .. } = &header.checkpoint;
    let computed = root_from_boundaries(frontier.clone(), &header.right, *size);
    if computed.is_ok_and(|computed| computed == *root) {
        Ok(())
    } else {
        Err(Fault::Root)
    }
}
