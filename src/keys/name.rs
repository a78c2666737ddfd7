//! What a key is for. A key has one purpose, and a bucket's key one period; both are in its name,
//! and the name says for how long it may be used.

use crate::clock::{DAY_MS, Timestamp};
use crate::codec::Malformed;
use crate::ids::{HoldId, Site, from_letters, letters};
use std::fmt;

/// A key's number in its keyring: given once, never again. 0 is no key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A key's name: its purpose, and for a bucket its site and period. Written as in
/// `docs/format.md` §8, for example `release/nl/20780`; days are counted from 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyName {
    /// Seals the transaction rows whose `release_until` lies in this day.
    Release {
        /// The transactions' site.
        site: Site,
        /// The day of `release_until`.
        day: u32,
    },
    /// Seals the ledger entries of a site and month.
    Log {
        /// The entries' site; [`Site::VAULT`] for the vault's own.
        site: Site,
        /// The month's year, 1970 to 9999.
        year: i16,
        /// The month, 1 to 12.
        month: u8,
    },
    /// Recognises the requests of a day and seals what is remembered of them.
    Replay {
        /// The day of the request.
        day: u32,
    },
    /// Makes a site's fingerprints.
    Fingerprint {
        /// The site.
        site: Site,
    },
    /// Opens what browsers sealed to the vault on a day (HPKE).
    Collect {
        /// The day.
        day: u32,
    },
    /// Signs the documents that carry collect keys (Ed25519).
    Identity,
    /// Signs the checkpoints of an epoch (Ed25519).
    LedgerSigning {
        /// The ledger's epoch.
        epoch: u32,
    },
    /// Seals the vault's own rows: head, redo record, principals, allowances, pending actions.
    Vault,
    /// Seals backups of the store.
    Backup,
    /// Seals the transaction rows that a hold covers, once their bucket has ended.
    Hold {
        /// The site.
        site: Site,
        /// The hold.
        hold: HoldId,
    },
}

/// From when on a key may no longer be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Nothing is sealed or signed from this moment on.
    pub(super) not_after_encrypt: Timestamp,
    /// From this moment on the key is due for destruction.
    pub(super) not_after_decrypt: Timestamp,
}

/// NIST SP 800-57 part 1, 5.3.6: symmetric data keys encrypt for at most two years …
const ENCRYPT_MS: u64 = 2 * 365 * DAY_MS;
/// … and decrypt for at most three more.
const DECRYPT_MS: u64 = ENCRYPT_MS + OPEN_MS;
/// So long after it last sealed a key still opens.
pub(super) const OPEN_MS: u64 = 3 * 365 * DAY_MS;
/// So long a later key of a past month has to seal that month's entries anew.
const REWRAP_MS: u64 = 30 * DAY_MS;
/// A hold's key seals a row once, and seldom again; how long a case goes on nobody knows.
const HOLD_MS: u64 = 30 * 365 * DAY_MS;
/// Entries of a month are still written so long after its end: by effective time, which may stand
/// still after a jump of the clock.
const LOG_GRACE_MS: u64 = 2 * DAY_MS;
/// The longest that any site's law keeps an entry (Sweden: through the seventh calendar year after
/// the year in which the financial year ended) and some slack. The site's own period is shorter
/// or equal and is what ends the key.
const LOG_KEPT_MS: u64 = 10 * 366 * DAY_MS;

