//! A store whose content is not what was stored: each change is noticed, gives nothing, and harms
//! nobody else.

use crate::house::*;
use payvault::clock::DAY_MS;
use payvault::codec::{Reader, Writer};
use payvault::ids::TransactionId;
use payvault::keys::{KeyError, KeyName, Kind, Place, Sealed};
use payvault::payment::Token;
use payvault::policy::{Field, Purpose, Terms};
use payvault::vault::OpenError;
use payvault::vault::command::{Refusal, Work};

/// A transaction row taken apart, after `docs/format.md` §4.
pub struct Row {
    opened: [u8; 16],
    pub terms: Terms,
    closed: u8,
    last: [u8; 40],
    pub tokens: Vec<TokenRow>,
    pub requests: Vec<RequestRow>,
}

#[derive(Clone)]
pub struct TokenRow {
    pub selector: [u8; 16],
    hash: [u8; 32],
    rest: Vec<u8>,
    pub record: Vec<u8>,
    uses: Vec<[u8; 3]>,
}

#[derive(Clone)]
pub struct RequestRow {
    head: [u8; 30],
    pub answer: Vec<u8>,
}

impl Row {
    pub fn parse(bytes: &[u8]) -> Row {
        let mut r = Reader::new(bytes);
        let take = |r: &mut Reader<'_>| -> Result<Row, payvault::codec::Malformed> {
            assert_eq!(r.u8()?, 1);
            let opened = r.array()?;
            let terms = Terms::decode_from(r)?;
            let closed = r.u8()?;
            let last = r.array()?;
            let mut tokens = Vec::new();
            for _ in 0..r.u8()? {
                let selector = r.array()?;
                let hash = r.array()?;
                let mut rest = Writer::default();
                let head = r.array::<11>()?;
                rest.raw(&head);
                // Assurance and bank follow when the kind says so.
                if head[10] & 128 != 0 {
                    rest.u8(r.u8()?).bytes(r.bytes()?);
                }
                for _ in 0..3 {
                    rest.bytes(r.bytes()?);
                }
                rest.raw(&r.array::<3>()?);
                let record = r.bytes()?.to_vec();
                let mut uses = Vec::new();
                for _ in 0..r.u8()? {
                    uses.push(r.array()?);
                }
                tokens.push(TokenRow {
                    selector,
                    hash,
                    rest: rest.as_slice().to_vec(),
                    record,
                    uses,
                });
            }
            let mut requests = Vec::new();
            for _ in 0..r.u8()? {
                requests.push(RequestRow {
                    head: r.array()?,
                    answer: r.bytes()?.to_vec(),
                });
            }
            assert_eq!(r.remaining(), 0);
            Ok(Row {
                opened,
                terms,
                closed,
                last,
                tokens,
                requests,
            })
        };
        take(&mut r).expect("a row as the format says")
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(1).raw(&self.opened);
        self.terms.encode_into(&mut w);
        w.u8(self.closed).raw(&self.last);
        w.u8(self.tokens.len() as u8);
        for token in &self.tokens {
            w.raw(&token.selector).raw(&token.hash).raw(&token.rest);
            w.bytes(&token.record).u8(token.uses.len() as u8);
            for used in &token.uses {
                w.raw(used);
            }
        }
        w.u8(self.requests.len() as u8);
        for request in &self.requests {
            w.raw(&request.head).bytes(&request.answer);
        }
        w.as_slice().to_vec()
    }
}

fn key_of(transaction: TransactionId) -> Vec<u8> {
    [b"X", &transaction.0[..], b"s"].concat()
}

/// Changes a row's content under its right outer key, as whoever holds the keyring could.
fn edit(home: &mut Home, transaction: TransactionId, change: impl FnOnce(&mut Row)) {
    home.close();
    let ring = home.ring().uncounted();
    let key = key_of(transaction);
    home.disk.tamper(|rows| {
        let sealed = Sealed::from_stored(rows[&key].clone()).expect("sealed");
        let Ok(KeyName::Release { site, .. }) = ring.key(sealed.key_id()).map(|k| k.name()) else {
            panic!("another key");
        };
        let place = Place {
            site,
            transaction: Some(transaction),
            kind: Kind::Transaction,
            scope: &transaction.0,
            row_key: &key,
        };
        let plain = ring.open(&place, &sealed).expect("opens");
        let mut row = Row::parse(&plain);
        assert_eq!(row.encode(), *plain, "the row as the format says");
        change(&mut row);
        let sealed = ring
            .seal(sealed.key_id(), &place, &row.encode())
            .expect("sealed");
        rows.insert(key.clone(), sealed.into_bytes());
    });
    drop(ring);
    home.reopen().expect("opens");
}

