//! The real binary, started as `payvault dev`, and clients for it.

use payvault::api::client::connect;
use payvault::api::proto as pb;
use payvault::api::tls::client_config;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
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
    secrets: Arc<BTreeMap<String, String>>,
}

/// A running vault.
pub struct Dev {
    child: Child,
    clients: Clients,
    pub ledger_key: String,
    /// Where it listens: `https://127.0.0.1:port`.
    pub endpoint: String,
    dir: PathBuf,
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

/// `message` with a session.
pub fn with_session<T>(message: T, session: &str) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {session}").parse().expect("ASCII");
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// The CA that vouches for the vault over `dir`.
pub fn roots(dir: &Path) -> rustls::RootCertStore {
    use rustls::pki_types::pem::PemObject;
    let pem = std::fs::read(dir.join("ca.pem")).expect("PEM");
    let certificate = rustls::pki_types::CertificateDer::from_pem_slice(&pem).expect("PEM");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a CA");
    roots
}

/// TLS as `who` to the vault over `dir`.
pub fn tls(dir: &Path, who: &str) -> rustls::ClientConfig {
    let read = |name: String| std::fs::read_to_string(dir.join(name)).expect("PEM");
    client_config(
        &read("ca.pem".to_owned()),
        &read(format!("{who}.pem")),
        &read(format!("{who}.key.pem")),
    )
    .expect("TLS")
}

/// What is run: `PAYVAULT_BINARY` when something is to be measured, as an optimised build.
fn binary() -> OsString {
    std::env::var_os("PAYVAULT_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_payvault").into())
}

impl Dev {
    /// Starts the binary over `dir` and waits until it is ready.
    pub async fn start(dir: &Path) -> Dev {
        Dev::start_with(dir, &[]).await.expect("the vault starts")
    }

    /// Starts it with more environment; `None` when it ended instead of getting ready.
    pub async fn start_with(dir: &Path, environment: &[(&str, &str)]) -> Option<Dev> {
        Dev::start_in(dir, environment, "true").await.ok()
    }

