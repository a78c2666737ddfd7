//! How secrets come in: from a file, from stdin, or from a person who types them unseen. Never
//! from an argument, which every user of the machine can read. No error repeats what came in.

use super::error::CliError;
use crate::secret::SecretText;
use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// The most that is read where a secret is expected; a longer file is the wrong one.
const BYTES_MAX: u64 = 64 << 10;

/// Reads a secret from a file: its content without the line end. `-` is stdin.
///
/// # Errors
/// When it can't be read, is empty, too long, or not text.
pub fn secret_file(path: &Path) -> Result<SecretText, CliError> {
    let text = read_text(path)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(CliError::Usage(match path == Path::new("-") {
            true => "nothing came on stdin: pipe it in, or name a file".to_owned(),
            false => format!("{} is empty", path.display()),
        }));
    }
    Ok(SecretText::copy_from(secret))
}

/// Reads a whole text of at most 64 KiB that may hold secrets. `-` is stdin.
///
/// # Errors
/// When it can't be read, is too long, or not text.
pub fn read_text(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let mut text = Zeroizing::new(String::with_capacity(BYTES_MAX as usize + 1));
    let read = if path == Path::new("-") {
        io::stdin()
            .lock()
            .take(BYTES_MAX + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text))
    };
    read.map_err(CliError::file(path))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(CliError::Usage(format!(
            "{} is longer than 64 KiB",
            path.display()
        )));
    }
    Ok(text)
}

/// Reads at most `max` bytes of a file that holds no secret. `-` is stdin.
///
/// # Errors
/// When it can't be read, or is longer.
pub fn read_bytes(path: &Path, max: usize) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let limit = max as u64 + 1;
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(CliError::file(path))?;
    if bytes.len() > max {
        let path = path.display();
        return Err(CliError::Usage(format!(
            "{path} is longer than {max} bytes"
        )));
    }
    Ok(bytes)
}

/// A secret from the file when one is named, or typed unseen.
///
/// # Errors
/// When there is neither a file nor a terminal, or it can't be read.
pub fn secret(file: Option<&Path>, what: &str, flag: &str) -> Result<SecretText, CliError> {
    match file {
        Some(path) => secret_file(path),
        None if io::stdin().is_terminal() => typed_unseen(what),
        None => Err(CliError::Usage(format!(
            "{what} is needed: give {flag} FILE, or run this at a terminal"
        ))),
    }
}

/// Typed twice, unseen, and the same both times.
///
/// # Errors
/// When the two differ, or there is no terminal.
pub fn typed_twice(what: &str) -> Result<SecretText, CliError> {
    let first = typed_unseen(what)?;
    let second = typed_unseen(&format!("{what}, again"))?;
    if first.expose() != second.expose() {
        return Err(CliError::Usage("the two are not the same".to_owned()));
    }
    Ok(first)
}

/// Asks at the terminal; what is typed isn't shown.
///
/// # Errors
/// When there is no terminal.
pub fn typed_unseen(what: &str) -> Result<SecretText, CliError> {
    Ok(SecretText::new(rpassword::prompt_password(format!(
        "{what}: "
    ))?))
}

/// Typed unseen at a terminal; otherwise the next line of stdin, so that several secrets can be piped
/// in.
///
/// # Errors
/// When stdin ends, or the line is empty or too long.
pub fn line_unseen(what: &str) -> Result<SecretText, CliError> {
    if io::stdin().is_terminal() {
        return typed_unseen(what);
    }
    let mut line = Zeroizing::new(String::with_capacity(BYTES_MAX as usize + 1));
    // Byte by byte through the process's one buffer: what follows is for the next call.
    io::stdin().lock().take(BYTES_MAX).read_line(&mut line)?;
    let secret = line.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(CliError::Usage(format!(
            "{what} is needed: pipe it in, or run this at a terminal"
        )));
    }
    Ok(SecretText::copy_from(secret))
}

/// Asks at the terminal; what is typed is shown. An empty answer is empty text.
///
/// # Errors
/// When stdin ends.
pub fn typed(what: &str) -> Result<Zeroizing<String>, CliError> {
    let mut err = io::stderr();
    write!(err, "{what}: ")?;
    err.flush()?;
    let mut line = Zeroizing::new(String::new());
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(CliError::Usage("the input ended".to_owned()));
    }
    Ok(Zeroizing::new(line.trim().to_owned()))
}

/// Whether a person sits at stdin.
pub fn at_a_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Writes a new file that its owner alone can read, durably. An existing one is not overwritten:
/// it may hold another secret.
///
/// # Errors
/// When it exists or can't be written.
pub fn write_secret_file(path: &Path, content: &str) -> Result<(), CliError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(content.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write().map_err(CliError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_file_loses_its_line_end_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, " a secret \r\n").unwrap();
        assert_eq!(secret_file(&path).unwrap().expose(), " a secret ");
        std::fs::write(&path, "\n").unwrap();
        assert!(secret_file(&path).is_err());
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(secret_file(&path).is_err());
        assert!(secret_file(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_written_secret_is_its_owners_only_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        write_secret_file(&path, "one").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(write_secret_file(&path, "two").is_err());
        assert_eq!(secret_file(&path).unwrap().expose(), "one");
    }
}
