//! Asking a witness (C2SP tlog-witness), over HTTP/1. What it answers is believed where a signature
//! proves it: its cosignature on our text, and our own signature on a checkpoint that it shows.
//! Status codes and sizes prove nothing, since anybody on the way can have written them.

use super::WitnessAt;
use crate::ledger::{Checkpoint, Submission, VerifierKey, hex_of_origin};
use crate::limits;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;

/// What asks.
pub(super) type Asker = Client<HttpConnector, Full<Bytes>>;

/// What a witness said to a checkpoint.
pub(super) enum Said {
    /// It cosigned: its lines.
    Cosigned(String),
    /// It says that it holds another size than it was told.
    Holds(u64),
    /// It says that the checkpoint doesn't go on from what it holds.
    Inconsistent,
}

/// A client that keeps its connections.
pub(super) fn asker() -> Asker {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(Duration::from_millis(limits::WITNESS_CALL_MS_MAX)));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector)
}

/// Submits a checkpoint.
pub(super) async fn submit(
    asker: &Asker,
    at: &WitnessAt,
    submission: &Submission,
) -> Result<Said, String> {
    let body = Full::new(Bytes::from(submission.to_text()));
    let request = Request::post(format!("{}/add-checkpoint", at.url)).body(body);
    let (status, text) = call(asker, request).await?;
    match status {
        StatusCode::OK => Ok(Said::Cosigned(text)),
        StatusCode::CONFLICT => text
            .trim_end()
            .parse()
            .map(Said::Holds)
            .map_err(|_| "it answered a conflict without a size".to_owned()),
        StatusCode::UNPROCESSABLE_ENTITY => Ok(Said::Inconsistent),
        StatusCode::NOT_FOUND => Err(
            "it doesn't know this ledger's key (or this isn't its address): give it the key".into(),
        ),
        StatusCode::FORBIDDEN => Err("it says that this ledger's key didn't sign".into()),
        status => Err(format!("it answered {status}")),
    }
}

/// The checkpoint of this ledger that the witness holds, if it holds one and the ledger's own key
/// signed it.
pub(super) async fn newest(
    asker: &Asker,
    at: &WitnessAt,
    ledger: &VerifierKey,
) -> Result<Option<Checkpoint>, String> {
    let url = format!("{}/{}/checkpoint", at.url, hex_of_origin(ledger.name()));
    let (status, note) = call(asker, Request::get(url).body(Full::default())).await?;
    match status {
        StatusCode::OK => Checkpoint::open(&note, std::slice::from_ref(ledger))
            .map(|(checkpoint, _)| Some(checkpoint))
            .map_err(|why| format!("it shows no checkpoint of this ledger: {why}")),
        StatusCode::NOT_FOUND => Ok(None),
        status => Err(format!("it answered {status}")),
    }
}

async fn call(
    asker: &Asker,
    request: http::Result<Request<Full<Bytes>>>,
) -> Result<(StatusCode, String), String> {
    let request = request.map_err(|error| error.to_string())?;
    let answer = async {
        let answer = asker
            .request(request)
            .await
            .map_err(|error| with_cause(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), limits::NOTE_BYTES_MAX);
        let body = body.collect().await.map_err(|error| error.to_string())?;
        let text = String::from_utf8(body.to_bytes().into())
            .map_err(|_| "its answer is not text".to_owned())?;
        Ok((status, text))
    };
    tokio::time::timeout(Duration::from_millis(limits::WITNESS_CALL_MS_MAX), answer)
        .await
        .unwrap_or_else(|_| Err("it didn't answer in time".to_owned()))
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("it can't be asked: {cause}"),
        None => format!("it can't be asked: {error}"),
    }
}
