//! The two calls that also come as streams: a request read into a command, and its answer put into
//! a reply. Both forms use the same, so an item of a stream is judged as the call would be.

use super::mismatched;
use crate::api::door::Admitted;
use crate::api::proto as pb;
use crate::api::violations::Violations;
use crate::api::{convert, details_json, status};
use crate::clock::Timestamp;
use crate::ids::TransactionId;
use crate::limits;
use crate::payment::{Details, ModulusTables, SecurityCode};
use crate::policy::{Denial, Field, Rpc};
use crate::vault::Amiss;
use crate::vault::command::{Done, OpenedIn, Refusal, SealedIn, Unread, Work};
use prost::{Message, Name};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex, PoisonError};
use tonic::Status;

/// A call that comes alone and as a stream.
pub trait Item: Send + Unpin + 'static {
    /// The call.
    const CALL: Rpc;
    /// Its stream's form, for policy.
    const STREAM: Rpc;
    /// A request.
    type Request: Send + Unpin;
    /// A reply.
    type Reply: Send;
    /// A stream's message of requests.
    type Requests: Message + Name + Default + Send + 'static;
    /// A stream's message of results.
    type Results: Send;

    /// Reads a request, of which `violations` are known already.
    fn read(asked: Self::Request, intake: &Intake<'_>, violations: Violations) -> Read;

    /// Puts what was done into a reply, without a receipt.
    ///
    /// # Errors
    /// When it is another command's.
    fn reply(done: Done, now: Timestamp) -> Result<Self::Reply, Status>;

    /// Whether a receipt is wanted.
    fn wants_receipt(asked: &Self::Request) -> bool;

    /// The requests of a message.
    fn requests(message: Self::Requests) -> Vec<Self::Request>;

    /// A message of results; errors as they are inside of an answer.
    fn results(of: Vec<Result<Self::Reply, tonic_types::Status>>) -> Self::Results;
}

/// A request that was read.
pub struct Read {
    /// What the committer gets, whether something is wrong or not: it enters the refusal, or refuses
    /// for another reason first.
    pub work: Work,
    /// What is wrong, to be told with [`Denial::InvalidRequest`]; of details that the committer has
    /// read, only once it has.
    pub wrong: Option<Wrong>,
}

/// What is wrong with a request.
pub type Wrong = Arc<Mutex<Violations>>;

impl Read {
    fn right(work: Work) -> Read {
        Read { work, wrong: None }
    }

    fn wrong(work: Work, violations: Violations) -> Read {
        let wrong = Some(Arc::new(Mutex::new(violations)));
        Read { work, wrong }
    }
}

/// What a refusal tells; what was wrong with the request, when that is what it says.
pub fn told(refusal: &Refusal, wrong: Option<&Wrong>) -> Status {
    match (refusal, wrong) {
        (Refusal::Denied(Denial::InvalidRequest), Some(wrong)) => {
            let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
            status::invalid(std::mem::take(&mut *wrong))
        }
        _ => status::of_refusal(refusal),
    }
}

/// What a request is read with.
pub struct Intake<'a> {
    /// The moment.
    pub now: Timestamp,
    /// What British accounts are checked with.
    pub uk_modulus: &'a Arc<ModulusTables>,
    /// Who asks, and of which vault.
    pub admitted: &'a Admitted,
}

impl Intake<'_> {
    fn has_sealed_only(&self) -> bool {
        let Admitted {
            vault, principal, ..
        } = self.admitted;
        vault.has_sealed_only(principal)
    }

    /// Opens sealed details and reads what is inside, as details in clear are read.
    fn open(&self, text: &str, of: TransactionId, violations: &mut Violations) -> SealedIn {
        let digest: [u8; 32] = Sha256::digest(text).into();
        let opened = match self.admitted.vault.collecting() {
            None => Err(Amiss::UnknownKey),
            Some(collecting) => collecting.open(text, of),
        };
        let unsealed = match opened {
            Ok(unsealed) => unsealed,
            Err(why) => return SealedIn::Amiss { text: digest, why },
        };
        let (now, tables) = (self.now, self.uk_modulus);
        let details = match details_json::parse(&unsealed.json) {
            Ok(given) => convert::details("sealed_details", Some(given), now, tables, violations),
            Err(_) => {
                violations.add("sealed_details", "must hold payment details in JSON");
                None
            }
        };
        SealedIn::Opened(OpenedIn {
            text: digest,
            site: unsealed.site,
            encapsulation: unsealed.encapsulation,
            not_after: unsealed.not_after,
            details,
        })
    }
}

