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
