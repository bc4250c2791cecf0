//! Looks through everything stored, and says what does not add up: what tests run after every run, and an operator
//! after an accident.
//!
//! It reads account by account, each in one transaction where it fits the engine's time; a change made meanwhile by
//! others cannot confuse it, since all of an account is then read at one version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use cpm_mime::MessageIndex;
use kv::{KeyValue, RangeRequest, ReadMode, Transaction};
use model::{AccountId, Block, BodyId, CpmAddress, Flags, MailboxId, ModSeq, Uid, UidSet, varint};
use store_api::QuotaUsage;

use crate::failure::Failure;
use crate::keyspace::{IndexedHeader, KeyRange, PendingKind, Subspace, TreeKey};
use crate::mutations::append::indexed_headers;
use crate::records::{AccountRecord, FolderRecord, Ledger, LogBatch, Pending, StateRecord};
use crate::retry::{Retry, reading};
use crate::shared::Shared;
use crate::snapshot::after;

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The account, where it is of one.
    pub account: Option<AccountId>,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.account {
            Some(account) => write!(f, "account {account}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Findings beyond these are counted, not kept.
const FINDINGS_MAX: usize = 1_000;

struct Findings {
    account: Option<AccountId>,
    all: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, text: impl fmt::Display) {
        if self.all.len() < FINDINGS_MAX {
            self.all.push(Finding { account: self.account, text: text.to_string() });
        }
    }

    fn equal<T: PartialEq + fmt::Debug>(&mut self, what: impl fmt::Display, stored: T, found: T) {
        if stored != found {
            self.add(format_args!("{what}: stored {stored:?}, found {found:?}"));
        }
    }
}

/// Reads everything and says what is wrong.
pub(crate) async fn check(shared: &Shared) -> Result<Vec<Finding>, Failure> {
    let mut findings = Findings { account: None, all: Vec::new() };
    let mut accounts: BTreeMap<AccountId, CpmAddress> = BTreeMap::new();
    let directory = shared.keys.directory_after(None);
    let records = reading!(read_all(shared.begin_batch("check").as_mut(), directory.clone()).await);
    for pair in records {
        match (shared.keys.address_of(&pair.key), AccountRecord::decode(&pair.value)) {
            (Some(address), Some(record)) => {
                if record.id.partition() != address.partition() {
                    findings.add(format_args!("{address} is in another partition than its account"));
                }
                if let Some(other) = accounts.insert(record.id, address.clone()) {
                    findings.add(format_args!("{address} and {other} share an account"));
                }
            }
            _ => findings.add(format_args!("unreadable account at {}", pair.key.escape_ascii())),
        }
    }
    for account in accounts_with_data(shared).await? {
        findings.account = Some(account);
        let (before, named) = (findings.all.len(), accounts.contains_key(&account));
        let mut retry = Retry::idempotent(None);
        while let Err(failure) = check_account(shared, account, named, &mut findings).await {
            findings.all.truncate(before);
            retry.again(failure).await?;
        }
        accounts.remove(&account);
    }
    findings.account = None;
    for (account, address) in accounts {
        findings.add(format_args!("{address} has no data under {account}"));
    }
    Ok(findings.all)
}

/// The accounts that have data, found by jumping from one to the next.
async fn accounts_with_data(shared: &Shared) -> Result<Vec<AccountId>, Failure> {
    let begin = shared.keys.account(AccountId(0)).begin;
    let end = shared.keys.account(AccountId(u64::MAX)).end;
    let mut request = RangeRequest::new(begin, end).limit(1);
    let mut accounts = Vec::new();
    loop {
        let page = reading!(Ok(shared.begin_batch("check").get_range(&request, ReadMode::Snapshot).await?));
        let Some(pair) = page.pairs.first() else { return Ok(accounts) };
        let Some(account) = shared.keys.account_of(&pair.key) else { return Ok(accounts) };
        accounts.push(account);
        request.begin = shared.keys.account(account).end;
    }
}

async fn read_all(trx: &mut dyn Transaction, range: KeyRange) -> Result<Vec<KeyValue>, Failure> {
    let mut all = Vec::new();
    let KeyRange { mut begin, end } = range;
    loop {
        let page = trx.get_range(&RangeRequest::new(begin, end.clone()), ReadMode::Snapshot).await?;
        all.extend(page.pairs);
        match all.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => return Ok(all),
        }
    }
}

