//! The words of the contract as they are typed and shown: purposes, fields, roles. In a grant a
//! hyphen is as good as an underscore.

use crate::api::proto;
use crate::policy::{Field, Purpose, Role};
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Reads a purpose, and offers all of them to help and completion.
pub fn purpose_parser() -> impl TypedValueParser<Value = Purpose> {
    PossibleValuesParser::new(Purpose::ALL.map(Purpose::as_str))
        .try_map(|word| find(&Purpose::ALL, Purpose::as_str, &word))
}

/// Reads a field, and offers all of them to help and completion.
pub fn field_parser() -> impl TypedValueParser<Value = Field> {
    PossibleValuesParser::new(Field::ALL.map(Field::as_str))
        .try_map(|word| find(&Field::ALL, Field::as_str, &word))
}

/// Reads a role, and offers all of them to help and completion.
pub fn role_parser() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str))
        .try_map(|word| find(&Role::ALL, Role::as_str, &word))
}

/// Reads one purpose.
///
/// # Errors
/// When there is no such purpose.
pub fn purpose(word: &str) -> Result<Purpose, String> {
    find(&Purpose::ALL, Purpose::as_str, word)
}

/// Reads one field.
///
/// # Errors
/// When there is no such field.
pub fn field(word: &str) -> Result<Field, String> {
    find(&Field::ALL, Field::as_str, word)
}

fn find<T: Copy>(all: &[T], name: fn(T) -> &'static str, word: &str) -> Result<T, String> {
    let wanted = word.to_ascii_lowercase().replace('-', "_");
    all.iter()
        .copied()
        .find(|one| name(*one) == wanted)
        .ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
            format!("it is one of {}", names.join(", "))
        })
}

/// The purpose's name for a code of the contract.
pub fn purpose_name(code: i32) -> &'static str {
    named(code, Purpose::from_code, Purpose::as_str)
}

/// The field's name for a code of the contract.
pub fn field_name(code: i32) -> &'static str {
    named(code, Field::from_code, Field::as_str)
}

/// The role's name for a code of the contract.
pub fn role_name(code: i32) -> &'static str {
    named(code, Role::from_code, Role::as_str)
}

fn named<T>(
    code: i32,
    read: impl Fn(u8) -> Option<T>,
    name: impl Fn(T) -> &'static str,
) -> &'static str {
    u8::try_from(code)
        .ok()
        .and_then(read)
        .map_or("unknown", name)
}

/// What kind of instrument it is.
pub fn kind_name(code: i32) -> &'static str {
    match proto::DetailsKind::try_from(code) {
        Ok(proto::DetailsKind::Card) => "card",
        Ok(proto::DetailsKind::Iban) => "iban",
        Ok(proto::DetailsKind::UsAccount) => "us_account",
        Ok(proto::DetailsKind::UkAccount) => "uk_account",
        Ok(proto::DetailsKind::SeAccount) => "se_account",
        Ok(proto::DetailsKind::Bankgiro) => "bankgiro",
        Ok(proto::DetailsKind::Plusgiro) => "plusgiro",
        Ok(proto::DetailsKind::DkAccount) => "dk_account",
        Ok(proto::DetailsKind::Unspecified) | Err(_) => "unknown",
    }
}

/// Where a card stands in its time; empty for what is no card.
pub fn expiry_name(code: i32) -> &'static str {
    match proto::ExpiryState::try_from(code) {
        Ok(proto::ExpiryState::Valid) => "valid",
        Ok(proto::ExpiryState::ThisMonth) => "this_month",
        Ok(proto::ExpiryState::Expired) => "expired",
        Ok(proto::ExpiryState::Unspecified) | Err(_) => "",
    }
}

/// What the check of a number came to.
pub fn check_name(code: i32) -> &'static str {
    match proto::CheckState::try_from(code) {
        Ok(proto::CheckState::Checked) => "checked",
        Ok(proto::CheckState::PresumedValid) => "presumed_valid",
        Ok(proto::CheckState::NotChecked) => "not_checked",
        Ok(proto::CheckState::Unspecified) | Err(_) => "unknown",
    }
}

/// Where a transaction stands.
pub fn state_name(code: i32) -> &'static str {
    match proto::TransactionState::try_from(code) {
        Ok(proto::TransactionState::Open) => "open",
        Ok(proto::TransactionState::Closed) => "closed",
        Ok(proto::TransactionState::Unspecified) | Err(_) => "unknown",
    }
}

/// What became of a security code; nothing when it wasn't asked for.
pub fn code_status_name(code: i32) -> Option<&'static str> {
    use proto::SecurityCodeStatus as Status;
    Some(match Status::try_from(code).ok()? {
        Status::Unspecified => return None,
        Status::Released => "released",
        Status::AlreadyReleased => "already_released",
        Status::Expired => "expired",
        Status::NotProvided => "not_provided",
        Status::NotOnThisNode => "not_on_this_node",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_either_spelling_and_case() {
        assert_eq!(field("last-four"), Ok(Field::LastFour));
        assert_eq!(field("SECURITY_CODE"), Ok(Field::SecurityCode));
        assert_eq!(purpose("Authorize"), Ok(Purpose::Authorize));
        assert!(purpose("steal").is_err_and(|e| e.contains("authorize")));
    }

    #[test]
    fn codes_of_the_contract_and_of_the_vault_are_the_same() {
        for purpose in Purpose::ALL {
            let wire = proto::Purpose::try_from(purpose as i32).unwrap();
            assert!(
                wire.as_str_name()
                    .ends_with(&purpose.as_str().to_uppercase())
            );
        }
        for field in Field::ALL {
            let wire = proto::Field::try_from(field as i32).unwrap();
            assert!(wire.as_str_name().ends_with(&field.as_str().to_uppercase()));
        }
        for role in Role::ALL {
            let wire = proto::Role::try_from(role as i32).unwrap();
            assert!(wire.as_str_name().ends_with(&role.as_str().to_uppercase()));
        }
        assert_eq!(role_name(77), "unknown");
    }
}
