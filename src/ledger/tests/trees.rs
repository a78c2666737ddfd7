//! RFC 6962's arithmetic against the reference vectors and a naive tree.

use super::*;
use crate::ledger::*;

struct Naive(Vec<Hash>);

impl Hashes for Naive {
    fn subtree(&mut self, level: u8, index: u64) -> Result<Hash, LedgerError> {
        let (from, to) = ((index << level) as usize, ((index + 1) << level) as usize);
        Ok(naive_root(&self.0[from..to]))
    }
}

/// RFC 6962 2.1.1, literally.
fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut path, last) = if index < k {
        (naive_path(index, &leaves[..k]), naive_root(&leaves[k..]))
    } else {
        (
            naive_path(index - k, &leaves[k..]),
            naive_root(&leaves[..k]),
        )
    };
    path.push(last);
    path
}

/// RFC 6962 2.1.2, literally.
fn naive_subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    let n = leaves.len();
    if m == n {
        return if whole {
            vec![]
        } else {
            vec![naive_root(leaves)]
        };
    }
    let k = n.next_power_of_two() / 2;
    let (mut path, last) = if m <= k {
        (
            naive_subproof(m, &leaves[..k], whole),
            naive_root(&leaves[k..]),
        )
    } else {
        (
            naive_subproof(m - k, &leaves[k..], false),
            naive_root(&leaves[..k]),
        )
    };
    path.push(last);
    path
}

/// Every way to spoil a path that keeps its elements 32 bytes long.
fn spoiled(path: &[Hash], other: Hash) -> Vec<Vec<Hash>> {
    let mut spoiled = vec![
        [path, &[other]].concat(),
        [&[other], path].concat(),
        [path, &path[..path.len().min(1)], &[[0; 32]]].concat(),
    ];
    for i in 0..path.len() {
        let mut flipped = path.to_vec();
        flipped[i][i % 32] ^= 8;
        spoiled.push(flipped);
        let mut shorter = path.to_vec();
        shorter.remove(i);
        spoiled.push(shorter);
        if i > 0 && path[i] != path[i - 1] {
            let mut swapped = path.to_vec();
            swapped.swap(i, i - 1);
            spoiled.push(swapped);
        }
    }
    spoiled
}

