//! Failed tries to unseal, kept on disk until they are in the ledger (`docs/format.md` §8): a
//! sealed vault can write no entry, and a restart must not forget them. The file is in clear and
//! bounded; it holds no part of what was tried.
//!
//! Whoever can write to the keys directory can take it away. What it gives is that nobody who can
//! only call the vault tries unseen.

use super::error::KeyError;
use super::file;
use crate::clock::Timestamp;
use crate::codec::Malformed;
use crate::limits::{UNSEAL_TRIES_BYTES_MAX, UNSEAL_TRIES_MAX};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file's name.
pub(super) const FILE: &str = "unsealing";

/// Why a try failed. The codes are the reasons of `docs/errors.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadTry {
    /// The passphrase is wrong.
    WrongPassphrase,
    /// The security module's PIN is wrong.
    WrongPin,
    /// The security module has locked the PIN.
    PinLocked,
    /// The share is damaged or forged.
    ShareDamaged,
    /// The share is another vault's.
    ShareForeign,
    /// The share is of an earlier seal.
    ShareOutdated,
    /// The share was given already.
    ShareRepeated,
    /// The share is another custodian's.
    ShareNotYours,
    /// The share was good, but too few came with it in time.
    SharesMissing,
}

impl BadTry {
    /// All of them.
    pub const ALL: [BadTry; 9] = [
        BadTry::WrongPassphrase,
        BadTry::WrongPin,
        BadTry::PinLocked,
        BadTry::ShareDamaged,
        BadTry::ShareForeign,
        BadTry::ShareOutdated,
        BadTry::ShareRepeated,
        BadTry::ShareNotYours,
        BadTry::SharesMissing,
    ];

    /// Its code.
    pub const fn as_str(self) -> &'static str {
        match self {
            BadTry::WrongPassphrase => "BAD_SECRET",
            BadTry::WrongPin => "BAD_PIN",
            BadTry::PinLocked => "PIN_LOCKED",
            BadTry::ShareDamaged => "SHARE_DAMAGED",
            BadTry::ShareForeign => "SHARE_FOREIGN",
            BadTry::ShareOutdated => "SHARE_OUTDATED",
            BadTry::ShareRepeated => "SHARE_REPEATED",
            BadTry::ShareNotYours => "SHARE_NOT_YOURS",
            BadTry::SharesMissing => "SHARES_MISSING",
        }
    }

    /// What an error of the seal is, as a try; `None` when it says nothing about who tries.
    pub fn of(error: &KeyError) -> Option<BadTry> {
        match error {
            KeyError::WrongPassphrase | KeyError::PassphraseLength => Some(BadTry::WrongPassphrase),
            KeyError::WrongPin(_) => Some(BadTry::WrongPin),
            KeyError::PinLocked => Some(BadTry::PinLocked),
            KeyError::ShareDamaged => Some(BadTry::ShareDamaged),
            KeyError::ShareForeign => Some(BadTry::ShareForeign),
            KeyError::ShareOutdated => Some(BadTry::ShareOutdated),
            KeyError::ShareRepeated => Some(BadTry::ShareRepeated),
            KeyError::SharesMissing { .. } => Some(BadTry::SharesMissing),
            _ => None,
        }
    }
}

/// Tries of one kind: why they failed, and who tried from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriesOfAKind {
    /// Why they failed.
    pub reason: BadTry,
    /// The certificate's URI; "-" for a try on the vault's own machine.
    pub uri: String,
    /// Network address, without its port; "-" for a try on the vault's own machine.
    pub origin: String,
    /// How many.
    pub count: u64,
    /// When the first one was.
    pub first: Timestamp,
    /// When the last one was.
    pub last: Timestamp,
}

/// The failed tries since the vault was open last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tries {
    /// What is told apart, in the order in which it came.
    pub kinds: Vec<TriesOfAKind>,
    /// How many more there were.
    pub others: u64,
    /// Wrong passphrases in a row.
    pub bad: u8,
    /// No passphrase is judged until then.
    pub locked_until: Timestamp,
    /// Whether an earlier file could not be read.
    pub lost: bool,
}

impl Tries {
    /// Reads the file; none when it isn't there.
    ///
    /// # Errors
    /// [`KeyError::Io`] or [`KeyError::Malformed`].
    pub fn read(keys_dir: &Path) -> Result<Tries, KeyError> {
        if !keys_dir.join(FILE).exists() {
            return Ok(Tries::default());
        }
        let bytes = file::read(keys_dir, FILE, UNSEAL_TRIES_BYTES_MAX)?;
        Tries::from_json(&bytes)
    }

