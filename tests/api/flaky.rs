//! A server that answers as it was told, over mutual TLS on loopback, and remembers what it was asked.
//! It stands where a vault would, so that a client's patience can be counted.

use http_body_util::{BodyExt, Full};
use payvault::api::dev_ca::DevCa;
use payvault::api::proto as pb;
use payvault::clock::Clock;
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

/// What one request is answered with.
pub enum Answer {
    /// This error.
    Refused(Status),
    /// A report that is done, as entry 7.
    Reported,
    /// Nothing, ever.
    Silence,
}

/// A serving server.
pub struct Flaky {
    pub endpoint: String,
    pub ca: DevCa,
    asked: Arc<Mutex<Vec<pb::ReportOutcomeRequest>>>,
}

impl Flaky {
    /// Answers request after request with `answers`, and what comes after them with the last one.
    pub async fn start(answers: Vec<Answer>) -> Flaky {
        let ca = DevCa::new(Clock::system().now()).expect("a CA");
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&ca)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("https://{}", listener.local_addr().expect("bound"));
        let asked = Arc::default();
        let service = Service {
            answers: Arc::new(Mutex::new(answers.into())),
            asked: Arc::clone(&asked),
        };
        let incoming = TcpListenerStream::new(listener).then(move |stream| {
            let acceptor = acceptor.clone();
            async move { Ok::<_, io::Error>(Io(acceptor.accept(stream?).await?)) }
        });
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Flaky {
            endpoint,
            ca,
            asked,
        }
    }

    /// Every report that came in.
    pub fn asked(&self) -> Vec<pb::ReportOutcomeRequest> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

/// TLS 1.3 with a client certificate, as a vault has it.
fn server_config(ca: &DevCa) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    let pem = ca.certificate_pem().as_bytes();
    roots
        .add(CertificateDer::from_pem_slice(pem).expect("a CA"))
        .expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let own = ca.server().expect("a server certificate");
    let chain = CertificateDer::from_pem_slice(own.certificate_pem.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(own.key_pem.expose().as_bytes()).expect("PEM");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(clients.build().expect("roots"))
        .with_single_cert(vec![chain], key)
        .expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[derive(Clone)]
struct Service {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<pb::ReportOutcomeRequest>>>,
}

impl tonic::server::NamedService for Service {
    const NAME: &'static str = "payvault.v1.VaultService";
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let bytes = request
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes();
            // Behind the five bytes that gRPC puts before a message.
            let asked = pb::ReportOutcomeRequest::decode(&bytes[5..]).expect("a report");
            service.asked.lock().expect("not poisoned").push(asked);
            Ok(service.answer().await)
        })
    }
}

impl Service {
    async fn answer(&self) -> http::Response<Body> {
        let next = {
            let mut answers = self.answers.lock().expect("not poisoned");
            match answers.front().expect("an answer") {
                Answer::Refused(status) if answers.len() == 1 => Answer::Refused(status.clone()),
                Answer::Reported if answers.len() == 1 => Answer::Reported,
                Answer::Silence if answers.len() == 1 => Answer::Silence,
                _ => answers.pop_front().expect("an answer"),
            }
        };
        match next {
            Answer::Refused(status) => status.into_http(),
            Answer::Silence => std::future::pending().await,
            Answer::Reported => {
                let reported = pb::ReportOutcomeResponse {
                    entry_index: 7,
                    replayed: false,
                };
                let message = reported.encode_to_vec();
                let length = u32::try_from(message.len()).expect("short").to_be_bytes();
                let frame = [&[0][..], &length, &message].concat();
                let mut done = http::HeaderMap::new();
                done.insert("grpc-status", http::HeaderValue::from_static("0"));
                let body = Full::new(Bytes::from(frame)).with_trailers(async { Some(Ok(done)) });
                http::Response::builder()
                    .header("content-type", "application/grpc")
                    .body(Body::new(body))
                    .expect("a response")
            }
        }
    }
}

/// tonic's own has no say in versions, so it doesn't know this stream.
struct Io(TlsStream<TcpStream>);

impl Connected for Io {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
