//! The backup's file: a header in clear, sealed chunks of records, and a last chunk that says what
//! came before (`docs/format.md` §9). Written once from the start to the end; read the same way, in
//! memory of one chunk.

use super::{BackupError, Progress};
use crate::clock::Timestamp;
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{VaultId, letters};
use crate::keys::{BackupKey, KeyId, Keyring};
use crate::limits::{
    BACKUP_CHUNK_BYTES_MAX, BACKUP_VERSION_CHARS_MAX, KEY_BYTES_MAX, NOTE_BYTES_MAX,
    VALUE_BYTES_MAX,
};
use crate::store::durable::forget_cached;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"PVBACKUP";
const FORMAT: u8 = 1;
const SUITE: u8 = 1;
/// Header without its version text.
const HEADER_BYTES: usize = 8 + 2 + 16 + 4 + 16 + 4 + 8 + 8 + 4;
/// The longest record.
const RECORD_BYTES_MAX: usize = 1 + 4 + KEY_BYTES_MAX + 4 + VALUE_BYTES_MAX;
/// A chunk is closed when its content is longer than this: an eighth of what a reader takes.
const CHUNK_CONTENT_BYTES: usize = 128 << 10;

/// What stands at the begin, in clear. It is bound to every chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Whose backup it is.
    pub vault: VaultId,
    /// Epoch of the ledger.
    pub epoch: u32,
    /// Names the backup; random.
    pub id: [u8; 16],
    /// The key that it is sealed under.
    pub key: KeyId,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// Generation of the keyring then.
    pub keyring_generation: u64,
    /// Version of the software that wrote it.
    pub version: String,
}

/// What stands at the end, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// How many records there are.
    pub records: u64,
    /// Digest of every chunk's content before.
    pub digest: [u8; 32],
    /// Epoch of the ledger.
    pub epoch: u32,
    /// The round whose state it is.
    pub round: u64,
    /// That round's id.
    pub round_id: [u8; 16],
    /// Entries in the ledger.
    pub size: u64,
    /// Root over them.
    pub root: [u8; 32],
    /// Least generation of the keyring that opens every row.
    pub keyring_generation: u64,
    /// When it was ended.
    pub ended_at: Timestamp,
    /// The checkpoint of that size and root, signed.
    pub note: String,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(HEADER_BYTES + BACKUP_VERSION_CHARS_MAX);
        w.raw(MAGIC)
            .u8(FORMAT)
            .u8(SUITE)
            .raw(&self.vault.0)
            .u32(self.epoch)
            .raw(&self.id)
            .u32(self.key.0)
            .u64(self.begun_at.0)
            .u64(self.keyring_generation)
            .str(&self.version);
        w.as_slice().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Header, Malformed> {
        let mut r = Reader::new(bytes);
        if r.array()? != *MAGIC {
            return Err(Malformed::new("it does not begin as one"));
        }
        if (r.u8()?, r.u8()?) != (FORMAT, SUITE) {
            return Err(Malformed::new("its format is unknown"));
        }
        let header = Header {
            vault: VaultId(r.array()?),
            epoch: r.u32()?,
            id: r.array()?,
            key: KeyId(r.u32()?),
            begun_at: Timestamp(r.u64()?),
            keyring_generation: r.u64()?,
            version: r.str()?.to_owned(),
        };
        r.end()?;
        Ok(header)
    }

    /// What the keys of its chunks are bound to.
    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.encode()).into()
    }

    /// The backup's id in letters.
    pub fn id_text(&self) -> String {
        letters(&self.id)
    }

    /// Reads the header at the begin of a file.
    ///
    /// # Errors
    /// [`BackupError::NotABackup`], or that it can't be read.
    pub fn read(path: &Path) -> Result<Header, BackupError> {
        let file = File::open(path).map_err(BackupError::io(path))?;
        read_header(&mut BufReader::new(file), path).map(|(header, _)| header)
    }
}

