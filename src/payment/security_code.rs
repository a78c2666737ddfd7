//! The card security code (CVV2, CVC2, CID). It is never written to storage, even encrypted (PCI
//! DSS 3.3.1.2): the type has no encoding, and [`super::Card`] has no field for it.

use super::problem::Problem;
use crate::secret::SecretText;

/// A security code: 3 or 4 ASCII digits, in memory only.
pub struct SecurityCode(SecretText);

impl SecurityCode {
    /// Reads what came in. No separators: a code has no groups. Whether a brand prints 3 or 4
    /// digits is not asked, since brands are advice.
    ///
    /// # Errors
    /// Field `security_code`: anything but 3 or 4 ASCII digits.
    pub fn parse(text: SecretText) -> Result<SecurityCode, Problem> {
        let digits = text.expose().as_bytes();
        if matches!(digits.len(), 3 | 4) && digits.iter().all(u8::is_ascii_digit) {
            #[cfg(feature = "fault-injection")]
            trace::note(&text);
            Ok(SecurityCode(text))
        } else {
            Err(Problem::new("security_code", "must be 3 or 4 digits"))
        }
    }

    /// The digits, for the reply to a tied processor that authorizes.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// A second owner of the same code, for a reply while the first one waits for its end.
    pub fn duplicate(&self) -> SecurityCode {
        let text = self.0.duplicate();
        #[cfg(feature = "fault-injection")]
        trace::note(&text);
        SecurityCode(text)
    }
}

/// For tests: where in memory codes were, in the file that `PAYVAULT_TEST_CODES` names, one a line:
/// address (hexadecimal) and length. A test then looks at these places in the process's image: three
/// digits by themselves are everywhere.
#[cfg(feature = "fault-injection")]
mod trace {
    use crate::secret::SecretText;
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::sync::{LazyLock, Mutex, PoisonError};

    static PLACES: LazyLock<Option<Mutex<File>>> = LazyLock::new(|| {
        let path = std::env::var_os("PAYVAULT_TEST_CODES")?;
        let file = OpenOptions::new().create(true).append(true).open(path);
        Some(Mutex::new(file.expect("a test's file can be written")))
    });

    pub(super) fn note(text: &SecretText) {
        if let Some(places) = &*PLACES {
            let (at, length) = (text.expose().as_ptr() as usize, text.len());
            let mut file = places.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(file, "{at:x} {length}").expect("a test's file can be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_or_four_digits_and_nothing_else() {
        for text in ["000", "123", "9999"] {
            let code = SecurityCode::parse(SecretText::copy_from(text));
            assert_eq!(code.ok().as_ref().map(SecurityCode::expose), Some(text));
        }
        for text in [
            "",
            "1",
            "12",
            "12345",
            "12a",
            "1 2",
            " 123",
            "123 ",
            "-12",
            "１２３",
            "é1",
        ] {
            let refused = SecurityCode::parse(SecretText::copy_from(text)).err();
            assert_eq!(refused.map(|p| p.field), Some("security_code"), "{text}");
        }
    }
}
