//! Keys that others follow: rows sealed anew beside callers, seals counted, a compromised key.

use crate::house::{Home, RUNTIME};
use payvault::clock::DAY_MS;
use payvault::ids::TransactionId;
use payvault::keys::{KeyId, KeyName, KeyState, seal_key};
use payvault::ledger::Page;
use payvault::payment::Token;
use payvault::policy::{Denial, Field, Purpose};
use payvault::store::Store;
use payvault::store::memory::MemoryStore;
use payvault::vault::command::{Admin, Caller, Done, Note, Refusal, Rewrap, StaleRows, Work};
use payvault::vault::{HoldRequest, HoldScope, RewrapStatus};
use std::time::{Duration, Instant};

/// One of three uses.
fn redeem(home: &Home, transaction: TransactionId, token: &Token) -> Result<(), Refusal> {
    let fields = [Field::Number];
    let redeemed = home.redeem("acme", transaction, token, Purpose::Capture, &fields);
    redeemed.map(|_| ())
}

/// What the offline check finds.
fn findings(home: &Home) -> Vec<String> {
    let store = MemoryStore::on(&home.disk);
    let checked = payvault::vault::check_in(store.reader().as_ref(), &home.ring());
    checked.expect("checked").findings
}

fn admin(home: &Home, who: &str, admin: Admin) -> Result<Done, Refusal> {
    home.ask(who, Work::Admin(Box::new(admin)))
}

fn key(home: &Home, label: &str) -> KeyId {
    find(home, label).expect("a key").0
}

fn find(home: &Home, label: &str) -> Option<(KeyId, KeyState, bool)> {
    let (_, keys) = home.vault().keys();
    keys.iter()
        .find(|k| format!("{}#{}", k.name, k.generation) == label)
        .map(|k| (k.id, k.state, k.clear))
}

