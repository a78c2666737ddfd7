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
    /// Set in a restored vault until its operators confirm tokens from before.
    pub restored: Option<Restored>,
}

/// That a vault was restored, and its operators have not confirmed it yet.
#[derive(Clone)]
pub struct Restored {
    /// Tokens made before this are not redeemed.
    pub at: Timestamp,
    /// Epoch, size and root of the mark that the restore superseded, if there was one.
    pub superseded: Option<(u32, u64, [u8; 32])>,
}

impl Head {
    /// The row's plaintext.
    pub fn encode(&self) -> SecretBuffer {
        let mut w = Writer::with_capacity(192 + 32 * self.peaks.len());
        w.u8(if self.restored.is_some() { 2 } else { 1 })
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
        if let Some(restored) = &self.restored {
            w.u64(restored.at.0);
            match &restored.superseded {
                Some((epoch, size, root)) => w.u8(1).u32(*epoch).u64(*size).raw(root),
                None => w.u8(0),
            };
        }
        w.finish()
    }

    /// Reads the row's plaintext.
    ///
    /// # Errors
    /// When it does not have the shape of §5.1.
    pub fn decode(bytes: &[u8]) -> Result<Head, Malformed> {
        let mut r = Reader::new(bytes);
        let version = r.u8()?;
        if !(1..=2).contains(&version) {
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
            restored: None,
        };
        for _ in 0..r.u8()? {
            head.peaks.push(r.array()?);
        }
        if version == 2 {
            let at = Timestamp(r.u64()?);
            let superseded = match r.bool()? {
                true => Some((r.u32()?, r.u64()?, r.array()?)),
                false => None,
            };
            head.restored = Some(Restored { at, superseded });
        }
        r.end()?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_back_restored_or_not() {
        let supersedes = |superseded| {
            Some(Restored {
                at: Timestamp(7),
                superseded,
            })
        };
        let each = [None, supersedes(None), supersedes(Some((1, 9, [3; 32])))];
        for (version, restored) in [1u8, 2, 2].into_iter().zip(each) {
            let head = Head {
                epoch: 2,
                round: 3,
                round_id: [4; 16],
                size: 5,
                root: [6; 32],
                last_time: Timestamp(8),
                keyring_generation: 9,
                single_operator: true,
                registry: [1; 32],
                peaks: vec![[2; 32], [3; 32]],
                restored,
            };
            let bytes = head.encode();
            assert_eq!(bytes[0], version);
            let again = Head::decode(&bytes).unwrap();
            assert_eq!(again.encode()[..], bytes[..]);
            assert!(Head::decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