    /// Starts it from a shell that first runs `before` (`ulimit …`); how it ended, when it ended
    /// instead of getting ready.
    pub async fn start_in(
        dir: &Path,
        environment: &[(&str, &str)],
        before: &str,
    ) -> Result<Dev, ExitStatus> {
        let ready = dir.join("dev.json");
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.with_extension("log"))
            .expect("a log");
        #[allow(clippy::zombie_processes)] // reaped by whoever stops it, or when it is dropped
        let mut child = Command::new("sh")
            .args(["-c", &format!("{before}; exec \"$0\" \"$@\"")])
            .arg(binary())
            .args(["dev", "--port", "0", "--dir"])
            .arg(dir)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .expect("the binary starts");
        let began = Instant::now();
        while !ready.exists() {
            if let Some(status) = child.try_wait().expect("a child") {
                return Err(status);
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
        let mut secrets = BTreeMap::new();
        for (name, person) in json["principals"].as_object().expect("principals") {
            let config =
                client_config(&ca, &read(&person["cert"]), &read(&person["key"])).expect("TLS");
            let channel = match connect(&endpoint, config).await {
                Ok(channel) => channel,
                // It was cut off while it began; killed, if it was not.
                Err(_) => {
                    let _ = child.kill();
                    return Err(child.wait().expect("reaped"));
                }
            };
            channels.insert(name.clone(), channel);
            ids.insert(name.clone(), text(&person["id"]));
            if person["secret_file"].is_string() {
                let secret = read(&person["secret_file"]);
                secrets.insert(name.clone(), secret.trim().to_owned());
            }
        }
        Ok(Dev {
            child,
            clients: Clients {
                channels: Arc::new(channels),
                ids: Arc::new(ids),
                secrets: Arc::new(secrets),
            },
            ledger_key: text(&json["ledger_key"]),
            endpoint,
            dir: dir.to_owned(),
        })
    }

    /// Stops it, and runs `payvault serve` over the same vault, with more flags.
    pub async fn serve(self, flags: &[&str]) -> Dev {
        let (dir, ledger_key) = (self.dir.clone(), self.ledger_key.clone());
        let clients = self.clone_clients();
        let configs: BTreeMap<String, rustls::ClientConfig> = clients
            .ids
            .keys()
            .map(|name| (name.clone(), self.tls(name)))
            .collect();
        self.stop().await;
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let address = format!("127.0.0.1:{port}");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.with_extension("log"))
            .expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_payvault"));
        // Its variables are the test's own.
        command
            .env_clear()
            .arg("serve")
            .args(["--listen", &address]);
        for (flag, file) in [
            ("--data-dir", "data"),
            ("--keys-dir", "keys"),
            ("--tls-cert", "server.pem"),
            ("--tls-key", "server.key.pem"),
            ("--tls-client-ca", "ca.pem"),
            ("--passphrase-file", "passphrase"),
        ] {
            command.arg(flag).arg(dir.join(file));
        }
        #[allow(clippy::zombie_processes)] // reaped by whoever stops it, or when it is dropped
        let mut child = command
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .expect("the binary starts");
        let endpoint = format!("https://{address}");
        let began = Instant::now();
        let mut channels = BTreeMap::new();
        for (name, config) in configs {
            let channel = loop {
                if let Ok(channel) = connect(&endpoint, config.clone()).await {
                    break channel;
                }
                let said = || std::fs::read_to_string(dir.with_extension("log"));
                assert!(child.try_wait().expect("a child").is_none(), "{:?}", said());
                assert!(
                    began.elapsed() < Duration::from_secs(READY_SECONDS),
                    "not ready: {:?}",
                    said()
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            channels.insert(name, channel);
        }
        Dev {
            child,
            clients: Clients {
                channels: Arc::new(channels),
                ..clients
            },
            ledger_key,
            endpoint,
            dir,
        }
    }

    /// Ends the connections of everybody, as far as nobody else has a clone of them.
    pub fn hang_up(&mut self) {
        self.clients.channels = Arc::default();
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Bytes that it has in memory now, and at most until now (`VmRSS`, `VmHWM`).
    pub fn resident(&self) -> (u64, u64) {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .unwrap_or_default();
        let of = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            number.unwrap_or(0) * 1024
        };
        (of("VmRSS:"), of("VmHWM:"))
    }

    /// TLS as `who`.
    pub fn tls(&self, who: &str) -> rustls::ClientConfig {
        tls(&self.dir, who)
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
        let session = self.clients.login("auditor").await.expect("a session");
        let mut stream = self.clients.export(&session).await.expect("an export");
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

    /// A session of `who`.
    pub async fn login(&self, who: &str) -> Result<String, tonic::Status> {
        let channel = self.channels[who].clone();
        let secret = self.secrets[who].clone();
        let reply = pb::session_service_client::SessionServiceClient::new(channel)
            .login(pb::LoginRequest { secret })
            .await?;
        Ok(reply.into_inner().session.clone())
    }

    /// An export that begins, as the auditor's.
    pub async fn export(
        &self,
        session: &str,
    ) -> Result<tonic::Streaming<pb::ExportLogResponse>, tonic::Status> {
        let request = with_session(
            pb::ExportLogRequest {
                reason: "crash test".to_owned(),
                ticket: "T-1".to_owned(),
                ..Default::default()
            },
            session,
        );
        let exported = self.ledger("auditor").export_log(request).await?;
        Ok(exported.into_inner())
    }

    /// Whether health says that it serves.
    pub async fn serves(&self) -> Result<bool, tonic::Status> {
        use tonic_health::pb::health_check_response::ServingStatus;
        let channel = self.channels["operator"].clone();
        let reply = tonic_health::pb::health_client::HealthClient::new(channel)
            .check(tonic_health::pb::HealthCheckRequest::default())
            .await?;
        Ok(reply.into_inner().status() == ServingStatus::Serving)
    }

    /// The operator's `GetStatus`.
    pub async fn status(&self, session: &str) -> Result<pb::GetStatusResponse, tonic::Status> {
        let channel = self.channels["operator"].clone();
        let reply = pb::admin_service_client::AdminServiceClient::new(channel)
            .get_status(with_session(pb::GetStatusRequest {}, session))
            .await?;
        Ok(reply.into_inner())
    }

    pub fn admin(&self, who: &str) -> pb::admin_service_client::AdminServiceClient<Channel> {
        pb::admin_service_client::AdminServiceClient::new(self.channels[who].clone())
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
