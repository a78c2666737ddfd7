//! The whole lower half over real loopback TLS: who gets in, who doesn't and why, and how it all
//! ends. Conditions are waited for, never a time.

use super::*;
use crate::api::client::connect;
use crate::api::connection::PeerInfo;
use crate::api::dev_ca::testing::{SERIAL, client_with, intermediate, revocation_list};
use crate::api::dev_ca::{Credential, DevCa};
use crate::api::refusal::{Refusal, RefusedCount};
use crate::api::tls::{TlsFiles, client_config};
use crate::clock::{DAY_MS, ManualClock};
use crate::limits;
use http::{Request, Response};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, HandshakeKind, NamedGroup, RootCertStore};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Channel;
use tower::{Service, ServiceExt};

/// A server under test and all that it rests on.
struct World {
    ca: DevCa,
    clock: Arc<ManualClock>,
    dir: TempDir,
    tls: Arc<Tls>,
    health: Health,
    refused: Arc<RefusedHandshakes>,
    /// Gets a permit for each call that will never be answered.
    stuck: Arc<Semaphore>,
    address: SocketAddr,
    health_address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<Ended, ServeError>>,
}

#[derive(Default)]
struct Wish {
    bounds: Bounds,
    reflection: bool,
    /// Revoked serial numbers, when there is to be a list at all, and how long the list lives.
    crl: Option<(Vec<u64>, u64)>,
}

impl World {
    async fn new(wish: Wish) -> World {
        let system = Clock::system();
        let clock = ManualClock::starting_at(system.now());
        let ca = DevCa::new(system.now()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let server = ca.server().unwrap().write(dir.path(), "server").unwrap();
        let client_ca = dir.path().join("ca.pem");
        std::fs::write(&client_ca, ca.certificate_pem()).unwrap();
        let crl = dir.path().join("crl.pem");
        if let Some((serials, lifetime)) = &wish.crl {
            std::fs::write(&crl, revocation_list(&ca, serials, *lifetime)).unwrap();
        }
        let files = TlsFiles {
            cert: server.cert,
            key: server.key,
            client_ca: vec![client_ca],
            crl: wish.crl.iter().map(|_| crl.clone()).collect(),
        };
        let time = Clock::Manual(clock.clone());
        let tls = Arc::new(Tls::load(files, time.clone()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let health_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, health_address) = (
            listener.local_addr().unwrap(),
            health_listener.local_addr().unwrap(),
        );
        let health = Health::new();
        let refused = Arc::new(RefusedHandshakes::default());
        let stuck = Arc::new(Semaphore::new(0));
        let serving = Serving {
            listener,
            tls: tls.clone(),
            routes: Routes::new(Probe(stuck.clone())),
            health: health.clone(),
            health_listener: Some(health_listener),
            reflection: wish.reflection,
            refused: refused.clone(),
            clock: time,
            bounds: wish.bounds,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(serve(serving, async {
            let _ = stopped.await;
        }));
        World {
            ca,
            clock,
            dir,
            tls,
            health,
            refused,
            stuck,
            address,
            health_address,
            stop: Some(stop),
            ended,
        }
    }

    fn config(&self, client: &Credential) -> ClientConfig {
        client_config(
            self.ca.certificate_pem(),
            &client.certificate_pem,
            client.key_pem.expose(),
        )
        .unwrap()
    }

    fn client(&self) -> ClientConfig {
        self.config(&self.ca.client("shop").unwrap())
    }

    async fn channel(&self, config: ClientConfig) -> Channel {
        let address = format!("https://localhost:{}", self.address.port());
        connect(&address, config).await.unwrap()
    }

    /// Whether a client gets through to a service.
    async fn gets_in(&self, config: ClientConfig) -> bool {
        let address = format!("https://127.0.0.1:{}", self.address.port());
        match connect(&address, config).await {
            Ok(channel) => call(channel, "/test.Probe/Peer").await.is_some(),
            Err(_) => false,
        }
    }

    /// The next refusals: waits until there are some.
    async fn refusals(&self) -> Vec<RefusedCount> {
        until(async || {
            let refused = self.refused.take();
            (!refused.is_empty()).then_some(refused)
        })
        .await
    }

    async fn refuses(&self, config: ClientConfig, refusal: Refusal) {
        assert!(!self.gets_in(config).await, "{refusal:?} got in");
        let refusals = self.refusals().await;
        assert!(
            refusals.iter().all(|r| r.refusal == refusal),
            "{refusals:?}"
        );
        assert_eq!(refusals[0].origin, Some(self.address.ip()));
    }

    /// A TLS connection without HTTP.
    async fn tls(&self, config: ClientConfig) -> tokio_rustls::client::TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap()
    }

    async fn end(mut self) -> Ended {
        drop(self.stop.take());
        within(&mut self.ended).await.unwrap().unwrap()
    }
}

/// Waits for a condition by asking again and again.
async fn until<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("the condition comes true in time")
}

/// One unary call without a message. Its status, and the URI that the service saw.
async fn call(channel: Channel, path: &str) -> Option<(i32, String)> {
    call_with(channel, path, "20S").await
}

async fn call_with(mut channel: Channel, path: &str, timeout: &str) -> Option<(i32, String)> {
    let request = Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout)
        .body(Body::empty())
        .unwrap();
    let answer = within(async { channel.ready().await.ok()?.call(request).await.ok() }).await?;
    let text = |name: &str| {
        let value = answer.headers().get(name)?;
        Some(value.to_str().ok()?.to_owned())
    };
    let status = text("grpc-status").and_then(|code| code.parse().ok());
    Some((status.unwrap_or(-1), text("x-uri").unwrap_or_default()))
}

