//! Exports, line by line. Signatures keep most of a changed file from being read, so the harness
//! signs it again: with its own key, for the ledger that the file names.

use super::meter::bounded;
use super::text::silent_error;
use ed25519_dalek::{Signer as _, SigningKey};
use payvault::ledger::{Checkpoint, VerifierKey, from_base64, verify_export};
use serde_json::Value;

/// The whole of an export.
pub fn run(data: &[u8]) {
    bounded(data.len(), || verify(data, &[]));
    let Some((signed, key)) = signed_again(data) else {
        return;
    };
    bounded(signed.len(), || verify(&signed, std::slice::from_ref(&key)));
}

fn verify(export: &[u8], keys: &[VerifierKey]) {
    match verify_export(export, keys) {
        Ok(report) => {
            let lines = export.iter().filter(|b| **b == b'\n').count() as u64;
            assert!(!keys.is_empty(), "believed without a key");
            assert!(report.from <= report.to && report.to <= report.checkpoint.size);
            assert_eq!(report.to - report.from + 2, lines);
            assert_eq!(report.open + report.closed + report.erased, lines - 2);
            assert!(report.closed_by_time <= report.closed);
        }
        // A body's canary is the ledger's own; what is refused says no more than where.
        Err(error) => silent_error(&error),
    }
}

/// The key with which the harness signs.
pub fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

/// The checkpoint of a note, signed again, and who vouches for it then.
pub fn checkpoint_signed_again(note: &str) -> Option<(String, VerifierKey)> {
    let mut lines = note.split('\n');
    let checkpoint = Checkpoint {
        origin: lines.next()?.to_owned(),
        size: lines.next()?.parse().ok()?,
        root: from_base64(lines.next()?)?,
    };
    let key = signing_key();
    let verifier = VerifierKey::new(&checkpoint.origin, key.verifying_key()).ok()?;
    Some((checkpoint.sign(&key).ok()?, verifier))
}

/// The export with checkpoint and header signed again; `None` when it has no such header.
fn signed_again(export: &[u8]) -> Option<(Vec<u8>, VerifierKey)> {
    let end = export.iter().position(|b| *b == b'\n')?;
    let mut header: Value = serde_json::from_slice(&export[..end]).ok()?;
    let members = header.as_object_mut()?;
    let (note, verifier) = checkpoint_signed_again(members.get("checkpoint")?.as_str()?)?;
    members.insert("checkpoint".to_owned(), note.into());
    members.remove("signature");
    // Members of a map stand in the order of their names, as in the canonical form.
    let signed = format!("payvault export header v1\n{header}");
    let signature = signing_key().sign(signed.as_bytes()).to_bytes();
    let signature = super::ledger::base64(&signature);
    header
        .as_object_mut()?
        .insert("signature".to_owned(), signature.into());
    let mut again = header.to_string().into_bytes();
    again.extend_from_slice(&export[end..]);
    Some((again, verifier))
}
