//! A typed client for portals and processors, over gRPC with mutual TLS 1.3.
//!
//! A call takes types that were read before and gives back types that were read; a token and payment
//! details have no `Debug` and are wiped when they are dropped. (What TLS, HTTP/2 and protobuf copy
//! on the way is theirs: a process that wants it wiped too uses an allocator that does, as
//! `payvault::os` has one.)
//!
//! **Repetition.** What got no answer, and what the vault couldn't do just then, is sent again with
//! the same [`RequestId`], a bounded number of times and within a deadline, with pauses that double
//! and differ by chance, or as long as the vault asks for. What the vault refused is never sent again
//! by itself. When tries or time are used up, or a refusal follows a try whose answer was lost,
//! [`ClientError::Unanswered`] says that it isn't known whether the work was done: keep the request id beside the order, and call again with it.
//!
//! **Errors.** [`ClientError::reason`] is the stable reason of `docs/errors.md`. Decide by that.
//!
//! **Sealed collection.** Where the portal must not see what the customer types, an app or server
//! seals it ([`seal`]) with the vault's collect document ([`Client::collect_key`], verified with a key
//! that was given beforehand), and the portal hands in what it can't read
//! ([`Client::tokenize_sealed`]):
//!
//! ```no_run
//! # use payvault::client::{Client, ClientError, Details, RequestId, Suite, Tokenized, seal};
//! # use payvault::ids::{Site, TransactionId};
//! # async fn collect(
//! #     portal: Client, site: Site, transaction: TransactionId, details: Details,
//! # ) -> Result<Tokenized, ClientError> {
//! // The portal's, with Config::identities set; its text goes to the app.
//! let note = portal.collect_key().await?;
//! // The app's, once it has verified the text.
//! let sealed = seal(&note.document, site, transaction, &details, Suite::XWing)?;
//! // The portal's again.
//! portal.tokenize_sealed(&RequestId::random(), transaction, &sealed, None).await
//! # }
//! ```
//!
//! A portal takes a card, and a processor gets it back for what the terms say:
//!
//! ```no_run
//! use payvault::client::{
//!     Card, Client, ClientError, Config, Details, Expiry, Field, Grant, Outcome, Party, Purpose,
//!     RequestId, Terms,
//! };
//! use payvault::clock::{Clock, DAY_MS};
//! use payvault::ids::{PrincipalId, Site};
//!
//! # fn config(_: &str) -> Config { unimplemented!() }
//! # async fn road(processor_id: PrincipalId) -> Result<(), Box<dyn std::error::Error>> {
//! // Config::new("https://vault.example:7843", ca_pem, certificate_pem, key_pem)
//! let portal = Client::connect(config("portal")).await?;
//! let now = Clock::system().now();
//! let party = Party {
//!     principal: processor_id,
//!     grants: vec![Grant {
//!         purpose: Purpose::Authorize,
//!         fields: [Field::Number, Field::Expiry, Field::SecurityCode].into_iter().collect(),
//!         uses_max: 1,
//!     }],
//! };
//! let (until, release) = (now.plus_ms(DAY_MS), now.plus_ms(7 * DAY_MS));
//! let terms = Terms::new(Site::parse("nl")?, vec![party], until, release);
//! let opened = portal.open_transaction(&RequestId::random(), &terms).await?;
//!
//! let card = Details::Card(Card {
//!     number: "4242 4242 4242 4242".into(),
//!     expiry: Some(Expiry { year: 2031, month: 12 }),
//!     security_code: "123".into(),
//!     ..Card::default()
//! });
//! let request = RequestId::random(); // kept beside the order until the token is
//! let made = portal.tokenize(&request, opened.transaction, &card, None).await?;
//! println!("paid with {}", made.details.masked_number);
//!
//! let processor = Client::connect(config("processor")).await?;
//! let fields = [Field::Number, Field::Expiry, Field::SecurityCode].into_iter().collect();
//! let request = RequestId::random();
//! let (transaction, token) = (opened.transaction, &made.token);
//! match processor.redeem(&request, transaction, token, Purpose::Authorize, fields).await {
//!     Ok(redeemed) => {
//!         let Details::Card(card) = &redeemed.details else { return Ok(()) };
//!         // … ask the issuer, with card.number.expose() …
//!         let request = RequestId::random();
//!         let outcome = Outcome::Succeeded;
//!         processor.report_outcome(&request, transaction, token, outcome, "auth-7").await?;
//!     }
//!     Err(error) if error.reason() == Some("USED_UP") => println!("somebody was here before"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```

