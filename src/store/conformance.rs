//! The contract of [`Store`], as tests that every engine must pass. A bench opens a store over
//! something that outlives it and makes its next commit fail.

use super::*;
use crate::keys::Sealed;
use crate::limits::{SCAN_ROWS_MAX, VALUE_BYTES_MAX};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A place for one store, and faults.
pub(super) trait Bench {
    type Store: Store;

    /// Opens what is durable.
    fn open(&self) -> Self::Store;

    /// Makes the next commit of `store` fail once it has got so far.
    fn fail_next_commit(&self, store: &Self::Store, at: FailAt);
}

/// How far a failing commit gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FailAt {
    /// Nothing was written.
    Nothing,
    /// Applied, and not known to be durable.
    Applied,
    /// Durable, but the answer is lost.
    Durable,
}

/// Runs the whole suite, each test on a fresh bench.
pub(super) fn check<B: Bench>(bench: impl Fn() -> B) {
    a_round_is_read_back_by_everyone_and_after_opening_again(&bench());
    a_round_that_is_dropped_changes_nothing(&bench());
    reads_answer_in_the_order_of_the_keys(&bench());
    a_later_round_overwrites_and_deletes(&bench());
    floor_finds_the_greatest_key_not_above_and_stays_in_its_space(&bench());
    scan_is_ordered_half_open_and_bounded(&bench());
    a_round_past_the_limits_writes_nothing_and_fences_nothing(&bench());
    settle_tells_the_last_round_from_others(&bench());
    for at in [FailAt::Nothing, FailAt::Applied, FailAt::Durable] {
        a_failed_commit_fences_until_reopened_and_is_whole_or_absent(&bench(), at);
    }
    a_store_is_empty_until_it_has_a_head(&bench());
    a_reader_never_sees_half_a_round(&bench());
}

/// A value of a page, told apart by `n`; its length differs too.
pub(super) fn page(n: u8) -> Vec<u8> {
    vec![n; 10 + usize::from(n)]
}

/// A value with the shape of a sealed one.
pub(super) fn sealed(n: u8) -> StoredValue {
    let bytes = [b"PV\x01\x01\0\0\0\x01".as_slice(), &[n; 60]].concat();
    StoredValue::Sealed(Sealed::from_stored(bytes).expect("the shape of a sealed value"))
}

/// Commits rows: pages in the spaces that take them, sealed values elsewhere.
pub(super) fn commit(
    store: &mut impl Store,
    id: u8,
    rows: &[(&[u8], u8)],
) -> Result<(), CommitError> {
    let mut writes = WriteSet::new();
    for (key, n) in rows {
        let value = match key[0] {
            space::ENTRIES | space::TILES => StoredValue::Public(page(*n)),
            _ => sealed(*n),
        };
        writes.put(key.to_vec(), value).unwrap();
    }
    let round = store
        .begin()
        .map_err(|e| CommitError::Fatal(e.to_string()))?;
    round.commit(RoundId([id; 16]), &writes)
}

fn get(store: &impl Store, key: &[u8]) -> Option<Vec<u8>> {
    store.reader().get_many(&[key.to_vec()]).unwrap().remove(0)
}

fn a_round_is_read_back_by_everyone_and_after_opening_again<B: Bench>(bench: &B) {
    let mut store = bench.open();
    let reader = store.reader();
    commit(&mut store, 1, &[(b"E1", 1), (b"X1s", 2)]).unwrap();
    let keys = [b"E1".to_vec(), b"X1s".to_vec()];
    let expected = vec![Some(page(1)), Some(sealed(2).as_bytes().to_vec())];
    assert_eq!(reader.get_many(&keys).unwrap(), expected);
    assert_eq!(store.begin().unwrap().read_many(&keys).unwrap(), expected);
    drop((store, reader));
    assert_eq!(bench.open().reader().get_many(&keys).unwrap(), expected);
}

