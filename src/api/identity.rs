//! Who a certificate stands for. One check decides it, for handshakes and for enrolment alike:
//! [`ClientCas::check`]. Nothing else in the crate may turn a certificate into an identity.
//!
//! The rules are stricter than a web server's, so that an identity has one spelling: a client
//! presents exactly one certificate, one of the configured CAs issued it directly, and it names
//! exactly one URI.

use crate::clock::Timestamp;
use crate::limits;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// What a certificate credential is made of: the issuer's key and the URI. Two certificates with the
/// same URI from the same CA are the same caller, so a renewal needs no new enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// The one URI of the certificate's subject alternative names, such as `spiffe://…`.
    pub uri: String,
    /// SHA-256 of the SubjectPublicKeyInfo (DER) of the CA that issued it.
    pub issuer_key: [u8; 32],
    /// The last moment at which the certificate is valid (whole seconds).
    pub not_after: Timestamp,
}

impl PeerIdentity {
    /// Whether the certificate's time is over. RFC 5280 4.1.2.5 counts the whole last second in.
    pub fn expired(&self, now: Timestamp) -> bool {
        now > self.not_after.plus_ms(999)
    }
}

/// Why a certificate stands for nobody. Holds no data of the certificate: messages go to logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is not one certificate in PEM, or not X.509.
    #[error("not one X.509 certificate")]
    Malformed,
    /// The PEM holds more than the certificate, such as a private key.
    #[error("the text holds more than one certificate; send the certificate alone, never a key")]
    NotAlone,
    /// The client presented certificates that are neither its own nor a configured CA's.
    #[error("present the client certificate alone, without intermediates")]
    Chain,
    /// None of the configured CAs issued it, or its signature is false.
    #[error("not issued directly by a configured client CA")]
    UnknownIssuer,
    /// Its time, or its CA's, is over.
    #[error("expired")]
    Expired,
    /// Its time, or its CA's, has not begun.
    #[error("not valid yet")]
    NotYetValid,
    /// The CA's revocation list names it.
    #[error("revoked")]
    Revoked,
    /// The CA's revocation list is out of date, or says nothing about it.
    #[error("the revocation list of its CA is out of date or does not cover it")]
    RevocationUnknown,
    /// It is not meant for TLS clients, or has a rule that can't be met.
    #[error("not a certificate for a TLS client")]
    Purpose,
    /// It names no URI, or more than one.
    #[error("exactly one URI is needed in the subject alternative names")]
    UriCount,
    /// Its URI is too long or has characters that a URI can't have.
    #[error("its URI is empty, longer than 256 bytes, or not made of printable ASCII")]
    UriShape,
}

/// Why client CAs or revocation lists can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientCasError {
    /// No CA at all.
    #[error("no client CA is given; without one nobody could be let in")]
    None,
    /// Something in the list isn't a certificate that rustls and we both can read.
    #[error("certificate number {0} of the client CAs is malformed")]
    MalformedCa(usize),
    /// A certificate that may not issue others.
    #[error(
        "certificate number {0} of the client CAs is not a CA certificate (basicConstraints, keyCertSign)"
    )]
    NotACa(usize),
    /// Two CAs of one name: which one issued a certificate would be ambiguous.
    #[error(
        "certificate number {0} of the client CAs has the same subject name as an earlier one; names must differ"
    )]
    SameName(usize),
    /// Something in the list isn't a revocation list.
    #[error("revocation list number {0} is malformed")]
    MalformedCrl(usize),
    /// A list by somebody else.
    #[error("revocation list number {0} was not issued by a configured client CA")]
    ForeignCrl(usize),
    /// With lists configured, a CA without one would let nobody in.
    #[error("client CA number {0} has no revocation list; give one for every CA, or none at all")]
    CaWithoutCrl(usize),
}

/// The CAs that may vouch for clients, with their revocation lists. Also the verifier that rustls
/// asks in the handshake.
#[derive(Debug)]
pub struct ClientCas {
    cas: Vec<Ca>,
    webpki: Arc<dyn ClientCertVerifier>,
}

#[derive(Debug)]
struct Ca {
    /// The whole certificate.
    der: CertificateDer<'static>,
    /// DER of the subject name. Pairwise distinct, so an issuer name finds one CA.
    subject: Vec<u8>,
    issuer_key: [u8; 32],
    not_before: u64,
    not_after: u64,
}

