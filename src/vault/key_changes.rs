//! Changes of the keyring that a round needs or asks for: more seals, the next generation, a
//! compromise.
//!
//! A round is judged over a keyring that doesn't change meanwhile. Where a command needs a change, the
//! round says so and is thrown away; the committer changes the keyring, durably, and the round is
//! judged again, now with the change in place, and writes its entry. So the keyring is never behind
//! the ledger. When the process dies in between, the keyring has changed without an entry; the start
//! after it says so (`logging_started`, "keyring at generation …").

use super::batch::{Batch, No};
use super::command::{Ask, Caller, Done, Note, Refusal, Rewrap, Work};
use super::committer::{ClockStep, Committer, Failed};
use crate::keys::{KeyError, KeyId, KeyName, KeyRecord, Keyring};
use crate::ledger::{DETAIL_KEY, Entry, Event};
use crate::limits;
use crate::policy::{Denial, Rpc};
use std::sync::PoisonError;

/// How often keys near their last day are looked for.
const LOOK_AHEAD_MS: u64 = 3_600_000;

/// What the keyring must do before a round can be judged.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// Reserve more seals.
    Seals,
    /// The next generation of these names.
    Rotate(Vec<KeyName>),
    /// This key is compromised.
    Compromise(KeyId),
    /// What lies under these keys is to be sealed anew.
    AskRewrap(Vec<KeyId>),
    /// Nothing lies under these keys any more.
    Clear(Vec<KeyId>),
}

/// That a name was followed by its next generation, and why, which has no entry yet. (That keys were
/// made and destroyed the keyring notes itself.)
#[derive(Clone)]
pub(super) struct Owed {
    label: String,
    why: &'static str,
}

/// Name and generation, the first one's too: `release/nl/20780#1`. (A label without one would be the
/// bucket as a whole, whose end is an erasure.)
pub(super) fn full_label(key: &KeyRecord) -> String {
    format!("{}#{}", key.name(), key.generation())
}

fn label_of(ring: &Keyring, id: KeyId) -> String {
    ring.list()
        .find(|key| key.id() == id)
        .map_or_else(|| id.to_string(), full_label)
}

/// Keys of rows, besides transactions, that a command looks at.
pub(super) fn others_of(ask: &Ask) -> &[Vec<u8>] {
    match &ask.work {
        Work::Rewrap(Rewrap::Rows(stale)) => &stale.others,
        Work::Note(Note::Prune(pages)) => pages,
        _ => &[],
    }
}

impl Committer {
    /// Changes the keyring for a round.
    pub(super) fn grant(&mut self, need: Need) -> Result<(), Refusal> {
        let now = self.clock_step().now;
        let mut owed = Vec::new();
        let result = {
            let ring = &mut self
                .shared
                .ring
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            match &need {
                Need::Seals => ring.reserve(now).map(|made| {
                    owed.extend(made.iter().map(|id| rotated(ring, *id, "seals")));
                }),
                Need::Rotate(names) => ring.rotate(names, now).map(|_| ()),
                Need::Compromise(key) => ring.compromise(*key, now).map(|made| {
                    owed.extend(made.iter().map(|id| rotated(ring, *id, "compromise")));
                }),
                Need::AskRewrap(keys) => ring.ask_rewrap(keys),
                Need::Clear(keys) => ring.clear(keys, now),
            }
        };
        if let Err(error) = result {
            tracing::error!(alarm = "keyring", %error, "the keyring can't be changed");
            return Err(Refusal::Unavailable("the keyring can't be changed"));
        }
        self.owed.extend(owed);
        // Reserved seals are no change that a command asked for.
        if need != Need::Seals {
            self.granted = Some(need);
        }
        Ok(())
    }

    /// Reserves seals that run low, and, once an hour, begins the next generation of keys near their
    /// last day and destroys earlier ones that nothing needs. While the clock is suspect only the
    /// first.
    pub(super) fn look_ahead(&mut self, step: &ClockStep) -> Result<(), Failed> {
        let (now, now_ms) = (step.now, self.clock.monotonic_ms());
        let low = self.read_ring(Keyring::is_low);
        if low {
            self.grant(Need::Seals).map_err(Failed::Refuse)?;
        }
        let looked = self.last_look_ahead_ms;
        if step.suspect || looked.is_some_and(|at| now_ms.saturating_sub(at) < LOOK_AHEAD_MS) {
            return Ok(());
        }
        self.last_look_ahead_ms = Some(now_ms);
        let (due, ended) =
            self.read_ring(|ring| (ring.due_for_rotation(now), ring.ended_generations(now)));
        if due.is_empty() && ended.is_empty() {
            return Ok(());
        }
        let mut owed = Vec::new();
        let mut ring = self
            .shared
            .ring
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match ring.rotate(&due, now) {
            Ok(made) => owed.extend(made.iter().map(|id| rotated(&ring, *id, "period"))),
            Err(error) => {
                tracing::error!(alarm = "keyring", %error, "keys near their end can't be followed");
            }
        }
        if let Err(error) = ring.destroy(&ended, now) {
            tracing::error!(alarm = "keyring", %error, "a key can't be destroyed");
        }
        drop(ring);
        self.owed.extend(owed);
        Ok(())
    }

    fn read_ring<T>(&self, read: impl FnOnce(&Keyring) -> T) -> T {
        let ring = self
            .shared
            .ring
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        read(&ring)
    }
}

