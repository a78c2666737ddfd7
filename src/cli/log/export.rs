//! `payvault log export`: the ledger's lines, into a file as they come.

use super::progress::Progress;
use super::resume::{Joint, Remains};
use super::wrapping::Wrapping;
use crate::api::proto;
use crate::cli::client::Client;
use crate::cli::connection::ConnectionArgs;
use crate::cli::error::CliError;
use crate::cli::moment;
use crate::cli::output::{Output, note};
use crate::clock::Timestamp;
use clap::Args;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use tempfile::TempPath;

pub(super) const EXAMPLES: &str = "Examples:
  payvault log export --reason \"yearly audit\" --ticket AUD-7 -o audit.jsonl
  payvault log export --site nl --kind redeemed --since 2026-11-01 --until 2026-12-01 \\
      --reason \"monthly review\" --ticket REV-11 -o november.jsonl
  payvault log export --reason audit --ticket AUD-8 --to age1... -o audit.jsonl.zst.age";

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
    /// End of the range, exclusive [default: up to the newest checkpoint]; or an age key (age1…)
    /// to encrypt the file to, more than once for more readers
    #[arg(long, value_name = "INDEX|AGE-KEY", value_parser = To::parse)]
    to: Vec<To>,
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
    /// Compress it; a name with .zst at its end does so by itself
    #[arg(long)]
    zstd: bool,
    /// Go on with FILE.partial, which an interrupted export left; only what is neither compressed
    /// nor encrypted
    #[arg(long, requires = "output", conflicts_with_all = ["from", "epoch"])]
    resume: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What `--to` names: where the range ends, or who can read the file.
#[derive(Debug, Clone)]
enum To {
    Index(u64),
    Key(String),
}

impl To {
    fn parse(text: &str) -> Result<To, String> {
        if text.starts_with("age1") {
            return Ok(To::Key(text.to_owned()));
        }
        match text.parse() {
            Ok(index) if index > 0 => Ok(To::Index(index)),
            _ => Err("must be an index above 0, or an age key (age1…)".to_owned()),
        }
    }
}

impl ExportArgs {
    /// The end of the range, and the keys to encrypt to.
    fn to(&self) -> Result<(Option<u64>, Vec<String>), CliError> {
        let (mut end, mut keys) = (None, Vec::new());
        for to in &self.to {
            match to {
                To::Key(key) => keys.push(key.clone()),
                To::Index(index) if end.is_none() => end = Some(*index),
                To::Index(_) => {
                    let problem = "--to names two ends of the range";
                    return Err(CliError::Usage(problem.to_owned()));
                }
            }
        }
        Ok((end, keys))
    }
}

