//! Bad input, call by call: each row is refused with the fields that are wrong, says no value
//! back, and changes nothing but the ledger, by one denial.

use crate::house::{Serving, request_id};
use crate::road::{card, in_days, open, redemption, terms, tokenize};
use crate::wire::{all_of, call, only, reason};
use payvault::api::proto as pb;
use payvault::policy::Rpc;
use payvault::store::Key;
use pb::payment_details::Kind;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A number that would be a card's.
const PAN: &str = "4000056655665556";
const CONTROL: &str = "or\u{7}der\u{1b}[2J";
/// Digits, but not ASCII ones.
const ARABIC: &str = "\u{664}\u{662}\u{664}\u{662}\u{664}\u{662}\u{664}\u{662}\u{664}\u{662}\u{664}\u{662}\u{664}\u{662}\u{664}\u{662}";

/// One malformed request and the fields that its refusal must name, all of them and no other.
struct Row {
    rpc: Rpc,
    what: &'static str,
    body: Vec<u8>,
    fields: Vec<&'static str>,
}

/// What the rows are made from.
struct Ground {
    transaction: String,
    token: String,
    processor: String,
    portal: String,
    certificate: String,
}

struct Table<'a> {
    ground: &'a Ground,
    rows: Vec<Row>,
}

impl Table<'_> {
    /// A request that was good before `spoil` had it.
    fn row<M: Message>(
        &mut self,
        rpc: Rpc,
        what: &'static str,
        good: fn(&Ground) -> M,
        fields: &[&'static str],
        spoil: impl FnOnce(&mut M),
    ) {
        let mut message = good(self.ground);
        spoil(&mut message);
        self.rows.push(Row {
            rpc,
            what,
            body: message.encode_to_vec(),
            fields: fields.to_vec(),
        });
    }
}

