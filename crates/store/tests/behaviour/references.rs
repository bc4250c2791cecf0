use std::sync::Arc;

use bytes::Bytes;
use model::limits::REFERENCE_BYTES_MAX;
use model::{AccountId, CpmAddress, ErrorKind, MailboxId, Result, Uid};
use store_api::{
    AccountState, Credentials, Ctx, MailStore, NewAccount, QuotaLimits, Reference, ReferenceAccess,
    Requestor, SignedReference, User,
};

use crate::harness::{Harness, START, address, kind, name, operator, whole};

/// The one message of the folder `a`.
const MESSAGE: &[u8] = b"Subject: shown\r\n\r\nthe text";

fn to(access: ReferenceAccess) -> Reference {
    Reference {
        owner: address(0),
        mailbox: name("a"),
        uid_validity: None,
        uid: Uid::new(1).unwrap(),
        expires: None,
        access,
        rump: Bytes::from_static(b"imap://owner@h/a/;UID=1;URLAUTH=whoever"),
    }
}

async fn account(h: &Harness, number: u64) -> AccountId {
    let new = NewAccount {
        address: address(number),
        credentials: Credentials::None,
        limits: QuotaLimits::default(),
        service: store_api::ServiceClass::default(),
    };
    h.store.create_account(&operator(), new).await.unwrap()
}

fn user(account: AccountId) -> User {
    User::owner(account)
}

impl Harness {
    async fn with_message() -> Self {
        let h = Self::new().await;
        h.create("a").await;
        h.try_append("a", vec![crate::harness::message(MESSAGE)]).await.unwrap();
        h
    }

    async fn sign(&self, reference: &Reference) -> SignedReference {
        let token = self.store.sign_reference(&self.ctx(), self.account, reference).await.unwrap();
        assert_eq!(token.len(), 33);
        SignedReference { reference: reference.clone(), token }
    }

    /// What `user` reads at another node.
    async fn read_as(&self, user: User, signed: &SignedReference) -> Result<Bytes> {
        let ctx = Ctx { requestor: Requestor::User(Arc::new(user)), ..self.ctx() };
        let store = self.sibling().await;
        let found = store.referenced(&ctx, signed).await;
        let body = store.referenced_body(&ctx, signed, None).await;
        match (found, body) {
            (Ok(found), Ok(body)) => {
                let octets = whole(body).await;
                assert_eq!((found.size, found.index.size()), (octets.len() as u64, octets.len() as u64));
                let part = store.referenced_body(&ctx, signed, Some(9..14)).await.unwrap();
                assert_eq!(whole(part).await, octets.slice(9..14));
                Ok(octets)
            }
            (Err(error), Err(other)) => {
                assert_eq!((error.kind(), error.to_string()), (other.kind(), other.to_string()));
                Err(error)
            }
            _ => panic!("facts and octets do not agree"),
        }
    }
}

#[tokio::test]
async fn each_reader_is_who_is_meant() {
    let h = Harness::with_message().await;
    let (friend, stranger) = (account(&h, 1).await, account(&h, 2).await);
    let network = |account| User { network: true, ..user(account) };
    let sibling = User { siblings: vec![friend], ..user(stranger) };
    let table = [
        (ReferenceAccess::Anonymous, [true, true, true, true]),
        (ReferenceAccess::AuthUser, [true, true, true, true]),
        (ReferenceAccess::User(address(1)), [true, false, false, true]),
        (ReferenceAccess::Submit(address(1)), [false, false, true, false]),
        (ReferenceAccess::User(address(9)), [false, false, false, false]),
        (ReferenceAccess::Submit(address(9)), [false, false, false, false]),
    ];
    for (access, may) in table {
        let signed = h.sign(&to(access.clone())).await;
        let readers = [user(friend), user(stranger), network(stranger), sibling.clone()];
        for (reader, may) in readers.into_iter().zip(may) {
            let got = h.read_as(reader.clone(), &signed).await;
            if may {
                assert_eq!(got.unwrap(), MESSAGE, "{access:?} {reader:?}");
            } else {
                assert_eq!(kind(got), ErrorKind::Expunged, "{access:?} {reader:?}");
            }
        }
    }
    h.check().await;
}

