//! Every command, as every kind of stranger: each does what they may and no more, and nobody reads, counts or names
//! another's mailboxes without a right to.
//!
//! The commands are those of the server's own table: one that nobody tries here fails the test.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use convert::{Converter, Target};
use imap_server::functions::{Functions, NetworkFunction};
use imap_server::{Conversion, Options, command_table};
use model::CpmAddress;
use store_api::{Credentials, MailStore};

use crate::client::Client;
use crate::fixture::{Fixture, PASSWORD, ctx, options, verifier};

const OWNER: &str = "tel:+15550000001";
/// Another subscriber.
const OTHER: &str = "sip:alice@example.com";
/// Another address of the owner.
const SIBLING: &str = "tel:+15550000002";
/// Nobody's address.
const NOBODY: &str = "tel:+15559999999";

/// What stands in the owner's mailboxes and nowhere else.
const BODY: &str = "text-of-the-owner";
const SHARED_NOTE: &str = "shared-note";
const PRIVATE_NOTE: &str = "private-note";
const HIDDEN: &str = "mailbox-of-the-owner-alone";

/// How an answer begins.
const OK: &str = "OK ";
const BAD: &str = "BAD ";
const GONE: &str = "NO [NONEXISTENT] ";
const NOPERM: &str = "NO [NOPERM] ";
const CANNOT: &str = "NO [CANNOT] ";
const READ_ONLY: &str = "NO [READ-ONLY] ";
const REFUSED: &str = "NO [AUTHENTICATIONFAILED] ";
const NOT_FOR_YOU: &str = "NO [AUTHORIZATIONFAILED] ";
const NO_TLS: &str = "NO TLS ";

/// The mailbox that is selected when a command is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    None,
    /// The stranger's own INBOX, with four messages.
    Own,
    /// The owner's mailbox, where the stranger can select it.
    Theirs,
}
use In::{None as Nowhere, Own, Theirs};

