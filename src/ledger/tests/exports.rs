//! Exports: the frozen ones, made and verified, and one file for each way to be dishonest.

use super::*;
use crate::clock::Timestamp;
use crate::ids::{PrincipalId, Site, VaultId};
use crate::ledger::*;
use ed25519_dalek::SigningKey;

/// The ledger of the vectors, as a vault holds it.
struct Held {
    bodies: Vec<String>,
    buckets: Vec<String>,
    seeds: Vec<[u8; 32]>,
    leaves: Vec<Leaf>,
    tree: Tree,
}

impl Held {
    fn new() -> Held {
        let mut held = Held {
            bodies: vec![],
            buckets: vec![],
            seeds: vec![],
            leaves: vec![],
            tree: Tree::empty(),
        };
        let mut staged = held.tree.stage();
        for v in json("leaf.json").as_array().unwrap() {
            let (body, bucket) = (text(&v["body"]), text(&v["bucket"]));
            let entry = Recorded::parse(body).unwrap();
            let seed = bytes(&v["seed"]);
            let leaf = Leaf::of(1, bucket, entry.site, entry.event, body, &seed);
            staged.append(leaf.hash);
            held.bodies.push(body.to_owned());
            held.buckets.push(bucket.to_owned());
            held.seeds.push(seed);
            held.leaves.push(leaf);
        }
        held.tree.apply(staged).unwrap();
        held
    }

    fn header(&self, from: u64, to: u64, filter: Filter) -> ExportHeader {
        let size = self.tree.size();
        let vault = VaultId(std::array::from_fn(|i| i as u8));
        let checkpoint = Checkpoint::new(vault, 1, size, self.tree.root());
        ExportHeader {
            vault,
            epoch: 1,
            from,
            to,
            filter,
            requested_by: PrincipalId([0x13; 16]),
            requested_by_name: "auditor \"one\"".to_owned(),
            reason: "yearly review".to_owned(),
            ticket: "T-1".to_owned(),
            at: Timestamp::parse("2026-12-02T00:00:00.000Z").unwrap(),
            checkpoint: checkpoint.sign(&key()).unwrap(),
            boundaries: self
                .tree
                .boundaries(from, to, size, &Rows::default())
                .unwrap(),
        }
    }

    fn stored(&self, index: u64) -> PageEntry<'_> {
        let leaf = &self.leaves[index as usize];
        PageEntry {
            index,
            leaf: leaf.hash,
            facets: leaf.facets,
            sealed: &[],
            pruned: None,
        }
    }

    fn export(&self, from: u64, to: u64, filter: Filter) -> Vec<u8> {
        let mut out = Vec::new();
        let header = self.header(from, to, filter);
        let mut exporter = Exporter::begin(&header, &key(), &mut out).unwrap();
        while let Some(index) = exporter.next() {
            let place = index as usize;
            let (stored, bucket) = (self.stored(index), self.buckets[place].as_str());
            if bucket == "log/nl/2019-10" {
                exporter.erased(&stored, bucket, &mut out).unwrap();
            } else {
                let opened = Opened {
                    seed: &self.seeds[place],
                    json: &self.bodies[place],
                };
                exporter.entry(&stored, bucket, &opened, &mut out).unwrap();
            }
        }
        exporter.end(&mut out).unwrap();
        out
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[0x42; 32])
}

fn time(text: &str) -> Option<Timestamp> {
    Some(Timestamp::parse(text).unwrap())
}

fn narrow() -> Filter {
    Filter {
        sites: vec![Site::parse("nl").unwrap()],
        // In another order than written, and twice: the header has one spelling.
        kinds: vec![Event::Tokenized, Event::Redeemed, Event::Tokenized],
        from_time: time("2026-11-02T10:00:00.100Z"),
        to_time: time("2026-12-01T00:00:00.500Z"),
    }
}

fn sites() -> Filter {
    Filter {
        sites: vec![Site::parse("nl").unwrap()],
        ..Filter::default()
    }
}

