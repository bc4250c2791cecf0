//! Parts of messages in another form, for CONVERT (RFC 5259): text in another charset, HTML as plain text, pictures
//! made smaller or of another kind.
//!
//! What strangers sent is read by decoders that strangers may try to break, so it is read elsewhere: a [`Converter`] keeps a
//! few worker processes, the same binary, to which it passes one part at a time. A worker bounds itself before it reads
//! the first octet ([`worker`]): memory, processor time, no files, no sockets, no processes. One that takes too long is
//! killed, one that dies is replaced, and the part that it died of is not tried again soon.
//!
//! - `plan`: which conversions there are, and what a request comes to: a [`Job`] or what is wrong with it.
//! - `pool`: the processes. `worker`: what one does. `frame`: what they say to each other.
//! - `picture`: pictures. Text is converted by [`cpm_mime::recode`].
//!
//! Results are kept in memory, as many as fit, each under its account: the second device of a subscriber costs nothing. So
//! are refusals, so that nobody keeps the workers at what cannot be done.
//!
//! Deliberately absent: rights (who asks for a part has read its folder), audio, video, documents.

mod frame;
pub mod fuzzing;
pub mod limits;
mod picture;
mod plan;
mod pool;
mod telemetry;
pub mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{AccountId, BodyId};
use moka::future::Cache;

pub use plan::{Conversion, Form, Job, Media, Parameters, Planned, Source, Target, conversions, plan};
use pool::Pool;

/// How a converter behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program of a worker with its arguments; bounds are added.
    pub program: (PathBuf, Vec<OsString>),
    /// Worker processes at most.
    pub workers: usize,
    /// Memory of a worker beside what it begins with, octets.
    pub memory_bytes_max: u64,
    /// Processor time of one conversion, whole seconds.
    pub cpu_seconds_max: u64,
    /// From asking a worker to its answer; and as long again for a worker to be free.
    pub time_max: Duration,
    /// The largest part that is converted, without its transfer encoding, octets.
    pub source_bytes_max: u64,
    /// Results that are kept, octets.
    pub cache_bytes: u64,
}

/// A part in its new form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The part, without a transfer encoding.
    pub octets: Bytes,
    /// Line ends (LF) in it.
    pub lines: u64,
}

/// Why a part is not converted, now or ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// A character of the text is not in the charset asked for.
    Lacking = 1,
    /// The part is not what it says it is, or is broken.
    Unreadable = 2,
    /// The part, or what it would come to, is above a bound.
    TooLarge = 3,
    /// It takes more time or memory than one conversion may.
    TooCostly = 4,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lacking, Self::Unreadable, Self::TooLarge, Self::TooCostly];

    /// One sentence for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Lacking => "the text has characters that the charset has not",
            Self::Unreadable => "the part is not what its type says, or is broken",
            Self::TooLarge => "the part is larger than this server converts",
            Self::TooCostly => "the part takes more than this server gives to one conversion",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lacking => "lacking",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::TooCostly => "too_costly",
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// All workers are at work for too long, or one could not be started or was killed: later it may do.
    #[error("no worker could convert the part in time")]
    Busy,
    /// The part could not be read.
    #[error(transparent)]
    Source(#[from] model::Error),
}

/// What a result is kept under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose message it is.
    pub account: AccountId,
    /// Its octets.
    pub body: BodyId,
    /// Which part of it.
    pub part: Vec<u32>,
    /// What is done with the part.
    pub job: Job,
}

/// Converts parts. Cheap to clone; all clones are one converter.
#[derive(Clone)]
pub struct Converter {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    cache: Cache<Key, Result<Arc<Converted>, Refusal>>,
    source_bytes_max: u64,
}

impl Converter {
    /// A converter, which starts its workers as they are needed.
    pub fn new(options: Options) -> Self {
        telemetry::describe();
        let weigh = |key: &Key, value: &Result<Arc<Converted>, Refusal>| {
            let octets = value.as_ref().map_or(0, |converted| converted.octets.len());
            u32::try_from(octets + key.part.len() * 4 + limits::CACHE_ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .max_capacity(options.cache_bytes)
            .weigher(weigh)
            .time_to_live(limits::CACHE_TIME)
            .build();
        let source_bytes_max = options.source_bytes_max;
        Self { shared: Arc::new(Shared { pool: Pool::new(options), cache, source_bytes_max }) }
    }

    /// The part of `key` in its new form: as kept, or converted now. `source` is the part's octets without transfer
    /// encoding, `size` how many these are at most; it is not waited for when the answer is known, nor before a worker
    /// is free.
    ///
    /// # Errors
    /// [`Failure`]. Inside of the answer, [`Refusal`], which is kept like an answer.
    pub async fn convert(
        &self,
        key: Key,
        size: u64,
        source: impl Future<Output = model::Result<Bytes>>,
    ) -> Result<Result<Arc<Converted>, Refusal>, Failure> {
        if size > self.shared.source_bytes_max {
            telemetry::refused(&key.job, Refusal::TooLarge);
            return Ok(Err(Refusal::TooLarge));
        }
        let (job, mut is_new) = (key.job.clone(), false);
        let work = async {
            is_new = true;
            let place = self.shared.pool.place().await.ok_or(Failure::Busy)?;
            place.convert(&job, source.await?).await
        };
        let done = self.shared.cache.try_get_with(key, work).await;
        telemetry::looked_up(!is_new);
        done.map_err(|failure| Failure::clone(&failure))
    }

    /// The answer that [`Converter::convert`] would find without a worker.
    pub async fn kept(&self, key: &Key) -> Option<Result<Arc<Converted>, Refusal>> {
        let kept = self.shared.cache.get(key).await?;
        telemetry::looked_up(true);
        Some(kept)
    }

    /// Ends the workers that are at rest; those at work end with what they do.
    pub fn rest(&self) {
        self.shared.pool.rest();
    }
}

impl std::fmt::Debug for Converter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Converter").finish_non_exhaustive()
    }
}
