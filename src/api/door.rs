//! Who is calling, and may they: the first steps of every call. Certificate, principal, agreement,
//! role and session are judged here; what is refused here gets its ledger entry like any other
//! refusal.

use super::connection::PeerInfo;
use super::crowd::{Crowd, Spot};
use super::deadline::Deadline;
use super::rate::Rates;
use super::status;
use super::violations::Violations;
use crate::clock::Clock;
use crate::ids::{PrincipalId, TransactionId};
use crate::limits;
use crate::policy::{self, Denial, Principal, Rpc, rule};
use crate::vault::command::{Admin, Caller, Done, Refusal, Work};
use crate::vault::{Gate, Vault};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tonic::{Request, Status};

/// The way to the vault that every service shares.
pub struct Door {
    gate: Arc<Gate>,
    clock: Clock,
    rates: Rates,
    /// Day of the last call that was noted, for the 90-day rule.
    seen: Mutex<HashMap<PrincipalId, u32>>,
    streams: Arc<Crowd<PrincipalId>>,
    draining: AtomicBool,
}

/// One of the streams that a principal may have under way.
pub struct StreamTurn {
    _spot: Spot<PrincipalId>,
}

/// A caller that may make its call.
pub struct Admitted {
    /// The open vault.
    pub vault: Arc<Vault>,
    /// Who calls.
    pub principal: Arc<Principal>,
    /// The same, as commands have it.
    pub caller: Caller,
    /// Monotonic time after which nobody waits.
    pub deadline_ms: u64,
    rpc: Rpc,
}

