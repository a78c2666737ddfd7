//! The keyring: every key that the vault has, in a file of its own, sealed under the wrapping key
//! (`docs/format.md` §8). Each write replaces the file durably and raises its generation by one.
//!
//! The floors above see [`KeyRecord`]s and [`KeyId`]s; secrets stay in this room.

use super::anchor::RestsOn;
use super::cipher::{self, NONCE_BYTES, TAG_BYTES};
use super::ending::{self, Ending, KeyNote, NOTE_BYTES_MAX, Notes};
use super::error::KeyError;
use super::file;
use super::hsm::ObjectId;
use super::lifecycle::Budget;
use super::name::{KeyId, KeyName};
use super::record::{Change, KeyRecord, KeyState, Life, RECORD_BYTES_MAX, RECORD_BYTES_MIN};
use super::seal::{Deliver, NewSeal, RootKey, SealFile, Unsealer};
use super::wrap::{Slot, Wrapper};
use crate::clock::Timestamp;
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{VaultId, random};
use crate::limits;
use crate::secret::{LockedBytes, SecretBuffer, SecretBytes, wipe_stack};
use ed25519_dalek::SigningKey;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use zeroize::Zeroizing;

/// The file's name.
pub(super) const FILE: &str = "keyring";
/// Magic, format, suite, generation and vault id: what is authenticated in clear.
const HEADER_BYTES: usize = 4 + 8 + 16;
/// How often [`Keyring::look`] reads.
const LOOKS_MAX: u32 = 5;

/// The vault's keys. One writer at a time: a second process on the same directory is kept out by
/// the store's lock.
pub struct Keyring {
    dir: PathBuf,
    vault: VaultId,
    generation: u64,
    next_id: u32,
    /// In ascending order of their ids. Destroyed ones stay, so that a row under one can be told
    /// from a row under nothing.
    records: Vec<KeyRecord>,
    /// Where in `records` the newest generation of each name is.
    newest: HashMap<KeyName, usize>,
    notes: Notes,
    /// Wraps the next wrapping key.
    wrapper: Wrapper,
    wrapping: LockedBytes<32>,
    slot: Slot,
    /// The anchor's object that the slot's key rests on.
    object: Option<ObjectId>,
    /// False after a write of which it isn't known whether it holds.
    settled: bool,
    /// What a destruction has still to free, after a failure: the old slot, and its object.
    unfreed: Option<(Slot, Option<ObjectId>)>,
    /// How many seals a key may make, and how many are reserved at a time.
    pub(super) budget: Budget,
    /// Set when a key's reserved seals run low. Set from the start: what was reserved before counts
    /// as used.
    pub(super) low: AtomicBool,
}

/// What a write adds and changes, before it is durable.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) added: Vec<KeyRecord>,
    pub(super) changed: HashMap<KeyId, Change>,
    pub(super) lives: HashMap<KeyId, Life>,
    /// Of the destroyed ones.
    pub(super) endings: HashMap<KeyId, Ending>,
}

impl Staged {
    /// Whether it changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.lives.is_empty()
    }
}

impl Keyring {
    /// A new keyring with the keys `vault`, `identity` and `ledger-signing/1`; durable when this
    /// returns. Makes the directory if need be.
    ///
    /// # Errors
    /// [`KeyError::Exists`] when there is a keyring, or a file could not be written.
    pub fn create(
        keys_dir: &Path,
        vault: VaultId,
        root: &RootKey,
        now: Timestamp,
    ) -> Result<Keyring, KeyError> {
        file::make_dir(keys_dir)?;
        if keys_dir.join(FILE).exists() {
            return Err(KeyError::Exists { file: FILE });
        }
        let wrapper = Wrapper::new(root, vault);
        let wrapping = LockedBytes::new(SecretBytes::random());
        let (slot, object) = wrapper.create(keys_dir, &wrapping)?;
        let mut keyring = Keyring {
            dir: keys_dir.to_owned(),
            vault,
            generation: 0,
            next_id: 1,
            records: Vec::new(),
            newest: HashMap::new(),
            notes: Notes::new(),
            wrapper,
            wrapping,
            slot,
            object,
            settled: true,
            unfreed: None,
            budget: Budget::of_this_process(),
            low: AtomicBool::new(true),
        };
        let first = [
            KeyName::Vault,
            KeyName::Identity,
            KeyName::LedgerSigning { epoch: 1 },
        ];
        keyring.ensure(&first, now)?;
        Ok(keyring)
    }

    /// Loads the keyring, and ends a destruction that was cut short. Only for who holds the keys
    /// directory's lock: the destruction of a vault that serves looks the same from outside, and
    /// ending it would cost that vault its keyring. Everybody else [looks](Keyring::look).
    ///
    /// Whether the file is the newest is not to be seen from the file itself: compare
    /// [`generation`](Keyring::generation) with the high-water mark by
    /// [`require_generation`](Keyring::require_generation).
    ///
    /// # Errors
    /// When a file can't be read, has another shape, belongs to another vault, or does not open.
    pub fn load(keys_dir: &Path, vault: VaultId, root: &RootKey) -> Result<Keyring, KeyError> {
        file::remove_temporary(keys_dir, FILE);
        let (mut keyring, unfinished) = Keyring::read(keys_dir, vault, root)?;
        if let Some(object) = unfinished {
            // A destruction was cut short before (then the other slot's key was never used) or
            // after the keyring's replacement (then it is the old one). The replacement must be
            // durable before the old key goes.
            let doing = "ending a destruction that was cut short";
            // A slot that somebody wrote must not talk us into destroying the object in use.
            let object = object.filter(|object| keyring.object != Some(*object));
            let other = keyring.slot.other();
            file::sync_dir(keys_dir)
                .and_then(|()| keyring.wrapper.free(keys_dir, other, object))
                .map_err(|source| KeyError::Io { doing, source })?;
        }
        keyring.settled = true;
        Ok(keyring)
    }

    /// Loads the keyring beside a vault that may be serving: changes no file, and what it gives
    /// opens and seals but writes nothing.
    ///
    /// # Errors
    /// As [`load`](Keyring::load).
    pub fn look(keys_dir: &Path, vault: VaultId, root: &RootKey) -> Result<Keyring, KeyError> {
        // The two files are read one after the other; a destruction may fall between.
        for _ in 1..LOOKS_MAX {
            if let Ok((keyring, _)) = Keyring::read(keys_dir, vault, root) {
                return Ok(keyring);
            }
        }
        Keyring::read(keys_dir, vault, root).map(|(keyring, _)| keyring)
    }

    /// Reads both files; tells whether a destruction was cut short, and the object of the slot that
    /// is to be freed then. What it gives writes nothing.
    fn read(
        keys_dir: &Path,
        vault: VaultId,
        root: &RootKey,
    ) -> Result<(Keyring, Option<Option<ObjectId>>), KeyError> {
        let bytes = file::read(keys_dir, FILE, limits::KEYRING_BYTES_MAX)?;
        let sealed = SealedKeyring::parse(&bytes).map_err(malformed)?;
        if sealed.vault != vault {
            return Err(KeyError::OtherVault);
        }
        let wrapper = Wrapper::new(root, vault);
        let slots = wrapper.read(keys_dir)?;
        if slots.found.is_empty() {
            return Err(match slots.object_gone {
                true => KeyError::WrapObjectGone,
                false => KeyError::WrapTampered,
            });
        }
        let opened = slots.found.iter().find_map(|found| {
            // A wrapping key is newer than no keyring under it.
            (found.generation <= sealed.generation)
                .then(|| sealed.open(&found.key))
                .flatten()
                .map(|content| (content, found.slot, found.key.duplicate(), found.object))
        });
        let (content, slot, wrapping, object) = opened.ok_or(match slots.object_gone {
            true => KeyError::WrapObjectGone,
            false => KeyError::KeyringTampered,
        })?;
        let other = slot.other();
        let unfinished = (!slots.is_empty(other)).then(|| slots.object(other));
        let (next_id, records, notes) = decode(&content).map_err(malformed)?;
        let newest = index(&records);
        let keyring = Keyring {
            dir: keys_dir.to_owned(),
            vault,
            generation: sealed.generation,
            next_id,
            records,
            newest,
            notes,
            wrapper,
            wrapping: LockedBytes::new(wrapping),
            slot,
            object,
            settled: false,
            unfreed: None,
            budget: Budget::of_this_process(),
            low: AtomicBool::new(true),
        };
        Ok((keyring, unfinished))
    }

