//! The server's life: it takes a bound listener and routes, serves until it is told to stop, and
//! then drains within a bound. It opens no port itself and knows no service.

use super::deadline::DeadlineLayer;
use super::health::{Health, State};
use super::listen::{Bounds, Doorkeeper, accept_plain, accept_tls};
use super::pace::PaceLayer;
use super::pulse::PulseLayer;
use super::refusal::RefusedHandshakes;
use super::tls::Tls;
use crate::clock::Clock;
use crate::limits;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::transport::Server;

/// The proto files as a descriptor set, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/payvault_descriptor.bin"));

/// What a server is made of.
pub struct Serving {
    /// Where clients with certificates connect; bound already.
    pub listener: TcpListener,
    /// Its TLS.
    pub tls: Arc<Tls>,
    /// The services. Each must set
    /// `max_decoding_message_size(`[`limits::MESSAGE_BYTES_MAX`]`)` itself: tonic has no setting
    /// for all of them.
    pub routes: Routes,
    /// The health service; it is added to the routes here.
    pub health: Health,
    /// Where probes without a certificate ask for health, and for nothing else: a loopback
    /// address.
    pub health_listener: Option<TcpListener>,
    /// Whether the services describe themselves (`grpc.reflection.v1`).
    pub reflection: bool,
    /// Where refused handshakes are counted.
    pub refused: Arc<RefusedHandshakes>,
    /// Time, for deadlines and for certificates.
    pub clock: Clock,
    /// The bounds; [`Bounds::default`] but in tests.
    pub bounds: Bounds,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every call under way was answered.
    Drained,
    /// The drain took too long: what was left was cut. Callers retry with the same request id.
    Cut,
}

/// Why a server could not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Health would be open to the network without a certificate.
    #[error("health_listen: {0} is not a loopback address")]
    HealthNotLoopback(std::net::SocketAddr),
    /// The listener's address can't be read.
    #[error("a listener has no address: {0}")]
    Listener(std::io::Error),
    /// There are no threads for handshakes.
    #[error("threads for handshakes can't be started: {0}")]
    Threads(std::io::Error),
    /// The descriptor set is not usable for reflection.
    #[error("reflection can't be set up: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The server stopped by itself.
    #[error("the server stopped: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The accept loop stopped by itself.
    #[error("the server stopped accepting connections")]
    Stopped,
}

/// Serves until `shutdown` completes, then drains: health says NOT_SERVING, the listener closes,
/// calls under way have [`Bounds::drain`], and what is left is cut. Dropping the future cuts
/// everything at once.
///
/// # Errors
/// When it can't start, or ends before `shutdown`.
pub async fn serve(
    serving: Serving,
    shutdown: impl Future<Output = ()>,
) -> Result<Ended, ServeError> {
    let Serving {
        listener,
        tls,
        routes,
        health,
        health_listener,
        reflection,
        refused,
        clock,
        bounds,
    } = serving;

    // Connections are cut when this says so, or when it is dropped.
    let (cut, cut_all) = watch::channel(false);
    let mut probes = JoinSet::new();
    if let Some(listener) = health_listener {
        let address = listener.local_addr().map_err(ServeError::Listener)?;
        if !address.ip().is_loopback() {
            return Err(ServeError::HealthNotLoopback(address));
        }
        probes.spawn(serve_health(listener, health.clone(), cut_all.clone()));
    }

    let mut routes = routes.add_service(health.server());
    if reflection {
        routes = routes.add_service(
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .build_v1()?,
        );
    }
    let (stop, mut stopped) = watch::channel(false);
    let incoming = accept_tls(
        listener,
        Arc::new(Doorkeeper {
            tls,
            clock: clock.clone(),
            bounds,
            refused,
            cut_all,
        }),
    )
    .map_err(ServeError::Threads)?;
    let server = http2()
        .max_connection_age(bounds.connection_age)
        .layer(PulseLayer::new(clock.clone()))
        // Around deadlines: theirs are refusals, too.
        .layer(PaceLayer::until(stopped.clone()))
        .layer(DeadlineLayer::new(clock, bounds.deadline))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
    let mut server = pin!(server);

    tokio::select! {
        ended = &mut server => {
            ended?;
            return Err(ServeError::Stopped);
        }
        () = shutdown => {}
    }
    // Health first, so that no balancer sends here what will be refused.
    health.set(State::Draining);
    stop.send_replace(true);
    if let Ok(ended) = tokio::time::timeout(bounds.drain, &mut server).await {
        ended?;
        return Ok(Ended::Drained);
    }
    cut.send_replace(true);
    // Connections end as soon as they are polled; the bound is for a runtime that is stuck.
    if let Ok(ended) = tokio::time::timeout(CUT_MAX, &mut server).await {
        ended?;
    }
    Ok(Ended::Cut)
}

/// How long connections that were cut may take to notice.
const CUT_MAX: Duration = Duration::from_secs(1);

async fn serve_health(listener: TcpListener, health: Health, cut_all: watch::Receiver<bool>) {
    let incoming = accept_plain(listener, cut_all);
    let served = http2()
        .timeout(Duration::from_millis(limits::DEADLINE_MS_MAX))
        .add_service(health.server())
        .serve_with_incoming(incoming)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the health listener stopped");
    }
}

/// HTTP/2 as both listeners speak it: windows that hold a few messages of the largest size, so
/// that a connection can't buffer more than its share, and pings that find dead peers.
fn http2() -> Server {
    Server::builder()
        .max_concurrent_streams(limits::CALLS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(limits::HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(limits::RESETS_WAITING_MAX))
        // Unbounded unless it is set (CVE-2025-8671).
        .http2_max_local_error_reset_streams(Some(limits::STREAM_ERRORS_MAX))
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(Duration::from_millis(limits::KEEPALIVE_MS)))
        .http2_keepalive_timeout(Some(Duration::from_millis(limits::KEEPALIVE_ANSWER_MS_MAX)))
}

#[cfg(test)]
mod tests;
