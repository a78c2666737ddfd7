use super::super::testing::{self, NOW, id, log, nl, release, reload, replay};
use super::super::{EnvelopeError, Kind, Place, Sealed};
use super::*;
use crate::clock::DAY_MS;
use crate::ids::Site;

const PLACE: Place<'static> = Place {
    site: Site::VAULT,
    transaction: None,
    kind: Kind::Principal,
    scope: b"scope",
    row_key: b"Prow",
};

fn seal(keyring: &Keyring, key: KeyId) -> Result<Sealed, EnvelopeError> {
    keyring.seal(key, &PLACE, b"a row")
}

#[test]
fn the_next_generation_seals_and_the_earlier_one_opens() {
    let (dir, mut keyring) = testing::keyring();
    let first = id(&keyring, &KeyName::Vault);
    let row = seal(&keyring, first).unwrap();
    let made = keyring.rotate(&[KeyName::Vault, release()], NOW).unwrap();
    assert_eq!(keyring.generation(), 3, "one write");
    let again = reload(dir.path());
    for ring in [&keyring, &again] {
        assert_eq!(id(ring, &KeyName::Vault), made[0]);
        assert_eq!(ring.key(made[0]).unwrap().generation(), 2);
        assert_eq!(ring.key(first).unwrap().state(), KeyState::DecryptOnly);
        assert!(ring.open(&PLACE, &row).is_ok());
        assert_eq!(seal(ring, first), Err(EnvelopeError::NotActive(first)));
        let names: Vec<_> = ring.superseded(NOW).iter().map(|r| r.name).collect();
        assert_eq!(names, [KeyName::Vault, release()]);
        assert!(ring.to_rewrap(NOW).is_empty(), "nobody asked");
    }
}

#[test]
fn what_does_not_rotate_is_refused_and_changes_nothing() {
    let (_dir, mut keyring) = testing::keyring();
    let before = keyring.content();
    let signing = KeyName::LedgerSigning { epoch: 1 };
    for name in [replay(), signing, KeyName::Identity] {
        let refused = keyring.rotate(&[KeyName::Vault, name], NOW);
        assert!(matches!(refused, Err(KeyError::PeriodOver(n)) if n == name));
        let key = id(&keyring, &name);
        let refused = keyring.compromise(key, NOW);
        assert!(matches!(refused, Err(KeyError::IllegalTransition(k)) if k == key));
    }
    let unknown = KeyName::Fingerprint { site: nl() };
    let refused = keyring.rotate(&[unknown], NOW);
    assert!(matches!(refused, Err(KeyError::UnknownName(n)) if n == unknown));
    let past = NOW.plus_ms(5 * DAY_MS);
    let refused = keyring.rotate(&[release()], past);
    assert!(matches!(refused, Err(KeyError::PeriodOver(_))));
    assert_eq!(keyring.content()[..], before[..]);
}

