//! Sends lines of an import over `TokenizeStream`, and sends again what has no final answer: the
//! request ids make that safe.

use super::job::{Job, Step};
use super::line::{Line, Problem};
use super::terms::Opening;
use crate::api::proto;
use crate::cli::client::{Client, patiently};
use crate::cli::error::CliError;
use crate::cli::refused::{Refused, code_name};
use crate::limits;
use prost::Message;
use proto::tokenize_result::Outcome;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// Lines that are opened, sent and written out before the next ones.
pub const CHUNK_LINES: usize = 8 * limits::STREAM_MESSAGE_ITEMS_MAX;
/// Transactions that are opened at once.
const OPENINGS_AT_ONCE: usize = 32;
/// Waits before what has no final answer is sent again, in ms.
const AGAIN_MS: [u64; 6] = [100, 200, 500, 1_000, 2_000, 5_000];

/// A line's token.
pub struct Tokenized {
    /// Its transaction.
    pub transaction: String,
    /// What the vault answered.
    pub answer: proto::TokenizeResponse,
}

type Done = Result<Tokenized, Problem>;

/// The way to the vault.
pub struct Sender<'a> {
    client: Client,
    job: &'a Job,
    opening: Option<&'a Opening>,
    stream: Option<Stream>,
}

struct Stream {
    send: mpsc::Sender<proto::TokenizeStreamRequest>,
    receive: Streaming<proto::TokenizeStreamResponse>,
}