fn long(length: usize) -> String {
    "a".repeat(length)
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// One second past the year 9999.
const TOO_LATE: i64 = 253_402_300_800;

fn good_open(ground: &Ground) -> pb::OpenTransactionRequest {
    pb::OpenTransactionRequest {
        request_id: request_id(),
        terms: Some(terms(vec![pb::Party {
            principal: ground.processor.clone(),
            grants: vec![crate::road::grant(
                pb::Purpose::Authorize,
                &[pb::Field::Number],
                1,
            )],
        }])),
        want_receipt: false,
    }
}

fn good_get(ground: &Ground) -> pb::GetTransactionRequest {
    pb::GetTransactionRequest {
        transaction: ground.transaction.clone(),
    }
}

fn good_tokenize(ground: &Ground) -> pb::TokenizeRequest {
    pb::TokenizeRequest {
        request_id: request_id(),
        transaction: ground.transaction.clone(),
        details: Some(card()),
        replaces: String::new(),
        want_receipt: false,
        sealed_details: String::new(),
    }
}

fn good_iban(ground: &Ground) -> pb::TokenizeRequest {
    pb::TokenizeRequest {
        details: Some(pb::PaymentDetails {
            kind: Some(Kind::Iban(pb::IbanAccount {
                iban: "NL91ABNA0417164300".to_owned(),
                holder: "A. de Vries".to_owned(),
                bic: "ABNANL2A".to_owned(),
            })),
        }),
        ..good_tokenize(ground)
    }
}

fn good_us(ground: &Ground) -> pb::TokenizeRequest {
    pb::TokenizeRequest {
        details: Some(pb::PaymentDetails {
            kind: Some(Kind::UsAccount(pb::UsAccount {
                routing_number: "021000021".to_owned(),
                account_number: "000123456789".to_owned(),
                holder: "A. de Vries".to_owned(),
                account_type: 1,
            })),
        }),
        ..good_tokenize(ground)
    }
}

fn good_of(ground: &Ground, kind: Kind) -> pb::TokenizeRequest {
    pb::TokenizeRequest {
        details: Some(pb::PaymentDetails { kind: Some(kind) }),
        ..good_tokenize(ground)
    }
}

fn good_uk(ground: &Ground) -> pb::TokenizeRequest {
    let account = pb::UkAccount {
        sort_code: "990100".to_owned(),
        account_number: "55779911".to_owned(),
        holder: "A. Smith".to_owned(),
    };
    good_of(ground, Kind::UkAccount(account))
}

fn good_se(ground: &Ground) -> pb::TokenizeRequest {
    let account = pb::SeAccount {
        clearing_number: "5839".to_owned(),
        account_number: "8257466".to_owned(),
        holder: "A. Ek".to_owned(),
    };
    good_of(ground, Kind::SeAccount(account))
}

fn good_bankgiro(ground: &Ground) -> pb::TokenizeRequest {
    let giro = pb::Bankgiro {
        number: "5050-1055".to_owned(),
        holder: "A. Ek".to_owned(),
    };
    good_of(ground, Kind::Bankgiro(giro))
}

fn good_plusgiro(ground: &Ground) -> pb::TokenizeRequest {
    let giro = pb::Plusgiro {
        number: "28 65 43-4".to_owned(),
        holder: "A. Ek".to_owned(),
    };
    good_of(ground, Kind::Plusgiro(giro))
}

fn good_dk(ground: &Ground) -> pb::TokenizeRequest {
    let account = pb::DkAccount {
        reg_number: "0040".to_owned(),
        account_number: "0440116243".to_owned(),
        holder: "A. Lund".to_owned(),
    };
    good_of(ground, Kind::DkAccount(account))
}

fn good_redeem(ground: &Ground) -> pb::RedeemRequest {
    redemption(&ground.transaction, &ground.token)
}

fn good_tokenize_stream(ground: &Ground) -> pb::TokenizeStreamRequest {
    pb::TokenizeStreamRequest {
        items: vec![good_tokenize(ground)],
    }
}

fn good_redeem_stream(ground: &Ground) -> pb::RedeemStreamRequest {
    pb::RedeemStreamRequest {
        items: vec![good_redeem(ground)],
    }
}

fn good_report(ground: &Ground) -> pb::ReportOutcomeRequest {
    pb::ReportOutcomeRequest {
        request_id: request_id(),
        transaction: ground.transaction.clone(),
        token: ground.token.clone(),
        outcome: pb::Outcome::Declined.into(),
        processor_reference: "ref 1".to_owned(),
    }
}

fn good_describe(ground: &Ground) -> pb::DescribeTokenRequest {
    pb::DescribeTokenRequest {
        transaction: ground.transaction.clone(),
        token: ground.token.clone(),
    }
}

fn good_revoke(ground: &Ground) -> pb::RevokeTokenRequest {
    pb::RevokeTokenRequest {
        transaction: ground.transaction.clone(),
        token: ground.token.clone(),
    }
}

fn good_close(ground: &Ground) -> pb::CloseTransactionRequest {
    pb::CloseTransactionRequest {
        transaction: ground.transaction.clone(),
    }
}

fn good_proof(_: &Ground) -> pb::GetConsistencyProofRequest {
    pb::GetConsistencyProofRequest {
        from_size: 1,
        to_size: 2,
    }
}

fn good_export(_: &Ground) -> pb::ExportLogRequest {
    pb::ExportLogRequest {
        reason: "yearly audit".to_owned(),
        ticket: "AUD-1".to_owned(),
        ..Default::default()
    }
}

fn good_tail(_: &Ground) -> pb::TailLogRequest {
    pb::TailLogRequest {
        reason: "watching".to_owned(),
        ticket: "SEC-1".to_owned(),
        ..Default::default()
    }
}

fn good_login(_: &Ground) -> pb::LoginRequest {
    pb::LoginRequest {
        secret: "swordfish".to_owned(),
    }
}

fn good_unseal(_: &Ground) -> pb::UnsealRequest {
    pb::UnsealRequest {
        passphrase: "not the passphrase".to_owned(),
        ..Default::default()
    }
}

fn good_create(ground: &Ground) -> pb::CreatePrincipalRequest {
    pb::CreatePrincipalRequest {
        name: "newcomer".to_owned(),
        role: pb::Role::Auditor.into(),
        sites: vec!["nl".to_owned()],
        certificate_pem: ground.certificate.clone(),
        agreement: Some(pb::Agreement {
            reference: "NDA-2".to_owned(),
            valid_from: in_days(0),
            valid_until: in_days(300),
        }),
    }
}

fn good_get_principal(_: &Ground) -> pb::GetPrincipalRequest {
    pb::GetPrincipalRequest {
        principal: "processor-c".to_owned(),
    }
}

fn good_disable(_: &Ground) -> pb::DisablePrincipalRequest {
    pb::DisablePrincipalRequest {
        principal: "processor-c".to_owned(),
    }
}

fn good_rotate(_: &Ground) -> pb::RotateSecretRequest {
    pb::RotateSecretRequest {
        principal: "custodian".to_owned(),
    }
}

fn good_allowance(ground: &Ground) -> pb::SetAllowanceRequest {
    pb::SetAllowanceRequest {
        allowance: Some(pb::Allowance {
            site: "nl".to_owned(),
            portal: ground.portal.clone(),
            processor: ground.processor.clone(),
            purposes: vec![1, 2],
            uses_max: 1,
            release_seconds_max: 60,
            releases_per_hour: 1,
        }),
    }
}

fn good_approve(_: &Ground) -> pb::ApproveActionRequest {
    pb::ApproveActionRequest {
        action: payvault::ids::ActionId::random().to_string(),
    }
}

fn card_of(request: &mut pb::TokenizeRequest) -> &mut pb::Card {
    match request.details.as_mut().and_then(|d| d.kind.as_mut()) {
        Some(Kind::Card(card)) => card,
        _ => panic!("not a card"),
    }
}

fn iban_of(request: &mut pb::TokenizeRequest) -> &mut pb::IbanAccount {
    match request.details.as_mut().and_then(|d| d.kind.as_mut()) {
        Some(Kind::Iban(iban)) => iban,
        _ => panic!("not an IBAN"),
    }
}

fn kind_of(request: &mut pb::TokenizeRequest) -> &mut Kind {
    let details = request.details.as_mut();
    details
        .and_then(|details| details.kind.as_mut())
        .expect("details")
}

fn us_of(request: &mut pb::TokenizeRequest) -> &mut pb::UsAccount {
    match request.details.as_mut().and_then(|d| d.kind.as_mut()) {
        Some(Kind::UsAccount(account)) => account,
        _ => panic!("not a US account"),
    }
}

/// Request ids, wherever there is one.
fn request_ids<M: Message>(
    table: &mut Table<'_>,
    rpc: Rpc,
    good: fn(&Ground) -> M,
    id: fn(&mut M) -> &mut Vec<u8>,
) {
    let rows = [
        ("no request id", 0),
        ("a request id of 15 bytes", 15),
        ("a request id of 33 bytes", 33),
    ];
    for (what, length) in rows {
        table.row(rpc, what, good, &["request_id"], |m| {
            *id(m) = vec![b'r'; length];
        });
    }
}

/// Transaction ids, wherever there is one.
fn transactions<M: Message>(
    table: &mut Table<'_>,
    rpc: Rpc,
    good: fn(&Ground) -> M,
    id: fn(&mut M) -> &mut String,
) {
    let fields = &["transaction"];
    table.row(rpc, "no transaction", good, fields, |m| id(m).clear());
    table.row(rpc, "a PAN for a transaction", good, fields, |m| {
        *id(m) = PAN.to_owned();
    });
    table.row(
        rpc,
        "a principal's id for a transaction",
        good,
        fields,
        |m| {
            *id(m) = id(m).replace("txn_", "prn_");
        },
    );
    table.row(rpc, "a transaction id in capitals", good, fields, |m| {
        *id(m) = id(m).to_uppercase();
    });
    table.row(rpc, "a transaction id too long", good, fields, |m| {
        id(m).push('b');
    });
    table.row(
        rpc,
        "control characters for a transaction",
        good,
        fields,
        |m| {
            *id(m) = CONTROL.to_owned();
        },
    );
    table.row(rpc, "20 kB for a transaction", good, fields, |m| {
        *id(m) = long(20_000);
    });
}

/// Tokens, wherever there is one.
fn tokens<M: Message>(
    table: &mut Table<'_>,
    rpc: Rpc,
    good: fn(&Ground) -> M,
    field: &'static str,
    token: fn(&mut M) -> &mut String,
) {
    let fields = &[field];
    // An absent `replaces` replaces nothing.
    if field == "token" {
        table.row(rpc, "no token", good, fields, |m| token(m).clear());
    }
    let own = table.ground.token.clone();
    table.row(rpc, "a PAN for a token", good, fields, |m| {
        *token(m) = PAN.to_owned();
    });
    table.row(rpc, "a token with a letter changed", good, fields, |m| {
        let last = if own.ends_with('b') { "c" } else { "b" };
        *token(m) = format!("{}{last}", &own[..own.len() - 1]);
    });
    table.row(rpc, "a token cut short", good, fields, |m| {
        *token(m) = own[..own.len() - 2].to_owned();
    });
    table.row(rpc, "a token in capitals", good, fields, |m| {
        *token(m) = own.to_uppercase();
    });
    table.row(rpc, "a token of another version", good, fields, |m| {
        *token(m) = own.replace("pvt_a", "pvt_b");
    });
    table.row(rpc, "a token and a space", good, fields, |m| {
        *token(m) = format!("{own} ");
    });
    table.row(rpc, "20 kB for a token", good, fields, |m| {
        *token(m) = long(20_000);
    });
}

/// References that go into the ledger.
fn references<M: Message>(
    table: &mut Table<'_>,
    rpc: Rpc,
    good: fn(&Ground) -> M,
    field: &'static str,
    chars_max: usize,
    required: bool,
    text: fn(&mut M) -> &mut String,
) {
    let fields = &[field];
    if required {
        table.row(rpc, "no reference", good, fields, |m| text(m).clear());
    }
    table.row(rpc, "a PAN for a reference", good, fields, |m| {
        *text(m) = PAN.to_owned();
    });
    table.row(rpc, "a grouped PAN in a reference", good, fields, |m| {
        *text(m) = "for 4000 0566 5566 5556, thanks".to_owned();
    });
    table.row(
        rpc,
        "control characters in a reference",
        good,
        fields,
        |m| {
            *text(m) = CONTROL.to_owned();
        },
    );
    table.row(rpc, "a reference that isn't ASCII", good, fields, |m| {
        *text(m) = "Bestellung für Jörg".to_owned();
    });
    table.row(rpc, "a PAN in other digits", good, fields, |m| {
        *text(m) = ARABIC.to_owned();
    });
    table.row(rpc, "a reference too long", good, fields, |m| {
        *text(m) = long(chars_max + 1);
    });
    table.row(rpc, "a reference of 20 kB", good, fields, |m| {
        *text(m) = long(20_000);
    });
}

fn opening(table: &mut Table<'_>) {
    use pb::OpenTransactionRequest as Open;
    let rpc = Rpc::OpenTransaction;
    fn terms_of(open: &mut Open) -> &mut pb::Terms {
        open.terms.as_mut().expect("terms")
    }
    fn grant_of(open: &mut Open) -> &mut pb::Grant {
        &mut terms_of(open).parties[0].grants[0]
    }
    request_ids(table, rpc, good_open, |m| &mut m.request_id);
    table.row(rpc, "no terms", good_open, &["terms"], |m| m.terms = None);
    table.row(
        rpc,
        "empty terms",
        good_open,
        &[
            "terms.site",
            "terms.expires_at",
            "terms.release_until",
            "terms.parties",
        ],
        |m| m.terms = Some(pb::Terms::default()),
    );
    for (what, site) in [
        ("no site", ""),
        ("the vault's own site", "-"),
        ("a site in capitals", "NL"),
        ("a site with a space", "n l"),
        ("a site that isn't ASCII", "ñl"),
        ("a site too long", "abcdefghijklmnopq"),
        ("a PAN for a site", PAN),
        ("control characters for a site", CONTROL),
    ] {
        table.row(rpc, what, good_open, &["terms.site"], |m| {
            terms_of(m).site = site.to_owned();
        });
    }
    references(table, rpc, good_open, "terms.merchant", 64, false, |m| {
        &mut terms_of(m).merchant
    });
    references(table, rpc, good_open, "terms.reference", 64, false, |m| {
        &mut terms_of(m).reference
    });

    let expires = &["terms.expires_at"];
    table.row(rpc, "no expiry", good_open, expires, |m| {
        terms_of(m).expires_at = None;
    });
    table.row(rpc, "an expiry before 1970", good_open, expires, |m| {
        terms_of(m).expires_at = at(-1);
    });
    table.row(rpc, "an expiry in the past", good_open, expires, |m| {
        terms_of(m).expires_at = at(1_500_000_000);
    });
    table.row(
        rpc,
        "an expiry past the year 9999",
        good_open,
        expires,
        |m| {
            terms_of(m).expires_at = at(TOO_LATE);
        },
    );
    table.row(
        rpc,
        "an expiry at the end of time",
        good_open,
        expires,
        |m| {
            terms_of(m).expires_at = at(i64::MAX);
        },
    );
    table.row(rpc, "an expiry at its beginning", good_open, expires, |m| {
        terms_of(m).expires_at = at(i64::MIN);
    });
    table.row(rpc, "negative nanoseconds", good_open, expires, |m| {
        terms_of(m).expires_at.as_mut().expect("one").nanos = -1;
    });
    table.row(rpc, "a second of nanoseconds", good_open, expires, |m| {
        terms_of(m).expires_at.as_mut().expect("one").nanos = 1_000_000_000;
    });
    let release = &["terms.release_until"];
    table.row(rpc, "no release date", good_open, release, |m| {
        terms_of(m).release_until = None;
    });
    table.row(rpc, "release before expiry", good_open, release, |m| {
        terms_of(m).release_until = in_days(0);
    });
    table.row(rpc, "release in 401 days", good_open, release, |m| {
        terms_of(m).release_until = in_days(401);
    });
    table.row(rpc, "release in the year 9999", good_open, release, |m| {
        terms_of(m).release_until = at(TOO_LATE - 1);
    });
    table.row(rpc, "release past the year 9999", good_open, release, |m| {
        terms_of(m).release_until = at(TOO_LATE);
    });

    let currency = &["terms.amount.currency"];
    for (what, code) in [
        ("no currency", ""),
        ("a currency in small letters", "eur"),
        ("a currency of four letters", "EURO"),
        ("a currency that isn't ASCII", "€UR"),
        ("digits for a currency", "978"),
        ("a PAN for a currency", PAN),
    ] {
        table.row(rpc, what, good_open, currency, |m| {
            terms_of(m).amount.as_mut().expect("one").currency = code.to_owned();
        });
    }
    let units = &["terms.amount.minor_units"];
    table.row(rpc, "a negative amount", good_open, units, |m| {
        terms_of(m).amount.as_mut().expect("one").minor_units = -1_234_567;
    });
    table.row(rpc, "the most negative amount", good_open, units, |m| {
        terms_of(m).amount.as_mut().expect("one").minor_units = i64::MIN;
    });

    let parties = &["terms.parties"];
    table.row(rpc, "no parties", good_open, parties, |m| {
        terms_of(m).parties.clear();
    });
    table.row(rpc, "five parties", good_open, parties, |m| {
        terms_of(m).parties = vec![terms_of(m).parties[0].clone(); 5];
    });
    table.row(rpc, "200 parties", good_open, parties, |m| {
        terms_of(m).parties = vec![terms_of(m).parties[0].clone(); 200];
    });
    let second = &["terms.parties[1].principal"];
    table.row(rpc, "a party twice", good_open, second, |m| {
        terms_of(m).parties = vec![terms_of(m).parties[0].clone(); 2];
    });
    let principal = &["terms.parties[0].principal"];
    for (what, id) in [
        ("a party without a name", ""),
        ("a name for a party's id", "processor-a"),
        ("a PAN for a party", PAN),
        ("control characters for a party", CONTROL),
    ] {
        table.row(rpc, what, good_open, principal, |m| {
            terms_of(m).parties[0].principal = id.to_owned();
        });
    }
    let grants = &["terms.parties[0].grants"];
    table.row(rpc, "no grants", good_open, grants, |m| {
        terms_of(m).parties[0].grants.clear();
    });
    table.row(rpc, "200 grants", good_open, grants, |m| {
        terms_of(m).parties[0].grants = vec![grant_of(m).clone(); 200];
    });
    let twice = &["terms.parties[0].grants[1].purpose"];
    table.row(rpc, "a purpose twice", good_open, twice, |m| {
        terms_of(m).parties[0].grants = vec![grant_of(m).clone(); 2];
    });
    let purpose = &["terms.parties[0].grants[0].purpose"];
    for code in [0, 7, 257, -1, i32::MIN, i32::MAX] {
        table.row(rpc, "a purpose that is none", good_open, purpose, |m| {
            grant_of(m).purpose = code;
        });
    }
    let fields = &["terms.parties[0].grants[0].fields"];
    let number = i32::from(pb::Field::Number);
    for wrong in [
        vec![],
        vec![0],
        vec![7],
        vec![-1],
        vec![257],
        vec![number, number],
        vec![number; 200],
    ] {
        table.row(rpc, "fields that are none", good_open, fields, |m| {
            grant_of(m).fields = wrong;
        });
    }
    table.row(rpc, "a security code to capture", good_open, fields, |m| {
        grant_of(m).purpose = pb::Purpose::Capture.into();
        grant_of(m).fields = vec![pb::Field::SecurityCode.into()];
    });
    let uses = &["terms.parties[0].grants[0].uses_max"];
    for wrong in [0, 101, 256, 257, u32::MAX] {
        table.row(rpc, "uses that can't be", good_open, uses, |m| {
            grant_of(m).uses_max = wrong;
        });
    }
}

fn handing_in(table: &mut Table<'_>) {
    let rpc = Rpc::Tokenize;
    request_ids(table, rpc, good_tokenize, |m| &mut m.request_id);
    transactions(table, rpc, good_tokenize, |m| &mut m.transaction);
    tokens(table, rpc, good_tokenize, "replaces", |m| &mut m.replaces);
    table.row(rpc, "no details", good_tokenize, &["details"], |m| {
        m.details = None;
    });
    table.row(rpc, "empty details", good_tokenize, &["details"], |m| {
        m.details = Some(pb::PaymentDetails { kind: None });
    });
    let nothing = [
        "details.card.number",
        "details.card.expiry_month",
        "details.card.expiry_year",
    ];
    table.row(rpc, "an empty card", good_tokenize, &nothing, |m| {
        *card_of(m) = pb::Card::default();
    });
    let number = &["details.card.number"];
    for (what, pan) in [
        ("a bad check digit", "4242424242424241"),
        ("eleven digits", "42424242424"),
        ("twenty digits", "42424242424242424242"),
        ("letters in a number", "4242x24242424242"),
        ("other digits", ARABIC),
        ("fullwidth digits", "\u{ff14}242424242424242"),
        ("a number with a newline", "4242424242424242\n"),
        ("a number with a zero byte", "4242424242424242\0"),
        ("two spaces in a number", "4242  4242 4242 4242"),
        ("dots in a number", "4242.4242.4242.4242"),
        ("only separators", "-- --"),
        ("a plus sign", "+4242424242424242"),
    ] {
        table.row(rpc, what, good_tokenize, number, |m| {
            card_of(m).number = pan.to_owned();
        });
    }
    table.row(rpc, "a number of 20 kB", good_tokenize, number, |m| {
        card_of(m).number = "4".repeat(20_000);
    });
    let month = &["details.card.expiry_month"];
    for wrong in [0, 13, 257, -1, i32::MIN, i32::MAX] {
        table.row(rpc, "a month that is none", good_tokenize, month, |m| {
            card_of(m).expiry_month = wrong;
        });
    }
    let year = &["details.card.expiry_year"];
    for wrong in [0, 30, 2020, 2099, 9999, 67_566, -2030, i32::MIN, i32::MAX] {
        table.row(rpc, "a year that can't be", good_tokenize, year, |m| {
            card_of(m).expiry_year = wrong;
        });
    }
    let holder = &["details.card.holder"];
    for (what, text) in [
        ("a PAN for a holder", PAN),
        ("control characters in a holder", CONTROL),
        ("a line separator in a holder", "A. de\u{2028}Vries"),
        ("a bidi override in a holder", "A. de\u{202e}Vries"),
    ] {
        table.row(rpc, what, good_tokenize, holder, |m| {
            card_of(m).holder = text.to_owned();
        });
    }
    table.row(rpc, "a holder too long", good_tokenize, holder, |m| {
        card_of(m).holder = long(61);
    });
    let code = &["details.card.security_code"];
    for (what, text) in [
        ("a code of two digits", "97"),
        ("a code of five digits", "97531"),
        ("letters for a code", "9x7"),
        ("other digits for a code", "\u{661}\u{662}\u{663}"),
        ("a PAN for a code", PAN),
        ("a code and a space", "975 "),
    ] {
        table.row(rpc, what, good_tokenize, code, |m| {
            card_of(m).security_code = text.to_owned();
        });
    }
    let postal = &["details.card.billing.postal_code"];
    for (what, text) in [
        ("control characters in a postcode", CONTROL),
        ("a PAN for a postcode", PAN),
        ("a postcode with a semicolon", "1012;AB"),
        ("a postcode too long", "12345678901234567"),
    ] {
        table.row(rpc, what, good_tokenize, postal, |m| {
            card_of(m).billing = Some(pb::Billing {
                postal_code: text.to_owned(),
                address_line: String::new(),
            });
        });
    }
    let address = &["details.card.billing.address_line"];
    for (what, text) in [
        ("control characters in an address", CONTROL.to_owned()),
        ("a PAN in an address", format!("Dam {PAN}")),
        ("an address too long", long(81)),
    ] {
        table.row(rpc, what, good_tokenize, address, |m| {
            card_of(m).billing = Some(pb::Billing {
                postal_code: String::new(),
                address_line: text,
            });
        });
    }

    let nothing = ["details.iban.iban", "details.iban.holder"];
    table.row(rpc, "an empty IBAN", good_iban, &nothing, |m| {
        *iban_of(m) = pb::IbanAccount::default();
    });
    let iban = &["details.iban.iban"];
    for (what, text) in [
        ("bad check digits", "NL92ABNA0417164300"),
        ("a country without IBANs", "US91ABNA0417164300"),
        ("an IBAN too short", "NL91ABNA041716430"),
        ("an IBAN too long", "NL91ABNA04171643000"),
        ("digits where a bank should be", "NL9112340417164300"),
        ("a PAN for an IBAN", PAN),
        ("control characters in an IBAN", CONTROL),
        ("other digits in an IBAN", "NL91ABNA041716430\u{660}"),
    ] {
        table.row(rpc, what, good_iban, iban, |m| {
            iban_of(m).iban = text.to_owned();
        });
    }
    table.row(rpc, "20 kB for an IBAN", good_iban, iban, |m| {
        iban_of(m).iban = long(20_000);
    });
    let holder = &["details.iban.holder"];
    for (what, text) in [
        ("no holder", String::new()),
        ("a PAN for a holder", PAN.to_owned()),
        ("control characters in a holder", CONTROL.to_owned()),
        ("a holder too long", long(71)),
    ] {
        table.row(rpc, what, good_iban, holder, |m| {
            iban_of(m).holder = text;
        });
    }

    let nothing = [
        "details.us_account.routing_number",
        "details.us_account.account_number",
        "details.us_account.holder",
        "details.us_account.account_type",
    ];
    table.row(rpc, "an empty US account", good_us, &nothing, |m| {
        *us_of(m) = pb::UsAccount::default();
    });
    let routing = &["details.us_account.routing_number"];
    for (what, text) in [
        ("a bad check digit", "021000022"),
        ("eight digits", "02100002"),
        ("ten digits", "0210000210"),
        ("a prefix that is none", "991000021"),
        ("letters", "02100002x"),
        ("other digits", "\u{660}21000021"),
    ] {
        table.row(rpc, what, good_us, routing, |m| {
            us_of(m).routing_number = text.to_owned();
        });
    }
    let account = &["details.us_account.account_number"];
    for (what, text) in [
        ("three digits", "123"),
        ("eighteen digits", "123456789012345678"),
        ("letters", "12345x7"),
        ("control characters", CONTROL),
        ("other digits", ARABIC),
    ] {
        table.row(rpc, what, good_us, account, |m| {
            us_of(m).account_number = text.to_owned();
        });
    }
    let kind = &["details.us_account.account_type"];
    for wrong in [0, 3, -1, 257, i32::MIN, i32::MAX] {
        table.row(rpc, "an account type that is none", good_us, kind, |m| {
            us_of(m).account_type = wrong;
        });
    }
    let bic = &["details.iban.bic"];
    for (what, text) in [
        ("a BIC of another country", "DEUTDEFF"),
        ("a BIC of seven characters", "ABNANL2"),
        ("a BIC with a digit for its country", "ABNAN12A"),
        ("a PAN for a BIC", PAN),
        ("control characters in a BIC", CONTROL),
    ] {
        table.row(rpc, what, good_iban, bic, |m| {
            iban_of(m).bic = text.to_owned();
        });
    }
    handing_in_accounts(table);
}

/// The accounts of one country each: what is empty, and each field as it must not be.
fn handing_in_accounts(table: &mut Table<'_>) {
    let rpc = Rpc::Tokenize;
    type Good = fn(&Ground) -> pb::TokenizeRequest;
    let empty: [(&'static str, Good, Kind, &[&'static str]); 5] = [
        (
            "an empty UK account",
            good_uk,
            Kind::UkAccount(pb::UkAccount::default()),
            &[
                "details.uk_account.sort_code",
                "details.uk_account.account_number",
                "details.uk_account.holder",
            ],
        ),
        (
            "an empty Swedish account",
            good_se,
            Kind::SeAccount(pb::SeAccount::default()),
            &[
                "details.se_account.clearing_number",
                "details.se_account.account_number",
                "details.se_account.holder",
            ],
        ),
        (
            "an empty bankgiro",
            good_bankgiro,
            Kind::Bankgiro(pb::Bankgiro::default()),
            &["details.bankgiro.number", "details.bankgiro.holder"],
        ),
        (
            "an empty plusgiro",
            good_plusgiro,
            Kind::Plusgiro(pb::Plusgiro::default()),
            &["details.plusgiro.number", "details.plusgiro.holder"],
        ),
        (
            "an empty Danish account",
            good_dk,
            Kind::DkAccount(pb::DkAccount::default()),
            &[
                "details.dk_account.reg_number",
                "details.dk_account.account_number",
                "details.dk_account.holder",
            ],
        ),
    ];
    for (what, good, kind, fields) in empty {
        table.row(rpc, what, good, fields, |m| *kind_of(m) = kind);
    }
    for (good, field, wrong) in [
        (
            good_uk as Good,
            "details.uk_account.sort_code",
            &["20000", "2000000", "20000x", PAN, ARABIC, CONTROL][..],
        ),
        (
            good_uk,
            "details.uk_account.account_number",
            &[
                "55779",
                "557799112",
                "5577991122",
                "5577991x",
                PAN,
                ARABIC,
                CONTROL,
                "00000000",
            ],
        ),
        (
            good_se,
            "details.se_account.clearing_number",
            &["583", "58390", "0839", "83270", "58x9", PAN, CONTROL],
        ),
        (
            good_se,
            "details.se_account.account_number",
            &[
                "8257467", "825746", "82574666", "825746x", PAN, ARABIC, CONTROL, "0000000",
            ],
        ),
        (
            good_bankgiro,
            "details.bankgiro.number",
            &[
                "50501056",
                "505010",
                "505010555",
                "5050105x",
                PAN,
                ARABIC,
                CONTROL,
            ],
        ),
        (
            good_plusgiro,
            "details.plusgiro.number",
            &["2865435", "7", "286543400", "286543x", PAN, ARABIC, CONTROL],
        ),
        (
            good_dk,
            "details.dk_account.reg_number",
            &["004", "00400", "00x0", PAN, CONTROL],
        ),
        (
            good_dk,
            "details.dk_account.account_number",
            &[
                "04401162433",
                "044011624x",
                PAN,
                ARABIC,
                CONTROL,
                "0000000000",
            ],
        ),
    ] {
        for text in wrong {
            table.row(rpc, field, good, &[field], |m| {
                let text = (*text).to_owned();
                match (kind_of(m), field.rsplit('.').next()) {
                    (Kind::UkAccount(uk), Some("sort_code")) => uk.sort_code = text,
                    (Kind::UkAccount(uk), _) => uk.account_number = text,
                    (Kind::SeAccount(se), Some("clearing_number")) => se.clearing_number = text,
                    (Kind::SeAccount(se), _) => se.account_number = text,
                    (Kind::Bankgiro(giro), _) => giro.number = text,
                    (Kind::Plusgiro(giro), _) => giro.number = text,
                    (Kind::DkAccount(dk), Some("reg_number")) => dk.reg_number = text,
                    (Kind::DkAccount(dk), _) => dk.account_number = text,
                    _ => panic!("another kind"),
                }
            });
        }
    }
    let field = "details.uk_account.account_number";
    table.row(rpc, "a failed modulus check", good_uk, &[field], |m| {
        *kind_of(m) = Kind::UkAccount(pb::UkAccount {
            sort_code: "990101".to_owned(),
            account_number: "20029773".to_owned(),
            holder: "A. Smith".to_owned(),
        });
    });
    for (good, field) in [
        (good_uk as Good, "details.uk_account.holder"),
        (good_se, "details.se_account.holder"),
        (good_bankgiro, "details.bankgiro.holder"),
        (good_plusgiro, "details.plusgiro.holder"),
        (good_dk, "details.dk_account.holder"),
    ] {
        for text in [String::new(), PAN.to_owned(), CONTROL.to_owned(), long(71)] {
            table.row(rpc, field, good, &[field], |m| match kind_of(m) {
                Kind::UkAccount(uk) => uk.holder = text,
                Kind::SeAccount(se) => se.holder = text,
                Kind::Bankgiro(giro) => giro.holder = text,
                Kind::Plusgiro(giro) => giro.holder = text,
                Kind::DkAccount(dk) => dk.holder = text,
                _ => panic!("another kind"),
            });
        }
    }
}

