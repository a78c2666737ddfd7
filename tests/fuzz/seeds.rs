//! Where the corpora came from: real artefacts, made by the code itself and by the test vectors. Run
//! on demand, then minimised (`fuzz/README.md`):
//!
//! `cargo test --locked --test vault fuzz::seeds -- --ignored`

use super::requests::{LIVE_TOKEN, NOW, OPEN_TRANSACTION, PEOPLE, card, id_of, number_of, terms};
use super::text::CANARY;
use crate::house::*;
use payvault::api::dev_ca::DevCa;
use payvault::api::proto as pb;
use payvault::codec::Writer;
use payvault::keys::{KeyName, Kind, Place, Sealed};
use payvault::ledger::{Event, Opened, Page};
use payvault::policy::{Field, Purpose, Rpc};
use payvault::vault::command::{Admin, Work};
use prost::Message;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Adds a file to a corpus, named by its content as libFuzzer does.
fn seed(target: &str, parts: &[&[u8]]) {
    let bytes = parts.concat();
    let name: String = Sha256::digest(&bytes)[..20]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let dir = tests().join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join(name), bytes).expect("written");
}

fn vector(path: &str) -> String {
    std::fs::read_to_string(tests().join("vectors").join(path)).expect("a vector")
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .filter_map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok())
        .collect()
}

#[test]
#[ignore = "writes the corpora"]
fn seeds_are_made_of_real_artefacts() {
    payment();
    requests();
    ledger();
    files();
    config();
    rows();
    certificates();
    collect();
    journal();
    for first in 0u8..4 {
        for fill in [0u8, 1, 77, 255] {
            let numbers = [0, first, 2, fill, 1, 100, 0, 9, 0, 1, 0, fill];
            seed("tiles", &[&numbers, &[fill; 3]]);
            seed("tiles", &[&numbers, &[0; 23], &[first + 3], &[fill; 64]]);
        }
    }
}

