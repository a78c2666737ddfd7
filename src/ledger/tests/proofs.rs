//! Proofs out of the tree as the vault keeps it, held to RFC 6962's own definitions.

use super::*;
use crate::ledger::*;

/// RFC 6962 2.1 word for word, but that what was computed once is remembered.
struct Naive {
    leaves: Vec<Hash>,
    roots: HashMap<(usize, usize), Hash>,
}

impl Naive {
    /// MTH of the leaves from `from` up to `to`.
    fn root(&mut self, from: usize, to: usize) -> Hash {
        if let Some(root) = self.roots.get(&(from, to)) {
            return *root;
        }
        let root = match to - from {
            0 => Sha256::digest(b"").into(),
            1 => self.leaves[from],
            n => {
                let k = n.next_power_of_two() / 2;
                node_hash(&self.root(from, from + k), &self.root(from + k, to))
            }
        };
        self.roots.insert((from, to), root);
        root
    }

    /// PATH(m, D[from:to]), 2.1.1.
    fn path(&mut self, m: usize, from: usize, to: usize) -> Vec<Hash> {
        let n = to - from;
        if n <= 1 {
            return Vec::new();
        }
        let k = n.next_power_of_two() / 2;
        let (mut path, sibling) = match m < k {
            true => (self.path(m, from, from + k), self.root(from + k, to)),
            false => (self.path(m - k, from + k, to), self.root(from, from + k)),
        };
        path.push(sibling);
        path
    }

    /// SUBPROOF(m, D[from:to], b), 2.1.2.
    fn subproof(&mut self, m: usize, from: usize, to: usize, whole: bool) -> Vec<Hash> {
        let n = to - from;
        if m == n {
            return match whole {
                true => Vec::new(),
                false => vec![self.root(from, to)],
            };
        }
        let k = n.next_power_of_two() / 2;
        let (mut proof, sibling) = match m <= k {
            true => (
                self.subproof(m, from, from + k, whole),
                self.root(from + k, to),
            ),
            false => (
                self.subproof(m - k, from + k, to, false),
                self.root(from, from + k),
            ),
        };
        proof.push(sibling);
        proof
    }
}

/// Grows the tree to so many leaves, with the rows that it writes.
fn grow(tree: &mut Tree, rows: &mut Rows, size: u64) {
    while tree.size() < size {
        let mut staged = tree.stage();
        for index in tree.size()..size.min(tree.size() + 200) {
            staged.append(leaf(index));
        }
        for row in tree.rows(&staged).unwrap() {
            rows.write(row);
        }
        tree.apply(staged).unwrap();
    }
}

#[test]
fn every_proof_up_to_300_and_many_around_tile_edges_are_those_of_a_naive_tree() {
    let random = &mut Random::seeded();
    let mut naive = Naive {
        leaves: (0..65_537).map(leaf).collect(),
        roots: HashMap::new(),
    };
    let (mut tree, mut rows) = (Tree::empty(), Rows::default());
    for size in (1..=300).chain([511, 512, 513, 65_535, 65_536, 65_537]) {
        grow(&mut tree, &mut rows, size as u64);
        let (n, root) = (size as u64, naive.root(0, size));
        assert_eq!(tree.root(), root, "{size}");
        let every = size <= 300;
        let indexes: Vec<usize> = match every {
            true => (0..size).collect(),
            false => (0..200)
                .map(|_| random.below(n) as usize)
                .chain([0, size - 1])
                .collect(),
        };
        for index in indexes {
            let path = tree.inclusion(index as u64, n, &rows).unwrap();
            assert_eq!(path, naive.path(index, 0, size), "{index} of {size}");
            verify_inclusion(&leaf(index as u64), index as u64, n, &path, &root).unwrap();
        }
        let firsts: Vec<usize> = match every {
            true => (1..=size).collect(),
            false => (0..200)
                .map(|_| 1 + random.below(n) as usize)
                .chain([255, 256, 257])
                .collect(),
        };
        for first in firsts {
            let path = tree.consistency(first as u64, n, &rows).unwrap();
            assert_eq!(
                path,
                naive.subproof(first, 0, size, true),
                "{first} to {size}"
            );
            let before = naive.root(0, first);
            verify_consistency(first as u64, n, &before, &root, &path).unwrap();
        }
    }
}
