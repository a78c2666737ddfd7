//! The journal: where a round becomes durable. Each round is one record, written behind the last
//! one and synced; the engine gets the rows later, many rounds at once, from memory. So a round
//! costs one write in order and one `fdatasync`, whatever the engine would make of its rows.
//!
//! Two files take turns. While one is written, the rounds of the other go into the engine; it is
//! written over only once they are durable there. `docs/format.md` §5.6 has every byte.
//!
//! # What is assumed of the disk
//! `fdatasync` puts what was written, and the file's size, on stable storage. Until then any sector
//! may be lost or torn, in any order. A record begins on a page of its own, so no sector that holds
//! an acknowledged one is ever written again before its file's next turn.
//!
//! # What it must never do
//! Take a record for whole that isn't, or pass over one that was acknowledged: a record that is
//! damaged while a later one of the same turn is whole is no torn end but damage, and so are turns
//! or rounds that don't follow each other. Only a file whose rounds the engine has for certain is not
//! held to that: the first record of its next turn may lie over any part of it.

use super::durable::sync_directory;
use super::embedded::guarded::refused;
use super::embedded::opening::show_the_disk;
use super::{Key, RoundId, StoreError, WriteSet};
use crate::codec::{Malformed, Reader};
use crate::limits;
use crate::os;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The two files, in the store's directory.
pub(super) const FILES: [&str; 2] = ["journal.0", "journal.1"];
/// Records begin at multiples of this.
const PAGE_BYTES: u64 = 4_096;
/// A record's header.
const HEADER_BYTES: usize = 64;
/// Where the checksum lies in the header: its last four bytes.
const CHECKSUM_AT: usize = HEADER_BYTES - 4;
const MAGIC: &[u8; 2] = b"PJ";
const FORMAT: u8 = 1;
/// A file grows by so much, with zeros: a record that is written over what is there already changes
/// no size, and its sync no metadata.
const GROWTH_BYTES: u64 = 64 << 10;
/// The longest record: a round at its bounds, and what frames its rows.
const RECORD_BYTES_MAX: usize =
    HEADER_BYTES + limits::ROUND_BYTES_MAX + (limits::ROUND_ROWS_MAX + 2) * (9 + 64);

/// Ties a journal to its engine: random, made with the journal, kept in both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalId(pub [u8; 16]);

/// One round, as the journal has it.
pub(super) struct Recorded {
    /// Its number: one more than the round's before it.
    pub sequence: u64,
    /// The rows that it wrote, the last round's id among them.
    pub rows: Vec<(Key, Option<Vec<u8>>)>,
}

/// The journal of an open store. One writer.
pub(super) struct Journal {
    id: JournalId,
    files: [JournalFile; 2],
    /// Which of them is written.
    current: usize,
    /// Turns so far, this one included; a file's records all have the turn's number.
    turn: u64,
    /// Number of the next round.
    next: u64,
    /// Bytes of a file past which it is the other one's turn.
    bytes_max: u64,
    /// The record under way; kept, so that a round allocates nothing.
    record: Vec<u8>,
}

struct JournalFile {
    file: File,
    /// Where the next record goes.
    end: u64,
    /// The file's size.
    size: u64,
}

