//! How far a copy is, for whoever watches: a bar on stderr, only when that is a terminal.

use crate::store::copy::Step;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};

/// Shows the steps as they come.
pub struct Progress {
    bar: ProgressBar,
    rows: u64,
}

impl Progress {
    /// Nothing has come yet.
    pub fn new() -> Progress {
        let bar = if io::stderr().is_terminal() {
            ProgressBar::no_length()
        } else {
            ProgressBar::hidden()
        };
        let style =
            ProgressStyle::with_template("{msg:9} {bar:40} {pos}/{len} rows {per_sec} {eta}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Progress { bar, rows: 0 }
    }

    /// A step was made. The rows are counted first, so that the others know how many will come.
    pub fn at(&mut self, step: Step) {
        let (what, rows) = match step {
            Step::Counted(rows) => {
                self.rows = rows;
                ("counting", rows)
            }
            Step::Written(rows) => ("writing", rows),
            Step::Compared(rows) => ("comparing", rows),
        };
        self.bar.set_message(what);
        self.bar.set_length(self.rows);
        self.bar.set_position(rows);
    }

    /// All is done, or nothing more will be.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}
