//! The keeper: what ends is ended, and what was ended is taken away. Runs on the committer's thread,
//! since it changes keyring and store: once an hour it looks which buckets have ended, and once a
//! second it goes on with what takes long, a bounded piece at a time.
//!
//! A bucket whose period is over is pending destruction, which everybody can see, for 72 hours. What
//! is under it is counted meanwhile. Then its key is destroyed. The keyring notes with which of its
//! generations a key changed, and the head how far the ledger has told of them, so the round after
//! the destruction has its entry, or the first one after a crash: exactly once. Rows that no key
//! opens any more are swept.
//!
//! While the clock is suspect nothing of this is done.

use super::batch::{Batch, open_row};
use super::command::{Ask, Caller, Note, Work};
use super::committer::{ClockStep, Committer, HOUSEKEEPING_MS};
use super::epochs::closed_epochs;
use super::key_changes::full_label;
use super::load::{LoadError, page_of};
use super::prune::Prune;
use super::registry::Registry;
use super::rows::Row;
use crate::clock::{Clock, DAY_MS, Timestamp};
use crate::codec::{Malformed, Reader as Bytes, Writer};
use crate::ids::{HoldId, Site, TransactionId};
use crate::keys::{
    KeyError, KeyId, KeyName, KeyRecord, KeyState, Keyring, RestsOn, Sealed, seal_key,
};
use crate::ledger::{DETAIL_KEY, Event, Page, PageEntry};
use crate::limits;
use crate::secret::SecretBuffer;
use crate::store::{Reader, space};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

/// How long it waits before it tries again to free what a destruction could not.
const FREE_AGAIN_MS: u64 = 60_000;
/// Rows of one scan.
const SCAN_ROWS: usize = 256;

/// What the keeper has in hand. All of it is found again after a restart.
pub(super) struct Keeper {
    last_look_ms: u64,
    looked: bool,
    /// When it was last tried to free what a destruction could not.
    last_free_ms: Option<u64>,
    /// Whether a security module refused the PIN.
    refused: bool,
    /// How many records are under the keys that are pending destruction.
    counted: BTreeMap<KeyId, u64>,
    census: Option<Census>,
    /// The holds under which was counted: others cover other rows.
    holds: Vec<HoldId>,
    /// Where the sweep goes on, while there may be rows under destroyed keys.
    sweep: Option<Vec<u8>>,
    /// Where pruning goes on, while there may be ciphertext of erased entries.
    prune: Option<Prune>,
}

impl Keeper {
    /// Nothing is destroyed in the first hour: a clock that is wrong at the start has that long to
    /// be put right. What an earlier process left unswept is swept.
    pub(super) fn new(now_ms: u64, ring: &Keyring) -> Keeper {
        let has_erased = ring.list().any(|key| {
            key.state() == KeyState::Destroyed
                && matches!(key.name(), KeyName::Release { .. } | KeyName::Hold { .. })
        });
        Keeper {
            last_look_ms: now_ms,
            looked: false,
            last_free_ms: None,
            refused: false,
            counted: BTreeMap::new(),
            census: None,
            holds: Vec::new(),
            sweep: has_erased.then(first_row),
            prune: Prune::of(ring),
        }
    }

    pub(super) fn take_prune(&mut self) -> Option<Prune> {
        self.prune.take()
    }

    pub(super) fn put_prune(&mut self, prune: Prune) {
        self.prune = Some(prune);
    }
}

fn first_row() -> Vec<u8> {
    vec![space::TRANSACTIONS]
}

/// How much is done in one go.
pub(super) struct Budget<'a> {
    clock: &'a Clock,
    until_ms: u64,
    pages: usize,
}

impl Budget<'_> {
    fn new(clock: &Clock) -> Budget<'_> {
        Budget::of_pages(clock, limits::KEEPER_PAGES_MAX)
    }

    pub(super) fn of_pages(clock: &Clock, pages: usize) -> Budget<'_> {
        Budget {
            clock,
            until_ms: clock.monotonic_ms() + limits::KEEPER_MS_MAX,
            pages,
        }
    }

    pub(super) fn take_page(&mut self) -> bool {
        if self.pages == 0 || self.clock.monotonic_ms() > self.until_ms {
            return false;
        }
        self.pages -= 1;
        true
    }
}

