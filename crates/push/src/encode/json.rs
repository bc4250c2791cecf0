//! JSON: the push message of an operator's PUSH enabler, with the event list of OMA NMS (changedObject, deletedObject,
//! changedFolder, resetBox).
//!
//! Ours beside those: `push-id`, `triggering-device`, and in a recipient `device`.

use model::DeviceId;
use serde_json::{Map, Value, json};

use super::{Encoded, Style, timestamp};
use crate::notice::{Event, FolderPlace, Notice, NoticeKind, Object, Place};

pub(super) fn encode(notice: &Notice, style: &Style) -> Encoded {
    let recipients = notice.recipients().map(|(uri, device)| {
        let mut recipient = Map::new();
        recipient.insert("uri".into(), uri.into());
        optional(&mut recipient, "device", device.map(DeviceId::as_str));
        Value::Object(recipient)
    });
    let events = notice.events.iter().map(event);
    let mut message = Map::new();
    message.insert("serviceName".into(), style.service.as_str().into());
    message.insert("TTL".into(), style.ttl_seconds.into());
    message.insert("recipients".into(), recipients.collect());
    message.insert("pns-type".into(), "CPM".into());
    message.insert("pns-subtype".into(), subtype(notice.kind).into());
    message.insert("pns-time".into(), timestamp(notice.changed_at_millis.div_euclid(1_000)).into());
    message.insert("push-id".into(), notice.push_id.as_str().into());
    optional(&mut message, "triggering-device", notice.trigger.as_ref().map(DeviceId::as_str));
    message.insert("nmsEventList".into(), json!({ "nmsEvent": events.collect::<Value>() }));
    Encoded {
        content_type: "application/json".into(),
        headers: Vec::new(),
        body: json!({ "push-message": message }).to_string().into(),
    }
}

/// Chat originated, status, deleted, as operators' enablers name them; and ours for a folder to look at again.
fn subtype(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::New => "ChatO",
        NoticeKind::Status => "ChatS",
        NoticeKind::Deleted => "ChatD",
        NoticeKind::Resync => "Resync",
    }
}

fn event(event: &Event) -> Value {
    match event {
        Event::Changed(object) => json!({ "changedObject": changed(object) }),
        Event::Deleted(place) => json!({ "deletedObject": at(place) }),
        Event::Resync(Some(folder)) => json!({ "changedFolder": {
            "path": folder.folder,
            "resourceURL": folder.path(),
            "lastModSeq": folder.modseq.0,
        } }),
        Event::Resync(None) => json!({ "resetBox": {} }),
    }
}

fn at(place: &Place) -> Map<String, Value> {
    let FolderPlace { folder, modseq, .. } = &place.folder;
    let mut object = Map::new();
    object.insert("parentFolder".into(), folder.as_str().into());
    object.insert("resourceURL".into(), place.path().into());
    object.insert("lastModSeq".into(), modseq.0.into());
    object
}

fn changed(object: &Object) -> Map<String, Value> {
    let mut content = Map::new();
    content.insert("content-type".into(), object.content_type.as_str().into());
    content.insert("content-size".into(), object.size.into());
    let mut rcs = Map::new();
    optional(&mut rcs, "contribution-id", object.contribution_id.as_deref());
    optional(&mut rcs, "conversation-id", object.conversation_id.as_deref());
    optional(&mut rcs, "p-asserted-service", object.service.as_deref());
    if !rcs.is_empty() {
        content.insert("rcs-data".into(), rcs.into());
    }
    let mut message = Map::new();
    message.insert("id".into(), object.place.uid.get().to_string().into());
    message.insert("objectURL".into(), object.place.path().into());
    optional(&mut message, "direction", object.sent.map(|sent| if sent { "Out" } else { "In" }));
    message.insert("message-time".into(), timestamp(object.internal_date).into());
    optional(&mut message, "status", object.flags.contains(&"\\Seen").then_some("SEEN"));
    optional(&mut message, "sender", object.sender.as_deref());
    optional(&mut message, "imdn-message-id", object.imdn_message_id.as_deref());
    optional(&mut message, "message-context", object.context.as_deref());
    message.insert("content".into(), json!([content]));
    let mut changed = at(&object.place);
    changed.insert("type".into(), if object.voicemail { "voicemail" } else { "message" }.into());
    changed.insert("flags".into(), json!({ "flag": object.flags }));
    for (name, flags) in [("flagsAdded", &object.added), ("flagsRemoved", &object.removed)] {
        if !flags.is_empty() {
            changed.insert(name.into(), json!({ "flag": flags }));
        }
    }
    optional(&mut changed, "correlationId", object.imdn_message_id.as_deref());
    optional(&mut changed, "correlationTag", object.correlator.as_deref());
    changed.insert("message".into(), message.into());
    changed
}

fn optional(object: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        object.insert(name.into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoding;
    use crate::notice::testing::notice;

    /// What an enabler reads, to the letter.
    #[test]
    fn s3_12_the_device_and_the_details_stand_in_it() {
        let style = Style { encoding: Encoding::Json, ttl_seconds: 60, service: "mss".into() };
        let encoded = encode(&notice(), &style);
        assert_eq!(encoded.content_type, "application/json");
        let read: Value = serde_json::from_slice(&encoded.body).expect("JSON");
        let object = |uid: u32, id: &str| {
            json!({ "changedObject": {
                "parentFolder": "Default/a<b>&\"c\" \u{e9}",
                "resourceURL": format!("/Default/a%3Cb%3E&%22c%22%20%C3%A9;UIDVALIDITY=7/;UID={uid}"),
                "lastModSeq": 42,
                "type": "message",
                "flags": { "flag": ["\\Seen"] },
                "flagsAdded": { "flag": ["\\Seen"] },
                "correlationId": id,
                "message": {
                    "id": uid.to_string(),
                    "objectURL": format!("/Default/a%3Cb%3E&%22c%22%20%C3%A9;UIDVALIDITY=7/;UID={uid}"),
                    "direction": "In",
                    "message-time": "2023-11-14T22:13:20Z",
                    "status": "SEEN",
                    "sender": "tel:+33687654321",
                    "imdn-message-id": id,
                    "message-context": "pager-message",
                    "content": [{
                        "content-type": "message/cpim",
                        "content-size": 123,
                        "rcs-data": { "contribution-id": "abcdef", "conversation-id": "f81d4fae" },
                    }],
                },
            } })
        };
        let expected = json!({ "push-message": {
            "serviceName": "mss",
            "TTL": 60,
            "recipients": [{ "uri": "tel:+33612345678" }],
            "pns-type": "CPM",
            "pns-subtype": "ChatS",
            "pns-time": "2023-11-14T22:13:21Z",
            "push-id": "9-000000000000000000000001-0",
            "triggering-device": "<urn:gsma:imei:1&2>",
            "nmsEventList": { "nmsEvent": [object(1, "Mjkx9a1f"), object(2, "<\"&'>]]>")] },
        } });
        assert_eq!(read, expected);
    }
}
