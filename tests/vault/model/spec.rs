//! What the vault promises (who may do what, how often, and for how long), with as little as can
//! say it. Where an answer was lost the model holds both possibilities until something tells.

use super::ops::{Call, FIELDS, Found, SITES, SealedText, Tag, WITH_CODE, Who, grants};
use super::world::Wrong;
use payvault::clock::{DAY_MS, Timestamp};
use payvault::ids::TransactionId;
use payvault::limits;
use payvault::payment::Token;
use payvault::policy::{Denial, Field, Purpose};
use payvault::vault::command::{CodeStatus, Done, Redeemed};
use std::collections::{BTreeMap, BTreeSet};

/// Something that holds, doesn't, or may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    No,
    Maybe,
    Yes,
}

impl Fact {
    fn options(self) -> &'static [bool] {
        match self {
            Fact::No => &[false],
            Fact::Maybe => &[false, true],
            Fact::Yes => &[true],
        }
    }
    fn may_be(&mut self) {
        if *self == Fact::No {
            *self = Fact::Maybe;
        }
    }
}

/// What may become of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    Deny(Denial),
    /// It is done now.
    New,
    /// It was done before, and is answered again.
    Again,
}

/// What became of a request.
#[derive(Clone)]
struct Req {
    by: Who,
    body: String,
    at: Timestamp,
    known: Fact,
    entry: Option<u64>,
}

pub struct Tx {
    pub id: TransactionId,
    pub portal: Who,
    site: usize,
    parties: Vec<Who>,
    opened_at: Timestamp,
    expires_at: Timestamp,
    release_until: Timestamp,
    closed: Fact,
    gone: bool,
    /// Successes that are remembered: whose, when, and whether it is certain.
    remembered: Vec<(Who, Timestamp, Tag)>,
}

impl Tx {
    fn grant(&self, who: Who, purpose: Purpose) -> Option<(&'static [Field], u8)> {
        let place = self.parties.iter().position(|p| *p == who)?;
        let found = grants(place).into_iter().find(|(p, ..)| *p == purpose)?;
        Some((found.1, found.2))
    }
}

/// At least and at most.
pub type Uses = (u8, u8);

struct Code {
    text: String,
    /// The process that has it, and since when (monotonic).
    life: u32,
    since_ms: u64,
    /// To whom it went, by which request, when.
    out: Option<(Who, Tag, u64)>,
    /// It must not come out any more.
    wiped: bool,
    /// Nothing has failed since it was handed in.
    sure: bool,
}

pub struct Tok {
    pub token: Token,
    pub tx: Tag,
    number: &'static str,
    revoked: Fact,
    pub used: BTreeMap<(Who, u8), Uses>,
    code: Option<Code>,
    /// The sealed text that it was made of.
    text: Option<Tag>,
}

#[derive(Default)]
pub struct Spec {
    pub txs: BTreeMap<Tag, Tx>,
    pub tokens: BTreeMap<Tag, Tok>,
    pub disabled: BTreeSet<Who>,
    pub enrolled: BTreeSet<Who>,
    pub allowed: BTreeSet<(usize, Who, Who)>,
    reqs: BTreeMap<Tag, Req>,
    life: u32,
    asked: BTreeMap<Tag, Timestamp>,
    /// Entries that were named in an answer: event and actor.
    pub acknowledged: BTreeMap<u64, (&'static str, Who)>,
}

/// When a call is judged.
#[derive(Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    pub monotonic_ms: u64,
    pub suspect: bool,
}

/// The transaction that a call names.
pub fn tx_of(call: &Call) -> Option<Tag> {
    match call {
        Call::Open { .. } => None,
        Call::Tokenize { tx, .. }
        | Call::Redeem { tx, .. }
        | Call::Report { tx, .. }
        | Call::Describe { tx, .. }
        | Call::Get { tx, .. }
        | Call::Revoke { tx, .. }
        | Call::Close { tx, .. } => Some(*tx),
    }
}

pub fn caller_of(call: &Call) -> Who {
    match call {
        Call::Open { by, .. }
        | Call::Tokenize { by, .. }
        | Call::Redeem { by, .. }
        | Call::Report { by, .. }
        | Call::Describe { by, .. }
        | Call::Get { by, .. }
        | Call::Revoke { by, .. }
        | Call::Close { by, .. } => *by,
    }
}

