//! What kinds of payment instruments there are.

use crate::codec::Malformed;

/// What kind of instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetailsKind {
    /// A payment card.
    Card = 1,
    /// A bank account named by its IBAN.
    Iban = 2,
    /// A bank account in the United States.
    UsAccount = 3,
    /// A bank account in the United Kingdom.
    UkAccount = 4,
    /// A bank account in Sweden.
    SeAccount = 5,
    /// A Swedish bankgiro.
    Bankgiro = 6,
    /// A Swedish plusgiro.
    Plusgiro = 7,
    /// A bank account in Denmark.
    DkAccount = 8,
}

impl DetailsKind {
    /// Every kind.
    pub const ALL: [DetailsKind; 8] = [
        DetailsKind::Card,
        DetailsKind::Iban,
        DetailsKind::UsAccount,
        DetailsKind::UkAccount,
        DetailsKind::SeAccount,
        DetailsKind::Bankgiro,
        DetailsKind::Plusgiro,
        DetailsKind::DkAccount,
    ];

    /// The byte of `docs/format.md` sections 3 and 4.1, which is also the number in the proto.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// Reads that byte.
    ///
    /// # Errors
    /// When it is no kind's.
    pub fn from_u8(byte: u8) -> Result<DetailsKind, Malformed> {
        DetailsKind::ALL
            .into_iter()
            .find(|kind| kind.as_u8() == byte)
            .ok_or(Malformed::new("unknown kind of payment details"))
    }

    /// Its name, which is also its field in the proto: `card`, `iban`, `us_account`.
    pub fn as_str(self) -> &'static str {
        match self {
            DetailsKind::Card => "card",
            DetailsKind::Iban => "iban",
            DetailsKind::UsAccount => "us_account",
            DetailsKind::UkAccount => "uk_account",
            DetailsKind::SeAccount => "se_account",
            DetailsKind::Bankgiro => "bankgiro",
            DetailsKind::Plusgiro => "plusgiro",
            DetailsKind::DkAccount => "dk_account",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_numbers_and_names() {
        for (byte, name) in [
            (1, "card"),
            (2, "iban"),
            (3, "us_account"),
            (4, "uk_account"),
            (5, "se_account"),
            (6, "bankgiro"),
            (7, "plusgiro"),
            (8, "dk_account"),
        ] {
            let kind = DetailsKind::from_u8(byte);
            assert_eq!(kind.map(DetailsKind::as_str), Ok(name));
            assert_eq!(kind.map(DetailsKind::as_u8), Ok(byte));
        }
        for byte in (0..=255).filter(|byte| !(1..=8).contains(byte)) {
            assert!(DetailsKind::from_u8(byte).is_err());
        }
    }
}
