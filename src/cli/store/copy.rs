//! `payvault store copy`: from one engine to the other, offline and without keys.

use super::progress::Progress;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::settings::engine;
use crate::store::EngineKind;
use crate::store::copy::{Copied, copy};
use crate::vault::House;
use clap::Args;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Copies a database.
#[derive(Args, Debug)]
pub struct CopyArgs {
    /// The data directory of a vault that doesn't run
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// A data directory without a database; made when it is missing
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// What the copy is kept with
    #[arg(long, value_name = "ENGINE", value_parser = engine())]
    to_engine: EngineKind,
}

pub const HELP: &str = "Stop the vault first: the database is one process's at a time. The source \
stays as it is, and no key is needed. The copy is compared row by row before it gets its name, so \
an interrupted one leaves nothing that opens. The high-water mark is not copied: it stays where it \
is, and goes on.";

/// Copies.
///
/// # Errors
/// When the source can't be opened or read, the target isn't empty or can't be written, or the two
/// are not equal.
pub fn run(args: CopyArgs, output: Output) -> Result<(), CliError> {
    let mut progress = Progress::new();
    let (from, to) = (House::db_dir_in(&args.from), House::db_dir_in(&args.to));
    let copied = copy(&from, &to, args.to_engine, |step| progress.at(step));
    progress.done();
    let copied = copied.map_err(CliError::Copy)?;
    let mark = args.from.join("mark.0").exists() || args.from.join("mark.1").exists();
    output.result(&document(&args.to, args.to_engine, &copied), |out| {
        words(&args, &copied, mark, out)
    })
}

/// What programs read.
pub fn document(to: &Path, engine: EngineKind, copied: &Copied) -> serde_json::Value {
    serde_json::json!({
        "from_engine": copied.from.name(),
        "to_engine": engine.name(),
        "to": to,
        "rows": copied.rows,
        "bytes": copied.bytes,
        "sha256": hex(&copied.digest),
    })
}

fn words(args: &CopyArgs, copied: &Copied, mark: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "copied     {} rows, {} bytes, from {} to {}",
        copied.rows, copied.bytes, copied.from, args.to_engine
    )?;
    writeln!(out, "compared   every row; sha256 {}", hex(&copied.digest))?;
    writeln!(out, "\nNow set in the configuration:")?;
    writeln!(out, "  data_dir = {:?}", shown(&args.to))?;
    writeln!(out, "  engine = \"{}\"", args.to_engine)?;
    if mark {
        writeln!(out, "  mark_dir = {:?}", shown(&args.from))?;
        writeln!(
            out,
            "The high-water mark lies in {}, and must not be copied: with two of them, the old \
             database would be taken for a new one.",
            args.from.display()
        )?;
    }
    writeln!(
        out,
        "Keep the old database until the vault has opened the new one; then delete it."
    )
}

/// Absolute, since the configuration is read from elsewhere.
fn shown(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.display().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
