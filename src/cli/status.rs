//! `payvault status`: how the vault does; and the question of a probe.

use super::connection::{Connection, ConnectionArgs};
use super::error::CliError;
use super::moment;
use super::output::Output;
use super::seal::in_words;
use crate::api::proto;
use clap::Args;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Asks how the vault does.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Ask the health listener, without a certificate: 0 when the vault lives (sealed or not), 5
    /// when it doesn't or is stopping [default address: PAYVAULT_HEALTH_LISTEN]
    #[arg(long, value_name = "IP:PORT", num_args = 0..=1)]
    health: Option<Option<SocketAddr>>,
    /// With --health: 0 only when the vault is unsealed and takes calls
    #[arg(long, requires = "health")]
    ready: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Asks and shows.
///
/// # Errors
/// When the vault can't be reached, refuses, or isn't healthy.
pub async fn run(args: StatusArgs, output: Output) -> Result<(), CliError> {
    match args.health {
        Some(address) => health(health_address(address)?, args.ready, output).await,
        None => status(&args.connection.read()?, output).await,
    }
}

fn health_address(given: Option<SocketAddr>) -> Result<SocketAddr, CliError> {
    if let Some(address) = given {
        return Ok(address);
    }
    std::env::var("PAYVAULT_HEALTH_LISTEN")
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            CliError::Usage(
                "--health takes the health listener's address, or PAYVAULT_HEALTH_LISTEN has it"
                    .into(),
            )
        })
}

/// A probe's patience.
const PROBE: Duration = Duration::from_secs(2);

async fn health(address: SocketAddr, ready: bool, output: Output) -> Result<(), CliError> {
    let unreachable = |_| CliError::Unhealthy("the health listener does not answer");
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .map_err(unreachable)?
        .connect_timeout(PROBE)
        .timeout(PROBE)
        .connect()
        .await
        .map_err(unreachable)?;
    let mut client = HealthClient::new(channel);
    let mut serves = async |service: &str| {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        match client.check(request).await {
            Ok(answer) => Ok(answer.into_inner().status() == ServingStatus::Serving),
            Err(_) => Err(CliError::Unhealthy("the health listener does not answer")),
        }
    };
    // The vault as a whole serves when it is open; administration serves while it is sealed too.
    let open = serves("").await?;
    let alive = open || serves("payvault.v1.AdminService").await?;
    if !alive {
        return Err(CliError::Unhealthy("the vault is stopping"));
    }
    if ready && !open {
        return Err(CliError::Unhealthy("the vault is sealed"));
    }
    output.result(&json!({"alive": true, "ready": open}), |out| {
        writeln!(out, "{}", if open { "ready" } else { "alive, sealed" })
    })
}

async fn status(connection: &Connection, output: Output) -> Result<(), CliError> {
    let mut client = connection.open().await?;
    // A sealed vault knows no sessions: then the certificate alone asks.
    match client.login(&connection.secret()?).await {
        Ok(()) => {}
        Err(CliError::Refused(refused)) if refused.reason == "SEALED" => {}
        Err(error) => return Err(error),
    }
    let answer = client.admin.get_status(proto::GetStatusRequest {}).await;
    client.logout().await;
    let status = answer?.into_inner();
    output.result(&document(&status), |out| words(&status, out))
}

fn document(status: &proto::GetStatusResponse) -> Value {
    let mut json = json!({"sealed": status.sealed, "version": status.version});
    if status.sealed {
        if let Some(unsealing) = &status.unsealing {
            json["seal"] = json!(unsealing.seal);
            json["shares_needed"] = json!(unsealing.shares_needed);
            json["given_by"] = json!(unsealing.given_by);
        }
        return json;
    }
    let pending: Vec<_> = status
        .pending_actions
        .iter()
        .map(|action| {
            json!({
                "id": action.id,
                "summary": action.summary,
                "requested_by": action.requested_by,
                "expires_at": moment::text(action.expires_at.as_ref()),
            })
        })
        .collect();
    json["vault"] = json!(status.vault_id);
    json["epoch"] = json!(status.epoch);
    json["ledger_size"] = json!(status.ledger_size);
    json["checkpoint"] = json!(status.checkpoint);
    json["keyring_generation"] = json!(status.keyring_generation);
    json["store"] = json!(status.store);
    json["single_operator"] = json!(status.single_operator);
    json["warnings"] = json!(status.warnings);
    json["pending_actions"] = json!(pending);
    if let Some(rewrap) = &status.rewrap {
        json["rewrap"] = super::rotate::rewrap_document(rewrap);
    }
    json
}

fn words(status: &proto::GetStatusResponse, out: &mut dyn Write) -> io::Result<()> {
    if status.sealed {
        writeln!(out, "sealed (payvault {})", status.version)?;
        return match &status.unsealing {
            Some(unsealing) => writeln!(out, "seal       {}", in_words(unsealing)),
            None => Ok(()),
        };
    }
    writeln!(out, "open (payvault {})", status.version)?;
    writeln!(
        out,
        "vault      {}, epoch {}",
        status.vault_id, status.epoch
    )?;
    writeln!(out, "ledger     {} entries", status.ledger_size)?;
    writeln!(out, "keyring    generation {}", status.keyring_generation)?;
    writeln!(out, "store      {}", status.store)?;
    if status.single_operator {
        writeln!(out, "operators  ONE: can do everything alone")?;
    }
    if let Some(rewrap) = &status.rewrap {
        writeln!(out, "rewrap     {}", super::rotate::in_words(rewrap))?;
    }
    for action in &status.pending_actions {
        let until = moment::text(action.expires_at.as_ref());
        writeln!(
            out,
            "waits      {}: {}, asked by {}, until {until}",
            action.id, action.summary, action.requested_by
        )?;
    }
    for warning in &status.warnings {
        writeln!(out, "warning    {warning}")?;
    }
    if status.warnings.is_empty() {
        writeln!(out, "no warnings")?;
    }
    if !status.checkpoint.is_empty() {
        writeln!(
            out,
            "\nnewest checkpoint:\n{}",
            status.checkpoint.trim_end()
        )?;
    }
    Ok(())
}
