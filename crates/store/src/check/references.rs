//! How many rows point at each body, against the count that is stored.
//!
//! Two passes. The first counts in a window of numbers, without regard to what changes meanwhile, and gives suspects.
//! The second follows the suspects alone: it notes in which blocks they are pointed at, and in one last transaction
//! reads again every block that the logs name since, with the notes of the sweeper, so that the count is as of one
//! version.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use cpm_mime::{IndexBuilder, Limits, MessageIndex};
use futures::StreamExt;
use kv::{RangeRequest, ReadMode, Transaction};
use model::{AccountId, Block, BlockNo, BodyId, MailboxId, ModSeq};
use store_api::{BodyData, Finding, FindingKind};

use super::folder::{BLOCKS_PER_PAGE, BLOCKS_SETTLED_MAX, ROUNDS_MAX, changed_since};
use super::{Check, read_all, remedied, transaction};
use crate::bodies;
use crate::failure::Failure;
use crate::keyspace::{KeyRange, PendingKind, Subspace};
use crate::mutations::append::indexed_headers;
use crate::records::{Ledger, Pending, StateRecord};
use crate::retry::{Retry, reading};
use crate::snapshot::after;

/// Numbers counted in one pass over the rows of an account.
const WINDOW: u64 = 1 << 20;
/// Suspects followed in one pass.
const SUSPECTS_MAX: usize = 1_000;

/// References to the bodies of a window of numbers.
pub(super) struct Counts {
    low: u64,
    end: u64,
    references: Vec<u32>,
}

impl Counts {
    /// The first window of all numbers below `end`.
    pub(super) fn first(end: u64) -> Self {
        Self::window(0, end)
    }

    /// Counts nothing.
    pub(super) fn none() -> Self {
        Self::window(0, 0)
    }

    fn window(low: u64, end: u64) -> Self {
        Self { low, end, references: vec![0; (end - low).min(WINDOW) as usize] }
    }

    /// The window after this one.
    pub(super) fn next(&self) -> Option<Self> {
        let low = self.low + WINDOW;
        (low < self.end).then(|| Self::window(low, self.end))
    }

    /// The numbers of the window. The last has no end: what was given out since is looked at too.
    pub(super) fn span(&self) -> (u64, u64) {
        let high = self.low + WINDOW;
        (self.low, if high < self.end { high } else { u64::MAX })
    }

    /// A row points at `body`.
    pub(super) fn add(&mut self, body: BodyId) {
        let at = body.0.checked_sub(self.low).and_then(|at| usize::try_from(at).ok());
        if let Some(count) = at.and_then(|at| self.references.get_mut(at)) {
            *count = count.saturating_add(1);
        }
    }

    /// The rows of a block point at their bodies.
    pub(super) fn add_rows(&mut self, block: &Block) {
        for row in block.rows() {
            self.add(row.body);
        }
    }

    /// The references to `body`, which are then forgotten. None for a body given out since the counting began.
    pub(super) fn take(&mut self, body: BodyId) -> Option<u32> {
        let at = body.0.checked_sub(self.low).and_then(|at| usize::try_from(at).ok())?;
        self.references.get_mut(at).map(std::mem::take)
    }

    /// The bodies that are pointed at and were not taken.
    pub(super) fn rest(&self) -> impl Iterator<Item = BodyId> + '_ {
        let pointed = self.references.iter().enumerate().filter(|(_, count)| **count > 0);
        pointed.map(|(at, _)| BodyId(self.low + at as u64))
    }
}

/// Counts what holds bodies beside the rows of folders that are there: released references, rows of folders that are
/// deleted or being restored.
pub(super) async fn count_unnamed(
    check: &mut Check,
    account: AccountId,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let range = check.shared.keys.pending_of_account(account);
    let works = reading!(
        Held::read(check, range.clone(), ReadMode::Snapshot, check.shared.begin_batch("check").as_mut())
            .await
    );
    for (body, times) in &works.released {
        (0..*times).for_each(|_| counts.add(*body));
    }
    for mailbox in works.unnamed {
        for_blocks(check, account, mailbox, |_, block| {
            counts.add_rows(block);
        })
        .await?;
    }
    Ok(())
}

/// Counts all that holds bodies.
pub(super) async fn count_all(
    check: &mut Check,
    account: AccountId,
    counts: &mut Counts,
) -> Result<(), Failure> {
    for mailbox in folders(check, account).await?.into_keys() {
        for_blocks(check, account, mailbox, |_, block| {
            counts.add_rows(block);
        })
        .await?;
    }
    count_unnamed(check, account, counts).await
}

