//! A vault that serves on loopback, with principals of each kind, and clients for them.

#![allow(dead_code)] // what one test file needs and another does not

use crate::entries::{self, Entry};
use payvault::api::client::connect;
use payvault::api::dev_ca::{Credential, DevCa};
use payvault::api::identity::identity_of_pem;
use payvault::api::node::Node;
use payvault::api::proto as pb;
use payvault::api::tls::{Tls, TlsFiles, client_config};
use payvault::clock::{Clock, DAY_MS, ManualClock, Timestamp};
use payvault::ids::{PrincipalId, Site};
use payvault::keys::{Argon2Cost, Keyring, SealFile, Unsealer, password};
use payvault::payment::ModulusTables;
use payvault::policy::{Agreement, Allowance, AllowanceKey, Principal, Role};
use payvault::secret::SecretText;
use payvault::store::memory::{Faults, MemoryDisk, MemoryStore};
use payvault::store::{EngineKind, Store};
use payvault::vault::{self, Founding, Gate, House, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};
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
    pub credential: Arc<Credential>,
    pub secret: Option<&'static SecretText>,
}

/// A serving vault. Its clock stands still until it is moved.
pub struct Serving {
    pub endpoint: String,
    pub ca_pem: String,
    pub ca: DevCa,
    pub people: BTreeMap<&'static str, Person>,
    pub disk: MemoryDisk,
    pub clock: Arc<ManualClock>,
    /// Takes effect when it restarts.
    pub calls_per_second: u32,
    _dir: TempDir,
    pub gate: Arc<Gate>,
    tls: Arc<Tls>,
    stop: Option<oneshot::Sender<()>>,
    node: Option<JoinHandle<()>>,
}

/// The people of every house: name and role.
const PEOPLE: [(&str, Role); 9] = [
    ("portal", Role::Portal),
    ("portal-2", Role::Portal),
    ("processor-a", Role::Processor),
    ("processor-b", Role::Processor),
    ("processor-c", Role::Processor),
    ("auditor", Role::Auditor),
    ("operator", Role::Operator),
    ("operator-2", Role::Operator),
    ("custodian", Role::Custodian),
];

/// Secrets of people and their hashes: made once a process, since hashing takes a while on purpose.
static SECRETS: LazyLock<BTreeMap<&'static str, (SecretText, String)>> = LazyLock::new(|| {
    let human = PEOPLE.iter().filter(|(_, role)| role.is_human());
    human
        .map(|(name, _)| {
            let secret = password::generate();
            let hash = password::hash(&secret);
            (*name, (secret, hash))
        })
        .collect()
});

/// Makes a store.
pub type MakeStore = Box<dyn Fn(&House) -> Box<dyn Store> + Send>;

/// Where a house keeps its rows.
pub enum Storing {
    /// In memory; faults can be ordered.
    Memory,
    /// In its data directory, behind a gate that was unsealed with the passphrase.
    Embedded(EngineKind),
    /// In a store that is made from the house, twice: to make the vault and to open it.
    Made(MakeStore),
}

pub fn site(name: &str) -> Site {
    Site::parse(name).expect("a site")
}

pub fn passphrase() -> SecretText {
    SecretText::copy_from(PASSPHRASE)
}

fn house(dir: &Path, clock: Clock) -> House {
    House {
        data_dir: dir.join("data"),
        keys_dir: dir.join("keys"),
        mark_dir: dir.join("mark"),
        checkpoint_sink: None,
        checkpoint_command: None,
        witnesses: Default::default(),
        settings: Settings {
            sites: SITES.iter().map(|s| (site(s), 180 * DAY_MS)).collect(),
            fingerprints: BTreeSet::new(),
            sealed_only: BTreeSet::new(),
            denials_per_minute: 1_000_000,
            retention: payvault::api::sites::retention(),
            key_backup_days: 30,
        },
        engine: EngineKind::default(),
        cache_bytes: 16 << 20,
        clock,
    }
}

impl Serving {
    /// A vault in memory, whose faults can be ordered.
    pub async fn start() -> Serving {
        Serving::start_with(Storing::Memory, |_| {}).await
    }

