//! The client's side of a connection, for the command line, the demonstration and tests: tonic
//! over our own TLS, since tonic's own has no say in versions and groups.

use super::tls::ALPN_H2;
use crate::limits;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Why a vault can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address isn't `https://host:port`.
    #[error("not an address of the form https://host:port: {0}")]
    Address(String),
    /// No certificate can be made out to this name.
    #[error("not the name of a host: {0}")]
    ServerName(String),
    /// No connection, or no TLS.
    #[error("can't connect: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Connects to `https://host:port`. In TLS 1.3 the server judges the client's certificate after
/// the client is done: a refusal shows at the first call.
///
/// # Errors
/// When the address is no such address, or nobody answers there with a certificate that `config`
/// trusts.
pub async fn connect(address: &str, config: ClientConfig) -> Result<Channel, ConnectError> {
    let (endpoint, host, port) = parse(address)?;
    reach(endpoint, host.clone(), port, &host, config).await
}

/// As [`connect`], for programs that stay. Where calls wait and nothing comes back for as long as
/// `silence`, not even a sign of life, the connection is given up and the next call makes another. The
/// vault's certificate is made out to `server_name`, where that isn't the host of the address.
///
/// # Errors
/// As [`connect`], and when the name is no host's.
pub async fn connect_watched(
    address: &str,
    server_name: Option<&str>,
    silence: Duration,
    config: ClientConfig,
) -> Result<Channel, ConnectError> {
    let (endpoint, host, port) = parse(address)?;
    // Half of it until a sign is asked for, half of it to wait for one.
    let endpoint = endpoint
        .http2_keep_alive_interval(silence / 2)
        .keep_alive_timeout(silence / 2);
    let named = server_name.unwrap_or(&host).to_owned();
    reach(endpoint, host, port, &named, config).await
}

async fn reach(
    endpoint: Endpoint,
    host: String,
    port: u16,
    named: &str,
    config: ClientConfig,
) -> Result<Channel, ConnectError> {
    let name = ServerName::try_from(named.to_owned())
        .map_err(|_| ConnectError::ServerName(named.to_owned()))?;
    let config = Arc::new(config);
    let connector = service_fn(move |_: Uri| {
        let (config, host, name) = (config.clone(), host.clone(), name.clone());
        async move { Ok::<_, io::Error>(TokioIo::new(open(&host, port, name, config).await?)) }
    });
    Ok(endpoint.connect_with_connector(connector).await?)
}

async fn open(
    host: &str,
    port: u16,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
        return Err(io::Error::other("the server does not speak HTTP/2"));
    }
    Ok(stream)
}

fn parse(address: &str) -> Result<(Endpoint, String, u16), ConnectError> {
    let refused = || ConnectError::Address(address.to_owned());
    let uri: Uri = address.parse().map_err(|_| refused())?;
    let plain = uri.scheme_str() == Some("https") && matches!(uri.path(), "" | "/");
    let (Some(host), Some(port), true) = (uri.host(), uri.port_u16(), plain) else {
        return Err(refused());
    };
    // An IPv6 address stands in brackets in an address, and without them everywhere else.
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let endpoint = Endpoint::from(uri)
        .connect_timeout(Duration::from_millis(limits::HANDSHAKE_MS_MAX))
        .timeout(Duration::from_millis(limits::DEADLINE_MS_MAX));
    Ok((endpoint, host, port))
}
