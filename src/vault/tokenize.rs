//! Swapping details for a token.

use super::batch::{Act, Batch, Effect, No};
use super::command::{Caller, Done, RequestId};
use super::fingerprint;
use super::requests::Retry;
use super::state::{CodeMark, TokenState, TransactionState};
use crate::codec::Writer;
use crate::ids::TransactionId;
use crate::keys::seal_record;
use crate::ledger::Entry;
use crate::limits;
use crate::payment::{Details, SecurityCode, Token};
use crate::policy::{Denial, Rpc, judge};
use sha2::{Digest, Sha256};

/// Bytes of a token in its row besides the record: fixed fields, masked number, brand, country, bank.
const TOKEN_BYTES: usize = 160;

/// What a portal hands in.
pub(super) struct HandedIn<'a> {
    pub details: &'a Details,
    pub code: Option<&'a SecurityCode>,
    pub replaces: Option<&'a Token>,
}

impl HandedIn<'_> {
    /// Digest of what was asked, the security code left out.
    fn body(&self) -> [u8; 32] {
        let mut w = Writer::with_capacity(1_024);
        w.raw(b"payvault tokenize body v1")
            .bytes(&self.details.encode());
        match self.replaces {
            None => w.u8(0),
            Some(token) => w.u8(1).raw(&token.parts()[..]),
        };
        Sha256::digest(w.as_slice()).into()
    }
}

impl Batch<'_> {
    /// `Tokenize`. The record is sealed under the token's own secret, which is stored nowhere.
    pub(super) fn tokenize(
        &mut self,
        caller: &Caller,
        request: &RequestId,
        id: TransactionId,
        given: &HandedIn<'_>,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        let principal = self.admit(caller, Rpc::Tokenize)?;
        self.on(id, entry, |batch, state, entry| {
            let body = given.body();
            // Strangers learn nothing, not even that a request id was used.
            if crate::policy::relation(principal.id, &state.terms) != crate::policy::Relation::Owner
            {
                return Err(Denial::NotOwner.into());
            }
            let retry = batch.retry(
                state,
                id,
                principal.id,
                Rpc::Tokenize,
                request,
                &body,
                entry,
            )?;
            let new = match retry {
                Retry::Earlier(earlier) => {
                    let Ok(parts) = <&[u8; 32]>::try_from(&earlier.content[..]) else {
                        return Err(batch.alarm(entry, "remembered token: content"));
                    };
                    let token = Token::from_parts(parts);
                    let index = state.find(&token).ok_or(Denial::UnknownToken)?;
                    // The same details were handed in again; the entry of the success says it.
                    let fingerprint = batch.fingerprint_of(state.site(), given.details)?;
                    return Ok(Act::Seen(Done::Tokenized {
                        fingerprint,
                        masked: state.tokens[index].masked.clone(),
                        token,
                        entry: earlier.entry,
                        replayed: true,
                    }));
                }
                Retry::New(new) => new,
            };
            let replaced = match given.replaces {
                None => None,
                Some(old) => Some(state.find(old).ok_or(Denial::UnknownToken)?),
            };
            judge(
                Rpc::Tokenize,
                &principal,
                &state.terms,
                state.standing(replaced),
                batch.now,
            )?;
            if state.tokens.len() >= limits::TOKENS_PER_TRANSACTION_MAX {
                return Err(Denial::TooManyTokens.into());
            }
            if given.code.is_some() && !batch.codes.has_room() {
                return Err(Denial::TooMany.into());
            }
            let token = Token::random();
            let made = batch.make(state, id, given, &token)?;
            let fingerprint = batch.fingerprint_of(state.site(), given.details)?;
            if !state.reserve(TOKEN_BYTES + made.record.len()) {
                return Err(Denial::TransactionFull.into());
            }
            let parts = token.parts();
            batch.remember(state, id, &new, &parts[..])?;

            // From here on nothing fails: the state may change.
            if let Some(old) = replaced {
                state.tokens[old].revoked = true;
                batch.effects.push(Effect::Wipe(state.tokens[old].selector));
                let old = super::batch::reference_of(&state.tokens[old]);
                entry.detail.insert("replaces", old.to_string());
            }
            if let Some(code) = given.code {
                batch
                    .effects
                    .push(Effect::TakeIn(made.selector, code.duplicate()));
            }
            entry.token = Some(token.selector().reference());
            entry.masked = made.masked.number.clone();
            entry
                .detail
                .insert("kind", made.masked.kind.as_str().to_owned());
            fingerprint::note(entry, fingerprint.as_ref());
            let masked = made.masked.clone();
            state.tokens.push(made);
            Ok(Act::Changed(Done::Tokenized {
                fingerprint,
                token,
                masked,
                entry: batch.next_index(),
                replayed: false,
            }))
        })
    }

    /// The token's part of the row.
    fn make(
        &self,
        state: &TransactionState,
        id: TransactionId,
        given: &HandedIn<'_>,
        token: &Token,
    ) -> Result<TokenState, No> {
        let selector = token.selector();
        let record = seal_record(
            self.ring.vault(),
            state.site(),
            id,
            &selector.0,
            &state.terms_digest,
            token.secret(),
            &given.details.encode(),
        )?;
        Ok(TokenState {
            selector: selector.0,
            secret_hash: token.secret_hash(),
            created_at: self.now,
            revoked: false,
            code: match given.code {
                None => CodeMark::None,
                Some(_) => CodeMark::Given,
            },
            masked: given.details.mask(),
            record,
            used: Vec::new(),
        })
    }
}
