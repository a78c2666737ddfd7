//! What an auditor reads as it comes: exports and tails. Whether they may still read is looked at
//! here, once a second and whether or not they take what is there; when they may not, what is on
//! its way is dropped, the refusal gets its entry, and the stream ends with it.

use crate::api::connection::PeerInfo;
use crate::api::door::{Admitted, Door};
use crate::api::proto as pb;
use crate::api::status;
use crate::limits;
use crate::policy::Denial;
use crate::vault::command::{Refusal, Work};
use crate::vault::{Answers, Tailed};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::Stream;
use tonic::Status;

/// A piece of what is read, and the message that it becomes.
pub trait Piece: Send + Unpin + 'static {
    /// The message.
    type Message;
    /// Whether it goes on for as long as it is let: then it ends when the vault stops, and after
    /// [`limits::STREAM_MS_MAX`].
    const ENDLESS: bool;
    /// The message of a piece.
    fn message(self) -> Self::Message;
}

impl Piece for Vec<u8> {
    type Message = pb::ExportLogResponse;
    const ENDLESS: bool = false;
    fn message(self) -> pb::ExportLogResponse {
        pb::ExportLogResponse { lines: self }
    }
}

impl Piece for Tailed {
    type Message = pb::TailLogResponse;
    const ENDLESS: bool = true;
    fn message(self) -> pb::TailLogResponse {
        pb::TailLogResponse {
            lines: self.lines,
            next_index: self.next,
            checkpoint_size: self.size,
        }
    }
}

/// Pieces on their way to an auditor.
pub struct Reading<P> {
    door: Arc<Door>,
    peer: Arc<PeerInfo>,
    admitted: Admitted,
    state: State<P>,
    looks: Interval,
    end_ms: u64,
}

enum State<P> {
    Open(mpsc::Receiver<Result<P, Refusal>>),
    /// It ends with a refusal whose entry is on its way.
    Refused(Answers),
    Over,
}

impl<P: Piece> Reading<P> {
    /// What `admitted` reads.
    pub fn new(
        door: &Arc<Door>,
        peer: Arc<PeerInfo>,
        admitted: Admitted,
        pieces: mpsc::Receiver<Result<P, Refusal>>,
    ) -> Reading<P> {
        let mut looks = tokio::time::interval(Duration::from_millis(limits::READING_LOOK_MS));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Reading {
            end_ms: door.clock().monotonic_ms() + limits::STREAM_MS_MAX,
            door: Arc::clone(door),
            peer,
            admitted,
            state: State::Open(pieces),
            looks,
        }
    }

    /// Whether it may go on.
    ///
    /// # Errors
    /// With what it ends, when that is no refusal.
    fn look(&mut self) -> Result<(), Status> {
        let State::Open(_) = self.state else {
            return Ok(());
        };
        let clock = self.door.clock();
        if !self.peer.trusted(clock.now()) {
            return Err(status::no_identity());
        }
        if let Err(denial) = self.door.still_admits(&self.admitted) {
            self.refuse(denial);
        } else if P::ENDLESS && self.door.is_draining() {
            return Err(status::draining());
        } else if P::ENDLESS && clock.monotonic_ms() >= self.end_ms {
            return Err(status::stream_ended());
        }
        Ok(())
    }

    /// Drops what is on its way, and has the refusal entered.
    fn refuse(&mut self, denial: Denial) {
        let work = Work::Refused {
            rpc: self.admitted.rpc(),
            denial,
            transaction: None,
        };
        let until_ms = self.door.clock().monotonic_ms() + limits::DEADLINE_MS_MAX;
        let vault = &self.admitted.vault;
        let answers = vault.ask_together(&self.admitted.caller, vec![work], until_ms);
        self.state = State::Refused(answers);
    }
}

impl<P: Piece> Stream for Reading<P> {
    type Item = Result<P::Message, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while this.looks.poll_tick(cx).is_ready() {
            if let Err(status) = this.look() {
                this.state = State::Over;
                return Poll::Ready(Some(Err(status)));
            }
        }
        loop {
            match &mut this.state {
                State::Over => return Poll::Ready(None),
                State::Open(pieces) => match ready!(pieces.poll_recv(cx)) {
                    Some(Ok(piece)) => return Poll::Ready(Some(Ok(piece.message()))),
                    Some(Err(Refusal::Denied(denial))) => this.refuse(denial),
                    Some(Err(refusal)) => {
                        this.state = State::Over;
                        return Poll::Ready(Some(Err(status::of_refusal(&refusal))));
                    }
                    None => this.state = State::Over,
                },
                State::Refused(answers) => {
                    let answer = ready!(Pin::new(answers).poll(cx));
                    this.state = State::Over;
                    let refusal = answer.into_iter().next().and_then(Result::err);
                    return Poll::Ready(Some(Err(match refusal {
                        Some(refusal) => status::of_refusal(&refusal),
                        None => status::internal("a refusal succeeded"),
                    })));
                }
            }
        }
    }
}