/// What is wrong with a whole message ends its stream; what is wrong with an item is its own test.
fn in_bulk(table: &mut Table<'_>) {
    let rpc = Rpc::TokenizeStream;
    let items = ["items"];
    table.row(rpc, "no item", good_tokenize_stream, &items, |m| {
        m.items.clear();
    });
    table.row(rpc, "65 items", good_tokenize_stream, &items, |m| {
        m.items = vec![m.items[0].clone(); 65];
    });
    let rpc = Rpc::RedeemStream;
    table.row(rpc, "no item", good_redeem_stream, &items, |m| {
        m.items.clear();
    });
    table.row(rpc, "65 items", good_redeem_stream, &items, |m| {
        m.items = vec![m.items[0].clone(); 65];
    });
}

fn using(table: &mut Table<'_>) {
    let rpc = Rpc::GetTransaction;
    transactions(table, rpc, good_get, |m| &mut m.transaction);

    let rpc = Rpc::Redeem;
    request_ids(table, rpc, good_redeem, |m| &mut m.request_id);
    transactions(table, rpc, good_redeem, |m| &mut m.transaction);
    tokens(table, rpc, good_redeem, "token", |m| &mut m.token);
    for code in [0, 7, 257, -1, i32::MIN, i32::MAX] {
        let what = "a purpose that is none";
        table.row(rpc, what, good_redeem, &["purpose"], |m| m.purpose = code);
    }
    for wrong in [vec![], vec![0], vec![7], vec![-1], vec![1, 1], vec![1; 200]] {
        let what = "fields that are none";
        table.row(rpc, what, good_redeem, &["fields"], |m| m.fields = wrong);
    }
    let everything = ["request_id", "transaction", "token", "purpose", "fields"];
    table.row(rpc, "nothing", good_redeem, &everything, |m| {
        *m = pb::RedeemRequest::default();
    });

    let rpc = Rpc::ReportOutcome;
    request_ids(table, rpc, good_report, |m| &mut m.request_id);
    transactions(table, rpc, good_report, |m| &mut m.transaction);
    tokens(table, rpc, good_report, "token", |m| &mut m.token);
    references(
        table,
        rpc,
        good_report,
        "processor_reference",
        64,
        true,
        |m| &mut m.processor_reference,
    );
    for code in [0, 4, 257, -1, i32::MIN, i32::MAX] {
        let what = "an outcome that is none";
        table.row(rpc, what, good_report, &["outcome"], |m| m.outcome = code);
    }

    let rpc = Rpc::DescribeToken;
    transactions(table, rpc, good_describe, |m| &mut m.transaction);
    tokens(table, rpc, good_describe, "token", |m| &mut m.token);
    let rpc = Rpc::RevokeToken;
    transactions(table, rpc, good_revoke, |m| &mut m.transaction);
    tokens(table, rpc, good_revoke, "token", |m| &mut m.token);
    let rpc = Rpc::CloseTransaction;
    transactions(table, rpc, good_close, |m| &mut m.transaction);
}