/// A command, what it is given with, and how its answer begins for: no login; another subscriber without rights; one with
/// `l`; one with `lr`; a sibling that the operator lets in; a network function that acts for the owner.
///
/// `{m}`: the owner's mailbox as the client would name it. `{u}`: a URL of the message in it, not signed. `{o}`: the
/// owner's address.
type Trial = (&'static str, In, &'static str, [&'static str; 6]);

const FREE: [&str; 6] = [OK, OK, OK, OK, OK, OK];
/// Whoever has logged in: it is about nothing of the owner's, or tells nothing of it.
const LOGGED_IN: [&str; 6] = [BAD, OK, OK, OK, OK, OK];
const READ: [&str; 6] = [BAD, GONE, NOPERM, OK, OK, OK];
const CHANGE: [&str; 6] = [BAD, GONE, NOPERM, NOPERM, OK, OK];
const OWNERS: [&str; 6] = [BAD, GONE, NOPERM, NOPERM, NOPERM, OK];
/// Of the selected mailbox: without `r` it is not selected.
const READ_IN: [&str; 6] = [BAD, BAD, BAD, OK, OK, OK];
const CHANGE_IN: [&str; 6] = [BAD, BAD, BAD, READ_ONLY, OK, OK];

#[rustfmt::skip]
const TRIALS: &[Trial] = &[
    ("CAPABILITY",     Nowhere, "CAPABILITY", FREE),
    ("NOOP",           Nowhere, "NOOP", FREE),
    ("LOGOUT",         Nowhere, "LOGOUT", FREE),
    ("ID",             Nowhere, "ID NIL", FREE),
    ("STARTTLS",       Nowhere, "STARTTLS", [NO_TLS, BAD, BAD, BAD, BAD, BAD]),
    ("LOGIN",          Nowhere, "LOGIN {o} guess", [REFUSED, BAD, BAD, BAD, BAD, BAD]),
    ("AUTHENTICATE",   Nowhere, "AUTHENTICATE PLAIN {plain}", [NOT_FOR_YOU, BAD, BAD, BAD, BAD, BAD]),
    ("UNAUTHENTICATE", Nowhere, "UNAUTHENTICATE", LOGGED_IN),
    ("COMPRESS",       Nowhere, "COMPRESS DEFLATE", LOGGED_IN),
    ("ENABLE",         Nowhere, "ENABLE CONDSTORE", LOGGED_IN),
    ("NAMESPACE",      Nowhere, "NAMESPACE", LOGGED_IN),
    ("IDLE",           Nowhere, "IDLE\r\nDONE", LOGGED_IN),
    ("GETQUOTA",       Nowhere, "GETQUOTA \"\"", [BAD, GONE, GONE, GONE, GONE, GONE]),
    ("SETQUOTA",       Nowhere, "SETQUOTA \"\" (STORAGE 1)", [BAD, NOPERM, NOPERM, NOPERM, NOPERM, NOPERM]),
    ("GETQUOTAROOT",   Nowhere, "GETQUOTAROOT {m}", LOGGED_IN),
    ("SELECTA",        Nowhere, "SELECTA {o}", [BAD, GONE, GONE, GONE, OK, OK]),
    ("LISTA",          Nowhere, "LISTA", LOGGED_IN),
    ("XCPMCHANGES",    Nowhere, "XCPMCHANGES", LOGGED_IN),
    ("XCPMCHANGES",    Nowhere, "XCPMCHANGES NIL RETURN (UIDNEXT MESSAGES)", LOGGED_IN),
    ("CONVERSIONS",    Nowhere, "CONVERSIONS \"text/html\" \"text/plain\"", LOGGED_IN),
    ("SUBSCRIBE",      Nowhere, "SUBSCRIBE {m}", LOGGED_IN),
    ("UNSUBSCRIBE",    Nowhere, "UNSUBSCRIBE {m}", LOGGED_IN),
    ("LIST",           Nowhere, "LIST \"\" {m}", LOGGED_IN),
    ("LIST",           Nowhere, "LIST \"\" {m}*", LOGGED_IN),
    ("LIST",           Nowhere, "LIST \"\" *", LOGGED_IN),
    ("LIST",           Nowhere, "LIST \"\" Other/*", LOGGED_IN),
    ("LIST",           Nowhere, "LIST \"\" (Other/% Other/%/%)", LOGGED_IN),
    ("LIST",           Nowhere, "LIST () \"\" {m} RETURN (STATUS (MESSAGES) METADATA (/shared/comment) MYRIGHTS)", LOGGED_IN),
    ("LSUB",           Nowhere, "LSUB \"\" {m}", LOGGED_IN),
    ("SELECT",         Nowhere, "SELECT {m}", READ),
    ("EXAMINE",        Nowhere, "EXAMINE {m}", READ),
    ("STATUS",         Nowhere, "STATUS {m} (MESSAGES UIDNEXT UIDVALIDITY)", READ),
    ("GETMETADATA",    Nowhere, "GETMETADATA {m} (/shared/comment /private/comment)", READ),
    ("MYRIGHTS",       Nowhere, "MYRIGHTS {m}", [BAD, GONE, OK, OK, OK, OK]),
    ("APPEND",         Nowhere, "APPEND {m} {12+}\r\nSubject: a\r\n", CHANGE),
    ("APPEND",         Nowhere, "APPEND {m} ANNOTATION (/comment (value.shared \"x\")) {12+}\r\nSubject: a\r\n", CHANGE),
    ("APPEND",         Nowhere, "APPEND {m} CATENATE (URL \"{u}\")", [BAD, GONE, NOPERM, NOPERM, "NO [BADURL ", "NO [BADURL "]),
    ("CREATE",         Nowhere, "CREATE {m}/new", CHANGE),
    ("DELETE",         Nowhere, "DELETE {m}", CHANGE),
    ("RENAME",         Nowhere, "RENAME {m} {m}-anew", [BAD, GONE, NOPERM, NOPERM, OK, OK]),
    ("RENAME",         Nowhere, "RENAME {m} mine-now", [BAD, GONE, CANNOT, CANNOT, CANNOT, OK]),
    ("RENAME",         Nowhere, "RENAME spare {m}/spare", [BAD, GONE, CANNOT, CANNOT, CANNOT, OK]),
    ("SETMETADATA",    Nowhere, "SETMETADATA {m} (/shared/comment \"x\")", CHANGE),
    ("SETACL",         Nowhere, "SETACL {m} anyone lrswipkxtea", OWNERS),
    ("DELETEACL",      Nowhere, "DELETEACL {m} anyone", OWNERS),
    ("GETACL",         Nowhere, "GETACL {m}", OWNERS),
    ("LISTRIGHTS",     Nowhere, "LISTRIGHTS {m} anyone", OWNERS),
    ("NOTIFY",         Nowhere, "NOTIFY SET STATUS (MAILBOXES {m} (MessageNew MessageExpunge FlagChange))", LOGGED_IN),
    ("NOTIFY",         Nowhere, "NOTIFY SET STATUS (SUBTREE Other (MessageNew MessageExpunge MailboxName))", LOGGED_IN),
    ("ESEARCH",        Nowhere, "ESEARCH IN (mailboxes {m}) RETURN (COUNT ALL) TEXT owner", LOGGED_IN),
    ("ESEARCH",        Nowhere, "ESEARCH IN (subtree {m} subtree-one Other) RETURN (MIN) ALL", LOGGED_IN),
    ("ESEARCH",        Nowhere, "ESEARCH IN (subtree Other personal subscribed) UNSEEN", LOGGED_IN),
    ("GENURLAUTH",     Nowhere, "GENURLAUTH \"{u};URLAUTH=anonymous\" INTERNAL", [BAD, BAD, BAD, BAD, BAD, OK]),
    ("RESETKEY",       Nowhere, "RESETKEY {m}", OWNERS),
    ("URLFETCH",       Nowhere, "URLFETCH \"{u};URLAUTH=anonymous:INTERNAL:0123456789abcdef0123456789abcdef\"", LOGGED_IN),
    ("COPY",           Own,     "COPY 1 {m}", CHANGE),
    ("UID COPY",       Own,     "UID COPY 1:* {m}", CHANGE),
    ("MOVE",           Own,     "MOVE 1 {m}", [BAD, GONE, NOPERM, NOPERM, CANNOT, OK]),
    ("UID MOVE",       Own,     "UID MOVE 2 {m}", [BAD, GONE, NOPERM, NOPERM, CANNOT, OK]),
    ("REPLACE",        Own,     "REPLACE 1 {m} {12+}\r\nSubject: a\r\n", [BAD, GONE, NOPERM, NOPERM, CANNOT, OK]),
    ("UID REPLACE",    Own,     "UID REPLACE 4 {m} {12+}\r\nSubject: a\r\n", [BAD, GONE, NOPERM, NOPERM, CANNOT, OK]),
    ("CHECK",          Theirs,  "CHECK", READ_IN),
    ("CLOSE",          Theirs,  "CLOSE", READ_IN),
    ("UNSELECT",       Theirs,  "UNSELECT", READ_IN),
    ("FETCH",          Theirs,  "FETCH 1 (FLAGS UID BODY[])", READ_IN),
    ("FETCH",          Theirs,  "FETCH 1 (ANNOTATION (* value))", READ_IN),
    ("UID FETCH",      Theirs,  "UID FETCH 1:* (FLAGS ENVELOPE BODY[])", READ_IN),
    ("SEARCH",         Theirs,  "SEARCH TEXT owner", READ_IN),
    ("SEARCH",         Theirs,  "SEARCH ANNOTATION * value \"note\"", READ_IN),
    ("UID SEARCH",     Theirs,  "UID SEARCH ALL", READ_IN),
    ("UID SEARCH",     Theirs,  "UID SEARCH RETURN (UPDATE ALL) ALL", READ_IN),
    ("ESEARCH",        Theirs,  "ESEARCH RETURN (UPDATE ALL) TEXT owner", READ_IN),
    ("CANCELUPDATE",   Theirs,  "CANCELUPDATE \"t1\"", [BAD, BAD, BAD, "NO ", "NO ", "NO "]),
    ("SORT",           Theirs,  "SORT (DATE) UTF-8 ALL", READ_IN),
    ("SORT",           Theirs,  "SORT (ANNOTATION /comment value.priv) UTF-8 ALL", READ_IN),
    ("UID SORT",       Theirs,  "UID SORT (SUBJECT) UTF-8 ALL", READ_IN),
    ("THREAD",         Theirs,  "THREAD REFERENCES UTF-8 ALL", READ_IN),
    ("UID THREAD",     Theirs,  "UID THREAD ORDEREDSUBJECT UTF-8 ALL", READ_IN),
    ("CONVERT",        Theirs,  "CONVERT 1 (NIL) (UID AVAILABLECONVERSIONS[1])", READ_IN),
    ("UID CONVERT",    Theirs,  "UID CONVERT 1:* (NIL) (AVAILABLECONVERSIONS[1])", READ_IN),
    ("COPY",           Theirs,  "COPY 1 mine", READ_IN),
    ("UID COPY",       Theirs,  "UID COPY 1:* mine", READ_IN),
    ("STORE",          Theirs,  "STORE 1 +FLAGS (\\Seen \\Flagged word)", CHANGE_IN),
    ("STORE",          Theirs,  "STORE 1 ANNOTATION (/comment (value.shared \"x\"))", [BAD, BAD, BAD, NOPERM, OK, OK]),
    ("UID STORE",      Theirs,  "UID STORE 1 FLAGS (\\Deleted)", CHANGE_IN),
    ("EXPUNGE",        Theirs,  "EXPUNGE", CHANGE_IN),
    ("UID EXPUNGE",    Theirs,  "UID EXPUNGE 1", CHANGE_IN),
    ("MOVE",           Theirs,  "MOVE 1 mine", [BAD, BAD, BAD, READ_ONLY, CANNOT, OK]),
    ("UID MOVE",       Theirs,  "UID MOVE 1 mine", [BAD, BAD, BAD, READ_ONLY, CANNOT, OK]),
    ("REPLACE",        Theirs,  "REPLACE 1 {m} {12+}\r\nSubject: a\r\n", CHANGE_IN),
    ("UID REPLACE",    Theirs,  "UID REPLACE 1 mine {12+}\r\nSubject: a\r\n", [BAD, BAD, BAD, READ_ONLY, CANNOT, OK]),
];

#[test]
fn every_command_is_tried() {
    let tried: BTreeSet<&str> = TRIALS.iter().map(|(name, ..)| *name).collect();
    let commands: BTreeSet<&str> = command_table().map(|row| row.name).collect();
    assert_eq!(commands, tried, "the server's commands, and those that strangers try");
    for (name, _, text, _) in TRIALS {
        assert!(text.starts_with(name), "{text} is filed under {name}");
    }
}

/// Who gives the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    NotLoggedIn,
    /// Another subscriber, with these rights.
    Subscriber(&'static str),
    /// A network function that acts for another subscriber.
    FunctionForAnother,
    /// Another address of the owner, where the operator keeps them apart.
    SiblingKeptApart,
    Sibling,
    FunctionForOwner,
}

impl Who {
    /// The column of the table.
    fn column(self) -> usize {
        match self {
            Self::NotLoggedIn => 0,
            Self::Subscriber("") | Self::FunctionForAnother | Self::SiblingKeptApart => 1,
            Self::Subscriber("l") => 2,
            Self::Subscriber(_) => 3,
            Self::Sibling => 4,
            Self::FunctionForOwner => 5,
        }
    }

    /// What no answer to them may have.
    fn never_told(self) -> &'static [&'static str] {
        match self {
            Self::NotLoggedIn | Self::FunctionForAnother | Self::SiblingKeptApart | Self::Subscriber("") => {
                &[BODY, SHARED_NOTE, PRIVATE_NOTE, HIDDEN, "(MESSAGES "]
            }
            Self::Subscriber("l") => &[BODY, SHARED_NOTE, PRIVATE_NOTE, HIDDEN, "(MESSAGES "],
            Self::Subscriber(_) => &[PRIVATE_NOTE, HIDDEN],
            Self::Sibling => &[PRIVATE_NOTE],
            Self::FunctionForOwner => &[],
        }
    }

    /// Whether the owner's mailboxes must be to them as if they were not there.
    fn sees_nothing(self) -> bool {
        self.column() <= 1
    }

    /// Whether nothing that they do may change a mailbox of the owner's.
    fn changes_nothing(self) -> bool {
        self.column() <= 3
    }

    /// The mailbox `name` of the owner, as they would name it.
    fn names(self, owner: &str, name: &str) -> String {
        if self == Self::FunctionForOwner { name.to_owned() } else { format!("Other/{owner}/{name}") }
    }

    async fn log_in(self, fixture: &Fixture) -> Client {
        let mut client = fixture.connect().await;
        let as_function = |subscriber| format!("AUTHENTICATE PLAIN {}", plain(subscriber, "pf-1"));
        match self {
            Self::NotLoggedIn => return client,
            Self::Subscriber(_) => client.ok(&format!("LOGIN {OTHER} \"{PASSWORD}\"")).await,
            Self::Sibling | Self::SiblingKeptApart => {
                client.ok(&format!("LOGIN {SIBLING} \"{PASSWORD}\"")).await
            }
            Self::FunctionForAnother => client.ok(&as_function(OTHER)).await,
            Self::FunctionForOwner => client.ok(&as_function(OWNER)).await,
        };
        client
    }
}

/// The SASL message of `name` who wants to act for `subscriber`.
fn plain(subscriber: &str, name: &str) -> String {
    STANDARD.encode(format!("{subscriber}\0{name}\0{PASSWORD}"))
}

/// CONVERT is offered; what the trials ask of it needs no worker.
fn conversion() -> Conversion {
    let converter = Converter::new(convert::Options {
        program: ("/bin/false".into(), Vec::new()),
        workers: 1,
        memory_bytes_max: 1,
        cpu_seconds_max: 1,
        time_max: Duration::from_secs(1),
        source_bytes_max: 1,
        cache_bytes: 0,
    });
    Conversion { converter, messages_max: 16, parts_max: 4, picture: Target::Jpeg }
}

/// A server with all of them, where each has mailboxes `mine` and `spare`, and four messages in INBOX.
async fn fixture(siblings: bool) -> Fixture {
    let line = NetworkFunction::line(&"pf-1".parse().expect("a name"), &verifier(), &[]);
    let functions = Functions::parse(&line).expect("a function");
    let conversion = Some(conversion());
    let fixture = Fixture::with(Options { functions, siblings, conversion, ..options() }).await;
    fixture.add(SIBLING, Credentials::Scram(verifier())).await;
    let linked = [OWNER, SIBLING].map(|text| CpmAddress::parse(text).expect("an address"));
    fixture.store.link_accounts(&ctx(), &linked).await.expect("linked");
    for address in [OWNER, OTHER, SIBLING] {
        let mut client = fixture.connect().await;
        client.ok(&format!("LOGIN {address} \"{PASSWORD}\"")).await;
        client.ok("CREATE mine").await;
        client.ok("CREATE spare").await;
        for _ in 0..4 {
            client.append("INBOX", "Subject: in\r\n\r\nbody\r\n").await;
        }
    }
    fixture
}

/// A mailbox of the owner's with a message.
async fn mailbox(owner: &mut Client, name: &str) {
    owner.ok(&format!("CREATE {name}")).await;
    let noted =
        format!("ANNOTATION (/comment (value.shared \"{SHARED_NOTE}\" value.priv \"{PRIVATE_NOTE}\"))");
    owner.append(&format!("{name} {noted}"), &format!("Subject: x\r\n\r\n{BODY}\r\n")).await;
    let notes = format!("(/shared/comment \"{SHARED_NOTE}\" /private/comment \"{PRIVATE_NOTE}\")");
    owner.ok(&format!("SETMETADATA {name} {notes}")).await;
}

/// All that the owner can know of a mailbox, and the names of all.
async fn state(owner: &mut Client, name: &str) -> Vec<String> {
    let mut state = Vec::new();
    for command in [
        &format!("STATUS {name} (MESSAGES UNSEEN UIDNEXT UIDVALIDITY HIGHESTMODSEQ)"),
        &format!("GETMETADATA (DEPTH infinity) {name} (/shared /private)"),
        &format!("GETACL {name}"),
        "LIST \"\" *",
    ] {
        state.extend(owner.ok(command).await);
    }
    state
}

/// All that is answered to a trial by somebody who logs in for it, names taken out; the status stands last.
async fn answer(fixture: &Fixture, who: Who, trial: &Trial, owner: &str, name: &str) -> (String, String) {
    let (_, place, text, _) = *trial;
    let mailbox = who.names(owner, name);
    let url = format!("imap://{}@host.example/{name}/;UID=1", owner.replace(':', "%3A").replace('+', "%2B"));
    let mut client = who.log_in(fixture).await;
    match place {
        Nowhere => {}
        Own => _ = client.run("SELECT INBOX").await,
        Theirs => _ = client.run(&format!("SELECT {mailbox}")).await,
    }
    let command = text
        .replace("{m}", &mailbox)
        .replace("{u}", &url)
        .replace("{o}", owner)
        .replace("{plain}", &plain(owner, OTHER));
    let (lines, status) = client.run(&command).await;
    let told = format!("{}\n{status}", lines.join("\n"));
    (told.replace(&url, "{u}").replace(&mailbox, "{m}"), status)
}

async fn check(who: Who) {
    let fixture = fixture(who != Who::SiblingKeptApart).await;
    let mut owner = fixture.log_in().await;
    mailbox(&mut owner, HIDDEN).await;
    let mut wrong = Vec::new();
    for (number, trial) in TRIALS.iter().enumerate() {
        let (command, _, text, outcomes) = trial;
        let name = format!("box{number}");
        mailbox(&mut owner, &name).await;
        if let Who::Subscriber(rights) = who
            && !rights.is_empty()
        {
            owner.ok(&format!("SETACL {name} {OTHER} {rights}")).await;
        }
        let before = state(&mut owner, &name).await;
        let (told, status) = answer(&fixture, who, trial, OWNER, &name).await;

        // An address of one's own is one's own, reached or not.
        let is_own = who == Who::SiblingKeptApart && ["SELECTA", "LISTA"].contains(command);
        let outcome = if is_own { OK } else { outcomes[who.column()] };
        let mut claim = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{text}: {what}: {told}"));
            }
        };
        claim(status.starts_with(outcome), outcome);
        if outcome != OK || who.changes_nothing() {
            claim(before == state(&mut owner, &name).await, "it changed the mailbox");
        }
        for secret in who.never_told() {
            claim(!told.contains(secret), secret);
        }
        if who.sees_nothing() && !is_own {
            claim(!told.contains(OWNER), OWNER);
            // To the letter what is said where there is no such mailbox, and where there is no such subscriber.
            for (address, name) in [(OWNER, "absent"), (NOBODY, &*name)] {
                let absent = answer(&fixture, who, trial, address, name).await;
                claim(told == absent.0, &format!("of {name} of {address} it is {}", absent.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{who:?}: {wrong:#?}");
}

#[tokio::test]
async fn without_a_login() {
    check(Who::NotLoggedIn).await;
}

#[tokio::test]
async fn without_rights() {
    check(Who::Subscriber("")).await;
}

#[tokio::test]
async fn with_lookup_alone() {
    check(Who::Subscriber("l")).await;
}

#[tokio::test]
async fn with_lookup_and_read() {
    check(Who::Subscriber("lr")).await;
}

#[tokio::test]
async fn a_network_function_for_another() {
    check(Who::FunctionForAnother).await;
}

#[tokio::test]
async fn a_network_function_for_the_owner() {
    check(Who::FunctionForOwner).await;
}

#[tokio::test]
async fn a_sibling() {
    check(Who::Sibling).await;
}

#[tokio::test]
async fn a_sibling_kept_apart() {
    check(Who::SiblingKeptApart).await;
}

/// Rights on one mailbox say nothing of the others of the same owner.
#[tokio::test]
async fn all_rights_on_one_mailbox_show_no_other() {
    let fixture = fixture(true).await;
    let mut owner = fixture.log_in().await;
    mailbox(&mut owner, HIDDEN).await;
    mailbox(&mut owner, "shared").await;
    owner.ok(&format!("SETACL shared {OTHER} lrswipkxtea")).await;
    let who = Who::Subscriber("");
    let before = state(&mut owner, HIDDEN).await;
    for trial in TRIALS.iter().filter(|(_, _, text, _)| text.contains("{m}") || text.contains("{u}")) {
        let hidden = answer(&fixture, who, trial, OWNER, HIDDEN).await;
        let absent = answer(&fixture, who, trial, OWNER, "absent").await;
        assert_eq!(hidden.0, absent.0, "{}", trial.2);
        assert!(!hidden.1.starts_with(NOPERM), "{}: {}", trial.2, hidden.0);
    }
    assert_eq!(before, state(&mut owner, HIDDEN).await);
}

/// A right that is taken away ends what it allowed, also where the mailbox was selected by it.
#[tokio::test]
async fn a_right_taken_away_closes_the_mailbox() {
    let fixture = fixture(true).await;
    let mut owner = fixture.log_in().await;
    for command in ["NOOP", "FETCH 1 BODY[]", "UID SEARCH ALL", "COPY 1 mine", "IDLE"] {
        mailbox(&mut owner, "shared").await;
        owner.ok(&format!("SETACL shared {OTHER} lr")).await;
        let mut stranger = Who::Subscriber("lr").log_in(&fixture).await;
        stranger.ok(&format!("SELECT Other/{OWNER}/shared")).await;
        stranger.ok("FETCH 1 FLAGS").await;
        let idles = command == "IDLE";
        if idles {
            stranger.begin(command).await;
            assert!(stranger.line().await.starts_with("+ "));
        }
        owner.ok(&format!("DELETEACL shared {OTHER}")).await;
        owner.append("shared", &format!("Subject: late\r\n\r\n{BODY}\r\n")).await;
        if !idles {
            stranger.begin(command).await;
        }
        let mut told = Vec::new();
        while let Some(line) = stranger.try_line().await {
            told.push(line);
        }
        assert!(told.iter().any(|line| line.starts_with("* BYE ")), "{command}: {told:?}");
        let told = told.concat();
        assert!(!told.contains(BODY) && !told.contains("EXISTS"), "{command}: {told}");
        let mut stranger = Who::Subscriber("").log_in(&fixture).await;
        stranger.says("STATUS mine (MESSAGES)", &["* STATUS mine (MESSAGES 0)"]).await;
        owner.ok("DELETE shared").await;
    }
}

/// What happens in a mailbox is told to nobody who may not read it, however they listen.
#[tokio::test]
async fn nobody_hears_of_anothers_mailbox() {
    let fixture = fixture(true).await;
    let mut owner = fixture.log_in().await;
    for rights in ["", "l"] {
        mailbox(&mut owner, "shared").await;
        if !rights.is_empty() {
            owner.ok(&format!("SETACL shared {OTHER} {rights}")).await;
        }
        let mut listeners = Vec::new();
        let events =
            "(MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange)";
        for notify in [
            format!("NOTIFY SET (MAILBOXES Other/{OWNER}/shared {events})"),
            format!("NOTIFY SET (SUBTREE Other {events})"),
            format!("NOTIFY SET (SUBSCRIBED {events})"),
            format!("NOTIFY SET (PERSONAL {events}) (SELECTED (MessageNew MessageExpunge FlagChange))"),
        ] {
            let mut listener = Who::Subscriber(rights).log_in(&fixture).await;
            listener.ok(&format!("SUBSCRIBE Other/{OWNER}/shared")).await;
            listener.ok(&notify).await;
            listeners.push((notify, listener));
        }
        let mut idle = Who::Subscriber(rights).log_in(&fixture).await;
        idle.ok("SELECT INBOX").await;
        idle.begin("IDLE").await;
        assert!(idle.line().await.starts_with("+ "));
        listeners.push(("IDLE".to_owned(), idle));

        owner.append("shared", &format!("Subject: late\r\n\r\n{BODY}\r\n")).await;
        owner.ok("SELECT shared").await;
        owner.ok("STORE 1 +FLAGS (\\Seen \\Deleted)").await;
        owner.ok("EXPUNGE").await;
        owner.ok("UNSELECT").await;
        owner.ok("SETMETADATA shared (/shared/comment \"other\")").await;
        owner.ok("RENAME shared shown").await;
        owner.ok("DELETE shown").await;
        for (how, listener) in &mut listeners {
            assert!(listener.is_silent().await, "{rights:?}: {how}");
        }
    }
}
