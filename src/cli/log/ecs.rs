//! Entries as the Elastic Common Schema has events (`docs/operations.md`, "Watching"), for a SIEM.

use crate::ledger::{Event, Outcome, Recorded};
use serde_json::{Map, Value, json};
use std::net::{IpAddr, SocketAddr};

/// The version of the schema whose names these are.
pub const VERSION: &str = "8.17.0";

/// An entry as one document. `leaf` is its leaf's hash, in base64.
pub fn document(entry: &Recorded<'_>, leaf: &str) -> Value {
    let (category, types) = kind(entry.event);
    let mut types: Vec<&str> = types.to_vec();
    if category == "api" {
        types.push(match entry.outcome {
            Outcome::Denied => "denied",
            Outcome::Ok | Outcome::Failed => "allowed",
        });
    }
    let alert = matches!(
        entry.event,
        Event::AlarmRaised | Event::Integrity | Event::ClockStep | Event::DenialsSummed
    );
    let mut event = json!({
        "kind": if alert { "alert" } else { "event" },
        "category": [category],
        "type": types,
        "action": entry.event.as_str(),
        "outcome": match entry.outcome {
            Outcome::Ok => "success",
            Outcome::Denied | Outcome::Failed => "failure",
        },
        "id": format!("{}-{}", entry.epoch, entry.index),
        "sequence": entry.index,
        "hash": leaf,
        "module": "payvault",
        "dataset": "payvault.ledger",
    });
    if !entry.reason().is_empty() {
        event["reason"] = json!(entry.reason());
    }
    let mut document = json!({
        "@timestamp": entry.at.to_string(),
        "ecs": {"version": VERSION},
        "event": event,
        "message": message(entry),
        "observer": {"vendor": "payvault", "product": "payvault", "type": "vault"},
        "payvault": own(entry),
    });
    if let Some(actor) = entry.actor {
        document["user"] = json!({
            "id": actor.to_string(),
            "name": entry.actor_name(),
            "roles": [entry.role()],
        });
    }
    if let Some(source) = source(entry.origin()) {
        document["source"] = source;
    }
    document
}

/// What the schema has no name for.
fn own(entry: &Recorded<'_>) -> Value {
    let mut own = Map::new();
    own.insert("epoch".into(), json!(entry.epoch));
    own.insert("site".into(), json!(entry.site.as_str()));
    let texts = [
        ("masked", entry.masked().to_owned()),
        ("purpose", entry.purpose().to_owned()),
        (
            "transaction",
            entry
                .transaction
                .map(|id| id.to_string())
                .unwrap_or_default(),
        ),
        (
            "token",
            entry.token.map(|id| id.to_string()).unwrap_or_default(),
        ),
    ];
    for (name, text) in texts {
        if !text.is_empty() {
            own.insert(name.into(), json!(text));
        }
    }
    let fields: Vec<&str> = entry.fields().collect();
    if !fields.is_empty() {
        own.insert("fields".into(), json!(fields));
    }
    if let Some(prev) = entry.prev {
        own.insert("prev".into(), json!(prev));
    }
    if let Some((minor, currency)) = entry.amount {
        let currency = String::from_utf8_lossy(&currency).into_owned();
        own.insert(
            "amount".into(),
            json!({"minor": minor, "currency": currency}),
        );
    }
    let detail: Map<String, Value> = entry
        .details()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    if !detail.is_empty() {
        own.insert("detail".into(), Value::Object(detail));
    }
    Value::Object(own)
}

fn source(origin: &str) -> Option<Value> {
    if let Ok(address) = origin.parse::<SocketAddr>() {
        return Some(json!({
            "address": origin,
            "ip": address.ip().to_canonical().to_string(),
            "port": address.port(),
        }));
    }
    if let Ok(ip) = origin.parse::<IpAddr>() {
        return Some(json!({"address": origin, "ip": ip.to_canonical().to_string()}));
    }
    (origin != "-").then(|| json!({"address": origin}))
}

/// For a person who reads along.
fn message(entry: &Recorded<'_>) -> String {
    let who = match (entry.actor, entry.actor_name()) {
        (Some(_), name) => name,
        (None, _) if entry.origin() == "-" => "the vault",
        (None, _) => "an unknown caller",
    };
    let mut message = format!("{} {}: {who}", entry.event.as_str(), entry.outcome.as_str());
    for more in [entry.reason(), entry.detail("alarm").unwrap_or_default()] {
        if !more.is_empty() {
            message.push_str(", ");
            message.push_str(more);
        }
    }
    message
}

