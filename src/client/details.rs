//! Payment details as they are handed in, and as they come back: then with the fields that were asked
//! for only. Nothing is checked here; the vault does. Empty text stands for a field that isn't there.
//!
//! No type here has `Debug`, `Clone` or serialization, and all text is wiped when it is dropped.

use super::error::ClientError;
use crate::api::proto as pb;
use crate::payment::{Expiry, UsAccountType};
use crate::secret::SecretText;
use pb::payment_details::Kind;
use std::mem::take;

/// One payment instrument.
pub enum Details {
    /// A payment card.
    Card(Card),
    /// A bank account named by its IBAN.
    Iban(Iban),
    /// A bank account in the United States.
    UsAccount(UsAccount),
    /// A bank account in the United Kingdom.
    UkAccount(UkAccount),
    /// A bank account in Sweden.
    SeAccount(SeAccount),
    /// A Swedish bankgiro.
    Bankgiro(Giro),
    /// A Swedish plusgiro.
    Plusgiro(Giro),
    /// A bank account in Denmark.
    DkAccount(DkAccount),
}

/// A payment card.
#[derive(Default)]
pub struct Card {
    /// 12 to 19 digits, in groups if you like.
    pub number: SecretText,
    /// Month of expiry. Required when it is handed in.
    pub expiry: Option<Expiry>,
    /// Name as on the card.
    pub holder: SecretText,
    /// Security code. Kept in memory only, and given out once.
    pub security_code: SecretText,
    /// Billing postcode.
    pub postal_code: SecretText,
    /// Billing address line.
    pub address_line: SecretText,
}

/// A bank account named by its IBAN.
#[derive(Default)]
pub struct Iban {
    /// The IBAN, in groups if you like.
    pub iban: SecretText,
    /// Account holder. Required when it is handed in.
    pub holder: SecretText,
    /// Code of the bank (BIC); optional.
    pub bic: SecretText,
}

/// A bank account in the United States.
#[derive(Default)]
pub struct UsAccount {
    /// ABA routing number: 9 digits.
    pub routing_number: SecretText,
    /// Account number: 4 to 17 digits.
    pub account_number: SecretText,
    /// Account holder. Required when it is handed in.
    pub holder: SecretText,
    /// Checking or savings. Required when it is handed in.
    pub account_type: Option<UsAccountType>,
}

/// A bank account in the United Kingdom.
#[derive(Default)]
pub struct UkAccount {
    /// Sort code: 6 digits.
    pub sort_code: SecretText,
    /// Account number: 8 digits.
    pub account_number: SecretText,
    /// Account holder. Required when it is handed in.
    pub holder: SecretText,
}

/// A bank account in Sweden.
#[derive(Default)]
pub struct SeAccount {
    /// Clearing number: 4 or 5 digits.
    pub clearing_number: SecretText,
    /// Account number, without the clearing number.
    pub account_number: SecretText,
    /// Account holder. Required when it is handed in.
    pub holder: SecretText,
}

/// A Swedish bankgiro or plusgiro.
#[derive(Default)]
pub struct Giro {
    /// The number.
    pub number: SecretText,
    /// Account holder. Required when it is handed in.
    pub holder: SecretText,
}

/// A bank account in Denmark.
#[derive(Default)]
pub struct DkAccount {
    /// Registration number: 4 digits.
    pub reg_number: SecretText,
    /// Account number: 1 to 10 digits.
    pub account_number: SecretText,
    /// Account holder. Required when it is handed in.
    pub holder: SecretText,
}

