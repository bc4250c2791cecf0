//! How a pusher is set up.

use std::sync::Arc;
use std::time::Duration;

use store::{Environment, SystemEnvironment};

use crate::client::ClientOptions;
use crate::encode::Style;

/// How a pusher is set up.
#[derive(Clone)]
pub struct Options {
    /// All keys start with this, as the store's do.
    pub prefix: Vec<u8>,
    /// Where the enabler is.
    pub client: ClientOptions,
    /// How notices are written. Changes older than its time to live are told as folders to look at again.
    pub style: Style,
    /// Posts under way at once; 1 or more.
    pub workers: usize,
    /// Posts of one notice that fail for its own sake, after which it is given up.
    pub attempts_max: u32,
    /// Longest pause between two posts of a notice, and between two tries of an enabler that is down.
    pub retry_pause_max: Duration,
    /// Time.
    pub environment: Arc<dyn Environment>,
}

impl Options {
    /// Defaults for this enabler and style.
    pub fn new(client: ClientOptions, style: Style) -> Self {
        Self {
            prefix: Vec::new(),
            client,
            style,
            workers: 32,
            attempts_max: 8,
            retry_pause_max: Duration::from_secs(60),
            environment: Arc::new(SystemEnvironment),
        }
    }
}
