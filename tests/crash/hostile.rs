//! Clients that mean harm, over real TLS against the real binary: those who call as they should are
//! answered throughout, memory stays within what the limits' names allow, and the server lets go of
//! the others.
//!
//! The aim is a p99 of at most three times the quiet one (printed). Only that nobody is starved is
//! asserted: on a machine that does other things too, figures say little.

use crate::dev::{Clients, Dev, request_id};
use crate::disk::log_of;
use crate::size::{Rounds, until};
use crate::wire::{self, END_HEADERS, END_STREAM, Wire, after, fields, frame};
use crate::{Told, step};
use payvault::api::proto as pb;
use payvault::limits;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Clients that call as they should.
const HONEST: usize = 4;
/// No call of theirs may take longer, whatever else goes on.
const CALL_MAX: Duration = Duration::from_secs(5);
/// How long each flood goes on; `PAYVAULT_FLOOD_SECONDS` for figures.
const FLOOD_SECONDS: u64 = 1;
const DESCRIBE: &str = "/payvault.v1.VaultService/DescribeToken";
const CHECKPOINT: &str = "/payvault.v1.LedgerService/GetCheckpoint";
const EXPORT: &str = "/payvault.v1.LedgerService/ExportLog";
const ENHANCE_YOUR_CALM: u32 = 11;

/// Those who mean harm have threads of their own, which get what the others leave over of the
/// clients' cores: how long an honest call takes is to say something of the vault.
static HOSTILE: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("hostile")
        .on_thread_start(|| {
            // Of this thread alone, on Linux.
            let _ = rustix::process::nice(19);
        })
        .enable_all()
        .build()
        .expect("a runtime")
});

/// Where and as whom harm is done.
#[derive(Clone)]
struct Target {
    to: SocketAddr,
    processor: Arc<rustls::ClientConfig>,
    auditor: Arc<rustls::ClientConfig>,
    nobody: Arc<rustls::ClientConfig>,
    clients: Clients,
    /// How many connections did harm.
    connections: Arc<AtomicUsize>,
}

/// What a hostile client saw in the end.
type Saw = Pin<Box<dyn Future<Output = String> + Send>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_floods_the_others_are_served_and_the_server_lets_go() {
    let mut rounds = Rounds::of("hostile clients", 1);
    let seconds = crate::number("PAYVAULT_FLOOD_SECONDS").unwrap_or(FLOOD_SECONDS) as f64;
    let place = tempfile::tempdir().expect("a directory");
    let home = place.path().join("home");
    while rounds.next().is_some() {
        let dev = Dev::start(&home).await;
        let target = Target {
            to: wire::address(&dev),
            processor: Arc::new(dev.tls("processor-b")),
            auditor: Arc::new(dev.tls("auditor")),
            nobody: Arc::new(wire::nobody(&dev)),
            clients: dev.clone_clients(),
            connections: Arc::default(),
        };
        let honest = Honest::new(&dev);
        let quiet = honest.during("nobody", after(2.0 * seconds), None).await;
        let (before, _) = dev.resident();

        // These hold what they hold until the server lets go; the rest goes on meanwhile.
        let mut held = JoinSet::new();
        for (name, count, from, hostile) in holders() {
            for number in 0..count {
                let (target, from) = (target.clone(), [127, 0, from, 1 + number as u8 % 8]);
                let holding = async move {
                    let began = Instant::now();
                    let saw = hostile(target, from).await;
                    (name, saw, began.elapsed())
                };
                held.spawn_on(holding, HOSTILE.handle());
            }
        }
        let _ = honest
            .during("all of these hold on", after(2.0 * seconds), Some(quiet))
            .await;
        for (name, count, flood) in floods() {
            let stop = Arc::new(AtomicBool::new(false));
            let mut flooding = JoinSet::new();
            for number in 0..count {
                let one = flood(target.clone(), number, Arc::clone(&stop));
                flooding.spawn_on(one, HOSTILE.handle());
            }
            honest.during(name, after(seconds), Some(quiet)).await;
            stop.store(true, Ordering::SeqCst);
            let mut saw = std::collections::BTreeMap::<String, usize>::new();
            while let Some(one) = flooding.join_next().await {
                *saw.entry(one.expect("a flood ends")).or_default() += 1;
            }
            println!("- what they saw: {saw:?}");
        }
        two_exports_at_once_and_no_third(&dev).await;

        let mut ends = std::collections::BTreeMap::<(&str, String), (usize, Duration)>::new();
        let bound = Duration::from_secs(120);
        while let Some(end) = tokio::time::timeout(bound, held.join_next())
            .await
            .expect("the server lets go of everybody")
        {
            let (name, saw, took) = end.expect("one who held on");
            let entry = ends.entry((name, saw)).or_default();
            entry.0 += 1;
            entry.1 = entry.1.max(took);
        }
        for ((name, saw), (count, took)) in ends {
            println!("let go: {name}: {count} {saw}, within {took:?}");
        }
        let connections = target.connections.load(Ordering::SeqCst);
        let (_, most) = dev.resident();
        // What the limits let a connection hold: what it sent, what it is to get, its headers, TLS.
        let each = u64::from(limits::CONNECTION_WINDOW_BYTES)
            + u64::from(limits::HEADER_BYTES_MAX)
            + 128 * 1024;
        let places = connections.min(limits::CONNECTIONS_MAX) as u64;
        let bound = before + places * each + (64 << 20);
        println!(
            "resident: {} MiB before, {} MiB at most, bound {} MiB; {connections} connections did harm",
            before >> 20,
            most >> 20,
            bound >> 20
        );
        assert!(most <= bound, "memory is bounded by the limits' names");
        // Whoever held an export's place gave it back.
        let session = target.clients.login("auditor").await.expect("a session");
        let mut pieces = target.clients.export(&session).await.expect("an export");
        while pieces.message().await.expect("it goes on").is_some() {}
        // A connection as any other gets in, from the address that flooded most.
        let again = Wire::http2(target.to, [127, 0, 1, 1], target.processor.clone(), 65_535).await;
        assert!(again.is_ok());
        drop(again);
        drop(honest);
        let key = dev.ledger_key.clone();
        dev.stop().await;
        said_in_the_ledger(&home, &key).await;
        let said = log_of(&home);
        assert!(!said.contains("panicked at"), "{said}");
    }
}

