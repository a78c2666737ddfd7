//! The tree as the vault keeps it (`docs/format.md` §5.4): C2SP tlog-tiles geometry, 256 hashes a
//! tile, written in halves of 128. In memory lies only the right edge, at most 255 hashes a level;
//! everything older is read from rows when a proof needs it.

use super::error::LedgerError;
use super::hash::Hash;
use super::tree::{self, Boundaries, Frontier, Hashes, node_hash};
use std::collections::HashMap;

/// Hashes of half a tile: what one row holds.
pub const HALF_HASHES: usize = 128;
/// Bytes of half a tile.
pub const HALF_BYTES: usize = HALF_HASHES * 32;
const TILE_HASHES: u64 = 256;
/// Tree levels that one tile spans.
const TILE_LEVELS: u8 = 8;
/// 256^8 leaves: more than a 64-bit index names.
const LEVELS: usize = 8;

/// Gives the half tiles that were written as rows.
pub trait TileSource {
    /// The 4,096 bytes of a half tile, or `None` when there is no such row.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn half(&self, level: u8, tile: u64, half: u8) -> Result<Option<Vec<u8>>, LedgerError>;
}

/// A half tile that became complete: a row to be written with the round that completed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HalfTile {
    /// Level of the tile; 0 holds leaf hashes.
    pub level: u8,
    /// Which tile of that level.
    pub tile: u64,
    /// 0 for the left half, 1 for the right.
    pub half: u8,
    /// Its 128 hashes.
    pub bytes: Vec<u8>,
}

/// The tree: right edge and frontier. Cheap to clone (at most 64 KiB); a clone goes on giving
/// proofs for its own size while the original grows, since rows are only ever added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    frontier: Frontier,
    /// For each level the hashes of its last, incomplete tile.
    edges: [Vec<Hash>; LEVELS],
}

/// Leaves that were appended but are not durable yet. Dropped, nothing happened.
#[derive(Clone)]
pub struct Staged {
    base: Frontier,
    frontier: Frontier,
    /// For each level the hashes that came.
    new: [Vec<Hash>; LEVELS],
}

impl Tree {
    /// A tree without leaves.
    pub fn empty() -> Tree {
        Tree {
            frontier: Frontier::empty(),
            edges: Default::default(),
        }
    }

    /// Index of the first leaf whose hash [`Tree::load`] needs from pages: what follows the last
    /// complete half tile.
    pub fn recent_from(size: u64) -> u64 {
        size - size % HALF_HASHES as u64
    }

    /// Rebuilds the edge at opening. `recent` are the leaf hashes of
    /// [`Tree::recent_from`]`(size)..size`, from pages; the rest comes from rows, at most 255
    /// halves a level.
    ///
    /// # Errors
    /// [`LedgerError::TileMissing`] for a row that has to be there; [`LedgerError::Diverged`] when
    /// what was read does not hash to `peaks`, which the sealed head vouches for.
    pub fn load(
        size: u64,
        peaks: Vec<Hash>,
        source: &impl TileSource,
        recent: &[Hash],
    ) -> Result<Tree, LedgerError> {
        let mut tree = Tree {
            frontier: Frontier::from_peaks(size, peaks)?,
            edges: Default::default(),
        };
        if recent.len() as u64 != size - Tree::recent_from(size) {
            return Err(LedgerError::Diverged { size });
        }
        for level in 0..LEVELS as u8 {
            let count = size >> (level * TILE_LEVELS);
            let mut edge = Vec::with_capacity((count % TILE_HASHES) as usize);
            if count % TILE_HASHES >= HALF_HASHES as u64 {
                let row = read_half(source, level, count / TILE_HASHES, 0)?;
                edge.extend_from_slice(&row);
            }
            if level == 0 {
                edge.extend_from_slice(recent);
            } else {
                for tile in Tree::recent_from(count)..count {
                    let left = perfect_root(read_half(source, level - 1, tile, 0)?);
                    let right = perfect_root(read_half(source, level - 1, tile, 1)?);
                    edge.push(node_hash(&left, &right));
                }
            }
            tree.edges[usize::from(level)] = edge;
        }
        let mut reader = ProofReader::new(&tree, source);
        let rebuilt = tree::cover(0, size)
            .map(|(level, index)| reader.subtree(level, index))
            .collect::<Result<Vec<Hash>, _>>()?;
        if rebuilt != tree.frontier.peaks() {
            return Err(LedgerError::Diverged { size });
        }
        Ok(tree)
    }

