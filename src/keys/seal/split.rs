//! Splitting a key (Shamir's sharing over GF(256), byte by byte): any so many shares give it back,
//! fewer say nothing about it. The arithmetic is blahaj's, which repairs RUSTSEC-2024-0398: every
//! coefficient, zero included, is as likely as any other.

use crate::secret::SecretBytes;
use blahaj::{Share, Sharks};
use getrandom::SysRng;
use rand_core::{CryptoRng, UnwrapErr};
use zeroize::Zeroizing;

/// Splits `secret` into `count` shares of which `threshold` give it back: where each lies (from 1
/// on), and its value there.
///
/// # Panics
/// When the operating system has no randomness to give.
pub(super) fn split(
    secret: &SecretBytes<32>,
    threshold: u8,
    count: u8,
) -> Vec<(u8, SecretBytes<32>)> {
    let shares = deal(secret.expose(), threshold, count, &mut UnwrapErr(SysRng));
    shares
        .iter()
        .map(|share| {
            let bytes = Zeroizing::new(Vec::from(share));
            let value = SecretBytes::build(|own| own.copy_from_slice(&bytes[1..]));
            (bytes[0], value)
        })
        .collect()
}

fn deal<R: CryptoRng>(secret: &[u8], threshold: u8, count: u8, rng: &mut R) -> Vec<Share> {
    let dealer = Sharks(threshold).dealer_rng(secret, rng);
    dealer.take(usize::from(count)).collect()
}

/// What shares at different places give: the secret, when they are as many as it was split for and
/// of one splitting; anything, when they are of several; `None` when they are too few.
pub(super) fn join(threshold: u8, shares: &[(u8, &SecretBytes<32>)]) -> Option<SecretBytes<32>> {
    let shares: Vec<Share> = shares
        .iter()
        .filter_map(|(place, value)| {
            let mut bytes = Zeroizing::new([0u8; 33]);
            bytes[0] = *place;
            bytes[1..].copy_from_slice(value.expose());
            Share::try_from(&bytes[..]).ok()
        })
        .collect();
    let secret = Sharks(threshold)
        .recover(&shares)
        .ok()
        .map(Zeroizing::new)?;
    SecretBytes::copy_from(&secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::{TryCryptoRng, TryRng};
    use std::convert::Infallible;

    /// Gives the bytes that it was told to.
    struct Told(Vec<u8>);

    impl TryRng for Told {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(u32::from(self.0.pop().expect("told enough")))
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            self.try_next_u32().map(u64::from)
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            bytes.fill_with(|| self.0.pop().expect("told enough"));
            Ok(())
        }
    }

    impl TryCryptoRng for Told {}

    fn dealt(secret: u8, coefficients: &[u8], count: u8) -> Vec<u8> {
        let threshold = coefficients.len() as u8 + 1;
        let mut told = Told(coefficients.to_vec());
        let shares = deal(&[secret], threshold, count, &mut told);
        assert!(told.0.is_empty(), "every coefficient counts");
        shares.iter().map(|share| Vec::from(share)[1]).collect()
    }

    /// PCI DSS 3.7.6, exhaustively: of a byte that is split 2 of 3, whatever one custodian holds
    /// fits every byte, each by exactly one dealing. So every byte is as likely as before.
    #[test]
    fn one_share_of_two_says_nothing() {
        for place in 0..3 {
            let mut fits = vec![0u32; 256 * 256];
            for secret in 0..=255u8 {
                for coefficient in 0..=255u8 {
                    let seen = dealt(secret, &[coefficient], 3)[place];
                    fits[usize::from(secret) * 256 + usize::from(seen)] += 1;
                }
            }
            assert!(fits.iter().all(|count| *count == 1), "place {place}");
        }
    }

    /// The same of 3 of 4: what two custodians hold together fits each of these bytes by exactly
    /// one of the 65,536 dealings.
    #[test]
    fn two_shares_of_three_say_nothing() {
        for secret in [0, 1, 0x5a, 255] {
            let mut fits = vec![false; 256 * 256];
            for a in 0..=255u8 {
                for b in 0..=255u8 {
                    let shares = dealt(secret, &[a, b], 4);
                    let seen = usize::from(shares[1]) * 256 + usize::from(shares[3]);
                    assert!(!fits[seen], "{secret}: a pair that two dealings give");
                    fits[seen] = true;
                }
            }
        }
    }

    #[test]
    fn any_so_many_give_the_secret_and_fewer_do_not() {
        let secret = SecretBytes::random();
        for (threshold, count) in [(2, 2), (2, 3), (3, 5), (16, 16)] {
            let shares = split(&secret, threshold, count);
            assert_eq!(shares.len(), usize::from(count));
            for first in 0..count {
                let chosen: Vec<(u8, &SecretBytes<32>)> = (0..threshold)
                    .map(|n| &shares[usize::from((first + n) % count)])
                    .map(|(place, value)| (*place, value))
                    .collect();
                let joined = join(threshold, &chosen).unwrap();
                assert!(joined.expose() == secret.expose());
                assert!(join(threshold, &chosen[1..]).is_none());
                // Whoever takes them for a splitting with a lower threshold gets something else.
                if let Some(less) = join(threshold - 1, &chosen[1..]) {
                    assert!(less.expose() != secret.expose());
                }
            }
        }
    }
}
