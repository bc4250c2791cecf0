//! The accounts of one subscriber: what a login reaches, SELECTA and LISTA.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use imap_server::{Limits, Options};
use kv::fault::Faults;
use model::CpmAddress;
use parking_lot::Mutex;
use registration::{Provider, ProviderError, RegistrationSet, Registrations};
use store_api::{AccountState, Credentials, MailStore, QuotaLimits};

use crate::client::Client;
use crate::fixture::{Fixture, PASSWORD, ctx, options};

const ONE: &str = "tel:+15550000001";
const ALICE: &str = "sip:alice@example.com";
const THIRD: &str = "tel:+15550000003";

fn address(text: &str) -> CpmAddress {
    CpmAddress::parse(text).expect("an address")
}

/// Every command looks whether the active account is still the session's.
fn always_looking() -> Options {
    let options = options();
    Options { limits: Limits { account_check_interval: Duration::ZERO, ..options.limits }, ..options }
}

/// A server on which `ONE` and `ALICE` are one subscriber's, and `THIRD` is another's.
async fn linked(options: Options) -> Fixture {
    let fixture = Fixture::with(options).await;
    fixture.add(THIRD, Credentials::None).await;
    link(&fixture, &[ONE, ALICE]).await;
    fixture
}

async fn link(fixture: &Fixture, addresses: &[&str]) {
    let addresses: Vec<_> = addresses.iter().map(|text| address(text)).collect();
    fixture.store.link_accounts(&ctx(), &addresses).await.expect("linked");
}

/// A folder of this name in the account that is active.
async fn mark(client: &mut Client, name: &str) {
    client.ok(&format!("CREATE {name}")).await;
}

/// Whether the active account has that folder.
async fn has(client: &mut Client, name: &str) -> bool {
    let (lines, _) = client.run(&format!("LIST \"\" {name}")).await;
    !lines.is_empty()
}

/// After LOGIN and after AUTHENTICATE the registration set is asked for, of whoever knows it.
#[tokio::test]
async fn s0_06_registration_set_asked_after_login() {
    let (provider, registrations) = core(Mood::Answers);
    let fixture = linked(Options { registrations, ..options() }).await;
    let mut client = fixture.connect().await;
    client.expect(&format!("LOGIN {ONE} wrong"), "NO [AUTHENTICATIONFAILED]").await;
    assert!(provider.asked.lock().is_empty(), "only after success");
    client.ok(&format!("LOGIN {ONE} \"{PASSWORD}\"")).await;
    assert_eq!(*provider.asked.lock(), [address(ONE)]);
    let mut client = fixture.connect().await;
    let plain = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("\0alice@example.com\0{PASSWORD}"),
    );
    client.ok(&format!("AUTHENTICATE PLAIN {plain}")).await;
    assert_eq!(*provider.asked.lock(), [address(ONE), address(ALICE)]);
}

/// One login reaches every account of the set, and no other.
#[tokio::test]
async fn s0_07_associated_addresses_are_authenticated() {
    let fixture = linked(options()).await;
    let mut client = fixture.log_in().await;
    mark(&mut client, "of-one").await;
    client.ok(&format!("SELECTA {ALICE}")).await;
    assert!(!has(&mut client, "of-one").await);
    mark(&mut client, "of-alice").await;
    client.ok("SELECT of-alice").await;
    client.ok(&format!("SELECTA {ONE}")).await;
    assert!(has(&mut client, "of-one").await && !has(&mut client, "of-alice").await);
    let (lines, _) = client.run("LISTA").await;
    assert_eq!(lines, [format!("* LISTA (\\Active \\Primary) {ONE}"), format!("* LISTA () {ALICE}")]);
}

/// As SELECT: the folder is left without expunge, and the tagged line is all there is.
#[tokio::test]
async fn s0_08_selecta_as_select_without_responses() {
    let fixture = linked(options()).await;
    let mut client = fixture.select(2).await;
    client.ok("STORE 1 +FLAGS (\\Deleted)").await;
    let (lines, end) = client.run(&format!("SELECTA {ALICE}")).await;
    assert_eq!((lines, end.as_str()), (vec![], "OK SELECTA completed"));
    client.expect("FETCH 1 FLAGS", "BAD ").await;
    client.ok(&format!("SELECTA {ONE}")).await;
    let (lines, _) = client.run("SELECT INBOX").await;
    assert!(lines.contains(&"* 2 EXISTS".to_owned()), "{lines:?}");
    // [CLOSED] for those who know it.
    client.ok("ENABLE QRESYNC").await;
    let (lines, _) = client.run(&format!("SELECTA {ALICE}")).await;
    assert!(lines.len() == 1 && lines[0].starts_with("* OK [CLOSED]"), "{lines:?}");
    let (lines, _) = client.run(&format!("SELECTA {ALICE}")).await;
    assert!(lines.is_empty(), "no folder was selected: {lines:?}");
}