#[test]
fn the_frozen_exports_are_made_and_verify() {
    let held = Held::new();
    let keys = [ledger_key()];
    // open, closed, erased, closed by time
    for (file, from, to, filter, counts) in [
        (
            "ok_export_all.jsonl",
            0,
            13,
            Filter::default(),
            [11, 0, 2, 0],
        ),
        ("ok_export_sites.jsonl", 2, 11, sites(), [5, 3, 1, 0]),
        ("ok_export_narrow.jsonl", 3, 13, narrow(), [4, 5, 1, 1]),
        (
            "ok_export_empty.jsonl",
            5,
            5,
            Filter::default(),
            [0, 0, 0, 0],
        ),
    ] {
        let frozen = vector(file);
        let made = held.export(from, to, filter.clone());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text(&made), text(&frozen), "{file}");
        let report = verify_export(&frozen[..], &keys).unwrap();
        let found = [
            report.open,
            report.closed,
            report.erased,
            report.closed_by_time,
        ];
        assert_eq!(found, counts, "{file}");
        assert_eq!((report.from, report.to), (from, to));
        assert_eq!(
            report.filter.miss(Site::VAULT, Event::Login, Timestamp(0)),
            filter.miss(Site::VAULT, Event::Login, Timestamp(0))
        );
        assert_eq!(report.requested_by, PrincipalId([0x13; 16]));
        assert_eq!(report.checkpoint.root, held.tree.root());
        let words = report.to_string();
        assert!(words.contains("yearly review; ticket T-1"), "{words}");
        assert!(words.contains(&keys[0].to_string()), "{words}");
        assert_eq!(words.contains("closed by time alone"), counts[3] > 0);
    }
}

#[test]
fn every_dishonest_file_is_refused_at_its_line() {
    let keys = [ledger_key()];
    let faults = json("faults.json");
    for (file, expected) in faults.as_object().unwrap() {
        let data = vector(file);
        let error = if file.contains("receipt") {
            verify_receipt(&data, &keys).unwrap_err()
        } else {
            verify_export(&data[..], &keys).unwrap_err()
        };
        let found = format!("{:?}", error.fault);
        let name = found
            .split(|c: char| !c.is_ascii_alphabetic())
            .next()
            .unwrap();
        let expected = (expected["line"].as_u64().unwrap(), text(&expected["fault"]));
        assert_eq!((error.line, name), expected, "{file}: {error}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("line {}: ", error.line))
        );
    }
    assert!(faults.as_object().unwrap().len() >= 45);
}

#[test]
fn an_unattested_erasure_names_its_bucket() {
    let data = vector("fail_export_unattested_erasure.jsonl");
    let error = verify_export(&data[..], &[ledger_key()]).unwrap_err();
    let words = error.to_string();
    assert!(words.contains("the erasure is unattested"), "{words}");
    assert!(
        words.contains("destroyed the key of log/nl/2019-10"),
        "{words}"
    );
}

#[test]
fn the_exporter_refuses_what_the_tree_does_not_hold() {
    let held = Held::new();
    let mut out = Vec::new();
    let header = held.header(4, 13, Filter::default());
    let mut exporter = Exporter::begin(&header, &key(), &mut out).unwrap();
    let written = out.clone();
    let opened = |place: usize| Opened {
        seed: &held.seeds[place],
        json: &held.bodies[place],
    };
    let bucket = held.buckets[4].as_str();
    let mismatch = Err(LedgerError::LeafMismatch { index: 4 });
    // Another entry's content, seed, bucket or place.
    let other = Opened {
        seed: &held.seeds[5],
        json: &held.bodies[4],
    };
    assert_eq!(
        exporter.entry(&held.stored(4), bucket, &opened(5), &mut out),
        mismatch
    );
    assert_eq!(
        exporter.entry(&held.stored(4), bucket, &other, &mut out),
        mismatch
    );
    let december = "log/nl/2026-12";
    assert_eq!(
        exporter.entry(&held.stored(4), december, &opened(4), &mut out),
        mismatch
    );
    let erased = exporter.erased(&held.stored(4), december, &mut out);
    assert_eq!(erased, Err(LedgerError::LeafMismatch { index: 4 }));
    let broken = Opened {
        seed: &held.seeds[4],
        json: "{}",
    };
    let refused = exporter.entry(&held.stored(4), bucket, &broken, &mut out);
    assert!(matches!(refused, Err(LedgerError::Malformed(_))));
    let early = exporter.entry(&held.stored(5), &held.buckets[5], &opened(5), &mut out);
    assert_eq!(early, Err(LedgerError::OutOfOrder { expected: 4 }));
    assert_eq!(out, written, "a refusal writes nothing");
    let shown = exporter.entry(&held.stored(4), bucket, &opened(4), &mut out);
    assert_eq!(shown, Ok(Shown::Open));
    assert_eq!(
        exporter.end(&mut out),
        Err(LedgerError::OutOfOrder { expected: 5 })
    );
    let mut header = header;
    header.from = 14;
    assert!(Exporter::begin(&header, &key(), &mut out).is_err());
}

