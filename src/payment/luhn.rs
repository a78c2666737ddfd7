//! The Luhn check digit (ISO/IEC 7812-1, annex B): on card numbers, and as the test for a card
//! number where none belongs.

/// Lengths of a card number in digits (ISO/IEC 7812-1).
pub const CARD_NUMBER_DIGITS: std::ops::RangeInclusive<usize> = 12..=19;

/// Whether `digits`, in ASCII with the check digit last, pass Luhn. Empty input and anything that
/// is not an ASCII digit do not pass. Says nothing about the length.
pub fn passes(digits: &[u8]) -> bool {
    let mut sum = Sum::default();
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) && {
        digits.iter().rev().for_each(|digit| sum.add(*digit));
        sum.passes()
    }
}

/// Whether `text` holds what may be a card number: 12 to 19 ASCII digits in a row that pass Luhn,
/// where one character that is neither letter nor digit (space, hyphen, dot, slash, a no-break
/// space) may stand between any two. Digits before and after don't matter: every window of a longer
/// run is looked at. Copies nothing, since the text may hold one.
///
/// For references, names and addresses, which are shown or released apart from the number. One of
/// ten random 12-digit runs passes, and a longer run has several windows: this errs on refusing.
pub fn contains_card_number(text: &str) -> bool {
    (0..text.len()).any(|end| a_card_number_ends_at(text, end))
}

/// Whether a window of 12 to 19 digits whose last one is at `end` passes. Luhn runs from the right,
/// so one walk to the left tries all lengths; it takes 19 steps at most.
fn a_card_number_ends_at(text: &str, end: usize) -> bool {
    let bytes = text.as_bytes();
    let mut sum = Sum::default();
    let mut at = end;
    while bytes[at].is_ascii_digit() {
        sum.add(bytes[at]);
        if CARD_NUMBER_DIGITS.contains(&sum.count) && sum.passes() {
            return true;
        }
        if sum.count == *CARD_NUMBER_DIGITS.end() {
            return false;
        }
        // A digit stands at `at`, so the text can be cut there.
        let left = match text[..at].chars().next_back() {
            Some(c) if !c.is_alphanumeric() => at - c.len_utf8(),
            _ => at,
        };
        at = match left.checked_sub(1) {
            Some(next) => next,
            None => return false,
        };
    }
    false
}

/// The Luhn sum of digits given from the right: every second one is doubled.
#[derive(Default)]
struct Sum {
    count: usize,
    total: u32,
}

impl Sum {
    fn add(&mut self, digit: u8) {
        let value = u32::from(digit - b'0');
        self.total += match (self.count % 2, value) {
            (0, _) => value,
            (_, 0..5) => value * 2,
            // Twice the value is 10 or more: its two digits added up.
            _ => value * 2 - 9,
        };
        self.count += 1;
    }

    fn passes(&self) -> bool {
        self.total.is_multiple_of(10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::vectors;

    /// One number of each length, from a published one or with a computed check digit.
    const NUMBERS: [&[u8]; 9] = [
        b"501800000009",
        b"4222222222222",
        b"30569309025904",
        b"378282246310005",
        b"4111111111111111",
        b"12345678901234569",
        b"620000000000000005",
        b"6205500000000000004",
        // Holds every digit.
        b"5090987654321012343",
    ];

    #[test]
    fn vectors_pass_or_fail() {
        for [name, digits] in vectors::rows(include_str!("../../tests/vectors/payment/luhn.tsv")) {
            assert_eq!(passes(digits.as_bytes()), name.starts_with("ok_"), "{name}");
        }
    }

    #[test]
    fn every_single_wrong_digit_is_noticed() {
        for number in NUMBERS {
            assert!(passes(number));
            for at in 0..number.len() {
                for digit in (b'0'..=b'9').filter(|d| *d != number[at]) {
                    let mut wrong = number.to_vec();
                    wrong[at] = digit;
                    assert!(!passes(&wrong), "digit {at}");
                }
            }
        }
    }

    #[test]
    fn every_transposition_is_noticed_but_09_and_90() {
        // Every pair of digits at every place; the last digit makes the number pass.
        for (a, b) in (b'0'..=b'9').flat_map(|a| (b'0'..=b'9').map(move |b| (a, b))) {
            for at in 0..10 {
                let mut number = *b"444444444444";
                (number[at], number[at + 1]) = (a, b);
                let fitting = (b'0'..=b'9').filter(|digit| {
                    number[11] = *digit;
                    passes(&number)
                });
                let fitting: Vec<u8> = fitting.collect();
                assert_eq!(fitting.len(), 1);
                number[11] = fitting[0];
                number.swap(at, at + 1);
                let unnoticed = a == b || matches!((a, b), (b'0', b'9') | (b'9', b'0'));
                assert_eq!(passes(&number), unnoticed, "{a} {b} at {at}");
            }
        }
    }

    #[test]
    fn transpositions_in_published_numbers_are_noticed() {
        for number in NUMBERS {
            for at in 0..number.len() - 1 {
                let (a, b) = (number[at], number[at + 1]);
                let mut wrong = number.to_vec();
                wrong.swap(at, at + 1);
                let unnoticed = a == b || matches!((a, b), (b'0', b'9') | (b'9', b'0'));
                assert_eq!(passes(&wrong), unnoticed, "at {at}");
            }
        }
    }

    #[test]
    fn a_card_number_is_found_in_text() {
        for text in [
            "4111111111111111",
            "order 4111111111111111 paid",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1",
            "4111.1111.1111.1111",
            "4111/1111/1111/1111",
            "4111_1111_1111_1111",
            "4111:1111,1111;1111",
            "4.1/1_1:1*1#1|1+1=1\t1\n1~1'1\"1&1",
            // No-break space, no-break hyphen, en dash, middle dot, zero width space.
            "4111\u{a0}1111\u{2011}1111\u{2013}1111",
            "4111\u{b7}1111\u{200b}1111\u{1f4b3}1111",
            "x4111111111111111y",
            "№4111111111111111é",
            // Inside a longer run of digits.
            "004111111111111111",
            "411111111111111100000",
            "9999999999999999999999994111111111111111",
            "a 501800000009",
            "6205500000000000004",
        ] {
            assert!(contains_card_number(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_card_number_is_not_found() {
        for text in [
            "",
            "-",
            " ",
            "order 2026-11-23",
            "41111111111",
            // Parted by more than one separator, or by something else: no window of 12 is left.
            "4111 1111  1111 1111",
            "4111.-1111.-1111.-1111",
            "4111a11111111111",
            "4111é11111111111",
            ".",
            "é4",
            "411111******1111",
            "123 456 789",
            // 12 digits, and no Luhn.
            "501800000001",
            "４１１１１１１１１１１１１１１１",
        ] {
            assert!(!contains_card_number(text), "{text}");
        }
    }

    #[test]
    fn every_window_of_every_length_is_found_wherever_it_stands() {
        for number in NUMBERS {
            let number = std::str::from_utf8(number).expect("digits");
            for (before, behind) in [("", ""), ("a", "b"), ("- ", " -"), ("é", "é")] {
                assert!(contains_card_number(&format!("{before}{number}{behind}")));
            }
        }
    }
}
