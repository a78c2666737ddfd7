//! What a person should look at: repeated refusals, a party that releases far more than it used to,
//! writes that failed. Each is a log line at once, and an entry with the next round that can be
//! written.
//!
//! Only what durable rounds did is counted, so nothing has to be undone. Counts are in memory: a
//! restart learns anew what is usual.

use super::floods::Source;
use crate::clock::Timestamp;
use crate::ids::PrincipalId;
use crate::ledger::Outcome;
use crate::limits;
use std::collections::HashMap;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// Alarms that wait for their entry; further ones are in the log only.
const OWED_MAX: usize = 256;
/// Sources of refusals that are told apart within a minute; further ones are one.
const SOURCES_MAX: usize = 10_000;

/// What a round did that alarms are about.
pub(super) enum Seen {
    /// Refused somebody.
    Denied(Source),
    /// Released to this party.
    Released(PrincipalId),
}

/// An alarm, for its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alarm {
    /// Which; the entry's `alarm`.
    pub what: &'static str,
    /// Whom it is about, when it is about somebody.
    pub principal: Option<PrincipalId>,
    /// The address of an unknown caller.
    pub origin: String,
    /// How many refusals, releases, or commands that were not done.
    pub count: u64,
    /// How many were usual; of releases.
    pub usual: Option<u64>,
    /// When it began.
    pub since: Timestamp,
    /// What else there is to say.
    pub detail: Vec<(&'static str, String)>,
}

impl Alarm {
    /// One that is about nobody, and counts nothing yet.
    pub(super) fn of(what: &'static str, since: Timestamp) -> Alarm {
        Alarm {
            what,
            principal: None,
            origin: String::new(),
            count: 0,
            usual: None,
            since,
            detail: Vec::new(),
        }
    }

    /// How the entry's event ended.
    pub(super) fn outcome(&self) -> Outcome {
        match self.what {
            REPEATED_DENIALS => Outcome::Denied,
            WRITES_FAILED | WITNESS_CONFLICT | WITNESS_SILENT => Outcome::Failed,
            _ => Outcome::Ok,
        }
    }
}

/// Many refusals of one source within a minute.
pub(super) const REPEATED_DENIALS: &str = "repeated_denials";
/// A party released far more than it used to.
pub(super) const UNUSUAL_VOLUME: &str = "unusual_volume";
/// Commands were not done because nothing could be written.
pub(super) const WRITES_FAILED: &str = "writes_failed";

/// A witness holds another ledger than this one, or says so.
pub(super) const WITNESS_CONFLICT: &str = "witness_conflict";
/// A witness has not cosigned for the time that was configured.
pub(super) const WITNESS_SILENT: &str = "witness_silent";

/// A party's releases by the hour.
#[derive(Default)]
struct Volume {
    hour: u64,
    count: u64,
    /// Mean of the hours before, the later ones weighing more, in thousandths.
    usual_milli: u64,
    /// How many hours it is the mean of.
    hours: u64,
    told: bool,
}

impl Volume {
    fn roll(&mut self, hour: u64) {
        // After a day without a release nothing is left of what was.
        for _ in 0..hour.saturating_sub(self.hour).min(24) {
            self.usual_milli = (3 * self.usual_milli + 1_000 * self.count) / 4;
            self.count = 0;
            self.hours += 1;
            self.told = false;
        }
        self.hour = self.hour.max(hour);
    }

    fn is_unusual(&self) -> bool {
        let usual_milli = self.usual_milli.max(1_000);
        !self.told
            && self.hours >= limits::ALARM_HOURS_MIN
            && self.count >= limits::ALARM_RELEASES_MIN
            && 1_000 * self.count > limits::ALARM_TIMES * usual_milli
    }
}

/// Nothing can be written.
struct Failing {
    since: Timestamp,
    commands: u64,
}

/// What alarms are raised from.
pub(super) struct Alarms {
    denials_per_minute: u64,
    minute: u64,
    denials: HashMap<Source, u64>,
    volumes: HashMap<PrincipalId, Volume>,
    failing: Option<Failing>,
    owed: Vec<Alarm>,
}

impl Alarms {
    /// Alarms, where past `summed_per_minute` refusals of one source are summed up: a fifth of that
    /// is worth a look.
    pub(super) fn new(summed_per_minute: u32) -> Alarms {
        Alarms {
            denials_per_minute: u64::from(summed_per_minute / limits::ALARM_DENIALS_PART).max(1),
            minute: 0,
            denials: HashMap::new(),
            volumes: HashMap::new(),
            failing: None,
            owed: Vec::new(),
        }
    }

    /// A round is durable that did this.
    pub(super) fn saw(&mut self, seen: Vec<Seen>, now: Timestamp) {
        if self.minute != now.0 / MINUTE_MS {
            self.minute = now.0 / MINUTE_MS;
            self.denials.clear();
        }
        for seen in seen {
            match seen {
                Seen::Denied(source) => self.denied(source, now),
                Seen::Released(party) => self.released(party, now),
            }
        }
    }

    fn denied(&mut self, mut source: Source, now: Timestamp) {
        if self.denials.len() >= SOURCES_MAX && !self.denials.contains_key(&source) {
            source = Source::others();
        }
        let count = self.denials.entry(source.clone()).or_default();
        *count += 1;
        if *count == self.denials_per_minute {
            let count = *count;
            self.raise(Alarm {
                principal: source.principal,
                origin: source.origin,
                count,
                ..Alarm::of(REPEATED_DENIALS, Timestamp(now.0 / MINUTE_MS * MINUTE_MS))
            });
        }
    }