/// Clients that call as they should, and how long their calls take.
struct Honest {
    clients: Clients,
    told: Arc<Mutex<Told>>,
    count: Arc<AtomicUsize>,
    to: SocketAddr,
    config: Arc<rustls::ClientConfig>,
}

impl Honest {
    fn new(dev: &Dev) -> Honest {
        Honest {
            clients: dev.clone_clients(),
            told: Arc::default(),
            count: Arc::default(),
            to: wire::address(dev),
            config: Arc::new(dev.tls("processor-a")),
        }
    }

    /// They open, tokenize and redeem while `over` runs; the p99 of the three together. One more
    /// connects anew each time.
    async fn during(
        &self,
        what: &str,
        over: impl Future<Output = ()>,
        quiet: Option<Duration>,
    ) -> Duration {
        let stop = Arc::new(AtomicBool::new(false));
        let mut calling = JoinSet::new();
        for _ in 0..HONEST {
            let (clients, told) = (self.clients.clone(), Arc::clone(&self.told));
            let (count, stop) = (Arc::clone(&self.count), Arc::clone(&stop));
            calling.spawn(async move {
                let mut took = Vec::new();
                while !stop.load(Ordering::SeqCst) || took.is_empty() {
                    let began = Instant::now();
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    step(&clients, &told, number)
                        .await
                        .expect("who calls as it should is answered");
                    took.push(began.elapsed());
                }
                took
            });
        }
        let connecting = async {
            let began = Instant::now();
            Wire::http2(self.to, [127, 0, 0, 1], self.config.clone(), 65_535)
                .await
                .expect("who has a certificate gets in");
            began.elapsed()
        };
        let ((), connected) = tokio::join!(over, connecting);
        stop.store(true, Ordering::SeqCst);
        let mut took = Vec::new();
        while let Some(one) = calling.join_next().await {
            let own = one.expect("nobody is starved");
            assert!(
                own.iter().all(|took| *took < 3 * CALL_MAX),
                "{what}: {own:?}"
            );
            took.extend(own);
        }
        took.sort();
        let p99 = took[(took.len() * 99).div_ceil(100) - 1];
        let ratio = quiet.map_or(1.0, |quiet| p99.as_secs_f64() / quiet.as_secs_f64());
        println!(
            "{what}: {} times three calls, p50 {:?}, p99 {p99:?} ({ratio:.1} of quiet), connected in {connected:?}",
            took.len(),
            took[took.len() / 2],
        );
        assert!(connected < CALL_MAX, "{what}: {connected:?}");
        p99
    }
}

