//! `payvault clock`: what is done about a clock that jumped.

use super::connection::ConnectionArgs;
use super::error::CliError;
use super::moment;
use super::output::Output;
use super::principal::pending;
use crate::api::proto;
use crate::clock::{Clock, Timestamp};
use clap::{Args, Subcommand};
use serde_json::json;

const HELP: &str = "Example:
  payvault clock confirm

A clock that is wrong is set right, and all is as before. When what it shows now is right (the machine
slept, or it was wrong before), two operators say so: one asks, another approves.";

/// What is done about the clock.
#[derive(Subcommand, Debug)]
pub enum ClockCommand {
    /// Take what the vault's clock shows for right; a second operator approves
    #[command(after_help = HELP)]
    Confirm(ConfirmArgs),
}

/// Confirms the clock.
#[derive(Args, Debug)]
pub struct ConfirmArgs {
    /// What time it is, as you know it from elsewhere [default: this machine's clock]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    time: Option<Timestamp>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Asks for the confirmation.
///
/// # Errors
/// What the vault says.
pub async fn run(command: ClockCommand, output: Output) -> Result<(), CliError> {
    let ClockCommand::Confirm(args) = command;
    let time = args.time.unwrap_or_else(|| Clock::system().now());
    let mut client = args.connection.read()?.open_as_person().await?;
    let request = proto::ConfirmClockRequest {
        time: Some(moment::to_proto(time)),
    };
    let answer = client.admin.confirm_clock(request).await;
    client.logout().await;
    let action = answer?.into_inner().pending_action;
    if !action.is_empty() {
        return pending(output, &action);
    }
    output.result(&json!({"done": true}), |out| {
        writeln!(out, "done: time is what the vault's clock shows")
    })
}
