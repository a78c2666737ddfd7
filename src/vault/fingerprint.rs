//! Fingerprints of what is handed in, and of what stands behind a token. They are made where a
//! site's configuration turns them on, go into the reply, and are kept nowhere.

use super::batch::{Batch, No};
use super::state::TransactionState;
use crate::ids::{Site, TransactionId};
use crate::keys::Fingerprint;
use crate::ledger::Entry;
use crate::payment::{Details, Token};
use crate::policy::{Principal, recognise};

impl Batch<'_> {
    /// The fingerprint of details that a portal hands in; none where the site has it off.
    pub(super) fn fingerprint_of(
        &self,
        site: Site,
        details: &Details,
    ) -> Result<Option<Fingerprint>, No> {
        if !self.fingerprints.contains(&site) {
            return Ok(None);
        }
        let made = self.ring.fingerprint(site, &details.identity(), self.now);
        made.map(Some).map_err(|error| No::Keys(error.to_string()))
    }

    /// The fingerprint of what stands behind a token, for the portal that brings it; none where the
    /// site has it off, for a party, and where nothing is released either.
    pub(super) fn fingerprint_behind(
        &mut self,
        principal: &Principal,
        state: &TransactionState,
        id: TransactionId,
        index: usize,
        token: &Token,
        entry: &Entry,
    ) -> Result<Option<Fingerprint>, No> {
        if !self.fingerprints.contains(&state.site()) || self.withholds(state, index).is_some() {
            return Ok(None);
        }
        let standing = state.standing(Some(index));
        let Some(proof) = recognise(principal, &state.terms, standing, self.now) else {
            return Ok(None);
        };
        let details = self.open_for_fingerprint(&proof, state, id, token, index, entry)?;
        self.fingerprint_of(state.site(), &details)
    }
}

/// Says in an entry that a fingerprint was given.
pub(super) fn note(entry: &mut Entry, fingerprint: Option<&Fingerprint>) {
    if fingerprint.is_some() {
        entry.detail.insert("fingerprint", "given".to_owned());
    }
}
