//! The model test: random commands of several callers, with faults, crashes and time in between,
//! against a simple model of what the vault promises.
//!
//! | file | what |
//! |---|---|
//! | `ops` | a seed's list of operations, each whole in itself |
//! | `line` | the store between: holds rounds, fails, is cut; and the planted bugs |
//! | `world` | the vault under test and what can be seen of it from outside |
//! | `spec` | the promises |
//! | `play` | plays a list and holds every answer against the promises |
//! | `shrink` | makes a failing list short |
//! | `crowd` | many callers at once, on threads |
//! | `history` | whether what they saw of a counter has an order |
//!
//! `PAYVAULT_SEED=n` plays one seed again, `PAYVAULT_KEEP=3,17/0.2` only these of its operations.
//! `PAYVAULT_LONG=1` takes minutes, `PAYVAULT_MODEL_SECONDS=3600` as long as it says.

mod crowd;
mod history;
mod line;
mod ops;
mod play;
mod shrink;
mod spec;
mod world;

use line::Bug;
use ops::{Engine, plan};
use play::{Setup, Tally, Violation, play};
use shrink::{Part, shrink, taken, whole};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
pub use world::fill;

/// Operations of one seed: a few seeds are long.
fn steps(seed: u64) -> usize {
    match seed % 6 {
        0 => 400,
        _ => 140,
    }
}

/// Lists that are tried to make a failing one short.
const PLAYS_MAX: u32 = 300;
/// Seeds at once: most of the time is spent waiting for marks.
const THREADS: u64 = 8;

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(_) => panic!("{name}={text} is not understood"),
    }
}

fn setup(engine: Engine) -> Setup {
    Setup {
        engine,
        bug: Bug::None,
        watch_the_disk: true,
    }
}

/// What a failure looks like to whoever has to look into it.
fn report(seed: u64, ops: &[ops::Op], parts: &[Part], violation: &Violation) -> String {
    let mut text = format!("seed {seed}: {}\n", violation.what);
    for (part, op) in parts.iter().zip(taken(ops, parts)) {
        text.push_str(&format!("  {:>4}  {op:?}\n", part.place));
    }
    text.push_str(&format!(
        "play it again: PAYVAULT_SEED={seed} PAYVAULT_KEEP={} cargo test --locked --test vault model::the_vault -- --nocapture\n",
        shrink::write(parts)
    ));
    text
}

/// Every eighth seed is a crowd's.
fn is_crowded(seed: u64) -> bool {
    seed % 8 == 3
}

/// Plays one seed; a failure comes back short.
fn one(seed: u64) -> Result<Tally, String> {
    if is_crowded(seed) {
        let engine = if seed % 64 == 3 && ops::on_disk_too() {
            Engine::Sled
        } else {
            Engine::Memory
        };
        return crowd::run(seed, engine, Bug::None)
            .map_err(|what| format!("PAYVAULT_SEED={seed}, a crowd on {engine:?}: {what}"));
    }
    let plan = plan(seed, steps(seed));
    let setup = setup(plan.engine);
    let parts = match std::env::var("PAYVAULT_KEEP") {
        Ok(text) => shrink::read(&text).expect("places in the list"),
        Err(_) => whole(&plan.ops),
    };
    let violation = match play(&taken(&plan.ops, &parts), setup) {
        Ok(tally) => return Ok(tally),
        Err(violation) => violation,
    };
    println!(
        "seed {seed} fails at operation {}: {}",
        violation.at, violation.what
    );
    let (parts, violation) = shrink(&plan.ops, parts, setup, violation, PLAYS_MAX);
    Err(report(seed, &plan.ops, &parts, &violation))
}

/// Plays seeds from `first` on until `enough`, on several threads.
fn many(first: u64, enough: impl Fn(u64) -> bool + Sync) -> (u64, Tally, Vec<String>) {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new((0, Tally::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if enough(number) {
                        return;
                    }
                    let seed = first.wrapping_add(number);
                    let played = one(seed);
                    let mut sum = sum.lock().expect("the sum");
                    match played {
                        Ok(tally) => {
                            sum.0 += 1;
                            sum.1.add(&tally);
                            if sum.0 % 100 == 0 {
                                let seconds = began.elapsed().as_secs();
                                let said = say(first, sum.0, &sum.1, sum.2.len());
                                println!("{seconds} s: {said}");
                            }
                        }
                        Err(text) => {
                            println!("{text}");
                            sum.2.push(text);
                            // The first few tell enough.
                            stop.store(sum.2.len() >= 3, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    sum.into_inner().expect("the sum")
}

fn say(first: u64, seeds: u64, tally: &Tally, violations: usize) -> String {
    format!(
        "{seeds} seeds from {first}; {} operations, {} rounds; {:?}; commits and reopenings that failed by order: {:?}; answers: {:?}; violations: {violations}",
        tally.operations, tally.commits, tally.by_kind, tally.failed, tally.answers
    )
}

#[test]
fn the_vault_does_what_the_model_does() {
    let (first, count) = match from_environment("PAYVAULT_SEED") {
        Some(seed) => (seed, 1),
        None => {
            let fresh = u64::from_be_bytes(payvault::ids::random());
            let long = std::env::var_os("PAYVAULT_LONG").is_some();
            (fresh, if long { 1_000 } else { 16 })
        }
    };
    let time = from_environment("PAYVAULT_MODEL_SECONDS").map(Duration::from_secs);
    println!("PAYVAULT_SEED={first}");
    let began = Instant::now();
    let (seeds, tally, wrong) = match time {
        Some(time) => many(first, |_| began.elapsed() > time),
        None => many(first, |number| number >= count),
    };
    println!(
        "{} s: {}",
        began.elapsed().as_secs(),
        say(first, seeds, &tally, wrong.len())
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Plays fixed seeds until one fails as `telling` says, and makes its list short.
fn caught(bug: Bug, watch_the_disk: bool, telling: &str) {
    let setup = Setup {
        engine: Engine::Memory,
        bug,
        watch_the_disk,
    };
    for seed in 1..60 {
        let ops = plan(seed, 40).ops;
        let violation = match play(&ops, setup) {
            Err(violation) if violation.what.contains(telling) => violation,
            // A bug has many faces.
            _ => continue,
        };
        let (parts, violation) = shrink(&ops, whole(&ops), setup, violation, PLAYS_MAX);
        println!("{bug:?}: {}", report(seed, &ops, &parts, &violation));
        assert!(
            (1..=12).contains(&parts.len()),
            "{} operations",
            parts.len()
        );
        assert!(
            play(
                &taken(&ops, &parts),
                Setup {
                    bug: Bug::None,
                    ..setup
                }
            )
            .is_ok()
        );
        return;
    }
    panic!("{bug:?} was not caught");
}

#[test]
fn an_answer_before_its_entry_is_caught() {
    // By whoever looks at the disk when the answer is there, and by what a crash leaves.
    caught(
        Bug::EntryAfterTheReply,
        true,
        "before its entry was on the disk",
    );
    caught(Bug::EntryAfterTheReply, false, "missing");
}

#[test]
fn a_skipped_flush_is_caught() {
    caught(Bug::FlushSkipped, false, "missing");
}

#[test]
fn uses_that_are_checked_outside_of_the_commit_are_caught() {
    caught(Bug::UsesOutsideTheCommit, true, "are burned");
}
