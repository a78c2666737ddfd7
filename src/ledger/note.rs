//! Signed notes (C2SP signed-note): a text and lines of signatures. A note's text is worth nothing
//! before a signature by a known key was verified, so [`Note::verify`] alone gives it out.

use super::error::NoteFault;
use super::key::{ED25519, VerifierKey, is_name, key_id};
use crate::limits::{NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};

/// A note whose signatures were not looked at yet.
pub struct Note<'a> {
    text: &'a str,
    signatures: Vec<SignatureLine<'a>>,
}

struct SignatureLine<'a> {
    name: &'a str,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Reads a note.
    ///
    /// # Errors
    /// When it breaks a rule of the specification, or a bound of [`crate::limits`].
    pub fn parse(note: &'a str) -> Result<Note<'a>, NoteFault> {
        let malformed = |what| Err(NoteFault::Malformed(what));
        if note.len() > NOTE_BYTES_MAX {
            return malformed("it is too long");
        }
        if note.bytes().any(|b| b < 0x20 && b != b'\n') {
            return malformed("it has a control character");
        }
        let Some(blank) = note.rfind("\n\n") else {
            return malformed("no blank line divides text and signatures");
        };
        let (text, lines) = (&note[..=blank], &note[blank + 2..]);
        let Some(lines) = lines.strip_suffix('\n') else {
            return malformed("its last line does not end");
        };
        let signatures: Vec<SignatureLine<'a>> = lines
            .split('\n')
            .take(NOTE_SIGNATURES_MAX + 1)
            .map(SignatureLine::parse)
            .collect::<Option<_>>()
            .ok_or(NoteFault::Malformed("a signature line is malformed"))?;
        if signatures.len() > NOTE_SIGNATURES_MAX {
            return malformed("it has too many signatures");
        }
        Ok(Note { text, signatures })
    }

    /// The text, and the first of `keys` that signed it. Signatures by other keys are ignored.
    ///
    /// # Errors
    /// [`NoteFault::BadSignature`] when a signature names one of `keys` and is not its;
    /// [`NoteFault::NoKnownSignature`] when none names one.
    pub fn verify<'k>(
        &self,
        keys: &'k [VerifierKey],
    ) -> Result<(&'a str, &'k VerifierKey), NoteFault> {
        let mut signer = None;
        for line in &self.signatures {
            // A name and an id that two keys share are told apart by the signature itself.
            let mut named = keys
                .iter()
                .filter(|key| key.name() == line.name && key.id() == line.id)
                .peekable();
            if named.peek().is_none() {
                continue;
            }
            let signature = <[u8; 64]>::try_from(line.signature.as_slice())
                .map_err(|_| NoteFault::BadSignature)?;
            let by = named
                .find(|key| key.verifies(self.text.as_bytes(), &signature))
                .ok_or(NoteFault::BadSignature)?;
            signer.get_or_insert(by);
        }
        signer
            .map(|key| (self.text, key))
            .ok_or(NoteFault::NoKnownSignature)
    }

    /// The text, of which nobody knows yet who wrote it.
    pub(super) fn unverified_text(&self) -> &'a str {
        self.text
    }

    /// What stands behind a name and id in signature lines: not verified.
    pub(super) fn signatures_of(&self, name: &str, id: [u8; 4]) -> impl Iterator<Item = &[u8]> {
        self.signatures
            .iter()
            .filter(move |line| line.name == name && line.id == id)
            .map(|line| line.signature.as_slice())
    }
}

impl<'a> SignatureLine<'a> {
    fn parse(line: &'a str) -> Option<SignatureLine<'a>> {
        let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
        let bytes = STANDARD.decode(signature).ok()?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        (is_name(name) && !signature.is_empty()).then(|| SignatureLine {
            name,
            id: *id,
            signature: signature.to_vec(),
        })
    }
}

/// Signs `text` as `name`: the whole note, with one signature line.
///
/// # Errors
/// When the text does not end with a newline or has a control character, or the name cannot stand
/// in a signature line.
pub fn sign(text: &str, name: &str, key: &SigningKey) -> Result<String, NoteFault> {
    if !text.ends_with('\n') || text.bytes().any(|b| b < 0x20 && b != b'\n') {
        return Err(NoteFault::Malformed("its text is not lines of text"));
    }
    if !is_name(name) {
        return Err(NoteFault::Key("its name is empty or has a space or plus"));
    }
    let signature = key.sign(text.as_bytes()).to_bytes();
    let id = key_id(ED25519, name, &key.verifying_key());
    Ok(format!("{text}\n{}", line(name, id, &signature)))
}

/// A signature line, with its newline.
pub(super) fn line(name: &str, id: [u8; 4], signature: &[u8]) -> String {
    format!(
        "— {name} {}\n",
        STANDARD.encode([&id[..], signature].concat())
    )
}
