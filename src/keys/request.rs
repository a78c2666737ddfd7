//! Remembered requests (`docs/format.md` §4.2): a request is recognised by a keyed hash of its id,
//! and its answer is sealed under a key that takes both that day's replay key and the request id to
//! derive. The vault stores neither the id nor anything from which it could be found.

use super::cipher::{self, DerivedKey, NONCE_BYTES};
use super::envelope::{EnvelopeError, Kind, Place, Sealed};
use super::error::KeyError;
use super::frame::{self, Frame};
use super::keyring::Keyring;
use super::name::{KeyId, KeyName};
use super::record::{KeyRecord, KeyState};
use crate::ids::{PrincipalId, Site, TransactionId, random};
use crate::secret::{SecretBuffer, SecretBytes};

/// What a request is recognised by. Half of it is stored; the other half is the secret that its
/// answer is sealed under.
pub struct RequestTag {
    full: SecretBytes<32>,
}

impl RequestTag {
    /// The half that is stored. Not secret.
    pub fn stored(&self) -> [u8; 16] {
        let (stored, _) = self.full.expose().split_at(16);
        stored.try_into().expect("half of 32 bytes")
    }

    /// HKDF(full tag, "payvault answer v1").
    fn answer_key(&self) -> DerivedKey {
        cipher::hkdf(self.full.expose(), &[b"payvault answer v1"])
    }
}

impl Keyring {
    /// The tag of a principal's request: HMAC(HKDF(replay key, "payvault request v1"), principal ‖
    /// rpc ‖ request id). `day` is the day on which the request was first made: a retry past
    /// midnight has yesterday's.
    ///
    /// # Errors
    /// [`KeyError::UnknownName`] or [`KeyError::Destroyed`] when that day's replay key isn't there:
    /// the request is too old, or the key must be [made](Keyring::ensure).
    pub fn request_tag(
        &self,
        day: u32,
        principal: PrincipalId,
        rpc: u8,
        request_id: &[u8],
    ) -> Result<RequestTag, KeyError> {
        let key = self.replay_key(day, b"payvault request v1")?;
        let full = SecretBytes::build(|out| {
            cipher::hmac(&key, &[&principal.0, &[rpc], request_id], out);
        });
        Ok(RequestTag { full })
    }

    /// The id of the transaction that a portal's request opens: the first 16 bytes of
    /// HMAC(HKDF(replay key, "payvault transaction id v1"), portal ‖ request id). A retry finds the
    /// transaction by it.
    ///
    /// # Errors
    /// As [`request_tag`](Keyring::request_tag).
    pub fn transaction_id(
        &self,
        day: u32,
        portal: PrincipalId,
        request_id: &[u8],
    ) -> Result<TransactionId, KeyError> {
        let key = self.replay_key(day, b"payvault transaction id v1")?;
        let mut id = [0u8; 32];
        cipher::hmac(&key, &[&portal.0, request_id], &mut id);
        let (id, _) = id.split_at(16);
        Ok(TransactionId(id.try_into().expect("half of 32 bytes")))
    }

    /// Seals a request's answer, as the request of that day and tag.
    ///
    /// # Errors
    /// [`EnvelopeError::UnknownKey`] (with id 0) when that day has no replay key, and as
    /// [`seal`](Keyring::seal).
    pub fn seal_answer(
        &self,
        day: u32,
        tag: &RequestTag,
        site: Site,
        transaction: TransactionId,
        plaintext: &[u8],
    ) -> Result<Sealed, EnvelopeError> {
        self.seal_answer_with_nonce(day, tag, site, transaction, plaintext, &random())
    }

