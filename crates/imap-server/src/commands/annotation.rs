//! Annotations of messages: what FETCH, STORE, APPEND and SORT have in common of them, and STORE itself.
//!
//! `STORE set [(UNCHANGEDSINCE n)] ANNOTATION (entry (attribute value …) …)`, `UID STORE`.
//!
//! Source: RFC 5257. Private values are kept everywhere, so that no mailbox is NOPRIVATE; they belong to the active account.
//! Answers of STORE: as of STORE of flags; NO `[ANNOTATE TOOBIG]`, `[ANNOTATE TOOMANY]`, `[OVERQUOTA]`, `[NOPERM]` without the
//! right that it takes, `[CANNOT]` for an entry that is not registered or set by the server alone, and for a flag of a part that
//! is neither 1 nor 0; BAD for a part that a message does not have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use imap_wire::command::{AnnotationAttribute, AnnotationValue, FetchAnnotation, Store};
use imap_wire::{Code, IString, response};
use model::limits::{ANNOTATION_VALUE_BYTES_MAX, ANNOTATIONS_BYTES_MAX, ANNOTATIONS_PER_MESSAGE_MAX};
use model::{
    AccountId, AnnotationName, AnnotationPattern, EntryScope, ErrorKind, FolderSnapshot, ModSeq, Uid, UidSet,
};
use store_api::{
    Annotation, AnnotationChange, AnnotationQuery, Annotations, Ctx, MailStore, StoreAnnotations,
};

use super::store_flags;
use crate::connection::Output;
use crate::encode;
use crate::progress::patiently;
use crate::reply::Reply;
use crate::session::Session;
use crate::view::FolderRef;

/// STORE of annotations.
pub(super) async fn store(
    session: &mut Session,
    out: &mut Output,
    ctx: Ctx,
    store: Store,
    values: Vec<AnnotationValue>,
) -> Result<Reply, Reply> {
    let changes = changes(values)?;
    let view = session.view()?;
    let (account, mailbox, uids) = (view.account, view.mailbox, view.resolve(&store.set, store.uid)?);
    if store.unchanged_since.is_some() {
        session.enable_condstore(out);
    }
    if uids.is_empty() {
        return Ok(Reply::ok("STORE completed, there are no such messages"));
    }
    let before = store_flags::Before::of(session, uids).await?;
    let request = StoreAnnotations {
        mailbox,
        uids: before.uids.clone(),
        changes,
        unchanged_since: store.unchanged_since.map(ModSeq),
    };
    let done = session.store().store_annotations(&ctx, account, request);
    let outcome = patiently(session, out, done).await?.map_err(|error| match error.kind() {
        ErrorKind::Limit => Reply::from(error).with_code("ANNOTATE TOOMANY"),
        _ => refusal(error),
    })?;
    store_flags::finish(session, out, &store, before, outcome).await
}

/// The store's error as an answer to what brings annotations.
pub(super) fn refusal(error: model::Error) -> Reply {
    match error.kind() {
        // RFC 5257 §3.2.1.
        ErrorKind::NoSuchPart => Reply::bad(error.text().to_owned()),
        _ => error.into(),
    }
}

/// A client's values as changes.
///
/// # Errors
/// NO for an entry that clients do not set, and for a value that it cannot have.
pub(super) fn changes(values: Vec<AnnotationValue>) -> Result<Vec<AnnotationChange>, Reply> {
    let mut changes = Vec::with_capacity(values.len());
    for AnnotationValue { name, scope, value } in values {
        if name.is_of_server() {
            return Err(Reply::no_code("CANNOT", "the server alone sets that annotation"));
        }
        if !name.is_settable() {
            let text = "annotations are /comment, /altsubject, those below /vendor/, and those of parts";
            return Err(Reply::no_code("CANNOT", text));
        }
        let octets = value.as_ref().map(IString::as_bytes);
        if name.is_part_flag() && octets.is_some_and(|octets| !matches!(octets, b"0" | b"1")) {
            return Err(Reply::no_code("CANNOT", "the flag of a part is \"1\", \"0\" or NIL"));
        }
        if octets.is_some_and(|octets| octets.len() > ANNOTATION_VALUE_BYTES_MAX) {
            let text = format!("the value of an annotation has at most {ANNOTATION_VALUE_BYTES_MAX} octets");
            return Err(Reply::no_code(encode::code(&Code::AnnotateTooBig), text));
        }
        // A copy: the string would hold on to the whole command.
        changes.push(AnnotationChange { name, scope, value: octets.map(Bytes::copy_from_slice) });
    }
    Ok(changes)
}

