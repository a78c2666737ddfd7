//! Every call of the contract, through the real services and an open vault: decoding, parsing,
//! policy, the committer and the answer. Only TLS and HTTP/2 are left out.

use super::text::{CANARY, silent};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use payvault::api::connection::PeerInfo;
use payvault::api::dev_ca::DevCa;
use payvault::api::door::Door;
use payvault::api::health::{Health, State};
use payvault::api::identity::PeerIdentity;
use payvault::api::proto as pb;
use payvault::api::services::{Admin, Ledger, Session, VaultApi};
use payvault::api::tls::{Tls, TlsFiles};
use payvault::clock::{Clock, DAY_MS, ManualClock, Timestamp};
use payvault::ids::{PrincipalId, Site};
use payvault::keys::Argon2Cost;
use payvault::limits;
use payvault::payment::ModulusTables;
use payvault::policy::{Agreement, Allowance, AllowanceKey, Principal, Role, Rpc};
use payvault::secret::SecretText;
use payvault::store::Store;
use payvault::store::memory::MemoryStore;
use payvault::vault::{self, Founding, Gate, House, Settings};
use prost::Message;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

/// Who calls, by the input's second byte. Ids are fixed, so that a corpus can name them.
pub const PEOPLE: [(&str, Role); 6] = [
    ("portal", Role::Portal),
    ("processor", Role::Processor),
    ("stranger", Role::Processor),
    ("auditor", Role::Auditor),
    ("operator", Role::Operator),
    ("custodian", Role::Custodian),
];
/// 2026-11-23.
pub const NOW: Timestamp = Timestamp(1_795_392_000_000);
/// In a request this stands for the transaction that is open.
pub const OPEN_TRANSACTION: &str = "T";
/// And this for its token.
pub const LIVE_TOKEN: &str = "K";
/// Inputs that one vault takes: its ledger is in memory.
const INPUTS_MAX: u32 = 2_000;
/// Inputs that a transaction is kept for: some close it or use it up.
const TRANSACTION_INPUTS_MAX: u32 = 20;
/// Bytes of a reply: the largest holds a receipt.
const REPLY_BYTES_MAX: usize = 1 << 20;
const PASSPHRASE: &str = "a passphrase of the fuzzers";

thread_local! {
    // Not closed when its thread ends: closing asks for thread-locals that may be gone by then.
    static WORLD: RefCell<Option<ManuallyDrop<World>>> = const { RefCell::new(None) };
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
}

/// First byte: which call. Second: who makes it. Rest: its message.
pub fn run(data: &[u8]) {
    let Some(([call, who], message)) = data.split_first_chunk::<2>() else {
        return;
    };
    let rpc = Rpc::ALL[usize::from(*call) % Rpc::ALL.len()];
    let who = usize::from(*who) % PEOPLE.len();
    WORLD.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|world| world.is_worn()) {
            // The old one's threads end before new ones begin.
            drop(slot.take().map(ManuallyDrop::into_inner));
            *slot = Some(ManuallyDrop::new(World::new()));
        }
        let Some(world) = slot else { return };
        world.renew();
        let message = world.filled_in(rpc, message);
        world.inputs += 1;
        let answer = RUNTIME.with(|runtime| runtime.block_on(world.call(rpc, who, &message)));
        answer.judge(rpc);
    });
}

/// A call's number, for seeds.
#[cfg(test)]
pub fn number_of(rpc: Rpc) -> u8 {
    let at = Rpc::ALL.iter().position(|one| *one == rpc);
    u8::try_from(at.expect("an RPC")).expect("few")
}

/// A principal's id.
pub fn id_of(who: usize) -> PrincipalId {
    PrincipalId([who as u8 + 1; 16])
}

/// What came back.
struct Answer {
    code: tonic::Code,
    /// Status message and details as they travel.
    said: String,
    details: Vec<u8>,
    body: Vec<u8>,
}

impl Answer {
    /// No call brings the service to a fault of its own, and no refusal says what came in.
    fn judge(&self, rpc: Rpc) {
        use tonic::Code;
        let own_fault = matches!(
            self.code,
            Code::Internal | Code::Unknown | Code::DataLoss | Code::Unimplemented
        );
        assert!(!own_fault, "{rpc:?}: {:?} {}", self.code, self.said);
        assert!(self.body.len() <= REPLY_BYTES_MAX, "{rpc:?}");
        if self.code != Code::Ok {
            silent(&self.said);
            silent(&String::from_utf8_lossy(&self.details));
        }
    }
}

