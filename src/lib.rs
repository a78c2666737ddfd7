//! payvault: an encrypted payment-data vault.
//!
//! The house, from the ground up; a module imports only from the floors below its own
//! (`docs/architecture.md`, checked by `tests/tidy.rs`):
//!
//! | floor | rooms |
//! |---|---|
//! | 6 | [`cli`], [`client`](client/index.html) |
//! | 5 | [`api`] |
//! | 4 | [`vault`] |
//! | 3 | [`ledger`], [`policy`] |
//! | 2 | [`store`] |
//! | 1 | [`keys`] |
//! | 0 | [`payment`], [`ids`], [`limits`], [`clock`], [`secret`], [`codec`], [`os`] |

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod api;
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
pub mod codec;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod limits;
pub mod os;
pub mod payment;
pub mod policy;
pub mod secret;
pub mod store;
pub mod vault;
