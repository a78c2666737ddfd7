//! The month in which a card expires.

use super::problem::Problem;
use crate::clock::Timestamp;
use crate::limits::CARD_YEARS_AHEAD_MAX;
use std::cmp::Ordering;

/// A month; the card is good until its end, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Four digits, as in 2031.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
}

/// Where a card stands in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryState {
    /// Its month is still to come.
    Valid,
    /// It is good until this month's end.
    ThisMonth,
    /// Its month has ended.
    Expired,
}

impl Expiry {
    /// Whether the month has ended (UTC).
    pub fn expired(&self, now: Timestamp) -> bool {
        self.state(now) == ExpiryState::Expired
    }

    /// Where the month lies (UTC).
    pub fn state(&self, now: Timestamp) -> ExpiryState {
        let (year, month) = now.year_month();
        match (i32::from(self.year), self.month).cmp(&(i32::from(year), month)) {
            Ordering::Less => ExpiryState::Expired,
            Ordering::Equal => ExpiryState::ThisMonth,
            Ordering::Greater => ExpiryState::Valid,
        }
    }

    /// A month of a year of four digits; `None` when it is none.
    pub(super) fn from_parts(year: u16, month: u8) -> Option<Expiry> {
        (YEARS.contains(&i32::from(year)) && MONTHS.contains(&i32::from(month)))
            .then_some(Expiry { year, month })
    }
}

const YEARS: std::ops::RangeInclusive<i32> = 1000..=9999;
const MONTHS: std::ops::RangeInclusive<i32> = 1..=12;
const TOO_FAR: &str = "is too far ahead: at most 20 years";

/// Reads what came in, at the time `now`. Writes into `problems` (fields `expiry_month` and
/// `expiry_year`): no month, no year of four digits, a month that has ended, or a year more than
/// [`CARD_YEARS_AHEAD_MAX`] ahead.
pub(super) fn parse(
    month: i32,
    year: i32,
    now: Timestamp,
    problems: &mut Vec<Problem>,
) -> Option<Expiry> {
    let (year_now, _) = now.year_month();
    let year_now = i32::from(year_now);
    let month_shaped = MONTHS.contains(&month);
    if !month_shaped {
        problems.push(Problem::new("expiry_month", "must be 1 to 12"));
    }
    let year_problem = if !YEARS.contains(&year) {
        Some("must have four digits")
    } else if year < year_now {
        Some("has ended: the card is expired")
    } else if year > year_now + i32::from(CARD_YEARS_AHEAD_MAX) {
        Some(TOO_FAR)
    } else {
        None
    };
    if let Some(what) = year_problem {
        problems.push(Problem::new("expiry_year", what));
    }
    if !month_shaped || year_problem.is_some() {
        return None;
    }
    let expiry = Expiry::from_parts(u16::try_from(year).ok()?, u8::try_from(month).ok()?)?;
    if expiry.expired(now) {
        problems.push(Problem::new(
            "expiry_month",
            "has ended: the card is expired",
        ));
        return None;
    }
    Some(expiry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    fn read(month: i32, year: i32) -> Result<Expiry, Vec<&'static str>> {
        let mut problems = Vec::new();
        let now = at("2026-11-23T12:00:00Z");
        match parse(month, year, now, &mut problems) {
            Some(expiry) if problems.is_empty() => Ok(expiry),
            None if !problems.is_empty() => Err(problems.iter().map(|p| p.field).collect()),
            _ => panic!("either an expiry or problems"),
        }
    }

    #[test]
    fn a_card_is_good_until_the_last_millisecond_of_its_month() {
        let leap = Expiry {
            year: 2028,
            month: 2,
        };
        assert!(!leap.expired(at("2028-02-29T23:59:59.999Z")));
        assert!(leap.expired(at("2028-03-01T00:00:00.000Z")));
        let december = Expiry {
            year: 2026,
            month: 12,
        };
        assert!(!december.expired(at("2026-12-31T23:59:59.999Z")));
        assert!(december.expired(at("2027-01-01T00:00:00.000Z")));
        assert!(!december.expired(at("2025-12-31T00:00:00.000Z")));
        let state = |now| december.state(at(now));
        assert_eq!(state("2026-11-30T23:59:59.999Z"), ExpiryState::Valid);
        assert_eq!(state("2026-12-01T00:00:00.000Z"), ExpiryState::ThisMonth);
        assert_eq!(state("2026-12-31T23:59:59.999Z"), ExpiryState::ThisMonth);
        assert_eq!(state("2027-01-01T00:00:00.000Z"), ExpiryState::Expired);
    }

    #[test]
    fn this_month_and_twenty_years_ahead_are_the_bounds() {
        assert_eq!(
            read(11, 2026),
            Ok(Expiry {
                year: 2026,
                month: 11
            })
        );
        assert_eq!(
            read(12, 2046),
            Ok(Expiry {
                year: 2046,
                month: 12
            })
        );
        assert_eq!(read(10, 2026), Err(vec!["expiry_month"]));
        assert_eq!(read(12, 2025), Err(vec!["expiry_year"]));
        assert_eq!(read(1, 2047), Err(vec!["expiry_year"]));
        assert!(TOO_FAR.contains(&CARD_YEARS_AHEAD_MAX.to_string()));
    }

    #[test]
    fn what_is_no_month_or_year_is_refused_and_both_are_said() {
        for month in [i32::MIN, -1, 0, 13, 256 + 11, i32::MAX] {
            assert_eq!(read(month, 2030), Err(vec!["expiry_month"]), "{month}");
        }
        for year in [i32::MIN, -1, 0, 31, 999, 10_000, 65_536 + 2030, i32::MAX] {
            assert_eq!(read(1, year), Err(vec!["expiry_year"]), "{year}");
        }
        assert_eq!(read(0, 0), Err(vec!["expiry_month", "expiry_year"]));
    }
}
