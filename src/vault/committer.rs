//! The committer: the one thread through which every change and every release goes.
//!
//! A plain struct whose [`Committer::round`] runs inline in tests; [`run`] only loops. A round
//! reads the rows of all commands at once, judges the commands in order over an overlay, commits
//! one write set, and only then applies effects and wakes the callers. A round that is not known
//! to be durable is never answered with anything but an error, and never signed.

use super::alarms::{Alarm, Alarms};
use super::batch::{Batch, Effect, No, Surroundings, log_bucket};
use super::codes::SecurityCodes;
use super::collect::Collecting;
use super::command::{Ask, Caller, Done, Note, Refusal, Rewrap, Work};
use super::commands::{bucket_of, transactions_of};
use super::delivery::Delivery;
use super::fair::Fair;
use super::floods::Floods;
use super::head::Head;
use super::keeper::Keeper;
use super::key_changes::{Need, Owed, others_of};
use super::load::{LoadError, Loaded, Tiles, load, make_whole, read_head};
use super::publish::Publisher;
use super::rates::ReleaseRates;
use super::redo::{self, After};
use super::registry::Registry;
use super::rows::{Row, page_key, tile_key, transaction_key};
use super::tee::Tee;
use super::watchdog::Watchdog;
use super::withheld::{Durable, Withheld};
use crate::clock::{Clock, Timestamp};
use crate::ids::{Site, TransactionId};
use crate::keys::{KeyName, Keyring, SealKind};
use crate::ledger::{Event, Outcome, Tree, encode_pages};
use crate::limits;
use crate::store::{CommitError, RoundId, Settled, Store, StoredValue, WriteSet};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

/// How often a round is tried again after a conflict.
const ATTEMPTS_MAX: u32 = 5;

/// How often ended keys are looked for.
pub(super) const HOUSEKEEPING_MS: u64 = 3_600_000;

/// What the committer shares with readers.
#[derive(Clone)]
pub struct Shared {
    /// The keyring. Written by the committer only, when a period begins or ends.
    pub ring: Arc<RwLock<Keyring>>,
    /// The tree, as of the last durable round.
    pub tree: Arc<RwLock<Tree>>,
    /// Who is enrolled, as of the last durable round.
    pub registry: Arc<ArcSwap<Registry>>,
    /// The head, as of the last durable round.
    pub head: Arc<ArcSwap<Head>>,
    /// Where a backup hears of each round.
    pub tee: Arc<Tee>,
    /// By how many milliseconds wall time is off, while it is suspect.
    pub clock_off: Arc<ArcSwapOption<i64>>,
    /// What opens sealed details; nothing before a portal asked for a key, and once the vault is
    /// closed.
    pub collecting: Arc<ArcSwapOption<Collecting>>,
    /// Alarms of other threads, for the committer's next look.
    pub raised: Raised,
}

impl Shared {
    /// Lays beside the keyring what opens sealed details now.
    pub(super) fn publish_collecting(&self) {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let collecting = Collecting::of(&ring).map(Arc::new);
        drop(ring);
        self.collecting.store(collecting);
    }
}

/// Alarms of other threads.
#[derive(Clone, Default)]
pub struct Raised(Arc<Mutex<Vec<Alarm>>>);

impl Shared {
    /// Leaves an alarm for the committer to enter.
    pub(super) fn raise(&self, alarm: Alarm) {
        let mut raised = self.raised.0.lock().unwrap_or_else(PoisonError::into_inner);
        if raised.len() < RAISED_MAX {
            raised.push(alarm);
        }
    }

    fn take_raised(&self) -> Vec<Alarm> {
        let mut raised = self.raised.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut raised)
    }
}

/// Alarms of other threads that wait; what comes beyond is in the log only.
const RAISED_MAX: usize = 64;

/// What the committer is told about the house.
#[derive(Clone)]
pub struct Settings {
    /// The sites, each with the longest time in milliseconds from opening to `release_until`.
    pub sites: std::collections::BTreeMap<Site, u64>,
    /// Those of them whose portals get fingerprints.
    pub fingerprints: BTreeSet<Site>,
    /// Those that take details only when they were sealed before they left the browser.
    pub sealed_only: BTreeSet<Site>,
    /// Denials a minute and principal that get an entry each.
    pub denials_per_minute: u32,
    /// How long each site keeps its log.
    pub retention: std::collections::BTreeMap<Site, super::Retention>,
    /// Days that copies of the keys directory are kept.
    pub key_backup_days: u32,
}

