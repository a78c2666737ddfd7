//! The tree as files (C2SP tlog-tiles): what any reader of tiles, mirror or witness can use. Only
//! hashes: entries are sealed, so there are no entry bundles.

use super::error::LedgerError;
use super::hash::Hash;
use super::tree::Frontier;

/// Hashes of a full tile.
pub const TILE_HASHES: usize = 256;
/// A tile's hashes are 8 levels of the tree apart from those of the tile above.
const TILE_LEVELS: u8 = 8;
/// Levels of tiles that a tree of 64-bit size can have.
const LEVELS: usize = 8;

/// One tile, full or partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileFile<'a> {
    /// Level: 0 holds leaf hashes.
    pub level: u8,
    /// Number within its level.
    pub index: u64,
    /// At least one hash, at most [`TILE_HASHES`].
    pub hashes: &'a [Hash],
}

impl TileFile<'_> {
    /// Its path below the directory.
    pub fn path(&self) -> String {
        tile_path(self.level, self.index, self.hashes.len())
    }

    /// Its content: the hashes, one after the other.
    pub fn bytes(&self) -> Vec<u8> {
        self.hashes.concat()
    }
}

/// The path of a tile: `tile/0/x001/x234/067`, and `.p/<width>` for a partial one.
pub fn tile_path(level: u8, index: u64, width: usize) -> String {
    let digits = format!("{index:03}");
    let digits = format!(
        "{digits:0>width$}",
        width = digits.len().next_multiple_of(3)
    );
    let groups = digits.as_bytes().chunks(3);
    let last = groups.len() - 1;
    let mut path = format!("tile/{level}");
    for (place, group) in groups.enumerate() {
        path.push_str(if place < last { "/x" } else { "/" });
        path.extend(group.iter().copied().map(char::from));
    }
    if width < TILE_HASHES {
        path.push_str(&format!(".p/{width}"));
    }
    path
}

/// The partial tiles of a tree of `size` leaves, level by level: (level, index, width).
pub fn partial_tiles(size: u64) -> impl Iterator<Item = (u8, u64, usize)> {
    (0..LEVELS as u8).filter_map(move |level| {
        let count = size >> (level * TILE_LEVELS);
        let width = (count % TILE_HASHES as u64) as usize;
        (width > 0).then_some((level, count / TILE_HASHES as u64, width))
    })
}

/// Makes tiles of leaves as they come.
pub struct TileWriter {
    size: u64,
    /// What is not yet a full tile, level by level.
    edges: Vec<Vec<Hash>>,
}

impl TileWriter {
    /// Goes on with a tree of `size` leaves, whose partial tiles `read` gives.
    ///
    /// # Errors
    /// What `read` says, or [`LedgerError::Diverged`] when a tile has another width.
    pub fn resume<E: From<LedgerError>>(
        size: u64,
        mut read: impl FnMut(u8, u64, usize) -> Result<Vec<Hash>, E>,
    ) -> Result<TileWriter, E> {
        let mut edges = vec![Vec::new(); LEVELS];
        for (level, index, width) in partial_tiles(size) {
            let hashes = read(level, index, width)?;
            if hashes.len() != width {
                return Err(LedgerError::Diverged { size }.into());
            }
            edges[usize::from(level)] = hashes;
        }
        Ok(TileWriter { size, edges })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; `made` hears of each tile that became full.
    ///
    /// # Errors
    /// What `made` says.
    pub fn push<E>(
        &mut self,
        leaf: Hash,
        mut made: impl FnMut(TileFile<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut hash = leaf;
        for level in 0..LEVELS as u8 {
            let edge = &mut self.edges[usize::from(level)];
            edge.push(hash);
            if edge.len() < TILE_HASHES {
                break;
            }
            let index = self.size >> ((level + 1) * TILE_LEVELS - 1) >> 1;
            made(TileFile {
                level,
                index,
                hashes: edge,
            })?;
            let mut tile = Frontier::empty();
            edge.drain(..).for_each(|hash| tile.push(hash));
            hash = tile.root();
        }
        self.size += 1;
        Ok(())
    }

    /// The partial tiles.
    pub fn partial(&self) -> impl Iterator<Item = TileFile<'_>> {
        partial_tiles(self.size).map(|(level, index, _)| TileFile {
            level,
            index,
            hashes: &self.edges[usize::from(level)],
        })
    }

    /// The root of the tree.
    ///
    /// # Errors
    /// Never for a writer that was made by [`TileWriter::resume`].
    pub fn root(&self) -> Result<Hash, LedgerError> {
        let mut tree = Frontier::empty();
        for (level, edge) in self.edges.iter().enumerate().rev() {
            for hash in edge {
                tree.push_subtree(level as u8 * TILE_LEVELS, *hash)?;
            }
        }
        Ok(tree.root())
    }
}