/// OK for an address of the set, in every spelling, the active one's too.
#[tokio::test]
async fn s0_09_existing_address_ok() {
    let fixture = linked(options()).await;
    let mut client = fixture.log_in().await;
    for spelling in
        ["sip:alice@EXAMPLE.com", "alice@example.com", "+1-555-000-0001", "\"TEL:+15550000001\"", ONE]
    {
        let (_, end) = client.run(&format!("SELECTA {spelling}")).await;
        assert_eq!(end, "OK SELECTA completed", "{spelling}");
    }
}

/// NO in the same words whether it is another subscriber's, has no account, or is nobody's; BAD for what is no address.
#[tokio::test]
async fn s0_10_unknown_address_no() {
    let (provider, registrations) = core(Mood::Answers);
    provider.others.lock().push(address("+15559999999"));
    let fixture = linked(Options { registrations, ..options() }).await;
    let mut client = fixture.log_in().await;
    mark(&mut client, "of-one").await;
    let mut said = Vec::new();
    // Another's; registered but without an account; nobody's.
    for other in [THIRD, "+15559999999", "nobody@example.com"] {
        client.ok("SELECT INBOX").await;
        let (lines, end) = client.run(&format!("SELECTA {other}")).await;
        assert!(lines.is_empty(), "{lines:?}");
        said.push(end);
        // As with SELECT no folder is selected then; the account is the one before.
        client.expect("FETCH 1 FLAGS", "BAD ").await;
        assert!(has(&mut client, "of-one").await);
    }
    said.dedup();
    assert_eq!(said, ["NO [NONEXISTENT] there is no such account"]);
    client.ok("SELECT INBOX").await;
    for malformed in ["nonsense", "\"\"", "tel:0612345678", "*"] {
        client.expect(&format!("SELECTA {malformed}"), "BAD ").await;
    }
    client.ok("CHECK").await;
}

#[tokio::test]
async fn a_disabled_account_and_a_store_that_is_down() {
    let fixture = linked(options()).await;
    let mut client = fixture.log_in().await;
    mark(&mut client, "of-one").await;
    fixture.configure(ALICE, AccountState::Disabled, QuotaLimits::default()).await;
    client.expect(&format!("SELECTA {ALICE}"), "NO [AUTHORIZATIONFAILED]").await;
    let (lines, _) = client.run("LISTA").await;
    assert_eq!(lines[1], format!("* LISTA (\\Unavailable) {ALICE}"));
    fixture.configure(ALICE, AccountState::Active, QuotaLimits::default()).await;
    fixture.faults.set_faults(Faults { read_unavailable: 1.0, ..Faults::none() });
    client.expect(&format!("SELECTA {ALICE}"), "NO [UNAVAILABLE]").await;
    client.expect("LISTA", "NO [UNAVAILABLE]").await;
    fixture.faults.set_faults(Faults::none());
    assert!(has(&mut client, "of-one").await, "the active account is the one before");
    client.ok(&format!("SELECTA {ALICE}")).await;
}

#[tokio::test]
async fn an_account_taken_away_ends_at_the_next_command() {
    let fixture = linked(always_looking()).await;
    let mut client = fixture.log_in().await;
    client.ok(&format!("SELECTA {ALICE}")).await;
    client.ok("SELECT INBOX").await;
    fixture.store.unlink_account(&ctx(), &address(ALICE)).await.expect("unlinked");
    for command in ["FETCH 1 FLAGS", "NOOP", "SELECT INBOX", "LIST \"\" *", "IDLE", "CREATE x", "FROB"] {
        let expected = if command == "FROB" { "BAD " } else { "NO [AUTHORIZATIONFAILED]" };
        client.expect(command, expected).await;
    }
    client.expect("APPEND INBOX {1}", "NO [AUTHORIZATIONFAILED]").await;
    client.ok("CAPABILITY").await;
    let (lines, _) = client.run("LISTA").await;
    assert_eq!(lines, [format!("* LISTA (\\Primary) {ONE}")]);
    client.expect(&format!("SELECTA {ALICE}"), "NO [NONEXISTENT]").await;
    client.expect("NOOP", "NO [AUTHORIZATIONFAILED]").await;
    client.ok(&format!("SELECTA {ONE}")).await;
    client.ok("SELECT INBOX").await;
    // The account logged in to is nobody else's to take.
    client.ok("NOOP").await;
}

