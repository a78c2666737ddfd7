//! Payment details: how they come in from a person or a program, and how masked and released ones
//! are shown. They never come from an argument, and no error repeats them.

use super::error::CliError;
use super::{input, words};
use crate::api::{details_json, proto};
use proto::payment_details::Kind;
use serde_json::{Value, json};
use std::path::Path;
use zeroize::Zeroizing;

/// Asks a person at the terminal, or reads JSON from stdin.
///
/// # Errors
/// When what came isn't details. What came is not repeated.
pub fn read() -> Result<proto::PaymentDetails, CliError> {
    if input::at_a_terminal() {
        return ask();
    }
    parse(&input::read_text(Path::new("-"))?)
}

/// Reads JSON. serde's own message would repeat values, so only the place is named.
///
/// # Errors
/// When it isn't details.
pub fn parse(text: &str) -> Result<proto::PaymentDetails, CliError> {
    details_json::parse(text.as_bytes()).map_err(|wrong| {
        CliError::Usage(format!(
            "stdin, line {}, column {}: not payment details in JSON (see --help); numbers are \
             strings",
            wrong.line, wrong.column
        ))
    })
}

const KINDS: &str =
    "card, iban, us_account, uk_account, se_account, bankgiro, plusgiro or dk_account";

/// Asks field by field; numbers and codes are typed unseen.
fn ask() -> Result<proto::PaymentDetails, CliError> {
    let text = |what| input::typed(what).map(|answer| answer.to_string());
    let unseen = |what| input::typed_unseen(what).map(|answer| answer.expose().to_owned());
    let kind = input::typed(KINDS)?;
    let kind = match kind.as_str() {
        "card" | "" => {
            let number = unseen("card number (not shown)")?;
            let (expiry_month, expiry_year) = expiry(&input::typed("expiry (MM/YYYY)")?)?;
            let card = proto::Card {
                number,
                expiry_month,
                expiry_year,
                holder: text("holder (may be empty)")?,
                security_code: unseen("security code (not shown, may be empty)")?,
                billing: None,
            };
            Kind::Card(with_billing(
                card,
                text("billing postcode (may be empty)")?,
                text("billing address (may be empty)")?,
            ))
        }
        "iban" => Kind::Iban(proto::IbanAccount {
            iban: unseen("IBAN (not shown)")?,
            holder: text("holder")?,
            bic: text("BIC (may be empty)")?,
        }),
        "us_account" => Kind::UsAccount(proto::UsAccount {
            routing_number: text("routing number")?,
            account_number: unseen("account number (not shown)")?,
            holder: text("holder")?,
            account_type: match input::typed("checking or savings")?.as_str() {
                "savings" => proto::UsAccountType::Savings.into(),
                "checking" => proto::UsAccountType::Checking.into(),
                _ => return Err(CliError::Usage("it is checking or savings".into())),
            },
        }),
        "uk_account" => Kind::UkAccount(proto::UkAccount {
            sort_code: text("sort code")?,
            account_number: unseen("account number (not shown)")?,
            holder: text("holder")?,
        }),
        "se_account" => Kind::SeAccount(proto::SeAccount {
            clearing_number: text("clearing number")?,
            account_number: unseen("account number (not shown)")?,
            holder: text("holder")?,
        }),
        "bankgiro" => Kind::Bankgiro(proto::Bankgiro {
            number: unseen("bankgiro (not shown)")?,
            holder: text("holder")?,
        }),
        "plusgiro" => Kind::Plusgiro(proto::Plusgiro {
            number: unseen("plusgiro (not shown)")?,
            holder: text("holder")?,
        }),
        "dk_account" => Kind::DkAccount(proto::DkAccount {
            reg_number: text("registration number")?,
            account_number: unseen("account number (not shown)")?,
            holder: text("holder")?,
        }),
        _ => return Err(CliError::Usage(format!("it is {KINDS}"))),
    };
    Ok(proto::PaymentDetails { kind: Some(kind) })
}

fn with_billing(mut card: proto::Card, postal_code: String, address_line: String) -> proto::Card {
    if !postal_code.is_empty() || !address_line.is_empty() {
        card.billing = Some(proto::Billing {
            postal_code,
            address_line,
        });
    }
    card
}

fn expiry(text: &Zeroizing<String>) -> Result<(i32, i32), CliError> {
    let refused = || CliError::Usage("give the expiry as MM/YYYY".into());
    let (month, year) = text.split_once('/').ok_or_else(refused)?;
    let number = |text: &str| text.trim().parse::<i32>().map_err(|_| refused());
    Ok((number(month)?, number(year)?))
}