fn a_round_that_is_dropped_changes_nothing<B: Bench>(bench: &B) {
    let mut store = bench.open();
    let mut round = store.begin().unwrap();
    assert_eq!(round.read_many(&[b"E1".to_vec()]).unwrap(), [None]);
    drop(round);
    assert_eq!(store.settle(RoundId([1; 16])).unwrap(), Settled::Absent);
    commit(&mut store, 2, &[(b"E2", 1)]).unwrap();
    assert_eq!(get(&store, b"E1"), None);
}

fn reads_answer_in_the_order_of_the_keys<B: Bench>(bench: &B) {
    let mut store = bench.open();
    commit(&mut store, 1, &[(b"E1", 1), (b"E2", 2), (b"E3", 3)]).unwrap();
    let keys = [
        b"E3".to_vec(),
        b"E9".to_vec(),
        b"E1".to_vec(),
        b"E3".to_vec(),
    ];
    let expected = vec![Some(page(3)), None, Some(page(1)), Some(page(3))];
    assert_eq!(store.reader().get_many(&keys).unwrap(), expected);
    assert_eq!(store.begin().unwrap().read_many(&keys).unwrap(), expected);
    assert!(store.reader().get_many(&[]).unwrap().is_empty());
}

fn a_later_round_overwrites_and_deletes<B: Bench>(bench: &B) {
    let mut store = bench.open();
    commit(&mut store, 1, &[(b"E1", 1), (b"E2", 2)]).unwrap();
    let mut writes = WriteSet::new();
    writes
        .put(b"E1".to_vec(), StoredValue::Public(page(9)))
        .unwrap();
    writes.delete(b"E2".to_vec()).unwrap();
    writes.delete(b"E3".to_vec()).unwrap();
    let round = store.begin().unwrap();
    round.commit(RoundId([2; 16]), &writes).unwrap();
    for _ in 0..2 {
        assert_eq!(get(&store, b"E1"), Some(page(9)));
        assert_eq!(get(&store, b"E2"), None);
        assert_eq!(get(&store, b"E3"), None);
        store.reopen().unwrap();
    }
}

fn floor_finds_the_greatest_key_not_above_and_stays_in_its_space<B: Bench>(bench: &B) {
    let mut store = bench.open();
    let rows: &[(&[u8], u8)] = &[
        (b"E\x00\x05", 1),
        (b"E\x01\x00", 2),
        (b"H", 3),
        (b"A\xff\xff", 4),
        (b"T\x00", 5),
    ];
    commit(&mut store, 1, rows).unwrap();
    let reader = store.reader();
    let floor = |space: u8, key: &[u8]| {
        let found = reader.floor(space, key).unwrap();
        found.map(|(key, value)| (key, value.len()))
    };
    assert_eq!(floor(b'E', b"\x00\x04"), None);
    assert_eq!(
        floor(b'E', b"\x00\x05"),
        Some((b"E\x00\x05".to_vec(), page(1).len()))
    );
    assert_eq!(
        floor(b'E', b"\x00\xff\xff"),
        Some((b"E\x00\x05".to_vec(), page(1).len()))
    );
    assert_eq!(
        floor(b'E', b"\xff"),
        Some((b"E\x01\x00".to_vec(), page(2).len()))
    );
    assert_eq!(floor(b'P', b"\xff"), None);
    assert_eq!(floor(b'H', b"").map(|(key, _)| key), Some(b"H".to_vec()));
}

