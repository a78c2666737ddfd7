//! What an export's open entries say, counted and gathered as they pass: memory stays flat for any
//! size, and what doesn't fit is counted and said.

use super::timeline::{Counts, Timeline, place};
use crate::clock::Timestamp;
use crate::ledger::{Event, Outcome, Recorded};
use std::collections::BTreeMap;

/// Rows of one list; further ones are counted.
const LISTED_MAX: usize = 200;
/// Groups of one table; whoever comes later is counted together.
const GROUPS_MAX: usize = 500;
/// Stretches without an entry that are named.
const SILENCES_MAX: usize = 5;

/// What was gathered.
pub struct Facts {
    /// First and last time.
    pub period: Option<(Timestamp, Timestamp)>,
    /// By outcome.
    pub outcomes: Counts,
    /// By kind.
    pub kinds: BTreeMap<Event, Counts>,
    /// Over time.
    pub timeline: Timeline,
    /// Redemptions by party and purpose: released, released again, refused.
    pub releases: Groups<(String, String)>,
    /// Denials by event and reason.
    pub reasons: Groups<(String, String)>,
    /// Denials by who was refused, and from where.
    pub refused: Groups<(String, String)>,
    /// Keys made and destroyed, the vault sealed and unsealed.
    pub keys: List,
    /// Principals, secrets, the allow-list and approvals.
    pub administration: List,
    /// Starts, stops, steps of the clock, restores, backups.
    pub running: List,
    /// What failed, and what didn't verify.
    pub failures: List,
    /// Exports of the ledger.
    pub exports: List,
    /// The longest stretches between two entries shown: how long, and after which.
    pub silences: Vec<(u64, u64, Timestamp)>,
    /// Starts that no stop went before: the vault ended otherwise.
    pub hard_ends: u64,
    /// Steps of the clock.
    pub clock_steps: u64,
    running_since_start: bool,
    last: Option<(u64, Timestamp)>,
}

/// Counts by group, of which there are so many.
pub struct Groups<K: Ord> {
    /// The groups.
    pub of: BTreeMap<K, Counts>,
    /// What belongs to no group that is kept.
    pub others: Counts,
}

impl<K: Ord> Groups<K> {
    fn new() -> Groups<K> {
        Groups {
            of: BTreeMap::new(),
            others: Counts::default(),
        }
    }

    fn add(&mut self, group: K, place: usize, count: u64) {
        let full = self.of.len() >= GROUPS_MAX && !self.of.contains_key(&group);
        let counts = match full {
            true => &mut self.others,
            false => self.of.entry(group).or_default(),
        };
        counts[place] += count;
    }
}

/// Entries that are named one by one.
#[derive(Default)]
pub struct List {
    /// In the order of the ledger.
    pub rows: Vec<Row>,
    /// How many more there are.
    pub more: u64,
}

/// One entry of a list.
pub struct Row {
    /// Index.
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// Who.
    pub who: String,
    /// Facts, in words.
    pub detail: String,
}

impl List {
    fn add(&mut self, entry: &Recorded<'_>) {
        if self.rows.len() >= LISTED_MAX {
            self.more += 1;
            return;
        }
        let mut detail: Vec<String> = Vec::new();
        if !entry.reason().is_empty() {
            detail.push(entry.reason().to_owned());
        }
        detail.extend(
            entry
                .details()
                .map(|(name, value)| format!("{name}: {value}")),
        );
        self.rows.push(Row {
            index: entry.index,
            at: entry.at,
            event: entry.event,
            outcome: entry.outcome,
            who: who(entry),
            detail: detail.join("; "),
        });
    }
}

impl Facts {
    /// Nothing was seen.
    pub fn new() -> Facts {
        Facts {
            period: None,
            outcomes: Counts::default(),
            kinds: BTreeMap::new(),
            timeline: Timeline::new(),
            releases: Groups::new(),
            reasons: Groups::new(),
            refused: Groups::new(),
            keys: List::default(),
            administration: List::default(),
            running: List::default(),
            failures: List::default(),
            exports: List::default(),
            silences: Vec::new(),
            hard_ends: 0,
            clock_steps: 0,
            running_since_start: false,
            last: None,
        }
    }