/// The committer.
pub struct Committer {
    pub(super) store: Box<dyn Store>,
    pub(super) shared: Shared,
    pub(super) head: Head,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    codes: SecurityCodes,
    floods: Floods,
    alarms: Alarms,
    rates: ReleaseRates,
    publisher: Publisher,
    delivery: Delivery,
    pub(super) watchdog: Arc<Watchdog>,
    /// Set after an engine error: nothing is read or written until the store was reopened and
    /// compared.
    fenced: bool,
    /// What else was done to keys and has no entry yet.
    pub(super) owed: Vec<Owed>,
    /// What the keyring did for the round that is being judged.
    pub(super) granted: Option<Need>,
    /// When keys near their last day were looked for.
    pub(super) last_look_ahead_ms: Option<u64>,
    /// Wall and monotonic time when they were last seen in step.
    in_step: (Timestamp, u64),
    clock_suspect: bool,
    pub(super) keeper: Keeper,
    /// The kind of seal that erasure rests on.
    seal: &'static str,
}

/// What a round decided, locked, and what unlocks it.
pub(super) type Judged = (Vec<Withheld<Result<Done, Refusal>>>, Durable);

/// Why a round was not committed.
pub(super) enum Failed {
    /// Try again from the start.
    Again,
    /// Answer every caller with this.
    Refuse(Refusal),
    /// The same; and nobody knows yet whether the round is durable.
    Unknown(Refusal),
    /// The keyring has something to do first; then try again.
    Keyring(Need),
}

impl Committer {
    /// A committer over an opened store.
    pub fn new(
        store: Box<dyn Store>,
        loaded: Loaded,
        shared: Shared,
        settings: Settings,
        clock: Clock,
        publisher: Publisher,
    ) -> Committer {
        let keeper = {
            let ring = shared.ring.read().unwrap_or_else(PoisonError::into_inner);
            Keeper::new(clock.monotonic_ms(), &ring)
        };
        // A clock that shows a time before the last entry's is suspect from the start.
        let begin = clock.now().max(loaded.head.last_time);
        Committer {
            store,
            shared,
            head: loaded.head,
            floods: Floods::new(settings.denials_per_minute),
            alarms: Alarms::new(settings.denials_per_minute),
            settings,
            in_step: (begin, clock.monotonic_ms()),
            codes: SecurityCodes::default(),
            rates: ReleaseRates::default(),
            publisher,
            delivery: Delivery::here(),
            watchdog: Watchdog::new(),
            fenced: false,
            owed: Vec::new(),
            granted: None,
            last_look_ahead_ms: None,
            clock_suspect: false,
            keeper,
            seal: SealKind::Passphrase.as_str(),
            clock,
        }
    }

    /// Says which kind of seal there is.
    pub(super) fn under_seal(&mut self, seal: SealKind) {
        self.seal = seal.as_str();
    }

    /// Watches over rounds; the process ends when one hangs.
    pub fn watchdog(&self) -> Arc<Watchdog> {
        Arc::clone(&self.watchdog)
    }

    /// Runs the commands: changes of the registry alone, everything else together, in order.
    pub fn round(&mut self, asks: Vec<Ask>) {
        let mut together = Vec::with_capacity(asks.len());
        for ask in asks {
            let alone = match &ask.work {
                Work::Admin(_) => true,
                // The vault's own rows have one writer a round.
                Work::Rewrap(Rewrap::Rows(stale)) => !stale.others.is_empty(),
                Work::Rewrap(_) => true,
                // A key that can't be made is nobody else's matter.
                Work::Note(Note::CollectKey) => true,
                _ => false,
            };
            if alone && !together.is_empty() {
                self.run(std::mem::take(&mut together));
            }
            together.push(ask);
            if alone {
                self.run(std::mem::take(&mut together));
            }
        }
        if !together.is_empty() {
            self.run(together);
        }
    }

