//! `NOTIFY`.
//!
//! ```abnf
//! notify           = "NOTIFY" SP ("SET" [SP "STATUS"] SP event-group *(SP event-group) / "NONE")
//! event-group      = "(" filter-mailboxes SP events ")"
//! filter-mailboxes = "selected" / "selected-delayed" / "inboxes" / "personal" / "subscribed" /
//!                    ("subtree" / "subtree-one" / "mailboxes") SP (mailbox / "(" mailbox *(SP mailbox) ")")
//! events           = "(" event *(SP event) ")" / "NONE"
//! event            = "MessageNew" [SP "(" fetch-att *(SP fetch-att) ")"] / "MessageExpunge" / "FlagChange" /
//!                    "AnnotationChange" / "MailboxName" / "SubscriptionChange" / "MailboxMetadataChange" /
//!                    "ServerMetadataChange" / atom
//! ```
//!
//! MessageNew and MessageExpunge come together, FlagChange and AnnotationChange only with both; one group at most is of
//! the selected mailbox, and it has events of messages only; only it takes items to fetch.
//!
//! Source: RFC 5465 §8, RFC 7377 §4 (subtree-one).

use bytes::Bytes;

use crate::command::Command;
use crate::commands::fetch::{self, FetchItem};
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, ParseErrorKind, once};
use crate::mailbox::MailboxArg;

/// Arguments of `NOTIFY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notify {
    /// `NONE`: nothing is to be told.
    None,
    /// `SET`: this is to be told, in place of what was before.
    Set {
        /// `STATUS`: how the mailboxes are now, at once.
        status: bool,
        /// What is to be told, at least one.
        groups: Vec<EventGroup>,
    },
}

/// Events of some mailboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventGroup {
    /// Which mailboxes.
    pub filter: MailboxFilter,
    /// Which events; empty for `NONE`.
    pub events: Vec<Event>,
}

/// Which mailboxes an [`EventGroup`] is about, or an `ESEARCH` searches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailboxFilter {
    /// `selected`: the selected one, whatever it is when something happens.
    Selected,
    /// `selected-delayed`: the same, with removals told when a command allows it.
    SelectedDelayed,
    /// `inboxes`: those that messages are delivered to.
    Inboxes,
    /// `personal`: the user's own.
    Personal,
    /// `subscribed`
    Subscribed,
    /// `subtree`: these and all below them.
    Subtree(Vec<MailboxArg>),
    /// `subtree-one`: these and those one level below them.
    SubtreeOne(Vec<MailboxArg>),
    /// `mailboxes`: these.
    Mailboxes(Vec<MailboxArg>),
}

/// An event to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `MessageNew`, with what to fetch of each new message of the selected mailbox.
    MessageNew(Vec<FetchItem>),
    /// `MessageExpunge`
    MessageExpunge,
    /// `FlagChange`
    FlagChange,
    /// `AnnotationChange`
    AnnotationChange,
    /// `MailboxName`: created, deleted, renamed.
    MailboxName,
    /// `SubscriptionChange`
    SubscriptionChange,
    /// `MailboxMetadataChange`
    MailboxMetadataChange,
    /// `ServerMetadataChange`
    ServerMetadataChange,
    /// One that is not known.
    Other(Bytes),
}

impl Event {
    /// Whether it is of messages, as the selected mailbox has them.
    fn is_of_messages(&self) -> bool {
        matches!(
            self,
            // What is not known is refused later, with the list of those that are.
            Self::MessageNew(_)
                | Self::MessageExpunge
                | Self::FlagChange
                | Self::AnnotationChange
                | Self::Other(_)
        )
    }
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("SET or NONE")?;
    if c.eat_word(b"NONE") {
        return Ok(Command::Notify(Notify::None));
    }
    if !c.eat_word(b"SET") {
        return Err(Fail::syntax("NOTIFY takes SET or NONE"));
    }
    c.space("events in parentheses")?;
    let status = c.eat_word(b"STATUS");
    if status {
        c.space("events in parentheses")?;
    }
    let mut groups = Vec::with_capacity(2);
    let mut of_selected = false;
    loop {
        if groups.len() >= c.limits.list_items_max {
            return Err(Fail::new(ParseErrorKind::TooMany, "NOTIFY has more groups of events than allowed"));
        }
        let group = group(c)?;
        if matches!(group.filter, MailboxFilter::Selected | MailboxFilter::SelectedDelayed) {
            once(std::mem::replace(&mut of_selected, true))?;
        }
        groups.push(group);
        if !c.eat(b' ') {
            return Ok(Command::Notify(Notify::Set { status, groups }));
        }
    }
}

