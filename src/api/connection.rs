//! One accepted connection: the stream that hyper reads and writes, the place that it takes up,
//! and who is at the other end. It can be cut from outside at any moment.

use super::crowd::{ClientKey, Place, client_key};
use super::identity::PeerIdentity;
use super::pulse::Pulse;
use crate::clock::Timestamp;
use crate::limits;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// Who is at the other end. Services find it in a request's extensions as `Arc<PeerInfo>`.
#[derive(Debug)]
pub struct PeerInfo {
    /// Whom the verified certificate stands for.
    pub identity: PeerIdentity,
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// The same as text, as each of its entries has it.
    pub origin: Arc<str>,
    /// The client that the identity stands for, wherever it connects from.
    pub(super) client: ClientKey,
    /// Whether it takes its answers.
    pub(super) pulse: Pulse,
    withdrawn: AtomicBool,
}

impl PeerInfo {
    /// A peer whose certificate was verified.
    pub fn new(identity: PeerIdentity, address: SocketAddr) -> PeerInfo {
        PeerInfo {
            client: client_key(&identity),
            identity,
            address,
            origin: Arc::from(address.to_string()),
            pulse: Pulse::default(),
            withdrawn: AtomicBool::new(false),
        }
    }

    /// Whether a call of this moment may still rest on the certificate: its time isn't over, and
    /// no reload of CAs or revocation lists took the trust away. Ask at every call.
    pub fn trusted(&self, now: Timestamp) -> bool {
        !self.withdrawn.load(Ordering::Acquire) && !self.identity.expired(now)
    }

    /// A message of a call under way came: the connection is there for something.
    pub fn heard(&self) {
        self.pulse.idle_bytes.store(0, Ordering::Relaxed);
    }

    /// Takes the trust away, for good: calls that are under way see it too.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }
}

/// A connection with mutual TLS.
pub type TlsConnection = Connection<TlsStream<TcpStream>, Arc<PeerInfo>>;

/// A stream that holds its place among the connections and can be cut.
pub struct Connection<S, I> {
    stream: S,
    info: I,
    // Resolves when the connection is cut; `None` from then on.
    cut: Option<oneshot::Receiver<Infallible>>,
    beginning: Option<Beginning>,
    idle: Option<Idle>,
    // Whether what is being written had its moment to grow.
    gathered: bool,
    _place: Place,
}

/// Bounds what may come without a call: pings, settings, windows, without end.
struct Idle {
    bytes: Arc<AtomicU64>,
    max: u64,
    /// Whether the others had their turn since the last read.
    stood_back: bool,
}

impl Idle {
    /// Once much came without a call, lets all others that are ready run before each further read, and
    /// says how many bytes that may bring: HTTP/2 takes in whatever lies there otherwise, thousands
    /// of frames at a time.
    fn stand_back(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.bytes.load(Ordering::Relaxed) < limits::BYTES_IN_TURN {
            return Poll::Ready(usize::MAX);
        }
        if std::mem::replace(&mut self.stood_back, true) {
            return Poll::Ready(limits::TURN_BYTES);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// `bytes` more came; whether that is still within bounds.
    fn read(&mut self, bytes: usize) -> bool {
        self.stood_back = false;
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) <= self.max
    }
}

/// Waits for what every HTTP/2 client sends unasked.
pub(super) struct Beginning {
    missing: usize,
    begun: oneshot::Sender<()>,
}

/// Bytes of an HTTP/2 client's preface and of the least SETTINGS frame (RFC 9113 3.4).
const PREFACE_BYTES: usize = 24 + 9;

impl Beginning {
    /// Counts what is read; the receiver hears when HTTP/2 has begun.
    pub(super) fn watch() -> (Beginning, oneshot::Receiver<()>) {
        let (begun, begins) = oneshot::channel();
        let missing = PREFACE_BYTES;
        (Beginning { missing, begun }, begins)
    }