/// The rows of a vector file, comments left out.
fn lines(path: &str) -> Vec<Vec<String>> {
    vector(path)
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

fn collect() {
    let letters = "bcdf".repeat(8);
    for (suite, bytes) in [("x25519", 43), ("x-wing", 1_494)] {
        let enc = "A".repeat(bytes);
        let text = format!("pvc1.{suite}.{letters}.nl.{enc}.{}", "A".repeat(704));
        seed("collect", &[&[0], text.as_bytes()]);
    }
    let public = |bytes: usize| "A".repeat(bytes);
    let document = format!(
        "{{\"key\":\"{letters}\",\"not_after\":\"2026-11-25T00:00:00.000Z\",\
         \"not_before\":\"2026-11-23T00:00:00.000Z\",\"suites\":[\
         {{\"aead\":2,\"kdf\":1,\"kem\":32,\"public\":\"{}=\",\"suite\":\"x25519\"}},\
         {{\"aead\":2,\"kdf\":1,\"kem\":25722,\"public\":\"{}==\",\"suite\":\"x-wing\"}}],\
         \"type\":\"payvault collect key\",\"v\":1,\"vault\":\"{}\"}}",
        public(43),
        public(1_622),
        payvault::ids::VaultId([7; 16]),
    );
    seed("collect", &[&[2], document.as_bytes()]);
    seed("collect", &[&[3], document.as_bytes(), b"\n\n"]);
    for json in [
        r#"{"card":{"number":"4242424242424242","expiry_month":12,"expiry_year":2030,"holder":"zqxjCANARYvkw","security_code":"123","billing":{"postal_code":"1","address_line":"2"}}}"#,
        r#"{"iban":{"iban":"NL91ABNA0417164300","holder":"A","bic":"ABNANL2A"}}"#,
        r#"{"us_account":{"routing_number":"021000021","account_number":"12345","holder":"A","account_type":"checking"}}"#,
        r#"{"uk_account":{"sort_code":"089999","account_number":"66374958","holder":"A"}}"#,
        r#"{"se_account":{"clearing_number":"6000","account_number":"123","holder":"A"}}"#,
        r#"{"bankgiro":{"number":"56939897","holder":"A"}}"#,
        r#"{"plusgiro":{"number":"47898","holder":"A"}}"#,
        r#"{"dk_account":{"reg_number":"0040","account_number":"0440116243","holder":"A"}}"#,
    ] {
        seed("collect", &[&[1], json.as_bytes()]);
    }
}

fn journal() {
    // A row of two bytes with a value of one; a deleted row.
    let rows = [
        0, 0, 0, 2, b'X', b'a', 1, 0, 0, 0, 1, 9, 0, 0, 0, 1, b'X', 0,
    ];
    let piece = |flags: u8, turn: u8, sequence: u8| {
        [&[flags, turn, sequence, 2, rows.len() as u8, 0][..], &rows].concat()
    };
    let turns = [
        piece(2, 1, 1),
        piece(0, 1, 0),
        piece(3, 2, 3),
        piece(1, 2, 0),
    ];
    seed("journal", &[&turns.concat()]);
    seed("journal", &[&turns[0], &turns[1]]);
    seed("journal", &[&turns[0], &piece(8, 1, 0), &turns[1]]);
    seed("journal", &[&piece(10, 3, 3), &turns[2]]);
    seed("journal", &[&turns[0], &turns[3]]);
    seed("journal", &[&piece(6, 1, 1)]);
}

fn payment() {
    for row in lines("payment/token.tsv") {
        seed("payment", &[&[0], row[1].as_bytes()]);
    }
    for row in lines("payment/card_number.tsv") {
        let fields = format!("{}\n12\n2031\nA. Bäcker\n123\n1012 AB\nDam 1", row[1]);
        seed("payment", &[&[1], fields.as_bytes()]);
    }
    for row in lines("payment/iban.tsv").iter().step_by(7) {
        seed("payment", &[&[2], row[1].as_bytes(), b"\nJ. de Vries"]);
    }
    for row in lines("payment/aba.tsv") {
        let fields = format!("{}\n1234 56789\nPat Doe\n1", row[1]);
        seed("payment", &[&[3], fields.as_bytes()]);
    }
    for code in ["123", "1234", "12a", CANARY] {
        seed("payment", &[&[4], code.as_bytes()]);
    }
    for row in lines("payment/bic.tsv") {
        let fields = format!("{}\nJ. de Vries\n{}", row[1], row[2]);
        seed("payment", &[&[2], fields.as_bytes()]);
    }
    for (kind, file) in [
        (5, "payment/uk_account.tsv"),
        (6, "payment/se_account.tsv"),
        (9, "payment/dk_account.tsv"),
    ] {
        for row in lines(file) {
            let fields = format!("{}\n{}\nA. Ek", row[1], row[2]);
            seed("payment", &[&[kind], fields.as_bytes()]);
        }
    }
    for (kind, file) in [(7, "payment/bankgiro.tsv"), (8, "payment/plusgiro.tsv")] {
        for row in lines(file) {
            seed("payment", &[&[kind], row[1].as_bytes(), b"\nA. Ek"]);
        }
    }
    seed(
        "payment",
        &[&[10], vector("payment/uk_weights.txt").as_bytes()],
    );
    seed(
        "payment",
        &[&[11], vector("payment/uk_substitutions.txt").as_bytes()],
    );
    for row in lines("payment/details.tsv") {
        seed("payment", &[&[12], &hex(&row[1])]);
    }
}

fn call(rpc: Rpc, who: &str, message: &impl Message) {
    let at = PEOPLE.iter().position(|(name, _)| *name == who);
    let who = at.expect("a person") as u8;
    seed(
        "requests",
        &[&[number_of(rpc), who], &message.encode_to_vec()],
    );
}

fn requests() {
    let request_id = b"0123456789abcdef".to_vec();
    let (transaction, token) = (OPEN_TRANSACTION.to_owned(), LIVE_TOKEN.to_owned());
    for rpc in Rpc::ALL {
        for who in 0..PEOPLE.len() as u8 {
            seed("requests", &[&[number_of(*rpc), who]]);
        }
        seed(
            "requests",
            &[&[number_of(*rpc), 0, 0x0a, 13], CANARY.as_bytes()],
        );
    }
    let mut open = pb::OpenTransactionRequest {
        request_id: request_id.clone(),
        terms: Some(terms()),
        want_receipt: true,
    };
    call(Rpc::OpenTransaction, "portal", &open);
    if let Some(terms) = &mut open.terms {
        terms.site = CANARY.to_owned();
        terms.merchant = format!("4111111111111111 {CANARY}");
        terms.parties[0].principal = CANARY.to_owned();
    }
    call(Rpc::OpenTransaction, "portal", &open);
    for who in ["portal", "processor", "stranger"] {
        let get = pb::GetTransactionRequest {
            transaction: transaction.clone(),
        };
        call(Rpc::GetTransaction, who, &get);
        let describe = pb::DescribeTokenRequest {
            transaction: transaction.clone(),
            token: token.clone(),
        };
        call(Rpc::DescribeToken, who, &describe);
        let redeem = pb::RedeemRequest {
            request_id: request_id.clone(),
            transaction: transaction.clone(),
            token: token.clone(),
            purpose: pb::Purpose::Authorize.into(),
            fields: (1..=6).collect(),
            want_receipt: false,
        };
        call(Rpc::Redeem, who, &redeem);
        let report = pb::ReportOutcomeRequest {
            request_id: request_id.clone(),
            transaction: transaction.clone(),
            token: token.clone(),
            outcome: pb::Outcome::Succeeded.into(),
            processor_reference: "ref-1".to_owned(),
        };
        call(Rpc::ReportOutcome, who, &report);
    }
    let revoke = pb::RevokeTokenRequest {
        transaction: transaction.clone(),
        token: token.clone(),
    };
    call(Rpc::RevokeToken, "portal", &revoke);
    let close = pb::CloseTransactionRequest {
        transaction: transaction.clone(),
    };
    call(Rpc::CloseTransaction, "portal", &close);
    let bad = pb::DescribeTokenRequest {
        transaction: format!("txn_{CANARY}"),
        token: format!("pvt_a{CANARY}"),
    };
    call(Rpc::DescribeToken, "processor", &bad);
    let iban = pb::IbanAccount {
        iban: "NL91 ABNA 0417 1643 00".to_owned(),
        holder: "J. de Vries".to_owned(),
        bic: "ABNANL2A".to_owned(),
    };
    let account = pb::UsAccount {
        routing_number: "021000021".to_owned(),
        account_number: "123456789".to_owned(),
        holder: "Pat Doe".to_owned(),
        account_type: 1,
    };
    use pb::payment_details::Kind as Details;
    let kinds = [
        card("123"),
        card(CANARY),
        pb::PaymentDetails {
            kind: Some(Details::Iban(iban)),
        },
        pb::PaymentDetails {
            kind: Some(Details::UsAccount(account)),
        },
        pb::PaymentDetails {
            kind: Some(Details::UkAccount(pb::UkAccount {
                sort_code: "99-01-01".to_owned(),
                account_number: "20029772".to_owned(),
                holder: "A. Smith".to_owned(),
            })),
        },
        pb::PaymentDetails {
            kind: Some(Details::SeAccount(pb::SeAccount {
                clearing_number: "5839".to_owned(),
                account_number: "8257466".to_owned(),
                holder: "A. Ek".to_owned(),
            })),
        },
        pb::PaymentDetails {
            kind: Some(Details::Bankgiro(pb::Bankgiro {
                number: "5050-1055".to_owned(),
                holder: "A. Ek".to_owned(),
            })),
        },
        pb::PaymentDetails {
            kind: Some(Details::Plusgiro(pb::Plusgiro {
                number: "28 65 43-4".to_owned(),
                holder: "A. Ek".to_owned(),
            })),
        },
        pb::PaymentDetails {
            kind: Some(Details::DkAccount(pb::DkAccount {
                reg_number: "0040".to_owned(),
                account_number: "440116243".to_owned(),
                holder: "A. Lund".to_owned(),
            })),
        },
    ];
    for details in kinds {
        for replaces in ["", LIVE_TOKEN] {
            let tokenize = pb::TokenizeRequest {
                request_id: request_id.clone(),
                transaction: transaction.clone(),
                details: Some(details.clone()),
                replaces: replaces.to_owned(),
                want_receipt: false,
                sealed_details: String::new(),
            };
            call(Rpc::Tokenize, "portal", &tokenize);
        }
    }
    let login = pb::LoginRequest {
        secret: CANARY.to_owned(),
    };
    call(Rpc::Login, "auditor", &login);
    let unseal = pb::UnsealRequest {
        passphrase: format!("{CANARY} {CANARY}"),
        ..Default::default()
    };
    call(Rpc::Unseal, "operator", &unseal);
    let export = pb::ExportLogRequest {
        reason: "the yearly audit".to_owned(),
        ticket: "T-1".to_owned(),
        site: "nl".to_owned(),
        kinds: vec![Event::Redeemed.as_str().to_owned()],
        ..Default::default()
    };
    call(Rpc::ExportLog, "auditor", &export);
    let tail = pb::TailLogRequest {
        from_index: Some(1),
        reason: "watching".to_owned(),
        ticket: "T-1".to_owned(),
        ..Default::default()
    };
    call(Rpc::TailLog, "auditor", &tail);
    call(
        Rpc::GetReceipt,
        "portal",
        &pb::GetReceiptRequest { index: 3 },
    );
    let proof = pb::GetConsistencyProofRequest {
        from_size: 1,
        to_size: 2,
    };
    call(Rpc::GetConsistencyProof, "auditor", &proof);
    let allowance = pb::Allowance {
        site: "nl".to_owned(),
        portal: id_of(0).to_string(),
        processor: id_of(2).to_string(),
        purposes: vec![1, 2],
        uses_max: 3,
        release_seconds_max: 86_400,
        releases_per_hour: 10,
    };
    let set = pb::SetAllowanceRequest {
        allowance: Some(allowance),
    };
    call(Rpc::SetAllowance, "operator", &set);
    let name = pb::GetPrincipalRequest {
        principal: "portal".to_owned(),
    };
    call(Rpc::GetPrincipal, "operator", &name);
    let approve = pb::ApproveActionRequest {
        action: format!("act_{}", "b".repeat(32)),
    };
    call(Rpc::ApproveAction, "operator", &approve);
}

/// Enrolment needs a certificate.
fn enrolments(pem: &str) {
    for (role, name) in [(1, "new-portal"), (3, "new-auditor"), (2, CANARY)] {
        let enrol = pb::CreatePrincipalRequest {
            name: name.to_owned(),
            role,
            sites: vec!["nl".to_owned()],
            certificate_pem: pem.to_owned(),
            agreement: (role == 3).then(|| pb::Agreement {
                reference: "NDA".to_owned(),
                valid_from: Some(prost_types::Timestamp::default()),
                valid_until: Some(prost_types::Timestamp {
                    seconds: 4_000_000_000,
                    nanos: 0,
                }),
            }),
        };
        call(Rpc::CreatePrincipal, "operator", &enrol);
    }
}

fn ledger() {
    for entry in std::fs::read_dir(tests().join("vectors/ledger")).expect("vectors") {
        let path = entry.expect("an entry").path();
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        if name.ends_with(".jsonl") && bytes.len() < 30_000 {
            seed("export", &[&bytes]);
        } else if name.contains("receipt") {
            seed("ledger", &[&[0], bytes.trim_ascii_end()]);
        }
    }
    let json =
        |name: &str| -> serde_json::Value { serde_json::from_str(&vector(name)).expect("JSON") };
    for leaf in json("ledger/leaf.json").as_array().expect("leaves") {
        let body = leaf["body"].as_str().unwrap_or_default();
        seed("ledger", &[&[1], body.as_bytes()]);
        let bucket = leaf["bucket"].as_str().unwrap_or_default();
        seed("ledger", &[&[4], bucket.as_bytes()]);
        seed("ledger", &[&[5], bucket.as_bytes()]);
        seed(
            "ledger",
            &[&[8], &payvault::ledger::seal_content(&[3; 32], body)],
        );
    }
    let checkpoint = json("ledger/checkpoint.json");
    for member in ["note", "verifier_key"] {
        if let Some(text) = checkpoint[member].as_str() {
            seed("ledger", &[&[2], text.as_bytes()]);
            seed("ledger", &[&[3], text.as_bytes()]);
        }
    }
    let names = [
        "release/nl/20000",
        "log/nl/2026-11",
        "log/-/2026-11#2",
        "replay/20000",
        "fingerprint/us",
        "collect/20000",
        "ledger-signing/1",
        "identity",
        "vault",
    ];
    for name in names {
        seed("ledger", &[&[5], name.as_bytes()]);
        seed("ledger", &[&[4], name.as_bytes()]);
    }
    let texts = [
        "prn_cbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcb",
        "txn_cbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcb",
        "tkr_cbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcb",
        "act_cbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcb",
        "vlt_cbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcb",
        "nl",
        "2026-11-23T12:00:00.000Z",
        "redeemed",
        "denied",
        "APoUHRhKPintHowwtQeSMQG5bzQxzVyHrCzu7fph3Sw=",
    ];
    for text in texts {
        seed("ledger", &[&[6], text.as_bytes()]);
    }
    for ms in [0u64, 1, NOW.0, payvault::clock::TIMESTAMP_MAX.0] {
        seed("ledger", &[&[9], &ms.to_be_bytes()]);
    }
}

fn files() {
    let home = Home::new();
    home.card();
    let keys = &home.house.keys_dir;
    let read = |path: PathBuf| std::fs::read(path).unwrap_or_default();
    seed("files", &[&[2], &read(keys.join("seal.json"))]);
    seed("files", &[&[3], &read(keys.join("keyring"))]);
    seed("files", &[&[4], &read(keys.join("wrap"))]);
    let formats: serde_json::Value =
        serde_json::from_str(&vector("keys/formats.json")).expect("JSON");
    let custodians = &formats["custodians"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    seed("files", &[&[2], text(&custodians["file"]).as_bytes()]);
    seed("files", &[&[5], text(&custodians["shares"][0]).as_bytes()]);
    seed("files", &[&[5], text(&custodians["share_file"]).as_bytes()]);
    seed("files", &[&[6], TRIES.as_bytes()]);
    for slot in ["mark.0", "mark.1"] {
        let mark = read(home.house.mark_dir.join(slot));
        if let Some((content, _)) = mark.split_last_chunk::<32>() {
            seed("files", &[&[0], content]);
            seed("files", &[&[1], &mark]);
        }
    }
}

/// A journal of failed tries to unseal.
const TRIES: &str = r#"{"bad":1,"locked_until":0,"lost":false,"others":2,"tries":[{"count":3,"first":5,"last":7,"origin":"192.0.2.1","reason":"SHARE_DAMAGED","uri":"spiffe://payvault.example/ann"}],"v":1}"#;

fn config() {
    let whole = r#"data_dir = "/srv/payvault/data"
keys_dir = "/srv/payvault/keys"
mark_dir = "/srv/mark"
listen = "0.0.0.0:8443"
health_listen = "127.0.0.1:8081"
reflection = false
cache_mb = 128
checkpoint_sink = "/srv/sink/checkpoints"
passphrase_file = "/run/secrets/passphrase"
[tls]
cert = "server.pem"
key = "server.key.pem"
client_ca = ["ca.pem"]
crl = []
[log]
format = "json"
level = "info"
[limits]
calls_per_second = 20000
[sites.nl]
release_days_max = 90
[sites.de]
log_years = 10
log_from = "end_of_financial_year"
financial_year_end_month = 12
log_source = "HGB 257"
"#;
    seed("config", &[&[0], whole.as_bytes()]);
    for line in whole.lines() {
        seed("config", &[&[0], line.as_bytes()]);
        if let Some((key, _)) = line.split_once('=') {
            for value in [CANARY, "1", "true", "\"\"", "[]", "{}", "1979-05-27", "1.5"] {
                let quoted = format!("{key} = \"{value}\"\n{}", whole);
                seed("config", &[&[0], quoted.as_bytes()]);
            }
            let name = key.trim().to_ascii_uppercase();
            let variable = format!("PAYVAULT_{name}={CANARY}\n");
            seed("config", &[&[1], variable.as_bytes()]);
        }
    }
    let variables = "PAYVAULT_DATA_DIR=/a\nPAYVAULT_KEYS_DIR=/b\nPAYVAULT_TLS_CERT=c\n\
                     PAYVAULT_TLS_KEY=d\nPAYVAULT_TLS_CLIENT_CA=e:f\nPAYVAULT_LOG_LEVEL=warn\n\
                     PAYVAULT_LISTEN=[::1]:1\nPAYVAULT_CACHE_MB=64\nPAYVAULT_REFLECTION=true\n";
    seed("config", &[&[1], variables.as_bytes()]);
}

/// What lies under the seals of a vault that was used.
fn rows() {
    let home = Home::new();
    let (transaction, token) = home.card();
    for details in [dutch_iban(), checking_account()] {
        home.tokenize(transaction, details);
    }
    home.authorize(transaction, &token).expect("released");
    let fields = [Field::Number];
    let answer = home.redeem("bolt", transaction, &token, Purpose::Payout, &fields);
    answer.expect("released");
    let enrol = Admin::CreatePrincipal(principal("dora", payvault::policy::Role::Processor));
    home.ask("ann", Work::Admin(Box::new(enrol)))
        .expect("asked");
    let ring = home.ring();
    let round = home.disk.durable()[&b"I".to_vec()].clone();
    for (key, value) in home.disk.durable() {
        let selector = match key[0] {
            b'X' => 0,
            b'H' => 1,
            b'W' => 2,
            b'P' => 3,
            b'A' => 4,
            b'R' => 9,
            b'E' => {
                page(&ring, &value);
                continue;
            }
            _ => continue,
        };
        seed("rows", &[&[10], &value]);
        let site = match ring
            .key(Sealed::from_stored(value.clone()).expect("sealed").key_id())
            .map(|record| record.name())
        {
            Ok(KeyName::Release { site, .. }) => site,
            _ if key[0] == b'A' => {
                let mut own = [0; 16];
                own.copy_from_slice(&key[1..17]);
                payvault::ids::Site::from_bytes(own).expect("a site")
            }
            _ => payvault::ids::Site::VAULT,
        };
        let (kind, scope) = match key[0] {
            b'X' => (Kind::Transaction, key[1..17].to_vec()),
            b'H' => (Kind::Head, round.clone()),
            b'W' => (Kind::PendingAction, key.clone()),
            b'P' => (Kind::Principal, key.clone()),
            b'A' => (Kind::Allowance, key.clone()),
            _ => (Kind::Redo, vec![0; 8]),
        };
        let place = Place {
            site,
            transaction: (key[0] == b'X').then_some(transaction),
            kind,
            scope: &scope,
            row_key: &key,
        };
        let Ok(plaintext) = ring.open_bytes(&place, &value) else {
            panic!("row {key:?}");
        };
        if selector == 9 {
            let length = (plaintext.len() as u16).to_be_bytes();
            seed("rows", &[&[9], &plaintext[..16], &length, &plaintext]);
        } else {
            seed("rows", &[&[selector], &plaintext]);
        }
    }
    let mut w = Writer::default();
    home.terms().encode_into(&mut w);
    seed("rows", &[&[5], w.as_slice()]);
    for details in [visa(), dutch_iban(), checking_account()] {
        let bytes = details.encode();
        seed("rows", &[&[6], &bytes]);
        seed("rows", &[&[11, 100, 1], &bytes]);
        let mut padded = (bytes.len() as u32).to_be_bytes().to_vec();
        padded.extend_from_slice(&bytes);
        padded.resize(padded.len().next_multiple_of(128), 0);
        seed("rows", &[&[8], &padded]);
    }
    let formats: serde_json::Value =
        serde_json::from_str(&vector("keys/formats.json")).expect("JSON");
    let content = formats["keyring"]["content"].as_str().unwrap_or_default();
    seed("rows", &[&[7], &hex(content)]);
}

fn page(ring: &payvault::keys::Keyring, bytes: &[u8]) {
    seed("ledger", &[&[7], bytes]);
    let page = Page::parse(bytes).expect("a page");
    for entry in page.entries.iter().take(4) {
        let sealed = Sealed::from_stored(entry.sealed.to_vec()).expect("sealed");
        let Ok(KeyName::Log { site, .. }) = ring.key(sealed.key_id()).map(|key| key.name()) else {
            continue;
        };
        let mut row_key = b"E".to_vec();
        row_key.extend_from_slice(&1u32.to_be_bytes());
        row_key.extend_from_slice(&entry.index.to_be_bytes());
        let place = Place {
            site,
            transaction: None,
            kind: Kind::Entry,
            scope: &[0; 8],
            row_key: &row_key,
        };
        let content = ring.open(&place, &sealed).expect("an entry");
        let opened = Opened::parse(&content).expect("its content");
        seed("ledger", &[&[1], opened.json.as_bytes()]);
    }
}

fn der(pem: &str) -> Vec<u8> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes())
        .expect("a certificate")
        .to_vec()
}

