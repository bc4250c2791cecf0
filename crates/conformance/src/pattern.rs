//! Comparing a response with what a transcript expects.
//!
//! Patterns are responses with holes. They know what RFC 9051 leaves open: the case of atoms, the order of FETCH items,
//! flags, capabilities, STATUS items and SEARCH results, quoted string or literal, `1,2,3` or `1:3`. The rules are told
//! to authors of transcripts in `transcripts/README.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::value::{Spaces, Value, ValueError, parse_response};

/// What `$name` stands for so far.
pub type Variables = BTreeMap<String, Value>;

/// FETCH items that a server may add to any FETCH response (RFC 7162 §3.2.4, RFC 9051 §7.5.2).
const FETCH_EXTRAS: [&str; 3] = ["FLAGS", "UID", "MODSEQ"];
/// Mailbox attributes that a server may add to any LIST response (RFC 9051 §7.3.1).
const LIST_EXTRAS: [&str; 4] = ["\\HASCHILDREN", "\\HASNOCHILDREN", "\\MARKED", "\\UNMARKED"];

/// Puts known variables into the `${name}` holes of a pattern or command.
pub fn expand(text: &[u8], variables: &Variables) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"${") {
        out.extend_from_slice(&rest[..at]);
        let tail = &rest[at + 2..];
        let Some(end) = tail.iter().position(|&octet| octet == b'}') else {
            return Err("`${` without `}`".to_owned());
        };
        let name = String::from_utf8_lossy(&tail[..end]).into_owned();
        let value = variables.get(&name).ok_or_else(|| format!("no variable `{name}` yet"))?;
        out.extend_from_slice(
            value.octets().map_or_else(|| value.display().into_bytes(), <[u8]>::to_vec).as_slice(),
        );
        rest = &tail[end + 1..];
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// Puts variables into the `$name` holes of a command.
pub fn substitute(text: &[u8], variables: &Variables) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&octet| octet == b'$') {
        out.extend_from_slice(&rest[..at]);
        let tail = &rest[at + 1..];
        let end = tail
            .iter()
            .position(|octet| !(octet.is_ascii_lowercase() || octet.is_ascii_digit() || *octet == b'_'))
            .unwrap_or(tail.len());
        if end == 0 {
            out.push(b'$');
        } else {
            let name = String::from_utf8_lossy(&tail[..end]).into_owned();
            let value = variables.get(&name).ok_or_else(|| format!("no variable `{name}` yet"))?;
            out.extend_from_slice(value.octets().unwrap_or_default());
        }
        rest = &tail[end..];
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// A pattern, its `${…}` holes filled, as values.
pub fn parse(text: &[u8]) -> Result<Vec<Value>, ValueError> {
    parse_response(text, Spaces::Lenient)
}

/// Whether the response is what the pattern says. Captures go to `variables` only if so.
pub fn matches(pattern: &[Value], response: &[Value], variables: &mut Variables) -> bool {
    let mut trial = variables.clone();
    if line(pattern, response, &mut trial) {
        *variables = trial;
        return true;
    }
    false
}

/// Whether a code pattern (`appenduid $validity $uid`) fits the response code of a status response.
pub fn code_matches(pattern: &[Value], response: &[Value], variables: &mut Variables) -> bool {
    let Some(Value::Code(code)) = response.get(2) else { return false };
    let mut trial = variables.clone();
    if code_line(pattern, code, &mut trial) {
        *variables = trial;
        return true;
    }
    false
}

fn line(pattern: &[Value], got: &[Value], variables: &mut Variables) -> bool {
    if pattern.is_empty() || got.is_empty() || !scalar(&pattern[0], &got[0], variables) {
        return false;
    }
    let (pattern, got) = (&pattern[1..], &got[1..]);
    if got.is_empty() || pattern.is_empty() {
        // A bare `+` or `*` pattern takes whatever follows.
        return pattern.is_empty() || pattern == [Value::atom("...")];
    }
    if pattern == [Value::atom("...")] {
        return true;
    }
    let word = got[0].keyword().unwrap_or_default();
    match word.as_str() {
        "OK" | "NO" | "BAD" | "BYE" | "PREAUTH" => status(pattern, got, variables),
        "CAPABILITY" | "ENABLED" | "SEARCH" => {
            scalar(&pattern[0], &got[0], variables) && set(&pattern[1..], &got[1..], &[], variables)
        }
        "FLAGS" => match (pattern, got) {
            ([word, Value::List(wanted)], [got_word, Value::List(flags)]) => {
                scalar(word, got_word, variables) && set(wanted, flags, &["\\RECENT"], variables)
            }
            _ => sequence(pattern, got, variables),
        },
        "LIST" | "LSUB" => match (pattern, got) {
            ([word, Value::List(wanted), rest @ ..], [got_word, Value::List(attributes), got_rest @ ..]) => {
                scalar(word, got_word, variables)
                    && set(wanted, attributes, &LIST_EXTRAS, variables)
                    && sequence(rest, got_rest, variables)
            }
            _ => sequence(pattern, got, variables),
        },
        "STATUS" => match (pattern, got) {
            ([word, name, Value::List(wanted)], [got_word, got_name, Value::List(items)]) => {
                scalar(word, got_word, variables)
                    && scalar(name, got_name, variables)
                    && chunks(wanted, items, 2, &[], variables)
            }
            _ => false,
        },
        "QUOTA" => match (pattern, got) {
            ([word, root, Value::List(wanted)], [got_word, got_root, Value::List(items)]) => {
                scalar(word, got_word, variables)
                    && scalar(root, got_root, variables)
                    && chunks(wanted, items, 3, &[], variables)
            }
            _ => false,
        },
        "ESEARCH" => search_result(pattern, got, variables),
        _ => match (pattern, got) {
            ([number, word, Value::List(wanted)], [got_number, got_word, Value::List(items)])
                if got_word.keyword().as_deref() == Some("FETCH") =>
            {
                scalar(number, got_number, variables)
                    && scalar(word, got_word, variables)
                    && chunks(wanted, items, 2, &FETCH_EXTRAS, variables)
            }
            _ => sequence(pattern, got, variables),
        },
    }
}

fn status(pattern: &[Value], got: &[Value], variables: &mut Variables) -> bool {
    // A hole here stands for a number (`* $n fetch`), never for a status.
    if hole(&pattern[0]).is_some() || !scalar(&pattern[0], &got[0], variables) {
        return false;
    }
    let wanted_code = pattern.iter().find_map(|value| match value {
        Value::Code(code) => Some(code),
        _ => None,
    });
    let code = got.iter().find_map(|value| match value {
        Value::Code(code) => Some(code),
        _ => None,
    });
    match (wanted_code, code) {
        (Some(wanted), Some(code)) => code_line(wanted, code, variables),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

fn code_line(wanted: &[Value], code: &[Value], variables: &mut Variables) -> bool {
    let (Some(word), Some(got_word)) = (wanted.first(), code.first()) else { return wanted.is_empty() };
    if !scalar(word, got_word, variables) {
        return false;
    }
    match got_word.keyword().as_deref() {
        Some("CAPABILITY") => set(&wanted[1..], &code[1..], &[], variables),
        Some("PERMANENTFLAGS" | "BADCHARSET") => match (&wanted[1..], &code[1..]) {
            ([Value::List(wanted)], [Value::List(flags)]) => set(wanted, flags, &[], variables),
            (wanted, got) => sequence(wanted, got, variables),
        },
        _ => sequence(&wanted[1..], &code[1..], variables),
    }
}

/// `ESEARCH (TAG "t") UID MIN 1 …`: the correlator and UID are matched as a word each, the items in any order.
fn search_result(pattern: &[Value], got: &[Value], variables: &mut Variables) -> bool {
    let split = |values: &[Value]| {
        let mut at = 1;
        let correlator = matches!(values.get(at), Some(Value::List(_))).then(|| {
            at += 1;
            values[at - 1].clone()
        });
        let uid = values.get(at).and_then(Value::keyword).as_deref() == Some("UID");
        at += usize::from(uid);
        (correlator, uid, values[at..].to_vec())
    };
    let (wanted_correlator, wanted_uid, wanted_items) = split(pattern);
    let (correlator, uid, items) = split(got);
    let correlated = match (wanted_correlator, correlator) {
        (Some(wanted), Some(got)) => scalar(&wanted, &got, variables),
        (Some(_), None) => false,
        (None, _) => true,
    };
    scalar(&pattern[0], &got[0], variables)
        && correlated
        && wanted_uid == uid
        && chunks(&wanted_items, &items, 2, &[], variables)
}

/// Values in order; `...` takes what is left.
fn sequence(pattern: &[Value], got: &[Value], variables: &mut Variables) -> bool {
    for (at, wanted) in pattern.iter().enumerate() {
        if *wanted == Value::atom("...") {
            return true;
        }
        match got.get(at) {
            Some(value) if scalar(wanted, value, variables) => {}
            _ => return false,
        }
    }
    got.len() == pattern.len()
}

/// Values in any order. `...` allows others, `!x` forbids one, `also` may be there unasked.
fn set(pattern: &[Value], got: &[Value], also: &[&str], variables: &mut Variables) -> bool {
    let mut left: Vec<&Value> = got.iter().collect();
    let mut open = false;
    let mut holes = Vec::new();
    for wanted in pattern {
        if *wanted == Value::atom("...") {
            open = true;
        } else if let Some(forbidden) = forbidden(wanted) {
            if got.iter().any(|value| scalar(&forbidden, value, variables)) {
                return false;
            }
        } else if is_hole(wanted, variables) {
            holes.push(wanted);
        } else if let Some(at) = left.iter().position(|value| scalar(wanted, value, variables)) {
            left.remove(at);
        } else {
            return false;
        }
    }
    for hole in holes {
        let Some(at) = left.iter().position(|value| scalar(hole, value, variables)) else { return false };
        left.remove(at);
    }
    open || left.iter().all(|value| value.keyword().is_some_and(|word| also.contains(&word.as_str())))
}

/// Keys with `size - 1` values each, in any order of the keys. `...`, `!KEY` and `also` as in [`set`].
fn chunks(pattern: &[Value], got: &[Value], size: usize, also: &[&str], variables: &mut Variables) -> bool {
    if !got.len().is_multiple_of(size) {
        return false;
    }
    let mut left: Vec<&[Value]> = got.chunks(size).collect();
    let mut open = false;
    let mut at = 0;
    while at < pattern.len() {
        if pattern[at] == Value::atom("...") {
            open = true;
            at += 1;
        } else if let Some(forbidden) = forbidden(&pattern[at]) {
            if got.chunks(size).any(|chunk| key_equal(&forbidden, &chunk[0])) {
                return false;
            }
            at += 1;
        } else {
            let Some(wanted) = pattern.get(at..at + size) else { return false };
            let found = left.iter().position(|chunk| {
                key_equal(&wanted[0], &chunk[0])
                    && wanted[1..].iter().zip(&chunk[1..]).all(|(w, v)| item(&wanted[0], w, v, variables))
            });
            let Some(found) = found else { return false };
            left.remove(found);
            at += size;
        }
    }
    open || left.iter().all(|chunk| chunk[0].keyword().is_some_and(|word| also.contains(&word.as_str())))
}

/// The value of a FETCH item: flags are a set, all else is as it stands.
fn item(key: &Value, wanted: &Value, got: &Value, variables: &mut Variables) -> bool {
    match (key.keyword().as_deref(), wanted, got) {
        (Some("FLAGS"), Value::List(wanted), Value::List(flags)) => {
            set(wanted, flags, &["\\RECENT"], variables)
        }
        // RFC 9051 §9 date-day-fixed: ` 1-Mar` and `01-Mar` are the same day.
        (Some("INTERNALDATE" | "SAVEDATE"), Value::Text(wanted), Value::Text(got)) => {
            let padded = |date: &[u8]| match date {
                [b' ', rest @ ..] => [b"0", rest].concat(),
                date => date.to_vec(),
            };
            padded(wanted) == padded(got)
        }
        _ => scalar(wanted, got, variables),
    }
}

/// Item names compare without case, and header names in them with or without quotes: `BODY[HEADER.FIELDS ("To")]`.
fn key_equal(wanted: &Value, got: &Value) -> bool {
    match (wanted.keyword(), got.keyword()) {
        (Some(wanted), Some(got)) => wanted.replace('"', "") == got.replace('"', ""),
        _ => false,
    }
}

fn forbidden(wanted: &Value) -> Option<Value> {
    match wanted {
        Value::Atom(text) if text.len() > 1 && text[0] == b'!' => Some(Value::Atom(text[1..].to_vec())),
        _ => None,
    }
}

fn is_hole(wanted: &Value, variables: &Variables) -> bool {
    hole(wanted).is_some_and(|hole| !variables.contains_key(hole.name))
}

struct Hole<'a> {
    name: &'a str,
    /// `$a>$b`: the relation and the other variable or number.
    relation: Option<(&'a str, &'a str)>,
}

/// `$name`: lower-case, so that keywords such as `$Forwarded` are what they look like.
fn hole(wanted: &Value) -> Option<Hole<'_>> {
    let Value::Atom(text) = wanted else { return None };
    let text = std::str::from_utf8(text).ok()?.strip_prefix('$')?;
    let end = text
        .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .unwrap_or(text.len());
    if end == 0 {
        return None;
    }
    let (name, rest) = text.split_at(end);
    if rest.is_empty() {
        return Some(Hole { name, relation: None });
    }
    for operator in [">=", "<=", "!=", ">", "<"] {
        if let Some(other) = rest.strip_prefix(operator) {
            return Some(Hole { name, relation: Some((operator, other)) });
        }
    }
    None
}

fn scalar(wanted: &Value, got: &Value, variables: &mut Variables) -> bool {
    if let Some(hole) = hole(wanted) {
        if let Some((operator, other)) = hole.relation {
            return related(got, operator, other, variables) && capture(hole.name, got, variables);
        }
        return capture(hole.name, got, variables);
    }
    if let Value::Atom(text) = wanted
        && text.contains(&b'$')
        && let Ok(filled) = substitute(text, variables)
        && filled != *text
    {
        return scalar(&Value::Atom(filled), got, variables);
    }
    match (wanted, got) {
        (Value::List(wanted), Value::List(got)) | (Value::Code(wanted), Value::Code(got)) => {
            sequence(wanted, got, variables)
        }
        (Value::Human(wanted), Value::Human(got)) => wanted == got,
        (Value::Atom(wanted), Value::Atom(got)) => {
            wanted.eq_ignore_ascii_case(got) || same_set(wanted, got) || same_section(wanted, got)
        }
        // NIL is an atom: the string "NIL" is another thing, both ways.
        (Value::Atom(wanted), Value::Text(got)) => {
            !wanted.eq_ignore_ascii_case(b"NIL") && wanted.eq_ignore_ascii_case(got)
        }
        (Value::Text(wanted), Value::Text(got)) => wanted == got,
        (Value::Text(wanted), Value::Atom(got)) => !got.eq_ignore_ascii_case(b"NIL") && wanted == got,
        _ => false,
    }
}

fn same_section(wanted: &[u8], got: &[u8]) -> bool {
    wanted.contains(&b'[') && key_equal(&Value::Atom(wanted.to_vec()), &Value::Atom(got.to_vec()))
}

fn capture(name: &str, got: &Value, variables: &mut Variables) -> bool {
    if name == "_" {
        return true;
    }
    if let Some(known) = variables.get(name).cloned() {
        return match (known.octets(), got.octets()) {
            (Some(known), Some(got)) => known == got || same_set(known, got),
            _ => known == *got,
        };
    }
    // NIL is never captured: a hole stands for something that is there.
    if got.keyword().as_deref() == Some("NIL") {
        return false;
    }
    variables.insert(name.to_owned(), got.clone());
    true
}

fn related(got: &Value, operator: &str, other: &str, variables: &Variables) -> bool {
    let number = |octets: &[u8]| std::str::from_utf8(octets).ok().and_then(|text| text.parse::<u64>().ok());
    let other = match other.strip_prefix('$') {
        Some(name) => variables.get(name).and_then(Value::octets).and_then(number),
        None => number(other.as_bytes()),
    };
    let (Some(left), Some(right)) = (got.octets().and_then(number), other) else { return false };
    match operator {
        ">" => left > right,
        "<" => left < right,
        ">=" => left >= right,
        "<=" => left <= right,
        _ => left != right,
    }
}

/// Two spellings of one set of numbers.
fn same_set(a: &[u8], b: &[u8]) -> bool {
    match (number_set(a), number_set(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// The members of `1:3,5`; none for what is no set, or a huge one.
pub fn number_set(text: &[u8]) -> Option<BTreeSet<u64>> {
    const MEMBERS_MAX: u64 = 100_000;
    let text = std::str::from_utf8(text).ok()?;
    let mut set = BTreeSet::new();
    for part in text.split(',') {
        let (from, to) = part.split_once(':').unwrap_or((part, part));
        let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
        let (from, to) = (from.min(to), from.max(to));
        if to - from > MEMBERS_MAX {
            return None;
        }
        set.extend(from..=to);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, response: &str, expected: bool) {
        let mut variables = Variables::new();
        variables.insert("known".to_owned(), Value::atom("7"));
        let pattern_values = parse(pattern.as_bytes()).expect("pattern");
        let values = parse_response(response.as_bytes(), Spaces::Strict).expect("response");
        assert_eq!(
            matches(&pattern_values, &values, &mut variables),
            expected,
            "{pattern} against {response}"
        );
    }

    #[test]
    fn what_the_rfc_leaves_open_matches() {
        check("* 2 expunge", "* 2 EXPUNGE", true);
        check("* 2 expunge", "* 3 EXPUNGE", false);
        check("* flags (\\Seen \\Deleted)", "* FLAGS (\\Deleted \\Recent \\Seen)", true);
        check("* flags (\\Seen)", "* FLAGS (\\Seen \\Deleted)", false);
        check("* flags (\\Seen ...)", "* FLAGS (\\Seen \\Deleted)", true);
        check("* flags (!\\Deleted ...)", "* FLAGS (\\Seen \\Deleted)", false);
        check("* 1 fetch (uid 5 flags ())", "* 1 FETCH (FLAGS () UID 5 MODSEQ (3))", true);
        check("* 1 fetch (uid 5 !modseq)", "* 1 FETCH (UID 5 MODSEQ (3))", false);
        check("* 1 fetch (uid 5)", "* 1 FETCH (UID 5 RFC822.SIZE 3)", false);
        check(
            "* 1 fetch (body[header.fields (to)] \"x\")",
            "* 1 FETCH (BODY[HEADER.FIELDS (\"TO\")] {1}\r\nx)",
            true,
        );
        check("* search 1 2", "* SEARCH 2 1", true);
        check("* search 1 2", "* SEARCH 2 1 3", false);
        check("* ok [copyuid 7 1:3 4,5,6]", "* OK [COPYUID 7 1,2,3 4:6] done", true);
        check("* ok [copyuid $known 1 2]", "* OK [COPYUID 8 1 2] done", false);
        check("* esearch (tag \"a\") uid count 2 all 1:2", "* ESEARCH (TAG \"a\") UID ALL 1,2 COUNT 2", true);
        check("* esearch (tag \"a\") all 1:2", "* ESEARCH (TAG \"a\") UID ALL 1,2", false);
        check("* list () \"/\" a", "* LIST (\\HasNoChildren) \"/\" \"a\"", true);
        check("* list () \"/\" a", "* LIST (\\Noselect) \"/\" a", false);
        check("* 1 fetch (x nil)", "* 1 FETCH (X \"NIL\")", false);
        check("* 1 fetch (x \"NIL\")", "* 1 FETCH (X NIL)", false);
        check("* 1 fetch (modseq ($new>$known))", "* 1 FETCH (MODSEQ (8))", true);
        check("* 1 fetch (modseq ($new>$known))", "* 1 FETCH (MODSEQ (7))", false);
        check("* 1 fetch (internaldate \"01-Mar-2024\")", "* 1 FETCH (INTERNALDATE \" 1-Mar-2024\")", true);
        check("* 1 fetch (internaldate \"01-Mar-2024\")", "* 1 FETCH (INTERNALDATE \"11-Mar-2024\")", false);
        check("* status a (messages 1 unseen 2)", "* STATUS a (UNSEEN 2 MESSAGES 1)", true);
    }

    #[test]
    fn a_failed_match_captures_nothing() {
        let mut variables = Variables::new();
        let pattern = parse(b"* ok [appenduid $a 4]").expect("pattern");
        let values = parse_response(b"* OK [APPENDUID 1 5] x", Spaces::Strict).expect("response");
        assert!(!matches(&pattern, &values, &mut variables));
        assert!(variables.is_empty());
    }
}