fn reading(table: &mut Table<'_>) {
    let rpc = Rpc::GetConsistencyProof;
    table.row(rpc, "from nothing", good_proof, &["from_size"], |m| {
        m.from_size = 0;
    });
    table.row(rpc, "backwards", good_proof, &["to_size"], |m| {
        m.from_size = 3
    });
    table.row(rpc, "past the end", good_proof, &["to_size"], |m| {
        m.to_size = u64::MAX;
    });
    let nothing = ["from_size", "to_size"];
    table.row(rpc, "past the end of nothing", good_proof, &nothing, |m| {
        m.from_size = 0;
        m.to_size = 1 << 40;
    });

    let rpc = Rpc::TailLog;
    references(table, rpc, good_tail, "reason", 200, true, |m| {
        &mut m.reason
    });
    references(table, rpc, good_tail, "ticket", 64, true, |m| &mut m.ticket);
    table.row(rpc, "past the end", good_tail, &["from_index"], |m| {
        m.from_index = Some(u64::MAX);
    });
    table.row(rpc, "a time before 1970", good_tail, &["from_time"], |m| {
        m.from_time = at(-1);
    });
    for text in ["NL", PAN, CONTROL] {
        table.row(rpc, "a site that is none", good_tail, &["site"], |m| {
            m.site = text.to_owned();
        });
        table.row(rpc, "a kind that is none", good_tail, &["kinds[0]"], |m| {
            m.kinds = vec![text.to_owned()];
        });
    }

    let rpc = Rpc::ExportLog;
    references(table, rpc, good_export, "reason", 200, true, |m| {
        &mut m.reason
    });
    references(table, rpc, good_export, "ticket", 64, true, |m| {
        &mut m.ticket
    });
    table.row(rpc, "an empty range", good_export, &["to_index"], |m| {
        (m.from_index, m.to_index) = (2, 2);
    });
    table.row(rpc, "a range backwards", good_export, &["to_index"], |m| {
        (m.from_index, m.to_index) = (3, 2);
    });
    table.row(
        rpc,
        "a range from past the end",
        good_export,
        &["from_index"],
        |m| {
            m.from_index = u64::MAX;
        },
    );
    table.row(rpc, "times before 1970", good_export, &["from_time"], |m| {
        m.from_time = at(-1);
    });
    table.row(rpc, "times past 9999", good_export, &["to_time"], |m| {
        m.to_time = at(TOO_LATE);
    });
    for text in ["NL", PAN, CONTROL, "abcdefghijklmnopq"] {
        table.row(rpc, "a site that is none", good_export, &["site"], |m| {
            m.site = text.to_owned();
        });
    }
    for text in ["", "Redeemed", PAN, CONTROL] {
        table.row(
            rpc,
            "a kind that is none",
            good_export,
            &["kinds[1]"],
            |m| {
                m.kinds = vec!["redeemed".to_owned(), text.to_owned()];
            },
        );
    }
    table.row(rpc, "200 kinds", good_export, &["kinds"], |m| {
        m.kinds = vec!["redeemed".to_owned(); 200];
    });

    let rpc = Rpc::Login;
    table.row(rpc, "no secret", good_login, &["secret"], |m| {
        m.secret.clear();
    });
    table.row(rpc, "a secret of 129 bytes", good_login, &["secret"], |m| {
        m.secret = long(129);
    });
    table.row(rpc, "a secret of 20 kB", good_login, &["secret"], |m| {
        m.secret = long(20_000);
    });
}

