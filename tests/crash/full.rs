//! A disk that is really full: a small file system of its own under the real binary.

use crate::dev::{Clients, Dev};
use crate::disk::{log_of, reason};
use crate::size::{Rounds, until};
use crate::{Told, check, redeem, step};
use payvault::api::proto as pb;
use payvault::limits::SPACE_RESERVE_BYTES;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tonic_types::StatusExt;

/// The reserve, and what the vault itself takes.
const DISK_BYTES: u64 = SPACE_RESERVE_BYTES + (96 << 20);

/// A file system in memory; gone when this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: &Path) -> Option<Mounted> {
        std::fs::create_dir_all(path).expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={DISK_BYTES}"))
            .arg("payvault-test")
            .arg(path)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Mounted(path.to_owned())),
            other => {
                println!("skipped: no file system can be mounted here: {other:?}");
                None
            }
        }
    }

    fn free(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.0).expect("statvfs");
        space.f_bavail * space.f_frsize
    }

    /// Fills it until about `left` bytes are free.
    fn fill(&self, left: u64) {
        let mut ballast = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.0.join("ballast"))
            .expect("a file");
        let piece = vec![7u8; 256 << 10];
        loop {
            let more = self.free().saturating_sub(left).min(piece.len() as u64);
            // Full is what is wanted.
            if more == 0 || ballast.write_all(&piece[..more as usize]).is_err() {
                return;
            }
        }
    }

    fn make_space(&self) {
        let _ = std::fs::remove_file(self.0.join("ballast"));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_refuses_writes_clearly_and_is_gone_on_with_when_space_returns() {
    let mut rounds = Rounds::of("full disk", 1);
    let place = tempfile::tempdir().expect("a directory");
    let Some(disk) = Mounted::at(&place.path().join("home")) else {
        return;
    };
    let told = Arc::new(Mutex::new(Told::default()));
    let mut checked = 0;
    while rounds.next().is_some() {
        let mut dev = Dev::start(&disk.0).await;
        let clients = dev.clone_clients();
        let session = clients.login("operator").await.expect("a session");
        for number in 0..5 {
            step(&clients, &told, number).await.expect("there is space");
        }
        let (transaction, token, _) = told.lock().expect("told").tokens[0].clone();

        disk.fill(SPACE_RESERVE_BYTES - (8 << 20));
        let refused = redeem(&clients, &transaction, &token).await;
        says_full(&refused.expect_err("no release without its entry"));
        // Whoever looks is written down too.
        let refused = describe(&clients, &transaction, &token).await;
        says_full(&refused.expect_err("no look without its entry"));
        assert_eq!(clients.serves().await.ok(), Some(true));
        clients.status(&session).await.expect("status answers");
        clients
            .ledger("portal")
            .get_checkpoint(pb::GetCheckpointRequest {})
            .await
            .expect("verification goes on");

        disk.make_space();
        redeem(&clients, &transaction, &token)
            .await
            .expect("writes come back by themselves");

        // To the last byte, again and again, under load: some of it meets the engine itself.
        let stop = Arc::new(AtomicBool::new(false));
        let mut loading = JoinSet::new();
        for client in 0..4usize {
            let (clients, told, stop) = (clients.clone(), Arc::clone(&told), Arc::clone(&stop));
            let from = client * 1_000_003 + rounds.chance(0, 1 << 30) as usize;
            loading.spawn(async move {
                for number in from.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    if step(&clients, &told, number).await.is_none() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            });
        }
        for _ in 0..6 {
            disk.fill(0);
            assert_eq!(clients.serves().await.ok(), Some(true));
            clients.status(&session).await.expect("status answers");
            tokio::time::sleep(Duration::from_millis(rounds.chance(10, 150))).await;
            disk.make_space();
            tokio::time::sleep(Duration::from_millis(rounds.chance(10, 150))).await;
        }
        let count = || told.lock().expect("told").tokens.len();
        let before = count();
        until("the vault goes on", async || {
            (count() > before + 5).then_some(())
        })
        .await;
        stop.store(true, Ordering::SeqCst);
        while let Some(client) = loading.join_next().await {
            client.expect("no client saw anything wrong");
        }
        check(&dev, &told, &mut checked).await;

        // Killed, and started while it is full: it says why it doesn't. With space it is whole.
        dev.kill_9();
        for left in [SPACE_RESERVE_BYTES - (8 << 20), 0] {
            disk.fill(left);
            let refused = Dev::start_in(&disk.0, &[], "true").await;
            let status = refused.err().expect("a start is an entry");
            let said = log_of(&disk.0);
            let why = reason(&said).unwrap_or_default();
            println!("{left} bytes left: {status}: {why}");
            assert!(matches!(status.code(), Some(1 | 7)), "{status}: {said}");
            assert!(why.contains("full") || why.contains("space"), "{said}");
        }
        disk.make_space();
        let dev = Dev::start(&disk.0).await;
        check(&dev, &told, &mut checked).await;
        dev.stop().await;
    }
}

fn says_full(refused: &tonic::Status) {
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("disk is full"), "{refused}");
    let code = refused.get_details_error_info().map(|info| info.reason);
    assert_eq!(code.as_deref(), Some("STORAGE_FULL"));
    let when = refused.get_details_retry_info();
    assert!(when.is_some(), "it says when to retry");
}

async fn describe(clients: &Clients, transaction: &str, token: &str) -> Result<(), tonic::Status> {
    let asked = pb::DescribeTokenRequest {
        transaction: transaction.to_owned(),
        token: token.to_owned(),
    };
    let mut vault = clients.vault("processor-a");
    vault.describe_token(asked).await.map(|_| ())
}
