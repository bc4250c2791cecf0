use super::*;
use crate::limits::Limits;

const CHAT: &str = "From: <tel:+33687654321>\r\nTo: <tel:+33612345678>\r\nDate: Sat, 21 Nov 2026 09:30:00 +0100\r\n\
    Conversation-ID: f81d4fae\r\nContribution-ID: abcdef\r\nIMDN-Message-ID: Mjkx9a1f\r\n\
    Message-Direction: received\r\nContent-Type: Message/CPIM\r\n";
const WRAPPER: &str = "\r\nFrom: <sip:anonymous@anonymous.invalid>\r\nTo: <sip:anonymous@anonymous.invalid>\r\n\
    NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: Mjkx9a1f\r\nDateTime: 2026-11-21T09:30:00+01:00\r\n\r\n";
const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n\r\nShall we meet at noon?";

fn index(message: &str) -> MessageIndex {
    crate::index::parse(message.as_bytes(), &Limits::default())
}

fn chat(more: &str, content: &str) -> MessageIndex {
    index(&format!("{CHAT}{more}{WRAPPER}{content}"))
}

fn texts(index: &MessageIndex) -> Vec<String> {
    index.faults().iter().map(Fault::to_string).collect()
}

#[test]
fn kinds() {
    let service =
        |name: &str| format!("P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.{name}\r\n");
    let imdn = "Content-Type: message/imdn+xml\r\nContent-Disposition: notification\r\n\r\n<imdn/>";
    let file = "Content-Type: application/vnd.gsma.rcs-ft-http+xml\r\n\r\n<file/>";
    for (more, content, expected) in [
        ("", TEXT, ObjectKind::Chat),
        (&service("session")[..], TEXT, ObjectKind::Chat),
        (&service("msg"), TEXT, ObjectKind::Standalone),
        (&service("largemsg"), TEXT, ObjectKind::Standalone),
        ("Subject: x\r\n", TEXT, ObjectKind::Standalone),
        ("InReplyTo-Contribution-ID: x\r\n", TEXT, ObjectKind::Standalone),
        ("", imdn, ObjectKind::Imdn),
        (&service("msg"), imdn, ObjectKind::Imdn),
        ("", file, ObjectKind::FileLink),
        // Message-Context comes first.
        ("Message-Context: pager-message\r\n", TEXT, ObjectKind::Sms),
        ("Message-Context: \"Multimedia-Message\"\r\n", file, ObjectKind::Mms),
        ("Message-Context: voice-message\r\n", imdn, ObjectKind::Voicemail),
        ("Message-Context: text-message\r\n", TEXT, ObjectKind::Chat),
    ] {
        assert_eq!(chat(more, content).kind(), expected, "{more}");
    }
    let with = |content_type: &str, body: &str| {
        index(&format!("Conversation-ID: x\r\nContent-Type: {content_type}\r\n\r\n{body}")).kind()
    };
    let related = "multipart/related; boundary=b; type=\"Application/X-CPM-File-Transfer\"";
    let parts = |of: &str| format!("--b\r\nContent-Type: {of}\r\n\r\n<x/>\r\n--b--\r\n");
    assert_eq!(with("Application/X-CPM-Session", "<session/>"), ObjectKind::SessionInfo);
    assert_eq!(with("application/group-state-object+xml", "<groupstate/>"), ObjectKind::GroupState);
    assert_eq!(with("application/conference-info+xml", "<conference-info/>"), ObjectKind::ConferenceInfo);
    assert_eq!(with(related, &parts("Application/X-CPM-File-Transfer")), ObjectKind::FileTransfer);
    assert_eq!(with("image/png", "x"), ObjectKind::Media);
    for mail in
        ["Subject: x\r\n\r\nx", "Message-Context: voice-message\r\nContent-Type: audio/amr\r\n\r\nx", ""]
    {
        assert_eq!((index(mail).kind(), index(mail).faults()), (ObjectKind::Mail, Vec::new()), "{mail}");
    }
}

