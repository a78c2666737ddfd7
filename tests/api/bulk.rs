//! Streams: many requests on one call, each judged as its own call would be.

use crate::house::{Serving, VaultClient, request_id, with_session};
use crate::road::{card, open, redemption, tokenize};
use crate::wire::{answer, only, reason, taped};
use payvault::api::proto as pb;
use payvault::clock::DAY_MS;
use payvault::limits;
use payvault::payment::Token;
use payvault::policy::Rpc;
use payvault::store::memory::{Fault, Faults};
use prost::Message;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// What became of an item.
type Result<T> = std::result::Result<T, tonic_types::Status>;

fn tokenized(results: pb::TokenizeStreamResponse) -> Vec<Result<pb::TokenizeResponse>> {
    use pb::tokenize_result::Outcome;
    let one = |result: pb::TokenizeResult| match result.outcome.expect("an outcome") {
        Outcome::Tokenized(reply) => Ok(reply),
        Outcome::Error(error) => Err(error),
    };
    results.results.into_iter().map(one).collect()
}

fn redeemed(results: pb::RedeemStreamResponse) -> Vec<Result<pb::RedeemResponse>> {
    use pb::redeem_result::Outcome;
    let one = |result: pb::RedeemResult| match result.outcome.expect("an outcome") {
        Outcome::Redeemed(reply) => Ok(reply),
        Outcome::Error(error) => Err(error),
    };
    results.results.into_iter().map(one).collect()
}

/// The reason inside of a result's error.
fn reason_of(error: &tonic_types::Status) -> String {
    reason(&Status::with_details(
        Code::from_i32(error.code),
        &error.message,
        error.encode_to_vec().into(),
    ))
}

fn request(transaction: &str) -> pb::TokenizeRequest {
    pb::TokenizeRequest {
        request_id: request_id(),
        transaction: transaction.to_owned(),
        details: Some(card()),
        replaces: String::new(),
        want_receipt: false,
        sealed_details: String::new(),
    }
}

/// A stream of redemptions that a test feeds by hand.
struct Line {
    send: mpsc::Sender<pb::RedeemStreamRequest>,
    receive: Streaming<pb::RedeemStreamResponse>,
}

impl Line {
    async fn open(serving: &Serving, who: &str) -> std::result::Result<Line, Status> {
        Line::within(serving, who, None).await
    }

    async fn within(
        serving: &Serving,
        who: &str,
        time: Option<Duration>,
    ) -> std::result::Result<Line, Status> {
        Line::over(serving.vault(who), time).await
    }

    async fn over(
        mut vault: VaultClient,
        time: Option<Duration>,
    ) -> std::result::Result<Line, Status> {
        let (send, items) = mpsc::channel(1_000);
        let mut request = tonic::Request::new(ReceiverStream::new(items));
        if let Some(time) = time {
            request.set_timeout(time);
        }
        let receive = vault.redeem_stream(request).await?;
        Ok(Line {
            send,
            receive: receive.into_inner(),
        })
    }

    async fn send(&self, items: Vec<pb::RedeemRequest>) {
        let message = pb::RedeemStreamRequest { items };
        self.send.send(message).await.expect("it is read");
    }

    async fn answer(&mut self) -> Vec<Result<pb::RedeemResponse>> {
        let message = self.next().await.expect("no end");
        redeemed(message.expect("an answer"))
    }

    /// What comes next; that nothing does is a failure, too.
    async fn next(&mut self) -> std::result::Result<Option<pb::RedeemStreamResponse>, Status> {
        let next = tokio::time::timeout(Duration::from_secs(60), self.receive.message());
        next.await.expect("an answer, or an end")
    }

    /// The stream's end, before which nothing more comes.
    async fn end(&mut self) -> Status {
        match self.next().await {
            Err(status) => status,
            Ok(Some(_)) => panic!("an answer"),
            Ok(None) => Status::ok(""),
        }
    }
}

