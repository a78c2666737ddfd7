//! `LedgerService`.

use super::reading::Reading;
use super::{checkpoint_message, receipt_message};
use crate::api::convert;
use crate::api::door::Door;
use crate::api::proto as pb;
use crate::api::status;
use crate::api::violations::Violations;
use crate::clock::Beats;
use crate::ledger::Event;
use crate::limits;
use crate::policy::Rpc;
use crate::vault::command::Refusal;
use crate::vault::{ExportRequest, Tailed};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
pub struct Ledger {
    door: Arc<Door>,
}

impl Ledger {
    /// Behind `door`.
    pub fn new(door: Arc<Door>) -> Ledger {
        Ledger { door }
    }
}

#[tonic::async_trait]
impl pb::ledger_service_server::LedgerService for Ledger {
    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointResponse>, Status> {
        let admitted = self.door.admit(Rpc::GetCheckpoint, &request).await?;
        self.door.within_rate(&admitted)?;
        let published = admitted
            .vault
            .published()
            .ok_or_else(|| status::of_refusal(&Refusal::Unavailable("no checkpoint yet")))?;
        let cosigned = admitted.vault.cosigned();
        let newest = cosigned
            .as_ref()
            .filter(|cosigned| cosigned.checkpoint == published.checkpoint)
            .unwrap_or(&published);
        Ok(Response::new(pb::GetCheckpointResponse {
            checkpoint: Some(checkpoint_message(newest)),
            cosigned: cosigned.as_ref().map(checkpoint_message),
            verifier_key: admitted.vault.verifier().to_string(),
        }))
    }

    async fn get_receipt(
        &self,
        request: Request<pb::GetReceiptRequest>,
    ) -> Result<Response<pb::GetReceiptResponse>, Status> {
        let admitted = self.door.admit(Rpc::GetReceipt, &request).await?;
        self.door.within_rate(&admitted)?;
        let index = request.into_inner().index;
        // From here on, or how long it took would tell which reason it had.
        let beats = Beats::every_ms(limits::NOT_TIED_BEAT_MS);
        let issued = admitted
            .vault
            .receipt(index, Some(admitted.principal.id))
            .await;
        let receipt = match issued {
            Ok(receipt) => receipt,
            Err(Refusal::Denied(denial)) => {
                let refused = admitted.denied(denial).await;
                beats.next().await;
                return Err(refused);
            }
            Err(refusal) => return Err(status::of_refusal(&refusal)),
        };
        Ok(Response::new(pb::GetReceiptResponse {
            receipt: Some(receipt_message(receipt)),
        }))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<pb::GetConsistencyProofRequest>,
    ) -> Result<Response<pb::GetConsistencyProofResponse>, Status> {
        let admitted = self.door.admit(Rpc::GetConsistencyProof, &request).await?;
        self.door.within_rate(&admitted)?;
        let asked = request.into_inner();
        let size = admitted.vault.published().map_or(0, |p| p.checkpoint.size);
        let mut violations = Violations::new();
        if asked.from_size == 0 {
            violations.add("from_size", "must be at least 1");
        }
        if asked.to_size < asked.from_size || asked.to_size > size {
            violations.add(
                "to_size",
                "must be between from_size and the newest checkpoint's size",
            );
        }
        if !violations.is_empty() {
            return Err(admitted.invalid(violations, None).await);
        }
        let path = admitted
            .vault
            .consistency(asked.from_size, asked.to_size)
            .await
            .map_err(|refusal| status::of_refusal(&refusal))?;
        Ok(Response::new(pb::GetConsistencyProofResponse {
            path: path.iter().map(|hash| hash.to_vec()).collect(),
        }))
    }

    type ExportLogStream = Reading<Vec<u8>>;

