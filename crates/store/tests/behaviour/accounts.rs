use model::ErrorKind;
use store_api::{
    AccountState, Credentials, Ctx, MailStore, NewAccount, Quota, QuotaLimits, Requestor, ScramVerifier,
};

use crate::harness::{Harness, address, kind, message, operator};

fn new(n: u64) -> NewAccount {
    NewAccount {
        address: address(n),
        credentials: Credentials::None,
        limits: QuotaLimits::default(),
        service: store_api::ServiceClass::default(),
    }
}

#[tokio::test]
async fn a_new_account_has_its_folders() {
    let h = Harness::new().await;
    let tree = h.store.folders(&h.ctx(), h.account).await.unwrap();
    let names: Vec<_> = tree.folders().iter().map(|f| f.name.as_str().to_owned()).collect();
    assert_eq!(names, ["Default", "INBOX", "RCSMessageStore"]);
    assert_eq!(h.account.partition(), address(0).partition());
    assert_eq!(h.store.quota(&h.ctx(), h.account).await.unwrap(), Quota::default());
    h.check().await;
}

#[tokio::test]
async fn login_sees_what_was_provisioned() {
    let h = Harness::new().await;
    let keys =
        ScramVerifier { iterations: 4096, salt: vec![1; 16], stored_key: [2; 32], server_key: [3; 32] };
    let credentials = Credentials::Scram(keys);
    h.store.set_credentials(&operator(), &address(0), credentials.clone()).await.unwrap();
    let limits = QuotaLimits { bytes: Some(10_000), messages: Some(3) };
    h.store.configure_account(&operator(), &address(0), AccountState::Disabled, limits).await.unwrap();
    let account = h.store.account(&operator(), &address(0)).await.unwrap().unwrap();
    assert_eq!(account.id, h.account);
    assert!(account.credentials == credentials);
    assert_eq!((account.state, account.limits), (AccountState::Disabled, limits));
    assert_eq!(h.store.quota(&h.ctx(), h.account).await.unwrap().limits, limits);
    assert!(h.store.account(&operator(), &address(1)).await.unwrap().is_none());
    let argon = Credentials::Argon2("$argon2id$v=19$x".to_owned());
    h.store.set_credentials(&operator(), &address(0), argon.clone()).await.unwrap();
    assert!(h.store.account(&operator(), &address(0)).await.unwrap().unwrap().credentials == argon);
}

#[tokio::test]
async fn what_is_refused() {
    let h = Harness::new().await;
    assert_eq!(kind(h.store.create_account(&operator(), new(0)).await), ErrorKind::AccountExists);
    let missing = h.store.set_credentials(&operator(), &address(5), Credentials::None).await;
    assert_eq!(kind(missing), ErrorKind::NoSuchAccount);
    assert_eq!(kind(h.store.remove_account(&operator(), &address(5)).await), ErrorKind::NoSuchAccount);
    assert_eq!(kind(h.store.create_account(&h.ctx(), new(1)).await), ErrorKind::NoPermission);
    assert_eq!(kind(h.store.list_accounts(&h.ctx(), None, 10).await), ErrorKind::NoPermission);
}

