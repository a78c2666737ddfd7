//! What was acknowledged is never lost, not by a power cut. A child process commits under a library
//! that watches every write (`cut.c`); at a random one the files are made to look as a disk may look
//! after the power went, and the child dies. Another child then opens what is left and compares it,
//! row by row, with what the acknowledged rounds had written.
//!
//! | file | what |
//! |---|---|
//! | `cut.c` | the power cut, and the model of the disk behind it |
//! | `children.rs` | starting this test binary again as a child, with or without the cut |
//! | `bare_store.rs` | a child's work on the store alone: the rounds, and the comparison |
//! | `whole_vault.rs` | a child's work on committer, keyring, mark and store together |
//!
//! `PAYVAULT_CUTS` sets the number of cuts and `PAYVAULT_SEED` repeats a run; each test prints both.
//! A child's work is one entry in [`SUBJECTS`], so another (the committer, say) is one more line.

mod bare_store;
mod children;
mod whole_vault;

use children::{Cut, Life, Lived, Place, Verdict, cutter};
use payvault::store::mark::{Mark, MarkFile};
use payvault::store::{EngineKind, EngineOptions, StoreError};
use std::path::Path;

/// What a child can be told to do, by name.
const SUBJECTS: &[children::Subject] = &[
    children::Subject {
        name: "store",
        live: bare_store::live,
        check: bare_store::check,
    },
    children::Subject {
        name: "vault",
        live: whole_vault::live,
        check: whole_vault::check,
    },
];

/// Lives of one store, each ended by a cut: recovery is cut as well.
const LIVES_OF_A_STORE: u64 = 4;
/// A child that was not cut by then ends by itself.
const ROUNDS_OF_A_LIFE: u64 = 150;
/// Cuts come at a write up to this one: a life of sled has about three a round, one of redb about
/// twenty, a write for each page.
fn cut_at_max(engine: EngineKind) -> u64 {
    match engine {
        EngineKind::Sled => 300,
        EngineKind::Redb => 2_000,
    }
}

/// Every third cut comes among the first writes, where a store is made or recovered.
const OPENING_WRITES: u64 = 30;

/// Not a test of its own: what this binary does when it was started again as a child.
#[test]
fn child() {
    children::run(SUBJECTS);
}

/// Makes each function a test of each engine.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        mod sled {
            $(#[test] fn $test() { super::$test(payvault::store::EngineKind::Sled); })*
        }
        mod redb {
            $(#[test] fn $test() { super::$test(payvault::store::EngineKind::Redb); })*
        }
    };
}

on_each_engine!(
    no_acknowledged_round_is_lost_by_a_power_cut,
    no_acknowledged_token_is_lost_by_a_power_cut,
    a_start_may_be_cut_at_each_of_its_writes,
    without_the_barrier_rounds_are_lost,
    a_failed_sync_or_write_loses_no_acknowledged_round,
);

fn no_acknowledged_round_is_lost_by_a_power_cut(engine: EngineKind) {
    let Some(cutter) = cutter() else { return };
    let cuts = setting("PAYVAULT_CUTS").unwrap_or(30);
    let mut seeds = Seeds::new("no_acknowledged_round_is_lost_by_a_power_cut", engine, cuts);
    let (mut done, mut rounds, mut unbroken) = (0, 0, 0u64);
    while done < cuts {
        let place = Place::of(engine);
        // What is written, and how long the journal's files get.
        let content = seeds.next();
        let mut held = 0;
        for _ in 0..LIVES_OF_A_STORE.min(cuts - done) {
            let seed = seeds.next();
            let bound = if seed.is_multiple_of(3) {
                OPENING_WRITES
            } else {
                cut_at_max(engine)
            };
            let cut = Cut::at(1 + seed / 3 % bound, seed);
            let life = Life::of("store", &place, content, ROUNDS_OF_A_LIFE);
            let lived = lived_under(&life, cutter, &cut);
            held = expect_whole(&life, held.max(lived.acknowledged), &cut.to_string());
            done += u64::from(lived.was_cut);
            unbroken += u64::from(!lived.was_cut);
        }
        rounds += held;
    }
    println!(
        "{engine}: {cuts} cuts, {unbroken} lives without one, {rounds} rounds held, none lost"
    );
}

