//! The Push Access Protocol (WAP-247, OMA PAP 2.1): a push message as multipart/related, and what a push proxy gateway
//! answers.

use quick_xml::escape::escape;
use quick_xml::events::Event as Xml;
use quick_xml::{Reader, XmlVersion};

use super::{Encoded, Style, evfw, timestamp};
use crate::client::Verdict;
use crate::notice::Notice;

pub(super) fn encode(notice: &Notice, style: &Style, now_millis: i64) -> Encoded {
    let now = now_millis.div_euclid(1_000);
    let until = now.saturating_add(i64::try_from(style.ttl_seconds).unwrap_or(i64::MAX));
    let mut addresses = String::new();
    for (uri, _) in notice.recipients() {
        addresses.push_str(&format!("<address address-value=\"{}\"/>", escape(client_address(uri).as_str())));
    }
    let control = format!(
        "<?xml version=\"1.0\"?>\r\n\
         <!DOCTYPE pap PUBLIC \"-//WAPFORUM//DTD PAP 2.1//EN\" \"http://www.openmobilealliance.org/tech/DTD/pap_2.1.dtd\">\r\n\
         <pap product-name=\"mss\"><push-message push-id=\"{}\" deliver-before-timestamp=\"{}\" \
         source-reference=\"{}\">{addresses}<quality-of-service delivery-method=\"unconfirmed\"/>\
         </push-message></pap>",
        escape(notice.push_id.as_str()),
        timestamp(until),
        escape(style.service.as_str()),
    );
    let report = evfw::report(notice);
    let boundary = boundary(notice);
    let device = notice
        .trigger
        .as_ref()
        .map_or_else(String::new, |device| format!("X-Push-Triggering-Device: {}\r\n", device.as_str()));
    let mut body = format!(
        "--{boundary}\r\nContent-Type: application/xml; charset=UTF-8\r\n\r\n{control}\r\n\
         --{boundary}\r\nContent-Type: {}\r\n{device}\r\n",
        evfw::CONTENT_TYPE
    )
    .into_bytes();
    body.extend_from_slice(&report);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Encoded {
        content_type: format!("multipart/related; type=\"application/xml\"; boundary=\"{boundary}\""),
        headers: Vec::new(),
        body: body.into(),
    }
}

/// A line that neither part can have: both are XML, in which a line that begins with `--mss-` cannot come from a name
/// of a folder or a header, since these are written on one line with what stands before them.
fn boundary(notice: &Notice) -> String {
    let id: String = notice.push_id.chars().filter(char::is_ascii_alphanumeric).take(48).collect();
    format!("mss-{id}")
}

/// An address in the form of push proxy gateways (WAP-151, §4.2.2): a telephone number is of type PLMN.
fn client_address(uri: &str) -> String {
    match uri.strip_prefix("tel:") {
        Some(number) => format!("WAPPUSH={number}/TYPE=PLMN"),
        None => uri.to_owned(),
    }
}

