//! Which vault, as whom, and with how much patience.

use crate::api::retry::Retries;
use crate::clock::Clock;
use crate::ledger::VerifierKey;
use crate::limits;
use crate::secret::SecretText;
use std::time::Duration;

/// Which vault to call, and as whom. No `Debug`: it holds the private key.
pub struct Config {
    /// `https://host:port`.
    pub endpoint: String,
    /// The name that the vault's certificate is made out to, when it isn't the host of `endpoint`.
    pub server_name: Option<String>,
    /// Who vouches for the vault's certificate, in PEM; nobody else is trusted.
    pub ca_pem: String,
    /// Your certificate as an operator enrolled it, then its intermediates, in PEM.
    pub certificate_pem: String,
    /// Its private key, in PEM.
    pub key_pem: SecretText,
    /// The key with which the vault's identity signs collect documents (`payvault keys identity`), and
    /// its successor where one is on its way, for
    /// [`Client::collect_key`](super::Client::collect_key). Have it from the vault's operators.
    pub identities: Vec<VerifierKey>,
    /// What a collect document's time is judged by.
    pub clock: Clock,
    /// How long a call takes at most, repetitions and pauses included.
    pub deadline: Duration,
    /// How long one try waits for its answer, at most [`limits::DEADLINE_MS_MAX`]. A connection on which
    /// nothing at all comes back is given up after three quarters of it.
    pub answer_within: Duration,
    /// How often, and how long apart, a request is sent.
    pub retries: Retries,
}

impl Config {
    /// A configuration with 30 s a call, 10 s a try and at most four tries.
    pub fn new(
        endpoint: impl Into<String>,
        ca_pem: impl Into<String>,
        certificate_pem: impl Into<String>,
        key_pem: SecretText,
    ) -> Config {
        Config {
            endpoint: endpoint.into(),
            server_name: None,
            ca_pem: ca_pem.into(),
            certificate_pem: certificate_pem.into(),
            key_pem,
            identities: Vec::new(),
            clock: Clock::system(),
            deadline: Duration::from_millis(limits::DEADLINE_MS_MAX),
            answer_within: Duration::from_millis(limits::CLIENT_ANSWER_MS),
            retries: Retries::default(),
        }
    }
}