fn scan_is_ordered_half_open_and_bounded<B: Bench>(bench: &B) {
    let mut store = bench.open();
    let count = SCAN_ROWS_MAX as u32 + 76;
    let key = |n: u32| [b"E".as_slice(), &n.to_be_bytes()].concat();
    let mut writes = WriteSet::new();
    for n in (0..count).rev() {
        writes
            .put(key(n), StoredValue::Public(n.to_be_bytes().to_vec()))
            .unwrap();
    }
    let round = store.begin().unwrap();
    round.commit(RoundId([1; 16]), &writes).unwrap();
    let reader = store.reader();

    let some = reader.scan(&key(3), &key(7), 100).unwrap();
    let keys: Vec<Key> = some.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(keys, [key(3), key(4), key(5), key(6)]);
    assert_eq!(some[0].1, 3u32.to_be_bytes());
    assert_eq!(reader.scan(&key(3), &key(7), 2).unwrap().len(), 2);
    assert!(reader.scan(&key(7), &key(7), 2).unwrap().is_empty());
    assert!(reader.scan(&key(8), &key(7), 2).unwrap().is_empty());
    assert!(reader.scan(&key(0), &key(7), 0).unwrap().is_empty());

    // A whole space, page by page, as the contract says.
    let (mut from, mut seen) = (b"E".to_vec(), Vec::new());
    loop {
        let rows = reader.scan(&from, b"F", usize::MAX).unwrap();
        let full = rows.len() == SCAN_ROWS_MAX;
        seen.extend(rows.into_iter().map(|(key, _)| key));
        if !full {
            break;
        }
        from = [seen.last().unwrap().as_slice(), &[0]].concat();
    }
    assert_eq!(seen, (0..count).map(key).collect::<Vec<_>>());
}

fn a_round_past_the_limits_writes_nothing_and_fences_nothing<B: Bench>(bench: &B) {
    let mut store = bench.open();
    let limits = store.limits();
    let mut too_many = WriteSet::new();
    for n in 0..=limits.rows_max as u32 {
        let key = [b"E".as_slice(), &n.to_be_bytes()].concat();
        too_many.put(key, StoredValue::Public(vec![1])).unwrap();
    }
    let mut too_large = WriteSet::new();
    for n in 0..=(limits.bytes_max / VALUE_BYTES_MAX) as u32 {
        let key = [b"E".as_slice(), &n.to_be_bytes()].concat();
        too_large
            .put(key, StoredValue::Public(vec![1; VALUE_BYTES_MAX]))
            .unwrap();
    }
    for writes in [too_many, too_large] {
        let round = store.begin().unwrap();
        let refused = round.commit(RoundId([1; 16]), &writes);
        assert!(matches!(refused, Err(CommitError::Fatal(_))), "{refused:?}");
        assert!(store.reader().scan(b"E", b"F", 1).unwrap().is_empty());
    }
    commit(&mut store, 2, &[(b"E1", 1)]).unwrap();
}

fn settle_tells_the_last_round_from_others<B: Bench>(bench: &B) {
    let mut store = bench.open();
    assert_eq!(store.settle(RoundId([1; 16])).unwrap(), Settled::Absent);
    commit(&mut store, 1, &[(b"E1", 1)]).unwrap();
    assert_eq!(store.settle(RoundId([1; 16])).unwrap(), Settled::Committed);
    // A round may consist of nothing; it still has an id.
    commit(&mut store, 2, &[]).unwrap();
    assert_eq!(store.settle(RoundId([2; 16])).unwrap(), Settled::Committed);
    assert_eq!(store.settle(RoundId([1; 16])).unwrap(), Settled::Absent);
    drop(store);
    let mut store = bench.open();
    assert_eq!(store.settle(RoundId([2; 16])).unwrap(), Settled::Committed);
}