async fn disable(serving: &Serving, who: &str) {
    let session = serving.login("operator").await.expect("a session");
    let request = pb::DisablePrincipalRequest {
        principal: who.to_owned(),
    };
    let disabled = serving
        .admin("operator")
        .disable_principal(with_session(request, &session))
        .await;
    disabled.expect("disabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_has_its_result_in_order_and_a_bad_one_fails_alone_as_its_call_would() {
    let mut serving = Serving::start().await;
    let mut transactions = Vec::new();
    for _ in 0..6 {
        transactions.push(open(&serving, 5).await);
    }
    let bad_number = |mut request: pb::TokenizeRequest| {
        let Some(pb::payment_details::Kind::Card(card)) =
            request.details.as_mut().and_then(|d| d.kind.as_mut())
        else {
            panic!("not a card");
        };
        card.number = "4242424242424241".to_owned();
        request
    };
    let closed = transactions.pop().expect("six");
    serving
        .vault("portal")
        .close_transaction(pb::CloseTransactionRequest {
            transaction: closed.clone(),
        })
        .await
        .expect("closed");
    let nowhere = payvault::ids::TransactionId::random().to_string();
    // Every third is bad, in a way of its own.
    let bad = [
        bad_number(request(&transactions[0])),
        request(&nowhere),
        request(&closed),
        request("4242424242424242"),
    ];
    let mut items: Vec<pb::TokenizeRequest> = Vec::new();
    for (number, transaction) in transactions.iter().cycle().take(8).enumerate() {
        items.push(request(transaction));
        if number % 2 == 1 {
            items.push(bad[number / 2].clone());
        }
    }
    let messages: Vec<_> = items
        .chunks(5)
        .map(|items| pb::TokenizeStreamRequest {
            items: items.to_vec(),
        })
        .collect();
    let sizes: Vec<_> = messages.iter().map(|m| m.items.len()).collect();
    let size = serving.size();
    let mut stream = serving
        .vault("portal")
        .tokenize_stream(tokio_stream::iter(messages))
        .await
        .expect("a stream")
        .into_inner();
    let mut results = Vec::new();
    for size in sizes {
        let message = stream.message().await.expect("no end").expect("an answer");
        assert_eq!(message.results.len(), size, "one message in, one out");
        results.extend(tokenized(message));
    }
    assert!(stream.message().await.expect("the end").is_none());
    assert_eq!(serving.size(), size + items.len() as u64, "an entry each");
    assert_eq!(results.len(), items.len());
    let mut tokens = Vec::new();
    for (item, result) in items.iter().zip(&results) {
        let alone = serving.vault("portal").tokenize(item.clone()).await;
        match (result, alone) {
            (Ok(in_stream), Ok(alone)) => {
                // The same request: done once, whichever way it comes.
                let alone = alone.into_inner();
                assert!(!in_stream.replayed && alone.replayed);
                assert_eq!(in_stream.token, alone.token);
                tokens.push((item.transaction.clone(), alone.token));
            }
            (Err(in_stream), Err(alone)) => {
                assert_eq!(in_stream.encode_to_vec(), alone.details(), "{alone}");
                assert_eq!(in_stream.code, i32::from(alone.code()));
            }
            (result, alone) => panic!("{} but {}", result.is_ok(), alone.is_ok()),
        }
    }
    assert_eq!(tokens.len(), 8);

    // The other way, and with a call before the stream.
    let made_up = Token::random().to_text().expose().to_owned();
    let mut items: Vec<pb::RedeemRequest> = tokens
        .iter()
        .map(|(transaction, token)| redemption(transaction, token))
        .collect();
    items.insert(1, redemption(&tokens[0].0, &made_up));
    items.insert(3, redemption(&nowhere, &made_up));
    let mut not_granted = redemption(&tokens[0].0, &tokens[0].1);
    not_granted.purpose = pb::Purpose::Payout.into();
    items.push(not_granted);
    let before = serving.vault("processor-a").redeem(items[0].clone()).await;
    let before = before.expect("released").into_inner();
    let mut line = Line::open(&serving, "processor-a").await.expect("one");
    line.send(items.clone()).await;
    let results = line.answer().await;
    let first = results[0].as_ref().expect("released");
    assert!(first.replayed && !before.replayed);
    assert_eq!(first.uses_remaining, before.uses_remaining);
    let mut refused = Vec::new();
    for (item, result) in items.iter().zip(&results) {
        let alone = serving.vault("processor-a").redeem(item.clone()).await;
        match (result, alone) {
            (Ok(in_stream), Ok(alone)) => {
                assert!(alone.get_ref().replayed);
                assert!(in_stream.details == alone.get_ref().details);
                assert_eq!(in_stream.last_four, "4242");
            }
            (Err(in_stream), Err(alone)) => {
                assert_eq!(in_stream.encode_to_vec(), alone.details(), "{alone}");
                refused.push(reason(&alone));
            }
            (result, alone) => panic!("{} but {}", result.is_ok(), alone.is_ok()),
        }
    }
    assert_eq!(refused, ["NOT_TIED", "NOT_TIED", "PURPOSE_NOT_GRANTED"]);
    drop(line.send);
    assert!(line.receive.message().await.expect("the end").is_none());
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_something_untied_comes_at_a_beat_and_what_is_behind_it_is_done_meanwhile() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 100).await;
    let token = tokenize(&serving, &transaction).await;
    let made_up = Token::random().to_text().expose().to_owned();
    let beat = Duration::from_millis(limits::NOT_TIED_BEAT_MS);
    let mut overtaken = 0;
    // On a busy machine the work behind it may take as long as the beat.
    for _ in 0..20 {
        let mut line = Line::open(&serving, "processor-a").await.expect("one");
        let size = serving.size();
        let begin = Instant::now();
        let untied = redemption(&transaction, &made_up);
        let mut tied = redemption(&transaction, &token);
        tied.request_id = vec![9; 16];
        line.send(vec![untied, tied.clone()]).await;
        line.send(vec![tied]).await;
        // Three items, three entries: all are done before the first answer is given.
        while serving.size() < size + 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let done = begin.elapsed();
        let first = line.answer().await;
        let answered = begin.elapsed();
        assert!(answered >= beat, "{answered:?}");
        assert_eq!(
            reason_of(first[0].as_ref().expect_err("untied")),
            "NOT_TIED"
        );
        assert!(first[1].is_ok(), "it waits with the untied one");
        assert!(line.answer().await[0].is_ok());
        overtaken += usize::from(done < beat);
        if overtaken > 0 {
            break;
        }
    }
    assert!(overtaken > 0, "work waits for beats");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_broken_message_is_answered_before_the_end() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 5).await;
    let token = tokenize(&serving, &transaction).await;
    let mut line = Line::open(&serving, "processor-a").await.expect("one");
    line.send(vec![redemption(&transaction, &token)]).await;
    line.send(Vec::new()).await;
    line.send(vec![redemption(&transaction, &token)]).await;
    assert!(line.answer().await[0].is_ok());
    let end = line.end().await;
    assert_eq!(end.code(), Code::InvalidArgument, "{end}");
    assert_eq!(reason(&end), "INVALID_REQUEST");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_principal_and_its_certificate() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 5).await;
    let token = tokenize(&serving, &transaction).await;
    // Idle, and it hears of it all the same.
    let mut line = Line::open(&serving, "processor-a").await.expect("one");
    line.send(vec![redemption(&transaction, &token)]).await;
    assert!(line.answer().await[0].is_ok());
    disable(&serving, "processor-a").await;
    let end = line.end().await;
    assert_eq!(end.code(), Code::Unauthenticated, "{end}");
    assert_eq!(reason(&end), "PRINCIPAL_DISABLED");
    let entries = serving.entries();
    let last = entries.last().expect("entries");
    assert_eq!(last.get("reason"), "PRINCIPAL_DISABLED");
    assert_eq!(last.get("actor_name"), "processor-a");

    // A certificate that expires meanwhile. The other clock moves with it, lest the vault wonder.
    let mut line = Line::open(&serving, "processor-b").await.expect("one");
    serving.clock.pass_ms(400 * DAY_MS);
    let end = line.end().await;
    assert_eq!(end.code(), Code::Unauthenticated, "{end}");
    assert_eq!(reason(&end), "NO_CERTIFICATE_IDENTITY");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_in_time() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 5).await;
    let token = tokenize(&serving, &transaction).await;
    let once = |mut request: pb::RedeemRequest| {
        request.request_id = vec![5; 16];
        request
    };
    // Idle.
    let mut line = Line::open(&serving, "processor-a").await.expect("one");
    line.send(vec![once(redemption(&transaction, &token))])
        .await;
    assert!(line.answer().await[0].is_ok());
    serving.clock.pass_ms(limits::STREAM_IDLE_MS_MAX);
    let end = line.end().await;
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert_eq!(reason(&end), "STREAM_ENDED");

    // Busy, and past its longest time: what was read is answered.
    let mut line = Line::open(&serving, "processor-a").await.expect("one");
    let mut passed = 0;
    while passed <= limits::STREAM_MS_MAX {
        line.send(vec![once(redemption(&transaction, &token))])
            .await;
        match line.receive.message().await {
            Ok(Some(message)) => assert!(redeemed(message)[0].is_ok()),
            Ok(None) => panic!("no reason"),
            Err(status) => panic!("after {passed} ms: {status}"),
        }
        serving.clock.pass_ms(limits::STREAM_IDLE_MS_MAX / 2);
        passed += limits::STREAM_IDLE_MS_MAX / 2;
    }
    assert_eq!(reason(&line.end().await), "STREAM_ENDED");

    // The client's own deadline, past the longest of other calls and before it.
    let longest = Duration::from_millis(limits::DEADLINE_MS_MAX);
    let line = Line::within(&serving, "processor-a", Some(2 * longest)).await;
    let mut line = line.expect("one");
    serving.clock.pass_ms(limits::DEADLINE_MS_MAX);
    line.send(vec![once(redemption(&transaction, &token))])
        .await;
    assert!(line.answer().await[0].is_ok(), "not over yet");
    serving.clock.pass_ms(limits::DEADLINE_MS_MAX);
    let end = line.end().await;
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end}");
    assert_eq!(reason(&end), "TIMED_OUT");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_stops_answers_what_it_read_and_says_so() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 5).await;
    let token = tokenize(&serving, &transaction).await;
    let mut line = Line::open(&serving, "processor-a").await.expect("one");
    line.send(vec![redemption(&transaction, &token)]).await;
    assert!(line.answer().await[0].is_ok());
    let ends = tokio::spawn(async move {
        let end = line.end().await;
        (line, end)
    });
    let begin = Instant::now();
    serving.stop().await;
    let drained = Duration::from_millis(limits::DRAIN_MS_MAX);
    assert!(begin.elapsed() < drained, "it was cut");
    let (_, end) = ends.await.expect("no panic");
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert_eq!(reason(&end), "DRAINING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_has_so_many_streams_at_once_and_gets_them_back() {
    let mut serving = Serving::start().await;
    let mut lines = Vec::new();
    for _ in 0..limits::STREAMS_PER_PRINCIPAL_MAX {
        lines.push(Line::open(&serving, "processor-a").await.expect("one"));
    }
    let Err(refused) = Line::open(&serving, "processor-a").await else {
        panic!("one too many");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(reason(&refused), "TOO_MANY");
    // Another's are its own.
    assert!(Line::open(&serving, "processor-b").await.is_ok());
    drop(lines.pop());
    while Line::open(&serving, "processor-a").await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(lines);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_rate_items_wait_and_are_not_refused() {
    let mut serving = Serving::start().await;
    serving.calls_per_second = 10;
    serving.restart().await;
    let nowhere = payvault::ids::TransactionId::random().to_string();
    let made_up = Token::random().to_text().expose().to_owned();
    let mut line = Line::open(&serving, "processor-a").await.expect("one");
    line.send(vec![redemption(&nowhere, &made_up); 25]).await;
    // A second's worth is there; the others take 1.5 s more.
    let mut passed = 0;
    let results = loop {
        let wait = Duration::from_millis(2 * limits::STREAM_LOOK_MS);
        match tokio::time::timeout(wait, line.answer()).await {
            Ok(results) => break results,
            Err(_) => {
                serving.clock.pass_ms(250);
                passed += 250;
            }
        }
    };
    assert_eq!(passed, 1_500);
    assert_eq!(results.len(), 25);
    for result in &results {
        assert_eq!(reason_of(result.as_ref().expect_err("untied")), "NOT_TIED");
    }
    serving.stop().await;
}

/// Whatever fails at the commit, no item's plaintext and no token is on the wire, and a retry of
/// the same items is done once.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_item_leaves_before_it_is_durable() {
    let mut serving = Serving::start().await;
    let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|w| w == part);
    let (processor, heard) = taped(&serving, "processor-a").await;
    let (portal, portal_heard) = taped(&serving, "portal").await;
    for fault in Fault::ALL {
        let transaction = open(&serving, 5).await;
        let token = tokenize(&serving, &transaction).await;
        let redeem = pb::RedeemStreamRequest {
            items: vec![
                redemption(&transaction, &token),
                redemption(&transaction, &token),
            ],
        };
        let tokenize = pb::TokenizeStreamRequest {
            items: vec![request(&transaction), request(&transaction)],
        };
        let calls = [
            (
                Rpc::RedeemStream,
                &processor,
                &heard,
                redeem.encode_to_vec(),
            ),
            (
                Rpc::TokenizeStream,
                &portal,
                &portal_heard,
                tokenize.encode_to_vec(),
            ),
        ];
        for (rpc, channel, tape, body) in calls {
            let name = format!("{} with {fault:?}", rpc.name());
            let next = serving.disk.commits() + 1;
            serving.disk.order(Faults::none().and(next, fault));
            tape.take();
            let (messages, status) = answer(channel, rpc.path(), body.clone()).await;
            assert!(status.is_none(), "{name}: {status:?}");
            assert!(serving.disk.commits() >= next, "{name}: no commit");
            let outcomes = |messages: &[Vec<u8>]| -> Vec<Result<()>> {
                match rpc {
                    Rpc::RedeemStream => redeemed(only(messages))
                        .into_iter()
                        .map(|r| r.map(drop))
                        .collect(),
                    _ => tokenized(only(messages))
                        .into_iter()
                        .map(|r| r.map(drop))
                        .collect(),
                }
            };
            let first = outcomes(&messages);
            let durable = matches!(fault, Fault::FlushAfter | Fault::Conflict);
            let wire = tape.take();
            assert_eq!(first.len(), 2, "{name}");
            for one in &first {
                match one {
                    Ok(()) => assert!(durable, "{name}: answered"),
                    Err(error) => {
                        assert!(!durable, "{name}: {}", error.message);
                        let expected = match fault {
                            Fault::Full => "STORAGE_FULL",
                            _ => "LEDGER_UNAVAILABLE",
                        };
                        assert_eq!(reason_of(error), expected, "{name}");
                    }
                }
            }
            if !durable {
                assert!(!contains(&wire, b"4242424242424242"), "{name}");
                assert!(!contains(&wire, b"A. de Vries"), "{name}");
                assert!(!contains(&wire, b"pvt_a"), "{name}");
            }
            let (messages, status) = answer(channel, rpc.path(), body).await;
            assert!(status.is_none(), "{name}: {status:?}");
            assert!(outcomes(&messages).iter().all(|one| one.is_ok()), "{name}");
        }
        let seen = serving
            .vault("portal")
            .get_transaction(pb::GetTransactionRequest {
                transaction: transaction.clone(),
            })
            .await
            .expect("seen")
            .into_inner();
        assert_eq!(seen.tokens.len(), 3, "{fault:?}: each item once");
        let redeemed = serving
            .entries()
            .iter()
            .filter(|e| e.get("transaction") == transaction && e.brief() == "redeemed")
            .count();
        assert_eq!(redeemed, 2, "{fault:?}: each item once");
    }
    serving.stop().await;
}

