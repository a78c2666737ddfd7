//! Witnesses: independent services that cosign each checkpoint which goes on from the one before, so
//! that nobody, the vault's owner included, can show two ledgers to two auditors.
//!
//! They are asked on a thread of their own. The newest checkpoint waits and older ones are dropped,
//! since the newest vouches for all before it. No answer of the vault waits for a witness, and none
//! of what a witness says without a signature stops the vault: it is told, loudly.

mod ask;
mod peer;

pub use peer::Standing;

use super::alarms::Alarm;
use super::committer::Shared;
use super::load::Tiles;
use super::publish::Published;
use crate::clock::Clock;
use crate::ledger::{Checkpoint, VerifierKey, WitnessKey};
use crate::limits;
use crate::store::Reader;
use peer::Peer;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// A witness that the vault asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessAt {
    /// `http://` and where it answers, without a slash at the end.
    pub url: String,
    /// Its public key.
    pub key: WitnessKey,
}

/// Which witnesses are asked.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Witnesses {
    /// They, at most [`limits::WITNESSES_MAX`].
    pub list: Vec<WitnessAt>,
    /// How long one may be without a cosignature, while there is something to cosign, before that is
    /// an alarm.
    pub silent_ms: u64,
}

/// What a witness held against the ledger's own signature, at a start.
pub(super) struct Held {
    /// Its name.
    pub witness: String,
    /// A checkpoint that this ledger's key signed.
    pub checkpoint: Checkpoint,
}

/// Asks every witness, all at once and for a bounded time, what it holds. One that can't be asked is
/// told in the log.
pub(super) fn held(witnesses: &Witnesses, ledger: &VerifierKey) -> Vec<Held> {
    if witnesses.list.is_empty() {
        return Vec::new();
    }
    let (list, ledger) = (witnesses.list.clone(), ledger.clone());
    // On a thread of its own, since whoever opens a vault may be within a runtime.
    let asked = std::thread::spawn(move || {
        let runtime = runtime().map_err(|error| error.to_string())?;
        Ok::<_, String>(runtime.block_on(async {
            let asker = ask::asker();
            let patience = Duration::from_millis(limits::WITNESS_START_MS_MAX);
            let asks = list.into_iter().map(|at| {
                let (asker, ledger) = (asker.clone(), ledger.clone());
                tokio::spawn(async move {
                    let answer = tokio::time::timeout(patience, ask::newest(&asker, &at, &ledger))
                        .await
                        .unwrap_or_else(|_| Err("it didn't answer in time".to_owned()));
                    (at.key.name().to_owned(), answer)
                })
            });
            let asks: Vec<_> = asks.collect();
            let mut answers = Vec::new();
            for ask in asks {
                answers.extend(ask.await.ok());
            }
            answers
        }))
    });
    let answers = match asked.join() {
        Ok(Ok(answers)) => answers,
        Ok(Err(why)) => {
            tracing::error!(alarm = "witness", why, "no witness could be asked");
            return Vec::new();
        }
        Err(_) => {
            tracing::error!(alarm = "panic", "asking the witnesses ended with a panic");
            return Vec::new();
        }
    };
    let held = answers
        .into_iter()
        .filter_map(|(witness, answer)| match answer {
            Ok(checkpoint) => checkpoint.map(|checkpoint| Held {
                witness,
                checkpoint,
            }),
            Err(why) => {
                tracing::warn!(
                    witness,
                    why,
                    "a witness can't say what it holds; the vault starts without its word"
                );
                None
            }
        });
    held.collect()
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

#[derive(Default)]
struct Waiting {
    newest: Option<Published>,
    stop: bool,
}

/// What the vault knows of its witnesses.
#[derive(Clone)]
pub(super) struct Watched {
    cosigned: watch::Receiver<Option<Published>>,
    standings: Arc<Mutex<Vec<Standing>>>,
}

/// The way to the witnesses.
pub(super) struct Witnessing {
    waiting: Arc<(Mutex<Waiting>, Condvar)>,
    /// Cuts short what is being asked.
    hurry: Arc<Notify>,
    watched: Watched,
    thread: Option<JoinHandle<()>>,
}

/// What the thread needs.
pub(super) struct Bench {
    /// Whom it asks.
    pub witnesses: Witnesses,
    /// The ledger's public key.
    pub ledger: VerifierKey,
    /// Tree and head, and where alarms go.
    pub shared: Shared,
    /// Tiles.
    pub reader: Arc<dyn Reader>,
    /// The newest cosigned checkpoint goes here.
    pub file: Option<PathBuf>,
    /// Time.
    pub clock: Clock,
}

impl Witnessing {
    /// Starts the thread, if there is anybody to ask.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(bench: Bench) -> std::io::Result<Option<Witnessing>> {
        if bench.witnesses.list.is_empty() {
            return Ok(None);
        }
        let runtime = runtime()?;
        let waiting: Arc<(Mutex<Waiting>, Condvar)> = Arc::default();
        let (sender, cosigned) = watch::channel(None);
        let watched = Watched {
            cosigned,
            standings: Arc::default(),
        };
        let (own, standings) = (Arc::clone(&waiting), Arc::clone(&watched.standings));
        let hurry: Arc<Notify> = Arc::default();
        let cut = Arc::clone(&hurry);
        let thread = std::thread::Builder::new()
            .name("witnesses".to_owned())
            .spawn(move || Round::new(bench, runtime, cut, standings, sender).work(&own))?;
        Ok(Some(Witnessing {
            waiting,
            hurry,
            watched,
            thread: Some(thread),
        }))
    }

    /// Hands over a checkpoint. Never waits.
    pub(super) fn send(&self, published: &Published) {
        let (lock, wake) = &*self.waiting;
        lock.lock().unwrap_or_else(PoisonError::into_inner).newest = Some(published.clone());
        wake.notify_one();
    }

    /// What is known.
    pub(super) fn watched(&self) -> Watched {
        self.watched.clone()
    }
}

