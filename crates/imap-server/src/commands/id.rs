//! `ID`: who the two programs are.
//!
//! Source: RFC 2971 §3. Answers OK, and BAD when `device-id` is not the identity of a device. What the client says of
//! itself goes to the log, cut and made printable; the field `device-id`, before login or after, names the device whose
//! changes are made here (OMA CPM Message Storage, Message-seen-identity).

use imap_wire::IString;
use model::DeviceId;

use crate::connection::Output;
use crate::reply::Reply;
use crate::session::Session;

/// Octets of a client's value that go to the log.
const LOGGED_BYTES_MAX: usize = 64;

pub(crate) async fn run(
    session: &mut Session,
    out: &mut Output,
    fields: Vec<(IString, Option<IString>)>,
) -> Reply {
    let said = |name: &str| {
        let field = fields.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
        field.and_then(|(_, value)| value.as_ref()).map(printable).unwrap_or_default()
    };
    tracing::debug!(connection = session.id, name = said("name"), version = said("version"), "client");
    if let Some((_, Some(device))) =
        fields.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(b"device-id"))
    {
        match DeviceId::parse(device.as_bytes()) {
            Ok(device) => session.set_device(device),
            Err(error) => return Reply::bad(error.to_string()),
        }
    }
    // Before login the version is nobody's business.
    if session.login.is_some() {
        out.untagged(format_args!(r#"ID ("name" "mss" "version" "{}")"#, env!("CARGO_PKG_VERSION")));
    } else {
        out.untagged(format_args!(r#"ID ("name" "mss")"#));
    }
    Reply::ok("ID completed")
}

fn printable(value: &IString) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.chars().take(LOGGED_BYTES_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}
