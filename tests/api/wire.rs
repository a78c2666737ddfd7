//! Calls with bodies of any bytes, and all that comes back.

#![allow(dead_code)] // what one test file needs and another does not

use crate::house::Serving;
use hyper_util::rt::TokioIo;
use payvault::api::tls::client_config;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use rustls_pki_types::ServerName;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

/// Bytes as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// Calls `path` with a body of any bytes: every message of the answer.
pub async fn call(
    channel: &Channel,
    path: &'static str,
    body: Vec<u8>,
    session: Option<&str>,
) -> Result<Vec<Vec<u8>>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("a connection");
    let mut request = Request::new(body);
    if let Some(session) = session {
        let value = format!("Bearer {session}").parse().expect("ASCII");
        request.metadata_mut().insert("authorization", value);
    }
    let path = http::uri::PathAndQuery::from_static(path);
    let mut stream = grpc
        .server_streaming(request, path, Raw)
        .await?
        .into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

/// The one message of an answer.
pub fn only<T: Message + Default>(answer: &[Vec<u8>]) -> T {
    assert_eq!(answer.len(), 1, "one message");
    T::decode(&answer[0][..]).expect("a message")
}

/// The stable reason of an error; empty when it has none.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

/// Everything that an error carries, for searching.
pub fn all_of(status: &Status) -> Vec<u8> {
    let mut all = status.message().as_bytes().to_vec();
    all.push(0);
    all.extend_from_slice(status.details());
    for pair in status.metadata().iter() {
        all.push(0);
        match pair {
            tonic::metadata::KeyAndValueRef::Ascii(key, value) => {
                all.extend_from_slice(key.as_str().as_bytes());
                all.push(0);
                all.extend_from_slice(value.as_bytes());
            }
            tonic::metadata::KeyAndValueRef::Binary(key, value) => {
                all.extend_from_slice(key.as_str().as_bytes());
                all.push(0);
                all.extend_from_slice(&value.to_bytes().unwrap_or_default());
            }
        }
    }
    all
}

/// An error as its caller sees it, without what differs from call to call by itself (the date).
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    code: tonic::Code,
    message: String,
    details: Vec<u8>,
    metadata: BTreeSet<String>,
}

impl Seen {
    pub fn of(status: &Status) -> Seen {
        let keys = status.metadata().keys().map(|key| match key {
            tonic::metadata::KeyRef::Ascii(key) => key.as_str().to_owned(),
            tonic::metadata::KeyRef::Binary(key) => key.as_str().to_owned(),
        });
        Seen {
            code: status.code(),
            message: status.message().to_owned(),
            details: status.details().to_vec(),
            metadata: keys.collect(),
        }
    }
}

/// Calls `path`, and gives all that the answer had: its messages, also those before an error.
pub async fn answer(
    channel: &Channel,
    path: &'static str,
    body: Vec<u8>,
) -> (Vec<Vec<u8>>, Option<Status>) {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("a connection");
    let path = http::uri::PathAndQuery::from_static(path);
    let mut messages = Vec::new();
    let mut stream = match grpc.server_streaming(Request::new(body), path, Raw).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return (messages, Some(status)),
    };
    loop {
        match stream.message().await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(status) => return (messages, Some(status)),
        }
    }
}

/// Every byte that came out of a connection's TLS, from the server's side.
#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<Vec<u8>>>);

impl Tape {
    /// Takes what was recorded.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

/// A stream whose incoming bytes are recorded.
struct Recorded<S> {
    stream: S,
    tape: Tape,
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let new = &buffer.filled()[before..];
        self.tape.0.lock().expect("no panic").extend_from_slice(new);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection of `who`, and what comes in on it below HTTP/2.
pub async fn taped(serving: &Serving, who: &str) -> (Channel, Tape) {
    let credential = &serving.people[who].credential;
    let config = client_config(
        &serving.ca_pem,
        &credential.certificate_pem,
        credential.key_pem.expose(),
    )
    .expect("a client configuration");
    let tape = Tape::default();
    let own = tape.clone();
    let connector = TlsConnector::from(Arc::new(config));
    let address = serving.endpoint.trim_start_matches("https://").to_owned();
    let connect = tower::service_fn(move |_: http::Uri| {
        let (connector, tape, address) = (connector.clone(), own.clone(), address.clone());
        async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            let name = ServerName::try_from("127.0.0.1").expect("a name");
            let stream = connector.connect(name, stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(Recorded { stream, tape }))
        }
    });
    // Windows as small as HTTP/2's own: what isn't read is soon not sent.
    let endpoint = Endpoint::from_shared(serving.endpoint.clone())
        .expect("an address")
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(64 << 10);
    let channel = endpoint.connect_with_connector(connect).await;
    (channel.expect("a connection"), tape)
}
