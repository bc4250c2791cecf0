//! Documents of the type `application/reginfo+xml`.
//!
//! Source: RFC 3680 §5 (schema), RFC 5628 §5 (GRUUs). Read with bounds, and strictly where a doubt would give access:
//! elements of other namespaces are skipped, a document type is refused, so there are no entities but XML's own.

use model::DeviceId;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

use crate::limits::{
    CONTACTS_MAX, DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX, REGISTRATIONS_MAX, TEXT_BYTES_MAX,
};

const REGINFO: &[u8] = b"urn:ietf:params:xml:ns:reginfo";
const GRUUINFO: &[u8] = b"urn:ietf:params:xml:ns:gruuinfo";

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegInfo {
    /// Ascends by one with each document of a subscription.
    pub version: u32,
    /// Whether it tells all there is, and not only what changed.
    pub full: bool,
    /// In the order of the document.
    pub registrations: Vec<Registration>,
}

/// What a document says of an address of record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The address of record, a URI.
    pub aor: String,
    /// Distinct within the subscription, and the same in all of its documents.
    pub id: String,
    /// Whether something is registered: state `active`, neither `init` nor `terminated`.
    pub active: bool,
    /// In the order of the document.
    pub contacts: Vec<Contact>,
}

/// What a document says of a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Distinct within the subscription, and the same in all of its documents.
    pub id: String,
    /// Whether it is registered: state `active`, not `terminated`.
    pub active: bool,
    /// Where the device is reached.
    pub uri: String,
    /// Which device it is, by its `+sip.instance` or else its public GRUU.
    pub device: Option<DeviceId>,
}

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reginfo document: {0}")]
pub struct RegInfoError(String);

fn fail<T>(why: impl Into<String>) -> Result<T, RegInfoError> {
    Err(RegInfoError(why.into()))
}

/// Elements that are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    RegInfo,
    Registration,
    Contact,
    Uri,
    Instance,
    PublicGruu,
    Other,
}

impl RegInfo {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it, or which bound it exceeds.
    pub fn parse(document: &[u8]) -> Result<Self, RegInfoError> {
        if document.len() > DOCUMENT_BYTES_MAX {
            return fail(format!("it has more than {DOCUMENT_BYTES_MAX} octets"));
        }
        let text = std::str::from_utf8(document).map_err(|_| RegInfoError("it is not UTF-8".into()))?;
        let mut reader = NsReader::from_str(text);
        let mut builder = Builder::default();
        loop {
            let (namespace, event) =
                reader.read_resolved_event().map_err(|error| RegInfoError(error.to_string()))?;
            match event {
                Event::Start(start) => {
                    let element = builder.element(&namespace, &start);
                    builder.open(element, &start)?;
                }
                Event::Empty(start) => {
                    let element = builder.element(&namespace, &start);
                    builder.open(element, &start)?;
                    builder.close()?;
                }
                Event::End(_) => builder.close()?,
                Event::Text(text) => builder.text(&text.xml10_content())?,
                Event::CData(text) => builder.text(&text.xml10_content())?,
                Event::GeneralRef(reference) => {
                    let resolved = match reference.resolve_char_ref() {
                        Ok(Some(c)) => c.to_string(),
                        Ok(None) => quick_xml::escape::resolve_predefined_entity(&reference.xml10_content())
                            .map(str::to_owned)
                            .ok_or_else(|| RegInfoError("it has an entity".into()))?,
                        Err(error) => return fail(error.to_string()),
                    };
                    builder.text(&resolved)?;
                }
                Event::DocType(_) => return fail("it has a document type"),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
                Event::Eof => return builder.end(),
            }
        }
    }
}

/// A document under construction.
#[derive(Default)]
struct Builder {
    open: Vec<Element>,
    text: String,
    info: Option<RegInfo>,
    registration: Option<Registration>,
    contact: Option<Contact>,
    /// Public GRUU of the contact, which counts where it names no instance.
    gruu: Option<DeviceId>,
}

impl Builder {
    fn element(&self, namespace: &ResolveResult<'_>, start: &BytesStart<'_>) -> Element {
        let ResolveResult::Bound(Namespace(namespace)) = namespace else {
            return Element::Other;
        };
        let name = start.local_name();
        let reginfo = namespace.as_bytes() == REGINFO;
        match (self.open.last(), name.as_ref().as_bytes()) {
            (None, b"reginfo") if reginfo => Element::RegInfo,
            (Some(Element::RegInfo), b"registration") if reginfo => Element::Registration,
            (Some(Element::Registration), b"contact") if reginfo => Element::Contact,
            (Some(Element::Contact), b"uri") if reginfo => Element::Uri,
            (Some(Element::Contact), b"unknown-param") if reginfo && is_instance(start) => Element::Instance,
            (Some(Element::Contact), b"pub-gruu") if namespace.as_bytes() == GRUUINFO => Element::PublicGruu,
            _ => Element::Other,
        }
    }

