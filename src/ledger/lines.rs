//! The lines of exports and receipts (`docs/format.md` §7.3, §7.4), as they are written and as they
//! are read. Members stand in the order of their names, which is the canonical order (RFC 8785).

use super::hash::B64;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// `type` of the first line.
pub(super) const HEADER: &str = "header";
/// `type` of a line that shows its entry.
pub(super) const ENTRY: &str = "entry";
/// `type` of a line that shows why its entry is left out.
pub(super) const CLOSED: &str = "closed";
/// `type` of a line whose entry can no longer be read by anybody.
pub(super) const ERASED: &str = "erased";
/// `type` of the last line.
pub(super) const END: &str = "end";
/// `type` of a receipt.
pub(super) const RECEIPT: &str = "receipt";
/// The version of header and receipt.
pub(super) const VERSION: u8 = 1;

/// What kind of line it is; everything else is skipped.
#[derive(Deserialize)]
pub(super) struct TypeOnly<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
}

/// What an export was asked for: lists are joined by commas, in ascending order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterMembers<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub from_time: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sites: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub to_time: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderLine<'a> {
    #[serde(borrow)]
    pub at: Cow<'a, str>,
    #[serde(borrow)]
    pub checkpoint: Cow<'a, str>,
    #[serde(borrow)]
    pub epoch: Cow<'a, str>,
    #[serde(borrow)]
    pub filter: FilterMembers<'a>,
    #[serde(borrow)]
    pub from: Cow<'a, str>,
    pub left: Cow<'a, [B64]>,
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    #[serde(borrow)]
    pub requested_by: Cow<'a, str>,
    #[serde(borrow)]
    pub requested_by_name: Cow<'a, str>,
    pub right: Cow<'a, [B64]>,
    /// Left out of what is signed.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub ticket: Cow<'a, str>,
    #[serde(borrow)]
    pub to: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub unproven: Vec<Cow<'a, str>>,
    pub v: u8,
    #[serde(borrow)]
    pub vault: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryLine<'a> {
    #[serde(borrow)]
    pub body: Cow<'a, str>,
    #[serde(borrow)]
    pub bucket: Cow<'a, str>,
    #[serde(borrow)]
    pub index: Cow<'a, str>,
    pub leaf: B64,
    pub salts: [B64; 3],
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClosedLine<'a> {
    #[serde(borrow)]
    pub bucket: Cow<'a, str>,
    pub c: [B64; 3],
    /// With salt and value, or all three are left out.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub facet: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub index: Cow<'a, str>,
    pub leaf: B64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<B64>,
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ErasedLine<'a> {
    #[serde(borrow)]
    pub bucket: Cow<'a, str>,
    pub facets: B64,
    #[serde(borrow)]
    pub index: Cow<'a, str>,
    pub leaf: B64,
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndLine<'a> {
    #[serde(borrow)]
    pub lines: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptLine<'a> {
    #[serde(borrow)]
    pub checkpoint: Cow<'a, str>,
    #[serde(borrow)]
    pub entry: Cow<'a, str>,
    pub path: Cow<'a, [B64]>,
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    pub v: u8,
}

/// Writes a line, without its newline.
pub(super) fn write(line: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, line).expect("strings are written to memory");
}

/// A line as text, without its newline.
pub(super) fn text(line: &impl Serialize) -> String {
    let mut out = Vec::with_capacity(1024);
    write(line, &mut out);
    String::from_utf8(out).expect("serde_json writes UTF-8")
}

/// Reads a line; `None` unless writing it again gives the same bytes. So members that are missing,
/// unknown, twice or out of order are refused, and every other spelling too.
pub(super) fn read<'a, T: Deserialize<'a> + Serialize>(line: &'a str) -> Option<T> {
    let parsed: T = serde_json::from_str(line).ok()?;
    let mut again = Vec::with_capacity(line.len());
    write(&parsed, &mut again);
    (again == line.as_bytes()).then_some(parsed)
}
