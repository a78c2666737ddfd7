//! How things end: by their sites' rules, visibly, with one entry each; on request; and not at all
//! while nobody knows what time it is.

use crate::house::*;
use payvault::clock::{DAY_MS, Timestamp};
use payvault::ids::{ActionId, HoldId, PrincipalId, TransactionId};
use payvault::keys::{KeyError, KeyName, KeyRecord, KeyState, Keyring, SealFile};
use payvault::ledger::{Receipt, verify_export, verify_receipt};
use payvault::policy::{Agreement, Denial, Purpose, Role, Terms};
use payvault::store::Store;
use payvault::store::memory::MemoryStore;
use payvault::vault::command::{Admin, Caller, Done, Note, Refusal, Work};
use payvault::vault::{Erasure, ErasureRequest, ExportRequest, HoldRequest, HoldScope, check_in};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

fn now(home: &Home) -> Timestamp {
    home.house.clock.now()
}

/// Time passes until then.
fn until(home: &Home, then: Timestamp) {
    home.clock.pass_ms(then.since_ms(now(home)));
}

/// The second's housekeeping, and whatever it does is done.
fn tick(home: &Home) {
    home.vault().tick();
    for _ in 0..2 {
        let nothing = Work::Note(Note::Handshakes(Vec::new()));
        home.ask_as(Caller::vault(), nothing).expect("noted");
    }
}

fn state(home: &Home, name: &str) -> Option<KeyState> {
    // Of its newest generation.
    let name = KeyName::parse(name).expect("a key's name");
    let ring = home.ring();
    let keys = ring.list().filter(|key| key.name() == name);
    keys.last().map(|key| key.state())
}

/// As many seconds as it takes to count what lies under what has ended, of every generation.
fn settle(home: &Home) {
    for _ in 0..20 {
        tick(home);
    }
}

/// A house with all five sites.
fn five_sites() -> Home {
    Home::with(|house| {
        for name in ["us", "uk", "nl", "se", "dk"] {
            house.settings.sites.insert(site(name), 180 * DAY_MS);
        }
    })
}

fn enrolled(home: &Home, name: &str, role: Role) -> PrincipalId {
    let mut own = principal(name, role);
    own.last_seen = now(home);
    own.sites = ["us", "uk", "nl", "se", "dk"].map(site).into();
    if role.is_human() {
        own.sites = Vec::new();
    }
    own.agreement = role.is_human().then(|| Agreement {
        reference: "NDA 13".to_owned(),
        valid_from: Timestamp(0),
        valid_until: now(home).plus_ms(50 * DAY_MS),
    });
    let id = own.id;
    let create = Work::Admin(Box::new(Admin::CreatePrincipal(own)));
    home.ask_as(Caller::vault(), create).expect("enrolled");
    id
}

/// Who that is now.
fn as_enrolled(home: &Home, id: PrincipalId) -> Caller {
    let registry = home.vault().registry();
    caller(Arc::clone(registry.principal(id).expect("enrolled")))
}

fn erased_lines(home: &Home, auditor: PrincipalId) -> u64 {
    let asks = as_enrolled(home, auditor);
    let auditor = Arc::clone(asks.principal.as_ref().expect("an auditor"));
    let lines = RUNTIME.block_on(async {
        let request = ExportRequest {
            epoch: None,
            from: 0,
            to: None,
            from_time: None,
            to_time: None,
            site: None,
            kinds: Vec::new(),
            reason: "the year is over".to_owned(),
            ticket: String::new(),
        };
        let mut pieces = home
            .vault()
            .export(asks, &auditor, request, u64::MAX)
            .await
            .expect("an export");
        let mut lines = Vec::new();
        while let Some(piece) = pieces.recv().await {
            lines.extend(piece.expect("a piece"));
        }
        lines
    });
    let key = home.vault().verifier().clone();
    let report = verify_export(&lines[..], &[key]).expect("it verifies");
    report.erased
}

fn receipt(home: &Home, key: &str) -> Result<String, Refusal> {
    receipt_of(home, KeyName::parse(key).expect("a key's name"), None)
}

/// Of each generation.
fn receipts(home: &Home, key: &str) -> Vec<String> {
    let name = KeyName::parse(key).expect("a key's name");
    let generations: Vec<u32> = home
        .ring()
        .list()
        .filter(|key| key.name() == name)
        .map(|key| key.generation())
        .collect();
    generations
        .into_iter()
        .map(|generation| receipt_of(home, name, Some(generation)).expect("a receipt"))
        .collect()
}

