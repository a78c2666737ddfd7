//! Plays a list of operations against a vault and holds every answer against the model. One
//! caller's thread, and rounds whose calls the list decides: the same list goes the same way.

use super::line::Bug;
use super::ops::{
    ACME, BOLT, CARDS, Call, Engine, FIELDS, Found, OTHER, Op, Patience, SHOP, SITES, SealedText,
    Tag, Who, grants, kinds,
};
use super::spec::{Moment, Spec, caller_of, site_of, tx_of};
use super::world::{Exported, World, Wrong};
use crate::house::*;
use payvault::clock::{DAY_MS, Timestamp};
use payvault::ids::TransactionId;
use payvault::keys::{Encapsulation, KeyName, KeyState, seal_key};
use payvault::payment::{Details, SecurityCode};
use payvault::policy::{AllowanceKey, Denial, Party, Principal, Role, Terms};
use payvault::vault::Amiss;
use payvault::vault::command::{
    Admin, Caller, Done, OpenedIn, Refusal, Rewrap, SealedIn, StaleRows, Work, WorkResult,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a list is played.
#[derive(Clone, Copy)]
pub struct Setup {
    pub engine: Engine,
    pub bug: Bug,
    /// Whether the disk is looked at with every answer (in memory only).
    pub watch_the_disk: bool,
}

/// What was done, by kind.
#[derive(Default, Clone)]
pub struct Tally {
    pub operations: u64,
    pub commits: u64,
    pub by_kind: BTreeMap<&'static str, u64>,
    pub failed: BTreeMap<&'static str, u64>,
    pub answers: BTreeMap<&'static str, u64>,
    pub entries: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.commits += other.commits;
        self.entries += other.entries;
        for (into, from) in [
            (&mut self.by_kind, &other.by_kind),
            (&mut self.failed, &other.failed),
            (&mut self.answers, &other.answers),
        ] {
            for (kind, count) in from {
                *into.entry(kind).or_default() += count;
            }
        }
    }
}

/// A promise that was broken, or a panic on the way.
#[derive(Debug)]
pub struct Violation {
    /// Position in the list; its length for what was found at the end.
    pub at: usize,
    pub what: Wrong,
}

/// How often a lost answer is asked for again; after half of it no fault is left in the way.
const TRIES: u32 = 12;

struct Play {
    world: World,
    spec: Spec,
    people: BTreeMap<Who, Arc<Principal>>,
    tally: Tally,
    watch: bool,
    /// The right time, while the clock shows another.
    right_time: Option<Timestamp>,
}

/// Plays the list.
pub fn play(ops: &[Op], setup: Setup) -> Result<Tally, Violation> {
    let at = std::cell::Cell::new(0);
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut play = Play::new(setup);
        for (place, op) in ops.iter().enumerate() {
            at.set(place);
            for (kind, count) in kinds(op) {
                *play.tally.by_kind.entry(kind).or_default() += count;
                play.tally.operations += count;
            }
            play.step(op)?;
        }
        at.set(ops.len());
        play.end()
    }));
    let what = match played {
        Ok(Ok(tally)) => return Ok(tally),
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
            format!("a panic: {}", text.unwrap_or_default())
        }
    };
    Err(Violation { at: at.get(), what })
}

impl Play {
    fn new(setup: Setup) -> Play {
        let world = World::new(setup.engine, setup.bug);
        let mut spec = Spec::default();
        let names = ["shop", "other", "acme", "bolt", "crux"];
        let people = (0u32..)
            .zip(names)
            .map(|(who, name)| (who, world.home.principal(name)))
            .collect();
        for site in 0..2 {
            for portal in [SHOP, OTHER] {
                for processor in [ACME, BOLT] {
                    spec.allowed.insert((site, portal, processor));
                }
            }
        }
        Play {
            watch: setup.watch_the_disk && setup.engine == Engine::Memory,
            world,
            spec,
            people,
            tally: Tally::default(),
            right_time: None,
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self
                .right_time
                .unwrap_or_else(|| self.world.home.house.clock.now()),
            monotonic_ms: self.world.home.house.clock.monotonic_ms(),
            suspect: self.right_time.is_some(),
        }
    }

