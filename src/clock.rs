//! Time, injected: wall time for dates, monotonic time for ages. Nothing else in the crate asks the
//! operating system for the time (`tests/tidy.rs` checks it).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
        let utc = self.utc();
        (utc.year(), utc.month() as u8)
    }

    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let Ok(parsed) = text.parse::<jiff::Timestamp>() else {
            return Timestamp::parse_the_end(text);
        };
        u64::try_from(parsed.as_millisecond()).ok().map(Timestamp)
    }

    /// A moment past the last one that jiff reads; in UTC only.
    fn parse_the_end(text: &str) -> Option<Timestamp> {
        let utc: DateTime = text.strip_suffix('Z')?.parse().ok()?;
        let before_end = utc.duration_until(LAST_MOMENT).as_millis();
        let ms = TIMESTAMP_MAX
            .0
            .checked_sub(u64::try_from(before_end).ok()?)?;
        let read = Timestamp(ms);
        read.jiff().is_none().then_some(read)
    }

    /// Date and time of day in UTC.
    fn utc(self) -> DateTime {
        match self.jiff() {
            Some(instant) => TimeZone::UTC.to_datetime(instant),
            None => self.at_the_end(),
        }
    }

    /// `None` past the end of jiff's instants, which is 26 hours before that of the year 9999.
    fn jiff(self) -> Option<jiff::Timestamp> {
        let ms = i64::try_from(self.0).ok()?;
        jiff::Timestamp::from_millisecond(ms).ok()
    }

    /// The moments of [`TIMESTAMP_MAX`]'s day and the one before, which jiff knows as dates only.
    fn at_the_end(self) -> DateTime {
        let before_end = TIMESTAMP_MAX.since_ms(self);
        let span = jiff::Span::new().milliseconds(i64::try_from(before_end).unwrap_or(0));
        // A subtraction of days at most can't leave the calendar.
        LAST_MOMENT.checked_sub(span).unwrap_or(LAST_MOMENT)
    }
}

const LAST_MOMENT: DateTime = DateTime::constant(9999, 12, 31, 23, 59, 59, 999_000_000);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.jiff() {
            Some(instant) => write!(f, "{instant:.3}"),
            None => write!(f, "{:.3}Z", self.at_the_end()),
        }
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

/// Beats of real time, counted from when it began: for what must be done at a time that doesn't
/// depend on how long something took. Not of an injected clock: nothing is decided by it.
pub struct Beats {
    next: tokio::time::Instant,
    every: Duration,
}

impl Beats {
    /// Begins now. Waiting needs a runtime with time; beginning doesn't.
    pub fn every_ms(ms: u64) -> Beats {
        let every = Duration::from_millis(ms);
        Beats {
            next: tokio::time::Instant::now() + every,
            every,
        }
    }

    /// Waits for the first beat that is still to come.
    pub async fn next(self) {
        // Zero while the first beat is still to come.
        let missed = beats_missed(self.next.elapsed(), self.every);
        tokio::time::sleep_until(self.next + self.every * missed).await;
    }
}

/// How many beats after the first one the next is, when the first was `late` ago.
fn beats_missed(late: Duration, every: Duration) -> u32 {
    let missed = late.as_nanos().div_ceil(every.as_nanos().max(1));
    u32::try_from(missed).unwrap_or(u32::MAX)
}

/// Turns of real time: some at once, and from then on one in each span. As [`Beats`], not of an
/// injected clock.
#[derive(Clone, Copy)]
pub struct Turns {
    /// When all that were taken are over, at one in each span.
    over: tokio::time::Instant,
}

/// How turns follow each other.
#[derive(Clone, Copy)]
pub struct Pace {
    /// The span between one and the next.
    pub every: Duration,
    /// How many are at once when none was taken for a while.
    pub at_once: u32,
    /// No turn is further away.
    pub longest: Duration,
}