fn receipt_of(home: &Home, name: KeyName, generation: Option<u32>) -> Result<String, Refusal> {
    let issued = RUNTIME.block_on(home.vault().erasure_receipt(name, generation))?;
    let receipt = Receipt {
        entry: issued.entry,
        path: issued.path,
        checkpoint: issued.published.note.to_string(),
    };
    Ok(receipt.to_json())
}

/// Eight years, five sites: each record is refused from its hour on and not an hour before, and
/// nobody can read it from its bucket's end on.
#[test]
fn every_record_ends_at_its_hour_and_its_bucket_with_its_sites_period() {
    let home = five_sites();
    let shop = enrolled(&home, "shop-5", Role::Portal);
    let acme = enrolled(&home, "acme-5", Role::Processor);
    let sites = ["us", "uk", "nl", "se", "dk"];
    for name in sites {
        let key = payvault::policy::AllowanceKey {
            site: site(name),
            portal: shop,
            processor: acme,
        };
        let allow = Admin::SetAllowance(key, Some(EVERYTHING));
        home.ask_as(Caller::vault(), Work::Admin(Box::new(allow)))
            .expect("allowed");
    }
    let shop_asks = |work| home.ask_as(as_enrolled(&home, shop), work);
    // Released until the first hour of the next day: UTC's, whatever the site's.
    let release_until = at("2026-11-24T01:00:00Z");
    let cards: Vec<_> = sites
        .iter()
        .map(|name| {
            let terms = Terms {
                site: site(name),
                portal: shop,
                release_until,
                parties: vec![payvault::policy::Party {
                    principal: acme,
                    grants: vec![grant(Purpose::Authorize, &payvault::policy::Field::ALL, 9)],
                }],
                ..home.terms()
            };
            let opened = shop_asks(Work::Open {
                request: home.request(),
                terms: Box::new(terms),
            });
            let Ok(Done::Opened { transaction, .. }) = opened else {
                panic!("not opened");
            };
            let made = shop_asks(Work::Tokenize {
                request: home.request(),
                transaction,
                details: Box::new(visa()),
                code: None,
                replaces: None,
            });
            let Ok(Done::Tokenized { token, .. }) = made else {
                panic!("no token");
            };
            (transaction, token)
        })
        .collect();
    let redeem = |transaction, token| {
        let work = redemption(
            home.request(),
            transaction,
            token,
            Purpose::Authorize,
            &[payvault::policy::Field::Number],
        );
        home.ask_as(as_enrolled(&home, acme), work)
    };
    // Not an hour before, nor a millisecond.
    for before in [3_600_000, 1] {
        until(&home, Timestamp(release_until.0 - before));
        for (transaction, token) in &cards {
            assert!(redeem(*transaction, token).is_ok(), "{before} ms before");
        }
    }
    home.clock.pass_ms(1);
    for (transaction, token) in &cards {
        assert_eq!(denial(redeem(*transaction, token)), Denial::Expired);
    }
    let look = |transaction: TransactionId| shop_asks(Work::Get { transaction });
    let day = release_until.day();
    let release = |name: &str| format!("release/{name}/{day}");
    // The day is over: its keys are pending, for 72 hours, and the rows are still there.
    until(&home, at("2026-11-25T01:00:00Z"));
    tick(&home);
    for (name, (transaction, _)) in sites.iter().zip(&cards) {
        let pending = Some(KeyState::PendingDestruction);
        assert_eq!(state(&home, &release(name)), pending, "{name}");
        assert!(look(*transaction).is_ok());
        let close = shop_asks(Work::Close {
            transaction: *transaction,
        });
        assert!(close.is_ok(), "what is pending can still be closed");
    }
    until(&home, at("2026-11-27T23:59:59Z"));
    tick(&home);
    for (name, (transaction, _)) in sites.iter().zip(&cards) {
        assert!(
            look(*transaction).is_ok(),
            "{name}: a second before its end"
        );
    }
    until(&home, at("2026-11-28T01:00:00Z"));
    tick(&home);
    for (name, (transaction, _)) in sites.iter().zip(&cards) {
        assert_eq!(state(&home, &release(name)), Some(KeyState::Destroyed));
        assert_eq!(denial(look(*transaction)), Denial::UnknownTransaction);
    }
    // Swept: no row is left, and nothing is missing.
    tick(&home);
    let rows = home.disk.durable();
    assert_eq!(rows.range(b"X".to_vec()..b"Y".to_vec()).count(), 0);
    let store = MemoryStore::on(&home.disk);
    let checked = check_in(store.reader().as_ref(), &home.ring()).expect("it opens");
    assert_eq!(checked.findings, Vec::<String>::new());
    // Whoever opens the disk closes it to others: the vault opens it again at its next round.
    let nothing = Work::Note(Note::Handshakes(Vec::new()));
    let _ = home.ask_as(Caller::vault(), nothing);

    // The masked entries: each site's own period, to its own midnight.
    let november = |name: &str| format!("log/{name}/2026-11");
    let ends = [
        ("dk", at("2031-12-31T23:00:00Z")),
        ("uk", at("2033-01-01T00:00:00Z")),
        ("us", at("2033-12-01T06:00:00Z")),
        ("nl", at("2033-12-31T23:00:00Z")),
        ("se", at("2033-12-31T23:00:00Z")),
    ];
    let mut entries = 0;
    for (name, end) in ends {
        if now(&home) < end {
            until(&home, Timestamp(end.0 - 1));
            tick(&home);
            assert_eq!(state(&home, &november(name)), Some(KeyState::Active));
            home.clock.pass_ms(HOUR_MS);
            tick(&home);
        }
        let pending = Some(KeyState::PendingDestruction);
        assert_eq!(state(&home, &november(name)), pending, "{name}");
    }
    // Nothing is destroyed early: the last two were marked an hour ago.
    home.clock.pass_ms(2 * DAY_MS);
    tick(&home);
    assert_eq!(
        state(&home, &november("nl")),
        Some(KeyState::PendingDestruction)
    );
    home.clock.pass_ms(DAY_MS + HOUR_MS);
    settle(&home);
    for (name, _) in ends {
        assert_eq!(state(&home, &november(name)), Some(KeyState::Destroyed));
        let key = home.vault().verifier().clone();
        // Opened, tokenized, two redemptions, one that was refused, looked at twice, closed, and
        // the allowance's and its look afterwards.
        let mut records = 0;
        for receipt in receipts(&home, &november(name)) {
            let report = verify_receipt(receipt.as_bytes(), std::slice::from_ref(&key));
            let body = report.expect("it verifies").body;
            let count = body.split("\"records\":\"").nth(1);
            let count = count.and_then(|rest| rest.split('"').next());
            records += count
                .and_then(|count| count.parse::<u64>().ok())
                .expect("a count");
        }
        assert!(records >= 8, "{name}: {records}");
        entries += records;
    }
    assert!(state(&home, "log/-/2026-11") == Some(KeyState::Active));
    // The export of it all verifies, and shows what is erased as such.
    let auditor = enrolled(&home, "auditor-2034", Role::Auditor);
    assert_eq!(erased_lines(&home, auditor), entries);
}