#[tokio::test]
async fn lists_are_paged_by_address() {
    let h = Harness::new().await;
    for n in [5, 3, 9, 1] {
        h.store.create_account(&operator(), new(n)).await.unwrap();
    }
    let mut found = Vec::new();
    loop {
        let after = found.last().cloned();
        let page = h.store.list_accounts(&operator(), after.as_ref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        found.extend(page.iter().map(|account| account.address.clone()));
    }
    assert_eq!(found, [0, 1, 3, 5, 9].map(address));
}

#[tokio::test]
async fn another_s_account_looks_like_none() {
    let h = Harness::new().await;
    let other = h.store.create_account(&operator(), new(1)).await.unwrap();
    let stranger = Ctx { request_id: 1, deadline: None, requestor: Requestor::owner(other) };
    let inbox = h.id("INBOX").await;
    assert_eq!(kind(h.store.folder(&stranger, h.account, inbox).await), ErrorKind::NoSuchMailbox);
    assert_eq!(kind(h.store.folders(&stranger, h.account).await), ErrorKind::NoSuchMailbox);
    assert_eq!(kind(h.store.quota(&stranger, h.account).await), ErrorKind::NoSuchMailbox);
}

#[tokio::test]
async fn a_removed_account_is_gone_with_all_it_held() {
    let h = Harness::new().await;
    h.fill("INBOX", 300).await;
    h.try_append("Default", vec![message(vec![b'x'; 200_000])]).await.unwrap();
    let inbox = h.id("INBOX").await;
    h.store.remove_account(&operator(), &address(0)).await.unwrap();
    assert!(h.store.account(&operator(), &address(0)).await.unwrap().is_none());
    assert_eq!(kind(h.store.folder(&h.ctx(), h.account, inbox).await), ErrorKind::NoSuchMailbox);
    assert_eq!(kind(h.store.folders(&h.ctx(), h.account).await), ErrorKind::NoSuchAccount);
    assert_eq!(kind(h.try_append_by_id().await), ErrorKind::NoSuchAccount);
    assert_eq!(kind(h.store.remove_account(&operator(), &address(0)).await), ErrorKind::NoSuchAccount);
    // The address may be given again, to an empty account.
    let again = h.store.create_account(&operator(), new(0)).await.unwrap();
    assert_ne!(again, h.account);
    h.check().await;
    let keys = store::keyspace::Keyspace::new(&[]).account(h.account);
    let mut trx = h.engine.begin(kv::TransactionOptions::default());
    let request = kv::RangeRequest::new(keys.begin, keys.end);
    assert!(trx.get_range(&request, kv::ReadMode::Snapshot).await.unwrap().pairs.is_empty());
}

impl Harness {
    async fn try_append_by_id(&self) -> model::Result<store_api::Appended> {
        self.try_append("INBOX", vec![message("x")]).await
    }
}

#[tokio::test]
async fn a_closed_store_lets_go_of_its_engine() {
    let h = Harness::new().await;
    let options = store::Options { sweep: true, ..h.options.clone() };
    let sweeping = store::Store::open(h.engine.clone(), options).await.unwrap();
    h.fill("INBOX", 3).await;
    sweeping.folders(&h.ctx(), h.account).await.unwrap();
    let held = std::sync::Arc::strong_count(&h.engine);
    drop(sweeping);
    for _ in 0..500 {
        if std::sync::Arc::strong_count(&h.engine) < held {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the engine is still held");
}

#[tokio::test]
async fn links_are_known_at_both_ends() {
    let h = Harness::new().await;
    for n in 1..=20 {
        h.store.create_account(&operator(), new(n)).await.unwrap();
    }
    let linked =
        async |n: u64| h.store.account(&operator(), &address(n)).await.unwrap().unwrap().linked.clone();
    let set = |numbers: &[u64]| numbers.iter().map(|n| address(*n)).collect::<Vec<_>>();
    h.store.link_accounts(&operator(), &set(&[2, 1])).await.unwrap();
    h.store.link_accounts(&operator(), &set(&[3, 4])).await.unwrap();
    assert_eq!((linked(1).await, linked(2).await), (set(&[2]), set(&[1])));
    // Two sets become one.
    h.store.link_accounts(&operator(), &set(&[2, 3])).await.unwrap();
    assert_eq!((linked(1).await, linked(4).await), (set(&[2, 3, 4]), set(&[1, 2, 3])));
    h.store.unlink_account(&operator(), &address(3)).await.unwrap();
    h.store.unlink_account(&operator(), &address(3)).await.unwrap();
    assert_eq!((linked(3).await, linked(4).await), (set(&[]), set(&[1, 2])));
    // What else is changed of an account keeps them.
    h.store.set_credentials(&operator(), &address(4), Credentials::None).await.unwrap();
    assert_eq!(linked(4).await, set(&[1, 2]));
    h.store.remove_account(&operator(), &address(1)).await.unwrap();
    assert_eq!(linked(4).await, set(&[2]));
    // An address given again inherits nothing.
    h.store.create_account(&operator(), new(1)).await.unwrap();
    assert_eq!(linked(1).await, set(&[]));

    let missing = h.store.link_accounts(&operator(), &set(&[5, 99])).await;
    assert_eq!(kind(missing), ErrorKind::NoSuchAccount);
    assert_eq!(linked(5).await, set(&[]), "nothing changed");
    h.store
        .link_accounts(&operator(), &set(&[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]))
        .await
        .unwrap();
    h.store.link_accounts(&operator(), &set(&[4, 5])).await.unwrap();
    assert_eq!(kind(h.store.link_accounts(&operator(), &set(&[19, 5])).await), ErrorKind::Limit);
    assert_eq!((linked(5).await.len(), linked(19).await), (15, set(&[])));
    assert_eq!(kind(h.store.link_accounts(&h.ctx(), &set(&[19, 20])).await), ErrorKind::NoPermission);
    assert_eq!(kind(h.store.unlink_account(&h.ctx(), &address(5)).await), ErrorKind::NoPermission);
    h.check().await;
}
