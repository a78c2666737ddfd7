//! Fingerprints: a keyed hash of a whole number, by which a portal sees that two tokens of a site
//! stand for the same one (`docs/format.md` §3.1; PCI DSS 3.5.1.1: a keyed hash of the entire PAN,
//! whose key is managed like any other).
//!
//! Nothing here is stored, and nothing stores what is made here: beside a masked number and the
//! keyring, a stored fingerprint could be reversed by trying what is hidden.

use super::cipher::{self, DerivedKey};
use super::error::KeyError;
use super::keyring::Keyring;
use super::name::KeyName;
use super::record::KeyRecord;
use crate::clock::Timestamp;
use crate::ids::{self, Site};

/// A fingerprint. It has no `Debug` and no `Display`: it goes to the portal that asked, and into no
/// log.
pub struct Fingerprint {
    value: [u8; 32],
    generation: u32,
}

impl Fingerprint {
    /// What the portal gets: "fpr_" and 64 letters.
    pub fn to_text(&self) -> String {
        format!("fpr_{}", ids::letters(&self.value))
    }

    /// Which of the site's keys made it.
    pub fn generation(&self) -> u32 {
        self.generation
    }
}

impl Keyring {
    /// The fingerprint of an instrument at a site: HMAC(HKDF(fingerprint key, "payvault fingerprint
    /// v1"), identity). `identity` is the instrument's kind and whole number.
    ///
    /// # Errors
    /// [`KeyError::UnknownName`] when the site has no key that is in its time: it must be
    /// [made](Keyring::ensure) first.
    pub fn fingerprint(
        &self,
        site: Site,
        identity: &[u8],
        now: Timestamp,
    ) -> Result<Fingerprint, KeyError> {
        let name = KeyName::Fingerprint { site };
        let record: &KeyRecord = self.newest(&name).ok_or(KeyError::UnknownName(name))?;
        if !record.encrypts_at(now) {
            return Err(KeyError::NotActive(record.id()));
        }
        let deriver = record.deriver().ok_or(KeyError::Destroyed(record.id()))?;
        Ok(Fingerprint {
            value: value(&deriver.derive(&[LABEL]), identity),
            generation: record.generation(),
        })
    }
}

const LABEL: &[u8] = b"payvault fingerprint v1";

fn value(key: &DerivedKey, identity: &[u8]) -> [u8; 32] {
    let mut value = [0; 32];
    cipher::hmac(key, &[identity], &mut value);
    value
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, keyring, nl, reload, unhex};
    use super::*;
    use crate::clock::DAY_MS;
    use crate::payment::luhn;
    use sha2::{Digest, Sha256};

    /// A card's kind and number, as `Details::identity` has them.
    fn card(number: &str) -> Vec<u8> {
        let length = u32::try_from(number.len()).unwrap().to_be_bytes();
        [&[1][..], &length, number.as_bytes()].concat()
    }

    /// Computed with Python's hmac and hashlib from the format, apart from this crate.
    #[test]
    fn a_known_key_and_number_give_the_known_fingerprint() {
        let key = cipher::hkdf(&[7; 32], &[LABEL]);
        let known = "b52cd5f03d2e0f54ac26fac713b12fccfa51e959ad88463c1527b24f24a64bd7";
        assert_eq!(value(&key, &card("4111111111111111"))[..], unhex(known));
    }

    #[test]
    fn sites_and_generations_have_their_own_and_a_key_keeps_its_own() {
        let us = Site::parse("us").unwrap();
        let (dir, mut ring) = keyring();
        let of = |ring: &Keyring, site, number: &str, now| {
            let made = ring.fingerprint(site, &card(number), now);
            made.map(|f| (f.to_text(), f.generation())).ok()
        };
        assert_eq!(of(&ring, nl(), "4111111111111111", NOW), None, "no key yet");
        let names = [nl(), us].map(|site| KeyName::Fingerprint { site });
        ring.ensure(&names, NOW).unwrap();
        let (first, generation) = of(&ring, nl(), "4111111111111111", NOW).unwrap();
        assert_eq!(generation, 1);
        assert!(first.starts_with("fpr_") && first.len() == 68);
        let again = of(&reload(dir.path()), nl(), "4111111111111111", NOW).unwrap();
        assert_eq!(again.0, first);
        assert_ne!(of(&ring, us, "4111111111111111", NOW).unwrap().0, first);
        assert_ne!(of(&ring, nl(), "4242424242424242", NOW).unwrap().0, first);

        let later = NOW.plus_ms(731 * DAY_MS);
        assert_eq!(
            of(&ring, nl(), "4111111111111111", later),
            None,
            "past its date"
        );
        ring.ensure(&names, later).unwrap();
        let (next, generation) = of(&ring, nl(), "4111111111111111", later).unwrap();
        assert_eq!(generation, 2);
        assert_ne!(next, first);
    }

    /// PCI DSS 3.5.1.1. Whoever has the masked number tries what is hidden: of six digits Luhn fixes
    /// one, so 100,000 numbers are left. A plain hash gives the number away; without the key the
    /// fingerprint doesn't, whatever key is guessed.
    #[test]
    fn trying_all_hidden_digits_breaks_a_plain_hash_and_not_the_fingerprint() {
        let number = "4111119283741111";
        let number = with_luhn(number);
        let (_dir, mut ring) = keyring();
        ring.ensure(&[KeyName::Fingerprint { site: nl() }], NOW)
            .unwrap();
        let fingerprint = ring.fingerprint(nl(), &card(&number), NOW).unwrap().value;
        let plain = Sha256::digest(card(&number));
        let (mut candidates, mut broken) = (0, 0);
        let guessed = cipher::hkdf(&[0; 32], &[LABEL]);
        for hidden in 0..1_000_000 {
            let candidate = format!("{}{hidden:06}{}", &number[..6], &number[12..]);
            if !luhn::passes(candidate.as_bytes()) {
                continue;
            }
            candidates += 1;
            let tried = card(&candidate);
            broken += u32::from(Sha256::digest(&tried) == plain);
            assert_ne!(Sha256::digest(&tried)[..], fingerprint);
            assert_ne!(value(&guessed, &tried), fingerprint);
        }
        assert_eq!((candidates, broken), (100_000, 1));
    }

    /// The number with its seventh digit changed so that it passes.
    fn with_luhn(number: &str) -> String {
        (0..10)
            .map(|digit| format!("{}{digit}{}", &number[..6], &number[7..]))
            .find(|number| luhn::passes(number.as_bytes()))
            .expect("one of ten passes")
    }
}
