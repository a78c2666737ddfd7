//! What the vault protects: cards, bank accounts, and the tokens that stand for them. Reads them
//! from a caller, checks them, masks them, and writes them in the shape that is sealed
//! (`docs/format.md`, sections 1 and 3).
//!
//! Nothing here seals, stores or logs, and nothing here says a value in an error: a [`Problem`]
//! holds constants only.
//!
//! Numbers are ASCII digits. On input, single spaces and hyphens between groups are removed;
//! anything else is refused.

pub mod aba;
pub mod card;
pub mod details;
pub mod expiry;
mod free_text;
mod grouped;
pub mod iban;
pub mod iban_registry;
pub mod luhn;
pub mod mask;
pub mod pan;
pub mod problem;
pub mod security_code;
pub mod us_account;
#[cfg(test)]
mod vectors;

pub use card::{Card, CardInput, card};
pub use details::{Details, DetailsKind};
pub use expiry::Expiry;
pub use iban::{IbanAccount, iban};
pub use mask::Masked;
pub use pan::Brand;
pub use problem::Problem;
pub use security_code::SecurityCode;
pub use us_account::{UsAccount, UsAccountType, us_account};
