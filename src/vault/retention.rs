//! How long the law wants a site's entries kept: the arithmetic of "seven years from the year's
//! end". Pure: nothing here reads a clock.

use crate::clock::{TIMESTAMP_MAX, Timestamp};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

/// How long a site's ledger entries are kept. Never the longest of all sites: GDPR 5(1)(e) asks
/// for no longer than needed, at each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// How many years.
    pub years: u8,
    /// What they are counted from.
    pub from: RetentionStart,
    /// The month (1 to 12) with which the site's financial year ends.
    pub financial_year_end_month: u8,
    /// The rule that this follows, cited when an erasure is refused.
    pub source: String,
    /// Where its books are kept: years begin and end there at midnight.
    pub zone: TimeZone,
}

/// What a retention period is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionStart {
    /// The end of the entry's own month.
    Entry,
    /// The end of the financial year that the entry falls in.
    FinancialYear,
    /// The end of the calendar year in which that financial year ended.
    CalendarYear,
}

impl Retention {
    /// The first moment at which the bucket of a month may be erased. Buckets are months of UTC;
    /// the law counts the site's own. East of Greenwich the last entries of December are of
    /// January, and so of the next year: the bucket ends with the last entry that can lie in it.
    /// Counted in whole months, so no leap day can shift it.
    pub fn kept_until(&self, year: i16, month: u8) -> Timestamp {
        let (year, month) = self.last_local_month(year, month);
        let end_month = self.financial_year_end_month;
        // The financial year is named after the calendar year in which it ends.
        let financial_year = if month <= end_month { year } else { year + 1 };
        let (last_year, last_month) = match self.from {
            RetentionStart::Entry => (year, month),
            RetentionStart::FinancialYear => (financial_year, end_month),
            RetentionStart::CalendarYear => (financial_year, 12),
        };
        let (year, month) = month_after(last_year + i16::from(self.years), last_month);
        begin_of(year, month, &self.zone)
    }

    /// The site's month in which the last moment of a month of UTC lies.
    fn last_local_month(&self, year: i16, month: u8) -> (i16, u8) {
        let (next_year, next_month) = month_after(year, month);
        let end = begin_of(next_year, next_month, &TimeZone::UTC);
        let last = i64::try_from(end.0)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms - 1).ok());
        match last {
            Some(last) => {
                let local = self.zone.to_datetime(last);
                (local.year(), local.month() as u8)
            }
            // The end of the calendar.
            None => (year, month),
        }
    }
}

fn month_after(year: i16, month: u8) -> (i16, u8) {
    match month {
        12.. => (year + 1, 1),
        month => (year, month + 1),
    }
}

/// Midnight at which a month begins.
fn begin_of(year: i16, month: u8, zone: &TimeZone) -> Timestamp {
    i8::try_from(month)
        .ok()
        .and_then(|month| Date::new(year, month, 1).ok())
        .and_then(|first| zone.to_timestamp(first.to_datetime(Time::midnight())).ok())
        .and_then(|moment| u64::try_from(moment.as_millisecond()).ok())
        .map_or(TIMESTAMP_MAX, Timestamp)
}
