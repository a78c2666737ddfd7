//! Ends the process when a round hangs: the engine's flush waits without a time-out, and a vault
//! that neither answers nor fails is worse than one that is restarted.

use crate::clock::Clock;
use crate::limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Marks "no round is running".
const IDLE: u64 = u64::MAX;

/// When the running round began.
pub struct Watchdog {
    began_ms: AtomicU64,
}

/// A round that is being watched, until this is dropped.
pub struct Watched {
    dog: Arc<Watchdog>,
}

impl Watchdog {
    /// Nothing runs.
    pub fn new() -> Arc<Watchdog> {
        Arc::new(Watchdog {
            began_ms: AtomicU64::new(IDLE),
        })
    }

    /// A round begins.
    pub fn begin(self: &Arc<Self>, now_ms: u64) -> Watched {
        self.began_ms.store(now_ms, Ordering::SeqCst);
        Watched {
            dog: Arc::clone(self),
        }
    }

    /// Whether the running round has hung.
    pub fn hangs(&self, now_ms: u64) -> bool {
        let began = self.began_ms.load(Ordering::SeqCst);
        began != IDLE && now_ms.saturating_sub(began) > limits::ROUND_MS_MAX
    }

    /// Looks once a second, on a thread of its own, until the committer is gone.
    pub fn watch(dog: &Arc<Watchdog>, clock: Clock) -> std::io::Result<()> {
        let dog = Arc::downgrade(dog);
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                while let Some(dog) = dog.upgrade() {
                    if dog.hangs(clock.monotonic_ms()) {
                        tracing::error!(alarm = "hang", "a round takes too long; the process ends");
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
        self.dog.began_ms.store(IDLE, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_round_that_takes_too_long_hangs() {
        let dog = Watchdog::new();
        assert!(!dog.hangs(1_000_000));
        let watched = dog.begin(5);
        assert!(!dog.hangs(5 + limits::ROUND_MS_MAX));
        assert!(dog.hangs(6 + limits::ROUND_MS_MAX));
        drop(watched);
        assert!(!dog.hangs(u64::MAX - 1));
    }
}
