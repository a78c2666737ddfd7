//! The binary shape of everything that the vault stores: big-endian integers and length-prefixed
//! byte strings, written field after field. `docs/format.md` names each field; nothing here
//! guesses. A reader never panics, never allocates more than its input, and refuses left-overs.

use zeroize::Zeroizing;

/// A stored value that does not have the shape that its format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed value: {what}")]
pub struct Malformed {
    /// Which field or rule was broken; a constant, never data.
    pub what: &'static str,
}

impl Malformed {
    /// Names what was broken.
    pub const fn new(what: &'static str) -> Malformed {
        Malformed { what }
    }
}

/// Builds a value. The buffer is wiped on drop, since it often holds plaintext.
#[derive(Default)]
pub struct Writer {
    bytes: Zeroizing<Vec<u8>>,
}

impl Writer {
    /// An empty writer with room for `capacity` bytes; give enough, so that growing leaves no
    /// unwiped copy behind.
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer {
            bytes: Zeroizing::new(Vec::with_capacity(capacity)),
        }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Eight bytes, two's complement, big-endian.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Bytes without a length: for fields of a fixed size.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        let need = self.bytes.len() + value.len();
        if need > self.bytes.capacity() {
            // Growing in place would leave the old buffer unwiped.
            let mut larger = Zeroizing::new(Vec::with_capacity(need.next_power_of_two().max(256)));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(value);
        self
    }

    /// A u32 length and the bytes. Lengths past `u32::MAX` can't occur: inputs are bounded.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        let length = u32::try_from(value.len()).expect("inputs are bounded far below 4 GiB");
        self.u32(length).raw(value)
    }

    /// A u32 length and the UTF-8 bytes.
    pub fn str(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, still wiped on drop.
    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }
}

/// Reads a value in the order in which it was written.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// The next `count` bytes.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Malformed::new("value ends early"))?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Malformed::new("value ends early"))?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// One byte that is 0 or 1.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::new("flag is neither 0 nor 1")),
        }
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Eight bytes, two's complement, big-endian.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A u32 length and that many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        self.raw(length)
    }

    /// A u32 length and that many bytes of UTF-8.
    pub fn str(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::new("text is not UTF-8"))
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The end: nothing may be left over.
    pub fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::new("bytes left over"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let mut w = Writer::default();
        w.u8(1)
            .u16(2)
            .u32(3)
            .u64(4)
            .i64(-5)
            .bytes(b"six")
            .str("sju");
        let bytes = w.finish();
        let mut r = Reader::new(&bytes);
        assert_eq!(r.u8(), Ok(1));
        assert_eq!(r.u16(), Ok(2));
        assert_eq!(r.u32(), Ok(3));
        assert_eq!(r.u64(), Ok(4));
        assert_eq!(r.i64(), Ok(-5));
        assert_eq!(r.bytes(), Ok(&b"six"[..]));
        assert_eq!(r.str(), Ok("sju"));
        assert_eq!(r.end(), Ok(()));
    }

    #[test]
    fn a_value_cut_at_any_byte_is_refused() {
        let mut w = Writer::default();
        w.u64(7).bytes(b"payload").str("text");
        let bytes = w.finish();
        for cut in 0..bytes.len() {
            let mut r = Reader::new(&bytes[..cut]);
            let read = r.u64().and_then(|_| r.bytes()).and_then(|_| r.str());
            assert!(read.is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_length_past_the_end_is_refused_without_allocating() {
        let mut r = Reader::new(&[0xff, 0xff, 0xff, 0xff, 1, 2]);
        assert!(r.bytes().is_err());
    }

    #[test]
    fn left_over_bytes_are_refused() {
        assert!(Reader::new(&[0]).end().is_err());
    }
}
