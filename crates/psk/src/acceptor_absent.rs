//! What stands in for the acceptor in a program without OpenSSL: none can be made.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::{AcceptorError, Entry, KeySource};

/// A stream that cannot be.
pub type Stream = tokio::io::DuplexStream;

/// An acceptor that cannot be.
#[derive(Debug)]
pub struct Acceptor(Infallible);

impl Acceptor {
    /// # Errors
    /// [`AcceptorError::Absent`]
    pub fn new(_: Vec<Arc<dyn KeySource>>, _: Option<&str>) -> Result<Self, AcceptorError> {
        Err(AcceptorError::Absent)
    }

    /// # Errors
    /// There is no acceptor.
    #[expect(clippy::unused_async, reason = "as the real one")]
    pub async fn accept(&self, _: TcpStream) -> io::Result<(Stream, Arc<Entry>)> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_can_be_made() {
        let refused = Acceptor::new(Vec::new(), Some("hint")).expect_err("no OpenSSL");
        assert!(matches!(refused, AcceptorError::Absent));
        assert!(refused.to_string().contains("feature psk"), "{refused}");
    }
}