/// Changes rows while the vault is stopped.
fn disturb(home: &mut Home, change: impl FnOnce(&mut crate::ledger::Rows)) {
    home.close();
    home.disk.tamper(change);
    home.reopen().expect("opens");
}

/// The transaction gives nothing and says so; an untouched one is served as ever.
fn refused_and_told(home: &Home, broken: TransactionId, token: &Token) {
    let (healthy, healthy_token) = home.card();
    let from = home.size();
    let answer = home.authorize(broken, token);
    assert_eq!(refusal(answer), Refusal::Integrity);
    let lines = home.ledger();
    let line = &lines[from as usize];
    assert_eq!(line.brief(), "integrity failed INTEGRITY");
    assert_eq!(line.get("transaction"), broken.to_string());
    assert_eq!(line.get("actor_name"), "acme");
    assert!(!line.detail("what").is_empty());
    assert!(home.authorize(healthy, &healthy_token).is_ok());
}

#[test]
fn a_row_in_anothers_place_gives_nothing() {
    let mut home = Home::new();
    let (one, first) = home.card();
    let (two, second) = home.card();
    disturb(&mut home, |rows| {
        let row = rows[&key_of(one)].clone();
        let other = rows.insert(key_of(two), row).expect("a row");
        rows.insert(key_of(one), other);
    });
    refused_and_told(&home, one, &first);
    refused_and_told(&home, two, &second);
    refused_and_told(&home, one, &second);
}

#[test]
fn a_copy_of_a_row_under_a_made_up_transaction_gives_nothing() {
    let mut home = Home::new();
    let (one, token) = home.card();
    let made_up = TransactionId::random();
    disturb(&mut home, |rows| {
        let row = rows[&key_of(one)].clone();
        rows.insert(key_of(made_up), row);
    });
    refused_and_told(&home, made_up, &token);
    assert!(home.authorize(one, &token).is_ok());
}

#[test]
fn a_truncated_row_gives_nothing_at_any_length() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    home.close();
    let whole = home.disk.durable()[&key_of(transaction)].clone();
    let step = whole.len() / 12;
    for length in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
        disturb(&mut home, |rows| {
            rows.insert(key_of(transaction), whole[..length].to_vec());
        });
        refused_and_told(&home, transaction, &token);
    }
    disturb(&mut home, |rows| {
        let mut longer = whole.clone();
        longer.push(0);
        rows.insert(key_of(transaction), longer);
    });
    refused_and_told(&home, transaction, &token);
    disturb(&mut home, |rows| {
        rows.insert(key_of(transaction), whole.clone());
    });
    assert!(home.authorize(transaction, &token).is_ok());
}

#[test]
fn a_flipped_byte_anywhere_in_a_row_gives_nothing() {
    let mut home = Home::new();
    // Many copies of the experiment at once: one transaction a flipped byte.
    let cards: Vec<_> = (0..24).map(|_| home.card()).collect();
    disturb(&mut home, |rows| {
        for (number, (transaction, _)) in cards.iter().enumerate() {
            let row = rows.get_mut(&key_of(*transaction)).expect("a row");
            // The first 24 bytes are the header and the nonce: each of them; then every 17th.
            let at = if number < 12 {
                number * 2
            } else {
                (number - 12) * 41 + 24
            };
            let at = at % row.len();
            row[at] ^= 1 << (number % 8);
        }
    });
    for (transaction, token) in &cards {
        let from = home.size();
        assert_eq!(
            refusal(home.authorize(*transaction, token)),
            Refusal::Integrity
        );
        assert_eq!(home.brief(from), ["integrity failed INTEGRITY"]);
    }
}

