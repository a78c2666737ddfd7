//! Pruning: what an erased bucket's entries leave behind is taken out of the pages, and nothing that
//! is proven changes by it. What isn't erased is never touched, and can't be passed off as pruned.

use crate::backup::{NOTHING, bring_back, losing, on_disk, reopen, rows_of, take_as};
use crate::house::*;
use payvault::clock::{DAY_MS, Timestamp};
use payvault::ids::PrincipalId;
use payvault::keys::{KeyId, KeyName, KeyState, seal_key};
use payvault::ledger::{Page, VerifierKey, verify_export, verify_receipt};
use payvault::policy::{Agreement, Denial, Role};
use payvault::store::Store;
use payvault::store::memory::{Fault, Faults, MemoryStore};
use payvault::vault::backup::BackupError;
use payvault::vault::command::{Admin, Caller, Done, Note, Refusal, Work};
use payvault::vault::{ExportRequest, HoldRequest, HoldScope, check_in};
use std::collections::BTreeMap;
use std::sync::Arc;

const MONTH: &str = "log/nl/2026-11";

fn now(home: &Home) -> Timestamp {
    home.house.clock.now()
}

/// Whatever the last tick did is done.
fn settled(home: &Home) {
    for _ in 0..2 {
        let nothing = Work::Note(Note::Handshakes(Vec::new()));
        // A store that failed is opened again by the next round.
        let _ = home.ask_as(Caller::vault(), nothing);
    }
}

fn tick(home: &Home) {
    home.vault().tick();
    settled(home);
}

fn state(home: &Home) -> Option<KeyState> {
    let name = KeyName::parse(MONTH).expect("a key's name");
    let ring = home.ring();
    let keys = ring.list().filter(|key| key.name() == name);
    keys.last().map(|key| key.state())
}

/// Of every generation.
fn keys_of_month(home: &Home) -> Vec<KeyId> {
    let name = KeyName::parse(MONTH).expect("a key's name");
    let ring = home.ring();
    let keys = ring.list().filter(|key| key.name() == name);
    keys.map(|key| key.id()).collect()
}

/// A vault whose first month's log of the site has just ended: its key is destroyed, its entry of
/// that is written, and nothing was pruned yet.
fn erased(cards: usize) -> Home {
    let mut home = Home::new();
    for _ in 0..cards {
        home.card();
    }
    let then = Timestamp::parse("2034-01-01T02:00:00Z").expect("a time");
    home.clock.pass_ms(then.since_ms(now(&home)));
    tick(&home);
    home.clock.pass_ms(4 * DAY_MS);
    assert_eq!(state(&home), Some(KeyState::PendingDestruction));
    home.kill();
    // What the keeper does, up to a crash: it would prune in the same second. Where all was counted
    // by then, its last round did it.
    let mut ring = home.own_ring();
    let name = KeyName::parse(MONTH).expect("a key's name");
    let due = ring.list().filter(|key| key.name() == name);
    let due = due.filter(|key| key.state() != KeyState::Destroyed);
    let due: Vec<_> = due.map(|key| (key.id(), Some(1))).collect();
    ring.destroy_counted(&due, now(&home)).expect("destroyed");
    drop(ring);
    home.reopen().expect("it opens, and tells of it");
    home
}

/// Pages, by their keys.
fn pages(home: &Home) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let rows = home.disk.durable();
    rows.range(b"E".to_vec()..b"F".to_vec())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn bytes(pages: &BTreeMap<Vec<u8>, Vec<u8>>) -> usize {
    pages.values().map(Vec::len).sum()
}

/// How many entries are sealed under these keys, and how many were pruned that were.
fn under(pages: &BTreeMap<Vec<u8>, Vec<u8>>, keys: &[KeyId]) -> (usize, usize) {
    let (mut sealed, mut pruned) = (0, 0);
    for row in pages.values() {
        for entry in Page::parse(row).expect("a page").entries {
            sealed += usize::from(seal_key(entry.sealed).is_some_and(|id| keys.contains(&id)));
            pruned += usize::from(entry.pruned.is_some_and(|id| keys.contains(&KeyId(id))));
        }
    }
    (sealed, pruned)
}

fn prune(home: &Home) {
    let keys = keys_of_month(home);
    for _ in 0..5_000 {
        tick(home);
        if under(&pages(home), &keys).0 == 0 {
            return;
        }
    }
    panic!("it was never pruned");
}

/// What `check` finds. Whoever opens the disk closes it to others: an open vault opens it again at
/// its next round.
fn findings(home: &Home) -> Vec<String> {
    let store = MemoryStore::on(&home.disk);
    let checked = check_in(store.reader().as_ref(), &home.ring());
    checked.expect("it opens").findings
}

