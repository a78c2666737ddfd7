//! How many places one address holds, so that one host can't take those of all others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OwnedSemaphorePermit;

/// Places of which each address gets a bounded number. It remembers only addresses that hold some.
pub(super) struct Crowd {
    each_max: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// One place of an address; given back when dropped.
pub(super) struct Spot {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

/// A place among all connections, and one among those of the same address where these are counted.
pub(super) struct Place {
    pub(super) _among_all: OwnedSemaphorePermit,
    pub(super) _of_address: Option<Spot>,
}

impl Crowd {
    /// At most `each_max` places an address.
    pub(super) fn new(each_max: usize) -> Arc<Crowd> {
        Arc::new(Crowd {
            each_max,
            held: Mutex::default(),
        })
    }

    /// A place for `address`; `None` when it holds as many as it may.
    pub(super) fn enter(self: &Arc<Crowd>, address: IpAddr) -> Option<Spot> {
        let address = host(address);
        let mut held = self.lock();
        let count = held.get(&address).copied().unwrap_or(0);
        if count >= self.each_max {
            return None;
        }
        held.insert(address, count + 1);
        Some(Spot {
            crowd: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // A count has no half-done state worth refusing.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spot {
    fn drop(&mut self) {
        let mut held = self.crowd.lock();
        match held.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                held.remove(&self.address);
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
