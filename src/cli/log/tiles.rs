//! `payvault log tiles`: the ledger's tree as a directory of static files (C2SP tlog-tiles), made of
//! verified exports and grown by each further one. No entries: they are sealed.

use super::csv::appearing;
use super::verify::{self, VerifyExportArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::ledger::{self, Checkpoint, LedgerError, TileFile, TileWriter, VerifierKey};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file that says of which size and root the directory is; written last.
const CHECKPOINT: &str = "checkpoint";

pub(super) const EXAMPLES: &str = "Example:
  payvault log export --reason mirror --ticket M-1 -o all.jsonl
  payvault log tiles /srv/tiles all.jsonl --key KEY
  payvault log export --from 70000 --reason mirror --ticket M-2 -o more.jsonl
  payvault log tiles /srv/tiles more.jsonl --key KEY

An export shows the leaf of every entry, also of those that it leaves out: any auditor's will do.";

/// Makes, or goes on with, a directory of tiles.
#[derive(Args, Debug)]
pub struct TilesArgs {
    /// The directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    export: VerifyExportArgs,
}

/// Grows the directory by what the export holds beyond it.
///
/// # Errors
/// Exit code 6 when the export doesn't verify, or what is there isn't its beginning.
pub fn run(args: TilesArgs, output: Output) -> Result<(), CliError> {
    if args.export.verify.file == Path::new("-") {
        let problem = "the export is read twice: it can't come from stdin";
        return Err(CliError::Usage(problem.to_owned()));
    }
    let (reader, keys) = args.export.open()?;
    let report = ledger::verify_export(reader, &keys).map_err(verify::refused)?;
    args.export.witnessed(&report, &keys)?;
    let dir = Directory::open(&args.dir, &keys)?;
    let before = dir.writer.size();
    let checkpoint = &report.checkpoint;
    if let Some(origin) = &dir.origin
        && *origin != checkpoint.origin
    {
        return Err(CliError::Usage(format!(
            "the directory is that of {origin}"
        )));
    }
    if report.to < checkpoint.size || report.from > before {
        return Err(CliError::Usage(format!(
            "the export has to begin at {before} or before, and to go up to its checkpoint: \
             export with --from {before}"
        )));
    }
    let after = checkpoint.size.max(before);
    if checkpoint.size > before {
        let (reader, keys) = args.export.open()?;
        dir.grow(reader, &keys, checkpoint, &report.note)?;
    }
    let document = json!({
        "directory": args.dir,
        "size": after,
        "added": after - before,
        "checkpoint": verify::checkpoint(checkpoint),
    });
    output.result(&document, |out| {
        writeln!(
            out,
            "{}: {after} leaves, {} of them new",
            args.dir.display(),
            after - before
        )
    })
}

/// What is there.
struct Directory {
    path: PathBuf,
    origin: Option<String>,
    writer: TileWriter,
}

impl Directory {
    fn open(path: &Path, keys: &[VerifierKey]) -> Result<Directory, CliError> {
        let file = path.join(CHECKPOINT);
        let (origin, size, root) = match std::fs::read_to_string(&file) {
            Ok(note) => {
                let (checkpoint, _) = Checkpoint::open(&note, keys)
                    .map_err(|error| unsound(&file, &error.to_string()))?;
                (
                    Some(checkpoint.origin),
                    checkpoint.size,
                    Some(checkpoint.root),
                )
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (None, 0, None),
            Err(error) => return Err(CliError::file(&file)(error)),
        };
        let read = |level, index, width| {
            let tile = path.join(ledger::tile_path(level, index, width));
            let bytes = std::fs::read(&tile).map_err(CliError::file(&tile))?;
            match bytes.as_chunks::<32>() {
                (hashes, []) => Ok(hashes.to_vec()),
                _ => Err(unsound(&tile, "it isn't made of hashes")),
            }
        };
        let writer = TileWriter::resume::<CliError>(size, read)?;
        if root.is_some_and(|root| writer.root().ok() != Some(root)) {
            return Err(unsound(
                path,
                "its tiles don't hash to its checkpoint's root",
            ));
        }
        Ok(Directory {
            path: path.to_owned(),
            origin,
            writer,
        })
    }

    /// Writes tiles, then the checkpoint. Until then readers see the former one, whose tiles stay.
    fn grow(
        mut self,
        reader: impl std::io::BufRead,
        keys: &[VerifierKey],
        checkpoint: &Checkpoint,
        note: &str,
    ) -> Result<(), CliError> {
        let path = &self.path;
        let writer = &mut self.writer;
        let mut written = Ok(());
        ledger::read_export(reader, keys, |seen| {
            if written.is_ok() && seen.index >= writer.size() {
                written = writer.push(seen.leaf, |tile| full(path, tile));
            }
        })
        .map_err(verify::refused)?;
        written?;
        for tile in writer.partial() {
            put(path, &tile)?;
        }
        // The file was read twice, and what was there before is held to the same root.
        if writer.size() != checkpoint.size || writer.root().ok() != Some(checkpoint.root) {
            let problem =
                "what was there isn't the beginning of this ledger; no checkpoint was written";
            return Err(unsound(path, problem));
        }
        let file = path.join(CHECKPOINT);
        let new = path.join(format!("{CHECKPOINT}.new"));
        remove(&new)?;
        appearing(&new, |mut file| Ok(file.write_all(note.as_bytes())?))?;
        std::fs::rename(&new, &file).map_err(CliError::file(&file))
    }
}

/// A tile became full: its partial forms aren't needed any more.
fn full(dir: &Path, tile: TileFile<'_>) -> Result<(), CliError> {
    put(dir, &tile)?;
    let mut partial = dir.join(tile.path()).into_os_string();
    partial.push(".p");
    match std::fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::file(Path::new(&partial))(error))
        }
        _ => Ok(()),
    }
}

