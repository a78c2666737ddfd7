//! Load: a number of callers for a time, and what came of it.
//!
//! *Closed*: each caller makes its next call when the last was answered, so a slow server is asked
//! less. *Open*: calls fall due at fixed times whatever the server does, and each one's latency
//! counts from when it was due, so a stall shows in every call that it held up (no coordinated
//! omission).

use crate::caller::{Answer, Caller};
use crate::dice::Dice;
use crate::machine::CpuTime;
use crate::mix::{Mix, Op};
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

/// How hard, for how long.
#[derive(Debug, Clone)]
pub struct Load {
    /// Which calls.
    pub mix: Mix,
    /// Calls a second that fall due; `None`: closed.
    pub rate: Option<f64>,
    /// Time before anything counts.
    pub warm_up: Duration,
    /// Time that counts.
    pub duration: Duration,
    /// Beginning of the callers' dice.
    pub seed: u64,
    /// Whether calls that are under way when the stock runs dry count, too: for a load that is to
    /// use up all of it.
    pub to_the_last: bool,
}

/// What came of it.
pub struct Measured {
    /// The time that counted.
    pub seconds: f64,
    /// Latencies of successful calls in ns, by [`Op::ALL`]'s order.
    pub latencies: [Histogram<u64>; Op::ALL.len()],
    /// Calls that failed, by what was said.
    pub errors: BTreeMap<String, u64>,
    /// CPU time of the server.
    pub server: CpuTime,
    /// CPU time of this process.
    pub client: CpuTime,
    /// Whether it ended early, since nothing was left in stock.
    pub ran_dry: bool,
    /// Open load: most calls that were due and that no caller was free for.
    pub backlog_max: u64,
}

impl Measured {
    /// Latencies of all calls.
    pub fn all(&self) -> Histogram<u64> {
        let mut all = histogram();
        for one in &self.latencies {
            all.add(one).expect("they have the same bounds");
        }
        all
    }

    /// Successful calls.
    pub fn calls(&self) -> u64 {
        self.latencies.iter().map(Histogram::len).sum()
    }

    /// Successful calls a second.
    pub fn per_second(&self) -> f64 {
        self.calls() as f64 / self.seconds.max(1e-9)
    }
}

/// Up to 100 s in ns, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("these bounds are possible")
}

const WARM_UP: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

/// A call that isn't answered this long after the end is given up: the servers' own bound is less.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(40);

struct Tally {
    latencies: [Histogram<u64>; Op::ALL.len()],
    errors: BTreeMap<String, u64>,
}

impl Tally {
    fn failed(&mut self, op: Op, status: &tonic::Status) {
        let what = format!("{}: {:?} {}", op.as_str(), status.code(), status.message());
        *self.errors.entry(what).or_default() += 1;
    }
}

struct Shared {
    phase: AtomicU8,
    tally: Mutex<Tally>,
    dry: Notify,
    mix: Mix,
    due: Option<Due>,
}

/// Calls that fell due and that nobody made yet.
struct Due {
    queue: Mutex<VecDeque<Instant>>,
    waiting: Semaphore,
    backlog_max: AtomicU64,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn count(&self, op: Op, took: Duration, answer: Answer) {
        if self.phase() != COUNTING {
            return;
        }
        let mut tally = self.tally();
        match answer {
            Answer::Done => {
                let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                tally.latencies[op as usize].saturating_record(ns);
            }
            Answer::Items(done, failed) => {
                let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                tally.latencies[op as usize].saturating_record_n(ns, done);
                failed.iter().for_each(|status| tally.failed(op, status));
            }
            Answer::Failed(status) => tally.failed(op, &status),
            Answer::Dry => {}
        }
    }
}

impl Due {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, at: Instant) {
        let mut queue = self.queue();
        queue.push_back(at);
        self.backlog_max
            .fetch_max(queue.len() as u64, Ordering::Relaxed);
        drop(queue);
        self.waiting.add_permits(1);
    }

    /// The next call that is due; `None` at the end.
    async fn next(&self) -> Option<Instant> {
        self.waiting.acquire().await.ok()?.forget();
        self.queue().pop_front()
    }
}

/// Whoever makes calls.
pub trait Calls: Send + 'static {
    /// Makes one.
    fn call(&mut self, op: Op) -> impl Future<Output = Answer> + Send;
}

impl Calls for Caller {
    fn call(&mut self, op: Op) -> impl Future<Output = Answer> + Send {
        Caller::call(self, op)
    }
}

