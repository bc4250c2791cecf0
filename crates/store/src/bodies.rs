//! Octets and facts of messages. Neither changes under its id, so none of this needs one view of the account.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cpm_mime::MessageIndex;
use futures::stream;
use kv::{RangeRequest, ReadMode, Transaction};
use model::limits::{BODY_CHUNK_BYTES, BODY_PIECE_BYTES};
use model::{AccountId, BodyId, Error, ErrorKind, varint};
use store_api::{BodyData, BodyPieces};

use crate::failure::{Failure, corrupt};
use crate::limits::{CACHED_BODY_BYTES_MAX, STREAM_READ_BYTES};
use crate::retry::reading;
use crate::shared::Shared;

fn gone() -> Failure {
    Error::new(ErrorKind::Expunged, "the message is gone").into()
}

/// The facts of messages; none for a body that is gone.
pub(crate) async fn infos(
    shared: &Shared,
    account: AccountId,
    bodies: &[BodyId],
) -> Result<Vec<Option<Arc<MessageIndex>>>, Failure> {
    let mut infos: Vec<Option<Arc<MessageIndex>>> =
        bodies.iter().map(|body| shared.caches.info(account, *body)).collect();
    let missing: Vec<usize> = (0..infos.len()).filter(|at| infos[*at].is_none()).collect();
    shared.telemetry.info_hits.increment((bodies.len() - missing.len()) as u64);
    if missing.is_empty() {
        return Ok(infos);
    }
    shared.telemetry.info_misses.increment(missing.len() as u64);
    let keys: Vec<Bytes> = missing.iter().map(|at| shared.keys.info(account, bodies[*at])).collect();
    let values = reading!(Ok(shared.begin("infos").get_many(&keys, ReadMode::Snapshot).await?));
    for ((at, key), value) in missing.into_iter().zip(&keys).zip(values) {
        let Some(value) = value else { continue };
        // A copy, since what an engine gives may be part of a larger buffer, and this is kept.
        let value = Bytes::copy_from_slice(&value);
        let info = Arc::new(MessageIndex::decode(value).map_err(|_| corrupt("info", key))?);
        shared.caches.put_info(account, bodies[at], info.clone());
        infos[at] = Some(info);
    }
    Ok(infos)
}

/// Whole bodies that are one chunk, read together; none for a longer one and for one that is gone. Not kept in the
/// cache, since who looks through a folder wants each once.
pub(crate) async fn small_bodies(
    shared: &Shared,
    account: AccountId,
    bodies: &[BodyId],
) -> Result<Vec<Option<Bytes>>, Failure> {
    let mut found: Vec<Option<Bytes>> =
        bodies.iter().map(|body| shared.caches.body(account, *body)).collect();
    let missing: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_none()).collect();
    shared.telemetry.body_hits.increment((bodies.len() - missing.len()) as u64);
    if missing.is_empty() {
        return Ok(found);
    }
    shared.telemetry.body_misses.increment(missing.len() as u64);
    let keys: Vec<Bytes> = missing.iter().map(|at| shared.keys.chunk(account, bodies[*at], 0)).collect();
    let values = reading!(Ok(shared.begin("bodies").get_many(&keys, ReadMode::Snapshot).await?));
    for ((at, key), value) in missing.into_iter().zip(&keys).zip(values) {
        let Some(value) = value else { continue };
        let (total, first) = open_first(key, value)?;
        found[at] = (total == first.len() as u64).then_some(first);
    }
    Ok(found)
}

