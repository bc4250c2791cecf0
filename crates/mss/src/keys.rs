//! Where keys that clients and this process both know come from, by its settings.

use std::sync::Arc;

use anyhow::Context as _;
use psk::gba::{self, Bootstrapping};
use psk::limits::BSF_WAIT_MAX;
use psk::{Acceptor, FileKeys, KeySource};

use crate::settings::PskKeys;

/// What serves such clients.
#[derive(Default)]
pub struct Keys {
    /// Keys of the file, to be replaced when it changes.
    pub file: Option<Arc<FileKeys>>,
    /// Takes part in handshakes; none where nobody knows keys.
    pub acceptor: Option<Arc<Acceptor>>,
}

/// The keys of a file must be there; a bootstrapping function is first asked for the first client, so that a front end does
/// not depend on it to start.
///
/// # Errors
/// One sentence that names the key.
pub fn load(settings: &PskKeys) -> anyhow::Result<Keys> {
    gba::describe();
    let mut keys = Keys::default();
    let mut sources: Vec<Arc<dyn KeySource>> = Vec::new();
    if let Some(file) = &settings.file {
        let read = psk::Keys::load(file).with_context(|| format!("auth.psk.file: {}", file.display()))?;
        let read = Arc::new(FileKeys::new(read));
        sources.push(read.clone());
        keys.file = Some(read);
    }
    let mut hint = settings.hint.as_str();
    if !settings.bsf.is_empty() {
        sources.push(Arc::new(bootstrapping(settings)?));
        if hint.is_empty() {
            hint = gba::HINT;
        }
    }
    if !sources.is_empty() {
        let acceptor = Acceptor::new(sources, Some(hint).filter(|hint| !hint.is_empty()));
        keys.acceptor = Some(Arc::new(acceptor.context("imap.psk_listen")?));
    }
    Ok(keys)
}

fn bootstrapping(settings: &PskKeys) -> anyhow::Result<Bootstrapping> {
    let root: http::Uri = settings.bsf.parse().context("auth.psk.bsf")?;
    let http2 = outbound::Version::Http2;
    let client = outbound::Client::speaking(http2, &root, &settings.bsf_ca_file, BSF_WAIT_MAX);
    let client = client.context("auth.psk.bsf_ca_file")?;
    Bootstrapping::new(client, &root, &settings.naf, settings.gsid).context("auth.psk.bsf")
}
