//! `SessionService`.

use super::mismatched;
use crate::api::convert;
use crate::api::door::{Door, bearer};
use crate::api::proto as pb;
use crate::api::status;
use crate::api::violations::Violations;
use crate::limits;
use crate::policy::Rpc;
use crate::secret::SecretText;
use crate::vault::command::{Admin, Done, Work};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
pub struct Session {
    door: Arc<Door>,
}

impl Session {
    /// Behind `door`.
    pub fn new(door: Arc<Door>) -> Session {
        Session { door }
    }
}

#[tonic::async_trait]
impl pb::session_service_server::SessionService for Session {
    async fn login(
        &self,
        request: Request<pb::LoginRequest>,
    ) -> Result<Response<pb::LoginResponse>, Status> {
        let admitted = self.door.admit(Rpc::Login, &request).await?;
        self.door.within_rate(&admitted)?;
        let secret = SecretText::new(request.into_inner().secret);
        if secret.is_empty() || secret.len() > limits::SECRET_BYTES_MAX {
            let mut violations = Violations::new();
            violations.add("secret", "must be 1 to 128 bytes");
            return Err(admitted.invalid(violations, None).await);
        }
        let vault = &admitted.vault;
        let session = vault
            .login(admitted.caller.clone(), secret, admitted.deadline_ms)
            .await
            .map_err(|refusal| status::of_refusal(&refusal))?;
        let expires_at = vault.clock().now().plus_ms(limits::SESSION_MS_MAX);
        Ok(Response::new(pb::LoginResponse {
            session: session.expose().to_owned(),
            expires_at: Some(convert::time(expires_at)),
        }))
    }

    async fn logout(
        &self,
        request: Request<pb::LogoutRequest>,
    ) -> Result<Response<pb::LogoutResponse>, Status> {
        let admitted = self.door.admit(Rpc::Logout, &request).await?;
        let work = Work::Admin(Box::new(Admin::LoggedOut));
        let Done::Noted { .. } = self.door.ask(&admitted, work).await? else {
            return Err(mismatched());
        };
        if let Some(session) = bearer(&request) {
            admitted.vault.sessions.end(admitted.principal.id, session);
        }
        Ok(Response::new(pb::LogoutResponse {}))
    }
}