/// An hour of UTC's December is January at the site: it is kept for that year.
#[test]
fn a_bucket_that_reaches_into_the_next_year_is_kept_for_it() {
    let home = five_sites();
    until(&home, at("2026-12-31T23:30:00Z"));
    tick(&home);
    for (months, name, end) in [
        ("2026-12", "uk", "2033-01-01T00:00:00Z"),
        ("2026-12", "nl", "2034-12-31T23:00:00Z"),
    ] {
        let key = format!("log/{name}/{months}");
        until(&home, Timestamp(at(end).0 - 1));
        tick(&home);
        assert_eq!(state(&home, &key), Some(KeyState::Active), "{key}");
        home.clock.pass_ms(HOUR_MS);
        tick(&home);
        assert_eq!(
            state(&home, &key),
            Some(KeyState::PendingDestruction),
            "{key}"
        );
    }
}

/// The keyring forgets a key, and the process dies before the entry: the next start has it.
#[test]
fn a_destruction_has_one_entry_whenever_the_process_dies() {
    let mut home = Home::new();
    let (transaction, _) = home.card();
    let day = now(&home).plus_ms(7 * DAY_MS).day();
    let name = KeyName::Release {
        site: site("nl"),
        day,
    };
    home.clock.pass_ms(8 * DAY_MS);
    home.ask("shop", Work::Get { transaction }).expect("read");
    let pending = |home: &Home| {
        let lines = home.ledger();
        let of_it = lines.iter().filter(|line| {
            line.get("event") == "destruction_pending" && line.detail("key") == name.to_string()
        });
        of_it.count()
    };
    assert_eq!(pending(&home), 1);
    home.kill();
    // What the keeper does, up to the crash.
    let mut ring = home.own_ring();
    let id = ring
        .list()
        .find(|key| key.name() == name)
        .expect("a key")
        .id();
    ring.destroy_counted(&[(id, Some(1))], now(&home))
        .expect("destroyed");
    drop(ring);
    let told = |home: &Home| {
        let lines = home.ledger();
        let of_it = lines.iter().filter(|line| {
            line.get("event") == "key_destroyed" && line.detail("key") == name.to_string()
        });
        of_it.map(|line| line.detail("records")).collect::<Vec<_>>()
    };
    assert!(told(&home).is_empty());
    home.reopen().expect("opens");
    assert_eq!(told(&home), ["1"]);
    home.restart();
    tick(&home);
    assert_eq!(told(&home), ["1"], "once");
    assert_eq!(pending(&home), 1, "once");
    let receipt = receipt(&home, &name.to_string()).expect("a receipt");
    let key = home.vault().verifier().clone();
    assert!(verify_receipt(receipt.as_bytes(), &[key]).is_ok());
}