/// What the rows of all folders add up to.
#[derive(Default)]
struct Rows {
    usage: QuotaUsage,
    /// How many rows point at each body, and its octets by them.
    bodies: BTreeMap<BodyId, (u64, u32)>,
    largest_id: u64,
}

async fn check_account(
    shared: &Shared,
    account: AccountId,
    named: bool,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let keys = &shared.keys;
    let mut trx = shared.begin_batch("check");
    let trx = trx.as_mut();
    let notes = read_all(trx, keys.pending_of_account(account)).await?;
    let mut pending: BTreeMap<(PendingKind, u64), Pending> = BTreeMap::new();
    for note in notes {
        match (keys.pending_of(&note.key), Pending::decode(&note.value)) {
            (Some((_, kind, id)), Some(work)) => drop(pending.insert((kind, id), work)),
            _ => findings.add(format_args!("unreadable work at {}", note.key.escape_ascii())),
        }
    }
    if pending.contains_key(&(PendingKind::Account, 0)) {
        // Being removed: its data is no longer whole, nor need it be.
        return Ok(());
    }
    if !named {
        findings.add("has data, but no address");
    }
    let Some(raw) = trx.get(&keys.ledger(account), ReadMode::Snapshot).await? else {
        findings.add("has no ledger");
        return Ok(());
    };
    let Some(ledger) = Ledger::decode(&raw) else {
        findings.add("unreadable ledger");
        return Ok(());
    };

    let mut selectable = BTreeSet::new();
    let mut names = BTreeSet::new();
    for pair in read_all(trx, keys.tree(account)).await? {
        match keys.tree_key_of(&pair.key) {
            Some(TreeKey::Folder(mailbox)) => match FolderRecord::decode(&pair.value) {
                Some(folder) => {
                    if !folder.noselect {
                        selectable.insert(mailbox);
                    }
                    if mailbox.0 >= ledger.next_id {
                        findings.add(format_args!("mailbox {mailbox} has a number not yet given"));
                    }
                    if !names.insert(folder.name.clone()) {
                        findings.add(format_args!("two mailboxes have the name {}", folder.name));
                    }
                }
                None => findings.add(format_args!("unreadable mailbox {mailbox}")),
            },
            Some(TreeKey::Subscription(_)) => {}
            None => findings.add(format_args!("unreadable key {}", pair.key.escape_ascii())),
        }
    }
    for name in &names {
        if let Some(parent) = name.parent().filter(|parent| !names.contains(parent)) {
            findings.add(format_args!("{name} stands below {parent}, which does not exist"));
        }
    }

    let mut rows = Rows::default();
    let mut with_state = BTreeSet::new();
    for pair in read_all(trx, keys.subspace(account, Subspace::State)).await? {
        let mailbox = MailboxId(keys.id_of(&pair.key).unwrap_or_default());
        with_state.insert(mailbox);
        match StateRecord::decode(&pair.value) {
            Some(state) => check_folder(shared, trx, account, mailbox, &state, &mut rows, findings).await?,
            None => findings.add(format_args!("mailbox {mailbox}: unreadable state")),
        }
    }
    findings.equal("mailboxes with a state", &with_state, &selectable);
    findings.equal("use of the account", ledger.usage, rows.usage);

    let blocks = folders_with(shared, trx, account, Subspace::Block).await?;
    let logs = folders_with(shared, trx, account, Subspace::Log).await?;
    for mailbox in blocks.union(&logs) {
        if !with_state.contains(mailbox) && !pending.contains_key(&(PendingKind::Folder, mailbox.0)) {
            findings.add(format_args!("mailbox {mailbox} is gone, but not its rows or log"));
        }
    }
    // Rows of deleted folders still hold their bodies until they are swept.
    for mailbox in blocks.difference(&with_state) {
        for pair in read_all(trx, keys.blocks(account, *mailbox)).await? {
            for row in Block::decode(&pair.value).unwrap_or_default().rows() {
                rows.bodies.entry(row.body).or_insert((0, row.size)).0 += 1;
            }
        }
    }
    check_bodies(shared, trx, account, &ledger, &pending, rows, findings).await
}

async fn folders_with(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    subspace: Subspace,
) -> Result<BTreeSet<MailboxId>, Failure> {
    let KeyRange { mut begin, end } = shared.keys.subspace(account, subspace);
    let mut folders = BTreeSet::new();
    loop {
        let request = RangeRequest::new(begin, end.clone()).limit(1);
        let page = trx.get_range(&request, ReadMode::Snapshot).await?;
        let Some(mailbox) = page.pairs.first().and_then(|pair| shared.keys.id_of(&pair.key)) else {
            return Ok(folders);
        };
        let mailbox = MailboxId(mailbox);
        folders.insert(mailbox);
        begin = match subspace {
            Subspace::Log => shared.keys.logs(account, mailbox).end,
            _ => shared.keys.blocks(account, mailbox).end,
        };
    }
}

