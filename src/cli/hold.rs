//! `payvault hold …`: what must be kept for a case, whatever clock runs out.

use super::connection::ConnectionArgs;
use super::error::CliError;
use super::moment;
use super::output::Output;
use super::principal::pending;
use crate::api::proto;
use crate::clock::Timestamp;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

/// Legal holds.
#[derive(Subcommand, Debug)]
pub enum HoldCommand {
    /// Hold a transaction, or a site's transactions of a time; a second operator approves
    #[command(after_help = PLACE_HELP)]
    Place(PlaceArgs),
    /// Lift a hold; a second operator approves
    Lift(LiftArgs),
    /// List the holds
    List(ListArgs),
}

const PLACE_HELP: &str = "Examples:
  payvault hold place --case 2026-HA-17 --transaction txn_…
  payvault hold place --case 2026-HA-17 --site nl --from 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z";

/// Places a hold.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("scope").required(true).args(["transaction", "site"]))]
pub struct PlaceArgs {
    /// The case's reference: at most 64 characters, no card number
    #[arg(long, value_name = "TEXT")]
    case: String,
    /// The transaction
    #[arg(long, value_name = "TXN")]
    transaction: Option<String>,
    /// The site whose transactions of a time are held
    #[arg(long, value_name = "SITE", requires_all = ["from", "until"])]
    site: Option<String>,
    /// Opened at or after
    #[arg(long, value_name = "TIME", value_parser = moment::parse, requires = "site")]
    from: Option<Timestamp>,
    /// Opened before
    #[arg(long, value_name = "TIME", value_parser = moment::parse, requires = "site")]
    until: Option<Timestamp>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Lifts a hold.
#[derive(Args, Debug)]
pub struct LiftArgs {
    /// The hold ("hld_…")
    hold: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Lists the holds.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Does it.
///
/// # Errors
/// What the vault says.
pub async fn run(command: HoldCommand, output: Output) -> Result<(), CliError> {
    match command {
        HoldCommand::Place(args) => {
            let request = proto::PlaceHoldRequest {
                case_reference: args.case,
                transaction: args.transaction.unwrap_or_default(),
                site: args.site.unwrap_or_default(),
                from_time: args.from.map(moment::to_proto),
                until_time: args.until.map(moment::to_proto),
            };
            let mut client = args.connection.read()?.open_as_person().await?;
            let answer = client.admin.place_hold(request).await;
            client.logout().await;
            done(answer?.into_inner().pending_action, "placed", output)
        }
        HoldCommand::Lift(args) => {
            let request = proto::LiftHoldRequest { hold: args.hold };
            let mut client = args.connection.read()?.open_as_person().await?;
            let answer = client.admin.lift_hold(request).await;
            client.logout().await;
            done(answer?.into_inner().pending_action, "lifted", output)
        }
        HoldCommand::List(args) => {
            let mut client = args.connection.read()?.open_as_person().await?;
            let answer = client.admin.list_holds(proto::ListHoldsRequest {}).await;
            client.logout().await;
            let holds = answer?.into_inner().holds;
            let each = holds.iter().map(|hold| {
                json!({
                    "id": hold.id,
                    "case": hold.case_reference,
                    "covers": hold.covers,
                    "site": hold.site,
                    "placed_at": moment::text(hold.placed_at.as_ref()),
                })
            });
            output.result(&json!({"holds": each.collect::<Vec<_>>()}), |out| {
                holds.iter().try_for_each(|hold| {
                    let at = moment::text(hold.placed_at.as_ref());
                    writeln!(
                        out,
                        "{}  {at}  {}  {}",
                        hold.id, hold.case_reference, hold.covers
                    )
                })
            })
        }
    }
}

fn done(action: String, what: &str, output: Output) -> Result<(), CliError> {
    if !action.is_empty() {
        return pending(output, &action);
    }
    output.result(&json!({"done": true}), |out| writeln!(out, "{what}"))
}