impl KeyName {
    /// Until when a key of this name may be used, when it is made at `now`.
    ///
    /// | key | encrypts until | decrypts until |
    /// |---|---|---|
    /// | `release` | 72 h after the end of its day: while its end is pending, rows can still be closed, revoked and reported on | the same |
    /// | `log` | 48 h after its month's end | 10 years after that; the site's retention ends it sooner |
    /// | `replay` | 48 h after its day's begin | the same |
    /// | `collect` | the end of its day | 48 h after its day's begin: what was sealed just before midnight |
    /// | `identity`, `ledger-signing` | 2 years | the same: they open nothing |
    /// | `hold` | 30 years; lifting the hold ends it | the same |
    /// | `fingerprint`, `vault`, `backup` | 2 years | 3 years more (SP 800-57) |
    pub(super) fn limits(&self, now: Timestamp) -> Limits {
        let day_begin = |day: u32| Timestamp(u64::from(day) * DAY_MS);
        let (encrypt, decrypt) = match *self {
            KeyName::Release { day, .. } => {
                let end = day_begin(day).plus_ms(4 * DAY_MS);
                (end, end)
            }
            KeyName::Log { year, month, .. } => {
                let end = month_end(year, month).plus_ms(LOG_GRACE_MS);
                (end, end.plus_ms(LOG_KEPT_MS))
            }
            KeyName::Replay { day } => {
                let end = day_begin(day).plus_ms(2 * DAY_MS);
                (end, end)
            }
            KeyName::Collect { day } => (
                day_begin(day).plus_ms(DAY_MS),
                day_begin(day).plus_ms(2 * DAY_MS),
            ),
            KeyName::Identity | KeyName::LedgerSigning { .. } => {
                (now.plus_ms(ENCRYPT_MS), now.plus_ms(ENCRYPT_MS))
            }
            KeyName::Fingerprint { .. } | KeyName::Vault | KeyName::Backup => {
                (now.plus_ms(ENCRYPT_MS), now.plus_ms(DECRYPT_MS))
            }
            // It lives as long as its case.
            KeyName::Hold { .. } => (now.plus_ms(HOLD_MS), now.plus_ms(HOLD_MS)),
        };
        Limits {
            not_after_encrypt: encrypt,
            not_after_decrypt: decrypt,
        }
    }

    /// The same for a key after the first: one of a month that is past seals that month's entries
    /// anew, and has [`REWRAP_MS`] for it.
    pub(super) fn limits_of_next(&self, now: Timestamp) -> Limits {
        let limits = self.limits(now);
        match self {
            KeyName::Log { .. } => Limits {
                not_after_encrypt: limits.not_after_encrypt.max(now.plus_ms(REWRAP_MS)),
                ..limits
            },
            _ => limits,
        }
    }

    /// Whether rows of the store lie under keys of this name: their seals are counted, and they can
    /// be sealed anew.
    pub fn seals_rows(&self) -> bool {
        matches!(
            self,
            KeyName::Release { .. } | KeyName::Log { .. } | KeyName::Vault
        )
    }

    /// Whether an operator may begin its next generation at any time. `replay` and `collect` keys
    /// are needed as they are by what was handed out under them, and end within days; signing keys
    /// belong to their documents and to the ledger's epoch.
    pub fn rotates(&self) -> bool {
        self.seals_rows() || matches!(self, KeyName::Fingerprint { .. } | KeyName::Backup)
    }

    /// Whether it is a bucket: bound to a period, and destroyed with it as a matter of course. The
    /// others are retired first.
    pub fn is_bucket(&self) -> bool {
        match self {
            KeyName::Release { .. }
            | KeyName::Log { .. }
            | KeyName::Replay { .. }
            | KeyName::Collect { .. } => true,
            KeyName::Fingerprint { .. }
            | KeyName::Identity
            | KeyName::LedgerSigning { .. }
            | KeyName::Vault
            | KeyName::Backup
            | KeyName::Hold { .. } => false,
        }
    }

