//! Running the vault over the wire: principals, the allow-list, second operators, seals.

use crate::entries::of_export;
use crate::house::{Serving, Storing, channel, passphrase, with_session};
use crate::road::{open, party, redemption, terms, tokenize};
use crate::wire::reason;
use payvault::api::proto as pb;
use payvault::limits;
use payvault::store::EngineKind;
use tonic::{Code, Request, Status};

fn newcomer(serving: &Serving, name: &str, role: pb::Role) -> pb::CreatePrincipalRequest {
    let human = !matches!(role, pb::Role::Portal | pb::Role::Processor);
    pb::CreatePrincipalRequest {
        name: name.to_owned(),
        role: role.into(),
        sites: match human {
            true => Vec::new(),
            false => vec!["nl".to_owned()],
        },
        certificate_pem: serving.ca.client(name).expect("one").certificate_pem,
        agreement: human.then(|| pb::Agreement {
            reference: "NDA-9".to_owned(),
            valid_from: crate::road::in_days(-1),
            valid_until: crate::road::in_days(100),
        }),
    }
}

async fn create(
    serving: &Serving,
    session: &str,
    request: pb::CreatePrincipalRequest,
) -> Result<pb::CreatePrincipalResponse, Status> {
    let mut admin = serving.admin("operator");
    let reply = admin
        .create_principal(with_session(request, session))
        .await?;
    Ok(reply.into_inner())
}

