//! What happens to keys after their making: the next generation, ahead of time; seals counted, with
//! reservation; compromise; and which keys have rows that are to be sealed anew
//! (`docs/format.md` §8).
//!
//! ```text
//! active ──rotation──→ decrypt-only ──re-wrapped──→ clear ──its date, or compromised──→ destroyed
//! ```

use super::envelope::EnvelopeError;
use super::error::KeyError;
use super::keyring::{Keyring, Staged};
use super::name::{KeyId, KeyName, OPEN_MS};
use super::record::{Change, KeyRecord, KeyState, Life};
use crate::clock::Timestamp;
use crate::limits;
use std::sync::atomic::Ordering;

/// How many seals a key may make, and how many are reserved at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Reserved at a time.
    pub(super) block: u64,
    /// Past it the next generation comes.
    pub(super) most: u64,
}

impl Budget {
    const SHIPPED: Budget = Budget {
        block: limits::KEY_SEALS_RESERVED,
        most: limits::KEY_SEALS_MAX,
    };

    /// The limits; with fault injection those of `PAYVAULT_SEAL_BUDGET` (block `/` most), if it is
    /// set.
    pub(super) fn of_this_process() -> Budget {
        #[cfg(feature = "fault-injection")]
        if let Some(budget) = Budget::injected() {
            return budget;
        }
        Budget::SHIPPED
    }

    #[cfg(feature = "fault-injection")]
    fn injected() -> Option<Budget> {
        let text = std::env::var("PAYVAULT_SEAL_BUDGET").ok()?;
        let (block, most) = text.split_once('/')?;
        Some(Budget {
            block: block.parse().ok()?,
            most: most.parse().ok()?,
        })
    }

    /// With fewer left than this, more are reserved before the next round: what a round may make.
    fn low(self) -> u64 {
        limits::ROUND_SEALS_MAX.min(self.block / 4)
    }
}

/// A key whose rows are to be sealed anew under the newest of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapping {
    /// The key that they lie under.
    pub key: KeyId,
    /// Its name.
    pub name: KeyName,
    /// Its generation.
    pub generation: u32,
    /// Whether it is destroyed as soon as nothing lies under it.
    pub compromised: bool,
}

impl Rewrapping {
    /// Name and generation, the first one's too: `release/nl/20780#1`.
    pub fn label(&self) -> String {
        format!("{}#{}", self.name, self.generation)
    }
}

impl Keyring {
    /// Takes one of a key's reserved seals.
    pub(super) fn count(&self, key: &KeyRecord) -> Result<(), EnvelopeError> {
        let counted = key.count_seal();
        if !counted || key.seals_left() < self.budget.low() {
            self.low.store(true, Ordering::Relaxed);
        }
        match counted {
            true => Ok(()),
            false => Err(EnvelopeError::Exhausted(key.id())),
        }
    }

    /// Whether some key's reserved seals run low: time for [`reserve`](Keyring::reserve).
    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Reserves seals for each active key that runs low; a key that would pass its budget
    /// ([`limits::KEY_SEALS_MAX`]) gets its next generation instead. All in one write, durable when
    /// this returns. Gives the new keys.
    ///
    /// What was reserved when a process ended counts as used, so no crash lets a key make more seals
    /// than its budget.
    ///
    /// # Errors
    /// When the keyring is full or can't be written. Then nothing is sealed past what was reserved.
    pub fn reserve(&mut self, now: Timestamp) -> Result<Vec<KeyId>, KeyError> {
        let mut staged = Staged::default();
        let mut made = Vec::new();
        for key in self.list() {
            let plenty = key.seals_left() >= self.budget.low();
            let active = key.state() == KeyState::Active && key.encrypts_at(now);
            if !key.name().seals_rows() || !active || plenty {
                continue;
            }
            let life = key.life();
            let before = match life.seals {
                0 => limits::KEY_SEALS_UNCOUNTED,
                seals => seals,
            };
            let seals = before.saturating_add(self.budget.block);
            if seals <= self.budget.most {
                staged.lives.insert(key.id(), Life { seals, ..life });
            } else {
                made.push(self.stage_next(&key.name(), now, &mut staged)?);
            }
        }
        self.write(staged)?;
        self.low.store(false, Ordering::Relaxed);
        Ok(made)
    }

    /// For tests only: lifts the budget, so that a keyring that is only looked at seals too.
    #[cfg(feature = "fault-injection")]
    pub fn uncounted(mut self) -> Keyring {
        let ids: Vec<KeyId> = self.list().map(KeyRecord::id).collect();
        for id in ids {
            self.set_seals(id, u64::MAX);
        }
        self
    }