/// The folders that have a state, with their last change.
async fn folders(check: &mut Check, account: AccountId) -> Result<BTreeMap<MailboxId, ModSeq>, Failure> {
    let range = check.shared.keys.subspace(account, Subspace::State);
    let pairs = reading!(
        read_all(check.shared.begin_batch("check").as_mut(), range.clone(), ReadMode::Snapshot).await
    );
    check.read(pairs.len()).await?;
    let keys = &check.shared.keys;
    let states = pairs.iter().filter_map(|pair| {
        Some((MailboxId(keys.id_of(&pair.key)?), StateRecord::decode(&pair.value)?.folder.highest_modseq))
    });
    Ok(states.collect())
}

/// Calls `each` with every block of a mailbox that can be read, a page in a transaction.
async fn for_blocks(
    check: &mut Check,
    account: AccountId,
    mailbox: MailboxId,
    mut each: impl FnMut(BlockNo, &Block) + Send,
) -> Result<(), Failure> {
    let KeyRange { mut begin, end } = check.shared.keys.blocks(account, mailbox);
    loop {
        let request = RangeRequest::new(begin, end.clone()).limit(BLOCKS_PER_PAGE);
        let page =
            reading!(Ok(check.shared.begin_batch("check").get_range(&request, ReadMode::Snapshot).await?));
        for pair in &page.pairs {
            if let (Some(number), Some(block)) =
                (check.shared.keys.block_of(&pair.key), Block::decode(&pair.value))
            {
                each(number, &block);
            }
        }
        check.read(page.pairs.len()).await?;
        match page.pairs.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => return Ok(()),
        }
    }
}

/// What the sweeper's notes hold.
#[derive(Default)]
struct Held {
    released: HashMap<BodyId, u64>,
    staged: BTreeSet<BodyId>,
    /// Mailboxes with rows but without a state.
    unnamed: BTreeSet<MailboxId>,
}

impl Held {
    async fn read(
        check: &Check,
        range: KeyRange,
        mode: ReadMode,
        trx: &mut dyn Transaction,
    ) -> Result<Self, Failure> {
        let mut held = Self { unnamed: check.strays.clone(), ..Self::default() };
        for pair in read_all(trx, range, mode).await? {
            match (check.shared.keys.pending_of(&pair.key), Pending::decode(&pair.value)) {
                (Some((_, PendingKind::Staged, id)), _) => drop(held.staged.insert(BodyId(id))),
                (Some((_, PendingKind::Folder | PendingKind::Restore, id)), _) => {
                    held.unnamed.insert(MailboxId(id));
                }
                (_, Some(Pending::Released(bodies))) => {
                    for body in bodies {
                        *held.released.entry(body).or_default() += 1;
                    }
                }
                _ => {}
            }
        }
        Ok(held)
    }
}

/// Where suspects are pointed at.
#[derive(Clone, Default)]
struct Pointers {
    /// The last change of each folder that `blocks` has taken in.
    seen: BTreeMap<MailboxId, ModSeq>,
    blocks: BTreeMap<(MailboxId, BlockNo), Vec<BodyId>>,
}

impl Pointers {
    fn put(
        &mut self,
        mailbox: MailboxId,
        number: BlockNo,
        block: Option<&Block>,
        suspects: &BTreeSet<BodyId>,
    ) {
        let rows = block.map_or(&[][..], Block::rows);
        let pointed: Vec<BodyId> =
            rows.iter().map(|row| row.body).filter(|body| suspects.contains(body)).collect();
        if pointed.is_empty() {
            self.blocks.remove(&(mailbox, number));
        } else {
            self.blocks.insert((mailbox, number), pointed);
        }
    }
}

/// Finds out which of the suspects are wrong, tells, and repairs.
pub(super) async fn verify(
    check: &mut Check,
    account: AccountId,
    suspects: BTreeSet<BodyId>,
) -> Result<(), Failure> {
    let suspects: Vec<BodyId> = suspects.into_iter().collect();
    for some in suspects.chunks(SUSPECTS_MAX) {
        follow(check, account, &some.iter().copied().collect()).await?;
    }
    Ok(())
}

async fn follow(check: &mut Check, account: AccountId, suspects: &BTreeSet<BodyId>) -> Result<(), Failure> {
    let mut pointers = Pointers { seen: folders(check, account).await?, ..Pointers::default() };
    for mailbox in pointers.seen.keys().copied().collect::<Vec<_>>() {
        for_blocks(check, account, mailbox, |number, block| {
            pointers.put(mailbox, number, Some(block), suspects);
        })
        .await?;
    }
    for _ in 0..ROUNDS_MAX {
        let (verdict, now) = transaction!(check, trx, {
            let mut now = pointers.clone();
            let (verdict, wrote) = settle(check, account, suspects, &mut now, trx.as_mut()).await?;
            Ok(((verdict, now), wrote))
        });
        pointers = now;
        match verdict {
            Verdict::Further => {}
            Verdict::Anew(mailbox) => {
                pointers.blocks.retain(|(of, _), _| *of != mailbox);
                let Some(modseq) = folders(check, account).await?.get(&mailbox).copied() else { continue };
                pointers.seen.insert(mailbox, modseq);
                for_blocks(check, account, mailbox, |number, block| {
                    pointers.put(mailbox, number, Some(block), suspects);
                })
                .await?;
            }
            Verdict::Done(mut findings, without_facts) => {
                for body in without_facts {
                    findings.push(facts(check, account, body).await?);
                }
                return check.tell(findings).await;
            }
        }
    }
    let text =
        format!("references to {} bodies changed too fast to be verified; check again", suspects.len());
    let finding = check.subject.finding(FindingKind::Unsettled, text);
    check.tell(vec![finding]).await
}

