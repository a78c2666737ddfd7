//! `payvault log export`: the ledger's lines, into a file as they come.

use super::progress::Progress;
use crate::api::proto;
use crate::cli::client::Client;
use crate::cli::connection::ConnectionArgs;
use crate::cli::error::CliError;
use crate::cli::moment;
use crate::cli::output::Output;
use crate::clock::Timestamp;
use clap::Args;
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) const EXAMPLES: &str = "Examples:
  payvault log export --reason \"yearly audit\" --ticket AUD-7 -o audit.jsonl
  payvault log export --site nl --kind redeemed --since 2026-11-01 --until 2026-12-01 \\
      --reason \"monthly review\" --ticket REV-11 -o november.jsonl";

/// Exports entries. The export itself is an entry.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Why; in the ledger, 1 to 200 printable ASCII characters
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Ticket or case number; in the ledger, up to 64 printable ASCII characters
    #[arg(long, value_name = "TICKET")]
    ticket: String,
    /// Epoch of the ledger: one of before a restore [default: the vault's own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epoch: Option<u32>,
    /// First index
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// End of the range, exclusive [default: up to the newest checkpoint]
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// Only entries of this site; the others come closed
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Only entries of this kind, such as redeemed; more than once, or divided by commas
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Only entries at or after this time
    #[arg(long, value_name = "DATE", value_parser = moment::parse)]
    since: Option<Timestamp>,
    /// Only entries before this time
    #[arg(long, value_name = "DATE", value_parser = moment::parse)]
    until: Option<Timestamp>,
    /// Where to [default: stdout]; an existing file is not overwritten
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Exports.
///
/// # Errors
/// What the vault says, or that the file can't be written. No half file is left then.
pub async fn run(args: ExportArgs, output: Output) -> Result<(), CliError> {
    let request = proto::ExportLogRequest {
        from_index: args.from,
        to_index: args.to.unwrap_or(0),
        from_time: args.since.map(moment::to_proto),
        to_time: args.until.map(moment::to_proto),
        site: args.site.unwrap_or_default(),
        kinds: args.kinds,
        reason: args.reason,
        ticket: args.ticket,
        epoch: args.epoch.unwrap_or(0),
    };
    let connection = args.connection.read()?;
    let target = match &args.output {
        Some(path) => Some(Target::new(path)?),
        None => None,
    };
    let mut client = connection.open_as_person().await?;
    let fetched = match &target {
        Some(target) => fetch(&mut client, request, &mut target.file.as_file()).await,
        None => fetch(&mut client, request, &mut io::stdout().lock()).await,
    };
    client.logout().await;
    let lines = fetched?;
    let Some(target) = target else {
        return Ok(());
    };
    let path = target.keep()?;
    output.result(&json!({"file": path, "lines": lines}), |out| {
        writeln!(out, "{} lines in {}", lines, path.display())?;
        writeln!(
            out,
            "verify it offline: payvault log verify {} --key KEY",
            path.display()
        )
    })
}

/// Writes an export's lines as they come; gives how many there were.
///
/// # Errors
/// What the vault says, or that it can't be written.
pub async fn fetch(
    client: &mut Client,
    request: proto::ExportLogRequest,
    to: &mut impl Write,
) -> Result<u64, CliError> {
    let mut pieces = client.ledger.export_log(request).await?.into_inner();
    let mut progress = Progress::new();
    while let Some(piece) = pieces.message().await? {
        to.write_all(&piece.lines)?;
        progress.came(&piece.lines);
    }
    to.flush()?;
    progress.done();
    Ok(progress.lines())
}

/// A file that appears only when it is complete.
struct Target {
    path: PathBuf,
    file: tempfile::NamedTempFile,
}

impl Target {
    fn new(path: &Path) -> Result<Target, CliError> {
        if path.exists() {
            return Err(CliError::Usage(format!("{} exists", path.display())));
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let file = tempfile::NamedTempFile::new_in(folder).map_err(CliError::file(folder))?;
        Ok(Target {
            path: path.to_owned(),
            file,
        })
    }

    fn keep(self) -> Result<PathBuf, CliError> {
        let Target { path, file } = self;
        file.as_file().sync_all().map_err(CliError::file(&path))?;
        file.persist_noclobber(&path)
            .map_err(|error| error.error)
            .map_err(CliError::file(&path))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        drop(Target::new(&path).unwrap());
        assert!(!path.exists());
        Target::new(&path).unwrap().keep().unwrap();
        assert!(path.exists());
        assert!(Target::new(&path).is_err_and(|error| error.exit_code() == 2));
    }
}