impl Journal {
    /// Makes an empty journal in `directory`, durably, over whatever is there.
    pub(super) fn make(directory: &Path) -> io::Result<()> {
        for path in paths(directory) {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)?;
            file.sync_all()?;
        }
        sync_directory(directory)
    }

    /// Whether any file of a journal lies in `directory`.
    pub(super) fn lies_in(directory: &Path) -> bool {
        paths(directory).iter().any(|path| path.exists())
    }

    /// Whether `directory` has a journal that holds anything.
    pub(super) fn holds_rounds(directory: &Path) -> io::Result<bool> {
        for path in paths(directory) {
            match std::fs::read(&path) {
                // On any page: the first may be damaged.
                Ok(bytes) if records(&bytes).next().is_some() => return Ok(true),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }

    /// Reads what is truly on the disk: every round that is there, in order. `applied` is the last
    /// one that the engine has for certain. The next record begins the turn of the file whose rounds
    /// are older: the caller MUST bring all that is given into the engine, durably, before it writes.
    ///
    /// # Errors
    /// `Damaged` when it isn't what was written, and says where; `Io` or `Full`.
    pub(super) fn open(
        directory: &Path,
        id: JournalId,
        applied: u64,
        bytes_max: u64,
    ) -> Result<(Journal, Vec<Recorded>), StoreError> {
        let mut files = Vec::with_capacity(2);
        let mut found = Vec::with_capacity(2);
        for path in paths(directory) {
            show_the_disk(&path).map_err(refused)?;
            let file = OpenOptions::new().read(true).write(true).open(&path);
            let file = file.map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => damaged("a file is missing"),
                _ => refused(e),
            })?;
            let size = file.metadata().map_err(refused)?.len();
            if size > size_max(bytes_max) {
                return Err(damaged("a file is longer than it may be"));
            }
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            file.read_exact_at(&mut bytes, 0).map_err(refused)?;
            found.push(found_in(&bytes, id)?);
            files.push(JournalFile { file, end: 0, size });
        }
        let (Ok(files), Some(second), Some(first)) = (
            <[JournalFile; 2]>::try_from(files),
            found.pop(),
            found.pop(),
        ) else {
            return Err(damaged("there are two files"));
        };
        let (last_turn, last_file, rounds) = in_order(first, second, applied)?;
        let (first, last) = match (rounds.first(), rounds.last()) {
            (Some(first), Some(last)) => (first.sequence, last.sequence),
            _ => (applied.saturating_add(1), applied),
        };
        if rounds.is_empty() && applied > 0 {
            return Err(damaged("its rounds are gone"));
        }
        if first > applied.saturating_add(1) {
            return Err(damaged(
                "rounds are missing between the engine's and its own",
            ));
        }
        if last < applied {
            return Err(damaged("it is older than the engine"));
        }
        let journal = Journal {
            id,
            files,
            current: 1 - last_file,
            turn: last_turn + 1,
            next: last + 1,
            bytes_max,
            record: Vec::new(),
        };
        Ok((journal, rounds))
    }

    /// Which journal it is.
    pub(super) fn id(&self) -> JournalId {
        self.id
    }

    /// Number of the last round.
    pub(super) fn last(&self) -> u64 {
        self.next - 1
    }

    /// Puts the next round's record together; nothing is written yet.
    pub(super) fn prepare(&mut self, id: RoundId, writes: &WriteSet) {
        let record = &mut self.record;
        record.clear();
        record.extend_from_slice(MAGIC);
        record.extend_from_slice(&[FORMAT, 0]);
        record.extend_from_slice(&self.id.0);
        record.extend_from_slice(&self.turn.to_be_bytes());
        record.extend_from_slice(&self.next.to_be_bytes());
        record.extend_from_slice(&id.0);
        record.resize(HEADER_BYTES, 0);
        for (key, value) in writes.iter() {
            put(record, key);
            match value {
                Some(value) => {
                    record.push(1);
                    put(record, value);
                }
                None => record.push(0),
            }
        }
        let payload = u32_of(record.len() - HEADER_BYTES);
        record[CHECKSUM_AT - 8..CHECKSUM_AT - 4].copy_from_slice(&u32_of(writes.len()));
        record[CHECKSUM_AT - 4..CHECKSUM_AT].copy_from_slice(&payload);
        self.seal_record();
    }

    fn seal_record(&mut self) {
        let checksum = checksum(&self.record);
        self.record[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&checksum);
    }

    /// Whether the record that was prepared still belongs into the current file. The first of a
    /// turn always does.
    pub(super) fn fits(&self) -> bool {
        let file = &self.files[self.current];
        file.end == 0 || file.end + padded(self.record.len()) <= self.bytes_max
    }

    /// Gives the turn to the other file, whose rounds MUST be durable in the engine. The record that
    /// was prepared moves on with it.
    pub(super) fn take_turns(&mut self) {
        self.current = 1 - self.current;
        self.files[self.current].end = 0;
        self.turn += 1;
        if self.record.len() >= HEADER_BYTES {
            self.record[20..28].copy_from_slice(&self.turn.to_be_bytes());
            self.seal_record();
        }
    }

    /// Writes the record that was prepared. It is durable only after [`sync`](Journal::sync).
    pub(super) fn write(&mut self) -> io::Result<()> {
        let file = &mut self.files[self.current];
        let length = padded(self.record.len());
        let end = file.end + length;
        while file.size < end {
            // Zeros, not a hole: so that space is taken now and later syncs touch no metadata.
            let zeros = vec![0; usize::try_from(GROWTH_BYTES).unwrap_or(0)];
            file.file.write_all_at(&zeros, file.size)?;
            file.size += GROWTH_BYTES;
        }
        self.record.resize(usize::try_from(length).unwrap_or(0), 0);
        file.file.write_all_at(&self.record, file.end)
    }

    /// Makes what was written durable, and the next record the one behind it.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let length = padded(self.record.len());
        let file = &mut self.files[self.current];
        os::sync_data(&file.file)?;
        file.end += length;
        self.next += 1;
        Ok(())
    }
}

