//! `load run`: the vault and the echo under the same loads, one after the other, in one table.

use crate::caller::Target;
use crate::children::{self, Cores, VaultSettings};
use crate::drive::{Load, Measured, drive};
use crate::exporting;
use crate::failure::{self, LoadError};
use crate::machine::{self, Machine};
use crate::mix::{Mix, Op};
use crate::prepare;
use crate::report::{Report, Row};
use crate::stock::{Stock, Uses};
use clap::Args;
use payvault::cli::dev::file::DevFile;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the vault comes from, and where both run.
#[derive(Args, Debug)]
pub struct PlaceArgs {
    /// The payvault binary [default: the one beside this one]
    #[arg(long, value_name = "FILE")]
    payvault: Option<PathBuf>,
    /// Where the vault's files lie; a vault that is there is gone on with [default: a temporary
    /// directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Memory for the vault's cache, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    cache_mb: u32,
    /// Let servers and client run on any core
    #[arg(long)]
    no_pin: bool,
    /// The servers' core
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    server_core: usize,
    /// The client's core
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    client_core: usize,
}

/// A directory for a run.
pub struct Ground {
    /// Where.
    pub dir: PathBuf,
    /// Which cores.
    pub cores: Cores,
    /// The vault that will lie there.
    pub vault: VaultSettings,
    // Gone with this.
    _temporary: Option<tempfile::TempDir>,
}

impl PlaceArgs {
    /// Makes the directory, and keeps this process to its core.
    ///
    /// # Errors
    /// When it can't be made, or there is no such core.
    pub fn ground(&self) -> Result<Ground, LoadError> {
        let (dir, temporary) = match &self.dir {
            Some(dir) => (dir.clone(), None),
            None => {
                let made = tempfile::Builder::new()
                    .prefix("payvault-load-")
                    .tempdir()
                    .map_err(LoadError::system("a temporary directory"))?;
                (made.path().to_owned(), Some(made))
            }
        };
        std::fs::create_dir_all(&dir).map_err(LoadError::file(&dir))?;
        let pinned = (!self.no_pin).then_some((self.server_core, self.client_core));
        if let Some((_, client)) = pinned {
            machine::pin(client)?;
        }
        Ok(Ground {
            vault: VaultSettings {
                binary: self.payvault.clone(),
                dir: dir.join("vault"),
                cache_mb: self.cache_mb,
            },
            dir,
            cores: Cores { pinned },
            _temporary: temporary,
        })
    }
}

/// How often things are used.
#[derive(Args, Debug, Clone, Copy)]
pub struct UsesArgs {
    /// Tokens that each transaction gets
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    tokens_per_transaction: u32,
    /// Redemptions of each token
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    redeems_per_token: u32,
}

impl UsesArgs {
    /// The same, judged.
    ///
    /// # Errors
    /// When a transaction can't take as many.
    pub fn uses(self) -> Result<Uses, LoadError> {
        let uses = Uses {
            tokens_per_transaction: self.tokens_per_transaction,
            redeems_per_token: self.redeems_per_token,
        };
        match uses.problem() {
            None => Ok(uses),
            Some(problem) => Err(LoadError::Usage(problem)),
        }
    }
}

