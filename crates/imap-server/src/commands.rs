//! The table of commands: the only registration.
//!
//! A row: an identifier, the name, the states in which it may be given, how it treats sequence numbers, its source,
//! and the call. When a call ends, what changed in the selected folder is told as far as the row allows, then the
//! tagged line is written. Handlers return a `Reply` or a `Result<Reply, Reply>`, so that `?` ends them early.

pub(crate) mod authenticate;
pub(crate) mod capability;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod noop;
pub(crate) mod select;

use std::sync::OnceLock;
use std::time::Duration;

use imap_wire::Command;
use imap_wire::reader::AppendStart;
use metrics::Histogram;

use crate::connection::{Input, Output};
use crate::reply::{Reply, Status};
use crate::session::{Session, State};

/// Before login.
const CLOSED: u8 = 1;
/// After login, no folder selected.
const OPEN: u8 = 2;
/// A folder selected.
const SELECTED: u8 = 4;
/// After login.
const LOGGED_IN: u8 = OPEN | SELECTED;
/// Always.
const ANY: u8 = CLOSED | LOGGED_IN;

/// Its arguments, or the responses that it asks for, have sequence numbers.
const USES_SEQ: u8 = 1;
/// Removals may be told at its end. Never with FETCH, STORE, SEARCH, SORT and THREAD by sequence numbers (RFC 9051
/// §7.5.1, RFC 5256 §3).
const MAY_EXPUNGE: u8 = 2;
/// It changes the selected folder: what it read before is not what is now.
const CHANGES: u8 = 4;
/// Nothing is told at its end.
const QUIET: u8 = 8;

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub name: &'static str,
    states: u8,
    flags: u8,
    source: &'static str,
    seconds: [OnceLock<Histogram>; 3],
}

impl Row {
    /// Whether removals may be told at its end.
    pub fn may_expunge(&self) -> bool {
        self.flags & MAY_EXPUNGE != 0
    }

    /// Whether it changes the selected folder.
    pub fn changes(&self) -> bool {
        self.flags & CHANGES != 0
    }

    /// Whether nothing is told at its end.
    pub fn is_quiet(&self) -> bool {
        self.flags & QUIET != 0
    }

    /// Whether it may be given in `state`.
    ///
    /// # Errors
    /// BAD with what is missing.
    pub fn check(&self, state: State) -> Result<(), Reply> {
        let bit = match state {
            State::NotAuthenticated => CLOSED,
            State::Authenticated => OPEN,
            State::Selected => SELECTED,
        };
        if self.states & bit != 0 {
            return Ok(());
        }
        Err(Reply::bad(match state {
            State::NotAuthenticated => format!("{} needs a login first", self.name),
            State::Authenticated if self.states & SELECTED != 0 => {
                format!("{} needs a selected mailbox; SELECT or EXAMINE one first", self.name)
            }
            State::Authenticated | State::Selected => format!("{} cannot be used after login", self.name),
        }))
    }

    /// Notes how long a call took.
    pub fn record(&self, status: Status, took: Duration) {
        let (at, result) = match status {
            Status::Ok => (0, "ok"),
            Status::No => (1, "no"),
            Status::Bad => (2, "bad"),
        };
        let histogram =
            || metrics::histogram!("mss_imap_command_seconds", "command" => self.name, "result" => result);
        self.seconds[at].get_or_init(histogram).record(took);
    }
}

/// What the table says of a command, for documentation and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandInfo {
    /// Its name, `UID` included.
    pub name: &'static str,
    /// Whether removals may be told at its end.
    pub may_expunge: bool,
    /// Whether it has to do with sequence numbers.
    pub uses_sequence_numbers: bool,
    /// Whether it may be given before login, after login, with a folder selected.
    pub states: [bool; 3],
    /// Where it is specified.
    pub source: &'static str,
}

/// All commands.
pub fn command_table() -> impl Iterator<Item = CommandInfo> {
    TABLE.iter().map(|row| CommandInfo {
        name: row.name,
        may_expunge: row.may_expunge(),
        uses_sequence_numbers: row.flags & USES_SEQ != 0,
        states: [CLOSED, OPEN, SELECTED].map(|bit| row.states & bit != 0),
        source: row.source,
    })
}

