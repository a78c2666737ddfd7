//! Numbers as people type them: "4111 1111 1111 1111", "NL91-ABNA-0417-1643-00". Removes the
//! separators and refuses everything else.

use crate::limits::NUMBER_CHARS_MAX;
use crate::secret::SecretText;
use zeroize::Zeroizing;

/// What a number is made of.
#[derive(Clone, Copy)]
pub(super) enum Alphabet {
    /// `0-9`.
    Digits,
    /// `0-9 A-Z a-z`; lower case is turned to upper case.
    Alphanumeric,
}

/// The number was left out.
pub(super) const MISSING: &str = "is required";
/// More than [`NUMBER_CHARS_MAX`].
pub(super) const TOO_LONG: &str = "is too long: at most 48 characters, separators included";
/// Something other than [`Alphabet::Digits`] or separators.
pub(super) const NOT_DIGITS: &str =
    "must be ASCII digits; single spaces or hyphens may stand between groups";
/// Something other than [`Alphabet::Alphanumeric`] or separators.
pub(super) const NOT_ALPHANUMERIC: &str =
    "must be ASCII letters and digits; single spaces or hyphens may stand between groups";

/// Reads a number: single spaces and hyphens between its characters are removed. A separator in
/// front, behind, or beside another one parts no groups and is refused.
///
/// # Errors
/// The rule that `text` breaks, in words.
pub(super) fn ungroup(text: &SecretText, alphabet: Alphabet) -> Result<SecretText, &'static str> {
    let bytes = text.expose().as_bytes();
    if bytes.is_empty() {
        return Err(MISSING);
    }
    if bytes.len() > NUMBER_CHARS_MAX {
        return Err(TOO_LONG);
    }
    let (belongs, refusal): (fn(&u8) -> bool, _) = match alphabet {
        Alphabet::Digits => (u8::is_ascii_digit, NOT_DIGITS),
        Alphabet::Alphanumeric => (u8::is_ascii_alphanumeric, NOT_ALPHANUMERIC),
    };
    // Room for all of it at once: growing would leave an unwiped copy behind.
    let mut number = Zeroizing::new(String::with_capacity(bytes.len()));
    let mut after_character = false;
    for byte in bytes {
        if belongs(byte) {
            number.push(char::from(byte.to_ascii_uppercase()));
            after_character = true;
        } else if matches!(byte, b' ' | b'-') && after_character {
            after_character = false;
        } else {
            return Err(refusal);
        }
    }
    if after_character {
        Ok(SecretText::new(std::mem::take(&mut number)))
    } else {
        Err(refusal)
    }
}

/// `number` with zeros put in front until it has `digits`; a longer one as it is.
pub(super) fn padded(number: SecretText, digits: usize) -> SecretText {
    let missing = digits.saturating_sub(number.len());
    if missing == 0 {
        return number;
    }
    // Room for all of it at once, as above.
    let mut long = Zeroizing::new(String::with_capacity(digits));
    long.extend(std::iter::repeat_n('0', missing));
    long.push_str(number.expose());
    SecretText::new(std::mem::take(&mut long))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Result<String, &'static str> {
        ungroup(&SecretText::copy_from(text), Alphabet::Digits).map(|n| n.expose().to_owned())
    }

    #[test]
    fn separators_between_groups_are_removed() {
        for text in ["12345678", "1234 5678", "1234-5678", "1-2 3-4 5-6 7-8"] {
            assert_eq!(digits(text).as_deref(), Ok("12345678"), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            " 1234",
            "1234 ",
            "-1234",
            "1234-",
            "12  34",
            "12 -34",
            "12--34",
            "12.34",
            "12\t34",
            "12\n34",
            "12\u{a0}34",
            "12\u{2011}34",
            "12a4",
            "+1234",
            "-",
            " ",
            "\0",
            "1234\0",
            // Digits of other scripts are no digits of a card.
            "\u{661}\u{662}\u{663}\u{664}",
            "\u{ff11}\u{ff12}\u{ff13}\u{ff14}",
            "12\u{b2}4",
        ] {
            assert_eq!(digits(text), Err(NOT_DIGITS), "{text:?}");
        }
        assert_eq!(digits(""), Err(MISSING));
    }

    #[test]
    fn length_is_bounded_with_its_separators() {
        assert!(digits(&"1".repeat(NUMBER_CHARS_MAX)).is_ok());
        assert_eq!(digits(&"1".repeat(NUMBER_CHARS_MAX + 1)), Err(TOO_LONG));
        assert!(TOO_LONG.contains(&NUMBER_CHARS_MAX.to_string()));
    }

    #[test]
    fn letters_are_turned_to_upper_case() {
        let read = ungroup(&SecretText::copy_from("nl91-Ab c"), Alphabet::Alphanumeric);
        assert_eq!(
            read.map(|n| n.expose().to_owned()),
            Ok("NL91ABC".to_owned())
        );
    }

    #[test]
    fn what_is_short_gets_zeros_in_front() {
        let pad = |text: &str| padded(SecretText::copy_from(text), 8).expose().to_owned();
        assert_eq!(pad("123456"), "00123456");
        assert_eq!(pad("12345678"), "12345678");
        assert_eq!(pad("123456789"), "123456789");
    }
}
