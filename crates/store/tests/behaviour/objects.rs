//! CPM objects: what a class of service takes, deposits that are repeated, notifications.

use bytes::Bytes;
use model::{AclAction, AclChange, DeviceId, Error, ErrorKind, Flags, Identifier, Rights, Uid};
use store_api::{
    AppendBody, AppendMessage, AppendRequest, Appended, CopyMode, Credentials, Ctx, FolderRule, MailStore,
    NewAccount, ObjectRule, QuotaLimits, Requestor, ServiceClass, User,
};

use crate::harness::{Harness, address, kind, message, name, operator};

/// A chat message with that id.
fn chat(id: &str) -> String {
    format!(
        "From: <tel:+33687654321>\r\nTo: <tel:+33612345678>\r\nDate: Sat, 21 Nov 2026 09:30:00 +0100\r\n\
         Conversation-ID: f81d4fae\r\nContribution-ID: abcdef\r\nIMDN-Message-ID: {id}\r\n\
         Message-Direction: received\r\nContent-Type: Message/CPIM\r\n\r\n\
         From: <tel:+33687654321>\r\n\r\nContent-Type: text/plain\r\n\r\nHello"
    )
}

/// A network function that acts for the owner.
fn network(h: &Harness) -> Ctx {
    let device = DeviceId::parse(b"pf").ok();
    let user = User { network: true, device, ..User::owner(h.account) };
    Ctx { request_id: 11, deadline: None, requestor: Requestor::User(user.into()) }
}

async fn serve(h: &Harness, objects: ObjectRule, folders: FolderRule) {
    let class = ServiceClass { objects, folders, ..ServiceClass::default() };
    h.store.set_service(&operator(), &address(0), class).await.unwrap();
}

async fn append(h: &Harness, ctx: &Ctx, folder: &str, octets: &str) -> Result<Appended, Error> {
    let messages = vec![message(octets.to_owned())];
    h.store.append(ctx, h.account, AppendRequest { mailbox: name(folder), messages }).await
}

/// Appends what is brought as a staged body.
async fn append_staged(h: &Harness, ctx: &Ctx, folder: &str, octets: &str) -> Result<Appended, Error> {
    let mut writer = h.store.stage_body(ctx, h.account, octets.len() as u64).await?;
    writer.write(Bytes::from(octets.to_owned())).await?;
    let body = AppendBody::Staged(writer.finish().await?);
    let messages = vec![AppendMessage { body, ..message("") }];
    h.store.append(ctx, h.account, AppendRequest { mailbox: name(folder), messages }).await
}

