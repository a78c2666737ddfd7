//! What `dev` and `demo` play on: a throw-away CA, one principal of each role with certificate and
//! secret, an allow-list, and a vault, all in one directory; and the vault, served.

use super::file::{DevFile, DevPrincipal};
use crate::api::dev_ca::DevCa;
use crate::api::identity::{PeerIdentity, identity_of_pem};
use crate::api::node::Node;
use crate::api::server::{Ended, ServeError};
use crate::api::sites;
use crate::api::tls::{Tls, TlsFiles, read_client_cas};
use crate::cli::error::CliError;
use crate::cli::init::unsealer;
use crate::cli::{input, serve};
use crate::clock::{Clock, DAY_MS, Timestamp};
use crate::ids::{PrincipalId, Site};
use crate::keys::{Argon2Cost, password};
use crate::limits;
use crate::policy::{Agreement, Allowance, AllowanceKey, Principal, Purpose, Role};
use crate::secret::{SecretText, wipe_stack};
use crate::store::EngineKind;
use crate::vault::{self, Founding, Gate, House, OpenError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Who is on it: one of each role, and a second processor.
pub const CAST: [(&str, Role); 5] = [
    ("portal", Role::Portal),
    ("processor-a", Role::Processor),
    ("processor-b", Role::Processor),
    ("auditor", Role::Auditor),
    ("operator", Role::Operator),
];

/// The longest time of release that its allow-list permits.
const RELEASE_MS_MAX: u64 = 30 * DAY_MS;
/// How long the people's agreement is in force.
const AGREEMENT_MS: u64 = 365 * DAY_MS;
/// What may be set of it.
#[derive(Debug, Clone, Copy)]
pub struct StageSettings {
    /// The store's engine.
    pub engine: EngineKind,
    /// Calls a second that each principal may make.
    pub calls_per_second: u32,
    /// Memory for the engine's cache, in MiB.
    pub cache_mb: u32,
}

impl Default for StageSettings {
    fn default() -> StageSettings {
        StageSettings {
            engine: EngineKind::default(),
            calls_per_second: limits::CALLS_PER_SECOND_DEFAULT,
            cache_mb: 64,
        }
    }
}

/// A vault that is made and open, and everybody's files. Not served yet.
pub struct Stage {
    dir: PathBuf,
    gate: Arc<Gate>,
    tls: Arc<Tls>,
    clock: Clock,
    calls_per_second: u32,
    continued: bool,
    // Held as long as the vault is used: two on one directory would fight over dev.json.
    lock: File,
}

impl Stage {
    /// Makes everything in `dir`, or goes on with what an earlier run made there. Blocks for a
    /// second or so.
    ///
    /// # Errors
    /// When another run uses the directory, its certificates are past their time, or the vault
    /// can't be made or refuses to open.
    pub fn set(dir: &Path, clock: Clock, settings: StageSettings) -> Result<Stage, CliError> {
        fs::create_dir_all(dir).map_err(CliError::file(dir))?;
        let dir = fs::canonicalize(dir).map_err(CliError::file(dir))?;
        refuse_foreign(&dir)?;
        let lock = lock(&dir)?;
        // Nobody serves yet, whatever an earlier run left.
        DevFile::remove(&dir).map_err(CliError::file(&dir))?;
        let house = house(&dir, clock.clone(), settings);
        let continued = house.keys_dir.join("seal.json").exists();
        if !continued {
            make(&dir, &house)?;
        }
        identities(&dir, clock.now())?;
        let tls = Tls::load(tls_files(&dir), clock.clone())?;
        let gate = Gate::new(house);
        gate.unseal(&input::secret_file(&dir.join(PASSPHRASE))?)?;
        wipe_stack();
        Ok(Stage {
            dir,
            gate: Arc::new(gate),
            tls: Arc::new(tls),
            clock,
            calls_per_second: settings.calls_per_second,
            continued,
            lock,
        })
    }

    /// Serves on loopback; port 0 takes a free one. Writes dev.json when calls are taken.
    ///
    /// # Errors
    /// When the port is taken, or dev.json can't be written.
    pub async fn serve(self, port: u16) -> Result<Running, CliError> {
        let listener = serve::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        let endpoint = format!("https://{}", listener.local_addr()?);
        let file = self.describe(endpoint)?;
        let node = Node::new(
            Arc::clone(&self.gate),
            self.tls,
            self.clock,
            self.calls_per_second,
        )
        .with_backup_dir(Some(self.dir.join("backups")));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(node.run(listener, None, true, async {
            // Gone without a word is an end too.
            let _ = stopped.await;
        }));
        let path = file.write(&self.dir).map_err(CliError::file(&self.dir))?;
        Ok(Running {
            file,
            path,
            continued: self.continued,
            stop,
            served,
            dir: self.dir,
            _lock: self.lock,
        })
    }

    fn describe(&self, endpoint: String) -> Result<DevFile, CliError> {
        let vault = self
            .gate
            .vault()
            .ok_or_else(|| CliError::Failed("the vault was sealed at once".into()))?;
        let registry = vault.registry();
        let mut principals = BTreeMap::new();
        for (name, role) in CAST {
            let known = registry.named(name).ok_or_else(|| {
                CliError::Failed(format!(
                    "{} holds another vault than `payvault dev` makes: it does not know {name}",
                    self.dir.display()
                ))
            })?;
            let (cert, key) = credential_paths(&self.dir, name);
            principals.insert(
                name.to_owned(),
                DevPrincipal {
                    id: known.id.to_string(),
                    name: name.to_owned(),
                    cert,
                    key,
                    secret_file: role.is_human().then(|| secret_path(&self.dir, name)),
                },
            );
        }
        let identity = vault.identity();
        let identity = identity.map_err(|no| CliError::Start(OpenError::Refused(no)))?;
        Ok(DevFile {
            endpoint,
            ca: self.dir.join(CA),
            ledger_key: vault.verifier().to_string(),
            identity_key: identity.to_string(),
            principals,
        })
    }
}

/// A served stage.
pub struct Running {
    /// What clients need.
    pub file: DevFile,
    /// Where it was written.
    pub path: PathBuf,
    /// Whether an earlier run made the vault.
    pub continued: bool,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<Ended, ServeError>>,
    dir: PathBuf,
    _lock: File,
}

impl Running {
    /// Serves until `until` completes, then drains and closes the vault. dev.json is gone then.
    ///
    /// # Errors
    /// When the server ended by itself.
    pub async fn until(self, until: impl Future<Output = ()>) -> Result<Ended, CliError> {
        let Running {
            stop,
            mut served,
            dir,
            _lock,
            ..
        } = self;
        let ended = tokio::select! {
            ended = &mut served => ended,
            () = until => {
                DevFile::remove(&dir).map_err(CliError::file(&dir))?;
                let _ = stop.send(());
                served.await
            }
        };
        DevFile::remove(&dir).map_err(CliError::file(&dir))?;
        match ended {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(CliError::Failed("the server ended with a panic".into())),
        }
    }
}

const CA: &str = "ca.pem";
const SERVER: &str = "server";
const PASSPHRASE: &str = "passphrase";
const LOCK: &str = "lock";

/// Certificate and key, as [`crate::api::dev_ca::Credential::write`] names them.
fn credential_paths(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (
        dir.join(format!("{name}.pem")),
        dir.join(format!("{name}.key.pem")),
    )
}

fn secret_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.secret"))
}

