//! A connection that believes what it is told, and complains of what it must not be told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::mirror::{Fetched, Mirror, Point};
use crate::program::{FlagSet, Kind};
use crate::world::Folder;

/// How long an answer, or news in IDLE, may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(15);

/// All that was sent and received, for whoever reads of a failure.
pub type Log = Arc<Mutex<Vec<String>>>;

/// What was told of a message.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub folder: u64,
    pub uid: u32,
    pub flags: FlagSet,
    pub modseq: Option<u64>,
}

/// What a command was answered.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// `OK`, `NO`, `BAD`; empty when the connection ended before.
    pub status: String,
    /// Response codes of the tagged response and of untagged OKs.
    pub codes: Vec<String>,
    /// The response code of the tagged response.
    pub code: Option<String>,
    pub told: Vec<Told>,
    pub search: Option<Vec<u32>>,
    pub status_items: BTreeMap<String, u64>,
    /// VANISHED (EARLIER).
    pub earlier: BTreeSet<u32>,
    /// VANISHED.
    pub vanished: BTreeSet<u32>,
    /// UIDs in FETCH responses.
    pub fetched: BTreeSet<u32>,
}

impl Answer {
    pub fn ok(&self) -> bool {
        self.status == "OK"
    }

    /// The arguments of a response code.
    pub fn code_args(&self, name: &str) -> Option<Vec<&str>> {
        self.codes.iter().find_map(|code| {
            let mut words = code.split(' ');
            (words.next() == Some(name)).then(|| words.collect())
        })
    }
}

pub struct Client {
    pub number: usize,
    pub kind: Kind,
    stream: BufReader<TcpStream>,
    tags: u32,
    said: Log,
    /// Switched on by ENABLE or by a command that mentions mod-sequences.
    pub condstore: bool,
    pub mirror: Option<Mirror>,
    /// The tag of an IDLE.
    pub idle: Option<String>,
    /// The server said BYE.
    pub ended: bool,
    /// By MAILBOXID.
    pub points: BTreeMap<u64, Vec<Point>>,
}

/// What a command lets be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removals {
    Allowed,
    Forbidden,
}