fn group(c: &mut Cursor<'_>) -> Parse<EventGroup> {
    c.expect(b'(', "expected mailboxes and events in parentheses")?;
    let filter = filter(c)?;
    c.space("events in parentheses, or NONE")?;
    let selected = matches!(filter, MailboxFilter::Selected | MailboxFilter::SelectedDelayed);
    let mut events = Vec::new();
    if !c.eat_word(b"NONE") {
        c.list1("events", |c| {
            let event = event(c, selected)?;
            let kind = std::mem::discriminant(&event);
            once(events.iter().any(|other| std::mem::discriminant(other) == kind && *other == event))?;
            events.push(event);
            Ok(())
        })?;
    }
    check(&events, selected)?;
    c.expect(b')', "expected a closing parenthesis after the events")?;
    Ok(EventGroup { filter, events })
}

/// Which events go together (RFC 5465 §5, §6.1).
fn check(events: &[Event], selected: bool) -> Parse<()> {
    let new = events.iter().filter(|event| matches!(event, Event::MessageNew(_))).count();
    let expunge = events.contains(&Event::MessageExpunge);
    once(new > 1)?;
    if expunge != (new == 1) {
        return Err(Fail::syntax("MessageNew and MessageExpunge can be asked for together only"));
    }
    let changes = events.iter().any(|event| matches!(event, Event::FlagChange | Event::AnnotationChange));
    if changes && !expunge {
        return Err(Fail::syntax(
            "FlagChange and AnnotationChange need MessageNew and MessageExpunge beside them",
        ));
    }
    if selected && !events.iter().all(Event::is_of_messages) {
        return Err(Fail::syntax("of the selected mailbox only events of messages can be asked for"));
    }
    Ok(())
}

/// `filter-mailboxes`.
pub(crate) fn filter(c: &mut Cursor<'_>) -> Parse<MailboxFilter> {
    let name = c.word("which mailboxes")?.to_ascii_uppercase();
    Ok(match name.as_slice() {
        b"SELECTED" => MailboxFilter::Selected,
        b"SELECTED-DELAYED" => MailboxFilter::SelectedDelayed,
        b"INBOXES" => MailboxFilter::Inboxes,
        b"PERSONAL" => MailboxFilter::Personal,
        b"SUBSCRIBED" => MailboxFilter::Subscribed,
        b"SUBTREE" => MailboxFilter::Subtree(mailboxes(c)?),
        b"SUBTREE-ONE" => MailboxFilter::SubtreeOne(mailboxes(c)?),
        b"MAILBOXES" => MailboxFilter::Mailboxes(mailboxes(c)?),
        _ => {
            return Err(Fail::syntax(
                "the mailboxes are selected, selected-delayed, inboxes, personal, subscribed, subtree, subtree-one \
                 or mailboxes",
            ));
        }
    })
}

fn mailboxes(c: &mut Cursor<'_>) -> Parse<Vec<MailboxArg>> {
    c.space("a mailbox name")?;
    if c.peek() != Some(b'(') {
        return Ok(vec![c.mailbox()?]);
    }
    let mut names = Vec::new();
    c.list1("mailbox names", |c| {
        names.push(c.mailbox()?);
        Ok(())
    })?;
    Ok(names)
}

fn event(c: &mut Cursor<'_>, selected: bool) -> Parse<Event> {
    let name = c.atom("an event")?;
    Ok(match name.to_ascii_uppercase().as_slice() {
        b"MESSAGENEW" => Event::MessageNew(items(c, selected)?),
        b"MESSAGEEXPUNGE" => Event::MessageExpunge,
        b"FLAGCHANGE" => Event::FlagChange,
        b"ANNOTATIONCHANGE" => Event::AnnotationChange,
        b"MAILBOXNAME" => Event::MailboxName,
        b"SUBSCRIPTIONCHANGE" => Event::SubscriptionChange,
        b"MAILBOXMETADATACHANGE" => Event::MailboxMetadataChange,
        b"SERVERMETADATACHANGE" => Event::ServerMetadataChange,
        _ => Event::Other(name),
    })
}

