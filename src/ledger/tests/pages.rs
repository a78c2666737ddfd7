//! Pages: the frozen row, the split, and what is refused.

use super::*;
use crate::ledger::*;
use crate::limits::VALUE_BYTES_MAX;

fn leaf_of(hash: Hash, facets: Hash) -> Leaf {
    Leaf {
        hash,
        facets,
        commitments: [[0; 32]; 3],
        salts: [[0; 32]; 3],
    }
}

#[test]
fn the_frozen_page_is_written_and_read() {
    let v = json("page.json");
    let entries: Vec<(Leaf, Vec<u8>)> = v["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            (
                leaf_of(bytes(&e["leaf"]), bytes(&e["facets"])),
                hex(text(&e["sealed"])),
            )
        })
        .collect();
    let first: u64 = text(&v["first"]).parse().unwrap();
    let row = hex(text(&v["row"]));
    let written = encode_pages(first, entries.iter().map(|(leaf, s)| (leaf, s.as_slice())));
    let expected = PageRow {
        first,
        count: 4,
        bytes: row.clone(),
    };
    assert_eq!(written.unwrap(), [expected]);
    let page = Page::parse(&row).unwrap();
    assert_eq!((page.first, page.entries.len()), (first, 4));
    for (place, (leaf, sealed)) in entries.iter().enumerate() {
        let index = first + place as u64;
        let entry = page.entry(index).unwrap();
        assert_eq!((entry.index, entry.sealed), (index, sealed.as_slice()));
        assert_eq!((entry.leaf, entry.facets), (leaf.hash, leaf.facets));
    }
    assert_eq!(page.entry(first - 1), None);
    assert_eq!(page.entry(first + 4), None);
    for cut in 0..row.len() {
        assert!(Page::parse(&row[..cut]).is_err(), "cut at {cut}");
    }
    assert!(Page::parse(&[&row[..], &[0]].concat()).is_err());
    for (place, byte) in [(0, b'p'), (2, 2)] {
        let mut other = row.clone();
        other[place] = byte;
        assert!(Page::parse(&other).is_err());
    }
}

#[test]
fn rows_are_full_and_never_too_long() {
    let random = &mut Random::seeded();
    for _ in 0..200 {
        let first = random.below(1 << 40);
        let sealed: Vec<Vec<u8>> = (0..random.below(60))
            .map(|i| vec![i as u8; random.below(3_000) as usize])
            .collect();
        let leaves: Vec<Leaf> = (0..sealed.len() as u64)
            .map(|i| leaf_of(leaf(i), leaf(i + 1_000)))
            .collect();
        let entries = leaves.iter().zip(sealed.iter().map(Vec::as_slice));
        let rows = encode_pages(first, entries).unwrap();
        let mut next = first;
        for (place, row) in rows.iter().enumerate() {
            assert!(row.bytes.len() <= VALUE_BYTES_MAX);
            let page = Page::parse(&row.bytes).unwrap();
            assert_eq!((row.first, page.first), (next, next));
            assert_eq!(page.entries.len(), usize::from(row.count));
            for entry in &page.entries {
                assert_eq!(entry.index, next);
                assert_eq!(entry.sealed, sealed[(next - first) as usize]);
                next += 1;
            }
            // The next row's first entry would not have fitted.
            if let Some(after) = rows.get(place + 1) {
                let need = 68 + sealed[(after.first - first) as usize].len();
                assert!(row.bytes.len() + need > VALUE_BYTES_MAX);
            }
        }
        assert_eq!(next - first, sealed.len() as u64);
    }
}

#[test]
fn an_entry_that_fills_a_row_is_written_and_one_byte_more_refused() {
    let leaf = leaf_of([1; 32], [2; 32]);
    let most = vec![7; VALUE_BYTES_MAX - 13 - 68];
    let rows = encode_pages(0, [(&leaf, most.as_slice()), (&leaf, &[1][..])]).unwrap();
    assert_eq!((rows.len(), rows[0].bytes.len()), (2, VALUE_BYTES_MAX));
    let more = vec![7; most.len() + 1];
    let refused = encode_pages(0, [(&leaf, more.as_slice())]);
    let bytes = more.len();
    assert_eq!(refused, Err(LedgerError::EntryTooLong { bytes }));
}

#[test]
fn impossible_counts_are_refused() {
    let header = |first: u64, count: u16| {
        let mut row = b"PE\x01".to_vec();
        row.extend_from_slice(&first.to_be_bytes());
        row.extend_from_slice(&count.to_be_bytes());
        row
    };
    assert!(Page::parse(&header(0, 0)).is_err());
    assert!(Page::parse(&header(0, u16::MAX)).is_err());
    assert!(Page::parse(&header(u64::MAX, 1)).is_err());
    assert!(Page::parse(&vec![0; VALUE_BYTES_MAX + 1]).is_err());
}

#[test]
fn what_is_pruned_says_so_and_nothing_else_changes() {
    let sealed: Vec<Vec<u8>> = (0..4u8).map(|n| vec![n; 300]).collect();
    let leaves: Vec<Leaf> = (0..4).map(|i| leaf_of(leaf(i), leaf(i + 9))).collect();
    let entries = leaves.iter().zip(sealed.iter().map(Vec::as_slice));
    let row = encode_pages(7, entries).unwrap().remove(0).bytes;
    let page = Page::parse(&row).unwrap();
    assert_eq!(page.without(|_| None), None);
    let pruned = page.without(|e| (e.index % 2 == 0).then_some(40 + e.index as u32));
    let pruned = pruned.unwrap();
    assert_eq!(pruned[2], 2);
    assert_eq!(row.len() - pruned.len(), 2 * (300 - 4));
    let again = Page::parse(&pruned).unwrap();
    for (before, after) in page.entries.iter().zip(&again.entries) {
        assert_eq!(
            (before.index, before.leaf, before.facets),
            (after.index, after.leaf, after.facets)
        );
        match before.index % 2 {
            0 => assert_eq!(
                (after.sealed, after.pruned),
                (&[][..], Some(40 + before.index as u32))
            ),
            _ => assert_eq!((after.sealed, after.pruned), (before.sealed, None)),
        }
    }
    // Once more: what was pruned stays as it is, also under new seals.
    assert_eq!(again.without(|e| e.pruned), None);
    let anew: Vec<Vec<u8>> = again.entries.iter().map(|e| e.sealed.to_vec()).collect();
    assert_eq!(again.resealed(&anew), pruned);
    let whole = again.without(|e| Some(e.index as u32)).unwrap();
    let whole = Page::parse(&whole).unwrap();
    assert!(whole.entries.iter().all(|e| e.pruned.is_some()));
    // One spelling: the format says whether anything is pruned.
    for (row, format) in [(&row, 2), (&pruned, 1)] {
        let mut other = row.clone();
        other[2] = format;
        assert!(Page::parse(&other).is_err());
    }
    for cut in 0..pruned.len() {
        assert!(Page::parse(&pruned[..cut]).is_err(), "cut at {cut}");
    }
    assert!(Page::parse(&[&pruned[..], &[0]].concat()).is_err());
}