fn running(table: &mut Table<'_>) {
    let rpc = Rpc::Unseal;
    for length in [0, 11, 1_025, 20_000] {
        table.row(
            rpc,
            "a passphrase of a wrong length",
            good_unseal,
            &["passphrase"],
            |m| {
                m.passphrase = "zyxwvutsrqponm".chars().cycle().take(length).collect();
            },
        );
    }

    table.row(
        rpc,
        "a share beside a passphrase",
        good_unseal,
        &["passphrase"],
        |m| {
            m.share = "zyxwvutsrqponm".to_owned();
        },
    );
    table.row(rpc, "a share of 257 bytes", good_unseal, &["share"], |m| {
        m.passphrase.clear();
        m.share = "zyxwvutsrqponm".chars().cycle().take(257).collect();
    });

    let rpc = Rpc::CreatePrincipal;
    for (what, name) in [
        ("no name", String::new()),
        ("a name in capitals", "Newcomer".to_owned()),
        ("a name with a space", "new comer".to_owned()),
        ("a name that isn't ASCII", "jörg-the-new".to_owned()),
        ("a PAN for a name", PAN.to_owned()),
        ("a PAN in a name", format!("shop-{PAN}")),
        ("control characters in a name", CONTROL.to_owned()),
        ("a name too long", long(65)),
        (
            "another principal's id for a name",
            table.ground.portal.clone(),
        ),
    ] {
        table.row(rpc, what, good_create, &["name"], |m| m.name = name);
    }
    for code in [0, 6, 257, -1, i32::MIN, i32::MAX] {
        table.row(rpc, "a role that is none", good_create, &["role"], |m| {
            m.role = code;
        });
    }
    for text in ["", "-", "NL", PAN, CONTROL] {
        table.row(
            rpc,
            "a site that is none",
            good_create,
            &["sites[1]"],
            |m| {
                m.sites = vec!["nl".to_owned(), text.to_owned()];
            },
        );
    }
    table.row(rpc, "200 sites", good_create, &["sites"], |m| {
        m.sites = vec!["nl".to_owned(); 200];
    });
    table.row(
        rpc,
        "a portal without sites",
        good_create,
        &["sites"],
        |m| {
            m.role = pb::Role::Portal.into();
            m.agreement = None;
            m.sites.clear();
        },
    );
    let agreement = &["agreement"];
    table.row(
        rpc,
        "a human without an agreement",
        good_create,
        agreement,
        |m| {
            m.agreement = None;
        },
    );
    table.row(
        rpc,
        "a machine with an agreement",
        good_create,
        agreement,
        |m| {
            m.role = pb::Role::Portal.into();
        },
    );
    fn agreement_of(create: &mut pb::CreatePrincipalRequest) -> &mut pb::Agreement {
        create.agreement.as_mut().expect("one")
    }
    references(
        table,
        rpc,
        good_create,
        "agreement.reference",
        64,
        true,
        |m| &mut agreement_of(m).reference,
    );
    let nothing = [
        "agreement.reference",
        "agreement.valid_from",
        "agreement.valid_until",
    ];
    table.row(rpc, "an empty agreement", good_create, &nothing, |m| {
        *agreement_of(m) = pb::Agreement::default();
    });
    let until = &["agreement.valid_until"];
    table.row(
        rpc,
        "an agreement that ends first",
        good_create,
        until,
        |m| {
            agreement_of(m).valid_until = at(1);
        },
    );
    table.row(rpc, "an agreement past 9999", good_create, until, |m| {
        agreement_of(m).valid_until = at(TOO_LATE);
    });
    let from = &["agreement.valid_from"];
    table.row(
        rpc,
        "an agreement from before 1970",
        good_create,
        from,
        |m| {
            agreement_of(m).valid_from = at(-1);
        },
    );
    let certificate = &["certificate_pem"];
    let own = table.ground.certificate.clone();
    for (what, pem) in [
        ("no certificate", String::new()),
        ("a PAN for a certificate", PAN.to_owned()),
        ("a certificate cut short", own[..own.len() / 2].to_owned()),
        ("a certificate twice", format!("{own}{own}")),
        ("control characters for a certificate", CONTROL.to_owned()),
        (
            "a certificate of 17 kB",
            format!("{own}{}", "\n".repeat(17_000)),
        ),
        ("a foreign certificate", foreign_certificate()),
    ] {
        table.row(rpc, what, good_create, certificate, |m| {
            m.certificate_pem = pem;
        });
    }

    for (what, text) in [
        ("no principal", String::new()),
        ("a name too long", long(65)),
        ("20 kB for a name", long(20_000)),
    ] {
        let fields = &["principal"];
        table.row(Rpc::GetPrincipal, what, good_get_principal, fields, |m| {
            m.principal.clone_from(&text);
        });
        table.row(Rpc::DisablePrincipal, what, good_disable, fields, |m| {
            m.principal.clone_from(&text);
        });
        table.row(Rpc::RotateSecret, what, good_rotate, fields, |m| {
            m.principal.clone_from(&text);
        });
    }

    let rpc = Rpc::SetAllowance;
    fn allowance_of(set: &mut pb::SetAllowanceRequest) -> &mut pb::Allowance {
        set.allowance.as_mut().expect("one")
    }
    table.row(rpc, "no allowance", good_allowance, &["allowance"], |m| {
        m.allowance = None;
    });
    let nothing = ["allowance.site", "allowance.portal", "allowance.processor"];
    table.row(rpc, "an empty allowance", good_allowance, &nothing, |m| {
        *allowance_of(m) = pb::Allowance::default();
    });
    for text in ["", "-", "NL", PAN, CONTROL] {
        let fields = &["allowance.site"];
        table.row(rpc, "a site that is none", good_allowance, fields, |m| {
            allowance_of(m).site = text.to_owned();
        });
    }
    for text in ["", "prn_nobody", PAN, CONTROL] {
        let fields = &["allowance.portal"];
        table.row(rpc, "a portal that is none", good_allowance, fields, |m| {
            allowance_of(m).portal = text.to_owned();
        });
        let fields = &["allowance.processor"];
        table.row(
            rpc,
            "a processor that is none",
            good_allowance,
            fields,
            |m| {
                allowance_of(m).processor = text.to_owned();
            },
        );
    }
    for code in [0, 7, 257, -1, i32::MIN, i32::MAX] {
        let fields = &["allowance.purposes[1]"];
        table.row(rpc, "a purpose that is none", good_allowance, fields, |m| {
            allowance_of(m).purposes = vec![1, code];
        });
    }
    let fields = &["allowance.purposes"];
    table.row(rpc, "200 purposes", good_allowance, fields, |m| {
        allowance_of(m).purposes = vec![1; 200];
    });
    for wrong in [0, 101, 257, u32::MAX] {
        let fields = &["allowance.uses_max"];
        table.row(rpc, "uses that can't be", good_allowance, fields, |m| {
            allowance_of(m).uses_max = wrong;
        });
    }
    for wrong in [0, -1, 400 * 86_400 + 1, i64::MIN, i64::MAX] {
        let fields = &["allowance.release_seconds_max"];
        table.row(
            rpc,
            "a release time that can't be",
            good_allowance,
            fields,
            |m| {
                allowance_of(m).release_seconds_max = wrong;
            },
        );
    }
    for wrong in [0, 10_000_001, u32::MAX] {
        let fields = &["allowance.releases_per_hour"];
        table.row(rpc, "a rate that can't be", good_allowance, fields, |m| {
            allowance_of(m).releases_per_hour = wrong;
        });
    }

    let rpc = Rpc::ApproveAction;
    for text in ["", "act_", PAN, CONTROL, "7"] {
        table.row(
            rpc,
            "an action that is none",
            good_approve,
            &["action"],
            |m| {
                m.action = text.to_owned();
            },
        );
    }
    let transaction = table.ground.transaction.clone();
    table.row(
        rpc,
        "a transaction for an action",
        good_approve,
        &["action"],
        |m| {
            m.action = transaction;
        },
    );
    ending(table);
}

