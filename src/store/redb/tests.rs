//! What only this engine does.

use super::*;
use crate::store::Store;
use crate::store::conformance::{self, Bench};
use crate::store::embedded::tests::Home;
use std::fs;
use std::path::PathBuf;

fn file(home: &Home<Redb>) -> PathBuf {
    home.path().join(FILE)
}

/// A store with a few hundred pages, closed.
fn written() -> Home<Redb> {
    let home = Home::<Redb>::new();
    let mut store = home.open();
    conformance::commit(&mut store, 1, &[(b"H", 1)]).unwrap();
    for round in 0..20u64 {
        let mut writes = WriteSet::new();
        for row in 0..64u64 {
            let key = [b"E".as_slice(), &(row * 20 + round).to_be_bytes()].concat();
            let value = vec![round as u8; 300 + row as usize * 20];
            writes
                .put(key, crate::store::StoredValue::Public(value))
                .unwrap();
        }
        let begun = store.begin().unwrap();
        begun.commit(RoundId::random(), &writes).unwrap();
    }
    home
}

#[test]
fn an_emptied_cut_or_missing_file_is_damage_and_none_is_made() {
    let home = written();
    let whole = fs::read(file(&home)).unwrap();
    for length in [0, 1, 320, 4_096, whole.len() / 2] {
        fs::write(file(&home), &whole[..length]).unwrap();
        let opened = home.try_open().err();
        assert!(
            matches!(opened, Some(StoreError::Damaged(_))),
            "{length}: {opened:?}"
        );
        assert_eq!(fs::read(file(&home)).unwrap().len(), length);
    }
    fs::write(file(&home), vec![7; 100_000]).unwrap();
    assert!(matches!(
        home.try_open().err(),
        Some(StoreError::Damaged(_))
    ));
    fs::rename(file(&home), home.path().join("elsewhere")).unwrap();
    assert!(matches!(
        home.try_open().err(),
        Some(StoreError::Damaged(_))
    ));
    assert!(!file(&home).exists());
    fs::write(file(&home), &whole).unwrap();
    assert_eq!(home.open().is_empty(), Ok(false));
}
