//! The Merkle tree of RFC 6962 2.1 (RFC 9162 2.1): its arithmetic alone, over hashes that somebody
//! else holds. A *complete subtree* of level `l` and index `i` covers the leaves
//! `i·2^l .. (i+1)·2^l`; every proof is made of roots of complete subtrees.

use super::error::{LedgerError, ProofRefused};
use super::hash::Hash;
use sha2::{Digest as _, Sha256};

/// The hash of an inner node (prefix 0x01).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    // One update of one buffer: twice as fast as three small ones.
    let mut node = [0u8; 65];
    node[0] = 1;
    node[1..33].copy_from_slice(left);
    node[33..].copy_from_slice(right);
    Sha256::digest(node).into()
}

/// The root of a tree without leaves: the hash of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest(b"").into()
}

/// The right border of a growing tree: the roots of its complete subtrees, largest (leftmost)
/// first. Enough to append and to know the root.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// A tree without leaves.
    pub fn empty() -> Frontier {
        Frontier::default()
    }

    /// A tree of `size` leaves with these peaks.
    ///
    /// # Errors
    /// When the number of peaks is not that of the ones in `size`'s binary form.
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Result<Frontier, LedgerError> {
        if peaks.len() != size.count_ones() as usize {
            return Err(LedgerError::Diverged { size });
        }
        Ok(Frontier { size, peaks })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.carry(0, leaf, |_, _| {});
    }

    /// Appends the root of a complete subtree of 2^`level` leaves.
    ///
    /// # Errors
    /// When the tree's size is not a multiple of its width, or would not fit 64 bits.
    pub fn push_subtree(&mut self, level: u8, root: Hash) -> Result<(), LedgerError> {
        let width = 1u64
            .checked_shl(level.into())
            .ok_or(LedgerError::Unaligned)?;
        if !self.size.is_multiple_of(width) || self.size.checked_add(width).is_none() {
            return Err(LedgerError::Unaligned);
        }
        self.carry(level, root, |_, _| {});
        Ok(())
    }

    /// Appends like a binary counter: each one-bit of the size that carries merges two subtrees.
    /// `made` hears of every larger subtree that became complete.
    pub(super) fn carry(&mut self, level: u8, root: Hash, mut made: impl FnMut(u8, &Hash)) {
        let (mut at, mut root) = (level, root);
        while (self.size >> at) & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            root = node_hash(&left, &root);
            at += 1;
            made(at, &root);
        }
        self.peaks.push(root);
        self.size += 1 << level;
    }

    /// The tree's root.
    pub fn root(&self) -> Hash {
        fold(&self.peaks)
    }
}

/// The root over neighbouring subtrees of falling size: the right ones are joined first.
fn fold(roots: &[Hash]) -> Hash {
    match roots.split_last() {
        None => empty_root(),
        Some((last, rest)) => rest
            .iter()
            .rev()
            .fold(*last, |right, left| node_hash(left, &right)),
    }
}

/// Where the roots of complete subtrees come from.
pub trait Hashes {
    /// The root of the complete subtree `index` of `level`.
    ///
    /// # Errors
    /// When it is not, or not yet, complete, or cannot be read.
    fn subtree(&mut self, level: u8, index: u64) -> Result<Hash, LedgerError>;
}

/// The fewest complete subtrees that cover `from..to`, ascending: (level, index).
pub(super) fn cover(from: u64, to: u64) -> impl Iterator<Item = (u8, u64)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let left = to.checked_sub(at).filter(|left| *left > 0)?;
        // 64 for 0: any width may start there.
        let level = at.trailing_zeros().min(left.ilog2());
        let subtree = (level as u8, at >> level);
        at += 1 << level;
        Some(subtree)
    })
}

/// The Merkle tree hash of `from..to`, a range that the tree's own splits produce.
fn range(hashes: &mut impl Hashes, from: u64, to: u64) -> Result<Hash, LedgerError> {
    let roots: Vec<Hash> = cover(from, to)
        .map(|(level, index)| hashes.subtree(level, index))
        .collect::<Result<_, _>>()?;
    Ok(fold(&roots))
}

/// Where RFC 6962 splits a tree of `size` > 1 leaves: the largest power of two below it.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The root that the tree had when it held `size` leaves.
///
/// # Errors
/// When `hashes` cannot give a subtree.
pub fn root_of_prefix(hashes: &mut impl Hashes, size: u64) -> Result<Hash, LedgerError> {
    range(hashes, 0, size)
}

