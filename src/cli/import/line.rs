//! Lines of an import: JSON Lines, or CSV whose columns are the same fields. A line that is wrong
//! is refused with its number, a field and a rule; what it holds is never repeated.

use crate::api::convert;
use crate::api::proto;
use crate::api::violations::Violations;
use crate::cli::details;
use crate::clock::Timestamp;
use crate::limits;
use crate::payment::ModulusTables;
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Jsonl,
    /// A header, then one record a line
    Csv,
}

/// A line that is right as far as can be told without the vault. No `Debug`: it holds details.
pub struct Line {
    /// From 1; a header counts.
    pub number: u64,
    /// The caller's own.
    pub reference: String,
    /// Its transaction; empty when one is opened for it.
    pub transaction: String,
    /// What is handed in.
    pub details: proto::PaymentDetails,
}

/// Why a line is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: u64,
    /// The field.
    pub field: String,
    /// The rule that it breaks.
    pub problem: String,
}

impl Problem {
    /// A line, a field and a rule.
    pub fn new(line: u64, field: impl Into<String>, problem: impl Into<String>) -> Problem {
        Problem {
            line,
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// As the report has it.
    pub fn to_json(&self) -> Value {
        serde_json::json!({"line": self.line, "field": self.field, "problem": self.problem})
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given<'a> {
    reference: String,
    #[serde(default)]
    transaction: String,
    #[serde(borrow)]
    details: &'a RawValue,
}

/// Reads the lines of `content`, empty ones left out. `opens`: each gets a transaction of its own,
/// and may name none.
pub fn lines<'a>(
    content: &'a [u8],
    format: Format,
    opens: bool,
    now: Timestamp,
) -> Box<dyn Iterator<Item = Result<Line, Vec<Problem>>> + 'a> {
    let read = move |(number, text): (u64, Result<Zeroizing<String>, &'static str>)| {
        let text = text.map_err(|what| vec![Problem::new(number, "", what)])?;
        line(number, &text, opens, now)
    };
    match format {
        Format::Jsonl => Box::new(json_texts(content).map(read)),
        Format::Csv => Box::new(csv_texts(content).map(read)),
    }
}

type Text = (u64, Result<Zeroizing<String>, &'static str>);

const TOO_LONG: &str = "is longer than 16 KiB";
const NOT_TEXT: &str = "is not UTF-8";

fn json_texts(content: &[u8]) -> impl Iterator<Item = Text> {
    let lines = content.split(|byte| *byte == b'\n').zip(1u64..);
    lines
        .filter(|(line, _)| !line.trim_ascii().is_empty())
        .map(|(line, number)| {
            if line.len() > limits::IMPORT_LINE_BYTES_MAX {
                return (number, Err(TOO_LONG));
            }
            let text = std::str::from_utf8(line).map_err(|_| NOT_TEXT);
            (number, text.map(|text| Zeroizing::new(text.to_owned())))
        })
}

fn csv_texts(content: &[u8]) -> impl Iterator<Item = Text> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(content);
    let header: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    };
    let mut record = csv::ByteRecord::new();
    let mut over = false;
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(_) => {
                over = true;
                return Some((reader.position().line(), Err("can't be read as CSV")));
            }
        }
        let number = record.position().map_or(0, csv::Position::line);
        if record.as_slice().len() > limits::IMPORT_LINE_BYTES_MAX {
            return Some((number, Err(TOO_LONG)));
        }
        if record.len() != header.len() {
            return Some((number, Err("has not as many columns as the header")));
        }
        Some((number, as_json(&header, &record)))
    })
}

/// A record as the JSON line that it stands for: a column `card.number` is that field of the
/// details; an empty one is left out.
fn as_json(header: &[String], record: &csv::ByteRecord) -> Result<Zeroizing<String>, &'static str> {
    let mut whole = Value::Object(Map::new());
    let mut put = || -> Result<(), &'static str> {
        for (name, bytes) in header.iter().zip(record) {
            let text = std::str::from_utf8(bytes).map_err(|_| NOT_TEXT)?;
            if text.is_empty() {
                continue;
            }
            let own = ["reference", "transaction"].contains(&name.as_str());
            let path = (!own)
                .then_some("details")
                .into_iter()
                .chain(name.split('.'));
            let mut at = &mut whole;
            for part in path {
                let Value::Object(fields) = at else {
                    return Err("has a column inside of another column");
                };
                at = fields
                    .entry(part)
                    .or_insert_with(|| Value::Object(Map::new()));
            }
            // The contract's numbers; everything else is text, whatever it looks like.
            let number = match name.ends_with("_month") || name.ends_with("_year") {
                true => text.parse::<i32>().ok(),
                false => None,
            };
            *at = number.map_or_else(|| Value::String(text.to_owned()), Value::from);
        }
        Ok(())
    };
    let text = put().map(|()| Zeroizing::new(whole.to_string()));
    wipe(&mut whole);
    text
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        _ => {}
    }
}

