//! Making a vault, and opening one: what must hold before anything is served.

use super::Vault;
use super::command::{Admin, Ask, Caller, Done, Note, Refusal, Work};
use super::committer::{Committer, Settings, Shared};
use super::head::Head;
use super::load::{LoadError, Loaded, Tiles, load, make_whole, read_head};
use super::publish::{Press, Publisher};
use super::registry::Registry;
use super::sink_command::SinkCommand;
use super::witness::{self, Bench, Witnesses, Witnessing};
use crate::clock::{Clock, Timestamp};
use crate::ids::VaultId;
use crate::keys::{
    Argon2Cost, Deliver, KeyError, Keyring, NewSeal, RootKey, SealFile, Tries, Unsealer,
};
use crate::ledger::{Checkpoint, Tree, VerifierKey, empty_root};
use crate::limits;
use crate::policy::{Allowance, AllowanceKey, Principal};
use crate::secret::SecretText;
use crate::store::{
    EngineKind, EngineOptions, Mark, MarkError, MarkFile, Reader, Store, StoreError, lock_directory,
};
use arc_swap::ArcSwap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

/// Where a vault lives and how it is set.
#[derive(Clone)]
pub struct House {
    /// The database's parent.
    pub data_dir: PathBuf,
    /// Seal file and keyring; never in a data backup.
    pub keys_dir: PathBuf,
    /// The high-water mark; ideally on another volume.
    pub mark_dir: PathBuf,
    /// A file outside the vault that always holds the newest checkpoint.
    pub checkpoint_sink: Option<PathBuf>,
    /// A program outside of the vault that gets each checkpoint on its stdin.
    pub checkpoint_command: Option<PathBuf>,
    /// Who is asked to cosign each checkpoint.
    pub witnesses: Witnesses,
    /// Sites and rates.
    pub settings: Settings,
    /// The store's engine.
    pub engine: EngineKind,
    /// Bytes of the engine's cache.
    pub cache_bytes: u64,
    /// Where time comes from.
    pub clock: Clock,
}

/// Why a vault can't be made or opened. Each message names the way out.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is a vault already.
    #[error("{0} is not empty: a vault is made in empty directories only")]
    Exists(PathBuf),
    /// No vault was ever made here.
    #[error(
        "there is no vault in {0}: if there was one, mount or put back what is missing, and don't run `payvault init`; if there never was, make one with it"
    )]
    NotInitialised(PathBuf),
    /// The high-water mark's directory is not there.
    #[error("{0} is not there, and the high-water mark should lie in it: is its volume mounted?")]
    NoMarkDir(PathBuf),
    /// A directory or file can't be made.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Seal or keyring.
    #[error("keys: {0}")]
    Key(#[from] KeyError),
    /// The engine.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The mark's files.
    #[error("high-water mark: {0}")]
    Mark(#[from] MarkError),
    /// The store's content.
    #[error("store: {0}")]
    Load(#[from] LoadError),
    /// The mark says that there was a ledger; the database is empty.
    #[error(
        "the database is empty, but the high-water mark knows {size} entries (root {root}): the database was lost or replaced; put it back, or restore a backup"
    )]
    Emptied {
        /// Entries that the mark knows.
        size: u64,
        /// Their root.
        root: String,
    },
    /// The database has a ledger; no mark vouches for it.
    #[error(
        "the database holds {size} entries, but there is no high-water mark: put the mark's files back; without them nobody can tell whether the database is an old copy"
    )]
    MarkAbsent {
        /// Entries in the database.
        size: u64,
    },
    /// The mark belongs to another vault or epoch.
    #[error("the high-water mark belongs to another vault or epoch: wrong mark_dir?")]
    MarkForeign,
    /// The database is older than the mark.
    #[error(
        "the database ends at {found} entries, but {known} were published: {missing} are missing; this is an old copy; put the newer one back, or restore a backup",
        missing = known - found
    )]
    StoreBehind {
        /// Entries in the database.
        found: u64,
        /// Entries that the mark knows.
        known: u64,
    },
    /// The database has another history than the one that was published.
    #[error(
        "the ledger's first {size} entries are not the ones that were published: it was rewritten; keep everything as it is, and compare with the checkpoints that were handed out"
    )]
    Rewritten {
        /// Entries that the mark knows.
        size: u64,
    },
    /// A witness holds more of this ledger than the database.
    #[error(
        "the database ends at {found} entries, but the witness {witness} holds {known}, signed by this ledger's own key: {missing} are missing; this is an old copy; put the newer one back, or restore a backup",
        missing = known - found
    )]
    WitnessHoldsMore {
        /// Which.
        witness: String,
        /// Entries in the database.
        found: u64,
        /// Entries that the witness holds.
        known: u64,
    },
    /// A witness holds another history than the database.
    #[error(
        "the ledger's first {size} entries are not the ones that the witness {witness} holds, signed by this ledger's own key: it was rewritten; keep everything as it is, and compare with the checkpoints that were handed out"
    )]
    WitnessHoldsOther {
        /// Which.
        witness: String,
        /// Entries that it holds.
        size: u64,
    },
    /// The clock is years past the last entry.
    #[error(
        "the clock shows {now}, the last entry is of {last}: set the clock; one entry under a clock that runs ahead would end keys before their time"
    )]
    ClockAhead {
        /// What the clock shows.
        now: Timestamp,
        /// Time of the last entry.
        last: Timestamp,
    },
    /// The first entry could not be written.
    #[error("the ledger can't be written: {0}")]
    Refused(Refusal),
}

