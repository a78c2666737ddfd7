//! Witnesses, as real processes: `payvault log witness` answers as C2SP tlog-witness says and keeps
//! what it cosigned over `kill -9`; a vault submits its checkpoints, and one that was put back to an
//! older copy is told by what its witness holds, and is never cosigned.

use crate::dev::{in_seconds, with_session};
use crate::forks::copy;
use crate::place::Place;
use crate::size::until;
use ed25519_dalek::SigningKey;
use payvault::api::proto as pb;
use payvault::ledger::{
    Checkpoint, Hash, Submission, VerifierKey, WitnessKey, consistency_path, hex_of_origin,
};
use pb::admin_service_client::AdminServiceClient as Admin;
use pb::ledger_service_client::LedgerServiceClient as Ledger;
use pb::session_service_client::SessionServiceClient as Session;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tonic::transport::Channel;

/// A running witness.
struct Witness {
    child: Child,
    key: WitnessKey,
    address: String,
}

fn witness_command(dir: &Path, listen: &str, ledgers: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payvault"));
    command.env_clear().args(["log", "witness", "--dir"]);
    command.arg(dir).args(["--name", "auditor.example/w1"]);
    command.args(["--listen", listen]);
    for key in ledgers {
        command.args(["--ledger", key]);
    }
    command
}

impl Witness {
    fn start(dir: &Path, listen: &str, ledgers: &[String]) -> Witness {
        #[allow(clippy::zombie_processes)] // reaped when it is ended
        let mut child = witness_command(dir, listen, ledgers)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut line = |before: &str| {
            let line = said.next().expect("a line").expect("text");
            line.strip_prefix(before).expect("said").to_owned()
        };
        Witness {
            key: WitnessKey::parse(&line("cosigns as ")).expect("a key"),
            address: line("at http://"),
            child,
        }
    }

    /// Status, content type and body.
    fn ask(&self, request: &str, body: &[u8]) -> (u16, String, String) {
        let mut to = TcpStream::connect(&self.address).expect("a connection");
        let head = format!(
            "{request} HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        to.write_all(head.as_bytes()).expect("sent");
        // It may answer, and close, before all of a body that is too long has come.
        let _ = to.write_all(body);
        let mut answer = Vec::new();
        let _ = to.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).expect("a status");
        let kind = head
            .lines()
            .find_map(|line| line.strip_prefix("content-type: "));
        let kind = kind.unwrap_or_default().to_owned();
        (status.parse().expect("a number"), kind, body.to_owned())
    }

    fn add(&self, submission: &Submission) -> (u16, String, String) {
        self.ask("POST /add-checkpoint", submission.to_text().as_bytes())
    }

    fn kill_9(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// In order.
    fn stop(mut self) {
        let sent = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()));
        assert!(self.child.wait().expect("reaped").success());
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A log of our own, whose leaves are hashes.
struct Log {
    signing: SigningKey,
    leaves: Vec<Hash>,
}

const ORIGIN: &str = "payvault/of-a-test/1";

struct Of<'a>(&'a [Hash]);

impl payvault::ledger::Hashes for Of<'_> {
    fn subtree(&mut self, level: u8, index: u64) -> Result<Hash, payvault::ledger::LedgerError> {
        let (width, index) = (1 << level, index as usize);
        Ok(root(&self.0[index * width..(index + 1) * width]))
    }
}

fn root(leaves: &[Hash]) -> Hash {
    let mut tree = payvault::ledger::Frontier::empty();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

impl Log {
    fn new() -> Log {
        Log {
            signing: SigningKey::from_bytes(&[5; 32]),
            leaves: (0..100).map(|n| [n; 32]).collect(),
        }
    }

    /// The same up to `at`, and another from there.
    fn fork(at: usize) -> Log {
        let mut fork = Log::new();
        fork.leaves[at] = [255; 32];
        fork
    }

    fn key(&self) -> String {
        VerifierKey::new(ORIGIN, self.signing.verifying_key())
            .expect("a name")
            .to_string()
    }

    fn submission(&self, old: u64, size: u64) -> Submission {
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root: root(&self.leaves[..size as usize]),
        };
        let proof = match old == 0 || old == size {
            true => Vec::new(),
            false => consistency_path(&mut Of(&self.leaves), old, size).expect("a path"),
        };
        Submission {
            old,
            proof,
            note: checkpoint.sign(&self.signing).expect("signed"),
        }
    }
}

