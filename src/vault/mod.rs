//! The vault: the use cases, and the one door through which every change and every release goes.
//!
//! [`Vault`] is the handle that the api holds: it queues commands for the committer's thread and
//! gives readers what they may read. Plaintext leaves only inside a [`command::Done`] that a
//! durable round unlocked.

mod admin;
mod alarms;
pub mod backup;
mod batch;
mod check;
mod codes;
mod collect;
pub mod command;
mod commands;
pub mod committer;
#[cfg(feature = "fault-injection")]
mod crash;
mod delivery;
mod epochs;
mod erase;
mod export;
mod fair;
mod fingerprint;
mod floods;
mod gate;
mod hashing;
mod head;
mod hold;
mod inventory;
mod keeper;
mod key_changes;
mod load;
mod open;
mod open_transaction;
mod proofs;
mod prune;
mod publish;
mod rates;
mod redeem;
mod redo;
mod registry;
mod requests;
#[cfg(feature = "fault-injection")]
pub mod reread;
mod reseal;
mod retention;
mod rewrap;
mod rows;
mod sessions;
mod sink_command;
mod state;
mod tail;
mod tee;
mod together;
mod tokenize;
mod tokens;
mod watchdog;
mod withheld;
mod witness;

pub use check::{Checked, check, check_in};
pub use collect::{Amiss, CollectDocument, Collecting, DocumentError, Unsealed, identity_name};
pub use committer::Settings;
pub use epochs::ClosedEpoch;
pub use erase::{Erasure, ErasureRequest};
pub use export::{ExportRequest, Piece};
pub use gate::{Gate, GateError, Given, Progress, Trier};
pub use hashing::{Hashing, hashing};
pub use head::{Head, Restored};
pub use hold::{Hold, HoldRequest, HoldScope};
pub use inventory::KeyFacts;
pub use load::LoadError;
pub use open::{Founding, House, OpenError, create, create_as, create_in, open, open_in};
pub use proofs::IssuedReceipt;
pub use publish::Published;
pub use registry::{Change, Pending, Registry};
pub use reseal::ResealError;
pub use retention::{Retention, RetentionStart};
pub use rewrap::RewrapStatus;
pub use sessions::Sessions;
pub use tail::{Tailed, TailedPiece};
pub use together::Answers;
pub use witness::{Standing, WitnessAt, Witnesses};

use crate::clock::{Beats, Clock};
use crate::ids::{PrincipalId, Site, VaultId};
use crate::keys::Keyring;
use crate::ledger::VerifierKey;
use crate::limits;
use crate::policy::{Denial, Principal};
use crate::secret::SecretText;
use crate::store::Reader;
use command::{Admin, Ask, Caller, Done, Note, Refusal, Work};
use committer::{Committer, Shared, Turn};
use ed25519_dalek::SigningKey;
use publish::Publisher;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// An open vault.
pub struct Vault {
    id: VaultId,
    queue: mpsc::Sender<Turn>,
    shares: Shares,
    shared: Shared,
    publisher: Publisher,
    witnesses: Option<witness::Watched>,
    reader: Arc<dyn Reader>,
    clock: Clock,
    retention: std::collections::BTreeMap<Site, Retention>,
    sealed_only: std::collections::BTreeSet<Site>,
    collect_turn: tokio::sync::Mutex<()>,
    /// Gone once the vault is closed.
    signing: Mutex<Option<Box<SigningKey>>>,
    closed: AtomicBool,
    verifier: VerifierKey,
    store_name: &'static str,
    /// Sessions of people.
    pub sessions: Sessions,
    logins: Mutex<HashMap<PrincipalId, Arc<tokio::sync::Mutex<()>>>>,
    exports: export::Turns,
    tails: export::Turns,
    threads: Mutex<Option<Threads>>,
    rewrapper: Mutex<rewrap::Rewrapper>,
}

struct Threads {
    committing: JoinHandle<()>,
    publishing: JoinHandle<publish::Messengers>,
    /// Held until both have ended and the keys are gone: then nothing writes beside these keys,
    /// however long a slow reader holds on to the vault.
    _keys_lock: std::fs::File,
}

