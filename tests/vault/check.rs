//! A check of everything that is stored finds what no tag can tell.

use crate::house::*;
use payvault::ids::TransactionId;
use payvault::vault::Finding;
use payvault::vault::command::Work;

fn key_of(transaction: TransactionId) -> Vec<u8> {
    [b"X", &transaction.0[..], b"s"].concat()
}

fn findings(home: &Home) -> Vec<Finding> {
    let checked = home.vault().check().expect("readable");
    assert_eq!(checked.entries, home.size());
    checked.findings
}

#[test]
fn an_untouched_vault_has_no_findings() {
    let home = Home::new();
    for number in 0..30 {
        let (transaction, token) = home.card();
        home.authorize(transaction, &token).expect("released");
        if number % 3 == 0 {
            let work = Work::Close { transaction };
            home.ask("shop", work).expect("closed");
        }
    }
    assert_eq!(findings(&home), []);
    assert_eq!(home.vault().check().expect("readable").transactions, 30);
    // Nor one whose transactions have come to their end.
    home.clock.pass_ms(20 * payvault::clock::DAY_MS);
    home.card();
    assert_eq!(findings(&home), []);
}

#[test]
fn a_row_put_back_to_an_older_version_is_found() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let older = home.disk.durable()[&key_of(transaction)].clone();
    home.authorize(transaction, &token).expect("released");
    home.card();
    home.close();
    home.disk.tamper(|rows| {
        rows.insert(key_of(transaction), older);
    });
    home.reopen().expect("opens");
    assert_eq!(findings(&home), [Finding::RolledBack(transaction)]);
}

#[test]
fn a_row_that_was_taken_away_broken_or_made_up_is_found() {
    let mut home = Home::new();
    let (gone, _) = home.card();
    let (broken, _) = home.card();
    let (copied, _) = home.card();
    let made_up = TransactionId::random();
    home.close();
    home.disk.tamper(|rows| {
        rows.remove(&key_of(gone));
        rows.get_mut(&key_of(broken)).expect("a row")[40] ^= 1;
        let row = rows[&key_of(copied)].clone();
        rows.insert(key_of(made_up), row);
    });
    home.reopen().expect("opens");
    let found = findings(&home);
    assert_eq!(found.len(), 3);
    assert!(found.contains(&Finding::Missing(gone)));
    assert!(found.contains(&Finding::Broken(broken)));
    assert!(found.contains(&Finding::Unfounded(made_up)));
}

#[test]
fn an_entry_whose_content_was_changed_is_found() {
    let mut home = Home::new();
    home.card();
    home.close();
    // The sealed content of an entry, its leaf left as it is: the tree alone does not tell.
    home.disk.tamper(|rows| {
        let page = rows
            .range_mut(b"E".to_vec()..b"F".to_vec())
            .next_back()
            .expect("a page")
            .1;
        let end = page.len() - 1;
        page[end] ^= 1;
    });
    home.reopen().expect("opens");
    assert!(matches!(findings(&home)[..], [Finding::Entry(_)]));
}

#[test]
fn a_check_beside_the_running_vault_finds_nothing_that_is_not_there() {
    let home = Home::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            for _ in 0..60 {
                let (transaction, token) = home.card();
                home.authorize(transaction, &token).expect("released");
            }
        });
        while !worker.is_finished() {
            assert_eq!(home.vault().check().expect("readable").findings, []);
        }
    });
}