impl Drop for Witnessing {
    /// The last checkpoint is still submitted, once and for a short time.
    fn drop(&mut self) {
        let (lock, wake) = &*self.waiting;
        lock.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        wake.notify_one();
        self.hurry.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(alarm = "panic", "the witnesses' thread panicked");
        }
    }
}

impl Watched {
    /// The newest checkpoint that a witness cosigned.
    pub(super) fn cosigned(&self) -> Option<Published> {
        self.cosigned.borrow().clone()
    }

    /// How each witness does.
    pub(super) fn standings(&self) -> Vec<Standing> {
        self.standings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits, for a bounded time, for a cosigned checkpoint of at least `size` entries. None at once
    /// while every witness fails.
    pub(super) async fn reaches(&self, size: u64) -> Option<Published> {
        let standings = self.standings();
        if !standings.is_empty() && standings.iter().all(|standing| standing.failing.is_some()) {
            return None;
        }
        let mut cosigned = self.cosigned.clone();
        let reached = cosigned.wait_for(|c| c.as_ref().is_some_and(|c| c.checkpoint.size >= size));
        let patience = Duration::from_millis(limits::EXPORT_COSIGNED_MS_MAX);
        let reached = tokio::time::timeout(patience, reached).await;
        reached.ok()?.ok()?.clone()
    }
}

/// The thread's own.
struct Round {
    bench: Bench,
    runtime: tokio::runtime::Runtime,
    hurry: Arc<Notify>,
    asker: ask::Asker,
    peers: Vec<Peer>,
    standings: Arc<Mutex<Vec<Standing>>>,
    cosigned: watch::Sender<Option<Published>>,
}

impl Round {
    fn new(
        bench: Bench,
        runtime: tokio::runtime::Runtime,
        hurry: Arc<Notify>,
        standings: Arc<Mutex<Vec<Standing>>>,
        cosigned: watch::Sender<Option<Published>>,
    ) -> Round {
        let now_ms = bench.clock.monotonic_ms();
        let peers = bench.witnesses.list.iter();
        let peers = peers.map(|at| Peer::new(at.clone(), now_ms)).collect();
        Round {
            bench,
            runtime,
            hurry,
            asker: ask::asker(),
            peers,
            standings,
            cosigned,
        }
    }