    fn step(&mut self, op: &Op) -> Result<(), Wrong> {
        let clock = Arc::clone(&self.world.home.clock);
        match op {
            Op::Calls(calls, patience) => self.calls(calls, *patience)?,
            Op::Fault {
                after,
                fault,
                reopenings,
            } => self.world.desk.order(*after, *fault, *reopenings),
            Op::BadRead { after } => self.world.desk.order_read(*after),
            Op::Crash { old_mark } => self.crash(*old_mark)?,
            Op::Restart => {
                self.world.restart()?;
                self.spec.new_life();
            }
            Op::Pass { ms } => clock.pass_ms(*ms),
            Op::Border { month, beyond_ms } => {
                let now = self.moment().now;
                let mut end = Timestamp((u64::from(now.day()) + 1) * DAY_MS);
                while *month && end.year_month() == now.year_month() {
                    end = end.plus_ms(DAY_MS);
                }
                clock.pass_ms(end.since_ms(now) - 1 + beyond_ms);
            }
            Op::Jolt { back, call } => {
                let now = self.moment().now;
                let far = 10 * MINUTE_MS;
                clock.step_to(match back {
                    true => Timestamp(now.0 - far),
                    false => now.plus_ms(far),
                });
                self.right_time = Some(now);
                let played = self.calls(std::slice::from_ref(call), Patience::Leave);
                self.right_time = None;
                clock.step_to(now);
                played?;
            }
            Op::Tick => self.world.tick()?,
            Op::Compare => self.compare()?,
            Op::Disable { who } => self.disable(*who)?,
            Op::Enrol { tag } => self.enrol(*tag)?,
            Op::Allow {
                site,
                portal,
                processor,
                on,
                second,
            } => self.allow(*site, *portal, *processor, *on, *second)?,
            Op::Rekey => self.rekey()?,
        }
        self.world.note_checkpoint();
        Ok(())
    }

    fn crash(&mut self, old_mark: bool) -> Result<(), Wrong> {
        self.world.crash(old_mark)?;
        self.spec.new_life();
        Ok(())
    }

    fn work(&self, call: &Call) -> Work {
        let spec = &self.spec;
        let token = |tag| again(&spec.tokens[tag].token);
        match call {
            Call::Open {
                tag,
                by,
                site: place,
                parties,
                expires_ms,
                release_ms,
            } => {
                let now = self.moment().now;
                // What is asked again is asked with the terms of the first time.
                let then = spec.first_asked(*tag).unwrap_or(now);
                let mut parties: Vec<Party> = parties
                    .iter()
                    .enumerate()
                    .map(|(place, who)| Party {
                        principal: self.people[who].id,
                        grants: grants(place)
                            .into_iter()
                            .map(|(purpose, fields, uses)| grant(purpose, fields, uses))
                            .collect(),
                    })
                    .collect();
                parties.sort_by_key(|p| p.principal);
                Work::Open {
                    request: request(u64::from(*tag)),
                    terms: Box::new(Terms {
                        site: site(site_of(*place)),
                        portal: self.people[by].id,
                        expires_at: then.plus_ms(*expires_ms),
                        release_until: then.plus_ms(*release_ms),
                        amount: None,
                        merchant: String::new(),
                        reference: String::new(),
                        parties,
                    }),
                }
            }
            Call::Tokenize {
                tag,
                tx,
                card,
                code,
                replaces,
                sealed,
                ..
            } => {
                let request = request(u64::from(*tag));
                let transaction = spec.txs[tx].id;
                let details = card_details(CARDS[*card]);
                let code = code.map(|code| security_code(&code.to_string()));
                let replaces = replaces.as_ref().map(token);
                match sealed {
                    None => Work::Tokenize {
                        request,
                        transaction,
                        details: Box::new(details),
                        code,
                        replaces,
                    },
                    Some(sealed) => Work::TokenizeSealed {
                        request,
                        transaction,
                        sealed: Box::new(self.opened(sealed, *tx, (details, code))),
                        replaces,
                    },
                }
            }
            Call::Redeem {
                tag,
                tx,
                token: of,
                purpose,
                fields,
                ..
            } => redemption(
                request(u64::from(*tag)),
                spec.txs[tx].id,
                &spec.tokens[of].token,
                *purpose,
                FIELDS[*fields],
            ),
            Call::Report {
                tag,
                tx,
                token: of,
                won,
                ..
            } => Work::Report {
                request: request(u64::from(*tag)),
                transaction: spec.txs[tx].id,
                token: token(of),
                result: match won {
                    true => WorkResult::Succeeded,
                    false => WorkResult::Declined,
                },
                reference: String::new(),
            },
            Call::Describe { tx, token: of, .. } => Work::Describe {
                transaction: spec.txs[tx].id,
                token: token(of),
            },
            Call::Get { tx, .. } => Work::Get {
                transaction: spec.txs[tx].id,
            },
            Call::Revoke { tx, token: of, .. } => Work::Revoke {
                transaction: spec.txs[tx].id,
                token: token(of),
            },
            Call::Close { tx, .. } => Work::Close {
                transaction: spec.txs[tx].id,
            },
        }
    }

