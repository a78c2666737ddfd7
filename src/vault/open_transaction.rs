//! Opening a transaction, looking at it, closing it.

use super::batch::{Act, Batch, Effect, No};
use super::command::{Caller, Done, RequestId, Standing, TokenSummary};
use super::state::{TokenState, TransactionState};
use crate::clock::Timestamp;
use crate::ids::TransactionId;
use crate::ledger::Entry;
use crate::limits;
use crate::payment::Selector;
use crate::policy::{Denial, Relation, Rpc, Terms, judge};

impl Batch<'_> {
    /// `OpenTransaction`: the id is a keyed hash of the request id, so that a retry finds what the
    /// first try made.
    pub(super) fn open_transaction(
        &mut self,
        caller: &Caller,
        request: &RequestId,
        terms: &Terms,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        entry.site = terms.site;
        let principal = self.admit(caller, Rpc::OpenTransaction)?;
        if !principal.serves(terms.site) || terms.portal != principal.id {
            entry.site = crate::ids::Site::VAULT;
            return Err(Denial::SiteNotAllowed.into());
        }
        let ids = self.transaction_ids(caller, request);
        for id in ids.iter().copied() {
            if !self.exists(id) {
                continue;
            }
            let earlier = self.on(id, entry, |batch, state, _| {
                if batch.now.since_ms(state.opened_at) >= limits::REQUEST_MEMORY_MS {
                    // Forgotten: yesterday's request, and a day has passed since.
                    return Ok(Act::Seen(None));
                }
                if state.terms_digest != terms.digest() {
                    return Err(Denial::RequestIdReused.into());
                }
                Ok(Act::Seen(Some(Done::Opened {
                    transaction: id,
                    entry: state.opened_entry,
                })))
            })?;
            if let Some(done) = earlier {
                return Ok(done);
            }
            entry.transaction = None;
            entry.prev = None;
        }
        if terms.expires_at <= self.now || terms.release_until <= self.now {
            return Err(Denial::Expired.into());
        }
        let release_ms_max = *self.sites.get(&terms.site).ok_or(Denial::SiteNotAllowed)?;
        if terms.release_until.since_ms(self.now) > release_ms_max {
            return Err(Denial::TermsNotAllowed.into());
        }
        self.registry.covers(terms, self.now)?;
        let id = *ids
            .first()
            .ok_or_else(|| No::Keys("no replay key".to_owned()))?;
        entry.transaction = Some(id);
        entry.amount = terms.amount.map(|a| (a.minor_units, a.currency));
        for (name, text) in [
            ("merchant", &terms.merchant),
            ("reference", &terms.reference),
        ] {
            if !text.is_empty() {
                entry.detail.insert(name, text.clone());
            }
        }
        entry.detail.insert("parties", parties(terms));
        entry
            .detail
            .insert("release_until", terms.release_until.to_string());
        let state = TransactionState::new(terms.clone(), self.now, self.next_index());
        let index = self.found(id, state, entry)?;
        Ok(Done::Opened {
            transaction: id,
            entry: index,
        })
    }

    /// The ids that a request id stands for: under today's key, and under yesterday's.
    pub(super) fn transaction_ids(
        &self,
        caller: &Caller,
        request: &RequestId,
    ) -> Vec<TransactionId> {
        transaction_ids(self.ring, self.now, caller, request)
    }

    /// `GetTransaction`.
    pub(super) fn get_transaction(
        &mut self,
        caller: &Caller,
        id: TransactionId,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        let principal = self.admit(caller, Rpc::GetTransaction)?;
        self.on(id, entry, |batch, state, entry| {
            let relation = judge(
                Rpc::GetTransaction,
                &principal,
                &state.terms,
                state.standing(None),
                batch.now,
            )?;
            let mut terms = state.terms.clone();
            if let Relation::Party(index) = relation {
                terms.parties = vec![terms.parties.swap_remove(index)];
            }
            batch.enter(entry)?;
            Ok(Act::Seen(Done::Got(Box::new(Standing {
                terms,
                closed: state.closed,
                tokens: state.tokens.iter().map(summary).collect(),
            }))))
        })
    }

    /// `CloseTransaction`. Closing twice is a success and writes an entry each time.
    pub(super) fn close(
        &mut self,
        caller: &Caller,
        id: TransactionId,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        let principal = self.admit(caller, Rpc::CloseTransaction)?;
        self.on(id, entry, |batch, state, _| {
            judge(
                Rpc::CloseTransaction,
                &principal,
                &state.terms,
                state.standing(None),
                batch.now,
            )?;
            state.closed = true;
            for token in &state.tokens {
                batch.effects.push(Effect::Wipe(token.selector));
            }
            Ok(Act::Changed(Done::Closed {
                entry: batch.next_index(),
                unreadable_after: unreadable_after(state),
            }))
        })
    }
}

/// The ids that a request id stands for at `now`.
pub(super) fn transaction_ids(
    ring: &crate::keys::Keyring,
    now: Timestamp,
    caller: &Caller,
    request: &RequestId,
) -> Vec<TransactionId> {
    let Some(portal) = caller.id() else {
        return Vec::new();
    };
    let today = now.day();
    [today, today.saturating_sub(1)]
        .into_iter()
        .filter_map(|day| ring.transaction_id(day, portal, request.expose()).ok())
        .collect()
}

/// When the transaction's release bucket ends for good.
pub(super) fn unreadable_after(state: &TransactionState) -> Timestamp {
    let day = state.terms.release_until.day();
    super::keeper::day_end(day).plus_ms(limits::PENDING_DESTRUCTION_MS)
}

/// The parties in words, for the ledger: ids and purposes.
fn parties(terms: &Terms) -> String {
    let mut text = String::new();
    for party in &terms.parties {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&party.principal.to_string());
        for grant in &party.grants {
            text.push_str(&format!(" {}x{}", grant.purpose.as_str(), grant.uses_max));
        }
    }
    text
}

/// A token without what makes it redeemable.
pub(super) fn summary(token: &TokenState) -> TokenSummary {
    TokenSummary {
        reference: Selector(token.selector).reference(),
        masked: token.masked.clone(),
        revoked: token.revoked,
        created_at: token.created_at,
    }
}
