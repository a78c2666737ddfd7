//! `payvault keys`: work on the seal, while the vault doesn't run.

use super::check::{root_of, seal_of};
use super::error::CliError;
use super::output::Output;
use super::settings::{SettingsArgs, house};
use super::share::CustodianArgs;
use super::{input, runtime};
use crate::clock::Clock;
use crate::keys::{Argon2Cost, NewSeal, SealKind};
use crate::vault::command::{Caller, Note};
use crate::vault::{self, House, ResealError};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What is done to seal and keys.
#[derive(Subcommand, Debug)]
pub enum KeysCommand {
    /// Put the vault under a new seal, without touching its data, while it doesn't run
    #[command(after_help = HELP)]
    Reseal(Box<ResealArgs>),
}

const HELP: &str = "Examples:
  payvault keys reseal --to custodians --config payvault.toml --custodian cem=cem.pem \\
      --custodian dov=dov.pem --custodian eva=eva.pem --threshold 2 --share-dir shares
  payvault keys reseal --to passphrase --config payvault.toml

Stop the vault first. It takes what opens the present seal: the passphrase, or shares of so many
custodians, typed or piped in, one a line. A new root key is made, so nothing that opened the old seal
opens what is written from now on. Copies of the old keys directory still open what they hold: destroy
them. The ledger has an entry before and one after.";

/// Changes the seal.
#[derive(Args, Debug)]
pub struct ResealArgs {
    /// What opens the vault from now on
    #[arg(long, value_name = "KIND", value_parser = kind())]
    to: SealKind,
    /// File with the new passphrase; asked for twice at a terminal when it isn't given
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// Use 2 GiB of memory for the passphrase's derivation instead of 64 MiB; each start needs them
    #[arg(long)]
    strong: bool,
    #[command(flatten)]
    custodians: CustodianArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

fn kind() -> impl TypedValueParser<Value = SealKind> {
    let kinds = [SealKind::Passphrase, SealKind::Custodians];
    PossibleValuesParser::new(kinds.map(SealKind::as_str)).map(|word| match word.as_str() {
        "custodians" => SealKind::Custodians,
        _ => SealKind::Passphrase,
    })
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
    if args.custodians.are_given() != (args.to == SealKind::Custodians) {
        return Err(CliError::Usage(
            "--custodian goes with --to custodians, and only with it".into(),
        ));
    }
    // What is asked of people comes first, and the new passphrase before the old one is used.
    let root = root_of(&old, &config)?;
    let new = match args.to {
        SealKind::Passphrase => NewSeal::Passphrase {
            passphrase: match &args.new_passphrase_file {
                Some(file) => input::secret_file(file)?,
                None if input::at_a_terminal() => {
                    input::typed_twice("new passphrase (12 characters or more)")?
                }
                None => input::line_unseen("the new passphrase")?,
            },
            cost: match args.strong {
                true => Argon2Cost::STRONG,
                false => Argon2Cost::DEFAULT,
            },
        },
        SealKind::Custodians => args.custodians.new_seal(&config, clock.now(), output)?,
    };
    let vault = vault::open(&house, &root).map_err(CliError::Start)?;
    drop(root);
    let mut delivered = false;
    let resealed =
        runtime()?.block_on(
            vault.reseal(Caller::vault(), &house.keys_dir, &new, &mut |dealt| {
                args.custodians.hand_out(dealt)?;
                delivered = true;
                Ok(())
            }),
        );
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
        document["custodians"] = args.custodians.document();
    }
    output.result(&document, |out| {
        writeln!(
            out,
            "seal   {} (it was {})",
            args.to.as_str(),
            old.kind().as_str()
        )?;
        match args.to {
            SealKind::Passphrase => writeln!(
                out,
                "The new passphrase is nowhere but with you: without it all is lost."
            ),
            SealKind::Custodians => args.custodians.words(out),
        }?;
        writeln!(
            out,
            "Back seal.json, wrap and keyring up now, and destroy their older copies: those still\n\
             open under the old seal."
        )
    })
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
        _ if delivered => args.custodians.take_back(),
        _ => {}
    }
    CliError::Reseal(error)
}
