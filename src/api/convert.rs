//! The contract's messages and the domain's types. Parsing keeps what is right and notes every
//! field that is not; secrets leave their message here, into types that are wiped.

use super::proto as pb;
use super::violations::Violations;
use crate::clock::{TIMESTAMP_MAX, Timestamp};
use crate::ids::{PrincipalId, Site, TransactionId};
use crate::keys::Fingerprint;
use crate::limits;
use crate::payment::{
    self, Assurance, CardInput, Details, DetailsKind, ExpiryState, Masked, ModulusTables,
    SecurityCode, Token,
};
use crate::policy::{
    Agreement, Amount, Field, FieldSet, Grant, Party, Principal, Purpose, Role, Terms,
    capped_reference,
};
use crate::secret::SecretText;
use crate::vault::command::{CodeStatus, RequestId, WorkResult};
use std::mem::take;

/// A request id.
pub fn request_id(bytes: Vec<u8>, violations: &mut Violations) -> Option<RequestId> {
    let read = if limits::REQUEST_ID_BYTES.contains(&bytes.len()) {
        Ok(RequestId::new(bytes))
    } else {
        Err("must be 16 to 32 random bytes")
    };
    violations.keep("request_id", read)
}

/// A transaction id.
pub fn transaction(text: &str, violations: &mut Violations) -> Option<TransactionId> {
    let read = TransactionId::parse(text).map_err(|_| "must be a transaction id (\"txn_…\")");
    violations.keep("transaction", read)
}

/// A token. The text is wiped. Nothing of a malformed one is kept: it may be a card number.
pub fn token(field: &str, text: String, violations: &mut Violations) -> Option<Token> {
    let text = SecretText::new(text);
    let read = Token::parse(text.expose()).map_err(|_| "must be a token (\"pvt_a…\")");
    violations.keep(field, read)
}

/// A moment.
pub fn moment(
    field: &str,
    time: Option<prost_types::Timestamp>,
    violations: &mut Violations,
) -> Option<Timestamp> {
    let read = match time {
        None => Err("is required"),
        Some(time) => timestamp(&time).ok_or("must be a time between the years 1970 and 9999"),
    };
    violations.keep(field, read)
}

/// A moment that need not be given.
pub fn optional_moment(
    field: &str,
    time: Option<prost_types::Timestamp>,
    violations: &mut Violations,
) -> Option<Timestamp> {
    match time {
        None => None,
        Some(time) => moment(field, Some(time), violations),
    }
}

/// A moment that was read off a message; `None` when it is none, or outside of the years 1970 to 9999.
pub fn timestamp(time: &prost_types::Timestamp) -> Option<Timestamp> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let nanos = u64::try_from(time.nanos)
        .ok()
        .filter(|n| *n < 1_000_000_000)?;
    let ms = seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)?;
    (ms <= TIMESTAMP_MAX.0).then_some(Timestamp(ms))
}

/// A moment as the contract has it.
pub fn time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        // Bounded by the year 9999.
        seconds: (at.0 / 1_000) as i64,
        nanos: (at.0 % 1_000 * 1_000_000) as i32,
    }
}

/// A purpose.
pub fn purpose(field: &str, code: i32, violations: &mut Violations) -> Option<Purpose> {
    let read = u8::try_from(code).ok().and_then(Purpose::from_code);
    violations.keep(field, read.ok_or("must be one of the purposes"))
}

/// A set of fields: at least one, none twice.
pub fn fields(field: &str, codes: &[i32], violations: &mut Violations) -> Option<FieldSet> {
    if codes.is_empty() || codes.len() > Field::ALL.len() {
        violations.add(field, "must have 1 to 6 fields");
        return None;
    }
    let mut set = FieldSet::default();
    for code in codes {
        let Some(one) = u8::try_from(*code).ok().and_then(Field::from_code) else {
            violations.add(field, "must be one of the fields");
            return None;
        };
        if set.contains(one) {
            violations.add(field, "must name each field once");
            return None;
        }
        set = set.with(one);
    }
    Some(set)
}

/// A site.
pub fn site(field: &str, text: &str, violations: &mut Violations) -> Option<Site> {
    violations.keep(
        field,
        Site::parse(text).map_err(|_| "must be a site, such as \"nl\""),
    )
}

