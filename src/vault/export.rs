//! Exports: a range of the ledger as lines that can be verified offline (`docs/format.md` §7.3).

use super::Vault;
use super::command::{Caller, Refusal};
use crate::clock::Timestamp;
use crate::ids::Site;
use crate::ledger::Event;
use crate::policy::Principal;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What an auditor asks for.
pub struct ExportRequest {
    /// First index.
    pub from: u64,
    /// End of the range, exclusive; the checkpoint's size when absent.
    pub to: Option<u64>,
    /// Only entries at or after this.
    pub from_time: Option<Timestamp>,
    /// Only entries before this.
    pub to_time: Option<Timestamp>,
    /// Only entries of this site.
    pub site: Option<Site>,
    /// Only entries of these kinds; every kind when empty.
    pub kinds: Vec<Event>,
    /// Why.
    pub reason: String,
    /// Case number.
    pub ticket: String,
}

/// Whole lines, or why no more come.
pub type Piece = Result<Vec<u8>, Refusal>;

impl Vault {
    /// x
    pub async fn export(
        self: &Arc<Self>,
        caller: Caller,
        principal: &Principal,
        request: ExportRequest,
        deadline_ms: u64,
    ) -> Result<mpsc::Receiver<Piece>, Refusal> {
        let _ = (caller, principal, request, deadline_ms);
        Err(Refusal::Sealed)
    }
}
