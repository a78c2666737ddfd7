//! Which embedded engine a directory's store is of, and opening one by name.

use super::embedded::EngineOptions;
use super::redb::RedbStore;
use super::sled::SledStore;
use super::{Store, StoreError};
use serde::Deserialize;
use std::fmt;
use std::path::Path;

/// An embedded engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// sled 0.34: fast under many callers, made durable by our own barrier.
    #[default]
    Sled,
    /// redb 4: copy-on-write, safe against power cuts by itself.
    Redb,
}

impl EngineKind {
    /// Every one.
    pub const ALL: [EngineKind; 2] = [EngineKind::Sled, EngineKind::Redb];

    /// Its name, as the configuration spells it.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Sled => "sled",
            EngineKind::Redb => "redb",
        }
    }

    /// The engine whose files lie in `directory`; `None` when it is missing, empty or of neither.
    pub fn found_in(directory: &Path) -> Option<EngineKind> {
        EngineKind::ALL
            .into_iter()
            .find(|engine| engine.lies_in(directory))
    }

    /// Refuses a directory that another engine uses: neither would see the other's files, and an
    /// engine makes an empty store where it finds none of its own.
    ///
    /// # Errors
    /// [`StoreError::OtherEngine`].
    pub(super) fn require(self, directory: &Path) -> Result<(), StoreError> {
        match EngineKind::found_in(directory) {
            Some(found) if found != self && !self.lies_in(directory) => {
                Err(StoreError::OtherEngine { found, asked: self })
            }
            _ => Ok(()),
        }
    }

    fn lies_in(self, directory: &Path) -> bool {
        let files: &[&str] = match self {
            EngineKind::Sled => &["conf", "db"],
            EngineKind::Redb => &[super::redb::FILE],
        };
        files.iter().any(|file| directory.join(file).exists())
    }

    /// Opens the store in `directory`; makes an empty one when the directory is missing or empty.
    ///
    /// # Errors
    /// As [`Embedded::open`](super::embedded::Embedded::open).
    pub fn open(
        self,
        directory: &Path,
        options: EngineOptions,
    ) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            EngineKind::Sled => Box::new(SledStore::open(directory, options)?),
            EngineKind::Redb => Box::new(RedbStore::open(directory, options)?),
        })
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_refuses_the_directory_of_the_other_and_says_what_to_set() {
        for (own, other) in [
            (EngineKind::Sled, EngineKind::Redb),
            (EngineKind::Redb, EngineKind::Sled),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("db");
            assert_eq!(EngineKind::found_in(&path), None);
            drop(own.open(&path, EngineOptions::default()).unwrap());
            assert_eq!(EngineKind::found_in(&path), Some(own));
            let before = names(&path);
            let refused = other.open(&path, EngineOptions::default()).err().unwrap();
            let expected = StoreError::OtherEngine {
                found: own,
                asked: other,
            };
            assert_eq!(refused, expected);
            let text = refused.to_string();
            assert!(text.contains(&format!("engine = \"{own}\"")), "{text}");
            assert_eq!(names(&path), before);
            let store = own.open(&path, EngineOptions::default()).unwrap();
            assert_eq!(store.name(), own.name());
        }
    }

    fn names(directory: &Path) -> Vec<std::ffi::OsString> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }
}
