//! What a client can check by itself: receipts, and that the ledger only ever grows.

use crate::house::{Serving, request_id, with_session};
use crate::road::{card, open, redemption, tokenize};
use crate::wire::reason;
use payvault::api::proto as pb;
use payvault::ledger::{Hash, Receipt, VerifierKey, verify_consistency, verify_receipt};
use tonic::Code;

/// What a client keeps of a receipt: `docs/format.md` §7.4.
fn as_file(receipt: &pb::Receipt) -> Vec<u8> {
    let path: Vec<Hash> = receipt
        .inclusion_path
        .iter()
        .map(|hash| hash[..].try_into().expect("32 bytes"))
        .collect();
    let checkpoint = receipt.checkpoint.as_ref().expect("one").note.clone();
    Receipt {
        entry: receipt.entry.clone(),
        path,
        checkpoint,
    }
    .to_json()
    .into_bytes()
}

async fn newest(serving: &Serving) -> (pb::Checkpoint, VerifierKey) {
    let reply = serving
        .ledger("processor-b")
        .get_checkpoint(pb::GetCheckpointRequest {})
        .await
        .expect("a checkpoint")
        .into_inner();
    let key = VerifierKey::parse(&reply.verifier_key).expect("a key");
    (reply.checkpoint.expect("one"), key)
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_ones_own_acts_verify_and_others_are_not_given() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 9).await;
    let token = tokenize(&serving, &transaction).await;
    let (_, key) = newest(&serving).await;
    let keys = [key];

    let mut redemption = redemption(&transaction, &token);
    redemption.want_receipt = true;
    let released = serving
        .vault("processor-a")
        .redeem(redemption.clone())
        .await
        .expect("released")
        .into_inner();
    let receipt = released.receipt.expect("asked for");
    assert_eq!(receipt.index, released.entry_index);
    let file = as_file(&receipt);
    verify_receipt(&file, &keys).expect("the receipt verifies");
    assert!(receipt.entry.contains(&transaction));
    assert!(!receipt.entry.contains("4242424242424242"));
    // One changed byte, wherever it is, and it doesn't.
    for at in (0..file.len()).step_by(7) {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(verify_receipt(&changed, &keys).is_err(), "byte {at}");
    }
    let made = serving
        .vault("portal")
        .tokenize(pb::TokenizeRequest {
            request_id: request_id(),
            transaction: transaction.clone(),
            details: Some(card()),
            replaces: String::new(),
            want_receipt: true,
            sealed_details: String::new(),
        })
        .await
        .expect("a token")
        .into_inner();
    let file = as_file(made.receipt.as_ref().expect("asked for"));
    verify_receipt(&file, &keys).expect("the receipt verifies");

    // Later, to the one who acted, and to nobody else.
    let ask = async |who: &str, index: u64| {
        let request = pb::GetReceiptRequest { index };
        let reply = serving.ledger(who).get_receipt(request).await;
        reply.map(|reply| reply.into_inner().receipt.expect("one"))
    };
    let later = ask("processor-a", released.entry_index).await;
    verify_receipt(&as_file(&later.expect("one's own")), &keys).expect("it verifies");
    for who in ["processor-b", "portal"] {
        let refused = ask(who, released.entry_index).await;
        let refused = refused.expect_err("another's");
        assert_eq!(refused.code(), Code::NotFound, "{who}: {refused}");
        assert_eq!(reason(&refused), "NOT_TIED", "{who}");
    }
    // The entry of a refusal holds the true reason: not even who was refused gets it.
    let refused_at = serving.size() - 1;
    let entries = serving.entries();
    let last = entries.last().expect("one");
    assert_eq!(last.get("actor_name"), "portal");
    assert_eq!(last.get("reason"), "NOT_OWN_ENTRY");
    let refused = ask("portal", refused_at).await.expect_err("a refusal");
    assert_eq!(reason(&refused), "NOT_TIED");
    // An auditor exports; a receipt is for who acted.
    let session = serving.login("auditor").await.expect("a session");
    let index = released.entry_index;
    let request = with_session(pb::GetReceiptRequest { index }, &session);
    let refused = serving.ledger("auditor").get_receipt(request).await;
    assert_eq!(reason(&refused.expect_err("another's")), "NOT_TIED");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_checkpoint_that_was_given_is_a_prefix_of_the_next_across_restarts() {
    let mut serving = Serving::start().await;
    let mut given: Vec<(u64, Hash)> = Vec::new();
    let mut keys = Vec::new();
    for round in 0..6u32 {
        let transaction = open(&serving, 9).await;
        // With a receipt: it waits for a checkpoint that covers it.
        let token = tokenize(&serving, &transaction).await;
        for _ in 0..round * 20 {
            let mut stranger = serving.vault("processor-b");
            let refused = stranger.redeem(redemption(&transaction, &token)).await;
            refused.expect_err("a stranger");
        }
        let (checkpoint, key) = newest(&serving).await;
        let root: Hash = checkpoint.root[..].try_into().expect("32 bytes");
        given.push((checkpoint.size, root));
        keys.push(key.to_string());
        match round {
            1 => serving.restart().await,
            3 => serving.kill_and_restart().await,
            _ => {}
        }
    }
    keys.dedup();
    assert_eq!(keys.len(), 1, "one key all along");
    // The newest mark covers all of them.
    let transaction = open(&serving, 1).await;
    tokenize(&serving, &transaction).await;
    let (last, _) = newest(&serving).await;
    let root: Hash = last.root[..].try_into().expect("32 bytes");
    given.push((last.size, root));
    for (at, (from, old)) in given.iter().enumerate() {
        for (to, new) in &given[at..] {
            let path = serving
                .ledger("processor-b")
                .get_consistency_proof(pb::GetConsistencyProofRequest {
                    from_size: *from,
                    to_size: *to,
                })
                .await
                .expect("a proof")
                .into_inner()
                .path;
            let path: Vec<Hash> = path
                .iter()
                .map(|hash| hash[..].try_into().expect("32 bytes"))
                .collect();
            verify_consistency(*from, *to, old, new, &path).expect("it extends");
            let mut wrong = *old;
            wrong[0] ^= 1;
            assert!(verify_consistency(*from, *to, &wrong, new, &path).is_err());
        }
    }
    serving.stop().await;
}