async fn check_folder(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    mailbox: MailboxId,
    record: &StateRecord,
    rows: &mut Rows,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let keys = &shared.keys;
    let state = &record.folder;
    let (mut messages, mut unseen, mut deleted, mut bytes, mut deleted_bytes) = (0, 0, 0, 0, 0);
    let mut uids = UidSet::new();
    let mut modseqs: BTreeMap<Uid, ModSeq> = BTreeMap::new();
    for pair in read_all(trx, keys.blocks(account, mailbox)).await? {
        let Some(block) = Block::decode(&pair.value) else {
            findings.add(format_args!("mailbox {mailbox}: unreadable block"));
            continue;
        };
        if block.rows().is_empty() {
            findings.add(format_args!("mailbox {mailbox}: an empty block"));
        }
        for row in block.rows() {
            if keys.block_of(&pair.key) != Some(model::BlockNo::of(row.uid)) {
                findings.add(format_args!("mailbox {mailbox}: UID {} in a wrong block", row.uid));
            }
            if u64::from(row.uid.get()) >= state.uid_next {
                findings.add(format_args!("mailbox {mailbox}: UID {} is above UIDNEXT", row.uid));
            }
            if row.modseq > state.highest_modseq {
                findings.add(format_args!("mailbox {mailbox}: UID {} is above HIGHESTMODSEQ", row.uid));
            }
            let unknown = row.flags.keyword_indexes().find(|index| state.keywords.get(*index).is_none());
            if let Some(index) = unknown {
                findings.add(format_args!("mailbox {mailbox}: UID {} has keyword {index}", row.uid));
            }
            messages += 1;
            bytes += u64::from(row.size);
            unseen += u64::from(!row.flags.contains(Flags::SEEN));
            if row.flags.contains(Flags::DELETED) {
                deleted += 1;
                deleted_bytes += u64::from(row.size);
            }
            uids.insert(row.uid);
            modseqs.insert(row.uid, row.modseq);
            let body = rows.bodies.entry(row.body).or_insert((0, row.size));
            body.0 += 1;
            rows.largest_id = rows.largest_id.max(row.body.0);
        }
    }
    let counters = (state.messages, state.unseen, state.deleted, state.bytes, state.deleted_bytes);
    let found = (messages, unseen, deleted, bytes, deleted_bytes);
    findings.equal(format_args!("mailbox {mailbox}: counters"), counters, found);
    rows.usage.messages += messages;
    rows.usage.bytes += bytes;
    rows.usage.deleted_messages += deleted;
    rows.usage.deleted_bytes += deleted_bytes;

    // The log explains each row's MODSEQ, and removed nothing that is there.
    let (mut last, mut last_removal) = (record.log_from, ModSeq(0));
    let mut logged: BTreeMap<Uid, ModSeq> = BTreeMap::new();
    for pair in read_all(trx, keys.logs(account, mailbox)).await? {
        let Some(batch) = LogBatch::decode(&pair.value) else {
            findings.add(format_args!("mailbox {mailbox}: unreadable log"));
            continue;
        };
        if keys.log_modseq_of(&pair.key) != batch.entries.last().map(|entry| entry.modseq) {
            findings.add(format_args!("mailbox {mailbox}: log entries under a wrong key"));
        }
        for entry in &batch.entries {
            if entry.modseq != last.next() {
                findings.add(format_args!("mailbox {mailbox}: the log goes from {last} to {}", entry.modseq));
            }
            last = entry.modseq;
            if !entry.removed.is_empty() {
                last_removal = entry.modseq;
            }
            for uid in entry.removed.intersection(&uids).iter() {
                findings.add(format_args!("mailbox {mailbox}: UID {uid} was removed but is there"));
            }
            for uid in entry.changed.intersection(&uids).iter() {
                logged.insert(uid, entry.modseq);
            }
        }
    }
    findings.equal(format_args!("mailbox {mailbox}: HIGHESTMODSEQ and log"), state.highest_modseq, last);
    if last_removal > ModSeq(0) {
        findings.equal(format_args!("mailbox {mailbox}: last removal"), state.expunge_modseq, last_removal);
    }
    for (uid, modseq) in modseqs {
        let explained = logged.get(&uid).copied();
        if explained != Some(modseq) && !(explained.is_none() && modseq <= record.log_from) {
            findings
                .add(format_args!("mailbox {mailbox}: UID {uid} has MODSEQ {modseq}, logged {explained:?}"));
        }
    }
    Ok(())
}

