//! What may be shown of an instrument (PCI DSS 3.4.1): of a card never more than the first six and
//! the last four digits, and never so much that fewer than four are hidden.
//!
//! The rule for bank accounts: whatever names the bank is public and shown whole, and of what names
//! the account at most the last four characters, and only where at least four more stay hidden.
//! Zeros in front, which padding may have put there, hide nothing and don't count. An IBAN's check
//! digits are shown too; they leave one in 97 of the hidden numbers possible, and no fewer.

use super::assurance::Assurance;
use super::details::Details;
use super::expiry::Expiry;
use super::iban_registry::IbanCountry;
use super::kind::DetailsKind;
use super::pan::Brand;
use crate::secret::SecretText;

/// What may be shown, logged in the ledger and given to the portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// The kind of instrument.
    pub kind: DetailsKind,
    /// "411111******1111", "NL91 **** **** **43 00" or "021000021 ****6789".
    pub number: String,
    /// How much is known of the number.
    pub assurance: Assurance,
    /// Brand of a card as advice, such as "visa"; empty when unknown or not a card.
    pub brand: String,
    /// ISO 3166 country of a bank account; empty for a card.
    pub country: String,
    /// Number or code of the bank, such as "ABNA", "021000021" or "200000", where it can be read off
    /// the account and leaves enough hidden; empty otherwise, and for a card.
    pub bank: String,
    /// Month of expiry of a card.
    pub expiry: Option<Expiry>,
}

impl Details {
    /// What may be shown without redeeming (PCI DSS 3.4.1).
    pub fn mask(&self) -> Masked {
        let mut masked = Masked {
            kind: self.kind(),
            number: String::new(),
            assurance: self.assurance(),
            brand: String::new(),
            country: String::new(),
            bank: String::new(),
            expiry: None,
        };
        let mut account = |country: &str, bank: &SecretText, shown: String| {
            masked.country = country.to_owned();
            masked.bank = bank.expose().to_owned();
            masked.number = shown;
        };
        match self {
            Details::Card(card) => {
                let number = card.number.expose();
                masked.number = card_number(number);
                masked.brand = Brand::of(number).map_or("", Brand::as_str).to_owned();
                masked.expiry = Some(card.expiry);
            }
            Details::Iban(account) => {
                let text = account.iban.expose();
                masked.number = iban(text);
                masked.country = text.get(..2).unwrap_or_default().to_owned();
                masked.bank = bank_of_iban(text).to_owned();
            }
            Details::UsAccount(us) => {
                let (bank, number) = (&us.routing_number, us.account_number.expose());
                // Zeros in front count: they came in as part of the number.
                account("US", bank, behind(bank.expose(), number));
            }
            Details::UkAccount(uk) => {
                let (bank, number) = (&uk.sort_code, uk.account_number.expose());
                account("GB", bank, behind(bank.expose(), unpadded(number)));
            }
            Details::SeAccount(se) => {
                let (bank, number) = (&se.clearing_number, se.account_number.expose());
                account("SE", bank, behind(bank.expose(), unpadded(number)));
            }
            Details::Bankgiro(giro) => {
                masked.country = "SE".to_owned();
                masked.number = giro_number(giro.number.expose());
            }
            Details::Plusgiro(giro) => {
                masked.country = "SE".to_owned();
                masked.number = giro_number(giro.number.expose());
            }
            Details::DkAccount(dk) => {
                let (bank, number) = (&dk.reg_number, dk.account_number.expose());
                account("DK", bank, behind(bank.expose(), unpadded(number)));
            }
        }
        masked
    }

