//! Files beside the store: marks, the seal, the keyring and its wrapping key, failed tries; and shares.

use super::meter::bounded;
use super::text::silent_error;
use payvault::clock::Timestamp;
use payvault::ids::VaultId;
use payvault::keys::{Argon2Cost, KeyError, Keyring, RootKey, SealFile, ShareFile, reread};
use payvault::secret::SecretText;
use payvault::store::{Mark, MarkFile};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

/// First byte: which file. Rest: its content.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    // One set of files for all of a process.
    let _own = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    LazyLock::force(&KEYS);
    bounded(data.len(), || match kind % 7 {
        // With its checksum, so that what it says is read.
        0 => mark(&[rest, &Sha256::digest(rest)[..]].concat()),
        1 => mark(rest),
        2 => seal(rest),
        3 => ring("keyring", rest),
        4 => ring("wrap", rest),
        5 => share(rest),
        _ => tries(rest),
    });
}

fn mark(content: &[u8]) {
    let dir = KEYS.dir.path().join("mark");
    std::fs::create_dir_all(&dir).expect("a directory");
    let _ = std::fs::remove_file(dir.join("mark.1"));
    std::fs::write(dir.join("mark.0"), content).expect("written");
    let mut file = match MarkFile::open(&dir) {
        Ok(file) => file,
        Err(error) => return silent_error(&error),
    };
    let Some(read) = file.read().cloned() else {
        panic!("a mark that is there was passed over");
    };
    let next = Mark {
        size: read.size.saturating_add(1),
        ..read.clone()
    };
    // The last sequence number there is has no successor.
    if file.write(&next).is_ok() {
        let again = MarkFile::open(&dir).expect("readable");
        assert_eq!(again.read(), Some(&next));
    }
}

fn seal(content: &[u8]) {
    match reread::seal_file(content) {
        Ok(again) => {
            let third = reread::seal_file(again.as_bytes());
            assert!(third.is_ok_and(|third| third == again));
        }
        Err(error) => silent_error(&error),
    }
}

/// A share as it comes over the wire or in its file; nothing is derived from what it names.
fn share(content: &[u8]) {
    let Ok(text) = std::str::from_utf8(content) else {
        return;
    };
    match ShareFile::parse(&SecretText::copy_from(text)) {
        Ok(ShareFile::Plain(share)) => assert!(share.to_text().expose() == text.trim()),
        Ok(_) => {}
        Err(error) => silent_error(&error),
    }
}

fn tries(content: &[u8]) {
    match reread::tries(content) {
        Ok(again) => {
            let third = reread::tries(again.as_bytes());
            assert!(third.is_ok_and(|third| third == again));
        }
        Err(error) => silent_error(&error),
    }
}

/// A keys directory with one file that isn't the vault's own: it loads only when it is the same.
fn ring(name: &str, content: &[u8]) {
    let keys = &*KEYS;
    for file in ["keyring", "wrap"] {
        std::fs::copy(keys.own.join(file), keys.work.join(file)).expect("a copy");
    }
    std::fs::write(keys.work.join(name), content).expect("written");
    match Keyring::load(&keys.work, keys.vault, &keys.root) {
        Ok(ring) => {
            let own = std::fs::read(keys.own.join(name)).expect("the own file");
            // The wrapping key's file has two slots, of which one is enough.
            assert!(own == content || name == "wrap");
            assert_eq!(ring.list().count(), 3);
        }
        Err(error) => silent_error(&error),
    }
}

static LOCK: Mutex<()> = Mutex::new(());

struct Keys {
    dir: tempfile::TempDir,
    own: PathBuf,
    work: PathBuf,
    vault: VaultId,
    root: RootKey,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let (own, work) = (dir.path().join("own"), dir.path().join("work"));
    let (vault, root) = make(&own).expect("keys");
    std::fs::create_dir_all(&work).expect("a directory");
    Keys {
        dir,
        own,
        work,
        vault,
        root,
    }
});

fn make(own: &Path) -> Result<(VaultId, RootKey), KeyError> {
    let vault = VaultId([7; 16]);
    let passphrase = SecretText::copy_from("a passphrase of the fuzzers");
    let root = SealFile::create(own, vault, &passphrase, Argon2Cost::for_tests(), Vec::new())?;
    Keyring::create(own, vault, &root, Timestamp(1_795_392_000_000))?;
    Ok((vault, root))
}
