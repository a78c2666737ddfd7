//! The servers: child processes on a core of their own, gone when their handle is.

use crate::echo;
use crate::failure::LoadError;
use crate::machine;
use crate::wire::Credential;
use payvault::cli::dev::file::{DevFile, NAME};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Who runs where.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// The servers' core and the client's; `None`: wherever there is room.
    pub pinned: Option<(usize, usize)>,
}

impl Cores {
    /// Starts `command` on the servers' core.
    fn start(self, command: &mut Command) -> Result<Child, LoadError> {
        let what = command.get_program().to_string_lossy().into_owned();
        // A child inherits its parent's cores.
        if let Some((server, _)) = self.pinned {
            machine::pin(server)?;
        }
        let child = command.spawn().map_err(LoadError::system(&what));
        if let Some((_, client)) = self.pinned {
            machine::pin(client)?;
        }
        child
    }
}

/// A server that runs. Killed when dropped.
pub struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without a word, as `kill -9` does.
    ///
    /// # Errors
    /// When it can't be killed.
    pub fn kill(mut self) -> Result<(), LoadError> {
        self.child.kill().map_err(LoadError::system("kill"))?;
        self.child.wait().map_err(LoadError::system("wait"))?;
        Ok(())
    }

    /// Asks it to end, and waits until it did.
    ///
    /// # Errors
    /// When it ended with a failure.
    pub fn stop(mut self) -> Result<(), LoadError> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| LoadError::Server(format!("can't be stopped: {error}")))?;
        let status = self.child.wait().map_err(LoadError::system("wait"))?;
        match status.success() {
            true => Ok(()),
            false => Err(LoadError::Server(format!("the vault ended with {status}"))),
        }
    }
}

/// Starts the echo; its certificates lie in `dir`.
///
/// # Errors
/// When it doesn't start.
pub fn echo(dir: &Path, cores: Cores) -> Result<(Server, Credential), LoadError> {
    std::fs::create_dir_all(dir).map_err(LoadError::file(dir))?;
    echo::make_certificates(dir)?;
    let own = std::env::current_exe().map_err(LoadError::system("own path"))?;
    let mut command = Command::new(own);
    command
        .arg("echo-server")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut server = Server {
        child: cores.start(&mut command)?,
    };
    let mut endpoint = String::new();
    if let Some(stdout) = server.child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut endpoint)
            .map_err(LoadError::system("echo"))?;
    }
    let credential = echo::credential(dir, endpoint.trim().to_owned())?;
    Ok((server, credential))
}

/// A vault's settings.
#[derive(Debug, Clone)]
pub struct VaultSettings {
    /// The binary; `None`: the one beside this one.
    pub binary: Option<PathBuf>,
    /// Its directory.
    pub dir: PathBuf,
    /// Memory for the store's cache, in MiB.
    pub cache_mb: u32,
}

impl VaultSettings {
    fn binary(&self) -> Result<PathBuf, LoadError> {
        let beside = || {
            let own = std::env::current_exe().ok()?;
            Some(own.parent()?.join("payvault"))
        };
        let path = self.binary.clone().or_else(beside).unwrap_or_default();
        if path.is_file() {
            return Ok(path);
        }
        Err(LoadError::Usage(format!(
            "{} is not there: build it with `cargo build --release -p payvault`, or name it with \
             --payvault",
            path.display()
        )))
    }
}

/// How long a vault may take to start: a large one reads a lot.
const START_MAX: Duration = Duration::from_secs(600);

/// Starts `payvault dev`, and gives what its clients need as soon as it is there.
///
/// # Errors
/// When it is not there or doesn't start.
pub fn vault(settings: &VaultSettings, cores: Cores) -> Result<(Server, DevFile), LoadError> {
    std::fs::create_dir_all(&settings.dir).map_err(LoadError::file(&settings.dir))?;
    let path = settings.dir.join(NAME);
    // One that a killed vault left behind would be taken for the new one's.
    DevFile::remove(&settings.dir).map_err(LoadError::file(&path))?;
    let mut command = Command::new(settings.binary()?);
    command
        .args(["dev", "--port", "0", "--log-level", "error"])
        // No load may meet the bound: it would be the bound that is measured.
        .args(["--calls-per-second", "1000000"])
        .args(["--cache-mb", &settings.cache_mb.to_string()])
        .arg("--dir")
        .arg(&settings.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut server = Server {
        child: cores.start(&mut command)?,
    };
    let begin = Instant::now();
    while !path.exists() {
        if let Ok(Some(status)) = server.child.try_wait() {
            return Err(LoadError::Server(format!("the vault ended with {status}")));
        }
        if begin.elapsed() > START_MAX {
            return Err(LoadError::Server("the vault did not start".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok((server, DevFile::read(&path)?))
}

/// The credential of one of the vault's principals.
///
/// # Errors
/// When there is no such one, or a file can't be read.
pub fn credential(dev: &DevFile, name: &str) -> Result<Credential, LoadError> {
    let principal = dev.principal(name)?;
    let read = |path: &Path| std::fs::read_to_string(path).map_err(LoadError::file(path));
    Ok(Credential {
        endpoint: dev.endpoint.clone(),
        ca_pem: read(&dev.ca)?,
        cert_pem: read(&principal.cert)?,
        key_pem: read(&principal.key)?,
    })
}
