//! A security module, spoken to by PKCS#11 (v2.40, OASIS): AES-256 keys that are made in one of its
//! tokens and never leave it. What is asked of it here is to make a key, to encrypt and decrypt 32
//! to 60 bytes with AES-GCM, and to destroy a key.
//!
//! Nobody stays logged in: each piece of work opens a session, logs in and out, one piece at a time
//! in a process. A PIN is judged by the token each time, so a wrong one is never taken because an
//! earlier one was right.

use super::cipher::{NONCE_BYTES, TAG_BYTES};
use super::error::{KeyError, PinTries};
use crate::ids::random;
use crate::limits;
use crate::secret::{SecretBuffer, SecretText};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use zeroize::Zeroizing;

/// An object's id in its token (CKA_ID): random, and never used again.
pub(super) type ObjectId = [u8; 16];

/// Modules that were loaded; they stay until the process ends. The lock is held during a piece of
/// work: a login holds for all of a process's sessions with a token.
static MODULES: LazyLock<Mutex<HashMap<PathBuf, Pkcs11>>> = LazyLock::new(Mutex::default);

/// A token of a module, and what opens it. No `Debug`: it holds the PIN.
pub(super) struct Hsm {
    module: PathBuf,
    token: String,
    pin: SecretText,
}

impl Hsm {
    /// Names them; nothing is looked for yet.
    pub(super) fn new(module: &Path, token: &str, pin: &SecretText) -> Hsm {
        Hsm {
            module: module.to_owned(),
            token: token.to_owned(),
            pin: pin.duplicate(),
        }
    }

    /// Makes an AES-256 key in the token that can't be read out of it.
    ///
    /// # Errors
    /// As [`work`](Hsm::work); [`KeyError::HsmKeyExtractable`] when the token made another one than
    /// it was asked for.
    pub(super) fn make_key(&self, label: &str) -> Result<ObjectId, KeyError> {
        let id: ObjectId = random();
        self.work("making a key", |session| {
            let template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::ValueLen(32u64.into()),
                Attribute::Label(label.as_bytes().to_vec()),
                Attribute::Id(id.to_vec()),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Wrap(false),
                Attribute::Unwrap(false),
                Attribute::Derive(false),
            ];
            let key = session.generate_key(&Mechanism::AesKeyGen, &template)?;
            if !stays_inside(session, key)? {
                session.destroy_object(key)?;
                return Ok(None);
            }
            Ok(Some(id))
        })?
        .ok_or(KeyError::HsmKeyExtractable)
    }

    /// nonce ‖ ciphertext ‖ tag of `plaintext` under a key of the token.
    ///
    /// # Errors
    /// As [`work`](Hsm::work), and [`KeyError::HsmKeyMissing`].
    pub(super) fn encrypt(
        &self,
        label: &str,
        id: &ObjectId,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        // The token writes the nonce over when it chooses its own.
        let mut nonce: [u8; NONCE_BYTES] = random();
        let sealed = self.work("encrypting", |session| {
            let Some(key) = find(session, label, id)? else {
                return Ok(None);
            };
            let gcm = GcmParams::new(&mut nonce, aad, (8 * TAG_BYTES as u64).into())?;
            session
                .encrypt(&Mechanism::AesGcm(gcm), key, plaintext)
                .map(Some)
        })?;
        let sealed = sealed.ok_or(KeyError::HsmKeyMissing)?;
        if sealed.len() != plaintext.len() + TAG_BYTES {
            let what = "ciphertext of an unexpected length".to_owned();
            let doing = "encrypting";
            return Err(KeyError::Hsm { doing, what });
        }
        Ok([&nonce[..], &sealed].concat())
    }

    /// What [`encrypt`](Hsm::encrypt) encrypted.
    ///
    /// # Errors
    /// As [`work`](Hsm::work); [`KeyError::HsmKeyMissing`]; [`KeyError::HsmKeyForeign`] when the key
    /// is another one, or anything was changed.
    pub(super) fn decrypt(
        &self,
        label: &str,
        id: &ObjectId,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<SecretBuffer, KeyError> {
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(KeyError::HsmKeyForeign)?;
        let mut nonce = *nonce;
        let opened = self.work("decrypting", |session| {
            let Some(key) = find(session, label, id)? else {
                return Ok(None);
            };
            let gcm = GcmParams::new(&mut nonce, aad, (8 * TAG_BYTES as u64).into())?;
            // Tokens differ in what they call a tag that is wrong; that it is one is known here.
            match session.decrypt(&Mechanism::AesGcm(gcm), key, sealed) {
                Ok(opened) => Ok(Some(Ok(Zeroizing::new(opened)))),
                Err(error) if is_of_the_line(&error) => Err(error),
                Err(_) => Ok(Some(Err(KeyError::HsmKeyForeign))),
            }
        })?;
        opened.ok_or(KeyError::HsmKeyMissing)?
    }

    /// Destroys a key; that it is not there is no error.
    ///
    /// # Errors
    /// As [`work`](Hsm::work).
    pub(super) fn destroy(&self, label: &str, id: &ObjectId) -> Result<(), KeyError> {
        self.work("destroying a key", |session| {
            match find(session, label, id)? {
                Some(key) => session.destroy_object(key),
                None => Ok(()),
            }
        })
    }

    /// Whether the token has a key of this label, whatever its id.
    ///
    /// # Errors
    /// As [`work`](Hsm::work).
    pub(super) fn has_label(&self, label: &str) -> Result<bool, KeyError> {
        self.work("looking for a key", |session| {
            let template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::Label(label.as_bytes().to_vec()),
            ];
            Ok(!session.find_objects(&template)?.is_empty())
        })
    }

    /// Logs in, does a piece of work, and logs out.
    ///
    /// # Errors
    /// [`KeyError::HsmModule`], [`KeyError::HsmTokenMissing`], [`KeyError::HsmTokenAmbiguous`],
    /// [`KeyError::WrongPin`], [`KeyError::PinLocked`]; [`KeyError::Hsm`] for what else the module
    /// says.
    fn work<T>(
        &self,
        doing: &'static str,
        piece: impl FnOnce(&Session) -> Result<T, Error>,
    ) -> Result<T, KeyError> {
        let other = |error: Error| KeyError::Hsm {
            doing,
            what: error.to_string(),
        };
        if !limits::PIN_BYTES.contains(&self.pin.len()) {
            // None such was set; a try is not wasted on it.
            return Err(KeyError::WrongPin(PinTries::Unknown));
        }
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let module = load(&mut modules, &self.module)?;
        let slot = self.slot(&module)?;
        let session = module.open_rw_session(slot).map_err(other)?;
        let pin = AuthPin::from(self.pin.expose());
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) => {}
            Err(Error::Pkcs11(
                RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
                _,
            )) => return Err(KeyError::WrongPin(tries_left(&module, slot))),
            Err(Error::Pkcs11(RvError::PinLocked, _)) => return Err(KeyError::PinLocked),
            Err(error) => return Err(other(error)),
        }
        let done = piece(&session);
        // Best effort: closing the last session logs out as well.
        let _ = session.logout();
        done.map_err(other)
    }

    /// The slot of the one token that has the label.
    fn slot(&self, module: &Pkcs11) -> Result<Slot, KeyError> {
        let doing = "looking for the token";
        let slots = module
            .get_slots_with_token()
            .map_err(|error| KeyError::Hsm {
                doing,
                what: error.to_string(),
            })?;
        let mut found = slots.into_iter().filter(|slot| {
            module
                .get_token_info(*slot)
                .is_ok_and(|info| info.token_initialized() && info.label() == self.token)
        });
        let slot = found
            .next()
            .ok_or_else(|| KeyError::HsmTokenMissing(self.token.clone()))?;
        match found.next() {
            None => Ok(slot),
            Some(_) => Err(KeyError::HsmTokenAmbiguous(self.token.clone())),
        }
    }
}

