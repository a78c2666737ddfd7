//! Every committed input through its function: what a fuzzer found once stays mended.

use super::TARGETS;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The inputs of a target: its corpus, which may be minimised anew, and what was found once, which
/// stays.
fn inputs(target: &str) -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let list = |dir: &str| match std::fs::read_dir(own.join(dir).join(target)) {
        Ok(entries) => entries
            .map(|entry| entry.expect("an entry").path())
            .collect(),
        Err(_) => Vec::new(),
    };
    let mut files: Vec<PathBuf> = list("corpus");
    assert!(!files.is_empty(), "{target} has no corpus");
    files.extend(list("findings"));
    files.sort();
    files
}

#[test]
fn every_corpus_file_holds_every_property() {
    for (target, harness) in TARGETS {
        for file in inputs(target) {
            let data = std::fs::read(&file).expect("readable");
            if catch_unwind(AssertUnwindSafe(|| harness(&data))).is_err() {
                panic!("{} breaks a property of {target}", file.display());
            }
        }
    }
}

#[test]
fn the_corpus_is_small() {
    let files = TARGETS.iter().flat_map(|(target, _)| inputs(target));
    let bytes: u64 = files
        .map(|file| file.metadata().expect("a file").len())
        .sum();
    assert!(bytes <= 2 << 20, "{bytes} bytes");
}

#[test]
fn short_inputs_of_every_kind_hold_every_property() {
    for (_, harness) in TARGETS {
        harness(&[]);
        for first in 0..=255 {
            harness(&[first]);
            harness(&[first, first, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
        }
    }
}
