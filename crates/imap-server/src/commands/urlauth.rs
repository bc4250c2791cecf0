//! `GENURLAUTH url mechanism …`, `RESETKEY [mailbox [mechanism …]]`, `URLFETCH url …`: URLs by which others read a message
//! or a part of it.
//!
//! A front end reads the URL; the store signs and verifies it, so that any front end will do. The only mechanism is
//! INTERNAL, whose tokens nobody but the store can make or check.
//!
//! Source: RFC 4467 §7, RFC 5524, RFC 5092 §6.1. Answers: GENURLAUTH OK, BAD for a URL that is none, or not of a mailbox
//! of one's own; RESETKEY OK `[URLMECH INTERNAL]`, NO `[NONEXISTENT]`, NO `[NOPERM]` for another user's mailbox,
//! NO `[URLMECH INTERNAL]` for another mechanism; URLFETCH OK, with `NIL` and an untagged NO for each URL that leads its
//! reader nowhere, whatever the reason.

use bytes::Bytes;
use imap_wire::command::{GenUrlAuth, ResetKey, UrlFetch, UrlFetchItem};
use imap_wire::url::{Access, AuthorizedUrl, MessageUrl};
use imap_wire::{Code, encode as wire, response};
use model::{CpmAddress, ErrorKind, MailboxName, Uid};
use store_api::{Reference, ReferenceAccess, SignedReference};

use super::fetch::What;
use super::fetch::octets::{Message, Opened, pass};
use crate::connection::Output;
use crate::encode;
use crate::others::lacking;
use crate::reply::Reply;
use crate::session::Session;

/// The mechanism whose tokens the store makes.
const INTERNAL: &str = "INTERNAL";

/// URLs that one command signs or fetches: each is a few reads of the store, one after the other.
const URLS_MAX: usize = 100;

fn is_internal(mechanism: &[u8]) -> bool {
    mechanism.eq_ignore_ascii_case(INTERNAL.as_bytes())
}

fn mechanisms() -> String {
    encode::code(&Code::UrlMech(&[INTERNAL]))
}

fn too_many() -> Reply {
    Reply::no_code("LIMIT", format!("a command takes at most {URLS_MAX} URLs"))
}

pub(crate) async fn generate(
    session: &mut Session,
    out: &mut Output,
    GenUrlAuth(pairs): GenUrlAuth,
) -> Result<Reply, Reply> {
    if pairs.len() > URLS_MAX {
        return Err(too_many());
    }
    let (ctx, account) = (session.ctx(), session.account()?);
    let mut urls = Vec::with_capacity(pairs.len());
    for (url, mechanism) in pairs {
        if !is_internal(&mechanism) {
            return Err(Reply::bad("the mechanism of a URL is INTERNAL"));
        }
        let rump = AuthorizedUrl::parse(url.as_bytes()).filter(|url| url.verifier.is_none());
        let rump =
            rump.ok_or_else(|| Reply::bad("a URL to sign names a message, its owner and who may read it"))?;
        let reference = reference(session, &rump);
        let reference = reference.ok_or_else(|| Reply::bad("a URL names another server, or no address"))?;
        let token = match session.store().sign_reference(&ctx, account, &reference).await {
            Ok(token) => token,
            // RFC 4467 §7 wants BAD; nobody learns whether another's mailbox exists.
            Err(error) if error.kind() == ErrorKind::NoSuchMailbox => {
                return Err(Reply::bad("a URL names no mailbox of yours"));
            }
            Err(error) => return Err(error.into()),
        };
        let mut signed = Vec::with_capacity(rump.rump.len() + 80);
        signed.extend_from_slice(&rump.rump);
        signed.extend_from_slice(format!(":{INTERNAL}:{token:x}").as_bytes());
        urls.push(signed);
    }
    response::gen_url_auth(out.text(), urls);
    Ok(Reply::ok("GENURLAUTH completed"))
}

pub(crate) async fn reset_key(session: &mut Session, reset: ResetKey) -> Result<Reply, Reply> {
    let mailbox = match &reset.mailbox {
        Some(name) => {
            let found = session.find_selectable(name).await?;
            // Whatever rights others have, the keys are the owner's.
            if found.owner.is_some() {
                return Err(lacking(found.entry.rights));
            }
            Some(found.id())
        }
        None => None,
    };
    if !reset.mechanisms.iter().all(|mechanism| is_internal(mechanism)) {
        return Err(Reply::no_code(mechanisms(), "there is no such mechanism"));
    }
    session.store().reset_reference_keys(&session.ctx(), session.account()?, mailbox).await?;
    Ok(Reply::ok_code(mechanisms(), "all URLs signed before are worth nothing now"))
}

pub(crate) async fn fetch(
    session: &mut Session,
    out: &mut Output,
    urls: Vec<UrlFetch>,
) -> Result<Reply, Reply> {
    if urls.len() > URLS_MAX {
        return Err(too_many());
    }
    for UrlFetch { url, items } in urls {
        let found = match signed(session, url.as_bytes()) {
            Some((message, signed)) => read(session, &message, &signed, &items).await?,
            None => None,
        };
        response::url_fetch(out.text(), url.as_bytes());
        let Some(values) = found else {
            out.push(b" NIL\r\n");
            out.untagged(format_args!("NO the URL leads to nothing that may be read here"));
            continue;
        };
        let extended = !items.is_empty();
        for (name, value) in values {
            out.push(if extended { b" (" } else { b" " });
            if extended {
                out.push(name.as_bytes());
                out.push(b" ");
            }
            write(out, value).await?;
            if extended {
                out.push(b")");
            }
        }
        out.push(b"\r\n");
        out.relieve().await?;
    }
    Ok(Reply::ok("URLFETCH completed"))
}

