//! The table of commands: the only registration.
//!
//! A row: an identifier, the name, the states in which it may be given, how it treats sequence numbers, its source,
//! and the call. When a call ends, what changed in the selected folder is told as far as the row allows, then the
//! tagged line is written. Handlers return a `Reply` or a `Result<Reply, Reply>`, so that `?` ends them early.

pub(crate) mod acl;
pub(crate) mod annotation;
pub(crate) mod append;
pub(crate) mod authenticate;
pub(crate) mod cancel_update;
pub(crate) mod capability;
pub(crate) mod changes;
pub(crate) mod check;
pub(crate) mod close;
pub(crate) mod compress;
pub(crate) mod convert;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod enable;
pub(crate) mod esearch;
pub(crate) mod expunge;
pub(crate) mod fetch;
pub(crate) mod id;
pub(crate) mod idle;
pub(crate) mod list;
pub(crate) mod lista;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod metadata;
pub(crate) mod namespace;
pub(crate) mod noop;
pub(crate) mod notify;
pub(crate) mod quota;
pub(crate) mod rename;
pub(crate) mod replace;
pub(crate) mod search;
pub(crate) mod select;
pub(crate) mod selecta;
pub(crate) mod sort;
pub(crate) mod starttls;
pub(crate) mod status;
pub(crate) mod store_flags;
pub(crate) mod subscribe;
pub(crate) mod thread;
pub(crate) mod unauthenticate;
pub(crate) mod urlauth;

use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use imap_wire::Command;
use imap_wire::reader::AppendStart;
use metrics::Histogram;
use store_api::CopyMode;

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
/// Removals may be told at its end. Never with FETCH, CONVERT, STORE, SEARCH, SORT and THREAD by sequence numbers (RFC 9051
/// §7.5.1, RFC 5256 §3).
const MAY_EXPUNGE: u8 = 2;
/// It changes the selected folder: what it read before is not what is now.
const CHANGES: u8 = 4;
/// Nothing is told at its end: nothing is to be told, or it has told it itself.
const QUIET: u8 = 8;
/// It removes messages of the selected folder, or brings one: that is told at its end whatever NOTIFY says.
const MOVES: u8 = 16;
/// It works without an active account: after the one that was active is the session's no more.
const ANY_ACCOUNT: u8 = 32;

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

    /// Whether what it does to the selected folder is told whatever NOTIFY says.
    pub fn removes(&self) -> bool {
        self.flags & MOVES != 0
    }

    /// Whether nothing is told at its end.
    pub fn is_quiet(&self) -> bool {
        self.flags & QUIET != 0
    }

    /// Whether it works when the active account is the session's no more.
    pub fn needs_account(&self) -> bool {
        self.flags & ANY_ACCOUNT == 0
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

/// A handler's future in a box of its own.
fn boxed<'a, T>(
    handler: impl Future<Output = T> + Send + 'a,
) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(handler)
}

/// `(session, out, input)`: names for the calls. `start`: the commands whose messages are streamed.
macro_rules! commands {
    (($session:ident, $out:ident, $input:ident, $start:ident)
     streamed { $($s_id:ident $s_name:literal, $s_states:expr, $s_flags:expr, $s_source:literal,
        if $s_guard:expr => $s_call:expr;)* }
     plain { $($id:ident $name:literal, $states:expr, $flags:expr, $source:literal,
        $pattern:pat $(if $guard:expr)? => $call:expr;)* }) => {
        #[derive(Clone, Copy)]
        enum Place { $($s_id,)* $($id,)* }

        const COUNT: usize = [$(Place::$s_id as usize,)* $(Place::$id as usize,)*].len();

        static TABLE: [Row; COUNT] = [
            $(Row { name: $s_name, states: $s_states, flags: $s_flags, source: $s_source,
                seconds: [const { OnceLock::new() }; 3] },)*
            $(Row { name: $name, states: $states, flags: $flags, source: $source,
                seconds: [const { OnceLock::new() }; 3] },)*
        ];

        /// The row of a command.
        #[allow(unused_variables)]
        pub(crate) fn row(command: &Command) -> &'static Row {
            let place = match command { $($pattern $(if $guard)? => Place::$id,)* };
            &TABLE[place as usize]
        }

        /// The row of a command whose messages are streamed.
        #[allow(unused_variables)]
        pub(crate) fn streamed_row($start: &AppendStart) -> Option<&'static Row> {
            $(if $s_guard { return Some(&TABLE[Place::$s_id as usize]); })*
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
            match command { $($pattern $(if $guard)? => boxed($call).await.into(),)* }
        }

        /// Executes a command whose messages are streamed.
        #[allow(unused_variables)]
        pub(crate) async fn run_streamed(
            $session: &mut Session,
            $out: &mut Output,
            $input: &mut Input,
            $start: AppendStart,
        ) -> Reply {
            $(if $s_guard { return boxed($s_call).await.into(); })*
            Reply::bad("this command is not known")
        }
    };
}

