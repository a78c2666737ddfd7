//! What a witness is asked (C2SP tlog-witness, `add-checkpoint`), and how it judges it. Pure: what it
//! knows of a log comes in, and what it is to remember goes out.

use super::checkpoint::Checkpoint;
use super::error::NoteFault;
use super::hash::{Hash, from_base64, to_base64};
use super::key::VerifierKey;
use super::note::{self, Note};
use super::recorded::decimal;
use super::tree::{empty_root, verify_consistency};
use crate::limits::WITNESS_PROOF_LINES_MAX;

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Size of the tree that the witness is thought to know.
    pub old: u64,
    /// Consistency path from there.
    pub proof: Vec<Hash>,
    /// The checkpoint, signed by its log.
    pub note: String,
}

impl Submission {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with its shape.
    pub fn parse(body: &str) -> Result<Submission, &'static str> {
        let (head, note) = body
            .split_once("\n\n")
            .ok_or("no empty line divides proof and checkpoint")?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .and_then(decimal)
            .ok_or("the first line is not \"old\" and a size")?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == WITNESS_PROOF_LINES_MAX {
                return Err("the proof has more than 63 lines");
            }
            proof.push(from_base64(line).ok_or("a line of the proof is not a hash in base64")?);
        }
        Ok(Submission {
            old,
            proof,
            note: note.to_owned(),
        })
    }

    /// Writes a body.
    pub fn to_text(&self) -> String {
        let proof: String = self
            .proof
            .iter()
            .map(|hash| to_base64(hash) + "\n")
            .collect();
        format!("old {}\n{proof}\n{}", self.old, self.note)
    }

    /// Which log it says it is of; not verified.
    ///
    /// # Errors
    /// When the checkpoint isn't a note.
    pub fn origin(&self) -> Result<&str, NoteFault> {
        let text = Note::parse(&self.note)?.unverified_text();
        Ok(text.split('\n').next().unwrap_or_default())
    }

    /// Judges it: by the keys of its log, of which none is one when the witness doesn't know it, and
    /// by the checkpoint of that log that the witness cosigned last.
    ///
    /// # Errors
    /// Why it must not be cosigned, in the order of the specification.
    pub fn judge(
        &self,
        keys: &[VerifierKey],
        known: Option<&Checkpoint>,
    ) -> Result<Accepted, Refused> {
        let note = Note::parse(&self.note).map_err(|_| Refused::Malformed("it is not a note"))?;
        let origin = self
            .origin()
            .map_err(|_| Refused::Malformed("it is not a note"))?;
        let keys: Vec<VerifierKey> = keys
            .iter()
            .filter(|key| key.name() == origin)
            .cloned()
            .collect();
        if keys.is_empty() {
            return Err(Refused::UnknownOrigin);
        }
        let (text, key) = note.verify(&keys).map_err(|_| Refused::NotSigned)?;
        let checkpoint =
            Checkpoint::parse_extended(text).ok_or(Refused::Malformed("it is not a checkpoint"))?;
        if self.old > checkpoint.size {
            return Err(Refused::Malformed("the old size is above the checkpoint's"));
        }
        let (size, root) = known.map_or((0, empty_root()), |known| (known.size, known.root));
        if self.old != size {
            return Err(Refused::Conflict { size });
        }
        if size == checkpoint.size && root != checkpoint.root {
            return Err(Refused::Conflict { size });
        }
        verify_consistency(size, checkpoint.size, &root, &checkpoint.root, &self.proof)
            .map_err(|_| Refused::Inconsistent)?;
        let mut signed = format!("{text}\n");
        for signature in note.signatures_of(key.name(), key.id()) {
            signed.push_str(&note::line(key.name(), key.id(), signature));
        }
        Ok(Accepted {
            text: text.to_owned(),
            signed,
            checkpoint,
        })
    }
}

/// What a witness may cosign, once its record of it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Origin, size and root.
    pub checkpoint: Checkpoint,
    /// The note's text: what is cosigned.
    pub text: String,
    /// The note with its log's signature, and no other.
    pub signed: String,
}

/// Why a checkpoint must not be cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has not the shape of a request.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// No key of such a log was given.
    #[error("no key of this log was given to this witness")]
    UnknownOrigin,
    /// Its log's signature is missing, or isn't its.
    #[error("not signed by the log's key")]
    NotSigned,
    /// The witness knows another size than it was told, or another tree of this size.
    #[error("this witness cosigned {size} entries last")]
    Conflict {
        /// Size of the checkpoint that it cosigned last.
        size: u64,
    },
    /// It doesn't go on from the tree that the witness cosigned.
    #[error("it does not go on from what was cosigned: the proof leads elsewhere")]
    Inconsistent,
}