impl Committer {
    /// Once an hour: which buckets have ended, and which are due.
    pub(super) fn keep(&mut self, step: &ClockStep) {
        let now_ms = self.clock.monotonic_ms();
        let due = now_ms.saturating_sub(self.keeper.last_look_ms) >= HOUSEKEEPING_MS;
        if !due || step.suspect {
            return;
        }
        self.keeper.last_look_ms = now_ms;
        self.keeper.looked = true;
        self.pend_ended(step.now);
        self.count();
        self.destroy_due(step.now);
    }

    /// Once a second: goes on with what takes long.
    pub(super) fn keep_on(&mut self, step: &ClockStep) {
        self.keep(step);
        self.free();
        if step.suspect {
            return;
        }
        if self.count() && self.keeper.looked {
            self.destroy_due(step.now);
        }
        self.sweep();
        self.prune();
    }

    /// Whether the ledger owes an entry about a key.
    pub(super) fn owes_entries(&self) -> bool {
        let ring = self.shared.ring.read();
        let ring = ring.unwrap_or_else(PoisonError::into_inner);
        ring.is_freed()
            && ring.generation() > self.head.keyring_generation
            && !ring.changed_since(self.head.keyring_generation).is_empty()
    }

    /// Marks what has ended for destruction.
    fn pend_ended(&mut self, now: Timestamp) {
        let retention = &self.settings.retention;
        let registry = self.shared.registry.load_full();
        let restored = self.head.restored.is_some();
        let called_off: Vec<KeyId> = {
            let ring = self.shared.ring.read();
            let ring = ring.unwrap_or_else(PoisonError::into_inner);
            ring.list()
                .filter(|key| key.state() == KeyState::PendingDestruction)
                .filter(|key| match key.name() {
                    KeyName::Log { site, year, month } => registry.holds_month(site, (year, month)),
                    _ => false,
                })
                .map(KeyRecord::id)
                .collect()
        };
        let ended: Vec<KeyId> = {
            let ring = self.shared.ring.read();
            let ring = ring.unwrap_or_else(PoisonError::into_inner);
            ring.list()
                .filter(|key| matches!(key.state(), KeyState::Active | KeyState::DecryptOnly))
                .filter(|key| match key.name() {
                    KeyName::Release { day, .. } => now >= day_end(day),
                    // The vault's own entries attest every erasure: they stay. So do those of a
                    // site for which no rule is configured.
                    KeyName::Log { site, year, month } => {
                        let over = |rule: &super::Retention| now >= rule.kept_until(year, month);
                        retention.get(&site).is_some_and(over)
                            && !registry.holds_month(site, (year, month))
                    }
                    // After a restore from before it was placed a hold isn't known, and was not
                    // lifted: nothing of it ends until operators have confirmed the restore.
                    KeyName::Hold { hold, .. } => !restored && registry.hold(hold).is_none(),
                    _ => false,
                })
                .map(KeyRecord::id)
                .take(limits::KEYS_ENDED_AT_ONCE_MAX)
                .collect()
        };
        if ended.is_empty() && called_off.is_empty() {
            return;
        }
        let mut ring = self
            .shared
            .ring
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let changed = ring
            .change_state(&called_off, KeyState::DecryptOnly, now)
            .and_then(|()| ring.change_state(&ended, KeyState::PendingDestruction, now));
        if let Err(error) = changed {
            tracing::error!(alarm = "keyring", %error, "ended keys can't be marked for destruction");
        }
    }

