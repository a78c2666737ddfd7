//! How a token comes in: it is a secret, so from a file, the environment, stdin or a prompt, and
//! never from an argument.

use super::error::CliError;
use super::input;
use crate::payment::Token;
use crate::secret::SecretText;
use clap::Args;
use std::path::{Path, PathBuf};

/// Where the token is.
#[derive(Args, Debug, Clone, Default)]
pub struct TokenArgs {
    /// File with the token, - for stdin; otherwise PAYVAULT_TOKEN, or asked for at a terminal, or
    /// stdin
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// Reads the token and checks its letters, so that a mistyped one isn't sent.
    ///
    /// # Errors
    /// When there is none, or it isn't one. It is never repeated.
    pub fn read(&self) -> Result<SecretText, CliError> {
        let from_variable = std::env::var("PAYVAULT_TOKEN").ok().map(SecretText::new);
        let text = match (&self.token_file, from_variable) {
            (Some(path), _) => input::secret_file(path)?,
            (None, Some(text)) => text,
            (None, None) if input::at_a_terminal() => input::typed_unseen("token")?,
            (None, None) => input::secret_file(Path::new("-"))?,
        };
        checked(&text)
    }
}

fn checked(text: &SecretText) -> Result<SecretText, CliError> {
    let token = text.expose().trim();
    Token::parse(token).map_err(|_| {
        CliError::Usage("that is not a token: pvt_a and 72 letters, checksum included".into())
    })?;
    Ok(SecretText::copy_from(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_goes_out_and_nothing_else_is_repeated() {
        let token = Token::random().to_text();
        let spaced = SecretText::new(format!(" {}\n", token.expose()));
        assert_eq!(checked(&spaced).unwrap().expose(), token.expose());
        let number = SecretText::copy_from("4242424242424242");
        let error = checked(&number).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(!error.to_string().contains("4242"));
    }
}
