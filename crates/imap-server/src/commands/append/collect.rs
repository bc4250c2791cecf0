//! The messages of an APPEND or REPLACE as they come.

use bytes::BytesMut;
use imap_wire::Step;
use imap_wire::reader::{MessageLiteral, MessageStart};
use model::AccountId;
use model::limits::{APPEND_BYTES_MAX, BODY_INLINE_BYTES_MAX, MULTIAPPEND_MESSAGES_MAX};
use store_api::{AppendBody, AppendMessage, BodyWriter};

use super::super::annotation;
use super::super::fetch::octets::streaming;
use super::super::store_flags::parse_flags;
use super::catenate::Parts;
use crate::connection::{Input, Output};
use crate::reply::Reply;
use crate::session::Session;

/// Octets of messages that one command may hold; with the number of connections, this bounds a server's memory. What
/// comes after is staged, however small. Below what a request may carry (`store_api::AppendBody`).
const INLINE_BYTES_MAX: usize = 1024 * 1024;

/// Octets that room is made for when a message is announced; for more it grows with what comes.
const ROOM_AT_FIRST: u64 = 16 * 1024;

/// Where the octets of a message go.
enum Sink {
    /// They are held.
    Inline(BytesMut),
    /// They pass to the store.
    Staged(Box<dyn BodyWriter>),
    /// They become parts of a message that is put together at its end.
    Catenate(Parts),
}

/// Reads messages for a folder of `account` up to the end of the command.
///
/// # Errors
/// The answer that ends the command: what is left of it is to be skipped.
pub(crate) async fn collect(
    session: &Session,
    out: &mut Output,
    input: &mut Input,
    account: AccountId,
) -> Result<Vec<AppendMessage>, Reply> {
    let mut messages: Vec<AppendMessage> = Vec::new();
    let mut current: Option<(MessageStart, Option<Sink>)> = None;
    let (mut held, mut noted) = (0, 0);
    let mut annotations = Vec::new();
    loop {
        match input.step(out).await? {
            Step::MessageStart(mut start) => {
                if messages.len() >= MULTIAPPEND_MESSAGES_MAX {
                    return Err(Reply::no_code(
                        "LIMIT",
                        format!("one command appends at most {MULTIAPPEND_MESSAGES_MAX} messages"),
                    ));
                }
                parse_flags(&start.flags)?;
                let octets;
                (annotations, octets) = annotation::of_new(std::mem::take(&mut start.annotations))?;
                noted += octets;
                if noted > INLINE_BYTES_MAX {
                    let text = format!("one command brings at most {INLINE_BYTES_MAX} octets of annotations");
                    return Err(Reply::no_code("LIMIT", text));
                }
                let sink = start.catenate.then(|| Sink::Catenate(Parts::default()));
                current = Some((start, sink));
            }
            Step::Literal(literal) => {
                let Some((_, sink)) = &mut current else { return Err(lost_place()) };
                begin_literal(session, account, literal, sink, &mut held).await?;
                input.reader().accept();
                if literal.sync {
                    out.push(b"+ OK\r\n");
                }
            }
            Step::Octets(octets) => match &mut current {
                Some((_, Some(Sink::Inline(buffer)))) => buffer.extend_from_slice(&octets),
                Some((_, Some(Sink::Staged(writer)))) => writer.write(octets).await?,
                Some((_, Some(Sink::Catenate(parts)))) => parts.octets(&octets),
                _ => return Err(lost_place()),
            },
            Step::CatenateUrl(url) => match &mut current {
                Some((_, Some(Sink::Catenate(parts)))) => parts.url(session, url.as_bytes()).await?,
                _ => return Err(lost_place()),
            },
            Step::MessageEnd => {
                let Some((start, Some(sink))) = current.take() else { return Err(lost_place()) };
                let body = match sink {
                    Sink::Inline(buffer) => AppendBody::Inline(buffer.freeze()),
                    Sink::Staged(writer) => AppendBody::Staged(writer.finish().await?),
                    Sink::Catenate(parts) => parts.finish(session, account, &mut held).await?,
                };
                let (flags, keywords) = parse_flags(&start.flags)?;
                let internal_date = start.date.map(|date| (date.unix_seconds, date.zone_minutes));
                let annotations = std::mem::take(&mut annotations);
                messages.push(AppendMessage { flags, keywords, internal_date, annotations, body });
            }
            Step::AppendEnd => return Ok(messages),
            Step::Bad(error) => return Err(error.into()),
            Step::Fatal(error) => {
                out.untagged(format_args!("BYE [TOOBIG] {}", error.message));
                return Err(Reply::bad(error.message).then(crate::reply::After::Close));
            }
            _ => return Err(lost_place()),
        }
    }
}

/// Decides what becomes of a literal's octets before they come.
async fn begin_literal(
    session: &Session,
    account: AccountId,
    literal: MessageLiteral,
    sink: &mut Option<Sink>,
    held: &mut usize,
) -> Result<(), Reply> {
    if literal.utf8 && !(session.enabled.utf8 || session.enabled.rev2) {
        return Err(Reply::bad("UTF8 needs ENABLE UTF8=ACCEPT first"));
    }
    if let Some(Sink::Catenate(parts)) = sink {
        return parts.begin_text(literal.size);
    }
    if literal.size == 0 {
        // RFC 3502 §6.3.11: how a client cancels.
        return Err(Reply::no("APPEND cancelled by a message without octets"));
    }
    if literal.size > APPEND_BYTES_MAX {
        return Err(too_big());
    }
    *sink = Some(if fits_inline(literal.size, held) {
        // What is announced is not here yet: a client that sends nothing costs nothing.
        Sink::Inline(BytesMut::with_capacity(literal.size.min(ROOM_AT_FIRST) as usize))
    } else {
        let ctx = streaming(&session.ctx());
        Sink::Staged(session.store().stage_body(&ctx, account, literal.size).await?)
    });
    Ok(())
}

/// Whether a message of `size` octets travels with the request; if so, `held` grows by it.
pub(in super::super) fn fits_inline(size: u64, held: &mut usize) -> bool {
    let fits = size <= BODY_INLINE_BYTES_MAX as u64 && *held + size as usize <= INLINE_BYTES_MAX;
    if fits {
        *held += size as usize;
    }
    fits
}

pub(super) fn too_big() -> Reply {
    Reply::no_code("TOOBIG", format!("a message has at most {APPEND_BYTES_MAX} octets"))
}

/// The reader yields steps in an order in which this cannot happen.
fn lost_place() -> Reply {
    tracing::error!("a step of APPEND outside of its place");
    Reply::no_code("SERVERBUG", "the server lost its place in the command")
}