/// A record in its file.
struct Record<'a> {
    id: JournalId,
    turn: u64,
    sequence: u64,
    round: RoundId,
    rows: u32,
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the beginning of `bytes`, when it is whole.
    fn first(bytes: &'a [u8]) -> Option<Record<'a>> {
        let mut r = Reader::new(bytes);
        let head = (r.array::<2>().ok()?, r.u8().ok()?, r.u8().ok()?);
        if head != (*MAGIC, FORMAT, 0) {
            return None;
        }
        let (id, turn) = (JournalId(r.array().ok()?), r.u64().ok()?);
        let (sequence, round) = (r.u64().ok()?, RoundId(r.array().ok()?));
        let (rows, length) = (r.u32().ok()?, r.u32().ok()?);
        let length = usize::try_from(length).ok()?;
        let found: [u8; 4] = r.array().ok()?;
        if length > RECORD_BYTES_MAX {
            return None;
        }
        let payload = r.raw(length).ok()?;
        (found == checksum(&bytes[..HEADER_BYTES + length])).then_some(Record {
            id,
            turn,
            sequence,
            round,
            rows,
            payload,
        })
    }

    /// Bytes that it takes in its file.
    fn bytes(&self) -> u64 {
        padded(HEADER_BYTES + self.payload.len())
    }

    fn read(&self) -> Result<Recorded, Malformed> {
        let mut r = Reader::new(self.payload);
        let mut rows = Vec::new();
        for _ in 0..self.rows {
            let key = r.bytes()?.to_vec();
            let value = match r.bool()? {
                true => Some(r.bytes()?.to_vec()),
                false => None,
            };
            rows.push((key, value));
        }
        r.end()?;
        rows.push((super::ROUND_KEY.to_vec(), Some(self.round.0.to_vec())));
        Ok(Recorded {
            sequence: self.sequence,
            rows,
        })
    }
}

/// The rounds of one file's turn.
struct Turn {
    number: u64,
    rounds: Vec<Recorded>,
    /// What shows that it had more of them, if anything does.
    spoilt: Option<&'static str>,
}

impl Turn {
    /// Its rounds, when nothing is wrong with them.
    fn whole(self) -> Result<Vec<Recorded>, StoreError> {
        match self.spoilt {
            Some(what) => Err(damaged(what)),
            None => Ok(self.rounds),
        }
    }
}

/// What a file holds.
enum Found {
    /// A turn with one round at least.
    Turn(Turn),
    /// Its first record isn't whole. What lies behind is of this turn at the most; 0 for nothing.
    NoneBefore(u64),
}

const FIRST_IS_DAMAGED: &str = "the first round of a turn is damaged";
const FILES_UNLIKE: &str = "its files don't follow each other";

fn found_in(bytes: &[u8], id: JournalId) -> Result<Found, StoreError> {
    let Some(first) = Record::first(bytes) else {
        let turns = records(bytes).map(|record| record.turn);
        return Ok(Found::NoneBefore(turns.max().unwrap_or(0)));
    };
    if first.id != id {
        return Err(damaged("it belongs to another store"));
    }
    let mut turn = Turn {
        number: first.turn,
        rounds: Vec::new(),
        spoilt: None,
    };
    let mut at = 0u64;
    while let Some(record) = rest(bytes, at).and_then(Record::first) {
        let expected = turn
            .rounds
            .last()
            .map_or(record.sequence, |r| r.sequence + 1);
        if (record.id, record.turn) != (id, turn.number) {
            // Left from an earlier turn.
            break;
        }
        if record.sequence != expected {
            turn.spoilt = Some("a round is not the one that follows");
            break;
        }
        at += record.bytes();
        let read = record.read();
        turn.rounds
            .push(read.map_err(|_| damaged("a round has another shape"))?);
    }
    // Whatever comes behind was never acknowledged, unless a whole record of this turn is there.
    let mut beyond = at;
    while let Some(tail) = rest(bytes, beyond) {
        match Record::first(tail) {
            // The one that was first is synced before the next one is written.
            Some(record) if record.id == id && record.turn > turn.number => {
                return Err(damaged(FIRST_IS_DAMAGED));
            }
            Some(record) if record.id == id && record.turn == turn.number => {
                turn.spoilt = turn.spoilt.or(Some("a round in its midst is damaged"));
            }
            _ => {}
        }
        beyond += PAGE_BYTES;
    }
    Ok(Found::Turn(turn))
}

