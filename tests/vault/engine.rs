//! The road over the embedded engines, on a real disk, and from one engine to the other.

use crate::house::*;
use clap::Parser;
use payvault::cli::{self, Cli, CliError};
use payvault::clock::ManualClock;
use payvault::ids::TransactionId;
use payvault::keys::Argon2Cost;
use payvault::payment::Token;
use payvault::policy::{Denial, Field, Purpose};
use payvault::store::{EngineKind, StoreError};
use payvault::vault::command::{Caller, Done, Note, Refusal, Work};
use payvault::vault::{House, OpenError, Vault, check, create, open};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A vault on a disk that takes no calls, and a token in it that may be redeemed a few times.
struct Site {
    house: House,
    cast: Cast,
    transaction: TransactionId,
    token: Token,
    _dir: tempfile::TempDir,
}

impl Site {
    fn with(engine: EngineKind, uses_max: u8) -> Site {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = ManualClock::starting_at(start());
        let mut house = house_in(dir.path(), &clock);
        house.engine = engine;
        let (founding, cast, _) = founding();
        create(&house, &passphrase(), Argon2Cost::DEFAULT, founding).expect("a vault");
        let vault = open(&house, &root_key(&house)).expect("opens");
        assert_eq!(vault.store_name(), engine.name());
        let mut terms = Home::new().terms();
        terms.portal = cast["shop"].id;
        terms.parties.truncate(1);
        terms.parties[0].principal = cast["acme"].id;
        terms.parties[0].grants = vec![grant(Purpose::Payout, &[Field::Number], uses_max)];
        let work = Work::Open {
            request: request(1),
            terms: Box::new(terms),
        };
        let Ok(Done::Opened { transaction, .. }) = ask(&vault, &cast, "shop", work) else {
            panic!("opened");
        };
        let work = Work::Tokenize {
            request: request(2),
            transaction,
            details: Box::new(visa()),
            code: None,
            replaces: None,
        };
        let Ok(Done::Tokenized { token, .. }) = ask(&vault, &cast, "shop", work) else {
            panic!("a token");
        };
        close(vault);
        Site {
            house,
            cast,
            transaction,
            token,
            _dir: dir,
        }
    }

    /// Opens, redeems once, closes.
    fn pay(&self, number: u64) -> Result<(String, u8), Refusal> {
        let vault = open(&self.house, &root_key(&self.house)).expect("opens");
        let work = redemption(
            request(number),
            self.transaction,
            &self.token,
            Purpose::Payout,
            &[Field::Number],
        );
        let answer = ask(&vault, &self.cast, "acme", work);
        close(vault);
        match answer? {
            Done::Redeemed(got) => Ok((number_of(&got.details), got.uses_left)),
            _ => panic!("another answer"),
        }
    }

    fn sound(&self) {
        let checked = check(&self.house, &root_key(&self.house)).expect("readable");
        assert_eq!(checked.findings, Vec::<String>::new());
    }

    fn refusal(&self) -> OpenError {
        match open(&self.house, &root_key(&self.house)) {
            Err(error) => error,
            Ok(_) => panic!("it opens"),
        }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.house.data_dir.with_file_name(name)
    }
}

fn ask(vault: &Vault, cast: &Cast, name: &str, work: Work) -> Result<Done, Refusal> {
    RUNTIME.block_on(vault.ask(caller(Arc::clone(&cast[name])), work, u64::MAX))
}

fn close(vault: Vault) {
    vault.close(Note::Stopped, Caller::vault());
}

#[test]
fn the_road_over_each_embedded_engine_and_over_restarts() {
    for engine in EngineKind::ALL {
        let site = Site::with(engine, 2);
        assert_eq!(site.pay(3), Ok((VISA.to_owned(), 1)));
        assert_eq!(site.pay(4), Ok((VISA.to_owned(), 0)));
        assert_eq!(denial(site.pay(5)), Denial::UsedUp);
        site.sound();
        // An engine makes an empty store where there is none; the vault does not serve it.
        std::fs::remove_dir_all(site.house.db_dir()).expect("gone");
        assert!(matches!(site.refusal(), OpenError::Emptied { .. }));
    }
}

#[test]
fn an_older_copy_of_the_database_is_refused_on_each_engine() {
    for engine in EngineKind::ALL {
        let site = Site::with(engine, 2);
        let older = site.beside("older");
        copy_all(&site.house.db_dir(), &older);
        assert!(site.pay(3).is_ok());
        std::fs::remove_dir_all(site.house.db_dir()).expect("gone");
        std::fs::rename(&older, site.house.db_dir()).expect("put back");
        let refusal = site.refusal();
        assert!(
            matches!(refusal, OpenError::StoreBehind { .. }),
            "{refusal}"
        );
    }
}

