//! Going on with an export that was interrupted: from its last whole line, under its first header.
//!
//! A line depends on its entry, the filter and nothing else, so the vault needs no memory of the
//! first call. The rest is asked for as an export of its own (and is an entry of its own); what is
//! kept of it are its lines. The first header pins range, filter and checkpoint, so the whole is
//! verified as if it had come in one piece.

use crate::cli::error::CliError;
use crate::limits::EXPORT_LINE_BYTES_MAX;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};

/// What is there of an export, and how it goes on.
pub struct Remains {
    header: Value,
    /// Whole lines, header included.
    lines: u64,
    /// Whether the end line is there too.
    pub complete: bool,
}

impl Remains {
    /// Looks at `file`, cuts off the line that isn't whole, and stands at its end; `None` when there
    /// is no header yet.
    ///
    /// # Errors
    /// When it can't be read or cut, or isn't an export.
    pub fn of(file: &mut File) -> Result<Option<Remains>, CliError> {
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(&mut *file);
        let (mut lines, mut bytes, mut header, mut complete) = (0, 0, None, false);
        let mut line = Vec::new();
        loop {
            line.clear();
            let bounded = EXPORT_LINE_BYTES_MAX as u64 + 1;
            let read = reader.by_ref().take(bounded).read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            if lines == 0 {
                header = Some(pinned(&line)?);
            }
            complete = is_end(&line);
            lines += 1;
            bytes += read as u64;
        }
        drop(reader);
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(bytes))?;
        Ok(header.map(|header| Remains {
            header,
            lines,
            complete,
        }))
    }

    fn number(&self, member: &str) -> Result<u64, CliError> {
        let text = self.header[member].as_str();
        text.and_then(|text| text.parse().ok())
            .ok_or_else(no_export)
    }

    /// The first index that is missing, and the end of the range.
    ///
    /// # Errors
    /// When the header isn't one.
    pub fn missing(&self) -> Result<(u64, u64), CliError> {
        let from = self.number("from")?.checked_add(self.lines - 1);
        let to = self.number("to")?;
        match from {
            Some(from) if from <= to => Ok((from, to)),
            _ => Err(no_export()),
        }
    }

    /// The ledger's epoch.
    ///
    /// # Errors
    /// When the header isn't one.
    pub fn epoch(&self) -> Result<u32, CliError> {
        u32::try_from(self.number("epoch")?).map_err(|_| no_export())
    }

    /// Whether `line`, the header of the rest, belongs to the same ledger and filter.
    fn goes_on_with(&self, line: &[u8]) -> Result<(), CliError> {
        let other = pinned(line)?;
        for member in ["vault", "epoch", "to", "filter"] {
            if other[member] != self.header[member] {
                return Err(CliError::Usage(format!(
                    "the rest differs in {member} from what is there: ask for the same entries, \
                     as the same auditor"
                )));
            }
        }
        Ok(())
    }

    /// The end line of the whole.
    fn end(&self) -> String {
        format!("{{\"lines\":\"{}\",\"type\":\"end\"}}\n", self.lines)
    }

    /// Writes the end line when no entry is missing.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn finish(&self, to: &mut impl Write) -> Result<(), CliError> {
        Ok(to.write_all(self.end().as_bytes())?)
    }
}

/// Takes the rest's pieces and gives on what belongs into the whole.
pub struct Joint {
    remains: Remains,
    begun: bool,
}

impl Joint {
    /// Goes on with `remains`.
    pub fn new(remains: Remains) -> Joint {
        Joint {
            remains,
            begun: false,
        }
    }

    /// A piece of whole lines came.
    ///
    /// # Errors
    /// When it belongs to another export, or can't be written.
    pub fn came(&mut self, piece: &[u8], to: &mut impl Write) -> Result<(), CliError> {
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            if !self.begun {
                self.remains.goes_on_with(line)?;
                self.begun = true;
            } else if is_end(line) {
                self.remains.finish(to)?;
            } else {
                self.remains.lines += 1;
                to.write_all(line)?;
            }
        }
        Ok(())
    }
}

fn pinned(line: &[u8]) -> Result<Value, CliError> {
    let header: Value = serde_json::from_slice(line).map_err(|_| no_export())?;
    match header["type"] == "header" {
        true => Ok(header),
        false => Err(no_export()),
    }
}

fn is_end(line: &[u8]) -> bool {
    line.starts_with(b"{\"lines\":")
}

fn no_export() -> CliError {
    CliError::Usage("what is there isn't the beginning of an export: remove it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{VerifierKey, verify_export};
    use std::path::Path;

    fn vector(name: &str) -> Vec<u8> {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ledger");
        std::fs::read(vectors.join(name)).unwrap()
    }

    fn header_with(from: u64, filter: &str) -> Vec<u8> {
        // The rest's header is another one: newer, and of a later begin.
        let all = vector("ok_export_all.jsonl");
        let end = all.iter().position(|byte| *byte == b'\n').unwrap();
        let mut header: Value = serde_json::from_slice(&all[..end]).unwrap();
        header["from"] = from.to_string().into();
        header["at"] = "2026-12-03T00:00:00.000Z".into();
        header["filter"] = serde_json::from_str(filter).unwrap();
        (header.to_string() + "\n").into_bytes()
    }

    /// Wherever it was cut, what is joined is the whole, byte for byte, and verifies.
    #[test]
    fn an_export_that_was_cut_anywhere_is_gone_on_with() {
        let whole = vector("ok_export_all.jsonl");
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        for cut in lines[0].len()..=whole.len() {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&whole[..cut]).unwrap();
            let remains = Remains::of(&mut file).unwrap().unwrap();
            let (from, to) = remains.missing().unwrap_or((13, 13));
            assert_eq!(remains.complete, cut == whole.len());
            if !remains.complete && from < to {
                assert_eq!((to, remains.epoch().unwrap()), (13, 1));
                let mut rest = header_with(from, "{}");
                rest.extend_from_slice(&lines[from as usize + 1..].concat());
                Joint::new(remains).came(&rest, &mut file).unwrap();
            } else if !remains.complete {
                remains.finish(&mut file).unwrap();
            }
            file.seek(SeekFrom::Start(0)).unwrap();
            let mut joined = Vec::new();
            file.read_to_end(&mut joined).unwrap();
            assert!(joined == whole, "cut at {cut}");
        }
        let checkpoint: Value = serde_json::from_slice(&vector("checkpoint.json")).unwrap();
        let key = VerifierKey::parse(checkpoint["verifier_key"].as_str().unwrap()).unwrap();
        assert!(verify_export(&whole[..], &[key]).is_ok());
    }

    #[test]
    fn the_rest_of_another_export_is_not_joined() {
        let whole = vector("ok_export_all.jsonl");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&whole[..whole.len() / 2]).unwrap();
        let remains = Remains::of(&mut file).unwrap().unwrap();
        let rest = header_with(6, r#"{"sites":"nl"}"#);
        let mut out = Vec::new();
        let error = Joint::new(remains).came(&rest, &mut out).unwrap_err();
        assert!(error.to_string().contains("filter"), "{error}");
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_no_export_is_left_alone() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(Remains::of(&mut file).unwrap().is_none());
        file.write_all(b"{\"type\":\"head").unwrap();
        assert!(Remains::of(&mut file).unwrap().is_none());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"my notes\n").unwrap();
        assert!(Remains::of(&mut file).is_err());
        assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), 9);
    }
}
