//! The whole way on the real binary: serve, back up while clients write, lose the database, restore,
//! serve, confirm, redeem.

use crate::dev::{Clients, Dev, request_id};
use payvault::api::proto as pb;
use payvault::ledger::{VerifierKey, verify_export};
use pb::payment_details::Kind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tonic_types::StatusExt;

const NUMBER: &str = "4111111111111111";

async fn token(clients: &Clients) -> Option<(String, String)> {
    let transaction = clients
        .vault("portal")
        .open_transaction(pb::OpenTransactionRequest {
            request_id: request_id(),
            terms: Some(clients.terms()),
            want_receipt: false,
        })
        .await
        .ok()?
        .into_inner()
        .transaction;
    let card = pb::Card {
        number: NUMBER.to_owned(),
        expiry_month: 12,
        expiry_year: 2035,
        holder: "Back Up".to_owned(),
        security_code: String::new(),
        billing: None,
    };
    let token = clients
        .vault("portal")
        .tokenize(pb::TokenizeRequest {
            request_id: request_id(),
            transaction: transaction.clone(),
            details: Some(pb::PaymentDetails {
                kind: Some(Kind::Card(card)),
            }),
            ..Default::default()
        })
        .await
        .ok()?
        .into_inner()
        .token;
    Some((transaction, token))
}

/// The number, or the reason of the refusal.
async fn redeem(clients: &Clients, (transaction, token): &(String, String)) -> String {
    let request = pb::RedeemRequest {
        request_id: request_id(),
        transaction: transaction.clone(),
        token: token.clone(),
        purpose: pb::Purpose::Authorize.into(),
        fields: vec![pb::Field::Number.into()],
        want_receipt: false,
    };
    match clients.vault("processor-a").redeem(request).await {
        Ok(reply) => match reply.into_inner().details.and_then(|d| d.kind) {
            Some(Kind::Card(card)) => card.number.clone(),
            _ => "no card".to_owned(),
        },
        Err(status) => {
            let details = status.get_error_details();
            if let Some(info) = details.error_info() {
                assert!(info.reason != "RESTORE_UNCONFIRMED" || details.retry_info().is_some());
                return info.reason.clone();
            }
            status.to_string()
        }
    }
}

