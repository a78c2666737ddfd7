//! `load fill`: a vault with many live tokens. What it takes in memory and on disk, how a
//! redemption of any one of them does, and how long a start takes after it was killed.

use crate::caller::{Caller, Target};
use crate::children::{self, Server};
use crate::dice::Dice;
use crate::drive::{Load, drive};
use crate::failure::{self, LoadError};
use crate::machine::{self, Machine};
use crate::prepare::{self, CALLERS, CONNECTIONS};
use crate::report::{Latency, write_json};
use crate::run::{Ground, PlaceArgs, vault_target};
use crate::stock::{Stock, Uses};
use clap::Args;
use indicatif::ProgressBar;
use payvault::cli::dev::file::DevFile;
use payvault::limits;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Makes many live tokens, and measures a vault that holds them
#[derive(Args, Debug)]
pub struct FillArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Live tokens at which it is measured, ascending
    #[arg(long, value_name = "COUNT,…", value_delimiter = ',', default_value = "100000",
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    tokens: Vec<u64>,
    /// Tokens that each transaction gets
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=limits::TOKENS_PER_TRANSACTION_MAX as i64))]
    tokens_per_transaction: u32,
    /// Tokens that are redeemed at each measurement, drawn evenly from all
    #[arg(long, value_name = "COUNT", default_value_t = 20_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sample: u32,
    /// Callers that redeem them; each number is measured by itself
    #[arg(long, value_name = "COUNT,…", value_delimiter = ',', default_value = "1,64",
          value_parser = clap::value_parser!(u32).range(1..=1_024))]
    callers: Vec<u32>,
    /// Kill the vault at each measurement, and measure its start and its redemptions after it
    #[arg(long)]
    restart: bool,
    /// Seed of the draw
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// End with 0 although calls failed: a transaction that remembers as many requests as it can
    /// refuses a redemption
    #[arg(long)]
    allow_errors: bool,
    /// Write everything into this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A vault that holds so many tokens.
#[derive(Debug, Serialize)]
struct Step {
    tokens: u64,
    /// How fast they were made.
    tokens_per_second: f64,
    /// Memory of the process now, and at most so far.
    resident_bytes: u64,
    resident_bytes_max: u64,
    /// Of the data directory.
    disk_bytes: u64,
    /// What one more token took, since the vault was empty.
    disk_bytes_a_token: f64,
    redeem: Vec<Redeem>,
    restart: Option<Restart>,
}

/// Redemptions of the sample.
#[derive(Debug, Serialize)]
struct Redeem {
    callers: u32,
    per_second: f64,
    latency: Latency,
    errors: BTreeMap<String, u64>,
}

/// A start after `kill -9`.
#[derive(Debug, Serialize)]
struct Restart {
    /// From the start of the process until health says SERVING; opening its passphrase included.
    seconds: f64,
    resident_bytes: u64,
    /// With nothing in the vault's own cache.
    redeem: Vec<Redeem>,
}

#[derive(Debug, Serialize)]
struct Filled {
    machine: Machine,
    cache_mb: u32,
    tokens_per_transaction: u32,
    steps: Vec<Step>,
}

/// A draw from all tokens so far in which each is as likely (Vitter's algorithm R).
struct Draw {
    state: Mutex<Drawn>,
    size: usize,
}

struct Drawn {
    seen: u64,
    tokens: Vec<(Arc<str>, String)>,
    dice: Dice,
}

impl Draw {
    fn see(&self, transaction: &Arc<str>, token: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Drawn { seen, tokens, dice } = &mut *state;
        *seen += 1;
        if tokens.len() < self.size {
            tokens.push((Arc::clone(transaction), token));
            return;
        }
        let place = dice.below(*seen);
        if let Some(slot) = usize::try_from(place)
            .ok()
            .and_then(|at| tokens.get_mut(at))
        {
            *slot = (Arc::clone(transaction), token);
        }
    }

