//! Logs: to standard error, as text or JSON, without secrets.

use tracing_subscriber::EnvFilter;

use crate::settings::{Log, LogFormat};

/// Starts logging.
///
/// # Errors
/// One sentence that names `log.level` if it cannot be read.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).map_err(|e| {
        anyhow::anyhow!("log.level is {:?}, but must be a level or directives: {e}", log.level)
    })?;
    // The SIP library logs each message whole, and what strangers send it as warnings: only who asks for it by name.
    let filter = if log.level.contains("rsipstack") {
        filter
    } else {
        filter.add_directive("rsipstack=error".parse()?)
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(colours).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logging cannot start: {e}"))
}