/// A transaction whose bucket has ended, with what lay on disk and in the keys directory before.
fn erased() -> (Home, String, crate::ledger::Rows, tempfile::TempDir) {
    let home = Home::new();
    home.card();
    let day = now(&home).plus_ms(7 * DAY_MS).day();
    let rows = home.disk.durable();
    let copy = tempfile::tempdir().expect("a directory");
    copy_dir(&home.house.keys_dir, copy.path());
    home.clock.pass_ms(12 * DAY_MS);
    tick(&home);
    let name = format!("release/nl/{day}");
    assert_eq!(state(&home, &name), Some(KeyState::Destroyed));
    (home, name, rows, copy)
}

#[test]
fn what_was_copied_before_the_erasure_opens_with_nothing_of_today() {
    let (home, name, before, copy) = erased();
    // The data as it was, beside today's keyring: the rows don't open.
    let disk = payvault::store::memory::MemoryDisk::default();
    disk.tamper(|rows| rows.clone_from(&before));
    let key = before
        .range(b"X".to_vec()..b"Y".to_vec())
        .next()
        .expect("a row");
    let sealed = payvault::keys::Sealed::from_stored(key.1.clone()).expect("sealed");
    let ring = home.ring();
    let gone = ring.key(sealed.key_id()).err();
    assert!(matches!(gone, Some(KeyError::Destroyed(_))), "{gone:?}");
    // The keyring of that day, under today's wrapping key: it doesn't open.
    let vault = home.vault().id();
    let today = tempfile::tempdir().expect("a directory");
    copy_dir(&home.house.keys_dir, today.path());
    std::fs::copy(copy.path().join("keyring"), today.path().join("keyring")).expect("copied");
    let seal = SealFile::read(today.path()).expect("today's seal");
    let root = seal.open(&passphrase()).expect("the root key");
    let refused = Keyring::look(today.path(), vault, &root).err();
    assert!(
        matches!(refused, Some(KeyError::KeyringTampered)),
        "{refused:?}"
    );
    // With the wrapping key of that day, which lay in a file beside it, it does. The receipt says so,
    // and until when such copies are kept.
    std::fs::copy(copy.path().join("wrap"), today.path().join("wrap")).expect("copied");
    let old = Keyring::look(today.path(), vault, &root).expect("the control");
    assert!(old.key(sealed.key_id()).is_ok());
    let receipt = receipt(&home, &name).expect("a receipt");
    let verifier = home.vault().verifier().clone();
    let report = verify_receipt(receipt.as_bytes(), &[verifier]).expect("it verifies");
    let until = now(&home).plus_ms(30 * DAY_MS).to_string();
    for fact in [
        format!("\"copies_until\":\"{until}\""),
        "\"rests_on\":\"passphrase\"".to_owned(),
        "\"records\":\"1\"".to_owned(),
    ] {
        assert!(report.body.contains(&fact), "{fact} in {}", report.body);
    }
}

#[test]
fn a_receipt_is_verified_with_the_public_key_alone_and_a_forged_one_is_refused() {
    let (home, name, ..) = erased();
    let receipt = receipt(&home, &name).expect("a receipt");
    let key = home.vault().verifier().clone();
    assert!(verify_receipt(receipt.as_bytes(), std::slice::from_ref(&key)).is_ok());
    for (true_words, forged) in [
        ("records", "recorbs"),
        (name.as_str(), "release/nl/20779"),
        ("key_destroyed", "key_created"),
        ("copies_until", "copies_untie"),
    ] {
        let changed = receipt.replace(true_words, forged);
        assert_ne!(changed, receipt, "{true_words}");
        assert!(
            verify_receipt(changed.as_bytes(), std::slice::from_ref(&key)).is_err(),
            "{forged}"
        );
    }
    let signer = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let origin = payvault::ledger::origin(home.vault().id(), 1);
    let foreign =
        payvault::ledger::VerifierKey::new(&origin, signer.verifying_key()).expect("a key");
    assert!(verify_receipt(receipt.as_bytes(), &[foreign]).is_err());
    // No receipt of what is there, or never was.
    let ask = |key: &str| self::receipt(&home, key).err();
    let month = format!("log/nl/{}", &now(&home).to_string()[..7]);
    assert_eq!(ask(&month), Some(Refusal::Denied(Denial::NotErased)));
    let never = Refusal::Denied(Denial::UnknownKey);
    assert_eq!(ask("release/nl/1"), Some(never));
}

