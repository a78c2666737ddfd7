//! A bank account in Sweden: clearing number and account number.

use super::assurance::Assurance;
use super::free_text::{self, ACCOUNT_HOLDER};
use super::grouped::{Alphabet, padded, ungroup};
use super::luhn;
use super::problem::{Problem, keep};
use super::se_clearing::{SeRule, rule};
use crate::secret::SecretText;
use std::ops::RangeInclusive;

/// Digits of an account number behind a clearing number that no rule knows; with the clearing
/// number, more than 15 are no Swedish account.
const UNKNOWN_DIGITS: RangeInclusive<usize> = 2..=11;

/// A Swedish account as it is kept.
pub struct SeAccount {
    /// Clearing number: 4 ASCII digits. The fifth, which some of Swedbank's have, only checks them.
    pub clearing_number: SecretText,
    /// Account number: 2 to 11 ASCII digits; padded with zeros to the length that its bank's have.
    pub account_number: SecretText,
    /// Account holder, 1 to 70 characters.
    pub holder: SecretText,
    /// Whether a rule was there to check it.
    pub assurance: Assurance,
}

/// Checks a Swedish account that came in. What no published rule decides is accepted, and marked.
///
/// # Errors
/// Every field that breaks a rule (`proto/payvault/v1/payment.proto`), one problem each; values are
/// never said.
pub fn se_account(
    clearing: SecretText,
    account: SecretText,
    holder: SecretText,
) -> Result<SeAccount, Vec<Problem>> {
    let mut problems = Vec::new();
    let clearing_number = keep(parse_clearing(&clearing), &mut problems);
    let account = ungroup(&account, Alphabet::Digits);
    let account = account.map_err(|what| Problem::new("account_number", what));
    let account = keep(account, &mut problems);
    let judged = match (clearing_number, account) {
        (Some(clearing), Some(account)) => keep(judge(clearing, account), &mut problems),
        // Without a clearing number nobody knows how the account number must be.
        _ => None,
    };
    let holder = keep(free_text::check(holder, &ACCOUNT_HOLDER), &mut problems);
    match (judged, holder) {
        (Some((clearing_number, account_number, assurance)), Some(holder)) => Ok(SeAccount {
            clearing_number,
            account_number,
            holder,
            assurance,
        }),
        _ => Err(problems),
    }
}

/// Four digits, the first not 0. Swedbank's with 8 may have a fifth, Luhn's over the four.
fn parse_clearing(text: &SecretText) -> Result<SecretText, Problem> {
    let refuse = |what| Problem::new("clearing_number", what);
    let number = ungroup(text, Alphabet::Digits).map_err(refuse)?;
    let digits = number.expose();
    match digits.len() {
        5 if digits.starts_with('8') => {
            if !luhn::passes(digits.as_bytes()) {
                return Err(refuse("fails its check digit: a digit is wrong"));
            }
            Ok(SecretText::copy_from(&digits[..4]))
        }
        4 if !digits.starts_with('0') => Ok(number),
        _ => Err(refuse("must be 4 digits, or 5 that start with 8")),
    }
}

/// Pads the account number as its bank does, and checks it.
fn judge(
    clearing: SecretText,
    account: SecretText,
) -> Result<(SecretText, SecretText, Assurance), Problem> {
    let known = clearing.expose().parse().ok().and_then(rule);
    let refuse = |what| Err(Problem::new("account_number", what));
    let count = account.len();
    if account.expose().bytes().all(|b| b == b'0') {
        return refuse("must not be zeros only");
    }
    let (fits, wrong_count, length) = match known {
        None => (
            UNKNOWN_DIGITS.contains(&count),
            "must be 2 to 11 digits",
            count,
        ),
        Some(SeRule::Eleven3 | SeRule::Eleven4) => (count == 7, "must be 7 digits at this bank", 7),
        Some(SeRule::Ten) => (count == 10, "must be 10 digits at this bank", 10),
        Some(SeRule::Eleven) => (
            matches!(count, 8 | 9),
            "must be 8 or 9 digits at this bank",
            9,
        ),
        Some(SeRule::TenMaybe) => (
            (2..=10).contains(&count),
            "must be 2 to 10 digits at this bank",
            10,
        ),
    };
    if !fits {
        return refuse(wrong_count);
    }
    let account = padded(account, length);
    let (bank, number) = (clearing.expose().as_bytes(), account.expose().as_bytes());
    let passes = match known {
        None => return Ok((clearing, account, Assurance::NotChecked)),
        Some(SeRule::Eleven3) => passes_eleven(bank.iter().skip(1).chain(number)),
        Some(SeRule::Eleven4) => passes_eleven(bank.iter().chain(number)),
        Some(SeRule::Eleven) => passes_eleven(number.iter()),
        Some(SeRule::Ten | SeRule::TenMaybe) => luhn::passes(number),
    };
    match (passes, known) {
        (true, _) => Ok((clearing, account, Assurance::Checked)),
        (false, Some(SeRule::TenMaybe)) => Ok((clearing, account, Assurance::NotChecked)),
        (false, _) => refuse("fails its check digit: a digit is wrong"),
    }
}

