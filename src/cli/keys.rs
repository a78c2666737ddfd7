//! `payvault keys`: what keys there are, and work on the seal.

use super::check::{root_of, seal_of};
use super::client::Client;
use super::connection::ConnectionArgs;
use super::error::CliError;
use super::new_seal::{self, NewSealArgs};
use super::output::Output;
use super::settings::{SettingsArgs, house};
use super::{input, moment, runtime};
use crate::api::config::Config;
use crate::api::proto;
use crate::api::tls::read_client_cas;
use crate::clock::{Clock, Timestamp};
use crate::keys::{SealKind, Unsealer};
use crate::vault::command::{Caller, Note};
use crate::vault::{self, House, ResealError};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use std::io::{self, Write};
use std::path::PathBuf;

/// What is done to seal and keys.
#[derive(Subcommand, Debug)]
pub enum KeysCommand {
    /// Put the vault under a new seal, without touching its data, while it doesn't run
    #[command(after_help = HELP)]
    Reseal(Box<ResealArgs>),
    /// Fetch the receipt of a key's destruction
    Receipt(super::erasure::KeyReceiptArgs),
    /// Verify such a receipt, offline, with the ledger's public key alone
    Verify(super::log::verify::VerifyArgs),
    /// Show what collect documents are verified with: the key to build into pages and programs
    Identity(super::identity::IdentityArgs),
    /// List the keys, one a line
    List(ListArgs),
    /// Begin the next generation of a key; what lies under the earlier one still opens
    Rotate(super::rotate::RotateArgs),
    /// Seal what lies under earlier keys anew, beside callers, and show how far it is
    Rewrap(super::rotate::RewrapArgs),
    /// Declare a key compromised: it seals nothing any more, is replaced, and is destroyed. Takes
    /// two operators
    Compromise(super::rotate::CompromiseArgs),
    /// Show all that an assessor asks for: the seal, and each key's purpose, algorithm, strength,
    /// state and dates
    Inventory(ListArgs),
}

/// Asks for the keys.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Keys in this state only
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(STATES))]
    state: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Names of the states, by their numbers in the contract, from 1 on.
const STATES: [&str; 4] = ["active", "decrypt-only", "pending-destruction", "destroyed"];

const HELP: &str = "Examples:
  payvault keys reseal --to custodians --config payvault.toml --custodian cem=cem.pem \\
      --custodian dov=dov.pem --custodian eva=eva.pem --threshold 2 --share-dir shares
  payvault keys reseal --to passphrase --config payvault.toml
  payvault keys reseal --to pkcs11 --config payvault.toml --module /usr/lib/hsm.so \\
      --token-label payvault
  payvault keys reseal --to passphrase --config payvault.toml --unsealer ann.pem --unsealer dan.pem

Stop the vault first. It takes what opens the present seal: the passphrase, the PIN, or shares of so
many custodians, typed or piped in, one a line. A new root key is made, so nothing that opened the old seal
opens what is written from now on. Copies of the old keys directory still open what they hold: destroy
them. The ledger has an entry before and one after.";

