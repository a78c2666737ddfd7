//! A bank account in the United Kingdom: sort code and account number, brought to the 6 and 8 digits
//! that payment schemes take.

use super::assurance::Assurance;
use super::free_text::{self, ACCOUNT_HOLDER};
use super::grouped::{Alphabet, padded, ungroup};
use super::problem::{Problem, keep};
use super::uk_modulus::{ModulusTables, Verdict};
use crate::secret::SecretText;
use zeroize::Zeroizing;

/// A British account as it is kept.
pub struct UkAccount {
    /// Sort code: 6 ASCII digits.
    pub sort_code: SecretText,
    /// Account number: 8 ASCII digits.
    pub account_number: SecretText,
    /// Account holder, 1 to 70 characters.
    pub holder: SecretText,
    /// Whether the tables had a check for it.
    pub assurance: Assurance,
}

/// Checks a British account that came in. A sort code that `tables` don't have is presumed valid,
/// and marked so.
///
/// # Errors
/// Every field that breaks a rule (`proto/payvault/v1/payment.proto`), one problem each; values are
/// never said.
pub fn uk_account(
    sort_code: SecretText,
    account: SecretText,
    holder: SecretText,
    tables: &ModulusTables,
) -> Result<UkAccount, Vec<Problem>> {
    let mut problems = Vec::new();
    let sort_code = keep(parse_sort_code(&sort_code), &mut problems);
    let account = ungroup(&account, Alphabet::Digits);
    let account = account.map_err(|what| Problem::new("account_number", what));
    let account = keep(account, &mut problems);
    let judged = match (sort_code, account) {
        (Some(sort_code), Some(account)) => {
            let judged = normalised(sort_code, account).and_then(|both| judge(both, tables));
            keep(judged, &mut problems)
        }
        // How long an account number is depends on its sort code.
        _ => None,
    };
    let holder = keep(free_text::check(holder, &ACCOUNT_HOLDER), &mut problems);
    match (judged, holder) {
        (Some((both, assurance)), Some(holder)) => Ok(UkAccount {
            sort_code: both.sort_code,
            account_number: both.account_number,
            holder,
            assurance,
        }),
        _ => Err(problems),
    }
}

/// 6 and 8 digits.
struct Both {
    sort_code: SecretText,
    account_number: SecretText,
}

fn parse_sort_code(text: &SecretText) -> Result<SecretText, Problem> {
    let refuse = |what| Problem::new("sort_code", what);
    let number = ungroup(text, Alphabet::Digits).map_err(refuse)?;
    if !is_sort_code_shaped(number.expose()) {
        return Err(refuse("must be 6 digits"));
    }
    Ok(number)
}

/// Brings other lengths to 8 digits ("Validating account numbers", non-standard account numbers):
/// 6 and 7 digits get zeros in front; of 9 digits at Santander the first one takes the place of the
/// sort code's last one; of 10 digits the first eight count at the Co-operative Bank, the last eight
/// at National Westminster.
fn normalised(sort_code: SecretText, account: SecretText) -> Result<Both, Problem> {
    let code: u32 = sort_code.expose().parse().unwrap_or_default();
    let digits = account.expose();
    let (sort_code, account_number) = match digits.len() {
        6..=8 => {
            let account_number = padded(account, ACCOUNT_DIGITS);
            (sort_code, account_number)
        }
        9 if is_santander(code) => {
            let (first, rest) = digits.split_at(1);
            let mut whole = Zeroizing::new(String::with_capacity(SORT_CODE_DIGITS));
            whole.push_str(&sort_code.expose()[..SORT_CODE_DIGITS - 1]);
            whole.push_str(first);
            let sort_code = SecretText::new(std::mem::take(&mut whole));
            (sort_code, SecretText::copy_from(rest))
        }
        10 if is_cooperative(code) => (sort_code, SecretText::copy_from(&digits[..8])),
        10 if is_national_westminster(code) => (sort_code, SecretText::copy_from(&digits[2..])),
        _ => {
            let what = "must be 6 to 8 digits, or as many as this bank also uses (9 or 10)";
            return Err(Problem::new("account_number", what));
        }
    };
    if account_number.expose().bytes().all(|b| b == b'0') {
        let what = "must not be zeros only";
        return Err(Problem::new("account_number", what));
    }
    Ok(Both {
        sort_code,
        account_number,
    })
}

