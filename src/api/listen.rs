//! The accept loop: from a listener to a stream of connections that tonic serves. Handshakes run
//! beside it, bounded in number and time, so that one that stalls holds up nobody; connections
//! are bounded too, and each holds its place until it ends. One address gets a part of either only:
//! a single host can't keep the others out.

use super::connection::{Beginning, Connection, PeerInfo, TlsConnection};
use super::crowd::{ClientKey, Crowd, Place, client_key};
use super::refusal::{Refusal, RefusedHandshakes};
use super::strangers::Strangers;
use super::tls::{ALPN_H2, Tls, Trust};
use crate::clock::Clock;
use crate::{limits, os};
use rustls::pki_types::CertificateDer;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;

/// The bounds of a listener. [`Default`] gives the ones in [`limits`]; tests make them small.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at once; one more is closed at once.
    pub connections_max: usize,
    /// Of these, how many one address may hold; one more is closed at once. Loopback is an address
    /// as any other, so what loads a vault from one host may want more.
    pub connections_per_address: usize,
    /// Of these, how many one client may hold; one more is closed after its handshake.
    pub connections_per_client: usize,
    /// Handshakes at once; further ones wait in the kernel's queue.
    pub handshakes_max: usize,
    /// Of these, how many one address may hold; one more is closed at once.
    pub handshakes_per_address: usize,
    /// A handshake that takes longer is dropped.
    pub handshake: Duration,
    /// After its handshake, a connection that doesn't begin HTTP/2 within this is cut.
    pub begin: Duration,
    /// A connection that brings more bytes than this without beginning a call is cut.
    pub bytes_without_call: u64,
    /// A connection whose peer takes nothing of an answer for this long is cut.
    pub stall: Duration,
    /// After this, a connection is asked to end (GOAWAY) and takes no new calls.
    pub connection_age: Duration,
    /// After its age, calls under way have this long; then it is cut.
    pub connection_grace: Duration,
    /// A call takes no longer than this until its answer begins.
    pub deadline: Duration,
    /// After the shutdown signal, calls under way have this long; then all are cut.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            connections_max: limits::CONNECTIONS_MAX,
            connections_per_address: limits::CONNECTIONS_PER_ADDRESS_MAX,
            connections_per_client: limits::CONNECTIONS_PER_CLIENT_MAX,
            handshakes_max: limits::HANDSHAKES_MAX,
            handshakes_per_address: limits::HANDSHAKES_PER_ADDRESS_MAX,
            handshake: Duration::from_millis(limits::HANDSHAKE_MS_MAX),
            begin: Duration::from_millis(limits::HTTP2_BEGIN_MS_MAX),
            bytes_without_call: limits::BYTES_WITHOUT_CALL_MAX,
            stall: Duration::from_millis(limits::ANSWER_STALL_MS_MAX),
            connection_age: Duration::from_millis(limits::CONNECTION_AGE_MS_MAX),
            connection_grace: Duration::from_millis(limits::CONNECTION_GRACE_MS_MAX),
            deadline: Duration::from_millis(limits::DEADLINE_MS_MAX),
            drain: Duration::from_millis(limits::DRAIN_MS_MAX),
        }
    }
}

impl Bounds {
    /// The ones in [`limits`], with no more connections than this process has descriptors for.
    pub fn within_descriptors() -> Bounds {
        let mut bounds = Bounds::default();
        let wanted = bounds.connections_max as u64 + limits::DESCRIPTORS_RESERVED;
        let files = os::allow_open_files(wanted).unwrap_or(0);
        if files < wanted {
            let most = files.saturating_sub(limits::DESCRIPTORS_RESERVED).max(1);
            bounds.connections_max = most as usize;
            tracing::warn!(
                files,
                connections = most,
                "fewer connections than there could be: raise the number of files that may be open"
            );
        }
        bounds
    }
}

/// What every connection of a listener shares.
pub(super) struct Doorkeeper {
    pub(super) tls: Arc<Tls>,
    pub(super) clock: Clock,
    pub(super) bounds: Bounds,
    pub(super) refused: Arc<RefusedHandshakes>,
    /// True, or gone: every connection is cut.
    pub(super) cut_all: watch::Receiver<bool>,
}

