//! Each kind of seal on the real binary: made, served, sealed, tried wrongly, unsealed, and changed
//! for each other kind, with data from before readable after.
//!
//! A security module is SoftHSM2 and the key service is moto's server; each kind whose tool is
//! missing is passed over, and the test says so. `PAYVAULT_LONG=1` walks every ordered pair of kinds,
//! otherwise one round through all of them. `PAYVAULT_TEST_KMS=ENDPOINT` names a running emulator;
//! `PAYVAULT_TEST_BINARY` is then a binary that was built with the feature `aws-kms`.

use payvault::api::dev_ca::DevCa;
use payvault::clock::Clock;
use payvault::keys::{AgeIdentity, SealKind, ShareFile};
use payvault::secret::SecretText;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PASSPHRASE: &str = "correct horse battery";
const PIN: &str = "648219";
const NUMBER: &str = "4111111111111111";
/// Where Debian has it.
const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const TOKEN: &str = "payvault tests";

fn long() -> bool {
    std::env::var_os("PAYVAULT_LONG").is_some()
}

/// The kinds that can be tried here.
fn kinds() -> Vec<SealKind> {
    let mut kinds = vec![SealKind::Passphrase, SealKind::Custodians];
    match has_softhsm() {
        true => kinds.push(SealKind::Pkcs11),
        false => eprintln!("SKIPPED: the seal pkcs11 (no SoftHSM2: apt-get install softhsm2)"),
    }
    match kms() {
        Some(_) => kinds.push(SealKind::AwsKms),
        None => eprintln!("SKIPPED: the seal aws-kms (PAYVAULT_TEST_KMS names no emulator)"),
    }
    kinds
}

fn has_softhsm() -> bool {
    PathBuf::from(SOFTHSM).exists()
        && Command::new("softhsm2-util")
            .arg("--version")
            .output()
            .is_ok()
}

fn kms() -> Option<String> {
    std::env::var("PAYVAULT_TEST_KMS").ok()
}

/// Everything below one directory: certificates, a token store, vaults.
struct Home {
    dir: TempDir,
    identity: AgeIdentity,
    recipient: String,
    /// A key of the emulator, when there is one.
    kms_key: String,
    port: u16,
}

