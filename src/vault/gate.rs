//! Sealed or open: the gate behind which the vault stands.

use super::Vault;
use super::command::{Caller, Note};
use super::open::{House, OpenError, open};
use crate::clock::Timestamp;
use crate::keys::{BadTry, KeyError, Opening, RootKey, SealFile, SealKind, Share, Tries};
use crate::limits;
use crate::secret::{SecretText, wipe_stack};
use arc_swap::ArcSwapOption;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Holds the vault while it is open, and what unsealing needs while it is not.
pub struct Gate {
    house: House,
    /// The PKCS#11 module, for a seal that needs one.
    module: Option<PathBuf>,
    open: ArcSwapOption<Vault>,
    /// Held throughout a try: one is judged at a time.
    trying: Mutex<Trying>,
    shares: Mutex<Gathered>,
}

/// What is known of tries to unseal.
#[derive(Default)]
struct Trying {
    /// The journal on disk; none before the first look at it.
    tries: Option<Tries>,
    /// Monotonic time until which no passphrase and no PIN is judged.
    locked_until_ms: u64,
}

/// Shares that were given, until there are as many as it takes.
#[derive(Default)]
struct Gathered {
    shares: Vec<GivenShare>,
    /// Monotonic time of the first.
    since_ms: u64,
}

/// A good share, and who brought it.
struct GivenShare {
    custodian: String,
    by: Trier,
    share: Share,
}

/// Who tries to unseal.
#[derive(Clone)]
pub struct Trier {
    /// The certificate's URI.
    pub uri: String,
    /// The key of the certificate's issuer.
    pub issuer: [u8; 32],
    /// Network address, without its port.
    pub origin: String,
}

impl Trier {
    /// Whoever starts the vault, on its own machine.
    fn local() -> Trier {
        Trier {
            uri: "-".to_owned(),
            issuer: [0; 32],
            origin: "-".to_owned(),
        }
    }
}

/// How far unsealing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The kind of seal.
    pub kind: SealKind,
    /// How many shares it takes; 0 for a seal without.
    pub needed: u8,
    /// Whose shares were given; never what they are.
    pub given_by: Vec<String>,
}

/// What became of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// It was the last one: the vault is open.
    Opened,
    /// More custodians have to come.
    Waiting(Progress),
    /// The vault is open already: the share is this custodian's, and good.
    Good(String),
}

/// Why the vault could not be unsealed.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Passphrase or share are not the right ones.
    #[error("{}", refused_in_words(*.0))]
    Refused(BadTry),
    /// Too many bad tries.
    #[error("too many bad tries; wait 30 minutes")]
    Locked,
    /// The seal is of this kind and is opened otherwise.
    #[error("the vault's seal is of the kind {}: it is opened otherwise", .0.as_str())]
    OtherKind(SealKind),
    /// It can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

fn refused_in_words(bad: BadTry) -> &'static str {
    match bad {
        BadTry::WrongPassphrase => "wrong passphrase",
        BadTry::WrongPin => "wrong PIN; the token counts wrong ones, and may lock itself",
        BadTry::PinLocked => "the token has locked its PIN: its security officer unlocks it",
        BadTry::ShareDamaged => "the share is damaged or not the one that was dealt",
        BadTry::ShareForeign => "the share belongs to another vault",
        BadTry::ShareOutdated => "the share is of an earlier seal",
        BadTry::ShareRepeated => "this share was given already",
        BadTry::ShareNotYours => "the share is another custodian's",
        BadTry::SharesMissing => "more custodians have to come",
    }
}

impl Gate {
    /// A sealed vault.
    pub fn new(house: House) -> Gate {
        Gate {
            house,
            module: None,
            open: ArcSwapOption::empty(),
            trying: Mutex::default(),
            shares: Mutex::default(),
        }
    }

    /// With the PKCS#11 module that a seal in a security module is opened by.
    pub fn with_pkcs11_module(self, module: Option<PathBuf>) -> Gate {
        Gate { module, ..self }
    }

    /// A vault that was opened elsewhere, over a store of the caller's.
    pub fn opened(house: House, vault: Vault) -> Gate {
        let gate = Gate::new(house);
        gate.open.store(Some(Arc::new(vault)));
        gate
    }

    /// The vault, when it is open.
    pub fn vault(&self) -> Option<Arc<Vault>> {
        self.open.load_full()
    }

    /// How the vault is set.
    pub fn house(&self) -> &House {
        &self.house
    }

    /// Whether a certificate may unseal: it is named in the seal file.
    pub fn may_unseal(&self, uri: &str, issuer: &[u8; 32]) -> bool {
        SealFile::read(&self.house.keys_dir).is_ok_and(|seal| {
            seal.unsealers()
                .iter()
                .any(|u| u.uri == uri && u.issuer == *issuer)
        })
    }

