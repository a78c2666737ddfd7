//! Swedish giro numbers, which stand for an account without naming it: bankgiro and plusgiro. Both
//! end with a Luhn digit.

use super::free_text::{self, ACCOUNT_HOLDER};
use super::grouped::{Alphabet, ungroup};
use super::luhn;
use super::problem::{Problem, keep};
use crate::secret::SecretText;
use std::ops::RangeInclusive;

/// Digits of a bankgiro number (Bankgirot, "Teknisk information om 10-modulen").
const BANKGIRO_DIGITS: RangeInclusive<usize> = 7..=8;
/// Digits of a plusgiro number.
const PLUSGIRO_DIGITS: RangeInclusive<usize> = 2..=8;

/// A bankgiro as it is kept.
pub struct Bankgiro {
    /// 7 or 8 ASCII digits that pass Luhn.
    pub number: SecretText,
    /// Account holder, 1 to 70 characters.
    pub holder: SecretText,
}

/// A plusgiro as it is kept.
pub struct Plusgiro {
    /// 2 to 8 ASCII digits that pass Luhn.
    pub number: SecretText,
    /// Account holder, 1 to 70 characters.
    pub holder: SecretText,
}

/// Checks a bankgiro that came in.
///
/// # Errors
/// Every field that breaks a rule (`proto/payvault/v1/payment.proto`), one problem each; values are
/// never said.
pub fn bankgiro(number: SecretText, holder: SecretText) -> Result<Bankgiro, Vec<Problem>> {
    let shape = (BANKGIRO_DIGITS, "must be 7 or 8 digits");
    let (number, holder) = giro(&number, holder, shape)?;
    Ok(Bankgiro { number, holder })
}

/// Checks a plusgiro that came in.
///
/// # Errors
/// As [`bankgiro`].
pub fn plusgiro(number: SecretText, holder: SecretText) -> Result<Plusgiro, Vec<Problem>> {
    let shape = (PLUSGIRO_DIGITS, "must be 2 to 8 digits");
    let (number, holder) = giro(&number, holder, shape)?;
    Ok(Plusgiro { number, holder })
}

fn giro(
    number: &SecretText,
    holder: SecretText,
    shape: (RangeInclusive<usize>, &'static str),
) -> Result<(SecretText, SecretText), Vec<Problem>> {
    let mut problems = Vec::new();
    let number = keep(parse(number, shape), &mut problems);
    let holder = keep(free_text::check(holder, &ACCOUNT_HOLDER), &mut problems);
    match (number, holder) {
        (Some(number), Some(holder)) => Ok((number, holder)),
        _ => Err(problems),
    }
}

fn parse(
    text: &SecretText,
    (digits, wrong_count): (RangeInclusive<usize>, &'static str),
) -> Result<SecretText, Problem> {
    let refuse = |what| Problem::new("number", what);
    let number = ungroup(text, Alphabet::Digits).map_err(refuse)?;
    if !digits.contains(&number.len()) {
        return Err(refuse(wrong_count));
    }
    if number.expose().bytes().all(|b| b == b'0') {
        return Err(refuse("must not be zeros only"));
    }
    if !luhn::passes(number.expose().as_bytes()) {
        return Err(refuse("fails its check digit: a digit is wrong"));
    }
    Ok(number)
}

/// Whether `number` is as many ASCII digits as a bankgiro has.
pub(super) fn is_bankgiro_shaped(number: &str) -> bool {
    BANKGIRO_DIGITS.contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
}

/// Whether `number` is as many ASCII digits as a plusgiro has.
pub(super) fn is_plusgiro_shaped(number: &str) -> bool {
    PLUSGIRO_DIGITS.contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::vectors;

    type Read = Result<String, Vec<Problem>>;

    fn read_bankgiro(text: &str) -> Read {
        let read = bankgiro(SecretText::copy_from(text), SecretText::copy_from("A. Ek"));
        read.map(|giro| giro.number.expose().to_owned())
    }

    fn read_plusgiro(text: &str) -> Read {
        let read = plusgiro(SecretText::copy_from(text), SecretText::copy_from("A. Ek"));
        read.map(|giro| giro.number.expose().to_owned())
    }

    fn hold(rows: &'static str, read: fn(&str) -> Read) {
        for [name, text, expected] in vectors::rows(rows) {
            match read(text) {
                Ok(number) => {
                    assert!(name.starts_with("ok_"), "{name}");
                    assert_eq!(number, expected, "{name}");
                }
                Err(problems) => {
                    assert!(name.starts_with("fail_"), "{name}");
                    assert_eq!(problems[0].field, "number", "{name}");
                    assert!(problems[0].what.contains(expected), "{name}: {problems:?}");
                }
            }
        }
    }

    #[test]
    fn bankgiro_vectors_are_accepted_or_refused_for_their_reason() {
        let rows = include_str!("../../tests/vectors/payment/bankgiro.tsv");
        hold(rows, read_bankgiro);
    }

    #[test]
    fn plusgiro_vectors_are_accepted_or_refused_for_their_reason() {
        let rows = include_str!("../../tests/vectors/payment/plusgiro.tsv");
        hold(rows, read_plusgiro);
    }

    /// All single wrong digits, and all transpositions but of 0 and 9 (as in `luhn`).
    #[test]
    fn typing_errors_are_noticed() {
        for (number, read) in [
            ("50501055", read_bankgiro as fn(&str) -> Read),
            ("9912346", read_bankgiro),
            ("2865434", read_plusgiro),
            ("42", read_plusgiro),
        ] {
            assert!(read(number).is_ok(), "{number}");
            for at in 0..number.len() {
                for digit in (b'0'..=b'9').filter(|d| *d != number.as_bytes()[at]) {
                    let mut wrong = number.as_bytes().to_vec();
                    wrong[at] = digit;
                    assert!(read(&String::from_utf8(wrong).expect("digits")).is_err());
                }
            }
            for at in 0..number.len() - 1 {
                let mut wrong = number.as_bytes().to_vec();
                let (a, b) = (wrong[at], wrong[at + 1]);
                wrong.swap(at, at + 1);
                let unnoticed = a == b || matches!((a, b), (b'0', b'9') | (b'9', b'0'));
                let wrong = String::from_utf8(wrong).expect("digits");
                assert_eq!(read(&wrong).is_ok(), unnoticed, "{wrong}");
            }
        }
    }

    #[test]
    fn a_holder_is_required() {
        let none = || SecretText::copy_from("");
        let number = || SecretText::copy_from("5050-1055");
        let fields = bankgiro(number(), none()).err().unwrap_or_default();
        assert_eq!(fields.len(), 1);
        assert_eq!(fields[0].field, "holder");
        let both = plusgiro(none(), none()).err().unwrap_or_default();
        assert_eq!(both.len(), 2);
    }
}
