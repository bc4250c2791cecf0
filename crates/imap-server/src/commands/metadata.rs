//! `GETMETADATA mailbox (entries)`, `SETMETADATA mailbox (entry value …)`: named values beside messages.
//!
//! A mailbox has private entries, its owner's devices', and shared ones, which network functions write too; the empty
//! name is the server, of which an account has private entries of its own, while the shared ones are the operator's.
//! `/private/specialuse` shows what CREATE said the mailbox is for and is not set here (RFC 6154 §4).
//!
//! Source: RFC 5464 §4, RFC 9590 §3. Answers OK, with `[METADATA LONGENTRIES n]` where MAXSIZE left values out; NO
//! `[NONEXISTENT]`, `[CANNOT]`, `[NOPERM]`, `[METADATA MAXSIZE n]`, `[METADATA TOOMANY]`,
//! `[METADATA NOPRIVATE]` of another user's mailbox.

use std::collections::BTreeMap;

use bytes::Bytes;
use imap_wire::Code;
use imap_wire::command::{Depth, GetMetadata, MetadataOptions, SetMetadata};
use imap_wire::{MailboxArg, MailboxEncoding, response};
use model::limits::ENTRY_VALUE_BYTES_MAX;
use model::{AccountId, EntryName, EntryScope, ErrorKind, MailboxId, Rights};
use store_api::{FolderEntry, Metadata, MetadataChange};

use crate::config::Options;
use crate::connection::Output;
use crate::encode;
use crate::others::{Found, lacking};
use crate::reply::Reply;
use crate::session::Session;

/// The entry that shows a mailbox's special use.
const SPECIAL_USE: &str = "/private/specialuse";

pub(crate) async fn get(session: &mut Session, out: &mut Output, get: GetMetadata) -> Result<Reply, Reply> {
    let found = find(session, &get.mailbox).await?;
    if let Some(found) = &found
        && !may_read(found.entry.rights)
    {
        return Err(lacking(found.entry.rights));
    }
    let (account, mailbox) = of(session, found.as_ref())?;
    let mut metadata = read(session, account, &[mailbox]).await?.into_iter().next().unwrap_or_default();
    match &found {
        Some(found) => metadata.extend(special_use(&found.entry)),
        None => metadata.extend(of_server(&session.server.options)),
    }
    let name = found.map_or_else(String::new, |found| found.shown());
    let chosen = choose(&metadata, &get.entries, get.options);
    write(session, out, &name, &chosen.entries);
    Ok(match chosen.longest_left_out {
        Some(octets) => Reply::ok_code(
            encode::code(&Code::MetadataLongEntries(octets)),
            "GETMETADATA completed without the longest values",
        ),
        None => Reply::ok("GETMETADATA completed"),
    })
}