impl Turns {
    /// None was taken.
    pub fn none() -> Turns {
        Turns {
            over: tokio::time::Instant::now(),
        }
    }

    /// Takes the next one; how far away it is.
    pub fn take(&mut self, pace: Pace) -> Duration {
        self.take_at(tokio::time::Instant::now(), pace)
    }

    fn take_at(&mut self, now: tokio::time::Instant, pace: Pace) -> Duration {
        let away = self.away_at(now, pace);
        if away > pace.longest {
            // Not taken: the queue would grow while nobody is left who waits in it.
            return pace.longest;
        }
        self.over = self.over.max(now) + pace.every;
        away
    }

    /// How far away the next one is, which isn't taken.
    pub fn away(&self, pace: Pace) -> Duration {
        self.away_at(tokio::time::Instant::now(), pace)
    }

    fn away_at(&self, now: tokio::time::Instant, pace: Pace) -> Duration {
        let ahead = self.over.saturating_duration_since(now);
        ahead.saturating_sub(pace.every * pace.at_once.saturating_sub(1))
    }

    /// Whether all that were taken are over: these turns are as new.
    pub fn are_over(&self) -> bool {
        self.over.elapsed() > Duration::ZERO
    }
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
    fn a_beat_comes_at_its_time_however_long_the_work_took() {
        let every = Duration::from_millis(20);
        for (late_us, missed) in [
            (0, 0),
            (1, 1),
            (19_999, 1),
            (20_000, 1),
            (20_001, 2),
            (99_000, 5),
        ] {
            let late = Duration::from_micros(late_us);
            assert_eq!(beats_missed(late, every), missed, "{late_us}");
        }
    }

    #[test]
    fn turns_are_some_at_once_and_then_one_in_each_span() {
        let ms = Duration::from_millis;
        let pace = Pace {
            every: ms(10),
            at_once: 3,
            longest: ms(50),
        };
        let start = tokio::time::Instant::now();
        let mut turns = Turns { over: start };
        let mut at = |late_ms: u64| turns.take_at(start + ms(late_ms), pace).as_millis();
        assert_eq!([at(0), at(0), at(0), at(0), at(4)], [0, 0, 0, 10, 16]);
        // Five were taken, which are over after 50 ms; two of a new three are free before that.
        assert_eq!([at(50), at(50), at(50), at(50)], [0, 0, 0, 10]);
        assert_eq!([at(50); 4].map(|_| at(50)), [30, 40, 50, 50]);
        assert_eq!([at(50), at(59), at(60)], [50, 50, 50], "none was taken");
        assert_eq!([at(1_000), at(1_000)], [0, 0]);
    }

    #[test]
    fn text_has_milliseconds_and_is_read_back() {
        let t = Timestamp(1_795_459_455_007);
        assert_eq!(t.to_string(), "2026-11-23T18:44:15.007Z");
        assert_eq!(Timestamp::parse(&t.to_string()), Some(t));
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_end_of_the_year_9999_is_shown_and_read_back() {
        let end = TIMESTAMP_MAX;
        assert_eq!(end.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(end.year_month(), (9999, 12));
        for before_ms in [0, 1, DAY_MS - 1, DAY_MS, 26 * 3_600_000, 27 * 3_600_000] {
            let t = Timestamp(end.0 - before_ms);
            assert_eq!(Timestamp::parse(&t.to_string()), Some(t));
            assert!(t.to_string().starts_with("9999-12-3"), "{t}");
        }
        assert_eq!(Timestamp::parse("9998-13-31T23:59:59.000Z"), None);
    }

    #[test]
    fn months_and_days_are_utc() {
        let t = Timestamp::parse("2028-02-29T23:59:59.999Z").unwrap();
        assert_eq!(t.year_month(), (2028, 2));
        assert_eq!(t.plus_ms(1).year_month(), (2028, 3));
        assert_eq!(t.plus_ms(1).day(), t.day() + 1);
    }
}
