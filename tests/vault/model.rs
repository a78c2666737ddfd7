//! Random commands of several callers, with faults and crashes in between, against a model of what
//! the vault promises. `PAYVAULT_SEED` runs one seed again; `PAYVAULT_LONG=1` runs many.

use crate::house::*;
use payvault::clock::{DAY_MS, Timestamp};
use payvault::ids::TransactionId;
use payvault::payment::Token;
use payvault::policy::{Denial, Field, Purpose};
use payvault::store::memory::{Fault, Faults};
use payvault::vault::command::{Done, Refusal, Work, WorkResult};
use std::collections::BTreeMap;

/// A generator that a seed names (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len() as u64) as usize]
    }
}

struct ModelToken {
    token: Token,
    number: &'static str,
    revoked: bool,
    uses: BTreeMap<(&'static str, u8), u8>,
}

struct Model {
    id: TransactionId,
    expires_at: Timestamp,
    release_until: Timestamp,
    closed: bool,
    tokens: Vec<ModelToken>,
    /// Successes with a remembered request: when.
    remembered: Vec<(&'static str, Timestamp)>,
}

const NUMBERS: [&str; 3] = ["4111111111111111", "5555555555554444", "378282246310005"];
const GRANTS: [(&str, Purpose, u8); 3] = [
    ("acme", Purpose::Authorize, 2),
    ("acme", Purpose::Capture, 3),
    ("bolt", Purpose::Payout, 1),
];

struct Run {
    home: Home,
    dice: Dice,
    models: Vec<Model>,
    /// Requests that were answered `Unavailable`: asked again until the answer is known.
    releases: u64,
    next_request: u64,
}

impl Run {
    /// Asks until there is an answer that says what happened. Every retry has the same request id.
    fn settle(&mut self, name: &str, work: impl Fn(&Home) -> Work) -> Result<Done, Denial> {
        for _ in 0..8 {
            let next = work(&self.home);
            match self.home.ask(name, next) {
                Ok(done) => return Ok(done),
                Err(Refusal::Denied(denied)) => return Err(denied),
                Err(Refusal::Unavailable(_) | Refusal::StorageFull) => {
                    if self.dice.roll(4) == 0 {
                        self.crash();
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
        panic!("the vault does not come back");
    }

    fn crash(&mut self) {
        self.home.kill();
        self.home.reopen().expect("opens after a crash");
    }

    fn fault(&mut self) {
        let fault = *self.dice.one(&Fault::ALL);
        let next = self.home.disk.commits() + 1 + self.dice.roll(3);
        let faults = Faults::none().and(next, fault);
        self.home.disk.order(faults);
    }

    fn now(&self) -> Timestamp {
        self.home.house.clock.now()
    }

    fn number(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    fn open(&mut self) {
        let terms = self.home.terms();
        let number = self.number();
        let done = self.settle("shop", |_| Work::Open {
            request: request(number),
            terms: Box::new(terms.clone()),
        });
        let Ok(Done::Opened { transaction, .. }) = done else {
            panic!("opened");
        };
        assert!(self.models.iter().all(|m| m.id != transaction));
        self.models.push(Model {
            id: transaction,
            expires_at: terms.expires_at,
            release_until: terms.release_until,
            closed: false,
            tokens: Vec::new(),
            remembered: Vec::new(),
        });
    }

    /// Whether no further request of `name` is remembered: each of the three keeps four places.
    fn full(&self, index: usize, name: &str) -> bool {
        let now = self.now();
        let live = |who: &str| {
            self.models[index]
                .remembered
                .iter()
                .filter(|(by, at)| *by == who && now.since_ms(*at) < DAY_MS)
                .count()
        };
        let others = ["shop", "acme", "bolt"]
            .into_iter()
            .filter(|who| *who != name);
        live(name) + others.map(|who| live(who).max(4)).sum::<usize>() >= 24
    }

    fn tokenize(&mut self, index: usize) {
        let id = self.models[index].id;
        let card = *self.dice.one(&NUMBERS);
        let number = self.number();
        let stranger = self.dice.roll(8) == 0;
        let name = if stranger { "other" } else { "shop" };
        let done = self.settle(name, |_| Work::Tokenize {
            request: request(number),
            transaction: id,
            details: Box::new(card_details(card)),
            code: None,
            replaces: None,
        });
        let now = self.now();
        let full = self.full(index, name);
        let model = &mut self.models[index];
        let wanted = if stranger {
            Some(Denial::NotOwner)
        } else if model.closed {
            Some(Denial::Closed)
        } else if now >= model.expires_at {
            Some(Denial::Expired)
        } else if model.tokens.len() >= 4 {
            Some(Denial::TooManyTokens)
        } else if full {
            Some(Denial::TransactionFull)
        } else {
            None
        };
        match (done, wanted) {
            (Err(denied), Some(wanted)) => assert_eq!(denied, wanted),
            (Ok(Done::Tokenized { token, .. }), None) => {
                model.remembered.push(("shop", now));
                model.tokens.push(ModelToken {
                    token,
                    number: card,
                    revoked: false,
                    uses: BTreeMap::new(),
                });
            }
            (Err(denied), None) => panic!("refused: {denied}"),
            (Ok(_), wanted) => panic!("not refused: {wanted:?}"),
        }
    }

    fn redeem(&mut self, index: usize) {
        if self.models[index].tokens.is_empty() {
            return;
        }
        let which = self.dice.roll(self.models[index].tokens.len() as u64) as usize;
        let name = *self.dice.one(&["acme", "acme", "bolt", "crux"]);
        let purpose = *self
            .dice
            .one(&[Purpose::Authorize, Purpose::Capture, Purpose::Payout]);
        let id = self.models[index].id;
        let token = again(&self.models[index].tokens[which].token);
        let number = self.number();
        let times = 1 + self.dice.roll(2);
        let mut first = None;
        for repeat in 0..times {
            let done = self.settle(name, |_| {
                redemption(request(number), id, &token, purpose, &[Field::Number])
            });
            if repeat == 0 {
                first = Some(done.is_ok());
                self.judge_redemption(index, which, name, purpose, done);
            } else if first == Some(true) {
                // The same request once more: it is repeated and burns nothing.
                let Ok(Done::Redeemed(got)) = done else {
                    panic!("a repetition was refused");
                };
                assert!(got.replayed);
            }
        }
    }

    fn judge_redemption(
        &mut self,
        index: usize,
        which: usize,
        name: &'static str,
        purpose: Purpose,
        done: Result<Done, Denial>,
    ) {
        let now = self.now();
        let full = self.full(index, name);
        let model = &mut self.models[index];
        let own = &mut model.tokens[which];
        let max = GRANTS
            .iter()
            .find(|(n, p, _)| *n == name && *p == purpose)
            .map(|(_, _, max)| *max);
        let used = own.uses.entry((name, purpose as u8)).or_default();
        let wanted = if name == "crux" {
            Some(Denial::NotAParty)
        } else if model.closed {
            Some(Denial::Closed)
        } else if now >= model.release_until {
            Some(Denial::Expired)
        } else if own.revoked {
            Some(Denial::Revoked)
        } else if max.is_none() {
            Some(Denial::PurposeNotGranted)
        } else if Some(*used) == max {
            Some(Denial::UsedUp)
        } else if full {
            Some(Denial::TransactionFull)
        } else {
            None
        };
        match (done, wanted) {
            (Err(denied), Some(wanted)) => assert_eq!(denied, wanted),
            (Ok(Done::Redeemed(got)), None) => {
                *used += 1;
                assert_eq!(Some(got.uses_left + *used), max, "one use a release");
                assert_eq!(number_of(&got.details), own.number);
                model.remembered.push((name, now));
                self.releases += 1;
            }
            (Err(denied), None) => panic!("refused: {denied}"),
            (Ok(_), wanted) => panic!("not refused: {wanted:?}"),
        }
    }

    fn end(&mut self, index: usize) {
        let id = self.models[index].id;
        let tokens = self.models[index].tokens.len() as u64;
        if self.dice.roll(3) == 0 || tokens == 0 {
            let done = self.settle("shop", |_| Work::Close { transaction: id });
            assert!(matches!(done, Ok(Done::Closed { .. })));
            self.models[index].closed = true;
        } else {
            let which = self.dice.roll(tokens) as usize;
            let token = again(&self.models[index].tokens[which].token);
            let done = self.settle("shop", |_| Work::Revoke {
                transaction: id,
                token: again(&token),
            });
            assert!(done.is_ok());
            self.models[index].tokens[which].revoked = true;
        }
    }

    fn report(&mut self, index: usize) {
        let Some(own) = self.models[index].tokens.first() else {
            return;
        };
        let token = again(&own.token);
        let id = self.models[index].id;
        let number = self.number();
        let full = self.full(index, "acme");
        let done = self.settle("acme", |_| Work::Report {
            request: request(number),
            transaction: id,
            token: again(&token),
            result: WorkResult::Declined,
            reference: String::new(),
        });
        match done {
            Ok(_) => {
                let now = self.now();
                assert!(!full);
                self.models[index].remembered.push(("acme", now));
            }
            Err(denied) => assert!(full && denied == Denial::TransactionFull, "{denied}"),
        }
    }

    /// Everything that the model knows is what the vault says.
    fn compare(&mut self) {
        for index in 0..self.models.len() {
            let id = self.models[index].id;
            let gone = {
                let end = u64::from(self.models[index].release_until.day()) + 1;
                self.now().0 >= end * DAY_MS + 3 * DAY_MS
            };
            if gone {
                continue;
            }
            let done = self.settle("shop", |_| Work::Get { transaction: id });
            let Ok(Done::Got(standing)) = done else {
                panic!("read");
            };
            let model = &self.models[index];
            assert_eq!(standing.closed, model.closed);
            assert_eq!(standing.tokens.len(), model.tokens.len());
            for (theirs, own) in standing.tokens.iter().zip(&model.tokens) {
                assert_eq!(theirs.revoked, own.revoked);
                assert!(theirs.reference == own.token.selector().reference());
            }
        }
        let released = self
            .home
            .ledger()
            .iter()
            .filter(|l| l.brief() == "redeemed")
            .count() as u64;
        assert_eq!(
            released, self.releases,
            "a release is an entry, and one only"
        );
    }
}

fn run(seed: u64, steps: u64) {
    let mut run = Run {
        home: Home::with(|house| house.settings.denials_per_minute = 1_000_000),
        dice: Dice(seed),
        models: Vec::new(),
        releases: 0,
        next_request: 1_000_000,
    };
    run.open();
    for _ in 0..steps {
        let index = run.dice.roll(run.models.len() as u64) as usize;
        // What has no key any more is left out.
        let release_until = run.models[index].release_until;
        let forgotten = run.now() >= release_until.plus_ms(3 * DAY_MS);
        match run.dice.roll(32) {
            0..=1 => run.open(),
            2..=8 if !forgotten => run.tokenize(index),
            9..=20 if !forgotten => run.redeem(index),
            21 if !forgotten => run.end(index),
            22 if !forgotten => run.report(index),
            23..=25 => run.fault(),
            26 => run.crash(),
            27 => {
                let ms = *run.dice.one(&[1, 1_000, HOUR_MS / 2, HOUR_MS, 9 * HOUR_MS]);
                run.home.clock.pass_ms(ms);
            }
            28 => {
                // Without a fault in the way: starting up is not retried.
                run.home.disk.order(Faults::none());
                run.home.restart();
            }
            29 => run.home.vault().tick(),
            _ => {}
        }
    }
    run.home.disk.order(Faults::none());
    run.compare();
    run.crash();
    run.compare();
}

#[test]
fn the_vault_does_what_the_model_does() {
    let (first, count, steps) = match std::env::var("PAYVAULT_SEED") {
        Ok(seed) => (seed.parse().expect("a number"), 1, 400),
        Err(_) => {
            let fresh = u64::from_be_bytes(payvault::ids::random());
            let long = std::env::var_os("PAYVAULT_LONG").is_some();
            (fresh, if long { 500 } else { 6 }, 400)
        }
    };
    for number in 0..count {
        let seed = first.wrapping_add(number);
        println!("PAYVAULT_SEED={seed}");
        run(seed, steps);
    }
}