    /// Runs one round.
    fn run(&mut self, mut asks: Vec<Ask>) {
        let now_ms = self.clock.monotonic_ms();
        asks.retain(|ask| !ask.reply.is_closed());
        let (late, asks): (Vec<Ask>, Vec<Ask>) =
            asks.into_iter().partition(|ask| ask.deadline_ms < now_ms);
        answer_all(late, &Refusal::TimedOut);
        if asks.is_empty() {
            return;
        }
        if let Err(refusal) = self.may_write() {
            self.alarms
                .failed(asks.len(), &refusal, self.head.last_time);
            return answer_all(asks, &refusal);
        }
        self.granted = None;
        for attempt in 0..ATTEMPTS_MAX {
            let watched = self.watchdog.begin(self.clock.monotonic_ms());
            let outcome = self.attempt(&asks);
            // Before anyone is answered: what callers do next is no part of the round.
            drop(watched);
            match outcome {
                Ok((results, durable)) => {
                    let answers = asks.into_iter().zip(results);
                    let answers = answers.map(|(ask, result)| (ask.reply, result.unlock(&durable)));
                    return self.delivery.deliver(answers.collect());
                }
                Err(Failed::Again) => tracing::debug!(attempt, "the round is judged again"),
                Err(Failed::Keyring(need)) => {
                    if let Err(refusal) = self.grant(need) {
                        return answer_all(asks, &refusal);
                    }
                }
                Err(Failed::Refuse(refusal) | Failed::Unknown(refusal)) => {
                    self.alarms
                        .failed(asks.len(), &refusal, self.head.last_time);
                    return answer_all(asks, &refusal);
                }
            }
        }
        answer_all(asks, &Refusal::Unavailable("the store is contended"));
    }

    /// Whether a round may begin: the store was compared since it last failed, and marks are kept.
    pub(super) fn may_write(&mut self) -> Result<(), Refusal> {
        if self.fenced && !self.recover() {
            return Err(Refusal::Unavailable(
                "the store failed and could not be reopened",
            ));
        }
        if self.publisher.is_failing() {
            return Err(Refusal::Unavailable("the high-water mark can't be written"));
        }
        Ok(())
    }

    /// Judges the commands and commits what they do. Nothing in memory changes unless it returns
    /// `Ok`.
    pub(super) fn attempt(&mut self, asks: &[Ask]) -> Result<Judged, Failed> {
        let judged = self.judge_and_commit(asks);
        if judged.is_ok() {
            self.floods.keep();
            self.rates.keep();
        } else {
            self.floods.undo();
            self.rates.undo();
        }
        judged
    }