/// Waits until nothing is to be sealed anew.
fn until_done(home: &Home) -> RewrapStatus {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        home.vault().look_for_rewraps();
        let status = home.vault().rewrapping();
        if status.keys.is_empty() && status.permille == 1_000 && !status.running {
            return status;
        }
        assert!(Instant::now() < until, "{status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every live row under one of `keys`: entries in pages too.
/// Until the tick before is over.
fn settled(home: &Home) {
    let nothing = Work::Note(Note::Handshakes(Vec::new()));
    home.ask_as(Caller::vault(), nothing).expect("noted");
}

fn rows_under(home: &Home, keys: &[KeyId]) -> usize {
    let under = |sealed: &[u8]| seal_key(sealed).is_some_and(|id| keys.contains(&id));
    let rows = home.disk.durable();
    rows.iter()
        .map(|(key, value)| match key[0] {
            b'E' => {
                let page = Page::parse(value).expect("a page");
                page.entries.iter().filter(|e| under(e.sealed)).count()
            }
            b'T' | b'I' => 0,
            _ => usize::from(under(value)),
        })
        .sum()
}

#[test]
fn after_a_rotation_and_a_rewrap_nothing_lies_under_the_earlier_keys() {
    let mut home = Home::new();
    let mut tokens = Vec::new();
    for _ in 0..150 {
        tokens.push(home.card());
    }
    // The vault's own rows are of every kind.
    let held = Admin::PlaceHold(HoldRequest {
        case: "C-1".to_owned(),
        scope: HoldScope::Transaction(tokens[0].0),
    });
    let Ok(Done::Pending(action)) = admin(&home, "ann", held) else {
        panic!("not pending");
    };
    admin(&home, "ben", Admin::Approve(action)).expect("approved");
    let Done::Keys { keys, entry } = admin(&home, "ann", Admin::RotateKey(None)).expect("rotated")
    else {
        panic!("another answer");
    };
    assert!(keys.contains(&"vault#2".to_owned()), "{keys:?}");
    assert!(keys.iter().any(|k| k.starts_with("release/nl/")));
    assert!(keys.iter().any(|k| k.starts_with("log/nl/")));
    let earlier: Vec<String> = keys.iter().map(|k| k.replace("#2", "#1")).collect();
    let ids: Vec<KeyId> = earlier.iter().map(|k| key(&home, k)).collect();
    assert!(rows_under(&home, &ids) > 300);
    assert!(home.vault().rewrapping().keys.is_empty(), "nobody asked");

    let Done::Keys { keys: asked, .. } = admin(&home, "ben", Admin::RewrapKeys).expect("asked")
    else {
        panic!("another answer");
    };
    assert_eq!(asked.len(), earlier.len());
    // Ordinary commands go on beside it.
    for (transaction, token) in &tokens {
        redeem(&home, *transaction, token).expect("redeemed");
    }
    let status = until_done(&home);
    assert_eq!(status.failed, 0);
    assert!(status.rows > 100, "{status:?}");
    assert_eq!(rows_under(&home, &ids), 0);
    for label in &earlier {
        let (_, state, clear) = find(&home, label).expect("a key");
        assert!(clear && state == KeyState::DecryptOnly, "{label}");
    }
    // What was there is there, entries too, and outlives a restart.
    home.restart();
    let lines = home.ledger();
    assert_eq!(lines[entry as usize].get("event"), "key_rotated");
    assert_eq!(lines[entry as usize].get("actor_name"), "ann");
    let events = |event: &str| lines.iter().filter(|l| l.get("event") == event).count();
    assert_eq!(events("key_rotated"), keys.len());
    assert_eq!(events("key_rewrap_finished"), keys.len());
    assert!(events("key_rewrap_started") >= keys.len());
    for (transaction, token) in &tokens {
        redeem(&home, *transaction, token).expect("redeemed");
    }
    home.close();
    assert_eq!(findings(&home), Vec::<String>::new());
}

#[test]
fn a_row_that_was_changed_meanwhile_is_left_alone_and_stale_names_do_no_harm() {
    let home = Home::new();
    let (transaction, token) = home.card();
    let (other, other_token) = home.card();
    let rewrap = |ids: &[TransactionId]| {
        let stale = StaleRows {
            transactions: ids.to_vec(),
            others: vec![b"R\0\0".to_vec(), b"Pnobody".to_vec(), b"E123".to_vec()],
        };
        let work = Work::Rewrap(Rewrap::Rows(stale));
        let asked = home.vault().ask(Caller::vault(), work, u64::MAX);
        match RUNTIME.block_on(asked).expect("done") {
            Done::Rewrapped { rows, failed } => (rows, failed),
            _ => panic!("another answer"),
        }
    };
    assert_eq!(rewrap(&[transaction, other]), (0, 0), "nothing is stale");
    admin(&home, "ann", Admin::RotateKey(None)).expect("rotated");
    // The scan saw both under the earlier key; one was written since.
    redeem(&home, transaction, &token).expect("redeemed");
    let size = home.vault().head().size;
    assert_eq!(rewrap(&[transaction, other, other]), (1, 0));
    assert_eq!(rewrap(&[transaction, other]), (0, 0));
    assert_eq!(home.vault().head().size, size, "no entry");
    redeem(&home, transaction, &token).expect("one use was burned");
    redeem(&home, other, &other_token).expect("redeemed");
}

#[test]
fn a_row_that_does_not_open_stays_and_keeps_its_key() {
    let mut home = Home::new();
    let (transaction, _) = home.card();
    home.card();
    home.close();
    home.disk.tamper(|rows| {
        let row = rows
            .iter_mut()
            .find(|(key, _)| key[0] == b'X' && key[1..17] == transaction.0);
        *row.expect("a row").1.last_mut().expect("a byte") ^= 1;
    });
    home.reopen().expect("opens");
    let Done::Keys { keys, .. } = admin(&home, "ann", Admin::RotateKey(None)).expect("rotated")
    else {
        panic!("another answer");
    };
    admin(&home, "ann", Admin::RewrapKeys).expect("asked");
    let until = Instant::now() + Duration::from_secs(60);
    let status = loop {
        let status = home.vault().rewrapping();
        if status.permille == 1_000 && !status.running {
            break status;
        }
        home.vault().look_for_rewraps();
        assert!(Instant::now() < until, "{status:?}");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.failed, 1);
    assert_eq!(status.keys.len(), keys.len(), "none of them is clear");
    assert!(home.ledger().iter().any(|l| l.get("event") == "integrity"));
}

#[test]
fn a_compromised_key_takes_two_operators_and_is_destroyed_once_nothing_lies_under_it() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let label = {
        let (_, keys) = home.vault().keys();
        let release = keys
            .iter()
            .find(|k| matches!(k.name, KeyName::Release { .. }));
        format!("{}#1", release.expect("a bucket").name)
    };
    let id = key(&home, &label);
    let denied = |result: Result<Done, Refusal>| match result {
        Err(Refusal::Denied(denial)) => denial,
        _ => panic!("not denied"),
    };
    // The names of the roles that may not.
    for who in ["shop", "acme", "auditor"] {
        let refused = admin(&home, who, Admin::CompromiseKey(id));
        assert_eq!(denied(refused), Denial::RoleNotAllowed, "{who}");
    }
    let refused = admin(&home, "ann", Admin::CompromiseKey(KeyId(99)));
    assert_eq!(denied(refused), Denial::UnknownKey);
    let replay = {
        let (_, keys) = home.vault().keys();
        let of_day = keys
            .iter()
            .find(|k| matches!(k.name, KeyName::Replay { .. }));
        of_day.expect("a replay key").id
    };
    let refused = admin(&home, "ann", Admin::CompromiseKey(replay));
    assert_eq!(denied(refused), Denial::KeyState);

    let ask = |home: &Home, who: &str| match admin(home, who, Admin::CompromiseKey(id)) {
        Ok(Done::Pending(action)) => action,
        _ => panic!("not pending"),
    };
    // Nothing happens by asking, however often one operator does; nor by one's own approval.
    let lapsing = ask(&home, "ann");
    ask(&home, "ann");
    let refused = admin(&home, "ann", Admin::Approve(lapsing));
    assert_eq!(denied(refused), Denial::SameOperator);
    // Nor by one that lapsed.
    home.clock.pass_ms(DAY_MS);
    let refused = admin(&home, "ben", Admin::Approve(lapsing));
    assert_eq!(denied(refused), Denial::NotPending);
    // Nor by the approval of something else: that does what it says, and only that.
    let of_replaced = admin(&home, "ann", Admin::RotateKey(Some(KeyName::Vault)));
    assert!(of_replaced.is_ok());
    let other = key(&home, "vault#1");
    let Ok(Done::Pending(other_action)) = admin(&home, "ann", Admin::CompromiseKey(other)) else {
        panic!("not pending");
    };
    let mine = ask(&home, "ann");
    admin(&home, "ben", Admin::Approve(other_action)).expect("approved");
    assert_eq!(find(&home, &label).expect("a key").1, KeyState::Active);
    let compromised = |home: &Home| {
        let (_, keys) = home.vault().keys();
        keys.iter().find(|k| k.id == id).expect("a key").compromised
    };
    assert!(!compromised(&home));

    admin(&home, "ben", Admin::Approve(mine)).expect("approved");
    assert!(compromised(&home));
    let second = admin(&home, "ben", Admin::Approve(mine));
    assert_eq!(denied(second), Denial::NotPending);
    until_done(&home);
    assert_eq!(find(&home, &label).expect("a key").1, KeyState::Destroyed);
    assert_eq!(
        find(&home, "vault#1").expect("a key").1,
        KeyState::Destroyed
    );
    assert_eq!(rows_under(&home, &[id, other]), 0);
    let refused = admin(&home, "ann", Admin::CompromiseKey(id));
    assert_eq!(denied(refused), Denial::UnknownKey);
    redeem(&home, transaction, &token).expect("redeemed");
    home.restart();
    redeem(&home, transaction, &token).expect("redeemed");

    let lines = home.ledger();
    let about = |event: &str| {
        let mut found = lines
            .iter()
            .filter(|l| l.brief() == event && l.detail("key") == label);
        found.next_back().unwrap_or_else(|| panic!("no {event}"))
    };
    let entry = about("key_compromised");
    assert_eq!(entry.get("actor_name"), "ben");
    assert_eq!(entry.detail("requested_by"), "ann");
    about("key_rewrap_started");
    about("key_rewrap_finished");
    about("key_superseded_destroyed");
    // No bucket was erased, and nobody may think so.
    let destroyed = |l: &&crate::ledger::Line| l.get("event") == "key_destroyed";
    assert_eq!(lines.iter().filter(destroyed).count(), 0);
    home.close();
    assert_eq!(findings(&home), Vec::<String>::new());
}

/// A row from before, put back after the key that it lies under was destroyed, is no erased one.
#[test]
fn an_old_row_under_a_destroyed_generation_is_noticed() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let old = home.disk.durable();
    let (_, keys) = home.vault().keys();
    let release = keys
        .iter()
        .find(|k| matches!(k.name, KeyName::Release { .. }));
    let id = release.expect("a bucket").id;
    let Ok(Done::Pending(action)) = admin(&home, "ann", Admin::CompromiseKey(id)) else {
        panic!("not pending");
    };
    admin(&home, "ben", Admin::Approve(action)).expect("approved");
    until_done(&home);
    redeem(&home, transaction, &token).expect("redeemed");
    home.close();
    home.disk.tamper(|rows| {
        let row = old.iter().find(|(key, _)| key[0] == b'X').expect("a row");
        rows.insert(row.0.clone(), row.1.clone());
    });
    let found = findings(&home);
    assert!(
        found.len() == 1 && found[0].contains("put back"),
        "{found:?}"
    );
    home.reopen().expect("opens");
    let refused = redeem(&home, transaction, &token);
    assert!(matches!(refused, Err(Refusal::Integrity)));
    // Nor is it swept away as one.
    for _ in 0..3 {
        home.clock.pass_ms(3_600_000);
        home.vault().tick();
        settled(&home);
    }
    assert!(home.disk.durable().keys().any(|key| key[0] == b'X'));
}