/// Bodies against the rows and works that hold them.
async fn check_bodies(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    ledger: &Ledger,
    pending: &BTreeMap<(PendingKind, u64), Pending>,
    mut rows: Rows,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let keys = &shared.keys;
    let mut staged = BTreeSet::new();
    for ((kind, id), work) in pending {
        match work {
            Pending::Staged { .. } => drop(staged.insert(BodyId(*id))),
            Pending::Released(bodies) => {
                for body in bodies {
                    rows.bodies.entry(*body).or_insert((0, u32::MAX)).0 += 1;
                }
            }
            Pending::Marked => {}
        }
        if *id >= ledger.next_id {
            findings.add(format_args!("work {kind:?} has number {id}, not yet given"));
        }
    }
    if rows.largest_id >= ledger.next_id {
        findings.add(format_args!("a body has number {}, not yet given", rows.largest_id));
    }
    let mut infos: BTreeMap<BodyId, MessageIndex> = BTreeMap::new();
    for pair in read_all(trx, keys.subspace(account, Subspace::Info)).await? {
        let body = BodyId(keys.id_of(&pair.key).unwrap_or_default());
        match MessageIndex::decode(pair.value) {
            Ok(info) => drop(infos.insert(body, info)),
            Err(error) => findings.add(format_args!("body {body}: {error}")),
        }
    }
    let mut shares: BTreeMap<BodyId, u64> = BTreeMap::new();
    for pair in read_all(trx, keys.subspace(account, Subspace::Shares)).await? {
        let body = BodyId(keys.id_of(&pair.key).unwrap_or_default());
        let count = pair.value.as_ref().try_into().map_or(0, u64::from_le_bytes);
        if count == 0 {
            findings.add(format_args!("body {body}: a useless count of references"));
        }
        shares.insert(body, count);
    }
    let mut octets: BTreeMap<BodyId, (u64, u64)> = BTreeMap::new();
    for pair in read_all(trx, keys.subspace(account, Subspace::Chunk)).await? {
        let body = BodyId(keys.id_of(&pair.key).unwrap_or_default());
        if let Some((_, found)) = octets.get_mut(&body) {
            *found += pair.value.len() as u64;
            continue;
        }
        let mut rest = &pair.value[..];
        let total = varint::take(&mut rest).unwrap_or_default();
        octets.insert(body, (total, rest.len() as u64));
    }
    let mut entries: BTreeSet<Bytes> = BTreeSet::new();
    for (header, _) in IndexedHeader::ALL {
        let pairs = read_all(trx, keys.header_values(account, header)).await?;
        entries.extend(pairs.into_iter().map(|pair| pair.key));
    }

    for (body, (references, size)) in &rows.bodies {
        let Some(info) = infos.get(body) else {
            findings.add(format_args!("body {body} has no facts"));
            continue;
        };
        let stored = shares.remove(body).unwrap_or_default() + 1;
        findings.equal(format_args!("body {body}: references"), stored, *references);
        if *size != u32::MAX {
            findings.equal(format_args!("body {body}: size in its rows"), u64::from(*size), info.size());
        }
        findings.equal(
            format_args!("body {body}: octets"),
            octets.get(body).copied(),
            Some((info.size(), info.size())),
        );
        for (header, value) in indexed_headers(info) {
            if !entries.remove(&keys.header(account, header, value, *body)) {
                findings.add(format_args!("body {body}: {header:?} is not in the index"));
            }
        }
    }
    let unheld = |body: &BodyId| !rows.bodies.contains_key(body) && !staged.contains(body);
    for body in infos.keys().chain(octets.keys()).filter(|body| unheld(body)).collect::<BTreeSet<_>>() {
        findings.add(format_args!("body {body} is held by nothing"));
    }
    for body in shares.keys() {
        findings.add(format_args!("body {body} has a count of references, but nothing holds it"));
    }
    for key in entries {
        let body = keys.header_value_of(&key).map(|(_, body)| body);
        if body.is_none_or(|body| !staged.contains(&body)) {
            findings.add(format_args!("index entry of body {body:?}, which does not have it"));
        }
    }
    Ok(())
}
