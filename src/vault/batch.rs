//! One round in the making: an overlay over the rows that it read, the entries that it will
//! append, and what must happen in memory once it is durable.
//!
//! Commands are judged in order, each seeing the earlier ones' effects. Nothing here touches the
//! store, so a round can be judged again from the start.

use super::alarms::Seen;
use super::codes::{Released, SecurityCodes};
use super::command::{Ask, Caller, Done, Refusal, Work};
use super::floods::{Floods, source};
use super::head::Head;
use super::key_changes::Need;
use super::rates::ReleaseRates;
use super::redeem::Wanted;
use super::registry::Registry;
use super::rows::Row;
use super::state::TransactionState;
use super::tokenize::{Given, HandedIn};
use super::withheld::Withheld;
use crate::clock::Timestamp;
use crate::ids::{Site, TransactionId};
use crate::keys::{EnvelopeError, KeyName, Keyring};
use crate::ledger::{Entry, Event, Leaf, Outcome, seal_content};
use crate::payment::SecurityCode;
use crate::policy::{Denial, Principal, Rpc};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A transaction's row as the round sees it.
pub(super) enum Slot {
    /// No such row.
    Absent,
    /// As read, not looked at yet.
    Stored(Vec<u8>),
    /// Opened, and perhaps changed.
    Open(Box<TransactionState>),
    /// Failed its check: an `integrity` entry was written.
    Broken,
}

/// What happens in memory after the round is durable.
pub(super) enum Effect {
    /// A security code is taken in.
    TakeIn([u8; 16], SecurityCode),
    /// A security code was released.
    Released([u8; 16], Released),
    /// A security code is wiped.
    Wipe([u8; 16]),
    /// The registry is replaced.
    Registry(Arc<Registry>),
    /// One operator no longer does everything alone.
    TwoOperators,
    /// Tokens from before a restore may be redeemed again.
    RestoreConfirmed,
    /// What the clock shows is right.
    ClockConfirmed,
}

/// What a use case did to a transaction.
pub(super) enum Act<T> {
    /// It changed: entry and row are written.
    Changed(T),
    /// It was looked at only; whatever entry there is was appended already.
    Seen(T),
}

/// An entry of the round.
pub(super) struct Staged {
    /// Its leaf.
    pub leaf: Leaf,
    /// Its sealed content.
    pub sealed: Vec<u8>,
}

/// Why a use case did nothing.
pub(super) enum No {
    /// Policy said no.
    Denied(Denial),
    /// A stored value failed its check; said in the ledger already.
    Integrity,
    /// The keyring could not do its part; the whole round fails.
    Keys(String),
}

impl From<Denial> for No {
    fn from(denial: Denial) -> No {
        No::Denied(denial)
    }
}

impl From<EnvelopeError> for No {
    fn from(error: EnvelopeError) -> No {
        No::Keys(error.to_string())
    }
}

/// A round in the making.
pub(super) struct Batch<'a> {
    pub ring: &'a Keyring,
    pub registry: Arc<Registry>,
    pub head: &'a Head,
    pub sites: &'a BTreeMap<Site, u64>,
    pub fingerprints: &'a BTreeSet<Site>,
    pub sealed_only: &'a BTreeSet<Site>,
    pub codes: &'a SecurityCodes,
    pub floods: &'a mut Floods,
    pub rates: &'a mut ReleaseRates,
    pub now: Timestamp,
    pub now_ms: u64,
    pub clock_suspect: bool,
    pub clock_off_ms: i64,
    pub seal: &'static str,
    pub key_backup_days: u32,
    pub retention: &'a BTreeMap<Site, super::Retention>,
    pub entries: Vec<Staged>,
    /// What alarms are about, once the round is durable.
    pub seen: Vec<Seen>,
    pub effects: Vec<Effect>,
    /// Rows besides transactions that the round writes: sealed already.
    pub writes: Vec<(Vec<u8>, Option<crate::keys::Sealed>)>,
    /// Pages of entries that are written anew, with the same entries.
    pub pages: Vec<(Vec<u8>, Vec<u8>)>,
    /// Rows that were read for a re-wrap, besides transactions.
    pub others: HashMap<Vec<u8>, Vec<u8>>,
    pub(super) slots: HashMap<TransactionId, Slot>,
    pub(super) dirty: Vec<TransactionId>,
    /// What the keyring must do before this round can be judged.
    pub needs: Option<Need>,
    /// What it did for it.
    pub granted: Option<&'a Need>,
    /// Set when the whole round must fail.
    pub broken: Option<String>,
}