/// The whole records on any page.
fn records(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let pages = (0..).map_while(|page| rest(bytes, page * PAGE_BYTES));
    pages.filter_map(Record::first)
}

fn rest(bytes: &[u8], at: u64) -> Option<&[u8]> {
    bytes
        .get(usize::try_from(at).ok()?..)
        .filter(|rest| !rest.is_empty())
}

/// The rounds of both files in order; the last turn and its file. `applied` is the last round that the
/// engine has for certain.
fn in_order(
    first: Found,
    second: Found,
    applied: u64,
) -> Result<(u64, usize, Vec<Recorded>), StoreError> {
    let (older, newer, file) = match (first, second) {
        (Found::NoneBefore(0), Found::NoneBefore(0)) => return Ok((0, 1, Vec::new())),
        // The first record of the next turn, when it is torn, stands before older turns only.
        (Found::Turn(only), Found::NoneBefore(turn)) if turn < only.number => {
            return Ok((only.number, 0, only.whole()?));
        }
        (Found::NoneBefore(turn), Found::Turn(only)) if turn < only.number => {
            return Ok((only.number, 1, only.whole()?));
        }
        (Found::Turn(a), Found::Turn(b)) if a.number < b.number => (a, b, 1),
        (Found::Turn(a), Found::Turn(b)) => (b, a, 0),
        _ => return Err(damaged(FIRST_IS_DAMAGED)),
    };
    let (turn, newer) = (newer.number, newer.whole()?);
    if older.number + 1 != turn {
        return Err(damaged(FILES_UNLIKE));
    }
    let begins = newer.first().map_or(0, |round| round.sequence);
    let whole = older.whole().and_then(|rounds| {
        let follows = rounds.last().map(|round| round.sequence + 1) == Some(begins);
        follows.then_some(rounds).ok_or(damaged(FILES_UNLIKE))
    });
    match whole {
        Ok(mut rounds) => {
            rounds.extend(newer);
            Ok((turn, file, rounds))
        }
        // The older file isn't needed. Its next turn may have begun: of a first record that was never
        // synced any part may lie over its rounds, and leave the first of them as it was.
        Err(_) if begins <= applied.saturating_add(1) => Ok((turn, file, newer)),
        Err(error) => Err(error),
    }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("the journal: {what}"))
}

fn paths(directory: &Path) -> [PathBuf; 2] {
    FILES.map(|name| directory.join(name))
}

/// A file ends within a step of growth behind its last record, which may be the only one of its turn
/// and as long as a round can be.
fn size_max(bytes_max: u64) -> u64 {
    bytes_max.max(padded(RECORD_BYTES_MAX)) + GROWTH_BYTES
}

fn padded(length: usize) -> u64 {
    (length as u64).next_multiple_of(PAGE_BYTES)
}

fn put(record: &mut Vec<u8>, bytes: &[u8]) {
    record.extend_from_slice(&u32_of(bytes.len()));
    record.extend_from_slice(bytes);
}

fn u32_of(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("bounded by ROUND_BYTES_MAX")
        .to_be_bytes()
}

/// CRC-32 (IEEE) of header and payload, the checksum itself left out. It tells a torn record from a
/// whole one; that a row is the vault's own is what its seal is for.
fn checksum(record: &[u8]) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&record[..CHECKSUM_AT]);
    crc.update(&record[HEADER_BYTES..]);
    crc.finalize().to_be_bytes()
}

