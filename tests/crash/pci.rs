//! The matrix of PCI DSS 10.2.1 and 10.2.2, through the real binary: every class of event is
//! provoked, the ledger holds exactly one entry for each deed and nothing else, and each entry has
//! every field. An event without a row fails.

use crate::dev::{in_seconds, request_id, with_session};
use crate::place::{PASSPHRASE, Place};
use payvault::api::client::connect;
use payvault::api::dev_ca::DevCa;
use payvault::api::proto as pb;
use payvault::api::tls::client_config;
use payvault::clock::Clock;
use payvault::ledger::{Event, Outcome, Recorded, VerifierKey, verify_export};
use pb::admin_service_client::AdminServiceClient as Admin;
use pb::ledger_service_client::LedgerServiceClient as Ledger;
use pb::session_service_client::SessionServiceClient as Session;
use pb::vault_service_client::VaultServiceClient as Vault;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tonic::transport::Channel;

/// The classes of 10.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// 10.2.1.1: access to cardholder data.
    Data,
    /// 10.2.1.2: actions with administrative access.
    Administration,
    /// 10.2.1.3: access to audit logs.
    Logs,
    /// 10.2.1.4: invalid attempts.
    Invalid,
    /// 10.2.1.5: changes to identification and credentials.
    Credentials,
    /// 10.2.1.6: initialisation, starting, stopping of logs.
    Logging,
    /// 10.2.1.7: creation and deletion of system-level objects.
    Objects,
}

/// Of which class an event is when it succeeds, and where it is provoked: here, or by a test that is
/// named. There is no catch-all: a new event has no row, and this does not compile.
fn row(event: Event) -> (Class, Option<(&'static str, &'static str)>) {
    use Class::*;
    match event {
        Event::TransactionOpened
        | Event::TransactionRead
        | Event::Tokenized
        | Event::Redeemed
        | Event::RedeemReplayed
        | Event::OutcomeReported
        | Event::TokenDescribed
        | Event::TokenRevoked
        | Event::TransactionClosed => (Data, None),
        Event::AllowanceSet
        | Event::ActionRequested
        | Event::ActionApproved
        | Event::Unsealed
        | Event::Sealed
        | Event::BackupBegun
        | Event::BackupEnded => (Administration, None),
        Event::LogExported | Event::LogTailed => (Logs, None),
        Event::UnsealRefused
        | Event::DenialsSummed
        | Event::HandshakesRefused
        | Event::AlarmRaised => (Invalid, None),
        Event::PrincipalCreated
        | Event::PrincipalDisabled
        | Event::SecretRotated
        | Event::Login
        | Event::Logout => (Credentials, None),
        Event::VaultCreated | Event::LoggingStarted | Event::LoggingStopped => (Logging, None),
        Event::KeyCreated => (Objects, None),
        Event::KeyDestroyed => (Objects, Some(("tests/vault/clock.rs", "key_destroyed"))),
        Event::DestructionPending => (
            Objects,
            Some(("tests/vault/endings.rs", "destruction_pending")),
        ),
        Event::ErasureRequested => (
            Administration,
            Some(("tests/vault/endings.rs", "erasure_requested")),
        ),
        Event::ClockConfirmed => (
            Administration,
            Some(("tests/vault/endings.rs", "clock_confirmed")),
        ),
        Event::KeyRotated | Event::KeyRewrapStarted | Event::KeyRewrapFinished => (
            Administration,
            Some(("tests/vault/rewrap.rs", "key_rotated")),
        ),
        Event::HoldPlaced | Event::HoldLifted => (
            Administration,
            Some(("tests/vault/endings.rs", "hold_lifted")),
        ),
        Event::KeyCompromised => (
            Administration,
            Some(("tests/vault/rewrap.rs", "key_compromised")),
        ),
        Event::KeySupersededDestroyed => (
            Objects,
            Some(("tests/vault/rewrap.rs", "key_superseded_destroyed")),
        ),
        Event::Integrity => (Invalid, Some(("tests/vault/tamper.rs", "integrity failed"))),
        Event::ClockStep => (Logging, Some(("tests/crash/clock.rs", "Event::ClockStep"))),
        Event::EpochOpened => (Logging, Some(("tests/vault/backup.rs", "epoch_opened"))),
        Event::RestoreConfirmed => (
            Administration,
            Some(("tests/vault/backup.rs", "ConfirmRestore")),
        ),
        Event::ShareAcknowledged => (
            Administration,
            Some(("tests/api/custodians.rs", "share_acknowledged")),
        ),
        Event::ResealBegun => (
            Administration,
            Some(("tests/api/custodians.rs", "reseal_begun")),
        ),
        Event::Resealed => (
            Administration,
            Some(("tests/api/custodians.rs", "resealed")),
        ),
    }
}