    fn judge_and_commit(&mut self, asks: &[Ask]) -> Result<Judged, Failed> {
        let step = self.clock_step();
        let now = step.now;
        self.ensure_keys(asks, now)?;
        self.look_ahead(&step)?;
        self.keep(&step);

        let shared = self.shared.clone();
        let ring = shared.ring.read().unwrap_or_else(PoisonError::into_inner);
        let mut round = match self.store.begin() {
            Ok(round) => round,
            Err(error) => return Err(fence(&mut self.fenced, &error.to_string())),
        };
        let ids: BTreeSet<TransactionId> = asks
            .iter()
            .flat_map(|ask| transactions_of(ask, &ring, now))
            .collect();
        let mut keys: Vec<Vec<u8>> = ids.iter().map(|id| transaction_key(*id)).collect();
        keys.extend(asks.iter().flat_map(others_of).cloned());
        let mut rows = match round.read_many(&keys) {
            Ok(rows) => rows,
            Err(error) => return Err(fence(&mut self.fenced, &error.to_string())),
        };

        let others = rows.split_off(ids.len());
        let others = keys.drain(ids.len()..).zip(others);
        let around = Surroundings {
            granted: self.granted.as_ref(),
            others: others.filter_map(|(key, row)| Some((key, row?))).collect(),
            ring: &ring,
            registry: shared.registry.load_full(),
            head: &self.head,
            sites: &self.settings.sites,
            fingerprints: &self.settings.fingerprints,
            sealed_only: &self.settings.sealed_only,
            codes: &self.codes,
            floods: &mut self.floods,
            rates: &mut self.rates,
            now,
            now_ms: self.clock.monotonic_ms(),
            clock_suspect: step.suspect,
            clock_off_ms: step.off_ms,
            seal: self.seal,
            key_backup_days: self.settings.key_backup_days,
            retention: &self.settings.retention,
        };
        let mut batch = Batch::new(around, ids.into_iter().zip(rows));
        // The first entry of an epoch says what it is; whatever the vault owes comes after it.
        let opens_epoch = asks
            .iter()
            .any(|ask| matches!(ask.work, Work::Note(Note::EpochOpened(_))));
        let mut told = ring.generation();
        if !opens_epoch {
            told = batch.announce(&step, self.alarms.owed());
            batch.announce_owed(&self.owed);
        }
        let results: Vec<_> = asks.iter().map(|ask| batch.decide(ask)).collect();
        if opens_epoch {
            told = batch.announce(&step, self.alarms.owed());
            batch.announce_owed(&self.owed);
        }
        if let Some(need) = batch.needs.take() {
            return Err(Failed::Keyring(need));
        }
        if batch.broken.is_some() && ring.is_low() {
            return Err(Failed::Keyring(Need::Seals));
        }
        if let Some(what) = batch.broken.take() {
            tracing::error!(alarm = "keys", what, "a round failed");
            return Err(Failed::Refuse(Refusal::Unavailable("a key is missing")));
        }
        if batch.is_empty() {
            // Nothing to make durable: looked at only, and denied past the rate of entries.
            let seen = std::mem::take(&mut batch.seen);
            drop(batch);
            drop(ring);
            self.alarms.saw(seen, now);
            return Ok((results, Durable::attest()));
        }

        let tree = shared.tree.read().unwrap_or_else(PoisonError::into_inner);
        let mut staged = tree.stage();
        for entry in &batch.entries {
            staged.append(entry.leaf.hash);
        }
        let id = RoundId::random();
        let head = Head {
            epoch: self.head.epoch,
            round: self.head.round + 1,
            round_id: id.0,
            size: staged.size(),
            root: staged.root(),
            last_time: now,
            keyring_generation: told,
            single_operator: self.head.single_operator
                && !batch
                    .effects
                    .iter()
                    .any(|e| matches!(e, Effect::TwoOperators)),
            registry: batch.registry.digest(),
            peaks: staged.peaks().to_vec(),
            restored: self.head.restored.clone().filter(|_| {
                !batch
                    .effects
                    .iter()
                    .any(|e| matches!(e, Effect::RestoreConfirmed))
            }),
        };
        let writes = match write_set(&mut batch, &tree, &staged, &head, &ring) {
            Ok(writes) => writes,
            Err(_) if ring.is_low() => return Err(Failed::Keyring(Need::Seals)),
            Err(what) => {
                tracing::error!(alarm = "round", what, "a round could not be written");
                return Err(Failed::Refuse(Refusal::Unavailable(
                    "the round can't be written",
                )));
            }
        };
        let effects = std::mem::take(&mut batch.effects);
        let seen = std::mem::take(&mut batch.seen);
        drop(batch);
        drop(tree);
        self.shared.tee.committing();
        let outcome = round.commit(id, &writes);
        if let Err(CommitError::Conflict | CommitError::Full) = &outcome {
            self.shared.tee.absent();
        }
        drop(ring);
        let durable = match self.settle(outcome, id) {
            Ok(durable) => durable,
            Err(failed) => {
                if let Failed::Unknown(_) = failed {
                    self.wipe_codes_of(&effects);
                }
                return Err(failed);
            }
        };
        #[cfg(feature = "fault-injection")]
        super::crash::point("committed");
        self.shared.tee.durable(&writes, &head);
        self.apply(head, staged, effects, step)?;
        self.alarms.entered();
        self.alarms.written();
        self.alarms.saw(seen, now);
        Ok((results, durable))
    }

    /// Turns what the store said into a proof of durability, or into what to do instead.
    fn settle(&mut self, outcome: Result<(), CommitError>, id: RoundId) -> Result<Durable, Failed> {
        match outcome {
            Ok(()) => Ok(Durable::attest()),
            Err(CommitError::Conflict) => Err(Failed::Again),
            Err(CommitError::Full) => Err(Failed::Refuse(Refusal::StorageFull)),
            Err(CommitError::Unknown(what)) => {
                // Before the store is reopened: its readers may then see what no backup heard of.
                self.shared.tee.failed();
                tracing::error!(
                    alarm = "store",
                    what,
                    "a commit's outcome is unknown; looking"
                );
                // Looking opens the store anew: that may take longer than a round may.
                let _watched = self.watchdog.begin_reopening(self.clock.monotonic_ms());
                let settled = self.store.settle(id);
                // The store was reopened on the way: before the next round, what it holds is
                // compared with what was acknowledged.
                self.fenced = true;
                match settled {
                    Ok(Settled::Committed) => self.settled_whole(id),
                    Ok(Settled::Absent) => Err(Failed::Refuse(Refusal::Unavailable(
                        "the store failed; retry",
                    ))),
                    Err(error) => Err(unknown(fence(&mut self.fenced, &error.to_string()))),
                }
            }
            Err(CommitError::Fatal(what)) => {
                self.shared.tee.failed();
                Err(unknown(fence(&mut self.fenced, &what)))
            }
        }
    }

