//! How fast a client is told that it is refused. A refusal costs the vault about as much as a call, and
//! whoever has it asks again at once: a client that is refused each time, with as many calls at once as
//! its connections take, would keep the others waiting, and guess as fast as the vault can think. So
//! each client has turns for its refusals (`limits::REFUSALS_PER_SECOND`); one that comes before its
//! turn waits, and holds nothing meanwhile but its own call's place on its connection.
//!
//! It counts whatever the reason was and however little it cost: a deadline that can't be read, a
//! method that doesn't exist, a rate that is used up. Calls that succeed are not counted. Not waiting
//! for the answer is no way out: past as many calls that were taken back before they were answered,
//! the client's next ones aren't begun until the turns of those are over.
//!
//! A stream's answer begins before anything can be wrong with it: neither its items nor its end are
//! counted. There are few at once, and it has a brake of its own, how much of it is unanswered.

use super::connection::PeerInfo;
use super::crowd::ClientKey;
use crate::clock::{Pace, Turns};
use crate::{ids, limits};
use http::{Request, Response};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tonic::body::Body;
use tower::{Layer, Service};

/// The pace of refusals, and of calls that are taken back.
const PACE: Pace = Pace {
    every: Duration::from_nanos(1_000_000_000 / limits::REFUSALS_PER_SECOND as u64),
    at_once: limits::REFUSALS_AT_ONCE,
    longest: Duration::from_millis(limits::REFUSAL_WAIT_MS_MAX),
};

/// Past this many clients, those whose turns are all over are forgotten.
const CLIENTS_KEPT: usize = 1_024;

/// A client's turns.
struct Client {
    /// Of its refusals.
    refusals: Turns,
    /// Of calls that it took back before they were answered.
    taken_back: Turns,
}

