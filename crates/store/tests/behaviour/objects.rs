//! CPM objects: what a class of service takes.

use bytes::Bytes;
use model::{DeviceId, Error, ErrorKind};
use store_api::{
    AppendBody, AppendMessage, AppendRequest, Appended, CopyMode, Ctx, FolderRule, MailStore, ObjectRule,
    Requestor, ServiceClass, User,
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
    h.store.set_service(&operator(), &address(0), ServiceClass { objects, folders }).await.unwrap();
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
    append(&h, &h.ctx(), "Default", &bad).await.expect("the common class takes anything");
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
    assert_eq!(account.service, ServiceClass { objects: ObjectRule::Strict, folders: FolderRule::Free });
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
