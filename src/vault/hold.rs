//! Legal holds: what a court or regulator wants kept beats every clock. A hold has a key of its own.
//! When a bucket ends, the transactions that a hold covers are sealed anew under the hold's key, and
//! nothing else is; lifting it ends that key. A record that several holds cover goes from one to the
//! next. Whoever wants to read a held record still needs its token.

use super::batch::{Act, Batch, No, Slot, open_row};
use super::command::{Caller, Done};
use super::open_transaction::unreadable_after;
use super::registry::{Change, Registry};
use super::rows::Row;
use super::state::TransactionState;
use crate::clock::Timestamp;
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{HoldId, Site, TransactionId};
use crate::keys::KeyName;
use crate::ledger::Entry;
use crate::limits;
use crate::policy::{Denial, Rpc};
use crate::secret::SecretBuffer;

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The site.
    pub site: Site,
    /// The one transaction that it covers; none when it covers all of its time.
    pub transaction: Option<TransactionId>,
    /// Transactions opened at or after this …
    pub from: Timestamp,
    /// … and before this. Of a hold on one transaction: the time in which it has entries.
    pub until: Timestamp,
    /// The case's reference.
    pub case: String,
    /// When it was placed.
    pub placed_at: Timestamp,
}

/// What an operator wants held.
pub struct HoldRequest {
    /// The case's reference.
    pub case: String,
    /// What it covers.
    pub scope: HoldScope,
}

/// What a hold covers.
pub enum HoldScope {
    /// One transaction.
    Transaction(TransactionId),
    /// All transactions of a site that were opened in a time.
    Range {
        /// The site.
        site: Site,
        /// At or after.
        from: Timestamp,
        /// Before.
        until: Timestamp,
    },
}

impl Hold {
    /// Whether it covers a transaction.
    pub(super) fn covers(&self, id: TransactionId, state: &TransactionState) -> bool {
        self.site == state.site()
            && match self.transaction {
                Some(own) => own == id,
                None => (self.from..self.until).contains(&state.opened_at),
            }
    }

    /// Whether entries that it covers may lie in a month of a site's log.
    pub(super) fn covers_month(&self, site: Site, month: (i16, u8)) -> bool {
        let last = Timestamp(self.until.0.saturating_sub(1));
        // A range is of openings: what was opened last may be released for so long, and closed and
        // reported on while its end is pending.
        let last = match self.transaction {
            Some(_) => last,
            None => last.plus_ms(limits::RELEASE_MS_MAX + limits::PENDING_DESTRUCTION_MS),
        };
        self.site == site && self.from.year_month() <= month && month <= last.year_month()
    }

    /// What it covers, in words.
    pub fn scope(&self) -> String {
        match self.transaction {
            Some(transaction) => transaction.to_string(),
            None => format!("{} from {} until {}", self.site, self.from, self.until),
        }
    }

    /// The row, as `docs/format.md` §6 has it.
    pub fn encode(&self) -> SecretBuffer {
        let mut w = Writer::with_capacity(160);
        w.u8(1).raw(self.site.as_bytes());
        match &self.transaction {
            Some(transaction) => w.u8(1).raw(&transaction.0),
            None => w.u8(0),
        };
        w.u64(self.from.0)
            .u64(self.until.0)
            .str(&self.case)
            .u64(self.placed_at.0);
        w.finish()
    }

    /// Reads the row.
    ///
    /// # Errors
    /// When it does not have the shape of §6.
    pub fn decode(bytes: &[u8]) -> Result<Hold, Malformed> {
        let mut r = Reader::new(bytes);
        if r.u8()? != 1 {
            return Err(Malformed::new("hold: unknown version"));
        }
        let site = Site::from_bytes(r.array()?)?;
        let transaction = match r.bool()? {
            true => Some(TransactionId(r.array()?)),
            false => None,
        };
        let hold = Hold {
            site,
            transaction,
            from: Timestamp(r.u64()?),
            until: Timestamp(r.u64()?),
            case: r.str()?.to_owned(),
            placed_at: Timestamp(r.u64()?),
        };
        r.end()?;
        Ok(hold)
    }

    /// The name of its key.
    pub(super) fn key(&self, id: HoldId) -> KeyName {
        KeyName::Hold {
            site: self.site,
            hold: id,
        }
    }
}

