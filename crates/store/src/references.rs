//! References: who holds a URL that the owner had signed reads one message, and needs no rights in its folder.
//!
//! The token is an HMAC-SHA-256 (RFC 2104) under a key that the folder has for this alone, over everything that the
//! reference says and the octets of its URL. So nothing need be stored of a reference, any node verifies it, and
//! throwing the key away revokes all references of the folder.
//!
//! Whoever asks for what is not meant for him is answered the same, whatever is wrong: that the owner exists, or the
//! folder, or the message, is nobody's business. Each check is made whether one before it failed or not, up to the
//! token's; only who has a token that is right has the folder itself looked into.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use kv::ReadMode;
use model::limits::REFERENCE_BYTES_MAX;
use model::{AccountId, BodyId, CpmAddress, Error, ErrorKind, MailboxId, MailboxName};
use sha2::Sha256;
use store_api::{
    Account, AccountState, BodyData, Ctx, Reference, ReferenceAccess, Referenced, Requestor, SignedReference,
};

use crate::accounts;
use crate::bodies;
use crate::failure::{Failure, bug, corrupt, invalid, no_such_mailbox};
use crate::keyspace::Subspace;
use crate::records::{REFERENCE_KEY_BYTES, ReferenceKey};
use crate::retry::{Retry, reading};
use crate::shared::Shared;
use crate::snapshot::read_folder;
use crate::tree::read_tree;

/// How tokens are made today: the first octet of each. RFC 4467 §2.4.1 asks for a way to change it.
const ALGORITHM: u8 = 1;
/// Begins what is hashed, so that no key of another purpose could ever give a token.
const DOMAIN: &[u8] = b"mss reference";
/// Stands for the key of a folder that has none. No token passes for it.
const NO_KEY: ReferenceKey = ReferenceKey([0; REFERENCE_KEY_BYTES]);

/// The answer to a reference that leads its holder nowhere.
fn refused() -> Failure {
    Error::new(ErrorKind::Expunged, "the reference leads to no message").into()
}

/// Only the owner gives others access by URL, whatever rights these have (RFC 4467 §7, GENURLAUTH).
fn owner_only(ctx: &Ctx, account: AccountId) -> Result<(), Failure> {
    match &ctx.requestor {
        Requestor::Operator => Ok(()),
        Requestor::User(user) if user.account == account => Ok(()),
        Requestor::User(_) | Requestor::Nobody => Err(no_such_mailbox().into()),
    }
}

/// The token of a reference.
pub(crate) async fn sign(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    reference: &Reference,
) -> Result<Bytes, Failure> {
    owner_only(ctx, account)?;
    if reference.rump.len() > REFERENCE_BYTES_MAX {
        return Err(invalid("a reference has at most 8192 octets").into());
    }
    let owner = accounts::find(shared, &reference.owner).await?;
    if owner.is_none_or(|owner| owner.id != account) {
        return Err(no_such_mailbox().into());
    }
    let mailbox = find_folder(shared, account, &reference.mailbox).await?.ok_or_else(no_such_mailbox)?;
    let grantee = find_grantee(shared, &reference.access).await?;
    let key = make_key(shared, account, mailbox).await?;
    let mac = mac(&key, reference, grantee)?.finalize().into_bytes();
    Ok([&[ALGORITHM], &mac[..]].concat().into())
}

/// Throws away the key of a folder, or all of the account. Safe to run twice: it clears, whatever there was.
pub(crate) async fn reset(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    mailbox: Option<MailboxId>,
) -> Result<(), Failure> {
    owner_only(ctx, account)?;
    let keys = &shared.keys;
    let mut retry = Retry::idempotent(ctx.deadline);
    loop {
        let mut trx = shared.begin("reset_reference_keys");
        let attempt = async {
            match mailbox {
                Some(mailbox) => {
                    let state = keys.state(account, mailbox);
                    trx.get(&state, ReadMode::Snapshot).await?.ok_or_else(no_such_mailbox)?;
                    trx.clear(&keys.reference_key(account, mailbox));
                }
                None => {
                    let all = keys.subspace(account, Subspace::ReferenceKey);
                    trx.clear_range(&all.begin, &all.end);
                }
            }
            Ok(())
        };
        let failure = match attempt.await {
            Ok(()) => match trx.commit().await {
                Ok(_) => return Ok(()),
                Err(error) => error.into(),
            },
            Err(failure) => failure,
        };
        retry.again(failure).await?;
    }
}

