//! Keys that others follow, on the real binary: rows are sealed anew under load, through `kill -9`,
//! and no call fails; and no crash lets a key make more seals than its budget.
//!
//! `PAYVAULT_REWRAP_ROWS` transactions (default 1,500), `PAYVAULT_KILLS` times killed (default 3).

use crate::dev::{Clients, Dev, request_id, with_session};
use crate::{card_number, number, redeem};
use payvault::api::proto as pb;
use payvault::clock::{Clock, DAY_MS};
use payvault::ids::Site;
use payvault::keys::{SealFile, seal_key};
use payvault::ledger::Page;
use payvault::payment::{CardInput, Details};
use payvault::policy::{Field, Grant, Party, Purpose, Terms};
use payvault::secret::SecretText;
use payvault::store::{EngineKind, EngineOptions};
use payvault::vault::command::{Caller, Done, Note, RequestId, Work};
use payvault::vault::{House, Settings, Vault};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CLIENTS: u64 = 16;
/// So many fill the vault at the beginning.
const FILLING: u64 = 128;

/// A transaction, its token and the card in it.
type Token = (String, String, String);

/// A vault with operators at work, and what its clients were told.
struct Load {
    tokens: Arc<Mutex<Vec<Token>>>,
    /// Calls that were answered, and those that were not although nobody had killed the vault.
    calls: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
}

/// Clients that are at work.
struct Crew {
    ends: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<()>,
}

