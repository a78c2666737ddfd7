//! Many callers at once, on threads of their own, over the real committer's thread, while commits
//! fail and the process dies under them. What they saw must have an order (`history`), and the
//! ledger must have the same one.
//!
//! Which call comes when is not the seed's to say, so a failure here is told with all that was
//! seen instead of being played again.

use super::history::{Counted, History, Span, Unseen, check};
use super::line::Bug;
use super::ops::{Dice, Engine};
use super::play::Tally;
use super::world::{World, Wrong, export_text, verified};
use crate::house::*;
use payvault::ids::TransactionId;
use payvault::ledger::{Receipt, verify_receipt};
use payvault::payment::Token;
use payvault::policy::{Denial, Field, Party, Purpose};
use payvault::store::memory::Fault;
use payvault::vault::command::{Done, Refusal, RequestId, Work};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

const CALLERS: u64 = 8;
const CALLS: u64 = 14;
const TARGETS: usize = 4;
/// Who may redeem each token for what, and how often.
const USES: [(&str, Purpose, u8); 3] = [
    ("acme", Purpose::Authorize, 5),
    ("acme", Purpose::Capture, 7),
    ("bolt", Purpose::Payout, 4),
];

struct Target {
    transaction: TransactionId,
    token: Token,
    /// When it was being revoked.
    revoked: Mutex<Option<Span>>,
}

/// What somebody saw.
#[derive(Debug)]
enum Seen {
    /// A redemption, the entry that it was told and the use.
    Released {
        entry: u64,
        value: u8,
    },
    /// A retry said that an earlier try had done it.
    Confirmed {
        entry: u64,
        value: u8,
        span: Span,
    },
    /// Nobody knows.
    Lost,
    Denied(Denial),
    /// The counts of a party's purposes.
    Counts(Vec<(Purpose, u8)>),
}

#[derive(Debug)]
struct Record {
    target: usize,
    who: &'static str,
    purpose: Purpose,
    /// Of the last try; of all tries for what was confirmed or lost.
    span: Span,
    seen: Seen,
}

struct Crowd {
    world: RwLock<World>,
    targets: Vec<Target>,
    /// Counts askings and answers of all threads.
    now: AtomicU64,
    records: Mutex<Vec<Record>>,
    wrong: Mutex<Vec<Wrong>>,
    answers: Mutex<BTreeMap<&'static str, u64>>,
    crashes: AtomicU64,
    receipts: AtomicU64,
    exports: AtomicU64,
    next_request: AtomicU64,
}

/// One seed's crowd.
pub fn run(seed: u64, engine: Engine, bug: Bug) -> Result<Tally, Wrong> {
    let mut dice = Dice(seed);
    let world = World::new(engine, bug);
    let targets = (0..TARGETS).map(|_| target(&world.home)).collect();
    let crowd = Crowd {
        world: RwLock::new(world),
        targets,
        now: AtomicU64::new(1),
        records: Mutex::default(),
        wrong: Mutex::default(),
        answers: Mutex::default(),
        crashes: AtomicU64::new(0),
        receipts: AtomicU64::new(0),
        exports: AtomicU64::new(0),
        next_request: AtomicU64::new(1_000_000),
    };
    let working = AtomicU64::new(CALLERS);
    let seeds: Vec<u64> = (0..CALLERS).map(|_| dice.roll(u64::MAX)).collect();
    std::thread::scope(|scope| {
        for seed in seeds {
            let (crowd, working) = (&crowd, &working);
            scope.spawn(move || {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    crowd.call(&mut Dice(seed));
                }));
                if done.is_err() {
                    crowd.blame("a caller panicked".to_owned());
                }
                working.fetch_sub(1, Ordering::SeqCst);
            });
        }
        scope.spawn(|| crowd.audit(&working));
        crowd.disturb(&mut dice, &working);
    });
    crowd.judge()
}

fn target(home: &Home) -> Target {
    let mut terms = home.terms();
    let mut parties = BTreeMap::<&str, Party>::new();
    for (who, purpose, max) in USES {
        let party = parties.entry(who).or_insert_with(|| Party {
            principal: home.id(who),
            grants: Vec::new(),
        });
        party.grants.push(grant(purpose, &[Field::Number], max));
    }
    terms.parties = parties.into_values().collect();
    terms.parties.sort_by_key(|p| p.principal);
    let transaction = home.open_with("shop", terms).expect("opened");
    Target {
        transaction,
        token: home.tokenize(transaction, visa()),
        revoked: Mutex::default(),
    }
}