/// Connections as they are ready for calls. Dropping it closes the listener and ends the
/// handshakes under way; connections that were given out live on.
pub struct Incoming<C> {
    ready: mpsc::Receiver<C>,
    _accepting: JoinSet<()>,
    _strangers: Option<Strangers>,
}

impl<C> Stream for Incoming<C> {
    type Item = Result<C, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|next| next.map(Ok))
    }
}

/// Accepts connections with mutual TLS.
///
/// # Errors
/// When there are no threads for handshakes.
pub(super) fn accept_tls(
    listener: TcpListener,
    door: Arc<Doorkeeper>,
) -> std::io::Result<Incoming<TlsConnection>> {
    let (ready, incoming) = mpsc::channel(limits::CONNECTIONS_READY_MAX);
    let strangers = Strangers::new()?;
    let mut accepting = JoinSet::new();
    // Accepted here, so that what a connection brings later is noticed by this runtime.
    accepting.spawn(accept_loop(
        listener,
        door,
        ready,
        strangers.handle().clone(),
    ));
    Ok(Incoming {
        ready: incoming,
        _accepting: accepting,
        _strangers: Some(strangers),
    })
}

/// Accepts plaintext connections, for health probes on loopback only.
pub(super) fn accept_plain(
    listener: TcpListener,
    cut_all: watch::Receiver<bool>,
) -> Incoming<Connection<TcpStream, ()>> {
    let (ready, incoming) = mpsc::channel(limits::CONNECTIONS_READY_MAX);
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let places = Arc::new(Semaphore::new(limits::HEALTH_CONNECTIONS_MAX));
        loop {
            let (stream, _) = next(&listener).await;
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let place = Place {
                _among_all: place,
                _of_address: None,
                of_client: None,
            };
            let (beginning, begins) = Beginning::watch();
            let cut_all = cut(cut_all.clone());
            let end = async move {
                tokio::select! {
                    () = cut_all => {}
                    () = unbegun(begins, Duration::from_millis(limits::HTTP2_BEGIN_MS_MAX)) => {}
                }
            };
            let connection = Connection::until(end, stream, (), beginning, place);
            if ready.send(connection).await.is_err() {
                return;
            }
        }
    });
    Incoming {
        ready: incoming,
        _accepting: accepting,
        _strangers: None,
    }
}

async fn accept_loop(
    listener: TcpListener,
    door: Arc<Doorkeeper>,
    ready: mpsc::Sender<TlsConnection>,
    strangers: Handle,
) {
    let places = Arc::new(Semaphore::new(door.bounds.connections_max));
    let turns = Arc::new(Semaphore::new(door.bounds.handshakes_max));
    let connected = Crowd::new(door.bounds.connections_per_address);
    let greeting = Crowd::new(door.bounds.handshakes_per_address);
    let clients = Crowd::new(door.bounds.connections_per_client);
    // Owned here, so that the handshakes end with the loop.
    let mut handshakes = JoinSet::new();
    loop {
        let turn = turns
            .clone()
            .acquire_owned()
            .await
            .expect("this semaphore is never closed");
        let (stream, address) = next(&listener).await;
        while handshakes.try_join_next().is_some() {}
        // Refused at once rather than left to wait: the caller learns it and goes elsewhere.
        let (Some(of_address), Some(greeting), Ok(among_all)) = (
            connected.enter(address.ip()),
            greeting.enter(address.ip()),
            places.clone().try_acquire_owned(),
        ) else {
            door.refused.record(address.ip(), Refusal::Full);
            continue;
        };
        let place = Place {
            _among_all: among_all,
            _of_address: Some(of_address),
            of_client: None,
        };
        let (door, ready, clients) = (door.clone(), ready.clone(), clients.clone());
        let calls = Handle::current();
        let handshake = async move {
            match door.let_in(stream, address, place, &clients, &calls).await {
                Ok(connection) => {
                    drop((turn, greeting));
                    // An error means that the server is gone, and the connection with it.
                    let _ = ready.send(connection).await;
                }
                Err(refusal) => door.refused.record(address.ip(), refusal),
            }
        };
        handshakes.spawn_on(handshake, &strangers);
    }
}