    /// Whose keyring it is.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// What the destruction of a key rests on, now: an erasure receipt says so.
    pub fn rests_on(&self) -> RestsOn {
        self.wrapper.rests_on()
    }

    /// How often it was written.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Refuses a keyring that is older than one that is known to have existed, as from the
    /// high-water mark.
    ///
    /// # Errors
    /// [`KeyError::Older`].
    pub fn require_generation(&self, least: u64) -> Result<(), KeyError> {
        let found = self.generation;
        if found < least {
            return Err(KeyError::Older { found, least });
        }
        Ok(())
    }

    /// The key of that name that seals at `now`: active, and within its dates.
    pub fn find(&self, name: &KeyName, now: Timestamp) -> Option<KeyId> {
        let record = self.newest(name)?;
        record.encrypts_at(now).then_some(record.id())
    }

    /// Makes the keys that are missing, all in one write; durable when this returns. Returns the
    /// names of those that it made. A name whose key is past its date or no longer active gets a
    /// key of the next generation; the earlier one, if it was active, opens only from then on.
    ///
    /// # Errors
    /// [`KeyError::PeriodOver`] for a bucket that is past (nothing is made then), or when the file
    /// could not be written (no new key is used then).
    pub fn ensure(&mut self, names: &[KeyName], now: Timestamp) -> Result<Vec<KeyName>, KeyError> {
        let mut staged = Staged::default();
        let mut made: Vec<KeyName> = Vec::new();
        for name in names {
            if self.find(name, now).is_some() || made.contains(name) {
                continue;
            }
            if name.limits(now).not_after_encrypt <= now || !name.is_possible() {
                return Err(KeyError::PeriodOver(*name));
            }
            self.stage_next(name, now, &mut staged)?;
            made.push(*name);
        }
        if !made.is_empty() {
            self.require_settled()?;
            self.commit(staged, None)?;
        }
        Ok(made)
    }

    /// Stages the next generation of a name; the earlier one, if it is active, opens only then.
    pub(super) fn stage_next(
        &self,
        name: &KeyName,
        now: Timestamp,
        staged: &mut Staged,
    ) -> Result<KeyId, KeyError> {
        if self.records.len() + staged.added.len() >= limits::KEYS_MAX {
            return Err(KeyError::Full);
        }
        let earlier = self.newest(name);
        if let Some(earlier) = earlier.filter(|key| key.state() == KeyState::Active) {
            let to = KeyState::DecryptOnly;
            staged.changed.insert(earlier.id(), Change { to, now });
        }
        let generation = earlier.map_or(1, |key| key.generation() + 1);
        let id = KeyId(self.next_id + staged.added.len() as u32);
        let dates = match generation {
            1 => name.limits(now),
            _ => name.limits_of_next(now),
        };
        let seals = match name.seals_rows() {
            true => self.budget.block,
            false => 0,
        };
        let secret = SecretBytes::random();
        let key = KeyRecord::new(id, *name, generation, secret, dates, seals, now);
        staged.added.push(key);
        Ok(id)
    }

    /// A key's record.
    ///
    /// # Errors
    /// [`KeyError::Unknown`] or [`KeyError::Destroyed`].
    pub fn key(&self, id: KeyId) -> Result<&KeyRecord, KeyError> {
        let record = self.record(id).ok_or(KeyError::Unknown(id))?;
        match record.state() {
            KeyState::Destroyed => Err(KeyError::Destroyed(id)),
            _ => Ok(record),
        }
    }

    /// Moves keys on in their life, all in one write: retires them, marks them for destruction, or
    /// calls a destruction off (which leaves them decrypt-only).
    ///
    /// # Errors
    /// [`KeyError::IllegalTransition`] when a key's state does not allow it, and always for
    /// [`KeyState::Destroyed`], which is [`destroy`](Keyring::destroy)'s.
    pub fn change_state(
        &mut self,
        ids: &[KeyId],
        to: KeyState,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        let staged = self.stage_change(ids, to, now)?;
        if let (KeyState::Destroyed, Some(id)) = (to, ids.first()) {
            return Err(KeyError::IllegalTransition(*id));
        }
        if staged.changed.is_empty() {
            return Ok(());
        }
        self.require_settled()?;
        self.commit(staged, None)
    }

    /// Destroys keys: they leave memory and file, and the file is sealed under a new wrapping key
    /// whose predecessor is overwritten, so that earlier copies of the file don't open any more.
    /// Copies of the wrap file would still open them where [`rests_on`](Keyring::rests_on) says
    /// [`RestsOn::Slot`]: key backups have a life of their own.
    ///
    /// # Errors
    /// [`KeyError::IllegalTransition`], [`KeyError::Unknown`] or [`KeyError::Destroyed`], and then
    /// nothing is changed. [`KeyError::Io`], or what a security module says: nothing was destroyed.
    /// [`KeyError::Uncertain`]: load the keyring again and look; loading ends what was begun.
    pub fn destroy(&mut self, ids: &[KeyId], now: Timestamp) -> Result<(), KeyError> {
        let uncounted: Vec<_> = ids.iter().map(|id| (*id, None)).collect();
        self.destroy_counted(&uncounted, now)
    }

    /// [`destroy`](Keyring::destroy), with how many records were under each key.
    ///
    /// # Errors
    /// As [`destroy`](Keyring::destroy).
    pub fn destroy_counted(
        &mut self,
        keys: &[(KeyId, Option<u64>)],
        now: Timestamp,
    ) -> Result<(), KeyError> {
        let ids: Vec<KeyId> = keys.iter().map(|(id, _)| *id).collect();
        let mut staged = self.stage_change(&ids, KeyState::Destroyed, now)?;
        for (id, records) in keys {
            let key = self.key(*id)?;
            let (name, generation) = (key.name(), key.generation());
            let commitment = ending::commitment(self.vault, *id, &name, generation, key.secret()?);
            let records = *records;
            staged.endings.insert(
                *id,
                Ending {
                    commitment,
                    records,
                },
            );
        }
        if staged.changed.is_empty() {
            return Ok(());
        }
        self.require_settled()?;
        self.renew(staged)
    }