#[tokio::test]
async fn an_account_taken_away_ends_idle_with_a_no() {
    let options = always_looking();
    let limits = Limits { idle_keepalive: Duration::from_millis(50), ..options.limits };
    let fixture = linked(Options { limits, ..options }).await;
    let mut client = fixture.log_in().await;
    client.ok(&format!("SELECTA {ALICE}")).await;
    client.ok("SELECT INBOX").await;
    client.send("i IDLE\r\n").await;
    assert_eq!(client.line().await, "+ idling");
    fixture.store.unlink_account(&ctx(), &address(ALICE)).await.expect("unlinked");
    for _ in 0..3 {
        assert_eq!(client.line().await, "* OK still here");
    }
    // Of what arrives now nothing is told.
    let mut other = fixture.connect().await;
    other.ok(&format!("LOGIN {ALICE} \"{PASSWORD}\"")).await;
    other.append("INBOX", "Subject: x\r\n\r\nbody\r\n").await;
    client.send("DONE\r\n").await;
    let mut line = client.line().await;
    while line == "* OK still here" {
        line = client.line().await;
    }
    assert!(line.starts_with("i NO [AUTHORIZATIONFAILED]"), "{line}");
}

#[tokio::test]
async fn a_login_that_was_shut_reaches_only_itself() {
    let fixture = linked(always_looking()).await;
    let mut client = fixture.log_in().await;
    client.ok(&format!("SELECTA {ALICE}")).await;
    fixture.configure(ONE, AccountState::Disabled, QuotaLimits::default()).await;
    client.expect("NOOP", "NO [AUTHORIZATIONFAILED]").await;
    client.expect(&format!("SELECTA {ALICE}"), "NO [NONEXISTENT]").await;
    client.expect(&format!("SELECTA {ONE}"), "NO [AUTHORIZATIONFAILED]").await;
    client.ok("UNAUTHENTICATE").await;
    client.ok(&format!("LOGIN {ALICE} \"{PASSWORD}\"")).await;
    client.ok("SELECT INBOX").await;
}

/// Whatever led to it, and whether it waits or works.
#[tokio::test]
async fn a_disabled_account_ends_its_sessions() {
    let fixture = linked(always_looking()).await;
    let (mut here, mut by_selecta, mut idle) =
        (fixture.log_in().await, fixture.log_in().await, fixture.log_in().await);
    here.ok("UNAUTHENTICATE").await;
    here.ok(&format!("LOGIN {ALICE} \"{PASSWORD}\"")).await;
    here.ok("SELECT INBOX").await;
    by_selecta.ok(&format!("SELECTA {ALICE}")).await;
    idle.ok("UNAUTHENTICATE").await;
    idle.ok(&format!("LOGIN {ALICE} \"{PASSWORD}\"")).await;
    idle.ok("ENABLE QRESYNC").await;
    idle.ok("SELECT INBOX").await;
    idle.send("i IDLE\r\n").await;
    assert_eq!(idle.line().await, "+ idling");
    fixture.configure(ALICE, AccountState::Disabled, QuotaLimits::default()).await;
    // Woken by the change itself: no keep-alive comes for minutes.
    assert!(idle.line().await.starts_with("* OK [CLOSED]"));
    idle.send("DONE\r\n").await;
    assert!(idle.line().await.starts_with("i NO [AUTHORIZATIONFAILED]"));
    for client in [&mut here, &mut by_selecta, &mut idle] {
        for command in ["NOOP", "SELECT INBOX", "LIST \"\" *", "STATUS INBOX (MESSAGES)", "CREATE x"] {
            client.expect(command, "NO [AUTHORIZATIONFAILED]").await;
        }
    }
    by_selecta.ok(&format!("SELECTA {ONE}")).await;
    by_selecta.ok("SELECT INBOX").await;
    // Open again, it is worked on by who asks for it anew.
    fixture.configure(ALICE, AccountState::Active, QuotaLimits::default()).await;
    here.expect("NOOP", "NO [AUTHORIZATIONFAILED]").await;
    here.ok(&format!("SELECTA {ALICE}")).await;
    here.ok("SELECT INBOX").await;
}

