//! Seals on the real binary, offline: made with custodians, opened by their shares, changed and
//! changed back. Shares and passphrases go through files and stdin, as an operator's script gives
//! them.

use payvault::api::dev_ca::DevCa;
use payvault::clock::Clock;
use payvault::keys::{AgeIdentity, ShareFile};
use payvault::secret::SecretText;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const PASSPHRASE: &str = "correct horse battery";

/// Directories, certificates and a configuration, all below one.
struct Home {
    dir: TempDir,
    /// Opens the shares that go out by age; those under a passphrase take much longer.
    identity: AgeIdentity,
    recipient: String,
}

impl Home {
    fn new() -> Home {
        let (identity, recipient) = AgeIdentity::generate();
        let home = Home {
            dir: tempfile::tempdir().expect("a directory"),
            identity,
            recipient: recipient.to_string(),
        };
        let ca = DevCa::new(Clock::system().now()).expect("a CA");
        fs::write(home.path("ca.pem"), ca.certificate_pem()).expect("written");
        for name in ["ann", "bob", "cem", "dov", "eva"] {
            let credential = ca.client(name).expect("a credential");
            fs::write(
                home.path(&format!("{name}.pem")),
                credential.certificate_pem,
            )
            .expect("written");
        }
        fs::write(home.path("passphrase"), PASSPHRASE).expect("written");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a command on this vault, with `lines` on stdin.
    fn run(&self, words: &str, lines: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_payvault"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PAYVAULT_")) {
            command.env_remove(name);
        }
        let settings = "--data-dir data --keys-dir keys --tls-cert c --tls-key k \
                        --tls-client-ca ca.pem --json";
        command
            .current_dir(self.dir.path())
            .args(words.split_whitespace())
            .args(settings.split_whitespace());
        crate::fed(command, lines)
    }

    fn done(&self, words: &str, lines: &str) -> serde_json::Value {
        let output = self.run(words, lines);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}: {said}");
        serde_json::from_slice(&output.stdout).expect("one document")
    }

    /// Ends with this code, and says this.
    fn refused(&self, words: &str, lines: &str, code: i32, says: &str) {
        let output = self.run(words, lines);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words}: {said}");
        assert!(said.contains(says), "{words}: {said}");
    }

    /// A custodian's share as lines: its file and the passphrase, or its text.
    fn lines(&self, dir: &str, name: &str) -> String {
        let file = format!("{dir}/{name}.share");
        let passphrase = self.path(&format!("{dir}/{name}.share-passphrase"));
        if passphrase.exists() {
            let passphrase = fs::read_to_string(passphrase).expect("its passphrase");
            return format!("{file}\n{}\n", passphrase.trim());
        }
        let file = fs::read_to_string(self.path(&file)).expect("a share");
        let Ok(ShareFile::Age(file)) = ShareFile::parse(&SecretText::copy_from(&file)) else {
            panic!("not for age");
        };
        let share = self.identity.open(&file).expect("for this identity");
        format!("{}\n", share.to_text().expose())
    }
}

fn is_private(path: &Path) -> bool {
    let mode = fs::metadata(path).expect("there").permissions().mode();
    mode & 0o777 == 0o600
}

const INIT: &str = "init --operator ann=ann.pem --operator bob=bob.pem --agreement NDA-1 \
                    --agreement-until 2100-01-01 --secret-dir secrets";

