//! `payvault log tail`: entries on stdout as they come, one line each, for a person or a SIEM.

use super::ecs;
use crate::api::proto;
use crate::cli::connection::{Connection, ConnectionArgs};
use crate::cli::error::CliError;
use crate::cli::input;
use crate::cli::moment;
use crate::cli::output::note;
use crate::clock::Timestamp;
use crate::ledger::Recorded;
use crate::secret::SecretText;
use clap::{Args, ValueEnum};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) const EXAMPLES: &str = "Examples:
  payvault log tail --reason \"a look\" --ticket OPS-3
  payvault log tail --follow --format ecs --state /var/lib/collector/payvault \\
      --secret-file secret --reason siem --ticket SEC-1

With --follow it connects again by itself, also after the 15 minutes that one stream lasts, and goes
on where it was. With --state it does so when it is started again: each entry comes at least once.";

/// Longest pause before it connects again.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Bytes of a state file; it has one number.
const STATE_BYTES_MAX: usize = 64;

/// Shows entries as they come. That it was begun is an entry.
#[derive(Args, Debug)]
pub struct TailArgs {
    /// Stay for what is still to come
    #[arg(short, long)]
    follow: bool,
    /// First index [default: ten entries before the newest]
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// File that keeps the index to go on with; goes over --from once it is there
    #[arg(long = "state", value_name = "FILE")]
    state_file: Option<PathBuf>,
    /// How entries look: lines of an export, or documents of the Elastic Common Schema
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// Why; in the ledger, 1 to 200 printable ASCII characters
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Ticket or case number; in the ledger, up to 64 printable ASCII characters
    #[arg(long, value_name = "TICKET")]
    ticket: String,
    /// Only entries of this site
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Only entries of this kind, such as redeemed; more than once, or divided by commas
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Only entries at or after this time
    #[arg(long, value_name = "DATE", value_parser = moment::parse)]
    since: Option<Timestamp>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// How an entry looks.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// A line as an export has for an open entry.
    Jsonl,
    /// A document of the Elastic Common Schema.
    Ecs,
}

/// Shows entries until the vault has no more, or, following, until it is stopped or refused.
///
/// # Errors
/// What the vault says; that stdout or the state can't be written.
pub async fn run(args: TailArgs) -> Result<(), CliError> {
    let connection = args.connection.read()?;
    // Asked for once, however often it connects.
    let secret = connection.secret()?;
    let mut next = match &args.state_file {
        Some(file) => state(file)?.or(args.from),
        None => args.from,
    };
    let mut pause = Duration::ZERO;
    loop {
        let before = next;
        let ended = watch(&args, &connection, &secret, &mut next).await;
        match ended {
            Err(error) if args.follow && passes(&error) => {
                pause = match next == before {
                    true => (2 * pause).clamp(Duration::from_secs(1), PAUSE_MAX),
                    false => Duration::ZERO,
                };
                if !pause.is_zero() {
                    note(format_args!("{error}; again in {} s", pause.as_secs()));
                }
                tokio::time::sleep(pause).await;
            }
            ended => return ended,
        }
    }
}

/// One stream.
async fn watch(
    args: &TailArgs,
    connection: &Connection,
    secret: &SecretText,
    next: &mut Option<u64>,
) -> Result<(), CliError> {
    let mut client = connection.open().await?;
    client.login(secret).await?;
    let request = proto::TailLogRequest {
        from_index: *next,
        follow: args.follow,
        from_time: args.since.map(moment::to_proto),
        site: args.site.clone().unwrap_or_default(),
        kinds: args.kinds.clone(),
        reason: args.reason.clone(),
        ticket: args.ticket.clone(),
    };
    let ended = take(&mut client, request, args, next).await;
    client.logout().await;
    ended
}

async fn take(
    client: &mut crate::cli::client::Client,
    request: proto::TailLogRequest,
    args: &TailArgs,
    next: &mut Option<u64>,
) -> Result<(), CliError> {
    let mut pieces = client.ledger.tail_log(request).await?.into_inner();
    while let Some(piece) = pieces.message().await? {
        show(&piece.lines, args.format, &mut io::stdout().lock())?;
        // Only now: what was not written comes again.
        if *next != Some(piece.next_index)
            && let Some(file) = &args.state_file
        {
            keep_state(file, piece.next_index)?;
        }
        *next = Some(piece.next_index);
    }
    Ok(())
}

fn show(lines: &[u8], format: Format, out: &mut impl Write) -> Result<(), CliError> {
    match format {
        Format::Jsonl => out.write_all(lines)?,
        Format::Ecs => {
            for line in lines.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
                let line: Line = serde_json::from_slice(line).map_err(|_| strange())?;
                let entry = Recorded::parse(&line.body).map_err(|_| strange())?;
                writeln!(out, "{}", ecs::document(&entry, &line.leaf))?;
            }
        }
    }
    Ok(out.flush()?)
}

/// What is needed of an open line.
#[derive(serde::Deserialize)]
struct Line {
    body: String,
    leaf: String,
}

fn strange() -> CliError {
    CliError::Failed("the vault sent an entry that this version can't read: update payvault".into())
}

/// Whether it may be well the next time: no answer, a vault that stops or is sealed, a stream that
/// lasted as long as one may.
fn passes(error: &CliError) -> bool {
    match error {
        CliError::Connect(crate::api::client::ConnectError::Transport(_)) => true,
        CliError::Refused(refused) => refused.passes(),
        _ => false,
    }
}

fn state(file: &Path) -> Result<Option<u64>, CliError> {
    if !file.exists() {
        return Ok(None);
    }
    let bytes = input::read_bytes(file, STATE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().parse() {
        Ok(next) => Ok(Some(next)),
        Err(_) => Err(CliError::Usage(format!(
            "{} holds no index: it isn't the state of a tail",
            file.display()
        ))),
    }
}

fn keep_state(file: &Path, next: u64) -> Result<(), CliError> {
    let temporary = file.with_extension("new");
    let write = || -> io::Result<()> {
        std::fs::write(&temporary, format!("{next}\n"))?;
        std::fs::rename(&temporary, file)
    };
    write().map_err(CliError::file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_read_back_and_what_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state");
        assert_eq!(state(&file).unwrap(), None);
        keep_state(&file, 41).unwrap();
        keep_state(&file, 42).unwrap();
        assert_eq!(state(&file).unwrap(), Some(42));
        std::fs::write(&file, "forty-two").unwrap();
        assert!(state(&file).is_err_and(|error| error.exit_code() == 2));
    }

    #[test]
    fn lines_of_an_export_become_documents() {
        let export = include_str!("../../../tests/vectors/ledger/ok_export_all.jsonl");
        let open: Vec<&str> = export
            .lines()
            .filter(|line| line.contains("\"type\":\"entry\""))
            .collect();
        let lines = format!("{}\n", open.join("\n"));
        let mut out = Vec::new();
        show(lines.as_bytes(), Format::Ecs, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!open.is_empty() && text.lines().count() == open.len());
        for line in text.lines() {
            let document: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(document["ecs"]["version"], ecs::VERSION);
            assert!(
                document["event"]["hash"]
                    .as_str()
                    .is_some_and(|h| h.len() == 44)
            );
        }
        let mut same = Vec::new();
        show(lines.as_bytes(), Format::Jsonl, &mut same).unwrap();
        assert_eq!(same, lines.as_bytes());
        assert!(show(b"{}\n", Format::Ecs, &mut Vec::new()).is_err());
    }
}
