//! A day's collect key: opens what was sealed to it.

use super::padding::unpad;
use super::sealed::{Bound, SealedDetails};
use super::suite::{CollectKeyId, Suite};
use crate::clock::Timestamp;
use crate::keys::error::KeyError;
use crate::keys::keyring::{Keyring, signing_key};
use crate::keys::name::{KeyId, KeyName};
use crate::keys::record::{KeyRecord, KeyState};
use crate::secret::{LockedBytes, SecretBuffer, SecretBytes, wipe_stack};
use ed25519_dalek::SigningKey;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable, Kem, OpModeR, Serializable};
use zeroize::{Zeroize as _, Zeroizing};

/// A collect key of the keyring, taken out of it for as long as it may open: opening must not wait
/// for a keyring that is being written. Wiped when dropped; has no `Debug`.
pub struct CollectKey {
    id: CollectKeyId,
    day: u32,
    not_before: Timestamp,
    not_after: Timestamp,
    pairs: [Pair; 2],
}

struct Pair {
    private: LockedBytes<32>,
    public: Vec<u8>,
}

impl CollectKey {
    fn of(record: &KeyRecord, day: u32, not_before: Timestamp) -> Option<CollectKey> {
        let deriver = record.deriver()?;
        let pairs = [
            pair::<X25519HkdfSha256>(&deriver.derive(&[b"payvault collect x25519 v1"])[..]),
            pair::<XWing>(&deriver.derive(&[b"payvault collect x-wing v1"])[..]),
        ];
        wipe_stack();
        Some(CollectKey {
            id: CollectKeyId::of([&pairs[0].public, &pairs[1].public]),
            day,
            not_before,
            not_after: record.not_after_decrypt(),
            pairs,
        })
    }

    /// Its id, as documents and sealed details have it.
    pub fn id(&self) -> CollectKeyId {
        self.id
    }

    /// Its day.
    pub fn day(&self) -> u32 {
        self.day
    }

    /// The begin of its day.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// From then on it opens nothing.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The public key of a suite.
    pub fn public(&self, suite: Suite) -> &[u8] {
        &self.pairs[suite.place()].public
    }

    /// Opens sealed details: the JSON inside. `None` when they were not sealed to this key and for
    /// exactly `bound`, or were changed since.
    pub fn open(&self, sealed: &SealedDetails<'_>, bound: &Bound) -> Option<SecretBuffer> {
        if sealed.key != self.id || sealed.site != bound.site {
            return None;
        }
        let info = bound.info(self.id, sealed.suite);
        let private = &self.pairs[sealed.suite.place()].private;
        let opened = match sealed.suite {
            Suite::X25519 => open::<X25519HkdfSha256>(private, &info, sealed),
            Suite::XWing => open::<XWing>(private, &info, sealed),
        };
        wipe_stack();
        let mut content = opened?;
        unpad(&mut content).then_some(content)
    }
}

fn pair<K: Kem>(seed: &[u8]) -> Pair {
    let (private, public) = K::derive_keypair(seed);
    let mut bytes = private.to_bytes();
    let secret = SecretBytes::copy_from(&bytes).expect("both KEMs' private keys have 32 bytes");
    bytes.as_mut_slice().zeroize();
    Pair {
        private: LockedBytes::new(secret),
        public: public.to_bytes().to_vec(),
    }
}

pub(super) fn open<K: Kem>(
    private: &SecretBytes<32>,
    info: &str,
    sealed: &SealedDetails<'_>,
) -> Option<SecretBuffer> {
    let private = K::PrivateKey::from_bytes(private.expose()).ok()?;
    let enc = K::EncappedKey::from_bytes(&sealed.enc).ok()?;
    hpke::single_shot_open::<AesGcm256, HkdfSha256, K>(
        &OpModeR::Base,
        &private,
        &enc,
        info.as_bytes(),
        &sealed.ciphertext,
        sealed.aad.as_bytes(),
    )
    .ok()
    .map(Zeroizing::new)
}

impl Keyring {
    /// The collect keys that the keyring has, the newest first. Whether one's time is over is the
    /// committer's to judge, by the time that the ledger goes by.
    pub fn collect_keys(&self) -> Vec<CollectKey> {
        let mut keys: Vec<CollectKey> = self
            .list()
            .filter(|key| matches!(key.state(), KeyState::Active | KeyState::DecryptOnly))
            .filter(|key| !key.is_compromised())
            .filter_map(|key| match key.name() {
                KeyName::Collect { day } => {
                    let begin = Timestamp(u64::from(day) * crate::clock::DAY_MS);
                    CollectKey::of(key, day, begin)
                }
                _ => None,
            })
            .collect();
        keys.reverse();
        keys
    }

    /// Destroys every collect key, before a backup's rows come back: they don't know what was used
    /// since, and nothing that was sealed before may be used again.
    ///
    /// # Errors
    /// As [`destroy`](Keyring::destroy).
    pub fn end_collecting(&mut self, now: Timestamp) -> Result<(), KeyError> {
        let live: Vec<KeyId> = self
            .list()
            .filter(|key| matches!(key.name(), KeyName::Collect { .. }))
            .filter(|key| key.state() != KeyState::Destroyed)
            .map(KeyRecord::id)
            .collect();
        match live.is_empty() {
            true => Ok(()),
            false => self.destroy(&live, now),
        }
    }

    /// The key that signs collect documents.
    ///
    /// # Errors
    /// When there is none, or it was destroyed.
    pub fn identity(&self) -> Result<Box<SigningKey>, KeyError> {
        let name = KeyName::Identity;
        let record = self.newest(&name).ok_or(KeyError::UnknownName(name))?;
        Ok(signing_key(record.secret()?))
    }
}