impl House {
    /// The engine's directory.
    pub fn db_dir(&self) -> PathBuf {
        House::db_dir_in(&self.data_dir)
    }

    /// The engine's directory in a data directory.
    pub fn db_dir_in(data_dir: &Path) -> PathBuf {
        data_dir.join("db")
    }

    /// Opens the store with the engine that was set; `verify` as in [`EngineOptions`].
    /// The program that gets checkpoints, if there is one.
    ///
    /// # Errors
    /// When no thread can be started.
    fn sink_command(&self) -> std::io::Result<Option<SinkCommand>> {
        self.checkpoint_command
            .clone()
            .map(SinkCommand::start)
            .transpose()
    }

    pub(super) fn open_store(&self, verify: bool) -> Result<Box<dyn Store>, StoreError> {
        self.open_store_in(&self.db_dir(), verify)
    }

    /// The same engine over another directory.
    pub(super) fn open_store_in(
        &self,
        directory: &Path,
        verify: bool,
    ) -> Result<Box<dyn Store>, StoreError> {
        let options = EngineOptions {
            cache_bytes: self.cache_bytes,
            verify,
            ..EngineOptions::default()
        };
        self.engine.open(directory, options)
    }
}

/// Who and what a new vault begins with.
pub struct Founding {
    /// The first principals: operators at least.
    pub principals: Vec<Principal>,
    /// The first allow-list.
    pub allowances: Vec<(AllowanceKey, Allowance)>,
    /// Whose certificates may unseal.
    pub unsealers: Vec<Unsealer>,
}

/// Makes a vault: seal, keyring, database, first entries, first mark.
///
/// # Errors
/// When a directory is not empty, or something can't be written. What was made until then is left
/// for the operator to look at; the directories are to be emptied before another try.
pub fn create(
    house: &House,
    passphrase: &SecretText,
    cost: Argon2Cost,
    founding: Founding,
) -> Result<VaultId, OpenError> {
    let passphrase = passphrase.duplicate();
    let seal = NewSeal::Passphrase { passphrase, cost };
    create_as(house, &seal, founding, &mut |_| Ok(())).map(|(vault, _)| vault)
}

/// Makes a vault under any kind of seal; `deliver` hands its custodians what they get, which is
/// nowhere else. Gives the vault's id, and the root key to look at it once.
///
/// # Errors
/// As [`create`].
pub fn create_as(
    house: &House,
    seal: &NewSeal,
    founding: Founding,
    deliver: &mut Deliver<'_>,
) -> Result<(VaultId, RootKey), OpenError> {
    if house.db_dir().exists() {
        return Err(OpenError::Exists(house.data_dir.clone()));
    }
    create_as_in(house, seal, founding, deliver, || house.open_store(false))
}

/// [`create`] in a store of the caller's.
///
/// # Errors
/// As [`create`].
pub fn create_in(
    house: &House,
    passphrase: &SecretText,
    cost: Argon2Cost,
    founding: Founding,
    store: impl FnOnce() -> Result<Box<dyn Store>, StoreError>,
) -> Result<VaultId, OpenError> {
    let passphrase = passphrase.duplicate();
    let seal = NewSeal::Passphrase { passphrase, cost };
    create_as_in(house, &seal, founding, &mut |_| Ok(()), store).map(|(vault, _)| vault)
}

