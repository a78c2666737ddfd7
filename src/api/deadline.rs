//! Every call has a deadline: the client's `grpc-timeout`, or the vault's longest, whichever is
//! sooner. Services find it in a request's extensions, so that a command whose caller has given
//! up is dropped before it is run. The deadline bounds the time until the answer begins; what is
//! streamed after that is bounded by the connection's age, and a stream of both sides by its own
//! bound and the client's deadline, which it keeps itself.

use super::status;
use crate::clock::Clock;
use http::{HeaderMap, Request, Response};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// When a call's time is over, on the vault's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// In milliseconds of [`Clock::monotonic_ms`].
    pub monotonic_ms: u64,
    /// The client's own, however far away; `None` when it named none.
    pub asked_ms: Option<u64>,
}

impl Deadline {
    /// Whether it has passed.
    pub fn passed(self, clock: &Clock) -> bool {
        clock.monotonic_ms() >= self.monotonic_ms
    }
}

/// Puts a [`Deadline`] on every request and answers in the service's stead when it passes.
#[derive(Clone)]
pub struct DeadlineLayer {
    clock: Clock,
    longest: Duration,
}

impl DeadlineLayer {
    /// Deadlines on `clock`, none further away than `longest`.
    pub fn new(clock: Clock, longest: Duration) -> DeadlineLayer {
        DeadlineLayer { clock, longest }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = WithDeadline<S>;

    fn layer(&self, inner: S) -> WithDeadline<S> {
        WithDeadline {
            inner,
            clock: self.clock.clone(),
            longest: self.longest,
        }
    }
}

/// A service whose calls end in time.
#[derive(Clone)]
pub struct WithDeadline<S> {
    inner: S,
    clock: Clock,
    longest: Duration,
}

impl<S, B> Service<Request<B>> for WithDeadline<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = InTime<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> InTime<S::Future> {
        let Some(asked) = asked(request.headers()) else {
            return InTime::Refused {
                status: Some(status::malformed_timeout()),
            };
        };
        let budget = asked.map_or(self.longest, |asked| asked.min(self.longest));
        let now_ms = self.clock.monotonic_ms();
        request.extensions_mut().insert(Deadline {
            monotonic_ms: now_ms + budget.as_millis() as u64,
            asked_ms: asked.map(|asked| now_ms + asked.as_millis() as u64),
        });
        InTime::Running {
            inner: self.inner.call(request),
            over: tokio::time::sleep(budget),
        }
    }
}

pin_project_lite::pin_project! {
    /// A call under way, or one that was refused for its header.
    #[project = InTimeProjected]
    #[allow(missing_docs)] // the macro takes no comments on fields
    pub enum InTime<F> {
        /// Under way.
        Running {
            #[pin]
            inner: F,
            #[pin]
            over: Sleep,
        },
        /// Refused.
        Refused {
            status: Option<Status>,
        },
    }
}

impl<F, E> Future for InTime<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let status = match self.project() {
            InTimeProjected::Running { inner, over } => {
                // The answer first: one that is ready is given, however late.
                if let Poll::Ready(answer) = inner.poll(cx) {
                    return Poll::Ready(answer);
                }
                if over.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                status::deadline_passed()
            }
            InTimeProjected::Refused { status } => {
                status.take().unwrap_or_else(status::malformed_timeout)
            }
        };
        Poll::Ready(Ok(status.into_http()))
    }
}

/// The time that the client gives its call, if it says; `None` when the header can't be read.
fn asked(headers: &HeaderMap) -> Option<Option<Duration>> {
    match headers.get("grpc-timeout") {
        None => Some(None),
        Some(value) => Some(Some(timeout(value.as_bytes())?)),
    }
}

/// Reads a `grpc-timeout`: one to eight digits and a unit (gRPC over HTTP/2, "Requests").
fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits
        .iter()
        .fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tonic::Code;
    use tonic_types::StatusExt;
    use tower::{ServiceExt, service_fn};

    #[test]
    fn a_timeout_is_read_in_every_unit() {
        for (text, ms) in [
            ("1H", 3_600_000),
            ("2M", 120_000),
            ("3S", 3_000),
            ("4m", 4),
            ("5000u", 5),
            ("6000000n", 6),
            ("99999999n", 99),
            ("0m", 0),
        ] {
            let read = timeout(text.as_bytes()).map(|d| d.as_millis());
            assert_eq!(read, Some(ms), "{text}");
        }
    }

    #[test]
    fn a_malformed_timeout_is_refused() {
        for text in [
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            " 1S",
            "1 S",
        ] {
            assert_eq!(timeout(text.as_bytes()), None, "{text}");
        }
    }

    #[tokio::test]
    async fn the_sooner_of_both_deadlines_counts_and_a_stream_finds_its_clients_own() {
        let (seen, _) = call("20m").await;
        let seen = seen.expect("it came through");
        assert_eq!(seen.asked_ms, Some(seen.monotonic_ms));
        let mut headers = HeaderMap::new();
        assert_eq!(asked(&headers), Some(None));
        headers.insert("grpc-timeout", "9H".parse().unwrap());
        assert_eq!(asked(&headers), Some(Some(Duration::from_secs(9 * 3600))));
        headers.insert("grpc-timeout", "soon".parse().unwrap());
        assert_eq!(asked(&headers), None);
    }

    async fn call(timeout: &str) -> (Option<Deadline>, Status) {
        let (seen, mut sees) = tokio::sync::mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<()>| {
            let seen = seen.clone();
            async move {
                let _ = seen.send(*request.extensions().get::<Deadline>().unwrap());
                std::future::pending::<Result<Response<Body>, Infallible>>().await
            }
        });
        let service = DeadlineLayer::new(Clock::system(), Duration::from_secs(30)).layer(service);
        let request = Request::builder()
            .header("grpc-timeout", timeout)
            .body(())
            .unwrap();
        let answer = service.oneshot(request).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        (sees.try_recv().ok(), status)
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_answered_for() {
        let (deadline, status) = call("1m").await;
        assert!(deadline.is_some());
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (&*info.domain, &*info.reason),
            (status::DOMAIN, "TIMED_OUT")
        );
    }

    #[tokio::test]
    async fn a_malformed_header_never_reaches_the_service() {
        let (deadline, status) = call("soon").await;
        assert_eq!(deadline, None);
        assert_eq!(status.code(), Code::InvalidArgument);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (&*info.domain, &*info.reason),
            (status::DOMAIN, "INVALID_REQUEST")
        );
        let bad = status.get_details_bad_request().unwrap();
        assert_eq!(bad.field_violations[0].field, "grpc-timeout");
    }
}
