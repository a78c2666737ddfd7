//! The yardstick: a bare tonic server. It has the vault's TLS settings, HTTP/2 windows, allocator
//! and messages, and nothing else of it: no layer, no identity, no bound, no work. Whoever it
//! answers costs what a call costs before a vault does anything.

use crate::failure::LoadError;
use crate::requests;
use payvault::api::dev_ca::DevCa;
use payvault::api::proto as pb;
use payvault::clock::Clock;
use payvault::limits;
use pb::vault_service_server::{VaultService, VaultServiceServer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::convert::Infallible;
use std::io::{self, Read};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

/// Names of the files that both ends read.
const SERVER: &str = "echo";
const CLIENT: &str = "caller";

/// Makes a CA, a server and a client in `dir`, of the same kind as `payvault dev` makes.
///
/// # Errors
/// When they can't be made or written.
pub fn make_certificates(dir: &Path) -> Result<(), LoadError> {
    let failed = |error: &dyn std::fmt::Display| LoadError::Server(format!("echo: {error}"));
    let ca = DevCa::new(Clock::system().now()).map_err(|e| failed(&e))?;
    std::fs::write(dir.join("ca.pem"), ca.certificate_pem()).map_err(LoadError::file(dir))?;
    for (credential, name) in [(ca.server(), SERVER), (ca.client(CLIENT), CLIENT)] {
        let credential = credential.map_err(|e| failed(&e))?;
        credential.write(dir, name).map_err(LoadError::file(dir))?;
    }
    Ok(())
}

/// The client's end, for an echo at `endpoint`.
///
/// # Errors
/// When a file can't be read.
pub fn credential(dir: &Path, endpoint: String) -> Result<crate::wire::Credential, LoadError> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).map_err(LoadError::file(&path))
    };
    Ok(crate::wire::Credential {
        endpoint,
        ca_pem: read("ca.pem")?,
        cert_pem: read(&format!("{CLIENT}.pem"))?,
        key_pem: read(&format!("{CLIENT}.key.pem"))?,
    })
}

/// Serves on loopback with the certificates in `dir`, prints the endpoint on stdout, and ends when
/// stdin does.
///
/// # Errors
/// When it can't serve.
pub async fn serve(dir: &Path) -> Result<(), LoadError> {
    let (listener, endpoint) = listen().await?;
    println!("{endpoint}");
    let (over, parent_is_gone) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        // Its parent writes nothing, so this ends with the parent.
        let _ = io::stdin().read(&mut [0]);
        drop(over);
    });
    tokio::select! {
        ended = serve_on(listener, dir) => ended,
        _ = parent_is_gone => Ok(()),
    }
}

/// A free port on loopback, and its address.
async fn listen() -> Result<(TcpListener, String), LoadError> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(LoadError::system("can't listen"))?;
    let address = listener
        .local_addr()
        .map_err(LoadError::system("listener"))?;
    Ok((listener, format!("https://{address}")))
}

async fn serve_on(listener: TcpListener, dir: &Path) -> Result<(), LoadError> {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(dir)?));
    let (ready, connections) = mpsc::channel(limits::CONNECTIONS_READY_MAX);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, ready) = (acceptor.clone(), ready.clone());
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = ready.send(Ok::<_, Infallible>(Stream(stream))).await;
                }
            });
        }
    });
    // As `payvault::api::server` sets them.
    tonic::transport::Server::builder()
        .max_concurrent_streams(limits::CALLS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(limits::HEADER_BYTES_MAX)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(Duration::from_millis(limits::KEEPALIVE_MS)))
        .http2_keepalive_timeout(Some(Duration::from_millis(limits::KEEPALIVE_ANSWER_MS_MAX)))
        .add_service(
            VaultServiceServer::new(Echo::new())
                .max_decoding_message_size(limits::MESSAGE_BYTES_MAX),
        )
        .serve_with_incoming(ReceiverStream::new(connections))
        .await
        .map_err(|error| LoadError::Server(format!("echo: {error}")))
}

