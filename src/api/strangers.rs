//! Threads for those whom nobody knows yet. A handshake costs as much as several calls, and whoever
//! can reach the port can ask for one: so they run on threads of their own, which get what calls
//! leave over. A flood of handshakes slows the next handshake, and no call.

use crate::limits;
use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

/// The threads; they end when this is dropped, and what ran on them with them.
pub(super) struct Strangers(Option<Runtime>);

impl Strangers {
    /// Starts them.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub(super) fn new() -> io::Result<Strangers> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(limits::HANDSHAKE_THREADS)
            .thread_name("handshake")
            .on_thread_start(stand_back)
            .enable_time()
            .build()?;
        Ok(Strangers(Some(runtime)))
    }

    /// Where to put a handshake.
    pub(super) fn handle(&self) -> &Handle {
        let runtime = self
            .0
            .as_ref()
            .expect("it is taken out only as it is dropped");
        runtime.handle()
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        // Waiting for its threads isn't allowed on another runtime's.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Puts this thread behind the others. On Linux a thread has a niceness of its own.
#[cfg(target_os = "linux")]
fn stand_back() {
    if let Err(error) = rustix::process::nice(limits::HANDSHAKE_NICENESS) {
        tracing::warn!(%error, "handshakes run beside calls, not behind them");
    }
}

/// Elsewhere niceness is the whole process's: nobody stands back.
#[cfg(not(target_os = "linux"))]
fn stand_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_threads_stand_back_and_these_do_not() {
        let own = rustix::process::nice(0).unwrap();
        let strangers = Strangers::new().unwrap();
        let theirs = strangers
            .handle()
            .spawn(async { rustix::process::nice(0).unwrap() });
        assert_eq!(theirs.await.unwrap(), own + limits::HANDSHAKE_NICENESS);
        assert_eq!(rustix::process::nice(0).unwrap(), own);
    }
}
