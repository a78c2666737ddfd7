//! An import's job file: what lets a second run send the same request ids again, so that the vault
//! does nothing twice. It holds one random seed, from which every line's ids are made, and a keyed
//! digest of the input and of the terms, since ids with another body would be refused or, worse,
//! be another's. Who has it and the vault's keyring can open the tokens that were given.

use crate::cli::error::CliError;
use crate::cli::input;
use crate::clock::{Clock, Timestamp};
use crate::limits;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fs::File;
use std::path::Path;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a request id is for.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Step {
    /// `OpenTransaction`.
    Open = 1,
    /// `Tokenize`.
    Tokenize = 2,
}

/// A job under way. No `Debug`: it holds the seed.
pub struct Job {
    seed: Zeroizing<[u8; 32]>,
    begun: Timestamp,
    /// Whether an earlier run began it.
    pub resumed: bool,
    // Held for as long as this runs.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    payvault_import: u32,
    begun: String,
    seed: String,
    input: String,
}

impl Job {
    /// Takes up the job in `path`, or begins one there. `terms` makes the bytes of what transactions
    /// are opened under from when the job was begun.
    ///
    /// # Errors
    /// When the file is another input's, outdated, in use, or no job file.
    pub fn take(
        path: &Path,
        clock: &Clock,
        content: &[u8],
        terms: impl Fn(Timestamp) -> Result<Vec<u8>, CliError>,
    ) -> Result<Job, CliError> {
        let resumed = path.exists();
        if !resumed {
            let seed = Zeroizing::new(crate::ids::random::<32>());
            let begun = clock.now();
            let written = Written {
                payvault_import: 1,
                begun: begun.to_string(),
                seed: STANDARD.encode(*seed),
                input: STANDARD.encode(digest(&seed, content, &terms(begun)?)),
            };
            let text =
                Zeroizing::new(serde_json::to_string(&written).map_err(|error| {
                    CliError::Failed(format!("the job can't be written: {error}"))
                })?);
            input::write_secret_file(path, &text)?;
        }
        let lock = File::open(path).map_err(CliError::file(path))?;
        lock.try_lock().map_err(|_| {
            CliError::Usage(format!("{}: another import runs with it", path.display()))
        })?;
        let text = input::read_text(path)?;
        let (seed, begun, input) = read(&text).ok_or_else(|| {
            CliError::Usage(format!("{} is no job file of an import", path.display()))
        })?;
        let own = digest(&seed, content, &terms(begun)?);
        if !bool::from(own[..].ct_eq(&input[..])) {
            return Err(CliError::Usage(format!(
                "{} belongs to another input, or to other terms: give the input that it was begun \
                 with, or another --job FILE for this one",
                path.display()
            )));
        }
        let job = Job {
            seed,
            begun,
            resumed,
            _lock: lock,
        };
        if job.is_outdated(clock.now()) {
            return Err(CliError::Usage(format!(
                "{} was begun at {begun}: the vault forgets request ids after 24 hours, so lines that \
                 were done would be done again. Find out which have a token (--out's file, or the \
                 ledger), make an input of the others, and import that with a new job file",
                path.display()
            )));
        }
        Ok(job)
    }

    /// When it was begun.
    pub fn begun(&self) -> Timestamp {
        self.begun
    }

    /// Whether its first request ids may be forgotten soon. A clock that runs behind the job's is no
    /// better.
    pub fn is_outdated(&self, now: Timestamp) -> bool {
        now.since_ms(self.begun) >= limits::IMPORT_JOB_MS_MAX
            || self.begun.since_ms(now) > limits::CLOCK_STEP_MS
    }

    /// The id of a line's request.
    pub fn request_id(&self, step: Step, line: u64) -> Vec<u8> {
        let mut mac = keyed(&self.seed);
        mac.update(b"payvault import request v1");
        mac.update(&[step as u8]);
        mac.update(&line.to_be_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

fn keyed(seed: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(seed).expect("HMAC takes keys of any length")
}

fn digest(seed: &[u8; 32], content: &[u8], terms: &[u8]) -> [u8; 32] {
    let mut mac = keyed(seed);
    mac.update(b"payvault import input v1");
    mac.update(&(content.len() as u64).to_be_bytes());
    mac.update(content);
    mac.update(terms);
    mac.finalize().into_bytes().into()
}

type Parts = (Zeroizing<[u8; 32]>, Timestamp, [u8; 32]);

fn read(text: &str) -> Option<Parts> {
    let written: Written = serde_json::from_str(text).ok()?;
    let bytes = |text: &str| -> Option<[u8; 32]> { STANDARD.decode(text).ok()?.try_into().ok() };
    if written.payvault_import != 1 {
        return None;
    }
    Some((
        Zeroizing::new(bytes(&written.seed)?),
        Timestamp::parse(&written.begun)?,
        bytes(&written.input)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::os::unix::fs::PermissionsExt;

    fn none(_: Timestamp) -> Result<Vec<u8>, CliError> {
        Ok(Vec::new())
    }

    fn refusal(taken: Result<Job, CliError>) -> String {
        let error = taken.err().expect("refused");
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    #[test]
    fn a_job_is_taken_up_with_its_input_within_its_time_and_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job");
        let manual = ManualClock::starting_at(Timestamp(1_795_392_000_000));
        let clock = Clock::Manual(manual.clone());
        let first = Job::take(&path, &clock, b"lines", none).unwrap();
        assert!(!first.resumed);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let ids: Vec<_> = [1, 2]
            .map(|line| first.request_id(Step::Tokenize, line))
            .into();
        assert!(ids[0] != ids[1] && ids[0] != first.request_id(Step::Open, 1));
        assert!(limits::REQUEST_ID_BYTES.contains(&ids[0].len()));
        assert!(refusal(Job::take(&path, &clock, b"lines", none)).contains("runs"));
        drop(first);

        manual.pass_ms(limits::IMPORT_JOB_MS_MAX - 1);
        let again = Job::take(&path, &clock, b"lines", none).unwrap();
        assert!(again.resumed);
        assert!(again.request_id(Step::Tokenize, 2) == ids[1]);
        drop(again);
        assert!(refusal(Job::take(&path, &clock, b"others", none)).contains("another input"));
        let others = |begun: Timestamp| Ok(begun.0.to_be_bytes().to_vec());
        assert!(refusal(Job::take(&path, &clock, b"lines", others)).contains("other terms"));
        manual.pass_ms(1);
        assert!(refusal(Job::take(&path, &clock, b"lines", none)).contains("24 hours"));
        manual.step_to(Timestamp(1_795_300_000_000));
        assert!(refusal(Job::take(&path, &clock, b"lines", none)).contains("24 hours"));

        std::fs::write(&path, "{}").unwrap();
        assert!(refusal(Job::take(&path, &clock, b"lines", none)).contains("no job file"));
    }
}
