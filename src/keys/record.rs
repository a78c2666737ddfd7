//! One key of the keyring: name, dates and state for everybody, the secret for this room only.

use super::cipher::Deriver;
use super::error::KeyError;
use super::name::{KeyId, KeyName, Limits};
use crate::clock::Timestamp;
use crate::codec::{Malformed, Reader, Writer};
use crate::limits;
use crate::secret::{LockedBytes, SecretBytes};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a key is in its life. It goes on only, with one exception: a destruction that is pending
/// may be called off, which makes the key decrypt-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum KeyState {
    /// Seals and opens.
    Active = 1,
    /// Opens only.
    DecryptOnly = 2,
    /// Will be destroyed; opens only, but for a release bucket's changes.
    PendingDestruction = 3,
    /// Its secret is gone.
    Destroyed = 4,
}

impl KeyState {
    fn from_u8(value: u8) -> Result<KeyState, Malformed> {
        match value {
            1 => Ok(KeyState::Active),
            2 => Ok(KeyState::DecryptOnly),
            3 => Ok(KeyState::PendingDestruction),
            4 => Ok(KeyState::Destroyed),
            _ => Err(Malformed::new("not a key's state")),
        }
    }

    /// Its name in output for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyState::Active => "active",
            KeyState::DecryptOnly => "decrypt-only",
            KeyState::PendingDestruction => "pending-destruction",
            KeyState::Destroyed => "destroyed",
        }
    }
}

/// The bytes of a key and what HKDF-Extract makes of them.
struct KeySecret {
    // Wiped before their pages are unlocked: fields drop in this order.
    bytes: LockedBytes<32>,
    deriver: Deriver,
}

/// A key of the keyring.
pub struct KeyRecord {
    id: KeyId,
    name: KeyName,
    generation: u32,
    state: KeyState,
    created_at: Timestamp,
    not_after_encrypt: Timestamp,
    not_after_decrypt: Timestamp,
    /// `None` when destroyed.
    secret: Option<KeySecret>,
    life: Life,
    /// Seals made, of those that are reserved. After a start all reserved ones count as made.
    used: AtomicU64,
}

/// What is known of a key beyond its record (`docs/format.md` §8, "lives").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Life {
    /// Somebody else may have it. Never taken back.
    pub(super) compromised: bool,
    /// What lies under it is to be sealed anew.
    pub(super) rewrap: bool,
    /// No live row lies under it.
    pub(super) clear: bool,
    /// Seals that it may have made: reserved, durably, before they are made. 0 when nobody counted.
    pub(super) seals: u64,
}

impl Life {
    /// Bytes of a key's line.
    pub(super) const BYTES: usize = 4 + 1 + 8;

    /// Writes the key's line.
    pub(super) fn write(self, id: KeyId, w: &mut Writer) {
        let flags =
            u8::from(self.compromised) | u8::from(self.rewrap) << 1 | u8::from(self.clear) << 2;
        w.u32(id.0).u8(flags).u64(self.seals);
    }

    /// Reads a key's line.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<(KeyId, Life), Malformed> {
        let id = KeyId(r.u32()?);
        let flags = r.u8()?;
        let life = Life {
            compromised: flags & 1 != 0,
            rewrap: flags & 2 != 0,
            clear: flags & 4 != 0,
            seals: r.u64()?,
        };
        if flags > 7 || life == Life::default() {
            return Err(Malformed::new(
                "a key's life says nothing, or what nobody knows",
            ));
        }
        Ok((id, life))
    }
}

/// The smallest record in bytes, for judging a count before memory is taken for it.
pub(super) const RECORD_BYTES_MIN: usize = 4 + 4 + 4 + 1 + 3 * 8 + 4;
/// The largest: the longest name is `hold/<16>/<32>`.
pub(super) const RECORD_BYTES_MAX: usize = RECORD_BYTES_MIN + 54 + 32;

