//! Functions over outside bytes that fuzzers and tests share: `fuzz/` runs them under libFuzzer,
//! and [`regression`] runs them over every committed corpus file. Each holds more than "no panic":
//! what is read can be written and read again, what has one spelling is written as it was, a small
//! input makes no large allocation, and no error says what came in.

mod certificate;
mod collect;
mod config;
mod export;
mod files;
mod journal;
mod ledger;
mod meter;
mod payment;
mod requests;
mod rows;
mod text;
mod tiles;

#[cfg(test)]
mod regression;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod wiped;

/// Takes any bytes; panics when a property doesn't hold.
pub type Harness = fn(&[u8]);

/// Every target: its name, which is its corpus' directory, and its function.
pub const TARGETS: [(&str, Harness); 11] = [
    ("requests", requests::run),
    ("payment", payment::run),
    ("export", export::run),
    ("ledger", ledger::run),
    ("rows", rows::run),
    ("files", files::run),
    ("config", config::run),
    ("certificate", certificate::run),
    ("tiles", tiles::run),
    ("collect", collect::run),
    ("journal", journal::run),
];