type Holder = fn(Target, [u8; 4]) -> Saw;

/// Those who hold something and never let go: how many, from which network, and how.
fn holders() -> Vec<(&'static str, usize, u8, Holder)> {
    vec![
        ("a handshake a byte at a time", 32, 2, slow_handshake),
        ("silent after TLS", 64, 3, silent),
        ("the preface a byte at a time", 16, 4, slow_preface),
        ("headers without end", 16, 5, slow_headers),
        ("a body a byte at a time", 16, 6, slow_body),
        ("a window of nothing", 16, 7, no_window),
        ("exports that nobody reads", 2, 8, unread_export),
    ]
}

fn slow_handshake(target: Target, from: [u8; 4]) -> Saw {
    Box::pin(async move {
        let Ok(mut stream) = wire::tcp(target.to, from).await else {
            return "was refused".to_owned();
        };
        target.connections.fetch_add(1, Ordering::SeqCst);
        // A record of a handshake, 512 bytes long, that never ends.
        let mut next = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]
            .into_iter()
            .chain([0; 500]);
        let mut buffer = [0; 64];
        loop {
            let byte = next.next().unwrap_or(0);
            if stream.write_all(&[byte]).await.is_err() {
                return "cut".to_owned();
            }
            let read = stream.read(&mut buffer);
            if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_millis(100), read).await
            {
                return "cut".to_owned();
            }
        }
    })
}

fn silent(target: Target, from: [u8; 4]) -> Saw {
    Box::pin(async move {
        let Ok(wire) = Wire::tls(target.to, from, target.processor.clone()).await else {
            return "was refused".to_owned();
        };
        target.connections.fetch_add(1, Ordering::SeqCst);
        wire.until_closed().await;
        "cut".to_owned()
    })
}

fn slow_preface(target: Target, from: [u8; 4]) -> Saw {
    Box::pin(async move {
        let Ok(wire) = Wire::tls(target.to, from, target.processor.clone()).await else {
            return "was refused".to_owned();
        };
        target.connections.fetch_add(1, Ordering::SeqCst);
        trickle(wire, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 500).await
    })
}

fn slow_headers(target: Target, from: [u8; 4]) -> Saw {
    Box::pin(async move {
        let http2 = Wire::http2(target.to, from, target.processor.clone(), 65_535).await;
        let Ok(mut wire) = http2 else {
            return "was refused".to_owned();
        };
        target.connections.fetch_add(1, Ordering::SeqCst);
        let _ = wire
            .writes
            .write_all(&frame(wire::HEADERS, 0, 1, &fields(DESCRIBE, &[])))
            .await;
        // One frame of a long header, then its bytes.
        let mut more = frame(wire::CONTINUATION, 0, 1, &[0; 4_000]);
        more.truncate(2_000);
        trickle(wire, more, 100).await
    })
}

fn slow_body(target: Target, from: [u8; 4]) -> Saw {
    Box::pin(async move {
        let http2 = Wire::http2(target.to, from, target.processor.clone(), 65_535).await;
        let Ok(mut wire) = http2 else {
            return "was refused".to_owned();
        };
        target.connections.fetch_add(1, Ordering::SeqCst);
        let mut bytes = frame(wire::HEADERS, END_HEADERS, 1, &fields(DESCRIBE, &[]));
        bytes.extend(frame(wire::DATA, 0, 1, &[0, 0, 0, 200, 0]));
        let _ = wire.writes.write_all(&bytes).await;
        let Wire {
            mut reads,
            mut writes,
        } = wire;
        let mut head = [0; 9];
        let writing = async {
            let byte = frame(wire::DATA, 0, 1, &[7]);
            while writes.write_all(&byte).await.is_ok() && writes.flush().await.is_ok() {
                after(0.02).await;
            }
        };
        let answered = async {
            while reads.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let mut payload = vec![0; length];
                let whole = reads.read_exact(&mut payload).await.is_ok();
                if whole && head[3] == wire::HEADERS {
                    return;
                }
            }
        };
        tokio::select! {
            () = answered => "answered at its deadline".to_owned(),
            () = writing => "cut".to_owned(),
        }
    })
}