    /// A round that the store says was committed: durable only if its head, pages and rows are all
    /// there. Its callers' answers wait for that.
    fn settled_whole(&mut self, id: RoundId) -> Result<Durable, Failed> {
        match self.load_whole() {
            Ok(loaded) if loaded.head.round_id == id.0 => Ok(Durable::attest()),
            Ok(_) => Err(unknown(fence(&mut self.fenced, "another round is there"))),
            Err(error) => Err(unknown(fence(&mut self.fenced, &error.to_string()))),
        }
    }

    /// Wipes the codes that a round gave out or ended, when it may or may not have come about: if
    /// it did, they must be gone.
    fn wipe_codes_of(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Released(selector, _) | Effect::Wipe(selector) = effect {
                self.codes.wipe(selector);
            }
        }
    }

    /// What a durable round changes in memory.
    fn apply(
        &mut self,
        head: Head,
        staged: crate::ledger::Staged,
        effects: Vec<Effect>,
        step: ClockStep,
    ) -> Result<(), Failed> {
        {
            let mut tree = self
                .shared
                .tree
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            if tree.apply(staged).is_err() {
                // Can't be: only this thread appends. If it is, what is on disk decides.
                let what = "the tree in memory is not the one that was extended";
                return Err(fence(&mut self.fenced, what));
            }
        }
        let mut confirmed = false;
        for effect in effects {
            match effect {
                Effect::TakeIn(selector, code) => {
                    self.codes
                        .take_in(selector, code, self.clock.monotonic_ms());
                }
                Effect::Released(selector, released) => {
                    self.codes.mark_released(&selector, released);
                }
                Effect::Wipe(selector) => self.codes.wipe(&selector),
                Effect::Registry(registry) => self.shared.registry.store(registry),
                Effect::ClockConfirmed => confirmed = true,
                Effect::TwoOperators | Effect::RestoreConfirmed => {}
            }
        }
        self.owed.clear();
        let suspect = step.suspect && !confirmed;
        self.clock_suspect = suspect;
        self.in_step = if confirmed { step.seen } else { step.in_step };
        let off = suspect.then(|| Arc::new(step.off_ms));
        self.shared.clock_off.store(off);
        self.head = head.clone();
        let head = Arc::new(head);
        self.shared.head.store(Arc::clone(&head));
        self.publisher.offer(head);
        #[cfg(feature = "fault-injection")]
        super::crash::point("offered");
        Ok(())
    }

    /// Asks the clock, and holds wall time against monotonic time. While wall time is suspect, time
    /// goes on from where it was last in step: otherwise one entry under a clock that was set a
    /// year ahead would keep effective time there, and end every key that is due by then. It never
    /// falls below the last entry's.
    pub(super) fn clock_step(&self) -> ClockStep {
        let (wall, monotonic) = (self.clock.now(), self.clock.monotonic_ms());
        let expected = self.in_step.0.plus_ms(monotonic - self.in_step.1);
        let off_ms = wall.0.wrapping_sub(expected.0) as i64;
        let suspect = off_ms.unsigned_abs() > limits::CLOCK_STEP_MS;
        ClockStep {
            suspect,
            changed: suspect != self.clock_suspect,
            off_ms,
            seen: (wall, monotonic),
            now: if suspect { expected } else { wall }.max(self.head.last_time),
            in_step: if suspect {
                self.in_step
            } else {
                (wall, monotonic)
            },
        }
    }

    /// Makes the keys that this round seals under, durably, before anything is sealed.
    fn ensure_keys(&mut self, asks: &[Ask], now: Timestamp) -> Result<(), Failed> {
        let registry = self.shared.registry.load();
        let mut names = vec![
            KeyName::Vault,
            KeyName::Replay { day: now.day() },
            log_bucket(Site::VAULT, now),
        ];
        names.extend(
            self.settings
                .sites
                .keys()
                .map(|site| log_bucket(*site, now)),
        );
        let fingerprints = self.settings.fingerprints.iter();
        names.extend(fingerprints.map(|site| KeyName::Fingerprint { site: *site }));
        names.extend(
            asks.iter()
                .filter_map(|ask| bucket_of(ask, &self.settings.sites, &registry, now)),
        );
        let missing = {
            let ring = self
                .shared
                .ring
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            names.iter().any(|name| ring.find(name, now).is_none())
        };
        if !missing {
            return Ok(());
        }
        let mut ring = self
            .shared
            .ring
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match ring.ensure(&names, now) {
            Ok(made) => {
                drop(ring);
                let collects = |name: &KeyName| matches!(name, KeyName::Collect { .. });
                if made.iter().any(collects) {
                    self.shared.publish_collecting();
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(alarm = "keyring", %error, "a key can't be made");
                Err(Failed::Refuse(Refusal::Unavailable("a key can't be made")))
            }
        }
    }

    /// Wipes what memory must not keep, and lets summed refusals into the ledger.
    pub fn tick(&mut self) {
        self.codes.wipe_old(self.clock.monotonic_ms());
        let step = self.clock_step();
        self.keep_on(&step);
        for alarm in self.shared.take_raised() {
            self.alarms.raise(alarm);
        }
        let owes = self.floods.has_ended(step.now) || !self.alarms.owed().is_empty();
        if owes || step.changed || self.owes_entries() {
            self.attempt_alone(Note::Tick);
        }
        self.floods.forget_quiet(self.clock_step().now);
    }

    /// Reopens the store and compares it with what callers were told.
    fn recover(&mut self) -> bool {
        let _watched = self.watchdog.begin_reopening(self.clock.monotonic_ms());
        self.shared.tee.failed();
        if let Err(error) = self.store.reopen() {
            tracing::error!(alarm = "store", %error, "the store can't be reopened");
            return false;
        }
        let reader = self.store.reader();
        let loaded = match self.load_whole() {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(alarm = "store", %error, "the reopened store can't be read");
                return false;
            }
        };
        // What was answered must still be there. A round whose outcome was unknown may have come
        // in addition: its callers were told nothing, and its entries stand.
        let extends = loaded.head.size >= self.head.size
            && loaded
                .tree
                .root_at(self.head.size, &Tiles(reader.as_ref(), self.head.epoch))
                .is_ok_and(|root| root == self.head.root);
        if !extends {
            tracing::error!(
                alarm = "store",
                had = self.head.size,
                found = loaded.head.size,
                "the reopened store lacks entries that were acknowledged; serving stops"
            );
            return false;
        }
        *self
            .shared
            .tree
            .write()
            .unwrap_or_else(PoisonError::into_inner) = loaded.tree;
        self.shared.registry.store(Arc::new(loaded.registry));
        self.shared.head.store(Arc::new(loaded.head.clone()));
        self.head = loaded.head;
        self.fenced = false;
        tracing::warn!(size = self.head.size, "the store was reopened");
        true
    }

    /// Reads what the store holds, its last round made whole.
    fn load_whole(&mut self) -> Result<Loaded, LoadError> {
        let reader = self.store.reader();
        let ring = self
            .shared
            .ring
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let head = read_head(reader.as_ref(), &ring)?;
        make_whole(self.store.as_mut(), reader.as_ref(), &ring, &head)?;
        load(reader.as_ref(), &ring)
    }
}

