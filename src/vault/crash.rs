//! Places where a test has the process end: between a round's commit and everything that follows.
//! A shipped binary has none of them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// `PAYVAULT_CRASH_AT=point:n`: the n-th pass of that point is the last thing that happens.
static ORDERED: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
    let ordered = std::env::var("PAYVAULT_CRASH_AT").ok()?;
    let (point, passes) = ordered.split_once(':')?;
    Some((point.to_owned(), AtomicU64::new(passes.parse().ok()?)))
});

/// Ends the process here, if a test ordered that: as `kill -9` would, without a last word.
pub(super) fn point(name: &str) {
    if let Some((point, passes)) = &*ORDERED
        && point == name
        && passes.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}
