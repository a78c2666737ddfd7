//! From a backup back to a vault: into a store beside the final place, held there against the
//! checkpoint that the backup names, and moved to its place only as the beginning of a new epoch.
//! Whatever is wrong, nothing is left. And the drill: the same without the end.

use super::super::check::{Checked, walk};
use super::super::command::{EpochOpened, Note, Work};
use super::super::committer::Committer;
use super::super::epochs::{ClosedEpoch, closed_epochs, tree_of};
use super::super::head::{Head, Restored};
use super::super::load::{LoadError, Loaded, Tiles, load, torn_rows};
use super::super::open::{House, OpenError, run_inline, share};
use super::super::publish::{Press, Publisher};
use super::file::{BackupReader, Header, Trailer};
use super::take::newest;
use super::{BackupError, Progress};
use crate::clock::Timestamp;
use crate::ids::{Site, VaultId};
use crate::keys::{KeyName, Keyring, RootKey, SealFile, Sealed};
use crate::ledger::{Checkpoint, Tree, VerifierKey, empty_root, origin};
use crate::limits;
use crate::store::durable::{create_directory, sync_directory, sync_tree};
use crate::store::{
    Mark, MarkFile, Reader, RoundId, Store, StoreError, StoredValue, WriteRefused, WriteSet, space,
};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows and bytes of one commit while rows are put back: half of what a round may hold.
const BATCH_ROWS: usize = limits::ROUND_ROWS_MAX / 2;
const BATCH_BYTES: usize = limits::ROUND_BYTES_MAX / 2;

/// How many entries are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// So many are known to have been.
    Entries(u64),
    /// Nobody knows.
    Unknown,
}

/// What an operator accepts, by its number: nothing is waved through by a flag alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Accepted {
    /// Entries that are lost.
    pub loss: Option<Loss>,
    /// Findings of the check.
    pub findings: Option<u64>,
}

/// A backup that was restored somewhere and held against its checkpoint.
#[derive(Debug)]
pub struct Verified {
    /// The file.
    pub file: PathBuf,
    /// Its header.
    pub header: Header,
    /// Its trailer.
    pub trailer: Trailer,
    /// What the check saw.
    pub checked: Checked,
}

/// A vault that was restored.
#[derive(Debug)]
pub struct RestoredVault {
    /// The backup, as it was verified.
    pub verified: Verified,
    /// The vault.
    pub vault: VaultId,
    /// The new epoch.
    pub epoch: u32,
    /// Entries that the mark knew beyond the backup; none when nobody knows.
    pub missing: Option<u64>,
    /// The new epoch's public key.
    pub verifier: String,
    /// Why the new epoch's mark could not be written, if it couldn't: everything else is in place,
    /// and the next start writes it.
    pub mark_late: Option<String>,
}

