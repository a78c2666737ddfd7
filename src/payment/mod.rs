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
pub mod assurance;
pub mod bic;
pub mod card;
pub mod details;
pub mod dk_account;
pub mod expiry;
mod free_text;
pub mod giro;
mod grouped;
pub mod iban;
pub mod iban_registry;
pub mod kind;
pub mod luhn;
pub mod mask;
pub mod pan;
pub mod problem;
pub mod se_account;
pub mod se_clearing;
pub mod security_code;
pub mod token;
pub mod uk_account;
pub mod uk_modulus;
pub mod us_account;
#[cfg(test)]
mod vectors;

pub use assurance::Assurance;
pub use card::{Card, CardInput, card};
pub use details::Details;
pub use dk_account::{DkAccount, dk_account};
pub use expiry::{Expiry, ExpiryState};
pub use giro::{Bankgiro, Plusgiro, bankgiro, plusgiro};
pub use iban::{IbanAccount, iban};
pub use kind::DetailsKind;
pub use mask::Masked;
pub use pan::Brand;
pub use problem::Problem;
pub use se_account::{SeAccount, se_account};
pub use security_code::SecurityCode;
pub use token::{Selector, Token};
pub use uk_account::{UkAccount, uk_account};
pub use uk_modulus::{ModulusTables, TableFault};
pub use us_account::{UsAccount, UsAccountType, us_account};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::assert_lacks;

    #[test]
    fn secrets_can_be_neither_printed_nor_copied_by_accident() {
        assert_lacks!(std::fmt::Debug: Token, Selector, Details, Card, CardInput, SecurityCode, IbanAccount, UsAccount, UkAccount, SeAccount, Bankgiro, Plusgiro, DkAccount);
        assert_lacks!(std::fmt::Display: Token, Selector, Details, Card, CardInput, SecurityCode, IbanAccount, UsAccount, UkAccount, SeAccount, Bankgiro, Plusgiro, DkAccount);
        assert_lacks!(Clone: Token, Details, Card, CardInput, SecurityCode, IbanAccount, UsAccount, UkAccount, SeAccount, Bankgiro, Plusgiro, DkAccount);
        assert_lacks!(PartialEq: Token, Details, Card, SecurityCode);
    }
}