/// Writes a tile, also over one of a run that was interrupted.
fn put(dir: &Path, tile: &TileFile<'_>) -> Result<(), CliError> {
    let path = dir.join(tile.path());
    let folder = path.parent().unwrap_or(dir);
    std::fs::create_dir_all(folder).map_err(CliError::file(folder))?;
    remove(&path)?;
    appearing(&path, |mut file| Ok(file.write_all(&tile.bytes())?))
}

fn remove(path: &Path) -> Result<(), CliError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::file(path)(error))
        }
        _ => Ok(()),
    }
}

fn unsound(path: &Path, problem: &str) -> CliError {
    CliError::Verification {
        line: None,
        problem: format!("{}: {problem}", path.display()),
    }
}

impl From<LedgerError> for CliError {
    fn from(error: LedgerError) -> CliError {
        CliError::Verification {
            line: None,
            problem: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::log::verify::VerifyArgs;
    use crate::ledger::Hash;

    fn vectors() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ledger")
    }

    fn grow(dir: &Path, export: &Path) -> Result<(), CliError> {
        let checkpoint = std::fs::read(vectors().join("checkpoint.json")).unwrap();
        let checkpoint: serde_json::Value = serde_json::from_slice(&checkpoint).unwrap();
        let key = checkpoint["verifier_key"].as_str().unwrap();
        let args = TilesArgs {
            dir: dir.to_owned(),
            export: VerifyExportArgs::of(VerifyArgs::of(export.to_owned(), key)),
        };
        run(args, Output { json: true })
    }

    fn leaves(dir: &Path) -> Vec<Hash> {
        let bytes = std::fs::read(dir.join("tile/0/000.p/13")).unwrap();
        bytes.as_chunks::<32>().0.to_vec()
    }

    #[test]
    fn a_directory_is_made_of_an_export_and_stays_when_nothing_is_new() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            grow(dir.path(), &vectors().join("ok_export_all.jsonl")).unwrap();
            assert_eq!(leaves(dir.path()).len(), 13);
        }
        let note = std::fs::read_to_string(dir.path().join(CHECKPOINT)).unwrap();
        assert!(
            note.starts_with("payvault/vlt_") && note.contains("\n13\n"),
            "{note}"
        );
        // A filtered one shows the same leaves, from entry 3 on.
        grow(dir.path(), &vectors().join("ok_export_narrow.jsonl")).unwrap();
        let empty = tempfile::tempdir().unwrap();
        let error = grow(empty.path(), &vectors().join("ok_export_narrow.jsonl")).unwrap_err();
        assert!(error.to_string().contains("--from 0"), "{error}");
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
    }

    #[test]
    fn tiles_that_are_not_of_this_ledger_get_no_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let export = vectors().join("ok_export_all.jsonl");
        grow(dir.path(), &export).unwrap();
        let tile = dir.path().join("tile/0/000.p/13");
        let mut bytes = std::fs::read(&tile).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&tile, bytes).unwrap();
        assert_eq!(grow(dir.path(), &export).unwrap_err().exit_code(), 6);
        std::fs::write(dir.path().join(CHECKPOINT), "nonsense").unwrap();
        assert_eq!(grow(dir.path(), &export).unwrap_err().exit_code(), 6);
        let bent = vectors().join("fail_export_other_root.jsonl");
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(grow(empty.path(), &bent).unwrap_err().exit_code(), 6);
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
    }
}