/// Whatever is said otherwise than it was signed, the answer is the one for what is not there.
#[tokio::test]
async fn nothing_of_it_can_be_forged() {
    let h = Harness::with_message().await;
    h.create("b").await;
    h.try_append("b", vec![crate::harness::message("Subject: hidden\r\n\r\n")]).await.unwrap();
    let other = account(&h, 1).await;
    let signed =
        h.sign(&Reference { expires: Some(START + 60), ..to(ReferenceAccess::User(address(1))) }).await;
    assert_eq!(h.read_as(user(other), &signed).await.unwrap(), MESSAGE);
    let right = h.read_as(user(other), &SignedReference { token: Bytes::new(), ..signed.clone() }).await;
    let answer = right.unwrap_err().to_string();
    let check = async |signed: SignedReference| {
        let refused = h.read_as(user(other), &signed).await.expect_err(&format!("{signed:?}"));
        assert_eq!((refused.kind(), refused.to_string()), (ErrorKind::Expunged, answer.clone()));
    };
    for bit in 0..signed.token.len() * 8 {
        let mut token = signed.token.to_vec();
        token[bit / 8] ^= 1 << (bit % 8);
        check(SignedReference { token: token.into(), ..signed.clone() }).await;
    }
    for len in [1, 32] {
        check(SignedReference { token: signed.token.slice(..len), ..signed.clone() }).await;
    }
    check(SignedReference { token: [&signed.token[..], b"\0"].concat().into(), ..signed.clone() }).await;
    // The key of a folder that has none is no key.
    let unsigned = Reference { mailbox: name("b"), ..to(ReferenceAccess::Anonymous) };
    check(SignedReference { reference: unsigned, token: vec![1; 33].into() }).await;
    let said: [fn(&mut Reference); 11] = [
        |r| r.owner = address(1),
        |r| r.owner = address(9),
        |r| r.mailbox = name("b"),
        |r| r.mailbox = name("nowhere"),
        |r| r.uid = Uid::new(2).unwrap(),
        |r| r.uid_validity = Some(1),
        |r| r.expires = None,
        |r| r.expires = Some(START + 61),
        |r| r.access = ReferenceAccess::Anonymous,
        |r| r.access = ReferenceAccess::User(address(9)),
        |r| r.rump = Bytes::from_static(b"imap://owner@h/a/;UID=1;URLAUTH=whoever2"),
    ];
    for change in said {
        let mut forged = signed.clone();
        change(&mut forged.reference);
        check(forged).await;
    }
    // As are those that are right of what is not there.
    check(h.sign(&Reference { uid: Uid::new(7).unwrap(), ..signed.reference.clone() }).await).await;
    check(h.sign(&Reference { uid_validity: Some(1), ..signed.reference.clone() }).await).await;
}

#[tokio::test]
async fn it_ends_with_its_time_its_key_or_its_folder() {
    let h = Harness::with_message().await;
    h.create("b").await;
    h.try_append("b", vec![crate::harness::message("Subject: other\r\n\r\n")]).await.unwrap();
    let reader = account(&h, 1).await;
    let reads = async |signed: &SignedReference| h.read_as(user(reader), signed).await.is_ok();

    let brief = h.sign(&Reference { expires: Some(START + 60), ..to(ReferenceAccess::AuthUser) }).await;
    h.pass(60);
    assert!(reads(&brief).await);
    h.pass(1);
    assert!(!reads(&brief).await);

    let validity = h.folder("a").await.state.uid_validity.get();
    let of_a = h.sign(&Reference { uid_validity: Some(validity), ..to(ReferenceAccess::AuthUser) }).await;
    let of_b = h.sign(&Reference { mailbox: name("b"), ..to(ReferenceAccess::AuthUser) }).await;
    assert_eq!(h.sign(&of_a.reference).await, of_a, "a key stays");
    assert!(reads(&of_a).await && reads(&of_b).await);
    let (a, b) = (h.id("a").await, h.id("b").await);
    h.store.reset_reference_keys(&h.ctx(), h.account, Some(a)).await.unwrap();
    assert!(!reads(&of_a).await && reads(&of_b).await);
    let again = h.sign(&of_a.reference).await;
    assert!(again != of_a && reads(&again).await && !reads(&of_a).await);
    h.store.reset_reference_keys(&h.ctx(), h.account, None).await.unwrap();
    assert!(!reads(&again).await && !reads(&of_b).await);
    // Again, and of what has none, is no failure.
    h.store.reset_reference_keys(&h.ctx(), h.account, None).await.unwrap();
    h.store.reset_reference_keys(&h.ctx(), h.account, Some(b)).await.unwrap();
    let gone = h.store.reset_reference_keys(&h.ctx(), h.account, Some(MailboxId(u64::MAX))).await;
    assert_eq!(kind(gone), ErrorKind::NoSuchMailbox);

    // A name leads to what has it now, and a folder made anew has a key of its own.
    let of_a = h.sign(&to(ReferenceAccess::AuthUser)).await;
    h.store.rename_folder(&h.ctx(), h.account, &name("a"), &name("c")).await.unwrap();
    assert!(!reads(&of_a).await);
    h.create("a").await;
    h.try_append("a", vec![crate::harness::message("Subject: new\r\n\r\n")]).await.unwrap();
    assert!(!reads(&of_a).await);
    h.sign(&to(ReferenceAccess::AuthUser)).await;
    assert!(!reads(&of_a).await);
    h.store.delete_folder(&h.ctx(), h.account, &name("a")).await.unwrap();
    h.store.rename_folder(&h.ctx(), h.account, &name("c"), &name("a")).await.unwrap();
    assert!(reads(&of_a).await);
    h.check().await;
    h.store.delete_folder(&h.ctx(), h.account, &name("a")).await.unwrap();
    assert!(!reads(&of_a).await);
    h.check().await;
}

