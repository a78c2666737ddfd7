//! How far a backup, restore or re-wrap is, for whoever watches: on stderr, only when that is a terminal.

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};

/// A bar when the end is known, counts when it isn't.
pub struct Progress {
    bar: ProgressBar,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

impl Progress {
    /// Nothing has happened yet.
    pub fn new() -> Progress {
        let bar = match io::stderr().is_terminal() {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        };
        Progress { bar }
    }

    /// So many records and bytes, of so many bytes when that is known.
    pub fn is_at(&self, records: u64, bytes: u64, of_bytes: Option<u64>) {
        if let Some(of_bytes) = of_bytes
            && self.bar.length() != Some(of_bytes)
        {
            self.bar.set_length(of_bytes);
            let style = "{bar:40} {bytes}/{total_bytes} {msg}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                self.bar.set_style(style);
            }
        }
        self.bar.set_position(bytes);
        self.bar.set_message(match of_bytes {
            Some(_) => format!("{records} rows"),
            None => format!("{records} rows, {}", HumanBytes(bytes)),
        });
    }

    /// So many thousandths are done, and what there is to say of them.
    pub fn is_through(&self, permille: u64, what: String) {
        if self.bar.length().is_none() {
            self.bar.set_length(1_000);
            if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent} % {msg}") {
                self.bar.set_style(style);
            }
        }
        self.bar.set_position(permille);
        self.bar.set_message(what);
    }

    /// It is over.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}
