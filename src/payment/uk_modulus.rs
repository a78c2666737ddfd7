//! The modulus check of British bank accounts (Vocalink, "Validating account numbers"): which sort
//! codes have which weights, and the fourteen exceptions.
//!
//! The tables are their publisher's and change several times a year, so they come from two files of
//! the operator's, never from here. Without them, and for a sort code that they don't have, an
//! account is presumed valid, as the publisher asks.

use crate::limits;
use std::fmt;

/// Digits of sort code and account number together: u v w x y z, a b c d e f g h.
const DIGITS: usize = 14;
// The positions that exceptions look at.
const A: usize = 6;
const B: usize = 7;
const C: usize = 8;
const G: usize = 12;
const H: usize = 13;

/// Exception 2: the weights where a isn't 0 and g isn't 9 …
const STERLING: [u32; DIGITS] = [0, 0, 1, 2, 5, 3, 6, 4, 8, 7, 10, 9, 3, 1];
/// … and where a isn't 0 and g is 9.
const STERLING_G9: [u32; DIGITS] = [0, 0, 0, 0, 0, 0, 0, 0, 8, 7, 10, 9, 3, 1];
/// Exception 8 checks with this sort code …
const EXCEPTION_8: u32 = 90_126;
/// … and exception 9 with this one, where the bank holds all accounts in euro.
const EXCEPTION_9: u32 = 309_634;
/// Exception 1 adds this, which stands for an institution's number in front.
const EXCEPTION_1: u32 = 27;

/// What the tables say of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes the checks of its sort code.
    Passes,
    /// It fails them.
    Fails,
    /// The tables don't say: an unlisted sort code, or an account in a foreign currency.
    Unknown,
}

/// Both tables.
#[derive(Debug, Default)]
pub struct ModulusTables {
    /// In the order of the file; no sort code is in more than two.
    rows: Vec<Row>,
    /// What a sort code is replaced by, where exception 5 asks for it; sorted.
    substitutions: Vec<(u32, u32)>,
}

#[derive(Debug)]
struct Row {
    first: u32,
    last: u32,
    method: Method,
    weights: [u32; DIGITS],
    exception: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Mod10,
    Mod11,
    /// Double alternate: the digits of the products are added up, modulo 10.
    Dblal,
}

/// What is wrong with a table, and where. The line itself isn't repeated: the path may be wrong, and
/// the file somebody's secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFault {
    /// The line, from 1; 0 for the whole.
    pub line: usize,
    /// The rule that it breaks.
    pub what: &'static str,
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for TableFault {}

impl ModulusTables {
    /// Reads both tables in the published form. Weights, a line each: first and last sort code,
    /// `MOD10`, `MOD11` or `DBLAL`, 14 weights, and maybe an exception, parted by spaces.
    /// Substitutions: the sort code and what replaces it.
    ///
    /// # Errors
    /// The first line that hasn't that form, a sort code in more than two rows, or more rows than
    /// [`limits::UK_TABLE_ROWS_MAX`].
    pub fn read(weights: &str, substitutions: &str) -> Result<ModulusTables, TableFault> {
        let rows = lines(weights, Row::read)?;
        if rows.is_empty() {
            let what = "holds no weights: is it the right file?";
            return Err(TableFault { line: 0, what });
        }
        let mut substitutions = lines(substitutions, |words| match words {
            [original, substitute] => Ok((sort_code(original)?, sort_code(substitute)?)),
            _ => Err("must be two sort codes"),
        })?;
        substitutions.sort_unstable();
        // At most two a sort code: the most are there where a range begins.
        for row in &rows {
            let here = rows.iter().filter(|other| other.holds(row.first));
            if here.count() > 2 {
                let what = "has more than two rows for one sort code";
                return Err(TableFault { line: 0, what });
            }
        }
        Ok(ModulusTables {
            rows,
            substitutions,
        })
    }

