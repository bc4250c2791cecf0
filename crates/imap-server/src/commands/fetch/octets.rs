//! Octets of messages: where those of a section are, and how they are read without holding a large message.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cpm_mime::object::is_given_id;
use cpm_mime::transfer::Decoder;
use cpm_mime::{Encoding, MessageIndex, Section, header};
use futures::{StreamExt, stream};
use imap_wire::command::Partial;
use model::limits::STAGED_SECONDS_MAX;
use model::{BodyId, Error, ErrorKind, Result};
use store_api::{BodyData, BodyPieces, Ctx, Identities, MailStore, Referenced, SignedReference};

use super::ahead::Batch;
use super::plan::{ID_HEADER, What, cut};
use crate::connection::Output;
use crate::reply::Reply;
use crate::view::FolderRef;

/// A message up to this size is read whole, once, for all that a command asks of it; octets.
const WHOLE_BYTES_MAX: u64 = 64 * 1024;
/// The part of a header that `HEADER.FIELDS` looks at, octets. A header is that long only on purpose, and is found
/// whole by `HEADER`.
const FIELDS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// An encoded part up to this size is decoded at once; a larger one twice, first for its size; octets.
const DECODED_BYTES_MAX: u64 = 1024 * 1024;

/// Octets asked for.
pub(crate) enum Opened {
    /// There is no such part.
    Nil,
    /// At hand.
    Octets(Bytes),
    /// To come: how many, and the pieces.
    Pieces(u64, BodyPieces),
}

impl Opened {
    /// All octets at once; for what is known to be small.
    pub async fn collect(self) -> Result<Bytes> {
        match self {
            Self::Nil => Ok(Bytes::new()),
            Self::Octets(octets) => Ok(octets),
            Self::Pieces(len, mut pieces) => {
                let mut all = BytesMut::with_capacity(len as usize);
                while let Some(piece) = pieces.next().await {
                    all.extend_from_slice(&piece?);
                }
                Ok(all.freeze())
            }
        }
    }
}

/// Decoded octets, and whether NUL may be among them.
pub(crate) struct Decoded {
    pub octets: Opened,
    pub may_have_nul: bool,
}

/// By what right a message is read.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// It is in a folder at hand.
    Body(FolderRef, BodyId),
    /// A URL leads to it.
    Reference(&'a SignedReference),
}

/// A message whose octets are asked for.
pub(crate) struct Message<'a> {
    store: &'a dyn MailStore,
    ctx: &'a Ctx,
    origin: Origin<'a>,
    size: u64,
    index: Option<Arc<MessageIndex>>,
    /// Where its octets may have been asked for ahead.
    batch: Option<&'a Batch>,
    /// The devices that read and deleted it, where they are known.
    identities: Option<&'a Identities>,
    whole: Option<Bytes>,
}

/// Whether sections of a message of `size` octets are found without an index, but for those of parts.
pub(super) fn is_small(size: u64) -> bool {
    size <= WHOLE_BYTES_MAX
}

impl<'a> Message<'a> {
    /// A message, with its index where sections need one.
    pub fn new(
        store: &'a dyn MailStore,
        ctx: &'a Ctx,
        folder: FolderRef,
        (body, size): (BodyId, u64),
        index: Option<Arc<MessageIndex>>,
    ) -> Self {
        Self {
            store,
            ctx,
            origin: Origin::Body(folder, body),
            size,
            index,
            batch: None,
            identities: None,
            whole: None,
        }
    }

    /// The message that a reference led to.
    pub fn referenced(
        store: &'a dyn MailStore,
        ctx: &'a Ctx,
        signed: &'a SignedReference,
        Referenced { size, index }: Referenced,
    ) -> Self {
        Self {
            store,
            ctx,
            origin: Origin::Reference(signed),
            size,
            index: Some(index),
            batch: None,
            identities: None,
            whole: None,
        }
    }

    /// The same, of which octets may have been asked for ahead.
    pub fn with_batch(self, batch: Option<&'a Batch>) -> Self {
        Self { batch, ..self }
    }

    /// The same, with the devices that read and deleted it.
    pub fn with_identities(self, identities: Option<&'a Identities>) -> Self {
        Self { identities, ..self }
    }