fn confirm_clock(home: &Home, who: &str) -> Result<Done, Refusal> {
    home.ask(who, Work::Admin(Box::new(Admin::ConfirmClock)))
}

fn approve(home: &Home, who: &str, id: ActionId) -> Result<Done, Refusal> {
    home.ask(who, Work::Admin(Box::new(Admin::Approve(id))))
}

fn pending(answer: Result<Done, Refusal>) -> ActionId {
    match answer {
        Ok(Done::Pending(id)) => id,
        Ok(_) => panic!("done at once"),
        Err(refusal) => panic!("{refusal}"),
    }
}

#[test]
fn a_clock_that_jumps_under_load_freezes_all_until_two_operators_confirm_it() {
    for step in [7 * 365 * DAY_MS as i64, -(30 * DAY_MS as i64)] {
        let home = Arc::new(Home::new());
        let terms = Terms {
            parties: home
                .terms()
                .parties
                .into_iter()
                .map(|mut party| {
                    party.grants.iter_mut().for_each(|g| g.uses_max = 100);
                    party
                })
                .collect(),
            ..home.terms()
        };
        let transaction = home.open_with("shop", terms).expect("opened");
        let token = home.tokenize(transaction, visa());
        home.clock.pass_ms(2 * HOUR_MS);
        tick(&home);
        let (stop, jumped) = (AtomicBool::new(false), AtomicBool::new(false));
        let states = |home: &Home| {
            let ring = home.ring();
            ring.list().map(|key| key.state()).collect::<Vec<_>>()
        };
        let before = states(&home);
        let right = now(&home);
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let sure = jumped.load(Ordering::SeqCst);
                        match home.authorize(transaction, &token) {
                            Ok(_) => assert!(!sure, "released under a wrong clock"),
                            Err(Refusal::Denied(Denial::ClockSuspect | Denial::UsedUp)) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
            }
            home.clock
                .step_to(Timestamp(right.0.saturating_add_signed(step)));
            jumped.store(true, Ordering::SeqCst);
            // Hours pass under it.
            for _ in 0..3 {
                home.clock.pass_ms(HOUR_MS);
                tick(&home);
            }
            stop.store(true, Ordering::SeqCst);
        });
        assert_eq!(home.vault().clock_off_ms(), Some(step));
        assert_eq!(states(&home), before, "nothing was ended");
        let steps = |outcome: &str| {
            let lines = home.ledger();
            let of = lines.iter().filter(|l| l.get("event") == "clock_step");
            of.filter(|l| l.get("outcome") == outcome).count()
        };
        assert_eq!(steps("failed"), 1);
        // One operator is not two.
        let id = pending(confirm_clock(&home, "ann"));
        assert_eq!(denial(approve(&home, "ann", id)), Denial::SameOperator);
        assert_eq!(
            denial(home.authorize(transaction, &token)),
            Denial::ClockSuspect
        );
        approve(&home, "ben", id).expect("approved");
        let lines = home.ledger();
        let confirmed = lines
            .iter()
            .find(|l| l.get("event") == "clock_confirmed" && l.get("outcome") == "ok")
            .expect("an entry");
        assert_eq!(confirmed.get("actor_name"), "ben");
        assert_eq!(confirmed.detail("requested_by"), "ann");
        assert_eq!(home.vault().clock_off_ms(), None);
        assert!(approve(&home, "ben", id).is_err(), "once");
        if step < 0 {
            // Years later she was idle for too long.
            assert_eq!(denial(confirm_clock(&home, "ann")), Denial::NotPending);
        }
        // Forward, its release is over; back, time stands and nothing is given out late.
        let answer = home.authorize(transaction, &token);
        match step > 0 {
            true => assert!(matches!(
                answer,
                Err(Refusal::Denied(Denial::Expired | Denial::PrincipalDisabled))
            )),
            false => assert!(matches!(
                answer,
                Ok(_) | Err(Refusal::Denied(Denial::UsedUp))
            )),
        }
    }
}