impl KeyRecord {
    /// A new active key with the dates that its name gives it.
    pub(super) fn new(
        id: KeyId,
        name: KeyName,
        generation: u32,
        secret: SecretBytes<32>,
        limits: Limits,
        seals: u64,
        now: Timestamp,
    ) -> KeyRecord {
        KeyRecord {
            id,
            name,
            generation,
            state: KeyState::Active,
            created_at: now,
            not_after_encrypt: limits.not_after_encrypt,
            not_after_decrypt: limits.not_after_decrypt,
            secret: Some(KeySecret::new(secret)),
            life: Life {
                seals,
                ..Life::default()
            },
            used: AtomicU64::new(0),
        }
    }

    /// What is known of it beyond its record.
    pub(super) fn life(&self) -> Life {
        self.life
    }

    /// Takes over what became durable.
    pub(super) fn set_life(&mut self, life: Life) {
        self.life = life;
    }

    /// Takes over what was read: whatever was reserved counts as made.
    pub(super) fn restore_life(&mut self, life: Life) {
        self.life = life;
        self.used = AtomicU64::new(life.seals);
    }

    /// Whether somebody else may have it.
    pub fn is_compromised(&self) -> bool {
        self.life.compromised
    }

    /// Whether no live row lies under it: known once a re-wrap went through all of them.
    pub fn is_clear(&self) -> bool {
        self.life.clear
    }

    /// Whether somebody, or its dates, asked for what lies under it to be sealed anew.
    pub fn is_rewrap_asked(&self) -> bool {
        self.life.rewrap
    }

    /// Seals that it may have made: reserved in blocks before they are made.
    pub fn seals_reserved(&self) -> u64 {
        self.life.seals
    }

