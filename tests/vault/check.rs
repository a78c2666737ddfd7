//! The offline check: what opening and daily use can't see.

use crate::house::*;
use crate::model::fill;
use payvault::store::memory::MemoryStore;
use payvault::store::sled::SledStore;
use payvault::store::{EngineOptions, Store, StoreError};
use payvault::vault::{Checked, OpenError, check_in};

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

/// A destruction of a serving vault looks from outside like one that was cut short. Ending it for
/// that vault would leave a keyring that nothing opens.
#[test]
fn a_check_beside_a_serving_vault_is_refused_and_ends_no_destruction() {
    let mut home = Home::closed();
    let options = EngineOptions::default();
    let mut store = SledStore::open(&home.house.db_dir(), options).expect("the store opens");
    fill(&mut store, &home.disk.durable());
    home.reopen_over(Box::new(store)).expect("the vault opens");
    let wrap = home.house.keys_dir.join("wrap");
    let mut slots = std::fs::read(&wrap).expect("the slots");
    let free = slots.len() / 2;
    slots[free..][..8].copy_from_slice(b"PW\x01\x01torn");
    std::fs::write(&wrap, &slots).expect("written");
    let refused = payvault::vault::check(&home.house, shared_root()).err();
    assert!(
        matches!(refused, Some(OpenError::Store(StoreError::Locked))),
        "{refused:?}"
    );
    assert!(std::fs::read(&wrap).expect("the slots") == slots);
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

/// A bucket that came to its end elsewhere hides nothing.
#[test]
fn a_row_that_was_taken_away_is_found_when_other_buckets_have_ended() {
    let mut home = Home::new();
    home.card();
    home.clock.pass_ms(20 * payvault::clock::DAY_MS);
    let (transaction, _) = home.card();
    home.close();
    assert_eq!(check(&home).findings, Vec::<String>::new());
    home.disk.tamper(|rows| {
        rows.remove(&[b"X".as_slice(), &transaction.0, b"s"].concat());
    });
    let gone = check(&home);
    assert_eq!(gone.findings_count, 1, "{:?}", gone.findings);
    assert!(gone.findings[0].contains("gone"), "{:?}", gone.findings);
}

#[test]
fn a_broken_or_copied_row_and_a_changed_entry_are_found() {
    let mut home = Home::new();
    let (broken, _) = home.card();
    let (copied, _) = home.card();
    let made_up = payvault::ids::TransactionId::random();
    home.close();
    let key = |id: payvault::ids::TransactionId| [b"X".as_slice(), &id.0, b"s"].concat();
    home.disk.tamper(|rows| {
        rows.get_mut(&key(broken)).expect("a row")[40] ^= 1;
        let row = rows[&key(copied)].clone();
        rows.insert(key(made_up), row);
        // The sealed content of an entry, its leaf left as it is: the tree alone does not tell.
        let page = rows
            .range_mut(b"E".to_vec()..b"F".to_vec())
            .next_back()
            .expect("a page")
            .1;
        let end = page.len() - 1;
        page[end] ^= 1;
    });
    let found = check(&home).findings;
    assert_eq!(found.len(), 3, "{found:?}");
    for what in [
        &broken.to_string()[..],
        &made_up.to_string(),
        "does not open",
    ] {
        assert!(found.iter().any(|f| f.contains(what)), "{what}: {found:?}");
    }
}
