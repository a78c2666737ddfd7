//! The network: TLS, the server's life, who is calling, one file a service.

pub mod client;
pub mod config;
pub mod connection;
pub mod deadline;
pub mod dev_ca;
pub mod health;
pub mod identity;
pub mod listen;
#[allow(missing_docs, clippy::all)]
pub mod proto {
    tonic::include_proto!("payvault.v1");
    include!(concat!(env!("OUT_DIR"), "/debug.rs"));
}
pub mod refusal;
pub mod server;
pub mod sites;
pub mod tls;
