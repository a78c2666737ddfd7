//! A vault that serves on loopback, with one principal of each kind, and clients for them.

use payvault::api::client::connect;
use payvault::api::dev_ca::{Credential, DevCa};
use payvault::api::identity::identity_of_pem;
use payvault::api::node::Node;
use payvault::api::proto as pb;
use payvault::api::tls::{Tls, TlsFiles, client_config};
use payvault::clock::{Clock, DAY_MS, Timestamp};
use payvault::ids::{PrincipalId, Site};
use payvault::keys::{Argon2Cost, SealFile, Unsealer, password};
use payvault::policy::{Agreement, Allowance, AllowanceKey, Principal, Role};
use payvault::secret::SecretText;
use payvault::store::Store;
use payvault::store::memory::{MemoryDisk, MemoryStore};
use payvault::vault::{self, Founding, Gate, House, Settings};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub type VaultClient = pb::vault_service_client::VaultServiceClient<Channel>;
pub type LedgerClient = pb::ledger_service_client::LedgerServiceClient<Channel>;
pub type AdminClient = pb::admin_service_client::AdminServiceClient<Channel>;
pub type SessionClient = pb::session_service_client::SessionServiceClient<Channel>;

const SITES: [&str; 5] = ["us", "uk", "nl", "se", "dk"];
const PASSPHRASE: &str = "a passphrase of the tests";

/// Who calls.
pub struct Person {
    pub id: PrincipalId,
    pub channel: Channel,
    pub secret: Option<SecretText>,
}

/// A serving vault.
pub struct Serving {
    pub endpoint: String,
    pub ca_pem: String,
    pub ca: DevCa,
    pub people: BTreeMap<&'static str, Person>,
    pub disk: MemoryDisk,
    pub dir: TempDir,
    pub gate: Arc<Gate>,
    stop: Option<oneshot::Sender<()>>,
    node: Option<JoinHandle<()>>,
}

/// The people of every house: name and role.
const PEOPLE: [(&str, Role); 7] = [
    ("portal", Role::Portal),
    ("portal-2", Role::Portal),
    ("processor-a", Role::Processor),
    ("processor-b", Role::Processor),
    ("processor-c", Role::Processor),
    ("auditor", Role::Auditor),
    ("operator", Role::Operator),
];

pub fn site(name: &str) -> Site {
    Site::parse(name).expect("a site")
}

fn house(dir: &Path, clock: Clock) -> House {
    House {
        data_dir: dir.join("data"),
        keys_dir: dir.join("keys"),
        mark_dir: dir.join("mark"),
        checkpoint_sink: None,
        settings: Settings {
            sites: SITES.iter().map(|s| (site(s), 180 * DAY_MS)).collect(),
            denials_per_minute: 1_000_000,
        },
        cache_bytes: 16 << 20,
        clock,
    }
}

