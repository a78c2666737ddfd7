//! One list of everything that somebody may do to an export, by name: with no key, or as a
//! dishonest vault that signs what it likes. Each is refused, and the line is named.
//!
//! With `PAYVAULT_TAMPERED_DIR` set, each bent file is written there, and `list.json`, which says
//! where it has to be refused: `tests/clients/python/tampered.py` holds the separate verifier of
//! `tools/` to the same.

use super::*;
use crate::ledger::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Map, Value, json};

/// A bent file, and where it is wrong.
struct Tampering {
    name: String,
    file: Vec<u8>,
    line: u64,
    /// The fault's name; none where only the place counts.
    fault: Option<&'static str>,
}

/// A genuine export, or one that is being bent: its lines, header and end included.
#[derive(Clone)]
struct Lines(Vec<Map<String, Value>>);

impl Lines {
    fn of(name: &str) -> Lines {
        let text = String::from_utf8(vector(name)).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        Lines(lines.collect())
    }

    /// The place in the list of the entry `index`.
    fn place(&self, index: u64) -> usize {
        let index = index.to_string();
        let found = self.0.iter().position(|line| {
            line.get("index")
                .is_some_and(|found| *found == index.as_str())
        });
        found.unwrap()
    }

    fn at(&mut self, index: u64) -> &mut Map<String, Value> {
        let place = self.place(index);
        &mut self.0[place]
    }

    fn set(mut self, index: u64, member: &str, value: impl Into<Value>) -> Lines {
        self.at(index).insert(member.to_owned(), value.into());
        self
    }

    /// Replaces a whole line.
    fn put(mut self, index: u64, line: Map<String, Value>) -> Lines {
        *self.at(index) = line;
        self
    }

    fn header(mut self, member: &str, value: impl Into<Value>) -> Lines {
        self.0[0].insert(member.to_owned(), value.into());
        self
    }

    /// Signs the header anew, as only the vault can.
    fn signed(mut self, by: &SigningKey) -> Lines {
        self.0[0].remove("signature");
        let mut signed = b"payvault export header v1\n".to_vec();
        signed.extend_from_slice(canonical(&self.0[0]).as_bytes());
        let signature = STANDARD.encode(by.sign(&signed).to_bytes());
        self.header("signature", signature)
    }

    /// Numbers the lines anew, from `from` on, and counts them.
    fn renumbered(mut self, from: u64) -> Lines {
        let end = self.0.len() - 1;
        for (index, line) in (from..).zip(&mut self.0[1..end]) {
            line.insert("index".to_owned(), index.to_string().into());
        }
        self.0[end].insert("lines".to_owned(), end.to_string().into());
        self
    }

    fn file(&self) -> Vec<u8> {
        let lines = self.0.iter().map(|line| canonical(line) + "\n");
        lines.collect::<String>().into_bytes()
    }
}

fn canonical(line: &Map<String, Value>) -> String {
    let sorted: std::collections::BTreeMap<&String, &Value> = line.iter().collect();
    serde_json::to_string(&sorted).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[0x42; 32])
}

/// The key of the same vault's next epoch: the verifier has it too.
fn next_key() -> SigningKey {
    SigningKey::from_bytes(&[0x44; 32])
}

fn vault() -> crate::ids::VaultId {
    crate::ids::VaultId(std::array::from_fn(|i| i as u8))
}

fn given_keys() -> [VerifierKey; 2] {
    let next = VerifierKey::new(&origin(vault(), 2), next_key().verifying_key()).unwrap();
    [ledger_key(), next]
}

fn leaves() -> Vec<Hash> {
    let leaves = json("leaf.json");
    let leaves = leaves.as_array().unwrap();
    leaves.iter().map(|leaf| bytes(&leaf["leaf"])).collect()
}

fn note(epoch: u32, leaves: &[Hash], by: &SigningKey) -> String {
    let size = leaves.len() as u64;
    let checkpoint = Checkpoint::new(vault(), epoch, size, naive_root(leaves));
    checkpoint.sign(by).unwrap()
}

/// The open line of an entry that the ledger never held, genuine in itself.
fn invented(index: u64, body: &str, bucket: &str) -> Map<String, Value> {
    let entry = Recorded::parse(body).unwrap();
    let leaf = Leaf::of(1, bucket, entry.site, entry.event, body, &[9; 32]);
    serde_json::from_str(&open_line(index, bucket, &leaf, body)).unwrap()
}

