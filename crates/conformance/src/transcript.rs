//! Reading transcripts. The format is told in `transcripts/README.md`.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the transcripts of this crate are.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

/// One file: what it shows, what it needs, and its steps.
#[derive(Debug, Clone)]
pub struct Transcript {
    /// `move/basic`: folder and file without `.imap`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Documents it shows, each `RFC 9051 §6.4.8`.
    pub sources: Vec<String>,
    /// Capabilities without which it is skipped.
    pub needs: Vec<Need>,
    /// How many connections are opened, 1 to 9.
    pub connections: usize,
    /// How far they are taken before the first step.
    pub state: State,
    /// Names of messages appended to the prepared mailbox, in order.
    pub messages: Vec<String>,
    /// The account of each connection, counted from 1.
    pub logins: Vec<usize>,
    /// Accounts of one subscriber, counted from 1.
    pub linked: Vec<usize>,
    /// The first account's class of service: the rules of objects, folders and deletion.
    pub service: Option<[String; 3]>,
    /// What is done.
    pub steps: Vec<Step>,
}

/// A capability that must, or must not, be advertised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Any of these.
    Any(Vec<String>),
    /// Not this one.
    Not(String),
}

/// States of RFC 9051 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Connected, greeting read.
    NotAuthenticated,
    /// Logged in; the prepared mailbox exists.
    Authenticated,
    /// The prepared mailbox is selected.
    Selected,
}

/// One step: an action on a connection, and the responses that belong to it.
#[derive(Debug, Clone)]
pub struct Step {
    /// Line in the file.
    pub line: usize,
    /// Counted from 1.
    pub connection: usize,
    /// What is done.
    pub action: Action,
    /// What must, may and must not come.
    pub expected: Vec<Expected>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Sends a command with a fresh tag and reads to its tagged response.
    Command(Tagged, Vec<Piece>),
    /// Sends a command with a fresh tag and reads no further than the expected responses.
    Begin(Vec<Piece>),
    /// Reads to the tagged response of the oldest command begun.
    End(Tagged),
    /// Sends a line without a tag.
    Line(Vec<Piece>),
    /// Sends octets, nothing added.
    Raw(Vec<u8>),
    /// Reads until the expected responses have come.
    Wait,
    /// Reads until the server closes the connection.
    Closed,
    /// Drops the connection and opens another in its place, in the state of the header.
    Reconnect(State),
}

/// What the tagged response must be.
#[derive(Debug, Clone)]
pub struct Tagged {
    /// `OK`, `NO`, `BAD`, or several of them with `|`.
    pub statuses: Vec<String>,
    /// What stands in the brackets, if it matters.
    pub code: Option<Vec<u8>>,
}

/// A piece of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text of the line; `$name` and `${name}` are replaced.
    Text(Vec<u8>),
    /// A literal; only `${name}` is replaced.
    Literal {
        /// Its octets.
        octets: Vec<u8>,
        /// Literal8 (RFC 3516): `~{n}`.
        binary: bool,
        /// Non-synchronizing (RFC 7888): `{n+}`.
        eager: bool,
    },
    /// A literal that is one of the prepared messages.
    Message {
        /// Its name in `transcripts/messages`.
        name: String,
        /// Literal8.
        binary: bool,
        /// Non-synchronizing.
        eager: bool,
    },
}

/// A response that belongs to a step.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Line in the file.
    pub line: usize,
    /// Whether it must come.
    pub need: Expectation,
    /// Comes only after the one written before it.
    pub after: bool,
    /// The pattern, for [`crate::pattern`].
    pub pattern: Vec<u8>,
}

/// How an expected response counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// It must come.
    Must,
    /// It may come.
    May,
    /// It must not come.
    MustNot,
    /// Anything else may come, too.
    Anything,
}

/// A transcript that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}:{line}: {why}")]
pub struct TranscriptError {
    path: String,
    line: usize,
    why: String,
}

impl Transcript {
    /// How many accounts it has.
    pub fn accounts(&self) -> usize {
        self.logins.iter().chain(&self.linked).copied().max().unwrap_or(1)
    }
}