/// Masked details, as anybody may see them.
pub fn masked_json(masked: &proto::MaskedDetails) -> Value {
    json!({
        "kind": words::kind_name(masked.kind),
        "masked_number": masked.masked_number,
        "brand": masked.brand,
        "country": masked.country,
        "bank": masked.bank,
        "expired": masked.expired,
        "expiry_state": words::expiry_name(masked.expiry_state),
        "check": words::check_name(masked.check),
    })
}

/// A fingerprint: for the portal's machine-readable output.
pub fn fingerprint_json(fingerprint: &proto::Fingerprint) -> Value {
    json!({ "value": fingerprint.value, "generation": fingerprint.generation })
}

/// Masked details in a line.
pub fn masked_words(masked: &proto::MaskedDetails) -> String {
    let mut parts = vec![words::kind_name(masked.kind)];
    parts.extend(
        [masked.brand.as_str(), masked.country.as_str()]
            .iter()
            .filter(|p| !p.is_empty()),
    );
    parts.push(&masked.masked_number);
    match proto::ExpiryState::try_from(masked.expiry_state) {
        Ok(proto::ExpiryState::Expired) => parts.push("(expired)"),
        Ok(proto::ExpiryState::ThisMonth) => parts.push("(expires this month)"),
        _ => {}
    }
    match proto::CheckState::try_from(masked.check) {
        Ok(proto::CheckState::PresumedValid) => parts.push("(presumed valid)"),
        Ok(proto::CheckState::NotChecked) => parts.push("(not checked)"),
        _ => {}
    }
    parts.join(" ")
}

/// Released details: plaintext, for the result of a redemption and nothing else.
pub fn released_json(details: &proto::PaymentDetails) -> Value {
    let mut fields = serde_json::Map::new();
    for (name, value) in released(details) {
        fields.insert(name.to_owned(), json!(value.as_str()));
    }
    let kind = match &details.kind {
        Some(Kind::Card(_)) => "card",
        Some(Kind::Iban(_)) => "iban",
        Some(Kind::UsAccount(_)) => "us_account",
        Some(Kind::UkAccount(_)) => "uk_account",
        Some(Kind::SeAccount(_)) => "se_account",
        Some(Kind::Bankgiro(_)) => "bankgiro",
        Some(Kind::Plusgiro(_)) => "plusgiro",
        Some(Kind::DkAccount(_)) => "dk_account",
        None => return Value::Null,
    };
    json!({ kind: fields })
}