    /// A vault on a store of choice; `change` has the last word on every principal.
    pub async fn start_with(storing: Storing, change: impl Fn(&mut Principal)) -> Serving {
        Serving::start_in(storing, change, |_| {}).await
    }

    /// A vault in memory that gives fingerprints at these sites.
    pub async fn start_with_fingerprints(sites: &[&str]) -> Serving {
        let on = |settings: &mut Settings| {
            settings.fingerprints = sites.iter().map(|name| site(name)).collect();
        };
        Serving::start_in(Storing::Memory, |_| {}, on).await
    }

    /// As [`Serving::start_with`]; `set` has the last word on the settings.
    pub async fn start_in(
        storing: Storing,
        change: impl Fn(&mut Principal),
        set: impl FnOnce(&mut Settings),
    ) -> Serving {
        // Real time at first, since clients judge the server's certificate by their own clock.
        let now = Clock::system().now();
        let manual = ManualClock::starting_at(now);
        let clock = Clock::Manual(Arc::clone(&manual));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ca = DevCa::new(now).expect("a CA");
        let tls = tls(&ca, dir.path(), clock.clone());
        let mut credentials: BTreeMap<&'static str, Arc<Credential>> = BTreeMap::new();
        let mut principals = Vec::new();
        for (name, role) in PEOPLE {
            let credential = ca.client(name).expect("a credential");
            let identity =
                identity_of_pem(&credential.certificate_pem, &tls.client_cas(), now).expect("own");
            let human = role.is_human();
            let mut principal = Principal {
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
                secret_hash: SECRETS.get(name).map(|s| s.1.clone()).unwrap_or_default(),
                disabled: false,
                created_at: now,
                last_seen: now,
                bad_tries: 0,
                locked_until: Timestamp(0),
            };
            change(&mut principal);
            principals.push(principal);
            credentials.insert(name, Arc::new(credential));
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
        let unsealers = principals
            .iter()
            .filter(|p| matches!(p.role, Role::Operator | Role::Custodian))
            .map(|p| Unsealer {
                uri: p.certificate_uri.clone(),
                issuer: p.issuer_key,
            })
            .collect();
        let mut house = house(dir.path(), clock);
        set(&mut house.settings);
        if let Storing::Embedded(engine) = storing {
            house.engine = engine;
        }
        let store = MemoryStore::new();
        let disk = store.disk();
        let founding = Founding {
            principals,
            allowances,
            unsealers,
        };
        let cost = Argon2Cost::for_tests();
        let gate = match storing {
            Storing::Embedded(_) => {
                vault::create(&house, &passphrase(), cost, founding).expect("a vault is made");
                let gate = Gate::new(house);
                gate.unseal(&passphrase()).expect("it is unsealed");
                gate
            }
            Storing::Memory => {
                let make = || Ok(Box::new(store) as Box<dyn Store>);
                vault::create_in(&house, &passphrase(), cost, founding, make)
                    .expect("a vault is made");
                opened(house, Box::new(MemoryStore::on(&disk)))
            }
            Storing::Made(make) => {
                vault::create_in(&house, &passphrase(), cost, founding, || Ok(make(&house)))
                    .expect("a vault is made");
                let store = make(&house);
                opened(house, store)
            }
        };
        let ca_pem = ca.certificate_pem().to_owned();
        let mut serving = Serving {
            endpoint: String::new(),
            ca_pem,
            ca,
            people: BTreeMap::new(),
            disk,
            clock: manual,
            calls_per_second: 1_000_000,
            _dir: dir,
            gate: Arc::new(gate),
            tls,
            stop: None,
            node: None,
        };
        let known = credentials
            .into_iter()
            .map(|(name, c)| (name, ids[name], c));
        serving.serve(known.collect()).await;
        serving
    }

    /// Serves on a new port, and connects everybody.
    async fn serve(&mut self, known: Vec<(&'static str, PrincipalId, Arc<Credential>)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        self.endpoint = format!("https://{}", listener.local_addr().expect("bound"));
        let (stop, stopped) = oneshot::channel::<()>();
        let clock = self.gate.house().clock.clone();
        let tls = Arc::clone(&self.tls);
        let node = Node::new(Arc::clone(&self.gate), tls, clock, self.calls_per_second)
            .with_backup_dir(Some(self.backup_dir()))
            .with_uk_modulus(uk_modulus());
        self.stop = Some(stop);
        self.node = Some(tokio::spawn(async move {
            node.run(listener, None, false, async {
                let _ = stopped.await;
            })
            .await
            .expect("the node serves");
        }));
        for (name, id, credential) in known {
            let channel = channel(&self.endpoint, &self.ca_pem, &credential).await;
            let secret = SECRETS.get(name).map(|s| &s.0);
            let person = Person {
                id,
                channel,
                credential,
                secret,
            };
            self.people.insert(name, person);
        }
    }

    /// Where backups go.
    pub fn backup_dir(&self) -> std::path::PathBuf {
        self.gate.house().data_dir.with_file_name("backups")
    }

    /// A backup, as an operator gets one: its last word.
    pub async fn backup(&self, session: &str) -> Result<pb::Backup, Status> {
        let request = with_session(pb::TakeBackupRequest {}, session);
        let mut steps = self
            .admin("operator")
            .take_backup(request)
            .await?
            .into_inner();
        let mut records = 0;
        while let Some(step) = steps.message().await? {
            assert!(step.records >= records, "it goes on");
            records = step.records;
            if let Some(backup) = step.backup {
                assert!(steps.message().await?.is_none(), "nothing follows");
                return Ok(backup);
            }
        }
        panic!("no last word");
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

    /// Dies without a last word, and starts again from what is durable. Of a vault in memory.
    pub async fn kill_and_restart(&mut self) {
        // The store stays dead for whatever the dying process still tries.
        self.disk.order(Faults::none().and_reopenings(u32::MAX));
        self.disk.crash();
        self.restart().await;
    }

    /// Stops and starts again, from what is durable. Of a vault in memory.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.disk.order(Faults::none());
        let house = self.gate.house().clone();
        self.gate = Arc::new(opened(house, Box::new(MemoryStore::on(&self.disk))));
        let known = std::mem::take(&mut self.people);
        let known = known
            .into_iter()
            .map(|(name, p)| (name, p.id, p.credential));
        self.serve(known.collect()).await;
    }

    /// Stops and starts again, sealed. Of a vault in its data directory.
    pub async fn restart_sealed(&mut self) {
        self.stop().await;
        self.gate = Arc::new(Gate::new(self.gate.house().clone()));
        let known = std::mem::take(&mut self.people);
        let known = known
            .into_iter()
            .map(|(name, p)| (name, p.id, p.credential));
        self.serve(known.collect()).await;
    }

    /// Every entry of a vault in memory, read back from what is durable and checked to the root.
    pub fn entries(&self) -> Vec<Entry> {
        let keys = &self.gate.house().keys_dir;
        let seal = SealFile::read(keys).expect("a seal");
        let root = seal.open(&passphrase()).expect("the root key");
        let ring = Keyring::look(keys, seal.vault(), &root).expect("a keyring");
        entries::read(&self.disk.durable(), &ring)
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.gate.vault().expect("open").head().size
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
        let secret = person.secret.expect("a human").expose().to_owned();
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

/// The tables of the vectors: made up, in the published form.
fn uk_modulus() -> ModulusTables {
    let weights = include_str!("../vectors/payment/uk_weights.txt");
    let substitutions = include_str!("../vectors/payment/uk_substitutions.txt");
    ModulusTables::read(weights, substitutions).expect("our own tables")
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

fn opened(house: House, store: Box<dyn Store>) -> Gate {
    let root = SealFile::read(&house.keys_dir)
        .and_then(|seal| seal.open(&passphrase()))
        .expect("the root key");
    let vault = vault::open_in(&house, &root, store).expect("the vault opens");
    Gate::opened(house, vault)
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