    fn work(mut self, waiting: &(Mutex<Waiting>, Condvar)) {
        let (lock, wake) = waiting;
        let pause = Duration::from_millis(limits::WITNESS_PAUSE_MS);
        let mut newest: Option<Published> = None;
        loop {
            let stop = {
                let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
                // While somebody owes a cosignature it is looked at each second.
                let owes = newest.as_ref().is_some_and(|n| self.owes(n));
                let mut guard = match owes {
                    true => {
                        wake.wait_timeout_while(guard, pause, |w| w.newest.is_none() && !w.stop)
                            .unwrap_or_else(PoisonError::into_inner)
                            .0
                    }
                    false => wake
                        .wait_while(guard, |w| w.newest.is_none() && !w.stop)
                        .unwrap_or_else(PoisonError::into_inner),
                };
                newest = guard.newest.take().or(newest);
                guard.stop
            };
            if let Some(newest) = &newest
                && self.owes(newest)
            {
                self.ask_all(newest, stop);
            }
            if stop {
                return;
            }
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            // A busy vault marks ten times a second; a round a second is enough.
            drop(
                wake.wait_timeout_while(guard, pause, |w| !w.stop)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    fn owes(&self, newest: &Published) -> bool {
        self.peers.iter().any(|peer| peer.owes(newest))
    }

    /// Asks all whose turn it is, at once, and puts together what they cosigned.
    fn ask_all(&mut self, newest: &Published, last: bool) {
        let now_ms = self.bench.clock.monotonic_ms();
        let patience = match last {
            true => limits::WITNESS_LAST_MS_MAX,
            // Two calls and the look at what it holds.
            false => 3 * limits::WITNESS_CALL_MS_MAX,
        };
        let Round {
            bench,
            runtime,
            hurry,
            asker,
            peers,
            ..
        } = self;
        let lines = runtime.block_on(async {
            let asks = peers
                .iter_mut()
                .filter(|peer| peer.owes(newest) && (last || peer.is_due(now_ms)))
                .map(|peer| peer.ask(asker, bench, newest));
            let all = together(asks.collect());
            tokio::select! {
                all = tokio::time::timeout(Duration::from_millis(patience), all) => {
                    all.unwrap_or_default()
                }
                // A witness that hangs must not hold up the end.
                () = hurry.notified(), if !last => Vec::new(),
            }
        });
        let cosigned = lines.into_iter().flatten().collect::<String>();
        if !cosigned.is_empty() {
            self.keep(newest, &cosigned);
        }
        let now_ms = self.bench.clock.monotonic_ms();
        let silent_ms = self.bench.witnesses.silent_ms;
        let alarms: Vec<Alarm> = self
            .peers
            .iter_mut()
            .filter_map(|peer| peer.silence(newest, now_ms, silent_ms, &self.bench.clock))
            .collect();
        for alarm in alarms {
            self.bench.shared.raise(alarm);
        }
        *self
            .standings
            .lock()
            .unwrap_or_else(PoisonError::into_inner) =
            self.peers.iter().map(Peer::standing).collect();
    }

    /// Adds lines to what witnesses cosigned of this checkpoint before, and hands it out.
    fn keep(&self, newest: &Published, lines: &str) {
        let before = self.cosigned.borrow().clone();
        let base = before
            .filter(|before| before.checkpoint == newest.checkpoint)
            .map_or_else(|| Arc::clone(&newest.note), |before| before.note);
        let note: Arc<str> = Arc::from(format!("{base}{lines}"));
        if let Some(file) = &self.bench.file
            && let Err(error) = super::publish::replace_file(file, note.as_bytes())
        {
            tracing::error!(alarm = "sink", %error, "the cosigned checkpoint can't be written");
        }
        self.cosigned.send_replace(Some(Published {
            checkpoint: newest.checkpoint.clone(),
            note,
        }));
    }
}

/// Waits for all of them.
async fn together<T>(asks: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut asks: Vec<_> = asks.into_iter().map(|ask| (Box::pin(ask), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (ask, done) in &mut asks {
            if done.is_none() {
                match ask.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        match pending {
            true => std::task::Poll::Pending,
            false => std::task::Poll::Ready(()),
        }
    })
    .await;
    asks.into_iter().filter_map(|(_, done)| done).collect()
}

impl Bench {
    /// The path from `old` to a published size.
    fn proof(&self, old: u64, size: u64) -> Result<Vec<crate::ledger::Hash>, String> {
        if old == 0 || old == size {
            return Ok(Vec::new());
        }
        let tree = self
            .shared
            .tree
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let epoch = self.shared.head.load().epoch;
        tree.consistency(old, size, &Tiles(self.reader.as_ref(), epoch))
            .map_err(|error| error.to_string())
    }

    /// Whether the ledger goes on from a checkpoint that its own key signed; none when its tiles
    /// can't be read.
    fn extends(&self, checkpoint: &Checkpoint) -> Option<bool> {
        let tree = self
            .shared
            .tree
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if checkpoint.size > tree.size() {
            return Some(false);
        }
        let epoch = self.shared.head.load().epoch;
        tree.root_at(checkpoint.size, &Tiles(self.reader.as_ref(), epoch))
            .ok()
            .map(|root| root == checkpoint.root)
    }
}
