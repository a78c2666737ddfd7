//! Turns for Argon2 over people's secrets. Each computation takes tens of megabytes and a core, so
//! two run at once, some more wait, and the rest are refused.

use super::command::Refusal;
use crate::limits;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Who computes, and who waits for it.
pub struct Hashing {
    /// To be here at all, computing or waiting.
    places: Arc<Semaphore>,
    /// To compute.
    turns: Arc<Semaphore>,
}

impl Hashing {
    fn new(at_once: usize, waiting: usize) -> Hashing {
        Hashing {
            places: Arc::new(Semaphore::new(at_once + waiting)),
            turns: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// Runs `work` off the async workers once it is its turn. Both permits go with the work: a
    /// caller that gives up doesn't stop what it began, and must not make room for more.
    ///
    /// # Errors
    /// [`Refusal::QueueFull`] when too many wait; `work` is not run then.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Refusal::QueueFull)?;
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .map_err(|_| Refusal::Sealed)?;
        let done = tokio::task::spawn_blocking(move || {
            let _held = (place, turn);
            work()
        });
        // It can only fail by a panic or at the runtime's end.
        done.await.map_err(|_| Refusal::Sealed)
    }
}

/// The process's own: memory and cores are those of the whole process.
pub fn hashing() -> &'static Hashing {
    static HASHING: std::sync::LazyLock<Hashing> = std::sync::LazyLock::new(|| {
        Hashing::new(
            limits::SECRET_HASHES_AT_ONCE_MAX,
            limits::SECRET_HASHES_WAITING_MAX,
        )
    });
    &HASHING
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    #[tokio::test]
    async fn two_compute_some_wait_and_the_rest_are_refused() {
        let hashing = Arc::new(Hashing::new(2, 3));
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut ends = Vec::new();
        let mut callers = Vec::new();
        for _ in 0..5 {
            let (end, ended) = mpsc::channel::<()>();
            ends.push(end);
            let (hashing, running, most) = (hashing.clone(), running.clone(), most.clone());
            callers.push(tokio::spawn(async move {
                let work = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let _ = ended.recv();
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                hashing.run(work).await
            }));
        }
        while running.load(Ordering::SeqCst) < 2 || hashing.places.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let refused = hashing.run(|| ()).await;
        assert!(matches!(refused, Err(Refusal::QueueFull)));
        // Somebody who gives up while computing leaves its turn to nobody.
        for caller in &callers {
            caller.abort();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(hashing.turns.available_permits(), 0);
        drop(ends);
        assert!(hashing.run(|| ()).await.is_ok());
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn who_waits_gets_a_turn() {
        let hashing = Arc::new(Hashing::new(2, 3));
        let calls = (0..5).map(|n| {
            let hashing = hashing.clone();
            tokio::spawn(async move { hashing.run(move || n).await.ok() })
        });
        for (n, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), Some(n));
        }
    }
}