/// Somebody else in a folder that was shared with him is out as if the right to read it had been taken away.
#[tokio::test]
async fn a_disabled_account_ends_who_is_in_a_folder_of_it() {
    let fixture = linked(always_looking()).await;
    let mut owner = fixture.connect().await;
    owner.ok(&format!("LOGIN {ALICE} \"{PASSWORD}\"")).await;
    owner.append("INBOX", "Subject: x\r\n\r\nbody\r\n").await;
    owner.ok(&format!("SETACL INBOX {ONE} lrsw")).await;
    let mut guests = Vec::new();
    for _ in 0..4 {
        let mut guest = fixture.log_in().await;
        guest.ok(&format!("SELECT \"Other/{ALICE}/INBOX\"")).await;
        guest.ok("NOOP").await;
        guests.push(guest);
    }
    let [mut idle, mut fetch, mut noop, mut elsewhere] = <[Client; 4]>::try_from(guests).ok().expect("four");
    idle.send("i IDLE\r\n").await;
    assert_eq!(idle.line().await, "+ idling");
    elsewhere.ok("SELECT INBOX").await;
    fixture.configure(ALICE, AccountState::Disabled, QuotaLimits::default()).await;
    // Woken by the change itself: no keep-alive comes for minutes.
    assert!(idle.line().await.starts_with("* BYE "));
    for (client, command) in [(&mut fetch, "FETCH 1 BODY[]"), (&mut noop, "NOOP")] {
        let (lines, end) = client.run(command).await;
        assert!(lines.len() == 1 && lines[0].starts_with("* BYE "), "{command}: {lines:?}");
        assert!(end.starts_with("NO [NOPERM]"), "{command}: {end}");
    }
    elsewhere.ok("NOOP").await;
    elsewhere.expect(&format!("SELECT \"Other/{ALICE}/INBOX\""), "NO [NONEXISTENT]").await;
}

/// The same under the interval of a server that was not told otherwise, and with a client that was looked at just before:
/// nothing else happens in the owner's folder, and no keep-alive comes for minutes.
#[tokio::test]
async fn who_waits_is_out_soon_after_an_account_was_disabled() {
    let limits = Limits { account_check_interval: Duration::from_secs(2), ..options().limits };
    let fixture = linked(Options { limits, ..options() }).await;
    let mut owner = fixture.connect().await;
    owner.ok(&format!("LOGIN {ALICE} \"{PASSWORD}\"")).await;
    owner.ok(&format!("SETACL INBOX {ONE} lrsw")).await;
    // Logged in a moment before, so that no look is due yet when the account is shut.
    let (mut idle, mut notify) = (fixture.log_in().await, fixture.log_in().await);
    let mut own = fixture.connect().await;
    own.ok(&format!("LOGIN {ALICE} \"{PASSWORD}\"")).await;
    for guest in [&mut idle, &mut notify] {
        guest.ok(&format!("SELECT \"Other/{ALICE}/INBOX\"")).await;
    }
    own.ok("ENABLE QRESYNC").await;
    own.ok("SELECT INBOX").await;
    notify.ok("NOTIFY SET (SELECTED (MessageNew MessageExpunge))").await;
    for waits in [&mut idle, &mut own] {
        waits.send("i IDLE\r\n").await;
        assert_eq!(waits.line().await, "+ idling");
    }
    fixture.configure(ALICE, AccountState::Disabled, QuotaLimits::default()).await;
    assert!(idle.line().await.starts_with("* BYE "));
    assert!(own.line().await.starts_with("* OK [CLOSED]"));
    assert!(notify.line().await.starts_with("* BYE "));
}

/// A server on which `ONE` and `ALICE` reach each other's folders, with a message in INBOX of `ALICE`, at which a session is.
async fn siblings(options: Options) -> (Fixture, Client) {
    let fixture = linked(Options { siblings: true, ..options }).await;
    let mut alice = fixture.connect().await;
    alice.ok(&format!("LOGIN {ALICE} \"{PASSWORD}\"")).await;
    alice.append("INBOX", "Subject: x\r\n\r\nbody\r\n").await;
    (fixture, alice)
}

fn inbox_of_alice() -> String {
    format!("\"Other/{ALICE}/INBOX\"")
}

