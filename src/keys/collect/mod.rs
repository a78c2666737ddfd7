//! Collect keys: what browsers, apps and servers seal payment details to before these leave them
//! (`docs/format.md` §10; HPKE, RFC 9180, base mode). A day has one key of the keyring, and of it
//! one key pair for each [`Suite`].
//!
//! Opening needs a [`CollectKey`], which only a keyring gives; sealing needs nothing of the vault's
//! but public keys.

mod key;
mod padding;
mod seal;
mod sealed;
mod suite;
#[cfg(test)]
mod tests;

pub use key::CollectKey;
pub use seal::{SealError, seal_details};
pub use sealed::{Bound, Encapsulation, SealedDetails};
pub use suite::{CollectKeyId, Suite};