    fn open(&mut self, element: Element, start: &BytesStart<'_>) -> Result<(), RegInfoError> {
        if self.open.len() >= DOCUMENT_DEPTH_MAX {
            return fail("it is nested too deep");
        }
        if self.open.is_empty() && (element != Element::RegInfo || self.info.is_some()) {
            return fail("its root is no reginfo");
        }
        self.open.push(element);
        self.text.clear();
        match element {
            Element::RegInfo => {
                let version = required(start, "version")?;
                let full = match required(start, "state")?.as_str() {
                    "full" => true,
                    "partial" => false,
                    _ => return fail("its state is neither full nor partial"),
                };
                let version =
                    version.trim().parse().map_err(|_| RegInfoError("its version is no number".into()))?;
                self.info = Some(RegInfo { version, full, registrations: Vec::new() });
            }
            Element::Registration => {
                let active = match required(start, "state")?.as_str() {
                    "active" => true,
                    "init" | "terminated" => false,
                    _ => return fail("a registration has a state that is none"),
                };
                let (aor, id) = (required(start, "aor")?, required(start, "id")?);
                self.registration = Some(Registration { aor, id, active, contacts: Vec::new() });
            }
            Element::Contact => {
                let active = match required(start, "state")?.as_str() {
                    "active" => true,
                    "terminated" => false,
                    _ => return fail("a contact has a state that is none"),
                };
                let id = required(start, "id")?;
                self.contact = Some(Contact { id, active, uri: String::new(), device: None });
            }
            Element::PublicGruu => {
                self.gruu = DeviceId::parse(required(start, "uri")?.as_bytes()).ok();
            }
            Element::Uri | Element::Instance | Element::Other => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), RegInfoError> {
        if !matches!(self.open.last(), Some(Element::Uri | Element::Instance)) {
            return Ok(());
        }
        if self.text.len() + text.len() > TEXT_BYTES_MAX {
            return fail("a text is too long");
        }
        self.text.push_str(text);
        Ok(())
    }

    fn close(&mut self) -> Result<(), RegInfoError> {
        match (self.open.pop(), &mut self.contact) {
            (Some(Element::Uri), Some(contact)) => self.text.trim().clone_into(&mut contact.uri),
            (Some(Element::Instance), Some(contact)) => {
                // As the header field has it, in quotes or not: "<urn:…>".
                let value = self.text.trim().trim_matches('"');
                contact.device = DeviceId::parse(value.as_bytes()).ok();
            }
            (Some(Element::Contact), _) => {
                let gruu = self.gruu.take();
                if let (Some(mut contact), Some(registration)) = (self.contact.take(), &mut self.registration)
                {
                    if registration.contacts.len() >= CONTACTS_MAX {
                        return fail("a registration has too many contacts");
                    }
                    contact.device = contact.device.or(gruu);
                    registration.contacts.push(contact);
                }
            }
            (Some(Element::Registration), _) => {
                if let (Some(registration), Some(info)) = (self.registration.take(), &mut self.info) {
                    if info.registrations.len() >= REGISTRATIONS_MAX {
                        return fail("it has too many registrations");
                    }
                    info.registrations.push(registration);
                }
            }
            _ => {}
        }
        self.text.clear();
        Ok(())
    }

    fn end(self) -> Result<RegInfo, RegInfoError> {
        match self.info {
            Some(info) if self.open.is_empty() => Ok(info),
            Some(_) => fail("it ends early"),
            None => fail("it is empty"),
        }
    }
}

fn is_instance(start: &BytesStart<'_>) -> bool {
    matches!(attribute(start, "name"), Ok(Some(name)) if name.eq_ignore_ascii_case("+sip.instance"))
}

fn required(start: &BytesStart<'_>, name: &str) -> Result<String, RegInfoError> {
    match attribute(start, name)? {
        Some(value) if !value.is_empty() => Ok(value),
        _ => fail(format!("an element has no {name}")),
    }
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, RegInfoError> {
    let found = start.try_get_attribute(name).map_err(|error| RegInfoError(error.to_string()))?;
    let Some(found) = found else { return Ok(None) };
    let value = found.normalized_value(XmlVersion::Implicit1_0);
    let value = value.map_err(|error| RegInfoError(error.to_string()))?;
    if value.len() > TEXT_BYTES_MAX {
        return fail(format!("the {name} of an element is too long"));
    }
    Ok(Some(value.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RFC 5628 §7 shows it, with the namespaces of RFC 3680 §5.
    const DOCUMENT: &str = r#"<?xml version="1.0"?>
<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" xmlns:gr="urn:ietf:params:xml:ns:gruuinfo" version="1" state="partial">
  <registration aor="sip:user@example.com" id="a7" state="active">
    <contact id="76" state="active" event="registered" duration-registered="7322" q="0.8">
      <uri>sip:user@192.0.2.1?a&amp;b</uri>
      <unknown-param name="+sip.instance">"&lt;urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6&gt;"</unknown-param>
      <gr:pub-gruu uri="sip:user@example.com;gr=hha9s8d-999a"/>
    </contact>
    <contact id="77" state="terminated" event="expired"><uri><![CDATA[sip:user@192.0.2.2]]></uri>
      <gr:pub-gruu uri="sip:user@example.com;gr=other"/><x:ext xmlns:x="urn:x"><uri>no</uri></x:ext></contact>
  </registration>
  <registration aor="tel:+15550000001" id="a8" state="init"/>
  <x:registration xmlns:x="urn:x" aor="sip:not@example.com" id="a9" state="active"/>
</reginfo>"#;

    #[test]
    fn a_document() {
        let info = RegInfo::parse(DOCUMENT.as_bytes()).expect("a document");
        assert_eq!((info.version, info.full, info.registrations.len()), (1, false, 2));
        let [user, number] = &info.registrations[..] else { panic!("{info:?}") };
        assert_eq!((user.aor.as_str(), user.id.as_str(), user.active), ("sip:user@example.com", "a7", true));
        assert_eq!((number.aor.as_str(), number.active), ("tel:+15550000001", false));
        let device = |text: &str| DeviceId::parse(text.as_bytes()).ok();
        let contact = |id: &str, active, uri: &str, named: &str| Contact {
            id: id.into(),
            active,
            uri: uri.into(),
            device: device(named),
        };
        let instance = "<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>";
        assert_eq!(
            user.contacts,
            [
                contact("76", true, "sip:user@192.0.2.1?a&b", instance),
                contact("77", false, "sip:user@192.0.2.2", "sip:user@example.com;gr=other"),
            ]
        );
    }

    #[test]
    fn refused() {
        let with = |inner: &str| {
            format!(
                "<reginfo xmlns='urn:ietf:params:xml:ns:reginfo' version='0' state='full'>{inner}</reginfo>"
            )
        };
        let contact = "<contact id='c' state='active'><uri>sip:a@b</uri></contact>";
        let registration = "<registration aor='sip:a@b' id='1' state='active'/>";
        for (document, why) in [
            (String::new(), "empty"),
            ("<reginfo version='0' state='full'/>".into(), "root"),
            (with("").replace("full", "some"), "state"),
            (with("").replace("'0'", "'-1'"), "version"),
            (with("<registration id='1' state='active'/>"), "no aor"),
            (with("<registration aor='sip:a@b' id='1' state='x'/>"), "state"),
            (with("").replace("</reginfo>", ""), "early"),
            (with("<a>"), "ill-formed"),
            (with("&e;"), "entity"),
            (format!("<!DOCTYPE r [<!ENTITY e 'x'>]>{}", with("&e;")), "document type"),
            (format!("{}{}", with(""), with("")), "root"),
            (with(&"<a>".repeat(20)), "deep"),
            (with(&registration.repeat(65)), "registrations"),
            (
                with(&registration.replace("/>", &format!(">{}</registration>", contact.repeat(65)))),
                "contacts",
            ),
            (with(&registration.replace("a@b", &"a".repeat(2_000))), "too long"),
            (with(&" ".repeat(65_536)), "octets"),
        ] {
            let error = RegInfo::parse(document.as_bytes()).expect_err(why).to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
        assert!(RegInfo::parse(b"\xff").is_err());
    }

    /// Cut short anywhere, and with any one octet changed, a document is read or refused.
    #[test]
    fn broken_documents_do_no_harm() {
        for end in 0..DOCUMENT.len() {
            assert!(RegInfo::parse(&DOCUMENT.as_bytes()[..end]).is_err(), "{end}");
        }
        for at in 0..DOCUMENT.len() {
            for octet in [0, b'<', b'>', b'"', b'&', b'/', 0xff] {
                let mut changed = DOCUMENT.as_bytes().to_vec();
                changed[at] = octet;
                let _ = RegInfo::parse(&changed);
            }
        }
    }
}