/// Exports.
///
/// # Errors
/// What the vault says, or that the file can't be written. What came so far is left in
/// `FILE.partial` then, if it can be gone on with.
pub async fn run(args: ExportArgs, output: Output) -> Result<(), CliError> {
    let (to, keys) = args.to()?;
    let wrapping = Wrapping::new(args.zstd, &keys, args.output.as_deref())?;
    if args.resume && (!wrapping.is_plain() || to.is_some()) {
        let problem = "--resume goes on with what is neither compressed nor encrypted, up to the \
                       end that its header names";
        return Err(CliError::Usage(problem.to_owned()));
    }
    let mut request = proto::ExportLogRequest {
        from_index: args.from,
        to_index: to.unwrap_or(0),
        from_time: args.since.map(moment::to_proto),
        to_time: args.until.map(moment::to_proto),
        site: args.site.unwrap_or_default(),
        kinds: args.kinds,
        reason: args.reason,
        ticket: args.ticket,
        epoch: args.epoch.unwrap_or(0),
    };
    let connection = args.connection.read()?;
    let Some(path) = args.output else {
        let mut client = connection.open_as_person().await?;
        let mut to = wrapping.around(io::stdout().lock())?;
        let fetched = fetch(&mut client, request, &mut to).await;
        client.logout().await;
        fetched?;
        return Ok(to.finish().map(drop)?);
    };
    let (mut target, remains) = Target::new(path, args.resume, wrapping.is_plain())?;
    let lines = match remains {
        Some(remains) if remains.complete => None,
        Some(remains) => {
            let (from, to) = remains.missing()?;
            (request.from_index, request.to_index) = (from, to);
            request.epoch = remains.epoch()?;
            match from < to {
                true => {
                    let mut client = connection.open_as_person().await?;
                    let mut joint = Joint::new(remains);
                    let each = |piece: &[u8]| joint.came(piece, &mut target.file);
                    let fetched = pieces(&mut client, request, each).await;
                    client.logout().await;
                    Some(fetched?)
                }
                false => {
                    remains.finish(&mut target.file)?;
                    None
                }
            }
        }
        None => {
            let mut client = connection.open_as_person().await?;
            let mut to = wrapping.around(&mut target.file)?;
            let fetched = fetch(&mut client, request, &mut to).await;
            client.logout().await;
            let lines = fetched?;
            to.finish()?;
            Some(lines)
        }
    };
    let path = target.keep()?;
    output.result(&json!({"file": path, "lines": lines}), |out| {
        match lines {
            Some(lines) => writeln!(out, "{lines} lines came; {} is complete", path.display())?,
            None => writeln!(out, "{} is complete", path.display())?,
        }
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
    let lines = pieces(client, request, |piece| Ok(to.write_all(piece)?)).await?;
    to.flush()?;
    Ok(lines)
}

/// Gives on an export's pieces as they come; gives how many lines there were.
async fn pieces(
    client: &mut Client,
    request: proto::ExportLogRequest,
    mut each: impl FnMut(&[u8]) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let mut pieces = client.ledger.export_log(request).await?.into_inner();
    let mut progress = Progress::new();
    while let Some(piece) = pieces.message().await? {
        each(&piece.lines)?;
        progress.came(&piece.lines);
    }
    progress.done();
    Ok(progress.lines())
}

/// A file that gets its name only when it is complete: until then it is `FILE.partial`.
struct Target {
    path: PathBuf,
    partial: Option<TempPath>,
    file: File,
    /// Whether what came so far is worth keeping.
    resumable: bool,
}

impl Target {
    /// A new one, or, to resume, what is there of one.
    fn new(
        path: PathBuf,
        resume: bool,
        resumable: bool,
    ) -> Result<(Target, Option<Remains>), CliError> {
        if path.exists() {
            return Err(CliError::Usage(format!("{} exists", path.display())));
        }
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(!resume);
        let mut file = options.open(&partial).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => CliError::Usage(format!(
                "{} is there, of an export that was interrupted: go on with --resume, or remove it",
                partial.display()
            )),
            _ => CliError::file(&partial)(error),
        })?;
        let remains = match resume {
            true => Remains::of(&mut file)?,
            false => None,
        };
        let partial = TempPath::try_from_path(&partial).map_err(CliError::file(&partial))?;
        let target = Target {
            path,
            partial: Some(partial),
            file,
            resumable,
        };
        Ok((target, remains))
    }

    /// It is complete.
    fn keep(mut self) -> Result<PathBuf, CliError> {
        self.file.sync_all().map_err(CliError::file(&self.path))?;
        if let Some(partial) = self.partial.take() {
            partial.persist_noclobber(&self.path).map_err(|error| {
                // It stays what it is: all of it is there.
                let _ = error.path.keep();
                CliError::file(&self.path)(error.error)
            })?;
        }
        Ok(std::mem::take(&mut self.path))
    }
}

impl Drop for Target {
    /// An interrupted export stays, as far as it came, when it can be gone on with.
    fn drop(&mut self) {
        let Some(partial) = self.partial.take() else {
            return;
        };
        let begun = self.file.metadata().is_ok_and(|found| found.len() > 0);
        if self.resumable && begun {
            note(format_args!(
                "{} holds what came so far: go on with --resume",
                partial.display()
            ));
            // Nothing more can be done about it here.
            let _ = partial.keep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let partial = dir.path().join("a.jsonl.partial");
        drop(Target::new(path.clone(), false, true).unwrap());
        assert!(!path.exists() && !partial.exists());
        let (target, remains) = Target::new(path.clone(), false, true).unwrap();
        assert!(remains.is_none() && partial.exists());
        target.keep().unwrap();
        assert!(path.exists() && !partial.exists());
        let again = Target::new(path, false, true);
        assert!(again.is_err_and(|error| error.exit_code() == 2));
    }

    #[test]
    fn an_interrupted_export_stays_if_it_can_be_gone_on_with() {
        let header =
            b"{\"epoch\":\"1\",\"from\":\"4\",\"to\":\"9\",\"type\":\"header\"}\n{}\n{\"cut";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let new = |resume, resumable| Target::new(path.clone(), resume, resumable);
        for (resumable, stays) in [(false, false), (true, true)] {
            let (mut target, _) = new(false, resumable).unwrap();
            target.file.write_all(header).unwrap();
            drop(target);
            assert_eq!(dir.path().join("a.jsonl.partial").exists(), stays);
        }
        assert!(new(false, true).is_err_and(|error| error.to_string().contains("--resume")));
        let (_, remains) = new(true, true).unwrap();
        assert_eq!(remains.unwrap().missing().unwrap(), (5, 9));
        assert!(!path.exists());
    }

    #[test]
    fn to_names_an_end_or_a_reader() {
        assert!(matches!(To::parse("7"), Ok(To::Index(7))));
        assert!(matches!(To::parse("age1x"), Ok(To::Key(_))));
        for other in ["0", "-1", "", "agex", "18446744073709551616"] {
            assert!(To::parse(other).is_err(), "{other}");
        }
    }
}