fn no_window(target: Target, from: [u8; 4]) -> Saw {
    Box::pin(async move {
        let Ok(mut wire) = Wire::http2(target.to, from, target.processor.clone(), 0).await else {
            return "was refused".to_owned();
        };
        target.connections.fetch_add(1, Ordering::SeqCst);
        let mut bytes = Vec::new();
        for call in 0..limits::CALLS_PER_CONNECTION_MAX / 4 {
            let stream = 2 * call + 1;
            bytes.extend(frame(
                wire::HEADERS,
                END_HEADERS,
                stream,
                &fields(CHECKPOINT, &[]),
            ));
            let asked = wire::message(&pb::GetCheckpointRequest {});
            bytes.extend(frame(wire::DATA, END_STREAM, stream, &asked));
        }
        let _ = wire.writes.write_all(&bytes).await;
        let (_, got) = wire.until_let_go().await;
        assert_eq!(got, 0, "there was no window for it");
        "cut, though it answered pings".to_owned()
    })
}

fn unread_export(target: Target, from: [u8; 4]) -> Saw {
    Box::pin(async move {
        let session = target.clients.login("auditor").await.expect("a session");
        let Ok(mut wire) = Wire::http2(target.to, from, target.auditor.clone(), 0).await else {
            return "was refused".to_owned();
        };
        target.connections.fetch_add(1, Ordering::SeqCst);
        let bearer = format!("Bearer {session}");
        let fields = fields(EXPORT, &[("authorization", &bearer)]);
        let mut bytes = frame(wire::HEADERS, END_HEADERS, 1, &fields);
        let asked = pb::ExportLogRequest {
            reason: "held".to_owned(),
            ticket: "T-2".to_owned(),
            ..Default::default()
        };
        bytes.extend(frame(wire::DATA, END_STREAM, 1, &wire::message(&asked)));
        let _ = wire.writes.write_all(&bytes).await;
        wire.until_let_go().await;
        "cut, though it answered pings".to_owned()
    })
}

