//! How fast refusals are told, through the real door.

use crate::house::*;
use payvault::api::proto as pb;
use payvault::ids::TransactionId;
use payvault::limits;
use payvault::payment::Token;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::task::{JoinError, JoinSet};
use tonic::{Code, Request, Status};

/// Refused calls under way at once, from one client.
const CALLS: u32 = 1_200;

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_one_client_are_told_in_turn_whatever_they_are_for() {
    let mut serving = Serving::start().await;
    let asked = pb::RedeemRequest {
        request_id: request_id(),
        transaction: TransactionId::random().to_string(),
        token: Token::random().to_text().expose().to_owned(),
        purpose: pb::Purpose::Authorize as i32,
        fields: vec![pb::Field::Number as i32],
        ..Default::default()
    };
    let began = Instant::now();
    let mut calling = JoinSet::new();
    for number in 0..CALLS {
        let mut vault = serving.vault("processor-b");
        // One after the other: not tied, a deadline that can't be read, and somebody else's call.
        let mut redeem = Request::new(pb::RedeemRequest {
            request_id: request_id(),
            ..asked.clone()
        });
        if number % 3 == 1 {
            let never = "never".parse().expect("ASCII");
            redeem.metadata_mut().insert("grpc-timeout", never);
        }
        calling.spawn(async move {
            match number % 3 {
                2 => {
                    let close = pb::CloseTransactionRequest::default();
                    vault.close_transaction(close).await.err()
                }
                _ => vault.redeem(redeem).await.err(),
            }
        });
    }
    // Meanwhile the other processor's refusals, and whatever is none, have no turn to wait for: they are
    // told before the last of these, however many tasks are ready.
    let mut other = serving.vault("processor-a");
    let refused = other.redeem(asked).await.expect_err("tied to nothing");
    assert_eq!(refused.code(), Code::NotFound);
    let checkpoint = pb::GetCheckpointRequest {};
    let mut ledger = serving.ledger("processor-a");
    ledger.get_checkpoint(checkpoint).await.expect("it may");
    let mut told = HashMap::<Code, u32>::new();
    while let Some(refused) = calling.try_join_next() {
        *told.entry(code_of(refused)).or_default() += 1;
    }
    assert!(told.values().sum::<u32>() < CALLS, "{told:?}");
    while let Some(refused) = calling.join_next().await {
        *told.entry(code_of(refused)).or_default() += 1;
    }
    let took = began.elapsed();
    let third = Some(&(CALLS / 3));
    for code in [
        Code::NotFound,
        Code::InvalidArgument,
        Code::PermissionDenied,
    ] {
        assert_eq!(told.get(&code), third, "{told:?}");
    }
    let waited = u64::from(CALLS - limits::REFUSALS_AT_ONCE) * 1_000;
    let least = Duration::from_millis(waited / u64::from(limits::REFUSALS_PER_SECOND));
    assert!(took >= least, "within {took:?}");
    serving.stop().await;
}

fn code_of(refused: Result<Option<Status>, JoinError>) -> Code {
    refused
        .expect("it ends")
        .map_or(Code::Ok, |status| status.code())
}
