//! A payment card as a caller hands it in, and as it is kept.

use super::expiry::{self, Expiry};
use super::free_text::{self, ADDRESS_LINE, CARD_HOLDER, POSTAL_CODE};
use super::pan;
use super::problem::{Problem, keep};
use super::security_code::SecurityCode;
use crate::clock::Timestamp;
use crate::secret::SecretText;

/// A card as it is kept. It has no security code: that is never stored (PCI DSS 3.3.1).
pub struct Card {
    /// 12 to 19 ASCII digits that pass Luhn.
    pub number: SecretText,
    /// Month of expiry.
    pub expiry: Expiry,
    /// Name on the card, at most 60 characters; empty when absent.
    pub holder: SecretText,
    /// Billing postcode, at most 16 characters; empty when absent.
    pub postal_code: SecretText,
    /// Billing address line, at most 80 characters; empty when absent.
    pub address_line: SecretText,
}

/// A card as it came in, unchecked. Empty text stands for an absent field.
pub struct CardInput {
    /// Card number, maybe in groups.
    pub number: SecretText,
    /// Month of expiry.
    pub expiry_month: i32,
    /// Year of expiry, four digits.
    pub expiry_year: i32,
    /// Name on the card.
    pub holder: SecretText,
    /// Security code.
    pub security_code: SecretText,
    /// Billing postcode.
    pub postal_code: SecretText,
    /// Billing address line.
    pub address_line: SecretText,
}

/// Checks a card that came in at the time `now`, and parts it from its security code: `None` when
/// none was given.
///
/// # Errors
/// Every field that breaks a rule (`proto/payvault/v1/payment.proto`), one problem each; values are
/// never said.
pub fn card(
    input: CardInput,
    now: Timestamp,
) -> Result<(Card, Option<SecurityCode>), Vec<Problem>> {
    let mut problems = Vec::new();
    let number = keep(pan::parse(&input.number), &mut problems);
    let expiry = expiry::parse(input.expiry_month, input.expiry_year, now, &mut problems);
    let holder = keep(free_text::check(input.holder, &CARD_HOLDER), &mut problems);
    let security_code = if input.security_code.is_empty() {
        None
    } else {
        keep(SecurityCode::parse(input.security_code), &mut problems)
    };
    let postal_code = keep(
        free_text::check(input.postal_code, &POSTAL_CODE),
        &mut problems,
    );
    let address_line = keep(
        free_text::check(input.address_line, &ADDRESS_LINE),
        &mut problems,
    );
    match (number, expiry, holder, postal_code, address_line) {
        (Some(number), Some(expiry), Some(holder), Some(postal_code), Some(address_line))
            if problems.is_empty() =>
        {
            let card = Card {
                number,
                expiry,
                holder,
                postal_code,
                address_line,
            };
            Ok((card, security_code))
        }
        _ => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> SecretText {
        SecretText::copy_from(text)
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-23T12:00:00Z").expect("a time")
    }

    fn good() -> CardInput {
        CardInput {
            number: text("4111 1111 1111 1111"),
            expiry_month: 12,
            expiry_year: 2031,
            holder: text("A. Bäcker"),
            security_code: text("123"),
            postal_code: text("1012 AB"),
            address_line: text("Dam 1, Amsterdam"),
        }
    }

    #[test]
    fn a_whole_card_is_kept_and_its_code_is_apart() {
        let Ok((card, code)) = card(good(), now()) else {
            panic!("the card is good");
        };
        assert_eq!(card.number.expose(), "4111111111111111");
        assert_eq!(
            card.expiry,
            Expiry {
                year: 2031,
                month: 12
            }
        );
        assert_eq!(card.holder.expose(), "A. Bäcker");
        assert_eq!(card.postal_code.expose(), "1012 AB");
        assert_eq!(card.address_line.expose(), "Dam 1, Amsterdam");
        assert_eq!(code.as_ref().map(SecurityCode::expose), Some("123"));
    }

    #[test]
    fn only_number_and_expiry_are_required() {
        let least = CardInput {
            holder: text(""),
            security_code: text(""),
            postal_code: text(""),
            address_line: text(""),
            ..good()
        };
        let Ok((card, code)) = card(least, now()) else {
            panic!("the card is good");
        };
        assert!(code.is_none());
        assert!(card.holder.is_empty() && card.postal_code.is_empty());
        assert!(card.address_line.is_empty());
    }

    #[test]
    fn all_problems_are_said_at_once_and_no_value() {
        let bad = CardInput {
            number: text("4111 1111 1111 1112"),
            expiry_month: 77,
            expiry_year: 88,
            holder: text("Zyx\0Wvu"),
            security_code: text("98765"),
            postal_code: text("Qq_Rr"),
            address_line: text("Mnop\u{1b}[2J"),
        };
        let Err(problems) = card(bad, now()) else {
            panic!("the card is bad");
        };
        let fields: Vec<&str> = problems.iter().map(|p| p.field).collect();
        assert_eq!(
            fields,
            [
                "number",
                "expiry_month",
                "expiry_year",
                "holder",
                "security_code",
                "billing.postal_code",
                "billing.address_line",
            ]
        );
        let said = format!("{problems:?}");
        for value in ["4111", "1112", "77", "88", "Zyx", "98765", "Qq", "Mnop"] {
            assert!(!said.contains(value), "{value} is echoed");
        }
    }

    #[test]
    fn one_bad_field_is_enough_and_is_named() {
        let mut input = good();
        input.security_code = text("12");
        assert_eq!(fields(input), ["security_code"]);
        let mut input = good();
        input.number = text("");
        assert_eq!(fields(input), ["number"]);
        let mut input = good();
        input.expiry_year = 2025;
        assert_eq!(fields(input), ["expiry_year"]);
    }

    fn fields(input: CardInput) -> Vec<&'static str> {
        let problems = card(input, now()).err().unwrap_or_default();
        problems.iter().map(|p| p.field).collect()
    }
}
