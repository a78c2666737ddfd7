//! Secret bytes and secret text: wiped on drop, compared in constant time, and without `Debug`,
//! `Display`, `Clone` or serialization. Crossing over to plain bytes is `expose`, which can be
//! searched for.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A secret of a fixed size, such as a key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes<const N: usize> {
    // Boxed: moving the owner must not leave copies on the stack.
    bytes: Box<[u8; N]>,
}

impl<const N: usize> SecretBytes<N> {
    /// Random bytes from the operating system.
    pub fn random() -> SecretBytes<N> {
        Self::build(|bytes| getrandom::fill(bytes).expect("the operating system gives randomness"))
    }

    /// Built in place: `fill` writes the bytes where they stay.
    pub fn build(fill: impl FnOnce(&mut [u8; N])) -> SecretBytes<N> {
        let mut bytes = Box::new([0u8; N]);
        fill(&mut bytes);
        SecretBytes { bytes }
    }

    /// A copy of `bytes`; `None` when the length differs. The caller wipes its own copy.
    pub fn copy_from(bytes: &[u8]) -> Option<SecretBytes<N>> {
        (bytes.len() == N).then(|| Self::build(|own| own.copy_from_slice(bytes)))
    }

    /// The bytes, for a cipher or a KDF.
    pub fn expose(&self) -> &[u8; N] {
        &self.bytes
    }

    /// A second owner of the same secret; explicit, since secrets are not `Clone`.
    pub fn duplicate(&self) -> SecretBytes<N> {
        Self::build(|own| own.copy_from_slice(&self.bytes[..]))
    }
}

impl<const N: usize> ConstantTimeEq for SecretBytes<N> {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.bytes[..].ct_eq(&other.bytes[..])
    }
}

/// Secret text, such as a card number or a holder's name.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretText {
    text: String,
}

impl SecretText {
    /// Takes the text over; its buffer is wiped when this is dropped.
    pub fn new(text: String) -> SecretText {
        SecretText { text }
    }

    /// A copy of `text`.
    pub fn copy_from(text: &str) -> SecretText {
        SecretText {
            text: text.to_owned(),
        }
    }

    /// The text, for sealing or for a reply to a tied caller.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Length in bytes. Not secret by itself, but don't log it: it tells the kind of number.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// A second owner of the same secret.
    pub fn duplicate(&self) -> SecretText {
        SecretText::copy_from(&self.text)
    }
}

impl ConstantTimeEq for SecretText {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.text.as_bytes().ct_eq(other.text.as_bytes())
    }
}

/// Secret bytes of a varying size: a decrypted row, a padded record.
pub type SecretBuffer = Zeroizing<Vec<u8>>;
