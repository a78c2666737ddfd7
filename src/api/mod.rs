//! The network: TLS, the server's life, who is calling, one file a service.

pub mod client;
pub mod config;
pub mod connection;
pub mod convert;
mod crowd;
pub mod deadline;
pub mod details_json;
pub mod dev_ca;
pub mod door;
pub mod health;
pub mod identity;
pub mod listen;
pub mod message;
pub mod node;
mod pace;
#[allow(missing_docs, clippy::all)]
pub mod proto {
    tonic::include_proto!("payvault.v1");
    include!(concat!(env!("OUT_DIR"), "/debug.rs"));
}
mod pulse;
pub mod rate;
pub mod refusal;
pub mod refused;
pub mod retry;
pub mod server;
pub mod services;
pub mod sites;
pub mod status;
mod strangers;
pub mod tls;
pub mod uk_modulus;
pub mod violations;
