//! Annotations in FETCH, STORE, APPEND, SEARCH and SORT.
//!
//! ```abnf
//! fetch-att    =/ "ANNOTATION" SP "(" entries SP attribs ")"
//! att-annotate = "ANNOTATION" SP "(" entry-att *(SP entry-att) ")"           ; in STORE and APPEND
//! entry-att    = entry SP "(" att-value *(SP att-value) ")"
//! att-value    = ("value.priv" / "value.shared") SP value
//! entries      = entry-match / "(" entry-match *(SP entry-match) ")"
//! attribs      = attrib / "(" attrib *(SP attrib) ")"
//! attrib       = ("value" / "size") [".priv" / ".shared"]                     ; an astring
//! entry        = astring          ; a path without * and %
//! entry-match  = list-mailbox     ; a path in which * and % are wildcards
//! search-key   =/ "ANNOTATION" SP entry-match SP ("value" / "value.priv" / "value.shared") SP value
//! sort-key     =/ "ANNOTATION" SP entry SP ("value.priv" / "value.shared")
//! value        = nstring / literal8
//! ```
//!
//! There are no other attributes than `value` and `size`, and the server sets `size`; so an attribute that cannot be meant is
//! refused here.
//!
//! Source: RFC 5257 §5, with its errata.

use model::{AnnotationName, AnnotationPattern, EntryScope};

use crate::commands::fetch::FetchItem;
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, ParseErrorKind};
use crate::string::IString;

/// A new value of an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationValue {
    /// The entry.
    pub name: AnnotationName,
    /// Who is to see it.
    pub scope: EntryScope,
    /// The value; none removes it.
    pub value: Option<IString>,
}

/// Which annotations to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAnnotation {
    /// The entries, one or more.
    pub entries: Vec<AnnotationPattern>,
    /// What of each, one or more, none twice.
    pub attributes: Vec<AnnotationAttribute>,
}

/// An attribute of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AnnotationAttribute {
    /// `size` rather than `value`.
    pub size: bool,
    /// `.priv` or `.shared`; both for none.
    pub scope: Option<EntryScope>,
}

/// `SP "(" entry-att *(SP entry-att) ")"`, behind `ANNOTATION` in STORE and APPEND.
pub(crate) fn values(c: &mut Cursor<'_>) -> Parse<Vec<AnnotationValue>> {
    let mut values = Vec::new();
    c.space("annotations with their values")?;
    c.list1("annotations with their values", |c| {
        let name = entry(c)?;
        c.space("the annotation's attributes with their values")?;
        c.list1("attributes with their values", |c| {
            if values.len() >= model::limits::ANNOTATION_CHANGES_MAX {
                return Err(Fail::new(ParseErrorKind::TooMany, "too many annotations at a time"));
            }
            let scope = stored_attribute(c)?;
            c.space("the annotation's value")?;
            let value = c.nstring8("the annotation's value, a string or NIL")?;
            values.push(AnnotationValue { name: name.clone(), scope, value });
            Ok(())
        })
    })?;
    Ok(values)
}

/// `SP "(" entries SP attribs ")"`, behind `ANNOTATION` in FETCH.
pub(crate) fn fetch(c: &mut Cursor<'_>) -> Parse<FetchAnnotation> {
    c.space("annotation entries and attributes in parentheses")?;
    c.expect(b'(', "expected annotation entries and attributes in parentheses")?;
    let mut entries = Vec::new();
    let mut attributes = Vec::new();
    one_or_list(c, "annotation entries", &mut entries, pattern)?;
    c.space("attributes of annotations")?;
    one_or_list(c, "attributes of annotations", &mut attributes, attribute)?;
    // Named twice, it is still shown once.
    let mut named = Vec::new();
    attributes.retain(|attribute| {
        let new = !named.contains(attribute);
        if new {
            named.push(*attribute);
        }
        new
    });
    c.expect(b')', "expected a closing parenthesis after the attributes")?;
    Ok(FetchAnnotation { entries, attributes })
}

/// Refuses more patterns in one command than may be asked for, in however many data items.
pub(crate) fn check_few(items: &[FetchItem]) -> Parse<()> {
    let entries = items.iter().flat_map(|item| match item {
        FetchItem::Annotation(item) => &item.entries[..],
        _ => &[],
    });
    if AnnotationPattern::are_few(entries) {
        Ok(())
    } else {
        Err(Fail::new(ParseErrorKind::TooMany, "too many annotation entries at a time"))
    }
}

