//! Tails: entries as they come, for whoever watches (`docs/format.md` §7.3, open lines).
//!
//! A tail is itself an entry, on stable storage before its first message. Only what a published
//! checkpoint covers is sent: nothing that a crash could take back was ever seen outside. Pages are
//! read on the blocking pool, one at a time, and only when there is room for what is in them.

use super::Vault;
use super::command::{Caller, Done, Refusal, Work};
use super::export::{ExportRequest, Turn, still_admitted};
use super::load::page_of;
use super::proofs::{Content, blocking, open_entry, unread, unreadable};
use crate::ids::PrincipalId;
use crate::ledger::{Filter, Leaf, Opened, Page, Recorded, open_line};
use crate::limits;
use crate::policy::{Principal, Rpc};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages that wait for a slow reader.
const PIECES_WAITING: usize = 4;
/// Pages that are read before the reader's standing is looked at again.
const PAGES_AT_ONCE: usize = 64;

/// A message of a tail.
pub struct Tailed {
    /// Open lines, each ended by a newline; empty when there is nothing to send.
    pub lines: Vec<u8>,
    /// Every entry below it was sent, or left out by the filter.
    pub next: u64,
    /// Entries that the newest checkpoint covers.
    pub size: u64,
}

/// A message, or why no more come.
pub type TailedPiece = Result<Tailed, Refusal>;

impl Vault {
    /// Begins a tail from `from`, or from ten entries before the newest; with `follow` it stays for
    /// what is still to come. A receiver that is dropped ends it. Of `request`, range and epoch are
    /// not looked at: a tail is of the ledger that grows.
    ///
    /// # Errors
    /// What the door says, [`Denial::SiteNotAllowed`](crate::policy::Denial::SiteNotAllowed),
    /// [`Denial::TooMany`](crate::policy::Denial::TooMany) when the auditor has two under way.
    pub async fn tail(
        self: &Arc<Self>,
        caller: Caller,
        auditor: &Principal,
        request: ExportRequest,
        from: Option<u64>,
        follow: bool,
        deadline_ms: u64,
    ) -> Result<mpsc::Receiver<TailedPiece>, Refusal> {
        let most = limits::TAILS_PER_PRINCIPAL_MAX;
        let turn = Turn::take(&self.tails, auditor.id, most)?;
        let filter = match request.filter(auditor) {
            Ok(filter) => filter,
            Err(denial) => {
                let refused = Work::Refused {
                    rpc: Rpc::TailLog,
                    denial,
                    transaction: None,
                };
                self.ask(caller, refused, deadline_ms).await?;
                return Err(Refusal::Denied(denial));
            }
        };
        let from = from.unwrap_or_else(|| self.head().size.saturating_sub(limits::TAIL_PAST));
        let request = ExportRequest { from, ..request };
        let mut detail = request.detail();
        detail.push(("follow", follow.to_string()));
        let work = Work::Tail { detail };
        let Done::Noted { entry } = self.ask(caller, work, deadline_ms).await? else {
            return Err(Refusal::Unavailable("a tail got another answer"));
        };
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let job = Job {
            vault: Arc::clone(self),
            filter,
            auditor: auditor.id,
            next: from,
            // Its own entry is the last that one without `follow` shows.
            until: (!follow).then_some(entry + 1),
        };
        tokio::spawn(async move {
            let _turn = turn;
            // A reader that left ends it too: then nobody needs to know why.
            tokio::select! {
                () = sender.closed() => {}
                ended = job.run(&sender) => {
                    if let Err(refusal) = ended {
                        let _ = sender.send(Err(refusal)).await;
                    }
                }
            }
        });
        Ok(pieces)
    }
}

/// One tail.
struct Job {
    vault: Arc<Vault>,
    filter: Filter,
    auditor: PrincipalId,
    next: u64,
    until: Option<u64>,
}

