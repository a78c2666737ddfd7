//! What the keyring notes of its keys beside their records (`docs/format.md` §8): in which of its
//! generations each last changed, so that the ledger can say later what it could not say at once;
//! and what a destroyed key leaves behind for its receipt.

use super::name::{KeyId, KeyName};
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::VaultId;
use crate::secret::SecretBytes;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What a destroyed key leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// What only this key's bytes hash to. They were 256 random bits: it says nothing of them.
    pub commitment: [u8; 32],
    /// How many records were under it, where they were counted.
    pub records: Option<u64>,
}

/// A change of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyNote {
    /// The keyring's generation that came with its last change.
    pub generation: u64,
    /// Once it is destroyed.
    pub ending: Option<Ending>,
}

/// The notes of a keyring, by key.
pub(super) type Notes = BTreeMap<KeyId, KeyNote>;

/// H("payvault key commitment v1" ‖ vault id ‖ key id u32 ‖ bytes(name) ‖ generation u32 ‖ secret).
pub(super) fn commitment(
    vault: VaultId,
    id: KeyId,
    name: &KeyName,
    generation: u32,
    secret: &SecretBytes<32>,
) -> [u8; 32] {
    let name = name.to_string();
    let mut hash = Sha256::new();
    hash.update(b"payvault key commitment v1");
    hash.update(vault.0);
    hash.update(id.0.to_be_bytes());
    hash.update((name.len() as u32).to_be_bytes());
    hash.update(name.as_bytes());
    hash.update(generation.to_be_bytes());
    hash.update(secret.expose());
    hash.finalize().into()
}

/// Bytes of the largest note.
pub(super) const NOTE_BYTES_MAX: usize = 4 + 8 + 1 + 32 + 8;

/// Writes the notes.
pub(super) fn write(notes: &Notes, w: &mut Writer) {
    w.u32(notes.len() as u32);
    for (id, note) in notes {
        w.u32(id.0).u64(note.generation);
        match note.ending {
            None => w.u8(0),
            Some(Ending {
                commitment,
                records: None,
            }) => w.u8(1).raw(&commitment),
            Some(Ending {
                commitment,
                records: Some(records),
            }) => w.u8(2).raw(&commitment).u64(records),
        };
    }
}

/// Reads the notes, or nothing behind the records, as earlier versions wrote it.
pub(super) fn read(r: &mut Reader<'_>) -> Result<Notes, Malformed> {
    let mut notes = Notes::new();
    if r.remaining() == 0 {
        return Ok(notes);
    }
    let count = r.u32()?;
    for _ in 0..count {
        let id = KeyId(r.u32()?);
        let generation = r.u64()?;
        let ending = match r.u8()? {
            0 => None,
            1 => Some(Ending {
                commitment: r.array()?,
                records: None,
            }),
            2 => Some(Ending {
                commitment: r.array()?,
                records: Some(r.u64()?),
            }),
            _ => return Err(Malformed::new("not a key's ending")),
        };
        if notes.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(Malformed::new("notes are not in ascending order"));
        }
        notes.insert(id, KeyNote { generation, ending });
    }
    Ok(notes)
}