/// A service that tells who called, or never answers.
#[derive(Clone)]
struct Probe(Arc<Semaphore>);

impl NamedService for Probe {
    const NAME: &'static str = "test.Probe";
}

impl Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let stuck = self.0.clone();
        Box::pin(async move {
            if request.uri().path().ends_with("Never") {
                stuck.add_permits(1);
                std::future::pending::<()>().await;
            }
            let long = request.uri().path().ends_with("Long");
            if long {
                stuck.add_permits(1);
            }
            let body = match long {
                true => Body::new("a long answer".to_owned()),
                false => Body::empty(),
            };
            let peer = request.extensions().get::<Arc<PeerInfo>>().unwrap();
            Ok(Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "0")
                .header("x-uri", &peer.identity.uri)
                .body(body)
                .unwrap())
        })
    }
}

#[tokio::test]
async fn a_client_with_its_certificate_gets_in_and_is_known() {
    let world = World::new(Wish::default()).await;
    let channel = world.channel(world.client()).await;
    let answer = call(channel, "/test.Probe/Peer").await;
    assert_eq!(answer, Some((0, "spiffe://payvault.dev/shop".to_owned())));
    assert_eq!(world.end().await, Ended::Drained);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let world = World::new(Wish::default()).await;
    let mut config = without_certificate(&world);
    config.alpn_protocols = vec![b"h2".to_vec()];
    world.refuses(config, Refusal::NoCertificate).await;
}

fn without_certificate(world: &World) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let pem = world.ca.certificate_pem().as_bytes();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(pem).unwrap())
        .unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let world = World::new(Wish::default()).await;
    let config = world.client();
    assert!(world.gets_in(config.clone()).await);
    world.clock.pass_ms(31 * DAY_MS);
    world.refuses(config, Refusal::Expired).await;
    world.clock.step_to(crate::clock::Timestamp(0));
    world.refuses(world.client(), Refusal::Expired).await;
}