    /// How many rows of weights there are.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Judges an account: 6 and 8 ASCII digits. Anything else is [`Verdict::Fails`].
    pub fn judge(&self, sort_code: &str, account_number: &str) -> Verdict {
        let Some(digits) = digits(sort_code, account_number) else {
            return Verdict::Fails;
        };
        let own = sort_code_of(&digits);
        let mut rows = self.rows.iter().filter(|row| row.holds(own));
        let Some(first) = rows.next() else {
            return Verdict::Unknown;
        };
        let second = rows.next();
        let of_foreign_currency = matches!(digits[A], 4..=8) && digits[G] == digits[H];
        let any_is_6 = first.exception == 6 || second.is_some_and(|row| row.exception == 6);
        if any_is_6 && of_foreign_currency {
            return Verdict::Unknown;
        }
        let passes = match second {
            None => self.passes(first, &digits),
            Some(second) => match (first.exception, second.exception) {
                // One of the two is enough.
                (2, 9) | (10, 11) | (12, 13) => {
                    self.passes(first, &digits) || self.passes(second, &digits)
                }
                _ => self.passes(first, &digits) && self.passes(second, &digits),
            },
        };
        match passes {
            true => Verdict::Passes,
            false => Verdict::Fails,
        }
    }

    /// One row's check, with its exception.
    fn passes(&self, row: &Row, digits: &[u32; DIGITS]) -> bool {
        let mut checked = *digits;
        let mut weights = row.weights;
        match row.exception {
            2 if digits[A] != 0 && digits[G] == 9 => weights = STERLING_G9,
            2 if digits[A] != 0 => weights = STERLING,
            3 if matches!(digits[C], 6 | 9) => return true,
            5 => {
                let own = sort_code_of(digits);
                let found = self.substitutions.binary_search_by_key(&own, |pair| pair.0);
                if let Ok(at) = found {
                    put_sort_code(&mut checked, self.substitutions[at].1);
                }
            }
            7 if digits[G] == 9 => weights[..C].fill(0),
            8 => put_sort_code(&mut checked, EXCEPTION_8),
            9 => put_sort_code(&mut checked, EXCEPTION_9),
            10 if matches!((digits[A], digits[B]), (0 | 9, 9)) && digits[G] == 9 => {
                weights[..C].fill(0);
            }
            _ => {}
        }
        let mut total = row.method.total(&checked, &weights);
        if row.exception == 1 {
            total += EXCEPTION_1;
        }
        let rest = total % row.method.modulus();
        match (row.exception, row.method) {
            (4, _) => rest == digits[G] * 10 + digits[H],
            (5, Method::Mod11) => match rest {
                0 => digits[G] == 0,
                1 => false,
                _ => 11 - rest == digits[G],
            },
            (5, _) => (10 - rest) % 10 == digits[H],
            (14, _) => rest == 0 || row.passes_shifted(digits),
            _ => rest == 0,
        }
    }
}

impl Row {
    fn read(words: &[&str]) -> Result<Row, &'static str> {
        let [first, last, method, rest @ ..] = words else {
            return Err("must be two sort codes, a method and 14 weights");
        };
        let (weights, exception) = match rest.split_at_checked(DIGITS) {
            Some((weights, [])) => (weights, 0),
            Some((weights, [exception])) => (weights, number(exception, 1, 14)?),
            _ => return Err("must have 14 weights, and maybe an exception"),
        };
        let mut row = Row {
            first: sort_code(first)?,
            last: sort_code(last)?,
            method: match *method {
                "MOD10" => Method::Mod10,
                "MOD11" => Method::Mod11,
                "DBLAL" => Method::Dblal,
                _ => return Err("has another method than MOD10, MOD11 and DBLAL"),
            },
            weights: [0; DIGITS],
            exception: exception as u8,
        };
        if row.first > row.last {
            return Err("has a range that ends before it begins");
        }
        for (own, word) in row.weights.iter_mut().zip(weights) {
            *own = number(word, 0, WEIGHT_MAX)?;
        }
        Ok(row)
    }

    fn holds(&self, sort_code: u32) -> bool {
        (self.first..=self.last).contains(&sort_code)
    }

    /// Exception 14, second try: where h is 0, 1 or 9 it is taken out, and a 0 put in front.
    fn passes_shifted(&self, digits: &[u32; DIGITS]) -> bool {
        if !matches!(digits[H], 0 | 1 | 9) {
            return false;
        }
        let mut shifted = *digits;
        shifted.copy_within(A..H, B);
        shifted[A] = 0;
        let total = self.method.total(&shifted, &self.weights);
        total.is_multiple_of(self.method.modulus())
    }
}

