//! `LIST`, basic and extended, and `LSUB`.
//!
//! Source: RFC 9051 §6.3.9, RFC 8440 (MYRIGHTS), RFC 5258 (extended), RFC 5819 (STATUS), RFC 9590 (METADATA), RFC 6154 (SPECIAL-USE), RFC 3348
//! (CHILDREN), RFC 3501 §6.3.9 (LSUB). Answers OK; BAD for names that are not in the connection's encoding; NO `[LIMIT]`
//! for patterns that take too long.
//!
//! Other users' mailboxes are listed where a pattern begins with their prefix, `Other/`; what is subscribed of them, with
//! what else is.
//!
//! Children and special uses are told in every LIST, which RFC 5258 §3 and RFC 6154 §2 allow: clients ask for them anyway.

mod pattern;
mod shared;

use std::collections::{BTreeMap, HashMap};

use imap_wire::MailboxArg;
use imap_wire::command::{List, ListReturn, ListSelection, Lsub};
use imap_wire::response::{self, ListData};
use model::limits::METADATA_PER_REQUEST_MAX;
use model::{AccountId, ErrorKind, FolderState, HIERARCHY_SEPARATOR, MailboxId, MailboxName, Rights};
use store_api::{FolderEntry, FolderTree, Metadata};

use crate::commands::{metadata, status};
use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;
use crate::view::FolderRef;
use pattern::{Pattern, Scratch};
use shared::Listing;

/// Mailboxes whose counters are asked of the store at once.
const STATUS_PAGE: usize = 256;

/// Steps of matching that one command may take, less than a second of work. An account full of long names, listed by the
/// patterns of a client that means well, takes a hundredth. Beyond, NO `[LIMIT]`.
const STEPS_MAX: usize = 200_000_000;
/// Steps of matching after which other sessions have their turn, about half a millisecond.
const STEPS_AT_ONCE: usize = 200_000;

/// What is told of a mailbox beyond what always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Show {
    /// `\Subscribed`.
    pub subscribed: bool,
    /// `\NonExistent`, of extended LIST.
    pub non_existent: bool,
}

/// A line of a listing: a name, and what a descendant that is not matched itself was selected by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Line {
    /// It fits the selection itself.
    selected: bool,
    /// A mailbox below it fits.
    child_subscribed: bool,
    child_special_use: bool,
}

