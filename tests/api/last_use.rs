//! Of simultaneous redemptions of a last use exactly one succeeds, and the ledger says so.

use crate::entries::of_export;
use crate::house::VaultClient;
use crate::house::{Serving, channel};
use crate::road::{open, redemption, tokenize};
use crate::wire::reason;
use payvault::api::proto as pb;
use payvault::ledger::{VerifierKey, verify_export};
use pb::payment_details::Kind;
use std::sync::Arc;
use tokio::sync::Barrier;
use tonic::Code;

const CHANNELS: usize = 16;
const CALLERS: usize = 64;
const ROUNDS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn of_64_redemptions_of_a_last_use_one_wins_and_63_are_told_why() {
    let mut serving = Serving::start().await;
    let mut channels = Vec::new();
    for _ in 0..CHANNELS {
        let credential = &serving.people["processor-a"].credential;
        channels.push(channel(&serving.endpoint, &serving.ca_pem, credential).await);
    }
    let mut transactions = Vec::new();
    for round in 0..ROUNDS {
        let transaction = open(&serving, 1).await;
        let token = tokenize(&serving, &transaction).await;
        let gate = Arc::new(Barrier::new(CALLERS));
        let mut calls = tokio::task::JoinSet::new();
        for caller in 0..CALLERS {
            let mut client = VaultClient::new(channels[caller % CHANNELS].clone());
            let request = redemption(&transaction, &token);
            let gate = Arc::clone(&gate);
            calls.spawn(async move {
                gate.wait().await;
                client.redeem(request).await
            });
        }
        let mut winners = 0;
        while let Some(answer) = calls.join_next().await {
            match answer.expect("no panic") {
                Ok(released) => {
                    winners += 1;
                    let released = released.into_inner();
                    assert_eq!(released.uses_remaining, 0);
                    let Some(Kind::Card(card)) = released.details.and_then(|d| d.kind) else {
                        panic!("not a card");
                    };
                    assert_eq!(card.number, "4242424242424242");
                    assert_eq!(card.security_code, "123");
                }
                Err(refused) => {
                    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
                    assert_eq!(reason(&refused), "USED_UP");
                }
            }
        }
        assert_eq!(winners, 1, "round {round}");
        transactions.push(transaction);
    }

    let export = serving.export().await;
    let keys = serving
        .ledger("auditor")
        .get_checkpoint(pb::GetCheckpointRequest {})
        .await
        .expect("a checkpoint")
        .into_inner()
        .verifier_key;
    let keys = [VerifierKey::parse(&keys).expect("a key")];
    verify_export(&export[..], &keys).expect("the export verifies");
    let entries = of_export(&export);
    for transaction in transactions {
        let of_it = || {
            entries
                .iter()
                .filter(|e| e.get("transaction") == transaction)
                .filter(|e| e.get("event").starts_with("redeem"))
        };
        let count = |brief: &str| of_it().filter(|e| e.brief() == brief).count();
        assert_eq!(count("redeemed"), 1);
        assert_eq!(count("redeemed denied USED_UP"), CALLERS - 1);
        assert_eq!(of_it().count(), CALLERS, "nothing else");
    }
    serving.stop().await;
}
