//! Signing heads, keeping the high-water mark, and handing checkpoints out, in that order and on a
//! thread of its own: an ordinary reply waits for none of it, a receipt for all of it.
//!
//! Order (`docs/architecture.md`, "Durability, in order"): the store commit is durable before a
//! head comes here; the note is signed; the mark is written and synced; only then is the checkpoint
//! published.

use super::head::Head;
use super::sink_command::SinkCommand;
use super::witness::Witnessing;
use crate::clock::Clock;
use crate::ids::VaultId;
use crate::ledger::Checkpoint;
use crate::limits;
use crate::secret::wipe_stack;
use crate::store::{Mark, MarkFile};
use ed25519_dalek::SigningKey;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long marks may fail before writes are refused.
const FAILING_MS_MAX: u64 = 10_000;

/// A published checkpoint.
#[derive(Clone)]
pub struct Published {
    /// Size and root.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: Arc<str>,
}

#[derive(Default)]
struct Offer {
    head: Option<Arc<Head>>,
    stop: bool,
}

/// The way to the publishing thread.
#[derive(Clone)]
pub struct Publisher {
    offer: Arc<(Mutex<Offer>, Condvar)>,
    published: watch::Receiver<Option<Published>>,
    failing: Arc<AtomicBool>,
}

/// What publishing needs.
pub struct Press {
    /// The vault.
    pub vault: VaultId,
    /// Signs checkpoints.
    pub key: Box<SigningKey>,
    /// The mark's two slots.
    pub marks: MarkFile,
    /// A file outside the vault that always holds the newest note.
    pub sink: Option<PathBuf>,
    /// A program that gets each note.
    pub(super) command: Option<SinkCommand>,
    /// Whom each checkpoint is submitted to.
    pub(super) witnesses: Option<Witnessing>,
    /// Time between marks.
    pub clock: Clock,
}

/// Who carries checkpoints out of the vault. They have no secrets, and take their time: dropping
/// them waits until the last checkpoint was handed on, for a bounded time.
pub struct Messengers {
    _witnesses: Option<Witnessing>,
    _command: Option<SinkCommand>,
}

impl Publisher {
    /// Starts the thread. It ends when it is told to stop, after a last mark, and gives back those
    /// that still have the last checkpoint to hand on: whoever ends it forgets the keys first.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        mut press: Press,
    ) -> std::io::Result<(Publisher, std::thread::JoinHandle<Messengers>)> {
        let (sender, published) = watch::channel(None);
        let publisher = Publisher {
            offer: Arc::default(),
            published,
            failing: Arc::default(),
        };
        let own = publisher.clone();
        let thread = std::thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || {
                own.work(&mut press, &sender);
                press.into_messengers()
            })?;
        Ok((publisher, thread))
    }

    /// One without a thread, for a committer of whose heads somebody else publishes the last one.
    pub(super) fn idle() -> Publisher {
        let (_, published) = watch::channel(None);
        Publisher {
            offer: Arc::default(),
            published,
            failing: Arc::default(),
        }
    }

    /// Offers a durable head. The newest one wins.
    pub fn offer(&self, head: Arc<Head>) {
        let (lock, wake) = &*self.offer;
        lock.lock().unwrap_or_else(PoisonError::into_inner).head = Some(head);
        wake.notify_one();
    }

    /// Ends the thread after a last mark.
    pub fn stop(&self) {
        let (lock, wake) = &*self.offer;
        lock.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        wake.notify_one();
    }

    /// Whether marks have failed for so long that nothing more may be written.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::SeqCst)
    }

    /// What was published last.
    pub fn published(&self) -> Option<Published> {
        self.published.borrow().clone()
    }

    /// Waits for a checkpoint of at least `size` entries; `None` when the vault is closing.
    pub async fn reaches(&self, size: u64) -> Option<Published> {
        let mut published = self.published.clone();
        let found = published
            .wait_for(|p| p.as_ref().is_some_and(|p| p.checkpoint.size >= size))
            .await
            .ok()?;
        found.clone()
    }

    fn work(&self, press: &mut Press, sender: &watch::Sender<Option<Published>>) {
        let mut failing_since: Option<u64> = None;
        loop {
            let (head, stop) = self.next();
            if let Some(head) = head {
                match press.publish(&head) {
                    Ok(published) => {
                        failing_since = None;
                        self.failing.store(false, Ordering::SeqCst);
                        sender.send_replace(Some(published));
                        #[cfg(feature = "fault-injection")]
                        super::crash::point("published");
                    }
                    Err(error) => {
                        let now = press.clock.monotonic_ms();
                        let since = *failing_since.get_or_insert(now);
                        tracing::error!(
                            alarm = "mark",
                            error,
                            "the high-water mark can't be written"
                        );
                        if now.saturating_sub(since) >= FAILING_MS_MAX {
                            self.failing.store(true, Ordering::SeqCst);
                        }
                        // Tried again with this head or a newer one.
                        let (lock, _) = &*self.offer;
                        lock.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .head
                            .get_or_insert(head);
                    }
                }
            }
            if stop {
                return;
            }
            std::thread::sleep(Duration::from_millis(limits::MARK_INTERVAL_MS));
        }
    }

    fn next(&self) -> (Option<Arc<Head>>, bool) {
        let (lock, wake) = &*self.offer;
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut guard = wake
            .wait_while(guard, |offer| offer.head.is_none() && !offer.stop)
            .unwrap_or_else(PoisonError::into_inner);
        (guard.head.take(), guard.stop)
    }
}

impl Press {
    /// The signing key ends here.
    fn into_messengers(self) -> Messengers {
        Messengers {
            _witnesses: self.witnesses,
            _command: self.command,
        }
    }

    /// Signs, marks, and hands the note to the sink.
    pub(super) fn publish(&mut self, head: &Head) -> Result<Published, String> {
        let checkpoint = Checkpoint::new(self.vault, head.epoch, head.size, head.root);
        let note = checkpoint.sign(&self.key).map_err(|e| e.to_string())?;
        // This thread waits for most of its life.
        wipe_stack();
        #[cfg(feature = "fault-injection")]
        super::crash::point("signed");
        let mark = Mark {
            vault: self.vault,
            epoch: head.epoch,
            size: head.size,
            root: head.root,
            keyring_generation: head.keyring_generation,
            note: note.clone(),
        };
        self.marks.write(&mark).map_err(|e| e.to_string())?;
        #[cfg(feature = "fault-injection")]
        super::crash::point("marked");
        if let Some(sink) = &self.sink
            && let Err(error) = replace_file(sink, note.as_bytes())
        {
            // The mark stands; what lies outside is best effort, and said.
            tracing::error!(alarm = "sink", %error, "the checkpoint sink can't be written");
        }
        let note: Arc<str> = Arc::from(note);
        if let Some(command) = &self.command {
            command.send(&note);
        }
        let published = Published { checkpoint, note };
        if let Some(witnesses) = &self.witnesses {
            witnesses.send(&published);
        }
        #[cfg(feature = "fault-injection")]
        super::crash::point("sunk");
        Ok(published)
    }
}

pub(super) fn replace_file(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    std::fs::write(&temporary, bytes)?;
    std::fs::File::open(&temporary)?.sync_all()?;
    std::fs::rename(&temporary, path)
}
