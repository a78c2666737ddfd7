//! Sealed or open: the gate behind which the vault stands.

use super::Vault;
use super::command::{Caller, Note};
use super::open::{House, OpenError, open};
use crate::keys::{KeyError, SealFile};
use crate::limits;
use crate::secret::SecretText;
use arc_swap::ArcSwapOption;
use std::sync::{Arc, Mutex, PoisonError};

/// Holds the vault while it is open, and what unsealing needs while it is not.
pub struct Gate {
    house: House,
    open: ArcSwapOption<Vault>,
    tries: Mutex<Tries>,
}

#[derive(Default)]
struct Tries {
    /// Failed tries that have no entry yet.
    unwritten: u32,
    /// Failed tries in a row.
    bad: u8,
    /// Monotonic time until which no try is judged.
    locked_until_ms: u64,
}

/// Why the vault could not be unsealed.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The passphrase is wrong.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// Too many bad tries.
    #[error("too many bad tries; wait 30 minutes")]
    Locked,
    /// It can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Gate {
    /// A sealed vault.
    pub fn new(house: House) -> Gate {
        Gate {
            house,
            open: ArcSwapOption::empty(),
            tries: Mutex::default(),
        }
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

    /// Opens the vault. Blocks for the time that the passphrase's derivation takes; one try at a
    /// time. Opening an open vault judges the passphrase and changes nothing.
    ///
    /// # Errors
    /// [`GateError`]. A failed try is counted, and gets its entry once the vault is open.
    pub fn unseal(&self, passphrase: &SecretText) -> Result<(), GateError> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.house.clock.monotonic_ms();
        if now_ms < tries.locked_until_ms {
            return Err(GateError::Locked);
        }
        let keys_dir = &self.house.keys_dir;
        let seal = SealFile::read(keys_dir).map_err(|error| {
            // A damaged one must not read as an invitation to make a new vault.
            match keys_dir.join("seal.json").exists() {
                true => OpenError::Key(error),
                false => OpenError::NotInitialised(keys_dir.clone()),
            }
        })?;
        let opened = seal.open(passphrase);
        let root = match opened {
            Ok(root) => root,
            Err(KeyError::WrongPassphrase | KeyError::PassphraseLength) => {
                // While the vault is open the caller's refusal is entered at once.
                if self.open.load().is_none() {
                    tries.unwritten = tries.unwritten.saturating_add(1);
                }
                tries.bad += 1;
                if tries.bad >= limits::BAD_TRIES_MAX {
                    tries.bad = 0;
                    tries.locked_until_ms = now_ms + limits::LOCK_MS;
                }
                tracing::warn!(alarm = "unseal", "a wrong passphrase");
                return Err(GateError::WrongPassphrase);
            }
            Err(error) => return Err(GateError::Open(OpenError::Key(error))),
        };
        tries.bad = 0;
        if self.open.load().is_some() {
            return Ok(());
        }
        let vault = open(&self.house, &root, tries.unwritten)?;
        tries.unwritten = 0;
        self.open.store(Some(Arc::new(vault)));
        Ok(())
    }

    /// Seals or stops the vault. Blocks until its last round and mark are written.
    pub fn close(&self, note: Note, by: Caller) {
        if let Some(vault) = self.open.swap(None) {
            vault.close(note, by);
        }
    }
}
