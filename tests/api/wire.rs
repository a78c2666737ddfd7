//! Calls with bodies of any bytes, and all that comes back.

use prost::Message;
use prost::bytes::{Buf, BufMut};
use std::collections::BTreeSet;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt;

/// Bytes as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// Calls `path` with a body of any bytes: every message of the answer.
pub async fn call(
    channel: &Channel,
    path: &'static str,
    body: Vec<u8>,
    session: Option<&str>,
) -> Result<Vec<Vec<u8>>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("a connection");
    let mut request = Request::new(body);
    if let Some(session) = session {
        let value = format!("Bearer {session}").parse().expect("ASCII");
        request.metadata_mut().insert("authorization", value);
    }
    let path = http::uri::PathAndQuery::from_static(path);
    let mut stream = grpc
        .server_streaming(request, path, Raw)
        .await?
        .into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

/// The one message of an answer.
pub fn only<T: Message + Default>(answer: &[Vec<u8>]) -> T {
    assert_eq!(answer.len(), 1, "one message");
    T::decode(&answer[0][..]).expect("a message")
}

/// The stable reason of an error; empty when it has none.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

/// Everything that an error carries, for searching.
pub fn all_of(status: &Status) -> Vec<u8> {
    let mut all = status.message().as_bytes().to_vec();
    all.push(0);
    all.extend_from_slice(status.details());
    for pair in status.metadata().iter() {
        all.push(0);
        match pair {
            tonic::metadata::KeyAndValueRef::Ascii(key, value) => {
                all.extend_from_slice(key.as_str().as_bytes());
                all.push(0);
                all.extend_from_slice(value.as_bytes());
            }
            tonic::metadata::KeyAndValueRef::Binary(key, value) => {
                all.extend_from_slice(key.as_str().as_bytes());
                all.push(0);
                all.extend_from_slice(&value.to_bytes().unwrap_or_default());
            }
        }
    }
    all
}

/// An error as its caller sees it, without what differs from call to call by itself (the date).
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    code: tonic::Code,
    message: String,
    details: Vec<u8>,
    metadata: BTreeSet<String>,
}

impl Seen {
    pub fn of(status: &Status) -> Seen {
        let keys = status.metadata().keys().map(|key| match key {
            tonic::metadata::KeyRef::Ascii(key) => key.as_str().to_owned(),
            tonic::metadata::KeyRef::Binary(key) => key.as_str().to_owned(),
        });
        Seen {
            code: status.code(),
            message: status.message().to_owned(),
            details: status.details().to_vec(),
            metadata: keys.collect(),
        }
    }
}
