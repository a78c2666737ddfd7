//! How the ledger grows: bytes an entry as it lies on disk, tree included.

use crate::house::Home;

#[test]
fn an_entry_takes_some_six_hundred_bytes_on_disk_with_its_part_of_the_tree() {
    let home = Home::new();
    for _ in 0..100 {
        let (transaction, token) = home.card();
        assert!(home.authorize(transaction, &token).is_ok());
    }
    let rows = home.disk.durable();
    let bytes_of = |space: &[u8]| -> usize {
        let own = rows.iter().filter(|(key, _)| key.starts_with(space));
        own.map(|(key, value)| key.len() + value.len()).sum()
    };
    let entries = home.size() as usize;
    let (pages, tiles) = (bytes_of(b"E") / entries, bytes_of(b"T") / entries);
    let texts: usize = home.ledger().iter().map(|line| line.json.len()).sum();
    println!(
        "{entries} entries: {} bytes of JSON each, {pages} on disk, {tiles} of the tree",
        texts / entries
    );
    // The rest is hashes, nonce and tag, and a page's share of its frame.
    assert!(pages < texts / entries + 240, "{pages}");
    assert!(pages + tiles < 700, "{pages} and {tiles}");
}
