//! `AdminService`.

use super::{mismatched, receipt_message};
use crate::api::convert;
use crate::api::door::{Admitted, Door};
use crate::api::identity::identity_of_pem;
use crate::api::proto as pb;
use crate::api::status;
use crate::api::tls::Tls;
use crate::api::violations::Violations;
use crate::clock::{Clock, DAY_MS, Timestamp};
use crate::codec::Malformed;
use crate::ids::{ActionId, HoldId, PrincipalId, Site};
use crate::keys::{BadTry, KeyId, KeyName, KeyState, Opening, SealFile, password};
use crate::limits;
use crate::policy::{self, Allowance, AllowanceKey, Denial, Principal, Role, Rpc};
use crate::secret::SecretText;
use crate::store::EngineKind;
use crate::vault::backup::take::Step;
use crate::vault::command::{self, Done, Note, Refusal, Work};
use crate::vault::{
    ErasureRequest, GateError, Given, HoldRequest, HoldScope, KeyFacts, Progress, Registry,
    RewrapStatus, Standing, Trier, Vault, hashing,
};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status};

/// The service.
pub struct Admin {
    door: Arc<Door>,
    tls: Arc<Tls>,
    clock: Clock,
    health: crate::api::health::Health,
    backup_dir: Option<PathBuf>,
}

impl Admin {
    /// Behind `door`; certificates are judged by `tls`'s client CAs; backups go into `backup_dir`.
    pub fn new(
        door: Arc<Door>,
        tls: Arc<Tls>,
        clock: Clock,
        health: crate::api::health::Health,
        backup_dir: Option<PathBuf>,
    ) -> Admin {
        Admin {
            door,
            tls,
            clock,
            health,
            backup_dir,
        }
    }

    async fn admin(&self, admitted: &Admitted, admin: command::Admin) -> Result<Done, Status> {
        self.door.ask(admitted, Work::Admin(Box::new(admin))).await
    }

    /// The principal that a request names.
    async fn named(&self, admitted: &Admitted, text: &str) -> Result<Arc<Principal>, Status> {
        if text.is_empty() || text.len() > limits::NAME_CHARS_MAX {
            let mut violations = Violations::new();
            violations.add("principal", "must be an id or a name");
            return Err(admitted.invalid(violations, None).await);
        }
        match admitted.vault.registry().named(text) {
            Some(principal) => Ok(Arc::clone(principal)),
            None => Err(admitted.denied(Denial::UnknownPrincipal).await),
        }
    }
}

/// The refusal of what names no key.
async fn not_a_key(admitted: &Admitted, field: &str) -> Status {
    let mut violations = Violations::new();
    violations.add(
        field,
        "must be a key's name, as `payvault keys list` shows it",
    );
    admitted.invalid(violations, None).await
}

/// A new human secret and its hash, made off the async workers: the hash takes a while on purpose.
async fn new_secret() -> Result<(SecretText, String), Status> {
    let hashed = hashing().run(|| {
        let secret = password::generate();
        let hash = password::hash(&secret);
        (secret, hash)
    });
    hashed.await.map_err(|refusal| status::of_refusal(&refusal))
}

#[tonic::async_trait]
impl pb::admin_service_server::AdminService for Admin {
    async fn get_status(
        &self,
        request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        if self.door.gate().vault().is_none() {
            let peer = self.door.peer(&request)?;
            let identity = &peer.identity;
            if !self
                .door
                .gate()
                .may_unseal(&identity.uri, &identity.issuer_key)
            {
                return Err(status::of_refusal(&Refusal::Sealed));
            }
            let gate = Arc::clone(self.door.gate());
            let progress = tokio::task::spawn_blocking(move || gate.progress())
                .await
                .map_err(|_| status::internal("reading the seal failed"))?;
            return Ok(Response::new(pb::GetStatusResponse {
                sealed: true,
                version,
                unsealing: progress.map(unsealing),
                ..Default::default()
            }));
        }
        let admitted = self.door.admit(Rpc::GetStatus, &request).await?;
        let vault = &admitted.vault;
        let (head, registry) = (vault.head(), vault.registry());
        let published = vault.published();
        let now = self.clock.now();
        let mut warnings = Vec::new();
        if head.single_operator {
            warnings.push("one operator can do everything alone: enrol a second one".to_owned());
        }
        warnings.extend(lapse(&registry, head.single_operator, now));
        if vault.marks_are_failing() {
            warnings.push("the high-water mark can't be written: look at mark_dir".to_owned());
        }
        if let Some(restored) = &head.restored {
            warnings.push(format!(
                "restored: tokens from before {} are not redeemed until operators confirm: look at principals and allowances, which are the backup's, then `payvault restore confirm`",
                restored.at
            ));
        }
        if let Some(off_ms) = vault.clock_off_ms() {
            let way = if off_ms < 0 { "behind" } else { "ahead of" };
            warnings.push(format!(
                "the clock jumped: it is {} s {way} where it should be; nothing is released or destroyed until it is set right, or two operators confirm what it shows: `payvault clock confirm`",
                off_ms.unsigned_abs() / 1_000
            ));
        }
        warnings.extend(endings(vault));
        let rewrap = vault.rewrapping();
        if rewrap.failed > 0 {
            warnings.push(format!(
                "{} rows can't be sealed anew since they don't open, and their key stays: run `payvault check`",
                rewrap.failed
            ));
        }
        warnings.extend(vault.witnesses().iter().filter_map(witness_warning));
        if published.is_none() {
            warnings.push("no checkpoint has been published yet".to_owned());
        }
        let pending = registry.pending().filter(|(_, p)| p.expires_at > now);
        Ok(Response::new(pb::GetStatusResponse {
            sealed: false,
            version,
            vault_id: vault.id().to_string(),
            epoch: head.epoch,
            ledger_size: head.size,
            checkpoint: published.map(|p| p.note.to_string()).unwrap_or_default(),
            keyring_generation: head.keyring_generation,
            store: store_text(vault.store_name()),
            warnings,
            pending_actions: pending
                .map(|(id, p)| pb::PendingAction {
                    id: id.to_string(),
                    summary: p.change.summary(),
                    requested_by: registry
                        .principal(p.requested_by)
                        .map(|by| by.name.clone())
                        .unwrap_or_default(),
                    expires_at: Some(convert::time(p.expires_at)),
                })
                .collect(),
            single_operator: head.single_operator,
            unsealing: None,
            rewrap: rewrap_message(&vault.rewrapping()),
        }))
    }