#[rustfmt::skip]
commands! {
    (session, out, input, start)
    streamed {
    UidReplace   "UID REPLACE",  SELECTED,  MAY_EXPUNGE | CHANGES | MOVES, "RFC 8508 §3",      if start.replaces.is_some_and(|r| r.uid) => replace::run(session, out, input, start);
    Replace      "REPLACE",      SELECTED,  USES_SEQ | MAY_EXPUNGE | CHANGES | MOVES, "RFC 8508 §3", if start.replaces.is_some() => replace::run(session, out, input, start);
    Append       "APPEND",       LOGGED_IN, MAY_EXPUNGE | CHANGES, "RFC 9051 §6.3.12; RFC 3502; RFC 4469", if start.replaces.is_none() => append::run(session, out, input, start);
    }
    plain {
    Capability   "CAPABILITY",   ANY,       MAY_EXPUNGE | ANY_ACCOUNT, "RFC 9051 §6.1.1",  Command::Capability => capability::run(session, out);
    Noop         "NOOP",         ANY,       MAY_EXPUNGE | QUIET,   "RFC 9051 §6.1.2",  Command::Noop => noop::run(session, out);
    Logout       "LOGOUT",       ANY,       QUIET | ANY_ACCOUNT,   "RFC 9051 §6.1.3",  Command::Logout => logout::run(session, out);
    Id           "ID",           ANY,       MAY_EXPUNGE | ANY_ACCOUNT, "RFC 2971 §3.1",    Command::Id(fields) => id::run(session, out, fields);
    StartTls     "STARTTLS",     CLOSED,    QUIET,                 "RFC 9051 §6.2.1",  Command::StartTls => starttls::run(session, out);
    Login        "LOGIN",        CLOSED,    QUIET,                 "RFC 9051 §6.2.3",  Command::Login(login) => login::run(session, out, input, login);
    Authenticate "AUTHENTICATE", CLOSED,    QUIET,                 "RFC 9051 §6.2.2",  Command::Authenticate(auth) => authenticate::run(session, out, input, auth);
    Unauthenticate "UNAUTHENTICATE", LOGGED_IN, QUIET | ANY_ACCOUNT, "RFC 8437 §3",      Command::Unauthenticate => unauthenticate::run(session, out, input);
    Compress     "COMPRESS",     LOGGED_IN, QUIET,                 "RFC 4978 §3",      Command::Compress(algorithm) => compress::run(out, algorithm);
    Enable       "ENABLE",       LOGGED_IN, MAY_EXPUNGE,           "RFC 9051 §6.3.1",  Command::Enable(names) => enable::run(session, out, names);
    Select       "SELECT",       LOGGED_IN, QUIET,                 "RFC 9051 §6.3.2",  Command::Select(select) => select::run(session, out, select, select::Access::ReadWrite);
    Examine      "EXAMINE",      LOGGED_IN, QUIET,                 "RFC 9051 §6.3.3",  Command::Examine(select) => select::run(session, out, select, select::Access::ReadOnly);
    SelectA      "SELECTA",      LOGGED_IN, QUIET | ANY_ACCOUNT,   "OMA-TS-CPM_MessageStorage §6.2.1.2", Command::SelectA(address) => selecta::run(session, out, address);
    ListA        "LISTA",        LOGGED_IN, MAY_EXPUNGE | ANY_ACCOUNT, "OMA-TS-CPM_MessageStorage §6.2.1.2", Command::ListA => lista::run(session, out);
    XcpmChanges  "XCPMCHANGES",  LOGGED_IN, MAY_EXPUNGE,           "XCPM-CHANGES",     Command::XcpmChanges(asked) => changes::run(session, out, asked);
    Create       "CREATE",       LOGGED_IN, MAY_EXPUNGE,           "RFC 9051 §6.3.4",  Command::Create(create) => create::run(session, create);
    Delete       "DELETE",       LOGGED_IN, MAY_EXPUNGE,           "RFC 9051 §6.3.5",  Command::Delete(mailbox) => delete::run(session, out, mailbox);
    Rename       "RENAME",       LOGGED_IN, MAY_EXPUNGE,           "RFC 9051 §6.3.6",  Command::Rename(rename) => rename::run(session, out, rename);
    Subscribe    "SUBSCRIBE",    LOGGED_IN, MAY_EXPUNGE,           "RFC 9051 §6.3.7",  Command::Subscribe(mailbox) => subscribe::subscribe(session, mailbox);
    Unsubscribe  "UNSUBSCRIBE",  LOGGED_IN, MAY_EXPUNGE,           "RFC 9051 §6.3.8",  Command::Unsubscribe(mailbox) => subscribe::unsubscribe(session, mailbox);
    List         "LIST",         LOGGED_IN, MAY_EXPUNGE,           "RFC 9051 §6.3.9",  Command::List(list) => list::run(session, out, list);
    Lsub         "LSUB",         LOGGED_IN, MAY_EXPUNGE,           "RFC 3501 §6.3.9",  Command::Lsub(lsub) => list::lsub(session, out, lsub);
    Namespace    "NAMESPACE",    LOGGED_IN, MAY_EXPUNGE,           "RFC 9051 §6.3.10", Command::Namespace => namespace::run(out);
    Status       "STATUS",       LOGGED_IN, MAY_EXPUNGE,           "RFC 9051 §6.3.11", Command::Status(status) => status::run(session, out, status);
    Idle         "IDLE",         LOGGED_IN, MAY_EXPUNGE,           "RFC 9051 §6.3.13", Command::Idle => idle::run(session, out, input);
    GetQuota     "GETQUOTA",     LOGGED_IN, MAY_EXPUNGE,           "RFC 9208 §4.1.1",  Command::GetQuota(root) => quota::get_quota(session, out, root);
    GetQuotaRoot "GETQUOTAROOT", LOGGED_IN, MAY_EXPUNGE,           "RFC 9208 §4.1.2",  Command::GetQuotaRoot(mailbox) => quota::get_quota_root(session, out, mailbox);
    SetQuota     "SETQUOTA",     LOGGED_IN, MAY_EXPUNGE,           "RFC 9208 §4.1.3",  Command::SetQuota(_) => quota::set_quota();
    GetMetadata  "GETMETADATA",  LOGGED_IN, MAY_EXPUNGE,           "RFC 5464 §4.2",    Command::GetMetadata(get) => metadata::get(session, out, get);
    SetMetadata  "SETMETADATA",  LOGGED_IN, MAY_EXPUNGE,           "RFC 5464 §4.3",    Command::SetMetadata(set) => metadata::set(session, set);
    Notify       "NOTIFY",       LOGGED_IN, MAY_EXPUNGE,           "RFC 5465 §3.1",    Command::Notify(arguments) => notify::run(session, out, arguments);
    GenUrlAuth   "GENURLAUTH",   LOGGED_IN, MAY_EXPUNGE,           "RFC 4467 §7",      Command::GenUrlAuth(urls) => urlauth::generate(session, out, urls);
    ResetKey     "RESETKEY",     LOGGED_IN, MAY_EXPUNGE,           "RFC 4467 §7",      Command::ResetKey(reset) => urlauth::reset_key(session, reset);
    UrlFetch     "URLFETCH",     LOGGED_IN, MAY_EXPUNGE,           "RFC 4467 §7; RFC 5524", Command::UrlFetch(urls) => urlauth::fetch(session, out, urls);
    SetAcl       "SETACL",       LOGGED_IN, MAY_EXPUNGE,           "RFC 4314 §3.1",    Command::SetAcl(set) => acl::set(session, set);
    DeleteAcl    "DELETEACL",    LOGGED_IN, MAY_EXPUNGE,           "RFC 4314 §3.2",    Command::DeleteAcl(args) => acl::delete(session, args);
    GetAcl       "GETACL",       LOGGED_IN, MAY_EXPUNGE,           "RFC 4314 §3.3",    Command::GetAcl(mailbox) => acl::get(session, out, mailbox);
    ListRights   "LISTRIGHTS",   LOGGED_IN, MAY_EXPUNGE,           "RFC 4314 §3.4",    Command::ListRights(args) => acl::list_rights(session, out, args);
    MyRights     "MYRIGHTS",     LOGGED_IN, MAY_EXPUNGE,           "RFC 4314 §3.5",    Command::MyRights(mailbox) => acl::my_rights(session, out, mailbox);
    CancelUpdate "CANCELUPDATE", SELECTED,  MAY_EXPUNGE,           "RFC 5267 §4.3.5",  Command::CancelUpdate(tags) => async { cancel_update::run(session, &tags) };
    Conversions  "CONVERSIONS",  LOGGED_IN, MAY_EXPUNGE,           "RFC 5259 §5.1",    Command::Conversions(asked) => convert::conversions(session, out, asked);
    ESearch      "ESEARCH",      LOGGED_IN, MAY_EXPUNGE,           "RFC 7377 §2",      Command::MultiSearch(search) => esearch::run(session, out, search);
    Check        "CHECK",        SELECTED,  MAY_EXPUNGE | QUIET,   "RFC 3501 §6.4.1",  Command::Check => check::run(session, out);
    Close        "CLOSE",        SELECTED,  QUIET,                 "RFC 9051 §6.4.1",  Command::Close => close::close(session, out);
    Unselect     "UNSELECT",     SELECTED,  QUIET,                 "RFC 9051 §6.4.2",  Command::Unselect => close::unselect(session);
    UidFetch     "UID FETCH",    SELECTED,  MAY_EXPUNGE,           "RFC 9051 §6.4.9",  Command::Fetch(fetch) if fetch.uid => fetch::run(session, out, fetch);
    Fetch        "FETCH",        SELECTED,  USES_SEQ,              "RFC 9051 §6.4.5",  Command::Fetch(fetch) => fetch::run(session, out, fetch);
    UidConvert   "UID CONVERT",  SELECTED,  MAY_EXPUNGE,           "RFC 5259 §6",      Command::Convert(convert) if convert.uid => convert::run(session, out, convert);
    Convert      "CONVERT",      SELECTED,  USES_SEQ,              "RFC 5259 §6",      Command::Convert(convert) => convert::run(session, out, convert);
    UidStore     "UID STORE",    SELECTED,  MAY_EXPUNGE | CHANGES, "RFC 9051 §6.4.9",  Command::Store(store) if store.uid => store_flags::run(session, out, store);
    Store        "STORE",        SELECTED,  USES_SEQ | CHANGES,    "RFC 9051 §6.4.6",  Command::Store(store) => store_flags::run(session, out, store);
    UidSearch    "UID SEARCH",   SELECTED,  MAY_EXPUNGE,           "RFC 9051 §6.4.9",  Command::Search(search) if search.uid => search::run(session, out, search);
    Search       "SEARCH",       SELECTED,  USES_SEQ,              "RFC 9051 §6.4.4",  Command::Search(search) => search::run(session, out, search);
    UidSort      "UID SORT",     SELECTED,  MAY_EXPUNGE,           "RFC 5256 §3",      Command::Sort(sort) if sort.uid => sort::run(session, out, sort);
    Sort         "SORT",         SELECTED,  USES_SEQ,              "RFC 5256 §3",      Command::Sort(sort) => sort::run(session, out, sort);
    UidThread    "UID THREAD",   SELECTED,  MAY_EXPUNGE,           "RFC 5256 §3",      Command::Thread(thread) if thread.uid => thread::run(session, out, thread);
    Thread       "THREAD",       SELECTED,  USES_SEQ,              "RFC 5256 §3",      Command::Thread(thread) => thread::run(session, out, thread);
    UidCopy      "UID COPY",     SELECTED,  MAY_EXPUNGE | CHANGES, "RFC 9051 §6.4.9",  Command::Copy(transfer) if transfer.uid => copy::run(session, out, transfer, CopyMode::Copy);
    Copy         "COPY",         SELECTED,  USES_SEQ | MAY_EXPUNGE | CHANGES, "RFC 9051 §6.4.7", Command::Copy(transfer) => copy::run(session, out, transfer, CopyMode::Copy);
    UidMove      "UID MOVE",     SELECTED,  MAY_EXPUNGE | CHANGES | MOVES, "RFC 9051 §6.4.9; RFC 6851", Command::Move(transfer) if transfer.uid => copy::run(session, out, transfer, CopyMode::Move);
    Move         "MOVE",         SELECTED,  USES_SEQ | MAY_EXPUNGE | CHANGES | MOVES, "RFC 9051 §6.4.8; RFC 6851", Command::Move(transfer) => copy::run(session, out, transfer, CopyMode::Move);
    Expunge      "EXPUNGE",      SELECTED,  MAY_EXPUNGE | CHANGES | MOVES, "RFC 9051 §6.4.3",  Command::Expunge => expunge::run(session, out, None);
    UidExpunge   "UID EXPUNGE",  SELECTED,  MAY_EXPUNGE | CHANGES | MOVES, "RFC 9051 §6.4.9; RFC 4315", Command::UidExpunge(uids) => expunge::run(session, out, Some(uids));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_of_the_grammar_has_one_row() {
        let rows: Vec<_> = command_table().map(|row| row.name.to_owned()).collect();
        let distinct: BTreeSet<_> = rows.iter().cloned().collect();
        assert_eq!(rows.len(), distinct.len());
        assert_eq!(distinct, imap_wire::command_names().map(|(name, _)| name).collect());
    }

    /// Source: RFC 9051 §7.5.1, RFC 5256 §3.
    #[test]
    fn removals_are_held_by_what_reads_by_numbers() {
        let held: Vec<_> =
            command_table().filter(|row| row.uses_sequence_numbers && !row.may_expunge).collect();
        assert_eq!(
            held.iter().map(|row| row.name).collect::<Vec<_>>(),
            ["FETCH", "CONVERT", "STORE", "SEARCH", "SORT", "THREAD"]
        );
        assert!(held.iter().all(|row| row.states == [false, false, true] && row.source.starts_with("RFC ")));
    }
}
