//! Calls in bulk: a stream of messages of requests, and for each message one of results, in order.
//!
//! There is no task of its own behind a stream: the connection asks for the next message of results
//! when it has room for it, and that reads requests, hands them to the committer together and hears
//! its answers. A client that doesn't take its answers isn't read from.

use super::item::{Intake, Item, Wrong, told};
use crate::api::connection::PeerInfo;
use crate::api::deadline::Deadline;
use crate::api::door::{Admitted, Door, StreamTurn};
use crate::api::status;
use crate::api::violations::Violations;
use crate::limits;
use crate::payment::ModulusTables;
use crate::policy::Denial;
use crate::vault::Answers;
use crate::vault::command::{Refusal, Work};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

/// The answers to a stream.
pub struct Answering<I: Item> {
    door: Arc<Door>,
    peer: Arc<PeerInfo>,
    admitted: Admitted,
    uk_modulus: Arc<ModulusTables>,
    incoming: Streaming<I::Requests>,
    /// Read and not answered, in order.
    groups: VecDeque<Group>,
    /// How many items these have, and how many of them are with the committer.
    held: usize,
    asked: usize,
    /// Read, but for a part of it the principal's rate had no room yet: how many are to be counted.
    due: Option<(Vec<I::Request>, usize)>,
    /// Why nothing more is read.
    ending: Option<Ending>,
    over: bool,
    looks: Interval,
    /// Monotonic times.
    heard_ms: u64,
    end_ms: u64,
    deadline_ms: Option<u64>,
    _turn: StreamTurn,
}

/// One message's items on their way.
struct Group {
    answers: Answers,
    /// What was wrong with each item, where something was.
    wrong: Vec<Option<Wrong>>,
}

/// How a stream ends once everything that was read is answered.
enum Ending {
    /// The client has ended its side.
    Done,
    /// With this.
    Told(Status),
    /// With a refusal that has its entry.
    Refused(Answers, Violations),
}

/// Begins a stream.
///
/// # Errors
/// What the caller may know of why it isn't let in.
pub async fn begin<I: Item>(
    door: &Arc<Door>,
    uk_modulus: &Arc<ModulusTables>,
    request: Request<Streaming<I::Requests>>,
) -> Result<Response<Answering<I>>, Status> {
    let admitted = door.admit(I::STREAM, &request).await?;
    let peer = door.peer(&request)?;
    let turn = door.stream_turn(&admitted).await?;
    let now_ms = door.clock().monotonic_ms();
    let deadline = request.extensions().get::<Deadline>();
    let mut looks = tokio::time::interval(Duration::from_millis(limits::STREAM_LOOK_MS));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Ok(Response::new(Answering {
        deadline_ms: deadline.and_then(|deadline| deadline.asked_ms),
        door: Arc::clone(door),
        peer,
        admitted,
        uk_modulus: Arc::clone(uk_modulus),
        incoming: request.into_inner(),
        groups: VecDeque::new(),
        held: 0,
        asked: 0,
        due: None,
        ending: None,
        over: false,
        looks,
        heard_ms: now_ms,
        end_ms: now_ms + limits::STREAM_MS_MAX,
        _turn: turn,
    }))
}

impl<I: Item> Answering<I> {
    /// Whether the caller may still call, and whether the stream's time is over.
    ///
    /// # Errors
    /// When it ends at once: nothing that is under way is told any more.
    fn look(&mut self) -> Result<(), Status> {
        let clock = self.door.clock();
        let now_ms = clock.monotonic_ms();
        if !self.peer.trusted(clock.now()) {
            return Err(status::no_identity());
        }
        if self.deadline_ms.is_some_and(|deadline| now_ms >= deadline) {
            return Err(status::deadline_passed());
        }
        if let Err(denial) = self.door.still_admits(&self.admitted) {
            if !matches!(self.ending, Some(Ending::Refused(..))) {
                self.forget();
                self.refuse(denial, Violations::new());
            }
            return Ok(());
        }
        if self.ending.is_some() {
            return Ok(());
        }
        let idle = self.groups.is_empty()
            && self.due.is_none()
            && now_ms.saturating_sub(self.heard_ms) >= limits::STREAM_IDLE_MS_MAX;
        if self.door.is_draining() {
            self.ending = Some(Ending::Told(status::draining()));
        } else if idle || now_ms >= self.end_ms {
            self.ending = Some(Ending::Told(status::stream_ended()));
        }
        Ok(())
    }

    /// Ends the stream with a refusal and its entry.
    fn refuse(&mut self, denial: Denial, violations: Violations) {
        let work = Work::Refused {
            rpc: self.admitted.rpc(),
            denial,
            transaction: None,
        };
        let answers = self.ask(vec![work]);
        self.due = None;
        self.ending = Some(Ending::Refused(answers, violations));
    }

    fn ask(&self, works: Vec<Work>) -> Answers {
        let now_ms = self.door.clock().monotonic_ms();
        self.admitted.vault.ask_together(
            &self.admitted.caller,
            works,
            now_ms + limits::DEADLINE_MS_MAX,
        )
    }

    /// Whether one more message may be read.
    fn has_room(&self) -> bool {
        self.asked < limits::STREAM_ITEMS_ASKED_MAX && self.held < limits::STREAM_ITEMS_HELD_MAX
    }