pub(crate) async fn run(session: &mut Session, out: &mut Output, list: List) -> Result<Reply, Reply> {
    let done = Ok(Reply::ok("LIST completed"));
    let reference = decode(session, &list.reference)?;
    if !list.is_extended() && list.patterns.iter().all(|pattern| pattern.raw().is_empty()) {
        // RFC 9051 §6.3.9: an empty pattern asks for the delimiter and the root.
        out.untagged(format_args!(r#"LIST (\Noselect) "/" """#));
        return done;
    }
    let patterns = list
        .patterns
        .iter()
        .map(|pattern| Ok(Pattern::new(&reference, &decode(session, pattern)?)))
        .collect::<Result<Vec<_>, Reply>>()?;
    let own = session.folders().await?;
    let selection = list.selection.unwrap_or_default();
    let returns = list.returns.clone().unwrap_or_default();
    let all = shared::with_others(session, own, &patterns, selection).await?;
    let lines = select(&all.tree, &patterns, selection).await?;
    let show =
        Show { subscribed: selection.subscribed || returns.subscribed, non_existent: list.is_extended() };
    write(session, out, &all, &lines, show, &returns).await?;
    done
}

pub(crate) async fn lsub(session: &mut Session, out: &mut Output, lsub: Lsub) -> Result<Reply, Reply> {
    let done = Ok(Reply::ok("LSUB completed"));
    if lsub.pattern.raw().is_empty() {
        out.untagged(format_args!(r#"LSUB (\Noselect) "/" """#));
        return done;
    }
    let (reference, text) = (decode(session, &lsub.reference)?, decode(session, &lsub.pattern)?);
    let pattern = Pattern::new(&reference, &text);
    let tree = session.folders().await?;
    // RFC 3501 §6.3.9: with %, a name above a subscribed one that does not match is told, as \Noselect.
    let selection =
        ListSelection { subscribed: true, recursive_match: text.contains('%'), ..ListSelection::default() };
    let encoding = session.mailbox_encoding();
    for (name, line) in select(&tree, &[pattern], selection).await? {
        let data = ListData {
            attributes: if line.selected { &[] } else { &["\\Noselect"] },
            separator: Some(HIERARCHY_SEPARATOR),
            name: name.as_str(),
            ..ListData::default()
        };
        response::lsub(out.text(), &data, encoding);
        out.relieve().await?;
    }
    done
}

fn decode(session: &Session, arg: &MailboxArg) -> Result<String, Reply> {
    arg.decode(session.mailbox_encoding()).map_err(|error| Reply::bad(error.to_string()))
}

/// Patterns at work.
struct Matching<'a> {
    patterns: &'a [Pattern],
    scratch: Scratch,
    /// Steps taken, and when others last had their turn.
    steps: usize,
    paused_at: usize,
}

impl Matching<'_> {
    /// Whether a name fits one of the patterns.
    ///
    /// # Errors
    /// NO `[LIMIT]` when the command takes too long.
    async fn fits(&mut self, name: &MailboxName) -> Result<bool, Reply> {
        for pattern in self.patterns {
            self.steps = self.steps.saturating_add(pattern.steps(name));
            if self.steps > STEPS_MAX {
                return Err(Reply::no_code("LIMIT", "these patterns take too long; use fewer wildcards"));
            }
            if self.steps - self.paused_at > STEPS_AT_ONCE {
                self.paused_at = self.steps;
                tokio::task::yield_now().await;
            }
            if pattern.matches(name, &mut self.scratch) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The lines of a listing, by name.
async fn select(
    tree: &FolderTree,
    patterns: &[Pattern],
    selection: ListSelection,
) -> Result<BTreeMap<MailboxName, Line>, Reply> {
    let mut matching = Matching { patterns, scratch: Scratch::default(), steps: 0, paused_at: 0 };
    let special = |name: &MailboxName| tree.find(name).is_some_and(|entry| entry.special_use.is_some());
    let candidates: Vec<&MailboxName> = if selection.subscribed {
        tree.subscribed().iter().collect()
    } else {
        tree.folders().iter().map(|entry| &entry.name).collect()
    };
    let mut lines: BTreeMap<MailboxName, Line> = BTreeMap::new();
    for name in candidates {
        if selection.special_use && !special(name) {
            continue;
        }
        if matching.fits(name).await? {
            lines.entry(name.clone()).or_default().selected = true;
        }
        if !selection.recursive_match {
            continue;
        }
        for ancestor in name.ancestors() {
            if matching.fits(&ancestor).await? {
                let line = lines.entry(ancestor).or_default();
                line.child_subscribed |= selection.subscribed;
                line.child_special_use |= selection.special_use;
            }
        }
    }
    Ok(lines)
}

async fn write(
    session: &mut Session,
    out: &mut Output,
    all: &Listing,
    lines: &BTreeMap<MailboxName, Line>,
    show: Show,
    returns: &ListReturn,
) -> Result<(), Reply> {
    let lines: Vec<_> = lines.iter().collect();
    for page in lines.chunks(STATUS_PAGE) {
        // RFC 5819 §2: a STATUS for each that can be selected, behind its LIST; without the right to read it, none.
        let states = match &returns.status {
            Some(_) => states(session, all, page).await?,
            None => HashMap::new(),
        };
        let mut metadata = match &returns.metadata {
            Some(_) => entries(session, all, page).await?,
            None => HashMap::new(),
        };
        for (name, line) in page {
            write_line(session, out, &all.tree, name, line, show);
            let folder = all.folder(name);
            if let Some((_, entry)) = folder
                && returns.my_rights
            {
                // RFC 8440 §3.
                let encoding = session.mailbox_encoding();
                response::my_rights(out.text(), name.as_str(), encoding, entry.rights);
            }
            if let (Some(items), Some((folder, _))) = (&returns.status, folder)
                // None when it was deleted since.
                && let Some(state) = states.get(&folder)
            {
                status::line(session, out, folder, name.as_str(), state, items).await?;
            }
            if let (Some(entries), Some((folder, entry))) = (&returns.metadata, folder)
                && metadata::may_read(entry.rights)
            {
                let found = metadata.remove(&folder).unwrap_or_default();
                metadata::line(session, out, entry, name.as_str(), found, entries);
            }
            out.relieve().await?;
        }
    }
    Ok(())
}

/// The folders of a page that `which` chooses, by account.
fn by_account(
    all: &Listing,
    page: &[(&MailboxName, &Line)],
    which: impl Fn(&FolderEntry) -> bool,
) -> BTreeMap<AccountId, Vec<MailboxId>> {
    let mut ids: BTreeMap<AccountId, Vec<MailboxId>> = BTreeMap::new();
    for (folder, entry) in page.iter().filter_map(|(name, _)| all.folder(name)) {
        if which(entry) {
            ids.entry(folder.account).or_default().push(folder.mailbox);
        }
    }
    ids
}

async fn states(
    session: &Session,
    all: &Listing,
    page: &[(&MailboxName, &Line)],
) -> Result<HashMap<FolderRef, FolderState>, Reply> {
    let mut found = HashMap::new();
    for (account, ids) in by_account(all, page, |entry| !entry.noselect && entry.rights.has(Rights::READ)) {
        let states = match session.store().status(&session.ctx(), account, &ids).await {
            // Another user shows nothing any more.
            Err(error) if error.kind() == ErrorKind::NoSuchMailbox => continue,
            states => states?,
        };
        let refs = ids.into_iter().map(|mailbox| FolderRef { account, mailbox });
        found.extend(refs.zip(states).filter_map(|(folder, state)| Some((folder, state?))));
    }
    Ok(found)
}

async fn entries(
    session: &Session,
    all: &Listing,
    page: &[(&MailboxName, &Line)],
) -> Result<HashMap<FolderRef, Metadata>, Reply> {
    let mut found = HashMap::new();
    for (account, ids) in by_account(all, page, |entry| metadata::may_read(entry.rights)) {
        for ids in ids.chunks(METADATA_PER_REQUEST_MAX) {
            let wanted: Vec<_> = ids.iter().copied().map(Some).collect();
            let entries = match metadata::read(session, account, &wanted).await {
                Err(reply) if reply.code.as_deref() == Some("NONEXISTENT") => break,
                entries => entries?,
            };
            let refs = ids.iter().map(|mailbox| FolderRef { account, mailbox: *mailbox });
            found.extend(refs.zip(entries));
        }
    }
    Ok(found)
}

fn write_line(
    session: &Session,
    out: &mut Output,
    tree: &FolderTree,
    name: &MailboxName,
    line: &Line,
    show: Show,
) {
    let mut child_info = Vec::new();
    if line.child_subscribed {
        child_info.push("SUBSCRIBED");
    }
    if line.child_special_use {
        child_info.push("SPECIAL-USE");
    }
    let data = ListData {
        attributes: &attributes(tree, name, show),
        separator: Some(HIERARCHY_SEPARATOR),
        name: name.as_str(),
        child_info: &child_info,
        ..ListData::default()
    };
    response::list(out.text(), &data, session.mailbox_encoding());
}

/// A mailbox's attributes.
pub(crate) fn attributes(tree: &FolderTree, name: &MailboxName, show: Show) -> Vec<&'static str> {
    let mut list: Vec<&'static str> = Vec::new();
    match tree.find(name) {
        // RFC 9051 §7.3.1: \NonExistent implies \Noselect; the basic LIST knows only the latter.
        None if show.non_existent => list.push("\\NonExistent"),
        None => list.push("\\Noselect"),
        Some(entry) => {
            if entry.noselect {
                list.push("\\Noselect");
            }
            if let Some(special_use) = entry.special_use {
                list.push(special_use.attribute());
            }
        }
    }
    if show.subscribed && tree.subscribed().contains(name) {
        list.push("\\Subscribed");
    }
    list.push(if tree.has_children(name) { "\\HasChildren" } else { "\\HasNoChildren" });
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::SpecialUse;

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).expect("a name")
    }

    /// INBOX, a (\Noselect), a/b, a/b/c (\Sent), d; subscribed: INBOX, a/b/c, gone/x.
    fn tree() -> FolderTree {
        let entry = |n: u64, text: &str| {
            let special_use = (text == "a/b/c").then_some(SpecialUse::Sent);
            FolderEntry { noselect: text == "a", ..FolderEntry::own(MailboxId(n), name(text), special_use) }
        };
        let folders = ["INBOX", "a", "a/b", "a/b/c", "d"];
        let folders = folders.iter().enumerate().map(|(i, text)| entry(i as u64, text)).collect();
        FolderTree::new(1, folders, ["INBOX", "a/b/c", "gone/x"].map(name).into())
    }

    async fn listed(patterns: &[&str], selection: ListSelection) -> Vec<String> {
        let patterns: Vec<_> = patterns.iter().map(|pattern| Pattern::new("", pattern)).collect();
        select(&tree(), &patterns, selection)
            .await
            .expect("few steps")
            .into_iter()
            .map(|(name, line)| {
                let mark = match (line.selected, line.child_subscribed || line.child_special_use) {
                    (true, true) => "+",
                    (false, true) => "^",
                    _ => "",
                };
                format!("{name}{mark}")
            })
            .collect()
    }

    #[tokio::test]
    async fn selections() {
        let all = ListSelection::default();
        let subscribed = ListSelection { subscribed: true, ..all };
        let recursive = ListSelection { recursive_match: true, ..subscribed };
        let special = ListSelection { special_use: true, ..all };
        let special_recursive = ListSelection { recursive_match: true, ..special };
        assert_eq!(listed(&["%"], all).await, ["INBOX", "a", "d"]);
        assert_eq!(listed(&["*", "%"], all).await, ["INBOX", "a", "a/b", "a/b/c", "d"]);
        assert_eq!(listed(&["inbox", "a/%"], all).await, ["INBOX", "a/b"]);
        assert_eq!(listed(&["*"], subscribed).await, ["INBOX", "a/b/c", "gone/x"]);
        assert_eq!(listed(&["%"], subscribed).await, ["INBOX"]);
        assert_eq!(listed(&["%"], recursive).await, ["INBOX", "a^", "gone^"]);
        assert_eq!(listed(&["*"], recursive).await, ["INBOX", "a^", "a/b^", "a/b/c", "gone^", "gone/x"]);
        assert_eq!(listed(&["*"], special).await, ["a/b/c"]);
        assert_eq!(listed(&["%"], special_recursive).await, ["a^"]);
        assert_eq!(listed(&["*"], ListSelection { special_use: true, ..subscribed }).await, ["a/b/c"]);
    }

    #[tokio::test]
    async fn patterns_that_take_too_long_are_refused() {
        let folders =
            (0..1000).map(|n| FolderEntry::own(MailboxId(n), name(&format!("{}{n}", "a".repeat(900))), None));
        let tree = FolderTree::new(1, folders.collect(), [].into());
        let run = async |pattern: String| {
            select(&tree, &[Pattern::new("", &pattern)], ListSelection::default()).await
        };
        assert_eq!(run("*a*1".into()).await.expect("fast enough").len(), 100);
        // More characters than any name has: nothing to look at.
        assert_eq!(run("*a".repeat(30_000)).await.expect("at once").len(), 0);
        let refused = run(format!("{}b", "*a".repeat(400))).await.expect_err("takes too long");
        assert_eq!(refused.code.as_deref(), Some("LIMIT"));
    }

    #[test]
    fn what_is_told() {
        let told = |text: &str, show| attributes(&tree(), &name(text), show).join(" ");
        let (basic, extended) = (Show::default(), Show { subscribed: true, non_existent: true });
        assert_eq!(told("a", basic), "\\Noselect \\HasChildren");
        assert_eq!(told("a/b/c", basic), "\\Sent \\HasNoChildren");
        assert_eq!(told("a/b/c", extended), "\\Sent \\Subscribed \\HasNoChildren");
        assert_eq!(told("gone/x", extended), "\\NonExistent \\Subscribed \\HasNoChildren");
        assert_eq!(told("d", extended), "\\HasNoChildren");
    }
}
