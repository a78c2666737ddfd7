//! Clients that mean harm, over real TLS against the real binary: those who call as they should are
//! answered throughout, memory stays within what the limits' names allow, and the server lets go of
//! the others.
//!
//! Who floods has a process of its own, with the least share of its cores (`floods`): how long an
//! honest call takes is to say something of the vault.
//!
//! The aim is a p99 of at most three times the quiet one (printed). Only that nobody is starved is
//! asserted: on a machine that does other things too, figures say little.

use crate::dev::{self, Clients, Dev};
use crate::disk::log_of;
use crate::floods::{self, Flooding};
use crate::size::{Rounds, until};
use crate::wire::{self, DESCRIBE, END_HEADERS, END_STREAM, Wire, after, fields, frame};
use crate::{Told, step};
use payvault::api::proto as pb;
use payvault::limits;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// Clients that call as they should.
const HONEST: usize = 4;
/// No call of theirs may take longer, whatever else goes on.
const CALL_MAX: Duration = Duration::from_secs(5);
/// How long each flood goes on; `PAYVAULT_FLOOD_SECONDS` for figures.
const FLOOD_SECONDS: u64 = 1;
const CHECKPOINT: &str = "/payvault.v1.LedgerService/GetCheckpoint";
const EXPORT: &str = "/payvault.v1.LedgerService/ExportLog";

/// Where and as whom harm is done.
#[derive(Clone)]
pub struct Target {
    pub to: SocketAddr,
    pub processor: Arc<rustls::ClientConfig>,
    pub nobody: Arc<rustls::ClientConfig>,
    auditor: Arc<rustls::ClientConfig>,
    /// The auditor's session, for those who export.
    session: Arc<str>,
    /// How many connections did harm.
    pub connections: Arc<AtomicUsize>,
}

impl Target {
    /// The vault that was started over `home` and listens at `to`.
    pub fn at(home: &Path, to: SocketAddr, session: &str) -> Target {
        Target {
            to,
            processor: Arc::new(dev::tls(home, "processor-b")),
            nobody: Arc::new(wire::nobody(home)),
            auditor: Arc::new(dev::tls(home, "auditor")),
            session: Arc::from(session),
            connections: Arc::default(),
        }
    }
}

/// What a hostile client saw in the end.
pub type Saw = Pin<Box<dyn Future<Output = String> + Send>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_floods_the_others_are_served_and_the_server_lets_go() {
    let mut rounds = Rounds::of("hostile clients", 1);
    let seconds = crate::number("PAYVAULT_FLOOD_SECONDS").unwrap_or(FLOOD_SECONDS) as f64;
    let place = tempfile::tempdir().expect("a directory");
    let home = place.path().join("home");
    while rounds.next().is_some() {
        let dev = Dev::start(&home).await;
        let clients = dev.clone_clients();
        let session = clients.login("auditor").await.expect("a session");
        let target = Target::at(&home, wire::address(&dev), &session);
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
                held.spawn(holding);
            }
        }
        let _ = honest
            .during("all of these hold on", after(2.0 * seconds), Some(quiet))
            .await;
        for name in floods::names() {
            let flooding = Flooding::start(name, &home, target.to);
            honest.during(name, after(seconds), Some(quiet)).await;
            let (saw, connections) = tokio::task::block_in_place(|| flooding.stop());
            target.connections.fetch_add(connections, Ordering::SeqCst);
            println!("- what they saw: {saw}");
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
        let session = clients.login("auditor").await.expect("a session");
        let mut pieces = clients.export(&session).await.expect("an export");
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
        let Ok(mut wire) = Wire::http2(target.to, from, target.auditor.clone(), 0).await else {
            return "was refused".to_owned();
        };
        target.connections.fetch_add(1, Ordering::SeqCst);
        let bearer = format!("Bearer {}", target.session);
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

/// While hostile exports hold their two places, a third is refused by name; when the server has let
/// go of them, two at once go through.
async fn two_exports_at_once_and_no_third(dev: &Dev) {
    let clients = dev.clone_clients();
    let session = clients.login("auditor").await.expect("a session");
    // By value: one that was not refused has to be let go of, or it holds a place itself.
    match clients.export(&session).await {
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
