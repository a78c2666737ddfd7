//! Handshakes that were refused, counted by origin and reason, so that a flood of them becomes a
//! few summed-up ledger entries. Memory is bounded whatever comes in.

use super::identity::{IdentityError, identity_error};
use crate::limits;
use rustls::PeerIncompatible;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why a connection was refused before it could call anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// The client has no certificate.
    NoCertificate,
    /// Its certificate isn't from a configured CA.
    UnknownIssuer,
    /// Its certificate's time is over or has not begun.
    Expired,
    /// Its certificate is revoked, or the revocation list can't tell.
    Revoked,
    /// It presented more than its own certificate.
    Chain,
    /// Its certificate doesn't name exactly one URI.
    Uri,
    /// Its certificate breaks another rule.
    Certificate,
    /// It doesn't speak TLS 1.3, or not HTTP/2 over it.
    Protocol,
    /// What it sent isn't TLS, or breaks its rules.
    NotTls,
    /// The handshake took too long.
    Timeout,
    /// The client went away, or refused the server's certificate.
    Left,
    /// All places for connections are taken, or all that one address may hold.
    Full,
}

impl Refusal {
    /// A stable name, for ledger entries and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::NoCertificate => "no_certificate",
            Refusal::UnknownIssuer => "unknown_issuer",
            Refusal::Expired => "expired",
            Refusal::Revoked => "revoked",
            Refusal::Chain => "chain",
            Refusal::Uri => "uri",
            Refusal::Certificate => "certificate",
            Refusal::Protocol => "protocol",
            Refusal::NotTls => "not_tls",
            Refusal::Timeout => "timeout",
            Refusal::Left => "left",
            Refusal::Full => "full",
        }
    }

    /// Classifies what a failed handshake gave.
    pub(super) fn of_handshake(error: &std::io::Error) -> Refusal {
        let cause = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::NoCertificatesPresented) => Refusal::NoCertificate,
            Some(rustls::Error::InvalidCertificate(error)) => {
                Refusal::of_identity(identity_error(error))
            }
            Some(
                rustls::Error::PeerIncompatible(
                    PeerIncompatible::SupportedVersionsExtensionRequired
                    | PeerIncompatible::Tls12NotOffered
                    | PeerIncompatible::Tls12NotOfferedOrEnabled
                    | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
                )
                | rustls::Error::NoApplicationProtocol,
            ) => Refusal::Protocol,
            Some(rustls::Error::AlertReceived(_)) => Refusal::Left,
            Some(_) => Refusal::NotTls,
            None => Refusal::Left,
        }
    }

    /// Classifies a certificate that stands for nobody.
    pub(super) fn of_identity(error: IdentityError) -> Refusal {
        match error {
            IdentityError::UnknownIssuer => Refusal::UnknownIssuer,
            IdentityError::Expired | IdentityError::NotYetValid => Refusal::Expired,
            IdentityError::Revoked | IdentityError::RevocationUnknown => Refusal::Revoked,
            IdentityError::Chain | IdentityError::NotAlone => Refusal::Chain,
            IdentityError::UriCount | IdentityError::UriShape => Refusal::Uri,
            IdentityError::Malformed | IdentityError::Purpose => Refusal::Certificate,
        }
    }
}

/// How often one origin was refused for one reason since the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCount {
    /// The peer's address; `None` sums up origins that there was no room to count apart.
    pub origin: Option<IpAddr>,
    /// The reason.
    pub refusal: Refusal,
    /// How often.
    pub count: u64,
}

/// Counts refusals until somebody takes them.
#[derive(Default)]
pub struct RefusedHandshakes {
    counts: Mutex<BTreeMap<(Option<IpAddr>, Refusal), u64>>,
}

impl RefusedHandshakes {
    /// Counts one. Past [`limits::REFUSED_ORIGINS_MAX`] counters, new origins share one.
    pub fn record(&self, origin: IpAddr, refusal: Refusal) {
        let mut counts = self.lock();
        let own = (Some(origin.to_canonical()), refusal);
        let roomy = counts.len() < limits::REFUSED_ORIGINS_MAX || counts.contains_key(&own);
        let key = if roomy { own } else { (None, refusal) };
        let count = counts.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    /// Takes what was counted since the last call, in order of origin and reason.
    pub fn take(&self) -> Vec<RefusedCount> {
        std::mem::take(&mut *self.lock())
            .into_iter()
            .map(|((origin, refusal), count)| RefusedCount {
                origin,
                refusal,
                count,
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Option<IpAddr>, Refusal), u64>> {
        // A counter has no half-done state worth refusing.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn counts_are_summed_up_by_origin_and_reason_and_taken_once() {
        let refused = RefusedHandshakes::default();
        let origin = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..3 {
            refused.record(origin, Refusal::Expired);
        }
        refused.record(origin, Refusal::Timeout);
        // The same machine through an IPv6 socket.
        refused.record("::ffff:192.0.2.1".parse().unwrap(), Refusal::Timeout);
        let taken = refused.take();
        assert_eq!(taken.len(), 2);
        assert_eq!(taken[0].count, 3);
        assert_eq!(taken[1].count, 2);
        assert_eq!(taken[1].origin, Some(origin));
        assert!(refused.take().is_empty());
    }

    #[test]
    fn a_flood_from_many_origins_stays_bounded_and_loses_no_count() {
        let refused = RefusedHandshakes::default();
        let flood = 3 * limits::REFUSED_ORIGINS_MAX as u32;
        for bits in 0..flood {
            refused.record(Ipv4Addr::from_bits(bits).into(), Refusal::NoCertificate);
        }
        let taken = refused.take();
        assert!(taken.len() <= limits::REFUSED_ORIGINS_MAX + 1);
        assert_eq!(taken.iter().map(|c| c.count).sum::<u64>(), u64::from(flood));
    }
}
