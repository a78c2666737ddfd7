//! Looks for values in bytes, in every form that a careless line of code would give them.

#![allow(dead_code)] // what one test file needs and another does not

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

/// Values shorter than this are found by chance.
const BYTES_MIN: usize = 10;

/// Values to look for.
#[derive(Default)]
pub struct Wanted {
    names: Vec<String>,
    patterns: Vec<Vec<u8>>,
}

/// The values, ready to be looked for.
pub struct Search {
    names: Vec<String>,
    automaton: AhoCorasick,
}

impl Wanted {
    /// Looks for a text, also as UTF-16, hex and base64.
    pub fn text(&mut self, name: &str, text: &str) {
        for (form, bytes) in forms(text.as_bytes()) {
            self.add(name, form, bytes);
        }
        let little = text.encode_utf16().flat_map(u16::to_le_bytes);
        self.add(name, "UTF-16LE", little.collect());
        let big = text.encode_utf16().flat_map(u16::to_be_bytes);
        self.add(name, "UTF-16BE", big.collect());
    }

    /// Looks for bytes, also as hex, base64 and the list that a derived `Debug` prints.
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) {
        for (form, bytes) in forms(bytes) {
            self.add(name, form, bytes);
        }
        let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
        self.add(name, "Debug", list.join(", ").into_bytes());
    }

    fn add(&mut self, name: &str, form: &str, bytes: Vec<u8>) {
        assert!(bytes.len() >= BYTES_MIN, "{name} as {form} is too short");
        self.names.push(format!("{name} as {form}"));
        self.patterns.push(bytes);
    }

    pub fn build(self) -> Search {
        Search {
            names: self.names,
            automaton: AhoCorasick::new(&self.patterns).expect("an automaton"),
        }
    }
}

/// A value as it is, as hex, and as base64 at its three alignments within a longer text.
fn forms(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = |upper: bool| -> Vec<u8> {
        let digits: &[u8; 16] = match upper {
            true => b"0123456789ABCDEF",
            false => b"0123456789abcdef",
        };
        let pairs = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
        pairs.map(|nibble| digits[usize::from(nibble)]).collect()
    };
    let mut forms = vec![
        ("itself", bytes.to_vec()),
        ("hex", hex(false)),
        ("HEX", hex(true)),
    ];
    for alphabet in [STANDARD, URL_SAFE] {
        let engine = GeneralPurpose::new(&alphabet, NO_PAD);
        for before in 0..3 {
            let text = engine.encode([&vec![0; before], bytes].concat());
            // Letters that also hold bits of what stands before or behind are left out.
            let from = (before * 8).div_ceil(6);
            let to = (before + bytes.len()) * 8 / 6;
            forms.push(("base64", text.as_bytes()[from..to].to_vec()));
        }
    }
    forms
}

impl Search {
    /// What is found, each name once.
    pub fn find(&self, bytes: &[u8]) -> Vec<&str> {
        let found = self.automaton.find_overlapping_iter(bytes);
        let mut names: Vec<&str> = found
            .map(|hit| self.names[hit.pattern().as_usize()].as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Nothing must be found.
    pub fn assert_absent(&self, place: &str, bytes: &[u8]) {
        let found = self.find(bytes);
        assert!(found.is_empty(), "{place} holds {found:?}");
    }
}

/// Whether `digits` stand in `bytes` by themselves, no digit before or behind.
pub fn stands_alone(bytes: &[u8], digits: &[u8]) -> bool {
    let digit = |at: Option<&u8>| at.is_some_and(u8::is_ascii_digit);
    let automaton = AhoCorasick::new([digits]).expect("an automaton");
    automaton.find_overlapping_iter(bytes).any(|hit| {
        let before = hit.start().checked_sub(1).and_then(|at| bytes.get(at));
        !digit(before) && !digit(bytes.get(hit.end()))
    })
}

#[test]
fn a_planted_value_is_found_in_every_form() {
    let number = "4000001234567899";
    let raw: Vec<u8> = (0..32).map(|n| n * 7 + 3).collect();
    let mut wanted = Wanted::default();
    wanted.text("number", number);
    wanted.bytes("token", &raw);
    let search = wanted.build();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let utf16 = |text: &str, big: bool| -> Vec<u8> {
        let units = text.encode_utf16();
        units
            .flat_map(|unit| {
                if big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            })
            .collect()
    };
    let standard = base64::engine::general_purpose::STANDARD;
    let url = base64::engine::general_purpose::URL_SAFE;
    let mut planted = vec![
        number.as_bytes().to_vec(),
        utf16(number, false),
        utf16(number, true),
        hex(number.as_bytes()).into_bytes(),
        hex(number.as_bytes()).to_uppercase().into_bytes(),
        raw.clone(),
        hex(&raw).into_bytes(),
        hex(&raw).to_uppercase().into_bytes(),
        format!("{raw:?}").into_bytes(),
        format!("{:?}", Some(number)).into_bytes(),
        serde_json::to_vec(&serde_json::json!({ "n": number })).expect("JSON"),
    ];
    for value in [number.as_bytes(), &raw] {
        for before in 0..3 {
            for after in 0..3 {
                let whole = [&vec![b'x'; before], value, &vec![b'y'; after]].concat();
                planted.push(standard.encode(&whole).into_bytes());
                planted.push(url.encode(&whole).into_bytes());
            }
        }
    }
    for (number, leak) in planted.iter().enumerate() {
        let noise: Vec<u8> = (0..4_096u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        assert!(search.find(&noise).is_empty());
        let text = [&noise[..], leak, &noise].concat();
        assert!(!search.find(&text).is_empty(), "leak {number} is not found");
    }
}

#[test]
fn digits_stand_alone_or_not() {
    assert!(stands_alone(b"code=5821,", b"5821"));
    assert!(stands_alone(b"5821", b"5821"));
    assert!(stands_alone(b"\x00\x045821\x00", b"5821"));
    assert!(!stands_alone(b"15821", b"5821"));
    assert!(!stands_alone(b"58210 95821", b"5821"));
    assert!(stands_alone(b"58210 95821 5821", b"5821"));
}
