//! Watching the ledger through the wire: what comes, in which order, from where, and until when.

use crate::entries::of_export;
use crate::house::{Serving, Storing, request_id, with_session};
use crate::road::{party, terms};
use crate::wire::reason;
use payvault::api::proto as pb;
use std::time::{Duration, Instant};
use tonic::{Code, Status, Streaming};

fn asked(from: Option<u64>, follow: bool) -> pb::TailLogRequest {
    pb::TailLogRequest {
        from_index: from,
        follow,
        reason: "watching".to_owned(),
        ticket: "SEC-1".to_owned(),
        ..Default::default()
    }
}

async fn tail(
    serving: &Serving,
    session: &str,
    asked: pb::TailLogRequest,
) -> Result<Streaming<pb::TailLogResponse>, Status> {
    let request = with_session(asked, session);
    let begun = serving.ledger("auditor").tail_log(request).await?;
    Ok(begun.into_inner())
}

/// The next message; there is one within five seconds and a little.
async fn next(tail: &mut Streaming<pb::TailLogResponse>) -> Result<pb::TailLogResponse, Status> {
    let message = tokio::time::timeout(Duration::from_secs(8), tail.message());
    let message = message.await.expect("it is never silent for long")?;
    Ok(message.expect("it goes on"))
}

/// Everything up to the end.
async fn all(mut tail: Streaming<pb::TailLogResponse>) -> (Vec<u8>, u64) {
    let (mut lines, mut next) = (Vec::new(), 0);
    while let Some(message) = tail.message().await.expect("it goes on") {
        assert!(message.next_index >= next && message.next_index <= message.checkpoint_size);
        lines.extend_from_slice(&message.lines);
        next = message.next_index;
    }
    (lines, next)
}

fn indices(lines: &[u8]) -> Vec<u64> {
    let index = |entry: crate::entries::Entry| entry.get("index").parse().expect("a number");
    of_export(lines).into_iter().map(index).collect()
}

async fn open(serving: &Serving) {
    let request = pb::OpenTransactionRequest {
        request_id: request_id(),
        terms: Some(terms(vec![party(serving, "processor-a", 1)])),
        want_receipt: false,
    };
    let opened = serving.vault("portal").open_transaction(request).await;
    opened.expect("opened");
}

