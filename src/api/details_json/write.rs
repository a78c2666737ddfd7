//! The other direction: payment details as JSON, for whoever seals them. What is empty is left out.

use crate::api::proto::{self, payment_details::Kind};
use crate::limits::SEALED_PLAINTEXT_BYTES_MAX;
use crate::secret::SecretBuffer;
use serde::Serialize;
use std::io::Cursor;
use zeroize::Zeroizing;

/// Borrows from the message, so that no text is copied but into the buffer that is wiped.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Taken<'a> {
    Card {
        number: &'a str,
        expiry_month: i32,
        expiry_year: i32,
        #[serde(skip_serializing_if = "str::is_empty")]
        holder: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        security_code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        billing: Option<TakenBilling<'a>>,
    },
    Iban {
        iban: &'a str,
        holder: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        bic: &'a str,
    },
    UsAccount {
        routing_number: &'a str,
        account_number: &'a str,
        holder: &'a str,
        account_type: &'static str,
    },
    UkAccount {
        sort_code: &'a str,
        account_number: &'a str,
        holder: &'a str,
    },
    SeAccount {
        clearing_number: &'a str,
        account_number: &'a str,
        holder: &'a str,
    },
    Bankgiro {
        number: &'a str,
        holder: &'a str,
    },
    Plusgiro {
        number: &'a str,
        holder: &'a str,
    },
    DkAccount {
        reg_number: &'a str,
        account_number: &'a str,
        holder: &'a str,
    },
}

#[derive(Serialize)]
struct TakenBilling<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    postal_code: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    address_line: &'a str,
}

/// Writes payment details, as [`parse`](super::parse) reads them. `None` when there is no kind, or they
/// are longer than may be sealed.
pub fn write(details: &proto::PaymentDetails) -> Option<SecretBuffer> {
    let taken = match details.kind.as_ref()? {
        Kind::Card(card) => Taken::Card {
            number: &card.number,
            expiry_month: card.expiry_month,
            expiry_year: card.expiry_year,
            holder: &card.holder,
            security_code: &card.security_code,
            billing: card.billing.as_ref().map(|billing| TakenBilling {
                postal_code: &billing.postal_code,
                address_line: &billing.address_line,
            }),
        },
        Kind::Iban(account) => Taken::Iban {
            iban: &account.iban,
            holder: &account.holder,
            bic: &account.bic,
        },
        Kind::UsAccount(account) => Taken::UsAccount {
            routing_number: &account.routing_number,
            account_number: &account.account_number,
            holder: &account.holder,
            account_type: match account.account_type() {
                proto::UsAccountType::Checking => "checking",
                proto::UsAccountType::Savings => "savings",
                // Not said: the vault refuses it, as it does in clear.
                proto::UsAccountType::Unspecified => "",
            },
        },
        Kind::UkAccount(account) => Taken::UkAccount {
            sort_code: &account.sort_code,
            account_number: &account.account_number,
            holder: &account.holder,
        },
        Kind::SeAccount(account) => Taken::SeAccount {
            clearing_number: &account.clearing_number,
            account_number: &account.account_number,
            holder: &account.holder,
        },
        Kind::Bankgiro(giro) => Taken::Bankgiro {
            number: &giro.number,
            holder: &giro.holder,
        },
        Kind::Plusgiro(giro) => Taken::Plusgiro {
            number: &giro.number,
            holder: &giro.holder,
        },
        Kind::DkAccount(account) => Taken::DkAccount {
            reg_number: &account.reg_number,
            account_number: &account.account_number,
            holder: &account.holder,
        },
    };
    // All the room there may be at once: growing would leave an unwiped copy behind.
    let mut buffer = Zeroizing::new(vec![0; SEALED_PLAINTEXT_BYTES_MAX]);
    let mut into = Cursor::new(&mut buffer[..]);
    serde_json::to_writer(&mut into, &taken).ok()?;
    let written = usize::try_from(into.position()).ok()?;
    buffer.truncate(written);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_empty_is_left_out() {
        for json in [
            r#"{"card":{"number":"4242424242424242","expiry_month":12,"expiry_year":2031}}"#,
            r#"{"card":{"number":"4242424242424242","expiry_month":12,"expiry_year":2031,"holder":"A \"B\" Bäcker","security_code":"123","billing":{"postal_code":"1012 AB","address_line":"Dam 1"}}}"#,
            r#"{"card":{"number":"4242424242424242","expiry_month":12,"expiry_year":2031,"billing":{"postal_code":"1012 AB"}}}"#,
            r#"{"iban":{"iban":"NL91ABNA0417164300","holder":"J. de Vries"}}"#,
            r#"{"iban":{"iban":"NL91ABNA0417164300","holder":"J. de Vries","bic":"ABNANL2A"}}"#,
            r#"{"us_account":{"routing_number":"021000021","account_number":"123","holder":"P","account_type":"checking"}}"#,
            r#"{"us_account":{"routing_number":"021000021","account_number":"123","holder":"P","account_type":"savings"}}"#,
            r#"{"uk_account":{"sort_code":"200000","account_number":"55779911","holder":"P"}}"#,
            r#"{"se_account":{"clearing_number":"5839","account_number":"8257466","holder":"P"}}"#,
            r#"{"bankgiro":{"number":"50501055","holder":"P"}}"#,
            r#"{"plusgiro":{"number":"2865434","holder":"P"}}"#,
            r#"{"dk_account":{"reg_number":"0040","account_number":"0440116243","holder":"P"}}"#,
        ] {
            let read = parse(json.as_bytes()).expect("details");
            let written = write(&read).expect("short enough");
            assert_eq!(std::str::from_utf8(&written), Ok(json));
        }
    }

    #[test]
    fn no_kind_and_more_than_may_be_sealed_are_not_written() {
        assert!(write(&proto::PaymentDetails { kind: None }).is_none());
        let long = |length| proto::PaymentDetails {
            kind: Some(Kind::Bankgiro(proto::Bankgiro {
                number: "1".repeat(length),
                holder: String::new(),
            })),
        };
        let around = write(&long(0)).expect("short").len();
        assert!(write(&long(SEALED_PLAINTEXT_BYTES_MAX - around)).is_some());
        assert!(write(&long(SEALED_PLAINTEXT_BYTES_MAX - around + 1)).is_none());
    }
}
