//! Plaintext on its way out, locked until the round that released it is on stable storage.

/// Proof that a round is durable. Made by the committer alone, after the store said so.
pub struct Durable(());

impl Durable {
    /// Only after a commit returned `Ok`, or was settled as committed.
    pub(super) fn attest() -> Durable {
        Durable(())
    }
}

/// A value that nobody can look at before its round is durable. Dropping it wipes what it holds
/// (its parts are wiped types), so a failed commit leaves no plaintext behind.
pub struct Withheld<T> {
    value: T,
}

impl<T> Withheld<T> {
    /// Locks `value`.
    pub fn new(value: T) -> Withheld<T> {
        Withheld { value }
    }

    /// The value, for whoever can show that the round is durable.
    pub fn unlock(self, _proof: &Durable) -> T {
        self.value
    }
}
