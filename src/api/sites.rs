//! What differs from site to site: how long account data may be released, and how long the law
//! wants the log kept. Data with its sources; `vault/retention.rs` has the arithmetic.

use crate::clock::DAY_MS;
use crate::ids::Site;
use crate::limits;
pub use crate::vault::{Retention, RetentionStart};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;

/// The rules of one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteRules {
    /// The longest time, in days, from a transaction's opening to its `release_until`.
    pub release_days_max: u32,
    /// Whether the site's portals get fingerprints.
    pub fingerprint: bool,
    /// Whether details are taken only when they were sealed before they left the browser.
    pub sealed_only: bool,
    /// How long entries are kept.
    pub log: Retention,
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
            US_CENTRAL,
            "policy: 7 years (Reg E: 2; BSA: 5)",
        ),
        // HMRC: company records, 6 years from the end of the financial year they relate to.
        (
            "uk",
            6,
            RetentionStart::FinancialYear,
            BRITAIN,
            "6 years from the financial year's end (HMRC)",
        ),
        // Algemene wet inzake rijksbelastingen, article 52(4).
        (
            "nl",
            7,
            RetentionStart::FinancialYear,
            MIDDLE_EUROPE,
            "7 years from the year's end (AWR 52(4))",
        ),
        // Bokföringslagen 7 kap. 2 §: through the seventh calendar year after the one in which
        // the financial year ended.
        (
            "se",
            7,
            RetentionStart::CalendarYear,
            MIDDLE_EUROPE,
            "7 calendar years after the year (BFL 7:2)",
        ),
        // Bogføringsloven § 12.
        (
            "dk",
            5,
            RetentionStart::FinancialYear,
            MIDDLE_EUROPE,
            "5 years from the financial year's end (BFL § 12)",
        ),
    ]
    .into_iter()
    .map(|(name, years, from, zone, source)| {
        let site = Site::parse(name).expect("a literal above");
        let log = Retention {
            years,
            from,
            financial_year_end_month: 12,
            source: source.to_owned(),
            zone: zone_of(zone).expect("a literal below"),
        };
        (
            site,
            SiteRules {
                release_days_max: RELEASE_DAYS_DEFAULT,
                fingerprint: false,
                sealed_only: false,
                log,
            },
        )
    })
    .collect()
}

/// How long each site of the house keeps its log, by default.
pub fn retention() -> BTreeMap<Site, Retention> {
    let sites = defaults().into_iter();
    sites.map(|(site, rules)| (site, rules.log)).collect()
}

/// Days of release unless configured: past the 120 days in which most card disputes are raised.
pub const RELEASE_DAYS_DEFAULT: u32 = 180;

/// The longest that a site may configure.
pub const RELEASE_DAYS_MAX: u32 = (limits::RELEASE_MS_MAX / DAY_MS) as u32;

/// The time zones of the sites, as rules (POSIX TZ) and not by name: no table of the machine's is
/// needed to know when a year ends.
const US_CENTRAL: &str = "CST6CDT,M3.2.0,M11.1.0";
const BRITAIN: &str = "GMT0BST,M3.5.0/1,M10.5.0";
const MIDDLE_EUROPE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// Reads a time zone: a rule as above.
pub fn zone_of(text: &str) -> Option<TimeZone> {
    TimeZone::posix(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(site: &str, year: i16, month: u8) -> String {
        let rules = &defaults()[&Site::parse(site).unwrap()];
        rules.log.kept_until(year, month).to_string()
    }

    #[test]
    fn each_site_keeps_its_log_for_its_own_period_and_to_its_own_midnight() {
        assert_eq!(kept("us", 2026, 10), "2033-11-01T05:00:00.000Z");
        assert_eq!(kept("us", 2026, 11), "2033-12-01T06:00:00.000Z");
        assert_eq!(kept("uk", 2026, 11), "2033-01-01T00:00:00.000Z");
        assert_eq!(kept("nl", 2026, 11), "2033-12-31T23:00:00.000Z");
        assert_eq!(kept("se", 2026, 11), "2033-12-31T23:00:00.000Z");
        assert_eq!(kept("dk", 2026, 11), "2031-12-31T23:00:00.000Z");
    }

    /// The last hour of UTC's December is January in Amsterdam, and another financial year; in
    /// London it isn't, and in Texas it is still the evening before.
    #[test]
    fn what_is_next_year_already_at_the_site_is_kept_for_that_year() {
        assert_eq!(kept("nl", 2026, 12), "2034-12-31T23:00:00.000Z");
        assert_eq!(kept("se", 2026, 12), "2034-12-31T23:00:00.000Z");
        assert_eq!(kept("dk", 2026, 12), "2032-12-31T23:00:00.000Z");
        assert_eq!(kept("uk", 2026, 12), "2033-01-01T00:00:00.000Z");
        assert_eq!(kept("us", 2026, 12), "2034-01-01T06:00:00.000Z");
        assert_eq!(kept("nl", 2027, 1), "2034-12-31T23:00:00.000Z");
        assert_eq!(kept("dk", 2027, 1), "2032-12-31T23:00:00.000Z");
    }

    #[test]
    fn leap_days_are_in_whole_months() {
        assert_eq!(kept("us", 2028, 2), "2035-03-01T06:00:00.000Z");
        assert_eq!(kept("us", 2025, 2), "2032-03-01T06:00:00.000Z");
        assert_eq!(kept("us", 2025, 1), "2032-02-01T06:00:00.000Z");
    }

    #[test]
    fn a_broken_financial_year_is_followed() {
        let mut log = defaults()[&Site::parse("uk").unwrap()].log.clone();
        log.financial_year_end_month = 3;
        // The last hour of UTC's March is April in London: summer time has begun.
        assert_eq!(
            log.kept_until(2027, 2).to_string(),
            "2033-03-31T23:00:00.000Z"
        );
        assert_eq!(
            log.kept_until(2027, 3).to_string(),
            "2034-03-31T23:00:00.000Z"
        );
        assert_eq!(
            log.kept_until(2027, 4).to_string(),
            "2034-03-31T23:00:00.000Z"
        );
        log.from = RetentionStart::CalendarYear;
        log.years = 7;
        assert_eq!(
            log.kept_until(2026, 4).to_string(),
            "2035-01-01T00:00:00.000Z"
        );
    }

    #[test]
    fn the_end_of_the_calendar_is_no_reason_to_erase() {
        assert_eq!(
            kept("nl", 9999, 12),
            crate::clock::TIMESTAMP_MAX.to_string()
        );
    }
}
