//! The ABA routing number of a bank in the United States: nine digits with a check digit and a
//! prefix that the Federal Reserve uses.

use super::grouped::{Alphabet, ungroup};
use super::problem::Problem;
use crate::secret::SecretText;

/// Weights of the check digit (ABA routing number policy): the weighted sum is a multiple of 10.
const WEIGHTS: [u32; 9] = [3, 7, 1, 3, 7, 1, 3, 7, 1];

/// Why a routing number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbaFault {
    /// Not nine ASCII digits.
    Shape,
    /// The first two digits are none of 00–12 (government and Federal Reserve districts), 21–32
    /// (thrifts), 61–72 (electronic) and 80 (traveller's cheques).
    Prefix,
    /// The weighted sum is no multiple of 10.
    CheckDigit,
}

/// Checks a routing number without separators.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(number: &str) -> Result<(), AbaFault> {
    if !is_shaped(number) {
        return Err(AbaFault::Shape);
    }
    let digits = number.as_bytes();
    let prefix = (digits[0] - b'0') * 10 + (digits[1] - b'0');
    if !matches!(prefix, 0..=12 | 21..=32 | 61..=72 | 80) {
        return Err(AbaFault::Prefix);
    }
    let sum: u32 = digits
        .iter()
        .zip(WEIGHTS)
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    if !sum.is_multiple_of(10) {
        return Err(AbaFault::CheckDigit);
    }
    Ok(())
}

/// Whether `number` is 9 ASCII digits.
pub(super) fn is_shaped(number: &str) -> bool {
    number.len() == WEIGHTS.len() && number.bytes().all(|b| b.is_ascii_digit())
}

/// Reads a routing number as it comes in.
///
/// # Errors
/// Field `routing_number`: not digits, or [`check`] refuses it.
pub(super) fn parse(text: &SecretText) -> Result<SecretText, Problem> {
    let refuse = |what| Problem::new("routing_number", what);
    let number = ungroup(text, Alphabet::Digits).map_err(refuse)?;
    check(number.expose()).map_err(|fault| {
        refuse(match fault {
            AbaFault::Shape => "must be 9 digits",
            AbaFault::Prefix => "has a prefix that is not in use",
            AbaFault::CheckDigit => "fails its check digit: a digit is wrong",
        })
    })?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::vectors;

    const NUMBERS: [&str; 4] = ["021000021", "122105155", "322271627", "091000019"];

    #[test]
    fn vectors_are_accepted_or_refused_for_their_reason() {
        for [name, text, reason] in
            vectors::rows(include_str!("../../tests/vectors/payment/aba.tsv"))
        {
            match parse(&SecretText::copy_from(text)) {
                Ok(_) => assert!(name.starts_with("ok_"), "{name}"),
                Err(problem) => {
                    assert!(name.starts_with("fail_"), "{name}");
                    assert!(problem.what.contains(reason), "{name}: {}", problem.what);
                }
            }
        }
    }

    #[test]
    fn every_single_wrong_digit_is_noticed() {
        for number in NUMBERS {
            assert_eq!(check(number), Ok(()));
            for at in 0..9 {
                for digit in (b'0'..=b'9').filter(|d| *d != number.as_bytes()[at]) {
                    let mut wrong = number.as_bytes().to_vec();
                    wrong[at] = digit;
                    let wrong = String::from_utf8(wrong).expect("digits");
                    assert!(check(&wrong).is_err(), "{wrong}");
                }
            }
        }
    }

    #[test]
    fn every_transposition_is_noticed_but_of_digits_five_apart() {
        for number in NUMBERS {
            for at in 0..8 {
                let mut wrong = number.as_bytes().to_vec();
                wrong.swap(at, at + 1);
                let unnoticed = wrong[at].abs_diff(wrong[at + 1]) % 5 == 0;
                let wrong = String::from_utf8(wrong).expect("digits");
                let refused = check(&wrong).is_err();
                assert!(refused || unnoticed, "{wrong}");
            }
        }
    }

    #[test]
    fn exactly_the_prefixes_in_use_are_accepted() {
        let in_use = |p| matches!(p, 0..=12 | 21..=32 | 61..=72 | 80);
        for prefix in 0..100 {
            let accepted = (0..10)
                .filter(|last| check(&format!("{prefix:02}000001{last}")).is_ok())
                .count();
            assert_eq!(accepted, usize::from(in_use(prefix)), "{prefix}");
        }
    }
}