/// Restores a backup into the house's empty data directory, and opens a new epoch. The vault is
/// then opened as ever. The keyring gets the new epoch's keys; nothing else of the keys directory
/// changes.
///
/// # Errors
/// What is wrong with the backup, the directories, the keys or the mark; the data directory is
/// then as it was, unless the very last step fails: the flush of its name. A mark that can't be
/// written once the database is in place is no error, but [`RestoredVault::mark_late`].
pub fn restore(
    house: &House,
    root: &RootKey,
    from: &Path,
    accepted: Accepted,
    progress: &mut dyn FnMut(Progress),
) -> Result<RestoredVault, BackupError> {
    let vault = SealFile::read(&house.keys_dir)?.vault();
    let _alone = lock(&house.keys_dir)?;
    require_empty(house)?;
    let ring = Keyring::load(&house.keys_dir, vault, root)?;
    let mark = read_mark(house, &ring)?;
    let backup = BackupReader::open(from, &ring)?;
    // Once for itself: a damaged file is refused before anything at all is made.
    let trailer = backup.read(|_| Ok(()), progress)?;
    let missing = judge_loss(mark.as_ref(), &backup.header, &trailer, accepted)?;

    let beside = Beside::make(house)?;
    let mut store = house.open_store_in(&beside.directory, false)?;
    fill(store.as_mut(), &backup, &trailer, progress)?;
    let (loaded, checked) = verify(store.reader().as_ref(), &ring, &trailer)?;
    accept_findings(&checked, accepted)?;
    let reader = store.reader();
    compare_with_mark(mark.as_ref(), &trailer, &loaded, reader.as_ref(), &ring)?;
    drop(reader);

    let opened = EpochOpened {
        backup: backup.header.id_text(),
        missing,
        known: mark.as_ref().map(|m| (m.epoch, m.size, m.root)),
        findings: checked.findings_count,
        closed: closed(&loaded.head, &trailer),
    };
    let mut first = open_epoch(house, ring, store, loaded, mark.as_ref(), opened)?;
    let mut mark_late = None;
    if mark.is_some() {
        // The new head knows this mark: should the power go before it is overwritten, or it can't
        // be, opening does that.
        beside.move_into_place(&house.db_dir())?;
        mark_late = first.publish().err().map(|error| error.to_string());
    } else {
        // Nothing is lost by writing it first, and a database without a mark would be refused.
        first.publish()?;
        beside.move_into_place(&house.db_dir())?;
    }
    Ok(RestoredVault {
        verified: Verified {
            file: from.to_path_buf(),
            header: backup.header,
            trailer,
            checked,
        },
        vault,
        epoch: first.head.epoch,
        missing,
        verifier: first.verifier,
        mark_late,
    })
}

