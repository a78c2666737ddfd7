//! Tests that need several files of the ledger at once.

mod exports;
mod notes;
mod pages;
mod proofs;
mod receipts;
mod tamper;
mod tamperings;
mod tile_files;
mod tiles;
mod trees;
mod vectors;
mod witness;

use super::{HalfTile, Hash, LedgerError, TileSource, VerifierKey, node_hash};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;

/// The file `name` of `tests/vectors/ledger`.
fn vector(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/ledger")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&vector(name)).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap()
}

fn bytes<const N: usize>(value: &serde_json::Value) -> [u8; N] {
    hex(text(value)).try_into().unwrap()
}

fn hashes(value: &serde_json::Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(bytes).collect()
}

/// The verifier key of payvault's own vectors.
fn ledger_key() -> VerifierKey {
    VerifierKey::parse(text(&json("checkpoint.json")["verifier_key"])).unwrap()
}

fn leaf(index: u64) -> Hash {
    Sha256::digest(index.to_be_bytes()).into()
}

/// The Merkle tree hash as RFC 6962 2.1 defines it, by recursion.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest(b"").into(),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}

/// Rows in memory.
#[derive(Default)]
struct Rows(HashMap<(u8, u64, u8), Vec<u8>>);

impl Rows {
    fn write(&mut self, row: HalfTile) {
        assert_eq!(row.bytes.len(), super::HALF_BYTES);
        let before = self.0.insert((row.level, row.tile, row.half), row.bytes);
        assert!(before.is_none(), "a half tile is written once");
    }
}

impl TileSource for Rows {
    fn half(&self, level: u8, tile: u64, half: u8) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(self.0.get(&(level, tile, half)).cloned())
    }
}

/// Random numbers for tests. The seed is printed, and taken from `PAYVAULT_TEST_SEED` when set.
struct Random(u64);

impl Random {
    fn seeded() -> Random {
        let seed = match std::env::var("PAYVAULT_TEST_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => u64::from_be_bytes(crate::ids::random()),
        };
        println!("PAYVAULT_TEST_SEED={seed}");
        Random(seed)
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
