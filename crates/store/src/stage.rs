//! Bodies written ahead: in transactions of a mebibyte, parsed while they pass, visible by the append that uses them.
//!
//! A body has a note from the start, by which the sweeper finds it. While its writer lives the note is touched, however
//! slowly octets come; a writer that is dropped before it finished clears what it wrote at once. So what the sweeper
//! finds is what a process left that died, or a body that was finished and not used.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cpm_mime::{IndexBuilder, Limits, MessageIndex};
use kv::ReadMode;
use model::limits::BODY_CHUNK_BYTES;
use model::{AccountId, BodyId, Error, ErrorKind, Result};
use store_api::BodyWriter;

use crate::failure::{Failure, corrupt, invalid};
use crate::keyspace::PendingKind;
use crate::limits::{STAGE_BYTES, STAGED_TOUCH_SECONDS};
use crate::mutations::append::{facts_matter, first_chunk, indexed_headers};
use crate::records::Pending;
use crate::retry::Retry;
use crate::shared::Shared;
use crate::sweep::work::clear_body;

/// Writes one body. Holds at most about [`STAGE_BYTES`] that wait and as many being written: a sender that is faster
/// than the storage waits in [`BodyWriter::write`].
pub(crate) struct StagedWriter {
    shared: Arc<Shared>,
    account: AccountId,
    body: BodyId,
    size: u64,
    taken: u64,
    builder: IndexBuilder,
    waiting: BytesMut,
    /// Number of the first chunk in `waiting`.
    next_chunk: u32,
    writing: Option<tokio::task::JoinHandle<std::result::Result<(), Failure>>>,
    touching: tokio::task::AbortHandle,
    failed: bool,
    finished: bool,
}

impl StagedWriter {
    /// Must be called within a runtime.
    pub(crate) fn new(shared: Arc<Shared>, account: AccountId, body: BodyId, size: u64) -> Self {
        let touching = tokio::spawn(touch(Arc::downgrade(&shared), account, body)).abort_handle();
        Self {
            shared,
            account,
            body,
            size,
            taken: 0,
            builder: IndexBuilder::new(Limits::default()),
            waiting: BytesMut::new(),
            next_chunk: 0,
            writing: None,
            touching,
            failed: false,
            finished: false,
        }
    }

    /// Waits for the write under way.
    async fn settle(&mut self) -> Result<()> {
        if let Some(writing) = &mut self.writing {
            // By reference: a caller that stops waiting here leaves it for the next call.
            let written = writing.await;
            self.writing = None;
            let result = match written {
                Ok(result) => result.map_err(Error::from),
                Err(error) => Err(Error::new(ErrorKind::Bug, "internal error").with_detail(error)),
            };
            self.failed |= result.is_err();
            return result;
        }
        if self.failed {
            return Err(invalid("the writer failed before"));
        }
        Ok(())
    }

    /// Begins to write the chunks that are full, and at the end also the last.
    fn flush(&mut self, index: Option<MessageIndex>) {
        let full = match index {
            Some(_) => self.waiting.len(),
            None => self.waiting.len() / BODY_CHUNK_BYTES * BODY_CHUNK_BYTES,
        };
        let mut octets = self.waiting.split_to(full).freeze();
        let mut chunks = Vec::with_capacity(full / BODY_CHUNK_BYTES + 1);
        if self.next_chunk == 0 {
            let first = octets.split_to(octets.len().min(BODY_CHUNK_BYTES));
            chunks.push((0, first_chunk(self.size, &first)));
            self.next_chunk = 1;
        }
        while !octets.is_empty() {
            chunks.push((self.next_chunk, octets.split_to(octets.len().min(BODY_CHUNK_BYTES))));
            self.next_chunk += 1;
        }
        let page = Page {
            shared: self.shared.clone(),
            account: self.account,
            body: self.body,
            size: self.size,
            chunks,
            index,
        };
        self.writing = Some(tokio::spawn(page.write()));
    }
}