    /// Destroys what is due. A bucket's key goes only when what is under it was counted.
    fn destroy_due(&mut self, now: Timestamp) {
        if self.keeper.refused {
            tracing::error!(
                alarm = "keyring",
                "keys can't be destroyed: the security module refused the PIN, and isn't asked again before the vault is unsealed anew"
            );
            self.keeper.looked = false;
            return;
        }
        let registry = self.shared.registry.load_full();
        let restored = self.head.restored.is_some();
        let held = |name: KeyName| match name {
            KeyName::Log { site, year, month } => registry.holds_month(site, (year, month)),
            KeyName::Hold { .. } => restored,
            _ => false,
        };
        let due: Vec<(KeyId, Option<u64>)> = {
            let ring = self.shared.ring.read();
            let ring = ring.unwrap_or_else(PoisonError::into_inner);
            ring.list()
                .filter(|key| key.state() != KeyState::Destroyed)
                .filter_map(|key| match key.name() {
                    KeyName::Replay { .. } | KeyName::Collect { .. } => {
                        (now >= key.not_after_decrypt()).then_some((key.id(), None))
                    }
                    name if key.state() == KeyState::PendingDestruction
                        && now >= key.not_after_decrypt()
                        && !held(name) =>
                    {
                        let records = self.keeper.counted.get(&key.id())?;
                        Some((key.id(), Some(*records)))
                    }
                    _ => None,
                })
                .take(limits::KEYS_ENDED_AT_ONCE_MAX)
                .collect()
        };
        if due.is_empty() {
            return;
        }
        let mut ring = self
            .shared
            .ring
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let destroyed = ring.destroy_counted(&due, now);
        let prune = Prune::of(&ring);
        drop(ring);
        // Also when it isn't certain: what left the keyring leaves memory.
        self.shared.publish_collecting();
        match destroyed {
            Ok(()) => {
                for (id, _) in due {
                    if self.keeper.counted.remove(&id).is_some() {
                        self.keeper.sweep = Some(first_row());
                    }
                }
                self.keeper.prune = prune;
            }
            Err(error) => {
                tracing::error!(alarm = "keyring", %error, "a key can't be destroyed");
                // Not again before the next look: a token counts wrong PINs, and has little room.
                self.keeper.looked = false;
                self.keeper.refused = matches!(error, KeyError::WrongPin(_) | KeyError::PinLocked);
            }
        }
    }

    /// Goes on with a destruction that could not free what it replaced.
    fn free(&mut self) {
        let freed = self.shared.ring.read();
        if freed.unwrap_or_else(PoisonError::into_inner).is_freed() {
            return;
        }
        let now_ms = self.clock.monotonic_ms();
        let tried = self.keeper.last_free_ms;
        if tried.is_some_and(|at| now_ms.saturating_sub(at) < FREE_AGAIN_MS) {
            return;
        }
        self.keeper.last_free_ms = Some(now_ms);
        let mut ring = self
            .shared
            .ring
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = ring.settle() {
            tracing::error!(alarm = "keyring", %error, "a destroyed key may still open from an older copy");
        }
    }

    /// Goes on with counting what is under keys that are pending; whether all is counted.
    fn count(&mut self) -> bool {
        let clock = self.clock.clone();
        let mut budget = Budget::new(&clock);
        let reader = self.store.reader();
        let shared = self.shared.clone();
        let registry = shared.registry.load_full();
        let holds: Vec<HoldId> = registry.holds().map(|(id, _)| *id).collect();
        if holds != self.keeper.holds {
            // What was counted, or sealed anew, was so under other holds.
            self.keeper.holds = holds;
            self.keeper.counted.clear();
            self.keeper.census = None;
        }
        loop {
            let ring = shared.ring.read().unwrap_or_else(PoisonError::into_inner);
            let Some(census) = &mut self.keeper.census else {
                let waiting: Vec<_> = ring
                    .list()
                    .filter(|key| key.state() == KeyState::PendingDestruction)
                    .filter(|key| !self.keeper.counted.contains_key(&key.id()))
                    .map(|key| (key.id(), key.name()))
                    .collect();
                if waiting.is_empty() {
                    return true;
                }
                self.keeper.census = Some(Census::of(&waiting));
                continue;
            };
            if !budget.take_page() {
                return false;
            }
            let at = (self.head.epoch, self.head.size);
            let seen = census.go_on(reader.as_ref(), &ring, &registry, at);
            let moves = std::mem::take(&mut census.moves);
            drop(ring);
            if !moves.is_empty() && !self.seal_anew(moves) {
                self.keeper.census = None;
                return false;
            }
            match seen {
                Ok(None) => {}
                Ok(Some(counts)) => {
                    self.keeper.counted.extend(counts);
                    self.keeper.census = None;
                }
                Err(error) => {
                    tracing::warn!(%error, "what is under ended keys can't be counted now");
                    self.keeper.census = None;
                    return false;
                }
            }
        }
    }

