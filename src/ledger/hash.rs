//! SHA-256 values and how text shows them: base64 (RFC 4648 §4), with padding, one form only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// Characters of a hash in base64.
const BASE64_CHARS: usize = 44;

/// A hash in text.
pub fn to_base64(hash: &Hash) -> String {
    STANDARD.encode(hash)
}

/// Reads [`to_base64`]'s text; `None` for any other, also for a second spelling of the same bytes.
pub fn from_base64(text: &str) -> Option<Hash> {
    decode(text)
}

/// Reads exactly `N` bytes of base64.
pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// A hash (or salt) as a member of a JSON line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct B64(pub Hash);

impl Serialize for B64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0u8; BASE64_CHARS];
        let length = STANDARD
            .encode_slice(self.0, &mut text)
            .map_err(serde::ser::Error::custom)?;
        let text = std::str::from_utf8(&text[..length]).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(text)
    }
}

impl<'de> Deserialize<'de> for B64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<B64, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = B64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 bytes in base64")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<B64, E> {
                // 44 characters hold at most 33 bytes: room for the decoder's estimate.
                let mut bytes = [0u8; 33];
                match STANDARD.decode_slice(text, &mut bytes) {
                    Ok(32) => {
                        let mut hash = [0u8; 32];
                        hash.copy_from_slice(&bytes[..32]);
                        Ok(B64(hash))
                    }
                    _ => Err(E::custom("not 32 bytes in base64")),
                }
            }
        }
        deserializer
            .deserialize_str(Text)
            .map_err(|_| D::Error::custom("not 32 bytes in base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_has_one_spelling() {
        let hash = [0xa5; 32];
        let text = to_base64(&hash);
        assert_eq!(from_base64(&text), Some(hash));
        assert_eq!(from_base64(text.trim_end_matches('=')), None);
        assert_eq!(from_base64(&format!("{text}=")), None);
        assert_eq!(from_base64(&format!("{text}\n")), None);
        // The last character carries four used bits; one with a set unused bit is another spelling.
        let twin = text.replace("U=", "V=");
        assert_ne!(twin, text);
        assert_eq!(from_base64(&twin), None);
        let json = serde_json::to_string(&B64(hash)).unwrap();
        assert!(serde_json::from_str::<B64>(&json).unwrap() == B64(hash));
        assert!(serde_json::from_str::<B64>(&json.replace("U=", "V=")).is_err());
        assert!(serde_json::from_str::<B64>("\"\"").is_err());
        assert!(serde_json::from_str::<B64>(&format!("\"{}\"", "A".repeat(48))).is_err());
    }
}