#[test]
fn the_reference_tree_has_its_roots_nodes_and_proofs() {
    let v = json("rfc6962.json");
    let leaves: Vec<Hash> = v["leaves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|data| Sha256::digest([&[0], &*hex(text(data))].concat()).into())
        .collect();
    let roots = hashes(&v["roots"]);
    let mut naive = Naive(leaves.clone());
    let mut frontier = Frontier::empty();
    assert_eq!(frontier.root(), roots[0]);
    for (index, leaf) in leaves.iter().enumerate() {
        frontier.push(*leaf);
        assert_eq!(frontier.root(), roots[index + 1]);
        assert_eq!(
            root_of_prefix(&mut naive, index as u64 + 1).unwrap(),
            roots[index + 1]
        );
    }
    for (level, nodes) in v["nodes"].as_array().unwrap().iter().enumerate() {
        for (index, node) in hashes(nodes).into_iter().enumerate() {
            assert_eq!(naive.subtree(level as u8, index as u64).unwrap(), node);
        }
    }
    for case in v["inclusion"].as_array().unwrap() {
        let (index, size) = (
            case["index"].as_u64().unwrap(),
            case["size"].as_u64().unwrap(),
        );
        let path = hashes(&case["path"]);
        assert_eq!(inclusion_path(&mut naive, index, size).unwrap(), path);
        let (leaf, root) = (&leaves[index as usize], &roots[size as usize]);
        verify_inclusion(leaf, index, size, &path, root).unwrap();
        // The reference's probes.
        for (index, size) in [
            (index.wrapping_sub(1), size),
            (index + 1, size),
            (index ^ 2, size),
            (index, size * 2),
            (index, size / 2),
        ] {
            assert!(verify_inclusion(leaf, index, size, &path, root).is_err());
        }
        assert!(verify_inclusion(leaf, index, size, &path, &roots[0]).is_err());
        assert!(verify_inclusion(&roots[0], index, size, &path, root).is_err());
        for path in spoiled(&path, *root) {
            assert!(verify_inclusion(leaf, index, size, &path, root).is_err());
        }
    }
    for case in v["consistency"].as_array().unwrap() {
        let (first, second) = (
            case["first"].as_u64().unwrap(),
            case["second"].as_u64().unwrap(),
        );
        let path = hashes(&case["path"]);
        assert_eq!(consistency_path(&mut naive, first, second).unwrap(), path);
        let (a, b) = (&roots[first as usize], &roots[second as usize]);
        verify_consistency(first, second, a, b, &path).unwrap();
        if path.is_empty() {
            continue;
        }
        for (first, second) in [
            (first - 1, second),
            (first + 1, second),
            (first ^ 2, second),
            (first, second * 2),
            (first, second / 2),
        ] {
            assert!(verify_consistency(first, second, a, b, &path).is_err());
        }
        assert!(verify_consistency(first, second, b, a, &path).is_err());
        assert!(verify_consistency(first, second, a, b, &[]).is_err());
        for path in spoiled(&path, *b) {
            assert!(verify_consistency(first, second, a, b, &path).is_err());
        }
    }
}

#[test]
fn sizes_that_have_nothing_to_prove_are_decided() {
    let (a, b, empty) = ([1; 32], [2; 32], empty_root());
    assert!(verify_inclusion(&a, 0, 0, &[], &a).is_err());
    assert!(verify_inclusion(&a, 1, 1, &[], &a).is_err());
    verify_inclusion(&a, 0, 1, &[], &a).unwrap();
    verify_consistency(0, 0, &empty, &empty, &[]).unwrap();
    verify_consistency(0, 5, &empty, &b, &[]).unwrap();
    verify_consistency(3, 3, &a, &a, &[]).unwrap();
    assert!(verify_consistency(0, 0, &a, &a, &[]).is_err());
    assert!(verify_consistency(0, 5, &a, &b, &[]).is_err());
    assert!(verify_consistency(0, 5, &empty, &b, &[a]).is_err());
    assert!(verify_consistency(3, 3, &a, &b, &[]).is_err());
    assert!(verify_consistency(3, 3, &a, &a, &[a]).is_err());
    assert!(verify_consistency(3, 2, &a, &a, &[]).is_err());
    assert!(verify_consistency(u64::MAX, u64::MAX - 1, &a, &a, &[]).is_err());
    let long = [a; 200];
    assert!(verify_inclusion(&a, 7, u64::MAX, &long, &a).is_err());
    assert!(verify_consistency(7, u64::MAX, &a, &a, &long).is_err());
}

#[test]
fn every_proof_of_every_small_tree_is_that_of_a_naive_tree() {
    const SIZE: usize = 130;
    let leaves: Vec<Hash> = (0..SIZE as u64).map(leaf).collect();
    let mut naive = Naive(leaves.clone());
    let roots: Vec<Hash> = (0..=SIZE).map(|size| naive_root(&leaves[..size])).collect();
    for size in 0..=SIZE {
        let n = size as u64;
        for index in 0..size {
            let path = inclusion_path(&mut naive, index as u64, n).unwrap();
            assert_eq!(path, naive_path(index, &leaves[..size]));
            verify_inclusion(&leaves[index], index as u64, n, &path, &roots[size]).unwrap();
            // Another leaf's path never serves.
            let other = (index + 1) % size;
            if other != index {
                let refused =
                    verify_inclusion(&leaves[other], index as u64, n, &path, &roots[size]);
                assert!(refused.is_err());
            }
        }
        assert!(inclusion_path(&mut naive, n, n).is_err());
        for first in 1..=size {
            let path = consistency_path(&mut naive, first as u64, n).unwrap();
            assert_eq!(path, naive_subproof(first, &leaves[..size], true));
            verify_consistency(first as u64, n, &roots[first], &roots[size], &path).unwrap();
            if first < size {
                let refused =
                    verify_consistency(first as u64, n, &roots[first - 1], &roots[size], &path);
                assert!(refused.is_err());
            }
        }
        assert!(consistency_path(&mut naive, n + 1, n).is_err());
    }
}

#[test]
fn any_range_and_its_boundaries_give_the_root() {
    const SIZE: usize = 70;
    let leaves: Vec<Hash> = (0..SIZE as u64).map(leaf).collect();
    let mut naive = Naive(leaves.clone());
    for size in 0..=SIZE {
        let root = naive_root(&leaves[..size]);
        for from in 0..=size {
            for to in from..=size {
                let (f, t, n) = (from as u64, to as u64, size as u64);
                let Boundaries { left, right } = range_boundaries(&mut naive, f, t, n).unwrap();
                let mut frontier = Frontier::from_peaks(f, left).unwrap();
                for leaf in &leaves[from..to] {
                    frontier.push(*leaf);
                }
                assert_eq!(root_from_boundaries(frontier.clone(), &right, n), Ok(root));
                let longer = [&right[..], &[[0; 32]]].concat();
                assert!(root_from_boundaries(frontier.clone(), &longer, n).is_err());
                if let Some((_, shorter)) = right.split_last() {
                    assert!(root_from_boundaries(frontier.clone(), shorter, n).is_err());
                }
            }
        }
    }
    assert!(range_boundaries(&mut naive, 3, 2, 5).is_err());
    assert!(range_boundaries(&mut naive, 3, 6, 5).is_err());
    assert!(Frontier::from_peaks(3, vec![[0; 32]]).is_err());
}

#[test]
fn a_subtree_stands_only_at_a_multiple_of_its_width() {
    let mut frontier = Frontier::empty();
    frontier.push(leaf(0));
    assert_eq!(
        frontier.push_subtree(1, [0; 32]),
        Err(LedgerError::Unaligned)
    );
    assert_eq!(
        frontier.push_subtree(64, [0; 32]),
        Err(LedgerError::Unaligned)
    );
    assert_eq!(
        frontier.push_subtree(255, [0; 32]),
        Err(LedgerError::Unaligned)
    );
    let mut full = Frontier::from_peaks(1 << 63, vec![[1; 32]]).unwrap();
    assert_eq!(full.push_subtree(63, [0; 32]), Err(LedgerError::Unaligned));
}