impl Registry {
    /// The first hold that covers a transaction; `but` is left out.
    pub(super) fn holder(
        &self,
        id: TransactionId,
        state: &TransactionState,
        but: Option<HoldId>,
    ) -> Option<(HoldId, &Hold)> {
        self.holds()
            .filter(|(own, _)| Some(**own) != but)
            .find(|(_, hold)| hold.covers(id, state))
            .map(|(own, hold)| (*own, hold))
    }
}

impl Batch<'_> {
    /// `PlaceHold`.
    pub(super) fn ask_hold(
        &mut self,
        caller: &Caller,
        asked: &HoldRequest,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        self.admit(caller, Rpc::PlaceHold)?;
        entry.detail.insert("case", asked.case.clone());
        self.check_holds()?;
        let placed_at = self.now;
        let case = asked.case.clone();
        let hold = match asked.scope {
            HoldScope::Range { site, from, until } => {
                if !self.sites.contains_key(&site) {
                    return Err(Denial::SiteNotAllowed.into());
                }
                Hold {
                    site,
                    transaction: None,
                    from,
                    until,
                    case,
                    placed_at,
                }
            }
            HoldScope::Transaction(id) => self.on(id, entry, |_, state, _| {
                Ok(Act::Seen(Hold {
                    site: state.site(),
                    transaction: Some(id),
                    from: state.opened_at,
                    until: unreadable_after(state),
                    case,
                    placed_at,
                }))
            })?,
        };
        entry.prev = None;
        let id = HoldId::random();
        let change = Change::PlaceHold(id, hold.clone());
        if let Some(done) = self.defer(caller, change, entry)? {
            return Ok(done);
        }
        self.place_hold(id, hold, entry)
    }

    /// `LiftHold`.
    pub(super) fn ask_lift(
        &mut self,
        caller: &Caller,
        id: HoldId,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        self.admit(caller, Rpc::LiftHold)?;
        entry.detail.insert("hold", id.to_string());
        self.check_hold(id)?;
        if let Some(done) = self.defer(caller, Change::LiftHold(id), entry)? {
            return Ok(done);
        }
        self.lift_hold(id, entry)
    }

    pub(super) fn check_holds(&self) -> Result<(), No> {
        match self.registry.holds().count() < limits::HOLDS_MAX {
            true => Ok(()),
            false => Err(Denial::TooMany.into()),
        }
    }

    pub(super) fn check_hold(&self, id: HoldId) -> Result<(), No> {
        match self.registry.hold(id) {
            Some(_) => Ok(()),
            None => Err(Denial::UnknownHold.into()),
        }
    }

    pub(super) fn place_hold(
        &mut self,
        id: HoldId,
        hold: Hold,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        tell(id, &hold, entry);
        let index = self.enter(entry)?.index;
        self.seal_row(Row::hold(id), &hold.encode())?;
        let mut registry = Registry::clone(&self.registry);
        registry.place(id, hold);
        self.adopt(registry);
        Ok(Done::Noted { entry: index })
    }

    pub(super) fn lift_hold(&mut self, id: HoldId, entry: &mut Entry) -> Result<Done, No> {
        let hold = self.registry.hold(id).cloned().ok_or(Denial::UnknownHold)?;
        tell(id, &hold, entry);
        let index = self.enter(entry)?.index;
        self.writes.push((Row::hold(id).key, None));
        let mut registry = Registry::clone(&self.registry);
        registry.lift(id);
        self.adopt(registry);
        Ok(Done::Noted { entry: index })
    }

    /// Seals transactions anew under the keys of holds that cover them.
    pub(super) fn move_held(&mut self, moves: &[(TransactionId, KeyName)]) -> Result<(), No> {
        for (id, name) in moves {
            let Some(Slot::Stored(bytes)) = self.slots.remove(id) else {
                return Err(No::Keys("a held row is gone".to_owned()));
            };
            let opened = open_row(self.ring, *id, bytes);
            let Ok(Some(mut state)) = opened else {
                return Err(No::Keys("a held row does not open".to_owned()));
            };
            state.held = Some(*name);
            self.slots.insert(*id, Slot::Open(Box::new(state)));
            self.dirty.push(*id);
        }
        Ok(())
    }
}

fn tell(id: HoldId, hold: &Hold, entry: &mut Entry) {
    entry.site = hold.site;
    entry.transaction = hold.transaction;
    entry.prev = None;
    entry.detail.insert("hold", id.to_string());
    entry.detail.insert("case", hold.case.clone());
    entry.detail.insert("covers", hold.scope());
}