fn line(number: u64, text: &str, opens: bool, now: Timestamp) -> Result<Line, Vec<Problem>> {
    let given: Given<'_> = serde_json::from_str(text).map_err(|error| {
        // serde's own message would repeat values.
        let at = error.column();
        let what =
            format!("column {at}: not a line with reference, transaction and details (see --help)");
        vec![Problem::new(number, "", what)]
    })?;
    let mut violations = Violations::new();
    convert::reference(
        "reference",
        &given.reference,
        true,
        limits::REFERENCE_CHARS_MAX,
        &mut violations,
    );
    match (opens, given.transaction.is_empty()) {
        (true, true) => {}
        (true, false) => violations.add("transaction", "must be absent with --terms"),
        (false, _) => {
            convert::transaction(&given.transaction, &mut violations);
        }
    }
    let details = match details::parse(given.details.get()) {
        Ok(details) => {
            // The operator's tables are the vault's: without them an account is presumed valid here.
            let tables = ModulusTables::default();
            convert::details(
                "details",
                Some(details.clone()),
                now,
                &tables,
                &mut violations,
            );
            Some(details)
        }
        Err(_) => {
            violations.add(
                "details",
                "must be payment details as `payvault tokenize` takes them",
            );
            None
        }
    };
    match details.filter(|_| violations.is_empty()) {
        Some(details) => Ok(Line {
            number,
            reference: given.reference,
            transaction: given.transaction,
            details,
        }),
        None => Err(violations
            .into_iter()
            .map(|(field, what)| Problem::new(number, field, what))
            .collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_392_000_000);
    const TRANSACTION: &str = "txn_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn read(content: &str, format: Format) -> (Vec<Line>, Vec<Problem>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for one in lines(content.as_bytes(), format, true, NOW) {
            match one {
                Ok(line) => good.push(line),
                Err(problems) => bad.extend(problems),
            }
        }
        (good, bad)
    }

    #[test]
    fn both_formats_say_the_same() {
        let json = r#"{"reference":"a","details":{"card":{"number":"4242424242424242","expiry_month":11,"expiry_year":2030,"billing":{"postal_code":"1017 XJ"}}}}

{"reference":"b","details":{"iban":{"iban":"NL91ABNA0417164300","holder":"A, de Vries"}}}
"#;
        let csv = "reference,card.number,card.expiry_month,card.expiry_year,card.billing.postal_code,iban.iban,iban.holder\n\
                   a,4242424242424242,11,2030,1017 XJ,,\n\
                   b,,,,,NL91ABNA0417164300,\"A, de Vries\"\n";
        let (from_json, bad) = read(json, Format::Jsonl);
        assert_eq!(bad, []);
        let (from_csv, bad) = read(csv, Format::Csv);
        assert_eq!(bad, []);
        for (one, other) in from_json.iter().zip(&from_csv) {
            assert_eq!(one.reference, other.reference);
            assert!(one.details == other.details);
        }
        let numbers = |lines: &[Line]| lines.iter().map(|l| l.number).collect::<Vec<_>>();
        assert_eq!(numbers(&from_json), [1, 3], "empty lines count");
        assert_eq!(numbers(&from_csv), [2, 3], "the header counts");
    }

    #[test]
    fn what_is_wrong_is_named_and_never_repeated() {
        let card = |number: &str| {
            format!(r#"{{"card":{{"number":"{number}","expiry_month":11,"expiry_year":2030}}}}"#)
        };
        let whole = |reference: &str, details: &str| {
            format!(r#"{{"reference":"{reference}","details":{details}}}"#)
        };
        let good = card("4242424242424242");
        for (text, field) in [
            (whole("r", &card("4242424242424241")), "details.card.number"),
            (whole("", &good), "reference"),
            (whole("4242424242424242", &good), "reference"),
            (whole("r", "4242424242424242"), "details"),
            (whole("r", r#"{"4242424242424242":{}}"#), "details"),
            ("4242424242424242".to_owned(), ""),
            (r#"{"reference":4242424242424242}"#.to_owned(), ""),
            ("x".repeat(20_000), ""),
            (
                format!(r#"{{"reference":"r","transaction":"{TRANSACTION}","details":{good}}}"#),
                "transaction",
            ),
        ] {
            let (lines, problems) = read(&text, Format::Jsonl);
            assert!(lines.is_empty(), "{field}");
            assert_eq!(problems.len(), 1, "{field}");
            assert_eq!((problems[0].line, &*problems[0].field), (1, field));
            assert!(!problems[0].to_json().to_string().contains("4242"));
        }
        for text in [
            "reference,card.number\nr\n",
            "reference,card.number\nr,4242424242424242\n",
            "reference,card,card.number\nr,4242424242424242,4242424242424242\n",
            "reference,card.number,card.expiry_month,card.expiry_year\nr,4242424242424242,x,2030\n",
        ] {
            let (lines, problems) = read(text, Format::Csv);
            assert!(lines.is_empty() && problems.len() == 1, "{text}");
            assert_eq!(problems[0].line, 2);
            assert!(!problems[0].problem.contains("4242"), "{problems:?}");
        }
        let named = lines(
            format!(r#"{{"reference":"r","transaction":"{TRANSACTION}","details":{good}}}"#)
                .as_bytes(),
            Format::Jsonl,
            false,
            NOW,
        )
        .all(|line| line.is_ok());
        assert!(named, "without --terms a line names its transaction");
    }
}
