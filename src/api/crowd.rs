//! How many places one address or client holds, so that one can't take those of all others.

use super::identity::PeerIdentity;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OwnedSemaphorePermit;

/// Places of which each holder gets a bounded number. It remembers only those who hold some.
pub(super) struct Crowd<K: Eq + Hash> {
    each_max: usize,
    held: Mutex<HashMap<K, usize>>,
}

/// One place of a holder; given back when dropped.
pub(super) struct Spot<K: Eq + Hash> {
    crowd: Arc<Crowd<K>>,
    holder: K,
}

/// Who a client is, wherever it comes from: its CA's key and its URI.
pub(super) type ClientKey = ([u8; 32], String);

/// The client that `identity` stands for.
pub(super) fn client_key(identity: &PeerIdentity) -> ClientKey {
    (identity.issuer_key, identity.uri.clone())
}

/// A place among all connections, and one each among those of the same address and of the same
/// client where these are counted.
pub(super) struct Place {
    pub(super) _among_all: OwnedSemaphorePermit,
    pub(super) _of_address: Option<Spot<IpAddr>>,
    pub(super) of_client: Option<Spot<ClientKey>>,
}

impl<K: Eq + Hash + Clone> Crowd<K> {
    /// At most `each_max` places a holder.
    pub(super) fn new(each_max: usize) -> Arc<Crowd<K>> {
        Arc::new(Crowd {
            each_max,
            held: Mutex::default(),
        })
    }

    /// A place for `holder`; `None` when it holds as many as it may.
    pub(super) fn take(self: &Arc<Crowd<K>>, holder: K) -> Option<Spot<K>> {
        let mut held = self.lock();
        let count = held.get(&holder).copied().unwrap_or(0);
        if count >= self.each_max {
            return None;
        }
        held.insert(holder.clone(), count + 1);
        Some(Spot {
            crowd: Arc::clone(self),
            holder,
        })
    }
}

impl Crowd<IpAddr> {
    /// A place for the host at `address`; `None` when it holds as many as it may.
    pub(super) fn enter(self: &Arc<Crowd<IpAddr>>, address: IpAddr) -> Option<Spot<IpAddr>> {
        self.take(host(address))
    }
}

impl<K: Eq + Hash> Crowd<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        // A count has no half-done state worth refusing.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Spot<K> {
    fn drop(&mut self) {
        let mut held = self.crowd.lock();
        match held.get_mut(&self.holder) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                held.remove(&self.holder);
            }
        }
    }
}

/// What counts as one host: an IPv4 address, or an IPv6 network of 64 bits, which one host gets
/// whole.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_own_places_and_gets_them_back() {
        let crowd = Crowd::new(2);
        let first = crowd.enter(ip("192.0.2.1")).unwrap();
        let second = crowd.enter(ip("192.0.2.1")).unwrap();
        assert!(crowd.enter(ip("192.0.2.1")).is_none());
        // Loopback is an address as any other.
        let local = [(); 2].map(|()| crowd.enter(ip("127.0.0.1")).unwrap());
        assert!(crowd.enter(ip("127.0.0.1")).is_none());
        drop(first);
        let third = crowd.enter(ip("192.0.2.1")).unwrap();
        assert!(crowd.enter(ip("192.0.2.1")).is_none());
        drop((second, third, local));
        assert!(crowd.lock().is_empty());
    }

    #[test]
    fn ipv6_hosts_are_networks_and_mapped_addresses_are_ipv4() {
        let crowd = Crowd::new(1);
        let _held = [
            crowd.enter(ip("2001:db8:1:2::1")).unwrap(),
            crowd.enter(ip("2001:db8:1:3::1")).unwrap(),
            crowd.enter(ip("::ffff:192.0.2.1")).unwrap(),
            crowd.enter(ip("192.0.2.2")).unwrap(),
        ];
        for taken in ["2001:db8:1:2:ffff::9", "192.0.2.1", "::ffff:192.0.2.2"] {
            assert!(crowd.enter(ip(taken)).is_none(), "{taken}");
        }
    }
}