fn create_as_in(
    house: &House,
    seal: &NewSeal,
    founding: Founding,
    deliver: &mut Deliver<'_>,
    store: impl FnOnce() -> Result<Box<dyn Store>, StoreError>,
) -> Result<(VaultId, RootKey), OpenError> {
    for dir in [&house.data_dir, &house.keys_dir, &house.mark_dir] {
        let io = |source| OpenError::Io {
            what: format!("making {}", dir.display()),
            source,
        };
        std::fs::create_dir_all(dir).map_err(io)?;
    }
    let marks = MarkFile::open(&house.mark_dir)?;
    if SealFile::read(&house.keys_dir).is_ok() || marks.read().is_some() {
        return Err(OpenError::Exists(house.data_dir.clone()));
    }
    let now = house.clock.now();
    let vault = VaultId::random();
    let unsealers = founding.unsealers;
    let root = SealFile::create_as(&house.keys_dir, vault, seal, unsealers, deliver)?;
    let ring = Keyring::create(&house.keys_dir, vault, &root, now)?;
    let key = ring.ledger_signing(FIRST_EPOCH)?;
    let store = store()?;
    let loaded = Loaded {
        head: Head {
            epoch: FIRST_EPOCH,
            round: 0,
            round_id: [0; 16],
            size: 0,
            root: empty_root(),
            last_time: Timestamp(0),
            keyring_generation: ring.generation(),
            single_operator: true,
            registry: Registry::default().digest(),
            peaks: Vec::new(),
            restored: None,
        },
        tree: Tree::empty(),
        registry: Registry::default(),
    };
    let io = |source| OpenError::Io {
        what: "starting a thread".to_owned(),
        source,
    };
    let press = Press {
        vault,
        key,
        marks,
        sink: house.checkpoint_sink.clone(),
        command: house.sink_command().map_err(io)?,
        // They are asked once the vault serves.
        witnesses: None,
        clock: house.clock.clone(),
    };
    let (publisher, thread) = Publisher::start(press).map_err(io)?;
    let shared = share(ring, &loaded);
    let mut committer = Committer::new(
        store,
        loaded,
        shared,
        house.settings.clone(),
        house.clock.clone(),
        publisher.clone(),
    );
    let mut works = vec![Work::Note(Note::Created)];
    let principals = founding.principals.into_iter();
    works.extend(principals.map(|p| Work::Admin(Box::new(Admin::CreatePrincipal(p)))));
    let allowances = founding.allowances.into_iter();
    works.extend(allowances.map(|(k, a)| Work::Admin(Box::new(Admin::SetAllowance(k, Some(a))))));
    let result = works
        .into_iter()
        .try_for_each(|work| run_inline(&mut committer, work).map(|_| ()));
    publisher.stop();
    let joined = thread.join();
    result.map_err(OpenError::Refused)?;
    if joined.is_err() || publisher.published().is_none() {
        return Err(OpenError::Refused(Refusal::Unavailable(
            "the first high-water mark could not be written",
        )));
    }
    Ok((vault, root))
}

/// The epoch that a vault begins with.
const FIRST_EPOCH: u32 = 1;

/// Runs one command of the vault itself on a committer that has no thread yet.
pub(super) fn run_inline(committer: &mut Committer, work: Work) -> Result<Done, Refusal> {
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    committer.round(vec![Ask {
        caller: Caller::vault(),
        work,
        deadline_ms: u64::MAX,
        reply,
        share: None,
    }]);
    answer.try_recv().unwrap_or(Err(Refusal::Sealed))
}

pub(super) fn share(ring: Keyring, loaded: &Loaded) -> Shared {
    Shared {
        collecting: Arc::default(),
        ring: Arc::new(RwLock::new(ring)),
        tree: Arc::new(RwLock::new(loaded.tree.clone())),
        registry: Arc::new(ArcSwap::from_pointee(loaded.registry.clone())),
        head: Arc::new(ArcSwap::from_pointee(loaded.head.clone())),
        tee: Arc::default(),
        clock_off: Arc::default(),
        raised: Default::default(),
    }
}