impl Trailer {
    fn encode(&self) -> Writer {
        let mut w = Writer::with_capacity(256 + self.note.len());
        w.u64(self.records)
            .raw(&self.digest)
            .u32(self.epoch)
            .u64(self.round)
            .raw(&self.round_id)
            .u64(self.size)
            .raw(&self.root)
            .u64(self.keyring_generation)
            .u64(self.ended_at.0)
            .str(&self.note);
        w
    }

    fn decode(bytes: &[u8]) -> Result<Trailer, Malformed> {
        let mut r = Reader::new(bytes);
        let trailer = Trailer {
            records: r.u64()?,
            digest: r.array()?,
            epoch: r.u32()?,
            round: r.u64()?,
            round_id: r.array()?,
            size: r.u64()?,
            root: r.array()?,
            keyring_generation: r.u64()?,
            ended_at: Timestamp(r.u64()?),
            note: r.str()?.to_owned(),
        };
        r.end()?;
        if trailer.note.len() > NOTE_BYTES_MAX {
            return Err(Malformed::new("trailer: note is too long"));
        }
        Ok(trailer)
    }
}

/// Digest of the contents, as the trailer has it.
struct Contents {
    hash: Sha256,
    records: u64,
}

impl Contents {
    fn new() -> Contents {
        Contents {
            hash: Sha256::new_with_prefix(b"payvault backup content v1"),
            records: 0,
        }
    }
}

/// A backup that is being written. Dropped before [`finish`](BackupWriter::finish), it leaves no
/// file.
pub struct BackupWriter {
    path: PathBuf,
    file: BufWriter<File>,
    key: BackupKey,
    number: u64,
    open: Writer,
    contents: Contents,
    bytes: u64,
    finished: bool,
}

impl BackupWriter {
    /// Begins a file at `path`, which must not exist; its owner alone can read it. `key` is the one
    /// of this header.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn begin(
        path: &Path,
        header: &Header,
        key: BackupKey,
    ) -> Result<BackupWriter, BackupError> {
        let bytes = header.encode();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(BackupError::io(path))?;
        let mut writer = BackupWriter {
            path: path.to_path_buf(),
            file: BufWriter::with_capacity(1 << 16, file),
            key,
            number: 0,
            open: new_content(),
            contents: Contents::new(),
            bytes: 0,
            finished: false,
        };
        writer.write(&bytes)?;
        Ok(writer)
    }

    /// A row: its value, or none when it was deleted.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn record(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), BackupError> {
        match value {
            Some(value) => self.open.u8(1).bytes(key).bytes(value),
            None => self.open.u8(0).bytes(key),
        };
        self.contents.records += 1;
        if self.open.len() > CHUNK_CONTENT_BYTES {
            self.close_chunk()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BackupError> {
        self.file.flush().map_err(BackupError::io(&self.path))
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress {
            records: self.contents.records,
            bytes: self.bytes,
            of_bytes: None,
        }
    }

    /// Writes the trailer that `end` makes of the number of records and their digest, and makes the
    /// file durable. Its name is still the partial one.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn finish(
        mut self,
        end: impl FnOnce(u64, [u8; 32]) -> Trailer,
    ) -> Result<Trailer, BackupError> {
        if !self.open.is_empty() {
            self.close_chunk()?;
        }
        let hash = std::mem::take(&mut self.contents.hash);
        let trailer = end(self.contents.records, hash.finalize().into());
        self.chunk(trailer.encode().as_slice(), true)?;
        self.flush()?;
        self.file
            .get_ref()
            .sync_all()
            .map_err(BackupError::io(&self.path))?;
        self.finished = true;
        Ok(trailer)
    }

    fn close_chunk(&mut self) -> Result<(), BackupError> {
        let content = std::mem::replace(&mut self.open, new_content());
        self.contents.hash.update(content.as_slice());
        self.chunk(content.as_slice(), false)
    }

    fn chunk(&mut self, content: &[u8], last: bool) -> Result<(), BackupError> {
        let chunk = self.key.seal(self.number, last, content);
        self.number += 1;
        let length = u32::try_from(chunk.len()).expect("bounded by CHUNK_CONTENT_BYTES");
        self.write(&[u8::from(last)])?;
        self.write(&length.to_be_bytes())?;
        self.write(&chunk)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.bytes += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(BackupError::io(&self.path))
    }
}