mod answers;
mod collect;
mod config;
mod details;
mod error;
mod request_id;
mod terms;

pub use crate::api::client::ConnectError;
pub use crate::api::refused::Refused;
pub use crate::api::retry::Retries;
pub use crate::api::tls::TlsError;
pub use crate::keys::Suite;
pub use crate::ledger::VerifierKey;
pub use crate::payment::{Assurance, DetailsKind, Expiry, ExpiryState, Token, UsAccountType};
pub use crate::policy::{Amount, Field, FieldSet, Grant, Party, Purpose};
pub use crate::vault::command::WorkResult as Outcome;
pub use crate::vault::{CollectDocument, DocumentError};
pub use answers::{
    Closed, CodeStatus, Described, Fingerprint, MaskedDetails, Opened, Redeemed, Reported,
    Tokenized,
};
pub use collect::{CollectNote, seal, seal_at};
pub use config::Config;
pub use details::{Card, Details, DkAccount, Giro, Iban, SeAccount, UkAccount, UsAccount};
pub use error::ClientError;
pub use request_id::RequestId;
pub use terms::Terms;

use crate::api::proto as pb;
use crate::api::proto::vault_service_client::VaultServiceClient;
use crate::api::retry::repeat;
use crate::api::{client, tls};
use crate::ids::TransactionId;
use crate::limits;
use collect::Collecting;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// One caller's connection to a vault. Cloning shares it; it is made anew by itself when it was lost or
/// has fallen silent.
#[derive(Clone)]
pub struct Client {
    vault: VaultServiceClient<Channel>,
    patience: Arc<Patience>,
    collecting: Arc<Collecting>,
}

/// How long a call waits, and how often it tries.
struct Patience {
    deadline: Duration,
    answer_within: Duration,
    retries: Retries,
}

impl Client {
    /// Connects. In TLS 1.3 a server judges the client's certificate last: whether the vault knows it
    /// shows at the first call.
    ///
    /// # Errors
    /// When a text of the configuration is unusable, or nobody answers whom its CA vouches for.
    pub async fn connect(config: Config) -> Result<Client, ClientError> {
        let key_pem = config.key_pem.expose();
        let tls = tls::client_config(&config.ca_pem, &config.certificate_pem, key_pem)?;
        let bound = Duration::from_millis(limits::DEADLINE_MS_MAX);
        let answer_within = config.answer_within.min(bound);
        // Given up before the try is, so that the next one has a connection that works.
        let silence = answer_within.mul_f64(0.75);
        let (at, name) = (&config.endpoint, config.server_name.as_deref());
        let channel = client::connect_watched(at, name, silence, tls).await?;
        Ok(Client {
            vault: VaultServiceClient::new(channel),
            patience: Arc::new(Patience {
                deadline: config.deadline,
                answer_within,
                retries: config.retries,
            }),
            collecting: Arc::new(Collecting::new(config.identities, config.clock)),
        })
    }

    /// Opens a transaction (a portal of the site).
    ///
    /// # Errors
    /// `TERMS_NOT_ALLOWED` when the allow-list doesn't cover the terms; else as any call.
    pub async fn open_transaction(
        &self,
        request: &RequestId,
        terms: &Terms,
    ) -> Result<Opened, ClientError> {
        let message = || pb::OpenTransactionRequest {
            request_id: request.message(),
            terms: Some(terms.message()),
            want_receipt: false,
        };
        let call = |mut vault: Vault, message| async move { vault.open_transaction(message).await };
        Opened::read(&self.patiently(message, call).await?)
    }

