//! Ends the process when a round hangs, or the store's reopening after a failure: the engine's flush
//! waits without a time-out, and a vault that neither answers nor fails is worse than one that is
//! restarted.

use crate::clock::Clock;
use crate::limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Marks "nothing is running".
const IDLE: u64 = u64::MAX;

/// By when what runs has to be over.
pub struct Watchdog {
    over_by_ms: AtomicU64,
}

/// A round, or a reopening of the store, that is being watched until this is dropped.
pub struct Watched {
    dog: Arc<Watchdog>,
}

impl Watchdog {
    /// Nothing runs.
    pub fn new() -> Arc<Watchdog> {
        Arc::new(Watchdog {
            over_by_ms: AtomicU64::new(IDLE),
        })
    }

    /// A round begins.
    pub fn begin(self: &Arc<Self>, now_ms: u64) -> Watched {
        self.watched(now_ms + limits::ROUND_MS_MAX)
    }

    /// The store is about to be reopened, and compared with what was acknowledged.
    pub fn begin_reopening(self: &Arc<Self>, now_ms: u64) -> Watched {
        self.watched(now_ms + limits::REOPENING_MS_MAX)
    }

    fn watched(self: &Arc<Self>, over_by_ms: u64) -> Watched {
        self.over_by_ms.store(over_by_ms, Ordering::SeqCst);
        Watched {
            dog: Arc::clone(self),
        }
    }

    /// Whether what runs has hung.
    pub fn hangs(&self, now_ms: u64) -> bool {
        let over_by = self.over_by_ms.load(Ordering::SeqCst);
        over_by != IDLE && now_ms > over_by
    }

    /// Looks once a second, on a thread of its own, until the committer is gone.
    pub fn watch(dog: &Arc<Watchdog>, clock: Clock) -> std::io::Result<()> {
        let dog = Arc::downgrade(dog);
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                while let Some(dog) = dog.upgrade() {
                    if dog.hangs(clock.monotonic_ms()) {
                        tracing::error!(
                            alarm = "hang",
                            "a round, or reopening the store, takes too long; the process ends"
                        );
                        std::process::abort();
                    }
                    drop(dog);
                    std::thread::sleep(Duration::from_secs(1));
                }
            })?;
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.dog.over_by_ms.store(IDLE, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_too_long_hangs() {
        let dog = Watchdog::new();
        assert!(!dog.hangs(1_000_000));
        let watched = dog.begin(5);
        assert!(!dog.hangs(5 + limits::ROUND_MS_MAX));
        assert!(dog.hangs(6 + limits::ROUND_MS_MAX));
        drop(watched);
        assert!(!dog.hangs(u64::MAX - 1));
        // A large store takes its time to be opened.
        let _watched = dog.begin_reopening(5);
        assert!(!dog.hangs(5 + limits::REOPENING_MS_MAX));
        assert!(dog.hangs(6 + limits::REOPENING_MS_MAX));
    }
}