#[tokio::test]
async fn a_strict_class_says_what_is_wrong() {
    let h = Harness::new().await;
    let bad = chat("a")
        .replace("Conversation-ID: f81d4fae\r\n", "")
        .replace("Message-Direction: received", "Message-Direction: x");
    let other = bad.replace("Message-ID: a", "Message-ID: other");
    append(&h, &h.ctx(), "Default", &other).await.expect("the common class takes anything");
    serve(&h, ObjectRule::Strict, FolderRule::Free).await;
    for ctx in [h.ctx(), network(&h), operator()] {
        let error = append(&h, &ctx, "Default", &bad).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Cannot);
        assert_eq!(
            error.to_string(),
            "cannot: this chat message cannot be stored below Default: Conversation-ID is missing or cannot be read, \
             Message-Direction must be \"sent\" or \"received\""
        );
        assert_eq!(kind(append_staged(&h, &ctx, "Default", &bad).await), ErrorKind::Cannot);
        assert_eq!(kind(append_staged(&h, &ctx, "Default", "Subject: x\r\n\r\n").await), ErrorKind::Cannot);
        append(&h, &ctx, "Default", &chat("b")).await.expect("an object as it must be");
        append_staged(&h, &ctx, "Default", &chat("c")).await.expect("a large one, too");
        append_staged(&h, &ctx, "RCSMessageStore", "Subject: x\r\n\r\n").await.expect("mail elsewhere");
    }
    // The class is that of the account's record, and stays with it.
    let account = h.store.account(&operator(), &address(0)).await.unwrap().expect("there");
    assert_eq!(account.service, ServiceClass { objects: ObjectRule::Strict, ..ServiceClass::default() });
    serve(&h, ObjectRule::Lenient, FolderRule::Free).await;
    append(&h, &h.ctx(), "Default", &bad).await.expect("lenient again");
    let stranger = h.store.set_service(&h.ctx(), &address(0), ServiceClass::default()).await;
    assert_eq!(kind(stranger), ErrorKind::NoPermission);
    assert!(h.store.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn rules_on_folders_bind_subscribers_and_not_the_network() {
    let h = Harness::new().await;
    serve(&h, ObjectRule::Lenient, FolderRule::Cpm).await;
    let create =
        async |ctx: &Ctx, folder: &str| h.store.create_folder(ctx, h.account, &name(folder), None).await;
    assert_eq!(kind(create(&h.ctx(), "Mine").await), ErrorKind::Cannot);
    create(&network(&h), "Mine").await.expect("the network makes what it likes");
    create(&h.ctx(), "Default/conversation").await.expect("where SMS go");

    assert_eq!(kind(append(&h, &h.ctx(), "Default/conversation", &chat("a")).await), ErrorKind::Cannot);
    assert_eq!(
        kind(append_staged(&h, &h.ctx(), "Default/conversation", &chat("a")).await),
        ErrorKind::Cannot
    );
    append(&h, &network(&h), "Default/conversation", &chat("a")).await.expect("recorded");
    let sms = chat("b").replace("Message-Direction", "Message-Context: pager-message\r\nMessage-Direction");
    append(&h, &h.ctx(), "Default/conversation", &sms).await.expect("an SMS of a device");
    append_staged(&h, &h.ctx(), "Default/conversation", &sms).await.expect("however large");

    let moved = h.try_copy(CopyMode::Move, "Default/conversation", "1", "RCSMessageStore").await;
    assert_eq!(kind(moved), ErrorKind::Cannot);
    h.try_copy(CopyMode::Copy, "Default/conversation", "1", "RCSMessageStore").await.expect("kept");
    assert_eq!(kind(h.try_copy(CopyMode::Copy, "RCSMessageStore", "1", "Default").await), ErrorKind::Cannot);
    let rename = async |ctx: &Ctx, from: &str, to: &str| {
        h.store.rename_folder(ctx, h.account, &name(from), &name(to)).await
    };
    for to in ["Default/other", "Elsewhere"] {
        assert_eq!(kind(rename(&h.ctx(), "Default/conversation", to).await), ErrorKind::Cannot);
        assert_eq!(kind(rename(&h.ctx(), "INBOX", to).await), ErrorKind::Cannot);
    }
    rename(&network(&h), "Default/conversation", "Default/other").await.expect("the network's to name");
    rename(&h.ctx(), "Default/other", "RCSMessageStore/other").await.expect("a whole conversation is kept");
    assert!(h.store.check().await.unwrap().is_empty());
}

/// A notification with that id about `about`.
fn imdn(id: &str, about: &str, direction: &str, notification: &str, status: &str) -> String {
    chat(id).replace("Direction: received", &format!("Direction: {direction}")).replace(
        "text/plain\r\n\r\nHello",
        &format!(
            "message/imdn+xml\r\n\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>{about}</message-id>\
             <datetime>2026-11-21T09:31:00Z</datetime><{notification}-notification><status><{status}/></status>\
             </{notification}-notification></imdn>"
        ),
    )
}

fn sent(id: &str) -> String {
    chat(id).replace("Direction: received", "Direction: sent")
}

/// The flags of a message: system flags, then keywords.
async fn flags(h: &Harness, folder: &str, uid: u32) -> (Flags, Vec<String>) {
    let folder = h.folder(folder).await;
    let row = folder.row(Uid::new(uid).unwrap()).copied().expect("there");
    let words =
        row.flags.keyword_indexes().filter_map(|at| folder.state.keywords.get(at).map(ToString::to_string));
    (row.flags.system_only(), words.collect())
}

async fn deposit(h: &Harness, ctx: &Ctx, folder: &str, bodies: &[&str]) -> (String, bool) {
    let messages = bodies.iter().map(|octets| message((*octets).to_owned())).collect();
    let request = AppendRequest { mailbox: name(folder), messages };
    let appended = h.store.append(ctx, h.account, request).await.unwrap();
    (appended.uids.to_string(), appended.repeated)
}

#[tokio::test]
async fn a_deposit_that_is_repeated_is_stored_once() {
    let h = Harness::new().await;
    h.create("Default/a").await;
    let pf = network(&h);
    let first = append(&h, &pf, "Default", &chat("Id-1")).await.unwrap();
    // Again, by another process, with other octets around the same id: the answer of the first time, and no change.
    let again = AppendRequest { mailbox: name("Default"), messages: vec![message(chat("Id-1") + "!")] };
    let again = h.sibling().await.append(&pf, h.account, again).await.unwrap();
    assert_eq!(again, Appended { repeated: true, ..first.clone() });
    assert_eq!(h.folder("Default").await.state.messages, 1);

    // Another direction, kind, id, case of it or folder is another object; mail repeats nothing.
    for (folder, octets) in [
        ("Default", sent("Id-1")),
        ("Default", chat("Id-1").replace("Message-Direction", "Subject: x\r\nMessage-Direction")),
        ("Default", chat("Id-2")),
        ("Default", chat("id-1")),
        ("Default/a", chat("Id-1")),
        ("Default", "IMDN-Message-ID: Id-9\r\n\r\n".to_owned()),
        ("Default", "IMDN-Message-ID: Id-9\r\n\r\n".to_owned()),
    ] {
        assert!(!append(&h, &pf, folder, &octets).await.unwrap().repeated, "{octets}");
    }
    // A subscriber who stores twice has two, as IMAP has it.
    assert!(!append(&h, &h.ctx(), "Default", &chat("Id-1")).await.unwrap().repeated);
    // An object without an id has one made of its octets.
    let without = chat("x").replace("IMDN-Message-ID: x\r\n", "");
    let made = append(&h, &pf, "Default", &without).await.unwrap();
    assert_eq!(append(&h, &pf, "Default", &without).await.unwrap().uids, made.uids);
    // Staged bodies as others.
    let large = append_staged(&h, &pf, "Default", &chat("Id-3")).await.unwrap();
    assert_eq!(append_staged(&h, &pf, "Default", &chat("Id-3")).await.unwrap().uids, large.uids);
    assert!(h.store.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_repeated_deposit_lives_and_dies_with_its_message() {
    let h = Harness::new().await;
    let pf = network(&h);
    h.create("Default/a").await;
    assert_eq!(
        deposit(&h, &pf, "Default", &[&chat("1"), &chat("2"), &chat("3")]).await,
        ("1:3".into(), false)
    );
    assert_eq!(
        deposit(&h, &pf, "Default", &[&chat("1"), &chat("2"), &chat("3")]).await,
        ("1:3".into(), true)
    );
    // Half of a command was there: what is new comes behind it.
    assert_eq!(deposit(&h, &pf, "Default", &[&chat("2"), &chat("4")]).await, ("2,4".into(), true));
    // Behind what is new it is known, too, and what comes twice in a command is stored once.
    assert_eq!(
        deposit(&h, &pf, "Default", &[&chat("5"), &chat("3"), &chat("6"), &chat("5"), &sent("5")]).await,
        ("5,3,6,5,7".into(), true)
    );
    assert_eq!(h.folder("Default").await.state.messages, 7);
    h.check().await;
    // Copies are none of the network's deposits; the first stays where it came.
    h.try_copy(CopyMode::Copy, "Default", "1", "Default/a").await.unwrap();
    assert_eq!(deposit(&h, &pf, "Default/a", &[&chat("1")]).await, ("2".into(), false));
    assert_eq!(deposit(&h, &pf, "Default", &[&chat("1")]).await, ("1".into(), true));
    // Moved away or expunged it is not there any more, before the sweeper came and after.
    h.try_copy(CopyMode::Move, "Default", "1", "Default/a").await.unwrap();
    h.add_flags("Default", "2", Flags::DELETED).await;
    let folder = h.id("Default").await;
    h.store.expunge(&h.ctx(), h.account, folder, None).await.unwrap();
    assert_eq!(deposit(&h, &pf, "Default", &[&chat("1"), &chat("2")]).await, ("8:9".into(), false));
    h.store.sweep_all().await.unwrap();
    assert_eq!(deposit(&h, &pf, "Default", &[&chat("1"), &chat("2")]).await, ("8:9".into(), true));
    // A folder that was renamed is the same; one deleted and made again is not.
    h.store.rename_folder(&pf, h.account, &name("Default/a"), &name("Default/b")).await.unwrap();
    assert_eq!(deposit(&h, &pf, "Default/b", &[&chat("1")]).await, ("2".into(), true));
    h.store.delete_folder(&pf, h.account, &name("Default/b")).await.unwrap();
    h.create("Default/b").await;
    assert_eq!(deposit(&h, &pf, "Default/b", &[&chat("1")]).await, ("1".into(), false));
    assert!(h.store.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn deposits_at_once_are_one() {
    let h = Harness::new().await;
    let pf = network(&h);
    let one = async || append(&h, &pf, "Default", &chat("1")).await.unwrap().uids.to_string();
    let all = futures::join!(one(), one(), one(), one());
    assert_eq!(all, ("1".into(), "1".into(), "1".into(), "1".into()));
}

#[tokio::test]
async fn notifications_are_noted_with_their_message() {
    let h = Harness::new().await;
    let pf = network(&h);
    h.create("Default/a").await;
    deposit(&h, &pf, "Default/a", &[&sent("S"), &chat("R"), &sent("other")]).await;
    let before = h.folder("Default/a").await.state.highest_modseq;

    // What came tells of what was sent, in whichever folder.
    deposit(&h, &pf, "Default", &[&imdn("n1", "S", "received", "delivery", "delivered")]).await;
    assert_eq!(flags(&h, "Default/a", 1).await, (Flags::default(), vec!["$Delivered".to_owned()]));
    let after = h.folder("Default/a").await;
    assert_eq!(after.state.highest_modseq.0, before.0 + 1);
    let modseq = after.row(Uid::new(1).unwrap()).map(|row| row.modseq);
    assert_eq!(modseq, Some(after.state.highest_modseq));
    // Told again it changes nothing; the same folder takes notification and mark in one step.
    deposit(&h, &pf, "Default", &[&imdn("n2", "S", "received", "delivery", "delivered")]).await;
    assert_eq!(h.folder("Default/a").await.state.highest_modseq, after.state.highest_modseq);
    deposit(&h, &pf, "Default/a", &[&imdn("n3", "S", "received", "display", "displayed")]).await;
    let words = vec!["$Delivered".to_owned(), "$Displayed".to_owned()];
    assert_eq!(flags(&h, "Default/a", 1).await, (Flags::default(), words.clone()));
    // Message and notification in one command.
    let failed = imdn("n4", "late", "received", "delivery", "failed");
    deposit(&h, &pf, "Default/a", &[&sent("late"), &failed]).await;
    assert_eq!(flags(&h, "Default/a", 5).await, (Flags::default(), vec!["$DeliveryFailed".to_owned()]));

    // What was sent tells of what came: its sender knows that it was read.
    deposit(&h, &pf, "Default/a", &[&imdn("n5", "R", "sent", "display", "displayed")]).await;
    assert_eq!(flags(&h, "Default/a", 2).await, (Flags::READ_REPORT_SENT, Vec::new()));

    // Of another message, the same way, or of nothing that the subscriber is to know: nothing.
    for (about, direction, notification, status) in [
        ("R", "received", "display", "displayed"),
        ("S", "sent", "display", "displayed"),
        ("other", "received", "delivery", "forbidden"),
        ("other", "received", "processing", "stored"),
        ("nobody", "received", "display", "displayed"),
        ("n1", "sent", "display", "displayed"),
    ] {
        let id = format!("{about}-{direction}-{status}");
        deposit(&h, &pf, "Default", &[&imdn(&id, about, direction, notification, status)]).await;
    }
    assert_eq!(flags(&h, "Default/a", 1).await, (Flags::default(), words));
    assert_eq!(flags(&h, "Default/a", 2).await, (Flags::READ_REPORT_SENT, Vec::new()));
    assert_eq!(flags(&h, "Default/a", 3).await, (Flags::default(), Vec::new()));
    assert_eq!(flags(&h, "Default", 1).await, (Flags::default(), Vec::new()));
    assert!(h.store.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn notifications_find_messages_that_were_moved() {
    let h = Harness::new().await;
    let pf = network(&h);
    for folder in ["Default/a", "b", "c"] {
        h.create(folder).await;
    }
    let all: Vec<String> = (1..=6).map(|n| sent(&format!("S{n}"))).collect();
    deposit(&h, &pf, "Default/a", &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let told = async |about: &str, notification: &str, status: &str| {
        let id = format!("{about}-{status}");
        deposit(&h, &pf, "Default", &[&imdn(&id, about, "received", notification, status)]).await;
    };
    let words = async |folder: &str, uid: u32| flags(&h, folder, uid).await.1;
    // Moved with others, and once more; each of them is told apart.
    h.try_copy(CopyMode::Move, "Default/a", "2,4:5", "b").await.unwrap();
    told("S4", "delivery", "delivered").await;
    assert_eq!([words("b", 1).await, words("b", 2).await, words("b", 3).await].concat(), ["$Delivered"]);
    assert_eq!(words("b", 2).await, ["$Delivered"]);
    h.try_copy(CopyMode::Move, "b", "2:3", "c").await.unwrap();
    told("S5", "delivery", "failed").await;
    told("S4", "display", "displayed").await;
    assert_eq!(words("c", 1).await, ["$Delivered", "$Displayed"]);
    assert_eq!(words("c", 2).await, ["$DeliveryFailed"]);
    // Within a folder, and back to the first.
    h.try_copy(CopyMode::Move, "Default/a", "1", "Default/a").await.unwrap();
    told("S1", "delivery", "delivered").await;
    assert_eq!(words("Default/a", 7).await, ["$Delivered"]);
    h.try_copy(CopyMode::Move, "c", "1", "Default/a").await.unwrap();
    told("S4", "delivery", "failed").await;
    assert_eq!(words("Default/a", 8).await, ["$Delivered", "$Displayed", "$DeliveryFailed"]);
    // Another node, which has nothing in memory, finds them as well.
    let mut other = h.clone();
    other.store = h.sibling().await;
    deposit(&other, &pf, "Default", &[&imdn("o", "S2", "received", "display", "displayed")]).await;
    assert_eq!(words("b", 1).await, ["$Displayed"]);
    // One that is gone is not found, where it was or anywhere; a copy of it is another message.
    h.try_copy(CopyMode::Copy, "Default/a", "3", "b").await.unwrap();
    h.add_flags("Default/a", "3", Flags::DELETED).await;
    let folder = h.id("Default/a").await;
    h.store.expunge(&h.ctx(), h.account, folder, None).await.unwrap();
    told("S3", "display", "displayed").await;
    assert_eq!(words("b", 4).await, Vec::<String>::new());
    h.check().await;
    // Notes of moves go with the folder that the messages came from.
    h.store.delete_folder(&pf, h.account, &name("Default/a")).await.unwrap();
    told("S2", "delivery", "delivered").await;
    assert_eq!(words("b", 1).await, ["$Displayed"]);
    h.check().await;
}

/// Notes of moves are not kept longer than the log of the folder.
#[tokio::test]
async fn notes_of_moves_end_with_the_log() {
    let h = Harness::with(store::Options { log_changes_max: 20, ..store::Options::default() }).await;
    let pf = network(&h);
    deposit(&h, &pf, "Default", &[&sent("old"), &sent("new")]).await;
    h.try_copy(CopyMode::Move, "Default", "1", "INBOX").await.unwrap();
    for n in 0..100 {
        append(&h, &h.ctx(), "Default", &format!("Subject: {n}\r\n\r\n")).await.unwrap();
    }
    // As after many more changes: the log is looked at.
    let keys = store::keyspace::Keyspace::new(&h.options.prefix);
    let mut trx = h.engine.begin(kv::TransactionOptions::default());
    let work = keys.pending(h.account, store::keyspace::PendingKind::Log, h.id("Default").await.0);
    trx.set(&work, &store::records::Pending::Marked.encode());
    trx.commit().await.unwrap();
    h.store.sweep_all().await.unwrap();
    h.try_copy(CopyMode::Move, "Default", "2", "INBOX").await.unwrap();
    for about in ["old", "new"] {
        deposit(&h, &pf, "RCSMessageStore", &[&imdn(about, about, "received", "display", "displayed")]).await;
    }
    assert_eq!(flags(&h, "INBOX", 1).await.1, Vec::<String>::new());
    assert_eq!(flags(&h, "INBOX", 2).await.1, ["$Displayed"]);
    h.check().await;
}

#[tokio::test]
async fn notifications_that_come_first_are_noted_when_their_message_comes() {
    let h = Harness::new().await;
    let pf = network(&h);
    h.create("Default/a").await;
    let words = async |folder: &str, uid: u32| flags(&h, folder, uid).await.1;
    deposit(&h, &pf, "Default", &[&imdn("n1", "S", "received", "delivery", "delivered")]).await;
    deposit(&h, &pf, "Default", &[&imdn("n2", "S", "received", "display", "displayed")]).await;
    deposit(&h, &pf, "Default", &[&imdn("n3", "R", "sent", "display", "displayed")]).await;
    append_staged(&h, &pf, "Default", &imdn("n4", "large", "received", "delivery", "failed")).await.unwrap();
    // The other way, in another case, or another's.
    deposit(&h, &pf, "Default", &[&imdn("n5", "T", "sent", "display", "displayed")]).await;
    deposit(&h, &pf, "Default", &[&imdn("n6", "t", "received", "display", "displayed")]).await;
    let others = [sent("T"), sent("SS"), chat("S")];
    deposit(&h, &pf, "Default/a", &others.each_ref().map(String::as_str)).await;
    for uid in 1..=3 {
        assert_eq!(flags(&h, "Default/a", uid).await, (Flags::default(), Vec::new()), "{uid}");
    }
    let before = h.folder("Default/a").await.state.highest_modseq;
    deposit(&h, &pf, "Default/a", &[&sent("x"), &sent("S"), &chat("R")]).await;
    assert_eq!(words("Default/a", 4).await, Vec::<String>::new());
    let mut said = words("Default/a", 5).await;
    said.sort();
    assert_eq!(said, ["$Delivered", "$Displayed"]);
    assert_eq!(flags(&h, "Default/a", 6).await, (Flags::READ_REPORT_SENT, Vec::new()));
    assert!(h.folder("Default/a").await.state.highest_modseq > before);
    append_staged(&h, &pf, "Default/a", &sent("large")).await.unwrap();
    assert_eq!(words("Default/a", 7).await, ["$DeliveryFailed"]);
    // Both in one command, the notification first.
    let both = [imdn("n7", "both", "received", "display", "displayed"), sent("both")];
    deposit(&h, &pf, "Default/a", &both.each_ref().map(String::as_str)).await;
    assert_eq!(words("Default/a", 9).await, ["$Displayed"]);
    // A subscriber's own APPEND does not ask.
    append(&h, &h.ctx(), "Default/a", &sent("x").replace("Message-ID: x", "Message-ID: S")).await.unwrap();
    assert_eq!(words("Default/a", 10).await, Vec::<String>::new());
    // One that is gone says nothing any more.
    h.create("gone").await;
    deposit(&h, &pf, "gone", &[&imdn("n8", "late", "received", "display", "displayed")]).await;
    h.store.delete_folder(&pf, h.account, &name("gone")).await.unwrap();
    h.check().await;
    deposit(&h, &pf, "Default/a", &[&sent("late")]).await;
    assert_eq!(words("Default/a", 11).await, Vec::<String>::new());
    h.check().await;
}

#[tokio::test]
async fn strangers_note_nothing_elsewhere() {
    let h = Harness::new().await;
    deposit(&h, &network(&h), "Default", &[&sent("S")]).await;
    h.create("Shared").await;
    let new = NewAccount {
        address: address(1),
        credentials: Credentials::None,
        limits: QuotaLimits::default(),
        service: ServiceClass::default(),
    };
    let other = h.store.create_account(&operator(), new).await.unwrap();
    let change = AclChange {
        identifier: Identifier::parse("+15550000001").unwrap(),
        action: AclAction::Set,
        rights: Rights::parse("lri").unwrap(),
    };
    let shared = h.id("Shared").await;
    h.store.set_acl(&h.ctx(), h.account, &address(0), shared, &change).await.unwrap();
    let stranger = Ctx { request_id: 8, deadline: None, requestor: Requestor::owner(other) };
    let told = imdn("n1", "S", "received", "display", "displayed");
    let request = AppendRequest { mailbox: name("Shared"), messages: vec![message(told)] };
    h.store.append(&stranger, h.account, request).await.unwrap();
    assert_eq!(flags(&h, "Default", 1).await, (Flags::default(), Vec::new()));
    // Nor do they of what comes later.
    let told = imdn("n2", "later", "received", "display", "displayed");
    let request = AppendRequest { mailbox: name("Shared"), messages: vec![message(told)] };
    h.store.append(&stranger, h.account, request).await.unwrap();
    deposit(&h, &network(&h), "Default", &[&sent("later")]).await;
    assert_eq!(flags(&h, "Default", 2).await, (Flags::default(), Vec::new()));
    assert!(h.store.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_index_entry_that_cannot_be_read_is_found_and_mended() {
    let h = Harness::new().await;
    let pf = network(&h);
    deposit(&h, &pf, "Default", &[&chat("1")]).await;
    let keys = store::keyspace::Keyspace::new(&[]);
    let header = store::keyspace::IndexedHeader::ImdnMessageId;
    let range = keys.header_values(h.account, header);
    let mut trx = h.engine.begin(kv::TransactionOptions::default());
    let request = kv::RangeRequest::new(range.begin, range.end);
    let page = trx.get_range(&request, kv::ReadMode::Serializable).await.unwrap();
    trx.set(&page.pairs[0].key, b"\x09");
    trx.commit().await.unwrap();
    let found = h.store.check().await.unwrap();
    assert_eq!(
        found.iter().map(|finding| finding.kind).collect::<Vec<_>>(),
        [store_api::FindingKind::Headers]
    );
    // Until then it only knows less.
    assert_eq!(deposit(&h, &pf, "Default", &[&chat("1")]).await, ("2".into(), false));
}