    async fn unseal(
        &self,
        request: Request<pb::UnsealRequest>,
    ) -> Result<Response<pb::UnsealResponse>, Status> {
        let peer = self.door.peer(&request)?;
        let gate = Arc::clone(self.door.gate());
        // While the vault is open its callers are judged, and entered, as for any other call.
        let admitted = match gate.vault() {
            Some(_) => Some(self.door.admit(Rpc::Unseal, &request).await?),
            None => None,
        };
        let refuse = async |denial| match &admitted {
            Some(admitted) => admitted.denied(denial).await,
            None => status::of_denial(denial),
        };
        let identity = &peer.identity;
        if !gate.may_unseal(&identity.uri, &identity.issuer_key) {
            return Err(refuse(Denial::RoleNotAllowed).await);
        }
        let asked = request.into_inner();
        let passphrase = SecretText::new(asked.passphrase);
        let share = SecretText::new(asked.share);
        let pin = SecretText::new(asked.pin);
        let mut violations = Violations::new();
        if share.len() > limits::SHARE_TEXT_BYTES_MAX {
            violations.add("share", "must be at most 256 bytes");
        } else if pin.len() > *limits::PIN_BYTES.end() {
            violations.add("pin", "must be at most 255 bytes");
        } else if !share.is_empty() && !passphrase.is_empty() {
            violations.add("passphrase", "must be empty beside a share");
        } else if !pin.is_empty() && (!share.is_empty() || !passphrase.is_empty()) {
            violations.add("pin", "must be empty beside a passphrase or a share");
        } else if share.is_empty()
            && pin.is_empty()
            && !limits::PASSPHRASE_BYTES.contains(&passphrase.len())
            && !(passphrase.is_empty() && gate.opens_by_service())
        {
            violations.add("passphrase", "must be 12 to 1024 bytes");
        }
        if !violations.is_empty() {
            return Err(match &admitted {
                Some(admitted) => admitted.invalid(violations, None).await,
                None => status::invalid(violations),
            });
        }
        let by = Trier {
            uri: identity.uri.clone(),
            issuer: identity.issuer_key,
            // Without the port: tries from one place are one kind, whatever connections they take.
            origin: peer.address.ip().to_string(),
        };
        let tried = tokio::task::spawn_blocking(move || match share.is_empty() {
            true => gate
                .try_opening(&by, |module| {
                    if !pin.is_empty() {
                        Opening::Pin { pin, module }
                    } else if passphrase.is_empty() {
                        Opening::Service
                    } else {
                        Opening::Passphrase(passphrase)
                    }
                })
                .map(|()| Given::Opened),
            false => gate.give_share(&by, &share),
        })
        .await
        .map_err(|_| status::internal("unsealing failed"))?;
        match tried {
            Ok(Given::Opened) => {
                self.health.set(crate::api::health::State::Serving);
                Ok(Response::new(pb::UnsealResponse::default()))
            }
            Ok(Given::Waiting(progress)) => Ok(Response::new(pb::UnsealResponse {
                waiting: Some(unsealing(progress)),
                entry_index: 0,
            })),
            Ok(Given::Good(custodian)) => {
                let Some(admitted) = &admitted else {
                    // Somebody else's share opened it meanwhile.
                    return Ok(Response::new(pb::UnsealResponse::default()));
                };
                let good = command::Admin::ShareAcknowledged(custodian);
                let Done::Noted { entry } = self.admin(admitted, good).await? else {
                    return Err(mismatched());
                };
                Ok(Response::new(pb::UnsealResponse {
                    waiting: None,
                    entry_index: entry,
                }))
            }
            Err(GateError::Refused(bad)) => Err(refuse(denial_of(bad)).await),
            Err(GateError::OtherKind(_)) => Err(refuse(Denial::WrongSeal).await),
            Err(GateError::Locked) => Err(refuse(Denial::Locked).await),
            Err(GateError::Open(error)) => {
                tracing::error!(alarm = "open", %error, "the vault can't be opened");
                Err(status::of_closed(&error))
            }
        }
    }

