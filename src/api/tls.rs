//! TLS for both ends: version 1.3 only, client certificates always, nothing resumed and nothing
//! sent early (a resumed session would skip the look at the certificate). Keys and certificates
//! come from files and can be read anew while serving.

use super::identity::{ClientCas, ClientCasError, provider};
use crate::clock::{Clock, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime, pem,
};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use zeroize::Zeroizing;

/// The protocol that gRPC needs, as it is named in the handshake (RFC 7301).
pub(super) const ALPN_H2: &[u8] = b"h2";

/// Where the server's certificate and the trust in clients come from. All PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// The server's certificate, then its intermediates.
    pub cert: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
    /// CA certificates for clients, one or more a file.
    pub client_ca: Vec<PathBuf>,
    /// Revocation lists; when there is any, every client CA needs one, and one that is past its
    /// `nextUpdate` lets no client of that CA in.
    pub crl: Vec<PathBuf>,
}

/// Why TLS can't be set up. Every variant names the configuration key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{key}: can't read {path}: {cause}", path = path.display())]
    Unreadable {
        /// The configuration key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// A file doesn't hold what it should.
    #[error("{key}: {path} holds no PEM {wanted}", path = path.display())]
    NotPem {
        /// The configuration key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// Client CAs and revocation lists don't fit together.
    #[error("tls.client_ca, tls.crl: {0}")]
    ClientCas(#[from] ClientCasError),
    /// The server's certificate can't be used with its key.
    #[error("tls.cert, tls.key: certificate and key can't be used together: {0}")]
    Credential(rustls::Error),
    /// PEM given as text (not as a file) doesn't hold what it should.
    #[error("the {0} is not PEM")]
    Text(&'static str),
    /// The client side can't be set up.
    #[error("client certificate, key or CA can't be used: {0}")]
    Client(rustls::Error),
}

/// What handshakes are judged by from one reload to the next.
pub(super) struct Trust {
    pub(super) config: Arc<ServerConfig>,
    pub(super) cas: Arc<ClientCas>,
}

/// The server's side of TLS, reloadable.
pub struct Tls {
    files: TlsFiles,
    clock: Clock,
    // A watch, so that connections made under an older trust hear of the new one and are judged
    // again.
    trust: watch::Sender<Arc<Trust>>,
}

impl Tls {
    /// Reads the files. Certificates are judged by `clock`.
    ///
    /// # Errors
    /// When a file is missing or unusable; the message names the key and the file.
    pub fn load(files: TlsFiles, clock: Clock) -> Result<Tls, TlsError> {
        let trust = read_trust(&files, &clock)?;
        Ok(Tls {
            files,
            clock,
            trust: watch::Sender::new(Arc::new(trust)),
        })
    }

    /// Reads the files again (on SIGHUP). New handshakes use what they say; connections that are
    /// open are judged by it too, and cut when they would be refused now. Blocks on file reads.
    ///
    /// # Errors
    /// As [`Tls::load`]; everything then stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let trust = read_trust(&self.files, &self.clock)?;
        self.trust.send_replace(Arc::new(trust));
        Ok(())
    }

    /// The client CAs of this moment, for enrolling.
    pub fn client_cas(&self) -> Arc<ClientCas> {
        self.trust.borrow().cas.clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<Trust>> {
        self.trust.subscribe()
    }
}

/// Client CAs from files, as [`Tls::load`] would read them; for `init`, before a server exists.
///
/// # Errors
/// As [`Tls::load`].
pub fn read_client_cas(client_ca: &[PathBuf], crl: &[PathBuf]) -> Result<ClientCas, TlsError> {
    let mut certificates = Vec::new();
    for path in client_ca {
        certificates.extend(read_certificates("tls.client_ca", path)?);
    }
    let mut lists = Vec::new();
    for path in crl {
        let bytes = read("tls.crl", path)?;
        lists.extend(all_pem::<CertificateRevocationListDer<'static>>(
            "tls.crl",
            path,
            &bytes,
            "revocation list",
        )?);
    }
    Ok(ClientCas::new(&certificates, &lists)?)
}

/// What a client needs to call a vault: trust in the server's CA, and its own certificate.
///
/// # Errors
/// When a text is not PEM, or certificate and key don't belong together.
pub fn client_config(
    ca_pem: &str,
    cert_pem: &str,
    key_pem: &str,
) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|_| TlsError::Text("CA certificate"))?;
        roots.add(certificate).map_err(TlsError::Client)?;
    }
    if roots.is_empty() {
        return Err(TlsError::Text("CA certificate"));
    }
    let certificates = CertificateDer::pem_slice_iter(cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::Text("client certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| TlsError::Text("client key"))?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Client)?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates, key)
        .map_err(TlsError::Client)?;
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(config)
}

fn read_trust(files: &TlsFiles, clock: &Clock) -> Result<Trust, TlsError> {
    let cas = Arc::new(read_client_cas(&files.client_ca, &files.crl)?);
    let chain = read_certificates("tls.cert", &files.cert)?;
    let key_bytes = read("tls.key", &files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key_bytes).map_err(|_| TlsError::NotPem {
        key: "tls.key",
        path: files.key.clone(),
        wanted: "private key",
    })?;
    let mut config =
        ServerConfig::builder_with_details(provider(), Arc::new(VaultTime(clock.clone())))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Credential)?
            .with_client_cert_verifier(cas.clone())
            .with_single_cert(chain, key)
            .map_err(TlsError::Credential)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(Trust {
        config: Arc::new(config),
        cas,
    })
}

fn read_certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(key, path)?;
    all_pem(key, path, &bytes, "certificate")
}

fn all_pem<T: PemObject>(
    key: &'static str,
    path: &Path,
    bytes: &[u8],
    wanted: &'static str,
) -> Result<Vec<T>, TlsError> {
    let found: Result<Vec<T>, pem::Error> = T::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::NotPem {
            key,
            path: path.to_owned(),
            wanted,
        }),
    }
}

fn read(key: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|cause| TlsError::Unreadable {
            key,
            path: path.to_owned(),
            cause,
        })
}

/// rustls asks the vault's clock, not the operating system.
struct VaultTime(Clock);

impl fmt::Debug for VaultTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultTime")
    }
}

impl TimeProvider for VaultTime {
    fn current_time(&self) -> Option<UnixTime> {
        let Timestamp(ms) = self.0.now();
        Some(UnixTime::since_unix_epoch(Duration::from_millis(ms)))
    }
}
