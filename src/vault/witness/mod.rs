//! Witnesses: independent services that cosign each checkpoint which goes on from the one before, so
//! that nobody, the vault's owner included, can show two ledgers to two auditors.
//!
//! They are asked on a thread of their own. The newest checkpoint waits and older ones are dropped,
//! since the newest vouches for all before it. No answer of the vault waits for a witness, and none
//! of what a witness says without a signature stops the vault: it is told, loudly.

mod ask;
mod peer;

pub use peer::Standing;

use super::committer::Shared;
use super::load::Tiles;
use super::publish::Published;
use crate::clock::Clock;
use crate::ledger::{Checkpoint, VerifierKey, WitnessKey};
use crate::limits;
use crate::store::Reader;
use peer::Peer;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

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

/// What the publisher says.
#[derive(Clone, Default)]
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
    waiting: watch::Sender<Waiting>,
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
        let (waiting, said) = watch::channel(Waiting::default());
        let (cosigned, seen) = watch::channel(None);
        let now_ms = bench.clock.monotonic_ms();
        let list = bench.witnesses.list.iter();
        let peers: Vec<_> = list.map(|at| Peer::new(at.clone(), now_ms)).collect();
        let watched = Watched {
            cosigned: seen,
            standings: Arc::new(Mutex::new(peers.iter().map(Peer::standing).collect())),
        };
        let rounds = Rounds {
            bench,
            asker: ask::asker(),
            standings: Arc::clone(&watched.standings),
            cosigned,
        };
        let thread = std::thread::Builder::new()
            .name("witnesses".to_owned())
            .spawn(move || {
                runtime.block_on(rounds.work(peers, said));
                // Nobody waits for a name that is still being looked up.
                runtime.shutdown_background();
            })?;
        Ok(Some(Witnessing {
            waiting,
            watched,
            thread: Some(thread),
        }))
    }

    /// Hands over a checkpoint. Never waits.
    pub(super) fn send(&self, published: &Published) {
        self.waiting
            .send_modify(|waiting| waiting.newest = Some(published.clone()));
    }

    /// What is known.
    pub(super) fn watched(&self) -> Watched {
        self.watched.clone()
    }
}

impl Drop for Witnessing {
    /// What is being asked is cut. The last checkpoint is still submitted, once and for a short time.
    fn drop(&mut self) {
        self.waiting.send_modify(|waiting| waiting.stop = true);
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

    /// Waits, for a bounded time, for a checkpoint of at least `size` entries that every witness
    /// cosigned which doesn't fail; then for one that any of them did. None at once while every
    /// witness fails.
    pub(super) async fn reaches(&self, size: u64) -> Option<Published> {
        if self.standings().iter().all(|one| one.failing.is_some()) {
            return None;
        }
        let mut cosigned = self.cosigned.clone();
        let by_all = cosigned.wait_for(|cosigned| {
            cosigned.as_ref().is_some_and(|cosigned| {
                let held = cosigned.checkpoint.size;
                let all = self
                    .standings()
                    .iter()
                    .all(|one| one.failing.is_some() || one.cosigned >= held);
                held >= size && all
            })
        });
        let patience = Duration::from_millis(limits::EXPORT_COSIGNED_MS_MAX);
        // In time or not, what is there then is what there is.
        let _ = tokio::time::timeout(patience, by_all).await;
        self.cosigned().filter(|c| c.checkpoint.size >= size)
    }
}

/// The thread's own.
struct Rounds {
    bench: Bench,
    asker: ask::Asker,
    standings: Arc<Mutex<Vec<Standing>>>,
    cosigned: watch::Sender<Option<Published>>,
}

impl Rounds {
    /// Asks each witness by itself, so that a slow one holds up nobody, until the vault stops.
    async fn work(&self, peers: Vec<Peer>, said: watch::Receiver<Waiting>) {
        let (target, newest) = watch::channel(None);
        let asks = peers.into_iter().enumerate().map(|(at, peer)| {
            let (newest, said) = (newest.clone(), said.clone());
            self.tend(at, peer, newest, said)
        });
        tokio::join!(beat(target, said.clone()), together(asks.collect()));
    }