fn request_of(call: &Call) -> Option<Tag> {
    match call {
        Call::Open { tag, .. }
        | Call::Tokenize { tag, .. }
        | Call::Redeem { tag, .. }
        | Call::Report { tag, .. } => Some(*tag),
        _ => None,
    }
}

fn is_portal(who: Who) -> bool {
    who == super::ops::SHOP || who == super::ops::OTHER
}

fn is_live(at: Timestamp, now: Timestamp) -> bool {
    now.since_ms(at) < limits::REQUEST_MEMORY_MS
}

fn body_of(call: &Call) -> String {
    format!("{call:?}")
}

impl Spec {
    /// Whether a call can be put: what it names is there. Requests that would make the same thing
    /// a second time, a day later, are left out: the model names things by their request.
    pub fn can_be_put(&self, call: &Call, now: Timestamp) -> bool {
        let again = match call {
            // A sealed text makes no second thing, whenever it comes.
            Call::Tokenize {
                sealed: Some(_), ..
            } => true,
            Call::Open { tag, .. } | Call::Tokenize { tag, .. } => self
                .reqs
                .get(tag)
                .is_none_or(|req| req.known != Fact::Yes || now.since_ms(req.at) < DAY_MS / 2),
            _ => true,
        };
        let token = match call {
            Call::Redeem { token, .. }
            | Call::Report { token, .. }
            | Call::Describe { token, .. }
            | Call::Revoke { token, .. } => self.tokens.contains_key(token),
            Call::Tokenize {
                replaces: Some(old),
                ..
            } => self.tokens.contains_key(old),
            _ => true,
        };
        let enrolled = |who: &Who| *who < super::ops::FIRST_TAG || self.enrolled.contains(who);
        let parties = match call {
            Call::Open { parties, .. } => parties.iter().all(enrolled),
            _ => true,
        };
        again
            && token
            && parties
            && enrolled(&caller_of(call))
            && tx_of(call).is_none_or(|tx| self.txs.contains_key(&tx))
    }

    /// Whether the request was done before, as far as it is known.
    fn known(&self, call: &Call, now: Timestamp) -> Fact {
        let found = request_of(call).and_then(|tag| self.reqs.get(&tag));
        match found {
            Some(req) if req.by == caller_of(call) && is_live(req.at, now) => req.known,
            _ => Fact::No,
        }
    }

    /// Whether a transaction remembers no further request of `who`: each of those who are tied to
    /// it keeps a few places.
    fn full(&self, tx: &Tx, who: Who, now: Timestamp) -> Fact {
        let full = |with_doubtful: bool| {
            let count = |of: Who| {
                tx.remembered
                    .iter()
                    .filter(|(by, at, tag)| {
                        let known = self.reqs.get(tag).map(|r| r.known);
                        *by == of
                            && is_live(*at, now)
                            && (known == Some(Fact::Yes)
                                || (with_doubtful && known == Some(Fact::Maybe)))
                    })
                    .count()
            };
            let mut tied = tx.parties.clone();
            tied.push(tx.portal);
            let others: usize = tied
                .iter()
                .filter(|of| **of != who)
                .map(|of| count(*of).max(limits::REQUESTS_PER_CALLER_MIN))
                .sum();
            count(who) + others >= limits::REQUESTS_REMEMBERED_MAX
        };
        match (full(false), full(true)) {
            (false, false) => Fact::No,
            (true, _) => Fact::Yes,
            (false, true) => Fact::Maybe,
        }
    }