    async fn seal(
        &self,
        request: Request<pb::SealRequest>,
    ) -> Result<Response<pb::SealResponse>, Status> {
        let admitted = self.door.admit(Rpc::Seal, &request).await?;
        self.door.within_rate(&admitted)?;
        let gate = Arc::clone(self.door.gate());
        let caller = admitted.caller.clone();
        drop(admitted);
        self.health.set(crate::api::health::State::Sealed);
        tokio::task::spawn_blocking(move || gate.close(Note::Sealed, caller))
            .await
            .map_err(|_| status::internal("sealing failed"))?;
        Ok(Response::new(pb::SealResponse {}))
    }

    async fn create_principal(
        &self,
        request: Request<pb::CreatePrincipalRequest>,
    ) -> Result<Response<pb::CreatePrincipalResponse>, Status> {
        let admitted = self.door.admit(Rpc::CreatePrincipal, &request).await?;
        let asked = request.into_inner();
        let now = self.clock.now();
        let mut violations = Violations::new();
        let principal = new_principal(asked, &self.tls, now, &mut violations);
        let Some(mut principal) = principal.filter(|_| violations.is_empty()) else {
            return Err(admitted.invalid(violations, None).await);
        };
        let mut secret = None;
        if principal.role.is_human() {
            let (fresh, hash) = new_secret().await?;
            principal.secret_hash = hash;
            secret = Some(fresh);
        }
        let message = convert::principal_message(&principal);
        let create = command::Admin::CreatePrincipal(principal);
        match self.admin(&admitted, create).await? {
            Done::Noted { .. } => Ok(Response::new(pb::CreatePrincipalResponse {
                principal: Some(message),
                secret: secret.map(|s| s.expose().to_owned()).unwrap_or_default(),
                pending_action: String::new(),
            })),
            // The secret is forgotten: once enrolled, RotateSecret gives the first one.
            Done::Pending(action) => Ok(Response::new(pb::CreatePrincipalResponse {
                principal: None,
                secret: String::new(),
                pending_action: action.to_string(),
            })),
            _ => Err(mismatched()),
        }
    }

    async fn list_principals(
        &self,
        request: Request<pb::ListPrincipalsRequest>,
    ) -> Result<Response<pb::ListPrincipalsResponse>, Status> {
        let admitted = self.door.admit(Rpc::ListPrincipals, &request).await?;
        self.door.within_rate(&admitted)?;
        let registry = admitted.vault.registry();
        Ok(Response::new(pb::ListPrincipalsResponse {
            principals: registry
                .principals()
                .map(|p| convert::principal_message(p))
                .collect(),
        }))
    }

    async fn get_principal(
        &self,
        request: Request<pb::GetPrincipalRequest>,
    ) -> Result<Response<pb::GetPrincipalResponse>, Status> {
        let admitted = self.door.admit(Rpc::GetPrincipal, &request).await?;
        self.door.within_rate(&admitted)?;
        let principal = self
            .named(&admitted, &request.into_inner().principal)
            .await?;
        Ok(Response::new(pb::GetPrincipalResponse {
            principal: Some(convert::principal_message(&principal)),
        }))
    }

    async fn disable_principal(
        &self,
        request: Request<pb::DisablePrincipalRequest>,
    ) -> Result<Response<pb::DisablePrincipalResponse>, Status> {
        let admitted = self.door.admit(Rpc::DisablePrincipal, &request).await?;
        let principal = self
            .named(&admitted, &request.into_inner().principal)
            .await?;
        let disable = command::Admin::DisablePrincipal(principal.id);
        let Done::Noted { entry } = self.admin(&admitted, disable).await? else {
            return Err(mismatched());
        };
        admitted.vault.sessions.end_all(principal.id);
        Ok(Response::new(pb::DisablePrincipalResponse {
            entry_index: entry,
        }))
    }

    async fn rotate_secret(
        &self,
        request: Request<pb::RotateSecretRequest>,
    ) -> Result<Response<pb::RotateSecretResponse>, Status> {
        let admitted = self.door.admit(Rpc::RotateSecret, &request).await?;
        let principal = self
            .named(&admitted, &request.into_inner().principal)
            .await?;
        if !principal.role.is_human() {
            return Err(admitted.denied(Denial::NotApplicable).await);
        }
        let (secret, hash) = new_secret().await?;
        let set = command::Admin::SetSecret(principal.id, hash);
        let Done::Noted { .. } = self.admin(&admitted, set).await? else {
            return Err(mismatched());
        };
        admitted.vault.sessions.end_all(principal.id);
        Ok(Response::new(pb::RotateSecretResponse {
            secret: secret.expose().to_owned(),
        }))
    }

    async fn set_allowance(
        &self,
        request: Request<pb::SetAllowanceRequest>,
    ) -> Result<Response<pb::SetAllowanceResponse>, Status> {
        let admitted = self.door.admit(Rpc::SetAllowance, &request).await?;
        let mut violations = Violations::new();
        let asked = request.into_inner().allowance;
        let allowance = allowance(asked, &mut violations).filter(|_| violations.is_empty());
        let Some((key, allowance)) = allowance else {
            return Err(admitted.invalid(violations, None).await);
        };
        let set = command::Admin::SetAllowance(key, allowance);
        let pending_action = match self.admin(&admitted, set).await? {
            Done::Noted { .. } => String::new(),
            Done::Pending(action) => action.to_string(),
            _ => return Err(mismatched()),
        };
        Ok(Response::new(pb::SetAllowanceResponse { pending_action }))
    }