    /// What the floor above makes of a sealed text, before the vault judges it.
    fn opened(
        &self,
        sealed: &SealedText,
        tx: Tag,
        inside: (Details, Option<SecurityCode>),
    ) -> SealedIn {
        let mut text = [0; 32];
        text[..4].copy_from_slice(&sealed.text.to_be_bytes());
        let own = self.spec.site(tx);
        let place = match sealed.found {
            Found::Nothing => {
                let why = Amiss::DoesNotOpen;
                return SealedIn::Amiss { text, why };
            }
            Found::Details => own,
            Found::Elsewhere => SITES.len() - 1 - own,
        };
        let mut encapsulation = [0; 16];
        encapsulation[..4].copy_from_slice(&sealed.text.to_be_bytes());
        SealedIn::Opened(OpenedIn {
            text,
            site: site(site_of(place)),
            encapsulation: Encapsulation(encapsulation),
            not_after: self.spec.opens_until(sealed).unwrap_or(self.moment().now),
            details: Some(inside),
        })
    }

    fn caller(&self, who: Who) -> Caller {
        caller(Arc::clone(&self.people[&who]))
    }

    /// Calls that arrive together, each judged in the order of their rounds.
    fn calls(&mut self, calls: &[Call], patience: Patience) -> Result<(), Wrong> {
        let now = self.moment().now;
        let calls: Vec<&Call> = calls
            .iter()
            .filter(|call| self.spec.can_be_put(call, now))
            .collect();
        let calls = in_turns(calls);
        for call in &calls {
            self.spec.ask(call, now);
        }
        let works = calls
            .iter()
            .map(|call| (self.caller(caller_of(call)), self.work(call)))
            .collect();
        let answers = self.world.ask_together(works);
        let mut lost = Vec::new();
        for (call, answer) in calls.into_iter().zip(answers) {
            if !self.answered(call, answer)? {
                lost.push(call);
            }
        }
        let mut crash = patience == Patience::SettleOverACrash;
        for call in lost {
            let may_be_left = matches!(call, Call::Redeem { .. });
            if may_be_left && patience == Patience::Leave {
                continue;
            }
            if std::mem::take(&mut crash) {
                self.crash(false)?;
            }
            self.settle(call)?;
        }
        Ok(())
    }

    /// Asks again, as the same request, until the answer says what happened.
    fn settle(&mut self, call: &Call) -> Result<(), Wrong> {
        for number in 0..TRIES {
            if number == TRIES / 2 {
                self.world.desk.calm();
            }
            let work = (self.caller(caller_of(call)), self.work(call));
            let answer = self
                .world
                .ask_together(vec![work])
                .pop()
                .expect("an answer");
            if self.answered(call, answer)? {
                return Ok(());
            }
        }
        Err(format!("{call:?}: the vault does not come back"))
    }

    /// Takes an answer in. Whether it says what happened.
    fn answered(&mut self, call: &Call, answer: Result<Done, Refusal>) -> Result<bool, Wrong> {
        let at = self.moment();
        let answer = match answer {
            Err(Refusal::Unavailable(_) | Refusal::StorageFull) => {
                self.count("lost");
                self.spec.doubt(call, at);
                return Ok(false);
            }
            Err(Refusal::Denied(denial)) => {
                self.count(denial.as_str());
                Err(denial)
            }
            Err(other) => return Err(format!("{call:?}: {other}")),
            Ok(done) => {
                self.count("done");
                Ok(done)
            }
        };
        let entry = answer.as_ref().ok().and_then(entry_of);
        let transaction = tx_of(call).map(|tx| self.spec.txs[&tx].id);
        self.spec.learn(call, answer, at, transaction)?;
        if let Some(entry) = entry.filter(|_| self.watch) {
            let (event, who) = self.spec.acknowledged[&entry];
            let Some(body) = self.world.on_disk(entry) else {
                return Err(format!(
                    "{call:?} was answered before its entry was on the disk"
                ));
            };
            let right = body["event"] == event
                && body["outcome"] == "ok"
                && body["actor"] == self.people[&who].id.to_string();
            if !right {
                return Err(format!(
                    "{call:?}: entry {entry} tells of something else: {body}"
                ));
            }
        }
        Ok(true)
    }

