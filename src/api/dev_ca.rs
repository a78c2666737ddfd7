//! A throw-away CA for `demo`, `dev` and tests. Its keys are as good as any, but they lie in
//! files beside the vault, so nothing real may rest on them.

use crate::clock::{DAY_MS, Timestamp};
use crate::ids;
use crate::secret::SecretText;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long its certificates live.
const LIFETIME_MS: u64 = 30 * DAY_MS;

/// A CA whose key lives in this process only.
pub struct DevCa {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    made: Timestamp,
}

/// A certificate and its key. No `Debug`: it holds the key.
pub struct Credential {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key (PKCS #8).
    pub key_pem: SecretText,
}

/// Where a [`Credential`] was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFiles {
    /// The certificate.
    pub cert: PathBuf,
    /// The private key, readable by its owner only.
    pub key: PathBuf,
}

impl DevCa {
    /// A new CA, valid from a day before `now` for a month. Its name is random, so that the CAs
    /// of two runs can't be mistaken for each other.
    ///
    /// # Errors
    /// When the key can't be made.
    pub fn new(now: Timestamp) -> Result<DevCa, rcgen::Error> {
        let mut params = CertificateParams::default();
        let name = format!("payvault dev CA {}", ids::letters(&ids::random::<4>()));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        lifetime(&mut params, now);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(DevCa {
            certificate_pem: params.self_signed(&key)?.pem(),
            issuer: Issuer::new(params, key),
            made: now,
        })
    }

    /// The CA's certificate: what both ends trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A certificate for a server on this machine: `localhost`, 127.0.0.1, ::1.
    ///
    /// # Errors
    /// When the key can't be made.
    pub fn server(&self) -> Result<Credential, rcgen::Error> {
        let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "payvault dev");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// A certificate for a client: its URI is `spiffe://payvault.dev/<name>`.
    ///
    /// # Errors
    /// When `name` has characters that a URI can't have, or the key can't be made.
    pub fn client(&self, name: &str) -> Result<Credential, rcgen::Error> {
        self.issue(self.client_params(&[&format!("spiffe://payvault.dev/{name}")])?)
    }

    /// What a client certificate with these URIs is made of.
    fn client_params(&self, uris: &[&str]) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "payvault client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI((*uri).try_into()?));
        }
        Ok(params)
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Credential, rcgen::Error> {
        lifetime(&mut params, self.made);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Credential {
            certificate_pem: params.signed_by(&key, &self.issuer)?.pem(),
            key_pem: SecretText::new(key.serialize_pem()),
        })
    }
}

impl Credential {
    /// Writes `<stem>.pem` and `<stem>.key.pem` into `dir`, in place of what lies there. The key
    /// gets mode 0600 before it gets its bytes.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn write(&self, dir: &Path, stem: &str) -> io::Result<CredentialFiles> {
        let files = CredentialFiles {
            cert: dir.join(format!("{stem}.pem")),
            key: dir.join(format!("{stem}.key.pem")),
        };
        fs::write(&files.cert, &self.certificate_pem)?;
        // Made anew: an older file would keep its own mode.
        match fs::remove_file(&files.key) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&files.key)?
            .write_all(self.key_pem.expose().as_bytes())?;
        Ok(files)
    }
}

fn lifetime(params: &mut CertificateParams, now: Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_millis(now.0.saturating_sub(DAY_MS));
    params.not_after = epoch + Duration::from_millis(now.plus_ms(LIFETIME_MS).0);
}

#[cfg(test)]
pub(crate) mod testing {
    //! Certificates that are wrong in one way each.

    use super::*;
    use rcgen::{
        CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams,
        SerialNumber,
    };

    /// The serial number of every certificate of [`client_with`].
    pub(crate) const SERIAL: u64 = 4711;

    /// A client certificate with these URIs; `change` has the last word.
    pub(crate) fn client_with(
        ca: &DevCa,
        uris: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Credential {
        let mut params = ca.client_params(uris).unwrap();
        lifetime(&mut params, ca.made);
        params.serial_number = Some(SerialNumber::from(SERIAL));
        change(&mut params);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Credential {
            certificate_pem: params.signed_by(&key, &ca.issuer).unwrap().pem(),
            key_pem: SecretText::new(key.serialize_pem()),
        }
    }

    /// A CA below `ca`.
    pub(crate) fn intermediate(ca: &DevCa) -> DevCa {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "payvault dev intermediate");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        lifetime(&mut params, ca.made);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        DevCa {
            certificate_pem: params.signed_by(&key, &ca.issuer).unwrap().pem(),
            issuer: Issuer::new(params, key),
            made: ca.made,
        }
    }

    /// A CA of a fixed name.
    pub(crate) fn named(name: &str, now: Timestamp) -> DevCa {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        lifetime(&mut params, now);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        DevCa {
            certificate_pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
            made: now,
        }
    }

    /// A revocation list with these serial numbers, valid for `lifetime_ms` from the CA's making.
    pub(crate) fn revocation_list(ca: &DevCa, serials: &[u64], lifetime_ms: u64) -> String {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let at = |ms: u64| epoch + Duration::from_millis(ms);
        CertificateRevocationListParams {
            this_update: at(ca.made.0 - DAY_MS),
            next_update: at(ca.made.0 + lifetime_ms),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: at(ca.made.0 - DAY_MS),
                    reason_code: Some(RevocationReason::KeyCompromise),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&ca.issuer)
        .unwrap()
        .pem()
        .unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_is_its_owners_only_even_when_it_replaces_an_open_one() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("a.key.pem");
        fs::write(&open, "old").unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
        let ca = DevCa::new(Clock::system().now()).unwrap();
        let files = ca.client("a").unwrap().write(dir.path(), "a").unwrap();
        assert_eq!(files.key, open);
        let mode = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(
            fs::read_to_string(&files.key)
                .unwrap()
                .contains("PRIVATE KEY")
        );
        assert!(
            !fs::read_to_string(&files.cert)
                .unwrap()
                .contains("PRIVATE KEY")
        );
    }

    #[test]
    fn a_name_that_no_uri_can_hold_is_refused() {
        let ca = DevCa::new(Clock::system().now()).unwrap();
        assert!(ca.client("jörg").is_err());
    }
}
