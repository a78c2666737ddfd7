//! One file a service: parse, ask, answer. What a caller may do is judged by the door and by the
//! vault, never here.

mod admin;
mod item;
mod ledger;
mod reading;
mod session;
mod stream;
mod vault;

pub use admin::Admin;
pub use ledger::Ledger;
pub use session::Session;
pub use vault::VaultApi;

use super::proto as pb;
use super::status;
use crate::vault::Vault;
use tonic::Status;

/// The receipt of an entry, when one was asked for: waits until a checkpoint covers it.
async fn receipt(
    vault: &std::sync::Arc<Vault>,
    wanted: bool,
    index: u64,
) -> Result<Option<pb::Receipt>, Status> {
    if !wanted {
        return Ok(None);
    }
    let receipt = vault
        .receipt(index, None)
        .await
        .map_err(|refusal| status::of_refusal(&refusal))?;
    Ok(Some(receipt_message(receipt)))
}

fn receipt_message(receipt: crate::vault::IssuedReceipt) -> pb::Receipt {
    pb::Receipt {
        index: receipt.index,
        entry: receipt.entry,
        inclusion_path: receipt.path.iter().map(|hash| hash.to_vec()).collect(),
        checkpoint: Some(checkpoint_message(&receipt.published)),
    }
}

fn checkpoint_message(published: &crate::vault::Published) -> pb::Checkpoint {
    pb::Checkpoint {
        note: published.note.to_string(),
        size: published.checkpoint.size,
        root: published.checkpoint.root.to_vec(),
    }
}

/// The vault answered a command with another command's answer.
fn mismatched() -> Status {
    status::internal("a command got another command's answer")
}
