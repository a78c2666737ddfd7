//! What a witness remembers: its key, and of each ledger the checkpoint that it cosigned last, which
//! is a file named by the SHA-256 of the ledger's origin. A cosignature leaves only once the record
//! that it rests on is on stable storage, so a witness that is killed never cosigns two trees.
//!
//! Of which ledgers there are records stands in the key's file, one a line, so that none is taken for
//! new whose record was lost: a directory that was put back in part is refused.

use crate::cli::error::CliError;
use crate::clock::Clock;
use crate::ledger::{
    Accepted, Checkpoint, Cosigner, Refused, Submission, VerifierKey, WitnessKey, hex_of_origin,
};
use crate::limits;
use crate::store::durable::{create_directory, replace_file};
use crate::store::{StoreError, lock_directory};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// The witness's private key, and the names of the records that must be there.
const KEY: &str = "witness.key";
/// Bytes of a key's file that are read.
const KEY_BYTES_MAX: u64 = 128 << 10;

/// A witness.
pub(super) struct Records {
    dir: PathBuf,
    cosigner: Cosigner,
    ledgers: Vec<VerifierKey>,
    clock: Clock,
    /// By the file's name.
    known: Mutex<BTreeMap<String, Known>>,
    /// The records that the key's file lists. Held while one is compared and replaced, which takes
    /// as long as the disk; `known` never is.
    listed: Mutex<BTreeSet<String>>,
    /// Held as long as this is: two processes with one memory would cosign two trees.
    _lock: std::fs::File,
}

enum Known {
    /// Cosigned last, and the note as it was handed out.
    Cosigned(Checkpoint, String),
    /// A record could not be written: which one lies there only a restart tells.
    Unsure,
}

/// Why there is no cosignature.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum No {
    /// It must not be.
    Refused(Refused),
    /// The record can't be written.
    Failed,
}

impl Records {
    /// Reads a witness's directory, or makes one.
    ///
    /// # Errors
    /// When another process has it, or a file in it isn't what this witness wrote.
    pub(super) fn open(
        dir: &Path,
        name: Option<&str>,
        ledgers: Vec<VerifierKey>,
        clock: Clock,
    ) -> Result<Records, CliError> {
        create_directory(dir).map_err(CliError::file(dir))?;
        let lock = lock_directory(dir).map_err(|error| match error {
            StoreError::Locked => {
                CliError::Failed(format!("{} is another witness's", dir.display()))
            }
            other => CliError::Failed(format!("{}: {other}", dir.display())),
        })?;
        let (cosigner, listed) = cosigner(dir, name)?;
        let mut records = Records {
            dir: dir.to_owned(),
            cosigner,
            known: Mutex::default(),
            listed: Mutex::default(),
            ledgers,
            clock,
            _lock: lock,
        };
        let mut known = BTreeMap::new();
        for key in &records.ledgers {
            let name = hex_of_origin(key.name());
            if let Some(record) = records.read(&name, key.name())? {
                known.insert(name, record);
            }
        }
        for name in &listed {
            let path = dir.join(name);
            if !path.try_exists().map_err(CliError::file(&path))? {
                return Err(CliError::Failed(format!(
                    "{}: this record of a ledger is missing; the witness serves only with its whole memory: put the file back",
                    path.display()
                )));
            }
        }
        // A crash came between a record and its place in the list.
        let mut all = listed.clone();
        all.extend(known.keys().cloned());
        if all != listed {
            records.list(&all).map_err(CliError::file(&dir.join(KEY)))?;
        }
        records.known = Mutex::new(known);
        records.listed = Mutex::new(all);
        Ok(records)
    }

    /// Its public key.
    pub(super) fn verifier(&self) -> WitnessKey {
        self.cosigner.verifier()
    }

    /// Writes the key's file with the names of these records.
    fn list(&self, names: &BTreeSet<String>) -> std::io::Result<()> {
        replace_file(
            &self.dir.join(KEY),
            key_file(&self.cosigner, names).as_bytes(),
        )
    }

    /// The record of a ledger. One that isn't right is never taken for none.
    fn read(&self, file: &str, origin: &str) -> Result<Option<Known>, CliError> {
        let path = self.dir.join(file);
        let note = match std::fs::File::open(&path) {
            Ok(file) => {
                let mut note = String::new();
                file.take(limits::NOTE_BYTES_MAX as u64 + 1)
                    .read_to_string(&mut note)
                    .map_err(CliError::file(&path))?;
                note
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CliError::file(&path)(error)),
        };
        let checkpoint = Checkpoint::of_any_log(&note, &self.ledgers)
            .ok()
            .filter(|checkpoint| checkpoint.origin == origin)
            .filter(|_| matches!(self.verifier().cosigned(&note), Ok(Some(_))));
        match checkpoint {
            Some(checkpoint) => Ok(Some(Known::Cosigned(checkpoint, note))),
            None => Err(CliError::Failed(format!(
                "{}: this is not what this witness cosigned of {origin}; it serves only with its whole memory: put the file back",
                path.display()
            ))),
        }
    }

