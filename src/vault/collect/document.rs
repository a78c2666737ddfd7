//! Collect documents (`docs/format.md` §10.2): a day's public keys, as a note that the vault's
//! identity signed. Whoever seals holds one against a key that it was given beforehand.

use crate::clock::Timestamp;
use crate::ids::{Site, TransactionId, VaultId};
use crate::keys::{Bound, CollectKey, CollectKeyId, SealError, Suite, seal_details};
use crate::ledger::{Note, NoteFault, VerifierKey, sign_note};
use crate::limits;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

const TYPE: &str = "payvault collect key";

/// Why a document is not taken, or nothing is sealed with it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The note is malformed, or not signed by the key that was given.
    #[error("the collect document: {0}")]
    Note(#[from] NoteFault),
    /// It is signed, and no collect document that this version knows.
    #[error("the collect document: {0}")]
    Unknown(&'static str),
    /// Its time is over, or has not begun.
    #[error("the collect document is good from {from} until {until}: fetch today's")]
    NotInTime {
        /// Its begin.
        from: Timestamp,
        /// Its end.
        until: Timestamp,
    },
    /// It has no key of that suite.
    #[error("the collect document has no {0} key")]
    NoSuite(&'static str),
    /// Sealing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The members in the order of their names (RFC 8785).
#[derive(Serialize, Deserialize)]
struct Wire {
    key: String,
    not_after: String,
    not_before: String,
    /// Each a [`WireSuite`], or what a later version says.
    suites: Vec<serde_json::Value>,
    #[serde(rename = "type")]
    kind: String,
    v: u8,
    vault: String,
}

#[derive(Serialize, Deserialize)]
struct WireSuite {
    aead: u16,
    kdf: u16,
    kem: u16,
    public: String,
    suite: String,
}

/// A verified collect document.
#[derive(Debug, Clone)]
pub struct CollectDocument {
    vault: VaultId,
    key: CollectKeyId,
    not_before: Timestamp,
    not_after: Timestamp,
    public: Vec<(Suite, Vec<u8>)>,
}

/// The name of the key that signs a vault's collect documents.
pub fn identity_name(vault: VaultId) -> String {
    format!("payvault/{vault}/identity")
}

/// The document of a key, signed.
pub(super) fn sign(vault: VaultId, key: &CollectKey, by: &SigningKey) -> Result<String, NoteFault> {
    let suites = Suite::ALL.into_iter().map(|suite| WireSuite {
        aead: Suite::AEAD,
        kdf: Suite::KDF,
        kem: suite.kem(),
        public: STANDARD.encode(key.public(suite)),
        suite: suite.name().to_owned(),
    });
    let suites = suites.map(|suite| {
        serde_json::to_value(suite).expect("strings and numbers are written to memory")
    });
    let wire = Wire {
        key: key.id().to_string(),
        not_after: key.not_after().to_string(),
        not_before: key.not_before().to_string(),
        suites: suites.collect(),
        kind: TYPE.to_owned(),
        v: 1,
        vault: vault.to_string(),
    };
    let mut text = serde_json::to_string(&wire).expect("strings and numbers are written to memory");
    text.push('\n');
    sign_note(&text, &identity_name(vault), by)
}

impl CollectDocument {
    /// Verifies a document with the identity key that the caller was given beforehand, and reads it.
    /// A clock that is an hour behind the vault's takes today's all the same.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn open(
        note: &str,
        identity: &VerifierKey,
        now: Timestamp,
    ) -> Result<CollectDocument, DocumentError> {
        if note.len() > limits::COLLECT_DOCUMENT_BYTES_MAX {
            return Err(DocumentError::Unknown("it is too long"));
        }
        let keys = std::slice::from_ref(identity);
        let (text, _) = Note::parse(note)?.verify(keys)?;
        let wire: Wire = serde_json::from_str(text)
            .map_err(|_| DocumentError::Unknown("it has not the members that it should have"))?;
        if wire.kind != TYPE || wire.v != 1 {
            return Err(DocumentError::Unknown("it is of another type or version"));
        }
        const MALFORMED: DocumentError = DocumentError::Unknown("an id or a time is malformed");
        let vault = VaultId::parse(&wire.vault).map_err(|_| MALFORMED)?;
        if identity.name() != identity_name(vault) {
            return Err(DocumentError::Unknown("it is another vault's"));
        }
        let not_before = Timestamp::parse(&wire.not_before).ok_or(MALFORMED)?;
        let document = CollectDocument {
            vault,
            key: CollectKeyId::parse(&wire.key).map_err(|_| MALFORMED)?,
            not_before,
            not_after: Timestamp::parse(&wire.not_after).ok_or(MALFORMED)?,
            public: wire.suites.iter().filter_map(known).collect(),
        };
        document.require_time(now)?;
        Ok(document)
    }

    fn require_time(&self, now: Timestamp) -> Result<(), DocumentError> {
        let early = now.plus_ms(limits::COLLECT_CLOCK_SLACK_MS) < self.not_before;
        if early || now >= self.not_after {
            return Err(DocumentError::NotInTime {
                from: self.not_before,
                until: self.not_after,
            });
        }
        Ok(())
    }

    /// Whose it is.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The key that it carries.
    pub fn key(&self) -> CollectKeyId {
        self.key
    }

    /// The begin of its day.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// From then on the vault opens nothing that is sealed with it.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Seals details for a transaction: JSON as in `docs/format.md` §10.3.
    ///
    /// # Errors
    /// [`DocumentError`]: its time is over by now, it lacks the suite, or the details are too long.
    pub fn seal(
        &self,
        suite: Suite,
        site: Site,
        transaction: TransactionId,
        json: &[u8],
        now: Timestamp,
    ) -> Result<String, DocumentError> {
        self.require_time(now)?;
        let public = self.public.iter().find(|(of, _)| *of == suite);
        let (_, public) = public.ok_or(DocumentError::NoSuite(suite.name()))?;
        let bound = Bound {
            vault: self.vault,
            site,
            transaction,
        };
        Ok(seal_details(suite, self.key, public, &bound, json)?)
    }
}

/// A suite that this version knows, by all its numbers. One of another shape is none.
fn known(wire: &serde_json::Value) -> Option<(Suite, Vec<u8>)> {
    let wire = WireSuite::deserialize(wire).ok()?;
    let suite = Suite::of_name(&wire.suite)?;
    let same = (wire.kem, wire.kdf, wire.aead) == (suite.kem(), Suite::KDF, Suite::AEAD);
    let public = STANDARD.decode(&wire.public).ok()?;
    (same && public.len() == suite.public_bytes()).then_some((suite, public))
}

#[cfg(test)]
mod tests;
