//! Receipts as files, as `payvault log verify-receipt` reads them.

use super::error::CliError;
use crate::api::proto;
use crate::ledger::{Hash, Receipt};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// Whether a receipt is wanted.
#[derive(Args, Debug, Clone, Default)]
pub struct ReceiptArgs {
    /// Write the ledger's receipt for this to FILE (waits for it, some 100 ms)
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

impl ReceiptArgs {
    /// Whether to ask for one.
    ///
    /// # Errors
    /// When its file exists: found out before anything is done.
    pub fn wanted(&self) -> Result<bool, CliError> {
        match &self.receipt {
            Some(path) if path.exists() => {
                Err(CliError::Usage(format!("{} exists", path.display())))
            }
            wanted => Ok(wanted.is_some()),
        }
    }

    /// Writes what came.
    ///
    /// # Errors
    /// When nothing came, or it can't be written.
    pub fn keep(&self, receipt: Option<&proto::Receipt>) -> Result<(), CliError> {
        let Some(path) = &self.receipt else {
            return Ok(());
        };
        let receipt = receipt
            .and_then(from_proto)
            .ok_or_else(|| CliError::Failed("it was done, but no usable receipt came".into()))?;
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|mut file| file.write_all(receipt.to_json().as_bytes()))
            .map_err(CliError::file(path))
    }
}

/// The receipt of a reply.
pub fn from_proto(receipt: &proto::Receipt) -> Option<Receipt> {
    let path: Option<Vec<Hash>> = receipt
        .inclusion_path
        .iter()
        .map(|hash| Hash::try_from(hash.as_slice()).ok())
        .collect();
    Some(Receipt {
        entry: receipt.entry.clone(),
        path: path?,
        checkpoint: receipt.checkpoint.as_ref()?.note.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_with_a_short_hash_is_none() {
        let mut receipt = proto::Receipt {
            index: 1,
            entry: "{}".into(),
            inclusion_path: vec![vec![7; 32]],
            checkpoint: Some(proto::Checkpoint::default()),
        };
        assert!(from_proto(&receipt).is_some());
        receipt.inclusion_path.push(vec![7; 31]);
        assert!(from_proto(&receipt).is_none());
    }
}
