//! What a running vault keeps in memory: its process image is searched for card numbers and security
//! codes after 1,000 redemptions, and for keys after it was sealed.
//!
//! The binary under test lets itself be looked at and notes where security codes lay
//! (`PAYVAULT_TEST_DUMPABLE`, `PAYVAULT_TEST_CODES`): three digits by themselves are everywhere.

use crate::dev::{Clients, Dev, request_id};
use crate::{card_number, number};
use aho_corasick::AhoCorasick;
use payvault::api::proto as pb;
use payvault::keys::{Keyring, SealFile, reread};
use payvault::secret::SecretText;
use pb::payment_details::Kind;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const CODE: &str = "739";
const CHUNK: usize = 4 << 20;
/// Of two connections: 8 KiB of requests of some 120 bytes each, and a little of TLS and of the last
/// replies.
const LAST_MAX: usize = 100;
/// No pattern is longer.
const OVERLAP: usize = 64;

/// The writable memory of a process, in pieces with their addresses and what they are.
fn image(process: u32, mut each: impl FnMut(u64, &str, &[u8])) {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("it is our own child's");
    let memory = File::open(format!("/proc/{process}/mem")).expect("it lets itself be looked at");
    let mut buffer = vec![0; CHUNK + OVERLAP];
    let mut read = 0u64;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, mode) = (
            words.next().expect("a range"),
            words.next().expect("a mode"),
        );
        let name = words.nth(3).unwrap_or("anonymous");
        if !mode.starts_with("rw") {
            continue;
        }
        let (begin, end) = range.split_once('-').expect("a range");
        let address = |text| u64::from_str_radix(text, 16).expect("an address");
        let (mut at, end) = (address(begin), address(end));
        while at < end {
            let length = (end - at).min((CHUNK + OVERLAP) as u64) as usize;
            // A piece may have gone since the list was made.
            if memory.read_exact_at(&mut buffer[..length], at).is_ok() {
                read += length as u64;
                each(at, name, &buffer[..length]);
            }
            at += CHUNK as u64;
        }
    }
    assert!(read > 1 << 20, "an image was read");
}

/// Which of the patterns are in the image, and where, in words.
fn found(process: u32, patterns: &[Vec<u8>]) -> (BTreeSet<usize>, Vec<String>) {
    let searched = AhoCorasick::new(patterns).expect("patterns");
    let (mut which, mut places) = (BTreeSet::new(), Vec::new());
    image(process, |at, name, piece| {
        for hit in searched.find_overlapping_iter(piece) {
            which.insert(hit.pattern().as_usize());
            let place = at + hit.start() as u64;
            places.push(format!(
                "{} at {place:x} in {name}",
                hit.pattern().as_usize()
            ));
        }
    });
    (which, places)
}

/// How many of the places where codes lay hold the code still.
fn codes_left(process: u32, record: &Path) -> (usize, usize) {
    let memory = File::open(format!("/proc/{process}/mem")).expect("it lets itself be looked at");
    let noted = fs::read_to_string(record).expect("it noted where codes were");
    let (mut places, mut left) = (0, 0);
    for line in noted.lines() {
        let (address, length) = line.split_once(' ').expect("address and length");
        assert_eq!(length, "3");
        let address = u64::from_str_radix(address, 16).expect("an address");
        let mut bytes = [0; CODE.len()];
        places += 1;
        if memory.read_exact_at(&mut bytes, address).is_ok() && bytes == *CODE.as_bytes() {
            left += 1;
        }
    }
    (places, left)
}

fn terms(clients: &Clients) -> pb::Terms {
    let mut terms = clients.terms();
    for grant in terms.parties.iter_mut().flat_map(|party| &mut party.grants) {
        grant.fields = vec![pb::Field::Number.into(), pb::Field::SecurityCode.into()];
    }
    terms
}

