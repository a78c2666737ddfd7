//! Argon2id (RFC 9106): the one way in which something that a human types becomes key or hash.
//! Never used for card numbers: their fingerprint is a keyed hash.

use crate::secret::SecretBytes;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

/// Bytes of a salt (RFC 9106 section 3.1 recommends 128 bits).
pub(super) const SALT_BYTES: usize = 16;

/// What one Argon2id computation costs.
///
/// Accepted is what RFC 9106 section 4 recommends, or more: four lanes, and either 64 MiB with
/// three passes or 2 GiB with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB.
    pub m_kib: u32,
    /// Passes.
    pub t: u32,
    /// Lanes.
    pub p: u32,
}

impl Argon2Cost {
    /// RFC 9106's first choice: 2 GiB, one pass, four lanes.
    pub const STRONG: Argon2Cost = Argon2Cost {
        m_kib: 2 << 20,
        t: 1,
        p: 4,
    };
    /// RFC 9106's second choice, for where memory is short: 64 MiB, three passes, four lanes.
    pub const DEFAULT: Argon2Cost = Argon2Cost {
        m_kib: 64 << 10,
        t: 3,
        p: 4,
    };
    /// More than this is refused too: a changed file must not make the vault eat the machine.
    const MOST: Argon2Cost = Argon2Cost {
        m_kib: 8 << 20,
        t: 64,
        p: 64,
    };

    /// A cost that protects nothing, so that tests of other things run fast. It does not exist in a
    /// shipped binary.
    #[cfg(any(test, feature = "fault-injection"))]
    pub const fn for_tests() -> Argon2Cost {
        Argon2Cost {
            m_kib: 64,
            t: 1,
            p: 1,
        }
    }

    /// Whether it is neither weaker than RFC 9106 recommends nor absurd.
    pub fn accepted(self) -> bool {
        #[cfg(any(test, feature = "fault-injection"))]
        if self == Argon2Cost::for_tests() {
            return true;
        }
        let enough =
            |least: Argon2Cost| self.m_kib >= least.m_kib && self.t >= least.t && self.p >= least.p;
        let most = Argon2Cost::MOST;
        (enough(Argon2Cost::DEFAULT) || enough(Argon2Cost::STRONG))
            && self.m_kib <= most.m_kib
            && self.t <= most.t
            && self.p <= most.p
    }
}

/// There was not enough memory for the cost that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfMemory;

/// Argon2id version 0x13 without secret and associated data, 32 bytes out. The memory that it fills
/// is wiped: with it a guess could be checked at no cost.
///
/// # Errors
/// When the memory can't be had.
///
/// # Panics
/// When the cost was not [accepted](Argon2Cost::accepted).
pub(super) fn argon2id(
    secret: &[u8],
    salt: &[u8; SALT_BYTES],
    cost: Argon2Cost,
) -> Result<SecretBytes<32>, OutOfMemory> {
    let params =
        Params::new(cost.m_kib, cost.t, cost.p, Some(32)).expect("an accepted cost is a valid one");
    let count = params.block_count();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut memory: Zeroizing<Vec<Block>> = Zeroizing::new(Vec::new());
    memory.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
    memory.resize(count, Block::default());
    Ok(SecretBytes::build(|out| {
        argon2
            .hash_password_into_with_memory(secret, salt, out, &mut memory[..])
            .expect("lengths are within Argon2's bounds and the memory is as it asked");
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(m_kib: u32, t: u32, p: u32) -> Argon2Cost {
        Argon2Cost { m_kib, t, p }
    }

    /// RFC 9106 section 4, to either side of each bound.
    #[test]
    fn weaker_and_absurd_costs_are_refused() {
        assert!(Argon2Cost::DEFAULT.accepted());
        assert!(Argon2Cost::STRONG.accepted());
        assert!(cost(65_537, 4, 5).accepted());
        for (m_kib, t, p) in [
            (65_535, 3, 4),
            (65_536, 2, 4),
            (65_536, 3, 3),
            (2_097_151, 1, 4),
            (2_097_152, 0, 4),
            (2_097_152, 1, 3),
            (0, 0, 0),
            (8 << 20, 65, 4),
            ((8 << 20) + 1, 3, 4),
            (65_536, 3, 65),
            (u32::MAX, u32::MAX, u32::MAX),
        ] {
            assert!(!cost(m_kib, t, p).accepted(), "{m_kib} {t} {p}");
        }
    }

    #[test]
    fn the_same_input_gives_the_same_key_and_another_another() {
        let kdf = |secret: &[u8], salt: u8| {
            argon2id(secret, &[salt; SALT_BYTES], Argon2Cost::for_tests()).unwrap()
        };
        assert_eq!(kdf(b"secret", 1).expose(), kdf(b"secret", 1).expose());
        assert_ne!(kdf(b"secret", 1).expose(), kdf(b"secret", 2).expose());
        assert_ne!(kdf(b"secret", 1).expose(), kdf(b"secrets", 1).expose());
    }
}
