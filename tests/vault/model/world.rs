//! The vault under test: a house over either engine, with the line between them, and what an
//! observer outside can see of it.

use super::line::{Bug, Desk, Line, copy};
use super::ops::Engine;
use crate::house::*;
use crate::ledger::Rows;
use payvault::ids::TransactionId;
use payvault::keys::{KeyName, Keyring, Kind, Place, Sealed};
use payvault::ledger::{Opened, Page, verify_consistency, verify_export};
use payvault::policy::Principal;
use payvault::store::memory::MemoryStore;
use payvault::store::sled::SledStore;
use payvault::store::{EngineOptions, RoundId, Store};
use payvault::vault::command::{Caller, Done, Refusal, Work};
use payvault::vault::{ExportRequest, Published, Vault, check_in};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// What is wrong, in a sentence.
pub type Wrong = String;

/// An entry of an export.
pub struct Exported {
    pub line: String,
    pub body: serde_json::Value,
}

impl Exported {
    pub fn get(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }
}

pub struct World {
    pub home: Home,
    pub desk: Arc<Desk>,
    pub engine: Engine,
    pub bug: Bug,
    /// The keyring, loaded when it was needed last.
    ring: Mutex<Option<Keyring>>,
    /// The mark as it was before the newest ones.
    old_mark: Vec<(std::path::PathBuf, Vec<u8>)>,
    /// Checkpoints that were handed out.
    checkpoints: Vec<Published>,
    /// Every line of the last export.
    exported: Vec<String>,
}

/// How often an export is asked for again: where a fault was ordered before, a reopening may fail by
/// the line's order, and the next one by the store's own.
const EXPORT_TRIES: u32 = 3;

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Done, Refusal>> + 'a>>;

impl World {
    pub fn new(engine: Engine, bug: Bug) -> World {
        let mut home = Home::closed();
        home.house.settings.denials_per_minute = 1_000_000;
        home.house.cache_bytes = 1 << 20;
        // So that there is a time before now, see `tick`.
        home.clock.pass_ms(1);
        let mut world = World {
            home,
            desk: Arc::default(),
            engine,
            bug,
            ring: Mutex::default(),
            old_mark: Vec::new(),
            checkpoints: Vec::new(),
            exported: Vec::new(),
        };
        if engine == Engine::Sled {
            fill(&mut world.sled(), &world.home.disk.durable());
        }
        world.open().expect("the vault opens");
        world
    }

    fn sled(&self) -> SledStore {
        let options = EngineOptions {
            cache_bytes: self.home.house.cache_bytes,
            space_reserve_bytes: 0,
            ..EngineOptions::default()
        };
        SledStore::open(&self.home.house.db_dir(), options).expect("the store opens")
    }

    fn open(&mut self) -> Result<(), Wrong> {
        let inner: Box<dyn Store> = match self.engine {
            Engine::Memory => Box::new(MemoryStore::on(&self.home.disk)),
            Engine::Sled => Box::new(self.sled()),
        };
        self.desk.mend();
        let line = Line::new(inner, self.engine, &self.desk, self.bug, &self.home.disk);
        self.home
            .reopen_over(Box::new(line))
            .map_err(|error| format!("the vault does not open: {error}"))?;
        self.desk.open();
        self.old_mark = self.mark();
        Ok(())
    }