    /// How far unsealing is; `None` when the seal can't be read.
    pub fn progress(&self) -> Option<Progress> {
        let seal = SealFile::read(&self.house.keys_dir).ok()?;
        Some(self.progress_of(&seal))
    }

    /// Whether the seal is one that a key service opens, to whom no person gives anything.
    pub fn opens_by_service(&self) -> bool {
        SealFile::read(&self.house.keys_dir).is_ok_and(|seal| seal.kind() == SealKind::AwsKms)
    }

    /// Opens the vault with its passphrase, for whoever starts it.
    ///
    /// # Errors
    /// As [`try_opening`](Gate::try_opening).
    pub fn unseal(&self, passphrase: &SecretText) -> Result<(), GateError> {
        let passphrase = passphrase.duplicate();
        self.unseal_by(|_| Opening::Passphrase(passphrase))
    }

    /// [`try_opening`](Gate::try_opening) by whoever starts the vault.
    ///
    /// # Errors
    /// As there.
    pub fn unseal_by(
        &self,
        opening: impl FnOnce(Option<PathBuf>) -> Opening,
    ) -> Result<(), GateError> {
        self.try_opening(&Trier::local(), opening)
    }

    /// Opens the vault with what one person gives, or with nothing but a key service's consent;
    /// `opening` gets the configured PKCS#11 module. Blocks for the time that the derivation or the
    /// service takes; one try at a time. Opening an open vault judges what was given and changes
    /// nothing.
    ///
    /// # Errors
    /// [`GateError`]. A failed try is counted on disk, and gets its entry once the vault is open.
    pub fn try_opening(
        &self,
        by: &Trier,
        opening: impl FnOnce(Option<PathBuf>) -> Opening,
    ) -> Result<(), GateError> {
        let mut trying = self.trying();
        let now_ms = self.house.clock.monotonic_ms();
        if now_ms < trying.locked_until_ms {
            return Err(GateError::Locked);
        }
        let opened = self.seal()?.open_by(&opening(self.module.clone()));
        let root = opened.map_err(|error| match BadTry::of(&error) {
            Some(bad) => {
                let tries = trying.tries.get_or_insert_default();
                tries.bad = tries.bad.saturating_add(1);
                if tries.bad >= limits::BAD_TRIES_MAX {
                    tries.bad = 0;
                    tries.locked_until = self.house.clock.now().plus_ms(limits::LOCK_MS);
                    trying.locked_until_ms = now_ms + limits::LOCK_MS;
                }
                self.refuse(&mut trying, by, bad)
            }
            None => in_words(error),
        })?;
        if let Some(tries) = &mut trying.tries {
            tries.bad = 0;
        }
        match self.open.load().is_some() {
            true => Ok(()),
            false => self.open_with(&mut trying, &root),
        }
    }

    /// Takes a custodian's share, from his own certificate, and opens the vault when it is the last
    /// one that it takes. Shares are wiped then, and [`limits::SHARES_KEPT_MS`] after the first. A
    /// share for an open vault is judged, and changes nothing.
    ///
    /// # Errors
    /// [`GateError`]. A failed try is counted on disk, and gets its entry once the vault is open.
    pub fn give_share(&self, by: &Trier, text: &SecretText) -> Result<Given, GateError> {
        let mut trying = self.trying();
        self.forget(&mut trying);
        let seal = self.seal()?;
        if seal.kind() != SealKind::Custodians {
            return Err(GateError::OtherKind(seal.kind()));
        }
        let judged = Share::parse(text).and_then(|share| {
            let custodian = seal.judge(&share)?;
            Ok((custodian.clone(), share))
        });
        let (custodian, share) = judged.map_err(|error| match BadTry::of(&error) {
            Some(bad) => self.refuse(&mut trying, by, bad),
            None => in_words(error),
        })?;
        let certificate = &custodian.certificate;
        if certificate.uri != by.uri || certificate.issuer != by.issuer {
            return Err(self.refuse(&mut trying, by, BadTry::ShareNotYours));
        }
        if self.open.load().is_some() {
            return Ok(Given::Good(custodian.name));
        }
        let complete = {
            let mut gathered = self.shares();
            if gathered
                .shares
                .iter()
                .any(|given| given.custodian == custodian.name)
            {
                drop(gathered);
                return Err(self.refuse(&mut trying, by, BadTry::ShareRepeated));
            }
            if gathered.shares.is_empty() {
                gathered.since_ms = self.house.clock.monotonic_ms();
            }
            gathered.shares.push(GivenShare {
                custodian: custodian.name,
                by: by.clone(),
                share,
            });
            (gathered.shares.len() >= usize::from(seal.threshold()))
                .then(|| std::mem::take(&mut gathered.shares))
        };
        let Some(complete) = complete else {
            return Ok(Given::Waiting(self.progress_of(&seal)));
        };
        let shares: Vec<Share> = complete.into_iter().map(|given| given.share).collect();
        let root = seal.combine(&shares).map_err(in_words)?;
        drop(shares);
        self.open_with(&mut trying, &root)?;
        Ok(Given::Opened)
    }

