//! `payvault principal …`: who is known to the vault.

use super::connection::ConnectionArgs;
use super::error::CliError;
use super::output::Output;
use super::{input, moment, words};
use crate::api::proto;
use crate::clock::{Clock, Timestamp};
use crate::policy::Role;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Who is known to the vault.
#[derive(Subcommand, Debug)]
pub enum PrincipalCommand {
    /// Enrol one from its certificate
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// List all, disabled ones included
    List(ListArgs),
    /// Show one
    Show(OneArgs),
    /// Refuse one from now on, for good
    Disable(OneArgs),
    /// Give a person a new secret; the old one and its sessions end
    RotateSecret(RotateArgs),
}

const ADD_EXAMPLES: &str = "Examples:
  payvault principal add --name shop-nl --role portal --site nl --certificate shop-nl.pem
  payvault principal add --name vera --role auditor --certificate vera.pem \\
      --agreement NDA-2041 --until 2028-01-01 --secret-out vera.secret";

/// Enrols a principal.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// Its name: 1 to 64 of a-z 0-9 . - _
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What it is
    #[arg(long, value_name = "ROLE", value_parser = words::role_parser())]
    role: Role,
    /// A site where it may act; more than once, or divided by commas
    #[arg(long = "site", value_name = "SITE", value_delimiter = ',')]
    sites: Vec<String>,
    /// Its certificate (PEM), without the key
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Where a person's confidentiality agreement is filed
    #[arg(long, value_name = "REFERENCE", requires = "until")]
    agreement: Option<String>,
    /// The agreement is in force from then on [default: now]
    #[arg(long, value_name = "DATE", value_parser = moment::parse, requires = "agreement")]
    from: Option<Timestamp>,
    /// The agreement is in force until then, exclusive
    #[arg(long, value_name = "DATE", value_parser = moment::parse, requires = "agreement")]
    until: Option<Timestamp>,
    /// Write a person's secret to FILE (mode 0600) and don't show it
    #[arg(long, value_name = "FILE")]
    secret_out: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Lists principals.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// One principal.
