//! Annotations of messages.

use bytes::Bytes;
use model::limits::{
    ANNOTATION_CHANGES_MAX, ANNOTATION_PATTERNS_MAX, ANNOTATION_VALUE_BYTES_MAX, ANNOTATIONS_PER_MESSAGE_MAX,
};
use model::{AnnotationName, AnnotationPattern, EntryScope, MailboxId, Result, Uid};
use store_api::{Annotation, AnnotationChange, AnnotationNews, AnnotationPage, AnnotationQuery, Annotations};

use super::{uid, uid_set, uid_set_pb};
use crate::error::invalid;
use crate::pb;

fn name(text: &str) -> Result<AnnotationName> {
    AnnotationName::parse(text.as_bytes()).map_err(|e| invalid(&e.to_string()))
}

pub(crate) fn pattern(text: &str) -> Result<AnnotationPattern> {
    AnnotationPattern::parse(text.as_bytes()).map_err(|e| invalid(&e.to_string()))
}

pub(crate) fn scope(wire: i32) -> Result<Option<EntryScope>> {
    match pb::AnnotationScope::try_from(wire) {
        Ok(pb::AnnotationScope::Unspecified) => Ok(None),
        Ok(pb::AnnotationScope::Private) => Ok(Some(EntryScope::Private)),
        Ok(pb::AnnotationScope::Shared) => Ok(Some(EntryScope::Shared)),
        Err(_) => Err(invalid("an annotation is neither private nor shared")),
    }
}

pub(crate) fn scope_pb(scope: Option<EntryScope>) -> i32 {
    let scope = match scope {
        None => pb::AnnotationScope::Unspecified,
        Some(EntryScope::Private) => pb::AnnotationScope::Private,
        Some(EntryScope::Shared) => pb::AnnotationScope::Shared,
    };
    scope.into()
}

pub(crate) fn changes(wire: Vec<pb::AnnotationChange>) -> Result<Vec<AnnotationChange>> {
    if wire.len() > ANNOTATION_CHANGES_MAX {
        return Err(invalid("a message has at most 128 changes of annotations"));
    }
    let change = |change: pb::AnnotationChange| {
        if change.value.as_ref().is_some_and(|value| value.len() > ANNOTATION_VALUE_BYTES_MAX) {
            return Err(invalid("the value of an annotation has at most 6144 octets"));
        }
        let scope = scope(change.scope)?.ok_or_else(|| invalid("an annotation is private or shared"))?;
        // A copy: the slice at hand would hold on to the whole request.
        let value = change.value.map(|value| Bytes::copy_from_slice(&value));
        Ok(AnnotationChange { name: name(&change.name)?, scope, value })
    };
    wire.into_iter().map(change).collect()
}

pub(crate) fn changes_pb(changes: Vec<AnnotationChange>) -> Vec<pb::AnnotationChange> {
    let change = |change: AnnotationChange| pb::AnnotationChange {
        name: change.name.to_string(),
        scope: scope_pb(Some(change.scope)),
        value: change.value,
    };
    changes.into_iter().map(change).collect()
}

pub(crate) fn query(wire: &pb::GetAnnotationsRequest) -> Result<AnnotationQuery> {
    let too_many = || invalid("a request asks for the annotations of too many patterns");
    if wire.entries.len() > ANNOTATION_PATTERNS_MAX {
        return Err(too_many());
    }
    let entries: Vec<_> = wire.entries.iter().map(|text| pattern(text)).collect::<Result<_>>()?;
    if !AnnotationPattern::are_few(&entries) {
        return Err(too_many());
    }
    Ok(AnnotationQuery {
        mailbox: MailboxId(wire.mailbox),
        uids: uid_set(wire.uids.as_ref().unwrap_or(&pb::UidSet::default()))?,
        entries,
        scope: scope(wire.scope)?,
    })
}

pub(crate) fn page(wire: pb::GetAnnotationsResponse) -> Result<AnnotationPage> {
    let mut messages = Vec::with_capacity(wire.messages.len());
    for message in wire.messages {
        let mut entries = Annotations::new();
        // Those of both scopes, and those that show devices.
        if message.entries.len() > 2 * ANNOTATIONS_PER_MESSAGE_MAX + 2 {
            return Err(invalid("a message has too many annotations"));
        }
        for entry in message.entries {
            let values = Annotation { private: entry.private_value, shared: entry.shared_value };
            entries.insert(name(&entry.name)?, values);
        }
        messages.push((uid(message.uid)?, entries));
    }
    Ok(AnnotationPage { messages, next: Uid::new(wire.next) })
}

pub(crate) fn page_pb(page: AnnotationPage) -> pb::GetAnnotationsResponse {
    use pb::get_annotations_response::{Entry, Message};
    let entry = |(name, values): (AnnotationName, Annotation)| Entry {
        name: name.to_string(),
        private_value: values.private,
        shared_value: values.shared,
    };
    let message = |(uid, entries): (Uid, Annotations)| Message {
        uid: uid.get(),
        entries: entries.into_iter().map(entry).collect(),
    };
    pb::GetAnnotationsResponse {
        messages: page.messages.into_iter().map(message).collect(),
        next: page.next.map_or(0, Uid::get),
    }
}

pub(crate) fn news(wire: pb::GetAnnotationNewsResponse) -> Result<Vec<AnnotationNews>> {
    let one = |news: pb::get_annotation_news_response::News| {
        Ok(AnnotationNews {
            uids: uid_set(&news.uids.unwrap_or_default())?,
            entries: news.entries.iter().map(|text| name(text)).collect::<Result<_>>()?,
        })
    };
    wire.news.into_iter().map(one).collect()
}

pub(crate) fn news_pb(news: &[AnnotationNews]) -> pb::GetAnnotationNewsResponse {
    let one = |news: &AnnotationNews| pb::get_annotation_news_response::News {
        uids: Some(uid_set_pb(&news.uids)),
        entries: news.entries.iter().map(ToString::to_string).collect(),
    };
    pb::GetAnnotationNewsResponse { news: news.iter().map(one).collect() }
}