#[test]
fn edited_terms_under_the_right_outer_key_open_nothing() {
    type Edit = fn(&mut Terms);
    let edits: [Edit; 6] = [
        |t| t.release_until = t.release_until.plus_ms(1),
        |t| t.reference = "order 8".to_owned(),
        |t| t.parties[0].grants[0].uses_max += 1,
        |t| t.parties[0].grants[0].fields = Field::ALL.into_iter().collect(),
        |t| t.parties[1].grants[0].fields = Field::ALL.into_iter().collect(),
        |t| t.expires_at = t.expires_at.plus_ms(1),
    ];
    let mut home = Home::new();
    for change in edits {
        let (transaction, token) = home.card();
        edit(&mut home, transaction, |row| {
            let before = row.terms.clone();
            change(&mut row.terms);
            if row.terms == before {
                row.terms.merchant = "m".to_owned();
            }
        });
        refused_and_told(&home, transaction, &token);
        let Ok(payvault::vault::command::Done::Described(seen)) = home.ask(
            "acme",
            Work::Describe {
                transaction,
                token: again(&token),
            },
        ) else {
            panic!("described");
        };
        assert!(
            seen.uses_left.iter().all(|(_, left)| *left >= 2),
            "no use was burned"
        );
    }
}

#[test]
fn a_party_put_into_the_terms_gets_nothing() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let crux = home.id("crux");
    edit(&mut home, transaction, |row| {
        let mut party = row.terms.parties[0].clone();
        party.principal = crux;
        party.grants = vec![grant(Purpose::Authorize, &[Field::Number], 9)];
        row.terms.parties.push(party);
        row.terms.parties.sort_by_key(|p| p.principal);
    });
    for name in ["crux", "acme"] {
        let answer = home.redeem(
            name,
            transaction,
            &token,
            Purpose::Authorize,
            &[Field::Number],
        );
        // Crux is not allowed to this portal: refused before or at the record, never served.
        assert!(answer.is_err(), "{name}");
    }
    let alarms = home
        .ledger()
        .iter()
        .filter(|l| l.get("event") == "integrity")
        .count();
    assert!(alarms >= 1);
}

#[test]
fn swapped_records_under_the_right_outer_key_open_for_neither_token() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let sibling = home.tokenize(transaction, dutch_iban());
    edit(&mut home, transaction, |row| {
        let (one, two) = row.tokens.split_at_mut(1);
        std::mem::swap(&mut one[0].record, &mut two[0].record);
    });
    refused_and_told(&home, transaction, &token);
    refused_and_told(&home, transaction, &sibling);
    // The same between two transactions.
    let (one, first) = home.card();
    let (two, second) = home.card();
    let mut record = Vec::new();
    edit(&mut home, one, |row| {
        record.clone_from(&row.tokens[0].record)
    });
    edit(&mut home, two, |row| {
        std::mem::swap(&mut row.tokens[0].record, &mut record);
    });
    refused_and_told(&home, two, &second);
    assert!(home.authorize(one, &first).is_ok());
}

#[test]
fn a_record_under_another_tokens_secret_hash_opens_nothing() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let mine = Token::random();
    edit(&mut home, transaction, |row| {
        row.tokens[0].selector = mine.selector().0;
        row.tokens[0].hash = mine.secret_hash();
    });
    refused_and_told(&home, transaction, &mine);
    assert!(denial(home.authorize(transaction, &token)).is_not_tied());
}

#[test]
fn a_remembered_request_that_was_changed_gives_nothing_and_harms_nobody() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let other = home.card();
    let ask = |home: &Home| {
        home.redeem_as(
            request(6_000),
            "acme",
            transaction,
            &token,
            Purpose::Capture,
            &[Field::Number],
        )
    };
    ask(&home).expect("released");
    edit(&mut home, transaction, |row| {
        let last = row.requests.last_mut().expect("a request");
        let end = last.answer.len() - 1;
        last.answer[end] ^= 1;
    });
    // In one round with others.
    let vault = std::sync::Arc::clone(home.vault());
    let caller = home.caller("acme");
    let works = vec![
        redemption(
            home.request(),
            other.0,
            &other.1,
            Purpose::Capture,
            &[Field::Number],
        ),
        redemption(
            request(6_000),
            transaction,
            &token,
            Purpose::Capture,
            &[Field::Number],
        ),
        redemption(
            home.request(),
            transaction,
            &token,
            Purpose::Capture,
            &[Field::Number],
        ),
    ];
    let answers = RUNTIME.block_on(async {
        let mut asked = Vec::new();
        for work in works {
            let (vault, caller) = (std::sync::Arc::clone(&vault), caller.clone());
            asked.push(tokio::spawn(async move {
                vault.ask(caller, work, u64::MAX).await.map(|_| ())
            }));
        }
        let mut answers = Vec::new();
        for one in asked {
            answers.push(one.await.expect("no panic"));
        }
        answers
    });
    assert_eq!(answers, [Ok(()), Err(Refusal::Integrity), Ok(())]);
}