/// The closed line of such an entry, with the facet that misses a filter for another site.
fn invented_closed(index: u64, body: &str, bucket: &str) -> Map<String, Value> {
    let entry = Recorded::parse(body).unwrap();
    let leaf = Leaf::of(1, bucket, entry.site, entry.event, body, &[9; 32]);
    let line = json!({
        "bucket": bucket,
        "c": leaf.commitments.map(|hash| to_base64(&hash)),
        "facet": "site",
        "index": index.to_string(),
        "leaf": to_base64(&leaf.hash),
        "salt": to_base64(&leaf.salts[0]),
        "type": "closed",
        "value": entry.site.as_str(),
    });
    line.as_object().unwrap().clone()
}

fn body_of(index: usize) -> String {
    text(&json("leaf.json")[index]["body"]).to_owned()
}

/// The same with another character in its midst, or another element; of the same kind where it can
/// be.
fn bent(value: &Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => "x".into(),
        Value::String(text) => {
            let middle = text.chars().count() / 2;
            let change = |(place, c): (usize, char)| match c {
                c if place != middle => c,
                '9' | 'z' | 'Z' => 'a',
                c if c.is_ascii_alphanumeric() => char::from(c as u8 + 1),
                _ => 'x',
            };
            let bent: String = text.chars().enumerate().map(change).collect();
            bent.into()
        }
        Value::Array(items) if items.is_empty() => json!(["from_time"]),
        Value::Array(items) => {
            let mut items = items.clone();
            items[0] = bent(&items[0]);
            items.into()
        }
        Value::Object(members) => {
            let mut members = members.clone();
            members.insert("sites".to_owned(), "us".into());
            members.into()
        }
        _ => 2.into(),
    }
}

/// Every member of every kind of line, changed by somebody who can still write canonical JSON.
fn every_member(list: &mut Vec<Tampering>) {
    let genuine = Lines::of("ok_export_narrow.jsonl");
    let kinds = [
        ("header", 0),
        ("erased", genuine.place(3)),
        ("entry", genuine.place(7)),
        ("closed", genuine.place(6)),
        ("closed_by_time", genuine.place(11)),
        ("end", genuine.0.len() - 1),
    ];
    for (kind, place) in kinds {
        for (member, value) in &genuine.0[place] {
            let mut lines = genuine.clone();
            lines.0[place].insert(member.clone(), bent(value));
            list.push(Tampering {
                name: format!("changed_{kind}_{member}"),
                file: lines.file(),
                line: place as u64 + 1,
                fault: None,
            });
            let mut lines = genuine.clone();
            lines.0[place].remove(member);
            list.push(Tampering {
                name: format!("missing_{kind}_{member}"),
                file: lines.file(),
                line: place as u64 + 1,
                fault: None,
            });
        }
    }
}

/// The frozen files, made in Python by a dishonest vault.
fn frozen(list: &mut Vec<Tampering>) {
    let faults = json("faults.json");
    for (file, expected) in faults.as_object().unwrap() {
        let Some(name) = file.strip_prefix("fail_export_") else {
            continue;
        };
        list.push(Tampering {
            name: name.trim_end_matches(".jsonl").to_owned(),
            file: vector(file),
            line: expected["line"].as_u64().unwrap(),
            fault: Some(String::leak(text(&expected["fault"]).to_owned())),
        });
    }
}