    /// How many leaves there are: the index of the next.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root at the present size.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The peaks at the present size, for the head.
    pub fn peaks(&self) -> &[Hash] {
        self.frontier.peaks()
    }

    /// Begins to append. The tree changes only when [`Tree::apply`] takes the result, after the
    /// round that holds it is durable.
    pub fn stage(&self) -> Staged {
        Staged {
            base: self.frontier.clone(),
            frontier: self.frontier.clone(),
            new: Default::default(),
        }
    }

    /// The half tiles that `staged` completes, as rows for its round: by level, then position.
    ///
    /// # Errors
    /// [`LedgerError::StagedElsewhere`] when `staged` began on another state.
    pub fn rows(&self, staged: &Staged) -> Result<Vec<HalfTile>, LedgerError> {
        self.check_base(staged)?;
        let mut rows = Vec::new();
        for (level, new) in staged.new.iter().enumerate() {
            let edge = &self.edges[level];
            let level = level as u8;
            let count = self.size() >> (level * TILE_LEVELS);
            let edge_from = count - count % TILE_HASHES;
            let mut from = Tree::recent_from(count);
            while from + HALF_HASHES as u64 <= count + new.len() as u64 {
                let skip = (from - edge_from) as usize;
                let hashes = edge.iter().chain(new).skip(skip).take(HALF_HASHES);
                rows.push(HalfTile {
                    level,
                    tile: from / TILE_HASHES,
                    half: (from % TILE_HASHES / HALF_HASHES as u64) as u8,
                    bytes: hashes.flatten().copied().collect(),
                });
                from += HALF_HASHES as u64;
            }
        }
        Ok(rows)
    }

    /// Takes staged leaves over, once their round is durable.
    ///
    /// # Errors
    /// [`LedgerError::StagedElsewhere`] when `staged` began on another state; nothing changes then.
    pub fn apply(&mut self, staged: Staged) -> Result<(), LedgerError> {
        self.check_base(&staged)?;
        self.frontier = staged.frontier;
        for (edge, new) in self.edges.iter_mut().zip(staged.new) {
            edge.extend(new);
            let complete = edge.len() - edge.len() % TILE_HASHES as usize;
            edge.drain(..complete);
        }
        Ok(())
    }

    fn check_base(&self, staged: &Staged) -> Result<(), LedgerError> {
        if staged.base == self.frontier {
            Ok(())
        } else {
            Err(LedgerError::StagedElsewhere)
        }
    }

    /// The root that the tree had at `size`.
    ///
    /// # Errors
    /// When `size` is above the present one, or a row is missing or unreadable; so below.
    pub fn root_at(&self, size: u64, source: &impl TileSource) -> Result<Hash, LedgerError> {
        self.check_size(size)?;
        tree::root_of_prefix(&mut ProofReader::new(self, source), size)
    }

    /// The inclusion path of leaf `index` in the tree of `size` leaves ([`tree::inclusion_path`]).
    ///
    /// # Errors
    /// When `size` is above the present one or `index` not below it, or a row cannot be read.
    pub fn inclusion(
        &self,
        index: u64,
        size: u64,
        source: &impl TileSource,
    ) -> Result<Vec<Hash>, LedgerError> {
        self.check_size(size)?;
        tree::inclusion_path(&mut ProofReader::new(self, source), index, size)
    }

    /// The consistency path between two sizes ([`tree::consistency_path`]).
    ///
    /// # Errors
    /// When not `first` ≤ `second` ≤ the present size, or a row cannot be read.
    pub fn consistency(
        &self,
        first: u64,
        second: u64,
        source: &impl TileSource,
    ) -> Result<Vec<Hash>, LedgerError> {
        self.check_size(second)?;
        tree::consistency_path(&mut ProofReader::new(self, source), first, second)
    }

    /// The boundaries of an export's range `from..to` in the tree of `size` leaves.
    ///
    /// # Errors
    /// When not `from` ≤ `to` ≤ `size` ≤ the present size, or a row cannot be read.
    pub fn boundaries(
        &self,
        from: u64,
        to: u64,
        size: u64,
        source: &impl TileSource,
    ) -> Result<Boundaries, LedgerError> {
        self.check_size(size)?;
        tree::range_boundaries(&mut ProofReader::new(self, source), from, to, size)
    }

