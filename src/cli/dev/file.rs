//! `dev.json`: what a client needs to call a running `payvault dev`. It is written last and
//! replaced in one step, so whoever sees it sees all of it, and a vault that serves.

use crate::cli::error::CliError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file's name.
pub const NAME: &str = "dev.json";

/// Its content. Paths are absolute as written; relative ones are read as relative to the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevFile {
    /// Where the vault serves.
    pub endpoint: String,
    /// The CA that vouches for it.
    pub ca: PathBuf,
    /// The ledger's public key.
    pub ledger_key: String,
    /// What collect documents are verified with.
    pub identity_key: String,
    /// Who may call, by name.
    pub principals: BTreeMap<String, DevPrincipal>,
}

/// One caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevPrincipal {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// A person's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
}

impl DevFile {
    /// Reads the file.
    ///
    /// # Errors
    /// When it isn't there, which means that no vault serves, or isn't a dev.json.
    pub fn read(path: &Path) -> Result<DevFile, CliError> {
        let text = std::fs::read_to_string(path).map_err(CliError::file(path))?;
        let mut file: DevFile = serde_json::from_str(&text)
            .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        file.ca = folder.join(&file.ca);
        for principal in file.principals.values_mut() {
            principal.cert = folder.join(&principal.cert);
            principal.key = folder.join(&principal.key);
            principal.secret_file = principal.secret_file.as_ref().map(|f| folder.join(f));
        }
        Ok(file)
    }

    /// One caller.
    ///
    /// # Errors
    /// When the file names nobody of that name.
    pub fn principal(&self, name: &str) -> Result<&DevPrincipal, CliError> {
        self.principals.get(name).ok_or_else(|| {
            let names: Vec<_> = self.principals.keys().map(String::as_str).collect();
            CliError::Usage(format!(
                "dev.json has no such name; it has {}",
                names.join(", ")
            ))
        })
    }

    /// Writes the file into `dir` and gives its path.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, dir: &Path) -> io::Result<PathBuf> {
        let path = dir.join(NAME);
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(path)
    }

    /// Takes the file away: nobody serves there any more.
    ///
    /// # Errors
    /// When it is there and stays there.
    pub fn remove(dir: &Path) -> io::Result<()> {
        match std::fs::remove_file(dir.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A dev.json with everything that it names.

    use super::*;
    use crate::ids::PrincipalId;

    /// Writes files and dev.json into `dir`.
    pub(crate) fn written(dir: &Path) -> PathBuf {
        std::fs::write(dir.join("ca.pem"), "ca").unwrap();
        let mut principals = BTreeMap::new();
        for name in ["portal", "auditor"] {
            for (end, content) in [("pem", "cert"), ("key.pem", "key")] {
                std::fs::write(dir.join(format!("{name}.{end}")), content).unwrap();
            }
            let secret_file = (name == "auditor").then(|| {
                let path = dir.join("auditor.secret");
                std::fs::write(&path, "auditor-secret\n").unwrap();
                path
            });
            principals.insert(
                name.to_owned(),
                DevPrincipal {
                    id: PrincipalId::random().to_string(),
                    name: name.to_owned(),
                    cert: dir.join(format!("{name}.pem")),
                    key: dir.join(format!("{name}.key.pem")),
                    secret_file,
                },
            );
        }
        let file = DevFile {
            endpoint: "https://127.0.0.1:4711".to_owned(),
            ca: dir.join("ca.pem"),
            ledger_key: "payvault/vlt_x/1+00000000+AQ==".to_owned(),
            identity_key: "payvault/vlt_x/identity+00000000+AQ==".to_owned(),
            principals,
        };
        file.write(dir).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_agreed_shape_and_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = testing::written(dir.path());
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for key in ["endpoint", "ca", "ledger_key", "identity_key", "principals"] {
            assert!(json.get(key).is_some(), "{key}");
        }
        let portal = &json["principals"]["portal"];
        for key in ["id", "name", "cert", "key"] {
            assert!(portal[key].is_string(), "{key}");
        }
        assert!(portal.get("secret_file").is_none());
        assert!(json["principals"]["auditor"]["secret_file"].is_string());
        let read = DevFile::read(&path).unwrap();
        assert!(read.ca.is_absolute());
        // Nothing is left beside it, and writing again replaces it.
        read.write(dir.path()).unwrap();
        let names = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 7);
        DevFile::remove(dir.path()).unwrap();
        DevFile::remove(dir.path()).unwrap();
        assert!(DevFile::read(&path).is_err());
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = testing::written(dir.path());
        let mut file = DevFile::read(&path).unwrap();
        file.ca = PathBuf::from("ca.pem");
        file.write(dir.path()).unwrap();
        assert_eq!(DevFile::read(&path).unwrap().ca, dir.path().join("ca.pem"));
    }
}
