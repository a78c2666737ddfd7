//! Human secrets, the second factor beside the certificate: made by the vault, shown once, kept as
//! an Argon2id hash in PHC form. Verification takes the same time whether the principal exists or
//! not.
//!
//! A hash fills 64 MiB of memory, so the caller bounds how many run at once.

use super::argon::{self, Argon2Cost, SALT_BYTES};
use crate::ids::random;
use crate::limits::SECRET_BYTES_MAX;
use crate::secret::{SecretBytes, SecretText};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// 32 letters and digits, five bits each, without those that are mistaken for others (i, l, o, u).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 26 of them: 130 bits.
const LENGTH: usize = 26;
/// What every hash costs.
const COST: Argon2Cost = Argon2Cost::DEFAULT;

/// A new random secret: 26 letters and digits, 130 bits, with at least one of each (PCI DSS 8.3.6).
pub fn generate() -> SecretText {
    loop {
        let bytes = Zeroizing::new(random::<LENGTH>());
        // Room for all of it, so that growing leaves no copy behind.
        let mut text = String::with_capacity(LENGTH);
        text.extend(
            bytes
                .iter()
                .map(|byte| char::from(ALPHABET[usize::from(byte & 31)])),
        );
        let secret = SecretText::new(text);
        let drawn = secret.expose().as_bytes();
        // One in seventeen thousand has no digit; drawing again costs next to no entropy.
        if drawn.iter().any(u8::is_ascii_digit) && drawn.iter().any(u8::is_ascii_lowercase) {
            return secret;
        }
    }
}

/// The hash to keep: Argon2id at [`Argon2Cost::DEFAULT`] with a random salt, in PHC form
/// (`$argon2id$v=19$m=65536,t=3,p=4$salt$hash`).
///
/// # Panics
/// When there are no 64 MiB of memory.
pub fn hash(secret: &SecretText) -> String {
    hash_at(secret, COST)
}

pub(super) fn hash_at(secret: &SecretText, cost: Argon2Cost) -> String {
    let salt = random::<SALT_BYTES>();
    let hash = argon::argon2id(secret.expose().as_bytes(), &salt, cost)
        .expect("the machine has 64 MiB of memory");
    format!(
        "$argon2id$v=19$m={},t={},p={}${}${}",
        cost.m_kib,
        cost.t,
        cost.p,
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(hash.expose()),
    )
}

/// Whether the secret is the one that was hashed. A hash that is no hash (also an empty one, for a
/// principal without a secret) matches nothing, and takes as long as one that is.
///
/// A secret longer than [`SECRET_BYTES_MAX`] is refused at once. Parameters weaker than
/// [`Argon2Cost::DEFAULT`] match nothing.
pub fn verify(secret: &SecretText, phc: &str) -> bool {
    if secret.len() > SECRET_BYTES_MAX {
        return false;
    }
    let stored = Stored::parse(phc);
    let known = stored.is_some();
    let stored = stored.unwrap_or_else(Stored::nobody);
    match argon::argon2id(secret.expose().as_bytes(), &stored.salt, stored.cost) {
        Ok(computed) => bool::from(computed.ct_eq(&stored.hash)) & known,
        Err(_) => false,
    }
}

/// What [`verify`] does, for a principal that does not exist: takes as long, and is false.
pub fn verify_nobody(secret: &SecretText) -> bool {
    verify(secret, "")
}

/// A hash, taken apart.
struct Stored {
    cost: Argon2Cost,
    salt: [u8; SALT_BYTES],
    hash: SecretBytes<32>,
}

impl Stored {
    /// Stands for a hash that isn't there: costs as much, and its hash is never compared for real.
    fn nobody() -> Stored {
        Stored {
            cost: COST,
            salt: [0; SALT_BYTES],
            hash: SecretBytes::random(),
        }
    }

