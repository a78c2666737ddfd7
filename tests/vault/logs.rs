//! What this process logs, at the most verbose level.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The engine speaks from what it puts off, and that may run while a thread's locals are being
/// destroyed; the formatter's buffer is one of them, and its absence ends the process. What is said
/// there is a number of the log. The vault itself hears nothing of the engine below warnings.
const SPEAKS_AT_THE_END: &str = "sled::pagecache::iobuf";

#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

static LOGS: LazyLock<Logs> = LazyLock::new(|| {
    let logs = Logs::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(logs.clone())
        .finish()
        .with(filter_fn(|said| said.target() != SPEAKS_AT_THE_END))
        .init();
    logs
});

/// Begins to listen; everything from now on, of every test, is kept.
pub fn capture() -> Logs {
    LOGS.clone()
}

impl Logs {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the log")).into_owned()
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Logs;
    fn make_writer(&'a self) -> Logs {
        self.clone()
    }
}