impl Details {
    /// The contract's message: its strings are wiped when it is dropped.
    pub(super) fn message(&self) -> pb::PaymentDetails {
        let own = |text: &SecretText| text.expose().to_owned();
        let kind = match self {
            Details::Card(card) => Kind::Card(pb::Card {
                number: own(&card.number),
                expiry_month: card.expiry.map_or(0, |expiry| expiry.month.into()),
                expiry_year: card.expiry.map_or(0, |expiry| expiry.year.into()),
                holder: own(&card.holder),
                security_code: own(&card.security_code),
                billing: (!card.postal_code.is_empty() || !card.address_line.is_empty()).then(
                    || pb::Billing {
                        postal_code: own(&card.postal_code),
                        address_line: own(&card.address_line),
                    },
                ),
            }),
            Details::Iban(account) => Kind::Iban(pb::IbanAccount {
                iban: own(&account.iban),
                holder: own(&account.holder),
                bic: own(&account.bic),
            }),
            Details::UsAccount(account) => Kind::UsAccount(pb::UsAccount {
                routing_number: own(&account.routing_number),
                account_number: own(&account.account_number),
                holder: own(&account.holder),
                account_type: account.account_type.map_or(0, |ty| ty.as_u8().into()),
            }),
            Details::UkAccount(account) => Kind::UkAccount(pb::UkAccount {
                sort_code: own(&account.sort_code),
                account_number: own(&account.account_number),
                holder: own(&account.holder),
            }),
            Details::SeAccount(account) => Kind::SeAccount(pb::SeAccount {
                clearing_number: own(&account.clearing_number),
                account_number: own(&account.account_number),
                holder: own(&account.holder),
            }),
            Details::Bankgiro(giro) => Kind::Bankgiro(pb::Bankgiro {
                number: own(&giro.number),
                holder: own(&giro.holder),
            }),
            Details::Plusgiro(giro) => Kind::Plusgiro(pb::Plusgiro {
                number: own(&giro.number),
                holder: own(&giro.holder),
            }),
            Details::DkAccount(account) => Kind::DkAccount(pb::DkAccount {
                reg_number: own(&account.reg_number),
                account_number: own(&account.account_number),
                holder: own(&account.holder),
            }),
        };
        pb::PaymentDetails { kind: Some(kind) }
    }

    /// What a redemption released. The message's strings are taken over.
    pub(super) fn of_message(message: Option<pb::PaymentDetails>) -> Result<Details, ClientError> {
        let kind = message
            .and_then(|details| details.kind)
            .ok_or(ClientError::Answer("details of a kind that isn't known"))?;
        let secret = |text: &mut String| SecretText::new(take(text));
        Ok(match kind {
            Kind::Card(mut card) => {
                let mut billing = card.billing.take().unwrap_or_default();
                Details::Card(Card {
                    number: secret(&mut card.number),
                    expiry: expiry(card.expiry_year, card.expiry_month)?,
                    holder: secret(&mut card.holder),
                    security_code: secret(&mut card.security_code),
                    postal_code: secret(&mut billing.postal_code),
                    address_line: secret(&mut billing.address_line),
                })
            }
            Kind::Iban(mut account) => Details::Iban(Iban {
                iban: secret(&mut account.iban),
                holder: secret(&mut account.holder),
                bic: secret(&mut account.bic),
            }),
            Kind::UsAccount(mut account) => Details::UsAccount(UsAccount {
                routing_number: secret(&mut account.routing_number),
                account_number: secret(&mut account.account_number),
                holder: secret(&mut account.holder),
                account_type: u8::try_from(account.account_type)
                    .ok()
                    .and_then(|byte| UsAccountType::from_u8(byte).ok()),
            }),
            Kind::UkAccount(mut account) => Details::UkAccount(UkAccount {
                sort_code: secret(&mut account.sort_code),
                account_number: secret(&mut account.account_number),
                holder: secret(&mut account.holder),
            }),
            Kind::SeAccount(mut account) => Details::SeAccount(SeAccount {
                clearing_number: secret(&mut account.clearing_number),
                account_number: secret(&mut account.account_number),
                holder: secret(&mut account.holder),
            }),
            Kind::Bankgiro(mut giro) => Details::Bankgiro(Giro {
                number: secret(&mut giro.number),
                holder: secret(&mut giro.holder),
            }),
            Kind::Plusgiro(mut giro) => Details::Plusgiro(Giro {
                number: secret(&mut giro.number),
                holder: secret(&mut giro.holder),
            }),
            Kind::DkAccount(mut account) => Details::DkAccount(DkAccount {
                reg_number: secret(&mut account.reg_number),
                account_number: secret(&mut account.account_number),
                holder: secret(&mut account.holder),
            }),
        })
    }
}

/// Zero stands for a month that wasn't released.
fn expiry(year: i32, month: i32) -> Result<Option<Expiry>, ClientError> {
    if (year, month) == (0, 0) {
        return Ok(None);
    }
    let parts = u16::try_from(year).ok().zip(u8::try_from(month).ok());
    let (year, month) = parts.ok_or(ClientError::Answer("a card's expiry is no month"))?;
    Ok(Some(Expiry { year, month }))
}
