//! Custodians and their shares: who is to have one, how they are handed out, and how they come back.

use super::error::CliError;
use super::input;
use super::output::Output;
use crate::api::config::Config;
use crate::api::tls::read_client_cas;
use crate::clock::Timestamp;
use crate::keys::{
    AgeIdentity, AgeRecipient, Argon2Cost, DealtShare, Delivery, KeyError, NewCustodian, NewSeal,
    RootKey, SealFile, Share, ShareFile,
};
use crate::secret::SecretText;
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Custodians of a new seal.
#[derive(Args, Debug)]
#[command(next_help_heading = "Custodians")]
pub struct CustodianArgs {
    /// A custodian: name and certificate, such as cem=cem.pem; the seal then takes shares of
    /// custodians and no passphrase
    #[arg(long = "custodian", value_name = "NAME=CERT.pem", value_parser = super::init::named_file)]
    pub custodians: Vec<(String, PathBuf)>,
    /// How many custodians it takes to unseal: two at least
    #[arg(long, value_name = "K", requires = "custodians")]
    threshold: Option<u8>,
    /// A custodian's age recipient, such as cem=age1…; who has none gets a generated passphrase
    #[arg(long, value_name = "NAME=RECIPIENT", requires = "custodians", value_parser = recipient)]
    share_to: Vec<(String, String)>,
    /// Write each share to DIR/NAME.share, and its passphrase to DIR/NAME.share-passphrase (mode
    /// 0600), and don't show them
    #[arg(long, value_name = "DIR", requires = "custodians")]
    share_dir: Option<PathBuf>,
}

fn recipient(text: &str) -> Result<(String, String), String> {
    let (name, recipient) = text.split_once('=').ok_or("give NAME=RECIPIENT")?;
    recipient
        .parse::<AgeRecipient>()
        .map_err(|error| error.to_string())?;
    Ok((name.to_owned(), recipient.to_owned()))
}

impl CustodianArgs {
    /// Whether a custodians' seal is asked for.
    pub fn are_given(&self) -> bool {
        !self.custodians.is_empty()
    }

    /// The seal that is asked for. Nothing was made yet; where shares go is looked at.
    ///
    /// # Errors
    /// What can't be.
    pub fn new_seal(
        &self,
        config: &Config,
        now: Timestamp,
        output: Output,
    ) -> Result<NewSeal, CliError> {
        let threshold = self.threshold.ok_or_else(|| {
            CliError::Usage("how many custodians does it take? Give --threshold".into())
        })?;
        if output.json && self.share_dir.is_none() {
            return Err(CliError::Usage(
                "with --json shares go to files only: give --share-dir".into(),
            ));
        }
        let cas = read_client_cas(&config.tls.client_ca, &config.tls.crl)?;
        let mut custodians = Vec::new();
        for (name, path) in &self.custodians {
            custodians.push(NewCustodian {
                name: name.clone(),
                certificate: super::init::unsealer_in(path, &cas, now)?,
                delivery: self.delivery(name)?,
            });
        }
        if let Some((name, _)) = self.share_to.iter().find(|(name, _)| !self.names(name)) {
            return Err(CliError::Usage(format!(
                "--share-to {name}: no such custodian"
            )));
        }
        if let Some(dir) = &self.share_dir {
            std::fs::create_dir_all(dir).map_err(CliError::file(dir))?;
            for path in self
                .custodians
                .iter()
                .map(|(name, _)| share_path(dir, name))
            {
                if path.exists() {
                    return Err(CliError::Usage(format!("{} exists", path.display())));
                }
            }
        }
        Ok(NewSeal::Custodians {
            threshold,
            custodians,
        })
    }

    fn names(&self, name: &str) -> bool {
        self.custodians.iter().any(|(own, _)| own == name)
    }

    fn delivery(&self, name: &str) -> Result<Delivery, CliError> {
        let mut given = self.share_to.iter().filter(|(own, _)| own == name);
        let Some((_, recipient)) = given.next() else {
            return Ok(Delivery::Passphrase(Argon2Cost::DEFAULT));
        };
        if given.next().is_some() {
            return Err(CliError::Usage(format!(
                "--share-to {name} was given twice"
            )));
        }
        let recipient = recipient.parse().map_err(CliError::Share)?;
        Ok(Delivery::Age(recipient))
    }

    /// Hands the shares out: into files, or on the screen.
    ///
    /// # Errors
    /// When one can't be; the ones before are taken back.
    pub fn hand_out(&self, dealt: &[DealtShare]) -> Result<(), String> {
        let Some(dir) = &self.share_dir else {
            return show(dealt).map_err(|error| error.to_string());
        };
        let mut written = Vec::new();
        for share in dealt {
            let mut files = vec![(share_path(dir, &share.custodian), share.file.as_str())];
            if let Some(passphrase) = &share.passphrase {
                files.push((passphrase_path(dir, &share.custodian), passphrase.expose()));
            }
            for (path, content) in files {
                if let Err(error) = input::write_secret_file(&path, content) {
                    for path in written {
                        let _ = std::fs::remove_file(path);
                    }
                    return Err(error.to_string());
                }
                written.push(path);
            }
        }
        Ok(())
    }

