//! A client's patience, counted at a server that fails as it is told: one request id, a bounded number
//! of tries, and none after a refusal.

use crate::flaky::{Answer, Flaky};
use payvault::api::proto as pb;
use payvault::client::{Client, ClientError, Config, Outcome, Reported, RequestId, Retries};
use payvault::clock::Clock;
use payvault::ids::TransactionId;
use payvault::payment::Token;
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

fn told(code: Code, reason: &str, wait_ms: Option<u64>) -> Answer {
    let mut details = ErrorDetails::with_error_info(reason, "payvault", HashMap::new());
    if let Some(ms) = wait_ms {
        details.set_retry_info(Some(Duration::from_millis(ms)));
    }
    Answer::Refused(Status::with_error_details(code, reason, details))
}

/// One report to a server that answers so; what came of it, and what the server was asked.
async fn report(
    answers: Vec<Answer>,
    change: impl FnOnce(&mut Config),
) -> (Result<Reported, ClientError>, Vec<pb::ReportOutcomeRequest>) {
    let server = Flaky::start(answers).await;
    let own = server.ca.client("processor").expect("a credential");
    let (ca, key) = (server.ca.certificate_pem(), own.key_pem.duplicate());
    let mut config = Config::new(server.endpoint.clone(), ca, own.certificate_pem, key);
    config.retries.pause = Duration::from_millis(1);
    change(&mut config);
    let client = Client::connect(config).await.expect("a connection");
    let (request, transaction) = (RequestId::random(), TransactionId::random());
    let token = Token::random();
    let outcome = Outcome::Succeeded;
    let reported = client.report_outcome(&request, transaction, &token, outcome, "auth-7");
    let reported = reported.await;
    let asked = server.asked();
    for one in &asked {
        assert_eq!(one.request_id, request.as_bytes(), "one request id");
        assert!(*one == asked[0], "the very same request");
    }
    (reported, asked)
}

#[tokio::test]
async fn what_fails_at_first_is_sent_again_as_the_same_request() {
    let answers = vec![
        Answer::Refused(Status::unavailable("a proxy's")),
        told(Code::Unavailable, "LEDGER_UNAVAILABLE", Some(1)),
        told(Code::ResourceExhausted, "RATE_LIMITED", Some(1)),
        Answer::Reported,
    ];
    let (reported, asked) = report(answers, |_| {}).await;
    assert_eq!(reported.expect("at last").entry_index, 7);
    assert_eq!(asked.len(), 4);
}

#[tokio::test]
async fn tries_are_bounded_and_what_is_unknown_is_said() {
    let gone = || vec![Answer::Refused(Status::unavailable("gone"))];
    let (reported, asked) = report(gone(), |_| {}).await;
    let error = reported.expect_err("gone");
    assert!(matches!(error, ClientError::Unanswered(_)), "{error}");
    assert_eq!((asked.len(), error.reason()), (4, None));

    let (_, asked) = report(gone(), |config| config.retries = Retries::NONE).await;
    assert_eq!(asked.len(), 1);
    let (_, asked) = report(gone(), |config| {
        config.retries.tries_max = u32::MAX;
        config.retries.pause_max = Duration::from_millis(1);
    })
    .await;
    assert_eq!(asked.len(), payvault::limits::CLIENT_TRIES_MAX as usize);

    let queue = vec![told(Code::ResourceExhausted, "QUEUE_FULL", Some(1))];
    let (reported, asked) = report(queue, |_| {}).await;
    let error = reported.expect_err("full");
    assert!(matches!(error, ClientError::Refused(_)), "{error}");
    assert_eq!((asked.len(), error.reason()), (4, Some("QUEUE_FULL")));
}

