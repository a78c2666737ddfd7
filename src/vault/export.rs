//! Exports: a range of the ledger as lines that can be verified offline (`docs/format.md` §7.3).
//!
//! The export is itself an entry, on stable storage before the first byte leaves, and is fixed to
//! a checkpoint that covers that entry while writes go on. It is read and written page by page on
//! a thread of the blocking pool, so memory stays flat for any size.

use super::Vault;
use super::command::{Caller, Done, Refusal, Work};
use super::epochs::{closed_epochs, tree_of};
use super::load::{Tiles, page_of};
use super::proofs::{Content, blocking, open_entry, unproven, unread, unreadable};
use crate::clock::Timestamp;
use crate::ids::{PrincipalId, Site};
use crate::ledger::{Event, ExportHeader, Exporter, Filter, Opened, Page, Tree};
use crate::limits;
use crate::policy::{self, Denial, Principal, Rpc};
use crate::secret::wipe_stack;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Pieces that wait for a slow auditor.
const PIECES_WAITING: usize = 4;

/// What an auditor asks for.
pub struct ExportRequest {
    /// Epoch of the ledger; the vault's own when absent.
    pub epoch: Option<u32>,
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

impl ExportRequest {
    /// What is shown to `auditor`: of its sites those that were asked for.
    ///
    /// # Errors
    /// [`Denial::SiteNotAllowed`] when it asks for a site that it does not serve.
    pub(super) fn filter(&self, auditor: &Principal) -> Result<Filter, Denial> {
        let sites = match self.site {
            Some(site) if auditor.serves(site) => vec![site],
            Some(_) => return Err(Denial::SiteNotAllowed),
            None => auditor.sites.clone(),
        };
        Ok(Filter {
            sites,
            kinds: self.kinds.clone(),
            from_time: self.from_time,
            to_time: self.to_time,
        })
    }

    /// The request in words, for its entry.
    pub(super) fn detail(&self) -> Vec<(&'static str, String)> {
        let mut detail = vec![
            ("from", self.from.to_string()),
            ("reason", self.reason.clone()),
            ("ticket", self.ticket.clone()),
        ];
        if let Some(epoch) = self.epoch {
            detail.push(("of_epoch", epoch.to_string()));
        }
        if let Some(to) = self.to {
            detail.push(("to", to.to_string()));
        }
        if let Some(site) = self.site {
            detail.push(("only_site", site.to_string()));
        }
        if !self.kinds.is_empty() {
            let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.as_str()).collect();
            detail.push(("only_kinds", kinds.join(" ")));
        }
        for (name, time) in [("from_time", self.from_time), ("to_time", self.to_time)] {
            if let Some(time) = time {
                detail.push((name, time.to_string()));
            }
        }
        detail
    }
}

impl Vault {
    /// Begins an export. Its pieces come as they are read; a receiver that is dropped ends it. The
    /// auditor's standing is looked at again with every page.
    ///
    /// # Errors
    /// What the door says, [`Denial::SiteNotAllowed`], [`Denial::TooMany`] when the auditor has
    /// two under way, [`Denial::InvalidRequest`] for a range that begins past the ledger.
    pub async fn export(
        self: &Arc<Self>,
        caller: Caller,
        auditor: &Principal,
        request: ExportRequest,
        deadline_ms: u64,
    ) -> Result<mpsc::Receiver<Piece>, Refusal> {
        let most = limits::EXPORTS_PER_PRINCIPAL_MAX;
        let turn = Turn::take(&self.exports, auditor.id, most)?;
        let filter = match request.filter(auditor) {
            Ok(filter) => filter,
            Err(denial) => {
                let refused = Work::Refused {
                    rpc: Rpc::ExportLog,
                    denial,
                    transaction: None,
                };
                self.ask(caller, refused, deadline_ms).await?;
                return Err(Refusal::Denied(denial));
            }
        };
        let work = Work::Export {
            detail: request.detail(),
        };
        let Done::Noted { entry } = self.ask(caller, work, deadline_ms).await? else {
            return Err(Refusal::Unavailable("an export got another answer"));
        };
        let published = self
            .publisher
            .reaches(entry + 1)
            .await
            .ok_or(Refusal::Sealed)?;
        let own = self.head().epoch;
        // One that witnesses cosigned proves more; it may be a little larger.
        let published = match &self.witnesses {
            Some(witnesses) => witnesses.reaches(entry + 1).await.unwrap_or(published),
            None => published,
        };
        let part = match request.epoch {
            Some(epoch) if epoch != own => {
                let vault = Arc::clone(self);
                blocking(move || vault.earlier(epoch)).await?
            }
            _ => Part {
                epoch: own,
                size: published.checkpoint.size,
                note: published.note,
                tree: None,
            },
        };
        let size = part.size;
        let to = request.to.unwrap_or(size).min(size);
        if request.from > to {
            return Err(Refusal::Denied(Denial::InvalidRequest));
        }
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let vault = Arc::clone(self);
        let job = Job {
            from: request.from,
            to,
            filter,
            auditor: auditor.id,
            auditor_name: auditor.name.clone(),
            reason: request.reason,
            ticket: request.ticket,
            part,
        };
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            if let Err(refusal) = job.write(&vault, &sender) {
                // The auditor may have left; then nobody needs to know.
                let _ = sender.blocking_send(Err(vault.unless_closed(refusal)));
            }
        });
        Ok(pieces)
    }
}