    /// Whether there is nothing to enter.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.others == 0 && !self.lost
    }

    /// Counts a try.
    pub fn count(&mut self, reason: BadTry, uri: &str, origin: &str, now: Timestamp) {
        let same = |kind: &&mut TriesOfAKind| {
            (kind.reason, &*kind.uri, &*kind.origin) == (reason, uri, origin)
        };
        if let Some(kind) = self.kinds.iter_mut().find(same) {
            kind.count = kind.count.saturating_add(1);
            kind.last = now;
        } else if self.kinds.len() < UNSEAL_TRIES_MAX {
            self.kinds.push(TriesOfAKind {
                reason,
                uri: uri.to_owned(),
                origin: origin.to_owned(),
                count: 1,
                first: now,
                last: now,
            });
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    /// Writes the file, durably.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, keys_dir: &Path) -> Result<(), KeyError> {
        file::replace(keys_dir, FILE, self.to_json().as_bytes())
    }

    fn to_json(&self) -> String {
        let kinds = self.kinds.iter();
        let json = Json {
            bad: self.bad,
            locked_until: self.locked_until.0,
            lost: self.lost,
            others: self.others,
            tries: kinds
                .map(|kind| JsonKind {
                    count: kind.count,
                    first: kind.first.0,
                    last: kind.last.0,
                    origin: kind.origin.clone(),
                    reason: kind.reason.as_str().to_owned(),
                    uri: kind.uri.clone(),
                })
                .collect(),
            v: 1,
        };
        serde_json::to_string(&json).expect("strings and numbers always become JSON")
    }

    /// The file's content, read and written again.
    #[cfg(feature = "fault-injection")]
    pub(super) fn reread(json: &[u8]) -> Result<String, KeyError> {
        Tries::from_json(json).map(|tries| tries.to_json())
    }

    /// Takes the file away: the tries are in the ledger.
    ///
    /// # Errors
    /// When it can't be removed. The tries are then entered once more, later.
    pub fn remove(keys_dir: &Path) -> Result<(), KeyError> {
        file::remove(keys_dir, FILE)
    }

    fn from_json(bytes: &[u8]) -> Result<Tries, KeyError> {
        let fail = |what| KeyError::Malformed {
            file: FILE,
            what: Malformed::new(what),
        };
        let json: Json =
            serde_json::from_slice(bytes).map_err(|_| fail("not the JSON that it should be"))?;
        if json.v != 1 || json.tries.len() > UNSEAL_TRIES_MAX {
            return Err(fail("unknown version, or more than there can be"));
        }
        let kinds: Option<Vec<TriesOfAKind>> = json.tries.into_iter().map(JsonKind::into).collect();
        Ok(Tries {
            kinds: kinds.ok_or_else(|| fail("a try that can't be"))?,
            others: json.others,
            bad: json.bad,
            locked_until: Timestamp(json.locked_until),
            lost: json.lost,
        })
    }
}

// In the order of their names.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    bad: u8,
    locked_until: u64,
    lost: bool,
    others: u64,
    tries: Vec<JsonKind>,
    v: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonKind {
    count: u64,
    first: u64,
    last: u64,
    origin: String,
    reason: String,
    uri: String,
}

impl JsonKind {
    /// What it says goes into the ledger, and the file is in clear: only what the vault itself
    /// could have written is taken.
    fn into(self) -> Option<TriesOfAKind> {
        let fits = |text: &str| {
            (1..=crate::limits::CERTIFICATE_URI_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let reason = BadTry::ALL
            .into_iter()
            .find(|reason| reason.as_str() == self.reason)?;
        (fits(&self.uri) && fits(&self.origin)).then_some(TriesOfAKind {
            reason,
            uri: self.uri,
            origin: self.origin,
            count: self.count,
            first: Timestamp(self.first),
            last: Timestamp(self.last),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const ANN: &str = "spiffe://payvault.example/ann";

    #[test]
    fn what_is_counted_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Tries::read(dir.path()).unwrap().is_empty());
        let mut tries = Tries::default();
        tries.count(BadTry::ShareDamaged, ANN, "192.0.2.1", Timestamp(5));
        tries.count(BadTry::ShareDamaged, ANN, "192.0.2.1", Timestamp(7));
        tries.count(BadTry::WrongPassphrase, ANN, "192.0.2.1", Timestamp(8));
        tries.count(BadTry::ShareDamaged, ANN, "192.0.2.2", Timestamp(9));
        tries.bad = 3;
        tries.locked_until = Timestamp(99);
        let counts: Vec<u64> = tries.kinds.iter().map(|kind| kind.count).collect();
        assert_eq!(counts, [2, 1, 1]);
        assert_eq!(
            (tries.kinds[0].first, tries.kinds[0].last),
            (Timestamp(5), Timestamp(7))
        );
        tries.write(dir.path()).unwrap();
        assert_eq!(Tries::read(dir.path()).unwrap(), tries);
        Tries::remove(dir.path()).unwrap();
        Tries::remove(dir.path()).unwrap();
        assert!(Tries::read(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn it_is_bounded_and_counts_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut tries = Tries::default();
        let long = "u".repeat(crate::limits::CERTIFICATE_URI_BYTES_MAX);
        let last = UNSEAL_TRIES_MAX + 3;
        for number in 0..last {
            let origin = format!("2001:db8:ffff:ffff:ffff:ffff:ffff:{number:04x}");
            tries.count(
                BadTry::ShareNotYours,
                &long,
                &origin,
                Timestamp(u64::MAX >> 12),
            );
        }
        assert_eq!((tries.kinds.len(), tries.others), (UNSEAL_TRIES_MAX, 3));
        tries.write(dir.path()).unwrap();
        assert_eq!(Tries::read(dir.path()).unwrap(), tries);
    }

    #[test]
    fn a_file_that_the_vault_did_not_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut tries = Tries::default();
        tries.count(BadTry::ShareDamaged, ANN, "192.0.2.1", Timestamp(5));
        tries.write(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        for (from, to) in [
            ("SHARE_DAMAGED", "SHARE_ANYTHING"),
            ("192.0.2.1", ""),
            ("192.0.2.1", "a b"),
            (ANN, "\\u0000"),
            ("\"v\":1", "\"v\":2"),
            ("{", "{\"a\":1,"),
            ("{", "["),
        ] {
            fs::write(&path, whole.replacen(from, to, 1)).unwrap();
            let refused = Tries::read(dir.path()).err();
            assert!(matches!(refused, Some(KeyError::Malformed { .. })), "{to}");
        }
        fs::write(&path, " ".repeat(UNSEAL_TRIES_BYTES_MAX + 1)).unwrap();
        assert!(Tries::read(dir.path()).is_err());
    }
}
