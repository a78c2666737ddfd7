//! Certificates: who they stand for, as text and as DER.

use super::meter::bounded;
use super::text::{silent, silent_error, text};
use payvault::api::identity::{ClientCas, identity_of_pem, unverified_uri};
use payvault::clock::Timestamp;
use payvault::limits;
use rustls_pki_types::CertificateDer;
use std::sync::LazyLock;

/// 2026-11-23, when the certificates of the corpus were in force.
const NOW: Timestamp = Timestamp(1_795_392_000_000);

/// A CA that issued the leaves of the corpus.
static CAS: LazyLock<ClientCas> =
    LazyLock::new(|| ClientCas::from_pem(include_str!("ca.pem")).expect("the CA of the corpus"));

/// First byte: what it is. Rest: DER or PEM.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    LazyLock::force(&CAS);
    bounded(data.len(), || match kind % 3 {
        0 => der(rest),
        1 => {
            if let Some(pem) = text(rest) {
                leaf(pem);
            }
        }
        _ => {
            if let Some(pem) = text(rest) {
                match ClientCas::from_pem(pem) {
                    Ok(cas) => drop(cas.check(&CertificateDer::from(&b""[..]), NOW)),
                    Err(error) => silent_error(&error),
                }
            }
        }
    });
}

/// Nobody signed it, so only its names are read.
fn der(der: &[u8]) {
    match unverified_uri(der) {
        Some(Ok(uri)) => shape(&uri),
        Some(Err(error)) => silent_error(&error),
        None => {}
    }
    match CAS.check(&CertificateDer::from(der), NOW) {
        // Its issuer vouches for it; then its name is the one that is read without that.
        Ok(identity) => {
            assert!(matches!(unverified_uri(der), Some(Ok(uri)) if uri == identity.uri));
            assert!(!identity.expired(NOW));
        }
        Err(error) => silent_error(&error),
    }
}

fn leaf(pem: &str) {
    match identity_of_pem(pem, &CAS, NOW) {
        Ok(identity) => {
            assert!(pem.len() <= limits::CERTIFICATE_PEM_BYTES_MAX);
            assert!(!pem.contains("PRIVATE KEY-----"), "a key came along");
            shape(&identity.uri);
        }
        Err(error) => {
            silent_error(&error);
            silent(&format!("{error:?}"));
        }
    }
}

fn shape(uri: &str) {
    assert!((1..=limits::CERTIFICATE_URI_BYTES_MAX).contains(&uri.len()));
    assert!(uri.bytes().all(|b| b.is_ascii_graphic()));
}