/// The root of a multipart/related is what its `type` and `start` tell, wherever it stands (RFC 2387 §3).
#[test]
fn the_root_of_related_parts() {
    const FILE: &str = "application/x-cpm-file-transfer";
    const SESSION: &str = "Application/X-CPM-Session";
    let message = |parameters: &str, parts: &[(&str, &str)]| {
        let part = |(id, media_type): &(&str, &str)| {
            format!("--b\r\nContent-ID: {id}\r\nContent-Type: {media_type}\r\n\r\nx\r\n")
        };
        let parts: String = parts.iter().map(part).collect();
        index(&format!(
            "Contribution-ID: x\r\nContent-Type: multipart/related; boundary=b{parameters}\r\n\r\n{parts}--b--\r\n"
        ))
    };
    let picture_first = [("<1@x>", "image/png"), ("<2@x>", FILE)];
    let object_first = [("<1@x>", SESSION), ("<2@x>", FILE)];
    for (parameters, parts, expected) in [
        // Neither: the first part.
        ("", picture_first, ObjectKind::Media),
        ("", object_first, ObjectKind::SessionInfo),
        // `start`, with and without brackets; one that names no part.
        ("; start=\"<2@x>\"", picture_first, ObjectKind::FileTransfer),
        ("; start=\"2@x\"", object_first, ObjectKind::FileTransfer),
        ("; start=\"<1@x>\"", picture_first, ObjectKind::Media),
        ("; start=\"<3@x>\"", object_first, ObjectKind::SessionInfo),
        ("; start=\"<>\"", object_first, ObjectKind::SessionInfo),
        // `type`, by itself and beside `start`; one that is no object's leaves it to the part.
        ("; type=\"Application/X-CPM-File-Transfer\"", picture_first, ObjectKind::FileTransfer),
        ("; type=application/x-cpm-file-transfer", object_first, ObjectKind::FileTransfer),
        ("; type=\"application/x-cpm-session\"; start=\"<1@x>\"", object_first, ObjectKind::SessionInfo),
        ("; type=\"text/xml\"; start=\"<2@x>\"", object_first, ObjectKind::FileTransfer),
        ("; type=\"text/xml\"", object_first, ObjectKind::SessionInfo),
    ] {
        let index = message(parameters, &parts);
        assert_eq!(index.kind(), expected, "{parameters}");
        assert_eq!(MessageIndex::decode(index.encode()).map(|index| index.kind()), Ok(expected));
    }
    // A part of a part is not meant, nor is the parameter of another multipart.
    let nested = "multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-ID: <2@x>\r\nContent-Type: application/x-cpm-session\r\n\r\nx\r\n--c--";
    assert_eq!(message("; start=\"<2@x>\"", &[("<1@x>", nested)]).kind(), ObjectKind::Media);
    let mixed = "Contribution-ID: x\r\nContent-Type: multipart/mixed; boundary=b; type=\"application/x-cpm-session\"\r\n\r\n\
        --b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--\r\n";
    assert_eq!(index(mixed).kind(), ObjectKind::Media);
}

/// Of an index that was written before roots were noted the first part counts, as it did then.
#[test]
fn an_index_without_the_entry_of_the_root() {
    let message = "Contribution-ID: x\r\nContent-Type: multipart/related; boundary=b; start=\"<2@x>\"\r\n\r\n\
        --b\r\nContent-ID: <1@x>\r\nContent-Type: application/x-cpm-session\r\n\r\nx\r\n\
        --b\r\nContent-ID: <2@x>\r\nContent-Type: application/x-cpm-file-transfer\r\n\r\nx\r\n--b--\r\n";
    let today = index(message);
    let raw = today.encode();
    let entry = raw.len() - "application/x-cpm-file-transfer".len() - 2;
    assert_eq!(raw[entry], Tag::RootType as u8);
    let before = MessageIndex::decode(raw.slice(..entry)).expect("an index");
    assert_eq!((today.kind(), before.kind()), (ObjectKind::FileTransfer, ObjectKind::SessionInfo));
}

#[test]
fn s3_01_what_an_object_must_have() {
    assert_eq!(texts(&chat("", TEXT)), [""; 0]);
    for name in ["From", "To", "Date", "Conversation-ID", "Contribution-ID"] {
        let message = format!("{CHAT}{WRAPPER}{TEXT}");
        let start = message.find(&format!("{name}: ")).expect("there");
        let end = start + message[start..].find("\r\n").expect("a line") + 2;
        let without = index(&format!("{}{}", &message[..start], &message[end..]));
        assert_eq!(texts(&without), [format!("{name} is missing or cannot be read")]);
    }
    let bare = "From: <tel:+1>\r\nTo: <tel:+2>\r\nDate: Sat, 21 Nov 2026 09:30:00 +0100\r\nConversation-ID: a b\r\n\
        Contribution-ID: c\r\nIMDN-Message-ID: d\r\nMessage-Direction: up\r\n";
    assert_eq!(
        texts(&index(&format!("{bare}Subject: x\r\nContent-Type: message/cpim\r\n\r\nno wrapper"))),
        [
            "P-Asserted-Service is missing or cannot be read",
            "Conversation-ID must be 1 to 255 visible characters without blanks",
            "Message-Direction must be \"sent\" or \"received\"",
            "the CPIM wrapper cannot be read",
        ]
    );
    assert_eq!(
        texts(&index(&format!("{CHAT}\r\n"))),
        ["the CPIM wrapper cannot be read", "the body is empty"]
    );
    let twice = texts(&chat("Conversation-ID: again\r\n", TEXT));
    assert_eq!(twice, ["each CPM header must stand once, with 1 to 512 octets"]);
}