pub(crate) async fn set(session: &mut Session, set: SetMetadata) -> Result<Reply, Reply> {
    let found = find(session, &set.mailbox).await?;
    if let Some(found) = &found {
        found.check(Rights::LOOKUP | Rights::WRITE)?;
    }
    let (account, mailbox) = of(session, found.as_ref())?;
    let mut changes: BTreeMap<EntryName, Option<Bytes>> = BTreeMap::new();
    for (entry, value) in set.entries {
        if mailbox.is_none() && entry.scope() == EntryScope::Shared {
            return Err(Reply::no_code("NOPERM", "only the operator sets shared entries of the server"));
        }
        if !entry.is_settable() {
            return Err(Reply::no_code(
                "CANNOT",
                "an entry below /private or /shared has a value, not these",
            ));
        }
        if entry.scope() == EntryScope::Private && found.as_ref().is_some_and(|found| found.owner.is_some()) {
            let text = "private entries of a mailbox are its owner's; you may set shared ones";
            return Err(Reply::no_code("METADATA NOPRIVATE", text));
        }
        if entry.as_str() == SPECIAL_USE {
            return Err(Reply::no_code("CANNOT", "a mailbox gets its special use by CREATE"));
        }
        let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        if value.as_ref().is_some_and(|value| value.len() > ENTRY_VALUE_BYTES_MAX) {
            let code = encode::code(&Code::MetadataMaxSize(ENTRY_VALUE_BYTES_MAX as u64));
            return Err(Reply::no_code(code, "a metadata value is too large"));
        }
        changes.insert(entry, value);
    }
    let changes: Vec<MetadataChange> = changes.into_iter().collect();
    let done = session.store().set_metadata(&session.ctx(), account, mailbox, changes).await;
    match done {
        Ok(()) => Ok(Reply::ok("SETMETADATA completed")),
        Err(error) if error.kind() == ErrorKind::Limit => {
            Err(Reply::from(error).with_code("METADATA TOOMANY"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Appends what LIST tells of a mailbox's metadata: all entries that were asked for, NIL for those without a value
/// (RFC 9590 §3).
pub(crate) fn line(
    session: &Session,
    out: &mut Output,
    folder: &FolderEntry,
    name: &str,
    mut metadata: Metadata,
    entries: &[EntryName],
) {
    metadata.extend(special_use(folder));
    let chosen = choose(&metadata, entries, MetadataOptions::default());
    write(session, out, name, &chosen.entries);
}

/// The metadata of mailboxes, in order; empty for one that is gone.
pub(crate) async fn read(
    session: &Session,
    account: AccountId,
    mailboxes: &[Option<MailboxId>],
) -> Result<Vec<Metadata>, Reply> {
    Ok(session.store().metadata(&session.ctx(), account, mailboxes).await?)
}

/// The mailbox; none for the server.
async fn find(session: &Session, arg: &MailboxArg) -> Result<Option<Found>, Reply> {
    if arg.raw().is_empty() {
        return Ok(None);
    }
    session.find_selectable(arg).await.map(Some)
}

/// Whose entries they are, and of which mailbox.
fn of(session: &Session, found: Option<&Found>) -> Result<(AccountId, Option<MailboxId>), Reply> {
    Ok(match found {
        Some(found) => (found.account, Some(found.id())),
        None => (session.account()?, None),
    })
}

/// Whether these rights show a mailbox's entries (RFC 5464 §3.3).
pub(crate) fn may_read(rights: Rights) -> bool {
    let any = Rights::READ | Rights::SEEN | Rights::WRITE | Rights::INSERT | Rights::POST;
    rights.has(Rights::LOOKUP) && rights.has_any(any)
}

/// The entry that shows a folder's special use.
fn special_use(folder: &FolderEntry) -> Option<(EntryName, Bytes)> {
    let attribute = folder.special_use?.attribute();
    Some((EntryName::parse(SPECIAL_USE.as_bytes()).ok()?, Bytes::from_static(attribute.as_bytes())))
}

/// The shared entries of the server, which the operator sets.
fn of_server(options: &Options) -> impl Iterator<Item = (EntryName, Bytes)> {
    let values = [("/shared/comment", &options.comment), ("/shared/admin", &options.admin)];
    values.into_iter().filter_map(|(name, value)| {
        let name = EntryName::parse(name.as_bytes()).ok()?;
        Some((name, Bytes::copy_from_slice(value.as_ref()?.as_bytes())))
    })
}

/// What is told of a mailbox's entries.
#[derive(Debug, PartialEq, Eq)]
struct Chosen<'a> {
    /// Values, by name; none for an entry that was named and has none.
    entries: BTreeMap<&'a EntryName, Option<&'a [u8]>>,
    /// Octets of the largest value above MAXSIZE.
    longest_left_out: Option<u64>,
}

fn choose<'a>(metadata: &'a Metadata, wanted: &'a [EntryName], options: MetadataOptions) -> Chosen<'a> {
    let levels = match options.depth {
        Depth::Zero => 0,
        Depth::One => 1,
        Depth::Infinity => usize::MAX,
    };
    let mut entries: BTreeMap<&EntryName, Option<&[u8]>> = BTreeMap::new();
    if levels == 0 {
        entries.extend(wanted.iter().map(|name| (name, None)));
    }
    let mut longest_left_out = None;
    for (name, value) in metadata.iter() {
        let is_wanted = |above: &EntryName| name.levels_below(above).is_some_and(|below| below <= levels);
        if !wanted.iter().any(is_wanted) {
            continue;
        }
        if options.max_size.is_some_and(|most| value.len() as u64 > u64::from(most)) {
            entries.remove(name);
            longest_left_out = longest_left_out.max(Some(value.len() as u64));
        } else {
            entries.insert(name, Some(value));
        }
    }
    Chosen { entries, longest_left_out }
}

fn write(session: &Session, out: &mut Output, name: &str, entries: &BTreeMap<&EntryName, Option<&[u8]>>) {
    if entries.is_empty() {
        return;
    }
    let encoding = session.mailbox_encoding();
    let utf8 = encoding == MailboxEncoding::Utf8;
    let entries = entries.iter().map(|(name, value)| (*name, *value));
    response::metadata(out.text(), name, encoding, utf8, entries);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> EntryName {
        EntryName::parse(text.as_bytes()).expect("a name")
    }

    #[test]
    fn what_is_chosen() {
        let metadata: Metadata = [("/private/a", "1"), ("/private/a/b", "22"), ("/private/a/b/c", "333")]
            .map(|(entry, value)| (name(entry), Bytes::from_static(value.as_bytes())))
            .into_iter()
            .collect();
        let told = |wanted: &[&str], depth, max_size| {
            let wanted: Vec<_> = wanted.iter().map(|text| name(text)).collect();
            let chosen = choose(&metadata, &wanted, MetadataOptions { max_size, depth });
            let entries = chosen.entries.iter();
            let entries = entries.map(|(name, value)| {
                format!("{name}={}", value.map_or("NIL".into(), String::from_utf8_lossy))
            });
            let entries: Vec<_> = entries.collect();
            (entries.join(" "), chosen.longest_left_out)
        };
        assert_eq!(told(&["/private/a"], Depth::Zero, None).0, "/private/a=1");
        assert_eq!(told(&["/private/a", "/shared/x"], Depth::Zero, None).0, "/private/a=1 /shared/x=NIL");
        assert_eq!(told(&["/private/a"], Depth::One, None).0, "/private/a=1 /private/a/b=22");
        assert_eq!(told(&["/private/a/b"], Depth::Infinity, None).0, "/private/a/b=22 /private/a/b/c=333");
        assert_eq!(told(&["/private"], Depth::Infinity, Some(1)), ("/private/a=1".into(), Some(3)));
        assert_eq!(told(&["/private/a/b"], Depth::Zero, Some(1)), (String::new(), Some(2)));
        assert_eq!(told(&["/shared"], Depth::Infinity, None), (String::new(), None));
    }
}
