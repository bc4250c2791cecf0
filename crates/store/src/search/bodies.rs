//! Texts in the octets of one message, as they stream.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use cpm_mime::MessageIndex;
use cpm_mime::search::{LeafSearch, Needle, block_contains, body_contains, text_contains};
use futures::TryStreamExt;
use model::{AccountId, BodyId, ErrorKind};
use store_api::BodyData;

use super::plan::Text;
use crate::bodies::body;
use crate::failure::{Failure, deadline};
use crate::shared::Shared;

/// Messages up to this size are held while they are looked through, octets; larger ones stream.
const HELD_MAX: u64 = 256 * 1024;
/// Octets of a header block that are looked through; what follows matches nothing.
const BLOCK_MAX: u64 = 1024 * 1024;

/// The octets of one message.
pub(super) struct Octets {
    shared: Arc<Shared>,
    account: AccountId,
    body: BodyId,
    deadline: Option<Instant>,
    whole: Option<Bytes>,
}

impl Octets {
    /// `whole`: the message, where it was read before.
    pub(super) fn new(
        shared: Arc<Shared>,
        account: AccountId,
        body: BodyId,
        deadline: Option<Instant>,
        whole: Option<Bytes>,
    ) -> Self {
        Self { shared, account, body, deadline, whole }
    }

    /// The message's header block; none when the message is gone.
    pub(super) async fn header(&mut self, info: &MessageIndex) -> Result<Option<Bytes>, Failure> {
        self.block(0..info.header_len()).await
    }

    /// Whether a text is in the message; none when the message is gone.
    pub(super) async fn find(&mut self, info: &MessageIndex, text: &Text) -> Result<Option<bool>, Failure> {
        tokio::task::yield_now().await;
        if info.size() <= HELD_MAX {
            if self.whole.is_none() {
                self.whole = self.block(0..info.size()).await?;
            }
            let Some(whole) = &self.whole else { return Ok(None) };
            return Ok(Some(if text.headers {
                text_contains(whole, info, &text.needle)
            } else {
                body_contains(whole, info, &text.needle)
            }));
        }
        if text.needle.is_empty() {
            return Ok(Some(true));
        }
        for part in info.parts() {
            if text.headers {
                let Some(block) = self.block(part.header.clone()).await? else { return Ok(None) };
                if block_contains(&block, &text.needle) {
                    return Ok(Some(true));
                }
            }
            match self.find_in_leaf(&part, &text.needle).await? {
                Some(false) => {}
                decided => return Ok(decided),
            }
        }
        Ok(Some(false))
    }

    async fn find_in_leaf(
        &self,
        part: &cpm_mime::Part<'_>,
        needle: &Needle,
    ) -> Result<Option<bool>, Failure> {
        let Some(mut leaf) = LeafSearch::new(part, needle) else { return Ok(Some(false)) };
        match self.read(part.body.clone()).await? {
            None => return Ok(None),
            Some(BodyData::Whole(octets)) => {
                if leaf.push(&octets) {
                    return Ok(Some(true));
                }
            }
            Some(BodyData::Pieces(_, mut pieces)) => loop {
                let piece = match pieces.try_next().await {
                    Ok(Some(piece)) => piece,
                    Ok(None) => break,
                    Err(error) if error.kind() == ErrorKind::Expunged => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
                if leaf.push(&piece) {
                    return Ok(Some(true));
                }
                if self.deadline.is_some_and(|at| Instant::now() >= at) {
                    return Err(deadline().into());
                }
                tokio::task::yield_now().await;
            },
        }
        Ok(Some(leaf.finish()))
    }

    /// A range, in one piece and cut to its bound; none when the message is gone.
    async fn block(&self, range: Range<u64>) -> Result<Option<Bytes>, Failure> {
        let range = range.start..range.end.min(range.start + BLOCK_MAX);
        match self.read(range).await? {
            None => Ok(None),
            Some(BodyData::Whole(octets)) => Ok(Some(octets)),
            Some(BodyData::Pieces(len, mut pieces)) => {
                let mut block = BytesMut::with_capacity(len as usize);
                loop {
                    match pieces.try_next().await {
                        Ok(Some(piece)) => block.extend_from_slice(&piece),
                        Ok(None) => return Ok(Some(block.freeze())),
                        Err(error) if error.kind() == ErrorKind::Expunged => return Ok(None),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    async fn read(&self, range: Range<u64>) -> Result<Option<BodyData>, Failure> {
        if let Some(whole) = &self.whole {
            let len = whole.len() as u64;
            let (start, end) = (range.start.min(len) as usize, range.end.min(len) as usize);
            return Ok(Some(BodyData::Whole(whole.slice(start..end.max(start)))));
        }
        match body(&self.shared, self.account, self.body, Some(range)).await {
            Ok(data) => Ok(Some(data)),
            Err(Failure::Request(error)) if error.kind() == ErrorKind::Expunged => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

const _: () = assert!(HELD_MAX <= BLOCK_MAX);
