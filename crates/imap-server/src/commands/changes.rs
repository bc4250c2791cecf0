//! `XCPMCHANGES [token [RETURN (items)]]`: what changed in the whole active account since a token, in one round trip
//! (`XCPM-CHANGES`).
//!
//! ```abnf
//! mailbox-data   =/ "XCPMCHANGES" SP xcpm-change
//! xcpm-change    =  "GONE" SP "(" objectid *(SP objectid) ")"  ; mailboxes that are no more, by MAILBOXID
//!                /  "METADATA" SP mailbox                      ; as GETMETADATA names it, "" for the server
//!                /  "SUBSCRIPTIONS"                            ; the names subscribed to
//! resp-text-code =/ "XCPM-TOKEN" SP quoted / "XCPM-RESYNC"
//! ```
//!
//! Answers OK `[XCPM-TOKEN "…"]`, with the token to ask with next time; without a token that is all. Of each mailbox of which
//! messages, flags or annotations changed a STATUS is told, with MAILBOXID and the items asked for, or MESSAGES, UIDNEXT,
//! UIDVALIDITY, UNSEEN and HIGHESTMODSEQ. Before it comes a LIST where the mailbox is new, or its name, kind or rights
//! changed: a mailbox whose MAILBOXID the client knows was renamed. The LIST has the MAILBOXID too, since a \Noselect name has
//! no STATUS. `NIL` asks for all there is in this form. It is told as well, after an untagged OK `[XCPM-RESYNC]`, for a token
//! that says nothing any more: of another account, of one that was removed and made again, older than what is remembered, or
//! none at all. What is not told then is not there, and metadata and subscriptions are to be asked for.
//!
//! A token stays as long as the account does; any front end takes it. A change that was answered OK before the command is
//! told, or was before the token was made; one that comes meanwhile may be told twice. Not in it: other users' mailboxes,
//! quotas, and what \Recent is.

use imap_wire::command::{StatusItem, XcpmChanges};
use imap_wire::response::{self, ListData};
use model::HIERARCHY_SEPARATOR;
use store_api::{ChangedFolder, ChangesSince};

use crate::commands::status;
use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;
use crate::view::FolderRef;

/// What is told of a mailbox when nothing else is asked for; MAILBOXID is told always.
const ITEMS: [StatusItem; 5] = [
    StatusItem::Messages,
    StatusItem::UidNext,
    StatusItem::UidValidity,
    StatusItem::Unseen,
    StatusItem::HighestModSeq,
];
/// Mailboxes that are gone, in one response.
const GONE_PER_LINE: usize = 64;

pub(crate) async fn run(session: &mut Session, out: &mut Output, asked: XcpmChanges) -> Result<Reply, Reply> {
    let (since, items) = match asked {
        XcpmChanges::Now => (ChangesSince::Now, None),
        XcpmChanges::Since { token: None, items } => (ChangesSince::Beginning, items),
        XcpmChanges::Since { token: Some(token), items } => {
            // What is no token is answered as one of which nothing is known.
            let token = token.as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
            (ChangesSince::Token(token), items)
        }
    };
    let mut items = items.unwrap_or_else(|| ITEMS.to_vec());
    if !items.contains(&StatusItem::MailboxId) {
        items.push(StatusItem::MailboxId);
    }
    let account = session.account()?;
    let changes = session.store().changes(&session.ctx(), account, since).await?;
    if changes.whole && since != ChangesSince::Beginning {
        out.untagged(format_args!(
            "OK [XCPM-RESYNC] what changed since that token cannot be told; all there is follows"
        ));
    }
    let encoding = session.mailbox_encoding();
    for folder in &changes.folders {
        let entry = &folder.entry;
        if folder.named {
            let (attributes, id) = (attributes(folder), entry.id.to_string());
            let data = ListData {
                attributes: &attributes,
                separator: Some(HIERARCHY_SEPARATOR),
                name: entry.name.as_str(),
                mailbox_id: Some(&id),
                ..ListData::default()
            };
            response::list(out.text(), &data, encoding);
        }
        if let Some(state) = &folder.state {
            let mailbox = FolderRef { account, mailbox: entry.id };
            status::line(session, out, mailbox, entry.name.as_str(), state, &items).await?;
        }
        if folder.metadata && !changes.whole {
            response::changed_metadata(out.text(), entry.name.as_str(), encoding);
        }
        out.relieve().await?;
    }
    for some in changes.gone.chunks(GONE_PER_LINE) {
        response::changed_gone(out.text(), some.iter().map(ToString::to_string));
    }
    if changes.metadata && !changes.whole {
        response::changed_metadata(out.text(), "", encoding);
    }
    if changes.subscriptions && !changes.whole {
        response::changed_subscriptions(out.text());
    }
    Ok(Reply::ok_code(format!("XCPM-TOKEN \"{}\"", changes.token), "XCPMCHANGES completed"))
}

fn attributes(folder: &ChangedFolder) -> Vec<&'static str> {
    let special_use = folder.entry.special_use.map(model::SpecialUse::attribute);
    let noselect = folder.entry.noselect.then_some("\\Noselect");
    let subscribed = folder.subscribed.then_some("\\Subscribed");
    let children = if folder.has_children { "\\HasChildren" } else { "\\HasNoChildren" };
    noselect.into_iter().chain(special_use).chain(subscribed).chain([children]).collect()
}
