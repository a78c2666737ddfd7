//! Bringing a round's answers to their callers. Each caller is a task; waking one from the
//! committer's thread costs a system call, and lets its connection write as soon as it runs, an
//! answer at a time. So a round's answers go to the callers' runtime together, and a task there hands
//! them out: its callers run one after the other, and their connections write once.

use super::command::{Done, Refusal};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// A caller and its answer.
pub type Answer = (
    oneshot::Sender<Result<Done, Refusal>>,
    Result<Done, Refusal>,
);

/// Fewer answers than this are handed out at once.
const TOGETHER_FROM: usize = 3;

/// The way to the callers.
pub struct Delivery {
    /// None where there is no runtime; then answers are handed out one by one.
    together: Option<mpsc::UnboundedSender<Vec<Answer>>>,
}

impl Delivery {
    /// To callers on the runtime that this is called on, if it is on one. What waits is bounded by the
    /// commands that may wait.
    pub fn here() -> Delivery {
        let together = Handle::try_current().ok().map(|runtime| {
            let (sender, mut rounds) = mpsc::unbounded_channel::<Vec<Answer>>();
            runtime.spawn(async move {
                while let Some(answers) = rounds.recv().await {
                    hand_out(answers);
                }
            });
            sender
        });
        Delivery { together }
    }

    /// Wakes the callers of `answers`.
    pub fn deliver(&self, answers: Vec<Answer>) {
        match &self.together {
            Some(together) if answers.len() >= TOGETHER_FROM => {
                // A runtime that is gone takes nothing; callers may be on another one.
                if let Err(mpsc::error::SendError(answers)) = together.send(answers) {
                    hand_out(answers);
                }
            }
            _ => hand_out(answers),
        }
    }
}

fn hand_out(answers: Vec<Answer>) {
    for (reply, answer) in answers {
        // A caller that left meanwhile learns nothing; the entry stands.
        let _ = reply.send(answer);
    }
}
