//! Calling the engine without trusting it: its errors become ours, and a flush that it forgot to
//! wake is woken.

use crate::store::StoreError;
use crate::store::embedded::guarded::{guarded, refused};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How often the watch looks: what a failed write costs at most beyond the failure.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// An error of the engine, as ours.
pub(super) fn ours(error: ::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Io(e) if e.to_string().starts_with("could not acquire lock") => {
            StoreError::Locked
        }
        ::sled::Error::Io(e) => refused(e),
        // Its own text speaks of a backtrace, and has none.
        ::sled::Error::Corruption { at, .. } => StoreError::Damaged(match at {
            Some(at) => format!("a part of its file is not what was written: {at}"),
            None => "a part of its file is not what was written".to_owned(),
        }),
        other => StoreError::Damaged(other.to_string()),
    }
}

/// Wakes flushes. When a write fails on one of the engine's threads, one of the two places that
/// note the failure does not wake the flush that waits for the write, and it sleeps for ever. Any
/// other flush that comes upon the noted failure wakes all: that is what the watch does.
///
/// It can't help when a thread of the engine died without noting anything; the committer's own
/// time limit ends the process then.
pub(super) struct Watch {
    under_way: Mutex<Option<::sled::Db>>,
}

impl Watch {
    /// Starts a watch; its thread ends when the last handle is dropped.
    pub(super) fn start() -> Result<Arc<Watch>, StoreError> {
        let watch = Arc::new(Watch {
            under_way: Mutex::new(None),
        });
        let weak = Arc::downgrade(&watch);
        std::thread::Builder::new()
            .name("store-watch".to_owned())
            .spawn(move || look(&weak))
            .map_err(refused)?;
        Ok(watch)
    }

    /// Runs `flush` on `engine` under the watch.
    pub(super) fn over<T>(
        &self,
        engine: &::sled::Db,
        flush: impl FnOnce() -> ::sled::Result<T>,
    ) -> ::sled::Result<T> {
        /// The watch must not keep a handle of the engine, however the flush ends.
        struct Ended<'a>(&'a Watch);
        impl Drop for Ended<'_> {
            fn drop(&mut self) {
                // The caller has a handle still, so this is never the last.
                *self.0.lock() = None;
            }
        }
        *self.lock() = Some(engine.clone());
        let _ended = Ended(self);
        flush()
    }

    fn lock(&self) -> MutexGuard<'_, Option<::sled::Db>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(watch: &Weak<Watch>) {
    loop {
        std::thread::sleep(WATCH_INTERVAL);
        let Some(watch) = watch.upgrade() else {
            return;
        };
        let under_way = watch.lock();
        if let Some(engine) = under_way.as_ref()
            && engine.context.global_error().is_err()
        {
            // Returns at once with the noted failure; the flush that it wakes reports it.
            let _ = guarded(|| engine.flush().map_err(ours));
        }
    }
}
