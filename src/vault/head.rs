//! The head row: where the ledger and the vault stand (`docs/format.md` §5.1).

use crate::clock::Timestamp;
use crate::codec::{Malformed, Reader, Writer};
use crate::secret::SecretBuffer;

/// The head. Written by every round; what it says is on stable storage when the round is.
#[derive(Clone)]
pub struct Head {
    /// Epoch of the ledger.
    pub epoch: u32,
    /// Number of the round that wrote it.
    pub round: u64,
    /// That round's id.
    pub round_id: [u8; 16],
    /// Entries in the ledger.
    pub size: u64,
    /// Merkle root at that size.
    pub root: [u8; 32],
    /// Time of the last entry; effective time never falls below it.
    pub last_time: Timestamp,
    /// Generation of the keyring when it was written.
    pub keyring_generation: u64,
    /// Whether one operator may do everything alone. Ends for good with the second operator.
    pub single_operator: bool,
    /// Digest of the register: principals, allowances and pending actions.
    pub registry: [u8; 32],
    /// The tree's frontier, largest subtree first.
    pub peaks: Vec<[u8; 32]>,
}

impl Head {
    /// The row's plaintext.
    pub fn encode(&self) -> SecretBuffer {
        let mut w = Writer::with_capacity(128 + 32 * self.peaks.len());
        w.u8(1)
            .u32(self.epoch)
            .u64(self.round)
            .raw(&self.round_id)
            .u64(self.size)
            .raw(&self.root)
            .u64(self.last_time.0)
            .u64(self.keyring_generation)
            .u8(u8::from(self.single_operator))
            .raw(&self.registry);
        w.u8(u8::try_from(self.peaks.len()).expect("at most 64 peaks"));
        for peak in &self.peaks {
            w.raw(peak);
        }
        w.finish()
    }

    /// Reads the row's plaintext.
    ///
    /// # Errors
    /// When it does not have the shape of §5.1.
    pub fn decode(bytes: &[u8]) -> Result<Head, Malformed> {
        let mut r = Reader::new(bytes);
        if r.u8()? != 1 {
            return Err(Malformed::new("head: unknown version"));
        }
        let mut head = Head {
            epoch: r.u32()?,
            round: r.u64()?,
            round_id: r.array()?,
            size: r.u64()?,
            root: r.array()?,
            last_time: Timestamp(r.u64()?),
            keyring_generation: r.u64()?,
            single_operator: r.bool()?,
            registry: r.array()?,
            peaks: Vec::new(),
        };
        for _ in 0..r.u8()? {
            head.peaks.push(r.array()?);
        }
        r.end()?;
        Ok(head)
    }
}
