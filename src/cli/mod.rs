//! The command line: one file a command. Card numbers, tokens, secrets and passphrases are never
//! arguments. Results go to stdout, words beside them to stderr; exit codes are in
//! `docs/operations.md`.

pub mod allow;
pub mod backup;
pub mod check;
pub mod client;
mod clock;
mod collect_key;
pub mod connection;
pub mod demo;
pub mod describe;
pub mod details;
pub mod dev;
pub mod erasure;
mod error;
pub mod hold;
mod identity;
mod import;
pub mod init;
pub mod input;
pub mod keys;
pub mod log;
pub mod logging;
pub mod moment;
mod new_seal;
pub mod output;
pub mod principal;
pub mod progress;
pub mod receipt;
pub mod redeem;
pub mod refused;
pub mod report;
pub mod restore;
pub mod revoke;
mod rotate;
pub mod seal;
pub mod serve;
pub mod settings;
pub mod share;
pub mod status;
pub mod store;
pub mod token;
pub mod tokenize;
pub mod transaction;
pub mod words;

pub use error::CliError;
pub use output::Output;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// An encrypted vault for payment details.
#[derive(Parser, Debug)]
#[command(name = "payvault", version, about, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// Print one JSON document on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Begin with `payvault demo`, or `payvault dev` for a vault to play with.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the vault, 4 not authenticated,
5 not reachable, sealed or stopping, 6 verification failed, 7 the vault refuses to start or isn't sound.";

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Walk the whole road on a temporary vault, over real mTLS gRPC, and explain it
    Demo(demo::DemoArgs),
    /// Run a vault with throw-away certificates and one principal of each role, to play with
    Dev(dev::DevArgs),
    /// Make a vault
    Init(Box<init::InitArgs>),
    /// Run the vault
    Serve(Box<serve::ServeArgs>),
    /// Hold the whole ledger against the whole store, while the vault doesn't run
    Check(Box<check::CheckArgs>),
    /// Work on the database itself, while the vault doesn't run
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Take a backup of the whole store, sealed, at one checkpoint
    #[command(after_help = backup::HELP)]
    Backup(Box<backup::BackupArgs>),
    /// Restore a backup into an empty data directory, or confirm a restore
    #[command(after_help = restore::HELP)]
    Restore(Box<restore::RestoreArgs>),
    /// Restore the newest backup to a temporary place, verify all of it, and remove it
    #[command(after_help = restore::DRILL_HELP)]
    Drill(Box<restore::DrillArgs>),
    /// Say how the vault does
    Status(status::StatusArgs),
    /// Seal the vault: its keys leave memory
    Seal(seal::SealArgs),
    /// Open a sealed vault: passphrase, PIN or key service; or bring a custodian's share
    Unseal(seal::UnsealArgs),
    /// List keys, follow them by new ones, seal rows anew; change the seal
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Enrol, list, show, disable principals; renew secrets
    #[command(subcommand)]
    Principal(principal::PrincipalCommand),
    /// What portals may put into terms
    #[command(subcommand)]
    Allow(allow::AllowCommand),
    /// Approve what another operator asked for
    Approve(allow::ApproveArgs),
    /// Export the ledger, verify exports and receipts, fetch checkpoints
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Open, show and close transactions
    #[command(subcommand)]
    Transaction(transaction::TransactionCommand),
    /// Fetch today's collect document: what payment details are sealed to before they leave
    #[command(after_help = collect_key::HELP)]
    CollectKey(collect_key::CollectKeyArgs),
    /// Swap payment details for a token
    #[command(after_help = tokenize::HELP)]
    Tokenize(tokenize::TokenizeArgs),
    /// Swap many payment details for tokens, each once however often it is run
    #[command(after_help = import::HELP)]
    Import(Box<import::ImportArgs>),
    /// Get back the fields that a purpose needs
    #[command(after_help = redeem::EXAMPLES)]
    Redeem(redeem::RedeemArgs),
    /// Show what stands behind a token, masked
    Describe(describe::DescribeArgs),
    /// End one token
    Revoke(revoke::RevokeArgs),
    /// Ask for a transaction's erasure
    #[command(after_help = erasure::ERASE_HELP)]
    Erase(erasure::EraseArgs),
    /// Place, lift and list legal holds
    #[command(subcommand)]
    Hold(hold::HoldCommand),
    /// Confirm a clock that jumped
    #[command(subcommand)]
    Clock(clock::ClockCommand),
    /// Report how the work with a token ended
    Report(report::ReportArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// Does what was asked.
///
/// # Errors
/// Why it was not done, with its exit code.
pub fn run(cli: Cli) -> Result<(), CliError> {
    let output = Output { json: cli.json };
    match cli.command {
        Command::Demo(args) => demo::run(args, output),
        Command::Dev(args) => dev::run(args, output),
        Command::Init(args) => init::run(*args, output),
        Command::Serve(args) => serve::run(*args),
        Command::Check(args) => check::run(*args, output),
        Command::Store(command) => store::run(command, output),
        Command::Backup(args) if args.is_offline() => backup::offline(*args, output),
        Command::Restore(args) if args.is_offline() => restore::run(*args, output),
        Command::Drill(args) => restore::run_drill(*args, output),
        Command::Keys(keys::KeysCommand::Reseal(args)) => keys::reseal(*args, output),
        Command::Keys(keys::KeysCommand::Verify(args)) => erasure::verify(&args, output),
        Command::Log(command) if command.is_offline() => log::run_offline(command, output),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            // Written at once: the generator would panic when a reader leaves early.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "payvault", &mut script);
            Ok(std::io::Write::write_all(&mut std::io::stdout(), &script)?)
        }
        calling => runtime()?.block_on(call(calling, output)),
    }
}