#[test]
fn s3_02_the_service_stands_where_it_belongs() {
    let service = "P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.";
    assert_eq!(texts(&chat(&format!("{service}msg\r\nSubject: x\r\n"), TEXT)), [""; 0]);
    assert_eq!(texts(&chat("Subject: x\r\n", TEXT)), ["P-Asserted-Service is missing or cannot be read"]);
    assert_eq!(texts(&chat(&format!("{service}session\r\n"), TEXT)), ["P-Asserted-Service may not be there"]);
    assert_eq!(
        texts(&chat(&format!("{service}msg\r\nMessage-Context: pager-message\r\n"), TEXT)),
        ["P-Asserted-Service may not be there"]
    );
    let headers = CHAT.replace("Message/CPIM", "multipart/related; boundary=b");
    let body =
        "\r\n--b\r\nContent-Type: application/x-cpm-file-transfer\r\n\r\n<file-transfer/>\r\n--b--\r\n";
    assert_eq!(texts(&index(&format!("{headers}{service}filetransfer\r\n{body}"))), [""; 0]);
    assert_eq!(
        texts(&index(&format!("{headers}{body}"))),
        ["P-Asserted-Service is missing or cannot be read"]
    );
    let headers = CHAT.replace("Message/CPIM", "application/group-state-object+xml");
    assert_eq!(
        texts(&index(&format!("{headers}{service}session\r\n\r\n<groupstate/>"))),
        ["P-Asserted-Service may not be there"]
    );
}

#[test]
fn s3_03_the_correlator_is_text_or_id_as_the_context_says() {
    let sms = "Message-Context: pager-message\r\nMessage-Correlator: ";
    let mms = "Message-Context: multimedia-message\r\nMessage-Correlator: ";
    let wrong = "Message-Correlator must be the text of the SMS or a part of it";
    let long = format!("Content-Type: text/plain\r\n\r\n{}", "a b ".repeat(200));
    let encoded = "=?utf-8?b?U2hhbGwgd2UgbWVldA==?=";
    for (more, content, expected) in [
        (format!("{sms}Shall we meet at noon?"), TEXT, None),
        (format!("{sms}meet  at"), TEXT, None),
        (format!("{sms}{encoded}"), TEXT, None),
        (format!("{sms}Shall we not"), TEXT, Some(wrong)),
        (format!("{sms}<1234@mmsc.example>"), TEXT, Some(wrong)),
        (format!("{sms}the end of it, perhaps"), &long, None),
        (format!("{mms}<1234@mmsc.example>"), TEXT, None),
        (
            format!("{mms}Shall we meet"),
            TEXT,
            Some("Message-Correlator must be the Message-ID of the MMS, without blanks"),
        ),
        (
            "Message-Context: text-message\r\nMessage-Correlator: x".to_owned(),
            TEXT,
            Some("Message-Context must be \"pager-message\" with an SMS, \"multimedia-message\" with an MMS"),
        ),
        ("Message-Context: letter".to_owned(), TEXT, Some("Message-Context must be one of RFC 3458")),
    ] {
        let found = texts(&chat(&format!("{more}\r\n"), content));
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{more}");
    }
}

#[test]
fn s3_04_a_correlator_comes_with_its_context() {
    let found = texts(&chat("Message-Correlator: Shall we meet\r\n", TEXT));
    assert_eq!(found, ["Message-Context is missing or cannot be read"]);
}