impl Vault {
    /// An earlier epoch's ledger, as it ended.
    fn earlier(&self, epoch: u32) -> Result<Part, Refusal> {
        let reader = self.reader.as_ref();
        let closed = closed_epochs(reader, &self.ring()).map_err(unread)?;
        let closed = closed
            .into_iter()
            .find(|closed| closed.epoch == epoch)
            .ok_or(Refusal::Denied(Denial::InvalidRequest))?;
        let tree = tree_of(reader, &closed).map_err(unread)?;
        Ok(Part {
            epoch,
            size: closed.size,
            note: Arc::from(closed.note),
            tree: Some(tree),
        })
    }
}

/// The ledger of which an export is a range, fixed to a checkpoint.
struct Part {
    epoch: u32,
    size: u64,
    note: Arc<str>,
    /// An earlier epoch's; none for the one that still grows.
    tree: Option<Tree>,
}

/// One export.
struct Job {
    from: u64,
    to: u64,
    filter: Filter,
    auditor: PrincipalId,
    auditor_name: String,
    reason: String,
    ticket: String,
    part: Part,
}

impl Job {
    fn write(self, vault: &Vault, pieces: &mpsc::Sender<Piece>) -> Result<(), Refusal> {
        let reader = vault.reader.as_ref();
        let Part {
            epoch,
            size,
            note,
            tree,
        } = self.part;
        let own = tree.is_none();
        let boundaries = tree
            .unwrap_or_else(|| vault.tree())
            .boundaries(self.from, self.to, size, &Tiles(reader, epoch))
            .map_err(unproven)?;
        let header = ExportHeader {
            vault: vault.id,
            epoch,
            from: self.from,
            to: self.to,
            filter: self.filter,
            requested_by: self.auditor,
            requested_by_name: self.auditor_name,
            reason: self.reason,
            ticket: self.ticket,
            at: vault.clock.now(),
            checkpoint: note.to_string(),
            boundaries,
        };
        let signing = match own {
            true => vault
                .signing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
                .ok_or(Refusal::Sealed)?,
            // The header is new, and signed by the key that the epoch's checkpoints are.
            false => vault.ring().ledger_signing(epoch).map_err(unreadable)?,
        };
        let mut lines = Vec::with_capacity(limits::EXPORT_PIECE_BYTES);
        let mut exporter = Exporter::begin(&header, &signing, &mut lines).map_err(unreadable)?;
        drop(signing);
        wipe_stack();
        while let Some(next) = exporter.next() {
            still_admitted(vault, self.auditor, Rpc::ExportLog)?;
            let row = page_of(reader, epoch, next).map_err(unread)?;
            let page = Page::parse(&row).map_err(unreadable)?;
            let mut found = false;
            while let Some(stored) = exporter.next().and_then(|index| page.entry(index)) {
                found = true;
                let content = open_entry(&vault.ring(), epoch, stored)?;
                match content {
                    Content::Open(read) => {
                        let opened = Opened::parse(&read.content).map_err(unreadable)?;
                        exporter
                            .entry(stored, &read.bucket, &opened, &mut lines)
                            .map_err(unreadable)?;
                    }
                    Content::Erased(bucket) => exporter
                        .erased(stored, &bucket, &mut lines)
                        .map_err(unreadable)?,
                }
                if lines.len() >= limits::EXPORT_PIECE_BYTES / 2 && !send(pieces, &mut lines) {
                    return Ok(());
                }
            }
            if !found {
                return Err(unreadable("a page lacks an entry"));
            }
        }
        exporter.end(&mut lines).map_err(unreadable)?;
        send(pieces, &mut lines);
        Ok(())
    }
}

/// Sends what was gathered; false when the auditor has left.
fn send(pieces: &mpsc::Sender<Piece>, lines: &mut Vec<u8>) -> bool {
    let next = Vec::with_capacity(limits::EXPORT_PIECE_BYTES);
    pieces
        .blocking_send(Ok(std::mem::replace(lines, next)))
        .is_ok()
}

/// Whether the auditor may still read: vault open, auditor not disabled, agreement in force.
pub(super) fn still_admitted(vault: &Vault, auditor: PrincipalId, rpc: Rpc) -> Result<(), Refusal> {
    if vault.closed.load(Ordering::SeqCst) {
        return Err(Refusal::Sealed);
    }
    let registry = vault.registry();
    let principal = registry
        .principal(auditor)
        .ok_or(Refusal::Denied(Denial::PrincipalDisabled))?;
    policy::admit(rpc, principal, true, vault.clock.now()).map_err(Refusal::Denied)
}

/// How many exports, or tails, each principal has under way.
pub(super) type Turns = Arc<Mutex<HashMap<PrincipalId, usize>>>;

/// One of the exports, or tails, that a principal may have under way.
pub(super) struct Turn {
    counts: Turns,
    of: PrincipalId,
}

impl Turn {
    pub(super) fn take(counts: &Turns, of: PrincipalId, most: usize) -> Result<Turn, Refusal> {
        let mut running = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = running.entry(of).or_default();
        if *count >= most {
            return Err(Refusal::Denied(Denial::TooMany));
        }
        *count += 1;
        Ok(Turn {
            counts: Arc::clone(counts),
            of,
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.of) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                running.remove(&self.of);
            }
        }
    }
}