async fn unlink(fixture: &Fixture) {
    fixture.store.unlink_account(&ctx(), &address(ALICE)).await.expect("unlinked");
}

/// What a session reaches by being the same subscriber's ends with that, wherever the session is.
#[tokio::test]
async fn an_account_unlinked_is_a_strangers() {
    let (fixture, mut alice) = siblings(always_looking()).await;
    alice.ok("CREATE shared").await;
    alice.ok(&format!("SETACL shared {ONE} lr")).await;
    let mut sessions = Vec::new();
    for _ in 0..5 {
        let mut session = fixture.log_in().await;
        session.ok(&format!("SELECT {}", inbox_of_alice())).await;
        sessions.push(session);
    }
    let [mut idle, mut fetch, mut elsewhere, mut shared, mut away] =
        <[Client; 5]>::try_from(sessions).ok().expect("five");
    idle.send("i IDLE\r\n").await;
    assert_eq!(idle.line().await, "+ idling");
    elsewhere.ok("SELECT INBOX").await;
    shared.ok(&format!("SELECT \"Other/{ALICE}/shared\"")).await;
    away.ok(&format!("SELECTA {ALICE}")).await;
    unlink(&fixture).await;
    // Woken by the change itself: no keep-alive comes for minutes.
    assert!(idle.line().await.starts_with("* BYE "));
    let (lines, end) = fetch.run("FETCH 1 BODY[]").await;
    assert!(lines.len() == 1 && lines[0].starts_with("* BYE "), "{lines:?}");
    assert!(end.starts_with("NO [NOPERM]"), "{end}");
    for command in ["SELECT", "EXAMINE"] {
        elsewhere.expect(&format!("{command} {}", inbox_of_alice()), "NO [NONEXISTENT]").await;
    }
    elsewhere.expect(&format!("STATUS {} (MESSAGES)", inbox_of_alice()), "NO [NONEXISTENT]").await;
    // What is shared as with anybody else is still there.
    shared.ok("NOOP").await;
    let (lines, _) = shared.run("LIST \"\" Other/*").await;
    assert!(lines.iter().any(|line| line.contains("/shared")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("/INBOX")), "{lines:?}");
    away.expect("NOOP", "NO [AUTHORIZATIONFAILED]").await;
    // Linked again, it is reached by those who are there.
    link(&fixture, &[ONE, ALICE]).await;
    elsewhere.ok(&format!("SELECT {}", inbox_of_alice())).await;
}

/// A session that waits by NOTIFY hears of no message of an account that was unlinked, and of those of one that was linked.
#[tokio::test]
async fn notify_follows_who_is_linked() {
    let limits = Limits { account_check_interval: Duration::from_millis(300), ..options().limits };
    let (fixture, mut alice) = siblings(Options { limits, ..options() }).await;
    let mut one = fixture.log_in().await;
    one.ok("NOTIFY SET (SUBTREE Other (MailboxName MessageNew MessageExpunge))").await;
    alice.append("INBOX", "Subject: x\r\n\r\nbody\r\n").await;
    let line = one.line().await;
    assert!(line.starts_with(&format!("* STATUS Other/{ALICE}/INBOX (MESSAGES 2 ")), "{line}");
    unlink(&fixture).await;
    let mut gone = vec![one.line().await];
    while !one.is_silent().await {
        gone.push(one.line().await);
    }
    assert!(gone.iter().all(|line| line.starts_with("* LIST (\\NonExistent")), "{gone:?}");
    assert!(gone.iter().any(|line| line.ends_with("/INBOX")), "{gone:?}");
    alice.append("INBOX", "Subject: x\r\n\r\nbody\r\n").await;
    assert!(one.is_silent().await);
    link(&fixture, &[ONE, ALICE]).await;
    let mut line = one.line().await;
    while line.starts_with("* LIST (") {
        line = one.line().await;
    }
    assert!(line.starts_with("* STATUS Other/") && line.contains("/INBOX (MESSAGES 3 "), "{line}");
}

