//! The redo record: what rows a round left (`docs/format.md` §5.2).
//!
//! Its parts are overwritten by the next round. At opening the last round's are held against the
//! rows: one that differs was torn or put back. A row is named by the nonce and tag of its seal, which
//! no other has; that a round comes whole or not at all is the store's part. Records of earlier
//! versions hold whole rows instead, and a row that was torn is repaired from them.

use crate::codec::{Malformed, Reader, Writer};
use crate::keys::{SEAL_NAME_BYTES, seal_name};
use crate::limits;
use crate::secret::SecretBuffer;

/// Plaintext bytes of one part: what a value may hold, less the header and the seal.
const PART_BYTES: usize = limits::VALUE_BYTES_MAX - 128;

/// Most parts of a round.
const PARTS_MAX: usize = limits::ROUND_BYTES_MAX / PART_BYTES + 1;

/// One row after the round: its key, and what it is.
pub type Image = (Vec<u8>, After);

/// What a row is after a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum After {
    /// There is none.
    Deleted,
    /// The sealed value with this nonce and tag.
    Named([u8; SEAL_NAME_BYTES]),
    /// This value; no longer written.
    Whole(Vec<u8>),
}

impl After {
    /// Whether `row` is it.
    pub fn is(&self, row: Option<&[u8]>) -> bool {
        match self {
            After::Deleted => row.is_none(),
            After::Named(name) => row.and_then(seal_name).as_ref() == Some(name),
            After::Whole(value) => row == Some(value),
        }
    }
}

/// Cuts a round's images into parts.
pub fn encode(round: &[u8; 16], images: &[Image]) -> Vec<SecretBuffer> {
    let bytes: usize = images
        .iter()
        .map(|(key, after)| {
            let value = match after {
                After::Deleted => 0,
                After::Named(name) => name.len(),
                After::Whole(value) => 4 + value.len(),
            };
            5 + key.len() + value
        })
        .sum();
    let mut stream = Writer::with_capacity(bytes + 4);
    stream.u32(u32::try_from(images.len()).expect("bounded by ROUND_ROWS_MAX"));
    for (key, after) in images {
        stream.bytes(key);
        match after {
            After::Deleted => stream.u8(0),
            After::Whole(value) => stream.u8(1).bytes(value),
            After::Named(name) => stream.u8(2).raw(name),
        };
    }
    let chunks: Vec<&[u8]> = stream.as_slice().chunks(PART_BYTES).collect();
    let parts = u16::try_from(chunks.len()).expect("bounded by PARTS_MAX");
    chunks
        .iter()
        .enumerate()
        .map(|(part, chunk)| {
            let mut w = Writer::with_capacity(24 + chunk.len());
            w.raw(round)
                .u16(u16::try_from(part).expect("bounded by PARTS_MAX"))
                .u16(parts)
                .bytes(chunk);
            w.finish()
        })
        .collect()
}

/// How many parts the record of the round with this id has, read from its first part; `None` when that part is
/// another round's.
///
/// # Errors
/// When the part does not have the shape of §5.2.
pub fn parts(round: &[u8; 16], first: &[u8]) -> Result<Option<u16>, Malformed> {
    let mut r = Reader::new(first);
    let (own, _, parts) = (r.array::<16>()?, r.u16()?, r.u16()?);
    if usize::from(parts) > PARTS_MAX {
        return Err(Malformed::new("redo: too many parts"));
    }
    Ok((own == *round).then_some(parts))
}

/// Puts the parts of `round` together again.
///
/// # Errors
/// When a part is missing, another round's, or malformed.
pub fn decode(round: &[u8; 16], parts: &[SecretBuffer]) -> Result<Vec<Image>, Malformed> {
    let mut stream = Writer::with_capacity(parts.iter().map(|p| p.len()).sum());
    for (number, part) in parts.iter().enumerate() {
        let mut r = Reader::new(part);
        let (own, index, count) = (r.array::<16>()?, r.u16()?, r.u16()?);
        if own != *round || usize::from(index) != number || usize::from(count) != parts.len() {
            return Err(Malformed::new("redo: parts of different rounds"));
        }
        stream.raw(r.bytes()?);
        r.end()?;
    }
    let mut r = Reader::new(stream.as_slice());
    let mut images = Vec::new();
    for _ in 0..r.u32()? {
        let key = r.bytes()?.to_vec();
        let after = match r.u8()? {
            0 => After::Deleted,
            1 => After::Whole(r.bytes()?.to_vec()),
            2 => After::Named(r.array()?),
            _ => return Err(Malformed::new("redo: unknown kind of image")),
        };
        images.push((key, after));
    }
    r.end()?;
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_larger_than_a_part_are_read_back() {
        let images: Vec<Image> = (0..7u8)
            .map(|n| {
                let after = match n {
                    3 => After::Deleted,
                    4 => After::Named([n; SEAL_NAME_BYTES]),
                    _ => After::Whole(vec![n; 6_900]),
                };
                (vec![b'X', n], after)
            })
            .collect();
        let parts = encode(&[9; 16], &images);
        assert!(parts.len() > 4);
        assert!(parts.iter().all(|p| p.len() < limits::VALUE_BYTES_MAX - 40));
        assert_eq!(
            super::parts(&[9; 16], &parts[0]),
            Ok(Some(parts.len() as u16))
        );
        assert_eq!(super::parts(&[8; 16], &parts[0]), Ok(None));
        assert_eq!(decode(&[9; 16], &parts), Ok(images));
        assert!(decode(&[8; 16], &parts).is_err());
        assert!(decode(&[9; 16], &parts[1..]).is_err());
    }
}