/// Every transcript below `root`, by name.
pub fn all(root: &Path) -> Result<Vec<Transcript>, TranscriptError> {
    let mut found = Vec::new();
    let failed = |path: &Path, error: std::io::Error| TranscriptError {
        path: path.display().to_string(),
        line: 0,
        why: error.to_string(),
    };
    for folder in fs::read_dir(root).map_err(|error| failed(root, error))? {
        let folder = folder.map_err(|error| failed(root, error))?.path();
        if !folder.is_dir() || folder.file_name().is_some_and(|name| name == "messages") {
            continue;
        }
        for file in fs::read_dir(&folder).map_err(|error| failed(&folder, error))? {
            let file = file.map_err(|error| failed(&folder, error))?.path();
            if file.extension().is_some_and(|extension| extension == "imap") {
                let text = fs::read_to_string(&file).map_err(|error| failed(&file, error))?;
                let name = file.strip_prefix(root).unwrap_or(&file).with_extension("");
                found.push(parse(&name.display().to_string(), &file, &text)?);
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Reads one transcript.
pub fn parse(name: &str, path: &Path, text: &str) -> Result<Transcript, TranscriptError> {
    let mut transcript = Transcript {
        name: name.to_owned(),
        path: path.to_owned(),
        sources: Vec::new(),
        needs: Vec::new(),
        connections: 1,
        state: State::Authenticated,
        messages: Vec::new(),
        logins: Vec::new(),
        linked: Vec::new(),
        service: None,
        steps: Vec::new(),
    };
    let failed = |line: usize, why: String| TranscriptError { path: path.display().to_string(), line, why };
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    while at < lines.len() && !lines[at].trim().is_empty() {
        if !lines[at].starts_with('#') {
            header(&mut transcript, lines[at]).map_err(|why| failed(at + 1, why))?;
        }
        at += 1;
    }
    if transcript.sources.is_empty() {
        return Err(failed(1, "no `source:`".to_owned()));
    }
    if transcript.logins.is_empty() {
        transcript.logins = vec![1; transcript.connections];
    }
    if transcript.logins.len() != transcript.connections {
        return Err(failed(1, "`login:` names an account for each connection".to_owned()));
    }
    while at < lines.len() {
        let line = lines[at].trim_end();
        let number = at + 1;
        at += 1;
        if line.is_empty() || line.starts_with("# ") || line == "#" {
            continue;
        }
        // Here-documents carry on over the lines that follow.
        let mut pieces = Vec::new();
        let mut head = line;
        while let Some((before, binary, eager)) = heredoc(head) {
            let mut octets = Vec::new();
            loop {
                let Some(body) = lines.get(at) else {
                    return Err(failed(number, "`<<<` without `>>>`".to_owned()));
                };
                at += 1;
                if let Some(rest) = body.strip_prefix(">>>") {
                    head = rest.trim_end();
                    break;
                }
                octets.extend_from_slice(body.as_bytes());
                octets.extend_from_slice(b"\r\n");
            }
            pieces.push((before.to_owned(), Piece::Literal { octets, binary, eager }));
        }
        let first = line.as_bytes()[0];
        if first.is_ascii_digit() {
            let step =
                step(number, pieces, head, transcript.connections).map_err(|why| failed(number, why))?;
            transcript.steps.push(step);
        } else {
            let expected = expected(number, pieces, head).map_err(|why| failed(number, why))?;
            let Some(last) = transcript.steps.last_mut() else {
                return Err(failed(number, "a response before any step".to_owned()));
            };
            last.expected.push(expected);
        }
    }
    if transcript.steps.is_empty() {
        return Err(failed(lines.len(), "no steps".to_owned()));
    }
    Ok(transcript)
}

/// A line that ends in `<<<`, `<<<+`, `<<<~` or `<<<~+`: what is before, and which kind.
fn heredoc(line: &str) -> Option<(&str, bool, bool)> {
    for (mark, binary, eager) in
        [("<<<", false, false), ("<<<+", false, true), ("<<<~", true, false), ("<<<~+", true, true)]
    {
        if let Some(before) = line.strip_suffix(mark) {
            return Some((before, binary, eager));
        }
    }
    None
}

fn header(transcript: &mut Transcript, line: &str) -> Result<(), String> {
    for field in line.split("  ").map(str::trim).filter(|field| !field.is_empty()) {
        let (key, value) = field.split_once(':').ok_or_else(|| format!("`{field}` is no `key: value`"))?;
        let value = value.trim();
        let count = || value.parse::<usize>().map_err(|_| format!("`{key}:` wants a number"));
        match key {
            "source" => transcript.sources.extend(value.split(';').map(|source| source.trim().to_owned())),
            "needs" => {
                for need in value.split_whitespace() {
                    transcript.needs.push(match need.strip_prefix('!') {
                        Some(not) => Need::Not(not.to_ascii_uppercase()),
                        None => Need::Any(need.split('|').map(str::to_ascii_uppercase).collect()),
                    });
                }
            }
            "connections" => {
                transcript.connections = count()?;
                if !(1..=9).contains(&transcript.connections) {
                    return Err("1 to 9 connections".to_owned());
                }
            }
            "state" => transcript.state = state(value)?,
            "messages" => transcript.messages = messages(value)?,
            "login" => transcript.logins = numbers(key, value)?,
            "linked" => transcript.linked = numbers(key, value)?,
            "service" => match value.split_whitespace().collect::<Vec<_>>()[..] {
                [objects, folders] => {
                    transcript.service = Some([objects, folders, "rfc3501"].map(str::to_owned));
                }
                [objects, folders, delete] => {
                    transcript.service = Some([objects, folders, delete].map(str::to_owned));
                }
                _ => return Err("`service:` wants two or three words, as `strict cpm recursive`".to_owned()),
            },
            _ => return Err(format!("unknown header `{key}`")),
        }
    }
    Ok(())
}

/// Accounts, counted from 1.
fn numbers(key: &str, text: &str) -> Result<Vec<usize>, String> {
    let number = |word: &str| word.parse().ok().filter(|number| *number >= 1);
    let numbers: Option<Vec<_>> = text.split_whitespace().map(number).collect();
    numbers.ok_or_else(|| format!("`{key}:` wants numbers from 1"))
}

fn state(text: &str) -> Result<State, String> {
    match text {
        "not-authenticated" => Ok(State::NotAuthenticated),
        "authenticated" => Ok(State::Authenticated),
        "selected" => Ok(State::Selected),
        _ => Err(format!("unknown state `{text}`")),
    }
}

/// `3`: the first three of the numbered messages, over and over if there are fewer; or names.
fn messages(text: &str) -> Result<Vec<String>, String> {
    if let Ok(count) = text.parse::<usize>() {
        return Ok((0..count).map(|at| format!("plain-{}", at % 5 + 1)).collect());
    }
    let names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    for name in &names {
        if !message_path(name).is_file() {
            return Err(format!("no message `{name}`"));
        }
    }
    Ok(names)
}

fn message_path(name: &str) -> PathBuf {
    root().join("messages").join(format!("{name}.eml"))
}

/// The octets of a prepared message, its line ends as CRLF.
pub fn message(name: &str) -> Result<Vec<u8>, String> {
    let octets = fs::read(message_path(name)).map_err(|error| format!("message `{name}`: {error}"))?;
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 16);
    for (at, &octet) in octets.iter().enumerate() {
        if octet == b'\n' && (at == 0 || octets[at - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(octet);
    }
    Ok(out)
}

fn step(line: usize, heredocs: Vec<(String, Piece)>, tail: &str, connections: usize) -> Result<Step, String> {
    let first = heredocs.first().map_or(tail, |(before, _)| before.as_str());
    let (number, rest) = first.split_once(' ').unwrap_or((first, ""));
    let connection: usize = number.parse().map_err(|_| format!("`{number}` is no connection"))?;
    if !(1..=connections).contains(&connection) {
        return Err(format!("there are {connections} connections"));
    }
    let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let gather = |rest: &str| -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        let mut before = rest.to_owned();
        for (at, (_, literal)) in heredocs.iter().enumerate() {
            inline(&before, &mut pieces)?;
            pieces.push(literal.clone());
            before = heredocs.get(at + 1).map_or_else(|| tail.to_owned(), |(text, _)| text.clone());
        }
        inline(&before, &mut pieces)?;
        Ok(pieces)
    };
    let action = match verb {
        "begin" => Action::Begin(gather(rest)?),
        "line" => Action::Line(gather(rest)?),
        "raw" => Action::Raw(unquote(rest)?),
        "wait" => Action::Wait,
        "closed" => Action::Closed,
        "connect" => Action::Reconnect(if rest.is_empty() { State::NotAuthenticated } else { state(rest)? }),
        "end" => {
            let (statuses, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let (tagged, rest) = tagged(statuses, rest)?;
            if !rest.is_empty() {
                return Err(format!("`{rest}` after `end`"));
            }
            Action::End(tagged)
        }
        _ => {
            let (tagged, rest) = tagged(verb, rest)?;
            if rest.is_empty() && heredocs.is_empty() {
                return Err("no command".to_owned());
            }
            Action::Command(tagged, gather(rest)?)
        }
    };
    Ok(Step { line, connection, action, expected: Vec::new() })
}

fn tagged<'a>(statuses: &str, rest: &'a str) -> Result<(Tagged, &'a str), String> {
    let statuses: Vec<String> = statuses.split('|').map(str::to_ascii_uppercase).collect();
    if statuses.iter().any(|status| !matches!(status.as_str(), "OK" | "NO" | "BAD")) {
        return Err(format!("`{}` is no verb and no status", statuses.join("|")));
    }
    let Some(inside) = rest.strip_prefix('[') else {
        return Ok((Tagged { statuses, code: None }, rest));
    };
    let end = inside.find(']').ok_or("`[` without `]`")?;
    let code = Some(inside.as_bytes()[..end].to_vec());
    Ok((Tagged { statuses, code }, inside[end + 1..].trim_start()))
}

fn expected(line: usize, heredocs: Vec<(String, Piece)>, tail: &str) -> Result<Expected, String> {
    let mut pieces = Vec::new();
    for (before, literal) in heredocs {
        inline(&before, &mut pieces)?;
        pieces.push(literal);
    }
    inline(tail, &mut pieces)?;
    let mut pattern = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => pattern.extend_from_slice(&text),
            Piece::Literal { octets, .. } => literal(&octets, &mut pattern),
            Piece::Message { name, .. } => literal(&message(&name)?, &mut pattern),
        }
    }
    if pattern.trim_ascii() == b"..." {
        return Ok(Expected { line, need: Expectation::Anything, after: false, pattern: Vec::new() });
    }
    let (mut need, mut after) = (Expectation::Must, false);
    loop {
        match pattern.get(..2) {
            Some(b"! ") => need = Expectation::MustNot,
            Some(b"? ") => need = Expectation::May,
            Some(b"> ") => after = true,
            _ => break,
        }
        pattern.drain(..2);
    }
    Ok(Expected { line, need, after, pattern })
}

fn literal(octets: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{{}}}\r\n", octets.len()).as_bytes());
    out.extend_from_slice(octets);
}

/// Octets of a literal that is a text over and over, at most.
const REPEATED_BYTES_MAX: usize = 1 << 20;

/// Splits a line at its inline literals: `{"text"}`, `{"text"*1000}` and `{@message}`, with `~` and `+` after the brace.
fn inline(text: &str, pieces: &mut Vec<Piece>) -> Result<(), String> {
    let mut rest = text;
    let mut plain = String::new();
    while let Some(at) = rest.find('{') {
        let inside = &rest[at + 1..];
        let kind = inside.trim_start_matches(['~', '+']);
        let marks = &inside[..inside.len() - kind.len()];
        let (binary, eager) = (marks.contains('~'), marks.contains('+'));
        if let Some(name) = kind.strip_prefix('@') {
            let end = name.find('}').ok_or("`{@` without `}`")?;
            plain.push_str(&rest[..at]);
            pieces.push(Piece::Text(std::mem::take(&mut plain).into_bytes()));
            pieces.push(Piece::Message { name: name[..end].to_owned(), binary, eager });
            rest = &name[end + 1..];
        } else if kind.starts_with('"') {
            let end = quoted_end(kind).ok_or("`{\"` without `\"}`")?;
            plain.push_str(&rest[..at]);
            pieces.push(Piece::Text(std::mem::take(&mut plain).into_bytes()));
            let (times, after) = kind[end + 1..].split_once('}').ok_or("`{\"` without `\"}`")?;
            let times = match times.strip_prefix('*') {
                Some(times) => times.parse().map_err(|_| format!("`*{times}` wants a number"))?,
                None if times.is_empty() => 1,
                None => return Err("`{\"` without `\"}`".to_owned()),
            };
            let octets = unquote(&kind[..=end])?;
            if octets.len().saturating_mul(times) > REPEATED_BYTES_MAX {
                return Err(format!("a literal of more than {REPEATED_BYTES_MAX} octets"));
            }
            pieces.push(Piece::Literal { octets: octets.repeat(times), binary, eager });
            rest = after;
        } else {
            plain.push_str(&rest[..=at]);
            rest = inside;
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain.into_bytes()));
    }
    Ok(())
}