/// The first try's answer was lost: what a later one says doesn't tell that nothing was done.
#[tokio::test]
async fn a_refusal_after_a_lost_answer_leaves_it_unknown() {
    let lost = || Answer::Refused(Status::unavailable("the connection broke"));
    let limited = || told(Code::ResourceExhausted, "RATE_LIMITED", Some(31_000));
    for (answers, sent, reason) in [
        (
            vec![lost(), told(Code::Unavailable, "SEALED", Some(1))],
            2,
            "SEALED",
        ),
        (vec![lost(), limited()], 2, "RATE_LIMITED"),
        (
            vec![lost(), told(Code::FailedPrecondition, "USED_UP", None)],
            2,
            "USED_UP",
        ),
        // A write that failed may have reached the disk.
        (
            vec![told(Code::Unavailable, "LEDGER_UNAVAILABLE", Some(1))],
            4,
            "LEDGER_UNAVAILABLE",
        ),
    ] {
        let (reported, asked) = report(answers, |_| {}).await;
        let error = reported.expect_err(reason);
        assert!(matches!(error, ClientError::Unanswered(_)), "{error}");
        assert_eq!((asked.len(), error.reason()), (sent, Some(reason)));
    }
    let told_both = vec![
        told(Code::ResourceExhausted, "QUEUE_FULL", Some(1)),
        told(Code::Unavailable, "SEALED", Some(1)),
    ];
    let (reported, asked) = report(told_both, |_| {}).await;
    let error = reported.expect_err("sealed");
    assert!(matches!(error, ClientError::Refused(_)), "{error}");
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_refusal_is_never_sent_again() {
    for (code, reason, wait) in [
        (Code::NotFound, "NOT_TIED", None),
        (Code::FailedPrecondition, "USED_UP", None),
        (Code::FailedPrecondition, "RESTORE_UNCONFIRMED", Some(1)),
        (Code::InvalidArgument, "INVALID_REQUEST", None),
        (Code::FailedPrecondition, "SEALED_DETAILS_REFUSED", None),
        (Code::AlreadyExists, "REQUEST_ID_REUSED", None),
        (Code::Unauthenticated, "PRINCIPAL_DISABLED", None),
        (Code::PermissionDenied, "ROLE_NOT_ALLOWED", None),
        (Code::DataLoss, "INTEGRITY", None),
        (Code::Internal, "INTERNAL", None),
        (Code::Unavailable, "SEALED", Some(1)),
        (Code::ResourceExhausted, "RATE_LIMITED", None),
    ] {
        let answers = vec![told(code, reason, wait), Answer::Reported];
        let (reported, asked) = report(answers, |_| {}).await;
        let error = reported.expect_err(reason);
        assert!(matches!(error, ClientError::Refused(_)), "{error}");
        assert_eq!(error.reason(), Some(reason));
        assert_eq!(error.retry_after(), wait.map(Duration::from_millis));
        assert_eq!(asked.len(), 1, "{reason}");
    }
}

#[tokio::test]
async fn the_vaults_wish_to_wait_is_kept_or_told_when_there_is_no_time_for_it() {
    let limited = |ms| told(Code::ResourceExhausted, "RATE_LIMITED", Some(ms));
    let clock = Clock::system();
    let (reported, asked) = report(vec![limited(150), Answer::Reported], |_| {}).await;
    assert!(reported.is_ok() && asked.len() == 2);
    assert!(clock.monotonic_ms() >= 150);

    let (reported, asked) = report(vec![limited(31_000), Answer::Reported], |_| {}).await;
    let error = reported.expect_err("too long");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(31)));
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn silence_is_no_answer_and_the_deadline_ends_all_of_it() {
    let (reported, asked) = report(vec![Answer::Silence, Answer::Reported], |config| {
        config.answer_within = Duration::from_millis(200);
    })
    .await;
    assert!(reported.is_ok() && asked.len() == 2);

    let (reported, asked) = report(vec![Answer::Silence], |config| {
        config.deadline = Duration::from_millis(300);
    })
    .await;
    let error = reported.expect_err("silence");
    assert!(matches!(error, ClientError::Unanswered(_)), "{error}");
    assert_eq!(asked.len(), 1);
}
