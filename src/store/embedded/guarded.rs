//! Calling an engine without trusting it: its panics are caught, and what the system says to it
//! becomes an error of ours.

use crate::store::StoreError;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The one way to call an engine: a panic becomes damage. The caller fences the store for any
/// error, so nothing that a panic left half done is looked at again.
pub(in crate::store) fn guarded<T>(
    call: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no text");
            Err(StoreError::Damaged(format!("the engine panicked: {text}")))
        }
    }
}

/// What the system refused.
pub(in crate::store) fn refused(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Io(error.to_string()),
    }
}
