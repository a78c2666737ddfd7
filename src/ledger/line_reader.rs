//! Reads lines of bounded length, and counts them.

use super::fault::{Fault, VerifyError};
use crate::limits::EXPORT_LINE_BYTES_MAX;
use std::io::{BufRead, ErrorKind};

/// Lines of an untrusted file.
pub(super) struct LineReader<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> LineReader<R> {
    pub fn new(reader: R) -> LineReader<R> {
        LineReader {
            reader,
            line: Vec::with_capacity(2048),
            number: 0,
        }
    }

    /// The number of the line that was read last.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// A refusal at that line.
    pub fn refuse(&self, fault: Fault) -> VerifyError {
        VerifyError {
            line: self.number,
            fault,
        }
    }

    /// The next line, without its newline. A file that stops, also in the midst of a line, is
    /// refused at the line that is missing or cut.
    pub fn next(&mut self) -> Result<&str, VerifyError> {
        self.number += 1;
        self.line.clear();
        loop {
            let piece = match self.reader.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let fault = Fault::Unreadable(error.to_string());
                    return Err(self.refuse(fault));
                }
            };
            if piece.is_empty() {
                return Err(self.refuse(Fault::Stops));
            }
            let newline = piece.iter().position(|b| *b == b'\n');
            let text = &piece[..newline.unwrap_or(piece.len())];
            if self.line.len() + text.len() > EXPORT_LINE_BYTES_MAX {
                return Err(self.refuse(Fault::LineTooLong));
            }
            self.line.extend_from_slice(text);
            let used = text.len() + usize::from(newline.is_some());
            self.reader.consume(used);
            if newline.is_some() {
                break;
            }
        }
        std::str::from_utf8(&self.line).map_err(|_| VerifyError {
            line: self.number,
            fault: Fault::NotCanonical,
        })
    }

    /// That nothing follows.
    pub fn end(mut self) -> Result<(), VerifyError> {
        self.number += 1;
        loop {
            match self.reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(_) => return Err(self.refuse(Fault::AfterEnd)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let fault = Fault::Unreadable(error.to_string());
                    return Err(self.refuse(fault));
                }
            }
        }
    }
}
