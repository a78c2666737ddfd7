//! A caller's side of the contract: the four services over one connection, a session for people,
//! and repetition of what may safely be repeated.

use super::error::CliError;
use crate::api::proto;
use crate::api::proto::admin_service_client::AdminServiceClient;
use crate::api::proto::ledger_service_client::LedgerServiceClient;
use crate::api::proto::session_service_client::SessionServiceClient;
use crate::api::proto::vault_service_client::VaultServiceClient;
use crate::api::retry::{Retries, repeat};
use crate::api::{client, tls};
use crate::limits;
use crate::secret::SecretText;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A connection that adds the session to each call.
pub type Wire = InterceptedService<Channel, WithSession>;

/// One caller's connection to a vault. Cloning shares connection and session.
#[derive(Clone)]
pub struct Client {
    /// The vault's daily work.
    pub vault: VaultServiceClient<Wire>,
    /// The ledger.
    pub ledger: LedgerServiceClient<Wire>,
    /// Login and logout.
    pub session: SessionServiceClient<Wire>,
    /// Administration.
    pub admin: AdminServiceClient<Wire>,
    held: WithSession,
}

/// Adds `authorization: Bearer …` while there is a session. No `Debug`: it holds the session.
#[derive(Clone, Default)]
pub struct WithSession {
    header: Arc<RwLock<Option<MetadataValue<Ascii>>>>,
}

impl Interceptor for WithSession {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let header = self.header.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(header) = header.as_ref() {
            request
                .metadata_mut()
                .insert("authorization", header.clone());
        }
        Ok(request)
    }
}

impl WithSession {
    fn set(&self, header: Option<MetadataValue<Ascii>>) {
        *self.header.write().unwrap_or_else(PoisonError::into_inner) = header;
    }

    fn is_set(&self) -> bool {
        let header = self.header.read().unwrap_or_else(PoisonError::into_inner);
        header.is_some()
    }
}

impl Client {
    /// Connects with a certificate.
    ///
    /// # Errors
    /// When the texts are unusable, or nobody answers whom `ca_pem` vouches for.
    pub async fn connect(
        endpoint: &str,
        ca_pem: &str,
        cert_pem: &str,
        key_pem: &SecretText,
    ) -> Result<Client, CliError> {
        let config = tls::client_config(ca_pem, cert_pem, key_pem.expose())?;
        let channel = client::connect(endpoint, config).await?;
        let held = WithSession::default();
        let wire = || InterceptedService::new(channel.clone(), held.clone());
        Ok(Client {
            vault: VaultServiceClient::new(wire()),
            ledger: LedgerServiceClient::new(wire()),
            session: SessionServiceClient::new(wire()),
            admin: AdminServiceClient::new(wire()),
            held,
        })
    }

    /// Swaps a secret for a session; calls carry it from now on.
    ///
    /// # Errors
    /// What the vault says.
    pub async fn login(&mut self, secret: &SecretText) -> Result<(), CliError> {
        let request = proto::LoginRequest {
            secret: secret.expose().to_owned(),
        };
        let session = self.session.login(request).await?.into_inner().session;
        let mut header: MetadataValue<Ascii> = format!("Bearer {session}")
            .parse()
            .map_err(|_| CliError::Failed("the vault sent a session that isn't text".into()))?;
        header.set_sensitive(true);
        self.held.set(Some(header));
        Ok(())
    }

    /// Ends the session, if there is one. A failure is of no interest: it ends by itself.
    pub async fn logout(&mut self) {
        if self.held.is_set() {
            let _ = self.session.logout(proto::LogoutRequest {}).await;
            self.held.set(None);
        }
    }
}

/// A random request id of 128 bits.
pub fn request_id() -> Vec<u8> {
    crate::ids::random::<16>().to_vec()
}

/// A person waits: not for long.
const RETRIES: Retries = Retries {
    tries_max: 3,
    pause: Duration::from_millis(400),
    pause_max: Duration::from_millis(1_200),
};

/// Sends a request, and sends the very same one again when no answer came or the vault couldn't
/// just then. Only for calls that the contract calls safe to retry: the request id makes what
/// succeeded before not be done again.
///
/// # Errors
/// What the vault said last.
pub async fn patiently<Q, A, F>(request: Q, mut send: impl FnMut(Q) -> F) -> Result<A, CliError>
where
    Q: Clone,
    F: Future<Output = Result<tonic::Response<A>, Status>>,
{
    let within = Duration::from_millis(limits::DEADLINE_MS_MAX);
    Ok(repeat(&RETRIES, within, within, |_| send(request.clone())).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_travels_in_a_sensitive_header() {
        let mut held = WithSession::default();
        let mut header: MetadataValue<Ascii> = "Bearer x".parse().unwrap();
        header.set_sensitive(true);
        held.set(Some(header));
        let request = held.call(Request::new(())).unwrap();
        let sent = request.metadata().get("authorization").unwrap();
        assert!(sent.is_sensitive());
        assert!(!format!("{sent:?}").contains("Bearer"));
    }
}