    /// Everything that may rightly become of a call.
    pub fn wants(&self, call: &Call, at: Moment) -> Vec<Want> {
        let mut wants = Vec::new();
        let mut add = |want| {
            if !wants.contains(&want) {
                wants.push(want);
            }
        };
        let by = caller_of(call);
        if self.disabled.contains(&by) {
            return vec![Want::Deny(Denial::PrincipalDisabled)];
        }
        let owners_only = matches!(
            call,
            Call::Open { .. } | Call::Tokenize { .. } | Call::Revoke { .. } | Call::Close { .. }
        );
        let parties_only = matches!(call, Call::Redeem { .. } | Call::Report { .. });
        if (owners_only && !is_portal(by)) || (parties_only && is_portal(by)) {
            return vec![Want::Deny(Denial::RoleNotAllowed)];
        }
        if let Call::Open {
            tag,
            site,
            parties,
            expires_ms,
            ..
        } = call
        {
            let asked = self.first_asked(*tag).unwrap_or(at.now);
            let expired = at.now >= asked.plus_ms(*expires_ms);
            for known in self.known(call, at.now).options() {
                let covered = parties.iter().all(|party| {
                    !self.disabled.contains(party) && self.allowed.contains(&(*site, by, *party))
                });
                add(match (known, expired, covered) {
                    (true, ..) => Want::Again,
                    (false, true, _) => Want::Deny(Denial::Expired),
                    (false, false, true) => Want::New,
                    (false, false, false) => Want::Deny(Denial::TermsNotAllowed),
                });
            }
            return wants;
        }
        let tx = &self.txs[&tx_of(call).expect("every other call names one")];
        // The key of the day in which it ends is destroyed three days later.
        let end = (u64::from(tx.release_until.day()) + 1) * DAY_MS + 3 * DAY_MS;
        if tx.gone || at.now.0 >= end {
            add(Want::Deny(Denial::UnknownTransaction));
            if tx.gone {
                return wants;
            }
        }
        for known in self.known(call, at.now).options() {
            for closed in tx.closed.options() {
                self.judge(call, tx, *known, *closed, at, &mut add);
            }
        }
        wants
    }

    fn judge(
        &self,
        call: &Call,
        tx: &Tx,
        known: bool,
        closed: bool,
        at: Moment,
        add: &mut impl FnMut(Want),
    ) {
        let by = caller_of(call);
        let is_party = tx.parties.contains(&by);
        let is_owner = tx.portal == by;
        let not_tied = match is_portal(by) {
            true => Want::Deny(Denial::NotOwner),
            false => Want::Deny(Denial::NotAParty),
        };
        let same_body = request_of(call)
            .and_then(|tag| self.reqs.get(&tag))
            .is_none_or(|req| req.body == body_of(call));
        let named = match call {
            Call::Redeem { token, .. }
            | Call::Report { token, .. }
            | Call::Describe { token, .. }
            | Call::Revoke { token, .. } => Some(*token),
            Call::Tokenize { replaces, .. } => *replaces,
            _ => None,
        };
        let own = named.map(|token| &self.tokens[&token]);
        let foreign = own.is_some_and(|own| own.tx != tx_of(call).unwrap_or_default());
        if !is_owner && !is_party {
            return add(not_tied);
        }
        match call {
            Call::Open { .. } => {}
            Call::Get { .. } => add(Want::New),
            Call::Describe { .. } | Call::Revoke { .. } | Call::Close { .. } if foreign => {
                add(Want::Deny(Denial::UnknownToken));
            }
            Call::Describe { .. } | Call::Revoke { .. } | Call::Close { .. } => add(Want::New),
            Call::Tokenize { sealed, .. } => {
                if known {
                    return add(match same_body {
                        true => Want::Again,
                        false => Want::Deny(Denial::RequestIdReused),
                    });
                }
                if foreign {
                    return add(Want::Deny(Denial::UnknownToken));
                }
                if closed {
                    return add(Want::Deny(Denial::Closed));
                }
                if at.now >= tx.expires_at {
                    return add(Want::Deny(Denial::Expired));
                }
                let revoked = own.map_or(Fact::No, |own| own.revoked);
                for revoked in revoked.options() {
                    if *revoked {
                        add(Want::Deny(Denial::Revoked));
                    } else if self.count(tx_of(call).unwrap_or_default())
                        >= limits::TOKENS_PER_TRANSACTION_MAX
                    {
                        add(Want::Deny(Denial::TooManyTokens));
                    } else if sealed
                        .as_ref()
                        .is_some_and(|s| !self.opens(s, call, at.now))
                    {
                        add(Want::Deny(Denial::SealedDetailsRefused));
                    } else {
                        self.room(tx, by, at.now, add);
                    }
                }
            }
            Call::Report { .. } if foreign => add(Want::Deny(Denial::UnknownToken)),
            Call::Report { .. } if known => add(match same_body {
                true => Want::Again,
                false => Want::Deny(Denial::RequestIdReused),
            }),
            Call::Report { .. } => self.room(tx, by, at.now, add),
            Call::Redeem { .. } if foreign => add(Want::Deny(Denial::UnknownToken)),
            Call::Redeem {
                purpose, fields, ..
            } => {
                if known && !same_body {
                    return add(Want::Deny(Denial::RequestIdReused));
                }
                if closed {
                    return add(Want::Deny(Denial::Closed));
                }
                if at.now >= tx.release_until {
                    return add(Want::Deny(Denial::Expired));
                }
                let own = own.expect("it names a token");
                for revoked in own.revoked.options() {
                    if *revoked {
                        add(Want::Deny(Denial::Revoked));
                        continue;
                    }
                    let Some((granted, max)) = tx.grant(by, *purpose) else {
                        add(Want::Deny(Denial::PurposeNotGranted));
                        continue;
                    };
                    let asked = FIELDS[*fields];
                    let code = asked.contains(&Field::SecurityCode);
                    if !asked.iter().all(|f| granted.contains(f))
                        || (code && *purpose != Purpose::Authorize)
                    {
                        add(Want::Deny(Denial::FieldNotGranted));
                        continue;
                    }
                    let (least, most) = own.uses(by, *purpose);
                    if !known && most >= max {
                        add(Want::Deny(Denial::UsedUp));
                        if least >= max {
                            continue;
                        }
                    }
                    if at.suspect {
                        add(Want::Deny(Denial::ClockSuspect));
                        continue;
                    }
                    if known {
                        add(Want::Again);
                        continue;
                    }
                    if !self.allowed.contains(&(tx.site, tx.portal, by)) {
                        add(Want::Deny(Denial::TermsNotAllowed));
                        continue;
                    }
                    // The house's founders allow `other` and `bolt` three an hour; the count is
                    // kept in memory, and a promise of its own.
                    if tx.portal == super::ops::OTHER && by == super::ops::BOLT {
                        add(Want::Deny(Denial::RateLimited));
                    }
                    self.room(tx, by, at.now, add);
                }
            }
        }
    }