    /// Swaps payment details for a token of the transaction (its portal). With `replaces`, that token
    /// of the same transaction is revoked in the same step.
    ///
    /// # Errors
    /// `INVALID_REQUEST` names the fields of the details that are wrong; `EXPIRED`, `CLOSED`,
    /// `TOO_MANY_TOKENS`, `NOT_TIED`; else as any call.
    pub async fn tokenize(
        &self,
        request: &RequestId,
        transaction: TransactionId,
        details: &Details,
        replaces: Option<&Token>,
    ) -> Result<Tokenized, ClientError> {
        let message = || pb::TokenizeRequest {
            details: Some(details.message()),
            ..handing_in(request, transaction, replaces)
        };
        self.swap(message).await
    }

    /// As [`Client::tokenize`], with details that were sealed elsewhere ("pvc1.…"): by a browser, or
    /// by an app that has the collect document.
    ///
    /// # Errors
    /// `SEALED_DETAILS_REFUSED` when they are another transaction's, were used before, are past their
    /// time or damaged; else as [`Client::tokenize`].
    pub async fn tokenize_sealed(
        &self,
        request: &RequestId,
        transaction: TransactionId,
        sealed: &str,
        replaces: Option<&Token>,
    ) -> Result<Tokenized, ClientError> {
        let message = || pb::TokenizeRequest {
            sealed_details: sealed.to_owned(),
            ..handing_in(request, transaction, replaces)
        };
        self.swap(message).await
    }

    async fn swap(
        &self,
        message: impl Fn() -> pb::TokenizeRequest,
    ) -> Result<Tokenized, ClientError> {
        let call = |mut vault: Vault, message| async move { vault.tokenize(message).await };
        Tokenized::read(self.patiently(message, call).await?)
    }

    /// Gets back the fields that a purpose needs (a processor that the terms name).
    ///
    /// # Errors
    /// `NOT_TIED` to whoever the terms don't name; `PURPOSE_NOT_GRANTED`, `FIELD_NOT_GRANTED`,
    /// `EXPIRED`, `USED_UP`, `CLOSED`, `REVOKED`; else as any call.
    pub async fn redeem(
        &self,
        request: &RequestId,
        transaction: TransactionId,
        token: &Token,
        purpose: Purpose,
        fields: FieldSet,
    ) -> Result<Redeemed, ClientError> {
        let message = || pb::RedeemRequest {
            request_id: request.message(),
            transaction: transaction.to_string(),
            token: token.to_text().expose().to_owned(),
            purpose: purpose as i32,
            fields: fields.iter().map(|field| field as i32).collect(),
            want_receipt: false,
        };
        let call = |mut vault: Vault, message| async move { vault.redeem(message).await };
        Redeemed::read(self.patiently(message, call).await?)
    }

    /// Ties the processor's result and its own reference (1 to 64 printable ASCII characters, no card
    /// number) to the transaction.
    ///
    /// # Errors
    /// As [`Client::redeem`].
    pub async fn report_outcome(
        &self,
        request: &RequestId,
        transaction: TransactionId,
        token: &Token,
        outcome: Outcome,
        processor_reference: &str,
    ) -> Result<Reported, ClientError> {
        let message = || pb::ReportOutcomeRequest {
            request_id: request.message(),
            transaction: transaction.to_string(),
            token: token.to_text().expose().to_owned(),
            outcome: outcome as i32,
            processor_reference: processor_reference.to_owned(),
        };
        let call = |mut vault: Vault, message| async move { vault.report_outcome(message).await };
        let answer = self.patiently(message, call).await?;
        Ok(Reported {
            entry_index: answer.entry_index,
            replayed: answer.replayed,
        })
    }