/// Weights 1 to 10 from the right, and 1 again: the weighted sum is a multiple of 11.
fn passes_eleven<'a>(digits: impl DoubleEndedIterator<Item = &'a u8>) -> bool {
    let weights = (1..=10).cycle();
    let sum: u32 = digits
        .rev()
        .zip(weights)
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    sum.is_multiple_of(11)
}

/// Whether `number` is 4 ASCII digits.
pub(super) fn is_clearing_shaped(number: &str) -> bool {
    number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit())
}

/// Whether `number` is 2 to 11 ASCII digits.
pub(super) fn is_account_shaped(number: &str) -> bool {
    UNKNOWN_DIGITS.contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::vectors;

    fn read(clearing: &str, account: &str) -> Result<(String, Assurance), Vec<Problem>> {
        let text = SecretText::copy_from;
        se_account(text(clearing), text(account), text("A. Ek"))
            .map(|kept| (kept.account_number.expose().to_owned(), kept.assurance))
    }

    #[test]
    fn vectors_are_accepted_or_refused_for_their_reason() {
        for [name, clearing, account, kept, expected] in
            vectors::rows(include_str!("../../tests/vectors/payment/se_account.tsv"))
        {
            match read(clearing, account) {
                Ok((number, assurance)) => {
                    assert!(name.starts_with("ok_"), "{name}");
                    assert_eq!(number, kept, "{name}");
                    assert_eq!(assurance.as_str(), expected, "{name}");
                }
                Err(problems) => {
                    assert!(name.starts_with("fail_"), "{name}: {problems:?}");
                    assert!(problems[0].what.contains(expected), "{name}: {problems:?}");
                }
            }
        }
    }

    /// Every wrong digit and every transposition of an account number, for each rule that refuses;
    /// mod 10 doesn't see 0 and 9 change places.
    #[test]
    fn typing_errors_are_noticed() {
        let rows = include_str!("../../tests/vectors/payment/se_account.tsv");
        let mut tried = 0;
        for [name, clearing, _, number, assurance] in vectors::rows(rows) {
            let known = clearing.parse().ok().and_then(rule);
            if assurance != "checked" || matches!(known, None | Some(SeRule::TenMaybe)) {
                continue;
            }
            for at in 0..number.len() {
                for digit in (b'0'..=b'9').filter(|d| *d != number.as_bytes()[at]) {
                    let mut wrong = number.as_bytes().to_vec();
                    wrong[at] = digit;
                    let wrong = String::from_utf8(wrong).expect("digits");
                    assert!(read(clearing, &wrong).is_err(), "{name}: {wrong}");
                    tried += 1;
                }
            }
            for at in 0..number.len() - 1 {
                let mut wrong = number.as_bytes().to_vec();
                let (a, b) = (wrong[at], wrong[at + 1]);
                wrong.swap(at, at + 1);
                let nines = matches!((a, b), (b'0', b'9') | (b'9', b'0'));
                let unnoticed = a == b || (nines && known == Some(SeRule::Ten));
                let wrong = String::from_utf8(wrong).expect("digits");
                assert_eq!(read(clearing, &wrong).is_ok(), unnoticed, "{name}: {wrong}");
            }
        }
        assert!(tried > 400, "{tried}");
    }

    /// A wrong digit of the clearing number is noticed where it takes part: but for its first one
    /// under type 1, comment 1, and where another range has another rule.
    #[test]
    fn the_clearing_number_takes_part() {
        assert!(read("5839", "8257466").is_ok());
        for wrong in ["5838", "5829", "5739"] {
            assert!(read(wrong, "8257466").is_err(), "{wrong}");
        }
        assert!(
            read("7839", "8257466").is_ok(),
            "the first digit has no part"
        );
    }

    #[test]
    fn all_problems_are_said_at_once() {
        let text = SecretText::copy_from;
        let refused = se_account(text("123"), text("12x"), text(""));
        let problems = refused.err().unwrap_or_default();
        let fields: Vec<&str> = problems.iter().map(|p| p.field).collect();
        assert_eq!(fields, ["clearing_number", "account_number", "holder"]);
    }
}