/// The turns of each client that was refused, or took calls back, lately, whatever connections it has.
#[derive(Default)]
struct Clients(Mutex<HashMap<ClientKey, Client>>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<ClientKey, Client>> {
        // Each entry is whole at any moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a turn of this client's, as `which` says; how far away it is.
    fn take(&self, peer: &PeerInfo, which: fn(&mut Client) -> &mut Turns) -> Duration {
        let mut clients = self.lock();
        if clients.len() >= CLIENTS_KEPT {
            clients.retain(|_, c| !c.refusals.are_over() || !c.taken_back.are_over());
        }
        let client = clients
            .entry(peer.client.clone())
            .or_insert_with(|| Client {
                refusals: Turns::none(),
                taken_back: Turns::none(),
            });
        which(client).take(PACE)
    }

    /// How long a new call of this client is held: until the turns of those that it took back are over,
    /// and up to as long again by chance, so that what was held doesn't begin all at once. Takes no turn
    /// itself: a busy client would wait for its own calls for ever.
    fn hold(&self, peer: &PeerInfo) -> Duration {
        let clients = self.lock();
        let away = clients.get(&peer.client).map(|c| c.taken_back.away(PACE));
        drop(clients);
        match away {
            Some(away) if !away.is_zero() => away.mul_f64(1.0 + ids::chance()).min(PACE.longest),
            _ => Duration::ZERO,
        }
    }
}

/// Puts every refusal of a call in its client's turns.
#[derive(Clone)]
pub(super) struct PaceLayer {
    clients: Arc<Clients>,
    stopping: watch::Receiver<bool>,
}

impl PaceLayer {
    /// Nobody waits any more once `stopping` says so, or is gone.
    pub(super) fn until(stopping: watch::Receiver<bool>) -> PaceLayer {
        PaceLayer {
            clients: Arc::default(),
            stopping,
        }
    }

    /// Waits for a turn that is `away`.
    fn turn(&self, away: Duration) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.stopping.clone();
        async move {
            tokio::select! {
                () = tokio::time::sleep(away) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
    }
}

impl<S> Layer<S> for PaceLayer {
    type Service = WithPace<S>;

    fn layer(&self, inner: S) -> WithPace<S> {
        WithPace {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service whose refusals have turns.
#[derive(Clone)]
pub(super) struct WithPace<S> {
    inner: S,
    layer: PaceLayer,
}

impl<S, B> Service<Request<B>> for WithPace<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Paced<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Paced<S, B> {
        let peer = request.extensions().get::<Arc<PeerInfo>>().cloned();
        let hold = peer.as_ref().map(|peer| self.layer.clients.hold(peer));
        let (held, inner, begun) = match hold {
            Some(away) if !away.is_zero() => {
                let held = Held {
                    turn: Box::pin(self.layer.turn(away)),
                    service: self.inner.clone(),
                    call: Some((request, peer)),
                };
                (Some(held), None, None)
            }
            _ => (None, Some(self.inner.call(request)), peer),
        };
        Paced {
            held,
            inner,
            waiting: None,
            unanswered: Unanswered {
                peer: begun,
                layer: self.layer.clone(),
            },
        }
    }
}

/// A call that isn't begun before its turn. Whoever takes it back takes no turn for it: it told nothing,
/// and a busy client whose calls are held for longer than it waits would hold itself up for ever.
struct Held<S, B> {
    turn: Pin<Box<dyn Future<Output = ()> + Send>>,
    service: S,
    call: Option<(Request<B>, Option<Arc<PeerInfo>>)>,
}

/// A refusal, when its turn has come.
type Waiting = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A call that has no answer yet. If it is dropped, its client took it back: reset its stream, or gave it
/// no time. A client could guess so: what isn't answered at once was refused.
struct Unanswered {
    /// Whose it is, from when it is begun until it is answered.
    peer: Option<Arc<PeerInfo>>,
    layer: PaceLayer,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(peer) = &self.peer {
            self.layer
                .clients
                .take(peer, |client| &mut client.taken_back);
        }
    }
}

pin_project_lite::pin_project! {
    /// A call that is held, or under way, or its refusal, which waits.
    pub(super) struct Paced<S, B>
    where
        S: Service<Request<B>>,
    {
        held: Option<Held<S, B>>,
        #[pin]
        inner: Option<S::Future>,
        waiting: Option<Waiting>,
        unanswered: Unanswered,
    }
}

impl<S, B> Future for Paced<S, B>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Output = Result<Response<Body>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(held) = this.held {
            std::task::ready!(held.turn.as_mut().poll(cx));
            std::task::ready!(held.service.poll_ready(cx))?;
            if let Some((request, peer)) = held.call.take() {
                this.inner.set(Some(held.service.call(request)));
                this.unanswered.peer = peer;
            }
            *this.held = None;
        }
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            let answer = std::task::ready!(inner.poll(cx));
            // What it holds isn't needed while its refusal waits.
            this.inner.set(None);
            let turn = match (&answer, &this.unanswered.peer) {
                (Ok(answer), Some(peer)) if is_refusal(answer) => {
                    let clients = &this.unanswered.layer.clients;
                    clients.take(peer, |client| &mut client.refusals)
                }
                _ => Duration::ZERO,
            };
            match answer {
                Ok(answer) if !turn.is_zero() => {
                    let turn = this.unanswered.layer.turn(turn);
                    *this.waiting = Some(Box::pin(async move {
                        turn.await;
                        answer
                    }));
                }
                answer => {
                    this.unanswered.peer = None;
                    return Poll::Ready(answer);
                }
            }
        }
        let Some(waiting) = this.waiting else {
            return Poll::Pending;
        };
        let answer = std::task::ready!(waiting.as_mut().poll(cx));
        this.unanswered.peer = None;
        *this.waiting = None;
        Poll::Ready(Ok(answer))
    }
}