/// Changes the seal.
#[derive(Args, Debug)]
pub struct ResealArgs {
    /// What opens the vault from now on
    #[arg(long, value_name = "KIND", value_parser = new_seal::kind())]
    to: SealKind,
    /// File with the new passphrase; asked for twice at a terminal when it isn't given
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// File with the PIN of the new seal's token, when it is another one than the old seal's
    #[arg(long, value_name = "FILE")]
    new_pin_file: Option<PathBuf>,
    /// A certificate that may unseal from now on, such as an operator's; more than once. New
    /// custodians may as well, and nobody else [default: whoever may already]
    #[arg(long = "unsealer", value_name = "CERT.pem")]
    unsealers: Vec<PathBuf>,
    #[command(flatten)]
    new_seal: NewSealArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Changes the seal.
///
/// # Errors
/// Why it stayed as it was, or what to look at.
pub fn reseal(args: ResealArgs, output: Output) -> Result<(), CliError> {
    let config = args.settings.clone().load()?;
    let clock = Clock::system();
    let house = house(&config, clock.clone());
    let old = seal_of(&house)?;
    // What is asked of people comes first, and the new passphrase before the old one is used.
    let root = root_of(&old, &config)?;
    let passphrase = || match &args.new_passphrase_file {
        Some(file) => input::secret_file(file),
        None if input::at_a_terminal() => {
            input::typed_twice("new passphrase (12 characters or more)")
        }
        None => input::line_unseen("the new passphrase"),
    };
    let mut new_config = config.clone();
    if args.new_pin_file.is_some() {
        new_config.pkcs11_pin_file = args.new_pin_file.clone();
    }
    let new = args
        .new_seal
        .new_seal(args.to, &new_config, clock.now(), output, passphrase)?;
    let unsealers = unsealers(&args, &new_config, clock.now())?;
    let uris: Vec<String> = unsealers.iter().flatten().map(|u| u.uri.clone()).collect();
    let vault = vault::open(&house, &root).map_err(CliError::Start)?;
    drop(root);
    let mut delivered = false;
    let resealed = runtime()?.block_on(vault.reseal(
        Caller::vault(),
        &house.keys_dir,
        &new,
        unsealers,
        &mut |dealt| {
            args.new_seal.custodians.hand_out(dealt)?;
            delivered = true;
            Ok(())
        },
    ));
    vault.close(Note::Stopped, Caller::vault());
    if let Err(error) = resealed {
        return Err(not_resealed(&args, &house, error, delivered));
    }
    let mut document = serde_json::json!({
        "vault": old.vault().to_string(),
        "from": old.kind().as_str(),
        "seal": args.to.as_str(),
    });
    if args.to == SealKind::Custodians {
        document["custodians"] = args.new_seal.custodians.document();
    }
    if !uris.is_empty() {
        document["unsealers"] = uris.clone().into();
    }
    output.result(&document, |out| {
        writeln!(
            out,
            "seal   {} (it was {})",
            args.to.as_str(),
            old.kind().as_str()
        )?;
        args.new_seal.words(args.to, out)?;
        for uri in &uris {
            writeln!(out, "may unseal: {uri}")?;
        }
        if old.kind() == SealKind::Pkcs11 {
            writeln!(
                out,
                "The old key is still in its token, and opens nothing of this vault any more: remove it there."
            )?;
        }
        writeln!(
            out,
            "Back seal.json, wrap and keyring up now, and destroy their older copies: those still\n\
             open under the old seal."
        )
    })
}

/// Whose certificates may unseal from now on, when it is asked to change.
fn unsealers(
    args: &ResealArgs,
    config: &Config,
    now: Timestamp,
) -> Result<Option<Vec<Unsealer>>, CliError> {
    if args.unsealers.is_empty() {
        return Ok(None);
    }
    let cas = read_client_cas(&config.tls.client_ca, &config.tls.crl)?;
    let read = |path: &PathBuf| super::init::unsealer_in(path, &cas, now);
    let list: Result<_, _> = args.unsealers.iter().map(read).collect();
    list.map(Some)
}

/// Shares of a seal that was not made are taken back, unless it isn't known whether it was.
fn not_resealed(args: &ResealArgs, house: &House, error: ResealError, delivered: bool) -> CliError {
    use crate::keys::KeyError;
    match &error {
        ResealError::Key(KeyError::Uncertain { .. }) => {
            super::output::note(format_args!(
                "Look which seal lies in {}, and keep both ways to open it until you know.",
                house.keys_dir.display()
            ));
        }
        _ if delivered => args.new_seal.custodians.take_back(),
        _ => {}
    }
    CliError::Reseal(error)
}

/// Does what a client does.
///
/// # Errors
/// What the vault says.
pub async fn run(command: KeysCommand, output: Output) -> Result<(), CliError> {
    let (args, all) = match command {
        KeysCommand::List(args) => (args, false),
        KeysCommand::Inventory(args) => (args, true),
        KeysCommand::Receipt(args) => return super::erasure::fetch(args, output).await,
        KeysCommand::Identity(args) => return super::identity::run(args, output).await,
        KeysCommand::Rotate(args) => return super::rotate::rotate(args, output).await,
        KeysCommand::Rewrap(args) => return super::rotate::rewrap(args, output).await,
        KeysCommand::Compromise(args) => return super::rotate::compromise(args, output).await,
        KeysCommand::Reseal(_) | KeysCommand::Verify(_) => return Ok(()),
    };
    let mut client = args.connection.read()?.open_as_person().await?;
    let listed = fetch(&mut client).await;
    client.logout().await;
    let (seal, generation, mut keys) = listed?;
    if let Some(state) = &args.state {
        keys.retain(|key| state_of(key) == state);
    }
    let document = serde_json::json!({
        "seal": {
            "kind": seal.kind,
            "algorithm": seal.algorithm,
            "strength_bits": seal.strength_bits,
            "threshold": seal.threshold,
            "custodians": seal.custodians,
        },
        "keyring_generation": generation,
        "keys": keys.iter().map(key_document).collect::<Vec<_>>(),
    });
    output.result(&document, |out| match all {
        false => keys.iter().try_for_each(|key| {
            let (word, when) = match state_of(key) {
                state @ ("pending-destruction" | "destroyed") => (
                    if state == "destroyed" { "since" } else { "due" },
                    &key.not_after_decrypt,
                ),
                _ => ("until", &key.not_after_encrypt),
            };
            let (name, when) = (numbered(key), moment::text(when.as_ref()));
            let more = match (key.compromised, key.clear) {
                (true, _) => ", compromised",
                (_, true) => ", nothing lies under it",
                _ => "",
            };
            writeln!(out, "{name:<28}{:<21}{word} {when}{more}", state_of(key))
        }),
        true => inventory(&seal, generation, &keys, out),
    })
}

async fn fetch(client: &mut Client) -> Result<(proto::Seal, u64, Vec<proto::Key>), CliError> {
    let request = proto::ListKeysRequest {};
    let mut pieces = client.admin.list_keys(request).await?.into_inner();
    let (mut seal, mut generation, mut keys) = (proto::Seal::default(), 0, Vec::new());
    while let Some(piece) = pieces.message().await? {
        if let Some(first) = piece.seal {
            seal = first;
            generation = piece.keyring_generation;
        }
        keys.extend(piece.keys);
    }
    Ok((seal, generation, keys))
}

fn state_of(key: &proto::Key) -> &'static str {
    let number = usize::try_from(key.state).unwrap_or_default();
    number
        .checked_sub(1)
        .and_then(|at| STATES.get(at).copied())
        .unwrap_or("unknown")
}