/// A reference that goes into the ledger.
pub fn reference(
    field: &str,
    text: &str,
    required: bool,
    chars_max: usize,
    violations: &mut Violations,
) -> String {
    if required && text.is_empty() {
        violations.add(field, "is required");
    } else if let Err(what) = capped_reference(text, chars_max) {
        violations.add(field, what);
    }
    text.to_owned()
}

/// Terms that `portal` asks for at `now`.
pub fn terms(
    terms: Option<pb::Terms>,
    portal: PrincipalId,
    now: Timestamp,
    violations: &mut Violations,
) -> Option<Terms> {
    let Some(asked) = terms else {
        violations.add("terms", "is required");
        return None;
    };
    let site = site("terms.site", &asked.site, violations);
    let expires_at = moment("terms.expires_at", asked.expires_at, violations);
    let release_until = moment("terms.release_until", asked.release_until, violations);
    if let (Some(expires), Some(release)) = (expires_at, release_until) {
        if expires <= now {
            violations.add("terms.expires_at", "must be in the future");
        }
        if release < expires {
            violations.add("terms.release_until", "must not be before expires_at");
        }
        if release.since_ms(now) > limits::RELEASE_MS_MAX {
            violations.add("terms.release_until", "must be at most 400 days ahead");
        }
    }
    let amount = asked
        .amount
        .and_then(|amount| self::amount(&amount, violations));
    let merchant = reference(
        "terms.merchant",
        &asked.merchant,
        false,
        limits::REFERENCE_CHARS_MAX,
        violations,
    );
    let own = reference(
        "terms.reference",
        &asked.reference,
        false,
        limits::REFERENCE_CHARS_MAX,
        violations,
    );
    let parties = parties(&asked.parties, violations);
    if !violations.is_empty() {
        return None;
    }
    Some(Terms {
        site: site?,
        portal,
        expires_at: expires_at?,
        release_until: release_until?,
        amount,
        merchant,
        reference: own,
        parties,
    })
}

fn amount(amount: &pb::Amount, violations: &mut Violations) -> Option<Amount> {
    let currency = <[u8; 3]>::try_from(amount.currency.as_bytes())
        .ok()
        .filter(|letters| letters.iter().all(u8::is_ascii_uppercase));
    if currency.is_none() {
        violations.add(
            "terms.amount.currency",
            "must be an ISO 4217 code of three upper-case letters",
        );
    }
    if amount.minor_units < 0 {
        violations.add("terms.amount.minor_units", "must not be negative");
    }
    Some(Amount {
        minor_units: amount.minor_units,
        currency: currency?,
    })
}

fn parties(asked: &[pb::Party], violations: &mut Violations) -> Vec<Party> {
    if asked.is_empty() || asked.len() > limits::PARTIES_MAX {
        violations.add("terms.parties", "must have 1 to 4 parties");
        return Vec::new();
    }
    let mut parties: Vec<Party> = Vec::with_capacity(asked.len());
    for (number, party) in asked.iter().enumerate() {
        let at = format!("terms.parties[{number}]");
        let id = PrincipalId::parse(&party.principal);
        let id = violations.keep(
            &format!("{at}.principal"),
            id.map_err(|_| "must be a principal id (\"prn_…\")"),
        );
        let grants = grants(&at, &party.grants, violations);
        let Some(principal) = id else { continue };
        if parties.iter().any(|p| p.principal == principal) {
            violations.add(format!("{at}.principal"), "must be named once");
        }
        parties.push(Party { principal, grants });
    }
    parties.sort_by_key(|party| party.principal);
    parties
}

fn grants(at: &str, asked: &[pb::Grant], violations: &mut Violations) -> Vec<Grant> {
    if asked.is_empty() || asked.len() > Purpose::ALL.len() {
        violations.add(format!("{at}.grants"), "must have 1 to 6 grants");
        return Vec::new();
    }
    let mut grants: Vec<Grant> = Vec::with_capacity(asked.len());
    for (number, grant) in asked.iter().enumerate() {
        let at = format!("{at}.grants[{number}]");
        let purpose = purpose(&format!("{at}.purpose"), grant.purpose, violations);
        let fields = fields(&format!("{at}.fields"), &grant.fields, violations);
        let uses_max = u8::try_from(grant.uses_max)
            .ok()
            .filter(|uses| (1..=limits::USES_MAX).contains(&u32::from(*uses)));
        if uses_max.is_none() {
            violations.add(format!("{at}.uses_max"), "must be 1 to 100");
        }
        let (Some(purpose), Some(fields), Some(uses_max)) = (purpose, fields, uses_max) else {
            continue;
        };
        if fields.contains(Field::SecurityCode) && purpose != Purpose::Authorize {
            violations.add(
                format!("{at}.fields"),
                "may have SECURITY_CODE with AUTHORIZE only",
            );
        }
        if grants.iter().any(|g| g.purpose == purpose) {
            violations.add(format!("{at}.purpose"), "must be granted once a party");
        }
        grants.push(Grant {
            purpose,
            fields,
            uses_max,
        });
    }
    grants.sort_by_key(|grant| grant.purpose);
    grants
}