/// The inclusion path of leaf `index` in the tree of `size` leaves, from the leaf upward
/// (RFC 6962 2.1.1). At most 64 hashes.
///
/// # Errors
/// When `index` is not below `size`, or `hashes` cannot give a subtree.
pub fn inclusion_path(
    hashes: &mut impl Hashes,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, LedgerError> {
    if index >= size {
        return Err(LedgerError::OutOfRange { size });
    }
    let mut path = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(range(hashes, middle, to)?);
            to = middle;
        } else {
            path.push(range(hashes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The consistency path from `first` to `second` leaves (RFC 6962 2.1.2). At most 65 hashes; none
/// when the sizes are equal or the first is 0.
///
/// # Errors
/// When `first` is above `second`, or `hashes` cannot give a subtree.
pub fn consistency_path(
    hashes: &mut impl Hashes,
    first: u64,
    second: u64,
) -> Result<Vec<Hash>, LedgerError> {
    if first > second {
        return Err(LedgerError::OutOfRange { size: second });
    }
    let mut path = Vec::new();
    if first == 0 {
        return Ok(path);
    }
    let (mut from, mut to) = (0, second);
    while first < to {
        let middle = from + split(to - from);
        if first <= middle {
            path.push(range(hashes, middle, to)?);
            to = middle;
        } else {
            path.push(range(hashes, from, middle)?);
            from = middle;
        }
    }
    // When the walk only went left, what remains is the first tree's root, which the verifier has.
    if from > 0 {
        path.push(range(hashes, from, to)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks an inclusion path (RFC 9162 2.1.3.2).
///
/// # Errors
/// [`ProofRefused`] unless the path leads from `leaf` at `index` to `root`, with no hash missing or
/// left over.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofRefused> {
    if index >= size {
        return Err(ProofRefused);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(ProofRefused);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root {
        Ok(())
    } else {
        Err(ProofRefused)
    }
}

/// Checks a consistency path (RFC 9162 2.1.4.2): the tree of `second` leaves begins with the tree of
/// `first` leaves.
///
/// # Errors
/// [`ProofRefused`] unless the path leads to both roots, with no hash missing or left over. The
/// empty tree is a prefix of any: its root must be [`empty_root`] and the path empty.
pub fn verify_consistency(
    first: u64,
    second: u64,
    first_root: &Hash,
    second_root: &Hash,
    path: &[Hash],
) -> Result<(), ProofRefused> {
    if first > second {
        return Err(ProofRefused);
    }
    if first == second {
        let same = path.is_empty()
            && first_root == second_root
            && (first > 0 || *first_root == empty_root());
        return same.then_some(()).ok_or(ProofRefused);
    }
    if first == 0 {
        let empty = path.is_empty() && *first_root == empty_root();
        return empty.then_some(()).ok_or(ProofRefused);
    }
    let (start, path) = if first.is_power_of_two() {
        (first_root, path)
    } else {
        path.split_first().ok_or(ProofRefused)?
    };
    let shift = (first - 1).trailing_ones();
    let (mut node, mut last) = ((first - 1) >> shift, (second - 1) >> shift);
    let (mut old, mut new) = (*start, *start);
    for sibling in path {
        if last == 0 {
            return Err(ProofRefused);
        }
        if node & 1 == 1 || node == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && old == *first_root && new == *second_root {
        Ok(())
    } else {
        Err(ProofRefused)
    }
}

/// What completes a range of leaves to a root.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Boundaries {
    /// Roots of the complete subtrees left of the range, largest first: the peaks of the tree that
    /// ends where the range begins.
    pub left: Vec<Hash>,
    /// Roots of the fewest complete subtrees right of the range, ascending by position.
    pub right: Vec<Hash>,
}

/// The boundaries of `from..to` in the tree of `size` leaves.
///
/// # Errors
/// When not `from` ≤ `to` ≤ `size`, or `hashes` cannot give a subtree.
pub fn range_boundaries(
    hashes: &mut impl Hashes,
    from: u64,
    to: u64,
    size: u64,
) -> Result<Boundaries, LedgerError> {
    if from > to || to > size {
        return Err(LedgerError::OutOfRange { size });
    }
    let mut roots = |from, to| -> Result<Vec<Hash>, LedgerError> {
        cover(from, to)
            .map(|(level, index)| hashes.subtree(level, index))
            .collect()
    };
    Ok(Boundaries {
        left: roots(0, from)?,
        right: roots(to, size)?,
    })
}

/// The root of the tree of `size` leaves, from a frontier that grew from a range's left boundary
/// through all its leaves, and the range's right boundary.
///
/// # Errors
/// [`ProofRefused`] when the number of hashes is not that of the subtrees between the two.
pub fn root_from_boundaries(
    mut frontier: Frontier,
    right: &[Hash],
    size: u64,
) -> Result<Hash, ProofRefused> {
    let mut hashes = right.iter();
    for (level, _) in cover(frontier.size(), size) {
        let hash = hashes.next().ok_or(ProofRefused)?;
        frontier
            .push_subtree(level, *hash)
            .map_err(|_| ProofRefused)?;
    }
    if hashes.next().is_some() || frontier.size() != size {
        return Err(ProofRefused);
    }
    Ok(frontier.root())
}