    /// Reads messages and asks for what is in them, while there is room.
    fn take_in(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        while self.has_room() {
            if let Some((items, uncounted)) = self.due.take() {
                let uncounted = uncounted - self.door.take_calls(&self.admitted, uncounted);
                if uncounted > 0 {
                    // Tried again at the next look.
                    self.due = Some((items, uncounted));
                    return Ok(());
                }
                self.hand_in(items);
                continue;
            }
            if self.ending.is_some() {
                return Ok(());
            }
            match Pin::new(&mut self.incoming).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.ending = Some(Ending::Done),
                Poll::Ready(Some(Err(status))) => self.ending = Some(Ending::Told(status)),
                Poll::Ready(Some(Ok(message))) => {
                    self.peer.heard();
                    self.heard_ms = self.door.clock().monotonic_ms();
                    self.look()?;
                    self.weigh(I::requests(message));
                }
            }
        }
        Ok(())
    }

    /// Takes a message's items, if they are as many as they may be.
    fn weigh(&mut self, items: Vec<I::Request>) {
        if matches!(self.ending, Some(Ending::Refused(..))) {
            return;
        }
        if items.is_empty() || items.len() > limits::STREAM_MESSAGE_ITEMS_MAX {
            let mut violations = Violations::new();
            violations.add("items", "must have 1 to 64 items");
            return self.refuse(Denial::InvalidRequest, violations);
        }
        let count = items.len();
        self.due = Some((items, count));
    }

    /// Hands a message's items to the committer together; one that is wrong as its refusal.
    fn hand_in(&mut self, items: Vec<I::Request>) {
        let intake = Intake {
            now: self.door.clock().now(),
            uk_modulus: &self.uk_modulus,
            admitted: &self.admitted,
        };
        let mut works = Vec::with_capacity(items.len());
        let mut wrong = Vec::with_capacity(items.len());
        for item in items {
            let mut violations = Violations::new();
            if I::wants_receipt(&item) {
                violations.add(
                    "want_receipt",
                    "must not be set in a stream: GetReceipt gives it by entry_index",
                );
            }
            let read = I::read(item, &intake, violations);
            wrong.push(read.wrong);
            works.push(match read.work {
                // The entry names the call that was made.
                Work::Refused {
                    denial,
                    transaction,
                    ..
                } => Work::Refused {
                    rpc: I::STREAM,
                    denial,
                    transaction,
                },
                work => work,
            });
        }
        let answers = self.ask(works);
        self.held += wrong.len();
        self.asked += wrong.len();
        self.groups.push_back(Group { answers, wrong });
    }

    /// Hears what the committer answered. Later groups are asked while an earlier one waits for its
    /// beat; those behind one that isn't answered can't be either.
    fn hear(&mut self, cx: &mut Context<'_>) {
        for group in &mut self.groups {
            let before = group.answers.awaited();
            let heard = group.answers.poll_heard(cx);
            self.asked -= before - group.answers.awaited();
            if heard.is_pending() {
                return;
            }
        }
    }

    /// The answer to the first message, if it is there.
    fn first(&mut self, cx: &mut Context<'_>) -> Poll<I::Results> {
        let Some(first) = self.groups.front_mut() else {
            return Poll::Pending;
        };
        if first.answers.awaited() > 0 {
            return Poll::Pending;
        }
        let answers = ready!(Pin::new(&mut first.answers).poll(cx));
        let wrong = std::mem::take(&mut first.wrong);
        self.groups.pop_front();
        self.held -= wrong.len();
        let now = self.door.clock().now();
        let results = answers.into_iter().zip(wrong).map(|(answer, wrong)| {
            if matches!(answer, Err(Refusal::Sealed)) && self.ending.is_none() {
                // This vault stays sealed, whatever is opened in its place.
                self.ending = Some(Ending::Told(status::of_refusal(&Refusal::Sealed)));
            }
            let reply = match answer {
                Ok(done) => I::reply(done, now),
                Err(refusal) => Err(told(&refusal, wrong.as_ref())),
            };
            reply.map_err(|status| status::inside(&status))
        });
        Poll::Ready(I::results(results.collect()))
    }

    /// How the stream ends, once everything is answered.
    fn last(&mut self, cx: &mut Context<'_>) -> Poll<Option<Status>> {
        match self.ending.take() {
            None => Poll::Pending,
            Some(Ending::Done) => Poll::Ready(None),
            Some(Ending::Told(status)) => Poll::Ready(Some(status)),
            Some(Ending::Refused(mut answers, violations)) => {
                let Poll::Ready(answer) = Pin::new(&mut answers).poll(cx) else {
                    self.ending = Some(Ending::Refused(answers, violations));
                    return Poll::Pending;
                };
                let refusal = answer.into_iter().next().and_then(Result::err);
                Poll::Ready(Some(match refusal {
                    Some(refusal) => told(&refusal, Some(&Arc::new(Mutex::new(violations)))),
                    None => status::internal("a refusal succeeded"),
                }))
            }
        }
    }

    fn end(&mut self, status: Option<Status>) -> Poll<Option<Result<I::Results, Status>>> {
        self.over = true;
        self.forget();
        Poll::Ready(status.map(Err))
    }

    /// Lets go of all that is under way: what the committer hasn't begun, it doesn't begin.
    fn forget(&mut self) {
        self.groups.clear();
        self.due = None;
        (self.held, self.asked) = (0, 0);
    }
}

impl<I: Item> Stream for Answering<I> {
    type Item = Result<I::Results, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        while this.looks.poll_tick(cx).is_ready() {
            if let Err(status) = this.look() {
                return this.end(Some(status));
            }
        }
        loop {
            if let Err(status) = this.take_in(cx) {
                return this.end(Some(status));
            }
            let full = !this.has_room();
            this.hear(cx);
            if let Poll::Ready(results) = this.first(cx) {
                return Poll::Ready(Some(Ok(results)));
            }
            if this.groups.is_empty()
                && this.due.is_none()
                && let Poll::Ready(status) = this.last(cx)
            {
                return this.end(status);
            }
            // What was heard may have made room, and nobody waits for the next message yet.
            if !(full && this.has_room()) {
                return Poll::Pending;
            }
        }
    }
}
