//! The header of an export: signed as a whole, by a key that the caller gave.

use super::line_type;
use crate::ids::{PrincipalId, VaultId};
use crate::ledger::checkpoint::{Checkpoint, origin_parts};
use crate::ledger::export::signed_bytes;
use crate::ledger::fault::Fault;
use crate::ledger::filter::Filter;
use crate::ledger::hash::{B64, Hash, decode};
use crate::ledger::key::VerifierKey;
use crate::ledger::lines::{self, HeaderLine};
use crate::ledger::recorded::{decimal, time_from_text};
use crate::ledger::report::Report;

/// A header whose signatures verified.
pub(super) struct Header {
    pub epoch: u32,
    pub from: u64,
    pub to: u64,
    pub filter: Filter,
    pub left: Vec<Hash>,
    pub right: Vec<Hash>,
    pub checkpoint: Checkpoint,
    pub report: Report,
}

impl Header {
    pub fn verify(text: &str, keys: &[VerifierKey]) -> Result<Header, Fault> {
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
                note: line.checkpoint.clone().into_owned(),
                key,
            },
            filter,
            checkpoint,
        })
    }
}