    /// Seals held rows under their holds' keys.
    fn seal_anew(&mut self, moves: Vec<(TransactionId, KeyName)>) -> bool {
        let mut names: Vec<KeyName> = moves.iter().map(|(_, name)| *name).collect();
        names.sort();
        names.dedup();
        let now = self.clock_step().now;
        let made = {
            let mut ring = self
                .shared
                .ring
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            ring.ensure(&names, now)
        };
        if let Err(error) = made {
            tracing::error!(alarm = "keyring", %error, "a hold's key can't be made");
            return false;
        }
        let mut moves = moves;
        while !moves.is_empty() {
            let rest = moves.split_off(moves.len().min(limits::SWEEP_ROWS_MAX));
            if !self.attempt_alone(Note::MoveHeld(moves)) {
                return false;
            }
            moves = rest;
        }
        true
    }

    /// Goes on with taking away rows that no key opens any more.
    fn sweep(&mut self) {
        let Some(mut from) = self.keeper.sweep.clone() else {
            return;
        };
        let mut budget = Budget::new(&self.clock);
        let reader = self.store.reader();
        let mut gone = Vec::new();
        let mut ended = false;
        while !ended && gone.len() + SCAN_ROWS <= limits::SWEEP_ROWS_MAX && budget.take_page() {
            let rows = match reader.scan(&from, &[space::TRANSACTIONS + 1], SCAN_ROWS) {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::debug!(%error, "the sweep waits");
                    return;
                }
            };
            ended = rows.len() < SCAN_ROWS;
            if let Some((last, _)) = rows.last() {
                from.clone_from(last);
                from.push(0);
            }
            let ring = self.shared.ring.read();
            let ring = ring.unwrap_or_else(PoisonError::into_inner);
            gone.extend(rows.iter().filter_map(|(key, value)| {
                let id = key.get(1..17)?.try_into().ok()?;
                is_erased(&ring, value).then_some(TransactionId(id))
            }));
        }
        if !gone.is_empty() {
            let count = gone.len();
            if !self.attempt_alone(Note::Sweep(gone)) {
                return;
            }
            tracing::info!(count, "rows of erased transactions were taken away");
        }
        self.keeper.sweep = (!ended).then_some(from);
    }

    /// Runs one note of the vault's own that nobody waits for.
    pub(super) fn attempt_alone(&mut self, note: Note) -> bool {
        if self.may_write().is_err() {
            return false;
        }
        // The receiver is gone, so the round must not drop it as a caller that left.
        let (reply, _) = tokio::sync::oneshot::channel();
        let ask = Ask {
            caller: Caller::vault(),
            work: Work::Note(note),
            deadline_ms: u64::MAX,
            reply,
            share: None,
        };
        let _watched = self.watchdog.begin(self.clock.monotonic_ms());
        self.attempt(&[ask]).is_ok()
    }
}

/// Whether a transaction's row lies under a key that was destroyed.
fn is_erased(ring: &Keyring, value: &[u8]) -> bool {
    let Ok(sealed) = Sealed::from_stored(value.to_vec()) else {
        return false;
    };
    // Under an earlier generation of a name that lives on, it was put back: it stays to be noticed.
    matches!(
        ring.key(sealed.key_id()),
        Err(crate::keys::KeyError::Destroyed(_))
    ) && ring
        .name_of(sealed.key_id())
        .is_some_and(|name| ring.is_gone(&name))
}

