//! Who gets in: certificates, principals, agreements, sessions and secrets.

use crate::house::{Serving, SessionClient, Storing, channel, with_session};
use crate::wire::{call, reason};
use payvault::api::client::connect;
use payvault::api::dev_ca::DevCa;
use payvault::api::proto as pb;
use payvault::api::tls::client_config;
use payvault::clock::{Clock, DAY_MS, Timestamp};
use payvault::limits;
use payvault::policy::Rpc;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::sign::CertifiedKey;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Has no certificate to show.
#[derive(Debug)]
struct Nobody;

impl ResolvesClientCert for Nobody {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[tokio_rustls::rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

fn config(serving: &Serving, who: &str) -> ClientConfig {
    let credential = &serving.people[who].credential;
    client_config(
        &serving.ca_pem,
        &credential.certificate_pem,
        credential.key_pem.expose(),
    )
    .expect("a client configuration")
}

async fn export(serving: &Serving, session: Option<&str>) -> Status {
    let body = prost::Message::encode_to_vec(&pb::ExportLogRequest::default());
    let channel = &serving.people["auditor"].channel;
    let answer = call(channel, Rpc::ExportLog.path(), body, session).await;
    // The request is malformed: whoever is let in is told so.
    answer.expect_err("a malformed request")
}

async fn login(serving: &Serving, who: &str, secret: &str) -> Result<String, Status> {
    let secret = secret.to_owned();
    let mut client = SessionClient::new(serving.people[who].channel.clone());
    let reply = client.login(pb::LoginRequest { secret }).await?;
    Ok(reply.into_inner().session)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_of_the_house_there_is_no_connection() {
    let mut serving = Serving::start().await;
    let size = serving.size();
    let mut nobody = config(&serving, "portal");
    nobody.client_auth_cert_resolver = Arc::new(Nobody);
    let elsewhere = DevCa::new(Clock::system().now()).expect("a CA");
    let foreign = elsewhere.client("portal").expect("a credential");
    let foreign = client_config(
        &serving.ca_pem,
        &foreign.certificate_pem,
        foreign.key_pem.expose(),
    )
    .expect("a client configuration");
    for (what, config) in [("no certificate", nobody), ("a foreign CA's", foreign)] {
        let refused = match connect(&serving.endpoint, config).await {
            Err(_) => continue,
            Ok(channel) => {
                let mut grpc = tonic::client::Grpc::new(channel.clone());
                match grpc.ready().await {
                    Err(_) => continue,
                    Ok(()) => checkpoint(&channel).await,
                }
            }
        };
        let refused = refused.expect_err(what);
        assert_eq!(reason(&refused), "", "{what}: {refused}");
        assert_ne!(refused.code(), Code::Ok, "{what}");
    }
    assert_eq!(serving.size(), size, "handshakes are summed up later");
    serving.stop().await;
}

async fn checkpoint(channel: &Channel) -> Result<(), Status> {
    let mut client = crate::house::LedgerClient::new(channel.clone());
    let asked = client.get_checkpoint(pb::GetCheckpointRequest {}).await;
    asked.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_exchange_is_post_quantum() {
    let mut serving = Serving::start().await;
    let connector = TlsConnector::from(Arc::new(config(&serving, "portal")));
    let address = serving.endpoint.trim_start_matches("https://").to_owned();
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let stream = connector.connect(name, stream).await.expect("TLS");
    let session = stream.get_ref().1;
    let group = session.negotiated_key_exchange_group().expect("a group");
    assert_eq!(format!("{:?}", group.name()), "X25519MLKEM768");
    let version = session.protocol_version().expect("a version");
    assert_eq!(format!("{version:?}"), "TLSv1_3");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unknown_the_disabled_and_the_unbound_are_refused_with_an_entry() {
    let mut serving =
        Serving::start_with(Storing::Memory, |principal| match principal.name.as_str() {
            "processor-c" => principal.disabled = true,
            "custodian" => {
                let agreement = principal.agreement.as_mut().expect("a human");
                agreement.valid_until = Timestamp(principal.created_at.0);
            }
            "auditor" => {
                let agreement = principal.agreement.as_mut().expect("a human");
                agreement.valid_from = principal.created_at.plus_ms(60_000);
            }
            _ => {}
        })
        .await;
    let stranger = serving.ca.client("stranger").expect("a credential");
    let stranger = channel(&serving.endpoint, &serving.ca_pem, &stranger).await;
    for (channel, code, told) in [
        (stranger, Code::Unauthenticated, "PRINCIPAL_UNKNOWN"),
        (
            serving.people["processor-c"].channel.clone(),
            Code::Unauthenticated,
            "PRINCIPAL_DISABLED",
        ),
        (
            serving.people["custodian"].channel.clone(),
            Code::PermissionDenied,
            "AGREEMENT_NOT_IN_FORCE",
        ),
        (
            serving.people["auditor"].channel.clone(),
            Code::PermissionDenied,
            "AGREEMENT_NOT_IN_FORCE",
        ),
    ] {
        for rpc in Rpc::ALL {
            let size = serving.size();
            let refused = call(&channel, rpc.path(), Vec::new(), None)
                .await
                .expect_err("refused");
            assert_eq!(reason(&refused), told, "{}: {refused}", rpc.name());
            assert_eq!(refused.code(), code, "{}", rpc.name());
            assert_eq!(serving.size(), size + 1, "{}: one entry", rpc.name());
            let entries = serving.entries();
            let entry = entries.last().expect("one");
            assert_eq!(entry.get("reason"), told);
            assert!(entry.get("origin").starts_with("127.0.0.1:"));
            assert_eq!(
                entry.get("actor_name").is_empty(),
                told == "PRINCIPAL_UNKNOWN"
            );
        }
    }
    // An agreement that begins lets in.
    serving.clock.pass_ms(60_000);
    serving.login("auditor").await.expect("in force now");
    serving.stop().await;
}

/// Nobody but an operator enrols an operator, so the last ones must not lapse unawares.
#[tokio::test(flavor = "multi_thread")]
async fn operators_are_warned_before_too_few_of_them_are_left() {
    let mut serving = Serving::start_with(Storing::Memory, |principal| {
        if principal.name == "operator-2" {
            let agreement = principal.agreement.as_mut().expect("a human");
            agreement.valid_until = principal.created_at.plus_ms(31 * DAY_MS);
        }
    })
    .await;
    let warned = async |serving: &Serving| {
        let session = serving.login("operator").await.expect("a session");
        let request = with_session(pb::GetStatusRequest {}, &session);
        let status = serving.admin("operator").get_status(request).await;
        let warnings = status.expect("a status").into_inner().warnings;
        warnings
            .into_iter()
            .find(|w| w.contains("operators can act"))
    };
    assert_eq!(warned(&serving).await, None);
    serving.clock.pass_ms(DAY_MS);
    assert_eq!(warned(&serving).await, None, "exactly 30 days before");
    serving.clock.pass_ms(1);
    let said = warned(&serving).await.expect("a warning");
    assert!(said.contains("fewer than 2 operators"), "{said}");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_principals_own_and_ends() {
    let mut serving = Serving::start().await;
    let told = async |session: Option<&str>| reason(&export(&serving, session).await);
    assert_eq!(told(None).await, "SESSION_REQUIRED");
    assert_eq!(told(Some("")).await, "SESSION_ENDED");
    assert_eq!(told(Some("bcdfghjk")).await, "SESSION_ENDED");
    let operators = serving.login("operator").await.expect("a session");
    assert_eq!(told(Some(&operators)).await, "SESSION_ENDED", "another's");
    let own = serving.login("auditor").await.expect("a session");
    assert_eq!(told(Some(&own)).await, "INVALID_REQUEST", "let in");
    // A session that is too long to be one, and one that isn't ASCII.
    assert_eq!(told(Some(&own.repeat(10))).await, "SESSION_REQUIRED");

    // Logging out ends this one and no other.
    let second = serving.login("auditor").await.expect("a session");
    let mut client = SessionClient::new(serving.people["auditor"].channel.clone());
    client
        .logout(with_session(pb::LogoutRequest {}, &own))
        .await
        .expect("logged out");
    assert_eq!(told(Some(&own)).await, "SESSION_ENDED");
    assert_eq!(told(Some(&second)).await, "INVALID_REQUEST");

    // Use keeps it alive, idleness ends it.
    serving.clock.pass_ms(limits::SESSION_IDLE_MS - 1);
    assert_eq!(told(Some(&second)).await, "INVALID_REQUEST");
    serving.clock.pass_ms(limits::SESSION_IDLE_MS);
    assert_eq!(told(Some(&second)).await, "SESSION_ENDED");

    // A restart ends them all.
    let third = serving.login("auditor").await.expect("a session");
    serving.restart().await;
    let ended = export(&serving, Some(&third)).await;
    assert_eq!(reason(&ended), "SESSION_ENDED");
    assert_eq!(ended.code(), Code::Unauthenticated);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_bad_tries_lock_for_half_an_hour_across_restarts() {
    let mut serving = Serving::start().await;
    for attempt in 1..=10 {
        let refused = login(&serving, "auditor", "swordfish-1").await;
        let refused = refused.expect_err("a wrong secret");
        assert_eq!(reason(&refused), "BAD_SECRET", "{attempt}");
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    let locked = serving.login("auditor").await.expect_err("locked");
    assert_eq!(reason(&locked), "LOCKED");
    assert_eq!(locked.code(), Code::PermissionDenied);
    serving.login("operator").await.expect("nobody else is");
    serving.kill_and_restart().await;
    let locked = serving.login("auditor").await.expect_err("locked");
    assert_eq!(reason(&locked), "LOCKED");
    serving.clock.pass_ms(limits::LOCK_MS);
    serving.login("auditor").await.expect("not any more");
    let entries = serving.entries();
    let count = |brief: &str| entries.iter().filter(|e| e.brief() == brief).count();
    assert_eq!(count("login denied BAD_SECRET"), 10);
    assert_eq!(count("login denied LOCKED"), 2);
    serving.stop().await;
}
