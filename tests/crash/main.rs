//! Promise 3, on the real binary: what was acknowledged outlives `kill -9` at any moment.
//!
//! `PAYVAULT_KILLS` rounds (default 25), seed in `PAYVAULT_SEED`. Each round loads the vault from
//! 16 clients, kills it at a random moment, starts it again and asks for everything that was ever
//! acknowledged.

mod backup;
#[allow(dead_code)] // shared with the power cuts of store and committer
#[path = "../powercut/children.rs"]
mod children;
mod clock;
mod collect;
mod custody;
mod dev;
mod disk;
mod exhaustion;
mod files;
mod floods;
mod forks;
mod full;
mod hostile;
mod import;
mod memory;
mod orders;
mod pci;
mod place;
mod power;
mod rotate;
mod seals;
mod size;
mod wire;
mod witness;

use dev::{Dev, request_id};
use payvault::api::proto as pb;
use payvault::ledger::{Recorded, VerifierKey, verify_consistency, verify_export};
use pb::payment_details::Kind;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CLIENTS: usize = 16;

/// Runs a command to its end, with these lines to read.
fn fed(mut command: Command, lines: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    // One that is refused before it reads doesn't listen.
    let _ = stdin.write_all(lines.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// A card of this number.
fn card_details(number: &str) -> Option<pb::PaymentDetails> {
    Some(pb::PaymentDetails {
        kind: Some(Kind::Card(pb::Card {
            number: number.to_owned(),
            expiry_month: 12,
            expiry_year: 2035,
            holder: "Load Test".to_owned(),
            security_code: String::new(),
            billing: None,
        })),
    })
}

/// What clients were told.
#[derive(Default)]
struct Told {
    /// Token by transaction, with the card that was entered.
    tokens: Vec<(String, String, String)>,
    /// Entry index of each acknowledged redemption, with its transaction.
    redemptions: Vec<(u64, String)>,
    /// The newest checkpoint: size and root.
    checkpoint: Option<(u64, [u8; 32])>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_outlives_kill_9() {
    let rounds: u64 = number("PAYVAULT_KILLS").unwrap_or(25);
    let seed =
        number("PAYVAULT_SEED").unwrap_or_else(|| u64::from_be_bytes(payvault::ids::random()));
    println!("PAYVAULT_SEED={seed} PAYVAULT_KILLS={rounds}");
    let dir = tempfile::tempdir().expect("a directory");
    let mut random = seed | 1;
    let told = Arc::new(Mutex::new(Told::default()));
    let mut checked = 0;
    for round in 0..rounds {
        let mut dev = Dev::start(dir.path()).await;
        check(&dev, &told, &mut checked).await;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let after = Duration::from_millis(30 + random % 500);
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(load(
                dev.clone_clients(),
                Arc::clone(&told),
                Arc::clone(&stop),
                client,
            ));
        }
        tokio::time::sleep(after).await;
        dev.kill_9();
        stop.store(true, Ordering::SeqCst);
        while clients.join_next().await.is_some() {}
        let told = told.lock().expect("told");
        println!(
            "round {round}: killed after {after:?}; {} tokens, {} redemptions acknowledged so far",
            told.tokens.len(),
            told.redemptions.len()
        );
    }
    let dev = Dev::start(dir.path()).await;
    check(&dev, &told, &mut checked).await;
    {
        let told = told.lock().expect("told");
        assert!(told.tokens.len() > 100, "the load was real");
        assert!(told.redemptions.len() > 100, "the load was real");
    }
    dev.stop().await;
}

/// One client: opens, tokenizes, redeems, and notes what it was told.
async fn load(clients: dev::Clients, told: Arc<Mutex<Told>>, stop: Arc<AtomicBool>, client: usize) {
    let mut count = 0usize;
    while !stop.load(Ordering::SeqCst) {
        count += 1;
        if step(&clients, &told, client * 1_000_003 + count)
            .await
            .is_none()
        {
            return;
        }
    }
}

async fn step(clients: &dev::Clients, told: &Arc<Mutex<Told>>, number: usize) -> Option<()> {
    let transaction = clients
        .vault("portal")
        .open_transaction(pb::OpenTransactionRequest {
            request_id: request_id(),
            terms: Some(clients.terms()),
            want_receipt: false,
        })
        .await
        .ok()?
        .into_inner()
        .transaction;
    let card = card_number(number as u64);
    let token = clients
        .vault("portal")
        .tokenize(pb::TokenizeRequest {
            request_id: request_id(),
            transaction: transaction.clone(),
            details: card_details(&card),
            ..Default::default()
        })
        .await
        .ok()?
        .into_inner()
        .token
        .clone();
    told.lock()
        .expect("told")
        .tokens
        .push((transaction.clone(), token.clone(), card.clone()));
    let redeemed = redeem(clients, &transaction, &token).await.ok()?;
    assert_eq!(redeemed.0, card);
    told.lock()
        .expect("told")
        .redemptions
        .push((redeemed.1, transaction));
    if number.is_multiple_of(7) {
        let reply = clients
            .ledger("portal")
            .get_checkpoint(pb::GetCheckpointRequest {})
            .await
            .ok()?
            .into_inner()
            .checkpoint?;
        let root = <[u8; 32]>::try_from(reply.root).ok()?;
        let mut told = told.lock().expect("told");
        if told.checkpoint.is_none_or(|(size, _)| size < reply.size) {
            told.checkpoint = Some((reply.size, root));
        }
    }
    Some(())
}

async fn redeem(
    clients: &dev::Clients,
    transaction: &str,
    token: &str,
) -> Result<(String, u64), tonic::Status> {
    let reply = clients
        .vault("processor-a")
        .redeem(pb::RedeemRequest {
            request_id: request_id(),
            transaction: transaction.to_owned(),
            token: token.to_owned(),
            purpose: pb::Purpose::Authorize.into(),
            fields: vec![pb::Field::Number.into()],
            want_receipt: false,
        })
        .await?
        .into_inner();
    let number = match reply.details.and_then(|d| d.kind) {
        Some(Kind::Card(card)) => card.number.clone(),
        _ => String::new(),
    };
    Ok((number, reply.entry_index))
}

/// Everything that clients were ever told still holds.
async fn check(dev: &Dev, told: &Arc<Mutex<Told>>, checked: &mut usize) {
    let clients = dev.clone_clients();
    let (tokens, redemptions, checkpoint) = {
        let told = told.lock().expect("told");
        (
            told.tokens[*checked..].to_vec(),
            told.redemptions.clone(),
            told.checkpoint,
        )
    };
    *checked += tokens.len();
    for (transaction, token, card) in &tokens {
        let (number, _) = redeem(&clients, transaction, token)
            .await
            .unwrap_or_else(|refused| panic!("an acknowledged token does not redeem: {refused}"));
        assert_eq!(&number, card);
    }

    let export = dev.export().await;
    let key = VerifierKey::parse(&dev.ledger_key).expect("a key");
    let report = verify_export(&export[..], std::slice::from_ref(&key)).expect("it verifies");
    if !redemptions.is_empty() {
        let entries = redeemed_entries(&export);
        for (index, transaction) in &redemptions {
            assert_eq!(
                entries.get(index),
                Some(transaction),
                "an acknowledged redemption is not in the ledger"
            );
        }
    }
    if let Some((size, root)) = checkpoint {
        let now = &report.checkpoint;
        assert!(
            now.size >= size,
            "the ledger is shorter than a client was told"
        );
        let path = clients
            .ledger("portal")
            .get_consistency_proof(pb::GetConsistencyProofRequest {
                from_size: size,
                to_size: now.size,
            })
            .await
            .expect("a proof")
            .into_inner()
            .path;
        let path: Vec<[u8; 32]> = path
            .into_iter()
            .map(|hash| hash.try_into().expect("32 bytes"))
            .collect();
        verify_consistency(size, now.size, &root, &now.root, &path)
            .expect("the ledger extends the checkpoint that a client was given");
    }
}

/// Transaction by index, of the export's released redemptions.
fn redeemed_entries(export: &[u8]) -> BTreeMap<u64, String> {
    let mut entries = BTreeMap::new();
    for line in export
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
    {
        let line: serde_json::Value = serde_json::from_slice(line).expect("JSON");
        let Some(body) = line["body"].as_str() else {
            continue;
        };
        let entry = Recorded::parse(body).expect("an entry");
        if entry.event == payvault::ledger::Event::Redeemed
            && entry.outcome == payvault::ledger::Outcome::Ok
        {
            let transaction = entry.transaction.expect("of a transaction").to_string();
            entries.insert(entry.index, transaction);
        }
    }
    entries
}

/// A valid card number that tells its origin.
pub fn card_number(number: u64) -> String {
    let body = format!("400000{:09}", number % 1_000_000_000);
    (0..10)
        .map(|digit| format!("{body}{digit}"))
        .find(|candidate| payvault::payment::luhn::passes(candidate.as_bytes()))
        .expect("one of ten digits passes")
}

pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
