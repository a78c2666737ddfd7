//! A bank account in Denmark: registration number and account number. There is no check digit that
//! all banks use, so nothing but the shape can be judged.

use super::free_text::{self, ACCOUNT_HOLDER};
use super::grouped::{Alphabet, padded, ungroup};
use super::problem::{Problem, keep};
use crate::secret::SecretText;

/// Digits of an account number as it is kept: what is shorter has zeros put in front, as in a
/// Danish IBAN.
const ACCOUNT_DIGITS: usize = 10;
/// Digits of a registration number, which names bank and branch.
const REG_DIGITS: usize = 4;

/// A Danish account as it is kept.
pub struct DkAccount {
    /// Registration number: 4 ASCII digits.
    pub reg_number: SecretText,
    /// Account number: 10 ASCII digits.
    pub account_number: SecretText,
    /// Account holder, 1 to 70 characters.
    pub holder: SecretText,
}

/// Checks a Danish account that came in, and pads its number.
///
/// # Errors
/// Every field that breaks a rule (`proto/payvault/v1/payment.proto`), one problem each; values are
/// never said.
pub fn dk_account(
    reg: SecretText,
    account: SecretText,
    holder: SecretText,
) -> Result<DkAccount, Vec<Problem>> {
    let mut problems = Vec::new();
    let reg_number = keep(parse_reg(&reg), &mut problems);
    let account_number = keep(parse_account(&account), &mut problems);
    let holder = keep(free_text::check(holder, &ACCOUNT_HOLDER), &mut problems);
    match (reg_number, account_number, holder) {
        (Some(reg_number), Some(account_number), Some(holder)) => Ok(DkAccount {
            reg_number,
            account_number,
            holder,
        }),
        _ => Err(problems),
    }
}

fn parse_reg(text: &SecretText) -> Result<SecretText, Problem> {
    let refuse = |what| Problem::new("reg_number", what);
    let number = ungroup(text, Alphabet::Digits).map_err(refuse)?;
    if !is_reg_shaped(number.expose()) {
        return Err(refuse("must be 4 digits"));
    }
    Ok(number)
}

fn parse_account(text: &SecretText) -> Result<SecretText, Problem> {
    let refuse = |what| Problem::new("account_number", what);
    let number = ungroup(text, Alphabet::Digits).map_err(refuse)?;
    if number.len() > ACCOUNT_DIGITS {
        return Err(refuse("must be 1 to 10 digits"));
    }
    if number.expose().bytes().all(|b| b == b'0') {
        return Err(refuse("must not be zeros only"));
    }
    Ok(padded(number, ACCOUNT_DIGITS))
}

/// Whether `number` is 4 ASCII digits.
pub(super) fn is_reg_shaped(number: &str) -> bool {
    number.len() == REG_DIGITS && number.bytes().all(|b| b.is_ascii_digit())
}

/// Whether `number` is 10 ASCII digits.
pub(super) fn is_account_shaped(number: &str) -> bool {
    number.len() == ACCOUNT_DIGITS && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::vectors;

    #[test]
    fn vectors_are_accepted_or_refused_for_their_reason() {
        for [name, reg, account, expected] in
            vectors::rows(include_str!("../../tests/vectors/payment/dk_account.tsv"))
        {
            let text = SecretText::copy_from;
            match dk_account(text(reg), text(account), text("A. Lund")) {
                Ok(kept) => {
                    assert!(name.starts_with("ok_"), "{name}");
                    assert_eq!(kept.account_number.expose(), expected, "{name}");
                    assert_eq!(kept.reg_number.len(), 4, "{name}");
                }
                Err(problems) => {
                    assert!(name.starts_with("fail_"), "{name}");
                    assert!(problems[0].what.contains(expected), "{name}: {problems:?}");
                }
            }
        }
    }

    #[test]
    fn all_problems_are_said_at_once() {
        let text = SecretText::copy_from;
        let refused = dk_account(text("12"), text("12345678901"), text(""));
        let problems = refused.err().unwrap_or_default();
        let fields: Vec<&str> = problems.iter().map(|p| p.field).collect();
        assert_eq!(fields, ["reg_number", "account_number", "holder"]);
    }
}
