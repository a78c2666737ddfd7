//! Re-wrapping: rows under earlier keys are sealed anew under the newest of the name, beside callers
//! and without a token: the inner layer stays as it is.
//!
//! A thread scans the store, a bounded page at a time, and asks the committer to seal anew what it saw
//! under an earlier key. The committer reads those rows itself, in the round in which it writes them:
//! what was changed meanwhile lies under the newest key already and is left alone, so nothing is ever
//! overwritten. An earlier key seals nothing from before a pass begins, so a pass that went through
//! all rows has left none under it; then the keyring notes that, durably, and destroys the key if it
//! is compromised. What is to be done lies in the keyring: after a crash a pass begins anew, and
//! passes over what is done.

use super::batch::{Batch, No};
use super::command::{Ask, Caller, Done, Refusal, Rewrap, StaleRows, Work};
use super::committer::{Shared, Turn};
use super::key_changes::{Need, full_label};
use super::rows::Row;
use crate::clock::Clock;
use crate::keys::{KeyId, KeyName, Rewrapping, seal_key};
use crate::ledger::{DETAIL_KEY, Entry, Page};
use crate::limits;
use crate::store::{Reader, space};
use std::collections::HashSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Rows of one scan.
const SCAN_ROWS: usize = 256;
/// How often the keyring is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// After a refusal, a step is tried again after this.
const AGAIN: Duration = Duration::from_millis(200);
/// Between two steps as long as the last one took, but no longer: callers come first.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// How far re-wrapping is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RewrapStatus {
    /// The keys whose rows are still to be sealed anew, by name and generation.
    pub keys: Vec<String>,
    /// Whether a pass is under way.
    pub running: bool,
    /// How much of the store the pass has been through, in thousandths.
    pub permille: u32,
    /// Rows that it sealed anew. Pages of entries count as one.
    pub rows: u64,
    /// Rows that it left since they don't open. The earlier key stays while there is one.
    pub failed: u64,
}

