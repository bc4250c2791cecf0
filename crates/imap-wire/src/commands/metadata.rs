//! `GETMETADATA`, `SETMETADATA`.
//!
//! ```abnf
//! getmetadata        = "GETMETADATA" [SP getmetadata-opts] SP mailbox SP entries
//! getmetadata-opts   = "(" getmetadata-option *(SP getmetadata-option) ")"
//! getmetadata-option = "MAXSIZE" SP number / "DEPTH" SP ("0" / "1" / "infinity")
//! entries            = entry / "(" entry *(SP entry) ")"
//! setmetadata        = "SETMETADATA" SP mailbox SP "(" entry SP value *(SP entry SP value) ")"
//! entry              = astring        ; a path below /private or /shared, without * and %
//! value              = nstring / literal8
//! ```
//!
//! The examples of RFC 5464 §4.2 have the options behind the mailbox, against its grammar, and there are clients that
//! send them so; both places are taken.
//!
//! Source: RFC 5464 §5, errata 2785 and 2786.

use model::EntryName;

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::{Fail, Parse};
use crate::mailbox::MailboxArg;
use crate::string::IString;

/// Arguments of `GETMETADATA`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetMetadata {
    /// How much to tell.
    pub options: MetadataOptions,
    /// The mailbox; empty for the server.
    pub mailbox: MailboxArg,
    /// The entries, one or more.
    pub entries: Vec<EntryName>,
}

/// Options of `GETMETADATA`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataOptions {
    /// `MAXSIZE`: values of more octets are left out.
    pub max_size: Option<u32>,
    /// `DEPTH`: entries below those named.
    pub depth: Depth,
}

/// How far below an entry to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// `0`: the entry alone.
    #[default]
    Zero,
    /// `1`: and those one level below.
    One,
    /// `infinity`: and all below.
    Infinity,
}

/// Arguments of `SETMETADATA`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMetadata {
    /// The mailbox; empty for the server.
    pub mailbox: MailboxArg,
    /// Entries and their new values; none removes one.
    pub entries: Vec<(EntryName, Option<IString>)>,
}

pub(crate) fn get(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a mailbox name")?;
    let mut options = None;
    if c.peek() == Some(b'(') {
        options = Some(get_options(c)?);
        c.space("a mailbox name")?;
    }
    let mailbox = c.mailbox()?;
    c.space("names of metadata entries")?;
    // Every entry begins with a slash, or with the quote or brace before it; no option does.
    if options.is_none() && matches!(c.rest(), [b'(', letter, ..] if letter.is_ascii_alphabetic()) {
        options = Some(get_options(c)?);
        c.space("names of metadata entries")?;
    }
    let entries = if c.peek() == Some(b'(') { entry_list(c)? } else { vec![entry(c)?] };
    Ok(Command::GetMetadata(GetMetadata { options: options.unwrap_or_default(), mailbox, entries }))
}

fn get_options(c: &mut Cursor<'_>) -> Parse<MetadataOptions> {
    let mut options = MetadataOptions::default();
    c.list1("MAXSIZE and DEPTH", |c| {
        match c.word("MAXSIZE or DEPTH")?.to_ascii_uppercase().as_slice() {
            b"MAXSIZE" => {
                c.space("octets")?;
                options.max_size = Some(c.number("a size in octets")?);
            }
            b"DEPTH" => {
                c.space("0, 1 or infinity")?;
                options.depth = match c.word("0, 1 or infinity")?.to_ascii_lowercase().as_slice() {
                    b"0" => Depth::Zero,
                    b"1" => Depth::One,
                    b"infinity" => Depth::Infinity,
                    _ => return Err(Fail::syntax("DEPTH is 0, 1 or infinity")),
                };
            }
            _ => return Err(Fail::syntax("the options of GETMETADATA are MAXSIZE and DEPTH")),
        }
        Ok(())
    })?;
    Ok(options)
}

pub(crate) fn set(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a mailbox name")?;
    let mailbox = c.mailbox()?;
    c.space("metadata entries with their values")?;
    let mut entries = Vec::new();
    c.list1("metadata entries with their values", |c| {
        let name = entry(c)?;
        c.space("the entry's value")?;
        entries.push((name, c.nstring8("the entry's value, a string or NIL")?));
        Ok(())
    })?;
    Ok(Command::SetMetadata(SetMetadata { mailbox, entries }))
}

