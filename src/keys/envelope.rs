//! The outer layer: every row is sealed whole under a key derived from its bucket's key, and bound
//! to the place where it lies (`docs/format.md` §2). A value moved to another row, site,
//! transaction or vault does not open.

use super::cipher::{DerivedKey, NONCE_BYTES};
use super::frame::{self, Aad, Frame};
use super::keyring::Keyring;
use super::name::{KeyId, KeyName};
use super::record::{KeyRecord, KeyState};
use crate::codec::Malformed;
use crate::ids::{Site, TransactionId, random};
use crate::limits::ROW_KEY_BYTES_MAX;
use crate::secret::SecretBuffer;
use std::fmt;

/// What a sealed value is. The kind is part of its derived key and of its additional data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The store's head.
    Head = 1,
    /// A transaction row.
    Transaction = 2,
    /// A ledger entry.
    Entry = 3,
    /// A principal.
    Principal = 4,
    /// An allowance.
    Allowance = 5,
    /// The redo record of the last round.
    Redo = 6,
    /// An action that waits for a second operator.
    PendingAction = 7,
    /// An inner record: under the token's secret, not under a key of the keyring.
    Record = 16,
    /// The answer of a remembered request: under the request's tag.
    Request = 17,
}

impl Kind {
    /// Whether a row of this kind and site belongs under a key of that name: keys have one purpose.
    fn belongs_under(self, site: Site, name: KeyName) -> bool {
        match (self, name) {
            (Kind::Transaction, KeyName::Release { site: own, .. })
            | (Kind::Entry, KeyName::Log { site: own, .. }) => own == site,
            (
                Kind::Head | Kind::Principal | Kind::Allowance | Kind::Redo | Kind::PendingAction,
                KeyName::Vault,
            ) => true,
            _ => false,
        }
    }
}

/// Where a sealed value lies: everything that it is bound to beside vault and key.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Whose it is; [`Site::VAULT`] for what belongs to no site.
    pub site: Site,
    /// Its transaction, if it has one.
    pub transaction: Option<TransactionId>,
    /// What it is.
    pub kind: Kind,
    /// What its derived key is for (`docs/format.md` §2): chosen so that one key seals fewer than
    /// 2^32 values. At most [`ROW_KEY_BYTES_MAX`] bytes.
    pub scope: &'a [u8],
    /// The key of its row in the store; at most [`ROW_KEY_BYTES_MAX`] bytes.
    pub row_key: &'a [u8],
}

/// A sealed value. Only sealing makes one, or reading one that was stored, so plaintext can't be
/// stored by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Takes over a value that was read from the store, after a look at its shape: magic, format,
    /// suite, length. Whether it is authentic shows when it is opened.
    ///
    /// # Errors
    /// [`EnvelopeError::Shape`].
    pub fn from_stored(bytes: Vec<u8>) -> Result<Sealed, EnvelopeError> {
        Frame::parse(&bytes)?;
        Ok(Sealed(bytes))
    }

    /// For values that this room just sealed.
    pub(super) fn sealed(bytes: Vec<u8>) -> Sealed {
        Sealed(bytes)
    }

    /// The bytes, as they are stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, as they are stored.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The key that it says it is sealed under.
    pub fn key_id(&self) -> KeyId {
        KeyId(Frame::parse(&self.0).map_or(0, |frame| frame.key_id))
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes, key {})", self.0.len(), self.key_id())
    }
}

/// Why a value could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It doesn't have the shape of a sealed value, or of what should be in it.
    #[error(transparent)]
    Shape(#[from] Malformed),
    /// The keyring has no such key.
    #[error("unknown key {0}")]
    UnknownKey(KeyId),
    /// The key was destroyed, and the value with it.
    #[error("key {0} was destroyed")]
    DestroyedKey(KeyId),
    /// The key opens, but seals nothing any more.
    #[error("key {0} is not active")]
    NotActive(KeyId),
    /// The key is for something else than values of this kind and site.
    #[error("key {0} has another purpose")]
    WrongPurpose(KeyId),
    /// The tag does not fit: the value was changed, or is not from this place.
    #[error("a sealed value was changed or moved")]
    Tampered,
    /// The value, its row key or its scope is longer than it may be.
    #[error("value, row key or scope is too long")]
    TooLong,
}