/// Drives `callers`. `pid` is the server's process.
pub async fn drive<C: Calls>(callers: Vec<C>, load: &Load, pid: Option<u32>) -> Measured {
    let shared = Arc::new(Shared {
        phase: AtomicU8::new(WARM_UP),
        tally: Mutex::new(Tally {
            latencies: std::array::from_fn(|_| histogram()),
            errors: BTreeMap::new(),
        }),
        dry: Notify::new(),
        mix: load.mix.clone(),
        due: load.rate.map(|_| Due {
            queue: Mutex::default(),
            waiting: Semaphore::new(0),
            backlog_max: AtomicU64::new(0),
        }),
    });
    let mut tasks = JoinSet::new();
    for (number, caller) in callers.into_iter().enumerate() {
        let dice = Dice::new(load.seed.wrapping_add(number as u64));
        tasks.spawn(work(caller, Arc::clone(&shared), dice));
    }
    if let Some(rate) = load.rate {
        tasks.spawn(schedule(Arc::clone(&shared), rate));
    }

    let own = std::process::id();
    let cpu = || (pid.map(CpuTime::of).unwrap_or_default(), CpuTime::of(own));
    let mut ran_dry = passes(&shared, load.warm_up).await;
    let (server_before, client_before) = cpu();
    let begin = Instant::now();
    shared.phase.store(COUNTING, Ordering::Relaxed);
    if !ran_dry {
        ran_dry = passes(&shared, load.duration).await;
    }
    if ran_dry && load.to_the_last {
        finish(&mut tasks).await;
    }
    shared.phase.store(OVER, Ordering::Relaxed);
    let seconds = begin.elapsed().as_secs_f64();
    let (server_after, client_after) = cpu();

    if let Some(due) = &shared.due {
        due.waiting.close();
    }
    let all_answered = finish(&mut tasks).await;
    let mut tally = shared.tally();
    if !all_answered {
        let never = tasks.len() as u64;
        tally.errors.insert("never answered".to_owned(), never);
    }
    let spent = |before: CpuTime, after: CpuTime| CpuTime {
        user: after.user.saturating_sub(before.user),
        system: after.system.saturating_sub(before.system),
    };
    Measured {
        seconds,
        latencies: std::mem::replace(&mut tally.latencies, std::array::from_fn(|_| histogram())),
        errors: std::mem::take(&mut tally.errors),
        server: spent(server_before, server_after),
        client: spent(client_before, client_after),
        ran_dry,
        backlog_max: shared
            .due
            .as_ref()
            .map_or(0, |due| due.backlog_max.load(Ordering::Relaxed)),
    }
}

/// Waits for the callers' last answers; whether all came.
async fn finish(tasks: &mut JoinSet<()>) -> bool {
    let answered = async { while tasks.join_next().await.is_some() {} };
    tokio::time::timeout(LAST_ANSWER_MAX, answered)
        .await
        .is_ok()
}

/// Waits; whether the stock ran dry meanwhile.
async fn passes(shared: &Shared, time: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => false,
        () = shared.dry.notified() => true,
    }
}

async fn work(mut caller: impl Calls, shared: Arc<Shared>, mut dice: Dice) {
    loop {
        let from = match &shared.due {
            None => Instant::now(),
            Some(due) => match due.next().await {
                Some(at) => at,
                None => return,
            },
        };
        if shared.phase() == OVER {
            return;
        }
        let op = shared.mix.pick(dice.throw());
        match caller.call(op).await {
            Answer::Dry => {
                shared.dry.notify_one();
                return;
            }
            answer => shared.count(op, from.elapsed(), answer),
        }
    }
}

/// The timer is good to a millisecond; for the rest of the way the schedule lets others run and
/// looks again.
const TIMER: Duration = Duration::from_millis(2);

async fn schedule(shared: Arc<Shared>, rate: f64) {
    let Some(due) = &shared.due else { return };
    let begin = Instant::now();
    for number in 0u64.. {
        let at = begin + Duration::from_secs_f64(number as f64 / rate);
        loop {
            let now = Instant::now();
            if now >= at {
                break;
            }
            if at - now > TIMER {
                tokio::time::sleep(at - now - TIMER).await;
            } else {
                tokio::task::yield_now().await;
            }
            if shared.phase() == OVER {
                return;
            }
        }
        if shared.phase() == OVER {
            return;
        }
        due.add(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at once, but for one call that takes long and every tenth, which fails; it has so
    /// many answers and no more.
    struct Stalls {
        left: u32,
        stall_at: u32,
    }

    const STALL: Duration = Duration::from_millis(300);

    impl Calls for Stalls {
        async fn call(&mut self, _: Op) -> Answer {
            if self.left == 0 {
                return Answer::Dry;
            }
            self.left -= 1;
            if self.left == self.stall_at {
                tokio::time::sleep(STALL).await;
            }
            if self.left.is_multiple_of(10) {
                return Answer::Failed(tonic::Status::unavailable("no"));
            }
            Answer::Done
        }
    }

    async fn slow_calls(rate: Option<f64>) -> (u64, Measured) {
        let load = Load {
            mix: "redeem".parse().expect("a mix"),
            rate,
            warm_up: Duration::ZERO,
            // It ends when the answers do.
            duration: Duration::from_secs(600),
            seed: 1,
            to_the_last: false,
        };
        let stalls = Stalls {
            left: 1_000,
            stall_at: 800,
        };
        let measured = drive(vec![stalls], &load, None).await;
        let slow = measured
            .all()
            .iter_recorded()
            .filter(|value| value.value_iterated_to() > 100_000_000)
            .map(|value| value.count_at_value())
            .sum();
        (slow, measured)
    }

    #[tokio::test]
    async fn under_open_load_a_stall_shows_in_every_call_that_it_held_up() {
        // 1,000 a second: some 200 fall due in the stall's first 200 ms, and wait more than 100.
        let (slow, measured) = slow_calls(Some(1_000.0)).await;
        assert!(slow >= 100, "{slow}");
        assert!(measured.backlog_max >= 100, "{}", measured.backlog_max);
        assert!(measured.ran_dry);
    }

    #[tokio::test]
    async fn failures_are_counted_by_what_was_said_and_are_no_calls() {
        let (_, measured) = slow_calls(Some(2_000.0)).await;
        let failed: u64 = measured.errors.values().sum();
        assert_eq!(measured.errors.len(), 1, "{:?}", measured.errors);
        // What came before it began to count isn't in it.
        assert!((50..=100).contains(&failed), "{failed}");
        assert!(measured.calls() <= 900);
    }
}