/// Every state, every act on it, and whether it is a bucket and compromised: what may follow is
/// written out, everything else is refused and changes nothing (PCI DSS 3.7.5).
#[test]
fn every_illegal_transition_is_refused() {
    use KeyState::{Active, DecryptOnly, Destroyed, PendingDestruction};
    const STATES: [KeyState; 4] = [Active, DecryptOnly, PendingDestruction, Destroyed];
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Act {
        Change(KeyState),
        Destroy,
        Rotate,
        Compromise,
        AskRewrap,
        Clear,
    }
    let acts = STATES.map(Act::Change).into_iter().chain([
        Act::Destroy,
        Act::Rotate,
        Act::Compromise,
        Act::AskRewrap,
        Act::Clear,
    ]);
    let (mut allowed, mut refused) = (0, 0);
    for act in acts {
        for from in STATES {
            for bucket in [true, false] {
                for compromised in [true, false] {
                    let (dir, mut keyring) = testing::keyring();
                    let name = if bucket { release() } else { KeyName::Vault };
                    let key = id(&keyring, &name);
                    let earlier = seal(&keyring, id(&keyring, &KeyName::Vault)).unwrap();
                    if compromised {
                        keyring.compromise(key, NOW).unwrap();
                    }
                    match from {
                        Active if compromised => continue, // there is no such key
                        Active => {}
                        DecryptOnly if compromised => {}
                        Destroyed => {
                            if keyring.key(key).unwrap().state() == Active {
                                keyring.change_state(&[key], DecryptOnly, NOW).unwrap();
                            }
                            keyring.destroy(&[key], NOW).unwrap();
                        }
                        to => keyring.change_state(&[key], to, NOW).unwrap(),
                    }
                    let before = keyring.content();
                    let result = match act {
                        Act::Change(to) => keyring.change_state(&[key], to, NOW),
                        Act::Destroy => keyring.destroy(&[key], NOW),
                        Act::Rotate => keyring.rotate(&[name], NOW).map(|_| ()),
                        Act::Compromise => keyring.compromise(key, NOW).map(|_| ()),
                        Act::AskRewrap => keyring.ask_rewrap(&[key]),
                        Act::Clear => keyring.clear(&[key], NOW),
                    };
                    let may = match (act, from) {
                        // Of a compromised key the newest of its name is another, an active one.
                        (Act::Rotate, from) => compromised || matches!(from, Active | DecryptOnly),
                        (_, Destroyed) => false,
                        (Act::Compromise, _) => !compromised,
                        (Act::AskRewrap | Act::Clear, from) => from != Active,
                        (Act::Destroy, from) => from != Active || bucket,
                        (Act::Change(to), from) => matches!(
                            (from, to),
                            (Active, DecryptOnly)
                                | (Active | DecryptOnly, PendingDestruction)
                                | (PendingDestruction, DecryptOnly)
                        ),
                    };
                    let what = format!("{act:?} of {from:?}, {name}, compromised {compromised}");
                    assert_eq!(result.is_ok(), may, "{what}: {result:?}");
                    if may {
                        allowed += 1;
                    } else {
                        refused += 1;
                        assert_eq!(keyring.content()[..], before[..], "{what}");
                    }
                    // Whatever was done: nothing that was retired or compromised is ever active again.
                    let after = reload(dir.path());
                    let now = after.record(key).unwrap();
                    if from != Active || compromised {
                        assert_ne!(now.state(), Active, "{what}");
                    }
                    assert!(!compromised || now.is_compromised(), "{what}");
                    let vault = after.record(earlier.key_id()).unwrap();
                    let gone = vault.state() == Destroyed;
                    assert_eq!(after.open(&PLACE, &earlier).is_ok(), !gone, "{what}");
                }
            }
        }
    }
    assert_eq!(allowed + refused, 9 * (4 * 2 + 3 * 2));
    assert!(allowed > 30 && refused > 60, "{allowed} {refused}");
}

#[test]
fn a_compromised_key_is_followed_at_once_and_destroyed_when_it_is_clear() {
    let (dir, mut keyring) = testing::keyring();
    let key = id(&keyring, &KeyName::Vault);
    let row = seal(&keyring, key).unwrap();
    let made = keyring.compromise(key, NOW).unwrap();
    assert_eq!(made, keyring.find(&KeyName::Vault, NOW));
    assert_eq!(keyring.generation(), 3, "one write");
    assert_eq!(seal(&keyring, key), Err(EnvelopeError::NotActive(key)));
    let again = reload(dir.path());
    let wanted: Vec<_> = again.to_rewrap(NOW).iter().map(|r| r.key).collect();
    assert_eq!(wanted, [key]);
    assert!(again.open(&PLACE, &row).is_ok());
    keyring.clear(&[key], NOW).unwrap();
    let again = reload(dir.path());
    assert!(matches!(again.key(key), Err(KeyError::Destroyed(_))));
    assert!(again.record(key).unwrap().is_compromised());
    assert!(!again.is_gone(&KeyName::Vault));
    assert!(again.to_rewrap(NOW).is_empty());
}

