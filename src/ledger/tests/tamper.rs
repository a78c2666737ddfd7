//! Nothing can be changed, cut, dropped, doubled or moved in an export without the verifier naming
//! the line.

use super::*;
use crate::ledger::*;

const FILE: &str = "ok_export_narrow.jsonl";

fn refused_at(file: &[u8], keys: &[VerifierKey]) -> Option<u64> {
    verify_export(file, keys).err().map(|error| error.line)
}

/// The line in which byte `place` lies; a newline belongs to the line that it ends.
fn line_of(file: &[u8], place: usize) -> u64 {
    1 + file[..place].iter().filter(|b| **b == b'\n').count() as u64
}

#[test]
fn every_flipped_byte_is_refused_at_its_line() {
    let file = vector(FILE);
    let keys = [ledger_key()];
    let mut other = file.clone();
    for place in 0..file.len() {
        // Each bit has its turn; a change of case is the one most likely to slip through.
        for bit in [1 << (place % 8), 0x20] {
            other[place] ^= bit;
            let line = refused_at(&other, &keys);
            assert_eq!(
                line,
                Some(line_of(&file, place)),
                "byte {place}, bit {bit:#x}"
            );
            other[place] = file[place];
        }
    }
}

#[test]
fn a_file_cut_at_any_byte_is_refused_where_it_stops() {
    let file = vector(FILE);
    let keys = [ledger_key()];
    for cut in 0..file.len() {
        let error = verify_export(&file[..cut], &keys).unwrap_err();
        assert_eq!(error.line, line_of(&file, cut), "cut at {cut}");
        assert_eq!(error.fault, Fault::Stops, "cut at {cut}");
    }
}

#[test]
fn a_removed_doubled_or_moved_line_is_named() {
    let file = vector(FILE);
    let keys = [ledger_key()];
    let lines: Vec<&[u8]> = file.split_inclusive(|b| *b == b'\n').collect();
    for one in 0..lines.len() {
        let number = one as u64 + 1;
        let mut removed = lines.clone();
        removed.remove(one);
        assert_eq!(refused_at(&removed.concat(), &keys), Some(number));
        let mut doubled = lines.clone();
        doubled.insert(one, lines[one]);
        assert_eq!(refused_at(&doubled.concat(), &keys), Some(number + 1));
        for two in one + 1..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(one, two);
            assert_eq!(refused_at(&swapped.concat(), &keys), Some(number));
        }
    }
}

#[test]
fn a_line_of_another_export_is_refused() {
    let keys = [ledger_key()];
    let (narrow, all) = (vector(FILE), vector("ok_export_all.jsonl"));
    let lines = |file: &[u8]| -> Vec<Vec<u8>> {
        file.split_inclusive(|b| *b == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    };
    let (narrow, all) = (lines(&narrow), lines(&all));
    // Entry 6 is open in one and closed in the other; both lines are genuine.
    let mut mixed = narrow.clone();
    mixed[4] = all[7].clone();
    let error = verify_export(&mixed.concat()[..], &keys).unwrap_err();
    assert_eq!((error.line, error.fault), (5, Fault::Disclosed));
    let mut mixed = all.clone();
    mixed[7] = narrow[4].clone();
    let error = verify_export(&mixed.concat()[..], &keys).unwrap_err();
    assert_eq!((error.line, error.fault), (8, Fault::Withheld));
}

#[test]
fn random_changes_never_pass_or_panic() {
    let random = &mut Random::seeded();
    let file = vector(FILE);
    let keys = [ledger_key()];
    for _ in 0..3_000 {
        let mut other = file.clone();
        for _ in 0..1 + random.below(3) {
            let from = random.below(other.len() as u64) as usize;
            let to = (from + random.below(40) as usize).min(other.len());
            let source = random.below(file.len() as u64 - 40) as usize;
            let piece = file[source..source + random.below(40) as usize].to_vec();
            other.splice(from..to, piece);
            if other.is_empty() {
                break;
            }
        }
        if other != file {
            assert!(refused_at(&other, &keys).is_some());
        }
    }
}

#[test]
fn a_reader_that_fails_is_named() {
    struct Fails(bool);
    impl std::io::Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            // An interruption is no failure.
            self.0 = !self.0;
            let kind = if self.0 {
                std::io::ErrorKind::Interrupted
            } else {
                std::io::ErrorKind::ConnectionReset
            };
            Err(kind.into())
        }
    }
    let file = vector(FILE);
    let half = std::io::Read::chain(&file[..file.len() / 2], Fails(false));
    let error = verify_export(std::io::BufReader::new(half), &[ledger_key()]).unwrap_err();
    assert_eq!(error.line, line_of(&file, file.len() / 2));
    assert!(matches!(error.fault, Fault::Unreadable(_)));
}
