//! The frozen leaves.

use super::*;
use crate::ids::Site;
use crate::ledger::*;

#[test]
fn the_frozen_leaves_are_computed_from_seed_and_body() {
    for v in json("leaf.json").as_array().unwrap() {
        let entry = Recorded::parse(text(&v["body"])).unwrap();
        let site = match text(&v["site"]) {
            "-" => Site::VAULT,
            name => Site::parse(name).unwrap(),
        };
        assert_eq!((entry.site, entry.event.as_str()), (site, text(&v["kind"])));
        assert_eq!(entry.bucket_text(), text(&v["bucket"]));
        let seed: [u8; 32] = bytes(&v["seed"]);
        let epoch = v["epoch"].as_u64().unwrap() as u32;
        let bucket = text(&v["bucket"]);
        let leaf = Leaf::of(epoch, bucket, site, entry.event, text(&v["body"]), &seed);
        assert_eq!(leaf.salts.to_vec(), hashes(&v["salts"]));
        assert_eq!(leaf.commitments.to_vec(), hashes(&v["commitments"]));
        assert_eq!(leaf.facets, bytes(&v["facets"]));
        assert_eq!(leaf.hash, bytes(&v["leaf"]));
        let content = seal_content(&seed, text(&v["body"]));
        assert_eq!(content.to_vec(), hex(text(&v["sealed_content"])));
        let opened = Opened::parse(&content).unwrap();
        assert_eq!((opened.seed, opened.json), (&seed, text(&v["body"])));
    }
}
