//! The journal's records, in two files.

use super::meter::bounded;
use payvault::store::{JournalPiece, reread_journal};

/// Pieces of 12 bytes and a payload: which file, turn, round, rows, whether it is damaged, length.
pub fn run(data: &[u8]) {
    let mut files: [Vec<JournalPiece<'_>>; 2] = [Vec::new(), Vec::new()];
    let mut rest = data;
    while let Some((head, tail)) = rest.split_first_chunk::<6>() {
        let [flags, turn, sequence, rows, length, step] = *head;
        let (payload, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        let file = &mut files[usize::from(flags & 1)];
        if file.len() >= 64 {
            continue;
        }
        file.push(JournalPiece {
            turn: u64::from(turn % 8),
            // Most rounds follow, so that what is behind the first ones is read too.
            sequence: match (flags & 2, file.last()) {
                (0, Some(last)) => last.sequence + 1,
                _ => u64::from(sequence),
            },
            rows: match flags & 4 {
                0 => u32::from(rows % 4),
                _ => u32::from(rows) << (step % 25),
            },
            payload,
            damaged: flags & 8 != 0,
        });
    }
    let [first, second] = &files;
    let pages = first.len() + second.len();
    // A page a record, some copies of it, and what its rows are.
    let read = |applied| {
        bounded(data.len() + pages * 16_384, || {
            reread_journal([first, second], applied)
        })
    };
    let needed = read(64);
    let Ok(rounds) = read(0) else { return };
    // What the engine has may be damaged; what isn't is taken all the same.
    assert!(needed.is_ok_and(|needed| needed == rounds));
    assert!(rounds.len() <= pages);
    for pair in rounds.windows(2) {
        assert_eq!(pair[0].0 + 1, pair[1].0, "rounds follow each other");
    }
    // The last round of the newest turn is there: a record that is whole and follows is never left
    // out.
    let whole = |file: &[JournalPiece<'_>]| file.first().is_some_and(|piece| !piece.damaged);
    assert!(!rounds.is_empty() || !(whole(first) || whole(second)));
}