fn tls_files(dir: &Path) -> TlsFiles {
    let (cert, key) = credential_paths(dir, SERVER);
    TlsFiles {
        cert,
        key,
        client_ca: vec![dir.join(CA)],
        crl: Vec::new(),
    }
}

fn house(dir: &Path, clock: Clock, settings: StageSettings) -> House {
    House {
        data_dir: dir.join("data"),
        keys_dir: dir.join("keys"),
        mark_dir: dir.join("data"),
        checkpoint_sink: Some(dir.join("checkpoint")),
        checkpoint_command: None,
        witnesses: Default::default(),
        settings: vault::Settings {
            sites: sites::defaults()
                .into_iter()
                .map(|(site, rules)| (site, u64::from(rules.release_days_max) * DAY_MS))
                .collect(),
            fingerprints: BTreeSet::new(),
            sealed_only: BTreeSet::new(),
            denials_per_minute: limits::DENIALS_PER_MINUTE,
            retention: sites::retention(),
            key_backup_days: limits::KEY_BACKUP_DAYS_DEFAULT,
        },
        engine: settings.engine,
        cache_bytes: u64::from(settings.cache_mb) << 20,
        clock,
    }
}

/// Refuses a directory that holds somebody else's files: keys and secrets would lie among them.
/// Empty is fine, and so is one that an earlier run began.
fn refuse_foreign(dir: &Path) -> Result<(), CliError> {
    let own = dir.join(LOCK).exists();
    let empty = fs::read_dir(dir)
        .map_err(CliError::file(dir))?
        .next()
        .is_none();
    if own || empty {
        return Ok(());
    }
    Err(CliError::Failed(format!(
        "{} is not empty, and no `payvault dev` made what is in it: name a new directory",
        dir.display()
    )))
}

