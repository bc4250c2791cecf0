//! Who may do what in an account's folders (RFC 4314 §4).
//!
//! An owner's call passes without a look at any list. Others are measured by the tree, which the caches have: a read
//! looks before it reads, at counters and metadata, which clients are told of without asking, after; a change looks within
//! its own transaction. So a right that was taken away is not used after.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use model::{AccountId, BodyId, Error, ErrorKind, Flags, MailboxId, MailboxName, Result, Rights};
use store_api::{AppendMessage, Ctx, FlagAction, FlagChange, FolderEntry, FolderTree, Metadata, Requestor};

use crate::combiner::{Cost, Mutation};
use crate::failure::{Failure, no_such_mailbox};
use crate::shared::Shared;
use crate::snapshot::read_folder;
use crate::tree::read_tree;
use crate::work::Work;

/// Any of these shows that a folder is there, by MYRIGHTS if by nothing else (RFC 4314 §4).
const SHOWING: Rights = Rights::from_bits(
    Rights::LOOKUP.bits()
        | Rights::READ.bits()
        | Rights::INSERT.bits()
        | Rights::CREATE.bits()
        | Rights::DELETE_MAILBOX.bits()
        | Rights::ADMINISTER.bits(),
);

/// What it takes to remove messages in another way than by EXPUNGE: as setting \Deleted and then that.
pub(crate) const REMOVAL: Rights = Rights::from_bits(Rights::DELETE_MESSAGE.bits() | Rights::EXPUNGE.bits());

/// How who asks stands to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The owner, or the operator.
    Owner,
    /// Another account of the same subscriber: all rights, but that to give rights.
    Sibling(AccountId),
    /// Somebody else: what the folders' lists say.
    Stranger(AccountId),
    /// Who has not logged in, and is not even `anyone`.
    Nobody,
}

impl Access {
    /// How the requestor stands to `account`.
    pub(crate) fn of(ctx: &Ctx, account: AccountId) -> Self {
        match &ctx.requestor {
            Requestor::User(user) if user.account != account => {
                if user.siblings.contains(&account) {
                    Self::Sibling(user.account)
                } else {
                    Self::Stranger(user.account)
                }
            }
            Requestor::User(_) | Requestor::Operator => Self::Owner,
            Requestor::Nobody => Self::Nobody,
        }
    }

    /// What they may do in a folder.
    pub(crate) fn rights(self, entry: &FolderEntry) -> Rights {
        match self {
            Self::Owner => Rights::ALL,
            Self::Sibling(own) => (Rights::ALL - Rights::ADMINISTER) | entry.acl.rights_of(own),
            Self::Stranger(own) => entry.acl.rights_of(own),
            Self::Nobody => Rights::NONE,
        }
    }

    /// Whether they may do what takes `needed` in that folder, if it is there.
    ///
    /// # Errors
    /// `NoPermission` if they may know of the folder, else `NoSuchMailbox`.
    pub(crate) fn check(self, entry: Option<&FolderEntry>, needed: Rights) -> Result<()> {
        let Some(entry) = entry else { return Err(no_such_mailbox()) };
        let rights = self.rights(entry);
        if rights.has(needed) { Ok(()) } else { Err(refused(rights)) }
    }

    /// The tree as they may see it.
    pub(crate) fn view(self, tree: Arc<FolderTree>) -> Arc<FolderTree> {
        if self == Self::Owner {
            return tree;
        }
        let seen = tree.folders().iter().filter_map(|entry| {
            let rights = self.rights(entry);
            if !rights.has_any(SHOWING) {
                return None;
            }
            let mut entry = FolderEntry { rights, ..entry.clone() };
            if !rights.has(Rights::ADMINISTER) {
                entry.acl = model::Acl::default();
            }
            Some(entry)
        });
        Arc::new(FolderTree::new(0, seen.collect(), std::collections::BTreeSet::new()))
    }
}

/// The answer to somebody who lacks a right and has these.
fn refused(rights: Rights) -> Error {
    if rights.has(Rights::LOOKUP) {
        Error::new(ErrorKind::NoPermission, "you have not the right to do this in that mailbox")
    } else {
        no_such_mailbox()
    }
}

