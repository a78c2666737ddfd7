//! Reading messages: what can't be read is the caller's mistake, and is refused as any other bad
//! field is. The library that reads them would call it an internal error, and repeat keys and
//! wire types of what was sent.

use super::status;
use super::violations::Violations;
use prost::{DecodeError, Message, Name};
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// How the messages of every call are written and read; named in `build.rs`.
pub struct MessageCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for MessageCodec<T, U> {
    fn default() -> MessageCodec<T, U> {
        MessageCodec(PhantomData)
    }
}

impl<T, U> Codec for MessageCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = MessageDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> MessageDecoder<U> {
        MessageDecoder(PhantomData)
    }
}

/// Reads messages of one kind.
pub struct MessageDecoder<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for MessageDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        match U::decode(bytes) {
            Ok(message) => Ok(Some(message)),
            Err(error) if U::NAME.ends_with("Request") => Err(refuse(&error)),
            Err(_) => Err(status::internal("a reply can't be read")),
        }
    }
}

fn refuse(error: &DecodeError) -> Status {
    let mut violations = Violations::new();
    violations.add(
        path(&error.to_string()),
        "can't be read as protobuf (UTF-8 text included)",
    );
    status::invalid(violations)
}

/// The path of the field that could not be read; empty for the message itself. `said` names the
/// fields from the innermost outward, each as `Message.field`, and then says what is wrong: that
/// part may repeat what was sent and is not looked at.
fn path(said: &str) -> String {
    let named = said.split(": ").skip(1).map_while(|part| {
        let (message, field) = part.split_once('.')?;
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (plain(message) && plain(field)).then_some(field)
    });
    let mut fields: Vec<&str> = named.collect();
    fields.reverse();
    // The library doesn't say which member of the oneof `kind` it read.
    let known = fields.split(|field| *field == "kind").next();
    known.unwrap_or_default().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::proto as pb;

    fn path_of<M: Message + Default>(bytes: &[u8]) -> String {
        path(&M::decode(bytes).err().expect("unreadable").to_string())
    }

    #[test]
    fn the_field_is_named_from_the_outside_in() {
        let bad = [0x0a, 2, b'4', 0xff];
        assert_eq!(path_of::<pb::GetTransactionRequest>(&bad), "transaction");
        // Details, card, number.
        let card = [&[0x0a, 4][..], &bad].concat();
        let request = [&[0x1a, 6][..], &card].concat();
        let found = path_of::<pb::TokenizeRequest>(&request);
        assert_eq!(found, "details");
        assert_eq!(path_of::<pb::TokenizeRequest>(&[0xff; 16]), "");
        assert_eq!(path_of::<pb::TokenizeRequest>(&[0x0f, 1]), "");
    }
}
