//! Receipts: the frozen one, made and verified, and every one that has to be refused.

use super::*;
use crate::ledger::*;

#[test]
fn the_frozen_receipt_is_made_and_verifies() {
    let file = vector("ok_receipt.json");
    let line = std::str::from_utf8(&file).unwrap().trim_end();
    let receipt = Receipt::parse(line).unwrap();
    assert_eq!(receipt.to_json(), line);
    // Made from the ledger's side.
    let leaves = json("leaf.json");
    let v = &leaves[7];
    let entry = Recorded::parse(text(&v["body"])).unwrap();
    let leaf = Leaf::of(
        1,
        text(&v["bucket"]),
        entry.site,
        entry.event,
        text(&v["body"]),
        &bytes(&v["seed"]),
    );
    assert_eq!(
        open_line(7, text(&v["bucket"]), &leaf, text(&v["body"])),
        receipt.entry
    );

    let keys = [ledger_key()];
    for file in [&file[..], line.as_bytes()] {
        let report = verify_receipt(file, &keys).unwrap();
        assert_eq!((report.index, report.checkpoint.size), (7, 13));
        assert_eq!(report.body, text(&v["body"]));
        assert_eq!(report.key, keys[0].to_string());
        assert!(
            report
                .to_string()
                .contains("Entry 7 is in the ledger payvault/vlt_")
        );
    }
    let no_key = verify_receipt(&file, &[]).unwrap_err();
    assert_eq!(no_key.fault, Fault::Checkpoint(NoteFault::NoKnownSignature));
    assert!(no_key.to_string().contains("never take one from the file"));
}

#[test]
fn every_changed_or_cut_receipt_is_refused() {
    let file = vector("ok_receipt.json");
    let keys = [ledger_key()];
    for place in 0..file.len() - 1 {
        assert!(
            verify_receipt(&file[..place], &keys).is_err(),
            "cut at {place}"
        );
        let mut other = file.clone();
        other[place] ^= 1 << (place % 8);
        assert!(verify_receipt(&other, &keys).is_err(), "byte {place}");
    }
    assert!(verify_receipt(&[&file[..], b"\n"].concat(), &keys).is_err());
    let long = vec![b' '; crate::limits::RECEIPT_BYTES_MAX + 1];
    assert!(verify_receipt(&long, &keys).is_err());
}