struct World {
    gate: Arc<Gate>,
    routes: axum_free::Service,
    sessions: Vec<Option<SecretText>>,
    inputs: u32,
    renewed: Option<u32>,
    transaction: String,
    token: String,
    _dir: tempfile::TempDir,
}

/// The routes as a service, without naming the router below them.
mod axum_free {
    use super::{Body, Request, Routes, ServiceExt};

    pub struct Service(pub Routes);

    impl Service {
        pub async fn call(&self, request: Request<Body>) -> http::Response<Body> {
            match self.0.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        use payvault::vault::command::{Caller, Note};
        self.gate.close(Note::Stopped, Caller::vault());
    }
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::Manual(ManualClock::starting_at(NOW));
        let site = |name| Site::parse(name).expect("a site");
        let house = House {
            data_dir: dir.path().join("data"),
            keys_dir: dir.path().join("keys"),
            mark_dir: dir.path().join("mark"),
            checkpoint_sink: None,
            checkpoint_command: None,
            witnesses: Default::default(),
            settings: Settings {
                sites: ["nl", "us"].map(|name| (site(name), 180 * DAY_MS)).into(),
                fingerprints: std::collections::BTreeSet::new(),
                sealed_only: std::collections::BTreeSet::new(),
                denials_per_minute: 10,
                retention: payvault::api::sites::retention(),
                key_backup_days: 30,
            },
            engine: payvault::store::EngineKind::default(),
            cache_bytes: 16 << 20,
            clock: clock.clone(),
        };
        let store = MemoryStore::new();
        let disk = store.disk();
        let passphrase = SecretText::copy_from(PASSPHRASE);
        let cost = Argon2Cost::for_tests();
        vault::create_in(&house, &passphrase, cost, founding(), || {
            Ok(Box::new(store) as Box<dyn Store>)
        })
        .expect("a vault");
        let root = payvault::keys::SealFile::read(&house.keys_dir)
            .and_then(|seal| seal.open(&passphrase))
            .expect("the root key");
        let opened = vault::open_in(&house, &root, Box::new(MemoryStore::on(&disk)));
        let vault = opened.expect("it opens");
        let sessions = PEOPLE.iter().enumerate().map(|(who, (_, role))| {
            role.is_human()
                .then(|| vault.sessions.begin(id_of(who), clock.monotonic_ms()))
        });
        let sessions = sessions.collect();
        let gate = Arc::new(Gate::opened(house, vault));
        let door = Door::new(Arc::clone(&gate), clock.clone(), 1_000_000);
        let health = Health::new();
        health.set(State::Serving);
        World {
            gate,
            routes: routes(&door, tls(dir.path(), &clock), clock, health),
            sessions,
            inputs: 0,
            renewed: None,
            transaction: String::new(),
            token: String::new(),
            _dir: dir,
        }
    }

    /// Whether a new one is needed: it is full, or somebody sealed it.
    fn is_worn(&self) -> bool {
        self.inputs >= INPUTS_MAX || self.gate.vault().is_none()
    }

    /// Opens a transaction with a card, when the last one is old.
    fn renew(&mut self) {
        let fresh = self
            .renewed
            .is_some_and(|at| self.inputs - at < TRANSACTION_INPUTS_MAX);
        if fresh {
            return;
        }
        self.renewed = Some(self.inputs);
        let mut request_id = vec![0xee; 12];
        request_id.extend_from_slice(&self.inputs.to_be_bytes());
        let open = pb::OpenTransactionRequest {
            request_id: request_id.clone(),
            terms: Some(terms()),
            want_receipt: false,
        };
        RUNTIME.with(|runtime| {
            runtime.block_on(async {
                let answer = self
                    .call(Rpc::OpenTransaction, 0, &open.encode_to_vec())
                    .await;
                // Somebody may have disabled the portal or taken its allowance away.
                let Ok(opened) = pb::OpenTransactionResponse::decode(&answer.body[..]) else {
                    return;
                };
                self.transaction = opened.transaction.clone();
                let tokenize = pb::TokenizeRequest {
                    request_id,
                    transaction: opened.transaction,
                    details: Some(card("123")),
                    replaces: String::new(),
                    want_receipt: false,
                    sealed_details: String::new(),
                };
                let answer = self.call(Rpc::Tokenize, 0, &tokenize.encode_to_vec()).await;
                if let Ok(tokenized) = pb::TokenizeResponse::decode(&answer.body[..]) {
                    self.token = tokenized.token;
                }
            });
        });
    }