    /// Changes the vault's seal: a new root key, and a wrapping key that no earlier one opens.
    /// `deliver` hands out the new seal's shares, which are nowhere else, before anything is
    /// changed.
    ///
    /// First the wrapping key is renewed under the old root key, as at a destruction. Then the new
    /// one, wrapped by the new root key, goes into the free slot; `seal.json` is replaced; the slot
    /// under the old root key is overwritten. Whenever the power goes, the seal that lies there opens
    /// one of the slots; and once it is the new seal, the wrapping key was never under an old one
    /// that somebody could have copied before.
    ///
    /// # Errors
    /// What [`SealFile::create_as`] refuses, and then nothing was changed. [`KeyError::Io`]: the old
    /// seal holds. [`KeyError::Uncertain`]: read the seal again and see which one it is; loading the
    /// keyring with it ends what was begun.
    pub fn reseal(
        &mut self,
        new: &NewSeal,
        unsealers: Vec<Unsealer>,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), KeyError> {
        let doing = "wrapping the keyring's key anew";
        self.require_settled()?;
        let (seal, root) = SealFile::prepare(self.vault, new, unsealers, deliver)?;
        self.renew(Staged::default())?;
        let wrapper = Wrapper::new(&root, self.vault);
        let (old, free) = (self.slot, self.slot.other());
        let object = wrapper.write(&self.dir, free, self.generation, &self.wrapping)?;
        if let Err(error) = seal.write(&self.dir) {
            // Which of the slots must go depends on which seal lies there.
            self.settled = false;
            return Err(error);
        }
        self.slot = free;
        let old_wrapper = std::mem::replace(&mut self.wrapper, wrapper);
        let old_object = std::mem::replace(&mut self.object, object);
        let freed = old_wrapper.free(&self.dir, old, old_object);
        freed.map_err(|source| {
            self.settled = false;
            KeyError::Uncertain { doing, source }
        })
    }

    /// Writes the keyring under a new wrapping key, and overwrites the old one.
    pub(super) fn renew(&mut self, staged: Staged) -> Result<(), KeyError> {
        let doing = "renewing the wrapping key";
        let fresh = SecretBytes::random();
        let (old, free) = (self.slot, self.slot.other());
        let next = self.generation + 1;
        let object = self.wrapper.write(&self.dir, free, next, &fresh)?;
        let old_object = self.object;
        // Failing here leaves a slot that the next writing takes again.
        if let Err(error) = self.commit(staged, Some((fresh, free))) {
            if !matches!(error, KeyError::Uncertain { .. }) {
                self.wrapper.discard(object);
            }
            return Err(error);
        }
        self.object = object;
        let freed = self.wrapper.free(&self.dir, old, old_object);
        freed.map_err(|source| {
            self.settled = false;
            self.unfreed = Some((old, old_object));
            KeyError::Uncertain { doing, source }
        })
    }

    /// Tries again to free what a destruction could not. Until then what it destroyed may still open
    /// from an older copy of the keyring, and nothing may say that it is gone.
    ///
    /// # Errors
    /// [`KeyError::Uncertain`]: not yet.
    pub fn settle(&mut self) -> Result<(), KeyError> {
        let Some((slot, object)) = self.unfreed else {
            return Ok(());
        };
        let doing = "freeing the old wrapping key";
        let freed = self.wrapper.free(&self.dir, slot, object);
        freed.map_err(|source| KeyError::Uncertain { doing, source })?;
        self.unfreed = None;
        self.settled = true;
        Ok(())
    }

    /// Whether all that was destroyed is gone for good.
    pub fn is_freed(&self) -> bool {
        self.unfreed.is_none()
    }

    /// Wipes every secret from memory, for the sealing of a vault that somebody still holds on to.
    /// What is left opens, seals and writes nothing.
    pub fn wipe(&mut self) {
        self.records.clear();
        self.newest.clear();
        self.notes.clear();
        self.wrapper.wipe();
        self.wrapping = LockedBytes::new(SecretBytes::build(|_| ()));
        self.settled = false;
    }

    /// For tests only: lets a key make so many seals.
    #[cfg(feature = "fault-injection")]
    pub(super) fn set_seals(&mut self, id: KeyId, seals: u64) {
        if let Ok(at) = self.records.binary_search_by_key(&id, KeyRecord::id) {
            let life = self.records[at].life();
            self.records[at].set_life(Life { seals, ..life });
        }
    }

    /// Every key, destroyed ones included, in the order in which they were made.
    pub fn list(&self) -> impl Iterator<Item = &KeyRecord> {
        self.records.iter()
    }

    /// What is noted of a key.
    pub fn note(&self, id: KeyId) -> Option<&KeyNote> {
        self.notes.get(&id)
    }

    /// The keys that changed since a generation, in the order of their changes: what a ledger whose
    /// last round knew that generation has no entry of.
    pub fn changed_since(&self, generation: u64) -> Vec<(&KeyRecord, KeyNote)> {
        let mut changed: Vec<_> = self
            .notes
            .iter()
            .filter(|(_, note)| note.generation > generation)
            .filter_map(|(id, note)| Some((self.record(*id)?, *note)))
            .collect();
        changed.sort_by_key(|(key, note)| (note.generation, key.id()));
        changed
    }

    /// The name that a key has or had.
    pub fn name_of(&self, id: KeyId) -> Option<KeyName> {
        self.record(id).map(KeyRecord::name)
    }

    /// The key that signs the checkpoints of an epoch.
    ///
    /// # Errors
    /// When there is none, or it is not active any more.
    pub fn ledger_signing(&self, epoch: u32) -> Result<Box<SigningKey>, KeyError> {
        let name = KeyName::LedgerSigning { epoch };
        let record = self.newest(&name).ok_or(KeyError::UnknownName(name))?;
        let secret = record.secret()?;
        if record.state() != KeyState::Active {
            return Err(KeyError::NotActive(record.id()));
        }
        Ok(signing_key(secret))
    }

    /// A key's record, whatever its state.
    pub(super) fn record(&self, id: KeyId) -> Option<&KeyRecord> {
        let found = self.records.binary_search_by_key(&id, KeyRecord::id);
        found.ok().map(|at| &self.records[at])
    }

    /// The greatest epoch that has, or had, a signing key; 0 when there is none. A new epoch lies
    /// above it: two trees must never have one origin.
    pub fn last_epoch(&self) -> u32 {
        let epochs = self.records.iter().filter_map(|key| match key.name() {
            KeyName::LedgerSigning { epoch } => Some(epoch),
            _ => None,
        });
        epochs.max().unwrap_or(0)
    }

    /// The newest generation of a name, whatever its state.
    pub(super) fn newest(&self, name: &KeyName) -> Option<&KeyRecord> {
        self.newest.get(name).map(|at| &self.records[*at])
    }

    pub(super) fn stage_change(
        &self,
        ids: &[KeyId],
        to: KeyState,
        now: Timestamp,
    ) -> Result<Staged, KeyError> {
        let mut staged = Staged::default();
        for id in ids {
            if !self.key(*id)?.may_become(to) {
                return Err(KeyError::IllegalTransition(*id));
            }
            staged.changed.insert(*id, Change { to, now });
        }
        Ok(staged)
    }

    pub(super) fn require_settled(&self) -> Result<(), KeyError> {
        if self.settled {
            Ok(())
        } else {
            Err(KeyError::Unsettled)
        }
    }

    /// Writes the file as it will be with `staged`, one generation up, under the wrapping key or a
    /// fresh one; memory follows once the file is durable.
    pub(super) fn commit(
        &mut self,
        staged: Staged,
        fresh: Option<(SecretBytes<32>, Slot)>,
    ) -> Result<(), KeyError> {
        let wrapping = fresh.as_ref().map_or(&*self.wrapping, |(key, _)| key);
        let content = self.encode(&staged);
        let sealed = seal_keyring(
            wrapping,
            self.vault,
            self.generation + 1,
            &random(),
            &content,
        );
        let written = file::replace(&self.dir, FILE, &sealed);
        if matches!(written, Err(KeyError::Uncertain { .. })) {
            self.settled = false;
        }
        written?;
        if let Some((key, slot)) = fresh {
            self.wrapping = LockedBytes::new(key);
            self.slot = slot;
        }
        self.adopt(staged);
        Ok(())
    }