/// What a client does.
async fn call(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::Status(args) => status::run(args, output).await,
        Command::Backup(args) => backup::online(*args, output).await,
        Command::Restore(args) => restore::confirm(*args, output).await,
        Command::Seal(args) => seal::seal(args, output).await,
        Command::Keys(command) => keys::run(command, output).await,
        Command::Unseal(args) => seal::unseal(args, output).await,
        Command::Principal(command) => principal::run(command, output).await,
        Command::Allow(command) => allow::run(command, output).await,
        Command::Approve(args) => allow::approve(args, output).await,
        Command::Log(command) => log::run(command, output).await,
        Command::Transaction(command) => transaction::run(command, output).await,
        Command::CollectKey(args) => collect_key::run(args, output).await,
        Command::Tokenize(args) => tokenize::run(args, output).await,
        Command::Import(args) => import::run(*args, output).await,
        Command::Redeem(args) => redeem::run(args, output).await,
        Command::Describe(args) => describe::run(args, output).await,
        Command::Revoke(args) => revoke::run(args, output).await,
        Command::Erase(args) => erasure::erase(args, output).await,
        Command::Hold(command) => hold::run(command, output).await,
        Command::Clock(command) => clock::run(command, output).await,
        Command::Report(args) => report::run(args, output).await,
        Command::Demo(_)
        | Command::Dev(_)
        | Command::Init(_)
        | Command::Serve(_)
        | Command::Check(_)
        | Command::Store(_)
        | Command::Drill(_)
        | Command::Completions { .. } => Ok(()),
    }
}

/// How many tasks of its own a thread runs before it takes one that another thread woke.
const REMOTE_EACH_TASKS: u32 = 3;

/// How many tasks a thread runs before it looks which connections have something.
const LOOK_EACH_TASKS: u32 = 8;