/// More keys than one round tells of change in one write: each is told, and none twice.
#[test]
fn keys_of_very_many_names_are_told_once_each() {
    let mut home = Home::new();
    home.kill();
    let mut ring = home.own_ring();
    let now = home.house.clock.now();
    let names: Vec<KeyName> = (0..900)
        .map(|day| KeyName::Release {
            site: payvault::ids::Site::parse("nl").expect("a site"),
            day: now.day() + day,
        })
        .collect();
    ring.ensure(&names, now).expect("made");
    drop(ring);
    home.reopen().expect("opens");
    let Done::Keys { keys, .. } = admin(&home, "ann", Admin::RotateKey(None)).expect("rotated")
    else {
        panic!("another answer");
    };
    assert!(keys.len() >= 900);
    for _ in 0..3 {
        home.vault().tick();
        settled(&home);
    }
    let lines = home.ledger();
    for generation in ["", "2"] {
        let told = lines.iter().filter(|line| {
            line.get("event") == "key_created"
                && line.detail("key").starts_with("release/nl/")
                && line.detail("generation") == generation
        });
        assert_eq!(told.count(), 900, "{generation}");
    }
}

/// Years of a clock that goes on: the vault's key is followed ahead of its last day, and its rows are
/// sealed anew before it may open no more.
#[test]
fn keys_are_followed_and_rows_sealed_anew_ahead_of_their_dates() {
    let mut home = Home::new();
    home.card();
    let states = |home: &Home| {
        let (_, keys) = home.vault().keys();
        let of_vault = keys.iter().filter(|k| k.name == KeyName::Vault);
        of_vault.map(|k| (k.state, k.clear)).collect::<Vec<_>>()
    };
    // A clock that jumps is not believed; a vault that was off for a while is.
    let mut day = 0;
    let mut on_day = |home: &mut Home, to: u64| {
        home.close();
        while day < to {
            let step = (to - day).min(1_000);
            home.clock.pass_ms(step * DAY_MS);
            day += step;
            home.reopen().expect("opens");
            home.close();
        }
        home.reopen().expect("opens");
    };
    on_day(&mut home, 699);
    assert_eq!(states(&home), [(KeyState::Active, false)]);
    on_day(&mut home, 701);
    let followed = [(KeyState::DecryptOnly, false), (KeyState::Active, false)];
    assert_eq!(states(&home), followed);
    let first = key(&home, "vault#1");
    assert!(rows_under(&home, &[first]) > 0);
    on_day(&mut home, 1_796);
    until_done(&home);
    assert_eq!(states(&home)[0], (KeyState::DecryptOnly, true));
    assert_eq!(rows_under(&home, &[first]), 0);
    on_day(&mut home, 1_830);
    assert_eq!(states(&home)[0], (KeyState::Destroyed, true));
    // The month's entries, three years after the last one.
    assert!(find(&home, "log/-/2026-11#2").is_some_and(|k| k.1 != KeyState::Destroyed));
    let (old, state, clear) = find(&home, "log/-/2026-11#1").expect("a key");
    assert!(clear && state == KeyState::DecryptOnly);
    assert_eq!(rows_under(&home, &[old]), 0);
    home.ledger();
}

/// A later key whose own time came to its end took nothing more: the earlier one is not clear.
#[test]
fn a_pass_that_ends_after_the_later_key_seals_no_more_clears_nothing() {
    let home = Home::new();
    let name = KeyName::parse("log/-/2026-11").expect("a name");
    admin(&home, "ann", Admin::RotateKey(Some(name))).expect("rotated");
    let earlier = key(&home, "log/-/2026-11#1");
    let ended = || {
        let ended = Rewrap::Ended {
            keys: vec![earlier],
            rows: 0,
        };
        let asked = home
            .vault()
            .ask(Caller::vault(), Work::Rewrap(ended), u64::MAX);
        RUNTIME.block_on(asked).expect("done");
        find(&home, "log/-/2026-11#1").expect("a key").2
    };
    home.clock.pass_ms(31 * DAY_MS);
    assert!(!ended());
    assert!(rows_under(&home, &[earlier]) > 0);
    // The control: followed once more, it is taken at its word.
    admin(&home, "ann", Admin::RotateKey(Some(name))).expect("rotated");
    assert!(ended());
}