#[tokio::test]
async fn a_certificate_from_a_foreign_ca_is_refused() {
    let world = World::new(Wish::default()).await;
    let foreign = DevCa::new(Clock::system().now()).unwrap();
    let config = world.config(&foreign.client("shop").unwrap());
    world.refuses(config, Refusal::UnknownIssuer).await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_another_one_not() {
    let world = World::new(Wish {
        crl: Some((vec![SERIAL], DAY_MS)),
        ..Wish::default()
    })
    .await;
    let revoked = client_with(&world.ca, &["spiffe://payvault.dev/shop"], |_| {});
    world
        .refuses(world.config(&revoked), Refusal::Revoked)
        .await;
    assert!(world.gets_in(world.client()).await);
    // A list that is out of date says nothing any more.
    world.clock.pass_ms(2 * DAY_MS);
    world.refuses(world.client(), Refusal::Revoked).await;
}

#[tokio::test]
async fn a_certificate_names_exactly_one_uri() {
    let world = World::new(Wish::default()).await;
    let long = format!("spiffe://payvault.dev/{}", "x".repeat(256));
    for uris in [
        &[] as &[&str],
        &["spiffe://payvault.dev/a", "spiffe://payvault.dev/b"],
        &[&long],
        &["spiffe://payvault.dev/a b"],
        &[""],
    ] {
        let client = client_with(&world.ca, uris, |_| {});
        world.refuses(world.config(&client), Refusal::Uri).await;
    }
}

#[tokio::test]
async fn intermediates_are_refused_even_where_they_lead_to_the_ca() {
    let world = World::new(Wish::default()).await;
    let below = intermediate(&world.ca);
    let mut client = below.client("shop").unwrap();
    let alone = world.config(&client);
    client.certificate_pem.push_str(below.certificate_pem());
    world.refuses(world.config(&client), Refusal::Chain).await;
    world.refuses(alone, Refusal::UnknownIssuer).await;
    // Even one that isn't needed.
    let mut direct = world.ca.client("shop").unwrap();
    direct.certificate_pem.push_str(below.certificate_pem());
    world.refuses(world.config(&direct), Refusal::Chain).await;
    let mut both = world.ca.client("shop").unwrap();
    both.certificate_pem.push_str(world.ca.certificate_pem());
    both.certificate_pem.push_str(below.certificate_pem());
    world.refuses(world.config(&both), Refusal::Chain).await;
}

/// What OpenSSL's clients send when they know the CA as the server's, too.
#[tokio::test]
async fn a_configured_ca_beside_the_clients_certificate_is_passed_over() {
    let world = World::new(Wish::default()).await;
    let mut client = world.ca.client("shop").unwrap();
    client.certificate_pem.push_str(world.ca.certificate_pem());
    assert!(world.gets_in(world.config(&client)).await);
}

#[tokio::test]
async fn a_server_certificate_is_no_client_certificate() {
    let world = World::new(Wish::default()).await;
    let server = client_with(&world.ca, &["spiffe://payvault.dev/shop"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    world
        .refuses(world.config(&server), Refusal::Certificate)
        .await;
}

#[tokio::test]
async fn a_client_that_speaks_tls_1_2_at_most_is_refused() {
    let world = World::new(Wish::default()).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(&client_hello_of_tls_1_2()).await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    // Record: alert, two bytes: fatal, protocol_version (RFC 8446 6).
    assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, 70]);
    assert_eq!(world.refusals().await[0].refusal, Refusal::Protocol);
}

/// A ClientHello without `supported_versions` (RFC 5246 7.4.1.2).
fn client_hello_of_tls_1_2() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0); // no session id
    body.extend([0, 2, 0xc0, 0x2f, 1, 0]); // one cipher suite, no compression
    let extensions = [
        0, 10, 0, 4, 0, 2, 0, 0x1d, // supported_groups: x25519
        0, 13, 0, 4, 0, 2, 4, 3, // signature_algorithms: ecdsa_secp256r1_sha256
    ];
    body.extend([0, extensions.len() as u8]);
    body.extend(extensions);
    let mut record = vec![
        0x16,
        3,
        1,
        0,
        body.len() as u8 + 4,
        1,
        0,
        0,
        body.len() as u8,
    ];
    record.extend(body);
    record
}

#[tokio::test]
async fn what_is_not_tls_or_not_http2_is_refused() {
    let world = World::new(Wish::default()).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(world.refusals().await[0].refusal, Refusal::NotTls);
    for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut config = world.client();
        config.alpn_protocols = protocols;
        world.refuses(config, Refusal::Protocol).await;
    }
}

