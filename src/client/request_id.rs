//! What makes a repeated request the same request.

use super::error::ClientError;
use crate::{ids, limits};
use zeroize::Zeroizing;

/// The id of one piece of work. Make one, keep it beside the order until the answer is there, and use
/// it again for every repetition: the vault then does the work once (it remembers for 24 hours). The
/// client does so for its own repetitions. No `Debug`: it belongs to nobody but its caller.
pub struct RequestId(Zeroizing<Vec<u8>>);

impl RequestId {
    /// A new one: 128 bits from the operating system.
    pub fn random() -> RequestId {
        RequestId(Zeroizing::new(ids::random::<16>().to_vec()))
    }

    /// One that was kept.
    ///
    /// # Errors
    /// When it has not 16 to 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<RequestId, ClientError> {
        if !limits::REQUEST_ID_BYTES.contains(&bytes.len()) {
            return Err(ClientError::RequestId);
        }
        Ok(RequestId(Zeroizing::new(bytes.to_vec())))
    }

    /// The bytes to keep.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn message(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}
