//! `payvault import`: many lines of details, a token for each, each once however often it is run.

mod job;
mod line;
mod send;
mod terms;

use super::connection::ConnectionArgs;
use super::error::CliError;
use super::input;
use super::output::{Output, note};
use super::progress::Progress;
use crate::api::proto;
use crate::clock::Clock;
use crate::limits;
use clap::Args;
use job::Job;
use line::{Format, Line, Problem};
use prost::Message;
use send::{CHUNK_LINES, Sender, Tokenized};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use terms::Opening;
use zeroize::Zeroizing;

/// How lines look and what comes out.
pub const HELP: &str = "A line of JSON Lines, its details as `payvault tokenize` takes them:
  {\"reference\": \"order-1\", \"transaction\": \"txn_…\", \"details\": {\"card\": {…}}}
CSV has a header, and a column for each field that is used; empty ones are left out:
  reference,transaction,card.number,card.expiry_month,card.expiry_year,iban.iban,iban.holder

Each line names a transaction that is open. With --terms FILE each gets one of its own instead, and
names none; the line's reference becomes the transaction's:
  {\"site\": \"nl\", \"grants\": [\"acme:refund:number:3\"], \"expires\": \"24h\", \"release\": \"30d\"}

All lines are checked before the first is sent; with one that is wrong nothing is, unless --partial
says to go on with the others. For each line that is done one comes out, in order:
  {\"line\": 1, \"reference\": \"order-1\", \"transaction\": \"txn_…\", \"token\": \"pvt_…\", …}

Run it again with the same input and job file, as often as you like, until it says that it is done:
no line is tokenized twice. The job file works for 23 hours, since the vault forgets requests after
24. Remove it when the output is safe: with the vault's keyring it opens the tokens.

Example:
  payvault import cards.csv --job cards.job --terms terms.json --out tokens.jsonl";

/// Swaps many payment details for tokens, each once (their portal).
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The lines; - is stdin
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// How they are written [default: csv for a file of that ending, otherwise jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Keeps what makes running it again safe (mode 0600); made when it isn't there
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    job: Option<PathBuf>,
    /// Opens a transaction for each line, under the terms of this file
    #[arg(long, value_name = "FILE")]
    terms: Option<PathBuf>,
    /// Where the tokens go (mode 0600), complete or not at all [default: stdout, as they come]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Writes the refused lines into this file, as JSON Lines: line, field, problem, never a value
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Goes on with the good lines when others are wrong
    #[arg(long)]
    partial: bool,
    /// Checks every line here and sends nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl ImportArgs {
    /// How the lines are written.
    fn format(&self) -> Format {
        let csv = self.input.extension().is_some_and(|ending| ending == "csv");
        let by_name = if csv { Format::Csv } else { Format::Jsonl };
        self.format.unwrap_or(by_name)
    }
}

/// Imports.
///
/// # Errors
/// When lines are refused, the job file isn't this input's, or the vault can't be reached.
pub async fn run(args: ImportArgs, output: Output) -> Result<(), CliError> {
    let clock = Clock::system();
    let content = read(&args.input)?;
    let opens = args.terms.is_some();
    let lines = || line::lines(&content, args.format(), opens, clock.now());
    let mut refused: Vec<Problem> = Vec::new();
    let (mut good, mut bad) = (0u64, 0u64);
    for line in lines() {
        match line {
            Ok(_) => good += 1,
            Err(problems) => {
                bad += 1;
                refused.extend(problems);
            }
        }
    }
    if args.dry_run || (bad > 0 && !args.partial) {
        report(&args, &refused)?;
        if bad > 0 {
            return Err(CliError::Usage(format!(
                "{bad} of {} lines are refused; nothing was sent{}",
                good + bad,
                if args.dry_run {
                    ""
                } else {
                    "; mend them, or say --partial"
                }
            )));
        }
        let document = json!({"lines": good, "refused": 0, "sent": false});
        return output.result(&document, |out| writeln!(out, "{good} lines, all good"));
    }

    let connection = args.connection.read()?;
    let opening = match &args.terms {
        Some(path) => Some(Opening::read(path, &connection)?),
        None => None,
    };
    let Some(job_path) = &args.job else {
        return Err(CliError::Usage("--job FILE is missing".to_owned()));
    };
    let fresh = !job_path.exists();
    if let Some(out) = args.out.as_ref().filter(|out| fresh && out.exists()) {
        return Err(CliError::Usage(format!(
            "{} exists, and {} doesn't: were these lines imported already?",
            out.display(),
            job_path.display()
        )));
    }
    let job = Job::take(job_path, &clock, &content, |begun| {
        let terms = opening.as_ref().map(|opening| opening.terms("", begun));
        Ok(terms.map(|terms| terms.encode_to_vec()).unwrap_or_default())
    })?;
    if job.resumed {
        note(format_args!("going on with the import of {}", job.begun()));
    }
    let mut out = Out::open(args.out.as_deref())?;
    let mut sender = Sender::new(connection.open().await?, &job, opening.as_ref());
    let (progress, mut done, mut repeated) = (Progress::new(), 0u64, 0u64);
    let mut good_lines = lines().filter_map(Result::ok);
    loop {
        let chunk: Vec<Line> = good_lines.by_ref().take(CHUNK_LINES).collect();
        if chunk.is_empty() {
            break;
        }
        if job.is_outdated(clock.now()) {
            return Err(CliError::Failed(
                "23 hours have passed since it was begun: what is missing needs a new import"
                    .into(),
            ));
        }
        for (line, made) in chunk.iter().zip(sender.send(&chunk).await?) {
            match made {
                Ok(made) => {
                    done += 1;
                    repeated += u64::from(made.answer.replayed);
                    out.write(line, &made)?;
                }
                Err(problem) => refused.push(problem),
            }
        }
        progress.is_at(done, done, Some(good));
    }
    progress.done();
    out.finish()?;
    report(&args, &refused)?;
    let missing = good + bad - done;
    let document = json!({
        "lines": good + bad,
        "tokenized": done,
        "repeated": repeated,
        "refused": missing,
        "out": args.out,
        "job": args.job,
    });
    let words = format!(
        "{done} of {} lines have their token{}; remove {} when the tokens are safe",
        good + bad,
        match repeated {
            0 => String::new(),
            _ => format!(", {repeated} of them from an earlier run"),
        },
        job_path.display(),
    );
    match &args.out {
        Some(_) => output.result(&document, |out| writeln!(out, "{words}"))?,
        None => note(&words),
    }
    match missing {
        0 => Ok(()),
        _ => Err(CliError::Failed(format!("{missing} lines were refused"))),
    }
}

/// Reads the whole input. It may hold numbers, so it is kept nowhere but in memory.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    input::read_bytes(path, limits::IMPORT_BYTES_MAX).map(Zeroizing::new)
}

/// Says which lines are refused: all in a file, or the first ones here.
fn report(args: &ImportArgs, refused: &[Problem]) -> Result<(), CliError> {
    const SHOWN: usize = 20;
    if let Some(path) = &args.report {
        let mut text = String::new();
        for problem in refused {
            text.push_str(&problem.to_json().to_string());
            text.push('\n');
        }
        return std::fs::write(path, text).map_err(CliError::file(path));
    }
    for problem in refused.iter().take(SHOWN) {
        let Problem {
            line,
            field,
            problem,
        } = problem;
        match field.is_empty() {
            true => note(format_args!("line {line}: {problem}")),
            false => note(format_args!("line {line}: {field}: {problem}")),
        }
    }
    if refused.len() > SHOWN {
        let more = refused.len() - SHOWN;
        note(format_args!("… and {more} more: --report FILE has all"));
    }
    Ok(())
}

/// Where tokens go.
enum Out {
    Stdout,
    /// Beside its place until it is whole.
    File {
        file: BufWriter<File>,
        partial: PathBuf,
        path: PathBuf,
    },
}

impl Out {
    fn open(path: Option<&Path>) -> Result<Out, CliError> {
        let Some(path) = path else {
            return Ok(Out::Stdout);
        };
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        // One of an earlier run may have been made with other rights.
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CliError::file(&partial)(error));
            }
            _ => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .map_err(CliError::file(&partial))?;
        Ok(Out::File {
            file: BufWriter::new(file),
            partial,
            path: path.to_owned(),
        })
    }

    fn write(&mut self, line: &Line, made: &Tokenized) -> Result<(), CliError> {
        let proto::TokenizeResponse {
            token,
            reference,
            details,
            ..
        } = &made.answer;
        let masked = details.clone().unwrap_or_default();
        let text = Zeroizing::new(
            json!({
                "line": line.number,
                "reference": line.reference,
                "transaction": made.transaction,
                "token": token,
                "token_reference": reference,
                "masked_number": masked.masked_number,
            })
            .to_string(),
        );
        match self {
            Out::Stdout => writeln!(io::stdout().lock(), "{}", text.as_str())?,
            Out::File { file, partial, .. } => {
                writeln!(file, "{}", text.as_str()).map_err(CliError::file(&*partial))?;
            }
        }
        Ok(())
    }

    /// Makes it last, and puts it in its place.
    fn finish(self) -> Result<(), CliError> {
        let Out::File {
            file,
            partial,
            path,
        } = self
        else {
            return Ok(io::stdout().lock().flush()?);
        };
        let put = || -> io::Result<()> {
            file.into_inner()?.sync_all()?;
            std::fs::rename(&partial, &path)?;
            let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        };
        put().map_err(CliError::file(&path))
    }
}