/// The CA is written beside the harness: the certificates that it issued belong to the corpus.
fn certificates() {
    let ca = DevCa::new(NOW).expect("a CA");
    std::fs::write(tests().join("fuzz/ca.pem"), ca.certificate_pem()).expect("written");
    let leaf = ca.client("fuzz").expect("a certificate").certificate_pem;
    enrolments(&leaf);
    seed("certificate", &[&[0], &der(&leaf)]);
    seed("certificate", &[&[1], leaf.as_bytes()]);
    seed("certificate", &[&[1], leaf.as_bytes(), leaf.as_bytes()]);
    seed("certificate", &[&[2], ca.certificate_pem().as_bytes()]);
    let server = ca.server().expect("a certificate").certificate_pem;
    seed("certificate", &[&[0], &der(&server)]);
    for uris in [
        vec![format!("spiffe://a/{CANARY}"), "spiffe://b/c".to_owned()],
        vec![format!("spiffe://{}", "x".repeat(300))],
        vec![CANARY.to_owned()],
        vec![],
    ] {
        let mut params = rcgen::CertificateParams::default();
        for uri in uris {
            let text = uri.as_str().try_into().expect("ASCII");
            params.subject_alt_names.push(rcgen::SanType::URI(text));
        }
        let email = format!("{CANARY}@example.org");
        let email = email.as_str().try_into().expect("ASCII");
        params
            .subject_alt_names
            .push(rcgen::SanType::Rfc822Name(email));
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        seed("certificate", &[&[0], made.der()]);
        seed("certificate", &[&[2], made.pem().as_bytes()]);
    }
}
