//! The primary account number of a card (ISO/IEC 7812): reading it, and the brand that its first
//! digits suggest.

use super::grouped::{Alphabet, ungroup};
use super::luhn::{self, CARD_NUMBER_DIGITS};
use super::problem::Problem;
use crate::secret::SecretText;
use std::ops::RangeInclusive;

/// A card brand, by its number range. Advice for showing a card: ranges are sold and split, so a
/// brand never refuses a number and never decides a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brand {
    /// American Express.
    Amex,
    /// Diners Club.
    Diners,
    /// Discover.
    Discover,
    /// JCB.
    Jcb,
    /// Maestro.
    Maestro,
    /// Mastercard.
    Mastercard,
    /// China UnionPay.
    UnionPay,
    /// Visa.
    Visa,
}

impl Brand {
    /// The brand of a card number in ASCII digits; `None` when its first four digits and its length
    /// fit none. A number holds only one: the ranges don't overlap.
    pub fn of(number: &str) -> Option<Brand> {
        let first: u16 = number.get(..4)?.parse().ok()?;
        RANGES
            .iter()
            .find(|range| range.first.contains(&first) && range.digits.contains(&number.len()))
            .map(|range| range.brand)
    }

    /// Its name in the API: lower case, one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Brand::Amex => "amex",
            Brand::Diners => "diners",
            Brand::Discover => "discover",
            Brand::Jcb => "jcb",
            Brand::Maestro => "maestro",
            Brand::Mastercard => "mastercard",
            Brand::UnionPay => "unionpay",
            Brand::Visa => "visa",
        }
    }
}

struct Range {
    /// The first four digits.
    first: RangeInclusive<u16>,
    /// Lengths of the whole number.
    digits: &'static [usize],
    brand: Brand,
}

const fn range(first: RangeInclusive<u16>, digits: &'static [usize], brand: Brand) -> Range {
    Range {
        first,
        digits,
        brand,
    }
}

/// Source: the schemes' published ranges (ISO/IEC 7812 leading digits), as in use in 2026. No two
/// overlap, so their order says nothing.
static RANGES: &[Range] = &[
    // 15 digits is JCB's older form of these two.
    range(1800..=1800, &[15, 16, 17, 18, 19], Brand::Jcb),
    range(2131..=2131, &[15, 16, 17, 18, 19], Brand::Jcb),
    range(2221..=2720, &[16], Brand::Mastercard),
    range(3000..=3059, &[14, 16, 19], Brand::Diners),
    range(3400..=3499, &[15], Brand::Amex),
    range(3528..=3589, &[16, 17, 18, 19], Brand::Jcb),
    range(3600..=3699, &[14, 16, 19], Brand::Diners),
    range(3700..=3799, &[15], Brand::Amex),
    range(3800..=3999, &[14, 16, 19], Brand::Diners),
    range(4000..=4999, &[13, 16, 18, 19], Brand::Visa),
    // Of Maestro's wide ranges (50, 56-69) only what no other scheme issues in.
    range(5018..=5018, MAESTRO_DIGITS, Brand::Maestro),
    range(5020..=5020, MAESTRO_DIGITS, Brand::Maestro),
    range(5038..=5038, MAESTRO_DIGITS, Brand::Maestro),
    range(5100..=5599, &[16], Brand::Mastercard),
    range(5893..=5893, MAESTRO_DIGITS, Brand::Maestro),
    range(6011..=6011, &[16, 19], Brand::Discover),
    range(6200..=6299, UNIONPAY_DIGITS, Brand::UnionPay),
    range(6304..=6304, MAESTRO_DIGITS, Brand::Maestro),
    range(6440..=6599, &[16, 19], Brand::Discover),
    range(6700..=6799, MAESTRO_DIGITS, Brand::Maestro),
    range(8100..=8199, UNIONPAY_DIGITS, Brand::UnionPay),
];

const MAESTRO_DIGITS: &[usize] = &[12, 13, 14, 15, 16, 17, 18, 19];
const UNIONPAY_DIGITS: &[usize] = &[14, 15, 16, 17, 18, 19];

/// Reads a card number as it comes in.
///
/// # Errors
/// Field `number`: not digits, not 12 to 19 of them, or Luhn fails.
pub(super) fn parse(text: &SecretText) -> Result<SecretText, Problem> {
    let refuse = |what| Problem::new("number", what);
    let number = ungroup(text, Alphabet::Digits).map_err(refuse)?;
    if !is_shaped(number.expose()) {
        return Err(refuse("must be 12 to 19 digits"));
    }
    if !luhn::passes(number.expose().as_bytes()) {
        return Err(refuse("fails the Luhn check: a digit is wrong"));
    }
    Ok(number)
}

/// Whether `number` is 12 to 19 ASCII digits.
pub(super) fn is_shaped(number: &str) -> bool {
    CARD_NUMBER_DIGITS.contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::vectors;

    #[test]
    fn vectors_are_read_and_branded() {
        for [name, text, expected] in
            vectors::rows(include_str!("../../tests/vectors/payment/card_number.tsv"))
        {
            match parse(&SecretText::copy_from(text)) {
                Ok(number) => {
                    let brand = Brand::of(number.expose()).map_or("-", Brand::as_str);
                    assert!(name.starts_with("ok_"), "{name}");
                    assert_eq!(brand, expected, "{name}");
                }
                Err(problem) => {
                    assert!(name.starts_with("fail_"), "{name}");
                    assert_eq!(problem.field, "number");
                    assert!(problem.what.contains(expected), "{name}: {}", problem.what);
                }
            }
        }
    }

    #[test]
    fn ranges_are_in_order_and_do_not_overlap() {
        for pair in RANGES.windows(2) {
            assert!(pair[0].first.end() < pair[1].first.start());
        }
    }

    #[test]
    fn each_end_of_each_range_has_its_brand_and_its_neighbours_do_not() {
        for range in RANGES {
            for length in 12..=19 {
                let brand =
                    |first: u16| Brand::of(&format!("{first:04}{}", "0".repeat(length - 4)));
                let expected = range.digits.contains(&length).then_some(range.brand);
                assert_eq!(brand(*range.first.start()), expected);
                assert_eq!(brand(*range.first.end()), expected);
                for outside in [range.first.start() - 1, range.first.end() + 1] {
                    if RANGES.iter().all(|r| !r.first.contains(&outside)) {
                        assert_eq!(brand(outside), None, "{outside}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_has_no_brand() {
        for text in [
            "",
            "411",
            "41é1111111111111",
            "é",
            "abcd111111111111",
            "+111111111111111",
        ] {
            assert_eq!(Brand::of(text), None, "{text}");
        }
    }
}
