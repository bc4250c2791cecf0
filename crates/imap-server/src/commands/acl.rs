//! `SETACL`, `DELETEACL`, `GETACL`, `LISTRIGHTS`, `MYRIGHTS`: what others may do in a mailbox.
//!
//! Identifiers are CPM addresses and `anyone`, either behind `-` to take rights away. The owner has all rights, always,
//! and stands first in GETACL. An address is taken whether or not it has an account.
//!
//! Source: RFC 4314 §3 and §4. Answers OK; NO `[NONEXISTENT]`, `[NOPERM]` without `a`, `[CANNOT]` for the owner and for
//! what is no identifier, `[LIMIT]`; BAD for letters that are no rights.

use imap_wire::command::{MailboxIdentifier, SetAcl};
use imap_wire::{IString, MailboxArg, response};
use model::{AclAction, AclChange, CpmAddress, Identifier, Rights, Whom};

use crate::connection::Output;
use crate::others::{Found, missing};
use crate::reply::Reply;
use crate::session::Session;

/// Every right by itself: none depends on another.
const ALONE: [&str; 12] = ["l", "r", "s", "w", "i", "p", "k", "x", "t", "e", "a", "n"];

/// Any of these lets somebody ask for their rights (RFC 4314 §4). The store shows a folder to none but those.
pub(crate) async fn my_rights(
    session: &mut Session,
    out: &mut Output,
    mailbox: MailboxArg,
) -> Result<Reply, Reply> {
    let found = session.find(&mailbox).await?;
    response::my_rights(out.text(), &found.shown(), session.mailbox_encoding(), found.entry.rights);
    Ok(Reply::ok("MYRIGHTS completed"))
}

pub(crate) async fn set(session: &mut Session, set: SetAcl) -> Result<Reply, Reply> {
    change(session, &set.mailbox, &set.identifier, set.action, set.rights).await?;
    Ok(Reply::ok("SETACL completed"))
}

pub(crate) async fn delete(session: &mut Session, args: MailboxIdentifier) -> Result<Reply, Reply> {
    change(session, &args.mailbox, &args.identifier, AclAction::Set, Rights::NONE).await?;
    Ok(Reply::ok("DELETEACL completed"))
}

pub(crate) async fn get(
    session: &mut Session,
    out: &mut Output,
    mailbox: MailboxArg,
) -> Result<Reply, Reply> {
    let found = administered(session, &mailbox).await?;
    let owner = owner(session, &found)?.to_string();
    let others: Vec<_> =
        found.entry.acl.entries().iter().map(|entry| (entry.identifier.to_string(), entry.rights)).collect();
    let others = others.iter().map(|(identifier, rights)| (identifier.as_str(), *rights));
    let all = std::iter::once((owner.as_str(), Rights::ALL)).chain(others);
    response::acl(out.text(), &found.shown(), session.mailbox_encoding(), all);
    Ok(Reply::ok("GETACL completed"))
}

pub(crate) async fn list_rights(
    session: &mut Session,
    out: &mut Output,
    args: MailboxIdentifier,
) -> Result<Reply, Reply> {
    let found = administered(session, &args.mailbox).await?;
    let identifier = identifier(&args.identifier)?;
    let owner = owner(session, &found)?;
    // RFC 4314 §3.4: what is always granted comes first, then what can be.
    let is_owner = !identifier.negative && matches!(&identifier.whom, Whom::Address(a) if a == owner);
    let (required, optional) = if is_owner { (Rights::ALL, &[][..]) } else { (Rights::NONE, &ALONE[..]) };
    let (name, encoding) = (found.shown(), session.mailbox_encoding());
    response::list_rights(out.text(), &name, encoding, &identifier.to_string(), required, optional);
    Ok(Reply::ok("LISTRIGHTS completed"))
}

async fn change(
    session: &Session,
    mailbox: &MailboxArg,
    identifier_text: &IString,
    action: AclAction,
    rights: Rights,
) -> Result<(), Reply> {
    let found = administered(session, mailbox).await?;
    let change = AclChange { identifier: identifier(identifier_text)?, action, rights };
    let owner = owner(session, &found)?;
    Ok(session.store().set_acl(&session.ctx(), found.account, owner, found.id(), &change).await?)
}

/// The mailbox of a name, whose list the client may see and change.
async fn administered(session: &Session, mailbox: &MailboxArg) -> Result<Found, Reply> {
    let found = session.find(mailbox).await?;
    found.check(Rights::ADMINISTER)?;
    Ok(found)
}

fn owner<'a>(session: &'a Session, found: &'a Found) -> Result<&'a CpmAddress, Reply> {
    match &found.owner {
        Some(owner) => Ok(owner),
        None => session.address().ok_or_else(missing),
    }
}

fn identifier(text: &IString) -> Result<Identifier, Reply> {
    let parsed = std::str::from_utf8(text.as_bytes()).ok().and_then(|text| Identifier::parse(text).ok());
    parsed.ok_or_else(|| {
        Reply::no_code("CANNOT", "an identifier is a CPM address or anyone, or either of them behind -")
    })
}
