//! One entry of the ledger: who did what, when, to which transaction, with what outcome
//! (`docs/format.md` §7; PCI DSS 10.2.2). Its text is canonical JSON (RFC 8785), since the tree
//! commits to its bytes.
//!
//! An entry never holds a card number, a token or a request id: its types leave no place for one
//! but `detail` and `masked`, which the vault fills.

use super::bucket::{Bucket, site_from_text};
use super::event::Event;
use crate::clock::Timestamp;
use crate::codec::Malformed;
use crate::ids::{PrincipalId, Site, TokenReference, TransactionId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The schema that this version writes and reads.
const SCHEMA: u8 = 1;
/// Stands for the vault itself, and for callers that nobody knows.
const NOBODY: &str = "-";

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
struct Wire<'a> {
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    actor_name: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    amount: Cow<'a, str>,
    #[serde(borrow)]
    at: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    currency: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "BTreeMap::is_empty")]
    detail: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    index: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    masked: Cow<'a, str>,
    #[serde(borrow)]
    origin: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    prev: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    purpose: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    reason: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    role: Cow<'a, str>,
    #[serde(borrow)]
    site: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    token: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "absent")]
    transaction: Cow<'a, str>,
    v: u8,
}

impl Wire<'_> {
    fn to_json(&self) -> String {
        let mut json = Vec::with_capacity(640);
        serde_json::to_writer(&mut json, self).expect("strings are written to memory");
        String::from_utf8(json).expect("serde_json writes UTF-8")
    }
}

/// An entry read back from its canonical JSON. Borrows from it where no escape stands in the way.
pub struct Recorded<'a> {
    /// Who acted; `None` for the vault itself and for unknown callers.
    pub actor: Option<PrincipalId>,
    /// When.
    pub at: Timestamp,
    /// Epoch of the ledger.
    pub epoch: u32,
    /// What happened or was asked for.
    pub event: Event,
    /// Index in the ledger.
    pub index: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Index of the transaction's previous entry.
    pub prev: Option<u64>,
    /// The site, or [`Site::VAULT`].
    pub site: Site,
    /// The token's reference.
    pub token: Option<TokenReference>,
    /// The transaction.
    pub transaction: Option<TransactionId>,
    /// The transaction's amount in minor units and its currency.
    pub amount: Option<(i64, [u8; 3])>,
    wire: Wire<'a>,
}

impl<'a> Recorded<'a> {
    /// Reads an entry's canonical JSON.
    ///
    /// # Errors
    /// When `json` is not byte for byte what [`Entry::to_canonical_json`] writes for some entry:
    /// members missing, unknown, twice, empty or in another order, other spacing, another spelling
    /// of a number or time, an event or schema that this version does not know.
    pub fn parse(json: &'a str) -> Result<Recorded<'a>, Malformed> {
        let wire: Wire<'a> =
            serde_json::from_str(json).map_err(|_| Malformed::new("not an entry's members"))?;
        if wire.v != SCHEMA {
            return Err(Malformed::new("entry has an unknown schema version"));
        }
        if wire.to_json() != json {
            return Err(Malformed::new("entry is not canonical JSON"));
        }
        let amount = match (&*wire.amount, &*wire.currency) {
            ("", "") => None,
            (amount, currency) => Some(
                amount_from_text(amount, currency)
                    .ok_or(Malformed::new("entry has a malformed amount"))?,
            ),
        };
        Ok(Recorded {
            actor: match &*wire.actor {
                NOBODY => None,
                actor => Some(PrincipalId::parse(actor)?),
            },
            at: time_from_text(&wire.at).ok_or(Malformed::new("entry has a malformed time"))?,
            epoch: decimal(&wire.epoch)
                .and_then(|epoch| u32::try_from(epoch).ok())
                .ok_or(Malformed::new("entry has a malformed epoch"))?,
            event: Event::parse(&wire.event)
                .ok_or(Malformed::new("entry has an event unknown to this version"))?,
            index: decimal(&wire.index).ok_or(Malformed::new("entry has a malformed index"))?,
            outcome: Outcome::parse(&wire.outcome)
                .ok_or(Malformed::new("entry has an unknown outcome"))?,
            prev: match &*wire.prev {
                "" => None,
                prev => Some(decimal(prev).ok_or(Malformed::new("entry has a malformed prev"))?),
            },
            site: site_from_text(&wire.site).ok_or(Malformed::new("entry has a malformed site"))?,
            token: match &*wire.token {
                "" => None,
                token => Some(TokenReference::parse(token)?),
            },
            transaction: match &*wire.transaction {
                "" => None,
                transaction => Some(TransactionId::parse(transaction)?),
            },
            amount,
            wire,
        })
    }

    /// The actor's name at that time; empty when absent.
    pub fn actor_name(&self) -> &str {
        &self.wire.actor_name
    }

    /// The actor's role at that time; empty when absent.
    pub fn role(&self) -> &str {
        &self.wire.role
    }

    /// The caller's network address, or `-`.
    pub fn origin(&self) -> &str {
        &self.wire.origin
    }

    /// The purpose of a redemption; empty when absent.
    pub fn purpose(&self) -> &str {
        &self.wire.purpose
    }

    /// The reason of a denial; empty when absent.
    pub fn reason(&self) -> &str {
        &self.wire.reason
    }

    /// The masked number; empty when absent.
    pub fn masked(&self) -> &str {
        &self.wire.masked
    }

    /// Fields released or asked for.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.wire.fields.iter().map(|field| &**field)
    }

    /// One fact of the event.
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.wire.detail.get(key).map(|value| &**value)
    }

    /// The id of the bucket in which it has to lie, in text (class and generation apart).
    pub fn bucket_text(&self) -> String {
        Bucket::text(self.site, self.at)
    }
}