#[test]
fn a_broken_row_harms_no_other_command_of_its_round() {
    let mut home = Home::new();
    let cards: Vec<_> = (0..8).map(|_| home.card()).collect();
    disturb(&mut home, |rows| {
        for (transaction, _) in cards.iter().step_by(2) {
            let row = rows.get_mut(&key_of(*transaction)).expect("a row");
            let end = row.len() - 1;
            row[end] ^= 1;
        }
    });
    let asked: Vec<_> = cards
        .iter()
        .map(|(transaction, token)| {
            let vault = std::sync::Arc::clone(home.vault());
            let caller = home.caller("acme");
            let work = redemption(
                home.request(),
                *transaction,
                token,
                Purpose::Capture,
                &[Field::Number],
            );
            RUNTIME.spawn(async move { vault.ask(caller, work, u64::MAX).await.map(|_| ()) })
        })
        .collect();
    for (number, asked) in asked.into_iter().enumerate() {
        let answer = RUNTIME.block_on(asked).expect("no panic");
        if number % 2 == 0 {
            assert_eq!(answer, Err(Refusal::Integrity));
        } else {
            assert_eq!(answer, Ok(()));
        }
    }
    home.ledger();
}

fn refused_to_open(home: &mut Home) -> OpenError {
    home.close();
    match home.reopen() {
        Err(error) => error,
        Ok(()) => panic!("it opens"),
    }
}

#[test]
fn an_emptied_database_is_refused() {
    let mut home = Home::new();
    home.card();
    home.close();
    home.disk.tamper(crate::ledger::Rows::clear);
    assert!(matches!(
        refused_to_open(&mut home),
        OpenError::Emptied { .. }
    ));
}

#[test]
fn an_older_copy_of_the_database_is_refused() {
    let mut home = Home::new();
    home.card();
    home.close();
    let older = home.disk.durable();
    home.reopen().expect("opens");
    home.card();
    home.close();
    home.disk.tamper(|rows| rows.clone_from(&older));
    // Its head names an older keyring at the most, so only the mark tells.
    assert!(matches!(
        refused_to_open(&mut home),
        OpenError::StoreBehind { .. }
    ));
}

#[test]
fn an_absent_or_foreign_mark_is_refused() {
    let mut home = Home::new();
    home.close();
    let aside = home.house.mark_dir.with_extension("aside");
    std::fs::rename(&home.house.mark_dir, &aside).expect("moved");
    assert!(matches!(
        refused_to_open(&mut home),
        OpenError::MarkAbsent { .. }
    ));
    let _ = std::fs::remove_dir_all(&home.house.mark_dir);
    let mark = payvault::store::Mark {
        vault: payvault::ids::VaultId::random(),
        epoch: 1,
        size: 1,
        root: [0; 32],
        keyring_generation: 1,
        note: String::new(),
    };
    payvault::store::MarkFile::open(&home.house.mark_dir)
        .and_then(|mut file| file.write(&mark))
        .expect("a mark");
    assert!(matches!(refused_to_open(&mut home), OpenError::MarkForeign));
    std::fs::remove_dir_all(&home.house.mark_dir).expect("gone");
    std::fs::rename(&aside, &home.house.mark_dir).expect("moved back");
    home.reopen().expect("opens");
}

#[test]
fn an_older_keyring_is_refused() {
    let mut home = Home::new();
    home.card();
    home.close();
    let older = home.house.keys_dir.with_extension("older");
    copy_dir(&home.house.keys_dir, &older);
    home.reopen().expect("opens");
    home.clock.pass_ms(DAY_MS);
    home.card();
    home.close();
    copy_dir(&older, &home.house.keys_dir);
    assert!(matches!(
        refused_to_open(&mut home),
        OpenError::Key(KeyError::Older { .. })
    ));
}

#[test]
fn an_older_keyring_is_refused_with_an_older_database_too() {
    // Each of the two alone would do: what the mark knows, and what the head knows.
    let mut home = Home::new();
    home.card();
    home.close();
    let (older_rows, older) = (
        home.disk.durable(),
        home.house.keys_dir.with_extension("older"),
    );
    copy_dir(&home.house.keys_dir, &older);
    home.reopen().expect("opens");
    home.clock.pass_ms(DAY_MS);
    home.card();
    home.close();
    copy_dir(&older, &home.house.keys_dir);
    home.disk.tamper(|rows| rows.clone_from(&older_rows));
    assert!(matches!(
        refused_to_open(&mut home),
        OpenError::Key(KeyError::Older { .. })
    ));
}