    /// What a key of this name is for, in words, for the inventory.
    pub const fn purpose(&self) -> &'static str {
        match self {
            KeyName::Release { .. } => "seals the rows of transactions that end on this day",
            KeyName::Log { .. } => "seals the ledger's entries of this month",
            KeyName::Replay { .. } => "recognises the requests of this day",
            KeyName::Fingerprint { .. } => "makes the site's fingerprints",
            KeyName::Collect { .. } => "opens what browsers sealed on this day",
            KeyName::Identity => "signs the documents that carry collect keys",
            KeyName::LedgerSigning { .. } => "signs the checkpoints of this epoch",
            KeyName::Vault => "seals the vault's own rows",
            KeyName::Backup => "seals backups",
            KeyName::Hold { .. } => "seals the transactions that this hold covers",
        }
    }

    /// What a key of this name is used with.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            KeyName::Release { .. }
            | KeyName::Log { .. }
            | KeyName::Vault
            | KeyName::Backup
            | KeyName::Hold { .. } => "AES-256-GCM, keys derived by HKDF-SHA-256",
            KeyName::Replay { .. } => "HMAC-SHA-256, and AES-256-GCM, keys derived by HKDF-SHA-256",
            KeyName::Fingerprint { .. } => "HMAC-SHA-256",
            KeyName::Collect { .. } => "HPKE, X25519",
            KeyName::Identity | KeyName::LedgerSigning { .. } => "Ed25519",
        }
    }

    /// Its strength in bits (NIST SP 800-57 part 1, 5.6.1).
    pub const fn strength_bits(&self) -> u32 {
        match self {
            KeyName::Collect { .. } | KeyName::Identity | KeyName::LedgerSigning { .. } => 128,
            KeyName::Release { .. }
            | KeyName::Log { .. }
            | KeyName::Replay { .. }
            | KeyName::Fingerprint { .. }
            | KeyName::Vault
            | KeyName::Backup
            | KeyName::Hold { .. } => 256,
        }
    }

    /// Reads the text that [`Display`](fmt::Display) writes, and no other spelling of it.
    ///
    /// # Errors
    /// When it names no key.
    pub fn parse(text: &str) -> Result<KeyName, Malformed> {
        const WRONG: Malformed = Malformed::new("not a key's name");
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(WRONG);
        let name = match next()? {
            "release" => KeyName::Release {
                site: site(next()?)?,
                day: number(next()?)?,
            },
            "log" => {
                let site = site(next()?)?;
                let (year, month) = next()?.split_once('-').ok_or(WRONG)?;
                KeyName::Log {
                    site,
                    year: number(year)?,
                    month: number(month)?,
                }
            }
            "replay" => KeyName::Replay {
                day: number(next()?)?,
            },
            "fingerprint" => KeyName::Fingerprint {
                site: site(next()?)?,
            },
            "collect" => KeyName::Collect {
                day: number(next()?)?,
            },
            "identity" => KeyName::Identity,
            "ledger-signing" => KeyName::LedgerSigning {
                epoch: number(next()?)?,
            },
            "hold" => KeyName::Hold {
                site: site(next()?)?,
                hold: HoldId(from_letters(next()?.as_bytes()).ok_or(WRONG)?),
            },
            "vault" => KeyName::Vault,
            "backup" => KeyName::Backup,
            _ => return Err(WRONG),
        };
        // One text a name: catches left-overs, signs, leading zeros and months that aren't.
        if name.is_possible() && name.to_string() == text {
            Ok(name)
        } else {
            Err(WRONG)
        }
    }

    /// Whether year and month are ones.
    pub(super) fn is_possible(&self) -> bool {
        match *self {
            KeyName::Log { year, month, .. } => {
                (1970..=9999).contains(&year) && (1..=12).contains(&month)
            }
            _ => true,
        }
    }
}

