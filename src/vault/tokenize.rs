//! Swapping details for a token.

use super::batch::{Act, Batch, Effect, No};
use super::collect::Amiss;
use super::command::{Caller, Done, RequestId, SealedIn};
use super::fingerprint;
use super::requests::Retry;
use super::state::{CodeMark, TokenState, TransactionState};
use crate::clock::Timestamp;
use crate::codec::Writer;
use crate::ids::TransactionId;
use crate::keys::{Encapsulation, seal_record};
use crate::ledger::Entry;
use crate::limits;
use crate::payment::{Details, SecurityCode, Token};
use crate::policy::{Denial, Rpc, judge};
use sha2::{Digest, Sha256};

/// Bytes of a token in its row besides the record: fixed fields, encapsulation, masked number, brand,
/// country, bank.
const TOKEN_BYTES: usize = 176;

/// What a portal hands in.
pub(super) struct HandedIn<'a> {
    pub what: Given<'a>,
    pub replaces: Option<&'a Token>,
}

/// The details, as they came.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    Clear(&'a Details, Option<&'a SecurityCode>),
    Sealed(&'a SealedIn),
}

impl<'a> HandedIn<'a> {
    /// Digest of what was asked, the security code left out; nothing when it wasn't read. Of sealed
    /// details it is the text's: a retry is recognised when they don't open any more.
    fn body(&self) -> Option<[u8; 32]> {
        let mut w = Writer::with_capacity(1_024);
        match &self.what {
            Given::Clear(details, _) => {
                w.raw(b"payvault tokenize body v1").bytes(&details.encode())
            }
            Given::Sealed(sealed) => w
                .raw(b"payvault tokenize sealed body v1")
                .raw(sealed.text()?),
        };
        match self.replaces {
            None => w.u8(0),
            Some(token) => w.u8(1).raw(&token.parts()[..]),
        };
        Some(Sha256::digest(w.as_slice()).into())
    }

    /// The details, when they could be read.
    fn details(&self) -> Option<&'a Details> {
        match self.what {
            Given::Clear(details, _) => Some(details),
            Given::Sealed(SealedIn::Opened(opened)) => opened.details.as_ref().map(|own| &own.0),
            Given::Sealed(_) => None,
        }
    }
}

/// Details that a token may be made of.
struct Taken<'a> {
    details: &'a Details,
    code: Option<&'a SecurityCode>,
    encapsulation: Option<Encapsulation>,
}

/// What may become a token of this transaction, once, now.
fn take<'a>(
    given: &HandedIn<'a>,
    state: &TransactionState,
    now: Timestamp,
    entry: &mut Entry,
) -> Result<Taken<'a>, No> {
    let mut refused = |why: Amiss| {
        entry.detail.insert(SEALED, why.as_str().to_owned());
        No::from(Denial::SealedDetailsRefused)
    };
    match given.what {
        Given::Clear(details, code) => Ok(Taken {
            details,
            code,
            encapsulation: None,
        }),
        Given::Sealed(SealedIn::Unread(_)) => Err(Denial::InvalidRequest.into()),
        Given::Sealed(SealedIn::Amiss { why, .. }) => Err(refused(*why)),
        Given::Sealed(SealedIn::Opened(opened)) => {
            let own = Some(opened.encapsulation);
            if opened.site != state.site() {
                return Err(refused(Amiss::DoesNotOpen));
            }
            if now >= opened.not_after {
                return Err(refused(Amiss::Over));
            }
            if state.tokens.iter().any(|token| token.encapsulation == own) {
                return Err(refused(Amiss::UsedBefore));
            }
            let Some((details, code)) = &opened.details else {
                return Err(Denial::InvalidRequest.into());
            };
            entry.detail.insert(SEALED, "opened".to_owned());
            Ok(Taken {
                details,
                code: code.as_ref(),
                encapsulation: own,
            })
        }
    }
}

/// The member of an entry's detail that says what became of sealed details.
const SEALED: &str = "sealed";

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
            // Strangers learn nothing, not even that a request id was used.
            if crate::policy::relation(principal.id, &state.terms) != crate::policy::Relation::Owner
            {
                return Err(Denial::NotOwner.into());
            }
            let in_clear = !matches!(
                given.what,
                Given::Sealed(SealedIn::Opened(_) | SealedIn::Amiss { .. })
            );
            if in_clear && batch.sealed_only.contains(&state.site()) {
                return Err(Denial::SealedOnly.into());
            }
            let read;
            let given = &match given.what {
                Given::Sealed(SealedIn::Unread(unread)) => {
                    read = unread.read().ok_or(Denial::InvalidRequest)?;
                    HandedIn {
                        what: Given::Clear(&read.0, read.1.as_ref()),
                        replaces: given.replaces,
                    }
                }
                what => HandedIn {
                    what,
                    replaces: given.replaces,
                },
            };
            let body = given.body().ok_or(Denial::InvalidRequest)?;
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
                    let details = given.details();
                    let fingerprint = match details {
                        Some(details) => batch.fingerprint_of(state.site(), details)?,
                        None => None,
                    };
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
            let taken = take(given, state, batch.now, entry)?;
            if taken.code.is_some() && !batch.codes.has_room() {
                return Err(Denial::TooMany.into());
            }
            let token = Token::random();
            let made = batch.make(state, id, &taken, &token)?;
            let fingerprint = batch.fingerprint_of(state.site(), taken.details)?;
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
            if let Some(code) = taken.code {
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
        taken: &Taken<'_>,
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
            &taken.details.encode(),
        )?;
        Ok(TokenState {
            selector: selector.0,
            secret_hash: token.secret_hash(),
            created_at: self.now,
            revoked: false,
            code: match taken.code {
                None => CodeMark::None,
                Some(_) => CodeMark::Given,
            },
            encapsulation: taken.encapsulation,
            masked: taken.details.mask(),
            record,
            used: Vec::new(),
        })
    }
}