#[async_trait]
impl BodyWriter for StagedWriter {
    async fn write(&mut self, octets: Bytes) -> Result<()> {
        if self.failed {
            return Err(invalid("the writer failed before"));
        }
        if self.taken + octets.len() as u64 > self.size {
            self.failed = true;
            return Err(Error::new(ErrorKind::TooBig, "the message is longer than announced"));
        }
        let mut octets = octets;
        while !octets.is_empty() {
            let part = octets.split_to(octets.len().min(STAGE_BYTES));
            if self.waiting.len() >= STAGE_BYTES {
                self.settle().await?;
                self.flush(None);
            }
            // Only now, and at once: a caller that drops this future has handed over all of a part or nothing.
            self.builder.push(&part);
            self.waiting.extend_from_slice(&part);
            self.taken += part.len() as u64;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<BodyId> {
        if self.taken != self.size {
            return Err(invalid("octets of the message are missing"));
        }
        self.settle().await?;
        let builder = std::mem::replace(&mut self.builder, IndexBuilder::new(Limits::default()));
        let index = builder.finish();
        self.shared.telemetry.object(&index);
        self.flush(Some(index));
        self.settle().await?;
        self.finished = true;
        Ok(self.body)
    }
}

impl Drop for StagedWriter {
    fn drop(&mut self) {
        self.touching.abort();
        // A runtime that ends takes the process with it; the sweeper of the next one finds the note.
        if let (false, Ok(runtime)) = (self.finished, tokio::runtime::Handle::try_current()) {
            let writing = self.writing.take();
            runtime.spawn(give_up(self.shared.clone(), self.account, self.body, writing));
        }
    }
}

/// Touches the note of a body from time to time. Ends with the body, its writer or the store.
async fn touch(shared: Weak<Shared>, account: AccountId, body: BodyId) {
    loop {
        tokio::time::sleep(Duration::from_secs(STAGED_TOUCH_SECONDS)).await;
        let Some(shared) = shared.upgrade() else { return };
        match change_note(&shared, account, body, Change::Touch).await {
            Ok(true) => {}
            Ok(false) => return,
            // There is time for several tries before the body is given up.
            Err(failure) => {
                let error = Error::from(failure);
                tracing::warn!(%error, %account, %body, "a body being written could not be touched");
            }
        }
    }
}

/// Clears a body that its writer did not finish, once its last page is written.
async fn give_up(
    shared: Arc<Shared>,
    account: AccountId,
    body: BodyId,
    writing: Option<tokio::task::JoinHandle<std::result::Result<(), Failure>>>,
) {
    if let Some(writing) = writing {
        // Whatever became of it.
        let _ = writing.await;
    }
    if let Err(failure) = change_note(&shared, account, body, Change::GiveUp).await {
        let error = Error::from(failure);
        tracing::warn!(%error, %account, %body, "a body that was given up is left to the sweeper");
    }
}

#[derive(Clone, Copy)]
enum Change {
    /// The note says that the writer lives.
    Touch,
    /// The note goes, and the body with it.
    GiveUp,
}

/// Changes the note of a body. Whether there was one. Safe to run twice: it goes by the note as it stands.
async fn change_note(
    shared: &Shared,
    account: AccountId,
    body: BodyId,
    change: Change,
) -> std::result::Result<bool, Failure> {
    let note = shared.keys.pending(account, PendingKind::Staged, body.0);
    let mut retry = Retry::idempotent(None);
    loop {
        let mut trx = shared.begin("stage");
        let attempt = async {
            let Some(raw) = trx.get(&note, ReadMode::Serializable).await? else { return Ok(false) };
            match (change, Pending::decode(&raw)) {
                (Change::Touch, Some(Pending::Staged { size, finished, facts_matter, .. })) => {
                    let staged = Pending::Staged { touched_at: shared.now(), size, finished, facts_matter };
                    trx.set_bytes(note.clone(), staged.encode().into());
                }
                (Change::Touch, _) => return Err(corrupt("pending", &note)),
                (Change::GiveUp, _) => {
                    clear_body(shared, trx.as_mut(), account, body).await?;
                    trx.clear(&note);
                }
            }
            Ok(true)
        };
        let failure = match attempt.await {
            Ok(changed) => match trx.commit().await {
                Ok(_) => return Ok(changed),
                Err(error) => error.into(),
            },
            Err(failure) => failure,
        };
        retry.again(failure).await?;
    }
}

/// Chunks to write in one transaction, and with the last of them the facts.
struct Page {
    shared: Arc<Shared>,
    account: AccountId,
    body: BodyId,
    size: u64,
    chunks: Vec<(u32, Bytes)>,
    index: Option<MessageIndex>,
}

impl Page {
    /// Safe to run twice: it writes the same values under the same keys, and only as long as the note of the body
    /// stands, which whoever sweeps or uses the body clears.
    async fn write(self) -> std::result::Result<(), Failure> {
        let keys = &self.shared.keys;
        let note = keys.pending(self.account, PendingKind::Staged, self.body.0);
        let mut retry = Retry::idempotent(None);
        loop {
            let mut trx = self.shared.begin("stage");
            let attempt = async {
                if trx.get(&note, ReadMode::Serializable).await?.is_none() {
                    return Err(Error::new(ErrorKind::Expunged, "the body was swept").into());
                }
                for (number, octets) in &self.chunks {
                    trx.set_bytes(keys.chunk(self.account, self.body, *number), octets.clone());
                }
                if let Some(index) = &self.index {
                    trx.set_bytes(keys.info(self.account, self.body), index.encode());
                    for (header, value) in indexed_headers(index) {
                        trx.set_bytes(keys.header(self.account, header, value, self.body), Bytes::new());
                    }
                }
                let touched_at = self.shared.now();
                let finished = self.index.is_some();
                let facts_matter = self.index.as_ref().is_some_and(facts_matter);
                let staged = Pending::Staged { touched_at, size: self.size, finished, facts_matter };
                trx.set_bytes(note.clone(), staged.encode().into());
                Ok(())
            };
            let failure = match attempt.await {
                Ok(()) => match trx.commit().await {
                    Ok(_) => return Ok(()),
                    Err(error) => error.into(),
                },
                Err(failure) => failure,
            };
            retry.again(failure).await?;
        }
    }
}
