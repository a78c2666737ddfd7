//! How far an export is, for whoever watches: a bar on stderr, only when that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};

/// Counts lines as they come, and shows them.
pub struct Progress {
    bar: ProgressBar,
    head: Option<Vec<u8>>,
    lines: u64,
}

impl Progress {
    /// Nothing has come yet.
    pub fn new() -> Progress {
        let bar = if io::stderr().is_terminal() {
            ProgressBar::no_length()
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} entries {per_sec} {eta}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Progress {
            bar,
            head: Some(Vec::new()),
            lines: 0,
        }
    }

    /// A piece of whole lines came. How many entries there will be is said by the first line.
    pub fn came(&mut self, piece: &[u8]) {
        let lines = piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.lines += lines;
        if let Some(mut head) = self.head.take() {
            head.extend_from_slice(piece);
            match head.iter().position(|byte| *byte == b'\n') {
                Some(end) => self.bar.set_length(range(&head[..end]).unwrap_or(0)),
                None => self.head = Some(head),
            }
        }
        self.bar.set_position(self.lines.saturating_sub(1));
    }

    /// All lines, header and end included.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// All has come.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

/// How many entries a header announces.
fn range(header: &[u8]) -> Option<u64> {
    let header: serde_json::Value = serde_json::from_slice(header).ok()?;
    let index = |name: &str| header[name].as_str()?.parse::<u64>().ok();
    index("to")?.checked_sub(index("from")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_the_header_read_across_pieces() {
        let mut progress = Progress::new();
        progress.came(b"{\"from\":\"3\",");
        progress.came(b"\"to\":\"10\"}\n{}\n{}\n");
        assert_eq!(progress.lines(), 3);
        assert_eq!(range(b"{\"from\":\"3\",\"to\":\"10\"}"), Some(7));
        assert_eq!(range(b"{\"from\":\"3\"}"), None);
        assert_eq!(range(b"nothing"), None);
    }
}
