//! Several commands of one caller, handed to the committer together. Each is judged, entered and
//! answered as if it had come alone; only the way to the committer and back is shared.

use super::Vault;
use super::command::{Ask, Caller, Done, Refusal, Work};
use super::committer::Turn;
use crate::clock::Beats;
use crate::limits;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

type Answer = Result<Done, Refusal>;

/// The answers to commands that came together, in their order.
///
/// When one of them turns out not to be tied they are all given at the next beat of
/// [`limits::NOT_TIED_BEAT_MS`]: they are likely of one round, so the others' time would say what
/// was found. Whoever wants work to go on meanwhile asks for more.
pub struct Answers {
    awaited: VecDeque<oneshot::Receiver<Answer>>,
    here: Vec<Answer>,
    beats: Option<Beats>,
    beat: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Vault {
    /// Sends commands of one caller through the door together. None is begun when the queue has no
    /// room for any; what the caller's share has no room for is refused alone.
    pub fn ask_together(&self, caller: &Caller, works: Vec<Work>, deadline_ms: u64) -> Answers {
        let beats = Beats::every_ms(limits::NOT_TIED_BEAT_MS);
        let mut awaited = VecDeque::with_capacity(works.len());
        let mut asks = Vec::with_capacity(works.len());
        for work in works {
            let (reply, answer) = oneshot::channel();
            awaited.push_back(answer);
            match self.shares.take(caller.id()) {
                Ok(share) => asks.push(Ask {
                    caller: caller.clone(),
                    work,
                    deadline_ms,
                    reply,
                    share: Some(share),
                }),
                Err(refusal) => {
                    let _ = reply.send(Err(refusal));
                }
            }
        }
        // Whose queue is closed is answered by nobody: that says so itself.
        if let Err(TrySendError::Full(Turn::Together(asks))) =
            self.queue.try_send(Turn::Together(asks))
        {
            for ask in asks {
                let _ = ask.reply.send(Err(Refusal::QueueFull));
            }
        }
        Answers {
            here: Vec::with_capacity(awaited.len()),
            awaited,
            beats: Some(beats),
            beat: None,
        }
    }
}

impl Answers {
    /// How many are still with the committer.
    pub fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// Hears the answers that are there; ready when all are. They are given by the future itself.
    pub fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(next) = self.awaited.front_mut() {
            // Most are there together. A poll would count against the task's budget.
            let answer = match next.try_recv() {
                Ok(answer) => answer,
                Err(oneshot::error::TryRecvError::Closed) => Err(Refusal::Sealed),
                Err(oneshot::error::TryRecvError::Empty) => match Pin::new(next).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(answer) => answer.unwrap_or(Err(Refusal::Sealed)),
                },
            };
            self.awaited.pop_front();
            self.hear(answer);
        }
        Poll::Ready(())
    }

    fn hear(&mut self, answer: Answer) {
        if matches!(&answer, Err(Refusal::Denied(denial)) if denial.is_not_tied())
            && let Some(beats) = self.beats.take()
        {
            self.beat = Some(Box::pin(beats.next()));
        }
        self.here.push(answer);
    }
}

impl Future for Answers {
    type Output = Vec<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<Answer>> {
        std::task::ready!(self.poll_heard(cx));
        if let Some(beat) = &mut self.beat {
            std::task::ready!(beat.as_mut().poll(cx));
            self.beat = None;
        }
        Poll::Ready(std::mem::take(&mut self.here))
    }
}