#[tokio::test]
async fn only_the_owner_signs() {
    let h = Harness::with_message().await;
    let other = account(&h, 1).await;
    let stranger = |user: User| Ctx { requestor: Requestor::User(Arc::new(user)), ..h.ctx() };
    let reference = to(ReferenceAccess::Anonymous);
    for asker in [
        user(other),
        User { network: true, ..user(other) },
        User { siblings: vec![h.account], ..user(other) },
    ] {
        let ctx = stranger(asker);
        for account in [h.account, other] {
            let signed = h.store.sign_reference(&ctx, account, &reference).await;
            assert_eq!(kind(signed), ErrorKind::NoSuchMailbox);
        }
        let reset = h.store.reset_reference_keys(&ctx, h.account, None).await;
        assert_eq!(kind(reset), ErrorKind::NoSuchMailbox);
    }
    for wrong in [
        Reference { owner: address(1), ..reference.clone() },
        Reference { owner: address(9), ..reference.clone() },
        Reference { mailbox: name("nowhere"), ..reference.clone() },
    ] {
        let signed = h.store.sign_reference(&h.ctx(), h.account, &wrong).await;
        assert_eq!(kind(signed), ErrorKind::NoSuchMailbox);
    }
    let long = Reference { rump: vec![b'x'; REFERENCE_BYTES_MAX + 1].into(), ..reference };
    assert_eq!(kind(h.store.sign_reference(&h.ctx(), h.account, &long).await), ErrorKind::InvalidRequest);
}

/// Neither who is given an address after its reader, nor after its owner, has to do with what was signed before.
#[tokio::test]
async fn an_address_given_again_is_another_subscriber() {
    let h = Harness::with_message().await;
    let reader = account(&h, 1).await;
    let signed = h.sign(&to(ReferenceAccess::User(address(1)))).await;
    assert!(h.read_as(user(reader), &signed).await.is_ok());
    h.store.remove_account(&operator(), &address(1)).await.unwrap();
    assert!(h.read_as(user(reader), &signed).await.is_err());
    let next = account(&h, 1).await;
    assert!(h.read_as(user(next), &signed).await.is_err());
    let signed = h.sign(&to(ReferenceAccess::User(address(1)))).await;
    assert!(h.read_as(user(next), &signed).await.is_ok());

    let set = |state| {
        let (store, owner): (_, CpmAddress) = (h.store.clone(), address(0));
        async move { store.configure_account(&operator(), &owner, state, QuotaLimits::default()).await.unwrap() }
    };
    set(AccountState::Disabled).await;
    assert!(h.read_as(user(next), &signed).await.is_err());
    set(AccountState::Active).await;
    assert!(h.read_as(user(next), &signed).await.is_ok());
    h.store.remove_account(&operator(), &address(0)).await.unwrap();
    assert!(h.read_as(user(next), &signed).await.is_err());
}

/// However many ask for a key that is not there, one is made.
#[tokio::test]
async fn one_key_for_all_who_sign_at_once() {
    let h = Harness::with_message().await;
    let reference = to(ReferenceAccess::AuthUser);
    let mut signers = Vec::new();
    for _ in 0..8 {
        let (store, ctx, account, reference) = (h.sibling().await, h.ctx(), h.account, reference.clone());
        signers.push(tokio::spawn(
            async move { store.sign_reference(&ctx, account, &reference).await.unwrap() },
        ));
    }
    let mut tokens = std::collections::BTreeSet::new();
    for signer in signers {
        tokens.insert(signer.await.unwrap());
    }
    assert_eq!(tokens.len(), 1);
    h.check().await;
}