    /// Reserved seals that are left.
    pub(super) fn seals_left(&self) -> u64 {
        self.life
            .seals
            .saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Counts one seal; false when none is left.
    pub(super) fn count_seal(&self) -> bool {
        let counted = self.used.fetch_add(1, Ordering::Relaxed) < self.life.seals;
        if !counted {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
        counted
    }

    /// Its number.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What it is for.
    pub fn name(&self) -> KeyName {
        self.name
    }

    /// Which key of its name it is; the first is 1.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Name and, past the first, generation: `log/nl/2026-11`, `log/nl/2026-11#2`. No two keys of a
    /// keyring share it; it is the bucket's id in a leaf.
    pub fn label(&self) -> String {
        if self.generation == 1 {
            self.name.to_string()
        } else {
            format!("{}#{}", self.name, self.generation)
        }
    }

    /// Where it is in its life.
    pub fn state(&self) -> KeyState {
        self.state
    }

    /// When it was made.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// From this moment on it seals and signs nothing; once it is retired, when that was.
    pub fn not_after_encrypt(&self) -> Timestamp {
        self.not_after_encrypt
    }

    /// From this moment on it is due for destruction; once it is destroyed, when that was. Opening
    /// does not look at this date: a key ends by being destroyed, for which a hold may be in the
    /// way.
    pub fn not_after_decrypt(&self) -> Timestamp {
        self.not_after_decrypt
    }

    /// Whether it may seal or sign at `now`. A release bucket's key, or a hold's, still seals what
    /// changes under it while its end is pending: a row that is closed must not open as an open one.
    pub fn encrypts_at(&self, now: Timestamp) -> bool {
        self.seals() && now < self.not_after_encrypt
    }

    /// Whether its state lets it seal or sign.
    pub(super) fn seals(&self) -> bool {
        match self.state {
            KeyState::Active => true,
            KeyState::PendingDestruction => self.seals_while_pending(),
            KeyState::DecryptOnly | KeyState::Destroyed => false,
        }
    }

    /// Not one that was retired before: then its sealing ended before its opening does.
    fn seals_while_pending(&self) -> bool {
        matches!(self.name, KeyName::Release { .. } | KeyName::Hold { .. })
            && !self.life.compromised
            && self.not_after_encrypt >= self.not_after_decrypt
    }

    /// Whether `next` may follow its state. Buckets are destroyed from any state, since their end
    /// is part of their name; any other key must have been retired first, so that nothing still
    /// relies on it.
    pub fn may_become(&self, next: KeyState) -> bool {
        use KeyState::{Active, DecryptOnly, Destroyed, PendingDestruction};
        match (self.state, next) {
            (Active, DecryptOnly)
            | (Active | DecryptOnly, PendingDestruction)
            | (PendingDestruction, DecryptOnly)
            | (DecryptOnly | PendingDestruction, Destroyed) => true,
            (Active, Destroyed) => self.name.is_bucket(),
            _ => false,
        }
    }

    /// Its bytes.
    pub(super) fn secret(&self) -> Result<&SecretBytes<32>, KeyError> {
        let secret = self.secret.as_ref();
        secret
            .map(|s| &*s.bytes)
            .ok_or(KeyError::Destroyed(self.id))
    }

    /// The deriver of its derived keys; `None` when destroyed.
    pub(super) fn deriver(&self) -> Option<&Deriver> {
        self.secret.as_ref().map(|s| &s.deriver)
    }

    /// What the record will be after `change`, as fields; the secret stays aside.
    fn after(&self, change: Option<Change>) -> (KeyState, Timestamp, Timestamp) {
        let Some(Change { to, now }) = change else {
            return (self.state, self.not_after_encrypt, self.not_after_decrypt);
        };
        let pending = to == KeyState::PendingDestruction;
        let encrypt = match pending && self.state == KeyState::Active && self.seals_while_pending()
        {
            true => self.not_after_encrypt,
            false => self.not_after_encrypt.min(now),
        };
        let decrypt = match to {
            KeyState::Destroyed => self.not_after_decrypt.min(now),
            KeyState::PendingDestruction => {
                let due = now.plus_ms(limits::PENDING_DESTRUCTION_MS);
                self.not_after_decrypt.min(due)
            }
            KeyState::Active | KeyState::DecryptOnly => self.not_after_decrypt,
        };
        (to, encrypt, decrypt)
    }

    /// Makes the change; a destroyed key's secret is wiped here.
    pub(super) fn apply(&mut self, change: Change) {
        let (state, encrypt, decrypt) = self.after(Some(change));
        self.state = state;
        self.not_after_encrypt = encrypt;
        self.not_after_decrypt = decrypt;
        if state == KeyState::Destroyed {
            self.secret = None;
        }
    }

    /// Writes the record as it will be after `change` (`docs/format.md` §8).
    pub(super) fn write(&self, w: &mut Writer, change: Option<Change>) {
        let (state, encrypt, decrypt) = self.after(change);
        w.u32(self.id.0)
            .str(&self.name.to_string())
            .u32(self.generation)
            .u8(state as u8)
            .u64(self.created_at.0)
            .u64(encrypt.0)
            .u64(decrypt.0);
        match &self.secret {
            Some(secret) if state != KeyState::Destroyed => w.bytes(secret.bytes.expose()),
            _ => w.bytes(b""),
        };
    }

    /// Reads a record.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<KeyRecord, Malformed> {
        let id = KeyId(r.u32()?);
        let name = KeyName::parse(r.str()?)?;
        let generation = r.u32()?;
        let state = KeyState::from_u8(r.u8()?)?;
        let created_at = Timestamp(r.u64()?);
        let not_after_encrypt = Timestamp(r.u64()?);
        let not_after_decrypt = Timestamp(r.u64()?);
        let secret = match (r.bytes()?, state) {
            ([], KeyState::Destroyed) => None,
            (bytes, state) if state != KeyState::Destroyed => {
                let bytes = SecretBytes::copy_from(bytes);
                Some(KeySecret::new(
                    bytes.ok_or(Malformed::new("a key has 32 bytes"))?,
                ))
            }
            _ => return Err(Malformed::new("a destroyed key has a secret")),
        };
        Ok(KeyRecord {
            id,
            name,
            generation,
            state,
            created_at,
            not_after_encrypt,
            not_after_decrypt,
            secret,
            life: Life::default(),
            used: AtomicU64::new(0),
        })
    }
}

impl KeySecret {
    fn new(bytes: SecretBytes<32>) -> KeySecret {
        let bytes = LockedBytes::new(bytes);
        let deriver = Deriver::new(bytes.expose()).locked();
        KeySecret { bytes, deriver }
    }
}

/// A change of state, and when it is made. The dates that it ends are pulled in to that moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) to: KeyState,
    pub(super) now: Timestamp,
}
