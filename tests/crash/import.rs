//! `payvault import` on the real binary: killed at random moments and run again, each line has one
//! token; what it must not do, it doesn't.
//!
//! `PAYVAULT_KILLS` runs are killed (default 6), seed in `PAYVAULT_SEED`.

use crate::dev::Dev;
use crate::{card_number, number};
use payvault::api::proto as pb;
use payvault::ledger::{Event, Outcome, Recorded};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LINES: u64 = 1_200;

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payvault"));
    command
        .env("PAYVAULT_DEV", dir.join("vault/dev.json"))
        .env("PAYVAULT_AS", "portal")
        .current_dir(dir)
        .arg("import")
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn whole(dir: &Path) -> Command {
    let files = [
        "--job",
        "lines.job",
        "--terms",
        "terms.json",
        "--out",
        "tokens",
    ];
    command(dir, &[&["lines.jsonl"], &files[..]].concat())
}

/// Runs it to its end: exit code, and all that it says.
fn run(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().expect("the binary runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn line(number: u64) -> String {
    let card = card_number(number);
    format!(
        r#"{{"reference":"order {number}","details":{{"card":{{"number":"{card}","expiry_month":11,"expiry_year":2030}}}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_import_that_is_killed_and_run_again_tokenizes_each_line_once() {
    let kills = number("PAYVAULT_KILLS").unwrap_or(6);
    let seed =
        number("PAYVAULT_SEED").unwrap_or_else(|| u64::from_be_bytes(payvault::ids::random()));
    println!("PAYVAULT_SEED={seed} PAYVAULT_KILLS={kills}");
    let place = tempfile::tempdir().expect("a directory");
    let dir = place.path();
    std::fs::create_dir(dir.join("vault")).expect("made");
    let dev = Dev::start(&dir.join("vault")).await;
    let lines: Vec<String> = (0..LINES).map(line).collect();
    std::fs::write(dir.join("lines.jsonl"), lines.join("\n")).expect("written");
    let terms = r#"{"site":"nl","grants":["processor-a:authorize:number:1"]}"#;
    std::fs::write(dir.join("terms.json"), terms).expect("written");

    let mut random = seed | 1;
    for round in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let after = Duration::from_millis(20 + random % 1_200);
        let mut child: Child = whole(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        tokio::time::sleep(after).await;
        child.kill().expect("killed");
        let status = child.wait().expect("it ended");
        println!("round {round}: {status} after {after:?}");
        let job = dir.join("lines.job");
        if let Ok(meta) = std::fs::metadata(job) {
            assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        }
    }
    let (code, said) = run(whole(dir));
    assert_eq!(code, Some(0), "{said}");

    // Once more: the same again, from memory.
    let tokens = std::fs::read_to_string(dir.join("tokens")).expect("tokens");
    let (code, said) = run(whole(dir));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("earlier run"), "{said}");
    let again = std::fs::read_to_string(dir.join("tokens")).expect("tokens");
    assert!(tokens == again, "another answer");
    let mode = std::fs::metadata(dir.join("tokens"))
        .expect("there")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    // A line of output for each, in order, each with a token and a transaction of its own.
    let mut transactions = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (at, text) in tokens.lines().enumerate() {
        let one: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(one["line"], at as u64 + 1);
        assert_eq!(one["reference"], format!("order {at}"));
        let card = card_number(at as u64);
        let masked = one["masked_number"].as_str().expect("masked");
        assert!(masked.ends_with(&card[12..]), "another's token");
        transactions.insert(one["transaction"].as_str().expect("one").to_owned());
        seen.insert(one["token"].as_str().expect("one").to_owned());
    }
    assert_eq!(transactions.len() as u64, LINES);
    assert_eq!(seen.len() as u64, LINES);
    let first = transactions.first().expect("one").clone();
    let shown = dev
        .clone_clients()
        .vault("portal")
        .get_transaction(pb::GetTransactionRequest { transaction: first })
        .await
        .expect("shown")
        .into_inner();
    assert_eq!(shown.tokens.len(), 1);
    // The ledger knows of no other token.
    let export = dev.export().await;
    let mut made = 0;
    for text in export
        .split(|byte| *byte == b'\n')
        .filter(|l| !l.is_empty())
    {
        let text: serde_json::Value = serde_json::from_slice(text).expect("JSON");
        let Some(body) = text["body"].as_str() else {
            continue;
        };
        let entry = Recorded::parse(body).expect("an entry");
        let done = entry.event == Event::Tokenized && entry.outcome == Outcome::Ok;
        made += u64::from(done && entry.detail("replays").is_none());
    }
    assert_eq!(made, LINES);
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_an_import_refuses_is_named_and_sends_nothing() {
    let place = tempfile::tempdir().expect("a directory");
    let dir = place.path();
    std::fs::create_dir(dir.join("vault")).expect("made");
    let dev = Dev::start(&dir.join("vault")).await;
    let terms = r#"{"site":"nl","grants":["processor-a:authorize:number:1"]}"#;
    std::fs::write(dir.join("terms.json"), terms).expect("written");
    let bad = line(2).replace(&card_number(2), "4242424242424241");
    let lines = [line(0), line(1), bad, line(3)].join("\n");
    std::fs::write(dir.join("lines.jsonl"), &lines).expect("written");

    // A wrong line: nothing is sent, and no number is said.
    for more in [&["--dry-run"][..], &[]] {
        let mut importing = whole(dir);
        importing.args(more).args(["--report", "refused"]);
        let (code, said) = run(importing);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("1 of 4 lines"), "{said}");
        let report = std::fs::read_to_string(dir.join("refused")).expect("a report");
        let refused: serde_json::Value = serde_json::from_str(&report).expect("one line");
        assert_eq!(refused["line"], 3);
        assert_eq!(refused["field"], "details.card.number");
        for text in [report, said] {
            assert!(!text.contains("424242"), "{text}");
        }
        assert!(!dir.join("lines.job").exists(), "nothing began");
    }
    // Unless it is told to go on.
    let mut importing = whole(dir);
    importing.arg("--partial");
    let (code, said) = run(importing);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("3 of 4 lines have"), "{said}");
    let tokens = std::fs::read_to_string(dir.join("tokens")).expect("tokens");
    assert_eq!(tokens.lines().count(), 3);

    // Another input with that job; that input with no job, over tokens that are there.
    std::fs::write(dir.join("lines.jsonl"), line(7)).expect("written");
    let (code, said) = run(whole(dir));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("another input"), "{said}");
    std::fs::remove_file(dir.join("lines.job")).expect("removed");
    let (code, said) = run(whole(dir));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("imported already"), "{said}");
    assert!(!dir.join("lines.job").exists(), "nothing began");

    // What the vault refuses is refused alone: a transaction that isn't there.
    let nowhere = payvault::ids::TransactionId::random();
    let named = line(5).replace(
        r#""reference""#,
        &format!(r#""transaction":"{nowhere}","reference""#),
    );
    std::fs::write(dir.join("named.jsonl"), named).expect("written");
    let (code, said) = run(command(dir, &["named.jsonl", "--job", "named.job"]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("line 1: NOT_TIED"), "{said}");
    dev.stop().await;
}
