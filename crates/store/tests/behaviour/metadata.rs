use bytes::Bytes;
use model::limits::{ENTRIES_BYTES_MAX, ENTRIES_PER_FOLDER_MAX, ENTRY_VALUE_BYTES_MAX};
use model::{EntryName, ErrorKind, MailboxId};
use store_api::{Ctx, MailStore, Metadata, Requestor};

use crate::harness::{Harness, kind, name};

fn entry(text: &str) -> EntryName {
    EntryName::parse(text.as_bytes()).unwrap()
}

impl Harness {
    async fn set(&self, mailbox: Option<MailboxId>, changes: &[(&str, Option<&[u8]>)]) -> model::Result<()> {
        let changes = changes.iter().map(|(name, value)| (entry(name), value.map(Bytes::copy_from_slice)));
        self.store.set_metadata(&self.ctx(), self.account, mailbox, changes.collect()).await
    }

    async fn metadata(&self, mailbox: Option<MailboxId>) -> Metadata {
        let store = self.sibling().await;
        store.metadata(&self.ctx(), self.account, &[mailbox]).await.unwrap().remove(0)
    }
}

#[tokio::test]
async fn entries_are_set_together_and_go_with_their_folder() {
    let h = Harness::new().await;
    let folder = Some(h.create("a").await);
    h.set(folder, &[("/private/comment", Some(b"mine")), ("/shared/comment", Some(b""))]).await.unwrap();
    h.set(None, &[("/private/comment", Some(b"the account's"))]).await.unwrap();
    let found = h.metadata(folder).await;
    assert_eq!(found.get(&entry("/private/comment")).unwrap(), "mine");
    assert_eq!(found.get(&entry("/shared/comment")).unwrap(), "");
    assert_eq!(h.metadata(None).await.get(&entry("/private/comment")).unwrap(), "the account's");

    h.store.rename_folder(&h.ctx(), h.account, &name("a"), &name("b")).await.unwrap();
    h.set(folder, &[("/private/comment", None)]).await.unwrap();
    assert_eq!(h.metadata(folder).await.iter().count(), 1);
    h.store.delete_folder(&h.ctx(), h.account, &name("b")).await.unwrap();
    assert!(h.metadata(folder).await.is_empty());
    assert_eq!(kind(h.set(folder, &[("/private/comment", Some(b"x"))]).await), ErrorKind::NoSuchMailbox);
    assert_eq!(h.metadata(None).await.iter().count(), 1);
    h.check().await;
}

#[tokio::test]
async fn bounds_hold_and_lose_nothing() {
    let h = Harness::new().await;
    let folder = Some(h.create("a").await);
    let large = vec![b'x'; ENTRY_VALUE_BYTES_MAX];
    h.set(folder, &[("/private/a", Some(&large))]).await.unwrap();
    let over = h.set(folder, &[("/private/b", Some(&large)), ("/private/c", Some(b"1"))]).await;
    assert_eq!(kind(over), ErrorKind::Limit);
    assert_eq!(h.metadata(folder).await.iter().count(), 1);
    const { assert!(2 * ENTRY_VALUE_BYTES_MAX + 32 > ENTRIES_BYTES_MAX) };
    // The other scope has room of its own.
    h.set(folder, &[("/shared/b", Some(&large))]).await.unwrap();

    let names: Vec<String> = (0..=ENTRIES_PER_FOLDER_MAX).map(|n| format!("/private/n/{n}")).collect();
    let all: Vec<(&str, Option<&[u8]>)> = names.iter().map(|name| (name.as_str(), Some(&b""[..]))).collect();
    h.set(folder, &[("/private/a", None)]).await.unwrap();
    assert_eq!(kind(h.set(folder, &all).await), ErrorKind::Limit);
    h.set(folder, &all[1..]).await.unwrap();
    assert_eq!(kind(h.set(folder, &all[..1]).await), ErrorKind::Limit);
    assert_eq!(h.metadata(folder).await.iter().count(), ENTRIES_PER_FOLDER_MAX + 1);
    let too_large = vec![b'x'; ENTRY_VALUE_BYTES_MAX + 1];
    assert_eq!(kind(h.set(folder, &[("/private/n/1", Some(&too_large))]).await), ErrorKind::InvalidRequest);
    h.check().await;
}

#[tokio::test]
async fn strangers_have_no_part_in_it() {
    let h = Harness::new().await;
    let folder = Some(h.create("a").await);
    h.set(folder, &[("/shared/comment", Some(b"mine"))]).await.unwrap();
    let stranger = Ctx { requestor: Requestor::owner(model::AccountId(h.account.0 ^ 1)), ..h.ctx() };
    let read = h.store.metadata(&stranger, h.account, &[folder]).await;
    assert_eq!(kind(read), ErrorKind::NoSuchMailbox);
    let change = vec![(entry("/shared/comment"), None)];
    let written = h.store.set_metadata(&stranger, h.account, folder, change).await;
    assert_eq!(kind(written), ErrorKind::NoSuchMailbox);
    assert_eq!(h.metadata(folder).await.iter().count(), 1);
}
