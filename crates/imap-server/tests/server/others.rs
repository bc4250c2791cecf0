//! NOTIFY of other users' mailboxes (RFC 5465 §5, §5.9): what is shared, from when it is to when it is not.

use std::sync::Arc;

use async_trait::async_trait;
use imap_server::{Limits, Options};
use model::{AccountId, CpmAddress};
use parking_lot::Mutex;
use store_api::{AccountState, ChangeFeed, Credentials, MailStore, Pulse, QuotaLimits, Subscription};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::client::Client;
use crate::fixture::{Fixture, PASSWORD, ctx, options, verifier};

const OWNER: &str = "tel:+15550000001";
const OTHER: &str = "sip:alice@example.com";
/// An address that gets an account later.
const LATE: &str = "tel:+15550000009";
const MESSAGES: &str = "(MessageNew MessageExpunge)";
const ALL: &str = "(MailboxName MessageNew MessageExpunge)";

fn address(text: &str) -> CpmAddress {
    CpmAddress::parse(text).expect("an address")
}

async fn log_in(fixture: &Fixture, address: &str) -> Client {
    let mut client = fixture.connect().await;
    client.ok(&format!("LOGIN {address} \"{PASSWORD}\"")).await;
    client
}

/// The owner, who has a mailbox `box` and has given the other one these rights in it, and that other one.
async fn two(fixture: &Fixture, rights: &str) -> (Client, Client) {
    let mut owner = fixture.log_in().await;
    owner.ok("CREATE box").await;
    if !rights.is_empty() {
        owner.ok(&format!("SETACL box {OTHER} {rights}")).await;
    }
    (owner, log_in(fixture, OTHER).await)
}

fn box_of(owner: &str) -> String {
    format!("Other/{owner}/box")
}

/// The next line, which must begin so.
async fn tells(client: &mut Client, expected: &str) {
    let line = client.line().await;
    assert!(line.starts_with(expected), "{line}, expected {expected}");
}

