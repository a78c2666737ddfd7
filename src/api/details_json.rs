//! Payment details as JSON has them: what a person's program hands in, and what lies inside of
//! sealed details (`docs/format.md` §10.3). An unknown member is refused, and no error repeats a
//! value.

mod write;

pub use write::write;

use super::proto;
use proto::payment_details::Kind;
use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Exactly one kind. No `Debug`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum Given {
    #[serde(rename = "card")]
    Card(GivenCard),
    #[serde(rename = "iban")]
    Iban(GivenIban),
    #[serde(rename = "us_account")]
    UsAccount(GivenUsAccount),
    #[serde(rename = "uk_account")]
    UkAccount(GivenUkAccount),
    #[serde(rename = "se_account")]
    SeAccount(GivenSeAccount),
    #[serde(rename = "bankgiro")]
    Bankgiro(GivenGiro),
    #[serde(rename = "plusgiro")]
    Plusgiro(GivenGiro),
    #[serde(rename = "dk_account")]
    DkAccount(GivenDkAccount),
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenCard {
    number: String,
    expiry_month: i32,
    expiry_year: i32,
    #[serde(default)]
    holder: String,
    #[serde(default)]
    security_code: String,
    #[serde(default)]
    billing: Option<GivenBilling>,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenBilling {
    #[serde(default)]
    postal_code: String,
    #[serde(default)]
    address_line: String,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenIban {
    iban: String,
    holder: String,
    #[serde(default)]
    bic: String,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenUsAccount {
    routing_number: String,
    account_number: String,
    holder: String,
    #[zeroize(skip)]
    account_type: AccountType,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenUkAccount {
    sort_code: String,
    account_number: String,
    holder: String,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenSeAccount {
    clearing_number: String,
    account_number: String,
    holder: String,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenGiro {
    number: String,
    holder: String,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenDkAccount {
    reg_number: String,
    account_number: String,
    holder: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum AccountType {
    Checking,
    Savings,
}

/// Where a text stops being payment details. serde's own message would repeat values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotDetails {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// Reads payment details.
///
/// # Errors
/// [`NotDetails`].
pub fn parse(text: &[u8]) -> Result<proto::PaymentDetails, NotDetails> {
    let given: Given = serde_json::from_slice(text).map_err(|error| NotDetails {
        line: error.line(),
        column: error.column(),
    })?;
    let kind = match given {
        Given::Card(mut card) => Kind::Card(proto::Card {
            number: std::mem::take(&mut card.number),
            expiry_month: card.expiry_month,
            expiry_year: card.expiry_year,
            holder: std::mem::take(&mut card.holder),
            security_code: std::mem::take(&mut card.security_code),
            billing: card.billing.as_mut().map(|billing| proto::Billing {
                postal_code: std::mem::take(&mut billing.postal_code),
                address_line: std::mem::take(&mut billing.address_line),
            }),
        }),
        Given::Iban(mut iban) => Kind::Iban(proto::IbanAccount {
            iban: std::mem::take(&mut iban.iban),
            holder: std::mem::take(&mut iban.holder),
            bic: std::mem::take(&mut iban.bic),
        }),
        Given::UsAccount(mut account) => Kind::UsAccount(proto::UsAccount {
            routing_number: std::mem::take(&mut account.routing_number),
            account_number: std::mem::take(&mut account.account_number),
            holder: std::mem::take(&mut account.holder),
            account_type: match account.account_type {
                AccountType::Checking => proto::UsAccountType::Checking.into(),
                AccountType::Savings => proto::UsAccountType::Savings.into(),
            },
        }),
        Given::UkAccount(mut account) => Kind::UkAccount(proto::UkAccount {
            sort_code: std::mem::take(&mut account.sort_code),
            account_number: std::mem::take(&mut account.account_number),
            holder: std::mem::take(&mut account.holder),
        }),
        Given::SeAccount(mut account) => Kind::SeAccount(proto::SeAccount {
            clearing_number: std::mem::take(&mut account.clearing_number),
            account_number: std::mem::take(&mut account.account_number),
            holder: std::mem::take(&mut account.holder),
        }),
        Given::Bankgiro(mut giro) => Kind::Bankgiro(proto::Bankgiro {
            number: std::mem::take(&mut giro.number),
            holder: std::mem::take(&mut giro.holder),
        }),
        Given::Plusgiro(mut giro) => Kind::Plusgiro(proto::Plusgiro {
            number: std::mem::take(&mut giro.number),
            holder: std::mem::take(&mut giro.holder),
        }),
        Given::DkAccount(mut account) => Kind::DkAccount(proto::DkAccount {
            reg_number: std::mem::take(&mut account.reg_number),
            account_number: std::mem::take(&mut account.account_number),
            holder: std::mem::take(&mut account.holder),
        }),
    };
    Ok(proto::PaymentDetails { kind: Some(kind) })
}
