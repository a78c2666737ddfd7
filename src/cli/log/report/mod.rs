//! `payvault log report`: a verified export as one page that a person can read and print. No script
//! and nothing from elsewhere; made of an export that verifies as a whole, or not at all.

mod chart;
mod escaped;
mod facts;
mod page;
mod timeline;

use self::facts::Facts;
use super::csv::appearing;
use super::verify::{self, VerifyExportArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::ledger::{self, SeenAs};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "Example:
  payvault log report audit.jsonl --key KEY -o audit.html

The same export gives the same page. The page proves nothing by itself: keep the export.";

/// Makes a page of an export, once it verified.
#[derive(Args, Debug)]
pub struct ReportArgs {
    #[command(flatten)]
    export: VerifyExportArgs,
    /// Where to; an existing file is not overwritten
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Verifies and writes the page.
///
/// # Errors
/// Exit code 6 and the first line that is wrong: there is no page then.
pub fn run(args: ReportArgs, output: Output) -> Result<(), CliError> {
    let path = args.output.clone();
    let report = appearing(&path, |mut file| {
        let (reader, keys) = args.export.open()?;
        let mut facts = Facts::new();
        let report = ledger::read_export(reader, &keys, |seen| {
            if let SeenAs::Open(entry) = &seen.shown {
                facts.saw(entry);
            }
        })
        .map_err(verify::refused)?;
        args.export.witnessed(&report, &keys)?;
        file.write_all(page::page(&report, &facts).as_bytes())?;
        Ok(report)
    })?;
    let document = json!({
        "file": path,
        "verified": true,
        "open": report.open,
        "closed": report.closed,
        "erased": report.erased,
        "checkpoint": verify::checkpoint(&report.checkpoint),
        "key": report.key,
    });
    output.result(&document, |out| {
        writeln!(out, "{}, from an export that verified", path.display())?;
        writeln!(out, "keep the export: it is the proof, the page is none")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::log::verify::VerifyArgs;
    use std::path::Path;

    fn vectors() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ledger")
    }

    fn report(export: &str, to: &Path) -> Result<(), CliError> {
        let checkpoint = std::fs::read(vectors().join("checkpoint.json")).unwrap();
        let checkpoint: serde_json::Value = serde_json::from_slice(&checkpoint).unwrap();
        let verify = VerifyArgs::of(
            vectors().join(export),
            checkpoint["verifier_key"].as_str().unwrap(),
        );
        let args = ReportArgs {
            export: VerifyExportArgs::of(verify),
            output: to.to_owned(),
        };
        run(args, Output { json: true })
    }

    #[test]
    fn a_page_says_what_the_export_holds_and_needs_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.html");
        report("ok_export_all.jsonl", &path).unwrap();
        let page = std::fs::read_to_string(&path).unwrap();
        for said in [
            "The export verified",
            "yearly review",
            "log/nl/2019-10",
            "USES_EXHAUSTED",
            "AUTHORIZE",
            "<svg",
        ] {
            assert!(page.contains(said), "{said}");
        }
        for never in [
            "<script",
            "javascript:",
            "http://",
            "https://",
            "src=",
            "<link",
            "@import",
        ] {
            assert!(!page.contains(never), "{never}");
        }
        // The same export gives the same page.
        let again = dir.path().join("b.html");
        report("ok_export_all.jsonl", &again).unwrap();
        assert_eq!(std::fs::read_to_string(&again).unwrap(), page);
        assert!(report("ok_export_all.jsonl", &again).is_err_and(|e| e.exit_code() == 2));
    }

    #[test]
    fn an_empty_or_closed_export_has_a_page_too() {
        let dir = tempfile::tempdir().unwrap();
        for (export, said) in [
            ("ok_export_empty.jsonl", "no entry is open"),
            (
                "ok_export_narrow.jsonl",
                "each shows that it misses the filter",
            ),
        ] {
            let path = dir.path().join(export);
            report(export, &path).unwrap();
            let page = std::fs::read_to_string(&path).unwrap();
            assert!(page.contains(said), "{export}: {said}");
            assert!(page.contains("</html>"), "{export}");
        }
    }

    #[test]
    fn what_does_not_verify_has_no_page() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.html");
        let error = report("fail_export_other_root.jsonl", &path).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
