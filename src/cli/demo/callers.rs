//! The five callers, each over its own connection.

use crate::cli::client::Client;
use crate::cli::dev::file::{DevFile, DevPrincipal};
use crate::cli::dev::stage::CAST;
use crate::cli::error::CliError;
use crate::cli::input;
use crate::secret::SecretText;

/// A caller.
pub struct Caller {
    /// Its name.
    pub name: String,
    /// Its principal id.
    pub id: String,
    /// Its connection.
    pub client: Client,
}

/// All five.
pub struct Callers {
    /// Opens transactions and hands in details.
    pub portal: Caller,
    /// Party to the first two transactions.
    pub first: Caller,
    /// Party to all three.
    pub second: Caller,
    /// Exports the ledger.
    pub auditor: Caller,
    /// Runs the vault.
    pub operator: Caller,
}

impl Callers {
    /// Connects all of them.
    pub async fn connect(file: &DevFile) -> Result<Callers, CliError> {
        Ok(Callers {
            portal: connect(file, "portal").await?,
            first: connect(file, "processor-a").await?,
            second: connect(file, "processor-b").await?,
            auditor: connect(file, "auditor").await?,
            operator: connect(file, "operator").await?,
        })
    }

    /// Their names.
    pub fn names(&self) -> Vec<&'static str> {
        CAST.iter().map(|(name, _)| *name).collect()
    }

    /// The people swap their secrets for sessions.
    pub async fn log_in(&mut self, file: &DevFile) -> Result<(), CliError> {
        for person in [&mut self.auditor, &mut self.operator] {
            let path = file.principal(&person.name)?.secret_file.as_ref();
            let path = path.ok_or_else(|| CliError::Deviation("a person has no secret".into()))?;
            person.client.login(&input::secret_file(path)?).await?;
        }
        Ok(())
    }

    /// And end them.
    pub async fn log_out(&mut self) {
        self.auditor.client.logout().await;
        self.operator.client.logout().await;
    }
}

async fn connect(file: &DevFile, name: &str) -> Result<Caller, CliError> {
    let DevPrincipal { id, cert, key, .. } = file.principal(name)?;
    let read = |path: &std::path::Path| std::fs::read_to_string(path).map_err(CliError::file(path));
    let key = SecretText::copy_from(&input::read_text(key)?);
    Ok(Caller {
        name: name.to_owned(),
        id: id.clone(),
        client: Client::connect(&file.endpoint, &read(&file.ca)?, &read(cert)?, &key).await?,
    })
}