/// Restores the newest backup in `directory` into a temporary place under `work`, holds it against
/// its checkpoint, and removes it. Can be run beside a serving vault: it changes no key and no
/// mark. Findings of the check are in the result.
///
/// # Errors
/// What is wrong with the backup.
pub fn drill(
    house: &House,
    root: &RootKey,
    directory: &Path,
    work: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verified, BackupError> {
    let vault = SealFile::read(&house.keys_dir)?.vault();
    let ring = Keyring::look(&house.keys_dir, vault, root)?;
    let file = newest(directory, vault, house.clock.now())?;
    let backup = BackupReader::open(&file, &ring)?;
    let place = tempfile::Builder::new()
        .prefix("payvault-drill-")
        .tempdir_in(work)
        .map_err(BackupError::io(work))?;
    let trailer = backup.read(|_| Ok(()), progress)?;
    let mut store = house.open_store_in(&place.path().join("db"), false)?;
    fill(store.as_mut(), &backup, &trailer, progress)?;
    let (_, checked) = verify(store.reader().as_ref(), &ring, &trailer)?;
    drop(store);
    place.close().map_err(BackupError::io(work))?;
    Ok(Verified {
        file,
        header: backup.header,
        trailer,
        checked,
    })
}

/// Two restores at once would pull the new store from under each other.
fn lock(keys_dir: &Path) -> Result<File, BackupError> {
    use rustix::fs::FlockOperation::NonBlockingLockExclusive;
    let lock = File::open(keys_dir).map_err(BackupError::io(keys_dir))?;
    match rustix::fs::flock(&lock, NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(BackupError::Store(StoreError::Locked)),
        Err(errno) => Err(BackupError::io(keys_dir)(errno.into())),
    }
}

/// Whether nothing is in the data directory but the mark, if it lies there, and what an earlier
/// restore that was killed left beside.
fn require_empty(house: &House) -> Result<(), BackupError> {
    let entries = match fs::read_dir(&house.data_dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(BackupError::io(&house.data_dir))?,
    };
    for entry in entries {
        let name = entry
            .map_err(BackupError::io(&house.data_dir))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        let marks_here = house.mark_dir == house.data_dir;
        let a_mark = marks_here && (name == "mark.0" || name == "mark.1");
        if !a_mark && !Beside::NAMES.contains(&name.as_str()) {
            return Err(BackupError::NotEmpty(house.data_dir.clone()));
        }
    }
    Ok(())
}

/// The mark, if there is one. Makes no directory.
fn read_mark(house: &House, ring: &Keyring) -> Result<Option<Mark>, BackupError> {
    if !house.mark_dir.is_dir() {
        return Ok(None);
    }
    let mark = MarkFile::open(&house.mark_dir)?.read().cloned();
    if let Some(mark) = &mark {
        if mark.vault != ring.vault() {
            return Err(BackupError::MarkForeign);
        }
        ring.require_generation(mark.keyring_generation)?;
    }
    Ok(mark)
}

/// How many entries the mark knows beyond the backup; none when nobody knows: without a mark, and
/// with one of an epoch before the backup's, which says nothing of the backup's own. Of a mark of a
/// later epoch all entries are lost, and of the time between the epochs nobody knows.
fn judge_loss(
    mark: Option<&Mark>,
    header: &Header,
    trailer: &Trailer,
    accepted: Accepted,
) -> Result<Option<u64>, BackupError> {
    let unknown = |why| match accepted.loss {
        Some(Loss::Unknown) => Ok(None),
        _ => Err(BackupError::LossUnknown {
            why,
            begun_at: header.begun_at,
        }),
    };
    let Some(mark) = mark else {
        return unknown("there is no high-water mark in mark_dir");
    };
    let lost = match mark.epoch.cmp(&trailer.epoch) {
        std::cmp::Ordering::Less => {
            return unknown("the high-water mark is of an epoch before the backup's");
        }
        std::cmp::Ordering::Equal => mark.size.saturating_sub(trailer.size),
        std::cmp::Ordering::Greater => mark.size,
    };
    if lost > 0 && accepted.loss != Some(Loss::Entries(lost)) {
        return Err(BackupError::Loss {
            epoch: mark.epoch,
            known: mark.size,
            lost,
        });
    }
    Ok(Some(lost))
}

/// Puts a backup's rows into an empty store. The last commit has the id of the round whose state
/// it is: the head is bound to it.
fn fill(
    store: &mut dyn Store,
    backup: &BackupReader,
    trailer: &Trailer,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), BackupError> {
    let mut writes = WriteSet::new();
    let refused = |error: WriteRefused| BackupError::NotTheState(error.to_string());
    let again = backup.read(
        |record| {
            let key = record.key.to_vec();
            match record.value {
                Some(value) => writes.put(key, stored(record.key, value)?),
                None => writes.delete(key),
            }
            .map_err(refused)?;
            if writes.len() >= BATCH_ROWS || writes.bytes() >= BATCH_BYTES {
                let full = std::mem::take(&mut writes);
                store.begin()?.commit(RoundId::random(), &full)?;
            }
            Ok(())
        },
        progress,
    )?;
    if again != *trailer {
        return Err(BackupError::NotABackup("it changed while it was read"));
    }
    let id = RoundId(trailer.round_id);
    store.begin()?.commit(id, &writes)?;
    Ok(())
}

fn stored(key: &[u8], value: &[u8]) -> Result<StoredValue, BackupError> {
    match key.first() {
        Some(&(space::ENTRIES | space::TILES)) => Ok(StoredValue::Public(value.to_vec())),
        _ => Sealed::from_stored(value.to_vec())
            .map(StoredValue::Sealed)
            .map_err(|error| BackupError::NotTheState(error.to_string())),
    }
}

/// Holds a restored store against the trailer: head, tree, register, last round, note; and every
/// entry and row against each other, the findings of which are given back.
fn verify(
    reader: &dyn Reader,
    ring: &Keyring,
    trailer: &Trailer,
) -> Result<(Loaded, Checked), BackupError> {
    let loaded = load(reader, ring)?;
    let head = &loaded.head;
    let other = |what: &str| Err(BackupError::NotTheState(format!("{what} is another one")));
    if head.epoch != trailer.epoch || head.size != trailer.size || head.root != trailer.root {
        return other("the ledger");
    }
    if head.round != trailer.round || head.keyring_generation != trailer.keyring_generation {
        return other("the last round");
    }
    if !torn_rows(reader, ring, head)?.is_empty() {
        return Err(BackupError::NotTheState(
            "its last round is torn".to_owned(),
        ));
    }
    let key = ring.ledger_signing(head.epoch)?;
    let checkpoint = Checkpoint::new(ring.vault(), head.epoch, head.size, head.root);
    match checkpoint.sign(&key) {
        Ok(note) if note == trailer.note => {}
        _ => return other("the checkpoint"),
    }
    let checked = walk(reader, ring, head)?;
    Ok((loaded, checked))
}

fn accept_findings(checked: &Checked, accepted: Accepted) -> Result<(), BackupError> {
    let count = checked.findings_count;
    if count == 0 || accepted.findings == Some(count) {
        return Ok(());
    }
    Err(BackupError::NotSound {
        count,
        first: checked.findings.first().cloned().unwrap_or_default(),
        findings: checked.findings.clone(),
    })
}

/// A mark that the backup covers must be of the backup's history: of its own epoch, or of one that
/// it has closed.
fn compare_with_mark(
    mark: Option<&Mark>,
    trailer: &Trailer,
    loaded: &Loaded,
    reader: &dyn Reader,
    ring: &Keyring,
) -> Result<(), BackupError> {
    let Some(mark) = mark else { return Ok(()) };
    let earlier = closed_epochs(reader, ring)?;
    let earlier = earlier.iter().find(|closed| closed.epoch == mark.epoch);
    let (size, tree) = match earlier {
        _ if mark.epoch == trailer.epoch => (trailer.size, &loaded.tree),
        Some(closed) => (closed.size, &tree_of(reader, closed)?),
        None => return Ok(()),
    };
    if mark.size > size {
        return Ok(());
    }
    let root = tree
        .root_at(mark.size, &Tiles(reader, mark.epoch))
        .map_err(LoadError::Tree)?;
    if root != mark.root {
        return Err(BackupError::Rewritten { size: mark.size });
    }
    Ok(())
}

fn closed(head: &Head, trailer: &Trailer) -> ClosedEpoch {
    ClosedEpoch {
        epoch: head.epoch,
        size: head.size,
        root: head.root,
        note: trailer.note.clone(),
        peaks: head.peaks.clone(),
    }
}

/// What is left to do once the new epoch is in the store: its first mark.
struct FirstMark {
    press: Press,
    head: Arc<Head>,
    mark_dir: PathBuf,
    verifier: String,
}

impl FirstMark {
    fn publish(&mut self) -> Result<(), BackupError> {
        let published = self.press.publish(&self.head);
        published.map(|_| ()).map_err(|why| BackupError::Io {
            path: self.mark_dir.clone(),
            source: std::io::Error::other(why),
        })
    }
}

/// Opens a new epoch over the old one's rows, in a store that nobody serves yet: one round, whose
/// first entry says where the old epoch ended. The store is closed when this returns.
fn open_epoch(
    house: &House,
    mut ring: Keyring,
    store: Box<dyn Store>,
    loaded: Loaded,
    mark: Option<&Mark>,
    opened: EpochOpened,
) -> Result<FirstMark, BackupError> {
    let vault = ring.vault();
    let old = loaded.head;
    let known = [old.epoch, mark.map_or(0, |m| m.epoch), ring.last_epoch()];
    // A number that was given to a tree, anywhere, is never given to another one.
    let epoch = known
        .into_iter()
        .max()
        .and_then(|last| last.checked_add(1))
        .ok_or(BackupError::NotTheState("no epoch is left".to_owned()))?;
    let now = house.clock.now();
    if now.since_ms(old.last_time) > limits::CLOCK_AHEAD_MS_MAX {
        let last = old.last_time;
        return Err(OpenError::ClockAhead { now, last }.into());
    }
    // Later than every old token: that is how they are told from new ones.
    let at = now.max(old.last_time.plus_ms(1));
    // The backup's rows may lie under keys that nothing lay under any more.
    ring.forget_clear()?;
    ring.reserve(at)?;
    ring.end_collecting(at)?;
    ring.ensure(&first_keys(house, epoch, at), at)?;
    let key = ring.ledger_signing(epoch)?;
    let verifier = VerifierKey::new(&origin(vault, epoch), key.verifying_key())
        .map_err(|error| BackupError::NotTheState(error.to_string()))?
        .to_string();
    let loaded = Loaded {
        head: Head {
            epoch,
            size: 0,
            root: empty_root(),
            last_time: at,
            peaks: Vec::new(),
            restored: Some(Restored {
                at,
                superseded: mark.map(|m| (m.epoch, m.size, m.root)),
            }),
            ..old
        },
        tree: Tree::empty(),
        registry: loaded.registry,
    };
    let shared = share(ring, &loaded);
    let head = Arc::clone(&shared.head);
    let mut committer = Committer::new(
        store,
        loaded,
        shared,
        house.settings.clone(),
        house.clock.clone(),
        Publisher::idle(),
    );
    let note = Work::Note(Note::EpochOpened(Box::new(opened)));
    run_inline(&mut committer, note).map_err(BackupError::Refused)?;
    let head = head.load_full();
    drop(committer);

    let press = Press {
        vault,
        key,
        marks: MarkFile::open(&house.mark_dir)?,
        sink: house.checkpoint_sink.clone(),
        // It gets its first one when the vault serves.
        command: None,
        witnesses: None,
        clock: house.clock.clone(),
    };
    Ok(FirstMark {
        press,
        head,
        mark_dir: house.mark_dir.clone(),
        verifier,
    })
}

/// The keys that the first round of an epoch needs, made before it so that its first entry is its
/// own.
fn first_keys(house: &House, epoch: u32, at: Timestamp) -> Vec<KeyName> {
    let log = |site| super::super::batch::log_bucket(site, at);
    let mut names = vec![
        KeyName::LedgerSigning { epoch },
        KeyName::Vault,
        KeyName::Replay { day: at.day() },
        log(Site::VAULT),
    ];
    names.extend(house.settings.sites.keys().map(|site| log(*site)));
    names
}

/// The store that is being filled, beside its final place and on the same volume. Removed when it
/// is dropped before it was moved.
struct Beside {
    directory: PathBuf,
    data_dir: PathBuf,
    /// Whether the data directory was made for it.
    made: bool,
    moved: bool,
}

impl Beside {
    /// Its name, and the name under which an engine may make it.
    const NAMES: [&'static str; 2] = ["db.restoring", "db.restoring.new"];

    fn make(house: &House) -> Result<Beside, BackupError> {
        let data_dir = house.data_dir.clone();
        let made = !data_dir.is_dir();
        create_directory(&data_dir).map_err(BackupError::io(&data_dir))?;
        let beside = Beside {
            directory: data_dir.join(Beside::NAMES[0]),
            data_dir,
            made,
            moved: false,
        };
        beside.clear();
        Ok(beside)
    }

    fn clear(&self) {
        for name in Beside::NAMES {
            // What can't be removed now stands in the way later, and is said then.
            let _ = fs::remove_dir_all(self.data_dir.join(name));
        }
    }

    /// Everything in it is made durable first: the moment of its new name is the moment of the
    /// vault.
    fn move_into_place(mut self, db_dir: &Path) -> Result<(), BackupError> {
        sync_tree(&self.directory).map_err(BackupError::io(&self.directory))?;
        fs::rename(&self.directory, db_dir).map_err(BackupError::io(db_dir))?;
        self.moved = true;
        sync_directory(&self.data_dir).map_err(BackupError::io(&self.data_dir))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if self.moved {
            return;
        }
        self.clear();
        if self.made {
            // Refused by the system when somebody put something in: then it stays.
            let _ = fs::remove_dir(&self.data_dir);
        }
    }
}