    fn room(&self, tx: &Tx, by: Who, now: Timestamp, add: &mut impl FnMut(Want)) {
        for full in self.full(tx, by, now).options() {
            add(match full {
                true => Want::Deny(Denial::TransactionFull),
                false => Want::New,
            });
        }
    }

    /// Whether a sealed text becomes a token of the transaction now: it is for its site, its key's
    /// time isn't over, and no token was made of it.
    fn opens(&self, sealed: &SealedText, call: &Call, now: Timestamp) -> bool {
        let of = tx_of(call).unwrap_or_default();
        let used = |own: &Tok| own.tx == of && own.text == Some(sealed.text);
        sealed.found == Found::Details
            && self.opens_until(sealed).is_none_or(|end| now < end)
            && !self.tokens.values().any(used)
    }

    /// When a sealed text's time is over, once it was handed in.
    pub fn opens_until(&self, sealed: &SealedText) -> Option<Timestamp> {
        Some(self.first_asked(sealed.text)?.plus_ms(sealed.opens_ms))
    }

    pub fn site(&self, tx: Tag) -> usize {
        self.txs[&tx].site
    }

    fn count(&self, tx: Tag) -> usize {
        self.tokens.values().filter(|t| t.tx == tx).count()
    }

    /// Notes when a request is put for the first time: what is asked again is the same.
    pub fn ask(&mut self, call: &Call, now: Timestamp) {
        let named = match call {
            Call::Open { tag, .. } => *tag,
            Call::Tokenize {
                sealed: Some(sealed),
                ..
            } => sealed.text,
            _ => return,
        };
        self.asked.entry(named).or_insert(now);
    }

    /// When that was.
    pub fn first_asked(&self, tag: Tag) -> Option<Timestamp> {
        self.asked.get(&tag).copied()
    }

    /// Something failed: a code may be gone.
    pub fn doubt_codes(&mut self) {
        for own in self.tokens.values_mut() {
            if let Some(code) = &mut own.code {
                code.sure = false;
            }
        }
    }

