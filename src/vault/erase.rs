//! Erasure on request: what can end at once ends at once, the rest when its period does, and the
//! answer says when and by which rule.

use super::batch::{Act, Batch, Effect, No, release_bucket};
use super::command::{Caller, Done};
use super::open_transaction::unreadable_after;
use crate::clock::Timestamp;
use crate::ids::{Site, TransactionId};
use crate::keys::{KeyName, KeyState};
use crate::ledger::Entry;
use crate::limits;
use crate::policy::{Denial, Rpc};

/// What an operator asks for.
pub struct ErasureRequest {
    /// The transaction.
    pub transaction: TransactionId,
    /// Whose request it is; may be empty.
    pub reference: String,
    /// Site and month of the transaction's last entries, as an earlier answer named them: once the
    /// account data is gone nothing in the vault tells.
    pub last: Option<(Site, (i16, u8))>,
}

/// How an erasure stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Nothing of the transaction can be read any more.
    pub erased: bool,
    /// The rule that keeps what is left; empty when nothing is, or none is configured.
    pub rule: String,
    /// From when on nothing is redeemed.
    pub redemption_ended_at: Timestamp,
    /// When the account data ends; none when there is none.
    pub details_until: Option<Timestamp>,
    /// The key that ends it.
    pub details_key: Option<KeyName>,
    /// When the masked entries end at the latest; none when they are gone, or no rule ends them.
    pub entries_until: Option<Timestamp>,
    /// The key that ends them.
    pub entries_key: Option<KeyName>,
    /// Cases of the holds that keep all of it, whatever the rule says.
    pub held_for: Vec<String>,
    /// Index of the entry about the request.
    pub entry: u64,
}

impl Batch<'_> {
    /// `EraseTransaction`.
    pub(super) fn erase(
        &mut self,
        caller: &Caller,
        asked: &ErasureRequest,
        entry: &mut Entry,
    ) -> Result<Done, No> {
        self.admit(caller, Rpc::EraseTransaction)?;
        if !asked.reference.is_empty() {
            entry.detail.insert("reference", asked.reference.clone());
        }
        let found = self.on(asked.transaction, entry, |batch, state, entry| {
            state.closed = true;
            for token in &state.tokens {
                batch.effects.push(Effect::Wipe(token.selector));
            }
            let site = state.site();
            // Entries after the last release tell of no new one.
            let last = batch.now.min(state.terms.release_until).year_month();
            let mut erasure = batch.entries_of(site, last);
            erasure.erased = false;
            let id = asked.transaction;
            let holds = batch.registry.holds();
            let holding = holds.filter(|(_, hold)| hold.covers(id, state));
            erasure.held_for = holding.map(|(_, hold)| hold.case.clone()).collect();
            if erasure.held_for.is_empty() && state.held.is_none() {
                erasure.details_until = Some(unreadable_after(state));
                erasure.details_key = Some(release_bucket(state));
            } else {
                // A hold beats every clock: nobody can say yet when it ends.
                erasure.entries_until = None;
            }
            tell(&erasure, entry);
            erasure.entry = batch.next_index();
            Ok(Act::Changed(erasure))
        });
        match found {
            Ok(erasure) => Ok(Done::Erasure(Box::new(erasure))),
            Err(No::Denied(Denial::UnknownTransaction)) => {
                // Without a row it can't be said that the transaction ever was.
                entry.transaction = None;
                entry.prev = None;
                entry
                    .detail
                    .insert("asked_for", asked.transaction.to_string());
                let mut erasure = match asked.last {
                    Some((site, month)) => {
                        entry.site = site;
                        self.entries_of(site, month)
                    }
                    None => self.entries_of_any(),
                };
                tell(&erasure, entry);
                erasure.entry = self.enter(entry)?.index;
                Ok(Done::Erasure(Box::new(erasure)))
            }
            Err(no) => Err(no),
        }
    }

    /// How long the entries of a site and month are kept. No account data.
    fn entries_of(&self, site: Site, (year, month): (i16, u8)) -> Erasure {
        let name = KeyName::Log { site, year, month };
        let mut keys = self.ring.list().filter(|key| key.name() == name).peekable();
        let gone = keys.peek().is_some() && keys.all(|key| key.state() == KeyState::Destroyed);
        let rule = self.retention.get(&site);
        let until = rule.map(|rule| {
            let ended = rule.kept_until(year, month);
            ended.plus_ms(limits::PENDING_DESTRUCTION_MS)
        });
        Erasure {
            erased: gone,
            rule: match (gone, rule) {
                (false, Some(rule)) => rule.source.clone(),
                _ => String::new(),
            },
            redemption_ended_at: self.now,
            details_until: None,
            details_key: None,
            entries_until: until.filter(|_| !gone),
            entries_key: Some(name),
            held_for: Vec::new(),
            entry: 0,
        }
    }

    /// The longest that entries which exist now are kept, at whichever site.
    fn entries_of_any(&self) -> Erasure {
        let (year, month) = self.now.year_month();
        let longest = self
            .retention
            .iter()
            .max_by_key(|(_, rule)| rule.kept_until(year, month));
        match longest {
            Some((site, _)) => Erasure {
                erased: false,
                entries_key: None,
                ..self.entries_of(*site, (year, month))
            },
            None => Erasure {
                erased: false,
                entries_key: None,
                ..self.entries_of(Site::VAULT, (year, month))
            },
        }
    }
}

/// What the entry says of it.
fn tell(erasure: &Erasure, entry: &mut Entry) {
    let done = if erasure.erased { "yes" } else { "no" };
    entry.detail.insert("erased", done.to_owned());
    if !erasure.rule.is_empty() {
        entry.detail.insert("rule", erasure.rule.clone());
    }
    if !erasure.held_for.is_empty() {
        entry.detail.insert("held_for", erasure.held_for.join(" "));
    }
    if let Some(until) = erasure.details_until {
        entry.detail.insert("details_until", until.to_string());
    }
    if let Some(until) = erasure.entries_until {
        entry.detail.insert("entries_until", until.to_string());
    }
}
