//! Items over streams. A lane is one message that is under way at a time; a stream has a few of
//! them, so that one is filled while another is on its way. Answers come in the order of messages.

use crate::caller::{Answer, Target};
use crate::drive::Calls;
use crate::failure::LoadError;
use crate::mix::Op;
use crate::requests;
use crate::stock::Stock;
use crate::wire::Client;
use payvault::api::proto as pb;
use payvault::limits;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// Messages that a stream has under way.
const LANES_PER_STREAM: usize = 4;

/// What became of an item: the token or nothing, or an error.
pub type Outcome<T> = Result<T, Status>;

/// A call that comes as a stream.
pub trait Kind: Send + 'static {
    /// An item.
    type Item: Send;
    /// What is done by one.
    type Done: Send;
    /// A message of items.
    type Requests: Send + 'static;
    /// A message of results.
    type Results: Send + 'static;

    /// Puts items into a message.
    fn message(items: Vec<Self::Item>) -> Self::Requests;
    /// Takes results out of one.
    fn outcomes(results: Self::Results) -> Vec<Outcome<Self::Done>>;
    /// Begins a stream.
    fn begin(
        client: Client,
        messages: ReceiverStream<Self::Requests>,
    ) -> impl Future<Output = Result<Streaming<Self::Results>, Status>> + Send;
}

/// `TokenizeStream`.
pub struct Tokenizing;
/// `RedeemStream`.
pub struct Redeeming;

impl Kind for Tokenizing {
    type Item = pb::TokenizeRequest;
    type Done = pb::TokenizeResponse;
    type Requests = pb::TokenizeStreamRequest;
    type Results = pb::TokenizeStreamResponse;

    fn message(items: Vec<pb::TokenizeRequest>) -> pb::TokenizeStreamRequest {
        pb::TokenizeStreamRequest { items }
    }

    fn outcomes(results: pb::TokenizeStreamResponse) -> Vec<Outcome<pb::TokenizeResponse>> {
        use pb::tokenize_result::Outcome;
        let one = |result: pb::TokenizeResult| match result.outcome {
            Some(Outcome::Tokenized(done)) => Ok(done),
            Some(Outcome::Error(status)) => Err(refused(status.code, status.message)),
            None => Err(nothing()),
        };
        results.results.into_iter().map(one).collect()
    }

    async fn begin(
        mut client: Client,
        messages: ReceiverStream<pb::TokenizeStreamRequest>,
    ) -> Result<Streaming<pb::TokenizeStreamResponse>, Status> {
        Ok(client.tokenize_stream(messages).await?.into_inner())
    }
}

impl Kind for Redeeming {
    type Item = pb::RedeemRequest;
    type Done = pb::RedeemResponse;
    type Requests = pb::RedeemStreamRequest;
    type Results = pb::RedeemStreamResponse;

    fn message(items: Vec<pb::RedeemRequest>) -> pb::RedeemStreamRequest {
        pb::RedeemStreamRequest { items }
    }

    fn outcomes(results: pb::RedeemStreamResponse) -> Vec<Outcome<pb::RedeemResponse>> {
        use pb::redeem_result::Outcome;
        let one = |result: pb::RedeemResult| match result.outcome {
            Some(Outcome::Redeemed(done)) => Ok(done),
            Some(Outcome::Error(status)) => Err(refused(status.code, status.message)),
            None => Err(nothing()),
        };
        results.results.into_iter().map(one).collect()
    }

    async fn begin(
        mut client: Client,
        messages: ReceiverStream<pb::RedeemStreamRequest>,
    ) -> Result<Streaming<pb::RedeemStreamResponse>, Status> {
        Ok(client.redeem_stream(messages).await?.into_inner())
    }
}

/// The refusal of one item.
fn refused(code: i32, message: String) -> Status {
    Status::new(Code::from_i32(code), message)
}

/// An answer that no vault gives.
fn nothing() -> Status {
    Status::internal("a result without an outcome")
}

type Waiting<K> = VecDeque<oneshot::Sender<Result<Vec<Outcome<<K as Kind>::Done>>, Status>>>;

/// A stream that several lanes share.
pub struct Stream<K: Kind> {
    send: mpsc::Sender<K::Requests>,
    /// Those who wait for an answer, in the order of their messages.
    waiting: Arc<Mutex<Waiting<K>>>,
}

