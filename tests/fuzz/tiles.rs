//! The tree: rows of tiles that aren't what was stored, and proofs that aren't what was given.

use super::meter::bounded;
use super::text::silent_error;
use payvault::ledger::{
    Boundaries, Frontier, HALF_BYTES, Hash, LedgerError, TileSource, Tree, root_from_boundaries,
    verify_consistency, verify_inclusion,
};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::LazyLock;

const LEAVES: u64 = 700;

/// Level, tile and half.
type Place = (u8, u64, u8);
type Rows = HashMap<Place, Vec<u8>>;

struct Source<'a>(&'a Rows, Option<(Place, &'a [u8])>);

impl TileSource for Source<'_> {
    fn half(&self, level: u8, tile: u64, half: u8) -> Result<Option<Vec<u8>>, LedgerError> {
        match self.1 {
            Some((place, bytes)) if place == (level, tile, half) => Ok(Some(bytes.to_vec())),
            _ => Ok(self.0.get(&(level, tile, half)).cloned()),
        }
    }
}

/// The tree after each number of leaves, and all its rows.
struct Grown {
    trees: Vec<Tree>,
    rows: Rows,
    leaves: Vec<Hash>,
}

static GROWN: LazyLock<Grown> = LazyLock::new(|| {
    let mut grown = Grown {
        trees: vec![Tree::empty()],
        rows: Rows::new(),
        leaves: Vec::new(),
    };
    let mut tree = Tree::empty();
    for index in 0..LEAVES {
        let leaf = Sha256::digest(index.to_be_bytes()).into();
        let mut staged = tree.stage();
        staged.append(leaf);
        for row in tree.rows(&staged).expect("staged on it") {
            grown
                .rows
                .insert((row.level, row.tile, row.half), row.bytes);
        }
        tree.apply(staged).expect("staged on it");
        grown.trees.push(tree.clone());
        grown.leaves.push(leaf);
    }
    grown
});

/// Six numbers of two bytes, then bytes that stand for hashes.
pub fn run(data: &[u8]) {
    LazyLock::force(&GROWN);
    let Some((numbers, rest)) = data.split_first_chunk::<12>() else {
        return;
    };
    let numbers: [u64; 6] = std::array::from_fn(|at| {
        u64::from(u16::from_be_bytes([numbers[2 * at], numbers[2 * at + 1]]))
    });
    // A tree's edge may hold 255 hashes a level however short the input is.
    bounded(data.len(), || match numbers[0] % 4 {
        0 => inclusion(&numbers, rest),
        1 => consistency(&numbers, rest),
        2 => load(&numbers, rest),
        _ => raw(rest),
    });
}

fn root(size: u64) -> Hash {
    GROWN.trees[size as usize].root()
}

/// Changes one byte of a proof, or its length. Returns whether it is still the same.
fn change(path: &mut Vec<Hash>, at: u64, how: &[u8]) -> bool {
    match (how.first(), path.is_empty()) {
        (None | Some(0), _) => true,
        (Some(1), _) => {
            path.push([how.len() as u8; 32]);
            false
        }
        (Some(2), false) => {
            path.pop();
            false
        }
        (_, true) => true,
        (Some(by), false) => {
            let at = at as usize % (path.len() * 32);
            path[at / 32][at % 32] ^= by;
            false
        }
    }
}

fn inclusion(numbers: &[u64; 6], how: &[u8]) {
    let size = 1 + numbers[1] % LEAVES;
    let index = numbers[2] % size;
    let tree = &GROWN.trees[LEAVES as usize];
    let mut path = tree
        .inclusion(index, size, &Source(&GROWN.rows, None))
        .expect("a path");
    let same = change(&mut path, numbers[3], how);
    let leaf = &GROWN.leaves[index as usize];
    let right = verify_inclusion(leaf, index, size, &path, &root(size)).is_ok();
    assert_eq!(right, same, "leaf {index} of {size}");
    if index > 0 {
        let other = &GROWN.leaves[index as usize - 1];
        assert!(verify_inclusion(other, index, size, &path, &root(size)).is_err());
    }
}