/// What LISTA and SELECTA learn counts at once, long before the next look.
#[tokio::test]
async fn who_was_told_that_an_account_is_unlinked_reaches_it_no_more() {
    let limits = Limits { account_check_interval: Duration::from_secs(3_600), ..options().limits };
    let (fixture, _alice) = siblings(Options { limits, ..options() }).await;
    let (mut lists, mut selects, mut there) =
        (fixture.log_in().await, fixture.log_in().await, fixture.log_in().await);
    there.ok(&format!("SELECT {}", inbox_of_alice())).await;
    unlink(&fixture).await;
    lists.ok("LISTA").await;
    selects.expect(&format!("SELECTA {ALICE}"), "NO [NONEXISTENT]").await;
    for client in [&mut lists, &mut selects] {
        client.expect(&format!("SELECT {}", inbox_of_alice()), "NO [NONEXISTENT]").await;
    }
    let (lines, _) = there.run("LISTA").await;
    assert!(lines.last().is_some_and(|line| line.starts_with("* BYE ")), "{lines:?}");
    link(&fixture, &[ONE, ALICE]).await;
    lists.ok("LISTA").await;
    lists.ok(&format!("SELECT {}", inbox_of_alice())).await;
}

/// Who knows the addresses being away takes no folder away, and neither does a store that cannot tell.
#[tokio::test]
async fn no_answer_takes_no_sibling_away() {
    let (core, registrations) = core(Mood::Answers);
    let (fixture, _alice) = siblings(Options { registrations, ..always_looking() }).await;
    let (mut there, mut later) = (fixture.log_in().await, fixture.log_in().await);
    there.ok(&format!("SELECT {}", inbox_of_alice())).await;
    fixture.faults.set_faults(Faults { read_unavailable: 1.0, ..Faults::none() });
    there.run("NOOP").await;
    fixture.faults.set_faults(Faults::none());
    there.ok("FETCH 1 FLAGS").await;
    core.others.lock().clear();
    *core.mood.lock() = Mood::Fails;
    for _ in 0..2 {
        there.ok("FETCH 1 FLAGS").await;
        later.ok(&format!("STATUS {} (MESSAGES)", inbox_of_alice())).await;
    }
    // An answer does take away, also one that comes by the way.
    *core.mood.lock() = Mood::Answers;
    later.ok("LISTA").await;
    later.expect(&format!("STATUS {} (MESSAGES)", inbox_of_alice()), "NO [NONEXISTENT]").await;
}

/// Nobody is asked in passing where the operator lets accounts reach nothing, or where there are none.
#[tokio::test]
async fn who_has_no_siblings_is_asked_for_once() {
    for (siblings, others) in [(false, vec![address(ALICE)]), (true, Vec::new())] {
        let (core, registrations) = core(Mood::Answers);
        *core.others.lock() = others;
        let fixture = Fixture::with(Options { registrations, siblings, ..always_looking() }).await;
        let mut client = fixture.log_in().await;
        client.ok("SELECT INBOX").await;
        client.ok("NOOP").await;
        assert_eq!(*core.asked.lock(), [address(ONE)]);
    }
}

/// Who was told that the active account is not among the accounts does not go on working in it.
#[tokio::test]
async fn what_lista_tells_holds_for_the_next_command() {
    let options = options();
    let limits = Limits { account_check_interval: Duration::from_secs(3_600), ..options.limits };
    let fixture = linked(Options { limits, ..options }).await;
    let (mut lists, mut selects) = (fixture.log_in().await, fixture.log_in().await);
    for client in [&mut lists, &mut selects] {
        client.ok(&format!("SELECTA {ALICE}")).await;
    }
    fixture.store.unlink_account(&ctx(), &address(ALICE)).await.expect("unlinked");
    let (lines, _) = lists.run("LISTA").await;
    assert_eq!(lines, [format!("* LISTA (\\Primary) {ONE}")]);
    lists.expect("STATUS INBOX (MESSAGES)", "NO [AUTHORIZATIONFAILED]").await;
    selects.expect(&format!("SELECTA {ALICE}"), "NO [NONEXISTENT]").await;
    selects.expect("STATUS INBOX (MESSAGES)", "NO [AUTHORIZATIONFAILED]").await;
    for client in [&mut lists, &mut selects] {
        client.ok(&format!("SELECTA {ONE}")).await;
    }
    fixture.configure(ONE, AccountState::Disabled, QuotaLimits::default()).await;
    let (lines, _) = lists.run("LISTA").await;
    assert_eq!(lines, [format!("* LISTA (\\Active \\Primary \\Unavailable) {ONE}")]);
    lists.expect("STATUS INBOX (MESSAGES)", "NO [AUTHORIZATIONFAILED]").await;
}

