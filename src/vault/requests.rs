//! Retries without storing the answer (`docs/format.md` §4.2): what a transaction remembers of a
//! request, and how a retry finds it again.

use super::batch::{Batch, No};
use super::command::RequestId;
use super::state::{REQUEST_BYTES, Remembered, TransactionState};
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{PrincipalId, TransactionId};
use crate::keys::{KeyError, RequestTag, Sealed};
use crate::ledger::Entry;
use crate::limits;
use crate::policy::{Denial, Rpc};
use crate::secret::SecretBuffer;
use subtle::ConstantTimeEq;

/// The number of a call in keyed hashes and rows; never renumbered.
pub(super) const fn call_code(rpc: Rpc) -> u8 {
    match rpc {
        Rpc::Tokenize => 1,
        Rpc::Redeem => 2,
        Rpc::ReportOutcome => 3,
        _ => 0,
    }
}

/// An earlier success.
pub(super) struct Earlier {
    /// The request's keyed hash.
    pub tag: RequestTag,
    /// Index of its entry.
    pub entry: u64,
    /// What the call keeps: a token's parts for Tokenize, nothing otherwise.
    pub content: SecretBuffer,
}

/// What a request turned out to be.
pub(super) enum Retry {
    /// Not seen before; remember its success.
    New(NewRequest),
    /// A success within the last 24 hours.
    Earlier(Earlier),
}

/// A request that was not seen before.
pub(super) struct NewRequest {
    /// Its keyed hash.
    pub tag: RequestTag,
    /// Day of the replay key.
    day: u32,
    /// Which call.
    rpc: Rpc,
    /// Whose it is.
    owner: u8,
    /// Digest of what was asked.
    body: [u8; 32],
}

impl Batch<'_> {
    /// Looks a request up.
    ///
    /// # Errors
    /// [`Denial::RequestIdReused`] when it came before with another body.
    #[allow(clippy::too_many_arguments)] // one request's facts
    pub(super) fn retry(
        &mut self,
        state: &TransactionState,
        transaction: TransactionId,
        principal: PrincipalId,
        rpc: Rpc,
        request: &RequestId,
        body: &[u8; 32],
        entry: &Entry,
    ) -> Result<Retry, No> {
        let code = call_code(rpc);
        let today = self.now.day();
        let mut new = None;
        // A request of yesterday was tagged with yesterday's key.
        for day in [today, today.saturating_sub(1)] {
            if day != today && !state.requests.iter().any(|r| r.day == day) {
                continue;
            }
            let tag =
                match self
                    .ring
                    .request_tag(day, principal, code, request.expose())
                {
                    Ok(tag) => tag,
                    Err(
                        KeyError::Unknown(_) | KeyError::UnknownName(_) | KeyError::Destroyed(_),
                    ) if day != today => continue,
                    Err(error) => return Err(No::Keys(error.to_string())),
                };
            let stored = tag.stored();
            let found = state.requests.iter().find(|r| {
                r.day == day
                    && r.rpc == code
                    && bool::from(r.tag.ct_eq(&stored))
                    && self.now.since_ms(r.at) < limits::REQUEST_MEMORY_MS
            });
            let Some(found) = found else {
                new.get_or_insert((tag, day));
                continue;
            };
            return self
                .open_answer(state, transaction, found, tag, body, entry)
                .map(Retry::Earlier);
        }
        let (tag, day) = new.ok_or_else(|| No::Keys("no replay key".to_owned()))?;
        Ok(Retry::New(NewRequest {
            tag,
            day,
            rpc,
            owner: state.owner(principal),
            body: *body,
        }))
    }

    /// An answer that does not open is an `integrity` entry, and harms no other command.
    #[allow(clippy::too_many_arguments)] // one remembered request's facts
    fn open_answer(
        &mut self,
        state: &TransactionState,
        transaction: TransactionId,
        found: &Remembered,
        tag: RequestTag,
        body: &[u8; 32],
        entry: &Entry,
    ) -> Result<Earlier, No> {
        let opened = Sealed::from_stored(found.answer.clone()).and_then(|sealed| {
            let site = state.site();
            self.ring
                .open_answer(found.day, &tag, site, transaction, &sealed)
        });
        let Ok(answer) = opened else {
            return Err(self.alarm(entry, "remembered request: tag"));
        };
        let Ok((earlier_body, index, content)) = parts(&answer) else {
            return Err(self.alarm(entry, "remembered request: content"));
        };
        if !bool::from(earlier_body.ct_eq(body)) {
            return Err(Denial::RequestIdReused.into());
        }
        Ok(Earlier {
            tag,
            entry: index,
            content,
        })
    }

    /// Remembers a success. Call before the state is written, with the index that its entry will
    /// have.
    ///
    /// # Errors
    /// [`Denial::TransactionFull`] when the row can't hold another one of this caller's.
    pub(super) fn remember(
        &self,
        state: &mut TransactionState,
        transaction: TransactionId,
        request: &NewRequest,
        content: &[u8],
    ) -> Result<(), No> {
        let NewRequest { tag, day, .. } = request;
        state.forget_old_requests(self.now);
        if !state.has_room_for(request.owner) || !state.reserve(REQUEST_BYTES) {
            return Err(Denial::TransactionFull.into());
        }
        let mut w = Writer::with_capacity(96);
        w.raw(&request.body).u64(self.next_index()).bytes(content);
        let answer = self
            .ring
            .seal_answer(*day, tag, state.site(), transaction, w.as_slice())?;
        state.requests.push(Remembered {
            tag: tag.stored(),
            rpc: call_code(request.rpc),
            owner: request.owner,
            at: self.now,
            day: *day,
            answer: answer.into_bytes(),
        });
        Ok(())
    }
}

/// Digest of the body, index of the entry, and what the call keeps.
fn parts(answer: &[u8]) -> Result<([u8; 32], u64, SecretBuffer), Malformed> {
    let mut r = Reader::new(answer);
    let parts = (r.array()?, r.u64()?, r.bytes()?.to_vec().into());
    r.end()?;
    Ok(parts)
}