    fn check_size(&self, size: u64) -> Result<(), LedgerError> {
        if size <= self.size() {
            Ok(())
        } else {
            Err(LedgerError::OutOfRange { size: self.size() })
        }
    }
}

impl Staged {
    /// Appends a leaf; returns its index.
    pub fn append(&mut self, leaf: Hash) -> u64 {
        let index = self.frontier.size();
        let new = &mut self.new;
        new[0].push(leaf);
        self.frontier.carry(0, leaf, |level, root| {
            // A subtree of 256^n leaves is a whole tile, and one hash of the level above.
            if level % TILE_LEVELS == 0 {
                new[usize::from(level / TILE_LEVELS)].push(*root);
            }
        });
        index
    }

    /// How many leaves the tree will have: the index of the next.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root that the tree will have.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The peaks that the tree will have, for the head.
    pub fn peaks(&self) -> &[Hash] {
        self.frontier.peaks()
    }

    /// The leaf hashes that were appended.
    pub fn leaves(&self) -> &[Hash] {
        &self.new[0]
    }
}

/// Gives complete subtrees out of edge and rows; keeps the rows that one proof reads again and
/// again (two a level at most for an inclusion path).
struct ProofReader<'a, S> {
    tree: &'a Tree,
    source: &'a S,
    halves: HashMap<(u8, u64, u8), Vec<Hash>>,
}

impl<'a, S: TileSource> ProofReader<'a, S> {
    fn new(tree: &'a Tree, source: &'a S) -> ProofReader<'a, S> {
        ProofReader {
            tree,
            source,
            halves: HashMap::new(),
        }
    }
}

impl<S: TileSource> Hashes for ProofReader<'_, S> {
    fn subtree(&mut self, level: u8, index: u64) -> Result<Hash, LedgerError> {
        let size = self.tree.size();
        let out_of_range = LedgerError::OutOfRange { size };
        let tile_level = level / TILE_LEVELS;
        // At most 2^7 hashes: they never straddle two halves.
        let width = 1u64 << (level % TILE_LEVELS);
        if usize::from(tile_level) >= LEVELS {
            return Err(out_of_range);
        }
        let count = size >> (tile_level * TILE_LEVELS);
        let edge_from = count - count % TILE_HASHES;
        let complete = index
            .checked_add(1)
            .and_then(|next| next.checked_mul(width))
            .is_some_and(|to| to <= count);
        if !complete {
            return Err(out_of_range);
        }
        let from = index * width;
        if let Some(skip) = from.checked_sub(edge_from) {
            let edge = &self.tree.edges[usize::from(tile_level)];
            let (from, to) = (skip as usize, (skip + width) as usize);
            let hashes = edge.get(from..to).ok_or(out_of_range)?;
            return Ok(perfect_root(hashes.to_vec()));
        }
        let half = (from % TILE_HASHES / HALF_HASHES as u64) as u8;
        let place = (tile_level, from / TILE_HASHES, half);
        let hashes = match self.halves.entry(place) {
            std::collections::hash_map::Entry::Occupied(kept) => kept.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(read_half(self.source, place.0, place.1, place.2)?)
            }
        };
        let from = (from % HALF_HASHES as u64) as usize;
        Ok(perfect_root(hashes[from..from + width as usize].to_vec()))
    }
}

fn read_half(
    source: &impl TileSource,
    level: u8,
    tile: u64,
    half: u8,
) -> Result<Vec<Hash>, LedgerError> {
    let bytes = source
        .half(level, tile, half)?
        .ok_or(LedgerError::TileMissing { level, tile, half })?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    if hashes.len() != HALF_HASHES || !rest.is_empty() {
        return Err(crate::codec::Malformed::new("half tile is not 4,096 bytes").into());
    }
    Ok(hashes.to_vec())
}

/// The root over 2^n hashes.
fn perfect_root(mut hashes: Vec<Hash>) -> Hash {
    debug_assert!(hashes.len().is_power_of_two());
    while hashes.len() > 1 {
        for pair in 0..hashes.len() / 2 {
            hashes[pair] = node_hash(&hashes[2 * pair], &hashes[2 * pair + 1]);
        }
        hashes.truncate(hashes.len() / 2);
    }
    hashes[0]
}
