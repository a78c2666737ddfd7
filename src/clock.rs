//! Time, injected: wall time for dates, monotonic time for ages. Nothing else in the crate asks the
//! operating system for the time (`tests/tidy.rs` checks it).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A moment: milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

/// One day in milliseconds.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The last moment that the vault's dates may name: 9999-12-31T23:59:59.999Z.
pub const TIMESTAMP_MAX: Timestamp = Timestamp(253_402_300_799_999);

impl Timestamp {
    /// This moment and `ms` milliseconds.
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; 0 when it is later.
    pub fn since_ms(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Days since 1970-01-01 (UTC): the number of a day bucket.
    pub fn day(self) -> u32 {
        (self.0 / DAY_MS) as u32
    }

    /// Year and month (UTC): for example (2026, 11).
    pub fn year_month(self) -> (i16, u8) {
        let zoned = jiff::tz::TimeZone::UTC.to_datetime(self.jiff());
        (zoned.year(), zoned.month() as u8)
    }

    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let parsed: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(parsed.as_millisecond()).ok().map(Timestamp)
    }

    fn jiff(self) -> jiff::Timestamp {
        let ms = self.0.min(TIMESTAMP_MAX.0) as i64;
        jiff::Timestamp::from_millisecond(ms).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.jiff())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where time comes from.
#[derive(Clone)]
pub enum Clock {
    /// The operating system's.
    System(Instant),
    /// A test's, moved by hand.
    Manual(Arc<ManualClock>),
}

/// A clock that stands still until it is moved.
#[derive(Default)]
pub struct ManualClock {
    wall_ms: AtomicU64,
    monotonic_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn starting_at(now: Timestamp) -> Arc<ManualClock> {
        let clock = ManualClock::default();
        clock.wall_ms.store(now.0, Ordering::SeqCst);
        Arc::new(clock)
    }

    /// Time passes: both clocks move.
    pub fn pass_ms(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock; no time passes.
    pub fn step_to(&self, now: Timestamp) {
        self.wall_ms.store(now.0, Ordering::SeqCst);
    }
}

impl Clock {
    /// The operating system's clock.
    pub fn system() -> Clock {
        Clock::System(Instant::now())
    }

    /// Wall time.
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System(_) => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp(since.as_millis() as u64)
            }
            Clock::Manual(clock) => Timestamp(clock.wall_ms.load(Ordering::SeqCst)),
        }
    }

    /// Milliseconds since this clock was made; never runs back.
    pub fn monotonic_ms(&self) -> u64 {
        match self {
            Clock::System(start) => start.elapsed().as_millis() as u64,
            Clock::Manual(clock) => clock.monotonic_ms.load(Ordering::SeqCst),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_milliseconds_and_is_read_back() {
        let t = Timestamp(1_795_459_455_007);
        assert_eq!(t.to_string(), "2026-11-23T18:44:15.007Z");
        assert_eq!(Timestamp::parse(&t.to_string()), Some(t));
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn months_and_days_are_utc() {
        let t = Timestamp::parse("2028-02-29T23:59:59.999Z").unwrap();
        assert_eq!(t.year_month(), (2028, 2));
        assert_eq!(t.plus_ms(1).year_month(), (2028, 3));
        assert_eq!(t.plus_ms(1).day(), t.day() + 1);
    }
}