    /// A stock that holds each once, in an order that says nothing of when it was made.
    fn stock(&self) -> Stock {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Drawn { tokens, dice, .. } = &mut *state;
        for last in (1..tokens.len()).rev() {
            let other = usize::try_from(dice.below(last as u64 + 1)).unwrap_or(0);
            tokens.swap(last, other);
        }
        let stock = Stock::new(Uses {
            tokens_per_transaction: 1,
            redeems_per_token: 1,
        });
        for (transaction, token) in tokens.iter() {
            stock.add_token(transaction, token.clone());
        }
        stock
    }
}

/// Fills and measures.
///
/// # Errors
/// When the vault fails or refuses a call.
pub async fn fill(args: FillArgs) -> Result<(), LoadError> {
    if !args.tokens.is_sorted() {
        return Err(LoadError::Usage("--tokens must ascend".to_owned()));
    }
    let cores = machine::cores();
    let ground = args.place.ground()?;
    let machine = Machine::look(&ground.dir, cores)?;
    let (mut server, mut dev) = children::vault(&ground.vault, ground.cores)?;
    let data = ground.vault.dir.join("data");
    let empty = machine::disk_bytes(&data);
    let draw = Arc::new(Draw {
        state: Mutex::new(Drawn {
            seen: 0,
            tokens: Vec::new(),
            dice: Dice::new(args.seed),
        }),
        size: args.sample as usize,
    });
    let mut made = 0;
    let mut steps = Vec::new();
    for tokens in args.tokens.iter().copied() {
        let target = target(&dev, &server, args.tokens_per_transaction, None)?;
        let begin = Instant::now();
        let more = tokens.saturating_sub(made);
        make(&target, more, &draw).await?;
        made += more;
        let seconds = begin.elapsed().as_secs_f64();
        let pid = server.pid();
        let redeem = redeem_sample(&args, &dev, &server, &draw).await?;
        let disk = machine::disk_bytes(&data);
        let mut step = Step {
            tokens: made,
            tokens_per_second: more as f64 / seconds,
            resident_bytes: resident(pid),
            resident_bytes_max: machine::number_of(pid, "status", "VmHWM") * 1024,
            disk_bytes: disk,
            disk_bytes_a_token: disk.saturating_sub(empty) as f64 / made as f64,
            redeem,
            restart: None,
        };
        if args.restart {
            server.kill()?;
            let (again, file, seconds) = start(&ground).await?;
            (server, dev) = (again, file);
            step.restart = Some(Restart {
                seconds,
                resident_bytes: resident(server.pid()),
                redeem: redeem_sample(&args, &dev, &server, &draw).await?,
            });
        }
        step.print();
        steps.push(step);
    }
    let filled = Filled {
        machine,
        cache_mb: ground.vault.cache_mb,
        tokens_per_transaction: args.tokens_per_transaction,
        steps,
    };
    if let Some(path) = &args.json {
        write_json(path, &filled)?;
    }
    server.stop()?;
    let of = |redeem: &[Redeem]| -> u64 { redeem.iter().flat_map(|r| r.errors.values()).sum() };
    let failed: u64 = filled
        .steps
        .iter()
        .map(|step| of(&step.redeem) + step.restart.as_ref().map_or(0, |r| of(&r.redeem)))
        .sum();
    failure::end(failed, args.allow_errors)
}

fn resident(pid: u32) -> u64 {
    machine::number_of(pid, "status", "VmRSS") * 1024
}

fn target(
    dev: &DevFile,
    server: &Server,
    tokens_per_transaction: u32,
    stock: Option<Stock>,
) -> Result<Target, LoadError> {
    let uses = Uses {
        tokens_per_transaction,
        redeems_per_token: 1,
    };
    let mut target = vault_target(dev, uses, Some(server.pid()))?;
    if let Some(stock) = stock {
        target.stock = Arc::new(stock);
    }
    Ok(target)
}