/// Holds, erasures, their receipts, and the clock.
fn ending(table: &mut Table<'_>) {
    let good_clock = |_: &Ground| pb::ConfirmClockRequest {
        time: Some(std::time::SystemTime::now().into()),
    };
    for seconds in [None, Some(0), Some(i64::MAX)] {
        let fields = &["time"];
        table.row(Rpc::ConfirmClock, "another time", good_clock, fields, |m| {
            m.time = seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 });
        });
    }
    let good_erase = |ground: &Ground| pb::EraseTransactionRequest {
        transaction: ground.transaction.clone(),
        site: "nl".to_owned(),
        month: "2026-11".to_owned(),
        ..Default::default()
    };
    let rpc = Rpc::EraseTransaction;
    for wrong in ["", "txn_", PAN, CONTROL] {
        let what = "a transaction that is none";
        table.row(rpc, what, good_erase, &["transaction"], |m| {
            m.transaction = wrong.to_owned();
        });
    }
    for wrong in [PAN, CONTROL] {
        table.row(rpc, "a reference", good_erase, &["reference"], |m| {
            m.reference = wrong.to_owned();
        });
        table.row(rpc, "a month", good_erase, &["month"], |m| {
            m.month = wrong.to_owned();
        });
        table.row(rpc, "a site", good_erase, &["site"], |m| {
            m.site = wrong.to_owned();
        });
    }
    let good_receipt = |_: &Ground| pb::GetErasureReceiptRequest {
        key: "release/nl/1".to_owned(),
        generation: 0,
    };
    for wrong in ["", "release/xx", PAN, CONTROL] {
        let rpc = Rpc::GetErasureReceipt;
        table.row(rpc, "no key's name", good_receipt, &["key"], |m| {
            m.key = wrong.to_owned();
        });
    }
    let good_rotation = |_: &Ground| pb::RotateKeyRequest {
        name: "release/nl/1".to_owned(),
    };
    for wrong in ["release/xx", "vault#1", PAN, CONTROL] {
        table.row(
            Rpc::RotateKey,
            "no key's name",
            good_rotation,
            &["name"],
            |m| {
                m.name = wrong.to_owned();
            },
        );
    }
    let good_compromise = |_: &Ground| pb::CompromiseKeyRequest {
        key: "release/nl/1".to_owned(),
    };
    for wrong in ["", "release/xx", "vault#0", "vault#01", PAN, CONTROL] {
        let rpc = Rpc::CompromiseKey;
        table.row(rpc, "no key's name", good_compromise, &["key"], |m| {
            m.key = wrong.to_owned();
        });
    }
    let good_hold = |ground: &Ground| pb::PlaceHoldRequest {
        case_reference: "C-1".to_owned(),
        transaction: ground.transaction.clone(),
        ..Default::default()
    };
    let rpc = Rpc::PlaceHold;
    let long = "c".repeat(65);
    for wrong in ["", PAN, CONTROL, long.as_str()] {
        table.row(rpc, "a case", good_hold, &["case_reference"], |m| {
            m.case_reference = wrong.to_owned();
        });
    }
    for wrong in ["", PAN, CONTROL] {
        table.row(rpc, "nothing to hold", good_hold, &["transaction"], |m| {
            m.transaction = wrong.to_owned();
        });
    }
    table.row(rpc, "two things", good_hold, &["transaction"], |m| {
        m.site = "nl".to_owned();
    });
    table.row(
        rpc,
        "no time",
        good_hold,
        &["from_time", "until_time"],
        |m| {
            m.transaction = String::new();
            m.site = "nl".to_owned();
        },
    );
    table.row(
        rpc,
        "a time that ends first",
        good_hold,
        &["until_time"],
        |m| {
            m.transaction = String::new();
            m.site = "nl".to_owned();
            let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
            (m.from_time, m.until_time) = (time(7), time(7));
        },
    );
    let good_lift = |_: &Ground| pb::LiftHoldRequest {
        hold: payvault::ids::HoldId::random().to_string(),
    };
    for wrong in ["", "hld_", PAN, CONTROL] {
        let fields = &["hold"];
        table.row(Rpc::LiftHold, "no hold", good_lift, fields, |m| {
            m.hold = wrong.to_owned();
        });
    }
}

