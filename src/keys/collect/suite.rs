//! The suites, and the id under which a day's public keys are known.

use crate::codec::Malformed;
use crate::ids::{from_letters, letters};
use sha2::{Digest, Sha256};
use std::fmt;

/// An HPKE suite (RFC 9180 §7). The KDF of each is HKDF-SHA256 and its AEAD AES-256-GCM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// DHKEM(X25519, HKDF-SHA256): every browser's.
    X25519,
    /// X-Wing (draft-connolly-cfrg-xwing-kem-10): X25519 and ML-KEM-768, so that what is recorded
    /// today stays closed to a quantum computer.
    XWing,
}

impl Suite {
    /// Every one, the plainest first.
    pub const ALL: [Suite; 2] = [Suite::X25519, Suite::XWing];
    /// HKDF-SHA256.
    pub const KDF: u16 = 0x0001;
    /// AES-256-GCM.
    pub const AEAD: u16 = 0x0002;

    /// Its name in documents and sealed details. Another draft's X-Wing would get another one.
    pub const fn name(self) -> &'static str {
        match self {
            Suite::X25519 => "x25519",
            Suite::XWing => "x-wing",
        }
    }

    /// The suite of a name.
    pub fn of_name(name: &str) -> Option<Suite> {
        Suite::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// The KEM's number.
    pub const fn kem(self) -> u16 {
        match self {
            Suite::X25519 => 0x0020,
            Suite::XWing => 0x647a,
        }
    }

    /// Bytes of a public key.
    pub const fn public_bytes(self) -> usize {
        match self {
            Suite::X25519 => 32,
            Suite::XWing => 1_216,
        }
    }

    /// Bytes of an encapsulation.
    pub const fn encapsulation_bytes(self) -> usize {
        match self {
            Suite::X25519 => 32,
            Suite::XWing => 1_120,
        }
    }

    /// Where its part of a pair of things lies.
    pub(super) const fn place(self) -> usize {
        match self {
            Suite::X25519 => 0,
            Suite::XWing => 1,
        }
    }
}

/// Which day's key: a hash of its public keys, so that no two vaults, and no two keys of one vault,
/// have the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CollectKeyId(pub [u8; 16]);

impl CollectKeyId {
    /// Of the public keys, in the order of [`Suite::ALL`].
    pub(super) fn of(public: [&[u8]; 2]) -> CollectKeyId {
        let mut hash = Sha256::new();
        hash.update(b"payvault collect key v1");
        public.iter().for_each(|key| hash.update(key));
        let digest: [u8; 32] = hash.finalize().into();
        let (id, _) = digest.split_at(16);
        CollectKeyId(id.try_into().expect("half of 32 bytes"))
    }

    /// Reads its letters.
    ///
    /// # Errors
    /// When they aren't 32 of the alphabet.
    pub fn parse(text: &str) -> Result<CollectKeyId, Malformed> {
        from_letters(text.as_bytes())
            .map(CollectKeyId)
            .ok_or(Malformed::new("not a collect key's id"))
    }
}

impl fmt::Display for CollectKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&letters(&self.0))
    }
}

impl fmt::Debug for CollectKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
