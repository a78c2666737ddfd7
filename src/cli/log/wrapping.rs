//! What an export is wrapped in when it lies in a file: compressed (zstd), and encrypted to the
//! auditor's own key (age), in this order. The lines inside are the same, and it is they that are
//! verified; the wrapping proves nothing.

use crate::cli::error::CliError;
use crate::limits;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

/// What an age file begins with.
const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// What a zstd frame begins with (RFC 8878 3.1.1).
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Little time for most of the gain: hashes and salts don't compress.
const ZSTD_LEVEL: i32 = 3;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// How a file is to be wrapped.
#[derive(Default)]
pub struct Wrapping {
    /// Compressed.
    zstd: bool,
    /// Encrypted to these.
    recipients: Vec<age::x25519::Recipient>,
}

impl Wrapping {
    /// From flags and the file's name: `.zst` compresses by itself; `.age` doesn't encrypt, since
    /// it doesn't say to whom.
    ///
    /// # Errors
    /// When a recipient is none, or the name promises what the flags don't give.
    pub fn new(zstd: bool, to: &[String], path: Option<&Path>) -> Result<Wrapping, CliError> {
        let name = path.and_then(Path::to_str).unwrap_or_default();
        let inner = name.strip_suffix(".age").unwrap_or(name);
        if inner != name && to.is_empty() {
            let problem = "the name ends with .age: say to whom, with --to age1…";
            return Err(CliError::Usage(problem.to_owned()));
        }
        let recipients = to
            .iter()
            .map(|text| text.trim().parse::<age::x25519::Recipient>())
            .collect::<Result<_, _>>()
            .map_err(|error| CliError::Usage(format!("--to: not an age key (age1…): {error}")))?;
        Ok(Wrapping {
            zstd: zstd || inner.ends_with(".zst"),
            recipients,
        })
    }

    /// Whether nothing is to be done: such a file can be gone on with.
    pub fn is_plain(&self) -> bool {
        !self.zstd && self.recipients.is_empty()
    }

    /// Wraps what is written to `inner`.
    ///
    /// # Errors
    /// When the first bytes can't be written.
    pub fn around<W: Write>(&self, inner: W) -> io::Result<Wrapped<W>> {
        let age = |inner| {
            let to = self.recipients.iter().map(|one| one as &dyn age::Recipient);
            age::Encryptor::with_recipients(to)
                .map_err(io::Error::other)?
                .wrap_output(inner)
        };
        let layers = match (self.zstd, self.recipients.is_empty()) {
            (false, true) => Layers::Plain(inner),
            (true, true) => Layers::Zstd(zstd::Encoder::new(inner, ZSTD_LEVEL)?),
            (false, false) => Layers::Age(age(inner)?),
            (true, false) => Layers::Both(zstd::Encoder::new(age(inner)?, ZSTD_LEVEL)?),
        };
        Ok(Wrapped(layers))
    }
}

/// A writer that wraps. What isn't finished can't be read.
pub struct Wrapped<W: Write>(Layers<W>);

enum Layers<W: Write> {
    Plain(W),
    Zstd(zstd::Encoder<'static, W>),
    Age(age::stream::StreamWriter<W>),
    Both(zstd::Encoder<'static, age::stream::StreamWriter<W>>),
}

impl<W: Write> Wrapped<W> {
    /// Writes what ends the layers.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn finish(self) -> io::Result<W> {
        let mut inner = match self.0 {
            Layers::Plain(inner) => inner,
            Layers::Zstd(zstd) => zstd.finish()?,
            Layers::Age(age) => age.finish()?,
            Layers::Both(zstd) => zstd.finish()?.finish()?,
        };
        inner.flush()?;
        Ok(inner)
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.0 {
            Layers::Plain(inner) => inner,
            Layers::Zstd(zstd) => zstd,
            Layers::Age(age) => age,
            Layers::Both(zstd) => zstd,
        }
    }
}

impl<W: Write> Write for Wrapped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }
}

/// Opens a file for reading, unwrapped as far as its first bytes say. `-` is stdin.
///
/// # Errors
/// When it can't be read, or is encrypted and `identity` doesn't open it.
pub fn open(path: &Path, identity: Option<&Path>) -> Result<Box<dyn BufRead>, CliError> {
    let raw: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(CliError::file(path))?)
    };
    unwrapped(raw, identity).map_err(|problem| match problem {
        Problem::File(cause) => CliError::file(path)(cause),
        Problem::Usage(problem) => CliError::Usage(format!("{}: {problem}", path.display())),
    })
}

enum Problem {
    File(io::Error),
    Usage(String),
}

fn unwrapped(raw: Box<dyn Read>, identity: Option<&Path>) -> Result<Box<dyn BufRead>, Problem> {
    let mut reader = peekable(raw);
    if starts_with(&mut reader, AGE_MAGIC).map_err(Problem::File)? {
        let Some(identity) = identity else {
            let problem = "it is encrypted: give the identity that opens it (--identity FILE)";
            return Err(Problem::Usage(problem.to_owned()));
        };
        let wrong = |error: &dyn std::fmt::Display| Problem::Usage(format!("--identity: {error}"));
        let file = File::open(identity).map_err(|error| wrong(&error))?;
        let bounded = BufReader::new(file.take(limits::IDENTITY_BYTES_MAX));
        let identities = age::IdentityFile::from_buffer(bounded)
            .map_err(|error| wrong(&error))?
            .into_identities()
            .map_err(|error| wrong(&error))?;
        let opened = age::Decryptor::new_buffered(reader)
            .and_then(|age| age.decrypt(identities.iter().map(|one| &**one)))
            .map_err(|error| wrong(&error))?;
        reader = peekable(Box::new(opened));
    }
    if starts_with(&mut reader, ZSTD_MAGIC).map_err(Problem::File)? {
        let mut zstd = zstd::Decoder::with_buffer(reader).map_err(Problem::File)?;
        zstd.window_log_max(limits::ZSTD_WINDOW_LOG_MAX)
            .map_err(Problem::File)?;
        return Ok(Box::new(BufReader::with_capacity(READ_BYTES, zstd)));
    }
    Ok(Box::new(reader))
}

