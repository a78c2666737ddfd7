//! Giving plaintext to a tied party, and the one place where a record is opened.

use super::batch::{Act, Batch, Effect, No};
use super::codes::Released;
use super::command::{Caller, CodeStatus, Done, Redeemed, RequestId};
use super::requests::Retry;
use super::state::{CodeMark, TokenState, TransactionState, USE_BYTES};
use crate::codec::Writer;
use crate::ids::{PrincipalId, TransactionId};
use crate::keys::{RequestTag, open_record};
use crate::ledger::{Entry, Event};
use crate::limits;
use crate::payment::{Details, SecurityCode, Token};
use crate::policy::{
    AllowanceKey, Denial, Field, FieldSet, Granted, Principal, Purpose, Recognised, Relation, Rpc,
    relation, release,
};
use sha2::{Digest, Sha256};

/// What a processor asks for.
pub(super) struct Wanted<'a> {
    pub token: &'a Token,
    pub purpose: Purpose,
    pub fields: FieldSet,
}

impl Wanted<'_> {
    /// Digest of what was asked.
    fn body(&self) -> [u8; 32] {
        let mut w = Writer::with_capacity(128);
        w.raw(b"payvault redeem body v1")
            .raw(&self.token.parts()[..])
            .u8(self.purpose as u8)
            .u8(self.fields.bits());
        Sha256::digest(w.as_slice()).into()
    }
}

