//! How results leave: words for people, or one JSON document for programs, on stdout.

use super::error::CliError;
use std::io::{self, Write};

/// Where and how a command's result goes.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// One JSON document instead of words.
    pub json: bool,
}

impl Output {
    /// Writes the result: `document` for programs, or `words` for people.
    ///
    /// # Errors
    /// When stdout is gone.
    pub fn result(
        self,
        document: &serde_json::Value,
        words: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{document:#}")?;
        } else {
            words(&mut out)?;
        }
        out.flush()?;
        Ok(())
    }

    /// Writes an error: words on stderr, and under `--json` a document on stdout too. Nothing is
    /// left to be done when that fails.
    pub fn error(self, error: &CliError) {
        if self.json {
            let _ = writeln!(io::stdout(), "{:#}", error.to_json());
        }
        let _ = writeln!(io::stderr(), "payvault: {error}");
    }
}

/// Says something to the person at the terminal, beside the result.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A token as it may be shown where its value isn't the purpose: its two ends.
pub fn shortened(token: &str) -> String {
    let (Some(head), Some(tail)) = (token.get(..9), token.len().checked_sub(4)) else {
        return "…".to_owned();
    };
    match token.get(tail..) {
        Some(tail) if token.len() >= 40 => format!("{head}…{tail}"),
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_by_its_ends_and_anything_short_not_at_all() {
        let token = crate::payment::Token::random().to_text();
        let shown = shortened(token.expose());
        assert!(shown.starts_with("pvt_a") && shown.chars().count() == 14);
        assert!(!shown.contains(&token.expose()[9..20]));
        assert_eq!(shortened("4242424242424242"), "…");
        assert_eq!(shortened(""), "…");
        assert_eq!(shortened(&"ü".repeat(30)), "…");
    }
}
