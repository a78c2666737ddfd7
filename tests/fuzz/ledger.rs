//! What the ledger reads back: receipts, entries, notes, keys, names, pages. And ids and times.

use super::export::checkpoint_signed_again;
use super::meter::bounded;
use super::text::{silent_error, text};
use payvault::clock::{TIMESTAMP_MAX, Timestamp};
use payvault::ids::{ActionId, PrincipalId, Site, TokenReference, TransactionId, VaultId};
use payvault::keys::KeyName;
use payvault::ledger::{
    Bucket, Checkpoint, Event, Leaf, Note, Opened, Outcome, Page, Receipt, Recorded, Submission,
    VerifierKey, WitnessKey, encode_pages, from_base64, seal_content, to_base64, verify_receipt,
};
use payvault::limits;

/// First byte: what it is. Rest: its text or bytes.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    bounded(data.len(), || match (kind % 10, text(rest)) {
        (0, Some(text)) => receipt(text),
        (1, Some(text)) => entry(text),
        (2, Some(text)) => note(text),
        (3, Some(text)) => {
            match VerifierKey::parse(text) {
                Ok(key) => assert_eq!(key.to_string(), text, "a key has one spelling"),
                Err(error) => silent_error(&error),
            }
            match WitnessKey::parse(text) {
                Ok(key) => assert_eq!(key.to_string(), text, "a key has one spelling"),
                Err(error) => silent_error(&error),
            }
        }
        (4, Some(text)) => match Bucket::parse(text) {
            Ok(bucket) => {
                assert_eq!(bucket.text, text);
                assert!(text.len() <= limits::BUCKET_BYTES_MAX);
                assert!((1..=12).contains(&bucket.month.1));
            }
            Err(error) => silent_error(&error),
        },
        (5, Some(text)) => match KeyName::parse(text) {
            Ok(name) => assert_eq!(name.to_string(), text, "a name has one spelling"),
            Err(error) => silent_error(&error),
        },
        (6, Some(text)) => names(text),
        (7, _) => page(rest),
        (8, _) => match Opened::parse(rest) {
            Ok(opened) => assert!(seal_content(opened.seed, opened.json)[..] == *rest),
            Err(error) => silent_error(&error),
        },
        (9, _) => moment(rest),
        _ => {}
    });
}

fn receipt(text: &str) {
    let receipt = match Receipt::parse(text) {
        Ok(receipt) => receipt,
        Err(error) => return silent_error(&error),
    };
    assert_eq!(receipt.to_json(), text, "a receipt has one spelling");
    if let Err(error) = verify_receipt(text.as_bytes(), &[]) {
        silent_error(&error);
    } else {
        panic!("believed without a key");
    }
    let Some((checkpoint, key)) = checkpoint_signed_again(&receipt.checkpoint) else {
        return;
    };
    let again = Receipt {
        checkpoint,
        ..receipt
    };
    match verify_receipt(again.to_json().as_bytes(), &[key]) {
        Ok(report) => assert!(report.index < report.checkpoint.size),
        Err(error) => silent_error(&error),
    }
}

fn entry(text: &str) {
    match Recorded::parse(text) {
        Ok(entry) => {
            let bucket = entry.bucket_text();
            let Ok(bucket) = Bucket::parse(&bucket) else {
                panic!("an entry without a bucket");
            };
            assert_eq!(bucket.site, entry.site);
            assert_eq!(bucket.month, entry.at.year_month());
        }
        Err(error) => silent_error(&error),
    }
}

/// What a witness is asked.
fn submission(text: &str) {
    let Ok(submission) = Submission::parse(text) else {
        return;
    };
    assert_eq!(submission.to_text(), text, "a request has one spelling");
    assert!(submission.proof.len() <= limits::WITNESS_PROOF_LINES_MAX);
    assert!(
        submission.judge(&[], None).is_err(),
        "believed without a key"
    );
    let Some((note, key)) = checkpoint_signed_again(&submission.note) else {
        return;
    };
    let again = Submission { note, ..submission };
    // From nothing everything without a proof is accepted, and nothing with one.
    if let Ok(accepted) = again.judge(&[key], None) {
        assert!(again.old == 0 && again.proof.is_empty());
        assert!(accepted.signed.starts_with(&accepted.text));
    }
}

