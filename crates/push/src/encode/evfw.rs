//! The event report of CPM networks, `application/vnd.oma.cpm-eventfw+xml`.
//!
//! Networks report flags in it (`type="flags"`). Ours beside that, in the same shape: `type="object"` for new objects
//! (`add`) and for those that went (`remove`), `type="folder"` for a folder to look at again. A body of this type has no
//! place for whom it goes to and which device made the change; they stand in header fields of the request.

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event as Xml};

use super::Encoded;
use crate::notice::{Event, Notice, NoticeKind, Object, Place};

pub(super) const CONTENT_TYPE: &str = "application/vnd.oma.cpm-eventfw+xml";
const NAMESPACE: &str = "urn:oma:xml:cpm:evfw";

pub(super) fn encode(notice: &Notice) -> Encoded {
    let recipients: Vec<String> = notice.recipients().map(|(uri, _)| header_text(uri)).collect();
    let mut headers = vec![
        ("x-push-id", notice.push_id.clone()),
        ("x-push-account", header_text(notice.account.as_str())),
        ("x-push-recipients", recipients.join(", ")),
    ];
    if let Some(device) = &notice.trigger {
        headers.push(("x-push-triggering-device", device.as_str().to_owned()));
    }
    Encoded { content_type: CONTENT_TYPE.into(), headers, body: report(notice).into() }
}

/// What may stand in a header field; anything else, and the comma of lists, as in a URI.
fn header_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_graphic() && octet != b',' {
            out.push(octet.into());
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

/// The document.
pub(super) fn report(notice: &Notice) -> Vec<u8> {
    let mut out = Document(Writer::new(Vec::with_capacity(256 * notice.events.len())));
    out.put(Xml::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
    out.open("cpm-evfw", &[("xmlns", NAMESPACE)]);
    let mut index = 0;
    if notice.kind == NoticeKind::Resync {
        for event in &notice.events {
            out.begin("folder", &mut index);
            out.open("operation", &[("name", "resync")]);
            let folder = match event {
                Event::Resync(Some(folder)) => Some(folder),
                Event::Changed(object) => Some(&object.place.folder),
                Event::Deleted(place) => Some(&place.folder),
                Event::Resync(None) => None,
            };
            out.empty("folder", folder.map(|folder| ("folder-path", folder.folder.as_str())).as_slice());
            out.close("operation");
            out.close("event-cpm-imap");
        }
    }
    for (kind, name, event_type) in
        [(NoticeKind::New, "add", "object"), (NoticeKind::Deleted, "remove", "object")]
    {
        if notice.kind == kind {
            out.begin(event_type, &mut index);
            out.open("operation", &[("name", name)]);
            for event in &notice.events {
                out.object(event);
            }
            out.close("operation");
            out.close("event-cpm-imap");
        }
    }
    if notice.kind == NoticeKind::Status {
        // An event for each run of objects with the same change of flags.
        for run in notice.events.chunk_by(|a, b| change(a) == change(b)) {
            let Some((added, removed)) = run.first().and_then(change) else { continue };
            out.begin("flags", &mut index);
            for (name, flags) in [("add", added), ("remove", removed)] {
                for flag in flags {
                    out.open("operation", &[("name", name), ("flag", flag)]);
                    for event in run {
                        out.object(event);
                    }
                    out.close("operation");
                }
            }
            out.close("event-cpm-imap");
        }
    }
    out.close("cpm-evfw");
    out.0.into_inner()
}

/// Flags that an object got and lost.
fn change(event: &Event) -> Option<(&[&'static str], &[&'static str])> {
    match event {
        Event::Changed(object) => Some((&object.added, &object.removed)),
        _ => None,
    }
}

/// A document under construction. Writing to memory does not fail.
struct Document(Writer<Vec<u8>>);

impl Document {
    fn put(&mut self, event: Xml<'_>) {
        let _ = self.0.write_event(event);
    }

    fn start<'a>(name: &'a str, attributes: &[(&str, &str)]) -> BytesStart<'a> {
        let mut start = BytesStart::new(name);
        for (key, value) in attributes {
            start.push_attribute((*key, writable(value).as_str()));
        }
        start
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.put(Xml::Start(Self::start(name, attributes)));
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.put(Xml::Empty(Self::start(name, attributes)));
    }

    fn close(&mut self, name: &str) {
        self.put(Xml::End(BytesEnd::new(name)));
    }

    fn text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.open(name, &[]);
            self.put(Xml::Text(BytesText::new(&writable(text))));
            self.close(name);
        }
    }

    fn begin(&mut self, event_type: &str, index: &mut usize) {
        self.open("event-cpm-imap", &[("type", event_type), ("index", &index.to_string())]);
        *index += 1;
    }

    fn object(&mut self, event: &Event) {
        match event {
            Event::Changed(object) => self.whole(object),
            Event::Deleted(place) => self.place(place, |_| {}),
            Event::Resync(_) => {}
        }
    }

    fn place(&mut self, place: &Place, inside: impl FnOnce(&mut Self)) {
        let uid = place.uid.get().to_string();
        self.open("object", &[("uid", &uid), ("folder-path", &place.folder.folder)]);
        inside(self);
        self.close("object");
    }

    fn whole(&mut self, object: &Object) {
        self.place(&object.place, |out| {
            out.text("conversation-id", object.conversation_id.as_deref());
            out.text("contribution-id", object.contribution_id.as_deref());
            out.text("other-party", object.sender.as_deref().filter(|_| object.sent != Some(true)));
            out.text("message-id", object.imdn_message_id.as_deref());
        });
    }
}

