//! Sealed details from a terminal, on the real binary: the document is fetched and verified, and what
//! was sealed to it is swapped for a token.

use crate::dev::Dev;
use payvault::clock::Clock;
use payvault::ids::{Site, TransactionId};
use payvault::ledger::VerifierKey;
use payvault::vault::CollectDocument;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const JSON: &[u8] =
    br#"{"card":{"number":"4242424242424242","expiry_month":11,"expiry_year":2035}}"#;

/// As the portal; `stdin` is a file's name, or nothing.
fn payvault(dir: &Path, arguments: &[&str], stdin: Option<&str>) -> Output {
    let stdin = match stdin {
        Some(name) => Stdio::from(std::fs::File::open(dir.join(name)).expect("a file")),
        None => Stdio::null(),
    };
    Command::new(env!("CARGO_BIN_EXE_payvault"))
        .env("PAYVAULT_DEV", dir.join("vault/dev.json"))
        .env("PAYVAULT_AS", "portal")
        .env_remove("PAYVAULT_IDENTITY")
        .current_dir(dir)
        .args(arguments)
        .stdin(stdin)
        .output()
        .expect("the binary runs")
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(both).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn details_that_were_sealed_to_a_verified_document_become_a_token_once() {
    let place = tempfile::tempdir().expect("a directory");
    let dir = place.path();
    std::fs::create_dir(dir.join("vault")).expect("made");
    let dev = Dev::start(&dir.join("vault")).await;

    let pinned = {
        let mut portal = dev.clone_clients().vault("portal");
        let given = portal.get_collect_key(payvault::api::proto::GetCollectKeyRequest {});
        given.await.expect("today's").into_inner().verifier_key
    };
    let fetched = payvault(dir, &["collect-key", "--identity", &pinned], None);
    assert_eq!(fetched.status.code(), Some(0), "{}", said(&fetched));
    let note = String::from_utf8(fetched.stdout).expect("text");
    let identity = VerifierKey::parse(&pinned).expect("a key");
    let now = Clock::system().now();
    let document = CollectDocument::open(&note, &identity, now).expect("as it was signed");

    let unverified = payvault(dir, &["collect-key"], None);
    assert_eq!(String::from_utf8_lossy(&unverified.stdout), note);
    assert!(String::from_utf8_lossy(&unverified.stderr).contains("not verified"));
    let told = payvault(dir, &["--json", "collect-key", "--identity", &pinned], None);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(told["verified"], true);
    assert_eq!(told["document"], note);
    assert_eq!(told["key"], document.key().to_string());
    // Another key of the same name.
    let other = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
    let other = VerifierKey::new(identity.name(), other)
        .expect("a name")
        .to_string();
    let refused = payvault(dir, &["collect-key", "--identity", &other], None);
    assert_eq!(refused.status.code(), Some(6), "{}", said(&refused));
    assert!(refused.stdout.is_empty());
    let mistyped = payvault(dir, &["collect-key", "--identity", &pinned[1..]], None);
    assert_eq!(mistyped.status.code(), Some(2), "{}", said(&mistyped));

    let grant = "processor-a:authorize:number:1";
    let opened = [
        "--json",
        "transaction",
        "open",
        "--site",
        "nl",
        "--grant",
        grant,
    ];
    let opened = payvault(dir, &opened, None);
    assert_eq!(opened.status.code(), Some(0), "{}", said(&opened));
    let opened: serde_json::Value = serde_json::from_slice(&opened.stdout).expect("JSON");
    let transaction = opened["transaction"].as_str().expect("an id").to_owned();
    let of = TransactionId::parse(&transaction).expect("an id");
    let site = Site::parse("nl").expect("a site");
    let suite = payvault::keys::Suite::XWing;
    let sealed = document.seal(suite, site, of, JSON, now).expect("sealed");
    std::fs::write(dir.join("sealed"), sealed + "\n").expect("written");
    let tokenize = ["tokenize", &transaction, "--sealed"];
    let made = payvault(
        dir,
        &[&tokenize[..], &["--token-out", "token"]].concat(),
        Some("sealed"),
    );
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    assert!(said(&made).contains("424242******4242"), "{}", said(&made));
    let again = payvault(dir, &tokenize, Some("sealed"));
    assert_eq!(again.status.code(), Some(3), "{}", said(&again));
    assert!(
        said(&again).contains("SEALED_DETAILS_REFUSED"),
        "{}",
        said(&again)
    );
    // What isn't sealed goes nowhere.
    std::fs::write(dir.join("clear"), JSON).expect("written");
    let clear = payvault(dir, &tokenize, Some("clear"));
    assert_eq!(clear.status.code(), Some(2), "{}", said(&clear));
    assert!(!said(&clear).contains("4242"));
    dev.stop().await;
}
