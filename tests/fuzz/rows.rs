//! Stored values below their seal, and sealed values without a key. A row has one spelling: what is
//! read is written as it was.

use super::meter::bounded;
use super::text::{CANARY, silent_error};
use payvault::codec::{Malformed, Reader, Writer};
use payvault::ids::{Site, TransactionId, VaultId};
use payvault::keys::{self, Sealed, open_record, seal_record};
use payvault::limits;
use payvault::payment::Details;
use payvault::policy::{Allowance, Principal, Terms};
use payvault::secret::{SecretBuffer, SecretBytes};
use payvault::vault;

/// First byte: which row. Rest: its plaintext.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    bounded(data.len(), || match kind % 12 {
        0 => same(rest, vault::reread::transaction(rest)),
        1 => same(rest, vault::reread::head(rest)),
        2 => same(rest, vault::reread::pending(rest)),
        3 => same(rest, Principal::decode(rest).map(|p| p.encode())),
        4 => same(rest, Allowance::decode(rest).map(|a| a.encode())),
        5 => same(rest, terms(rest)),
        6 => same(rest, Details::decode(rest).map(|d| d.encode())),
        7 => same(rest, keys::reread::keyring(rest)),
        8 => {
            let read = keys::reread::record(SecretBuffer::new(rest.to_vec()));
            same(rest, read.map(|(_, again)| again));
        }
        9 => redo(rest),
        10 => sealed(rest),
        _ => record(rest),
    });
}

fn same(bytes: &[u8], read: Result<SecretBuffer, Malformed>) {
    match read {
        Ok(again) => assert!(again[..] == *bytes, "two spellings of one row"),
        Err(error) => silent_error(&error),
    }
}

fn terms(bytes: &[u8]) -> Result<SecretBuffer, Malformed> {
    let mut r = Reader::new(bytes);
    let terms = Terms::decode_from(&mut r)?;
    r.end()?;
    let mut w = Writer::default();
    terms.encode_into(&mut w);
    Ok(w.finish())
}

/// The round's id, and parts, each behind a length of two bytes. Parts may be cut anywhere, so it
/// is the second writing that must be as the first.
fn redo(bytes: &[u8]) {
    let Some((round, mut rest)) = bytes.split_first_chunk::<16>() else {
        return;
    };
    let mut parts = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(more.len());
        let (part, more) = more.split_at(length);
        parts.push(SecretBuffer::new(part.to_vec()));
        rest = more;
    }
    match vault::reread::redo(round, &parts) {
        Ok(again) => {
            let Ok(third) = vault::reread::redo(round, &again) else {
                panic!("a redo record can't be read back");
            };
            assert!(third == again);
        }
        Err(error) => silent_error(&error),
    }
}

/// Any bytes as a sealed value: its shape alone is read, and it opens for nobody.
fn sealed(bytes: &[u8]) {
    match Sealed::from_stored(bytes.to_vec()) {
        Ok(value) => {
            assert!(bytes.len() <= limits::VALUE_BYTES_MAX);
            assert_eq!(value.as_bytes(), bytes);
            assert!(!format!("{value:?}").contains(CANARY));
        }
        Err(error) => silent_error(&error),
    }
    let opened = open_record(
        VaultId([1; 16]),
        Site::VAULT,
        TransactionId([2; 16]),
        &[3; 16],
        &[4; 32],
        &secret(),
        bytes,
    );
    match opened {
        Ok(_) => panic!("a record that nobody sealed opens"),
        Err(error) => silent_error(&error),
    }
}

/// Two bytes say where a sealed record is changed, and how; the rest is its content. What was
/// changed doesn't open.
fn record(bytes: &[u8]) {
    let Some(([at, change], details)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    if details.len() > limits::VALUE_BYTES_MAX {
        return;
    }
    let (vault, id) = (VaultId([1; 16]), TransactionId([2; 16]));
    let (selector, digest) = ([3; 16], [4; 32]);
    let sealed = seal_record(
        vault,
        Site::VAULT,
        id,
        &selector,
        &digest,
        &secret(),
        details,
    );
    let Ok(mut sealed) = sealed else { return };
    let open = |sealed: &[u8]| {
        open_record(
            vault,
            Site::VAULT,
            id,
            &selector,
            &digest,
            &secret(),
            sealed,
        )
    };
    assert!(open(&sealed).is_ok_and(|opened| opened[..] == *details));
    let at = usize::from(*at) * sealed.len() / 256;
    sealed[at] ^= change;
    assert_eq!(open(&sealed).is_ok(), *change == 0);
}

fn secret() -> SecretBytes<16> {
    SecretBytes::build(|own| *own = [5; 16])
}
