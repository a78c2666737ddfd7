//! `payvault serve`: the running vault.

use super::error::CliError;
use super::settings::{SettingsArgs, house};
use super::{input, logging, runtime};
use crate::api::config::Config;
use crate::api::node::Node;
use crate::api::server::Ended;
use crate::api::tls::Tls;
use crate::clock::Clock;
use crate::keys::{Opening, SealFile, SealKind};
use crate::payment::ModulusTables;
use crate::secret::wipe_stack;
use crate::vault::{Gate, OpenError};
use crate::{limits, os};
use clap::Args;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the vault until SIGTERM or SIGINT.
#[derive(Args, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Serves. Everything is read and judged before a port opens.
///
/// # Errors
/// A configuration that can't be, a vault that refuses to start, or a server that ended by itself.
pub fn run(args: ServeArgs) -> Result<(), CliError> {
    let config = args.settings.load()?;
    logging::start(config.log);
    enough_descriptors()?;
    let clock = Clock::system();
    let tls = Arc::new(Tls::load(config.tls.clone(), clock.clone())?);
    let tables = match &config.uk_modulus {
        Some(files) => files.load()?,
        None => ModulusTables::default(),
    };
    let gate = Gate::new(house(&config, clock.clone()));
    let gate = Arc::new(gate.with_pkcs11_module(config.pkcs11_module.clone()));
    if SealFile::read(&config.keys_dir).is_err() && !config.keys_dir.join("seal.json").exists() {
        let missing = OpenError::NotInitialised(config.keys_dir.clone());
        return Err(CliError::Start(missing));
    }
    unseal_alone(&config, &gate)?;
    wipe_stack();
    runtime()?.block_on(serve(config, gate, tls, tables, clock))
}

/// Opens the vault without a person, where its seal and the configuration allow it.
fn unseal_alone(config: &Config, gate: &Gate) -> Result<(), CliError> {
    let kind = gate.progress().map(|progress| progress.kind);
    let pin_file = config.pkcs11_pin_file.as_ref();
    let passphrase_file = config.passphrase_file.as_ref();
    match (kind, pin_file, passphrase_file) {
        (Some(SealKind::AwsKms), _, _) => gate.unseal_by(|_| Opening::Service)?,
        (Some(SealKind::Pkcs11), Some(file), _) => {
            let pin = input::secret_file(file)?;
            gate.unseal_by(|module| Opening::Pin { pin, module })?;
        }
        (Some(SealKind::Pkcs11), None, _) | (_, _, None) => {
            tracing::info!("sealed: an operator opens it with `payvault unseal`");
        }
        (_, _, Some(file)) => gate.unseal(&input::secret_file(file)?)?,
    }
    Ok(())
}

async fn serve(
    config: Config,
    gate: Arc<Gate>,
    tls: Arc<Tls>,
    tables: ModulusTables,
    clock: Clock,
) -> Result<(), CliError> {
    if let Some(sink) = &config.checkpoint_sink {
        let folder = sink
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            return Err(CliError::Failed(format!(
                "checkpoint_sink: the directory of {} doesn't exist: is its volume mounted?",
                sink.display()
            )));
        }
    }
    if let Some(program) = &config.checkpoint_command
        && !program.is_file()
    {
        return Err(CliError::Failed(format!(
            "checkpoint_command: {} is no program: give its whole path",
            program.display()
        )));
    }
    let stop = stop_signal()?;
    reload_on_hangup(Arc::clone(&tls))?;
    let listener = bind(config.listen).await?;
    let health = match config.health_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    if cfg!(feature = "fault-injection") {
        tracing::error!(
            alarm = "build",
            "this binary was built for tests and can be made to lose data: build with `cargo build --release --locked -p payvault`"
        );
    }
    tracing::info!(address = %config.listen, "serving");
    let node = Node::new(gate, tls, clock, config.calls_per_second)
        .with_backup_dir(config.backup_dir.clone())
        .with_uk_modulus(tables);
    let ended = node.run(listener, health, config.reflection, stop).await?;
    say_how(ended);
    Ok(())
}

/// Logs how serving ended.
pub fn say_how(ended: Ended) {
    match ended {
        Ended::Drained => tracing::info!("stopped: every call under way was answered"),
        Ended::Cut => tracing::warn!("stopped: calls that took too long were cut"),
    }
}

/// Makes sure that there are descriptors for the store and some connections: without them the
/// runtime panics, and later the store fails.
///
/// # Errors
/// When the system gives too few.
pub fn enough_descriptors() -> Result<(), CliError> {
    let wanted = limits::CONNECTIONS_MAX as u64 + limits::DESCRIPTORS_RESERVED;
    let files = os::allow_open_files(wanted)?;
    if files >= limits::DESCRIPTORS_MIN {
        return Ok(());
    }
    Err(CliError::Failed(format!(
        "only {files} files may be open at once, and {} are needed: raise the limit (`ulimit -n`, \
         `LimitNOFILE`)",
        limits::DESCRIPTORS_MIN
    )))
}

/// Binds a listener.
///
/// # Errors
/// When the address is taken or not this machine's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, CliError> {
    TcpListener::bind(address)
        .await
        .map_err(|cause| CliError::Failed(format!("can't listen on {address}: {cause}")))
}

/// Completes at SIGTERM or SIGINT. The signals are caught from now on.
///
/// # Errors
/// When they can't be caught.
pub fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, CliError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Reads certificates, CAs and revocation lists again at each SIGHUP, until the runtime ends.
fn reload_on_hangup(tls: Arc<Tls>) -> Result<(), CliError> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let tls = Arc::clone(&tls);
            match tokio::task::spawn_blocking(move || tls.reload()).await {
                Ok(Ok(())) => tracing::info!("certificates, CAs and revocation lists read anew"),
                Ok(Err(error)) => {
                    tracing::error!(%error, "nothing was read anew; the old ones stay");
                }
                Err(_) => tracing::error!("reading certificates anew ended with a panic"),
            }
        }
    });
    Ok(())
}