/// Stops all reading and writing until the store was reopened.
fn fence(fenced: &mut bool, what: &str) -> Failed {
    *fenced = true;
    tracing::error!(
        alarm = "store",
        what,
        "the store failed; nothing is read or written until it was reopened"
    );
    Failed::Refuse(Refusal::Unavailable("the store failed; retry"))
}

/// The same failure, of a round that may be durable.
fn unknown(failed: Failed) -> Failed {
    match failed {
        Failed::Refuse(refusal) => Failed::Unknown(refusal),
        other => other,
    }
}

/// How wall time stands against monotonic time.
pub(super) struct ClockStep {
    pub suspect: bool,
    pub changed: bool,
    /// By how much wall time is ahead (or, below 0, behind).
    pub off_ms: i64,
    /// The effective time.
    pub(super) now: Timestamp,
    /// Wall and monotonic time.
    seen: (Timestamp, u64),
    in_step: (Timestamp, u64),
}

impl Batch<'_> {
    /// Entries that the vault itself owes: what became of keys, clock steps, alarms. Gives the
    /// keyring's generation up to which it is told then.
    fn announce(&mut self, step: &ClockStep, alarms: &[Alarm]) -> u64 {
        let told = self.tell_of_keys();
        if step.changed {
            let mut entry = self.draft(&Caller::vault(), Event::ClockStep);
            entry.outcome = if step.suspect {
                Outcome::Failed
            } else {
                Outcome::Ok
            };
            let off_ms = step.off_ms.unsigned_abs();
            entry.detail.insert("off_ms", off_ms.to_string());
            tracing::error!(
                alarm = "clock",
                off_ms = step.off_ms,
                suspect = step.suspect,
                "the clock jumped; nothing is released or destroyed while it is suspect"
            );
            if let Err(no) = self.enter(&mut entry) {
                self.fail(no);
            }
        }
        for alarm in alarms {
            let mut entry = self.draft(&Caller::vault(), Event::AlarmRaised);
            entry.outcome = alarm.outcome();
            // The vault acts here: so nobody gets the receipt of an alarm that is about himself.
            if let Some(id) = alarm.principal {
                entry.detail.insert("principal_id", id.to_string());
                if let Some(principal) = self.registry.principal(id) {
                    entry.detail.insert("principal", principal.name.clone());
                }
            }
            if !alarm.origin.is_empty() {
                entry.detail.insert("from", alarm.origin.clone());
            }
            if let Some(usual) = alarm.usual {
                entry.detail.insert("usual", usual.to_string());
            }
            for (name, value) in &alarm.detail {
                entry.detail.insert(name, value.clone());
            }
            entry.detail.insert("alarm", alarm.what.to_owned());
            entry.detail.insert("count", alarm.count.to_string());
            entry.detail.insert("since", alarm.since.to_string());
            if let Err(no) = self.enter(&mut entry) {
                self.fail(no);
            }
        }
        told
    }

    /// Lets the round fail as a whole.
    pub(super) fn fail(&mut self, no: No) {
        if let No::Keys(what) = no {
            self.broken = Some(what);
        }
    }
}

