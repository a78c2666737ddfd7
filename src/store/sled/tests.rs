//! What only this engine does.

use super::*;
use crate::store::conformance::{self, Bench, page};
use crate::store::embedded::tests::Home;
use crate::store::{CommitError, RoundId, Store, WriteSet};
use std::fs::{self, File};

#[test]
fn an_engine_that_does_not_hit_the_barrier_is_refused() {
    use super::opening::prove_barrier;
    let home = Home::<Sled>::new();
    let store = home.open();
    store.engine(|sled| {
        let prove = |count| prove_barrier(&sled.database, &sled.watch, count);
        assert_eq!(prove(|| 7), Err(StoreError::NotSynced));
        assert_eq!(prove(os::barrier_calls), Ok(()));
    });
}

#[test]
fn a_blob_file_fences_the_store_and_it_does_not_open_again() {
    let home = Home::<Sled>::new().with_journal_of(1);
    let mut store = home.open();
    fs::write(home.path().join("blobs").join("17"), b"row").unwrap();
    // It is found when rounds are brought into the engine, beside the committer.
    let refused = (1..=100).find_map(|n| conformance::commit(&mut store, n, &[(b"E1", 1)]).err());
    assert!(
        matches!(
            refused,
            Some(CommitError::Unknown(_) | CommitError::Fatal(_))
        ),
        "{refused:?}"
    );
    assert!(matches!(store.begin().err(), Some(StoreError::Closed(_))));
    assert!(matches!(store.reopen(), Err(StoreError::Damaged(_))));
    drop(store);
    let opened = home.try_open();
    assert!(matches!(opened.err(), Some(StoreError::Damaged(_))));
}

#[test]
fn the_largest_values_make_no_blobs() {
    let home = Home::<Sled>::new().with_journal_of(1);
    let mut store = home.open();
    // Neighbouring keys, written over and over: leaves as full as they get.
    for round in 0..60u64 {
        let mut writes = WriteSet::new();
        for row in 0..64u64 {
            let key = [b"E".as_slice(), &(row + 8 * round).to_be_bytes()].concat();
            let value = vec![round as u8; crate::limits::VALUE_BYTES_MAX];
            writes
                .put(key, crate::store::StoredValue::Public(value))
                .unwrap();
        }
        let round = store.begin().unwrap();
        round.commit(RoundId::random(), &writes).unwrap();
    }
    no_blobs(&home.path()).unwrap();
}

#[test]
fn an_emptied_file_opens_as_an_empty_engine_and_the_journal_knows_better() {
    let home = Home::<Sled>::new();
    let mut store = home.open();
    conformance::commit(&mut store, 1, &[(b"H", 1)]).unwrap();
    assert_eq!(store.is_empty(), Ok(false));
    drop(store);
    // As after a power cut without the barrier: names are there, content is not.
    let path = home.path();
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap().path();
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if name == "db" {
            File::options()
                .write(true)
                .open(&entry)
                .unwrap()
                .set_len(0)
                .unwrap();
        } else if name.starts_with("snap.") {
            fs::remove_file(&entry).unwrap();
        }
    }
    let expected = "the journal has rounds of which the engine knows nothing".to_owned();
    assert_eq!(home.try_open().err(), Some(StoreError::Damaged(expected)));
    for file in ["journal.0", "journal.1"] {
        fs::write(path.join(file), b"").unwrap();
    }
    // With the journal emptied too, only the mark outside of the store can tell.
    assert_eq!(home.open().is_empty(), Ok(true));
}

#[test]
fn damage_is_reported_and_does_not_end_the_process() {
    let home = Home::<Sled>::new();
    drop(home.open());
    fs::write(home.path().join("conf"), b"neither key nor value").unwrap();
    let opened = home.try_open();
    assert!(
        matches!(opened.as_ref().err(), Some(StoreError::Damaged(_))),
        "{:?}",
        opened.err()
    );
}

#[test]
fn an_unfinished_snapshot_does_not_bar_the_store() {
    let home = Home::<Sled>::new();
    let mut store = home.open();
    conformance::commit(&mut store, 1, &[(b"E1", 1)]).unwrap();
    drop(store);
    // Sorts above every real one, as the one under way does.
    let unfinished = home.path().join("snap.00000000FFFFFFFF.generating");
    fs::write(&unfinished, b"half").unwrap();
    let store = home.open();
    assert!(!unfinished.exists());
    assert_eq!(
        store.reader().get_many(&[b"E1".to_vec()]),
        Ok(vec![Some(page(1))])
    );
}