/// `SP entry-match SP att-search SP value`, behind `ANNOTATION` in SEARCH.
pub(crate) fn search(c: &mut Cursor<'_>) -> Parse<(AnnotationPattern, Option<EntryScope>, Option<IString>)> {
    c.space("an annotation entry")?;
    let entry = pattern(c)?;
    c.space("value, value.priv or value.shared")?;
    let AnnotationAttribute { size: false, scope } = attribute(c)? else {
        return Err(Fail::syntax("value, value.priv and value.shared are what can be searched"));
    };
    c.space("a string to search for")?;
    Ok((entry, scope, c.nstring8("a string to search for")?))
}

/// `SP entry SP att-sort`, behind `ANNOTATION` in SORT.
pub(crate) fn sort(c: &mut Cursor<'_>) -> Parse<(AnnotationName, EntryScope)> {
    c.space("an annotation entry")?;
    let name = entry(c)?;
    c.space("value.priv or value.shared")?;
    Ok((name, stored_attribute(c)?))
}

fn one_or_list<T>(
    c: &mut Cursor<'_>,
    what: &'static str,
    all: &mut Vec<T>,
    one: impl Fn(&mut Cursor<'_>) -> Parse<T>,
) -> Parse<()> {
    if c.peek() != Some(b'(') {
        all.push(one(c)?);
        return Ok(());
    }
    c.list1(what, |c| {
        all.push(one(c)?);
        Ok(())
    })
}

fn entry(c: &mut Cursor<'_>) -> Parse<AnnotationName> {
    let name = c.astring("the name of an annotation entry")?;
    AnnotationName::parse(name.as_bytes()).map_err(|error| Fail::syntax(error.to_string()))
}

fn pattern(c: &mut Cursor<'_>) -> Parse<AnnotationPattern> {
    let pattern = c.list_mailbox()?;
    AnnotationPattern::parse(pattern.raw().as_bytes()).map_err(|error| Fail::syntax(error.to_string()))
}

fn attribute(c: &mut Cursor<'_>) -> Parse<AnnotationAttribute> {
    let name = c.astring("an attribute of annotations")?;
    let name = name.as_bytes().to_ascii_lowercase();
    let (kind, scope) = match name.iter().position(|b| *b == b'.') {
        None => (&name[..], None),
        Some(dot) => match &name[dot..] {
            b".priv" => (&name[..dot], Some(EntryScope::Private)),
            b".shared" => (&name[..dot], Some(EntryScope::Shared)),
            _ => (&b""[..], None),
        },
    };
    match kind {
        b"value" => Ok(AnnotationAttribute { size: false, scope }),
        b"size" => Ok(AnnotationAttribute { size: true, scope }),
        _ => Err(Fail::syntax("the attributes are value and size, each perhaps with .priv or .shared")),
    }
}

/// An attribute that says who sees its value (RFC 5257 §3.2.2).
fn stored_attribute(c: &mut Cursor<'_>) -> Parse<EntryScope> {
    match attribute(c)? {
        AnnotationAttribute { size: false, scope: Some(scope) } => Ok(scope),
        _ => Err(Fail::syntax("only value.priv and value.shared may stand here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, SearchKey, SortKey};
    use crate::testing::refuse;

    fn parsed(line: &'static str) -> Command {
        let line = bytes::Bytes::from_static(line.as_bytes());
        crate::parse_command(&line, &crate::Limits::default()).expect("valid").body
    }

    fn name(text: &str) -> AnnotationName {
        AnnotationName::parse(text.as_bytes()).expect("a name")
    }

    #[test]
    fn fetched() {
        let item = |line| {
            let Command::Fetch(fetch) = parsed(line) else { panic!("{line}") };
            let Some(FetchItem::Annotation(item)) = fetch.items.into_iter().last() else { panic!("{line}") };
            let patterns: Vec<String> = item.entries.iter().map(ToString::to_string).collect();
            (patterns.join(" "), item.attributes)
        };
        let attribute = |size, scope| AnnotationAttribute { size, scope };
        let both = attribute(false, None);
        assert_eq!(item("a FETCH 1 ANNOTATION (/comment value)"), ("/comment".into(), vec![both]));
        assert_eq!(
            item("a UID FETCH 1123 (UID ANNOTATION (/* (value.priv SIZE.shared)))"),
            (
                "/*".into(),
                vec![attribute(false, Some(EntryScope::Private)), attribute(true, Some(EntryScope::Shared))]
            )
        );
        assert_eq!(
            item("a FETCH 1 (ANNOTATION ((/comment \"/%/comment\") (value)))"),
            ("/comment /%/comment".into(), vec![both])
        );
        assert_eq!(
            item("a FETCH 1 ANNOTATION (/comment (value Value VALUE))"),
            ("/comment".into(), vec![both])
        );
        for (line, text) in [
            ("FETCH 1 ANNOTATION", "in parentheses"),
            ("FETCH 1 ANNOTATION /comment value", "in parentheses"),
            ("FETCH 1 ANNOTATION (/comment)", "attributes"),
            ("FETCH 1 ANNOTATION (/comment value x)", "closing parenthesis"),
            ("FETCH 1 ANNOTATION (comment value)", "is a path"),
            ("FETCH 1 ANNOTATION (/0/comment value)", "part of a message"),
            ("FETCH 1 ANNOTATION (/comment other)", "the attributes are"),
            ("FETCH 1 ANNOTATION (/comment value.priv.priv)", "the attributes are"),
            ("FETCH 1 ANNOTATION (/comment value*)", "closing parenthesis"),
            ("FETCH 1 ANNOTATION (/comment ())", "at least one"),
            ("FETCH 1 ANNOTATION (() value)", "at least one"),
        ] {
            refuse(line, text);
        }
    }

    #[test]
    fn stored_values() {
        let Command::Store(store) = parsed(
            "a UID STORE 1 ANNOTATION (/comment (value.priv \"My\" value.shared NIL) /1/comment (value.shared \"x\"))",
        ) else {
            panic!("no STORE")
        };
        let value = |entry, scope, value: Option<&'static str>| AnnotationValue {
            name: name(entry),
            scope,
            value: value.map(IString::from),
        };
        let expected = [
            value("/comment", EntryScope::Private, Some("My")),
            value("/comment", EntryScope::Shared, None),
            value("/1/comment", EntryScope::Shared, Some("x")),
        ];
        assert_eq!(store.annotations.as_deref(), Some(&expected[..]));
        for (line, text) in [
            ("STORE 1 ANNOTATION", "annotations with"),
            ("STORE 1 ANNOTATION ()", "at least one"),
            ("STORE 1 ANNOTATION (/comment (value.priv x))", "value"),
            ("STORE 1 ANNOTATION (/comment)", "attributes"),
            ("STORE 1 ANNOTATION (/comment ())", "at least one"),
            ("STORE 1 ANNOTATION (/comment (value.priv))", "value"),
            ("STORE 1 ANNOTATION (/comment (value \"x\"))", "only value.priv"),
            ("STORE 1 ANNOTATION (/comment (size.priv \"1\"))", "only value.priv"),
            ("STORE 1 ANNOTATION (/com* (value.priv \"x\"))", "attributes"),
            ("STORE 1 ANNOTATION (\"/com*\" (value.priv \"x\"))", "without * and %"),
            ("STORE 1 +ANNOTATION (/comment (value.priv \"x\"))", "STORE changes"),
            ("STORE 1 ANNOTATION.SILENT (/comment (value.priv \"x\"))", "STORE changes"),
        ] {
            refuse(line, text);
        }
    }

    #[test]
    fn searched_and_sorted() {
        let Command::Search(search) = parsed("a SEARCH ANNOTATION * value.priv \"IMAP4\"") else {
            panic!("no SEARCH")
        };
        let everything = AnnotationPattern::parse(b"*").expect("a pattern");
        let text = Some(IString::from("IMAP4"));
        assert_eq!(search.key, SearchKey::Annotation(everything, Some(EntryScope::Private), text));
        let Command::Sort(sort) =
            parsed("a SORT (REVERSE ANNOTATION /altsubject value.shared SUBJECT) UTF-8 ALL")
        else {
            panic!("no SORT")
        };
        let key = SortKey::Annotation(name("/altsubject"), EntryScope::Shared);
        assert_eq!((sort.criteria[0].reverse, &sort.criteria[0].key), (true, &key));
        for (line, text) in [
            ("SEARCH ANNOTATION /comment size \"1\"", "can be searched"),
            ("SEARCH ANNOTATION /comment value", "search for"),
            ("SEARCH ANNOTATION value \"x\"", "is a path"),
            ("SORT (ANNOTATION /comment value) UTF-8 ALL", "only value.priv"),
            ("SORT (ANNOTATION /% value.priv) UTF-8 ALL", "is a path"),
            ("SORT (ANNOTATION /comment size.priv) UTF-8 ALL", "only value.priv"),
        ] {
            refuse(line, text);
        }
    }
}