/// The runtime of a command that talks or serves.
///
/// # Errors
/// When its threads can't be started.
pub fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        // What the committer wakes stands in the queue that all threads share. Left to itself, a thread
        // that has work of its own looks there once in 61 tasks: then whoever keeps it busy holds up
        // everybody's answers.
        .global_queue_interval(REMOTE_EACH_TASKS)
        // 61 by itself: a call that came in would wait for as many pieces of others' work.
        .event_interval(LOOK_EACH_TASKS)
        .enable_all()
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_and_takes_json() {
        fn look(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(
                command.get_about().is_some(),
                "{path} says nothing about itself"
            );
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{path}: {} says nothing about itself",
                    argument.get_id()
                );
            }
            for inner in command.get_subcommands().filter(|c| c.get_name() != "help") {
                look(inner, &path);
            }
        }
        look(&Cli::command(), "");
        let cli = Cli::try_parse_from(["payvault", "principal", "list", "--json"]).unwrap();
        assert!(cli.json);
    }

    /// Whatever is typed as an argument is in every process list of the machine.
    #[test]
    fn no_argument_takes_a_number_a_token_a_secret_or_a_passphrase() {
        fn look(command: &clap::Command, found: &mut Vec<String>) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let secret = [
                    "pan",
                    "number",
                    "token",
                    "secret",
                    "passphrase",
                    "pin",
                    "code",
                    "iban",
                ]
                .iter()
                .any(|word| name.split('_').any(|part| part == *word));
                // A label names something, and is no secret.
                let a_place = ["_file", "_out", "_dir", "_label"]
                    .iter()
                    .any(|end| name.ends_with(end));
                let a_flag = matches!(
                    argument.get_action(),
                    clap::ArgAction::SetTrue | clap::ArgAction::Help | clap::ArgAction::Version
                );
                if secret && !a_place && !a_flag {
                    found.push(format!("{} {name}", command.get_name()));
                }
            }
            for inner in command.get_subcommands() {
                look(inner, found);
            }
        }
        let mut found = Vec::new();
        look(&Cli::command(), &mut found);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn lines_of_the_documentation_are_understood() {
        for line in [
            "payvault demo",
            "payvault dev --dir /tmp/v --port 0",
            "payvault init --config c.toml --operator ann=a.pem --operator bob=b.pem \
             --agreement NDA-1 --agreement-until 2028-01-01",
            "payvault init --config c.toml --operator ann=a.pem --operator bob=b.pem \
             --agreement NDA-1 --agreement-until 2028-01-01 --custodian cem=c.pem \
             --custodian dov=d.pem --threshold 2 --share-dir shares",
            "payvault unseal --share-file cem.share",
            "payvault keys list --state active",
            "payvault keys inventory --json",
            "payvault keys reseal --to custodians --config c.toml --custodian cem=c.pem \
             --custodian dov=d.pem --threshold 2",
            "payvault keys reseal --to passphrase --config c.toml --new-passphrase-file new",
            "payvault keys rotate",
            "payvault keys rotate vault",
            "payvault keys rewrap --no-wait",
            "payvault keys compromise release/nl/20780#1",
            "payvault serve --config c.toml",
            "payvault check --config payvault.toml",
            "payvault dev --engine redb",
            "payvault store copy --from /data --to /data-redb --to-engine redb",
            "payvault backup",
            "payvault backup --offline --config payvault.toml --out /mnt/backups",
            "payvault restore --from b.pvbackup --config payvault.toml --accept-loss 17",
            "payvault restore confirm",
            "payvault drill --config payvault.toml --backup-dir /mnt/backups",
            "payvault log export --epoch 1 --reason yearly --ticket AUD-7 -o audit.jsonl",
            "payvault status --health 127.0.0.1:7444 --ready",
            "payvault status --health",
            "payvault principal add --name shop-nl --role portal --site nl \
             --certificate shop-nl.pem",
            "payvault principal add --name vera --role auditor --certificate vera.pem \
             --agreement NDA-2041 --from 2026-11-01 --until 2028-11-01",
            "payvault principal rotate-secret ann",
            "payvault principal disable shop-nl",
            "payvault allow set --site nl --portal shop-nl --processor acme \
             --purpose authorize,refund --uses-max 3 --release 30d --releases-per-hour 1000",
            "payvault allow remove --site nl --portal shop-nl --processor acme",
            "payvault approve act_x",
            "payvault log checkpoint --ledger-key K",
            "payvault log export --reason yearly --ticket AUD-7 -o audit.jsonl",
            "payvault log verify audit.jsonl --key K",
            "payvault log verify-receipt r.json --key K --json",
            "payvault log export --reason audit --ticket AUD-8 --to 9 --to age1x -o a.jsonl.zst.age",
            "payvault log export --reason audit --ticket AUD-8 -o audit.jsonl --resume",
            "payvault log verify a.jsonl.zst.age --key K --identity age.key",
            "payvault log tail --follow --from 7 --format ecs --reason siem --ticket SEC-1",
            "payvault log csv audit.jsonl --key K -o audit.csv",
            "payvault log report audit.jsonl --key K -o audit.html",
            "payvault log tiles /srv/tiles audit.jsonl --key K",
            "payvault transaction open --site nl --grant a:authorize:number:1 --amount 1999/EUR",
            "payvault tokenize txn_x --token-out token",
            "payvault import cards.csv --job cards.job --terms terms.json --out tokens.jsonl",
            "payvault import - --format csv --dry-run --report refused.jsonl",
            "payvault redeem txn_x --token-file token --purpose authorize --fields number,expiry",
            "payvault report txn_x --outcome succeeded --reference r1 --token-file token",
            "payvault completions bash",
        ] {
            let parsed = Cli::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().unwrap());
        }
        for line in [
            "payvault",
            "payvault init --operator ann=a.pem",
            "payvault status --ready",
            "payvault keys reseal --config c.toml",
            "payvault keys reseal --to none",
            "payvault unseal --share-file s --passphrase-file p",
            "payvault store copy --from a --to b",
            "payvault store copy --from a --to b --to-engine rocksdb",
            "payvault restore --config c.toml",
            "payvault backup --out /mnt/backups",
            "payvault redeem txn_x --purpose steal --fields number",
            "payvault log verify audit.jsonl",
            "payvault log export --reason r --ticket T --resume",
            "payvault import cards.csv",
            "payvault tokenize txn_x 4242424242424242",
        ] {
            assert!(
                Cli::try_parse_from(line.split_whitespace()).is_err(),
                "{line}"
            );
        }
    }
}