/// Details in clear that wait for the committer's word.
struct UnreadDetails {
    details: Option<pb::PaymentDetails>,
    now: Timestamp,
    uk_modulus: Arc<ModulusTables>,
    wrong: Wrong,
}

impl Unread for UnreadDetails {
    fn read(&self) -> Option<(Details, Option<SecurityCode>)> {
        // A round that is tried again reads again.
        let mut violations = Violations::new();
        let (given, tables) = (self.details.clone(), &self.uk_modulus);
        let read = convert::details("details", given, self.now, tables, &mut violations);
        *self.wrong.lock().unwrap_or_else(PoisonError::into_inner) = violations;
        read
    }
}

/// A request that is invalid as it is.
fn refused(rpc: Rpc, transaction: Option<TransactionId>) -> Work {
    Work::Refused {
        rpc,
        denial: Denial::InvalidRequest,
        transaction,
    }
}

/// `Tokenize`, `TokenizeStream`.
pub struct Tokenizing;

/// `Redeem`, `RedeemStream`.
pub struct Redeeming;

impl Item for Tokenizing {
    const CALL: Rpc = Rpc::Tokenize;
    const STREAM: Rpc = Rpc::TokenizeStream;
    type Request = pb::TokenizeRequest;
    type Reply = pb::TokenizeResponse;
    type Requests = pb::TokenizeStreamRequest;
    type Results = pb::TokenizeStreamResponse;

    fn read(asked: pb::TokenizeRequest, intake: &Intake<'_>, mut violations: Violations) -> Read {
        let id = convert::request_id(asked.request_id, &mut violations);
        let transaction = convert::transaction(&asked.transaction, &mut violations);
        let replaces = match asked.replaces.is_empty() {
            true => None,
            false => convert::token("replaces", asked.replaces, &mut violations),
        };
        let named = id.zip(transaction).filter(|_| violations.is_empty());
        let refused = refused(Self::CALL, transaction);
        let text = asked.sealed_details;
        if text.is_empty() {
            let details = asked.details;
            if intake.has_sealed_only() {
                let Some((request, of)) = named else {
                    return Read::wrong(refused, violations);
                };
                let wrong = Wrong::default();
                let sealed = Box::new(SealedIn::Unread(Box::new(UnreadDetails {
                    details,
                    now: intake.now,
                    uk_modulus: Arc::clone(intake.uk_modulus),
                    wrong: Arc::clone(&wrong),
                })));
                return Read {
                    work: Work::TokenizeSealed {
                        request,
                        transaction: of,
                        sealed,
                        replaces,
                    },
                    wrong: Some(wrong),
                };
            }
            let (now, tables) = (intake.now, intake.uk_modulus);
            let read = convert::details("details", details, now, tables, &mut violations);
            let (Some((request, of)), Some((details, code))) = (named, read) else {
                return Read::wrong(refused, violations);
            };
            return Read::right(Work::Tokenize {
                request,
                transaction: of,
                details: Box::new(details),
                code,
                replaces,
            });
        }
        if asked.details.is_some() {
            violations.add("sealed_details", "must not be set beside details");
        }
        if text.len() > limits::SEALED_DETAILS_CHARS_MAX {
            violations.add("sealed_details", "must have at most 8,192 characters");
        }
        let Some((request, of)) = named.filter(|_| violations.is_empty()) else {
            return Read::wrong(refused, violations);
        };
        let sealed = Box::new(intake.open(&text, of, &mut violations));
        let work = Work::TokenizeSealed {
            request,
            transaction: of,
            sealed,
            replaces,
        };
        // What is wrong inside is told to who opened the transaction: the committer knows.
        match violations.is_empty() {
            true => Read::right(work),
            false => Read::wrong(work, violations),
        }
    }