enum Verdict {
    /// Much had changed, and is taken in now.
    Further,
    /// This folder is new, or its log does not reach back.
    Anew(MailboxId),
    /// This is wrong, as of one version; and these bodies are held but have no facts that can be read.
    Done(Vec<Finding>, Vec<BodyId>),
}

/// Brings the pointers to the version of the transaction; when that is all, judges.
async fn settle(
    check: &Check,
    account: AccountId,
    suspects: &BTreeSet<BodyId>,
    pointers: &mut Pointers,
    trx: &mut dyn Transaction,
) -> Result<(Verdict, bool), Failure> {
    let (keys, mode) = (&check.shared.keys, check.mode());
    let nothing = Ok((Verdict::Done(Vec::new(), Vec::new()), false));
    let ledger_key = keys.ledger(account);
    let Some(mut ledger) = trx.get(&ledger_key, mode).await?.as_deref().and_then(Ledger::decode) else {
        return nothing;
    };
    let mut states = BTreeMap::new();
    for pair in read_all(trx, keys.subspace(account, Subspace::State), ReadMode::Snapshot).await? {
        let (Some(id), Some(state)) = (keys.id_of(&pair.key), StateRecord::decode(&pair.value)) else {
            return nothing;
        };
        states.insert(MailboxId(id), state);
    }
    // Folders that went: their rows are the sweeper's now.
    pointers.seen.retain(|mailbox, _| states.contains_key(mailbox));
    pointers.blocks.retain(|(mailbox, _), _| states.contains_key(mailbox));
    let mut budget = BLOCKS_SETTLED_MAX;
    for (mailbox, state) in &states {
        let seen = match pointers.seen.get(mailbox) {
            Some(seen) if *seen >= state.marks.log_from || *seen == state.folder.highest_modseq => *seen,
            _ => return Ok((Verdict::Anew(*mailbox), false)),
        };
        if seen == state.folder.highest_modseq {
            continue;
        }
        let (entries, blocks, partly) = changed_since(check, account, *mailbox, seen, trx).await?;
        let numbers: Vec<BlockNo> = blocks.into_iter().collect();
        let block_keys: Vec<Bytes> =
            numbers.iter().map(|number| keys.block(account, *mailbox, *number)).collect();
        let values = trx.get_many(&block_keys, ReadMode::Snapshot).await?;
        for (number, value) in numbers.iter().zip(&values) {
            let block = value.as_deref().map(Block::decode);
            if matches!(block, Some(None)) {
                // Who has which body is not known.
                return nothing;
            }
            pointers.put(*mailbox, *number, block.flatten().as_ref(), suspects);
        }
        let last = entries.last().map_or(seen, |entry| entry.modseq);
        pointers.seen.insert(*mailbox, if partly { last } else { state.folder.highest_modseq });
        budget = budget.saturating_sub(numbers.len());
        if partly || budget == 0 {
            return Ok((Verdict::Further, false));
        }
    }

    let held = Held::read(check, keys.pending_of_account(account), mode, trx).await?;
    let mut found: HashMap<BodyId, u64> = HashMap::new();
    for body in pointers.blocks.values().flatten() {
        *found.entry(*body).or_default() += 1;
    }
    for mailbox in held.unnamed.iter().filter(|mailbox| !states.contains_key(mailbox)) {
        // Without a log: all of it, here.
        for pair in read_all(trx, keys.blocks(account, *mailbox), ReadMode::Snapshot).await? {
            let Some(block) = Block::decode(&pair.value) else { return nothing };
            for row in block.rows() {
                *found.entry(row.body).or_default() += 1;
            }
        }
    }
    for (body, times) in &held.released {
        *found.entry(*body).or_default() += times;
    }
    let judged = judge(check, account, suspects, &held, &found, &mut ledger, trx).await?;
    if judged.2 {
        // Written, so that it conflicts with every other change.
        ledger.remember(check.shared.environment().random());
        trx.set_bytes(ledger_key, ledger.encode().into());
    }
    Ok((Verdict::Done(judged.0, judged.1), judged.2))
}

