//! International bank account numbers (ISO 13616-1): reading and checking them.
//!
//! The Dutch 11-test is not here and never comes: accounts handed out since 2020 needn't pass it.

use super::free_text::{self, ACCOUNT_HOLDER};
use super::grouped::{Alphabet, ungroup};
use super::iban_registry::IbanCountry;
use super::problem::{Problem, keep};
use crate::secret::SecretText;

/// A bank account named by its IBAN, as it is kept.
pub struct IbanAccount {
    /// The IBAN: 15 to 33 of `A-Z 0-9`, without separators.
    pub iban: SecretText,
    /// Account holder, 1 to 70 characters.
    pub holder: SecretText,
}

/// Checks an account that came in. Lower case is turned to upper case, separators are removed.
///
/// # Errors
/// Every field that breaks a rule (`proto/payvault/v1/payment.proto`), one problem each; values are
/// never said.
pub fn iban(iban: SecretText, holder: SecretText) -> Result<IbanAccount, Vec<Problem>> {
    let mut problems = Vec::new();
    let iban = keep(parse(&iban), &mut problems);
    let holder = keep(free_text::check(holder, &ACCOUNT_HOLDER), &mut problems);
    match (iban, holder) {
        (Some(iban), Some(holder)) => Ok(IbanAccount { iban, holder }),
        _ => Err(problems),
    }
}

/// Why an IBAN is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IbanFault {
    /// The first two characters are no country of the registry.
    Country,
    /// Another length than the country's.
    Length,
    /// The account number hasn't the country's structure.
    Structure,
    /// The check digits are no digits, not 02 to 98, or wrong.
    CheckDigits,
}

/// Checks an IBAN in upper case and without separators: country, length, structure of the account
/// number, check digits.
///
/// # Errors
/// The first rule that it breaks, in that order.
pub fn check(iban: &str) -> Result<(), IbanFault> {
    let country = iban
        .get(..2)
        .and_then(IbanCountry::of)
        .ok_or(IbanFault::Country)?;
    if iban.len() != country.length {
        return Err(IbanFault::Length);
    }
    // Longer than 4 bytes: the shortest IBAN has 15.
    let (head, bban) = iban.as_bytes().split_at(4);
    if !country.bban_fits(bban) {
        return Err(IbanFault::Structure);
    }
    if !check_digits_hold(head, bban) {
        return Err(IbanFault::CheckDigits);
    }
    Ok(())
}

/// ISO 7064 mod 97-10 as ISO 13616-1 has it: account number, then country and check digits, letters
/// as 10 to 35, give 1. Check digits are computed as 98 − (0 to 96), so 00, 01 and 99 are never
/// right, though mod 97 can't tell them from 97, 98 and 02.
fn check_digits_hold(head: &[u8], bban: &[u8]) -> bool {
    let [_, _, tens, units] = head else {
        return false;
    };
    if !tens.is_ascii_digit() || !units.is_ascii_digit() {
        return false;
    }
    let check_digits = (tens - b'0') * 10 + (units - b'0');
    let mut remainder = 0u32;
    for byte in bban.iter().chain(head) {
        let Some(value) = char::from(*byte).to_digit(36) else {
            return false;
        };
        let shift = if value < 10 { 10 } else { 100 };
        remainder = (remainder * shift + value) % 97;
    }
    (2..=98).contains(&check_digits) && remainder == 1
}

/// Whether `iban` has the characters of one and a length that ISO 13616-1 allows; the registry may
/// change after it was kept.
pub(super) fn is_shaped(iban: &str) -> bool {
    (15..=34).contains(&iban.len())
        && iban
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}

fn parse(text: &SecretText) -> Result<SecretText, Problem> {
    let refuse = |what| Problem::new("iban", what);
    let iban = ungroup(text, Alphabet::Alphanumeric).map_err(refuse)?;
    check(iban.expose()).map_err(|fault| {
        refuse(match fault {
            IbanFault::Country => "starts with no country that has IBANs",
            IbanFault::Length => "has not the length of its country's IBANs",
            IbanFault::Structure => "has not the structure of its country's account numbers",
            IbanFault::CheckDigits => "fails its check digits: a character is wrong",
        })
    })?;
    Ok(iban)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::iban_registry::countries;
    use crate::payment::vectors;

    const VECTORS: &str = include_str!("../../tests/vectors/payment/iban.tsv");

    #[test]
    fn vectors_are_accepted_or_refused_for_their_reason() {
        for [name, text, reason] in vectors::rows(VECTORS) {
            match parse(&SecretText::copy_from(text)) {
                Ok(_) => assert!(name.starts_with("ok_"), "{name}"),
                Err(problem) => {
                    assert!(name.starts_with("fail_"), "{name}: {}", problem.what);
                    assert_eq!(problem.field, "iban");
                    assert!(problem.what.contains(reason), "{name}: {}", problem.what);
                }
            }
        }
    }

    #[test]
    fn every_country_has_its_published_example_and_wrong_ones() {
        for country in countries() {
            let code = country.code.to_lowercase();
            let count = |start: String| {
                vectors::rows(VECTORS)
                    .filter(|[name, _, _]| name.starts_with(&start))
                    .count()
            };
            assert_eq!(count(format!("ok_{code}_registry")), 1, "{code}");
            assert!(count(format!("fail_{code}_")) >= 3, "{code}");
        }
    }

    #[test]
    fn every_single_wrong_character_is_noticed() {
        for iban in [
            "NL91ABNA0417164300",
            "GB29NWBK60161331926819",
            "DE89370400440532013000",
        ] {
            assert_eq!(check(iban), Ok(()));
            for at in 0..iban.len() {
                for byte in (b'0'..=b'9').chain(b'A'..=b'Z') {
                    let mut wrong = iban.as_bytes().to_vec();
                    if wrong[at] != byte {
                        wrong[at] = byte;
                        let wrong = String::from_utf8(wrong).expect("ASCII");
                        assert!(check(&wrong).is_err(), "{wrong}");
                    }
                }
            }
        }
    }

    #[test]
    fn of_all_check_digits_exactly_one_pair_is_right() {
        for [name, iban, _] in vectors::rows(VECTORS) {
            if name.ends_with("_registry") {
                let right: Vec<String> = (0..100)
                    .map(|digits| format!("{}{digits:02}{}", &iban[..2], &iban[4..]))
                    .filter(|candidate| check(candidate).is_ok())
                    .collect();
                assert_eq!(right, [iban], "{name}");
            }
        }
    }

    #[test]
    fn a_check_of_anything_does_not_panic() {
        for text in [
            "",
            "N",
            "NL",
            "é",
            "Né",
            "NLé",
            "NL9",
            "NL91",
            "NL9é7164300ABNA04",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn both_problems_are_said() {
        let refused = iban(
            SecretText::copy_from("NL92ABNA0417164300"),
            SecretText::copy_from(""),
        );
        let fields: Vec<&str> = refused
            .err()
            .unwrap_or_default()
            .iter()
            .map(|p| p.field)
            .collect();
        assert_eq!(fields, ["iban", "holder"]);
    }
}