/// What names the data or resource that an entry is about (10.2.2): a member, or one of its facts.
fn resource(entry: &Recorded<'_>) -> Option<String> {
    let fact = |name: &str| entry.detail(name).map(str::to_owned);
    match entry.event {
        Event::Redeemed
        | Event::RedeemReplayed
        | Event::Tokenized
        | Event::TokenDescribed
        | Event::TokenRevoked
        | Event::OutcomeReported
        | Event::TransactionOpened
        | Event::TransactionRead
        | Event::TransactionClosed => match entry.outcome {
            // One that may not be at this door named nothing.
            Outcome::Denied => Some(entry.event.as_str().to_owned()),
            _ => entry.transaction.map(|id| id.to_string()),
        },
        Event::PrincipalCreated | Event::PrincipalDisabled | Event::SecretRotated => {
            fact("principal")
        }
        Event::AllowanceSet => fact("portal"),
        Event::ActionRequested | Event::ActionApproved => fact("summary"),
        Event::KeyCreated => fact("key"),
        Event::Unsealed => fact("seal"),
        Event::UnsealRefused => fact("certificate"),
        Event::BackupBegun | Event::BackupEnded => fact("backup").or_else(|| fact("id")),
        Event::AlarmRaised => fact("alarm"),
        Event::DenialsSummed | Event::HandshakesRefused => fact("count"),
        Event::LogExported | Event::LogTailed if entry.outcome == Outcome::Ok => fact("from"),
        // The vault's log itself, or the session of whoever acts.
        _ => Some(entry.site.as_str().to_owned()),
    }
}

/// What is done to a vault, and what has to be in its ledger, in order: `event outcome reason actor`.
struct Deeds {
    place: Place,
    sessions: BTreeMap<&'static str, String>,
    expected: Vec<String>,
}

impl Deeds {
    async fn channel(&self, who: &str) -> Channel {
        self.place.channel(who).await
    }

    async fn admin(&self, who: &str) -> Admin<Channel> {
        Admin::new(self.channel(who).await)
    }

    async fn vault(&self, who: &str) -> Vault<Channel> {
        Vault::new(self.channel(who).await)
    }

    async fn ledger(&self, who: &str) -> Ledger<Channel> {
        Ledger::new(self.channel(who).await)
    }

    fn with<T>(&self, who: &str, message: T) -> tonic::Request<T> {
        with_session(message, &self.sessions[who])
    }

    async fn login(&mut self, who: &'static str, secret: &str) -> Result<(), tonic::Status> {
        let mut session = Session::new(self.channel(who).await);
        let secret = secret.to_owned();
        let reply = session.login(pb::LoginRequest { secret }).await?;
        self.sessions.insert(who, reply.into_inner().session);
        Ok(())
    }

    async fn good_login(&mut self, who: &'static str) {
        let secret = self.place.secrets[who].clone();
        self.login(who, &secret).await.expect("a session");
        self.expect(&format!("login ok - {who}"));
    }

    fn expect(&mut self, line: &str) {
        self.expected.push(line.to_owned());
    }

    /// ann asks, bob approves when it waits.
    async fn approved(&mut self, action: String) {
        self.expect("action_requested ok - ann");
        let request = self.with("bob", pb::ApproveActionRequest { action });
        self.admin("bob")
            .await
            .approve_action(request)
            .await
            .expect("approved");
        self.expect("action_approved ok - bob");
    }

