//! The token that stands for payment details (`docs/format.md`, section 1). It is written in
//! letters only, so it can't be taken for a card number, and carries a checksum, so a typing error
//! is told apart from an unknown token.
//!
//! The secret half is a key share that is stored nowhere: this file must never show it, and says
//! nothing of a malformed token, since that may be a card number.

use crate::codec::Malformed;
use crate::ids::{self, TokenReference};
use crate::secret::{SecretBytes, SecretText};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A token: a selector, by which the record is found, and a secret, without which it doesn't open.
/// Both are 16 random bytes, independent of each other and of what they stand for.
pub struct Token {
    selector: Selector,
    secret: SecretBytes<16>,
}

/// The half of a token by which its record is found. Half a credential: it has no `Debug` and no
/// `Display`; logs and the ledger name a token by [`Selector::reference`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Selector(pub [u8; 16]);

/// What every token starts with; the last letter is the version.
const PREFIX: &str = "pvt_a";
/// Selector, secret and checksum.
const BODY_BYTES: usize = 36;
/// Length of a token's text.
const TEXT_BYTES: usize = PREFIX.len() + 2 * BODY_BYTES;

impl Token {
    /// A new token from the operating system's generator: 256 random bits, of which 128 are secret
    /// (PCI tokenization guidelines ask for at least that).
    pub fn random() -> Token {
        Token {
            selector: Selector(ids::random()),
            secret: SecretBytes::random(),
        }
    }

    /// Reads a token's text: "pvt_a" and 72 letters. Letters and checksum are read and compared
    /// without a branch on their value.
    ///
    /// # Errors
    /// One and the same for every other text, so that it tells nothing about it.
    pub fn parse(text: &str) -> Result<Token, Malformed> {
        const REFUSED: Malformed = Malformed::new("not a token");
        let body = text.strip_prefix(PREFIX).ok_or(REFUSED)?;
        let body: Zeroizing<[u8; BODY_BYTES]> =
            Zeroizing::new(ids::from_letters(body.as_bytes()).ok_or(REFUSED)?);
        let (parts, sum) = body.split_first_chunk::<32>().ok_or(REFUSED)?;
        if bool::from(checksum(parts)[..].ct_eq(sum)) {
            Ok(Token::from_parts(parts))
        } else {
            Err(REFUSED)
        }
    }

    /// The token of a selector and a secret, in this order: what [`Token::parts`] gave. The caller
    /// wipes its own copy.
    pub fn from_parts(bytes: &[u8; 32]) -> Token {
        let mut selector = [0; 16];
        selector.copy_from_slice(&bytes[..16]);
        Token {
            selector: Selector(selector),
            secret: SecretBytes::build(|secret| secret.copy_from_slice(&bytes[16..])),
        }
    }

    /// Selector and secret, in this order: what a remembered request keeps, sealed.
    pub fn parts(&self) -> Zeroizing<[u8; 32]> {
        let mut parts = Zeroizing::new([0; 32]);
        parts[..16].copy_from_slice(&self.selector.0);
        parts[16..].copy_from_slice(self.secret.expose());
        parts
    }

    /// The half by which the record is found.
    pub fn selector(&self) -> Selector {
        self.selector
    }

    /// The half that opens the record.
    pub fn secret(&self) -> &SecretBytes<16> {
        &self.secret
    }

    /// What the row keeps of the secret: SHA-256 of it under a label. A plain hash is enough, as
    /// the secret has 128 random bits. Compare in constant time.
    pub fn secret_hash(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"payvault token secret v1")
            .chain_update(self.secret.expose())
            .finalize()
            .into()
    }

    /// The text to hand out: 77 characters, letters and one underscore.
    pub fn to_text(&self) -> SecretText {
        let parts = self.parts();
        let mut body = Zeroizing::new([0; BODY_BYTES]);
        body[..32].copy_from_slice(&parts[..]);
        body[32..].copy_from_slice(&checksum(&parts));
        let letters = Zeroizing::new(ids::letters(&body[..]));
        // Room for all of it at once: growing would leave an unwiped copy behind.
        let mut text = String::with_capacity(TEXT_BYTES);
        text.push_str(PREFIX);
        text.push_str(&letters);
        SecretText::new(text)
    }
}

