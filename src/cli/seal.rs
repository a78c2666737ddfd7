//! `payvault seal` and `payvault unseal`.

use super::connection::ConnectionArgs;
use super::error::CliError;
use super::output::Output;
use super::{input, share};
use crate::api::proto;
use crate::keys::{SealKind, Share};
use crate::secret::SecretText;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Seals the vault: its keys leave memory, every call but unsealing is refused.
#[derive(Args, Debug)]
pub struct SealArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Opens a sealed vault with its passphrase, its security module's PIN or its key service, or brings
/// a custodian's share.
#[derive(Args, Debug)]
pub struct UnsealArgs {
    /// File with the passphrase; asked for at a terminal when it isn't given
    #[arg(long, value_name = "FILE", env = "PAYVAULT_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
    /// File with the PIN of the security module's token; asked for at a terminal when the vault wants
    /// one
    #[arg(
        long,
        value_name = "FILE",
        env = "PAYVAULT_PKCS11_PIN_FILE",
        conflicts_with = "passphrase_file"
    )]
    pin_file: Option<PathBuf>,
    /// File with your share, as you were given it or decrypted; asked for at a terminal when the
    /// vault wants shares
    #[arg(long, value_name = "FILE", conflicts_with_all = ["passphrase_file", "pin_file"])]
    share_file: Option<PathBuf>,
    /// File with the passphrase of your share; asked for when it is needed
    #[arg(long, value_name = "FILE", requires = "share_file")]
    share_passphrase_file: Option<PathBuf>,
    /// File with your age identity, when your share is encrypted to it
    #[arg(long, value_name = "FILE", requires = "share_file")]
    identity_file: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Seals.
///
/// # Errors
/// What the vault says.
pub async fn seal(args: SealArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    client.admin.seal(proto::SealRequest {}).await?;
    output.result(&json!({"sealed": true}), |out| writeln!(out, "sealed"))
}

/// Unseals.
///
/// # Errors
/// What the vault says.
pub async fn unseal(args: UnsealArgs, output: Output) -> Result<(), CliError> {
    let connection = args.connection.read()?;
    let mut client = connection.open().await?;
    let kind = if args.share_file.is_some() {
        SealKind::Custodians
    } else if args.pin_file.is_some() {
        SealKind::Pkcs11
    } else if args.passphrase_file.is_some() {
        SealKind::Passphrase
    } else {
        // An open vault tells nobody without a session; it takes what a person gives by itself.
        let status = client.admin.get_status(proto::GetStatusRequest {}).await;
        let unsealing = status.ok().and_then(|status| status.into_inner().unsealing);
        unsealing
            .and_then(|it| {
                SealKind::ALL
                    .into_iter()
                    .find(|kind| kind.as_str() == it.seal)
            })
            .unwrap_or(SealKind::Passphrase)
    };
    let mut request = proto::UnsealRequest::default();
    match kind {
        SealKind::Custodians => request.share = own_share(&args)?.to_text().expose().to_owned(),
        SealKind::Passphrase => request.passphrase = passphrase(&args)?.expose().to_owned(),
        SealKind::Pkcs11 => {
            let what = "the security module's PIN";
            let pin = input::secret(args.pin_file.as_deref(), what, "--pin-file")?;
            request.pin = pin.expose().to_owned();
        }
        SealKind::AwsKms => {}
    }
    let answer = client.admin.unseal(request).await?.into_inner();
    if let Some(waiting) = answer.waiting {
        let document = json!({
            "sealed": true,
            "shares_needed": waiting.shares_needed,
            "given_by": waiting.given_by,
        });
        return output.result(&document, |out| writeln!(out, "{}", in_words(&waiting)));
    }
    if answer.entry_index > 0 {
        let document = json!({"sealed": false, "share": "good", "entry": answer.entry_index});
        return output.result(&document, |out| {
            writeln!(
                out,
                "your share is good: entry {} says so",
                answer.entry_index
            )
        });
    }
    output.result(&json!({"sealed": false}), |out| writeln!(out, "open"))
}

fn own_share(args: &UnsealArgs) -> Result<Share, CliError> {
    let text = match &args.share_file {
        Some(file) => SecretText::copy_from(&input::read_text(file)?),
        None => input::line_unseen("your share")?,
    };
    share::read(
        &text,
        args.share_passphrase_file.as_deref(),
        args.identity_file.as_deref(),
    )
}

fn passphrase(args: &UnsealArgs) -> Result<SecretText, CliError> {
    input::secret(
        args.passphrase_file.as_deref(),
        "the passphrase",
        "--passphrase-file",
    )
}

/// How many shares there are, and whose.
pub fn in_words(unsealing: &proto::Unsealing) -> String {
    if unsealing.shares_needed == 0 {
        return match unsealing.seal.as_str() {
            "pkcs11" => "sealed by a security module".to_owned(),
            "aws-kms" => "sealed by a key service".to_owned(),
            _ => "sealed by a passphrase".to_owned(),
        };
    }
    let given = match unsealing.given_by.is_empty() {
        true => "nobody's".to_owned(),
        false => unsealing.given_by.join(", "),
    };
    format!(
        "sealed; {} of {} shares given: {given}",
        unsealing.given_by.len(),
        unsealing.shares_needed
    )
}