    async fn enrol(&mut self, name: &'static str, role: pb::Role) -> String {
        let human = role == pb::Role::Auditor;
        let request = pb::CreatePrincipalRequest {
            name: name.to_owned(),
            role: role.into(),
            sites: if human { vec![] } else { vec!["nl".to_owned()] },
            certificate_pem: self.place.people[name].certificate_pem.clone(),
            agreement: human.then(|| pb::Agreement {
                reference: "NDA-2".to_owned(),
                valid_from: in_seconds(-60),
                valid_until: in_seconds(86_400),
            }),
        };
        let request = self.with("ann", request);
        let reply = self
            .admin("ann")
            .await
            .create_principal(request)
            .await
            .expect("made");
        reply.into_inner().pending_action
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_class_of_event_has_exactly_one_entry_with_all_its_fields() {
    let mut place = Deeds {
        place: Place::new(),
        sessions: BTreeMap::new(),
        expected: Vec::new(),
    };
    for line in [
        "vault_created ok - -",
        "principal_created ok - -",
        "principal_created ok - -",
        "logging_started ok - -",
        "unsealed ok - -",
        "logging_stopped ok - -",
    ] {
        place.expect(line);
    }
    place.place.start(&[]).await.expect("it serves");
    place.expect("logging_started ok - -");
    place.expect("unsealed ok - -");

    // Credentials and administration.
    place.good_login("ann").await;
    place
        .login("ann", "not-her-secret")
        .await
        .expect_err("wrong");
    place.expect("login denied BAD_SECRET ann");
    place.good_login("bob").await;
    assert_eq!(place.enrol("shop", pb::Role::Portal).await, "");
    place.expect("principal_created ok - ann");
    let action = place.enrol("acme", pb::Role::Processor).await;
    place.approved(action).await;
    place.expect("principal_created ok - bob");
    assert_eq!(place.enrol("vera", pb::Role::Auditor).await, "");
    place.expect("principal_created ok - ann");
    let request = pb::RotateSecretRequest {
        principal: "vera".to_owned(),
    };
    let request = place.with("ann", request);
    let made = place
        .admin("ann")
        .await
        .rotate_secret(request)
        .await
        .expect("made");
    place
        .place
        .secrets
        .insert("vera", made.into_inner().secret.clone());
    place.expect("secret_rotated ok - ann");
    let request = place.with("ann", pb::ListPrincipalsRequest::default());
    let listed = place
        .admin("ann")
        .await
        .list_principals(request)
        .await
        .expect("listed");
    let ids: BTreeMap<String, String> = listed
        .into_inner()
        .principals
        .into_iter()
        .map(|principal| (principal.name, principal.id))
        .collect();
    let allowance = pb::Allowance {
        site: "nl".to_owned(),
        portal: ids["shop"].clone(),
        processor: ids["acme"].clone(),
        purposes: vec![pb::Purpose::Authorize.into()],
        uses_max: 5,
        release_seconds_max: 10 * 86_400,
        releases_per_hour: 1_000,
    };
    let request = pb::SetAllowanceRequest {
        allowance: Some(allowance),
    };
    let request = place.with("ann", request);
    let asked = place
        .admin("ann")
        .await
        .set_allowance(request)
        .await
        .expect("asked");
    place.approved(asked.into_inner().pending_action).await;
    place.expect("allowance_set ok - bob");

    // Cardholder data.
    let terms = pb::Terms {
        site: "nl".to_owned(),
        parties: vec![pb::Party {
            principal: ids["acme"].clone(),
            grants: vec![pb::Grant {
                purpose: pb::Purpose::Authorize.into(),
                fields: vec![pb::Field::Number.into()],
                uses_max: 2,
            }],
        }],
        expires_at: in_seconds(3_600),
        release_until: in_seconds(86_400),
        ..Default::default()
    };
    let mut shop = place.vault("shop").await;
    let mut acme = place.vault("acme").await;
    let opened = shop
        .open_transaction(pb::OpenTransactionRequest {
            request_id: request_id(),
            terms: Some(terms),
            want_receipt: false,
        })
        .await
        .expect("opened");
    let transaction = opened.into_inner().transaction;
    place.expect("transaction_opened ok - shop");
    let request = pb::GetTransactionRequest {
        transaction: transaction.clone(),
    };
    shop.get_transaction(request).await.expect("read");
    place.expect("transaction_read ok - shop");
    let card = pb::Card {
        number: "4242424242424242".to_owned(),
        expiry_month: 12,
        expiry_year: 2035,
        holder: "A. de Vries".to_owned(),
        security_code: String::new(),
        billing: None,
    };
    let tokenized = shop
        .tokenize(pb::TokenizeRequest {
            request_id: request_id(),
            transaction: transaction.clone(),
            details: Some(pb::PaymentDetails {
                kind: Some(pb::payment_details::Kind::Card(card)),
            }),
            ..Default::default()
        })
        .await
        .expect("a token");
    let token = tokenized.into_inner().token.clone();
    place.expect("tokenized ok - shop");
    let request = pb::DescribeTokenRequest {
        transaction: transaction.clone(),
        token: token.clone(),
    };
    shop.describe_token(request).await.expect("described");
    place.expect("token_described ok - shop");
    let redeem = pb::RedeemRequest {
        request_id: request_id(),
        transaction: transaction.clone(),
        token: token.clone(),
        purpose: pb::Purpose::Authorize.into(),
        fields: vec![pb::Field::Number.into()],
        want_receipt: false,
    };
    acme.redeem(redeem.clone()).await.expect("released");
    place.expect("redeemed ok - acme");
    acme.redeem(redeem.clone()).await.expect("released again");
    place.expect("redeem_replayed ok - acme");
    acme.report_outcome(pb::ReportOutcomeRequest {
        request_id: request_id(),
        transaction: transaction.clone(),
        token: token.clone(),
        outcome: pb::Outcome::Succeeded.into(),
        processor_reference: "R-1".to_owned(),
    })
    .await
    .expect("reported");
    place.expect("outcome_reported ok - acme");
    let request = pb::RevokeTokenRequest {
        transaction: transaction.clone(),
        token: token.clone(),
    };
    shop.revoke_token(request).await.expect("revoked");
    place.expect("token_revoked ok - shop");

    // Invalid attempts: a token that is revoked, a role at the wrong door, a stranger.
    let again = pb::RedeemRequest {
        request_id: request_id(),
        ..redeem.clone()
    };
    acme.redeem(again).await.expect_err("revoked");
    place.expect("redeemed denied REVOKED acme");
    shop.redeem(redeem.clone()).await.expect_err("a portal");
    place.expect("redeemed denied ROLE_NOT_ALLOWED shop");
    let mut nobody = place.ledger("nobody").await;
    nobody
        .get_checkpoint(pb::GetCheckpointRequest {})
        .await
        .expect_err("unknown");
    place.expect("log_exported denied PRINCIPAL_UNKNOWN -");
    let request = pb::CloseTransactionRequest { transaction };
    shop.close_transaction(request).await.expect("closed");
    place.expect("transaction_closed ok - shop");

    // The log.
    place.good_login("vera").await;
    let request = pb::TailLogRequest {
        reason: "a look".to_owned(),
        ticket: "T-1".to_owned(),
        ..Default::default()
    };
    let request = place.with("vera", request);
    let mut tail = place
        .ledger("vera")
        .await
        .tail_log(request)
        .await
        .expect("begun")
        .into_inner();
    while tail.message().await.expect("it goes on").is_some() {}
    place.expect("log_tailed ok - vera");

    // A backup.
    let request = place.with("ann", pb::TakeBackupRequest {});
    let mut steps = place
        .admin("ann")
        .await
        .take_backup(request)
        .await
        .expect("begun")
        .into_inner();
    while steps.message().await.expect("it goes on").is_some() {}
    place.expect("backup_begun ok - ann");
    place.expect("backup_ended ok - ann");

    // Principals end.
    let request = place.with(
        "ann",
        pb::DisablePrincipalRequest {
            principal: "shop".to_owned(),
        },
    );
    place
        .admin("ann")
        .await
        .disable_principal(request)
        .await
        .expect("disabled");
    place.expect("principal_disabled ok - ann");
    let request = place.with("bob", pb::LogoutRequest {});
    Session::new(place.channel("bob").await)
        .logout(request)
        .await
        .expect("ended");
    place.expect("logout ok - bob");

    // Sealed, a wrong try, and open again.
    let request = place.with("ann", pb::SealRequest {});
    place
        .admin("ann")
        .await
        .seal(request)
        .await
        .expect("sealed");
    place.expect("sealed ok - ann");
    for (passphrase, good) in [("correct horse buttery", false), (PASSPHRASE, true)] {
        let passphrase = passphrase.to_owned();
        let request = pb::UnsealRequest {
            passphrase,
            ..Default::default()
        };
        let tried = place.admin("ann").await.unseal(request).await;
        assert_eq!(tried.is_ok(), good, "{:?}", tried.err());
    }
    place.expect("logging_started ok - -");
    place.expect("unseal_refused denied BAD_SECRET -");
    place.expect("unsealed ok - -");

    // Somebody who knocks without a certificate of the house, and one who floods.
    let stranger = DevCa::new(Clock::system().now()).expect("a CA");
    let credential = stranger.client("mallory").expect("a credential");
    let config = client_config(
        place.place.ca.certificate_pem(),
        &credential.certificate_pem,
        credential.key_pem.expose(),
    )
    .expect("TLS");
    if let Ok(channel) = connect(&place.place.endpoint, config).await {
        let refused = Ledger::new(channel)
            .get_checkpoint(pb::GetCheckpointRequest {})
            .await;
        refused.expect_err("not of the house");
    }
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..110 {
        let mut acme = acme.clone();
        let redeem = pb::RedeemRequest {
            request_id: request_id(),
            ..redeem.clone()
        };
        flood.spawn(async move { acme.redeem(redeem).await.expect_err("revoked") });
    }
    while let Some(refused) = flood.join_next().await {
        refused.expect("refused");
    }
    place.place.stop();
    place.place.start(&[]).await.expect("it serves");
    place.good_login("vera").await;
    let request = pb::ExportLogRequest {
        reason: "the matrix".to_owned(),
        ticket: "T-2".to_owned(),
        ..Default::default()
    };
    let request = place.with("vera", request);
    let exporting = place.ledger("vera").await.export_log(request).await;
    let mut exporting = exporting.expect("begun").into_inner();
    let mut export = Vec::new();
    while let Some(piece) = exporting.message().await.expect("it goes on") {
        export.extend_from_slice(&piece.lines);
    }
    let mut ledger = place.ledger("acme").await;
    let newest = ledger
        .get_checkpoint(pb::GetCheckpointRequest {})
        .await
        .expect("one");
    let key = VerifierKey::parse(&newest.into_inner().verifier_key).expect("a key");
    verify_export(&export[..], &[key]).expect("it verifies");
    place.place.stop();
    judge(&place, &export);
}

/// Holds the whole ledger against what was done.
fn judge(place: &Deeds, export: &[u8]) {
    let lines: Vec<serde_json::Value> = export
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    let bodies: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["body"].as_str())
        .collect();
    let mut said = Vec::new();
    let mut seen = BTreeSet::new();
    let mut classes = BTreeSet::new();
    let mut last = 0;
    for body in &bodies {
        let entry = Recorded::parse(body).expect("an entry");
        let what = format!("{body:.300}");
        // 10.2.2: who.
        let who = match entry.actor {
            Some(_) => {
                assert!(
                    !entry.actor_name().is_empty() && !entry.role().is_empty(),
                    "{what}"
                );
                entry.actor_name()
            }
            None => "-",
        };
        // Type, success or failure, date and time.
        assert_eq!(
            entry.outcome == Outcome::Denied
                && entry.event != Event::DenialsSummed
                && entry.event != Event::HandshakesRefused
                && entry.event != Event::AlarmRaised,
            !entry.reason().is_empty(),
            "{what}"
        );
        assert!(
            entry.at.0 >= last && entry.at.0 > 1_700_000_000_000,
            "{what}"
        );
        last = entry.at.0;
        // Origin: an address for whoever came over the wire.
        let from_outside = entry.actor.is_some() && entry.event != Event::DenialsSummed;
        assert!(
            !from_outside || entry.origin().starts_with("127.0.0.1:"),
            "{what}"
        );
        assert!(!entry.origin().is_empty(), "{what}");
        // The affected data or resource.
        assert!(
            resource(&entry).is_some_and(|name| !name.is_empty()),
            "{what}"
        );
        seen.insert(entry.event);
        classes.insert(match entry.outcome {
            Outcome::Denied => Class::Invalid,
            _ => row(entry.event).0,
        });
        let reason = match entry.reason() {
            "" => "-",
            reason => reason,
        };
        // Keys come by themselves with each new period.
        if entry.event != Event::KeyCreated {
            said.push(format!(
                "{} {} {reason} {who}",
                entry.event.as_str(),
                entry.outcome.as_str()
            ));
        }
    }
    // The flood: one entry each up to the rate, an alarm, and their sum; then the stop and a start.
    let tail = said.split_off(place.expected.len() - 1);
    let mut expected = place.expected.clone();
    let login = expected.pop().expect("the last login");
    assert_eq!(said, expected);
    let count = |line: &str| tail.iter().filter(|said| *said == line).count();
    assert_eq!(
        count("redeemed denied CLOSED acme") + count("redeemed denied REVOKED acme"),
        100
    );
    for once in [
        "alarm_raised denied - -",
        "denials_summed denied - acme",
        "handshakes_refused denied - -",
        "logging_stopped ok - -",
        "unsealed ok - -",
        "logging_started ok - -",
        "log_exported ok - vera",
        &login,
    ] {
        assert_eq!(count(once), 1, "{once} in {tail:?}");
    }
    assert_eq!(tail.len(), 108, "{tail:?}");
    assert_eq!(classes.len(), 7, "{classes:?}");

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for event in Event::ALL {
        match row(*event).1 {
            None => assert!(seen.contains(event), "{} was not provoked", event.as_str()),
            Some((file, word)) => {
                let text = std::fs::read_to_string(root.join(file)).expect("a test");
                assert!(text.contains(word), "{file} has no {word}");
            }
        }
    }
}