fn consistency(numbers: &[u64; 6], how: &[u8]) {
    let second = 1 + numbers[1] % LEAVES;
    let first = 1 + numbers[2] % second;
    let tree = &GROWN.trees[LEAVES as usize];
    let source = Source(&GROWN.rows, None);
    let mut path = tree.consistency(first, second, &source).expect("a path");
    let same = change(&mut path, numbers[3], how);
    let right = verify_consistency(first, second, &root(first), &root(second), &path).is_ok();
    assert_eq!(right, same, "{first} to {second}");
    // A range and what lies around it.
    let from = numbers[4] % second;
    let to = from + numbers[5] % (second - from + 1);
    let around = tree.boundaries(from, to, second, &source).expect("both");
    let Boundaries { left, mut right } = around;
    let mut frontier = Frontier::from_peaks(from, left).expect("complete");
    for leaf in &GROWN.leaves[from as usize..to as usize] {
        frontier.push(*leaf);
    }
    let same = change(&mut right, numbers[3], how);
    let computed = root_from_boundaries(frontier, &right, second);
    assert_eq!(
        computed.is_ok_and(|computed| computed == root(second)),
        same
    );
}

/// One row that isn't what was stored: the tree is the right one, or none.
fn load(numbers: &[u64; 6], row: &[u8]) {
    let size = numbers[1] % (LEAVES + 1);
    let tree = &GROWN.trees[size as usize];
    let place = (
        (numbers[2] % 3) as u8,
        numbers[3] % 3,
        (numbers[4] % 2) as u8,
    );
    let mut changed = GROWN.rows.get(&place).cloned().unwrap_or_default();
    if row.len() >= 2 && !changed.is_empty() {
        let at = usize::from(u16::from_be_bytes([row[0], row[1]])) % changed.len();
        for (own, by) in changed[at..].iter_mut().zip(&row[2..]) {
            *own ^= by;
        }
    }
    let changed = match numbers[5] % 3 {
        0 => row,
        1 => &changed[..changed.len() - row.len().min(changed.len())],
        _ => &changed,
    };
    let source = Source(&GROWN.rows, Some((place, changed)));
    let recent = &GROWN.leaves[Tree::recent_from(size) as usize..size as usize];
    match Tree::load(size, tree.peaks().to_vec(), &source, recent) {
        Ok(loaded) => assert!(loaded == *tree, "another tree of {size}"),
        Err(error) => silent_error(&error),
    }
    assert!(changed.len() <= HALF_BYTES + row.len());
}

/// Sizes and hashes as they come.
fn raw(bytes: &[u8]) {
    let Some((sizes, rest)) = bytes.split_first_chunk::<24>() else {
        return;
    };
    let number = |at: usize| {
        let mut own = [0; 8];
        own.copy_from_slice(&sizes[8 * at..8 * at + 8]);
        u64::from_be_bytes(own)
    };
    let (first, second, third) = (number(0), number(1), number(2));
    let hashes: Vec<Hash> = rest.as_chunks::<32>().0.to_vec();
    let leaf = [1; 32];
    let _ = verify_inclusion(&leaf, first, second, &hashes, &leaf);
    let _ = verify_consistency(first, second, &leaf, &leaf, &hashes);
    let source = Source(&GROWN.rows, None);
    if let Ok(tree) = Tree::load(first, hashes.clone(), &source, &[]) {
        let known = GROWN.trees.get(first as usize);
        assert!(known.is_some_and(|known| *known == tree));
    }
    if let Ok(mut frontier) = Frontier::from_peaks(first, hashes.clone()) {
        assert_eq!(frontier.size(), first);
        let _ = root_from_boundaries(frontier.clone(), &hashes, second);
        if first < u64::MAX {
            frontier.push(leaf);
            assert_eq!(frontier.size(), first + 1);
        }
    }
    let tree = &GROWN.trees[LEAVES as usize];
    for (a, b, c) in [(first, second, third), (second, third, first)] {
        let answers = [
            tree.inclusion(a, b, &source).map(drop),
            tree.consistency(a, b, &source).map(drop),
            tree.boundaries(a, b, c, &source).map(drop),
            tree.root_at(a, &source).map(drop),
        ];
        for error in answers.into_iter().filter_map(Result::err) {
            silent_error(&error);
        }
    }
}
