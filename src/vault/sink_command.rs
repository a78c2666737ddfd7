//! The program that each checkpoint is handed to, on its stdin: it mails it, posts it, signs it on.
//!
//! It runs on a thread of its own, one at a time and for a bounded time. While it runs the newest
//! checkpoint waits and older ones are dropped, since the newest vouches for all before it. When it
//! fails that is an alarm, and it is tried again; nobody's answer waits for it.

use crate::limits;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Waiting {
    note: Option<Arc<str>>,
    stop: bool,
}

/// The way to the program.
pub(super) struct SinkCommand {
    waiting: Arc<(Mutex<Waiting>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl SinkCommand {
    /// Starts the thread; no program yet.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(program: PathBuf) -> std::io::Result<SinkCommand> {
        let waiting: Arc<(Mutex<Waiting>, Condvar)> = Arc::default();
        let own = Arc::clone(&waiting);
        let thread = std::thread::Builder::new()
            .name("checkpoint command".to_owned())
            .spawn(move || work(&program, &own))?;
        Ok(SinkCommand {
            waiting,
            thread: Some(thread),
        })
    }

    /// Hands over a checkpoint. Never waits.
    pub(super) fn send(&self, note: &Arc<str>) {
        let (lock, wake) = &*self.waiting;
        lock.lock().unwrap_or_else(PoisonError::into_inner).note = Some(Arc::clone(note));
        wake.notify_one();
    }
}

impl Drop for SinkCommand {
    /// The last checkpoint is still handed over, once and in its time.
    fn drop(&mut self) {
        let (lock, wake) = &*self.waiting;
        lock.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(alarm = "panic", "the checkpoint command's thread panicked");
        }
    }
}

fn work(program: &Path, waiting: &(Mutex<Waiting>, Condvar)) {
    let (lock, wake) = waiting;
    let mut pause_ms = limits::SINK_COMMAND_PAUSE_MS;
    let mut failed = None;
    loop {
        let (note, stop) = {
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            let mut guard = match &failed {
                // One that failed is tried again, with a newer one if there is one by then.
                Some(_) => {
                    let pause = Duration::from_millis(pause_ms);
                    let woken = wake.wait_timeout_while(guard, pause, |w| !w.stop);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => wake
                    .wait_while(guard, |w| w.note.is_none() && !w.stop)
                    .unwrap_or_else(PoisonError::into_inner),
            };
            (guard.note.take().or_else(|| failed.take()), guard.stop)
        };
        if let Some(note) = note {
            match hand(program, note.as_bytes()) {
                Ok(()) => {
                    failed = None;
                    pause_ms = limits::SINK_COMMAND_PAUSE_MS;
                }
                Err(why) => {
                    tracing::error!(
                        alarm = "sink",
                        why,
                        "the checkpoint command failed; it is tried again"
                    );
                    failed = Some(note);
                    pause_ms = (2 * pause_ms).min(limits::SINK_COMMAND_PAUSE_MS_MAX);
                }
            }
        }
        if stop {
            return;
        }
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        // A busy vault marks ten times a second; a program a second is enough.
        let rest = Duration::from_millis(limits::SINK_COMMAND_PAUSE_MS);
        drop(
            wake.wait_timeout_while(guard, rest, |w| !w.stop)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// Runs the program with the note on its stdin.
fn hand(program: &Path, note: &[u8]) -> Result<(), String> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("it can't be started: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A note fits into a pipe, so this waits for nobody; one that doesn't read says so by how
        // it ends.
        let _ = stdin.write_all(note);
    }
    let mut left_ms = limits::SINK_COMMAND_MS_MAX;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Ok(None) if left_ms > 0 => {
                left_ms = left_ms.saturating_sub(LOOK.as_millis() as u64);
                std::thread::sleep(LOOK);
            }
            Ok(None) => {
                end(&mut child);
                return Err("it took too long and was ended".to_owned());
            }
            Err(error) => {
                end(&mut child);
                return Err(error.to_string());
            }
        }
    }
}

fn end(child: &mut Child) {
    // It may have ended just now.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn program(dir: &Path, script: &str) -> PathBuf {
        let path = dir.join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    #[test]
    fn the_newest_is_handed_over_and_so_is_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let script = format!("cat >> {}", out.display());
        let sink = SinkCommand::start(program(dir.path(), &script)).unwrap();
        for number in 0..5 {
            sink.send(&Arc::from(format!("note {number}\n")));
        }
        drop(sink);
        let handed = std::fs::read_to_string(out).unwrap();
        assert!(handed.ends_with("note 4\n"), "{handed}");
        assert!(handed.lines().count() <= 2, "{handed}");
    }

    #[test]
    fn one_that_fails_is_told_from_one_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let fails = program(dir.path(), "exit 3");
        assert!(hand(&fails, b"x").is_err_and(|why| why.contains("exit status: 3")));
        let absent = dir.path().join("absent");
        assert!(hand(&absent, b"x").is_err_and(|why| why.contains("started")));
        // It need not read.
        let deaf = program(dir.path(), "exit 0");
        assert_eq!(hand(&deaf, &[b'x'; 24 << 10]), Ok(()));
    }

    #[test]
    fn one_that_failed_is_tried_again_with_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let flag = dir.path().join("flag");
        let (flag, to) = (flag.display(), out.display());
        let script = format!("[ -e {flag} ] || {{ touch {flag}; exit 1; }}\ncat > {to}");
        let sink = SinkCommand::start(program(dir.path(), &script)).unwrap();
        sink.send(&Arc::from("note\n"));
        for _ in 0..1_000 {
            if std::fs::read_to_string(&out).is_ok_and(|note| note == "note\n") {
                return;
            }
            std::thread::sleep(LOOK);
        }
        panic!("it was not tried again");
    }
}
