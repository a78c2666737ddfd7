//! The head: where the vault stands after a round. The store keeps it as one sealed row and never
//! looks inside; its binary form is the vault's business (docs/format.md §5.1).

use super::RoundId;
use crate::clock::Timestamp;

/// Where the vault stands after a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The ledger's epoch.
    pub epoch: u32,
    /// The number of the round that wrote this, from 1.
    pub round: u64,
    /// Its id.
    pub round_id: RoundId,
    /// Entries in the ledger.
    pub size: u64,
    /// The root hash at that size.
    pub root: [u8; 32],
    /// Time of the last entry; effective time never falls below it.
    pub last_time: Timestamp,
    /// The keyring's generation when the round was written.
    pub keyring_generation: u64,
    /// Whether one operator may act alone.
    pub single_operator: bool,
    /// The frontier of the tree, largest subtree first.
    pub peaks: Vec<[u8; 32]>,
}