/// The moment after a day.
pub(super) fn day_end(day: u32) -> Timestamp {
    Timestamp((u64::from(day) + 1) * DAY_MS)
}

/// How many records are under each of some keys: transactions' rows under release keys, entries
/// under log keys. Goes through all rows once, and for each log key through the entries of its month.
struct Census {
    rows: BTreeMap<KeyId, u64>,
    /// Where it goes on; none when there is nothing of the kind, or all was seen.
    rows_from: Option<Vec<u8>>,
    logs: Vec<(KeyId, (i16, u8))>,
    month: Option<MonthCount>,
    counts: BTreeMap<KeyId, u64>,
    /// Rows that a hold keeps, and the key that each goes under.
    moves: Vec<(TransactionId, KeyName)>,
}

/// The entries of one bucket.
struct MonthCount {
    key: KeyId,
    /// Epoch, next index, end.
    spans: Vec<(u32, u64, u64)>,
    count: u64,
}

impl Census {
    fn of(keys: &[(KeyId, KeyName)]) -> Census {
        let mut rows = BTreeMap::new();
        let mut counts = BTreeMap::new();
        let mut logs = Vec::new();
        for (id, name) in keys {
            match name {
                KeyName::Release { .. } | KeyName::Hold { .. } => {
                    rows.insert(*id, 0);
                }
                KeyName::Log { year, month, .. } => logs.push((*id, (*year, *month))),
                _ => {
                    counts.insert(*id, 0);
                }
            }
        }
        Census {
            rows_from: (!rows.is_empty()).then(first_row),
            rows,
            logs,
            month: None,
            counts,
            moves: Vec::new(),
        }
    }

    /// Looks at one page more. The counts, when that was the last one.
    fn go_on(
        &mut self,
        reader: &dyn Reader,
        ring: &Keyring,
        registry: &Registry,
        (epoch, size): (u32, u64),
    ) -> Result<Option<BTreeMap<KeyId, u64>>, LoadError> {
        if let Some(from) = &mut self.rows_from {
            let page = limits::SCAN_ROWS_MAX;
            let rows = reader.scan(from, &[space::TRANSACTIONS + 1], page)?;
            for (key, value) in &rows {
                let sealed = Sealed::from_stored(value.clone());
                let Some(count) = sealed.ok().and_then(|s| self.rows.get_mut(&s.key_id())) else {
                    continue;
                };
                match keeps(ring, registry, key, value) {
                    Some(held) => self.moves.push(held),
                    None => *count += 1,
                }
            }
            match rows.last() {
                Some((last, _)) if rows.len() == page => {
                    from.clone_from(last);
                    from.push(0);
                }
                _ => self.rows_from = None,
            }
            return Ok(None);
        }
        self.counts.append(&mut self.rows);
        let Some(month) = &mut self.month else {
            let Some((key, of)) = self.logs.pop() else {
                return Ok(Some(std::mem::take(&mut self.counts)));
            };
            let closed = closed_epochs(reader, ring)?;
            let epochs = closed.iter().map(|old| (old.epoch, old.size));
            let spans = spans_of(reader, ring, epochs.chain([(epoch, size)]), of)?;
            self.month = Some(MonthCount {
                key,
                spans,
                count: 0,
            });
            return Ok(None);
        };
        match month.spans.last_mut() {
            None => {
                self.counts.insert(month.key, month.count);
                self.month = None;
            }
            Some((_, next, end)) if *next >= *end => {
                month.spans.pop();
            }
            Some((epoch, next, end)) => {
                let row = page_of(reader, *epoch, *next)?;
                let page = Page::parse(&row).map_err(|e| LoadError::damaged("a page", e))?;
                let before = *next;
                while let Some(entry) = page.entry(*next).filter(|_| *next < *end) {
                    let key = key_of(entry)?;
                    month.count += u64::from(key == month.key);
                    *next += 1;
                }
                if *next == before {
                    return Err(LoadError::damaged("a page", "an entry is missing"));
                }
            }
        }
        Ok(None)
    }
}