    /// A call whose answer doesn't say what happened.
    pub fn doubt(&mut self, call: &Call, at: Moment) {
        self.doubt_codes();
        if !self.wants(call, at).contains(&Want::New) {
            return;
        }
        let was_known = self.known(call, at.now);
        if let Some(tag) = request_of(call)
            && was_known == Fact::No
        {
            let req = Req {
                by: caller_of(call),
                body: body_of(call),
                at: at.now,
                known: Fact::Maybe,
                entry: None,
            };
            self.reqs.insert(tag, req);
            if let Some(tx) = tx_of(call).and_then(|tx| self.txs.get_mut(&tx)) {
                tx.remembered.push((caller_of(call), at.now, tag));
            }
        }
        match call {
            Call::Redeem {
                by,
                token,
                purpose,
                tx,
                ..
            } if was_known == Fact::No => {
                let max = self.txs[tx].grant(*by, *purpose).map_or(0, |g| g.1);
                if let Some(own) = self.tokens.get_mut(token) {
                    let (least, most) = own.uses(*by, *purpose);
                    own.pin(*by, *purpose, (least, max.min(most + 1)));
                }
            }
            Call::Revoke { token, .. } => {
                if let Some(own) = self.tokens.get_mut(token) {
                    own.revoked.may_be();
                }
            }
            Call::Close { tx, .. } => {
                if let Some(tx) = self.txs.get_mut(tx) {
                    tx.closed.may_be();
                }
            }
            _ => {}
        }
    }

    /// An answer that says what happened: it must be one that was to be expected.
    pub fn learn(
        &mut self,
        call: &Call,
        answer: Result<Done, Denial>,
        at: Moment,
        actual: Option<TransactionId>,
    ) -> Result<(), Wrong> {
        let wants = self.wants(call, at);
        let got = match &answer {
            Err(denial) => Want::Deny(*denial),
            Ok(Done::Redeemed(got)) if got.replayed => Want::Again,
            Ok(Done::Tokenized { replayed: true, .. } | Done::Reported { replayed: true, .. }) => {
                Want::Again
            }
            Ok(Done::Opened { entry, .. }) => {
                let tag = request_of(call).unwrap_or_default();
                let earlier = self.reqs.get(&tag).filter(|r| r.known == Fact::Yes);
                match earlier.is_some_and(|req| req.entry == Some(*entry)) {
                    true => Want::Again,
                    false => Want::New,
                }
            }
            Ok(_) => Want::New,
        };
        // An opening doesn't say whether it was done before.
        let either = matches!(call, Call::Open { .. })
            && got == Want::New
            && wants.contains(&Want::Again)
            && self.known(call, at.now) == Fact::Maybe;
        if !wants.contains(&got) && !either {
            return Err(format!(
                "{call:?} was answered {got:?}, but {wants:?} was right"
            ));
        }
        match answer {
            Err(denial) => self.refused(call, denial),
            Ok(done) => self.done(call, done, got, at, actual)?,
        }
        Ok(())
    }

    fn refused(&mut self, call: &Call, denial: Denial) {
        let tx = tx_of(call);
        let token = match call {
            Call::Redeem { token, .. } => Some(*token),
            Call::Tokenize { replaces, .. } => *replaces,
            _ => None,
        };
        if let Some(tx) = tx.and_then(|tx| self.txs.get_mut(&tx)) {
            match denial {
                Denial::Closed => tx.closed = Fact::Yes,
                Denial::UnknownTransaction => tx.gone = true,
                // Judged after the transaction's state.
                Denial::Expired | Denial::Revoked | Denial::UsedUp => {
                    if matches!(call, Call::Redeem { .. } | Call::Tokenize { .. }) {
                        tx.closed = Fact::No;
                    }
                }
                _ => {}
            }
        }
        if let Some(own) = token.and_then(|token| self.tokens.get_mut(&token)) {
            match (denial, call) {
                (Denial::Revoked, _) => own.revoked = Fact::Yes,
                (
                    Denial::UsedUp,
                    Call::Redeem {
                        by, purpose, tx, ..
                    },
                ) => {
                    own.revoked = Fact::No;
                    let max = self.txs[tx].grant(*by, *purpose).map_or(0, |g| g.1);
                    own.pin(*by, *purpose, (max, max));
                }
                _ => {}
            }
        }
    }