/// The message that a reference leads to.
pub(crate) async fn message(
    shared: &Shared,
    ctx: &Ctx,
    signed: &SignedReference,
) -> Result<Referenced, Failure> {
    let (account, body, size) = follow(shared, ctx, signed).await?;
    let index = bodies::infos(shared, account, &[body]).await?.pop().flatten().ok_or_else(refused)?;
    Ok(Referenced { size, index })
}

/// Octets of the message that a reference leads to.
pub(crate) async fn body(
    shared: &Arc<Shared>,
    ctx: &Ctx,
    signed: &SignedReference,
    range: Option<Range<u64>>,
) -> Result<BodyData, Failure> {
    let (account, body, _) = follow(shared, ctx, signed).await?;
    bodies::body(shared, account, body, range).await
}

/// The body of the message, and its size, if the requestor may read it by this reference.
async fn follow(
    shared: &Shared,
    ctx: &Ctx,
    signed: &SignedReference,
) -> Result<(AccountId, BodyId, u64), Failure> {
    let reference = &signed.reference;
    let owner: Option<Arc<Account>> = accounts::find(shared, &reference.owner).await?;
    let account = match &owner {
        Some(owner) => owner.id,
        // One that nobody has: what follows takes as long, and finds nothing.
        None => AccountId::new(&reference.owner, shared.environment().random()),
    };
    let mailbox = find_folder(shared, account, &reference.mailbox).await?;
    let grantee = find_grantee(shared, &reference.access).await?;
    let stored = read_key(shared, account, mailbox.unwrap_or(MailboxId(0))).await?;
    let verified = verify(stored.as_ref().unwrap_or(&NO_KEY), reference, grantee, &signed.token)?;
    let active = owner.is_some_and(|owner| owner.state == AccountState::Active);
    let expired = reference.expires.is_some_and(|expires| expires < shared.now());
    let meant = is_meant(&ctx.requestor, &reference.access, grantee);
    let Some(mailbox) = mailbox.filter(|_| verified && stored.is_some() && active && !expired && meant)
    else {
        return Err(refused());
    };
    let folder = match read_folder(shared, account, mailbox).await {
        Ok(folder) => folder,
        Err(Failure::Request(error)) if error.kind() == ErrorKind::NoSuchMailbox => return Err(refused()),
        Err(failure) => return Err(failure),
    };
    let validity = folder.snapshot.state.uid_validity.get();
    if reference.uid_validity.is_some_and(|expected| expected != validity) {
        return Err(refused());
    }
    let row = folder.snapshot.row(reference.uid).ok_or_else(refused)?;
    Ok((account, row.body, u64::from(row.size)))
}