/// The hold's key under which an ending row goes on, when a hold covers it.
fn keeps(
    ring: &Keyring,
    registry: &Registry,
    key: &[u8],
    value: &[u8],
) -> Option<(TransactionId, KeyName)> {
    registry.holds().next()?;
    let id = TransactionId(key.get(1..17)?.try_into().ok()?);
    // A row that doesn't open is none that could be kept: daily use and `check` say what it is.
    let state = open_row(ring, id, value.to_vec()).ok().flatten()?;
    let own = match state.held {
        Some(KeyName::Hold { hold, .. }) => Some(hold),
        _ => None,
    };
    let (hold, found) = registry.holder(id, &state, own)?;
    Some((id, found.key(hold)))
}

fn after((year, month): (i16, u8)) -> (i16, u8) {
    match month {
        12 => (year + 1, 1),
        month => (year, month + 1),
    }
}

/// The key that an entry is, or was, sealed under.
fn key_of(entry: &PageEntry<'_>) -> Result<KeyId, LoadError> {
    let key = entry.pruned.map(KeyId).or_else(|| seal_key(entry.sealed));
    key.ok_or(LoadError::damaged("an entry", "it is no sealed value"))
}

/// Where the entries of a month lie: epoch, first index, end.
pub(super) fn spans_of(
    reader: &dyn Reader,
    ring: &Keyring,
    epochs: impl Iterator<Item = (u32, u64)>,
    month: (i16, u8),
) -> Result<Vec<(u32, u64, u64)>, LoadError> {
    epochs
        .map(|(epoch, size)| {
            let begin = first_from(reader, ring, epoch, size, month)?;
            let end = first_from(reader, ring, epoch, size, after(month))?;
            Ok((epoch, begin, end))
        })
        .collect()
}