/// A reader whose first bytes were looked at.
type Peekable = BufReader<io::Chain<io::Cursor<Vec<u8>>, Box<dyn Read>>>;

fn peekable(raw: Box<dyn Read>) -> Peekable {
    BufReader::with_capacity(READ_BYTES, io::Cursor::new(Vec::new()).chain(raw))
}

/// Whether the next bytes are these; none is taken.
fn starts_with(reader: &mut Peekable, magic: &[u8]) -> io::Result<bool> {
    // A pipe may give its first bytes one by one; a file never does.
    let mut first = reader.fill_buf()?.to_vec();
    if first.len() < magic.len() && magic.starts_with(&first) {
        let have = first.len();
        reader.consume(have);
        let mut more = Vec::new();
        let missing = (magic.len() - have) as u64;
        Read::take(&mut *reader, missing).read_to_end(&mut more)?;
        first.extend_from_slice(&more);
        let rest = reader.buffer().to_vec();
        let (_, raw) = std::mem::replace(reader, peekable(Box::new(io::empty())))
            .into_inner()
            .into_inner();
        let before = [first.clone(), rest].concat();
        *reader = BufReader::with_capacity(READ_BYTES, io::Cursor::new(before).chain(raw));
    }
    Ok(first.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(wrapping: &Wrapping, lines: &[u8]) -> Vec<u8> {
        let mut writer = wrapping.around(Vec::new()).unwrap();
        writer.write_all(lines).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: Vec<u8>, identity: Option<&Path>) -> Result<Vec<u8>, String> {
        let mut lines = Vec::new();
        match unwrapped(Box::new(io::Cursor::new(bytes)), identity) {
            Ok(mut reader) => match reader.read_to_end(&mut lines) {
                Ok(_) => Ok(lines),
                Err(error) => Err(error.to_string()),
            },
            Err(Problem::Usage(problem)) => Err(problem),
            Err(Problem::File(error)) => Err(error.to_string()),
        }
    }

    #[test]
    fn what_was_wrapped_is_read_back_whatever_its_name() {
        use age::secrecy::ExposeSecret as _;
        let dir = tempfile::tempdir().unwrap();
        let own = age::x25519::Identity::generate();
        let identity = dir.path().join("identity");
        std::fs::write(&identity, own.to_string().expose_secret()).unwrap();
        let other = dir.path().join("other");
        let stranger = age::x25519::Identity::generate();
        std::fs::write(&other, stranger.to_string().expose_secret()).unwrap();
        let to = [own.to_public().to_string()];
        let lines: Vec<u8> = (0..60_000u32).flat_map(u32::to_be_bytes).collect();
        for zstd in [false, true] {
            let plain = wrapped(&Wrapping::new(zstd, &[], None).unwrap(), &lines);
            assert_eq!(plain.starts_with(ZSTD_MAGIC), zstd);
            assert_eq!(read(plain, None).unwrap(), lines);
            let sealed = wrapped(&Wrapping::new(zstd, &to, None).unwrap(), &lines);
            assert!(sealed.starts_with(AGE_MAGIC));
            assert_eq!(read(sealed.clone(), Some(&identity)).unwrap(), lines);
            assert!(
                read(sealed.clone(), None)
                    .unwrap_err()
                    .contains("--identity")
            );
            assert!(read(sealed.clone(), Some(&other)).is_err());
            // Cut, or bent: reading fails, and never ends as if that were all.
            assert!(read(sealed[..sealed.len() - 1].to_vec(), Some(&identity)).is_err());
            let mut bent = sealed;
            let middle = bent.len() / 2;
            bent[middle] ^= 1;
            assert!(read(bent, Some(&identity)).is_err());
        }
    }

    #[test]
    fn a_reader_that_gives_single_bytes_is_read_too() {
        struct Slow(io::Cursor<Vec<u8>>);
        impl Read for Slow {
            fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
                let one = to.len().min(1);
                self.0.read(&mut to[..one])
            }
        }
        for lines in [
            &b""[..],
            b"a",
            b"age-enc",
            b"age-encryption.org/v2\n",
            b"{}\n",
        ] {
            let slow = Slow(io::Cursor::new(lines.to_vec()));
            let Ok(mut reader) = unwrapped(Box::new(slow), None) else {
                panic!("nothing is wrapped");
            };
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, lines);
        }
        let zstd = wrapped(&Wrapping::new(true, &[], None).unwrap(), b"{}\n");
        let slow = Slow(io::Cursor::new(zstd));
        let Ok(mut reader) = unwrapped(Box::new(slow), None) else {
            panic!("it is compressed");
        };
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "{}\n");
    }

    #[test]
    fn the_name_compresses_and_never_encrypts_by_itself() {
        let new = |path: &str| Wrapping::new(false, &[], Some(Path::new(path)));
        assert!(new("a.jsonl").unwrap().is_plain());
        assert!(!new("a.jsonl.zst").unwrap().is_plain());
        assert!(new("a.jsonl.age").is_err_and(|error| error.exit_code() == 2));
        let to = ["age1nonsense".to_owned()];
        assert!(Wrapping::new(false, &to, None).is_err_and(|error| error.exit_code() == 2));
    }
}