fn site(text: &str) -> Result<Site, Malformed> {
    if text == "-" {
        Ok(Site::VAULT)
    } else {
        Site::parse(text)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Malformed> {
    text.parse()
        .map_err(|_| Malformed::new("not a number in a key's name"))
}

/// The first moment after a month (UTC). A month that is none ends at the epoch, so that its key
/// can't be used.
fn month_end(year: i16, month: u8) -> Timestamp {
    let end = i8::try_from(month)
        .ok()
        .and_then(|month| jiff::civil::Date::new(year, month, 1).ok())
        .and_then(|first| first.last_of_month().tomorrow().ok())
        .map(|next| next.to_datetime(jiff::civil::Time::midnight()))
        .and_then(|midnight| jiff::tz::TimeZone::UTC.to_timestamp(midnight).ok())
        .and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
    match end {
        Some(ms) => Timestamp(ms),
        // 9999-12 has no next month in the calendar.
        None if year == 9999 => crate::clock::TIMESTAMP_MAX,
        None => Timestamp(0),
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyName::Release { site, day } => write!(f, "release/{site}/{day}"),
            KeyName::Log { site, year, month } => write!(f, "log/{site}/{year:04}-{month:02}"),
            KeyName::Replay { day } => write!(f, "replay/{day}"),
            KeyName::Fingerprint { site } => write!(f, "fingerprint/{site}"),
            KeyName::Collect { day } => write!(f, "collect/{day}"),
            KeyName::Identity => f.write_str("identity"),
            KeyName::LedgerSigning { epoch } => write!(f, "ledger-signing/{epoch}"),
            KeyName::Vault => f.write_str("vault"),
            KeyName::Backup => f.write_str("backup"),
            KeyName::Hold { site, hold } => write!(f, "hold/{site}/{}", letters(&hold.0)),
        }
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_459_455_007);

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_name_is_read_back() {
        for text in [
            "release/nl/20780",
            "log/nl/2026-11",
            "log/-/1970-01",
            "log/a-1/9999-12",
            "replay/0",
            "fingerprint/us",
            "collect/4294967295",
            "identity",
            "ledger-signing/1",
            "vault",
            "backup",
            "hold/nl/bcdfghjkmnpqrstvbcdfghjkmnpqrstv",
        ] {
            assert_eq!(KeyName::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn another_spelling_is_refused() {
        for text in [
            "",
            "vault/",
            "vault ",
            "Vault",
            "release/nl",
            "release/NL/1",
            "release/nl/01",
            "release/nl/+1",
            "release/nl/4294967296",
            "release/nl/1/2",
            "log/nl/2026-1",
            "log/nl/2026-13",
            "log/nl/2026-00",
            "log/nl/1969-12",
            "log/nl/-2026-11",
            "log/nl/2026-11#2",
            "log//2026-11",
            "hold/nl/bcdfghjkmnpqrstvbcdfghjkmnpqrst",
            "hold/nl",
            "ledger-signing",
        ] {
            assert!(KeyName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_follow_from_the_name() {
        let dates = |text: &str| {
            let limits = KeyName::parse(text).unwrap().limits(NOW);
            (limits.not_after_encrypt, limits.not_after_decrypt)
        };
        let end = at("2026-11-27T00:00:00Z");
        assert_eq!(dates("release/nl/20780"), (end, end));
        let end = at("2026-11-25T00:00:00Z");
        assert_eq!(dates("replay/20780"), (end, end));
        assert_eq!(
            dates("collect/20780"),
            (at("2026-11-24T00:00:00Z"), at("2026-11-25T00:00:00Z"))
        );
        assert_eq!(dates("log/nl/2026-11").0, at("2026-12-03T00:00:00Z"));
        assert_eq!(dates("log/nl/2026-12").0, at("2027-01-03T00:00:00Z"));
        assert_eq!(dates("log/nl/2028-02").0, at("2028-03-03T00:00:00Z"));
        assert!(dates("log/se/2026-01").1 > at("2036-01-01T00:00:00Z"));
        assert!(dates("log/nl/9999-12").0 > at("9999-12-30T00:00:00Z"));
        assert_eq!(dates("vault").0, NOW.plus_ms(730 * DAY_MS));
        assert_eq!(dates("vault").1, NOW.plus_ms(1825 * DAY_MS));
        assert_eq!(dates("backup"), dates("vault"));
        assert_eq!(dates("identity").0, dates("identity").1);
    }
}