fn foreign_certificate() -> String {
    let now = payvault::clock::Clock::system().now();
    let ca = payvault::api::dev_ca::DevCa::new(now).expect("a CA");
    ca.client("stranger").expect("one").certificate_pem
}

/// RPCs whose request has no field, as the contract says.
fn without_fields() -> BTreeSet<&'static str> {
    let set = prost_types::FileDescriptorSet::decode(payvault::api::server::DESCRIPTORS)
        .expect("descriptors");
    let empty: BTreeSet<String> = set
        .file
        .iter()
        .flat_map(|file| &file.message_type)
        .filter(|message| message.field.is_empty())
        .map(|message| message.name().to_owned())
        .collect();
    let named = Rpc::ALL.iter().map(|rpc| rpc.name());
    named
        .filter(|name| empty.contains(&format!("{name}Request")))
        .collect()
}

/// Who makes a call in this table.
fn caller(rpc: Rpc) -> &'static str {
    use payvault::policy::{Role, rule};
    match rpc {
        Rpc::Login => "custodian",
        _ if rule(rpc).roles.contains(&Role::Portal) => "portal",
        _ if rule(rpc).roles.contains(&Role::Processor) => "processor-a",
        _ if rule(rpc).roles.contains(&Role::Operator) => "operator",
        _ => "auditor",
    }
}

/// Texts and numbers of a message that would be noticed in an error, whatever their fields.
fn values(body: &[u8], found: &mut Vec<Vec<u8>>) -> bool {
    let mut rest = body;
    while !rest.is_empty() {
        let Ok(key) = prost::encoding::decode_varint(&mut rest) else {
            return false;
        };
        match key & 7 {
            0 => {
                let Ok(value) = prost::encoding::decode_varint(&mut rest) else {
                    return false;
                };
                let signed = value as i64;
                if signed.unsigned_abs() > 100_000 {
                    found.push(signed.to_string().into_bytes());
                    found.push(value.to_string().into_bytes());
                }
            }
            2 => {
                let Ok(length) = prost::encoding::decode_varint(&mut rest) else {
                    return false;
                };
                let Some((value, after)) = rest.split_at_checked(length as usize) else {
                    return false;
                };
                rest = after;
                let mut inner = Vec::new();
                if key >> 3 != 0 && values(value, &mut inner) {
                    found.extend(inner);
                }
                if value.len() >= 5 {
                    found.push(value.to_vec());
                }
                // A part of a long value is as bad as all of it.
                if value.len() > 40 {
                    found.push(value[..24].to_vec());
                }
            }
            _ => return false,
        }
    }
    true
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What lies in the store besides the ledger's own rows, which grow by the denial.
fn rows(serving: &Serving) -> BTreeMap<Key, Vec<u8>> {
    let mut rows = serving.disk.durable();
    rows.retain(|key, _| !b"HERTI".contains(&key[0]));
    rows
}

/// Refused as the row says, and nothing of what was sent comes back.
fn assert_refused(row: &Row, status: &Status) {
    let name = format!("{} with {}", row.rpc.name(), row.what);
    assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status}");
    assert_eq!(reason(status), "INVALID_REQUEST", "{name}");
    let bad = status.get_details_bad_request().expect("BadRequest");
    let fields: Vec<_> = bad
        .field_violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert_eq!(fields, row.fields, "{name}");
    for violation in &bad.field_violations {
        assert!(!violation.description.is_empty(), "{name}");
    }
    assert_silent(&name, &row.body, status);
}

fn assert_silent(name: &str, body: &[u8], status: &Status) {
    let mut found = Vec::new();
    values(body, &mut found);
    let said = all_of(status);
    for value in found {
        let text = String::from_utf8_lossy(&value);
        assert!(!contains(&said, &value), "{name}: {text:?} is said back");
    }
}