    /// The header fields `names` of the message, and behind them the lines of those that stand beside it.
    async fn fields_beside(
        &mut self,
        names: &[&[u8]],
        (seen, deleted, id): (bool, bool, bool),
    ) -> Result<Bytes> {
        let stored = if names.is_empty() {
            Bytes::new()
        } else {
            match self.locate(&[], &What::Header).await? {
                Some(block) => {
                    let block = cut(block, Some(Partial { offset: 0, length: FIELDS_BYTES_MAX }));
                    self.read(block).await?.collect().await?
                }
                None => Bytes::new(),
            }
        };
        let mut fields = header::header_fields(&stored, names, false).to_vec();
        let end = fields.split_off(fields.len() - 2);
        let of = self.identities.cloned().unwrap_or_default();
        for (header, device) in [
            (Identities::SEEN_HEADER, of.seen.filter(|_| seen)),
            (Identities::DELETED_HEADER, of.deleted.filter(|_| deleted)),
        ] {
            if let Some(device) = device {
                fields.extend_from_slice(format!("{header}: {device}\r\n").as_bytes());
            }
        }
        if id
            && is_given_id(&stored)
            && let Some(index) = self.facts().await?
            && let Some(made) = index.made_imdn_message_id()
        {
            fields.extend_from_slice(&[ID_HEADER.as_bytes(), b": ", made, b"\r\n"].concat());
        }
        fields.extend_from_slice(&end);
        Ok(fields.into())
    }

