//! The outer layer: every row is sealed whole under a key derived from its bucket's key, and bound
//! to the place where it lies (`docs/format.md` §2). A value moved to another row, site,
//! transaction or vault does not open.

use super::cipher::{DerivedKey, NONCE_BYTES, TAG_BYTES};
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
    /// Where the ledger of an earlier epoch ended.
    ClosedEpoch = 8,
    /// Where the entry of a key's destruction stands.
    KeyEnd = 9,
    /// A legal hold.
    Hold = 10,
    /// An inner record: under the token's secret, not under a key of the keyring.
    Record = 16,
    /// The answer of a remembered request: under the request's tag.
    Request = 17,
}

impl Kind {
    /// Whether a row of this kind and site belongs under a key of that name: keys have one purpose.
    fn belongs_under(self, site: Site, name: KeyName) -> bool {
        match (self, name) {
            (
                Kind::Transaction,
                KeyName::Release { site: own, .. } | KeyName::Hold { site: own, .. },
            )
            | (Kind::Entry, KeyName::Log { site: own, .. }) => own == site,
            (
                Kind::Head
                | Kind::Principal
                | Kind::Allowance
                | Kind::Redo
                | Kind::PendingAction
                | Kind::ClosedEpoch
                | Kind::KeyEnd
                | Kind::Hold,
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

/// A sealed value. Only this room makes one, by sealing or from what was stored, so plaintext can't
/// be stored by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub(super) Vec<u8>);

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

    /// The bytes, as they are stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, as they are stored.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Nonce and tag: what tells it from every other value under its key.
    pub fn name(&self) -> [u8; SEAL_NAME_BYTES] {
        seal_name(&self.0).unwrap_or([0; SEAL_NAME_BYTES])
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

/// Bytes of a sealed value's [`name`](Sealed::name): nonce and tag.
pub const SEAL_NAME_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// The nonce and tag of a sealed value as it is stored; `None` when it has not the shape of one.
pub fn seal_name(stored: &[u8]) -> Option<[u8; SEAL_NAME_BYTES]> {
    Frame::parse(stored).ok().map(|frame| frame.name())
}

/// The key that a sealed value, as it is stored, says it is under; `None` when it has not the shape
/// of one.
pub fn seal_key(stored: &[u8]) -> Option<KeyId> {
    Frame::parse(stored).ok().map(|frame| KeyId(frame.key_id))
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
    /// No reserved seal of the key is left: reserve more ([`Keyring::reserve`]) and seal again.
    #[error("key {0} has no reserved seal left")]
    Exhausted(KeyId),
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
    /// [`UnknownKey`](EnvelopeError::UnknownKey), [`WrongPurpose`](EnvelopeError::WrongPurpose),
    /// [`Exhausted`](EnvelopeError::Exhausted) or [`TooLong`](EnvelopeError::TooLong).
    pub fn seal(
        &self,
        key: KeyId,
        place: &Place<'_>,
        plaintext: &[u8],
    ) -> Result<Sealed, EnvelopeError> {
        let record = self.live(key)?;
        if record.state() == KeyState::Active && record.name().seals_rows() {
            self.count(record)?;
        }
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
        if !record.seals() {
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

#[cfg(test)]
mod tests {
    use super::super::testing::{self, NOW, TXN, id, log, nl, release, replay};
    use super::*;
    use crate::ids::VaultId;
    use crate::limits::VALUE_BYTES_MAX;

    const PLAINTEXT: &[u8] = b"a row of some length";

    fn place() -> Place<'static> {
        Place {
            site: nl(),
            transaction: Some(TXN),
            kind: Kind::Transaction,
            scope: b"scope",
            row_key: b"Xrow",
        }
    }

    fn sealed(keyring: &Keyring) -> Sealed {
        keyring
            .seal(id(keyring, &release()), &place(), PLAINTEXT)
            .unwrap()
    }

    #[test]
    fn a_row_is_opened_where_it_was_sealed() {
        let (_dir, keyring) = testing::keyring();
        for length in [0, 1, 15, 16, 17, 1000, VALUE_BYTES_MAX - 36] {
            let plaintext = vec![7; length];
            let key = id(&keyring, &release());
            let sealed = keyring.seal(key, &place(), &plaintext).unwrap();
            assert_eq!(sealed.as_bytes().len(), length + 36);
            assert_eq!(sealed.key_id(), key);
            let stored = Sealed::from_stored(sealed.into_bytes()).unwrap();
            assert_eq!(keyring.open(&place(), &stored).unwrap()[..], plaintext);
        }
    }

    #[test]
    fn the_same_row_is_never_sealed_to_the_same_bytes() {
        let (_dir, keyring) = testing::keyring();
        assert!(sealed(&keyring) != sealed(&keyring));
    }

    #[test]
    fn a_row_opens_in_no_other_place() {
        let (_dir, mut keyring) = testing::keyring();
        let us = Site::parse("us").unwrap();
        let other_day = KeyName::Release {
            site: nl(),
            day: 20_781,
        };
        keyring.ensure(&[other_day], NOW).unwrap();
        let value = sealed(&keyring);
        let elsewhere = [
            Place {
                transaction: None,
                ..place()
            },
            Place {
                transaction: Some(TransactionId([0; 16])),
                ..place()
            },
            Place {
                scope: b"scopf",
                ..place()
            },
            Place {
                scope: b"",
                ..place()
            },
            Place {
                row_key: b"Xrow\0",
                ..place()
            },
            Place {
                row_key: b"",
                ..place()
            },
        ];
        for place in elsewhere {
            assert_eq!(
                keyring.open(&place, &value).map(|_| ()),
                Err(EnvelopeError::Tampered)
            );
        }
        // These don't come as far as the cipher, since the key isn't for them.
        let wrong = EnvelopeError::WrongPurpose(value.key_id());
        for place in [
            Place {
                site: us,
                ..place()
            },
            Place {
                kind: Kind::Entry,
                ..place()
            },
            Place {
                kind: Kind::Request,
                ..place()
            },
        ] {
            assert_eq!(keyring.open(&place, &value).map(|_| ()), Err(wrong));
        }
        // Another key of the same purpose.
        let mut relabelled = value.as_bytes().to_vec();
        relabelled[4..8].copy_from_slice(&id(&keyring, &other_day).0.to_be_bytes());
        let opened = keyring.open_bytes(&place(), &relabelled);
        assert_eq!(opened.map(|_| ()), Err(EnvelopeError::Tampered));
        assert!(keyring.open(&place(), &value).is_ok());
    }

    /// Kinds and sites under one key: the additional data tells them apart where the purpose does
    /// not.
    #[test]
    fn kind_and_site_are_authenticated_too() {
        let (_dir, keyring) = testing::keyring();
        let vault = id(&keyring, &KeyName::Vault);
        let own = Place {
            kind: Kind::Principal,
            ..place()
        };
        let value = keyring.seal(vault, &own, PLAINTEXT).unwrap();
        let us = Site::parse("us").unwrap();
        for place in [
            Place {
                kind: Kind::Allowance,
                ..own
            },
            Place { site: us, ..own },
            Place {
                site: Site::VAULT,
                ..own
            },
        ] {
            assert_eq!(
                keyring.open(&place, &value).map(|_| ()),
                Err(EnvelopeError::Tampered)
            );
        }
    }

    /// A row of another vault that has the very same key.
    #[test]
    fn a_row_opens_in_no_other_vault() {
        let (_dir, keyring) = testing::keyring();
        let key = id(&keyring, &release());
        let derived = row_key(keyring.record(key).unwrap(), &place()).unwrap();
        let own = keyring.outer_aad(key, &place()).unwrap();
        let mut other = own.as_slice().to_vec();
        assert_eq!(&other[23..39], &testing::VAULT.0);
        other[23..39].copy_from_slice(&VaultId([8; 16]).0);
        let value = frame::seal(&derived, key.0, &[1; 12], &other, PLAINTEXT).unwrap();
        let opened = keyring.open_bytes(&place(), &value);
        assert_eq!(opened.map(|_| ()), Err(EnvelopeError::Tampered));
        let value = frame::seal(&derived, key.0, &[1; 12], own.as_slice(), PLAINTEXT).unwrap();
        assert!(keyring.open_bytes(&place(), &value).is_ok());
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_always_an_error() {
        let (_dir, keyring) = testing::keyring();
        let value = sealed(&keyring).into_bytes();
        for at in 0..value.len() {
            for bit in 0..8 {
                let mut changed = value.clone();
                changed[at] ^= 1 << bit;
                let error = keyring.open_bytes(&place(), &changed).err();
                match at {
                    0..4 => assert!(matches!(error, Some(EnvelopeError::Shape(_))), "{at}"),
                    4..8 => assert!(error.is_some(), "{at}"),
                    _ => assert_eq!(error, Some(EnvelopeError::Tampered), "{at}"),
                }
            }
        }
        for length in 0..value.len() {
            let cut = &value[..length];
            assert!(keyring.open_bytes(&place(), cut).is_err(), "{length}");
            assert_eq!(Sealed::from_stored(cut.to_vec()).is_ok(), length >= 36);
        }
        let mut longer = value.clone();
        longer.push(0);
        let opened = keyring.open_bytes(&place(), &longer);
        assert_eq!(opened.map(|_| ()), Err(EnvelopeError::Tampered));
    }

    #[test]
    fn a_destroyed_or_unknown_key_says_so() {
        let (dir, mut keyring) = testing::keyring();
        let value = sealed(&keyring);
        let key = value.key_id();
        keyring.destroy(&[key], NOW).unwrap();
        for keyring in [&keyring, &testing::reload(dir.path())] {
            let gone = EnvelopeError::DestroyedKey(key);
            assert_eq!(keyring.open(&place(), &value).map(|_| ()), Err(gone));
            assert_eq!(keyring.seal(key, &place(), PLAINTEXT), Err(gone));
        }
        let unknown = KeyId(99);
        let error = Err(EnvelopeError::UnknownKey(unknown));
        assert_eq!(keyring.seal(unknown, &place(), PLAINTEXT), error);
    }

    #[test]
    fn a_retired_key_opens_and_does_not_seal() {
        let (_dir, mut keyring) = testing::keyring();
        let value = sealed(&keyring);
        let key = value.key_id();
        for state in [KeyState::DecryptOnly, KeyState::PendingDestruction] {
            keyring.change_state(&[key], state, NOW).unwrap();
            assert!(keyring.open(&place(), &value).is_ok());
            let error = Err(EnvelopeError::NotActive(key));
            assert_eq!(keyring.seal(key, &place(), PLAINTEXT), error);
        }
    }

    #[test]
    fn a_key_seals_only_what_it_is_for() {
        let (_dir, keyring) = testing::keyring();
        for name in [
            KeyName::Vault,
            KeyName::Identity,
            release(),
            log(),
            replay(),
        ] {
            let key = id(&keyring, &name);
            for (kind, right) in [
                (Kind::Head, KeyName::Vault),
                (Kind::Transaction, release()),
                (Kind::Entry, log()),
                (Kind::Principal, KeyName::Vault),
                (Kind::Allowance, KeyName::Vault),
                (Kind::Redo, KeyName::Vault),
                (Kind::PendingAction, KeyName::Vault),
                // These two are under the token's secret and the request's tag.
                (Kind::Record, KeyName::Fingerprint { site: nl() }),
                (Kind::Request, KeyName::Fingerprint { site: nl() }),
            ] {
                let place = Place { kind, ..place() };
                let result = keyring.seal(key, &place, PLAINTEXT).map(|_| ());
                if name == right {
                    assert_eq!(result, Ok(()), "{kind:?} under {name}");
                } else {
                    assert_eq!(result, Err(EnvelopeError::WrongPurpose(key)));
                }
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let (_dir, keyring) = testing::keyring();
        let key = id(&keyring, &release());
        let long = [0u8; ROW_KEY_BYTES_MAX + 1];
        let most = [0u8; ROW_KEY_BYTES_MAX];
        let seal = |place: &Place<'_>, length: usize| {
            keyring.seal(key, place, &vec![0; length]).map(|_| ())
        };
        let full = Place {
            scope: &most,
            row_key: &most,
            ..place()
        };
        assert_eq!(seal(&full, VALUE_BYTES_MAX - 36), Ok(()));
        let too_long = Err(EnvelopeError::TooLong);
        assert_eq!(seal(&full, VALUE_BYTES_MAX - 35), too_long);
        assert_eq!(
            seal(
                &Place {
                    scope: &long,
                    ..full
                },
                1
            ),
            too_long
        );
        assert_eq!(
            seal(
                &Place {
                    row_key: &long,
                    ..full
                },
                1
            ),
            too_long
        );
        let mut stored = sealed(&keyring).into_bytes();
        stored.resize(VALUE_BYTES_MAX + 1, 0);
        assert!(Sealed::from_stored(stored).is_err());
    }
}