/// The same through committer, keyring and mark: every token that a caller was told of redeems after
/// the cut, and the vault opens without complaint.
fn no_acknowledged_token_is_lost_by_a_power_cut(engine: EngineKind) {
    let Some(cutter) = cutter() else { return };
    let cuts = setting("PAYVAULT_CUTS").unwrap_or(30);
    let mut seeds = Seeds::new("no_acknowledged_token_is_lost_by_a_power_cut", engine, cuts);
    let (mut done, mut unbroken, mut held) = (0, 0u64, 0);
    while done < cuts {
        let place = Place::of(engine);
        let first = Life::of("vault", &place, seeds.first, 0).live_uncut();
        assert!(first.ended_well, "{}", first.said);
        let mut told = 0;
        for _ in 0..LIVES_OF_A_STORE.min(cuts - done) {
            let seed = seeds.next();
            // The more callers at once, the fewer writes: they share rounds.
            let most = cut_at_max(engine);
            let writes = (8 * most / whole_vault::clients(seed)).clamp(2 * OPENING_WRITES, most);
            let cut = Cut::at(1 + seed % writes, seed);
            let life = Life::of("vault", &place, seed, ROUNDS_OF_A_LIFE * 2);
            let lived = lived_under(&life, cutter, &cut);
            told += lived.acknowledged;
            match life.check() {
                Verdict::Holds(count) if count >= told => held += lived.acknowledged,
                other => {
                    let kept = life.keep();
                    panic!("{cut}: {told} were told, but {other:?}; kept in {kept:?}")
                }
            }
            done += u64::from(lived.was_cut);
            unbroken += u64::from(!lived.was_cut);
        }
    }
    println!("{engine}: {cuts} cuts, {unbroken} lives without one, {held} tokens held, none lost");
}

/// A start writes too: recovery tidies up, and what it takes away must not be needed by what a cut
/// leaves. Each of its writes is cut, from the same files, which were cut themselves.
fn a_start_may_be_cut_at_each_of_its_writes(engine: EngineKind) {
    let Some(cutter) = cutter() else { return };
    let cuts = setting("PAYVAULT_CUTS").unwrap_or(30);
    let mut seeds = Seeds::new("a_start_may_be_cut_at_each_of_its_writes", engine, cuts);
    let (mut done, mut starts) = (0, 0u64);
    while done < cuts {
        let place = Place::of(engine);
        let content = seeds.next();
        let cut = Cut::at(
            OPENING_WRITES + seeds.next() % cut_at_max(engine),
            seeds.next(),
        );
        let before = Life::of("store", &place, content, ROUNDS_OF_A_LIFE);
        let told = lived_under(&before, cutter, &cut).acknowledged;
        // A round may be durable that nobody heard of.
        let untouched = place.copy();
        let held = expect_whole(&before, told, &cut.to_string());
        starts += 1;
        for at in 1..=OPENING_WRITES.min(cuts - done) {
            let again = untouched.copy();
            let cut = Cut::at(at, seeds.next());
            let start = Life::of("store", &again, content, 1);
            let lived = lived_under(&start, cutter, &cut);
            expect_whole(&start, held.max(lived.acknowledged), &cut.to_string());
            if !lived.was_cut {
                break;
            }
            done += 1;
        }
    }
    println!("{engine}: {cuts} cuts of {starts} starts, nothing lost");
}

/// The proof that the tests above can fail, and that the syncs are what makes them pass.
fn without_the_barrier_rounds_are_lost(engine: EngineKind) {
    if !cfg!(any(debug_assertions, feature = "fault-injection")) {
        println!("skipped: this build can't weaken the barrier (feature fault-injection)");
        return;
    }
    let Some(cutter) = cutter() else { return };
    // All sixty only when somebody asked for figures.
    let stop_at_first = setting("PAYVAULT_CUTS").is_none();
    let cuts = 60;
    let mut seeds = Seeds::new("without_the_barrier_rounds_are_lost", engine, cuts);
    let (mut empty, mut older, mut broken, mut done) = (0u32, 0u32, 0u32, 0u32);
    while u64::from(done) < cuts {
        let place = Place::of(engine);
        let seed = seeds.next();
        let cut = Cut::at(1 + seed % cut_at_max(engine), seed);
        let life = Life::of("store", &place, seeds.first, ROUNDS_OF_A_LIFE).without_barrier();
        let lived = life.live(cutter, Some(&cut));
        if !lived.was_cut {
            continue;
        }
        done += 1;
        match life.check() {
            Verdict::Holds(0) if lived.acknowledged > 0 => empty += 1,
            Verdict::Holds(round) if round < lived.acknowledged => older += 1,
            Verdict::Holds(_) => {}
            Verdict::Broken(_) | Verdict::Unopenable(_) => broken += 1,
        }
        if stop_at_first && empty + older + broken > 0 {
            break;
        }
    }
    // Most that are empty or older contradict their mark, which is how a vault would notice.
    println!(
        "{engine}: {done} cuts without the barrier: {empty} empty, {older} older, \
         {broken} unopenable or other than their mark says"
    );
    assert!(empty + older + broken > 0, "the cut harms nobody");
}