fn auditor(home: &Home) -> PrincipalId {
    let mut own = principal(&format!("auditor-{}", home.size()), Role::Auditor);
    own.last_seen = now(home);
    own.agreement = Some(Agreement {
        reference: "NDA 13".to_owned(),
        valid_from: Timestamp(0),
        valid_until: now(home).plus_ms(50 * DAY_MS),
    });
    let id = own.id;
    let create = Work::Admin(Box::new(Admin::CreatePrincipal(own)));
    home.ask_as(Caller::vault(), create).expect("enrolled");
    id
}

fn export(
    home: &Home,
    who: PrincipalId,
    epoch: Option<u32>,
    to: Option<u64>,
) -> Result<String, Refusal> {
    let registry = home.vault().registry();
    let auditor = Arc::clone(registry.principal(who).expect("enrolled"));
    RUNTIME.block_on(async {
        let request = ExportRequest {
            epoch,
            from: 0,
            to,
            from_time: None,
            to_time: None,
            site: None,
            kinds: Vec::new(),
            reason: "the year is over".to_owned(),
            ticket: String::new(),
        };
        let mut pieces = home
            .vault()
            .export(caller(Arc::clone(&auditor)), &auditor, request, u64::MAX)
            .await?;
        let mut lines = Vec::new();
        while let Some(piece) = pieces.recv().await {
            lines.extend(piece?);
        }
        Ok(String::from_utf8(lines).expect("text"))
    })
}

fn receipt(home: &Home, index: u64) -> Result<String, Refusal> {
    let issued = RUNTIME.block_on(home.vault().receipt(index, None))?;
    Ok(payvault::ledger::Receipt {
        entry: issued.entry,
        path: issued.path,
        checkpoint: issued.published.note.to_string(),
    }
    .to_json())
}

#[test]
fn what_is_proven_is_the_same_before_and_after() {
    // The long form is for figures.
    let cards = match std::env::var("PAYVAULT_LONG") {
        Ok(_) => 5_000,
        Err(_) => 60,
    };
    let mut home = erased(cards);
    let keys = keys_of_month(&home);
    let before = pages(&home);
    let (entries, none) = under(&before, &keys);
    assert!(entries >= 2 * cards && none == 0, "{entries} {none}");
    let who = auditor(&home);
    let size = home.size();
    let first = export(&home, who, None, Some(size)).expect("an export");
    // An entry of the month, and the vault's own first one.
    let gone = first
        .lines()
        .skip(1)
        .position(|line| line.contains("\"erased\""));
    let gone = gone.expect("one") as u64;
    assert_eq!(denial(receipt(&home, gone)), Denial::NotOwnEntry);
    let own = receipt(&home, 0).expect("a receipt");

    let began = std::time::Instant::now();
    prune(&home);
    let after = pages(&home);
    println!(
        "{entries} erased entries: pages of {} bytes became {}, in {:?} of ticks",
        bytes(&before),
        bytes(&after),
        began.elapsed()
    );
    assert_eq!(under(&after, &keys), (0, entries));
    assert!(bytes(&after) < bytes(&before) - 100 * entries);
    // Leaves, digests and places of every entry, pruned or not.
    for (key, row) in &before {
        let (old, new) = (Page::parse(row).expect("a page"), &after[key]);
        let new = Page::parse(new).expect("a page");
        let public = |page: &Page<'_>| -> Vec<_> {
            page.entries
                .iter()
                .map(|e| (e.index, e.leaf, e.facets))
                .collect()
        };
        assert_eq!(public(&old), public(&new));
        for (old, new) in old.entries.iter().zip(&new.entries) {
            // What is under other keys may be sealed anew meanwhile.
            assert!(new.pruned.is_none() || new.pruned == seal_key(old.sealed).map(|id| id.0));
        }
    }
    // The same lines, to the byte, and they verify; so does each receipt, and the answers are the same.
    let second = export(&home, who, None, Some(size)).expect("an export");
    let lines = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert!(lines(&first) == lines(&second));
    let verifier = home.vault().verifier().clone();
    let verified = |text: &str| {
        verify_export(text.as_bytes(), std::slice::from_ref(&verifier)).expect("it verifies")
    };
    let report = verified(&second);
    assert_eq!(report.erased, entries as u64);
    assert_eq!(verified(&first).erased, report.erased);
    assert_eq!(denial(receipt(&home, gone)), Denial::NotOwnEntry);
    let again = receipt(&home, 0).expect("a receipt");
    for text in [&own, &again] {
        verify_receipt(text.as_bytes(), std::slice::from_ref(&verifier)).expect("it verifies");
    }
    home.close();
    assert_eq!(findings(&home), Vec::<String>::new());
    // A restart looks again, and finds nothing to do.
    home.reopen().expect("it opens");
    for _ in 0..5 {
        tick(&home);
    }
    home.close();
    let later = pages(&home);
    assert!(
        after
            .iter()
            .take(after.len() - 1)
            .all(|(key, row)| later[key] == *row)
    );
    assert_eq!(findings(&home), Vec::<String>::new());
}