/// The next line that is not about the name above an owner's mailboxes, which has children or none.
async fn of_mailboxes(client: &mut Client) -> String {
    loop {
        let line = client.line().await;
        if !line.ends_with(&format!(r#" "/" Other/{OWNER}"#)) {
            return line;
        }
    }
}

/// Whatever is told up to the STATUS of the client's own INBOX, to which another of its connections appends.
async fn up_to_now(client: &mut Client, another: &mut Client) -> Vec<String> {
    another.append("INBOX", "x").await;
    let mut told = Vec::new();
    loop {
        let line = client.line().await;
        if line.starts_with("* STATUS INBOX ") {
            return told;
        }
        told.push(line);
    }
}

/// The right is looked at where the counters are: nothing is told that happened after it was taken away, however close.
#[tokio::test]
async fn nothing_is_told_after_the_right_is_gone() {
    let fixture = Fixture::new().await;
    let (mut owner, mut other) = two(&fixture, "lr").await;
    let mut another = log_in(&fixture, OTHER).await;
    other.ok(&format!("NOTIFY SET (SUBTREE Other {MESSAGES}) (PERSONAL {MESSAGES})")).await;
    for n in 0..15 {
        owner.append("box", "seen").await;
        let told = format!("* STATUS {} (MESSAGES {} ", box_of(OWNER), 2 * n + 1);
        tells(&mut other, &told).await;
        let taken = format!("x DELETEACL box {OTHER}\r\ny APPEND box {{6+}}\r\nsecret\r\n");
        owner.send(taken).await;
        assert!(owner.line().await.starts_with("x OK "));
        assert!(owner.line().await.starts_with("y OK "));
        assert_eq!(up_to_now(&mut other, &mut another).await, [""; 0], "round {n}");
        owner.ok(&format!("SETACL box {OTHER} lr")).await;
        // What there is now is told once more, since it may be read again.
        tells(&mut other, &format!("* STATUS {} (MESSAGES {} ", box_of(OWNER), 2 * n + 2)).await;
    }
}

#[tokio::test]
async fn what_the_client_brought_itself_is_not_told() {
    let fixture = Fixture::new().await;
    let (_owner, mut other) = two(&fixture, "lrik").await;
    let mut another = log_in(&fixture, OTHER).await;
    let (theirs, notify) = (box_of(OWNER), format!("NOTIFY SET (SUBTREE Other {ALL})"));
    other.ok(&notify).await;
    another.ok(&notify).await;
    other.append(&theirs, "mine").await;
    other.append("INBOX", "mine").await;
    other.ok("SELECT INBOX").await;
    other.ok(&format!("COPY 1 {theirs}")).await;
    other.ok(&format!("CREATE {theirs}/below")).await;
    assert!(other.is_silent().await);
    tells(&mut another, &format!("* STATUS {theirs} (MESSAGES ")).await;
    // An alias of the address is the same mailbox.
    other.ok(&format!("NOTIFY SET (MAILBOXES Other/+15550000001/box {MESSAGES})")).await;
    another.append(&theirs, "another's").await;
    tells(&mut other, &format!("* STATUS {theirs} (MESSAGES 3 ")).await;
}

/// One's own mailboxes have one name: that of the namespace of other users tells nothing twice.
#[tokio::test]
async fn ones_own_are_told_of_once() {
    let fixture = Fixture::new().await;
    let (mut owner, _) = two(&fixture, "").await;
    let mut same = fixture.log_in().await;
    let own = format!("(MAILBOXES {} {MESSAGES}) (SUBTREE Other {MESSAGES})", box_of(OWNER));
    assert_eq!(same.ok(&format!("NOTIFY SET STATUS {own}")).await, [""; 0]);
    same.ok(&format!("NOTIFY SET {own} (PERSONAL {MESSAGES})")).await;
    owner.append("box", "x").await;
    tells(&mut same, "* STATUS box (MESSAGES 1 ").await;
    assert!(same.is_silent().await);
}

/// An account that is shut shows nothing, one that is opened again what it did, and one that comes later what it shares.
#[tokio::test]
async fn accounts_come_and_go() {
    let fixture = Fixture::new().await;
    let (mut owner, mut other) = two(&fixture, "lr").await;
    let (theirs, late) = (box_of(OWNER), box_of(LATE));
    other.ok(&format!("NOTIFY SET (MAILBOXES ({theirs} {late}) {ALL})")).await;
    fixture.configure(OWNER, AccountState::Disabled, QuotaLimits::default()).await;
    assert_eq!(other.line().await, format!(r#"* LIST (\NonExistent \HasNoChildren) "/" {theirs}"#));
    fixture.configure(OWNER, AccountState::Active, QuotaLimits::default()).await;
    assert_eq!(other.line().await, format!(r#"* LIST (\HasNoChildren) "/" {theirs}"#));
    owner.append("box", "x").await;
    tells(&mut other, &format!("* STATUS {theirs} (MESSAGES 1 ")).await;

    fixture.add(LATE, Credentials::Scram(verifier())).await;
    let mut new = log_in(&fixture, LATE).await;
    new.ok("CREATE box").await;
    new.append("box", "x").await;
    assert!(other.is_silent().await);
    new.ok(&format!("SETACL box {OTHER} lr")).await;
    assert_eq!(other.line().await, format!(r#"* LIST (\HasNoChildren) "/" {late}"#));
    tells(&mut other, &format!("* STATUS {late} (MESSAGES 1 ")).await;
    new.append("box", "x").await;
    tells(&mut other, &format!("* STATUS {late} (MESSAGES 2 ")).await;
    fixture.store.remove_account(&ctx(), &address(LATE)).await.expect("removed");
    assert_eq!(other.line().await, format!(r#"* LIST (\NonExistent \HasNoChildren) "/" {late}"#));
}

#[tokio::test]
async fn there_is_a_bound_of_other_users() {
    let fixture = Fixture::new().await;
    let (_owner, mut other) = two(&fixture, "lr").await;
    let names = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("Other/tel:+1666{n:07}/a")).collect();
        format!("NOTIFY SET (MAILBOXES ({}) {MESSAGES})", names.join(" "))
    };
    other.expect(&names(273), "NO [NOTIFICATIONOVERFLOW] ").await;
    other.ok(&names(272)).await;
}

/// Who shares more than can be watched is left out, and that is said. One's own mailboxes, and those of others who share
/// less, are told of on.
#[tokio::test]
async fn who_shares_too_much_is_left_out() {
    let defaults = options();
    let limits = Limits { notify_folders_max: 2, ..defaults.limits.clone() };
    let fixture = Fixture::with(Options { limits, ..defaults }).await;
    let (mut owner, mut other) = two(&fixture, "lr").await;
    let mut another = log_in(&fixture, OTHER).await;
    fixture.add(LATE, Credentials::Scram(verifier())).await;
    let mut third = log_in(&fixture, LATE).await;
    third.ok("CREATE box").await;
    third.ok(&format!("SETACL box {OTHER} lr")).await;
    let notify = format!("NOTIFY SET (MAILBOXES INBOX {MESSAGES}) (SUBTREE Other {MESSAGES})");
    other.ok(&notify).await;
    owner.append("box", "x").await;
    tells(&mut other, &format!("* STATUS {} (MESSAGES 1 ", box_of(OWNER))).await;
    owner.ok("CREATE box/more").await;
    let left_out = format!("* NO Other/{OWNER} ");
    tells(&mut other, &left_out).await;
    for told_again in [false, true] {
        if told_again {
            // Where it is selected, it is told of as it is.
            assert!(other.ok(&notify).await.iter().any(|line| line.starts_with(&left_out)));
            other
                .ok(&format!(
                    "NOTIFY SET (SELECTED {MESSAGES}) (SUBTREE Other {MESSAGES}) (MAILBOXES INBOX {MESSAGES})"
                ))
                .await;
            other.ok(&format!("EXAMINE {}", box_of(OWNER))).await;
        }
        owner.append("box", "x").await;
        if told_again {
            tells(&mut other, "* 3 EXISTS").await;
            while other.line().await.contains(" FETCH ") {}
        }
        // Their account being asked about again brings nothing back.
        owner.ok("CREATE new").await;
        owner.ok(&format!("SETACL new {OTHER} lr")).await;
        owner.ok("DELETE new").await;
        assert_eq!(up_to_now(&mut other, &mut another).await, [""; 0]);
        third.append("box", "x").await;
        tells(&mut other, &format!("* STATUS {} (MESSAGES ", box_of(LATE))).await;
    }
}

/// A mailbox that is shared no more is told of as gone, also when the client's own account says first that its owner shares
/// nothing, and while their mailboxes are left alone after a look.
#[tokio::test]
async fn the_last_mailbox_of_an_owner_is_told_of_as_gone() {
    let fixture = Fixture::new().await;
    let (mut owner, mut other) = two(&fixture, "lr").await;
    let mut another = log_in(&fixture, OTHER).await;
    other.ok(&format!("NOTIFY SET (SUBTREE Other {ALL}) (PERSONAL (MailboxName))")).await;
    let (theirs, renamed) = (box_of(OWNER), format!("Other/{OWNER}/p2"));
    for n in 0..3 {
        owner.ok("RENAME box p2").await;
        let told = format!(r#"* LIST (\HasNoChildren) "/" {renamed} ("OLDNAME" ({theirs}))"#);
        assert_eq!(of_mailboxes(&mut other).await, told);
        owner.ok(&format!("DELETEACL p2 {OTHER}")).await;
        another.ok(&format!("CREATE t{n}")).await;
        let mut told = [of_mailboxes(&mut other).await, of_mailboxes(&mut other).await];
        told.sort();
        let made = format!(r#"* LIST (\HasNoChildren) "/" t{n}"#);
        let gone = format!(r#"* LIST (\NonExistent \HasNoChildren) "/" {renamed}"#);
        assert_eq!(told, [made, gone], "round {n}");
        owner.ok("RENAME p2 box").await;
        owner.ok(&format!("SETACL box {OTHER} lr")).await;
        assert_eq!(of_mailboxes(&mut other).await, format!(r#"* LIST (\HasNoChildren) "/" {theirs}"#));
    }
}

/// An account that was removed and made again is listened to again, and what it has is none of what was.
#[tokio::test]
async fn an_account_that_is_made_again() {
    let fixture = Fixture::new().await;
    let (_, other) = two(&fixture, "lr").await;
    let mut watchers = [other, log_in(&fixture, OTHER).await];
    watchers[0].ok(&format!("NOTIFY SET (SUBTREE Other/{OWNER} {ALL})")).await;
    watchers[1].ok(&format!("NOTIFY SET (SUBTREE Other {ALL})")).await;
    let gone = |name: &str| format!(r#"* LIST (\NonExistent \HasNoChildren) "/" Other/{OWNER}/{name}"#);
    let mut before = "box".to_owned();
    for (round, waits) in [true, false, true].into_iter().enumerate() {
        fixture.store.remove_account(&ctx(), &address(OWNER)).await.expect("removed");
        if waits {
            for watcher in &mut watchers {
                assert_eq!(of_mailboxes(watcher).await, gone(&before), "round {round}");
            }
        }
        fixture.add(OWNER, Credentials::Scram(verifier())).await;
        let mut owner = fixture.log_in().await;
        let new = format!("new{round}");
        owner.ok(&format!("CREATE {new}")).await;
        owner.ok(&format!("SETACL {new} {OTHER} lr")).await;
        for watcher in &mut watchers {
            if !waits {
                assert_eq!(of_mailboxes(watcher).await, gone(&before), "round {round}");
            }
            let told = format!(r#"* LIST (\HasNoChildren) "/" Other/{OWNER}/{new}"#);
            assert_eq!(of_mailboxes(watcher).await, told, "round {round}");
        }
        owner.append(&new, "x").await;
        for watcher in &mut watchers {
            tells(watcher, &format!("* STATUS Other/{OWNER}/{new} (MESSAGES 1 ")).await;
        }
        before = new;
    }
}

/// Who shares something and was shut when NOTIFY was set is told of once open again.
#[tokio::test]
async fn a_sharer_who_is_shut_at_first() {
    let fixture = Fixture::new().await;
    let (mut owner, mut other) = two(&fixture, "lr").await;
    fixture.configure(OWNER, AccountState::Disabled, QuotaLimits::default()).await;
    assert_eq!(other.ok("LIST \"\" Other/*").await, [""; 0]);
    other.ok(&format!("NOTIFY SET STATUS (SUBTREE Other {ALL})")).await;
    fixture.configure(OWNER, AccountState::Active, QuotaLimits::default()).await;
    assert_eq!(of_mailboxes(&mut other).await, format!(r#"* LIST (\HasNoChildren) "/" {}"#, box_of(OWNER)));
    owner.append("box", "x").await;
    tells(&mut other, &format!("* STATUS {} (MESSAGES 1 ", box_of(OWNER))).await;
}

/// A name that was left and taken again between two looks: the renaming is told first, or who goes by the lines one by one
/// takes the new mailbox to be gone.
#[tokio::test]
async fn a_name_that_is_left_and_taken_again() {
    let fixture = Fixture::new().await;
    let (mut owner, mut other) = two(&fixture, "lr").await;
    other.ok("NOTIFY SET (SUBTREE Other (MailboxName))").await;
    let theirs = box_of(OWNER);
    owner.ok("CREATE box/a").await;
    tells(&mut other, &format!(r#"* LIST (\HasChildren) "/" {theirs}"#)).await;
    tells(&mut other, &format!(r#"* LIST (\HasNoChildren) "/" {theirs}/a"#)).await;
    for n in 0..3 {
        owner.send(format!("x RENAME box/a box/b{n}\r\ny CREATE box/a\r\n")).await;
        assert!(owner.line().await.starts_with("x OK "));
        assert!(owner.line().await.starts_with("y OK "));
        let renamed = format!(r#"* LIST (\HasNoChildren) "/" {theirs}/b{n} ("OLDNAME" ({theirs}/a))"#);
        assert_eq!(of_mailboxes(&mut other).await, renamed);
        assert_eq!(of_mailboxes(&mut other).await, format!(r#"* LIST (\HasChildren) "/" {theirs}"#));
        assert_eq!(of_mailboxes(&mut other).await, format!(r#"* LIST (\HasNoChildren) "/" {theirs}/a"#));
    }
}

/// A feed of which what is heard of an account can be cut off.
struct Cut {
    feed: Arc<feed::Feed>,
    heard: Mutex<Vec<(AccountId, AbortHandle)>>,
}

impl Cut {
    /// Whoever listens to the account finds that the feed has ended. Returns how many that were.
    fn cut(&self, account: AccountId) -> usize {
        let mut heard = self.heard.lock();
        let before = heard.len();
        for (_, task) in heard.extract_if(.., |(heard, _)| *heard == account) {
            task.abort();
        }
        before - heard.len()
    }
}

#[async_trait]
impl ChangeFeed for Cut {
    async fn subscribe(&self, account: AccountId) -> model::Result<Subscription> {
        let mut heard = self.feed.subscribe(account).await?;
        let (pulses, receiver) = watch::channel(Pulse::default());
        let task = tokio::spawn(async move {
            while heard.changed().await {
                pulses.send_replace(heard.pulse());
            }
        });
        self.heard.lock().push((account, task.abort_handle()));
        Ok(Subscription::new(receiver))
    }
}

/// The feed of one account ends: it is had again, and what came meanwhile is told.
#[tokio::test]
async fn a_feed_that_ends_is_had_again() {
    let mut cut = None;
    let over = |feed| {
        let over = Arc::new(Cut { feed, heard: Mutex::default() });
        cut = Some(over.clone());
        over as Arc<dyn ChangeFeed>
    };
    let fixture = Fixture::hearing(options(), store::Options::default(), over).await;
    let cut = cut.expect("a feed");
    let number =
        async |text| fixture.store.account(&ctx(), &address(text)).await.expect("asked").expect("one").id;
    let (owners, others) = (number(OWNER).await, number(OTHER).await);
    let (mut owner, mut other) = two(&fixture, "lr").await;
    let mut another = log_in(&fixture, OTHER).await;
    let notify = format!("NOTIFY SET (SUBTREE Other {MESSAGES}) (PERSONAL {MESSAGES})");
    let theirs = format!("* STATUS {} (MESSAGES ", box_of(OWNER));
    for idles in [false, true] {
        other.ok(&notify).await;
        if idles {
            other.begin("IDLE").await;
            tells(&mut other, "+ ").await;
        }
        for lost in [owners, others, owners] {
            assert!(cut.cut(lost) > 0);
            owner.append("box", "x").await;
            another.append("INBOX", "x").await;
            let mut told = [other.line().await, other.line().await];
            told.sort();
            assert!(
                told[0].starts_with("* STATUS INBOX ") && told[1].starts_with(&theirs),
                "{lost}: {told:?}"
            );
        }
    }
}

/// Another account of the same subscriber shows all that it has. SELECTA ends what NOTIFY set up, which was about the
/// account before.
#[tokio::test]
async fn the_other_accounts_of_a_subscriber() {
    let fixture = Fixture::with(Options { siblings: true, ..options() }).await;
    fixture.store.link_accounts(&ctx(), &[OWNER, OTHER].map(address)).await.expect("linked");
    let (mut owner, mut other) = two(&fixture, "").await;
    let mut another = log_in(&fixture, OTHER).await;
    let notify = format!("NOTIFY SET (SUBTREE Other {MESSAGES}) (PERSONAL {MESSAGES})");
    other.ok(&notify).await;
    owner.append("INBOX", "x").await;
    tells(&mut other, &format!("* STATUS Other/{OWNER}/INBOX (MESSAGES 1 ")).await;
    other.ok(&format!("SELECTA {OWNER}")).await;
    owner.append("INBOX", "x").await;
    another.append("INBOX", "x").await;
    assert!(other.is_silent().await);
    other.ok(&notify).await;
    owner.append("INBOX", "x").await;
    tells(&mut other, "* STATUS INBOX (MESSAGES 3 ").await;
    another.append("INBOX", "x").await;
    tells(&mut other, &format!("* STATUS Other/{OTHER}/INBOX (MESSAGES 2 ")).await;
}