#[tokio::test]
async fn a_default_client_agrees_on_a_post_quantum_key_exchange() {
    let world = World::new(Wish::default()).await;
    // `client_config` sets no groups: this is what rustls prefers by itself.
    let stream = world.tls(world.client()).await;
    let session = stream.get_ref().1;
    let group = session.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    assert_eq!(
        session.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
}

#[tokio::test]
async fn no_session_is_resumed() {
    let world = World::new(Wish::default()).await;
    let mut config = world.client();
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    config.enable_early_data = true;
    for _ in 0..2 {
        let mut stream = world.tls(config.clone()).await;
        assert_eq!(
            stream.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Full)
        );
        assert!(!stream.get_ref().1.is_early_data_accepted());
        // Read the server's first bytes, so that a ticket before them would be taken in.
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        within(stream.read_u8()).await.unwrap();
        assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_dropped_and_holds_up_nobody() {
    let world = World::new(Wish {
        bounds: Bounds {
            handshake: Duration::from_millis(500),
            handshakes_max: 2,
            ..Bounds::default()
        },
        ..Wish::default()
    })
    .await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    assert!(world.gets_in(world.client()).await);
    let mut answer = Vec::new();
    within(silent.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty());
    assert_eq!(world.refusals().await[0].refusal, Refusal::Timeout);
}

#[tokio::test]
async fn the_connection_cap_holds_and_a_place_comes_back() {
    let world = World::new(Wish {
        bounds: Bounds {
            connections_max: 2,
            ..Bounds::default()
        },
        ..Wish::default()
    })
    .await;
    let first = world.channel(world.client()).await;
    let second = world.channel(world.client()).await;
    for channel in [&first, &second] {
        assert!(call(channel.clone(), "/test.Probe/Peer").await.is_some());
    }
    world.refuses(world.client(), Refusal::Full).await;
    assert!(call(first.clone(), "/test.Probe/Peer").await.is_some());
    drop(second);
    until(async || world.gets_in(world.client()).await.then_some(())).await;
}

#[tokio::test]
async fn one_address_holds_no_more_connections_than_it_may() {
    let world = World::new(Wish {
        bounds: Bounds {
            connections_per_address: 1,
            ..Bounds::default()
        },
        ..Wish::default()
    })
    .await;
    let first = world.channel(world.client()).await;
    assert!(call(first.clone(), "/test.Probe/Peer").await.is_some());
    world.refuses(world.client(), Refusal::Full).await;
    drop(first);
    until(async || world.gets_in(world.client()).await.then_some(())).await;
}

/// Eight silent ones of one host leave the other turns to others.
#[tokio::test]
async fn one_address_holds_no_more_handshakes_than_it_may() {
    let world = World::new(Wish {
        bounds: Bounds {
            handshake: Duration::from_millis(1_500),
            ..Bounds::default()
        },
        ..Wish::default()
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..limits::HANDSHAKES_PER_ADDRESS_MAX {
        silent.push(TcpStream::connect(world.address).await.unwrap());
    }
    world.refuses(world.client(), Refusal::Full).await;
    // A handshake that is done holds no turn, so its place comes back.
    drop(silent);
    until(async || world.gets_in(world.client()).await.then_some(())).await;
}

/// Another address doesn't help it, and another client isn't kept out.
#[tokio::test]
async fn one_client_holds_no_more_connections_than_it_may() {
    let world = World::new(Wish {
        bounds: Bounds {
            connections_per_client: 1,
            ..Bounds::default()
        },
        ..Wish::default()
    })
    .await;
    let other = world.config(&world.ca.client("other").unwrap());
    let first = world.channel(world.client()).await;
    assert!(call(first.clone(), "/test.Probe/Peer").await.is_some());
    world.refuses(world.client(), Refusal::Full).await;
    assert!(world.gets_in(other).await);
    drop(first);
    until(async || world.gets_in(world.client()).await.then_some(())).await;
}

#[tokio::test]
async fn a_connection_that_does_not_begin_http2_is_cut() {
    let world = World::new(Wish {
        bounds: Bounds {
            begin: Duration::from_secs(1),
            ..Bounds::default()
        },
        ..Wish::default()
    })
    .await;
    let channel = world.channel(world.client()).await;
    let mut silent = world.tls(world.client()).await;
    let mut slow = world.tls(world.client()).await;
    slow.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    for stream in [&mut silent, &mut slow] {
        let mut rest = Vec::new();
        // Cut: the end comes, with or without a TLS goodbye.
        let _ = within(stream.read_to_end(&mut rest)).await;
    }
    // One that did begin is as silent for as long and stays: by then the others were cut.
    assert!(call(channel, "/test.Probe/Peer").await.is_some());
}

#[tokio::test]
async fn a_connection_that_brings_much_and_begins_no_call_is_cut() {
    let world = World::new(Wish {
        bounds: Bounds {
            bytes_without_call: 100_000,
            ..Bounds::default()
        },
        ..Wish::default()
    })
    .await;
    let channel = world.channel(world.client()).await;
    let mut stream = world.tls(world.client()).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.unwrap();
    let (mut reads, mut writes) = tokio::io::split(stream);
    let ping = b"\0\0\x08\x06\0\0\0\0\0pingping".repeat(100);
    let reading = async {
        let mut answers = Vec::new();
        let _ = reads.read_to_end(&mut answers).await;
        answers.len()
    };
    let writing = async { while writes.write_all(&ping).await.is_ok() {} };
    let (answered, ()) = within(async { tokio::join!(reading, writing) }).await;
    assert!(answered > 17 * 1_000, "the first were answered: {answered}");
    // One that brings as much with its calls stays.
    for _ in 0..1_000 {
        assert!(call(channel.clone(), "/test.Probe/Peer").await.is_some());
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_of_its_answer_is_cut() {
    let world = World::new(Wish {
        bounds: Bounds {
            stall: Duration::from_millis(200),
            ..Bounds::default()
        },
        ..Wish::default()
    })
    .await;
    let other = world.channel(world.client()).await;
    let mut stream = world.tls(world.client()).await;
    // A window of nothing (RFC 9113 6.5.2: SETTINGS_INITIAL_WINDOW_SIZE), and a call; its header
    // fields are literals without indexing (RFC 7541 6.2.2).
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    let mut fields = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/test.Probe/Long"),
        ("content-type", "application/grpc"),
    ] {
        fields.push(0);
        for text in [name, value] {
            fields.push(text.len() as u8);
            fields.extend(text.as_bytes());
        }
    }
    bytes.extend([0, 0, fields.len() as u8, 1, 5, 0, 0, 0, 1]);
    bytes.extend(fields);
    stream.write_all(&bytes).await.unwrap();
    within(world.stuck.acquire()).await.unwrap().forget();
    let mut rest = Vec::new();
    let reading = stream.read_to_end(&mut rest);
    let passing = async {
        loop {
            // The vault's clock stands still until it is moved.
            world.clock.pass_ms(50);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(async {
        tokio::select! {
            // Cut: the end comes, with or without a TLS goodbye.
            _ = reading => {}
            () = passing => {}
        }
    })
    .await;
    let text = String::from_utf8_lossy(&rest);
    assert!(!text.contains("a long answer"), "it has no window for it");
    assert!(call(other, "/test.Probe/Peer").await.is_some());
}

#[tokio::test]
async fn a_connection_ends_by_age_even_when_a_call_does_not() {
    let world = World::new(Wish {
        bounds: Bounds {
            connection_age: Duration::from_millis(50),
            connection_grace: Duration::from_millis(50),
            ..Bounds::default()
        },
        ..Wish::default()
    })
    .await;
    let channel = world.channel(world.client()).await;
    // No deadline of the call's own: only its age can end the connection.
    assert_eq!(call_with(channel, "/test.Probe/Never", "9H").await, None);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let world = World::new(Wish {
        bounds: Bounds {
            deadline: Duration::from_millis(20),
            ..Bounds::default()
        },
        ..Wish::default()
    })
    .await;
    let channel = world.channel(world.client()).await;
    let answer = call_with(channel.clone(), "/test.Probe/Never", "9H").await;
    assert_eq!(answer.unwrap().0, tonic::Code::DeadlineExceeded as i32);
    let answer = call_with(channel, "/test.Probe/Peer", "1 m").await;
    assert_eq!(answer.unwrap().0, tonic::Code::InvalidArgument as i32);
}

#[tokio::test]
async fn a_reload_that_revokes_cuts_the_connection_and_spares_others() {
    let world = World::new(Wish {
        crl: Some((vec![], DAY_MS)),
        ..Wish::default()
    })
    .await;
    let stolen = client_with(&world.ca, &["spiffe://payvault.dev/stolen"], |_| {});
    let stolen = world.config(&stolen);
    let mut raw = world.tls(stolen.clone()).await;
    let other = world.channel(world.client()).await;
    assert!(call(other.clone(), "/test.Probe/Peer").await.is_some());

    let crl = world.dir.path().join("crl.pem");
    std::fs::write(&crl, "no list").unwrap();
    assert!(world.tls.reload().is_err(), "a broken file changes nothing");
    assert!(world.gets_in(stolen.clone()).await);

    std::fs::write(&crl, revocation_list(&world.ca, &[SERIAL], DAY_MS)).unwrap();
    world.tls.reload().unwrap();
    let mut rest = Vec::new();
    // Cut: the end comes, with or without a TLS goodbye.
    let _ = within(raw.read_to_end(&mut rest)).await;
    world.refuses(stolen, Refusal::Revoked).await;
    assert!(call(other, "/test.Probe/Peer").await.is_some());
}

#[tokio::test]
async fn shutting_down_answers_what_is_under_way_within_a_bound() {
    let world = World::new(Wish {
        bounds: Bounds {
            drain: Duration::from_millis(100),
            ..Bounds::default()
        },
        ..Wish::default()
    })
    .await;
    world.health.set(State::Serving);
    let channel = world.channel(world.client()).await;
    assert!(call(channel.clone(), "/test.Probe/Peer").await.is_some());
    let stuck = tokio::spawn(call(channel, "/test.Probe/Never"));
    within(world.stuck.acquire()).await.unwrap().forget();
    let (health, address) = (world.health.clone(), world.address);
    let ended = world.end().await;
    assert_eq!(within(stuck).await.unwrap(), None);
    assert_eq!(health.state(), State::Draining);
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the listener is closed"
    );
    assert_eq!(ended, Ended::Cut);
}

#[tokio::test]
async fn probes_get_health_without_a_certificate_and_nothing_else() {
    let world = World::new(Wish::default()).await;
    let endpoint = format!("http://{}", world.health_address);
    let channel = Channel::from_shared(endpoint)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let mut check = async || {
        let request = tonic_health::pb::HealthCheckRequest::default();
        client.check(request).await.unwrap().into_inner().status()
    };
    use tonic_health::pb::health_check_response::ServingStatus;
    assert_eq!(check().await, ServingStatus::NotServing);
    world.health.set(State::Serving);
    assert_eq!(check().await, ServingStatus::Serving);
    let (code, _) = call(channel, "/test.Probe/Peer").await.unwrap();
    assert_eq!(code, tonic::Code::Unimplemented as i32);
    assert_eq!(world.end().await, Ended::Drained);
}

#[tokio::test]
async fn reflection_answers_only_where_it_is_wished() {
    for reflection in [false, true] {
        let world = World::new(Wish {
            reflection,
            ..Wish::default()
        })
        .await;
        let channel = world.channel(world.client()).await;
        let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let (code, _) = call(channel, path).await.unwrap();
        assert_eq!(code != tonic::Code::Unimplemented as i32, reflection);
    }
}

#[tokio::test]
async fn health_is_never_open_to_the_network() {
    let mut world = World::new(Wish::default()).await;
    drop(world.stop.take());
    let serving = Serving {
        listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        tls: world.tls.clone(),
        routes: Routes::default(),
        health: Health::new(),
        health_listener: Some(TcpListener::bind("0.0.0.0:0").await.unwrap()),
        reflection: false,
        refused: Arc::default(),
        clock: Clock::system(),
        bounds: Bounds::default(),
    };
    let refused = serve(serving, std::future::pending()).await;
    assert!(matches!(refused, Err(ServeError::HealthNotLoopback(_))));
}
