//! Pages: the rows in which entries lie, several to a row (`docs/format.md` §5.3). Sealed entries
//! are opaque here; the hashes beside them are public.

use super::error::LedgerError;
use super::hash::Hash;
use super::leaf::Leaf;
use crate::codec::{Malformed, Reader, Writer};
use crate::limits::VALUE_BYTES_MAX;

const MAGIC: &[u8; 2] = b"PE";
const FORMAT: u8 = 1;
/// A page in which entries were pruned, at least one. An earlier version refuses it by its format.
const FORMAT_PRUNED: u8 = 2;
/// Stands for the length of a sealed entry that was pruned; its key's id follows.
const PRUNED: u32 = u32::MAX;
/// Magic, format, first index, count.
const HEADER_BYTES: usize = 2 + 1 + 8 + 2;
/// Leaf hash, facets digest, length of the sealed entry.
const ENTRY_BYTES: usize = 32 + 32 + 4;

/// A page as a row: its key is `E` and the first index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRow {
    /// Index of its first entry.
    pub first: u64,
    /// How many entries it holds.
    pub count: u16,
    /// Its value; at most [`VALUE_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
}

/// Packs consecutive entries, the first of which has index `first`, into as few rows as their order
/// allows.
///
/// # Errors
/// [`LedgerError::EntryTooLong`] when one sealed entry does not fit a row of its own.
pub fn encode_pages<'a>(
    first: u64,
    entries: impl IntoIterator<Item = (&'a Leaf, &'a [u8])>,
) -> Result<Vec<PageRow>, LedgerError> {
    let mut rows = Vec::new();
    let mut page = OpenPage::new(first);
    for (leaf, sealed) in entries {
        let need = ENTRY_BYTES + sealed.len();
        if HEADER_BYTES + need > VALUE_BYTES_MAX {
            return Err(LedgerError::EntryTooLong {
                bytes: sealed.len(),
            });
        }
        // The count cannot pass 16 bits: VALUE_BYTES_MAX is smaller.
        if HEADER_BYTES + page.entries.len() + need > VALUE_BYTES_MAX {
            let next = OpenPage::new(page.first + u64::from(page.count));
            rows.push(std::mem::replace(&mut page, next).close());
        }
        page.entries.raw(&leaf.hash).raw(&leaf.facets).bytes(sealed);
        page.count += 1;
    }
    if page.count > 0 {
        rows.push(page.close());
    }
    Ok(rows)
}

struct OpenPage {
    first: u64,
    count: u16,
    entries: Writer,
    pruned: bool,
}

impl OpenPage {
    fn new(first: u64) -> OpenPage {
        OpenPage {
            first,
            count: 0,
            entries: Writer::with_capacity(1024),
            pruned: false,
        }
    }

    fn keep(&mut self, entry: &PageEntry<'_>, sealed: &[u8]) {
        self.entries.raw(&entry.leaf).raw(&entry.facets);
        match entry.pruned {
            None => self.entries.bytes(sealed),
            Some(key) => self.entries.u32(PRUNED).u32(key),
        };
        self.pruned |= entry.pruned.is_some();
        self.count += 1;
    }

    fn close(self) -> PageRow {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.entries.len());
        bytes.extend_from_slice(MAGIC);
        bytes.push(match self.pruned {
            true => FORMAT_PRUNED,
            false => FORMAT,
        });
        bytes.extend_from_slice(&self.first.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(self.entries.as_slice());
        PageRow {
            first: self.first,
            count: self.count,
            bytes,
        }
    }
}

/// A page that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// Index of its first entry.
    pub first: u64,
    /// Its entries, at least one, ascending and gapless.
    pub entries: Vec<PageEntry<'a>>,
}

/// One entry of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry<'a> {
    /// Its index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Hash,
    /// The digest of its commitments: with the bucket it hashes to the leaf, even when the entry
    /// can no longer be opened.
    pub facets: Hash,
    /// The sealed entry; empty when it was pruned.
    pub sealed: &'a [u8],
    /// The id of the key that it was sealed under, when it was pruned: its key was destroyed, and
    /// nothing is left of it but what is public. Whoever reads it must see whether that key is gone.
    pub pruned: Option<u32>,
}

impl<'a> Page<'a> {
    /// Reads a row.
    ///
    /// # Errors
    /// When it is not exactly a page.
    pub fn parse(row: &'a [u8]) -> Result<Page<'a>, Malformed> {
        if row.len() > VALUE_BYTES_MAX {
            return Err(Malformed::new("page is longer than a row may be"));
        }
        let mut reader = Reader::new(row);
        let (magic, format) = (reader.array()?, reader.u8()?);
        if magic != *MAGIC || !matches!(format, FORMAT | FORMAT_PRUNED) {
            return Err(Malformed::new("not a page of a known format"));
        }
        let first = reader.u64()?;
        let count = reader.u16()?;
        if count == 0 || first.checked_add(u64::from(count)).is_none() {
            return Err(Malformed::new("page has an impossible count"));
        }
        let mut entries = Vec::with_capacity(usize::from(count).min(row.len() / ENTRY_BYTES));
        for index in first..first + u64::from(count) {
            let (leaf, facets) = (reader.array()?, reader.array()?);
            let (sealed, pruned) = match reader.u32()? {
                PRUNED if format == FORMAT_PRUNED => (&[][..], Some(reader.u32()?)),
                length => (reader.raw(length as usize)?, None),
            };
            entries.push(PageEntry {
                index,
                leaf,
                facets,
                sealed,
                pruned,
            });
        }
        reader.end()?;
        // One spelling: what has nothing pruned is a page as it always was.
        let any = entries.iter().any(|entry| entry.pruned.is_some());
        if any != (format == FORMAT_PRUNED) {
            return Err(Malformed::new("page's format and entries differ"));
        }
        Ok(Page { first, entries })
    }

    /// The same page without the ciphertext of those entries for which `key` gives the id of the
    /// key that it was under; `None` when there is none such. Leaves and facets digests stay.
    pub fn without(&self, key: impl Fn(&PageEntry<'a>) -> Option<u32>) -> Option<Vec<u8>> {
        let mut page = OpenPage::new(self.first);
        let mut any = false;
        for entry in &self.entries {
            let mut entry = *entry;
            if entry.pruned.is_none() {
                entry.pruned = key(&entry);
                any |= entry.pruned.is_some();
            }
            page.keep(&entry, entry.sealed);
        }
        any.then(|| page.close().bytes)
    }

    /// The same page with other seals around the same entries, in their order; what was pruned stays
    /// so, whatever stands for it.
    ///
    /// # Panics
    /// When there are not as many of them as entries.
    pub fn resealed(&self, sealed: &[Vec<u8>]) -> Vec<u8> {
        assert_eq!(sealed.len(), self.entries.len(), "a seal for each entry");
        let mut page = OpenPage::new(self.first);
        for (entry, sealed) in self.entries.iter().zip(sealed) {
            page.keep(entry, sealed);
        }
        page.close().bytes
    }

    /// The entry of that index, when it lies in this page.
    pub fn entry(&self, index: u64) -> Option<&PageEntry<'a>> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(place)
    }
}