    /// Takes shares back that belong to no seal, since it was not made.
    pub fn take_back(&self) {
        let Some(dir) = &self.share_dir else { return };
        for (name, _) in &self.custodians {
            let _ = std::fs::remove_file(share_path(dir, name));
            let _ = std::fs::remove_file(passphrase_path(dir, name));
        }
    }

    /// Who got what, for the result of a command.
    pub fn document(&self) -> serde_json::Value {
        let custodians = self.custodians.iter().map(|(name, _)| {
            serde_json::json!({
                "name": name,
                "share_file": self.share_dir.as_ref().map(|dir| share_path(dir, name)),
            })
        });
        serde_json::json!({
            "threshold": self.threshold,
            "custodians": custodians.collect::<Vec<_>>(),
        })
    }

    /// The same in words.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn words(&self, out: &mut dyn Write) -> std::io::Result<()> {
        for (name, _) in &self.custodians {
            match &self.share_dir {
                Some(dir) => writeln!(
                    out,
                    "custodian {name}: share in {}",
                    share_path(dir, name).display()
                )?,
                None => writeln!(out, "custodian {name}: share shown above, this once")?,
            }
        }
        writeln!(
            out,
            "{} of {} custodians open it, and nobody else: have each show the own share now, with\n\
             `payvault unseal --share-file FILE` at the open vault.",
            self.threshold.unwrap_or_default(),
            self.custodians.len()
        )
    }
}

fn share_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.share"))
}

fn passphrase_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.share-passphrase"))
}

fn show(dealt: &[DealtShare]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for share in dealt {
        writeln!(out, "For {}, shown this once:", share.custodian)?;
        writeln!(out, "{}", share.file.trim_end())?;
        if let Some(passphrase) = &share.passphrase {
            writeln!(
                out,
                "its passphrase, to be kept apart: {}",
                passphrase.expose()
            )?;
        }
        writeln!(out)?;
    }
    out.flush()
}

/// Reads one share: its text, or what it lies in and what opens that.
///
/// # Errors
/// When it can't be read, or isn't one.
pub fn read(
    text: &SecretText,
    passphrase_file: Option<&Path>,
    identity_file: Option<&Path>,
) -> Result<Share, CliError> {
    match ShareFile::parse(text).map_err(CliError::Share)? {
        ShareFile::Plain(share) => Ok(share),
        ShareFile::Passphrase(sealed) => {
            let passphrase = match passphrase_file {
                Some(file) => input::secret_file(file)?,
                None => input::line_unseen("the share's passphrase")?,
            };
            sealed.open(&passphrase).map_err(CliError::Share)
        }
        ShareFile::Age(file) => {
            let Some(identity) = identity_file else {
                return Err(CliError::Usage(
                    "this share is encrypted with age: give --identity-file, or decrypt it first \
                     (`age -d`) and give what comes out"
                        .into(),
                ));
            };
            let text = SecretText::copy_from(&input::read_text(identity)?);
            let identity = AgeIdentity::parse(&text).ok_or_else(|| {
                CliError::Usage("--identity-file holds no age identity".to_owned())
            })?;
            identity.open(&file).map_err(CliError::Share)
        }
    }
}

/// The root key, by shares of so many custodians as it takes: typed unseen, or piped in, each a line
/// with the share's text or its file, and a line with the passphrase of a file that has one.
///
/// # Errors
/// When one is refused, or too few come.
pub fn gather(seal: &SealFile) -> Result<RootKey, CliError> {
    let needed = seal.threshold();
    let mut shares: Vec<Share> = Vec::new();
    while shares.len() < usize::from(needed) {
        let number = shares.len() + 1;
        let what = format!("share {number} of {needed} (its text, or its file)");
        let line = match input::line_unseen(&what) {
            Ok(line) => line,
            // So many came, and no more.
            Err(CliError::Usage(_)) if number > 1 => break,
            Err(error) => return Err(error),
        };
        let text = match line.expose().starts_with("pvs_") {
            true => line,
            false => SecretText::copy_from(&input::read_text(Path::new(line.expose()))?),
        };
        let share = read(&text, None, None)?;
        let custodian = seal.judge(&share).map_err(CliError::Share)?;
        super::output::note(format_args!("{number} of {needed}: {}", custodian.name));
        shares.push(share);
    }
    seal.combine(&shares).map_err(|error| match error {
        KeyError::SealTampered => CliError::Start(crate::vault::OpenError::Key(error)),
        error => CliError::Share(error),
    })
}