/// What a batch borrows from the committer.
pub(super) struct Surroundings<'a> {
    pub ring: &'a Keyring,
    pub registry: Arc<Registry>,
    pub head: &'a Head,
    pub sites: &'a BTreeMap<Site, u64>,
    pub fingerprints: &'a BTreeSet<Site>,
    pub sealed_only: &'a BTreeSet<Site>,
    pub codes: &'a SecurityCodes,
    pub floods: &'a mut Floods,
    pub rates: &'a mut ReleaseRates,
    pub now: Timestamp,
    pub now_ms: u64,
    pub clock_suspect: bool,
    pub clock_off_ms: i64,
    pub seal: &'static str,
    pub key_backup_days: u32,
    pub retention: &'a BTreeMap<Site, super::Retention>,
    pub granted: Option<&'a Need>,
    pub others: HashMap<Vec<u8>, Vec<u8>>,
}

impl<'a> Batch<'a> {
    /// A round over the rows that were read.
    pub fn new(
        around: Surroundings<'a>,
        rows: impl Iterator<Item = (TransactionId, Option<Vec<u8>>)>,
    ) -> Batch<'a> {
        Batch {
            ring: around.ring,
            registry: around.registry,
            head: around.head,
            sites: around.sites,
            fingerprints: around.fingerprints,
            sealed_only: around.sealed_only,
            codes: around.codes,
            floods: around.floods,
            rates: around.rates,
            now: around.now,
            now_ms: around.now_ms,
            clock_suspect: around.clock_suspect,
            clock_off_ms: around.clock_off_ms,
            seal: around.seal,
            key_backup_days: around.key_backup_days,
            retention: around.retention,
            entries: Vec::new(),
            seen: Vec::new(),
            effects: Vec::new(),
            writes: Vec::new(),
            slots: rows
                .map(|(id, row)| (id, row.map_or(Slot::Absent, Slot::Stored)))
                .collect(),
            dirty: Vec::new(),
            pages: Vec::new(),
            others: around.others,
            needs: None,
            granted: around.granted,
            broken: None,
        }
    }

    /// Judges one command. Its refusal harms no other.
    pub fn decide(&mut self, ask: &Ask) -> Withheld<Result<Done, Refusal>> {
        let mut entry = self.draft(&ask.caller, super::commands::event_of(&ask.work));
        let outcome = self.work(&ask.caller, &ask.work, &mut entry);
        Withheld::new(outcome.map_err(|no| match no {
            No::Denied(denial) => {
                self.deny(entry, denial);
                Refusal::Denied(denial)
            }
            No::Integrity => Refusal::Integrity,
            No::Keys(what) => {
                self.broken = Some(what);
                Refusal::Unavailable("a key is missing")
            }
        }))
    }

    fn work(&mut self, caller: &Caller, work: &Work, entry: &mut Entry) -> Result<Done, No> {
        match work {
            Work::Open { request, terms } => self.open_transaction(caller, request, terms, entry),
            Work::Get { transaction } => self.get_transaction(caller, *transaction, entry),
            Work::Tokenize {
                request,
                transaction,
                details,
                code,
                replaces,
            } => {
                let given = HandedIn {
                    what: Given::Clear(details, code.as_ref()),
                    replaces: replaces.as_ref(),
                };
                self.tokenize(caller, request, *transaction, &given, entry)
            }
            Work::TokenizeSealed {
                request,
                transaction,
                sealed,
                replaces,
            } => {
                let given = HandedIn {
                    what: Given::Sealed(sealed),
                    replaces: replaces.as_ref(),
                };
                self.tokenize(caller, request, *transaction, &given, entry)
            }
            Work::Redeem {
                request,
                transaction,
                token,
                purpose,
                fields,
            } => {
                entry.purpose = purpose.as_str();
                entry.fields = fields.iter().map(|f| f.as_str()).collect();
                let wanted = Wanted {
                    token,
                    purpose: *purpose,
                    fields: *fields,
                };
                self.redeem(caller, request, *transaction, &wanted, entry)
            }
            Work::Report {
                request,
                transaction,
                token,
                result,
                reference,
            } => self.report(
                caller,
                request,
                *transaction,
                token,
                *result,
                reference,
                entry,
            ),
            Work::Describe { transaction, token } => {
                self.describe(caller, *transaction, token, entry)
            }
            Work::Revoke { transaction, token } => self.revoke(caller, *transaction, token, entry),
            Work::Close { transaction } => self.close(caller, *transaction, entry),
            Work::Refused {
                denial,
                transaction,
                ..
            } => {
                entry.transaction = *transaction;
                Err(No::Denied(*denial))
            }
            Work::Erase(asked) => self.erase(caller, asked, entry),
            Work::Export { detail } => {
                self.admit(caller, Rpc::ExportLog)?;
                entry.detail = detail.iter().cloned().collect();
                let entry = self.enter(entry)?.index;
                Ok(Done::Noted { entry })
            }
            Work::Tail { detail } => {
                self.admit(caller, Rpc::TailLog)?;
                entry.detail = detail.iter().cloned().collect();
                let entry = self.enter(entry)?.index;
                Ok(Done::Noted { entry })
            }
            Work::Backup { detail } => {
                // Offline the vault itself takes it, for whoever has its directories and passphrase.
                if !caller.is_vault() {
                    self.admit(caller, Rpc::TakeBackup)?;
                }
                entry.detail = detail.iter().cloned().collect();
                let entry = self.enter(entry)?.index;
                Ok(Done::Noted { entry })
            }
            Work::Admin(admin) => self.administrate(caller, admin, entry),
            Work::Rewrap(step) => self.rewrap(step, entry),
            Work::Note(note) => self.note(note, entry),
        }
    }

    /// An entry about `caller`, to be filled in.
    pub fn draft(&self, caller: &Caller, event: Event) -> Entry {
        let mut entry = Entry::new(event, Outcome::Ok, Site::VAULT, self.now);
        entry.epoch = self.head.epoch;
        entry.origin = caller.origin.to_string();
        if let Some(principal) = &caller.principal {
            entry.actor = Some(principal.id);
            entry.actor_name = principal.name.clone();
            entry.role = principal.role.as_str();
        }
        entry
    }

    /// Index that the next entry gets.
    pub fn next_index(&self) -> u64 {
        self.head.size + self.entries.len() as u64
    }

    /// Appends an entry: its content sealed under the log bucket of its site and month.
    pub fn enter(&mut self, entry: &mut Entry) -> Result<Entered, No> {
        let index = self.next_index();
        entry.index = index;
        if entry.site != Site::VAULT && !self.sites.contains_key(&entry.site) {
            // A site that is no longer, or never was, configured has no log of its own.
            entry.detail.insert("for_site", entry.site.to_string());
            entry.site = Site::VAULT;
        }
        let key = self
            .ring
            .find(&log_bucket(entry.site, entry.at), self.now)
            .ok_or_else(|| No::Keys(format!("no key for {}", entry.bucket_text())))?;
        let json = entry.to_canonical_json();
        let seed: [u8; 32] = crate::ids::random();
        let bucket = entry.bucket_text();
        let leaf = Leaf::of(entry.epoch, &bucket, entry.site, entry.event, &json, &seed);
        let row = Row::entry(entry.site, entry.epoch, index);
        let sealed = self
            .ring
            .seal(key, &row.place(), &seal_content(&seed, &json))?;
        if entry.event == Event::Redeemed
            && entry.outcome == Outcome::Ok
            && let Some(party) = entry.actor
        {
            self.seen.push(Seen::Released(party));
        }
        self.entries.push(Staged {
            leaf,
            sealed: sealed.into_bytes(),
        });
        Ok(Entered {
            index,
            leaf: leaf.hash,
        })
    }

    /// Appends the entry of a refusal, unless its principal floods the log with them.
    fn deny(&mut self, mut entry: Entry, denial: Denial) {
        entry.outcome = Outcome::Denied;
        entry.reason = denial.as_str();
        tracing::info!(
            event = entry.event.as_str(),
            reason = denial.as_str(),
            actor = %entry.actor_name,
            origin = %entry.origin,
            "refused"
        );
        self.seen
            .push(Seen::Denied(source(entry.actor, &entry.origin)));
        if !self.floods.admits(entry.actor, &entry.origin, self.now) {
            return;
        }
        if let Err(No::Keys(what)) = self.enter(&mut entry) {
            self.broken = Some(what);
        }
    }

    /// Appends an `integrity` entry and raises the alarm.
    pub fn alarm(&mut self, about: &Entry, what: &'static str) -> No {
        tracing::error!(
            alarm = "integrity",
            what,
            transaction = %about.transaction.map(|t| t.to_string()).unwrap_or_default(),
            "a stored value is not what was stored; nothing was released from it"
        );
        let mut entry = about.clone();
        entry.event = Event::Integrity;
        entry.outcome = Outcome::Failed;
        entry.reason = Denial::Integrity.as_str();
        entry.detail.insert("what", what.to_owned());
        // However often it is asked for, it fills no disk.
        if !self.floods.admits(entry.actor, &entry.origin, self.now) {
            return No::Integrity;
        }
        match self.enter(&mut entry) {
            Ok(_) => No::Integrity,
            Err(no) => no,
        }
    }

    /// The caller as enrolled **now**, if it may make the call: a principal that was disabled
    /// while its command waited is refused.
    pub fn admit(&self, caller: &Caller, rpc: Rpc) -> Result<Arc<Principal>, No> {
        let id = caller.id().ok_or(Denial::RoleNotAllowed)?;
        let principal = self
            .registry
            .principal(id)
            .ok_or(Denial::PrincipalDisabled)?;
        // The session was checked when the call came in; it can't end by waiting here.
        crate::policy::admit(rpc, principal, true, self.now)?;
        Ok(Arc::clone(principal))
    }

    /// Takes a transaction's state out of the overlay, opening its row at the first look.
    fn take(&mut self, id: TransactionId, entry: &mut Entry) -> Result<Box<TransactionState>, No> {
        entry.transaction = Some(id);
        let slot = self.slots.remove(&id).unwrap_or(Slot::Absent);
        let (left, result) = match slot {
            Slot::Absent => (Slot::Absent, Err(Denial::UnknownTransaction.into())),
            Slot::Broken => (Slot::Broken, Err(No::Integrity)),
            Slot::Open(state) => {
                entry.site = state.site();
                entry.prev = Some(state.last_entry);
                return Ok(state);
            }
            Slot::Stored(bytes) => match open_row(self.ring, id, bytes) {
                // Its bucket's key seals no more and waits for its end: whatever would change the
                // row could not be written, so it is as if the end had come.
                Ok(Some(state)) if self.ring.find(&sealing_key(&state), self.now).is_none() => {
                    (Slot::Absent, Err(Denial::UnknownTransaction.into()))
                }
                Ok(Some(state)) => {
                    entry.site = state.site();
                    entry.prev = Some(state.last_entry);
                    return Ok(Box::new(state));
                }
                // Its bucket's key was destroyed: it is as if it never was.
                Ok(None) => (Slot::Absent, Err(Denial::UnknownTransaction.into())),
                Err(what) => (Slot::Broken, Err(self.alarm(entry, what))),
            },
        };
        self.slots.insert(id, left);
        result
    }

    /// Whether a transaction is there, opened or not.
    pub fn exists(&self, id: TransactionId) -> bool {
        !matches!(self.slots.get(&id), None | Some(Slot::Absent))
    }

    /// Puts a new transaction in, with its entry. Returns the entry's index.
    pub fn found(
        &mut self,
        id: TransactionId,
        state: TransactionState,
        entry: &mut Entry,
    ) -> Result<u64, No> {
        let index = self.next_index();
        self.write(id, Box::new(state), entry)?;
        Ok(index)
    }

    /// Runs `act` on a transaction. When it says [`Act::Changed`], the entry is appended (its
    /// index is what [`Batch::next_index`] said) and the row is written with the round. When it
    /// fails it must have left the state as it was.
    pub fn on<T>(
        &mut self,
        id: TransactionId,
        entry: &mut Entry,
        act: impl FnOnce(&mut Self, &mut TransactionState, &mut Entry) -> Result<Act<T>, No>,
    ) -> Result<T, No> {
        let mut state = self.take(id, entry)?;
        match act(self, &mut state, entry) {
            Ok(Act::Changed(result)) => {
                self.write(id, state, entry)?;
                Ok(result)
            }
            Ok(Act::Seen(result)) => {
                self.slots.insert(id, Slot::Open(state));
                Ok(result)
            }
            Err(no) => {
                self.slots.insert(id, Slot::Open(state));
                Err(no)
            }
        }
    }

    /// Appends the entry of a change. The state remembers it, so that a row that was rolled back
    /// can be told.
    fn write(
        &mut self,
        id: TransactionId,
        mut state: Box<TransactionState>,
        entry: &mut Entry,
    ) -> Result<(), No> {
        let entered = self.enter(entry)?;
        state.last_entry = entered.index;
        state.last_leaf = entered.leaf;
        self.slots.insert(id, Slot::Open(state));
        if !self.dirty.contains(&id) {
            self.dirty.push(id);
        }
        Ok(())
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.writes.is_empty()
            && self.dirty.is_empty()
            && self.pages.is_empty()
    }

    /// Has a transaction's row, if it lies under an earlier key, sealed anew with this round. What it
    /// says stays, and so does the entry that it names. Gives whether it will be; none when the row
    /// does not open.
    pub fn rewrap_transaction(
        &mut self,
        id: TransactionId,
        about: &Entry,
    ) -> Result<Option<bool>, No> {
        let bytes = match self.slots.get(&id) {
            Some(Slot::Stored(bytes)) => bytes,
            // Another command of this round looked at it: what key it lay under isn't known any more,
            // and one seal too many does no harm. If it was changed, it is sealed anew already.
            Some(Slot::Open(_)) => {
                let only_seen = !self.dirty.contains(&id);
                if only_seen {
                    self.dirty.push(id);
                }
                return Ok(Some(only_seen));
            }
            Some(Slot::Absent | Slot::Broken) | None => return Ok(Some(false)),
        };
        if !self.is_stale(bytes) {
            return Ok(Some(false));
        }
        let (slot, result) = match open_row(self.ring, id, bytes.clone()) {
            Ok(Some(state)) => {
                if !self.dirty.contains(&id) {
                    self.dirty.push(id);
                }
                (Slot::Open(Box::new(state)), Ok(Some(true)))
            }
            Ok(None) => return Ok(Some(false)),
            Err(what) => {
                let mut about = about.clone();
                about.transaction = Some(id);
                match self.alarm(&about, what) {
                    No::Integrity => (Slot::Broken, Ok(None)),
                    no => return Err(no),
                }
            }
        };
        self.slots.insert(id, slot);
        result
    }

    /// The changed transactions' rows, sealed.
    pub fn sealed_transactions(&self) -> Result<Vec<(Vec<u8>, crate::keys::Sealed)>, No> {
        let mut rows = Vec::with_capacity(self.dirty.len());
        for id in &self.dirty {
            let Some(Slot::Open(state)) = self.slots.get(id) else {
                continue;
            };
            let name = sealing_key(state);
            let key = self
                .ring
                .find(&name, self.now)
                .ok_or_else(|| No::Keys(format!("no key for {name}")))?;
            let row = Row::transaction(state.site(), *id);
            let sealed = self.ring.seal(key, &row.place(), &state.encode())?;
            rows.push((row.key, sealed));
        }
        Ok(rows)
    }
}

