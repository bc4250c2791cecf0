//! A client's connection: commands out, responses in.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};

use crate::trace::Trace;

/// How long a client waits for an answer before the simulation fails: longer than a server may take for a call.
const PATIENCE: Duration = Duration::from_secs(200);

/// The connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// What a command was answered.
#[derive(Debug, Default)]
pub struct Answer {
    /// `OK` or `NO`.
    pub status: String,
    /// The response code of the tagged response, without brackets.
    pub code: String,
    /// Untagged responses without `* `, with the octets of their literals.
    pub untagged: Vec<String>,
}

impl Answer {
    pub fn ok(&self) -> bool {
        self.status == "OK"
    }

    /// The arguments of the response code, if it is of that name.
    pub fn code_arguments(&self, name: &str) -> Option<Vec<&str>> {
        let mut words = self.code.split(' ');
        (words.next() == Some(name)).then(|| words.collect())
    }

    /// The argument of an untagged `OK [name …]`.
    pub fn told(&self, name: &str) -> Option<&str> {
        self.untagged.iter().rev().find_map(|line| {
            let code = line.strip_prefix("OK [")?.split_once(']')?.0;
            code.strip_prefix(name)?.strip_prefix(' ')
        })
    }
}

/// One connection.
pub struct Wire {
    stream: BufReader<DuplexStream>,
    name: String,
    trace: Arc<Trace>,
    tags: u32,
    /// What was read of a line that is not whole yet.
    partial: Vec<u8>,
    /// Octets of a literal still to come.
    literal: usize,
}

impl Wire {
    /// A connection that was greeted.
    pub async fn open(stream: DuplexStream, name: String, trace: Arc<Trace>) -> Result<Self, Lost> {
        let stream = BufReader::new(stream);
        let mut wire = Self { stream, name, trace, tags: 0, partial: Vec::new(), literal: 0 };
        let greeting = wire.line().await?;
        if greeting.starts_with("* OK") { Ok(wire) } else { Err(Lost) }
    }

    /// Sends octets.
    pub async fn send(&mut self, text: &str) -> Result<(), Lost> {
        self.trace.say(format_args!("{}", self.name), format_args!("> {}", text.trim_end().escape_debug()));
        self.stream.get_mut().write_all(text.as_bytes()).await.map_err(|_| Lost)
    }

    /// A whole response, with its literals. Cancel-safe.
    pub async fn line(&mut self) -> Result<String, Lost> {
        loop {
            while self.literal > 0 {
                let mut octets = vec![0; self.literal.min(4096)];
                let read = self.stream.read(&mut octets).await.map_err(|_| Lost)?;
                if read == 0 {
                    return Err(Lost);
                }
                self.partial.extend_from_slice(&octets[..read]);
                self.literal -= read;
            }
            let read = self.stream.read_until(b'\n', &mut self.partial).await.map_err(|_| Lost)?;
            if read == 0 || !self.partial.ends_with(b"\n") {
                return Err(Lost);
            }
            let announced = self.partial.strip_suffix(b"}\r\n").and_then(|line| {
                let open = line.iter().rposition(|octet| *octet == b'{')?;
                std::str::from_utf8(&line[open + 1..]).ok()?.parse().ok()
            });
            if let Some(octets) = announced {
                self.literal = octets;
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).trim_end().to_owned();
            self.trace.say(format_args!("{}", self.name), format_args!("< {}", line.escape_debug()));
            return Ok(line);
        }
    }

    /// Sends a command; its tag.
    pub async fn begin(&mut self, command: &str) -> Result<String, Lost> {
        self.tags += 1;
        let tag = format!("a{}", self.tags);
        self.send(&format!("{tag} {command}\r\n")).await?;
        Ok(tag)
    }

    /// Reads up to the end of a command.
    pub async fn end(&mut self, tag: &str) -> Result<Answer, Lost> {
        let mut answer = Answer::default();
        loop {
            let Ok(line) = tokio::time::timeout(PATIENCE, self.line()).await else {
                self.trace.broken(format_args!("{}: no answer to {tag} in {PATIENCE:?}", self.name));
            };
            let line = line?;
            if let Some(untagged) = line.strip_prefix("* ") {
                answer.untagged.push(untagged.to_owned());
                continue;
            }
            if line.starts_with('+') {
                continue;
            }
            let Some(rest) = line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) else {
                self.trace.broken(format_args!("{}: an answer to nothing: {line}", self.name));
            };
            let (status, text) = rest.split_once(' ').unwrap_or((rest, ""));
            status.clone_into(&mut answer.status);
            if let Some((code, _)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
                code.clone_into(&mut answer.code);
            }
            let fault =
                ["SERVERBUG", "CLIENTBUG", "CORRUPTION", "CONTACTADMIN"].contains(&answer.code.as_str());
            if fault || !["OK", "NO"].contains(&answer.status.as_str()) {
                self.trace.broken(format_args!("{}: {line}", self.name));
            }
            return Ok(answer);
        }
    }

    /// Sends a command and reads up to its end.
    pub async fn command(&mut self, command: &str) -> Result<Answer, Lost> {
        let tag = self.begin(command).await?;
        self.end(&tag).await
    }
}