    fn mark(&self) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let files = std::fs::read_dir(&self.home.house.mark_dir).expect("the mark's directory");
        files
            .filter_map(|file| {
                let path = file.expect("a file").path();
                // A slot that is being replaced has another name for a moment.
                std::fs::read(&path).ok().map(|bytes| (path, bytes))
            })
            .collect()
    }

    /// The process dies and another one starts. Nothing is left but what was durable.
    pub fn crash(&mut self, old_mark: bool) -> Result<(), Wrong> {
        self.desk.cut();
        self.home.disk.crash();
        self.home.close();
        self.desk.calm();
        self.home
            .disk
            .order(payvault::store::memory::Faults::none());
        if old_mark {
            for (path, bytes) in &self.old_mark {
                std::fs::write(path, bytes).expect("the mark");
            }
        }
        self.open()
    }

    /// An orderly stop, and a start.
    pub fn restart(&mut self) -> Result<(), Wrong> {
        // Starting up is not retried: no fault is left over for it.
        self.desk.calm();
        self.home.close();
        self.home
            .disk
            .order(payvault::store::memory::Faults::none());
        self.open()
    }

    /// The vault's housekeeping, to its end: the round that it may need would else be the one that
    /// the next calls are held at, and they would be judged in another order.
    pub fn tick(&self) -> Result<(), Wrong> {
        let vault = self.home.vault();
        vault.tick();
        // What comes too late is answered without a round: the first one before the housekeeping,
        // when both are taken from the queue at once, and the second behind it.
        for _ in 0..2 {
            let work = Work::Get {
                transaction: TransactionId::random(),
            };
            let late = RUNTIME.block_on(vault.ask(self.home.caller("shop"), work, 0));
            if !matches!(late, Err(Refusal::TimedOut)) {
                return Err("a call that came too late was not told so".to_owned());
            }
        }
        Ok(())
    }

    /// Asks together: the first is a round of its own, and the others are the next one, in this
    /// order. The answers are in the same order.
    pub fn ask_together(&self, works: Vec<(Caller, Work)>) -> Vec<Result<Done, Refusal>> {
        let vault = self.home.vault();
        let count = works.len();
        let mut answers: Vec<Option<Result<Done, Refusal>>> = (0..count).map(|_| None).collect();
        let mut asking: Vec<Asking<'_>> = Vec::new();
        let mut nobody = Context::from_waker(Waker::noop());
        if count > 1 {
            self.desk.hold();
        }
        for (place, (caller, work)) in works.into_iter().enumerate() {
            let mut one: Asking<'_> = Box::pin(vault.ask_without_beat(caller, work));
            // The first look sends the command.
            loop {
                if let Poll::Ready(answer) = one.as_mut().poll(&mut nobody) {
                    answers[place] = Some(answer);
                    break;
                }
                if count == 1 || place > 0 || self.desk.somebody_waits() {
                    break;
                }
            }
            asking.push(one);
        }
        self.desk.let_go();
        answers
            .into_iter()
            .zip(asking)
            .map(|(answer, one)| answer.unwrap_or_else(|| RUNTIME.block_on(one)))
            .collect()
    }

    /// An entry as a power cut now would leave it; nothing when it is not on the disk. Only the
    /// disk of the store in memory can be looked at while it is in use.
    pub fn on_disk(&self, index: u64) -> Option<serde_json::Value> {
        let key = [&b"E"[..], &1u32.to_be_bytes(), &index.to_be_bytes()].concat();
        let mut row = None;
        self.home.disk.tamper(|rows| {
            let found = rows.range(b"E".to_vec()..=key).next_back();
            row = found.map(|(_, value)| value.clone());
        });
        let row = row?;
        let page = Page::parse(&row).ok()?;
        let sealed = Sealed::from_stored(page.entry(index)?.sealed.to_vec()).ok()?;
        let mut ring = self.ring.lock().expect("the ring");
        if let Some(body) = ring.as_ref().and_then(|ring| open(ring, index, &sealed)) {
            return Some(body);
        }
        // A key that is newer than the ring at hand.
        *ring = Some(self.home.ring());
        open(ring.as_ref()?, index, &sealed)
    }

    /// The offline check, of a vault that was stopped.
    pub fn check(&mut self) -> Result<(), Wrong> {
        self.home.close();
        let store: Box<dyn Store> = match self.engine {
            Engine::Memory => Box::new(MemoryStore::on(&self.home.disk)),
            Engine::Sled => Box::new(self.sled()),
        };
        let checked = check_in(store.reader().as_ref(), &self.home.ring());
        let checked = checked.map_err(|error| error.to_string())?;
        match checked.findings.first() {
            Some(finding) => Err(format!("the check found: {finding}")),
            None => Ok(()),
        }
    }

    /// The whole ledger as an auditor gets it, verified; what was exported before must be its
    /// beginning, and so must every checkpoint that was handed out.
    pub fn export(&mut self) -> Result<Vec<Exported>, Wrong> {
        let vault = Arc::clone(self.home.vault());
        let auditor = self.home.principal("auditor");
        let mut tries = 0..EXPORT_TRIES;
        let text = loop {
            match RUNTIME.block_on(export_text(&vault, &auditor)) {
                Ok(text) => break text,
                Err(Refusal::Unavailable(_)) if tries.next().is_some() => {}
                Err(refusal) => return Err(format!("no export: {refusal}")),
            }
        };
        let entries = verified(&vault, text)?;
        for (index, earlier) in self.exported.iter().enumerate() {
            if entries.get(index).map(|e| &e.line) != Some(earlier) {
                return Err(format!(
                    "entry {index} is not the one that was exported before"
                ));
            }
        }
        self.exported = entries.iter().map(|e| e.line.clone()).collect();
        self.extends()?;
        Ok(entries)
    }

    /// Keeps the newest checkpoint, and holds every kept one against it.
    fn extends(&mut self) -> Result<(), Wrong> {
        let vault = Arc::clone(self.home.vault());
        let Some(newest) = vault.published() else {
            return Err("no checkpoint was published".to_owned());
        };
        let now = &newest.checkpoint;
        for earlier in &self.checkpoints {
            let then = &earlier.checkpoint;
            let proven = RUNTIME
                .block_on(vault.consistency(then.size, now.size))
                .map_err(|refusal| format!("no proof: {refusal}"))
                .and_then(|path| {
                    verify_consistency(then.size, now.size, &then.root, &now.root, &path)
                        .map_err(|e| e.to_string())
                });
            if let Err(why) = proven {
                return Err(format!(
                    "the checkpoint of {} entries is no prefix of the one of {}: {why}",
                    then.size, now.size
                ));
            }
        }
        self.note_checkpoint();
        Ok(())
    }

    /// Keeps the newest checkpoint, as somebody outside would.
    pub fn note_checkpoint(&mut self) {
        if let Some(newest) = self.home.vault().published() {
            let last = self.checkpoints.last().map(|p| p.checkpoint.size);
            if last != Some(newest.checkpoint.size) {
                self.checkpoints.push(newest);
            }
        }
        if self.checkpoints.len() > 24 {
            self.checkpoints.remove(7);
        }
    }
}