#[test]
fn a_clear_key_ends_at_its_date_unless_rows_came_from_elsewhere() {
    let (_dir, mut keyring) = testing::keyring();
    let key = id(&keyring, &KeyName::Vault);
    keyring.rotate(&[KeyName::Vault], NOW).unwrap();
    keyring.ask_rewrap(&[key]).unwrap();
    assert_eq!(keyring.to_rewrap(NOW).len(), 1);
    let end = keyring.key(key).unwrap().not_after_decrypt();
    assert!(keyring.ended_generations(end).is_empty(), "not clear");
    keyring.clear(&[key], NOW).unwrap();
    assert!(keyring.to_rewrap(NOW).is_empty());
    assert!(keyring.ended_generations(NOW).is_empty(), "not its date");
    assert_eq!(keyring.ended_generations(end), [key]);
    keyring.forget_clear().unwrap();
    assert!(keyring.ended_generations(end).is_empty());
}

#[test]
fn keys_are_followed_ahead_of_their_last_day() {
    let (_dir, mut keyring) = testing::keyring();
    let key = id(&keyring, &KeyName::Vault);
    let end = keyring.key(key).unwrap().not_after_encrypt();
    let ahead = Timestamp(end.0 - limits::KEY_ROTATES_AHEAD_MS);
    assert!(keyring.due_for_rotation(Timestamp(ahead.0 - 1)).is_empty());
    assert_eq!(keyring.due_for_rotation(ahead), [KeyName::Vault]);
    // A month's key: three years after its last entry, if the entries are kept for longer.
    let log_key = id(&keyring, &log());
    let opened = keyring
        .key(log_key)
        .unwrap()
        .not_after_encrypt()
        .plus_ms(OPEN_MS);
    let ahead = Timestamp(opened.0 - limits::KEY_ROTATES_AHEAD_MS);
    keyring.rotate(&[KeyName::Vault], end).unwrap();
    assert!(
        !keyring
            .due_for_rotation(Timestamp(ahead.0 - 1))
            .contains(&log())
    );
    assert!(keyring.due_for_rotation(ahead).contains(&log()));
    let made = keyring.rotate(&[log()], ahead).unwrap();
    let key = keyring.key(made[0]).unwrap();
    assert!(key.encrypts_at(ahead), "it has to seal the month anew");
    assert_eq!(
        keyring
            .to_rewrap(ahead)
            .iter()
            .filter(|r| r.key == log_key)
            .count(),
        1
    );
}

#[test]
fn no_crash_lets_a_key_make_more_seals_than_its_budget() {
    let (dir, mut keyring) = testing::keyring();
    let budget = Budget {
        block: 100,
        most: 350,
    };
    let shipped = id(&keyring, &KeyName::Vault);
    keyring.budget = budget;
    let mut made = std::collections::HashMap::<KeyId, u64>::new();
    let mut refused = 0;
    for round in 0..2_000u32 {
        let key = id(&keyring, &KeyName::Vault);
        match seal(&keyring, key) {
            Ok(_) => *made.entry(key).or_default() += 1,
            Err(EnvelopeError::Exhausted(_)) => {
                assert!(keyring.is_low());
                refused += 1;
                keyring.reserve(NOW).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        if round % 130 == 129 {
            // The process dies, and what it had reserved is as good as used.
            keyring = reload(dir.path());
            keyring.budget = budget;
            let key = id(&keyring, &KeyName::Vault);
            assert_eq!(seal(&keyring, key), Err(EnvelopeError::Exhausted(key)));
        }
        for key in keyring.list().filter(|k| k.name() == KeyName::Vault) {
            let sealed = made.get(&key.id()).copied().unwrap_or_default();
            assert!(sealed <= key.seals_reserved());
            assert!(key.id() == shipped || key.seals_reserved() <= budget.most);
        }
    }
    assert!(refused > 15 && made.len() > 4, "{refused} {made:?}");
    assert!(
        made.iter()
            .all(|(key, sealed)| *key == shipped || *sealed <= 350)
    );
}
