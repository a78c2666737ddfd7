//! Tokens and payment details, as callers type them.

use super::meter::bounded;
use super::text::{planted, silent, silent_error, text};
use payvault::clock::Timestamp;
use payvault::limits;
use payvault::payment::{
    self, CardInput, Details, Problem, SecurityCode, Token, iban, luhn, us_account,
};
use payvault::secret::SecretText;

/// 2026-11-23.
const NOW: Timestamp = Timestamp(1_795_392_000_000);

/// First byte: what it is. Rest: its fields, a line each.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let Some(fields) = text(rest) else { return };
    // Twice the input: with the canary it is longer.
    bounded(data.len() + 64, || one(*kind, fields));
    bounded(data.len() + 64, || one(*kind, &planted(fields)));
}

fn one(kind: u8, fields: &str) {
    let mut lines = fields.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let mut secret = || SecretText::copy_from(next());
    match kind % 5 {
        0 => token(fields),
        1 => {
            let number = secret();
            let typed = number.duplicate();
            let (month, year) = (int(&secret()), int(&secret()));
            let input = CardInput {
                number,
                expiry_month: month,
                expiry_year: year,
                holder: secret(),
                security_code: secret(),
                postal_code: secret(),
                address_line: secret(),
            };
            match payment::card(input, NOW) {
                Ok((card, code)) => {
                    assert!((12..=19).contains(&card.number.len()));
                    assert!(luhn::passes(card.number.expose().as_bytes()));
                    assert_eq!(card.number.expose(), without_separators(&typed));
                    assert!(i32::from(card.expiry.year) == year);
                    assert!(i32::from(card.expiry.month) == month && !card.expiry.expired(NOW));
                    assert!(card.expiry.year <= 2026 + limits::CARD_YEARS_AHEAD_MAX);
                    assert!(card.holder.expose().chars().count() <= limits::CARD_HOLDER_CHARS_MAX);
                    if let Some(code) = code {
                        let digits = code.expose().bytes().all(|b| b.is_ascii_digit());
                        assert!(digits && (3..=4).contains(&code.expose().len()));
                    }
                    details(&Details::Card(card));
                }
                Err(problems) => refused(&problems),
            }
        }
        2 => {
            let number = secret();
            let typed = number.duplicate();
            match iban(number, secret()) {
                Ok(account) => {
                    let upper = without_separators(&typed).to_ascii_uppercase();
                    assert_eq!(account.iban.expose(), upper);
                    assert!(remainder_97(account.iban.expose()) == 1);
                    details(&Details::Iban(account));
                }
                Err(problems) => refused(&problems),
            }
        }
        3 => match us_account(secret(), secret(), secret(), int(&secret())) {
            Ok(account) => {
                assert_eq!(account.routing_number.len(), 9);
                assert!((4..=17).contains(&account.account_number.len()));
                details(&Details::UsAccount(account));
            }
            Err(problems) => refused(&problems),
        },
        _ => match SecurityCode::parse(secret()) {
            Ok(code) => assert!((3..=4).contains(&code.expose().len())),
            Err(problem) => silent(&format!("{problem:?}")),
        },
    }
}

fn token(text: &str) {
    match Token::parse(text) {
        Ok(token) => {
            assert_eq!(token.to_text().expose(), text, "a token has one spelling");
            assert!(Token::from_parts(&token.parts()).selector() == token.selector());
        }
        Err(error) => {
            assert_eq!(error.what, "not a token");
            silent_error(&error);
        }
    }
}

/// What was read is written and read again, and its mask hides enough.
fn details(details: &Details) {
    let bytes = details.encode();
    let Ok(again) = Details::decode(&bytes) else {
        panic!("details can't be read back");
    };
    assert!(again.encode() == bytes && again.kind() == details.kind());
    let masked = details.mask();
    let full = match details {
        Details::Card(card) => {
            let shown = masked.number.bytes().filter(u8::is_ascii_digit).count();
            assert!(shown <= 10, "more than the first six and the last four");
            card.number.expose()
        }
        Details::Iban(account) => account.iban.expose(),
        Details::UsAccount(account) => account.account_number.expose(),
    };
    // A routing number is public, shown whole, and may happen to hold a short account number.
    let shown = match details {
        Details::UsAccount(account) => &masked.number[account.routing_number.len()..],
        _ => &masked.number,
    };
    assert!(!shown.replace(' ', "").contains(full));
    assert!(details.last_four().len() <= 4);
}

fn refused(problems: &[Problem]) {
    assert!(!problems.is_empty());
    silent(&format!("{problems:?}"));
}

fn int(text: &SecretText) -> i32 {
    text.expose().parse().unwrap_or(0)
}

fn without_separators(text: &SecretText) -> String {
    text.expose().replace([' ', '-'], "")
}

/// ISO 13616, digit by digit.
fn remainder_97(iban: &str) -> u32 {
    let (head, rest) = iban.split_at(4);
    let digits: String = rest
        .chars()
        .chain(head.chars())
        .filter_map(|c| c.to_digit(36))
        .map(|value| value.to_string())
        .collect();
    digits
        .chars()
        .filter_map(|c| c.to_digit(10))
        .fold(0, |rest, digit| (rest * 10 + digit) % 97)
}