    fn done(
        &mut self,
        call: &Call,
        done: Done,
        got: Want,
        at: Moment,
        actual: Option<TransactionId>,
    ) -> Result<(), Wrong> {
        let by = caller_of(call);
        let was_known = self.known(call, at.now);
        if let Some(tag) = request_of(call) {
            let entry = match &done {
                Done::Opened { entry, .. }
                | Done::Tokenized { entry, .. }
                | Done::Reported { entry, .. } => Some(*entry),
                Done::Redeemed(got) => Some(got.entry),
                _ => None,
            };
            match got {
                Want::Again => {
                    let req = self.reqs.get_mut(&tag).expect("it was asked before");
                    req.known = Fact::Yes;
                    if let (Some(was), false) = (req.entry, matches!(call, Call::Redeem { .. }))
                        && entry != Some(was)
                    {
                        return Err(format!(
                            "{call:?}: its entry was {was} and is now {entry:?}"
                        ));
                    }
                    req.entry = entry;
                }
                _ => {
                    if let Some(tx) = tx_of(call).and_then(|tx| self.txs.get_mut(&tx)) {
                        tx.remembered.retain(|(_, _, of)| *of != tag);
                        tx.remembered.push((by, at.now, tag));
                    }
                    let req = Req {
                        by,
                        body: body_of(call),
                        at: at.now,
                        known: Fact::Yes,
                        entry,
                    };
                    self.reqs.insert(tag, req);
                }
            }
        }
        match (call, done) {
            (
                Call::Open {
                    tag,
                    site,
                    parties,
                    expires_ms,
                    release_ms,
                    ..
                },
                Done::Opened { transaction, entry },
            ) => {
                self.acknowledge(entry, "transaction_opened", by, got)?;
                if let Some(tx) = self.txs.get(tag) {
                    if tx.id != transaction {
                        return Err(format!("{call:?} opened another transaction"));
                    }
                    return Ok(());
                }
                if self.txs.values().any(|tx| tx.id == transaction) {
                    return Err(format!("{call:?} opened one that was there"));
                }
                let asked = self.first_asked(*tag).unwrap_or(at.now);
                let tx = Tx {
                    id: transaction,
                    portal: by,
                    site: *site,
                    parties: parties.clone(),
                    opened_at: at.now,
                    expires_at: asked.plus_ms(*expires_ms),
                    release_until: asked.plus_ms(*release_ms),
                    closed: Fact::No,
                    gone: false,
                    remembered: Vec::new(),
                };
                self.txs.insert(*tag, tx);
            }
            (
                Call::Tokenize {
                    tag,
                    tx,
                    card,
                    code,
                    replaces,
                    sealed,
                    ..
                },
                Done::Tokenized { token, entry, .. },
            ) => {
                self.acknowledge(entry, "tokenized", by, got)?;
                if let Some(own) = self.tokens.get(tag) {
                    if own.token.parts()[..] != token.parts()[..] {
                        return Err(format!("{call:?}: a retry gave another token"));
                    }
                    return Ok(());
                }
                if let Some(old) = replaces.and_then(|old| self.tokens.get_mut(&old)) {
                    old.revoked = Fact::Yes;
                    if let Some(code) = &mut old.code {
                        code.wiped = true;
                    }
                }
                let own = Tok {
                    token,
                    text: sealed.as_ref().map(|sealed| sealed.text),
                    tx: *tx,
                    number: super::ops::CARDS[*card],
                    revoked: Fact::No,
                    used: BTreeMap::new(),
                    code: code.map(|code| Code {
                        text: code.to_string(),
                        life: self.life,
                        since_ms: at.monotonic_ms,
                        out: None,
                        wiped: false,
                        sure: got == Want::New && was_known == Fact::No,
                    }),
                };
                self.tokens.insert(*tag, own);
            }
            (Call::Redeem { .. }, Done::Redeemed(redeemed)) => {
                self.redeemed(call, &redeemed, got, was_known, at)?;
            }
            (Call::Report { token, won, .. }, Done::Reported { entry, .. }) => {
                self.acknowledge(entry, "outcome_reported", by, got)?;
                let own = self.tokens.get_mut(token).expect("a token");
                if let (true, Some(code)) = (*won, &mut own.code) {
                    code.wiped = true;
                }
            }
            (Call::Describe { token, tx, .. }, Done::Described(described)) => {
                let (closed, revoked) = (described.closed, described.summary.revoked);
                for (purpose, left) in described.uses_left {
                    let max = self.txs[tx].grant(by, purpose).map_or(0, |g| g.1);
                    let own = self.tokens.get_mut(token).expect("a token");
                    own.tell(by, purpose, max.wrapping_sub(left))?;
                }
                self.see(*tx, closed)?;
                self.see_token(*token, revoked)?;
            }
            (Call::Get { tx, .. }, Done::Got(standing)) => {
                if actual != Some(self.txs[tx].id) {
                    return Err("another transaction was asked for".to_owned());
                }
                self.see(*tx, standing.closed)?;
                let own: Vec<Tag> = self
                    .tokens
                    .iter()
                    .filter(|(_, t)| t.tx == *tx)
                    .map(|(tag, _)| *tag)
                    .collect();
                if standing.tokens.len() != own.len() {
                    return Err(format!(
                        "transaction {tx} has {} tokens and not {}",
                        standing.tokens.len(),
                        own.len()
                    ));
                }
                for tag in own {
                    let reference = self.tokens[&tag].token.selector().reference();
                    let Some(there) = standing.tokens.iter().find(|t| t.reference == reference)
                    else {
                        return Err(format!("token {tag} was acknowledged and is not there"));
                    };
                    self.see_token(tag, there.revoked)?;
                }
            }
            (Call::Revoke { token, .. }, Done::Noted { entry }) => {
                self.acknowledge(entry, "token_revoked", by, got)?;
                let own = self.tokens.get_mut(token).expect("a token");
                own.revoked = Fact::Yes;
                if let Some(code) = &mut own.code {
                    code.wiped = true;
                }
            }
            (Call::Close { tx, .. }, Done::Closed { entry, .. }) => {
                self.acknowledge(entry, "transaction_closed", by, got)?;
                self.txs.get_mut(tx).expect("a transaction").closed = Fact::Yes;
                for own in self.tokens.values_mut().filter(|t| t.tx == *tx) {
                    if let Some(code) = &mut own.code {
                        code.wiped = true;
                    }
                }
            }
            (call, _) => return Err(format!("{call:?} got the answer of another call")),
        }
        Ok(())
    }

