//! The inner layer: payment details, sealed so that only the token opens them (`docs/format.md`
//! §3). The keyring has no part in it, so disk, backups and keyring together give no details. It
//! is bound to what never changes (vault, site, transaction, token, terms) and to nothing that
//! rotation or re-sealing changes.

use super::cipher::{self, DerivedKey, NONCE_BYTES};
use super::envelope::{EnvelopeError, Kind};
use super::frame::{self, Aad, Frame};
use crate::codec::{Malformed, Reader};
use crate::ids::{Site, TransactionId, VaultId, random};
use crate::limits::VALUE_BYTES_MAX;
use crate::secret::{SecretBuffer, SecretBytes};
use zeroize::Zeroizing;

/// Plaintext is padded to a multiple of this, since its length tells the number's length. Most
/// details fit one step.
const PADDING_STEP: usize = 128;
/// The key id of values that no key of the keyring seals.
const NO_KEY: u32 = 0;

/// Seals encoded payment details under the token's secret. `selector` is the token's public half,
/// `terms_digest` that of the transaction's terms.
///
/// # Errors
/// [`EnvelopeError::TooLong`].
pub fn seal_record(
    vault: VaultId,
    site: Site,
    transaction: TransactionId,
    selector: &[u8; 16],
    terms_digest: &[u8; 32],
    secret: &SecretBytes<16>,
    details: &[u8],
) -> Result<Vec<u8>, EnvelopeError> {
    let aad = aad(vault, site, transaction, selector, terms_digest);
    seal_with_nonce(&aad, selector, secret, details, &random())
}

/// Opens what [`seal_record`] sealed, and returns the details without their padding.
///
/// # Errors
/// [`EnvelopeError::Tampered`] when the secret or anything that the record is bound to differs,
/// [`EnvelopeError::Shape`] when it is no inner record.
pub fn open_record(
    vault: VaultId,
    site: Site,
    transaction: TransactionId,
    selector: &[u8; 16],
    terms_digest: &[u8; 32],
    secret: &SecretBytes<16>,
    sealed: &[u8],
) -> Result<SecretBuffer, EnvelopeError> {
    let frame = Frame::parse(sealed)?;
    if frame.key_id != NO_KEY {
        return Err(Malformed::new("an inner record names a key").into());
    }
    let aad = aad(vault, site, transaction, selector, terms_digest);
    let padded = frame
        .open(&record_key(secret, selector), aad.as_slice())
        .map_err(|_| EnvelopeError::Tampered)?;
    Ok(unpadded(padded)?)
}

/// "payvault inner v1" ‖ format ‖ suite ‖ vault ‖ site ‖ transaction ‖ kind ‖ selector ‖ terms
/// digest.
pub(super) fn aad(
    vault: VaultId,
    site: Site,
    transaction: TransactionId,
    selector: &[u8; 16],
    terms_digest: &[u8; 32],
) -> Aad {
    Aad::new(b"payvault inner v1")
        .with(&vault.0)
        .with(site.as_bytes())
        .with(&transaction.0)
        .with(&[Kind::Record as u8])
        .with(selector)
        .with(terms_digest)
}

pub(super) fn seal_with_nonce(
    aad: &Aad,
    selector: &[u8; 16],
    secret: &SecretBytes<16>,
    details: &[u8],
    nonce: &[u8; NONCE_BYTES],
) -> Result<Vec<u8>, EnvelopeError> {
    if details.len() > VALUE_BYTES_MAX {
        return Err(EnvelopeError::TooLong);
    }
    let mut padded = Zeroizing::new(vec![0u8; padded_length(details.len())]);
    let (length, rest) = padded.split_at_mut(4);
    length.copy_from_slice(&(details.len() as u32).to_be_bytes());
    rest[..details.len()].copy_from_slice(details);
    let key = record_key(secret, selector);
    frame::seal(&key, NO_KEY, nonce, aad.as_slice(), &padded).ok_or(EnvelopeError::TooLong)
}

/// HKDF(token secret, "payvault record v1" ‖ selector).
fn record_key(secret: &SecretBytes<16>, selector: &[u8; 16]) -> DerivedKey {
    cipher::hkdf(secret.expose(), &[b"payvault record v1", selector])
}

/// Bytes of the plaintext: length field and details, up to the next step.
fn padded_length(details: usize) -> usize {
    (4 + details).next_multiple_of(PADDING_STEP)
}

/// Takes length field and padding away, within the same buffer. The bytes that the move leaves
/// behind its end are wiped with the buffer.
fn unpadded(mut padded: SecretBuffer) -> Result<SecretBuffer, Malformed> {
    let mut r = Reader::new(&padded);
    let length = r.bytes()?.len();
    let padding = r.raw(r.remaining())?;
    if padding.iter().any(|b| *b != 0) || padded.len() != padded_length(length) {
        return Err(Malformed::new("an inner record is padded otherwise"));
    }
    padded.copy_within(4..4 + length, 0);
    padded.truncate(length);
    Ok(padded)
}

