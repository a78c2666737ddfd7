//! `payvault allow …`: what a portal may put into terms; and `payvault approve`.

use super::client::Client;
use super::connection::ConnectionArgs;
use super::error::CliError;
use super::output::Output;
use super::principal::pending;
use super::{moment, words};
use crate::api::proto;
use crate::ids::PrincipalId;
use crate::policy::Purpose;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::HashMap;

/// What portals may put into terms.
#[derive(Subcommand, Debug)]
pub enum AllowCommand {
    /// Allow a portal to name a processor on a site, within bounds
    #[command(after_help = SET_EXAMPLE)]
    Set(SetArgs),
    /// List what is allowed
    List(ListArgs),
    /// Take an allowance away
    Remove(RemoveArgs),
}

const SET_EXAMPLE: &str = "Example:
  payvault allow set --site nl --portal shop-nl --processor acme \\
      --purpose authorize,refund --uses-max 3 --release 30d --releases-per-hour 1000";

/// Who may name whom where.
#[derive(Args, Debug)]
pub struct Which {
    /// The site
    #[arg(long, value_name = "SITE")]
    site: String,
    /// The portal: id or name
    #[arg(long, value_name = "PRINCIPAL")]
    portal: String,
    /// The processor: id or name
    #[arg(long, value_name = "PRINCIPAL")]
    processor: String,
}

/// Sets an allowance.
#[derive(Args, Debug)]
pub struct SetArgs {
    #[command(flatten)]
    which: Which,
    /// A purpose that may be granted; more than once, or divided by commas
    #[arg(long = "purpose", value_name = "PURPOSE", value_delimiter = ',', required = true,
          value_parser = words::purpose_parser())]
    purposes: Vec<Purpose>,
    /// Most uses that a grant may name
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    uses_max: u32,
    /// Longest time from opening to the last redemption, such as 30d
    #[arg(long, value_name = "SPAN", value_parser = moment::parse_span)]
    release: u64,
    /// Most releases an hour to this processor for this portal
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    releases_per_hour: u32,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Lists the allow-list.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Takes an allowance away.
#[derive(Args, Debug)]
pub struct RemoveArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Approves another operator's action.
#[derive(Args, Debug)]
pub struct ApproveArgs {
    /// The action's id (act_…), as `payvault status` lists it
    #[arg(value_name = "ACTION")]
    action: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs one of them.
///
/// # Errors
/// What the vault says.
pub async fn run(command: AllowCommand, output: Output) -> Result<(), CliError> {
    match command {
        AllowCommand::Set(args) => {
            let bounds = proto::Allowance {
                purposes: args.purposes.iter().map(|p| *p as i32).collect(),
                uses_max: args.uses_max,
                release_seconds_max: i64::try_from(args.release / 1000).unwrap_or(i64::MAX),
                releases_per_hour: args.releases_per_hour,
                ..proto::Allowance::default()
            };
            set(args.which, bounds, &args.connection, output).await
        }
        AllowCommand::Remove(args) => {
            let nothing = proto::Allowance::default();
            set(args.which, nothing, &args.connection, output).await
        }
        AllowCommand::List(args) => list(args, output).await,
    }
}

async fn set(
    which: Which,
    mut allowance: proto::Allowance,
    connection: &ConnectionArgs,
    output: Output,
) -> Result<(), CliError> {
    let mut client = connection.read()?.open_as_person().await?;
    let answer = async {
        allowance.site = which.site;
        allowance.portal = resolve(&mut client, which.portal).await?;
        allowance.processor = resolve(&mut client, which.processor).await?;
        let request = proto::SetAllowanceRequest {
            allowance: Some(allowance),
        };
        Ok::<_, CliError>(client.admin.set_allowance(request).await?.into_inner())
    }
    .await;
    client.logout().await;
    let action = answer?.pending_action;
    if !action.is_empty() {
        return pending(output, &action);
    }
    output.result(&json!({"done": true}), |out| writeln!(out, "done"))
}

/// The id of a principal that is given as an id or by name.
async fn resolve(client: &mut Client, text: String) -> Result<String, CliError> {
    if PrincipalId::parse(&text).is_ok() {
        return Ok(text);
    }
    let request = proto::GetPrincipalRequest { principal: text };
    let answer = client.admin.get_principal(request).await?.into_inner();
    Ok(answer.principal.unwrap_or_default().id)
}

async fn list(args: ListArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    let answers = async {
        let rows = client
            .admin
            .list_allowances(proto::ListAllowancesRequest {})
            .await?;
        let known = client
            .admin
            .list_principals(proto::ListPrincipalsRequest {})
            .await?;
        Ok::<_, CliError>((rows.into_inner().allowances, known.into_inner().principals))
    }
    .await;
    client.logout().await;
    let (rows, known) = answers?;
    let names: HashMap<_, _> = known.into_iter().map(|p| (p.id, p.name)).collect();
    let name = |id: &str| names.get(id).map_or(id, String::as_str).to_owned();
    let listed: Vec<_> = rows.iter().map(|row| document(row, &name)).collect();
    output.result(&json!({"allowances": listed}), |out| {
        for row in &rows {
            writeln!(
                out,
                "{}: {} may name {} for {}; at most {} uses, {} days, {} releases an hour",
                row.site,
                name(&row.portal),
                name(&row.processor),
                purposes(row).join(", "),
                row.uses_max,
                row.release_seconds_max / 86_400,
                row.releases_per_hour,
            )?;
        }
        if rows.is_empty() {
            writeln!(out, "nothing is allowed: no portal can open a transaction")?;
        }
        Ok(())
    })
}

fn purposes(row: &proto::Allowance) -> Vec<&'static str> {
    row.purposes
        .iter()
        .map(|code| words::purpose_name(*code))
        .collect()
}

fn document(row: &proto::Allowance, name: &impl Fn(&str) -> String) -> Value {
    json!({
        "site": row.site,
        "portal": row.portal,
        "portal_name": name(&row.portal),
        "processor": row.processor,
        "processor_name": name(&row.processor),
        "purposes": purposes(row),
        "uses_max": row.uses_max,
        "release_seconds_max": row.release_seconds_max,
        "releases_per_hour": row.releases_per_hour,
    })
}

/// Approves.
///
/// # Errors
/// What the vault says.
pub async fn approve(args: ApproveArgs, output: Output) -> Result<(), CliError> {
    let mut client = args.connection.read()?.open_as_person().await?;
    let request = proto::ApproveActionRequest {
        action: args.action,
    };
    let answer = client.admin.approve_action(request).await;
    client.logout().await;
    let entry = answer?.into_inner().entry_index;
    output.result(&json!({"approved": true, "entry_index": entry}), |out| {
        writeln!(out, "approved and done (entry {entry})")
    })
}