/// Refusals, each with its entry.
async fn refusals(serving: &Serving, count: usize) {
    let mut calls = tokio::task::JoinSet::new();
    for worker in 0..64 {
        let mut client = serving.vault("portal");
        calls.spawn(async move {
            for _ in (worker..count).step_by(64) {
                let request = pb::GetTransactionRequest {
                    transaction: "txn_bcdfghjklmnpqrstvwxzbcdfghjklmnpqr".to_owned(),
                };
                client.get_transaction(request).await.expect_err("unknown");
            }
        });
    }
    while let Some(done) = calls.join_next().await {
        done.expect("refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_shows_what_an_export_does_and_goes_on_where_it_was() {
    let mut serving = Serving::start().await;
    let session = serving.login("auditor").await.expect("a session");
    open(&serving).await;
    let first = tail(&serving, &session, asked(Some(0), false)).await;
    let (lines, next_index) = all(first.expect("begun")).await;
    let begin = indices(&lines);
    // Its own entry is its last.
    assert_eq!(begin, (0..next_index).collect::<Vec<_>>());
    let seen = of_export(&lines);
    assert_eq!(seen.last().expect("entries").get("event"), "log_tailed");
    let export = serving.export().await;
    let export = String::from_utf8(export).expect("UTF-8");
    for line in std::str::from_utf8(&lines).expect("UTF-8").lines() {
        assert!(export.contains(line), "an export has the very same line");
    }
    open(&serving).await;
    let rest = tail(&serving, &session, asked(Some(next_index), false)).await;
    let (lines, end) = all(rest.expect("begun")).await;
    assert_eq!(indices(&lines), (next_index..end).collect::<Vec<_>>());
    // Without a beginning: the last ten.
    let last = tail(&serving, &session, asked(None, false)).await;
    let (lines, end) = all(last.expect("begun")).await;
    assert_eq!(indices(&lines), (end - 11..end).collect::<Vec<_>>());

    let beyond = asked(Some(serving.size() + 9), true);
    let refused = tail(&serving, &session, beyond).await.expect_err("none");
    assert_eq!(reason(&refused), "INVALID_REQUEST");
    let mut nameless = asked(None, true);
    nameless.reason.clear();
    let refused = tail(&serving, &session, nameless).await.expect_err("no");
    assert_eq!(reason(&refused), "INVALID_REQUEST");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_to_come_comes_when_a_checkpoint_covers_it() {
    let mut serving = Serving::start().await;
    let session = serving.login("auditor").await.expect("a session");
    let end = serving.size();
    let mut only = asked(Some(end), true);
    only.kinds = vec!["transaction_opened".to_owned(), "log_tailed".to_owned()];
    let mut watching = tail(&serving, &session, only).await.expect("begun");
    let mut lines = Vec::new();
    let mut quiet = 0;
    for round in 0..3 {
        open(&serving).await;
        // Not of the kinds that were asked for.
        refusals(&serving, 1).await;
        while indices(&lines).len() < round + 2 {
            let message = next(&mut watching).await.expect("it goes on");
            let published = serving.gate.vault().expect("open").published();
            let published = published.expect("published").checkpoint.size;
            let covered = message.next_index <= message.checkpoint_size;
            assert!(covered || message.lines.is_empty());
            assert!(
                message.checkpoint_size <= published,
                "nothing before its checkpoint"
            );
            quiet += usize::from(message.lines.is_empty());
            lines.extend_from_slice(&message.lines);
        }
    }
    let events: Vec<String> = of_export(&lines).iter().map(|e| e.brief()).collect();
    let mut expected = vec!["transaction_opened".to_owned(); 4];
    expected[0] = "log_tailed".to_owned();
    assert_eq!(events, expected);
    // Nothing more is to come: that is said, too.
    let message = next(&mut watching).await.expect("it goes on");
    assert!(message.lines.is_empty(), "{quiet}");
    // A third one at once is refused, and it ends with the vault.
    let _second = tail(&serving, &session, asked(None, true))
        .await
        .expect("begun");
    let third = tail(&serving, &session, asked(None, true)).await;
    assert_eq!(reason(&third.expect_err("two at once")), "TOO_MANY");
    serving.stop().await;
    loop {
        match next(&mut watching).await {
            // What the stop itself made.
            Ok(_) => {}
            Err(ended) => break assert_eq!(ended.code(), Code::Unavailable, "{ended}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_rests_misses_nothing_and_holds_up_nobody() {
    let mut serving = Serving::start().await;
    let session = serving.login("auditor").await.expect("a session");
    let mut watching = tail(&serving, &session, asked(Some(0), true))
        .await
        .expect("begun");
    refusals(&serving, 600).await;
    let end = serving.size();
    let mut lines = Vec::new();
    let mut next_index = 0;
    while next_index < end {
        let message = next(&mut watching).await.expect("it goes on");
        assert!(message.lines.len() <= 48 << 10, "{}", message.lines.len());
        lines.extend_from_slice(&message.lines);
        next_index = message.next_index;
    }
    assert_eq!(indices(&lines), (0..next_index).collect::<Vec<_>>());
    drop(watching);
    serving.stop().await;
}

/// Reads until it ends; within five seconds, and with what.
async fn ends<M>(stream: &mut Streaming<M>, since: Instant) -> (Status, usize) {
    let mut more = 0;
    let ended = loop {
        match stream.message().await {
            Ok(Some(_)) => more += 1,
            Ok(None) => panic!("it ended as if it were whole, after {more} more"),
            Err(ended) => break ended,
        }
    };
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
    (ended, more)
}

async fn export(serving: &Serving, session: &str) -> Streaming<pb::ExportLogResponse> {
    let asked = pb::ExportLogRequest {
        reason: "audit".to_owned(),
        ticket: "AUD-1".to_owned(),
        ..Default::default()
    };
    let request = with_session(asked, session);
    let begun = serving.ledger("auditor").export_log(request).await;
    begun.expect("begun").into_inner()
}

/// More than a connection's windows hold.
const LONG: usize = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_agreement_that_lapses_ends_exports_and_tails_and_the_ledger_says_so() {
    let mut serving = Serving::start_with(Storing::Memory, |principal| {
        if principal.name == "auditor"
            && let Some(agreement) = &mut principal.agreement
        {
            agreement.valid_until = principal.created_at.plus_ms(60_000);
        }
    })
    .await;
    let session = serving.login("auditor").await.expect("a session");
    refusals(&serving, LONG).await;
    let mut exporting = export(&serving, &session).await;
    let mut watching = tail(&serving, &session, asked(None, true))
        .await
        .expect("begun");
    exporting
        .message()
        .await
        .expect("it goes on")
        .expect("a piece");
    next(&mut watching).await.expect("it goes on");
    serving.clock.pass_ms(61_000);
    let lapsed = Instant::now();
    let (ended, _) = ends(&mut watching, lapsed).await;
    assert_eq!(reason(&ended), "AGREEMENT_NOT_IN_FORCE");
    let (ended, _) = ends(&mut exporting, lapsed).await;
    assert_eq!(reason(&ended), "AGREEMENT_NOT_IN_FORCE");
    let said: Vec<String> = serving.entries().iter().map(|e| e.brief()).collect();
    for event in ["log_exported", "log_tailed"] {
        let line = format!("{event} denied AGREEMENT_NOT_IN_FORCE");
        assert_eq!(said.iter().filter(|s| **s == line).count(), 1, "{line}");
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_who_is_disabled_reads_no_further_and_the_ledger_says_so() {
    let mut serving = Serving::start().await;
    let session = serving.login("auditor").await.expect("a session");
    let operator = serving.login("operator").await.expect("a session");
    let mut watching = tail(&serving, &session, asked(None, true))
        .await
        .expect("begun");
    next(&mut watching).await.expect("it goes on");
    let request = pb::DisablePrincipalRequest {
        principal: serving.id("auditor"),
    };
    let request = with_session(request, &operator);
    serving
        .admin("operator")
        .disable_principal(request)
        .await
        .expect("disabled");
    let since = Instant::now();
    let (ended, _) = ends(&mut watching, since).await;
    assert_eq!(reason(&ended), "PRINCIPAL_DISABLED");
    let entries = serving.entries();
    let line = "log_tailed denied PRINCIPAL_DISABLED";
    let said: Vec<_> = entries.iter().filter(|e| e.brief() == line).collect();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].get("actor_name"), "auditor");
    serving.stop().await;
}
