//! `payvault log csv`: a verified export as a table, for a spreadsheet. The table proves nothing: it
//! is made only of an export that verifies as a whole, and that is what to keep.

use super::verify::{self, VerifyExportArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::ledger::{self, Recorded, Seen, SeenAs};
use clap::Args;
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The columns, as `docs/operations.md` has them.
const COLUMNS: [&str; 20] = [
    "index",
    "shown",
    "at",
    "event",
    "outcome",
    "reason",
    "site",
    "actor",
    "actor_name",
    "role",
    "origin",
    "transaction",
    "token",
    "masked",
    "purpose",
    "fields",
    "amount",
    "currency",
    "prev",
    "detail",
];

/// Makes a table of an export, once it verified.
#[derive(Args, Debug)]
pub struct CsvArgs {
    #[command(flatten)]
    export: VerifyExportArgs,
    /// Where to; an existing file is not overwritten
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Verifies and converts.
///
/// # Errors
/// Exit code 6 and the first line that is wrong: there is no table then.
pub fn run(args: CsvArgs, output: Output) -> Result<(), CliError> {
    let path = args.output.clone();
    let (report, rows) = appearing(&path, |file| {
        let (reader, keys) = args.export.open()?;
        let mut table = BufWriter::new(file);
        let (mut rows, mut written) = (0u64, row(&mut table, COLUMNS.map(String::from)));
        let report = ledger::read_export(reader, &keys, |seen| {
            if written.is_ok() {
                written = row(&mut table, cells(seen));
                rows += 1;
            }
        })
        .map_err(verify::refused)?;
        args.export.witnessed(&report, &keys)?;
        written?;
        table.flush()?;
        Ok((report, rows))
    })?;
    let document = json!({
        "file": path,
        "rows": rows,
        "checkpoint": verify::checkpoint(&report.checkpoint),
        "key": report.key,
    });
    output.result(&document, |out| {
        writeln!(
            out,
            "{rows} entries in {}, from an export that verified",
            path.display()
        )?;
        writeln!(out, "keep the export: it is the proof, the table is none")
    })
}

/// Makes a file that appears when it is whole, and never in the place of another.
///
/// # Errors
/// What `write` says, or that the file exists or can't be written.
pub(super) fn appearing<T>(
    path: &Path,
    write: impl FnOnce(&std::fs::File) -> Result<T, CliError>,
) -> Result<T, CliError> {
    if path.exists() {
        return Err(CliError::Usage(format!("{} exists", path.display())));
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let file = tempfile::NamedTempFile::new_in(folder).map_err(CliError::file(folder))?;
    let made = write(file.as_file())?;
    file.as_file().sync_all().map_err(CliError::file(path))?;
    file.persist_noclobber(path)
        .map_err(|error| CliError::file(path)(error.error))?;
    Ok(made)
}

fn cells(seen: &Seen<'_>) -> [String; 20] {
    let mut cells: [String; 20] = Default::default();
    cells[0] = seen.index.to_string();
    let shown = match &seen.shown {
        SeenAs::Open(entry) => {
            open(entry, &mut cells);
            "open"
        }
        SeenAs::Closed => "closed",
        SeenAs::Erased => "erased",
    };
    cells[1] = shown.to_owned();
    cells
}

fn open(entry: &Recorded<'_>, cells: &mut [String; 20]) {
    let text = |text: Option<String>| text.unwrap_or_default();
    let detail: Vec<String> = entry
        .details()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let (amount, currency) = entry
        .amount
        .map_or_else(Default::default, |(minor, currency)| {
            let currency = String::from_utf8_lossy(&currency).into_owned();
            (minor.to_string(), currency)
        });
    let all = [
        entry.at.to_string(),
        entry.event.as_str().to_owned(),
        entry.outcome.as_str().to_owned(),
        harmless(entry.reason()),
        harmless(entry.site.as_str()),
        text(entry.actor.map(|id| id.to_string())),
        harmless(entry.actor_name()),
        harmless(entry.role()),
        harmless(entry.origin()),
        text(entry.transaction.map(|id| id.to_string())),
        text(entry.token.map(|id| id.to_string())),
        harmless(entry.masked()),
        harmless(entry.purpose()),
        harmless(&entry.fields().collect::<Vec<_>>().join(" ")),
        amount,
        currency,
        text(entry.prev.map(|prev| prev.to_string())),
        harmless(&detail.join("; ")),
    ];
    for (cell, value) in cells[2..].iter_mut().zip(all) {
        *cell = value;
    }
}

/// A spreadsheet takes a cell that begins so for a formula: an apostrophe makes it text.
fn harmless(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text != "-" {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

/// Writes a row (RFC 4180).
fn row(to: &mut impl Write, cells: [String; 20]) -> io::Result<()> {
    let quoted = cells.map(|cell| match cell.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    });
    to.write_all(quoted.join(",").as_bytes())?;
    to.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::log::verify::VerifyArgs;

    fn vectors() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ledger")
    }

    fn convert(export: &str, to: &Path) -> Result<(), CliError> {
        let checkpoint = std::fs::read(vectors().join("checkpoint.json")).unwrap();
        let checkpoint: serde_json::Value = serde_json::from_slice(&checkpoint).unwrap();
        let verify = VerifyArgs::of(
            vectors().join(export),
            checkpoint["verifier_key"].as_str().unwrap(),
        );
        let args = CsvArgs {
            export: VerifyExportArgs::of(verify),
            output: to.to_owned(),
        };
        run(args, Output { json: true })
    }

    #[test]
    fn a_verified_export_becomes_a_table_with_a_row_for_each_entry() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        convert("ok_export_narrow.jsonl", &path).unwrap();
        let table = std::fs::read_to_string(&path).unwrap();
        let rows: Vec<&str> = table.split_terminator("\r\n").collect();
        assert_eq!(rows.len(), 11);
        assert_eq!(rows[0], COLUMNS.join(","));
        assert!(rows[1].starts_with("3,erased,,"), "{}", rows[1]);
        assert!(rows[2].starts_with("4,closed,,"), "{}", rows[2]);
        // A name with quotes, a backslash and control characters: one cell, quotes doubled.
        let redeemed = rows[5];
        assert!(redeemed.starts_with("7,open,2026-11-03T11:30:00.000Z,redeemed,ok,,nl,prn_"));
        assert!(
            redeemed.contains("\"Zahlung \"\"Ä\"\" \\ \u{1}\u{7f}€😀\""),
            "{redeemed}"
        );
        assert!(redeemed.contains(",NUMBER EXPIRY,"), "{redeemed}");
        assert!(convert("ok_export_all.jsonl", &path).is_err_and(|error| error.exit_code() == 2));
    }

    #[test]
    fn what_does_not_verify_becomes_no_table() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let error = convert("fail_export_other_root.jsonl", &path).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            ("@x", "'@x"),
            ("-2", "'-2"),
            ("-", "-"),
            ("a=b", "a=b"),
        ] {
            assert_eq!(harmless(text), cell);
        }
    }
}