    /// Judges a request's body, makes its record durable, and gives the line that cosigns it.
    ///
    /// # Errors
    /// Why it isn't cosigned.
    pub(super) fn add(&self, body: &[u8]) -> Result<String, No> {
        let body = std::str::from_utf8(body)
            .map_err(|_| No::Refused(Refused::Malformed("it is not text")))?;
        let submission = Submission::parse(body).map_err(No::refused_shape)?;
        let origin = submission
            .origin()
            .map_err(|_| No::refused_shape("the checkpoint is not a note"))?;
        let file = hex_of_origin(origin);
        // One after the other: what is compared is what is replaced.
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let last = match self.known().get(&file) {
            Some(Known::Cosigned(checkpoint, _)) => Some(checkpoint.clone()),
            Some(Known::Unsure) => return Err(No::Failed),
            None => None,
        };
        let Accepted {
            checkpoint,
            text,
            signed,
        } = submission
            .judge(&self.ledgers, last.as_ref())
            .map_err(No::Refused)?;
        let at = self.clock.now().0 / 1_000;
        let line = self.cosigner.cosign(&text, at).map_err(|_| No::Failed)?;
        let note = format!("{signed}{line}");
        let written = replace_file(&self.dir.join(&file), note.as_bytes()).and_then(|()| {
            if listed.contains(&file) {
                return Ok(());
            }
            let mut names = listed.clone();
            names.insert(file.clone());
            self.list(&names)?;
            *listed = names;
            Ok(())
        });
        if let Err(error) = written {
            tracing::error!(%error, origin = checkpoint.origin, "the record can't be written; nothing more is cosigned of it until a restart");
            self.known().insert(file, Known::Unsure);
            return Err(No::Failed);
        }
        self.known().insert(file, Known::Cosigned(checkpoint, note));
        Ok(line)
    }

    /// What was cosigned last, by the hex SHA-256 of the origin.
    pub(super) fn newest(&self, file: &str) -> Option<String> {
        match self.known().get(file) {
            Some(Known::Cosigned(_, note)) => Some(note.clone()),
            Some(Known::Unsure) | None => None,
        }
    }

    /// For a moment only: answers wait for it.
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl No {
    fn refused_shape(what: &'static str) -> No {
        No::Refused(Refused::Malformed(what))
    }
}

/// The key, and behind it a line for each record.
fn key_file(cosigner: &Cosigner, names: &BTreeSet<String>) -> Zeroizing<String> {
    let key = cosigner.to_text();
    let mut text = Zeroizing::new(String::with_capacity(KEY_BYTES_MAX as usize));
    text.push_str(&key);
    text.push('\n');
    for name in names {
        text.push_str(name);
        text.push('\n');
    }
    text
}

/// The key that lies there, or a new one, and the names of the records that must be there.
fn cosigner(dir: &Path, name: Option<&str>) -> Result<(Cosigner, BTreeSet<String>), CliError> {
    let path = dir.join(KEY);
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((generate(&path, name)?, BTreeSet::new()));
        }
        Err(error) => return Err(CliError::file(&path)(error)),
    };
    let mode = file.metadata().map_err(CliError::file(&path))?;
    if mode.permissions().mode() & 0o077 != 0 {
        return Err(CliError::Failed(format!(
            "{}: others can read the witness's key: `chmod 600` it, or make a new one",
            path.display()
        )));
    }
    let mut text = Zeroizing::new(String::with_capacity(KEY_BYTES_MAX as usize));
    file.take(KEY_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(CliError::file(&path))?;
    let (key, names) = text.split_once('\n').unwrap_or((&text, ""));
    let is_name = |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let names: BTreeSet<String> = names.lines().map(str::to_owned).collect();
    if !names.iter().all(|name| is_name(name)) {
        return Err(CliError::Failed(format!(
            "{}: below the key there is a line that names no record",
            path.display()
        )));
    }
    let cosigner = Cosigner::parse(key)
        .map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))?;
    let own = cosigner.verifier();
    match name {
        Some(name) if name != own.name() => Err(CliError::Usage(format!(
            "--name: this witness is {} since its first start",
            own.name()
        ))),
        _ => Ok((cosigner, names)),
    }
}

fn generate(path: &Path, name: Option<&str>) -> Result<Cosigner, CliError> {
    let name = name
        .ok_or_else(|| CliError::Usage("--name is needed at a witness's first start".to_owned()))?;
    let cosigner =
        Cosigner::generate(name).map_err(|error| CliError::Usage(format!("--name: {error}")))?;
    let text = key_file(&cosigner, &BTreeSet::new());
    replace_file(path, text.as_bytes()).map_err(CliError::file(path))?;
    Ok(cosigner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_does_not_wait_for_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let name = Some("w.example/1");
        let records = Records::open(dir.path(), name, Vec::new(), Clock::system()).unwrap();
        // A record is being written.
        let _turn = records.listed.lock().unwrap();
        assert_eq!(records.newest("nobody's"), None);
    }
}
