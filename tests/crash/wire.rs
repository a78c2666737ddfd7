//! HTTP/2 by hand over real TLS, for clients that do what no library lets them.

use crate::dev::{self, Dev};
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

// Frames and flags (RFC 9113 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A call that costs little.
pub const DESCRIBE: &str = "/payvault.v1.VaultService/DescribeToken";

/// Where the vault listens.
pub fn address(dev: &Dev) -> SocketAddr {
    let address = dev.endpoint.strip_prefix("https://").expect("an endpoint");
    address.parse().expect("an address")
}

/// TCP from one of this host's addresses.
pub async fn tcp(to: SocketAddr, from: [u8; 4]) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// TLS without a certificate of the client's.
pub fn nobody(home: &Path) -> rustls::ClientConfig {
    let with = dev::tls(home, "portal");
    let provider = with.crypto_provider().clone();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(dev::roots(home))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// One connection.
pub struct Wire {
    pub reads: ReadHalf<TlsStream<TcpStream>>,
    pub writes: WriteHalf<TlsStream<TcpStream>>,
}

impl Wire {
    /// TLS, and nothing after it.
    pub async fn tls(
        to: SocketAddr,
        from: [u8; 4],
        config: Arc<rustls::ClientConfig>,
    ) -> io::Result<Wire> {
        let stream = tcp(to, from).await?;
        let name = ServerName::IpAddress(IpAddr::from([127, 0, 0, 1]).into());
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let (reads, writes) = tokio::io::split(stream);
        Ok(Wire { reads, writes })
    }

    /// TLS and the beginning of HTTP/2, with a window of `window` bytes for each answer.
    pub async fn http2(
        to: SocketAddr,
        from: [u8; 4],
        config: Arc<rustls::ClientConfig>,
        window: u32,
    ) -> io::Result<Wire> {
        let mut wire = Wire::tls(to, from, config).await?;
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let mut settings = vec![0, 4];
        settings.extend(window.to_be_bytes());
        bytes.extend(frame(SETTINGS, 0, 0, &settings));
        bytes.extend(frame(SETTINGS, ACK, 0, &[]));
        wire.writes.write_all(&bytes).await?;
        Ok(wire)
    }

    /// Reads, and answers pings, until the other side lets go: the code of its GOAWAY, if it sent
    /// one, and the bytes of answers that came.
    pub async fn until_let_go(mut self) -> (Option<u32>, usize) {
        let (mut code, mut bytes) = (None, 0);
        let mut head = [0; 9];
        while self.reads.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            if self.reads.read_exact(&mut payload).await.is_err() {
                break;
            }
            match head[3] {
                PING if head[4] & ACK == 0 => {
                    let pong = frame(PING, ACK, 0, &payload);
                    if self.writes.write_all(&pong).await.is_err() {
                        break;
                    }
                    let _ = self.writes.flush().await;
                }
                GOAWAY if length >= 8 => {
                    let of = [payload[4], payload[5], payload[6], payload[7]];
                    code = Some(u32::from_be_bytes(of));
                }
                DATA => bytes += length,
                _ => {}
            }
        }
        (code, bytes)
    }

    /// Reads and drops what comes; completes when the other side lets go.
    pub async fn until_closed(mut self) {
        let mut buffer = vec![0; 16 << 10];
        while self
            .reads
            .read(&mut buffer)
            .await
            .is_ok_and(|read| read > 0)
        {}
    }

    /// Writes `bytes` again and again, reading what comes, until the other side lets go or `over`
    /// comes; whether it let go.
    pub async fn flood(self, bytes: Vec<u8>, over: impl Future<Output = ()>) -> bool {
        let Wire {
            mut reads,
            mut writes,
        } = self;
        let reading = async {
            let mut buffer = vec![0; 16 << 10];
            while reads.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        };
        let writing = async { while writes.write_all(&bytes).await.is_ok() {} };
        tokio::select! {
            () = reading => true,
            () = writing => true,
            () = over => false,
        }
    }
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A call's header fields: literals without indexing (RFC 7541 6.2.2).
pub fn fields(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let own = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "127.0.0.1"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in own.iter().chain(more) {
        bytes.push(0);
        for text in [name, value] {
            integer(text.len(), &mut bytes);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// An integer with a prefix of 7 bits (RFC 7541 5.1).
fn integer(mut value: usize, bytes: &mut Vec<u8>) {
    if value < 127 {
        bytes.push(value as u8);
        return;
    }
    bytes.push(127);
    value -= 127;
    while value >= 128 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
}

/// A gRPC message (length-prefixed).
pub fn message(message: &impl prost::Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Waits so long.
pub async fn after(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}
