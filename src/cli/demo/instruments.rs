//! The five instruments that are entered: numbers that card schemes and banks publish for tests.

use crate::api::proto;
use proto::payment_details::Kind;

/// An instrument and what is done with it.
pub struct Instrument {
    /// Which of the three transactions it belongs to.
    pub transaction: usize,
    /// What it is, in words.
    pub name: &'static str,
    /// What is entered.
    pub details: proto::PaymentDetails,
    /// What its processor asks for it.
    pub purpose: proto::Purpose,
    /// Which fields: all that it has.
    pub fields: &'static [proto::Field],
    /// Whether the first processor redeems it; otherwise the second.
    pub by_first: bool,
}

const CARD: &[proto::Field] = &[
    proto::Field::Number,
    proto::Field::Expiry,
    proto::Field::Holder,
    proto::Field::SecurityCode,
    proto::Field::Billing,
];
const ACCOUNT: &[proto::Field] = &[proto::Field::Number, proto::Field::Holder];

/// All five, for cards that expire in `expiry_year`.
pub fn all(expiry_year: i32) -> [Instrument; 5] {
    let card = |number: &str, holder: &str, code: &str| proto::Card {
        number: number.to_owned(),
        expiry_month: 11,
        expiry_year,
        holder: holder.to_owned(),
        security_code: code.to_owned(),
        billing: Some(proto::Billing {
            postal_code: "1017 XJ".to_owned(),
            address_line: "Herengracht 182".to_owned(),
        }),
    };
    let details = |kind| proto::PaymentDetails { kind: Some(kind) };
    let iban = |iban: &str, holder: &str| {
        details(Kind::Iban(proto::IbanAccount {
            iban: iban.to_owned(),
            holder: holder.to_owned(),
            bic: String::new(),
        }))
    };
    [
        Instrument {
            transaction: 0,
            name: "a Visa card",
            details: details(Kind::Card(card(
                "4242424242424242",
                "Saskia de Vries",
                "737",
            ))),
            purpose: proto::Purpose::Authorize,
            fields: CARD,
            by_first: true,
        },
        Instrument {
            transaction: 0,
            name: "a Dutch IBAN",
            details: iban("NL91ABNA0417164300", "Saskia de Vries"),
            purpose: proto::Purpose::Verify,
            fields: ACCOUNT,
            by_first: false,
        },
        Instrument {
            transaction: 1,
            name: "a Mastercard",
            details: details(Kind::Card(card("5555555555554444", "Harold Finch", "123"))),
            purpose: proto::Purpose::Authorize,
            fields: CARD,
            by_first: true,
        },
        Instrument {
            transaction: 1,
            name: "a British IBAN",
            details: iban("GB29NWBK60161331926819", "Harold Finch"),
            purpose: proto::Purpose::Verify,
            fields: ACCOUNT,
            by_first: false,
        },
        Instrument {
            transaction: 2,
            name: "a US account",
            details: details(Kind::UsAccount(proto::UsAccount {
                routing_number: "021000021".to_owned(),
                account_number: "123456789".to_owned(),
                holder: "Root Tools LLC".to_owned(),
                account_type: proto::UsAccountType::Checking.into(),
            })),
            purpose: proto::Purpose::Payout,
            fields: ACCOUNT,
            by_first: false,
        },
    ]
}

/// What the demonstration must never show nor find in an export. A routing number names a bank and
/// is public.
pub fn numbers(details: &proto::PaymentDetails) -> Vec<&str> {
    match &details.kind {
        Some(Kind::Card(card)) => vec![&card.number, &card.holder],
        Some(Kind::Iban(iban)) => vec![&iban.iban, &iban.holder],
        Some(Kind::UsAccount(account)) => vec![&account.account_number, &account.holder],
        Some(Kind::UkAccount(account)) => vec![&account.account_number, &account.holder],
        Some(Kind::SeAccount(account)) => vec![&account.account_number, &account.holder],
        Some(Kind::Bankgiro(giro)) => vec![&giro.number, &giro.holder],
        Some(Kind::Plusgiro(giro)) => vec![&giro.number, &giro.holder],
        Some(Kind::DkAccount(account)) => vec![&account.account_number, &account.holder],
        None => Vec::new(),
    }
}