    /// Says what stands behind a token, masked (its portal, or a named party).
    ///
    /// # Errors
    /// `NOT_TIED`; else as any call.
    pub async fn describe(
        &self,
        transaction: TransactionId,
        token: &Token,
    ) -> Result<Described, ClientError> {
        let message = || pb::DescribeTokenRequest {
            transaction: transaction.to_string(),
            token: token.to_text().expose().to_owned(),
        };
        let call = |mut vault: Vault, message| async move { vault.describe_token(message).await };
        Described::read(self.patiently(message, call).await?)
    }

    /// Ends a token (its portal); returns the index of the ledger entry.
    ///
    /// # Errors
    /// `NOT_TIED`; else as any call. Revoking a revoked token succeeds.
    pub async fn revoke(
        &self,
        transaction: TransactionId,
        token: &Token,
    ) -> Result<u64, ClientError> {
        let message = || pb::RevokeTokenRequest {
            transaction: transaction.to_string(),
            token: token.to_text().expose().to_owned(),
        };
        let call = |mut vault: Vault, message| async move { vault.revoke_token(message).await };
        Ok(self.patiently(message, call).await?.entry_index)
    }

    /// Ends a transaction (its portal): nothing is released any more.
    ///
    /// # Errors
    /// `NOT_TIED`; else as any call. Closing a closed transaction succeeds.
    pub async fn close(&self, transaction: TransactionId) -> Result<Closed, ClientError> {
        let message = || pb::CloseTransactionRequest {
            transaction: transaction.to_string(),
        };
        let call =
            |mut vault: Vault, message| async move { vault.close_transaction(message).await };
        Closed::read(&self.patiently(message, call).await?)
    }

    /// Makes the message for each try and sends it, for as long as it may be sent again.
    async fn patiently<Q, A, F>(
        &self,
        message: impl Fn() -> Q,
        call: impl Fn(Vault, Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let Patience {
            deadline,
            answer_within,
            retries,
        } = &*self.patience;
        let sent = repeat(retries, *answer_within, *deadline, |within| {
            let mut request = Request::new(message());
            // The vault stops waiting when we do.
            request.set_timeout(within);
            call(self.vault.clone(), request)
        });
        Ok(sent.await?)
    }
}

type Vault = VaultServiceClient<Channel>;

/// `Tokenize` without the details.
fn handing_in(
    request: &RequestId,
    transaction: TransactionId,
    replaces: Option<&Token>,
) -> pb::TokenizeRequest {
    pb::TokenizeRequest {
        request_id: request.message(),
        transaction: transaction.to_string(),
        details: None,
        replaces: replaces.map_or_else(String::new, |token| token.to_text().expose().to_owned()),
        want_receipt: false,
        sealed_details: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::assert_lacks;

    #[test]
    fn secrets_can_be_neither_printed_nor_copied_by_accident() {
        assert_lacks!(std::fmt::Debug: Config, RequestId, Details, Card, Iban, UsAccount, UkAccount, SeAccount, Giro, DkAccount, Tokenized, Redeemed, Described, Fingerprint);
        assert_lacks!(std::fmt::Display: RequestId, Details, Card, Tokenized, Redeemed, Fingerprint);
        assert_lacks!(Clone: Config, RequestId, Details, Card, Iban, UsAccount, UkAccount, SeAccount, Giro, DkAccount, Tokenized, Redeemed);
    }

    #[test]
    fn a_request_id_that_was_kept_has_16_to_32_bytes() {
        let kept = RequestId::random();
        let read = RequestId::from_bytes(kept.as_bytes());
        assert!(read.is_ok_and(|read| read.as_bytes() == kept.as_bytes()));
        assert!(RequestId::from_bytes(&[7; 32]).is_ok());
        for length in [0, 15, 33] {
            let read = RequestId::from_bytes(&vec![7; length]);
            assert!(matches!(read, Err(ClientError::RequestId)), "{length}");
        }
    }
}
