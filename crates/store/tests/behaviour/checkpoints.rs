use std::sync::Arc;

use model::limits::{CHECKPOINT_FOLDERS_MAX, CHECKPOINTS_PER_ACCOUNT_MAX};
use model::{AccountId, DeviceId, ErrorKind, MailboxId, ModSeq};
use store_api::{Checkpoint, Ctx, MailStore, Requestor, User};

use crate::harness::{Harness, kind};

fn at(h: &Harness, account: AccountId, device: Option<&str>) -> Ctx {
    let device = device.and_then(|device| DeviceId::parse(device.as_bytes()).ok());
    Ctx { requestor: Requestor::User(Arc::new(User { device, ..User::owner(account) })), ..h.ctx() }
}

fn told(folders: &[(u64, u64)]) -> Checkpoint {
    let folders = folders.iter().map(|(id, modseq)| (MailboxId(*id), ModSeq(*modseq))).collect();
    Checkpoint { tree_version: 3, folders }
}

#[tokio::test]
async fn each_device_has_its_own() {
    let h = Harness::new().await;
    let (phone, tablet) = (at(&h, h.account, Some("phone")), at(&h, h.account, Some("tablet")));
    assert_eq!(h.store.checkpoint(&phone, h.account).await.unwrap(), None);
    h.store.set_checkpoint(&phone, h.account, &told(&[(1, 5), (7, 9)])).await.unwrap();
    assert_eq!(h.store.checkpoint(&tablet, h.account).await.unwrap(), None);
    h.store.set_checkpoint(&tablet, h.account, &told(&[])).await.unwrap();
    h.store.set_checkpoint(&phone, h.account, &told(&[(1, 6)])).await.unwrap();
    // Another node reads the same.
    let other = h.sibling().await;
    assert_eq!(other.checkpoint(&phone, h.account).await.unwrap(), Some(told(&[(1, 6)])));
    assert_eq!(other.checkpoint(&tablet, h.account).await.unwrap(), Some(told(&[])));
}

#[tokio::test]
async fn who_may_not() {
    let h = Harness::new().await;
    let nobody = at(&h, h.account, None);
    assert_eq!(h.store.checkpoint(&nobody, h.account).await.unwrap(), None);
    let refused = h.store.set_checkpoint(&nobody, h.account, &told(&[])).await;
    assert_eq!(kind(refused), ErrorKind::InvalidRequest);
    let stranger = at(&h, AccountId(h.account.0 ^ 1), Some("phone"));
    assert_eq!(kind(h.store.checkpoint(&stranger, h.account).await), ErrorKind::NoSuchMailbox);
    let refused = h.store.set_checkpoint(&stranger, h.account, &told(&[])).await;
    assert_eq!(kind(refused), ErrorKind::NoSuchMailbox);
    // An account that is not there gets none.
    let refused = h.store.set_checkpoint(&stranger, AccountId(h.account.0 ^ 1), &told(&[])).await;
    assert_eq!(kind(refused), ErrorKind::NoSuchMailbox);
    let phone = at(&h, h.account, Some("phone"));
    let twice = told(&[(2, 5), (2, 6)]);
    assert_eq!(kind(h.store.set_checkpoint(&phone, h.account, &twice).await), ErrorKind::InvalidRequest);
    let many: Vec<_> = (0..=CHECKPOINT_FOLDERS_MAX as u64).map(|id| (id, 1)).collect();
    assert_eq!(
        kind(h.store.set_checkpoint(&phone, h.account, &told(&many)).await),
        ErrorKind::InvalidRequest
    );
    assert_eq!(h.store.checkpoint(&phone, h.account).await.unwrap(), None);
}

#[tokio::test]
async fn only_so_many_devices() {
    let h = Harness::new().await;
    for number in 0..=CHECKPOINTS_PER_ACCOUNT_MAX {
        let device = at(&h, h.account, Some(&format!("device-{number}")));
        h.store.set_checkpoint(&device, h.account, &told(&[(1, 5)])).await.unwrap();
    }
    let mut known = 0;
    for number in 0..=CHECKPOINTS_PER_ACCOUNT_MAX {
        let device = at(&h, h.account, Some(&format!("device-{number}")));
        known += usize::from(h.store.checkpoint(&device, h.account).await.unwrap().is_some());
    }
    assert_eq!(known, CHECKPOINTS_PER_ACCOUNT_MAX);
    let last = at(&h, h.account, Some(&format!("device-{CHECKPOINTS_PER_ACCOUNT_MAX}")));
    assert!(h.store.checkpoint(&last, h.account).await.unwrap().is_some());
}
