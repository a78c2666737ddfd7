//! Seals over the wire: custodians who come one by one, the change of a seal, failed tries that are
//! kept.

use crate::entries::{Entry, of_export};
use crate::house::{Serving, Storing, passphrase, with_session};
use crate::road::{open, redemption, tokenize};
use crate::wire::reason;
use payvault::api::proto as pb;
use payvault::ids::VaultId;
use payvault::keys::{
    AgeIdentity, Argon2Cost, DealtShare, Delivery, NewCustodian, NewSeal, SealFile, Share,
    ShareFile, Unsealer,
};
use payvault::limits;
use payvault::secret::SecretText;
use payvault::store::EngineKind;
use payvault::vault::command::Caller;
use std::collections::BTreeMap;
use tonic::{Code, Status};

/// Shares by their custodians' names.
type Shares = BTreeMap<String, Share>;

const PEOPLE: [&str; 3] = ["custodian", "operator", "operator-2"];

async fn serving() -> Serving {
    Serving::start_with(Storing::Embedded(EngineKind::Sled), |_| {}).await
}

/// A custodians' seal for the people of the house; `age` for the first of them.
fn seal_of(
    serving: &Serving,
    names: &[&str],
    age: Option<payvault::keys::AgeRecipient>,
) -> NewSeal {
    let registry = serving.gate.vault().expect("open").registry();
    let mut age = age;
    let custodians = names.iter().map(|name| {
        let principal = registry.named(name).expect("enrolled");
        NewCustodian {
            name: (*name).to_owned(),
            certificate: Unsealer {
                uri: principal.certificate_uri.clone(),
                issuer: principal.issuer_key,
            },
            delivery: match age.take() {
                Some(recipient) => Delivery::Age(recipient),
                None => Delivery::Passphrase(Argon2Cost::for_tests()),
            },
        }
    });
    NewSeal::Custodians {
        threshold: 2,
        custodians: custodians.collect(),
    }
}

fn open_share(dealt: &DealtShare, identity: Option<&AgeIdentity>) -> Share {
    let file = SecretText::copy_from(&dealt.file);
    match ShareFile::parse(&file).expect("a share's file") {
        ShareFile::Passphrase(sealed) => sealed
            .open(dealt.passphrase.as_ref().expect("its passphrase"))
            .expect("it opens"),
        ShareFile::Age(file) => identity.expect("his").open(&file).expect("it opens"),
        ShareFile::Plain(_) => panic!("in clear"),
    }
}

/// Puts the vault under a new seal, and gives its shares.
async fn reseal(serving: &Serving, seal: &NewSeal, identity: Option<&AgeIdentity>) -> Shares {
    let vault = serving.gate.vault().expect("open");
    let keys_dir = serving.gate.house().keys_dir.clone();
    let mut shares = Shares::new();
    let mut deliver = |dealt: &[DealtShare]| {
        for share in dealt {
            shares.insert(share.custodian.clone(), open_share(share, identity));
        }
        Ok(())
    };
    vault
        .reseal(Caller::vault(), &keys_dir, seal, None, &mut deliver)
        .await
        .expect("resealed");
    shares
}

async fn under_custodians(serving: &Serving) -> Shares {
    reseal(serving, &seal_of(serving, &PEOPLE, None), None).await
}

async fn seal(serving: &Serving) {
    let session = serving.login("operator").await.expect("a session");
    let request = with_session(pb::SealRequest {}, &session);
    serving
        .admin("operator")
        .seal(request)
        .await
        .expect("sealed");
}

async fn give_text(serving: &Serving, who: &str, text: &str) -> Result<pb::UnsealResponse, Status> {
    let request = pb::UnsealRequest {
        share: text.to_owned(),
        ..Default::default()
    };
    let answer = serving.admin(who).unseal(request).await?;
    Ok(answer.into_inner())
}

