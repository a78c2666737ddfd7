//! One entry of the ledger: who did what, when, to which transaction, with what outcome
//! (`docs/format.md` §7; PCI DSS 10.2.2). Its text is canonical JSON (RFC 8785), since the tree
//! commits to its bytes.
//!
//! An entry never holds a card number, a token or a request id: its types leave no place for one
//! but `detail` and `masked`, which the vault fills.

use super::bucket::Bucket;
use super::event::Event;
use crate::clock::Timestamp;
use crate::ids::{PrincipalId, Site, TokenReference, TransactionId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The schema that this version writes and reads.
pub(super) const SCHEMA: u8 = 1;
/// Stands for the vault itself, and for callers that nobody knows.
pub(super) const NOBODY: &str = "-";

/// An entry to be written. Empty text and empty lists stand for absent members.
#[derive(Clone)]
pub struct Entry {
    /// Who acted; `None` for the vault itself and for unknown callers.
    pub actor: Option<PrincipalId>,
    /// Its name at that time.
    pub actor_name: String,
    /// Its role at that time.
    pub role: &'static str,
    /// When.
    pub at: Timestamp,
    /// Epoch of the ledger.
    pub epoch: u32,
    /// Index in the ledger.
    pub index: u64,
    /// What happened or was asked for.
    pub event: Event,
    /// The caller's network address; empty for the vault itself (written `-`).
    pub origin: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Index of the transaction's previous entry.
    pub prev: Option<u64>,
    /// Purpose of a redemption.
    pub purpose: &'static str,
    /// Reason of a denial (`docs/errors.md`).
    pub reason: &'static str,
    /// The site, or [`Site::VAULT`].
    pub site: Site,
    /// The transaction.
    pub transaction: Option<TransactionId>,
    /// The token's reference.
    pub token: Option<TokenReference>,
    /// The masked number.
    pub masked: String,
    /// Fields released or asked for.
    pub fields: Vec<&'static str>,
    /// The transaction's amount in minor units and its currency (ISO 4217, three letters).
    pub amount: Option<(i64, [u8; 3])>,
    /// Facts of the event.
    pub detail: BTreeMap<&'static str, String>,
}

/// How what an entry tells of ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was refused.
    Denied,
    /// It was allowed and went wrong.
    Failed,
}

impl Outcome {
    /// Its code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
        }
    }

    /// Reads a code.
    pub fn parse(code: &str) -> Option<Outcome> {
        [Outcome::Ok, Outcome::Denied, Outcome::Failed]
            .into_iter()
            .find(|outcome| outcome.as_str() == code)
    }
}

impl Entry {
    /// An entry that says only what every entry has to; the rest is absent.
    pub fn new(event: Event, outcome: Outcome, site: Site, at: Timestamp) -> Entry {
        Entry {
            actor: None,
            actor_name: String::new(),
            role: "",
            at,
            epoch: 0,
            index: 0,
            event,
            origin: String::new(),
            outcome,
            prev: None,
            purpose: "",
            reason: "",
            site,
            transaction: None,
            token: None,
            masked: String::new(),
            fields: Vec::new(),
            amount: None,
            detail: BTreeMap::new(),
        }
    }

    /// The id of the bucket whose key seals it, in text: `log/<site>/<yyyy-mm>`.
    pub fn bucket_text(&self) -> String {
        Bucket::text(self.site, self.at)
    }

    /// Its canonical JSON (RFC 8785).
    pub fn to_canonical_json(&self) -> String {
        let text = |value: &'static str| Cow::Borrowed(value);
        let (amount, currency) = match &self.amount {
            // Currencies are checked where they come in; XXX is ISO 4217's "no currency".
            Some((minor, currency)) => (
                Cow::Owned(minor.to_string()),
                Cow::Borrowed(std::str::from_utf8(currency).unwrap_or("XXX")),
            ),
            None => (text(""), text("")),
        };
        let wire = Wire {
            actor: match self.actor {
                Some(actor) => Cow::Owned(actor.to_string()),
                None => text(NOBODY),
            },
            actor_name: Cow::Borrowed(&self.actor_name),
            amount,
            at: Cow::Owned(self.at.to_string()),
            currency,
            detail: self
                .detail
                .iter()
                .map(|(key, value)| (Cow::Borrowed(*key), Cow::Borrowed(value.as_str())))
                .collect(),
            epoch: Cow::Owned(self.epoch.to_string()),
            event: text(self.event.as_str()),
            fields: self.fields.iter().map(|field| text(field)).collect(),
            index: Cow::Owned(self.index.to_string()),
            masked: Cow::Borrowed(&self.masked),
            origin: if self.origin.is_empty() {
                text(NOBODY)
            } else {
                Cow::Borrowed(&self.origin)
            },
            outcome: text(self.outcome.as_str()),
            prev: owned_or_absent(self.prev.map(|prev| prev.to_string())),
            purpose: text(self.purpose),
            reason: text(self.reason),
            role: text(self.role),
            site: Cow::Borrowed(self.site.as_str()),
            token: owned_or_absent(self.token.map(|token| token.to_string())),
            transaction: owned_or_absent(self.transaction.map(|id| id.to_string())),
            v: SCHEMA,
        };
        wire.to_json()
    }
}