fn note(text: &str) {
    submission(text);
    submission(&format!("old 0\n\n{text}"));
    match Note::parse(text) {
        Ok(note) => assert!(note.verify(&[]).is_err(), "believed without a key"),
        Err(error) => silent_error(&error),
    }
    let Some((again, key)) = checkpoint_signed_again(text) else {
        return;
    };
    let keys = [key];
    let (checkpoint, _) = Checkpoint::open(&again, &keys).expect("signed by that key");
    assert!(again.starts_with(&checkpoint.text()));
}

fn names(text: &str) {
    macro_rules! one_spelling {
        ($($kind:ty),+) => {$(
            match <$kind>::parse(text) {
                Ok(read) => assert_eq!(read.to_string(), text),
                Err(error) => silent_error(&error),
            }
        )+};
    }
    one_spelling!(
        VaultId,
        PrincipalId,
        TransactionId,
        TokenReference,
        ActionId,
        Site
    );
    if let Ok(site) = Site::parse(text) {
        assert_eq!(Site::from_bytes(*site.as_bytes()), Ok(site));
    }
    if let Some(event) = Event::parse(text) {
        assert_eq!(event.as_str(), text);
    }
    if let Some(outcome) = Outcome::parse(text) {
        assert_eq!(outcome.as_str(), text);
    }
    if let Some(hash) = from_base64(text) {
        assert_eq!(to_base64(&hash), text);
    }
    if let Some(time) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
    }
}

/// Any moment that a message may bring.
fn moment(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<8>() else {
        return;
    };
    let time = Timestamp(u64::from_be_bytes(*bytes) % (TIMESTAMP_MAX.0 + 1));
    assert_eq!(
        Timestamp::parse(&time.to_string()),
        Some(time),
        "{} ms are shown as {time}",
        time.0
    );
    let (year, month) = time.year_month();
    assert!((1970..=9999).contains(&year) && (1..=12).contains(&month));
    assert!(
        time.to_string()
            .starts_with(&format!("{year:04}-{month:02}-"))
    );
}

fn page(bytes: &[u8]) {
    let page = match Page::parse(bytes) {
        Ok(page) => page,
        Err(error) => return silent_error(&error),
    };
    let seals: Vec<Vec<u8>> = page.entries.iter().map(|e| e.sealed.to_vec()).collect();
    assert_eq!(page.resealed(&seals), bytes, "a page has one spelling");
    assert_eq!(page.without(|entry| entry.pruned), None);
    let last = page.entries.last().map(|entry| entry.index);
    assert!(last.is_some_and(|last| page.entry(last).is_some() && page.entry(last + 1).is_none()));
    let some = |entry: &payvault::ledger::PageEntry<'_>| Some(entry.index as u32);
    let pruned = page.without(some);
    let any = page.entries.iter().any(|entry| entry.pruned.is_none());
    assert_eq!(pruned.is_some(), any);
    if let Some(pruned) = pruned.filter(|row| row.len() <= payvault::limits::VALUE_BYTES_MAX) {
        let pruned = Page::parse(&pruned).expect("it came from a page");
        assert!(pruned.entries.iter().all(|entry| entry.pruned.is_some()));
    }
    if page.entries.iter().any(|entry| entry.pruned.is_some()) {
        return;
    }
    let leaves: Vec<Leaf> = page
        .entries
        .iter()
        .map(|entry| Leaf {
            hash: entry.leaf,
            facets: entry.facets,
            commitments: [[0; 32]; 3],
            salts: [[0; 32]; 3],
        })
        .collect();
    let entries = leaves.iter().zip(page.entries.iter().map(|e| e.sealed));
    let again = encode_pages(page.first, entries).expect("it came from a page");
    assert!(matches!(&again[..], [row] if row.bytes == bytes));
}

/// Base64 with padding (RFC 4648 §4).
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        for at in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() {
                letter as char
            } else {
                '='
            });
        }
    }
    text
}