    /// An entry passes.
    pub fn saw(&mut self, entry: &Recorded<'_>) {
        let (event, outcome, at) = (entry.event, entry.outcome, entry.at);
        self.silence(entry);
        self.period = Some((self.period.map_or(at, |(first, _)| first), at));
        self.outcomes[place(outcome)] += 1;
        self.kinds.entry(event).or_default()[place(outcome)] += 1;
        self.timeline.saw(at, event, outcome);
        if outcome == Outcome::Denied {
            // An entry that sums up a minute's denials stands for all of them.
            let count = entry
                .detail("count")
                .and_then(|count| count.parse().ok())
                .unwrap_or(1);
            let reason = (event.as_str().to_owned(), entry.reason().to_owned());
            self.reasons.add(reason, 0, count);
            self.refused
                .add((who(entry), address(entry.origin()).to_owned()), 0, count);
        }
        if outcome == Outcome::Failed || matches!(event, Event::Integrity | Event::AlarmRaised) {
            self.failures.add(entry);
        }
        match event {
            Event::Redeemed | Event::RedeemReplayed => {
                let kind = match (event, outcome) {
                    (Event::RedeemReplayed, Outcome::Ok) => 1,
                    (_, Outcome::Ok) => 0,
                    _ => 2,
                };
                let group = (who(entry), entry.purpose().to_owned());
                self.releases.add(group, kind, 1);
            }
            Event::KeyCreated
            | Event::KeyDestroyed
            | Event::DestructionPending
            | Event::ErasureRequested
            | Event::KeyRotated
            | Event::KeyRewrapStarted
            | Event::KeyRewrapFinished
            | Event::KeyCompromised
            | Event::KeySupersededDestroyed
            | Event::HoldPlaced
            | Event::HoldLifted
            | Event::Unsealed
            | Event::UnsealRefused
            | Event::Sealed => self.keys.add(entry),
            Event::PrincipalCreated
            | Event::PrincipalDisabled
            | Event::SecretRotated
            | Event::AllowanceSet
            | Event::ActionRequested
            | Event::ActionApproved => self.administration.add(entry),
            Event::VaultCreated
            | Event::LoggingStarted
            | Event::LoggingStopped
            | Event::ClockStep
            | Event::ClockConfirmed
            | Event::EpochOpened
            | Event::RestoreConfirmed
            | Event::BackupBegun
            | Event::BackupEnded => self.runs(entry),
            Event::LogExported | Event::LogTailed => self.exports.add(entry),
            _ => {}
        }
    }

    fn runs(&mut self, entry: &Recorded<'_>) {
        match entry.event {
            Event::LoggingStarted => {
                self.hard_ends += u64::from(self.running_since_start);
                self.running_since_start = true;
            }
            Event::LoggingStopped => self.running_since_start = false,
            Event::ClockStep => self.clock_steps += 1,
            _ => {}
        }
        self.running.add(entry);
    }

    fn silence(&mut self, entry: &Recorded<'_>) {
        if let Some((index, before)) = self.last {
            self.silences
                .push((entry.at.since_ms(before), index, before));
            self.silences
                .sort_by_key(|(length, index, _)| (u64::MAX - length, *index));
            self.silences.truncate(SILENCES_MAX);
        }
        self.last = Some((entry.index, entry.at));
    }
}

/// Who acted, in words.
fn who(entry: &Recorded<'_>) -> String {
    match (entry.actor, entry.actor_name()) {
        (Some(_), name) if !name.is_empty() => name.to_owned(),
        (Some(id), _) => id.to_string(),
        (None, _) if entry.origin() == "-" => "the vault".to_owned(),
        (None, _) => "unknown caller".to_owned(),
    }
}

/// An address without its port, which changes with each connection.
fn address(origin: &str) -> &str {
    match origin.rsplit_once(':') {
        Some((address, port)) if port.parse::<u16>().is_ok() => address,
        _ => origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Site;
    use crate::ledger::Entry;

    fn see(facts: &mut Facts, entry: &Entry) {
        let json = entry.to_canonical_json();
        facts.saw(&Recorded::parse(&json).unwrap());
    }

    #[test]
    fn starts_without_a_stop_steps_and_silences_are_counted() {
        let mut facts = Facts::new();
        let at = |minute: u64| Timestamp(minute * 60_000);
        for (index, (event, minute)) in [
            (Event::LoggingStarted, 0),
            (Event::LoggingStopped, 5),
            (Event::LoggingStarted, 6),
            (Event::ClockStep, 90),
            (Event::LoggingStarted, 91),
        ]
        .into_iter()
        .enumerate()
        {
            let mut entry = Entry::new(event, Outcome::Ok, Site::VAULT, at(minute));
            entry.index = index as u64;
            see(&mut facts, &entry);
        }
        assert_eq!((facts.hard_ends, facts.clock_steps), (1, 1));
        assert_eq!(facts.silences[0], (84 * 60_000, 2, at(6)));
        assert_eq!(facts.period, Some((at(0), at(91))));
        assert_eq!(facts.running.rows.len(), 5);
    }

    #[test]
    fn a_sum_of_denials_counts_for_all_of_them_and_lists_are_bounded() {
        let mut facts = Facts::new();
        let mut entry = Entry::new(
            Event::DenialsSummed,
            Outcome::Denied,
            Site::VAULT,
            Timestamp(0),
        );
        entry.origin = "192.0.2.7:4711".to_owned();
        entry.reason = "NOT_A_PARTY";
        entry.detail.insert("count", "900".to_owned());
        see(&mut facts, &entry);
        let group = ("unknown caller".to_owned(), "192.0.2.7".to_owned());
        assert_eq!(facts.refused.of[&group], [900, 0, 0]);
        for _ in 0..LISTED_MAX + 7 {
            let failed = Entry::new(Event::Integrity, Outcome::Failed, Site::VAULT, Timestamp(0));
            see(&mut facts, &failed);
        }
        assert_eq!(
            (facts.failures.rows.len(), facts.failures.more),
            (LISTED_MAX, 7)
        );
    }
}
