//! The tree in memory and its rows, against a naive tree, through failed rounds and reopening.

use super::*;
use crate::ledger::*;

/// A tree that grew to `size` in rounds, some of which failed, with the rows that it wrote.
struct Grown {
    leaves: Vec<Hash>,
    tree: Tree,
    rows: Rows,
}

impl Grown {
    fn new() -> Grown {
        Grown {
            leaves: Vec::new(),
            tree: Tree::empty(),
            rows: Rows::default(),
        }
    }

    fn grow_to(&mut self, size: u64, random: &mut Random, round_max: u64) {
        while self.tree.size() < size {
            let count = (1 + random.below(round_max)).min(size - self.tree.size());
            // A round that fails leaves nothing behind.
            if random.below(4) == 0 {
                let mut lost = self.tree.stage();
                lost.append([0xee; 32]);
                drop(lost);
            }
            let mut staged = self.tree.stage();
            for _ in 0..count {
                let leaf = leaf(self.leaves.len() as u64);
                assert_eq!(staged.append(leaf), self.leaves.len() as u64);
                self.leaves.push(leaf);
            }
            let (size, root, peaks) = (staged.size(), staged.root(), staged.peaks().to_vec());
            for row in self.tree.rows(&staged).unwrap() {
                self.rows.write(row);
            }
            self.tree.apply(staged).unwrap();
            assert_eq!((self.tree.size(), self.tree.root()), (size, root));
            assert_eq!(self.tree.peaks(), peaks);
        }
    }

    fn reopened(&self) -> Result<Tree, LedgerError> {
        let size = self.tree.size();
        let recent = &self.leaves[Tree::recent_from(size) as usize..];
        Tree::load(size, self.tree.peaks().to_vec(), &self.rows, recent)
    }

    fn check(&self, random: &mut Random) {
        let size = self.tree.size();
        assert_eq!(self.tree.root(), naive_root(&self.leaves), "size {size}");
        assert_eq!(self.reopened().unwrap(), self.tree, "size {size}");
        // Exactly the complete half tiles were written.
        let halves: u64 = (0..8).map(|level| (size >> (8 * level)) / 128).sum();
        assert_eq!(self.rows.0.len() as u64, halves);
        for _ in 0..20 {
            let past = 1 + random.below(size);
            let index = random.below(past);
            let root = self.tree.root_at(past, &self.rows).unwrap();
            let path = self.tree.inclusion(index, past, &self.rows).unwrap();
            verify_inclusion(&self.leaves[index as usize], index, past, &path, &root).unwrap();
            let path = self.tree.consistency(past, size, &self.rows).unwrap();
            verify_consistency(past, size, &root, &self.tree.root(), &path).unwrap();
            let Boundaries { left, right } =
                self.tree.boundaries(index, past, size, &self.rows).unwrap();
            let mut frontier = Frontier::from_peaks(index, left).unwrap();
            for leaf in &self.leaves[index as usize..past as usize] {
                frontier.push(*leaf);
            }
            let root = root_from_boundaries(frontier, &right, size).unwrap();
            assert_eq!(root, self.tree.root());
        }
    }
}

#[test]
fn rows_and_proofs_hold_at_every_size_up_to_two_tiles() {
    let random = &mut Random::seeded();
    let mut grown = Grown::new();
    assert_eq!(grown.reopened().unwrap(), grown.tree);
    for size in 1..=520 {
        grown.grow_to(size, random, 1);
        assert_eq!(grown.tree.root(), naive_root(&grown.leaves));
        assert_eq!(grown.reopened().unwrap(), grown.tree, "size {size}");
        if [
            1, 127, 128, 129, 255, 256, 257, 383, 384, 385, 511, 512, 513,
        ]
        .contains(&size)
        {
            grown.check(random);
        }
    }
}

#[test]
fn rows_and_proofs_hold_around_the_second_level() {
    let random = &mut Random::seeded();
    let mut grown = Grown::new();
    for size in [
        32_767,
        32_768,
        32_769,
        65_535,
        65_536,
        65_537,
        65_536 + 32_768 + 300,
    ] {
        grown.grow_to(size, random, 700);
        grown.check(random);
    }
}

#[test]
fn every_root_of_a_past_size_is_that_of_a_naive_tree() {
    let random = &mut Random::seeded();
    let mut grown = Grown::new();
    grown.grow_to(700, random, 64);
    for size in 0..=700 {
        assert_eq!(
            grown.tree.root_at(size, &grown.rows).unwrap(),
            naive_root(&grown.leaves[..size as usize])
        );
    }
}