impl Drop for BackupWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Without a last chunk it is no backup to anybody; it only takes space.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn new_content() -> Writer {
    Writer::with_capacity(CHUNK_CONTENT_BYTES + RECORD_BYTES_MAX)
}

/// A record as it was read.
pub struct Record<'a> {
    /// The row's key.
    pub key: &'a [u8],
    /// Its value, or none when it was deleted.
    pub value: Option<&'a [u8]>,
}

/// A backup that can be read: its header is this vault's, and its key is there.
pub struct BackupReader {
    path: PathBuf,
    /// The header.
    pub header: Header,
    key: BackupKey,
    keyring_generation: u64,
}

impl BackupReader {
    /// Reads the header of the file at `path`.
    ///
    /// # Errors
    /// When it can't be read, is no backup, or `ring` can't open it.
    pub fn open(path: &Path, ring: &Keyring) -> Result<BackupReader, BackupError> {
        let file = File::open(path).map_err(BackupError::io(path))?;
        let (header, digest) = read_header(&mut BufReader::new(file), path)?;
        if header.vault != ring.vault() {
            return Err(BackupError::OtherVault {
                found: header.vault.to_string(),
                wanted: ring.vault().to_string(),
            });
        }
        let keyring_generation = ring.generation();
        newer(keyring_generation, header.keyring_generation)?;
        let key = ring
            .opens_backup(header.key, &header.id, digest)
            .map_err(BackupError::Sealed)?;
        Ok(BackupReader {
            path: path.to_path_buf(),
            header,
            key,
            keyring_generation,
        })
    }

    /// A reader of a file that is being written, with the key of its header: the keyring isn't
    /// needed again.
    pub(super) fn of_own(path: &Path, header: Header, key: BackupKey) -> BackupReader {
        BackupReader {
            path: path.to_path_buf(),
            header,
            key,
            // What was sealed by this very process can't be newer than its keyring.
            keyring_generation: u64::MAX,
        }
    }

    /// Reads the whole file and gives each record to `each`. Everything is verified: every chunk
    /// and its place, the number of records, their digest, and that nothing follows; but a record
    /// is given out as soon as its own chunk opened, so nothing final may rest on one before this
    /// returns.
    ///
    /// # Errors
    /// What is wrong with the file, or what `each` says.
    pub fn read(
        &self,
        mut each: impl FnMut(Record<'_>) -> Result<(), BackupError>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Trailer, BackupError> {
        let path = &self.path;
        let file = File::open(path).map_err(BackupError::io(path))?;
        let of_bytes = file.metadata().map_err(BackupError::io(path))?.len();
        let mut file = BufReader::with_capacity(1 << 16, file);
        let (header, _) = read_header(&mut file, path)?;
        if header != self.header {
            return Err(BackupError::NotABackup("it changed while it was read"));
        }
        let mut contents = Contents::new();
        let mut bytes = header.encode().len() as u64;
        let mut number = 0;
        loop {
            let (last, chunk) = read_chunk(&mut file, number, path)?;
            let damaged = |why: &dyn std::fmt::Display| BackupError::Damaged {
                chunk: number,
                why: why.to_string(),
            };
            bytes += 5 + chunk.len() as u64;
            let opened = self.key.open(number, last, &chunk);
            let content = opened.map_err(|e| damaged(&e))?;
            if last {
                let trailer = Trailer::decode(&content).map_err(|e| damaged(&e))?;
                if bytes != of_bytes {
                    return Err(damaged(&"something follows it"));
                }
                let found: [u8; 32] = contents.hash.finalize().into();
                if trailer.records != contents.records || trailer.digest != found {
                    return Err(damaged(&"what came before is not what it names"));
                }
                newer(self.keyring_generation, trailer.keyring_generation)?;
                return Ok(trailer);
            }
            contents.hash.update(&content[..]);
            let mut r = Reader::new(&content);
            while r.remaining() > 0 {
                let record = read_record(&mut r).map_err(|e| damaged(&e))?;
                contents.records += 1;
                each(record)?;
            }
            progress(Progress {
                records: contents.records,
                bytes,
                of_bytes: Some(of_bytes),
            });
            number += 1;
        }
    }

    /// Reads a file that was just written, from the disk rather than from memory, and holds it
    /// against the trailer that it was written with. `go_on` is asked at each record, and its error
    /// ends the reading.
    ///
    /// # Errors
    /// [`BackupError::NotAsWritten`], and what `go_on` says.
    pub fn read_back(
        &self,
        written: &Trailer,
        go_on: impl Fn() -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let wrong = |why: String| BackupError::NotAsWritten {
            path: self.path.clone(),
            why,
        };
        File::open(&self.path)
            .and_then(|file| forget_cached(&file))
            .map_err(BackupError::io(&self.path))?;
        let trailer = self
            .read(|_| go_on(), &mut |_| ())
            .map_err(|error| match error {
                BackupError::Refused(_) => error,
                error => wrong(error.to_string()),
            })?;
        if trailer != *written {
            return Err(wrong("it ends otherwise".to_owned()));
        }
        Ok(())
    }
}

/// Refuses a keyring that is older than one that sealed something in the backup.
fn newer(found: u64, least: u64) -> Result<(), BackupError> {
    if found < least {
        return Err(BackupError::KeyringOlder { found, least });
    }
    Ok(())
}

fn read_record<'a>(r: &mut Reader<'a>) -> Result<Record<'a>, Malformed> {
    let put = r.bool()?;
    let key = r.bytes()?;
    let value = match put {
        true => Some(r.bytes()?),
        false => None,
    };
    if key.len() > KEY_BYTES_MAX || value.is_some_and(|v| v.len() > VALUE_BYTES_MAX) {
        return Err(Malformed::new("a record is too long"));
    }
    Ok(Record { key, value })
}

