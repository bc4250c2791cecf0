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
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, out: &mut Output, rename: Rename) -> Result<Reply, Reply> {
    let from = match session.mailbox_name(&rename.from) {
        Err(reply) if reply.code.as_deref() == Some("CANNOT") => {
            return Err(reply.with_code(ErrorKind::NoSuchMailbox.wire().0));
        }
        other => other?,
    };
    let to = session.mailbox_name(&rename.to)?;
    let account = session.account()?;
    session.store().rename_folder(&session.ctx(), account, &from, &to).await?;

    session.note_own(OwnChange::Made(to.clone()));
    let encoding = session.mailbox_encoding();
    if let Some(view) = &mut session.view
        && let Some(Ok(name)) = view.name.rebase(&from, &to).filter(|_| !from.is_inbox())
    {
        view.name = name;
    }
    if session.enabled.rev2 && !from.is_inbox() {
        let tree = session.folders().await?;
        if tree.find(&to).is_some() {
            let data = ListData {
                attributes: &list::attributes(&tree, &to, list::Show::default()),
                separator: Some(HIERARCHY_SEPARATOR),
                name: to.as_str(),
                old_name: Some(from.as_str()),
                child_info: &[],
            };
            response::list(out.text(), &data, encoding);
        }
    }
    Ok(Reply::ok("RENAME completed"))
}