/// Text without the characters that no XML document can have (XML 1.0 §2.2), escaped or not.
fn writable(text: &str) -> String {
    let fits = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..);
    text.chars().map(|c| if fits(c) { c } else { '\u{FFFD}' }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use quick_xml::Reader;

    use super::*;
    use crate::notice::testing::notice;
    use crate::notice::{FolderPlace, NoticeKind};

    /// Elements with attributes, and texts, unescaped.
    pub(in super::super) fn read(xml: &str) -> Vec<String> {
        let mut reader = Reader::from_str(xml);
        let mut out = Vec::new();
        let mut text = String::new();
        loop {
            let event = reader.read_event().expect("well-formed");
            match event {
                Xml::Text(part) => {
                    text.push_str(&part);
                    continue;
                }
                Xml::GeneralRef(name) => {
                    text.push_str(match &*name {
                        "lt" => "<",
                        "gt" => ">",
                        "amp" => "&",
                        "quot" => "\"",
                        "apos" => "'",
                        other => panic!("&{other};"),
                    });
                    continue;
                }
                _ if !text.is_empty() => out.push(format!("= {}", std::mem::take(&mut text))),
                _ => {}
            }
            let tag = |start: &BytesStart<'_>| {
                let name = start.name().as_ref().to_owned();
                start.attributes().fold(name, |shown, attribute| {
                    let attribute = attribute.unwrap();
                    let key = attribute.key.as_ref().to_owned();
                    let value = quick_xml::escape::unescape(&attribute.value).unwrap().into_owned();
                    format!("{shown} {key}={value}")
                })
            };
            match event {
                Xml::Start(start) => out.push(tag(&start)),
                Xml::Empty(start) => out.push(format!("{}/", tag(&start))),
                Xml::Eof => return out,
                _ => {}
            }
        }
    }

    #[test]
    fn flags_as_networks_report_them() {
        let xml = String::from_utf8(report(&notice())).unwrap();
        assert!(xml.starts_with(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><cpm-evfw xmlns=\"urn:oma:xml:cpm:evfw\">"
        ));
        let folder = "Default/a<b>&\"c\" \u{e9}";
        let object = |uid: u32, id: &str| {
            vec![
                format!("object uid={uid} folder-path={folder}"),
                "conversation-id".into(),
                "= f81d4fae".into(),
                "contribution-id".into(),
                "= abcdef".into(),
                "other-party".into(),
                "= tel:+33687654321".into(),
                "message-id".into(),
                format!("= {id}"),
            ]
        };
        let head = [
            "cpm-evfw xmlns=urn:oma:xml:cpm:evfw",
            "event-cpm-imap type=flags index=0",
            "operation name=add flag=\\Seen",
        ]
        .map(str::to_owned);
        let expected = [&head[..], &object(1, "Mjkx9a1f"), &object(2, "<\"&'>]]>")].concat();
        assert_eq!(read(&xml), expected);
    }

    #[test]
    fn what_went_and_what_to_look_at() {
        let folder = FolderPlace { folder: "A\u{1}".into(), uid_validity: None, modseq: model::ModSeq(1) };
        let place = Place { folder: folder.clone(), uid: model::Uid::new(3).unwrap() };
        let check = |kind, event, expected: &[&str]| {
            let notice = Notice { kind, events: vec![event], ..notice() };
            assert_eq!(read(&String::from_utf8(report(&notice)).unwrap())[1..], *expected);
        };
        check(
            NoticeKind::Deleted,
            Event::Deleted(place),
            &[
                "event-cpm-imap type=object index=0",
                "operation name=remove",
                "object uid=3 folder-path=A\u{FFFD}",
            ],
        );
        let resync = ["event-cpm-imap type=folder index=0", "operation name=resync"];
        check(
            NoticeKind::Resync,
            Event::Resync(Some(folder)),
            &[&resync[..], &["folder folder-path=A\u{FFFD}/"]].concat(),
        );
        check(NoticeKind::Resync, Event::Resync(None), &[&resync[..], &["folder/"]].concat());
    }

    #[test]
    fn header_fields_hold_one_line() {
        let headers = encode(&notice()).headers;
        assert!(headers.contains(&("x-push-triggering-device", "<urn:gsma:imei:1&2>".into())));
        assert_eq!(header_text("a,b \r\nc\u{e9}"), "a%2Cb%20%0D%0Ac%C3%A9");
    }
}