/// Without any key: bytes and lines are cut, moved, doubled and taken from elsewhere.
fn by_a_stranger(list: &mut Vec<Tampering>) {
    let narrow = Lines::of("ok_export_narrow.jsonl");
    let all = Lines::of("ok_export_all.jsonl");
    let sites = Lines::of("ok_export_sites.jsonl");
    let file = narrow.file();
    let mut add = |name: &str, file: Vec<u8>, line: u64, fault| {
        list.push(Tampering {
            name: name.to_owned(),
            file,
            line,
            fault: Some(fault),
        });
    };
    let edit = |change: fn(&mut Vec<Map<String, Value>>)| {
        let mut lines = narrow.clone();
        change(&mut lines.0);
        lines.file()
    };
    let replaced = |from: &str, to: &str| {
        let text = String::from_utf8(file.clone()).unwrap();
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1).into_bytes()
    };
    add("dropped_line", edit(|l| drop(l.remove(4))), 5, "NotNext");
    add("dropped_header", edit(|l| drop(l.remove(0))), 1, "NoHeader");
    add(
        "dropped_last_entry",
        edit(|l| drop(l.remove(10))),
        11,
        "EndsEarly",
    );
    let drop_and_renumber = |lines: &Lines| {
        let mut lines = lines.clone();
        lines.0.remove(4);
        lines.renumbered(3).file()
    };
    // What was entry 7 stands at 6, and its body says so.
    add(
        "dropped_line_and_renumbered",
        drop_and_renumber(&narrow),
        5,
        "BodyElsewhere",
    );
    add(
        "doubled_line",
        edit(|l| l.insert(5, l[4].clone())),
        6,
        "NotNext",
    );
    let mut inserted = narrow.clone();
    inserted
        .0
        .insert(4, invented_closed(6, &body_of(6), "log/us/2026-11"));
    add("inserted_line", inserted.file(), 6, "NotNext");
    add(
        "inserted_line_and_renumbered",
        inserted.renumbered(3).file(),
        7,
        "BodyElsewhere",
    );
    add("reordered_lines", edit(|l| l.swap(5, 6)), 6, "NotNext");
    add(
        "end_in_the_midst",
        edit(|l| l.insert(5, l[11].clone())),
        6,
        "EndsEarly",
    );
    add(
        "header_twice",
        edit(|l| l.insert(1, l[0].clone())),
        2,
        "NotNext",
    );
    add("nothing", Vec::new(), 1, "Stops");
    add("only_a_header", edit(|l| l.truncate(1)), 2, "Stops");
    add("cut_between_lines", edit(|l| l.truncate(6)), 7, "Stops");
    add(
        "cut_in_a_line",
        file[..file.len() - 200].to_vec(),
        11,
        "Stops",
    );
    add(
        "last_newline_gone",
        file[..file.len() - 1].to_vec(),
        12,
        "Stops",
    );
    add(
        "two_exports_one_file",
        [file.clone(), all.file()].concat(),
        13,
        "AfterEnd",
    );
    add("blank_line", replaced("\n", "\n\n"), 2, "NotCanonical");
    add(
        "byte_order_mark",
        [b"\xef\xbb\xbf".to_vec(), file.clone()].concat(),
        1,
        "NoHeader",
    );
    add(
        "leading_zero",
        replaced(r#""index":"6""#, r#""index":"06""#),
        5,
        "NotNext",
    );
    add(
        "escape_spelled_otherwise",
        replaced("redeemed", r"r\u0065deemed"),
        1,
        "NotCanonical",
    );
    add(
        "padding_gone",
        replaced("=\",\"type\":\"erased\"", "\",\"type\":\"erased\""),
        2,
        "NotCanonical",
    );
    // Genuine lines, each verified in its own export.
    let mut mixed = narrow.clone();
    mixed.0[4] = all.0[7].clone();
    add("spliced_open_for_closed", mixed.file(), 5, "Disclosed");
    let mut mixed = all.clone();
    mixed.0[7] = narrow.0[4].clone();
    add("spliced_closed_for_open", mixed.file(), 8, "Withheld");
    let mut mixed = narrow.clone();
    mixed.0[0] = sites.0[0].clone();
    add("spliced_header", mixed.file(), 2, "NotNext");
    let mut mixed = narrow.clone();
    mixed.0.splice(6..11, all.0[9..13].to_vec());
    add("spliced_tail", mixed.file(), 9, "Disclosed");
    let older = note(1, &leaves()[..12], &key());
    let file = narrow.clone().header("checkpoint", older).file();
    add(
        "older_checkpoint_under_the_same_header",
        file,
        1,
        "HeaderSignature",
    );
}