/// Everything that a round writes.
fn write_set(
    batch: &mut Batch<'_>,
    tree: &Tree,
    staged: &crate::ledger::Staged,
    head: &Head,
    ring: &Keyring,
) -> Result<WriteSet, String> {
    let say = |what: &dyn std::fmt::Display| what.to_string();
    let vault_key = ring
        .find(&KeyName::Vault, head.last_time)
        .ok_or("no vault key")?;
    let mut writes = WriteSet::new();
    let mut images: Vec<redo::Image> = Vec::new();
    let changed = batch.sealed_transactions().map_err(|no| match no {
        No::Keys(what) => what,
        No::Denied(_) | No::Integrity => "sealing".to_owned(),
    })?;
    for (key, sealed) in changed {
        images.push((key.clone(), After::Named(sealed.name())));
        writes
            .put(key, StoredValue::Sealed(sealed))
            .map_err(|e| say(&e))?;
    }
    for (key, sealed) in std::mem::take(&mut batch.writes) {
        let after = sealed
            .as_ref()
            .map_or(After::Deleted, |s| After::Named(s.name()));
        images.push((key.clone(), after));
        match sealed {
            Some(sealed) => writes.put(key, StoredValue::Sealed(sealed)),
            None => writes.delete(key),
        }
        .map_err(|e| say(&e))?;
    }
    let pages = encode_pages(
        tree.size(),
        batch.entries.iter().map(|e| (&e.leaf, e.sealed.as_slice())),
    )
    .map_err(|e| say(&e))?;
    for (key, page) in std::mem::take(&mut batch.pages) {
        writes
            .put(key, StoredValue::Public(page))
            .map_err(|e| say(&e))?;
    }
    for page in pages {
        writes
            .put(
                page_key(head.epoch, page.first),
                StoredValue::Public(page.bytes),
            )
            .map_err(|e| say(&e))?;
    }
    for half in tree.rows(staged).map_err(|e| say(&e))? {
        let key = tile_key(head.epoch, half.level, half.tile, half.half);
        writes
            .put(key, StoredValue::Public(half.bytes))
            .map_err(|e| say(&e))?;
    }
    for (part, plaintext) in redo::encode(&head.round_id, &images).iter().enumerate() {
        let part = u16::try_from(part).map_err(|e| say(&e))?;
        let row = Row::redo(head.round, part);
        let sealed = ring
            .seal(vault_key, &row.place(), plaintext)
            .map_err(|e| say(&e))?;
        writes
            .put(row.key, StoredValue::Sealed(sealed))
            .map_err(|e| say(&e))?;
    }
    let row = Row::head(head.round_id);
    let sealed = ring
        .seal(vault_key, &row.place(), &head.encode())
        .map_err(|e| say(&e))?;
    writes
        .put(row.key, StoredValue::Sealed(sealed))
        .map_err(|e| say(&e))?;
    Ok(writes)
}

