//! Readers that are under way when the vault is sealed or stopped.

use crate::house::*;
use payvault::vault::ExportRequest;
use payvault::vault::command::{Refusal, Work};
use std::sync::Arc;

/// Found by the model test's crowd: the keys were gone in the middle of a page, and the auditor was
/// told that the ledger is damaged.
#[test]
fn an_export_that_the_end_cuts_short_says_so_and_not_that_the_ledger_is_damaged() {
    let mut home = Home::new();
    let transaction = home.open();
    // Rounds of many calls: pages of several entries.
    for _ in 0..8 {
        let vault = home.vault();
        let asked: Vec<_> = (0..64)
            .map(|_| {
                let (vault, caller) = (Arc::clone(vault), home.caller("shop"));
                RUNTIME.spawn(async move {
                    vault.ask(caller, Work::Get { transaction }, u64::MAX).await
                })
            })
            .collect();
        for one in asked {
            assert!(RUNTIME.block_on(one).expect("answered").is_ok());
        }
    }
    let auditor = home.principal("auditor");
    let request = ExportRequest {
        epoch: None,
        from: 0,
        to: None,
        from_time: None,
        to_time: None,
        site: None,
        kinds: Vec::new(),
        reason: "a test".to_owned(),
        ticket: String::new(),
    };
    let begun = home
        .vault()
        .export(home.caller("auditor"), &auditor, request, u64::MAX);
    let mut pieces = RUNTIME.block_on(begun).expect("an export begins");
    // An auditor who is slow: as many pieces wait as may, and the next one is in the making.
    while pieces.len() < 4 {
        std::thread::yield_now();
    }
    home.close();
    let mut last = None;
    while let Some(piece) = pieces.blocking_recv() {
        last = Some(piece.map(|_| ()));
    }
    assert_eq!(last, Some(Err(Refusal::Sealed)));
}

/// A witness that takes a submission and never answers it gets the last checkpoint when the keys are
/// gone already, however long it then takes.
#[test]
fn the_keys_are_gone_before_a_witness_is_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (said, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut begin = [0; 4];
            if std::io::Read::read_exact(&mut stream, &mut begin).is_ok() && &begin == b"POST" {
                if said.send(()).is_err() {
                    return;
                }
                held.push(stream);
            }
        }
    });
    let key = payvault::ledger::Cosigner::generate("hangs.example/w").expect("a key");
    let mut home = Home::new();
    home.close();
    home.house.witnesses = payvault::vault::Witnesses {
        list: vec![payvault::vault::WitnessAt {
            url,
            key: key.verifier(),
        }],
        silent_ms: 60_000,
    };
    home.reopen().expect("the vault opens again");
    heard.recv().expect("submitted to");
    let vault = Arc::clone(home.vault());
    assert!(!vault.keys().1.is_empty());
    let closing = std::thread::spawn(move || home.close());
    // What is being asked is cut, and this is the last one.
    heard.recv().expect("submitted to once more");
    assert!(vault.keys().1.is_empty(), "a witness held up the keys' end");
    closing.join().expect("closed");
}
