//! A disk that fails under the real binary: full, broken, short or slow, at a moment of the seed's
//! choice. Whatever it does, nothing acknowledged is lost, the export verifies, health and status
//! answer throughout, and the vault goes on by itself or ends, and is whole when it is started
//! again.

use crate::dev::{Clients, Dev};
use crate::orders::{Order, Orders};
use crate::size::{Rounds, until};
use crate::{Told, check, step};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const CLIENTS: usize = 6;
const EIO: u64 = 5;
const ENOSPC: u64 = 28;
/// A vault lives for so many rounds: each looks at all that was ever acknowledged.
const VAULT_ROUNDS: u64 = 130;
/// A call of health or status that takes longer is no answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// What the disk does.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// One write fails.
    Write(u64),
    /// All writes fail for a while.
    Writes(u64),
    /// One write is done by half.
    Short,
    /// One sync fails.
    Sync,
    /// All syncs fail for a while.
    Syncs,
    /// No name can be made, changed or removed for a while.
    Names(u64),
    /// Syncs take so many milliseconds for a while, and writes a fiftieth of it.
    Slow(u64),
    /// A write fails while the vault starts.
    Start(u64),
}

const FAULTS: [Fault; 13] = [
    Fault::Write(ENOSPC),
    Fault::Slow(300),
    Fault::Syncs,
    Fault::Names(ENOSPC),
    Fault::Writes(ENOSPC),
    Fault::Short,
    Fault::Start(EIO),
    Fault::Write(EIO),
    Fault::Sync,
    Fault::Writes(EIO),
    Fault::Slow(50),
    Fault::Names(EIO),
    Fault::Start(ENOSPC),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_the_disk_does_nothing_acknowledged_is_lost() {
    let mut rounds = Rounds::of("disk", FAULTS.len() as u64);
    let place = tempfile::tempdir().expect("a directory");
    let home = place.path().join("home");
    std::fs::create_dir(&home).expect("made");
    let Some(orders) = Orders::none(place.path().join("orders"), &home) else {
        return;
    };
    let (mut told, mut checked) = (Arc::new(Mutex::new(Told::default())), 0);
    let mut running: Option<Dev> = None;
    let (mut went_on, mut ended) = (0, 0);
    while let Some(round) = rounds.next() {
        let fault = FAULTS[round as usize % FAULTS.len()];
        let began = Instant::now();
        orders.clear();
        if round.is_multiple_of(VAULT_ROUNDS) {
            if let Some(dev) = running.take() {
                dev.stop().await;
            }
            std::fs::remove_dir_all(&home).expect("removed");
            (told, checked) = (Arc::new(Mutex::new(Told::default())), 0);
            Dev::start(&home).await.stop().await;
        }
        let how = if let Fault::Start(errno) = fault {
            if let Some(dev) = running.take() {
                dev.stop().await;
            }
            start_under(&home, &orders, errno, &mut rounds).await
        } else {
            let dev = match running.take() {
                Some(dev) => dev,
                None => Dev::start_with(&home, &orders.environment())
                    .await
                    .expect("the vault starts"),
            };
            let (how, dev) = serve_under(dev, &orders, fault, &told, &mut rounds).await;
            running = dev;
            how
        };
        orders.clear();
        // Looked at where it is, or, every other time, after `kill -9`.
        if let Some(dev) = &mut running {
            went_on += 1;
            check(dev, &told, &mut checked).await;
            if round.is_multiple_of(2) {
                dev.kill_9();
                running = None;
            }
        } else {
            ended += 1;
        }
        if running.is_none() {
            let dev = Dev::start_with(&home, &orders.environment())
                .await
                .expect("it is whole when it is started again");
            check(&dev, &told, &mut checked).await;
            running = Some(dev);
        }
        let tokens = told.lock().expect("told").tokens.len();
        println!(
            "round {round}: {fault:?}: {how}; {tokens} tokens; {:?}",
            began.elapsed()
        );
    }
    if let Some(dev) = running {
        dev.stop().await;
    }
    println!("{went_on} went on by themselves, {ended} ended");
    assert!(
        told.lock().expect("told").tokens.len() > 10,
        "the load was real"
    );
}

/// The fault, while clients load the vault and health and status are asked for.
async fn serve_under(
    mut dev: Dev,
    orders: &Orders,
    fault: Fault,
    told: &Arc<Mutex<Told>>,
    rounds: &mut Rounds,
) -> (String, Option<Dev>) {
    let clients = dev.clone_clients();
    let session = clients.login("operator").await.expect("a session");
    let stop = Arc::new(AtomicBool::new(false));
    let mut loading = JoinSet::new();
    for client in 0..CLIENTS {
        loading.spawn(load(
            clients.clone(),
            Arc::clone(told),
            Arc::clone(&stop),
            client + 1_000 * rounds.chance(0, 1_000) as usize,
        ));
    }
    let probing = tokio::spawn(probe(clients.clone(), session, Arc::clone(&stop)));

    let acknowledged = || told.lock().expect("told").tokens.len();
    let before = acknowledged();
    until("the load begins", async || {
        (acknowledged() > before + 5).then_some(())
    })
    .await;
    let faults = orders.get(Order::FaultsDone);
    let lasting = Duration::from_millis(rounds.chance(300, 1_500));
    order(orders, fault, rounds);
    let mut how = None;
    // Names change seldom.
    if let Fault::Slow(_) | Fault::Names(_) = fault {
        tokio::time::sleep(lasting).await;
    } else {
        until("the fault is met", async || {
            how = dev.ended();
            (how.is_some() || orders.get(Order::FaultsDone) > faults).then_some(())
        })
        .await;
        if matches!(fault, Fault::Writes(_) | Fault::Syncs) {
            tokio::time::sleep(lasting).await;
        }
    }
    let met = orders.get(Order::FaultsDone) - faults;
    orders.clear();
    // It goes on by itself, or it has ended.
    let before = acknowledged();
    until("the vault goes on or ends", async || {
        how = dev.ended();
        (how.is_some() || acknowledged() > before + 5).then_some(())
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    while let Some(client) = loading.join_next().await {
        client.expect("no client saw anything wrong");
    }
    let (answers, silences) = probing.await.expect("probed");
    if how.is_none() {
        how = dev.ended();
    }
    match how {
        None => {
            assert_eq!(
                silences,
                Vec::<String>::new(),
                "health or status didn't answer"
            );
            assert!(answers > 0);
            (
                format!("went on, {met} faults, {answers} probes answered"),
                Some(dev),
            )
        }
        Some(status) => {
            let clean = status.code().is_some();
            assert!(
                clean,
                "{fault:?}: it should end in order, or go on: {status}"
            );
            (format!("ended, {met} faults: {status}"), None)
        }
    }
}

/// The fault, while the vault starts: it serves all the same, or says why not.
async fn start_under(home: &Path, orders: &Orders, errno: u64, rounds: &mut Rounds) -> String {
    let seen = |order| orders.get(order);
    // Each process counts on.
    orders.set(Order::WriteErrno, errno);
    orders.set(Order::WriteCount, rounds.chance(1, 3));
    orders.set(
        Order::WriteAt,
        seen(Order::WritesSeen) + rounds.chance(1, 12),
    );
    orders.set(Order::SyncErrno, EIO);
    orders.set(Order::SyncCount, rounds.chance(0, 1));
    orders.set(Order::SyncAt, seen(Order::SyncsSeen) + rounds.chance(1, 12));
    let faults = seen(Order::FaultsDone);
    let before = log_of(home).len();
    let started = Dev::start_in(home, &orders.environment(), "true").await;
    let met = seen(Order::FaultsDone) - faults;
    match started {
        Ok(mut dev) => {
            dev.kill_9();
            format!("it started, {met} faults")
        }
        Err(status) => {
            let said = log_of(home).split_off(before);
            assert!(matches!(status.code(), Some(1 | 7)), "{status}: {said}");
            let why = reason(&said);
            assert!(why.is_some(), "it says why: {said}");
            format!(
                "it refused, {met} faults: {status}: {}",
                why.unwrap_or_default()
            )
        }
    }
}

/// What the binary said.
pub fn log_of(home: &Path) -> String {
    std::fs::read_to_string(home.with_extension("log")).unwrap_or_default()
}

/// Why it says that it ended.
pub fn reason(said: &str) -> Option<&str> {
    said.lines()
        .rev()
        .find(|line| line.starts_with("payvault: "))
}

fn order(orders: &Orders, fault: Fault, rounds: &mut Rounds) {
    let lasting = 1 << 40;
    let (writes, syncs, names) = (
        orders.get(Order::WritesSeen),
        orders.get(Order::SyncsSeen),
        orders.get(Order::NamesSeen),
    );
    let ahead = rounds.chance(1, 40);
    // The moment last: what it is to be must stand there before.
    match fault {
        Fault::Write(errno) | Fault::Writes(errno) => {
            let one = matches!(fault, Fault::Write(_));
            orders.set(Order::WriteErrno, errno);
            orders.set(Order::WriteCount, if one { 1 } else { lasting });
            orders.set(Order::WriteAt, writes + ahead);
        }
        Fault::Short => {
            orders.set(Order::WriteShort, 1);
            orders.set(Order::WriteCount, 1);
            orders.set(Order::WriteAt, writes + ahead);
        }
        Fault::Sync | Fault::Syncs => {
            let one = matches!(fault, Fault::Sync);
            orders.set(Order::SyncErrno, EIO);
            orders.set(Order::SyncCount, if one { 1 } else { lasting });
            orders.set(Order::SyncAt, syncs + ahead);
        }
        Fault::Names(errno) => {
            orders.set(Order::NameErrno, errno);
            orders.set(Order::NameCount, lasting);
            orders.set(Order::NameAt, names + 1);
        }
        Fault::Slow(ms) => {
            orders.set(Order::WriteDelayMs, ms / 50);
            orders.set(Order::SyncDelayMs, ms);
        }
        Fault::Start(_) => {}
    }
}

/// One client that goes on whatever it is refused.
async fn load(clients: Clients, told: Arc<Mutex<Told>>, stop: Arc<AtomicBool>, client: usize) {
    let mut count = 0usize;
    while !stop.load(Ordering::SeqCst) {
        count += 1;
        if step(&clients, &told, client * 1_000_003 + count)
            .await
            .is_none()
        {
            // Refused: not at once again, as `RetryInfo` says.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Asks for health and status until it is told to stop; how many answers there were, and what came
/// instead.
async fn probe(clients: Clients, session: String, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut answers, mut silences) = (0, Vec::new());
    while !stop.load(Ordering::SeqCst) {
        match tokio::time::timeout(ANSWER_MAX, clients.serves()).await {
            Ok(Ok(true)) => answers += 1,
            other => silences.push(format!("health: {other:?}")),
        }
        match tokio::time::timeout(ANSWER_MAX, clients.status(&session)).await {
            Ok(Ok(_)) => answers += 1,
            other => silences.push(format!("status: {other:?}")),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (answers, silences)
}