async fn give(serving: &Serving, who: &str, share: &Share) -> Result<pb::UnsealResponse, Status> {
    give_text(serving, who, share.to_text().expose()).await
}

async fn unseal(serving: &Serving, who: &str, text: &str) -> Result<pb::UnsealResponse, Status> {
    let request = pb::UnsealRequest {
        passphrase: text.to_owned(),
        ..Default::default()
    };
    let answer = serving.admin(who).unseal(request).await?;
    Ok(answer.into_inner())
}

async fn unsealing(serving: &Serving) -> pb::Unsealing {
    let status = serving
        .admin("operator")
        .get_status(pb::GetStatusRequest {})
        .await
        .expect("a status")
        .into_inner();
    assert!(status.sealed);
    status.unsealing.expect("how far it is")
}

async fn uses_left(serving: &Serving, transaction: &str, token: &str) -> Result<u32, Status> {
    let mut client = serving.vault("processor-a");
    let released = client.redeem(redemption(transaction, token)).await?;
    Ok(released.into_inner().uses_remaining)
}

/// The share of another vault.
fn foreign_share(serving: &Serving) -> Share {
    let dir = tempfile::tempdir().expect("a directory");
    let seal = seal_of(serving, &PEOPLE, None);
    let mut shares = Vec::new();
    let mut deliver = |dealt: &[DealtShare]| {
        shares = dealt.iter().map(|share| open_share(share, None)).collect();
        Ok(())
    };
    SealFile::create_as(
        dir.path(),
        VaultId::random(),
        &seal,
        Vec::new(),
        &mut deliver,
    )
    .expect("a seal");
    shares.remove(0)
}

