//! Who is enrolled and what portals may do: kept in memory whole, since every call asks it, and in
//! rows that the committer writes.

use super::hold::Hold;
use crate::clock::Timestamp;
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{ActionId, HoldId, PrincipalId, Site};
use crate::keys::KeyId;
use crate::policy::{Allowance, AllowanceKey, Denial, Principal, Role, Terms};
use crate::secret::SecretBuffer;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A change that waits for a second operator.
#[derive(Clone)]
pub struct Pending {
    /// Who asked.
    pub requested_by: PrincipalId,
    /// It lapses then.
    pub expires_at: Timestamp,
    /// What is to be done.
    pub change: Change,
}

/// A change that needs two operators.
#[derive(Clone)]
pub enum Change {
    /// Enrol a principal.
    Enrol(Principal),
    /// Set or take away an allowance.
    Allow(AllowanceKey, Option<Allowance>),
    /// Let tokens from before the restore that opened this epoch be redeemed again.
    ConfirmRestore(u32),
    /// Take what the clock shows for right, though it is so many milliseconds off.
    ConfirmClock(i64),
    /// Declare a key compromised: its number, and its name and generation for who reads it.
    Compromise(KeyId, String),
    /// Place a hold.
    PlaceHold(HoldId, Hold),
    /// Lift one.
    LiftHold(HoldId),
}

impl Change {
    /// What it would do, in words, for `status` and the ledger.
    pub fn summary(&self) -> String {
        match self {
            Change::Enrol(p) => {
                let sites: Vec<&str> = p.sites.iter().map(Site::as_str).collect();
                let issuer: String = p.issuer_key.iter().map(|b| format!("{b:02x}")).collect();
                format!(
                    "enrol {} {} for {}: certificate {} by the CA with key {issuer}, agreement {}",
                    p.role.as_str(),
                    p.name,
                    match sites.is_empty() {
                        true => "every site".to_owned(),
                        false => sites.join(" "),
                    },
                    p.certificate_uri,
                    p.agreement.as_ref().map_or("-", |a| a.reference.as_str()),
                )
            }
            Change::Allow(key, Some(allowance)) => format!(
                "allow portal {} to name processor {} on {}: {allowance}",
                key.portal, key.processor, key.site
            ),
            Change::ConfirmRestore(epoch) => format!(
                "redeem tokens from before the restore that opened epoch {epoch}: uses counted after the backup are forgotten"
            ),
            Change::ConfirmClock(off_ms) => format!(
                "take what the vault's clock shows for right: it is {} s {} where the vault expects it",
                off_ms.unsigned_abs() / 1_000,
                if *off_ms < 0 { "behind" } else { "ahead of" },
            ),
            Change::Compromise(_, label) => format!(
                "declare key {label} compromised: it seals nothing any more, what lies under it is sealed anew, and it is destroyed; backups from before can't be restored in full any more"
            ),
            Change::PlaceHold(_, hold) => {
                format!("hold {} for case {}", hold.scope(), hold.case)
            }
            Change::LiftHold(id) => format!("lift hold {id}: what only it keeps ends"),
            Change::Allow(key, None) => format!(
                "no longer allow portal {} to name processor {} on {}",
                key.portal, key.processor, key.site
            ),
        }
    }
}

impl Pending {
    /// The row, as `docs/format.md` §6 has it.
    pub fn encode(&self) -> SecretBuffer {
        let mut w = Writer::with_capacity(1_024);
        w.u8(1).raw(&self.requested_by.0).u64(self.expires_at.0);
        match &self.change {
            Change::Enrol(principal) => {
                w.u8(1).bytes(&principal.encode());
            }
            Change::Allow(key, allowance) => {
                let mut content = Writer::with_capacity(128);
                content
                    .raw(key.site.as_bytes())
                    .raw(&key.portal.0)
                    .raw(&key.processor.0);
                if let Some(allowance) = allowance {
                    content.raw(&allowance.encode());
                }
                w.u8(2).bytes(content.as_slice());
            }
            Change::ConfirmRestore(epoch) => {
                w.u8(3).bytes(&epoch.to_be_bytes());
            }
            Change::ConfirmClock(off_ms) => {
                w.u8(4).bytes(&off_ms.to_be_bytes());
            }
            Change::Compromise(key, label) => {
                let mut content = Writer::with_capacity(64);
                content.u32(key.0).str(label);
                w.u8(16).bytes(content.as_slice());
            }
            Change::PlaceHold(id, hold) => {
                let mut content = Writer::with_capacity(192);
                content.raw(&id.0).raw(&hold.encode());
                w.u8(5).bytes(content.as_slice());
            }
            Change::LiftHold(id) => {
                w.u8(6).bytes(&id.0);
            }
        }
        w.finish()
    }

