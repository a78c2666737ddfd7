//! Pruning: the ciphertext of entries whose bucket was erased is taken out of the pages. It opened
//! with nothing any more; what proves the rest stays: each entry's leaf, the digest of its facets,
//! and the id of its key, which is its bucket. So tree, proofs, receipts and exports are the same to
//! the byte before and after.
//!
//! A page is replaced whole, in a round. Where it is done is found in the pages themselves, so a
//! crash or a restored backup only means that the pages of the erased months are looked at again.

use super::batch::Batch;
use super::command::Note;
use super::committer::Committer;
use super::epochs::closed_epochs;
use super::keeper::{Budget, spans_of};
use super::load::LoadError;
use super::proofs::bucket_of_erased;
use super::rows::page_key;
use crate::keys::{KeyId, KeyName, KeyState, Keyring, seal_key};
use crate::ledger::{Page, PageEntry};
use crate::limits;
use crate::store::{Reader, StoreError, space};
use std::sync::PoisonError;

/// What is left to be looked at.
pub(super) struct Prune {
    /// The months of erased buckets.
    months: Vec<(i16, u8)>,
    /// Epoch, next index, end: of the month that is under way.
    spans: Vec<(u32, u64, u64)>,
    /// How many pages were replaced.
    pages: u64,
}

impl Prune {
    /// The months in which a bucket was erased; none when there is none.
    pub(super) fn of(ring: &Keyring) -> Option<Prune> {
        let mut months: Vec<(i16, u8)> = ring
            .list()
            .filter(|key| key.state() == KeyState::Destroyed)
            .filter(|key| ring.is_gone(&key.name()))
            .filter_map(|key| match key.name() {
                KeyName::Log { year, month, .. } => Some((year, month)),
                _ => None,
            })
            .collect();
        months.sort_unstable();
        months.dedup();
        (!months.is_empty()).then_some(Prune {
            months,
            spans: Vec::new(),
            pages: 0,
        })
    }
}

/// How a look ended.
enum Looked {
    /// There is more.
    More,
    /// That was all.
    All,
}

impl Committer {
    /// Goes on with pruning. Nothing is taken out before the ledger has told of every destruction,
    /// and before none of them can be undone.
    pub(super) fn prune(&mut self) {
        let settled = {
            let ring = self.shared.ring.read();
            ring.unwrap_or_else(PoisonError::into_inner).is_freed()
        };
        if !settled || self.owes_entries() {
            return;
        }
        let Some(mut prune) = self.keeper.take_prune() else {
            return;
        };
        match self.prune_some(&mut prune) {
            Ok(Looked::More) => self.keeper.put_prune(prune),
            Ok(Looked::All) if prune.pages > 0 => tracing::info!(
                pages = prune.pages,
                "the ciphertext of erased entries was taken out"
            ),
            Ok(Looked::All) => {}
            Err(LoadError::Store(error)) if !matches!(error, StoreError::Damaged(_)) => {
                tracing::debug!(%error, "pruning waits");
                self.keeper.put_prune(prune);
            }
            // It stays as it is, to be looked at; after a restart it is tried again.
            Err(error) => tracing::error!(
                alarm = "integrity",
                %error,
                "erased entries can't be pruned: run `payvault check`"
            ),
        }
    }

    fn prune_some(&mut self, prune: &mut Prune) -> Result<Looked, LoadError> {
        let clock = self.clock.clone();
        let mut budget = Budget::of_pages(&clock, limits::PRUNE_PAGES_LOOKED_MAX);
        let reader = self.store.reader();
        let mut stale = Vec::new();
        let mut looked = Looked::More;
        while stale.len() < limits::PRUNE_PAGES_MAX && budget.take_page() {
            let ring = self.shared.ring.read();
            let ring = ring.unwrap_or_else(PoisonError::into_inner);
            let Some((epoch, next, end)) = prune.spans.last_mut() else {
                let Some(month) = prune.months.pop() else {
                    looked = Looked::All;
                    break;
                };
                let closed = closed_epochs(reader.as_ref(), &ring)?;
                let epochs = closed.iter().map(|old| (old.epoch, old.size));
                let epochs = epochs.chain([(self.head.epoch, self.head.size)]);
                prune.spans = spans_of(reader.as_ref(), &ring, epochs, month)?;
                continue;
            };
            if next >= end {
                prune.spans.pop();
                continue;
            }
            let (key, row) = page_at(reader.as_ref(), *epoch, *next)?;
            let page = Page::parse(&row).map_err(|e| LoadError::damaged("a page", e))?;
            if page.entry(*next).is_none() {
                return Err(LoadError::damaged("a page", "an entry is missing"));
            }
            let after = page.first + page.entries.len() as u64;
            if page
                .entries
                .iter()
                .any(|entry| erased_under(&ring, *epoch, entry).is_some())
            {
                stale.push(key);
            }
            *next = after;
        }
        let count = stale.len() as u64;
        if count > 0 && !self.attempt_alone(Note::Prune(stale)) {
            // What was looked at in vain is looked at again.
            if let Some(again) = {
                let ring = self.shared.ring.read();
                Prune::of(&ring.unwrap_or_else(PoisonError::into_inner))
            } {
                *prune = Prune {
                    pages: prune.pages,
                    ..again
                };
            }
            return Ok(Looked::More);
        }
        prune.pages += count;
        Ok(looked)
    }
}

impl Batch<'_> {
    /// Takes the ciphertext of erased entries out of these pages. Each is judged in this round, by
    /// the keyring of now: what opens, or is held, or lies in another bucket than its key's, stays.
    pub(super) fn prune(&mut self, keys: &[Vec<u8>]) {
        for key in keys {
            let Some(value) = self.others.remove(key) else {
                continue;
            };
            let epoch = key.get(1..).and_then(|rest| rest.first_chunk());
            // One that can't be read is told by whoever reads it, and by `check`.
            let (Some(epoch), Ok(page)) = (epoch, Page::parse(&value)) else {
                continue;
            };
            let epoch = u32::from_be_bytes(*epoch);
            let ring = &self.ring;
            if let Some(row) = page.without(|entry| erased_under(ring, epoch, entry).map(|id| id.0))
            {
                self.pages.push((key.clone(), row));
            }
        }
    }
}

/// The destroyed key of an erased bucket under which an entry lies, if nothing speaks against its
/// being pruned.
fn erased_under(ring: &Keyring, epoch: u32, entry: &PageEntry<'_>) -> Option<KeyId> {
    let id = seal_key(entry.sealed)?;
    bucket_of_erased(ring, epoch, entry, id).ok().map(|_| id)
}

fn page_at(reader: &dyn Reader, epoch: u32, index: u64) -> Result<(Vec<u8>, Vec<u8>), LoadError> {
    let wanted = page_key(epoch, index);
    reader
        .floor(space::ENTRIES, &wanted[1..])?
        .filter(|(key, _)| key[..5] == wanted[..5])
        .ok_or(LoadError::damaged("the ledger", "a page is missing"))
}