/// A full export, as the auditor gets it.
pub async fn export_text(vault: &Arc<Vault>, auditor: &Arc<Principal>) -> Result<Vec<u8>, Refusal> {
    let request = ExportRequest {
        epoch: None,
        from: 0,
        to: None,
        from_time: None,
        to_time: None,
        site: None,
        kinds: Vec::new(),
        reason: "a test".to_owned(),
        ticket: String::new(),
    };
    let caller = caller(Arc::clone(auditor));
    let mut pieces = vault.export(caller, auditor, request, u64::MAX).await?;
    let mut text = Vec::new();
    while let Some(piece) = pieces.recv().await {
        text.extend_from_slice(&piece?);
    }
    Ok(text)
}

/// The entries of a full export that verifies and lacks nothing.
pub fn verified(vault: &Vault, text: Vec<u8>) -> Result<Vec<Exported>, Wrong> {
    let keys = [vault.verifier().clone()];
    let report =
        verify_export(&text[..], &keys).map_err(|e| format!("the export is refused: {e}"))?;
    if report.erased + report.closed > 0 {
        return Err("an entry is missing from a full export".to_owned());
    }
    let text = String::from_utf8(text).map_err(|e| e.to_string())?;
    let mut entries = Vec::new();
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        if value["type"] == "entry" {
            let body = value["body"].as_str().unwrap_or_default();
            entries.push(Exported {
                line: line.to_owned(),
                body: serde_json::from_str(body).map_err(|e| e.to_string())?,
            });
        }
    }
    Ok(entries)
}

/// A store that holds `rows`.
pub fn fill(store: &mut SledStore, rows: &Rows) {
    let id: [u8; 16] = rows[&b"I"[..]][..].try_into().expect("a round's id");
    let taken = rows
        .iter()
        .filter(|(key, _)| key[0] != b'I')
        .map(|(key, value)| (&key[..], Some(&value[..])));
    let round = store.begin().expect("a round");
    round.commit(RoundId(id), &copy(taken)).expect("committed");
}

fn open(ring: &Keyring, index: u64, sealed: &Sealed) -> Option<serde_json::Value> {
    let KeyName::Log { site, .. } = ring.key(sealed.key_id()).ok()?.name() else {
        return None;
    };
    let row_key = [&b"E"[..], &1u32.to_be_bytes(), &index.to_be_bytes()].concat();
    let place = Place {
        site,
        transaction: None,
        kind: Kind::Entry,
        scope: &(index >> 20).to_be_bytes(),
        row_key: &row_key,
    };
    let content = ring.open(&place, sealed).ok()?;
    serde_json::from_str(Opened::parse(&content).ok()?.json).ok()
}