    /// Wipes shares that have lain too long. Called now and then; never waits.
    pub fn tidy(&self) {
        if !self.are_stale(&self.shares()) {
            return;
        }
        // Whoever tries just now does it first.
        if let Ok(mut trying) = self.trying.try_lock() {
            self.forget(&mut trying);
        }
    }

    fn are_stale(&self, gathered: &Gathered) -> bool {
        let age_ms = self.house.clock.monotonic_ms() - gathered.since_ms;
        !gathered.shares.is_empty() && age_ms >= limits::SHARES_KEPT_MS
    }

    /// Wipes shares that have lain too long, each of them a failed try: too few came.
    fn forget(&self, trying: &mut Trying) {
        let stale = {
            let mut gathered = self.shares();
            match self.are_stale(&gathered) {
                true => std::mem::take(&mut gathered.shares),
                false => return,
            }
        };
        for given in stale {
            self.refuse(trying, &given.by, BadTry::SharesMissing);
        }
    }

    /// Seals or stops the vault. Blocks until its last round and mark are written.
    pub fn close(&self, note: Note, by: Caller) {
        if let Some(vault) = self.open.swap(None) {
            vault.close(note, by);
        }
    }

    fn open_with(&self, trying: &mut Trying, root: &RootKey) -> Result<(), GateError> {
        let vault = open(&self.house, root);
        wipe_stack();
        let vault = vault?;
        // They are in the ledger now.
        trying.tries = Some(Tries::default());
        self.shares().shares.clear();
        self.open.store(Some(Arc::new(vault)));
        Ok(())
    }

    /// Counts a failed try. While the vault is open the caller's refusal is entered at once.
    fn refuse(&self, trying: &mut Trying, by: &Trier, bad: BadTry) -> GateError {
        tracing::warn!(alarm = "unseal", reason = bad.as_str(), by = %by.uri, "a try to unseal failed");
        let tries = trying.tries.get_or_insert_default();
        if self.open.load().is_none() {
            tries.count(bad, &by.uri, &by.origin, self.house.clock.now());
        }
        if let Err(error) = tries.write(&self.house.keys_dir) {
            // Kept in memory, and written with the next one.
            tracing::error!(alarm = "unseal", %error, "failed tries can't be written down");
        }
        GateError::Refused(bad)
    }

    /// What is known of tries, with what an earlier process wrote down.
    fn trying(&self) -> MutexGuard<'_, Trying> {
        let mut trying = self.trying.lock().unwrap_or_else(PoisonError::into_inner);
        if trying.tries.is_none() {
            let tries = Tries::read(&self.house.keys_dir).unwrap_or_else(|error| {
                tracing::error!(alarm = "unseal", %error, "earlier tries can't be read");
                Tries {
                    lost: true,
                    ..Tries::default()
                }
            });
            // By the wall clock, since the monotonic one begins anew; never for longer than a lock
            // lasts, since the clock may have been set.
            let left_ms = tries.locked_until.since_ms(self.house.clock.now());
            if tries.locked_until > Timestamp(0) && left_ms > 0 {
                let now_ms = self.house.clock.monotonic_ms();
                trying.locked_until_ms = now_ms + left_ms.min(limits::LOCK_MS);
            }
            trying.tries = Some(tries);
        }
        trying
    }

    fn shares(&self) -> MutexGuard<'_, Gathered> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seal(&self) -> Result<SealFile, OpenError> {
        let keys_dir = &self.house.keys_dir;
        SealFile::read(keys_dir).map_err(|error| {
            // A damaged one must not read as an invitation to make a new vault.
            match keys_dir.join("seal.json").exists() {
                true => OpenError::Key(error),
                false => OpenError::NotInitialised(keys_dir.clone()),
            }
        })
    }

    fn progress_of(&self, seal: &SealFile) -> Progress {
        let gathered = self.shares();
        let given_by = gathered.shares.iter().map(|given| given.custodian.clone());
        Progress {
            kind: seal.kind(),
            needed: seal.threshold(),
            given_by: given_by.collect(),
        }
    }
}

/// An error of the seal that nobody who tries is to blame for.
fn in_words(error: KeyError) -> GateError {
    match error {
        KeyError::OtherKind(kind) => GateError::OtherKind(kind),
        error => GateError::Open(OpenError::Key(error)),
    }
}