impl<'a> Sender<'a> {
    /// As `job` says; with `opening` each line gets a transaction of its own.
    pub fn new(client: Client, job: &'a Job, opening: Option<&'a Opening>) -> Sender<'a> {
        Sender {
            client,
            job,
            opening,
            stream: None,
        }
    }

    /// Tokenizes up to [`CHUNK_LINES`] lines. One that the vault refuses for good has its problem.
    ///
    /// # Errors
    /// When the vault can't be reached, or refuses them all. What was done is done; run it again.
    pub async fn send(&mut self, lines: &[Line]) -> Result<Vec<Done>, CliError> {
        let places = self.places(lines).await?;
        let mut done: Vec<Option<Done>> = places
            .iter()
            .zip(lines)
            .map(|(place, line)| {
                place
                    .as_ref()
                    .err()
                    .map(|refused| Err(problem(line, refused)))
            })
            .collect();
        let mut last = None;
        for wait_ms in [0].into_iter().chain(AGAIN_MS) {
            let open: Vec<usize> = (0..lines.len()).filter(|at| done[*at].is_none()).collect();
            if open.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            let items: Vec<_> = open
                .iter()
                .filter_map(|at| {
                    Some(proto::TokenizeRequest {
                        request_id: self.job.request_id(Step::Tokenize, lines[*at].number),
                        transaction: places[*at].as_ref().ok()?.clone(),
                        details: Some(lines[*at].details.clone()),
                        ..proto::TokenizeRequest::default()
                    })
                })
                .collect();
            let (outcomes, ended) = self.exchange(items).await;
            for (at, outcome) in open.into_iter().zip(outcomes) {
                let place = places[at].as_ref().map_err(Clone::clone);
                match (outcome, place) {
                    (Ok(answer), Ok(transaction)) => {
                        done[at] = Some(Ok(Tokenized {
                            transaction: transaction.clone(),
                            answer,
                        }));
                    }
                    (Err(refused), _) if may_pass(&refused) => last = Some(refused),
                    (Err(refused), _) | (_, Err(refused)) => {
                        done[at] = Some(Err(problem(&lines[at], &refused)));
                    }
                }
            }
            if let Some(status) = ended {
                let refused = Refused::from(&status);
                if !may_pass(&refused) {
                    return Err(CliError::Refused(refused));
                }
                last = Some(refused);
            }
        }
        match done.into_iter().collect::<Option<Vec<Done>>>() {
            Some(done) => Ok(done),
            None => Err(last.map_or_else(
                || CliError::Failed("the vault gave no answer".to_owned()),
                CliError::Refused,
            )),
        }
    }

    /// The transactions of lines: those that they name, or new ones.
    async fn places(&self, lines: &[Line]) -> Result<Vec<Result<String, Refused>>, CliError> {
        let Some(opening) = self.opening else {
            return Ok(lines.iter().map(|l| Ok(l.transaction.clone())).collect());
        };
        let mut places: Vec<Option<Result<String, Refused>>> = vec![None; lines.len()];
        let mut tasks = JoinSet::new();
        let mut rest = lines.iter().enumerate();
        loop {
            while tasks.len() < OPENINGS_AT_ONCE
                && let Some((at, line)) = rest.next()
            {
                let request = proto::OpenTransactionRequest {
                    request_id: self.job.request_id(Step::Open, line.number),
                    terms: Some(opening.terms(&line.reference, self.job.begun())),
                    want_receipt: false,
                };
                let vault = self.client.vault.clone();
                tasks.spawn(async move {
                    let opened = patiently(request, |request| {
                        let mut vault = vault.clone();
                        async move { vault.open_transaction(request).await }
                    });
                    (at, opened.await)
                });
            }
            let Some(joined) = tasks.join_next().await else {
                break;
            };
            let (at, opened) = joined.map_err(|error| CliError::Failed(error.to_string()))?;
            places[at] = Some(match opened {
                Ok(opened) => Ok(opened.transaction),
                Err(CliError::Refused(refused)) if !may_pass(&refused) => Err(refused),
                Err(error) => return Err(error),
            });
        }
        let places: Option<Vec<_>> = places.into_iter().collect();
        places.ok_or_else(|| CliError::Failed("a transaction has no answer".to_owned()))
    }

    /// Sends items and hears their results, as many as came before the stream ended.
    async fn exchange(
        &mut self,
        mut items: Vec<proto::TokenizeRequest>,
    ) -> (
        Vec<Result<proto::TokenizeResponse, Refused>>,
        Option<Status>,
    ) {
        let mut outcomes = Vec::with_capacity(items.len());
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => match self.begin().await {
                Ok(stream) => stream,
                Err(status) => return (outcomes, Some(status)),
            },
        };
        let mut sent = 0;
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(limits::STREAM_MESSAGE_ITEMS_MAX));
            let message = proto::TokenizeStreamRequest { items };
            items = rest;
            // There is room for a chunk's messages; a stream that ended says why when it is heard.
            if stream.send.send(message).await.is_err() {
                break;
            }
            sent += 1;
        }
        for _ in 0..sent {
            match stream.receive.message().await {
                Ok(Some(message)) => outcomes.extend(message.results.into_iter().map(outcome)),
                Ok(None) => return (outcomes, Some(Status::unavailable("the stream ended"))),
                Err(status) => return (outcomes, Some(status)),
            }
        }
        if items.is_empty() {
            self.stream = Some(stream);
        }
        (outcomes, None)
    }

    async fn begin(&mut self) -> Result<Stream, Status> {
        let messages = CHUNK_LINES / limits::STREAM_MESSAGE_ITEMS_MAX;
        let (send, items) = mpsc::channel(messages);
        let receive = self
            .client
            .vault
            .tokenize_stream(ReceiverStream::new(items));
        Ok(Stream {
            send,
            receive: receive.await?.into_inner(),
        })
    }
}

fn outcome(result: proto::TokenizeResult) -> Result<proto::TokenizeResponse, Refused> {
    match result.outcome {
        Some(Outcome::Tokenized(answer)) => Ok(answer),
        Some(Outcome::Error(error)) => {
            let code = Code::from_i32(error.code);
            let details = error.encode_to_vec();
            let status = Status::with_details(code, error.message, details.into());
            Err(Refused::from(&status))
        }
        None => Err(Refused::from(&Status::internal("a result says nothing"))),
    }
}

/// Whether the same request may succeed a little later.
fn may_pass(refused: &Refused) -> bool {
    match refused.code {
        // A sealed vault stays sealed until somebody comes.
        Code::Unavailable => refused.reason != "SEALED",
        Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => true,
        Code::ResourceExhausted => {
            ["QUEUE_FULL", "RATE_LIMITED", "STORAGE_FULL"].contains(&refused.reason.as_str())
        }
        _ => false,
    }
}

fn problem(line: &Line, refused: &Refused) -> Problem {
    match refused.violations.first() {
        Some((field, what)) => Problem::new(line.number, field, what),
        None => {
            let reason = match refused.reason.is_empty() {
                true => code_name(refused.code),
                false => &refused.reason,
            };
            Problem::new(line.number, "", format!("{reason}: {}", refused.message))
        }
    }
}