/// Name and, past the first, generation.
fn numbered(key: &proto::Key) -> String {
    match key.generation {
        1 => key.name.clone(),
        generation => format!("{}#{generation}", key.name),
    }
}

fn key_document(key: &proto::Key) -> serde_json::Value {
    serde_json::json!({
        "id": key.id,
        "name": key.name,
        "purpose": key.purpose,
        "algorithm": key.algorithm,
        "strength_bits": key.strength_bits,
        "generation": key.generation,
        "state": state_of(key),
        "created_at": moment::text(key.created_at.as_ref()),
        "not_after_encrypt": moment::text(key.not_after_encrypt.as_ref()),
        "not_after_decrypt": moment::text(key.not_after_decrypt.as_ref()),
        "compromised": key.compromised,
        "clear": key.clear,
        "seals_reserved": key.seals_reserved,
    })
}

fn inventory(
    seal: &proto::Seal,
    generation: u64,
    keys: &[proto::Key],
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "seal      {}: the root key, {}, {} bits",
        seal.kind, seal.algorithm, seal.strength_bits
    )?;
    if seal.threshold > 0 {
        let names = seal.custodians.join(", ");
        writeln!(out, "opened by {} of {names}", seal.threshold)?;
    }
    writeln!(out, "keyring   generation {generation}")?;
    for key in keys {
        let when = |time: &Option<_>| moment::text(time.as_ref());
        writeln!(out, "\n{} (key {})", numbered(key), key.id)?;
        writeln!(out, "  purpose   {}", key.purpose)?;
        writeln!(
            out,
            "  algorithm {}, {} bits",
            key.algorithm, key.strength_bits
        )?;
        writeln!(out, "  state     {}", state_of(key))?;
        writeln!(out, "  made      {}", when(&key.created_at))?;
        writeln!(out, "  seals until  {}", when(&key.not_after_encrypt))?;
        writeln!(out, "  opens until  {}", when(&key.not_after_decrypt))?;
        if key.seals_reserved > 0 {
            writeln!(out, "  seals     at most {}", key.seals_reserved)?;
        }
        if key.compromised {
            writeln!(out, "  COMPROMISED")?;
        }
        if key.clear {
            writeln!(out, "  nothing lies under it")?;
        }
    }
    Ok(())
}