    /// The message's index, where it is still there.
    async fn facts(&self) -> Result<Option<Arc<MessageIndex>>> {
        if self.index.is_some() {
            return Ok(self.index.clone());
        }
        // What a reference leads to has it.
        let Origin::Body(folder, body) = self.origin else { return Ok(None) };
        let found = self.store.infos(self.ctx, folder.account, folder.mailbox, &[body]).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// The octets that `part`, `what` and `partial` name.
    ///
    /// # Errors
    /// `Expunged` when the message is gone, and what the store answers.
    pub async fn open(&mut self, part: &[u32], what: &What<'_>, partial: Option<Partial>) -> Result<Opened> {
        if let What::Fields { not, names } = what {
            let Some(block) = self.locate(part, &What::Header).await? else { return Ok(Opened::Nil) };
            let block = cut(block, Some(Partial { offset: 0, length: FIELDS_BYTES_MAX }));
            let block = self.read(block).await?.collect().await?;
            let fields = header::header_fields(&block, names, *not);
            let shown = cut(0..fields.len() as u64, partial);
            return Ok(Opened::Octets(fields.slice(shown.start as usize..shown.end as usize)));
        }
        if let What::FieldsBeside { names, seen, deleted, id } = what {
            let fields = self.fields_beside(names, (*seen, *deleted, *id)).await?;
            let shown = cut(0..fields.len() as u64, partial);
            return Ok(Opened::Octets(fields.slice(shown.start as usize..shown.end as usize)));
        }
        match self.locate(part, what).await? {
            None => Ok(Opened::Nil),
            Some(range) => self.read(cut(range, partial)).await,
        }
    }

    /// The decoded octets of a part; none for an encoding that is not known.
    ///
    /// # Errors
    /// As [`Message::open`].
    pub async fn decode(&mut self, part: &[u32], partial: Option<Partial>) -> Result<Option<Decoded>> {
        let Some((range, encoding)) = self.encoded(part) else {
            return Ok(Some(Decoded { octets: Opened::Nil, may_have_nul: false }));
        };
        let has_nul = |octets: &[u8]| memchr::memchr(0, octets).is_some();
        if encoding == Encoding::Identity {
            let octets = self.read(cut(range, partial)).await?;
            let may_have_nul = match &octets {
                Opened::Octets(octets) => has_nul(octets),
                Opened::Nil | Opened::Pieces(..) => true,
            };
            return Ok(Some(Decoded { octets, may_have_nul }));
        }
        let Ok(decoder) = Decoder::new(encoding) else { return Ok(None) };
        if range.end - range.start <= DECODED_BYTES_MAX {
            let encoded = self.read(range).await?.collect().await?;
            let mut decoded = Vec::with_capacity(encoded.len());
            let mut decoder = decoder;
            decoder.push(&encoded, &mut decoded);
            decoder.finish(&mut decoded);
            let shown = cut(0..decoded.len() as u64, partial);
            let octets = Bytes::from(decoded).slice(shown.start as usize..shown.end as usize);
            let may_have_nul = has_nul(&octets);
            return Ok(Some(Decoded { octets: Opened::Octets(octets), may_have_nul }));
        }
        let size = self.decoded_size_of(range.clone(), decoder.clone()).await?;
        let shown = cut(0..size, partial);
        let pieces = decoded_pieces(self.pieces(range).await?, decoder, shown.clone());
        Ok(Some(Decoded { octets: Opened::Pieces(shown.end - shown.start, pieces), may_have_nul: true }))
    }

    /// As [`Message::decode`], of any section. Headers are in no encoding; the text of a message that is one part is in
    /// that of the part.
    ///
    /// # Errors
    /// As [`Message::open`].
    pub async fn decode_section(
        &mut self,
        part: &[u32],
        what: &What<'_>,
        partial: Option<Partial>,
    ) -> Result<Option<Decoded>> {
        let only = [part, &[1]].concat();
        match what {
            What::Whole => return self.decode(part, partial).await,
            What::Text if self.is_text(part, &only) => return self.decode(&only, partial).await,
            What::Header | What::Fields { .. } | What::FieldsBeside { .. } | What::Mime | What::Text => {}
        }
        let octets = self.open(part, what, partial).await?;
        Ok(Some(Decoded { octets, may_have_nul: true }))
    }

    /// Whether the body of the part `only` is all of the text of `message`.
    fn is_text(&self, message: &[u32], only: &[u32]) -> bool {
        let Some(index) = &self.index else { return false };
        let text = index.section(message, Section::Text);
        text.is_some() && index.part(only).map(|part| part.body) == text
    }

    /// The size of a part once decoded, 0 where there is none; none for an encoding that is not known.
    ///
    /// # Errors
    /// As [`Message::open`].
    pub async fn decoded_size(&mut self, part: &[u32]) -> Result<Option<u64>> {
        let Some((range, encoding)) = self.encoded(part) else { return Ok(Some(0)) };
        if encoding == Encoding::Identity {
            return Ok(Some(range.end - range.start));
        }
        let Ok(decoder) = Decoder::new(encoding) else { return Ok(None) };
        self.decoded_size_of(range, decoder).await.map(Some)
    }

    async fn decoded_size_of(&mut self, range: Range<u64>, mut decoder: Decoder) -> Result<u64> {
        let (mut pieces, mut decoded, mut size) = (self.pieces(range).await?, Vec::new(), 0);
        while let Some(piece) = pieces.next().await {
            decoder.push(&piece?, &mut decoded);
            size += decoded.len() as u64;
            decoded.clear();
        }
        decoder.finish(&mut decoded);
        Ok(size + decoded.len() as u64)
    }

    /// Where a part's encoded octets are. The whole message is not encoded (RFC 3516 §4.2: an empty section).
    fn encoded(&self, part: &[u32]) -> Option<(Range<u64>, Encoding)> {
        if part.is_empty() {
            return Some((0..self.size, Encoding::Identity));
        }
        let part = self.index.as_ref()?.part(part)?;
        Some((part.body, part.encoding))
    }

    async fn locate(&mut self, part: &[u32], what: &What<'_>) -> Result<Option<Range<u64>>> {
        let section = match what {
            What::Whole if part.is_empty() => return Ok(Some(0..self.size)),
            What::Whole => Section::Body,
            What::Header | What::Fields { .. } | What::FieldsBeside { .. } => Section::Header,
            What::Text => Section::Text,
            What::Mime => Section::Mime,
        };
        if let Some(index) = &self.index {
            return Ok(index.section(part, section));
        }
        if !part.is_empty() || section == Section::Mime {
            return Ok(None);
        }
        let body_start = header::body_start(&self.whole().await?) as u64;
        Ok(Some(if section == Section::Header { 0..body_start } else { body_start..self.size }))
    }

    /// The message as a whole; only for small ones.
    async fn whole(&mut self) -> Result<Bytes> {
        if let Some(whole) = &self.whole {
            return Ok(whole.clone());
        }
        // What was asked for ahead may have failed for being asked too long ago.
        let ahead = match (self.origin, self.batch) {
            (Origin::Body(_, body), Some(batch)) => batch.body(body),
            _ => None,
        };
        let ahead = match ahead {
            Some(body) => body.await.ok(),
            None => None,
        };
        let whole = match ahead {
            Some(whole) => whole,
            None => opened(self.ask(self.ctx, None).await?).collect().await?,
        };
        self.whole = Some(whole.clone());
        Ok(whole)
    }

    async fn ask(&self, ctx: &Ctx, range: Option<Range<u64>>) -> Result<BodyData> {
        match self.origin {
            Origin::Body(folder, body) => {
                self.store.body(ctx, folder.account, folder.mailbox, body, range).await
            }
            Origin::Reference(signed) => self.store.referenced_body(ctx, signed, range).await,
        }
    }

    async fn read(&mut self, range: Range<u64>) -> Result<Opened> {
        if range.is_empty() {
            return Ok(Opened::Octets(Bytes::new()));
        }
        if is_small(self.size) {
            let whole = self.whole().await?;
            let octets =
                whole.get(range.start as usize..range.end as usize).map(|part| whole.slice_ref(part));
            return octets.map(Opened::Octets).ok_or_else(|| self.mismatch());
        }
        let asked = range.end - range.start;
        let range = (asked < self.size).then_some(range);
        let data = self.ask(&streaming(self.ctx), range).await?;
        // A literal's size is told before its octets.
        if data.len() == asked { Ok(opened(data)) } else { Err(self.mismatch()) }
    }

    async fn pieces(&mut self, range: Range<u64>) -> Result<BodyPieces> {
        Ok(match self.read(range).await? {
            Opened::Nil => stream::empty().boxed(),
            Opened::Octets(octets) => stream::once(std::future::ready(Ok(octets))).boxed(),
            Opened::Pieces(_, pieces) => pieces,
        })
    }

    fn mismatch(&self) -> Error {
        let body = match self.origin {
            Origin::Body(_, body) => body.to_string(),
            // Not the URL: who has it may read.
            Origin::Reference(_) => "behind a reference".to_owned(),
        };
        Error::new(ErrorKind::Corrupt, "the message is shorter than it should be")
            .with_detail(format_args!("body {body} of {} octets", self.size))
    }
}

/// What accompanies a call whose octets pass at the client's pace: that one is bounded by how long the client may
/// stall, this by how long a body may be on its way.
pub(crate) fn streaming(ctx: &Ctx) -> Ctx {
    Ctx { deadline: Some(Instant::now() + Duration::from_secs(STAGED_SECONDS_MAX)), ..ctx.clone() }
}

/// Passes `len` octets on to the client, to whom that many were announced.
///
/// # Errors
/// The reply with which a handler ends when the client is lost, or what was announced cannot be sent.
pub(crate) async fn pass(
    out: &mut Output,
    len: u64,
    mut pieces: BodyPieces,
) -> std::result::Result<(), Reply> {
    let mut left = len;
    while left > 0 {
        let piece: Bytes = match pieces.next().await {
            Some(Ok(piece)) if piece.len() as u64 <= left => piece,
            // What was announced cannot be sent: nothing that follows would be understood.
            Some(Ok(_)) | None => {
                tracing::error!(left, "a message has not the size it was announced with");
                return Err(Reply::lost());
            }
            Some(Err(error)) => {
                tracing::warn!(%error, left, "a message could not be read to its end");
                return Err(Reply::lost());
            }
        };
        left -= piece.len() as u64;
        out.push_bytes(piece);
        out.relieve().await?;
    }
    Ok(())
}

pub(crate) fn opened(data: BodyData) -> Opened {
    match data {
        BodyData::Whole(octets) => Opened::Octets(octets),
        BodyData::Pieces(len, pieces) => Opened::Pieces(len, pieces),
    }
}

/// What of `encoded`, once decoded, is in the range `shown`.
fn decoded_pieces(encoded: BodyPieces, decoder: Decoder, shown: Range<u64>) -> BodyPieces {
    struct State {
        encoded: BodyPieces,
        decoder: Option<Decoder>,
        at: u64,
        shown: Range<u64>,
    }
    let state = State { encoded, decoder: Some(decoder), at: 0, shown };
    stream::try_unfold(state, |mut state| async move {
        while state.at < state.shown.end {
            let Some(mut decoder) = state.decoder.take() else { return Ok(None) };
            let mut decoded = Vec::new();
            match state.encoded.next().await {
                Some(piece) => {
                    decoder.push(&piece?, &mut decoded);
                    state.decoder = Some(decoder);
                }
                None => decoder.finish(&mut decoded),
            }
            let (start, end) = (state.at, state.at + decoded.len() as u64);
            state.at = end;
            let (from, to) = (state.shown.start.max(start), state.shown.end.min(end));
            if from < to {
                let octets = Bytes::from(decoded).slice((from - start) as usize..(to - start) as usize);
                return Ok(Some((octets, state)));
            }
        }
        Ok(None)
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn decoding_in_pieces_is_decoding_at_once() {
        let encoded = Bytes::from_static(b"SGVsbG8sIHdvcmxkIQ0KSGVsbG8gYWdhaW4=\r\n");
        let plain = b"Hello, world!\r\nHello again";
        for size in [1, 3, 7, 100] {
            for shown in [0..26, 0..5, 3..20, 25..26, 26..26] {
                let pieces: Vec<_> = encoded.chunks(size).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
                let decoder = Decoder::new(Encoding::Base64).expect("known");
                let decoded = decoded_pieces(stream::iter(pieces).boxed(), decoder, shown.clone());
                let got = Opened::Pieces(26, decoded).collect().await.expect("no failure");
                assert_eq!(got, plain[shown.start as usize..shown.end as usize], "{size} {shown:?}");
            }
        }
    }
}