/// A plaintext without its padding, and padded again.
#[cfg(feature = "fault-injection")]
pub(super) fn reread(padded: SecretBuffer) -> Result<(SecretBuffer, SecretBuffer), Malformed> {
    let details = unpadded(padded)?;
    let mut again = Zeroizing::new(vec![0u8; padded_length(details.len())]);
    again[..4].copy_from_slice(&(details.len() as u32).to_be_bytes());
    again[4..4 + details.len()].copy_from_slice(&details);
    Ok((details, again))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TXN, VAULT, nl};
    use super::*;

    const SELECTOR: [u8; 16] = [3; 16];
    const TERMS: [u8; 32] = [4; 32];

    fn secret(byte: u8) -> SecretBytes<16> {
        SecretBytes::build(|own| *own = [byte; 16])
    }

    fn sealed(details: &[u8]) -> Vec<u8> {
        seal_record(VAULT, nl(), TXN, &SELECTOR, &TERMS, &secret(5), details).unwrap()
    }

    fn open(sealed: &[u8]) -> Result<SecretBuffer, EnvelopeError> {
        open_record(VAULT, nl(), TXN, &SELECTOR, &TERMS, &secret(5), sealed)
    }

    #[test]
    fn details_come_back_and_their_length_does_not_show() {
        for length in 0..=300 {
            let details = vec![0u8; length];
            let value = sealed(&details);
            assert_eq!((value.len() - 36) % 128, 0);
            assert_eq!(value.len() - 36, (length + 4).div_ceil(128) * 128);
            assert_eq!(open(&value).unwrap()[..], details);
        }
        assert_eq!(sealed(&[1; 12]).len(), sealed(&[1; 19]).len());
    }

    #[test]
    fn a_record_opens_only_with_all_that_it_is_bound_to() {
        let value = sealed(b"details");
        let us = Site::parse("us").unwrap();
        let (vault, txn) = (VaultId([0; 16]), TransactionId([0; 16]));
        let own = secret(5);
        let tries = [
            open_record(vault, nl(), TXN, &SELECTOR, &TERMS, &own, &value),
            open_record(VAULT, us, TXN, &SELECTOR, &TERMS, &own, &value),
            open_record(VAULT, nl(), txn, &SELECTOR, &TERMS, &own, &value),
            open_record(VAULT, nl(), TXN, &[0; 16], &TERMS, &own, &value),
            open_record(VAULT, nl(), TXN, &SELECTOR, &[0; 32], &own, &value),
            open_record(VAULT, nl(), TXN, &SELECTOR, &TERMS, &secret(6), &value),
        ];
        for (at, opened) in tries.into_iter().enumerate() {
            assert_eq!(opened.map(|_| ()), Err(EnvelopeError::Tampered), "{at}");
        }
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_always_an_error() {
        let value = sealed(b"details");
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 0x80;
            let error = open(&changed).err();
            if at < 8 {
                assert!(matches!(error, Some(EnvelopeError::Shape(_))), "{at}");
            } else {
                assert_eq!(error, Some(EnvelopeError::Tampered), "{at}");
            }
        }
        for length in 0..value.len() {
            assert!(open(&value[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn padding_has_one_form() {
        let aad = aad(VAULT, nl(), TXN, &SELECTOR, &TERMS);
        let key = record_key(&secret(5), &SELECTOR);
        let open_padded = |padded: &[u8]| {
            open(&frame::seal(&key, NO_KEY, &[0; 12], aad.as_slice(), padded).unwrap())
        };
        let with = |length: u32, size: usize, last: u8| {
            let mut padded = vec![0u8; size];
            padded[..4].copy_from_slice(&length.to_be_bytes());
            padded[size - 1] = last;
            padded
        };
        assert!(open_padded(&with(10, 128, 0)).is_ok());
        for wrong in [
            with(10, 128, 1),
            with(10, 256, 0),
            with(10, 127, 0),
            with(125, 128, 0),
            with(u32::MAX, 128, 0),
            vec![0, 0, 0],
            vec![],
        ] {
            let error = open_padded(&wrong).err();
            assert!(matches!(error, Some(EnvelopeError::Shape(_))));
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        for length in [VALUE_BYTES_MAX - 36, VALUE_BYTES_MAX + 1] {
            let details = vec![0; length];
            let value = seal_record(VAULT, nl(), TXN, &SELECTOR, &TERMS, &secret(5), &details);
            assert_eq!(value, Err(EnvelopeError::TooLong));
        }
    }
}
