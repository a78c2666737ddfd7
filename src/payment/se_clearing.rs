//! Swedish clearing numbers: how long the account numbers behind each are, and which check digit
//! they have. A table and its look-up; the check is in [`super::se_account()`].
//!
//! Source: Bankgirot, "Bankernas kontonummeruppbyggnad" (user manual: types of account numbers, with
//! their comments), read off two independent transcriptions of different editions, which agree
//! wherever both have a range. Where an edition took a bank out, what it said before still stands,
//! since its accounts may be open. A clearing number that no range has decides nothing.

use std::ops::RangeInclusive;

/// How an account number is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeRule {
    /// Type 1, comment 1: 7 digits; mod 11 over the clearing number without its first digit, and
    /// the account number.
    Eleven3,
    /// Type 1, comment 2: 7 digits; mod 11 over the whole clearing number and the account number.
    Eleven4,
    /// Type 2, comment 1: 10 digits; mod 10 (Luhn) over the account number.
    Ten,
    /// Type 2, comment 2: 9 digits, 8 of them with a zero in front; mod 11 over the account number.
    Eleven,
    /// Type 2, comment 3: up to 10 digits; mod 10 (Luhn) over the account number. Some accounts
    /// don't pass, so it never refuses.
    TenMaybe,
}

/// The rule of a clearing number; `None` when no range has it.
pub fn rule(clearing: u16) -> Option<SeRule> {
    RANGES
        .iter()
        .find(|(range, _)| range.contains(&clearing))
        .map(|(_, rule)| *rule)
}

use SeRule::{Eleven, Eleven3, Eleven4, Ten, TenMaybe};

static RANGES: &[(RangeInclusive<u16>, SeRule)] = &[
    (1100..=2099, Eleven3),
    (2300..=2399, Eleven4),
    (2400..=2499, Eleven3),
    (3000..=3299, Eleven3),
    // A person's account, whose number is the person's own.
    (3300..=3300, Ten),
    (3301..=3781, Eleven3),
    (3782..=3782, Ten),
    (3783..=3999, Eleven3),
    (4000..=4999, Eleven4),
    (5000..=5999, Eleven3),
    (6000..=6999, Eleven),
    (7000..=7999, Eleven3),
    (8000..=8999, TenMaybe),
    (9020..=9029, Eleven4),
    (9040..=9049, Eleven4),
    (9060..=9069, Eleven3),
    (9070..=9079, Eleven3),
    (9100..=9109, Eleven4),
    (9120..=9124, Eleven3),
    (9130..=9149, Eleven3),
    (9150..=9169, Eleven4),
    (9170..=9179, Eleven3),
    (9180..=9189, Ten),
    (9190..=9199, Eleven4),
    (9230..=9239, Eleven3),
    (9250..=9259, Eleven3),
    (9260..=9269, Eleven4),
    (9270..=9289, Eleven3),
    (9300..=9349, Ten),
    (9390..=9399, Eleven4),
    (9400..=9449, Eleven3),
    (9460..=9469, Eleven3),
    (9470..=9479, Eleven4),
    (9500..=9549, TenMaybe),
    (9550..=9569, Eleven4),
    (9570..=9579, Ten),
    (9580..=9589, Eleven3),
    (9590..=9599, Eleven4),
    (9630..=9639, Eleven3),
    (9640..=9649, Eleven4),
    (9660..=9679, Eleven4),
    (9680..=9689, Eleven3),
    (9700..=9719, Eleven4),
    (9750..=9759, Eleven4),
    (9780..=9789, Eleven4),
    (9880..=9889, Eleven4),
    (9890..=9899, Ten),
    (9960..=9969, TenMaybe),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_in_order_and_do_not_overlap() {
        for pair in RANGES.windows(2) {
            assert!(pair[0].0.end() < pair[1].0.start(), "{:?}", pair[1].0);
        }
        for (range, rule_of_range) in RANGES {
            assert_eq!(rule(*range.start()), Some(*rule_of_range));
            assert_eq!(rule(*range.end()), Some(*rule_of_range));
        }
        for outside in [0, 1099, 2100, 2500, 9019, 9999] {
            assert_eq!(rule(outside), None, "{outside}");
        }
    }
}