    async fn export_log(
        &self,
        request: Request<pb::ExportLogRequest>,
    ) -> Result<Response<Self::ExportLogStream>, Status> {
        let admitted = self.door.admit(Rpc::ExportLog, &request).await?;
        let peer = self.door.peer(&request)?;
        self.door.within_rate(&admitted)?;
        let asked = request.into_inner();
        let mut violations = Violations::new();
        let wanted = export_request(asked, &mut violations);
        let head = admitted.vault.head();
        if wanted.epoch.is_some_and(|epoch| epoch > head.epoch) {
            violations.add("epoch", "must not be above the vault's own");
        }
        if wanted.epoch.is_none_or(|epoch| epoch == head.epoch) && wanted.from > head.size {
            violations.add("from_index", "must not be past the ledger's end");
        }
        if !violations.is_empty() {
            return Err(admitted.invalid(violations, None).await);
        }
        let pieces = admitted
            .vault
            .export(
                admitted.caller.clone(),
                &admitted.principal,
                wanted,
                admitted.deadline_ms,
            )
            .await
            .map_err(|refusal| status::of_refusal(&refusal))?;
        Ok(Response::new(Reading::new(
            &self.door, peer, admitted, pieces,
        )))
    }

    type TailLogStream = Reading<Tailed>;

    async fn tail_log(
        &self,
        request: Request<pb::TailLogRequest>,
    ) -> Result<Response<Self::TailLogStream>, Status> {
        let admitted = self.door.admit(Rpc::TailLog, &request).await?;
        let peer = self.door.peer(&request)?;
        self.door.within_rate(&admitted)?;
        let asked = request.into_inner();
        let (from, follow) = (asked.from_index, asked.follow);
        let mut violations = Violations::new();
        let of = pb::ExportLogRequest {
            from_time: asked.from_time,
            site: asked.site,
            kinds: asked.kinds,
            reason: asked.reason,
            ticket: asked.ticket,
            ..pb::ExportLogRequest::default()
        };
        let wanted = export_request(of, &mut violations);
        if from.is_some_and(|from| from > admitted.vault.head().size) {
            violations.add("from_index", "must not be past the ledger's end");
        }
        if !violations.is_empty() {
            return Err(admitted.invalid(violations, None).await);
        }
        let caller = admitted.caller.clone();
        let pieces = admitted
            .vault
            .tail(
                caller,
                &admitted.principal,
                wanted,
                from,
                follow,
                admitted.deadline_ms,
            )
            .await
            .map_err(|refusal| status::of_refusal(&refusal))?;
        Ok(Response::new(Reading::new(
            &self.door, peer, admitted, pieces,
        )))
    }
}

fn export_request(asked: pb::ExportLogRequest, violations: &mut Violations) -> ExportRequest {
    let to = (asked.to_index != 0).then_some(asked.to_index);
    if to.is_some_and(|to| to <= asked.from_index) {
        violations.add("to_index", "must be above from_index, or 0");
    }
    let from_time = convert::optional_moment("from_time", asked.from_time, violations);
    let to_time = convert::optional_moment("to_time", asked.to_time, violations);
    let site = match asked.site.is_empty() {
        true => None,
        false => convert::site("site", &asked.site, violations),
    };
    if asked.kinds.len() > limits::EXPORT_KINDS_MAX {
        violations.add("kinds", "must be at most 32");
    }
    let mut kinds = Vec::new();
    for (number, kind) in asked
        .kinds
        .iter()
        .take(limits::EXPORT_KINDS_MAX)
        .enumerate()
    {
        match Event::parse(kind) {
            Some(event) => kinds.push(event),
            None => violations.add(format!("kinds[{number}]"), "must be an event's code"),
        }
    }
    let reason = convert::reference(
        "reason",
        &asked.reason,
        true,
        limits::REASON_CHARS_MAX,
        violations,
    );
    let ticket = convert::reference(
        "ticket",
        &asked.ticket,
        true,
        limits::REFERENCE_CHARS_MAX,
        violations,
    );
    ExportRequest {
        epoch: (asked.epoch != 0).then_some(asked.epoch),
        from: asked.from_index,
        to,
        from_time,
        to_time,
        site,
        kinds,
        reason,
        ticket,
    }
}
