//! Names, postcodes and address lines: text that is kept as it came in, once it is bounded, holds
//! no control character, and holds no card number.

use super::luhn;
use super::problem::Problem;
use crate::limits::{
    ACCOUNT_HOLDER_CHARS_MAX, ADDRESS_LINE_CHARS_MAX, CARD_HOLDER_CHARS_MAX, POSTAL_CODE_CHARS_MAX,
};
use crate::secret::SecretText;

/// The rules of one field.
pub(super) struct Rules {
    /// Name in the proto message.
    field: &'static str,
    /// Most characters (Unicode scalar values).
    chars_max: usize,
    /// What to say past that.
    too_long: &'static str,
    /// Whether it may be absent.
    required: bool,
    /// Letters, digits, space and hyphen only, all ASCII.
    plain: bool,
}

/// Name on a card.
pub(super) const CARD_HOLDER: Rules = Rules {
    field: "holder",
    chars_max: CARD_HOLDER_CHARS_MAX,
    too_long: "is too long: at most 60 characters",
    required: false,
    plain: false,
};

/// Holder of a bank account (SEPA: 70 characters).
pub(super) const ACCOUNT_HOLDER: Rules = Rules {
    field: "holder",
    chars_max: ACCOUNT_HOLDER_CHARS_MAX,
    too_long: "is too long: at most 70 characters",
    required: true,
    plain: false,
};

/// Postcode. ASCII: postcodes are written in Latin letters and digits everywhere (UPU S42).
pub(super) const POSTAL_CODE: Rules = Rules {
    field: "billing.postal_code",
    chars_max: POSTAL_CODE_CHARS_MAX,
    too_long: "is too long: at most 16 characters",
    required: false,
    plain: true,
};

/// Address line.
pub(super) const ADDRESS_LINE: Rules = Rules {
    field: "billing.address_line",
    chars_max: ADDRESS_LINE_CHARS_MAX,
    too_long: "is too long: at most 80 characters",
    required: false,
    plain: false,
};

/// Checks `text` and hands it back unchanged; empty stands for absent.
///
/// # Errors
/// The first rule that it breaks. A card number in such a field is refused: the field is released
/// to parties that were not granted the number, and a card's track (PCI DSS 3.3.1: never stored)
/// always holds one.
pub(super) fn check(text: SecretText, rules: &Rules) -> Result<SecretText, Problem> {
    let refuse = |what| Err(Problem::new(rules.field, what));
    let plain_text = text.expose();
    if plain_text.is_empty() {
        return if rules.required {
            refuse("is required")
        } else {
            Ok(text)
        };
    }
    if plain_text.chars().count() > rules.chars_max {
        return refuse(rules.too_long);
    }
    if plain_text.chars().any(is_control) {
        return refuse("must not hold control characters");
    }
    if plain_text.trim().is_empty() {
        return refuse("must not be blank");
    }
    if rules.plain && !plain_text.bytes().all(is_plain) {
        return refuse("must be ASCII letters, digits, spaces and hyphens");
    }
    if luhn::contains_card_number(plain_text) {
        return refuse("must not hold a card number");
    }
    Ok(text)
}

/// Control characters: C0, DEL and C1; and those that act as such in a terminal or a viewer, which
/// would let a name rewrite the line it is shown in: line and paragraph separators, and the
/// directional embeddings, overrides and isolates (UAX #9).
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&Rules; 4] = [&CARD_HOLDER, &ACCOUNT_HOLDER, &POSTAL_CODE, &ADDRESS_LINE];

    fn refusal(text: &str, rules: &Rules) -> Option<Problem> {
        check(SecretText::copy_from(text), rules).err()
    }

    #[test]
    fn text_is_kept_as_it_came_in() {
        for text in [
            "Zoë Ångström-O'Neil",
            "محمد بن سلمان",
            "山田 太郎",
            " J. Doe ",
        ] {
            let kept = check(SecretText::copy_from(text), &ACCOUNT_HOLDER);
            assert_eq!(kept.ok().as_ref().map(SecretText::expose), Some(text));
        }
    }

    #[test]
    fn bounds_count_characters_and_are_said() {
        for rules in ALL {
            let most = "z".repeat(rules.chars_max);
            assert_eq!(refusal(&most, rules), None, "{}", rules.field);
            let problem = refusal(&format!("{most}z"), rules).expect("one more is refused");
            assert_eq!((problem.field, problem.what), (rules.field, rules.too_long));
            let said: String = rules
                .too_long
                .chars()
                .filter(char::is_ascii_digit)
                .collect();
            assert_eq!(said, rules.chars_max.to_string());
        }
        assert_eq!(
            refusal(&"å".repeat(CARD_HOLDER_CHARS_MAX), &CARD_HOLDER),
            None
        );
    }

    #[test]
    fn only_an_account_needs_a_holder() {
        assert!(refusal("", &ACCOUNT_HOLDER).is_some());
        for rules in [&CARD_HOLDER, &POSTAL_CODE, &ADDRESS_LINE] {
            assert_eq!(refusal("", rules), None);
            assert!(refusal("  ", rules).is_some());
        }
    }

    #[test]
    fn control_characters_are_refused() {
        let c0 = 0u32..0x20;
        let others = [0x7f, 0x80, 0x85, 0x9f, 0x2028, 0x2029, 0x202e, 0x2066];
        for c in c0.chain(others).filter_map(char::from_u32) {
            for rules in ALL {
                assert!(refusal(&format!("a{c}b"), rules).is_some(), "{c:?}");
            }
        }
    }

    #[test]
    fn a_postcode_is_plain() {
        for text in ["1012 AB", "SW1A 1AA", "90210-1234", "114 55"] {
            assert_eq!(refusal(text, &POSTAL_CODE), None, "{text}");
        }
        for text in ["1012_AB", "1012.AB", "1012ÅB", "１０１２"] {
            assert!(refusal(text, &POSTAL_CODE).is_some(), "{text}");
        }
    }

    #[test]
    fn a_card_number_or_track_is_refused() {
        for rules in ALL {
            assert!(
                refusal("4111111111111111", rules).is_some(),
                "{}",
                rules.field
            );
        }
        for text in [
            "Doe 4111 1111 1111 1111",
            "%B4111111111111111^DOE/JOHN^31121010000?",
            ";4111111111111111=31121010000?",
        ] {
            assert!(refusal(text, &CARD_HOLDER).is_some(), "{text}");
        }
    }
}
