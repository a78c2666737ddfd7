//! Identifiers: 16 random bytes each, written with a prefix and letters only, so that none can be
//! taken for a card number (no digits) or read as a word (no vowels).

use crate::codec::Malformed;
use std::fmt;

/// The alphabet of every identifier and token: one letter a nibble.
pub const ALPHABET: &[u8; 16] = b"bcdfghjkmnpqrstv";

/// Writes `bytes` in letters, two a byte.
pub fn letters(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(ALPHABET[usize::from(byte >> 4)] as char);
        text.push(ALPHABET[usize::from(byte & 15)] as char);
    }
    text
}

/// Reads letters back into `N` bytes. Runs over the whole input without a branch on its value.
pub fn from_letters<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != N * 2 {
        return None;
    }
    let mut out = [0u8; N];
    let mut bad = 0u8;
    for (slot, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (high, high_bad) = nibble(pair[0]);
        let (low, low_bad) = nibble(pair[1]);
        bad |= high_bad | low_bad;
        *slot = (high << 4) | low;
    }
    (bad == 0).then_some(out)
}

/// The value of one letter, found by looking at all sixteen: no table index depends on the
/// letter, since letters of a token are secret.
fn nibble(letter: u8) -> (u8, u8) {
    let mut value = 0u8;
    let mut found = 0u8;
    for (index, candidate) in ALPHABET.iter().enumerate() {
        let difference = letter ^ candidate;
        // 0xff when equal, 0 otherwise.
        let mask = ((u16::from(difference).wrapping_sub(1)) >> 8) as u8;
        value |= (index as u8) & mask;
        found |= mask;
    }
    (value, !found)
}

/// `N` bytes from the operating system's generator, a call each: bytes that were fetched ahead would
/// be handed out twice by a machine that is put back to a snapshot or copied while it runs.
///
/// # Panics
/// When the operating system has no randomness to give: nothing safe can be done then.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// A number by chance, evenly from 0 to 1. For pauses, not for secrets.
pub fn chance() -> f64 {
    f64::from(u32::from_be_bytes(random())) / f64::from(u32::MAX)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// What its text starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new random one.
            pub fn random() -> $name {
                $name(random())
            }

            /// Reads its text.
            ///
            /// # Errors
            /// When prefix, length or alphabet differ.
            pub fn parse(text: &str) -> Result<$name, Malformed> {
                text.strip_prefix($prefix)
                    .and_then(|rest| from_letters(rest.as_bytes()))
                    .map($name)
                    .ok_or(Malformed::new(concat!("not an id of the form ", $prefix, " and 32 letters")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(&letters(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// A vault.
    VaultId, "vlt_"
);
id!(
    /// A principal. Random, never used again.
    PrincipalId, "prn_"
);
id!(
    /// A transaction. Derived from the portal's request id by a keyed hash, so a retry finds it.
    TransactionId, "txn_"
);
id!(
    /// A token's stable reference in the ledger: a hash of its selector. Not secret.
    TokenReference, "tkr_"
);
id!(
    /// An action that waits for a second operator.
    ActionId, "act_"
);
id!(
    /// A legal hold.
    HoldId, "hld_"
);

/// A site of the house ("us", "nl"), or [`Site::VAULT`] for what belongs to no site.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site([u8; 16]);

impl Site {
    /// The vault itself, written "-".
    pub const VAULT: Site = Site([b'-', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    /// Reads a site's name: 1 to 16 of `a-z 0-9 -`, starting with a letter.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Site, Malformed> {
        let bytes = text.as_bytes();
        let shape = bytes.len() <= 16
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if !shape {
            return Err(Malformed::new(
                "not a site: 1 to 16 of a-z 0-9 -, starting with a letter",
            ));
        }
        let mut padded = [0u8; 16];
        padded[..bytes.len()].copy_from_slice(bytes);
        Ok(Site(padded))
    }

    /// The sixteen bytes that stand for it in stored values.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads the sixteen bytes.
    ///
    /// # Errors
    /// When they are no site's.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Site, Malformed> {
        if bytes == Site::VAULT.0 {
            return Ok(Site::VAULT);
        }
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(16);
        if bytes[end..].iter().any(|b| *b != 0) {
            return Err(Malformed::new("site is not padded with zero bytes"));
        }
        let text =
            std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed::new("site is not ASCII"))?;
        Site::parse(text)
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(16);
        std::str::from_utf8(&self.0[..end]).expect("a site is ASCII by construction")
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back() {
        for _ in 0..100 {
            let id = PrincipalId::random();
            assert_eq!(PrincipalId::parse(&id.to_string()), Ok(id));
        }
    }

    #[test]
    fn another_kind_or_length_or_letter_is_refused() {
        let text = PrincipalId::random().to_string();
        assert!(TransactionId::parse(&text).is_err());
        assert!(PrincipalId::parse(&text[..text.len() - 1]).is_err());
        assert!(PrincipalId::parse(&text.to_uppercase()).is_err());
        assert!(PrincipalId::parse(&text.replace(&text[4..5], "a")).is_err());
        assert!(PrincipalId::parse("").is_err());
    }

    #[test]
    fn every_byte_has_its_letters() {
        for byte in 0..=255u8 {
            assert_eq!(from_letters::<1>(letters(&[byte]).as_bytes()), Some([byte]));
        }
    }

    #[test]
    fn a_site_is_read_back_and_bad_ones_are_refused() {
        for text in ["us", "nl", "a", "abcdefghijklmno1"] {
            let site = Site::parse(text).unwrap();
            assert_eq!(site.as_str(), text);
            assert_eq!(Site::from_bytes(*site.as_bytes()), Ok(site));
        }
        assert_eq!(Site::from_bytes(*Site::VAULT.as_bytes()), Ok(Site::VAULT));
        for text in ["", "-", "1a", "US", "a b", "abcdefghijklmnopq", "ü"] {
            assert!(Site::parse(text).is_err(), "{text}");
        }
    }
}
