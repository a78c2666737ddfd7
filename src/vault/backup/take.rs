//! Taking a backup while the vault serves: rows are read beside the committer, rounds that become
//! durable meanwhile come from its tee, and the last of them is the state that the file holds.

use super::super::Vault;
use super::super::command::{Caller, Done, Note, Refusal, Work};
use super::super::tee::{Change, Listener};
use super::file::{BackupReader, BackupWriter, Header, Trailer};
use super::{BackupError, Progress};
use crate::clock::Timestamp;
use crate::ids::{VaultId, letters, random};
use crate::keys::KeyName;
use crate::ledger::Checkpoint;
use crate::limits::{BACKUP_FILES_MAX, SPACE_RESERVE_BYTES};
use crate::policy::{Denial, Rpc};
use crate::store::durable::{create_directory, sync_directory};
use crate::store::space;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc;

/// What a backup's file name ends with.
pub const EXTENSION: &str = "pvbackup";
/// Rows of one scan: each holds up commits for its time.
const SCAN_ROWS: usize = 256;
/// How often the space that is left is looked at, in bytes written.
const SPACE_LOOK_BYTES: u64 = 4 << 20;
/// Words of progress that wait for a slow reader; more are left out.
const STEPS_WAITING: usize = 4;

/// A finished backup.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Where it lies.
    pub file: PathBuf,
    /// Its header.
    pub header: Header,
    /// Its trailer.
    pub trailer: Trailer,
    /// Its length.
    pub bytes: u64,
}

/// What is heard of a backup under way.
pub enum Step {
    /// How far it is.
    Progress(Progress),
    /// It is whole, was read back, and is durable. Nothing follows.
    Done(Box<Taken>),
    /// There is no file. Nothing follows.
    Failed(BackupError),
}

/// The name of a backup that was begun at a moment, without its directory. Names of one vault
/// sort by time.
fn name_of(vault: VaultId, begun_at: Timestamp) -> String {
    let time: String = begun_at
        .to_string()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    format!("{vault}-{time}.{EXTENSION}")
}

