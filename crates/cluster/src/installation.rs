//! What all nodes and front ends of an installation have in common, made with its first start.

use std::fmt;

use kv::{Engine, ReadMode, RetryPolicy, TransactionOptions};
use model::{Error, ErrorKind, Result};
use store::keyspace::Keyspace;

use crate::register::told;

/// What all nodes and front ends of an installation have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Installation {
    /// A random number, never 0: tells this installation from another that took its place.
    pub id: u64,
    /// The key of what is answered about addresses without an account; with one key such an address looks the same at
    /// every front end and after every restart. A secret.
    pub decoy_key: [u8; 32],
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installation").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The installation whose keys start with `prefix`; made if it is not there, with `decoy_key` if one is given.
///
/// # Errors
/// `Corrupt` when it cannot be read; whatever the engine fails with.
pub async fn installation(
    engine: &dyn Engine,
    prefix: &[u8],
    decoy_key: Option<[u8; 32]>,
) -> Result<Installation> {
    let key = Keyspace::new(prefix).installation();
    let fresh =
        Installation { id: rand::random::<u64>().max(1), decoy_key: decoy_key.unwrap_or_else(rand::random) };
    let options = TransactionOptions { tag: Some("cluster"), ..TransactionOptions::default() };
    // Safe to run twice: it finds what it wrote.
    let (found, _) = kv::run(engine, options, RetryPolicy::idempotent(), |trx, _| {
        let key = key.clone();
        Box::pin(async move {
            if let Some(found) = trx.get(&key, ReadMode::Serializable).await? {
                return Ok::<_, kv::Error>(found.to_vec());
            }
            let made = encode(fresh);
            trx.set(&key, &made);
            Ok(made)
        })
    })
    .await
    .map_err(told)?;
    decode(&found)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the record of the installation cannot be read"))
}

fn encode(installation: Installation) -> Vec<u8> {
    [&installation.id.to_be_bytes()[..], &installation.decoy_key].concat()
}

/// What stands after these forty octets was added by a later release.
fn decode(record: &[u8]) -> Option<Installation> {
    let (id, rest) = record.split_first_chunk()?;
    Some(Installation { id: u64::from_be_bytes(*id), decoy_key: *rest.first_chunk()? })
}