    /// Reads the one form that [`hash`] writes, with any accepted cost.
    fn parse(phc: &str) -> Option<Stored> {
        let rest = phc.strip_prefix("$argon2id$v=19$m=")?;
        let (m, rest) = rest.split_once(",t=")?;
        let (t, rest) = rest.split_once(",p=")?;
        let (p, rest) = rest.split_once('$')?;
        let (salt, hash) = rest.split_once('$')?;
        let cost = Argon2Cost {
            m_kib: m.parse().ok()?,
            t: t.parse().ok()?,
            p: p.parse().ok()?,
        };
        let mut own_salt = [0u8; SALT_BYTES];
        decode_exactly(salt, &mut own_salt)?;
        let mut decoded = None;
        let own_hash = SecretBytes::build(|out| decoded = decode_exactly(hash, out));
        decoded?;
        cost.accepted().then_some(Stored {
            cost,
            salt: own_salt,
            hash: own_hash,
        })
    }
}

/// Decodes into `out`, which it fills to the byte.
fn decode_exactly(text: &str, out: &mut [u8]) -> Option<()> {
    // Base64 decodes into an estimate that may be two bytes too long.
    let mut buffer = Zeroizing::new([0u8; 48]);
    let length = STANDARD_NO_PAD.decode_slice(text, &mut buffer[..]).ok()?;
    (length == out.len()).then(|| out.copy_from_slice(&buffer[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> SecretText {
        SecretText::copy_from(text)
    }

    #[test]
    fn generated_secrets_are_long_mixed_and_different() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let secret = generate();
            let drawn = secret.expose();
            assert_eq!(drawn.len(), LENGTH);
            assert!(drawn.bytes().all(|b| ALPHABET.contains(&b)));
            assert!(drawn.bytes().any(|b| b.is_ascii_digit()));
            assert!(drawn.bytes().any(|b| b.is_ascii_lowercase()));
            assert!(seen.insert(drawn.to_owned()));
        }
        let letters: std::collections::HashSet<_> = ALPHABET.iter().collect();
        assert_eq!(letters.len(), 32, "five bits each");
    }

    #[test]
    fn the_right_secret_verifies_and_no_other() {
        let phc = hash(&text("correct horse 1"));
        assert!(phc.starts_with("$argon2id$v=19$m=65536,t=3,p=4$"));
        assert!(verify(&text("correct horse 1"), &phc));
        assert!(!verify(&text("correct horse 2"), &phc));
        assert!(!verify(&text(""), &phc));
        let long = "a".repeat(SECRET_BYTES_MAX + 1);
        assert!(!verify(&text(&long), &phc));
    }

    /// Frozen: computed by OpenSSL.
    #[test]
    fn a_hash_from_elsewhere_verifies() {
        let phc = FROZEN;
        assert!(verify(&text("correct horse battery staple"), phc));
        assert!(!verify(&text("correct horse battery stapl"), phc));
    }

    const FROZEN: &str = "$argon2id$v=19$m=65536,t=3,p=4$E3iuKCeb8Ozf2pVkSbRDiw$OKKwGqtIzvRq0q1jZsU2RkjS3SWsNSs9AGXqURImdu8";

    #[test]
    fn nobody_and_a_hash_that_is_none_match_nothing() {
        assert!(!verify_nobody(&text("correct horse 1")));
        let salt = "AAAAAAAAAAAAAAAAAAAAAA";
        let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let right = format!("$argon2id$v=19$m=65536,t=3,p=4${salt}${hash}");
        assert!(Stored::parse(&right).is_some());
        for phc in [
            String::new(),
            "$".to_owned(),
            right.replace("argon2id", "argon2i"),
            right.replace("v=19", "v=16"),
            right.replace("m=65536", "m=65535"),
            right.replace("m=65536", "m=4294967295"),
            right.replace("t=3", "t=2"),
            right.replace("p=4", "p=1"),
            right.replace("p=4", "p=x"),
            right[..right.len() - 1].to_owned(),
            format!("{right}="),
            format!("{right}${hash}"),
            format!("{right}{hash}{hash}"),
            right.replace(salt, "AAAA"),
        ] {
            assert!(Stored::parse(&phc).is_none(), "{phc}");
        }
    }
}