impl<K: Kind> Stream<K> {
    /// Begins one that never has more than `lanes` messages under way.
    ///
    /// # Errors
    /// What the server says.
    pub async fn begin(client: Client, lanes: usize) -> Result<Stream<K>, Status> {
        let (send, messages) = mpsc::channel(lanes);
        let mut answers = K::begin(client, ReceiverStream::new(messages)).await?;
        let waiting: Arc<Mutex<Waiting<K>>> = Arc::default();
        let own = Arc::clone(&waiting);
        tokio::spawn(async move {
            loop {
                let answer = answers.message().await;
                let mut waiting = own.lock().unwrap_or_else(PoisonError::into_inner);
                match answer {
                    Ok(Some(results)) => {
                        if let Some(first) = waiting.pop_front() {
                            let _ = first.send(Ok(K::outcomes(results)));
                        }
                    }
                    Ok(None) => return waiting.clear(),
                    Err(status) => {
                        for one in waiting.drain(..) {
                            let _ = one.send(Err(status.clone()));
                        }
                        return;
                    }
                }
            }
        });
        Ok(Stream { send, waiting })
    }

    /// Sends items in one message, and waits for their results.
    ///
    /// # Errors
    /// When the stream ends before.
    pub async fn ask(&self, items: Vec<K::Item>) -> Result<Vec<Outcome<K::Done>>, Status> {
        let ended = || Status::unavailable("the stream has ended");
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.send.try_send(K::message(items)).map_err(|_| ended())?;
            waiting.push_back(tell);
        }
        told.await.map_err(|_| ended())?
    }
}

/// One message under way at a time.
pub enum Lane {
    /// Of `TokenizeStream`.
    Tokenizing(Arc<Stream<Tokenizing>>, Arc<Stock>, usize),
    /// Of `RedeemStream`.
    Redeeming(Arc<Stream<Redeeming>>, Arc<Stock>, usize),
}

/// How many messages, and of how many items, make `items` under way over `streams`.
pub fn shape(items: usize, streams: usize) -> (usize, usize) {
    let each = items.div_ceil(streams).max(1);
    let size = each
        .div_ceil(LANES_PER_STREAM)
        .min(limits::STREAM_MESSAGE_ITEMS_MAX);
    (each.div_ceil(size), size)
}

impl Target {
    /// Lanes that have `items` items under way over `streams` streams, each on a connection of its
    /// own.
    ///
    /// # Errors
    /// When a connection or a stream fails.
    pub async fn lanes(
        &self,
        op: Op,
        items: usize,
        streams: usize,
    ) -> Result<Vec<Lane>, LoadError> {
        let streams = streams.min(items).max(1);
        let (count, size) = shape(items, streams);
        let mut lanes = Vec::new();
        if op == Op::TokenizeStream {
            for client in self.portal.clients(streams).await? {
                let stream = Stream::begin(client, count).await;
                let stream = Arc::new(stream.map_err(LoadError::refused("a stream"))?);
                lanes.extend(
                    (0..count).map(|_| {
                        Lane::Tokenizing(Arc::clone(&stream), Arc::clone(&self.stock), size)
                    }),
                );
            }
        } else {
            for client in self.processor.clients(streams).await? {
                let stream = Stream::begin(client, count).await;
                let stream = Arc::new(stream.map_err(LoadError::refused("a stream"))?);
                lanes.extend(
                    (0..count).map(|_| {
                        Lane::Redeeming(Arc::clone(&stream), Arc::clone(&self.stock), size)
                    }),
                );
            }
        }
        Ok(lanes)
    }
}

fn counted<T>(answer: Result<Vec<Outcome<T>>, Status>) -> Answer {
    match answer {
        Ok(outcomes) => {
            let all = outcomes.len();
            let failed: Vec<Status> = outcomes.into_iter().filter_map(Result::err).collect();
            Answer::Items((all - failed.len()) as u64, failed)
        }
        Err(status) => Answer::Failed(status),
    }
}

impl Calls for Lane {
    async fn call(&mut self, _: Op) -> Answer {
        match self {
            Lane::Tokenizing(stream, stock, size) => {
                let places = (0..*size).map_while(|_| stock.place());
                let items: Vec<_> = places.map(|of| requests::tokenize(&of)).collect();
                if items.len() < *size {
                    return Answer::Dry;
                }
                counted(stream.ask(items).await)
            }
            Lane::Redeeming(stream, stock, size) => {
                let tokens = (0..*size).map_while(|_| stock.token());
                let items: Vec<_> = tokens
                    .map(|of| requests::redeem(&of.transaction, &of.token))
                    .collect();
                if items.len() < *size {
                    return Answer::Dry;
                }
                counted(stream.ask(items).await)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_under_way_are_a_few_messages() {
        assert_eq!(shape(1, 1), (1, 1));
        assert_eq!(shape(16, 1), (4, 4));
        assert_eq!(shape(64, 1), (4, 16));
        assert_eq!(shape(256, 1), (4, 64));
        assert_eq!(shape(256, 2), (4, 32));
        assert_eq!(shape(1_024, 1), (16, 64));
    }
}
