//! `RENAME from to`: another name for a mailbox and all below it; UIDs stay valid. Of INBOX, only the messages move.
//!
//! Source: RFC 9051 §6.3.6 and §6.3.9.7 (OLDNAME). Answers OK; NO `[NONEXISTENT]`, `[ALREADYEXISTS]`, `[CANNOT]`,
//! `[LIMIT]`.

use imap_wire::command::Rename;
use imap_wire::response::{self, ListData};
use model::{ErrorKind, HIERARCHY_SEPARATOR};

use crate::commands::list;
use crate::connection::Output;
use crate::notify::names::OwnChange;
use crate::others::{missing, shown};
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, out: &mut Output, rename: Rename) -> Result<Reply, Reply> {
    let source = match session.place(&rename.from).await {
        Err(reply) if reply.code.as_deref() == Some("CANNOT") => {
            return Err(reply.with_code(ErrorKind::NoSuchMailbox.wire().0));
        }
        other => other?,
    };
    let target = session.new_place(&rename.to).await?;
    if source.account != target.account {
        // Of a folder that is not there, that is what is said.
        session.tree_of(&source).await?.find(&source.name).ok_or_else(missing)?;
        return Err(Reply::no_code("CANNOT", "a mailbox stays with its owner; copy its messages instead"));
    }
    let made = target.shown();
    let (account, from, to) = (source.account, source.name, target.name);
    session.store().rename_folder(&session.ctx(), account, &from, &to).await?;

    if let Some(name) = made {
        session.note_own(OwnChange::Made(name));
    }
    let encoding = session.mailbox_encoding();
    if let Some(view) = session.view.as_mut().filter(|view| view.account == account)
        && let Some(Ok(name)) = view.name.rebase(&from, &to).filter(|_| !from.is_inbox())
    {
        view.name = name;
    }
    if session.enabled.rev2 && !from.is_inbox() {
        let tree = session.store().folders(&session.ctx(), account).await?;
        if tree.find(&to).is_some() {
            let data = ListData {
                attributes: &list::attributes(&tree, &to, list::Show::default()),
                separator: Some(HIERARCHY_SEPARATOR),
                name: &shown(target.owner.as_ref(), &to),
                old_name: Some(&shown(source.owner.as_ref(), &from)),
                ..ListData::default()
            };
            response::list(out.text(), &data, encoding);
        }
    }
    Ok(Reply::ok("RENAME completed"))
}
