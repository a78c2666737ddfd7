//! Through the real door: mutual TLS and gRPC on loopback.

mod entries;
mod faults;
mod house;
mod last_use;
mod leak;
mod malformed;
mod road;
mod search;
mod wire;
