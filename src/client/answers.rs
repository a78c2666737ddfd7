//! What the vault answers, in types of ours. Secrets leave their message here, into types that are
//! wiped.

use super::details::Details;
use super::error::ClientError;
use crate::api::proto as pb;
use crate::clock::Timestamp;
use crate::ids::{TokenReference, TransactionId};
use crate::payment::{Assurance, DetailsKind, ExpiryState, Token};
use crate::policy::Purpose;
use crate::secret::SecretText;
pub use crate::vault::command::CodeStatus;

/// An opened transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The transaction.
    pub transaction: TransactionId,
    /// Index of the ledger entry.
    pub entry_index: u64,
}

/// Details that were swapped for a token. No `Debug`: it holds the token.
pub struct Tokenized {
    /// The token: the only thing that opens the record, and the vault doesn't keep it. Store
    /// [`Token::to_text`]; treat it as a secret.
    pub token: Token,
    /// Its name in the ledger; not secret.
    pub reference: TokenReference,
    /// What may be shown to the customer.
    pub details: MaskedDetails,
    /// Index of the ledger entry.
    pub entry_index: u64,
    /// Whether this repeats an earlier success of the same request id.
    pub replayed: bool,
    /// The number's fingerprint, where the site's configuration turns it on.
    pub fingerprint: Option<Fingerprint>,
}

/// Released fields. No `Debug`: it holds them.
pub struct Redeemed {
    /// The fields that were asked for; every other one is empty.
    pub details: Details,
    /// The number's last four characters, when they or the number were asked for; else empty.
    pub last_four: SecretText,
    /// What became of the security code.
    pub security_code: CodeStatus,
    /// Redemptions that are left to the caller for this token and purpose.
    pub uses_remaining: u32,
    /// Index of the ledger entry.
    pub entry_index: u64,
    /// Whether this repeats an earlier success of the same request id: then no use was burned.
    pub replayed: bool,
}

/// A reported outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// Index of the ledger entry.
    pub entry_index: u64,
    /// Whether this repeats an earlier success of the same request id.
    pub replayed: bool,
}

/// What stands behind a token. No `Debug`: a fingerprint goes into no log.
pub struct Described {
    /// What may be shown.
    pub details: MaskedDetails,
    /// Its name in the ledger.
    pub reference: TokenReference,
    /// Whether it was revoked or replaced.
    pub revoked: bool,
    /// Whether its transaction is closed.
    pub closed: bool,
    /// The last redemption is possible until then.
    pub release_until: Timestamp,
    /// For a party: redemptions that are left, for each purpose that it was granted.
    pub uses_remaining: Vec<(Purpose, u32)>,
    /// For the portal: the number's fingerprint, where the site's configuration turns it on.
    pub fingerprint: Option<Fingerprint>,
}

/// A closed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Index of the ledger entry.
    pub entry_index: u64,
    /// From then on nobody can read what the transaction kept, backups included.
    pub unreadable_after: Timestamp,
}

/// What may be shown of an instrument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedDetails {
    /// The kind of instrument.
    pub kind: DetailsKind,
    /// For example "411111******1111" or "NL91 **** **** **43 00".
    pub masked_number: String,
    /// Brand of a card as advice, such as "visa"; empty when unknown or not a card.
    pub brand: String,
    /// ISO 3166 country of a bank account; empty for a card.
    pub country: String,
    /// Code or number of the bank, where it may be shown; else empty.
    pub bank: String,
    /// Where a card stands in its time.
    pub expiry: Option<ExpiryState>,
    /// How much is known of the number.
    pub assurance: Assurance,
}

/// What tells that two tokens of a site stand for the same number. No `Debug`: beside a masked number
/// it says more than either alone.
pub struct Fingerprint {
    /// "fpr_" and 64 letters.
    pub value: String,
    /// Generation of the site's key: fingerprints of different ones can't be compared.
    pub generation: u32,
}

impl Opened {
    pub(super) fn read(answer: &pb::OpenTransactionResponse) -> Result<Opened, ClientError> {
        let transaction = TransactionId::parse(&answer.transaction)
            .map_err(|_| ClientError::Answer("the transaction is no transaction id"))?;
        Ok(Opened {
            transaction,
            entry_index: answer.entry_index,
        })
    }
}

impl Tokenized {
    pub(super) fn read(answer: pb::TokenizeResponse) -> Result<Tokenized, ClientError> {
        let token = SecretText::new(answer.token);
        Ok(Tokenized {
            token: Token::parse(token.expose())
                .map_err(|_| ClientError::Answer("the token is none"))?,
            reference: reference(&answer.reference)?,
            details: MaskedDetails::read(answer.details)?,
            entry_index: answer.entry_index,
            replayed: answer.replayed,
            fingerprint: answer.fingerprint.map(Fingerprint::of),
        })
    }
}

