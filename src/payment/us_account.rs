//! A bank account in the United States: routing number and account number.

use super::aba;
use super::free_text::{self, ACCOUNT_HOLDER};
use super::grouped::{Alphabet, ungroup};
use super::problem::{Problem, keep};

use crate::codec::Malformed;
use crate::secret::SecretText;

/// A US account as it is kept.
pub struct UsAccount {
    /// ABA routing number: 9 ASCII digits with a right check digit.
    pub routing_number: SecretText,
    /// Account number: 4 to 17 ASCII digits (NACHA); leading zeros count.
    pub account_number: SecretText,
    /// Account holder, 1 to 70 characters.
    pub holder: SecretText,
    /// Checking or savings.
    pub account_type: UsAccountType,
}

/// Kind of a US account; NACHA transaction codes differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsAccountType {
    /// Checking account.
    Checking = 1,
    /// Savings account.
    Savings = 2,
}

impl UsAccountType {
    /// The byte of `docs/format.md` section 3, which is also the number in the proto.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// Reads that byte.
    ///
    /// # Errors
    /// When it is neither 1 nor 2.
    pub fn from_u8(byte: u8) -> Result<UsAccountType, Malformed> {
        match byte {
            1 => Ok(UsAccountType::Checking),
            2 => Ok(UsAccountType::Savings),
            _ => Err(Malformed::new("US account type is neither 1 nor 2")),
        }
    }
}

/// Checks a US account that came in; `ty` is the number of the proto's `UsAccountType`.
///
/// # Errors
/// Every field that breaks a rule (`proto/payvault/v1/payment.proto`), one problem each; values are
/// never said.
pub fn us_account(
    routing: SecretText,
    account: SecretText,
    holder: SecretText,
    ty: i32,
) -> Result<UsAccount, Vec<Problem>> {
    let mut problems = Vec::new();
    let routing_number = keep(aba::parse(&routing), &mut problems);
    let account_number = keep(account_number(&account), &mut problems);
    let holder = keep(free_text::check(holder, &ACCOUNT_HOLDER), &mut problems);
    let account_type = keep(account_type(ty), &mut problems);
    match (routing_number, account_number, holder, account_type) {
        (Some(routing_number), Some(account_number), Some(holder), Some(account_type)) => {
            Ok(UsAccount {
                routing_number,
                account_number,
                holder,
                account_type,
            })
        }
        _ => Err(problems),
    }
}

fn account_number(text: &SecretText) -> Result<SecretText, Problem> {
    let refuse = |what| Problem::new("account_number", what);
    let number = ungroup(text, Alphabet::Digits).map_err(refuse)?;
    if !is_number_shaped(number.expose()) {
        return Err(refuse("must be 4 to 17 digits"));
    }
    Ok(number)
}

/// Whether `number` is 4 to 17 ASCII digits (NACHA).
pub(super) fn is_number_shaped(number: &str) -> bool {
    (4..=17).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
}

fn account_type(ty: i32) -> Result<UsAccountType, Problem> {
    u8::try_from(ty)
        .ok()
        .and_then(|byte| UsAccountType::from_u8(byte).ok())
        .ok_or(Problem::new("account_type", "must be checking or savings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        routing: &str,
        account: &str,
        holder: &str,
        ty: i32,
    ) -> Result<UsAccount, Vec<&'static str>> {
        let text = SecretText::copy_from;
        us_account(text(routing), text(account), text(holder), ty)
            .map_err(|problems| problems.iter().map(|p| p.field).collect())
    }

    #[test]
    fn an_account_is_kept_without_separators_and_with_leading_zeros() {
        let Ok(account) = read("0210-0002-1", "0001 2345-6789", "Pat Doe", 2) else {
            panic!("the account is good");
        };
        assert_eq!(account.routing_number.expose(), "021000021");
        assert_eq!(account.account_number.expose(), "000123456789");
        assert_eq!(account.holder.expose(), "Pat Doe");
        assert_eq!(account.account_type, UsAccountType::Savings);
    }

    #[test]
    fn vectors_are_accepted_or_refused_for_their_reason() {
        for [name, number, expected] in crate::payment::vectors::rows(include_str!(
            "../../tests/vectors/payment/us_account.tsv"
        )) {
            match account_number(&SecretText::copy_from(number)) {
                Ok(kept) => {
                    assert!(name.starts_with("ok_"), "{name}");
                    assert_eq!(kept.expose(), expected, "{name}");
                }
                Err(problem) => {
                    assert!(name.starts_with("fail_"), "{name}");
                    assert!(problem.what.contains(expected), "{name}: {}", problem.what);
                }
            }
        }
    }

    #[test]
    fn the_number_has_4_to_17_digits() {
        for digits in 0..=48 {
            let accepted = read("021000021", &"1".repeat(digits), "Pat Doe", 1).is_ok();
            assert_eq!(accepted, (4..=17).contains(&digits), "{digits}");
        }
    }

    #[test]
    fn the_type_must_be_said() {
        for ty in [i32::MIN, -1, 0, 3, 256 + 1, i32::MAX] {
            let fields = read("021000021", "123456789", "Pat Doe", ty).err();
            assert_eq!(fields, Some(vec!["account_type"]), "{ty}");
        }
    }

    #[test]
    fn all_problems_are_said_at_once() {
        let fields = read("021000022", "12a4", "", 0).err();
        let all = ["routing_number", "account_number", "holder", "account_type"];
        assert_eq!(fields, Some(all.to_vec()));
    }
}
