//! The road over the embedded engine, on a real disk.

use crate::house::*;
use payvault::clock::ManualClock;
use payvault::keys::Argon2Cost;
use payvault::policy::{Denial, Field, Purpose};
use payvault::vault::command::{Caller, Done, Note, Work};
use payvault::vault::{OpenError, Vault, check, create, open};
use std::sync::Arc;

#[test]
fn the_road_over_the_embedded_engine_and_over_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = ManualClock::starting_at(start());
    let house = house_in(dir.path(), &clock);
    let (founding, cast, _) = founding();
    create(&house, &passphrase(), Argon2Cost::DEFAULT, founding).expect("a vault");
    let root = root_key(&house);
    let vault = open(&house, &root, 0).expect("opens");
    assert_eq!(vault.store_name(), "sled");
    let ask = |vault: &Vault, name: &str, work| {
        RUNTIME.block_on(vault.ask(caller(Arc::clone(&cast[name])), work, u64::MAX))
    };
    let mut terms = Home::new().terms();
    terms.portal = cast["shop"].id;
    terms.parties.truncate(1);
    terms.parties[0].principal = cast["acme"].id;
    terms.parties[0].grants = vec![grant(Purpose::Payout, &[Field::Number], 2)];
    let work = Work::Open {
        request: request(1),
        terms: Box::new(terms),
    };
    let Ok(Done::Opened { transaction, .. }) = ask(&vault, "shop", work) else {
        panic!("opened");
    };
    let work = Work::Tokenize {
        request: request(2),
        transaction,
        details: Box::new(visa()),
        code: None,
        replaces: None,
    };
    let Ok(Done::Tokenized { token, .. }) = ask(&vault, "shop", work) else {
        panic!("a token");
    };
    let pay = |vault: &Vault, number| {
        let work = redemption(
            request(number),
            transaction,
            &token,
            Purpose::Payout,
            &[Field::Number],
        );
        match ask(vault, "acme", work)? {
            Done::Redeemed(got) => Ok((number_of(&got.details), got.uses_left)),
            _ => panic!("another answer"),
        }
    };
    assert_eq!(pay(&vault, 3), Ok((VISA.to_owned(), 1)));
    vault.close(Note::Stopped, Caller::vault());
    drop(vault);
    let vault = open(&house, &root, 0).expect("opens again");
    assert_eq!(pay(&vault, 4), Ok((VISA.to_owned(), 0)));
    assert_eq!(denial(pay(&vault, 5)), Denial::UsedUp);
    vault.close(Note::Stopped, Caller::vault());
    drop(vault);
    let checked = check(&house, &root).expect("readable");
    assert_eq!(checked.findings, Vec::<String>::new());
    // An emptied engine opens without a complaint; the vault does not.
    std::fs::remove_dir_all(house.db_dir()).expect("gone");
    assert!(matches!(
        open(&house, &root, 0),
        Err(OpenError::Emptied { .. })
    ));
}