/// Octets of a body, whole or `range` of it, cut at its end.
pub(crate) async fn body(
    shared: &Arc<Shared>,
    account: AccountId,
    body: BodyId,
    range: Option<Range<u64>>,
) -> Result<BodyData, Failure> {
    if let Some(octets) = shared.caches.body(account, body) {
        shared.telemetry.body_hits.increment(1);
        let range = cut(range, octets.len() as u64);
        return Ok(BodyData::Whole(octets.slice(range.start as usize..range.end as usize)));
    }
    shared.telemetry.body_misses.increment(1);
    let key = shared.keys.chunk(account, body, 0);
    let (first, trx) = reading!({
        let mut trx = shared.begin("body");
        let first = trx.get(&key, ReadMode::Snapshot).await?.ok_or_else(gone)?;
        Ok((first, trx))
    });
    let (total, first) = open_first(&key, first)?;
    let range = cut(range, total);
    let len = range.end - range.start;
    if range.end <= first.len() as u64 {
        if total == first.len() as u64 && first.len() <= CACHED_BODY_BYTES_MAX {
            shared.caches.put_body(account, body, &first);
        }
        return Ok(BodyData::Whole(first.slice(range.start as usize..range.end as usize)));
    }
    let mut reader = Reader {
        shared: shared.clone(),
        account,
        body,
        total,
        first: Some(first),
        at: range.start,
        end: range.end,
        trx: None,
    };
    if len <= BODY_PIECE_BYTES as u64 {
        // What follows at once is read in the same transaction, which spares asking for another read version.
        reader.trx = Some(trx);
        let mut octets = BytesMut::with_capacity(len as usize);
        while let Some(piece) = reader.next().await? {
            for part in piece {
                octets.extend_from_slice(&part);
            }
        }
        let octets = octets.freeze();
        if len == total {
            shared.caches.put_body(account, body, &octets);
        }
        return Ok(BodyData::Whole(octets));
    }
    let pieces = stream::try_unfold((reader, Vec::new()), |(mut reader, mut ready)| async move {
        loop {
            if let Some(piece) = ready.pop() {
                return Ok(Some((piece, (reader, ready))));
            }
            match reader.next().await? {
                None => return Ok::<_, Error>(None),
                Some(pieces) => ready = pieces.into_iter().rev().collect(),
            }
        }
    });
    let pieces: BodyPieces = Box::pin(pieces);
    Ok(BodyData::Pieces(len, pieces))
}

fn cut(range: Option<Range<u64>>, total: u64) -> Range<u64> {
    let range = range.unwrap_or(0..total);
    let end = range.end.min(total);
    range.start.min(end)..end
}

/// The octets of a whole body and those of its first chunk.
fn open_first(key: &[u8], value: Bytes) -> Result<(u64, Bytes), Failure> {
    let mut rest = &value[..];
    let total = varint::take(&mut rest).ok_or_else(|| corrupt("chunk", key))?;
    let octets = value.slice(value.len() - rest.len()..);
    if octets.len() as u64 != total.min(BODY_CHUNK_BYTES as u64) {
        return Err(corrupt("chunk", key));
    }
    Ok((total, octets))
}

/// Reads a range of a body, some chunks at a time, each time in a transaction of its own: a slow consumer holds none.
struct Reader {
    shared: Arc<Shared>,
    account: AccountId,
    body: BodyId,
    total: u64,
    first: Option<Bytes>,
    at: u64,
    end: u64,
    /// A transaction that read before, for the next read.
    trx: Option<Box<dyn Transaction>>,
}

impl Reader {
    /// The next chunks; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Failure> {
        const CHUNK: u64 = BODY_CHUNK_BYTES as u64;
        if self.at >= self.end {
            return Ok(None);
        }
        let first_number = self.at / CHUNK;
        if first_number == 0
            && let Some(first) = self.first.take()
        {
            let piece = first.slice(self.at as usize..self.end.min(CHUNK) as usize);
            self.at += piece.len() as u64;
            return Ok(Some(vec![piece]));
        }
        let last_number = ((self.end - 1) / CHUNK).min(first_number + STREAM_READ_BYTES as u64 / CHUNK - 1);
        let keys = &self.shared.keys;
        let begin = keys.chunk(self.account, self.body, first_number as u32);
        let end = keys.chunk(self.account, self.body, last_number as u32 + 1);
        let request = RangeRequest { bytes: STREAM_READ_BYTES * 2, ..RangeRequest::new(begin.clone(), end) };
        let page = reading!({
            let mut trx = self.trx.take().unwrap_or_else(|| self.shared.begin("body"));
            Ok(trx.get_range(&request, ReadMode::Snapshot).await?)
        });
        if page.pairs.is_empty() {
            return Err(gone());
        }
        let mut pieces = Vec::with_capacity(page.pairs.len());
        for pair in page.pairs {
            let number = self.at / CHUNK;
            if pair.key != keys.chunk(self.account, self.body, number as u32) {
                return Err(corrupt("chunk number", &pair.key));
            }
            let octets = if number == 0 { open_first(&pair.key, pair.value)?.1 } else { pair.value };
            if octets.len() as u64 != CHUNK.min(self.total - number * CHUNK) {
                return Err(corrupt("chunk", &pair.key));
            }
            let until = self.end.min((number + 1) * CHUNK);
            pieces.push(octets.slice((self.at - number * CHUNK) as usize..(until - number * CHUNK) as usize));
            self.at = until;
        }
        Ok(Some(pieces))
    }
}