    async fn list_allowances(
        &self,
        request: Request<pb::ListAllowancesRequest>,
    ) -> Result<Response<pb::ListAllowancesResponse>, Status> {
        let admitted = self.door.admit(Rpc::ListAllowances, &request).await?;
        self.door.within_rate(&admitted)?;
        let registry = admitted.vault.registry();
        let allowances = registry.allowances().map(|(key, a)| pb::Allowance {
            site: key.site.to_string(),
            portal: key.portal.to_string(),
            processor: key.processor.to_string(),
            purposes: policy::Purpose::ALL
                .into_iter()
                .filter(|purpose| a.permits(*purpose))
                .map(|purpose| purpose as i32)
                .collect(),
            uses_max: a.uses_max.into(),
            release_seconds_max: i64::try_from(a.release_ms_max / 1_000).unwrap_or(i64::MAX),
            releases_per_hour: a.releases_per_hour,
        });
        Ok(Response::new(pb::ListAllowancesResponse {
            allowances: allowances.collect(),
        }))
    }

    async fn approve_action(
        &self,
        request: Request<pb::ApproveActionRequest>,
    ) -> Result<Response<pb::ApproveActionResponse>, Status> {
        let admitted = self.door.admit(Rpc::ApproveAction, &request).await?;
        let Ok(id) = ActionId::parse(&request.into_inner().action) else {
            let mut violations = Violations::new();
            violations.add("action", "must be an action's id (\"act_…\")");
            return Err(admitted.invalid(violations, None).await);
        };
        let Done::Noted { entry } = self.admin(&admitted, command::Admin::Approve(id)).await?
        else {
            return Err(mismatched());
        };
        admitted.vault.look_for_rewraps();
        Ok(Response::new(pb::ApproveActionResponse {
            entry_index: entry,
        }))
    }

    type TakeBackupStream =
        Pin<Box<dyn Stream<Item = Result<pb::TakeBackupResponse, Status>> + Send + 'static>>;