fn details<'a>(entries: &'a [Entry], event: &str) -> Vec<&'a Entry> {
    entries.iter().filter(|e| e.get("event") == event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_open_the_vault_one_by_one_and_each_wrong_one_is_told_apart() {
    let mut serving = serving().await;
    let transaction = open(&serving, 9).await;
    let token = tokenize(&serving, &transaction).await;
    let earlier = under_custodians(&serving).await;
    let shares = under_custodians(&serving).await;
    let foreign = foreign_share(&serving);
    assert_eq!(
        uses_left(&serving, &transaction, &token)
            .await
            .expect("open"),
        8
    );
    seal(&serving).await;

    let now = unsealing(&serving).await;
    assert_eq!((now.seal.as_str(), now.shares_needed), ("custodians", 2));
    assert!(now.given_by.is_empty());
    let mut damaged = shares["custodian"].to_text().expose().to_owned();
    damaged.replace_range(20..21, if &damaged[20..21] == "b" { "c" } else { "b" });
    for (who, text, told, code) in [
        (
            "custodian",
            damaged.as_str(),
            "SHARE_DAMAGED",
            Code::Unauthenticated,
        ),
        ("custodian", "pvs_a", "SHARE_DAMAGED", Code::Unauthenticated),
        (
            "custodian",
            foreign.to_text().expose(),
            "SHARE_FOREIGN",
            Code::Unauthenticated,
        ),
        (
            "custodian",
            earlier["custodian"].to_text().expose(),
            "SHARE_OUTDATED",
            Code::Unauthenticated,
        ),
        (
            "custodian",
            shares["operator"].to_text().expose(),
            "SHARE_NOT_YOURS",
            Code::PermissionDenied,
        ),
        (
            "portal",
            shares["operator"].to_text().expose(),
            "ROLE_NOT_ALLOWED",
            Code::PermissionDenied,
        ),
    ] {
        let refused = give_text(&serving, who, text).await.expect_err(told);
        assert_eq!((reason(&refused).as_str(), refused.code()), (told, code));
    }
    let refused = unseal(&serving, "operator", passphrase().expose()).await;
    assert_eq!(reason(&refused.expect_err("the old seal's")), "WRONG_SEAL");
    assert!(
        unsealing(&serving).await.given_by.is_empty(),
        "nothing of that counts"
    );

    // One share of two: it waits, says for whom it has one, and opens nothing.
    let waiting = give(&serving, "custodian", &shares["custodian"])
        .await
        .expect("taken");
    let waiting = waiting.waiting.expect("one is missing");
    assert_eq!(
        (waiting.shares_needed, &waiting.given_by[..]),
        (2, &["custodian".to_owned()][..])
    );
    assert_eq!(unsealing(&serving).await.given_by, ["custodian"]);
    let refused = give(&serving, "custodian", &shares["custodian"]).await;
    assert_eq!(reason(&refused.expect_err("twice")), "SHARE_REPEATED");
    let refused = uses_left(&serving, &transaction, &token).await;
    assert_eq!(reason(&refused.expect_err("sealed")), "SEALED");

    let opened = give(&serving, "operator-2", &shares["operator-2"])
        .await
        .expect("the second");
    assert!(opened.waiting.is_none());
    assert_eq!(
        uses_left(&serving, &transaction, &token)
            .await
            .expect("open"),
        7
    );

    // At the open vault a share is judged, and acknowledged.
    let good = give(&serving, "operator", &shares["operator"])
        .await
        .expect("good");
    assert!(good.entry_index > 0);
    let refused = give(&serving, "operator", &shares["custodian"]).await;
    assert_eq!(reason(&refused.expect_err("another's")), "SHARE_NOT_YOURS");

    let entries = of_export(&serving.export().await);
    let acknowledged = &entries[good.entry_index as usize];
    assert_eq!(acknowledged.brief(), "share_acknowledged");
    assert_eq!(acknowledged.get("actor_name"), "operator");
    assert_eq!(acknowledged.json["detail"]["custodian"], "operator");
    let unsealed = details(&entries, "unsealed");
    let last = &unsealed.last().expect("one").json["detail"];
    assert_eq!(
        (&last["seal"], &last["custodians"]),
        (&"custodians".into(), &"custodian operator-2".into())
    );
    let told: Vec<(String, String)> = details(&entries, "unseal_refused")
        .iter()
        .map(|entry| {
            let count = entry.json["detail"]["count"].as_str().unwrap_or("at once");
            (entry.get("reason").to_owned(), count.to_owned())
        })
        .collect();
    let expected = [
        ("SHARE_DAMAGED", "2"),
        ("SHARE_FOREIGN", "1"),
        ("SHARE_OUTDATED", "1"),
        ("SHARE_NOT_YOURS", "1"),
        ("SHARE_REPEATED", "1"),
        ("SHARE_NOT_YOURS", "at once"),
    ];
    let expected = expected.map(|(reason, count)| (reason.to_owned(), count.to_owned()));
    assert_eq!(told, expected);
    let first = details(&entries, "unseal_refused")[0];
    assert_eq!(first.get("origin"), "127.0.0.1");
    let certificate = first.json["detail"]["certificate"].as_str().expect("who");
    assert!(certificate.ends_with("/custodian"), "{certificate}");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reseal_takes_the_departed_custodian_s_share_its_worth() {
    let mut serving = serving().await;
    let transaction = open(&serving, 9).await;
    let token = tokenize(&serving, &transaction).await;
    let (identity, recipient) = AgeIdentity::generate();
    let new = seal_of(&serving, &PEOPLE, Some(recipient));
    let before = reseal(&serving, &new, Some(&identity)).await;
    seal(&serving).await;
    give(&serving, "custodian", &before["custodian"])
        .await
        .expect("taken");
    give(&serving, "operator", &before["operator"])
        .await
        .expect("opened");
    assert_eq!(
        uses_left(&serving, &transaction, &token)
            .await
            .expect("open"),
        8
    );

    // "custodian" leaves.
    let new = seal_of(&serving, &["operator", "operator-2"], None);
    let after = reseal(&serving, &new, None).await;
    seal(&serving).await;
    for who in ["custodian", "operator"] {
        let refused = give(&serving, who, &before[who]).await;
        assert_eq!(reason(&refused.expect_err(who)), "SHARE_OUTDATED");
    }
    give(&serving, "operator", &after["operator"])
        .await
        .expect("taken");
    give(&serving, "operator-2", &after["operator-2"])
        .await
        .expect("opened");
    assert_eq!(
        uses_left(&serving, &transaction, &token)
            .await
            .expect("open"),
        7
    );

    // And back to a passphrase: another one than before.
    let new = NewSeal::Passphrase {
        passphrase: SecretText::copy_from("another passphrase"),
        cost: Argon2Cost::for_tests(),
    };
    assert!(reseal(&serving, &new, None).await.is_empty());
    seal(&serving).await;
    assert_eq!(unsealing(&serving).await.seal, "passphrase");
    let refused = give(&serving, "operator", &after["operator"]).await;
    assert_eq!(reason(&refused.expect_err("no shares")), "WRONG_SEAL");
    let refused = unseal(&serving, "operator", passphrase().expose()).await;
    assert_eq!(reason(&refused.expect_err("the first one")), "BAD_SECRET");
    unseal(&serving, "operator", "another passphrase")
        .await
        .expect("opened");
    assert_eq!(
        uses_left(&serving, &transaction, &token)
            .await
            .expect("open"),
        6
    );

    let entries = of_export(&serving.export().await);
    let changes: Vec<String> = entries
        .iter()
        .filter(|e| ["reseal_begun", "resealed"].contains(&e.get("event")))
        .map(|e| {
            let detail = &e.json["detail"];
            let text = |name: &str| detail[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}{}", e.brief(), text("to"), text("custodians"))
        })
        .collect();
    assert_eq!(
        changes,
        [
            "reseal_begun custodians",
            "resealed custodian operator operator-2",
            "reseal_begun custodians",
            "resealed operator operator-2",
            "reseal_begun passphrase",
            "resealed ",
        ]
    );
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reseal_whose_shares_are_not_delivered_changes_nothing() {
    let mut serving = serving().await;
    let vault = serving.gate.vault().expect("open");
    let keys_dir = serving.gate.house().keys_dir.clone();
    let read = || std::fs::read(keys_dir.join("seal.json")).expect("a seal");
    let before = read();
    let new = seal_of(&serving, &PEOPLE, None);
    let mut nowhere = |_: &[DealtShare]| Err("no room".to_owned());
    let refused = vault
        .reseal(Caller::vault(), &keys_dir, &new, None, &mut nowhere)
        .await;
    assert!(refused.is_err());
    assert_eq!(read(), before);
    drop(vault);
    seal(&serving).await;
    unseal(&serving, "operator", passphrase().expose())
        .await
        .expect("the old seal");
    let entries = of_export(&serving.export().await);
    let ended = details(&entries, "resealed");
    assert_eq!(ended[0].get("outcome"), "failed");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_that_lie_too_long_are_forgotten() {
    let mut serving = serving().await;
    let shares = under_custodians(&serving).await;
    seal(&serving).await;
    give(&serving, "custodian", &shares["custodian"])
        .await
        .expect("taken");
    serving.clock.pass_ms(limits::SHARES_KEPT_MS - 1);
    serving.gate.tidy();
    assert_eq!(unsealing(&serving).await.given_by, ["custodian"]);
    serving.clock.pass_ms(1);
    serving.gate.tidy();
    assert!(unsealing(&serving).await.given_by.is_empty());
    let waiting = give(&serving, "operator", &shares["operator"])
        .await
        .expect("taken");
    assert_eq!(
        waiting.waiting.expect("one is missing").given_by,
        ["operator"]
    );
    // The first one again is no repetition now.
    give(&serving, "custodian", &shares["custodian"])
        .await
        .expect("opened");
    assert!(serving.gate.vault().is_some());
    // One share of two was a try that failed, and is entered as one.
    let entries = of_export(&serving.export().await);
    let refused = details(&entries, "unseal_refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].brief(), "unseal_refused denied SHARES_MISSING");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_tries_and_the_lock_outlive_a_restart() {
    let mut serving = serving().await;
    seal(&serving).await;
    for number in 0..limits::BAD_TRIES_MAX {
        if number == 4 {
            serving.restart_sealed().await;
        }
        let refused = unseal(&serving, "operator", "not the passphrase").await;
        assert_eq!(reason(&refused.expect_err("wrong")), "BAD_SECRET");
    }
    serving.restart_sealed().await;
    let refused = unseal(&serving, "operator", passphrase().expose()).await;
    assert_eq!(reason(&refused.expect_err("still locked")), "LOCKED");
    serving.clock.pass_ms(limits::LOCK_MS);
    unseal(&serving, "operator", passphrase().expose())
        .await
        .expect("not any more");
    let journal = serving.gate.house().keys_dir.join("unsealing");
    assert!(!journal.exists(), "what is entered is not kept twice");
    let entries = of_export(&serving.export().await);
    let refused = details(&entries, "unseal_refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].json["detail"]["count"], "10");
    assert_eq!(refused[0].brief(), "unseal_refused denied BAD_SECRET");

    // A journal that somebody spoilt is said to be.
    seal(&serving).await;
    std::fs::write(&journal, "{}").expect("written");
    serving.restart_sealed().await;
    unseal(&serving, "operator", passphrase().expose())
        .await
        .expect("opened");
    let entries = of_export(&serving.export().await);
    let started = details(&entries, "logging_started");
    let finding = &started.last().expect("one").json["detail"]["finding_1"];
    assert_eq!(finding, "earlier tries to unseal could not be read");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inventory_has_the_seal_and_every_key_and_is_not_for_everybody() {
    let mut serving = serving().await;
    under_custodians(&serving).await;
    let transaction = open(&serving, 1).await;
    tokenize(&serving, &transaction).await;
    for who in ["operator", "auditor"] {
        let session = serving.login(who).await.expect("a session");
        let request = with_session(pb::ListKeysRequest {}, &session);
        let mut pieces = serving
            .admin(who)
            .list_keys(request)
            .await
            .expect("listed")
            .into_inner();
        let first = pieces.message().await.expect("a piece").expect("the first");
        let seal = first.seal.expect("the seal");
        assert_eq!(
            (seal.kind.as_str(), seal.threshold, seal.strength_bits),
            ("custodians", 2, 256)
        );
        assert_eq!(seal.custodians, PEOPLE);
        let vault = serving.gate.vault().expect("open");
        assert_eq!(first.keyring_generation, vault.keys().0);
        let names: Vec<&str> = first.keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(names[..3], ["vault", "identity", "ledger-signing/1"]);
        assert!(
            names.iter().any(|name| name.starts_with("release/nl/")),
            "{names:?}"
        );
        for key in &first.keys {
            assert!(!key.purpose.is_empty() && !key.algorithm.is_empty());
            assert!(key.strength_bits >= 128 && key.generation == 1);
            assert!(key.state == i32::from(pb::KeyState::Active));
            let seconds = |time: &Option<prost_types::Timestamp>| time.map(|t| t.seconds);
            assert!(key.created_at.is_some());
            assert!(seconds(&key.not_after_encrypt) <= seconds(&key.not_after_decrypt));
        }
        assert_eq!(first.keys.len(), vault.keys().1.len());
    }
    let session = serving.login("custodian").await.expect("a session");
    let request = with_session(pb::ListKeysRequest {}, &session);
    let refused = serving
        .admin("custodian")
        .list_keys(request)
        .await
        .map(|_| ());
    assert_eq!(reason(&refused.expect_err("no")), "ROLE_NOT_ALLOWED");
    serving.stop().await;
}
