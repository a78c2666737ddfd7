//! Principals: who is known to the vault.

use crate::clock::{DAY_MS, Timestamp};
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{PrincipalId, Site};
use crate::limits;
use crate::secret::SecretBuffer;

/// The one thing that a principal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// Opens transactions and hands in details.
    Portal = 1,
    /// Redeems tokens of transactions that name it.
    Processor = 2,
    /// Exports the ledger.
    Auditor = 3,
    /// Runs the vault; party to nothing.
    Operator = 4,
    /// Takes part in unsealing.
    Custodian = 5,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [
        Role::Portal,
        Role::Processor,
        Role::Auditor,
        Role::Operator,
        Role::Custodian,
    ];

    /// Its code in rows and in the contract.
    pub fn from_code(code: u8) -> Option<Role> {
        Role::ALL.into_iter().find(|role| *role as u8 == code)
    }

    /// Its name in the ledger and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Portal => "portal",
            Role::Processor => "processor",
            Role::Auditor => "auditor",
            Role::Operator => "operator",
            Role::Custodian => "custodian",
        }
    }

    /// Whether people act in it: they carry an agreement and a second factor.
    pub const fn is_human(self) -> bool {
        matches!(self, Role::Auditor | Role::Operator | Role::Custodian)
    }
}

/// A confidentiality agreement: without one in force a human is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// Where the signed paper is filed.
    pub reference: String,
    /// In force from.
    pub valid_from: Timestamp,
    /// In force until, exclusive.
    pub valid_until: Timestamp,
}

/// A principal as enrolled. No `Debug`: it holds a secret's hash.
#[derive(Clone)]
pub struct Principal {
    /// Random, never used again.
    pub id: PrincipalId,
    /// Unique name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Where it may act; every site when empty (humans only).
    pub sites: Vec<Site>,
    /// The URI SAN of its certificate.
    pub certificate_uri: String,
    /// SHA-256 of the issuing CA's public key.
    pub issuer_key: [u8; 32],
    /// A human's agreement.
    pub agreement: Option<Agreement>,
    /// A human's secret as an Argon2id PHC string; empty when none was made yet.
    pub secret_hash: String,
    /// Refused from now on.
    pub disabled: bool,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// Day of its last call, for the 90-day rule (PCI DSS 8.2.6).
    pub last_seen: Timestamp,
    /// Bad tries since the last good one.
    pub bad_tries: u8,
    /// Locked until then (PCI DSS 8.3.4).
    pub locked_until: Timestamp,
}

impl Principal {
    /// Whether it may act on `site`.
    pub fn serves(&self, site: Site) -> bool {
        self.sites.contains(&site) || (self.sites.is_empty() && self.role.is_human())
    }

    /// Whether it did not call for 90 days (PCI DSS 8.2.6).
    pub fn is_idle(&self, now: Timestamp) -> bool {
        now >= self.idle_at()
    }

    fn idle_at(&self) -> Timestamp {
        let seen = self.last_seen.max(self.created_at);
        seen.plus_ms(limits::IDLE_DAYS_MAX * DAY_MS)
    }

    /// From when on it can't act if nothing more is heard of it: its agreement is over, or it is
    /// idle. Now or earlier for one that is disabled.
    pub fn acts_until(&self) -> Timestamp {
        if self.disabled {
            return Timestamp(0);
        }
        match &self.agreement {
            Some(agreement) => self.idle_at().min(agreement.valid_until),
            None => self.idle_at(),
        }
    }

    /// The row, as `docs/format.md` §6 has it.
    pub fn encode(&self) -> SecretBuffer {
        let mut w = Writer::with_capacity(512);
        w.u8(1).raw(&self.id.0).str(&self.name).u8(self.role as u8);
        w.u8(u8::try_from(self.sites.len()).expect("bounded by SITES_MAX"));
        for site in &self.sites {
            w.raw(site.as_bytes());
        }
        w.str(&self.certificate_uri).raw(&self.issuer_key);
        match &self.agreement {
            None => {
                w.u8(0);
            }
            Some(a) => {
                w.u8(1)
                    .str(&a.reference)
                    .u64(a.valid_from.0)
                    .u64(a.valid_until.0);
            }
        }
        w.str(&self.secret_hash)
            .u8(u8::from(self.disabled))
            .u64(self.created_at.0)
            .u64(self.last_seen.0)
            .u8(self.bad_tries)
            .u64(self.locked_until.0);
        w.finish()
    }

    /// Reads the row.
    ///
    /// # Errors
    /// When it does not have the shape of §6.
    pub fn decode(bytes: &[u8]) -> Result<Principal, Malformed> {
        let mut r = Reader::new(bytes);
        if r.u8()? != 1 {
            return Err(Malformed::new("principal: unknown version"));
        }
        let id = PrincipalId(r.array()?);
        let name = r.str()?.to_owned();
        let role = Role::from_code(r.u8()?).ok_or(Malformed::new("principal: unknown role"))?;
        let mut sites = Vec::new();
        for _ in 0..r.u8()? {
            sites.push(Site::from_bytes(r.array()?)?);
        }
        let certificate_uri = r.str()?.to_owned();
        let issuer_key = r.array()?;
        let agreement = if r.bool()? {
            Some(Agreement {
                reference: r.str()?.to_owned(),
                valid_from: Timestamp(r.u64()?),
                valid_until: Timestamp(r.u64()?),
            })
        } else {
            None
        };
        let principal = Principal {
            id,
            name,
            role,
            sites,
            certificate_uri,
            issuer_key,
            agreement,
            secret_hash: r.str()?.to_owned(),
            disabled: r.bool()?,
            created_at: Timestamp(r.u64()?),
            last_seen: Timestamp(r.u64()?),
            bad_tries: r.u8()?,
            locked_until: Timestamp(r.u64()?),
        };
        r.end()?;
        Ok(principal)
    }
}
