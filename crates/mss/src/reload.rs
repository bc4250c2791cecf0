//! Files that are read again while clients are served: certificates, and who may act for subscribers.
//!
//! They are looked at on SIGHUP, and every so often, since what renews certificates may not know whom to tell, and files
//! that an orchestrator mounts change without a signal. What counts is their contents: where a file is a link to another,
//! its time says nothing. A change that cannot be used leaves in place what was there, and is told once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use imap_server::Server;
use metrics::{counter, describe_counter};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::function;
use crate::settings::Settings;
use crate::tls;

/// Files that are read together, and what they were.
struct Watched {
    what: &'static str,
    files: Vec<PathBuf>,
    seen: [u8; 32],
}

impl Watched {
    fn new(what: &'static str, files: impl IntoIterator<Item = Option<PathBuf>>) -> Self {
        counter!("mss_reloads_total", "what" => what, "outcome" => "failed").increment(0);
        counter!("mss_reloads_total", "what" => what, "outcome" => "done").increment(0);
        let mut watched = Self { what, files: files.into_iter().flatten().collect(), seen: [0; 32] };
        watched.seen = watched.contents();
        watched
    }

    /// A digest of what the files hold, or that they cannot be read.
    fn contents(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for file in &self.files {
            let octets = std::fs::read(file).ok();
            digest.update(octets.as_ref().map_or(u64::MAX, |octets| octets.len() as u64).to_be_bytes());
            digest.update(octets.unwrap_or_default());
        }
        digest.finalize().into()
    }

    /// Applies what the files say now, if that is new.
    fn look(&mut self, apply: impl FnOnce() -> anyhow::Result<()>) {
        let contents = self.contents();
        if contents == self.seen {
            return;
        }
        self.seen = contents;
        let outcome = match apply() {
            Ok(()) => {
                tracing::info!("{} read anew", self.what);
                "done"
            }
            Err(error) => {
                tracing::error!("{} changed and cannot be used, what was there stays: {error:#}", self.what);
                "failed"
            }
        };
        counter!("mss_reloads_total", "what" => self.what, "outcome" => outcome).increment(1);
    }
}

/// Watches the files of `settings` for as long as the process runs.
///
/// # Errors
/// If the system gives no SIGHUP.
pub fn watch(settings: &Settings, server: Server, psk: Option<Arc<psk::FileKeys>>) -> anyhow::Result<()> {
    describe_counter!(
        "mss_reloads_total",
        "Changes of watched files, by what they are and how reading them went."
    );
    let mut hang_up = signal(SignalKind::hangup())?;
    let (tls_files, functions_file) = (settings.tls.clone(), settings.network_functions.file.clone());
    let files = [&tls_files.certificate, &tls_files.key, &tls_files.client_ca].map(Clone::clone);
    let mut certificate = Watched::new("certificate", files);
    let mut functions = Watched::new("network_functions", [functions_file.clone()]);
    let psk_file = settings.auth.psk.file.clone();
    let mut psk_keys = Watched::new("psk", [psk_file.clone()]);
    let every = (settings.reload.seconds > 0).then(|| Duration::from_secs(settings.reload.seconds));
    tokio::spawn(async move {
        loop {
            let pause = async {
                match every {
                    Some(every) => tokio::time::sleep(every).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = hang_up.recv() => {}
                () = pause => {}
            }
            certificate.look(|| {
                if let Some(tls) = tls::load(&tls_files)? {
                    tls::show_expiry(&tls);
                    server.set_tls(tls);
                }
                Ok(())
            });
            functions.look(|| {
                if let Some(file) = &functions_file {
                    server.set_functions(function::load(file)?);
                }
                Ok(())
            });
            psk_keys.look(|| {
                if let (Some(file), Some(keys)) = (&psk_file, &psk) {
                    keys.set(psk::Keys::load(file)?);
                }
                Ok(())
            });
        }
    });
    Ok(())
}