#[test]
fn words_from_people_cannot_steer_a_terminal() {
    let held = Held::new();
    let mut header = held.header(5, 5, Filter::default());
    header.reason = "\u{1b}[2J\u{202e}wiped\nline".to_owned();
    let mut out = Vec::new();
    let exporter = Exporter::begin(&header, &key(), &mut out).unwrap();
    exporter.end(&mut out).unwrap();
    let words = verify_export(&out[..], &[ledger_key()])
        .unwrap()
        .to_string();
    assert!(
        !words.contains('\u{1b}') && !words.contains('\u{202e}'),
        "{words:?}"
    );
    assert!(words.contains("\\u{1b}[2J"), "{words:?}");
}

#[test]
fn a_long_export_is_written_and_verified_piece_by_piece() {
    // Entries of two sites over two months, the first of which was destroyed.
    let random = &mut Random::seeded();
    let (nl, us) = (Site::parse("nl").unwrap(), Site::parse("us").unwrap());
    let begin = Timestamp::parse("2026-10-30T00:00:00.000Z").unwrap();
    let (mut tree, mut rows) = (Tree::empty(), Rows::default());
    let mut held: Vec<(String, String, Leaf, [u8; 32])> = Vec::new();
    for index in 0..1_200u64 {
        let site = if random.below(3) == 0 { us } else { nl };
        let event = Event::ALL[random.below(31) as usize];
        let event = if event == Event::KeyDestroyed {
            Event::Login
        } else {
            event
        };
        let mut entry = Entry::new(event, Outcome::Ok, site, begin.plus_ms(index * 300_000));
        if index == 1_100 {
            entry.event = Event::KeyDestroyed;
            entry.site = Site::VAULT;
            entry.detail.insert(DETAIL_KEY, "log/nl/2026-10".to_owned());
        }
        entry.index = index;
        entry.epoch = 1;
        let (body, bucket, seed) = (entry.to_canonical_json(), entry.bucket_text(), leaf(index));
        let leaf = Leaf::of(1, &bucket, entry.site, entry.event, &body, &seed);
        let mut staged = tree.stage();
        staged.append(leaf.hash);
        tree.rows(&staged)
            .unwrap()
            .into_iter()
            .for_each(|row| rows.write(row));
        tree.apply(staged).unwrap();
        held.push((body, bucket, leaf, seed));
    }
    let vault = VaultId(std::array::from_fn(|i| i as u8));
    for _ in 0..30 {
        let size = 1_101 + random.below(100);
        let from = random.below(1_101);
        let to = 1_101 + random.below(size - 1_100);
        let filter = Filter {
            sites: if random.below(2) == 0 {
                vec![nl]
            } else {
                vec![]
            },
            kinds: Event::ALL[..random.below(20) as usize].to_vec(),
            from_time: (random.below(2) == 0).then(|| begin.plus_ms(random.below(1_200) * 300_000)),
            to_time: (random.below(2) == 0).then(|| begin.plus_ms(random.below(1_300) * 300_000)),
        };
        let root = tree.root_at(size, &rows).unwrap();
        let header = ExportHeader {
            vault,
            epoch: 1,
            from,
            to,
            filter,
            requested_by: PrincipalId([1; 16]),
            requested_by_name: String::new(),
            reason: String::new(),
            ticket: String::new(),
            at: begin,
            checkpoint: Checkpoint::new(vault, 1, size, root).sign(&key()).unwrap(),
            boundaries: tree.boundaries(from, to, size, &rows).unwrap(),
        };
        let mut out = Vec::new();
        let mut exporter = Exporter::begin(&header, &key(), &mut out).unwrap();
        let mut counts = [0u64; 3];
        while let Some(index) = exporter.next() {
            let (body, bucket, leaf, seed) = &held[index as usize];
            let stored = PageEntry {
                index,
                leaf: leaf.hash,
                facets: leaf.facets,
                sealed: &[],
                pruned: None,
            };
            if bucket == "log/nl/2026-10" {
                exporter.erased(&stored, bucket, &mut out).unwrap();
                counts[2] += 1;
            } else {
                let opened = Opened { seed, json: body };
                match exporter.entry(&stored, bucket, &opened, &mut out).unwrap() {
                    Shown::Open => counts[0] += 1,
                    Shown::Closed(_) => counts[1] += 1,
                }
            }
        }
        exporter.end(&mut out).unwrap();
        // A reader that gives few bytes at a time.
        let pieces = std::io::BufReader::with_capacity(61, &out[..]);
        let report = verify_export(pieces, &[ledger_key()]).unwrap();
        assert_eq!([report.open, report.closed, report.erased], counts);
    }
}
