//! A vault of the real binary, made with `init` and run with `serve`, whose CA is the test's own.

use payvault::api::client::connect;
use payvault::api::dev_ca::{Credential, DevCa};
use payvault::api::tls::client_config;
use payvault::clock::Clock;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use tonic::transport::Channel;

pub const PASSPHRASE: &str = "correct horse battery";

/// Its directories, and whoever has a certificate: ann and bob are operators, nobody else is
/// enrolled.
pub struct Place {
    dir: tempfile::TempDir,
    pub ca: DevCa,
    pub people: BTreeMap<&'static str, Credential>,
    pub secrets: BTreeMap<&'static str, String>,
    pub endpoint: String,
    child: Option<Child>,
}

impl Place {
    pub fn new() -> Place {
        let ca = DevCa::new(Clock::system().now()).expect("a CA");
        let mut place = Place {
            dir: tempfile::tempdir().expect("a directory"),
            people: BTreeMap::new(),
            secrets: BTreeMap::new(),
            endpoint: String::new(),
            child: None,
            ca,
        };
        let root = place.dir.path().to_owned();
        let write =
            |name: &str, text: &str| std::fs::write(root.join(name), text).expect("written");
        write("ca.pem", place.ca.certificate_pem());
        write("passphrase", PASSPHRASE);
        write("payvault.toml", "[sites.nl]\nrelease_days_max = 30\n");
        std::fs::create_dir(root.join("outside")).expect("a directory");
        let server = place.ca.server().expect("a certificate");
        server.write(&root, "server").expect("written");
        for name in ["ann", "bob", "vera", "shop", "acme", "nobody"] {
            let credential = place.ca.client(name).expect("a credential");
            write(&format!("{name}.pem"), &credential.certificate_pem);
            place.people.insert(name, credential);
        }
        let made = place
            .command(
                "init --operator ann=ann.pem --operator bob=bob.pem --agreement NDA-1 \
                 --agreement-until 2100-01-01 --secret-dir secrets",
            )
            .output()
            .expect("it runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        for name in ["ann", "bob"] {
            let secret = secret_of(&place.path("secrets"), name);
            place.secrets.insert(name, secret);
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The binary over this vault.
    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_payvault"));
        command
            .env_clear()
            .current_dir(self.dir.path())
            .args(words.split_whitespace());
        for (flag, file) in [
            ("--config", "payvault.toml"),
            ("--data-dir", "data"),
            ("--keys-dir", "keys"),
            ("--mark-dir", "mark"),
            ("--backup-dir", "backups"),
            ("--checkpoint-sink", "outside/checkpoint"),
            ("--passphrase-file", "passphrase"),
            ("--tls-cert", "server.pem"),
            ("--tls-key", "server.key.pem"),
            ("--tls-client-ca", "ca.pem"),
        ] {
            command.arg(flag).arg(self.path(file));
        }
        command
    }

    /// Serves; how it ended instead, and what it said, when it did.
    pub async fn start(
        &mut self,
        environment: &[(&str, &str)],
    ) -> Result<(), (ExitStatus, String)> {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("bound").to_string();
        drop(free);
        let log = std::fs::File::create(self.path("log")).expect("a log");
        #[allow(clippy::zombie_processes)] // reaped when it is stopped or dropped
        let child = self
            .command("serve")
            .args(["--listen", &address])
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .expect("it starts");
        self.child = Some(child);
        self.endpoint = format!("https://{address}");
        for _ in 0..12_000 {
            if connect(&self.endpoint, self.tls("ann")).await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.ended() {
                return Err((status, self.log()));
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("not ready: {}", self.log());
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()
            .expect("started")
            .try_wait()
            .expect("a child")
    }

    /// What it said since it was started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Stops in order.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("started");
        let sent = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()));
        assert!(child.wait().expect("reaped").success());
    }

    fn tls(&self, who: &str) -> rustls::ClientConfig {
        let own = &self.people[who];
        client_config(
            self.ca.certificate_pem(),
            &own.certificate_pem,
            own.key_pem.expose(),
        )
        .expect("TLS")
    }

    /// A connection as `who`; none when the vault is gone.
    pub async fn try_channel(&self, who: &str) -> Option<Channel> {
        connect(&self.endpoint, self.tls(who)).await.ok()
    }

    pub async fn channel(&self, who: &str) -> Channel {
        self.try_channel(who).await.expect("a connection")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn secret_of(dir: &Path, name: &str) -> String {
    let files = std::fs::read_dir(dir).expect("secrets");
    let mut own = files
        .map(|file| file.expect("a file").path())
        .filter(|path| path.to_string_lossy().contains(name));
    let file = own.next().expect("a secret");
    std::fs::read_to_string(file)
        .expect("text")
        .trim()
        .to_owned()
}
