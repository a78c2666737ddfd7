//! A running service: the services over a gate, the clock's ticks, and the end.

use super::door::Door;
use super::health::{Health, State};
use super::listen::Bounds;
use super::proto as pb;
use super::refusal::RefusedHandshakes;
use super::server::{Ended, ServeError, Serving, serve};
use super::services::{Admin, Ledger, Session, VaultApi};
use super::tls::Tls;
use crate::clock::Clock;
use crate::limits;
use crate::payment::ModulusTables;
use crate::vault::Gate;
use crate::vault::command::{Caller, Note, Work};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::service::Routes;

/// The service over a gate.
pub struct Node {
    gate: Arc<Gate>,
    tls: Arc<Tls>,
    clock: Clock,
    calls_per_second: u32,
    backup_dir: Option<PathBuf>,
    uk_modulus: ModulusTables,
}

impl Node {
    /// Puts the service together; nothing runs yet.
    pub fn new(gate: Arc<Gate>, tls: Arc<Tls>, clock: Clock, calls_per_second: u32) -> Node {
        Node {
            gate,
            tls,
            clock,
            calls_per_second,
            backup_dir: None,
            uk_modulus: ModulusTables::default(),
        }
    }

    /// Where backups go that operators ask for; without it none are taken.
    #[must_use]
    pub fn with_backup_dir(mut self, directory: Option<PathBuf>) -> Node {
        self.backup_dir = directory;
        self
    }

    /// What British accounts are checked with; without it they are presumed valid.
    #[must_use]
    pub fn with_uk_modulus(mut self, tables: ModulusTables) -> Node {
        self.uk_modulus = tables;
        self
    }

    /// Serves until `shutdown`, then drains and closes the vault: last entry, last round, last
    /// mark.
    ///
    /// # Errors
    /// When the server can't start, or ends by itself. The vault is closed then, too.
    pub async fn run(
        self,
        listener: TcpListener,
        health_listener: Option<TcpListener>,
        reflection: bool,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Ended, ServeError> {
        let Node {
            gate,
            tls,
            clock,
            calls_per_second,
            backup_dir,
            uk_modulus,
        } = self;
        let health = Health::new();
        if gate.vault().is_some() {
            health.set(State::Serving);
        }
        let refused = Arc::new(RefusedHandshakes::default());
        let door = Door::new(Arc::clone(&gate), clock.clone(), calls_per_second);
        let stopping = Arc::clone(&door);
        let shutdown = async move {
            shutdown.await;
            stopping.drain();
        };
        let serving = Serving {
            listener,
            routes: routes(&door, &tls, &clock, &health, backup_dir, uk_modulus),
            tls,
            health,
            health_listener,
            reflection,
            refused: Arc::clone(&refused),
            clock,
            bounds: Bounds::within_descriptors(),
        };
        let ticking = tokio::spawn(tick(Arc::clone(&gate), Arc::clone(&refused)));
        let ended = serve(serving, shutdown).await;
        ticking.abort();
        // The last minute's, too: a restart must not be a way to leave no trace.
        note_refused(&gate, &refused).await;
        let closed =
            tokio::task::spawn_blocking(move || gate.close(Note::Stopped, Caller::vault())).await;
        if closed.is_err() {
            tracing::error!(alarm = "panic", "closing the vault ended with a panic");
        }
        ended
    }
}

fn routes(
    door: &Arc<Door>,
    tls: &Arc<Tls>,
    clock: &Clock,
    health: &Health,
    backup_dir: Option<PathBuf>,
    uk_modulus: ModulusTables,
) -> Routes {
    use pb::admin_service_server::AdminServiceServer;
    use pb::ledger_service_server::LedgerServiceServer;
    use pb::session_service_server::SessionServiceServer;
    use pb::vault_service_server::VaultServiceServer;
    let admin = Admin::new(
        Arc::clone(door),
        Arc::clone(tls),
        clock.clone(),
        health.clone(),
        backup_dir,
    );
    let max = limits::MESSAGE_BYTES_MAX;
    Routes::new(
        VaultServiceServer::new(VaultApi::new(Arc::clone(door), uk_modulus))
            .max_decoding_message_size(max),
    )
    .add_service(
        LedgerServiceServer::new(Ledger::new(Arc::clone(door))).max_decoding_message_size(max),
    )
    .add_service(
        SessionServiceServer::new(Session::new(Arc::clone(door))).max_decoding_message_size(max),
    )
    .add_service(AdminServiceServer::new(admin).max_decoding_message_size(max))
}

/// Once a second the vault's housekeeping; once a minute the refused handshakes go into the
/// ledger.
async fn tick(gate: Arc<Gate>, refused: Arc<RefusedHandshakes>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0u64;
    loop {
        ticks.tick().await;
        count += 1;
        gate.tidy();
        let Some(vault) = gate.vault() else { continue };
        vault.tick();
        if count.is_multiple_of(60) {
            note_refused(&gate, &refused).await;
        }
    }
}

/// Enters the handshakes that were refused since the last time; while the vault is sealed they are
/// counted on.
async fn note_refused(gate: &Gate, refused: &RefusedHandshakes) {
    let Some(vault) = gate.vault() else { return };
    let counts: Vec<(String, u64)> = refused
        .take()
        .into_iter()
        .map(|c| {
            let origin = c
                .origin
                .map_or_else(|| "others".to_owned(), |ip| ip.to_string());
            (format!("{origin} {}", c.refusal.as_str()), c.count)
        })
        .collect();
    if counts.is_empty() {
        return;
    }
    let note = Work::Note(Note::Handshakes(counts));
    if let Err(error) = vault.ask(Caller::vault(), note, u64::MAX).await {
        tracing::warn!(%error, "refused handshakes could not be noted");
    }
}