    /// Asks one witness for what it owes.
    async fn tend(
        &self,
        at: usize,
        mut peer: Peer,
        mut target: watch::Receiver<Option<Published>>,
        mut said: watch::Receiver<Waiting>,
    ) {
        loop {
            let newest = target.borrow_and_update().clone();
            let owing = newest.filter(|newest| peer.owes(newest));
            if let Some(newest) = &owing
                && peer.is_due(self.bench.clock.monotonic_ms())
            {
                tokio::select! {
                    biased;
                    // What hangs must not hold up the end.
                    () = stopped(&mut said) => {}
                    asked = peer.ask(&self.asker, &self.bench, newest) => {
                        self.heard(at, &mut peer, newest, asked);
                    }
                }
            }
            if let Some(newest) = &owing {
                self.is_silent(at, &mut peer, newest);
            }
            tokio::select! {
                biased;
                () = stopped(&mut said) => break,
                _ = target.changed() => {}
                // While it owes a cosignature it is looked at each second.
                () = pause(), if owing.is_some() => {}
            }
        }
        let newest = said.borrow().newest.clone();
        let Some(newest) = newest.filter(|newest| peer.owes(newest)) else {
            return;
        };
        let patience = Duration::from_millis(limits::WITNESS_LAST_MS_MAX);
        let asked = peer.ask(&self.asker, &self.bench, &newest);
        if let Ok(asked) = tokio::time::timeout(patience, asked).await {
            self.heard(at, &mut peer, &newest, asked);
        }
    }

    /// Keeps what a witness cosigned, and only then counts it.
    fn heard(&self, at: usize, peer: &mut Peer, newest: &Published, lines: Option<String>) {
        if let Some(lines) = lines {
            self.keep(newest, &lines);
            peer.has_cosigned(newest);
        }
        self.tell(at, peer);
        // Whoever waits for all of them looks again.
        self.cosigned.send_modify(|_| ());
    }

    fn is_silent(&self, at: usize, peer: &mut Peer, newest: &Published) {
        let clock = &self.bench.clock;
        let silent_ms = self.bench.witnesses.silent_ms;
        if let Some(alarm) = peer.silence(newest, clock.monotonic_ms(), silent_ms, clock) {
            self.bench.shared.raise(alarm);
        }
        self.tell(at, peer);
    }

    fn tell(&self, at: usize, peer: &Peer) {
        let mut standings = self
            .standings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = standings.get_mut(at) {
            *standing = peer.standing();
        }
    }

    /// Adds lines to what witnesses cosigned of this checkpoint before, and hands it out. A witness
    /// that was slow cosigned an older one: the newer one vouches for it.
    fn keep(&self, newest: &Published, lines: &str) {
        let before = self.cosigned.borrow().clone();
        let newer = |before: &Published| before.checkpoint.size > newest.checkpoint.size;
        if before.as_ref().is_some_and(newer) {
            return;
        }
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

/// Hands the newest checkpoint to all of them, so that they cosign the same one. A busy vault marks
/// ten times a second; once a second is enough.
async fn beat(target: watch::Sender<Option<Published>>, mut said: watch::Receiver<Waiting>) {
    // Of its own: whoever waits for the end has seen the checkpoints that come meanwhile.
    let mut end = said.clone();
    loop {
        let Waiting { newest, stop } = said.borrow_and_update().clone();
        if stop {
            return;
        }
        if newest.is_some() {
            target.send_replace(newest);
            tokio::select! {
                () = pause() => {}
                () = stopped(&mut end) => return,
            }
        }
        if said.changed().await.is_err() {
            return;
        }
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(limits::WITNESS_PAUSE_MS)).await;
}

/// Ends when the vault stops, or nobody is there any more who could say so.
async fn stopped(said: &mut watch::Receiver<Waiting>) {
    let _ = said.wait_for(|waiting| waiting.stop).await;
}

/// Waits for all of them.
async fn together(asks: Vec<impl Future<Output = ()>>) {
    let mut asks: Vec<_> = asks.into_iter().map(|ask| Some(Box::pin(ask))).collect();
    std::future::poll_fn(|context| {
        for place in &mut asks {
            if let Some(ask) = place
                && ask.as_mut().poll(context).is_ready()
            {
                *place = None;
            }
        }
        match asks.iter().all(Option::is_none) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
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