#[test]
fn an_older_keyring_is_refused_with_an_older_mark_too() {
    let mut home = Home::new();
    home.close();
    let older = home.house.keys_dir.with_extension("older");
    let marks = home.house.mark_dir.with_extension("older");
    copy_dir(&home.house.keys_dir, &older);
    copy_dir(&home.house.mark_dir, &marks);
    home.reopen().expect("opens");
    home.clock.pass_ms(DAY_MS);
    home.card();
    home.close();
    copy_dir(&older, &home.house.keys_dir);
    copy_dir(&marks, &home.house.mark_dir);
    // The database is the newest of the three, and knows the keyring that it was written with.
    let refused = refused_to_open(&mut home);
    assert!(
        matches!(
            refused,
            OpenError::Key(KeyError::Older { .. }) | OpenError::Load(_)
        ),
        "{refused}"
    );
}

#[test]
fn a_rewritten_ledger_is_refused() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    home.authorize(transaction, &token).expect("released");
    home.close();
    let whole = home.disk.durable();
    // A leaf's hash, a page left out, and a page cut.
    let pages: Vec<Vec<u8>> = whole
        .range(b"E".to_vec()..b"F".to_vec())
        .map(|(k, _)| k.clone())
        .collect();
    for (number, page) in pages.iter().enumerate() {
        for change in 0..3 {
            home.disk.tamper(|rows| {
                rows.clone_from(&whole);
                match change {
                    0 => rows.get_mut(page).expect("a page")[20] ^= 1,
                    1 => drop(rows.remove(page)),
                    _ => rows.get_mut(page).expect("a page").truncate(40),
                }
            });
            let refused = refused_to_open(&mut home);
            assert!(
                matches!(refused, OpenError::Load(_) | OpenError::Rewritten { .. }),
                "page {number}, change {change}: {refused}"
            );
        }
    }
    home.disk.tamper(|rows| rows.clone_from(&whole));
    home.reopen().expect("opens");
}

#[test]
fn another_history_of_the_same_length_is_refused() {
    let mut home = Home::new();
    home.close();
    let before = home.disk.durable();
    let marks = home.house.mark_dir.with_extension("before");
    copy_dir(&home.house.mark_dir, &marks);
    home.reopen().expect("opens");
    let (transaction, _) = home.card();
    home.ask("shop", Work::Get { transaction }).expect("read");
    home.close();
    let after = home.house.mark_dir.with_extension("after");
    copy_dir(&home.house.mark_dir, &after);
    // The same vault goes another way from there.
    home.disk.tamper(|rows| rows.clone_from(&before));
    copy_dir(&marks, &home.house.mark_dir);
    home.reopen().expect("opens");
    for _ in 0..3 {
        home.card();
    }
    home.close();
    copy_dir(&after, &home.house.mark_dir);
    assert!(matches!(
        refused_to_open(&mut home),
        OpenError::Rewritten { .. }
    ));
}

#[test]
fn a_damaged_head_principal_or_allowance_is_refused_at_the_start() {
    let mut home = Home::new();
    home.close();
    let whole = home.disk.durable();
    for space in [b"H", b"P", b"A"] {
        home.disk.tamper(|rows| {
            rows.clone_from(&whole);
            let (_, row) = rows
                .iter_mut()
                .find(|(key, _)| key[0] == space[0])
                .expect("a row");
            let end = row.len() - 1;
            row[end] ^= 1;
        });
        let refused = refused_to_open(&mut home);
        assert!(matches!(refused, OpenError::Load(_)), "{refused}");
        // The message says what, and nothing of the content.
        assert!(refused.to_string().contains("damaged"));
    }
}

#[test]
fn principals_rows_that_were_swapped_are_refused() {
    let mut home = Home::new();
    home.close();
    home.disk.tamper(|rows| {
        let keys: Vec<_> = rows.keys().filter(|k| k[0] == b'P').cloned().collect();
        let one = rows[&keys[0]].clone();
        let two = rows.insert(keys[1].clone(), one).expect("a row");
        rows.insert(keys[0].clone(), two);
    });
    assert!(matches!(refused_to_open(&mut home), OpenError::Load(_)));
}

