//! A witness's door (C2SP tlog-witness): `POST /add-checkpoint`, and `GET /<origin hash>/checkpoint`.
//! Every request is bounded in bytes and time, connections in number and time, and one request is
//! one connection: whoever asks without reading the answers holds nobody up.

use super::records::{No, Records};
use crate::ledger::Refused;
use crate::limits;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A connection may take this long as a whole.
const CONNECTION: Duration = Duration::from_millis(limits::WITNESS_CONNECTION_MS_MAX);
/// A request may take this long to come in.
const REQUEST: Duration = Duration::from_millis(limits::WITNESS_REQUEST_MS_MAX);
/// The content type of a conflict's answer.
const SIZE: &str = "text/x.tlog.size";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers until `stop`; what is under way then is answered still.
pub(super) async fn serve(
    listener: TcpListener,
    records: Arc<Records>,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits::WITNESS_CONNECTIONS_MAX));
    let guests = Guests::default();
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, from, place)) = accepted else {
            continue;
        };
        let Some(guest) = guests.welcome(from) else {
            tracing::debug!(%from, "too many connections of one address");
            continue;
        };
        let records = Arc::clone(&records);
        let service = service_fn(move |request| answer(Arc::clone(&records), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .header_read_timeout(REQUEST)
            .max_headers(32)
            .max_buf_size(16 << 10)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _held = (place, guest);
            // A client that breaks off, or is too slow, is no concern of ours.
            let _ = tokio::time::timeout(CONNECTION, connection).await;
        });
    }
    let drained = tokio::time::timeout(
        Duration::from_millis(limits::DRAIN_MS_MAX),
        graceful.shutdown(),
    );
    if drained.await.is_err() {
        tracing::warn!("requests that took too long were cut");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, from)) => Some((stream, from.ip(), place)),
        Err(error) => {
            tracing::warn!(%error, "a connection was not accepted");
            tokio::time::sleep(Duration::from_millis(limits::ACCEPT_PAUSE_MS)).await;
            None
        }
    }
}

/// Who is connected, and how often: no address takes all places.
#[derive(Clone, Default)]
struct Guests(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place of one address.
struct Guest {
    guests: Guests,
    from: IpAddr,
}

impl Guests {
    fn welcome(&self, from: IpAddr) -> Option<Guest> {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = guests.entry(from).or_default();
        if *count >= limits::WITNESS_CONNECTIONS_OF_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        drop(guests);
        Some(Guest {
            guests: self.clone(),
            from,
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = guests.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                guests.remove(&self.from);
            }
        }
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(records: Arc<Records>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    Ok(match (request.method(), path.as_str()) {
        (&Method::POST, "/add-checkpoint") => add(records, request).await,
        (_, "/add-checkpoint") => said(StatusCode::METHOD_NOT_ALLOWED, "POST it"),
        (&Method::GET, path) => match newest(&records, path) {
            Some(note) => with(StatusCode::OK, TEXT, note),
            None => said(StatusCode::NOT_FOUND, "nothing is known by this name"),
        },
        _ => said(StatusCode::NOT_FOUND, "nothing is known by this name"),
    })
}

fn newest(records: &Records, path: &str) -> Option<String> {
    let hash = path.strip_prefix('/')?.strip_suffix("/checkpoint")?;
    records.newest(hash)
}

async fn add(records: Arc<Records>, request: Request<Incoming>) -> Answer {
    let body = Limited::new(request.into_body(), limits::WITNESS_REQUEST_BYTES_MAX).collect();
    let body = match tokio::time::timeout(REQUEST, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return said(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long");
        }
        Ok(Err(_)) => return said(StatusCode::BAD_REQUEST, "the request broke off"),
        Err(_) => return said(StatusCode::REQUEST_TIMEOUT, "the request took too long"),
    };
    let added = tokio::task::spawn_blocking(move || records.add(&body)).await;
    match added.unwrap_or(Err(No::Failed)) {
        Ok(line) => with(StatusCode::OK, TEXT, line),
        Err(No::Refused(why)) => {
            match why {
                // Anybody can send these.
                Refused::Malformed(_) | Refused::UnknownOrigin | Refused::NotSigned => {
                    tracing::debug!(%why, "not cosigned");
                }
                Refused::Conflict { .. } | Refused::Inconsistent => {
                    tracing::warn!(%why, "not cosigned");
                }
            }
            match why {
                Refused::Malformed(_) => said(StatusCode::BAD_REQUEST, &why.to_string()),
                Refused::UnknownOrigin => said(StatusCode::NOT_FOUND, &why.to_string()),
                Refused::NotSigned => said(StatusCode::FORBIDDEN, &why.to_string()),
                Refused::Conflict { size } => with(StatusCode::CONFLICT, SIZE, format!("{size}\n")),
                Refused::Inconsistent => said(StatusCode::UNPROCESSABLE_ENTITY, &why.to_string()),
            }
        }
        Err(No::Failed) => said(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the record can't be written",
        ),
    }
}

fn said(status: StatusCode, words: &str) -> Answer {
    with(status, TEXT, format!("{words}\n"))
}

fn with(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