impl Keyring {
    /// Seals `plaintext` for a place, under a key that [`find`](Keyring::find) gave. About a
    /// microsecond and one allocation.
    ///
    /// The key's dates are not looked at again here; its state is.
    ///
    /// # Errors
    /// [`EnvelopeError::NotActive`], [`DestroyedKey`](EnvelopeError::DestroyedKey),
    /// [`UnknownKey`](EnvelopeError::UnknownKey), [`WrongPurpose`](EnvelopeError::WrongPurpose) or
    /// [`TooLong`](EnvelopeError::TooLong).
    pub fn seal(
        &self,
        key: KeyId,
        place: &Place<'_>,
        plaintext: &[u8],
    ) -> Result<Sealed, EnvelopeError> {
        self.seal_with_nonce(key, place, plaintext, &random())
    }

    /// [`seal`](Keyring::seal) with a nonce from outside: for comparison with frozen vectors. A
    /// nonce must never be used twice.
    pub(super) fn seal_with_nonce(
        &self,
        key: KeyId,
        place: &Place<'_>,
        plaintext: &[u8],
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<Sealed, EnvelopeError> {
        let record = self.live(key)?;
        if record.state() != KeyState::Active {
            return Err(EnvelopeError::NotActive(key));
        }
        let derived = row_key(record, place)?;
        let aad = self.outer_aad(key, place)?;
        frame::seal(&derived, key.0, nonce, aad.as_slice(), plaintext)
            .map(Sealed)
            .ok_or(EnvelopeError::TooLong)
    }

    /// Opens the value of a place, under the key that the value names.
    ///
    /// # Errors
    /// [`EnvelopeError::Tampered`] when it was changed or lies in another place,
    /// [`DestroyedKey`](EnvelopeError::DestroyedKey), [`UnknownKey`](EnvelopeError::UnknownKey) or
    /// [`WrongPurpose`](EnvelopeError::WrongPurpose).
    pub fn open(&self, place: &Place<'_>, sealed: &Sealed) -> Result<SecretBuffer, EnvelopeError> {
        self.open_bytes(place, &sealed.0)
    }

    /// [`open`](Keyring::open) for a value that lies within a larger one, as an entry in a page.
    ///
    /// # Errors
    /// As [`open`](Keyring::open), and [`EnvelopeError::Shape`].
    pub fn open_bytes(
        &self,
        place: &Place<'_>,
        sealed: &[u8],
    ) -> Result<SecretBuffer, EnvelopeError> {
        let frame = Frame::parse(sealed)?;
        let key = KeyId(frame.key_id);
        let derived = row_key(self.live(key)?, place)?;
        let aad = self.outer_aad(key, place)?;
        frame
            .open(&derived, aad.as_slice())
            .map_err(|_| EnvelopeError::Tampered)
    }

    /// A key that has its secret still.
    pub(super) fn live(&self, id: KeyId) -> Result<&KeyRecord, EnvelopeError> {
        let record = self.record(id).ok_or(EnvelopeError::UnknownKey(id))?;
        match record.state() {
            KeyState::Destroyed => Err(EnvelopeError::DestroyedKey(id)),
            _ => Ok(record),
        }
    }

    /// "payvault outer v1" ‖ format ‖ suite ‖ key id ‖ vault ‖ site ‖ transaction ‖ kind ‖
    /// bytes(row key).
    pub(super) fn outer_aad(&self, key: KeyId, place: &Place<'_>) -> Result<Aad, EnvelopeError> {
        if place.row_key.len() > ROW_KEY_BYTES_MAX {
            return Err(EnvelopeError::TooLong);
        }
        let transaction = place.transaction.map_or([0; 16], |id| id.0);
        let length = place.row_key.len() as u32;
        Ok(Aad::new(b"payvault outer v1")
            .with(&key.0.to_be_bytes())
            .with(&self.vault().0)
            .with(place.site.as_bytes())
            .with(&transaction)
            .with(&[place.kind as u8])
            .with(&length.to_be_bytes())
            .with(place.row_key))
    }
}

/// HKDF(bucket key, "payvault row v1" ‖ kind ‖ scope), for a kind that belongs under that key.
fn row_key(record: &KeyRecord, place: &Place<'_>) -> Result<DerivedKey, EnvelopeError> {
    if !place.kind.belongs_under(place.site, record.name()) {
        return Err(EnvelopeError::WrongPurpose(record.id()));
    }
    if place.scope.len() > ROW_KEY_BYTES_MAX {
        return Err(EnvelopeError::TooLong);
    }
    let deriver = record.deriver();
    let deriver = deriver.ok_or(EnvelopeError::DestroyedKey(record.id()))?;
    Ok(deriver.derive(&[b"payvault row v1", &[place.kind as u8], place.scope]))
}
