//! Whether a connection's peer does what connections are for: it begins calls, and takes the answers
//! that it asked for. HTTP/2 lets it withhold that for
//! ever while it answers pings: a window of nothing. Its calls, and an export's place, would be held
//! for as long as the connection lives.
//!
//! Seen from here, HTTP/2 asks for the next piece of an answer when there is room for it. A piece
//! that was not asked for, or after which nothing more was, is one that the peer doesn't take.

use super::connection::PeerInfo;
use crate::clock::Clock;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tonic::body::Body;
use tower::{Layer, Service};

/// What a connection's peer has left to take.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Answers of which a piece lies there.
    untaken: AtomicUsize,
    /// Monotonic time at which a piece was last laid there or taken.
    moved_ms: AtomicU64,
    /// Bytes that came since a call was begun last.
    pub(super) idle_bytes: Arc<AtomicU64>,
}

impl Pulse {
    /// For how many milliseconds nothing was taken, though something lies there.
    pub(super) fn still_ms(&self, now_ms: u64) -> u64 {
        match self.untaken.load(Ordering::Acquire) {
            0 => 0,
            _ => now_ms.saturating_sub(self.moved_ms.load(Ordering::Acquire)),
        }
    }
}

/// Watches over the answers to every call of a connection.
#[derive(Clone)]
pub(super) struct PulseLayer {
    clock: Clock,
}

impl PulseLayer {
    /// Times on `clock`.
    pub(super) fn new(clock: Clock) -> PulseLayer {
        PulseLayer { clock }
    }
}

impl<S> Layer<S> for PulseLayer {
    type Service = WithPulse<S>;

    fn layer(&self, inner: S) -> WithPulse<S> {
        WithPulse {
            inner,
            clock: self.clock.clone(),
        }
    }
}

/// A service whose answers are watched.
#[derive(Clone)]
pub(super) struct WithPulse<S> {
    inner: S,
    clock: Clock,
}

impl<S, B> Service<Request<B>> for WithPulse<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Answering<S::Future> {
        let peer = request.extensions().get::<Arc<PeerInfo>>().cloned();
        if let Some(peer) = &peer {
            peer.pulse.idle_bytes.store(0, Ordering::Relaxed);
        }
        Answering {
            inner: self.inner.call(request),
            peer,
            clock: self.clock.clone(),
        }
    }
}

pin_project_lite::pin_project! {
    /// A call under way.
    pub(super) struct Answering<F> {
        #[pin]
        inner: F,
        peer: Option<Arc<PeerInfo>>,
        clock: Clock,
    }
}

impl<F, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.inner.poll(cx) {
            Poll::Ready(Ok(answer)) => answer,
            other => return other,
        };
        let Some(peer) = this.peer.take() else {
            return Poll::Ready(Ok(answer));
        };
        let clock = this.clock.clone();
        Poll::Ready(Ok(
            answer.map(|body| Body::new(Watched::new(body, peer, clock)))
        ))
    }
}

/// An answer's body, of which it is known whether a piece lies untaken.
struct Watched {
    inner: Body,
    peer: Arc<PeerInfo>,
    clock: Clock,
    lies_there: bool,
}

impl Watched {
    fn new(inner: Body, peer: Arc<PeerInfo>, clock: Clock) -> Watched {
        let mut watched = Watched {
            inner,
            peer,
            clock,
            lies_there: false,
        };
        if !http_body::Body::is_end_stream(&watched.inner) {
            watched.lay(true);
        }
        watched
    }

    fn lay(&mut self, lies_there: bool) {
        if self.lies_there == lies_there {
            return;
        }
        self.lies_there = lies_there;
        let pulse = &self.peer.pulse;
        // The time first: a piece must not look old before its time is known.
        let now_ms = self.clock.monotonic_ms();
        pulse.moved_ms.store(now_ms, Ordering::Release);
        if lies_there {
            pulse.untaken.fetch_add(1, Ordering::AcqRel);
        } else {
            pulse.untaken.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl http_body::Body for Watched {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        // Asked for the next piece, so the one before was taken.
        self.lay(false);
        let next = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &next {
            self.lay(true);
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.lay(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::identity::PeerIdentity;
    use crate::clock::{ManualClock, Timestamp};
    use http_body::Body as _;

    #[test]
    fn an_answer_that_is_not_taken_stands_still_and_one_that_is_awaited_does_not() {
        let clock = ManualClock::starting_at(Timestamp(0));
        let time = Clock::Manual(clock.clone());
        let identity = PeerIdentity {
            uri: "spiffe://payvault.dev/shop".to_owned(),
            issuer_key: [0; 32],
            not_after: Timestamp(0),
        };
        let peer = Arc::new(PeerInfo::new(identity, "127.0.0.1:1".parse().unwrap()));
        let still = || peer.pulse.still_ms(time.monotonic_ms());
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<_>, tonic::Status>>(2);
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let body = Body::new(http_body_util::StreamBody::new(stream));
        let mut watched = Watched::new(body, peer.clone(), time.clone());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        clock.pass_ms(7);
        assert_eq!(still(), 7, "nobody asked for the first piece");
        assert!(Pin::new(&mut watched).poll_frame(&mut cx).is_pending());
        clock.pass_ms(7);
        assert_eq!(still(), 0, "the peer waits, not we");
        let piece = Frame::data(tonic::codegen::Bytes::from_static(b"piece"));
        sender.try_send(Ok(piece)).unwrap();
        assert!(Pin::new(&mut watched).poll_frame(&mut cx).is_ready());
        clock.pass_ms(7);
        assert_eq!(still(), 7, "nobody asked for more");
        assert!(Pin::new(&mut watched).poll_frame(&mut cx).is_pending());
        assert_eq!(still(), 0);
        drop(Watched::new(
            Body::new("x".to_owned()),
            peer.clone(),
            time.clone(),
        ));
        assert_eq!(still(), 0, "a call that was given up holds nothing");
    }
}
