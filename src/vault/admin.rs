//! Changes of principals, allow-list and secrets. Each runs in a round of its own, so that the
//! registry that it leaves behind is the one that the next round sees.

use super::batch::{Batch, Effect, No};
use super::command::{Admin, Caller, Done, Note};
use super::key_changes::Need;
use super::registry::{Change, Pending, Registry};
use super::rows::Row;
use crate::clock::Timestamp;
use crate::ids::{ActionId, PrincipalId, Site};
use crate::keys::{KeyName, Tries};
use crate::ledger::{Entry, Event, Outcome};
use crate::limits;
use crate::policy::{Allowance, AllowanceKey, Denial, Principal, Role, Rpc};
use std::sync::Arc;

impl Batch<'_> {
    /// Does one change.
    pub(super) fn administrate(
        &mut self,
        caller: &Caller,
        admin: &Admin,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        match admin {
            Admin::CreatePrincipal(principal) => {
                // At `init` the vault itself enrols the first operators.
                if !caller.is_vault() {
                    self.admit(caller, Rpc::CreatePrincipal)?;
                }
                entry.detail.insert("principal", principal.name.clone());
                entry
                    .detail
                    .insert("role", principal.role.as_str().to_owned());
                self.check_room(principal)?;
                let rebinds = matches!(principal.role, Role::Processor | Role::Operator);
                if rebinds
                    && let Some(done) =
                        self.defer(caller, Change::Enrol(principal.clone()), entry)?
                {
                    return Ok(done);
                }
                self.enrol(principal.clone(), entry)
            }
            Admin::DisablePrincipal(id) => {
                let by = self.admit(caller, Rpc::DisablePrincipal)?;
                let mut principal = self.named(*id, entry)?;
                if by.id == principal.id {
                    return Err(Denial::NotApplicable.into());
                }
                principal.disabled = true;
                self.replace(principal, entry)
            }
            Admin::SetSecret(id, hash) => {
                self.admit(caller, Rpc::RotateSecret)?;
                let mut principal = self.named(*id, entry)?;
                if !principal.role.is_human() {
                    return Err(Denial::NotApplicable.into());
                }
                principal.secret_hash = hash.clone();
                principal.bad_tries = 0;
                principal.locked_until = Timestamp(0);
                self.replace(principal, entry)
            }
            Admin::SetAllowance(key, allowance) => {
                if !caller.is_vault() {
                    self.admit(caller, Rpc::SetAllowance)?;
                }
                describe_allowance(key, allowance.as_ref(), entry);
                self.check_allowance(key)?;
                self.check_allowances(key, allowance.as_ref())?;
                let change = Change::Allow(*key, *allowance);
                if let Some(done) = self.defer(caller, change, entry)? {
                    return Ok(done);
                }
                self.allow(*key, *allowance, entry)
            }
            Admin::ConfirmRestore => {
                self.admit(caller, Rpc::ConfirmRestore)?;
                self.check_restored(self.head.epoch)?;
                let change = Change::ConfirmRestore(self.head.epoch);
                if let Some(done) = self.defer(caller, change, entry)? {
                    return Ok(done);
                }
                self.confirm_restore(entry)
            }
            Admin::ConfirmClock => {
                self.admit(caller, Rpc::ConfirmClock)?;
                let off_ms = self.clock_off_ms;
                self.check_clock(off_ms)?;
                if let Some(done) = self.defer(caller, Change::ConfirmClock(off_ms), entry)? {
                    return Ok(done);
                }
                self.confirm_clock(entry)
            }
            Admin::RotateKey(name) => self.rotate_key(caller, *name),
            Admin::RewrapKeys => self.rewrap_keys(caller),
            Admin::CompromiseKey(key) => {
                self.admit(caller, Rpc::CompromiseKey)?;
                let label = match self.granted {
                    // A vault with one operator: the keyring did it for this round.
                    Some(Need::Compromise(_)) => {
                        self.check_approved_compromise(*key, entry)?;
                        String::new()
                    }
                    _ => self.check_compromise(*key, entry)?,
                };
                let change = Change::Compromise(*key, label);
                if let Some(done) = self.defer(caller, change, entry)? {
                    return Ok(done);
                }
                self.compromise_key(*key, entry)
            }
            Admin::PlaceHold(asked) => self.ask_hold(caller, asked, entry),
            Admin::LiftHold(id) => self.ask_lift(caller, *id, entry),
            Admin::Approve(id) => self.approve(caller, *id, entry),
            Admin::LoginTried(good) => self.login_tried(caller, *good, entry),
            Admin::LoggedOut => {
                self.admit(caller, Rpc::Logout)?;
                let entry = self.enter(entry)?.index;
                Ok(Done::Noted { entry })
            }
            Admin::ShareAcknowledged(custodian) => {
                self.admit(caller, Rpc::Unseal)?;
                entry.detail.insert("custodian", custodian.clone());
                let entry = self.enter(entry)?.index;
                Ok(Done::Noted { entry })
            }
            Admin::Seen(id) => {
                let mut principal = self.named(*id, entry)?;
                principal.last_seen = self.now;
                self.store_principal(principal)?;
                Ok(Done::Noted {
                    entry: self.next_index(),
                })
            }
        }
    }

    fn named(&self, id: PrincipalId, entry: &mut Entry) -> Result<Principal, No> {
        let principal = self
            .registry
            .principal(id)
            .ok_or(Denial::UnknownPrincipal)?;
        entry.detail.insert("principal", principal.name.clone());
        Ok(Principal::clone(principal))
    }

    /// Keeps a change for a second operator, when the vault has two.
    pub(super) fn defer(
        &mut self,
        caller: &Caller,
        change: Change,
        entry: &mut Entry,
    ) -> Result<Option<Done>, No> {
        let Some(by) = caller.id() else {
            return Ok(None);
        };
        if self.head.single_operator {
            return Ok(None);
        }
        let mut registry = Registry::clone(&self.registry);
        let now = self.now;
        let lapsed: Vec<ActionId> = registry
            .pending()
            .filter(|(_, p)| p.expires_at <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in lapsed {
            registry.settle(&id);
            self.writes.push((Row::pending(id).key, None));
        }
        if registry.pending().count() >= limits::PENDING_ACTIONS_MAX {
            return Err(Denial::TooMany.into());
        }
        let id = ActionId::random();
        let pending = Pending {
            requested_by: by,
            expires_at: now.plus_ms(limits::PENDING_ACTION_MS),
            change,
        };
        entry.event = Event::ActionRequested;
        entry.detail.insert("action", id.to_string());
        entry.detail.insert("summary", pending.change.summary());
        self.seal_row(Row::pending(id), &pending.encode())?;
        registry.defer(id, pending);
        self.enter(entry)?;
        self.adopt(registry);
        tracing::warn!(alarm = "second operator", action = %id, "an action waits for approval");
        Ok(Some(Done::Pending(id)))
    }

    fn approve(&mut self, caller: &Caller, id: ActionId, entry: &mut Entry) -> Result<Done, No> {
        let by = self.admit(caller, Rpc::ApproveAction)?;
        entry.detail.insert("action", id.to_string());
        let pending = self
            .registry
            .pending_action(&id)
            .filter(|p| p.expires_at > self.now)
            .cloned()
            .ok_or(Denial::NotPending)?;
        if pending.requested_by == by.id {
            return Err(Denial::SameOperator.into());
        }
        // Who asked may have been disabled since.
        let asker = self
            .registry
            .principal(pending.requested_by)
            .filter(|p| !p.disabled)
            .cloned()
            .ok_or(Denial::NotPending)?;
        // What was asked for must still be possible, before anything is changed or said.
        match &pending.change {
            Change::Enrol(principal) => self.check_room(principal)?,
            Change::Allow(key, allowance) => {
                self.check_allowance(key)?;
                self.check_allowances(key, allowance.as_ref())?;
            }
            Change::ConfirmRestore(epoch) => self.check_restored(*epoch)?,
            Change::ConfirmClock(off_ms) => self.check_clock(*off_ms)?,
            Change::Compromise(key, _) => {
                self.check_approved_compromise(*key, entry)?;
                self.require(Need::Compromise(*key))?;
            }
            Change::PlaceHold(..) => self.check_holds()?,
            Change::LiftHold(hold) => self.check_hold(*hold)?,
        }
        let mut registry = Registry::clone(&self.registry);
        registry.settle(&id);
        self.adopt(registry);
        self.writes.push((Row::pending(id).key, None));
        entry.detail.insert("requested_by", asker.name.clone());
        entry.detail.insert("summary", pending.change.summary());
        let approval = self.enter(entry)?.index;
        let mut act = self.draft(caller, Event::PrincipalCreated);
        act.detail.insert("requested_by", asker.name.clone());
        match pending.change {
            Change::Enrol(principal) => {
                act.detail.insert("principal", principal.name.clone());
                act.detail
                    .insert("role", principal.role.as_str().to_owned());
                self.enrol(principal, &mut act)?;
            }
            Change::Allow(key, allowance) => {
                act.event = Event::AllowanceSet;
                describe_allowance(&key, allowance.as_ref(), &mut act);
                self.allow(key, allowance, &mut act)?;
            }
            Change::ConfirmRestore(_) => {
                act.event = Event::RestoreConfirmed;
                self.confirm_restore(&mut act)?;
            }
            Change::ConfirmClock(_) => {
                act.event = Event::ClockConfirmed;
                self.confirm_clock(&mut act)?;
            }
            Change::Compromise(key, label) => {
                act.event = Event::KeyCompromised;
                act.detail.insert(crate::ledger::DETAIL_KEY, label);
                self.compromise_key(key, &mut act)?;
            }
            Change::PlaceHold(hold_id, hold) => {
                act.event = Event::HoldPlaced;
                self.place_hold(hold_id, hold, &mut act)?;
            }
            Change::LiftHold(hold) => {
                act.event = Event::HoldLifted;
                self.lift_hold(hold, &mut act)?;
            }
        }
        Ok(Done::Noted { entry: approval })
    }

    fn enrol(&mut self, principal: Principal, entry: &mut Entry) -> Result<Done, No> {
        let second = principal.role == Role::Operator && self.registry.operators() >= 1;
        if second && self.head.single_operator {
            self.effects.push(Effect::TwoOperators);
            entry
                .detail
                .insert("note", "from now on two operators are needed".to_owned());
        }
        if matches!(principal.role, Role::Processor | Role::Operator) {
            tracing::warn!(alarm = "credential", principal = %principal.name, role = principal.role.as_str(), "enrolled");
        }
        entry
            .detail
            .insert("certificate", principal.certificate_uri.clone());
        self.replace(principal, entry)
    }

    /// Whether a restore waits to be confirmed, and it is the one that opened this epoch: an action
    /// that a backup brought along confirms nothing.
    fn check_restored(&self, epoch: u32) -> Result<(), No> {
        if self.head.restored.is_none() || self.head.epoch != epoch {
            return Err(Denial::NotPending.into());
        }
        Ok(())
    }

    /// Lets tokens from before a restore be redeemed again.
    fn confirm_restore(&mut self, entry: &mut Entry) -> Result<Done, No> {
        entry.detail.insert("epoch", self.head.epoch.to_string());
        let entry = self.enter(entry)?.index;
        self.effects.push(Effect::RestoreConfirmed);
        tracing::warn!(
            alarm = "restore",
            "tokens from before the restore are redeemed again"
        );
        Ok(Done::Noted { entry })
    }

    /// Whether the clock is suspect, and by the same step: what one operator saw is what the other
    /// confirms.
    fn check_clock(&self, off_ms: i64) -> Result<(), No> {
        let same = self.clock_off_ms.abs_diff(off_ms) <= limits::CLOCK_STEP_MS;
        match self.clock_suspect && same {
            true => Ok(()),
            false => Err(Denial::NotPending.into()),
        }
    }

    /// Takes what the clock shows for right: from the next round on time is the clock's, though
    /// never before the last entry's.
    fn confirm_clock(&mut self, entry: &mut Entry) -> Result<Done, No> {
        entry
            .detail
            .insert("off_ms", signed_words(self.clock_off_ms));
        let entry = self.enter(entry)?.index;
        self.effects.push(Effect::ClockConfirmed);
        tracing::warn!(alarm = "clock", "operators confirmed what the clock shows");
        Ok(Done::Noted { entry })
    }

    /// Writes a principal's row and its entry.
    fn replace(&mut self, principal: Principal, entry: &mut Entry) -> Result<Done, No> {
        let index = self.enter(entry)?.index;
        self.store_principal(principal)?;
        Ok(Done::Noted { entry: index })
    }

    fn store_principal(&mut self, principal: Principal) -> Result<(), No> {
        self.seal_row(Row::principal(principal.id), &principal.encode())?;
        let mut registry = Registry::clone(&self.registry);
        registry.put(principal);
        self.adopt(registry);
        Ok(())
    }

    /// Lets the rest of this round see a changed registry, and the vault once it is durable.
    pub(super) fn adopt(&mut self, registry: Registry) {
        self.registry = Arc::new(registry);
        self.effects
            .push(Effect::Registry(Arc::clone(&self.registry)));
    }

    fn check_allowance(&self, key: &AllowanceKey) -> Result<(), No> {
        let is = |id, role| {
            self.registry
                .principal(id)
                .is_some_and(|p| p.role == role && p.serves(key.site))
        };
        if !is(key.portal, Role::Portal) || !is(key.processor, Role::Processor) {
            return Err(Denial::UnknownPrincipal.into());
        }
        Ok(())
    }

    /// Whether one more principal may come, under its name and credential.
    fn check_room(&self, principal: &Principal) -> Result<(), No> {
        self.registry.is_free(principal)?;
        if self.registry.len() >= limits::PRINCIPALS_MAX {
            return Err(Denial::TooMany.into());
        }
        Ok(())
    }

    fn check_allowances(&self, key: &AllowanceKey, to: Option<&Allowance>) -> Result<(), No> {
        let is_new = to.is_some() && self.registry.allowance(key).is_none();
        if is_new && self.registry.allowances().count() >= limits::ALLOWANCES_MAX {
            return Err(Denial::TooMany.into());
        }
        Ok(())
    }

    fn allow(
        &mut self,
        key: AllowanceKey,
        allowance: Option<Allowance>,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        entry.site = key.site;
        let index = self.enter(entry)?.index;
        let row = Row::allowance(&key);
        match &allowance {
            Some(allowance) => self.seal_row(row, &allowance.encode())?,
            None => self.writes.push((row.key, None)),
        }
        let mut registry = Registry::clone(&self.registry);
        registry.allow(key, allowance);
        self.adopt(registry);
        Ok(Done::Noted { entry: index })
    }

    /// Counts a try to log in (PCI DSS 8.3.4). While locked even the right secret is refused, and
    /// the lock outlives a restart since it is in the row.
    fn login_tried(&mut self, caller: &Caller, good: bool, entry: &mut Entry) -> Result<Done, No> {
        let principal = self.admit(caller, Rpc::Login)?;
        if principal.locked_until > self.now {
            return Err(Denial::Locked.into());
        }
        let mut changed = Principal::clone(&principal);
        if good {
            changed.last_seen = self.now;
            let dirty =
                changed.bad_tries != 0 || changed.last_seen.day() != principal.last_seen.day();
            changed.bad_tries = 0;
            let index = self.enter(entry)?.index;
            if dirty {
                self.store_principal(changed)?;
            }
            return Ok(Done::Noted { entry: index });
        }
        changed.bad_tries += 1;
        if changed.bad_tries >= limits::BAD_TRIES_MAX {
            changed.bad_tries = 0;
            changed.locked_until = self.now.plus_ms(limits::LOCK_MS);
            entry
                .detail
                .insert("locked_until", changed.locked_until.to_string());
            tracing::warn!(alarm = "locked", principal = %changed.name, "too many bad tries");
        }
        self.store_principal(changed)?;
        Err(Denial::BadSecret.into())
    }

    /// Writes what the vault notes by itself.
    pub(super) fn note(&mut self, note: &Note, entry: &mut Entry) -> Result<Done, No> {
        match note {
            Note::Tick => {
                self.sum_refusals(false)?;
                return Ok(Done::Noted {
                    entry: self.next_index(),
                });
            }
            Note::MoveHeld(moves) => {
                self.move_held(moves)?;
                return Ok(Done::Noted {
                    entry: self.next_index(),
                });
            }
            // Its key was made before the round.
            Note::CollectKey => {
                return Ok(Done::Noted {
                    entry: self.next_index(),
                });
            }
            Note::Sweep(gone) => {
                self.sweep(gone);
                return Ok(Done::Noted {
                    entry: self.next_index(),
                });
            }
            Note::Prune(pages) => {
                self.prune(pages);
                return Ok(Done::Noted {
                    entry: self.next_index(),
                });
            }
            Note::Handshakes(counts) => {
                for (origin, count) in counts {
                    let mut sum = Entry::new(
                        Event::HandshakesRefused,
                        Outcome::Denied,
                        Site::VAULT,
                        self.now,
                    );
                    sum.epoch = self.head.epoch;
                    sum.origin = origin.clone();
                    sum.detail.insert("count", count.to_string());
                    self.enter(&mut sum)?;
                }
                return Ok(Done::Noted {
                    entry: self.next_index(),
                });
            }
            Note::Started { findings } => {
                for (number, finding) in findings.iter().take(FINDINGS.len()).enumerate() {
                    entry.detail.insert(FINDINGS[number], finding.clone());
                }
            }
            Note::UnsealRefused(tries) => return self.unseal_refused(tries),
            Note::Unsealed { seal, custodians } => {
                entry.detail.insert("seal", (*seal).to_owned());
                if !custodians.is_empty() {
                    entry.detail.insert("custodians", custodians.clone());
                }
            }
            Note::ResealBegun { from, to } => {
                entry.detail.insert("from", (*from).to_owned());
                entry.detail.insert("to", (*to).to_owned());
            }
            Note::Resealed { result } => match result {
                Ok(detail) => entry.detail = detail.iter().cloned().collect(),
                Err(why) => {
                    entry.outcome = Outcome::Failed;
                    entry.detail.insert("why", why.clone());
                }
            },
            Note::BackupEnded { done, detail } => {
                if !done {
                    entry.outcome = Outcome::Failed;
                }
                entry.detail = detail.iter().cloned().collect();
            }
            Note::EpochOpened(opened) => {
                let closed = &opened.closed;
                let missing = opened.missing.map(|count| count.to_string());
                let about = [
                    ("backup", opened.backup.clone()),
                    ("missing", missing.unwrap_or_else(|| "unknown".to_owned())),
                    ("old_epoch", closed.epoch.to_string()),
                    ("old_root", crate::ledger::to_base64(&closed.root)),
                    ("old_size", closed.size.to_string()),
                ];
                entry.detail = about.into_iter().collect();
                if let Some((epoch, size, root)) = &opened.known {
                    entry.detail.insert("known_epoch", epoch.to_string());
                    let root = crate::ledger::to_base64(root);
                    entry.detail.insert("known_root", root);
                    entry.detail.insert("known_size", size.to_string());
                }
                if opened.findings > 0 {
                    entry.detail.insert("findings", opened.findings.to_string());
                }
                self.seal_row(Row::closed_epoch(closed.epoch), &closed.encode())?;
            }
            Note::Stopped | Note::Sealed => self.sum_refusals(true)?,
            Note::Created => {}
        }
        let entry = self.enter(entry)?.index;
        Ok(Done::Noted { entry })
    }

    /// Enters failed tries to unseal: one entry a kind, and one for what wasn't told apart.
    fn unseal_refused(&mut self, tries: &Tries) -> Result<Done, No> {
        let refused = |now, event, epoch| {
            let mut entry = Entry::new(event, Outcome::Denied, Site::VAULT, now);
            entry.epoch = epoch;
            entry
        };
        for kind in &tries.kinds {
            let mut entry = refused(self.now, Event::UnsealRefused, self.head.epoch);
            entry.reason = kind.reason.as_str();
            entry.origin = kind.origin.clone();
            entry.detail.insert("certificate", kind.uri.clone());
            entry.detail.insert("count", kind.count.to_string());
            entry.detail.insert("first", kind.first.to_string());
            entry.detail.insert("last", kind.last.to_string());
            self.enter(&mut entry)?;
        }
        if tries.others > 0 {
            let mut entry = refused(self.now, Event::DenialsSummed, self.head.epoch);
            entry.detail.insert("count", tries.others.to_string());
            let of = Event::UnsealRefused.as_str().to_owned();
            entry.detail.insert("of", of);
            self.enter(&mut entry)?;
        }
        Ok(Done::Noted {
            entry: self.next_index(),
        })
    }

    /// Writes how many refusals got no entry of their own.
    fn sum_refusals(&mut self, all: bool) -> Result<(), No> {
        for (source, count) in self.floods.sums(self.now, all) {
            let mut sum = Entry::new(Event::DenialsSummed, Outcome::Denied, Site::VAULT, self.now);
            sum.epoch = self.head.epoch;
            sum.actor = source.principal;
            if let Some(p) = source.principal.and_then(|id| self.registry.principal(id)) {
                sum.actor_name = p.name.clone();
                sum.role = p.role.as_str();
            }
            sum.origin = match source.origin {
                origin if origin.is_empty() => "-".to_owned(),
                origin => origin,
            };
            sum.detail.insert("count", count.to_string());
            self.enter(&mut sum)?;
        }
        Ok(())
    }

    /// Seals a row of the vault's own and puts it into the round.
    pub(super) fn seal_row(&mut self, row: Row, plaintext: &[u8]) -> Result<(), No> {
        let key = self
            .ring
            .find(&KeyName::Vault, self.now)
            .ok_or_else(|| No::Keys("no vault key".to_owned()))?;
        let sealed = self.ring.seal(key, &row.place(), plaintext)?;
        // One word on each row: the redo record names what the round leaves.
        self.writes.retain(|(key, _)| *key != row.key);
        self.writes.push((row.key, Some(sealed)));
        Ok(())
    }
}

/// How far off a clock was, in a fact of an entry.
fn signed_words(off_ms: i64) -> String {
    match off_ms {
        ..0 => format!("{} behind", off_ms.unsigned_abs()),
        _ => format!("{off_ms} ahead"),
    }
}

/// Names of what was found at the start, in an entry's detail.
const FINDINGS: [&str; 4] = ["finding_1", "finding_2", "finding_3", "finding_4"];

fn describe_allowance(key: &AllowanceKey, allowance: Option<&Allowance>, entry: &mut Entry) {
    entry.detail.insert("portal", key.portal.to_string());
    entry.detail.insert("processor", key.processor.to_string());
    entry.detail.insert("for_site", key.site.to_string());
    match allowance {
        None => entry.detail.insert("allowance", "taken away".to_owned()),
        Some(a) => entry.detail.insert("allowance", a.to_string()),
    };
}