/// The engine's own answers to failing system calls: each round is settled and the store goes on.
fn a_failed_sync_or_write_loses_no_acknowledged_round(engine: EngineKind) {
    let Some(cutter) = cutter() else { return };
    let lives = setting("PAYVAULT_CUTS").unwrap_or(30).div_ceil(3);
    let mut seeds = Seeds::new(
        "a_failed_sync_or_write_loses_no_acknowledged_round",
        engine,
        lives,
    );
    let mut settled = 0;
    for n in 0..lives {
        let place = Place::of(engine);
        let seed = seeds.next();
        let fault = if n % 2 == 0 {
            Cut::failed_sync(1 + seed % 180, seed)
        } else {
            Cut::failed_write(1 + seed % (cut_at_max(engine) * 3 / 5), seed)
        };
        let life = Life::of("store", &place, seeds.first, ROUNDS_OF_A_LIFE);
        let lived = life.live(cutter, Some(&fault));
        assert!(lived.ended_well, "{fault}: {}", lived.said);
        assert_eq!(lived.acknowledged, ROUNDS_OF_A_LIFE, "{fault}");
        settled += lived.settled;
        expect_whole(&life, lived.acknowledged, &fault.to_string());
    }
    println!("{engine}: {lives} faults, {settled} rounds settled after one");
    assert!(settled > 0, "no fault ever reached a commit");
}

/// What a power cut did to databases without the barrier: the file is there, and empty.
#[test]
fn an_emptied_file_is_noticed_by_the_mark() {
    let place = Place::of(EngineKind::Sled);
    let life = Life::of("store", &place, 7, 20);
    let lived = life.live_uncut();
    assert_eq!(lived.acknowledged, 20, "{}", lived.said);
    let mark = Mark {
        vault: payvault::ids::VaultId::random(),
        epoch: 1,
        size: 20,
        root: [1; 32],
        keyring_generation: 1,
        note: "note".to_owned(),
    };
    MarkFile::open(&place.data()).unwrap().write(&mark).unwrap();

    let db = place.store();
    std::fs::write(db.join("db"), b"").unwrap();
    for entry in std::fs::read_dir(&db).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let open = || EngineKind::Sled.open(&db, EngineOptions::default());
    assert!(
        matches!(open().err(), Some(StoreError::Damaged(_))),
        "the journal knows of rounds"
    );
    for name in ["journal.0", "journal.1"] {
        std::fs::write(db.join(name), b"").unwrap();
    }
    let store = open().unwrap();
    assert_eq!(store.is_empty(), Ok(true), "nothing in the store knows");
    let file = MarkFile::open(&place.data()).unwrap();
    assert_eq!(file.read(), Some(&mark), "the mark tells what is missing");
}

/// Lives until it is cut or done; it does not end in any other way.
fn lived_under(life: &Life<'_>, cutter: &Path, cut: &Cut) -> Lived {
    let lived = life.live(cutter, Some(cut));
    assert!(
        lived.was_cut || lived.ended_well,
        "a child failed by itself: {}",
        lived.said
    );
    lived
}

/// The store opens, is exactly some round's state, and that round is none before `acknowledged` and
/// at most the one that was under way. Returns the round.
fn expect_whole(life: &Life<'_>, acknowledged: u64, cut: &str) -> u64 {
    match life.check() {
        Verdict::Holds(round) if (acknowledged..=acknowledged + 1).contains(&round) => round,
        other => {
            let kept = life.keep();
            panic!("{cut}: {acknowledged} was acknowledged, but {other:?}; kept in {kept:?}")
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// Seeds of the lives of one test, from `PAYVAULT_SEED` or the clock.
struct Seeds {
    first: u64,
    state: u64,
}

impl Seeds {
    fn new(test: &str, engine: EngineKind, cuts: u64) -> Seeds {
        let first = setting("PAYVAULT_SEED").unwrap_or_else(|| {
            let [a, b, c, d] = payvault::ids::random::<4>();
            u64::from(u32::from_be_bytes([a, b, c, d]))
        });
        println!("{test} of {engine}: PAYVAULT_SEED={first} PAYVAULT_CUTS={cuts}");
        // Each test goes its own way from the same seed.
        let own = test.bytes().fold(first, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        Seeds { first, state: own }
    }

    fn next(&mut self) -> u64 {
        // Fits the C library's and the environment's numbers.
        bare_store::Chance::step(&mut self.state) >> 16
    }
}
