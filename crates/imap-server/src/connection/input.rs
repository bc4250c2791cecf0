//! What a connection receives: steps of commands, read as they are asked for.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use imap_wire::{Mode, Reader, Step};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::output::Output;
use crate::reply::Reply;
use crate::session::Session;
use crate::telemetry::RECEIVED_BYTES;

/// Why no step comes.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The client closed the connection, or it broke.
    Gone,
    /// Nothing came for too long.
    TimedOut,
    /// The server stops.
    ShuttingDown,
    /// The server ends the connection and has said why.
    Said,
}

/// The client's half.
pub(crate) struct Input {
    reader: Reader,
    buffer: BytesMut,
    /// Steps that were read ahead of the running command.
    ahead: VecDeque<Step>,
    shutdown: CancellationToken,
    /// Silence between commands.
    pub(super) silence_max: Duration,
    /// Silence inside of one.
    pause_max: Duration,
    /// When an unauthenticated connection ends.
    pub(super) login_by: Option<Instant>,
    /// While in IDLE: when it ends, in place of the bound on silence.
    pub idle_until: Option<Instant>,
    /// Since when the client is silent between two commands, where the server is not.
    silent_since: Option<Instant>,
}

impl Input {
    pub fn new(
        reader: Reader,
        shutdown: CancellationToken,
        silence_max: Duration,
        pause_max: Duration,
    ) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            ahead: VecDeque::new(),
            shutdown,
            silence_max,
            pause_max,
            login_by: None,
            idle_until: None,
            silent_since: None,
        }
    }

    /// The reader, to accept and reject literals and to set its mode and limits.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Goes on with the bounds of a client that logged in.
    pub fn logged_in(&mut self, session: &Session) {
        self.login_by = None;
        self.reader.set_limits(session.server.wire_limits.clone());
    }

    /// Goes back to the bounds of a client that has yet to log in.
    pub fn logged_out(&mut self, session: &Session) {
        self.login_by = Some(Instant::now() + session.server.options.limits.login_time_max);
        self.reader.set_limits(session.server.login_wire_limits.clone());
    }

    /// Throws away what was received and not read: what stood before TLS must not be taken for what stands in it.
    pub fn discard(&mut self) {
        self.buffer = BytesMut::new();
    }

    /// Takes what was received and not read.
    pub fn take_received(&mut self) -> BytesMut {
        std::mem::take(&mut self.buffer)
    }

    /// Whether octets wait that arrived behind the running command.
    pub fn has_received(&self) -> bool {
        !(self.buffer.is_empty() && self.ahead.is_empty())
    }

    /// Reads on in what has arrived already, up to `max` steps and no further than the first that does not belong: how
    /// what follows it is read may depend on what it does. Returns the steps that wait now.
    pub fn look_ahead(&mut self, max: usize, belongs: impl Fn(&Step) -> bool) -> &VecDeque<Step> {
        while self.ahead.len() < max && self.ahead.back().is_none_or(&belongs) {
            match self.reader.next(&mut self.buffer) {
                Step::NeedMore => break,
                step => self.ahead.push_back(step),
            }
        }
        &self.ahead
    }

    /// Takes octets that arrived, to be read after those that wait.
    pub fn give_back(&mut self, received: BytesMut) {
        self.buffer.unsplit(received);
    }

    /// The next step of a command that has begun; sends what waits before it waits itself.
    ///
    /// # Errors
    /// The reply with which the handler ends: the client is lost.
    pub async fn step(&mut self, out: &mut Output) -> Result<Step, Reply> {
        match self.next(out).await {
            Ok(step) => Ok(step),
            Err(_) => Err(Reply::lost()),
        }
    }

    /// Notes that the client's silence begins now, and goes on whatever it is told meanwhile.
    pub fn note_silence(&mut self) {
        self.silent_since = Some(Instant::now());
    }

    /// Waits, between two commands, until octets arrive; at once when some are here. Cancel-safe where nothing waits to
    /// be sent.
    ///
    /// # Errors
    /// Why nothing comes.
    pub async fn arrived(&mut self, out: &mut Output) -> Result<(), Ended> {
        if self.has_received() { Ok(()) } else { self.receive(out).await }
    }

    /// The next step, whether of a new command or of one that has begun. Cancel-safe between two commands.
    pub(crate) async fn next(&mut self, out: &mut Output) -> Result<Step, Ended> {
        loop {
            match self.ahead.pop_front().unwrap_or_else(|| self.reader.next(&mut self.buffer)) {
                Step::NeedMore => self.receive(out).await?,
                Step::Continue => out.push(b"+ OK\r\n"),
                step => return Ok(step),
            }
        }
    }

    async fn receive(&mut self, out: &mut Output) -> Result<(), Ended> {
        if out.flush().await.is_err() {
            return Err(Ended::Gone);
        }
        let between = self.buffer.is_empty() && self.reader.is_between_commands();
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.ahead = VecDeque::new();
        }
        out.shrink();
        let since = self.silent_since.filter(|_| between).unwrap_or_else(Instant::now);
        let silence_until = || since + if between { self.silence_max } else { self.pause_max };
        let mut until = self.idle_until.unwrap_or_else(silence_until);
        if let Some(login_by) = self.login_by {
            until = until.min(login_by);
        }
        let expected = usize::try_from(self.reader.literal_remaining()).unwrap_or(usize::MAX);
        let read = tokio::time::timeout_at(until, out.transport.read(&mut self.buffer, expected));
        let read = tokio::select! {
            biased;
            read = read => read,
            // A command that has begun is read to its end, until the server's patience ends.
            () = self.shutdown.cancelled(), if between && self.reader.mode() != Mode::Auth => {
                return Err(Ended::ShuttingDown);
            }
        };
        match read {
            Err(_) => Err(Ended::TimedOut),
            Ok(Err(error)) => {
                tracing::debug!(%error, "reading failed");
                Err(Ended::Gone)
            }
            Ok(Ok(0)) => Err(Ended::Gone),
            Ok(Ok(received)) => {
                self.silent_since = None;
                RECEIVED_BYTES.increment(received as u64);
                Ok(())
            }
        }
    }
}
