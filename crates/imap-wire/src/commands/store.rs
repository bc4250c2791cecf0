//! `STORE` and `UID STORE`.
//!
//! ```abnf
//! store           = "STORE" SP sequence-set [SP store-modifiers] SP store-att-flags
//! store-modifiers = "(" store-modifier *(SP store-modifier) ")"
//! store-modifier  = "UNCHANGEDSINCE" SP mod-sequence-valzer / "CPMDEVICE" SP astring
//! store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag))) /
//!                   "ANNOTATION" …                                      ; see `annotation`
//! ```
//!
//! Source: RFC 9051 §9, RFC 4466 §2.5, RFC 7162 §7. `CPMDEVICE` is this server's own (`XCPM-DEVICE`): a network function
//! names the device on whose behalf it changes flags (OMA CPM Message Storage, Message-seen-identity).

use crate::command::Command;
use crate::commands::annotation::{self, AnnotationValue};
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, ParseErrorKind, once};
use crate::flag::Flag;
use crate::sequence::SequenceSet;
use crate::string::IString;

/// Arguments of `STORE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Whether `set` has UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// Only messages whose mod-sequence is not above this (RFC 7162 §3.1.3).
    pub unchanged_since: Option<u64>,
    /// The device at which the change was made.
    pub device: Option<IString>,
    /// What to do with the flags.
    pub action: StoreAction,
    /// `.SILENT`: no FETCH responses for this change.
    pub silent: bool,
    /// The flags.
    pub flags: Vec<Flag>,
    /// `ANNOTATION`: annotations to change, and no flags (RFC 5257 §4.5).
    pub annotations: Option<Vec<AnnotationValue>>,
}

/// What `STORE` does with its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreAction {
    /// `FLAGS`: these and no others.
    Replace,
    /// `+FLAGS`: these too.
    Add,
    /// `-FLAGS`: not these.
    Remove,
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, false)
}

pub(crate) fn parse_uid(c: &mut Cursor<'_>) -> Parse<Command> {
    arguments(c, true)
}

#[inline]
fn arguments(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a set of messages")?;
    let set = c.sequence_set()?;
    c.space("FLAGS, +FLAGS, -FLAGS or ANNOTATION")?;
    let (mut unchanged_since, mut device) = (None, None);
    if c.peek() == Some(b'(') {
        c.list1("STORE modifiers", |c| {
            if c.eat_word(b"CPMDEVICE") {
                once(device.is_some())?;
                c.space("the identity of a device")?;
                device = Some(c.astring("the identity of a device")?);
                return Ok(());
            }
            if !c.eat_word(b"UNCHANGEDSINCE") {
                return Err(Fail::syntax("STORE takes the modifiers UNCHANGEDSINCE and CPMDEVICE only"));
            }
            once(unchanged_since.is_some())?;
            c.space("a mod-sequence")?;
            unchanged_since = Some(c.number63("a mod-sequence")?);
            Ok(())
        })?;
        c.space("FLAGS, +FLAGS, -FLAGS or ANNOTATION")?;
    }
    if c.eat_word(b"ANNOTATION") {
        let (action, silent, flags) = (StoreAction::Replace, true, Vec::new());
        let annotations = Some(annotation::values(c)?);
        return Ok(Command::Store(Store {
            uid,
            set,
            unchanged_since,
            device,
            action,
            silent,
            flags,
            annotations,
        }));
    }
    let action = if c.eat(b'+') {
        StoreAction::Add
    } else if c.eat(b'-') {
        StoreAction::Remove
    } else {
        StoreAction::Replace
    };
    let silent = match c.name() {
        name if name.eq_ignore_ascii_case(b"FLAGS") => false,
        name if name.eq_ignore_ascii_case(b"FLAGS.SILENT") => true,
        _ => {
            let text = "STORE changes FLAGS, +FLAGS or -FLAGS, each with .SILENT if wished, or ANNOTATION";
            return Err(Fail::syntax(text));
        }
    };
    c.space("flags")?;
    let flags = if c.peek() == Some(b'(') { c.flag_list()? } else { bare_flags(c)? };
    let annotations = None;
    Ok(Command::Store(Store { uid, set, unchanged_since, device, action, silent, flags, annotations }))
}