fn lock(dir: &Path) -> Result<File, CliError> {
    let path = dir.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(CliError::file(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(CliError::Failed(format!(
            "another `payvault dev` runs on {}",
            dir.display()
        ))),
    }
}

/// Makes CA, certificates, secrets, passphrase, and last the vault: its seal file is what says
/// that the rest is there.
fn make(dir: &Path, house: &House) -> Result<(), CliError> {
    let failed = |error| CliError::Failed(format!("a certificate can't be made: {error}"));
    let now = house.clock.now();
    let ca = DevCa::new(now).map_err(failed)?;
    fs::write(dir.join(CA), ca.certificate_pem()).map_err(CliError::file(dir))?;
    let server = ca.server().map_err(failed)?;
    server.write(dir, SERVER).map_err(CliError::file(dir))?;
    for (name, _) in CAST {
        let credential = ca.client(name).map_err(failed)?;
        credential.write(dir, name).map_err(CliError::file(dir))?;
    }
    let passphrase = password::generate();
    renew_secret_file(&dir.join(PASSPHRASE), &passphrase)?;
    let mut principals = Vec::new();
    for ((name, role), identity) in CAST.into_iter().zip(identities(dir, now)?) {
        let mut principal = principal(name, role, identity, now);
        if role.is_human() {
            let secret = password::generate();
            principal.secret_hash = password::hash(&secret);
            renew_secret_file(&secret_path(dir, name), &secret)?;
        }
        principals.push(principal);
    }
    let founding = Founding {
        unsealers: principals
            .iter()
            .filter(|p| p.role == Role::Operator)
            .map(unsealer)
            .collect(),
        allowances: allowances(&principals),
        principals,
    };
    vault::create(house, &passphrase, Argon2Cost::DEFAULT, founding).map_err(CliError::Make)?;
    Ok(())
}

/// Replaces what an earlier run left that did not come to its end.
fn renew_secret_file(path: &Path, secret: &SecretText) -> Result<(), CliError> {
    if path.exists() {
        fs::remove_file(path).map_err(CliError::file(path))?;
    }
    input::write_secret_file(path, secret.expose())
}

/// Everybody's identity, in the cast's order.
fn identities(dir: &Path, now: Timestamp) -> Result<Vec<PeerIdentity>, CliError> {
    let cas = read_client_cas(&[dir.join(CA)], &[])?;
    CAST.into_iter()
        .map(|(name, _)| {
            let (path, _) = credential_paths(dir, name);
            let pem = fs::read_to_string(&path).map_err(CliError::file(&path))?;
            identity_of_pem(&pem, &cas, now).map_err(|error| {
                CliError::Usage(format!(
                    "{}: {error}; the certificates of `payvault dev` live for 30 days: begin anew \
                     in another directory",
                    path.display()
                ))
            })
        })
        .collect()
}

fn principal(name: &str, role: Role, identity: PeerIdentity, now: Timestamp) -> Principal {
    Principal {
        id: PrincipalId::random(),
        name: name.to_owned(),
        role,
        sites: if role.is_human() {
            Vec::new()
        } else {
            every_site()
        },
        certificate_uri: identity.uri,
        issuer_key: identity.issuer_key,
        agreement: role.is_human().then(|| Agreement {
            reference: "throw-away".to_owned(),
            valid_from: now,
            valid_until: now.plus_ms(AGREEMENT_MS),
        }),
        secret_hash: String::new(),
        disabled: false,
        created_at: now,
        last_seen: now,
        bad_tries: 0,
        locked_until: Timestamp(0),
    }
}

fn every_site() -> Vec<Site> {
    sites::defaults().into_keys().collect()
}

/// Generous: every processor for every purpose on every site.
fn allowances(principals: &[Principal]) -> Vec<(AllowanceKey, Allowance)> {
    let of = |role| principals.iter().filter(move |p| p.role == role);
    let purposes = Purpose::ALL
        .iter()
        .fold(0, |bits, purpose| bits | 1 << (*purpose as u8 - 1));
    let allowance = Allowance {
        purposes,
        uses_max: 100,
        release_ms_max: RELEASE_MS_MAX,
        releases_per_hour: 10_000_000,
    };
    let mut rows = Vec::new();
    for site in every_site() {
        for portal in of(Role::Portal) {
            for processor in of(Role::Processor) {
                let key = AllowanceKey {
                    site,
                    portal: portal.id,
                    processor: processor.id,
                };
                rows.push((key, allowance));
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_goes_on_with_the_same_vault_and_two_at_once_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let describe = |stage: &Stage| stage.describe("https://127.0.0.1:1".into()).unwrap();
        let first = Stage::set(dir.path(), Clock::system(), StageSettings::default()).unwrap();
        let made = describe(&first);
        assert!(!first.continued);
        assert_eq!(made.principals.len(), 5);
        assert!(Stage::set(dir.path(), Clock::system(), StageSettings::default()).is_err());

        let by = vault::command::Caller::vault();
        first.gate.close(vault::command::Note::Stopped, by);
        drop(first);
        let second = Stage::set(dir.path(), Clock::system(), StageSettings::default()).unwrap();
        assert!(second.continued);
        assert_eq!(describe(&second), made);
        for (name, one) in &made.principals {
            assert!(one.cert.is_file() && one.key.is_file(), "{name}");
            let human = matches!(name.as_str(), "auditor" | "operator");
            assert_eq!(one.secret_file.as_ref().is_some_and(|f| f.is_file()), human);
        }
        let by = vault::command::Caller::vault();
        second.gate.close(vault::command::Note::Stopped, by);
    }
}
