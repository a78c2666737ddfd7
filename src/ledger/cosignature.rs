//! Cosignatures of witnesses (C2SP tlog-cosignature, `cosignature/v1`, Ed25519): a witness's
//! statement that, at a time, the largest tree of a log that it had seen, and that was consistent
//! with all before, was this one.
//!
//! A cosignature vouches for nothing alone: the checkpoint must be signed by its own log too.

use super::error::NoteFault;
use super::key::{self, is_name, key_id};
use super::note::{self, Note};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

/// Signature type of timestamped Ed25519 cosignatures in C2SP tlog-cosignature.
const COSIGNATURE_V1: u8 = 4;
/// Bytes of a `timestamped_signature`: seconds since 1970 and the Ed25519 signature.
const SIGNATURE_BYTES: usize = 8 + 64;
/// Most that the specification allows for a time.
const SECONDS_MAX: u64 = i64::MAX as u64;

/// The public key of a witness, `<name>+<hex key id>+<base64(0x04 ‖ public key)>`. A type of its own,
/// so that a witness's key is never taken for a ledger's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl WitnessKey {
    /// Names a public key.
    ///
    /// # Errors
    /// When the name is empty, or holds white space or a plus (C2SP signed-note).
    pub fn new(name: &str, key: VerifyingKey) -> Result<WitnessKey, NoteFault> {
        if !is_name(name) {
            return Err(NoteFault::Key("its name is empty or has a space or plus"));
        }
        Ok(WitnessKey {
            name: name.to_owned(),
            id: key_id(COSIGNATURE_V1, name, &key),
            key,
        })
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the form, the type or the key id is wrong: a mistyped key is noticed.
    pub fn parse(text: &str) -> Result<WitnessKey, NoteFault> {
        let other = "it is not a witness's key for timestamped Ed25519 cosignatures (type 4)";
        let (name, key) = key::parts(COSIGNATURE_V1, other, text)?;
        WitnessKey::new(name, key)
    }

    /// The witness's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether both are of one private key, whatever their names.
    pub fn is_the_same_as(&self, other: &WitnessKey) -> bool {
        self.key == other.key
    }

    /// When this witness cosigned the note, in seconds since 1970; `None` when it didn't. The latest
    /// time, where there are several.
    ///
    /// # Errors
    /// [`NoteFault::BadSignature`] when a line names this key and isn't its; [`NoteFault::Malformed`]
    /// when the note is none.
    pub fn cosigned(&self, note: &str) -> Result<Option<u64>, NoteFault> {
        let note = Note::parse(note)?;
        let text = note.unverified_text();
        let mut latest = None;
        for signature in note.signatures_of(&self.name, self.id) {
            let at = self
                .verify(text, signature)
                .ok_or(NoteFault::BadSignature)?;
            latest = latest.max(Some(at));
        }
        Ok(latest)
    }

    fn verify(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let signature = <[u8; SIGNATURE_BYTES]>::try_from(signature).ok()?;
        let (at, signature) = signature.split_first_chunk::<8>()?;
        let at = u64::from_be_bytes(*at);
        // A checkpoint's cosignature has a time (C2SP tlog-witness).
        if at == 0 || at > SECONDS_MAX {
            return None;
        }
        let signature = Signature::from_slice(signature).ok()?;
        self.key
            .verify_strict(message(text, at).as_bytes(), &signature)
            .ok()?;
        Some(at)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        key::write(f, COSIGNATURE_V1, &self.name, &self.key)
    }
}

/// What a witness signs with. Neither printed nor copied; wiped when it is dropped.
pub struct Cosigner {
    name: String,
    key: Box<SigningKey>,
}

/// What the text of a [`Cosigner`] begins with (as C2SP signed-note's reference implementation).
const PRIVATE: &str = "PRIVATE+KEY+";

impl Cosigner {
    /// A new one of this name.
    ///
    /// # Errors
    /// When the name can't stand in a signature line.
    pub fn generate(name: &str) -> Result<Cosigner, NoteFault> {
        let seed = Zeroizing::new(crate::ids::random::<32>());
        Cosigner::of_seed(name, &seed)
    }

    /// The one of a seed.
    ///
    /// # Errors
    /// When the name can't stand in a signature line.
    pub fn of_seed(name: &str, seed: &[u8; 32]) -> Result<Cosigner, NoteFault> {
        if !is_name(name) {
            return Err(NoteFault::Key("its name is empty or has a space or plus"));
        }
        Ok(Cosigner {
            name: name.to_owned(),
            key: Box::new(SigningKey::from_bytes(seed)),
        })
    }

    /// Reads [`Cosigner::to_text`].
    ///
    /// # Errors
    /// When it is another text; nothing of it is repeated.
    pub fn parse(text: &str) -> Result<Cosigner, NoteFault> {
        let other = NoteFault::Key("it is not a witness's private key");
        let mut parts = text.strip_prefix(PRIVATE).ok_or(other)?.splitn(3, '+');
        let (name, id, secret) = (parts.next(), parts.next(), parts.next());
        let bytes = secret
            .and_then(|secret| STANDARD.decode(secret).ok())
            .map(Zeroizing::new)
            .ok_or(other)?;
        let [COSIGNATURE_V1, seed @ ..] = &bytes[..] else {
            return Err(other);
        };
        let seed = <&[u8; 32]>::try_from(seed).map_err(|_| other)?;
        let cosigner = Cosigner::of_seed(name.ok_or(other)?, seed)?;
        let own = key::hex(&cosigner.id());
        (id == Some(own.as_str())).then_some(cosigner).ok_or(other)
    }

    /// `PRIVATE+KEY+<name>+<hex key id>+<base64(0x04 ‖ seed)>`, for a file of its owner's alone.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([COSIGNATURE_V1; 33]);
        bytes[1..].copy_from_slice(self.key.as_bytes());
        let secret = Zeroizing::new(STANDARD.encode(&bytes[..]));
        let id = key::hex(&self.id());
        Zeroizing::new([PRIVATE, &self.name, "+", &id, "+", &secret].concat())
    }

    /// Its public key.
    pub fn verifier(&self) -> WitnessKey {
        WitnessKey {
            name: self.name.clone(),
            id: self.id(),
            key: self.key.verifying_key(),
        }
    }

    /// The line that cosigns a note's text at a time, in seconds since 1970. Whoever hands it out has
    /// judged the text, and has a durable record of it.
    ///
    /// # Errors
    /// When the time is none.
    pub fn cosign(&self, text: &str, at: u64) -> Result<String, NoteFault> {
        if at == 0 || at > SECONDS_MAX {
            return Err(NoteFault::Malformed("its time is none"));
        }
        let mut signature = at.to_be_bytes().to_vec();
        signature.extend_from_slice(&self.key.sign(message(text, at).as_bytes()).to_bytes());
        Ok(note::line(&self.name, self.id(), &signature))
    }

    fn id(&self) -> [u8; 4] {
        key_id(COSIGNATURE_V1, &self.name, &self.key.verifying_key())
    }
}

fn message(text: &str, at: u64) -> String {
    format!("cosignature/v1\ntime {at}\n{text}")
}