#[tokio::test]
async fn a_session_counts_for_the_account_that_is_active() {
    let options = options();
    let limits = Limits { sessions_per_account_max: 1, ..options.limits };
    let fixture = linked(Options { limits, ..options }).await;
    let mut first = fixture.log_in().await;
    first.ok(&format!("SELECTA {ALICE}")).await;
    // The place of the account logged in to is free again, that of the other is taken.
    let mut second = fixture.log_in().await;
    second.expect(&format!("SELECTA {ALICE}"), "NO [LIMIT]").await;
    second.ok("SELECT INBOX").await;
    second.ok(&format!("SELECTA {ONE}")).await;
    first.expect(&format!("SELECTA {ONE}"), "NO [LIMIT]").await;
    second.ok("LOGOUT").await;
    first.ok(&format!("SELECTA {ONE}")).await;
}

#[tokio::test]
async fn what_changes_is_heard_of_the_active_account() {
    let fixture = linked(options()).await;
    let mut phone = fixture.log_in().await;
    phone.ok(&format!("SELECTA {ALICE}")).await;
    phone.ok("SELECT INBOX").await;
    phone.send("i IDLE\r\n").await;
    assert_eq!(phone.line().await, "+ idling");
    let mut other = fixture.connect().await;
    other.ok(&format!("LOGIN {ONE} \"{PASSWORD}\"")).await;
    other.append("INBOX", "Subject: not this\r\n\r\nbody\r\n").await;
    other.ok(&format!("SELECTA {ALICE}")).await;
    other.append("INBOX", "Subject: this\r\n\r\nbody\r\n").await;
    assert_eq!(phone.line().await, "* 1 EXISTS");
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Answers,
    Fails,
    Hangs,
}

/// Who knows the sets elsewhere.
struct Core {
    mood: Mutex<Mood>,
    asked: Mutex<Vec<CpmAddress>>,
    others: Mutex<Vec<CpmAddress>>,
}

#[async_trait]
impl Provider for Core {
    async fn ask(&self, of: &CpmAddress, _: &[CpmAddress]) -> Result<RegistrationSet, ProviderError> {
        self.asked.lock().push(of.clone());
        let mood = *self.mood.lock();
        match mood {
            Mood::Answers => Ok(RegistrationSet::new(of.clone(), self.others.lock().iter().cloned())),
            Mood::Fails => Err(ProviderError::new("away")),
            Mood::Hangs => std::future::pending().await,
        }
    }
}

fn core(mood: Mood) -> (Arc<Core>, Registrations) {
    let core = Arc::new(Core {
        mood: Mutex::new(mood),
        asked: Mutex::default(),
        others: Mutex::new(vec![address(ALICE)]),
    });
    let options =
        registration::Options { budget: Duration::from_millis(300), ..registration::Options::default() };
    (core.clone(), Registrations::new(core, options))
}

#[tokio::test]
async fn a_login_does_not_wait_for_who_does_not_answer() {
    let (core, registrations) = core(Mood::Hangs);
    let fixture = linked(Options { registrations, ..options() }).await;
    let began = Instant::now();
    let mut client = fixture.log_in().await;
    assert!(began.elapsed() >= Duration::from_millis(300), "it was waited for");
    // The address itself is logged in, no other.
    client.ok("SELECT INBOX").await;
    client.expect(&format!("SELECTA {ALICE}"), "NO [NONEXISTENT]").await;
    client.ok(&format!("SELECTA {ONE}")).await;
    // The same session reaches them once it is known.
    *core.mood.lock() = Mood::Answers;
    client.ok(&format!("SELECTA {ALICE}")).await;
}

#[tokio::test]
async fn who_fails_later_takes_nothing_away() {
    let (core, registrations) = core(Mood::Answers);
    let fixture = linked(Options { registrations, ..always_looking() }).await;
    let mut client = fixture.log_in().await;
    client.ok(&format!("SELECTA {ALICE}")).await;
    *core.mood.lock() = Mood::Fails;
    client.ok("SELECT INBOX").await;
    client.ok(&format!("SELECTA {ONE}")).await;
    client.ok(&format!("SELECTA {ALICE}")).await;
    // A login meanwhile has what was heard last.
    let mut other = fixture.log_in().await;
    other.ok(&format!("SELECTA {ALICE}")).await;
    // An answer does take away.
    *core.mood.lock() = Mood::Answers;
    core.others.lock().clear();
    client.expect("NOOP", "NO [AUTHORIZATIONFAILED]").await;
}
