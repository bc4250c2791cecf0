//! Who checks bearer tokens in this process, from its settings.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use vouch::limits::KEYS_WAIT_MAX;
use vouch::oauth::{Options, Source, Tokens};

use crate::settings::OAuth;

/// None where no keys are named. Keys of a file must be there; those of a server may come later, so that a front end does
/// not depend on it to start.
///
/// # Errors
/// One sentence that names the key.
pub async fn load(settings: &OAuth) -> anyhow::Result<Option<Arc<Tokens>>> {
    if settings.jwks.is_empty() {
        return Ok(None);
    }
    let keys = if settings.jwks.contains("://") {
        let url: http::Uri = settings.jwks.parse().context("auth.oauth.jwks")?;
        let client =
            outbound::Client::new(&url, &settings.ca_file, KEYS_WAIT_MAX).context("auth.oauth.ca_file")?;
        Source::Url(Box::new(client), url)
    } else {
        Source::File(settings.jwks.clone().into())
    };
    let is_file = matches!(keys, Source::File(_));
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let tokens = Tokens::new(Options {
        issuer: settings.issuer.clone(),
        audiences: settings.audiences.clone(),
        algorithms: settings.algorithms.clone(),
        leeway: Duration::from_secs(settings.leeway_seconds),
        address_claim: settings.address_claim.clone(),
        scope: some(&settings.scope),
        configuration: some(&settings.configuration_url),
        keys,
        refresh: Duration::from_secs(settings.refresh_seconds),
    })
    .context("auth.oauth.algorithms")?;
    match tokens.refresh().await {
        Err(error) if is_file => anyhow::bail!("auth.oauth.jwks: {}: {error}", settings.jwks),
        // Told in the log where it was counted.
        _ => Ok(Some(Arc::new(tokens))),
    }
}
