//! Keys: the seal around the root key, the keyring, and the envelopes that everything in the store
//! lies in. The formats are `docs/format.md` §2, §3, §4.2 and §8.
//!
//! ```text
//! passphrase ─Argon2id→ root key ─HKDF→ wraps the wrapping key ─→ keyring ─HKDF per row→ envelopes
//! custodians ─Shamir──↗                 ↑ and, with a security module, one of its objects
//! security module, key service ─────────↗ encrypt the root key themselves
//! token secret ─HKDF→ inner records
//! ```
//!
//! A key's bytes never leave this room: the floors above name keys by [`KeyId`] and get sealed or
//! opened values. (The one exception is the ledger's signing key, which the ledger needs as such.)

mod anchor;
mod argon;
mod backup;
mod cipher;
mod collect;
mod ending;
mod envelope;
mod error;
mod file;
mod fingerprint;
mod frame;
mod hsm;
mod inner;
mod keyring;
mod lifecycle;
mod name;
pub mod password;
mod record;
mod request;
#[cfg(feature = "fault-injection")]
pub mod reread;
mod seal;
#[cfg(test)]
mod testing;
mod tries;
#[cfg(test)]
mod vectors;
#[cfg(feature = "fault-injection")]
pub mod watch;
mod wrap;

pub use anchor::RestsOn;
pub use argon::Argon2Cost;
pub use backup::BackupKey;
pub use collect::{
    Bound, CollectKey, CollectKeyId, Encapsulation, SealError, SealedDetails, Suite, seal_details,
};
pub use ending::{Ending, KeyNote};
pub use envelope::{EnvelopeError, Kind, Place, SEAL_NAME_BYTES, Sealed, seal_key, seal_name};
pub use error::{KeyError, PinTries};
pub use fingerprint::Fingerprint;
pub use inner::{open_record, seal_record};
pub use keyring::Keyring;
pub use lifecycle::Rewrapping;
pub use name::{KeyId, KeyName};
pub use record::{KeyRecord, KeyState};
pub use request::RequestTag;
pub use seal::{
    AgeIdentity, AgeRecipient, Custodian, DealtShare, Deliver, Delivery, NewCustodian, NewSeal,
    Opening, RootKey, SealFile, SealKind, Share, ShareFile, Unsealer,
};
pub use tries::{BadTry, Tries, TriesOfAKind};