/// Payment details and the security code. The message's strings are taken over and wiped. British
/// accounts are checked with `uk_modulus`. `path` is the field that they came in.
pub fn details(
    path: &str,
    asked: Option<pb::PaymentDetails>,
    now: Timestamp,
    uk_modulus: &ModulusTables,
    violations: &mut Violations,
) -> Option<(Details, Option<SecurityCode>)> {
    use pb::payment_details::Kind;
    let Some(kind) = asked.and_then(|details| details.kind) else {
        violations.add(path, "must have one of the kinds of payment details");
        return None;
    };
    let secret = |text: &mut String| SecretText::new(take(text));
    let read = match kind {
        Kind::Card(mut card) => {
            let mut billing = card.billing.take().unwrap_or_default();
            let input = CardInput {
                number: secret(&mut card.number),
                expiry_month: card.expiry_month,
                expiry_year: card.expiry_year,
                holder: secret(&mut card.holder),
                security_code: secret(&mut card.security_code),
                postal_code: secret(&mut billing.postal_code),
                address_line: secret(&mut billing.address_line),
            };
            payment::card(input, now)
                .map(|(card, code)| (Details::Card(card), code))
                .map_err(|problems| (".card", problems))
        }
        Kind::Iban(mut account) => payment::iban(
            secret(&mut account.iban),
            secret(&mut account.holder),
            secret(&mut account.bic),
        )
        .map(|account| (Details::Iban(account), None))
        .map_err(|problems| (".iban", problems)),
        Kind::UsAccount(mut account) => payment::us_account(
            secret(&mut account.routing_number),
            secret(&mut account.account_number),
            secret(&mut account.holder),
            account.account_type,
        )
        .map(|account| (Details::UsAccount(account), None))
        .map_err(|problems| (".us_account", problems)),
        Kind::UkAccount(mut account) => payment::uk_account(
            secret(&mut account.sort_code),
            secret(&mut account.account_number),
            secret(&mut account.holder),
            uk_modulus,
        )
        .map(|account| (Details::UkAccount(account), None))
        .map_err(|problems| (".uk_account", problems)),
        Kind::SeAccount(mut account) => payment::se_account(
            secret(&mut account.clearing_number),
            secret(&mut account.account_number),
            secret(&mut account.holder),
        )
        .map(|account| (Details::SeAccount(account), None))
        .map_err(|problems| (".se_account", problems)),
        Kind::Bankgiro(mut giro) => {
            payment::bankgiro(secret(&mut giro.number), secret(&mut giro.holder))
                .map(|giro| (Details::Bankgiro(giro), None))
                .map_err(|problems| (".bankgiro", problems))
        }
        Kind::Plusgiro(mut giro) => {
            payment::plusgiro(secret(&mut giro.number), secret(&mut giro.holder))
                .map(|giro| (Details::Plusgiro(giro), None))
                .map_err(|problems| (".plusgiro", problems))
        }
        Kind::DkAccount(mut account) => payment::dk_account(
            secret(&mut account.reg_number),
            secret(&mut account.account_number),
            secret(&mut account.holder),
        )
        .map(|account| (Details::DkAccount(account), None))
        .map_err(|problems| (".dk_account", problems)),
    };
    match read {
        Ok(read) => Some(read),
        Err((kind, problems)) => {
            violations.add_problems(&format!("{path}{kind}"), problems);
            None
        }
    }
}

/// How a processor's work ended.
pub fn outcome(code: i32, violations: &mut Violations) -> Option<WorkResult> {
    let read = match pb::Outcome::try_from(code) {
        Ok(pb::Outcome::Succeeded) => Ok(WorkResult::Succeeded),
        Ok(pb::Outcome::Declined) => Ok(WorkResult::Declined),
        Ok(pb::Outcome::Failed) => Ok(WorkResult::Failed),
        Ok(pb::Outcome::Unspecified) | Err(_) => Err("must be one of the outcomes"),
    };
    violations.keep("outcome", read)
}