#[test]
fn s3_05_an_object_without_an_id_is_given_one() {
    let without = CHAT.replace("IMDN-Message-ID: Mjkx9a1f\r\n", "");
    let of = |message: String| {
        let index = index(&message);
        let block = &message.as_bytes()[..index.header_len() as usize];
        assert_eq!(is_given_id(block), index.made_imdn_message_id().is_some(), "{message}");
        let id = index.imdn_message_id().map(|id| String::from_utf8_lossy(id).into_owned());
        assert_eq!(
            index.made_imdn_message_id().is_some(),
            id.is_some() && !message.contains("IMDN-Message-ID")
        );
        id
    };
    assert_eq!(of(format!("{CHAT}{WRAPPER}{TEXT}")).as_deref(), Some("Mjkx9a1f"));
    // The one of the wrapper, where there is one that can be used.
    assert_eq!(of(format!("{without}{WRAPPER}{TEXT}")).as_deref(), Some("Mjkx9a1f"));
    let bare = "\r\nFrom: <tel:+1>\r\nimdn.Message-ID: two words\r\n\r\n";
    let made = of(format!("{without}{bare}{TEXT}")).expect("made");
    assert!(made.starts_with("mss.") && made.len() == 36 && rules::is_id(made.as_bytes()), "{made}");
    assert_eq!(of(format!("{without}{bare}{TEXT}")), Some(made.clone()), "the same octets, the same id");
    for other in [
        format!("{without}{bare}{TEXT}!"),
        format!("{}{bare}{TEXT}", without.replace("09:30:00", "09:30:01")),
        format!("{}{bare}{TEXT}", without.replace("abcdef", "abcdeg")),
    ] {
        assert_ne!(of(other).as_ref(), Some(&made));
    }
    let state = "Conversation-ID: x\r\nContent-Type: application/group-state-object+xml\r\n\r\n<groupstate/>";
    assert!(of(state.to_owned()).is_some());
    // Neither mail, nor what only the voicemail system knows, nor where there is one that cannot be kept.
    let none = [
        "Subject: x\r\n\r\nx".to_owned(),
        "Conversation-ID: x\r\nMessage-Context: voice-message\r\n\r\nx".to_owned(),
        format!("Conversation-ID: x\r\nIMDN-Message-ID: {}\r\n\r\nx", "i".repeat(600)),
        "Conversation-ID:\r\n\r\nx".to_owned(),
    ];
    for message in none {
        assert_eq!(of(message), None);
    }
}

#[test]
fn s3_06_the_wrapper_takes_any_content_and_private_recipients() {
    let wrapper = "\r\nFrom: <tel:+33687654321>\r\nTo: <tel:+33612345678>\r\nTo: <tel:+33600000001>\r\n\
        DateTime: 2026-11-21T09:30:00+01:00\r\n\r\n";
    let image = "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=";
    let mixed = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n";
    for (content, expected) in [(image, "image/png"), (mixed, "multipart/mixed"), (TEXT, "text/plain")] {
        let message = format!("{CHAT}{wrapper}{content}");
        let index = index(&message);
        assert_eq!((index.wrapped_type(), index.faults()), (Some(expected), Vec::new()));
        let cpim = crate::cpim::parse(&message.as_bytes()[index.header_len() as usize..]).expect("CPIM");
        let to: Vec<&str> = cpim.addresses("To").map(|address| address.uri).collect();
        assert_eq!(to, ["tel:+33612345678", "tel:+33600000001"]);
    }
}

#[test]
fn s3_08_what_a_voicemail_must_have() {
    let voicemail = "Conversation-ID: tel:+33687654321\r\nIMDN-Message-ID: vms-17\r\n\
        Message-Context: voice-message\r\nContent-Type: Message/CPIM\r\n";
    let audio = format!("{WRAPPER}Content-Type: audio/amr\r\n\r\n#!AMR");
    let whole = index(&format!("{voicemail}{audio}"));
    assert_eq!((whole.kind(), texts(&whole)), (ObjectKind::Voicemail, Vec::new()));
    for (name, value) in [("Conversation-ID", "tel:+33687654321"), ("IMDN-Message-ID", "vms-17")] {
        let without = voicemail.replace(&format!("{name}: {value}\r\n"), "");
        let found = texts(&index(&format!("{without}{audio}")));
        assert_eq!(found, [format!("{name} is missing or cannot be read")]);
    }
    let other = voicemail.replace("Message/CPIM", "audio/amr");
    assert_eq!(texts(&index(&format!("{other}\r\n#!AMR"))), ["Content-Type must be Message/CPIM"]);
    assert_eq!(
        texts(&index(&format!("{voicemail}\r\n"))),
        ["the CPIM wrapper cannot be read", "the body is empty"]
    );
}

#[test]
fn notifications_are_kept_as_facts() {
    let imdn = "Content-Type: message/imdn+xml\r\n\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\
        <message-id>Msg-1</message-id><datetime>2026-11-21T09:30:00Z</datetime>\
        <display-notification><status><displayed/></status></display-notification></imdn>";
    let index = chat("", imdn);
    let expected =
        Imdn { message_id: "Msg-1".into(), notification: Notification::Display, status: Status::Displayed };
    assert_eq!((index.kind(), index.imdn(), texts(&index)), (ObjectKind::Imdn, Some(expected), Vec::new()));
    let broken = chat("", "Content-Type: message/imdn+xml\r\n\r\n<imdn>");
    assert_eq!(broken.imdn(), None);
    assert_eq!(texts(&broken), ["the notification is none of RFC 5438"]);
    assert_eq!(chat("", TEXT).imdn(), None);
}
