//! The files with the British modulus tables, which are the operator's: read once, before a port
//! opens.

use crate::limits;
use crate::payment::{ModulusTables, TableFault};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where the tables lie, in the form in which they are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModulusFiles {
    /// The weights (`valacdos.txt`).
    pub weights: PathBuf,
    /// The substitutions (`scsubtab.txt`).
    pub substitutions: PathBuf,
}

/// Why they can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ModulusFilesError {
    /// A file can't be read, isn't text, or is too long for a table.
    #[error("{path}: {cause}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A table hasn't its form.
    #[error("{weights} and {substitutions} are no modulus tables: {fault}",
        weights = files.weights.display(), substitutions = files.substitutions.display())]
    Fault {
        /// The files.
        files: ModulusFiles,
        /// What is wrong.
        fault: TableFault,
    },
}

impl ModulusFiles {
    /// Reads both.
    ///
    /// # Errors
    /// [`ModulusFilesError`].
    pub fn load(&self) -> Result<ModulusTables, ModulusFilesError> {
        let weights = read(&self.weights)?;
        let substitutions = read(&self.substitutions)?;
        let tables = ModulusTables::read(&weights, &substitutions).map_err(|fault| {
            ModulusFilesError::Fault {
                files: self.clone(),
                fault,
            }
        })?;
        tracing::info!(rows = tables.rows(), "British modulus tables read");
        Ok(tables)
    }
}

fn read(path: &Path) -> Result<String, ModulusFilesError> {
    let unreadable = |cause| ModulusFilesError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    let most = limits::UK_TABLE_BYTES_MAX;
    // One more, to tell that there is more.
    let mut bounded = file.take(most as u64 + 1);
    bounded.read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > most {
        let what = format!("is longer than {most} bytes");
        return Err(unreadable(std::io::Error::other(what)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(weights: &[u8], substitutions: &[u8]) -> Result<ModulusTables, ModulusFilesError> {
        let dir = tempfile::tempdir().unwrap();
        let files = ModulusFiles {
            weights: dir.path().join("weights"),
            substitutions: dir.path().join("substitutions"),
        };
        std::fs::write(&files.weights, weights).unwrap();
        std::fs::write(&files.substitutions, substitutions).unwrap();
        files.load()
    }

    const WEIGHTS: &[u8] = include_bytes!("../../tests/vectors/payment/uk_weights.txt");
    const SUBSTITUTIONS: &[u8] = include_bytes!("../../tests/vectors/payment/uk_substitutions.txt");

    #[test]
    fn both_files_are_read() {
        let tables = load(WEIGHTS, SUBSTITUTIONS).unwrap();
        assert!(tables.rows() > 10);
    }

    #[test]
    fn what_is_no_table_is_refused_by_its_path_and_line_and_not_repeated() {
        let error = load(b"\nhunter2 is a secret\n", SUBSTITUTIONS).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("line 2") && said.contains("weights"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
        assert!(load(b"", SUBSTITUTIONS).is_err());
        assert!(load(WEIGHTS, b"x").is_err());
        assert!(load(b"\xff\xfe", SUBSTITUTIONS).is_err());
        let error = load(&vec![b' '; limits::UK_TABLE_BYTES_MAX + 1], b"").unwrap_err();
        assert!(
            matches!(error, ModulusFilesError::Unreadable { .. }),
            "{error}"
        );
        let missing = ModulusFiles {
            weights: PathBuf::from("/nowhere/weights"),
            substitutions: PathBuf::from("/nowhere/substitutions"),
        };
        assert!(
            missing
                .load()
                .unwrap_err()
                .to_string()
                .contains("/nowhere/weights")
        );
    }
}
