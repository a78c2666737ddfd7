//! A wire between a client and a server that loses answers when it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Bytes through, both ways, until it is told otherwise.
pub struct WireCutter {
    pub endpoint: String,
    accepted: Arc<AtomicUsize>,
    /// Connections before this one bring nothing back any more.
    losing: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

impl WireCutter {
    /// A wire to `endpoint`, at a port of its own.
    pub async fn to(endpoint: &str) -> WireCutter {
        let target = endpoint.strip_prefix("https://").expect("an endpoint");
        let target: SocketAddr = target.parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("https://{}", listener.local_addr().expect("bound"));
        let wire = WireCutter {
            endpoint,
            accepted: Arc::default(),
            losing: Arc::default(),
            cut: Arc::default(),
        };
        let (accepted, losing) = (Arc::clone(&wire.accepted), Arc::clone(&wire.losing));
        let cut = Arc::clone(&wire.cut);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(target)
                    .await
                    .expect("the server is there");
                let number = accepted.fetch_add(1, Ordering::SeqCst);
                let (losing, cut) = (Arc::clone(&losing), Arc::clone(&cut));
                tokio::spawn(async move {
                    let loses = || number < losing.load(Ordering::SeqCst);
                    carry(client, server, loses, &cut).await;
                });
            }
        });
        wire
    }

    /// From now on nothing comes back on any connection that there is.
    pub fn lose_answers(&self) {
        self.losing.store(self.accepted(), Ordering::SeqCst);
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Cuts every connection. New ones are whole.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }
}

async fn carry(client: TcpStream, server: TcpStream, loses: impl Fn() -> bool, cut: &Notify) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = async {
        let mut bytes = vec![0; 16 << 10];
        loop {
            let Ok(read @ 1..) = from_server.read(&mut bytes).await else {
                return;
            };
            if !loses() && to_client.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        () = back => {}
        () = cut.notified() => {}
    }
}
