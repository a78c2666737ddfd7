//! The auditor's part: an export, verified offline with a key that was handed over before, and
//! three copies that were bent.

use super::callers::Callers;
use super::check;
use super::instruments;
use super::narrator::Narrator;
use super::road::Road;
use crate::api::proto;
use crate::cli::dev::file::DevFile;
use crate::cli::error::CliError;
use crate::cli::log;
use crate::ledger::{self, Report, VerifierKey, VerifyError};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Exports and verifies; gives how many entries there were.
pub async fn walk(
    callers: &mut Callers,
    file: &DevFile,
    dir: &Path,
    road: &Road,
    narrator: &Narrator,
) -> Result<u64, CliError> {
    narrator.chapter("The auditor exports the ledger and verifies it offline");
    let path = dir.join("export.jsonl");
    let request = proto::ExportLogRequest {
        reason: "demonstration".to_owned(),
        ticket: "DEMO-1".to_owned(),
        ..proto::ExportLogRequest::default()
    };
    let what = format!("reason \"{}\", ticket {}", request.reason, request.ticket);
    narrator.sent(
        &callers.auditor.name,
        "ExportLog",
        &what,
        prost::Message::encoded_len(&request),
    );
    // An export reaches up to a published checkpoint; a receipt waits for one that has all before.
    settle(callers, road).await?;
    let mut to = File::create(&path).map_err(CliError::file(&path))?;
    let lines = log::fetch(&mut callers.auditor.client, request, &mut to).await?;
    let export = std::fs::read(&path).map_err(CliError::file(&path))?;
    narrator.answered(&format!("{lines} lines, {} bytes", export.len()));

    let key = VerifierKey::parse(&file.ledger_key)
        .map_err(|error| CliError::Deviation(format!("the ledger's key: {error}")))?;
    let report = verify(&path, &key)
        .map_err(|error| CliError::Deviation(format!("the export does not verify: {error}")))?;
    check(
        report.from == 0,
        "the export does not begin at the beginning",
    )?;
    narrator.line(&format!(
        "verified: {} entries, none added, dropped or changed, up to the signed checkpoint",
        report.open
    ));
    complete(&export, &report)?;
    silent(&export, road)?;
    narrator.line("every release and every refusal is in it; no number, holder or token is");

    bent(dir, &export, &key, narrator)?;
    Ok(report.open)
}

/// Makes sure that what was done so far is under a published checkpoint.
async fn settle(callers: &mut Callers, road: &Road) -> Result<(), CliError> {
    let request = proto::RedeemRequest {
        want_receipt: true,
        ..super::road::redemption(
            &road.transactions[2],
            &road.tokens[4].token,
            proto::Purpose::Payout,
            &[proto::Field::Number],
        )
    };
    let answer = callers
        .second
        .client
        .vault
        .redeem(request)
        .await?
        .into_inner();
    check(
        answer.receipt.is_some(),
        "a receipt was asked for and none came",
    )
}

/// A verification from the file alone, as `payvault log verify` does it.
fn verify(path: &Path, key: &VerifierKey) -> Result<Report, VerifyError> {
    let file = File::open(path).map_err(|error| VerifyError {
        line: 1,
        fault: ledger::Fault::Unreadable(error.to_string()),
    })?;
    ledger::verify_export(BufReader::new(file), std::slice::from_ref(key))
}

/// Whether what the demonstration did is there: six releases and each refusal's true reason.
fn complete(export: &[u8], report: &Report) -> Result<(), CliError> {
    let text = String::from_utf8_lossy(export);
    let mut released = 0;
    let mut reasons = Vec::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let Some(body) = line["body"].as_str() else {
            continue;
        };
        let entry: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        if entry["event"] != "redeemed" {
            continue;
        }
        match entry["reason"].as_str() {
            Some(reason) => reasons.push(reason.to_owned()),
            None => released += 1,
        }
    }
    check(report.closed == 0, "entries of the whole export are closed")?;
    check(
        released == 6,
        format!("{released} releases in the ledger, not six"),
    )?;
    for reason in [
        "NOT_A_PARTY",
        "UNKNOWN_TOKEN",
        "ROLE_NOT_ALLOWED",
        "PURPOSE_NOT_GRANTED",
        "FIELD_NOT_GRANTED",
        "USED_UP",
        "EXPIRED",
        "CLOSED",
    ] {
        let found = reasons.iter().any(|found| found == reason);
        check(found, format!("the ledger lacks the refusal {reason}"))?;
    }
    Ok(())
}

/// Whether nothing of what was entered is there.
fn silent(export: &[u8], road: &Road) -> Result<(), CliError> {
    let text = String::from_utf8_lossy(export);
    for one in &road.tokens {
        let mut secrets = instruments::numbers(&one.instrument.details);
        secrets.push(&one.token);
        for secret in secrets {
            check(
                !text.contains(secret),
                "the export holds a number, a holder or a token",
            )?;
        }
    }
    Ok(())
}

/// Three copies that somebody bent: each is refused, with the line.
fn bent(dir: &Path, export: &[u8], key: &VerifierKey, narrator: &Narrator) -> Result<(), CliError> {
    narrator.chapter("Three bent copies of the export: each is refused, with the line");
    let ends: Vec<usize> = export
        .iter()
        .enumerate()
        .filter_map(|(at, byte)| (*byte == b'\n').then_some(at))
        .collect();
    check(ends.len() > 6, "the export is too short to be bent")?;
    // Line numbers count from 1: line n lies between the ends n-2 and n-1.
    let middle = ends.len() / 2;
    let (begin, end) = (ends[middle - 1] + 1, ends[middle]);

    let mut flipped = export.to_vec();
    flipped[begin + (end - begin) / 2] ^= 1;
    let mut removed = export.to_vec();
    removed.drain(begin..=end);
    let truncated = export[..begin + (end - begin) / 2].to_vec();
    for (name, what, copy) in [
        ("flipped", "one bit of one byte flipped", flipped),
        ("removed", "one line removed", removed),
        ("truncated", "cut off in the middle", truncated),
    ] {
        let path = dir.join(format!("{name}.jsonl"));
        std::fs::write(&path, copy).map_err(CliError::file(&path))?;
        let error = match verify(&path, key) {
            Ok(_) => return Err(CliError::Deviation(format!("{what}: it still verifies"))),
            Err(error) => error,
        };
        check(
            error.line == middle as u64 + 1,
            format!("{what}: line {} is named, not {}", error.line, middle + 1),
        )?;
        narrator.line(&format!("{what}: line {}: {}", error.line, error.fault));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_that_holds_a_number_or_a_token_is_noticed() {
        let token = crate::payment::Token::random().to_text();
        let [instrument, ..] = instruments::all(2030);
        let road = Road {
            transactions: Vec::new(),
            tokens: vec![super::super::road::Tokenized {
                instrument,
                token: token.expose().to_owned(),
                shown: String::new(),
            }],
        };
        assert!(silent(b"{\"masked\":\"424242******4242\"}", &road).is_ok());
        assert!(silent(b"x4242424242424242x", &road).is_err());
        assert!(silent(b"Saskia de Vries", &road).is_err());
        assert!(silent(token.expose().as_bytes(), &road).is_err());
    }
}