    fn count(&mut self, answer: &'static str) {
        *self.tally.answers.entry(answer).or_default() += 1;
    }

    /// One administrative act, asked until there is an answer.
    fn administer(
        &mut self,
        by: &str,
        act: impl Fn() -> Admin,
    ) -> Result<(Result<Done, Denial>, bool), Wrong> {
        for number in 0..TRIES {
            if number == TRIES / 2 {
                self.world.desk.calm();
            }
            let work = (self.world.home.caller(by), Work::Admin(Box::new(act())));
            let answer = self
                .world
                .ask_together(vec![work])
                .pop()
                .expect("an answer");
            match answer {
                Ok(done) => {
                    let entry = entry_of(&done).filter(|_| self.watch);
                    if entry.is_some_and(|entry| self.world.on_disk(entry).is_none()) {
                        return Err(
                            "a change was answered before its entry was on the disk".to_owned()
                        );
                    }
                    return Ok((Ok(done), number > 0));
                }
                Err(Refusal::Denied(denial)) => return Ok((Err(denial), number > 0)),
                Err(Refusal::Unavailable(_) | Refusal::StorageFull) => {
                    self.spec.doubt_codes();
                    self.count("lost");
                }
                Err(other) => return Err(format!("{other}")),
            }
        }
        Err("the vault does not come back".to_owned())
    }

    fn disable(&mut self, who: Who) -> Result<(), Wrong> {
        let Some(id) = self.people.get(&who).map(|p| p.id) else {
            return Ok(());
        };
        if who >= super::ops::FIRST_TAG && !self.spec.enrolled.contains(&who) {
            return Ok(());
        }
        match self.administer("ann", || Admin::DisablePrincipal(id))? {
            (Ok(_), _) => {
                self.spec.disabled.insert(who);
                Ok(())
            }
            (Err(denial), _) => Err(format!("disabling {who}: {denial}")),
        }
    }

    /// Asked by one operator and approved by `second`. Whether it was done.
    fn change(&mut self, second: &str, act: impl Fn() -> Admin) -> Result<bool, Wrong> {
        let id = match self.administer("ann", act)? {
            (Ok(Done::Pending(id)), _) => id,
            (Ok(_), _) => return Err("one operator did it alone".to_owned()),
            (Err(denial), _) => return Err(format!("a change: {denial}")),
        };
        let approved = self.administer(second, || Admin::Approve(id))?;
        match (second, approved) {
            ("ann", (Err(Denial::SameOperator), _)) => Ok(false),
            ("ben", (Ok(Done::Noted { .. }), _)) => Ok(true),
            // The try whose answer was lost had done it.
            ("ben", (Err(Denial::NotPending), true)) => Ok(true),
            (_, (Ok(_), _)) => Err(format!("approved by {second}")),
            (_, (Err(denial), _)) => Err(format!("approving: {denial}")),
        }
    }

    fn enrol(&mut self, tag: Who) -> Result<(), Wrong> {
        let newcomer = principal(&format!("new-{tag}"), Role::Processor);
        let newcomer = Principal {
            created_at: self.moment().now,
            last_seen: self.moment().now,
            ..newcomer
        };
        if self.change("ben", || Admin::CreatePrincipal(newcomer.clone()))? {
            self.spec.enrolled.insert(tag);
            self.people.insert(tag, Arc::new(newcomer));
        }
        Ok(())
    }

    fn allow(
        &mut self,
        place: usize,
        portal: Who,
        processor: Who,
        on: bool,
        second: bool,
    ) -> Result<(), Wrong> {
        let (Some(from), Some(to)) = (self.people.get(&portal), self.people.get(&processor)) else {
            return Ok(());
        };
        let key = AllowanceKey {
            site: site(site_of(place)),
            portal: from.id,
            processor: to.id,
        };
        let allowance = on.then_some(EVERYTHING);
        let second = if second { "ben" } else { "ann" };
        if self.change(second, || Admin::SetAllowance(key, allowance))? {
            let row = (place, portal, processor);
            match on {
                true => self.spec.allowed.insert(row),
                false => self.spec.allowed.remove(&row),
            };
        }
        Ok(())
    }