fn answer_all(asks: Vec<Ask>, refusal: &Refusal) {
    for ask in asks {
        let _ = ask.reply.send(Err(refusal.clone()));
    }
}

/// What the committer's thread is told besides commands.
pub enum Turn {
    /// A command.
    Ask(Box<Ask>),
    /// Commands that came together.
    Together(Vec<Ask>),
    /// A second has passed.
    Tick,
    /// Stop after what came before, with this as the last word.
    Stop(Box<Ask>),
}

/// What the committer's thread has taken from the queue and not done yet.
struct Inbox {
    queue: Receiver<Turn>,
    waiting: Fair,
    /// The vault's own notes: few, and never held up.
    notes: Vec<Ask>,
    tick: bool,
    /// What it ends with, once it was told to stop.
    stop: Option<Ask>,
}

impl Inbox {
    fn new(queue: Receiver<Turn>) -> Inbox {
        Inbox {
            queue,
            waiting: Fair::default(),
            notes: Vec::new(),
            tick: false,
            stop: None,
        }
    }

    fn len(&self) -> usize {
        self.waiting.len() + self.notes.len()
    }

    /// Waits until there is something to do; false when nobody can send any more.
    fn wait(&mut self) -> bool {
        if self.len() == 0 {
            match self.queue.blocking_recv() {
                Some(turn) => self.take_in(turn),
                None => return false,
            }
        }
        self.drain();
        true
    }

    /// Takes what is there already, up to as many as the queue itself may hold.
    fn drain(&mut self) {
        while self.stop.is_none() && self.len() < limits::QUEUE_COMMANDS_MAX {
            match self.queue.try_recv() {
                Ok(turn) => self.take_in(turn),
                Err(_) => return,
            }
        }
    }

    fn take_in(&mut self, turn: Turn) {
        match turn {
            Turn::Ask(ask) if ask.share.is_none() => self.notes.push(*ask),
            Turn::Ask(ask) => self.waiting.put(*ask),
            Turn::Together(asks) => asks.into_iter().for_each(|ask| self.waiting.put(ask)),
            Turn::Tick => self.tick = true,
            Turn::Stop(note) => self.stop = Some(*note),
        }
    }

    /// Under load, lets a round grow to about what the last one was, for a few naps at the most
    /// and only while more keeps coming: a round costs the disk the same however many share it.
    /// After a round of a few nobody waits.
    fn await_more(&mut self, last: usize) {
        if last < GATHER_FROM {
            return;
        }
        for _ in 0..GATHER_NAPS_MAX {
            let before = self.len();
            if self.stop.is_some() || before == 0 || before >= last - last / 8 {
                return;
            }
            std::thread::sleep(GATHER_NAP);
            self.drain();
            if self.len() == before {
                return;
            }
        }
    }

    /// The next round's commands, from the principals in turns.
    fn take(&mut self) -> Vec<Ask> {
        let mut asks = self.waiting.take(limits::ROUND_COMMANDS_MAX);
        asks.append(&mut self.notes);
        asks
    }
}

/// Rounds of this many commands make the next one wait for as many.
const GATHER_FROM: usize = 8;
/// How long it waits at a time.
const GATHER_NAP: Duration = Duration::from_micros(50);
/// How often.
const GATHER_NAPS_MAX: usize = 3;

/// The committer's thread: drains the queue into rounds until it is told to stop, or nobody can
/// send any more. A lone caller never waits for others; while one round is on its way to the disk
/// the next one gathers. Each round takes from the principals in turns. Told to stop, it still does
/// what came before.
pub fn run(mut committer: Committer, queue: Receiver<Turn>) {
    let mut inbox = Inbox::new(queue);
    let mut last = 0;
    while inbox.wait() {
        inbox.await_more(last);
        let asks = inbox.take();
        if !asks.is_empty() {
            last = asks.len();
            committer.round(asks);
        }
        if std::mem::take(&mut inbox.tick) {
            committer.tick();
        }
        if inbox.len() == 0
            && let Some(note) = inbox.stop.take()
        {
            committer.round(vec![note]);
            break;
        }
    }
    let mut queue = inbox.queue;
    queue.close();
    while let Some(turn) = queue.blocking_recv() {
        if let Turn::Ask(ask) = turn {
            let _ = ask.reply.send(Err(Refusal::Sealed));
        }
    }
}
