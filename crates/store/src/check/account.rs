//! One account: what is small of it in one transaction, then its folders, then its bodies.

use std::collections::{BTreeMap, BTreeSet};

use kv::{RangeRequest, Transaction};
use model::{AccountId, Acl, CpmAddress, MailboxId, MailboxName};
use store_api::{Finding, FindingKind, QuotaUsage};

use super::references::Counts;
use super::{
    Check, annotations, bodies, checkpoints, folder, identities, metadata, notices, notified, read_all,
    references, remedied, sharing, strays, transaction, wake,
};
use crate::failure::Failure;
use crate::keyspace::{KeyRange, PendingKind, Subspace, TreeKey};
use crate::records::{AccountRecord, FolderRecord, Ledger, NewsRecord, Pending, StateRecord};

/// What the later parts need to know of an account.
pub(super) struct Outline {
    /// Folders that have a state.
    pub(super) folders: BTreeSet<MailboxId>,
    /// Folders that have a name, but no state that can be read.
    pub(super) stateless: BTreeSet<MailboxId>,
    /// Numbers were given out below this.
    pub(super) next_id: u64,
}

/// Checks the account of `address`, whose record names `account`.
pub(super) async fn check(
    check: &mut Check,
    address: &CpmAddress,
    account: AccountId,
) -> Result<(), Failure> {
    let Some(outline) = small(check, address, account).await? else { return Ok(()) };
    strays::rows(check, account, &outline).await?;
    let mut counts = Counts::first(outline.next_id);
    for mailbox in &outline.folders {
        folder::check(check, account, *mailbox, &mut counts).await?;
    }
    annotations::check(check, account, &outline).await?;
    usage(check, account).await?;
    bodies::headers(check, account).await?;
    notified::check(check, account).await?;
    metadata::check(check, account).await?;
    identities::check(check, account).await?;
    notices::devices(check, account).await?;
    checkpoints::check(check, account).await?;
    sharing::check(check, address, account).await?;
    let mut suspects = BTreeSet::new();
    let mut first = true;
    loop {
        if first {
            references::count_unnamed(check, account, &mut counts).await?;
        } else {
            references::count_all(check, account, &mut counts).await?;
        }
        first = false;
        bodies::check(check, account, &mut counts, &mut suspects).await?;
        match counts.next() {
            Some(next) => counts = next,
            None => break,
        }
    }
    if check.blind {
        // A body that seems nobody's may be that of a row which cannot be read.
        return Ok(());
    }
    references::verify(check, account, suspects).await
}

/// Ledger, tree, states and works in one transaction. None when the account is gone, or cannot be looked into.
async fn small(
    check: &mut Check,
    address: &CpmAddress,
    account: AccountId,
) -> Result<Option<Outline>, Failure> {
    let (findings, outline, records, blind) = transaction!(check, trx, {
        let mut look = Look {
            check,
            account,
            findings: Vec::new(),
            wrote: false,
            records: 0,
            blind: false,
            given: 0,
            nameless: BTreeSet::new(),
            counted: 0,
            void: false,
        };
        let outline = look.look(trx.as_mut(), address).await?;
        Ok(((look.findings, outline, look.records, look.blind), look.wrote))
    });
    check.blind = blind;
    check.tell(findings).await?;
    check.read(records).await?;
    Ok(outline)
}

/// The folders of a tree.
type Tree = BTreeMap<MailboxId, FolderRecord>;

struct Look<'c> {
    check: &'c Check,
    account: AccountId,
    findings: Vec<Finding>,
    wrote: bool,
    records: usize,
    blind: bool,
    /// Numbers were given out below this, by what is there.
    given: u64,
    /// Folders whose entry in the tree cannot be read.
    nameless: BTreeSet<MailboxId>,
    /// The last change that is noted anywhere.
    counted: u64,
    /// What changed since a token cannot be told any more, for any token.
    void: bool,
}