/// A client that sends and doesn't read is not read from for ever, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_not_read_from() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 100).await;
    let token = tokenize(&serving, &transaction).await;
    let (channel, _) = taped(&serving, "processor-a").await;
    let line = Line::over(VaultClient::new(channel), None).await;
    let mut line = line.expect("one");
    let mut item = redemption(&transaction, &token);
    item.request_id = vec![3; 16];
    let size = serving.size();
    let all = 150;
    let sending = tokio::spawn({
        let (send, item) = (line.send.clone(), item.clone());
        async move {
            for _ in 0..all {
                let items = vec![item.clone(); limits::STREAM_MESSAGE_ITEMS_MAX];
                send.send(pb::RedeemStreamRequest { items })
                    .await
                    .expect("it is read in the end");
            }
        }
    });
    // It reads until its window is full, and the client's is, and then no more.
    let done = |serving: &Serving| (serving.size() - size) as usize;
    let mut before = usize::MAX;
    while before != done(&serving) {
        before = done(&serving);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let items = all * limits::STREAM_MESSAGE_ITEMS_MAX;
    assert!(before < items / 2, "{before} of {items}");
    for _ in 0..all {
        let results = line.answer().await;
        assert!(results.iter().all(|one| one.is_ok()));
    }
    sending.await.expect("all is sent");
    assert_eq!(done(&serving), items);
    drop(line);
    serving.stop().await;
}