    /// Keys are followed by others, and rows sealed anew, in whatever the faults leave of it. Nothing
    /// that anybody could see changes.
    fn rekey(&mut self) -> Result<(), Wrong> {
        let home = &self.world.home;
        let rotate = Work::Admin(Box::new(Admin::RotateKey(None)));
        let transactions: Vec<_> = self.spec.txs.values().map(|tx| tx.id).take(60).collect();
        let named = transactions.clone();
        let others = ["shop", "ann"].map(|name| [&b"P"[..], &home.id(name).0].concat());
        // A row that another call of the same round only looks at, too.
        let look = self.spec.txs.iter().next().map(|(tx, of)| {
            let call = Call::Get {
                by: of.portal,
                tx: *tx,
            };
            (
                caller(Arc::clone(&self.people[&of.portal])),
                self.work(&call),
            )
        });
        let rewrap = |rows| (Caller::vault(), Work::Rewrap(Rewrap::Rows(rows)));
        let alone = StaleRows {
            transactions: Vec::new(),
            others: others.into(),
        };
        let with_others = StaleRows {
            transactions,
            others: Vec::new(),
        };
        let mut steps = vec![(home.caller("ann"), rotate)];
        steps.extend(look);
        steps.extend([rewrap(with_others), rewrap(alone)]);
        for answer in self.world.ask_together(steps) {
            match answer {
                Ok(Done::Keys { .. } | Done::Got(_) | Done::Rewrapped { failed: 0, .. }) => {}
                // As any round may: the faults are ordered.
                Err(Refusal::Unavailable(_) | Refusal::StorageFull) => return Ok(()),
                // A bucket that came to its end.
                Err(Refusal::Denied(_)) => {}
                Err(refusal) => return Err(format!("keys can't be followed: {refusal}")),
                _ => return Err("a row can't be sealed anew".to_owned()),
            }
        }
        self.none_is_left_behind(&named)
    }

    /// None of these transactions' rows lies under a key that another one followed, while that one
    /// seals.
    fn none_is_left_behind(&self, named: &[TransactionId]) -> Result<(), Wrong> {
        if self.world.engine != Engine::Memory {
            return Ok(());
        }
        let now = self.moment().now;
        let (_, keys) = self.world.home.vault().keys();
        let rows = self.world.home.disk.durable();
        for id in named {
            let row = rows.get(&[&b"X"[..], &id.0, b"s"].concat());
            let under = row.and_then(|row| seal_key(row));
            let Some(under) = keys.iter().find(|key| Some(key.id) == under) else {
                continue;
            };
            let newest = keys
                .iter()
                .rfind(|key| key.name == under.name)
                .expect("itself");
            if newest.id != under.id && newest.not_after_encrypt > now {
                return Err(format!("{id}: its row was left under an earlier key"));
            }
        }
        Ok(())
    }

    /// Everything that the model knows is what the vault says, and the ledger tells the same.
    fn compare(&mut self) -> Result<(), Wrong> {
        self.world.desk.calm();
        let now = self.moment().now;
        let txs: Vec<_> = self
            .spec
            .txs
            .iter()
            .map(|(tag, tx)| (*tag, tx.portal))
            .collect();
        for (tx, by) in txs {
            self.settle(&Call::Get { by, tx })?;
        }
        let entries = self.world.export()?;
        self.tally.entries = entries.len() as u64;
        for (index, (event, who)) in &self.spec.acknowledged {
            let Some(entry) = entries.get(*index as usize) else {
                return Err(format!(
                    "entry {index} ({event}) was acknowledged and is lost"
                ));
            };
            let right = entry.get("event") == *event
                && entry.get("outcome") == "ok"
                && entry.get("actor") == self.people[who].id.to_string()
                && entry.get("index") == index.to_string();
            if !right {
                return Err(format!(
                    "entry {index} ({event}) was acknowledged and is another"
                ));
            }
        }
        self.compare_uses(&entries)?;
        let asked: Vec<Call> = self
            .spec
            .tokens
            .iter()
            .filter(|(_, own)| self.spec.is_young(own.tx, now))
            .flat_map(|(token, own)| {
                let parties = self.spec.asked_of(*token);
                let mut parties: Vec<Who> = parties.into_iter().map(|(who, _)| who).collect();
                parties.dedup();
                let tx = own.tx;
                parties.into_iter().map(move |by| Call::Describe {
                    by,
                    tx,
                    token: *token,
                })
            })
            .collect();
        for call in asked {
            self.settle(&call)?;
        }
        Ok(())
    }