    /// The message with the live transaction and token where their stand-ins are.
    fn filled_in(&self, rpc: Rpc, message: &[u8]) -> Vec<u8> {
        macro_rules! fill {
            ($kind:ty: $($field:ident = $stand_in:ident -> $own:ident),+) => {
                match <$kind>::decode(message) {
                    Ok(mut asked) => {
                        $(if asked.$field == $stand_in {
                            asked.$field.clone_from(&self.$own);
                        })+
                        // What it knows of the message is all that the service reads.
                        asked.encode_to_vec()
                    }
                    Err(_) => message.to_vec(),
                }
            };
        }
        use LIVE_TOKEN as K;
        use OPEN_TRANSACTION as T;
        match rpc {
            Rpc::GetTransaction => {
                fill!(pb::GetTransactionRequest: transaction = T -> transaction)
            }
            Rpc::CloseTransaction => {
                fill!(pb::CloseTransactionRequest: transaction = T -> transaction)
            }
            Rpc::Tokenize => {
                fill!(pb::TokenizeRequest: transaction = T -> transaction, replaces = K -> token)
            }
            Rpc::Redeem => {
                fill!(pb::RedeemRequest: transaction = T -> transaction, token = K -> token)
            }
            Rpc::ReportOutcome => {
                fill!(pb::ReportOutcomeRequest: transaction = T -> transaction, token = K -> token)
            }
            Rpc::DescribeToken => {
                fill!(pb::DescribeTokenRequest: transaction = T -> transaction, token = K -> token)
            }
            Rpc::RevokeToken => {
                fill!(pb::RevokeTokenRequest: transaction = T -> transaction, token = K -> token)
            }
            // Items are the unary calls' messages.
            Rpc::TokenizeStream => match pb::TokenizeStreamRequest::decode(message) {
                Ok(mut asked) => {
                    for item in &mut asked.items {
                        if item.transaction == T {
                            item.transaction.clone_from(&self.transaction);
                        }
                    }
                    asked.encode_to_vec()
                }
                Err(_) => message.to_vec(),
            },
            Rpc::RedeemStream => match pb::RedeemStreamRequest::decode(message) {
                Ok(mut asked) => {
                    for item in &mut asked.items {
                        if item.transaction == T {
                            item.transaction.clone_from(&self.transaction);
                        }
                        if item.token == K {
                            item.token.clone_from(&self.token);
                        }
                    }
                    asked.encode_to_vec()
                }
                Err(_) => message.to_vec(),
            },
            // One that follows has no end.
            Rpc::TailLog => match pb::TailLogRequest::decode(message) {
                Ok(mut asked) => {
                    asked.follow = false;
                    asked.encode_to_vec()
                }
                Err(_) => message.to_vec(),
            },
            _ => message.to_vec(),
        }
    }

    async fn call(&self, rpc: Rpc, who: usize, message: &[u8]) -> Answer {
        let mut framed = vec![0];
        framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
        framed.extend_from_slice(message);
        let mut request = Request::post(rpc.path())
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers");
        if let Some(session) = &self.sessions[who] {
            request = request.header(
                header::AUTHORIZATION,
                format!("Bearer {}", session.expose()),
            );
        }
        let mut request = request
            .body(Body::new(Full::new(framed.into())))
            .expect("a request");
        request.extensions_mut().insert(Arc::new(PeerInfo::new(
            PeerIdentity {
                uri: uri_of(PEOPLE[who].0),
                issuer_key: [7; 32],
                not_after: NOW.plus_ms(DAY_MS),
            },
            SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        )));
        let response = self.routes.call(request).await;
        let (head, mut body) = response.into_parts();
        let mut status = tonic::Status::from_header_map(&head.headers);
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.expect("a body in memory");
            match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        status = tonic::Status::from_header_map(&trailers);
                    }
                }
            }
            // An export's begin is enough; dropping the rest is a client that goes away.
            if bytes.len() > REPLY_BYTES_MAX / 4 {
                break;
            }
        }
        let status = status.unwrap_or_else(|| tonic::Status::ok(""));
        Answer {
            code: status.code(),
            said: status.message().to_owned(),
            details: status.details().to_vec(),
            body: bytes.get(5..).unwrap_or_default().to_vec(),
        }
    }
}

