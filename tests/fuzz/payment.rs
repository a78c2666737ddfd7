//! Tokens and payment details, as callers type them.

use super::meter::bounded;
use super::text::{planted, silent, silent_error, text};
use payvault::clock::Timestamp;
use payvault::limits;
use payvault::payment::{
    self, Assurance, CardInput, Details, ModulusTables, Problem, SecurityCode, Token, bankgiro,
    dk_account, iban, luhn, plusgiro, se_account, uk_account, us_account,
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
    // New ones come at the end: the corpus says what it is by this number.
    match kind % 16 {
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
                    assert!(Token::parse(typed.expose()).is_err(), "a PAN is no token");
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
            match iban(number, secret(), secret()) {
                Ok(account) => {
                    assert!(matches!(account.bic.len(), 0 | 8 | 11));
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
        4 => match SecurityCode::parse(secret()) {
            Ok(code) => assert!((3..=4).contains(&code.expose().len())),
            Err(problem) => silent(&format!("{problem:?}")),
        },
        5 => match uk_account(secret(), secret(), secret(), &uk_tables()) {
            Ok(account) => {
                assert_eq!(account.sort_code.len(), 6);
                assert_eq!(account.account_number.len(), 8);
                assert!(account.assurance != Assurance::NotChecked);
                details(&Details::UkAccount(account));
            }
            Err(problems) => refused(&problems),
        },
        6 => match se_account(secret(), secret(), secret()) {
            Ok(account) => {
                assert_eq!(account.clearing_number.len(), 4);
                assert!((2..=11).contains(&account.account_number.len()));
                assert!(account.assurance != Assurance::PresumedValid);
                details(&Details::SeAccount(account));
            }
            Err(problems) => refused(&problems),
        },
        7 => match bankgiro(secret(), secret()) {
            Ok(giro) => {
                assert!(luhn::passes(giro.number.expose().as_bytes()));
                details(&Details::Bankgiro(giro));
            }
            Err(problems) => refused(&problems),
        },
        8 => match plusgiro(secret(), secret()) {
            Ok(giro) => {
                assert!(luhn::passes(giro.number.expose().as_bytes()));
                details(&Details::Plusgiro(giro));
            }
            Err(problems) => refused(&problems),
        },
        9 => match dk_account(secret(), secret(), secret()) {
            Ok(account) => {
                assert_eq!(account.account_number.len(), 10);
                details(&Details::DkAccount(account));
            }
            Err(problems) => refused(&problems),
        },
        10 => match ModulusTables::read(fields, "990001 990002") {
            Ok(tables) => assert!(tables.rows() > 0),
            Err(fault) => silent_error(&fault),
        },
        11 => {
            match ModulusTables::read("990001 990001 MOD10 1 1 1 1 1 1 1 1 1 1 1 1 1 1", fields) {
                Ok(tables) => assert_eq!(tables.rows(), 1),
                Err(fault) => silent_error(&fault),
            }
        }
        _ => stored(fields.as_bytes()),
    }
}

/// Tables that are made up, in the published form.
fn uk_tables() -> ModulusTables {
    let weights = "990001 990005 MOD11 0 0 0 0 0 0 9 8 7 6 5 4 3 1\n\
                   990006 990006 DBLAL 1 2 1 2 1 2 1 2 1 2 1 2 1 2 1\n\
                   990007 990009 MOD10 7 1 3 9 7 1 3 9 7 1 3 9 7 1\n";
    match ModulusTables::read(weights, "") {
        Ok(tables) => tables,
        Err(fault) => panic!("{fault}"),
    }
}

/// Bytes as if they had been sealed: details that are written as they were, or a refusal.
fn stored(bytes: &[u8]) {
    match Details::decode(bytes) {
        Ok(read) => assert!(read.encode()[..] == *bytes, "details have one spelling"),
        Err(error) => silent_error(&error),
    }
}

fn token(text: &str) {
    match Token::parse(text) {
        Ok(token) => {
            assert_eq!(token.to_text().expose(), text, "a token has one spelling");
            assert!(!luhn::contains_card_number(text), "a token holds no PAN");
            let as_number = CardInput {
                number: SecretText::copy_from(text),
                expiry_month: 12,
                expiry_year: 2031,
                holder: SecretText::copy_from(""),
                security_code: SecretText::copy_from(""),
                postal_code: SecretText::copy_from(""),
                address_line: SecretText::copy_from(""),
            };
            assert!(payment::card(as_number, NOW).is_err(), "a token is no PAN");
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
    if let Details::Card(_) = details {
        let shown = masked.number.bytes().filter(u8::is_ascii_digit).count();
        assert!(shown <= 10, "more than the first six and the last four");
    }
    let (bank, account) = details.number();
    // What names the bank is public, shown whole, and may happen to hold a short account number.
    let (full, shown) = match account {
        Some(account) => (account.expose(), &masked.number[bank.len()..]),
        None => (bank.expose(), &masked.number[..]),
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

/// Random bytes, and vectors with a few bytes changed: each is a value that is written and read
/// again, or a refusal that says nothing. Prints its seed, and takes one in `PAYVAULT_SEED`.
#[cfg(test)]
#[test]
fn any_bytes_are_a_value_or_a_refusal() {
    let seed = match std::env::var("PAYVAULT_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => u64::from_be_bytes(payvault::ids::random()),
    };
    println!("PAYVAULT_SEED={seed}");
    // SplitMix64.
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize
    };
    let real = [
        "4111 1111 1111 1111\n12\n2031\nA. B\u{e4}cker\n123\n1012 AB\nDam 1",
        "NL91 ABNA 0417 1643 00\nJ. de Vries\nABNANL2A",
        "021000021\n1234 56789\nPat Doe\n1",
        "99-00-07\n2002 9772\nA. Smith",
        "5839\n8257466\nA. Ek",
        "8327-9\n1054315914\nA. Ek",
        "5050-1055\nA. Ek",
        "28 65 43-4\nA. Ek",
        "0040\n440-116-243\nA. Lund",
        "990001 990009 MOD11 0 0 0 0 0 0 9 8 7 6 5 4 3 1 14",
    ];
    for _ in 0..20_000 {
        let kind = next() as u8;
        let mut bytes = match next() % 3 {
            0 => (0..next() % 64).map(|_| next() as u8).collect(),
            1 => (0..next() % 24)
                .map(|_| b"0123456789 -\n"[next() % 13])
                .collect(),
            _ => real[next() % real.len()].as_bytes().to_vec(),
        };
        for _ in 0..next() % 3 {
            if !bytes.is_empty() {
                let at = next() % bytes.len();
                bytes[at] = b"0123456789 -\nABX\xff"[next() % 17];
            }
        }
        let mut input = vec![kind];
        input.extend_from_slice(&bytes);
        run(&input);
        stored(&input);
    }
    // Neither is ever the other.
    for _ in 0..1_000 {
        token(Token::random().to_text().expose());
        let digits: String = (0..12 + next() % 8)
            .map(|_| char::from(b'0' + (next() % 10) as u8))
            .collect();
        assert!(Token::parse(&digits).is_err());
    }
}
