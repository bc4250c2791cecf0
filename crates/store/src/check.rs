//! Looks through what is stored, says what does not add up, and puts right what follows from the rest.
//!
//! It runs beside readers and writers, in short transactions, and holds a bounded amount of memory whatever an
//! account holds. Three ways keep it from false alarms:
//! - What stands under a few keys (a ledger with its folders, a body with its entries in the index) is read in one
//!   transaction, and so is true as told.
//! - A folder is read in pages, each at its own version. The last transaction reads what the folder's log says has
//!   changed since the first, so that all rows stand as of that transaction (`folder`).
//! - References to bodies are counted in a first pass over all rows without regard to changes. Only bodies whose count
//!   seems wrong are suspects; a second pass follows these alone, and ends in one transaction in the same way
//!   (`references`).
//!
//! Repairs are written by the transaction that found what is wrong. Each has read the account's ledger with a
//! conflict, as every change does, and so stands in one order with them.

mod account;
mod annotations;
mod bodies;
mod checkpoints;
mod deleted;
mod feed;
mod folder;
mod identities;
mod links;
mod metadata;
mod notices;
mod notified;
mod references;
mod sharing;
mod strays;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use kv::{KeyValue, RangeRequest, ReadMode, Transaction};
use model::{AccountId, BodyId, CpmAddress, Error, ErrorKind, MailboxId, ModSeq, Result};
use store_api::{
    CHECK_ACCOUNTS_MAX, CheckEvent, CheckEvents, CheckProgress, CheckRequest, Finding, FindingKind, Remedy,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::failure::{Failure, deadline};
use crate::keyspace::KeyRange;
use crate::records::{AccountRecord, ChangeKind, FeedEntry, FeedItem, FeedUids};
use crate::retry::reading;
use crate::shared::Shared;
use crate::snapshot::after;

/// Events that may wait for their reader.
const EVENTS_AHEAD: usize = 64;
/// Accounts of the directory read in one transaction.
const DIRECTORY_PAGE: usize = 256;
/// Findings told of one account; the others are counted in one more.
const FINDINGS_PER_ACCOUNT_MAX: usize = 1_000;
/// Records between two tellings of progress.
const PROGRESS_EVERY: u64 = 10_000;
/// Pages of one range that one transaction reads.
const PAGES_MAX: usize = 256;

/// Runs a block in transactions until one reads all it wants and, where it wrote, commits. The block gives what it
/// found and whether it wrote, and may run again: it must not tell anything to anyone itself.
macro_rules! transaction {
    ($check:expr, $trx:ident, $body:expr) => {{
        let mut retry = $crate::retry::Retry::idempotent(None);
        loop {
            let mut $trx = $check.shared.begin_batch("check");
            let attempt: Result<_, $crate::failure::Failure> = async { $body }.await;
            let failure = match attempt {
                Ok((value, false)) => break value,
                Ok((value, true)) => match $trx.commit().await {
                    Ok(_) => break value,
                    Err(error) => error.into(),
                },
                Err(failure) => failure,
            };
            retry.again(failure).await?;
        }
    }};
}
pub(crate) use transaction;

/// Looks at what a range holds, a page in a transaction: `$look` gives what it found of the page and whether it wrote.
macro_rules! in_pages {
    ($check:expr, $range:expr, $per_page:expr, $mode:expr, |$pairs:ident, $trx:ident| $look:expr) => {{
        let $crate::keyspace::KeyRange { mut begin, end } = $range;
        loop {
            let request = kv::RangeRequest::new(begin, end.clone()).limit($per_page);
            let (findings, page) = $crate::check::transaction!($check, trx, {
                let page = trx.get_range(&request, $mode).await?;
                let ($pairs, $trx) = (&page.pairs, trx.as_mut());
                let (findings, wrote) = $look?;
                Ok(((findings, page), wrote))
            });
            $check.tell(findings).await?;
            $check.read(page.pairs.len()).await?;
            match page.pairs.last() {
                Some(last) if page.more => begin = $crate::snapshot::after(&last.key),
                _ => break,
            }
        }
    }};
}
pub(crate) use in_pages;

/// Begins a check; the reader of the stream drives it.
pub(crate) fn inspect(shared: Arc<Shared>, request: CheckRequest) -> Result<CheckEvents> {
    if request.accounts.len() > CHECK_ACCOUNTS_MAX {
        return Err(Error::new(ErrorKind::InvalidRequest, "a check names at most 1000 accounts"));
    }
    let (events, incoming) = mpsc::channel(EVENTS_AHEAD);
    let mut check = Check {
        shared,
        request,
        events,
        began: Instant::now(),
        progress: CheckProgress::default(),
        told: 0,
        subject: Subject::default(),
        untold: 0,
        left: FINDINGS_PER_ACCOUNT_MAX,
        blind: false,
        strays: BTreeSet::new(),
    };
    let run = tokio::spawn(async move { check.run().await });
    Ok(Box::pin(stream::unfold(Some((incoming, run)), |state| async move {
        let (mut incoming, run) = state?;
        if let Some(event) = incoming.recv().await {
            return Some((Ok(event), Some((incoming, run))));
        }
        // Only what ran to its end has nothing more to tell.
        let ended = match run.await {
            Ok(ended) => ended.map_err(Error::from),
            Err(error) => Err(Error::new(ErrorKind::Bug, "internal error").with_detail(error)),
        };
        ended.err().map(|error| (Err(error), None))
    })))
}

/// Of what findings are.
#[derive(Clone, Debug, Default)]
struct Subject {
    address: Option<CpmAddress>,
    account: Option<AccountId>,
}

impl Subject {
    fn finding(&self, kind: FindingKind, text: impl std::fmt::Display) -> Finding {
        Finding {
            kind,
            address: self.address.clone(),
            account: self.account,
            mailbox: None,
            body: None,
            remedy: Remedy::None,
            text: text.to_string(),
        }
    }

    fn of_mailbox(&self, kind: FindingKind, mailbox: MailboxId, text: impl std::fmt::Display) -> Finding {
        Finding { mailbox: Some(mailbox), ..self.finding(kind, text) }
    }

    fn of_body(&self, kind: FindingKind, body: BodyId, text: impl std::fmt::Display) -> Finding {
        Finding { body: Some(body), ..self.finding(kind, text) }
    }
}

/// The same finding, which repair puts right, or has.
fn remedied(finding: Finding, repaired: bool) -> Finding {
    Finding { remedy: if repaired { Remedy::Repaired } else { Remedy::Repairable }, ..finding }
}

/// A check under way.
struct Check {
    shared: Arc<Shared>,
    request: CheckRequest,
    events: mpsc::Sender<CheckEvent>,
    began: Instant,
    progress: CheckProgress,
    /// Records read when progress was last told.
    told: u64,
    subject: Subject,
    /// Findings of this account that were only counted.
    untold: u64,
    left: usize,
    /// Some rows of this account cannot be read or reached: who has which body is then not known.
    blind: bool,
    /// Mailboxes of this account that are not there but have rows, which hold bodies until they are swept.
    strays: BTreeSet<MailboxId>,
}

impl Check {
    async fn run(&mut self) -> Result<(), Failure> {
        if !self.request.accounts.is_empty() {
            for address in self.request.accounts.clone() {
                let key = self.shared.keys.directory(&address);
                let value =
                    reading!(Ok(self.shared.begin_batch("check").get(&key, ReadMode::Snapshot).await?));
                match value {
                    Some(value) => self.one(address, &value).await?,
                    None => {
                        let text = format!("there is no account {address}");
                        return Err(Error::new(ErrorKind::NoSuchAccount, text).into());
                    }
                }
            }
            return Ok(());
        }
        let KeyRange { mut begin, end } = self.shared.keys.directory_after(self.request.after.as_ref());
        loop {
            let request = RangeRequest::new(begin, end.clone()).limit(DIRECTORY_PAGE);
            let page = reading!({
                Ok(self.shared.begin_batch("check").get_range(&request, ReadMode::Snapshot).await?)
            });
            self.read(page.pairs.len()).await?;
            for pair in &page.pairs {
                match self.shared.keys.address_of(&pair.key) {
                    Some(address) => self.one(address, &pair.value).await?,
                    None => {
                        let text = format!("the address at {} cannot be read", pair.key.escape_ascii());
                        self.tell(vec![self.subject.finding(FindingKind::Account, text)]).await?;
                    }
                }
            }
            match page.pairs.last() {
                Some(last) if page.more => begin = after(&last.key),
                _ => break,
            }
        }
        strays::accounts(self).await?;
        strays::works(self).await?;
        deleted::check(self).await?;
        feed::check(self).await?;
        notices::dead_letters(self).await?;
        self.tell_progress().await
    }

    /// Checks one account, by its record in the directory.
    async fn one(&mut self, address: CpmAddress, record: &[u8]) -> Result<(), Failure> {
        let record = AccountRecord::decode(record);
        self.blind = false;
        self.strays.clear();
        self.subject = Subject { address: Some(address.clone()), account: record.as_ref().map(|it| it.id) };
        let checked = match record {
            None => {
                let text = "the record of the account cannot be read";
                self.tell(vec![self.subject.finding(FindingKind::Account, text)]).await
            }
            Some(record) => match self.account(&address, &record).await {
                // Whoever changes an account all the time may keep a look at it from ever ending.
                Err(Failure::Engine(error)) if error.kind().is_retryable() => {
                    let text = "the account changed too fast to be verified; check it again";
                    self.tell(vec![self.subject.finding(FindingKind::Unsettled, text)]).await
                }
                checked => checked,
            },
        };
        checked?;
        if self.untold > 0 {
            let text = format!("{} findings more", self.untold);
            self.send(CheckEvent::Finding(self.subject.finding(FindingKind::Unsettled, text))).await?;
        }
        (self.untold, self.left) = (0, FINDINGS_PER_ACCOUNT_MAX);
        self.subject = Subject::default();
        self.progress.accounts += 1;
        self.progress.last = Some(address).filter(|_| self.request.accounts.is_empty());
        self.tell_progress().await
    }

    async fn account(&mut self, address: &CpmAddress, record: &AccountRecord) -> Result<(), Failure> {
        account::check(self, address, record.id).await?;
        if record.linked.is_empty() { Ok(()) } else { links::check(self, address).await }
    }

    fn repair(&self) -> bool {
        self.request.repair
    }

    /// How reads are made whose outcome repair writes upon.
    fn mode(&self) -> ReadMode {
        if self.request.repair { ReadMode::Serializable } else { ReadMode::Snapshot }
    }

    /// Notes that records were read, and waits where that was too fast.
    async fn read(&mut self, records: usize) -> Result<(), Failure> {
        self.progress.records += records as u64;
        if self.request.rate > 0 {
            let due = Duration::from_secs_f64(self.progress.records as f64 / self.request.rate as f64);
            tokio::time::sleep_until(self.began + due).await;
        }
        if self.progress.records - self.told >= PROGRESS_EVERY {
            self.tell_progress().await?;
        }
        Ok(())
    }

    async fn tell_progress(&mut self) -> Result<(), Failure> {
        self.told = self.progress.records;
        self.send(CheckEvent::Progress(self.progress.clone())).await
    }

    async fn tell(&mut self, findings: Vec<Finding>) -> Result<(), Failure> {
        for finding in findings {
            if self.left == 0 && finding.account.is_some() {
                self.untold += 1;
                continue;
            }
            self.left = self.left.saturating_sub(usize::from(finding.account.is_some()));
            match finding.remedy {
                Remedy::Repaired => tracing::warn!(%finding, "repaired"),
                _ => tracing::warn!(%finding, "does not add up"),
            }
            self.send(CheckEvent::Finding(finding)).await?;
        }
        Ok(())
    }

    async fn send(&self, event: CheckEvent) -> Result<(), Failure> {
        // A reader that is gone wants nothing more.
        self.events.send(event).await.map_err(|_| deadline().into())
    }
}

/// All pairs of a range that is small by nature, within one transaction.
async fn read_all(
    trx: &mut dyn Transaction,
    range: KeyRange,
    mode: ReadMode,
) -> Result<Vec<KeyValue>, Failure> {
    let mut all = Vec::new();
    let KeyRange { mut begin, end } = range;
    for _ in 0..PAGES_MAX {
        let page = trx.get_range(&RangeRequest::new(begin, end.clone()), mode).await?;
        all.extend(page.pairs);
        match all.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => return Ok(all),
        }
    }
    Err(kv::Error::new(kv::ErrorKind::TooOld, "more than one transaction may read").into())
}

/// Wakes whoever listens to the account: what they know of it may be wrong.
fn wake(
    shared: &Shared,
    trx: &mut dyn Transaction,
    account: AccountId,
    mailbox: Option<MailboxId>,
    modseq: ModSeq,
) {
    let kind = if mailbox.is_some() { ChangeKind::Flags } else { ChangeKind::Folders };
    let (changed, removed) = match mailbox {
        Some(_) => (FeedUids::Many, FeedUids::Many),
        None => Default::default(),
    };
    let item = FeedItem { changed, removed, ..FeedItem::new(mailbox, modseq, kind, 0) };
    let entry = FeedEntry { account, at_millis: shared.environment().now_millis(), items: vec![item] };
    let partition = account.partition();
    trx.set_versionstamped_key(&shared.keys.feed_log_prefix(partition), &[0, 0], &entry.encode());
    trx.set_versionstamped_value(&shared.keys.feed_head(partition), &[]);
}