    fn released(&mut self, party: PrincipalId, now: Timestamp) {
        let hour = now.0 / HOUR_MS;
        let volume = self.volumes.entry(party).or_insert_with(|| Volume {
            hour,
            ..Volume::default()
        });
        volume.roll(hour);
        volume.count += 1;
        if volume.is_unusual() {
            volume.told = true;
            let (count, usual) = (volume.count, volume.usual_milli / 1_000);
            self.raise(Alarm {
                principal: Some(party),
                count,
                usual: Some(usual),
                ..Alarm::of(UNUSUAL_VOLUME, Timestamp(hour * HOUR_MS))
            });
        }
    }

    /// A round was not written.
    pub(super) fn failed(&mut self, commands: usize, why: &dyn std::fmt::Display, now: Timestamp) {
        if self.failing.is_none() {
            tracing::error!(alarm = WRITES_FAILED, %why, "nothing can be written; calls are refused");
        }
        let failing = self.failing.get_or_insert(Failing {
            since: now,
            commands: 0,
        });
        failing.commands += commands as u64;
    }

    /// A round was written.
    pub(super) fn written(&mut self) {
        if let Some(failing) = self.failing.take() {
            self.raise(Alarm {
                count: failing.commands,
                ..Alarm::of(WRITES_FAILED, failing.since)
            });
        }
    }

    pub(super) fn raise(&mut self, alarm: Alarm) {
        tracing::warn!(
            alarm = alarm.what,
            principal = %alarm.principal.map(|id| id.to_string()).unwrap_or_default(),
            origin = %alarm.origin,
            count = alarm.count,
            since = %alarm.since,
            "an alarm was raised"
        );
        if self.owed.len() < OWED_MAX {
            self.owed.push(alarm);
        }
    }

    /// Those that have no entry yet.
    pub(super) fn owed(&self) -> &[Alarm] {
        &self.owed
    }

    /// All of them have one.
    pub(super) fn entered(&mut self) {
        self.owed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: PrincipalId = PrincipalId([1; 16]);

    fn denied(origin: &str) -> Seen {
        Seen::Denied(super::super::floods::source(None, origin))
    }

    #[test]
    fn a_fifth_of_what_is_summed_up_is_an_alarm_once_a_minute_and_source() {
        let mut alarms = Alarms::new(100);
        let at = Timestamp(600_000);
        for _ in 0..19 {
            alarms.saw(vec![denied("10.0.0.1:1"), denied("10.0.0.2:1")], at);
        }
        assert_eq!(alarms.owed(), []);
        // Another port is the same source; the minute's end is the count's.
        alarms.saw(vec![denied("10.0.0.1:2")], at);
        assert_eq!(alarms.owed().len(), 1);
        assert_eq!(alarms.owed()[0].origin, "10.0.0.1");
        assert_eq!((alarms.owed()[0].count, alarms.owed()[0].since), (20, at));
        alarms.entered();
        alarms.saw((0..50).map(|_| denied("10.0.0.1:3")).collect(), at);
        assert_eq!(alarms.owed(), []);
        alarms.saw(vec![denied("10.0.0.2:1")], at.plus_ms(MINUTE_MS));
        assert_eq!(alarms.owed(), []);
    }

    #[test]
    fn a_party_that_releases_far_more_than_it_used_to_is_an_alarm_once_an_hour() {
        let mut alarms = Alarms::new(100);
        let hour = |hour: u64| Timestamp(hour * HOUR_MS);
        let release = |alarms: &mut Alarms, count: usize, at| {
            alarms.saw((0..count).map(|_| Seen::Released(WHO)).collect(), at);
        };
        // Nothing is usual yet, so nothing is unusual.
        release(&mut alarms, 10_000, hour(10));
        assert_eq!(alarms.owed(), []);
        for later in 11..40 {
            release(&mut alarms, 60, hour(later));
        }
        assert_eq!(alarms.owed(), []);
        // Four times what is usual is still borne.
        release(&mut alarms, 200, hour(40));
        assert_eq!(alarms.owed(), []);
        release(&mut alarms, 400, hour(41));
        assert_eq!(alarms.owed().len(), 1);
        let alarm = &alarms.owed()[0];
        assert_eq!(
            (alarm.what, alarm.principal, alarm.since),
            (UNUSUAL_VOLUME, Some(WHO), hour(41))
        );
        assert!(alarm.usual.is_some_and(|usual| (60..100).contains(&usual)));
        // At the first release that is more; what is usual has a part behind the point.
        let least = 4 * alarm.usual.unwrap();
        assert!((least + 1..=least + 4).contains(&alarm.count));
    }

    #[test]
    fn few_releases_are_never_unusual() {
        let mut alarms = Alarms::new(100);
        for hour in 0..10 {
            let count = if hour == 9 { 99 } else { 1 };
            let seen = (0..count).map(|_| Seen::Released(WHO)).collect();
            alarms.saw(seen, Timestamp(hour * HOUR_MS));
        }
        assert_eq!(alarms.owed(), []);
    }

    #[test]
    fn writes_that_failed_are_one_alarm_when_they_are_written_again() {
        let mut alarms = Alarms::new(100);
        alarms.written();
        alarms.failed(2, &"the disk is full", Timestamp(5));
        alarms.failed(3, &"the disk is full", Timestamp(9));
        assert_eq!(alarms.owed(), []);
        alarms.written();
        alarms.written();
        assert_eq!(alarms.owed().len(), 1);
        let alarm = &alarms.owed()[0];
        assert_eq!(
            (alarm.what, alarm.count, alarm.since, alarm.outcome()),
            (WRITES_FAILED, 5, Timestamp(5), Outcome::Failed)
        );
    }
}
