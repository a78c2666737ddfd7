//! The terms under which an import opens a transaction a line.

use crate::api::proto;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::{input, moment, transaction};
use crate::clock::{DAY_MS, Timestamp};
use serde::Deserialize;
use std::path::Path;

/// A terms file holds no secret and is short.
const BYTES_MAX: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    site: String,
    /// As `payvault transaction open --grant`.
    grants: Vec<String>,
    #[serde(default)]
    expires: Option<String>,
    #[serde(default)]
    release: Option<String>,
    #[serde(default)]
    merchant: String,
}

/// Terms without reference and moments.
pub struct Opening {
    terms: proto::Terms,
    expires_ms: u64,
    release_ms: u64,
}

impl Opening {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read or understood.
    pub fn read(path: &Path, connection: &Connection) -> Result<Opening, CliError> {
        let bytes = input::read_bytes(path, BYTES_MAX)?;
        let refused = |what: String| CliError::Usage(format!("{}: {what}", path.display()));
        let written: Written =
            serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
        let span = |text: &Option<String>, default: u64| match text {
            None => Ok(default),
            Some(text) => moment::parse_span(text).map_err(refused),
        };
        let expires_ms = span(&written.expires, DAY_MS)?;
        let release_ms = span(&written.release, expires_ms.max(7 * DAY_MS))?;
        let grants = written.grants.iter().map(|text| transaction::grant(text));
        let grants: Vec<_> = grants.collect::<Result<_, _>>().map_err(refused)?;
        Ok(Opening {
            terms: proto::Terms {
                site: written.site,
                parties: transaction::parties(&grants, connection)?,
                merchant: written.merchant,
                ..proto::Terms::default()
            },
            expires_ms,
            release_ms,
        })
    }

    /// The terms for a line of an import that was begun at `begun`: the same in every run of it.
    pub fn terms(&self, reference: &str, begun: Timestamp) -> proto::Terms {
        proto::Terms {
            expires_at: Some(moment::to_proto(begun.plus_ms(self.expires_ms))),
            release_until: Some(moment::to_proto(begun.plus_ms(self.release_ms))),
            reference: reference.to_owned(),
            ..self.terms.clone()
        }
    }
}