impl Selector {
    /// The token's stable name in the ledger and in replies: not secret, and of no use to find or
    /// open the record.
    pub fn reference(&self) -> TokenReference {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(b"payvault token reference v1")
            .chain_update(self.0)
            .finalize()
            .into();
        let mut reference = [0; 16];
        reference.copy_from_slice(&hash[..16]);
        TokenReference(reference)
    }
}

/// The first 4 bytes of SHA-256 over label, version, selector and secret. Against typing errors,
/// not against forgery.
fn checksum(parts: &[u8; 32]) -> [u8; 4] {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(b"payvault token checksum v1")
        .chain_update(b"a")
        .chain_update(parts)
        .finalize()
        .into();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::luhn;
    use crate::payment::vectors;
    use std::collections::HashSet;

    #[test]
    fn vectors_are_read_written_and_hashed() {
        for [name, text, parts, reference, secret_hash] in
            vectors::rows(include_str!("../../tests/vectors/payment/token.tsv"))
        {
            match Token::parse(text) {
                Ok(token) => {
                    assert!(name.starts_with("ok_"), "{name}");
                    assert_eq!(token.parts()[..], vectors::hex(parts), "{name}");
                    assert_eq!(
                        token.selector().reference().to_string(),
                        reference,
                        "{name}"
                    );
                    assert_eq!(token.secret_hash()[..], vectors::hex(secret_hash), "{name}");
                    assert_eq!(token.to_text().expose(), text, "{name}");
                }
                Err(refused) => {
                    assert!(name.starts_with("fail_"), "{name}");
                    assert_eq!(refused.what, "not a token", "{name}");
                }
            }
        }
    }

    #[test]
    fn a_token_is_read_back() {
        for _ in 0..100 {
            let token = Token::random();
            let read = Token::parse(token.to_text().expose()).map(|read| read.parts());
            assert!(read.is_ok_and(|parts| parts == token.parts()));
            let again = Token::from_parts(&token.parts());
            assert!(again.selector() == token.selector());
            assert!(bool::from(again.secret().ct_eq(token.secret())));
        }
    }

    #[test]
    fn no_token_holds_a_digit_or_repeats_a_half() {
        let mut halves = HashSet::new();
        for _ in 0..20_000 {
            let token = Token::random();
            let text = token.to_text();
            assert_eq!(text.len(), TEXT_BYTES);
            assert!(
                text.expose()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
            assert!(!luhn::contains_card_number(text.expose()));
            assert!(halves.insert(token.selector().0));
            assert!(halves.insert(*token.secret().expose()));
        }
    }

    #[test]
    fn any_single_altered_letter_is_refused() {
        // A fixed token: of a random one, one altered half in 2^32 would have the same checksum.
        let token = Token::from_parts(&std::array::from_fn(|at| at as u8 * 7));
        let text = token.to_text();
        for at in 0..TEXT_BYTES {
            for byte in (0u8..128).filter(|byte| *byte != text.expose().as_bytes()[at]) {
                let mut altered = text.expose().as_bytes().to_vec();
                altered[at] = byte;
                let altered = String::from_utf8(altered).expect("ASCII");
                assert!(Token::parse(&altered).is_err(), "{byte} at {at}");
            }
        }
    }

    #[test]
    fn any_two_swapped_letters_are_refused() {
        let token = Token::from_parts(&std::array::from_fn(|at| at as u8 * 7));
        let text = token.to_text();
        for at in 0..TEXT_BYTES - 1 {
            let mut swapped = text.expose().as_bytes().to_vec();
            swapped.swap(at, at + 1);
            let swapped = String::from_utf8(swapped).expect("ASCII");
            let same = swapped == text.expose();
            assert_eq!(Token::parse(&swapped).is_ok(), same, "at {at}");
        }
    }

    #[test]
    fn a_cut_token_is_refused() {
        let text = Token::random().to_text();
        for cut in 0..TEXT_BYTES {
            assert!(Token::parse(&text.expose()[..cut]).is_err(), "cut at {cut}");
        }
    }
}