/// `[SP "(" fetch-att *(SP fetch-att) ")"]`.
fn items(c: &mut Cursor<'_>, selected: bool) -> Parse<Vec<FetchItem>> {
    let mut items = Vec::new();
    if c.eat_text(b" (") {
        c.rewind(c.position() - 1);
        if !selected {
            return Err(Fail::syntax("what to fetch can be said of the selected mailbox only"));
        }
        fetch::item_list(c, &mut items)?;
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    fn group(filter: MailboxFilter, events: Vec<Event>) -> EventGroup {
        EventGroup { filter, events }
    }

    fn set(status: bool, groups: Vec<EventGroup>) -> Command {
        Command::Notify(Notify::Set { status, groups })
    }

    #[test]
    fn table() {
        let new = || Event::MessageNew(Vec::new());
        check("NOTIFY NONE", Command::Notify(Notify::None));
        check("notify set status (personal none)", set(true, vec![group(MailboxFilter::Personal, vec![])]));
        check("NOTIFY SET (selected (MessageNew (UID FLAGS) MessageExpunge))", {
            let items = vec![FetchItem::Uid, FetchItem::Flags];
            set(
                false,
                vec![group(MailboxFilter::Selected, vec![Event::MessageNew(items), Event::MessageExpunge])],
            )
        });
        check(
            "NOTIFY SET (selected-delayed (messagenew messageexpunge flagchange)) (inboxes (MailboxName))",
            {
                let events = vec![new(), Event::MessageExpunge, Event::FlagChange];
                set(
                    false,
                    vec![
                        group(MailboxFilter::SelectedDelayed, events),
                        group(MailboxFilter::Inboxes, vec![Event::MailboxName]),
                    ],
                )
            },
        );
        check("NOTIFY SET (subtree (a \"b c\") (SubscriptionChange MailboxMetadataChange))", {
            let events = vec![Event::SubscriptionChange, Event::MailboxMetadataChange];
            set(false, vec![group(MailboxFilter::Subtree(vec!["a".into(), "b c".into()]), events)])
        });
        check("NOTIFY SET (subtree-one a (MailboxName))", {
            set(false, vec![group(MailboxFilter::SubtreeOne(vec!["a".into()]), vec![Event::MailboxName])])
        });
        check("NOTIFY SET (mailboxes {1}\r\nx (ServerMetadataChange)) (subscribed (X-Any))", {
            set(
                false,
                vec![
                    group(MailboxFilter::Mailboxes(vec!["x".into()]), vec![Event::ServerMetadataChange]),
                    group(MailboxFilter::Subscribed, vec![Event::Other("X-Any".into())]),
                ],
            )
        });
        check("NOTIFY SET (mailboxes (x) (MessageNew MessageExpunge AnnotationChange))", {
            let events = vec![new(), Event::MessageExpunge, Event::AnnotationChange];
            set(false, vec![group(MailboxFilter::Mailboxes(vec!["x".into()]), events)])
        });
    }

    #[test]
    fn refused() {
        refuse("NOTIFY", "SET or NONE");
        refuse("NOTIFY ALL", "SET or NONE");
        refuse("NOTIFY NONE x", "more arguments");
        refuse("NOTIFY SET", "events in parentheses");
        refuse("NOTIFY SET STATUS", "events in parentheses");
        refuse("NOTIFY SET personal NONE", "in parentheses");
        refuse("NOTIFY SET (personal)", "or NONE");
        refuse("NOTIFY SET (personal ())", "at least one");
        refuse("NOTIFY SET (personal MessageNew)", "in parentheses");
        refuse("NOTIFY SET (shared NONE)", "the mailboxes are");
        refuse("NOTIFY SET (mailboxes NONE)", "or NONE");
        refuse("NOTIFY SET (mailboxes () NONE)", "at least one");
        refuse("NOTIFY SET (personal (MessageNew))", "together");
        refuse("NOTIFY SET (personal (MessageExpunge))", "together");
        refuse("NOTIFY SET (personal (FlagChange))", "beside them");
        refuse("NOTIFY SET (personal (AnnotationChange MailboxName))", "beside them");
        refuse("NOTIFY SET (personal (MessageNew MessageNew MessageExpunge))", "once");
        refuse("NOTIFY SET (selected (MailboxName))", "of the selected mailbox");
        refuse("NOTIFY SET (selected NONE) (selected-delayed NONE)", "once");
        refuse("NOTIFY SET (personal (MessageNew (UID) MessageExpunge))", "selected mailbox only");
        refuse("NOTIFY SET (selected (MessageNew () MessageExpunge))", "at least one");
        refuse("NOTIFY SET (selected (MessageNew (FOO) MessageExpunge))", "not known");
        refuse("NOTIFY SET (personal NONE", "closing parenthesis");
        refuse("NOTIFY SET (personal NONE)  (personal NONE)", "in parentheses");
        refuse(&format!("NOTIFY SET{}", " (personal NONE)".repeat(1_025)), "more groups");
    }
}