impl Serving {
    /// A vault in memory, whose faults can be ordered.
    pub async fn start() -> Serving {
        let clock = Clock::system();
        let now = clock.now();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ca = DevCa::new(now).expect("a CA");
        let tls = tls(&ca, dir.path(), clock.clone());
        let mut credentials: BTreeMap<&'static str, Credential> = BTreeMap::new();
        let mut principals = Vec::new();
        let mut secrets = BTreeMap::new();
        for (name, role) in PEOPLE {
            let credential = ca.client(name).expect("a credential");
            let identity =
                identity_of_pem(&credential.certificate_pem, &tls.client_cas(), now).expect("own");
            let human = role.is_human();
            let secret = human.then(password::generate);
            principals.push(Principal {
                id: PrincipalId::random(),
                name: name.to_owned(),
                role,
                sites: match human {
                    true => Vec::new(),
                    false => SITES.iter().map(|s| site(s)).collect(),
                },
                certificate_uri: identity.uri.clone(),
                issuer_key: identity.issuer_key,
                agreement: human.then(|| Agreement {
                    reference: "NDA-1".to_owned(),
                    valid_from: Timestamp(0),
                    valid_until: now.plus_ms(365 * DAY_MS),
                }),
                secret_hash: secret.as_ref().map(password::hash).unwrap_or_default(),
                disabled: false,
                created_at: now,
                last_seen: now,
                bad_tries: 0,
                locked_until: Timestamp(0),
            });
            secrets.insert(name, secret);
            credentials.insert(name, credential);
        }
        let id = |name: &str| {
            principals
                .iter()
                .find(|p| p.name == name)
                .expect("named")
                .id
        };
        let mut allowances = Vec::new();
        for portal in ["portal", "portal-2"] {
            for processor in ["processor-a", "processor-b", "processor-c"] {
                for s in SITES {
                    let key = AllowanceKey {
                        site: site(s),
                        portal: id(portal),
                        processor: id(processor),
                    };
                    allowances.push((
                        key,
                        Allowance {
                            purposes: 0b11_1111,
                            uses_max: 100,
                            release_ms_max: 30 * DAY_MS,
                            releases_per_hour: 10_000_000,
                        },
                    ));
                }
            }
        }
        let ids: BTreeMap<&'static str, PrincipalId> =
            PEOPLE.iter().map(|(name, _)| (*name, id(name))).collect();
        let operator = principals
            .iter()
            .find(|p| p.role == Role::Operator)
            .expect("one");
        let unsealers = vec![Unsealer {
            uri: operator.certificate_uri.clone(),
            issuer: operator.issuer_key,
        }];
        let house = house(dir.path(), clock.clone());
        let store = MemoryStore::new();
        let disk = store.disk();
        let passphrase = SecretText::copy_from(PASSPHRASE);
        vault::create_in(
            &house,
            &passphrase,
            Argon2Cost::for_tests(),
            Founding {
                principals,
                allowances,
                unsealers,
            },
            || Ok(Box::new(store) as Box<dyn Store>),
        )
        .expect("a vault is made");
        let root = SealFile::read(&house.keys_dir)
            .and_then(|seal| seal.open(&passphrase))
            .expect("the root key");
        let vault = vault::open_in(&house, &root, 0, Box::new(MemoryStore::on(&disk)))
            .expect("the vault opens");
        let gate = Arc::new(Gate::opened(house, vault));

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("https://{}", listener.local_addr().expect("bound"));
        let (stop, stopped) = oneshot::channel::<()>();
        let node = Node::new(Arc::clone(&gate), tls, clock, 1_000_000);
        let node = tokio::spawn(async move {
            node.run(listener, None, false, async {
                let _ = stopped.await;
            })
            .await
            .expect("the node serves");
        });
        let ca_pem = ca.certificate_pem().to_owned();
        let mut people = BTreeMap::new();
        for (name, credential) in credentials {
            let channel = channel(&endpoint, &ca_pem, &credential).await;
            people.insert(
                name,
                Person {
                    id: ids[name],
                    channel,
                    secret: secrets.remove(name).flatten(),
                },
            );
        }
        Serving {
            endpoint,
            ca_pem,
            ca,
            people,
            disk,
            dir,
            gate,
            stop: Some(stop),
            node: Some(node),
        }
    }

    /// Stops in order.
    pub async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(node) = self.node.take() {
            node.await.expect("the node ends");
        }
    }

    pub fn vault(&self, who: &str) -> VaultClient {
        VaultClient::new(self.people[who].channel.clone())
    }

    pub fn ledger(&self, who: &str) -> LedgerClient {
        LedgerClient::new(self.people[who].channel.clone())
    }

    pub fn admin(&self, who: &str) -> AdminClient {
        AdminClient::new(self.people[who].channel.clone())
    }

    pub fn id(&self, who: &str) -> String {
        self.people[who].id.to_string()
    }

    /// Logs a person in.
    pub async fn login(&self, who: &str) -> Result<String, Status> {
        let person = &self.people[who];
        let secret = person.secret.as_ref().expect("a human").expose().to_owned();
        let reply = SessionClient::new(person.channel.clone())
            .login(pb::LoginRequest { secret })
            .await?;
        Ok(reply.into_inner().session)
    }

    /// A whole export, as the auditor gets it.
    pub async fn export(&self) -> Vec<u8> {
        let session = self.login("auditor").await.expect("the auditor logs in");
        let request = with_session(
            pb::ExportLogRequest {
                reason: "yearly audit".to_owned(),
                ticket: "AUD-1".to_owned(),
                ..Default::default()
            },
            &session,
        );
        let mut stream = self
            .ledger("auditor")
            .export_log(request)
            .await
            .expect("an export begins")
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.message().await.expect("an export goes on") {
            bytes.extend_from_slice(&piece.lines);
        }
        bytes
    }
}

/// A request of a person with a session.
pub fn with_session<T>(message: T, session: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {session}").parse().expect("ASCII");
    request.metadata_mut().insert("authorization", value);
    request
}

pub fn request_id() -> Vec<u8> {
    payvault::ids::random::<16>().to_vec()
}

pub async fn channel(endpoint: &str, ca_pem: &str, credential: &Credential) -> Channel {
    let config = client_config(
        ca_pem,
        &credential.certificate_pem,
        credential.key_pem.expose(),
    )
    .expect("a client configuration");
    connect(endpoint, config).await.expect("a connection")
}

fn tls(ca: &DevCa, dir: &Path, clock: Clock) -> Arc<Tls> {
    let server = ca.server().expect("a server certificate");
    let files = server.write(dir, "server").expect("written");
    let ca_path = dir.join("ca.pem");
    std::fs::write(&ca_path, ca.certificate_pem()).expect("written");
    let tls = Tls::load(
        TlsFiles {
            cert: files.cert,
            key: files.key,
            client_ca: vec![ca_path],
            crl: Vec::new(),
        },
        clock,
    )
    .expect("TLS loads");
    Arc::new(tls)
}