#[test]
fn a_clone_proves_its_own_size_while_the_tree_grows() {
    let random = &mut Random::seeded();
    let mut grown = Grown::new();
    grown.grow_to(300, random, 64);
    let snapshot = grown.tree.clone();
    grown.grow_to(1_000, random, 64);
    for index in [0, 127, 128, 255, 256, 299] {
        let path = snapshot.inclusion(index, 300, &grown.rows).unwrap();
        let leaf = &grown.leaves[index as usize];
        verify_inclusion(leaf, index, 300, &path, &snapshot.root()).unwrap();
    }
    let past_its_end = snapshot.inclusion(300, 301, &grown.rows);
    assert_eq!(past_its_end, Err(LedgerError::OutOfRange { size: 300 }));
}

#[test]
fn leaves_staged_on_another_state_are_refused_and_change_nothing() {
    let mut tree = Tree::empty();
    let (mut one, mut two) = (tree.stage(), tree.stage());
    one.append(leaf(1));
    two.append(leaf(2));
    tree.apply(one).unwrap();
    let before = tree.clone();
    assert_eq!(tree.rows(&two), Err(LedgerError::StagedElsewhere));
    assert_eq!(tree.apply(two), Err(LedgerError::StagedElsewhere));
    assert_eq!(tree, before);
}

#[test]
fn a_missing_short_or_changed_row_is_noticed_at_opening() {
    let random = &mut Random::seeded();
    let mut grown = Grown::new();
    grown.grow_to(65_536 + 32_768 + 428, random, 700);
    // What the edge is rebuilt from: the first half of the tile at hand on each level, and on each
    // level the tiles that the one above has not in a complete half.
    let needed: Vec<(u8, u64, u8)> = vec![
        (0, 385, 0),
        (1, 1, 0),
        (0, 384, 0),
        (0, 384, 1),
        (1, 0, 0),
        (1, 0, 1),
    ];
    for place in &needed {
        let row = grown.rows.0.remove(place).unwrap();
        let (level, tile, half) = *place;
        let missing = LedgerError::TileMissing { level, tile, half };
        assert_eq!(grown.reopened(), Err(missing));
        grown.rows.0.insert(*place, row[1..].to_vec());
        assert!(matches!(grown.reopened(), Err(LedgerError::Malformed(_))));
        let mut flipped = row.clone();
        flipped[random.below(4096) as usize] ^= 1;
        grown.rows.0.insert(*place, flipped);
        let size = grown.tree.size();
        assert_eq!(grown.reopened(), Err(LedgerError::Diverged { size }));
        grown.rows.0.insert(*place, row);
    }
    let size = grown.tree.size();
    let peaks = grown.tree.peaks().to_vec();
    let recent = &grown.leaves[Tree::recent_from(size) as usize..];
    let diverged = Err(LedgerError::Diverged { size });
    let shorter = &recent[1..];
    assert_eq!(
        Tree::load(size, peaks.clone(), &grown.rows, shorter),
        diverged
    );
    let mut other = recent.to_vec();
    other[0][0] ^= 1;
    assert_eq!(
        Tree::load(size, peaks.clone(), &grown.rows, &other),
        diverged
    );
    assert_eq!(Tree::load(size, vec![], &grown.rows, recent), diverged);
    let mut other = peaks;
    other[0][0] ^= 1;
    assert_eq!(Tree::load(size, other, &grown.rows, recent), diverged);
}

#[test]
fn opening_reads_few_rows() {
    struct Counted<'a>(&'a Rows, std::cell::RefCell<[u32; 8]>);
    impl TileSource for Counted<'_> {
        fn half(&self, level: u8, tile: u64, half: u8) -> Result<Option<Vec<u8>>, LedgerError> {
            self.1.borrow_mut()[usize::from(level)] += 1;
            self.0.half(level, tile, half)
        }
    }
    let random = &mut Random::seeded();
    let mut grown = Grown::new();
    // 127 loose hashes on level 1: the most that has to be rebuilt from level 0.
    grown.grow_to(127 * 256 + 255, random, 700);
    let counted = Counted(&grown.rows, Default::default());
    let size = grown.tree.size();
    let recent = &grown.leaves[Tree::recent_from(size) as usize..];
    Tree::load(size, grown.tree.peaks().to_vec(), &counted, recent).unwrap();
    assert!(counted.1.borrow().iter().all(|reads| *reads <= 255));
}
