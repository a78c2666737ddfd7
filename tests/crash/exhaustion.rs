//! Too few descriptors, too little memory, and a principal past its rate: the real binary refuses
//! what it can't do, goes on with the rest, and is as before when there is enough again.

use crate::dev::{Dev, request_id};
use crate::disk::{log_of, reason};
use crate::size::{Rounds, until};
use crate::wire::{self, Wire};
use crate::{Told, check, step};
use payvault::api::proto as pb;
use payvault::limits;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic_types::StatusExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_descriptors_connections_wait_and_the_vault_goes_on() {
    let mut rounds = Rounds::of("descriptors", 1);
    let place = tempfile::tempdir().expect("a directory");
    let home = place.path().join("home");
    let told = Arc::new(Mutex::new(Told::default()));
    let mut checked = 0;
    Dev::start(&home).await.stop().await;
    while rounds.next().is_some() {
        // Too few to begin with: it says so.
        for few in [12, rounds.chance(13, limits::DESCRIPTORS_MIN - 1)] {
            let limit = format!("ulimit -n {few}");
            let started = Dev::start_in(&home, &[], &limit).await;
            let status = started.err().expect("too few to begin with");
            let said = log_of(&home);
            let why = reason(&said).unwrap_or_default();
            println!("{few} descriptors: {status}: {why}");
            assert_eq!(status.code(), Some(1), "{said}");
            assert!(why.contains(&format!("only {few} files")), "{said}");
        }
        let dev = Dev::start_in(
            &home,
            &[],
            &format!("ulimit -n {}", limits::DESCRIPTORS_MIN),
        )
        .await
        .expect("it starts");
        let clients = dev.clone_clients();
        let session = clients.login("operator").await.expect("a session");
        step(&clients, &told, 1).await.expect("all is well");
        // As many idle connections as can be had: no descriptor is left.
        let config = Arc::new(dev.tls("processor-b"));
        let mut idle = Vec::new();
        loop {
            let from = [127, 0, 3, 1 + idle.len() as u8 % 4];
            let http2 = Wire::http2(wire::address(&dev), from, config.clone(), 65_535);
            match tokio::time::timeout(Duration::from_secs(2), http2).await {
                Ok(Ok(wire)) => idle.push(tokio::spawn(wire.until_let_go())),
                _ => break,
            }
            assert!(idle.len() < 64, "there is a bound");
        }
        println!("{} idle connections, then none got in", idle.len());
        for number in 2..10 {
            step(&clients, &told, number)
                .await
                .expect("who was connected is served");
        }
        assert_eq!(clients.serves().await.ok(), Some(true));
        clients.status(&session).await.expect("status answers");
        check(&dev, &told, &mut checked).await;
        // A place comes back.
        for one in idle {
            one.abort();
        }
        until("a connection gets in again", async || {
            let http2 = Wire::http2(wire::address(&dev), [127, 0, 0, 1], config.clone(), 65_535);
            let got_in = tokio::time::timeout(Duration::from_secs(2), http2).await;
            matches!(got_in, Ok(Ok(_))).then_some(())
        })
        .await;
        dev.stop().await;
        let said = log_of(&home);
        assert!(!said.contains("panicked at"), "{said}");
        let dev = Dev::start(&home).await;
        check(&dev, &told, &mut checked).await;
        dev.stop().await;
    }
}

/// `payvault serve` with a rate: one principal past it is refused by name, and another isn't.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_principal_past_its_rate_is_refused_and_another_is_served() {
    let _ = Rounds::of("rate", 1);
    let place = tempfile::tempdir().expect("a directory");
    let home = place.path().join("home");
    let dev = Dev::start(&home).await;
    let dev = dev.serve(&["--calls-per-second", "20"]).await;
    let clients = dev.clone_clients();
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..200 {
        let vault = clients.ledger("processor-b");
        match vault
            .clone()
            .get_checkpoint(pb::GetCheckpointRequest {})
            .await
        {
            Ok(_) => answered += 1,
            Err(status) => {
                let code = status.get_details_error_info().map(|info| info.reason);
                assert_eq!(code.as_deref(), Some("RATE_LIMITED"), "{status}");
                assert_eq!(status.code(), tonic::Code::ResourceExhausted);
                assert!(status.get_details_retry_info().is_some());
                refused += 1;
            }
        }
        if refused > 20 {
            break;
        }
    }
    println!("{answered} answered, {refused} refused");
    assert!(answered >= 20 && refused > 20);
    // Another's calls are its own.
    let opened = clients
        .vault("portal")
        .open_transaction(pb::OpenTransactionRequest {
            request_id: request_id(),
            terms: Some(clients.terms()),
            want_receipt: false,
        })
        .await;
    opened.expect("another principal has its own rate");
    until("its rate comes back", async || {
        let mut ledger = clients.ledger("processor-b");
        ledger
            .get_checkpoint(pb::GetCheckpointRequest {})
            .await
            .ok()
    })
    .await;
    dev.stop().await;
}