/// The next connection. Errors are transient (a peer that left, no descriptors left): after one,
/// it waits a moment, so that a lasting one doesn't spin.
async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(kind = ?error.kind(), "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(limits::ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

impl Doorkeeper {
    async fn let_in(
        self: &Arc<Doorkeeper>,
        stream: TcpStream,
        address: SocketAddr,
        mut place: Place,
        clients: &Arc<Crowd<ClientKey>>,
        calls: &Handle,
    ) -> Result<TlsConnection, Refusal> {
        // Watched from before the handshake, so that no reload falls between the two.
        let mut trust = self.tls.watch();
        let current = trust.borrow_and_update().clone();
        // Small messages must not wait for an acknowledgement (Nagle).
        stream.set_nodelay(true).map_err(|_| Refusal::Left)?;
        let handshake = TlsAcceptor::from(current.config.clone()).accept(stream);
        let stream = tokio::time::timeout(self.bounds.handshake, handshake)
            .await
            .map_err(|_| Refusal::Timeout)?
            .map_err(|error| Refusal::of_handshake(&error))?;

        let session = stream.get_ref().1;
        if session.alpn_protocol() != Some(ALPN_H2) {
            return Err(Refusal::Protocol);
        }
        let presented = session.peer_certificates();
        let identity = current
            .cas
            .identity_after_handshake(presented)
            .map_err(Refusal::of_identity)?;
        let leaf = presented
            .and_then(|chain| chain.first())
            .ok_or(Refusal::NoCertificate)?
            .clone();

        place.of_client = Some(clients.take(client_key(&identity)).ok_or(Refusal::Full)?);
        let peer = Arc::new(PeerInfo::new(identity, address));
        let age = self.bounds.connection_age + self.bounds.connection_grace;
        let cut_all = cut(self.cut_all.clone());
        let distrusted = distrusted(trust, leaf, peer.clone(), self.clock.clone());
        let (beginning, begins) = Beginning::watch();
        let unbegun = unbegun(begins, self.bounds.begin);
        let stalled = stalled(peer.clone(), self.clock.clone(), self.bounds.stall);
        let end = async move {
            tokio::select! {
                () = tokio::time::sleep(age) => {}
                () = cut_all => {}
                () = distrusted => {}
                () = unbegun => {}
                () = stalled => {}
            }
        };
        let idle = peer.pulse.idle_bytes.clone();
        // What watches over it runs where its calls do.
        let _calls = calls.enter();
        Ok(Connection::until(end, stream, peer, beginning, place)
            .with_idle_bytes(idle, self.bounds.bytes_without_call))
    }
}

/// Completes when HTTP/2 didn't begin within `bound`. Later silence is found by pings.
async fn unbegun(begins: oneshot::Receiver<()>, bound: Duration) {
    if tokio::time::timeout(bound, begins).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// Completes when `peer` took nothing of its answers for `bound`: it holds calls, and an export its
/// place, without end otherwise. Looks four times in that time.
async fn stalled(peer: Arc<PeerInfo>, clock: Clock, bound: Duration) {
    loop {
        tokio::time::sleep(bound / 4).await;
        if peer.pulse.still_ms(clock.monotonic_ms()) >= bound.as_millis() as u64 {
            return;
        }
    }
}

/// Completes when all connections are to be cut, or when nobody is left to say so.
async fn cut(mut cut_all: watch::Receiver<bool>) {
    let _ = cut_all.wait_for(|cut| *cut).await;
}

/// Completes when a reload brought CAs or revocation lists that refuse `leaf`. Calls that arrived
/// before the cut see it in `peer`.
async fn distrusted(
    mut trust: watch::Receiver<Arc<Trust>>,
    leaf: CertificateDer<'static>,
    peer: Arc<PeerInfo>,
    clock: Clock,
) {
    while trust.changed().await.is_ok() {
        let cas = trust.borrow_and_update().cas.clone();
        if cas.check(&leaf, clock.now()).as_ref() != Ok(&peer.identity) {
            peer.withdraw();
            return;
        }
    }
    // The TLS settings are gone, and no reload can come any more.
    std::future::pending::<()>().await;
}
