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
pub mod token;
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
pub use token::{Selector, Token};
pub use us_account::{UsAccount, UsAccountType, us_account};

#[cfg(test)]
mod tests {
    use super::*;

    /// Does not compile when a type has the trait: then two of the impls below fit, and `_` is
    /// ambiguous.
    macro_rules! assert_lacks {
        ($trait:path: $($type:ty),+) => {$({
            trait Lacks<Which> { fn it() {} }
            impl<T: ?Sized> Lacks<()> for T {}
            #[allow(dead_code)]
            struct Has;
            impl<T: ?Sized + $trait> Lacks<Has> for T {}
            let _ = <$type as Lacks<_>>::it;
        })+};
    }

    #[test]
    fn secrets_can_be_neither_printed_nor_copied_by_accident() {
        assert_lacks!(std::fmt::Debug: Token, Selector, Details, Card, CardInput, SecurityCode, IbanAccount, UsAccount);
        assert_lacks!(std::fmt::Display: Token, Selector, Details, Card, CardInput, SecurityCode, IbanAccount, UsAccount);
        assert_lacks!(Clone: Token, Details, Card, CardInput, SecurityCode, IbanAccount, UsAccount);
        assert_lacks!(PartialEq: Token, Details, Card, SecurityCode);
    }
}
