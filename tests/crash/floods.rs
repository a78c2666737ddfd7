//! Those who flood, each kind in a process of its own: this test binary, started again. Its threads
//! get what the others leave over of their cores (niceness 19), and share no lock and no memory with
//! those who call as they should.

use crate::dev::request_id;
use crate::hostile::{Saw, Target};
use crate::wire::{self, DESCRIBE, END_HEADERS, Wire, after, fields, frame};
use payvault::api::proto as pb;
use payvault::limits;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

const ENHANCE_YOUR_CALM: u32 = 11;
/// What a child says of itself comes after this.
const SAID: &str = "flood: ";

/// One kind of flood that goes on.
pub struct Flooding(Child);

impl Flooding {
    /// Begins the flood of this name against the vault over `home` that listens at `to`.
    pub fn start(name: &str, home: &Path, to: SocketAddr) -> Flooding {
        let child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "floods::child", "--nocapture"])
            .env("PAYVAULT_FLOOD", name)
            .env("PAYVAULT_FLOOD_HOME", home)
            .env("PAYVAULT_FLOOD_TO", to.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this binary starts");
        Flooding(child)
    }

    /// Ends it; what its clients saw, and how many connections they made. Waits for their last calls.
    pub fn stop(mut self) -> (String, usize) {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let line = said.lines().find_map(|line| line.strip_prefix(SAID));
        let (connections, saw) = line.and_then(|line| line.split_once(' ')).expect("a line");
        (saw.to_owned(), connections.parse().expect("a number"))
    }
}

/// The floods' names, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    floods().into_iter().map(|(name, ..)| name)
}

/// Not a test of its own: what this binary does when it was started again to flood.
#[test]
fn child() {
    let Ok(name) = std::env::var("PAYVAULT_FLOOD") else {
        return;
    };
    let told = |name: &str| std::env::var(name).expect("the parent sets it");
    let home = told("PAYVAULT_FLOOD_HOME");
    let to = told("PAYVAULT_FLOOD_TO").parse().expect("an address");
    // Before there are threads, so that they have it too.
    let _ = rustix::process::nice(19);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let target = Target::at(Path::new(&home), to, "");
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&stop);
    std::thread::spawn(move || {
        // The parent closes it, or is gone.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        ended.store(true, Ordering::SeqCst);
    });
    let mut floods = floods().into_iter();
    let (_, count, flood) = floods.find(|(one, ..)| *one == name).expect("a flood");
    let connections = Arc::clone(&target.connections);
    let saw = runtime.block_on(async move {
        let mut flooding = JoinSet::new();
        for number in 0..count {
            flooding.spawn(flood(target.clone(), number, Arc::clone(&stop)));
        }
        let mut saw = BTreeMap::<String, usize>::new();
        while let Some(one) = flooding.join_next().await {
            *saw.entry(one.expect("a flood ends")).or_default() += 1;
        }
        saw
    });
    eprintln!("{SAID}{} {saw:?}", connections.load(Ordering::SeqCst));
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
