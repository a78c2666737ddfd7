//! What can go wrong with seal and keyring. No variant carries a secret or anything derived from
//! one; the messages are for the operator.

use super::name::{KeyId, KeyName};
use super::seal::SealKind;
use crate::codec::Malformed;
use std::io;
use std::path::PathBuf;

/// How many further tries a token allows after a wrong PIN, as far as it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinTries {
    /// It doesn't say.
    Unknown,
    /// Fewer than at first.
    Fewer,
    /// One.
    Last,
    /// None: it locked itself.
    None,
}

impl PinTries {
    /// What to add to "wrong PIN".
    const fn in_words(self) -> &'static str {
        match self {
            PinTries::Unknown => "; the token counts wrong ones, and may lock itself",
            PinTries::Fewer => "; the token counts: a few more, and it locks itself",
            PinTries::Last => "; one more wrong one, and the token locks itself",
            PinTries::None => ", and the token has locked itself: its security officer unlocks it",
        }
    }
}

/// Why the seal or the keyring could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file of the keys directory could not be read or written. What was on disk still holds.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done; a constant.
        doing: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A write failed at a point where the disk may hold the old or the new keyring. Keys in
    /// memory still work; the keyring takes no further change until it is loaded again, which
    /// settles what holds.
    #[error("{doing}: {source}; load the keyring again")]
    Uncertain {
        /// What was being done; a constant.
        doing: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// An earlier write was [uncertain](KeyError::Uncertain).
    #[error("an earlier write of the keyring failed half-way; load the keyring again")]
    Unsettled,
    /// A file does not have the shape of `docs/format.md` §8.
    #[error("{file}: {what}")]
    Malformed {
        /// The file's name.
        file: &'static str,
        /// What was broken.
        what: Malformed,
    },
    /// There is a seal or keyring already; a new one would make the old one's data unreadable.
    #[error("{file} exists already")]
    Exists {
        /// The file's name.
        file: &'static str,
    },
    /// A passphrase shorter or longer than [`crate::limits::PASSPHRASE_BYTES`].
    #[error("a passphrase has 12 to 1024 bytes")]
    PassphraseLength,
    /// Argon2id parameters weaker than RFC 9106 recommends, or absurdly large.
    #[error("Argon2id parameters are weaker than 64 MiB, 3 passes, 4 lanes, or out of bounds")]
    CostRefused,
    /// There is not enough memory for Argon2id at the cost that the seal names.
    #[error("not enough memory to derive the key from the passphrase")]
    OutOfMemory,
    /// Too many unsealers, or one whose URI is empty, too long or not printable ASCII.
    #[error("unsealers: {what}")]
    UnsealerRefused {
        /// What was wrong; a constant.
        what: &'static str,
    },
    /// The passphrase does not open the seal. A changed salt, cost or vault id looks the same.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// The vault's seal is of this kind, and opens otherwise than it was tried.
    #[error("the vault's seal is of the kind {}, and is not opened this way", .0.as_str())]
    OtherKind(SealKind),
    /// Custodians that can't be.
    #[error("custodians: {what}")]
    CustodiansRefused {
        /// What was wrong; a constant.
        what: &'static str,
    },
    /// The shares could not be handed to their custodians; the seal was not made.
    #[error("the shares could not be handed out, and nothing was changed: {0}")]
    Undelivered(String),
    /// What holds a share did not open: wrong passphrase or identity, or it was changed.
    #[error("the share does not open: wrong passphrase or identity, or the file was changed")]
    ShareUnopened,
    /// A share that is cut off, mistyped or forged.
    #[error("the share is damaged: mistyped, cut off, or not the one that was dealt")]
    ShareDamaged,
    /// Another vault's share.
    #[error("the share belongs to another vault")]
    ShareForeign,
    /// A share of a seal that was replaced.
    #[error("the share is of an earlier seal of this vault")]
    ShareOutdated,
    /// The same custodian's share a second time.
    #[error("this custodian's share was given already; another custodian has to come")]
    ShareRepeated,
    /// Fewer shares than it takes.
    #[error("{have} of {need} shares: more custodians have to come")]
    SharesMissing {
        /// How many there are.
        have: u8,
        /// How many it takes.
        need: u8,
    },
    /// A security module's library can't be loaded or initialised.
    #[error("the PKCS#11 module {} can't be used: {what}", path.display())]
    HsmModule {
        /// Where it should be.
        path: PathBuf,
        /// What the loader or the module says.
        what: String,
    },
    /// The seal needs a module, and none is configured.
    #[error("which PKCS#11 module? Set pkcs11.module (--module)")]
    HsmModuleUnknown,
    /// No initialised token of the module has this label.
    #[error(
        "no token is labelled {0:?}: is it plugged in or reachable, and is it the right module?"
    )]
    HsmTokenMissing(String),
    /// Several tokens have it.
    #[error("more than one token is labelled {0:?}: give each its own label")]
    HsmTokenAmbiguous(String),
    /// A label that can't be one.
    #[error("a label has 1 to 32 printable ASCII characters, no quotes, and ends in no space")]
    HsmLabelRefused,
    /// The token has such a key already.
    #[error("the token has a key labelled {0:?} already: give another --key-label")]
    HsmKeyExists(String),
    /// The token does not have the key.
    #[error("the token does not have the key: it was destroyed, or it is another token")]
    HsmKeyMissing,
    /// The token's key opens nothing of this vault.
    #[error("the token's key is not the one that sealed this vault, or what it sealed was changed")]
    HsmKeyForeign,
    /// The token makes keys that can leave it.
    #[error("the token made a key that can be read out of it: it is of no use here")]
    HsmKeyExtractable,
    /// The PIN is wrong.
    #[error("wrong PIN{}", .0.in_words())]
    WrongPin(PinTries),
    /// The token judges no PIN any more.
    #[error("the token has locked its PIN: its security officer unlocks it")]
    PinLocked,
    /// What else a module or token says.
    #[error("the security module, {doing}: {what}")]
    Hsm {
        /// What was being done; a constant.
        doing: &'static str,
        /// What it says.
        what: String,
    },
    /// The wrapping key's object is gone.
    #[error(
        "the keyring's wrapping key needs an object that the security module does not have: this is a copy of the keys directory from before a key was destroyed, or another token"
    )]
    WrapObjectGone,
    /// The service does not let the vault use the key, or has none of that name.
    #[error("the key service refuses: {what}")]
    KmsKeyRefused {
        /// What it says.
        what: String,
    },
    /// The service's key opens nothing of this vault.
    #[error(
        "the key service's key is not the one that sealed this vault, or what it sealed was changed"
    )]
    KmsKeyForeign,
    /// The service can't be reached.
    #[error("the key service can't be reached: {what}")]
    KmsUnreachable {
        /// Why.
        what: String,
    },
    /// The binary was built without it.
    #[error("this binary knows no aws-kms: build it with `--features aws-kms`")]
    KmsNotBuilt,
    /// The passphrase or the shares are right, but the file's clear part (the list of unsealers) was
    /// changed, or the root key is another seal's.
    #[error("seal.json was changed by somebody without the root key")]
    SealTampered,
    /// No slot of the wrap file opens under this root key.
    #[error("the wrapping key does not open under this root key")]
    WrapTampered,
    /// The keyring does not open under the wrapping key: it was changed, or it is a copy from
    /// before a destruction.
    #[error("the keyring does not open: changed, or older than the last destruction")]
    KeyringTampered,
    /// The keyring is another vault's.
    #[error("the keyring belongs to another vault")]
    OtherVault,
    /// The keyring is older than one that is known to have existed.
    #[error("the keyring is generation {found}, at least {least} was expected")]
    Older {
        /// Its generation.
        found: u64,
        /// The least that was expected.
        least: u64,
    },
    /// No key has this id.
    #[error("unknown key {0}")]
    Unknown(KeyId),
    /// No key has this name.
    #[error("no key {0}")]
    UnknownName(KeyName),
    /// The key was destroyed.
    #[error("key {0} was destroyed")]
    Destroyed(KeyId),
    /// The key neither seals nor signs any more.
    #[error("key {0} is not active")]
    NotActive(KeyId),
    /// A key of this name could encrypt nothing any more: its period is over.
    #[error("the period of {0} is over")]
    PeriodOver(KeyName),
    /// The key's state does not allow this one to follow.
    #[error("key {0} can't go to that state from where it is")]
    IllegalTransition(KeyId),
    /// The keyring has [`crate::limits::KEYS_MAX`] keys.
    #[error("the keyring is full")]
    Full,
}