impl Batch<'_> {
    /// `Redeem`. Use, entry and row are one commit; what is returned stays withheld until then.
    pub(super) fn redeem(
        &mut self,
        caller: &Caller,
        request: &RequestId,
        id: TransactionId,
        wanted: &Wanted<'_>,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        let principal = self.admit(caller, Rpc::Redeem)?;
        self.on(id, entry, |batch, state, entry| {
            let index = batch.tied_token(&principal, state, wanted.token, entry)?;
            let body = wanted.body();
            match batch.retry(state, id, principal.id, Rpc::Redeem, request, &body, entry)? {
                Retry::Earlier(earlier) => {
                    entry.event = Event::RedeemReplayed;
                    let uncounted = |_: usize| None;
                    let granted = batch.grant(&principal, state, index, wanted, uncounted)?;
                    let details = batch.open(&granted, state, id, wanted.token, index, entry)?;
                    let party = granted.party();
                    let left = uses_left(state, party, wanted.purpose, &state.tokens[index]);
                    let (code, status) = batch.code_again(
                        &granted,
                        &state.tokens[index],
                        principal.id,
                        &earlier.tag,
                    );
                    note_code(entry, status);
                    entry.detail.insert("replays", earlier.entry.to_string());
                    let entered = batch.enter(entry)?;
                    Ok(Act::Seen(Done::Redeemed(Box::new(Redeemed {
                        details,
                        fields: given_fields(&granted, status),
                        code,
                        code_status: status,
                        uses_left: left,
                        entry: entered.index,
                        replayed: true,
                    }))))
                }
                Retry::New(new) => {
                    let used = |party| Some(state.tokens[index].used(party, wanted.purpose));
                    let granted = batch.grant(&principal, state, index, wanted, used)?;
                    batch.within_rate(&principal, state)?;
                    let details = batch.open(&granted, state, id, wanted.token, index, entry)?;
                    if !state.reserve(USE_BYTES) {
                        return Err(Denial::TransactionFull.into());
                    }
                    batch.remember(state, id, &new, &[])?;

                    // From here on nothing fails: the state may change.
                    let (code, status) =
                        batch.code_once(&granted, &mut state.tokens[index], principal.id, &new.tag);
                    note_code(entry, status);
                    state.tokens[index].count_use(granted.party(), granted.purpose());
                    Ok(Act::Changed(Done::Redeemed(Box::new(Redeemed {
                        details,
                        fields: given_fields(&granted, status),
                        code,
                        code_status: status,
                        uses_left: granted.uses_left(),
                        entry: batch.next_index(),
                        replayed: false,
                    }))))
                }
            }
        })
    }

    /// The token, for a party: whoever is not tied learns neither that the transaction is there
    /// nor that the token is.
    pub(super) fn tied_token(
        &self,
        principal: &Principal,
        state: &TransactionState,
        token: &Token,
        entry: &mut Entry,
    ) -> Result<usize, No> {
        entry.token = Some(token.selector().reference());
        // Both questions are always asked, so that their answers take the same time.
        let found = state.find(token);
        let tie = relation(principal.id, &state.terms);
        match (tie, found) {
            (Relation::Stranger, _) => Err(match principal.role {
                crate::policy::Role::Portal => Denial::NotOwner,
                _ => Denial::NotAParty,
            }
            .into()),
            (_, None) if state.knows_selector(token) => Err(Denial::WrongSecret.into()),
            (_, None) => Err(Denial::UnknownToken.into()),
            (_, Some(index)) => {
                entry.masked = state.tokens[index].masked.number.clone();
                Ok(index)
            }
        }
    }

    fn grant(
        &self,
        principal: &Principal,
        state: &TransactionState,
        index: usize,
        wanted: &Wanted<'_>,
        used: impl FnOnce(usize) -> Option<u8>,
    ) -> Result<Granted, No> {
        let granted = release(
            principal,
            &state.terms,
            state.standing(Some(index)),
            wanted.purpose,
            wanted.fields,
            used,
            self.now,
        )?;
        match self.withholds(state, index) {
            Some(denial) => Err(denial.into()),
            None => Ok(granted),
        }
    }

    /// Why nothing is released now, whoever asks.
    pub(super) fn withholds(&self, state: &TransactionState, index: usize) -> Option<Denial> {
        if self.clock_suspect {
            return Some(Denial::ClockSuspect);
        }
        // What was counted and remembered after the backup is forgotten: until operators say
        // otherwise, nothing from before the restore is released, retries included.
        let before = |at| state.tokens[index].created_at < at;
        let restored = self.head.restored.as_ref();
        restored
            .is_some_and(|r| before(r.at))
            .then_some(Denial::RestoreUnconfirmed)
    }

    /// The allow-list's bound of releases an hour. An allowance that was taken away ends them.
    fn within_rate(&mut self, principal: &Principal, state: &TransactionState) -> Result<(), No> {
        let key = AllowanceKey {
            site: state.site(),
            portal: state.terms.portal,
            processor: principal.id,
        };
        let per_hour = self
            .registry
            .allowance(&key)
            .ok_or(Denial::TermsNotAllowed)?
            .releases_per_hour;
        if self
            .rates
            .count(key.portal, key.processor, per_hour, self.now)
        {
            Ok(())
        } else {
            Err(Denial::RateLimited.into())
        }
    }

    /// Opens the record. Needs the proof that the release was judged. A record that fails its tag
    /// is an `integrity` entry, and burns no use.
    fn open(
        &mut self,
        _proof: &Granted,
        state: &TransactionState,
        id: TransactionId,
        token: &Token,
        index: usize,
        entry: &Entry,
    ) -> Result<Details, No> {
        self.opened(state, id, token, index, entry)
    }

    /// Opens the record to make a fingerprint of it. Needs the proof that the portal may have one.
    pub(super) fn open_for_fingerprint(
        &mut self,
        _proof: &Recognised,
        state: &TransactionState,
        id: TransactionId,
        token: &Token,
        index: usize,
        entry: &Entry,
    ) -> Result<Details, No> {
        self.opened(state, id, token, index, entry)
    }

    fn opened(
        &mut self,
        state: &TransactionState,
        id: TransactionId,
        token: &Token,
        index: usize,
        entry: &Entry,
    ) -> Result<Details, No> {
        let opened = open_record(
            self.ring.vault(),
            state.site(),
            id,
            &token.selector().0,
            &state.terms_digest,
            token.secret(),
            &state.tokens[index].record,
        );
        match opened {
            Ok(bytes) => Details::decode(&bytes).map_err(|_| self.alarm(entry, "record: content")),
            Err(_) => Err(self.alarm(entry, "record: tag")),
        }
    }

    /// The security code at its first release.
    fn code_once(
        &mut self,
        granted: &Granted,
        token: &mut TokenState,
        to: PrincipalId,
        tag: &RequestTag,
    ) -> (Option<SecurityCode>, CodeStatus) {
        if !granted.fields().contains(Field::SecurityCode) {
            return (None, CodeStatus::NotAsked);
        }
        match token.code {
            CodeMark::None => (None, CodeStatus::NotProvided),
            CodeMark::Released => (None, CodeStatus::AlreadyReleased),
            CodeMark::Given => match self.codes.fresh(&token.selector, self.now_ms) {
                Some(code) => {
                    token.code = CodeMark::Released;
                    self.effects.push(Effect::Released(
                        token.selector,
                        Released {
                            to,
                            request: tag.stored(),
                            at_ms: self.now_ms,
                        },
                    ));
                    (Some(code), CodeStatus::Released)
                }
                None => (None, self.why_gone(token)),
            },
        }
    }

    /// The security code on a retry: repeated for 60 s to the same principal and request id.
    fn code_again(
        &self,
        granted: &Granted,
        token: &TokenState,
        to: PrincipalId,
        tag: &RequestTag,
    ) -> (Option<SecurityCode>, CodeStatus) {
        if !granted.fields().contains(Field::SecurityCode) {
            return (None, CodeStatus::NotAsked);
        }
        match token.code {
            CodeMark::None => (None, CodeStatus::NotProvided),
            CodeMark::Given => (None, self.why_gone(token)),
            CodeMark::Released => {
                match self
                    .codes
                    .again(&token.selector, to, tag.stored(), self.now_ms)
                {
                    Some(code) => (Some(code), CodeStatus::Released),
                    None => (None, CodeStatus::AlreadyReleased),
                }
            }
        }
    }

    /// Why a code that was handed in is not in memory.
    fn why_gone(&self, token: &TokenState) -> CodeStatus {
        if self.now.since_ms(token.created_at) >= limits::SECURITY_CODE_MS {
            CodeStatus::Expired
        } else {
            CodeStatus::NotOnThisNode
        }
    }
}

fn uses_left(state: &TransactionState, party: usize, purpose: Purpose, token: &TokenState) -> u8 {
    state.terms.parties[party]
        .grants
        .iter()
        .find(|grant| grant.purpose == purpose)
        .map_or(0, |grant| token.uses_left(party, grant))
}

/// The fields that really go out.
fn given_fields(granted: &Granted, status: CodeStatus) -> FieldSet {
    match status {
        CodeStatus::Released | CodeStatus::NotAsked => granted.fields(),
        _ => granted.fields().without(Field::SecurityCode),
    }
}

fn note_code(entry: &mut Entry, status: CodeStatus) {
    let text = match status {
        CodeStatus::NotAsked => return,
        CodeStatus::Released => "released",
        CodeStatus::AlreadyReleased => "already released",
        CodeStatus::Expired => "expired",
        CodeStatus::NotProvided => "not provided",
        CodeStatus::NotOnThisNode => "not on this node",
    };
    entry.detail.insert("security_code", text.to_owned());
}
