//! The two calls that also come as streams: a request read into a command, and its answer put into
//! a reply. Both forms use the same, so an item of a stream is judged as the call would be.

use super::mismatched;
use crate::api::convert;
use crate::api::proto as pb;
use crate::api::violations::Violations;
use crate::clock::Timestamp;
use crate::ids::TransactionId;
use crate::payment::ModulusTables;
use crate::policy::{Field, Rpc};
use crate::vault::command::{Done, Work};
use prost::{Message, Name};
use tonic::Status;

/// A call that comes alone and as a stream.
pub trait Item: Send + Unpin + 'static {
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

    /// Reads a request; British accounts are checked with these tables. What is wrong goes into
    /// `violations`; then the transaction that it names is given, when that could be read.
    ///
    /// # Errors
    /// When something is wrong.
    fn read(
        asked: Self::Request,
        now: Timestamp,
        uk_modulus: &ModulusTables,
        violations: &mut Violations,
    ) -> Result<Work, Option<TransactionId>>;

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

/// `Tokenize`, `TokenizeStream`.
pub struct Tokenizing;

/// `Redeem`, `RedeemStream`.
pub struct Redeeming;

impl Item for Tokenizing {
    const STREAM: Rpc = Rpc::TokenizeStream;
    type Request = pb::TokenizeRequest;
    type Reply = pb::TokenizeResponse;
    type Requests = pb::TokenizeStreamRequest;
    type Results = pb::TokenizeStreamResponse;

    fn read(
        asked: pb::TokenizeRequest,
        now: Timestamp,
        uk_modulus: &ModulusTables,
        violations: &mut Violations,
    ) -> Result<Work, Option<TransactionId>> {
        let id = convert::request_id(asked.request_id, violations);
        let transaction = convert::transaction(&asked.transaction, violations);
        let details = convert::details(asked.details, now, uk_modulus, violations);
        let replaces = match asked.replaces.is_empty() {
            true => None,
            false => convert::token("replaces", asked.replaces, violations),
        };
        let (true, Some(request), Some(of), Some((details, code))) =
            (violations.is_empty(), id, transaction, details)
        else {
            return Err(transaction);
        };
        Ok(Work::Tokenize {
            request,
            transaction: of,
            details: Box::new(details),
            code,
            replaces,
        })
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
    const STREAM: Rpc = Rpc::RedeemStream;
    type Request = pb::RedeemRequest;
    type Reply = pb::RedeemResponse;
    type Requests = pb::RedeemStreamRequest;
    type Results = pb::RedeemStreamResponse;

    fn read(
        asked: pb::RedeemRequest,
        _: Timestamp,
        _: &ModulusTables,
        violations: &mut Violations,
    ) -> Result<Work, Option<TransactionId>> {
        let id = convert::request_id(asked.request_id, violations);
        let transaction = convert::transaction(&asked.transaction, violations);
        let token = convert::token("token", asked.token, violations);
        let purpose = convert::purpose("purpose", asked.purpose, violations);
        let fields = convert::fields("fields", &asked.fields, violations);
        let (true, Some(request), Some(of), Some(token), Some(purpose), Some(fields)) = (
            violations.is_empty(),
            id,
            transaction,
            token,
            purpose,
            fields,
        ) else {
            return Err(transaction);
        };
        Ok(Work::Redeem {
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
