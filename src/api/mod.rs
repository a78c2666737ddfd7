//! api
#[allow(missing_docs, clippy::all)]
pub mod proto {
    tonic::include_proto!("payvault.v1");
    include!(concat!(env!("OUT_DIR"), "/debug.rs"));
}