/// Enters a card, redeems it with its code, and reports success, which is the code's end.
async fn walk(clients: &Clients, card: &str) {
    let (portal, processor) = (clients.vault("portal"), clients.vault("processor-a"));
    let opened = portal
        .clone()
        .open_transaction(pb::OpenTransactionRequest {
            request_id: request_id(),
            terms: Some(terms(clients)),
            want_receipt: false,
        })
        .await
        .expect("opened");
    let transaction = opened.into_inner().transaction;
    let details = pb::Card {
        number: card.to_owned(),
        expiry_month: 12,
        expiry_year: 2035,
        holder: "Memory Test".to_owned(),
        security_code: CODE.to_owned(),
        billing: None,
    };
    let tokenized = portal
        .clone()
        .tokenize(pb::TokenizeRequest {
            request_id: request_id(),
            transaction: transaction.clone(),
            details: Some(pb::PaymentDetails {
                kind: Some(Kind::Card(details)),
            }),
            ..Default::default()
        })
        .await
        .expect("tokenized");
    let token = tokenized.into_inner().token.clone();
    let redeemed = processor
        .clone()
        .redeem(pb::RedeemRequest {
            request_id: request_id(),
            transaction: transaction.clone(),
            token: token.clone(),
            purpose: pb::Purpose::Authorize.into(),
            fields: vec![pb::Field::Number.into(), pb::Field::SecurityCode.into()],
            want_receipt: false,
        })
        .await
        .expect("redeemed");
    let Some(Kind::Card(released)) = redeemed.into_inner().details.and_then(|d| d.kind) else {
        panic!("no card");
    };
    assert_eq!((&*released.number, &*released.security_code), (card, CODE));
    processor
        .clone()
        .report_outcome(pb::ReportOutcomeRequest {
            request_id: request_id(),
            transaction,
            token,
            outcome: pb::Outcome::Succeeded.into(),
            processor_reference: "authorized".to_owned(),
        })
        .await
        .expect("reported");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_cards_nor_codes_nor_keys_stay_in_memory() {
    let redemptions = number("PAYVAULT_REDEMPTIONS").unwrap_or(1000);
    let dir = tempfile::tempdir().expect("a directory");
    let (record, dir) = (dir.path().join("codes"), dir.path().join("vault"));
    fs::create_dir(&dir).expect("a directory");
    let environment = [
        ("PAYVAULT_TEST_DUMPABLE", "1"),
        ("PAYVAULT_TEST_CODES", record.to_str().expect("a path")),
    ];
    let mut dev = Dev::start_with(&dir, &environment).await.expect("a vault");
    let process = dev.id();
    if File::open(format!("/proc/{process}/mem")).is_err() {
        eprintln!("SKIPPED: this system lets nobody look at another process's memory");
        return;
    }
    let cards: Vec<String> = (0..redemptions)
        .map(|n| card_number(7_000_000 + n))
        .collect();
    let mut walks = tokio::task::JoinSet::new();
    for part in cards.chunks(cards.len().div_ceil(8)) {
        let (clients, part) = (dev.clone_clients(), part.to_vec());
        walks.spawn(async move {
            for card in &part {
                walk(&clients, card).await;
            }
        });
    }
    while let Some(done) = walks.join_next().await {
        done.expect("walked");
    }

    // The pause is part of what is promised.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let numbers: Vec<Vec<u8>> = cards.iter().map(|card| card.clone().into_bytes()).collect();
    let (which, places) = found(process, &numbers);
    println!(
        "{redemptions} redemptions, connections open: {} numbers found {places:?}",
        which.len()
    );
    // Two connections are open, each with what its libraries' read buffers hold yet
    // (docs/threat-model.md).
    assert!(which.len() <= LAST_MAX, "{places:?}");
    let (noted, left) = codes_left(process, &record);
    println!("{noted} places where codes lay: {left} hold one");
    assert!(noted >= 2 * cards.len(), "each code was noted");
    assert_eq!(left, 0, "of {noted} places");
    dev.hang_up();
    let closed = Instant::now();
    loop {
        let (which, places) = found(process, &numbers);
        let passed = closed.elapsed();
        if which.is_empty() {
            println!("none {passed:?} after the connections were closed");
            break;
        }
        assert!(passed < Duration::from_secs(10), "{places:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // The keys are there, so a search that finds nothing later means something.
    let keys = dir.join("keys");
    let passphrase = fs::read_to_string(dir.join("passphrase")).expect("a passphrase");
    let seal = SealFile::read(&keys).expect("a seal");
    let passphrase = SecretText::copy_from(passphrase.trim());
    let root = seal.open(&passphrase).expect("the passphrase");
    let ring = Keyring::look(&keys, seal.vault(), &root).expect("the keyring");
    let secrets: Vec<Vec<u8>> = reread::secrets(&ring, &root)
        .into_iter()
        .map(|secret| secret.to_vec())
        .collect();
    let (which, _) = found(process, &secrets);
    println!("{} keys, {} found while open", secrets.len(), which.len());
    // All but the root key, which nothing needs any more.
    assert!(which.len() >= secrets.len() - 1, "found {which:?}");
    assert!(!which.contains(&(secrets.len() - 1)), "the root key stays");

    let sealed = tokio::task::block_in_place(|| Dev::command(&dir, "operator", &["seal"]));
    assert_eq!(sealed.0, Some(0), "{}", sealed.1);
    let (which, places) = found(process, &secrets);
    println!("{} found when sealed: {places:?}", which.len());
    assert!(which.is_empty(), "{places:?}");
    dev.stop().await;
}