/// The header and its digest.
fn read_header(file: &mut impl Read, path: &Path) -> Result<(Header, [u8; 32]), BackupError> {
    const SHORT: BackupError = BackupError::NotABackup("it ends in its header");
    let mut bytes = vec![0u8; HEADER_BYTES];
    read_whole(file, &mut bytes, path)?.ok_or(SHORT)?;
    if bytes[..8] != *MAGIC {
        return Err(BackupError::NotABackup("it does not begin as one"));
    }
    let (_, length) = bytes.split_last_chunk().expect("longer than four bytes");
    let length = u32::from_be_bytes(*length) as usize;
    if length > BACKUP_VERSION_CHARS_MAX {
        return Err(BackupError::NotABackup("its header is too long"));
    }
    let mut version = vec![0u8; length];
    read_whole(file, &mut version, path)?.ok_or(SHORT)?;
    bytes.extend_from_slice(&version);
    let header = Header::decode(&bytes).map_err(|e| BackupError::NotABackup(e.what))?;
    Ok((header, Sha256::digest(&bytes).into()))
}

/// Whether the next chunk says that it is the last one, and its sealed bytes.
fn read_chunk(
    file: &mut impl Read,
    number: u64,
    path: &Path,
) -> Result<(bool, Vec<u8>), BackupError> {
    let incomplete = || BackupError::Incomplete { chunk: number };
    let damaged = |why: &str| BackupError::Damaged {
        chunk: number,
        why: why.to_owned(),
    };
    let mut begin = [0u8; 5];
    read_whole(file, &mut begin, path)?.ok_or_else(incomplete)?;
    let last = match begin[0] {
        0 => false,
        1 => true,
        _ => return Err(damaged("it does not begin as one")),
    };
    let length = u32::from_be_bytes([begin[1], begin[2], begin[3], begin[4]]) as usize;
    if length > BACKUP_CHUNK_BYTES_MAX {
        return Err(damaged("it is too long"));
    }
    let mut chunk = vec![0u8; length];
    read_whole(file, &mut chunk, path)?.ok_or_else(incomplete)?;
    Ok((last, chunk))
}

/// Fills `buffer`; `None` when the file ends before.
fn read_whole(
    file: &mut impl Read,
    buffer: &mut [u8],
    path: &Path,
) -> Result<Option<()>, BackupError> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(Some(())),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(BackupError::io(path)(e)),
    }
}