/// What is told of a part.
enum Value {
    /// There is nothing of that kind.
    Nil,
    /// In its form already.
    Structure(Bytes),
    /// Octets, and whether NUL may be among them.
    Octets(Opened, bool),
}

/// Writes a value; octets pass by in pieces.
async fn write(out: &mut Output, value: Value) -> Result<(), Reply> {
    match value {
        Value::Nil => out.push(b"NIL"),
        Value::Structure(structure) => out.push_bytes(structure),
        // RFC 4467 §8: a part that is not there is an empty string, since NIL says that the URL is not valid.
        Value::Octets(Opened::Nil, _) => out.push(b"\"\""),
        Value::Octets(Opened::Octets(octets), _) if octets.is_empty() => out.push(b"\"\""),
        Value::Octets(Opened::Octets(octets), literal8) => {
            wire::literal_header(out.text(), octets.len() as u64, literal8);
            out.push_bytes(octets);
        }
        Value::Octets(Opened::Pieces(len, pieces), literal8) => {
            wire::literal_header(out.text(), len, literal8);
            pass(out, len, pieces).await?;
        }
    }
    Ok(())
}

/// What is asked of the part that a reference leads to; none if it leads nowhere.
async fn read(
    session: &Session,
    url: &MessageUrl,
    signed: &SignedReference,
    items: &[UrlFetchItem],
) -> Result<Option<Vec<(&'static str, Value)>>, Reply> {
    let ctx = session.ctx();
    let referenced = match session.store().referenced(&ctx, signed).await {
        Ok(referenced) => referenced,
        Err(error) if error.kind() == ErrorKind::Expunged => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let index = referenced.index.clone();
    let mut message = Message::referenced(session.store(), &ctx, signed, referenced);
    let part: Vec<u32> = url.section.part.iter().map(|n| n.get()).collect();
    let what = What::of(url.section.text.as_ref());
    let mut values = Vec::with_capacity(items.len().max(1));
    for item in if items.is_empty() { &[UrlFetchItem::Body] } else { items } {
        let value = match item {
            UrlFetchItem::BodyPartStructure => {
                let structure = index.part_structure(&part).map(Value::Structure);
                Ok(("BODYPARTSTRUCTURE", structure.unwrap_or(Value::Nil)))
            }
            UrlFetchItem::Body => {
                let opened = message.open(&part, &what, url.partial).await;
                opened.map(|opened| ("BODY", Value::Octets(opened, false)))
            }
            UrlFetchItem::Binary => {
                let decoded = message.decode_section(&part, &what, url.partial).await;
                decoded.map(|decoded| match decoded {
                    Some(decoded) => ("BINARY", Value::Octets(decoded.octets, decoded.may_have_nul)),
                    None => ("BINARY", Value::Nil),
                })
            }
        };
        match value {
            Ok(value) => values.push(value),
            // Revoked or removed since it was looked at.
            Err(error) if error.kind() == ErrorKind::Expunged => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(values))
}

/// The octets that a URL with its token leads to; none if it leads nowhere.
///
/// # Errors
/// What the store answers.
pub(super) async fn open(session: &Session, url: &[u8]) -> Result<Option<Opened>, Reply> {
    let Some((message, signed)) = signed(session, url) else { return Ok(None) };
    let values = read(session, &message, &signed, &[]).await?;
    Ok(values.into_iter().flatten().find_map(|(_, value)| match value {
        Value::Octets(opened, _) => Some(opened),
        Value::Nil | Value::Structure(_) => None,
    }))
}

/// What a URL with its token says; none if it is none, or of another server or mechanism.
fn signed(session: &Session, url: &[u8]) -> Option<(MessageUrl, SignedReference)> {
    let mut url = AuthorizedUrl::parse(url)?;
    let verifier = url.verifier.take().filter(|verifier| is_internal(verifier.mechanism.as_bytes()))?;
    let reference = reference(session, &url)?;
    Some((url.message, SignedReference { reference, token: verifier.token }))
}

/// What a URL says, in the words of the store; none if it is of another server, or its names are none here.
fn reference(session: &Session, url: &AuthorizedUrl) -> Option<Reference> {
    let name_end = url.host.rfind(':').filter(|at| !url.host[*at..].contains(']'));
    let host = &url.host[..name_end.unwrap_or(url.host.len())];
    let ours = session.server.options.url_host.as_deref();
    if ours.is_some_and(|ours| !ours.eq_ignore_ascii_case(host)) {
        return None;
    }
    let address = |text: &str| CpmAddress::parse(text).ok();
    Some(Reference {
        owner: address(&url.user)?,
        mailbox: MailboxName::parse(url.message.mailbox.as_deref()?).ok()?,
        uid_validity: url.message.uid_validity.map(Into::into),
        uid: Uid::new(url.message.uid.get())?,
        expires: url.expires,
        access: match &url.access {
            Access::Anonymous => ReferenceAccess::Anonymous,
            Access::AuthUser => ReferenceAccess::AuthUser,
            Access::User(user) => ReferenceAccess::User(address(user)?),
            Access::Submit(user) => ReferenceAccess::Submit(address(user)?),
        },
        rump: url.rump.clone(),
    })
}
