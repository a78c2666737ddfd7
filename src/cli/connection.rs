//! Which vault, and as whom: flags and variables that every client command shares.

use super::client::Client;
use super::dev::file::DevFile;
use super::error::CliError;
use super::input;
use crate::ids::PrincipalId;
use crate::secret::SecretText;
use clap::Args;
use std::path::{Path, PathBuf};

/// Which vault to call, and as whom.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Address of the vault
    #[arg(long, value_name = "https://HOST:PORT", env = "PAYVAULT_ENDPOINT")]
    pub endpoint: Option<String>,
    /// CA that vouches for the vault's certificate (PEM)
    #[arg(long, value_name = "FILE", env = "PAYVAULT_CA")]
    pub ca: Option<PathBuf>,
    /// Your client certificate (PEM)
    #[arg(long, value_name = "FILE", env = "PAYVAULT_CERT")]
    pub cert: Option<PathBuf>,
    /// Your certificate's private key (PEM)
    #[arg(long, value_name = "FILE", env = "PAYVAULT_KEY")]
    pub key: Option<PathBuf>,
    /// File with your secret, for people (auditors, operators, custodians); asked for at a
    /// terminal when it is needed and not given
    #[arg(long, value_name = "FILE", env = "PAYVAULT_SECRET_FILE")]
    pub secret_file: Option<PathBuf>,
    /// dev.json of a running `payvault dev`: stands for all of the above, together with --as
    #[arg(long, value_name = "FILE", env = "PAYVAULT_DEV")]
    pub dev: Option<PathBuf>,
    /// Who of dev.json: portal, processor-a, processor-b, auditor or operator
    #[arg(
        long = "as",
        value_name = "NAME",
        env = "PAYVAULT_AS",
        requires = "dev"
    )]
    pub as_name: Option<String>,
}

/// Everything that a connection needs. No `Debug`: it holds the key.
pub struct Connection {
    endpoint: String,
    ca_pem: String,
    cert_pem: String,
    key_pem: SecretText,
    secret_file: Option<PathBuf>,
    dev: Option<DevFile>,
}

impl ConnectionArgs {
    /// Reads the files. What is given by itself goes over what dev.json says.
    ///
    /// # Errors
    /// When something is missing or can't be read.
    pub fn read(&self) -> Result<Connection, CliError> {
        let dev = match &self.dev {
            Some(path) => Some(DevFile::read(path)?),
            None => None,
        };
        let own = match (&dev, &self.as_name) {
            (Some(dev), Some(name)) => Some(dev.principal(name)?),
            (Some(_), None) if self.cert.is_none() => {
                return Err(CliError::Usage(
                    "--as is missing: who calls? A name in dev.json, such as portal, processor-a, \
                     auditor or operator (or set PAYVAULT_AS)"
                        .into(),
                ));
            }
            _ => None,
        };
        let endpoint = self
            .endpoint
            .clone()
            .or_else(|| dev.as_ref().map(|dev| dev.endpoint.clone()))
            .ok_or_else(|| missing("endpoint", "PAYVAULT_ENDPOINT"))?;
        let given = |flag: &Option<PathBuf>, of_dev: Option<&PathBuf>, name, variable| {
            flag.clone()
                .or_else(|| of_dev.cloned())
                .ok_or_else(|| missing(name, variable))
        };
        let ca = given(&self.ca, dev.as_ref().map(|d| &d.ca), "ca", "PAYVAULT_CA")?;
        let cert = given(&self.cert, own.map(|o| &o.cert), "cert", "PAYVAULT_CERT")?;
        let key = given(&self.key, own.map(|o| &o.key), "key", "PAYVAULT_KEY")?;
        let secret_file = self
            .secret_file
            .clone()
            .or_else(|| own.and_then(|own| own.secret_file.clone()));
        Ok(Connection {
            endpoint,
            ca_pem: read(&ca)?,
            cert_pem: read(&cert)?,
            key_pem: SecretText::copy_from(&input::read_text(&key)?),
            secret_file,
            dev,
        })
    }
}

impl Connection {
    /// Connects without a session: for portals and processors, and for unsealing.
    ///
    /// # Errors
    /// When the vault can't be reached or the files are unusable.
    pub async fn open(&self) -> Result<Client, CliError> {
        Client::connect(&self.endpoint, &self.ca_pem, &self.cert_pem, &self.key_pem).await
    }

    /// Connects, and begins a session when a secret's file is known.
    ///
    /// # Errors
    /// As [`Connection::open`], or what the vault says to the secret.
    pub async fn open_as_known(&self) -> Result<Client, CliError> {
        let mut client = self.open().await?;
        if let Some(path) = &self.secret_file {
            client.login(&input::secret_file(path)?).await?;
        }
        Ok(client)
    }

    /// Connects and begins a session: for people only.
    ///
    /// # Errors
    /// As [`Connection::open`], or what the vault says to the secret.
    pub async fn open_as_person(&self) -> Result<Client, CliError> {
        let secret = self.secret()?;
        let mut client = self.open().await?;
        client.login(&secret).await?;
        Ok(client)
    }

    /// The person's secret, from its file or typed.
    ///
    /// # Errors
    /// When there is neither.
    pub fn secret(&self) -> Result<SecretText, CliError> {
        input::secret(self.secret_file.as_deref(), "your secret", "--secret-file")
    }

    /// The id of a principal that is given as an id, or by its name in dev.json.
    ///
    /// # Errors
    /// When it is neither.
    pub fn principal_id(&self, text: &str) -> Result<String, CliError> {
        if PrincipalId::parse(text).is_ok() {
            return Ok(text.to_owned());
        }
        match &self.dev {
            Some(dev) => Ok(dev.principal(text)?.id.clone()),
            None => Err(CliError::Usage(
                "name a principal by its id (prn_ and 32 letters; an operator sees it with \
                 `payvault principal list`), or by name with --dev"
                    .into(),
            )),
        }
    }
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(CliError::file(path))
}

fn missing(name: &str, variable: &str) -> CliError {
    CliError::Usage(format!(
        "--{name} is missing: give it, set {variable}, or use --dev with --as"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dev::file::testing;

    #[test]
    fn dev_json_stands_for_all_flags_and_a_flag_goes_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let dev = testing::written(dir.path());
        let mut args = ConnectionArgs {
            dev: Some(dev),
            as_name: Some("auditor".into()),
            ..ConnectionArgs::default()
        };
        let connection = args.read().unwrap();
        assert_eq!(connection.endpoint, "https://127.0.0.1:4711");
        assert_eq!(connection.secret().unwrap().expose(), "auditor-secret");
        let portal = connection.principal_id("portal").unwrap();
        assert!(portal.starts_with("prn_"));
        assert_eq!(connection.principal_id(&portal).unwrap(), portal);

        args.endpoint = Some("https://localhost:1".into());
        assert_eq!(args.read().unwrap().endpoint, "https://localhost:1");
        args.as_name = Some("nobody".into());
        assert!(args.read().is_err_and(|e| e.exit_code() == 2));
    }

    #[test]
    fn what_is_missing_is_named_with_its_variable() {
        let message = match ConnectionArgs::default().read() {
            Err(error) => error.to_string(),
            Ok(_) => String::new(),
        };
        assert!(message.contains("--endpoint") && message.contains("PAYVAULT_ENDPOINT"));
    }
}