    fn adopt(&mut self, staged: Staged) {
        self.notes = self.notes_after(&staged);
        self.generation += 1;
        self.next_id += staged.added.len() as u32;
        for (id, change) in staged.changed {
            if let Ok(at) = self.records.binary_search_by_key(&id, KeyRecord::id) {
                self.records[at].apply(change);
            }
        }
        for (id, life) in staged.lives {
            if let Ok(at) = self.records.binary_search_by_key(&id, KeyRecord::id) {
                self.records[at].set_life(life);
            }
        }
        for record in staged.added {
            self.newest.insert(record.name(), self.records.len());
            self.records.push(record);
        }
    }

    /// The notes as they will be with `staged`.
    fn notes_after(&self, staged: &Staged) -> Notes {
        let mut notes = self.notes.clone();
        let generation = self.generation + 1;
        let changed = staged.changed.keys().copied();
        for id in changed.chain(staged.added.iter().map(KeyRecord::id)) {
            let ending = staged.endings.get(&id).copied();
            notes.insert(id, KeyNote { generation, ending });
        }
        notes
    }

    fn encode(&self, staged: &Staged) -> Zeroizing<Vec<u8>> {
        let count = self.records.len() + staged.added.len();
        let each = RECORD_BYTES_MAX + NOTE_BYTES_MAX + Life::BYTES;
        let mut w = Writer::with_capacity(16 + count * each);
        w.u32(self.next_id + staged.added.len() as u32)
            .u32(count as u32);
        for record in &self.records {
            record.write(&mut w, staged.changed.get(&record.id()).copied());
        }
        for record in &staged.added {
            record.write(&mut w, None);
        }
        let lives = self.records.iter().chain(&staged.added).map(|record| {
            let staged = staged.lives.get(&record.id()).copied();
            (record.id(), staged.unwrap_or(record.life()))
        });
        write_more(&self.notes_after(staged), lives, &mut w);
        w.finish()
    }
}

/// A key that signs. Boxed: moving the owner must not leave copies on the stack.
pub(super) fn signing_key(secret: &SecretBytes<32>) -> Box<SigningKey> {
    let key = Box::new(SigningKey::from_bytes(secret.expose()));
    wipe_stack();
    key
}

/// The file: "PK" ‖ format ‖ suite ‖ generation ‖ vault id ‖ nonce ‖ ciphertext ‖ tag.
pub(super) fn seal_keyring(
    wrapping: &SecretBytes<32>,
    vault: VaultId,
    generation: u64,
    nonce: &[u8; NONCE_BYTES],
    content: &[u8],
) -> Vec<u8> {
    let mut file = vec![0u8; HEADER_BYTES + NONCE_BYTES + content.len() + TAG_BYTES];
    let (header, rest) = file.split_at_mut(HEADER_BYTES);
    header[..4].copy_from_slice(b"PK\x01\x01");
    header[4..12].copy_from_slice(&generation.to_be_bytes());
    header[12..].copy_from_slice(&vault.0);
    let (own_nonce, rest) = rest.split_at_mut(NONCE_BYTES);
    own_nonce.copy_from_slice(nonce);
    let (ciphertext, tag) = rest.split_at_mut(content.len());
    tag.copy_from_slice(&cipher::seal(
        wrapping.expose(),
        nonce,
        header,
        content,
        ciphertext,
    ));
    file
}

/// The file, taken apart.
struct SealedKeyring<'a> {
    header: &'a [u8],
    generation: u64,
    vault: VaultId,
    nonce: [u8; NONCE_BYTES],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_BYTES],
}

impl<'a> SealedKeyring<'a> {
    fn parse(bytes: &'a [u8]) -> Result<SealedKeyring<'a>, Malformed> {
        let mut r = Reader::new(bytes);
        let header = r.raw(HEADER_BYTES)?;
        let nonce = r.array()?;
        let rest = r.raw(r.remaining())?;
        let (ciphertext, tag) = rest
            .split_last_chunk()
            .ok_or(Malformed::new("value ends early"))?;
        let mut r = Reader::new(header);
        if r.raw(2)? != b"PK" {
            return Err(Malformed::new("not a keyring"));
        }
        if r.raw(2)? != [1, 1] {
            return Err(Malformed::new("unknown format or suite"));
        }
        Ok(SealedKeyring {
            header,
            generation: r.u64()?,
            vault: VaultId(r.array()?),
            nonce,
            ciphertext,
            tag,
        })
    }

    fn open(&self, wrapping: &SecretBytes<32>) -> Option<SecretBuffer> {
        let mut content = Zeroizing::new(vec![0u8; self.ciphertext.len()]);
        cipher::open(
            wrapping.expose(),
            &self.nonce,
            self.header,
            self.ciphertext,
            self.tag,
            &mut content,
        )
        .ok()
        .map(|()| content)
    }
}

/// Reads the content: next id, the keys in ascending order of their ids, and what is noted of them.
fn decode(content: &[u8]) -> Result<(u32, Vec<KeyRecord>, Notes), Malformed> {
    let mut r = Reader::new(content);
    let next_id = r.u32()?;
    let count = r.u32()? as usize;
    if count > limits::KEYS_MAX || count > r.remaining() / RECORD_BYTES_MIN {
        return Err(Malformed::new("more keys than fit"));
    }
    let mut records: Vec<KeyRecord> = Vec::with_capacity(count);
    let mut last = KeyId(0);
    for _ in 0..count {
        let record = KeyRecord::read(&mut r)?;
        if record.id() <= last || record.id().0 >= next_id {
            return Err(Malformed::new("key ids are not in ascending order"));
        }
        last = record.id();
        records.push(record);
    }
    let said = r.remaining() > 0;
    let notes = ending::read(&mut r)?;
    if r.remaining() > 0 {
        read_lives(&mut r, &mut records)?;
    } else if said && notes.is_empty() {
        return Err(Malformed::new("no notes, but said"));
    }
    r.end()?;
    if notes.keys().any(|id| id.0 >= next_id) {
        return Err(Malformed::new("a note of a key that isn't there"));
    }
    Ok((next_id, records, notes))
}

/// What is known of keys beyond their records: notes, then lives, each a line for every key of which
/// something is. Nothing at all when there is neither, as earlier versions wrote it.
fn write_more(notes: &Notes, lives: impl Iterator<Item = (KeyId, Life)>, w: &mut Writer) {
    let lives: Vec<_> = lives.filter(|(_, life)| *life != Life::default()).collect();
    if !notes.is_empty() || !lives.is_empty() {
        ending::write(notes, w);
    }
    if !lives.is_empty() {
        w.u32(lives.len() as u32);
        lives.into_iter().for_each(|(id, life)| life.write(id, w));
    }
}

fn read_lives(r: &mut Reader<'_>, records: &mut [KeyRecord]) -> Result<(), Malformed> {
    let wrong = Malformed::new("lives of keys are not those of its keys, in order");
    let count = r.u32()? as usize;
    if count == 0 || count > records.len() {
        return Err(wrong);
    }
    let mut last = KeyId(0);
    for _ in 0..count {
        let (id, life) = Life::read(r)?;
        let at = records.binary_search_by_key(&id, KeyRecord::id);
        let at = at.ok().filter(|_| id > last).ok_or(wrong)?;
        records[at].restore_life(life);
        last = id;
    }
    Ok(())
}

/// The content, read and written again.
#[cfg(feature = "fault-injection")]
pub(super) fn reread(content: &[u8]) -> Result<SecretBuffer, Malformed> {
    let (next_id, records, notes) = decode(content)?;
    let mut w = Writer::with_capacity(content.len());
    w.u32(next_id).u32(records.len() as u32);
    for record in &records {
        record.write(&mut w, None);
    }
    let lives = records.iter().map(|record| (record.id(), record.life()));
    write_more(&notes, lives, &mut w);
    Ok(w.finish())
}

fn index(records: &[KeyRecord]) -> HashMap<KeyName, usize> {
    // Later generations have later ids, so the last one of a name stays.
    let names = records.iter().map(KeyRecord::name);
    names.zip(0..).collect()
}

fn malformed(what: Malformed) -> KeyError {
    KeyError::Malformed { file: FILE, what }
}

/// Every secret that a keyring holds.
#[cfg(feature = "fault-injection")]
pub(super) fn secrets(ring: &Keyring) -> Vec<[u8; 32]> {
    let records = ring.records.iter().filter_map(|key| key.secret().ok());
    let own = [&*ring.wrapping, ring.wrapper.kek()];
    let all = own.into_iter().chain(records);
    all.map(|secret| *secret.expose()).collect()
}

#[cfg(test)]
impl Keyring {
    /// What is sealed in the file.
    pub(super) fn content(&self) -> Zeroizing<Vec<u8>> {
        let mut w = Writer::with_capacity(1 << 10);
        w.u32(self.next_id).u32(self.records.len() as u32);
        for record in &self.records {
            record.write(&mut w, None);
        }
        let lives = self.records.iter().map(|one| (one.id(), one.life()));
        write_more(&self.notes, lives, &mut w);
        w.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        self, DAY, NOW, VAULT, id, log, nl, release, reload, replay, root,
    };
    use super::super::{EnvelopeError, Kind, Place, wrap};
    use super::*;
    use crate::clock::DAY_MS;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    fn load(dir: &Path) -> Result<Keyring, KeyError> {
        Keyring::load(dir, VAULT, &root())
    }