/// The changes of a message that is new, and their octets.
///
/// # Errors
/// As [`changes`], and NO `[ANNOTATE TOOMANY]`.
pub(super) fn of_new(values: Vec<AnnotationValue>) -> Result<(Vec<AnnotationChange>, usize), Reply> {
    let changes = changes(values)?;
    let octets_of = |change: &AnnotationChange| {
        change.name.as_str().len() + change.value.as_ref().map_or(0, Bytes::len) + 8
    };
    for scope in [EntryScope::Private, EntryScope::Shared] {
        let of_scope = changes.iter().filter(|change| change.scope == scope && change.value.is_some());
        let last: BTreeMap<&AnnotationName, usize> =
            of_scope.map(|change| (&change.name, octets_of(change))).collect();
        if last.len() > ANNOTATIONS_PER_MESSAGE_MAX || last.values().sum::<usize>() > ANNOTATIONS_BYTES_MAX {
            let text = format!(
                "a message may have at most {ANNOTATIONS_PER_MESSAGE_MAX} annotations \
                 of {ANNOTATIONS_BYTES_MAX} octets together"
            );
            return Err(Reply::no_code(encode::code(&Code::AnnotateTooMany), text));
        }
    }
    let octets = changes.iter().map(octets_of).sum();
    Ok((changes, octets))
}

/// Reads the annotations of messages, one message after another in ascending order. What is held is a page of the store's,
/// about 1 MB, however many messages there are.
pub(super) struct Reading<'a> {
    store: &'a dyn MailStore,
    ctx: &'a Ctx,
    account: AccountId,
    query: AnnotationQuery,
    /// The page at hand, as far as it was not taken yet.
    page: VecDeque<(Uid, Annotations)>,
    /// The first message that no page has answered yet; none when all are answered.
    next: Option<Uid>,
}

impl<'a> Reading<'a> {
    /// Of the messages of `uids`, the entries that these patterns stand for. Nothing is read before it is asked for.
    pub fn new(
        (store, ctx): (&'a dyn MailStore, &'a Ctx),
        FolderRef { account, mailbox }: FolderRef,
        uids: UidSet,
        entries: Vec<AnnotationPattern>,
        scope: Option<EntryScope>,
    ) -> Self {
        let next = uids.first().filter(|_| !entries.is_empty());
        let query = AnnotationQuery { mailbox, uids, entries, scope };
        Self { store, ctx, account, query, page: VecDeque::new(), next }
    }

    /// The annotations of a message behind those that were asked for before.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn of(&mut self, uid: Uid) -> model::Result<Annotations> {
        loop {
            while let Some((at, annotations)) = self.page.pop_front_if(|(at, _)| *at <= uid) {
                if at == uid {
                    return Ok(annotations);
                }
            }
            if !self.page.is_empty() || self.next.is_none_or(|next| uid < next) {
                return Ok(Annotations::new());
            }
            self.turn().await?;
        }
    }

    /// The next message that has any, and those; none behind the last.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn any(&mut self) -> model::Result<Option<(Uid, Annotations)>> {
        while self.page.is_empty() && self.next.is_some() {
            self.turn().await?;
        }
        Ok(self.page.pop_front())
    }

    async fn turn(&mut self) -> model::Result<()> {
        let page = self.store.annotations(self.ctx, self.account, &self.query).await?;
        if let Some(next) = page.next {
            self.query.uids = self.query.uids.intersection(&UidSet::range(next, Uid::MAX));
        }
        (self.page, self.next) = (page.messages.into(), page.next);
        Ok(())
    }
}

