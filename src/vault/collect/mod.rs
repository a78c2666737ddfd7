//! Collecting: what is sealed before it reaches the vault. The day's key is made when the first
//! portal asks for it; what opens lies beside the keyring, so that opening waits for nobody who
//! writes there.

mod document;

pub use document::{CollectDocument, DocumentError, identity_name};

use crate::clock::Timestamp;
use crate::ids::{Site, TransactionId, VaultId};
use crate::keys::{Bound, CollectKey, Encapsulation, Keyring, SealedDetails};
use crate::ledger::VerifierKey;
use crate::secret::SecretBuffer;
use std::sync::Arc;

/// The collect keys that open, and today's document.
pub struct Collecting {
    vault: VaultId,
    /// The newest first.
    keys: Vec<CollectKey>,
    /// The newest key's.
    document: Arc<str>,
    verifier: VerifierKey,
}

/// Why sealed details don't give details. For the ledger; the caller gets one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amiss {
    /// The text is none.
    Malformed,
    /// Sealed to a key that the vault doesn't have.
    UnknownKey,
    /// Sealed to a key whose time is over.
    Over,
    /// Another transaction's or site's, or changed.
    DoesNotOpen,
    /// A token was made of it before.
    UsedBefore,
}

impl Amiss {
    /// Its code in an entry's detail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Amiss::Malformed => "malformed",
            Amiss::UnknownKey => "unknown key",
            Amiss::Over => "over",
            Amiss::DoesNotOpen => "does not open",
            Amiss::UsedBefore => "used before",
        }
    }
}

/// What was inside of sealed details. No `Debug`.
pub struct Unsealed {
    /// The details as JSON.
    pub json: SecretBuffer,
    /// The site that they were sealed for.
    pub site: Site,
    /// What the use is known by.
    pub encapsulation: Encapsulation,
    /// When their key's time is over, which is not judged here: wall time may have been set.
    pub not_after: Timestamp,
}

impl Collecting {
    /// What a keyring opens; nothing when it has no collect key.
    pub(super) fn of(ring: &Keyring) -> Option<Collecting> {
        let keys = ring.collect_keys();
        let newest = keys.first()?;
        let vault = ring.vault();
        let made = ring.identity().map(|identity| {
            let key = identity.verifying_key();
            let verifier = VerifierKey::new(&identity_name(vault), key)?;
            let document = document::sign(vault, newest, &identity)?;
            Ok::<_, crate::ledger::NoteFault>((document, verifier))
        });
        match made {
            Ok(Ok((document, verifier))) => Some(Collecting {
                vault,
                document: document.into(),
                verifier,
                keys,
            }),
            Ok(Err(error)) => {
                tracing::error!(%error, "the collect document can't be signed");
                None
            }
            Err(error) => {
                tracing::error!(alarm = "keyring", %error, "the collect document can't be signed");
                None
            }
        }
    }

    /// The document, when it is the day's.
    pub fn document(&self, day: u32) -> Option<&Arc<str>> {
        let newest = self.keys.first()?;
        (newest.day() == day).then_some(&self.document)
    }

    /// The newest key's day.
    pub(super) fn newest_day(&self) -> Option<u32> {
        self.keys.first().map(CollectKey::day)
    }

    /// What documents are verified with.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Opens what was sealed for a transaction.
    ///
    /// # Errors
    /// [`Amiss`].
    pub fn open(&self, text: &str, transaction: TransactionId) -> Result<Unsealed, Amiss> {
        let sealed = SealedDetails::parse(text).map_err(|_| Amiss::Malformed)?;
        let key = self.keys.iter().find(|key| key.id() == sealed.key);
        let key = key.ok_or(Amiss::UnknownKey)?;
        let bound = Bound {
            vault: self.vault,
            site: sealed.site,
            transaction,
        };
        let json = key.open(&sealed, &bound).ok_or(Amiss::DoesNotOpen)?;
        Ok(Unsealed {
            json,
            site: sealed.site,
            encapsulation: sealed.encapsulation(),
            not_after: key.not_after(),
        })
    }
}