impl Vault {
    #[allow(clippy::too_many_arguments)] // the parts that `open` put together
    fn start(
        id: VaultId,
        house: &House,
        committer: Committer,
        shared: Shared,
        publisher: Publisher,
        witnesses: Option<witness::Watched>,
        publishing: JoinHandle<publish::Messengers>,
        reader: Arc<dyn Reader>,
        signing: Box<SigningKey>,
        verifier: VerifierKey,
        store_name: &'static str,
        keys_lock: std::fs::File,
    ) -> std::io::Result<Vault> {
        let (queue, turns) = mpsc::channel(limits::QUEUE_COMMANDS_MAX);
        let rewrapper = rewrap::Rewrapper::start(
            &queue,
            shared.clone(),
            Arc::clone(&reader),
            house.clock.clone(),
        )?;
        watchdog::Watchdog::watch(&committer.watchdog(), house.clock.clone())?;
        let committing = std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || {
                let _guard = AbortOnPanic;
                // Everybody waits for this thread, and it mostly for the disk: when that is done, threads
                // that a flood keeps busy would have the core to the end of their slices.
                if let Err(error) = crate::os::short_slices() {
                    tracing::debug!(%error, "the committer has time slices as any other");
                }
                committer::run(committer, turns);
            })?;
        Ok(Vault {
            id,
            queue,
            shares: Shares::default(),
            shared,
            publisher,
            witnesses,
            reader,
            clock: house.clock.clone(),
            retention: house.settings.retention.clone(),
            sealed_only: house.settings.sealed_only.clone(),
            collect_turn: tokio::sync::Mutex::new(()),
            signing: Mutex::new(Some(signing)),
            closed: AtomicBool::new(false),
            verifier,
            store_name,
            sessions: Sessions::default(),
            logins: Mutex::default(),
            exports: Arc::default(),
            tails: Arc::default(),
            threads: Mutex::new(Some(Threads {
                committing,
                publishing,
                _keys_lock: keys_lock,
            })),
            rewrapper: Mutex::new(rewrapper),
        })
    }

    /// The vault's id.
    pub fn id(&self) -> VaultId {
        self.id
    }

    /// Who is enrolled now.
    pub fn registry(&self) -> Arc<Registry> {
        self.shared.registry.load_full()
    }

    /// The head of the last durable round.
    pub fn head(&self) -> Arc<Head> {
        self.shared.head.load_full()
    }

    /// The ledger's public key.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The storage engine.
    pub fn store_name(&self) -> &'static str {
        self.store_name
    }

    /// The newest published checkpoint.
    pub fn published(&self) -> Option<Published> {
        self.publisher.published()
    }

    /// The newest checkpoint that witnesses cosigned, with their lines.
    pub fn cosigned(&self) -> Option<Published> {
        self.witnesses.as_ref()?.cosigned()
    }

    /// How the witnesses do; none are configured when there are none.
    pub fn witnesses(&self) -> Vec<Standing> {
        let watched = self.witnesses.as_ref();
        watched.map(|w| w.standings()).unwrap_or_default()
    }

    /// Whether marks can't be written.
    pub fn marks_are_failing(&self) -> bool {
        self.publisher.is_failing()
    }

    /// By how many milliseconds the clock is ahead (below 0: behind), while it is suspect.
    pub fn clock_off_ms(&self) -> Option<i64> {
        self.shared.clock_off.load().as_deref().copied()
    }

    /// Sites that have entries, and no rule that would end them.
    pub fn sites_without_rule(&self) -> std::collections::BTreeSet<crate::ids::Site> {
        keeper::without_rule(&self.ring(), &self.retention)
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sends a command through the door and waits for its answer. `deadline_ms` is monotonic.
    /// Whoever turns out not to be tied waits for the next beat of [`limits::NOT_TIED_BEAT_MS`].
    ///
    /// # Errors
    /// [`Refusal`]; nothing was released then.
    pub async fn ask(&self, caller: Caller, work: Work, deadline_ms: u64) -> Result<Done, Refusal> {
        let beats = Beats::every_ms(limits::NOT_TIED_BEAT_MS);
        let answer = self.ask_at_once(caller, work, deadline_ms).await;
        // A row that isn't there takes less time than one that is read, opened and judged, and a
        // large one more than a small one. Nobody holds a place in the queue meanwhile.
        if matches!(&answer, Err(Refusal::Denied(denial)) if denial.is_not_tied()) {
            beats.next().await;
        }
        answer
    }

    /// What opens sealed details; nothing before a portal asked for a collect key, and once the
    /// vault is closed.
    pub fn collecting(&self) -> Option<Arc<Collecting>> {
        self.shared.collecting.load_full()
    }

    /// Whether a portal has a site that takes sealed details only: then what it hands in in clear is
    /// not read before the committer knows which site it is for.
    pub fn has_sealed_only(&self, portal: &Principal) -> bool {
        let only = |site: &Site| self.sealed_only.contains(site);
        portal.sites.iter().any(only)
    }

    /// What collect documents are verified with: whoever seals details is given it beforehand.
    ///
    /// # Errors
    /// When the vault is closed.
    pub fn identity(&self) -> Result<VerifierKey, Refusal> {
        let missing = Refusal::Unavailable("there is no identity key");
        let key = self.ring().identity().map(|key| key.verifying_key());
        let key = key.map_err(|_| self.unless_closed(missing.clone()))?;
        VerifierKey::new(&identity_name(self.id), key).map_err(|_| missing)
    }

    /// Today's collect document, and what it is verified with. The first of a day makes the day's
    /// key.
    ///
    /// # Errors
    /// When the key can't be made, or the vault is closed.
    pub async fn collect_document(
        &self,
        deadline_ms: u64,
    ) -> Result<(Arc<str>, VerifierKey), Refusal> {
        let found = |collecting: &Collecting, day| {
            let document = collecting.document(day)?;
            Some((Arc::clone(document), collecting.verifier().clone()))
        };
        if let Some(given) = self
            .collecting()
            .and_then(|known| found(&known, self.today()))
        {
            return Ok(given);
        }
        // One asks, and the others wait for it.
        let _turn = self.collect_turn.lock().await;
        if let Some(given) = self
            .collecting()
            .and_then(|known| found(&known, self.today()))
        {
            return Ok(given);
        }
        let work = Work::Note(Note::CollectKey);
        self.ask_at_once(Caller::vault(), work, deadline_ms).await?;
        // The day by which the key was made is the ledger's: a clock that jumped is not followed.
        let known = self.collecting().ok_or(Refusal::Sealed)?;
        let newest = known.newest_day().and_then(|day| found(&known, day));
        newest.ok_or(Refusal::Unavailable("there is no collect key"))
    }

    /// Today, by the time that the ledger goes by as far as it is known here.
    fn today(&self) -> u32 {
        let off_ms = self.clock_off_ms().unwrap_or(0);
        let wall = self.clock.now().0;
        crate::clock::Timestamp(wall.saturating_add_signed(off_ms.saturating_neg())).day()
    }

    /// For tests only: what the beat hides.
    ///
    /// # Errors
    /// As [`Vault::ask`].
    #[cfg(feature = "fault-injection")]
    pub async fn ask_without_beat(&self, caller: Caller, work: Work) -> Result<Done, Refusal> {
        self.ask_at_once(caller, work, u64::MAX).await
    }

    /// As [`Vault::ask`], without the beat: the time of the answer says what was found.
    async fn ask_at_once(
        &self,
        caller: Caller,
        work: Work,
        deadline_ms: u64,
    ) -> Result<Done, Refusal> {
        // Held by the command, not by its caller: one that gives up doesn't free a place that is
        // still taken. The vault's own notes take none.
        let share = match caller.is_vault() {
            true => None,
            false => Some(self.shares.take(caller.id())?),
        };
        let (reply, answer) = oneshot::channel();
        let ask = Box::new(Ask {
            caller,
            work,
            deadline_ms,
            reply,
            share,
        });
        self.queue
            .try_send(Turn::Ask(ask))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Refusal::QueueFull,
                mpsc::error::TrySendError::Closed(_) => Refusal::Sealed,
            })?;
        answer.await.unwrap_or(Err(Refusal::Sealed))
    }

    /// How far re-wrapping is.
    pub fn rewrapping(&self) -> RewrapStatus {
        let mut status = self.rewrapper().status();
        // As it is now, and not when the thread looked last.
        let wanted = self.ring().to_rewrap(self.clock.now());
        status.keys = wanted.iter().map(crate::keys::Rewrapping::label).collect();
        status
    }

    /// Has re-wrapping look at once whether there is something to do.
    pub fn look_for_rewraps(&self) {
        self.rewrapper().look();
    }

    fn rewrapper(&self) -> std::sync::MutexGuard<'_, rewrap::Rewrapper> {
        self.rewrapper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the committer do its housekeeping. Called once a second; never waits.
    pub fn tick(&self) {
        let _ = self.queue.try_send(Turn::Tick);
    }

    /// Judges a human's secret and counts the try. Tries of one principal run one after the other,
    /// so that parallel guesses don't slip past the lock. A good one begins a session.
    ///
    /// # Errors
    /// [`Denial::BadSecret`], [`Denial::Locked`], [`Refusal::QueueFull`] when too many secrets wait
    /// to be judged, or what the door says.
    pub async fn login(
        &self,
        caller: Caller,
        secret: SecretText,
        deadline_ms: u64,
    ) -> Result<SecretText, Refusal> {
        let principal = caller
            .principal
            .clone()
            .ok_or(Refusal::Denied(Denial::BadSecret))?;
        let turn = {
            let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(logins.entry(principal.id).or_default())
        };
        let _turn = turn.lock().await;
        let registry = self.registry();
        let current = registry
            .principal(principal.id)
            .ok_or(Refusal::Denied(Denial::PrincipalDisabled))?;
        // While locked the secret is not even looked at; the committer says so, with an entry.
        let locked = current.locked_until > self.clock.now();
        let hash = current.secret_hash.clone();
        let verified = hash.clone();
        let good = !locked
            && hashing()
                .run(move || crate::keys::password::verify(&secret, &hash))
                .await?;
        let tried = Work::Admin(Box::new(Admin::LoginTried(good)));
        self.ask(caller, tried, deadline_ms).await?;
        let session = self.sessions.begin(principal.id, self.clock.monotonic_ms());
        // A secret that was rotated while the old one was being verified opens nothing.
        let registry = self.registry();
        let current = registry.principal(principal.id);
        if current.is_none_or(|now| now.secret_hash != verified) {
            self.sessions.end(principal.id, session.expose());
            return Err(Refusal::Denied(Denial::BadSecret));
        }
        Ok(session)
    }

    /// Seals or stops: a last entry, the last round, the last mark; then keys leave memory with
    /// this handle. Blocks until the threads have ended.
    pub fn close(&self, note: Note, by: Caller) {
        let Some(threads) = self
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return;
        };
        // From here on a reader that fails is told that the vault is closing.
        self.closed.store(true, Ordering::SeqCst);
        // The rest of a re-wrap is done after the next start.
        self.rewrapper().stop();
        let (reply, _answer) = oneshot::channel();
        let last = Turn::Stop(Box::new(Ask {
            caller: by,
            work: Work::Note(note),
            deadline_ms: u64::MAX,
            reply,
            share: None,
        }));
        // A committer that is gone already says so below.
        let _ = self.queue.blocking_send(last);
        if threads.committing.join().is_err() {
            tracing::error!(alarm = "panic", "the committer ended with a panic");
        }
        self.publisher.stop();
        let messengers = threads.publishing.join();
        if messengers.is_err() {
            tracing::error!(alarm = "panic", "the publisher ended with a panic");
        }
        // A slow reader may hold on to this handle for long, and whoever still gets the last
        // checkpoint may be slow: the keys go now.
        self.shared.collecting.store(None);
        self.shared
            .ring
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .wipe();
        self.signing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(messengers);
    }

    /// A reader's refusal: once the keys are gone, what doesn't open any more is no damage.
    fn unless_closed(&self, refusal: Refusal) -> Refusal {
        match self.closed.load(Ordering::SeqCst) {
            true => Refusal::Sealed,
            false => refusal,
        }
    }

    fn ring(&self) -> std::sync::RwLockReadGuard<'_, Keyring> {
        self.shared
            .ring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Vault {
    /// The committer's thread ends with the queue; the publisher's has to be told.
    fn drop(&mut self) {
        self.publisher.stop();
    }
}

