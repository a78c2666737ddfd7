//! The real binary, started as `payvault dev`, and clients for it.

use payvault::api::client::connect;
use payvault::api::proto as pb;
use payvault::api::tls::client_config;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Request;
use tonic::transport::Channel;

const READY_SECONDS: u64 = 60;

/// Channels of everybody in `dev.json`.
#[derive(Clone)]
pub struct Clients {
    channels: Arc<BTreeMap<String, Channel>>,
    ids: Arc<BTreeMap<String, String>>,
}

/// A running vault.
pub struct Dev {
    child: Child,
    clients: Clients,
    pub ledger_key: String,
    secret: String,
}

pub fn request_id() -> Vec<u8> {
    payvault::ids::random::<16>().to_vec()
}

/// The moment `seconds` ahead.
pub fn in_seconds(seconds: i64) -> Option<prost_types::Timestamp> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    Some(prost_types::Timestamp {
        seconds: now.as_secs() as i64 + seconds,
        nanos: 0,
    })
}

impl Dev {
    /// Starts the binary over `dir` and waits until it is ready.
    pub async fn start(dir: &Path) -> Dev {
        Dev::start_with(dir, &[]).await.expect("the vault starts")
    }

    /// Starts it with more environment; `None` when it ended instead of getting ready.
    pub async fn start_with(dir: &Path, environment: &[(&str, &str)]) -> Option<Dev> {
        let ready = dir.join("dev.json");
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.with_extension("log"))
            .expect("a log");
        #[allow(clippy::zombie_processes)] // reaped by whoever stops it, or when it is dropped
        let mut child = Command::new(env!("CARGO_BIN_EXE_payvault"))
            .args(["dev", "--port", "0", "--dir"])
            .arg(dir)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .expect("the binary starts");
        let began = Instant::now();
        while !ready.exists() {
            if child.try_wait().expect("a child").is_some() {
                return None;
            }
            assert!(
                began.elapsed() < Duration::from_secs(READY_SECONDS),
                "not ready: {}",
                std::fs::read_to_string(dir.with_extension("log")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&ready).expect("dev.json")).expect("JSON");
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let read = |value: &serde_json::Value| {
            let path = PathBuf::from(text(value));
            let path = if path.is_absolute() {
                path
            } else {
                dir.join(path)
            };
            std::fs::read_to_string(path).expect("a file of dev.json")
        };
        let endpoint = text(&json["endpoint"]);
        let ca = read(&json["ca"]);
        let mut channels = BTreeMap::new();
        let mut ids = BTreeMap::new();
        for (name, person) in json["principals"].as_object().expect("principals") {
            let config =
                client_config(&ca, &read(&person["cert"]), &read(&person["key"])).expect("TLS");
            let channel = connect(&endpoint, config).await.ok()?;
            channels.insert(name.clone(), channel);
            ids.insert(name.clone(), text(&person["id"]));
        }
        let secret = read(&json["principals"]["auditor"]["secret_file"]);
        Some(Dev {
            child,
            clients: Clients {
                channels: Arc::new(channels),
                ids: Arc::new(ids),
            },
            ledger_key: text(&json["ledger_key"]),
            secret: secret.trim().to_owned(),
        })
    }

    pub fn clone_clients(&self) -> Clients {
        self.clients.clone()
    }

    /// A command of the binary, as somebody of the cast; what it prints, which must be JSON, and
    /// how it ends.
    pub fn command(dir: &Path, who: &str, arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
        run(Command::new(env!("CARGO_BIN_EXE_payvault"))
            .env("PAYVAULT_DEV", dir.join("dev.json"))
            .env("PAYVAULT_AS", who)
            .args(arguments))
    }

    /// The same over the directories, without a serving vault.
    pub fn offline(dir: &Path, arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
        let path = |name: &str| dir.join(name);
        run(Command::new(env!("CARGO_BIN_EXE_payvault"))
            .args(arguments)
            .env("PAYVAULT_DATA_DIR", path("data"))
            .env("PAYVAULT_KEYS_DIR", path("keys"))
            .env("PAYVAULT_BACKUP_DIR", path("backups"))
            .env("PAYVAULT_PASSPHRASE_FILE", path("passphrase"))
            .env("PAYVAULT_TLS_CERT", path("ca.pem"))
            .env("PAYVAULT_TLS_KEY", path("ca.pem"))
            .env("PAYVAULT_TLS_CLIENT_CA", path("ca.pem")))
    }

    /// Kills it as the kernel would.
    pub fn kill_9(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// Stops it in order; it must end with 0.
    pub async fn stop(mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        let status = tokio::task::block_in_place(|| self.child.wait().expect("reaped"));
        assert!(status.success(), "{status}");
    }

    /// A whole export, as the auditor gets it.
    pub async fn export(&self) -> Vec<u8> {
        let channel = self.clients.channels["auditor"].clone();
        let session = pb::session_service_client::SessionServiceClient::new(channel)
            .login(pb::LoginRequest {
                secret: self.secret.clone(),
            })
            .await
            .expect("the auditor logs in")
            .into_inner()
            .session;
        let mut request = Request::new(pb::ExportLogRequest {
            reason: "crash test".to_owned(),
            ticket: "T-1".to_owned(),
            ..Default::default()
        });
        request.metadata_mut().insert(
            "authorization",
            format!("Bearer {session}").parse().expect("ASCII"),
        );
        let mut stream = self
            .clients
            .ledger("auditor")
            .export_log(request)
            .await
            .expect("an export")
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.message().await.expect("an export goes on") {
            bytes.extend_from_slice(&piece.lines);
        }
        bytes
    }
}

fn run(command: &mut Command) -> (Option<i32>, serde_json::Value) {
    let output = command.arg("--json").output().expect("the binary runs");
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("no JSON, but: {said}");
    });
    (output.status.code(), json)
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Clients {
    pub fn vault(&self, who: &str) -> pb::vault_service_client::VaultServiceClient<Channel> {
        pb::vault_service_client::VaultServiceClient::new(self.channels[who].clone())
    }

    pub fn ledger(&self, who: &str) -> pb::ledger_service_client::LedgerServiceClient<Channel> {
        pb::ledger_service_client::LedgerServiceClient::new(self.channels[who].clone())
    }

    /// Terms for processor-a.
    pub fn terms(&self) -> pb::Terms {
        pb::Terms {
            site: "nl".to_owned(),
            parties: vec![pb::Party {
                principal: self.ids["processor-a"].clone(),
                grants: vec![pb::Grant {
                    purpose: pb::Purpose::Authorize.into(),
                    fields: vec![pb::Field::Number.into()],
                    uses_max: 10,
                }],
            }],
            expires_at: in_seconds(86_400),
            release_until: in_seconds(3 * 86_400),
            ..Default::default()
        }
    }
}