/// Where the quote that closes the one at 0 stands.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().enumerate().skip(1).find_map(|(at, octet)| {
        let end = octet == b'"' && !escaped;
        escaped = octet == b'\\' && !escaped;
        end.then_some(at)
    })
}

/// `"…"` with `\r \n \t \0 \xNN \" \\`.
fn unquote(text: &str) -> Result<Vec<u8>, String> {
    let inside = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .ok_or_else(|| format!("`{text}` wants quotes"))?;
    let mut out = Vec::new();
    let mut octets = inside.bytes();
    while let Some(octet) = octets.next() {
        if octet != b'\\' {
            out.push(octet);
            continue;
        }
        match octets.next() {
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'0') => out.push(0),
            Some(b'x') => {
                let digits: Vec<u8> = octets.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).map_err(|_| "`\\x` wants two digits")?;
                out.push(u8::from_str_radix(digits, 16).map_err(|_| "`\\x` wants two digits")?);
            }
            Some(other) => out.push(other),
            None => return Err("a lone backslash at the end".to_owned()),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_read() {
        let text = "source: RFC 9051 §6.4.8; RFC 6851  needs: MOVE !X A|B\nstate: selected  connections: 2  messages: 2\n\n\
                    # a comment\n1 ok [copyuid $v 1 $n] uid move 1 {+\"a\\x00\"} {@plain-1}\n* 2 expunge\n! * bye\n\
                    2 no append x <<<~\nline ${u}\n>>> (x)\n> ? * 1 exists\n...\n";
        let read = parse("x/y", Path::new("x/y.imap"), text).expect("reads");
        assert_eq!(read.sources, ["RFC 9051 §6.4.8", "RFC 6851"]);
        assert_eq!(read.needs.len(), 3);
        assert_eq!(read.messages, ["plain-1", "plain-2"]);
        assert_eq!(read.logins, [1, 1]);
        assert_eq!(read.steps.len(), 2);
        let Action::Command(tagged, pieces) = &read.steps[0].action else { panic!("a command") };
        assert_eq!(tagged.code.as_deref(), Some(&b"copyuid $v 1 $n"[..]));
        assert_eq!(pieces.len(), 4);
        assert_eq!(pieces[1], Piece::Literal { octets: b"a\0".to_vec(), binary: false, eager: true });
        assert_eq!(read.steps[0].expected[1].need, Expectation::MustNot);
        let Action::Command(_, pieces) = &read.steps[1].action else { panic!("a command") };
        assert_eq!(
            pieces[1],
            Piece::Literal { octets: b"line ${u}\r\n".to_vec(), binary: true, eager: false }
        );
        assert_eq!(pieces[2], Piece::Text(b" (x)".to_vec()));
        assert!(read.steps[1].expected[0].after);
        assert_eq!(read.steps[1].expected[1].need, Expectation::Anything);
    }

    #[test]
    fn a_literal_over_and_over() {
        let text = "source: RFC 1\n\n1 ok x {~\"ab\"*3} {\"c\"} y\n";
        let read = parse("x", Path::new("x"), text).expect("reads");
        let Action::Command(_, pieces) = &read.steps[0].action else { panic!("a command") };
        assert_eq!(pieces[1], Piece::Literal { octets: b"ababab".to_vec(), binary: true, eager: false });
        assert_eq!(pieces[3], Piece::Literal { octets: b"c".to_vec(), binary: false, eager: false });
        check("source: RFC 1\n\n1 ok x {\"a\"*many}\n", "`*many` wants a number");
        check("source: RFC 1\n\n1 ok x {\"a\" 3}\n", "`{\"` without `\"}`");
        check("source: RFC 1\n\n1 ok x {\"ab\"*600000}\n", "a literal of more than 1048576 octets");
    }

    fn check(text: &str, why: &str) {
        let error = parse("x", Path::new("x"), text).expect_err("must be refused");
        assert_eq!(error.why, why, "{text}");
    }

    #[test]
    fn mistakes_are_told() {
        check("needs: X\n\n1 ok noop\n", "no `source:`");
        check("source: RFC 1  colour: red\n\n1 ok noop\n", "unknown header `colour`");
        check("source: RFC 1\n\n2 ok noop\n", "there are 1 connections");
        check("source: RFC 1\n\n1 perhaps noop\n", "`PERHAPS` is no verb and no status");
        check("source: RFC 1\n\n* ok\n", "a response before any step");
        check("source: RFC 1\n\n", "no steps");
        check("source: RFC 1\n\n1 ok append x <<<\nabc\n", "`<<<` without `>>>`");
    }
}
