//! The road, over the wire: what is entered is what a tied party gets, and nobody else.

use crate::house::{Serving, request_id};
use payvault::api::proto as pb;
use payvault::ledger::{VerifierKey, verify_export};
use pb::payment_details::Kind;
use tonic::Code;
use tonic_types::StatusExt;

pub fn in_days(days: i64) -> Option<prost_types::Timestamp> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    Some(prost_types::Timestamp {
        seconds: now.as_secs() as i64 + days * 86_400,
        nanos: 0,
    })
}

pub fn grant(purpose: pb::Purpose, fields: &[pb::Field], uses_max: u32) -> pb::Grant {
    pb::Grant {
        purpose: purpose.into(),
        fields: fields.iter().map(|f| (*f).into()).collect(),
        uses_max,
    }
}

pub fn terms(parties: Vec<pb::Party>) -> pb::Terms {
    pb::Terms {
        site: "nl".to_owned(),
        parties,
        expires_at: in_days(1),
        release_until: in_days(7),
        amount: Some(pb::Amount {
            minor_units: 1_999,
            currency: "EUR".to_owned(),
        }),
        merchant: "m-1".to_owned(),
        reference: "order 7".to_owned(),
    }
}

pub fn card() -> pb::PaymentDetails {
    pb::PaymentDetails {
        kind: Some(Kind::Card(pb::Card {
            number: "4242424242424242".to_owned(),
            expiry_month: 12,
            expiry_year: 2030,
            holder: "A. de Vries".to_owned(),
            security_code: "123".to_owned(),
            billing: None,
        })),
    }
}

pub fn party(serving: &Serving, who: &str, uses_max: u32) -> pb::Party {
    use pb::Field::{Expiry, Holder, LastFour, Number, SecurityCode};
    pb::Party {
        principal: serving.id(who),
        grants: vec![
            grant(
                pb::Purpose::Authorize,
                &[Number, Expiry, Holder, LastFour, SecurityCode],
                uses_max,
            ),
            grant(pb::Purpose::Refund, &[LastFour], uses_max),
        ],
    }
}

pub async fn open(serving: &Serving, uses_max: u32) -> String {
    let parties = vec![party(serving, "processor-a", uses_max)];
    let reply = serving
        .vault("portal")
        .open_transaction(pb::OpenTransactionRequest {
            request_id: request_id(),
            terms: Some(terms(parties)),
            want_receipt: false,
        })
        .await
        .expect("a transaction opens");
    reply.into_inner().transaction
}

pub async fn tokenize(serving: &Serving, transaction: &str) -> String {
    let reply = serving
        .vault("portal")
        .tokenize(pb::TokenizeRequest {
            request_id: request_id(),
            transaction: transaction.to_owned(),
            details: Some(card()),
            replaces: String::new(),
            want_receipt: true,
            sealed_details: String::new(),
        })
        .await
        .expect("a token")
        .into_inner();
    assert!(reply.receipt.is_some());
    reply.token.clone()
}

pub fn redemption(transaction: &str, token: &str) -> pb::RedeemRequest {
    pb::RedeemRequest {
        request_id: request_id(),
        transaction: transaction.to_owned(),
        token: token.to_owned(),
        purpose: pb::Purpose::Authorize.into(),
        fields: vec![pb::Field::Number.into(), pb::Field::SecurityCode.into()],
        want_receipt: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_entered_is_what_a_party_gets_and_nobody_else() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 2).await;
    let token = tokenize(&serving, &transaction).await;

    let released = serving
        .vault("processor-a")
        .redeem(redemption(&transaction, &token))
        .await
        .expect("a party redeems")
        .into_inner();
    let Some(Kind::Card(given)) = released.details.and_then(|d| d.kind) else {
        panic!("not a card");
    };
    assert_eq!(given.number, "4242424242424242");
    assert_eq!(given.security_code, "123");
    assert_eq!(given.holder, "", "it was not asked for");
    assert_eq!(released.uses_remaining, 1);

    let foreign = serving
        .vault("processor-b")
        .redeem(redemption(&transaction, &token))
        .await
        .expect_err("a stranger");
    assert_eq!(foreign.code(), Code::NotFound);
    let made_up = payvault::payment::Token::random().to_text();
    for who in ["processor-a", "processor-b"] {
        let unknown = serving
            .vault(who)
            .redeem(redemption(&transaction, made_up.expose()))
            .await
            .expect_err("a made-up token");
        assert_eq!(unknown.message(), foreign.message());
        assert_eq!(unknown.details(), foreign.details());
    }
    for who in ["portal", "auditor", "operator"] {
        let refused = serving
            .vault(who)
            .redeem(redemption(&transaction, &token))
            .await
            .expect_err("the wrong role");
        assert_eq!(refused.code(), Code::PermissionDenied, "{who}");
        let reason = refused.get_details_error_info().map(|info| info.reason);
        assert_eq!(reason.as_deref(), Some("ROLE_NOT_ALLOWED"));
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_verifies_and_a_changed_copy_does_not() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 2).await;
    let token = tokenize(&serving, &transaction).await;
    serving
        .vault("processor-a")
        .redeem(redemption(&transaction, &token))
        .await
        .expect("a party redeems");
    let export = serving.export().await;
    let checkpoint = serving
        .ledger("portal")
        .get_checkpoint(pb::GetCheckpointRequest {})
        .await
        .expect("a checkpoint")
        .into_inner();
    let key = VerifierKey::parse(&checkpoint.verifier_key).expect("a key");
    let keys = std::slice::from_ref(&key);
    let report = verify_export(&export[..], keys).expect("it verifies");
    assert!(report.open > 40, "{report}");

    let lines: Vec<&[u8]> = export.split_inclusive(|b| *b == b'\n').collect();
    let mut flipped = export.clone();
    let at = lines[..7].concat().len() + 60;
    flipped[at] ^= 1;
    assert_eq!(
        verify_export(&flipped[..], keys).expect_err("flipped").line,
        8
    );
    let removed = [lines[..7].concat(), lines[8..].concat()].concat();
    assert_eq!(
        verify_export(&removed[..], keys).expect_err("removed").line,
        8
    );
    let cut = lines[..9].concat();
    assert_eq!(verify_export(&cut[..], keys).expect_err("cut").line, 10);
    serving.stop().await;
}
