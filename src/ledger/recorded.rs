//! Entries read back. What is not byte for byte an entry in canonical JSON is refused, so an entry
//! has one spelling and one hash.

use super::bucket::{Bucket, site_from_text};
use super::entry::{NOBODY, Outcome, SCHEMA, Wire};
use super::event::Event;
use crate::clock::Timestamp;
use crate::codec::Malformed;
use crate::ids::{PrincipalId, Site, TokenReference, TransactionId};

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
    /// When `json` is not byte for byte what [`to_canonical_json`](super::Entry::to_canonical_json) writes for some entry:
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

    /// All facts of the event, in the order of their names.
    pub fn details(&self) -> impl Iterator<Item = (&str, &str)> {
        let facts = self.wire.detail.iter();
        facts.map(|(name, value)| (&**name, &**value))
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
mod tests {
    use super::*;
    use crate::ledger::entry::tests::{full, least};
    use std::collections::BTreeMap;

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
