//! The voice of the demonstration: short lines without colour. It is given nothing but what may be
//! shown.

use std::cell::Cell;
use std::io::{self, Write};

/// Writes lines to stdout, or nothing when a program listens.
pub struct Narrator {
    silent: bool,
    chapters: Cell<u32>,
}

impl Narrator {
    /// A voice, or silence.
    pub fn new(silent: bool) -> Narrator {
        Narrator {
            silent,
            chapters: Cell::new(0),
        }
    }

    /// A new part of the road.
    pub fn chapter(&self, title: &str) {
        let number = self.chapters.get() + 1;
        self.chapters.set(number);
        let gap = if number == 1 { "" } else { "\n" };
        self.write(&format!("{gap}{number}. {title}"));
    }

    /// A line of explanation.
    pub fn line(&self, text: &str) {
        self.write(&format!("   {text}"));
    }

    /// What a caller sent, in words, and how many bytes it was.
    pub fn sent(&self, caller: &str, rpc: &str, what: &str, bytes: usize) {
        self.write(&format!("   {caller} -> {rpc} ({bytes} bytes): {what}"));
    }

    /// What the vault answered.
    pub fn answered(&self, what: &str) {
        self.write(&format!("      <- {what}"));
    }

    fn write(&self, line: &str) {
        if !self.silent {
            // A reader that left (`| head`) is no reason to fail.
            let _ = writeln!(io::stdout(), "{line}");
        }
    }
}