#[derive(Args, Debug)]
pub struct OneArgs {
    /// Its id or name
    #[arg(value_name = "PRINCIPAL")]
    principal: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Makes a new secret.
#[derive(Args, Debug)]
pub struct RotateArgs {
    /// Id or name of a person
    #[arg(value_name = "PRINCIPAL")]
    principal: String,
    /// Write the secret to FILE (mode 0600) and don't show it
    #[arg(long, value_name = "FILE")]
    secret_out: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs one of them.
///
/// # Errors
/// What the vault says.
pub async fn run(command: PrincipalCommand, output: Output) -> Result<(), CliError> {
    match command {
        PrincipalCommand::Add(args) => add(args, output).await,
        PrincipalCommand::List(args) => list(args, output).await,
        PrincipalCommand::Show(args) => show(args, output).await,
        PrincipalCommand::Disable(args) => disable(args, output).await,
        PrincipalCommand::RotateSecret(args) => rotate(args, output).await,
    }
}

async fn add(args: AddArgs, output: Output) -> Result<(), CliError> {
    let connection = args.connection.read()?;
    let pem =
        std::fs::read_to_string(&args.certificate).map_err(CliError::file(&args.certificate))?;
    unwritten(args.secret_out.as_deref())?;
    let agreement = args.agreement.map(|reference| proto::Agreement {
        reference,
        valid_from: Some(moment::to_proto(
            args.from.unwrap_or_else(|| Clock::system().now()),
        )),
        valid_until: args.until.map(moment::to_proto),
    });
    let request = proto::CreatePrincipalRequest {
        name: args.name,
        role: args.role as i32,
        sites: args.sites,
        certificate_pem: pem,
        agreement,
    };
    let mut client = connection.open_as_person().await?;
    let answer = client.admin.create_principal(request).await;
    client.logout().await;
    let answer = answer?.into_inner();
    if !answer.pending_action.is_empty() {
        return pending(output, &answer.pending_action);
    }
    let mut json = answer.principal.as_ref().map_or(Value::Null, document);
    let secret = keep_secret(&answer.secret, args.secret_out.as_deref(), &mut json)?;
    output.result(&json!({"principal": json}), |out| {
        if let Some(principal) = &answer.principal {
            describe(principal, out)?;
        }
        match secret {
            Some(words) => writeln!(out, "{words}"),
            None => Ok(()),
        }
    })
}

async fn list(args: ListArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    let answer = client
        .admin
        .list_principals(proto::ListPrincipalsRequest {})
        .await;
    client.logout().await;
    let principals = answer?.into_inner().principals;
    let listed: Vec<_> = principals.iter().map(document).collect();
    output.result(&json!({"principals": listed}), |out| {
        for one in &principals {
            writeln!(
                out,
                "{}  {:<9}  {}{}",
                one.id,
                words::role_name(one.role),
                one.name,
                if one.disabled { "  (disabled)" } else { "" }
            )?;
        }
        Ok(())
    })
}

async fn show(args: OneArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    let request = proto::GetPrincipalRequest {
        principal: args.principal,
    };
    let answer = client.admin.get_principal(request).await;
    client.logout().await;
    let principal = answer?.into_inner().principal.unwrap_or_default();
    output.result(&json!({"principal": document(&principal)}), |out| {
        describe(&principal, out)
    })
}

async fn disable(args: OneArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    let request = proto::DisablePrincipalRequest {
        principal: args.principal,
    };
    let answer = client.admin.disable_principal(request).await;
    client.logout().await;
    let entry = answer?.into_inner().entry_index;
    output.result(&json!({"disabled": true, "entry_index": entry}), |out| {
        writeln!(out, "disabled (entry {entry})")
    })
}

async fn rotate(args: RotateArgs, output: Output) -> Result<(), CliError> {
    unwritten(args.secret_out.as_deref())?;
    let mut client = args.connection.read()?.open_as_person().await?;
    let request = proto::RotateSecretRequest {
        principal: args.principal,
    };
    let answer = client.admin.rotate_secret(request).await;
    // One's own rotation has ended the session already.
    client.logout().await;
    let secret = answer?.into_inner().secret;
    let mut json = json!({});
    let words = keep_secret(&secret, args.secret_out.as_deref(), &mut json)?;
    output.result(&json, |out| writeln!(out, "{}", words.unwrap_or_default()))
}

/// A file that a secret goes to must not exist: found out before the secret is made.
fn unwritten(path: Option<&Path>) -> Result<(), CliError> {
    match path {
        Some(path) if path.exists() => Err(CliError::Usage(format!("{} exists", path.display()))),
        _ => Ok(()),
    }
}

/// Puts a new secret into its file, or where it is shown this once. Gives the words for people.
fn keep_secret(
    secret: &str,
    file: Option<&Path>,
    json: &mut Value,
) -> Result<Option<String>, CliError> {
    if secret.is_empty() {
        return Ok(None);
    }
    match file {
        Some(path) => {
            input::write_secret_file(path, secret)?;
            json["secret_file"] = json!(path);
            Ok(Some(format!("secret in {}", path.display())))
        }
        None => {
            json["secret"] = json!(secret);
            Ok(Some(format!("secret {secret} (shown this once)")))
        }
    }
}

/// Says that another operator has to approve.
///
/// # Errors
/// When stdout is gone.
pub fn pending(output: Output, action: &str) -> Result<(), CliError> {
    output.result(&json!({"pending_action": action}), |out| {
        writeln!(
            out,
            "waits for a second operator, for 24 hours: payvault approve {action}"
        )
    })
}

fn document(principal: &proto::Principal) -> Value {
    json!({
        "id": principal.id,
        "name": principal.name,
        "role": words::role_name(principal.role),
        "sites": principal.sites,
        "certificate_uri": principal.certificate_uri,
        "issuer_key_sha256": principal.issuer_key_sha256,
        "agreement": principal.agreement.as_ref().map(|a| json!({
            "reference": a.reference,
            "valid_from": moment::text(a.valid_from.as_ref()),
            "valid_until": moment::text(a.valid_until.as_ref()),
        })),
        "disabled": principal.disabled,
        "created_at": moment::text(principal.created_at.as_ref()),
    })
}

fn describe(principal: &proto::Principal, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "id           {}", principal.id)?;
    writeln!(out, "name         {}", principal.name)?;
    writeln!(out, "role         {}", words::role_name(principal.role))?;
    let sites = if principal.sites.is_empty() {
        "every site".to_owned()
    } else {
        principal.sites.join(", ")
    };
    writeln!(out, "sites        {sites}")?;
    writeln!(out, "certificate  {}", principal.certificate_uri)?;
    writeln!(out, "issuer key   {}", principal.issuer_key_sha256)?;
    if let Some(a) = &principal.agreement {
        writeln!(
            out,
            "agreement    {}, {} to {}",
            a.reference,
            moment::text(a.valid_from.as_ref()),
            moment::text(a.valid_until.as_ref())
        )?;
    }
    writeln!(
        out,
        "enrolled     {}",
        moment::text(principal.created_at.as_ref())
    )?;
    if principal.disabled {
        writeln!(out, "DISABLED")?;
    }
    Ok(())
}
