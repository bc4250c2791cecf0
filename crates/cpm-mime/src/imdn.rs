//! Instant message disposition notifications (RFC 5438 §11): what became of a message, as `message/imdn+xml` says it.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;

use crate::limits::{FACT_BYTES_MAX, IMDN_DEPTH_MAX};

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Notification {
    /// The message's way to its recipient.
    Delivery = 1,
    /// What an intermediary did with it.
    Processing = 2,
    /// Whether it was shown.
    Display = 3,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// It has arrived.
    Delivered = 1,
    /// It was shown.
    Displayed = 2,
    /// It was handed on.
    Processed = 3,
    /// It was stored for later.
    Stored = 4,
    /// It will not arrive.
    Failed = 5,
    /// The recipient does not tell.
    Forbidden = 6,
    /// The recipient cannot tell.
    Error = 7,
}

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imdn {
    /// The imdn.Message-ID of the message that it is about, as written, at most [`FACT_BYTES_MAX`] octets.
    pub message_id: String,
    /// What it is about.
    pub notification: Notification,
    /// How it went.
    pub status: Status,
}

/// Why octets are no notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImdnError {
    /// Not well-formed, not UTF-8, or nested too deep.
    #[error("malformed XML")]
    Xml,
    /// The root is another element.
    #[error("not an imdn document")]
    Root,
    /// No message-id, an empty one, or one too long.
    #[error("message-id is missing or too long")]
    MessageId,
    /// No notification with a status that RFC 5438 §7.2.1 gives it.
    #[error("no status of a notification")]
    Status,
}

const NOTIFICATIONS: [(&str, Notification); 3] = [
    ("delivery-notification", Notification::Delivery),
    ("processing-notification", Notification::Processing),
    ("display-notification", Notification::Display),
];

/// The elements within `status`, and the notifications that may have them (RFC 5438 §7.2.1.1 to §7.2.1.3).
const STATUSES: [(&str, Status, &[Notification]); 7] = [
    ("delivered", Status::Delivered, &[Notification::Delivery]),
    ("displayed", Status::Displayed, &[Notification::Display]),
    ("processed", Status::Processed, &[Notification::Processing]),
    ("stored", Status::Stored, &[Notification::Processing]),
    ("failed", Status::Failed, &[Notification::Delivery]),
    (
        "forbidden",
        Status::Forbidden,
        &[Notification::Delivery, Notification::Processing, Notification::Display],
    ),
    ("error", Status::Error, &[Notification::Delivery, Notification::Processing, Notification::Display]),
];

impl Notification {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        NOTIFICATIONS.iter().map(|(_, it)| *it).find(|it| *it as u8 == byte)
    }
}

impl Status {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        STATUSES.iter().map(|(_, it, _)| *it).find(|it| *it as u8 == byte)
    }
}

/// Reads a document. Namespaces are not asked for: live senders bind the one of RFC 5438, another, or none. Cost: one
/// pass.
///
/// # Errors
/// See [`ImdnError`].
pub fn parse(octets: &[u8]) -> Result<Imdn, ImdnError> {
    let text = std::str::from_utf8(octets).map_err(|_| ImdnError::Xml)?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim());
    reader.config_mut().expand_empty_elements = true;
    let mut path: Vec<String> = Vec::new();
    let mut message_id = String::new();
    let (mut notification, mut status) = (None, None);
    let mut seen_root = false;
    loop {
        match reader.read_event().map_err(|_| ImdnError::Xml)? {
            Event::Start(start) => {
                if path.is_empty() && std::mem::replace(&mut seen_root, true) || path.len() == IMDN_DEPTH_MAX
                {
                    return Err(ImdnError::Xml);
                }
                let name = start.local_name().into_inner().to_owned();
                if path.is_empty() && name != "imdn" {
                    return Err(ImdnError::Root);
                }
                if let [_, about, within] = path.as_slice()
                    && within == "status"
                    && let Some((_, about)) = NOTIFICATIONS.iter().find(|(known, _)| known == about)
                    && let Some((_, found, _)) =
                        STATUSES.iter().find(|(known, _, of)| *known == name && of.contains(about))
                    && status.is_none()
                {
                    (notification, status) = (Some(*about), Some(*found));
                }
                path.push(name);
            }
            Event::End(_) => {
                path.pop();
            }
            Event::Text(text) if is_message_id(&path) => {
                message_id.push_str(&text.into_inner());
            }
            Event::CData(text) if is_message_id(&path) => {
                message_id.push_str(&text.into_inner());
            }
            Event::GeneralRef(entity) if is_message_id(&path) => {
                if let Some(char) = entity.resolve_char_ref().map_err(|_| ImdnError::Xml)? {
                    message_id.push(char);
                } else {
                    let named = resolve_xml_entity(&entity.into_inner()).ok_or(ImdnError::Xml)?;
                    message_id.push_str(named);
                }
            }
            Event::Eof if path.is_empty() && seen_root => break,
            Event::Eof => return Err(if seen_root { ImdnError::Xml } else { ImdnError::Root }),
            _ => {}
        }
        if message_id.len() > 2 * FACT_BYTES_MAX {
            return Err(ImdnError::MessageId);
        }
    }
    let message_id = message_id.trim();
    if message_id.is_empty() || message_id.len() > FACT_BYTES_MAX {
        return Err(ImdnError::MessageId);
    }
    match (notification, status) {
        (Some(notification), Some(status)) => {
            Ok(Imdn { message_id: message_id.to_owned(), notification, status })
        }
        _ => Err(ImdnError::Status),
    }
}

