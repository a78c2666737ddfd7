//! What happens to a token besides redemption: described, revoked, its outcome reported.

use super::batch::{Act, Batch, Effect, No};
use super::command::{Caller, Described, Done, RequestId, WorkResult};
use super::fingerprint;
use super::open_transaction::summary;
use super::requests::Retry;
use crate::codec::Writer;
use crate::ids::TransactionId;
use crate::ledger::Entry;
use crate::payment::Token;
use crate::policy::{Relation, Rpc, judge};
use sha2::{Digest, Sha256};

impl Batch<'_> {
    /// `DescribeToken`.
    pub(super) fn describe(
        &mut self,
        caller: &Caller,
        id: TransactionId,
        token: &Token,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        let principal = self.admit(caller, Rpc::DescribeToken)?;
        self.on(id, entry, |batch, state, entry| {
            let index = batch.tied_token(&principal, state, token, entry)?;
            let relation = judge(
                Rpc::DescribeToken,
                &principal,
                &state.terms,
                state.standing(Some(index)),
                batch.now,
            )?;
            let own = &state.tokens[index];
            let uses_left = match relation {
                Relation::Party(party) => state.terms.parties[party]
                    .grants
                    .iter()
                    .map(|grant| (grant.purpose, own.uses_left(party, grant)))
                    .collect(),
                Relation::Owner | Relation::Stranger => Vec::new(),
            };
            let described = summary(own);
            let fingerprint =
                batch.fingerprint_behind(&principal, state, id, index, token, entry)?;
            fingerprint::note(entry, fingerprint.as_ref());
            batch.enter(entry)?;
            Ok(Act::Seen(Done::Described(Box::new(Described {
                summary: described,
                fingerprint,
                closed: state.closed,
                release_until: state.terms.release_until,
                uses_left,
            }))))
        })
    }

    /// `RevokeToken`. Revoking twice is a success and writes an entry each time.
    pub(super) fn revoke(
        &mut self,
        caller: &Caller,
        id: TransactionId,
        token: &Token,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        let principal = self.admit(caller, Rpc::RevokeToken)?;
        self.on(id, entry, |batch, state, entry| {
            let index = batch.tied_token(&principal, state, token, entry)?;
            judge(
                Rpc::RevokeToken,
                &principal,
                &state.terms,
                state.standing(Some(index)),
                batch.now,
            )?;
            state.tokens[index].revoked = true;
            batch
                .effects
                .push(Effect::Wipe(state.tokens[index].selector));
            Ok(Act::Changed(Done::Noted {
                entry: batch.next_index(),
            }))
        })
    }

    /// `ReportOutcome`.
    #[allow(clippy::too_many_arguments)] // the parts of one request
    pub(super) fn report(
        &mut self,
        caller: &Caller,
        request: &RequestId,
        id: TransactionId,
        token: &Token,
        result: WorkResult,
        reference: &str,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        let principal = self.admit(caller, Rpc::ReportOutcome)?;
        self.on(id, entry, |batch, state, entry| {
            let index = batch.tied_token(&principal, state, token, entry)?;
            judge(
                Rpc::ReportOutcome,
                &principal,
                &state.terms,
                state.standing(Some(index)),
                batch.now,
            )?;
            let mut w = Writer::with_capacity(256);
            w.raw(b"payvault report body v1")
                .raw(&token.parts()[..])
                .u8(result as u8)
                .str(reference);
            let body: [u8; 32] = Sha256::digest(w.as_slice()).into();
            match batch.retry(
                state,
                id,
                principal.id,
                Rpc::ReportOutcome,
                request,
                &body,
                entry,
            )? {
                Retry::Earlier(earlier) => Ok(Act::Seen(Done::Reported {
                    entry: earlier.entry,
                    replayed: true,
                })),
                Retry::New(new) => {
                    batch.remember(state, id, &new, &[])?;
                    if result == WorkResult::Succeeded {
                        batch
                            .effects
                            .push(Effect::Wipe(state.tokens[index].selector));
                    }
                    entry.detail.insert("result", result.as_str().to_owned());
                    entry.detail.insert("reference", reference.to_owned());
                    Ok(Act::Changed(Done::Reported {
                        entry: batch.next_index(),
                        replayed: false,
                    }))
                }
            }
        })
    }
}