fn judge(both: Both, tables: &ModulusTables) -> Result<(Both, Assurance), Problem> {
    let verdict = tables.judge(both.sort_code.expose(), both.account_number.expose());
    match verdict {
        Verdict::Passes => Ok((both, Assurance::Checked)),
        Verdict::Unknown => Ok((both, Assurance::PresumedValid)),
        Verdict::Fails => Err(Problem::new(
            "account_number",
            "fails the modulus check of its sort code: a digit is wrong",
        )),
    }
}

// Which sort codes are whose, as these banks publish it. Other banks' accounts have 8 digits.

fn is_santander(code: u32) -> bool {
    matches!(code, 90_000..=91_900 | 165_710 | 720_000..=729_999 | 890_000..=892_999)
}

fn is_cooperative(code: u32) -> bool {
    matches!(code, 80_000..=89_999)
}

fn is_national_westminster(code: u32) -> bool {
    matches!(code, 10_000..=19_999 | 500_000..=669_999)
}

const SORT_CODE_DIGITS: usize = 6;
const ACCOUNT_DIGITS: usize = 8;

/// Whether `number` is 6 ASCII digits.
pub(super) fn is_sort_code_shaped(number: &str) -> bool {
    number.len() == SORT_CODE_DIGITS && number.bytes().all(|b| b.is_ascii_digit())
}

/// Whether `number` is 8 ASCII digits.
pub(super) fn is_account_shaped(number: &str) -> bool {
    number.len() == ACCOUNT_DIGITS && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::vectors;

    const WEIGHTS: &str = include_str!("../../tests/vectors/payment/uk_weights.txt");
    const SUBSTITUTIONS: &str = include_str!("../../tests/vectors/payment/uk_substitutions.txt");

    fn read(
        sort_code: &str,
        account: &str,
        tables: &ModulusTables,
    ) -> Result<UkAccount, Vec<Problem>> {
        let text = SecretText::copy_from;
        uk_account(text(sort_code), text(account), text("A. Smith"), tables)
    }

    #[test]
    fn vectors_are_accepted_or_refused_for_their_reason() {
        let tables = ModulusTables::read(WEIGHTS, SUBSTITUTIONS).expect("our own tables");
        for [name, sort_code, account, kept, expected] in
            vectors::rows(include_str!("../../tests/vectors/payment/uk_account.tsv"))
        {
            match read(sort_code, account, &tables) {
                Ok(read) => {
                    assert!(name.starts_with("ok_"), "{name}");
                    let both = [read.sort_code.expose(), read.account_number.expose()];
                    assert_eq!(both.join(" "), kept, "{name}");
                    assert_eq!(read.assurance.as_str(), expected, "{name}");
                }
                Err(problems) => {
                    assert!(name.starts_with("fail_"), "{name}: {problems:?}");
                    assert!(problems[0].what.contains(expected), "{name}: {problems:?}");
                }
            }
        }
    }

    #[test]
    fn without_tables_every_account_is_presumed_valid() {
        let read = read("99-01-01", "20029773", &ModulusTables::default());
        let assurance = read.map(|account| account.assurance);
        assert!(matches!(assurance, Ok(Assurance::PresumedValid)));
    }

    #[test]
    fn all_problems_are_said_at_once() {
        let text = SecretText::copy_from;
        let none = ModulusTables::default();
        let refused = uk_account(text("12345"), text("1234567x"), text(""), &none);
        let problems = refused.err().unwrap_or_default();
        let fields: Vec<&str> = problems.iter().map(|p| p.field).collect();
        assert_eq!(fields, ["sort_code", "account_number", "holder"]);
    }
}