    /// The last four characters of the number, as a party may get them that was not granted the
    /// number: at least four more stay hidden, so an account of 6 or 7 digits gives two and a
    /// shorter one none.
    pub fn last_four(&self) -> SecretText {
        let (first, second) = self.number();
        let number = second.unwrap_or(first).expose();
        SecretText::copy_from(last(match self {
            Details::UkAccount(_) | Details::SeAccount(_) | Details::DkAccount(_) => {
                unpadded(number)
            }
            _ => number,
        }))
    }
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

/// The bank's identifier in an IBAN, where the registry says that it has one and at least four
/// characters between it and the last four stay hidden: Norwegian IBANs are too short for that.
pub fn bank_of_iban(iban: &str) -> &str {
    let Some(country) = iban.get(..2).and_then(IbanCountry::of) else {
        return "";
    };
    let (begin, end) = (HEAD + country.bank.start, HEAD + country.bank.end);
    if iban.len() < end + HIDDEN_MIN + LAST {
        return "";
    }
    iban.get(begin..end).unwrap_or_default()
}

/// An account behind its bank's number, which is public: four stars, and what [`last`] shows of the
/// account number. Always four stars: they don't tell the length.
pub fn behind(bank: &str, account_number: &str) -> String {
    format!("{bank} {}", giro_number(account_number))
}

/// A number that names no bank: four stars, and what [`last`] shows of it.
pub fn giro_number(number: &str) -> String {
    format!("{}{}", stars(4), last(number))
}

/// A number without the zeros in front of it.
fn unpadded(number: &str) -> &str {
    number.trim_start_matches('0')
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
    fn an_account_shows_its_end_only_where_four_stay_hidden() {
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
            assert_eq!(behind("021000021", &DIGITS[..length]), masked);
        }
        for length in 0..=19 {
            let shown = last(&DIGITS[..length]).len();
            assert!(shown == 0 || length - shown >= 4, "{length}");
        }
        assert_eq!(last("ééééééééé"), "éééé");
    }

    #[test]
    fn zeros_in_front_hide_nothing() {
        for (number, shown) in [
            ("0000000001", ""),
            ("0000012345", ""),
            ("0000123456", "56"),
            ("0012345678", "5678"),
            ("0000000000", ""),
        ] {
            assert_eq!(last(unpadded(number)), shown, "{number}");
        }
    }

    /// The bank's identifier and the mask together leave four characters hidden, in every country.
    #[test]
    fn a_bank_is_named_only_where_four_stay_hidden() {
        let mut unnamed = Vec::new();
        for country in super::super::iban_registry::countries() {
            let text = format!("{}00{}", country.code, "X".repeat(country.length - 4));
            let bank = bank_of_iban(&text);
            if bank.is_empty() {
                unnamed.push(country.code);
                continue;
            }
            let hidden = country.length - HEAD - country.bank.end - LAST;
            assert!(hidden >= HIDDEN_MIN, "{}", country.code);
        }
        assert_eq!(unnamed, ["NO", "PL"]);
        for (iban, bank) in [
            ("NL91ABNA0417164300", "ABNA"),
            ("DE89370400440532013000", "37040044"),
            ("IT60X0542811101000000123456", "05428"),
            ("BE68539007547034", "539"),
            ("NO9386011117947", ""),
            ("ZZ0012345678901234", ""),
            ("NL91", ""),
            ("é", ""),
        ] {
            assert_eq!(bank_of_iban(iban), bank, "{iban}");
        }
    }

    /// PCI DSS 3.4.1 over every brand and length, as a whole instrument is masked.
    #[test]
    fn every_brand_at_every_length_shows_bin_and_last_four_at_most() {
        use crate::payment::{Card, Expiry};
        let mut brands = std::collections::BTreeSet::new();
        for start in [
            "1800", "2131", "2221", "2720", "3000", "3400", "3528", "3600", "3700", "3800", "4000",
            "5018", "5020", "5038", "5100", "5599", "5893", "6011", "6200", "6304", "6440", "6500",
            "6759", "8100", "9999",
        ] {
            for length in 12..=19 {
                let middle = &"7182818284590452"[..length - 5];
                let number = (0..10)
                    .map(|last| format!("{start}{middle}{last}"))
                    .find(|number| luhn::passes(number.as_bytes()))
                    .expect("one of ten passes");
                let card = Card {
                    number: SecretText::copy_from(&number),
                    expiry: Expiry {
                        year: 2031,
                        month: 12,
                    },
                    holder: SecretText::copy_from(""),
                    postal_code: SecretText::copy_from(""),
                    address_line: SecretText::copy_from(""),
                };
                let details = Details::Card(card);
                let masked = details.mask();
                let shown = masked.number;
                let first = shown.find('*').expect("something is hidden");
                let last = length - shown.rfind('*').expect("as above") - 1;
                assert!(first <= 6 && last <= 4, "{number}: {shown}");
                assert!(length - first - last >= 4, "{number}: {shown}");
                assert_eq!(shown.matches('*').count(), length - first - last);
                assert!(number.starts_with(&shown[..first]));
                assert!(number.ends_with(&shown[length - last..]));
                assert!(masked.bank.is_empty() && masked.country.is_empty());
                assert!(details.last_four().len() <= 4);
                brands.insert(masked.brand);
            }
        }
        assert_eq!(brands.len(), 9, "eight brands and none: {brands:?}");
    }
}