#[test]
fn a_page_that_is_pruned_by_hand_while_its_key_lives_is_found() {
    let mut home = erased(10);
    let dead = keys_of_month(&home)[0];
    let who = auditor(&home);
    prune(&home);
    home.close();
    assert_eq!(findings(&home), Vec::<String>::new());
    // The vault's own last entries: their key lives.
    let (place, row) = pages(&home).into_iter().next_back().expect("a page");
    let page = Page::parse(&row).expect("a page");
    let target = page.entries.iter().find(|e| e.pruned.is_none());
    let target = target.expect("a live one").index;
    let live = seal_key(page.entry(target).expect("there").sealed).expect("sealed");
    assert_ne!(live, dead);
    // Said to be under its own key, which lives; under the destroyed one, which isn't its; under one
    // that never was.
    for key in [live.0, dead.0, 9_999] {
        let pruned = page.without(|e| (e.index == target).then_some(key));
        let pruned = pruned.expect("one");
        home.disk.tamper(|rows| {
            rows.insert(place.clone(), pruned);
        });
        let found = findings(&home);
        let said = format!("entry {target} does not open");
        assert!(found.contains(&said), "{key}: {found:?}");
        home.reopen().expect("it opens");
        let refused = export(&home, who, None, None).expect_err("an export of it");
        assert!(matches!(refused, Refusal::Integrity), "{refused}");
        home.kill();
        home.disk.tamper(|rows| {
            rows.insert(place.clone(), row.clone());
        });
    }
    assert_eq!(findings(&home), Vec::<String>::new());
    // A sealed entry of the destroyed key's, in a live one's place, is none of its bucket.
    let mut unpruned = erased(3);
    let who = auditor(&unpruned);
    let dead = keys_of_month(&unpruned)[0];
    unpruned.close();
    let all = pages(&unpruned);
    let sealed = all.values().find_map(|row| {
        let page = Page::parse(row).expect("a page");
        let of = page
            .entries
            .iter()
            .find(|e| seal_key(e.sealed) == Some(dead))?;
        Some(of.sealed.to_vec())
    });
    let sealed = sealed.expect("one");
    let (place, row) = all.into_iter().next_back().expect("a page");
    let page = Page::parse(&row).expect("a page");
    let last = page.entries.len() - 1;
    let seals: Vec<Vec<u8>> = page.entries.iter().map(|e| e.sealed.to_vec()).collect();
    let mut seals = seals;
    seals[last] = sealed;
    let swapped = page.resealed(&seals);
    unpruned.disk.tamper(|rows| {
        rows.insert(place, swapped);
    });
    assert_eq!(findings(&unpruned).len(), 1);
    unpruned.reopen().expect("it opens");
    for _ in 0..20 {
        tick(&unpruned);
    }
    assert!(export(&unpruned, who, None, None).is_err());
    // Pruning keeps the evidence.
    unpruned.close();
    assert_eq!(findings(&unpruned).len(), 1);
    assert_eq!(under(&pages(&unpruned), &[dead]).0, 1);
}

