//! The directory of tiles, held to the specification's own example and to a naive tree.

use super::*;
use crate::ledger::*;
use std::collections::BTreeMap;

type Files = BTreeMap<String, Vec<u8>>;

/// Goes on with `files` from `from` leaves to `to`, as a directory is gone on with.
fn grow(files: &mut Files, from: u64, to: u64) -> Hash {
    let read = |level, index, width| -> Result<Vec<Hash>, LedgerError> {
        let bytes = &files[&tile_path(level, index, width)];
        Ok(bytes.as_chunks::<32>().0.to_vec())
    };
    let mut writer = TileWriter::resume(from, read).unwrap();
    for index in from..to {
        let made = |tile: TileFile<'_>| -> Result<(), LedgerError> {
            let before = files.insert(tile.path(), tile.bytes());
            assert!(before.is_none(), "{} is written once", tile.path());
            Ok(())
        };
        writer.push(leaf(index), made).unwrap();
    }
    for tile in writer.partial() {
        files.insert(tile.path(), tile.bytes());
    }
    assert_eq!(writer.size(), to);
    writer.root().unwrap()
}

/// The roots of all complete subtrees of 256^n leaves, level by level.
fn naive_levels(leaves: &[Hash]) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves.to_vec()];
    loop {
        let below = &levels[levels.len() - 1];
        if below.len() < TILE_HASHES {
            return levels;
        }
        let complete = below.chunks_exact(TILE_HASHES);
        levels.push(complete.map(naive_root).collect());
    }
}

/// Every file that a tree of these leaves has to have, and no other.
fn naive_files(leaves: &[Hash]) -> Files {
    let mut files = Files::new();
    for (level, hashes) in naive_levels(leaves).iter().enumerate() {
        for (index, tile) in hashes.chunks(TILE_HASHES).enumerate() {
            let mut path = format!("tile/{level}/{index:03}");
            if index >= 1_000 {
                path = format!("tile/{level}/x{:03}/{:03}", index / 1_000, index % 1_000);
            }
            if tile.len() < TILE_HASHES {
                path += &format!(".p/{}", tile.len());
            }
            files.insert(path, tile.concat());
        }
    }
    files
}

#[test]
fn paths_are_those_of_the_specification() {
    for (level, index, width, path) in [
        (0, 0, 256, "tile/0/000"),
        (0, 999, 256, "tile/0/999"),
        (0, 1_000, 256, "tile/0/x001/000"),
        (0, 1_234_067, 256, "tile/0/x001/x234/067"),
        (3, 1_234_067, 8, "tile/3/x001/x234/067.p/8"),
        (5, 999_999, 255, "tile/5/x999/999.p/255"),
    ] {
        assert_eq!(tile_path(level, index, width), path);
    }
}

#[test]
fn the_worked_example_has_its_tiles() {
    // C2SP tlog-tiles, "Merkle Tree": a tree of 70,000 entries.
    let mut files = Files::new();
    grow(&mut files, 0, 70_000);
    let full = |level: &str| {
        let inside = |path: &&String| path.starts_with(level) && !path.contains(".p/");
        files.keys().filter(inside).count()
    };
    assert_eq!(
        (full("tile/0/"), full("tile/1/"), full("tile/2/")),
        (273, 1, 0)
    );
    let partial: Vec<&String> = files.keys().filter(|path| path.contains(".p/")).collect();
    let expected = ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"];
    assert_eq!(partial, expected);
    let leaves: Vec<Hash> = (0..70_000).map(leaf).collect();
    assert!(files == naive_files(&leaves));
}

#[test]
fn every_size_has_the_files_and_the_root_of_a_naive_tree() {
    let leaves: Vec<Hash> = (0..65_537).map(leaf).collect();
    for size in (0..=300).chain([511, 512, 513, 65_535, 65_536, 65_537]) {
        let mut files = Files::new();
        let root = grow(&mut files, 0, size as u64);
        assert_eq!(root, naive_root(&leaves[..size]), "{size}");
        assert!(files == naive_files(&leaves[..size]), "{size}");
    }
}

#[test]
fn a_directory_that_grew_in_steps_is_the_one_that_was_made_at_once() {
    let random = &mut Random::seeded();
    let (mut files, mut size) = (Files::new(), 0);
    let leaves: Vec<Hash> = (0..70_000).map(leaf).collect();
    for last in [255, 256, 257, 300, 65_535, 65_536, 65_537, 70_000] {
        for to in [size + random.below(last - size + 1), last] {
            let root = grow(&mut files, size, to);
            assert_eq!(root, naive_root(&leaves[..to as usize]));
            size = to;
        }
    }
    // Partial tiles of former sizes stay, for whoever holds their checkpoints.
    for (path, bytes) in naive_files(&leaves) {
        assert!(files[&path] == bytes, "{path}");
    }
}

#[test]
fn a_partial_tile_of_another_width_is_refused() {
    let short =
        |_, _, width: usize| -> Result<Vec<Hash>, LedgerError> { Ok(vec![[0; 32]; width - 1]) };
    assert!(TileWriter::resume(300, short).is_err());
}
