//! One key of the keyring: name, dates and state for everybody, the secret for this room only.

use super::cipher::Deriver;
use super::error::KeyError;
use super::name::{KeyId, KeyName};
use crate::clock::Timestamp;
use crate::codec::{Malformed, Reader, Writer};
use crate::secret::{LockedBytes, SecretBytes};

/// Where a key is in its life. It goes on only, with one exception: a destruction that is pending
/// may be called off, which makes the key decrypt-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum KeyState {
    /// Seals and opens.
    Active = 1,
    /// Opens only.
    DecryptOnly = 2,
    /// Opens only, and will be destroyed.
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
}

/// The smallest record in bytes, for judging a count before memory is taken for it.
pub(super) const RECORD_BYTES_MIN: usize = 4 + 4 + 4 + 1 + 3 * 8 + 4;
/// The largest: the longest name is `release/<16>/<10>`.
pub(super) const RECORD_BYTES_MAX: usize = RECORD_BYTES_MIN + 35 + 32;

impl KeyRecord {
    /// A new active key with the dates that its name gives it.
    pub(super) fn new(
        id: KeyId,
        name: KeyName,
        generation: u32,
        secret: SecretBytes<32>,
        now: Timestamp,
    ) -> KeyRecord {
        let limits = name.limits(now);
        KeyRecord {
            id,
            name,
            generation,
            state: KeyState::Active,
            created_at: now,
            not_after_encrypt: limits.not_after_encrypt,
            not_after_decrypt: limits.not_after_decrypt,
            secret: Some(KeySecret::new(secret)),
        }
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

    /// Whether it may seal or sign at `now`.
    pub fn encrypts_at(&self, now: Timestamp) -> bool {
        self.state == KeyState::Active && now < self.not_after_encrypt
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
        let encrypt = self.not_after_encrypt.min(now);
        let decrypt = match to {
            KeyState::Destroyed => self.not_after_decrypt.min(now),
            _ => self.not_after_decrypt,
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
