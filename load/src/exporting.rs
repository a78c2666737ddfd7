//! An export in the background, again and again, as an auditor makes it.

use crate::failure::LoadError;
use payvault::api::proto as pb;
use payvault::cli::client::Client;
use payvault::cli::dev::file::DevFile;
use payvault::secret::SecretText;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::task::JoinHandle;
use tonic::Status;

/// Exports under way.
pub struct Exporting {
    lines: Arc<AtomicU64>,
    begin: Instant,
    task: JoinHandle<Result<(), Status>>,
}

/// Logs the auditor in and begins.
///
/// # Errors
/// When the auditor is not let in.
pub async fn start(dev: &DevFile) -> Result<Exporting, LoadError> {
    let auditor = dev.principal("auditor")?;
    let read =
        |path: &std::path::Path| std::fs::read_to_string(path).map_err(LoadError::file(path));
    let key = SecretText::new(read(&auditor.key)?);
    let mut client =
        Client::connect(&dev.endpoint, &read(&dev.ca)?, &read(&auditor.cert)?, &key).await?;
    let secret_file = auditor.secret_file.as_deref();
    let secret = read(secret_file.unwrap_or(std::path::Path::new("")))?;
    client
        .login(&SecretText::new(secret.trim_end().to_owned()))
        .await?;
    let lines = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lines);
    let task = tokio::spawn(async move {
        loop {
            let request = pb::ExportLogRequest {
                reason: "load".to_owned(),
                ticket: "load".to_owned(),
                ..pb::ExportLogRequest::default()
            };
            let mut pieces = client.ledger.export_log(request).await?.into_inner();
            while let Some(piece) = pieces.message().await? {
                let count = piece.lines.iter().filter(|byte| **byte == b'\n').count();
                counted.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
    });
    Ok(Exporting {
        lines,
        begin: Instant::now(),
        task,
    })
}

impl Exporting {
    /// Ends it and gives lines a second.
    ///
    /// # Errors
    /// When an export failed.
    pub fn stop(self) -> Result<f64, LoadError> {
        let seconds = self.begin.elapsed().as_secs_f64();
        if self.task.is_finished() {
            return Err(LoadError::Server(
                "an export ended with an error".to_owned(),
            ));
        }
        self.task.abort();
        Ok(self.lines.load(Ordering::Relaxed) as f64 / seconds)
    }
}
