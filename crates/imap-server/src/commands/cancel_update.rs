//! `CANCELUPDATE "tag" …`: the results of these searches are no longer kept up to date.
//!
//! Source: RFC 5267 §4.3.5. Answers OK; NO for a tag of no search that is kept up to date (it may just have been given
//! up), and then nothing changes.

use imap_wire::Tag;

use crate::reply::Reply;
use crate::session::Session;

pub(crate) fn run(session: &mut Session, tags: &[Tag]) -> Result<Reply, Reply> {
    let contexts = &mut session.view_mut()?.contexts;
    if !tags.iter().all(|tag| contexts.iter().any(|context| context.tag == *tag)) {
        return Err(Reply::no("one of the tags is not of a search that is kept up to date"));
    }
    contexts.retain(|context| !tags.contains(&context.tag));
    Ok(Reply::ok("CANCELUPDATE completed"))
}