    pub(super) fn seal_answer_with_nonce(
        &self,
        day: u32,
        tag: &RequestTag,
        site: Site,
        transaction: TransactionId,
        plaintext: &[u8],
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<Sealed, EnvelopeError> {
        let record = self.newest(&KeyName::Replay { day });
        let key = record.ok_or(EnvelopeError::UnknownKey(KeyId(0)))?.id();
        if self.live(key)?.state() != KeyState::Active {
            return Err(EnvelopeError::NotActive(key));
        }
        let aad = self.outer_aad(key, &answer_place(site, transaction, &tag.stored()))?;
        frame::seal(&tag.answer_key(), key.0, nonce, aad.as_slice(), plaintext)
            .map(Sealed)
            .ok_or(EnvelopeError::TooLong)
    }

    /// Opens a request's answer.
    ///
    /// # Errors
    /// As [`open`](Keyring::open); [`EnvelopeError::WrongPurpose`] when the value names another key
    /// than one of that day.
    pub fn open_answer(
        &self,
        day: u32,
        tag: &RequestTag,
        site: Site,
        transaction: TransactionId,
        sealed: &Sealed,
    ) -> Result<SecretBuffer, EnvelopeError> {
        let frame = Frame::parse(sealed.as_bytes())?;
        let key = KeyId(frame.key_id);
        if self.live(key)?.name() != (KeyName::Replay { day }) {
            return Err(EnvelopeError::WrongPurpose(key));
        }
        let aad = self.outer_aad(key, &answer_place(site, transaction, &tag.stored()))?;
        frame
            .open(&tag.answer_key(), aad.as_slice())
            .map_err(|_| EnvelopeError::Tampered)
    }

    /// A key derived from a day's replay key.
    fn replay_key(&self, day: u32, label: &[u8]) -> Result<DerivedKey, KeyError> {
        let name = KeyName::Replay { day };
        let record: &KeyRecord = self.newest(&name).ok_or(KeyError::UnknownName(name))?;
        let deriver = record.deriver().ok_or(KeyError::Destroyed(record.id()))?;
        Ok(deriver.derive(&[label]))
    }
}

/// An answer lies in its transaction's row; its stored tag stands where a row key would.
fn answer_place<'a>(site: Site, transaction: TransactionId, stored: &'a [u8; 16]) -> Place<'a> {
    Place {
        site,
        transaction: Some(transaction),
        kind: Kind::Request,
        scope: &[],
        row_key: stored,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, DAY, NOW, TXN, id, nl, replay};
    use super::*;

    const PRINCIPAL: PrincipalId = PrincipalId([2; 16]);
    const REQUEST: &[u8] = b"sixteen bytes id";

    fn tag(keyring: &Keyring) -> RequestTag {
        keyring.request_tag(DAY, PRINCIPAL, 3, REQUEST).unwrap()
    }

    #[test]
    fn a_retry_is_recognised_and_gets_its_answer() {
        let (dir, keyring) = testing::keyring();
        let sealed = keyring
            .seal_answer(DAY, &tag(&keyring), nl(), TXN, b"answer")
            .unwrap();
        let again = testing::reload(dir.path());
        assert_eq!(tag(&again).stored(), tag(&keyring).stored());
        let opened = again.open_answer(DAY, &tag(&again), nl(), TXN, &sealed);
        assert_eq!(opened.unwrap()[..], b"answer"[..]);
        assert_eq!(
            again.transaction_id(DAY, PRINCIPAL, REQUEST).unwrap(),
            keyring.transaction_id(DAY, PRINCIPAL, REQUEST).unwrap()
        );
    }

    #[test]
    fn another_request_has_another_tag_and_does_not_open_the_answer() {
        let (_dir, mut keyring) = testing::keyring();
        keyring
            .ensure(&[KeyName::Replay { day: DAY + 1 }], NOW)
            .unwrap();
        let own = tag(&keyring);
        let sealed = keyring
            .seal_answer(DAY, &own, nl(), TXN, b"answer")
            .unwrap();
        let others = [
            keyring.request_tag(DAY, PrincipalId([0; 16]), 3, REQUEST),
            keyring.request_tag(DAY, PRINCIPAL, 4, REQUEST),
            keyring.request_tag(DAY, PRINCIPAL, 3, b"another bytes id"),
            keyring.request_tag(DAY + 1, PRINCIPAL, 3, REQUEST),
        ];
        for other in others {
            let other = other.unwrap();
            assert_ne!(other.stored(), own.stored());
            let opened = keyring.open_answer(DAY, &other, nl(), TXN, &sealed);
            assert_eq!(opened.map(|_| ()), Err(EnvelopeError::Tampered));
        }
        let us = Site::parse("us").unwrap();
        let opened = keyring.open_answer(DAY, &own, us, TXN, &sealed);
        assert_eq!(opened.map(|_| ()), Err(EnvelopeError::Tampered));
        let txn = TransactionId([0; 16]);
        let opened = keyring.open_answer(DAY, &own, nl(), txn, &sealed);
        assert_eq!(opened.map(|_| ()), Err(EnvelopeError::Tampered));
        let opened = keyring.open_answer(DAY + 1, &own, nl(), TXN, &sealed);
        let wrong = EnvelopeError::WrongPurpose(sealed.key_id());
        assert_eq!(opened.map(|_| ()), Err(wrong));
        let id = |day, portal, request| keyring.transaction_id(day, portal, request).unwrap();
        assert_ne!(id(DAY, PRINCIPAL, REQUEST), id(DAY + 1, PRINCIPAL, REQUEST));
        assert_ne!(
            id(DAY, PRINCIPAL, REQUEST),
            id(DAY, PrincipalId([0; 16]), REQUEST)
        );
    }

    #[test]
    fn without_the_days_key_there_is_no_tag_and_no_answer() {
        let (_dir, mut keyring) = testing::keyring();
        let own = tag(&keyring);
        let sealed = keyring
            .seal_answer(DAY, &own, nl(), TXN, b"answer")
            .unwrap();
        let missing = keyring.request_tag(DAY - 1, PRINCIPAL, 3, REQUEST);
        assert!(matches!(missing, Err(KeyError::UnknownName(_))));
        let key = id(&keyring, &replay());
        keyring.destroy(&[key], NOW).unwrap();
        let destroyed = keyring.request_tag(DAY, PRINCIPAL, 3, REQUEST);
        assert!(matches!(destroyed, Err(KeyError::Destroyed(id)) if id == key));
        let destroyed = keyring.transaction_id(DAY, PRINCIPAL, REQUEST);
        assert!(matches!(destroyed, Err(KeyError::Destroyed(id)) if id == key));
        let gone = EnvelopeError::DestroyedKey(key);
        let opened = keyring.open_answer(DAY, &own, nl(), TXN, &sealed);
        assert_eq!(opened.map(|_| ()), Err(gone));
        let resealed = keyring.seal_answer(DAY, &own, nl(), TXN, b"answer");
        assert_eq!(resealed, Err(gone));
    }

    #[test]
    fn a_flipped_bit_is_always_an_error() {
        let (_dir, keyring) = testing::keyring();
        let own = tag(&keyring);
        let sealed = keyring
            .seal_answer(DAY, &own, nl(), TXN, b"answer")
            .unwrap()
            .into_bytes();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let opened = Sealed::from_stored(changed)
                .and_then(|value| keyring.open_answer(DAY, &own, nl(), TXN, &value));
            assert!(opened.is_err(), "{at}");
        }
    }
}