/// The fields that were released, by name: plaintext.
pub fn released(details: &proto::PaymentDetails) -> Vec<(&'static str, Zeroizing<String>)> {
    let mut fields = Vec::new();
    let mut add = |name, value: &str| {
        if !value.is_empty() {
            fields.push((name, Zeroizing::new(value.to_owned())));
        }
    };
    match &details.kind {
        Some(Kind::Card(card)) => {
            add("number", &card.number);
            if card.expiry_year != 0 {
                let expiry =
                    Zeroizing::new(format!("{:02}/{:04}", card.expiry_month, card.expiry_year));
                add("expiry", &expiry);
            }
            add("holder", &card.holder);
            add("security_code", &card.security_code);
            if let Some(billing) = &card.billing {
                add("postal_code", &billing.postal_code);
                add("address_line", &billing.address_line);
            }
        }
        Some(Kind::Iban(iban)) => {
            add("iban", &iban.iban);
            add("holder", &iban.holder);
            add("bic", &iban.bic);
        }
        Some(Kind::UsAccount(account)) => {
            add("routing_number", &account.routing_number);
            add("account_number", &account.account_number);
            add("holder", &account.holder);
            match proto::UsAccountType::try_from(account.account_type) {
                Ok(proto::UsAccountType::Checking) => add("account_type", "checking"),
                Ok(proto::UsAccountType::Savings) => add("account_type", "savings"),
                Ok(proto::UsAccountType::Unspecified) | Err(_) => {}
            }
        }
        Some(Kind::UkAccount(account)) => {
            add("sort_code", &account.sort_code);
            add("account_number", &account.account_number);
            add("holder", &account.holder);
        }
        Some(Kind::SeAccount(account)) => {
            add("clearing_number", &account.clearing_number);
            add("account_number", &account.account_number);
            add("holder", &account.holder);
        }
        Some(Kind::Bankgiro(giro)) => {
            add("number", &giro.number);
            add("holder", &giro.holder);
        }
        Some(Kind::Plusgiro(giro)) => {
            add("number", &giro.number);
            add("holder", &giro.holder);
        }
        Some(Kind::DkAccount(account)) => {
            add("reg_number", &account.reg_number);
            add("account_number", &account.account_number);
            add("holder", &account.holder);
        }
        None => {}
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read() {
        let card = parse(
            r#"{"card":{"number":"4242424242424242","expiry_month":11,"expiry_year":2030,
                "security_code":"123","billing":{"postal_code":"1017 XJ"}}}"#,
        )
        .unwrap();
        let names: Vec<_> = released(&card).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["number", "expiry", "security_code", "postal_code"]);
        assert_eq!(released_json(&card)["card"]["expiry"], "11/2030");
        let account = parse(
            r#"{"us_account":{"routing_number":"021000021","account_number":"123456789",
                "holder":"A","account_type":"savings"}}"#,
        )
        .unwrap();
        assert_eq!(
            released_json(&account)["us_account"]["account_type"],
            "savings"
        );
        assert!(parse(r#"{"iban":{"iban":"NL91ABNA0417164300","holder":"A"}}"#).is_ok());
        for (text, names) in [
            (
                r#"{"iban":{"iban":"NL91ABNA0417164300","holder":"A","bic":"ABNANL2A"}}"#,
                &["iban", "holder", "bic"][..],
            ),
            (
                r#"{"uk_account":{"sort_code":"200000","account_number":"55779911","holder":"A"}}"#,
                &["sort_code", "account_number", "holder"],
            ),
            (
                r#"{"se_account":{"clearing_number":"5839","account_number":"8257466","holder":"A"}}"#,
                &["clearing_number", "account_number", "holder"],
            ),
            (
                r#"{"bankgiro":{"number":"5050-1055","holder":"A"}}"#,
                &["number", "holder"],
            ),
            (
                r#"{"plusgiro":{"number":"286543-4","holder":"A"}}"#,
                &["number", "holder"],
            ),
            (
                r#"{"dk_account":{"reg_number":"0040","account_number":"0440116243","holder":"A"}}"#,
                &["reg_number", "account_number", "holder"],
            ),
        ] {
            let details = parse(text).unwrap();
            let read: Vec<_> = released(&details).into_iter().map(|(n, _)| n).collect();
            assert_eq!(read, names);
            let given: Value = serde_json::from_str(text).unwrap();
            assert_eq!(released_json(&details), given);
        }
    }

    #[test]
    fn what_is_refused_is_never_repeated() {
        for bad in [
            r#"{"card":{"number":4242424242424242,"expiry_month":11,"expiry_year":2030}}"#,
            r#"{"card":{"number":"4242424242424242","expiry_month":"4242424242424242","expiry_year":2030}}"#,
            r#"{"card":{"4242424242424242":"x"}}"#,
            r#"{"4242424242424242":{}}"#,
            r#"{"us_account":{"routing_number":"1","account_number":"2","holder":"3","account_type":"4242424242424242"}}"#,
            "4242424242424242",
            "",
        ] {
            let error = parse(bad).err().unwrap();
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains("4242"), "{error}");
        }
    }

    #[test]
    fn an_expiry_is_a_month_and_a_year() {
        let read = |text: &str| expiry(&Zeroizing::new(text.to_owned())).ok();
        assert_eq!(read("11/2030"), Some((11, 2030)));
        assert_eq!(read("1130"), None);
        assert_eq!(read("a/b"), None);
    }

    /// PCI DSS 3.4.1, as a person and a program see it.
    #[test]
    fn of_a_card_its_mask_is_shown_and_no_more() {
        use crate::clock::Timestamp;
        use crate::payment::{CardInput, Details, card, luhn};
        use crate::secret::SecretText;
        let now = Timestamp(1_795_392_000_000);
        for length in 12..=19 {
            let number = (0..10)
                .map(|last| format!("4{}{last}", &"71828182845904523"[..length - 2]))
                .find(|number| luhn::passes(number.as_bytes()))
                .unwrap();
            let empty = || SecretText::copy_from("");
            let input = CardInput {
                number: SecretText::copy_from(&number),
                expiry_month: 11,
                expiry_year: 2026,
                holder: empty(),
                security_code: empty(),
                postal_code: empty(),
                address_line: empty(),
            };
            let Ok((card, _)) = card(input, now) else {
                panic!("the card is good");
            };
            let masked = crate::api::convert::masked(&Details::Card(card).mask(), now);
            let words = masked_words(&masked);
            assert!(words.ends_with("(expires this month)"), "{words}");
            for shown in [words, masked_json(&masked).to_string()] {
                assert!(shown.contains(&masked.masked_number));
                let first = 6.min(length - 8) + 1;
                assert!(!shown.contains(&number[..first]), "{shown}");
                assert!(!shown.contains(&number[length - 5..]), "{shown}");
            }
        }
    }
}
