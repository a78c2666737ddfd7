//! The countries of the SWIFT IBAN registry (ISO 13616): how long their IBANs are, and what their
//! account numbers (BBANs) are made of. A table and its look-up; the check is in [`super::iban()`].
//!
//! Source: SWIFT IBAN registry, release 102 of June 2026, elements "IBAN prefix country code",
//! "IBAN length" and "BBAN structure". A new release is taken in here, with its examples in
//! `tests/vectors/payment/iban.tsv`. The positions of the bank identifiers are those that the crate
//! `iban_validate` 5.0.1 (MIT or Apache-2.0) has from the registry, but for HN and PK, which it
//! hasn't; Poland's registry entry names none.

use std::ops::Range;

/// One country's IBANs.
pub struct IbanCountry {
    /// ISO 3166 alpha-2 code that its IBANs start with (XK, Kosovo, is user-assigned there).
    pub code: &'static str,
    /// Length of the whole IBAN in characters.
    pub length: usize,
    /// Where in the BBAN the bank's identifier stands; empty when the registry has none.
    pub bank: Range<usize>,
    /// Parts of the BBAN, in order. Their sizes add up to `length` − 4.
    pub bban: &'static [Part],
}

/// A run of characters of one class, such as `4!a`.
pub struct Part {
    /// What they are.
    pub class: Class,
    /// How many.
    pub count: usize,
}

/// Classes of characters (ISO 13616-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `n`: 0–9.
    Digit,
    /// `a`: A–Z.
    Letter,
    /// `c`: 0–9 and A–Z. The standard has a–z too; on input they were turned to upper case.
    Alphanumeric,
}

impl IbanCountry {
    /// The country of that code; `None` when it has no IBANs.
    pub fn of(code: &str) -> Option<&'static IbanCountry> {
        COUNTRIES
            .binary_search_by(|country| country.code.cmp(code))
            .ok()
            .map(|at| &COUNTRIES[at])
    }

    /// Whether `bban`, of the country's length and without separators, has the right class of
    /// character at each place.
    pub fn bban_fits(&self, bban: &[u8]) -> bool {
        let mut rest = bban;
        for part in self.bban {
            let Some((run, behind)) = rest.split_at_checked(part.count) else {
                return false;
            };
            if !run.iter().all(|byte| part.class.holds(*byte)) {
                return false;
            }
            rest = behind;
        }
        rest.is_empty()
    }
}

impl Class {
    /// Whether the character belongs to it.
    pub fn holds(self, byte: u8) -> bool {
        match self {
            Class::Digit => byte.is_ascii_digit(),
            Class::Letter => byte.is_ascii_uppercase(),
            Class::Alphanumeric => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
        }
    }
}

/// All countries, sorted by code.
pub fn countries() -> &'static [IbanCountry] {
    COUNTRIES
}

const fn country(
    code: &'static str,
    length: usize,
    bank: Range<usize>,
    bban: &'static [Part],
) -> IbanCountry {
    IbanCountry {
        code,
        length,
        bank,
        bban,
    }
}

// The registry's own notation: n(4) is "4!n".
const fn n(count: usize) -> Part {
    let class = Class::Digit;
    Part { class, count }
}

const fn a(count: usize) -> Part {
    let class = Class::Letter;
    Part { class, count }
}

const fn c(count: usize) -> Part {
    let class = Class::Alphanumeric;
    Part { class, count }
}