/// By the vault itself, or whoever has its signing key: the signatures are good.
fn by_the_vault(list: &mut Vec<Tampering>) {
    let narrow = Lines::of("ok_export_narrow.jsonl");
    let all = Lines::of("ok_export_all.jsonl");
    let sites = Lines::of("ok_export_sites.jsonl");
    let leaves = leaves();
    let mut add = |name: &str, lines: Lines, line: u64, fault| {
        list.push(Tampering {
            name: name.to_owned(),
            file: lines.file(),
            line,
            fault: Some(fault),
        });
    };
    let salt = |index: u64, place: usize| {
        let mut salts = narrow.0[narrow.place(index)]["salts"].clone();
        salts[place] = bent(&salts[place]);
        narrow.clone().set(index, "salts", salts)
    };
    for (place, facet) in ["site", "kind", "body"].into_iter().enumerate() {
        add(
            &format!("wrong_salt_of_the_{facet}"),
            salt(7, place),
            6,
            "Leaf",
        );
    }
    let mut swapped = narrow.0[narrow.place(7)]["salts"].clone();
    swapped.as_array_mut().unwrap().swap(0, 1);
    add(
        "salts_in_another_order",
        narrow.clone().set(7, "salts", swapped),
        6,
        "Leaf",
    );
    let mut swapped = narrow.0[narrow.place(11)]["c"].clone();
    swapped.as_array_mut().unwrap().swap(1, 2);
    add(
        "commitments_in_another_order",
        narrow.clone().set(11, "c", swapped),
        10,
        "Leaf",
    );
    let of_ten = narrow.0[narrow.place(10)]["salt"].clone();
    add(
        "salt_of_another_entry",
        narrow.clone().set(6, "salt", of_ten),
        5,
        "Commitment",
    );

    let older = |size: usize| note(1, &leaves[..size], &key());
    add(
        "older_checkpoint_than_the_range",
        all.clone().header("checkpoint", older(12)).signed(&key()),
        1,
        "Header",
    );
    let mut forked = leaves.clone();
    forked[12] = [7; 32];
    let fork = note(1, &forked, &key());
    add(
        "checkpoint_of_a_fork",
        all.clone().header("checkpoint", fork).signed(&key()),
        15,
        "Root",
    );
    let mut replayed = leaves.clone();
    replayed.swap(7, 8);
    let other = note(1, &replayed, &key());
    add(
        "checkpoint_of_another_order",
        all.clone().header("checkpoint", other).signed(&key()),
        15,
        "Root",
    );
    let other_vault = crate::ids::VaultId([0x77; 16]);
    let by = SigningKey::from_bytes(&[0x43; 32]);
    let theirs = Checkpoint::new(other_vault, 1, 13, naive_root(&leaves))
        .sign(&by)
        .unwrap();
    let lines = all
        .clone()
        .header("vault", other_vault.to_string())
        .header("checkpoint", theirs);
    add("other_vaults_key", lines.signed(&by), 1, "Checkpoint");
    let own = older(13);
    let lines = all
        .clone()
        .header("vault", other_vault.to_string())
        .header("checkpoint", own);
    add("other_vaults_name", lines.signed(&key()), 1, "Header");
    let next = note(2, &leaves, &next_key());
    let lines = all
        .clone()
        .header("epoch", "2")
        .header("checkpoint", next.clone());
    add(
        "another_epochs_lines",
        lines.signed(&next_key()),
        2,
        "BodyElsewhere",
    );
    let lines = all.clone().header("epoch", "2").header("checkpoint", next);
    add(
        "another_epochs_header_by_this_ones_key",
        lines.signed(&key()),
        1,
        "HeaderSignature",
    );

    let hidden = invented_closed(6, &body_of(6), "log/us/2026-11");
    add(
        "hidden_entry_replaced",
        narrow.clone().put(6, hidden),
        12,
        "Root",
    );
    let shown = invented(
        7,
        &body_of(7).replace("AUTHORIZE", "REFUND"),
        "log/nl/2026-11",
    );
    add(
        "body_changed_and_hashed_anew",
        narrow.clone().put(7, shown),
        12,
        "Root",
    );
    let unheard = body_of(8).replace("\"denied\"", "\"ok\"");
    add(
        "denial_turned_into_success",
        narrow
            .clone()
            .put(8, invented(8, &unheard, "log/nl/2026-11")),
        12,
        "Root",
    );
    let longer = invented(
        13,
        &body_of(12).replace("\"index\":\"12\"", "\"index\":\"13\""),
        "log/-/2026-12",
    );
    let mut added = all.clone();
    added.0.insert(14, longer);
    add(
        "entry_past_the_checkpoint",
        added.renumbered(0).header("to", "14").signed(&key()),
        1,
        "Header",
    );

    let closed = |index: u64, facet: Option<&str>| {
        let leaf = &json("leaf.json")[index as usize];
        let b64 = |hex: &Value| to_base64(&bytes(hex));
        let c: Vec<String> = leaf["commitments"]
            .as_array()
            .unwrap()
            .iter()
            .map(b64)
            .collect();
        let mut line = json!({
            "bucket": leaf["bucket"], "c": c, "index": index.to_string(),
            "leaf": b64(&leaf["leaf"]), "type": "closed",
        });
        if let Some(facet) = facet {
            let place = usize::from(facet == "kind");
            line["facet"] = facet.into();
            line["value"] = leaf[facet].clone();
            line["salt"] = b64(&leaf["salts"][place]).into();
        }
        line.as_object().unwrap().clone()
    };
    let erased = |index: u64| {
        let leaf = &json("leaf.json")[index as usize];
        let line = json!({
            "bucket": leaf["bucket"], "facets": to_base64(&bytes(&leaf["facets"])),
            "index": index.to_string(), "leaf": to_base64(&bytes(&leaf["leaf"])), "type": "erased",
        });
        line.as_object().unwrap().clone()
    };
    add(
        "match_passed_off_as_another_site",
        narrow.clone().put(7, closed(7, Some("site"))),
        6,
        "Withheld",
    );
    add(
        "match_passed_off_as_another_kind",
        narrow.clone().put(7, closed(7, Some("kind"))),
        6,
        "Withheld",
    );
    add(
        "match_passed_off_as_another_time",
        narrow.clone().put(8, closed(8, None)),
        7,
        "Withheld",
    );
    add(
        "closed_though_nothing_is_filtered",
        all.clone().put(7, closed(7, None)),
        9,
        "ClosedWithoutReason",
    );
    add(
        "live_one_called_erased",
        narrow.clone().put(8, erased(8)),
        7,
        "UnattestedErasure",
    );
    add(
        "live_one_called_erased_late",
        all.clone().put(12, erased(12)),
        14,
        "UnattestedErasure",
    );
    add(
        "destruction_hidden",
        narrow.clone().put(9, closed(9, Some("site"))),
        2,
        "UnattestedErasure",
    );
    let other_bucket = narrow.clone().set(3, "bucket", "log/nl/2019-11");
    add("erased_from_another_month", other_bucket, 2, "Leaf");
    add(
        "erased_with_other_commitments",
        narrow.clone().set(3, "facets", to_base64(&[5; 32])),
        2,
        "Leaf",
    );

    let mut wider = narrow.0[0]["filter"].clone();
    wider.as_object_mut().unwrap().remove("sites");
    add(
        "filter_widened_afterwards",
        narrow.clone().header("filter", wider).signed(&key()),
        5,
        "Withheld",
    );
    let mut tighter = narrow.0[0]["filter"].clone();
    tighter["kinds"] = "redeemed".into();
    add(
        "filter_narrowed_afterwards",
        narrow.clone().header("filter", tighter).signed(&key()),
        4,
        "Disclosed",
    );
    let left = bent(&narrow.0[0]["left"]);
    add(
        "left_of_another_tree",
        narrow.clone().header("left", left).signed(&key()),
        12,
        "Root",
    );
    let right = bent(&sites.0[0]["right"]);
    add(
        "right_of_another_tree",
        sites.clone().header("right", right).signed(&key()),
        11,
        "Root",
    );
    let mut cut = narrow.clone();
    cut.0.remove(10);
    let cut = cut.renumbered(3).header("to", "12").signed(&key());
    add("range_cut_short", cut, 11, "Root");
    let mut late = narrow.clone();
    late.0.remove(1);
    let late = late.renumbered(4).header("from", "4").signed(&key());
    add("range_begun_late", late, 1, "Header");
}