/// Released details: the fields of the set, and nothing else.
pub fn released(
    details: &Details,
    fields: FieldSet,
    code: Option<&SecurityCode>,
) -> pb::PaymentDetails {
    use pb::payment_details::Kind;
    let give = |field: Field, text: &SecretText| {
        if fields.contains(field) {
            text.expose().to_owned()
        } else {
            String::new()
        }
    };
    let kind = match details {
        Details::Card(card) => {
            let expiry = fields.contains(Field::Expiry);
            Kind::Card(pb::Card {
                number: give(Field::Number, &card.number),
                expiry_month: if expiry { card.expiry.month.into() } else { 0 },
                expiry_year: if expiry { card.expiry.year.into() } else { 0 },
                holder: give(Field::Holder, &card.holder),
                security_code: code.map_or_else(String::new, |code| code.expose().to_owned()),
                billing: fields.contains(Field::Billing).then(|| pb::Billing {
                    postal_code: card.postal_code.expose().to_owned(),
                    address_line: card.address_line.expose().to_owned(),
                }),
            })
        }
        Details::Iban(account) => Kind::Iban(pb::IbanAccount {
            iban: give(Field::Number, &account.iban),
            holder: give(Field::Holder, &account.holder),
            bic: give(Field::Number, &account.bic),
        }),
        Details::UsAccount(account) => Kind::UsAccount(pb::UsAccount {
            routing_number: give(Field::Number, &account.routing_number),
            account_number: give(Field::Number, &account.account_number),
            holder: give(Field::Holder, &account.holder),
            account_type: if fields.contains(Field::Number) {
                account.account_type.as_u8().into()
            } else {
                0
            },
        }),
        Details::UkAccount(account) => Kind::UkAccount(pb::UkAccount {
            sort_code: give(Field::Number, &account.sort_code),
            account_number: give(Field::Number, &account.account_number),
            holder: give(Field::Holder, &account.holder),
        }),
        Details::SeAccount(account) => Kind::SeAccount(pb::SeAccount {
            clearing_number: give(Field::Number, &account.clearing_number),
            account_number: give(Field::Number, &account.account_number),
            holder: give(Field::Holder, &account.holder),
        }),
        Details::Bankgiro(giro) => Kind::Bankgiro(pb::Bankgiro {
            number: give(Field::Number, &giro.number),
            holder: give(Field::Holder, &giro.holder),
        }),
        Details::Plusgiro(giro) => Kind::Plusgiro(pb::Plusgiro {
            number: give(Field::Number, &giro.number),
            holder: give(Field::Holder, &giro.holder),
        }),
        Details::DkAccount(account) => Kind::DkAccount(pb::DkAccount {
            reg_number: give(Field::Number, &account.reg_number),
            account_number: give(Field::Number, &account.account_number),
            holder: give(Field::Holder, &account.holder),
        }),
    };
    pb::PaymentDetails { kind: Some(kind) }
}

/// What became of the security code.
pub fn code_status(status: CodeStatus) -> pb::SecurityCodeStatus {
    match status {
        CodeStatus::NotAsked => pb::SecurityCodeStatus::Unspecified,
        CodeStatus::Released => pb::SecurityCodeStatus::Released,
        CodeStatus::AlreadyReleased => pb::SecurityCodeStatus::AlreadyReleased,
        CodeStatus::Expired => pb::SecurityCodeStatus::Expired,
        CodeStatus::NotProvided => pb::SecurityCodeStatus::NotProvided,
        CodeStatus::NotOnThisNode => pb::SecurityCodeStatus::NotOnThisNode,
    }
}

