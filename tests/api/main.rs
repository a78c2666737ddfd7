//! Through the real door: mutual TLS and gRPC on loopback.

mod house;
mod road;
