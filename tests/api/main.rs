//! Through the real door: mutual TLS and gRPC on loopback.

mod entries;
mod faults;
mod house;
mod last_use;
mod malformed;
mod road;
mod wire;
