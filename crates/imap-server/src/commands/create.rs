//! `CREATE mailbox [(USE (…))]`: a new mailbox, with the levels above it that are missing.
//!
//! Source: RFC 9051 §6.3.4, RFC 6154 §3 (USE), RFC 8474 §4.1 (MAILBOXID). Answers OK `[MAILBOXID (…)]`; NO
//! `[ALREADYEXISTS]`, `[CANNOT]`, `[USEATTR]`, `[LIMIT]`; BAD for a name that is not in the connection's encoding.

use bytes::Bytes;
use imap_wire::command::Create;
use model::SpecialUse;

use crate::notify::names::OwnChange;
use crate::reply::Reply;
use crate::session::Session;

pub(crate) async fn run(session: &mut Session, create: Create) -> Result<Reply, Reply> {
    let place = session.new_place(&create.mailbox).await?;
    let special_use = special_use(&create.special_use)?;
    if special_use.is_some() && place.owner.is_some() {
        return Err(Reply::no_code("USEATTR", "only its owner says what a mailbox is for"));
    }
    let id = session.store().create_folder(&session.ctx(), place.account, &place.name, special_use).await?;
    if let Some(name) = place.shown() {
        session.note_own(OwnChange::Made(name));
    }
    Ok(Reply::ok_code(format!("MAILBOXID ({id})"), "CREATE completed"))
}

/// The one use that a mailbox can be given.
fn special_use(asked: &[Bytes]) -> Result<Option<SpecialUse>, Reply> {
    let refuse = |text| Err(Reply::no_code("USEATTR", text));
    let mut found = None;
    for attribute in asked {
        let Some(asked) = std::str::from_utf8(attribute).ok().and_then(SpecialUse::parse) else {
            return refuse("this special use is not known");
        };
        if found.is_some_and(|other| other != asked) {
            return refuse("a mailbox has one special use");
        }
        found = Some(asked);
    }
    let creatable =
        |asked| SpecialUse::ALL.iter().any(|(known, _, _, creatable)| *known == asked && *creatable);
    if found.is_some_and(|asked| !creatable(asked)) {
        return refuse("this special use is a view of other mailboxes and cannot be created");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses() {
        let of = |asked: &[&'static str]| {
            special_use(&asked.iter().map(|text| Bytes::from_static(text.as_bytes())).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["\\sent", "\\Sent"]), Ok(Some(SpecialUse::Sent)));
        for bad in [&["\\All"][..], &["\\Sent", "\\Trash"], &["\\X"]] {
            assert_eq!(of(bad).err().and_then(|reply| reply.code), Some("USEATTR".into()), "{bad:?}");
        }
    }
}