/// Reads a decimal number in its only spelling: no sign, no leading zero.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let canonical = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

/// Reads a time in its only spelling: three decimals and `Z`.
pub(super) fn time_from_text(text: &str) -> Option<Timestamp> {
    // Checked before the parser, whose grammar is wider.
    if text.len() != 24 {
        return None;
    }
    Timestamp::parse(text).filter(|at| at.to_string() == text)
}

fn amount_from_text(amount: &str, currency: &str) -> Option<(i64, [u8; 3])> {
    let digits = amount.strip_prefix('-').unwrap_or(amount);
    decimal(digits)?;
    let minor: i64 = amount.parse().ok()?;
    if minor.to_string() != amount || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return None;
    }
    Some((minor, currency.as_bytes().try_into().ok()?))
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

    fn least() -> Entry {
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

    #[test]
    fn an_entry_is_read_back() {
        let entry = full();
        let json = entry.to_canonical_json();
        let recorded = Recorded::parse(&json).unwrap();
        assert!(recorded.actor == entry.actor && recorded.at == entry.at);
        assert_eq!(recorded.actor_name(), entry.actor_name);
        assert_eq!(recorded.epoch, entry.epoch);
        assert_eq!(recorded.index, entry.index);
        assert_eq!(recorded.event, entry.event);
        assert_eq!(recorded.outcome, entry.outcome);
        assert_eq!(recorded.prev, entry.prev);
        assert_eq!(recorded.site, entry.site);
        assert_eq!(recorded.token, entry.token);
        assert_eq!(recorded.transaction, entry.transaction);
        assert_eq!(recorded.amount, entry.amount);
        assert_eq!(recorded.role(), entry.role);
        assert_eq!(recorded.origin(), entry.origin);
        assert_eq!(recorded.purpose(), entry.purpose);
        assert_eq!(recorded.reason(), entry.reason);
        assert_eq!(recorded.masked(), entry.masked);
        assert_eq!(recorded.fields().collect::<Vec<_>>(), entry.fields);
        assert_eq!(recorded.detail("case"), Some("C"));
        assert_eq!(recorded.detail("none"), None);
        assert_eq!(recorded.bucket_text(), "log/nl/2026-11");
        assert_eq!(entry.bucket_text(), "log/nl/2026-11");
        let least = least().to_canonical_json();
        assert!(Recorded::parse(&least).unwrap().actor.is_none());
    }

    #[test]
    fn another_spelling_of_the_same_entry_is_refused() {
        let json = least().to_canonical_json();
        let replaced = |from: &str, to: &str| {
            assert!(json.contains(from), "{from}");
            json.replace(from, to)
        };
        for other in [
            replaced("\"v\":1", "\"v\":2"),
            replaced("\"v\":1", "\"v\":1.0"),
            replaced("\"v\":1", "\"v\": 1"),
            replaced("\"v\":1", "\"v\":1,\"v\":1"),
            replaced("\"v\":1", "\"w\":\"\",\"v\":1"),
            replaced("\"v\":1", "\"transaction\":\"\",\"v\":1"),
            replaced("\"v\":1", "\"token\":\"tkr_x\",\"v\":1"),
            replaced("\"index\":\"0\"", "\"index\":\"00\""),
            replaced("\"index\":\"0\"", "\"index\":\"+0\""),
            replaced("\"index\":\"0\"", "\"index\":\"\""),
            replaced("\"index\":\"0\"", "\"index\":0"),
            replaced("\"index\":\"0\"", "\"index\":\"18446744073709551616\""),
            replaced("\"epoch\":\"0\"", "\"epoch\":\"4294967296\""),
            replaced(".000Z", "Z"),
            replaced(".000Z", ".000+00:00"),
            replaced("1970-01-01T", "1970-01-01 "),
            replaced("logging_started", "logging_STARTED"),
            replaced("\"outcome\":\"ok\"", "\"outcome\":\"OK\""),
            replaced("\"site\":\"-\"", "\"site\":\"--\""),
            replaced("\"site\":\"-\"", "\"site\":\"\\u002d\""),
            replaced("\"actor\":\"-\",", ""),
            replaced("\"actor\":\"-\"", "\"actor\":\"-\",\"amount\":\"1\""),
            replaced(
                "\"actor\":\"-\"",
                "\"actor\":\"-\",\"amount\":\"-0\",\"currency\":\"EUR\"",
            ),
            format!("{json} "),
            format!(" {json}"),
        ] {
            let other = if other.contains("\"amount\":\"-0\"") {
                // The currency in its canonical place.
                other
                    .replace(",\"currency\":\"EUR\"", "")
                    .replace(",\"epoch\"", ",\"currency\":\"EUR\",\"epoch\"")
            } else {
                other
            };
            assert!(Recorded::parse(&other).is_err(), "{other}");
        }
        for cut in 0..json.len() {
            assert!(Recorded::parse(&json[..cut]).is_err());
        }
    }

    #[test]
    fn details_twice_or_out_of_order_are_refused() {
        let mut entry = least();
        entry.detail = BTreeMap::from([("a", "1".to_owned()), ("b", "2".to_owned())]);
        let json = entry.to_canonical_json();
        assert!(Recorded::parse(&json).is_ok());
        for detail in [r#"{"b":"2","a":"1"}"#, r#"{"a":"1","a":"1","b":"2"}"#, "{}"] {
            let other = json.replace(r#"{"a":"1","b":"2"}"#, detail);
            assert_ne!(other, json);
            assert!(Recorded::parse(&other).is_err(), "{other}");
        }
    }
}