impl Job {
    async fn run(mut self, pieces: &mpsc::Sender<TailedPiece>) -> Result<(), Refusal> {
        // When something was said last.
        let mut told_ms = None;
        loop {
            // Room comes first: what is read then is fresh, and what isn't taken isn't read.
            let Ok(room) = pieces.reserve().await else {
                return Ok(());
            };
            still_admitted(&self.vault, self.auditor, Rpc::TailLog)?;
            let covered = self.waits_for(told_ms.is_none()).await?;
            let size = match covered {
                Some(size) => size,
                None => self.vault.published().map_or(0, |p| p.checkpoint.size),
            };
            let to = self.until.map_or(size, |until| until.min(size));
            let mut lines = Vec::new();
            if covered.is_some() && self.next < to {
                let vault = Arc::clone(&self.vault);
                let filter = self.filter.clone();
                let from = self.next;
                (lines, self.next) = blocking(move || {
                    read(&vault, &filter, from, to).map_err(|refusal| vault.unless_closed(refusal))
                })
                .await?;
            }
            let over = self.until.is_some_and(|until| self.next >= until);
            let now_ms = self.vault.clock.monotonic_ms();
            let long = told_ms.is_none_or(|told| now_ms >= told + limits::TAIL_QUIET_MS);
            if !lines.is_empty() || over || covered.is_none() || long {
                told_ms = Some(now_ms);
                room.send(Ok(Tailed {
                    lines,
                    next: self.next,
                    size,
                }));
            }
            if over {
                return Ok(());
            }
        }
    }

    /// Waits until a checkpoint covers what is wanted; gives how many entries it covers. `None` when
    /// that takes longer than a reader should hear nothing; the `first` time it isn't waited for.
    async fn waits_for(&self, first: bool) -> Result<Option<u64>, Refusal> {
        let wanted = self.until.unwrap_or(self.next + 1);
        let reached = self.vault.publisher.reaches(wanted);
        let patience_ms = match first && self.until.is_none() {
            true => 0,
            false => limits::TAIL_QUIET_MS,
        };
        match tokio::time::timeout(Duration::from_millis(patience_ms), reached).await {
            Ok(Some(published)) => Ok(Some(published.checkpoint.size)),
            Ok(None) => Err(Refusal::Sealed),
            Err(_) => Ok(None),
        }
    }
}

/// The lines of `from..to` that match, up to a message's size, and the index to go on with.
fn read(vault: &Vault, filter: &Filter, from: u64, to: u64) -> Result<(Vec<u8>, u64), Refusal> {
    let epoch = vault.head().epoch;
    let mut lines = Vec::new();
    let mut next = from;
    for _ in 0..PAGES_AT_ONCE {
        if next >= to || lines.len() >= limits::EXPORT_PIECE_BYTES / 2 {
            break;
        }
        let row = page_of(vault.reader.as_ref(), epoch, next).map_err(unread)?;
        let page = Page::parse(&row).map_err(unreadable)?;
        let before = next;
        while let Some(stored) = page.entry(next).filter(|_| next < to) {
            next += 1;
            // What was erased is for exports: there is nothing left to watch.
            let Content::Open(read) = open_entry(&vault.ring(), epoch, stored)? else {
                continue;
            };
            let opened = Opened::parse(&read.content).map_err(unreadable)?;
            let entry = Recorded::parse(opened.json).map_err(unreadable)?;
            let leaf = Leaf::of(
                epoch,
                &read.bucket,
                entry.site,
                entry.event,
                opened.json,
                opened.seed,
            );
            if leaf.hash != stored.leaf || entry.index != stored.index {
                return Err(unreadable("an entry is not the one that the tree holds"));
            }
            if filter.miss(entry.site, entry.event, entry.at).is_none() {
                let line = open_line(entry.index, &read.bucket, &leaf, opened.json);
                lines.extend_from_slice(line.as_bytes());
                lines.push(b'\n');
            }
        }
        if next == before {
            return Err(unreadable("a page lacks an entry"));
        }
    }
    Ok((lines, next))
}