impl Crowd {
    fn tick(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst)
    }

    fn blame(&self, what: Wrong) {
        self.wrong.lock().expect("the list").push(what);
    }

    fn note(&self, record: Record) {
        self.records.lock().expect("the list").push(record);
    }

    /// One try of one call.
    fn ask(&self, who: &str, work: Work) -> (Span, Result<Done, Refusal>) {
        let (vault, caller) = {
            let world = self.world.read().expect("the world");
            (
                std::sync::Arc::clone(world.home.vault()),
                world.home.caller(who),
            )
        };
        let from = self.tick();
        let answer = RUNTIME.block_on(vault.ask_without_beat(caller, work));
        let to = self.tick();
        let name = match &answer {
            Ok(_) => "done",
            Err(Refusal::Denied(denial)) => denial.as_str(),
            Err(_) => "lost",
        };
        *self
            .answers
            .lock()
            .expect("the list")
            .entry(name)
            .or_default() += 1;
        (Span { from, to }, answer)
    }

    /// One caller's work.
    fn call(&self, dice: &mut Dice) {
        for _ in 0..CALLS {
            let target = dice.roll(TARGETS as u64) as usize;
            let (who, purpose, _) = dice.one(&USES);
            match dice.roll(24) {
                0..=2 => self.describe(target, who, purpose),
                3 => self.revoke(target),
                _ => {
                    let tries = dice.one(&[1, 6, 6, 6]);
                    self.redeem(dice, target, who, purpose, tries);
                }
            }
        }
    }

    fn describe(&self, target: usize, who: &'static str, purpose: Purpose) {
        let own = &self.targets[target];
        let work = Work::Describe {
            transaction: own.transaction,
            token: again(&own.token),
        };
        let (span, answer) = self.ask(who, work);
        if let Ok(Done::Described(described)) = answer {
            let counts = described
                .uses_left
                .iter()
                .map(|(purpose, left)| (*purpose, max_of(who, *purpose) - left))
                .collect();
            self.note(Record {
                target,
                who,
                purpose,
                span,
                seen: Seen::Counts(counts),
            });
        }
    }

    /// The last target is the one that is revoked.
    fn revoke(&self, target: usize) {
        let own = &self.targets[target];
        if target + 1 != TARGETS {
            return;
        }
        let work = Work::Revoke {
            transaction: own.transaction,
            token: again(&own.token),
        };
        let (span, answer) = self.ask("shop", work);
        let mut revoked = own.revoked.lock().expect("the span");
        // What failed may have done it: from then on a refusal is right, but no release is wrong.
        let to = if answer.is_ok() { span.to } else { u64::MAX };
        *revoked = Some(match *revoked {
            None => Span { to, ..span },
            Some(before) => Span {
                from: before.from.min(span.from),
                to: before.to.min(to),
            },
        });
    }

    fn redeem(
        &self,
        dice: &mut Dice,
        target: usize,
        who: &'static str,
        purpose: Purpose,
        tries: u32,
    ) {
        let own = &self.targets[target];
        let number = self.next_request.fetch_add(1, Ordering::SeqCst);
        let mut first = None;
        let note = |span: Span, seen| {
            self.note(Record {
                target,
                who,
                purpose,
                span,
                seen,
            });
        };
        for _ in 0..tries {
            let id: RequestId = request(number);
            let work = redemption(id, own.transaction, &own.token, purpose, &[Field::Number]);
            let (span, answer) = self.ask(who, work);
            let all = Span {
                from: *first.get_or_insert(span.from),
                to: span.to,
            };
            match answer {
                Ok(Done::Redeemed(got)) => {
                    self.look(got.entry, got.replayed);
                    if number_of(&got.details) != VISA {
                        self.blame("another number was given".to_owned());
                    }
                    let (entry, value) = (got.entry, max_of(who, purpose) - got.uses_left);
                    if dice.once_in(6) {
                        self.receipt(who, entry);
                    }
                    return match got.replayed {
                        true => note(all, Seen::Confirmed { entry, value, span }),
                        false => note(span, Seen::Released { entry, value }),
                    };
                }
                Ok(_) => self.blame("another answer".to_owned()),
                Err(Refusal::Denied(denial)) => {
                    if all.from < span.from {
                        // An earlier try may have been done before, say, the revocation.
                        let open = Span {
                            to: span.from,
                            ..all
                        };
                        note(open, Seen::Lost);
                    }
                    return note(span, Seen::Denied(denial));
                }
                Err(_) => {}
            }
        }
        let from = first.unwrap_or_default();
        note(Span { from, to: u64::MAX }, Seen::Lost);
    }

    /// The entry of an answer is on the disk when the answer is there.
    fn look(&self, entry: u64, replayed: bool) {
        let world = self.world.read().expect("the world");
        if world.engine != Engine::Memory {
            return;
        }
        let event = if replayed {
            "redeem_replayed"
        } else {
            "redeemed"
        };
        match world.on_disk(entry) {
            Some(body) if body["event"] == event && body["outcome"] == "ok" => {}
            Some(body) => self.blame(format!("entry {entry} tells of something else: {body}")),
            None => self.blame(format!("answered before entry {entry} was on the disk")),
        }
    }

    /// The receipt of an own act, which anybody can verify; none while the vault is away.
    fn receipt(&self, who: &str, entry: u64) {
        let (vault, id) = {
            let world = self.world.read().expect("the world");
            (Arc::clone(world.home.vault()), world.home.id(who))
        };
        let issued = match RUNTIME.block_on(vault.receipt(entry, Some(id))) {
            Ok(issued) => issued,
            Err(Refusal::Sealed | Refusal::Unavailable(_)) => return,
            Err(other) => return self.blame(format!("no receipt of entry {entry}: {other}")),
        };
        let receipt = Receipt {
            entry: issued.entry,
            path: issued.path,
            checkpoint: issued.published.note.to_string(),
        };
        self.receipts.fetch_add(1, Ordering::SeqCst);
        let keys = [vault.verifier().clone()];
        if let Err(why) = verify_receipt(receipt.to_json().as_bytes(), &keys) {
            self.blame(format!("the receipt of entry {entry} is refused: {why}"));
        }
    }

    /// An auditor who exports all the time. Each export goes on where the one before it ended.
    fn audit(&self, working: &AtomicU64) {
        let mut before: Vec<String> = Vec::new();
        while working.load(Ordering::SeqCst) > 0 {
            let (vault, auditor) = {
                let world = self.world.read().expect("the world");
                (
                    Arc::clone(world.home.vault()),
                    world.home.principal("auditor"),
                )
            };
            let text = match RUNTIME.block_on(export_text(&vault, &auditor)) {
                Ok(text) => text,
                Err(Refusal::Sealed | Refusal::Unavailable(_) | Refusal::StorageFull) => continue,
                Err(other) => return self.blame(format!("no export: {other}")),
            };
            let now: Vec<String> = match verified(&vault, text) {
                Ok(entries) => entries.into_iter().map(|e| e.line).collect(),
                Err(what) => return self.blame(what),
            };
            if now.get(..before.len()) != Some(&before[..]) {
                return self
                    .blame("an export has another beginning than the one before".to_owned());
            }
            before = now;
            self.exports.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Faults and crashes while the callers work.
    fn disturb(&self, dice: &mut Dice, working: &AtomicU64) {
        while working.load(Ordering::SeqCst) > 0 {
            let before = self.now.load(Ordering::SeqCst);
            match dice.roll(5) {
                0 if self.crashes.load(Ordering::SeqCst) < 4 => {
                    self.crashes.fetch_add(1, Ordering::SeqCst);
                    let mut world = self.world.write().expect("the world");
                    if dice.once_in(3) {
                        // Only while nothing runs: the watch over rounds goes by the same clock.
                        // Less than a day in all, so that every retry is one.
                        world.desk.cut();
                        world.home.close();
                        world
                            .home
                            .clock
                            .pass_ms(dice.one(&[1, HOUR_MS, 5 * HOUR_MS]));
                    }
                    if let Err(what) = world.crash(dice.once_in(3)) {
                        drop(world);
                        return self.blame(what);
                    }
                }
                _ => {
                    let world = self.world.read().expect("the world");
                    let reopenings = dice.one(&[0, 0, 0, 1, 2]);
                    world
                        .desk
                        .order(1 + dice.roll(4), dice.one(&Fault::ALL), reopenings);
                    world.home.vault().tick();
                }
            }
            // The next one when the callers have got a little further.
            let far = before + 4 + dice.roll(60);
            while working.load(Ordering::SeqCst) > 0 && self.now.load(Ordering::SeqCst) < far {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }

    /// When all is quiet: what was seen, against an order, and against the ledger.
    fn judge(self) -> Result<Tally, Wrong> {
        let mut world = self.world.into_inner().expect("the world");
        let records = self.records.into_inner().expect("the list");
        if let Some(what) = self.wrong.into_inner().expect("the list").pop() {
            return Err(what);
        }
        world.desk.calm();
        world.crash(false)?;
        let entries = world.export()?;
        for (place, own) in self.targets.iter().enumerate() {
            let revoked = *own.revoked.lock().expect("the span");
            let reference = own.token.selector().reference().to_string();
            for (who, purpose, max) in USES {
                let actor = world.home.id(who).to_string();
                let released: Vec<u64> = entries
                    .iter()
                    .filter(|e| {
                        e.get("event") == "redeemed"
                            && e.get("outcome") == "ok"
                            && e.get("token") == reference
                            && e.get("actor") == actor
                            && e.get("purpose") == purpose.as_str()
                    })
                    .map(|e| e.get("index").parse().expect("an index"))
                    .collect();
                let mine = |r: &&Record| r.target == place && r.who == who;
                let history = history(records.iter().filter(mine), purpose, max, &released)?;
                let told = |what: Wrong| {
                    let seen: Vec<String> = records
                        .iter()
                        .filter(mine)
                        .filter(|r| r.purpose == purpose)
                        .map(|r| format!("{r:?}"))
                        .collect();
                    format!(
                        "{who}, {}, token {place}: {what}; entries {released:?}; seen:\n{}",
                        purpose.as_str(),
                        seen.join("\n")
                    )
                };
                check(&history).map_err(told)?;
                for record in records.iter().filter(mine) {
                    against_revocation(record, revoked).map_err(told)?;
                }
            }
        }
        in_order(&records)?;
        let (commits, failed) = world.desk.figures();
        let answers = self.answers.into_inner().expect("the list");
        Ok(Tally {
            operations: answers.values().sum(),
            commits,
            by_kind: BTreeMap::from([
                ("crowd", 1),
                ("crash", self.crashes.into_inner()),
                ("receipt verified", self.receipts.into_inner()),
                ("export verified in a crowd", self.exports.into_inner()),
            ]),
            failed,
            answers,
            entries: entries.len() as u64,
        })
    }
}

fn max_of(who: &str, purpose: Purpose) -> u8 {
    let found = USES.iter().find(|(w, p, _)| *w == who && *p == purpose);
    found.map_or(0, |(.., max)| *max)
}

/// What was seen of one counter; each answer's entry must be the ledger's entry of that use.
fn history<'a>(
    records: impl Iterator<Item = &'a Record>,
    purpose: Purpose,
    max: u8,
    released: &[u64],
) -> Result<History, Wrong> {
    let mut history = History {
        max,
        last: u8::try_from(released.len()).map_err(|e| e.to_string())?,
        ..History::default()
    };
    for record in records {
        let span = record.span;
        if let Seen::Counts(counts) = &record.seen {
            let own = counts.iter().find(|(p, _)| *p == purpose);
            history.reads.extend(own.map(|(_, value)| (span, *value)));
            continue;
        }
        if record.purpose != purpose {
            continue;
        }
        match &record.seen {
            Seen::Released { entry, value } => {
                let place = usize::from(*value).checked_sub(1);
                if place.and_then(|place| released.get(place)) != Some(entry) {
                    return Err(format!(
                        "use {value} has entry {entry} and not {released:?}"
                    ));
                }
                history.counted.push(Counted {
                    span,
                    value: *value,
                });
            }
            Seen::Confirmed {
                value, span: last, ..
            } => {
                history.unseen.push(Unseen {
                    span: Span {
                        to: last.from,
                        ..span
                    },
                    certain: true,
                });
                history.reads.push((*last, *value));
            }
            Seen::Lost => history.unseen.push(Unseen {
                span,
                certain: false,
            }),
            Seen::Denied(Denial::UsedUp) => history.used_up.push(span),
            Seen::Denied(Denial::Revoked) => {}
            Seen::Denied(other) => return Err(format!("refused: {other}")),
            Seen::Counts(_) => {}
        }
    }
    Ok(history)
}

/// Nothing is released after a revocation was confirmed, or refused before one was asked for.
fn against_revocation(record: &Record, revoked: Option<Span>) -> Result<(), Wrong> {
    match (&record.seen, revoked) {
        (Seen::Released { .. }, Some(revoked)) if record.span.from > revoked.to => {
            Err("released after the revocation".to_owned())
        }
        (Seen::Confirmed { span, .. }, Some(revoked)) if span.from > revoked.to => {
            Err("repeated after the revocation".to_owned())
        }
        (Seen::Denied(Denial::Revoked), None) => Err("refused as revoked".to_owned()),
        (Seen::Denied(Denial::Revoked), Some(revoked)) if record.span.to < revoked.from => {
            Err("refused as revoked beforehand".to_owned())
        }
        _ => Ok(()),
    }
}

/// All answers that name an entry, of whatever counter: who was answered before another asked has
/// the earlier entry.
fn in_order(records: &[Record]) -> Result<(), Wrong> {
    let mut named: Vec<(Span, u64)> = records
        .iter()
        .filter_map(|record| match &record.seen {
            Seen::Released { entry, .. } => Some((record.span, *entry)),
            Seen::Confirmed { entry, span, .. } => Some((*span, *entry)),
            _ => None,
        })
        .collect();
    named.sort_by_key(|(_, entry)| *entry);
    for (place, (span, entry)) in named.iter().enumerate() {
        for (later, other) in &named[place + 1..] {
            if entry == other {
                return Err(format!("entry {entry} was named twice"));
            }
            if later.to < span.from {
                return Err(format!(
                    "entry {other} was answered before {entry} was asked for"
                ));
            }
        }
    }
    Ok(())
}
