//! The offline check: what opening and daily use can't see.

use crate::house::*;
use payvault::store::Store;
use payvault::store::memory::MemoryStore;
use payvault::vault::{Checked, check_in};

fn check(home: &Home) -> Checked {
    let store = MemoryStore::on(&home.disk);
    check_in(store.reader().as_ref(), &home.ring()).expect("the store opens")
}

#[test]
fn a_sound_vault_has_no_findings() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    home.authorize(transaction, &token).expect("it redeems");
    home.close();
    let checked = check(&home);
    assert_eq!(checked.findings, Vec::<String>::new());
    assert_eq!(checked.transactions, 1);
    assert!(checked.entries > 3);
}

/// A row that was put back is sealed rightly: one use would come back with it.
#[test]
fn a_row_that_was_put_back_or_taken_away_is_found() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let key = [b"X".as_slice(), &transaction.0, b"s"].concat();
    let older = home.disk.durable()[&key].clone();
    home.authorize(transaction, &token).expect("it redeems");
    home.close();
    home.disk.tamper(|rows| {
        rows.insert(key.clone(), older.clone());
    });
    let put_back = check(&home);
    assert_eq!(put_back.findings_count, 1);
    assert!(
        put_back.findings[0].contains("put back"),
        "{:?}",
        put_back.findings
    );
    home.disk.tamper(|rows| {
        rows.remove(&key);
    });
    let gone = check(&home);
    assert!(gone.findings[0].contains("gone"), "{:?}", gone.findings);
}