    fn see(&mut self, tx: Tag, closed: bool) -> Result<(), Wrong> {
        let tx_state = self.txs.get_mut(&tx).expect("a transaction");
        if !tx_state.closed.options().contains(&closed) {
            return Err(format!(
                "transaction {tx} closed: {closed}, and that is wrong"
            ));
        }
        tx_state.closed = if closed { Fact::Yes } else { Fact::No };
        Ok(())
    }

    fn see_token(&mut self, tag: Tag, revoked: bool) -> Result<(), Wrong> {
        let own = self.tokens.get_mut(&tag).expect("a token");
        if !own.revoked.options().contains(&revoked) {
            return Err(format!("token {tag} revoked: {revoked}, and that is wrong"));
        }
        own.revoked = if revoked { Fact::Yes } else { Fact::No };
        Ok(())
    }

    fn redeemed(
        &mut self,
        call: &Call,
        redeemed: &Redeemed,
        got: Want,
        was_known: Fact,
        at: Moment,
    ) -> Result<(), Wrong> {
        let Call::Redeem {
            tag,
            by,
            tx,
            token,
            purpose,
            fields,
        } = call
        else {
            return Err("no redemption".to_owned());
        };
        let event = match got {
            Want::Again => "redeem_replayed",
            _ => "redeemed",
        };
        self.acknowledge(redeemed.entry, event, *by, Want::New)?;
        let life = self.life;
        let max = self.txs[tx].grant(*by, *purpose).map_or(0, |g| g.1);
        let tx = self.txs.get_mut(tx).expect("a transaction");
        tx.closed = Fact::No;
        let own = self.tokens.get_mut(token).expect("a token");
        own.revoked = Fact::No;
        if crate::house::number_of(&redeemed.details) != own.number {
            return Err(format!("{call:?} gave another number"));
        }
        let (least, most) = own.uses(*by, *purpose);
        match (got, was_known) {
            // It had happened, of which there was doubt.
            (Want::Again, Fact::Maybe) => own.pin(*by, *purpose, ((least + 1).min(most), most)),
            (Want::Again, _) => {}
            // It had not.
            (_, Fact::Maybe) => own.pin(*by, *purpose, (least + 1, most.max(least + 1))),
            _ => own.pin(*by, *purpose, (least + 1, max.min(most + 1))),
        }
        own.tell(*by, *purpose, max.wrapping_sub(redeemed.uses_left))
            .map_err(|what| format!("{call:?}: {what}"))?;
        if *fields != WITH_CODE {
            return match redeemed.code {
                None => Ok(()),
                Some(_) => Err(format!("{call:?} gave a code that was not asked for")),
            };
        }
        let Some(code) = &mut own.code else {
            return match (&redeemed.code, redeemed.code_status) {
                (None, CodeStatus::NotProvided) => Ok(()),
                (_, status) => Err(format!("{call:?}: {status:?}, but there is no code")),
            };
        };
        let age_ms = at.monotonic_ms - code.since_ms;
        match &redeemed.code {
            Some(given) => {
                let repeats = code
                    .out
                    .is_none_or(|(who, request, _)| (who, request) == (*by, *tag));
                let in_time = match code.out {
                    Some((.., out_ms)) => {
                        at.monotonic_ms - out_ms < limits::SECURITY_CODE_REPEAT_MS
                    }
                    None => age_ms < limits::SECURITY_CODE_MS,
                };
                if code.wiped || code.life != life || !repeats || !in_time {
                    return Err(format!("{call:?} gave a code that must be gone"));
                }
                if given.expose() != code.text {
                    return Err(format!("{call:?} gave another code"));
                }
                code.out.get_or_insert((*by, *tag, at.monotonic_ms));
            }
            None => {
                let due = code.sure
                    && !code.wiped
                    && code.life == life
                    && code.out.is_none()
                    && got == Want::New
                    && age_ms < limits::SECURITY_CODE_MS;
                if due {
                    return Err(format!(
                        "{call:?} did not give the code: {:?}",
                        redeemed.code_status
                    ));
                }
            }
        }
        Ok(())
    }