/// `"(" entry *(SP entry) ")"`.
pub(crate) fn entry_list(c: &mut Cursor<'_>) -> Parse<Vec<EntryName>> {
    let mut entries = Vec::new();
    c.list1("names of metadata entries", |c| {
        entries.push(entry(c)?);
        Ok(())
    })?;
    Ok(entries)
}

fn entry(c: &mut Cursor<'_>) -> Parse<EntryName> {
    let name = c.astring("the name of a metadata entry")?;
    EntryName::parse(name.as_bytes()).map_err(|error| Fail::syntax(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    fn name(text: &str) -> EntryName {
        EntryName::parse(text.as_bytes()).expect("a name")
    }

    fn got(options: MetadataOptions, mailbox: &'static str, entries: &[&str]) -> Command {
        let entries = entries.iter().map(|text| name(text)).collect();
        Command::GetMetadata(GetMetadata { options, mailbox: MailboxArg::new(mailbox.into()), entries })
    }

    #[test]
    fn get_table() {
        let plain = MetadataOptions::default();
        check("GETMETADATA \"\" /shared/comment", got(plain, "", &["/shared/comment"]));
        check(
            "GETMETADATA INBOX (/shared/comment /PRIVATE/comment)",
            got(plain, "INBOX", &["/shared/comment", "/private/comment"]),
        );
        let both = MetadataOptions { max_size: Some(1024), depth: Depth::Infinity };
        check("GETMETADATA (MAXSIZE 1024 DEPTH infinity) x /private", got(both, "x", &["/private"]));
        check("GETMETADATA x (depth INFINITY maxsize 1024) (/private)", got(both, "x", &["/private"]));
        let one = MetadataOptions { max_size: None, depth: Depth::One };
        check("GETMETADATA (DEPTH 1) x \"/private/a b\"", got(one, "x", &["/private/a b"]));
    }

    #[test]
    fn set_table() {
        let set = |entries: &[(&str, Option<&'static str>)]| {
            let entries = entries.iter().map(|(entry, value)| (name(entry), value.map(Into::into))).collect();
            Command::SetMetadata(SetMetadata { mailbox: MailboxArg::new("x".into()), entries })
        };
        check("SETMETADATA x (/private/comment NIL)", set(&[("/private/comment", None)]));
        check(
            "SETMETADATA x (/private/comment \"\" /shared/comment \"a b\")",
            set(&[("/private/comment", Some("")), ("/shared/comment", Some("a b"))]),
        );
        check("SETMETADATA x (/private/a {3}\r\na\"b)", set(&[("/private/a", Some("a\"b"))]));
        check("SETMETADATA x (/private/a ~{3+}\r\na\0b)", set(&[("/private/a", Some("a\0b"))]));
    }

    #[test]
    fn refused() {
        refuse("GETMETADATA", "mailbox name");
        refuse("GETMETADATA x", "names of metadata entries");
        refuse("GETMETADATA x ()", "at least one");
        refuse("GETMETADATA () x /private/a", "at least one");
        refuse("GETMETADATA (MAXSIZE) x /private/a", "octets");
        refuse("GETMETADATA (MAXSIZE -1) x /private/a", "a number");
        refuse("GETMETADATA (DEPTH 2) x /private/a", "0, 1 or infinity");
        refuse("GETMETADATA (FOO 1) x /private/a", "MAXSIZE and DEPTH");
        refuse("GETMETADATA x comment", "a path");
        refuse("GETMETADATA x /comment", "/private or /shared");
        refuse("GETMETADATA x \"/private/*\"", "without * and %");
        refuse("GETMETADATA x /private/a /private/b", "more arguments");
        refuse("SETMETADATA x", "their values");
        refuse("SETMETADATA x ()", "at least one");
        refuse("SETMETADATA x /private/a \"b\"", "parentheses");
        refuse("SETMETADATA x (/private/a)", "value");
        refuse("SETMETADATA x (/private/a atom)", "a string or NIL");
        refuse("SETMETADATA x (/private/a {3}\r\na\0b)", "NUL");
    }
}
