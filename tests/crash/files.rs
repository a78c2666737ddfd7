//! Files of a stopped vault that were damaged, cut off, taken away or exchanged: the real binary
//! starts and serves what was acknowledged, or refuses what is damaged; or it says why it doesn't
//! start. It never serves anything else, and never ends with a panic.

use crate::dev::{Clients, Dev};
use crate::disk::{log_of, reason};
use crate::size::Rounds;
use crate::{Told, redeem, redeemed_entries, step};
use payvault::ledger::{VerifierKey, verify_export};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What was taken away or put in another's place, and by what.
struct Sources {
    /// The vault as it was stopped last.
    newest: PathBuf,
    /// The same vault, some acknowledgements earlier.
    older: PathBuf,
    /// Another vault.
    other: PathBuf,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_damaged_vault_serves_what_is_right_or_says_why_not() {
    let mut rounds = Rounds::of("files", 24);
    let place = tempfile::tempdir().expect("a directory");
    let home = place.path().join("home");
    let from = Sources {
        newest: place.path().join("newest"),
        older: place.path().join("older"),
        other: place.path().join("other"),
    };
    let told = Arc::new(Mutex::new(Told::default()));
    let mut key = String::new();
    for (kept, steps) in [(&from.older, 0..8), (&from.newest, 8..30)] {
        let dev = Dev::start(&home).await;
        key.clone_from(&dev.ledger_key);
        let clients = dev.clone_clients();
        for number in steps {
            step(&clients, &told, number).await.expect("all is well");
        }
        dev.stop().await;
        copy(&home, kept);
    }
    Dev::start(&from.other).await.stop().await;
    let told = Arc::into_inner(told).expect("nobody else").into_inner();
    let told = told.expect("told");
    let (mut started, mut refused) = (0, 0);
    while let Some(round) = rounds.next() {
        fs::remove_dir_all(&home).expect("removed");
        copy(&from.newest, &home);
        let what = damage(&home, &from, &mut rounds);
        let log = home.with_extension("log");
        let _ = fs::remove_file(&log);
        match Dev::start_in(&home, &[("RUST_BACKTRACE", "0")], "true").await {
            Ok(mut dev) => {
                started += 1;
                let clients = dev.clone_clients();
                let served = right(&dev, &clients, &told, &key).await;
                println!("round {round}: {what}: it starts; {served}");
                dev.kill_9();
            }
            Err(status) => {
                refused += 1;
                let said = log_of(&home);
                let why = reason(&said);
                println!(
                    "round {round}: {what}: {status}: {}",
                    why.unwrap_or("NOTHING")
                );
                assert!(
                    matches!(status.code(), Some(1 | 2 | 4 | 7)),
                    "{status}: {said}"
                );
                assert!(why.is_some(), "it says why: {said}");
                let bare = !home.join("keys/seal.json").exists();
                let inviting = why.is_some_and(|why| why.contains("payvault init"));
                assert!(
                    bare || !inviting,
                    "a damaged vault is no missing one: {said}"
                );
            }
        }
        let said = log_of(&home);
        assert!(!said.contains("panicked at"), "{what}: {said}");
        assert!(!said.contains("stack backtrace"), "{what}: {said}");
    }
    println!("{started} started, {refused} refused to");
    assert!(refused > 0, "the damage was real");
}

/// Everything that a started vault says is right, or said to be damaged; in words.
async fn right(dev: &Dev, clients: &Clients, told: &Told, key: &str) -> String {
    assert_eq!(dev.ledger_key, key, "it is the same vault");
    let (mut whole, mut damaged) = (0, 0);
    for (transaction, token, card) in &told.tokens {
        match redeem(clients, transaction, token).await {
            Ok((number, _)) => {
                assert_eq!(&number, card);
                whole += 1;
            }
            Err(refused) => {
                let code = refused.code();
                assert!(
                    matches!(code, tonic::Code::DataLoss | tonic::Code::Unavailable),
                    "an acknowledged token: {refused}"
                );
                damaged += 1;
            }
        }
    }
    let Ok(session) = clients.login("auditor").await else {
        return format!("{whole} whole, {damaged} said to be damaged, no session");
    };
    let mut export = Vec::new();
    let exported = async {
        let mut pieces = clients.export(&session).await?;
        while let Some(piece) = pieces.message().await? {
            export.extend_from_slice(&piece.lines);
        }
        Ok::<_, tonic::Status>(())
    };
    if let Err(status) = exported.await {
        let code = status.code();
        assert!(
            matches!(code, tonic::Code::DataLoss | tonic::Code::Unavailable),
            "an export: {status}"
        );
        return format!("{whole} whole, {damaged} said to be damaged, no export");
    }
    let key = VerifierKey::parse(key).expect("a key");
    verify_export(&export[..], std::slice::from_ref(&key)).expect("it verifies");
    let entries = redeemed_entries(&export);
    for (index, transaction) in &told.redemptions {
        assert_eq!(entries.get(index), Some(transaction), "acknowledged");
    }
    format!("{whole} whole, {damaged} said to be damaged, the export verifies")
}

/// Does something to one file, or to two; what, in words.
fn damage(home: &Path, from: &Sources, rounds: &mut Rounds) -> String {
    let names = files(home);
    // Each file as often as another, the database's largest one a little more often.
    let name = match rounds.chance(0, 3) {
        0 => PathBuf::from("data/db/db"),
        _ => names[rounds.chance(0, names.len() as u64 - 1) as usize].clone(),
    };
    let path = home.join(&name);
    let size = fs::metadata(&path).map_or(0, |about| about.len());
    let open = || {
        fs::File::options()
            .write(true)
            .read(true)
            .open(&path)
            .expect("a file")
    };
    let shown = name.display();
    match rounds.chance(0, 7) {
        0 | 1 if size > 0 => {
            let count = rounds.chance(1, 8);
            let file = open();
            for _ in 0..count {
                let at = rounds.chance(0, size - 1);
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).expect("read");
                byte[0] ^= 1 << rounds.chance(0, 7);
                file.write_all_at(&byte, at).expect("written");
            }
            format!("{count} bits of {shown} turned")
        }
        2 if size > 0 => {
            let at = rounds.chance(0, size - 1);
            let bytes = rounds.chance(1, 4096).min(size - at);
            let zeros = rounds.chance(0, 1) == 0;
            let noise: Vec<u8> = (0..bytes)
                .map(|_| {
                    if zeros {
                        0
                    } else {
                        rounds.chance(0, 255) as u8
                    }
                })
                .collect();
            open().write_all_at(&noise, at).expect("written");
            format!("{bytes} bytes of {shown} at {at} overwritten, zeros: {zeros}")
        }
        3 if size > 0 => {
            let left = match rounds.chance(0, 2) {
                0 => 0,
                _ => rounds.chance(0, size - 1),
            };
            open().set_len(left).expect("cut");
            format!("{shown} cut to {left} of {size}")
        }
        4 => {
            let noise: Vec<u8> = (0..rounds.chance(1, 600))
                .map(|_| rounds.chance(0, 255) as u8)
                .collect();
            open().write_all_at(&noise, size).expect("written");
            format!("{} bytes more in {shown}", noise.len())
        }
        5 => {
            fs::remove_file(&path).expect("removed");
            format!("{shown} removed")
        }
        6 => {
            let (source, whose) = match rounds.chance(0, 1) {
                0 => (&from.older, "an older"),
                _ => (&from.other, "another vault's"),
            };
            match fs::copy(source.join(&name), &path) {
                Ok(_) => format!("{shown} is {whose}"),
                Err(_) => {
                    fs::remove_file(&path).expect("removed");
                    format!("{shown} removed, as in {whose}")
                }
            }
        }
        _ => {
            let with = &names[rounds.chance(0, names.len() as u64 - 1) as usize];
            let aside = home.join("aside");
            fs::rename(&path, &aside).expect("moved");
            if with != &name {
                fs::rename(home.join(with), &path).expect("moved");
            }
            fs::rename(&aside, home.join(with)).expect("moved");
            format!("{shown} and {} swapped", with.display())
        }
    }
}

/// What makes up the vault: data, keys and mark, relative to `home`.
fn files(home: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest = vec![home.join("data"), home.join("keys")];
    while let Some(directory) = rest.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                rest.push(path);
            } else {
                found.push(path.strip_prefix(home).expect("below").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()));
}