/// For fuzzers only: the rounds, and how many rows each has, of a journal whose two files hold these
/// records, each on a page of its own, beside an engine that has the rounds up to `applied`. A record
/// gets this journal's id and a right checksum, unless it is `damaged`: bytes alone would never have
/// one.
///
/// # Errors
/// What opening such a journal says.
#[cfg(feature = "fault-injection")]
pub fn reread(files: [&[Piece<'_>]; 2], applied: u64) -> Result<Vec<(u64, usize)>, StoreError> {
    let id = JournalId([7; 16]);
    let [first, second] = files.map(|pieces| {
        let pages = pieces.iter().flat_map(|piece| piece.page(id));
        pages.collect::<Vec<u8>>()
    });
    let (_, _, rounds) = in_order(found_in(&first, id)?, found_in(&second, id)?, applied)?;
    let each = rounds
        .iter()
        .map(|round| (round.sequence, round.rows.len()));
    Ok(each.collect())
}

/// A record of [`reread`].
#[cfg(feature = "fault-injection")]
pub struct Piece<'a> {
    /// The turn.
    pub turn: u64,
    /// The round.
    pub sequence: u64,
    /// How many rows it says it has.
    pub rows: u32,
    /// The rows' bytes.
    pub payload: &'a [u8],
    /// Whether its checksum is wrong.
    pub damaged: bool,
}

#[cfg(feature = "fault-injection")]
impl Piece<'_> {
    fn page(&self, id: JournalId) -> Vec<u8> {
        let mut record = MAGIC.to_vec();
        record.extend_from_slice(&[FORMAT, 0]);
        record.extend_from_slice(&id.0);
        record.extend_from_slice(&self.turn.to_be_bytes());
        record.extend_from_slice(&self.sequence.to_be_bytes());
        record.extend_from_slice(&[0; 16]);
        record.extend_from_slice(&self.rows.to_be_bytes());
        record.extend_from_slice(&u32_of(self.payload.len()));
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(self.payload);
        let mut right = checksum(&record);
        right[0] ^= u8::from(self.damaged);
        record[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&right);
        let whole = padded(record.len());
        record.resize(usize::try_from(whole).unwrap_or(0), 0);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoredValue;

    const ID: JournalId = JournalId([7; 16]);

    fn round(n: u64) -> WriteSet {
        let mut writes = WriteSet::new();
        let value = StoredValue::Public(vec![n as u8; 3_000 + n as usize]);
        writes.put([b'E', n as u8].to_vec(), value).unwrap();
        writes
    }

    /// A journal with the rounds `1..=last`, three to a turn, and its directory.
    fn written(last: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        Journal::make(dir.path()).unwrap();
        let (mut journal, rounds) = open(dir.path(), 0).unwrap();
        assert!(rounds.is_empty());
        for n in 1..=last {
            journal.prepare(RoundId([n as u8; 16]), &round(n));
            if !journal.fits() {
                journal.take_turns();
            }
            journal.write().unwrap();
            journal.sync().unwrap();
        }
        dir
    }

    fn open(directory: &Path, applied: u64) -> Result<(Journal, Vec<Recorded>), StoreError> {
        Journal::open(directory, ID, applied, 3 * PAGE_BYTES)
    }

    /// The rounds that are read, or what is wrong.
    fn found(directory: &Path, applied: u64) -> Result<Vec<u64>, String> {
        match open(directory, applied) {
            Ok((_, rounds)) => Ok(rounds.iter().map(|round| round.sequence).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn change(directory: &Path, file: usize, at: u64) {
        let path = directory.join(FILES[file]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at as usize] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn rounds_are_read_back_in_order_from_both_files() {
        // Turns: 1-3 in file 0, 4-6 in file 1, 7-8 in file 0 again.
        let dir = written(8);
        assert_eq!(found(dir.path(), 6), Ok(vec![4, 5, 6, 7, 8]));
        let (_, rounds) = open(dir.path(), 6).unwrap();
        let expected = vec![
            (vec![b'E', 8], Some(vec![8; 3_008])),
            (super::super::ROUND_KEY.to_vec(), Some(vec![8; 16])),
        ];
        assert_eq!(rounds[4].rows, expected);
        assert_eq!(
            found(dir.path(), 2).unwrap_err(),
            "the store is damaged: the journal: rounds are missing between the engine's and its own"
        );
        assert_eq!(
            found(dir.path(), 9).unwrap_err(),
            "the store is damaged: the journal: it is older than the engine"
        );
    }

    #[test]
    fn a_torn_end_is_left_out_and_damage_before_it_is_refused() {
        let refused = |file, page, what: &str| {
            let dir = written(8);
            change(dir.path(), file, page * PAGE_BYTES + 100);
            let error = found(dir.path(), 3).unwrap_err();
            assert!(error.contains(what), "{file} {page}: {error}");
        };
        // The last record: nobody was told of it.
        let dir = written(8);
        change(dir.path(), 0, PAGE_BYTES + 100);
        assert_eq!(found(dir.path(), 6), Ok(vec![4, 5, 6, 7]));
        // The first and only one of its turn: what lies behind it is older.
        let dir = written(7);
        change(dir.path(), 0, 100);
        assert_eq!(found(dir.path(), 6), Ok(vec![4, 5, 6]));
        refused(0, 0, "first round of a turn");
        // The older file's: the engine hasn't its rounds yet.
        refused(1, 0, "rounds are missing");
        refused(1, 1, "in its midst");
        // The other file goes on, so this one was whole.
        refused(1, 2, "don't follow each other");
    }

    /// The power may go while the first record of a turn is written over the file that was longest
    /// ago: whatever of it is on the disk, nothing that was synced is in want of it.
    #[test]
    fn a_turn_whose_first_record_is_torn_in_any_way_loses_nothing() {
        let before = written(6);
        let next = written(6);
        {
            let (mut journal, _) = open(next.path(), 6).unwrap();
            let mut writes = WriteSet::new();
            for row in 0..5 {
                let value = StoredValue::Public(vec![7; 3_400]);
                writes.put(vec![b'E', 7, row], value).unwrap();
            }
            journal.prepare(RoundId([7; 16]), &writes);
            journal.write().unwrap();
            assert_eq!(journal.record.len() as u64, 5 * PAGE_BYTES);
        }
        let name = FILES[0];
        let old = std::fs::read(before.path().join(name)).unwrap();
        let new = std::fs::read(next.path().join(name)).unwrap();
        let page = PAGE_BYTES as usize;
        for on_disk in 0..1u32 << 5 {
            let mut bytes = new.clone();
            for n in (0..5).filter(|n| on_disk & 1 << n == 0) {
                let range = n * page..(n + 1) * page;
                bytes[range.clone()].fill(0);
                let had = old.get(range.start..).unwrap_or_default();
                let had = &had[..had.len().min(page)];
                bytes[range.start..range.start + had.len()].copy_from_slice(had);
            }
            std::fs::write(before.path().join(name), &bytes).unwrap();
            let found = found(before.path(), 3);
            let last = found.as_deref().ok().and_then(<[u64]>::last);
            let expected = if on_disk == 31 { 7 } else { 6 };
            assert_eq!(last, Some(&expected), "{on_disk:05b}: {found:?}");
        }
    }

    /// A disk that loses what it said was synced is found out.
    #[test]
    fn a_first_record_that_goes_back_to_an_earlier_turn_is_refused() {
        let (before, after) = (written(6), written(8));
        let name = FILES[0];
        let mut bytes = std::fs::read(after.path().join(name)).unwrap();
        let page = PAGE_BYTES as usize;
        let old = std::fs::read(before.path().join(name)).unwrap();
        bytes[..page].copy_from_slice(&old[..page]);
        std::fs::write(after.path().join(name), &bytes).unwrap();
        let error = found(after.path(), 6).unwrap_err();
        assert!(error.contains("first round of a turn"), "{error}");
    }

    #[test]
    fn a_file_that_is_cut_missing_or_exchanged_is_refused() {
        let dir = written(8);
        let path = dir.path().join(FILES[1]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..PAGE_BYTES as usize + 5]).unwrap();
        assert!(
            found(dir.path(), 3)
                .unwrap_err()
                .contains("follow each other")
        );
        std::fs::write(&path, std::fs::read(dir.path().join(FILES[0])).unwrap()).unwrap();
        assert!(
            found(dir.path(), 3)
                .unwrap_err()
                .contains("follow each other")
        );
        std::fs::remove_file(&path).unwrap();
        assert!(found(dir.path(), 3).unwrap_err().contains("missing"));
        let other = Journal::open(written(2).path(), JournalId([8; 16]), 0, 3 * PAGE_BYTES);
        assert!(other.err().unwrap().to_string().contains("another store"));
    }
}