fn owned_or_absent(text: Option<String>) -> Cow<'static, str> {
    Cow::Owned(text.unwrap_or_default())
}

fn absent(text: &str) -> bool {
    text.is_empty()
}

/// The members in the order of their names, which is the canonical order: RFC 8785 sorts by UTF-16
/// code units, and all names are ASCII. serde_json's escapes are those of RFC 8785 3.2.2.2.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire<'a> {
    #[serde(borrow)]
    pub actor: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    pub actor_name: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    pub amount: Cow<'a, str>,
    #[serde(borrow)]
    pub at: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    pub currency: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow)]
    pub epoch: Cow<'a, str>,
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub index: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    pub masked: Cow<'a, str>,
    #[serde(borrow)]
    pub origin: Cow<'a, str>,
    #[serde(borrow)]
    pub outcome: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    pub prev: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    pub purpose: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    pub reason: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    pub role: Cow<'a, str>,
    #[serde(borrow)]
    pub site: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    pub token: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    pub transaction: Cow<'a, str>,
    pub v: u8,
}

impl Wire<'_> {
    pub fn to_json(&self) -> String {
        let mut json = Vec::with_capacity(640);
        serde_json::to_writer(&mut json, self).expect("strings are written to memory");
        String::from_utf8(json).expect("serde_json writes UTF-8")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An entry with every member.
    pub(in crate::ledger) fn full() -> Entry {
        Entry {
            actor: Some(PrincipalId([0x11; 16])),
            actor_name: "processor \"a\" \\ \u{1}\u{8}\u{c}\n\r\t\u{7f} é €\u{1f600}".to_owned(),
            role: "processor",
            at: Timestamp(1_795_459_455_007),
            epoch: 1,
            index: u64::MAX,
            event: Event::Redeemed,
            origin: "192.0.2.7:4711".to_owned(),
            outcome: Outcome::Denied,
            prev: Some(41),
            purpose: "AUTHORIZE",
            reason: "USES_EXHAUSTED",
            site: Site::parse("nl").unwrap(),
            transaction: Some(TransactionId([0x22; 16])),
            token: Some(TokenReference([0x33; 16])),
            masked: "411111******1111".to_owned(),
            fields: vec!["NUMBER", "EXPIRY"],
            amount: Some((-1999, *b"EUR")),
            detail: BTreeMap::from([("reference", "R-1".to_owned()), ("case", "C".to_owned())]),
        }
    }

    /// An entry with the fewest members.
    pub(in crate::ledger) fn least() -> Entry {
        Entry::new(
            Event::LoggingStarted,
            Outcome::Ok,
            Site::VAULT,
            Timestamp(0),
        )
    }

    /// RFC 8785 computed in another way: members re-sorted by UTF-16 code units and every string
    /// escaped by hand.
    fn rfc_8785(value: &serde_json::Value) -> String {
        use serde_json::Value;
        fn string(text: &str) -> String {
            let mut out = String::from("\"");
            for c in text.chars() {
                match c {
                    '"' => out.push_str("\\\""),
                    '\\' => out.push_str("\\\\"),
                    '\u{8}' => out.push_str("\\b"),
                    '\t' => out.push_str("\\t"),
                    '\n' => out.push_str("\\n"),
                    '\u{c}' => out.push_str("\\f"),
                    '\r' => out.push_str("\\r"),
                    c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                    c => out.push(c),
                }
            }
            out + "\""
        }
        match value {
            Value::String(text) => string(text),
            Value::Number(number) => number.to_string(),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(rfc_8785).collect();
                format!("[{}]", items.join(","))
            }
            Value::Object(members) => {
                let sorted: BTreeMap<Vec<u16>, String> = members
                    .iter()
                    .map(|(key, value)| {
                        let member = format!("{}:{}", string(key), rfc_8785(value));
                        (key.encode_utf16().collect(), member)
                    })
                    .collect();
                let members: Vec<String> = sorted.into_values().collect();
                format!("{{{}}}", members.join(","))
            }
            _ => unreachable!("entries hold neither null nor booleans"),
        }
    }

    #[test]
    fn its_text_is_what_rfc_8785_makes_of_it() {
        for entry in [full(), least()] {
            let json = entry.to_canonical_json();
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(json, rfc_8785(&value));
        }
    }

    #[test]
    fn the_least_entry_leaves_absent_members_out() {
        assert_eq!(
            least().to_canonical_json(),
            r#"{"actor":"-","at":"1970-01-01T00:00:00.000Z","epoch":"0","event":"logging_started","index":"0","origin":"-","outcome":"ok","site":"-","v":1}"#
        );
    }
}
