//! The ledger, read back from the rows on disk or from an export.

use payvault::ids::Site;
use payvault::keys::{KeyName, Keyring, Kind, Place, Sealed};
use payvault::ledger::{Leaf, Opened, Page, Recorded};
use serde_json::Value;
use std::collections::BTreeMap;

/// An entry.
pub struct Entry {
    /// Its canonical JSON, parsed.
    pub json: Value,
}

impl Entry {
    /// A member; empty when absent.
    pub fn get(&self, member: &str) -> &str {
        self.json[member].as_str().unwrap_or_default()
    }

    /// Event, and, unless it is `ok`, outcome and reason: `redeemed denied USED_UP`.
    pub fn brief(&self) -> String {
        match self.get("outcome") {
            "ok" => self.get("event").to_owned(),
            outcome => format!("{} {outcome} {}", self.get("event"), self.get("reason")),
        }
    }
}

/// Every entry, in order, each checked against its leaf.
pub fn read(rows: &BTreeMap<Vec<u8>, Vec<u8>>, ring: &Keyring) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (_, row) in rows.range(b"E".to_vec()..b"F".to_vec()) {
        let page = Page::parse(row).expect("a page");
        for stored in &page.entries {
            assert_eq!(stored.index, entries.len() as u64, "an entry is missing");
            let sealed = Sealed::from_stored(stored.sealed.to_vec()).expect("a sealed entry");
            let key = ring.key(sealed.key_id()).expect("a live key");
            let KeyName::Log { site, .. } = key.name() else {
                panic!("an entry under a key of another purpose");
            };
            let content = ring
                .open(&place(site, stored.index, &row_key(stored.index)), &sealed)
                .expect("the entry opens");
            let opened = Opened::parse(&content).expect("an entry's content");
            let recorded = Recorded::parse(opened.json).expect("an entry");
            let bucket = recorded.bucket_text();
            let leaf = Leaf::of(
                recorded.epoch,
                &bucket,
                recorded.site,
                recorded.event,
                opened.json,
                opened.seed,
            );
            assert_eq!(leaf.hash, stored.leaf, "the leaf is not the entry's");
            entries.push(Entry {
                json: serde_json::from_str(opened.json).expect("JSON"),
            });
        }
    }
    entries
}

/// The open entries of an export.
pub fn of_export(export: &[u8]) -> Vec<Entry> {
    let text = std::str::from_utf8(export).expect("UTF-8");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .filter(|line| line["type"] == "entry")
        .map(|line| {
            let body = line["body"].as_str().expect("a body");
            Entry {
                json: serde_json::from_str(body).expect("JSON"),
            }
        })
        .collect()
}

fn row_key(index: u64) -> Vec<u8> {
    [&b"E"[..], &1u32.to_be_bytes(), &index.to_be_bytes()].concat()
}

fn place<'a>(site: Site, index: u64, row_key: &'a [u8]) -> Place<'a> {
    // Tests have far fewer than 2^20 entries: the scope is zero.
    assert!(index < 1 << 20);
    Place {
        site,
        transaction: None,
        kind: Kind::Entry,
        scope: &[0; 8],
        row_key,
    }
}
