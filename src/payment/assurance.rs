//! How much is known of a number: whether a published rule was there to check it.

use crate::codec::Malformed;

/// What the check of a number came to. A number that fails a rule is refused, so there is no
/// variant for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assurance {
    /// It passed the check digits that its kind has.
    Checked = 1,
    /// There is a rule, but not for this bank or account, or its table isn't configured: the rule's
    /// publisher says to take it as valid.
    PresumedValid = 2,
    /// No published rule decides.
    NotChecked = 3,
}

impl Assurance {
    /// The byte of `docs/format.md` sections 3 and 4.1, which is also the number in the proto.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// Reads that byte.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn from_u8(byte: u8) -> Result<Assurance, Malformed> {
        match byte {
            1 => Ok(Assurance::Checked),
            2 => Ok(Assurance::PresumedValid),
            3 => Ok(Assurance::NotChecked),
            _ => Err(Malformed::new("unknown outcome of a check")),
        }
    }

    /// Its name: `checked`, `presumed_valid` or `not_checked`.
    pub fn as_str(self) -> &'static str {
        match self {
            Assurance::Checked => "checked",
            Assurance::PresumedValid => "presumed_valid",
            Assurance::NotChecked => "not_checked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_have_their_numbers_and_names() {
        let all = [(1, "checked"), (2, "presumed_valid"), (3, "not_checked")];
        for (byte, name) in all {
            let read = Assurance::from_u8(byte);
            assert_eq!(read.map(Assurance::as_str), Ok(name));
            assert_eq!(read.map(Assurance::as_u8), Ok(byte));
        }
        for byte in (0..=255).filter(|byte| !(1..=3).contains(byte)) {
            assert!(Assurance::from_u8(byte).is_err());
        }
    }
}