    /// Reads the row.
    ///
    /// # Errors
    /// When it does not have the shape of §6.
    pub fn decode(bytes: &[u8]) -> Result<Pending, Malformed> {
        let mut r = Reader::new(bytes);
        if r.u8()? != 1 {
            return Err(Malformed::new("pending action: unknown version"));
        }
        let requested_by = PrincipalId(r.array()?);
        let expires_at = Timestamp(r.u64()?);
        let kind = r.u8()?;
        let content = r.bytes()?;
        r.end()?;
        let change = match kind {
            1 => Change::Enrol(Principal::decode(content)?),
            2 => {
                let mut r = Reader::new(content);
                let key = AllowanceKey {
                    site: Site::from_bytes(r.array()?)?,
                    portal: PrincipalId(r.array()?),
                    processor: PrincipalId(r.array()?),
                };
                let rest = r.raw(r.remaining())?;
                let allowance = match rest {
                    [] => None,
                    bytes => Some(Allowance::decode(bytes)?),
                };
                Change::Allow(key, allowance)
            }
            3 => {
                let mut r = Reader::new(content);
                let epoch = r.u32()?;
                r.end()?;
                Change::ConfirmRestore(epoch)
            }
            4 => {
                let mut r = Reader::new(content);
                let off_ms = i64::from_be_bytes(r.array()?);
                r.end()?;
                Change::ConfirmClock(off_ms)
            }
            16 => {
                let mut r = Reader::new(content);
                let (key, label) = (KeyId(r.u32()?), r.str()?.to_owned());
                r.end()?;
                Change::Compromise(key, label)
            }
            5 => {
                let mut r = Reader::new(content);
                let id = HoldId(r.array()?);
                Change::PlaceHold(id, Hold::decode(r.raw(r.remaining())?)?)
            }
            6 => {
                let mut r = Reader::new(content);
                let id = HoldId(r.array()?);
                r.end()?;
                Change::LiftHold(id)
            }
            _ => return Err(Malformed::new("pending action: unknown kind")),
        };
        Ok(Pending {
            requested_by,
            expires_at,
            change,
        })
    }
}

/// Everything that is enrolled. Replaced as a whole by each change.
#[derive(Clone, Default)]
pub struct Registry {
    principals: HashMap<PrincipalId, Arc<Principal>>,
    by_credential: HashMap<([u8; 32], String), PrincipalId>,
    by_name: BTreeMap<String, PrincipalId>,
    allowances: BTreeMap<AllowanceKey, Allowance>,
    pending: BTreeMap<ActionId, Pending>,
    holds: BTreeMap<HoldId, Hold>,
    digest: std::sync::OnceLock<[u8; 32]>,
}

impl Registry {
    /// Digest of every row, in the order of their keys: the head holds it, so that no row can be
    /// put back, added or taken away. Computed once for each state.
    pub fn digest(&self) -> [u8; 32] {
        *self.digest.get_or_init(|| {
            let mut hash = Sha256::new();
            hash.update(b"payvault registry v1");
            let mut row = |space: u8, key: &[u8], value: &[u8]| {
                hash.update([space]);
                hash.update(key);
                hash.update((value.len() as u64).to_be_bytes());
                hash.update(value);
            };
            let mut ids: Vec<&PrincipalId> = self.principals.keys().collect();
            ids.sort();
            for id in ids {
                row(b'P', &id.0, &self.principals[id].encode());
            }
            for (key, allowance) in &self.allowances {
                let key = [&key.site.as_bytes()[..], &key.portal.0, &key.processor.0].concat();
                row(b'A', &key, &allowance.encode());
            }
            for (id, pending) in &self.pending {
                row(b'W', &id.0, &pending.encode());
            }
            for (id, hold) in &self.holds {
                row(b'L', &id.0, &hold.encode());
            }
            hash.finalize().into()
        })
    }

    /// A principal by id.
    pub fn principal(&self, id: PrincipalId) -> Option<&Arc<Principal>> {
        self.principals.get(&id)
    }

    /// A principal by the identity of its certificate.
    pub fn by_credential(&self, issuer_key: &[u8; 32], uri: &str) -> Option<&Arc<Principal>> {
        let id = self.by_credential.get(&(*issuer_key, uri.to_owned()))?;
        self.principals.get(id)
    }

    /// A principal by id or name, as a person writes it.
    pub fn named(&self, text: &str) -> Option<&Arc<Principal>> {
        let id = match PrincipalId::parse(text) {
            Ok(id) => id,
            Err(_) => *self.by_name.get(text)?,
        };
        self.principals.get(&id)
    }

    /// All principals by name.
    pub fn principals(&self) -> impl Iterator<Item = &Arc<Principal>> {
        self.by_name
            .values()
            .filter_map(|id| self.principals.get(id))
    }

    /// How many are enrolled.
    pub fn len(&self) -> usize {
        self.principals.len()
    }

