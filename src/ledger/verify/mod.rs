//! Checks exports and receipts offline, with keys that the auditor brings. Nothing in a file is
//! believed before it is proven, and no key is taken from it. Memory stays flat for any size.

mod body;
mod header;
mod seen;

pub use self::seen::{Seen, SeenAs};

use self::body::Body;
use self::header::Header;
use super::bucket::Bucket;
use super::checkpoint::{Checkpoint, origin_parts};
use super::fault::{Fault, VerifyError};
use super::key::VerifierKey;
use super::leaf::{Facet, commitment, facets_digest, leaf_hash};
use super::line_reader::LineReader;
use super::lines::{self, EndLine, EntryLine, TypeOnly};
use super::receipt::Receipt;
use super::recorded::{Recorded, decimal};
use super::report::{ReceiptReport, Report};
use super::tree::{Frontier, root_from_boundaries, verify_inclusion};
use std::borrow::Cow;
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
    read_export(reader, keys, |_| {})
}

/// Verifies an export as [`verify_export`] does, and gives `see` each of its entries on the way. What
/// `see` was given is proven only when the whole is: nothing may be made of it before this returns
/// a report.
///
/// # Errors
/// As [`verify_export`].
pub fn read_export(
    reader: impl BufRead,
    keys: &[VerifierKey],
    mut see: impl FnMut(&Seen<'_>),
) -> Result<Report, VerifyError> {
    let mut lines = LineReader::new(reader);
    let header = match lines.next().map(|line| Header::verify(line, keys)) {
        Ok(Ok(header)) => header,
        Ok(Err(fault)) => return Err(lines.refuse(fault)),
        Err(error) => return Err(error),
    };
    let mut body = Body::new(&header).map_err(|fault| lines.refuse(fault))?;
    while body.frontier.size() < header.to {
        let number = lines.number() + 1;
        let fault = body.line(lines.next()?, number, &mut see).err();
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

/// What kind of line it says it is.
fn line_type(line: &str) -> Option<Cow<'_, str>> {
    // In the canonical order most lines end with it; reading them again checks the whole.
    for kind in [lines::ENTRY, lines::CLOSED, lines::ERASED, lines::END] {
        let before = line
            .strip_suffix("\"}")
            .and_then(|line| line.strip_suffix(kind));
        if before.is_some_and(|line| line.ends_with("\"type\":\"")) {
            return Some(Cow::Borrowed(kind));
        }
    }
    serde_json::from_str(line)
        .ok()
        .map(|line: TypeOnly<'_>| line.kind)
}