fn rotated(ring: &Keyring, id: KeyId, why: &'static str) -> Owed {
    Owed {
        label: label_of(ring, id),
        why,
    }
}

impl Batch<'_> {
    /// Entries of what was done to keys.
    pub(super) fn announce_owed(&mut self, owed: &[Owed]) {
        for one in owed {
            let mut entry = self.draft(&Caller::vault(), Event::KeyRotated);
            entry.detail.insert(DETAIL_KEY, one.label.clone());
            entry.detail.insert("why", one.why.to_owned());
            if let Err(no) = self.enter(&mut entry) {
                self.fail(no);
            }
        }
    }

    /// Goes on once the keyring did what is needed; until then the round is judged for nothing.
    pub(super) fn require(&mut self, need: Need) -> Result<(), No> {
        let done = matches!(need, Need::Compromise(id) if self.is_compromised(id));
        if done || self.granted == Some(&need) {
            return Ok(());
        }
        self.needs = Some(need);
        Err(No::Keys("the keyring has something to do first".to_owned()))
    }

    /// `RotateKey`.
    pub(super) fn rotate_key(
        &mut self,
        caller: &Caller,
        name: Option<KeyName>,
    ) -> Result<Done, No> {
        self.admit(caller, Rpc::RotateKey)?;
        let names = match (self.granted, name) {
            // As it was when the keyring did it.
            (Some(Need::Rotate(names)), _) => names.clone(),
            (_, Some(name)) => {
                self.ring.may_rotate(&name, self.now).map_err(denied)?;
                vec![name]
            }
            (_, None) => {
                let mut names: Vec<KeyName> = self
                    .ring
                    .list()
                    .filter(|key| key.name().seals_rows() && key.encrypts_at(self.now))
                    .map(KeyRecord::name)
                    .filter(|name| self.ring.may_rotate(name, self.now).is_ok())
                    .collect();
                names.sort();
                names
            }
        };
        if names.len() > limits::KEYS_ROTATED_AT_ONCE_MAX {
            return Err(Denial::TooMany.into());
        }
        self.require(Need::Rotate(names.clone()))?;
        let made = names.iter().filter_map(|name| self.ring.newest_of(name));
        let labels: Vec<String> = made.map(full_label).collect();
        self.enter_keys(caller, Event::KeyRotated, labels)
    }

    /// `RewrapKeys`.
    pub(super) fn rewrap_keys(&mut self, caller: &Caller) -> Result<Done, No> {
        self.admit(caller, Rpc::RewrapKeys)?;
        let keys = match self.granted {
            Some(Need::AskRewrap(keys)) => keys.clone(),
            _ => {
                let superseded = self.ring.superseded(self.now).into_iter();
                let rows = superseded.filter(|one| one.name.seals_rows());
                rows.map(|one| one.key).collect()
            }
        };
        self.require(Need::AskRewrap(keys.clone()))?;
        let labels = keys.iter().map(|id| label_of(self.ring, *id)).collect();
        self.enter_keys(caller, Event::KeyRewrapStarted, labels)
    }

    fn enter_keys(&mut self, caller: &Caller, event: Event, keys: Vec<String>) -> Result<Done, No> {
        let entry = self.next_index();
        for label in &keys {
            let mut own = self.draft(caller, event);
            own.detail.insert(DETAIL_KEY, label.clone());
            own.detail.insert("why", "asked".to_owned());
            self.enter(&mut own)?;
        }
        Ok(Done::Keys { keys, entry })
    }

    /// Whether a key may be declared compromised: it lives, its kind is followed by others, and it
    /// isn't compromised yet. Gives its label.
    pub(super) fn check_compromise(&self, id: KeyId, entry: &mut Entry) -> Result<String, No> {
        let label = label_of(self.ring, id);
        entry.detail.insert(DETAIL_KEY, label.clone());
        self.ring.may_compromise(id).map_err(denied)?;
        Ok(label)
    }

    /// The same for an approved action, which is done at most once: when the process died between the
    /// keyring's change and the round, its entries are written at the next approval.
    pub(super) fn check_approved_compromise(&self, id: KeyId, entry: &mut Entry) -> Result<(), No> {
        if self.is_compromised(id) {
            entry.detail.insert(DETAIL_KEY, label_of(self.ring, id));
            return Ok(());
        }
        self.check_compromise(id, entry).map(|_| ())
    }

    fn is_compromised(&self, id: KeyId) -> bool {
        self.ring.key(id).is_ok_and(KeyRecord::is_compromised)
    }

    /// `CompromiseKey`, with as many operators as it takes.
    pub(super) fn compromise_key(&mut self, id: KeyId, entry: &mut Entry) -> Result<Done, No> {
        self.require(Need::Compromise(id))?;
        let index = self.enter(entry)?.index;
        let label = label_of(self.ring, id);
        tracing::warn!(alarm = "key", key = label, "a key was declared compromised");
        Ok(Done::Noted { entry: index })
    }
}

/// What the caller hears.
fn denied(error: KeyError) -> No {
    No::Denied(match error {
        KeyError::Unknown(_) | KeyError::UnknownName(_) | KeyError::Destroyed(_) => {
            Denial::UnknownKey
        }
        _ => Denial::KeyState,
    })
}