/// As `payvault::api::tls` sets it.
fn server_config(dir: &Path) -> Result<ServerConfig, LoadError> {
    let failed = |error: &dyn std::fmt::Display| LoadError::Server(format!("echo: {error}"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(dir.join("ca.pem")).map_err(|e| failed(&e))?)
        .map_err(|e| failed(&e))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| failed(&e))?;
    let chain = vec![
        CertificateDer::from_pem_file(dir.join(format!("{SERVER}.pem"))).map_err(|e| failed(&e))?,
    ];
    let key = PrivateKeyDer::from_pem_file(dir.join(format!("{SERVER}.key.pem")))
        .map_err(|e| failed(&e))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| failed(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| failed(&e))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// tonic asks each connection who it is; this one doesn't say.
struct Stream(TlsStream<TcpStream>);

impl Connected for Stream {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Answers made once; a call costs a copy of one.
struct Echo {
    opened: pb::OpenTransactionResponse,
    tokenized: pb::TokenizeResponse,
    redeemed: pb::RedeemResponse,
    described: pb::DescribeTokenResponse,
}

impl Echo {
    fn new() -> Echo {
        Echo {
            opened: requests::opened(),
            tokenized: requests::tokenized(),
            redeemed: requests::redeemed(),
            described: requests::described(),
        }
    }
}

/// Answers of a stream.
type Answers<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

/// What no load calls.
fn not_measured<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the echo doesn't know this call"))
}

#[tonic::async_trait]
impl VaultService for Echo {
    async fn open_transaction(
        &self,
        _: Request<pb::OpenTransactionRequest>,
    ) -> Result<Response<pb::OpenTransactionResponse>, Status> {
        Ok(Response::new(self.opened.clone()))
    }

    async fn tokenize(
        &self,
        _: Request<pb::TokenizeRequest>,
    ) -> Result<Response<pb::TokenizeResponse>, Status> {
        Ok(Response::new(self.tokenized.clone()))
    }

    async fn redeem(
        &self,
        _: Request<pb::RedeemRequest>,
    ) -> Result<Response<pb::RedeemResponse>, Status> {
        Ok(Response::new(self.redeemed.clone()))
    }

    async fn describe_token(
        &self,
        _: Request<pb::DescribeTokenRequest>,
    ) -> Result<Response<pb::DescribeTokenResponse>, Status> {
        Ok(Response::new(self.described.clone()))
    }

    type TokenizeStreamStream = Answers<pb::TokenizeStreamResponse>;

    async fn tokenize_stream(
        &self,
        request: Request<Streaming<pb::TokenizeStreamRequest>>,
    ) -> Result<Response<Self::TokenizeStreamStream>, Status> {
        use pb::tokenize_result::Outcome;
        let result = pb::TokenizeResult {
            outcome: Some(Outcome::Tokenized(self.tokenized.clone())),
        };
        let answer = move |asked: Result<pb::TokenizeStreamRequest, Status>| {
            Ok(pb::TokenizeStreamResponse {
                results: vec![result.clone(); asked?.items.len()],
            })
        };
        Ok(Response::new(Box::pin(request.into_inner().map(answer))))
    }

    type RedeemStreamStream = Answers<pb::RedeemStreamResponse>;

    async fn redeem_stream(
        &self,
        request: Request<Streaming<pb::RedeemStreamRequest>>,
    ) -> Result<Response<Self::RedeemStreamStream>, Status> {
        use pb::redeem_result::Outcome;
        let result = pb::RedeemResult {
            outcome: Some(Outcome::Redeemed(self.redeemed.clone())),
        };
        let answer = move |asked: Result<pb::RedeemStreamRequest, Status>| {
            Ok(pb::RedeemStreamResponse {
                results: vec![result.clone(); asked?.items.len()],
            })
        };
        Ok(Response::new(Box::pin(request.into_inner().map(answer))))
    }

    async fn get_transaction(
        &self,
        _: Request<pb::GetTransactionRequest>,
    ) -> Result<Response<pb::GetTransactionResponse>, Status> {
        not_measured()
    }

    async fn report_outcome(
        &self,
        _: Request<pb::ReportOutcomeRequest>,
    ) -> Result<Response<pb::ReportOutcomeResponse>, Status> {
        not_measured()
    }

    async fn revoke_token(
        &self,
        _: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        not_measured()
    }

    async fn close_transaction(
        &self,
        _: Request<pb::CloseTransactionRequest>,
    ) -> Result<Response<pb::CloseTransactionResponse>, Status> {
        not_measured()
    }

    async fn get_collect_key(
        &self,
        _: Request<pb::GetCollectKeyRequest>,
    ) -> Result<Response<pb::GetCollectKeyResponse>, Status> {
        not_measured()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Target;
    use crate::drive::{Load, drive};
    use crate::mix::Op;
    use crate::prepare;

    #[tokio::test]
    async fn every_call_is_answered_over_mutual_tls() {
        let dir = tempfile::tempdir().expect("a directory");
        make_certificates(dir.path()).expect("certificates");
        let (listener, endpoint) = listen().await.expect("a port");
        let own = dir.path().to_owned();
        let serving = tokio::spawn(async move { serve_on(listener, &own).await });
        let credential = || credential(dir.path(), endpoint.clone()).expect("a credential");
        let target = Target {
            name: "echo",
            portal: credential(),
            processor: credential(),
            processor_id: "prn_x".into(),
            stock: Arc::new(prepare::made_up()),
            pid: None,
        };
        let mut load = Load {
            mix: "open=1+tokenize=1+redeem=1+describe=1"
                .parse()
                .expect("a mix"),
            rate: None,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(50),
            seed: 1,
            to_the_last: false,
        };
        // Longer, should the machine be busy with other things.
        let measured = loop {
            let callers = target.callers(16, 2).await.expect("callers");
            let measured = drive(callers, &load, None).await;
            assert!(measured.errors.is_empty(), "{:?}", measured.errors);
            let unary = Op::ALL.into_iter().filter(|op| !op.is_stream());
            if unary
                .into_iter()
                .all(|op| !measured.latencies[op as usize].is_empty())
            {
                break measured;
            }
            load.duration *= 2;
        };
        assert!(measured.calls() >= 4);
        for op in Op::ALL.into_iter().filter(|op| op.is_stream()) {
            load.mix = op.as_str().parse().expect("a mix");
            let measured = loop {
                let lanes = target.lanes(op, 256, 2).await.expect("lanes");
                let measured = drive(lanes, &load, None).await;
                assert!(measured.errors.is_empty(), "{:?}", measured.errors);
                if measured.calls() > 0 {
                    break measured;
                }
                load.duration *= 2;
            };
            assert_eq!(measured.latencies[op as usize].len(), measured.calls());
        }

        // Without a certificate of its CA nobody is let in.
        let stranger = tempfile::tempdir().expect("a directory");
        make_certificates(stranger.path()).expect("certificates");
        let mut refused = credential();
        let other = super::credential(stranger.path(), endpoint.clone()).expect("a credential");
        (refused.cert_pem, refused.key_pem) = (other.cert_pem, other.key_pem);
        if let Ok(mut clients) = refused.clients(1).await {
            let asked = crate::requests::open("prn_x");
            assert!(clients[0].open_transaction(asked).await.is_err());
        }
        serving.abort();
    }
}