#[test]
fn what_is_cut_short_is_gone_on_with() {
    let mut seen = [0, 0];
    // Which round of that second prunes is not said, so each of them meets each fault.
    for (fault, round) in Fault::ALL
        .into_iter()
        .flat_map(|f| [(f, 1), (f, 2), (f, 3)])
    {
        let mut home = erased(20);
        let keys = keys_of_month(&home);
        let (entries, _) = under(&pages(&home), &keys);
        // And then the process dies.
        let next = home.disk.commits() + round;
        home.disk.order(Faults::none().and(next, fault));
        home.vault().tick();
        settled(&home);
        home.kill();
        let (sealed, pruned) = under(&pages(&home), &keys);
        assert!(
            (sealed, pruned) == (entries, 0) || (sealed, pruned) == (0, entries),
            "{fault:?}: {sealed} {pruned}"
        );
        seen[usize::from(pruned > 0)] += 1;
        home.reopen().expect("it opens");
        prune(&home);
        assert_eq!(under(&pages(&home), &keys), (0, entries), "{fault:?}");
        home.close();
        assert_eq!(findings(&home), Vec::<String>::new(), "{fault:?}");
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn what_is_kept_or_held_keeps_its_ciphertext() {
    let mut home = Home::with(|house| {
        house.settings.sites.insert(site("us"), 180 * DAY_MS);
    });
    home.card();
    let hold = HoldRequest {
        case: "C-1".to_owned(),
        scope: HoldScope::Range {
            site: site("nl"),
            from: Timestamp::parse("2026-11-01T00:00:00Z").expect("a time"),
            until: Timestamp::parse("2026-12-01T00:00:00Z").expect("a time"),
        },
    };
    let asked = home.ask("ann", Work::Admin(Box::new(Admin::PlaceHold(hold))));
    let Ok(Done::Pending(action)) = asked else {
        panic!("it waits for a second operator");
    };
    home.ask("ben", Work::Admin(Box::new(Admin::Approve(action))))
        .expect("placed");
    let keys = keys_of_month(&home);
    let (held, _) = under(&pages(&home), &keys);
    assert!(held >= 2);
    let then = Timestamp::parse("2034-01-01T02:00:00Z").expect("a time");
    home.clock.pass_ms(then.since_ms(now(&home)));
    tick(&home);
    home.clock.pass_ms(4 * DAY_MS);
    let gone = |home: &Home| {
        let ring = home.ring();
        let gone = ring.list().filter(|key| key.state() == KeyState::Destroyed);
        gone.map(|key| key.id()).collect::<Vec<_>>()
    };
    for _ in 0..200 {
        tick(&home);
    }
    // Another site's month of the same time is erased and pruned, beside it.
    let (left, pruned) = under(&pages(&home), &gone(&home));
    assert!(left == 0 && pruned > 0, "{left} {pruned}");
    assert_ne!(state(&home), Some(KeyState::Destroyed));
    let keys = keys_of_month(&home);
    assert_eq!(under(&pages(&home), &keys), (held, 0));
    home.close();
    assert_eq!(findings(&home), Vec::<String>::new());
}

/// A backup of such a vault, restored into its place; then it is open in its second epoch.
fn restored(pruned: bool) -> (Home, Vec<KeyId>, usize) {
    let mut home = erased(12);
    let keys = keys_of_month(&home);
    let (entries, _) = under(&pages(&home), &keys);
    if pruned {
        prune(&home);
    }
    let mut operator = principal("operator-2034", Role::Operator);
    operator.last_seen = now(&home);
    operator.agreement = Some(Agreement {
        reference: "NDA 14".to_owned(),
        valid_from: Timestamp(0),
        valid_until: now(&home).plus_ms(50 * DAY_MS),
    });
    let id = operator.id;
    let create = Work::Admin(Box::new(Admin::CreatePrincipal(operator)));
    home.ask_as(Caller::vault(), create).expect("enrolled");
    let registry = home.vault().registry();
    let asks = caller(Arc::clone(registry.principal(id).expect("enrolled")));
    let taken = take_as(&home, asks).expect("a backup");
    home.close();
    let lost = match bring_back(&home, &taken.file, NOTHING) {
        Err(BackupError::Loss { lost, .. }) => lost,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("nothing was lost"),
    };
    let restored = bring_back(&home, &taken.file, losing(lost)).expect("it is restored");
    assert_eq!(restored.verified.checked.findings, Vec::<String>::new());
    reopen(&mut home);
    (home, keys, entries)
}

#[test]
fn a_backup_of_what_was_pruned_is_restored_and_one_from_before_is_pruned_then() {
    for pruned in [true, false] {
        let (mut home, keys, entries) = restored(pruned);
        for _ in 0..20 {
            tick(&home);
        }
        let who = auditor(&home);
        let text = export(&home, who, Some(1), None).expect("an export");
        let signing = home.ring().ledger_signing(1).expect("its key");
        let name = payvault::ledger::origin(home.vault().id(), 1);
        let verifier = VerifierKey::new(&name, signing.verifying_key()).expect("a name");
        let report = verify_export(text.as_bytes(), &[verifier]).expect("it verifies");
        assert_eq!(report.erased, entries as u64);
        home.close();
        let store = on_disk(&home);
        let rows = rows_of(&store);
        let pages = rows.range(b"E".to_vec()..b"F".to_vec());
        let pages = pages.map(|(key, row)| (key.clone(), row.clone())).collect();
        assert_eq!(under(&pages, &keys), (0, entries), "{pruned}");
        let checked = check_in(store.reader().as_ref(), &home.ring()).expect("it opens");
        assert_eq!(checked.findings, Vec::<String>::new());
    }
}