impl Redeemed {
    pub(super) fn read(answer: pb::RedeemResponse) -> Result<Redeemed, ClientError> {
        let security_code = code_status(answer.security_code_status)?;
        let last_four = SecretText::new(answer.last_four);
        Ok(Redeemed {
            details: Details::of_message(answer.details)?,
            last_four,
            security_code,
            uses_remaining: answer.uses_remaining,
            entry_index: answer.entry_index,
            replayed: answer.replayed,
        })
    }
}

impl Described {
    pub(super) fn read(answer: pb::DescribeTokenResponse) -> Result<Described, ClientError> {
        let closed = match answer.state() {
            pb::TransactionState::Open => false,
            pb::TransactionState::Closed => true,
            pb::TransactionState::Unspecified => {
                return Err(ClientError::Answer(
                    "a transaction that is neither open nor closed",
                ));
            }
        };
        let uses = answer.uses_remaining.iter().map(|uses| {
            let purpose = u8::try_from(uses.purpose).ok().and_then(Purpose::from_code);
            Ok((
                purpose.ok_or(ClientError::Answer("a purpose that isn't known"))?,
                uses.count,
            ))
        });
        Ok(Described {
            uses_remaining: uses.collect::<Result<_, ClientError>>()?,
            details: MaskedDetails::read(answer.details)?,
            reference: reference(&answer.reference)?,
            revoked: answer.revoked,
            closed,
            release_until: moment(answer.release_until)?,
            fingerprint: answer.fingerprint.map(Fingerprint::of),
        })
    }
}

impl Closed {
    pub(super) fn read(answer: &pb::CloseTransactionResponse) -> Result<Closed, ClientError> {
        Ok(Closed {
            entry_index: answer.entry_index,
            unreadable_after: moment(answer.unreadable_after)?,
        })
    }
}

impl MaskedDetails {
    fn read(masked: Option<pb::MaskedDetails>) -> Result<MaskedDetails, ClientError> {
        let masked = masked.ok_or(ClientError::Answer("no masked details"))?;
        let kind = u8::try_from(masked.kind).map(DetailsKind::from_u8);
        let assurance = u8::try_from(masked.check).map(Assurance::from_u8);
        let (Ok(Ok(kind)), Ok(Ok(assurance))) = (kind, assurance) else {
            return Err(ClientError::Answer(
                "masked details of a kind that isn't known",
            ));
        };
        let expiry = match masked.expiry_state() {
            pb::ExpiryState::Unspecified => None,
            pb::ExpiryState::Valid => Some(ExpiryState::Valid),
            pb::ExpiryState::ThisMonth => Some(ExpiryState::ThisMonth),
            pb::ExpiryState::Expired => Some(ExpiryState::Expired),
        };
        Ok(MaskedDetails {
            kind,
            masked_number: masked.masked_number,
            brand: masked.brand,
            country: masked.country,
            bank: masked.bank,
            expiry,
            assurance,
        })
    }
}

impl Fingerprint {
    fn of(message: pb::Fingerprint) -> Fingerprint {
        Fingerprint {
            value: message.value,
            generation: message.generation,
        }
    }
}

fn reference(text: &str) -> Result<TokenReference, ClientError> {
    TokenReference::parse(text).map_err(|_| ClientError::Answer("the token's reference is none"))
}

fn moment(time: Option<prost_types::Timestamp>) -> Result<Timestamp, ClientError> {
    let read = time.as_ref().and_then(crate::api::convert::timestamp);
    read.ok_or(ClientError::Answer("a time is missing or none"))
}

fn code_status(code: i32) -> Result<CodeStatus, ClientError> {
    use pb::SecurityCodeStatus as S;
    match S::try_from(code) {
        Ok(S::Unspecified) => Ok(CodeStatus::NotAsked),
        Ok(S::Released) => Ok(CodeStatus::Released),
        Ok(S::AlreadyReleased) => Ok(CodeStatus::AlreadyReleased),
        Ok(S::Expired) => Ok(CodeStatus::Expired),
        Ok(S::NotProvided) => Ok(CodeStatus::NotProvided),
        Ok(S::NotOnThisNode) => Ok(CodeStatus::NotOnThisNode),
        Err(_) => Err(ClientError::Answer(
            "a security code's status that isn't known",
        )),
    }
}
