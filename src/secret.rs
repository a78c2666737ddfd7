//! Secret bytes and secret text: wiped on drop, compared in constant time, and without `Debug`,
//! `Display`, `Clone` or serialization. Crossing over to plain bytes is `expose`, which can be
//! searched for.

use crate::os::{self, Locked};
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

/// A secret that stays for long, such as a key of the keyring: kept out of the swap, as well as the
/// system allows.
pub struct LockedBytes<const N: usize> {
    // Wiped before its page is unlocked: fields drop in this order.
    secret: SecretBytes<N>,
    _locked: Locked,
}

impl<const N: usize> LockedBytes<N> {
    /// Takes the secret over, and locks it where it lies.
    pub fn new(secret: SecretBytes<N>) -> LockedBytes<N> {
        let _locked = os::lock_memory(secret.expose());
        LockedBytes { secret, _locked }
    }
}

impl<const N: usize> std::ops::Deref for LockedBytes<N> {
    type Target = SecretBytes<N>;

    fn deref(&self) -> &SecretBytes<N> {
        &self.secret
    }
}

/// Secret text, such as a card number or a holder's name. Empty by default.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
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

impl From<String> for SecretText {
    fn from(text: String) -> SecretText {
        SecretText::new(text)
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> SecretText {
        SecretText::copy_from(text)
    }
}

impl ConstantTimeEq for SecretText {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.text.as_bytes().ct_eq(other.text.as_bytes())
    }
}

/// Overwrites what calls that have returned left on this thread's stack: libraries that pass secrets by
/// value leave copies there, and a thread that waits may keep them for hours. Costs about a
/// microsecond; for after work with a key that stays.
#[inline(never)]
pub fn wipe_stack() {
    let below = [0u8; STACK_BYTES];
    std::hint::black_box(&below);
}

/// How deep the calls reach that are wiped after; threads have 2 MiB.
const STACK_BYTES: usize = 64 << 10;

/// Secret bytes of a varying size: a decrypted row, a padded record.
pub type SecretBuffer = Zeroizing<Vec<u8>>;

/// Does not compile when a type has the trait: then two of the impls below fit, and `_` is
/// ambiguous.
#[cfg(test)]
macro_rules! assert_lacks {
    ($trait:path: $($type:ty),+) => {$({
        trait Lacks<Which> { fn it() {} }
        impl<T: ?Sized> Lacks<()> for T {}
        #[allow(dead_code)]
        struct Has;
        impl<T: ?Sized + $trait> Lacks<Has> for T {}
        let _ = <$type as Lacks<_>>::it;
    })+};
}
#[cfg(test)]
pub(crate) use assert_lacks;
