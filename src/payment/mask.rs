//! What may be shown of an instrument (PCI DSS 3.4.1): never more than the first six and the last
//! four digits, and never so much that fewer than four are hidden.

use super::details::DetailsKind;
use super::expiry::Expiry;

/// What may be shown, logged in the ledger and given to the portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// The kind of instrument.
    pub kind: DetailsKind,
    /// "411111******1111", "NL91 **** **** **43 00" or "021000021 ****6789".
    pub number: String,
    /// Brand of a card as advice, such as "visa"; empty when unknown or not a card.
    pub brand: String,
    /// ISO 3166 country of a bank account; empty for a card.
    pub country: String,
    /// Month of expiry of a card.
    pub expiry: Option<Expiry>,
}

/// Characters that always stay hidden.
const HIDDEN_MIN: usize = 4;
/// Characters shown at the end, where enough are left to hide.
const LAST: usize = 4;
/// Digits shown at the start of a card number: an issuer's six-digit BIN. Eight-digit BINs would
/// be allowed for 16 digits and more; nobody can tell which numbers have one.
const FIRST: usize = 6;

/// A card number: first six and last four, each hidden digit a star. Of 12 or 13 digits fewer are
/// shown at the start, so that four stay hidden. What is shorter than a card number is hidden whole.
pub fn card_number(number: &str) -> String {
    let characters: Vec<char> = number.chars().collect();
    let Some(spare) = characters.len().checked_sub(HIDDEN_MIN + LAST) else {
        return stars(characters.len());
    };
    let first = if super::pan::is_shaped(number) {
        spare.min(FIRST)
    } else {
        0
    };
    shown(&characters, first, LAST)
}

/// An IBAN in groups of four: country, check digits and the last four characters are shown. The
/// shortest IBAN has 15 characters, so seven stay hidden at least.
pub fn iban(iban: &str) -> String {
    let characters: Vec<char> = iban.chars().collect();
    let plain = if characters.len() < HEAD + LAST + HIDDEN_MIN {
        stars(characters.len())
    } else {
        shown(&characters, HEAD, LAST)
    };
    let mut grouped = String::with_capacity(plain.len() + plain.len() / 4);
    for (at, character) in plain.chars().enumerate() {
        if at > 0 && at % 4 == 0 {
            grouped.push(' ');
        }
        grouped.push(character);
    }
    grouped
}

/// Country and check digits of an IBAN.
const HEAD: usize = 4;

/// A US account: the bank's routing number, which is public, four stars, and what [`last`] shows of
/// the account number. Always four stars: they don't tell the length.
pub fn us_account(routing_number: &str, account_number: &str) -> String {
    format!("{routing_number} {}{}", stars(4), last(account_number))
}

/// The end of a number that may be released as "last four": four characters where at least four
/// more stay hidden, else two where that holds, else none.
pub fn last(number: &str) -> &str {
    let count = number.chars().count();
    let show = match count.saturating_sub(HIDDEN_MIN) {
        LAST.. => LAST,
        2.. => 2,
        _ => 0,
    };
    match number.char_indices().nth(count - show) {
        Some((at, _)) => &number[at..],
        None => "",
    }
}

fn shown(characters: &[char], first: usize, last: usize) -> String {
    let hidden = characters.len().saturating_sub(first + last);
    let start = characters[..first].iter();
    let end = characters[characters.len() - last..].iter();
    start
        .copied()
        .chain(std::iter::repeat_n('*', hidden))
        .chain(end.copied())
        .collect()
}

fn stars(count: usize) -> String {
    "*".repeat(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::luhn;

    const DIGITS: &str = "1234567890123456789";

    #[test]
    fn a_card_shows_bin_and_last_four_and_hides_four_at_every_length() {
        let expected = [
            "1234****9012",
            "12345****0123",
            "123456****1234",
            "123456*****2345",
            "123456******3456",
            "123456*******4567",
            "123456********5678",
            "123456*********6789",
        ];
        for (length, expected) in (12..=19).zip(expected) {
            let masked = card_number(&DIGITS[..length]);
            assert_eq!(masked, expected);
            let hidden = masked.matches('*').count();
            let (start, end) = (masked.find('*'), masked.rfind('*'));
            assert_eq!(masked.len(), length);
            assert!(hidden >= 4 && length - hidden <= 10, "{length}");
            assert!(start.is_some_and(|at| at <= 6), "{length}");
            assert!(end.is_some_and(|at| masked.len() - at - 1 <= 4), "{length}");
            assert!(!luhn::contains_card_number(&masked));
        }
    }

    #[test]
    fn what_is_no_card_number_shows_no_more() {
        for text in [
            "",
            "1",
            "1234567",
            "12345678901",
            "éééééééééééé",
            "4111 1111 1111 1111 11111",
        ] {
            let masked = card_number(text);
            let hidden = masked.matches('*').count();
            assert_eq!(masked.chars().count(), text.chars().count());
            assert!(hidden >= 4.min(text.chars().count()), "{text}");
        }
        assert_eq!(card_number("1234567"), "*******");
    }

    #[test]
    fn an_iban_shows_country_check_digits_and_last_four() {
        for (text, masked) in [
            ("NL91ABNA0417164300", "NL91 **** **** **43 00"),
            ("NO9386011117947", "NO93 **** ***7 947"),
            ("BE68539007547034", "BE68 **** **** 7034"),
            ("GB29NWBK60161331926819", "GB29 **** **** **** **68 19"),
            (
                "MT84MALT011000012345MTLCAST001S",
                "MT84 **** **** **** **** **** ***0 01S",
            ),
        ] {
            assert_eq!(iban(text), masked);
        }
    }

    #[test]
    fn an_iban_of_any_length_hides_at_least_four() {
        for length in 0..=34 {
            let text = "A".repeat(length);
            let masked = iban(&text);
            let hidden = masked.matches('*').count();
            assert!(hidden >= 4.min(length), "{length}");
            assert!(masked.matches('A').count() <= 8, "{length}");
        }
    }

    #[test]
    fn a_us_account_shows_its_end_only_where_four_stay_hidden() {
        let expected = [
            (4, "021000021 ****"),
            (5, "021000021 ****"),
            (6, "021000021 ****56"),
            (7, "021000021 ****67"),
            (8, "021000021 ****5678"),
            (9, "021000021 ****6789"),
            (17, "021000021 ****4567"),
        ];
        for (length, masked) in expected {
            assert_eq!(us_account("021000021", &DIGITS[..length]), masked);
        }
        for length in 0..=19 {
            let shown = last(&DIGITS[..length]).len();
            assert!(shown == 0 || length - shown >= 4, "{length}");
        }
        assert_eq!(last("ééééééééé"), "éééé");
    }
}