impl ClientCas {
    /// Takes CA certificates and revocation lists in.
    ///
    /// # Errors
    /// When one of them can't be used; see [`ClientCasError`].
    pub fn new(
        certificates: &[CertificateDer<'static>],
        lists: &[CertificateRevocationListDer<'static>],
    ) -> Result<ClientCas, ClientCasError> {
        let mut cas: Vec<Ca> = Vec::new();
        let mut roots = RootCertStore::empty();
        for (index, der) in certificates.iter().enumerate() {
            let number = index + 1;
            let ca = Ca::read(der, number)?;
            if cas.iter().any(|known| known.subject == ca.subject) {
                return Err(ClientCasError::SameName(number));
            }
            roots
                .add(der.clone())
                .map_err(|_| ClientCasError::MalformedCa(number))?;
            cas.push(ca);
        }
        if cas.is_empty() {
            return Err(ClientCasError::None);
        }
        every_ca_has_its_list(&cas, lists)?;

        // A list past its date says nothing about today: refused (fail closed).
        let webpki = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .with_crls(lists.iter().cloned())
            .enforce_revocation_expiration()
            .build()
            .map_err(|_| ClientCasError::MalformedCrl(lists.len()))?;
        Ok(ClientCas { cas, webpki })
    }

    /// Takes CA certificates in from PEM text, without revocation lists.
    ///
    /// # Errors
    /// As [`ClientCas::new`].
    pub fn from_pem(pem: &str) -> Result<ClientCas, ClientCasError> {
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| ClientCasError::MalformedCa(1))?;
        ClientCas::new(&certificates, &[])
    }

    /// The one check: `leaf` was issued by a configured CA, both are valid now, the leaf is not
    /// revoked, is meant for TLS clients, and names exactly one URI.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(
        &self,
        leaf: &CertificateDer<'_>,
        now: Timestamp,
    ) -> Result<PeerIdentity, IdentityError> {
        let time = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
        // No intermediates are passed, so webpki finds a path only from a CA straight to the leaf.
        self.webpki
            .verify_client_cert(leaf, &[], time)
            .map_err(|error| refused_by_webpki(&error))?;
        let (identity, ca) = self.read(leaf)?;
        // webpki takes trust anchors as given, whatever dates their certificates say.
        if time.as_secs() > ca.not_after {
            return Err(IdentityError::Expired);
        }
        if time.as_secs() < ca.not_before {
            return Err(IdentityError::NotYetValid);
        }
        Ok(identity)
    }