/// Which folder a change takes rights on.
#[derive(Clone, Debug)]
pub(crate) enum At {
    /// This one.
    Id(MailboxId),
    /// The one of this name.
    Name(MailboxName),
    /// The nearest above this name, in which one of that name would be made; none has a name of the top level.
    Above(MailboxName),
}

/// A right that a change takes.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    at: At,
    rights: Rights,
}

impl Need {
    pub(crate) fn new(at: At, rights: Rights) -> Self {
        Self { at, rights }
    }

    fn check(&self, access: Access, tree: &FolderTree) -> Result<()> {
        let entry = match &self.at {
            At::Id(mailbox) => tree.by_id(*mailbox),
            At::Name(name) => tree.find(name),
            At::Above(name) => nearest(tree, name),
        };
        if entry.is_none() && matches!(self.at, At::Above(_)) && matches!(access, Access::Sibling(_)) {
            // The top level is the subscriber's own.
            return Ok(());
        }
        access.check(entry, self.rights)
    }
}

/// The nearest folder above a name.
pub(crate) fn nearest<'a>(tree: &'a FolderTree, name: &MailboxName) -> Option<&'a FolderEntry> {
    name.ancestors().collect::<Vec<_>>().into_iter().rev().find_map(|above| tree.find(&above))
}

/// A change made by somebody who does not own the account: it looks at the rights first, in the same transaction.
pub(crate) struct Guarded<M> {
    pub(crate) access: Access,
    pub(crate) needs: Vec<Need>,
    pub(crate) mutation: M,
}

#[async_trait]
impl<M: Mutation> Mutation for Guarded<M> {
    type Outcome = M::Outcome;

    fn cost(&self) -> Cost {
        self.mutation.cost()
    }