/// What a gateway's answer means, by the code of its result (WAP-247 §9.13): 1xxx is success, 2xxx blames the message,
/// 3xxx the gateway, 4xxx a service behind it.
pub(crate) fn verdict(answer: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(answer) else {
        return Verdict::Failed("the gateway's answer is not text".into());
    };
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event() {
            Ok(Xml::Start(start) | Xml::Empty(start)) => {
                let name = start.local_name();
                let bad = name.as_ref() == "badmessage-response";
                if !bad && name.as_ref() != "response-result" {
                    continue;
                }
                let attribute = |name: &str| {
                    let found = start.try_get_attribute(name).ok().flatten()?;
                    found.normalized_value(XmlVersion::Implicit1_0).ok().map(std::borrow::Cow::into_owned)
                };
                let code = attribute("code").unwrap_or_default();
                let told = format!("the gateway answered {code} {}", attribute("desc").unwrap_or_default());
                let told = told.trim_end().to_owned();
                return match (bad, code.as_bytes()) {
                    // 2007, a duplicate push id: it has the message already.
                    (false, [b'1', ..] | b"2007") => Verdict::Accepted,
                    (true, _) | (_, [b'2', ..]) => Verdict::Refused(told),
                    (_, [b'3' | b'4', ..]) => Verdict::Unavailable(told),
                    _ => Verdict::Failed(told),
                };
            }
            Ok(Xml::Eof) => return Verdict::Failed("the gateway's answer has no result".into()),
            Err(error) => return Verdict::Failed(format!("the gateway's answer is not XML: {error}")),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoding;
    use crate::notice::testing::notice;

    #[test]
    fn a_push_message_has_its_control_and_its_content() {
        let style = Style { encoding: Encoding::Pap, ttl_seconds: 3_600, service: "m&s".into() };
        let encoded = encode(&notice(), &style, 1_700_000_002_000);
        let boundary = "mss-90000000000000000000000010";
        assert_eq!(
            encoded.content_type,
            format!("multipart/related; type=\"application/xml\"; boundary=\"{boundary}\"")
        );
        let text = std::str::from_utf8(&encoded.body).unwrap();
        let parts: Vec<&str> = text.split(&format!("--{boundary}")).collect();
        assert_eq!((parts.len(), parts[0], parts[3]), (4, "", "--\r\n"));
        let (head, control) = parts[1].split_once("\r\n\r\n").unwrap();
        assert_eq!(head, "\r\nContent-Type: application/xml; charset=UTF-8");
        assert!(control.contains("<!DOCTYPE pap PUBLIC \"-//WAPFORUM//DTD PAP 2.1//EN\""));
        assert_eq!(
            evfw::tests::read(control.trim_end()),
            [
                // The line ends of the prologue.
                "= \r\n",
                "= \r\n",
                "pap product-name=mss",
                "push-message push-id=9-000000000000000000000001-0 \
                 deliver-before-timestamp=2023-11-14T23:13:22Z source-reference=m&s",
                "address address-value=WAPPUSH=+33612345678/TYPE=PLMN/",
                "quality-of-service delivery-method=unconfirmed/",
            ]
        );
        let (head, content) = parts[2].split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head,
            "\r\nContent-Type: application/vnd.oma.cpm-eventfw+xml\r\nX-Push-Triggering-Device: <urn:gsma:imei:1&2>"
        );
        assert_eq!(content.trim_end().as_bytes(), evfw::report(&notice()));
    }

    #[test]
    fn gateways_answer_in_xml() {
        let check =
            |answer: &str, expected: Verdict| assert_eq!(verdict(answer.as_bytes()), expected, "{answer}");
        let pap = |inside: &str| {
            format!(
                "<?xml version=\"1.0\"?><!DOCTYPE pap PUBLIC \"-//WAPFORUM//DTD PAP 2.1//EN\" \"x\">\
                 <pap><push-response push-id=\"1\">{inside}</push-response></pap>"
            )
        };
        let result = |code: &str| pap(&format!("<response-result code=\"{code}\" desc=\"a &amp; b\"/>"));
        let told = |code: &str| format!("the gateway answered {code} a & b");
        check(&result("1001"), Verdict::Accepted);
        check(&result("2007"), Verdict::Accepted);
        check(&result("2002"), Verdict::Refused(told("2002")));
        check(&result("3003"), Verdict::Unavailable(told("3003")));
        check(&result("4001"), Verdict::Unavailable(told("4001")));
        check(&result(""), Verdict::Failed(told("")));
        check(
            "<pap><badmessage-response code=\"2000\" desc=\"no\" bad-message-fragment=\"x\"/></pap>",
            Verdict::Refused("the gateway answered 2000 no".into()),
        );
        for wrong in ["", "OK", "<pap>", "<pap/>", "<html><body>busy</body></html>", "<pap", "<a></b>"] {
            assert!(matches!(verdict(wrong.as_bytes()), Verdict::Failed(_)), "{wrong}");
        }
        assert!(matches!(verdict(b"\xff\xfe"), Verdict::Failed(_)));
    }
}