    fn reply(done: Done, now: Timestamp) -> Result<pb::TokenizeResponse, Status> {
        let Done::Tokenized {
            token,
            masked,
            fingerprint,
            entry,
            replayed,
        } = done
        else {
            return Err(mismatched());
        };
        Ok(pb::TokenizeResponse {
            token: token.to_text().expose().to_owned(),
            reference: token.selector().reference().to_string(),
            details: Some(convert::masked(&masked, now)),
            entry_index: entry,
            replayed,
            receipt: None,
            fingerprint: fingerprint.as_ref().map(convert::fingerprint),
        })
    }

    fn wants_receipt(asked: &pb::TokenizeRequest) -> bool {
        asked.want_receipt
    }

    fn requests(message: pb::TokenizeStreamRequest) -> Vec<pb::TokenizeRequest> {
        message.items
    }

    fn results(
        of: Vec<Result<pb::TokenizeResponse, tonic_types::Status>>,
    ) -> pb::TokenizeStreamResponse {
        use pb::tokenize_result::Outcome;
        let result = |one| pb::TokenizeResult {
            outcome: Some(match one {
                Ok(reply) => Outcome::Tokenized(reply),
                Err(status) => Outcome::Error(status),
            }),
        };
        pb::TokenizeStreamResponse {
            results: of.into_iter().map(result).collect(),
        }
    }
}

impl Item for Redeeming {
    const CALL: Rpc = Rpc::Redeem;
    const STREAM: Rpc = Rpc::RedeemStream;
    type Request = pb::RedeemRequest;
    type Reply = pb::RedeemResponse;
    type Requests = pb::RedeemStreamRequest;
    type Results = pb::RedeemStreamResponse;

    fn read(asked: pb::RedeemRequest, _: &Intake<'_>, mut violations: Violations) -> Read {
        let id = convert::request_id(asked.request_id, &mut violations);
        let transaction = convert::transaction(&asked.transaction, &mut violations);
        let token = convert::token("token", asked.token, &mut violations);
        let purpose = convert::purpose("purpose", asked.purpose, &mut violations);
        let fields = convert::fields("fields", &asked.fields, &mut violations);
        let (true, Some(request), Some(of), Some(token), Some(purpose), Some(fields)) = (
            violations.is_empty(),
            id,
            transaction,
            token,
            purpose,
            fields,
        ) else {
            return Read::wrong(refused(Self::CALL, transaction), violations);
        };
        Read::right(Work::Redeem {
            request,
            transaction: of,
            token,
            purpose,
            fields,
        })
    }

    fn reply(done: Done, _: Timestamp) -> Result<pb::RedeemResponse, Status> {
        let Done::Redeemed(redeemed) = done else {
            return Err(mismatched());
        };
        let fields = redeemed.fields;
        let last_four = match fields.contains(Field::LastFour) || fields.contains(Field::Number) {
            true => redeemed.details.last_four().expose().to_owned(),
            false => String::new(),
        };
        Ok(pb::RedeemResponse {
            details: Some(convert::released(
                &redeemed.details,
                fields,
                redeemed.code.as_ref(),
            )),
            last_four,
            security_code_status: convert::code_status(redeemed.code_status).into(),
            uses_remaining: redeemed.uses_left.into(),
            entry_index: redeemed.entry,
            replayed: redeemed.replayed,
            receipt: None,
        })
    }

    fn wants_receipt(asked: &pb::RedeemRequest) -> bool {
        asked.want_receipt
    }

    fn requests(message: pb::RedeemStreamRequest) -> Vec<pb::RedeemRequest> {
        message.items
    }

    fn results(
        of: Vec<Result<pb::RedeemResponse, tonic_types::Status>>,
    ) -> pb::RedeemStreamResponse {
        use pb::redeem_result::Outcome;
        let result = |one| pb::RedeemResult {
            outcome: Some(match one {
                Ok(reply) => Outcome::Redeemed(reply),
                Err(status) => Outcome::Error(status),
            }),
        };
        pb::RedeemStreamResponse {
            results: of.into_iter().map(result).collect(),
        }
    }
}