impl Look<'_> {
    fn add(&mut self, kind: FindingKind, text: impl std::fmt::Display) {
        self.findings.push(self.check.subject.finding(kind, text));
    }

    fn add_repairable(&mut self, kind: FindingKind, text: impl std::fmt::Display) {
        let finding = self.check.subject.finding(kind, text);
        self.findings.push(remedied(finding, self.check.repair()));
        self.wrote |= self.check.repair();
    }

    async fn look(
        &mut self,
        trx: &mut dyn Transaction,
        address: &CpmAddress,
    ) -> Result<Option<Outline>, Failure> {
        let (keys, account, mode) = (&self.check.shared.keys, self.account, self.check.mode());
        let heads = [keys.directory(address), keys.ledger(account)];
        let [record, raw] = &trx.get_many(&heads, mode).await?[..] else { return Ok(None) };
        match record.as_deref().map(AccountRecord::decode) {
            Some(Some(record)) if record.id == account => {}
            // Removed meanwhile, or the address was given again.
            _ => return Ok(None),
        }
        if account.partition() != address.partition() {
            self.add(FindingKind::Account, "the account is in another partition than its address");
        }
        let Some(raw) = raw else {
            self.add(FindingKind::Ledger, "the account has no ledger");
            return Ok(None);
        };
        let Some(mut ledger) = Ledger::decode(raw) else {
            self.add(FindingKind::Ledger, "the ledger cannot be read");
            return Ok(None);
        };
        let stored = ledger.clone();
        let works = self.works(trx).await?;
        let (tree, missing) = self.tree(trx).await?;
        let (folders, stateless) = self.states(trx, &mut ledger, &tree, &works).await?;
        self.news(trx).await?;
        if self.counted > stored.changes {
            let (counted, last) = (stored.changes, self.counted);
            self.void = true;
            let text = format_args!("{counted} changes are counted, but change {last} is noted");
            self.add_repairable(FindingKind::LedgerMarks, text);
        }
        self.blind = !stateless.is_empty();

        // Bodies have numbers too.
        for subspace in [Subspace::Info, Subspace::Chunk, Subspace::Shares] {
            let KeyRange { begin, end } = keys.subspace(account, subspace);
            let last = trx.get_range(&RangeRequest::new(begin, end).limit(1).reverse(), mode).await?;
            if let Some(id) = last.pairs.first().and_then(|pair| keys.id_of(&pair.key)) {
                self.given = self.given.max(id.saturating_add(1));
            }
        }
        if self.given > stored.next_id {
            ledger.next_id = self.given;
            let text = format_args!("the next number is {}, but {} is given", stored.next_id, self.given - 1);
            self.add_repairable(FindingKind::LedgerMarks, text);
        }
        if ledger.last_uid_validity > stored.last_uid_validity {
            let (last, given) = (stored.last_uid_validity, ledger.last_uid_validity);
            let text = format_args!("the last UIDVALIDITY is {last}, but {given} is given");
            self.add_repairable(FindingKind::LedgerMarks, text);
        }
        if self.check.repair() {
            for name in missing {
                let folder = FolderRecord { name, special_use: None, noselect: true, acl: Acl::default() };
                let key = keys.folder(account, MailboxId(ledger.take_id()));
                trx.set_bytes(key, folder.encode().into());
                ledger.tree_version += 1;
                self.void = true;
            }
        }
        if self.check.repair() && self.void {
            // Who holds a token is told of everything.
            ledger.next_era(self.check.shared.environment().random(), self.counted);
            trx.clear(&keys.news(account));
        }
        if self.check.repair() && ledger != stored {
            trx.set_bytes(keys.ledger(account), ledger.encode().into());
            wake(&self.check.shared, trx, account, None, model::ModSeq(0));
        }
        Ok(Some(Outline { folders, stateless, next_id: ledger.next_id }))
    }

    /// The notes for the sweeper, by kind and number.
    async fn works(&mut self, trx: &mut dyn Transaction) -> Result<BTreeSet<(PendingKind, u64)>, Failure> {
        let keys = &self.check.shared.keys;
        let mut works = BTreeSet::new();
        let pairs = read_all(trx, keys.pending_of_account(self.account), self.check.mode()).await?;
        self.records += pairs.len();
        for pair in pairs {
            let Some((_, kind, id)) = keys.pending_of(&pair.key) else {
                let text = format_args!("the work at {} cannot be read", pair.key.escape_ascii());
                self.add_repairable(FindingKind::Work, text);
                if self.check.repair() {
                    trx.clear(&pair.key);
                }
                continue;
            };
            let fits = matches!(
                (kind, Pending::decode(&pair.value)),
                (PendingKind::Staged, Some(Pending::Staged { .. }))
                    | (PendingKind::Released, Some(Pending::Released(_)))
                    | (PendingKind::Restore, Some(Pending::Restoring(_)))
                    | (PendingKind::Folder | PendingKind::Log | PendingKind::Account, Some(Pending::Marked))
            );
            let all_in_key = matches!(kind, PendingKind::Folder | PendingKind::Log | PendingKind::Account);
            if !fits {
                self.add_repairable(FindingKind::Work, format_args!("the work {kind:?} {id} cannot be read"));
                // What the note of a body or a restore said, the count of references finds out.
                match (self.check.repair(), all_in_key) {
                    (false, _) => {}
                    (true, true) => trx.set_bytes(pair.key.clone(), Pending::Marked.encode().into()),
                    (true, false) => trx.clear(&pair.key),
                }
            }
            if fits || all_in_key {
                works.insert((kind, id));
            }
            self.given = self.given.max(id.saturating_add(1));
        }
        Ok(works)
    }

    /// What changed of folders that no MODSEQ tells of.
    async fn news(&mut self, trx: &mut dyn Transaction) -> Result<(), Failure> {
        let key = self.check.shared.keys.news(self.account);
        let Some(raw) = trx.get(&key, self.check.mode()).await? else { return Ok(()) };
        self.records += 1;
        match NewsRecord::decode(&raw) {
            Some(news) => {
                let last = news.entries.last().map_or(news.from, |(change, ..)| *change);
                self.counted = self.counted.max(last);
            }
            None => {
                self.void = true;
                self.add_repairable(FindingKind::LedgerMarks, "the last changes of folders cannot be read");
            }
        }
        Ok(())
    }

    /// The folders of the tree, by number, and the levels that are missing.
    async fn tree(&mut self, trx: &mut dyn Transaction) -> Result<(Tree, Vec<MailboxName>), Failure> {
        let keys = &self.check.shared.keys;
        let (mut folders, mut names) = (BTreeMap::new(), BTreeSet::<MailboxName>::new());
        let pairs = read_all(trx, keys.tree(self.account), self.check.mode()).await?;
        self.records += pairs.len();
        for pair in pairs {
            match keys.tree_key_of(&pair.key) {
                Some(TreeKey::Folder(mailbox)) => match FolderRecord::decode(&pair.value) {
                    Some(folder) => {
                        self.given = self.given.max(mailbox.0.saturating_add(1));
                        if !names.insert(folder.name.clone()) {
                            self.add(
                                FindingKind::Tree,
                                format_args!("two mailboxes have the name {}", folder.name),
                            );
                        }
                        folders.insert(mailbox, folder);
                    }
                    None => {
                        self.nameless.insert(mailbox);
                        let text = format_args!("the entry of mailbox {mailbox} cannot be read");
                        self.add(FindingKind::Tree, text);
                    }
                },
                Some(TreeKey::Subscription(_)) => {}
                None => {
                    let text = format_args!("the entry at {} cannot be read", pair.key.escape_ascii());
                    self.add(FindingKind::Tree, text);
                }
            }
        }
        let mut missing = Vec::new();
        for name in names.clone() {
            for parent in name.ancestors() {
                if names.insert(parent.clone()) {
                    let text = format_args!("{parent}, above {name}, is missing");
                    self.add_repairable(FindingKind::Tree, text);
                    missing.push(parent);
                }
            }
        }
        Ok((folders, missing))
    }

    /// The folders that have a state which can be read, and those that should have one.
    async fn states(
        &mut self,
        trx: &mut dyn Transaction,
        ledger: &mut Ledger,
        tree: &Tree,
        works: &BTreeSet<(PendingKind, u64)>,
    ) -> Result<(BTreeSet<MailboxId>, BTreeSet<MailboxId>), Failure> {
        let keys = &self.check.shared.keys;
        let (mut readable, mut present, mut stateless) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let pairs = read_all(trx, keys.subspace(self.account, Subspace::State), self.check.mode()).await?;
        self.records += pairs.len();
        for pair in pairs {
            let Some(mailbox) = keys.id_of(&pair.key).map(MailboxId) else { continue };
            present.insert(mailbox);
            match StateRecord::decode(&pair.value) {
                Some(state) => {
                    let given = state.folder.uid_validity.get();
                    ledger.last_uid_validity = ledger.last_uid_validity.max(given);
                    self.counted = self.counted.max(state.marks.changed);
                    readable.insert(mailbox);
                }
                None => {
                    stateless.insert(mailbox);
                    let text = format_args!("the state of mailbox {mailbox} cannot be read");
                    self.add(FindingKind::State, text);
                }
            }
            match tree.get(&mailbox) {
                Some(folder) if !folder.noselect => {}
                _ => self.add(FindingKind::State, format_args!("mailbox {mailbox} has messages but no name")),
            }
        }
        for (mailbox, folder) in tree {
            if !folder.noselect && !present.contains(mailbox) {
                stateless.insert(*mailbox);
                let text = format_args!("{} (mailbox {mailbox}) has no state", folder.name);
                self.add(FindingKind::State, text);
            }
        }
        // Whether these should have one, nobody knows.
        stateless.extend(self.nameless.difference(&present));
        let twice = works.iter().filter(|(kind, id)| {
            matches!(kind, PendingKind::Folder | PendingKind::Restore) && present.contains(&MailboxId(*id))
        });
        for (kind, id) in twice.copied().collect::<Vec<_>>() {
            // The sweeper would clear what is in use.
            self.add_repairable(
                FindingKind::Work,
                format_args!("the work {kind:?} is of mailbox {id:016x}, which is there"),
            );
            if self.check.repair() {
                trx.clear(&keys.pending(self.account, kind, id));
            }
        }
        Ok((readable, stateless))
    }
}

