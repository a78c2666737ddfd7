//! Payment details as JSON has them: what a person's program hands in, and what lies inside of
//! sealed details (`docs/format.md` §10.3). An unknown member is refused, and no error repeats a
//! value.

mod write;

pub use write::write;

use super::proto;
use proto::payment_details::Kind;
use serde::{Deserialize, Deserializer};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A string that is wiped wherever it is dropped: serde drops what it has read when the rest is
/// malformed, and a plain `String` would stay in memory then.
#[derive(Default, Zeroize)]
struct Text(Zeroizing<String>);

impl Text {
    fn take(&mut self) -> String {
        std::mem::take(&mut *self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text, D::Error> {
        String::deserialize(from).map(|text| Text(Zeroizing::new(text)))
    }
}

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
    number: Text,
    expiry_month: i32,
    expiry_year: i32,
    #[serde(default)]
    holder: Text,
    #[serde(default)]
    security_code: Text,
    #[serde(default)]
    billing: Option<GivenBilling>,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenBilling {
    #[serde(default)]
    postal_code: Text,
    #[serde(default)]
    address_line: Text,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenIban {
    iban: Text,
    holder: Text,
    #[serde(default)]
    bic: Text,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenUsAccount {
    routing_number: Text,
    account_number: Text,
    holder: Text,
    #[zeroize(skip)]
    account_type: AccountType,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenUkAccount {
    sort_code: Text,
    account_number: Text,
    holder: Text,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenSeAccount {
    clearing_number: Text,
    account_number: Text,
    holder: Text,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenGiro {
    number: Text,
    holder: Text,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct GivenDkAccount {
    reg_number: Text,
    account_number: Text,
    holder: Text,
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
            number: card.number.take(),
            expiry_month: card.expiry_month,
            expiry_year: card.expiry_year,
            holder: card.holder.take(),
            security_code: card.security_code.take(),
            billing: card.billing.as_mut().map(|billing| proto::Billing {
                postal_code: billing.postal_code.take(),
                address_line: billing.address_line.take(),
            }),
        }),
        Given::Iban(mut iban) => Kind::Iban(proto::IbanAccount {
            iban: iban.iban.take(),
            holder: iban.holder.take(),
            bic: iban.bic.take(),
        }),
        Given::UsAccount(mut account) => Kind::UsAccount(proto::UsAccount {
            routing_number: account.routing_number.take(),
            account_number: account.account_number.take(),
            holder: account.holder.take(),
            account_type: match account.account_type {
                AccountType::Checking => proto::UsAccountType::Checking.into(),
                AccountType::Savings => proto::UsAccountType::Savings.into(),
            },
        }),
        Given::UkAccount(mut account) => Kind::UkAccount(proto::UkAccount {
            sort_code: account.sort_code.take(),
            account_number: account.account_number.take(),
            holder: account.holder.take(),
        }),
        Given::SeAccount(mut account) => Kind::SeAccount(proto::SeAccount {
            clearing_number: account.clearing_number.take(),
            account_number: account.account_number.take(),
            holder: account.holder.take(),
        }),
        Given::Bankgiro(mut giro) => Kind::Bankgiro(proto::Bankgiro {
            number: giro.number.take(),
            holder: giro.holder.take(),
        }),
        Given::Plusgiro(mut giro) => Kind::Plusgiro(proto::Plusgiro {
            number: giro.number.take(),
            holder: giro.holder.take(),
        }),
        Given::DkAccount(mut account) => Kind::DkAccount(proto::DkAccount {
            reg_number: account.reg_number.take(),
            account_number: account.account_number.take(),
            holder: account.holder.take(),
        }),
    };
    Ok(proto::PaymentDetails { kind: Some(kind) })
}