/// The newest backup of a vault in a directory, by the time in its header: a name is whatever
/// somebody gave it. The header is bound to every chunk, so whoever opens the backup knows that the
/// time is right. One that was begun later than `now` is left out, and the log says so.
///
/// # Errors
/// When there is none, the directory can't be read or holds more than
/// [`BACKUP_FILES_MAX`] files, or a file with the vault's name in front is no backup: it could be
/// the newest.
pub fn newest(directory: &Path, vault: VaultId, now: Timestamp) -> Result<PathBuf, BackupError> {
    let entries = std::fs::read_dir(directory).map_err(BackupError::io(directory))?;
    let begin = format!("{vault}-");
    let mut newest: Option<(Timestamp, PathBuf)> = None;
    for (number, entry) in entries.enumerate() {
        if number >= BACKUP_FILES_MAX {
            return Err(BackupError::TooManyFiles(directory.to_path_buf()));
        }
        let path = entry.map_err(BackupError::io(directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let own = |name: &str| name.starts_with(&begin) && name.ends_with(&format!(".{EXTENSION}"));
        if !name.is_some_and(own) {
            continue;
        }
        let header = Header::read(&path).inspect_err(|error| {
            tracing::error!(file = %path.display(), %error, "it has a backup's name, and can't be read");
        })?;
        if header.vault != vault || header.begun_at > now {
            let begun_at = header.begun_at;
            tracing::warn!(file = %path.display(), %begun_at, "left out: another vault's, or begun in the future");
            continue;
        }
        let found = (header.begun_at, path);
        if newest.as_ref().is_none_or(|known| *known < found) {
            newest = Some(found);
        }
    }
    newest
        .map(|(_, path)| path)
        .ok_or_else(|| BackupError::NoBackup(directory.to_path_buf()))
}

impl Vault {
    /// Begins a backup into `directory`, which is made when it is missing. It goes on when the
    /// receiver is dropped. Its entry is on stable storage before its first byte.
    ///
    /// # Errors
    /// What the door says, and [`Denial::TooMany`] while another one is under way.
    pub async fn backup(
        self: &Arc<Self>,
        caller: Caller,
        directory: &Path,
        deadline_ms: u64,
    ) -> Result<mpsc::Receiver<Step>, Refusal> {
        // A task of its own: a caller who leaves before the entry is durable leaves no begin
        // without an end.
        let begin = Arc::clone(self).begin_backup(caller, directory.to_path_buf(), deadline_ms);
        tokio::spawn(begin)
            .await
            .unwrap_or(Err(Refusal::Unavailable("the backup could not be begun")))
    }

    async fn begin_backup(
        self: Arc<Self>,
        caller: Caller,
        directory: PathBuf,
        deadline_ms: u64,
    ) -> Result<mpsc::Receiver<Step>, Refusal> {
        // Before anything is read: no round may be missed. The entry's own round is the first
        // that is heard, so there is a head to end at.
        let Some(listener) = self.shared.tee.listen() else {
            let refused = Work::Refused {
                rpc: Rpc::TakeBackup,
                denial: Denial::TooMany,
                transaction: None,
            };
            self.ask(caller, refused, deadline_ms).await?;
            return Err(Refusal::Denied(Denial::TooMany));
        };
        let (id, begun_at) = (random(), self.clock.now());
        let detail = vec![
            ("backup", letters(&id)),
            ("file", name_of(self.id, begun_at)),
        ];
        let work = Work::Backup { detail };
        let Done::Noted { .. } = self.ask(caller.clone(), work, deadline_ms).await? else {
            return Err(Refusal::Unavailable("a backup got another answer"));
        };
        let job = Job {
            vault: self,
            directory,
            id,
            begun_at,
        };
        let (sender, steps) = mpsc::channel(STEPS_WAITING);
        tokio::task::spawn_blocking(move || {
            let taken = job.take(listener, &mut |progress| {
                // Who is slow, or has left, hears less.
                let _ = sender.try_send(Step::Progress(progress));
            });
            let taken = job.note(taken, caller);
            let last = match taken {
                Ok(taken) => Step::Done(Box::new(taken)),
                Err(error) => {
                    tracing::error!(alarm = "backup", %error, "a backup failed");
                    Step::Failed(error)
                }
            };
            let _ = sender.blocking_send(last);
        });
        Ok(steps)
    }
}

/// One backup.
struct Job {
    vault: Arc<Vault>,
    directory: PathBuf,
    id: [u8; 16],
    begun_at: Timestamp,
}

impl Job {
    fn take(
        &self,
        listener: Listener,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Taken, BackupError> {
        let directory = &self.directory;
        create_directory(directory).map_err(BackupError::io(directory))?;
        self.remove_partial()?;
        let path = directory.join(name_of(self.vault.id, self.begun_at));
        if path.exists() {
            let source = std::io::ErrorKind::AlreadyExists.into();
            return Err(BackupError::Io { path, source });
        }
        let partial = path.with_extension(format!("{EXTENSION}.partial"));
        let (mut writer, reader) = self.begin(&partial)?;
        self.write_rows(&mut writer, &listener, progress)?;
        let (changes, head) = listener.end()?;
        write_changes(&mut writer, changes)?;

        let size = head.size;
        let checkpoint = Checkpoint::new(self.vault.id, head.epoch, size, head.root);
        let signing = self
            .vault
            .signing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or(BackupError::Refused(Refusal::Sealed))?;
        let note = checkpoint
            .sign(&signing)
            .map_err(|e| BackupError::NotTheState(e.to_string()))?;
        drop(signing);
        crate::secret::wipe_stack();
        // The mark comes before a checkpoint leaves the vault.
        tokio::runtime::Handle::current()
            .block_on(self.vault.publisher.reaches(size))
            .ok_or(BackupError::Refused(Refusal::Sealed))?;
        self.require_open()?;
        let trailer = writer.finish(|records, digest| Trailer {
            records,
            digest,
            epoch: head.epoch,
            round: head.round,
            round_id: head.round_id,
            size,
            root: head.root,
            keyring_generation: head.keyring_generation,
            ended_at: self.vault.clock.now(),
            note,
        })?;
        let bytes = self.name(&partial, &path, &reader, &trailer);
        if bytes.is_err() {
            let _ = std::fs::remove_file(&partial);
        }
        Ok(Taken {
            bytes: bytes?,
            file: path,
            header: reader.header,
            trailer,
        })
    }

    /// Begins the file. Both keys are made before the first touch of the disk: from then on the
    /// keyring, which the committer may need for itself, isn't held.
    fn begin(&self, partial: &Path) -> Result<(BackupWriter, BackupReader), BackupError> {
        let ring = self.vault.ring();
        let under =
            ring.find(&KeyName::Backup, self.vault.clock.now())
                .ok_or(BackupError::Refused(Refusal::Unavailable(
                    "there is no key for backups",
                )))?;
        let header = Header {
            vault: self.vault.id,
            epoch: self.vault.head().epoch,
            id: self.id,
            key: under,
            begun_at: self.begun_at,
            keyring_generation: ring.generation(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let key = || {
            ring.seals_backup(under, &header.id, header.digest())
                .map_err(BackupError::Sealed)
        };
        let (seals, opens) = (key()?, key()?);
        // The committer may want to write it: it does not wait for the backup's disk.
        drop(ring);
        let writer = BackupWriter::begin(partial, &header, seals)?;
        Ok((writer, BackupReader::of_own(partial, header, opens)))
    }

    /// Every row of the store, and between them what was committed meanwhile.
    fn write_rows(
        &self,
        writer: &mut BackupWriter,
        listener: &Listener,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), BackupError> {
        let mut from = vec![0];
        let mut look_at = 0;
        loop {
            self.require_open()?;
            let written = writer.progress().bytes;
            if written >= look_at {
                self.require_space()?;
                look_at = written + SPACE_LOOK_BYTES;
            }
            let rows = self.vault.reader.scan(&from, &[u8::MAX], SCAN_ROWS)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            from.clone_from(last);
            from.push(0);
            for (key, value) in &rows {
                // The store's own rows are made anew by whatever store they are restored into.
                if key.first() != Some(&space::STORE) {
                    writer.record(key, Some(value))?;
                }
            }
            write_changes(writer, listener.take()?)?;
            progress(writer.progress());
        }
    }

    /// Reads back what was written, and gives it its name.
    fn name(
        &self,
        partial: &Path,
        path: &Path,
        reader: &BackupReader,
        trailer: &Trailer,
    ) -> Result<u64, BackupError> {
        reader.read_back(trailer, || self.require_open())?;
        self.require_open()?;
        let io = BackupError::io(partial);
        let bytes = std::fs::metadata(partial).map_err(io)?.len();
        std::fs::rename(partial, path).map_err(BackupError::io(path))?;
        sync_directory(&self.directory).map_err(BackupError::io(&self.directory))?;
        Ok(bytes)
    }

    /// Removes what an earlier process began and did not end. There is one backup at a time.
    fn remove_partial(&self) -> Result<(), BackupError> {
        let directory = &self.directory;
        let begin = format!("{}-", self.vault.id);
        for entry in std::fs::read_dir(directory).map_err(BackupError::io(directory))? {
            let entry = entry.map_err(BackupError::io(directory))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&begin) && name.ends_with(".partial") {
                std::fs::remove_file(entry.path()).map_err(BackupError::io(&entry.path()))?;
            }
        }
        Ok(())
    }

    /// A sealed or stopped vault's keys are gone; a backup does not go on without them.
    fn require_open(&self) -> Result<(), BackupError> {
        match self.vault.closed.load(Ordering::SeqCst) {
            true => Err(BackupError::Refused(Refusal::Sealed)),
            false => Ok(()),
        }
    }

    /// A backup that fills the vault's own disk would stop the vault.
    fn require_space(&self) -> Result<(), BackupError> {
        let directory = &self.directory;
        let space = rustix::fs::statvfs(directory)
            .map_err(|errno| BackupError::io(directory)(errno.into()))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        // Twice: the vault's own reserve stays, also when both use the same disk.
        if free < 2 * SPACE_RESERVE_BYTES {
            return Err(BackupError::NoSpace(directory.clone()));
        }
        Ok(())
    }

    /// Says in the ledger how it ended. A backup whose end can't be entered is still one; that it
    /// was begun is entered.
    fn note(
        &self,
        taken: Result<Taken, BackupError>,
        caller: Caller,
    ) -> Result<Taken, BackupError> {
        let mut detail = vec![("backup", letters(&self.id))];
        match &taken {
            Ok(taken) => {
                detail.push(("file", name_of(self.vault.id, self.begun_at)));
                detail.push(("ledger_size", taken.trailer.size.to_string()));
                detail.push(("records", taken.trailer.records.to_string()));
                detail.push(("bytes", taken.bytes.to_string()));
            }
            Err(_) => detail.push(("note", "there is no file; the log says why".to_owned())),
        }
        let note = Note::BackupEnded {
            done: taken.is_ok(),
            detail,
        };
        let asked = self.vault.ask(caller, Work::Note(note), u64::MAX);
        if let Err(error) = tokio::runtime::Handle::current().block_on(asked) {
            tracing::warn!(%error, "the end of a backup could not be entered");
        }
        taken
    }
}

fn write_changes(
    writer: &mut BackupWriter,
    changes: impl IntoIterator<Item = Change>,
) -> Result<(), BackupError> {
    for (key, value) in changes {
        writer.record(&key, value.as_deref())?;
    }
    Ok(())
}