    /// Whether nobody is enrolled.
    pub fn is_empty(&self) -> bool {
        self.principals.is_empty()
    }

    /// Enabled operators.
    pub fn operators(&self) -> usize {
        self.principals
            .values()
            .filter(|p| p.role == Role::Operator && !p.disabled)
            .count()
    }

    /// Until when `count` operators can act, if nothing more is heard of any.
    pub fn operators_act_until(&self, count: usize) -> Timestamp {
        let mut until: Vec<_> = self
            .principals
            .values()
            .filter(|p| p.role == Role::Operator)
            .map(|p| p.acts_until())
            .collect();
        until.sort_unstable_by(|a, b| b.cmp(a));
        let last = count.checked_sub(1).and_then(|place| until.get(place));
        last.copied().unwrap_or(Timestamp(0))
    }

    /// Puts a principal in, or replaces it.
    pub fn put(&mut self, principal: Principal) {
        self.digest.take();
        let id = principal.id;
        self.by_credential.insert(
            (principal.issuer_key, principal.certificate_uri.clone()),
            id,
        );
        self.by_name.insert(principal.name.clone(), id);
        self.principals.insert(id, Arc::new(principal));
    }

    /// Whether a new principal's id, name and credential are free.
    ///
    /// # Errors
    /// Which of them is taken (PCI DSS 8.2.1: one principal, one identity).
    pub fn is_free(&self, principal: &Principal) -> Result<(), Denial> {
        if self.principals.contains_key(&principal.id) {
            return Err(Denial::CredentialTaken);
        }
        let credential = (principal.issuer_key, principal.certificate_uri.clone());
        if self.by_credential.contains_key(&credential) {
            return Err(Denial::CredentialTaken);
        }
        if self.by_name.contains_key(&principal.name) {
            return Err(Denial::NameTaken);
        }
        Ok(())
    }

    /// A row of the allow-list.
    pub fn allowance(&self, key: &AllowanceKey) -> Option<&Allowance> {
        self.allowances.get(key)
    }

    /// The allow-list.
    pub fn allowances(&self) -> impl Iterator<Item = (&AllowanceKey, &Allowance)> {
        self.allowances.iter()
    }

    /// Sets or takes away an allowance.
    pub fn allow(&mut self, key: AllowanceKey, allowance: Option<Allowance>) {
        self.digest.take();
        match allowance {
            Some(allowance) => self.allowances.insert(key, allowance),
            None => self.allowances.remove(&key),
        };
    }

    /// Actions that wait.
    pub fn pending(&self) -> impl Iterator<Item = (&ActionId, &Pending)> {
        self.pending.iter()
    }

    /// One action that waits.
    pub fn pending_action(&self, id: &ActionId) -> Option<&Pending> {
        self.pending.get(id)
    }

    /// Puts an action in.
    pub fn defer(&mut self, id: ActionId, pending: Pending) {
        self.digest.take();
        self.pending.insert(id, pending);
    }

    /// Takes an action out.
    pub fn settle(&mut self, id: &ActionId) {
        self.digest.take();
        self.pending.remove(id);
    }

    /// The legal holds.
    pub fn holds(&self) -> impl Iterator<Item = (&HoldId, &Hold)> {
        self.holds.iter()
    }

    /// Whether a hold covers a time in this month of a site's log.
    pub fn holds_month(&self, site: Site, month: (i16, u8)) -> bool {
        self.holds
            .values()
            .any(|hold| hold.covers_month(site, month))
    }

    /// One hold.
    pub fn hold(&self, id: HoldId) -> Option<&Hold> {
        self.holds.get(&id)
    }

    /// Puts a hold in.
    pub fn place(&mut self, id: HoldId, hold: Hold) {
        self.digest.take();
        self.holds.insert(id, hold);
    }

    /// Takes a hold out.
    pub fn lift(&mut self, id: HoldId) {
        self.digest.take();
        self.holds.remove(&id);
    }

    /// Whether the allow-list covers `terms`, opened at `now`: each party an enabled processor of
    /// the site, and allowed to this portal.
    ///
    /// # Errors
    /// [`Denial::TermsNotAllowed`]: which part is not said, so that a hijacked portal can't map
    /// the list.
    pub fn covers(&self, terms: &Terms, now: Timestamp) -> Result<(), Denial> {
        for party in &terms.parties {
            let processor = self
                .principal(party.principal)
                .filter(|p| p.role == Role::Processor && !p.disabled && p.serves(terms.site))
                .ok_or(Denial::TermsNotAllowed)?;
            let key = AllowanceKey {
                site: terms.site,
                portal: terms.portal,
                processor: processor.id,
            };
            self.allowance(&key)
                .ok_or(Denial::TermsNotAllowed)?
                .covers(terms, party, now)?;
        }
        Ok(())
    }
}