static COUNTRIES: &[IbanCountry] = &[
    country("AD", 24, 0..4, &[n(4), n(4), c(12)]),
    country("AE", 23, 0..3, &[n(3), n(16)]),
    country("AL", 28, 0..3, &[n(8), c(16)]),
    country("AT", 20, 0..5, &[n(5), n(11)]),
    country("AZ", 28, 0..4, &[a(4), c(20)]),
    country("BA", 20, 0..3, &[n(3), n(3), n(8), n(2)]),
    country("BE", 16, 0..3, &[n(3), n(7), n(2)]),
    country("BG", 22, 0..4, &[a(4), n(4), n(2), c(8)]),
    country("BH", 22, 0..4, &[a(4), c(14)]),
    country("BI", 27, 0..5, &[n(5), n(5), n(11), n(2)]),
    country("BR", 29, 0..8, &[n(8), n(5), n(10), a(1), c(1)]),
    country("BY", 28, 0..4, &[c(4), n(4), c(16)]),
    country("CH", 21, 0..5, &[n(5), c(12)]),
    country("CR", 22, 0..4, &[n(4), n(14)]),
    country("CY", 28, 0..3, &[n(3), n(5), c(16)]),
    country("CZ", 24, 0..4, &[n(4), n(16)]),
    country("DE", 22, 0..8, &[n(8), n(10)]),
    country("DJ", 27, 0..5, &[n(5), n(5), n(11), n(2)]),
    country("DK", 18, 0..4, &[n(4), n(9), n(1)]),
    country("DO", 28, 0..4, &[c(4), n(20)]),
    country("EE", 20, 0..2, &[n(2), n(14)]),
    country("EG", 29, 0..4, &[n(4), n(4), n(17)]),
    country("ES", 24, 0..4, &[n(4), n(4), n(1), n(1), n(10)]),
    country("FI", 18, 0..3, &[n(3), n(11)]),
    country("FK", 18, 0..2, &[a(2), n(12)]),
    country("FO", 18, 0..4, &[n(4), n(9), n(1)]),
    country("FR", 27, 0..5, &[n(5), n(5), c(11), n(2)]),
    country("GB", 22, 0..4, &[a(4), n(6), n(8)]),
    country("GE", 22, 0..2, &[a(2), n(16)]),
    country("GI", 23, 0..4, &[a(4), c(15)]),
    country("GL", 18, 0..4, &[n(4), n(9), n(1)]),
    country("GR", 27, 0..3, &[n(3), n(4), c(16)]),
    country("GT", 28, 0..4, &[c(4), c(20)]),
    country("HN", 28, 0..4, &[a(4), n(20)]),
    country("HR", 21, 0..7, &[n(7), n(10)]),
    country("HU", 28, 0..3, &[n(3), n(4), n(1), n(15), n(1)]),
    country("IE", 22, 0..4, &[a(4), n(6), n(8)]),
    country("IL", 23, 0..3, &[n(3), n(3), n(13)]),
    country("IQ", 23, 0..4, &[a(4), n(3), n(12)]),
    country("IS", 26, 0..2, &[n(4), n(2), n(6), n(10)]),
    country("IT", 27, 1..6, &[a(1), n(5), n(5), c(12)]),
    country("JO", 30, 0..4, &[a(4), n(4), c(18)]),
    country("KW", 30, 0..4, &[a(4), c(22)]),
    country("KZ", 20, 0..3, &[n(3), c(13)]),
    country("LB", 28, 0..4, &[n(4), c(20)]),
    country("LC", 32, 0..4, &[a(4), c(24)]),
    country("LI", 21, 0..5, &[n(5), c(12)]),
    country("LT", 20, 0..5, &[n(5), n(11)]),
    country("LU", 20, 0..3, &[n(3), c(13)]),
    country("LV", 21, 0..4, &[a(4), c(13)]),
    country("LY", 25, 0..3, &[n(3), n(3), n(15)]),
    country("MC", 27, 0..5, &[n(5), n(5), c(11), n(2)]),
    country("MD", 24, 0..2, &[c(2), c(18)]),
    country("ME", 22, 0..3, &[n(3), n(13), n(2)]),
    country("MK", 19, 0..3, &[n(3), c(10), n(2)]),
    country("MN", 20, 0..4, &[n(4), n(12)]),
    country("MR", 27, 0..5, &[n(5), n(5), n(11), n(2)]),
    country("MT", 31, 0..4, &[a(4), n(5), c(18)]),
    country("MU", 30, 0..6, &[a(4), n(2), n(2), n(12), n(3), a(3)]),
    country("NI", 28, 0..4, &[a(4), n(20)]),
    country("NL", 18, 0..4, &[a(4), n(10)]),
    country("NO", 15, 0..4, &[n(4), n(6), n(1)]),
    country("OM", 23, 0..3, &[n(3), c(16)]),
    country("PK", 24, 0..4, &[a(4), c(16)]),
    country("PL", 28, 0..0, &[n(8), n(16)]),
    country("PS", 29, 0..4, &[a(4), c(21)]),
    country("PT", 25, 0..4, &[n(4), n(4), n(11), n(2)]),
    country("QA", 29, 0..4, &[a(4), c(21)]),
    country("RO", 24, 0..4, &[a(4), c(16)]),
    country("RS", 22, 0..3, &[n(3), n(13), n(2)]),
    country("RU", 33, 0..9, &[n(9), n(5), c(15)]),
    country("SA", 24, 0..2, &[n(2), c(18)]),
    country("SC", 31, 0..6, &[a(4), n(2), n(2), n(16), a(3)]),
    country("SD", 18, 0..2, &[n(2), n(12)]),
    country("SE", 24, 0..3, &[n(3), n(16), n(1)]),
    country("SI", 19, 0..5, &[n(5), n(8), n(2)]),
    country("SK", 24, 0..4, &[n(4), n(6), n(10)]),
    country("SM", 27, 1..6, &[a(1), n(5), n(5), c(12)]),
    country("SO", 23, 0..4, &[n(4), n(3), n(12)]),
    country("ST", 25, 0..4, &[n(4), n(4), n(11), n(2)]),
    country("SV", 28, 0..4, &[a(4), n(20)]),
    country("TL", 23, 0..3, &[n(3), n(14), n(2)]),
    country("TN", 24, 0..2, &[n(2), n(3), n(13), n(2)]),
    country("TR", 26, 0..5, &[n(5), n(1), c(16)]),
    country("UA", 29, 0..6, &[n(6), c(19)]),
    country("VA", 22, 0..3, &[n(3), n(15)]),
    country("VG", 24, 0..4, &[a(4), n(16)]),
    country("XK", 20, 0..2, &[n(4), n(10), n(2)]),
    country("YE", 30, 0..4, &[a(4), n(4), c(18)]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_lengths_agree_with_its_parts() {
        assert_eq!(COUNTRIES.len(), 89);
        for pair in COUNTRIES.windows(2) {
            assert!(pair[0].code < pair[1].code, "{}", pair[1].code);
        }
        for country in COUNTRIES {
            let parts: usize = country.bban.iter().map(|part| part.count).sum();
            assert_eq!(parts + 4, country.length, "{}", country.code);
            assert!(country.bank.end <= parts, "{}", country.code);
        }
    }

    /// A second copy of the lengths, from another reading of the registry (v99-v101).
    #[test]
    fn lengths_are_the_published_ones() {
        let published = [
            (15, "NO"),
            (16, "BE"),
            (18, "DK FI FK FO GL NL SD"),
            (19, "MK SI"),
            (20, "AT BA EE KZ LT LU MN XK"),
            (21, "CH HR LI LV"),
            (22, "BG BH CR DE GB GE IE ME RS VA"),
            (23, "AE GI IL IQ OM SO TL"),
            (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
            (25, "LY PT ST"),
            (26, "IS TR"),
            (27, "BI DJ FR GR IT MC MR SM"),
            (28, "AL AZ BY CY DO GT HN HU LB NI PL SV"),
            (29, "BR EG PS QA UA"),
            (30, "JO KW MU YE"),
            (31, "MT SC"),
            (32, "LC"),
            (33, "RU"),
        ];
        let mut seen = 0;
        for (length, codes) in published {
            for code in codes.split(' ') {
                assert_eq!(
                    IbanCountry::of(code).map(|c| c.length),
                    Some(length),
                    "{code}"
                );
                seen += 1;
            }
        }
        assert_eq!(seen, COUNTRIES.len());
    }

    #[test]
    fn a_country_is_found_by_its_code_only() {
        for country in COUNTRIES {
            let found = IbanCountry::of(country.code).map(|c| c.code);
            assert_eq!(found, Some(country.code));
        }
        for code in ["", "N", "nl", "NLD", "US", "CA", "AA", "ZZ"] {
            assert!(IbanCountry::of(code).is_none(), "{code}");
        }
    }
}