impl Load {
    fn new() -> Load {
        Load {
            tokens: Arc::default(),
            calls: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// Clients that open, tokenize and redeem, until `most` transactions are there or they are told
    /// to end.
    fn begin(&self, clients: &Clients, most: Option<u64>) -> Crew {
        let ends = Arc::new(AtomicBool::new(false));
        let mut tasks = tokio::task::JoinSet::new();
        let begun = Arc::new(AtomicU64::new(0));
        for _ in 0..CLIENTS {
            let (clients, ends) = (clients.clone(), Arc::clone(&ends));
            let (tokens, calls) = (Arc::clone(&self.tokens), Arc::clone(&self.calls));
            let (failed, begun) = (Arc::clone(&self.failed), Arc::clone(&begun));
            tasks.spawn(async move {
                while !ends.load(Ordering::SeqCst) {
                    let number = begun.fetch_add(1, Ordering::SeqCst);
                    if most.is_some_and(|most| number >= most) {
                        return;
                    }
                    // While rows are sealed anew, most calls are about rows that are there.
                    let old = {
                        let tokens = tokens.lock().expect("tokens");
                        let at = number.wrapping_mul(0x9e37_79b9) as usize;
                        let old = tokens.get(at % tokens.len().max(1)).cloned();
                        old.filter(|_| most.is_none() && number % 4 != 0)
                    };
                    let result = match old {
                        Some((transaction, token, card)) => {
                            describe(&clients, &transaction, &token, &card).await
                        }
                        None => tokenize(&clients, number).await.map(|token| {
                            tokens.lock().expect("tokens").push(token);
                        }),
                    };
                    match result {
                        Ok(()) => drop(calls.fetch_add(1, Ordering::SeqCst)),
                        // Told to end before the vault was killed.
                        Err(_) if ends.load(Ordering::SeqCst) => return,
                        Err(status) => {
                            failed.lock().expect("failed").push(status.to_string());
                            return;
                        }
                    }
                }
            });
        }
        Crew { ends, tasks }
    }

    fn tokens(&self) -> Vec<Token> {
        self.tokens.lock().expect("tokens").clone()
    }

    fn none_failed(&self) {
        let failed = self.failed.lock().expect("failed");
        assert!(failed.is_empty(), "{:?}", &failed[..failed.len().min(3)]);
    }
}

impl Crew {
    async fn end(mut self) {
        self.ends.store(true, Ordering::SeqCst);
        while self.tasks.join_next().await.is_some() {}
    }

    /// Waits until they are through with what there was to do.
    async fn through(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn tokenize(clients: &Clients, number: u64) -> Result<Token, tonic::Status> {
    let card = card_number(number);
    let open = pb::OpenTransactionRequest {
        request_id: request_id(),
        terms: Some(clients.terms()),
        want_receipt: false,
    };
    let opened = clients.vault("portal").open_transaction(open).await?;
    let transaction = opened.into_inner().transaction;
    let request = pb::TokenizeRequest {
        request_id: request_id(),
        transaction: transaction.clone(),
        details: crate::card_details(&card),
        ..Default::default()
    };
    let token = clients.vault("portal").tokenize(request).await?;
    Ok((transaction, token.into_inner().token.clone(), card))
}

/// Fills a vault that doesn't run: through its one door, without a network, since that takes a
/// fraction of the time.
async fn fill(dir: &Path, count: u64) -> Vec<Token> {
    let house = House {
        data_dir: dir.join("data"),
        keys_dir: dir.join("keys"),
        mark_dir: dir.join("data"),
        checkpoint_sink: None,
        checkpoint_command: None,
        witnesses: Default::default(),
        settings: Settings {
            sites: BTreeMap::from([(Site::parse("nl").expect("a site"), 180 * DAY_MS)]),
            fingerprints: BTreeSet::new(),
            sealed_only: BTreeSet::new(),
            denials_per_minute: 100,
            retention: payvault::api::sites::retention(),
            key_backup_days: 30,
        },
        engine: EngineKind::default(),
        cache_bytes: 64 << 20,
        clock: Clock::system(),
    };
    let passphrase = std::fs::read_to_string(dir.join("passphrase")).expect("a passphrase");
    let passphrase = SecretText::copy_from(passphrase.trim());
    let seal = SealFile::read(&house.keys_dir).expect("a seal");
    let root = seal.open(&passphrase).expect("the root key");
    let vault = Arc::new(payvault::vault::open(&house, &root).expect("opens"));
    let begun = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..FILLING {
        let (vault, begun) = (Arc::clone(&vault), Arc::clone(&begun));
        tasks.spawn(async move {
            let mut tokens = Vec::new();
            loop {
                let number = begun.fetch_add(1, Ordering::SeqCst);
                if number >= count {
                    return tokens;
                }
                tokens.push(put_in(&vault, number).await);
            }
        });
    }
    let mut tokens = Vec::new();
    while let Some(some) = tasks.join_next().await {
        tokens.extend(some.expect("filled"));
    }
    tokio::task::spawn_blocking(move || vault.close(Note::Stopped, Caller::vault()))
        .await
        .expect("closed");
    tokens
}

async fn put_in(vault: &Vault, number: u64) -> Token {
    let registry = vault.registry();
    let named = |name: &str| Arc::clone(registry.named(name).expect("enrolled"));
    let portal = named("portal");
    let caller = Caller {
        principal: Some(Arc::clone(&portal)),
        origin: Arc::from("127.0.0.1:1"),
    };
    let now = vault.clock().now();
    let terms = Terms {
        site: Site::parse("nl").expect("a site"),
        portal: portal.id,
        expires_at: now.plus_ms(DAY_MS),
        release_until: now.plus_ms(3 * DAY_MS),
        amount: None,
        merchant: String::new(),
        reference: String::new(),
        parties: vec![Party {
            principal: named("processor-a").id,
            grants: vec![Grant {
                purpose: Purpose::Authorize,
                fields: [Field::Number].into_iter().collect(),
                uses_max: 10,
            }],
        }],
    };
    let open = Work::Open {
        request: RequestId::new(request_id()),
        terms: Box::new(terms),
    };
    let transaction = match vault.ask(caller.clone(), open, u64::MAX).await {
        Ok(Done::Opened { transaction, .. }) => transaction,
        _ => panic!("not opened"),
    };
    let card = card_number(number);
    let text = SecretText::copy_from;
    let input = CardInput {
        number: text(&card),
        expiry_month: 12,
        expiry_year: 2035,
        holder: text("Load Test"),
        security_code: text(""),
        postal_code: text(""),
        address_line: text(""),
    };
    let Ok((details, _)) = payvault::payment::card(input, now) else {
        panic!("the card is good");
    };
    let details = Details::Card(details);
    let tokenize = Work::Tokenize {
        request: RequestId::new(request_id()),
        transaction,
        details: Box::new(details),
        code: None,
        replaces: None,
    };
    match vault.ask(caller, tokenize, u64::MAX).await {
        Ok(Done::Tokenized { token, .. }) => {
            let token = token.to_text().expose().to_owned();
            (transaction.to_string(), token, card)
        }
        _ => panic!("not tokenized"),
    }
}

/// A call about a row that burns no use.
async fn describe(
    clients: &Clients,
    transaction: &str,
    token: &str,
    card: &str,
) -> Result<(), tonic::Status> {
    let request = pb::DescribeTokenRequest {
        transaction: transaction.to_owned(),
        token: token.to_owned(),
    };
    let described = clients.vault("portal").describe_token(request).await?;
    let masked = described.into_inner().details.expect("masked");
    assert!(masked.masked_number.ends_with(&card[card.len() - 4..]));
    Ok(())
}

async fn session(clients: &Clients) -> String {
    clients.login("operator").await.expect("a session")
}

async fn status(clients: &Clients, session: &str) -> pb::GetStatusResponse {
    let request = with_session(pb::GetStatusRequest {}, session);
    let answer = clients.admin("operator").get_status(request).await;
    answer.expect("a status").into_inner()
}

async fn keys(clients: &Clients, session: &str) -> Vec<pb::Key> {
    let request = with_session(pb::ListKeysRequest {}, session);
    let answer = clients.admin("operator").list_keys(request).await;
    let mut pieces = answer.expect("keys").into_inner();
    let mut keys = Vec::new();
    while let Some(piece) = pieces.message().await.expect("keys") {
        keys.extend(piece.keys);
    }
    keys
}

/// How many rows, and entries in pages, lie under each key of a vault that doesn't run.
fn under_each(dir: &Path) -> BTreeMap<u32, u64> {
    let engine = EngineKind::default();
    let store = engine.open(&dir.join("data/db"), EngineOptions::default());
    let store = store.expect("a store");
    let reader = store.reader();
    let mut counts = BTreeMap::new();
    let mut count = |sealed: &[u8]| {
        let key = seal_key(sealed).expect("a sealed value");
        *counts.entry(key.0).or_default() += 1;
    };
    let mut from = vec![b'A'];
    loop {
        let rows = reader.scan(&from, b"Z", 1_024).expect("rows");
        let Some((last, _)) = rows.last() else { break };
        from.clone_from(last);
        from.push(0);
        for (key, value) in &rows {
            match key[0] {
                b'I' | b'T' => {}
                b'E' => {
                    let page = Page::parse(value).expect("a page");
                    page.entries.iter().for_each(|entry| count(entry.sealed));
                }
                _ => count(value),
            }
        }
    }
    counts
}

/// Waits for what the status says.
async fn until(clients: &Clients, session: &str, done: impl Fn(Option<&pb::Rewrap>) -> bool) {
    let began = Instant::now();
    loop {
        let status = status(clients, session).await;
        if done(status.rewrap.as_ref()) {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(1_800),
            "{:?}",
            status.rewrap
        );
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_are_sealed_anew_under_load_and_through_kill_9() {
    let rows = number("PAYVAULT_REWRAP_ROWS").unwrap_or(1_500);
    let kills = number("PAYVAULT_KILLS").unwrap_or(3);
    let dir = tempfile::tempdir().expect("a directory");
    let load = Load::new();
    Dev::start(dir.path()).await.stop().await;
    let began = Instant::now();
    *load.tokens.lock().expect("tokens") = fill(dir.path(), rows).await;
    let mut dev = Dev::start(dir.path()).await;
    println!("{rows} transactions in {:?}", began.elapsed());

    let (code, rotated) = Dev::command(dir.path(), "operator", &["keys", "rotate"]);
    assert_eq!(code, Some(0), "{rotated}");
    let (code, asked) = Dev::command(dir.path(), "operator", &["keys", "rewrap", "--no-wait"]);
    assert_eq!(code, Some(0), "{asked}");
    let mut interrupted = 0;
    let began = Instant::now();
    for kill in 0..kills {
        let clients = dev.clone_clients();
        let token = session(&clients).await;
        let crew = load.begin(&clients, None);
        let part = (kill + 1) * 1_000 / (kills + 1) / 2;
        until(&clients, &token, |at| {
            at.is_none_or(|at| at.rows > 0 && u64::from(at.permille) >= part)
        })
        .await;
        let at = status(&clients, &token).await.rewrap;
        interrupted += u32::from(at.is_some());
        println!(
            "killed at {:?}, after {:?}",
            at.map(|at| at.permille),
            began.elapsed()
        );
        load.none_failed();
        crew.ends.store(true, Ordering::SeqCst);
        dev.kill_9();
        crew.through().await;
        dev = Dev::start(dir.path()).await;
    }
    assert!(interrupted > 0, "it was killed in the middle");
    let clients = dev.clone_clients();
    let token = session(&clients).await;
    let crew = load.begin(&clients, None);
    let (code, done) = Dev::command(dir.path(), "operator", &["keys", "rewrap"]);
    assert_eq!(code, Some(0), "{done}");
    until(&clients, &token, |at| at.is_none()).await;
    crew.end().await;
    load.none_failed();
    println!(
        "done after {:?}, with {} calls answered and none failed",
        began.elapsed(),
        load.calls.load(Ordering::SeqCst)
    );

    // Nothing is unreadable.
    let tokens = load.tokens();
    assert!(tokens.len() as u64 >= rows);
    let every = (tokens.len() / 2_000).max(1);
    for (transaction, own, card) in tokens.iter().step_by(every) {
        let (number, _) = redeem(&clients, transaction, own).await.expect("redeemed");
        assert_eq!(number, *card);
    }
    let listed = keys(&clients, &token).await;
    let followed = |key: &&pb::Key| {
        let newest = listed
            .iter()
            .filter(|k| k.name == key.name)
            .map(|k| k.generation);
        key.generation < newest.max().unwrap_or_default()
    };
    let earlier: Vec<&pb::Key> = listed.iter().filter(followed).collect();
    assert!(earlier.len() >= 3, "vault, log and release: {earlier:?}");
    assert!(earlier.iter().all(|key| key.clear), "{earlier:?}");
    dev.stop().await;
    let under = under_each(dir.path());
    let left: BTreeSet<u32> = earlier.iter().map(|key| key.id).collect();
    assert!(under.keys().all(|key| !left.contains(key)), "{under:?}");
    assert!(under.values().sum::<u64>() > rows * 2);
    let (code, checked) = Dev::offline(dir.path(), &["check"]);
    assert_eq!(code, Some(0), "{checked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_are_followed_before_their_budget_of_seals_is_used_up_whatever_kills_the_vault() {
    const MOST: u64 = 1_500;
    let budget = [("PAYVAULT_SEAL_BUDGET", "400/1500")];
    let dir = tempfile::tempdir().expect("a directory");
    let load = Load::new();
    for _ in 0..3 {
        let dev = Dev::start_with(dir.path(), &budget).await;
        let mut dev = dev.expect("the vault starts");
        let clients = dev.clone_clients();
        load.begin(&clients, Some(400)).through().await;
        load.none_failed();
        let crew = load.begin(&clients, None);
        let before = load.calls.load(Ordering::SeqCst);
        while load.calls.load(Ordering::SeqCst) < before + 100 {
            load.none_failed();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        crew.ends.store(true, Ordering::SeqCst);
        dev.kill_9();
        crew.through().await;
    }
    let dev = Dev::start_with(dir.path(), &budget).await;
    let dev = dev.expect("the vault starts");
    let clients = dev.clone_clients();
    let token = session(&clients).await;
    let listed = keys(&clients, &token).await;
    let of = |name: &str| listed.iter().filter(|k| k.name.starts_with(name)).count();
    assert!(of("vault") > 1 && of("log/") > 3, "{listed:?}");
    assert!(listed.iter().all(|key| key.seals_reserved <= MOST));
    for (transaction, own, card) in load.tokens().iter().step_by(20) {
        let (number, _) = redeem(&clients, transaction, own).await.expect("redeemed");
        assert_eq!(number, *card);
    }
    dev.stop().await;
    // Counted by somebody else: entries stay where they are, so each was one seal of its key.
    let under = under_each(dir.path());
    assert!(under.values().all(|count| *count <= MOST), "{under:?}");
}