async fn approve(serving: &Serving, who: &str, session: &str, action: &str) -> Result<u64, Status> {
    let action = action.to_owned();
    let request = with_session(pb::ApproveActionRequest { action }, session);
    let reply = serving.admin(who).approve_action(request).await?;
    Ok(reply.into_inner().entry_index)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_takes_two_operators_and_is_let_in_once_both_agree() {
    let mut serving = Serving::start().await;
    let first = serving.login("operator").await.expect("a session");
    let second = serving.login("operator-2").await.expect("a session");
    let request = newcomer(&serving, "acquirer", pb::Role::Processor);
    let certificate = serving.ca.client("acquirer").expect("a credential");
    let own = channel(&serving.endpoint, &serving.ca_pem, &certificate).await;

    let asked = create(&serving, &first, request.clone())
        .await
        .expect("asked");
    assert!(asked.principal.is_none());
    let action = asked.pending_action;
    assert!(action.starts_with("act_"));
    let status = serving
        .admin("operator-2")
        .get_status(with_session(pb::GetStatusRequest {}, &second))
        .await
        .expect("a status")
        .into_inner();
    assert!(!status.single_operator);
    assert_eq!(status.pending_actions.len(), 1);
    assert_eq!(status.pending_actions[0].id, action);
    assert_eq!(status.pending_actions[0].requested_by, "operator");

    let mut ledger = crate::house::LedgerClient::new(own);
    let refused = ledger.get_checkpoint(pb::GetCheckpointRequest {}).await;
    assert_eq!(reason(&refused.expect_err("not yet")), "PRINCIPAL_UNKNOWN");
    let refused = approve(&serving, "operator", &first, &action).await;
    let refused = refused.expect_err("the one who asked");
    assert_eq!(reason(&refused), "SAME_OPERATOR");
    let entry = approve(&serving, "operator-2", &second, &action)
        .await
        .expect("approved");
    ledger
        .get_checkpoint(pb::GetCheckpointRequest {})
        .await
        .expect("enrolled");
    let again = approve(&serving, "operator-2", &second, &action).await;
    assert_eq!(reason(&again.expect_err("done")), "NOT_PENDING");

    let entries = serving.entries();
    assert_eq!(entries[entry as usize].brief(), "action_approved");
    assert_eq!(entries[entry as usize].get("actor_name"), "operator-2");
    let detail = &entries[entry as usize].json["detail"];
    assert_eq!(detail["requested_by"], "operator");
    assert_eq!(entries[entry as usize + 1].brief(), "principal_created");

    // The same name, and the same certificate.
    let taken = create(&serving, &first, request).await;
    let taken = taken.expect_err("taken");
    assert_eq!(taken.code(), Code::AlreadyExists);
    let mut other = newcomer(&serving, "acquirer-2", pb::Role::Processor);
    other.certificate_pem = serving.ca.client("portal").expect("one").certificate_pem;
    let taken = create(&serving, &first, other).await.expect_err("taken");
    assert_eq!(reason(&taken), "CREDENTIAL_TAKEN");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pending_actions_for_one_name_give_one_principal() {
    let mut serving = Serving::start().await;
    let first = serving.login("operator").await.expect("a session");
    let second = serving.login("operator-2").await.expect("a session");
    let mut actions = Vec::new();
    for _ in 0..2 {
        let request = newcomer(&serving, "acquirer", pb::Role::Processor);
        let asked = create(&serving, &first, request).await.expect("asked");
        actions.push(asked.pending_action);
    }
    approve(&serving, "operator-2", &second, &actions[0])
        .await
        .expect("approved");
    let refused = approve(&serving, "operator-2", &second, &actions[1]).await;
    let refused = refused.expect_err("the name is taken");
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    let entries = serving.entries();
    let count = |brief: &str| entries.iter().filter(|e| e.brief() == brief).count();
    assert_eq!(
        count("action_approved"),
        1,
        "what was refused was not approved"
    );
    let denied = entries.last().expect("one");
    assert_eq!(denied.get("outcome"), "denied");
    assert_eq!(denied.get("event"), "action_approved");
    // Across a restart too.
    let before = serving.disk.durable();
    let pending = before.keys().filter(|key| key[0] == b'W').count();
    assert!(pending <= 1);
    serving.restart().await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_are_listed_get_secrets_and_go() {
    let mut serving = Serving::start().await;
    let session = serving.login("operator").await.expect("a session");
    let request = newcomer(&serving, "controller", pb::Role::Auditor);
    let made = create(&serving, &session, request).await.expect("enrolled");
    let principal = made.principal.expect("at once");
    assert_eq!(principal.name, "controller");
    assert_eq!(principal.role, i32::from(pb::Role::Auditor));
    let mut admin = serving.admin("operator");
    let listed = admin
        .list_principals(with_session(pb::ListPrincipalsRequest {}, &session))
        .await
        .expect("listed")
        .into_inner()
        .principals;
    let names: Vec<&str> = listed.iter().map(|p| p.name.as_str()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted, "by name");
    assert!(names.contains(&"controller"));
    for named in [&principal.id, &principal.name] {
        let principal = named.clone();
        let request = with_session(pb::GetPrincipalRequest { principal }, &session);
        let shown = admin.get_principal(request).await.expect("shown");
        let shown = shown.into_inner().principal.expect("one");
        assert_eq!(shown.id, made_id(&listed, "controller"));
    }

    // Its secret lets it in, and a new one ends the old one and its sessions.
    let credential = serving.ca.client("controller").expect("a credential");
    let own = channel(&serving.endpoint, &serving.ca_pem, &credential).await;
    let mut door = crate::house::SessionClient::new(own.clone());
    let mut login = async |secret: &str| {
        let secret = secret.to_owned();
        let reply = door.login(pb::LoginRequest { secret }).await;
        reply.map(|reply| reply.into_inner().session)
    };
    let old = login(&made.secret).await.expect("a session");
    let list = async |session: &str| {
        let mut client = crate::house::AdminClient::new(own.clone());
        let request = with_session(pb::ListPrincipalsRequest {}, session);
        client.list_principals(request).await.map(|_| ())
    };
    list(&old).await.expect("an auditor may list");
    let request = pb::RotateSecretRequest {
        principal: "controller".to_owned(),
    };
    let fresh = admin
        .rotate_secret(with_session(request, &session))
        .await
        .expect("rotated")
        .into_inner()
        .secret;
    assert_ne!(fresh, made.secret);
    assert_eq!(
        reason(&list(&old).await.expect_err("ended")),
        "SESSION_ENDED"
    );
    let refused = login(&made.secret).await.expect_err("the old secret");
    assert_eq!(reason(&refused), "BAD_SECRET");
    let new = login(&fresh).await.expect("the new one");
    list(&new).await.expect("in again");

    // Machines have no secret, strangers are not there, nobody disables himself.
    let named = |principal: &str| principal.to_owned();
    for (principal, told) in [
        ("portal", "NOT_APPLICABLE"),
        ("nobody", "UNKNOWN_PRINCIPAL"),
    ] {
        let principal = named(principal);
        let request = with_session(pb::RotateSecretRequest { principal }, &session);
        let refused = admin.rotate_secret(request).await.expect_err("refused");
        assert_eq!(reason(&refused), told);
    }
    let disable = |principal: &str| -> Request<pb::DisablePrincipalRequest> {
        let principal = principal.to_owned();
        with_session(pb::DisablePrincipalRequest { principal }, &session)
    };
    let refused = admin.disable_principal(disable("operator")).await;
    assert_eq!(reason(&refused.expect_err("oneself")), "NOT_APPLICABLE");
    let done = admin.disable_principal(disable("controller")).await;
    let entry = done.expect("disabled").into_inner().entry_index;
    assert_eq!(
        serving.entries()[entry as usize].brief(),
        "principal_disabled"
    );
    let refused = list(&new).await.expect_err("disabled");
    assert_eq!(reason(&refused), "PRINCIPAL_DISABLED");
    assert_eq!(
        reason(&login(&fresh).await.expect_err("disabled")),
        "PRINCIPAL_DISABLED"
    );
    // Its certificate's identity is never anybody else's.
    let mut heir = newcomer(&serving, "heir", pb::Role::Auditor);
    heir.certificate_pem = serving
        .ca
        .client("controller")
        .expect("one")
        .certificate_pem;
    let taken = create(&serving, &session, heir).await.expect_err("taken");
    assert_eq!(reason(&taken), "CREDENTIAL_TAKEN");
    serving.stop().await;
}

fn made_id(listed: &[pb::Principal], name: &str) -> String {
    let found = listed.iter().find(|p| p.name == name);
    found.expect("listed").id.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_that_two_operators_take_away_bars_new_terms_and_releases() {
    let mut serving = Serving::start().await;
    let first = serving.login("operator").await.expect("a session");
    let second = serving.login("operator-2").await.expect("a session");
    let transaction = open(&serving, 5).await;
    let token = tokenize(&serving, &transaction).await;
    let rows = async || {
        let request = with_session(pb::ListAllowancesRequest {}, &first);
        let mut admin = serving.admin("operator");
        let listed = admin.list_allowances(request).await.expect("listed");
        listed.into_inner().allowances
    };
    let before = rows().await;
    let own = before
        .iter()
        .find(|a| {
            a.site == "nl"
                && a.portal == serving.id("portal")
                && a.processor == serving.id("processor-a")
        })
        .expect("an allowance")
        .clone();
    let set = async |allowance: pb::Allowance| {
        let allowance = Some(allowance);
        let request = with_session(pb::SetAllowanceRequest { allowance }, &first);
        let mut admin = serving.admin("operator");
        let reply = admin.set_allowance(request).await.expect("asked");
        reply.into_inner().pending_action
    };
    let mut none = own.clone();
    none.purposes.clear();
    let action = set(none).await;
    // Until it is approved nothing changes.
    assert_eq!(rows().await.len(), before.len());
    serving
        .vault("processor-a")
        .redeem(redemption(&transaction, &token))
        .await
        .expect("still allowed");
    approve(&serving, "operator-2", &second, &action)
        .await
        .expect("approved");
    assert_eq!(rows().await.len(), before.len() - 1);
    let refused = serving
        .vault("processor-a")
        .redeem(redemption(&transaction, &token))
        .await
        .expect_err("taken away");
    assert_eq!(reason(&refused), "TERMS_NOT_ALLOWED");
    let reopen = async |uses: u32| {
        serving
            .vault("portal")
            .open_transaction(pb::OpenTransactionRequest {
                request_id: crate::house::request_id(),
                terms: Some(terms(vec![party(&serving, "processor-a", uses)])),
                want_receipt: false,
            })
            .await
    };
    let refused = reopen(1).await.expect_err("taken away");
    assert_eq!(reason(&refused), "TERMS_NOT_ALLOWED");

    // A narrower one lets in what it covers.
    let narrow = pb::Allowance { uses_max: 2, ..own };
    let action = set(narrow.clone()).await;
    approve(&serving, "operator-2", &second, &action)
        .await
        .expect("approved");
    reopen(2).await.expect("covered");
    let refused = reopen(3).await.expect_err("too many uses");
    assert_eq!(reason(&refused), "TERMS_NOT_ALLOWED");
    let listed = rows().await;
    let same = listed.iter().any(|a| {
        let ids = (&a.site, &a.portal, &a.processor);
        let rates = (a.uses_max, a.releases_per_hour, a.release_seconds_max);
        ids == (&narrow.site, &narrow.portal, &narrow.processor)
            && rates
                == (
                    narrow.uses_max,
                    narrow.releases_per_hour,
                    narrow.release_seconds_max,
                )
            && a.purposes == narrow.purposes
    });
    assert!(same, "what was set is listed");

    // An action that nobody approves lapses.
    let action = set(narrow).await;
    serving.clock.pass_ms(limits::PENDING_ACTION_MS);
    let second = serving.login("operator-2").await.expect("a session");
    let refused = approve(&serving, "operator-2", &second, &action).await;
    assert_eq!(reason(&refused.expect_err("lapsed")), "NOT_PENDING");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_vault_says_so_and_opens_with_its_passphrase_only() {
    let mut serving = Serving::start_with(Storing::Embedded(EngineKind::Sled), |_| {}).await;
    let transaction = open(&serving, 5).await;
    let token = tokenize(&serving, &transaction).await;
    let session = serving.login("operator").await.expect("a session");
    let mut operator = serving.admin("operator");
    for round in 0..2 {
        let session = match round {
            0 => session.clone(),
            _ => serving.login("operator").await.expect("a session"),
        };
        operator
            .seal(with_session(pb::SealRequest {}, &session))
            .await
            .expect("sealed");
        let refused = serving
            .vault("processor-a")
            .redeem(redemption(&transaction, &token))
            .await
            .expect_err("sealed");
        assert_eq!(refused.code(), Code::Unavailable);
        assert_eq!(reason(&refused), "SEALED");
        let status = operator.get_status(pb::GetStatusRequest {}).await;
        let status = status.expect("a status").into_inner();
        assert!(status.sealed);
        assert!(status.vault_id.is_empty() && status.checkpoint.is_empty());
        // To nobody else.
        for who in ["portal", "auditor"] {
            let refused = serving.admin(who).get_status(pb::GetStatusRequest {}).await;
            assert_eq!(reason(&refused.expect_err("sealed")), "SEALED");
            let refused = serving
                .admin(who)
                .unseal(pb::UnsealRequest {
                    passphrase: passphrase().expose().to_owned(),
                    ..Default::default()
                })
                .await;
            assert_eq!(reason(&refused.expect_err(who)), "ROLE_NOT_ALLOWED");
        }
        for _ in 0..3 {
            let refused = operator
                .unseal(pb::UnsealRequest {
                    passphrase: "not the passphrase".to_owned(),
                    ..Default::default()
                })
                .await
                .expect_err("a wrong passphrase");
            assert_eq!(refused.code(), Code::Unauthenticated);
            assert_eq!(reason(&refused), "BAD_SECRET");
        }
        let who = ["custodian", "operator-2"][round];
        serving
            .admin(who)
            .unseal(pb::UnsealRequest {
                passphrase: passphrase().expose().to_owned(),
                ..Default::default()
            })
            .await
            .expect("unsealed");
        // Sessions did not outlive the seal; a second unsealing changes nothing.
        let list = with_session(pb::ListPrincipalsRequest {}, &session);
        let refused = operator.list_principals(list).await.expect_err("ended");
        assert_eq!(reason(&refused), "SESSION_ENDED");
        let released = serving
            .vault("processor-a")
            .redeem(redemption(&transaction, &token))
            .await
            .expect("open again")
            .into_inner();
        assert_eq!(released.uses_remaining, 4 - round as u32);
        let gone = i32::from(pb::SecurityCodeStatus::NotOnThisNode);
        assert_eq!(
            released.security_code_status, gone,
            "codes die with the seal"
        );
    }
    // Wrong passphrases of an open vault are entered at once.
    let refused = operator
        .unseal(pb::UnsealRequest {
            passphrase: "not the passphrase".to_owned(),
            ..Default::default()
        })
        .await
        .expect_err("a wrong passphrase");
    assert_eq!(reason(&refused), "BAD_SECRET");
    let entries = of_export(&serving.export().await);
    let count = |brief: &str| entries.iter().filter(|e| e.brief() == brief).count();
    assert_eq!(count("sealed"), 2);
    assert_eq!(count("unsealed"), 3, "at the start, and twice since");
    assert_eq!(count("unseal_refused denied BAD_SECRET"), 3);
    let counts: Vec<&str> = entries
        .iter()
        .filter(|e| e.get("event") == "unseal_refused")
        .map(|e| e.json["detail"]["count"].as_str().unwrap_or("at once"))
        .collect();
    assert_eq!(counts, ["3", "3", "at once"]);
    let by = entries.iter().find(|e| e.get("event") == "sealed");
    assert_eq!(by.expect("one").get("actor_name"), "operator");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_wrong_passphrases_lock_the_seal() {
    let mut serving = Serving::start_with(Storing::Embedded(EngineKind::Redb), |_| {}).await;
    let session = serving.login("operator").await.expect("a session");
    let mut operator = serving.admin("operator");
    operator
        .seal(with_session(pb::SealRequest {}, &session))
        .await
        .expect("sealed");
    for _ in 0..limits::BAD_TRIES_MAX {
        let refused = operator
            .unseal(pb::UnsealRequest {
                passphrase: "not the passphrase".to_owned(),
                ..Default::default()
            })
            .await;
        assert_eq!(reason(&refused.expect_err("wrong")), "BAD_SECRET");
    }
    let right = pb::UnsealRequest {
        passphrase: passphrase().expose().to_owned(),
        ..Default::default()
    };
    let refused = operator.unseal(right.clone()).await.expect_err("locked");
    assert_eq!(reason(&refused), "LOCKED");
    assert_eq!(refused.code(), Code::PermissionDenied);
    serving.clock.pass_ms(limits::LOCK_MS);
    operator.unseal(right).await.expect("not any more");
    let session = serving.login("operator").await.expect("a session");
    let status = operator
        .get_status(with_session(pb::GetStatusRequest {}, &session))
        .await;
    assert_eq!(status.expect("a status").into_inner().store, "redb");
    serving.stop().await;
}
