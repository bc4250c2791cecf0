//! Sending what was given up again, when an operator says so.

use store_api::DeadLetter;

use crate::client::{Client, ClientError, ClientOptions, Verdict};
use crate::encode::Encoded;

/// Header fields that go with a notice.
const HEADERS: [&str; 4] = ["x-push-id", "x-push-account", "x-push-recipients", "x-push-triggering-device"];

/// Sends notices that were given up again.
pub struct Resender(Client);

impl Resender {
    /// To the enabler of these options.
    ///
    /// # Errors
    /// [`ClientError`] says what is wrong with them.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        Client::new(options).map(Self)
    }

    /// Sends one once, as it was written then. What the enabler made of it.
    pub async fn resend(&self, letter: &DeadLetter) -> Verdict {
        if letter.body.is_empty() {
            return Verdict::Refused("it was too large to be kept".into());
        }
        let headers = letter.headers.iter().filter_map(|(name, value)| {
            let known = HEADERS.into_iter().find(|known| known == name)?;
            Some((known, value.clone()))
        });
        let (content_type, body) = (letter.content_type.clone(), letter.body.clone());
        self.0.post(&Encoded { content_type, headers: headers.collect(), body }).await.verdict
    }
}
