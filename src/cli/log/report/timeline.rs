//! Entries over time, counted in stretches that grow with the time that they have to cover: memory
//! stays flat for any export.

use crate::clock::Timestamp;
use crate::ledger::{Event, Outcome};
use std::collections::BTreeMap;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// Lengths of a stretch, each a multiple of the one before.
const STRETCHES: [(u64, &str); 9] = [
    (MINUTE_MS, "minute"),
    (5 * MINUTE_MS, "5 minutes"),
    (15 * MINUTE_MS, "quarter of an hour"),
    (60 * MINUTE_MS, "hour"),
    (6 * 60 * MINUTE_MS, "6 hours"),
    (DAY_MS, "day"),
    (7 * DAY_MS, "week"),
    (28 * DAY_MS, "4 weeks"),
    (364 * DAY_MS, "52 weeks"),
];
/// Stretches that a chart can show.
const STRETCHES_MAX: u64 = 120;

/// Counts by outcome: done, refused, failed.
pub type Counts = [u64; 3];

/// The place of an outcome in [`Counts`].
pub fn place(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Ok => 0,
        Outcome::Denied => 1,
        Outcome::Failed => 2,
    }
}

/// Counts of entries by stretch of time and by kind.
pub struct Timeline {
    unit: usize,
    /// By number of the stretch since 1970.
    stretches: BTreeMap<u64, BTreeMap<Event, Counts>>,
}

impl Timeline {
    /// Nothing has happened.
    pub fn new() -> Timeline {
        Timeline {
            unit: 0,
            stretches: BTreeMap::new(),
        }
    }

    /// An entry. Times never fall along an export.
    pub fn saw(&mut self, at: Timestamp, event: Event, outcome: Outcome) {
        let stretch = self.stretches.entry(at.0 / STRETCHES[self.unit].0);
        stretch.or_default().entry(event).or_default()[place(outcome)] += 1;
        while self.span() > STRETCHES_MAX && self.unit + 1 < STRETCHES.len() {
            self.coarser();
        }
    }

    /// How many stretches lie between the first and the last, both counted.
    fn span(&self) -> u64 {
        let ends = self
            .stretches
            .first_key_value()
            .zip(self.stretches.last_key_value());
        ends.map_or(0, |((first, _), (last, _))| last - first + 1)
    }

    fn coarser(&mut self) {
        let times = STRETCHES[self.unit + 1].0 / STRETCHES[self.unit].0;
        self.unit += 1;
        for (stretch, kinds) in std::mem::take(&mut self.stretches) {
            let into = self.stretches.entry(stretch / times).or_default();
            for (event, counts) in kinds {
                let sum = into.entry(event).or_default();
                sum.iter_mut()
                    .zip(counts)
                    .for_each(|(sum, count)| *sum += count);
            }
        }
    }

    /// How long a stretch is, in words.
    pub fn unit(&self) -> &'static str {
        STRETCHES[self.unit].1
    }

    /// Every stretch from the first to the last, the empty ones too: its begin, and the counts of
    /// `event`, or of all.
    pub fn bars(&self, event: Option<Event>) -> Vec<(Timestamp, Counts)> {
        let Some((first, _)) = self.stretches.first_key_value() else {
            return Vec::new();
        };
        // The last length is the longest there is: what doesn't fit then is left to the table.
        let last = first + self.span().min(STRETCHES_MAX);
        (*first..last)
            .map(|stretch| {
                let mut sum = Counts::default();
                for (kind, counts) in self.stretches.get(&stretch).into_iter().flatten() {
                    if event.is_none_or(|event| event == *kind) {
                        sum.iter_mut()
                            .zip(counts)
                            .for_each(|(sum, count)| *sum += count);
                    }
                }
                (Timestamp(stretch * STRETCHES[self.unit].0), sum)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_entry_is_lost_when_stretches_grow_and_a_chart_stays_readable() {
        let begin = Timestamp::parse("2026-11-24T10:00:30.000Z").unwrap();
        for (step_ms, unit) in [
            (1_000, "5 minutes"),
            (60_000, "6 hours"),
            (3_600_000, "week"),
            (DAY_MS, "52 weeks"),
        ] {
            let mut timeline = Timeline::new();
            for entry in 0..10_000u64 {
                let outcome = [Outcome::Ok, Outcome::Denied, Outcome::Failed][entry as usize % 3];
                let event = [Event::Redeemed, Event::Login][entry as usize % 2];
                timeline.saw(begin.plus_ms(entry * step_ms), event, outcome);
            }
            let bars = timeline.bars(None);
            assert_eq!(timeline.unit(), unit);
            assert!(bars.len() <= 120 && bars.len() > 10, "{}", bars.len());
            assert!(bars[0].0 <= begin);
            let all: u64 = bars.iter().flat_map(|(_, counts)| counts).sum();
            assert_eq!(all, 10_000);
            let logins: u64 = timeline
                .bars(Some(Event::Login))
                .iter()
                .flat_map(|b| b.1)
                .sum();
            assert_eq!(logins, 5_000);
        }
        assert!(Timeline::new().bars(None).is_empty());
    }
}