#[test]
fn a_confirmation_is_of_one_jump_and_lapses() {
    let home = Home::new();
    let (transaction, token) = home.card();
    assert_eq!(
        denial(confirm_clock(&home, "ann")),
        Denial::NotPending,
        "nothing is suspect"
    );
    home.clock.step_to(now(&home).plus_ms(DAY_MS));
    let id = pending(confirm_clock(&home, "ann"));
    // Another jump: what ann saw is not what ben would confirm.
    home.clock.step_to(now(&home).plus_ms(365 * DAY_MS));
    assert_eq!(denial(approve(&home, "ben", id)), Denial::NotPending);
    let lapsing = pending(confirm_clock(&home, "ann"));
    home.clock.pass_ms(DAY_MS);
    assert_eq!(denial(approve(&home, "ben", lapsing)), Denial::NotPending);
    assert_eq!(
        denial(home.authorize(transaction, &token)),
        Denial::ClockSuspect
    );
    assert!(confirm_clock(&home, "shop").is_err());
}

fn erase(
    home: &Home,
    who: Caller,
    transaction: TransactionId,
    last: Option<(&str, (i16, u8))>,
) -> Result<Erasure, Refusal> {
    let asked = ErasureRequest {
        transaction,
        reference: "DSR-17".to_owned(),
        last: last.map(|(name, month)| (site(name), month)),
    };
    match home.ask_as(who, Work::Erase(Box::new(asked)))? {
        Done::Erasure(erasure) => Ok(*erasure),
        _ => panic!("another answer"),
    }
}

#[test]
fn an_erasure_ends_redemption_at_once_and_the_rest_with_its_rule() {
    let home = five_sites();
    let (transaction, token) = home.card();
    home.authorize(transaction, &token).expect("released");
    let ann = home.caller("ann");
    let from = home.size();
    let erasure = erase(&home, ann.clone(), transaction, None).expect("an answer");
    assert!(!erasure.erased);
    assert!(erasure.rule.contains("AWR 52(4)"), "{}", erasure.rule);
    assert_eq!(erasure.details_until, Some(at("2026-12-04T00:00:00Z")));
    assert_eq!(erasure.entries_until, Some(at("2034-01-03T23:00:00Z")));
    assert_eq!(home.brief(from), ["erasure_requested"]);
    assert_eq!(denial(home.authorize(transaction, &token)), Denial::Closed);
    let lines = home.ledger();
    assert!(lines.iter().any(|l| !l.get("masked").is_empty()), "kept");
    let line = &lines[from as usize];
    assert_eq!(line.detail("reference"), "DSR-17");
    assert_eq!(line.detail("erased"), "no");
    // Who is no operator asks for nothing.
    for who in ["shop", "acme", "auditor"] {
        let refused = erase(&home, home.caller(who), transaction, None);
        assert_eq!(denial(refused), Denial::RoleNotAllowed, "{who}");
    }
    // The account data is gone; the entries are not.
    until(&home, at("2026-12-04T02:00:00Z"));
    tick(&home);
    let erasure = erase(&home, ann.clone(), transaction, Some(("nl", (2026, 11)))).expect("told");
    assert_eq!((erasure.erased, erasure.details_until), (false, None));
    assert_eq!(erasure.entries_until, Some(at("2034-01-03T23:00:00Z")));
    // Without a site: no earlier than any site's.
    let any = erase(&home, ann, transaction, None).expect("told");
    assert!(!any.erased && any.entries_until >= erasure.entries_until);
    // Eight years later it is done.
    until(&home, at("2034-01-01T00:00:00Z"));
    tick(&home);
    until(&home, at("2034-01-04T02:00:00Z"));
    settle(&home);
    let operator = enrolled(&home, "ann-2034", Role::Operator);
    let by = as_enrolled(&home, operator);
    let erasure = erase(&home, by, transaction, Some(("nl", (2026, 11)))).expect("told");
    assert!(erasure.erased);
    assert_eq!((erasure.rule.as_str(), erasure.entries_until), ("", None));
    receipt(&home, "log/nl/2026-11").expect("a receipt");
    // Nothing of it is found wanting.
    let store = MemoryStore::on(&home.disk);
    let checked = check_in(store.reader().as_ref(), &home.ring()).expect("it opens");
    assert_eq!(checked.findings, Vec::<String>::new());
}