#[test]
fn a_witness_answers_as_the_specification_says_and_remembers() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("witness");
    let (log, fork) = (Log::new(), Log::fork(10));
    let ledgers = [log.key()];
    let witness = Witness::start(&home, "127.0.0.1:0", &ledgers);
    let newest = format!("GET /{}/checkpoint", hex_of_origin(ORIGIN));
    assert_eq!(witness.ask(&newest, b"").0, 404);

    // The refusals, before anything was cosigned.
    let mut elsewhere = log.submission(0, 7);
    elsewhere.note = elsewhere.note.replace("/1\n7\n", "/2\n7\n");
    assert_eq!(witness.add(&elsewhere).0, 404);
    let mut unsigned = log.submission(0, 7);
    unsigned.note = unsigned.note.replacen("\n7\n", "\n8\n", 1);
    assert_eq!(witness.add(&unsigned).0, 403);
    for bad in [&b""[..], b"old 0\n", b"\xff", b"old 00\n\nx\n1\ny\n\n"] {
        assert_eq!(witness.ask("POST /add-checkpoint", bad).0, 400);
    }
    let long = vec![b'a'; 64 << 10];
    assert_eq!(witness.ask("POST /add-checkpoint", &long).0, 413);
    assert_eq!(witness.ask("GET /add-checkpoint", b"").0, 405);
    assert_eq!(witness.ask("GET /../witness.key", b"").0, 404);
    let (status, kind, body) = witness.add(&log.submission(3, 7));
    assert_eq!(
        (status, kind.as_str(), &*body),
        (409, "text/x.tlog.size", "0\n")
    );

    // What goes on from what was cosigned is cosigned, also the same once more.
    for (old, size) in [(0, 7), (7, 7), (7, 20)] {
        let submission = log.submission(old, size);
        let (status, _, line) = witness.add(&submission);
        assert_eq!(status, 200, "{line}");
        let cosigned = witness.key.cosigned(&format!("{}{line}", submission.note));
        assert!(cosigned.is_ok_and(|at| at.is_some()));
    }
    let (status, _, note) = witness.ask(&newest, b"");
    assert_eq!(status, 200);
    assert!(note.starts_with(&log.submission(0, 20).note));
    assert!(witness.key.cosigned(&note).expect("its").is_some());

    let refusals = |witness: &Witness| {
        let (status, kind, body) = witness.add(&log.submission(7, 30));
        assert_eq!(
            (status, kind.as_str(), &*body),
            (409, "text/x.tlog.size", "20\n")
        );
        let (status, kind, body) = witness.add(&fork.submission(20, 20));
        assert_eq!(
            (status, kind.as_str(), &*body),
            (409, "text/x.tlog.size", "20\n")
        );
        assert_eq!(witness.add(&fork.submission(20, 30)).0, 422);
        let mut broken = log.submission(20, 30);
        broken.proof[0][0] ^= 1;
        assert_eq!(witness.add(&broken).0, 422);
        let mut past = log.submission(0, 7);
        past.old = 8;
        assert_eq!(witness.add(&past).0, 400);
    };
    refusals(&witness);
    // A second process on one memory would cosign two trees.
    let second = witness_command(&home, "127.0.0.1:0", &ledgers).output();
    let second = second.expect("it ends");
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another witness's"));
    let key = witness.key.clone();
    witness.kill_9();

    let witness = Witness::start(&home, "127.0.0.1:0", &ledgers);
    assert_eq!(witness.key, key);
    assert_eq!(witness.ask(&newest, b"").2, note);
    refusals(&witness);
    // Two histories of one size, at the same moment: one of them, never both.
    let (one, other) = (Log::fork(25).submission(20, 40), log.submission(20, 40));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let witness = &witness;
        let asked: Vec<_> = [&one, &other, &one, &other]
            .map(|submission| scope.spawn(move || witness.add(submission).0))
            .into();
        asked
            .into_iter()
            .map(|a| a.join().expect("asked"))
            .collect()
    });
    assert_eq!(
        statuses.iter().filter(|s| **s == 200).count(),
        1,
        "{statuses:?}"
    );
    witness.stop();

    // A directory that was put back in part: the ledger is known, and its record isn't there.
    let record = home.join(hex_of_origin(ORIGIN));
    let good = std::fs::read_to_string(&record).expect("a record");
    std::fs::remove_file(&record).expect("there");
    for ledgers in [&ledgers[..], &[other_ledger()]] {
        let ended = witness_command(&home, "127.0.0.1:0", ledgers).output();
        let ended = ended.expect("it ends");
        assert!(!ended.status.success());
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(said.contains("is missing"), "{said}");
    }
    std::fs::write(&record, &good).expect("written");
    let witness = Witness::start(&home, "127.0.0.1:0", &ledgers);
    assert_eq!(witness.ask(&newest, b"").0, 200);
    witness.stop();

    // Its key is its own, and a record that isn't its is never taken for none.
    let file = home.join("witness.key");
    let mode = std::fs::metadata(&file)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let refused = |why: &str| {
        let ended = witness_command(&home, "127.0.0.1:0", &ledgers).output();
        let ended = ended.expect("it ends");
        assert!(!ended.status.success());
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(said.contains(why), "{said}");
    };
    for bad in [
        "",
        "\n",
        &good[..good.len() / 2],
        &good.replace("\n40\n", "\n41\n"),
    ] {
        std::fs::write(&record, bad).expect("written");
        refused("put the file back");
    }
    std::fs::write(&record, good).expect("written");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("set");
    refused("others can read");
}