/// An attribute of an entry in a response: its name and its value.
type Shown = (&'static str, Option<Bytes>);

/// What of a message's annotations a FETCH item shows: entries, each with attributes and their values. An entry that is
/// named is shown without a value, too (RFC 5257 §3.2.2).
pub(super) fn shown(item: &FetchAnnotation, annotations: &Annotations) -> Vec<(String, Vec<Shown>)> {
    let attributes = attributes(&item.attributes);
    let has_value = |values: &Annotation| attributes.iter().any(|(_, scope)| values.of(*scope).is_some());
    let mut names: BTreeSet<AnnotationName> =
        item.entries.iter().filter_map(AnnotationPattern::name).collect();
    for (name, values) in annotations {
        if has_value(values) && item.entries.iter().any(|pattern| pattern.matches(name.as_str())) {
            names.insert(name.clone());
        }
    }
    let empty = Annotation::default();
    let entry = |name: AnnotationName| {
        let values = annotations.get(&name).unwrap_or(&empty);
        let shown = attributes.iter().map(|(size, scope)| value(*size, values.of(*scope), *scope));
        (name.as_str().to_owned(), shown.collect())
    };
    names.into_iter().map(entry).collect()
}

/// Attributes as a response names them: whether it is the size, and whose; both scopes without a suffix (RFC 5257 §3.2.2),
/// none twice.
fn attributes(asked: &[AnnotationAttribute]) -> Vec<(bool, EntryScope)> {
    let mut all = Vec::new();
    for AnnotationAttribute { size, scope } in asked {
        for of in [EntryScope::Private, EntryScope::Shared] {
            if scope.is_none_or(|scope| scope == of) && !all.contains(&(*size, of)) {
                all.push((*size, of));
            }
        }
    }
    all
}

fn value(size: bool, value: Option<&Bytes>, scope: EntryScope) -> Shown {
    let octets = || Some(value.map_or(0, Bytes::len).to_string().into());
    match (size, scope) {
        (false, EntryScope::Private) => ("value.priv", value.cloned()),
        (false, EntryScope::Shared) => ("value.shared", value.cloned()),
        (true, EntryScope::Private) => ("size.priv", octets()),
        (true, EntryScope::Shared) => ("size.shared", octets()),
    }
}

/// Entries of annotations that changed, by message.
pub(crate) type News = BTreeMap<Uid, BTreeSet<AnnotationName>>;

/// Entries that others changed since the client was last told, by message, if it wishes to know (RFC 5257 §4.4, RFC 5465
/// §5.1). None when they cannot be read now: they are told the next time.
pub(crate) async fn news(session: &Session, snapshot: &FolderSnapshot) -> Option<News> {
    let mut news = News::new();
    let view = session.view.as_deref()?;
    let wanted = match &session.notify {
        Some(notify) => notify.selected().annotations,
        None => view.annotate,
    };
    let since = view.annotations_known;
    if !wanted || snapshot.state.highest_modseq <= since {
        return Some(news);
    }
    let FolderRef { account, mailbox } = view.folder();
    match session.store().annotation_news(&session.ctx(), account, mailbox, since).await {
        Ok(changed) => {
            for of in changed {
                for row in snapshot.rows_in(&of.uids) {
                    news.entry(row.uid).or_default().extend(of.entries.iter().cloned());
                }
            }
        }
        Err(error) => {
            tracing::warn!(%error, "changes of annotations could not be read");
            return None;
        }
    }
    Some(news)
}

/// Appends which entries of a message changed.
pub(crate) fn write_news(out: &mut Vec<u8>, entries: &BTreeSet<AnnotationName>) {
    response::fetch::annotations_changed(out, entries.iter().map(AnnotationName::as_str));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Status;

    fn name(text: &str) -> AnnotationName {
        AnnotationName::parse(text.as_bytes()).expect("a name")
    }

    #[test]
    fn what_clients_may_set() {
        let check = |entry: &str, value: &'static str, code: Option<&str>| {
            let value = Some(IString::from(value));
            let made = changes(vec![AnnotationValue { name: name(entry), scope: EntryScope::Shared, value }]);
            let found = made.err().map(|reply| {
                assert_eq!(reply.status, Status::No);
                reply.code.unwrap_or_default().into_owned()
            });
            assert_eq!(found.as_deref(), code, "{entry}");
        };
        check("/comment", "x", None);
        check("/1/flags/seen", "1", None);
        check("/1/flags/seen", "2", Some("CANNOT"));
        check("/flags/seen", "1", Some("CANNOT"));
        check("/other", "1", Some("CANNOT"));
        check(AnnotationName::SEEN_IDENTITY, "x", Some("CANNOT"));
    }

    #[test]
    fn entries_shown() {
        let mut annotations = Annotations::new();
        let value = |text: &'static [u8]| Some(Bytes::from_static(text));
        annotations.insert(name("/comment"), Annotation { private: value(b"mine"), shared: None });
        annotations.insert(name("/1/comment"), Annotation { private: None, shared: value(b"ours") });
        let check = |patterns: &[&str], attributes: &[(bool, Option<EntryScope>)], expected: &str| {
            let item = FetchAnnotation {
                entries: patterns
                    .iter()
                    .map(|text| AnnotationPattern::parse(text.as_bytes()).expect("a pattern"))
                    .collect(),
                attributes: attributes
                    .iter()
                    .map(|(size, scope)| AnnotationAttribute { size: *size, scope: *scope })
                    .collect(),
            };
            let shown: Vec<String> = shown(&item, &annotations)
                .into_iter()
                .map(|(name, values)| {
                    let value = |value: Option<Bytes>| match value {
                        Some(value) => String::from_utf8_lossy(&value).into_owned(),
                        None => "NIL".to_owned(),
                    };
                    let values: Vec<String> =
                        values.into_iter().map(|(name, of)| format!("{name}={}", value(of))).collect();
                    format!("{name} {}", values.join(" "))
                })
                .collect();
            assert_eq!(shown.join(", "), expected);
        };
        let (private, shared) = (Some(EntryScope::Private), Some(EntryScope::Shared));
        check(&["/comment"], &[(false, None)], "/comment value.priv=mine value.shared=NIL");
        check(&["/altsubject"], &[(true, None)], "/altsubject size.priv=0 size.shared=0");
        check(&["*"], &[(false, private), (true, private)], "/comment value.priv=mine size.priv=4");
        check(&["*"], &[(true, shared)], "/1/comment size.shared=4");
        check(&["/%"], &[(false, shared)], "");
        check(&["/%"], &[(false, private), (false, None)], "/comment value.priv=mine value.shared=NIL");
    }
}
