//! A child's work on the store alone. What a round writes follows from the seed and its number, so
//! the state after any round can be computed again and compared row by row.

use crate::children::{Orders, Verdict, acknowledged, settled, store_in};
use payvault::ids::VaultId;
use payvault::keys::Sealed;
use payvault::store::mark::{Mark, MarkFile};
use payvault::store::{
    CommitError, EngineOptions, HEAD_KEY, Key, RoundId, Settled, Store, StoreError, StoredValue,
    WriteSet,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rounds whose pages are kept; older ones are deleted, so that the engine reuses its file.
const PAGES_KEPT_ROUNDS: u64 = 12;
/// Every so many rounds, the high-water mark follows.
const MARK_ROUNDS: u64 = 5;

/// Commits `orders.rounds` rounds beyond those that are there.
pub fn live(orders: &Orders) {
    // A fault comes once: when it comes while opening, opening again must do.
    let mut store = open(orders)
        .or_else(|error| {
            eprintln!("refused to open: {error}");
            open(orders)
        })
        .expect("the store opens");
    let first = 1 + head(store.as_ref()).expect("the head is read");
    // The cut may have come between a commit and its mark.
    let due = (first - 1) / MARK_ROUNDS * MARK_ROUNDS;
    if due > 0 {
        mark(orders, due);
    }
    for round in first..first + orders.rounds {
        let writes = write_set(orders.seed, round);
        while !commit(store.as_mut(), round, &writes) {}
        if round.is_multiple_of(MARK_ROUNDS) {
            // As the vault does: after the commit, before anybody hears of it.
            mark(orders, round);
        }
        acknowledged(round);
    }
}

fn mark(orders: &Orders, round: u64) {
    let mark = Mark {
        vault: VaultId([1; 16]),
        epoch: 1,
        size: round,
        root: [round as u8; 32],
        keyring_generation: 1,
        note: "note ".repeat(20 + (round % 40) as usize),
    };
    // A fault comes once; a mark that failed is written again.
    let mut file = MarkFile::open(&orders.data).expect("the mark is read");
    file.write(&mark)
        .or_else(|_| file.write(&mark))
        .expect("the mark is written");
}

/// Tries a round; whether it is durable now.
fn commit(store: &mut dyn Store, round: u64, writes: &WriteSet) -> bool {
    let id = RoundId::random();
    let begun = store.begin().map(|begun| begun.commit(id, writes));
    let tried = match begun {
        Ok(tried) => tried,
        Err(StoreError::Closed(why)) => {
            // It failed on the way into the engine, between two rounds. A fault comes once, but it
            // may come again while the store is reopened.
            let again = match store.reopen() {
                Ok(()) => Ok(()),
                Err(_) => store.reopen(),
            };
            again.expect("the store is reopened");
            settled(round, &format!("nothing was under way: {why}"));
            return false;
        }
        Err(error) => panic!("the store does not begin: {error}"),
    };
    match tried {
        Ok(()) => true,
        Err(CommitError::Full) => {
            std::thread::sleep(Duration::from_millis(10));
            false
        }
        Err(CommitError::Unknown(why)) => {
            // A fault comes once, but it may come while the store is reopened.
            let outcome = store.settle(id).or_else(|_| store.settle(id));
            let outcome = outcome.expect("a round can be settled");
            settled(round, &format!("{outcome:?} after {why}"));
            outcome == Settled::Committed
        }
        Err(other) => panic!("{other}"),
    }
}

/// Compares the store with the state after the round that its head names.
pub fn check(orders: &Orders) -> Verdict {
    let store = match open(orders) {
        Ok(store) => store,
        Err(error) => return Verdict::Unopenable(error.to_string()),
    };
    let compared = head(store.as_ref()).and_then(|round| {
        let found = rows(store.as_ref())?;
        Ok((round, difference(&state_after(orders.seed, round), &found)))
    });
    match compared {
        Ok((round, None)) => match misplaced_mark(orders, round) {
            None => Verdict::Holds(round),
            Some(what) => Verdict::Broken(format!("as of round {round}, {what}")),
        },
        Ok((round, Some(what))) => Verdict::Broken(format!("as of round {round}, {what}")),
        Err(error) => Verdict::Unopenable(error.to_string()),
    }
}

/// The mark is that of some round between the last whose mark was written before `round` began,
/// and `round` itself.
fn misplaced_mark(orders: &Orders, round: u64) -> Option<String> {
    let least = round.saturating_sub(1) / MARK_ROUNDS * MARK_ROUNDS;
    match MarkFile::open(&orders.data) {
        Err(error) => Some(error.to_string()),
        Ok(file) => {
            let size = file.read().map_or(0, |mark| mark.size);
            (!(least..=round).contains(&size)).then(|| format!("the mark says {size}"))
        }
    }
}

fn open(orders: &Orders) -> Result<Box<dyn Store>, StoreError> {
    let options = EngineOptions {
        // Small, so that pages are written out and read back.
        cache_bytes: 1 << 20,
        ..EngineOptions::default()
    };
    orders.engine.open(&store_in(&orders.data), options)
}

/// The round that the head names; 0 without a head.
fn head(store: &dyn Store) -> Result<u64, StoreError> {
    let row = store.reader().get_many(&[HEAD_KEY.to_vec()])?.remove(0);
    Ok(row.map_or(0, |value| {
        let end = value.len() - 16;
        u64::from_be_bytes(value[end - 8..end].try_into().unwrap())
    }))
}

/// Every row but the store's own.
fn rows(store: &dyn Store) -> Result<BTreeMap<Key, Vec<u8>>, StoreError> {
    let reader = store.reader();
    let (mut from, mut all) = (vec![0], BTreeMap::new());
    loop {
        let some = reader.scan(&from, &[0xff], 500)?;
        let Some((last, _)) = some.last() else {
            all.retain(|key: &Key, _| key[0] != b'I');
            return Ok(all);
        };
        from = [last.as_slice(), &[0]].concat();
        all.extend(some);
    }
}

fn difference(expected: &BTreeMap<Key, Vec<u8>>, found: &BTreeMap<Key, Vec<u8>>) -> Option<String> {
    let missing = expected.keys().filter(|key| !found.contains_key(*key));
    let extra = found.keys().filter(|key| !expected.contains_key(*key));
    let other = expected
        .iter()
        .filter(|(key, value)| found.get(*key).is_some_and(|there| there != *value));
    let counts = (missing.count(), extra.count(), other.count());
    (counts != (0, 0, 0)).then(|| {
        let (missing, extra, other) = counts;
        format!("{missing} rows are missing, {extra} too many, {other} differ")
    })
}

fn state_after(seed: u64, round: u64) -> BTreeMap<Key, Vec<u8>> {
    let mut state = BTreeMap::new();
    for round in 1..=round {
        for (key, value) in write_set(seed, round).iter() {
            match value {
                Some(value) => state.insert(key.to_vec(), value.to_vec()),
                None => state.remove(key),
            };
        }
    }
    state
}

/// What round `round` writes: the head, up to 63 other rows (sometimes hundreds), and the removal of
/// an old round's pages.
fn write_set(seed: u64, round: u64) -> WriteSet {
    let mut chance = Chance::of(seed, round);
    let mut writes = WriteSet::new();
    let put = |writes: &mut WriteSet, key: Key, value: StoredValue| {
        writes.put(key, value).expect("the row is allowed");
    };
    put(
        &mut writes,
        HEAD_KEY.to_vec(),
        sealed(&round.to_be_bytes(), 8),
    );
    for row in 0..pages(seed, round) {
        let value = chance.bytes(round);
        put(
            &mut writes,
            page_key(round, row),
            StoredValue::Public(value),
        );
    }
    for _ in 0..chance.below(16) {
        // Few keys, written again and again.
        let key = [b"X".as_slice(), &[chance.below(24) as u8; 16], b"s"].concat();
        let length = 8 + chance.below(1500) as usize;
        put(&mut writes, key, sealed(&round.to_be_bytes(), length));
    }
    if let Some(old) = round.checked_sub(PAGES_KEPT_ROUNDS).filter(|old| *old > 0) {
        for row in 0..pages(seed, old) {
            writes.delete(page_key(old, row)).expect("a key is allowed");
        }
    }
    writes
}

/// Pages that a round writes.
fn pages(seed: u64, round: u64) -> u64 {
    let mut chance = Chance::of(!seed, round);
    match chance.below(20) {
        0 => 400,
        1..=9 => 1 + chance.below(3),
        _ => chance.below(48),
    }
}

fn page_key(round: u64, row: u64) -> Key {
    [b"E".as_slice(), &round.to_be_bytes(), &row.to_be_bytes()].concat()
}

/// The shape of a sealed value, with `content` repeated to `length` bytes.
fn sealed(content: &[u8], length: usize) -> StoredValue {
    let mut bytes = b"PV\x01\x01\0\0\0\x01".to_vec();
    bytes.extend([0; 12]);
    bytes.extend(content.iter().cycle().take(length));
    bytes.extend([0; 16]);
    StoredValue::Sealed(Sealed::from_stored(bytes).expect("the shape of a sealed value"))
}

/// Chance that repeats itself (splitmix64).
pub struct Chance(u64);

impl Chance {
    fn of(seed: u64, round: u64) -> Chance {
        let mut state = seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Chance(Chance::step(&mut state))
    }

    /// The next number.
    pub fn step(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        Chance::step(&mut self.0) % bound
    }

    /// A value: mostly small, now and then as large as one may be.
    fn bytes(&mut self, round: u64) -> Vec<u8> {
        let length = match self.below(16) {
            0 => 7_000,
            1 | 2 => 1 + self.below(4_000),
            _ => 1 + self.below(500),
        };
        (0..length).map(|n| (n ^ round) as u8).collect()
    }
}