/// The folder of that name, which holds messages; none if there is none, or no such account.
async fn find_folder(
    shared: &Shared,
    account: AccountId,
    name: &MailboxName,
) -> Result<Option<MailboxId>, Failure> {
    match read_tree(shared, account).await {
        Ok(tree) => Ok(tree.find(name).filter(|entry| !entry.noselect).map(|entry| entry.id)),
        Err(Failure::Request(error)) if error.kind() == ErrorKind::NoSuchAccount => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The account of who is named as a reader, if one is.
async fn find_grantee(shared: &Shared, access: &ReferenceAccess) -> Result<Option<AccountId>, Failure> {
    let address: &CpmAddress = match access {
        ReferenceAccess::Anonymous | ReferenceAccess::AuthUser => return Ok(None),
        ReferenceAccess::User(address) | ReferenceAccess::Submit(address) => address,
    };
    Ok(accounts::find(shared, address).await?.map(|account| account.id))
}

/// Whether the reference is meant for who asks. A subscriber is logged in as each of his addresses.
fn is_meant(requestor: &Requestor, access: &ReferenceAccess, grantee: Option<AccountId>) -> bool {
    let Requestor::User(user) = requestor else { return true };
    match access {
        ReferenceAccess::Anonymous | ReferenceAccess::AuthUser => true,
        ReferenceAccess::User(_) => {
            grantee.is_some_and(|grantee| user.account == grantee || user.siblings.contains(&grantee))
        }
        ReferenceAccess::Submit(_) => user.network && grantee.is_some(),
    }
}

/// What a token is of: each field by itself, so that no two references give the same octets. A reader is there by the
/// account, which an address given again does not have.
fn mac(
    key: &ReferenceKey,
    reference: &Reference,
    grantee: Option<AccountId>,
) -> Result<Hmac<Sha256>, Failure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).map_err(|_| bug("a key has no length"))?;
    let access: u8 = match &reference.access {
        ReferenceAccess::Anonymous => 1,
        ReferenceAccess::AuthUser => 2,
        ReferenceAccess::User(_) => 3,
        ReferenceAccess::Submit(_) => 4,
    };
    mac.update(DOMAIN);
    mac.update(&[ALGORITHM, access]);
    mac.update(&grantee.map_or(0, |account| account.0).to_be_bytes());
    mac.update(&reference.uid_validity.unwrap_or(0).to_be_bytes());
    mac.update(&reference.uid.get().to_be_bytes());
    mac.update(&[u8::from(reference.expires.is_some())]);
    mac.update(&reference.expires.unwrap_or(0).to_be_bytes());
    for text in [reference.owner.as_str().as_bytes(), reference.mailbox.as_str().as_bytes(), &reference.rump]
    {
        mac.update(&(text.len() as u64).to_be_bytes());
        mac.update(text);
    }
    Ok(mac)
}

/// Whether `token` is the one of this reference; in a time that does not depend on where it differs.
fn verify(
    key: &ReferenceKey,
    reference: &Reference,
    grantee: Option<AccountId>,
    token: &[u8],
) -> Result<bool, Failure> {
    let (algorithm, claimed) = token.split_first().unwrap_or((&0, &[]));
    let right = mac(key, reference, grantee)?.verify_slice(claimed).is_ok();
    Ok(right && *algorithm == ALGORITHM)
}

async fn read_key(
    shared: &Shared,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<Option<ReferenceKey>, Failure> {
    let key = shared.keys.reference_key(account, mailbox);
    let raw = reading!(Ok(shared.begin("reference_key").get(&key, ReadMode::Snapshot).await?));
    raw.map(|raw| ReferenceKey::decode(&raw).ok_or_else(|| corrupt("reference key", &key))).transpose()
}

/// The key of a folder, made if it has none. Safe to run twice: an attempt that finds a key takes that one.
async fn make_key(shared: &Shared, account: AccountId, mailbox: MailboxId) -> Result<ReferenceKey, Failure> {
    if let Some(key) = read_key(shared, account, mailbox).await? {
        return Ok(key);
    }
    let mut made = NO_KEY;
    for octets in made.0.chunks_exact_mut(8) {
        octets.copy_from_slice(&shared.environment().random().to_be_bytes());
    }
    let key = shared.keys.reference_key(account, mailbox);
    let mut retry = Retry::idempotent(None);
    loop {
        let mut trx = shared.begin("make_reference_key");
        let attempt = async {
            // The folder must not go away while it gets a key.
            let state = shared.keys.state(account, mailbox);
            trx.get(&state, ReadMode::Serializable).await?.ok_or_else(no_such_mailbox)?;
            if let Some(raw) = trx.get(&key, ReadMode::Serializable).await? {
                return ReferenceKey::decode(&raw).map(Some).ok_or_else(|| corrupt("reference key", &key));
            }
            trx.set_bytes(key.clone(), made.encode().into());
            Ok(None)
        };
        let failure = match attempt.await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => match trx.commit().await {
                Ok(_) => return Ok(made),
                Err(error) => error.into(),
            },
            Err(failure) => failure,
        };
        retry.again(failure).await?;
    }
}
