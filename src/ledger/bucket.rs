//! The bucket of an entry: the site and month whose key seals it, so that all of it can be erased
//! at once. In text `log/<site>/<yyyy-mm>`, and, where they differ from the default, a class
//! (`/audit`) and a generation (`#2`) (`docs/format.md` §7).

use crate::clock::Timestamp;
use crate::codec::Malformed;
use crate::ids::Site;
use crate::limits::BUCKET_BYTES_MAX;
use std::fmt::Write as _;

/// A bucket's id, read from text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket<'a> {
    /// The site, or [`Site::VAULT`].
    pub site: Site,
    /// Year and month (UTC).
    pub month: (i16, u8),
    /// The whole id.
    pub text: &'a str,
}

impl<'a> Bucket<'a> {
    /// The id of the bucket in which an entry of `site` at `at` lies, in text.
    pub fn text(site: Site, at: Timestamp) -> String {
        let (year, month) = at.year_month();
        let mut text = String::with_capacity(32);
        text.push_str("log/");
        text.push_str(site.as_str());
        // Writing to a String never fails.
        let _ = write!(text, "/{year:04}-{month:02}");
        text
    }

    /// Reads an id.
    ///
    /// # Errors
    /// When it is no bucket's id, or longer than [`BUCKET_BYTES_MAX`].
    pub fn parse(text: &'a str) -> Result<Bucket<'a>, Malformed> {
        Bucket::read(text).ok_or(Malformed::new(
            "not a bucket: log/<site>/<yyyy-mm>, a class and a generation",
        ))
    }

    fn read(text: &'a str) -> Option<Bucket<'a>> {
        if text.len() > BUCKET_BYTES_MAX {
            return None;
        }
        let (name, generation) = match text.split_once('#') {
            Some((name, generation)) => (name, Some(generation)),
            None => (text, None),
        };
        if let Some(generation) = generation {
            let number: u32 = generation.parse().ok()?;
            // The first generation is written without a number.
            if number < 2 || number.to_string() != generation {
                return None;
            }
        }
        let mut parts = name.split('/');
        if parts.next()? != "log" {
            return None;
        }
        let site = site_from_text(parts.next()?)?;
        let month = month_from_text(parts.next()?)?;
        let class = parts.next();
        let class_is_a_word =
            |class: &str| !class.is_empty() && class.bytes().all(|b| b.is_ascii_lowercase());
        if class.is_some_and(|class| !class_is_a_word(class)) || parts.next().is_some() {
            return None;
        }
        Some(Bucket { site, month, text })
    }
}

/// Reads a site's name, "-" included.
pub(super) fn site_from_text(text: &str) -> Option<Site> {
    if text == Site::VAULT.as_str() {
        Some(Site::VAULT)
    } else {
        Site::parse(text).ok()
    }
}

fn month_from_text(text: &str) -> Option<(i16, u8)> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        let part = bytes.get(range)?;
        part.iter().try_fold(0i16, |number, b| {
            b.is_ascii_digit()
                .then(|| number * 10 + i16::from(b - b'0'))
        })
    };
    if bytes.len() != 7 || bytes[4] != b'-' {
        return None;
    }
    let month = digits(5..7)?;
    let month = (1..=12).contains(&month).then_some(month as u8)?;
    Some((digits(0..4)?, month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lies_in_the_bucket_of_its_site_and_month() {
        let at = Timestamp::parse("2026-11-30T23:59:59.999Z").unwrap();
        let nl = Site::parse("nl").unwrap();
        assert_eq!(Bucket::text(nl, at), "log/nl/2026-11");
        assert_eq!(Bucket::text(nl, at.plus_ms(1)), "log/nl/2026-12");
        assert_eq!(Bucket::text(Site::VAULT, at), "log/-/2026-11");
        let text = Bucket::text(nl, at);
        let bucket = Bucket::parse(&text).unwrap();
        assert_eq!((bucket.site, bucket.month), (nl, (2026, 11)));
    }

    #[test]
    fn class_and_generation_may_follow() {
        for text in [
            "log/nl/2026-11/audit",
            "log/nl/2026-11#2",
            "log/-/2026-11/audit#13",
        ] {
            assert!(Bucket::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_bucket() {
        for text in [
            "",
            "log",
            "log/",
            "log/nl",
            "log/nl/",
            "log/nl/2026-13",
            "log/nl/2026-00",
            "log/nl/2026-1",
            "log/nl/02026-11",
            "log/NL/2026-11",
            "release/nl/20780",
            "log/nl/2026-11/",
            "log/nl/2026-11/a/b",
            "log/nl/2026-11#",
            "log/nl/2026-11#1",
            "log/nl/2026-11#02",
            "log/nl/2026-11#+2",
            "log/nl/2026-11 ",
            "log/nl/+026-11",
            "log/nl/2026-11/é",
        ] {
            assert!(Bucket::parse(text).is_err(), "{text}");
        }
        assert!(Bucket::parse(&format!("log/nl/2026-11/{}", "a".repeat(99))).is_err());
    }
}