fn hold(home: &Home, who: &str, case: &str, scope: HoldScope) -> Result<Done, Refusal> {
    let case = case.to_owned();
    let place = Admin::PlaceHold(HoldRequest { case, scope });
    home.ask(who, Work::Admin(Box::new(place)))
}

/// Places a hold, by two.
fn held(home: &Home, case: &str, scope: HoldScope) -> HoldId {
    let id = pending(hold(home, "ann", case, scope));
    approve(home, "ben", id).expect("approved");
    let registry = home.vault().registry();
    let mut holds = registry.holds().filter(|(_, hold)| hold.case == case);
    *holds.next().expect("a hold").0
}

fn lift(home: &Home, id: HoldId) {
    let lift = Work::Admin(Box::new(Admin::LiftHold(id)));
    let action = pending(home.ask("ann", lift));
    assert_eq!(denial(approve(home, "ann", action)), Denial::SameOperator);
    approve(home, "ben", action).expect("approved");
}

#[test]
fn what_a_hold_covers_outlives_its_bucket_and_nothing_else_does() {
    let mut home = Home::new();
    let (one, token) = home.card();
    home.clock.pass_ms(HOUR_MS);
    let (two, _) = home.card();
    home.clock.pass_ms(HOUR_MS);
    let (free, _) = home.card();
    let begun = now(&home);
    // One operator is not two, and a refused one leaves no hold.
    let asked = pending(hold(&home, "ann", "C-0", HoldScope::Transaction(free)));
    assert_eq!(denial(approve(&home, "ann", asked)), Denial::SameOperator);
    assert_eq!(home.vault().registry().holds().count(), 0);
    let by_name = held(&home, "C-1", HoldScope::Transaction(one));
    let by_time = held(
        &home,
        "C-2",
        HoldScope::Range {
            site: site("nl"),
            from: start(),
            until: start().plus_ms(HOUR_MS + 1),
        },
    );
    let other_site = held(
        &home,
        "C-3",
        HoldScope::Range {
            site: site("us"),
            from: Timestamp(0),
            until: begun,
        },
    );
    let ann = home.caller("ann");
    let erasure = erase(&home, ann, one, None).expect("told");
    assert_eq!(erasure.held_for.len(), 2);
    assert_eq!((erasure.details_until, erasure.entries_until), (None, None));
    let day = begun.plus_ms(7 * DAY_MS).day();
    let bucket = format!("release/nl/{day}");
    home.clock.pass_ms(12 * DAY_MS);
    tick(&home);
    assert_eq!(state(&home, &bucket), Some(KeyState::Destroyed));
    let look = |home: &Home, transaction| home.ask("shop", Work::Get { transaction });
    for kept in [one, two] {
        assert!(look(&home, kept).is_ok());
    }
    assert_eq!(denial(look(&home, free)), Denial::UnknownTransaction);
    // Kept, not given out.
    assert!(matches!(
        home.authorize(one, &token),
        Err(Refusal::Denied(Denial::Closed | Denial::Expired))
    ));
    let records = |home: &Home, key: &str| {
        let lines = home.ledger();
        let line = lines
            .iter()
            .find(|l| l.get("event") == "key_destroyed" && l.detail("key") == key)
            .expect("an entry");
        line.detail("records")
    };
    assert_eq!(records(&home, &bucket), "1", "what was held is not counted");
    let hold_key = |id: HoldId| format!("hold/nl/{}", payvault::ids::letters(&id.0));
    // The first that covers it keeps it; a hold of another site made no key.
    let made = [by_name, by_time].map(|id| state(&home, &hold_key(id)));
    assert!(made.contains(&Some(KeyState::Active)));
    let foreign = format!("hold/us/{}", payvault::ids::letters(&other_site.0));
    assert_eq!(state(&home, &foreign), None);
    // Over a restart, and checked offline.
    home.close();
    let store = MemoryStore::on(&home.disk);
    let checked = check_in(store.reader().as_ref(), &home.ring()).expect("it opens");
    assert_eq!(checked.findings, Vec::<String>::new());
    drop(store);
    home.reopen().expect("opens");
    assert!(look(&home, one).is_ok());
    // The one that keeps both by time is lifted: `one` goes on under its other hold.
    lift(&home, by_time);
    home.clock.pass_ms(2 * HOUR_MS);
    tick(&home);
    assert!(
        look(&home, two).is_ok(),
        "its end is pending, or it is gone"
    );
    home.clock.pass_ms(4 * DAY_MS);
    tick(&home);
    assert_eq!(denial(look(&home, two)), Denial::UnknownTransaction);
    assert!(look(&home, one).is_ok(), "another hold keeps it");
    assert_eq!(state(&home, &hold_key(by_time)), Some(KeyState::Destroyed));
    assert_eq!(state(&home, &hold_key(by_name)), Some(KeyState::Active));
    receipt(&home, &hold_key(by_time)).expect("a receipt");
    // The last one.
    lift(&home, by_name);
    home.clock.pass_ms(2 * HOUR_MS);
    tick(&home);
    home.clock.pass_ms(4 * DAY_MS);
    tick(&home);
    assert_eq!(denial(look(&home, one)), Denial::UnknownTransaction);
    tick(&home);
    let rows = home.disk.durable();
    assert_eq!(rows.range(b"X".to_vec()..b"Y".to_vec()).count(), 0);
    let lines = home.ledger();
    let of = |event: &str| {
        let ok = lines.iter().filter(|l| l.get("outcome") == "ok");
        ok.filter(|l| l.get("event") == event).count()
    };
    assert_eq!((of("hold_placed"), of("hold_lifted")), (3, 2));
    let lifted = lines.iter().find(|l| l.get("event") == "hold_lifted");
    let lifted = lifted.expect("an entry");
    assert_eq!(lifted.get("actor_name"), "ben");
    assert_eq!(lifted.detail("requested_by"), "ann");
    assert_eq!(lifted.detail("case"), "C-2");
}