impl Client {
    pub async fn connect(number: usize, kind: Kind, address: SocketAddr, log: Log) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut client = Self {
            number,
            kind,
            stream: BufReader::new(stream),
            tags: 0,
            said: log,
            condstore: false,
            mirror: None,
            idle: None,
            ended: false,
            points: BTreeMap::new(),
        };
        client.line().await?.ok_or("no greeting")?;
        Ok(client)
    }

    pub fn qresync(&self) -> bool {
        matches!(self.kind, Kind::Qresync | Kind::Rev2Qresync)
    }

    pub async fn log_in(&mut self, user: &str, password: &str) -> Result<(), String> {
        self.must(&format!("LOGIN {user} {password}")).await?;
        let enable = match self.kind {
            Kind::Rev1 => return Ok(()),
            Kind::Condstore => "CONDSTORE",
            Kind::Qresync => "QRESYNC",
            Kind::Rev2 => "IMAP4rev2",
            Kind::Rev2Qresync => "QRESYNC IMAP4rev2",
        };
        self.condstore = self.kind != Kind::Rev2;
        self.must(&format!("ENABLE {enable}")).await.map(drop)
    }

    pub async fn must(&mut self, command: &str) -> Result<Answer, String> {
        let answer = self.command(command, Removals::Allowed).await?;
        if answer.ok() { Ok(answer) } else { Err(format!("{}: {command}: {answer:?}", self.number)) }
    }

    fn log(&self, direction: char, text: &str) {
        let mut line = String::new();
        let _ = write!(line, "{} {direction} {}", self.number, text.trim_end());
        self.said.lock().push(line);
    }

    /// A response; none at the end of the connection.
    async fn line(&mut self) -> Result<Option<String>, String> {
        let reading = async {
            let mut line = Vec::new();
            loop {
                let read =
                    self.stream.read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
                if read == 0 {
                    return Ok(None);
                }
                let text = String::from_utf8_lossy(&line).into_owned();
                let size = text.strip_suffix("}\r\n").and_then(|text| text.rsplit_once('{')?.1.parse().ok());
                let Some(size): Option<usize> = size else { return Ok(Some(text)) };
                let start = line.len();
                line.resize(start + size, 0);
                self.stream.read_exact(&mut line[start..]).await.map_err(|error| error.to_string())?;
            }
        };
        match tokio::time::timeout(PATIENCE, reading).await {
            Err(_) => Err(format!("{}: nothing came in time", self.number)),
            Ok(Ok(Some(line))) => {
                self.log('<', &line);
                Ok(Some(line.trim_end().to_owned()))
            }
            Ok(other) => other,
        }
    }

    async fn send(&mut self, text: &str) -> Result<(), String> {
        self.log('>', text);
        // The server may have said BYE already; that is read, not written.
        let _ = self.stream.write_all(text.as_bytes()).await;
        Ok(())
    }

    /// Sends a command and believes all that is told up to its end. The connection must not be in IDLE.
    pub async fn command(&mut self, command: &str, removals: Removals) -> Result<Answer, String> {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.send(&format!("{tag} {command}\r\n")).await?;
        self.answer(&tag, removals).await
    }

    async fn answer(&mut self, tag: &str, removals: Removals) -> Result<Answer, String> {
        let mut answer = Answer::default();
        loop {
            let Some(line) = self.line().await? else {
                if self.ended {
                    return Ok(answer);
                }
                return Err(format!("{}: the connection ended without BYE", self.number));
            };
            if let Some(rest) = line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                let (status, text) = rest.split_once(' ').unwrap_or((rest, ""));
                status.clone_into(&mut answer.status);
                if let Some(code) = code_of(text) {
                    self.code(code)?;
                    answer.codes.push(code.to_owned());
                    answer.code = Some(code.to_owned());
                }
                if let Some(mirror) = &mut self.mirror {
                    mirror.conclude();
                }
                return Ok(answer);
            }
            self.untagged(&line, removals, &mut answer)
                .map_err(|wrong| format!("{}: {line}: {wrong}", self.number))?;
        }
    }

    /// Begins to listen.
    pub async fn begin_idle(&mut self) -> Result<Answer, String> {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.send(&format!("{tag} IDLE\r\n")).await?;
        self.idle = Some(tag);
        let mut answer = Answer::default();
        loop {
            match self.line().await? {
                None if self.ended => return Ok(answer),
                None => return Err(format!("{}: the connection ended in IDLE", self.number)),
                Some(line) if line.starts_with('+') => return Ok(answer),
                Some(line) => self.untagged(&line, Removals::Allowed, &mut answer)?,
            }
        }
    }

    pub async fn end_idle(&mut self) -> Result<(), String> {
        let Some(tag) = self.idle.take() else { return Ok(()) };
        self.send("DONE\r\n").await?;
        let answer = self.answer(&tag, Removals::Allowed).await?;
        if answer.ok() || self.ended { Ok(()) } else { Err(format!("{}: IDLE: {answer:?}", self.number)) }
    }

    /// In IDLE: listens until what was told is what is; without a folder, until BYE.
    pub async fn hear(&mut self, folder: Option<&Folder>) -> Result<Answer, String> {
        let mut answer = Answer::default();
        loop {
            let missing = match (&self.mirror, folder) {
                _ if self.ended => None,
                (None, _) => None,
                (Some(mirror), Some(folder)) => mirror.differs(folder),
                (Some(_), None) => Some("the folder is deleted".to_owned()),
            };
            let Some(missing) = missing else {
                if let Some(mirror) = &mut self.mirror {
                    mirror.conclude();
                }
                return Ok(answer);
            };
            match self.line().await.map_err(|error| format!("{error} in IDLE: {missing}"))? {
                None if self.ended => return Ok(answer),
                None => return Err(format!("{}: the connection ended in IDLE", self.number)),
                Some(line) => self
                    .untagged(&line, Removals::Allowed, &mut answer)
                    .map_err(|wrong| format!("{}: {line}: {wrong}", self.number))?,
            }
        }
    }

    /// Notes the picture, if it is whole, as a point to return to.
    pub fn note_point(&mut self) {
        self.note(Mirror::point);
    }

    /// Leaves the folder by CLOSE.
    pub fn close(&mut self, removing: bool) {
        if removing {
            self.note(Mirror::closed);
        }
        self.mirror = None;
    }

    fn note(&mut self, point: impl Fn(&Mirror) -> Option<Point>) {
        let Some(mirror) = &self.mirror else { return };
        let Some(point) = point(mirror).filter(|_| self.condstore && mirror.modseq > 0) else { return };
        let points = self.points.entry(mirror.id).or_default();
        if points.last().is_none_or(|last| last.modseq != point.modseq || last.flags != point.flags) {
            points.push(point);
        }
    }

    fn code(&mut self, code: &str) -> Result<(), String> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{code} has no number"));
        let Some(mirror) = &mut self.mirror else { return Ok(()) };
        match code.split_once(' ') {
            Some(("UIDVALIDITY", value)) => mirror.uid_validity = number(value)? as u32,
            Some(("UIDNEXT", value)) => mirror.uid_next(number(value)? as u32)?,
            Some(("MAILBOXID", value)) if mirror.id == 0 => {
                let id = value.trim_matches(|c| c == '(' || c == ')');
                mirror.id = u64::from_str_radix(id, 16).map_err(|error| error.to_string())?;
            }
            Some(("HIGHESTMODSEQ", value)) => mirror.highest_modseq(number(value)?),
            _ => {}
        }
        Ok(())
    }

    fn untagged(&mut self, line: &str, removals: Removals, answer: &mut Answer) -> Result<(), String> {
        let rest = line.strip_prefix("* ").ok_or("neither tagged nor untagged")?;
        let (first, args) = rest.split_once(' ').unwrap_or((rest, ""));
        let qresync = self.qresync();
        let mirror = || self.mirror.clone().ok_or("no mailbox is selected");
        match first {
            "OK" => {
                if let Some(code) = code_of(args) {
                    answer.codes.push(code.to_owned());
                    self.code(code)?;
                }
            }
            "BYE" => self.ended = true,
            "FLAGS" => {
                let mut mirror = mirror()?;
                mirror.keywords = list(args).map(str::to_ascii_lowercase).collect();
                self.mirror = Some(mirror);
            }
            "VANISHED" => {
                if !qresync {
                    return Err("QRESYNC is not enabled".to_owned());
                }
                if let Some(uids) = args.strip_prefix("(EARLIER) ") {
                    let uids = numbers(uids)?;
                    let mirror = mirror()?;
                    if let Some(known) =
                        mirror.entries.iter().find(|e| e.uid.is_some_and(|u| uids.contains(&u)))
                    {
                        return Err(format!("{known:?} did not vanish earlier"));
                    }
                    answer.earlier.extend(uids);
                } else {
                    if removals == Removals::Forbidden {
                        return Err("VANISHED must not come now".to_owned());
                    }
                    let mut mirror = mirror()?;
                    let uids = numbers(args)?;
                    mirror.vanished(&uids)?;
                    answer.vanished.extend(uids);
                    self.mirror = Some(mirror);
                }
            }
            "SEARCH" => {
                let found = args.split(" (").next().unwrap_or_default();
                let found: Result<Vec<u32>, _> =
                    found.split(' ').filter(|n| !n.is_empty()).map(str::parse).collect();
                answer.search = Some(found.map_err(|error| error.to_string())?);
            }
            "ESEARCH" => {
                let all = args.split_once(" ALL ").map(|(_, all)| all.split(' ').next().unwrap_or_default());
                answer.search = Some(all.map_or(Ok(BTreeSet::new()), numbers)?.into_iter().collect());
            }
            "STATUS" => {
                let items = args.split_once('(').map_or("", |(_, items)| items.trim_end_matches(')'));
                let words: Vec<&str> = items.split(' ').collect();
                for pair in words.chunks(2) {
                    let value = pair.get(1).and_then(|value| value.parse().ok()).ok_or("no number")?;
                    answer.status_items.insert(pair[0].to_owned(), value);
                }
            }
            "LIST" | "CAPABILITY" | "ENABLED" => {}
            number => {
                let number: usize = number.parse().map_err(|_| "an unknown response")?;
                let mut mirror = mirror()?;
                let (name, args) = args.split_once(' ').unwrap_or((args, ""));
                match name {
                    "EXISTS" => mirror.exists(number)?,
                    "RECENT" if number > mirror.entries.len() => return Err("more than there are".to_owned()),
                    "RECENT" if matches!(self.kind, Kind::Rev2 | Kind::Rev2Qresync) => {
                        return Err("IMAP4rev2 has no RECENT".to_owned());
                    }
                    "RECENT" => {}
                    "EXPUNGE" if qresync => return Err("QRESYNC is enabled, VANISHED is due".to_owned()),
                    "EXPUNGE" if removals == Removals::Forbidden => {
                        return Err("it must not come now".to_owned());
                    }
                    "EXPUNGE" => mirror.expunge(number)?,
                    "FETCH" => {
                        let told = fetched(args, &mirror)?;
                        // RFC 7162 §3.1.4.3, §3.2.4.
                        if told.flags.is_some() && self.condstore && told.modseq.is_none() {
                            return Err("MODSEQ is missing".to_owned());
                        }
                        if qresync && told.uid.is_none() {
                            return Err("UID is missing".to_owned());
                        }
                        mirror.fetched(number, told)?;
                        let uid = mirror.entries[number - 1].uid;
                        answer.fetched.extend(uid);
                        if let (Some(uid), Some(flags)) = (uid, told.flags) {
                            answer.told.push(Told { folder: mirror.id, uid, flags, modseq: told.modseq });
                        }
                    }
                    _ => return Err("an unknown response".to_owned()),
                }
                self.mirror = Some(mirror);
            }
        }
        Ok(())
    }
}

