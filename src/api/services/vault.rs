//! `VaultService`.

use super::item::{Intake, Item, Read, Redeeming, Tokenizing, told};
use super::stream::{self, Answering};
use super::{mismatched, receipt};
use crate::api::convert;
use crate::api::door::{Admitted, Door};
use crate::api::proto as pb;
use crate::api::status;
use crate::api::violations::Violations;
use crate::clock::Timestamp;
use crate::payment::ModulusTables;
use crate::policy::Rpc;
use crate::vault::command::{Done, TokenSummary, Work};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// The service.
pub struct VaultApi {
    door: Arc<Door>,
    uk_modulus: Arc<ModulusTables>,
}

impl VaultApi {
    /// Behind `door`; British accounts are checked with these tables.
    pub fn new(door: Arc<Door>, uk_modulus: ModulusTables) -> VaultApi {
        VaultApi {
            door,
            uk_modulus: Arc::new(uk_modulus),
        }
    }

    /// One request of a call that also comes as a stream.
    async fn one<I: Item>(
        &self,
        admitted: &Admitted,
        asked: I::Request,
        now: Timestamp,
    ) -> Result<I::Reply, Status> {
        let intake = Intake {
            now,
            uk_modulus: &self.uk_modulus,
            admitted,
        };
        let Read { work, wrong } = I::read(asked, &intake, Violations::new());
        if !matches!(work, Work::Refused { .. }) {
            self.door.within_rate(admitted)?;
        }
        let vault = &admitted.vault;
        let asked = vault.ask(admitted.caller.clone(), work, admitted.deadline_ms);
        match asked.await {
            Ok(done) => I::reply(done, now),
            Err(refusal) => Err(told(&refusal, wrong.as_ref())),
        }
    }
}

fn summary(token: &TokenSummary, now: Timestamp) -> pb::TokenSummary {
    pb::TokenSummary {
        reference: token.reference.to_string(),
        details: Some(convert::masked(&token.masked, now)),
        revoked: token.revoked,
        created_at: Some(convert::time(token.created_at)),
    }
}

#[tonic::async_trait]
impl pb::vault_service_server::VaultService for VaultApi {
    async fn open_transaction(
        &self,
        request: Request<pb::OpenTransactionRequest>,
    ) -> Result<Response<pb::OpenTransactionResponse>, Status> {
        let admitted = self.door.admit(Rpc::OpenTransaction, &request).await?;
        let asked = request.into_inner();
        let mut violations = Violations::new();
        let id = convert::request_id(asked.request_id, &mut violations);
        let now = admitted.vault.clock().now();
        let terms = convert::terms(asked.terms, admitted.principal.id, now, &mut violations);
        let (Some(request), Some(terms)) = (id, terms) else {
            return Err(admitted.invalid(violations, None).await);
        };
        let terms = Box::new(terms);
        let done = self
            .door
            .ask(&admitted, Work::Open { request, terms })
            .await?;
        let Done::Opened { transaction, entry } = done else {
            return Err(mismatched());
        };
        Ok(Response::new(pb::OpenTransactionResponse {
            transaction: transaction.to_string(),
            entry_index: entry,
            receipt: receipt(&admitted.vault, asked.want_receipt, entry).await?,
        }))
    }

    async fn get_transaction(
        &self,
        request: Request<pb::GetTransactionRequest>,
    ) -> Result<Response<pb::GetTransactionResponse>, Status> {
        let admitted = self.door.admit(Rpc::GetTransaction, &request).await?;
        let asked = request.into_inner();
        let mut violations = Violations::new();
        let Some(transaction) = convert::transaction(&asked.transaction, &mut violations) else {
            return Err(admitted.invalid(violations, None).await);
        };
        let done = self.door.ask(&admitted, Work::Get { transaction }).await?;
        let Done::Got(standing) = done else {
            return Err(mismatched());
        };
        let now = admitted.vault.clock().now();
        Ok(Response::new(pb::GetTransactionResponse {
            terms: Some(convert::terms_message(&standing.terms)),
            state: convert::state(standing.closed).into(),
            tokens: standing.tokens.iter().map(|t| summary(t, now)).collect(),
        }))
    }

    async fn tokenize(
        &self,
        request: Request<pb::TokenizeRequest>,
    ) -> Result<Response<pb::TokenizeResponse>, Status> {
        let admitted = self.door.admit(Rpc::Tokenize, &request).await?;
        let asked = request.into_inner();
        let now = admitted.vault.clock().now();
        let wanted = asked.want_receipt;
        let mut reply = self.one::<Tokenizing>(&admitted, asked, now).await?;
        reply.receipt = receipt(&admitted.vault, wanted, reply.entry_index).await?;
        Ok(Response::new(reply))
    }

    async fn get_collect_key(
        &self,
        request: Request<pb::GetCollectKeyRequest>,
    ) -> Result<Response<pb::GetCollectKeyResponse>, Status> {
        let admitted = self.door.admit(Rpc::GetCollectKey, &request).await?;
        self.door.within_rate(&admitted)?;
        let given = admitted.vault.collect_document(admitted.deadline_ms).await;
        let (document, verifier) = given.map_err(|refusal| status::of_refusal(&refusal))?;
        Ok(Response::new(pb::GetCollectKeyResponse {
            document: document.to_string(),
            verifier_key: verifier.to_string(),
        }))
    }