/// Measures calls against the vault and against the echo
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    uses: UsesArgs,
    /// Measure the vault that this dev.json names instead of one of our own; it must have been
    /// started with --calls-per-second 1000000
    #[arg(long, value_name = "FILE")]
    connect: Option<PathBuf>,
    /// With --connect: the vault's process, for its CPU time
    #[arg(long, value_name = "PID", requires = "connect")]
    pid: Option<u32>,
    /// Calls: open, tokenize, redeem, describe, or several with weights (tokenize=1+redeem=3), or
    /// items of a stream: tokenize-stream, redeem-stream; each is measured by itself
    #[arg(
        long,
        value_name = "MIX,…",
        value_delimiter = ',',
        default_value = "tokenize,redeem"
    )]
    mix: Vec<Mix>,
    /// Numbers of callers; each is measured by itself
    #[arg(long, value_name = "COUNT,…", value_delimiter = ',', default_value = "1,16,64,256",
          value_parser = clap::value_parser!(u32).range(1..=16_384))]
    callers: Vec<u32>,
    /// Of streams: how many there are; callers is then how many items they have under way
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=payvault::limits::STREAMS_PER_PRINCIPAL_MAX as i64))]
    streams: u32,
    /// Connections that callers share, a principal
    #[arg(long, value_name = "COUNT", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=128))]
    connections: u32,
    /// Open load: this many calls fall due each second, and callers bounds those under way
    #[arg(long, value_name = "CALLS/S", value_parser = rate)]
    rate: Option<f64>,
    /// Time that doesn't count, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    warm_up: f64,
    /// Time that counts, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    duration: f64,
    /// Export the whole ledger meanwhile, again and again
    #[arg(long)]
    export: bool,
    /// Leave the echo out: no ratios
    #[arg(long)]
    no_echo: bool,
    /// Seed of the callers' dice
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Errors don't make the run fail
    #[arg(long)]
    allow_errors: bool,
    /// Write everything into this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    between(text, 0.1, 10_000_000.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    between(text, 0.01, 86_400.0)
}

fn between(text: &str, from: f64, to: f64) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (from..=to).contains(&number) => Ok(number),
        _ => Err(format!("a number from {from} to {to}")),
    }
}

/// A vault's end for load.
///
/// # Errors
/// When a credential can't be read.
pub fn vault_target(dev: &DevFile, uses: Uses, pid: Option<u32>) -> Result<Target, LoadError> {
    Ok(Target {
        name: "vault",
        portal: children::credential(dev, "portal")?,
        processor: children::credential(dev, "processor-a")?,
        processor_id: dev.principal("processor-a")?.id.as_str().into(),
        stock: Arc::new(Stock::new(uses)),
        pid,
    })
}

fn echo_target(dir: &Path, endpoint: &str, pid: u32) -> Result<Target, LoadError> {
    let credential = || crate::echo::credential(dir, endpoint.to_owned());
    Ok(Target {
        name: "echo",
        portal: credential()?,
        processor: credential()?,
        processor_id: payvault::ids::PrincipalId::random().to_string().into(),
        stock: Arc::new(prepare::made_up()),
        pid: Some(pid),
    })
}

/// Measures.
///
/// # Errors
/// When a server fails, or calls do.
pub async fn run(args: RunArgs) -> Result<(), LoadError> {
    let uses = args.uses.uses()?;
    let cores = machine::cores();
    let ground = args.place.ground()?;
    let machine = Machine::look(&ground.dir, cores)?;
    let (vault_server, dev) = match &args.connect {
        Some(path) => (None, DevFile::read(path)?),
        None => {
            let (server, dev) = children::vault(&ground.vault, ground.cores)?;
            (Some(server), dev)
        }
    };
    let pid = vault_server.as_ref().map(|s| s.pid()).or(args.pid);
    let vault = vault_target(&dev, uses, pid)?;
    let echo_dir = ground.dir.join("echo");
    // Held until the end.
    let mut echo_server = None;
    let mut echo = None;
    if !args.no_echo {
        let (server, credential) = children::echo(&echo_dir, ground.cores)?;
        echo = Some(echo_target(&echo_dir, &credential.endpoint, server.pid())?);
        echo_server = Some(server);
    }

    let mut rows = Vec::new();
    for mix in &args.mix {
        for callers in &args.callers {
            let case = Case {
                args: &args,
                mix,
                callers: *callers as usize,
                dev: &dev,
            };
            if let Some(echo) = &echo {
                rows.push(case.measure(echo).await?);
            }
            case.stock_up(&vault).await?;
            rows.push(case.measure(&vault).await?);
        }
    }
    drop(echo_server);
    let report = Report::new(machine, ground.cores.pinned.is_some(), rows);
    report.print();
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    if let Some(server) = vault_server {
        server.stop()?;
    }
    failure::end(report.failed(), args.allow_errors)
}