fn a_failed_commit_fences_until_reopened_and_is_whole_or_absent<B: Bench>(bench: &B, at: FailAt) {
    let mut store = bench.open();
    let reader = store.reader();
    commit(&mut store, 1, &[(b"E1", 1), (b"E2", 1)]).unwrap();

    bench.fail_next_commit(&store, at);
    let failed = commit(&mut store, 2, &[(b"E1", 2), (b"E2", 2), (b"E3", 2)]);
    assert!(matches!(failed, Err(CommitError::Unknown(_))), "{failed:?}");

    let keys = [b"E1".to_vec(), b"E2".to_vec(), b"E3".to_vec()];
    let closed = |result: StoreError| matches!(result, StoreError::Closed(_));
    assert!(closed(reader.get_many(&keys).unwrap_err()));
    assert!(closed(reader.floor(b'E', b"1").unwrap_err()));
    assert!(closed(reader.scan(b"E", b"F", 9).unwrap_err()));
    assert!(closed(reader.scan(b"F", b"E", 9).unwrap_err()));
    assert!(closed(store.is_empty().unwrap_err()));
    assert!(closed(store.begin().err().unwrap()));

    let settled = store.settle(RoundId([2; 16])).unwrap();
    match at {
        FailAt::Nothing => assert_eq!(settled, Settled::Absent),
        FailAt::Durable => assert_eq!(settled, Settled::Committed),
        FailAt::Applied => {}
    }
    let expected = match settled {
        Settled::Committed => vec![Some(page(2)), Some(page(2)), Some(page(2))],
        Settled::Absent => vec![Some(page(1)), Some(page(1)), None],
    };
    // The reader from before the fault comes back with the store, and what was settled stays so.
    assert_eq!(reader.get_many(&keys).unwrap(), expected);
    store.reopen().unwrap();
    assert_eq!(store.settle(RoundId([2; 16])).unwrap(), settled);
    assert_eq!(reader.get_many(&keys).unwrap(), expected);
    commit(&mut store, 3, &[(b"E1", 3)]).unwrap();
    assert_eq!(get(&store, b"E1"), Some(page(3)));
}

fn a_store_is_empty_until_it_has_a_head<B: Bench>(bench: &B) {
    let mut store = bench.open();
    assert_eq!(store.is_empty(), Ok(true));
    commit(&mut store, 1, &[(b"E1", 1)]).unwrap();
    assert_eq!(store.is_empty(), Ok(true));
    commit(&mut store, 2, &[(HEAD_KEY, 1)]).unwrap();
    assert_eq!(store.is_empty(), Ok(false));
}

/// Readers run while rounds are committed and one of them fails; a row that is written by every
/// round is the same everywhere in one read, and never newer than the round that was tried last.
fn a_reader_never_sees_half_a_round<B: Bench>(bench: &B) {
    let mut store = bench.open();
    let rows = |n: u8| -> Vec<(&'static [u8], u8)> {
        vec![(b"E1", n), (b"E2", n), (b"T1", n), (b"T2", n)]
    };
    commit(&mut store, 0, &rows(0)).unwrap();
    let done = AtomicBool::new(false);
    let durable = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let reader = store.reader();
            let (done, durable) = (&done, &durable);
            scope.spawn(move || {
                let keys: Vec<Key> = rows(0).iter().map(|(key, _)| key.to_vec()).collect();
                let mut reads = 0u64;
                while !done.load(Ordering::SeqCst) || reads == 0 {
                    let least = durable.load(Ordering::SeqCst);
                    let values = match reader.get_many(&keys) {
                        Ok(values) => values,
                        Err(StoreError::Closed(_)) => continue,
                        Err(other) => panic!("{other}"),
                    };
                    assert!(values.windows(2).all(|pair| pair[0] == pair[1]));
                    let seen = u64::from(values[0].as_ref().unwrap()[0]);
                    assert!(seen >= least, "read {seen} after {least} was committed");
                    let scanned = reader.scan(b"E", b"F", 9);
                    if let Ok(scanned) = scanned {
                        assert_eq!(scanned[0].1, scanned[1].1);
                    }
                    reads += 1;
                }
            });
        }
        for n in 1..=60u8 {
            if n == 30 {
                bench.fail_next_commit(&store, FailAt::Nothing);
                commit(&mut store, n, &rows(n)).unwrap_err();
                assert_eq!(store.settle(RoundId([n; 16])), Ok(Settled::Absent));
            }
            commit(&mut store, n, &rows(n)).unwrap();
            durable.store(u64::from(n), Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
    });
}
