//! Repetition of what may safely be repeated: a caller that got no answer, or was told to wait, sends
//! the very same request again, a bounded number of times. The request id in it makes what succeeded
//! before not be done again.

use super::refused::Refused;
use crate::clock::Clock;
use crate::{ids, limits};
use std::time::Duration;
use tonic::{Response, Status};

/// How often, and how long apart, one request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How often at most, the first time included; 1 to [`limits::CLIENT_TRIES_MAX`], and what is
    /// outside of that is taken for the nearer of the two.
    pub tries_max: u32,
    /// The pause after the first try. It doubles with each.
    pub pause: Duration,
    /// The longest pause that isn't the vault's own wish.
    pub pause_max: Duration,
}

impl Default for Retries {
    fn default() -> Retries {
        Retries {
            tries_max: 4,
            pause: Duration::from_millis(100),
            pause_max: Duration::from_secs(2),
        }
    }
}

impl Retries {
    /// Each request is sent once.
    pub const NONE: Retries = Retries {
        tries_max: 1,
        pause: Duration::ZERO,
        pause_max: Duration::ZERO,
    };

    /// The pause after try number `done` (from 1): at least what the vault asked for. Between half and
    /// the whole of the doubled pause is by chance, so that callers who were cut off together don't
    /// come back together.
    fn pause_after(&self, done: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.pause.saturating_mul(1 << (done - 1).min(16));
        let whole = doubled.min(self.pause_max);
        asked.unwrap_or_default() + whole.mul_f64(0.5 + ids::chance() / 2.0)
    }
}