fn other_ledger() -> String {
    let key = SigningKey::from_bytes(&[6; 32]).verifying_key();
    let key = VerifierKey::new("payvault/of-another-test/1", key);
    key.expect("a name").to_string()
}

#[tokio::test]
async fn nobody_shuts_a_witness_by_connections_that_ask_for_nothing_or_read_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = Log::new();
    let witness = Witness::start(&dir.path().join("w"), "127.0.0.1:0", &[log.key()]);
    // One request is one connection, however many are sent.
    let mut to = TcpStream::connect(&witness.address).expect("a connection");
    let get = "GET /x/checkpoint HTTP/1.1\r\nHost: w\r\n\r\n";
    to.write_all(get.repeat(3).as_bytes()).expect("sent");
    let mut answers = Vec::new();
    let _ = to.read_to_end(&mut answers);
    let answers = String::from_utf8(answers).expect("text");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");

    // One address that takes all places gets some of them.
    let address = witness.address.parse().expect("an address");
    let mut guests = Vec::new();
    for _ in 0..64 {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket
            .bind("127.0.0.2:0".parse().expect("an address"))
            .expect("bound");
        guests.push(socket.connect(address).await.expect("a connection"));
    }
    let sent_off = guests.split_off(16);
    for guest in &sent_off {
        guest.readable().await.expect("closed");
        assert!(!matches!(guest.try_read(&mut [0; 1]), Ok(1..)));
    }
    for guest in &guests {
        let read = guest.try_read(&mut [0; 1]);
        let open = read.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(open, "it was no earlier than those that were sent off");
    }
    assert_eq!(witness.add(&log.submission(0, 7)).0, 200);
    witness.stop();
}

/// A vault whose auditor is vera, and its witness.
struct Stage {
    place: Place,
    session: String,
    ledger: String,
    port: String,
}