/// A committer that panicked can't be gone on with, and a vault without one must not look alive:
/// the process ends, and whoever keeps it starts it again. That is safe at any moment.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(alarm = "panic", "the committer panicked; the process ends");
            std::process::abort();
        }
    }
}

/// How many commands wait, of all and of each principal: nobody may fill the queue alone.
#[derive(Default)]
struct Shares {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    all: usize,
    of: HashMap<Option<PrincipalId>, usize>,
}

/// One place in the queue, given back when this is dropped.
pub struct Share {
    waiting: Arc<Mutex<Waiting>>,
    of: Option<PrincipalId>,
}

impl Shares {
    fn take(&self, of: Option<PrincipalId>) -> Result<Share, Refusal> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let own = waiting.of.get(&of).copied().unwrap_or(0);
        if own >= limits::QUEUE_COMMANDS_PER_PRINCIPAL_MAX
            || waiting.all >= limits::QUEUE_COMMANDS_MAX
        {
            return Err(Refusal::QueueFull);
        }
        waiting.all += 1;
        waiting.of.insert(of, own + 1);
        Ok(Share {
            waiting: Arc::clone(&self.waiting),
            of,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.all = waiting.all.saturating_sub(1);
        if let Some(count) = waiting.of.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                waiting.of.remove(&self.of);
            }
        }
    }
}