#[test]
fn custodians_open_what_they_were_dealt_and_a_reseal_changes_who() {
    let home = Home::new();
    // Nothing is made for custodians that can't be.
    let alone = format!("{INIT} --custodian cem=cem.pem --custodian dov=dov.pem --threshold 1");
    home.refused(
        &format!("{alone} --share-dir shares"),
        "",
        1,
        "split knowledge",
    );
    home.refused(&alone, "", 2, "--share-dir");
    assert!(!home.path("shares/cem.share").exists(), "shares of no seal");
    assert!(!home.path("keys/seal.json").exists());
    fs::remove_dir_all(home.path("data")).expect("left to look at");

    // ann is an operator and a custodian; dov's share is under a passphrase.
    let custodians = |home: &Home| {
        let age = &home.recipient;
        format!(
            "{INIT} --custodian ann=ann.pem --custodian cem=cem.pem --custodian dov=dov.pem \
             --share-to ann={age} --share-to cem={age} --threshold 2 --share-dir shares"
        )
    };
    let made = home.done(&custodians(&home), "");
    assert_eq!(made["shares"]["threshold"], 2);
    assert_eq!(made["operators"].as_array().map(Vec::len), Some(2));
    assert_eq!(made["custodians"].as_array().map(Vec::len), Some(2));
    for name in [
        "ann.share",
        "cem.share",
        "dov.share",
        "dov.share-passphrase",
    ] {
        assert!(is_private(&home.path(&format!("shares/{name}"))));
    }
    let [ann, cem, dov] = ["ann", "cem", "dov"].map(|name| home.lines("shares", name));
    let checked = home.done("check", &format!("{dov}{ann}"));
    assert_eq!(checked["sound"], true);

    home.refused("check", &cem, 4, "1 of 2 shares");
    home.refused("check", "", 2, "share 1 of 2");
    home.refused("check", &format!("{cem}{cem}"), 4, "given already");
    home.refused(
        "check",
        "shares/dov.share\nnot its passphrase\n",
        4,
        "does not open",
    );
    home.refused("check", &format!("{cem}pvs_abcd\n"), 4, "damaged");
    home.refused("check", "shares/cem.share\n", 2, "age -d");
    let foreign = Home::new();
    foreign.done(&custodians(&foreign), "");
    let stranger = foreign.lines("shares", "cem");
    home.refused("check", &format!("{ann}{stranger}"), 4, "another vault");

    // A threshold that can't be changes nothing; then cem stays, and eva comes for the others.
    let age = &home.recipient;
    let reseal = format!(
        "keys reseal --to custodians --custodian cem=cem.pem --custodian eva=eva.pem \
         --share-to cem={age} --share-to eva={age} --share-dir new"
    );
    let both = format!("{cem}{ann}");
    home.refused(
        &format!("{reseal} --threshold 3"),
        &both,
        1,
        "more are needed",
    );
    assert!(!home.path("new/cem.share").exists());
    home.done("check", &both);
    let resealed = home.done(&format!("{reseal} --threshold 2"), &both);
    assert_eq!(
        (&resealed["from"], &resealed["seal"]),
        (&"custodians".into(), &"custodians".into())
    );
    home.refused("check", &both, 4, "earlier seal");
    let both = format!("{}{}", home.lines("new", "eva"), home.lines("new", "cem"));
    home.done("check", &both);

    // To a passphrase, and back; and who may unseal is another one then.
    let unsealers = || {
        let seal = fs::read_to_string(home.path("keys/seal.json")).expect("a seal");
        let seal: serde_json::Value = serde_json::from_str(&seal).expect("JSON");
        let list = seal["unsealers"].as_array().expect("a list").clone();
        let uris = list
            .iter()
            .map(|u| u["uri"].as_str().expect("one").to_owned());
        uris.collect::<Vec<_>>()
    };
    assert_eq!(unsealers().len(), 5, "whoever could still may");
    let to_passphrase = "keys reseal --to passphrase --new-passphrase-file passphrase";
    let stranger = format!("{to_passphrase} --unsealer ca.pem");
    home.refused(&stranger, &both, 2, "ca.pem");
    let resealed = home.done(&format!("{to_passphrase} --unsealer dov.pem"), &both);
    let told = serde_json::json!(unsealers());
    assert_eq!(resealed["unsealers"], told, "it says whom");
    let [only] = &unsealers()[..] else {
        panic!("{:?}", unsealers());
    };
    assert!(only.contains("dov"), "{only}");
    let with_passphrase = "check --passphrase-file passphrase";
    assert_eq!(home.done(with_passphrase, "")["sound"], true);
    fs::write(home.path("wrong"), "wrong horse battery").expect("written");
    let wrong = "keys reseal --to passphrase --passphrase-file wrong";
    home.refused(wrong, "", 4, "wrong passphrase");
    let again = format!(
        "keys reseal --to custodians --custodian cem=cem.pem --custodian dov=dov.pem \
         --share-to cem={age} --share-to dov={age} --threshold 2 --share-dir last \
         --passphrase-file passphrase"
    );
    home.done(&again, "");
    let both = format!("{}{}", home.lines("last", "dov"), home.lines("last", "cem"));
    assert_eq!(home.done("check", &both)["sound"], true);
}
