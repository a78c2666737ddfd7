//! What differs from site to site: how long account data may be released, and how long the law
//! wants the log kept. Data with its sources, and the arithmetic of "seven years from the year's
//! end"; nothing here reads a clock.

use crate::clock::{DAY_MS, Timestamp};
use crate::ids::Site;
use crate::limits;
use std::collections::BTreeMap;

/// The rules of one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteRules {
    /// The longest time, in days, from a transaction's opening to its `release_until`.
    pub release_days_max: u32,
    /// Whether the site's portals get fingerprints.
    pub fingerprint: bool,
    /// How long entries are kept.
    pub log: Retention,
}

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
    /// The first moment (UTC) at which the entries of a month may be erased. Counted in whole
    /// months, so no leap day can shift it; a day is added, since everywhere on earth a local
    /// date is less than a day behind or ahead of UTC.
    pub fn kept_until(&self, year: i16, month: u8) -> Timestamp {
        let end_month = self.financial_year_end_month;
        // The financial year is named after the calendar year in which it ends.
        let financial_year = if month <= end_month { year } else { year + 1 };
        let (last_year, last_month) = match self.from {
            RetentionStart::Entry => (year, month),
            RetentionStart::FinancialYear => (financial_year, end_month),
            RetentionStart::CalendarYear => (financial_year, 12),
        };
        let years = i16::from(self.years);
        let (year, month) = match last_month {
            12 => (last_year + years + 1, 1),
            month => (last_year + years, month + 1),
        };
        first_of(year, month).plus_ms(DAY_MS)
    }
}

/// The sites of the house, with their defaults.
pub fn defaults() -> BTreeMap<Site, SiteRules> {
    [
        // Policy. The law asks for less: Regulation E (12 CFR 1005.13) 2 years, Bank Secrecy Act
        // (31 CFR 1010.430) 5 years.
        (
            "us",
            7,
            RetentionStart::Entry,
            "policy: 7 years (Reg E: 2; BSA: 5)",
        ),
        // HMRC: company records, 6 years from the end of the financial year they relate to.
        (
            "uk",
            6,
            RetentionStart::FinancialYear,
            "6 years from the financial year's end (HMRC)",
        ),
        // Algemene wet inzake rijksbelastingen, article 52(4).
        (
            "nl",
            7,
            RetentionStart::FinancialYear,
            "7 years from the year's end (AWR 52(4))",
        ),
        // Bokföringslagen 7 kap. 2 §: through the seventh calendar year after the one in which
        // the financial year ended.
        (
            "se",
            7,
            RetentionStart::CalendarYear,
            "7 calendar years after the year (BFL 7:2)",
        ),
        // Bogføringsloven § 12.
        (
            "dk",
            5,
            RetentionStart::FinancialYear,
            "5 years from the financial year's end (BFL § 12)",
        ),
    ]
    .into_iter()
    .map(|(name, years, from, source)| {
        let site = Site::parse(name).expect("a literal above");
        let log = Retention {
            years,
            from,
            financial_year_end_month: 12,
            source: source.to_owned(),
        };
        (
            site,
            SiteRules {
                release_days_max: RELEASE_DAYS_DEFAULT,
                fingerprint: false,
                log,
            },
        )
    })
    .collect()
}

/// Days of release unless configured: past the 120 days in which most card disputes are raised.
pub const RELEASE_DAYS_DEFAULT: u32 = 180;

/// The longest that a site may configure.
pub const RELEASE_DAYS_MAX: u32 = (limits::RELEASE_MS_MAX / DAY_MS) as u32;

fn first_of(year: i16, month: u8) -> Timestamp {
    Timestamp::parse(&format!("{year:04}-{month:02}-01T00:00:00Z"))
        .unwrap_or(crate::clock::TIMESTAMP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(site: &str, year: i16, month: u8) -> String {
        let rules = &defaults()[&Site::parse(site).unwrap()];
        rules.log.kept_until(year, month).to_string()
    }

    #[test]
    fn each_site_keeps_its_log_for_its_own_period() {
        assert_eq!(kept("us", 2026, 11), "2033-12-02T00:00:00.000Z");
        assert_eq!(kept("uk", 2026, 11), "2033-01-02T00:00:00.000Z");
        assert_eq!(kept("nl", 2026, 11), "2034-01-02T00:00:00.000Z");
        assert_eq!(kept("se", 2026, 11), "2034-01-02T00:00:00.000Z");
        assert_eq!(kept("dk", 2026, 11), "2032-01-02T00:00:00.000Z");
    }

    #[test]
    fn year_ends_and_leap_days_are_whole_months() {
        assert_eq!(kept("us", 2026, 12), "2034-01-02T00:00:00.000Z");
        assert_eq!(kept("us", 2025, 2), "2032-03-02T00:00:00.000Z");
        assert_eq!(kept("dk", 2026, 12), "2032-01-02T00:00:00.000Z");
        assert_eq!(kept("dk", 2027, 1), "2033-01-02T00:00:00.000Z");
    }

    #[test]
    fn a_broken_financial_year_is_followed() {
        let mut log = defaults()[&Site::parse("uk").unwrap()].log.clone();
        log.financial_year_end_month = 3;
        assert_eq!(
            log.kept_until(2027, 3).to_string(),
            "2033-04-02T00:00:00.000Z"
        );
        assert_eq!(
            log.kept_until(2027, 4).to_string(),
            "2034-04-02T00:00:00.000Z"
        );
        log.from = RetentionStart::CalendarYear;
        log.years = 7;
        assert_eq!(
            log.kept_until(2026, 4).to_string(),
            "2035-01-02T00:00:00.000Z"
        );
    }
}