    async fn take_backup(
        &self,
        request: Request<pb::TakeBackupRequest>,
    ) -> Result<Response<Self::TakeBackupStream>, Status> {
        let admitted = self.door.admit(Rpc::TakeBackup, &request).await?;
        self.door.within_rate(&admitted)?;
        let Some(directory) = &self.backup_dir else {
            return Err(admitted.denied(Denial::NotConfigured).await);
        };
        let steps = admitted
            .vault
            .backup(admitted.caller.clone(), directory, admitted.deadline_ms)
            .await
            .map_err(|refusal| status::of_refusal(&refusal))?;
        let keys_dir = self.door.gate().house().keys_dir.display().to_string();
        let stream = ReceiverStream::new(steps).map(move |step| step_message(step, &keys_dir));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn confirm_restore(
        &self,
        request: Request<pb::ConfirmRestoreRequest>,
    ) -> Result<Response<pb::ConfirmRestoreResponse>, Status> {
        let admitted = self.door.admit(Rpc::ConfirmRestore, &request).await?;
        let confirm = command::Admin::ConfirmRestore;
        let pending_action = match self.admin(&admitted, confirm).await? {
            Done::Noted { .. } => String::new(),
            Done::Pending(action) => action.to_string(),
            _ => return Err(mismatched()),
        };
        Ok(Response::new(pb::ConfirmRestoreResponse { pending_action }))
    }

    async fn confirm_clock(
        &self,
        request: Request<pb::ConfirmClockRequest>,
    ) -> Result<Response<pb::ConfirmClockResponse>, Status> {
        let admitted = self.door.admit(Rpc::ConfirmClock, &request).await?;
        let mut violations = Violations::new();
        let asked = request.into_inner().time;
        let time = convert::optional_moment("time", asked, &mut violations);
        let shows = self.clock.now();
        let same = |time: Timestamp| time.0.abs_diff(shows.0) <= limits::CLOCK_STEP_MS;
        if violations.is_empty() && !time.is_some_and(same) {
            violations.add(
                "time",
                "must be what the vault's clock shows, within 5 minutes",
            );
        }
        if !violations.is_empty() {
            return Err(admitted.invalid(violations, None).await);
        }
        let confirm = command::Admin::ConfirmClock;
        let pending_action = match self.admin(&admitted, confirm).await? {
            Done::Noted { .. } => String::new(),
            Done::Pending(action) => action.to_string(),
            _ => return Err(mismatched()),
        };
        Ok(Response::new(pb::ConfirmClockResponse { pending_action }))
    }

    async fn place_hold(
        &self,
        request: Request<pb::PlaceHoldRequest>,
    ) -> Result<Response<pb::PlaceHoldResponse>, Status> {
        let admitted = self.door.admit(Rpc::PlaceHold, &request).await?;
        let mut violations = Violations::new();
        let asked = hold_request(request.into_inner(), &mut violations);
        let Some(asked) = asked.filter(|_| violations.is_empty()) else {
            return Err(admitted.invalid(violations, None).await);
        };
        let place = command::Admin::PlaceHold(asked);
        let pending_action = match self.admin(&admitted, place).await? {
            Done::Noted { .. } => String::new(),
            Done::Pending(action) => action.to_string(),
            _ => return Err(mismatched()),
        };
        Ok(Response::new(pb::PlaceHoldResponse { pending_action }))
    }

    async fn lift_hold(
        &self,
        request: Request<pb::LiftHoldRequest>,
    ) -> Result<Response<pb::LiftHoldResponse>, Status> {
        let admitted = self.door.admit(Rpc::LiftHold, &request).await?;
        let Ok(id) = HoldId::parse(&request.into_inner().hold) else {
            let mut violations = Violations::new();
            violations.add("hold", "must be a hold's id (\"hld_…\")");
            return Err(admitted.invalid(violations, None).await);
        };
        let lift = command::Admin::LiftHold(id);
        let pending_action = match self.admin(&admitted, lift).await? {
            Done::Noted { .. } => String::new(),
            Done::Pending(action) => action.to_string(),
            _ => return Err(mismatched()),
        };
        Ok(Response::new(pb::LiftHoldResponse { pending_action }))
    }

    async fn list_holds(
        &self,
        request: Request<pb::ListHoldsRequest>,
    ) -> Result<Response<pb::ListHoldsResponse>, Status> {
        let admitted = self.door.admit(Rpc::ListHolds, &request).await?;
        self.door.within_rate(&admitted)?;
        let registry = admitted.vault.registry();
        let seen = registry
            .holds()
            .filter(|(_, hold)| admitted.principal.serves(hold.site));
        let holds = seen.map(|(id, hold)| pb::Hold {
            id: id.to_string(),
            case_reference: hold.case.clone(),
            site: hold.site.to_string(),
            covers: hold.scope(),
            placed_at: Some(convert::time(hold.placed_at)),
        });
        Ok(Response::new(pb::ListHoldsResponse {
            holds: holds.collect(),
        }))
    }

    async fn erase_transaction(
        &self,
        request: Request<pb::EraseTransactionRequest>,
    ) -> Result<Response<pb::EraseTransactionResponse>, Status> {
        let admitted = self.door.admit(Rpc::EraseTransaction, &request).await?;
        let asked = request.into_inner();
        let mut violations = Violations::new();
        let transaction = convert::transaction(&asked.transaction, &mut violations);
        let chars_max = limits::REFERENCE_CHARS_MAX;
        let reference = convert::reference(
            "reference",
            &asked.reference,
            false,
            chars_max,
            &mut violations,
        );
        let last = last_entries(&asked.site, &asked.month, &mut violations);
        let (Some(transaction), true) = (transaction, violations.is_empty()) else {
            return Err(admitted.invalid(violations, transaction).await);
        };
        let work = Work::Erase(Box::new(ErasureRequest {
            transaction,
            reference,
            last,
        }));
        let Done::Erasure(erasure) = self.door.ask(&admitted, work).await? else {
            return Err(mismatched());
        };
        let name = |key: Option<KeyName>| key.map(|key| key.to_string()).unwrap_or_default();
        Ok(Response::new(pb::EraseTransactionResponse {
            erased: erasure.erased,
            rule: erasure.rule.clone(),
            redemption_ended_at: Some(convert::time(erasure.redemption_ended_at)),
            details_until: erasure.details_until.map(convert::time),
            details_key: name(erasure.details_key),
            entries_until: erasure.entries_until.map(convert::time),
            entries_key: name(erasure.entries_key),
            entry_index: erasure.entry,
            held_for: erasure.held_for,
        }))
    }

    async fn get_erasure_receipt(
        &self,
        request: Request<pb::GetErasureReceiptRequest>,
    ) -> Result<Response<pb::GetErasureReceiptResponse>, Status> {
        let admitted = self.door.admit(Rpc::GetErasureReceipt, &request).await?;
        self.door.within_rate(&admitted)?;
        let asked = request.into_inner();
        let Ok(name) = KeyName::parse(&asked.key) else {
            let mut violations = Violations::new();
            violations.add("key", "must be a key's name, as \"release/nl/20780\"");
            return Err(admitted.invalid(violations, None).await);
        };
        let generation = (asked.generation != 0).then_some(asked.generation);
        match admitted.vault.erasure_receipt(name, generation).await {
            Ok(receipt) => Ok(Response::new(pb::GetErasureReceiptResponse {
                receipt: Some(receipt_message(receipt)),
            })),
            Err(Refusal::Denied(denial)) => Err(admitted.denied(denial).await),
            Err(refusal) => Err(status::of_refusal(&refusal)),
        }
    }

    type ListKeysStream =
        Pin<Box<dyn Stream<Item = Result<pb::ListKeysResponse, Status>> + Send + 'static>>;

    async fn list_keys(
        &self,
        request: Request<pb::ListKeysRequest>,
    ) -> Result<Response<Self::ListKeysStream>, Status> {
        let admitted = self.door.admit(Rpc::ListKeys, &request).await?;
        self.door.within_rate(&admitted)?;
        let keys_dir = self.door.gate().house().keys_dir.clone();
        let seal = tokio::task::spawn_blocking(move || SealFile::read(&keys_dir))
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| status::internal("reading the seal failed"))?;
        let (generation, keys) = admitted.vault.keys();
        let messages = key_messages(&seal, generation, &keys);
        let stream = tokio_stream::iter(messages.into_iter().map(Ok));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn rotate_key(
        &self,
        request: Request<pb::RotateKeyRequest>,
    ) -> Result<Response<pb::RotateKeyResponse>, Status> {
        let admitted = self.door.admit(Rpc::RotateKey, &request).await?;
        let text = request.into_inner().name;
        let name = match text.is_empty() {
            true => None,
            false => match KeyName::parse(&text) {
                Ok(name) => Some(name),
                Err(_) => return Err(not_a_key(&admitted, "name").await),
            },
        };
        let rotate = command::Admin::RotateKey(name);
        let Done::Keys { keys, entry } = self.admin(&admitted, rotate).await? else {
            return Err(mismatched());
        };
        Ok(Response::new(pb::RotateKeyResponse {
            entry_index: if keys.is_empty() { 0 } else { entry },
            keys,
        }))
    }

    async fn rewrap_keys(
        &self,
        request: Request<pb::RewrapKeysRequest>,
    ) -> Result<Response<pb::RewrapKeysResponse>, Status> {
        let admitted = self.door.admit(Rpc::RewrapKeys, &request).await?;
        let rewrap = command::Admin::RewrapKeys;
        let Done::Keys { keys, .. } = self.admin(&admitted, rewrap).await? else {
            return Err(mismatched());
        };
        admitted.vault.look_for_rewraps();
        Ok(Response::new(pb::RewrapKeysResponse { keys }))
    }

    async fn compromise_key(
        &self,
        request: Request<pb::CompromiseKeyRequest>,
    ) -> Result<Response<pb::CompromiseKeyResponse>, Status> {
        let admitted = self.door.admit(Rpc::CompromiseKey, &request).await?;
        let (_, keys) = admitted.vault.keys();
        let id = match key_named(&request.into_inner().key, &keys) {
            Ok(Some(id)) => id,
            Ok(None) => return Err(admitted.denied(Denial::UnknownKey).await),
            Err(_) => return Err(not_a_key(&admitted, "key").await),
        };
        let compromise = command::Admin::CompromiseKey(id);
        let pending_action = match self.admin(&admitted, compromise).await? {
            Done::Noted { .. } => String::new(),
            Done::Pending(action) => action.to_string(),
            _ => return Err(mismatched()),
        };
        admitted.vault.look_for_rewraps();
        Ok(Response::new(pb::CompromiseKeyResponse { pending_action }))
    }
}

/// How far re-wrapping is, if there is something to do.
fn rewrap_message(status: &RewrapStatus) -> Option<pb::Rewrap> {
    let busy = status.running || !status.keys.is_empty();
    busy.then(|| pb::Rewrap {
        keys: status
            .keys
            .iter()
            .take(limits::KEYS_LISTED_AT_ONCE)
            .cloned()
            .collect(),
        permille: status.permille,
        rows: status.rows,
        failed: status.failed,
    })
}

/// A key by name, or by name and generation.
fn key_named(text: &str, keys: &[KeyFacts]) -> Result<Option<KeyId>, Malformed> {
    let (name, generation) = match text.split_once('#') {
        None => (text, None),
        Some((name, number)) => {
            let number: Option<u32> = number.parse().ok();
            // One spelling: neither a sign nor a zero before it.
            let number = number.filter(|n| *n > 0 && text == format!("{name}#{n}"));
            (
                name,
                Some(number.ok_or(Malformed::new("not a generation"))?),
            )
        }
    };
    let name = KeyName::parse(name)?;
    let mut of_name = keys.iter().filter(|key| key.name == name);
    let found = match generation {
        None => of_name.next_back(),
        Some(number) => of_name.find(|key| key.generation == number),
    };
    Ok(found.map(|key| key.id))
}

/// What an operator wants held: one transaction, or a site's time.
fn hold_request(asked: pb::PlaceHoldRequest, violations: &mut Violations) -> Option<HoldRequest> {
    let chars_max = limits::REFERENCE_CHARS_MAX;
    let named = &asked.case_reference;
    let case = convert::reference("case_reference", named, true, chars_max, violations);
    let ranged = !asked.site.is_empty() || asked.from_time.is_some() || asked.until_time.is_some();
    let scope = match (asked.transaction.is_empty(), ranged) {
        (false, true) | (true, false) => {
            violations.add(
                "transaction",
                "must be given, or else site, from_time and until_time",
            );
            return None;
        }
        (false, false) => {
            HoldScope::Transaction(convert::transaction(&asked.transaction, violations)?)
        }
        (true, true) => {
            let site = convert::site("site", &asked.site, violations);
            let from = convert::moment("from_time", asked.from_time, violations);
            let until = convert::moment("until_time", asked.until_time, violations);
            let (site, from, until) = (site?, from?, until?);
            if from >= until {
                violations.add("until_time", "must be after from_time");
            }
            HoldScope::Range { site, from, until }
        }
    };
    Some(HoldRequest { case, scope })
}

/// What an operator should know of a witness.
fn witness_warning(standing: &Standing) -> Option<String> {
    let name = &standing.witness;
    if let Some(conflict) = &standing.conflict {
        return Some(format!(
            "THE WITNESS {name} CONTRADICTS THIS LEDGER: {conflict}; keep everything as it is, and compare with newer copies and with the checkpoints that were handed out"
        ));
    }
    let why = standing.failing.as_deref().unwrap_or("it owes its answer");
    standing
        .silent
        .then(|| format!("the witness {name} has not cosigned for too long: {why}"))
}

/// That too few operators will be left who can act: nobody else could enrol another one.
fn lapse(registry: &Registry, alone: bool, now: Timestamp) -> Option<String> {
    let needed = if alone { 1 } else { 2 };
    let until = registry.operators_act_until(needed);
    (until < now.plus_ms(limits::LAPSE_WARNING_DAYS * DAY_MS)).then(|| {
        format!(
            "from {until} on fewer than {needed} operators can act, since agreements end then or nobody calls for {} days, and none could be enrolled: let each run `payvault status`, and enrol successors before",
            limits::IDLE_DAYS_MAX
        )
    })
}

/// What an operator should know of keys that end, and of those that never will.
fn endings(vault: &Vault) -> Vec<String> {
    let (_, keys) = vault.keys();
    let due: Vec<_> = keys
        .iter()
        .filter(|key| key.state == KeyState::PendingDestruction)
        // Release buckets end every day: that is no news.
        .filter(|key| matches!(key.name, KeyName::Log { .. } | KeyName::Hold { .. }))
        .collect();
    let mut warnings = Vec::new();
    if let Some(first) = due.iter().min_by_key(|key| key.not_after_decrypt) {
        warnings.push(format!(
            "{} keys are pending destruction, {} as the first one at {}: `payvault keys list --state pending-destruction`",
            due.len(),
            first.name,
            first.not_after_decrypt
        ));
    }
    for site in vault.sites_without_rule() {
        warnings.push(format!(
            "no rule says how long the log of {site} is kept: its keys will not be destroyed; put the site back into the configuration"
        ));
    }
    warnings
}

/// Site and month of a transaction's last entries: both, or none.
fn last_entries(site: &str, month: &str, violations: &mut Violations) -> Option<(Site, (i16, u8))> {
    if site.is_empty() && month.is_empty() {
        return None;
    }
    let site = convert::site("site", site, violations)?;
    match KeyName::parse(&format!("log/{site}/{month}")) {
        Ok(KeyName::Log { year, month, .. }) => Some((site, (year, month))),
        _ => {
            violations.add("month", "must be a month, as \"2026-11\", beside a site");
            None
        }
    }
}

/// How far unsealing is.
fn unsealing(progress: Progress) -> pb::Unsealing {
    pb::Unsealing {
        seal: progress.kind.as_str().to_owned(),
        shares_needed: progress.needed.into(),
        given_by: progress.given_by,
    }
}

/// Why a try to unseal is refused.
fn denial_of(bad: BadTry) -> Denial {
    match bad {
        BadTry::WrongPassphrase => Denial::BadSecret,
        BadTry::WrongPin => Denial::BadPin,
        BadTry::PinLocked => Denial::PinLocked,
        BadTry::ShareDamaged => Denial::ShareDamaged,
        BadTry::ShareForeign => Denial::ShareForeign,
        BadTry::ShareOutdated => Denial::ShareOutdated,
        BadTry::ShareRepeated => Denial::ShareRepeated,
        BadTry::ShareNotYours => Denial::ShareNotYours,
        BadTry::SharesMissing => Denial::SharesMissing,
    }
}

/// The list of keys, in pieces; the first one has the seal.
fn key_messages(seal: &SealFile, generation: u64, keys: &[KeyFacts]) -> Vec<pb::ListKeysResponse> {
    let mut messages: Vec<pb::ListKeysResponse> = keys
        .chunks(limits::KEYS_LISTED_AT_ONCE)
        .map(|some| pb::ListKeysResponse {
            keys: some.iter().map(key_message).collect(),
            ..Default::default()
        })
        .collect();
    if messages.is_empty() {
        messages.push(pb::ListKeysResponse::default());
    }
    messages[0].keyring_generation = generation;
    messages[0].seal = Some(pb::Seal {
        kind: seal.kind().as_str().to_owned(),
        algorithm: seal.kind().algorithm().to_owned(),
        strength_bits: 256,
        threshold: seal.threshold().into(),
        custodians: seal.custodians().iter().map(|c| c.name.clone()).collect(),
    });
    messages
}

fn key_message(key: &KeyFacts) -> pb::Key {
    let state = match key.state {
        KeyState::Active => pb::KeyState::Active,
        KeyState::DecryptOnly => pb::KeyState::DecryptOnly,
        KeyState::PendingDestruction => pb::KeyState::PendingDestruction,
        KeyState::Destroyed => pb::KeyState::Destroyed,
    };
    pb::Key {
        id: key.id.0,
        name: key.name.to_string(),
        purpose: key.name.purpose().to_owned(),
        algorithm: key.name.algorithm().to_owned(),
        strength_bits: key.name.strength_bits(),
        generation: key.generation,
        state: state.into(),
        created_at: Some(convert::time(key.created_at)),
        not_after_encrypt: Some(convert::time(key.not_after_encrypt)),
        not_after_decrypt: Some(convert::time(key.not_after_decrypt)),
        compromised: key.compromised,
        clear: key.clear,
        seals_reserved: key.seals_reserved,
    }
}

/// What an operator hears of a backup.
fn step_message(step: Step, keys_dir: &str) -> Result<pb::TakeBackupResponse, Status> {
    match step {
        Step::Progress(progress) => Ok(pb::TakeBackupResponse {
            records: progress.records,
            bytes: progress.bytes,
            backup: None,
        }),
        Step::Done(taken) => Ok(pb::TakeBackupResponse {
            records: taken.trailer.records,
            bytes: taken.bytes,
            backup: Some(pb::Backup {
                file: taken.file.display().to_string(),
                id: taken.header.id_text(),
                ledger_size: taken.trailer.size,
                checkpoint: taken.trailer.note,
                keyring_generation: taken.trailer.keyring_generation,
                keys_dir: keys_dir.to_owned(),
            }),
        }),
        // For operators: it names files of the vault's machine, and no content.
        Step::Failed(error) => Err(status::status(
            Code::Aborted,
            "BACKUP_FAILED",
            &format!("no backup was made: {error}"),
        )),
    }
}

/// A principal that an operator asks for.
fn new_principal(
    asked: pb::CreatePrincipalRequest,
    tls: &Tls,
    now: Timestamp,
    violations: &mut Violations,
) -> Option<Principal> {
    let name_fits = (1..=limits::NAME_CHARS_MAX).contains(&asked.name.len())
        && asked
            .name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && !crate::payment::luhn::contains_card_number(&asked.name)
        // Calls take an id or a name: one must not be mistaken for the other.
        && PrincipalId::parse(&asked.name).is_err();
    if !name_fits {
        violations.add(
            "name",
            "must be 1 to 64 characters of a-z 0-9 . - _, and neither an id nor a card number",
        );
    }
    let role = convert::role(asked.role, violations);
    if asked.sites.len() > limits::SITES_MAX {
        violations.add("sites", "must be at most 16");
    }
    let mut sites = Vec::new();
    for (number, site) in asked.sites.iter().take(limits::SITES_MAX).enumerate() {
        sites.extend(convert::site(&format!("sites[{number}]"), site, violations));
    }
    sites.sort();
    sites.dedup();
    if matches!(role, Some(Role::Portal | Role::Processor)) && sites.is_empty() {
        violations.add("sites", "is required for portals and processors");
    }
    let given = asked.agreement.is_some();
    let agreement = convert::agreement(asked.agreement, violations);
    match role {
        Some(role) if role.is_human() && !given => {
            violations.add("agreement", "is required for people");
        }
        Some(role) if !role.is_human() && given => {
            violations.add("agreement", "is for people only");
        }
        _ => {}
    }
    let identity = if asked.certificate_pem.len() > limits::CERTIFICATE_PEM_BYTES_MAX {
        Err("must be at most 16 KiB")
    } else {
        identity_of_pem(&asked.certificate_pem, &tls.client_cas(), now)
            .map_err(|_| "must be one valid certificate of a configured client CA with one URI SAN")
    };
    let identity = violations.keep("certificate_pem", identity)?;
    Some(Principal {
        id: PrincipalId::random(),
        name: asked.name,
        role: role?,
        sites,
        certificate_uri: identity.uri,
        issuer_key: identity.issuer_key,
        agreement,
        secret_hash: String::new(),
        disabled: false,
        created_at: now,
        last_seen: now,
        bad_tries: 0,
        locked_until: Timestamp(0),
    })
}

/// An allowance that an operator asks for; `None` inside takes it away.
fn allowance(
    asked: Option<pb::Allowance>,
    violations: &mut Violations,
) -> Option<(AllowanceKey, Option<Allowance>)> {
    let Some(asked) = asked else {
        violations.add("allowance", "is required");
        return None;
    };
    let site = convert::site("allowance.site", &asked.site, violations);
    let id = |field: &str, text: &str, violations: &mut Violations| {
        let read = PrincipalId::parse(text).map_err(|_| "must be a principal id (\"prn_…\")");
        violations.keep(field, read)
    };
    let portal = id("allowance.portal", &asked.portal, violations);
    let processor = id("allowance.processor", &asked.processor, violations);
    let key = AllowanceKey {
        site: site?,
        portal: portal?,
        processor: processor?,
    };
    if asked.purposes.is_empty() {
        return Some((key, None));
    }
    if asked.purposes.len() > policy::Purpose::ALL.len() {
        violations.add("allowance.purposes", "must be at most 6");
        return None;
    }
    let mut purposes = 0u8;
    for (number, code) in asked.purposes.iter().enumerate() {
        let field = format!("allowance.purposes[{number}]");
        if let Some(purpose) = convert::purpose(&field, *code, violations) {
            purposes |= 1 << (purpose as u8 - 1);
        }
    }
    let uses_max = u8::try_from(asked.uses_max)
        .ok()
        .filter(|uses| (1..=limits::USES_MAX).contains(&u32::from(*uses)));
    if uses_max.is_none() {
        violations.add("allowance.uses_max", "must be 1 to 100");
    }
    let release_ms_max = u64::try_from(asked.release_seconds_max)
        .ok()
        .and_then(|seconds| seconds.checked_mul(1_000))
        .filter(|ms| (1..=limits::RELEASE_MS_MAX).contains(ms));
    if release_ms_max.is_none() {
        violations.add(
            "allowance.release_seconds_max",
            "must be 1 second to 400 days",
        );
    }
    if !(1..=10_000_000).contains(&asked.releases_per_hour) {
        violations.add("allowance.releases_per_hour", "must be 1 to 10,000,000");
    }
    let allowance = Allowance {
        purposes,
        uses_max: uses_max?,
        release_ms_max: release_ms_max?,
        releases_per_hour: asked.releases_per_hour,
    };
    Some((key, Some(allowance)))
}

/// What status says of the engine. Only sled's flush rests on our barrier; redb asks the system for
/// `fdatasync` itself, which nobody can prove from inside.
fn store_text(name: &str) -> String {
    if name == EngineKind::Redb.name() {
        name.to_owned()
    } else {
        format!("{name}, write barrier proven")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_try_has_one_code_in_the_journal_and_in_the_reply() {
        for bad in BadTry::ALL {
            assert_eq!(denial_of(bad).as_str(), bad.as_str());
        }
    }
}
