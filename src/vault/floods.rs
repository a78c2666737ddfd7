//! A flood of refusals must not fill the disk: past a rate, refusals of one principal (or of one
//! unknown origin) get no entry each, but one a minute with their number.

use crate::clock::Timestamp;
use crate::ids::PrincipalId;
use std::collections::HashMap;

/// Origins that are told apart; past that, all others are one.
const ORIGINS_MAX: usize = 10_000;

/// Whose refusals are counted together.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The principal, when one is known.
    pub principal: Option<PrincipalId>,
    /// Otherwise the origin, without its port.
    pub origin: String,
}

#[derive(Default)]
struct Count {
    minute: u64,
    admitted: u32,
    left_out: u64,
}

/// Refusals of the current minute, by source.
pub struct Floods {
    per_minute: u32,
    counts: HashMap<Source, Count>,
}

impl Floods {
    /// Admits `per_minute` entries a minute and source.
    pub fn new(per_minute: u32) -> Floods {
        Floods {
            per_minute,
            counts: HashMap::new(),
        }
    }

    /// Whether this refusal gets an entry of its own.
    pub fn admits(&mut self, principal: Option<PrincipalId>, origin: &str, now: Timestamp) -> bool {
        let mut source = source(principal, origin);
        if self.counts.len() >= ORIGINS_MAX && !self.counts.contains_key(&source) {
            source.origin = "others".to_owned();
        }
        let minute = now.0 / 60_000;
        let count = self.counts.entry(source).or_default();
        if count.minute != minute {
            count.minute = minute;
            count.admitted = 0;
        }
        if count.admitted < self.per_minute {
            count.admitted += 1;
            true
        } else {
            count.left_out += 1;
            false
        }
    }

    /// Whether [`Floods::ended`] would say something.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        let minute = now.0 / 60_000;
        self.counts
            .values()
            .any(|count| count.minute != minute && count.left_out > 0)
    }

    /// Refusals that got no entry in minutes that have ended: one line a source. Forgets sources
    /// that are quiet.
    pub fn ended(&mut self, now: Timestamp) -> Vec<(Source, u64)> {
        let minute = now.0 / 60_000;
        let mut sums = Vec::new();
        self.counts.retain(|source, count| {
            if count.minute == minute {
                return true;
            }
            if count.left_out > 0 {
                sums.push((source.clone(), count.left_out));
            }
            false
        });
        sums.sort();
        sums
    }
}

fn source(principal: Option<PrincipalId>, origin: &str) -> Source {
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
        assert!(floods.ended(start).is_empty(), "the minute still runs");
        let sums = floods.ended(start.plus_ms(60_000));
        assert_eq!(sums.len(), 1);
        assert_eq!(sums[0].1, 150);
        assert!(floods.admits(who, "x:1", start.plus_ms(60_000)));
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