/// Opens a vault with its root key and starts its threads.
///
/// # Errors
/// When anything is not as it was left: see [`OpenError`]. Nothing is served then, and nothing was
/// changed but the repair of a torn last round.
pub fn open(house: &House, root: &RootKey) -> Result<Vault, OpenError> {
    if !house.db_dir().exists() && SealFile::read(&house.keys_dir).is_err() {
        return Err(OpenError::NotInitialised(house.keys_dir.clone()));
    }
    // Nothing is made where something should be: an empty directory in the place of a volume that
    // isn't mounted would be taken for one that was emptied.
    if !house.mark_dir.is_dir() {
        return Err(OpenError::NoMarkDir(house.mark_dir.clone()));
    }
    if !house.db_dir().exists() {
        return Err(match MarkFile::open(&house.mark_dir)?.read() {
            Some(mark) => emptied(mark),
            None => OpenError::NotInitialised(house.data_dir.clone()),
        });
    }
    open_in(house, root, house.open_store(false)?)
}

fn emptied(mark: &Mark) -> OpenError {
    OpenError::Emptied {
        size: mark.size,
        root: crate::ledger::to_base64(&mark.root),
    }
}

/// Where the newest cosigned checkpoint goes: beside the sink, which never waits for a witness.
fn cosigned_file(house: &House) -> Option<PathBuf> {
    let mut name = house.checkpoint_sink.as_ref()?.as_os_str().to_owned();
    name.push(".cosigned");
    Some(PathBuf::from(name))
}

/// The newest checkpoint of this epoch that lies outside of the vault, in a file that it is sent to:
/// when database and mark were put back together, it still tells.
fn sent_out(sink: &Path, verifier: &VerifierKey) -> Option<Checkpoint> {
    let note = match std::fs::read_to_string(sink) {
        Ok(note) => note,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%error, "the checkpoint sink can't be read");
            return None;
        }
    };
    match Checkpoint::open(&note, std::slice::from_ref(verifier)) {
        Ok((checkpoint, _)) => Some(checkpoint),
        Err(why) => {
            // Of an earlier epoch, or damaged: it vouches for nothing here.
            tracing::warn!(%why, "the checkpoint sink holds no checkpoint of this ledger");
            None
        }
    }
}

/// Whether the ledger goes on from a checkpoint that was handed out.
fn extends(loaded: &Loaded, reader: &dyn Reader, known: &Checkpoint) -> Result<(), OpenError> {
    let head = &loaded.head;
    if head.size < known.size {
        return Err(OpenError::StoreBehind {
            found: head.size,
            known: known.size,
        });
    }
    let root_then = loaded
        .tree
        .root_at(known.size, &Tiles(reader, head.epoch))
        .map_err(LoadError::Tree)?;
    match root_then == known.root {
        true => Ok(()),
        false => Err(OpenError::Rewritten { size: known.size }),
    }
}

/// What doesn't agree with a witness, in its name.
fn said_by(witness: String, error: OpenError) -> OpenError {
    match error {
        OpenError::StoreBehind { found, known } => OpenError::WitnessHoldsMore {
            witness,
            found,
            known,
        },
        OpenError::Rewritten { size } => OpenError::WitnessHoldsOther { witness, size },
        other => other,
    }
}