/// Loads and initialises a module, once.
fn load(modules: &mut HashMap<PathBuf, Pkcs11>, path: &Path) -> Result<Pkcs11, KeyError> {
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let unusable = |error: Error| KeyError::HsmModule {
        path: path.to_owned(),
        what: error.to_string(),
    };
    let module = Pkcs11::new(path).map_err(unusable)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(unusable(error)),
    }
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

fn find(session: &Session, label: &str, id: &ObjectId) -> Result<Option<ObjectHandle>, Error> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    Ok(session.find_objects(&template)?.first().copied())
}

/// Whether a key is sensitive, can't be extracted, and was made in the token.
fn stays_inside(session: &Session, key: ObjectHandle) -> Result<bool, Error> {
    let asked = [
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::Local,
    ];
    let told = session.get_attributes(key, &asked)?;
    Ok(told.contains(&Attribute::Sensitive(true))
        && told.contains(&Attribute::Extractable(false))
        && told.contains(&Attribute::Local(true)))
}

/// What the token says of further tries, after a wrong one.
fn tries_left(module: &Pkcs11, slot: Slot) -> PinTries {
    match module.get_token_info(slot) {
        Ok(info) if info.user_pin_locked() => PinTries::None,
        Ok(info) if info.user_pin_final_try() => PinTries::Last,
        Ok(info) if info.user_pin_count_low() => PinTries::Fewer,
        _ => PinTries::Unknown,
    }
}

/// Whether an error says that the token can't be reached, rather than what it thinks of the data.
fn is_of_the_line(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::DeviceError
                | RvError::DeviceRemoved
                | RvError::TokenNotPresent
                | RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::HostMemory
                | RvError::DeviceMemory
                | RvError::MechanismInvalid
                | RvError::KeyFunctionNotPermitted,
            _
        )
    )
}