/// Makes `count` tokens.
async fn make(target: &Target, count: u64, draw: &Arc<Draw>) -> Result<(), LoadError> {
    let bar = prepare::bar("tokens", count);
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for caller in target.callers(CALLERS, CONNECTIONS).await? {
        let (next, draw) = (Arc::clone(&next), Arc::clone(draw));
        tasks.spawn(make_some(caller, next, count, draw, bar.clone()));
    }
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(made) => made.map_err(LoadError::refused("filling"))?,
            Err(error) => return Err(LoadError::Server(error.to_string())),
        }
    }
    bar.finish_and_clear();
    Ok(())
}

async fn make_some(
    mut caller: Caller,
    next: Arc<AtomicU64>,
    count: u64,
    draw: Arc<Draw>,
    bar: ProgressBar,
) -> Result<(), Status> {
    let each = u64::from(caller.stock().uses().tokens_per_transaction);
    loop {
        let first = next.fetch_add(each, Ordering::Relaxed);
        if first >= count {
            return Ok(());
        }
        let transaction: Arc<str> = caller.open().await?.into();
        let some = each.min(count - first);
        for _ in 0..some {
            let token = caller.tokenize(&transaction).await?;
            draw.see(&transaction, token);
        }
        bar.inc(some);
    }
}

/// Redeems each of the sample once, for each number of callers.
async fn redeem_sample(
    args: &FillArgs,
    dev: &DevFile,
    server: &Server,
    draw: &Draw,
) -> Result<Vec<Redeem>, LoadError> {
    let mut done = Vec::new();
    for callers in args.callers.iter().copied() {
        let target = target(dev, server, 1, Some(draw.stock()))?;
        let load = Load {
            mix: "redeem".parse().map_err(LoadError::Usage)?,
            rate: None,
            warm_up: Duration::ZERO,
            // It ends when all are redeemed.
            duration: Duration::from_secs(86_400),
            seed: args.seed,
            to_the_last: true,
        };
        let all = target.callers(callers as usize, CONNECTIONS).await?;
        let measured = drive(all, &load, target.pid).await;
        done.push(Redeem {
            callers,
            per_second: measured.per_second(),
            latency: Latency::of(&measured.all()),
            errors: measured.errors,
        });
    }
    Ok(done)
}

/// Starts the vault again and waits until health says SERVING; how long that took, in seconds.
async fn start(ground: &Ground) -> Result<(Server, DevFile, f64), LoadError> {
    let begin = Instant::now();
    let (server, dev) = children::vault(&ground.vault, ground.cores)?;
    let credential = children::credential(&dev, "portal")?;
    let mut health = HealthClient::with_origin(credential.wire().await?, credential.origin()?);
    loop {
        let request = HealthCheckRequest {
            service: String::new(),
        };
        let answer = health
            .check(request)
            .await
            .map_err(LoadError::refused("health"))?;
        if answer.into_inner().status() == ServingStatus::Serving {
            return Ok((server, dev, begin.elapsed().as_secs_f64()));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl Step {
    fn print(&self) {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{} live tokens, made at {:.0}/s: resident {:.0} MiB (most {:.0}), on disk {:.0} MiB, \
             {:.0} bytes a token",
            self.tokens,
            self.tokens_per_second,
            mib(self.resident_bytes),
            mib(self.resident_bytes_max),
            mib(self.disk_bytes),
            self.disk_bytes_a_token
        );
        print_redeem(&self.redeem);
        if let Some(restart) = &self.restart {
            println!(
                "  killed and started again: serving after {:.2} s, resident {:.0} MiB",
                restart.seconds,
                mib(restart.resident_bytes)
            );
            print_redeem(&restart.redeem);
        }
    }
}

fn print_redeem(all: &[Redeem]) {
    for redeem in all {
        let l = &redeem.latency;
        println!(
            "  redeem, {:>4} callers: {:>7.0}/s, p50 {:>6.0} µs, p99 {:>6.0} µs, p99.9 {:>6.0} µs, \
             max {:>6.0} µs, of {}",
            redeem.callers, redeem.per_second, l.p50_us, l.p99_us, l.p999_us, l.max_us, l.calls
        );
        for (what, count) in &redeem.errors {
            println!("    ERROR {count} × {what}");
        }
    }
}