    /// `bytes` more were read; itself while there are too few.
    fn read(mut self, bytes: usize) -> Option<Beginning> {
        self.missing = self.missing.saturating_sub(bytes);
        if self.missing > 0 {
            return Some(self);
        }
        // Nobody hears it when the connection was cut meanwhile.
        let _ = self.begun.send(());
        None
    }
}

impl<S, I> Connection<S, I> {
    /// Wraps `stream`. It is cut when `end` completes, whatever its peer does; a small task waits
    /// for that, and ends with the connection.
    pub(super) fn until(
        end: impl Future<Output = ()> + Send + 'static,
        stream: S,
        info: I,
        beginning: Beginning,
        place: Place,
    ) -> Connection<S, I> {
        let (mut alive, cut) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                () = alive.closed() => {}
                () = end => {}
            }
            // Dropping `alive` is what cuts.
        });
        Connection {
            stream,
            info,
            cut: Some(cut),
            beginning: Some(beginning),
            idle: None,
            gathered: false,
            _place: place,
        }
    }

    /// Cuts it when more than `max` bytes came since `bytes` was set to 0.
    pub(super) fn with_idle_bytes(mut self, bytes: Arc<AtomicU64>, max: u64) -> Connection<S, I> {
        self.idle = Some(Idle {
            bytes,
            max,
            stood_back: false,
        });
        self
    }

    /// Lets the callers that are ready now run before the first byte of their answers is written: a
    /// round wakes many, and each answer written by itself costs a TLS record and a system call. Where
    /// nobody else is ready, nothing is waited for.
    fn gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.gathered, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// An error once the connection is cut. Called wherever hyper polls, since a peer that
    /// doesn't read keeps hyper in `poll_write`, one that doesn't write in `poll_read`.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(cut) = &mut self.cut {
            if Pin::new(cut).poll(cx).is_pending() {
                return Ok(());
            }
            self.cut = None;
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl<S, I: Clone + Send + Sync + 'static> Connected for Connection<S, I> {
    type ConnectInfo = I;

    fn connect_info(&self) -> I {
        self.info.clone()
    }
}

impl<S: AsyncRead + Unpin, I: Unpin> AsyncRead for Connection<S, I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let most = match &mut self.idle {
            Some(idle) => std::task::ready!(idle.stand_back(cx)),
            None => usize::MAX,
        };
        let (read, bytes) = read_some(Pin::new(&mut self.stream), cx, buffer, most);
        if bytes > 0
            && let Some(beginning) = self.beginning.take()
        {
            self.beginning = beginning.read(bytes);
        }
        if bytes > 0
            && let Some(idle) = &mut self.idle
            && !idle.read(bytes)
        {
            self.cut = None;
            return Poll::Ready(self.check(cx));
        }
        read
    }
}

/// Reads at most `most` bytes into `buffer`; what the stream says, and how many they were.
fn read_some<S: AsyncRead>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
    most: usize,
) -> (Poll<io::Result<()>>, usize) {
    if most >= buffer.remaining() {
        let before = buffer.filled().len();
        let read = stream.poll_read(cx, buffer);
        return (read, buffer.filled().len() - before);
    }
    let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
    let read = stream.poll_read(cx, &mut part);
    let bytes = part.filled().len();
    buffer.advance(bytes);
    (read, bytes)
}

impl<S: AsyncWrite + Unpin, I: Unpin> AsyncWrite for Connection<S, I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        std::task::ready!(self.gather(cx));
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        std::task::ready!(self.gather(cx));
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        std::task::ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.gathered = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_trusted_until_its_certificate_ends_or_trust_is_withdrawn() {
        let identity = PeerIdentity {
            uri: "spiffe://payvault.dev/shop".to_owned(),
            issuer_key: [7; 32],
            not_after: Timestamp(5_000),
        };
        let peer = PeerInfo::new(identity, SocketAddr::from(([127, 0, 0, 1], 1)));
        assert!(peer.trusted(Timestamp(5_999)));
        assert!(!peer.trusted(Timestamp(6_000)));
        peer.withdraw();
        assert!(!peer.trusted(Timestamp(0)));
    }

    #[tokio::test]
    async fn whoever_brings_much_without_a_call_is_read_in_turn_with_the_others() {
        let bytes = vec![0; 4 * limits::BYTES_IN_TURN as usize];
        let place = Place {
            _among_all: Arc::new(tokio::sync::Semaphore::new(1))
                .try_acquire_owned()
                .unwrap(),
            _of_address: None,
            of_client: None,
        };
        let (beginning, _begins) = Beginning::watch();
        let idle = Arc::new(AtomicU64::new(0));
        let mut connection =
            Connection::until(std::future::pending(), &bytes[..], (), beginning, place)
                .with_idle_bytes(Arc::clone(&idle), u64::MAX);
        let mut buffer = vec![0; limits::BYTES_IN_TURN as usize];
        let mut read = || {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = Pin::new(&mut connection).poll_read(&mut cx, &mut buffer);
            read.is_ready().then_some(buffer.filled().len())
        };
        let all = Some(limits::BYTES_IN_TURN as usize);
        let few = Some(limits::TURN_BYTES);
        assert_eq!(read(), all);
        assert_eq!([read(), read(), read(), read()], [None, few, None, few]);
        idle.store(0, Ordering::Relaxed);
        assert_eq!(read(), all, "a call began");
    }
}