fn code_of(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.split_once(']').map(|(code, _)| code)
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.trim_start_matches('(').trim_end_matches(')').split(' ').filter(|word| !word.is_empty())
}

/// The numbers of a set, which has no `*`.
pub fn numbers(set: &str) -> Result<BTreeSet<u32>, String> {
    Ok(sequence(set)?.into_iter().collect())
}

/// The same in the order in which they stand.
pub fn sequence(set: &str) -> Result<Vec<u32>, String> {
    let mut found = Vec::new();
    for range in set.split(',') {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{set} is no set of numbers"));
        let (first, last) = (number(first)?, number(last)?);
        found.extend(first.min(last)..=first.max(last));
    }
    Ok(found)
}

/// A set as it is written.
pub fn set(numbers: impl IntoIterator<Item = u32>) -> String {
    numbers.into_iter().map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

fn fetched(args: &str, mirror: &Mirror) -> Result<Fetched, String> {
    let after = |name: &str| {
        [format!("({name} "), format!(" {name} ")]
            .iter()
            .find_map(|name| args.split_once(name.as_str()))
            .map(|(_, rest)| rest)
    };
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().map_err(|_| format!("no number in {args}"))
    };
    let mut told = Fetched::default();
    if let Some(rest) = after("UID") {
        told.uid = Some(number(rest)? as u32);
    }
    if let Some(rest) = after("MODSEQ") {
        told.modseq = Some(number(rest.trim_start_matches('('))?);
    }
    if let Some(rest) = after("FLAGS") {
        let (flags, _) = rest.split_once(')').ok_or("no list of flags")?;
        if let Some(strange) = list(flags).find(|flag| {
            !flag.eq_ignore_ascii_case("\\Recent") && !mirror.keywords.contains(&flag.to_ascii_lowercase())
        }) {
            return Err(format!("{strange} was not announced"));
        }
        told.flags = Some(FlagSet::parse_all(list(flags))?);
    }
    Ok(told)
}