fn bare_flags(c: &mut Cursor<'_>) -> Parse<Vec<Flag>> {
    let mut flags = Vec::with_capacity(1);
    loop {
        if flags.len() >= c.limits.list_items_max {
            return Err(Fail::new(ParseErrorKind::TooMany, "too many flags"));
        }
        flags.push(c.flag()?);
        if !c.eat(b' ') {
            return Ok(flags);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse, set};

    #[test]
    fn table() {
        let plain = Store {
            uid: false,
            set: set(&[(2, 4)]),
            unchanged_since: None,
            device: None,
            action: StoreAction::Add,
            silent: false,
            flags: vec![Flag::Deleted],
            annotations: None,
        };
        check("STORE 2:4 +FLAGS (\\Deleted)", Command::Store(plain.clone()));
        check("UID STORE 2:4 +flags (\\deleted)", Command::Store(Store { uid: true, ..plain.clone() }));
        check("STORE 2:4 +FLAGS.SILENT \\Deleted", Command::Store(Store { silent: true, ..plain.clone() }));
        check("STORE 2:4 FLAGS ()", {
            Command::Store(Store { action: StoreAction::Replace, flags: vec![], ..plain.clone() })
        });
        check("STORE 2:4 -FLAGS \\Answered \\Flagged \\Seen \\Draft \\Recent $Junk \\read-report-sent", {
            let flags = vec![
                Flag::Answered,
                Flag::Flagged,
                Flag::Seen,
                Flag::Draft,
                Flag::Recent,
                Flag::Keyword("$Junk".into()),
                Flag::Extension("read-report-sent".into()),
            ];
            Command::Store(Store { action: StoreAction::Remove, flags, ..plain.clone() })
        });
        check("STORE 2:4 (UNCHANGEDSINCE 320162338) +FLAGS.SILENT (\\Deleted)", {
            Command::Store(Store { unchanged_since: Some(320162338), silent: true, ..plain.clone() })
        });
        let device = |text: &'static str| Some(IString::from(text));
        check("STORE 2:4 (CPMDEVICE \"<urn:gsma:imei:1>\") +FLAGS (\\Deleted)", {
            Command::Store(Store { device: device("<urn:gsma:imei:1>"), ..plain.clone() })
        });
        check("STORE 2:4 (cpmdevice tablet UNCHANGEDSINCE 7) +FLAGS (\\Deleted)", {
            Command::Store(Store { device: device("tablet"), unchanged_since: Some(7), ..plain.clone() })
        });
        check("STORE 2:4 (unchangedsince 0) +FLAGS (\\Deleted)", {
            Command::Store(Store { unchanged_since: Some(0), ..plain.clone() })
        });
    }

    #[test]
    fn refused() {
        refuse("STORE 1", "FLAGS");
        refuse("STORE 1 FLAGS", "flags");
        refuse("STORE 1 FLAGS ", "a flag");
        refuse("STORE 1 +-FLAGS x", "STORE changes");
        refuse("STORE 1 FLAG x", "STORE changes");
        refuse("STORE 1 FLAGS.QUIET x", "STORE changes");
        refuse("STORE 1 FLAGS (\\)", "flag name");
        refuse("STORE 1 FLAGS (\\*)", "flag name");
        refuse("STORE 1 FLAGS (a  b)", "a flag");
        refuse("STORE 1 FLAGS (a b", "closing parenthesis");
        refuse("STORE 1 FLAGS (\"a\")", "a flag");
        refuse("STORE 1 () FLAGS x", "at least one");
        refuse("STORE 1 (UNCHANGEDSINCE) FLAGS x", "a mod-sequence");
        refuse("STORE 1 (UNCHANGEDSINCE 1 UNCHANGEDSINCE 1) FLAGS x", "once");
        refuse("STORE 1 (CHANGEDSINCE 1) FLAGS x", "UNCHANGEDSINCE and CPMDEVICE only");
        refuse("STORE 1 (CPMDEVICE) FLAGS x", "the identity of a device");
        refuse("STORE 1 (CPMDEVICE a CPMDEVICE b) FLAGS x", "once");
        refuse(&format!("STORE 1 FLAGS{}", " a".repeat(2000)), "too many");
        refuse(&format!("STORE 1 FLAGS (a{})", " a".repeat(2000)), "at most");
    }

    #[test]
    fn flags_read_as_written() {
        for text in ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft", "\\Recent", "$k", "\\x-y"] {
            let flag = match text.strip_prefix('\\') {
                Some(name) => Flag::system(name.into()),
                None => Flag::Keyword(text.into()),
            };
            assert_eq!(flag.to_string(), text);
        }
    }
}
