//! New keys for old ones, over the wire: who may, what is refused, and that two operators are two.

use crate::house::{Serving, with_session};
use crate::road::{open, redemption, tokenize};
use crate::wire::reason;
use payvault::api::proto as pb;
use std::time::{Duration, Instant};
use tonic::Status;

async fn rotate(serving: &Serving, session: &str, name: &str) -> Result<Vec<String>, Status> {
    let name = name.to_owned();
    let request = with_session(pb::RotateKeyRequest { name }, session);
    let reply = serving.admin("operator").rotate_key(request).await?;
    Ok(reply.into_inner().keys)
}

async fn compromise(serving: &Serving, session: &str, key: &str) -> Result<String, Status> {
    let key = key.to_owned();
    let request = with_session(pb::CompromiseKeyRequest { key }, session);
    let reply = serving.admin("operator").compromise_key(request).await?;
    Ok(reply.into_inner().pending_action)
}

async fn approve(serving: &Serving, who: &str, session: &str, action: &str) -> Result<(), Status> {
    let action = action.to_owned();
    let request = with_session(pb::ApproveActionRequest { action }, session);
    serving.admin(who).approve_action(request).await.map(|_| ())
}

async fn status(serving: &Serving, session: &str) -> pb::GetStatusResponse {
    let request = with_session(pb::GetStatusRequest {}, session);
    let reply = serving.admin("operator").get_status(request).await;
    reply.expect("a status").into_inner()
}

async fn keys(serving: &Serving, session: &str) -> Vec<pb::Key> {
    let request = with_session(pb::ListKeysRequest {}, session);
    let reply = serving.admin("operator").list_keys(request).await;
    let mut pieces = reply.expect("keys").into_inner();
    let mut keys = Vec::new();
    while let Some(piece) = pieces.message().await.expect("keys") {
        keys.extend(piece.keys);
    }
    keys
}

async fn until_done(serving: &Serving, session: &str) {
    let began = Instant::now();
    while let Some(rewrap) = status(serving, session).await.rewrap {
        assert!(rewrap.permille <= 1_000 && rewrap.failed == 0);
        assert!(began.elapsed() < Duration::from_secs(60), "{rewrap:?}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_followed_and_what_lay_under_them_is_read() {
    let mut serving = Serving::start().await;
    let session = serving.login("operator").await.expect("a session");
    let transaction = open(&serving, 1).await;
    let token = tokenize(&serving, &transaction).await;

    for (name, told) in [
        ("a key", "INVALID_REQUEST"),
        ("vault#1", "INVALID_REQUEST"),
        ("release/nl/1", "UNKNOWN_KEY"),
        ("identity", "KEY_STATE"),
        ("ledger-signing/1", "KEY_STATE"),
    ] {
        let refused = rotate(&serving, &session, name).await;
        assert_eq!(reason(&refused.expect_err(name)), told, "{name}");
    }
    assert_eq!(
        rotate(&serving, &session, "vault").await.expect("rotated"),
        ["vault#2"]
    );
    let all = rotate(&serving, &session, "").await.expect("rotated");
    assert!(all.contains(&"vault#3".to_owned()), "{all:?}");
    assert!(
        status(&serving, &session).await.rewrap.is_none(),
        "nobody asked"
    );
    let request = with_session(pb::RewrapKeysRequest {}, &session);
    let asked = serving.admin("operator").rewrap_keys(request).await;
    let asked = asked.expect("asked").into_inner().keys;
    assert_eq!(
        asked.len(),
        all.len() + 1,
        "both earlier keys of the vault: {asked:?}"
    );
    until_done(&serving, &session).await;
    let listed = keys(&serving, &session).await;
    for key in listed.iter().filter(|key| key.name == "vault") {
        let newest = key.generation == 3;
        assert_eq!(key.clear, !newest);
        assert_eq!(key.state == i32::from(pb::KeyState::Active), newest);
        assert!(key.seals_reserved > 0 && !key.compromised);
    }
    let request = with_session(pb::RewrapKeysRequest {}, &session);
    let again = serving.admin("operator").rewrap_keys(request).await;
    assert!(
        again.expect("asked").into_inner().keys.is_empty(),
        "nothing is left"
    );

    serving.restart().await;
    let redeemed = serving
        .vault("processor-a")
        .redeem(redemption(&transaction, &token))
        .await;
    redeemed.expect("redeemed");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_compromised_by_two_operators_and_by_no_fewer() {
    let mut serving = Serving::start().await;
    let first = serving.login("operator").await.expect("a session");
    let second = serving.login("operator-2").await.expect("a session");
    let transaction = open(&serving, 1).await;
    let token = tokenize(&serving, &transaction).await;
    let listed = keys(&serving, &first).await;
    let release = listed.iter().find(|key| key.name.starts_with("release/"));
    let release = release.expect("a bucket");
    let label = format!("{}#1", release.name);

    for (key, told) in [
        ("", "INVALID_REQUEST"),
        ("vault#0", "INVALID_REQUEST"),
        ("vault#01", "INVALID_REQUEST"),
        ("vault#2", "UNKNOWN_KEY"),
        ("identity", "KEY_STATE"),
    ] {
        let refused = compromise(&serving, &first, key).await;
        assert_eq!(reason(&refused.expect_err(key)), told, "{key}");
    }
    let action = compromise(&serving, &first, &label).await.expect("asked");
    assert!(action.starts_with("act_"));
    let waits = status(&serving, &first).await.pending_actions;
    assert!(
        waits.len() == 1 && waits[0].summary.contains(&label),
        "{waits:?}"
    );
    let refused = approve(&serving, "operator", &first, &action).await;
    assert_eq!(
        reason(&refused.expect_err("the one who asked")),
        "SAME_OPERATOR"
    );
    let of = |keys: &[pb::Key]| keys.iter().find(|key| key.id == release.id).cloned();
    let before = of(&keys(&serving, &first).await).expect("a key");
    assert!(!before.compromised);

    approve(&serving, "operator-2", &second, &action)
        .await
        .expect("approved");
    let again = approve(&serving, "operator-2", &second, &action).await;
    assert_eq!(reason(&again.expect_err("done")), "NOT_PENDING");
    until_done(&serving, &first).await;
    let after = of(&keys(&serving, &first).await).expect("a key");
    assert!(after.compromised && after.state == i32::from(pb::KeyState::Destroyed));
    let refused = compromise(&serving, &first, &label).await;
    assert_eq!(reason(&refused.expect_err("gone")), "UNKNOWN_KEY");
    let redeemed = serving
        .vault("processor-a")
        .redeem(redemption(&transaction, &token))
        .await;
    redeemed.expect("redeemed");
    // Both names, and an export that verifies.
    let entries = serving.entries();
    let compromised = entries
        .iter()
        .find(|entry| entry.brief() == "key_compromised");
    let compromised = compromised.expect("an entry");
    assert_eq!(compromised.get("actor_name"), "operator-2");
    assert_eq!(compromised.json["detail"]["requested_by"], "operator");
    assert_eq!(compromised.json["detail"]["key"], label.as_str());
    serving.export().await;
    serving.stop().await;
}