async fn judge(
    check: &Check,
    account: AccountId,
    suspects: &BTreeSet<BodyId>,
    held: &Held,
    found: &HashMap<BodyId, u64>,
    ledger: &mut Ledger,
    trx: &mut dyn Transaction,
) -> Result<(Vec<Finding>, Vec<BodyId>, bool), Failure> {
    let (keys, repair) = (&check.shared.keys, check.repair());
    let (mut findings, mut without_facts, mut wrote) = (Vec::new(), Vec::new(), false);
    let mut unheld = Vec::new();
    for body in suspects {
        let values = trx
            .get_many(
                &[keys.info(account, *body), keys.shares(account, *body), keys.chunk(account, *body, 0)],
                check.mode(),
            )
            .await?;
        let (info, shares, octets) = (&values[0], &values[1], &values[2]);
        let found = found.get(body).copied().unwrap_or_default();
        if found == 0 {
            let there = info.is_some() || shares.is_some() || octets.is_some() || {
                let KeyRange { begin, end } = keys.chunks(account, *body);
                !trx.get_range(&RangeRequest::new(begin, end).limit(1), ReadMode::Snapshot)
                    .await?
                    .pairs
                    .is_empty()
            };
            if !there || held.staged.contains(body) {
                continue;
            }
            if repair {
                if info.clone().is_some_and(|raw| MessageIndex::decode(raw).is_err()) {
                    // It says nothing of the index any more.
                    trx.clear(&keys.info(account, *body));
                }
                trx.clear(&keys.shares(account, *body));
                unheld.push(*body);
            }
            let finding = check.subject.of_body(FindingKind::Unheld, *body, "no message has it");
            findings.push(remedied(finding, repair));
            continue;
        }
        // What was only given up is to be cleared, and need not be whole.
        let pointed = found > held.released.get(body).copied().unwrap_or_default();
        if pointed && octets.is_none() {
            let text = format!("{found} messages have it, but its octets are missing");
            findings.push(check.subject.of_body(FindingKind::Octets, *body, text));
        }
        if pointed && info.clone().is_none_or(|raw| MessageIndex::decode(raw).is_err()) {
            without_facts.push(*body);
        }
        let stored = match shares {
            None => Some(1),
            Some(raw) => raw
                .as_ref()
                .try_into()
                .ok()
                .map(u64::from_le_bytes)
                .filter(|more| *more > 0)
                .map(|more| more + 1),
        };
        if stored != Some(found) {
            let said = stored.map_or_else(|| "cannot be read".to_owned(), |n| format!("is {n}"));
            let text = format!("{found} references, the count {said}");
            if repair {
                match found - 1 {
                    0 => trx.clear(&keys.shares(account, *body)),
                    more => trx.set(&keys.shares(account, *body), &more.to_le_bytes()),
                }
                wrote = true;
            }
            findings.push(remedied(check.subject.of_body(FindingKind::References, *body, text), repair));
        }
    }
    if !unheld.is_empty() {
        // As if each had lost its last reference: the sweeper clears them, however large they are.
        let key = keys.pending(account, PendingKind::Released, ledger.take_id());
        trx.set_bytes(key, Pending::Released(unheld).encode().into());
        check.shared.sweep.notify_one();
        wrote = true;
    }
    Ok((findings, without_facts, wrote))
}

/// A body that messages have, without facts: they follow from its octets, if these are whole.
async fn facts(check: &mut Check, account: AccountId, body: BodyId) -> Result<Finding, Failure> {
    let finding = check.subject.of_body(FindingKind::Facts, body, "its facts are missing or cannot be read");
    let Ok(index) = parse(check, account, body).await else { return Ok(finding) };
    if !check.repair() {
        return Ok(remedied(finding, false));
    }
    let keys = &check.shared.keys;
    let mut retry = Retry::idempotent(None);
    loop {
        let mut trx = check.shared.begin_batch("check");
        // Whoever clears the body meanwhile clears this too.
        if trx.get(&keys.chunk(account, body, 0), ReadMode::Serializable).await?.is_none() {
            return Ok(finding);
        }
        trx.set_bytes(keys.info(account, body), index.encode());
        for (header, value) in indexed_headers(&index) {
            trx.set_bytes(keys.header(account, header, value, body), Bytes::new());
        }
        match trx.commit().await {
            Ok(_) => return Ok(remedied(finding, true)),
            Err(error) => retry.again(error.into()).await?,
        }
    }
}

async fn parse(check: &Check, account: AccountId, body: BodyId) -> Result<MessageIndex, Failure> {
    let mut builder = IndexBuilder::new(Limits::default());
    match bodies::body(&check.shared, account, body, None).await? {
        BodyData::Whole(octets) => builder.push(&octets),
        BodyData::Pieces(_, mut pieces) => {
            while let Some(piece) = pieces.next().await {
                builder.push(&piece?);
            }
        }
    }
    Ok(builder.finish())
}
