//! The vault through its one door, without the network: what it promises, and what it does when
//! the store, the clock, the disk's content or a caller is not what it should be.

mod house;
mod ledger;
mod logs;

mod allow;
mod backup;
mod check;
mod clock;
mod closing;
mod codes;
mod compile;
mod endings;
mod engine;
mod faults;
#[path = "../fuzz/mod.rs"]
mod fuzz;
mod growth;
mod last_use;
mod matrix;
mod model;
mod prune;
mod retries;
mod rewrap;
mod road;
mod strangers;
mod tamper;
#[path = "../tidy.rs"]
mod tidy;
mod timing;