/// [`open`] over a store of the caller's.
///
/// # Errors
/// As [`open`].
pub fn open_in(
    house: &House,
    root: &RootKey,
    mut store: Box<dyn Store>,
) -> Result<Vault, OpenError> {
    let seal = SealFile::read(&house.keys_dir)
        .map_err(|_| OpenError::NotInitialised(house.keys_dir.clone()))?;
    let vault = seal.vault();
    // A second vault with these keys would go on with the same ledger, and each would renew the
    // keyring without the other's keys.
    let keys_lock = lock_directory(&house.keys_dir)?;
    let ring = Keyring::load(&house.keys_dir, vault, root)?;
    let marks = MarkFile::open(&house.mark_dir)?;
    let mark = marks.read().cloned();
    if let Some(mark) = &mark {
        if mark.vault != vault {
            return Err(OpenError::MarkForeign);
        }
        // PCI DSS 3.7.7: no substitution of keys.
        ring.require_generation(mark.keyring_generation)?;
    }
    let reader = store.reader();
    let head = match read_head(reader.as_ref(), &ring) {
        Ok(head) => head,
        Err(LoadError::Empty) => {
            return Err(match mark {
                None => OpenError::NotInitialised(house.data_dir.clone()),
                Some(mark) => emptied(&mark),
            });
        }
        Err(error) => return Err(error.into()),
    };
    ring.require_generation(head.keyring_generation)?;
    let mark = mark.ok_or(OpenError::MarkAbsent { size: head.size })?;
    // A power cut between a restored database's appearing and its mark: the restore knew this mark.
    let superseded = head
        .restored
        .as_ref()
        .and_then(|restored| restored.superseded)
        .is_some_and(|old| old == (mark.epoch, mark.size, mark.root));
    if mark.epoch != head.epoch && !superseded {
        return Err(OpenError::MarkForeign);
    }
    if head.size < mark.size && !superseded {
        return Err(OpenError::StoreBehind {
            found: head.size,
            known: mark.size,
        });
    }
    let now = house.clock.now();
    if now.since_ms(head.last_time) > limits::CLOCK_AHEAD_MS_MAX {
        return Err(OpenError::ClockAhead {
            now,
            last: head.last_time,
        });
    }

    let mut findings = Vec::new();
    let repaired = make_whole(store.as_mut(), reader.as_ref(), &ring, &head)?;
    if repaired > 0 {
        findings.push(format!("{repaired} rows of the last round repaired"));
    }
    let loaded = load(reader.as_ref(), &ring)?;
    if !superseded {
        let root_then = loaded
            .tree
            .root_at(mark.size, &Tiles(reader.as_ref(), head.epoch))
            .map_err(LoadError::Tree)?;
        if root_then != mark.root {
            return Err(OpenError::Rewritten { size: mark.size });
        }
    }
    let key = ring.ledger_signing(head.epoch)?;
    let verifier = VerifierKey::new(
        &crate::ledger::origin(vault, head.epoch),
        key.verifying_key(),
    )
    .map_err(|e| LoadError::Damaged {
        what: "the signing key",
        why: e.to_string(),
    })?;
    for sink in [house.checkpoint_sink.clone(), cosigned_file(house)]
        .iter()
        .flatten()
    {
        if let Some(sent) = sent_out(sink, &verifier) {
            extends(&loaded, reader.as_ref(), &sent)?;
        }
    }
    for held in witness::held(&house.witnesses, &verifier) {
        extends(&loaded, reader.as_ref(), &held.checkpoint)
            .map_err(|error| said_by(held.witness, error))?;
    }
    if ring.generation() > head.keyring_generation {
        findings.push(format!(
            "keyring at generation {}, last entry knew {}",
            ring.generation(),
            head.keyring_generation
        ));
    }
    let io = |source| OpenError::Io {
        what: "starting a thread".to_owned(),
        source,
    };
    let shared = share(ring, &loaded);
    shared.publish_collecting();
    let bench = Bench {
        witnesses: house.witnesses.clone(),
        ledger: verifier.clone(),
        shared: shared.clone(),
        reader: Arc::clone(&reader),
        file: cosigned_file(house),
        clock: house.clock.clone(),
    };
    let witnessing = Witnessing::start(bench).map_err(io)?;
    let witnesses = witnessing.as_ref().map(Witnessing::watched);
    let press = Press {
        vault,
        key: key.clone(),
        marks,
        sink: house.checkpoint_sink.clone(),
        command: house.sink_command().map_err(io)?,
        witnesses: witnessing,
        clock: house.clock.clone(),
    };
    let (publisher, publishing) = Publisher::start(press).map_err(io)?;
    publisher.offer(Arc::new(loaded.head.clone()));
    let store_name = store.name();
    let mut committer = Committer::new(
        store,
        loaded,
        shared.clone(),
        house.settings.clone(),
        house.clock.clone(),
        publisher.clone(),
    );
    committer.under_seal(seal.kind());
    let tries = Tries::read(&house.keys_dir).unwrap_or_else(|_| Tries {
        lost: true,
        ..Tries::default()
    });
    if tries.lost {
        findings.push("earlier tries to unseal could not be read".to_owned());
    }
    let tried = !tries.is_empty();
    let mut notes = vec![Note::Started { findings }];
    if tried {
        notes.push(Note::UnsealRefused(tries));
    }
    notes.push(Note::Unsealed {
        seal: seal.kind().as_str(),
        custodians: root.opened_by().to_owned(),
    });
    for note in notes {
        run_inline(&mut committer, Work::Note(note)).map_err(OpenError::Refused)?;
    }
    // After their entries: a crash in between enters them twice, never not at all.
    if let Err(error) = Tries::remove(&house.keys_dir) {
        tracing::warn!(%error, "failed tries that were entered will be entered once more");
    }
    Vault::start(
        vault, house, committer, shared, publisher, witnesses, publishing, reader, key, verifier,
        store_name, keys_lock,
    )
    .map_err(io)
}