/// The first entry of an epoch that lies in a month from `from` on. Months never fall along the
/// ledger.
fn first_from(
    reader: &dyn Reader,
    ring: &Keyring,
    epoch: u32,
    size: u64,
    from: (i16, u8),
) -> Result<u64, LoadError> {
    let (mut low, mut high) = (0, size);
    while low < high {
        let middle = low + (high - low) / 2;
        match month_of(reader, ring, epoch, middle)? >= from {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    Ok(low)
}

/// The month of an entry's bucket, which its key tells when nothing else does any more.
fn month_of(
    reader: &dyn Reader,
    ring: &Keyring,
    epoch: u32,
    index: u64,
) -> Result<(i16, u8), LoadError> {
    let damaged = |why: &str| LoadError::damaged("an entry", why);
    let row = page_of(reader, epoch, index)?;
    let page = Page::parse(&row).map_err(|e| LoadError::damaged("a page", e))?;
    let entry = page.entry(index).ok_or(damaged("it is missing"))?;
    match ring.name_of(key_of(entry)?) {
        Some(KeyName::Log { year, month, .. }) => Ok((year, month)),
        _ => Err(damaged("it is sealed under a key of another purpose")),
    }
}

/// Where the entry of a key's destruction stands (`docs/format.md` §5.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EndedAt {
    /// The epoch.
    pub epoch: u32,
    /// The entry's index.
    pub index: u64,
}

impl EndedAt {
    fn encode(&self) -> SecretBuffer {
        let mut w = Writer::with_capacity(13);
        w.u8(1).u32(self.epoch).u64(self.index);
        w.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<EndedAt, Malformed> {
        let mut r = Bytes::new(bytes);
        if r.u8()? != 1 {
            return Err(Malformed::new("a key's end: unknown version"));
        }
        let at = EndedAt {
            epoch: r.u32()?,
            index: r.u64()?,
        };
        r.end()?;
        Ok(at)
    }
}

impl Batch<'_> {
    /// Entries of what became of keys since the ledger told of them last. Gives the generation of
    /// the keyring up to which it is told then.
    pub(super) fn tell_of_keys(&mut self) -> u64 {
        let ring = self.ring;
        if !ring.is_freed() {
            // What was destroyed may still open: nothing says yet that it is gone.
            return self.head.keyring_generation;
        }
        if ring.generation() <= self.head.keyring_generation {
            return ring.generation();
        }
        let mut changed = ring.changed_since(self.head.keyring_generation);
        changed.retain(|(key, _)| key.state() != KeyState::DecryptOnly);
        let mut told = ring.generation();
        // Whole generations, and one at least: a write changes no more than so many.
        let first = changed.first().map(|(_, note)| note.generation);
        let cut = changed
            .get(limits::KEY_ENTRIES_MAX)
            .map(|(_, note)| note.generation)
            .map(|cut| match Some(cut) == first {
                true => cut + 1,
                false => cut,
            });
        for (key, note) in changed {
            if cut.is_some_and(|cut| note.generation >= cut) {
                told = note.generation - 1;
                break;
            }
            if let Err(no) = self.tell_of(key, note.ending) {
                self.fail(no);
            }
        }
        told
    }

    fn tell_of_superseded(&mut self, key: &KeyRecord) -> Result<(), super::batch::No> {
        let mut entry = self.draft(&Caller::vault(), Event::KeySupersededDestroyed);
        let why = match key.is_compromised() {
            true => "compromise",
            false => "period",
        };
        entry.detail.insert(DETAIL_KEY, full_label(key));
        entry.detail.insert("why", why.to_owned());
        self.enter(&mut entry).map(|_| ())
    }

    fn tell_of(
        &mut self,
        key: &KeyRecord,
        ending: Option<crate::keys::Ending>,
    ) -> Result<(), super::batch::No> {
        let event = match key.state() {
            KeyState::Active => Event::KeyCreated,
            KeyState::PendingDestruction => Event::DestructionPending,
            // A later key of the same name lives, and the rows under that one.
            KeyState::Destroyed if !self.ring.is_gone(&key.name()) => {
                return self.tell_of_superseded(key);
            }
            KeyState::Destroyed => Event::KeyDestroyed,
            KeyState::DecryptOnly => return Ok(()),
        };
        let mut entry = self.draft(&Caller::vault(), event);
        entry.detail.insert(DETAIL_KEY, key.name().to_string());
        if key.generation() > 1 {
            entry
                .detail
                .insert("generation", key.generation().to_string());
        }
        if key.state() == KeyState::PendingDestruction {
            let due = key.not_after_decrypt();
            entry.detail.insert("due", due.to_string());
        }
        if key.state() == KeyState::Destroyed {
            entry.detail.insert("rests_on", self.seal.to_owned());
            if self.ring.rests_on() == RestsOn::Slot {
                let until = self.now.plus_ms(u64::from(self.key_backup_days) * DAY_MS);
                entry.detail.insert("copies_until", until.to_string());
            }
            if let Some(ending) = ending {
                let commitment = crate::ledger::to_base64(&ending.commitment);
                entry.detail.insert("commitment", commitment);
                if let Some(records) = ending.records {
                    entry.detail.insert("records", records.to_string());
                }
            }
        }
        let index = self.enter(&mut entry)?.index;
        if key.state() == KeyState::Destroyed {
            let at = EndedAt {
                epoch: self.head.epoch,
                index,
            };
            self.seal_row(Row::key_end(key.id()), &at.encode())?;
        }
        Ok(())
    }

    /// Takes rows away that no key opens any more.
    pub(super) fn sweep(&mut self, gone: &[TransactionId]) {
        let rows = gone.iter().copied().map(super::rows::transaction_key);
        self.writes.extend(rows.map(|key| (key, None)));
    }
}

/// Sites that have log keys, and no rule that would end them.
pub(super) fn without_rule(
    ring: &Keyring,
    retention: &BTreeMap<Site, super::Retention>,
) -> BTreeSet<Site> {
    ring.list()
        .filter(|key| key.state() != KeyState::Destroyed)
        .filter_map(|key| match key.name() {
            KeyName::Log { site, .. } if site != Site::VAULT => Some(site),
            _ => None,
        })
        .filter(|site| !retention.contains_key(site))
        .collect()
}
