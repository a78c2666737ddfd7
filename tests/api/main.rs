//! Through the real door: mutual TLS and gRPC on loopback.

mod entries;
mod house;
mod last_use;
mod road;
mod wire;