fn routes(door: &Arc<Door>, tls: Arc<Tls>, clock: Clock, health: Health) -> axum_free::Service {
    use pb::admin_service_server::AdminServiceServer;
    use pb::ledger_service_server::LedgerServiceServer;
    use pb::session_service_server::SessionServiceServer;
    use pb::vault_service_server::VaultServiceServer;
    let admin = Admin::new(Arc::clone(door), tls, clock, health, None);
    let max = limits::MESSAGE_BYTES_MAX;
    let vault = VaultServiceServer::new(VaultApi::new(Arc::clone(door), ModulusTables::default()));
    let ledger = LedgerServiceServer::new(Ledger::new(Arc::clone(door)));
    let session = SessionServiceServer::new(Session::new(Arc::clone(door)));
    let admin = AdminServiceServer::new(admin);
    axum_free::Service(
        Routes::new(vault.max_decoding_message_size(max))
            .add_service(ledger.max_decoding_message_size(max))
            .add_service(session.max_decoding_message_size(max))
            .add_service(admin.max_decoding_message_size(max)),
    )
}

fn tls(dir: &std::path::Path, clock: &Clock) -> Arc<Tls> {
    let ca = DevCa::new(NOW).expect("a CA");
    let server = ca.server().expect("a certificate");
    let files = server.write(dir, "server").expect("written");
    let path = dir.join("ca.pem");
    // The CA of the corpus beside it, so that a seed's certificate can be enrolled.
    let cas = format!("{}{}", ca.certificate_pem(), include_str!("ca.pem"));
    std::fs::write(&path, cas).expect("written");
    let files = TlsFiles {
        cert: files.cert,
        key: files.key,
        client_ca: vec![path],
        crl: Vec::new(),
    };
    Arc::new(Tls::load(files, clock.clone()).expect("TLS"))
}

fn uri_of(name: &str) -> String {
    format!("spiffe://fuzz/{name}")
}

fn founding() -> Founding {
    let principals: Vec<Principal> = PEOPLE
        .iter()
        .enumerate()
        .map(|(who, (name, role))| Principal {
            id: id_of(who),
            name: (*name).to_owned(),
            role: *role,
            sites: match role.is_human() {
                true => Vec::new(),
                false => vec![Site::parse("nl").expect("a site")],
            },
            certificate_uri: uri_of(name),
            issuer_key: [7; 32],
            agreement: role.is_human().then(|| Agreement {
                reference: "NDA".to_owned(),
                valid_from: Timestamp(0),
                valid_until: NOW.plus_ms(DAY_MS),
            }),
            // A cheap hash that nobody's secret has.
            secret_hash: match role.is_human() {
                true => format!(
                    "$argon2id$v=19$m=64,t=1,p=1${}${}",
                    "A".repeat(22),
                    "A".repeat(43)
                ),
                false => String::new(),
            },
            disabled: false,
            created_at: NOW,
            last_seen: NOW,
            bad_tries: 0,
            locked_until: Timestamp(0),
        })
        .collect();
    let key = AllowanceKey {
        site: Site::parse("nl").expect("a site"),
        portal: id_of(0),
        processor: id_of(1),
    };
    let allowance = Allowance {
        purposes: 0b11_1111,
        uses_max: 100,
        release_ms_max: 30 * DAY_MS,
        releases_per_hour: 1_000_000,
    };
    Founding {
        principals,
        allowances: vec![(key, allowance)],
        unsealers: Vec::new(),
    }
}

fn at(time: Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: (time.0 / 1000) as i64,
        nanos: 0,
    })
}

/// Terms that the allow-list covers.
pub fn terms() -> pb::Terms {
    pb::Terms {
        site: "nl".to_owned(),
        parties: vec![pb::Party {
            principal: id_of(1).to_string(),
            grants: vec![pb::Grant {
                purpose: pb::Purpose::Authorize.into(),
                fields: (1..=6).collect(),
                uses_max: 100,
            }],
        }],
        expires_at: at(NOW.plus_ms(3_600_000)),
        release_until: at(NOW.plus_ms(7 * DAY_MS)),
        amount: Some(pb::Amount {
            minor_units: 1_999,
            currency: "EUR".to_owned(),
        }),
        merchant: "m-1".to_owned(),
        reference: CANARY.to_owned(),
    }
}

/// A card that passes every check.
pub fn card(code: &str) -> pb::PaymentDetails {
    let card = pb::Card {
        number: "4111 1111 1111 1111".to_owned(),
        expiry_month: 12,
        expiry_year: 2031,
        holder: format!("A. {CANARY}"),
        security_code: code.to_owned(),
        billing: Some(pb::Billing {
            postal_code: "1012 AB".to_owned(),
            address_line: format!("Dam {CANARY}"),
        }),
    };
    pb::PaymentDetails {
        kind: Some(pb::payment_details::Kind::Card(card)),
    }
}