    /// The next generation of each of these names; the earlier ones open only from then on. One
    /// write, durable when this returns. Gives the new keys, in the order of the names.
    ///
    /// # Errors
    /// [`KeyError::UnknownName`]; [`KeyError::PeriodOver`] of a bucket that is past or a name whose
    /// keys don't [rotate](KeyName::rotates); [`KeyError::IllegalTransition`] when the newest key
    /// is to be destroyed, or was. Nothing is changed then.
    pub fn rotate(&mut self, names: &[KeyName], now: Timestamp) -> Result<Vec<KeyId>, KeyError> {
        // The rest is for what must go on: new buckets, and what follows a compromise.
        if self.list().count() + names.len() > limits::KEYS_MAX / 2 {
            return Err(KeyError::Full);
        }
        let mut staged = Staged::default();
        let mut made = Vec::with_capacity(names.len());
        for name in names {
            made.push(self.stage_rotation(name, now, &mut staged)?);
        }
        self.write(staged)?;
        Ok(made)
    }

    /// Whether [`rotate`](Keyring::rotate) would make the next generation of a name.
    ///
    /// # Errors
    /// Why it wouldn't.
    pub fn may_rotate(&self, name: &KeyName, now: Timestamp) -> Result<(), KeyError> {
        let newest = self.newest(name).ok_or(KeyError::UnknownName(*name))?;
        match newest.state() {
            KeyState::Active | KeyState::DecryptOnly => {}
            KeyState::PendingDestruction | KeyState::Destroyed => {
                return Err(KeyError::IllegalTransition(newest.id()));
            }
        }
        if !name.rotates() || name.limits_of_next(now).not_after_encrypt <= now {
            return Err(KeyError::PeriodOver(*name));
        }
        Ok(())
    }

    fn stage_rotation(
        &self,
        name: &KeyName,
        now: Timestamp,
        staged: &mut Staged,
    ) -> Result<KeyId, KeyError> {
        self.may_rotate(name, now)?;
        self.stage_next(name, now, staged)
    }