    /// Notes an entry that an answer named. No two answers name the same new one.
    fn acknowledge(
        &mut self,
        entry: u64,
        event: &'static str,
        by: Who,
        got: Want,
    ) -> Result<(), Wrong> {
        let before = self.acknowledged.insert(entry, (event, by));
        match before {
            Some(_) if got == Want::New => Err(format!("entry {entry} was named twice")),
            _ => Ok(()),
        }
    }

    /// The process died or was stopped: codes are gone.
    pub fn new_life(&mut self) {
        self.life += 1;
    }

    /// The age of a transaction, for those who ask about old ones.
    pub fn is_young(&self, tx: Tag, now: Timestamp) -> bool {
        now.since_ms(self.txs[&tx].opened_at) < 12 * DAY_MS
    }

    /// Whom to ask about a token's uses, and what the answer is when the ledger has `count`.
    pub fn asked_of(&self, token: Tag) -> Vec<(Who, Purpose)> {
        let own = &self.tokens[&token];
        let tx = &self.txs[&own.tx];
        tx.parties
            .iter()
            .enumerate()
            .flat_map(|(place, who)| grants(place).into_iter().map(|(p, ..)| (*who, p)))
            .collect()
    }
}

impl Tok {
    pub fn uses(&self, who: Who, purpose: Purpose) -> Uses {
        self.used
            .get(&(who, purpose as u8))
            .copied()
            .unwrap_or((0, 0))
    }

    fn pin(&mut self, who: Who, purpose: Purpose, uses: Uses) {
        self.used.insert((who, purpose as u8), uses);
    }

    /// Somebody says how many uses are burned.
    pub fn tell(&mut self, who: Who, purpose: Purpose, used: u8) -> Result<(), Wrong> {
        let (least, most) = self.uses(who, purpose);
        if used < least || used > most {
            return Err(format!(
                "{used} uses of {who} for {} are burned, and {least} to {most} would be right",
                purpose.as_str()
            ));
        }
        self.pin(who, purpose, (used, used));
        Ok(())
    }
}

pub fn site_of(place: usize) -> &'static str {
    SITES[place]
}
