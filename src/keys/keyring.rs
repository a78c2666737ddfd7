//! The keyring: every key that the vault has, in a file of its own, sealed under the wrapping key
//! (`docs/format.md` §8). Each write replaces the file durably and raises its generation by one.
//!
//! The floors above see [`KeyRecord`]s and [`KeyId`]s; secrets stay in this room.

use super::cipher::{self, NONCE_BYTES, TAG_BYTES};
use super::error::KeyError;
use super::file;
use super::name::{KeyId, KeyName};
use super::record::{Change, KeyRecord, KeyState, RECORD_BYTES_MAX, RECORD_BYTES_MIN};
use super::seal::RootKey;
use super::wrap::{self, Slot};
use crate::clock::Timestamp;
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{VaultId, random};
use crate::limits;
use crate::secret::{SecretBuffer, SecretBytes};
use ed25519_dalek::SigningKey;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The file's name.
pub(super) const FILE: &str = "keyring";
/// Magic, format, suite, generation and vault id: what is authenticated in clear.
const HEADER_BYTES: usize = 4 + 8 + 16;

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
    /// HKDF(root, "payvault keyring wrap v1"): wraps the next wrapping key.
    kek: SecretBytes<32>,
    wrapping: SecretBytes<32>,
    slot: Slot,
    /// False after a write of which it isn't known whether it holds.
    settled: bool,
}