impl Door {
    /// A door to what stands behind `gate`.
    pub fn new(gate: Arc<Gate>, clock: Clock, calls_per_second: u32) -> Arc<Door> {
        Arc::new(Door {
            gate,
            clock: clock.clone(),
            rates: Rates::new(calls_per_second, clock),
            seen: Mutex::default(),
            streams: Crowd::new(limits::STREAMS_PER_PRINCIPAL_MAX),
            draining: AtomicBool::new(false),
        })
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The vault stops: streams end as soon as they have answered what they read.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the vault stops.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The gate.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Whose certificate the connection has.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when there is none, or it is no longer trusted.
    pub fn peer<T>(&self, request: &Request<T>) -> Result<Arc<PeerInfo>, Status> {
        request
            .extensions()
            .get::<Arc<PeerInfo>>()
            .filter(|peer| peer.trusted(self.clock.now()))
            .cloned()
            .ok_or_else(status::no_identity)
    }

    /// When the call's time is over.
    pub fn deadline_ms<T>(&self, request: &Request<T>) -> u64 {
        request.extensions().get::<Deadline>().map_or_else(
            || self.clock.monotonic_ms() + limits::DEADLINE_MS_MAX,
            |deadline| deadline.monotonic_ms,
        )
    }

    /// Lets a call in, or refuses it with an entry.
    ///
    /// # Errors
    /// What the caller may know of the reason.
    pub async fn admit<T>(&self, rpc: Rpc, request: &Request<T>) -> Result<Admitted, Status> {
        let peer = self.peer(request)?;
        let vault = self
            .gate
            .vault()
            .ok_or_else(|| status::of_refusal(&Refusal::Sealed))?;
        let deadline_ms = self.deadline_ms(request);
        let registry = vault.registry();
        let identity = &peer.identity;
        let principal = registry.by_credential(&identity.issuer_key, &identity.uri);
        let caller = Caller {
            principal: principal.cloned(),
            origin: Arc::clone(&peer.origin),
        };
        let judged = match principal {
            None => Err(Denial::UnknownCaller),
            Some(principal) => {
                let now = self.clock.now();
                let session = bearer(request);
                // Role before session: a caller learns first that it is at the wrong door.
                policy::admit(rpc, principal, session.is_some(), now).and_then(|()| match session {
                    Some(session) if rule(rpc).session => {
                        let now_ms = self.clock.monotonic_ms();
                        vault.sessions.touch(principal.id, session, now_ms)
                    }
                    _ => Ok(()),
                })
            }
        };
        match (judged, principal) {
            (Ok(()), Some(principal)) => {
                let principal = Arc::clone(principal);
                self.note_seen(&vault, &caller, &principal);
                Ok(Admitted {
                    vault,
                    principal,
                    caller,
                    deadline_ms,
                    rpc,
                })
            }
            (judged, _) => {
                let denial = judged.err().unwrap_or(Denial::UnknownCaller);
                Err(refuse(&vault, caller, rpc, denial, None, deadline_ms).await)
            }
        }
    }

    /// Notes the first call of a day, so that a principal that calls does not fall idle.
    fn note_seen(&self, vault: &Arc<Vault>, caller: &Caller, principal: &Principal) {
        let today = self.clock.now().day();
        if principal.last_seen.day() == today {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.insert(principal.id, today) == Some(today) {
            return;
        }
        drop(seen);
        let (vault, caller, id) = (Arc::clone(vault), caller.clone(), principal.id);
        tokio::spawn(async move {
            let work = Work::Admin(Box::new(Admin::Seen(id)));
            if let Err(error) = vault.ask(caller, work, u64::MAX).await {
                tracing::warn!(%error, "a principal's last call could not be noted");
            }
        });
    }

    /// Sends an admitted caller's command through the vault's one door.
    ///
    /// # Errors
    /// Its rate, or what the vault says.
    pub async fn ask(&self, admitted: &Admitted, work: Work) -> Result<Done, Status> {
        self.within_rate(admitted)?;
        admitted
            .vault
            .ask(admitted.caller.clone(), work, admitted.deadline_ms)
            .await
            .map_err(|refusal| status::of_refusal(&refusal))
    }

    /// A place for one stream more of an admitted caller.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`, with an entry.
    pub async fn stream_turn(&self, admitted: &Admitted) -> Result<StreamTurn, Status> {
        match self.streams.take(admitted.principal.id) {
            Some(spot) => Ok(StreamTurn { _spot: spot }),
            None => Err(admitted.denied(Denial::TooMany).await),
        }
    }

    /// Whether a caller that was admitted a while ago would be admitted still. A person's session
    /// was looked at when the call began, and isn't again.
    ///
    /// # Errors
    /// What a new call would be refused with.
    pub fn still_admits(&self, admitted: &Admitted) -> Result<(), Denial> {
        let registry = admitted.vault.registry();
        let principal = registry
            .principal(admitted.principal.id)
            .ok_or(Denial::PrincipalDisabled)?;
        policy::admit(admitted.rpc, principal, true, self.clock.now())
    }

    /// Takes up to `wanted` calls from a principal's rate, and says how many there were.
    pub fn take_calls(&self, admitted: &Admitted, wanted: usize) -> usize {
        self.rates.take_some(admitted.principal.id, wanted)
    }

    /// Counts a call against its principal's rate.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`.
    pub fn within_rate(&self, admitted: &Admitted) -> Result<(), Status> {
        if self.rates.take(admitted.principal.id) {
            Ok(())
        } else {
            Err(status::of_denial(Denial::RateLimited))
        }
    }
}

impl Admitted {
    /// Which call it makes.
    pub fn rpc(&self) -> Rpc {
        self.rpc
    }

    /// Refuses a call that policy let in and its service does not, with an entry.
    pub async fn denied(&self, denial: Denial) -> Status {
        refuse(
            &self.vault,
            self.caller.clone(),
            self.rpc,
            denial,
            None,
            self.deadline_ms,
        )
        .await
    }

    /// Refuses a request whose fields are wrong, with an entry that says no more than that.
    pub async fn invalid(
        &self,
        violations: Violations,
        transaction: Option<TransactionId>,
    ) -> Status {
        let refused = refuse(
            &self.vault,
            self.caller.clone(),
            self.rpc,
            Denial::InvalidRequest,
            transaction,
            self.deadline_ms,
        )
        .await;
        match refused.code() {
            tonic::Code::InvalidArgument => status::invalid(violations),
            _ => refused,
        }
    }
}

/// Writes a refusal's entry, and says what the caller may know. When the entry can't be written
/// the caller learns only that.
async fn refuse(
    vault: &Vault,
    caller: Caller,
    rpc: Rpc,
    denial: Denial,
    transaction: Option<TransactionId>,
    deadline_ms: u64,
) -> Status {
    let work = Work::Refused {
        rpc,
        denial,
        transaction,
    };
    match vault.ask(caller, work, deadline_ms).await {
        Err(refusal) => status::of_refusal(&refusal),
        Ok(_) => status::internal("a refusal succeeded"),
    }
}

/// The session that a request carries, if any.
pub fn bearer<T>(request: &Request<T>) -> Option<&str> {
    let value = request.metadata().get("authorization")?.to_str().ok()?;
    let session = value.strip_prefix("Bearer ")?;
    (session.len() <= limits::SECRET_BYTES_MAX).then_some(session)
}
