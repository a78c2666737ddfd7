//! The high-water mark: the last published checkpoint, outside the database and ideally on another
//! volume, so that a store that lost something is noticed (docs/format.md §8). Two files, written
//! in turn: one of them is whole at any moment. A mark must be written after the commit that it
//! speaks of is durable, and before its checkpoint is published.

use super::durable::{create_directory, replace_file};
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::VaultId;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a slot: a signed note is a few hundred; more is not a mark.
const SLOT_BYTES_MAX: u64 = 16 << 10;
/// No mark has this sequence number: none could come after it.
const SEQUENCE_END: u64 = u64::MAX;

/// What the vault had published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose mark it is.
    pub vault: VaultId,
    /// The ledger's epoch.
    pub epoch: u32,
    /// Entries in the ledger.
    pub size: u64,
    /// The root hash at that size.
    pub root: [u8; 32],
    /// The keyring's generation; an older keyring must be refused.
    pub keyring_generation: u64,
    /// The signed note of the checkpoint.
    pub note: String,
}

/// The two slots of a directory. One process writes them: the one that has the store open.
pub struct MarkFile {
    directory: PathBuf,
    latest: Option<(u64, Mark)>,
    /// The slot that the next mark goes into: never the one that holds the latest.
    next: usize,
}

impl MarkFile {
    /// Reads both slots in `directory`, which is made when it is missing.
    ///
    /// # Errors
    /// [`MarkError::Damaged`] when slots exist and none of them is right: a mark was lost, and
    /// "there was none" would be a wrong answer. Also when one is numbered as no vault gets to
    /// number it: it would stay the latest for ever. [`MarkError::Io`] when the system refuses.
    pub fn open(directory: &Path) -> Result<MarkFile, MarkError> {
        create_directory(directory)?;
        let slots = [
            read_slot(&slot_path(directory, 0))?,
            read_slot(&slot_path(directory, 1))?,
        ];
        let exists = slots.iter().any(|slot| !matches!(slot, Slot::Missing));
        let right = slots.into_iter().enumerate().filter_map(|(index, slot)| {
            if let Slot::Right(sequence, mark) = slot {
                Some((index, sequence, mark))
            } else {
                None
            }
        });
        match right.max_by_key(|(_, sequence, _)| *sequence) {
            Some((index, sequence, mark)) => Ok(MarkFile {
                directory: directory.to_path_buf(),
                latest: Some((sequence, mark)),
                next: 1 - index,
            }),
            None if exists => Err(MarkError::Damaged),
            None => Ok(MarkFile {
                directory: directory.to_path_buf(),
                latest: None,
                next: 0,
            }),
        }
    }

    /// The mark that was written last; `None` when there never was one.
    pub fn read(&self) -> Option<&Mark> {
        self.latest.as_ref().map(|(_, mark)| mark)
    }

    /// Writes `mark` as the latest. When this returns `Ok` it MUST be on stable storage. When it
    /// fails, the mark before it still stands, here and on the disk, and the next try goes into
    /// the same slot.
    ///
    /// # Errors
    /// [`MarkError::Io`], or [`MarkError::Damaged`] when no sequence number is left. The checkpoint
    /// MUST NOT be published then.
    pub fn write(&mut self, mark: &Mark) -> Result<(), MarkError> {
        let last = self.latest.as_ref().map_or(0, |(last, _)| *last);
        let sequence = last
            .checked_add(1)
            .filter(|next| *next < SEQUENCE_END)
            .ok_or(MarkError::Damaged)?;
        let bytes = encode(sequence, mark);
        let path = slot_path(&self.directory, self.next);
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => overwrite(&file, &bytes)?,
            // A first mark appears whole or not at all: a torn one with nothing beside it could
            // not be told from a lost one.
            Err(e) if e.kind() == io::ErrorKind::NotFound => replace_file(&path, &bytes)?,
            Err(e) => return Err(e.into()),
        }
        self.latest = Some((sequence, mark.clone()));
        self.next = 1 - self.next;
        Ok(())
    }
}

/// Why a mark could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MarkError {
    /// The system refused.
    #[error("the high-water mark can't be read or written: {0}")]
    Io(Arc<io::Error>),
    /// Both slots are wrong, or the only one is, or one is a forgery. The vault must not serve:
    /// what it had published is unknown.
    #[error("the high-water mark is damaged")]
    Damaged,
}

impl From<io::Error> for MarkError {
    fn from(error: io::Error) -> MarkError {
        MarkError::Io(Arc::new(error))
    }
}

enum Slot {
    Missing,
    Wrong,
    Right(u64, Mark),
}

fn slot_path(directory: &Path, index: usize) -> PathBuf {
    directory.join(format!("mark.{index}"))
}

fn read_slot(path: &Path) -> Result<Slot, MarkError> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Slot::Missing),
        Ok(meta) if meta.len() > SLOT_BYTES_MAX => return Ok(Slot::Wrong),
        meta => meta?,
    };
    Ok(match decode(&fs::read(path)?) {
        // Not torn, since its checksum is right: somebody wrote it.
        Ok((SEQUENCE_END, _)) => return Err(MarkError::Damaged),
        Ok((sequence, mark)) => Slot::Right(sequence, mark),
        Err(_) => Slot::Wrong,
    })
}

