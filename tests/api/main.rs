//! Through the real door: mutual TLS and gRPC on loopback.

mod admin;
mod backup;
mod bulk;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod client_retries;
#[cfg(feature = "client")]
mod client_sealed;
mod custodians;
mod endings;
mod entries;
mod faults;
#[cfg(feature = "client")]
mod flaky;
mod house;
mod identity;
mod last_use;
mod leak;
mod malformed;
mod matrix;
mod one_answer;
mod pace;
mod payment;
mod receipts;
mod road;
mod rotate;
mod sealed;
mod search;
mod tail;
mod wire;
#[cfg(feature = "client")]
mod wire_cutter;
