//! Through the real door: mutual TLS and gRPC on loopback.

mod entries;
mod faults;
mod house;
mod last_use;
mod leak;
mod malformed;
mod matrix;
mod one_answer;
mod road;
mod search;
mod wire;