/// What is used, by the ledger and by the states of all folders: one transaction.
async fn usage(check: &mut Check, account: AccountId) -> Result<(), Failure> {
    let (finding, records) = transaction!(check, trx, compare_usage(check, account, trx.as_mut()).await);
    check.tell(finding.into_iter().collect()).await?;
    check.read(records).await
}

/// What is wrong with the use, the records read, and whether it was written.
async fn compare_usage(
    check: &Check,
    account: AccountId,
    trx: &mut dyn Transaction,
) -> Result<((Option<Finding>, usize), bool), Failure> {
    let keys = &check.shared.keys;
    let key = keys.ledger(account);
    let raw = trx.get(&key, check.mode()).await?;
    let Some(mut ledger) = raw.as_deref().and_then(Ledger::decode) else { return Ok(((None, 1), false)) };
    let mut used = QuotaUsage::default();
    let pairs = read_all(trx, keys.subspace(account, Subspace::State), check.mode()).await?;
    let states: Vec<StateRecord> = pairs.iter().filter_map(|pair| StateRecord::decode(&pair.value)).collect();
    for StateRecord { folder, marks } in &states {
        used.bytes += folder.bytes + marks.annotation_bytes;
        used.messages += folder.messages;
        used.deleted_bytes += folder.deleted_bytes;
        used.deleted_messages += folder.deleted;
    }
    if states.len() < pairs.len() || ledger.usage == used {
        return Ok(((None, pairs.len()), false));
    }
    let text = format!("by the ledger {:?} are in use, by the folders {used:?}", ledger.usage);
    if check.repair() {
        ledger.usage = used;
        trx.set_bytes(key, ledger.encode().into());
    }
    let finding = remedied(check.subject.finding(FindingKind::Usage, text), check.repair());
    Ok(((Some(finding), pairs.len()), check.repair()))
}