fn list() -> Vec<Tampering> {
    let mut list = Vec::new();
    frozen(&mut list);
    every_member(&mut list);
    by_a_stranger(&mut list);
    by_the_vault(&mut list);
    list
}

#[test]
fn every_named_tampering_is_refused_at_its_line() {
    let keys = given_keys();
    let (mut places, mut wrong) = (Map::new(), Vec::new());
    let list = list();
    for tampering in &list {
        let Tampering {
            name,
            file,
            line,
            fault,
        } = tampering;
        let Err(error) = verify_export(&file[..], &keys) else {
            wrong.push(format!("{name} passes"));
            continue;
        };
        let found = format!("{:?}", error.fault);
        let found = found.split(|c: char| !c.is_ascii_alphabetic()).next();
        if error.line != *line || (fault.is_some() && found != *fault) {
            wrong.push(format!(
                "{name}, expected at line {line}: {fault:?}; {error}"
            ));
        }
        let place = json!({"fault": found, "line": line});
        let before = places.insert(name.clone(), place);
        assert!(before.is_none(), "{name} stands twice");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Members that are changed or missing count as one kind each, if at all.
    let members = ["changed_", "missing_"];
    let kinds = places
        .keys()
        .filter(|name| !members.iter().any(|m| name.starts_with(m)));
    assert!(kinds.count() >= 80);
    // What is bent is genuine before: none is refused for another reason.
    for genuine in [
        "ok_export_narrow.jsonl",
        "ok_export_all.jsonl",
        "ok_export_sites.jsonl",
    ] {
        assert_eq!(Lines::of(genuine).file(), vector(genuine));
        assert!(verify_export(&vector(genuine)[..], &keys).is_ok());
    }
    if let Some(dir) = std::env::var_os("PAYVAULT_TAMPERED_DIR") {
        let dir = PathBuf::from(dir);
        for tampering in &list {
            let file = dir.join(format!("{}.jsonl", tampering.name));
            std::fs::write(file, &tampering.file).unwrap();
        }
        let keys = keys.map(|key| key.to_string());
        let all = json!({"keys": keys, "tamperings": places});
        std::fs::write(dir.join("list.json"), all.to_string()).unwrap();
    }
}