/// A database that is gone, a mark whose volume isn't mounted: said so, and nothing is put there.
#[test]
fn where_something_is_missing_a_refused_start_makes_nothing() {
    let site = Site::with(EngineKind::Sled, 9);
    let aside = site.beside("aside");
    std::fs::rename(site.house.db_dir(), &aside).expect("moved");
    assert!(matches!(site.refusal(), OpenError::Emptied { .. }));
    assert!(!site.house.db_dir().exists());
    std::fs::rename(&aside, site.house.db_dir()).expect("moved back");
    std::fs::rename(&site.house.mark_dir, &aside).expect("moved");
    assert!(matches!(site.refusal(), OpenError::NoMarkDir(_)));
    assert!(!site.house.mark_dir.exists());
    std::fs::rename(&aside, &site.house.mark_dir).expect("moved back");
    assert!(site.pay(4).is_ok());
}

/// A copied database beside the one that serves, and after it.
#[test]
fn two_vaults_do_not_share_their_keys() {
    let site = Site::with(EngineKind::Sled, 9);
    let mut other = site.house.clone();
    other.data_dir = site.beside("other");
    copy_all(&site.house.data_dir, &other.data_dir);
    let serving = open(&site.house, &root_key(&site.house)).expect("opens");
    let Err(OpenError::Store(StoreError::Locked)) = open(&other, &root_key(&other)) else {
        panic!("two vaults with the same keys");
    };
    close(serving);
    let Err(OpenError::StoreBehind { .. }) = open(&other, &root_key(&other)) else {
        panic!("the copy knows what the other one did");
    };
}

#[test]
fn whoever_holds_on_to_a_closed_vault_does_not_bar_the_next_one() {
    let site = Site::with(EngineKind::Sled, 9);
    let held = open(&site.house, &root_key(&site.house)).expect("opens");
    held.close(Note::Stopped, Caller::vault());
    assert!(site.pay(5).is_ok());
    drop(held);
}

#[test]
fn the_other_engines_database_is_refused_by_name() {
    let mut site = Site::with(EngineKind::Sled, 2);
    site.house.engine = EngineKind::Redb;
    let refusal = site.refusal();
    assert!(
        matches!(
            refusal,
            OpenError::Store(StoreError::OtherEngine {
                found: EngineKind::Sled,
                asked: EngineKind::Redb
            })
        ),
        "{refusal}"
    );
    assert!(refusal.to_string().contains("engine = \"sled\""));
    site.house.engine = EngineKind::Sled;
    assert!(site.pay(3).is_ok());
}

#[test]
fn a_vault_goes_from_one_engine_to_the_other_and_back() {
    let mut site = Site::with(EngineKind::Sled, 4);
    assert_eq!(site.pay(3), Ok((VISA.to_owned(), 3)));
    let first = site.house.data_dir.clone();
    let mut left = 3;
    for (engine, name) in [(EngineKind::Redb, "there"), (EngineKind::Sled, "back")] {
        let to = site.beside(name);
        copy(&site.house.data_dir, &to, engine).expect("copied");
        site.house.data_dir = to;
        site.house.engine = engine;
        site.sound();
        left -= 1;
        assert_eq!(site.pay(3 + left), Ok((VISA.to_owned(), left as u8)));
        site.sound();
    }
    // What was left behind is older than the mark, which went on.
    site.house.data_dir = first;
    assert!(matches!(site.refusal(), OpenError::StoreBehind { .. }));
}

#[test]
fn a_running_vault_and_a_full_target_are_not_copied() {
    let site = Site::with(EngineKind::Sled, 2);
    let to = site.beside("to");
    let vault = open(&site.house, &root_key(&site.house)).expect("opens");
    let refused = copy(&site.house.data_dir, &to, EngineKind::Redb).expect_err("it runs");
    assert_eq!(refused.exit_code(), 7);
    assert!(refused.to_string().contains("another process"), "{refused}");
    close(vault);
    let same = copy(&site.house.data_dir, &site.house.data_dir, EngineKind::Redb);
    let refused = same.expect_err("it is full");
    assert_eq!(refused.exit_code(), 1);
    assert!(refused.to_string().contains("not empty"), "{refused}");
    let nowhere = copy(&site.beside("nowhere"), &to, EngineKind::Redb);
    assert_eq!(nowhere.expect_err("nothing is there").exit_code(), 7);
    assert!(!to.exists());
    assert!(!site.beside("nowhere").exists());
    copy(&site.house.data_dir, &to, EngineKind::Redb).expect("copied");
    let again = copy(&site.house.data_dir, &to, EngineKind::Redb);
    assert_eq!(again.expect_err("it is full").exit_code(), 1);
}

/// As somebody at a terminal would.
fn copy(from: &Path, to: &Path, engine: EngineKind) -> Result<(), CliError> {
    let arguments = ["payvault", "store", "copy", "--to-engine", engine.name()];
    let mut line: Vec<&std::ffi::OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    line.extend([
        "--from".as_ref(),
        from.as_os_str(),
        "--to".as_ref(),
        to.as_os_str(),
    ]);
    cli::run(Cli::try_parse_from(line).expect("it is understood"))
}

/// The directory and all below it.
fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a copy");
        }
    }
}
