//! keys

pub mod envelope;
