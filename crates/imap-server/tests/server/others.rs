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
async fn bounds_are_those_of_all_accounts_together() {
    let defaults = options();
    let limits = Limits { notify_folders_max: 2, ..defaults.limits.clone() };
    let fixture = Fixture::with(Options { limits, ..defaults }).await;
    let (mut owner, mut other) = two(&fixture, "lr").await;
    let names = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("Other/tel:+1666{n:07}/a")).collect();
        format!("NOTIFY SET (MAILBOXES ({}) {MESSAGES})", names.join(" "))
    };
    other.expect(&names(273), "NO [NOTIFICATIONOVERFLOW] ").await;
    other.ok(&names(272)).await;
    other.ok(&format!("NOTIFY SET (MAILBOXES INBOX {MESSAGES}) (SUBTREE Other {MESSAGES})")).await;
    owner.ok("CREATE box/more").await;
    tells(&mut other, "* OK [NOTIFICATIONOVERFLOW] ").await;
    owner.append("box", "x").await;
    assert!(other.is_silent().await);
    let all = format!("NOTIFY SET (MAILBOXES INBOX {MESSAGES}) (SUBTREE Other {MESSAGES})");
    other.expect(&all, "NO [NOTIFICATIONOVERFLOW] ").await;
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