async fn ground(serving: &Serving) -> Ground {
    let transaction = open(serving, 100).await;
    let token = tokenize(serving, &transaction).await;
    Ground {
        transaction,
        token,
        processor: serving.id("processor-a"),
        portal: serving.id("portal"),
        certificate: serving.ca.client("newcomer").expect("one").certificate_pem,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_malformed_request_is_refused_and_changes_nothing() {
    let mut serving = Serving::start().await;
    let ground = ground(&serving).await;
    let mut table = Table {
        ground: &ground,
        rows: Vec::new(),
    };
    opening(&mut table);
    handing_in(&mut table);
    in_bulk(&mut table);
    using(&mut table);
    reading(&mut table);
    running(&mut table);
    let rows_of = table.rows;

    // Every call has rows, but those that have nothing to be wrong.
    let no_fields = without_fields();
    for rpc in Rpc::ALL {
        let count = rows_of.iter().filter(|row| row.rpc == *rpc).count();
        let index_only = *rpc == Rpc::GetReceipt;
        let nothing_to_spoil = no_fields.contains(rpc.name()) || index_only;
        assert_eq!(count == 0, nothing_to_spoil, "{}", rpc.name());
    }

    let mut sessions = BTreeMap::new();
    for who in ["auditor", "operator"] {
        sessions.insert(who, serving.login(who).await.expect("a session"));
    }
    let before = rows(&serving);
    let mut size = serving.size();
    let mut expected = Vec::new();
    for row in &rows_of {
        let who = caller(row.rpc);
        let session = sessions.get(who).map(String::as_str);
        let channel = &serving.people[who].channel;
        let status = call(channel, row.rpc.path(), row.body.clone(), session)
            .await
            .err()
            .unwrap_or_else(|| panic!("{} with {} is taken", row.rpc.name(), row.what));
        assert_refused(row, &status);
        let now = serving.size();
        assert_eq!(now, size + 1, "{} with {}", row.rpc.name(), row.what);
        size = now;
        expected.push(row);
    }
    assert!(rows(&serving) == before, "a row changed");

    // One denial a row, and nothing of what was sent in it, but the transaction when it was good.
    let entries = serving.entries();
    let denials = &entries[entries.len() - expected.len()..];
    for (row, entry) in expected.iter().zip(denials) {
        let name = format!("{} with {}", row.rpc.name(), row.what);
        assert_eq!(entry.get("outcome"), "denied", "{name}");
        assert_eq!(entry.get("reason"), "INVALID_REQUEST", "{name}");
        assert_eq!(entry.get("actor_name"), caller(row.rpc), "{name}");
        let mut found = Vec::new();
        values(&row.body, &mut found);
        let json = entry.json.to_string();
        let tied = ground.transaction.as_bytes();
        for value in found.iter().filter(|v| v.len() >= 8 && *v != tied) {
            let text = String::from_utf8_lossy(value);
            assert!(
                !contains(json.as_bytes(), value),
                "{name}: {text:?} entered"
            );
        }
    }

    // What the rows were spoiled from is good: nothing above was refused for another reason.
    let processor = &serving.people["processor-a"].channel;
    for (channel, rpc, body) in [
        (
            &serving.people["portal"].channel,
            Rpc::OpenTransaction,
            good_open(&ground).encode_to_vec(),
        ),
        (
            &serving.people["portal"].channel,
            Rpc::Tokenize,
            good_iban(&ground).encode_to_vec(),
        ),
        (
            &serving.people["portal"].channel,
            Rpc::Tokenize,
            good_us(&ground).encode_to_vec(),
        ),
        (
            &serving.people["portal"].channel,
            Rpc::Tokenize,
            good_tokenize(&ground).encode_to_vec(),
        ),
        (processor, Rpc::Redeem, good_redeem(&ground).encode_to_vec()),
        (
            processor,
            Rpc::ReportOutcome,
            good_report(&ground).encode_to_vec(),
        ),
    ] {
        let answer = call(channel, rpc.path(), body, None).await;
        assert!(answer.is_ok(), "{}: {:?}", rpc.name(), answer.err());
    }
    for (who, rpc, body) in [
        (
            "auditor",
            Rpc::ExportLog,
            good_export(&ground).encode_to_vec(),
        ),
        (
            "operator",
            Rpc::CreatePrincipal,
            good_create(&ground).encode_to_vec(),
        ),
        (
            "operator",
            Rpc::SetAllowance,
            good_allowance(&ground).encode_to_vec(),
        ),
    ] {
        let session = sessions.get(who).map(String::as_str);
        let answer = call(&serving.people[who].channel, rpc.path(), body, session).await;
        assert!(answer.is_ok(), "{}: {:?}", rpc.name(), answer.err());
    }
    serving.stop().await;
}

/// As an item of a stream, each row gets what the call gets, beside a good one that is done.
#[tokio::test(flavor = "multi_thread")]
async fn each_malformed_item_is_refused_alone_and_as_its_call_is() {
    let mut serving = Serving::start().await;
    let ground = ground(&serving).await;
    let mut table = Table {
        ground: &ground,
        rows: Vec::new(),
    };
    handing_in(&mut table);
    using(&mut table);
    let mut seen = 0;
    for row in table.rows {
        let stream = match row.rpc {
            Rpc::Tokenize => Rpc::TokenizeStream,
            Rpc::Redeem => Rpc::RedeemStream,
            _ => continue,
        };
        let name = format!("{} with {}", stream.name(), row.what);
        let channel = &serving.people[caller(row.rpc)].channel;
        // A retry that comes back, so that the transaction is never full.
        let good = match row.rpc {
            Rpc::Tokenize => pb::TokenizeRequest {
                request_id: vec![7; 16],
                ..good_tokenize(&ground)
            }
            .encode_to_vec(),
            _ => pb::RedeemRequest {
                request_id: vec![8; 16],
                ..good_redeem(&ground)
            }
            .encode_to_vec(),
        };
        let mut body = Vec::new();
        for item in [&row.body, &good] {
            body.push(0x0a);
            prost::encoding::encode_varint(item.len() as u64, &mut body);
            body.extend_from_slice(item);
        }
        let answer = call(channel, stream.path(), body, None).await;
        let answer = answer.unwrap_or_else(|status| panic!("{name}: {status}"));
        let (error, done) = match stream {
            Rpc::TokenizeStream => {
                use pb::tokenize_result::Outcome;
                let of: pb::TokenizeStreamResponse = only(&answer);
                let [bad, good] = &of.results[..] else {
                    panic!("{name}: {} results", of.results.len());
                };
                let error = match &bad.outcome {
                    Some(Outcome::Error(error)) => error.clone(),
                    _ => panic!("{name} is taken"),
                };
                (error, matches!(good.outcome, Some(Outcome::Tokenized(_))))
            }
            _ => {
                use pb::redeem_result::Outcome;
                let of: pb::RedeemStreamResponse = only(&answer);
                let [bad, good] = &of.results[..] else {
                    panic!("{name}: {} results", of.results.len());
                };
                let error = match &bad.outcome {
                    Some(Outcome::Error(error)) => error.clone(),
                    _ => panic!("{name} is taken"),
                };
                (error, matches!(good.outcome, Some(Outcome::Redeemed(_))))
            }
        };
        assert!(done, "{name}: the good one beside it");
        let alone = call(channel, row.rpc.path(), row.body.clone(), None).await;
        let alone = alone.expect_err("refused");
        assert_eq!(error.encode_to_vec(), alone.details(), "{name}");
        assert_silent(&name, &row.body, &alone);
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
    // The one field that a stream has a rule of its own for.
    let body = pb::RedeemStreamRequest {
        items: vec![pb::RedeemRequest {
            want_receipt: true,
            ..good_redeem(&ground)
        }],
    };
    let channel = &serving.people["processor-a"].channel;
    let answer = call(
        channel,
        Rpc::RedeemStream.path(),
        body.encode_to_vec(),
        None,
    )
    .await;
    let of: pb::RedeemStreamResponse = only(&answer.expect("a result"));
    let Some(pb::redeem_result::Outcome::Error(error)) = &of.results[0].outcome else {
        panic!("a receipt is promised");
    };
    assert!(contains(&error.encode_to_vec(), b"want_receipt"));
    serving.stop().await;
}

/// Bytes that are no message at all, for every call.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_refused_for_every_call() {
    let mut serving = Serving::start().await;
    let ground = ground(&serving).await;
    let session = serving.login("operator").await.expect("a session");
    let before = rows(&serving);
    let size = serving.size();
    let mut not_utf8 = good_redeem(&ground);
    not_utf8.token = PAN.to_owned();
    let mut not_utf8 = not_utf8.encode_to_vec();
    let place = not_utf8
        .windows(PAN.len())
        .position(|w| w == PAN.as_bytes())
        .expect("there");
    not_utf8[place + 4] = 0xff;
    let deep: Vec<u8> = (0..200).fold(Vec::new(), |inner, _| {
        [&[0x12, inner.len().min(127) as u8][..], &inner].concat()
    });
    let bodies: [(&str, Vec<u8>); 6] = [
        ("garbage", vec![0xff; 64]),
        (
            "a length past the end",
            vec![0x0a, 0x7f, b'4', b'0', b'0', b'0'],
        ),
        ("an unknown wire type", vec![0x0f, 1, 2, 3]),
        ("a field numbered zero", vec![0x02, 1, 2]),
        (
            "a varint without an end",
            vec![
                0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
        ),
        ("messages without an end", deep),
    ];
    for rpc in Rpc::ALL {
        let who = caller(*rpc);
        let channel = &serving.people[who].channel;
        for (what, body) in &bodies {
            let answer = call(channel, rpc.path(), body.clone(), Some(&session)).await;
            // Nothing that is unknown is looked into: what is a whole field may be skipped.
            let Err(status) = answer else {
                assert_eq!(*what, "messages without an end", "{}", rpc.name());
                panic!("{} takes {what}", rpc.name());
            };
            let name = format!("{} with {what}", rpc.name());
            assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status}");
            assert_eq!(reason(&status), "INVALID_REQUEST", "{name}");
            assert!(status.get_details_bad_request().is_some(), "{name}");
        }
    }
    let channel = &serving.people["processor-a"].channel;
    let status = call(channel, Rpc::Redeem.path(), not_utf8.clone(), None)
        .await
        .expect_err("not UTF-8");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let bad = status.get_details_bad_request().expect("BadRequest");
    assert_eq!(bad.field_violations[0].field, "token");
    assert_silent("not UTF-8", &not_utf8, &status);
    assert!(!contains(&all_of(&status), b"0566"));
    assert!(rows(&serving) == before, "a row changed");
    assert_eq!(serving.size(), size, "what is no message leaves no entry");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_past_64_kib_is_refused_by_its_size() {
    let mut serving = Serving::start().await;
    let ground = ground(&serving).await;
    let session = serving.login("operator").await.expect("a session");
    let after_login = serving.size();
    let before = rows(&serving);
    for rpc in Rpc::ALL {
        let who = caller(*rpc);
        let channel = &serving.people[who].channel;
        // Field 15 of length 70,000: nobody knows it, and nobody has to.
        let mut body = vec![0x7a];
        prost::encoding::encode_varint(70_000, &mut body);
        body.extend(PAN.bytes().cycle().take(70_000));
        let status = call(channel, rpc.path(), body, Some(&session))
            .await
            .expect_err("too large");
        let refused = matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted);
        assert!(refused, "{}: {status}", rpc.name());
        assert!(!contains(&all_of(&status), PAN.as_bytes()));
    }
    // The largest that is taken is as large as that, and judged by its fields.
    let mut request = good_redeem(&ground);
    request.token = "4".repeat((64 << 10) - request.encoded_len() + request.token.len() - 8);
    assert!(request.encoded_len() <= 64 << 10);
    assert!(request.encoded_len() > (64 << 10) - 16);
    let channel = &serving.people["processor-a"].channel;
    let status = call(channel, Rpc::Redeem.path(), request.encode_to_vec(), None)
        .await
        .expect_err("no token");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(serving.size(), after_login + 1);
    assert!(rows(&serving) == before, "a row changed");
    serving.stop().await;
}

/// Fields that the contract doesn't have are ignored: they are neither kept nor part of what a
/// retry is compared with.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_change_nothing() {
    let mut serving = Serving::start().await;
    let ground = ground(&serving).await;
    let channel = serving.people["processor-a"].channel.clone();
    let unknown = |message: &[u8]| {
        let mut body = message.to_vec();
        // Field 1000, text; field 1001, a number.
        prost::encoding::encode_varint(1_000 << 3 | 2, &mut body);
        prost::encoding::encode_varint(PAN.len() as u64, &mut body);
        body.extend_from_slice(PAN.as_bytes());
        prost::encoding::encode_varint(1_001 << 3, &mut body);
        prost::encoding::encode_varint(4_000, &mut body);
        body
    };
    let request = good_redeem(&ground).encode_to_vec();
    let path = Rpc::Redeem.path();
    let with = call(&channel, path, unknown(&request), None).await;
    let first: pb::RedeemResponse = only(&with.expect("released"));
    assert!(!first.replayed);
    let without = call(&channel, path, request, None).await;
    let second: pb::RedeemResponse = only(&without.expect("released"));
    assert!(second.replayed, "the same request with and without them");
    assert_eq!(first.uses_remaining, second.uses_remaining);

    let request = good_describe(&ground).encode_to_vec();
    let path = Rpc::DescribeToken.path();
    let with = call(&channel, path, unknown(&request), None).await;
    let without = call(&channel, path, request, None).await;
    assert!(with.expect("described") == without.expect("described"));

    for entry in serving.entries() {
        let json = entry.json.to_string();
        assert!(!json.contains(PAN), "an unknown field was entered");
    }
    serving.stop().await;
}
