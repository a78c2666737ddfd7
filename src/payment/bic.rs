//! Business identifier codes (ISO 9362): reading them, and whether one can belong to an IBAN.

use super::grouped::{Alphabet, ungroup};
use super::problem::Problem;
use crate::secret::SecretText;

/// Countries that have no IBANs of their own and use another's (SWIFT IBAN registry, "country code
/// includes other countries/territories"): the IBAN's country, and whose BICs go with it too.
const TERRITORIES: [(&str, &[&str]); 3] = [
    ("FI", &["AX"]),
    (
        "FR",
        &[
            "BL", "GF", "GP", "MF", "MQ", "NC", "PF", "PM", "RE", "TF", "WF", "YT",
        ],
    ),
    ("GB", &["GG", "IM", "JE"]),
];

/// Why a BIC is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BicFault {
    /// Not 8 or 11 characters of the right class: four letters or digits (the party's prefix), two
    /// letters (country), two letters or digits (its suffix), and three more for a branch.
    Shape,
    /// Its country isn't the IBAN's, nor one that uses the IBAN's.
    Country,
}

/// Checks a BIC in upper case and without separators, against the IBAN's country (two letters).
/// It has no check digit, and whether a bank has it can't be told without a directory.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(bic: &str, iban_country: &str) -> Result<(), BicFault> {
    if !is_shaped(bic) {
        return Err(BicFault::Shape);
    }
    let country = &bic[4..6];
    let uses_it = |(owner, territories): &(&str, &[&str])| {
        *owner == iban_country && territories.contains(&country)
    };
    if country == iban_country || TERRITORIES.iter().any(uses_it) {
        Ok(())
    } else {
        Err(BicFault::Country)
    }
}

/// Whether `bic` has the characters of one.
pub(super) fn is_shaped(bic: &str) -> bool {
    let bytes = bic.as_bytes();
    matches!(bytes.len(), 8 | 11)
        && bytes
            .iter()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        && bytes[4..6].iter().all(u8::is_ascii_uppercase)
}

/// Reads a BIC as it comes in; empty stands for absent. `iban` is the IBAN beside it, when that
/// could be read: without it only the shape is judged.
///
/// # Errors
/// Field `bic`: not letters and digits, or [`check`] refuses it.
pub(super) fn parse(text: &SecretText, iban: Option<&SecretText>) -> Result<SecretText, Problem> {
    let refuse = |what| Problem::new("bic", what);
    if text.is_empty() {
        return Ok(SecretText::copy_from(""));
    }
    let bic = ungroup(text, Alphabet::Alphanumeric).map_err(refuse)?;
    let own = bic.expose().get(4..6).unwrap_or_default();
    let country = iban.map_or(own, |iban| iban.expose().get(..2).unwrap_or_default());
    check(bic.expose(), country).map_err(|fault| {
        refuse(match fault {
            BicFault::Shape => "must be a BIC of 8 or 11 characters",
            BicFault::Country => "is a BIC of another country than the IBAN's",
        })
    })?;
    Ok(bic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::vectors;

    #[test]
    fn vectors_are_accepted_or_refused_for_their_reason() {
        for [name, iban, text, reason] in
            vectors::rows(include_str!("../../tests/vectors/payment/bic.tsv"))
        {
            let iban = SecretText::copy_from(iban);
            match parse(&SecretText::copy_from(text), Some(&iban)) {
                Ok(bic) => {
                    assert!(name.starts_with("ok_"), "{name}");
                    assert_eq!(bic.expose(), reason, "{name}");
                }
                Err(problem) => {
                    assert!(name.starts_with("fail_"), "{name}");
                    assert_eq!(problem.field, "bic");
                    assert!(problem.what.contains(reason), "{name}: {}", problem.what);
                }
            }
        }
    }

    #[test]
    fn without_an_iban_only_the_shape_is_judged() {
        let read = |text: &str| parse(&SecretText::copy_from(text), None).is_ok();
        assert!(read("ABNANL2A") && read("CHASUS33"));
        assert!(!read("ABNANL2") && !read("ABNA1L2A"));
    }

    #[test]
    fn a_territory_uses_its_owners_ibans_and_nobody_elses() {
        for (owner, territories) in TERRITORIES {
            for territory in territories {
                let bic = format!("ABCD{territory}2A");
                assert_eq!(check(&bic, owner), Ok(()));
                assert_eq!(check(&bic, "NL"), Err(BicFault::Country));
                let reverse = format!("ABCD{owner}2A");
                assert_eq!(check(&reverse, territory), Err(BicFault::Country));
            }
        }
    }

    #[test]
    fn a_check_of_anything_does_not_panic() {
        for text in ["", "é", "ABCé2A", "ABCDÉÉ2A", "ABCDNL2A\u{301}XX"] {
            assert_eq!(check(text, "NL"), Err(BicFault::Shape), "{text}");
        }
    }
}