    /// The identity of a peer whose handshake these CAs have verified: nothing is verified again.
    pub(super) fn identity_after_handshake(
        &self,
        presented: Option<&[CertificateDer<'static>]>,
    ) -> Result<PeerIdentity, IdentityError> {
        match presented {
            Some([leaf, others @ ..]) if self.has_all(others) => Ok(self.read(leaf)?.0),
            _ => Err(IdentityError::Chain),
        }
    }

    /// Whether each of these is a configured CA's own certificate. OpenSSL's clients send what they
    /// find between theirs and a root that they know themselves, the root included (Node does, when
    /// one CA signed server and client): it says nothing new, and is passed over.
    fn has_all(&self, certificates: &[CertificateDer<'_>]) -> bool {
        certificates
            .iter()
            .all(|certificate| self.cas.iter().any(|ca| ca.der == *certificate))
    }

    fn read(&self, leaf: &CertificateDer<'_>) -> Result<(PeerIdentity, &Ca), IdentityError> {
        let certificate = parse(leaf).ok_or(IdentityError::Malformed)?;
        let issuer = certificate.issuer().as_raw();
        let ca = self
            .cas
            .iter()
            .find(|ca| ca.subject == issuer)
            .ok_or(IdentityError::UnknownIssuer)?;
        let not_after = seconds(certificate.validity().not_after.timestamp());
        let identity = PeerIdentity {
            uri: only_uri(&certificate)?,
            issuer_key: ca.issuer_key,
            not_after: Timestamp(not_after.saturating_mul(1000)),
        };
        Ok((identity, ca))
    }
}

/// The identity that a certificate in PEM would have as a caller: what enrolment stores.
///
/// # Errors
/// When the text isn't exactly one certificate, or [`ClientCas::check`] refuses it.
pub fn identity_of_pem(
    cert_pem: &str,
    cas: &ClientCas,
    now: Timestamp,
) -> Result<PeerIdentity, IdentityError> {
    if cert_pem.len() > limits::CERTIFICATE_PEM_BYTES_MAX {
        return Err(IdentityError::Malformed);
    }
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| IdentityError::Malformed)?;
    match sections.as_slice() {
        // A key whose lines a reader takes for text between sections. Base64 has no spaces.
        [(SectionKind::Certificate, _)] if cert_pem.contains("PRIVATE KEY") => {
            Err(IdentityError::NotAlone)
        }
        [(SectionKind::Certificate, der)] => cas.check(&CertificateDer::from(der.as_slice()), now),
        [] | [_] => Err(IdentityError::Malformed),
        _ => Err(IdentityError::NotAlone),
    }
}

impl ClientCertVerifier for ClientCas {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if !self.has_all(intermediates) {
            return Err(told_to_the_peer(IdentityError::Chain));
        }
        self.check(end_entity, Timestamp(now.as_secs().saturating_mul(1000)))
            .map(|_| ClientCertVerified::assertion())
            .map_err(told_to_the_peer)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

impl Ca {
    fn read(der: &CertificateDer<'_>, number: usize) -> Result<Ca, ClientCasError> {
        let certificate = parse(der).ok_or(ClientCasError::MalformedCa(number))?;
        let may_sign = match certificate.key_usage() {
            Ok(Some(usage)) => usage.value.key_cert_sign(),
            Ok(None) => true,
            Err(_) => false,
        };
        if !certificate.is_ca() || !may_sign {
            return Err(ClientCasError::NotACa(number));
        }
        Ok(Ca {
            der: der.clone().into_owned(),
            subject: certificate.subject().as_raw().to_vec(),
            issuer_key: Sha256::digest(certificate.public_key().raw).into(),
            not_before: seconds(certificate.validity().not_before.timestamp()),
            not_after: seconds(certificate.validity().not_after.timestamp()),
        })
    }
}

/// The cryptography of every TLS endpoint here: aws-lc-rs, with X25519MLKEM768 preferred (the
/// crate's feature `prefer-post-quantum`).
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn every_ca_has_its_list(
    cas: &[Ca],
    lists: &[CertificateRevocationListDer<'static>],
) -> Result<(), ClientCasError> {
    if lists.is_empty() {
        return Ok(());
    }
    let mut covered = vec![false; cas.len()];
    for (index, der) in lists.iter().enumerate() {
        let number = index + 1;
        let list = match CertificateRevocationList::from_der(der) {
            Ok(([], list)) => list,
            _ => return Err(ClientCasError::MalformedCrl(number)),
        };
        let issuer = list.issuer().as_raw();
        match cas.iter().position(|ca| ca.subject == issuer) {
            Some(ca) => covered[ca] = true,
            None => return Err(ClientCasError::ForeignCrl(number)),
        }
    }
    match covered.iter().position(|covered| !covered) {
        Some(index) => Err(ClientCasError::CaWithoutCrl(index + 1)),
        None => Ok(()),
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    match X509Certificate::from_der(der.as_ref()) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}

fn only_uri(certificate: &X509Certificate<'_>) -> Result<String, IdentityError> {
    let names = match certificate.subject_alternative_name() {
        Ok(Some(names)) => names,
        Ok(None) => return Err(IdentityError::UriCount),
        Err(_) => return Err(IdentityError::Malformed),
    };
    let mut uri = None;
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(text) if uri.is_none() => uri = Some(*text),
            GeneralName::URI(_) => return Err(IdentityError::UriCount),
            // An unreadable name could be a second URI.
            GeneralName::Invalid(..) => return Err(IdentityError::Malformed),
            _ => {}
        }
    }
    let uri = uri.ok_or(IdentityError::UriCount)?;
    let shape = (1..=limits::CERTIFICATE_URI_BYTES_MAX).contains(&uri.len())
        && uri.bytes().all(|byte| byte.is_ascii_graphic());
    if shape {
        Ok(uri.to_owned())
    } else {
        Err(IdentityError::UriShape)
    }
}

/// For fuzzers and tests only: the URI of a certificate that nobody verified; `None` when it is no
/// certificate.
#[cfg(feature = "fault-injection")]
pub fn unverified_uri(der: &[u8]) -> Option<Result<String, IdentityError>> {
    parse(&CertificateDer::from(der)).map(|certificate| only_uri(&certificate))
}

/// Seconds since 1970; certificates from before count as 1970.
fn seconds(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or(0)
}

fn refused_by_webpki(error: &rustls::Error) -> IdentityError {
    use CertificateError as Cause;
    let rustls::Error::InvalidCertificate(cause) = error else {
        // A revocation list that can't be used, with a false signature for example.
        return IdentityError::RevocationUnknown;
    };
    match cause {
        Cause::Expired | Cause::ExpiredContext { .. } => IdentityError::Expired,
        Cause::NotValidYet | Cause::NotValidYetContext { .. } => IdentityError::NotYetValid,
        Cause::Revoked => IdentityError::Revoked,
        Cause::UnknownIssuer | Cause::BadSignature => IdentityError::UnknownIssuer,
        Cause::UnknownRevocationStatus
        | Cause::ExpiredRevocationList
        | Cause::ExpiredRevocationListContext { .. } => IdentityError::RevocationUnknown,
        Cause::BadEncoding => IdentityError::Malformed,
        _ => IdentityError::Purpose,
    }
}

/// The alert that the peer gets tells it what it can mend itself; our own error rides along for
/// the refusals that TLS has no alert for.
fn told_to_the_peer(error: IdentityError) -> rustls::Error {
    rustls::Error::InvalidCertificate(match error {
        IdentityError::Expired => CertificateError::Expired,
        IdentityError::NotYetValid => CertificateError::NotValidYet,
        IdentityError::Revoked => CertificateError::Revoked,
        IdentityError::UnknownIssuer => CertificateError::UnknownIssuer,
        IdentityError::RevocationUnknown => CertificateError::UnknownRevocationStatus,
        IdentityError::Malformed => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

/// The way back from [`told_to_the_peer`]: why a handshake failed, as far as the certificate goes.
pub(super) fn identity_error(error: &CertificateError) -> IdentityError {
    if let CertificateError::Other(OtherError(cause)) = error
        && let Some(own) = cause.downcast_ref::<IdentityError>()
    {
        return *own;
    }
    refused_by_webpki(&rustls::Error::InvalidCertificate(error.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::dev_ca::DevCa;
    use crate::api::dev_ca::testing::{client_with, intermediate, named, revocation_list};
    use crate::clock::{Clock, DAY_MS};

    const URI: &str = "spiffe://payvault.dev/shop";

    fn now() -> Timestamp {
        Clock::system().now()
    }

    fn cas(cas: &[&DevCa], lists: &[String]) -> Result<ClientCas, ClientCasError> {
        let certificates: Vec<_> = cas
            .iter()
            .map(|ca| CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap())
            .collect();
        let lists: Vec<_> = lists
            .iter()
            .map(|list| CertificateRevocationListDer::from_pem_slice(list.as_bytes()).unwrap())
            .collect();
        ClientCas::new(&certificates, &lists)
    }

    #[test]
    fn an_identity_is_the_uri_and_the_issuing_key() {
        let (one, two) = (DevCa::new(now()).unwrap(), DevCa::new(now()).unwrap());
        let both = cas(&[&one, &two], &[]).unwrap();
        let of = |ca: &DevCa| {
            let pem = ca.client("shop").unwrap().certificate_pem;
            identity_of_pem(&pem, &both, now()).unwrap()
        };
        let first = of(&one);
        assert_eq!(first.uri, URI);
        // A renewal is the same caller; another CA's certificate of the same name is not.
        assert_eq!(of(&one), first);
        assert_ne!(of(&two).issuer_key, first.issuer_key);
        assert!(!first.expired(first.not_after.plus_ms(999)));
        assert!(first.expired(first.not_after.plus_ms(1000)));
    }

    #[test]
    fn a_forged_issuer_name_is_refused_by_its_signature() {
        let real = named("CA", now());
        let forger = named("CA", now());
        let trusted = cas(&[&real], &[]).unwrap();
        let forged = forger.client("shop").unwrap().certificate_pem;
        assert_eq!(
            identity_of_pem(&forged, &trusted, now()),
            Err(IdentityError::UnknownIssuer)
        );
    }

    #[test]
    fn enrolling_takes_one_certificate_and_nothing_else() {
        let ca = DevCa::new(now()).unwrap();
        let trusted = cas(&[&ca], &[]).unwrap();
        let client = ca.client("shop").unwrap();
        let pem = &client.certificate_pem;
        let key = client.key_pem.expose();
        let refused = |text: &str| identity_of_pem(text, &trusted, now()).unwrap_err();
        assert_eq!(refused(""), IdentityError::Malformed);
        assert_eq!(
            refused("spiffe://payvault.dev/shop"),
            IdentityError::Malformed
        );
        assert_eq!(refused(key), IdentityError::Malformed);
        assert_eq!(refused(&format!("{pem}{key}")), IdentityError::NotAlone);
        assert_eq!(refused(&format!("{pem}{pem}")), IdentityError::NotAlone);
        assert_eq!(refused(&pem[..pem.len() / 2]), IdentityError::Malformed);
        let long = format!("{pem}{}", "\n".repeat(limits::CERTIFICATE_PEM_BYTES_MAX));
        assert_eq!(refused(&long), IdentityError::Malformed);
        assert_eq!(
            refused(ca.certificate_pem()),
            IdentityError::Purpose,
            "a CA is no client"
        );
    }

    #[test]
    fn a_certificate_counts_within_its_time_and_its_cas_only() {
        let ca = DevCa::new(now()).unwrap();
        let trusted = cas(&[&ca], &[]).unwrap();
        let outlives = client_with(&ca, &[URI], |params| {
            params.not_before = rcgen::date_time_ymd(1975, 1, 1);
            params.not_after = rcgen::date_time_ymd(4096, 1, 1);
        });
        let at = |time| identity_of_pem(&outlives.certificate_pem, &trusted, time);
        assert!(at(now()).is_ok());
        assert_eq!(at(now().plus_ms(31 * DAY_MS)), Err(IdentityError::Expired));
        assert_eq!(
            at(Timestamp(0).plus_ms(9000 * DAY_MS)),
            Err(IdentityError::NotYetValid)
        );
        let client = ca.client("shop").unwrap();
        let late = identity_of_pem(
            &client.certificate_pem,
            &trusted,
            now().plus_ms(31 * DAY_MS),
        );
        assert_eq!(late, Err(IdentityError::Expired));
    }

    #[test]
    fn cas_that_could_be_mistaken_for_each_other_are_refused() {
        let (one, other) = (named("CA", now()), named("CA", now()));
        assert_eq!(
            cas(&[&one, &other], &[]).unwrap_err(),
            ClientCasError::SameName(2)
        );
        assert_eq!(cas(&[], &[]).unwrap_err(), ClientCasError::None);
        let leaf = one.client("shop").unwrap().certificate_pem;
        assert_eq!(
            ClientCas::from_pem(&leaf).unwrap_err(),
            ClientCasError::NotACa(1)
        );
        // A CA below another one is as good as any, when it is configured itself.
        let below = intermediate(&one);
        let trusted = cas(&[&below], &[]).unwrap();
        let client = below.client("shop").unwrap().certificate_pem;
        assert!(identity_of_pem(&client, &trusted, now()).is_ok());
    }

    #[test]
    fn every_ca_has_a_list_or_none_has() {
        let (one, two) = (DevCa::new(now()).unwrap(), DevCa::new(now()).unwrap());
        let list = |ca: &DevCa| revocation_list(ca, &[], DAY_MS);
        assert!(cas(&[&one, &two], &[list(&one), list(&two)]).is_ok());
        assert_eq!(
            cas(&[&one, &two], &[list(&one)]).unwrap_err(),
            ClientCasError::CaWithoutCrl(2)
        );
        assert_eq!(
            cas(&[&one], &[list(&one), list(&two)]).unwrap_err(),
            ClientCasError::ForeignCrl(2)
        );
        // A list in the CA's name, signed by somebody else, revokes nothing and lets nobody in.
        let (real, forger) = (named("CA", now()), named("CA", now()));
        let trusted = cas(&[&real], &[list(&forger)]).unwrap();
        let client = real.client("shop").unwrap().certificate_pem;
        assert_eq!(
            identity_of_pem(&client, &trusted, now()),
            Err(IdentityError::RevocationUnknown)
        );
    }
}