/// A running `serve`.
struct Serving {
    child: Child,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Home {
    fn new() -> Home {
        let (identity, recipient) = AgeIdentity::generate();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let mut home = Home {
            dir: tempfile::tempdir().expect("a directory"),
            identity,
            recipient: recipient.to_string(),
            kms_key: String::new(),
            port,
        };
        let ca = DevCa::new(Clock::system().now()).expect("a CA");
        fs::write(home.path("ca.pem"), ca.certificate_pem()).expect("written");
        for name in ["ann", "cem", "dov", "shop", "acme"] {
            let credential = ca.client(name).expect("a credential");
            credential.write(home.dir.path(), name).expect("written");
        }
        let server = ca.server().expect("a credential");
        server.write(home.dir.path(), "server").expect("written");
        home.write("passphrase", PASSPHRASE);
        home.write("pin", PIN);
        home.write("wrong-passphrase", "wrong horse battery");
        home.write("wrong-pin", "111111");
        if has_softhsm() {
            let tokens = home.path("tokens");
            fs::create_dir(&tokens).expect("a directory");
            home.write(
                "softhsm2.conf",
                &format!("directories.tokendir = {}\n", tokens.display()),
            );
            home.token(TOKEN);
        }
        if let Some(endpoint) = kms() {
            home.kms_key = new_kms_key(&endpoint);
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Makes a token in the test's own store.
    fn token(&self, label: &str) {
        let made = Command::new("softhsm2-util")
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .args(["--init-token", "--free", "--label", label])
            .args(["--pin", PIN, "--so-pin", "12345678"])
            .output()
            .expect("it runs");
        assert!(made.status.success(), "{made:?}");
    }

    /// Words divided by spaces; `~` stands for a space in one.
    fn command(&self, vault: &str, words: &str) -> Command {
        let other = std::env::var_os("PAYVAULT_TEST_BINARY");
        let binary = other.unwrap_or_else(|| env!("CARGO_BIN_EXE_payvault").into());
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PAYVAULT_")) {
            command.env_remove(name);
        }
        command
            .current_dir(self.dir.path())
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .env("AWS_ENDPOINT_URL", kms().unwrap_or_default())
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .args(words.split_whitespace().map(|word| word.replace('~', " ")));
        let first = words.split_whitespace().next().expect("a command");
        if matches!(first, "init" | "serve" | "check") || words.starts_with("keys reseal") {
            command
                .args(["--data-dir", &format!("{vault}/data")])
                .args(["--keys-dir", &format!("{vault}/keys")])
                .args(["--tls-cert", "server.pem", "--tls-key", "server.key.pem"])
                .args(["--tls-client-ca", "ca.pem", "--module", SOFTHSM]);
        }
        command
    }

    fn run(&self, vault: &str, words: &str, lines: &str) -> Output {
        let mut command = self.command(vault, words);
        command.arg("--json");
        crate::fed(command, lines)
    }

    fn done(&self, vault: &str, words: &str, lines: &str) -> Value {
        let output = self.run(vault, words, lines);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let document = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words}: {said}{document}");
        serde_json::from_slice(&output.stdout).expect("one document")
    }

    /// Ends with this code, and says this.
    fn refused(&self, vault: &str, words: &str, lines: &str, code: i32, says: &str) {
        let output = self.run(vault, words, lines);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let all = format!("{said}{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(output.status.code(), Some(code), "{words}: {all}");
        assert!(all.contains(says), "{words}: {all}");
    }

    /// Calls the serving vault as somebody.
    fn call(&self, who: &str, words: &str) -> String {
        let secret = match self.path(&format!("secrets/{who}.secret")).exists() {
            true => format!(" --secret-file secrets/{who}.secret"),
            false => String::new(),
        };
        format!(
            "{words} --endpoint https://localhost:{} --ca ca.pem --cert {who}.pem \
             --key {who}.key.pem{secret}",
            self.port
        )
    }

    fn serve(&self, vault: &str, flags: &str) -> Serving {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log");
        let words = format!("serve --listen 127.0.0.1:{} {flags}", self.port);
        let child = self
            .command(vault, &words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .expect("it starts");
        let mut serving = Serving { child };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = serving.child.try_wait().expect("a child");
            assert!(
                ended.is_none() && began.elapsed() < Duration::from_secs(60),
                "not serving: {}",
                fs::read_to_string(self.path("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        serving
    }

    fn stop(&self, serving: Serving) {
        let mut serving = serving;
        let process = rustix::process::Pid::from_child(&serving.child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("it runs");
        let ended = serving.child.wait().expect("it ends");
        assert!(ended.success(), "{ended}");
    }

    /// The flags with which `init` and `keys reseal` make this kind; shares go to `shares`.
    fn new_seal(&self, kind: SealKind, shares: &str) -> String {
        match kind {
            SealKind::Passphrase => String::new(),
            SealKind::Custodians => format!(
                "--custodian cem=cem.pem --custodian dov=dov.pem --share-to cem={0} \
                 --share-to dov={0} --threshold 2 --share-dir {shares}",
                self.recipient
            ),
            SealKind::Pkcs11 => format!("--token-label {}", TOKEN.replace(' ', "~")),
            SealKind::AwsKms => format!("--kms-key {}", self.kms_key),
        }
    }

    /// What opens this kind offline: flags, and lines on stdin.
    fn opening(&self, kind: SealKind, shares: &str) -> (&'static str, String) {
        match kind {
            SealKind::Passphrase => ("--passphrase-file passphrase", String::new()),
            SealKind::Custodians => {
                let share = |name| self.share(shares, name) + "\n";
                ("", share("cem") + &share("dov"))
            }
            SealKind::Pkcs11 => ("--pin-file pin", String::new()),
            SealKind::AwsKms => ("", String::new()),
        }
    }

    /// A custodian's share as text.
    fn share(&self, shares: &str, name: &str) -> String {
        let file = fs::read_to_string(self.path(&format!("{shares}/{name}.share")));
        let file = SecretText::copy_from(&file.expect("a share"));
        let Ok(ShareFile::Age(file)) = ShareFile::parse(&file) else {
            panic!("not for age");
        };
        let share = self.identity.open(&file).expect("for this identity");
        share.to_text().expose().to_owned()
    }

    /// Tries a wrong opening at the sealed vault, then unseals it, as people do.
    fn unseal(&self, vault: &str, kind: SealKind, shares: &str) {
        let status = self.done(vault, &self.call("ann", "status"), "");
        assert_eq!(
            (&status["sealed"], &status["seal"]),
            (&true.into(), &kind.as_str().into())
        );
        let list = self.call("ann", "principal list");
        self.refused(vault, &list, "", 5, "SEALED");
        let try_ = |who, flags: &str| self.call(who, &format!("unseal {flags}"));
        match kind {
            SealKind::Passphrase => {
                let wrong = try_("ann", "--passphrase-file wrong-passphrase");
                self.refused(vault, &wrong, "", 4, "BAD_SECRET");
                // Of another kind.
                self.refused(vault, &try_("ann", "--pin-file pin"), "", 3, "WRONG_SEAL");
                self.done(vault, &try_("ann", "--passphrase-file passphrase"), "");
            }
            SealKind::Custodians => {
                for name in ["cem", "dov"] {
                    self.write(&format!("{name}.text"), &self.share(shares, name));
                }
                let stranger = try_("dov", "--share-file cem.text");
                self.refused(vault, &stranger, "", 3, "SHARE_NOT_YOURS");
                let wrong = try_("ann", "--passphrase-file passphrase");
                self.refused(vault, &wrong, "", 3, "WRONG_SEAL");
                self.done(vault, &try_("cem", "--share-file cem.text"), "");
                self.done(vault, &try_("dov", "--share-file dov.text"), "");
            }
            SealKind::Pkcs11 => {
                let wrong = try_("ann", "--pin-file wrong-pin");
                self.refused(vault, &wrong, "", 4, "BAD_PIN");
                let wrong = try_("ann", "--passphrase-file passphrase");
                self.refused(vault, &wrong, "", 3, "WRONG_SEAL");
                self.done(vault, &try_("ann", "--pin-file pin"), "");
            }
            SealKind::AwsKms => {
                let wrong = try_("ann", "--passphrase-file passphrase");
                self.refused(vault, &wrong, "", 3, "WRONG_SEAL");
                self.done(vault, &try_("ann", ""), "");
            }
        }
        let status = self.done(vault, &self.call("ann", "status"), "");
        assert_eq!(status["sealed"], false);
    }

    /// Makes a vault under a kind, walks its seal, and enters a card. Gives the transaction.
    fn make(&self, vault: &str, kind: SealKind) -> String {
        let _ = fs::remove_dir_all(self.path("secrets"));
        let opening = match kind {
            SealKind::Passphrase => "--passphrase-file passphrase",
            SealKind::Pkcs11 => "--pin-file pin",
            SealKind::Custodians | SealKind::AwsKms => "",
        };
        let shares = format!("{vault}-shares");
        let made = self.done(
            vault,
            &format!(
                "init --seal {} --operator ann=ann.pem --single-operator --agreement NDA-1 \
                 --agreement-until 2100-01-01 --secret-dir secrets {opening} {}",
                kind.as_str(),
                self.new_seal(kind, &shares)
            ),
            "",
        );
        assert_eq!(made["seal"], kind.as_str());
        // Without a person where that can be; a custodians' vault starts sealed.
        let serving = self.serve(vault, opening);
        if kind == SealKind::Custodians {
            self.unseal(vault, kind, &shares);
        }
        for (name, role) in [("shop", "portal"), ("acme", "processor")] {
            let add = format!(
                "principal add --name {name} --role {role} --site nl --certificate {name}.pem"
            );
            self.done(vault, &self.call("ann", &add), "");
        }
        let set = "allow set --site nl --portal shop --processor acme --purpose authorize \
                   --uses-max 100 --release 30d --releases-per-hour 1000";
        self.done(vault, &self.call("ann", set), "");
        let listed = self.done(vault, &self.call("ann", "principal list"), "");
        let people = listed["principals"].as_array().expect("a list");
        let acme = people
            .iter()
            .find(|one| one["name"] == "acme")
            .expect("acme");
        let acme = acme["id"].as_str().expect("an id");
        let mut open = self.command(vault, &self.call("shop", "transaction open --site nl"));
        let opened = open
            .args(["--grant", &format!("{acme}:authorize:number:100"), "--json"])
            .output()
            .expect("it runs");
        let opened: Value = serde_json::from_slice(&opened.stdout).expect("one document");
        let transaction = opened["transaction"].as_str().expect("an id").to_owned();
        let card = format!(
            r#"{{"card": {{"number": "{NUMBER}", "expiry_month": 12, "expiry_year": 2035, "holder": "A B"}}}}"#
        );
        self.write("card.json", &card);
        let mut tokenize = self.command(vault, &self.call("shop", "tokenize"));
        let tokenized = tokenize
            .args([
                &transaction,
                "--token-out",
                &format!("{vault}-token"),
                "--json",
            ])
            .stdin(fs::File::open(self.path("card.json")).expect("a card"))
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&tokenized.stderr).into_owned();
        assert!(tokenized.status.success(), "{said}");
        self.reads(vault, &transaction);
        // Sealed by hand, tried, and opened again.
        self.done(vault, &self.call("ann", "seal"), "");
        self.unseal(vault, kind, &shares);
        self.reads(vault, &transaction);
        self.stop(serving);
        transaction
    }

    /// The card that was entered comes back.
    fn reads(&self, vault: &str, transaction: &str) {
        let words = "redeem --purpose authorize --fields number";
        let mut redeem = self.command(vault, &self.call("acme", words));
        let output = redeem
            .args([
                transaction,
                "--token-file",
                &format!("{vault}-token"),
                "--json",
            ])
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
        assert_eq!(document["details"]["card"]["number"], NUMBER, "{document}");
    }

    /// Changes the seal, and reads what was entered before. Wrong and right opening of the old seal.
    fn change(&self, vault: &str, from: (SealKind, &str), to: (SealKind, &str), transaction: &str) {
        let (flags, lines) = self.opening(from.0, from.1);
        let new = match to.0 {
            SealKind::Passphrase => "--new-passphrase-file passphrase",
            SealKind::Pkcs11 if from.0 != SealKind::Pkcs11 => "--pin-file pin",
            _ => "",
        };
        let seal = self.new_seal(to.0, to.1);
        let reseal =
            |flags: &str| format!("keys reseal --to {} {flags} {new} {seal}", to.0.as_str());
        match from.0 {
            SealKind::Passphrase => {
                let wrong = reseal("--passphrase-file wrong-passphrase");
                self.refused(vault, &wrong, "", 4, "wrong passphrase");
            }
            SealKind::Custodians => self.refused(vault, &reseal(""), "pvs_abcd\n", 4, "damaged"),
            SealKind::Pkcs11 => {
                self.refused(vault, &reseal("--pin-file wrong-pin"), "", 4, "wrong PIN");
            }
            SealKind::AwsKms => {}
        }
        let resealed = self.done(vault, &reseal(flags), &lines);
        assert_eq!(
            (&resealed["from"], &resealed["seal"]),
            (&from.0.as_str().into(), &to.0.as_str().into())
        );
        let (flags, lines) = self.opening(to.0, to.1);
        assert_eq!(
            self.done(vault, &format!("check {flags}"), &lines)["sound"],
            true
        );
        let serving = self.serve(
            vault,
            if to.0 == SealKind::Custodians {
                ""
            } else {
                flags
            },
        );
        if to.0 == SealKind::Custodians {
            self.unseal(vault, to.0, to.1);
        }
        self.reads(vault, transaction);
        self.stop(serving);
    }
}

/// Asks the emulator for a key.
fn new_kms_key(endpoint: &str) -> String {
    let address = endpoint.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address).expect("the emulator listens");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nX-Amz-Target: TrentService.CreateKey\r\n\
         Content-Type: application/x-amz-json-1.1\r\nContent-Length: 2\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20261124/eu-central-1/kms/aws4_request, \
         SignedHeaders=host, Signature=0\r\nConnection: close\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: Value = serde_json::from_str(body).expect("one document");
    body["KeyMetadata"]["Arn"]
        .as_str()
        .expect("an ARN")
        .to_owned()
}

#[test]
fn each_seal_is_made_opened_and_changed_for_each_other() {
    let home = Home::new();
    let kinds = kinds();
    for (at, first) in kinds.iter().copied().enumerate() {
        if !long() && at > 0 && matches!(first, SealKind::Custodians) {
            // Walked as a target below, and offline in `custody`.
            continue;
        }
        let vault = format!("vault-{}", first.as_str());
        let transaction = home.make(&vault, first);
        // To each other kind and back; or, in the short form, once around.
        let mut path = vec![first];
        let others = || kinds.iter().copied().filter(|kind| *kind != first);
        match long() {
            true => path.extend(others().flat_map(|other| [other, first])),
            false if at == 0 => path.extend(others().chain([first])),
            false => {}
        }
        let shares = |step: usize| match step {
            0 => format!("{vault}-shares"),
            step => format!("{vault}-shares-{step}"),
        };
        for step in 1..path.len() {
            let (from, to) = (shares(step - 1), shares(step));
            let (from, to) = ((path[step - 1], &*from), (path[step], &*to));
            home.change(&vault, from, to, &transaction);
        }
        let names: Vec<&str> = path.iter().map(|kind| kind.as_str()).collect();
        println!("made and walked: {}", names.join(" -> "));
    }
}

#[test]
fn what_is_amiss_with_a_key_service_is_told_apart() {
    let Some(endpoint) = kms() else {
        eprintln!("SKIPPED: PAYVAULT_TEST_KMS names no emulator");
        return;
    };
    let home = Home::new();
    let vault = "vault";
    let init = "init --seal aws-kms --operator ann=ann.pem --single-operator --agreement NDA-1 \
                --agreement-until 2100-01-01 --secret-dir secrets";
    home.refused(vault, init, "", 2, "--kms-key");
    let nowhere = home.kms_key.replace(|c: char| c.is_ascii_digit(), "0");
    let refused = format!("{init} --kms-key {nowhere}");
    home.refused(vault, &refused, "", 1, "the key service refuses");
    for dir in ["vault", "secrets"] {
        let _ = fs::remove_dir_all(home.path(dir));
    }
    home.done(vault, &format!("{init} --kms-key {}", home.kms_key), "");
    home.done(vault, "check", "");
    let seal = home.path("vault/keys/seal.json");
    let right = fs::read_to_string(&seal).expect("a seal");
    // A key that there is not, and another one: moto takes that for a caller without the right.
    for key in [&nowhere, &new_kms_key(&endpoint)] {
        fs::write(&seal, right.replace(&home.kms_key, key)).expect("written");
        home.refused(vault, "check", "", 7, "the key service refuses");
    }
    // What the same key has sealed for another vault.
    let other = init.replace("secrets", "more");
    home.done("other", &format!("{other} --kms-key {}", home.kms_key), "");
    let root = |text: &str| {
        let json: Value = serde_json::from_str(text).expect("a seal");
        json["root"].as_str().expect("a root").to_owned()
    };
    let foreign = fs::read_to_string(home.path("other/keys/seal.json")).expect("a seal");
    let swapped = right.replace(&root(&right), &root(&foreign));
    fs::write(&seal, swapped).expect("written");
    let says = "is not the one that sealed this vault";
    home.refused(vault, "check", "", 7, says);
    fs::write(&seal, &right).expect("written");
    let away = home
        .command(vault, "check")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&away.stderr).into_owned();
    assert_eq!(away.status.code(), Some(7), "{said}");
    assert!(said.contains("can't be reached"), "{said}");
    home.done(vault, "check", "");
}

#[test]
fn what_is_amiss_with_a_security_module_is_told_apart_and_an_old_copy_opens_nothing() {
    if !has_softhsm() {
        eprintln!("SKIPPED: no SoftHSM2 (apt-get install softhsm2)");
        return;
    }
    let home = Home::new();
    let init = "init --seal pkcs11 --operator ann=ann.pem --single-operator --agreement NDA-1 \
                --agreement-until 2100-01-01 --secret-dir secrets";
    let vault = "vault";
    let clear = || {
        for dir in ["vault", "secrets"] {
            let _ = fs::remove_dir_all(home.path(dir));
        }
    };
    let token = format!("--token-label {}", TOKEN.replace(' ', "~"));
    home.refused(
        vault,
        &format!("{init} --pin-file pin"),
        "",
        2,
        "--token-label",
    );
    home.refused(
        vault,
        &format!("{init} {token} --pin-file wrong-pin"),
        "",
        1,
        "wrong PIN",
    );
    clear();
    let nowhere = format!("{init} --token-label nowhere --pin-file pin");
    home.refused(vault, &nowhere, "", 1, "no token is labelled");
    clear();
    home.done(
        vault,
        &format!("{init} {token} --key-label root --pin-file pin"),
        "",
    );
    let check = "check --pin-file pin";
    home.done(vault, check, "");
    home.refused(vault, "check --pin-file wrong-pin", "", 4, "wrong PIN");

    // Before a destruction (a reseal renews the wrapping key as one does), a thief copies all that
    // lies in the keys directory.
    fs::create_dir(home.path("copy")).expect("a directory");
    for name in ["seal.json", "wrap", "keyring"] {
        let from = home.path(&format!("vault/keys/{name}"));
        fs::copy(from, home.path(&format!("copy/{name}"))).expect("copied");
    }
    home.refused(
        vault,
        &format!("keys reseal --to pkcs11 {token} --key-label root --pin-file pin"),
        "",
        1,
        "already",
    );
    let reseal = format!("keys reseal --to pkcs11 {token} --key-label next --pin-file pin");
    home.done(vault, &reseal, "");
    home.done(vault, check, "");
    fs::create_dir(home.path("today")).expect("a directory");
    for name in ["seal.json", "wrap", "keyring"] {
        let own = home.path(&format!("vault/keys/{name}"));
        fs::copy(&own, home.path(&format!("today/{name}"))).expect("copied");
        fs::copy(home.path(&format!("copy/{name}")), &own).expect("put back");
    }
    // The old root key is there still, its PIN is right, and the copy opens nothing.
    home.refused(vault, check, "", 7, "from before a key was destroyed");
    for name in ["seal.json", "wrap", "keyring"] {
        let own = home.path(&format!("vault/keys/{name}"));
        fs::copy(home.path(&format!("today/{name}")), own).expect("put back");
    }
    home.done(vault, check, "");

    // Another token of that name has not the key; none of that name is another thing; and a key of
    // that label is not yet the key.
    let tokens = home.path("tokens");
    fs::rename(&tokens, home.path("away")).expect("unplugged");
    fs::create_dir(&tokens).expect("a directory");
    home.refused(vault, check, "", 7, "no token is labelled");
    home.token(TOKEN);
    home.refused(vault, check, "", 7, "does not have the key");
    let other = format!(
        "{} {token} --key-label next --pin-file pin",
        init.replace("secrets", "more")
    );
    home.done("other", &other, "");
    home.refused(vault, check, "", 7, "is not the one that sealed this vault");
    let serving = home.serve(vault, "");
    let unseal = home.call("ann", "unseal --pin-file pin");
    home.refused(vault, &unseal, "", 3, "HSM_KEY_FOREIGN");
    drop(serving);
    fs::remove_dir_all(&tokens).expect("removed");
    fs::rename(home.path("away"), &tokens).expect("plugged in");
    home.done(vault, check, "");
    // Two of one name are one too many.
    home.token(TOKEN);
    home.refused(vault, check, "", 7, "more than one token");
}
