//! Changing the seal: a new root key, without touching data.

use super::Vault;
use super::command::{Caller, Done, Note, Refusal, Work};
use crate::keys::{Deliver, KeyError, NewSeal, SealFile, Unsealer};
use std::path::Path;
use std::sync::PoisonError;

/// Why the seal was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// The entry that must come first could not be written. Nothing was changed.
    #[error("the ledger can't be written, and nothing was changed: {0}")]
    Refused(Refusal),
    /// The seal or the keyring.
    #[error("{0}")]
    Key(#[from] KeyError),
}

impl Vault {
    /// Puts the vault under a new seal, with an entry before and one after; `deliver` hands its
    /// custodians what they get, before anything is changed. Who may unseal stays unless
    /// `unsealers` says who may from now on; new custodians may in any case.
    ///
    /// # Errors
    /// [`ResealError`]. The old seal holds, unless [`KeyError::Uncertain`] says that it isn't known
    /// which one does.
    pub async fn reseal(
        &self,
        by: Caller,
        keys_dir: &Path,
        new: &NewSeal,
        unsealers: Option<Vec<Unsealer>>,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), ResealError> {
        let old = SealFile::read(keys_dir)?;
        let note = Note::ResealBegun {
            from: old.kind().as_str(),
            to: new.kind().as_str(),
        };
        let begun = self.ask(by.clone(), Work::Note(note), u64::MAX).await;
        begun.map_err(ResealError::Refused)?;
        let resealed = {
            let mut ring = self
                .shared
                .ring
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let list = unsealers.as_deref().unwrap_or(old.unsealers());
            ring.reseal(new, list.to_vec(), deliver)
        };
        let result = match &resealed {
            Ok(()) => Ok(detail(new, unsealers.as_deref())),
            Err(error) => Err(error.to_string()),
        };
        let ended = self
            .ask(by, Work::Note(Note::Resealed { result }), u64::MAX)
            .await;
        if !matches!(ended, Ok(Done::Noted { .. })) {
            // The seal is changed all the same, and its beginning is entered.
            tracing::error!(alarm = "reseal", "the end of a reseal could not be entered");
        }
        Ok(resealed?)
    }
}

/// What the entry says of the new seal, and of who may unseal when that was replaced.
fn detail(new: &NewSeal, unsealers: Option<&[Unsealer]>) -> Vec<(&'static str, String)> {
    let mut detail = vec![("seal", new.kind().as_str().to_owned())];
    if let NewSeal::Custodians {
        threshold,
        custodians,
    } = new
    {
        let names: Vec<&str> = custodians.iter().map(|c| c.name.as_str()).collect();
        detail.push(("custodians", names.join(" ")));
        detail.push(("threshold", threshold.to_string()));
    }
    if let Some(unsealers) = unsealers {
        let uris: Vec<&str> = unsealers.iter().map(|u| u.uri.as_str()).collect();
        detail.push(("unsealers", uris.join(" ")));
    }
    detail
}