    /// Both files, to put them back later.
    fn copy(dir: &Path) -> (Vec<u8>, Vec<u8>) {
        let read = |name| fs::read(dir.join(name)).unwrap();
        (read(FILE), read(wrap::FILE))
    }

    const PLACE: Place<'static> = Place {
        site: crate::ids::Site::VAULT,
        transaction: None,
        kind: Kind::Principal,
        scope: b"scope",
        row_key: b"Prow",
    };

    #[test]
    fn a_new_keyring_has_the_three_keys_and_loads_again() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let keyring = Keyring::create(&keys, VAULT, &root(), NOW).unwrap();
        let names: Vec<String> = keyring.list().map(KeyRecord::label).collect();
        assert_eq!(names, ["vault", "identity", "ledger-signing/1"]);
        assert_eq!(keyring.generation(), 1);
        let again = reload(&keys);
        assert_eq!(again.content()[..], keyring.content()[..]);
        assert_eq!(
            again.ledger_signing(1).unwrap().verifying_key(),
            keyring.ledger_signing(1).unwrap().verifying_key()
        );
        assert!(matches!(
            again.ledger_signing(2),
            Err(KeyError::UnknownName(_))
        ));
        let second = Keyring::create(&keys, VAULT, &root(), NOW);
        assert!(matches!(second, Err(KeyError::Exists { .. })));
    }

    #[test]
    fn a_look_changes_no_file_and_writes_no_key() {
        let (dir, mut keyring) = testing::keyring();
        let before = copy(dir.path());
        // What a destruction that was cut short leaves: a loading would end it.
        let free = keyring.slot.other();
        let other = SecretBytes::random();
        let wrapper = Wrapper::new(&root(), VAULT);
        wrapper.write(dir.path(), free, 9, &other).unwrap();
        let torn = copy(dir.path());
        let mut look = Keyring::look(dir.path(), VAULT, &root()).unwrap();
        assert_eq!(look.content()[..], keyring.content()[..]);
        let made = look.ensure(&[KeyName::Backup], NOW);
        assert!(matches!(made, Err(KeyError::Unsettled)));
        assert!(copy(dir.path()) == torn && torn != before);
        drop(reload(dir.path()));
        assert!(copy(dir.path()) == before);
        keyring.ensure(&[KeyName::Backup], NOW).unwrap();
    }

    #[test]
    fn files_are_the_owners_only() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        Keyring::create(&keys, VAULT, &root(), NOW).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&keys), 0o700);
        assert_eq!(mode(&keys.join(FILE)), 0o600);
        assert_eq!(mode(&keys.join(wrap::FILE)), 0o600);
    }

    #[test]
    fn ensure_makes_what_is_missing_in_one_write() {
        let (dir, mut keyring) = testing::keyring();
        assert_eq!(keyring.generation(), 2);
        let names = [release(), KeyName::Fingerprint { site: nl() }, release()];
        assert_eq!(keyring.ensure(&names, NOW).unwrap(), names[1..2]);
        assert_eq!(keyring.generation(), 3);
        assert!(keyring.ensure(&names, NOW).unwrap().is_empty());
        assert_eq!(keyring.generation(), 3, "nothing to write, nothing written");
        assert_eq!(reload(dir.path()).content()[..], keyring.content()[..]);
    }

    /// PCI DSS 3.7.4: past its date a key seals nothing.
    #[test]
    fn a_key_past_its_date_is_not_found_and_a_past_bucket_is_not_made() {
        let (_dir, mut keyring) = testing::keyring();
        // 72 hours after the end of its day.
        let end = Timestamp(u64::from(DAY + 4) * DAY_MS);
        assert!(keyring.find(&release(), Timestamp(end.0 - 1)).is_some());
        assert_eq!(keyring.find(&release(), end), None);
        let made = keyring.ensure(&[KeyName::Vault, release()], end);
        assert!(matches!(made, Err(KeyError::PeriodOver(name)) if name == release()));
        assert_eq!(keyring.generation(), 2);
    }

    #[test]
    fn a_lasting_key_past_its_date_gets_a_successor_and_still_opens() {
        let (dir, mut keyring) = testing::keyring();
        let old = id(&keyring, &KeyName::Vault);
        let sealed = keyring.seal(old, &PLACE, b"row").unwrap();
        let later = NOW.plus_ms(731 * DAY_MS);
        assert_eq!(
            keyring.ensure(&[KeyName::Vault], later).unwrap(),
            [KeyName::Vault]
        );
        let new = keyring.find(&KeyName::Vault, later).unwrap();
        assert_ne!(new, old);
        assert_eq!(keyring.key(new).unwrap().generation(), 2);
        assert_eq!(keyring.key(old).unwrap().state(), KeyState::DecryptOnly);
        assert_eq!(
            keyring.seal(old, &PLACE, b"row"),
            Err(EnvelopeError::NotActive(old))
        );
        let again = reload(dir.path());
        assert_eq!(again.open(&PLACE, &sealed).unwrap()[..], b"row"[..]);
        assert_eq!(again.find(&KeyName::Vault, later), Some(new));
    }

    #[test]
    fn a_destroyed_key_is_gone_from_memory_and_file() {
        let (dir, mut keyring) = testing::keyring();
        let gone = id(&keyring, &release());
        let bytes = keyring.key(gone).unwrap().secret().unwrap().duplicate();
        let content = keyring.content();
        assert!(content.windows(32).any(|w| w == bytes.expose()));
        keyring.destroy(&[gone], NOW).unwrap();
        for keyring in [&keyring, &reload(dir.path())] {
            assert!(matches!(keyring.key(gone), Err(KeyError::Destroyed(id)) if id == gone));
            assert_eq!(keyring.find(&release(), NOW), None);
            assert!(!keyring.content().windows(32).any(|w| w == bytes.expose()));
            let record = keyring.list().find(|key| key.id() == gone).unwrap();
            assert_eq!(record.state(), KeyState::Destroyed);
            assert_eq!(record.not_after_decrypt(), NOW);
            assert!(record.secret().is_err());
        }
        let again = keyring.destroy(&[gone], NOW);
        assert!(matches!(again, Err(KeyError::Destroyed(_))));
    }

    #[test]
    fn a_bucket_destroyed_within_its_period_gets_another_generation() {
        let (_dir, mut keyring) = testing::keyring();
        let old = id(&keyring, &log());
        keyring.destroy(&[old], NOW).unwrap();
        keyring.ensure(&[log()], NOW).unwrap();
        let new = id(&keyring, &log());
        assert_eq!(keyring.key(new).unwrap().label(), "log/nl/2026-11#2");
    }

    #[test]
    fn after_a_destruction_no_earlier_copy_of_the_keyring_loads() {
        let (dir, mut keyring) = testing::keyring();
        let (old_keyring, old_wrap) = copy(dir.path());
        keyring.destroy(&[id(&keyring, &release())], NOW).unwrap();
        let (new_keyring, new_wrap) = copy(dir.path());
        // The old wrapped key is nowhere in the wrap file.
        assert!(!new_wrap.windows(32).any(|w| *w == old_wrap[24..56]));

        fs::write(dir.path().join(FILE), &old_keyring).unwrap();
        assert!(matches!(load(dir.path()), Err(KeyError::KeyringTampered)));
        // Nor does the new one with the old wrap file.
        fs::write(dir.path().join(FILE), &new_keyring).unwrap();
        fs::write(dir.path().join(wrap::FILE), &old_wrap).unwrap();
        assert!(matches!(load(dir.path()), Err(KeyError::KeyringTampered)));
        // The control: the new ones together do.
        fs::write(dir.path().join(wrap::FILE), &new_wrap).unwrap();
        assert!(load(dir.path()).is_ok());
    }

    #[test]
    fn a_destruction_cut_short_before_the_replacement_is_undone() {
        let (dir, mut keyring) = testing::keyring();
        let key = id(&keyring, &release());
        let (old_keyring, old_wrap) = copy(dir.path());
        keyring.destroy(&[key], NOW).unwrap();
        let (_, new_wrap) = copy(dir.path());
        // Slot A as before, slot B with the new key, the keyring as before.
        let mut both = old_wrap[..wrap::SLOT_BYTES].to_vec();
        both.extend_from_slice(&new_wrap[wrap::SLOT_BYTES..]);
        fs::write(dir.path().join(wrap::FILE), &both).unwrap();
        fs::write(dir.path().join(FILE), &old_keyring).unwrap();
        let mut again = load(dir.path()).unwrap();
        assert!(again.key(key).is_ok());
        assert_eq!(copy(dir.path()).1, old_wrap, "the unused key is erased");
        again.destroy(&[key], NOW).unwrap();
        assert!(matches!(
            reload(dir.path()).key(key),
            Err(KeyError::Destroyed(_))
        ));
    }

    #[test]
    fn a_destruction_cut_short_after_the_replacement_is_ended() {
        let (dir, mut keyring) = testing::keyring();
        let key = id(&keyring, &release());
        let (_, old_wrap) = copy(dir.path());
        keyring.destroy(&[key], NOW).unwrap();
        let (_, new_wrap) = copy(dir.path());
        let mut both = old_wrap[..wrap::SLOT_BYTES].to_vec();
        both.extend_from_slice(&new_wrap[wrap::SLOT_BYTES..]);
        fs::write(dir.path().join(wrap::FILE), &both).unwrap();
        let mut again = load(dir.path()).unwrap();
        assert!(matches!(again.key(key), Err(KeyError::Destroyed(_))));
        assert_eq!(copy(dir.path()).1, new_wrap, "the old key is erased");
        // The slots take turns.
        again.destroy(&[id(&again, &replay())], NOW).unwrap();
        let (_, third) = copy(dir.path());
        assert!(third[wrap::SLOT_BYTES..].iter().all(|b| *b == 0));
        assert!(load(dir.path()).is_ok());
    }

    #[test]
    fn a_torn_slot_does_not_lock_the_vault() {
        let (dir, _) = testing::keyring();
        let (_, whole) = copy(dir.path());
        let mut torn = whole.clone();
        torn[wrap::SLOT_BYTES..][..40].fill(0x5a);
        fs::write(dir.path().join(wrap::FILE), &torn).unwrap();
        assert!(load(dir.path()).is_ok());
        assert_eq!(copy(dir.path()).1, whole, "what was torn is erased");
    }

    #[test]
    fn an_older_keyring_under_the_same_wrapping_key_shows_its_generation() {
        let (dir, mut keyring) = testing::keyring();
        let (older, _) = copy(dir.path());
        keyring
            .ensure(&[KeyName::Collect { day: DAY }], NOW)
            .unwrap();
        fs::write(dir.path().join(FILE), older).unwrap();
        let loaded = load(dir.path()).unwrap();
        let refused = loaded.require_generation(keyring.generation());
        assert!(matches!(
            refused,
            Err(KeyError::Older { found: 2, least: 3 })
        ));
        assert!(loaded.require_generation(2).is_ok());
    }

    /// PCI DSS 3.7.7: no substitution of keys.
    #[test]
    fn another_vaults_keyring_is_refused() {
        let (dir, _) = testing::keyring();
        let other = tempfile::tempdir().unwrap();
        let other_vault = VaultId([8; 16]);
        Keyring::create(other.path(), other_vault, &root(), NOW).unwrap();
        let (keyring, wrap) = copy(other.path());
        fs::write(dir.path().join(FILE), &keyring).unwrap();
        assert!(matches!(load(dir.path()), Err(KeyError::OtherVault)));
        // With its wrap file too, and relabelled.
        fs::write(dir.path().join(wrap::FILE), &wrap).unwrap();
        assert!(matches!(load(dir.path()), Err(KeyError::OtherVault)));
        let mut relabelled = keyring;
        relabelled[12..28].copy_from_slice(&VAULT.0);
        fs::write(dir.path().join(FILE), &relabelled).unwrap();
        assert!(matches!(load(dir.path()), Err(KeyError::WrapTampered)));
    }

    #[test]
    fn another_root_key_opens_nothing() {
        let (dir, _) = testing::keyring();
        let loaded = Keyring::load(dir.path(), VAULT, &RootKey::of([2; 32]));
        assert!(matches!(loaded, Err(KeyError::WrapTampered)));
    }

    #[test]
    fn every_byte_of_the_files_counts() {
        let (dir, _) = testing::keyring();
        let (keyring, wrap) = copy(dir.path());
        for at in 0..keyring.len() {
            let mut changed = keyring.clone();
            changed[at] ^= 1;
            fs::write(dir.path().join(FILE), &changed).unwrap();
            assert!(load(dir.path()).is_err(), "keyring byte {at}");
        }
        for length in 0..keyring.len() {
            fs::write(dir.path().join(FILE), &keyring[..length]).unwrap();
            assert!(load(dir.path()).is_err(), "keyring cut at {length}");
        }
        fs::write(dir.path().join(FILE), &keyring).unwrap();
        for at in 0..wrap::SLOT_BYTES {
            let mut changed = wrap.clone();
            changed[at] ^= 1;
            fs::write(dir.path().join(wrap::FILE), &changed).unwrap();
            assert!(load(dir.path()).is_err(), "wrap byte {at}");
        }
        for length in [0, 71, 72, 4096, 8191] {
            fs::write(dir.path().join(wrap::FILE), &wrap[..length]).unwrap();
            let loaded = load(dir.path());
            assert!(
                matches!(loaded, Err(KeyError::Malformed { .. })),
                "{length}"
            );
        }
        fs::write(dir.path().join(wrap::FILE), &wrap).unwrap();
        assert!(load(dir.path()).is_ok());
    }

    /// PCI DSS 3.7.5: every illegal transition fails.
    #[test]
    fn states_only_go_on() {
        use KeyState::{Active, DecryptOnly, Destroyed, PendingDestruction};
        let (_dir, mut keyring) = testing::keyring();
        let bucket = id(&keyring, &release());
        let lasting = id(&keyring, &KeyName::Vault);
        let refused = |result: Result<(), KeyError>| {
            assert!(matches!(result, Err(KeyError::IllegalTransition(_))));
        };
        refused(keyring.change_state(&[bucket], Active, NOW));
        refused(keyring.change_state(&[bucket], Destroyed, NOW));
        refused(keyring.destroy(&[lasting], NOW));
        refused(keyring.destroy(&[bucket, lasting], NOW));
        assert_eq!(keyring.generation(), 2, "nothing was changed");

        keyring
            .change_state(&[bucket, lasting], DecryptOnly, NOW)
            .unwrap();
        assert_eq!(keyring.key(bucket).unwrap().not_after_encrypt(), NOW);
        refused(keyring.change_state(&[bucket], Active, NOW));
        refused(keyring.change_state(&[bucket], DecryptOnly, NOW));
        keyring
            .change_state(&[bucket], PendingDestruction, NOW)
            .unwrap();
        refused(keyring.change_state(&[bucket], Active, NOW));
        refused(keyring.change_state(&[bucket], PendingDestruction, NOW));
        keyring.change_state(&[bucket], DecryptOnly, NOW).unwrap();
        keyring.destroy(&[bucket, lasting], NOW).unwrap();
        for state in [Active, DecryptOnly, PendingDestruction, Destroyed] {
            let changed = keyring.change_state(&[bucket], state, NOW);
            assert!(matches!(changed, Err(KeyError::Destroyed(_))));
        }
        let unknown = KeyId(99);
        let changed = keyring.destroy(&[unknown], NOW);
        assert!(matches!(changed, Err(KeyError::Unknown(id)) if id == unknown));
    }

    #[test]
    fn a_write_that_fails_changes_nothing() {
        let (dir, mut keyring) = testing::keyring();
        let before = keyring.content();
        // A directory of that name is in the way of the temporary file.
        let in_the_way = dir.path().join("keyring.tmp");
        fs::create_dir(&in_the_way).unwrap();
        let fingerprint = KeyName::Fingerprint { site: nl() };
        let failed = keyring.ensure(&[fingerprint], NOW);
        assert!(matches!(failed, Err(KeyError::Io { .. })));
        assert_eq!(keyring.find(&fingerprint, NOW), None);
        let key = id(&keyring, &release());
        assert!(matches!(
            keyring.destroy(&[key], NOW),
            Err(KeyError::Io { .. })
        ));
        assert_eq!(keyring.content()[..], before[..]);
        assert_eq!(reload(dir.path()).content()[..], before[..]);
        fs::remove_dir(&in_the_way).unwrap();
        keyring.ensure(&[fingerprint], NOW).unwrap();
        keyring.destroy(&[key], NOW).unwrap();
        assert_eq!(reload(dir.path()).content()[..], keyring.content()[..]);
    }

    #[test]
    fn after_an_uncertain_write_nothing_is_written_until_it_was_loaded_again() {
        let (dir, mut keyring) = testing::keyring();
        keyring.settled = false;
        let key = id(&keyring, &release());
        let collect = [KeyName::Collect { day: DAY }];
        let before = copy(dir.path());
        assert!(matches!(
            keyring.ensure(&collect, NOW),
            Err(KeyError::Unsettled)
        ));
        assert!(matches!(
            keyring.destroy(&[key], NOW),
            Err(KeyError::Unsettled)
        ));
        let retired = keyring.change_state(&[key], KeyState::DecryptOnly, NOW);
        assert!(matches!(retired, Err(KeyError::Unsettled)));
        assert_eq!(copy(dir.path()), before);
        assert!(keyring.ensure(&[release()], NOW).is_ok(), "nothing to make");
        assert!(reload(dir.path()).destroy(&[key], NOW).is_ok());
    }

    #[test]
    fn content_with_ids_out_of_order_or_too_many_keys_is_refused() {
        let (_dir, keyring) = testing::keyring();
        let content = keyring.content();
        assert!(decode(&content).is_ok());
        let mut many = content.to_vec();
        many[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(decode(&many).is_err());
        let mut used = content.to_vec();
        used[..4].copy_from_slice(&3u32.to_be_bytes());
        assert!(decode(&used).is_err(), "an id that was not given out yet");
        let mut order = content.to_vec();
        order[8..12].copy_from_slice(&2u32.to_be_bytes());
        assert!(decode(&order).is_err(), "the same id twice");
        // Without its notes and lives it is as earlier versions wrote it.
        let mut records = Writer::with_capacity(1 << 10);
        records
            .u32(keyring.next_id)
            .u32(keyring.records.len() as u32);
        for record in &keyring.records {
            record.write(&mut records, None);
        }
        let bare = records.as_slice().len();
        assert!(decode(&content[..bare]).is_ok_and(|(_, _, notes)| notes.is_empty()));
        // The lives of its four keys that seal rows stand last, and may be absent.
        let lives = 4 + keyring.list().filter(|k| k.name().seals_rows()).count() * Life::BYTES;
        let whole = [bare, content.len() - lives];
        for length in (0..content.len()).filter(|length| !whole.contains(length)) {
            assert!(decode(&content[..length]).is_err(), "cut at {length}");
        }
        let at = content.len() - lives;
        for (wrong, value) in [(at + 3, 0), (at + 3, 9), (at + 7, 99), (at + 8, 8)] {
            let mut changed = content.to_vec();
            changed[wrong] = value;
            assert!(decode(&changed).is_err(), "{wrong}: {value}");
        }
    }

    fn passphrase(text: &str) -> NewSeal {
        NewSeal::Passphrase {
            passphrase: crate::secret::SecretText::copy_from(text),
            cost: super::super::Argon2Cost::for_tests(),
        }
    }

    /// A keyring under a passphrase's seal, and the sealed row of a key.
    fn under_a_seal() -> (tempfile::TempDir, Keyring) {
        let dir = tempfile::tempdir().unwrap();
        let seal = passphrase("the old passphrase");
        let root =
            SealFile::create_as(dir.path(), VAULT, &seal, Vec::new(), &mut |_| Ok(())).unwrap();
        let mut keyring = Keyring::create(dir.path(), VAULT, &root, NOW).unwrap();
        keyring.ensure(&[release()], NOW).unwrap();
        (dir, keyring)
    }

    fn open_with(dir: &Path, passphrase: &str) -> Result<Keyring, KeyError> {
        let passphrase = crate::secret::SecretText::copy_from(passphrase);
        let root = SealFile::read(dir)?.open(&passphrase)?;
        Keyring::load(dir, VAULT, &root)
    }

    #[test]
    fn a_new_seal_opens_what_was_and_the_old_one_nothing_newer() {
        let (dir, mut keyring) = under_a_seal();
        let old_files: Vec<(&str, Vec<u8>)> = [super::super::seal::FILE, wrap::FILE]
            .map(|name| (name, fs::read(dir.path().join(name)).unwrap()))
            .into();
        let new = passphrase("the new passphrase");
        keyring.reseal(&new, Vec::new(), &mut |_| Ok(())).unwrap();
        let again = open_with(dir.path(), "the new passphrase").unwrap();
        assert!(again.find(&release(), NOW).is_some());
        let refused = open_with(dir.path(), "the old passphrase").err();
        assert!(matches!(refused, Some(KeyError::WrongPassphrase)));
        // It goes on: keys are made under the new seal.
        keyring.ensure(&[replay()], NOW).unwrap();
        assert!(
            open_with(dir.path(), "the new passphrase")
                .unwrap()
                .find(&replay(), NOW)
                .is_some()
        );
        // Whoever kept seal and wrapping key of before, and the old passphrase, opens nothing newer.
        for (name, bytes) in old_files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let refused = open_with(dir.path(), "the old passphrase").err();
        assert!(
            matches!(refused, Some(KeyError::KeyringTampered)),
            "{refused:?}"
        );
    }

    #[test]
    fn whenever_the_power_goes_one_of_the_two_seals_opens() {
        let mut opened_by = Vec::new();
        for writes in 0.. {
            let (dir, mut keyring) = under_a_seal();
            file::cut::after(Some(writes));
            let new = passphrase("the new passphrase");
            let done = keyring.reseal(&new, Vec::new(), &mut |_| Ok(()));
            file::cut::after(None);
            drop(keyring);
            let (old, new) = (
                open_with(dir.path(), "the old passphrase"),
                open_with(dir.path(), "the new passphrase"),
            );
            assert!(old.is_ok() != new.is_ok(), "after {writes} writes");
            opened_by.push(new.is_ok());
            let mut opened = old.or(new).unwrap();
            assert!(
                opened.find(&release(), NOW).is_some(),
                "after {writes} writes"
            );
            // What was begun is ended: one slot is in use, and the keyring takes changes.
            let (_, slots) = copy(dir.path());
            let used = slots
                .chunks(wrap::SLOT_BYTES)
                .filter(|s| s.iter().any(|b| *b != 0));
            assert_eq!(used.count(), 1, "after {writes} writes");
            opened.ensure(&[replay()], NOW).unwrap();
            if done.is_ok() {
                break;
            }
        }
        // Wrapping key, keyring, old slot; new slot, seal, old slot.
        assert_eq!(opened_by, [false, false, false, false, false, true, true]);
    }

    fn anchored() -> (tempfile::TempDir, Arc<testing::FakeHsm>, RootKey, Keyring) {
        let dir = tempfile::tempdir().unwrap();
        let hsm = Arc::new(testing::FakeHsm::default());
        let root = RootKey::anchored([1; 32], hsm.clone());
        let mut keyring = Keyring::create(dir.path(), VAULT, &root, NOW).unwrap();
        keyring.ensure(&[release()], NOW).unwrap();
        (dir, hsm, root, keyring)
    }

    #[test]
    fn after_a_destruction_the_object_is_gone_and_no_copy_of_all_files_opens() {
        let (dir, hsm, root, mut keyring) = anchored();
        assert_eq!(keyring.rests_on(), RestsOn::HsmObject);
        assert_eq!(testing::keyring().1.rests_on(), RestsOn::Slot);
        let objects = || hsm.objects.lock().unwrap().clone();
        let before = (copy(dir.path()), objects());
        assert_eq!(before.1.len(), 1);
        keyring.destroy(&[id(&keyring, &release())], NOW).unwrap();
        assert_eq!(objects().len(), 1);
        assert!(objects().is_disjoint(&before.1));
        let after = copy(dir.path());
        let put = |(keyring, wrap): &(Vec<u8>, Vec<u8>)| {
            fs::write(dir.path().join(FILE), keyring).unwrap();
            fs::write(dir.path().join(wrap::FILE), wrap).unwrap();
        };
        // With both files of before, and the root key: in a plain slot this would open.
        put(&before.0);
        let refused = Keyring::load(dir.path(), VAULT, &root).err();
        assert!(
            matches!(refused, Some(KeyError::WrapObjectGone)),
            "{refused:?}"
        );
        put(&after);
        let again = Keyring::load(dir.path(), VAULT, &root).unwrap();
        assert_eq!(again.content()[..], keyring.content()[..]);
        // The root key alone, without the module.
        let alone = Keyring::load(dir.path(), VAULT, &RootKey::of([1; 32])).err();
        assert!(matches!(alone, Some(KeyError::WrapTampered)), "{alone:?}");
        // And a module that isn't there is no reason to think the file changed.
        hsm.unplugged.store(true, Ordering::SeqCst);
        let refused = Keyring::load(dir.path(), VAULT, &root).err();
        assert!(
            matches!(refused, Some(KeyError::HsmTokenMissing(_))),
            "{refused:?}"
        );
    }

    /// Until the old object is gone an older copy opens: nobody is told that the key is.
    #[test]
    fn a_destruction_whose_object_stays_is_not_over_and_goes_on_later() {
        let (_dir, hsm, _root, mut keyring) = anchored();
        let objects = || hsm.objects.lock().unwrap().len();
        hsm.keeps_all.store(true, Ordering::SeqCst);
        let key = id(&keyring, &release());
        let destroyed = keyring.destroy(&[key], NOW);
        assert!(matches!(destroyed, Err(KeyError::Uncertain { .. })));
        assert!(!keyring.is_freed());
        assert!(keyring.settle().is_err());
        let made = keyring.ensure(&[replay()], NOW);
        assert!(matches!(made, Err(KeyError::Unsettled)));
        assert_eq!(objects(), 2);
        hsm.keeps_all.store(false, Ordering::SeqCst);
        keyring.settle().unwrap();
        assert!(keyring.is_freed());
        assert_eq!(objects(), 1);
        keyring.ensure(&[replay()], NOW).unwrap();
    }

    #[test]
    fn whenever_the_power_goes_a_destruction_ends_with_one_object() {
        for writes in 0.. {
            let (dir, hsm, root, mut keyring) = anchored();
            let key = id(&keyring, &release());
            file::cut::after(Some(writes));
            let done = keyring.destroy(&[key], NOW);
            file::cut::after(None);
            drop(keyring);
            let keyring = Keyring::load(dir.path(), VAULT, &root).unwrap();
            let (_, slots) = copy(dir.path());
            let used = slots
                .chunks(wrap::SLOT_BYTES)
                .filter(|s| s.iter().any(|b| *b != 0));
            assert_eq!(used.count(), 1, "after {writes} writes");
            let left = hsm.objects.lock().unwrap().clone();
            assert!(left.contains(&keyring.object.unwrap()));
            let state = keyring.record(key).unwrap().state();
            if state == KeyState::Destroyed {
                assert_eq!(
                    left.len(),
                    1,
                    "after {writes} writes: the old object is gone"
                );
            }
            if done.is_ok() {
                assert_eq!(state, KeyState::Destroyed);
                break;
            }
        }
    }

    #[test]
    fn a_module_that_goes_away_in_a_destruction_leaves_it_to_be_ended() {
        let (dir, hsm, root, mut keyring) = anchored();
        hsm.unplugged.store(true, Ordering::SeqCst);
        let refused = keyring.destroy(&[id(&keyring, &release())], NOW).err();
        assert!(
            matches!(refused, Some(KeyError::HsmTokenMissing(_))),
            "{refused:?}"
        );
        hsm.unplugged.store(false, Ordering::SeqCst);
        keyring.ensure(&[replay()], NOW).unwrap();
        // A slot that names the object in use, written by somebody, is freed without it.
        let (_, mut slots) = copy(dir.path());
        let (own, other) = slots.split_at_mut(wrap::SLOT_BYTES);
        other.copy_from_slice(own);
        other[11] ^= 1;
        fs::write(dir.path().join(wrap::FILE), &slots).unwrap();
        let again = Keyring::load(dir.path(), VAULT, &root).unwrap();
        assert!(hsm.objects.lock().unwrap().contains(&again.object.unwrap()));
        assert!(Keyring::load(dir.path(), VAULT, &root).is_ok());
    }

    #[test]
    fn a_seal_that_is_refused_changes_nothing() {
        let (dir, mut keyring) = under_a_seal();
        let before = copy(dir.path());
        let refused = keyring
            .reseal(&passphrase("short"), Vec::new(), &mut |_| Ok(()))
            .err();
        assert!(matches!(refused, Some(KeyError::PassphraseLength)));
        assert_eq!(copy(dir.path()), before);
        keyring.ensure(&[replay()], NOW).unwrap();
        assert!(open_with(dir.path(), "the old passphrase").is_ok());
    }
}
