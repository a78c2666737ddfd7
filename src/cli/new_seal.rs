//! The flags that say how a vault is to be sealed, for `init` and `keys reseal`.

use super::check::pin;
use super::error::CliError;
use super::output::Output;
use super::share::CustodianArgs;
use crate::api::config::Config;
use crate::clock::Timestamp;
use crate::ids::random;
use crate::keys::{Argon2Cost, NewSeal, SealKind};
use crate::secret::SecretText;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::io::{self, Write};

/// What a new seal needs, by its kind.
#[derive(Args, Debug)]
#[command(next_help_heading = "The seal")]
pub struct NewSealArgs {
    /// Use 2 GiB of memory for the passphrase's derivation instead of 64 MiB; each start needs them
    #[arg(long)]
    strong: bool,
    /// pkcs11: label of the security module's token, in which the key is made
    #[arg(long, value_name = "LABEL")]
    token_label: Option<String>,
    /// pkcs11: label of the key that is made [default: "payvault root" and a random number]
    #[arg(long, value_name = "LABEL", requires = "token_label")]
    key_label: Option<String>,
    /// aws-kms: id, ARN or alias of the key. Region, endpoint and credentials come from the
    /// environment, as for every tool of AWS
    #[arg(long, value_name = "KEY")]
    kms_key: Option<String>,
    #[command(flatten)]
    pub custodians: CustodianArgs,
}

/// Reads a kind of seal.
pub fn kind() -> impl TypedValueParser<Value = SealKind> {
    PossibleValuesParser::new(SealKind::ALL.map(SealKind::as_str)).map(|word| {
        SealKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .unwrap_or(SealKind::Passphrase)
    })
}

impl NewSealArgs {
    /// The kind that the flags speak of, when none was named.
    pub fn implied(&self) -> SealKind {
        if self.custodians.are_given() {
            SealKind::Custodians
        } else if self.token_label.is_some() {
            SealKind::Pkcs11
        } else if self.kms_key.is_some() {
            SealKind::AwsKms
        } else {
            SealKind::Passphrase
        }
    }

    /// The seal that is asked for; nothing was made yet. `passphrase` asks for a passphrase.
    ///
    /// # Errors
    /// When a flag is missing, or belongs to another kind.
    pub fn new_seal(
        &self,
        kind: SealKind,
        config: &Config,
        now: Timestamp,
        output: Output,
        passphrase: impl FnOnce() -> Result<SecretText, CliError>,
    ) -> Result<NewSeal, CliError> {
        self.fits(kind)?;
        Ok(match kind {
            SealKind::Passphrase => NewSeal::Passphrase {
                passphrase: passphrase()?,
                cost: match self.strong {
                    true => Argon2Cost::STRONG,
                    false => Argon2Cost::DEFAULT,
                },
            },
            SealKind::Custodians => self.custodians.new_seal(config, now, output)?,
            SealKind::Pkcs11 => NewSeal::Pkcs11 {
                module: config
                    .pkcs11_module
                    .clone()
                    .ok_or_else(|| missing("--module FILE, the security module's library"))?,
                token: self
                    .token_label
                    .clone()
                    .ok_or_else(|| missing("--token-label LABEL"))?,
                key_label: self.key_label.clone().unwrap_or_else(random_label),
                pin: pin(config)?,
            },
            SealKind::AwsKms => NewSeal::AwsKms {
                key: self
                    .kms_key
                    .clone()
                    .ok_or_else(|| missing("--kms-key KEY"))?,
            },
        })
    }

    /// Refuses flags of another kind: whoever gives them expects something else.
    fn fits(&self, kind: SealKind) -> Result<(), CliError> {
        let flags = [
            (self.strong, SealKind::Passphrase, "--strong"),
            (
                self.custodians.are_given(),
                SealKind::Custodians,
                "--custodian",
            ),
            (
                self.token_label.is_some(),
                SealKind::Pkcs11,
                "--token-label",
            ),
            (self.kms_key.is_some(), SealKind::AwsKms, "--kms-key"),
        ];
        for (given, of, flag) in flags {
            if given && of != kind {
                return Err(CliError::Usage(format!(
                    "{flag} goes with the seal {}, and only with it",
                    of.as_str()
                )));
            }
        }
        if kind == SealKind::Custodians && !self.custodians.are_given() {
            return Err(missing("--custodian NAME=CERT.pem for each of them"));
        }
        Ok(())
    }

    /// What people should know of it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn words(&self, kind: SealKind, out: &mut dyn Write) -> io::Result<()> {
        match kind {
            SealKind::Passphrase => writeln!(
                out,
                "The passphrase is nowhere but with you: without it all is lost."
            ),
            SealKind::Custodians => self.custodians.words(out),
            SealKind::Pkcs11 => writeln!(
                out,
                "The token has the key: without the token, or a backup of it, all is lost. A copy of\n\
                 the keys directory opens only until the next key is destroyed: copy it after each."
            ),
            SealKind::AwsKms => writeln!(
                out,
                "The key service has the key: once it is deleted there, all is lost."
            ),
        }
    }
}

fn missing(what: &str) -> CliError {
    CliError::Usage(format!("this seal needs {what}"))
}

/// A label that no other key has.
fn random_label() -> String {
    let number: [u8; 4] = random();
    format!("payvault root {:08x}", u32::from_be_bytes(number))
}
