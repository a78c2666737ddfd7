//! For fuzzers and tests only: what lies under the seal of a row, read and written again. A row has
//! one spelling, so whatever is read must be written as it was.

use super::head::Head;
use super::redo;
use super::registry::Pending;
use super::state::TransactionState;
use crate::codec::Malformed;
use crate::secret::SecretBuffer;

/// A transaction's row.
///
/// # Errors
/// When it does not have the shape of `docs/format.md` §4.
pub fn transaction(bytes: &[u8]) -> Result<SecretBuffer, Malformed> {
    TransactionState::decode(bytes).map(|state| state.encode())
}

/// The head's row.
///
/// # Errors
/// When it does not have the shape of §5.1.
pub fn head(bytes: &[u8]) -> Result<SecretBuffer, Malformed> {
    Head::decode(bytes).map(|head| head.encode())
}

/// A pending action's row.
///
/// # Errors
/// When it does not have the shape of §5.
pub fn pending(bytes: &[u8]) -> Result<SecretBuffer, Malformed> {
    Pending::decode(bytes).map(|pending| pending.encode())
}

/// The parts of a round's redo record.
///
/// # Errors
/// When they do not have the shape of §5.2, or are another round's.
pub fn redo(round: &[u8; 16], parts: &[SecretBuffer]) -> Result<Vec<SecretBuffer>, Malformed> {
    if let Some(first) = parts.first() {
        redo::parts(round, first)?;
    }
    redo::decode(round, parts).map(|images| redo::encode(round, &images))
}