/// The store writes a round whole or not at all; the redo record tells when somebody took a row of it
/// back.
#[test]
fn a_row_of_the_last_round_that_was_put_back_is_refused_at_opening() {
    let mut home = Home::new();
    let (transaction, token) = home.card();
    let before = home.disk.durable();
    home.authorize(transaction, &token).expect("released");
    home.kill();
    let after = home.disk.durable();
    for put_back in [true, false] {
        home.disk.tamper(|rows| {
            let key = key_of(transaction);
            let old = match put_back {
                true => rows.insert(key, before[&key_of(transaction)].clone()),
                false => rows.remove(&key),
            };
            assert_ne!(old.as_ref(), Some(&before[&key_of(transaction)]));
        });
        assert!(matches!(refused_to_open(&mut home), OpenError::Load(_)));
        home.disk.tamper(|rows| rows.clone_from(&after));
    }
    home.reopen().expect("as it was left, it opens");
    let got = home.authorize(transaction, &token).expect("released");
    assert_eq!(got.uses_left, 0, "the use that was acknowledged is counted");
}

#[test]
fn a_row_of_the_last_round_put_back_while_the_vault_runs_is_noticed_when_the_store_is_reopened() {
    use payvault::store::memory::{Fault, Faults};
    let home = Home::new();
    let (transaction, token) = home.card();
    let before = home.disk.durable();
    home.authorize(transaction, &token).expect("released");
    let after = home.disk.durable();
    let base = home.disk.commits();
    home.disk.order(Faults::none().and(base + 1, Fault::Fatal));
    home.disk.tamper(|rows| {
        let old = before[&key_of(transaction)].clone();
        rows.insert(key_of(transaction), old);
    });
    for _ in 0..2 {
        assert!(home.authorize(transaction, &token).is_err());
    }
    home.disk.tamper(|rows| rows.clone_from(&after));
    let got = home.authorize(transaction, &token).expect("released");
    assert_eq!(got.uses_left, 0, "the use that was acknowledged is counted");
}

/// A principal that was disabled, and an allowance that was taken away, would come back with their
/// rows: each opens as it did, and only the head's digest of all of them tells.
#[test]
fn a_principal_or_allowance_that_was_put_back_is_refused() {
    use payvault::vault::command::Admin;
    let mut home = Home::new();
    let before = home.disk.durable();
    let disable = Admin::DisablePrincipal(home.id("acme"));
    home.ask("ann", Work::Admin(Box::new(disable)))
        .expect("disabled");
    home.close();
    let after = home.disk.durable();
    let changed: Vec<_> = after
        .iter()
        .filter(|(key, value)| key[0] == b'P' && before.get(*key) != Some(value))
        .map(|(key, _)| key.clone())
        .collect();
    assert_eq!(changed.len(), 1, "one row changed");
    let refused = |home: &mut Home| {
        assert!(matches!(home.reopen(), Err(OpenError::Load(_))));
    };
    home.disk.tamper(|rows| {
        rows.insert(changed[0].clone(), before[&changed[0]].clone());
    });
    refused(&mut home);
    for space in [b'P', b'A'] {
        home.disk.tamper(|rows| {
            rows.clone_from(&after);
            let first = rows.keys().find(|key| key[0] == space).cloned();
            rows.remove(&first.expect("a row"));
        });
        refused(&mut home);
    }
    home.disk.tamper(|rows| rows.clone_from(&after));
    home.reopen().expect("as it was left, it opens");
}

/// Every round leaves a redo record: none is as bad as a wrong one.
#[test]
fn a_missing_or_older_redo_record_is_refused() {
    let mut home = Home::new();
    let older = home.disk.durable();
    home.card();
    home.close();
    let after = home.disk.durable();
    let part = [b"R".as_slice(), &[0, 0]].concat();
    home.disk.tamper(|rows| {
        rows.remove(&part);
    });
    assert!(matches!(home.reopen(), Err(OpenError::Load(_))));
    home.disk.tamper(|rows| {
        rows.insert(part.clone(), older[&part].clone());
    });
    assert!(matches!(home.reopen(), Err(OpenError::Load(_))));
    home.disk.tamper(|rows| rows.clone_from(&after));
    home.reopen().expect("as it was left, it opens");
}
