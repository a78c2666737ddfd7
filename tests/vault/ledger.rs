//! The ledger read back from the bytes on disk, written from `docs/format.md` and not from the
//! code that wrote them.

use payvault::ids::Site;
use payvault::keys::{KeyName, Keyring, Kind, Place, Sealed};
use payvault::ledger::{Event, Leaf, Opened, Page, Recorded, Tree};
use payvault::secret::SecretBuffer;
use std::collections::BTreeMap;

/// The rows of a store.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// An entry as it lies on disk.
pub struct Line {
    /// Where.
    pub index: u64,
    /// Its canonical JSON.
    pub json: String,
}

impl Line {
    /// A member; empty when absent.
    pub fn get(&self, member: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(&self.json).expect("JSON");
        value[member].as_str().unwrap_or_default().to_owned()
    }

    /// A fact of the event; empty when absent.
    pub fn detail(&self, name: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(&self.json).expect("JSON");
        value["detail"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Event and, unless it is `ok`, outcome and reason: `redeemed`, `redeemed denied USED_UP`.
    pub fn brief(&self) -> String {
        match self.get("outcome").as_str() {
            "ok" => self.get("event"),
            outcome => format!("{} {outcome} {}", self.get("event"), self.get("reason")),
        }
    }
}

/// Every entry, each checked against its leaf, and the root of them all.
pub fn read(rows: &Rows, ring: &Keyring) -> (Vec<Line>, [u8; 32]) {
    let mut lines = Vec::new();
    let tree = Tree::empty();
    let mut staged = tree.stage();
    for (_, row) in rows.range(b"E".to_vec()..b"F".to_vec()) {
        let page = Page::parse(row).expect("a page");
        for entry in &page.entries {
            assert_eq!(entry.index, lines.len() as u64, "an entry is missing");
            let sealed = Sealed::from_stored(entry.sealed.to_vec()).expect("a sealed entry");
            let key = ring.key(sealed.key_id()).expect("a live key");
            let KeyName::Log { site, .. } = key.name() else {
                panic!("an entry under a key of another purpose");
            };
            let content = open_entry(ring, site, entry.index, &sealed);
            let opened = Opened::parse(&content).expect("an entry's content");
            let recorded = Recorded::parse(opened.json).expect("an entry");
            let leaf = Leaf::of(
                recorded.epoch,
                &recorded.bucket_text(),
                recorded.site,
                recorded.event,
                opened.json,
                opened.seed,
            );
            assert_eq!(leaf.hash, entry.leaf, "the leaf is not the entry's");
            assert_eq!(leaf.facets, entry.facets, "the facets are not the entry's");
            assert_eq!(recorded.index, entry.index);
            assert_eq!(recorded.site, site);
            assert!(Event::parse(recorded.event.as_str()).is_some());
            staged.append(entry.leaf);
            lines.push(Line {
                index: entry.index,
                json: opened.json.to_owned(),
            });
        }
    }
    (lines, staged.root())
}

fn open_entry(ring: &Keyring, site: Site, index: u64, sealed: &Sealed) -> SecretBuffer {
    let row_key = [&b"E"[..], &1u32.to_be_bytes(), &index.to_be_bytes()].concat();
    let place = Place {
        site,
        transaction: None,
        kind: Kind::Entry,
        scope: &(index >> 20).to_be_bytes(),
        row_key: &row_key,
    };
    ring.open(&place, sealed).expect("the entry opens")
}