async fn key(clients: &Clients) -> String {
    let request = pb::GetCheckpointRequest::default();
    let reply = clients.ledger("auditor").get_checkpoint(request).await;
    reply.expect("a checkpoint").into_inner().verifier_key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_backed_up_under_load_is_served_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("vault");
    std::fs::create_dir(&dir).expect("a directory");
    let dev = Dev::start(&dir).await;
    let clients = dev.clone_clients();
    let mut kept = Vec::new();
    for _ in 0..20 {
        kept.push(token(&clients).await.expect("a token"));
    }
    assert_eq!(redeem(&clients, &kept[0]).await, NUMBER);
    let old_key = key(&clients).await;

    // Clients write while it is taken.
    let (stop, written) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (clients, stop, written) = (dev.clone_clients(), stop.clone(), written.clone());
        load.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                token(&clients).await.expect("a token under load");
                written.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    while written.load(Ordering::SeqCst) < 8 {
        tokio::task::yield_now().await;
    }
    let before = written.load(Ordering::SeqCst);
    let (code, backup) = command(&dir, "operator", &["backup"]).await;
    assert_eq!(code, Some(0), "{backup}");
    while written.load(Ordering::SeqCst) <= before {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    while load
        .join_next()
        .await
        .transpose()
        .expect("no panic")
        .is_some()
    {}
    let late = token(&clients).await.expect("a token");
    // Beside the serving vault.
    let (code, drilled) = offline(&dir, &["drill"]).await;
    assert_eq!(code, Some(0), "{drilled}");
    assert_eq!(drilled["file"], backup["file"]);
    assert_eq!(drilled["ledger_size"], backup["ledger_size"]);
    assert_eq!(drilled["check"]["sound"], true);
    let (code, told) = command(&dir, "operator", &["restore", "confirm"]).await;
    assert_eq!(code, Some(3), "nothing was restored: {told}");
    dev.stop().await;

    // Not over what is there.
    let file = backup["file"].as_str().expect("a path").to_owned();
    let (code, _) = offline(&dir, &["restore", "--from", &file]).await;
    assert_eq!(code, Some(2));
    std::fs::remove_dir_all(dir.join("data/db")).expect("the database is lost");
    let (code, told) = offline(&dir, &["restore", "--from", &file]).await;
    assert_eq!(code, Some(7), "{told}");
    let lost = told["error"]["loss"]["lost"].as_u64().expect("a number");
    assert!(lost > 0);
    assert!(!dir.join("data/db").exists());
    let accept = lost.to_string();
    let restore = ["restore", "--from", &file, "--accept-loss", &accept];
    // A bit of it is wrong: nothing is restored.
    let mut bytes = std::fs::read(&file).expect("the backup");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&file, &bytes).expect("written");
    let (code, told) = offline(&dir, &restore).await;
    assert_eq!(code, Some(6), "{told}");
    assert!(!dir.join("data/db").exists() && !dir.join("data/db.restoring").exists());
    bytes[middle] ^= 4;
    std::fs::write(&file, &bytes).expect("written");
    let (code, restored) = offline(&dir, &restore).await;
    assert_eq!(code, Some(0), "{restored}");
    assert_eq!(restored["missing"].as_u64(), Some(lost));
    assert_eq!(restored["new_epoch"], 2);

    let dev = Dev::start(&dir).await;
    let clients = dev.clone_clients();
    assert_eq!(restored["ledger_key"], key(&clients).await);
    assert_eq!(redeem(&clients, &kept[1]).await, "RESTORE_UNCONFIRMED");
    assert_eq!(redeem(&clients, &late).await, "NOT_TIED");
    let new = token(&clients).await.expect("new tokens at once");
    assert_eq!(redeem(&clients, &new).await, NUMBER);
    // One operator is all that `dev` has, and the rule for one holds here too.
    let (code, told) = command(&dir, "operator", &["restore", "confirm"]).await;
    assert_eq!(code, Some(0), "{told}");
    for token in &kept {
        assert_eq!(redeem(&clients, token).await, NUMBER);
    }
    for (epoch, own) in [("1", &old_key), ("2", &key(&clients).await)] {
        let out = dir.join(format!("epoch-{epoch}.jsonl"));
        let path = out.to_str().expect("a path");
        let export = [
            "log", "export", "--epoch", epoch, "--reason", "r", "--ticket", "t",
        ];
        let arguments = [&export[..], &["-o", path]].concat();
        let (code, told) = command(&dir, "auditor", &arguments).await;
        assert_eq!(code, Some(0), "{told}");
        let lines = std::fs::read(&out).expect("an export");
        let own = VerifierKey::parse(own).expect("a key");
        verify_export(&lines[..], std::slice::from_ref(&own)).expect("it verifies");
    }
    dev.stop().await;
    let (code, checked) = offline(&dir, &["check"]).await;
    assert_eq!(code, Some(0), "{checked}");

    // Offline, and a drill of that one. Not into the vault's own directories.
    let own = dir.join("data/backups");
    let out = own.to_str().expect("a path");
    let (code, told) = offline(&dir, &["backup", "--offline", "--out", out]).await;
    assert!(code != Some(0) && !own.exists(), "{told}");
    let (code, second) = offline(&dir, &["backup", "--offline"]).await;
    assert_eq!(code, Some(0), "{second}");
    assert!(Path::new(second["file"].as_str().expect("a path")).exists());
    let (code, drilled) = offline(&dir, &["drill"]).await;
    assert_eq!(code, Some(0), "{drilled}");
    assert_eq!(drilled["file"], second["file"]);
    assert_eq!(drilled["epoch"], 2);
}

async fn command(dir: &Path, who: &str, arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    tokio::task::block_in_place(|| Dev::command(dir, who, arguments))
}

async fn offline(dir: &Path, arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    tokio::task::block_in_place(|| Dev::offline(dir, arguments))
}