/// Far above the largest one in use (64).
const WEIGHT_MAX: u32 = 999;

impl Method {
    fn total(self, digits: &[u32; DIGITS], weights: &[u32; DIGITS]) -> u32 {
        let products = digits.iter().zip(weights).map(|(d, w)| d * w);
        match self {
            Method::Mod10 | Method::Mod11 => products.sum(),
            Method::Dblal => products.map(digit_sum).sum(),
        }
    }

    fn modulus(self) -> u32 {
        match self {
            Method::Mod11 => 11,
            Method::Mod10 | Method::Dblal => 10,
        }
    }
}

fn digit_sum(mut number: u32) -> u32 {
    let mut sum = 0;
    while number > 0 {
        sum += number % 10;
        number /= 10;
    }
    sum
}

/// The lines of a table, empty ones left out, each as `read` has it.
fn lines<T>(
    text: &str,
    read: impl Fn(&[&str]) -> Result<T, &'static str>,
) -> Result<Vec<T>, TableFault> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let fault = |what| TableFault { line: at + 1, what };
        // One more than the longest line has is enough to tell that it is too long.
        let words: Vec<&str> = line.split_ascii_whitespace().take(WORDS_MAX + 1).collect();
        if words.is_empty() {
            continue;
        }
        if found.len() == limits::UK_TABLE_ROWS_MAX {
            return Err(fault("is one line more than a table may have"));
        }
        found.push(read(&words).map_err(fault)?);
    }
    Ok(found)
}

/// Two sort codes, a method, the weights and an exception.
const WORDS_MAX: usize = DIGITS + 4;

fn sort_code(word: &str) -> Result<u32, &'static str> {
    const WRONG: &str = "has something that is no sort code of 6 digits";
    if word.len() != 6 || !word.bytes().all(|b| b.is_ascii_digit()) {
        return Err(WRONG);
    }
    word.parse().map_err(|_| WRONG)
}

fn number(word: &str, least: u32, most: u32) -> Result<u32, &'static str> {
    let plain = word.bytes().all(|b| b.is_ascii_digit());
    word.parse()
        .ok()
        .filter(|number| plain && (least..=most).contains(number))
        .ok_or("has a weight or an exception that can't be")
}

fn digits(sort_code: &str, account_number: &str) -> Option<[u32; DIGITS]> {
    if sort_code.len() != A || account_number.len() != DIGITS - A {
        return None;
    }
    let mut digits = [0; DIGITS];
    let both = sort_code.bytes().chain(account_number.bytes());
    for (own, byte) in digits.iter_mut().zip(both) {
        *own = char::from(byte).to_digit(10)?;
    }
    Some(digits)
}

fn sort_code_of(digits: &[u32; DIGITS]) -> u32 {
    digits[..A].iter().fold(0, |code, digit| code * 10 + digit)
}

