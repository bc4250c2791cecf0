//! [`Store`]: every operation of [`MailStore`], from its request to the part that does it.

mod maintenance;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use cpm_mime::{Limits, MessageIndex};
use futures::TryStreamExt;
use kv::{Engine, ReadMode};
use model::limits::{
    ANNOTATION_CHANGES_MAX, ANNOTATION_VALUE_BYTES_MAX, APPEND_BYTES_MAX, BODY_INLINE_BYTES_MAX,
    ENTRY_VALUE_BYTES_MAX, INFOS_PER_REQUEST_MAX, METADATA_PER_REQUEST_MAX, MULTIAPPEND_MESSAGES_MAX,
    SEARCH_FOLDERS_MAX,
};
use model::{
    AccountId, AclChange, AnnotationPattern, BodyId, CpmAddress, EntryScope, Error, ErrorKind, Flags,
    FolderSnapshot, FolderState, MailboxId, MailboxName, ModSeq, PARTITIONS, Partition, Result, Rights,
    SpecialUse, Uid, UidSet,
};
use store_api::{
    Account, AccountState, AnnotationChange, AnnotationNews, AnnotationPage, AnnotationQuery, AppendBody,
    AppendMessage, AppendRequest, Appended, BodyData, BodyWriter, Changes, ChangesSince, CheckEvent,
    CheckRequest, Checkpoint, CopyMode, CopyOutcome, CopyRequest, Credentials, Ctx, ExpungeOutcome, Finding,
    FolderTree, Identities, MailStore, Metadata, MetadataChange, Missing, NewAccount, Quota, QuotaLimits,
    Reference, Referenced, ReplaceRequest, Requestor, SearchManyRequest, SearchRequest, ServiceClass,
    SignedReference, StoreAnnotations, StoreFlags, StoreOutcome,
};
use tracing::Instrument;

use crate::access::{Access, At, Guarded, Need};
use crate::combiner::{Combiner, Mutation};
use crate::failure::{Failure, corrupt, deadline, invalid, no_such_mailbox};
use crate::keyspace::SCHEMA_VERSION;
use crate::limits::INLINE_BYTES_MAX;
use crate::mutations::acl::SetAcl;
use crate::mutations::annotate::Annotate;
use crate::mutations::append::{Append, NewBody, NewMessage};
use crate::mutations::copy::{Copy, CopyPage, RenameInbox};
use crate::mutations::expunge::{Expunge, Which};
use crate::mutations::flags::ChangeFlags;
use crate::mutations::folders::{CreateFolder, DeleteFolder, RenameFolder, Subscribe};
use crate::mutations::marks::ClaimRecent;
use crate::mutations::metadata::SetMetadata;
use crate::mutations::staged::Stage;
use crate::records::{MetadataRecord, StateRecord};
use crate::retry::{Retry, reading};
use crate::shared::{Shared, authorize};
use crate::snapshot::{read_folder, read_vanished};
use crate::stage::StagedWriter;
use crate::telemetry::Operation;
use crate::tree::read_tree;
use crate::work::annotations::Carried;
use crate::work::origin::Origin;
use crate::work::page::spans_pages;
use crate::{
    Options, Swept, access, accounts, annotations, bodies, changes, checkpoints, identities, references,
    search, sweep,
};

/// Octets of inline bodies above which they are parsed off the threads that serve requests.
const PARSE_APART_BYTES: usize = 128 * 1024;

/// The message store over an engine. Cheap to share; the sweeper ends with the last reference.
pub struct Store {
    shared: Arc<Shared>,
    combiner: Arc<Combiner>,
    sweeper: Option<tokio::task::AbortHandle>,
}

impl Drop for Store {
    fn drop(&mut self) {
        // A transaction under way happens whole or not at all, and the next sweep goes on from there.
        if let Some(sweeper) = &self.sweeper {
            sweeper.abort();
        }
    }
}

impl Store {
    /// A store over `engine`. Checks or writes the version of the layout, and begins to sweep if so asked. Must be
    /// called within a runtime.
    ///
    /// # Errors
    /// `Cannot` when another release wrote the layout: the text says which; whatever the engine fails with.
    pub async fn open(engine: Arc<dyn Engine>, options: Options) -> Result<Arc<Self>> {
        let shared = Arc::new(Shared::new(engine, options));
        check_schema(&shared).await?;
        let combiner = Combiner::new(shared.clone());
        let sweeper = shared.options.sweep.then(|| {
            let run = sweep::run(shared.sweep.clone(), Arc::downgrade(&shared), Arc::downgrade(&combiner));
            tokio::spawn(run).abort_handle()
        });
        Ok(Arc::new(Self { shared, combiner, sweeper }))
    }

    /// Does all work that is due for the sweeper now, in the partitions from `first` to `last`.
    ///
    /// # Errors
    /// Whatever the engine fails with; what was done stays done.
    pub async fn sweep(&self, first: Partition, last: Partition) -> Result<Swept> {
        Ok(sweep::round(&self.shared, &self.combiner, first, last).await?)
    }

    /// As [`Store::sweep`], in all partitions.
    ///
    /// # Errors
    /// As [`Store::sweep`].
    pub async fn sweep_all(&self) -> Result<Swept> {
        self.sweep(Partition(0), Partition(PARTITIONS - 1)).await
    }