/// In place: a new file each time would cost two directory syncs a mark.
fn overwrite(file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

fn encode(sequence: u64, mark: &Mark) -> Vec<u8> {
    let mut w = Writer::with_capacity(160 + mark.note.len());
    w.raw(b"PM")
        .u8(1)
        .u64(sequence)
        .raw(&mark.vault.0)
        .u32(mark.epoch)
        .u64(mark.size)
        .raw(&mark.root)
        .u64(mark.keyring_generation)
        .str(&mark.note);
    let digest = Sha256::digest(w.as_slice());
    w.raw(&digest);
    w.as_slice().to_vec()
}

fn decode(bytes: &[u8]) -> Result<(u64, Mark), Malformed> {
    let Some((content, digest)) = bytes.split_last_chunk::<32>() else {
        return Err(Malformed::new("mark ends early"));
    };
    if Sha256::digest(content)[..] != digest[..] {
        return Err(Malformed::new("mark's checksum"));
    }
    let mut r = Reader::new(content);
    if r.raw(3)? != b"PM\x01" {
        return Err(Malformed::new("mark's magic or format"));
    }
    let sequence = r.u64()?;
    let mark = Mark {
        vault: VaultId(r.array()?),
        epoch: r.u32()?,
        size: r.u64()?,
        root: r.array()?,
        keyring_generation: r.u64()?,
        note: r.str()?.to_owned(),
    };
    r.end()?;
    Ok((sequence, mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(size: u64) -> Mark {
        Mark {
            vault: VaultId([7; 16]),
            epoch: 1,
            size,
            root: [size as u8; 32],
            keyring_generation: 3,
            // Of varying length, as real notes are.
            note: "n".repeat(300 - size as usize),
        }
    }

    fn size(directory: &Path) -> Option<u64> {
        let file = MarkFile::open(directory).unwrap();
        file.read().map(|mark| mark.size)
    }

    #[test]
    fn there_is_none_at_first_and_then_the_last_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not").join("yet");
        assert_eq!(size(&path), None);
        let mut file = MarkFile::open(&path).unwrap();
        for n in 1..=5 {
            file.write(&mark(n)).unwrap();
            assert_eq!(file.read(), Some(&mark(n)));
            let again = MarkFile::open(&path).unwrap();
            assert_eq!(again.read(), Some(&mark(n)));
        }
        // Going on after opening again keeps the order.
        MarkFile::open(&path).unwrap().write(&mark(6)).unwrap();
        MarkFile::open(&path).unwrap().write(&mark(7)).unwrap();
        assert_eq!(size(&path), Some(7));
    }

    #[test]
    fn a_slot_torn_at_any_byte_falls_back_to_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = MarkFile::open(dir.path()).unwrap();
        for n in 1..=3 {
            file.write(&mark(n)).unwrap();
        }
        let latest = slot_path(dir.path(), 0);
        let new = fs::read(&latest).unwrap();
        let old = encode(1, &mark(1));
        for cut in 0..new.len() {
            let rest = old.get(cut..).unwrap_or(&[]);
            fs::write(&latest, [&new[..cut], rest].concat()).unwrap();
            assert_eq!(size(dir.path()), Some(2), "cut at {cut}");
        }
        // The torn slot is the one that is written next.
        let mut file = MarkFile::open(dir.path()).unwrap();
        file.write(&mark(4)).unwrap();
        assert_eq!(size(dir.path()), Some(4));
        fs::write(slot_path(dir.path(), 0), b"").unwrap();
        assert_eq!(size(dir.path()), Some(2));
    }

    #[test]
    fn when_no_slot_is_right_there_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = MarkFile::open(dir.path()).unwrap();
        file.write(&mark(1)).unwrap();
        fs::write(slot_path(dir.path(), 0), b"torn").unwrap();
        assert!(matches!(
            MarkFile::open(dir.path()),
            Err(MarkError::Damaged)
        ));
        fs::write(slot_path(dir.path(), 1), vec![0; 20_000]).unwrap();
        assert!(matches!(
            MarkFile::open(dir.path()),
            Err(MarkError::Damaged)
        ));
    }

    #[test]
    fn a_slot_that_none_could_follow_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = MarkFile::open(dir.path()).unwrap();
        file.write(&mark(1)).unwrap();
        let forged = slot_path(dir.path(), 1);
        fs::write(&forged, encode(u64::MAX, &mark(2))).unwrap();
        assert!(matches!(
            MarkFile::open(dir.path()),
            Err(MarkError::Damaged)
        ));
        // The last number but one is read, and nothing is written after it.
        fs::write(&forged, encode(u64::MAX - 1, &mark(2))).unwrap();
        let mut file = MarkFile::open(dir.path()).unwrap();
        assert!(matches!(file.write(&mark(3)), Err(MarkError::Damaged)));
        assert_eq!(size(dir.path()), Some(2));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = encode(9, &mark(5));
        assert_eq!(decode(&bytes), Ok((9, mark(5))));
        for index in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[index] ^= 1;
            assert!(decode(&bad).is_err(), "byte {index}");
        }
        assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn the_layout_is_the_specified_one() {
        let bytes = encode(1, &mark(2));
        assert_eq!(&bytes[..11], b"PM\x01\0\0\0\0\0\0\0\x01");
        assert_eq!(&bytes[11..27], &[7; 16]);
        assert_eq!(&bytes[27..31], &[0, 0, 0, 1]);
        assert_eq!(&bytes[31..39], &2u64.to_be_bytes());
        assert_eq!(&bytes[39..71], &[2; 32]);
        assert_eq!(&bytes[71..79], &3u64.to_be_bytes());
        assert_eq!(&bytes[79..83], &298u32.to_be_bytes());
        assert_eq!(bytes.len(), 83 + 298 + 32);
    }
}
