//! `payvault tokenize`: swaps details for a token.

use super::client::{patiently, request_id};
use super::connection::ConnectionArgs;
use super::details;
use super::error::CliError;
use super::input;
use super::output::{Output, note};
use super::receipt::ReceiptArgs;
use crate::api::proto;
use crate::payment::Token;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

/// How details come in.
pub const HELP: &str = "Details come from a prompt at a terminal, or as JSON on stdin, one of:
  {\"card\": {\"number\": \"4242…\", \"expiry_month\": 11, \"expiry_year\": 2030, \"holder\": \"…\",
            \"security_code\": \"…\", \"billing\": {\"postal_code\": \"…\", \"address_line\": \"…\"}}}
  {\"iban\": {\"iban\": \"NL91…\", \"holder\": \"…\", \"bic\": \"…\"}}
  {\"us_account\": {\"routing_number\": \"…\", \"account_number\": \"…\", \"holder\": \"…\",
                  \"account_type\": \"checking\"}}
  {\"uk_account\": {\"sort_code\": \"…\", \"account_number\": \"…\", \"holder\": \"…\"}}
  {\"se_account\": {\"clearing_number\": \"…\", \"account_number\": \"…\", \"holder\": \"…\"}}
  {\"bankgiro\": {\"number\": \"…\", \"holder\": \"…\"}}, and so \"plusgiro\"
  {\"dk_account\": {\"reg_number\": \"…\", \"account_number\": \"…\", \"holder\": \"…\"}}

With --sealed, what comes on stdin was sealed elsewhere to the vault's collect key (pvc1.…), and is
passed on as it is.

Example:
  payvault tokenize txn_… --token-out token < card.json";

/// Swaps payment details for a token of a transaction (its portal).
#[derive(Args, Debug)]
pub struct TokenizeArgs {
    /// The transaction (txn_…)
    #[arg(value_name = "TRANSACTION")]
    transaction: String,
    /// Stdin has details that were sealed to the vault's collect key (pvc1.…)
    #[arg(long)]
    sealed: bool,
    /// File with a token of the same transaction that the new one replaces
    #[arg(long, value_name = "FILE")]
    replaces_file: Option<PathBuf>,
    /// Write the token to FILE (mode 0600) and don't show it
    #[arg(long, value_name = "FILE")]
    token_out: Option<PathBuf>,
    #[command(flatten)]
    receipt: ReceiptArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Tokenizes.
///
/// # Errors
/// What the vault says.
pub async fn run(args: TokenizeArgs, output: Output) -> Result<(), CliError> {
    let want_receipt = args.receipt.wanted()?;
    let connection = args.connection.read()?;
    if let Some(path) = args.token_out.as_ref().filter(|path| path.exists()) {
        return Err(CliError::Usage(format!("{} exists", path.display())));
    }
    let replaces = match &args.replaces_file {
        Some(path) => {
            let token = input::secret_file(path)?;
            Token::parse(token.expose())
                .map_err(|_| CliError::Usage("--replaces-file: that is not a token".into()))?;
            token.expose().to_owned()
        }
        None => String::new(),
    };
    let (details, sealed_details) = match args.sealed {
        true => (None, sealed_details(&input::read_text(Path::new("-"))?)?),
        false => (Some(details::read()?), String::new()),
    };
    let request = proto::TokenizeRequest {
        request_id: request_id(),
        transaction: args.transaction,
        details,
        replaces,
        want_receipt,
        sealed_details,
    };
    let client = connection.open().await?;
    let answer = patiently(request, |request| {
        let mut vault = client.vault.clone();
        async move { vault.tokenize(request).await }
    })
    .await?;
    let masked = answer.details.clone().unwrap_or_default();
    let mut document = json!({
        "reference": answer.reference,
        "details": details::masked_json(&masked),
        "entry_index": answer.entry_index,
        "replayed": answer.replayed,
    });
    if let Some(fingerprint) = &answer.fingerprint {
        document["fingerprint"] = details::fingerprint_json(fingerprint);
    }
    match &args.token_out {
        Some(path) => {
            input::write_secret_file(path, &answer.token)?;
            document["token_file"] = json!(path);
        }
        None => document["token"] = json!(answer.token),
    }
    args.receipt.keep(answer.receipt.as_ref())?;
    output.result(&document, |out| {
        note(format_args!(
            "{} is {}",
            answer.reference,
            details::masked_words(&masked)
        ));
        match &args.token_out {
            Some(path) => writeln!(out, "token in {}", path.display()),
            None => writeln!(out, "{}", answer.token),
        }
    })
}

/// Sealed details, without the white space around them. What isn't sealed is not sent, nor repeated: it
/// may be a card.
fn sealed_details(text: &str) -> Result<String, CliError> {
    match text.trim() {
        sealed if sealed.starts_with("pvc1.") => Ok(sealed.to_owned()),
        _ => Err(CliError::Usage(
            "stdin: not sealed details: they begin with pvc1.".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_sealed_is_neither_sent_nor_repeated() {
        assert_eq!(sealed_details(" pvc1.a.b\n").unwrap(), "pvc1.a.b");
        for text in [
            "",
            "{\"card\": {\"number\": \"4242424242424242\"}}",
            "4242424242424242",
        ] {
            let error = sealed_details(text).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains("4242"));
        }
    }
}
