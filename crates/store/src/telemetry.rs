//! Metrics. All labels come from fixed sets.

use std::time::Instant;

use cpm_mime::{MessageIndex, ObjectKind};
use metrics::{Counter, Gauge, Histogram};

macro_rules! operations {
    ($($name:ident => $label:literal,)*) => {
        /// An operation of the store, as metrics name it.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Operation { $($name),* }

        const LABELS: &[&str] = &[$($label),*];
    };
}

operations! {
    Account => "account",
    CreateAccount => "create_account",
    SetCredentials => "set_credentials",
    ConfigureAccount => "configure_account",
    SetService => "set_service",
    LinkAccounts => "link_accounts",
    UnlinkAccount => "unlink_account",
    ListAccounts => "list_accounts",
    RemoveAccount => "remove_account",
    Quota => "quota",
    Folders => "folders",
    CreateFolder => "create_folder",
    DeleteFolder => "delete_folder",
    RenameFolder => "rename_folder",
    Subscribe => "subscribe",
    Status => "status",
    Folder => "folder",
    Vanished => "vanished",
    ClaimRecent => "claim_recent",
    Metadata => "metadata",
    SetMetadata => "set_metadata",
    SetAcl => "set_acl",
    SharedWith => "shared_with",
    StageBody => "stage_body",
    Append => "append",
    Replace => "replace",
    StoreFlags => "store_flags",
    Copy => "copy",
    Expunge => "expunge",
    Identities => "identities",
    Annotations => "annotations",
    StoreAnnotations => "store_annotations",
    AnnotationNews => "annotation_news",
    Infos => "infos",
    Body => "body",
    SignReference => "sign_reference",
    ResetReferenceKeys => "reset_reference_keys",
    Checkpoint => "checkpoint",
    SetCheckpoint => "set_checkpoint",
    Changes => "changes",
    Referenced => "referenced",
    ReferencedBody => "referenced_body",
    Search => "search",
    SearchMany => "search_many",
}

/// Handles made once, so that a hot path looks up no name.
pub(crate) struct Telemetry {
    operations: Vec<Histogram>,
    failures: Vec<Counter>,
    pub(crate) batch_operations: Histogram,
    pub(crate) conflicts: Counter,
    pub(crate) unknown_commits: Counter,
    pub(crate) folder_hits: Counter,
    pub(crate) folder_refreshes: Counter,
    pub(crate) folder_loads: Counter,
    pub(crate) tree_hits: Counter,
    pub(crate) tree_misses: Counter,
    pub(crate) info_hits: Counter,
    pub(crate) info_misses: Counter,
    pub(crate) body_hits: Counter,
    pub(crate) body_misses: Counter,
    pub(crate) swept_bodies: Counter,
    pub(crate) swept_ranges: Counter,
    pub(crate) swept_works: Counter,
    pub(crate) reaped_messages: Counter,
    /// By kind, in the order of [`ObjectKind::ALL`].
    objects: Vec<Counter>,
    pub(crate) accounts_changing: Gauge,
    pub(crate) changes_waiting: Gauge,
    /// Entries and bytes of each cache, in the order of `Caches::sizes`.
    pub(crate) caches: [(Gauge, Gauge); 5],
}

impl Telemetry {
    /// Counts an object that is brought, and what is wrong with it. Mail is none.
    pub(crate) fn object(&self, index: &MessageIndex) {
        let kind = index.kind();
        if kind == ObjectKind::Mail {
            return;
        }
        if let Some(at) = ObjectKind::ALL.iter().position(|(known, _)| *known == kind) {
            self.objects[at].increment(1);
        }
        for fault in index.faults() {
            metrics::counter!("mss_store_object_faults_total", "header" => fault.about()).increment(1);
        }
    }

    pub(crate) fn new() -> Self {
        metrics::describe_histogram!(
            "mss_store_operation_seconds",
            metrics::Unit::Seconds,
            "Time of an operation of the store, queueing included."
        );
        metrics::describe_counter!("mss_store_failures_total", "Operations of the store that failed.");
        metrics::describe_histogram!(
            "mss_store_batch_operations",
            "Operations of one account that shared a transaction."
        );
        metrics::describe_counter!("mss_store_conflicts_total", "Batches that lost to another writer.");
        metrics::describe_counter!("mss_store_unknown_commits_total", "Commits whose result was not told.");
        metrics::describe_counter!("mss_store_cache_total", "Look-ups in a cache, by what they found.");
        metrics::describe_counter!(
            "mss_store_swept_total",
            "What the sweeper cleared away, and messages long \\Deleted that it expunged."
        );
        metrics::describe_gauge!("mss_store_accounts_changing", "Accounts with changes under way.");
        metrics::describe_gauge!("mss_store_changes_waiting", "Changes that wait for their batch.");
        metrics::describe_gauge!("mss_store_cache_entries", "Entries of a cache.");
        metrics::describe_gauge!("mss_store_cache_bytes", metrics::Unit::Bytes, "Memory of a cache, about.");
        metrics::describe_counter!(
            "mss_store_objects_total",
            "CPM objects that were brought, by their kind."
        );
        metrics::describe_counter!(
            "mss_store_object_faults_total",
            "What was wrong with CPM objects that were brought, by the header that it is about."
        );
        metrics::describe_counter!("mss_store_retries_total", "Transactions begun again, by the reason.");
        let cache = |cache: &'static str, result: &'static str| metrics::counter!("mss_store_cache_total", "cache" => cache, "result" => result);
        let swept = |what: &'static str| metrics::counter!("mss_store_swept_total", "what" => what);
        Self {
            operations: LABELS
                .iter()
                .map(|op| metrics::histogram!("mss_store_operation_seconds", "op" => *op))
                .collect(),
            objects: ObjectKind::ALL
                .iter()
                .map(|(_, kind)| metrics::counter!("mss_store_objects_total", "kind" => *kind))
                .collect(),
            failures: LABELS
                .iter()
                .map(|op| metrics::counter!("mss_store_failures_total", "op" => *op))
                .collect(),
            batch_operations: metrics::histogram!("mss_store_batch_operations"),
            conflicts: metrics::counter!("mss_store_conflicts_total"),
            unknown_commits: metrics::counter!("mss_store_unknown_commits_total"),
            folder_hits: cache("folders", "hit"),
            folder_refreshes: cache("folders", "refresh"),
            folder_loads: cache("folders", "miss"),
            tree_hits: cache("trees", "hit"),
            tree_misses: cache("trees", "miss"),
            info_hits: cache("infos", "hit"),
            info_misses: cache("infos", "miss"),
            body_hits: cache("bodies", "hit"),
            body_misses: cache("bodies", "miss"),
            swept_bodies: swept("bodies"),
            swept_ranges: swept("ranges"),
            swept_works: swept("works"),
            reaped_messages: swept("messages"),
            accounts_changing: metrics::gauge!("mss_store_accounts_changing"),
            changes_waiting: metrics::gauge!("mss_store_changes_waiting"),
            caches: crate::cache::NAMES.map(|cache| {
                let entries = metrics::gauge!("mss_store_cache_entries", "cache" => cache);
                (entries, metrics::gauge!("mss_store_cache_bytes", "cache" => cache))
            }),
        }
    }

    /// Notes the end of an operation begun at `started`.
    pub(crate) fn ended<T, E>(&self, operation: Operation, started: Instant, result: &Result<T, E>) {
        self.operations[operation as usize].record(started.elapsed().as_secs_f64());
        if result.is_err() {
            self.failures[operation as usize].increment(1);
        }
    }
}
