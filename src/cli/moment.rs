//! Dates and spans as they are typed and shown.

use crate::clock::{DAY_MS, Timestamp};

/// Reads a date (`2027-01-31`, its first moment in UTC) or a moment (RFC 3339).
///
/// # Errors
/// When it is neither.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text)
        .or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
        .ok_or_else(|| {
            "give a date like 2027-01-31, or a moment like 2027-01-31T12:00:00Z".to_owned()
        })
}

/// Reads a span: a number and `s`, `m`, `h` or `d`, in milliseconds.
///
/// # Errors
/// When it is none, or longer than 10,000 days.
pub fn parse_span(text: &str) -> Result<u64, String> {
    let refused = || "give a span like 90s, 15m, 12h or 30d".to_owned();
    let unit = text.chars().last().ok_or_else(refused)?;
    let number = text.strip_suffix(unit).ok_or_else(refused)?;
    let unit_ms = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => DAY_MS,
        _ => return Err(refused()),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refused());
    }
    let count: u64 = number.parse().map_err(|_| refused())?;
    count
        .checked_mul(unit_ms)
        .filter(|ms| *ms > 0 && *ms <= 10_000 * DAY_MS)
        .ok_or_else(refused)
}

/// As the contract has it.
pub fn to_proto(moment: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(moment.0 / 1000).unwrap_or(i64::MAX),
        nanos: i32::try_from(moment.0 % 1000 * 1_000_000).unwrap_or(0),
    }
}

/// From the contract; a moment before 1970 is none.
pub fn from_proto(moment: &prost_types::Timestamp) -> Option<Timestamp> {
    let seconds = u64::try_from(moment.seconds).ok()?;
    let ms = u64::try_from(moment.nanos).ok()? / 1_000_000;
    Some(Timestamp(seconds.checked_mul(1000)?.checked_add(ms)?))
}

/// The text of a moment that may be missing.
pub fn text(moment: Option<&prost_types::Timestamp>) -> String {
    moment
        .and_then(from_proto)
        .map(|moment| moment.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_moments_are_read_as_utc() {
        let midnight = parse("2027-01-31").unwrap();
        assert_eq!(midnight.to_string(), "2027-01-31T00:00:00.000Z");
        assert_eq!(parse("2027-01-31T01:00:00+01:00"), Ok(midnight));
        assert_eq!(
            from_proto(&to_proto(midnight.plus_ms(7))),
            Some(midnight.plus_ms(7))
        );
        for bad in ["", "tomorrow", "31.01.2027", "2027-02-30"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_have_a_number_and_a_unit() {
        assert_eq!(parse_span("90s"), Ok(90_000));
        assert_eq!(parse_span("2d"), Ok(2 * DAY_MS));
        for bad in [
            "",
            "d",
            "0s",
            "-1d",
            "1.5h",
            "90",
            "10001d",
            "99999999999999999999d",
            "1ä",
        ] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }
}
