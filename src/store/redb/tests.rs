//! What only this engine does.

use super::*;
use crate::store::conformance::{self, Bench};
use crate::store::embedded::tests::Home;
use crate::store::journal::FILES;
use crate::store::{RoundId, Store, WriteSet};
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

/// Damage at places of chance, while the store is closed: it is an error, or it hits what is not
/// looked at, and the process lives. That what is read is right is this floor's promise only when
/// the pages are verified: every value is sealed or hashed above it.
#[test]
fn damage_anywhere_is_an_error_and_does_not_end_the_process() {
    let home = written();
    let whole = fs::read(file(&home)).unwrap();
    let right = rows(&home.open()).unwrap();
    let journals = FILES.map(|name| fs::read(home.path().join(name)).unwrap());
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let mut seed: u64 =
        number("PAYVAULT_SEED").unwrap_or_else(|| u64::from_be_bytes(crate::ids::random()));
    println!("PAYVAULT_SEED={seed}");
    let mut below = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % bound
    };
    let (mut refused, mut noticed, mut unseen, mut other) = (0, 0, 0, 0);
    for _ in 0..number("PAYVAULT_LONG").unwrap_or(40) {
        let mut damaged = whole.clone();
        match below(3) {
            0 => damaged[below(whole.len())] ^= 1 << below(8),
            // Where a sector was lost.
            1 => damaged[below(whole.len() / 512) * 512..][..512].fill(0),
            // Where one went to the wrong place.
            _ => {
                let from = below(whole.len() / 512) * 512;
                let to = below(whole.len() / 512) * 512;
                damaged.copy_within(from..from + 512, to);
            }
        }
        fs::write(file(&home), &damaged).unwrap();
        match home.try_open() {
            Ok(mut store) => {
                let read = rows(&store);
                let written = conformance::commit(&mut store, 3, &[(b"E\0\0\0\0\0\0\x02\0", 1)]);
                match (read, written) {
                    (Ok(read), Ok(())) if read == right => unseen += 1,
                    (Ok(_), Ok(())) => other += 1,
                    _ => noticed += 1,
                }
            }
            Err(StoreError::Damaged(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        fs::write(file(&home), &damaged).unwrap();
        for (name, bytes) in FILES.iter().zip(&journals) {
            fs::write(home.path().join(name), bytes).unwrap();
        }
        let verify = EngineOptions {
            verify: true,
            ..EngineOptions::default()
        };
        match RedbStore::open(&home.path(), verify) {
            Ok(store) => assert_eq!(rows(&store).as_ref(), Ok(&right)),
            Err(StoreError::Damaged(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    println!("{refused} did not open, {noticed} failed later, {other} read another, {unseen} none");
    assert!(refused + noticed > 0);
}

/// Every row, page by page.
fn rows(store: &RedbStore) -> Result<Vec<Row>, StoreError> {
    let reader = store.reader();
    let (mut from, mut all) = (Vec::new(), Vec::new());
    loop {
        let mut rows = reader.scan(&from, b"Z", 100)?;
        let end = rows.len() < 100;
        all.append(&mut rows);
        match all.last() {
            Some((last, _)) if !end => from = [last.as_slice(), &[0]].concat(),
            _ => return Ok(all),
        }
    }
}