/// Masked details.
pub fn masked(masked: &Masked, now: Timestamp) -> pb::MaskedDetails {
    let kind = match masked.kind {
        DetailsKind::Card => pb::DetailsKind::Card,
        DetailsKind::Iban => pb::DetailsKind::Iban,
        DetailsKind::UsAccount => pb::DetailsKind::UsAccount,
        DetailsKind::UkAccount => pb::DetailsKind::UkAccount,
        DetailsKind::SeAccount => pb::DetailsKind::SeAccount,
        DetailsKind::Bankgiro => pb::DetailsKind::Bankgiro,
        DetailsKind::Plusgiro => pb::DetailsKind::Plusgiro,
        DetailsKind::DkAccount => pb::DetailsKind::DkAccount,
    };
    let state = match masked.expiry.map(|expiry| expiry.state(now)) {
        None => pb::ExpiryState::Unspecified,
        Some(ExpiryState::Valid) => pb::ExpiryState::Valid,
        Some(ExpiryState::ThisMonth) => pb::ExpiryState::ThisMonth,
        Some(ExpiryState::Expired) => pb::ExpiryState::Expired,
    };
    let check = match masked.assurance {
        Assurance::Checked => pb::CheckState::Checked,
        Assurance::PresumedValid => pb::CheckState::PresumedValid,
        Assurance::NotChecked => pb::CheckState::NotChecked,
    };
    pb::MaskedDetails {
        kind: kind.into(),
        masked_number: masked.number.clone(),
        brand: masked.brand.clone(),
        country: masked.country.clone(),
        expired: state == pb::ExpiryState::Expired,
        expiry_state: state.into(),
        check: check.into(),
        bank: masked.bank.clone(),
    }
}

/// A fingerprint.
pub fn fingerprint(fingerprint: &Fingerprint) -> pb::Fingerprint {
    pb::Fingerprint {
        value: fingerprint.to_text(),
        generation: fingerprint.generation(),
    }
}

/// Terms as the contract has them.
pub fn terms_message(terms: &Terms) -> pb::Terms {
    pb::Terms {
        site: terms.site.to_string(),
        parties: terms.parties.iter().map(party_message).collect(),
        expires_at: Some(time(terms.expires_at)),
        release_until: Some(time(terms.release_until)),
        amount: terms.amount.map(amount_message),
        merchant: terms.merchant.clone(),
        reference: terms.reference.clone(),
    }
}

/// A party as the contract has it.
pub fn party_message(party: &Party) -> pb::Party {
    let grants = party.grants.iter().map(|grant| pb::Grant {
        purpose: grant.purpose as i32,
        fields: grant.fields.iter().map(|field| field as i32).collect(),
        uses_max: grant.uses_max.into(),
    });
    pb::Party {
        principal: party.principal.to_string(),
        grants: grants.collect(),
    }
}

/// An amount as the contract has it.
pub fn amount_message(amount: Amount) -> pb::Amount {
    pb::Amount {
        minor_units: amount.minor_units,
        currency: String::from_utf8_lossy(&amount.currency).into_owned(),
    }
}

/// A transaction's state.
pub fn state(closed: bool) -> pb::TransactionState {
    if closed {
        pb::TransactionState::Closed
    } else {
        pb::TransactionState::Open
    }
}

/// A role.
pub fn role(code: i32, violations: &mut Violations) -> Option<Role> {
    let read = u8::try_from(code).ok().and_then(Role::from_code);
    violations.keep("role", read.ok_or("must be one of the roles"))
}

/// A human's agreement.
pub fn agreement(asked: Option<pb::Agreement>, violations: &mut Violations) -> Option<Agreement> {
    let asked = asked?;
    let reference = reference(
        "agreement.reference",
        &asked.reference,
        true,
        limits::REFERENCE_CHARS_MAX,
        violations,
    );
    let from = moment("agreement.valid_from", asked.valid_from, violations);
    let until = moment("agreement.valid_until", asked.valid_until, violations);
    let (from, until) = (from?, until?);
    if until <= from {
        violations.add("agreement.valid_until", "must be after valid_from");
    }
    Some(Agreement {
        reference,
        valid_from: from,
        valid_until: until,
    })
}

/// A principal as the contract has it: without what stands for its secret.
pub fn principal_message(principal: &Principal) -> pb::Principal {
    pb::Principal {
        id: principal.id.to_string(),
        name: principal.name.clone(),
        role: principal.role as i32,
        sites: principal.sites.iter().map(Site::to_string).collect(),
        certificate_uri: principal.certificate_uri.clone(),
        issuer_key_sha256: principal
            .issuer_key
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        agreement: principal.agreement.as_ref().map(|a| pb::Agreement {
            reference: a.reference.clone(),
            valid_from: Some(time(a.valid_from)),
            valid_until: Some(time(a.valid_until)),
        }),
        disabled: principal.disabled,
        created_at: Some(time(principal.created_at)),
    }
}