#[test]
fn a_hold_keeps_the_log_of_its_time_and_comes_too_late_for_what_is_gone() {
    let home = five_sites();
    let (transaction, _) = home.card();
    let id = held(&home, "C-1", HoldScope::Transaction(transaction));
    until(&home, at("2034-01-01T00:00:00Z"));
    tick(&home);
    assert_eq!(state(&home, "log/nl/2026-11"), Some(KeyState::Active));
    assert_eq!(
        state(&home, "log/se/2026-11"),
        Some(KeyState::PendingDestruction)
    );
    let ended = {
        let name = KeyName::parse("log/se/2026-11").expect("a key's name");
        let ring = home.ring();
        let pending =
            |key: &&KeyRecord| key.name() == name && key.state() == KeyState::PendingDestruction;
        ring.list()
            .filter(pending)
            .last()
            .expect("it is pending")
            .id()
    };
    let (ann, ben) = (
        enrolled(&home, "ann-2034", Role::Operator),
        enrolled(&home, "ben-2034", Role::Operator),
    );
    let asks = |who, admin| home.ask_as(as_enrolled(&home, who), Work::Admin(Box::new(admin)));
    let gone = Admin::PlaceHold(HoldRequest {
        case: "C-2".to_owned(),
        scope: HoldScope::Transaction(TransactionId::random()),
    });
    assert_eq!(denial(asks(ann, gone)), Denial::UnknownTransaction);
    // One that is placed while the end is pending calls it off.
    let pending_hold = Admin::PlaceHold(HoldRequest {
        case: "C-3".to_owned(),
        scope: HoldScope::Range {
            site: site("se"),
            from: at("2026-11-01T00:00:00Z"),
            until: at("2026-12-01T00:00:00Z"),
        },
    });
    let action = pending(asks(ann, pending_hold));
    asks(ben, Admin::Approve(action)).expect("approved");
    home.clock.pass_ms(4 * DAY_MS);
    settle(&home);
    // That key itself: it may have been followed by one under which its rows are sealed anew, which
    // hangs on how far re-wrapping was when the end was pending.
    let ring = home.ring();
    let held = ring.list().find(|key| key.id() == ended);
    assert_eq!(
        held.map(|key| key.state()),
        Some(KeyState::DecryptOnly),
        "a hold beats every clock"
    );
    assert_eq!(state(&home, "log/dk/2026-11"), Some(KeyState::Destroyed));
    let action = pending(asks(ann, Admin::LiftHold(id)));
    // An approval is of the action that it names, once.
    let never = ActionId::random();
    assert_eq!(denial(asks(ben, Admin::Approve(never))), Denial::NotPending);
    asks(ben, Admin::Approve(action)).expect("approved");
    assert_eq!(
        denial(asks(ben, Admin::Approve(action))),
        Denial::NotPending
    );
    assert_eq!(denial(asks(ann, Admin::LiftHold(id))), Denial::UnknownHold);
    home.clock.pass_ms(2 * HOUR_MS);
    tick(&home);
    assert_eq!(
        state(&home, "log/nl/2026-11"),
        Some(KeyState::PendingDestruction)
    );
}
