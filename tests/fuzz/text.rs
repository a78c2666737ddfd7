//! The canary: what stands for a secret in an input and must not be said again.

use std::fmt::{Debug, Display};

/// Planted into inputs, by hand in seeds and by [`planted`]. Printable, no digits, and no word that
/// an error text could have by itself.
pub const CANARY: &str = "zqxjCANARYvkw";

/// Fails when `said` repeats the canary, in whatever case.
pub fn silent(said: &str) {
    let said = said.to_ascii_lowercase();
    assert!(
        !said.contains(&CANARY.to_ascii_lowercase()),
        "an error says what came in: {said}"
    );
}

/// An error's text, for people and for developers, doesn't repeat the canary.
pub fn silent_error(error: &(impl Display + Debug)) {
    silent(&error.to_string());
    silent(&format!("{error:?}"));
}

/// `text` with the canary put into it, at a place that the text decides.
pub fn planted(text: &str) -> String {
    let sum: usize = text.bytes().map(usize::from).sum();
    let mut at = sum % (text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    format!("{}{CANARY}{}", &text[..at], &text[at..])
}

/// The bytes as text, when they are text.
pub fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