/// Sends a request, and the very same again when no answer came within `answer_within` or the vault
/// couldn't just then; all of it within `deadline`. `send` is called for each try with the time that
/// it has, and must make the same request each time. Only for calls that the contract calls safe to
/// retry.
///
/// # Errors
/// What came last: a refusal at once, anything else when tries or time are used up, or when the vault
/// asks to wait for longer than that. It tells whether any of the tries may have been done
/// ([`Refused::is_unknown`]).
pub async fn repeat<A, F>(
    retries: &Retries,
    answer_within: Duration,
    deadline: Duration,
    mut send: impl FnMut(Duration) -> F,
) -> Result<A, Refused>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let clock = Clock::system();
    let left = || deadline.saturating_sub(Duration::from_millis(clock.monotonic_ms()));
    let tries_max = retries.tries_max.clamp(1, limits::CLIENT_TRIES_MAX);
    let (mut done, mut unknown) = (0, false);
    loop {
        let within = left().min(answer_within);
        let refused = match tokio::time::timeout(within, send(within)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => Refused::from(&status),
            Err(_) => Refused::unanswered(),
        };
        done += 1;
        unknown |= refused.is_unknown();
        let pause = retries.pause_after(done, refused.retry_after);
        if done >= tries_max || !refused.may_be_sent_again() || pause >= left() {
            return Err(refused.after(unknown));
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::HashMap;
    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt};

    const QUICK: Retries = Retries {
        tries_max: 3,
        pause: Duration::from_millis(1),
        pause_max: Duration::from_millis(1),
    };
    const LONG: Duration = Duration::from_secs(60);

    fn told(code: Code, reason: &str, wait: Option<Duration>) -> Status {
        let mut details = ErrorDetails::with_error_info(reason, "payvault", HashMap::new());
        if wait.is_some() {
            details.set_retry_info(wait);
        }
        Status::with_error_details(code, reason, details)
    }

    #[tokio::test]
    async fn only_what_may_pass_is_sent_again() {
        let soon = Some(Duration::from_millis(1));
        for (status, sent) in [
            (Status::unavailable("gone"), 3),
            (Status::deadline_exceeded("slow"), 3),
            (Status::unknown("the connection broke"), 3),
            (Status::internal("a stream was reset"), 3),
            (told(Code::Unavailable, "LEDGER_UNAVAILABLE", soon), 3),
            (told(Code::DeadlineExceeded, "TIMED_OUT", None), 3),
            (told(Code::ResourceExhausted, "RATE_LIMITED", soon), 3),
            (told(Code::Unavailable, "SEALED", soon), 1),
            (told(Code::ResourceExhausted, "RATE_LIMITED", None), 1),
            (Status::resource_exhausted("too large"), 1),
            (told(Code::ResourceExhausted, "RATE_LIMITED", Some(LONG)), 1),
            (
                told(Code::FailedPrecondition, "RESTORE_UNCONFIRMED", soon),
                1,
            ),
            (told(Code::FailedPrecondition, "USED_UP", None), 1),
            (told(Code::NotFound, "NOT_TIED", None), 1),
            (told(Code::Internal, "INTERNAL", None), 1),
            (told(Code::InvalidArgument, "INVALID_REQUEST", None), 1),
        ] {
            let count = Cell::new(0);
            let answer = repeat(&QUICK, LONG, LONG, |_| {
                count.set(count.get() + 1);
                let status = status.clone();
                async move { Err::<Response<()>, _>(status) }
            });
            assert_eq!(answer.await, Err(Refused::from(&status)));
            assert_eq!(count.get(), sent, "{status}");
        }
    }

    #[tokio::test]
    async fn no_answer_in_time_is_no_answer() {
        let count = Cell::new(0);
        let answer = repeat(&QUICK, Duration::from_millis(1), LONG, |_| {
            count.set(count.get() + 1);
            std::future::pending::<Result<Response<()>, Status>>()
        });
        assert_eq!(answer.await, Err(Refused::unanswered()));
        assert_eq!(count.get(), 3);
    }

    #[tokio::test]
    async fn a_try_that_may_have_been_done_is_not_forgotten() {
        let soon = Some(Duration::from_millis(1));
        let lost = Status::unavailable("the connection broke");
        let failed = told(Code::Unavailable, "LEDGER_UNAVAILABLE", soon);
        let full = told(Code::ResourceExhausted, "QUEUE_FULL", soon);
        let sealed = told(Code::Unavailable, "SEALED", soon);
        let limited = told(Code::ResourceExhausted, "RATE_LIMITED", Some(LONG));
        let used_up = told(Code::FailedPrecondition, "USED_UP", None);
        for (first, last, unknown) in [
            (&lost, &sealed, true),
            (&lost, &limited, true),
            (&lost, &used_up, true),
            (&lost, &full, true),
            (&failed, &sealed, true),
            (&full, &failed, true),
            (&full, &sealed, false),
            (&full, &full, false),
        ] {
            let count = Cell::new(0);
            let answer = repeat(&QUICK, LONG, LONG, |_| {
                count.set(count.get() + 1);
                let status = if count.get() == 1 { first } else { last }.clone();
                async move { Err::<Response<()>, _>(status) }
            });
            let refused = answer.await.expect_err("refused");
            assert_eq!(refused.code, last.code());
            assert_eq!(refused.is_unknown(), unknown, "{first}, then {last}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_never_undercut_what_was_asked_for() {
        let retries = Retries {
            tries_max: 9,
            pause: Duration::from_millis(100),
            pause_max: Duration::from_millis(1_000),
        };
        for (done, whole_ms) in [
            (1, 100),
            (2, 200),
            (3, 400),
            (4, 800),
            (5, 1_000),
            (40, 1_000),
        ] {
            let whole = Duration::from_millis(whole_ms);
            for _ in 0..50 {
                let pause = retries.pause_after(done, None);
                assert!(pause >= whole / 2 && pause <= whole, "{done}: {pause:?}");
                let asked = Duration::from_millis(700);
                assert!(retries.pause_after(done, Some(asked)) >= asked);
            }
        }
        let many: Vec<_> = (0..50).map(|_| retries.pause_after(1, None)).collect();
        assert!(
            many.iter().any(|pause| *pause != many[0]),
            "no chance in it"
        );
    }
}
