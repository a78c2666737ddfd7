//! Padding (ISO/IEC 7816-4) to multiples of 512 bytes: a short name and a long one, a card and an
//! account look alike from outside.

use crate::limits::{SEALED_PLAINTEXT_BYTES_MAX, SEALED_PLAINTEXT_STEP};
use crate::secret::SecretBuffer;
use zeroize::Zeroizing;

/// The padded content; `None` when it is longer than may be sealed.
pub(super) fn pad(content: &[u8]) -> Option<SecretBuffer> {
    let padded = (content.len() + 1).next_multiple_of(SEALED_PLAINTEXT_STEP);
    (padded <= SEALED_PLAINTEXT_BYTES_MAX).then(|| {
        let mut out = Zeroizing::new(Vec::with_capacity(padded));
        out.extend_from_slice(content);
        out.push(0x80);
        out.resize(padded, 0);
        out
    })
}

/// Takes the padding off; false when it has another shape.
pub(super) fn unpad(padded: &mut SecretBuffer) -> bool {
    let whole = padded.len().is_multiple_of(SEALED_PLAINTEXT_STEP)
        && padded.len() <= SEALED_PLAINTEXT_BYTES_MAX;
    let end = padded.iter().rposition(|byte| *byte != 0);
    match end {
        Some(end)
            if whole && padded[end] == 0x80 && padded.len() - end <= SEALED_PLAINTEXT_STEP =>
        {
            padded.truncate(end);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_padded_comes_back_and_no_other_shape_is_taken() {
        for length in [0, 1, 510, 511, 512, 1_023, 2_047] {
            let content: Vec<u8> = (0..length).map(|n| (n % 7) as u8).collect();
            let mut padded = pad(&content).unwrap();
            assert!(padded.len().is_multiple_of(512) && padded.len() > length);
            assert!(unpad(&mut padded), "{length}");
            assert_eq!(padded[..], content[..]);
        }
        assert!(pad(&[1; 2_048]).is_none());
        let with = |bytes: &[u8], length: usize| {
            let mut buffer = Zeroizing::new(bytes.to_vec());
            buffer.resize(length, 0);
            buffer
        };
        for mut wrong in [
            with(b"", 0),
            with(b"", 512),
            with(b"a", 512),
            with(b"a\x81", 512),
            with(b"a\x80", 511),
            // More padding than is needed would be a second spelling.
            with(b"a\x80", 1_024),
            with(b"a\x80", 4_096),
        ] {
            assert!(!unpad(&mut wrong), "{} bytes", wrong.len());
        }
    }
}