    async fn redeem(
        &self,
        request: Request<pb::RedeemRequest>,
    ) -> Result<Response<pb::RedeemResponse>, Status> {
        let admitted = self.door.admit(Rpc::Redeem, &request).await?;
        let asked = request.into_inner();
        let now = admitted.vault.clock().now();
        let wanted = asked.want_receipt;
        let mut reply = self.one::<Redeeming>(&admitted, asked, now).await?;
        reply.receipt = receipt(&admitted.vault, wanted, reply.entry_index).await?;
        Ok(Response::new(reply))
    }

    type TokenizeStreamStream = Answering<Tokenizing>;

    async fn tokenize_stream(
        &self,
        request: Request<Streaming<pb::TokenizeStreamRequest>>,
    ) -> Result<Response<Self::TokenizeStreamStream>, Status> {
        stream::begin(&self.door, &self.uk_modulus, request).await
    }

    type RedeemStreamStream = Answering<Redeeming>;

    async fn redeem_stream(
        &self,
        request: Request<Streaming<pb::RedeemStreamRequest>>,
    ) -> Result<Response<Self::RedeemStreamStream>, Status> {
        stream::begin(&self.door, &self.uk_modulus, request).await
    }

    async fn report_outcome(
        &self,
        request: Request<pb::ReportOutcomeRequest>,
    ) -> Result<Response<pb::ReportOutcomeResponse>, Status> {
        let admitted = self.door.admit(Rpc::ReportOutcome, &request).await?;
        let asked = request.into_inner();
        let mut violations = Violations::new();
        let id = convert::request_id(asked.request_id, &mut violations);
        let transaction = convert::transaction(&asked.transaction, &mut violations);
        let token = convert::token("token", asked.token, &mut violations);
        let result = convert::outcome(asked.outcome, &mut violations);
        let reference = convert::reference(
            "processor_reference",
            &asked.processor_reference,
            true,
            crate::limits::REFERENCE_CHARS_MAX,
            &mut violations,
        );
        let (true, Some(request), Some(id), Some(token), Some(result)) =
            (violations.is_empty(), id, transaction, token, result)
        else {
            return Err(admitted.invalid(violations, transaction).await);
        };
        let work = Work::Report {
            request,
            transaction: id,
            token,
            result,
            reference,
        };
        let done = self.door.ask(&admitted, work).await?;
        let Done::Reported { entry, replayed } = done else {
            return Err(mismatched());
        };
        Ok(Response::new(pb::ReportOutcomeResponse {
            entry_index: entry,
            replayed,
        }))
    }

    async fn describe_token(
        &self,
        request: Request<pb::DescribeTokenRequest>,
    ) -> Result<Response<pb::DescribeTokenResponse>, Status> {
        let admitted = self.door.admit(Rpc::DescribeToken, &request).await?;
        let asked = request.into_inner();
        let mut violations = Violations::new();
        let transaction = convert::transaction(&asked.transaction, &mut violations);
        let token = convert::token("token", asked.token, &mut violations);
        let (Some(id), Some(token)) = (transaction, token) else {
            return Err(admitted.invalid(violations, transaction).await);
        };
        let work = Work::Describe {
            transaction: id,
            token,
        };
        let done = self.door.ask(&admitted, work).await?;
        let Done::Described(described) = done else {
            return Err(mismatched());
        };
        let now = admitted.vault.clock().now();
        let own = summary(&described.summary, now);
        Ok(Response::new(pb::DescribeTokenResponse {
            details: own.details,
            reference: own.reference,
            revoked: own.revoked,
            state: convert::state(described.closed).into(),
            release_until: Some(convert::time(described.release_until)),
            uses_remaining: described
                .uses_left
                .iter()
                .map(|(purpose, count)| pb::UsesRemaining {
                    purpose: *purpose as i32,
                    count: (*count).into(),
                })
                .collect(),
            fingerprint: described.fingerprint.as_ref().map(convert::fingerprint),
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        let admitted = self.door.admit(Rpc::RevokeToken, &request).await?;
        let asked = request.into_inner();
        let mut violations = Violations::new();
        let transaction = convert::transaction(&asked.transaction, &mut violations);
        let token = convert::token("token", asked.token, &mut violations);
        let (Some(id), Some(token)) = (transaction, token) else {
            return Err(admitted.invalid(violations, transaction).await);
        };
        let work = Work::Revoke {
            transaction: id,
            token,
        };
        let done = self.door.ask(&admitted, work).await?;
        let Done::Noted { entry } = done else {
            return Err(mismatched());
        };
        Ok(Response::new(pb::RevokeTokenResponse {
            entry_index: entry,
        }))
    }

    async fn close_transaction(
        &self,
        request: Request<pb::CloseTransactionRequest>,
    ) -> Result<Response<pb::CloseTransactionResponse>, Status> {
        let admitted = self.door.admit(Rpc::CloseTransaction, &request).await?;
        let asked = request.into_inner();
        let mut violations = Violations::new();
        let Some(transaction) = convert::transaction(&asked.transaction, &mut violations) else {
            return Err(admitted.invalid(violations, None).await);
        };
        let done = self
            .door
            .ask(&admitted, Work::Close { transaction })
            .await?;
        let Done::Closed {
            entry,
            unreadable_after,
        } = done
        else {
            return Err(mismatched());
        };
        Ok(Response::new(pb::CloseTransactionResponse {
            entry_index: entry,
            unreadable_after: Some(convert::time(unreadable_after)),
        }))
    }
}
