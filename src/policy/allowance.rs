//! The allow-list: what a portal can put into terms. It is changed by operators only, so that a
//! hijacked portal can't name an accomplice, and it bounds how fast a stolen certificate drains.

use super::denial::Denial;
use super::terms::{FieldSet, Party, Purpose, Terms};
use crate::clock::Timestamp;
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{PrincipalId, Site};
use crate::secret::SecretBuffer;

/// Which portal may name which processor where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllowanceKey {
    /// The site.
    pub site: Site,
    /// The portal.
    pub portal: PrincipalId,
    /// The processor.
    pub processor: PrincipalId,
}

/// A row of the allow-list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Purposes that may be granted: bit *n*−1 stands for the purpose with code *n*.
    pub purposes: u8,
    /// Most uses that a grant may name.
    pub uses_max: u8,
    /// Longest time from opening to `release_until`.
    pub release_ms_max: u64,
    /// Most releases an hour.
    pub releases_per_hour: u32,
}

impl std::fmt::Display for Allowance {
    /// Every part of it, for the operator who has to approve it and for the ledger.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let purposes: Vec<&str> = Purpose::ALL
            .into_iter()
            .filter(|purpose| self.permits(*purpose))
            .map(Purpose::as_str)
            .collect();
        write!(
            f,
            "{}; {} uses; {} s; {} an hour",
            purposes.join(" "),
            self.uses_max,
            self.release_ms_max / 1_000,
            self.releases_per_hour
        )
    }
}

impl Allowance {
    /// Whether `purpose` may be granted.
    pub fn permits(&self, purpose: Purpose) -> bool {
        self.purposes & (1 << (purpose as u8 - 1)) != 0
    }

    /// Whether it covers what `terms`, opened at `now`, grant to `party`.
    ///
    /// # Errors
    /// [`Denial::TermsNotAllowed`].
    pub fn covers(&self, terms: &Terms, party: &Party, now: Timestamp) -> Result<(), Denial> {
        let grants = party.grants.iter().all(|grant| {
            self.permits(grant.purpose)
                && grant.uses_max <= self.uses_max
                && grant.fields != FieldSet::default()
        });
        if grants && terms.release_until.since_ms(now) <= self.release_ms_max {
            Ok(())
        } else {
            Err(Denial::TermsNotAllowed)
        }
    }

    /// The row, as `docs/format.md` §6 has it.
    pub fn encode(&self) -> SecretBuffer {
        let mut w = Writer::with_capacity(16);
        w.u8(1)
            .u8(self.purposes)
            .u8(self.uses_max)
            .u64(self.release_ms_max)
            .u32(self.releases_per_hour);
        w.finish()
    }

    /// Reads the row.
    ///
    /// # Errors
    /// When it does not have the shape of §6.
    pub fn decode(bytes: &[u8]) -> Result<Allowance, Malformed> {
        let mut r = Reader::new(bytes);
        if r.u8()? != 1 {
            return Err(Malformed::new("allowance: unknown version"));
        }
        let allowance = Allowance {
            purposes: r.u8()?,
            uses_max: r.u8()?,
            release_ms_max: r.u64()?,
            releases_per_hour: r.u32()?,
        };
        r.end()?;
        Ok(allowance)
    }
}
