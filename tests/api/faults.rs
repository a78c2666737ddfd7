//! A store that fails: the caller is told so, no plaintext is on the wire, and the vault goes on
//! from what is durable and from nothing else.

use crate::house::{Serving, request_id};
use crate::road::{card, open, party, redemption, terms, tokenize};
use crate::wire::{Tape, all_of, answer, only, reason, taped};
use payvault::api::proto as pb;
use payvault::policy::Rpc;
use payvault::store::memory::{Fault, Faults};
use pb::payment_details::Kind;
use prost::Message;
use tonic::Code;
use tonic::transport::Channel;

const PAN: &[u8] = b"4242424242424242";
const HOLDER: &[u8] = b"A. de Vries";

/// What a caller gets when the commit of its command fails.
enum Told {
    /// Its answer: the round is durable after all.
    Answer,
    /// `UNAVAILABLE`: the round may be tried again.
    Unavailable,
    /// `RESOURCE_EXHAUSTED`.
    Full,
}

fn told(fault: Fault) -> Told {
    match fault {
        Fault::FlushAfter | Fault::Conflict => Told::Answer,
        Fault::Full => Told::Full,
        Fault::WriteBefore
        | Fault::WriteAfter
        | Fault::FlushBefore
        | Fault::Both
        | Fault::Fatal => Told::Unavailable,
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// One caller's connection and what comes in on it.
struct Line {
    channel: Channel,
    tape: Tape,
}

impl Line {
    async fn of(serving: &Serving, who: &str) -> Line {
        let (channel, tape) = taped(serving, who).await;
        Line { channel, tape }
    }

    /// Calls while the next commit fails with `fault`: the answer, if there is one.
    async fn with_fault(
        &self,
        serving: &Serving,
        rpc: Rpc,
        body: &[u8],
        fault: Fault,
    ) -> Option<Vec<Vec<u8>>> {
        // The alarm that the fault before has raised is entered by the next round, or by the vault
        // itself within a second: then not in the place of the round that is to fail.
        let nobody = pb::GetTransactionRequest {
            transaction: payvault::ids::TransactionId::random().to_string(),
        };
        let looks = Rpc::GetTransaction.path();
        let (_, status) = answer(&self.channel, looks, nobody.encode_to_vec()).await;
        assert!(status.is_some());
        let next = serving.disk.commits() + 1;
        serving.disk.order(Faults::none().and(next, fault));
        let name = format!("{} with {fault:?}", rpc.name());
        self.tape.take();
        let (messages, status) = answer(&self.channel, rpc.path(), body.to_vec()).await;
        assert!(
            serving.disk.commits() >= next,
            "{name}: nothing was committed"
        );
        let status = match (told(fault), status) {
            (Told::Answer, None) => return Some(messages),
            (Told::Answer, Some(status)) => panic!("{name}: {status}"),
            (_, None) => panic!("{name}: answered"),
            (_, Some(status)) => status,
        };
        match told(fault) {
            Told::Full => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{name}");
                assert_eq!(reason(&status), "STORAGE_FULL", "{name}");
            }
            _ => {
                assert_eq!(status.code(), Code::Unavailable, "{name}: {status}");
                assert_eq!(reason(&status), "LEDGER_UNAVAILABLE", "{name}");
            }
        }
        // Not a message, not a part of one, in nothing that came in below HTTP/2 either.
        assert!(messages.is_empty(), "{name}: a message before the error");
        let wire = self.tape.take();
        assert!(!wire.is_empty());
        for said in [wire, all_of(&status)] {
            assert!(!contains(&said, PAN), "{name}: the number left");
            assert!(!contains(&said, HOLDER), "{name}: the holder left");
            assert!(!contains(&said, b"pvt_a"), "{name}: a token left");
            assert!(!contains(&said, b"txn_"), "{name}: an id left");
        }
        None
    }

    /// Calls while nothing fails.
    async fn call<T: Message + Default>(&self, rpc: Rpc, body: &[u8]) -> T {
        let (messages, status) = answer(&self.channel, rpc.path(), body.to_vec()).await;
        assert!(status.is_none(), "{}: {status:?}", rpc.name());
        only(&messages)
    }
}

/// What was acknowledged is durable at this moment: its entry, and in its place.
fn assert_durable(serving: &Serving, index: u64, event: &str, transaction: &str) {
    let entries = serving.entries();
    let entry = entries.get(index as usize).expect("an acknowledged entry");
    assert_eq!(entry.get("event"), event);
    assert_eq!(entry.get("transaction"), transaction);
    assert_eq!(entry.get("outcome"), "ok");
}

fn count(serving: &Serving, transaction: &str, brief: &str) -> usize {
    let entries = serving.entries();
    entries
        .iter()
        .filter(|e| e.get("transaction") == transaction && e.brief() == brief)
        .count()
}

fn card_of(details: Option<pb::PaymentDetails>) -> pb::Card {
    match details.and_then(|d| d.kind) {
        Some(Kind::Card(ref card)) => card.clone(),
        _ => panic!("not a card"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_at_the_commit_nothing_leaves_and_a_retry_succeeds_once() {
    let mut serving = Serving::start().await;
    let mut acknowledged = Vec::new();
    let portal = Line::of(&serving, "portal").await;
    let processor = Line::of(&serving, "processor-a").await;
    for fault in Fault::ALL {
        // Opening.
        let request = pb::OpenTransactionRequest {
            request_id: request_id(),
            terms: Some(terms(vec![party(&serving, "processor-a", 2)])),
            want_receipt: false,
        };
        let body = request.encode_to_vec();
        let first = portal
            .with_fault(&serving, Rpc::OpenTransaction, &body, fault)
            .await;
        let opened: pb::OpenTransactionResponse = portal.call(Rpc::OpenTransaction, &body).await;
        if let Some(first) = first {
            let first: pb::OpenTransactionResponse = only(&first);
            assert_eq!(first.transaction, opened.transaction, "{fault:?}");
        }
        let transaction = opened.transaction;
        assert_durable(
            &serving,
            opened.entry_index,
            "transaction_opened",
            &transaction,
        );
        assert_eq!(
            count(&serving, &transaction, "transaction_opened"),
            1,
            "{fault:?}"
        );

        // Handing in. A token that isn't durable is shown to nobody.
        let request = pb::TokenizeRequest {
            request_id: request_id(),
            transaction: transaction.clone(),
            details: Some(card()),
            replaces: String::new(),
            want_receipt: false,
            sealed_details: String::new(),
        };
        let body = request.encode_to_vec();
        let first = portal
            .with_fault(&serving, Rpc::Tokenize, &body, fault)
            .await;
        let seen: pb::GetTransactionResponse = portal
            .call(
                Rpc::GetTransaction,
                &pb::GetTransactionRequest {
                    transaction: transaction.clone(),
                }
                .encode_to_vec(),
            )
            .await;
        assert_eq!(seen.tokens.len(), usize::from(first.is_some()), "{fault:?}");
        let made: pb::TokenizeResponse = portal.call(Rpc::Tokenize, &body).await;
        assert_eq!(made.replayed, first.is_some(), "{fault:?}");
        if let Some(first) = first {
            let first: pb::TokenizeResponse = only(&first);
            assert_eq!(first.token, made.token, "{fault:?}");
        }
        assert_durable(&serving, made.entry_index, "tokenized", &transaction);
        assert_eq!(count(&serving, &transaction, "tokenized"), 1, "{fault:?}");

        // Redeeming: one of two uses.
        let body = redemption(&transaction, &made.token).encode_to_vec();
        let first = processor
            .with_fault(&serving, Rpc::Redeem, &body, fault)
            .await;
        let uses_left = async || -> u32 {
            let described: pb::DescribeTokenResponse = processor
                .call(
                    Rpc::DescribeToken,
                    &pb::DescribeTokenRequest {
                        transaction: transaction.clone(),
                        token: made.token.clone(),
                    }
                    .encode_to_vec(),
                )
                .await;
            let authorize = i32::from(pb::Purpose::Authorize);
            let uses = &described.uses_remaining;
            uses.iter()
                .find(|u| u.purpose == authorize)
                .expect("one")
                .count
        };
        assert_eq!(
            uses_left().await,
            2 - u32::from(first.is_some()),
            "{fault:?}"
        );
        processor.tape.take();
        let released: pb::RedeemResponse = processor.call(Rpc::Redeem, &body).await;
        assert_eq!(released.replayed, first.is_some(), "{fault:?}");
        assert_eq!(released.uses_remaining, 1, "{fault:?}");
        let event = match released.replayed {
            true => "redeem_replayed",
            false => "redeemed",
        };
        assert_durable(&serving, released.entry_index, event, &transaction);
        let given = card_of(released.details);
        assert_eq!(given.number.as_bytes(), PAN);
        // A code that went out with a round of unknown outcome is wiped: it may be out there.
        let (status, code) = match fault {
            Fault::Both | Fault::Fatal => (pb::SecurityCodeStatus::NotOnThisNode, ""),
            _ => (pb::SecurityCodeStatus::Released, "123"),
        };
        assert_eq!(given.security_code, code, "{fault:?}");
        assert_eq!(
            released.security_code_status,
            i32::from(status),
            "{fault:?}"
        );
        // What is searched for above is found where it is.
        assert!(contains(&processor.tape.take(), PAN));
        assert_eq!(uses_left().await, 1, "{fault:?}");
        assert_eq!(count(&serving, &transaction, "redeemed"), 1, "{fault:?}");
        acknowledged.push((transaction, made.token, body));
    }

    // The process dies: all that was acknowledged is there, used as often as was said.
    serving.kill_and_restart().await;
    let processor = Line::of(&serving, "processor-a").await;
    for (transaction, token, body) in &acknowledged {
        let again: pb::RedeemResponse = processor.call(Rpc::Redeem, body).await;
        assert!(again.replayed);
        assert_eq!(again.uses_remaining, 1);
        let fresh = redemption(transaction, token).encode_to_vec();
        let last: pb::RedeemResponse = processor.call(Rpc::Redeem, &fresh).await;
        assert_eq!(last.uses_remaining, 0);
        assert_eq!(card_of(last.details).number.as_bytes(), PAN);
    }
    serving.stop().await;
}

/// A round that is durable although nobody could say so: its caller was told nothing, and a retry
/// finds it done.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_unknown_outcome_is_not_answered_and_counts_once() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 2).await;
    let token = tokenize(&serving, &transaction).await;
    let processor = Line::of(&serving, "processor-a").await;
    let request = redemption(&transaction, &token).encode_to_vec();

    let next = serving.disk.commits() + 1;
    let faults = Faults::none().and(next, Fault::FlushAfter);
    serving.disk.order(faults.and_reopenings(3));
    // Until the store is back nobody is told anything, not even of what was durable before.
    let receipt = pb::GetReceiptRequest { index: 0 }.encode_to_vec();
    for attempt in 0..2 {
        let (messages, status) =
            answer(&processor.channel, Rpc::Redeem.path(), request.clone()).await;
        let status = status.expect("an error");
        assert!(messages.is_empty());
        assert_eq!(status.code(), Code::Unavailable, "{attempt}: {status}");
        let (_, status) = answer(&processor.channel, Rpc::GetReceipt.path(), receipt.clone()).await;
        let status = status.expect("an error");
        assert_eq!(status.code(), Code::Unavailable, "{attempt}: {status}");
    }
    assert!(!contains(&processor.tape.take(), PAN));
    let mut found = None;
    for _ in 0..3 {
        let (messages, status) =
            answer(&processor.channel, Rpc::Redeem.path(), request.clone()).await;
        if status.is_none() {
            found = Some(only::<pb::RedeemResponse>(&messages));
            break;
        }
    }
    let found = found.expect("the store comes back");
    assert!(found.replayed, "the round was durable");
    assert_eq!(found.uses_remaining, 1);
    assert_eq!(count(&serving, &transaction, "redeemed"), 1);
    assert_eq!(count(&serving, &transaction, "redeem_replayed"), 1);
    // The code went with the answer that nobody got, or comes now; never to anybody twice.
    let given = card_of(found.details);
    assert!(given.security_code.is_empty() || given.security_code == "123");
    let fresh = redemption(&transaction, &token).encode_to_vec();
    let last: pb::RedeemResponse = processor.call(Rpc::Redeem, &fresh).await;
    assert_eq!(last.uses_remaining, 0);
    let code = card_of(last.details).security_code.clone();
    assert!(
        code.is_empty(),
        "the security code was released by another request"
    );
    serving.stop().await;
}

/// Many callers in one round: when it fails, all of them are told.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_round_answers_none_of_its_callers() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 100).await;
    let token = tokenize(&serving, &transaction).await;
    let line = Line::of(&serving, "processor-a").await;
    let entries = serving.size();
    let first = serving.disk.commits() + 1;
    let faults = (first..first + 64).fold(Faults::none(), |faults, commit| {
        faults.and(commit, Fault::FlushBefore)
    });
    serving.disk.order(faults);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let channel = line.channel.clone();
        let body = redemption(&transaction, &token).encode_to_vec();
        calls.spawn(async move { answer(&channel, Rpc::Redeem.path(), body).await });
    }
    while let Some(call) = calls.join_next().await {
        let (messages, status) = call.expect("no panic");
        assert!(messages.is_empty());
        assert_eq!(status.expect("an error").code(), Code::Unavailable);
    }
    assert!(!contains(&line.tape.take(), PAN));
    serving.disk.order(Faults::none());
    let body = redemption(&transaction, &token).encode_to_vec();
    let released: pb::RedeemResponse = line.call(Rpc::Redeem, &body).await;
    assert_eq!(released.uses_remaining, 99, "no use was burned");
    assert_eq!(serving.size(), entries + 1);
    assert_eq!(card_of(released.details).security_code, "123");
    serving.stop().await;
}
