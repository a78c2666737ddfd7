//! The client's side of a connection, as thin as it can be: hyper's HTTP/2 over TLS, without the
//! buffers, time-outs and layers of a tonic channel. The client has one core, and what it wastes
//! would hide what the server could do. Vault and echo are called through the same code.

use crate::failure::LoadError;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use payvault::api::proto::vault_service_client::VaultServiceClient;
use payvault::api::tls;
use payvault::limits;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::body::Body;

/// One connection. Clones share it.
#[derive(Clone)]
pub struct Wire(SendRequest<Body>);

/// The vault's daily work over one connection.
pub type Client = VaultServiceClient<Wire>;

/// Who connects where.
pub struct Credential {
    /// `https://127.0.0.1:port`.
    pub endpoint: String,
    /// Who vouches for the server.
    pub ca_pem: String,
    /// The client's certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: String,
}

impl tower::Service<http::Request<Body>> for Wire {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

impl Credential {
    /// One connection.
    ///
    /// # Errors
    /// When nobody answers there, or TLS or HTTP/2 fails.
    pub async fn wire(&self) -> Result<Wire, LoadError> {
        let failed = |error: &dyn std::fmt::Display| LoadError::Connect(error.to_string());
        let config = tls::client_config(&self.ca_pem, &self.cert_pem, &self.key_pem)
            .map_err(|e| failed(&e))?;
        let uri = self.origin()?;
        let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
            return Err(LoadError::Connect(format!("no address: {uri}")));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(&e))?;
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|e| failed(&e))?;
        stream.set_nodelay(true).map_err(|e| failed(&e))?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|e| failed(&e))?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
            .handshake::<_, Body>(TokioIo::new(stream))
            .await
            .map_err(|e| failed(&e))?;
        // Its end shows at the next call.
        tokio::spawn(connection);
        Ok(Wire(sender))
    }

    /// `count` connections, one after the other: the vault bounds an address's handshakes.
    ///
    /// # Errors
    /// As [`Credential::wire`].
    pub async fn clients(&self, count: usize) -> Result<Vec<Client>, LoadError> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(Client::with_origin(self.wire().await?, self.origin()?));
        }
        Ok(clients)
    }

    /// Where requests go.
    ///
    /// # Errors
    /// When the endpoint is no address.
    pub fn origin(&self) -> Result<http::Uri, LoadError> {
        self.endpoint
            .parse()
            .map_err(|_| LoadError::Connect(format!("no address: {}", self.endpoint)))
    }
}
