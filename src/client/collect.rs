//! Sealed collection: the vault's collect document, verified and kept, and sealing with it.

use super::details::Details;
use super::error::ClientError;
use super::{Client, Vault};
use crate::api::details_json;
use crate::api::proto as pb;
use crate::clock::{Clock, DAY_MS, Timestamp};
use crate::ids::{Site, TransactionId};
use crate::keys::{SealError, Suite};
use crate::ledger::{NoteFault, VerifierKey};
use crate::limits;
use crate::vault::{CollectDocument, DocumentError};
use std::sync::Arc;
use tokio::sync::Mutex;

/// A collect document that was verified.
#[derive(Debug, Clone)]
pub struct CollectNote {
    /// As the vault signed it: hand it on to browsers and apps as it is. They verify it themselves.
    pub text: String,
    /// What it says.
    pub document: CollectDocument,
}

/// Where the client keeps the day's document.
pub(super) struct Collecting {
    /// Who may sign it. Never learnt from the vault's answer.
    identities: Vec<VerifierKey>,
    clock: Clock,
    held: Mutex<Option<Held>>,
}

struct Held {
    note: Arc<CollectNote>,
    not_before: Timestamp,
    /// Monotonic.
    fetched_ms: u64,
}

impl Collecting {
    pub(super) fn new(identities: Vec<VerifierKey>, clock: Clock) -> Collecting {
        Collecting {
            identities,
            clock,
            held: Mutex::new(None),
        }
    }

    /// The document, signed by one of the keys that were given.
    fn verified(&self, text: &str) -> Result<CollectDocument, ClientError> {
        let mut last = ClientError::NoIdentity;
        for identity in &self.identities {
            match CollectDocument::open(text, identity, self.clock.now()) {
                Ok(document) => return Ok(document),
                Err(error @ DocumentError::Note(NoteFault::NoKnownSignature)) => {
                    last = error.into();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(last)
    }
}

impl Held {
    /// Whether it needn't be fetched anew: an hour long, and on its own day only.
    fn is_fresh(&self, clock: &Clock) -> bool {
        let age_ms = clock.monotonic_ms().saturating_sub(self.fetched_ms);
        let own_day = clock.now() < self.not_before.plus_ms(DAY_MS);
        age_ms < limits::CLIENT_COLLECT_MS_MAX && own_day
    }

    fn is_good(&self, clock: &Clock) -> bool {
        clock.now() < self.note.document.not_after()
    }
}

impl Client {
    /// Today's collect document, verified with the vault's identity key of the configuration. It is
    /// kept, and fetched anew every hour and on the next day; when the vault can't be asked just then,
    /// the one that was kept serves as long as it is good.
    ///
    /// # Errors
    /// [`ClientError::Document`] when what the vault gave is not signed by that key, another vault's, or
    /// out of date; [`ClientError::NoIdentity`]; else as any call.
    pub async fn collect_key(&self) -> Result<Arc<CollectNote>, ClientError> {
        let collecting = &self.collecting;
        if collecting.identities.is_empty() {
            return Err(ClientError::NoIdentity);
        }
        // Held while it is fetched, so that many callers fetch once.
        let mut held = collecting.held.lock().await;
        if let Some(held) = held
            .as_ref()
            .filter(|held| held.is_fresh(&collecting.clock))
        {
            return Ok(Arc::clone(&held.note));
        }
        let call = |mut vault: Vault, message| async move { vault.get_collect_key(message).await };
        let message = || pb::GetCollectKeyRequest {};
        let text = match self.patiently(message, call).await {
            Ok(answer) => answer.document,
            Err(error) => {
                let kept = held.as_ref().filter(|_| error.passes());
                let good = kept.filter(|held| held.is_good(&collecting.clock));
                return good.map(|held| Arc::clone(&held.note)).ok_or(error);
            }
        };
        let document = collecting.verified(&text)?;
        let not_before = document.not_before();
        let note = Arc::new(CollectNote { text, document });
        *held = Some(Held {
            note: Arc::clone(&note),
            not_before,
            fetched_ms: collecting.clock.monotonic_ms(),
        });
        Ok(note)
    }
}

/// Seals details for a transaction of a site: what a browser does, for servers and apps. The text
/// ("pvc1.…") opens in that vault for that transaction, once; it may go through hands that must not see
/// what is inside, and ends in [`Client::tokenize_sealed`]. The details are checked when they are
/// opened, not here.
///
/// # Errors
/// [`ClientError::Document`] when the document's time is over, it has no key of the suite, or the
/// details are longer than any that the vault takes.
pub fn seal(
    document: &CollectDocument,
    site: Site,
    transaction: TransactionId,
    details: &Details,
    suite: Suite,
) -> Result<String, ClientError> {
    let now = Clock::system().now();
    seal_at(document, site, transaction, details, suite, now)
}

/// As [`seal`], for whoever has the time from elsewhere.
///
/// # Errors
/// As [`seal`].
pub fn seal_at(
    document: &CollectDocument,
    site: Site,
    transaction: TransactionId,
    details: &Details,
    suite: Suite,
    now: Timestamp,
) -> Result<String, ClientError> {
    let too_long = DocumentError::Seal(SealError::TooLong);
    let json = details_json::write(&details.message()).ok_or(too_long)?;
    Ok(document.seal(suite, site, transaction, &json, now)?)
}