fn put_sort_code(digits: &mut [u32; DIGITS], mut code: u32) {
    for own in digits[..A].iter_mut().rev() {
        *own = code % 10;
        code /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::vectors;

    const WEIGHTS: &str = include_str!("../../tests/vectors/payment/uk_weights.txt");
    const SUBSTITUTIONS: &str = include_str!("../../tests/vectors/payment/uk_substitutions.txt");

    fn tables() -> ModulusTables {
        ModulusTables::read(WEIGHTS, SUBSTITUTIONS).expect("our own tables")
    }

    #[test]
    fn vectors_are_judged_as_the_rules_say() {
        let tables = tables();
        for [name, sort_code, account, expected] in
            vectors::rows(include_str!("../../tests/vectors/payment/uk_modulus.tsv"))
        {
            let verdict = match tables.judge(sort_code, account) {
                Verdict::Passes => "passes",
                Verdict::Fails => "fails",
                Verdict::Unknown => "unknown",
            };
            assert_eq!(verdict, expected, "{name}");
            assert_eq!(name.starts_with("ok_"), verdict != "fails", "{name}");
        }
    }

    #[test]
    fn every_exception_has_vectors_that_pass_and_that_fail() {
        let names: Vec<&str> =
            vectors::rows(include_str!("../../tests/vectors/payment/uk_modulus.tsv"))
                .map(|[name, _, _, _]: [&str; 4]| name)
                .collect();
        for exception in 1..=14 {
            for start in ["ok", "fail"] {
                let start = format!("{start}_exception_{exception:02}_");
                assert!(names.iter().any(|n| n.starts_with(&start)), "{start}");
            }
        }
    }

    #[test]
    fn without_tables_nothing_is_known() {
        let none = ModulusTables::default();
        assert_eq!(none.judge("990001", "12345678"), Verdict::Unknown);
    }

    #[test]
    fn a_judgement_of_anything_does_not_panic() {
        for (sort_code, account) in [
            ("", ""),
            ("99000", "123456789"),
            ("990001", "1234567"),
            ("99é01", "12345678"),
            ("990001", "1234567é"),
            ("999999", "99999999"),
        ] {
            let _ = tables().judge(sort_code, account);
            assert_eq!(
                tables().judge(sort_code, "x"),
                Verdict::Fails,
                "{sort_code}"
            );
        }
    }

    #[test]
    fn a_table_of_another_form_is_refused_by_its_line() {
        let row = "990001 990001 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 1";
        let fault = |weights: &str| ModulusTables::read(weights, "").err().map(|f| f.line);
        assert_eq!(fault(row), None);
        assert_eq!(fault(&format!("{row}\r\n\r\n{row} 14\r\n")), None);
        for wrong in [
            "990001",
            "99001 990001 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 1",
            "990002 990001 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 1",
            "990001 990001 MOD12 0 0 0 0 0 0 8 7 6 5 4 3 2 1",
            "990001 990001 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2",
            "990001 990001 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 1 15",
            "990001 990001 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 1 0",
            "990001 990001 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 1 1 1",
            "990001 990001 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 -1",
            "990001 990001 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 +1",
            "990001 990001 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 1000",
        ] {
            assert_eq!(fault(&format!("{row}\n{wrong}")), Some(2), "{wrong}");
        }
        let fault = |substitutions: &str| {
            let read = ModulusTables::read(row, substitutions);
            read.err().map(|f| f.line)
        };
        assert_eq!(fault("990001 990002\n"), None);
        assert_eq!(fault("990001 990002\n990001"), Some(2));
        assert_eq!(fault("990001 99000x"), Some(1));
    }

    #[test]
    fn tables_have_bounds() {
        let row = "990001 990001 MOD11 0 0 0 0 0 0 8 7 6 5 4 3 2 1\n";
        for (text, refused) in [("", true), ("\n\n", true), (row, false)] {
            assert_eq!(ModulusTables::read(text, "").is_err(), refused);
        }
        assert!(ModulusTables::read(&row.repeat(2), "").is_ok());
        assert!(ModulusTables::read(&row.repeat(3), "").is_err());
        let many = "990001 990002\n".repeat(limits::UK_TABLE_ROWS_MAX + 1);
        let fault = ModulusTables::read(row, &many).err().map(|f| f.line);
        assert_eq!(fault, Some(limits::UK_TABLE_ROWS_MAX + 1));
    }

    /// Standard checks see every wrong digit that has a weight prime to their modulus.
    #[test]
    fn every_single_wrong_digit_is_noticed_by_a_plain_modulus_11() {
        let tables = tables();
        let rows = vectors::rows(include_str!("../../tests/vectors/payment/uk_modulus.tsv"));
        let account = rows
            .filter(|[name, ..]: &[&str; 4]| *name == "ok_mod11")
            .map(|[_, _, account, _]| account)
            .next()
            .expect("a plain one");
        assert_eq!(tables.judge("990101", account), Verdict::Passes);
        for at in 0..8 {
            for digit in (b'0'..=b'9').filter(|d| *d != account.as_bytes()[at]) {
                let mut wrong = account.as_bytes().to_vec();
                wrong[at] = digit;
                let wrong = String::from_utf8(wrong).expect("digits");
                assert_eq!(tables.judge("990101", &wrong), Verdict::Fails, "{wrong}");
            }
        }
    }
}