    /// What is wrong with what is stored; nothing, when all is well. Reads everything, every octet too.
    ///
    /// # Errors
    /// Whatever the engine fails with.
    pub async fn check(&self) -> Result<Vec<Finding>> {
        let request = CheckRequest { octets: true, ..CheckRequest::default() };
        let events = crate::check::inspect(self.shared.clone(), request)?;
        events
            .try_filter_map(async |event| {
                Ok(match event {
                    CheckEvent::Finding(finding) => Some(finding),
                    CheckEvent::Progress(_) => None,
                })
            })
            .try_collect()
            .await
    }

    /// Sets the gauges of what is cached and what waits, as of now. Cheap: call it whenever metrics are read.
    pub fn refresh_gauges(&self) {
        refresh_gauges(&self.shared, &self.combiner);
    }

    async fn change<M: Mutation>(&self, ctx: &Ctx, account: AccountId, mutation: M) -> Result<M::Outcome> {
        self.combiner.submit(account, ctx.deadline, Arc::new(mutation)).await
    }

    /// As [`Store::change`], after a look at the rights that it takes of somebody who does not own the account.
    async fn change_as<M: Mutation>(
        &self,
        ctx: &Ctx,
        account: AccountId,
        needs: impl IntoIterator<Item = Need> + Send,
        mutation: M,
    ) -> Result<M::Outcome> {
        match Access::of(ctx, account) {
            Access::Owner => self.change(ctx, account, mutation).await,
            access => {
                let needs = needs.into_iter().collect();
                let changed = self.change(ctx, account, Guarded { access, needs, mutation }).await;
                changed.map_err(|error| match error.kind() {
                    // Who does not own an account does not learn that it is gone.
                    ErrorKind::NoSuchAccount => no_such_mailbox(),
                    _ => error,
                })
            }
        }
    }

    /// Whether the requestor may do what takes `needed` in a folder.
    async fn allow(&self, ctx: &Ctx, account: AccountId, mailbox: MailboxId, needed: Rights) -> Result<()> {
        self.within(ctx, access::allow(&self.shared, ctx, account, mailbox, needed)).await
    }

    /// What the requestor may do in a folder.
    async fn rights_at(&self, ctx: &Ctx, account: AccountId, at: &At) -> Result<Rights> {
        self.within(ctx, access::rights_at(&self.shared, ctx, account, at)).await
    }

    async fn prepare(&self, messages: Vec<AppendMessage>) -> Result<Vec<NewMessage>> {
        let inline: usize = messages
            .iter()
            .map(|message| match &message.body {
                AppendBody::Inline(octets) => octets.len(),
                AppendBody::Staged(_) => 0,
            })
            .sum();
        if messages.is_empty() || messages.len() > MULTIAPPEND_MESSAGES_MAX {
            return Err(invalid("a request appends 1 to 2000 messages"));
        }
        if inline > INLINE_BYTES_MAX {
            return Err(invalid("inline bodies of a request are at most 4 MiB together"));
        }
        let parse_all = || messages.into_iter().map(parse).collect::<Result<Vec<_>>>();
        let parsed = if inline <= PARSE_APART_BYTES {
            parse_all()?
        } else {
            tokio::task::spawn_blocking(parse_all)
                .await
                .map_err(|error| Error::new(ErrorKind::Bug, "internal error").with_detail(error))??
        };
        for message in &parsed {
            if let NewBody::Inline { index, .. } = &message.body {
                self.shared.telemetry.object(index);
            }
        }
        Ok(parsed)
    }

