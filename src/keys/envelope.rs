//! Stand-in until the keys room is merged: just the type that stored values have.

use crate::codec::Malformed;

/// A sealed value.
#[derive(Clone)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Takes stored bytes over. The real one checks their shape.
    ///
    /// # Errors
    /// None, here.
    pub fn from_stored(bytes: Vec<u8>) -> Result<Sealed, Malformed> {
        Ok(Sealed(bytes))
    }

    /// The bytes as they are stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as they are stored.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