/// `(session, out, input)`: names for the calls. `start`: the commands whose messages are streamed.
macro_rules! commands {
    (($session:ident, $out:ident, $input:ident, $start:ident)
     streamed { $($s_id:ident $s_name:literal, $s_states:expr, $s_flags:expr, $s_source:literal,
        if $s_guard:expr => $s_call:expr;)* }
     plain { $($id:ident $name:literal, $states:expr, $flags:expr, $source:literal,
        $pattern:pat $(if $guard:expr)? => $call:expr;)* }) => {
        #[derive(Clone, Copy)]
        enum Id { $($s_id,)* $($id,)* }

        const COUNT: usize = [$(Id::$s_id as usize,)* $(Id::$id as usize,)*].len();

        static TABLE: [Row; COUNT] = [
            $(Row { name: $s_name, states: $s_states, flags: $s_flags, source: $s_source,
                seconds: [const { OnceLock::new() }; 3] },)*
            $(Row { name: $name, states: $states, flags: $flags, source: $source,
                seconds: [const { OnceLock::new() }; 3] },)*
        ];

        /// The row of a command.
        #[allow(unused_variables)]
        pub(crate) fn row(command: &Command) -> &'static Row {
            let id = match command { $($pattern $(if $guard)? => Id::$id,)* };
            &TABLE[id as usize]
        }

        /// The row of a command whose messages are streamed.
        #[allow(unused_variables)]
        pub(crate) fn streamed_row($start: &AppendStart) -> Option<&'static Row> {
            $(if $s_guard { return Some(&TABLE[Id::$s_id as usize]); })*
            None
        }

        /// Executes a command. Each handler's future is boxed by itself: the connection's task keeps the room of
        /// one pointer for all of them.
        pub(crate) async fn run(
            $session: &mut Session,
            $out: &mut Output,
            $input: &mut Input,
            command: Command,
        ) -> Reply {
            match command { $($pattern $(if $guard)? => Box::pin($call).await.into(),)* }
        }

        /// Executes a command whose messages are streamed.
        #[allow(unused_variables)]
        pub(crate) async fn run_streamed(
            $session: &mut Session,
            $out: &mut Output,
            $input: &mut Input,
            $start: AppendStart,
        ) -> Reply {
            $(if $s_guard { return Box::pin($s_call).await.into(); })*
            Reply::bad("this command is not known")
        }
    };
}

#[rustfmt::skip]
commands! {
    (session, out, input, start)
    streamed {
    }
    plain {
    Capability   "CAPABILITY",   ANY,       MAY_EXPUNGE,           "RFC 9051 §6.1.1",  Command::Capability => capability::run(session, out);
    Noop         "NOOP",         ANY,       MAY_EXPUNGE,           "RFC 9051 §6.1.2",  Command::Noop => noop::run();
    Logout       "LOGOUT",       ANY,       QUIET,                 "RFC 9051 §6.1.3",  Command::Logout => logout::run(session, out);
    Login        "LOGIN",        CLOSED,    QUIET,                 "RFC 9051 §6.2.3",  Command::Login(login) => login::run(session, out, input, login);
    Authenticate "AUTHENTICATE", CLOSED,    QUIET,                 "RFC 9051 §6.2.2",  Command::Authenticate(auth) => authenticate::run(session, out, input, auth);
    Select       "SELECT",       LOGGED_IN, QUIET,                 "RFC 9051 §6.3.2",  Command::Select(select) => select::run(session, out, select, select::Access::ReadWrite);
    Examine      "EXAMINE",      LOGGED_IN, QUIET,                 "RFC 9051 §6.3.3",  Command::Examine(select) => select::run(session, out, select, select::Access::ReadOnly);
    // Rows whose handlers are still to come end here.
    Other        "(other)",      ANY,       0,                     "",                 _ => async { Reply::bad("this command is not known") };
    }
}
