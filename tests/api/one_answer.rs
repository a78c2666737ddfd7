//! Whoever is not tied gets one answer, the same to the byte, whatever the reason is.

use crate::house::Serving;
use crate::road::{open, redemption, tokenize};
use crate::wire::{Seen, call, reason};
use payvault::api::proto as pb;
use payvault::ids::TransactionId;
use payvault::payment::Token;
use payvault::policy::Rpc;
use prost::Message;
use tonic::Code;

/// A token whose first half is known and whose second is not.
fn wrong_secret(token: &str) -> String {
    let mut parts = *Token::parse(token).expect("a token").parts();
    parts[31] ^= 1;
    Token::from_parts(&parts).to_text().expose().to_owned()
}

fn body(rpc: Rpc, transaction: &str, token: &str) -> Vec<u8> {
    let (transaction, token) = (transaction.to_owned(), token.to_owned());
    match rpc {
        Rpc::Redeem => redemption(&transaction, &token).encode_to_vec(),
        Rpc::DescribeToken => pb::DescribeTokenRequest { transaction, token }.encode_to_vec(),
        Rpc::RevokeToken => pb::RevokeTokenRequest { transaction, token }.encode_to_vec(),
        Rpc::CloseTransaction => pb::CloseTransactionRequest { transaction }.encode_to_vec(),
        Rpc::GetTransaction => pb::GetTransactionRequest { transaction }.encode_to_vec(),
        Rpc::ReportOutcome => pb::ReportOutcomeRequest {
            request_id: crate::house::request_id(),
            transaction,
            token,
            outcome: pb::Outcome::Declined.into(),
            processor_reference: "ref 1".to_owned(),
        }
        .encode_to_vec(),
        Rpc::Tokenize => pb::TokenizeRequest {
            request_id: crate::house::request_id(),
            transaction,
            details: Some(crate::road::card()),
            replaces: token,
            want_receipt: false,
            sealed_details: String::new(),
        }
        .encode_to_vec(),
        other => panic!("{} is not asked here", other.name()),
    }
}

/// What there is, and what happened to it.
struct Things {
    own: (String, String),
    live: (String, String),
    revoked: (String, String),
    closed: (String, String),
}

#[tokio::test(flavor = "multi_thread")]
async fn to_whoever_is_not_tied_every_answer_is_one() {
    let mut serving = Serving::start().await;
    let mut made = Vec::new();
    for _ in 0..4 {
        let transaction = open(&serving, 5).await;
        let token = tokenize(&serving, &transaction).await;
        made.push((transaction, token));
    }
    let closed = made.pop().expect("four");
    let revoked = made.pop().expect("three");
    let live = made.pop().expect("two");
    let own = made.pop().expect("one");
    let portal = serving.people["portal"].channel.clone();
    let revoke = body(Rpc::RevokeToken, &revoked.0, &revoked.1);
    call(&portal, Rpc::RevokeToken.path(), revoke, None)
        .await
        .expect("revoked");
    let close = body(Rpc::CloseTransaction, &closed.0, "");
    call(&portal, Rpc::CloseTransaction.path(), close, None)
        .await
        .expect("closed");
    let things = Things {
        own,
        live,
        revoked,
        closed,
    };

    let made_up = Token::random().to_text().expose().to_owned();
    let nowhere = TransactionId::random().to_string();
    let things = &things;
    // To strangers: everything.
    let strange = |token_too: bool| -> Vec<(String, String)> {
        let mut rows = vec![
            (nowhere.clone(), things.live.1.clone()),
            (nowhere.clone(), made_up.clone()),
            things.live.clone(),
            things.revoked.clone(),
            things.closed.clone(),
        ];
        if token_too {
            rows.push((things.live.0.clone(), made_up.clone()));
            rows.push((things.live.0.clone(), wrong_secret(&things.live.1)));
            rows.push((things.closed.0.clone(), wrong_secret(&things.closed.1)));
            rows.push((things.live.0.clone(), things.revoked.1.clone()));
        }
        rows
    };
    // To the tied: what they are not tied to.
    let tied = vec![
        (nowhere.clone(), things.own.1.clone()),
        (things.own.0.clone(), made_up.clone()),
        (things.own.0.clone(), wrong_secret(&things.own.1)),
        (things.own.0.clone(), things.live.1.clone()),
    ];
    let calls = [
        ("processor-b", Rpc::Redeem, strange(true)),
        ("processor-b", Rpc::ReportOutcome, strange(true)),
        ("processor-b", Rpc::DescribeToken, strange(true)),
        ("processor-b", Rpc::GetTransaction, strange(false)),
        ("portal-2", Rpc::DescribeToken, strange(true)),
        ("portal-2", Rpc::RevokeToken, strange(true)),
        ("portal-2", Rpc::Tokenize, strange(true)),
        ("portal-2", Rpc::CloseTransaction, strange(false)),
        ("portal-2", Rpc::GetTransaction, strange(false)),
        ("processor-a", Rpc::Redeem, tied.clone()),
        ("processor-a", Rpc::ReportOutcome, tied.clone()),
        ("processor-a", Rpc::DescribeToken, tied.clone()),
        ("portal", Rpc::DescribeToken, tied.clone()),
        ("portal", Rpc::RevokeToken, tied.clone()),
        ("portal", Rpc::Tokenize, tied),
    ];
    let mut first: Option<Seen> = None;
    let mut asked = 0;
    let mut size = serving.size();
    for (who, rpc, rows) in calls {
        for (number, (transaction, token)) in rows.iter().enumerate() {
            let name = format!("{who}: {}, row {number}", rpc.name());
            let request = body(rpc, transaction, token);
            let channel = &serving.people[who].channel;
            let refused = call(channel, rpc.path(), request, None)
                .await
                .err()
                .unwrap_or_else(|| panic!("{name} is answered"));
            assert_eq!(refused.code(), Code::NotFound, "{name}: {refused}");
            assert_eq!(reason(&refused), "NOT_TIED", "{name}");
            let seen = Seen::of(&refused);
            match &first {
                None => first = Some(seen),
                Some(first) => assert_eq!(*first, seen, "{name}"),
            }
            asked += 1;
            size += 1;
            assert_eq!(serving.size(), size, "{name}: one entry");
        }
    }
    // Another's entry, and none.
    for index in [0, size + 1_000, u64::MAX] {
        let channel = &serving.people["processor-b"].channel;
        let request = pb::GetReceiptRequest { index }.encode_to_vec();
        let refused = call(channel, Rpc::GetReceipt.path(), request, None)
            .await
            .expect_err("another's entry");
        assert_eq!(first.as_ref(), Some(&Seen::of(&refused)), "entry {index}");
    }

    // The ledger has the true reasons, all kinds of them.
    let entries = serving.entries();
    let reasons: std::collections::BTreeSet<&str> = entries
        .iter()
        .filter(|e| e.get("outcome") == "denied")
        .map(|e| e.get("reason"))
        .collect();
    let all = [
        "NOT_A_PARTY",
        "NOT_OWNER",
        "NOT_OWN_ENTRY",
        "UNKNOWN_TOKEN",
        "UNKNOWN_TRANSACTION",
        "WRONG_SECRET",
    ];
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), all);
    let denied = entries.iter().filter(|e| e.get("outcome") == "denied");
    assert_eq!(denied.count(), asked + 3);
    serving.stop().await;
}
