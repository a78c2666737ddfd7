//! The house's own rules, read off the source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each room's floor, as the table in `src/lib.rs` has it.
fn floors(lib: &str) -> BTreeMap<String, u32> {
    let mut floors = BTreeMap::new();
    for line in lib.lines().filter_map(|l| l.strip_prefix("//! | ")) {
        let Some((floor, rooms)) = line.split_once(" | ") else {
            continue;
        };
        let Ok(floor) = floor.trim().parse() else {
            continue;
        };
        for room in rooms.split('[').skip(1) {
            let name: String = room
                .chars()
                .filter(|c| *c != '`')
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            floors.insert(name, floor);
        }
    }
    floors
}

/// The rooms that `source` names by `crate::…`, comments left out.
fn named_rooms(source: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for line in source.lines() {
        let code = line.split("//").next().unwrap_or_default();
        for (at, _) in code.match_indices("crate::") {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &code[at + "crate::".len()..];
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(group) => group.split(',').collect(),
                None => vec![rest],
            };
            for name in names {
                let name: String = name
                    .trim()
                    .chars()
                    .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                    .collect();
                rooms.push(name);
            }
        }
    }
    rooms
}

/// Rooms that a file of `room` names though they are not below its own.
fn above(room: &str, source: &str, floors: &BTreeMap<String, u32>) -> Vec<String> {
    let own = floors[room];
    named_rooms(source)
        .into_iter()
        .filter(|name| name != room)
        .filter(|name| match floors.get(name) {
            // The ground floor's rooms stand beside each other and use each other.
            Some(floor) => *floor >= own && !(*floor == 0 && own == 0),
            None => false,
        })
        .collect()
}

/// The source without what is compiled for tests only.
fn without_tests(source: &str) -> &str {
    // Test modules stand last in their file.
    source
        .match_indices("#[cfg(test)]\n")
        .map(|(at, _)| at)
        .find(|at| {
            let next = source[*at..].lines().nth(1).unwrap_or_default();
            next.contains("mod ") && next.ends_with('{')
        })
        .map_or(source, |at| &source[..at])
}

fn files(under: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(under).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every file of the crate: its path under `src`, its room and its text.
fn sources() -> Vec<(String, String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    paths
        .iter()
        .map(|path| {
            let own = path.strip_prefix(&src).expect("under src");
            let own = own.to_string_lossy().into_owned();
            let room = own.split(['/', '.']).next().expect("a room").to_owned();
            (own, room, std::fs::read_to_string(path).expect("text"))
        })
        .collect()
}

#[test]
fn a_room_knows_only_the_floors_below_its_own() {
    let sources = sources();
    let (_, _, lib) = sources.iter().find(|s| s.0 == "lib.rs").expect("lib.rs");
    let floors = floors(lib);
    assert!(floors.len() >= 12, "{floors:?}");
    for (path, room, text) in &sources {
        if matches!(path.as_str(), "lib.rs" | "main.rs") {
            continue;
        }
        assert!(floors.contains_key(room), "{path}: a room without a floor");
        let bad = above(room, text, &floors);
        assert!(bad.is_empty(), "{path} names {bad:?}");
    }
}

#[test]
fn a_planted_violation_is_found() {
    let floors: BTreeMap<String, u32> = [
        ("vault", 4),
        ("policy", 3),
        ("ledger", 3),
        ("ids", 0),
        ("clock", 0),
    ]
    .map(|(n, f)| (n.to_owned(), f))
    .into();
    let bad = |room: &str, source: &str| above(room, source, &floors);
    assert_eq!(bad("policy", "use crate::vault::Vault;"), ["vault"]);
    assert_eq!(
        bad("policy", "let x = crate::ledger::Tree::empty();"),
        ["ledger"]
    );
    assert_eq!(
        bad("policy", "use crate::{ids::Site, vault::Vault};"),
        ["vault"]
    );
    assert!(bad("policy", "use crate::ids::Site; // crate::vault").is_empty());
    assert!(bad("policy", "use crate::policy::Rpc;").is_empty());
    assert!(bad("ids", "use crate::clock::Clock;").is_empty());
    assert!(bad("vault", "use crate::policy::Rpc;").is_empty());
}

/// Lines outside tests that hold one of `words`, in files that `exempt` does not name.
fn lines_with(words: &[&str], exempt: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, _, text) in sources() {
        let test_only = path.ends_with("tests.rs")
            || path.ends_with("conformance.rs")
            || path.ends_with("vectors.rs");
        if test_only || exempt.iter().any(|e| path.starts_with(e)) {
            continue;
        }
        for (number, line) in without_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|w| code.contains(w)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn time_is_asked_of_the_clock_only() {
    let found = lines_with(&["SystemTime::now", "Instant::now"], &["clock.rs"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_unwraps_outside_tests() {
    let found = lines_with(&[".unwrap()"], &[]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn unsafe_code_is_in_one_file() {
    let found = lines_with(&["unsafe ", "allow(unsafe_code)"], &["os.rs"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_prints_but_the_command_line() {
    let words = ["println!", "eprintln!", "print!(", "dbg!"];
    let found = lines_with(&words, &["cli", "main.rs"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn security_codes_know_neither_codec_nor_envelope_nor_store() {
    for (path, _, text) in sources() {
        if path == "vault/codes.rs" || path == "payment/security_code.rs" {
            let rooms = named_rooms(&text);
            for bad in ["codec", "keys", "store", "ledger"] {
                assert!(!rooms.iter().any(|r| r == bad), "{path} names {bad}");
            }
        }
    }
}