impl Batch<'_> {
    /// One step of a re-wrap.
    pub(super) fn rewrap(&mut self, step: &Rewrap, entry: &mut Entry) -> Result<Done, No> {
        match step {
            Rewrap::Begun(keys) => {
                for id in keys {
                    self.enter_about(*id, entry)?;
                }
                Ok(Done::Rewrapped { rows: 0, failed: 0 })
            }
            Rewrap::Rows(stale) => self.rewrap_rows(stale, entry),
            Rewrap::Ended { keys, rows } => {
                let keys = self.went_through(keys);
                if keys.is_empty() {
                    return Ok(Done::Rewrapped { rows: 0, failed: 0 });
                }
                self.require(Need::Clear(keys.clone()))?;
                entry.detail.insert("rows", rows.to_string());
                for id in keys {
                    self.enter_about(id, entry)?;
                }
                Ok(Done::Rewrapped { rows: 0, failed: 0 })
            }
        }
    }

    /// Those of a pass's keys under which it left nothing. A row is sealed anew only while its name's
    /// newest key seals: where that came to its end meanwhile, rows were passed over.
    fn went_through(&self, keys: &[KeyId]) -> Vec<KeyId> {
        if let Some(Need::Clear(keys)) = self.granted {
            return keys.clone();
        }
        let followed = self.ring.superseded(self.now);
        let is_followed = |id: &&KeyId| followed.iter().any(|one| one.key == **id);
        keys.iter().filter(is_followed).copied().collect()
    }

    fn enter_about(&mut self, id: KeyId, entry: &mut Entry) -> Result<(), No> {
        let label = self.ring.list().find(|key| key.id() == id).map(full_label);
        entry.detail.insert(DETAIL_KEY, label.unwrap_or_default());
        self.enter(entry).map(|_| ())
    }

    fn rewrap_rows(&mut self, stale: &StaleRows, entry: &Entry) -> Result<Done, No> {
        let (mut rows, mut failed) = (0, 0);
        for id in &stale.transactions {
            match self.rewrap_transaction(*id, entry)? {
                Some(sealed) => rows += u64::from(sealed),
                None => failed += 1,
            }
        }
        for key in &stale.others {
            let Some(value) = self.others.remove(key) else {
                continue;
            };
            match self.rewrap_other(key, &value) {
                Ok(sealed) => rows += u64::from(sealed),
                Err(Failure::Keys(no)) => return Err(no),
                Err(Failure::Row(what)) => {
                    failed += 1;
                    if let no @ No::Keys(_) = self.alarm(entry, what) {
                        return Err(no);
                    }
                }
            }
        }
        Ok(Done::Rewrapped { rows, failed })
    }

    /// Seals a row of the vault's own, or the entries of a page, anew; tells whether it was under an
    /// earlier key.
    fn rewrap_other(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Failure> {
        match key.first() {
            Some(&space::ENTRIES) => return self.rewrap_page(key, value),
            // A part that an earlier, larger round left: no later one wrote over it.
            Some(&space::REDO) => {
                let left = key != Row::redo(0, 0).key && self.is_stale(value);
                if left {
                    self.writes.push((key.to_vec(), None));
                }
                return Ok(left);
            }
            _ => {}
        }
        let row = Row::own_of_key(key).ok_or(Failure::Row("a row's key"))?;
        if !self.is_stale(value) {
            return Ok(false);
        }
        let plaintext = self
            .ring
            .open_bytes(&row.place(), value)
            .map_err(|_| Failure::Row("a row of the vault's own"))?;
        self.seal_row(row, &plaintext).map_err(Failure::Keys)?;
        Ok(true)
    }

    /// Entries keep their leaves and their place; only their seals are new.
    fn rewrap_page(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Failure> {
        let wrong = |_| Failure::Row("a page of entries");
        let page = Page::parse(value).map_err(wrong)?;
        let epoch = key.get(1..).and_then(|rest| rest.first_chunk());
        let epoch = epoch.ok_or(Failure::Row("a page's key"))?;
        let epoch = u32::from_be_bytes(*epoch);
        let (mut sealed, mut any) = (Vec::with_capacity(page.entries.len()), false);
        for entry in &page.entries {
            if !self.is_stale(entry.sealed) {
                sealed.push(entry.sealed.to_vec());
                continue;
            }
            let name = seal_key(entry.sealed).and_then(|id| self.ring.name_of(id));
            let Some(name @ KeyName::Log { site, .. }) = name else {
                return Err(Failure::Row(
                    "an entry: sealed under a key of another purpose",
                ));
            };
            let newest = self.ring.find(&name, self.now);
            let newest = newest.ok_or(Failure::Row("an entry's key"))?;
            let row = Row::entry(site, epoch, entry.index);
            let content = self
                .ring
                .open_bytes(&row.place(), entry.sealed)
                .map_err(|_| Failure::Row("an entry"))?;
            let anew = self
                .ring
                .seal(newest, &row.place(), &content)
                .map_err(|error| Failure::Keys(error.into()))?;
            sealed.push(anew.into_bytes());
            any = true;
        }
        if any {
            self.pages.push((key.to_vec(), page.resealed(&sealed)));
        }
        Ok(any)
    }

    /// Whether a stored value lies under an earlier key of a name whose newest one seals.
    pub(super) fn is_stale(&self, value: &[u8]) -> bool {
        let under = seal_key(value);
        let name = under.and_then(|id| self.ring.name_of(id));
        let newest = name.and_then(|name| self.ring.find(&name, self.now));
        newest.is_some() && newest != under
    }
}

/// Why a row was not sealed anew.
enum Failure {
    /// It does not open, or is not what should be there.
    Row(&'static str),
    /// The keyring could not do its part; the round fails.
    Keys(No),
}

/// What the thread is told.
enum Word {
    /// There may be something to do.
    Look,
    /// End.
    Stop,
}

/// The thread that re-wraps.
pub(super) struct Rewrapper {
    words: Sender<Word>,
    thread: Option<JoinHandle<()>>,
    status: Arc<Mutex<RewrapStatus>>,
}

impl Rewrapper {
    /// Starts it.
    pub fn start(
        queue: &mpsc::Sender<Turn>,
        shared: Shared,
        reader: Arc<dyn Reader>,
        clock: Clock,
    ) -> std::io::Result<Rewrapper> {
        let (words, heard) = std::sync::mpsc::channel();
        let status = Arc::new(Mutex::new(RewrapStatus::default()));
        let mut work = Worker {
            // The committer ends when nobody can ask any more; this thread keeps none alive.
            queue: queue.downgrade(),
            shared,
            reader,
            clock,
            heard,
            status: Arc::clone(&status),
            rests_until_ms: 0,
        };
        let thread = std::thread::Builder::new()
            .name("rewrap".to_owned())
            .spawn(move || while work.look().is_ok() {})?;
        Ok(Rewrapper {
            words,
            thread: Some(thread),
            status,
        })
    }

    /// Has it look at once, and not within a second.
    pub fn look(&self) {
        let _ = self.words.send(Word::Look);
    }

    /// How far it is.
    pub fn status(&self) -> RewrapStatus {
        let status = self.status.lock();
        status.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it, after the step that it is in. Waits.
    pub fn stop(&mut self) {
        let _ = self.words.send(Word::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(alarm = "panic", "re-wrapping ended with a panic");
        }
    }
}

impl Drop for Rewrapper {
    fn drop(&mut self) {
        self.stop();
    }
}

/// It was told to end, or the vault is closed.
struct Ended;

struct Worker {
    queue: mpsc::WeakSender<Turn>,
    shared: Shared,
    reader: Arc<dyn Reader>,
    clock: Clock,
    heard: Receiver<Word>,
    status: Arc<Mutex<RewrapStatus>>,
    rests_until_ms: u64,
}

impl Worker {
    /// Waits for something to do, and does it.
    fn look(&mut self) -> Result<(), Ended> {
        let wanted = self.wanted();
        let rests = self.clock.monotonic_ms() < self.rests_until_ms;
        if wanted.is_empty() || rests {
            return self.pause(LOOK);
        }
        self.pass(&wanted)
    }

    /// Keys whose rows are to be sealed anew.
    fn wanted(&self) -> Vec<Rewrapping> {
        let ring = self.shared.ring.read();
        let ring = ring.unwrap_or_else(PoisonError::into_inner);
        ring.to_rewrap(self.clock.now())
    }

    fn say(&self, change: impl FnOnce(&mut RewrapStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Goes through every row once.
    fn pass(&mut self, wanted: &[Rewrapping]) -> Result<(), Ended> {
        let keys: Vec<KeyId> = wanted.iter().map(|one| one.key).collect();
        let under: HashSet<KeyId> = keys.iter().copied().collect();
        let mut spaces = Vec::new();
        for one in wanted {
            spaces.extend_from_slice(match one.name {
                KeyName::Release { .. } => &[space::TRANSACTIONS][..],
                KeyName::Log { .. } => &[space::ENTRIES],
                KeyName::Vault => &[
                    space::PRINCIPALS,
                    space::ALLOWANCES,
                    space::ACTIONS,
                    space::EPOCHS,
                    space::KEY_ENDS,
                    space::HOLDS,
                    space::REDO,
                ],
                // Nothing in the store lies under it.
                _ => &[],
            });
        }
        spaces.sort_unstable();
        spaces.dedup();
        self.say(|status| {
            (status.running, status.permille) = (true, 0);
            (status.rows, status.failed) = (0, 0);
        });
        self.ask(|| Rewrap::Begun(keys.clone()))?;
        for (number, space) in spaces.iter().enumerate() {
            self.pass_over(*space, &under, |within| {
                (number as u32 * 1_000 + within) / spaces.len() as u32
            })?;
        }
        let done = self
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if done.failed > 0 {
            tracing::error!(
                alarm = "integrity",
                rows = done.failed,
                "rows can't be sealed anew since they don't open; their key stays"
            );
            self.rests_until_ms = self.clock.monotonic_ms() + limits::REWRAP_AGAIN_MS;
        } else {
            let rows = done.rows;
            self.ask(|| Rewrap::Ended {
                keys: keys.clone(),
                rows,
            })?;
            tracing::info!(rows, keys = keys.len(), "a re-wrap is done");
        }
        self.say(|status| (status.running, status.permille) = (false, 1_000));
        Ok(())
    }

    /// Goes through a space, in the order of its keys.
    fn pass_over(
        &mut self,
        space: u8,
        under: &HashSet<KeyId>,
        whole: impl Fn(u32) -> u32,
    ) -> Result<(), Ended> {
        let (mut from, to) = (vec![space], vec![space + 1]);
        loop {
            let began = self.clock.monotonic_ms();
            let rows = match self.reader.scan(&from, &to, SCAN_ROWS) {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(%error, "a re-wrap waits for the store");
                    self.pause(AGAIN)?;
                    continue;
                }
            };
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            from.clone_from(last);
            from.push(0);
            let within = self.fraction(last);
            let ended = rows.len() < SCAN_ROWS;
            let stale: Vec<Vec<u8>> = rows
                .into_iter()
                .filter(|(key, value)| is_under(key, value, under))
                .map(|(key, _)| key)
                .collect();
            let mut waited = self.since(began);
            for some in stale.chunks(limits::REWRAP_ROWS_MAX) {
                self.pause(waited.min(PAUSE_MAX))?;
                let began = self.clock.monotonic_ms();
                self.ask(|| Rewrap::Rows(stale_rows(some)))?;
                waited = self.since(began);
            }
            self.pause(waited.min(PAUSE_MAX))?;
            self.say(|status| status.permille = whole(within));
            if ended {
                return Ok(());
            }
        }
    }

    /// How much of a space lies before a key, in thousandths: transactions have random ids, entries
    /// are numbered.
    fn fraction(&self, key: &[u8]) -> u32 {
        let number = |at: usize| {
            let bytes = key.get(at..).and_then(|rest| rest.first_chunk());
            u64::from_be_bytes(bytes.copied().unwrap_or_default())
        };
        match key[0] {
            space::TRANSACTIONS => (((number(1) >> 32) * 1_000) >> 32) as u32,
            space::ENTRIES => {
                let size = self.shared.head.load().size.max(1);
                (number(5).min(size) * 1_000 / size) as u32
            }
            _ => 0,
        }
    }

    /// Asks the committer for a step, as often as it takes.
    fn ask(&mut self, step: impl Fn() -> Rewrap) -> Result<(), Ended> {
        loop {
            let (reply, answer) = oneshot::channel();
            let ask = Box::new(Ask {
                caller: Caller::vault(),
                work: Work::Rewrap(step()),
                deadline_ms: u64::MAX,
                reply,
                share: None,
            });
            let sent = {
                let queue = self.queue.upgrade().ok_or(Ended)?;
                queue.try_send(Turn::Ask(ask))
            };
            match sent {
                Ok(()) => match answer.blocking_recv() {
                    Ok(Ok(Done::Rewrapped { rows, failed })) => {
                        self.say(|status| {
                            status.rows += rows;
                            status.failed += failed;
                        });
                        return Ok(());
                    }
                    Ok(Err(Refusal::Sealed)) | Err(_) => return Err(Ended),
                    Ok(Err(refusal)) => tracing::warn!(%refusal, "a re-wrap waits"),
                    Ok(Ok(_)) => return Err(Ended),
                },
                Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(Ended),
            }
            self.pause(AGAIN)?;
        }
    }

    fn since(&self, began_ms: u64) -> Duration {
        Duration::from_millis(self.clock.monotonic_ms().saturating_sub(began_ms))
    }

    /// Waits so long, or until it is told something.
    fn pause(&self, how_long: Duration) -> Result<(), Ended> {
        match self.heard.recv_timeout(how_long) {
            Ok(Word::Look) | Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => Err(Ended),
        }
    }
}

/// Whether a row, or an entry in it, is sealed under one of these keys.
fn is_under(key: &[u8], value: &[u8], under: &HashSet<KeyId>) -> bool {
    let is = |sealed: &[u8]| seal_key(sealed).is_some_and(|id| under.contains(&id));
    match key[0] {
        space::ENTRIES => match Page::parse(value) {
            Ok(page) => page.entries.iter().any(|entry| is(entry.sealed)),
            // The committer looks at it, and says so.
            Err(_) => true,
        },
        _ => is(value),
    }
}

fn stale_rows(keys: &[Vec<u8>]) -> StaleRows {
    let mut stale = StaleRows::default();
    for key in keys {
        let transaction = match key[0] {
            space::TRANSACTIONS => key.get(1..).and_then(|rest| rest.first_chunk()),
            _ => None,
        };
        match transaction {
            Some(id) => stale.transactions.push(crate::ids::TransactionId(*id)),
            None => stale.others.push(key.clone()),
        }
    }
    stale
}