    /// Copies or moves page after page, from after `done`.
    async fn copy_pages(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mut request: CopyRequest,
        mut done: Option<CopyPage>,
    ) -> Result<CopyOutcome> {
        let (source, target) = (At::Id(request.source), At::Name(request.target.clone()));
        let rights = self.rights_at(ctx, account, &target).await?;
        let dropped = Flags(!access::changeable(rights).0);
        let annotator = annotations::annotator(ctx, account);
        let carried = match &done {
            // INBOX is renamed: its messages only get another place.
            Some(_) => Carried::All,
            None => Carried::Of {
                shared: rights.has(Rights::ANNOTATE),
                private: rights.has(Rights::READ).then_some(annotator),
            },
        };
        let carrying = match carried {
            Carried::Of { shared: true, .. } => Rights::ANNOTATE,
            _ => Rights::NONE,
        };
        let taken = match request.mode {
            CopyMode::Copy => Rights::READ,
            CopyMode::Move => Rights::READ | access::REMOVAL,
        };
        let needs = [
            Need::new(source, taken),
            Need::new(target, Rights::INSERT | access::of_flags(rights) | carrying),
        ];
        loop {
            if let Some(whole) = done.take_if(|page| page.rest.is_empty()) {
                return Ok(whole.outcome);
            }
            if let Some(page) = &mut done {
                request.uids = std::mem::take(&mut page.rest);
            }
            let (first, by) = (done.is_none(), Origin::of(ctx));
            let page = Copy { request: request.clone(), first, dropped, carried, by };
            match (self.change_as(ctx, account, needs.clone(), page).await, &mut done) {
                (Ok(page), None) => done = Some(page),
                (Ok(page), Some(done)) => {
                    done.outcome.pairs.extend(page.outcome.pairs);
                    done.outcome.source_modseq = page.outcome.source_modseq;
                    done.rest = page.rest;
                }
                (Err(error), Some(done)) if request.mode == CopyMode::Copy => {
                    self.take_back(ctx, account, done).await;
                    return Err(error);
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Removes the copies of a COPY that could not be done whole (RFC 9051 §6.4.7: the target must be as before).
    async fn take_back(&self, ctx: &Ctx, account: AccountId, done: &CopyPage) {
        let copies: UidSet = done.outcome.pairs.iter().map(|(_, copy)| *copy).collect();
        loop {
            let expunge = Expunge {
                mailbox: done.outcome.target,
                which: Which::All,
                within: Some(copies.clone()),
                by: Origin::of(ctx),
            };
            // Whatever the caller's time was: it is over, perhaps.
            match self.combiner.submit(account, None, Arc::new(expunge)).await {
                Ok(page) if page.more => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::error!(%error, %account, copies = copies.len(), "copies could not be taken back");
                    return;
                }
            }
        }
    }

    /// Does `work` within the caller's time. What is given up then happened whole or not at all.
    async fn within<T>(
        &self,
        ctx: &Ctx,
        work: impl Future<Output = std::result::Result<T, Failure>> + Send,
    ) -> Result<T> {
        match ctx.deadline {
            None => Ok(work.await?),
            Some(at) => Ok(tokio::time::timeout_at(at.into(), work).await.map_err(|_| deadline())??),
        }
    }
}

pub(crate) fn refresh_gauges(shared: &Shared, combiner: &Combiner) {
    let (accounts, waiting) = combiner.depth();
    shared.telemetry.accounts_changing.set(accounts as f64);
    shared.telemetry.changes_waiting.set(waiting as f64);
    for ((entries, bytes), (_, count, size)) in shared.telemetry.caches.iter().zip(shared.caches.sizes()) {
        entries.set(count as f64);
        bytes.set(size as f64);
    }
}

/// Safe to run twice: it writes what it found missing.
async fn check_schema(shared: &Shared) -> std::result::Result<(), Failure> {
    let mut retry = Retry::idempotent(None);
    let key = shared.keys.schema();
    loop {
        let mut trx = shared.begin("schema");
        let failure = match trx.get(&key, ReadMode::Serializable).await {
            Ok(Some(raw)) if *raw == SCHEMA_VERSION.to_be_bytes() => return Ok(()),
            Ok(Some(raw)) => return Err(other_schema(&raw, &key)),
            Ok(None) => {
                trx.set(&key, &SCHEMA_VERSION.to_be_bytes());
                match trx.commit().await {
                    Ok(_) => return Ok(()),
                    Err(error) => error.into(),
                }
            }
            Err(error) => error.into(),
        };
        retry.again(failure).await?;
    }
}

/// The refusal of data that this release cannot read: reading it wrong would be worse than not serving.
fn other_schema(raw: &[u8], key: &[u8]) -> Failure {
    let Ok(found) = raw.try_into().map(u32::from_be_bytes) else { return corrupt("the schema version", key) };
    let text = if found > SCHEMA_VERSION {
        format!(
            "the data has schema version {found} and this release knows {SCHEMA_VERSION} at most: \
             start the release that wrote it or a later one"
        )
    } else {
        format!(
            "the data has schema version {found} and this release no longer knows it: start an earlier release first"
        )
    };
    Error::new(ErrorKind::Cannot, text).into()
}

fn parse(message: AppendMessage) -> Result<NewMessage> {
    let body = match message.body {
        AppendBody::Inline(octets) => {
            if octets.len() > BODY_INLINE_BYTES_MAX {
                return Err(invalid("an inline body is at most 256 KiB"));
            }
            let index = cpm_mime::parse(&octets, &Limits::default());
            NewBody::Inline { octets, index }
        }
        AppendBody::Staged(body) => NewBody::Staged(body),
    };
    let AppendMessage { flags, keywords, internal_date, annotations, .. } = message;
    Ok(NewMessage { flags, keywords, internal_date, annotations, body })
}

/// Answers `InvalidRequest` for changes of annotations that nobody may make.
fn check_annotations(changes: &[AnnotationChange]) -> Result<()> {
    let too_large = |value: &Bytes| value.len() > ANNOTATION_VALUE_BYTES_MAX;
    let wrong = changes.len() > ANNOTATION_CHANGES_MAX
        || changes
            .iter()
            .any(|change| !change.name.is_settable() || change.value.as_ref().is_some_and(too_large));
    if wrong {
        return Err(invalid(
            "an annotation is of an entry that clients do not set, its value is too large, or there are too many",
        ));
    }
    Ok(())
}

/// What one STORE did in several pages.
fn joined(before: Option<StoreOutcome>, page: StoreOutcome) -> StoreOutcome {
    match before {
        None => page,
        Some(before) => StoreOutcome {
            changed: before.changed.union(&page.changed),
            modified: before.modified.union(&page.modified),
            modseq: page.modseq,
            modseq_before: before.modseq_before,
        },
    }
}

async fn read_states(
    shared: &Shared,
    account: AccountId,
    mailboxes: &[MailboxId],
) -> std::result::Result<Vec<Option<FolderState>>, Failure> {
    let keys: Vec<Bytes> = mailboxes.iter().map(|mailbox| shared.keys.state(account, *mailbox)).collect();
    let values = reading!(Ok(shared.begin("status").get_many(&keys, ReadMode::Snapshot).await?));
    let mut states = Vec::with_capacity(keys.len());
    for (key, value) in keys.iter().zip(values) {
        states.push(match value {
            None => None,
            Some(raw) => Some(StateRecord::decode(&raw).ok_or_else(|| corrupt("state", key))?.folder),
        });
    }
    Ok(states)
}

async fn read_metadata(
    shared: &Shared,
    account: AccountId,
    mailboxes: &[Option<MailboxId>],
) -> std::result::Result<Vec<Metadata>, Failure> {
    let of_folder = |mailbox: &Option<MailboxId>| {
        [EntryScope::Private, EntryScope::Shared].map(|scope| shared.keys.metadata(account, *mailbox, scope))
    };
    let keys: Vec<Bytes> = mailboxes.iter().flat_map(of_folder).collect();
    let values = reading!(Ok(shared.begin("metadata").get_many(&keys, ReadMode::Snapshot).await?));
    let mut all = Vec::with_capacity(mailboxes.len());
    for (keys, values) in keys.chunks(2).zip(values.chunks(2)) {
        let mut metadata = Metadata::default();
        for (key, raw) in keys.iter().zip(values) {
            if let Some(raw) = raw {
                let record = MetadataRecord::decode(raw).ok_or_else(|| corrupt("metadata", key))?;
                metadata.extend(record.entries);
            }
        }
        all.push(metadata);
    }
    Ok(all)
}

/// Answers `NoPermission` to anyone but the operator.
fn operator(ctx: &Ctx) -> Result<()> {
    match ctx.requestor {
        Requestor::Operator => Ok(()),
        Requestor::User(_) | Requestor::Nobody => {
            Err(Error::new(ErrorKind::NoPermission, "only the operator may do this"))
        }
    }
}

/// Runs an operation, and notes how long it took.
macro_rules! measured {
    ($self:ident, $ctx:ident, $operation:ident, $body:expr) => {{
        let started = Instant::now();
        let span =
            tracing::debug_span!("store", operation = stringify!($operation), request = %$ctx.request());
        let result: Result<_> = async { $body }.instrument(span.clone()).await;
        span.in_scope(|| tracing::debug!(failed = result.is_err(), "operation ended"));
        $self.shared.telemetry.ended(Operation::$operation, started, &result);
        result
    }};
}

#[async_trait]
impl MailStore for Store {
    async fn account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<Option<Arc<Account>>> {
        measured!(self, ctx, Account, self.within(ctx, accounts::find(&self.shared, address)).await)
    }

    async fn create_account(&self, ctx: &Ctx, new: NewAccount) -> Result<AccountId> {
        measured!(self, ctx, CreateAccount, {
            operator(ctx)?;
            self.within(ctx, accounts::create(&self.shared, new)).await
        })
    }

    async fn set_credentials(&self, ctx: &Ctx, address: &CpmAddress, credentials: Credentials) -> Result<()> {
        measured!(self, ctx, SetCredentials, {
            operator(ctx)?;
            self.within(ctx, accounts::set_credentials(&self.shared, address, credentials)).await
        })
    }

    async fn configure_account(
        &self,
        ctx: &Ctx,
        address: &CpmAddress,
        state: AccountState,
        limits: QuotaLimits,
    ) -> Result<()> {
        measured!(self, ctx, ConfigureAccount, {
            operator(ctx)?;
            self.within(ctx, accounts::configure(&self.shared, address, state, limits)).await
        })
    }

    async fn set_service(&self, ctx: &Ctx, address: &CpmAddress, service: ServiceClass) -> Result<()> {
        measured!(self, ctx, SetService, {
            operator(ctx)?;
            self.within(ctx, accounts::set_service(&self.shared, address, service)).await
        })
    }

    async fn link_accounts(&self, ctx: &Ctx, addresses: &[CpmAddress]) -> Result<()> {
        measured!(self, ctx, LinkAccounts, {
            operator(ctx)?;
            self.within(ctx, accounts::link(&self.shared, addresses)).await
        })
    }

    async fn unlink_account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<()> {
        measured!(self, ctx, UnlinkAccount, {
            operator(ctx)?;
            self.within(ctx, accounts::unlink(&self.shared, address)).await
        })
    }

    async fn list_accounts(
        &self,
        ctx: &Ctx,
        after: Option<&CpmAddress>,
        limit: usize,
    ) -> Result<Vec<Arc<Account>>> {
        measured!(self, ctx, ListAccounts, {
            operator(ctx)?;
            self.within(ctx, accounts::list(&self.shared, after, limit)).await
        })
    }

    async fn remove_account(&self, ctx: &Ctx, address: &CpmAddress) -> Result<()> {
        measured!(self, ctx, RemoveAccount, {
            operator(ctx)?;
            self.within(ctx, accounts::remove(&self.shared, address)).await
        })
    }

    async fn quota(&self, ctx: &Ctx, account: AccountId) -> Result<Quota> {
        measured!(self, ctx, Quota, {
            authorize(ctx, account)?;
            self.within(ctx, accounts::quota(&self.shared, account)).await
        })
    }

    async fn folders(&self, ctx: &Ctx, account: AccountId) -> Result<Arc<FolderTree>> {
        measured!(self, ctx, Folders, {
            match Access::of(ctx, account) {
                Access::Owner => self.within(ctx, read_tree(&self.shared, account)).await,
                access => {
                    let tree = self.within(ctx, access::foreign_tree(&self.shared, account, access)).await?;
                    Ok(access.view(tree))
                }
            }
        })
    }

    async fn create_folder(
        &self,
        ctx: &Ctx,
        account: AccountId,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId> {
        measured!(self, ctx, CreateFolder, {
            let create = CreateFolder { name: name.clone(), special_use, by: Origin::of(ctx) };
            let needs = [Need::new(At::Above(name.clone()), Rights::CREATE)];
            self.change_as(ctx, account, needs, create).await
        })
    }

    async fn delete_folder(&self, ctx: &Ctx, account: AccountId, name: &MailboxName) -> Result<()> {
        measured!(self, ctx, DeleteFolder, {
            let access = Access::of(ctx, account);
            let delete = DeleteFolder { name: name.clone(), access, by: Origin::of(ctx) };
            let needs = [Need::new(At::Name(name.clone()), Rights::DELETE_MAILBOX)];
            self.change_as(ctx, account, needs, delete).await
        })
    }

    async fn rename_folder(
        &self,
        ctx: &Ctx,
        account: AccountId,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<()> {
        measured!(self, ctx, RenameFolder, {
            let needs = [
                Need::new(At::Name(from.clone()), Rights::DELETE_MAILBOX),
                Need::new(At::Above(to.clone()), Rights::CREATE),
            ];
            if !from.is_inbox() {
                let rename = RenameFolder { from: from.clone(), to: to.clone(), by: Origin::of(ctx) };
                return self.change_as(ctx, account, needs, rename).await;
            }
            if Access::of(ctx, account) != Access::Owner {
                let inbox = At::Name(from.clone());
                let rights = access::rights_at(&self.shared, ctx, account, &inbox);
                return Err(access::never(self.within(ctx, rights).await?));
            }
            let rename = RenameInbox { to: to.clone(), by: Origin::of(ctx) };
            let page = self.change(ctx, account, rename).await?;
            let request = CopyRequest {
                mode: CopyMode::Move,
                source: page.source,
                uids: UidSet::new(),
                target: to.clone(),
                missing: Missing::Skip,
            };
            self.copy_pages(ctx, account, request, Some(page)).await.map(drop)
        })
    }

    async fn subscribe(
        &self,
        ctx: &Ctx,
        account: AccountId,
        name: &MailboxName,
        subscribed: bool,
    ) -> Result<()> {
        measured!(self, ctx, Subscribe, {
            authorize(ctx, account)?;
            let subscribe = Subscribe { name: name.clone(), subscribed, by: Origin::of(ctx) };
            self.change(ctx, account, subscribe).await
        })
    }

    async fn status(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailboxes: &[MailboxId],
    ) -> Result<Vec<Option<FolderState>>> {
        measured!(self, ctx, Status, {
            let states = read_states(&self.shared, account, mailboxes);
            let access = Access::of(ctx, account);
            if access == Access::Owner {
                return self.within(ctx, states).await;
            }
            // The rights as they are after what they allow was read: nothing is told from after they were taken away.
            let states = self.within(ctx, states).await;
            let tree = self.within(ctx, access::foreign_tree(&self.shared, account, access)).await?;
            let may = |mailbox: &MailboxId| access.check(tree.by_id(*mailbox), Rights::READ);
            Ok(mailboxes
                .iter()
                .zip(states?)
                .map(|(mailbox, state)| state.filter(|_| may(mailbox).is_ok()))
                .collect())
        })
    }

    async fn metadata(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailboxes: &[Option<MailboxId>],
    ) -> Result<Vec<Metadata>> {
        measured!(self, ctx, Metadata, {
            if mailboxes.len() > METADATA_PER_REQUEST_MAX {
                return Err(invalid("metadata of more than 64 folders was asked for"));
            }
            let all = read_metadata(&self.shared, account, mailboxes);
            let access = Access::of(ctx, account);
            if access == Access::Owner {
                return self.within(ctx, all).await;
            }
            // As with counters.
            let all = self.within(ctx, all).await;
            let tree = self.within(ctx, access::foreign_tree(&self.shared, account, access)).await?;
            let may = |mailbox: MailboxId| {
                tree.by_id(mailbox).is_some_and(|entry| access::may_read_metadata(access.rights(entry)))
            };
            let all = all?;
            let told = mailboxes.iter().zip(&all).map(|(mailbox, metadata)| match mailbox {
                Some(mailbox) if may(*mailbox) => access::shared_entries(metadata),
                _ => Metadata::default(),
            });
            Ok(told.collect())
        })
    }

    async fn set_metadata(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: Option<MailboxId>,
        changes: Vec<MetadataChange>,
    ) -> Result<()> {
        measured!(self, ctx, SetMetadata, {
            let mut needs = Vec::new();
            if Access::of(ctx, account) != Access::Owner {
                let Some(mailbox) = mailbox else { return Err(no_such_mailbox()) };
                // RFC 5464 §3.3 leaves to the server what it takes to set what all see: what changes what all see.
                let needed = Rights::LOOKUP | Rights::WRITE;
                needs.push(Need::new(At::Id(mailbox), needed));
                if changes.iter().any(|(name, _)| name.scope() == EntryScope::Private) {
                    self.within(ctx, access::allow(&self.shared, ctx, account, mailbox, needed)).await?;
                    let text = "private entries are the owner's; you may set shared ones";
                    return Err(Error::new(ErrorKind::NoPermission, text));
                }
            }
            for (name, value) in &changes {
                let octets = value.as_ref().map_or(0, Bytes::len);
                if !name.is_settable() || octets > ENTRY_VALUE_BYTES_MAX {
                    return Err(invalid(
                        "a metadata entry is one that has no value, or its value is too large",
                    ));
                }
            }
            let set = SetMetadata { mailbox, changes, by: Origin::of(ctx) };
            self.change_as(ctx, account, needs, set).await
        })
    }

    async fn set_acl(
        &self,
        ctx: &Ctx,
        account: AccountId,
        owner: &CpmAddress,
        mailbox: MailboxId,
        change: &AclChange,
    ) -> Result<()> {
        measured!(self, ctx, SetAcl, {
            let (owner, change, by) = (owner.clone(), change.clone(), Origin::of(ctx));
            let needs = [Need::new(At::Id(mailbox), Rights::ADMINISTER)];
            self.change_as(ctx, account, needs, SetAcl { mailbox, owner, change, by }).await
        })
    }

    async fn shared_with(&self, ctx: &Ctx, account: AccountId) -> Result<Vec<(CpmAddress, AccountId)>> {
        measured!(self, ctx, SharedWith, {
            authorize(ctx, account)?;
            self.within(ctx, accounts::sharers(&self.shared, account)).await
        })
    }

    async fn folder(&self, ctx: &Ctx, account: AccountId, mailbox: MailboxId) -> Result<Arc<FolderSnapshot>> {
        measured!(self, ctx, Folder, {
            self.allow(ctx, account, mailbox, Rights::READ).await?;
            let folder = self.within(ctx, read_folder(&self.shared, account, mailbox)).await?;
            Ok(folder.snapshot.clone())
        })
    }

    async fn vanished(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
    ) -> Result<UidSet> {
        measured!(self, ctx, Vanished, {
            self.allow(ctx, account, mailbox, Rights::READ).await?;
            self.within(ctx, read_vanished(&self.shared, account, mailbox, since)).await
        })
    }

    async fn claim_recent(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        uid_next: u64,
    ) -> Result<()> {
        measured!(self, ctx, ClaimRecent, {
            self.allow(ctx, account, mailbox, Rights::READ | Rights::SEEN).await?;
            // The mark never goes back, so that a cached one that reaches far enough needs no look at the stored one.
            let cached = self.shared.caches.folder(account, mailbox);
            if cached.is_some_and(|cached| cached.snapshot.state.recent_uid >= uid_next) {
                return Ok(());
            }
            let state = self.within(ctx, read_states(&self.shared, account, &[mailbox])).await?;
            let state = state.into_iter().next().flatten().ok_or_else(no_such_mailbox)?;
            if state.recent_uid >= uid_next.min(state.uid_next) {
                return Ok(());
            }
            let needs = [Need::new(At::Id(mailbox), Rights::READ | Rights::SEEN)];
            self.change_as(ctx, account, needs, ClaimRecent { mailbox, uid_next }).await
        })
    }

    async fn stage_body(&self, ctx: &Ctx, account: AccountId, size: u64) -> Result<Box<dyn BodyWriter>> {
        measured!(self, ctx, StageBody, {
            self.within(ctx, access::allow_staging(&self.shared, ctx, account)).await?;
            if size > APPEND_BYTES_MAX {
                let text = format!("a message may have at most {APPEND_BYTES_MAX} octets");
                return Err(Error::new(ErrorKind::TooBig, text));
            }
            let body = self.change(ctx, account, Stage { size }).await?;
            let writer = StagedWriter::new(self.shared.clone(), account, body, size);
            Ok(Box::new(writer) as Box<dyn BodyWriter>)
        })
    }

    async fn append(&self, ctx: &Ctx, account: AccountId, request: AppendRequest) -> Result<Appended> {
        measured!(self, ctx, Append, {
            let target = At::Name(request.mailbox.clone());
            let rights = self.rights_at(ctx, account, &target).await?;
            let mut request = request;
            for message in &mut request.messages {
                check_annotations(&message.annotations)?;
                access::strip(message, rights);
            }
            let annotated = access::annotating(request.messages.iter());
            let needs = [Need::new(target, Rights::INSERT | access::of_flags(rights) | annotated)];
            let annotator = annotations::annotator(ctx, account);
            let messages = self.prepare(request.messages).await?;
            let (target, by) = (request.mailbox, Origin::of(ctx));
            let owner = Access::of(ctx, account) == Access::Owner;
            let append = Append { target, messages, replaced: None, annotator, by, owner };
            self.change_as(ctx, account, needs, append).await
        })
    }

    async fn replace(&self, ctx: &Ctx, account: AccountId, request: ReplaceRequest) -> Result<Appended> {
        measured!(self, ctx, Replace, {
            let target = At::Name(request.target.clone());
            let rights = self.rights_at(ctx, account, &target).await?;
            let mut request = request;
            check_annotations(&request.message.annotations)?;
            access::strip(&mut request.message, rights);
            let annotated = access::annotating([&request.message].into_iter());
            let needs = [
                Need::new(At::Id(request.source), access::REMOVAL),
                Need::new(target, Rights::INSERT | access::of_flags(rights) | annotated),
            ];
            let annotator = annotations::annotator(ctx, account);
            let messages = self.prepare(vec![request.message]).await?;
            let replaced = Some((request.source, request.uid));
            let (target, by) = (request.target, Origin::of(ctx));
            let owner = Access::of(ctx, account) == Access::Owner;
            let append = Append { target, messages, replaced, annotator, by, owner };
            self.change_as(ctx, account, needs, append).await
        })
    }

    async fn store_flags(&self, ctx: &Ctx, account: AccountId, request: StoreFlags) -> Result<StoreOutcome> {
        measured!(self, ctx, StoreFlags, {
            let mut request = request;
            let source = At::Id(request.mailbox);
            let rights = self.rights_at(ctx, account, &source).await?;
            let kept = access::limit(&mut request.change, rights)?;
            let needs = [Need::new(source, Rights::READ | access::of_flags(rights))];
            let mut outcome: Option<StoreOutcome> = None;
            loop {
                let page = ChangeFlags { request: request.clone(), kept, by: Origin::of(ctx) };
                let page = self.change_as(ctx, account, needs.clone(), page).await?;
                outcome = Some(joined(outcome, page.outcome));
                if page.rest.is_empty() {
                    return Ok(outcome.unwrap_or_default());
                }
                request.uids = page.rest;
            }
        })
    }

    async fn copy(&self, ctx: &Ctx, account: AccountId, request: CopyRequest) -> Result<CopyOutcome> {
        measured!(self, ctx, Copy, {
            let mut request = request;
            self.allow(ctx, account, request.source, Rights::READ).await?;
            if spans_pages(&request.uids) {
                // Messages that come in while pages are done are not meant; least of all copies into the same folder.
                let state = self.within(ctx, read_states(&self.shared, account, &[request.source])).await?;
                let state = state.into_iter().next().flatten().ok_or_else(no_such_mailbox)?;
                let last = u32::try_from(state.uid_next.saturating_sub(1)).unwrap_or(u32::MAX);
                let present = UidSet::from_ranges((last > 0).then_some((1, last)));
                request.uids = request.uids.intersection(&present);
            }
            self.copy_pages(ctx, account, request, None).await
        })
    }

    async fn expunge(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        within: Option<UidSet>,
    ) -> Result<ExpungeOutcome> {
        measured!(self, ctx, Expunge, {
            let needs = [Need::new(At::Id(mailbox), Rights::EXPUNGE)];
            let mut outcome = ExpungeOutcome::default();
            loop {
                let page =
                    Expunge { mailbox, which: Which::Deleted, within: within.clone(), by: Origin::of(ctx) };
                let page = self.change_as(ctx, account, needs.clone(), page).await?;
                outcome.uids = outcome.uids.union(&page.uids);
                outcome.modseq = page.modseq;
                if !page.more {
                    return Ok(outcome);
                }
            }
        })
    }

    async fn identities(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        uids: &UidSet,
    ) -> Result<Vec<(Uid, Identities)>> {
        measured!(self, ctx, Identities, {
            self.allow(ctx, account, mailbox, Rights::READ).await?;
            if uids.len() > INFOS_PER_REQUEST_MAX as u64 {
                return Err(invalid("a request asks for the devices of at most 1000 messages"));
            }
            self.within(ctx, identities::identities(&self.shared, account, mailbox, uids)).await
        })
    }

    async fn annotations(
        &self,
        ctx: &Ctx,
        account: AccountId,
        query: &AnnotationQuery,
    ) -> Result<AnnotationPage> {
        measured!(self, ctx, Annotations, {
            self.allow(ctx, account, query.mailbox, Rights::READ).await?;
            if !AnnotationPattern::are_few(&query.entries) {
                return Err(invalid("a request asks for the annotations of too many patterns"));
            }
            self.within(ctx, annotations::annotations(&self.shared, ctx, account, query)).await
        })
    }

    async fn store_annotations(
        &self,
        ctx: &Ctx,
        account: AccountId,
        request: StoreAnnotations,
    ) -> Result<StoreOutcome> {
        measured!(self, ctx, StoreAnnotations, {
            check_annotations(&request.changes)?;
            // RFC 5257 §3.4.
            let shared = request.changes.iter().any(|change| change.scope == EntryScope::Shared);
            let needed = if shared { Rights::READ | Rights::ANNOTATE } else { Rights::READ };
            let needs = [Need::new(At::Id(request.mailbox), needed)];
            let annotator = annotations::annotator(ctx, account);
            let (mut request, mut outcome) = (request, None);
            loop {
                let page = Annotate { request: request.clone(), annotator, by: Origin::of(ctx) };
                let page = self.change_as(ctx, account, needs.clone(), page).await?;
                outcome = Some(joined(outcome, page.outcome));
                if page.rest.is_empty() {
                    return Ok(outcome.unwrap_or_default());
                }
                request.uids = page.rest;
            }
        })
    }

    async fn annotation_news(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
    ) -> Result<Vec<AnnotationNews>> {
        measured!(self, ctx, AnnotationNews, {
            self.allow(ctx, account, mailbox, Rights::READ).await?;
            self.within(ctx, annotations::news(&self.shared, ctx, account, mailbox, since)).await
        })
    }

    async fn infos(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        bodies: &[BodyId],
    ) -> Result<Vec<Option<Arc<MessageIndex>>>> {
        measured!(self, ctx, Infos, {
            if bodies.len() > INFOS_PER_REQUEST_MAX {
                return Err(invalid("a request asks for the facts of at most 1000 messages"));
            }
            let readable = access::readable(&self.shared, ctx, account, mailbox, bodies);
            let readable = self.within(ctx, readable).await?;
            let mut infos = self.within(ctx, bodies::infos(&self.shared, account, bodies)).await?;
            if let Some(readable) = readable {
                for (info, body) in infos.iter_mut().zip(bodies) {
                    info.take_if(|_| !readable.contains(body));
                }
            }
            Ok(infos)
        })
    }

    async fn body(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: MailboxId,
        body: BodyId,
        range: Option<Range<u64>>,
    ) -> Result<BodyData> {
        measured!(self, ctx, Body, {
            let wanted = [body];
            let readable = access::readable(&self.shared, ctx, account, mailbox, &wanted);
            if self.within(ctx, readable).await?.is_some_and(|readable| readable.is_empty()) {
                return Err(Error::new(ErrorKind::Expunged, "the message is gone"));
            }
            self.within(ctx, bodies::body(&self.shared, account, body, range)).await
        })
    }

    async fn sign_reference(&self, ctx: &Ctx, account: AccountId, reference: &Reference) -> Result<Bytes> {
        measured!(self, ctx, SignReference, {
            self.within(ctx, references::sign(&self.shared, ctx, account, reference)).await
        })
    }

    async fn reset_reference_keys(
        &self,
        ctx: &Ctx,
        account: AccountId,
        mailbox: Option<MailboxId>,
    ) -> Result<()> {
        measured!(self, ctx, ResetReferenceKeys, {
            self.within(ctx, references::reset(&self.shared, ctx, account, mailbox)).await
        })
    }

    async fn checkpoint(&self, ctx: &Ctx, account: AccountId) -> Result<Option<Checkpoint>> {
        measured!(self, ctx, Checkpoint, {
            self.within(ctx, checkpoints::read(&self.shared, ctx, account)).await
        })
    }

    async fn set_checkpoint(&self, ctx: &Ctx, account: AccountId, checkpoint: &Checkpoint) -> Result<()> {
        measured!(self, ctx, SetCheckpoint, {
            self.within(ctx, checkpoints::write(&self.shared, ctx, account, checkpoint)).await
        })
    }

    async fn changes(&self, ctx: &Ctx, account: AccountId, since: ChangesSince) -> Result<Changes> {
        measured!(self, ctx, Changes, {
            self.within(ctx, changes::read(&self.shared, ctx, account, since)).await
        })
    }

    async fn referenced(&self, ctx: &Ctx, signed: &SignedReference) -> Result<Referenced> {
        measured!(self, ctx, Referenced, {
            self.within(ctx, references::message(&self.shared, ctx, signed)).await
        })
    }

    async fn referenced_body(
        &self,
        ctx: &Ctx,
        signed: &SignedReference,
        range: Option<Range<u64>>,
    ) -> Result<BodyData> {
        measured!(self, ctx, ReferencedBody, {
            self.within(ctx, references::body(&self.shared, ctx, signed, range)).await
        })
    }

    async fn search(&self, ctx: &Ctx, account: AccountId, request: &SearchRequest) -> Result<UidSet> {
        measured!(self, ctx, Search, {
            self.allow(ctx, account, request.mailbox, Rights::READ).await?;
            self.within(ctx, search::search(&self.shared, ctx, account, request)).await
        })
    }

    async fn search_many(
        &self,
        ctx: &Ctx,
        account: AccountId,
        request: &SearchManyRequest,
    ) -> Result<Vec<Option<UidSet>>> {
        measured!(self, ctx, SearchMany, {
            if request.mailboxes.len() > SEARCH_FOLDERS_MAX {
                return Err(invalid("a request searches at most 256 folders"));
            }
            let access = Access::of(ctx, account);
            if access == Access::Owner {
                let all = search::search_many(&self.shared, ctx, account, request, |_| true);
                return self.within(ctx, all).await;
            }
            let tree = self.within(ctx, access::foreign_tree(&self.shared, account, access)).await?;
            let may = |mailbox| access.check(tree.by_id(mailbox), Rights::READ).is_ok();
            self.within(ctx, search::search_many(&self.shared, ctx, account, request, may)).await
        })
    }
}