/// `event.category` and `event.type` of an event; to those of the category `api` its outcome is
/// added.
fn kind(event: Event) -> (&'static str, &'static [&'static str]) {
    match event {
        Event::LoggingStarted => ("process", &["start"]),
        Event::LoggingStopped => ("process", &["end"]),
        Event::VaultCreated | Event::EpochOpened => ("configuration", &["creation"]),
        Event::Unsealed
        | Event::Sealed
        | Event::RestoreConfirmed
        | Event::ResealBegun
        | Event::Resealed => ("configuration", &["change"]),
        Event::KeyCreated => ("configuration", &["creation"]),
        Event::DestructionPending | Event::KeyRewrapStarted | Event::KeyRewrapFinished => {
            ("configuration", &["info"])
        }
        Event::KeyRotated | Event::KeyCompromised | Event::HoldPlaced | Event::HoldLifted => {
            ("configuration", &["change"])
        }
        Event::KeyDestroyed | Event::KeySupersededDestroyed => ("configuration", &["deletion"]),
        Event::Login | Event::UnsealRefused | Event::ShareAcknowledged => {
            ("authentication", &["start"])
        }
        Event::Logout => ("authentication", &["end"]),
        Event::HandshakesRefused => ("authentication", &["info"]),
        Event::PrincipalCreated => ("iam", &["user", "creation"]),
        Event::PrincipalDisabled | Event::SecretRotated => ("iam", &["user", "change"]),
        Event::AllowanceSet | Event::ActionRequested | Event::ActionApproved => {
            ("iam", &["admin", "change"])
        }
        Event::TransactionOpened | Event::Tokenized => ("api", &["creation"]),
        Event::TransactionRead
        | Event::Redeemed
        | Event::RedeemReplayed
        | Event::TokenDescribed
        | Event::LogExported
        | Event::LogTailed => ("api", &["access"]),
        Event::OutcomeReported | Event::TransactionClosed => ("api", &["change"]),
        Event::ErasureRequested | Event::TokenRevoked => ("api", &["deletion"]),
        Event::BackupBegun => ("database", &["access"]),
        Event::BackupEnded => ("database", &["info"]),
        Event::Integrity => ("database", &["error"]),
        Event::ClockStep | Event::ClockConfirmed => ("host", &["change"]),
        Event::DenialsSummed => ("intrusion_detection", &["denied"]),
        Event::AlarmRaised => ("intrusion_detection", &["info"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{PrincipalId, Site};
    use crate::ledger::Entry;

    fn of(entry: &Entry) -> Value {
        let json = entry.to_canonical_json();
        document(&Recorded::parse(&json).unwrap(), "leaf")
    }

    #[test]
    fn a_denied_redemption_has_the_names_that_the_schema_has() {
        let mut entry = Entry::new(
            Event::Redeemed,
            Outcome::Denied,
            Site::parse("nl").unwrap(),
            Timestamp(1_795_459_455_007),
        );
        entry.actor = Some(PrincipalId([1; 16]));
        entry.actor_name = "acme".to_owned();
        entry.role = "processor";
        entry.epoch = 2;
        entry.index = 41;
        entry.origin = "192.0.2.7:4711".to_owned();
        entry.reason = "USED_UP";
        entry.purpose = "CAPTURE";
        entry.fields = vec!["NUMBER"];
        entry.amount = Some((1999, *b"EUR"));
        let document = of(&entry);
        assert_eq!(document["@timestamp"], "2026-11-23T18:44:15.007Z");
        let event = &document["event"];
        assert_eq!(event["action"], "redeemed");
        assert_eq!(event["category"], json!(["api"]));
        assert_eq!(event["type"], json!(["access", "denied"]));
        assert_eq!(event["outcome"], "failure");
        assert_eq!(event["reason"], "USED_UP");
        assert_eq!(
            (&event["id"], &event["sequence"]),
            (&json!("2-41"), &json!(41))
        );
        assert_eq!(document["user"]["name"], "acme");
        assert_eq!(document["source"]["ip"], "192.0.2.7");
        assert_eq!(document["source"]["port"], 4711);
        assert_eq!(document["payvault"]["amount"]["minor"], 1999);
        assert_eq!(document["message"], "redeemed denied: acme, USED_UP");
    }

    #[test]
    fn what_the_vault_does_by_itself_has_no_user_and_no_source() {
        let mut entry = Entry::new(Event::AlarmRaised, Outcome::Ok, Site::VAULT, Timestamp(0));
        entry.detail.insert("alarm", "unusual_volume".to_owned());
        let document = of(&entry);
        assert_eq!(document["event"]["kind"], "alert");
        assert!(document.get("user").is_none() && document.get("source").is_none());
        assert_eq!(document["payvault"]["detail"]["alarm"], "unusual_volume");
        assert_eq!(
            document["message"],
            "alarm_raised ok: the vault, unusual_volume"
        );
    }

    /// The schema's own lists, of the categories that are used here (ECS 8.17).
    #[test]
    fn each_event_is_of_a_category_and_a_type_that_go_together() {
        for event in Event::ALL {
            let (category, types) = kind(*event);
            let expected: &[&str] = match category {
                "api" => &["access", "change", "creation", "deletion"],
                "authentication" => &["start", "end", "info"],
                "configuration" => &["access", "change", "creation", "deletion", "info"],
                "database" => &["access", "change", "info", "error"],
                "host" => &["access", "change", "end", "info", "start"],
                "iam" => &[
                    "admin", "change", "creation", "deletion", "group", "info", "user",
                ],
                "intrusion_detection" => &["allowed", "denied", "info"],
                "process" => &["access", "change", "end", "info", "start"],
                other => panic!("{other}"),
            };
            for kind in types {
                assert!(expected.contains(kind), "{}: {kind}", event.as_str());
            }
        }
    }
}
