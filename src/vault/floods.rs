//! A flood of refusals must not fill the disk: past a rate, refusals of one principal (or of one
//! unknown origin) get no entry each, but one a minute with their number.

use crate::clock::Timestamp;
use crate::ids::PrincipalId;
use std::collections::HashMap;

/// Origins that are told apart; past that, all others are one.
const ORIGINS_MAX: usize = 10_000;
/// Sums that one round writes; further ones wait for the next.
const SUMS_MAX: usize = 1_024;

/// Whose refusals are counted together.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The principal, when one is known.
    pub principal: Option<PrincipalId>,
    /// Otherwise the origin, without its port.
    pub origin: String,
}

impl Source {
    /// Those that are not told apart.
    pub fn others() -> Source {
        Source {
            principal: None,
            origin: "others".to_owned(),
        }
    }
}

#[derive(Default)]
struct Count {
    minute: u64,
    /// Entries of that minute.
    admitted: u32,
    /// Refusals of that minute without an entry.
    left_out: u64,
    /// Refusals of earlier minutes that no sum has told yet.
    owed: u64,
}

impl Count {
    fn roll(&mut self, minute: u64) {
        if self.minute != minute {
            self.owed += std::mem::take(&mut self.left_out);
            self.admitted = 0;
            self.minute = minute;
        }
    }
}

/// What the round in the making did, so that a failed one can be undone.
enum Step {
    Admitted(Source),
    LeftOut(Source),
    Summed(Source, u64),
}

/// Refusals by source.
pub struct Floods {
    per_minute: u32,
    counts: HashMap<Source, Count>,
    steps: Vec<Step>,
}

impl Floods {
    /// Admits `per_minute` entries a minute and source.
    pub fn new(per_minute: u32) -> Floods {
        Floods {
            per_minute,
            counts: HashMap::new(),
            steps: Vec::new(),
        }
    }

    /// Whether this refusal gets an entry of its own.
    pub fn admits(&mut self, principal: Option<PrincipalId>, origin: &str, now: Timestamp) -> bool {
        let mut source = source(principal, origin);
        if self.counts.len() >= ORIGINS_MAX && !self.counts.contains_key(&source) {
            source.origin = "others".to_owned();
        }
        let count = self.counts.entry(source.clone()).or_default();
        count.roll(minute_of(now));
        let admitted = count.admitted < self.per_minute;
        if admitted {
            count.admitted += 1;
            self.steps.push(Step::Admitted(source));
        } else {
            count.left_out += 1;
            self.steps.push(Step::LeftOut(source));
        }
        admitted
    }

    /// Whether [`Floods::sums`] would say something of minutes that have ended.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        let minute = minute_of(now);
        self.counts
            .values()
            .any(|count| count.owed > 0 || (count.minute != minute && count.left_out > 0))
    }

    /// Refusals that got no entry, one line a source: those of minutes that have ended, or, when
    /// `all` are wanted, those of the running one too.
    pub fn sums(&mut self, now: Timestamp, all: bool) -> Vec<(Source, u64)> {
        let minute = minute_of(now);
        let mut sums: Vec<(Source, u64)> = Vec::new();
        for (source, count) in &mut self.counts {
            count.roll(minute);
            let left_out = if all { count.left_out } else { 0 };
            if count.owed + left_out > 0 {
                sums.push((source.clone(), count.owed + left_out));
            }
        }
        sums.sort();
        sums.truncate(SUMS_MAX);
        for (source, sum) in &sums {
            if let Some(count) = self.counts.get_mut(source) {
                if all {
                    count.left_out = 0;
                }
                count.owed = 0;
            }
            self.steps.push(Step::Summed(source.clone(), *sum));
        }
        sums
    }

    /// The round is durable.
    pub fn keep(&mut self) {
        self.steps.clear();
    }

    /// The round failed: it is as if it had not been judged.
    pub fn undo(&mut self) {
        for step in self.steps.drain(..).rev() {
            let (Step::Admitted(source) | Step::LeftOut(source) | Step::Summed(source, _)) = &step;
            let Some(count) = self.counts.get_mut(source) else {
                continue;
            };
            match step {
                Step::Admitted(_) => count.admitted = count.admitted.saturating_sub(1),
                Step::LeftOut(_) => count.left_out = count.left_out.saturating_sub(1),
                Step::Summed(_, sum) => count.owed += sum,
            }
        }
    }

    /// Forgets sources that are quiet.
    pub fn forget_quiet(&mut self, now: Timestamp) {
        let minute = minute_of(now);
        self.counts
            .retain(|_, c| c.minute == minute || c.left_out > 0 || c.owed > 0);
    }
}

fn minute_of(now: Timestamp) -> u64 {
    now.0 / 60_000
}

/// Whose refusals count together with this one.
pub fn source(principal: Option<PrincipalId>, origin: &str) -> Source {
    Source {
        principal,
        origin: match principal {
            Some(_) => String::new(),
            None => origin
                .rsplit_once(':')
                .map_or(origin, |(host, _)| host)
                .to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_rate_refusals_are_summed_and_none_is_lost() {
        let mut floods = Floods::new(100);
        let who = Some(PrincipalId([1; 16]));
        let start = Timestamp(600_000);
        let admitted = (0..250)
            .filter(|_| floods.admits(who, "x:1", start))
            .count();
        assert_eq!(admitted, 100);
        assert!(
            floods.sums(start, false).is_empty(),
            "the minute still runs"
        );
        let sums = floods.sums(start.plus_ms(60_000), false);
        assert_eq!(sums.len(), 1);
        assert_eq!(sums[0].1, 150);
        assert!(floods.admits(who, "x:1", start.plus_ms(60_000)));
    }

    #[test]
    fn a_flood_that_goes_on_is_summed_all_the_same() {
        let mut floods = Floods::new(1);
        let who = Some(PrincipalId([1; 16]));
        let mut told = 0;
        for second in 0..600 {
            let now = Timestamp(second * 1_000);
            floods.admits(who, "x:1", now);
            told += floods.sums(now, false).iter().map(|(_, n)| n).sum::<u64>();
        }
        assert_eq!(told, 9 * 59);
        let rest = floods.sums(Timestamp(599_000), true);
        assert_eq!(rest[0].1, 59);
    }

    #[test]
    fn what_a_failed_round_counted_is_undone() {
        let mut floods = Floods::new(1);
        let who = Some(PrincipalId([1; 16]));
        let now = Timestamp(0);
        floods.admits(who, "x:1", now);
        floods.admits(who, "x:1", now);
        floods.keep();
        let later = Timestamp(60_000);
        assert_eq!(floods.sums(later, false)[0].1, 1);
        assert!(floods.admits(who, "x:1", later));
        assert!(!floods.admits(who, "x:1", later));
        floods.undo();
        assert_eq!(floods.sums(later, false)[0].1, 1);
        floods.keep();
        assert!(floods.admits(who, "x:1", later));
        floods.keep();
        floods.forget_quiet(Timestamp(120_000));
        assert!(floods.counts.is_empty());
    }

    #[test]
    fn unknown_callers_are_told_apart_by_address_not_by_port() {
        let mut floods = Floods::new(1);
        let now = Timestamp(0);
        assert!(floods.admits(None, "10.0.0.1:1", now));
        assert!(!floods.admits(None, "10.0.0.1:2", now));
        assert!(floods.admits(None, "10.0.0.2:1", now));
    }
}