impl Stage {
    async fn new() -> Stage {
        let mut place = Place::new();
        place.start(&[]).await.expect("it serves");
        let channel = place.channel("ann").await;
        let ledger = Ledger::new(channel)
            .get_checkpoint(pb::GetCheckpointRequest {})
            .await
            .expect("a checkpoint")
            .into_inner()
            .verifier_key;
        place.stop();
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("bound").to_string();
        Stage {
            place,
            session: String::new(),
            ledger,
            port,
        }
    }

    fn home(&self) -> PathBuf {
        self.place.path("witness")
    }

    fn witness(&self) -> Witness {
        Witness::start(&self.home(), &self.port, std::slice::from_ref(&self.ledger))
    }

    fn configure(&self, key: &WitnessKey) {
        self.configure_all(&[(&self.port, key)]);
    }

    fn configure_all(&self, witnesses: &[(&str, &WitnessKey)]) {
        let mut text = "witness_silent_minutes = 1\n[sites.nl]\nrelease_days_max = 30\n".to_owned();
        for (at, key) in witnesses {
            text += &format!("[[witness]]\nurl = \"http://{at}\"\nkey = \"{key}\"\n");
        }
        std::fs::write(self.place.path("payvault.toml"), text).expect("written");
    }

    async fn login(&mut self) {
        let mut session = Session::new(self.place.channel("ann").await);
        let secret = self.place.secrets["ann"].clone();
        let reply = session.login(pb::LoginRequest { secret }).await;
        self.session = reply.expect("a session").into_inner().session;
    }

    async fn checkpoint(&self) -> pb::GetCheckpointResponse {
        let mut ledger = Ledger::new(self.place.channel("ann").await);
        let reply = ledger.get_checkpoint(pb::GetCheckpointRequest {}).await;
        reply.expect("a checkpoint").into_inner()
    }

    /// Until the newest checkpoint is cosigned.
    async fn cosigned(&self, key: &WitnessKey) -> pb::Checkpoint {
        self.cosigned_from(key, 0).await
    }

    /// Until the newest checkpoint is cosigned, and has so many entries: one that was published
    /// before the last of them may still be the newest.
    async fn cosigned_from(&self, key: &WitnessKey, least: u64) -> pb::Checkpoint {
        until("a cosigned checkpoint", async || {
            let reply = self.checkpoint().await;
            let cosigned = reply.cosigned?;
            let newest = reply.checkpoint.expect("one");
            let whole = cosigned == newest && cosigned.size >= least;
            (whole && key.cosigned(&cosigned.note).expect("its").is_some()).then_some(cosigned)
        })
        .await
    }

    async fn warnings(&self) -> Vec<String> {
        let request = with_session(pb::GetStatusRequest {}, &self.session);
        let mut admin = Admin::new(self.place.channel("ann").await);
        let status = admin.get_status(request).await.expect("a status");
        status.into_inner().warnings
    }