/// Sends `bytes` one by one, `pause_ms` apart, until the server lets go.
async fn trickle(wire: Wire, bytes: Vec<u8>, pause_ms: u64) -> String {
    let Wire {
        mut reads,
        mut writes,
    } = wire;
    let reading = async {
        let mut buffer = [0; 4096];
        while reads.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    let writing = async {
        for byte in bytes {
            if writes.write_all(&[byte]).await.is_err() || writes.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        // It has no more to say, and waits.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    "cut".to_owned()
}

type Flood = fn(Target, usize, Arc<AtomicBool>) -> Saw;

/// Those who do a lot: how many, and what.
fn floods() -> Vec<(&'static str, usize, Flood)> {
    vec![
        ("handshakes without end, no certificate", 16, handshakes),
        ("connections that say nothing and go", 16, knocks),
        ("giant headers", 8, giant_headers),
        ("CONTINUATION without end", 8, continuations),
        ("rapid reset", 8, rapid_reset),
        ("errors that the server must reset", 8, forced_resets),
        ("SETTINGS without end", 4, settings),
        ("PING without end", 4, pings),
        ("one principal's calls without end", 8, calls),
    ]
}

async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        after(0.01).await;
    }
}

fn handshakes(target: Target, number: usize, stop: Arc<AtomicBool>) -> Saw {
    Box::pin(async move {
        while !stop.load(Ordering::SeqCst) {
            let from = [127, 0, 1, 1 + number as u8 % 2];
            let tls = Wire::tls(target.to, from, target.nobody.clone()).await;
            target.connections.fetch_add(1, Ordering::SeqCst);
            if let Ok(wire) = tls {
                // In TLS 1.3 the refusal comes after.
                wire.until_closed().await;
            }
        }
        "none got in".to_owned()
    })
}

fn knocks(target: Target, number: usize, stop: Arc<AtomicBool>) -> Saw {
    Box::pin(async move {
        while !stop.load(Ordering::SeqCst) {
            let from = [127, 0, 1, 1 + number as u8 % 2];
            let _ = wire::tcp(target.to, from).await;
            target.connections.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
        "none got in".to_owned()
    })
}

/// Floods connection after connection with what `bytes` gives for each.
async fn flood_with(
    target: Target,
    number: usize,
    stop: Arc<AtomicBool>,
    bytes: impl Fn() -> (Vec<u8>, Vec<u8>),
) -> String {
    let mut let_go = 0;
    while !stop.load(Ordering::SeqCst) {
        let from = [127, 0, 9, 1 + number as u8];
        let http2 = Wire::http2(target.to, from, target.processor.clone(), 65_535).await;
        let Ok(mut wire) = http2 else {
            continue;
        };
        target.connections.fetch_add(1, Ordering::SeqCst);
        let (first, again) = bytes();
        let _ = wire.writes.write_all(&first).await;
        if wire.flood(again, stopped(&stop)).await {
            let_go += 1;
        }
    }
    match let_go {
        0 => "not cut".to_owned(),
        _ => "cut".to_owned(),
    }
}

fn giant_headers(target: Target, number: usize, stop: Arc<AtomicBool>) -> Saw {
    Box::pin(flood_with(target, number, stop, || {
        let long = "x".repeat(1 << 20);
        let fields = fields(DESCRIBE, &[("x-long", &long)]);
        let mut pieces = fields.chunks(16_000);
        let mut bytes = frame(wire::HEADERS, 0, 1, pieces.next().unwrap_or_default());
        for piece in pieces {
            bytes.extend(frame(wire::CONTINUATION, 0, 1, piece));
        }
        bytes.extend(frame(wire::CONTINUATION, END_HEADERS, 1, &[]));
        (Vec::new(), bytes)
    }))
}

fn continuations(target: Target, number: usize, stop: Arc<AtomicBool>) -> Saw {
    Box::pin(flood_with(target, number, stop, || {
        let first = frame(wire::HEADERS, 0, 1, &fields(DESCRIBE, &[]));
        (first, frame(wire::CONTINUATION, 0, 1, &[]).repeat(1_000))
    }))
}

fn rapid_reset(target: Target, number: usize, stop: Arc<AtomicBool>) -> Saw {
    Box::pin(streams(target, number, stop, |stream| {
        let mut bytes = frame(wire::HEADERS, END_HEADERS, stream, &fields(DESCRIBE, &[]));
        bytes.extend(frame(wire::RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        bytes
    }))
}

fn forced_resets(target: Target, number: usize, stop: Arc<AtomicBool>) -> Saw {
    Box::pin(streams(target, number, stop, |stream| {
        let mut bytes = frame(wire::HEADERS, END_HEADERS, stream, &fields(DESCRIBE, &[]));
        // A window update of nothing is an error of the stream (RFC 9113 6.9).
        bytes.extend(frame(8, 0, stream, &[0; 4]));
        bytes
    }))
}

/// Floods with stream after stream; each connection has 2^30 of them.
async fn streams(
    target: Target,
    number: usize,
    stop: Arc<AtomicBool>,
    each: fn(u32) -> Vec<u8>,
) -> String {
    let (mut calm, mut connections) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        let from = [127, 0, 9, 1 + number as u8];
        let http2 = Wire::http2(target.to, from, target.processor.clone(), 65_535).await;
        let Ok(wire) = http2 else {
            continue;
        };
        target.connections.fetch_add(1, Ordering::SeqCst);
        connections += 1;
        let Wire { reads, mut writes } = wire;
        let going = Arc::clone(&stop);
        let writing = tokio::spawn(async move {
            let mut stream = 1;
            while !going.load(Ordering::SeqCst) {
                let mut bytes = Vec::new();
                for _ in 0..200 {
                    bytes.extend(each(stream));
                    stream += 2;
                }
                if writes.write_all(&bytes).await.is_err() || writes.flush().await.is_err() {
                    break;
                }
            }
            let _ = writes.shutdown().await;
        });
        let code = until_goaway(reads).await;
        writing.abort();
        if code == Some(ENHANCE_YOUR_CALM) {
            calm += 1;
        }
    }
    match (calm, connections) {
        (0, 0 | 1) => "not cut".to_owned(),
        (0, _) => "cut".to_owned(),
        _ => "told to calm down, and cut".to_owned(),
    }
}

async fn until_goaway(mut reads: impl tokio::io::AsyncRead + Unpin) -> Option<u32> {
    let mut head = [0; 9];
    let mut code = None;
    while reads.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if reads.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] == wire::GOAWAY && length >= 8 {
            code = Some(u32::from_be_bytes([
                payload[4], payload[5], payload[6], payload[7],
            ]));
        }
    }
    code
}

fn settings(target: Target, number: usize, stop: Arc<AtomicBool>) -> Saw {
    Box::pin(flood_with(target, number, stop, || {
        (Vec::new(), frame(wire::SETTINGS, 0, 0, &[]).repeat(1_000))
    }))
}

fn pings(target: Target, number: usize, stop: Arc<AtomicBool>) -> Saw {
    Box::pin(flood_with(target, number, stop, || {
        (Vec::new(), frame(wire::PING, 0, 0, &[7; 8]).repeat(1_000))
    }))
}

/// A processor that asks for a token that isn't there, as fast as it can: each is a denial, and so
/// an entry, until they are summed.
fn calls(target: Target, number: usize, stop: Arc<AtomicBool>) -> Saw {
    Box::pin(async move {
        let address = format!("https://{}", target.to);
        let config = (*target.processor).clone();
        let Ok(channel) = payvault::api::client::connect(&address, config).await else {
            return "was refused".to_owned();
        };
        target.connections.fetch_add(1, Ordering::SeqCst);
        let mut calling = JoinSet::new();
        for _ in 0..limits::CALLS_PER_CONNECTION_MAX {
            let (channel, stop) = (channel.clone(), Arc::clone(&stop));
            let transaction = format!("txn_{number}");
            calling.spawn(async move {
                let vault = pb::vault_service_client::VaultServiceClient::new(channel);
                let mut answers = 0;
                while !stop.load(Ordering::SeqCst) {
                    let asked = pb::RedeemRequest {
                        request_id: request_id(),
                        transaction: transaction.clone(),
                        ..Default::default()
                    };
                    if vault.clone().redeem(asked).await.is_err() {
                        answers += 1;
                    }
                }
                answers
            });
        }
        let mut answers = 0u64;
        while let Some(some) = calling.join_next().await {
            answers += some.unwrap_or(0);
        }
        assert!(answers > 0);
        "refused each time".to_owned()
    })
}

/// While hostile exports hold their two places, a third is refused by name; when the server has let
/// go of them, two at once go through.
async fn two_exports_at_once_and_no_third(dev: &Dev) {
    let clients = dev.clone_clients();
    let session = clients.login("auditor").await.expect("a session");
    let refused = clients.export(&session).await;
    match refused {
        Err(status) => {
            assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
            println!("a third export: {}", status.message());
        }
        Ok(_) => println!("the unread exports were let go of already"),
    }
    let both = until("two exports at once", async || {
        let (one, other) = (
            clients.export(&session).await,
            clients.export(&session).await,
        );
        Some((one.ok()?, other.ok()?))
    })
    .await;
    for mut pieces in [both.0, both.1] {
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.message().await.expect("it goes on") {
            bytes.extend_from_slice(&piece.lines);
        }
        let key = payvault::ledger::VerifierKey::parse(&dev.ledger_key).expect("a key");
        payvault::ledger::verify_export(&bytes[..], std::slice::from_ref(&key))
            .expect("it verifies");
    }
}

/// What was refused at the door is in the ledger, summed.
async fn said_in_the_ledger(home: &std::path::Path, key: &str) {
    let dev = Dev::start(home).await;
    let export = dev.export().await;
    let key = payvault::ledger::VerifierKey::parse(key).expect("a key");
    payvault::ledger::verify_export(&export[..], std::slice::from_ref(&key)).expect("it verifies");
    let text = String::from_utf8_lossy(&export);
    let lines: Vec<&str> = text
        .lines()
        .filter(|l| l.contains("handshakes_refused"))
        .collect();
    println!(
        "{} entries of refused handshakes; the last: {:?}",
        lines.len(),
        lines.last()
    );
    for reason in ["no_certificate", "timeout", "full"] {
        assert!(lines.iter().any(|line| line.contains(reason)), "{reason}");
    }
    dev.stop().await;
}