    /// The names whose newest key nears the end of what it may do: [`limits::KEY_ROTATES_AHEAD_MS`]
    /// before it seals no more; and, of a past month, before it has opened for three years
    /// (NIST SP 800-57 part 1, 5.3.6) while its entries are kept for longer.
    pub fn due_for_rotation(&self, now: Timestamp) -> Vec<KeyName> {
        let soon = now.plus_ms(limits::KEY_ROTATES_AHEAD_MS);
        let due = |key: &&KeyRecord| {
            let newest = self.newest(&key.name()).map(KeyRecord::id) == Some(key.id());
            newest
                && key.state() == KeyState::Active
                && match key.name() {
                    KeyName::Vault | KeyName::Backup | KeyName::Fingerprint { .. } => {
                        key.not_after_encrypt() <= soon
                    }
                    KeyName::Log { .. } => {
                        key.not_after_encrypt().plus_ms(OPEN_MS) <= soon
                            && key.not_after_decrypt() > soon
                    }
                    _ => false,
                }
        };
        // A later key whose time ran out before all was sealed anew under it is followed by another.
        let stranded = |key: &&KeyRecord| {
            key.state() == KeyState::DecryptOnly
                && !key.is_clear()
                && self.is_rewrap_due(key, now)
                && self.find(&key.name(), now).is_none()
                && self.may_rotate(&key.name(), now).is_ok()
        };
        let either = |key: &&KeyRecord| due(key) || stranded(key);
        let mut names: Vec<KeyName> = self.list().filter(either).map(KeyRecord::name).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Declares a key compromised, for good: it seals nothing from then on, its name gets the next
    /// generation if it was the newest and its period still runs, and what lies under it is to be
    /// sealed anew. One write, durable when this returns. Gives the new key.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Destroyed`]; [`KeyError::IllegalTransition`] when it is
    /// compromised already, or its name's keys don't [rotate](KeyName::rotates).
    pub fn compromise(&mut self, id: KeyId, now: Timestamp) -> Result<Option<KeyId>, KeyError> {
        self.may_compromise(id)?;
        let key = self.key(id)?;
        let mut staged = Staged::default();
        let life = Life {
            compromised: true,
            clear: false,
            ..key.life()
        };
        staged.lives.insert(id, life);
        let newest = self.newest(&key.name()).map(KeyRecord::id) == Some(id);
        let made = match newest && self.may_rotate(&key.name(), now).is_ok() {
            true => Some(self.stage_rotation(&key.name(), now, &mut staged)?),
            false => None,
        };
        if key.state() == KeyState::Active {
            let to = KeyState::DecryptOnly;
            staged.changed.insert(id, Change { to, now });
        }
        self.write(staged)?;
        Ok(made)
    }

    /// Whether [`compromise`](Keyring::compromise) would do it.
    ///
    /// # Errors
    /// Why it wouldn't.
    pub fn may_compromise(&self, id: KeyId) -> Result<(), KeyError> {
        let key = self.key(id)?;
        if key.is_compromised() || !key.name().rotates() {
            return Err(KeyError::IllegalTransition(id));
        }
        Ok(())
    }

    /// The keys that open only and may still have rows under them, of names whose newest key seals.
    pub fn superseded(&self, now: Timestamp) -> Vec<Rewrapping> {
        let superseded = |key: &&KeyRecord| {
            key.state() == KeyState::DecryptOnly
                && !key.is_clear()
                && self.find(&key.name(), now).is_some()
        };
        let keys = self.list().filter(superseded);
        keys.map(|key| Rewrapping {
            key: key.id(),
            name: key.name(),
            generation: key.generation(),
            compromised: key.is_compromised(),
        })
        .collect()
    }

    /// Those of them whose rows are to be sealed anew now: they are compromised, it was asked for,
    /// or their last day nears. Of a key of another kind no row is.
    pub fn to_rewrap(&self, now: Timestamp) -> Vec<Rewrapping> {
        let mut keys = self.superseded(now);
        keys.retain(|one| {
            self.record(one.key)
                .is_some_and(|key| self.is_rewrap_due(key, now))
        });
        keys
    }

    fn is_rewrap_due(&self, key: &KeyRecord, now: Timestamp) -> bool {
        let ends = match key.name() {
            KeyName::Vault => key.not_after_decrypt(),
            // Its entries are kept for longer than that, or they end with their key.
            KeyName::Log { .. } => key.not_after_encrypt().plus_ms(OPEN_MS),
            _ => crate::clock::TIMESTAMP_MAX,
        };
        let soon = now.plus_ms(limits::KEY_ROTATES_AHEAD_MS);
        key.is_compromised() || key.is_rewrap_asked() || ends <= soon
    }

    /// Notes, durably, that what lies under these keys is to be sealed anew.
    ///
    /// # Errors
    /// [`KeyError::IllegalTransition`] of a key that still seals; or when the file can't be written.
    pub fn ask_rewrap(&mut self, ids: &[KeyId]) -> Result<(), KeyError> {
        let mut staged = Staged::default();
        for id in ids {
            let key = self.key(*id)?;
            if key.state() == KeyState::Active {
                return Err(KeyError::IllegalTransition(*id));
            }
            let life = Life {
                rewrap: true,
                ..key.life()
            };
            staged.lives.insert(*id, life);
        }
        self.write(staged)
    }

    /// Notes, durably, that no live row lies under these keys any more. Those that are compromised
    /// are destroyed with it, and earlier copies of the file don't open them.
    ///
    /// # Errors
    /// [`KeyError::IllegalTransition`] of a key that still seals; otherwise as
    /// [`destroy`](Keyring::destroy).
    pub fn clear(&mut self, ids: &[KeyId], now: Timestamp) -> Result<(), KeyError> {
        let mut destroyed = Vec::new();
        for id in ids {
            let key = self.key(*id)?;
            if key.state() == KeyState::Active {
                return Err(KeyError::IllegalTransition(*id));
            }
            if key.is_compromised() {
                destroyed.push(*id);
            }
        }
        let mut staged = self.stage_change(&destroyed, KeyState::Destroyed, now)?;
        for id in ids {
            let life = Life {
                clear: true,
                rewrap: false,
                ..self.key(*id)?.life()
            };
            staged.lives.insert(*id, life);
        }
        match destroyed.is_empty() {
            true => self.write(staged),
            false => {
                self.require_settled()?;
                self.renew(staged)
            }
        }
    }

    /// Forgets of every key that nothing lies under it: rows from elsewhere, as from a backup, came.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn forget_clear(&mut self) -> Result<(), KeyError> {
        let mut staged = Staged::default();
        for key in self.list() {
            if key.is_clear() && key.state() != KeyState::Destroyed {
                let life = Life {
                    clear: false,
                    ..key.life()
                };
                staged.lives.insert(key.id(), life);
            }
        }
        self.write(staged)
    }

    /// Keys that were followed by others, have nothing under them and are past their dates: nothing
    /// needs them, and they are to be destroyed.
    pub fn ended_generations(&self, now: Timestamp) -> Vec<KeyId> {
        let ended = |key: &&KeyRecord| {
            let newest = self.newest(&key.name()).map(KeyRecord::id) == Some(key.id());
            let rows = key.name().seals_rows() && !key.is_clear();
            !newest
                && !rows
                && key.name().rotates()
                && key.state() == KeyState::DecryptOnly
                && key.not_after_decrypt() <= now
        };
        self.list().filter(ended).map(KeyRecord::id).collect()
    }

    /// Whether all of a name is gone: its newest key was destroyed. While it is not, the end of an
    /// earlier one ended no row.
    pub fn is_gone(&self, name: &KeyName) -> bool {
        self.newest(name)
            .is_some_and(|key| key.state() == KeyState::Destroyed)
    }

    /// The newest key of a name.
    pub fn newest_of(&self, name: &KeyName) -> Option<&KeyRecord> {
        self.newest(name)
    }

    fn write(&mut self, staged: Staged) -> Result<(), KeyError> {
        if staged.is_empty() {
            return Ok(());
        }
        self.require_settled()?;
        self.commit(staged, None)
    }
}

#[cfg(test)]
mod tests;