/// One load.
struct Case<'a> {
    args: &'a RunArgs,
    mix: &'a Mix,
    callers: usize,
    dev: &'a DevFile,
}

/// No vault on one core does more in a second; for the first guess at what will be used up.
const PER_SECOND_MAX: f64 = 20_000.0;
/// Nor does a lone caller.
const PER_CALLER_MAX: f64 = 5_000.0;
/// A short try tells how fast it is; this much more is made, lest it run dry.
const SPARE: f64 = 1.4;

impl Case<'_> {
    /// Makes what the load will use up, by how fast a short try was.
    async fn stock_up(&self, target: &Target) -> Result<(), LoadError> {
        let seconds = self.args.warm_up + self.args.duration;
        let per_second = match self.args.rate {
            Some(rate) => rate,
            None => {
                let first = PER_SECOND_MAX.min(PER_CALLER_MAX * self.callers as f64);
                self.make(target, first).await?;
                let load = self.load(Duration::from_millis(100), Duration::from_millis(900));
                self.drive(target, &load).await?.per_second() * SPARE
            }
        };
        self.make(target, per_second * seconds).await
    }

    async fn make(&self, target: &Target, calls: f64) -> Result<(), LoadError> {
        let of = |op| (self.mix.share(op) * calls).ceil() as u64;
        let mut redeems = of(Op::Redeem) + of(Op::RedeemStream);
        if self.mix.share(Op::Describe) > 0.0 {
            // Looked at in turns, as tokens that are redeemed are.
            redeems += 100_000;
        }
        // Dice don't fall evenly.
        let spare = |count: u64| {
            if count == 0 {
                0
            } else {
                count + count / 50 + 256
            }
        };
        let tokenizes = of(Op::Tokenize) + of(Op::TokenizeStream);
        prepare::fill(target, spare(tokenizes), spare(redeems)).await
    }

    fn load(&self, warm_up: Duration, duration: Duration) -> Load {
        Load {
            mix: self.mix.clone(),
            rate: self.args.rate,
            warm_up,
            duration,
            seed: self.args.seed,
            to_the_last: false,
        }
    }

    /// Drives the load: calls over connections, or items over streams.
    async fn drive(&self, target: &Target, load: &Load) -> Result<Measured, LoadError> {
        let connections = self.args.connections as usize;
        Ok(match self.mix.stream() {
            Some(op) => {
                let streams = self.args.streams as usize;
                drive(
                    target.lanes(op, self.callers, streams).await?,
                    load,
                    target.pid,
                )
                .await
            }
            None => {
                drive(
                    target.callers(self.callers, connections).await?,
                    load,
                    target.pid,
                )
                .await
            }
        })
    }

    async fn measure(&self, target: &Target) -> Result<Row, LoadError> {
        let connections = match self.mix.stream() {
            Some(_) => self.args.streams as usize,
            None => self.args.connections as usize,
        };
        let mix = self.mix.to_string();
        eprintln!("{} {mix}, {} callers …", target.name, self.callers);
        let load = self.load(
            Duration::from_secs_f64(self.args.warm_up),
            Duration::from_secs_f64(self.args.duration),
        );
        let exporting = match self.args.export && target.name == "vault" {
            true => Some(exporting::start(self.dev).await?),
            false => None,
        };
        let measured = self.drive(target, &load).await?;
        let mut row = Row::new(
            target.name,
            &mix,
            self.callers,
            connections,
            self.args.rate,
            &measured,
            target.pid.is_some(),
        );
        if let Some(exporting) = exporting {
            row.exported_per_second = Some(exporting.stop()?);
        }
        Ok(row)
    }
}