    /// So many entries.
    async fn grow(&self, entries: usize) {
        let mut admin = Admin::new(self.place.channel("ann").await);
        for _ in 0..entries {
            let refused = admin.get_status(pb::GetStatusRequest {}).await;
            refused.expect_err("no session");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_are_cosigned_and_an_older_copy_is_told_by_what_the_witness_holds() {
    let mut stage = Stage::new().await;
    let witness = stage.witness();
    let key = witness.key.clone();
    stage.configure(&key);
    stage.place.start(&[]).await.expect("it serves");
    stage.login().await;
    stage.cosigned(&key).await;
    assert!(!stage.warnings().await.iter().any(|w| w.contains("witness")));
    let older = stage.checkpoint().await.checkpoint.expect("one").size;
    stage.place.stop();
    for name in ["data", "mark"] {
        let kept = stage.place.path(&format!("older-{name}"));
        copy(&stage.place.path(name), &kept);
    }

    // It goes on. A witness that was killed meanwhile catches up.
    stage.place.start(&[]).await.expect("it serves");
    stage.grow(12).await;
    stage.cosigned_from(&key, older + 12).await;
    witness.kill_9();
    stage.grow(3).await;
    let witness = stage.witness();
    let known = stage.cosigned_from(&key, older + 15).await;
    let file = stage.place.path("outside/checkpoint.cosigned");
    let kept = std::fs::read_to_string(&file).expect("a note");
    assert!(key.cosigned(&kept).expect("its").is_some());
    stage.place.stop();
    let held = witness.ask(
        &format!(
            "GET /{}/checkpoint",
            hex_of_origin(stage.ledger.split('+').next().expect("a name"))
        ),
        b"",
    );
    let held = held.2.split('\n').nth(1).expect("a size").parse::<u64>();
    let held = held.expect("a number");
    // Stopping has an entry, and its checkpoint was submitted too.
    assert!(held > known.size);

    // Database, mark and every copy outside are put back: only the witness knows.
    for name in ["data", "mark"] {
        let kept = stage.place.path(&format!("older-{name}"));
        copy(&kept, &stage.place.path(name));
    }
    for name in ["checkpoint", "checkpoint.cosigned"] {
        std::fs::remove_file(stage.place.path("outside").join(name)).expect("there");
    }
    let (status, said) = stage.place.start(&[]).await.expect_err("it refuses");
    assert_eq!(status.code(), Some(7), "{said}");
    let ends: u64 = said
        .split_once("the database ends at ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .expect("says where it ends");
    let missing = format!(
        "the witness auditor.example/w1 holds {held}, signed by this ledger's own key: {} are missing",
        held - ends
    );
    assert!(said.contains(&missing), "{said}");

    // With a witness that can't be asked it serves. Asked later, it never cosigns the fork, at its
    // size, below or above, and the vault says so as loudly as it can.
    witness.stop();
    stage.place.start(&[]).await.expect("it serves");
    stage.login().await;
    assert!(stage.place.log().contains("can't say what it holds"));
    let witness = stage.witness();
    let contradiction = until("the contradiction", async || {
        let warnings = stage.warnings().await;
        warnings.into_iter().find(|w| w.contains("CONTRADICTS"))
    })
    .await;
    assert!(contradiction.contains("are missing"), "{contradiction}");
    assert!(
        contradiction.contains("own signature proves it"),
        "{contradiction}"
    );
    assert!(stage.place.log().contains("witness_conflict"));
    assert!(stage.checkpoint().await.cosigned.is_none());
    let size = stage.checkpoint().await.checkpoint.expect("one").size;
    stage.grow((held + 3).saturating_sub(size) as usize).await;
    until("another contradiction", async || {
        let warnings = stage.warnings().await;
        warnings.into_iter().find(|w| w.contains("other entries"))
    })
    .await;
    assert!(stage.checkpoint().await.cosigned.is_none());
    let entered = alarms(&mut stage).await;
    let conflict = entered
        .iter()
        .find(|line| line.contains("witness_conflict"));
    let conflict = conflict.expect("an entry");
    assert!(conflict.contains("auditor.example/w1"), "{conflict}");
    let now = witness.ask(
        &format!(
            "GET /{}/checkpoint",
            hex_of_origin(stage.ledger.split('+').next().expect("a name"))
        ),
        b"",
    );
    assert!(now.2.contains(&format!("\n{held}\n")), "{}", now.2);
    stage.place.stop();
}

/// The alarms in the ledger, as an auditor exports them.
async fn alarms(stage: &mut Stage) -> Vec<String> {
    let exported = export(stage).await;
    exported
        .lines()
        .filter(|line| line.contains("alarm_raised"))
        .map(str::to_owned)
        .collect()
}

async fn export(stage: &mut Stage) -> String {
    let mut admin = Admin::new(stage.place.channel("ann").await);
    let made = pb::CreatePrincipalRequest {
        name: "vera".to_owned(),
        role: pb::Role::Auditor.into(),
        sites: Vec::new(),
        certificate_pem: stage.place.people["vera"].certificate_pem.clone(),
        agreement: Some(pb::Agreement {
            reference: "NDA-2".to_owned(),
            valid_from: in_seconds(-60),
            valid_until: in_seconds(86_400),
        }),
    };
    let made = admin
        .create_principal(with_session(made, &stage.session))
        .await;
    made.expect("enrolled");
    let renewed = pb::RotateSecretRequest {
        principal: "vera".to_owned(),
    };
    let renewed = admin
        .rotate_secret(with_session(renewed, &stage.session))
        .await;
    let secret = renewed.expect("a secret").into_inner().secret;
    let channel: Channel = stage.place.channel("vera").await;
    let reply = Session::new(channel.clone())
        .login(pb::LoginRequest { secret })
        .await;
    let session = reply.expect("a session").into_inner().session;
    let request = pb::ExportLogRequest {
        reason: "audit".to_owned(),
        ticket: "A-1".to_owned(),
        ..Default::default()
    };
    let reply = Ledger::new(channel)
        .export_log(with_session(request, &session))
        .await;
    let mut pieces = reply.expect("an export").into_inner();
    let mut all = Vec::new();
    while let Some(piece) = pieces.message().await.expect("a piece") {
        all.extend_from_slice(&piece.lines);
    }
    String::from_utf8(all).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_carries_what_witnesses_cosigned_and_a_verifier_asks_for_it() {
    let mut stage = Stage::new().await;
    let witness = stage.witness();
    stage.configure(&witness.key);
    stage.place.start(&[]).await.expect("it serves");
    stage.login().await;
    stage.cosigned(&witness.key).await;
    let exported = export(&mut stage).await;
    let file = stage.place.path("audit.jsonl");
    std::fs::write(&file, &exported).expect("written");
    let verify = |more: &[&str]| {
        let ended = Command::new(env!("CARGO_BIN_EXE_payvault"))
            .args(["log", "verify"])
            .arg(&file)
            .args(["--key", &stage.ledger])
            .args(more)
            .output()
            .expect("it ends");
        let said = [ended.stdout, ended.stderr].concat();
        (
            ended.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let own = witness.key.to_string();
    let (code, said) = verify(&["--witness", &own]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("Cosigned by the witness auditor.example/w1"),
        "{said}"
    );
    let stranger = payvault::ledger::Cosigner::generate("other.example/w").expect("a key");
    let stranger = stranger.verifier().to_string();
    let (code, said) = verify(&["--witness", &own, "--witness", &stranger]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("other.example/w"), "{said}");
    let (code, said) = verify(&[
        "--witness",
        &own,
        "--witness",
        &stranger,
        "--witness-quorum",
        "1",
    ]);
    assert_eq!(code, Some(0), "{said}");
    // A ledger's key is no witness's, and one that is named twice counts once.
    assert_eq!(verify(&["--witness", &stage.ledger]).0, Some(2));
    assert_eq!(verify(&["--witness", &own, "--witness", &own]).0, Some(2));
    // Whoever knows nothing of witnesses verifies as before.
    assert_eq!(verify(&[]).0, Some(0));
    let python = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/verify_export.py"))
        .arg(&file)
        .args(["--key", &stage.ledger])
        .output();
    // Where there is no Python with its library, other tests say so.
    if let Ok(ended) = python {
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(
            ended.status.success() || said.contains("cryptography"),
            "{said}"
        );
    }
    stage.place.stop();
}

/// Takes every connection, reads, and never answers.
fn hanging(listener: std::net::TcpListener) -> std::sync::mpsc::Receiver<[u8; 4]> {
    let (said, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut begin = [0; 4];
            if stream.read_exact(&mut begin).is_ok() && said.send(begin).is_err() {
                return;
            }
            held.push(stream);
        }
    });
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_hangs_holds_up_neither_start_nor_answers_nor_end() {
    let mut stage = Stage::new().await;
    let heard = hanging(std::net::TcpListener::bind(&stage.port).expect("a port"));
    let key = payvault::ledger::Cosigner::generate("hangs.example/w").expect("a key");
    stage.configure(&key.verifier());
    stage.place.start(&[]).await.expect("it serves");
    assert_eq!(&heard.recv().expect("asked at the start"), b"GET ");
    stage.login().await;
    stage.grow(5).await;
    assert_eq!(&heard.recv().expect("submitted to"), b"POST");
    stage.grow(5).await;
    assert!(stage.checkpoint().await.cosigned.is_none());
    // A call is under way; it has ten seconds, and the end doesn't wait for them.
    let began = std::time::Instant::now();
    stage.place.stop();
    assert!(
        began.elapsed() < std::time::Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_hangs_holds_up_no_other() {
    let mut stage = Stage::new().await;
    let witness = stage.witness();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").to_string();
    let heard = hanging(listener);
    let key = payvault::ledger::Cosigner::generate("hangs.example/w").expect("a key");
    stage.configure_all(&[(&port, &key.verifier()), (&stage.port, &witness.key)]);
    stage.place.start(&[]).await.expect("it serves");
    assert_eq!(&heard.recv().expect("asked at the start"), b"GET ");
    assert_eq!(&heard.recv().expect("submitted to"), b"POST");
    // While that call is under way the other one cosigns what is, and what comes.
    for _ in 0..2 {
        stage.grow(2).await;
        stage.cosigned(&witness.key).await;
    }
    assert!(heard.try_recv().is_err(), "the first call has ended");
    stage.place.stop();
}

/// Answers each submission with a conflict, of a size that `size` makes of the submitted one, and
/// holds nothing.
fn forger(at: &str, size: fn(&str) -> String) {
    let listener = std::net::TcpListener::bind(at).expect("a port");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut came = Vec::new();
            let mut piece = [0; 4_096];
            // A note ends with its signature.
            let whole = |came: &[u8]| {
                let text = String::from_utf8_lossy(came).into_owned();
                text.starts_with("GET ") && text.ends_with("\r\n\r\n")
                    || text
                        .split_once("\n\u{2014} ")
                        .is_some_and(|(_, rest)| rest.ends_with('\n'))
            };
            while !whole(&came) {
                match stream.read(&mut piece) {
                    Ok(read @ 1..) => came.extend_from_slice(&piece[..read]),
                    _ => break,
                }
            }
            let text = String::from_utf8_lossy(&came).into_owned();
            let (status, body) = match text.split_once("payvault/") {
                Some((_, note)) if text.starts_with("POST ") => {
                    let submitted = note.split('\n').nth(1).unwrap_or_default();
                    ("409 Conflict", size(submitted) + "\n")
                }
                _ => ("404 Not Found", String::new()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_witness_says_without_proof_is_told_and_its_numbers_are_not() {
    const NUMBER: &str = "4111111111111111";
    for (size, words) in [
        (
            (|_| NUMBER.to_owned()) as fn(&str) -> String,
            "more than ours",
        ),
        // The submitted size, as the one that it holds: another tree of that size.
        (|submitted| submitted.to_owned(), "other entries than ours"),
    ] {
        let mut stage = Stage::new().await;
        forger(&stage.port, size);
        let key = payvault::ledger::Cosigner::generate("forged.example/w").expect("a key");
        stage.configure(&key.verifier());
        stage.place.start(&[]).await.expect("it serves");
        stage.login().await;
        let contradiction = until("the contradiction", async || {
            let warnings = stage.warnings().await;
            warnings.into_iter().find(|w| w.contains("CONTRADICTS"))
        })
        .await;
        assert!(contradiction.contains(words), "{contradiction}");
        assert!(contradiction.contains("nothing proves it"));
        // The committer takes it up, and enters it with its next round.
        until("the alarm", async || {
            let log = stage.place.log();
            log.contains("an alarm was raised").then_some(())
        })
        .await;
        let exported = export(&mut stage).await;
        assert!(exported.contains("witness_conflict"), "{exported}");
        for told in [contradiction, exported, stage.place.log()] {
            assert!(!told.contains(NUMBER), "{told}");
        }
        stage.place.stop();
    }
}
