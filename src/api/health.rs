//! `grpc.health.v1`: what load balancers and probes ask. Says which services take calls, nothing
//! more; it is the only service that answers without a certificate (on its own listener).

use super::proto;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// What the vault can do at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Sealed: only status and `Unseal` (the admin service) work.
    Sealed,
    /// Everything works.
    Serving,
    /// Nothing new is taken in. Final.
    Draining,
}

/// The health service, and the handle that tells it. Clones share one state.
#[derive(Clone)]
pub struct Health {
    state: watch::Sender<State>,
}

impl Default for Health {
    fn default() -> Health {
        Health::new()
    }
}

impl Health {
    /// A vault that starts: sealed until told otherwise.
    pub fn new() -> Health {
        Health {
            state: watch::Sender::new(State::Sealed),
        }
    }

    /// Says what the vault can do from now on. After [`State::Draining`] nothing else counts.
    pub fn set(&self, state: State) {
        self.state.send_if_modified(|current| {
            let changes = *current != State::Draining && *current != state;
            if changes {
                *current = state;
            }
            changes
        });
    }

    /// What it said last.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    pub(super) fn server(&self) -> HealthServer<Health> {
        HealthServer::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// A health request holds a service's name only.
const MESSAGE_BYTES_MAX: usize = 1024;

const ADMIN: &str = <proto::admin_service_server::AdminServiceServer<()> as NamedService>::NAME;

/// The services that a probe may name; the empty name is the vault as a whole.
const KNOWN: &[&str] = &[
    "",
    <proto::vault_service_server::VaultServiceServer<()> as NamedService>::NAME,
    <proto::ledger_service_server::LedgerServiceServer<()> as NamedService>::NAME,
    <proto::session_service_server::SessionServiceServer<()> as NamedService>::NAME,
    ADMIN,
];

fn status(service: &str, state: State) -> ServingStatus {
    match state {
        _ if !KNOWN.contains(&service) => ServingStatus::ServiceUnknown,
        State::Serving => ServingStatus::Serving,
        State::Sealed if service == ADMIN => ServingStatus::Serving,
        State::Sealed | State::Draining => ServingStatus::NotServing,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match status(&request.get_ref().service, self.state()) {
            // The health protocol asks for this code, and takes no details.
            ServingStatus::ServiceUnknown => Err(Status::not_found("no such service")),
            known => Ok(Response::new(response(known))),
        }
    }

    type WatchStream = Watched;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Watched>, Status> {
        Ok(Response::new(Watched {
            service: request.into_inner().service,
            states: WatchStream::new(self.state.subscribe()),
            last: None,
            over: false,
        }))
    }
}

/// The states of one service as they change. Ends when the vault drains, since a watcher must not
/// hold up the end.
pub struct Watched {
    service: String,
    states: WatchStream<State>,
    last: Option<ServingStatus>,
    over: bool,
}

impl Stream for Watched {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            let Poll::Ready(state) = Pin::new(&mut self.states).poll_next(cx) else {
                return Poll::Pending;
            };
            let Some(state) = state else {
                return Poll::Ready(None);
            };
            self.over = state == State::Draining;
            let now = status(&self.service, state);
            if self.last.replace(now) != Some(now) {
                return Poll::Ready(Some(Ok(response(now))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use health_server::Health as _;
    use tokio_stream::StreamExt;

    fn request(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest {
            service: service.to_owned(),
        })
    }

    #[tokio::test]
    async fn a_sealed_vault_serves_its_admin_service_only() {
        let health = Health::new();
        for service in KNOWN {
            let answer = health.check(request(service)).await.unwrap().into_inner();
            let expected = match *service {
                "payvault.v1.AdminService" => ServingStatus::Serving,
                _ => ServingStatus::NotServing,
            };
            assert_eq!(answer.status(), expected, "{service}");
        }
        health.set(State::Serving);
        for service in KNOWN {
            let answer = health.check(request(service)).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
        }
        let unknown = health
            .check(request("payvault.v1.Other"))
            .await
            .unwrap_err();
        assert_eq!(unknown.code(), tonic::Code::NotFound);
    }

    #[tokio::test]
    async fn draining_is_final_and_ends_watching() {
        let health = Health::new();
        let mut watched = health.watch(request("")).await.unwrap().into_inner();
        let mut next = async || watched.next().await.map(|answer| answer.unwrap().status());
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        health.set(State::Serving);
        assert_eq!(next().await, Some(ServingStatus::Serving));
        health.set(State::Draining);
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        health.set(State::Serving);
        assert_eq!(health.state(), State::Draining);
        assert_eq!(next().await, None);
    }
}