/// What a write adds and changes, before it is durable.
#[derive(Default)]
struct Staged {
    added: Vec<KeyRecord>,
    changed: HashMap<KeyId, Change>,
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
        let kek = wrap_kek(root);
        let wrapping = SecretBytes::random();
        let slot = wrap::create(keys_dir, &kek, vault, &wrapping)?;
        let mut keyring = Keyring {
            dir: keys_dir.to_owned(),
            vault,
            generation: 0,
            next_id: 1,
            records: Vec::new(),
            newest: HashMap::new(),
            kek,
            wrapping,
            slot,
            settled: true,
        };
        let first = [
            KeyName::Vault,
            KeyName::Identity,
            KeyName::LedgerSigning { epoch: 1 },
        ];
        keyring.ensure(&first, now)?;
        Ok(keyring)
    }

    /// Loads the keyring, and ends a destruction that was cut short.
    ///
    /// Whether the file is the newest is not to be seen from the file itself: compare
    /// [`generation`](Keyring::generation) with the high-water mark by
    /// [`require_generation`](Keyring::require_generation).
    ///
    /// # Errors
    /// When a file can't be read, has another shape, belongs to another vault, or does not open.
    pub fn load(keys_dir: &Path, vault: VaultId, root: &RootKey) -> Result<Keyring, KeyError> {
        file::remove_temporary(keys_dir, FILE);
        let bytes = file::read(keys_dir, FILE, limits::KEYRING_BYTES_MAX)?;
        let sealed = SealedKeyring::parse(&bytes).map_err(malformed)?;
        if sealed.vault != vault {
            return Err(KeyError::OtherVault);
        }
        let kek = wrap_kek(root);
        let slots = wrap::read(keys_dir, &kek, vault)?;
        let other_empty = |slot: Slot| slots.is_empty(slot.other());
        if slots.found.is_empty() {
            return Err(KeyError::WrapTampered);
        }
        let opened = slots.found.iter().find_map(|found| {
            // A wrapping key is newer than no keyring under it.
            (found.generation <= sealed.generation)
                .then(|| sealed.open(&found.key))
                .flatten()
                .map(|content| (content, found.slot, found.key.duplicate()))
        });
        let (content, slot, wrapping) = opened.ok_or(KeyError::KeyringTampered)?;
        if !other_empty(slot) {
            // A destruction was cut short before (then the other slot's key was never used) or
            // after the keyring's replacement (then it is the old one). The replacement must be
            // durable before the old key goes.
            let doing = "ending a destruction that was cut short";
            file::sync_dir(keys_dir)
                .and_then(|()| wrap::erase(keys_dir, slot.other()))
                .map_err(|source| KeyError::Io { doing, source })?;
        }
        let (next_id, records) = decode(&content).map_err(malformed)?;
        let newest = index(&records);
        Ok(Keyring {
            dir: keys_dir.to_owned(),
            vault,
            generation: sealed.generation,
            next_id,
            records,
            newest,
            kek,
            wrapping,
            slot,
            settled: true,
        })
    }

    /// Whose keyring it is.
    pub fn vault(&self) -> VaultId {
        self.vault
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
            let secret = SecretBytes::random();
            let key = KeyRecord::new(id, *name, generation, secret, now);
            staged.added.push(key);
            made.push(*name);
        }
        if !made.is_empty() {
            self.require_settled()?;
            self.commit(staged, None)?;
        }
        Ok(made)
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
    /// (Copies of the wrap file would still open them: key backups have a life of their own.)
    ///
    /// # Errors
    /// [`KeyError::IllegalTransition`], [`KeyError::Unknown`] or [`KeyError::Destroyed`], and then
    /// nothing is changed. [`KeyError::Io`]: nothing was destroyed.
    /// [`KeyError::Uncertain`]: load the keyring again and look; loading ends what was begun.
    pub fn destroy(&mut self, ids: &[KeyId], now: Timestamp) -> Result<(), KeyError> {
        let doing = "renewing the wrapping key";
        let staged = self.stage_change(ids, KeyState::Destroyed, now)?;
        if staged.changed.is_empty() {
            return Ok(());
        }
        self.require_settled()?;
        let fresh = SecretBytes::random();
        let free = self.slot.other();
        wrap::write(
            &self.dir,
            free,
            &self.kek,
            self.vault,
            self.generation + 1,
            &fresh,
        )
        .map_err(|source| KeyError::Io { doing, source })?;
        self.commit(staged, Some((fresh, free)))?;
        wrap::erase(&self.dir, free.other()).map_err(|source| {
            self.settled = false;
            KeyError::Uncertain { doing, source }
        })
    }

    /// Every key, destroyed ones included, in the order in which they were made.
    pub fn list(&self) -> impl Iterator<Item = &KeyRecord> {
        self.records.iter()
    }

    /// The key that signs the checkpoints of an epoch.
    ///
    /// # Errors
    /// When there is none, or it is not active any more.
    pub fn ledger_signing(&self, epoch: u32) -> Result<SigningKey, KeyError> {
        let name = KeyName::LedgerSigning { epoch };
        let record = self.newest(&name).ok_or(KeyError::UnknownName(name))?;
        let secret = record.secret()?;
        if record.state() != KeyState::Active {
            return Err(KeyError::NotActive(record.id()));
        }
        Ok(SigningKey::from_bytes(secret.expose()))
    }

    /// A key's record, whatever its state.
    pub(super) fn record(&self, id: KeyId) -> Option<&KeyRecord> {
        let found = self.records.binary_search_by_key(&id, KeyRecord::id);
        found.ok().map(|at| &self.records[at])
    }

    /// The newest generation of a name, whatever its state.
    pub(super) fn newest(&self, name: &KeyName) -> Option<&KeyRecord> {
        self.newest.get(name).map(|at| &self.records[*at])
    }

    fn stage_change(
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

    fn require_settled(&self) -> Result<(), KeyError> {
        if self.settled {
            Ok(())
        } else {
            Err(KeyError::Unsettled)
        }
    }

    /// Writes the file as it will be with `staged`, one generation up, under the wrapping key or a
    /// fresh one; memory follows once the file is durable.
    fn commit(
        &mut self,
        staged: Staged,
        fresh: Option<(SecretBytes<32>, Slot)>,
    ) -> Result<(), KeyError> {
        let wrapping = fresh.as_ref().map_or(&self.wrapping, |(key, _)| key);
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
            self.wrapping = key;
            self.slot = slot;
        }
        self.adopt(staged);
        Ok(())
    }

    fn adopt(&mut self, staged: Staged) {
        self.generation += 1;
        self.next_id += staged.added.len() as u32;
        for (id, change) in staged.changed {
            if let Ok(at) = self.records.binary_search_by_key(&id, KeyRecord::id) {
                self.records[at].apply(change);
            }
        }
        for record in staged.added {
            self.newest.insert(record.name(), self.records.len());
            self.records.push(record);
        }
    }

    fn encode(&self, staged: &Staged) -> Zeroizing<Vec<u8>> {
        let count = self.records.len() + staged.added.len();
        let mut w = Writer::with_capacity(8 + count * RECORD_BYTES_MAX);
        w.u32(self.next_id + staged.added.len() as u32)
            .u32(count as u32);
        for record in &self.records {
            record.write(&mut w, staged.changed.get(&record.id()).copied());
        }
        for record in &staged.added {
            record.write(&mut w, None);
        }
        w.finish()
    }
}

/// HKDF(root, "payvault keyring wrap v1").
fn wrap_kek(root: &RootKey) -> SecretBytes<32> {
    let derived = cipher::hkdf(root.expose(), &[b"payvault keyring wrap v1"]);
    SecretBytes::build(|own| own.copy_from_slice(&derived[..]))
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

/// Reads the content: next id, and the keys in ascending order of their ids.
fn decode(content: &[u8]) -> Result<(u32, Vec<KeyRecord>), Malformed> {
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
    r.end()?;
    Ok((next_id, records))
}

fn index(records: &[KeyRecord]) -> HashMap<KeyName, usize> {
    // Later generations have later ids, so the last one of a name stays.
    let names = records.iter().map(KeyRecord::name);
    names.zip(0..).collect()
}

fn malformed(what: Malformed) -> KeyError {
    KeyError::Malformed { file: FILE, what }
}
