//! What is kept in memory: hot folders, trees, facts of messages, small bodies. Bounded by bytes; keys start with the
//! account.
//!
//! No answer depends on a cache. A folder is used only when the state it was built from is the stored one, byte for
//! byte; a tree only when its version is that of the ledger. Facts and bodies never change under their ids. Packed
//! headers say how far they cover their folder.

use std::sync::Arc;

use bytes::Bytes;
use cpm_mime::MessageIndex;
use model::{AccountId, BodyId, FolderSnapshot, MailboxId};
use moka::sync::Cache;
use store_api::FolderTree;

use crate::Options;
use crate::keyspace::IndexedHeader;
use crate::limits::CACHED_BODY_BYTES_MAX;
use crate::records::FolderMarks;
use crate::search::HeaderPack;

/// A folder, with the stored state it is true for.
pub(crate) struct CachedFolder {
    /// The stored state, as it stands under its key.
    pub(crate) raw: Bytes,
    /// What only the store's own work asks of it.
    pub(crate) marks: FolderMarks,
    /// The folder.
    pub(crate) snapshot: Arc<FolderSnapshot>,
}

/// All caches of a store.
pub(crate) struct Caches {
    folders: Cache<(AccountId, MailboxId), Arc<CachedFolder>>,
    trees: Cache<AccountId, Arc<FolderTree>>,
    infos: Cache<(AccountId, BodyId), Arc<MessageIndex>>,
    bodies: Cache<(AccountId, BodyId), Bytes>,
    headers: Cache<(AccountId, MailboxId, IndexedHeader), Arc<HeaderPack>>,
}

/// Names of the caches, in the order of [`Caches::sizes`].
pub(crate) const NAMES: [&str; 5] = ["folders", "trees", "infos", "bodies", "headers"];

/// Memory of a cache entry beside its value: key, counters, list nodes.
const ENTRY_BYTES: usize = 160;

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
}

impl Caches {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            folders: Cache::builder()
                .name("folders")
                .max_capacity(options.folder_cache_bytes)
                .weigher(|_, folder: &Arc<CachedFolder>| {
                    // As FolderSnapshot::weight, without a visit to every block.
                    let state = &folder.snapshot.state;
                    let rows = state.messages as usize * size_of::<model::MessageRow>();
                    let blocks = folder.snapshot.blocks().len() * 64;
                    weight(rows + blocks + state.keywords.slots().len() * 48 + folder.raw.len())
                })
                .build(),
            trees: Cache::builder()
                .name("trees")
                .max_capacity(options.tree_cache_bytes)
                .weigher(|_, tree: &Arc<FolderTree>| {
                    let names: usize =
                        tree.folders().iter().map(|f| f.name.as_str().len() + 80 + f.acl.weight()).sum();
                    let subscribed: usize = tree.subscribed().iter().map(|n| n.as_str().len() + 32).sum();
                    weight(names + subscribed)
                })
                .build(),
            infos: Cache::builder()
                .name("infos")
                .max_capacity(options.info_cache_bytes)
                .weigher(|_, info: &Arc<MessageIndex>| weight(info.encode().len()))
                .build(),
            bodies: Cache::builder()
                .name("bodies")
                .max_capacity(options.body_cache_bytes)
                .weigher(|_, body: &Bytes| weight(body.len()))
                .build(),
            headers: Cache::builder()
                .name("headers")
                .max_capacity(options.header_cache_bytes)
                .weigher(|_, pack: &Arc<HeaderPack>| weight(pack.weight()))
                .build(),
        }
    }

    pub(crate) fn folder(&self, account: AccountId, mailbox: MailboxId) -> Option<Arc<CachedFolder>> {
        self.folders.get(&(account, mailbox))
    }

    pub(crate) fn put_folder(&self, account: AccountId, folder: Arc<CachedFolder>) {
        self.folders.insert((account, folder.snapshot.mailbox), folder);
    }

    pub(crate) fn forget_folder(&self, account: AccountId, mailbox: MailboxId) {
        self.folders.invalidate(&(account, mailbox));
    }

    pub(crate) fn tree(&self, account: AccountId) -> Option<Arc<FolderTree>> {
        self.trees.get(&account)
    }

    pub(crate) fn put_tree(&self, account: AccountId, tree: Arc<FolderTree>) {
        self.trees.insert(account, tree);
    }

    pub(crate) fn forget_tree(&self, account: AccountId) {
        self.trees.invalidate(&account);
    }

    pub(crate) fn info(&self, account: AccountId, body: BodyId) -> Option<Arc<MessageIndex>> {
        self.infos.get(&(account, body))
    }

    pub(crate) fn put_info(&self, account: AccountId, body: BodyId, info: Arc<MessageIndex>) {
        self.infos.insert((account, body), info);
    }

    pub(crate) fn body(&self, account: AccountId, body: BodyId) -> Option<Bytes> {
        self.bodies.get(&(account, body))
    }

    /// Keeps a body, if it is small: a copy, since what an engine gives may be part of a larger buffer.
    pub(crate) fn put_body(&self, account: AccountId, body: BodyId, octets: &Bytes) {
        if octets.len() <= CACHED_BODY_BYTES_MAX {
            self.bodies.insert((account, body), Bytes::copy_from_slice(octets));
        }
    }

    pub(crate) fn headers(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        header: IndexedHeader,
    ) -> Option<Arc<HeaderPack>> {
        self.headers.get(&(account, mailbox, header))
    }

    pub(crate) fn put_headers(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        header: IndexedHeader,
        pack: Arc<HeaderPack>,
    ) {
        self.headers.insert((account, mailbox, header), pack);
    }

    pub(crate) fn forget_body(&self, account: AccountId, body: BodyId) {
        self.bodies.invalidate(&(account, body));
        self.infos.invalidate(&(account, body));
    }

    /// Name, entries and bytes of each cache, for gauges.
    pub(crate) fn sizes(&self) -> [(&'static str, u64, u64); 5] {
        let [folders, trees, infos, bodies, headers] = NAMES;
        [
            (folders, self.folders.entry_count(), self.folders.weighted_size()),
            (trees, self.trees.entry_count(), self.trees.weighted_size()),
            (infos, self.infos.entry_count(), self.infos.weighted_size()),
            (bodies, self.bodies.entry_count(), self.bodies.weighted_size()),
            (headers, self.headers.entry_count(), self.headers.weighted_size()),
        ]
    }
}