/// Where an entry stands.
pub(super) struct Entered {
    pub index: u64,
    pub leaf: [u8; 32],
}

/// The bucket whose key seals a transaction.
pub(super) fn release_bucket(state: &TransactionState) -> KeyName {
    KeyName::Release {
        site: state.site(),
        day: state.terms.release_until.day(),
    }
}

/// The name of the key that seals a transaction: its bucket's, or a hold's.
pub(super) fn sealing_key(state: &TransactionState) -> KeyName {
    state.held.unwrap_or_else(|| release_bucket(state))
}

/// Opens a transaction's row; `None` when its key was destroyed.
///
/// # Errors
/// What is wrong with the row, in a constant.
pub(super) fn open_row(
    ring: &Keyring,
    id: TransactionId,
    bytes: Vec<u8>,
) -> Result<Option<TransactionState>, &'static str> {
    let sealed = crate::keys::Sealed::from_stored(bytes).map_err(|_| "transaction row: shape")?;
    let name = ring.name_of(sealed.key_id());
    let (site, held) = match ring.key(sealed.key_id()).map(|record| record.name()) {
        Ok(KeyName::Release { site, .. }) => (site, None),
        Ok(name @ KeyName::Hold { site, .. }) => (site, Some(name)),
        Ok(_) => return Err("transaction row: sealed under a key of another purpose"),
        Err(crate::keys::KeyError::Destroyed(_)) => {
            // The end of an earlier generation ended no row: they were sealed anew before it.
            return match name.is_some_and(|name| ring.is_gone(&name)) {
                true => Ok(None),
                false => {
                    Err("transaction row: sealed under a key that others followed, and put back")
                }
            };
        }
        Err(_) => return Err("transaction row: unknown key"),
    };
    let row = Row::transaction(site, id);
    let plaintext = match ring.open(&row.place(), &sealed) {
        Ok(plaintext) => plaintext,
        Err(EnvelopeError::DestroyedKey(_)) => return Ok(None),
        Err(_) => return Err("transaction row: tag"),
    };
    let mut state = TransactionState::decode(&plaintext).map_err(|_| "transaction row: content")?;
    state.held = held;
    if state.site() != site {
        return Err("transaction row: site");
    }
    Ok(Some(state))
}

/// A token's reference.
pub(super) fn reference_of(token: &super::state::TokenState) -> crate::ids::TokenReference {
    crate::payment::Selector(token.selector).reference()
}

/// The site's log bucket key name at `now`.
pub(super) fn log_bucket(site: Site, now: Timestamp) -> KeyName {
    let (year, month) = now.year_month();
    KeyName::Log { site, year, month }
}