fn is_message_id(path: &[String]) -> bool {
    matches!(path, [_, name] if name == "message-id")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(inner: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">{inner}</imdn>"
        )
    }

    #[test]
    fn notifications_of_rfc_5438() {
        let check = |inner: &str, expected| {
            let inner = format!(
                "<message-id>34jk324j</message-id><datetime>2008-04-04T12:16:49-05:00</datetime>{inner}"
            );
            let found = parse(document(&inner).as_bytes()).map(|imdn| {
                assert_eq!(imdn.message_id, "34jk324j");
                (imdn.notification, imdn.status)
            });
            assert_eq!(found, expected, "{inner}");
        };
        check(
            "<display-notification><status><displayed/></status></display-notification>",
            Ok((Notification::Display, Status::Displayed)),
        );
        check(
            "<delivery-notification><status><delivered></delivered></status></delivery-notification>",
            Ok((Notification::Delivery, Status::Delivered)),
        );
        check(
            "<delivery-notification><status><failed/></status></delivery-notification>",
            Ok((Notification::Delivery, Status::Failed)),
        );
        check(
            "<processing-notification><status><stored/></status></processing-notification>",
            Ok((Notification::Processing, Status::Stored)),
        );
        // A status that its notification cannot have is none.
        check(
            "<display-notification><status><delivered/></status></display-notification>",
            Err(ImdnError::Status),
        );
        check("", Err(ImdnError::Status));
    }

    #[test]
    fn prefixes_entities_and_sections() {
        let text = "<i:imdn xmlns:i='urn:ietf:params:xml:ns:imdn'><i:message-id> a&amp;<![CDATA[<b>]]>&#x41; \
             </i:message-id><i:delivery-notification><i:status><i:delivered/></i:status></i:delivery-notification>\
             </i:imdn>";
        assert_eq!(parse(text.as_bytes()).map(|imdn| imdn.message_id), Ok("a&<b>A".to_owned()));
    }

    #[test]
    fn what_is_no_notification() {
        let status = "<delivery-notification><status><delivered/></status></delivery-notification>";
        let deep = "<a>".repeat(100);
        for (text, expected) in [
            (String::new(), ImdnError::Root),
            ("text".into(), ImdnError::Root),
            ("<other/>".into(), ImdnError::Root),
            (document(status), ImdnError::MessageId),
            (document(&format!("<message-id/>{status}")), ImdnError::MessageId),
            (
                document(&format!("<message-id>{}</message-id>{status}", "x".repeat(2000))),
                ImdnError::MessageId,
            ),
            (document(&format!("<message-id>&unknown;</message-id>{status}")), ImdnError::Xml),
            (document("<message-id>x</datetime>"), ImdnError::Xml),
            (document(&deep), ImdnError::Xml),
            (document("").replace("</imdn>", ""), ImdnError::Xml),
            (format!("{0}{0}", "<imdn></imdn>"), ImdnError::Xml),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(expected), "{text}");
        }
        assert_eq!(parse(b"<imdn>\xff</imdn>"), Err(ImdnError::Xml));
    }
}