/// Whether a call ended before its answer began: its status is in the headers then (gRPC over HTTP/2,
/// "Trailers-Only").
fn is_refusal(answer: &Response<Body>) -> bool {
    let status = answer.headers().get("grpc-status");
    !answer.status().is_success() || status.is_some_and(|status| status != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::identity::PeerIdentity;
    use crate::clock::Timestamp;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tonic::Status;
    use tower::service_fn;

    /// What it asks for is what it gets.
    async fn answered(request: Request<bool>) -> Result<Response<Body>, Infallible> {
        Ok(match request.into_body() {
            true => Response::new(Body::empty()),
            false => Status::not_found("no").into_http(),
        })
    }

    fn peer(client: &str) -> PeerInfo {
        let identity = PeerIdentity {
            uri: client.to_owned(),
            issuer_key: [7; 32],
            not_after: Timestamp(0),
        };
        PeerInfo::new(identity, "127.0.0.1:1".parse().unwrap())
    }

    fn asked(client: &str, granted: bool) -> Request<bool> {
        let mut request = Request::new(granted);
        request.extensions_mut().insert(Arc::new(peer(client)));
        request
    }

    #[tokio::test]
    async fn refusals_past_the_first_wait_their_turn_and_nothing_else_does() {
        let (stopping, is_stopping) = watch::channel(false);
        let mut service = PaceLayer::until(is_stopping).layer(service_fn(answered));
        let mut call = |client, granted| Box::pin(service.call(asked(client, granted)));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..limits::REFUSALS_AT_ONCE {
            assert!(call("one", false).as_mut().poll(&mut cx).is_ready());
        }
        // Unless each of them took a millisecond, some wait.
        let mut more: Vec<_> = (0..limits::REFUSALS_PER_SECOND)
            .map(|_| call("one", false))
            .collect();
        more.retain_mut(|call| call.as_mut().poll(&mut cx).is_pending());
        assert!(!more.is_empty(), "a thousand refusals were told at once");
        assert!(call("one", true).as_mut().poll(&mut cx).is_ready());
        assert!(call("another", false).as_mut().poll(&mut cx).is_ready());

        let first = more.remove(0).await.unwrap();
        assert!(is_refusal(&first), "its turn came");
        stopping.send_replace(true);
        for call in more {
            assert!(is_refusal(&call.await.unwrap()));
        }
    }

    #[tokio::test]
    async fn whoever_takes_calls_back_waits_before_the_next_ones_begin() {
        let (stopping, is_stopping) = watch::channel(false);
        let begun = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&begun);
        let inner = service_fn(move |request| {
            count.fetch_add(1, Ordering::SeqCst);
            answered(request)
        });
        let mut service = PaceLayer::until(is_stopping).layer(inner);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // All under way at once, and dropped before they were polled once: its client took them back.
        let calls = 0..limits::REFUSALS_AT_ONCE + limits::REFUSALS_PER_SECOND;
        let calls: Vec<_> = calls.map(|_| service.call(asked("one", true))).collect();
        drop(calls);
        let before = begun.load(Ordering::SeqCst);
        let mut held = Box::pin(service.call(asked("one", true)));
        assert!(held.as_mut().poll(&mut cx).is_pending());
        assert_eq!(begun.load(Ordering::SeqCst), before, "it isn't begun");
        let mut other = Box::pin(service.call(asked("another", true)));
        assert!(other.as_mut().poll(&mut cx).is_ready());
        stopping.send_replace(true);
        assert!(!is_refusal(&held.await.unwrap()));
        assert_eq!(begun.load(Ordering::SeqCst), before + 2);
    }

    #[test]
    fn calls_that_are_held_hold_up_no_further_ones() {
        let (clients, peer) = (Clients::default(), peer("busy"));
        let away = || clients.lock()[&peer.client].taken_back.away(PACE);
        for _ in 0..2 * limits::REFUSALS_PER_SECOND {
            clients.take(&peer, |client| &mut client.taken_back);
        }
        let before = away();
        let holds: Vec<_> = (0..10_000).map(|_| clients.hold(&peer)).collect();
        assert!(away() <= before);
        assert!(holds.iter().all(|hold| *hold <= 2 * before));
        let [least, most] = [holds.iter().min(), holds.iter().max()];
        assert!(most > least, "they would all begin at once");
    }

    /// A portal whose calls are held for longer than it waits is served again all the same.
    #[tokio::test]
    async fn held_calls_that_are_taken_back_hold_up_no_further_ones() {
        let (stopping, is_stopping) = watch::channel(false);
        let layer = PaceLayer::until(is_stopping);
        let mut service = layer.layer(service_fn(|_: Request<bool>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        }));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let away = || {
            let clients = layer.clients.lock();
            clients[&peer("busy").client].taken_back.away(PACE)
        };
        let calls = 0..2 * limits::REFUSALS_PER_SECOND;
        let calls: Vec<_> = calls.map(|_| service.call(asked("busy", true))).collect();
        drop(calls);
        let before = away();
        assert!(before > Duration::from_secs(1));
        for _ in 0..2 * limits::REFUSALS_PER_SECOND {
            let mut held = Box::pin(service.call(asked("busy", true)));
            assert!(held.as_mut().poll(&mut cx).is_pending());
        }
        let after = away();
        assert!(after <= before);
        // Once begun they count as any other.
        let mut begun: Vec<_> = (0..limits::REFUSALS_PER_SECOND)
            .map(|_| Box::pin(service.call(asked("busy", true))))
            .collect();
        stopping.send_replace(true);
        for call in &mut begun {
            assert!(call.as_mut().poll(&mut cx).is_pending());
        }
        drop(begun);
        assert!(away() > after);
    }

    #[test]
    fn clients_whose_turns_are_over_are_forgotten() {
        let clients = Clients::default();
        for number in 0..3 * CLIENTS_KEPT {
            clients.take(&peer(&number.to_string()), |client| &mut client.refusals);
        }
        let kept = clients.lock().len();
        assert!(kept < 3 * CLIENTS_KEPT, "{kept}");
    }
}
