//! What is sent, and what the echo answers: messages of the same shape and size for both.

use payvault::api::proto as pb;
use payvault::ids;
use pb::payment_details::Kind;
use std::time::{Duration, SystemTime};

/// A number that is published for tests.
const NUMBER: &str = "4242424242424242";

fn card() -> pb::Card {
    pb::Card {
        number: NUMBER.to_owned(),
        expiry_month: 11,
        expiry_year: 2030,
        holder: "Saskia de Vries".to_owned(),
        security_code: String::new(),
        billing: None,
    }
}

fn details(card: pb::Card) -> pb::PaymentDetails {
    pb::PaymentDetails {
        kind: Some(Kind::Card(card)),
    }
}

fn request_id() -> Vec<u8> {
    ids::random::<16>().to_vec()
}

fn in_days(days: u64) -> Option<prost_types::Timestamp> {
    Some((SystemTime::now() + Duration::from_secs(days * 86_400)).into())
}

/// One party that may authorize and capture, as often as terms can say.
pub fn open(processor: &str) -> pb::OpenTransactionRequest {
    let grant = |purpose: pb::Purpose| pb::Grant {
        purpose: purpose.into(),
        fields: fields(),
        uses_max: payvault::limits::USES_MAX,
    };
    pb::OpenTransactionRequest {
        request_id: request_id(),
        terms: Some(pb::Terms {
            site: "nl".to_owned(),
            parties: vec![pb::Party {
                principal: processor.to_owned(),
                grants: vec![grant(pb::Purpose::Authorize), grant(pb::Purpose::Capture)],
            }],
            expires_at: in_days(1),
            release_until: in_days(20),
            amount: Some(pb::Amount {
                minor_units: 129_900,
                currency: "EUR".to_owned(),
            }),
            merchant: "m-100441".to_owned(),
            reference: "order-2026-118".to_owned(),
        }),
        want_receipt: false,
    }
}

/// A card without a security code: codes live in memory only and are bounded in number.
pub fn tokenize(transaction: &str) -> pb::TokenizeRequest {
    pb::TokenizeRequest {
        request_id: request_id(),
        transaction: transaction.to_owned(),
        details: Some(details(card())),
        ..pb::TokenizeRequest::default()
    }
}

fn fields() -> Vec<i32> {
    [pb::Field::Number, pb::Field::Expiry, pb::Field::Holder]
        .map(i32::from)
        .to_vec()
}

/// Number, expiry and holder, to authorize.
pub fn redeem(transaction: &str, token: &str) -> pb::RedeemRequest {
    pb::RedeemRequest {
        request_id: request_id(),
        transaction: transaction.to_owned(),
        token: token.to_owned(),
        purpose: pb::Purpose::Authorize.into(),
        fields: fields(),
        want_receipt: false,
    }
}

/// A look at a token.
pub fn describe(transaction: &str, token: &str) -> pb::DescribeTokenRequest {
    pb::DescribeTokenRequest {
        transaction: transaction.to_owned(),
        token: token.to_owned(),
    }
}

/// A transaction's name and a token's, for a server that doesn't look at them.
pub fn made_up() -> (String, String) {
    (
        format!("txn_{}", ids::letters(&ids::random::<16>())),
        format!("pvt_a{}", ids::letters(&ids::random::<36>())),
    )
}

fn masked() -> Option<pb::MaskedDetails> {
    Some(pb::MaskedDetails {
        kind: pb::DetailsKind::Card.into(),
        masked_number: "424242******4242".to_owned(),
        brand: "visa".to_owned(),
        ..pb::MaskedDetails::default()
    })
}

/// What the echo says to `OpenTransaction`.
pub fn opened() -> pb::OpenTransactionResponse {
    pb::OpenTransactionResponse {
        transaction: made_up().0,
        entry_index: 1 << 20,
        receipt: None,
    }
}

/// What the echo says to `Tokenize`.
pub fn tokenized() -> pb::TokenizeResponse {
    pb::TokenizeResponse {
        token: made_up().1,
        reference: format!("tkr_{}", "a".repeat(32)),
        details: masked(),
        entry_index: 1 << 20,
        replayed: false,
        receipt: None,
        fingerprint: None,
    }
}

/// What the echo says to `Redeem`.
pub fn redeemed() -> pb::RedeemResponse {
    pb::RedeemResponse {
        details: Some(details(card())),
        last_four: "4242".to_owned(),
        uses_remaining: 99,
        entry_index: 1 << 20,
        ..pb::RedeemResponse::default()
    }
}

/// What the echo says to `DescribeToken`.
pub fn described() -> pb::DescribeTokenResponse {
    pb::DescribeTokenResponse {
        details: masked(),
        reference: format!("tkr_{}", "a".repeat(32)),
        revoked: false,
        state: pb::TransactionState::Open.into(),
        release_until: in_days(20),
        uses_remaining: [pb::Purpose::Authorize, pb::Purpose::Capture]
            .map(|purpose| pb::UsesRemaining {
                purpose: purpose.into(),
                count: 99,
            })
            .to_vec(),
        fingerprint: None,
    }
}