    /// One entry a burned use, and one burned use an entry.
    fn compare_uses(&mut self, entries: &[Exported]) -> Result<(), Wrong> {
        let mut counts = BTreeMap::<[String; 4], u8>::new();
        for entry in entries {
            if entry.get("event") == "redeemed" && entry.get("outcome") == "ok" {
                let key = ["transaction", "token", "actor", "purpose"];
                *counts
                    .entry(key.map(|m| entry.get(m).to_owned()))
                    .or_default() += 1;
            }
            if entry.get("event") == "integrity" {
                return Err("the vault found a stored value damaged".to_owned());
            }
        }
        let tags: Vec<_> = self.spec.tokens.keys().copied().collect();
        for tag in tags {
            for (who, purpose) in self.spec.asked_of(tag) {
                let own = self.spec.tokens.get_mut(&tag).expect("a token");
                let key = [
                    self.spec.txs[&own.tx].id.to_string(),
                    own.token.selector().reference().to_string(),
                    self.people[&who].id.to_string(),
                    purpose.as_str().to_owned(),
                ];
                let count = counts.remove(&key).unwrap_or(0);
                own.tell(who, purpose, count)
                    .map_err(|what| format!("by the ledger, of token {tag}: {what}"))?;
            }
        }
        match counts.keys().next() {
            Some(key) => Err(format!(
                "the ledger has a release that nobody asked for: {key:?}"
            )),
            None => Ok(()),
        }
    }

    /// An hour later the keys whose time has come are gone for good, and no other one is.
    fn keys_end(&mut self) -> Result<(), Wrong> {
        self.world.home.clock.pass_ms(HOUR_MS);
        // Keys end with the next round.
        self.world.export()?;
        let now = self.moment().now;
        for key in self.world.home.ring().list() {
            let end = match key.name() {
                KeyName::Replay { day } => u64::from(day) + 2,
                KeyName::Release { day, .. } => u64::from(day) + 4,
                _ => u64::MAX / DAY_MS,
            };
            let ended = now.0 >= end * DAY_MS;
            if ended != (key.state() == KeyState::Destroyed) {
                return Err(format!("{}: {:?}", key.name(), key.state()));
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<Tally, Wrong> {
        // With a planted bug the crash shows what the list did, and not what looking at it did.
        if self.world.bug == Bug::None {
            self.compare()?;
        }
        self.crash(false)?;
        self.compare()?;
        self.keys_end()?;
        self.world.check()?;
        let (commits, failed) = self.world.desk.figures();
        self.tally.commits = commits;
        self.tally.failed = failed;
        Ok(self.tally)
    }
}

/// The entry that an answer names.
fn entry_of(done: &Done) -> Option<u64> {
    match done {
        Done::Opened { entry, .. }
        | Done::Tokenized { entry, .. }
        | Done::Reported { entry, .. }
        | Done::Noted { entry }
        | Done::Closed { entry, .. } => Some(*entry),
        Done::Redeemed(got) => Some(got.entry),
        Done::Erasure(erasure) => Some(erasure.entry),
        Done::Got(_)
        | Done::Described(_)
        | Done::Pending(_)
        | Done::Keys { .. }
        | Done::Rewrapped { .. } => None,
    }
}

/// The order in which calls that are sent in this order are judged: the first one in a round of its
/// own; then, of all that waited meanwhile, one of each caller, and again.
fn in_turns(calls: Vec<&Call>) -> Vec<&Call> {
    let mut callers: Vec<(Who, usize)> = Vec::new();
    let mut keyed: Vec<_> = calls
        .into_iter()
        .enumerate()
        .map(|(place, call)| {
            if place == 0 {
                return ((0, 0, 0), call);
            }
            let who = caller_of(call);
            let rank = callers.iter().position(|(known, _)| *known == who);
            let rank = rank.unwrap_or_else(|| {
                callers.push((who, 0));
                callers.len() - 1
            });
            callers[rank].1 += 1;
            ((1, callers[rank].1, rank), call)
        })
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, call)| call).collect()
}