    fn folders(&self, shared: &Shared, account: AccountId, hints: &mut Vec<MailboxId>) {
        self.mutation.folders(shared, account, hints);
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<M::Outcome, Failure> {
        let tree = work.tree().await?;
        for need in &self.needs {
            need.check(self.access, &tree)?;
        }
        self.mutation.run(work).await
    }
}

/// The tree of an account for somebody who does not own it: nothing is there if nothing is shown of it, as if the
/// account were not there.
pub(crate) async fn foreign_tree(
    shared: &Shared,
    account: AccountId,
    access: Access,
) -> Result<Arc<FolderTree>, Failure> {
    let tree = match read_tree(shared, account).await {
        Err(Failure::Request(error)) if error.kind() == ErrorKind::NoSuchAccount => {
            return Err(no_such_mailbox().into());
        }
        answer => answer?,
    };
    let shown = tree.folders().iter().any(|entry| access.rights(entry).has_any(SHOWING));
    if shown { Ok(tree) } else { Err(no_such_mailbox().into()) }
}

/// Whether the requestor may do what takes `needed` in a folder. Costs an owner nothing, others one key.
pub(crate) async fn allow(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    mailbox: MailboxId,
    needed: Rights,
) -> Result<(), Failure> {
    match Access::of(ctx, account) {
        Access::Owner => Ok(()),
        access => Ok(access.check(foreign_tree(shared, account, access).await?.by_id(mailbox), needed)?),
    }
}

/// What the requestor may do in a folder.
pub(crate) async fn rights_at(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    at: &At,
) -> Result<Rights, Failure> {
    let access = Access::of(ctx, account);
    if access == Access::Owner {
        return Ok(Rights::ALL);
    }
    let tree = foreign_tree(shared, account, access).await?;
    let entry = match at {
        At::Id(mailbox) => tree.by_id(*mailbox),
        At::Name(name) => tree.find(name),
        At::Above(name) => nearest(&tree, name),
    };
    Ok(entry.map_or(Rights::NONE, |entry| access.rights(entry)))
}

/// Whether the requestor may write bodies ahead: whoever may append to one of the folders.
pub(crate) async fn allow_staging(shared: &Shared, ctx: &Ctx, account: AccountId) -> Result<(), Failure> {
    let access = Access::of(ctx, account);
    if access == Access::Owner {
        return Ok(());
    }
    let tree = foreign_tree(shared, account, access).await?;
    let may = tree.folders().iter().any(|entry| access.rights(entry).has(Rights::INSERT));
    if may { Ok(()) } else { Err(no_such_mailbox().into()) }
}

/// The answer to what only an owner does in INBOX, to somebody else with these rights.
pub(crate) fn never(rights: Rights) -> Error {
    if rights.has(Rights::LOOKUP) {
        Error::new(ErrorKind::Cannot, "only its owner renames an INBOX")
    } else {
        no_such_mailbox()
    }
}

/// The bodies of `wanted` that the requestor may read as messages of `mailbox`; none for all of them.
pub(crate) async fn readable(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    mailbox: MailboxId,
    wanted: &[BodyId],
) -> Result<Option<HashSet<BodyId>>, Failure> {
    if Access::of(ctx, account) == Access::Owner {
        return Ok(None);
    }
    allow(shared, ctx, account, mailbox, Rights::READ).await?;
    let wanted: HashSet<BodyId> = wanted.iter().copied().collect();
    let folder = read_folder(shared, account, mailbox).await?;
    let rows = folder.snapshot.rows();
    Ok(Some(rows.map(|row| row.body).filter(|body| wanted.contains(body)).collect()))
}

/// What somebody who does not own the account is told of a folder's metadata: what is shared (RFC 5464 §4.1).
pub(crate) fn shared_entries(metadata: &Metadata) -> Metadata {
    let shared = metadata.iter().filter(|(name, _)| name.scope() == model::EntryScope::Shared);
    shared.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether a folder's shared metadata may be read with these rights: `l`, and one that opens the folder itself (RFC 5464
/// §3.3).
pub(crate) fn may_read_metadata(rights: Rights) -> bool {
    rights.has(Rights::LOOKUP)
        && rights.has_any(Rights::READ | Rights::SEEN | Rights::WRITE | Rights::INSERT | Rights::POST)
}

/// The flags that somebody may change: \Seen by `s`, \Deleted by `t`, all others and keywords by `w` (RFC 4314 §4).
pub(crate) fn changeable(rights: Rights) -> Flags {
    let named = Flags::SEEN.union(Flags::DELETED);
    let mut flags = Flags::default();
    if rights.has(Rights::SEEN) {
        flags = flags.union(Flags::SEEN);
    }
    if rights.has(Rights::DELETE_MESSAGE) {
        flags = flags.union(Flags::DELETED);
    }
    if rights.has(Rights::WRITE) {
        flags = flags.union(Flags(u64::MAX).without(named));
    }
    flags
}

/// Leaves a message to append the flags that its owner may set; the others go without a word (RFC 4314 §4).
pub(crate) fn strip(message: &mut AppendMessage, rights: Rights) {
    let may = changeable(rights);
    message.flags = Flags(message.flags.0 & may.0);
    if !rights.has(Rights::WRITE) {
        message.keywords.clear();
    }
}

/// The right that annotations of messages to append take, beside that to append: it is refused, not passed over (RFC 5257
/// §3.4). Private ones take `r`, since nobody could see them without.
pub(crate) fn annotating<'m>(messages: impl Iterator<Item = &'m AppendMessage>) -> Rights {
    messages.flat_map(|message| &message.annotations).fold(Rights::NONE, |needed, change| {
        needed
            | match change.scope {
                model::EntryScope::Private => Rights::READ,
                model::EntryScope::Shared => Rights::ANNOTATE,
            }
    })
}

/// Leaves of a change of flags what these rights allow, and returns the flags that must stay as they are. A STORE of
/// which only a part is allowed does that part, since clients take a NO badly (RFC 4314 §4).
///
/// # Errors
/// As [`Access::check`], when nothing of it is allowed.
pub(crate) fn limit(change: &mut FlagChange, rights: Rights) -> Result<Flags> {
    let may = changeable(rights);
    let wanted = !change.keywords.is_empty() || change.flags != Flags::default();
    change.flags = Flags(change.flags.0 & may.0);
    if !rights.has(Rights::WRITE) {
        change.keywords.clear();
    }
    let left = !change.keywords.is_empty() || change.flags != Flags::default();
    let allowed = match change.action {
        FlagAction::Replace => may != Flags::default(),
        FlagAction::Add | FlagAction::Remove => left || !wanted,
    };
    if allowed && rights.has(Rights::READ) { Ok(Flags(!may.0)) } else { Err(refused(rights)) }
}

/// Of these rights, those that flags take.
pub(crate) fn of_flags(rights: Rights) -> Rights {
    rights & (Rights::SEEN | Rights::WRITE | Rights::DELETE_MESSAGE)
}
